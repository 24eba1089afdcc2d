//! The start page: pick a document, say who you are, sign.

use maud::{Markup, html};

use super::{Place, refused, shell, words};
use crate::demo::{
    backend::{FieldError, Preflight, Refusal},
    orders::{self, OrderId, Paper},
};

/// The form as it is shown: with sample values, or with what the visitor typed.
#[derive(Debug, Clone)]
pub(crate) struct Filled {
    pub(crate) paper: Paper,
    pub(crate) place: orders::Place,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) phone: String,
    /// One of [`LANGUAGES`].
    pub(crate) locale: &'static str,
    /// One of [`LIVES`].
    pub(crate) life: &'static str,
    /// Asked for before the document is shown; empty: it is not.
    pub(crate) access_code: String,
    /// Whether the visitor is signed in at the website, which it tells DocuSign.
    pub(crate) is_known: bool,
}

/// The languages to choose from, the usual one first.
pub(crate) const LANGUAGES: [(&str, &str); 5] =
    [("", "As in your browser"), ("en", "English"), ("de", "Deutsch"), ("fr", "Français"), ("es", "Español")];
/// How long the document can be signed, the usual time first.
pub(crate) const LIVES: [(&str, &str); 3] =
    [("21d", "21 days"), ("1h", "One hour"), ("1m", "One minute, to see it run out")];

/// What the page says on top of the form.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Notice<'a> {
    /// The order would be accepted.
    Checked(&'a Preflight),
    None,
    Refused(&'a Refusal),
}

impl Notice<'_> {
    /// What is wrong with the field of this pointer.
    fn error(&self, pointer: &str) -> Option<&FieldError> {
        let Self::Refused(refusal) = self else { return None };
        refusal.errors.iter().find(|error| error.pointer == pointer)
    }
}

impl Default for Filled {
    fn default() -> Self {
        Self {
            paper: Paper::Letter,
            place: orders::Place::Away,
            name: "Ada Lovelace".to_owned(),
            email: "ada@example.com".to_owned(),
            phone: "+4915112345678".to_owned(),
            locale: LANGUAGES[0].0,
            life: LIVES[0].0,
            access_code: String::new(),
            is_known: false,
        }
    }
}

/// What one field needs to be shown.
struct Field<'a> {
    name: &'static str,
    label: &'static str,
    kind: &'static str,
    complete: &'static str,
    value: &'a str,
    pointer: &'static str,
    is_required: bool,
    hint: Option<Markup>,
}

const STEPS: [(&str, &str); 4] = [
    ("Choose a document", "An engagement letter or a confidentiality agreement."),
    ("Confirm your phone", "A code arrives by SMS, so that we know it is you."),
    ("Read and sign", "In your browser, without an account anywhere."),
    ("Done", "We wait for the signature to be confirmed before we tell you so."),
];

/// The page. `order` is the number that this form, once sent, will have.
pub(crate) fn home(order: &OrderId, filled: &Filled, notice: Notice<'_>) -> Markup {
    let title = match notice {
        Notice::Checked(_) => "Checked: it would be accepted",
        Notice::None => "Sign online",
        Notice::Refused(_) => "Not yet: please check the form",
    };
    shell(
        Place::Home,
        title,
        None,
        &html! {
            div class="hero" {
                div class="intro" {
                    h1 { "Good agreements start with a clear signature" }
                    p class="lead" { "We advise small companies on what they sign. Begin with one document: it takes two minutes, from any device." }
                }
                form class="card" method="post" action="/orders" aria-label="Sign a document" {
                    (summary(notice))
                    input type="hidden" name="order" value=(order.as_str());
                    fieldset {
                        legend { "Your document" }
                        div class="papers" {
                            @for paper in Paper::ALL {
                                label class="paper" {
                                    input type="radio" name="paper" value=(paper.word()) checked[paper == filled.paper] required;
                                    b { (paper.title()) }
                                    span { (about(paper)) }
                                }
                            }
                        }
                        p class="hint" { a href="/papers/letter.pdf" { "Read the engagement letter first" } " (PDF)" }
                    }
                    fieldset {
                        legend { "Where to sign" }
                        div class="papers" {
                            @for place in orders::Place::ALL {
                                label class="paper" {
                                    input type="radio" name="place" value=(place.word()) checked[place == filled.place] required;
                                    b { (where_to(place).0) }
                                    span { (where_to(place).1) }
                                }
                            }
                        }
                    }
                    fieldset {
                        legend { "About you" }
                        @for field in fields(filled) { (input(&field, notice)) }
                    }
                    (choices(filled, notice))
                    button class="wide" { "Sign" }
                    button class="wide second" name="then" value="check" { "Check first, send nothing" }
                    p class="hint" { "Nothing is binding: this is a demo." }
                }
                ol class="steps" aria-label="How it works" {
                    @for (what, how) in STEPS { li { b { (what) } span { (how) } } }
                }
            }
        },
    )
}

