//! `/r/{nonce}`: the browser comes back from the upstream. What it says is noted as a claim; where it goes
//! and what the site is told follow from the facts (rules F1, F2).

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    response::Response,
};
use http::{HeaderMap, Method, StatusCode, Uri, request::Parts};
use jiff::Timestamp;
use url::form_urlencoded;

use crate::{
    domain::{Claim, Signer, SignerStatus, Signing},
    public::{
        Public,
        address::with_result,
        answer::{empty, see_other},
        clicks::{Clicked, Clicks, to_the_line},
        links::Shown,
        pages::{Details, Page, Pause},
        request,
        situation::{self, Next},
    },
    signing::{Error, LinkState, ReturnTarget, result},
    telemetry::{
        chain,
        metrics::{Fact, ReturnClaim},
    },
};

/// How often the page that waits for the upstream loads itself again before it says that it takes longer.
const MAX_WAITS: u32 = 15;
/// Where pages at this address load themselves again: loading it plainly would count as another return.
const LOOK_AGAIN: &str = "?wait=0";

/// GET: a browser came back. The page that waits for confirmation loads `?wait=N`, which only looks.
pub(super) async fn come_back(
    State(public): State<Arc<Public>>,
    nonce: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let head = request.into_parts().0;
    let Some(target) = public.target(nonce) else { return public.unknown_address(&head) };
    if request::is_ahead(&head.headers) {
        // Not a return: the browser asks again when the visitor really goes here.
        return empty(StatusCode::SERVICE_UNAVAILABLE);
    }
    if let Some(answer) = public.line_back(target, &head).await {
        return answer;
    }
    let query = Query::of(&head.uri);
    let signings = &public.signings;
    let found = match query.wait {
        Some(_) => signings.look_back(target).await.map(|(signing, signer)| {
            let claim = signer.last_return.map_or(Claim::Unknown, |last| last.claim);
            (signing, signer, claim)
        }),
        None => signings.returned(target, query.claim).await.map(|returned| {
            public.count(&returned.signer, returned.claim);
            (returned.signing, returned.signer, returned.claim)
        }),
    };
    match found {
        Ok((signing, signer, claim)) => {
            public.send_on((&signing, &signer), target, claim, query.wait, &head.headers).await
        }
        Err(error) => public.no_return(&head, &error),
    }
}

/// HEAD: says whether the address is good, and does nothing else.
pub(super) async fn look(
    State(public): State<Arc<Public>>,
    nonce: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    match public.target(nonce) {
        Some(_) => empty(StatusCode::OK),
        None => public.unknown_address(&request.into_parts().0),
    }
}

/// GET: the signing page of a view is open, and says so every few minutes (`pingUrl`). Nobody reads the
/// answer. It prolongs the lease of that view, and does nothing else (rules L1, L2).
pub(super) async fn still_open(
    State(public): State<Arc<Public>>,
    path: Result<Path<(String, i64)>, PathRejection>,
    request: Request,
) -> Response {
    let head = request.into_parts().0;
    let named = path.ok().and_then(|Path((nonce, view))| {
        Some((public.target(Ok(Path(nonce)))?, Timestamp::from_microsecond(view).ok()?))
    });
    let Some((target, minted_at)) = named else { return public.unknown_address(&head) };
    if head.method == Method::HEAD {
        return empty(StatusCode::NO_CONTENT);
    }
    match public.signings.still_open(target, minted_at).await {
        Ok(()) => empty(StatusCode::NO_CONTENT),
        Err(error) => public.no_return(&head, &error),
    }
}

/// POST: "continue signing".
pub(super) async fn click(
    State(public): State<Arc<Public>>,
    nonce: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let Some(target) = public.target(nonce) else { return public.unknown_address(&head) };
    let (signing, signer) = match public.signings.look_back(target).await {
        Ok(found) => found,
        Err(error) => return public.no_return(&head, &error),
    };
    let form = match request::form(body, &public.clock).await {
        Ok(form) => form,
        Err(status) => {
            return public.page_back(&signing, &signer, (status, Page::BadRequest(status)), &head.headers);
        }
    };
    if !request::is_from_our_page(&head.headers, &public.settings.origin) {
        let page = situation::of_link(&signing, &signer, public.clock.now());
        return public.page_back(&signing, &signer, (StatusCode::FORBIDDEN, page), &head.headers);
    }
    if public.signings.is_over(&signing) {
        let page = Page::LinkExpired;
        return public.page_back(&signing, &signer, (page.status(), page), &head.headers);
    }
    let name = Clicks::name_of(form.click);
    let clicked = public.click(target, &name).await;
    if let Some(answer) = to_the_line(&clicked, &name) {
        return answer;
    }
    public.after_resume(target, (signing, signer), clicked, &name, &head.headers).await
}

impl Public {
    fn target(&self, nonce: Result<Path<String>, PathRejection>) -> Option<ReturnTarget> {
        self.signings.return_target(&nonce.ok()?.0)
    }

