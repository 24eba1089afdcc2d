//! The situations a visitor can be in, and what each one's page consists of.

use http::StatusCode;
use maud::{Markup, html};

use super::{filled, texts::Texts};
use crate::theme::Icon;

/// One situation, one page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// The identity check failed for good.
    AuthFailed,
    /// What the browser sent cannot be used; with the status that says why.
    BadRequest(StatusCode),
    /// Everyone has signed.
    Completed,
    /// What became of an administrator's consent.
    Consent(ConsentPage),
    /// The envelope does not exist yet.
    Creating(Preparing),
    /// The signer declined.
    Declined,
    /// Another signer declined.
    DeclinedByOther,
    /// Another view of the envelope may be open, for so many minutes.
    Elsewhere {
        /// When to come back.
        minutes: u64,
    },
    /// The envelope ran out of time.
    Expired,
    /// The envelope will never exist.
    Failed,
    /// Waiting for a fax.
    FaxPending,
    /// The upstream has no such envelope (any more).
    Gone,
    /// The upstream does not answer; the click waits in line.
    InLine,
    /// The link's own time is over.
    LinkExpired,
    /// A customer connects an account.
    Pairing(PairingPage),
    /// The browser is back, and the upstream has not confirmed yet.
    Pending {
        /// Whether that takes longer than it should.
        long: bool,
    },
    /// The signer's turn: here is the button.
    Ready(Invitation),
    /// The signer has another name at the upstream, and for so many minutes no view can be made for it.
    Renamed {
        /// When to come back.
        minutes: u64,
    },
    /// The browser came back without an end, and the signer can go on.
    Resume(Pause),
    /// The link was revoked.
    Revoked,
    /// The signer has signed, and the envelope is not complete yet.
    Signed {
        /// Whether others are known who still have to. Where none are, a template may have brought one, or the
        /// upstream's word for the end is a moment away.
        others: bool,
    },
    /// Too many guesses from one address.
    TooMany,
    /// Views were made for this signer too often in a short time.
    TooOften,
    /// Something on our side that does not heal by itself.
    Trouble,
    /// The upstream does not answer.
    Unavailable,
    /// No such link, nonce or path.
    Unknown,
    /// The sender called it off.
    Voided,
    /// Others sign first.
    Waiting {
        /// Whether only the upstream knows who they are, and so when it is this signer's turn: here is a button to ask it.
        may_ask: bool,
    },
}

/// How far an envelope is that does not exist yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preparing {
    /// It waits for its turn; here is the button with which a person says that they wait for it.
    Behind,
    /// It waits for its turn before others, because a person has said so.
    First,
    /// It is being made, or looked for.
    Now,
}

/// What the page with the button says besides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Invitation {
    /// Whether the signer has opened the documents before.
    pub again: bool,
    /// Whether a code goes to their phone first.
    pub sms: bool,
    /// Whether a click was refused because it did not come from this page.
    pub refused: bool,
}

/// Why a browser came back without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// "Finish later".
    Cancel,
    /// The signing page failed.
    Exception,
    /// Idle for too long.
    Timeout,
    /// The view was used already, or too late.
    Ttl,
}

/// What became of an administrator's consent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsentPage {
    /// They refused, or are none who can give it.
    Denied,
    /// It could not be proven.
    Failed,
    /// The sender can act.
    Granted {
        /// Its name in the settings.
        sender: String,
    },
    /// An administrator's answer for an organisation, whose link has no `state`.
    Organisation,
    /// The `state` is not ours, or too old, so that nobody knows whom it is about.
    Received,
    /// The account server refused to ask for it; with its code, for whoever is asked for help.
    Refused {
        /// The code of OAuth.
        code: &'static str,
    },
    /// The account server has a problem of its own.
    Unavailable,
    /// Somebody else consented.
    WrongUser {
        /// The sender's name in the settings.
        sender: String,
    },
}

/// How far a customer is with connecting an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PairingPage {
    /// Which of the person's accounts?
    Choice {
        /// The sender's name in the settings.
        sender: String,
        /// The accounts.
        accounts: Vec<Account>,
    },
    /// They refused.
    Denied,
    /// The sender acts in the account.
    Done {
        /// The sender's name in the settings.
        sender: String,
        /// The account's name.
        account: String,
    },
    /// Something else failed; with its code, for whoever is asked for help.
    Failed {
        /// The code of the API.
        code: &'static str,
    },
    /// Here is the button.
    Invitation {
        /// The sender's name in the settings.
        sender: String,
        /// Whether it is connected already.
        again: bool,
    },
    /// The person has no account that could be used; with the code of why, for whoever is asked for help.
    NoAccount {
        /// The code of the API.
        code: &'static str,
    },
    /// The account server does not let us act for the person.
    NotAllowed {
        /// Where an administrator allows it for the whole organisation.
        organisation_url: Option<String>,
    },
    /// The link or the answer is old, used, or of another browser.
    Stale,
}

