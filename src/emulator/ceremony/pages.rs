//! The pages of the ceremony: plain HTML, readable on a phone and by a screen reader, no script.

use http::StatusCode;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Words, answers::is_on_a_page, caption};
use crate::emulator::{
    envelopes::{
        initials,
        model::{Envelope, RADIOS, Recipient, Tab, text},
        relations, visibility,
    },
    http::Answer,
};

/// The id of what says what is wrong.
const PROBLEM: &str = "problem";

/// Lines of a page that are shown as text; the PDF has the rest.
const MAX_LINES: usize = 400;

/// What every page is made from.
pub(super) struct Page<'a> {
    pub(super) words: &'static Words,
    pub(super) code: &'a str,
    /// What stands on top: the envelope's brand, if it wears one.
    pub(super) brand: Option<&'a str>,
    pub(super) sender: &'a str,
    pub(super) envelope: &'a Envelope,
    pub(super) recipient: &'a Recipient,
    pub(super) problem: Option<&'a str>,
}

/// A page that only says something.
pub(in crate::emulator) fn message(status: StatusCode, title: &str, words: &str) -> Answer {
    let body = html! { main class="narrow" { h1 { (title) } p { (words) } } };
    Answer::html(status, shell("en", title, None, "", &body))
}

impl Page<'_> {
    /// Asks for the access code.
    pub(super) fn access_code(&self) -> String {
        let words = self.words;
        self.narrow(
            words.access_title,
            &html! {
                p { (words.access_text) }
                (self.form(&html! {
                    label for="access_code" { (words.access_label) }
                    input id="access_code" name="access_code" autocomplete="off" required autofocus
                        aria-invalid=[self.is_wrong()] aria-describedby=[self.described()];
                    (button("access_code", words.go_on))
                }))
            },
        )
    }

    /// Asks for a phone number, then for the code.
    pub(super) fn phone(&self, is_sent: bool) -> String {
        let words = self.words;
        let numbers = self.recipient.phone.as_ref().map(|phone| phone.numbers.as_slice()).unwrap_or_default();
        let title = words.phone_title;
        self.narrow(title, &html! {
            @if is_sent {
                // After a wrong code the code is no news.
                @if self.problem.is_none() { p role="status" { (words.phone_sent) } }
                (self.form(&html! {
                    label for="sms_code" { (words.phone_label) }
                    input id="sms_code" name="sms_code" inputmode="numeric" autocomplete="one-time-code" maxlength="12" required autofocus
                        aria-invalid=[self.is_wrong()] aria-describedby=[self.described()];
                    (button("check_code", words.go_on))
                }))
            }
            (self.form(&html! {
                fieldset {
                    legend { (words.phone_text) }
                    @for (index, number) in numbers.iter().enumerate() {
                        label class="choice" {
                            input type="radio" name="number" value=(index) checked[index == 0];
                            " " (masked(number))
                        }
                    }
                }
                button class=(if is_sent { "plain" } else { "main" }) name="action" value="send_code" {
                    (if is_sent { words.phone_resend } else { words.phone_send })
                }
            }))
            (self.form(&html! { button class="plain" name="action" value="finish_later" { (words.later) } }))
        })
    }

    /// The document, what to fill in, and the ways out.
    pub(super) fn document(&self) -> String {
        let words = self.words;
        let name = self.recipient.adopted_name.as_deref().unwrap_or(&self.recipient.name);
        let body = html! {
            main {
                (self.head(words.review))
                (self.documents())
                (self.form(&html! {
                    (self.fields())
                    section class="card" aria-labelledby="signature" {
                        h2 id="signature" { (words.signature) }
                        (self.places())
                        label for="name" { (words.name_label) }
                        input id="name" name="name" value=(name) maxlength="100" autocomplete="name" required;
                        p class="script" aria-hidden="true" { (name) " " small { (initials(name)) } }
                        p class="quiet" { (words.agree) }
                        button class="main" name="action" value="sign" { (words.sign) }
                        button class="plain" name="action" value="adopt" formnovalidate { (words.adopt) }
                        button class="plain" name="action" value="finish_later" formnovalidate { (words.later) }
                    }
                }))
                details class="card" {
                    summary { (words.decline) }
                    (self.form(&html! {
                        label for="reason" { (words.decline_label) }
                        textarea id="reason" name="reason" rows="3" maxlength="500" required {}
                        (button("decline", words.decline_button))
                    }))
                }
                details class="card quiet" {
                    summary { (words.more) }
                    (self.form(&html! {
                        button class="plain" name="action" value="fax" { (words.fax) }
                        button class="plain" name="action" value="exception" { (words.fail) }
                    }))
                }
            }
        };
        shell(words.lang, &self.envelope.subject, self.brand, words.notice, &body)
    }

    /// The document for somebody who has nothing to sign.
    pub(super) fn reading(&self) -> String {
        let words = self.words;
        let body = html! {
            main {
                (self.head(words.read_only))
                (self.documents())
                (self.form(&button("close", words.close)))
            }
        };
        shell(words.lang, &self.envelope.subject, self.brand, words.notice, &body)
    }

    fn narrow(&self, title: &str, content: &Markup) -> String {
        let body = html! { main class="narrow card" { h1 { (title) } (self.alert()) (content) } };
        shell(self.words.lang, title, self.brand, self.words.notice, &body)
    }

    fn head(&self, lead: &str) -> Markup {
        html! {
            h1 { (self.envelope.subject) }
            p class="quiet" { (self.words.from) " " (self.sender) }
            @if !self.envelope.blurb.is_empty() { p { (self.envelope.blurb) } }
            p class="lead" { (lead) }
            (self.alert())
        }
    }

    fn alert(&self) -> Markup {
        html! { @if let Some(problem) = self.problem { p class="alert" id=(PROBLEM) role="alert" { (problem) } } }
    }

    /// Of a page that asks for one thing: whether that was wrong.
    fn is_wrong(&self) -> Option<&'static str> {
        self.problem.map(|_| "true")
    }

    /// What says why it was wrong.
    fn described(&self) -> Option<&'static str> {
        self.problem.map(|_| PROBLEM)
    }

    fn form(&self, content: &Markup) -> Markup {
        html! { form method="post" action={ "/Signing/StartInSession?code=" (self.code) } { (content) } }
    }

    fn documents(&self) -> Markup {
        let words = self.words;
        html! {
            @for file in visibility::seen(self.envelope, self.recipient) {
                article class="paper" aria-label=(file.name) {
                    header {
                        h2 { (file.name) }
                        a href={ "/Signing/Document/" (self.code) "/" (file.id) } { (words.open_pdf) }
                    }
                    @for (index, page) in file.text.pages.iter().enumerate() {
                        section aria-label={ (words.page) " " (index + 1) } {
                            @for line in page.lines().iter().take(MAX_LINES) { p { (line) } }
                            p class="number" { (words.page) " " (index + 1) " / " (file.text.pages.len()) }
                        }
                    }
                }
            }
        }
    }

    fn places(&self) -> Markup {
        let seen: Vec<_> = visibility::seen(self.envelope, self.recipient).collect();
        let places: Vec<String> = relations::in_sight(&self.recipient.tabs)
            .filter(|tab| tab.is_signature())
            .filter_map(|tab| {
                let (document, page, ..) = tab.place()?;
                let file = seen.iter().find(|file| file.id == document)?;
                Some(format!("{}, {} {page}", file.name, self.words.page))
            })
            .collect();
        html! {
            @if !places.is_empty() {
                p { (self.words.sign_places) }
                ul { @for place in &places { li { (place) } } }
            }
        }
    }

    fn fields(&self) -> Markup {
        let tabs = relations::in_sight(&self.recipient.tabs);
        let tabs: Vec<&Tab> = tabs.filter(|tab| tab.is_fillable() && is_on_a_page(tab)).collect();
        html! {
            @if !tabs.is_empty() {
                section class="card" aria-labelledby="fields" {
                    h2 id="fields" { (self.words.fields) }
                    @for tab in tabs { (self.field(tab)) }
                }
            }
        }
    }

    fn field(&self, tab: &Tab) -> Markup {
        let id = format!("tab-{}", tab.id);
        let choices = tab.choices();
        // What an answer on the same page may hide must not keep the browser from sending it.
        let is_required = tab.is_required() && !relations::is_conditional(tab);
        html! {
            @if let (RADIOS, Some(choices)) = (tab.list.as_str(), &choices) {
                fieldset {
                    legend { (caption(&tab.fields)) (self.optional(tab)) }
                    @for (value, name) in choices {
                        label class="choice" {
                            input type="radio" name=(id) value=(value) checked[*value == tab.value] required[is_required];
                            " " (name)
                        }
                    }
                }
            } @else if tab.list == "checkboxTabs" {
                label class="choice" { input type="checkbox" name=(id) value="X" checked[!tab.value.is_empty()]; " " (caption(&tab.fields)) }
            } @else {
                label for=(id) {
                    (caption(&tab.fields)) (self.optional(tab))
                }
                @if let Some(choices) = &choices {
                    select id=(id) name=(id) required[is_required] {
                        // What begins without a choice is not answered by looking at it.
                        option value="" selected[tab.value.is_empty()] {}
                        @for (value, name) in choices {
                            option value=(value) selected[*value == tab.value] { (name) }
                        }
                    }
                } @else {
                    input id=(id) name=(id) type=(if tab.is_for_an_address() { "email" } else { "text" }) value=(tab.value)
                        title=[text(&tab.fields, "tooltip")] maxlength=[tab.max_length()] required[is_required];
                }
            }
        }
    }

    fn optional(&self, tab: &Tab) -> Markup {
        html! { @if !tab.is_required() { " " span class="quiet" { "(" (self.words.optional) ")" } } }
    }
}