    /// The answer to the page of a click in line, as on a link's own page.
    async fn line_back(&self, target: ReturnTarget, head: &Parts) -> Option<Response> {
        let name = request::in_line(&head.uri)?;
        let clicked = self.look_in_line(target.signer, &name);
        let found = match self.signings.look_back(target).await {
            Ok(found) => found,
            Err(error) => return Some(self.no_return(head, &error)),
        };
        if let Some(clicked) = clicked {
            return Some(self.after_resume(target, found, clicked, &name, &head.headers).await);
        }
        // To load it plainly would count as another return.
        let page = self.page_of(target).await.unwrap_or(Page::Trouble);
        let shown = Shown { lost: Clicks::is_name(&name), ..Shown::of(status_here(&page), page) };
        Some(self.page_back_to(&found.0, &found.1, shown, &head.headers))
    }

    /// The browser's next place: the site, or one of our pages.
    async fn send_on(
        &self,
        (signing, signer): (&Signing, &Signer),
        target: ReturnTarget,
        claim: Claim,
        waits: Option<u32>,
        headers: &HeaderMap,
    ) -> Response {
        let is_over = self.signings.is_over(signing);
        let next = situation::after_return(signing, signer, claim, is_over, self.clock.now());
        let site = self.site(signing, signer, claim);
        let page = match (next, &site) {
            (Next::Page(Page::Resume(pause)), _) => self.resume_or_over(target, pause).await,
            (Next::Page(page), _) => page,
            (Next::Site, Some(site)) => match see_other(site) {
                Some(response) => return response,
                None => Page::Trouble,
            },
            (Next::Site, None) => situation::of_link(signing, signer, self.clock.now()),
        };
        let waits = waits.unwrap_or(0);
        let page = match page {
            Page::Pending { .. } => Page::Pending { long: waits >= MAX_WAITS },
            other => other,
        };
        let refresh_to = match page {
            Page::Pending { .. } => format!("?wait={}", waits.saturating_add(1)),
            _ => LOOK_AGAIN.to_owned(),
        };
        let name = page.has_button().then(Clicks::name);
        let details = Details {
            back: site.as_deref(),
            click: name.as_deref(),
            refresh_to: Some(refresh_to.as_str()),
            ..situation::details(signing, signer)
        };
        let language = request::language(signing.locale.as_deref(), headers);
        self.page_as(status_here(&page), language, &page, &details, &signing.frame_ancestors)
    }

    /// Who comes back by a link that was revoked meanwhile is not led on.
    async fn resume_or_over(&self, target: ReturnTarget, pause: Pause) -> Page {
        match self.signings.link_state(target.link).await {
            Ok(LinkState::Live) => Page::Resume(pause),
            Ok(over) => situation::of_link_over(over),
            Err(_) => Page::Trouble,
        }
    }

    async fn after_resume(
        &self,
        target: ReturnTarget,
        (signing, signer): (Signing, Signer),
        clicked: Clicked,
        name: &str,
        headers: &HeaderMap,
    ) -> Response {
        let now = self.clock.now();
        let page = match clicked {
            Clicked::View(url) => match see_other(url.reveal()) {
                Some(response) => return response,
                None => Page::Trouble,
            },
            Clicked::Early => Page::Waiting { may_ask: true },
            Clicked::Elsewhere(until) => situation::elsewhere(until, now),
            Clicked::Gone => Page::Gone,
            Clicked::InLine => Page::InLine,
            Clicked::Later => Page::Unavailable,
            Clicked::Moved => self.page_of(target).await.unwrap_or(Page::Trouble),
            Clicked::Nothing => Page::Unknown,
            Clicked::Renamed(until) => situation::renamed(until, now),
            Clicked::TooOften => Page::TooOften,
            Clicked::Trouble => Page::Trouble,
        };
        let refresh_to = matches!(page, Page::InLine).then(|| request::line(name));
        let shown = Shown { refresh_to, ..Shown::of(page.status_of_click(), page) };
        self.page_back_to(&signing, &signer, shown, headers)
    }

    /// A page at this address that leads back to the site, if there is one.
    fn page_back(
        &self,
        signing: &Signing,
        signer: &Signer,
        (status, page): (StatusCode, Page),
        headers: &HeaderMap,
    ) -> Response {
        self.page_back_to(signing, signer, Shown::of(status, page), headers)
    }

    fn page_back_to(
        &self,
        signing: &Signing,
        signer: &Signer,
        shown: Shown,
        headers: &HeaderMap,
    ) -> Response {
        let Shown { status, page, lost, refresh_to } = shown;
        let claim = signer.last_return.map_or(Claim::Unknown, |last| last.claim);
        let site = self.site(signing, signer, claim);
        let name = page.has_button().then(Clicks::name);
        let details = Details {
            back: site.as_deref(),
            click: name.as_deref(),
            lost,
            refresh_to: refresh_to.as_deref().or(Some(LOOK_AGAIN)),
            ..situation::details(signing, signer)
        };
        let language = request::language(signing.locale.as_deref(), headers);
        self.page_as(status, language, &page, &details, &signing.frame_ancestors)
    }

