//! What a service manager gives and is told: sockets that it holds (`LISTEN_FDS`), and how the daemon is
//! (`NOTIFY_SOCKET`, with a watchdog). sd_listen_fds(3), sd_notify(3). Without a service manager all of it
//! is silence.

use std::time::Duration;

use anyhow::Context as _;
use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::{
    app::{Inherited, InheritedSocket},
    clock::SharedClock,
    config::Variables,
    lifecycle::Lifecycle,
};

/// The sockets that this process was given. Call it once, before there are other threads: the variables that
/// say so are taken away, so that no child believes them its own.
pub(super) fn sockets() -> anyhow::Result<Inherited> {
    let names = Variables::of_process().socket_names();
    let mut given = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..given.len() {
        let socket = match given.take_unix_listener(index) {
            Ok(Some(unix)) => InheritedSocket::Unix(unix),
            _ => match given.take_tcp_listener(index) {
                Ok(Some(tcp)) => InheritedSocket::Tcp(tcp),
                _ => anyhow::bail!("LISTEN_FDS: socket {index} does not listen for streams"),
            },
        };
        sockets.push((names.get(index).cloned().unwrap_or_default(), socket));
    }
    Inherited::new(sockets).context("LISTEN_FDS")
}

/// The daemon listens; whether it can serve is what /readyz says.
pub(super) fn ready(api: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("listening on {api}"))]);
}

/// New settings are being read; `ready` says when that is over.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Says when the stop begins, and keeps the watchdog quiet for as long as this process turns its tasks over.
pub(super) async fn follow(life: Lifecycle, clock: SharedClock) {
    // Half of what is asked for, as sd_watchdog_enabled(3) recommends.
    let every = sd_notify::watchdog_enabled().map(|limit| limit / 2);
    let (stopping, mut is_stopping) = (life.stopping(), false);
    loop {
        if every.is_some() && !life.has_failed() {
            tell(&[NotifyState::Watchdog]);
        }
        tokio::select! {
            () = stopping.cancelled(), if !is_stopping => {
                is_stopping = true;
                tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
            }
            () = clock.sleep(every.unwrap_or(Duration::from_secs(3_600))) => {}
        }
        if is_stopping && every.is_none() {
            return;
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
