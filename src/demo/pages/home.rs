//! The start page: pick a document, say who you are, sign.

use maud::{Markup, html};

use super::{Place, shell};
use crate::demo::{
    backend::Refusal,
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
}

impl Default for Filled {
    fn default() -> Self {
        Self {
            paper: Paper::Letter,
            place: orders::Place::Away,
            name: "Ada Lovelace".to_owned(),
            email: "ada@example.com".to_owned(),
            phone: "+4915112345678".to_owned(),
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
    hint: Option<Markup>,
}

const STEPS: [(&str, &str); 4] = [
    ("Choose a document", "An engagement letter or a confidentiality agreement."),
    ("Confirm your phone", "A code arrives by SMS, so that we know it is you."),
    ("Read and sign", "In your browser, without an account anywhere."),
    ("Done", "We wait for the signature to be confirmed before we tell you so."),
];

/// The page. `order` is the number that this form, once sent, will have.
pub(crate) fn home(order: &OrderId, filled: &Filled, refusal: Option<&Refusal>) -> Markup {
    let title = if refusal.is_some() { "Not yet: please check the form" } else { "Sign online" };
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
                    @if let Some(refusal) = refusal { (summary(refusal)) }
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
                        @for field in fields(filled) { (input(&field, refusal)) }
                    }
                    button class="wide" { "Sign" }
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
            hint: None,
        },
        Field {
            name: "email",
            label: "E-mail",
            kind: "email",
            complete: "email",
            value: &filled.email,
            pointer: "/signers/0/email",
            hint: None,
        },
        Field {
            name: "phone",
            label: "Mobile phone",
            kind: "tel",
            complete: "tel",
            value: &filled.phone,
            pointer: "/signers/0/sms_auth/phone",
            hint: Some(html! {
                "With country code. The code will show in the "
                a href="/outbox" target="_blank" rel="noopener" { "SMS outbox" } "; open it in a second tab."
            }),
        },
    ]
}

fn input(field: &Field<'_>, refusal: Option<&Refusal>) -> Markup {
    let errors = refusal.map(|refusal| refusal.errors.as_slice()).unwrap_or_default();
    let error = errors.iter().find(|error| error.pointer == field.pointer);
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
                autocomplete=(field.complete) maxlength="100" required
                aria-describedby=[described_by] aria-invalid=[error.map(|_| "true")];
            @if let Some(error) = error { p class="error" id=(error_id) { (field.label) " " (error.detail) } }
            @if let Some(hint) = &field.hint { p class="hint" id=(hint_id) { (hint) } }
        }
    }
}

fn summary(refusal: &Refusal) -> Markup {
    html! {
        div class="notice bad" role="alert" {
            @if refusal.errors.is_empty() {
                p { strong { "That did not work: " } (refusal.detail) " " code { (refusal.code) } }
                p { (refusal.fix) }
            } @else {
                p { strong { "Not yet. " } "Please correct what is marked below." }
            }
        }
    }
}
