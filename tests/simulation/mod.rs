//! A world with a clock of its own and one thread, for running months of events in milliseconds.
//!
//! Nothing here sleeps or depends on the machine: tasks run until all of them wait, then the clock
//! jumps to the next timer. The same seed always gives the same run.

pub(crate) mod envelope;
pub(crate) mod network;
pub(crate) mod slow_store;
pub(crate) mod token;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use countersign::{
    clock::Clock,
    lifecycle::{Spawner, Task},
};
use jiff::{SignedDuration, Timestamp};

/// The clock of a world.
#[derive(Debug, Clone)]
pub(crate) struct WorldClock(Arc<Mutex<Reading>>);

struct Reading {
    uptime: Duration,
    /// How wrong the date is.
    step: SignedDuration,
    timers: BinaryHeap<Reverse<(Duration, u64)>>,
    wakers: BTreeMap<u64, Waker>,
    next: u64,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.uptime)
    }
}

/// When the world begins, by a clock that is right.
const BEGINNING: i64 = 1_800_000_000;

impl WorldClock {
    fn lock(&self) -> MutexGuard<'_, Reading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a clock that is right would show.
    pub(crate) fn truth(&self) -> Timestamp {
        let uptime = SignedDuration::try_from(self.lock().uptime).unwrap_or(SignedDuration::MAX);
        Timestamp::from_second(BEGINNING)
            .unwrap_or(Timestamp::UNIX_EPOCH)
            .saturating_add(uptime)
            .unwrap_or(Timestamp::MAX)
    }

    /// Sets the date wrong.
    pub(crate) fn set_wrong(&self, by: SignedDuration) {
        self.lock().step = by;
    }
}

impl Clock for WorldClock {
    fn now(&self) -> Timestamp {
        let step = self.lock().step;
        self.truth().saturating_add(step).unwrap_or(Timestamp::MAX)
    }

    fn uptime(&self) -> Duration {
        self.lock().uptime
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        let until = self.lock().uptime.saturating_add(duration);
        Box::pin(Sleep { clock: self.clone(), until, timer: None })
    }
}

struct Sleep {
    clock: WorldClock,
    until: Duration,
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let (until, timer) = (self.until, self.timer);
        let mut reading = self.clock.lock();
        if reading.uptime >= until {
            return Poll::Ready(());
        }
        let id = timer.unwrap_or_else(|| {
            let id = reading.next;
            reading.next += 1;
            reading.timers.push(Reverse((until, id)));
            id
        });
        reading.wakers.insert(id, context.waker().clone());
        drop(reading);
        self.timer = Some(id);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.timer {
            self.clock.lock().wakers.remove(&id);
        }
    }
}

/// The tasks that have something to do.
type Ready = Arc<Mutex<BTreeSet<u64>>>;

struct TaskWaker {
    id: u64,
    ready: Ready,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).insert(self.id);
    }
}

/// Tasks that live and die together: those of one process.
pub(crate) type Group = u32;

/// The group of whatever never dies.
pub(crate) const IMMORTAL: Group = 0;

/// Tasks that were spawned and not run yet.
type Inbox = Arc<Mutex<Vec<(u64, Group, Task)>>>;

/// One thread, its tasks, and its clock.
pub(crate) struct World {
    /// The clock of this world.
    pub(crate) clock: WorldClock,
    tasks: BTreeMap<u64, (Group, Task)>,
    ready: Ready,
    inbox: Inbox,
    ids: Arc<AtomicU64>,
    /// Which groups die, each after so many more steps of its tasks.
    dooms: BTreeMap<Group, u32>,
    /// Which groups stand still, and until when.
    pauses: BTreeMap<Group, Duration>,
    dead: Vec<Group>,
    /// Chooses who goes on.
    order: fastrand::Rng,
}

impl World {
    /// An empty one, in which the seed decides which of the ready tasks goes on.
    ///
    /// That makes it repeat: some wake-ups of Tokio come in an order of their own (`watch` spreads its waiters
    /// at random), so the order of waking must not matter.
    pub(crate) fn new(seed: u64) -> Self {
        let reading = Reading {
            uptime: Duration::from_secs(1_000),
            step: SignedDuration::ZERO,
            timers: BinaryHeap::new(),
            wakers: BTreeMap::new(),
            next: 0,
        };
        Self {
            clock: WorldClock(Arc::new(Mutex::new(reading))),
            tasks: BTreeMap::new(),
            ready: Ready::default(),
            inbox: Arc::default(),
            ids: Arc::default(),
            dooms: BTreeMap::new(),
            pauses: BTreeMap::new(),
            dead: Vec::new(),
            order: fastrand::Rng::with_seed(seed),
        }
    }

