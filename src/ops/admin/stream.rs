//! `/admin/stream`: the parts of the page that may change, sent when they do (server-sent events, HTML
//! Living Standard 9.2). The page's script replaces only what is different.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use http::{HeaderValue, header};
use tokio::sync::OwnedSemaphorePermit;

use super::{Admin, Came, page, request, session::Session, view};

/// Far more than there are operators.
pub(super) const MAX_STREAMS: usize = 32;
/// How often a stream looks for a change.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Where a stream is.
struct Watching {
    admin: Arc<Admin>,
    session: Session,
    /// The first sender on the page.
    from: String,
    /// What was sent last.
    sent: String,
    is_over: bool,
    _place: OwnedSemaphorePermit,
}

/// `GET /admin/stream`. Ends with the login and with the daemon.
pub(super) async fn open(State(admin): State<Arc<Admin>>, headers: HeaderMap, came: Query<Came>) -> Response {
    let Some(session) = admin.session(&headers) else {
        return request::text(StatusCode::UNAUTHORIZED, "not logged in\n");
    };
    let Ok(place) = Arc::clone(&admin.streams).try_acquire_owned() else {
        return request::text(StatusCode::SERVICE_UNAVAILABLE, "too many streams are open\n");
    };
    let watching = Watching {
        admin,
        session,
        from: came.0.from.unwrap_or_default(),
        sent: String::new(),
        is_over: false,
        _place: place,
    };
    let events = stream::unfold(watching, Watching::next);
    let mut response = Sse::new(events).keep_alive(KeepAlive::default()).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Watching {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        if self.is_over {
            return None;
        }
        let admin = Arc::clone(&self.admin);
        loop {
            if admin.clock.uptime() >= self.session.until || !admin.is_open(&self.session) {
                self.is_over = true;
                return Some((Ok(Event::default().event("end").data("the login has ended")), self));
            }
            let html = page::parts(&self.session, &view::look(&admin, &self.from).await).into_string();
            if html != self.sent {
                self.sent.clone_from(&html);
                return Some((Ok(Event::default().data(html)), self));
            }
            tokio::select! {
                () = admin.closing.cancelled() => return None,
                () = admin.clock.sleep(LOOK_EVERY) => {}
            }
        }
    }
}
