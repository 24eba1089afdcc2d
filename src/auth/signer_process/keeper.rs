//! Keeps a signer process running: starts it, passes questions on, notices its death, starts another.
//!
//! One question is under way at a time; a signature takes a millisecond. A signer that does not answer
//! is killed and replaced like a dead one. The thread that starts a child waits for its end: Linux
//! would send the parent-death signal already when that thread ends.

use std::{
    collections::BTreeMap,
    io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream as StdStream, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::{io::AsyncWriteExt as _, net::UnixStream, sync::oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    COMMAND, Call, Inbox, State,
    wire::{Answer, Hello, LIMIT_BYTES, Request},
};
use crate::{clock::SharedClock, own_process};

/// A child that does not answer for this long hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// Time from its start until it is confined.
const CONFINED_WITHIN: Duration = Duration::from_secs(10);
/// The wait before another child, doubling up to the longest; a child that lived as long starts over.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));

/// Keeps one running until nobody asks any more.
pub(super) async fn keep(
    program: PathBuf,
    clock: SharedClock,
    mut inbox: Inbox,
    state: Arc<State>,
    closed: CancellationToken,
) {
    let mut keeper = Keeper { program, clock, state, paths: BTreeMap::new() };
    let mut failures = 0_u32;
    loop {
        let begun = keeper.clock.uptime();
        let why = match keeper.run_one(&mut inbox).await {
            Ok(End::NobodyAsks) => return,
            Ok(End::Died(why)) => why,
            Err(error) => error.to_string(),
        };
        let lived = keeper.clock.uptime().saturating_sub(begun);
        failures = if lived > BACKOFF.1 { 0 } else { failures.saturating_add(1) };
        let wait = BACKOFF.0.saturating_mul(1 << failures.min(16)).min(BACKOFF.1);
        if keeper.note_end(why, wait) == Verdict::NeverStarted {
            return;
        }
        tokio::select! {
            biased;
            () = closed.cancelled() => return,
            () = keeper.clock.sleep(wait) => {}
        }
    }
}

struct Keeper {
    program: PathBuf,
    clock: SharedClock,
    state: Arc<State>,
    /// What a new child is told to read before it is asked anything.
    paths: BTreeMap<u64, PathBuf>,
}

enum End {
    NobodyAsks,
    Died(String),
}

#[derive(PartialEq, Eq)]
enum Verdict {
    NeverStarted,
    WasUp,
}

impl Keeper {
    /// One child, from its start to its end.
    async fn run_one(&mut self, inbox: &mut Inbox) -> io::Result<End> {
        while let Ok(slot) = inbox.closed.try_recv() {
            self.paths.remove(&slot);
        }
        let (mut child, mut ended) = Child::start(&self.program).await?;
        let hello: Result<Hello, String> = self.within(CONFINED_WITHIN, child.receive(), &mut ended).await?;
        let hello = hello.map_err(io::Error::other)?;
        for (slot, path) in &self.paths {
            let request = Request::Look { slot: *slot, path: path.clone(), known: None, wanted: Vec::new() };
            self.within(ANSWER_WITHIN, child.exchange(&request), &mut ended).await?;
        }
        self.note_start(&child, &hello);
        loop {
            let call = tokio::select! {
                biased;
                status = &mut ended => return Ok(End::Died(describe(status.ok()))),
                Some(slot) = inbox.closed.recv() => {
                    self.paths.remove(&slot);
                    self.within(ANSWER_WITHIN, child.exchange(&Request::Close { slot }), &mut ended).await?;
                    continue;
                }
                call = inbox.calls.recv() => call,
            };
            let Some(Call { request, answer }) = call else { return Ok(End::NobodyAsks) };
            if answer.is_closed() {
                continue;
            }
            if let Request::Look { slot, path, .. } = &request {
                self.paths.insert(*slot, path.clone());
            }
            let found: Answer = self.within(ANSWER_WITHIN, child.exchange(&request), &mut ended).await?;
            let _ = answer.send(found);
        }
    }

    async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = io::Result<T>>,
        ended: &mut oneshot::Receiver<io::Result<ExitStatus>>,
    ) -> io::Result<T> {
        let outcome = tokio::select! {
            biased;
            outcome = work => outcome,
            () = self.clock.sleep(limit) => Err(io::ErrorKind::TimedOut.into()),
        };
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(io::Error::other("it did not answer, and is killed"))
            }
            Err(_) => {
                // Its end is known in a moment; it says more than the closed socket.
                let status = tokio::select! {
                    biased;
                    status = ended => status.ok(),
                    () = self.clock.sleep(Duration::from_secs(1)) => None,
                };
                Err(io::Error::other(describe(status)))
            }
            done => done,
        }
    }

    fn note_start(&self, child: &Child, hello: &Hello) {
        {
            let mut status = self.state.lock();
            (status.pid, status.since, status.next_try) = (Some(child.pid), Some(self.clock.now()), None);
            (status.is_memory_locked, status.has_own_network) =
                (hello.is_memory_locked, hello.has_own_network);
        }
        self.state.first.send_replace(Some(Ok(())));
        tracing::info!(
            signer.pid = child.pid,
            signer.memory_locked = hello.is_memory_locked,
            signer.own_network = hello.has_own_network,
            "the signer process holds the private keys"
        );
    }

    fn note_end(&self, why: String, wait: Duration) -> Verdict {
        let now = self.clock.now();
        if self.state.first.borrow().is_none() {
            self.state.first.send_replace(Some(Err(why)));
            return Verdict::NeverStarted;
        }
        tracing::error!(signer.end = why, "the signer process ended; another one is started");
        let mut status = self.state.lock();
        if status.pid.take().is_some() {
            status.since = Some(now);
        }
        status.restarts += 1;
        status.next_try = now.saturating_add(wait).ok();
        status.last_end = Some(why);
        Verdict::WasUp
    }
}