/// An account to choose from. Its name comes from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it is the person's default.
    pub is_default: bool,
}

/// What colours the drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Bad,
    Good,
    Plain,
    Wait,
    Warn,
}

/// What a page offers to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Load the page again.
    Again(&'static str),
    /// Press the button: it mints a view, or says that somebody waits for one.
    Mint(&'static str),
    /// Nothing.
    None,
}

/// The parts of a page, in words.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) tone: Tone,
    pub(super) icon: Icon,
    pub(super) title: String,
    pub(super) body: Markup,
    pub(super) action: Action,
}

impl Page {
    /// The status that goes with the page, when it is what was asked for.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(status) => *status,
            Self::Creating(_) => StatusCode::ACCEPTED,
            Self::Declined
            | Self::DeclinedByOther
            | Self::Expired
            | Self::Failed
            | Self::Gone
            | Self::LinkExpired
            | Self::Revoked
            | Self::Voided => StatusCode::GONE,
            Self::AuthFailed | Self::Ready(Invitation { refused: true, .. }) => StatusCode::FORBIDDEN,
            Self::Consent(page) => page.status(),
            Self::Pairing(page) => page.status(),
            Self::TooMany | Self::TooOften => StatusCode::TOO_MANY_REQUESTS,
            Self::InLine | Self::Trouble | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::Completed
            | Self::Elsewhere { .. }
            | Self::FaxPending
            | Self::Pending { .. }
            | Self::Ready(_)
            | Self::Renamed { .. }
            | Self::Resume(_)
            | Self::Signed { .. }
            | Self::Waiting { .. } => StatusCode::OK,
        }
    }

    /// The status when the page is the answer to a click that led nowhere: a page that would be fine to
    /// look at is a conflict then.
    pub fn status_of_click(&self) -> StatusCode {
        match self.status() {
            StatusCode::OK | StatusCode::ACCEPTED => StatusCode::CONFLICT,
            other => other,
        }
    }

    /// Whether the page has a button that asks for a view, or says that somebody waits for one: its clicks have a name.
    pub const fn has_button(&self) -> bool {
        matches!(
            self,
            Self::Creating(Preparing::Behind)
                | Self::Ready(_)
                | Self::Resume(_)
                | Self::Waiting { may_ask: true }
        )
    }

    /// After how many seconds the page loads itself again, or a program may try again.
    pub const fn refresh_s(&self) -> Option<u32> {
        match self {
            // Whoever uses a keyboard or has the page read to them must get to the button first.
            Self::Creating(Preparing::Behind) => Some(20),
            Self::Creating(_) => Some(3),
            // Time to have its thirty words read, for each load begins them anew and takes the focus away.
            Self::InLine => Some(12),
            Self::Pending { long: false } => Some(2),
            Self::Unavailable => Some(10),
            Self::Waiting { .. } => Some(60),
            _ => None,
        }
    }

    pub(super) fn content(&self, t: &'static Texts) -> Content {
        let (tone, icon, title, body) = match self {
            Self::AuthFailed => (Tone::Bad, Icon::Lock, t.id_check_title, t.id_check_body),
            Self::BadRequest(_) => (Tone::Warn, Icon::Warning, t.bad_request_title, t.bad_request_body),
            Self::Completed => (Tone::Good, Icon::Check, t.completed_title, t.completed_body),
            Self::Consent(page) => return page.content(t),
            Self::Creating(preparing) => preparing.content(t),
            Self::Declined => (Tone::Plain, Icon::Cross, t.declined_title, t.declined_body),
            Self::DeclinedByOther => {
                (Tone::Plain, Icon::Cross, t.declined_other_title, t.declined_other_body)
            }
            Self::Elsewhere { .. } => (Tone::Warn, Icon::Lock, t.elsewhere_title, t.elsewhere_body),
            Self::Expired => (Tone::Plain, Icon::Clock, t.expired_title, t.expired_body),
            Self::Failed => (Tone::Bad, Icon::Warning, t.failed_title, t.failed_body),
            Self::FaxPending => (Tone::Plain, Icon::Clock, t.fax_title, t.fax_body),
            Self::Gone => (Tone::Warn, Icon::Search, t.gone_title, t.gone_body),
            Self::InLine => (Tone::Wait, Icon::Turning, t.in_line_title, t.in_line_body),
            Self::LinkExpired => (Tone::Plain, Icon::Clock, t.link_expired_title, t.link_expired_body),
            Self::Pairing(page) => return page.content(t),
            Self::Pending { long: true } => (Tone::Plain, Icon::Clock, t.pending_title, t.pending_long),
            Self::Pending { long: false } => (Tone::Wait, Icon::Turning, t.pending_title, t.pending_body),
            Self::Ready(Invitation { again: true, .. }) => {
                (Tone::Plain, Icon::Pen, t.continue_title, t.continue_body)
            }
            Self::Ready(_) => (Tone::Plain, Icon::Pen, t.ready_title, t.ready_body),
            Self::Renamed { .. } => (Tone::Warn, Icon::Clock, t.renamed_title, t.renamed_body),
            Self::Resume(pause) => pause.content(t),
            Self::Revoked => (Tone::Plain, Icon::Cross, t.revoked_title, t.revoked_body),
            Self::Signed { others: true } => (Tone::Good, Icon::Check, t.signed_title, t.signed_body),
            Self::Signed { others: false } => (Tone::Good, Icon::Check, t.signed_title, t.signed_last_body),
            Self::TooMany => (Tone::Warn, Icon::Clock, t.too_many_title, t.too_many_body),
            Self::TooOften => (Tone::Warn, Icon::Clock, t.too_often_title, t.too_often_body),
            Self::Trouble => (Tone::Warn, Icon::Warning, t.trouble_title, t.trouble_body),
            Self::Unavailable => (Tone::Warn, Icon::Clock, t.unavailable_title, t.unavailable_body),
            Self::Unknown => (Tone::Plain, Icon::Search, t.unknown_title, t.unknown_body),
            Self::Voided => (Tone::Plain, Icon::Cross, t.voided_title, t.voided_body),
            Self::Waiting { may_ask: false } => (Tone::Plain, Icon::Clock, t.waiting_title, t.waiting_body),
            Self::Waiting { may_ask: true } => {
                (Tone::Plain, Icon::Clock, t.waiting_title, t.waiting_ask_body)
            }
        };
        let body = match self {
            Self::Elsewhere { minutes } | Self::Renamed { minutes } => {
                body.replace("{minutes}", &t.minutes(*minutes))
            }
            _ => body.to_owned(),
        };
        Content { tone, icon, title: title.to_owned(), body: html! { (body) }, action: self.action(t) }
    }

    const fn action(&self, t: &'static Texts) -> Action {
        match self {
            Self::Creating(Preparing::Behind) => Action::Mint(t.creating_button),
            Self::Elsewhere { .. } | Self::Renamed { .. } | Self::TooOften => {
                Action::Again(t.elsewhere_retry)
            }
            Self::Ready(Invitation { again: false, .. }) => Action::Mint(t.ready_button),
            Self::Ready(_) | Self::Resume(_) => Action::Mint(t.continue_button),
            Self::Unavailable => Action::Again(t.unavailable_button),
            Self::Waiting { may_ask: true } => Action::Mint(t.unavailable_button),
            _ => Action::None,
        }
    }
}

