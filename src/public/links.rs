//! `/s/{token}`: a durable link. Looking changes nothing; the button's POST mints (rules L1, L2).

use std::sync::Arc;

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
        clicks::{Clicked, Clicks, to_the_line},
        pages::{Details, Invitation, LinkLife, Page, Preparing},
        request, situation,
    },
    signing::{Error, LinkState, OpenedLink, ReturnTarget},
    telemetry::{chain, metrics::LinkKind},
};

/// The address of the link itself, from any page at it: a relative reference.
const PLAIN: &str = "?";

/// GET and HEAD: the page of the situation.
pub(super) async fn show(
    State(public): State<Arc<Public>>,
    token: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let head = request.into_parts().0;
    let opened = match public.open(token, &head).await {
        Ok(opened) => opened,
        Err(answer) => return answer,
    };
    // HEAD is answered as GET would be (RFC 9110, 9.3.2). Looking for a click in line mints nothing either way, and shows
    // that its visitor is there, who alone knows its name (rule L1).
    if let Some(answer) = public.in_line(&opened, &head).await {
        return answer;
    }
    if head.method == Method::GET {
        public.metrics.link_opened(LinkKind::Page);
    }
    public.show_link(&opened, &head.headers, None)
}

/// POST: the button, or a site's own form with a ticket.
pub(super) async fn click(
    State(public): State<Arc<Public>>,
    token: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let opened = match public.open(token, &head).await {
        Ok(opened) => opened,
        Err(answer) => return answer,
    };
    let form = match request::form(body, &public.clock).await {
        Ok(form) => form,
        Err(status) => {
            let language = language(&opened, &head.headers);
            let frames = &opened.signing.frame_ancestors;
            return public.page(language, &Page::BadRequest(status), &Details::default(), frames);
        }
    };
    if opened.state != LinkState::Live {
        return public.show_link(&opened, &head.headers, None);
    }
    let (kind, is_ours) = match &form.ticket {
        Some(ticket) => (LinkKind::Direct, public.tickets.redeem(ticket, opened.id, public.clock.now())),
        None => (LinkKind::Button, request::is_from_our_page(&head.headers, &public.settings.origin)),
    };
    public.metrics.link_opened(kind);
    if !is_ours {
        // A person whose ticket came too late still gets on: with the button.
        let page = match public.page_of_live(&opened) {
            Page::Ready(invitation) => Page::Ready(Invitation { refused: true, ..invitation }),
            other => other,
        };
        return public.show_link(&opened, &head.headers, Some(Shown::of(StatusCode::FORBIDDEN, page)));
    }
    let name = Clicks::name_of(form.click);
    let clicked = public.click(opened.target(), &name).await;
    if let Some(answer) = to_the_line(&clicked, &name) {
        return answer;
    }
    public.after_click(opened, clicked, &name, &head.headers).await
}

/// A page that is shown in place of an address' own.
pub(super) struct Shown {
    pub(super) status: StatusCode,
    pub(super) page: Page,
    /// Whether it is shown to a click of which nothing is known here (any more).
    pub(super) lost: bool,
    /// Where it goes when it loads itself again.
    pub(super) refresh_to: Option<String>,
}

impl Shown {
    pub(super) const fn of(status: StatusCode, page: Page) -> Self {
        Self { status, page, lost: false, refresh_to: None }
    }
}

