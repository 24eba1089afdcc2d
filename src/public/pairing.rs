//! `/connect/{ticket}`: a customer connects an account; and the answer that comes back to `/consent/callback`.
//!
//! GET shows, POST acts, as with links: a mail scanner that opens the link starts nothing. The browser between
//! the two is known by a cookie that lives a quarter of an hour, is not readable by script, and is sent on a
//! top-level navigation only. Each attempt has its own, so that several links are completed side by side. No page holds
//! a code, a token or the cookie.

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};

use crate::{
    auth::consent::{self, ConsentBy},
    pairing::{Answer, Cookie, Error, Opened, Outcome, PairingTickets, connect_url},
    public::{
        Public,
        answer::see_other,
        pages::{Account, Details, Page, PairingPage},
        request,
    },
};

/// The cookie's life in seconds: that of a state.
const COOKIE_LIFE_S: u32 = 900;
/// Attempts that one browser can have under way. The oldest gives way to one more: each is a cookie, which comes along with
/// every request, and browsers themselves drop cookies when a site has too many.
const MAX_ATTEMPTS: usize = 8;

/// GET and HEAD: the button, or the accounts.
pub(super) async fn show(
    State(public): State<Arc<Public>>,
    ticket: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let head = request.into_parts().0;
    let Ok(Path(ticket)) = ticket else { return public.refused(&head, &Error::Stale) };
    let cookie = public.cookie(&head.headers, &ticket);
    match public.pairings.open(&ticket, cookie.as_ref()).await {
        Ok(Opened::Invitation { sender, is_paired }) => {
            let page = PairingPage::Invitation { sender: sender.to_string(), again: is_paired };
            public.pairing_page(&head, page)
        }
        Ok(Opened::Choice { sender, offers }) => {
            let accounts = offers.into_iter().map(|offer| Account {
                id: offer.id.to_string(),
                name: offer.name,
                is_default: offer.is_default,
            });
            let page = PairingPage::Choice { sender: sender.to_string(), accounts: accounts.collect() };
            public.pairing_page(&head, page)
        }
        Err(error) => public.refused(&head, &error),
    }
}

/// POST: on to DocuSign, or the account that was chosen.
pub(super) async fn click(
    State(public): State<Arc<Public>>,
    ticket: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let Ok(Path(ticket)) = ticket else { return public.refused(&head, &Error::Stale) };
    if !request::is_from_our_page(&head.headers, &public.settings.origin) {
        return public.pairing_page(&head, PairingPage::Stale);
    }
    let form = match request::form(body, &public.clock).await {
        Ok(form) => form,
        Err(status) => {
            let language = request::language(None, &head.headers);
            return public.page(language, &Page::BadRequest(status), &Details::default(), &[]);
        }
    };
    let back = consent::callback(&public.settings.origin);
    if let Ok((url, cookie)) = public.pairings.begin(&ticket, &back) {
        let Some(answer) = see_other(&url) else {
            return public.pairing_page(&head, PairingPage::Failed { code: "internal" });
        };
        let answer = public.with_cookie(answer, &cookie);
        return public.without_oldest(answer, &head.headers);
    }
    let cookie = public.cookie(&head.headers, &ticket);
    let chosen = public.pairings.choose(&ticket, cookie.as_ref(), form.account.as_deref()).await;
    public.after(&head, cookie.as_ref(), chosen)
}

impl Public {
    /// The answer of DocuSign's page, if its state is one of ours: none leaves it to the consent page.
    pub(super) async fn connected(
        &self,
        head: &Parts,
        state: Option<&str>,
        answer: Answer<'_>,
    ) -> Option<Response> {
        let pairings = &self.pairings;
        let state = state.filter(|state| pairings.is_ours(state))?;
        let cookie = self.cookie(&head.headers, state);
        let outcome = pairings.answered(state, cookie.as_ref(), answer).await;
        // The choice has a quarter of an hour of its own.
        let kept = cookie.as_ref().filter(|_| matches!(outcome, Ok(Outcome::Choose { .. })));
        let answer = self.after(head, cookie.as_ref(), outcome);
        Some(match kept {
            Some(cookie) => self.with_cookie(answer, cookie),
            None => answer,
        })
    }

