//! `/s/{token}`: a durable link. Looking changes nothing; the button's POST mints (rules L1, L2).

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    response::Response,
};
use http::{HeaderMap, Method, StatusCode, request::Parts};

use crate::{
    domain::{Language, Private},
    public::{
        Public,
        answer::see_other,
        clicks::{Clicked, Clicks},
        pages::{Details, Invitation, Page},
        request, situation,
    },
    signing::{LinkState, OpenedLink},
    telemetry::metrics::LinkKind,
};

/// GET and HEAD: the page of the situation.
pub(super) async fn show(
    State(public): State<Public>,
    token: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let head = request.into_parts().0;
    let opened = match public.open(token, &head).await {
        Ok(opened) => opened,
        Err(answer) => return answer,
    };
    if head.method == Method::GET {
        public.parts.given.metrics.link_opened(LinkKind::Page);
    }
    public.show_link(&opened, &head.headers, None)
}

/// POST: the button, or a site's own form with a ticket.
pub(super) async fn click(
    State(public): State<Public>,
    token: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let opened = match public.open(token, &head).await {
        Ok(opened) => opened,
        Err(answer) => return answer,
    };
    let form = match request::form(body, &public.parts.given.clock).await {
        Ok(form) => form,
        Err(status) => {
            let language = language(&opened, &head.headers);
            return public.page(language, &Page::BadRequest(status), &Details::default(), &[]);
        }
    };
    if opened.state != LinkState::Live {
        return public.show_link(&opened, &head.headers, None);
    }
    let parts = &public.parts;
    let (kind, is_ours) = match &form.ticket {
        Some(ticket) => {
            (LinkKind::Direct, parts.given.tickets.redeem(ticket, opened.id, parts.given.clock.now()))
        }
        None => (LinkKind::Button, request::is_from_our_page(&head.headers, &parts.given.settings.origin)),
    };
    parts.given.metrics.link_opened(kind);
    if !is_ours {
        // A person whose ticket came too late still gets on: with the button.
        let page = match situation::of_link(&opened.signing, &opened.signer, parts.given.clock.now()) {
            Page::Ready(invitation) => Page::Ready(Invitation { refused: true, ..invitation }),
            other => other,
        };
        return public.show_link(&opened, &head.headers, Some((StatusCode::FORBIDDEN, page)));
    }
    let clicked = parts.click(opened.signing.id, opened.signer.id, form.click).await;
    public.after_click(opened, clicked, &head.headers).await
}

impl Public {
    /// Finds the link of a request, or says that there is none.
    async fn open(
        &self,
        token: Result<Path<String>, PathRejection>,
        head: &Parts,
    ) -> Result<OpenedLink, Response> {
        let found = match token {
            Ok(Path(token)) => self.parts.given.signings.open_link(&Private::new(token)).await,
            Err(_) => Ok(None),
        };
        match found {
            Ok(Some(opened)) => Ok(opened),
            Ok(None) => {
                self.parts.given.metrics.link_opened(LinkKind::Unknown);
                Err(self.unknown_address(head))
            }
            Err(error) => {
                tracing::error!(%error, "a link could not be looked up");
                let language = request::language(None, &head.headers);
                Err(self.page(language, &Page::Trouble, &Details::default(), &[]))
            }
        }
    }

    /// The answer to an address that leads nowhere; too many of them from one network are refused.
    pub(super) fn unknown_address(&self, head: &Parts) -> Response {
        let allowed = self.parts.guesses.allows(request::address(head), self.parts.given.clock.uptime());
        let page = if allowed { Page::Unknown } else { Page::TooMany };
        self.page(request::language(None, &head.headers), &page, &Details::default(), &[])
    }

    /// The page of a link: its own state first, then the signing's; or another page with its status.
    fn show_link(
        &self,
        opened: &OpenedLink,
        headers: &HeaderMap,
        other: Option<(StatusCode, Page)>,
    ) -> Response {
        let (status, page) = other.unwrap_or_else(|| {
            let page = match opened.state {
                LinkState::Expired => Page::LinkExpired,
                LinkState::Live => {
                    situation::of_link(&opened.signing, &opened.signer, self.parts.given.clock.now())
                }
                LinkState::Revoked => Page::Revoked,
            };
            (page.status(), page)
        });
        let name = matches!(page, Page::Ready(_)).then(Clicks::name);
        let details =
            Details { click: name.as_deref(), ..situation::details(&opened.signing, &opened.signer) };
        let language = language(opened, headers);
        self.page_as(status, language, &page, &details, &opened.signing.frame_ancestors)
    }

    async fn after_click(&self, opened: OpenedLink, clicked: Clicked, headers: &HeaderMap) -> Response {
        let page = match clicked {
            Clicked::View(url) => match see_other(url.reveal()) {
                Some(response) => return response,
                None => Page::Trouble,
            },
            Clicked::Elsewhere(until) => situation::elsewhere(until, self.parts.given.clock.now()),
            Clicked::Later => Page::Unavailable,
            Clicked::Moved => self.page_now(&opened).await,
            Clicked::Nothing => Page::Unknown,
            Clicked::Trouble => Page::Trouble,
        };
        self.show_link(&opened, headers, Some((page.status_of_click(), page)))
    }

    /// The situation as it is after all: somebody was faster.
    async fn page_now(&self, opened: &OpenedLink) -> Page {
        let target = crate::signing::ReturnTarget { signing: opened.signing.id, signer: opened.signer.id };
        match self.parts.given.signings.look_back(target).await {
            Ok((signing, signer)) => situation::of_link(&signing, &signer, self.parts.given.clock.now()),
            Err(_) => Page::Trouble,
        }
    }
}

fn language(opened: &OpenedLink, headers: &HeaderMap) -> Language {
    request::language(opened.signing.locale.as_deref(), headers)
}