impl Public {
    /// Finds the link of a request, or says that there is none.
    pub(super) async fn open(
        &self,
        token: Result<Path<String>, PathRejection>,
        head: &Parts,
    ) -> Result<OpenedLink, Response> {
        let found = match token {
            Ok(Path(token)) => self.signings.open_link(&Private::new(token)).await,
            Err(_) => Ok(None),
        };
        match found {
            Ok(Some(opened)) => Ok(opened),
            Ok(None) => {
                self.metrics.link_opened(LinkKind::Unknown);
                Err(self.unknown_address(head))
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "a link could not be looked up");
                let language = request::language(None, &head.headers);
                Err(self.page(language, &Page::Trouble, &Details::default(), &[]))
            }
        }
    }

    /// The answer to an address that leads nowhere; too many of them from one network are refused.
    pub(super) fn unknown_address(&self, head: &Parts) -> Response {
        let address = request::address(head, &self.settings.proxies);
        let allowed = self.guesses.allows(address, self.clock.uptime());
        let page = if allowed { Page::Unknown } else { Page::TooMany };
        self.page(request::language(None, &head.headers), &page, &Details::default(), &[])
    }

    /// The page of a link: its own state first, then the signing's; or another page with its status.
    fn show_link(&self, opened: &OpenedLink, headers: &HeaderMap, other: Option<Shown>) -> Response {
        let Shown { status, page, lost, refresh_to } = other.unwrap_or_else(|| {
            let page = match opened.state {
                LinkState::Live => self.page_of_live(opened),
                over => situation::of_link_over(over),
            };
            Shown::of(page.status(), page)
        });
        let name = page.has_button().then(Clicks::name);
        let details = Details {
            click: name.as_deref(),
            link: Some(opened.ends_at.map_or(LinkLife::WhileOpen, LinkLife::Until)),
            lost,
            refresh_to: refresh_to.as_deref(),
            ..situation::details(&opened.signing, &opened.signer)
        };
        let language = language(opened, headers);
        self.page_as(status, language, &page, &details, &opened.signing.frame_ancestors)
    }

    /// The answer to the page of a click in line, which loads itself again under the name of its click. The
    /// click mints, this only looks; whoever loads pages ahead gets no view.
    async fn in_line(&self, opened: &OpenedLink, head: &Parts) -> Option<Response> {
        let name = request::in_line(&head.uri).filter(|_| !request::is_ahead(&head.headers))?;
        if opened.state != LinkState::Live {
            return None;
        }
        if let Some(clicked) = self.look_in_line(opened.signer.id, &name) {
            return Some(self.after_click(opened.clone(), clicked, &name, &head.headers).await);
        }
        // It may stand in line at another daemon, which cannot be asked.
        let page = Clicks::is_name(&name).then(|| self.page_of_live(opened))?;
        let refresh_to = Some(PLAIN.to_owned());
        let shown = Shown { lost: true, refresh_to, ..Shown::of(page.status(), page) };
        Some(self.show_link(opened, &head.headers, Some(shown)))
    }

    async fn after_click(
        &self,
        opened: OpenedLink,
        clicked: Clicked,
        name: &str,
        headers: &HeaderMap,
    ) -> Response {
        let page = match clicked {
            Clicked::View(url) => match see_other(url.reveal()) {
                Some(response) => return response,
                None => Page::Trouble,
            },
            Clicked::Early => Page::Waiting { may_ask: true },
            Clicked::Elsewhere(until) => situation::elsewhere(until, self.clock.now()),
            Clicked::Gone => Page::Gone,
            Clicked::InLine => Page::InLine,
            Clicked::Later => Page::Unavailable,
            Clicked::Moved => self.page_now(&opened).await,
            Clicked::Nothing => Page::Unknown,
            Clicked::Renamed(until) => situation::renamed(until, self.clock.now()),
            Clicked::TooOften => Page::TooOften,
            Clicked::Trouble => Page::Trouble,
        };
        if page == Page::Creating(Preparing::First)
            && let Some(response) = see_other(PLAIN)
        {
            // The click did what its button says, and the page that waits is one to come back to.
            return response;
        }
        let refresh_to = matches!(page, Page::InLine).then(|| request::line(name));
        let shown = Shown { refresh_to, ..Shown::of(page.status_of_click(), page) };
        self.show_link(&opened, headers, Some(shown))
    }

    /// The page of a link that leads on, as the signing stood when it was opened.
    fn page_of_live(&self, opened: &OpenedLink) -> Page {
        let page = situation::of_link(&opened.signing, &opened.signer, self.clock.now());
        situation::in_line(page, opened.queued)
    }

    /// The situation as it is after all: somebody was faster.
    async fn page_now(&self, opened: &OpenedLink) -> Page {
        self.page_of(opened.target()).await.unwrap_or(Page::Trouble)
    }

    /// The page of a signer as it is now: their link's own state first, then the signing's.
    pub(super) async fn page_of(&self, target: ReturnTarget) -> Result<Page, Error> {
        let signings = &self.signings;
        Ok(match signings.link_state(target.link).await? {
            LinkState::Live => {
                let (signing, signer, queued) = signings.look_at(target).await?;
                let page = situation::of_link(&signing, &signer, self.clock.now());
                situation::in_line(page, queued)
            }
            over => situation::of_link_over(over),
        })
    }
}

fn language(opened: &OpenedLink, headers: &HeaderMap) -> Language {
    request::language(opened.signing.locale.as_deref(), headers)
}