    fn next_ready(&mut self) -> Option<u64> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.is_empty() {
            return None;
        }
        let chosen = self.order.usize(0..ready.len());
        let id = *ready.iter().nth(chosen)?;
        ready.remove(&id);
        Some(id)
    }

    /// Starts tasks in this world.
    pub(crate) fn spawner(&self) -> Spawner {
        self.spawner_of(IMMORTAL)
    }

    /// Starts tasks of one process.
    pub(crate) fn spawner_of(&self, group: Group) -> Spawner {
        let (inbox, ids) = (Arc::clone(&self.inbox), Arc::clone(&self.ids));
        Spawner::new(move |task| {
            let id = ids.fetch_add(1, Ordering::Relaxed);
            inbox.lock().unwrap_or_else(PoisonError::into_inner).push((id, group, task));
        })
    }

    /// Lets a process die as a killed one does, after so many more steps of its tasks: between two awaits
    /// of whichever task comes to it.
    pub(crate) fn doom(&mut self, group: Group, steps: u32) {
        self.dooms.insert(group, steps);
    }

    /// Lets a process stand still for a while, as a stopped one does, or one on a machine that is being moved.
    pub(crate) fn pause(&mut self, group: Group, time: Duration) {
        let until = self.clock.uptime().saturating_add(time);
        self.pauses.insert(group, until);
    }

    fn is_paused(&self, group: Group) -> bool {
        self.pauses.get(&group).is_some_and(|until| self.clock.uptime() < *until)
    }

    /// The processes that have died since this was last asked.
    pub(crate) fn take_dead(&mut self) -> Vec<Group> {
        std::mem::take(&mut self.dead)
    }

    fn kill(&mut self, group: Group) {
        self.dooms.remove(&group);
        self.pauses.remove(&group);
        self.dead.push(group);
        // What is dropped may wake or spawn others, so nothing is locked meanwhile.
        let mut inbox = std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner));
        inbox.retain(|(_, of, _)| *of != group);
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).extend(inbox);
        let killed: Vec<u64> =
            self.tasks.iter().filter(|(_, (of, _))| *of == group).map(|(id, _)| *id).collect();
        for id in killed {
            self.tasks.remove(&id);
        }
    }

    /// Starts a task, and answers how to take it away.
    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) -> u64 {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).push((id, IMMORTAL, Box::pin(task)));
        id
    }

    /// Takes a task away in the middle of whatever it does.
    pub(crate) fn cancel(&mut self, id: u64) {
        self.tasks.remove(&id);
    }

    /// Runs all tasks until each of them waits.
    pub(crate) fn settle(&mut self) {
        let mut parked = Vec::new();
        loop {
            for (id, group, task) in self.inbox.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                self.tasks.insert(id, (group, task));
                self.ready.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
            }
            let Some(id) = self.next_ready() else { break };
            let Some((group, mut task)) = self.tasks.remove(&id) else { continue };
            if self.is_paused(group) {
                self.tasks.insert(id, (group, task));
                parked.push(id);
                continue;
            }
            let waker = Waker::from(Arc::new(TaskWaker { id, ready: Arc::clone(&self.ready) }));
            if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                self.tasks.insert(id, (group, task));
            }
            if let Some(steps) = self.dooms.get_mut(&group) {
                *steps = steps.saturating_sub(1);
                if *steps == 0 {
                    self.kill(group);
                }
            }
        }
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).extend(parked);
    }

    /// Lets time go on to the next timer, but not beyond `until`. Answers whether `until` is reached.
    pub(crate) fn advance(&mut self, until: Duration) -> bool {
        let woken = {
            let mut reading = self.clock.lock();
            let mut woken = Vec::new();
            loop {
                match reading.timers.peek() {
                    Some(Reverse((at, id)))
                        if *at <= until && (woken.is_empty() || *at <= reading.uptime) =>
                    {
                        let (at, id) = (*at, *id);
                        reading.timers.pop();
                        // A timer whose sleeper is gone does not stop the clock.
                        if let Some(waker) = reading.wakers.remove(&id) {
                            reading.uptime = reading.uptime.max(at);
                            woken.push(waker);
                        }
                    }
                    _ => break,
                }
            }
            if woken.is_empty() {
                reading.uptime = reading.uptime.max(until);
            }
            woken
        };
        let reached = woken.is_empty();
        woken.into_iter().for_each(Waker::wake);
        self.settle();
        reached
    }
}
