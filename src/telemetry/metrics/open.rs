//! The same metrics as OpenMetrics 1.0 text, which can carry exemplars: beside each bucket of the request
//! durations one trace that fell into it, so that a slow request leads from the graph to its spans.
//!
//! The client library writes the older text format only; what differs is the names of counters' families, the
//! exemplars and the end.

use std::{
    fmt::Write as _,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;

use super::BUCKETS_SECONDS;

/// The type of this format.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a line of a bucket of the request durations begins with.
const BUCKET: &str = "countersign_http_request_duration_seconds_bucket{le=\"";

/// The last traced request of each bucket, the one without a bound too.
#[derive(Debug, Default)]
pub(super) struct Exemplars([Mutex<Option<Exemplar>>; BUCKETS_SECONDS.len() + 1]);

#[derive(Debug)]
struct Exemplar {
    trace: String,
    seconds: f64,
    at: Timestamp,
}

impl Exemplars {
    pub(super) fn observe(&self, trace: String, seconds: f64, at: Timestamp) {
        let bucket = BUCKETS_SECONDS.iter().position(|bound| seconds <= *bound);
        let bucket = &self.0[bucket.unwrap_or(BUCKETS_SECONDS.len())];
        *bucket.lock().unwrap_or_else(PoisonError::into_inner) = Some(Exemplar { trace, seconds, at });
    }

    /// From Prometheus' text format.
    pub(super) fn render(&self, text: &str) -> String {
        let (mut open, mut buckets) = (String::with_capacity(text.len() + 1024), self.0.iter());
        for line in text.lines() {
            // A family of counters goes by the name without the suffix that its samples have.
            match line.split_once("_total ") {
                Some((begin, rest)) if is_metadata(begin) => _ = write!(open, "{begin} {rest}"),
                _ => open.push_str(line),
            }
            if line.starts_with(BUCKET)
                && let Some(bucket) = buckets.next()
                && let Some(it) = &*bucket.lock().unwrap_or_else(PoisonError::into_inner)
            {
                let at = it.at.as_duration().as_secs_f64();
                let _ = write!(open, " # {{trace_id=\"{}\"}} {} {at:.3}", it.trace, it.seconds);
            }
            open.push('\n');
        }
        open.push_str("# EOF\n");
        open
    }
}

/// Whether a line is about a family, and this is the beginning of it up to the end of the family's name.
fn is_metadata(begin: &str) -> bool {
    let name = begin.strip_prefix("# HELP ").or_else(|| begin.strip_prefix("# TYPE "));
    name.is_some_and(|name| !name.contains(' '))
}
