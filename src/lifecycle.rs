//! How the process lives and ends: the signals, two stages of stopping, and who is still at work.
//!
//! First signal: stop taking new work, finish what was accepted ([`Lifecycle::stopping`]). Second
//! signal or the deadline: drop the rest ([`Lifecycle::aborting`]), and after the signal do not wait long
//! for a store or a disk that hangs ([`Lifecycle::put_away`]). A long-lived task that panics
//! stops the process with a failure, because a daemon with a dead part lies about its health.
//! Tokens are passed in, never global, so that tests run many daemons in one process.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::telemetry::traces;

/// How long what is dropped, or comes last, has left when the end is wanted now.
const MOMENT: Duration = Duration::from_secs(1);

/// Starts tasks that belong to nobody who could hang up (rule T5): on the runtime, or in the world of a
/// simulation that decides itself what runs next.
#[derive(Clone)]
pub struct Spawner(Arc<dyn Fn(Task) + Send + Sync>);

/// What is spawned.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Spawner {
    /// Spawns through `spawn`.
    pub fn new(spawn: impl Fn(Task) + Send + Sync + 'static) -> Self {
        Self(Arc::new(spawn))
    }

    /// Spawns on the current Tokio runtime, tracked by nobody.
    pub fn tokio() -> Self {
        Self::new(|task| drop(tokio::spawn(task)))
    }

    /// Starts one.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        (self.0)(Box::pin(task));
    }
}

impl Default for Spawner {
    fn default() -> Self {
        Self::tokio()
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spawner")
    }
}

/// The life of one daemon, emulator or demo. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    stopping: CancellationToken,
    aborting: CancellationToken,
    /// Somebody wants the end now, which a deadline that has passed does not.
    insisted: CancellationToken,
    tasks: TaskTracker,
    spawner: Spawner,
    failed: Arc<AtomicBool>,
}

impl Lifecycle {
    /// A life that has just begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// A life whose tasks run where `spawner` puts them.
    pub fn spawned_by(spawner: Spawner) -> Self {
        Self { spawner, ..Self::default() }
    }

    /// Fires when new work should no longer be taken.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Fires when what is still running should be dropped.
    pub fn aborting(&self) -> CancellationToken {
        self.aborting.clone()
    }

    /// Begins the soft stop.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Stops now: soft and hard at once, and whatever comes last has a moment left.
    pub fn abort(&self) {
        self.insisted.cancel();
        self.drop_the_rest();
    }

    fn drop_the_rest(&self) {
        self.stopping.cancel();
        self.aborting.cancel();
    }

