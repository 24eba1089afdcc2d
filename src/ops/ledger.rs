//! `GET /ledger?hours=24`: what was called upstream, and which of its rules that would have broken. JSON,
//! or a table for people with `Accept: text/plain`.
//!
//! It reads what the store keeps, so it covers all daemons and outlives restarts; the last seconds may be
//! missing. It shows counts alone: no account, no caller, no envelope.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::{
    budget::ledger::Window,
    clock::{SharedClock, earlier, start_of},
    store::SharedStore,
};

/// The longest window: the store keeps counts as long as events.
const MAX_HOURS: u32 = 24 * 366;

#[derive(Debug, Clone)]
struct Ledger {
    store: SharedStore,
    clock: SharedClock,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default = "a_day")]
    hours: u32,
}

const fn a_day() -> u32 {
    24
}

/// The one route.
pub fn router(store: SharedStore, clock: SharedClock) -> Router {
    Router::new().route("/ledger", get(show)).with_state(Arc::new(Ledger { store, clock }))
}

async fn show(
    State(ledger): State<Arc<Ledger>>,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let hours = match asked {
        Ok(Query(Asked { hours })) if (1..=MAX_HOURS).contains(&hours) => hours,
        _ => {
            return (StatusCode::BAD_REQUEST, "the one parameter is hours, a number from 1 to 8784\n")
                .into_response();
        }
    };
    let until = ledger.clock.now();
    // The hour that runs counts as one.
    let back = SignedDuration::from_hours(i64::from(hours) - 1);
    let first = earlier(until, back);
    let since = start_of(first, SignedDuration::from_hours(1));
    let noted = match ledger.store.noted_calls(since, Timestamp::MAX).await {
        Ok(noted) => noted,
        Err(error) => {
            tracing::warn!(%error, "the ledger cannot be read");
            return (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n").into_response();
        }
    };
    let window = Window::of(since, until, &noted);
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    let is_text =
        headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/plain"));
    if is_text {
        (no_store, window.to_string()).into_response()
    } else {
        (no_store, Json(window)).into_response()
    }
}
