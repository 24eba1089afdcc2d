//! Streams of a caller's events (WHATWG HTML, "Server-sent events"): `id` is the event's id, `event` its
//! type, `data` the event as `GET /v1/events` shows it. A reader that comes back sends `Last-Event-ID`.
//! The last block of a stream may be an id alone: how far it has come.

use std::{convert::Infallible, pin::Pin, time::Duration};

use axum::response::{
    IntoResponse as _, Response,
    sse::{self, KeepAlive, Sse},
};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::{HeaderMap, HeaderValue, header};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{Problem, caller::Caller, router::Api},
    domain::SigningId,
    events::{Start, stream::Item},
    objects::show,
    store,
};

/// Opens a stream: after the last event that the reader was told, else from `start` on. It ends after `timeout`, after an
/// hour, and when the callers of the settings are replaced.
pub(super) fn open(
    api: &Api,
    caller: &Caller,
    signing: Option<SigningId>,
    start: Start,
    timeout: Option<Duration>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let start = match headers.get("last-event-id") {
        None => start,
        Some(id) => {
            let id = id.to_str().ok().and_then(|id| id.parse().ok());
            Start::After(id.ok_or_else(|| {
                Problem::new("invalid_request", "the header Last-Event-ID is not a valid event id")
                    .fix("Send the id of the last event that was read (evt_…), or leave the header out.")
            })?)
        }
    };
    let ends = caller.outdated().child_token();
    let events = api.streams.open(caller.name.clone(), signing, start, ends.clone());
    let events = events.map_err(|error| {
        Problem::new("quota_exceeded", error.to_string())
            .fix("Close a stream that is not needed, if there is one, and repeat the call after the time in Retry-After: one of all events does for all signings. No setting raises this limit.")
            .retry_after(Duration::from_secs(10))
    })?;
    let events = match timeout {
        None => events,
        Some(timeout) => until(events, api.clock.sleep(timeout), ends),
    };
    let sse = Sse::new(events.map(|item| Ok::<_, Infallible>(written(item))));
    // The comments keep proxies from closing what is quiet, and tell us of readers that are gone.
    let mut response = sse.keep_alive(KeepAlive::default()).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

type Items = BoxStream<'static, Result<Item, store::Error>>;
type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The same events until the time is up; then `ends` ends them, as at any end with how far the reader has come.
fn until(events: Items, time_is_up: Timer, ends: CancellationToken) -> Items {
    stream::unfold((events, time_is_up, ends), |(mut events, mut time_is_up, ends)| async move {
        loop {
            tokio::select! {
                biased;
                () = &mut time_is_up, if !ends.is_cancelled() => ends.cancel(),
                item = events.next() => return item.map(|item| (item, (events, time_is_up, ends))),
            }
        }
    })
    .boxed()
}

fn written(item: Result<Item, store::Error>) -> sse::Event {
    match item {
        Ok(Item { id, event }) => {
            let sse = sse::Event::default().id(id.to_string());
            // Without data it is no event to a browser, which remembers the id.
            let Some(event) = event else { return sse };
            let data = show::event(&event);
            sse.event(event.kind.as_str()).data(String::from_utf8_lossy(&data))
        }
        Err(error) => {
            tracing::error!(%error, "the store failed");
            sse::Event::default().comment("the store does not answer; the stream goes on when it does")
        }
    }
}