    /// Whether a task died of a panic.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Runs a task that the stop waits for, and that is dropped when the stop turns hard.
    ///
    /// A panic in it stops the whole process.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let life = self.clone();
        self.spawner.spawn(self.tasks.track_future(async move {
            let task = std::panic::AssertUnwindSafe(task).catch_unwind();
            tokio::select! {
                biased;
                () = life.aborting.cancelled() => {}
                ended = task => {
                    if ended.is_err() {
                        tracing::error!(task = name, "a task of the daemon panicked: stopping");
                        life.failed.store(true, Ordering::Release);
                        life.stop();
                    }
                }
            }
        }));
    }

    /// Runs one piece of accepted work to its end, whoever hangs up meanwhile. The stop waits for it.
    ///
    /// A panic in it is reported and ends only this work. It stays in the trace of whoever started it.
    pub fn spawn_work<F>(&self, name: &'static str, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_boxed(name, Box::pin(work));
    }

    /// The same with work that its caller has boxed where it begins, or that is as small. It is large as a rule, and each
    /// layer around it would hold it twice, as an argument and as what it waits for.
    pub fn spawn_boxed<F>(&self, name: &'static str, work: F)
    where
        F: Future<Output = ()> + Send + Unpin + 'static,
    {
        let aborting = self.aborting.clone();
        let work = traces::carry(work);
        self.spawner.spawn(self.tasks.track_future(async move {
            let work = std::panic::AssertUnwindSafe(work).catch_unwind();
            tokio::select! {
                biased;
                () = aborting.cancelled() => {}
                ended = work => {
                    if ended.is_err() {
                        tracing::error!(work = name, "a piece of work panicked");
                    }
                }
            }
        }));
    }

    /// Runs accepted work as [`spawn_work`](Self::spawn_work) does, and gives what it comes to, which it does whether
    /// or not somebody waits for it. None: it panicked, or was dropped because the stop has turned hard.
    pub fn outcome_of<T, F>(&self, name: &'static str, work: F) -> impl Future<Output = Option<T>> + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.outcome_of_boxed(name, Box::pin(work))
    }

    /// The same with work that its caller has boxed, as for [`spawn_boxed`](Self::spawn_boxed).
    pub fn outcome_of_boxed<T, F>(
        &self,
        name: &'static str,
        work: F,
    ) -> impl Future<Output = Option<T>> + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + Unpin + 'static,
    {
        let (tell, told) = oneshot::channel();
        let work = work.map(move |outcome| {
            // Nobody may wait for it any more.
            let _ = tell.send(outcome);
        });
        self.spawn_boxed(name, work);
        async { told.await.ok() }
    }

    /// Waits until all tasks have ended; after `deadline` (from the call) the rest is dropped.
    ///
    /// Answers whether everything ended by itself.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => return true,
            () = tokio::time::sleep(deadline) => {}
            () = self.aborting.cancelled() => {}
        }
        self.drop_the_rest();
        // What is dropped ends at its next await; a blocking section is given a moment.
        let _ = tokio::time::timeout(MOMENT, self.tasks.wait()).await;
        false
    }

    /// Does what comes last, when all tasks have ended: to its end, but no longer than a moment once somebody wants
    /// the end now. None: it was left undone.
    pub async fn put_away<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let too_long = async {
            self.insisted.cancelled().await;
            tokio::time::sleep(MOMENT).await;
        };
        tokio::select! {
            biased;
            done = work => Some(done),
            () = too_long => None,
        }
    }

    /// Follows SIGTERM and SIGINT: the first one stops, the second one aborts.
    pub fn follow_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let life = self.clone();
        // Not tracked: it lives until the process ends.
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if life.stopping.is_cancelled() {
                    tracing::warn!("second signal: stopping now");
                    life.abort();
                } else {
                    tracing::info!("signal received: stopping");
                    life.stop();
                }
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_task_stops_the_process_with_a_failure() {
        let life = Lifecycle::new();
        life.spawn("broken", async { panic!("on purpose") });
        life.stopping().cancelled().await;
        assert!(life.has_failed());
        assert!(life.drain(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn work_comes_to_its_end_whether_or_not_somebody_waits_for_it() {
        let life = Lifecycle::new();
        let (done, is_done) = oneshot::channel();
        drop(life.outcome_of("forsaken", async { done.send(()) }));
        is_done.await.unwrap();
        assert_eq!(life.outcome_of("awaited", async { 7 }).await, Some(7));
        assert_eq!(life.outcome_of_boxed("boxed", Box::pin(async { 8 })).await, Some(8));
        let broken: Option<u8> = life.outcome_of("broken", async { panic!("on purpose") }).await;
        assert_eq!(broken, None);
        life.stop();
        assert!(life.drain(Duration::from_secs(5)).await);
        assert!(!life.has_failed(), "a piece of work that panics ends only itself");
    }

    #[tokio::test]
    async fn what_does_not_end_by_the_deadline_is_dropped() {
        let life = Lifecycle::new();
        life.spawn("endless", std::future::pending());
        life.stop();
        assert!(!life.drain(Duration::from_millis(10)).await);
        assert!(!life.has_failed());
    }

    #[tokio::test]
    async fn h2_what_comes_last_is_done_after_a_deadline_and_left_when_the_end_is_wanted_now() {
        let life = Lifecycle::new();
        life.spawn("endless", std::future::pending());
        assert!(!life.drain(Duration::ZERO).await);
        let (done, is_done) = oneshot::channel();
        let slow = async {
            tokio::time::sleep(MOMENT * 2).await;
            done.send(()).unwrap();
        };
        assert!(life.put_away(slow).await.is_some());
        is_done.await.unwrap();
        let hangs = life.put_away(std::future::pending::<()>());
        let (left, ()) = tokio::join!(hangs, async { life.abort() });
        assert!(left.is_none());
    }
}