fn button(action: &str, label: &str) -> Markup {
    html! { button class="main" name="action" value=(action) { (label) } }
}

/// All but the last digits of a number are hidden.
fn masked(number: &str) -> String {
    let shown = number.chars().count().saturating_sub(4);
    number.chars().enumerate().map(|(at, c)| if at < 3 || at >= shown { c } else { '•' }).collect()
}

/// A whole page: what stands on top, and the body under it.
pub(in crate::emulator) fn shell(
    lang: &str,
    title: &str,
    brand: Option<&str>,
    notice: &str,
    body: &Markup,
) -> String {
    html! {
        (DOCTYPE)
        html lang=(lang) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header class="bar" { strong { (brand.unwrap_or("Signing")) } @if !notice.is_empty() { span { (notice) } } }
                (body)
            }
        }
    }
    .into_string()
}

const STYLE: &str = "
:root{color-scheme:light;--ink:#1c2333;--quiet:#596176;--line:#d5d9e2;--blue:#1f4fd8;--paper:#fff;--desk:#eef0f5}
*{box-sizing:border-box}
body{margin:0;background:var(--desk);color:var(--ink);font:1rem/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;overflow-wrap:anywhere}
.bar{display:flex;flex-wrap:wrap;gap:.25rem 1rem;padding:.75rem 1rem;background:var(--ink);color:#fff}
.bar span{color:#ffd98a}
main{max-width:46rem;margin:1.5rem auto;padding:0 1rem 3rem}
main.narrow{width:calc(100% - 2rem);max-width:28rem;margin:1.5rem auto}
form+form{margin-top:1.5rem}
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}
h2{font-size:1.1rem;margin:.25rem 0}
.lead{font-weight:600}
.quiet{color:var(--quiet)}
.card,.paper{background:var(--paper);border:1px solid var(--line);border-radius:.6rem;padding:1.1rem 1.2rem;margin:1rem 0}
.paper{box-shadow:0 1px 6px #0001;font-family:Georgia,'Times New Roman',serif}
.paper header{display:flex;flex-wrap:wrap;justify-content:space-between;gap:.5rem;border-bottom:1px solid var(--line);padding-bottom:.5rem;font-family:system-ui,sans-serif}
.paper section p{margin:.15rem 0}
.paper .number{color:var(--quiet);text-align:right;font-size:.85rem;border-bottom:1px dashed var(--line)}
label{display:block;margin:.8rem 0 .25rem;font-weight:600}
label.choice{font-weight:400;padding:.35rem 0}
input:not([type=radio]):not([type=checkbox]),textarea,select{width:100%;padding:.65rem .7rem;border:1px solid #8790a6;border-radius:.4rem;font:inherit;background:#fff}
input[type=radio],input[type=checkbox]{width:1.15rem;height:1.15rem;vertical-align:-.2rem}
fieldset{border:0;padding:0;margin:0}
button{font:inherit;font-weight:600;padding:.7rem 1.2rem;border-radius:.4rem;border:1px solid var(--blue);margin:.8rem .5rem 0 0;min-height:2.75rem;cursor:pointer}
button.main{background:var(--blue);color:#fff}
button.plain{background:#fff;color:var(--blue)}
:focus-visible{outline:3px solid #f2a900;outline-offset:2px}
.alert{border-left:.3rem solid #b3261e;background:#fdecea;padding:.6rem .8rem}
.script{font:italic 1.9rem/1.2 'Snell Roundhand','Brush Script MT',cursive;margin:.8rem 0;color:#10307f}
.script small{font-size:1.1rem;margin-left:1.2rem}
summary{cursor:pointer;font-weight:600}
a{color:var(--blue)}
";
