//! The private keys in a process of their own (`signer.isolate`), as the daemon sees it.
//!
//! The daemon starts its own binary again with a hidden command, speaks to it over a socket pair, and
//! never reads a key file itself. What the child may do is in `confine`, what it signs in `child`,
//! what can be said at all in `wire`. The keeper (`keeper`) notices when the child dies or hangs, and
//! starts another with back-off; a valid token needs no signature and keeps serving meanwhile.
//!
//! What this is good for, and what not: no leak of the daemon's memory, no core, no bug in its parsers
//! or its TLS shows a key. But both run as the same user: who can run code of his own in the daemon can
//! open the file as the signer does. Where that matters, the key belongs into a device (PKCS#11).

pub mod child;
mod confine;
mod keeper;
mod wire;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::wire::{Answer, Refusal, Request, WireClaims};
use super::{
    assertion::Draft,
    signer::SignError,
    signing_key::{self, Fingerprint, Stamp},
};
use crate::{clock::SharedClock, lifecycle::Spawner};

/// The hidden command of the binary that runs [`child::run`].
pub const COMMAND: &str = "signer-process";
/// How long somebody waits for the signer. It answers within milliseconds, or is being started again.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions that may wait for it: a mint each, and a look at each key file.
const QUEUE: usize = 1_024;

/// A signer process and its keeper. Clones share them; when the last is dropped, the process ends.
#[derive(Clone)]
pub struct SignerProcess {
    inner: Arc<Inner>,
}

struct Inner {
    clock: SharedClock,
    calls: mpsc::Sender<Call>,
    /// Places that are no more. No longer than the places are many, so it needs no bound, and telling never waits.
    closed: mpsc::UnboundedSender<u64>,
    state: Arc<State>,
    slots: AtomicU64,
    _close_on_drop: DropGuard,
}

/// A question to the signer, and where its answer goes. Who no longer waits is not answered.
struct Call {
    request: Request,
    answer: oneshot::Sender<Answer>,
}

/// What reaches the keeper.
struct Inbox {
    calls: mpsc::Receiver<Call>,
    /// The numbers of places that are no more.
    closed: mpsc::UnboundedReceiver<u64>,
}

/// What is known of the process. Shared with the keeper.
#[derive(Debug)]
struct State {
    status: Mutex<Status>,
    /// Whether it has ever been up, or why it could not be.
    first: watch::Sender<Option<Result<(), String>>>,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the signer process does, for health, metrics and operators.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Its process id while it runs and is confined.
    pub pid: Option<u32>,
    /// When that began or ended, by this machine's clock.
    pub since: Option<Timestamp>,
    /// How often another one had to be started.
    pub restarts: u64,
    /// Why the last one ended.
    pub last_end: Option<String>,
    /// When the next one is started, if none runs.
    pub next_try: Option<Timestamp>,
    /// Whether its memory can never be swapped out.
    pub is_memory_locked: bool,
    /// Whether it has a network namespace of its own, besides the filter that it always has.
    pub has_own_network: bool,
}

/// The signer process could not be started or confined.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the signer process does not start: {0}")]
pub struct StartError(String);

impl std::fmt::Debug for SignerProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SignerProcess").field(&self.status()).finish()
    }
}

impl SignerProcess {
    /// Starts one, and waits until it is confined or has failed to be.
    ///
    /// `program` is the countersign binary; the daemon passes [`own_process::program`](crate::own_process::program).
    pub async fn start(program: PathBuf, clock: SharedClock, spawner: &Spawner) -> Result<Self, StartError> {
        let (calls, asked) = mpsc::channel(QUEUE);
        let (close, closing) = mpsc::unbounded_channel();
        let inbox = Inbox { calls: asked, closed: closing };
        let (first, mut begun) = watch::channel(None);
        let state = Arc::new(State { status: Mutex::default(), first });
        let closed = CancellationToken::new();
        let guard = closed.clone().drop_guard();
        spawner.spawn(keeper::keep(program, Arc::clone(&clock), inbox, Arc::clone(&state), closed));
        let first = begun.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        match first {
            Some(Ok(())) => {
                let slots = AtomicU64::new(0);
                let inner = Inner { clock, calls, closed: close, state, slots, _close_on_drop: guard };
                Ok(Self { inner: Arc::new(inner) })
            }
            Some(Err(why)) => Err(StartError(why)),
            None => Err(StartError("its keeper ended".to_owned())),
        }
    }