impl Preparing {
    const fn content(self, t: &'static Texts) -> (Tone, Icon, &'static str, &'static str) {
        match self {
            Self::Behind => (Tone::Wait, Icon::Clock, t.creating_title, t.creating_behind_body),
            Self::First => (Tone::Wait, Icon::Turning, t.creating_first_title, t.creating_first_body),
            Self::Now => (Tone::Wait, Icon::Turning, t.creating_title, t.creating_body),
        }
    }
}

impl Pause {
    const fn content(self, t: &'static Texts) -> (Tone, Icon, &'static str, &'static str) {
        match self {
            Self::Cancel => (Tone::Plain, Icon::Pen, t.resume_cancel_title, t.resume_cancel_body),
            Self::Exception => (Tone::Warn, Icon::Warning, t.resume_exception_title, t.resume_exception_body),
            Self::Timeout => (Tone::Plain, Icon::Clock, t.resume_timeout_title, t.resume_timeout_body),
            Self::Ttl => (Tone::Plain, Icon::Clock, t.resume_ttl_title, t.resume_ttl_body),
        }
    }
}

impl PairingPage {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Choice { .. } | Self::Denied | Self::Done { .. } | Self::Invitation { .. } => {
                StatusCode::OK
            }
            Self::Failed { .. } => StatusCode::BAD_GATEWAY,
            Self::NoAccount { .. } | Self::NotAllowed { .. } => StatusCode::CONFLICT,
            Self::Stale => StatusCode::GONE,
        }
    }

    fn content(&self, t: &'static Texts) -> Content {
        let (tone, icon, title, body) = match self {
            Self::Choice { .. } => (Tone::Plain, Icon::Search, t.connect_choose_title, t.connect_choose_body),
            Self::Denied => (Tone::Plain, Icon::Cross, t.connect_denied_title, t.connect_denied_body),
            Self::Done { .. } => (Tone::Good, Icon::Check, t.connect_done_title, t.connect_done_body),
            Self::Failed { .. } => (Tone::Bad, Icon::Warning, t.connect_failed_title, t.connect_failed_body),
            Self::Invitation { again: true, .. } => {
                (Tone::Plain, Icon::Pen, t.connect_again_title, t.connect_again_body)
            }
            Self::Invitation { .. } => (Tone::Plain, Icon::Pen, t.connect_title, t.connect_body),
            Self::NoAccount { .. } => {
                (Tone::Warn, Icon::Warning, t.connect_no_account_title, t.connect_no_account_body)
            }
            Self::NotAllowed { .. } => {
                (Tone::Warn, Icon::Lock, t.connect_not_allowed_title, t.connect_not_allowed_body)
            }
            Self::Stale => (Tone::Plain, Icon::Clock, t.connect_stale_title, t.connect_stale_body),
        };
        let body = match self {
            Self::Choice { sender, .. } | Self::Invitation { sender, .. } => {
                filled(body, &[("sender", sender.as_str())])
            }
            Self::Done { sender, account } => {
                filled(body, &[("sender", sender.as_str()), ("account", account.as_str())])
            }
            Self::Failed { code } | Self::NoAccount { code } => filled(body, &[("code", *code)]),
            Self::Denied | Self::NotAllowed { .. } | Self::Stale => html! { (body) },
        };
        let action = match self {
            Self::Invitation { .. } => Action::Mint(t.connect_button),
            _ => Action::None,
        };
        Content { tone, icon, title: title.to_owned(), body, action }
    }
}

