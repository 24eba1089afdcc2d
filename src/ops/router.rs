//! Every route of the ops listener.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{
    admin::{self, Admin},
    health::{Health, Status},
};
use crate::telemetry::metrics::{Metrics, OPEN_METRICS};

/// What there is, for whoever opens the bare address.
const THERE_IS: &str = "Nothing is here. There are /readyz, /livez, /startupz, /metrics and /ledger.\n";
/// The same while the status page is on.
const THERE_IS_A_PAGE: &str =
    "Nothing is here. There are /readyz, /livez, /startupz, /metrics and /ledger, and for people /admin/.\n";

/// The ops listener's routes, but for the ledger's, which come with the store; anything else is 404, with what there is.
pub fn router(health: Health, metrics: Arc<Metrics>, admin: Admin) -> Router {
    let password = admin.password();
    let nothing_here = move || {
        let text = if password.number().is_some() { THERE_IS_A_PAGE } else { THERE_IS };
        async move { plain(StatusCode::NOT_FOUND, text) }
    };
    open(health, metrics).merge(admin::router(admin)).fallback(nothing_here)
}

/// What needs no login.
fn open(health: Health, metrics: Arc<Metrics>) -> Router {
    let metrics = Router::new().route("/metrics", get(scrape)).with_state(metrics);
    Router::new()
        .route("/livez", get(livez))
        .route("/startupz", get(startupz))
        .route("/readyz", get(readyz))
        .with_state(health)
        .merge(metrics)
}

/// Looks at nothing: a process that answers is alive, and a restart would not help what it waits for.
async fn livez() -> Response {
    plain(StatusCode::OK, "alive\n")
}

async fn startupz(State(health): State<Health>) -> Response {
    if health.has_started() {
        plain(StatusCode::OK, "started\n")
    } else {
        plain(StatusCode::SERVICE_UNAVAILABLE, "no access token yet\n")
    }
}

async fn readyz(State(health): State<Health>) -> Response {
    let report = health.report();
    let code = match report.status {
        Status::Ready | Status::Degraded => StatusCode::OK,
        Status::NotReady => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, [(header::CACHE_CONTROL, "no-store")], Json(report)).into_response()
}

/// Prometheus asks for OpenMetrics first, and others for what they know.
async fn scrape(State(metrics): State<Arc<Metrics>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("application/openmetrics-text") {
        return ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics.render_open()).into_response();
    }
    let kind = [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)];
    (kind, metrics.render()).into_response()
}

fn plain(code: StatusCode, text: &'static str) -> Response {
    (code, [(header::CACHE_CONTROL, "no-store")], text).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use http::Request;
    use jiff::Timestamp;
    use tower::ServiceExt as _;

    use super::{super::health::Reason, *};
    use crate::clock::ManualClock;

    async fn get(router: &Router, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let code = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_life_from_start_to_stop_as_a_load_balancer_sees_it() {
        let health = Health::new(Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)));
        let router = open(health.clone(), Arc::new(Metrics::new(&["system"])));
        assert_eq!(get(&router, "/livez").await.0, 200);
        assert_eq!(get(&router, "/startupz").await.0, 503);
        assert_eq!(get(&router, "/readyz").await.0, 503);

        health.set(Reason::new("sender.system", Status::Ready, ""));
        health.started();
        assert_eq!(get(&router, "/startupz").await.0, 200);
        let ready = r#"{"status":"ready","since":"1970-01-01T00:00:00Z","reasons":[]}"#;
        assert_eq!(get(&router, "/readyz").await, (200, ready.to_owned()));

        let retry = Timestamp::from_second(60).unwrap();
        health.set(Reason {
            code: Some("provider_unavailable"),
            next_try: Some(retry),
            ..Reason::new("sender.system", Status::Degraded, "account server unreachable")
        });
        let (code, body) = get(&router, "/readyz").await;
        assert_eq!(code, 200);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            body["reasons"],
            serde_json::json!([{ "part": "sender.system", "status": "degraded", "code": "provider_unavailable",
                "detail": "account server unreachable", "next_try": "1970-01-01T00:01:00Z" }])
        );

        health.stopping();
        assert_eq!(get(&router, "/readyz").await.0, 503);
        assert_eq!(get(&router, "/startupz").await.0, 200);
        assert_eq!(get(&router, "/livez").await.0, 200);
    }

    #[tokio::test]
    async fn readyz_says_whose_settings_it_has_where_they_are_known() {
        let health = Health::new(Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH))).of_settings("0a1b2c3d");
        let router = open(health.clone(), Arc::new(Metrics::new(&["system"])));
        health.set(Reason::new("sender.system", Status::Ready, ""));
        let ready =
            r#"{"status":"ready","since":"1970-01-01T00:00:00Z","reasons":[],"settings_id":"0a1b2c3d"}"#;
        assert_eq!(get(&router, "/readyz").await, (200, ready.to_owned()));
    }

    #[tokio::test]
    async fn paths_of_other_listeners_are_not_here() {
        let health = Health::new(Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)));
        let router = open(health, Arc::new(Metrics::new(&["system"])));
        for path in ["/", "/v1/signings", "/s/token", "/readyz/", "/_test/reset"] {
            assert_eq!(get(&router, path).await.0, 404, "{path}");
        }
        let (code, text) = get(&router, "/metrics").await;
        assert_eq!(code, 200);
        assert!(text.contains("countersign_build_info{"), "{text}");
    }
}
