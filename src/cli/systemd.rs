//! What a service manager gives and is told: sockets that it holds (`LISTEN_FDS`), and how the daemon is
//! (`NOTIFY_SOCKET`, with a watchdog). sd_listen_fds(3), sd_notify(3). Without a service manager all of it
//! is silence.
//!
//! A message is one datagram, and a manager that does not read loses it: nothing here ever waits for one.

use std::{
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use listenfd::ListenFd;
use rustix::time::{ClockId, clock_gettime};

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

/// The service manager, or nobody. Clones speak to the same.
#[derive(Debug, Clone)]
pub(super) struct Manager {
    socket: Option<Arc<(UnixDatagram, SocketAddr)>>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// Who started this process.
    pub(super) fn of(variables: &Variables) -> Self {
        let socket = variables.notify_socket().and_then(|path| {
            let address = match path.strip_prefix('@') {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(path),
            };
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some(Arc::new((socket, address.ok()?)))
        });
        Self { socket, watchdog: variables.watchdog(std::process::id()) }
    }

    /// The daemon listens; whether it can serve is what /readyz says.
    pub(super) fn ready(&self, api: &str) {
        self.tell(&format!("READY=1\nSTATUS=listening on {api}"));
    }

    /// New settings are being read; `ready` says when that is over.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1_000));
    }

    /// Says when the stop begins, and keeps the watchdog quiet for as long as this process turns its tasks over.
    pub(super) async fn follow(self, life: Lifecycle, clock: SharedClock) {
        // Half of what is asked for, as sd_watchdog_enabled(3) recommends.
        let every = self.watchdog.map(|limit| limit / 2);
        let (stopping, mut is_stopping) = (life.stopping(), false);
        loop {
            if every.is_some() && !life.has_failed() {
                self.tell("WATCHDOG=1");
            }
            tokio::select! {
                () = stopping.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    self.tell("STOPPING=1\nSTATUS=draining");
                }
                () = clock.sleep(every.unwrap_or(Duration::from_secs(3_600))) => {}
            }
            if is_stopping && every.is_none() {
                return;
            }
        }
    }

    fn tell(&self, message: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.0.send_to_addr(message.as_bytes(), &socket.1) {
            tracing::debug!(%error, "the service manager was not told");
        }
    }
}
