//! Waiting for what comes by itself: from a process or a thread, whose time no test moves.

use std::{path::Path, time::Duration};

use serde_json::Value;

/// How often something is looked for, 5 ms apart: a minute, because a disk that others use may stall for seconds.
const POLLS: u32 = 12_000;

/// Waits until it is so; fails after a time that no machine needs, however slow its disk.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    found(what, async || is_so().await.then_some(())).await;
}

/// The same, for what is of use once it is there.
pub(crate) async fn found<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..POLLS {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} did not come");
}

/// What a ready file says, once it is there. It is never there in part.
pub(crate) async fn read_ready(path: &Path) -> Value {
    let text = found(&path.display().to_string(), async || std::fs::read(path).ok()).await;
    serde_json::from_slice(&text).unwrap()
}