    fn after(&self, head: &Parts, cookie: Option<&Cookie>, outcome: Result<Outcome, Error>) -> Response {
        match outcome {
            // The accounts have an address of their own: that of the answer holds the code.
            Ok(Outcome::Choose { ticket }) => {
                let url = connect_url(&self.settings.origin, &ticket);
                see_other(&url).unwrap_or_else(|| self.refused(head, &Error::Stale))
            }
            Ok(Outcome::Paired { sender, account }) => {
                let page = PairingPage::Done { sender: sender.to_string(), account };
                let answer = self.pairing_page(head, page);
                match cookie {
                    Some(cookie) => self.without_cookie(answer, cookie),
                    None => answer,
                }
            }
            Err(error) => self.refused(head, &error),
        }
    }

    fn refused(&self, head: &Parts, error: &Error) -> Response {
        let code = error.code().unwrap_or_default();
        let page = match error {
            Error::Denied => PairingPage::Denied,
            Error::NoAccount(_) => PairingPage::NoAccount { code },
            Error::NotAllowed(sender) => {
                let back = consent::callback(&self.settings.origin);
                let (by, name) = (ConsentBy::Organisation, sender.as_str());
                PairingPage::NotAllowed { organisation_url: self.pairings.consent_page(name, by, &back) }
            }
            Error::Stale => {
                let address = request::address(head, &self.settings.proxies);
                if !self.guesses.allows(address, self.clock.uptime()) {
                    let language = request::language(None, &head.headers);
                    return self.page(language, &Page::TooMany, &Details::default(), &[]);
                }
                PairingPage::Stale
            }
            Error::Answered(_) | Error::Auth(_) | Error::Store(_) | Error::Unrecorded => {
                PairingPage::Failed { code }
            }
        };
        self.pairing_page(head, page)
    }

    fn pairing_page(&self, head: &Parts, page: PairingPage) -> Response {
        let language = request::language(None, &head.headers);
        self.page(language, &Page::Pairing(page), &Details::default(), &[])
    }

    /// What the name of a cookie begins with, before the attempt that it is of. `__Host-` wants https; on loopback there is
    /// none.
    fn cookie_prefix(&self) -> &'static str {
        if self.settings.origin.starts_with("https:") { "__Host-connect-" } else { "connect-" }
    }

    /// The cookies of this browser's attempts, in the order in which it sends them: oldest first (RFC 6265, section 5.4).
    fn cookies(&self, headers: &HeaderMap) -> Vec<Cookie> {
        let prefix = self.cookie_prefix();
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let ours = pairs.filter_map(|(name, value)| {
            let (attempt, cookie) = (name.strip_prefix(prefix)?, Cookie::read(value)?);
            (attempt == cookie.attempt()).then_some(cookie)
        });
        ours.collect()
    }

    /// The cookie of the attempt that a state or a choice says that it is of. Whether it is, its MAC tells.
    fn cookie(&self, headers: &HeaderMap, ticket: &str) -> Option<Cookie> {
        let attempt = PairingTickets::attempt_of(ticket)?;
        self.cookies(headers).into_iter().find(|cookie| cookie.attempt() == attempt)
    }

    fn with_cookie(&self, answer: Response, cookie: &Cookie) -> Response {
        self.set_cookie(answer, cookie, cookie.as_str(), COOKIE_LIFE_S)
    }

    fn without_cookie(&self, answer: Response, cookie: &Cookie) -> Response {
        self.set_cookie(answer, cookie, "", 0)
    }

    /// Makes room for one more attempt.
    fn without_oldest(&self, answer: Response, headers: &HeaderMap) -> Response {
        let open = self.cookies(headers);
        let too_many = (open.len() + 1).saturating_sub(MAX_ATTEMPTS);
        open.iter().take(too_many).fold(answer, |answer, cookie| self.without_cookie(answer, cookie))
    }

    fn set_cookie(&self, mut answer: Response, of: &Cookie, value: &str, life_s: u32) -> Response {
        let (prefix, attempt) = (self.cookie_prefix(), of.attempt());
        let secure = if prefix.starts_with("__Host-") { "; Secure" } else { "" };
        let text =
            format!("{prefix}{attempt}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Lax{secure}");
        match HeaderValue::try_from(text) {
            Ok(mut value) => {
                value.set_sensitive(true);
                answer.headers_mut().append(header::SET_COOKIE, value);
                answer
            }
            Err(_) => super::answer::empty(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}
