//! Sends spans to a collector: OTLP over HTTP, as JSON, in the background.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use url::Url;

use crate::{
    app::{Parts, from_settings::WRITE_CERTIFICATES},
    config::{Config, ConfigError},
    http_client::{HttpClient, Options, Request},
    telemetry::{metrics::SpanResult, traces::Tracer},
};

/// How often what waits is sent.
const SEND_EVERY: Duration = Duration::from_secs(2);
/// Time for one message.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where spans go, and how.
#[derive(Debug)]
pub(super) struct Collector {
    url: Url,
    client: HttpClient,
}

/// The collector of the settings, and the tracer that feeds it.
pub(super) fn collector(config: &Config) -> anyhow::Result<(Tracer, Option<Collector>)> {
    let Some(endpoint) = &config.otel.endpoint else { return Ok((Tracer::off(), None)) };
    let mut url = endpoint.clone();
    // As OTEL_EXPORTER_OTLP_ENDPOINT: the signal's path is added to whatever path there is.
    let path = format!("{}/v1/traces", endpoint.path().trim_end_matches('/'));
    url.set_path(&path);
    let client = client(config).context("cannot send traces")?;
    Ok((Tracer::on(), Some(Collector { url, client })))
}

/// The way out to the collector.
pub(super) fn client(config: &Config) -> Result<HttpClient, ConfigError> {
    let options = Options { ca_file: config.otel.ca_file.clone(), timeout: TIMEOUT, ..Options::default() };
    HttpClient::new(&options)
        .map_err(|error| ConfigError::new("otel.ca_file", error.to_string(), WRITE_CERTIFICATES))
}

/// Sends until the stop, and then what is left.
pub(super) fn start(parts: &Parts, collector: Collector) {
    let (parts, stopping) = (parts.clone(), parts.life.stopping());
    let life = parts.life.clone();
    life.spawn("traces", async move {
        let mut is_last = false;
        while !is_last {
            tokio::select! {
                () = stopping.cancelled() => is_last = true,
                () = parts.clock.sleep(SEND_EVERY) => {}
            }
            send_all(&parts, &collector).await;
        }
    });
}

async fn send_all(parts: &Parts, collector: &Collector) {
    let metrics = Arc::clone(&parts.metrics);
    metrics.spans(SpanResult::Dropped, parts.tracer.dropped());
    while let Some((message, count)) = parts.tracer.take() {
        let request = Request::post(collector.url.clone()).json(message);
        let sent = collector.client.send(request).await;
        let is_taken = sent.as_ref().is_ok_and(|answer| answer.status.is_success());
        let result = if is_taken { SpanResult::Sent } else { SpanResult::Failed };
        metrics.spans(result, count as u64);
        if !is_taken {
            let status = sent.as_ref().ok().map(|answer| answer.status.as_u16());
            let error = sent.err().map(|error| error.to_string());
            tracing::warn!(status, error, count, "the collector did not take the traces; they are gone");
            // What is left is tried at the next turn.
            return;
        }
    }
}