    /// How it does.
    pub fn status(&self) -> Status {
        self.inner.state.lock().clone()
    }

    /// A place for a key.
    pub(super) fn open(&self, path: PathBuf) -> RemoteSlot {
        let slot = self.inner.slots.fetch_add(1, Ordering::Relaxed);
        RemoteSlot { process: self.clone(), slot, path }
    }

    /// Asks, and waits for a while; none if there is no answer.
    async fn ask(&self, request: Request) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        let exchange = async {
            self.inner.calls.send(Call { request, answer }).await.ok()?;
            answered.await.ok()
        };
        tokio::select! {
            biased;
            answer = exchange => answer,
            () = self.inner.clock.sleep(PATIENCE) => None,
        }
    }
}

/// A place for a key in the signer: it reads the file, and tells what it found. When this goes, the signer forgets
/// the place and the keys of it.
#[derive(Debug)]
pub(super) struct RemoteSlot {
    process: SignerProcess,
    slot: u64,
    pub(super) path: PathBuf,
}

impl Drop for RemoteSlot {
    fn drop(&mut self) {
        // Without a keeper there is no signer either.
        let _ = self.process.inner.closed.send(self.slot);
    }
}

impl RemoteSlot {
    /// Has the file read if it changed; keys that are not `wanted` any more are forgotten. None: nothing is new, or
    /// there was no answer.
    pub(super) async fn look(
        &self,
        known: Option<&Stamp>,
        wanted: Vec<Fingerprint>,
    ) -> Option<(Stamp, Result<RemoteKey, signing_key::Defect>)> {
        let request =
            Request::Look { slot: self.slot, path: self.path.clone(), known: known.cloned(), wanted };
        match self.process.ask(request).await {
            Some(Answer::Key { stamp, fingerprint, bits }) => {
                let key = RemoteKey { process: self.process.clone(), slot: self.slot, fingerprint, bits };
                Some((stamp, Ok(key)))
            }
            Some(Answer::Defect { stamp, defect }) => Some((stamp, Err(defect))),
            _ => None,
        }
    }
}

/// A key that the signer holds.
#[derive(Debug, Clone)]
pub struct RemoteKey {
    process: SignerProcess,
    slot: u64,
    fingerprint: Fingerprint,
    bits: u32,
}

impl RemoteKey {
    /// Of the public half.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The size of the modulus.
    pub(super) fn bits(&self) -> u32 {
        self.bits
    }

    /// Has the signer make the same draft and sign it.
    pub(super) async fn sign(&self, draft: &Draft<'_>) -> Result<Vec<u8>, SignError> {
        let request = Request::Sign {
            slot: self.slot,
            key: self.fingerprint,
            claims: WireClaims::from(draft.claims()),
            now: draft.now().as_second(),
        };
        match self.process.ask(request).await {
            Some(Answer::Signature(text)) => URL_SAFE_NO_PAD.decode(text).map_err(|_| SignError::Failed),
            Some(Answer::Refused(Refusal::Claims | Refusal::Time)) => Err(SignError::Refused),
            Some(Answer::Refused(Refusal::UnknownKey)) => Err(SignError::NotHeld),
            Some(_) => Err(SignError::Failed),
            None => Err(SignError::Away),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn a_place_that_goes_is_told_and_telling_neither_waits_nor_fails() {
        let (calls, _asked) = mpsc::channel(1);
        let (close, mut closing) = mpsc::unbounded_channel();
        let inner = Inner {
            clock: Arc::new(SystemClock),
            calls,
            closed: close,
            state: Arc::new(State { status: Mutex::default(), first: watch::Sender::new(None) }),
            slots: AtomicU64::new(7),
            _close_on_drop: CancellationToken::new().drop_guard(),
        };
        let process = SignerProcess { inner: Arc::new(inner) };
        let (first, second) = (process.open("a.pem".into()), process.open("b.pem".into()));
        drop(second);
        assert_eq!(closing.try_recv().ok(), Some(8));
        assert!(closing.try_recv().is_err(), "the other one is still there");
        drop(closing);
        drop(first);
    }
}
