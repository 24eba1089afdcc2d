//! How long a caller waits: the header `Prefer` (RFC 7240).

use std::time::Duration;

use http::HeaderMap;

use crate::{
    clock::{Clock, Deadline},
    esign,
};

/// How long a wait lasts unless the caller says otherwise; a create, too.
pub(super) const DEFAULT_WAIT: Duration = Duration::from_secs(25);
/// The longest wait that can be asked for.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(60);

/// How long a caller waits for what has no answer before it is done: `Prefer: wait=N` (RFC 7240).
pub(super) fn patience(headers: &HeaderMap) -> Duration {
    preferences(headers).0
}

/// The caller's deadline: the same, or none at all with `respond-async`.
pub(super) fn preference(headers: &HeaderMap) -> Duration {
    let (wait, is_async) = preferences(headers);
    if is_async { Duration::ZERO } else { wait }
}

/// How long a caller says that it waits, for calls that keep a time of their own where it says nothing.
pub(super) fn stated(headers: &HeaderMap) -> Option<Duration> {
    said(headers).0
}

/// Takes one step of a call, for no longer than the caller waits; without time left it is not begun (rule B4).
pub(super) async fn in_time<T>(
    clock: &dyn Clock,
    deadline: Deadline,
    step: impl Future<Output = T>,
) -> Result<T, esign::Error> {
    if deadline.left(clock.uptime()).is_zero() {
        return Err(esign::Error::Deadline);
    }
    deadline.hold(clock, step).await.ok_or(esign::Error::Deadline)
}

/// What the header says of waiting, or would have said: how long, and whether an answer is wanted at once.
fn preferences(headers: &HeaderMap) -> (Duration, bool) {
    let (wait, is_async) = said(headers);
    (wait.unwrap_or(DEFAULT_WAIT), is_async)
}

/// What the header says of waiting. Of a preference that is there twice the first counts, and what stands behind a
/// `;` is a parameter of its preference; we know of none.
fn said(headers: &HeaderMap) -> (Option<Duration>, bool) {
    let (mut wait, mut is_async) = (None, false);
    for header in headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok()) {
        for preference in unquoted(header, ',') {
            let preference = unquoted(preference, ';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            if name.trim().eq_ignore_ascii_case("respond-async") {
                is_async = true;
            } else if name.trim().eq_ignore_ascii_case("wait") {
                let seconds = value.trim().trim_matches('"').parse::<u64>();
                wait.get_or_insert(seconds.map_or(DEFAULT_WAIT, Duration::from_secs));
            }
        }
    }
    (wait.map(|wait| wait.min(MAX_WAIT)), is_async)
}

/// What stands between the separators of a header, of which those in a quoted string are none.
fn unquoted(header: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    header.split(move |c: char| {
        is_quoted ^= c == '"';
        c == separator && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn of_two_preferences_the_first_counts_and_parameters_are_none_of_their_own() {
        let of = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("prefer", HeaderValue::from_static(line));
            }
            preferences(&headers)
        };
        let seconds = Duration::from_secs;
        let cases: [(&[&str], Duration, bool); 12] = [
            (&[], DEFAULT_WAIT, false),
            (&["wait=10"], seconds(10), false),
            (&["WAIT = \"10\""], seconds(10), false),
            (&["wait=10, wait=20"], seconds(10), false),
            (&["wait=10", "wait=20"], seconds(10), false),
            (&["wait=soon, wait=20"], DEFAULT_WAIT, false),
            (&["wait=3600"], MAX_WAIT, false),
            (&["wait=10; wait=20"], seconds(10), false),
            (&["handling=strict; wait=20; respond-async"], DEFAULT_WAIT, false),
            (&["handling=\"a, wait=20\", wait=10"], seconds(10), false),
            (&["respond-async; x=1, wait=10"], seconds(10), true),
            (&["wait=10", "Respond-Async"], seconds(10), true),
        ];
        for (lines, wait, is_async) in cases {
            assert_eq!(of(lines), (wait, is_async), "{lines:?}");
        }
        assert_eq!(stated(&HeaderMap::new()), None, "a call keeps its own time then");
        let mut only_async = HeaderMap::new();
        only_async.insert("prefer", HeaderValue::from_static("respond-async"));
        assert_eq!(stated(&only_async), None);
    }
}