fn describe(status: Option<io::Result<ExitStatus>>) -> String {
    match status {
        Some(Ok(status)) => format!("it ended ({status})"),
        Some(Err(error)) => format!("it cannot be waited for: {error}"),
        None => "it is gone".to_owned(),
    }
}

/// A running child, killed when this is dropped.
struct Child {
    link: UnixStream,
    pid: u32,
    handle: OwnedFd,
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may be gone already; a pid descriptor never means another process.
        let _ = rustix::process::pidfd_send_signal(&self.handle, Signal::KILL);
    }
}

impl Child {
    async fn start(program: &Path) -> io::Result<(Self, oneshot::Receiver<io::Result<ExitStatus>>)> {
        let (ours, theirs) = StdStream::pair()?;
        let mut command = Command::new(program);
        command
            .arg0("countersign")
            .arg(COMMAND)
            // The environment may hold secrets that are no business of it.
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C in the terminal is for the daemon, which still needs signatures while it drains.
            .process_group(0);
        let (started, begun) = oneshot::channel();
        let (ended, end) = oneshot::channel();
        std::thread::Builder::new().name("signer".to_owned()).spawn(move || {
            let spawned = command.spawn();
            // Its end of the socket pair goes with this, or the child's death would not close it.
            drop(command);
            match spawned {
                Ok(mut child) => {
                    let _ = started.send(Ok(child.id()));
                    let _ = ended.send(child.wait());
                }
                Err(error) => drop(started.send(Err(error))),
            }
        })?;
        let pid = begun.await.map_err(io::Error::other)??;
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        let handle = rustix::process::pidfd_open(raw, PidfdFlags::empty())?;
        ours.set_nonblocking(true)?;
        Ok((Self { link: UnixStream::from_std(ours)?, pid, handle }, end))
    }

    async fn exchange(&mut self, request: &Request) -> io::Result<Answer> {
        self.link.write_all(&own_process::frame(request, LIMIT_BYTES)?).await?;
        self.receive().await
    }

    async fn receive<T: serde::de::DeserializeOwned>(&mut self) -> io::Result<T> {
        own_process::receive(&mut self.link, LIMIT_BYTES).await
    }
}