    /// The caller's address with what it may know: the facts, and our signature under them.
    fn site(&self, signing: &Signing, signer: &Signer, claim: Claim) -> Option<String> {
        let url = signer.return_url.as_deref()?;
        let token = self.results.sign(signing, signer, claim, self.signings.corrected_now());
        with_result(url, [&signing.id.to_string(), result::status(signing, signer), &token])
    }

    fn count(&self, signer: &Signer, claim: Claim) {
        self.metrics.returned(claim_label(claim), fact_label(claim, signer.status));
    }

    fn no_return(&self, head: &Parts, error: &Error) -> Response {
        if matches!(error, Error::NotFound) {
            // A good nonce of a signing that retention has destroyed.
            return self.unknown_address(head);
        }
        tracing::error!(error = %chain(&error), "a return could not be noted");
        self.page(request::language(None, &head.headers), &Page::Trouble, &Details::default(), &[])
    }
}

/// What came with the address.
#[derive(Debug, PartialEq, Eq)]
struct Query {
    claim: Claim,
    wait: Option<u32>,
}

impl Query {
    fn of(uri: &Uri) -> Self {
        let mut query = Self { claim: Claim::Unknown, wait: None };
        let mut has_event = false;
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            match &*name {
                // The upstream adds one; of several, the first.
                "event" if !has_event => {
                    has_event = true;
                    query.claim = Claim::parse(&value);
                }
                "wait" => query.wait = value.parse().ok().or(Some(MAX_WAITS)),
                _ => {}
            }
        }
        query
    }
}

/// Whoever comes back is in the right place, whatever has become of the signing.
fn status_here(page: &Page) -> StatusCode {
    match page.status() {
        StatusCode::ACCEPTED | StatusCode::FORBIDDEN | StatusCode::GONE => StatusCode::OK,
        other => other,
    }
}

const fn claim_label(claim: Claim) -> ReturnClaim {
    match claim {
        Claim::AccessCodeFailed | Claim::IdCheckFailed => ReturnClaim::AuthFailed,
        Claim::Cancel => ReturnClaim::Cancel,
        Claim::Decline => ReturnClaim::Decline,
        Claim::Exception | Claim::FaxPending | Claim::Unknown | Claim::ViewingComplete => ReturnClaim::Other,
        Claim::SessionTimeout | Claim::TtlExpired => ReturnClaim::Timeout,
        Claim::SigningComplete => ReturnClaim::SigningComplete,
    }
}

/// Whether the facts bear a claim out.
fn fact_label(claim: Claim, status: SignerStatus) -> Fact {
    let claimed = match claim {
        Claim::AccessCodeFailed | Claim::IdCheckFailed => Some(SignerStatus::AuthFailed),
        Claim::Decline => Some(SignerStatus::Declined),
        Claim::SigningComplete | Claim::ViewingComplete => Some(SignerStatus::Signed),
        _ => None,
    };
    match claimed {
        Some(claimed) if claimed == status => Fact::Confirmed,
        _ if status.is_terminal() => Fact::Contradicted,
        Some(_) => Fact::Pending,
        None => Fact::Confirmed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_event_counts_and_strange_ones_are_unknown() {
        let of = |text: &str| Query::of(&text.parse().unwrap());
        assert_eq!(of("/r/x?event=cancel"), Query { claim: Claim::Cancel, wait: None });
        assert_eq!(of("/r/x?event=cancel&event=signing_complete").claim, Claim::Cancel);
        assert_eq!(of("/r/x?event=%73igning_complete").claim, Claim::SigningComplete);
        for strange in ["/r/x", "/r/x?", "/r/x?event=", "/r/x?event=SIGNED", "/r/x?Event=cancel"] {
            assert_eq!(of(strange).claim, Claim::Unknown, "{strange}");
        }
        assert_eq!(of("/r/x?wait=3").wait, Some(3));
        assert_eq!(of("/r/x?wait=-1").wait, Some(MAX_WAITS));
    }

    #[test]
    fn all_ten_claims_are_counted_with_what_was_so() {
        assert_eq!(Claim::ALL.len(), 11, "ten, and the unknown one");
        for claim in Claim::ALL {
            for status in SignerStatus::ALL {
                let fact = fact_label(*claim, status);
                if *claim == Claim::SigningComplete {
                    assert_eq!(fact == Fact::Confirmed, status == SignerStatus::Signed, "{status:?}");
                }
            }
        }
        assert_eq!(fact_label(Claim::Cancel, SignerStatus::Signed), Fact::Contradicted);
        assert_eq!(fact_label(Claim::Decline, SignerStatus::InSession), Fact::Pending);
    }

    proptest! {
        #[test]
        fn no_query_panics(query in "[!-~]{0,80}") {
            if let Ok(uri) = format!("/r/x?{query}").parse::<Uri>() {
                let _ = Query::of(&uri);
            }
        }
    }
}