fn about(paper: Paper) -> &'static str {
    match paper {
        Paper::Letter => "One page, written for you as a PDF when you press Sign.",
        Paper::Nda => "Our standard text, kept as a template at DocuSign.",
        Paper::Pair => {
            "The same letter, with two signatures: you sign first, and our partner when it is his turn."
        }
    }
}

fn where_to(place: orders::Place) -> (&'static str, &'static str) {
    match place {
        orders::Place::Away => ("On the signing page", "You are taken there, and come back afterwards."),
        orders::Place::Here => ("Without leaving us", "The signing page opens inside ours."),
    }
}

fn fields(filled: &Filled) -> [Field<'_>; 3] {
    [
        Field {
            name: "name",
            label: "Full name",
            kind: "text",
            complete: "name",
            value: &filled.name,
            pointer: "/signers/0/name",
            is_required: true,
            hint: None,
        },
        Field {
            name: "email",
            label: "E-mail",
            kind: "email",
            complete: "email",
            value: &filled.email,
            pointer: "/signers/0/email",
            is_required: true,
            hint: None,
        },
        Field {
            name: "phone",
            label: "Mobile phone",
            kind: "tel",
            complete: "tel",
            value: &filled.phone,
            pointer: "/signers/0/sms_auth/phone",
            is_required: true,
            hint: Some(html! {
                "With country code. The code will show in the "
                a href="/outbox" target="_blank" rel="noopener" { "SMS outbox" } "; open it in a second tab."
            }),
        },
    ]
}

/// What most visitors leave as it is.
fn choices(filled: &Filled, notice: Notice<'_>) -> Markup {
    let code = Field {
        name: "access_code",
        label: "Access code (optional)",
        kind: "text",
        complete: "off",
        value: &filled.access_code,
        pointer: "/signers/0/access_code",
        is_required: false,
        hint: Some(
            html! { "The signing page asks for it before it shows anything. We would tell it to you on the telephone." },
        ),
    };
    let usual = Filled::default();
    let is_usual = filled.locale == usual.locale
        && filled.life == usual.life
        && filled.access_code.is_empty()
        && !filled.is_known;
    html! {
        details class="choices" open[!is_usual || notice.error(code.pointer).is_some()] {
            summary { "More choices" }
            div class="pair" {
                (select("locale", "Language", &LANGUAGES, filled.locale))
                (select("life", "Time to sign", &LIVES, filled.life))
            }
            (input(&code, notice))
            div class="field tick" {
                input id="known" type="checkbox" name="known" value="yes" checked[filled.is_known] aria-describedby="known-hint";
                label for="known" { "I am signed in here" }
                p class="hint" id="known-hint" { "We tell DocuSign how and when you proved who you are to us (" code { "authenticated_by" } "), for the certificate." }
            }
        }
    }
}

fn select(name: &str, label: &str, options: &[(&str, &str)], chosen: &str) -> Markup {
    html! {
        div class="field" {
            label for=(name) { (label) }
            select id=(name) name=(name) {
                @for (value, text) in options { option value=(value) selected[*value == chosen] { (text) } }
            }
        }
    }
}

fn input(field: &Field<'_>, notice: Notice<'_>) -> Markup {
    let error = notice.error(field.pointer);
    let (hint_id, error_id) = (format!("{}-hint", field.name), format!("{}-error", field.name));
    let described_by = match (&field.hint, error) {
        (Some(_), Some(_)) => Some(format!("{error_id} {hint_id}")),
        (Some(_), None) => Some(hint_id.clone()),
        (None, Some(_)) => Some(error_id.clone()),
        (None, None) => None,
    };
    html! {
        div class="field" {
            label for=(field.name) { (field.label) }
            input id=(field.name) name=(field.name) type=(field.kind) value=(field.value)
                autocomplete=(field.complete) maxlength="100" required[field.is_required]
                aria-describedby=[described_by] aria-invalid=[error.map(|_| "true")];
            @if let Some(error) = error { p class="error" id=(error_id) { (field.label) " " (error.detail) } }
            @if let Some(hint) = &field.hint { p class="hint" id=(hint_id) { (hint) } }
        }
    }
}

fn summary(notice: Notice<'_>) -> Markup {
    match notice {
        Notice::Checked(seen) => checked(seen),
        Notice::None => html! {},
        Notice::Refused(refusal) => refused(refusal),
    }
}

/// What the preflight looked at.
fn checked(seen: &Preflight) -> Markup {
    html! {
        div class="notice good" role="status" {
            p { strong { "It would be accepted. " } "Nothing was sent to anyone, and nothing was ordered yet." }
            ul class="checks" { @for one in &seen.checks { li { (words::check(&one.check)) } } }
            @for file in &seen.documents {
                p class="small" { (file.name) ": " @if let Some(pages) = file.pages { (pages) @if pages == 1 { " page, " } @else { " pages, " } } (file.bytes) " bytes" }
            }
        }
    }
}
