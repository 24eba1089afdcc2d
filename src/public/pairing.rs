//! `/connect/{ticket}`: a customer connects an account; and the answer that comes back to `/consent/callback`.
//!
//! GET shows, POST acts, as with links: a mail scanner that opens the link starts nothing. The browser between
//! the two is known by a cookie that lives a quarter of an hour, is not readable by script, and is sent on a
//! top-level navigation only. No page holds a code, a token or the cookie.

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};

use crate::{
    auth::consent::{self, ConsentBy},
    pairing::{Answer, Cookie, Error, Opened, Outcome, connect_url},
    public::{
        Public,
        answer::see_other,
        pages::{Account, Details, Page, PairingPage},
        request,
    },
};

/// The cookie's life in seconds: that of a state.
const COOKIE_LIFE_S: u32 = 900;

/// GET and HEAD: the button, or the accounts.
pub(super) async fn show(
    State(public): State<Arc<Public>>,
    ticket: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let head = request.into_parts().0;
    let cookie = public.cookie(&head.headers);
    let Ok(Path(ticket)) = ticket else { return public.refused(&head, &Error::Stale) };
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
        return match see_other(&url) {
            Some(answer) => public.with_cookie(answer, Some(&cookie)),
            None => public.pairing_page(&head, PairingPage::Failed { code: "internal" }),
        };
    }
    let cookie = public.cookie(&head.headers);
    let chosen = public.pairings.choose(&ticket, cookie.as_ref(), form.account.as_deref()).await;
    public.after(&head, chosen)
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
        let cookie = self.cookie(&head.headers);
        let outcome = pairings.answered(state, cookie.as_ref(), answer).await;
        let is_choice = matches!(outcome, Ok(Outcome::Choose { .. }));
        let answer = self.after(head, outcome);
        // The choice has a quarter of an hour of its own.
        Some(if is_choice { self.with_cookie(answer, cookie.as_ref()) } else { answer })
    }

    fn after(&self, head: &Parts, outcome: Result<Outcome, Error>) -> Response {
        match outcome {
            // The accounts have an address of their own: that of the answer holds the code.
            Ok(Outcome::Choose { ticket }) => {
                let url = connect_url(&self.settings.origin, &ticket);
                see_other(&url).unwrap_or_else(|| self.refused(head, &Error::Stale))
            }
            Ok(Outcome::Paired { sender, account }) => {
                let page = PairingPage::Done { sender: sender.to_string(), account };
                let answer = self.pairing_page(head, page);
                self.with_cookie(answer, None)
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

    /// `__Host-` wants https; on loopback there is none.
    fn cookie_name(&self) -> &'static str {
        if self.settings.origin.starts_with("https:") { "__Host-connect" } else { "connect" }
    }

    fn cookie(&self, headers: &HeaderMap) -> Option<Cookie> {
        let name = self.cookie_name();
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find_map(|(given, value)| (given == name).then_some(value)).and_then(Cookie::read)
    }

    fn with_cookie(&self, mut answer: Response, cookie: Option<&Cookie>) -> Response {
        let name = self.cookie_name();
        let secure = if name.starts_with("__Host-") { "; Secure" } else { "" };
        let (value, life) = cookie.map_or(("", 0), |cookie| (cookie.as_str(), COOKIE_LIFE_S));
        let text = format!("{name}={value}; Path=/; Max-Age={life}; HttpOnly; SameSite=Lax{secure}");
        match HeaderValue::try_from(text) {
            Ok(mut value) => {
                value.set_sensitive(true);
                answer.headers_mut().insert(header::SET_COOKIE, value);
                answer
            }
            Err(_) => super::answer::empty(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}
