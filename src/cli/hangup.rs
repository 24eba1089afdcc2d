//! The end of the terminal: it ends the commands that live in one, `demo` and `emulate`. Nothing there would read
//! settings again, and a process that the signal kills leaves its temporary folder behind, with keys in it.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

use crate::lifecycle::Lifecycle;

/// Stops a life as Ctrl-C does when the terminal goes away (SIGHUP); not if it was started to outlive it (`nohup`).
pub(super) fn follow(life: &Lifecycle) -> io::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if is_ignored(&status) {
        return Ok(());
    }
    let mut hangup = signal(SignalKind::hangup())?;
    let life = life.clone();
    tokio::spawn(async move {
        hangup.recv().await;
        life.stop();
    });
    Ok(())
}

/// Whether whoever started a process has SIGHUP ignored, by what Linux says of it.
fn is_ignored(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Signal 1 is the lowest bit.
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_started_is_told_from_what_a_shell_did() {
        let status =
            |mask: &str| format!("Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\t1\n");
        assert!(is_ignored(&status("0000000000001001")));
        assert!(!is_ignored(&status("0000000000001000")) && !is_ignored(""));
    }
}
