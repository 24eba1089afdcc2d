//! Whether callers' PDFs can be read at all: looked at once, soon after the start. A daemon that may not start its own
//! binary, or set limits, goes on; but it leaves every file to the upstream unread, which nobody would notice.

use std::time::Duration;

use crate::app::Parts;

/// After the first callers were served, who wait for the same core.
const AFTER: Duration = Duration::from_secs(5);

/// Starts the look.
pub(super) fn probe(parts: &Parts) {
    let (signings, clock, stopping) =
        (parts.signings.clone(), parts.clock.clone(), parts.life.stopping().clone());
    parts.life.spawn("a look for who reads PDFs", async move {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = clock.sleep(AFTER) => {}
        }
        if let Err(error) = signings.probe_pdfs().await {
            tracing::error!(
                %error,
                "PDFs cannot be read before they are sent, so DocuSign alone judges them: allow countersign to start its own \
                 binary and to set limits (prlimit), or set documents.isolate = false"
            );
        }
    });
}