impl ConsentPage {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Denied | Self::Granted { .. } | Self::Organisation => StatusCode::OK,
            Self::Failed | Self::Refused { .. } | Self::Unavailable => StatusCode::BAD_GATEWAY,
            Self::Received => StatusCode::BAD_REQUEST,
            Self::WrongUser { .. } => StatusCode::CONFLICT,
        }
    }

    fn content(&self, t: &'static Texts) -> Content {
        let (tone, icon, title, body) = match self {
            Self::Denied => (Tone::Plain, Icon::Cross, t.consent_denied_title, t.consent_denied_body),
            Self::Failed => (Tone::Bad, Icon::Warning, t.consent_failed_title, t.consent_failed_body),
            Self::Granted { .. } => {
                (Tone::Good, Icon::Check, t.consent_granted_title, t.consent_granted_body)
            }
            Self::Organisation => {
                (Tone::Good, Icon::Check, t.consent_received_title, t.consent_organisation_body)
            }
            Self::Received => (Tone::Warn, Icon::Clock, t.consent_received_title, t.consent_received_body),
            Self::Refused { .. } => {
                (Tone::Bad, Icon::Warning, t.consent_refused_title, t.consent_refused_body)
            }
            Self::Unavailable => {
                (Tone::Warn, Icon::Clock, t.consent_unavailable_title, t.consent_unavailable_body)
            }
            Self::WrongUser { .. } => {
                (Tone::Warn, Icon::Warning, t.consent_wrong_user_title, t.consent_wrong_user_body)
            }
        };
        let body = match self {
            Self::Granted { sender } | Self::WrongUser { sender } => {
                filled(body, &[("sender", sender.as_str())])
            }
            Self::Refused { code } => filled(body, &[("code", *code)]),
            Self::Denied | Self::Failed | Self::Organisation | Self::Received | Self::Unavailable => {
                html! { (body) }
            }
        };
        Content { tone, icon, title: title.to_owned(), body, action: Action::None }
    }
}
