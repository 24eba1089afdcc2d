//! The task that sends webhooks: from the outbox to deliveries, from deliveries to attempts.
//!
//! ```text
//! hub, or once a second ─▶ fan out ─▶ claim, leased ─▶ lanes ─▶ attempt ─▶ outcome on disk, lease ends
//! ```
//!
//! **A dead receiver never delays a living one.** An attempt starts in a *quick* place and must leave it
//! after a tenth of a second: whoever takes longer goes on in one of the many *slow* places. Receivers
//! that failed last time, and every second and later attempt, start slow at once. So thousands of dead
//! receivers hold thousands of slow places, while the living ones pass through the quick ones. The store
//! does the same for memory: it leases a few deliveries of each endpoint at a time. Of those none stays for the sake
//! of the order alone: what waits for an earlier event to be tried again is given back until then.
//!
//! **Several daemons** share the work by leases: who claims a delivery attempts it before the lease ends,
//! or leaves it. A crash makes others try again after the lease: at least once, and the event's id tells.
//!
//! When the daemon stops, nothing new begins, attempts under way end, and what waits is given back.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{
    clock::{Now, SharedClock, later},
    domain::EndpointId,
    events::{
        Endpoints, Hub, Webhooks,
        lanes::{self, Hold, Key, LEASE_MARGIN, Lanes},
        oldest_pending::{LOOK_EVERY, OldestPending},
        webhooks::{Ended, settle},
    },
    lifecycle::Lifecycle,
    store::{self, Delivery, DueDelivery, SharedStore},
    telemetry::{
        lasting_trouble::{LastingTrouble, Say},
        metrics::{AttemptResult, Metrics},
    },
};

/// The wait for other daemons' events, and for what is due again.
const TICK: Duration = Duration::from_secs(1);
/// Events fanned out in one transaction.
const FAN_OUT: u32 = 500;
/// Deliveries claimed in one transaction.
const CLAIM: u32 = 2_048;
/// The longest wait for a second attempt for which later events of the signing are held back, and how
/// much later than that the hold ends.
const MAX_HOLD: Duration = Duration::from_secs(10);
/// When a delivery is tried again for which there was no slow place.
const PUT_BACK: Duration = Duration::from_secs(5);

/// How much the dispatcher does at once (rule S5).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Attempts that have just begun.
    pub quick: usize,
    /// Attempts that take longer, at receivers that may be dead.
    pub slow: usize,
    /// How long an attempt may hold a quick place.
    pub patience: Duration,
    /// Deliveries that are leased for one endpoint by this daemon. Others may have as many: an endpoint gets so many at
    /// once from each.
    pub per_endpoint: u32,
    /// Deliveries that wait in memory.
    pub waiting: usize,
    /// How long a lease lasts: so long does what a daemon had in hand wait when it dies. An attempt takes a quarter of
    /// it, and begins only while a third is left.
    pub lease: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            quick: 512,
            slow: 8_192,
            patience: Duration::from_millis(100),
            per_endpoint: 16,
            waiting: 4_096,
            lease: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// The limits for a process that may have so many files open: attempts are sockets, and callers and
    /// signers must never go without one because of them.
    pub fn for_open_files(files: u64) -> Self {
        let half = usize::try_from(files / 2).unwrap_or(usize::MAX);
        let limits = Self::default();
        let quick = limits.quick.min(half / 4).max(8);
        Self { quick, slow: limits.slow.min(half.saturating_sub(quick)).max(32), ..limits }
    }
}

/// What the dispatcher is built on.
#[derive(Debug)]
pub struct Dependencies {
    /// Where events and deliveries are.
    pub store: SharedStore,
    /// Who wants them.
    pub endpoints: Endpoints,
    /// How they are sent.
    pub webhooks: Webhooks,
    /// What tells of new ones.
    pub hub: Hub,
    /// The time.
    pub clock: SharedClock,
    /// When to stop, and who waits for the attempts.
    pub life: Lifecycle,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Sends webhooks until the daemon stops. Spawn [`Dispatcher::run`].
#[derive(Debug)]
pub struct Dispatcher {
    shared: Shared,
    hub: Hub,
    lanes: Lanes,
    /// Endpoints whose last attempt failed.
    ailing: HashSet<EndpointId>,
    /// Endpoints that had more due than may be leased at once.
    behind: HashSet<EndpointId>,
    /// Attempts under way, by endpoint.
    under_way: HashMap<EndpointId, u32>,
    /// What keeps the store from being asked.
    trouble: LastingTrouble,
    oldest: OldestPending,
    replies: (mpsc::UnboundedSender<Reply>, mpsc::UnboundedReceiver<Reply>),
}

/// What an attempt works with.
#[derive(Debug, Clone)]
struct Shared {
    store: SharedStore,
    endpoints: Endpoints,
    webhooks: Webhooks,
    clock: SharedClock,
    life: Lifecycle,
    metrics: Arc<Metrics>,
    limits: Limits,
    quick: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    /// Attempts that wait for a quick place.
    queued: Arc<AtomicUsize>,
    /// Wakes the dispatcher when none waits any more.
    room: Arc<Notify>,
}

impl Dispatcher {
    /// A dispatcher over a store.
    pub fn new(given: Dependencies, limits: Limits) -> Self {
        let oldest = OldestPending::in_metrics(&given.metrics, Arc::clone(&given.clock));
        Self {
            shared: Shared {
                store: given.store,
                endpoints: given.endpoints,
                webhooks: given.webhooks,
                clock: given.clock,
                life: given.life,
                metrics: given.metrics,
                limits,
                quick: Arc::new(Semaphore::new(limits.quick)),
                slow: Arc::new(Semaphore::new(limits.slow)),
                queued: Arc::default(),
                room: Arc::default(),
            },
            hub: given.hub,
            lanes: Lanes::default(),
            ailing: HashSet::new(),
            behind: HashSet::new(),
            under_way: HashMap::new(),
            trouble: LastingTrouble::default(),
            oldest,
            replies: mpsc::unbounded_channel(),
        }
    }

    /// Runs until the daemon stops.
    pub async fn run(mut self) {
        let (mut outbox, stopping) = (self.hub.outbox(), self.shared.life.stopping());
        let (mut next_tick, mut next_gauge) = (Duration::ZERO, Duration::ZERO);
        let (mut is_wanted, mut is_more, room) = (true, false, Arc::clone(&self.shared.room));
        loop {
            let now = self.now();
            if now.uptime >= next_tick {
                (is_wanted, next_tick) = (true, now.uptime.saturating_add(TICK));
                for key in self.lanes.released(now.uptime) {
                    self.start(key, now);
                }
            }
            if now.uptime >= next_gauge {
                next_gauge = now.uptime.saturating_add(LOOK_EVERY);
                self.oldest.look_up(&self.shared.store, now.date).await;
            }
            if is_wanted {
                is_more = self.try_to_fill().await;
                // What was put off leaves its places to what comes behind it.
                is_wanted = self.lanes.has_put_off();
            }
            tokio::select! {
                () = stopping.cancelled() => break,
                () = outbox.changed() => is_wanted = true,
                // Not from the time above: the store may have taken a while since.
                () = self.shared.clock.sleep(next_tick.saturating_sub(self.shared.clock.uptime())) => {}
                () = std::future::ready(()), if is_wanted => {}
                Some(reply) = self.replies.1.recv() => {
                    is_wanted |= self.ended(&reply);
                    while let Ok(reply) = self.replies.1.try_recv() {
                        is_wanted |= self.ended(&reply);
                    }
                    is_wanted |= is_more && self.room() >= self.shared.limits.waiting / 2;
                }
                () = room.notified(), if is_more => is_wanted = true,
            }
        }
        self.give_back().await;
    }

    /// The time, by both clocks.
    fn now(&self) -> Now {
        Now::read(&*self.shared.clock)
    }

    /// As [`fill`](Self::fill), and says so when the store does not answer, and when it does again.
    async fn try_to_fill(&mut self) -> bool {
        let filled = self.fill().await;
        match self.trouble.note(&filled, self.shared.clock.uptime()) {
            Some(Say::Fails(error)) => tracing::warn!(%error, "webhooks wait: the store does not answer"),
            Some(Say::Over(lasted)) => {
                tracing::info!(seconds = lasted.as_secs(), "webhooks go on: the store answers again");
            }
            None => {}
        }
        filled.unwrap_or(false)
    }

    /// Gives back what was put off, makes deliveries of new events and claims what is due; answers whether there is more.
    async fn fill(&mut self) -> Result<bool, store::Error> {
        let store = Arc::clone(&self.shared.store);
        let put_off = self.lanes.put_off();
        if !put_off.is_empty() {
            // If that fails, its leases lapse.
            store.return_deliveries(put_off, self.shared.clock.now()).await?;
        }
        while store.fan_out(self.shared.clock.now(), FAN_OUT).await? >= u64::from(FAN_OUT) {}
        let limits = self.shared.limits;
        let limit = u32::try_from(self.room()).unwrap_or(CLAIM).min(CLAIM);
        if limit == 0 {
            return Ok(true);
        }
        let now = self.now();
        let until = later(now.date, limits.lease);
        let claimed = store.claim_deliveries(now.date, until, limits.per_endpoint, limit).await?;
        let is_more = claimed.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let mut of_endpoint = HashMap::new();
        let keys: Vec<_> = claimed.iter().map(lanes::key).collect();
        for due in claimed {
            *of_endpoint.entry(due.endpoint.id).or_insert(0) += 1;
            self.lanes.push(due, now.uptime.saturating_add(limits.lease));
        }
        let full = of_endpoint.into_iter().filter(|(_, count)| *count >= limits.per_endpoint / 2);
        self.behind.extend(full.map(|(endpoint, _)| endpoint));
        for key in keys {
            self.start(key, now);
        }
        Ok(is_more)
    }

    /// How many more deliveries may wait in memory.
    fn room(&self) -> usize {
        let waiting = self.lanes.waiting().saturating_add(self.shared.queued.load(Ordering::Relaxed));
        self.shared.limits.waiting.saturating_sub(waiting)
    }

    /// Starts what is next in a lane, if anything may.
    fn start(&mut self, key: Key, now: Now) {
        let Some((due, leased_until)) = self.lanes.next(key, now) else { return };
        *self.under_way.entry(key.0).or_default() += 1;
        let is_slow = due.delivery.attempts > 0 || self.ailing.contains(&key.0);
        if !is_slow {
            self.shared.queued.fetch_add(1, Ordering::Relaxed);
        }
        let reply = Reply { key, result: None, hold: None };
        let reply = ReplyOnDrop { reply, to: self.replies.0.clone() };
        let shared = self.shared.clone();
        let life = self.shared.life.clone();
        life.spawn_work("webhook attempt", shared.attempt(due, leased_until, is_slow, reply));
    }

    /// Takes note of an attempt that has ended; answers whether there should be a claim.
    fn ended(&mut self, reply: &Reply) -> bool {
        let (endpoint, now) = (reply.key.0, self.now());
        match reply.result {
            Some(AttemptResult::Delivered) => {
                self.ailing.remove(&endpoint);
            }
            Some(AttemptResult::Failed) => {
                self.ailing.insert(endpoint);
            }
            // What waits for it stays pending, and is not claimed while the endpoint is off: once that is on again, no
            // lease of ours may be in the way.
            Some(AttemptResult::Gone) => self.lanes.leave(endpoint, now.uptime),
            Some(AttemptResult::GivenUp) | None => {}
        }
        self.lanes.ended(reply.key, reply.hold, now.uptime);
        self.start(reply.key, now);
        let left = self.under_way.get_mut(&endpoint).map_or(0, |count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == 0 {
            self.under_way.remove(&endpoint);
        }
        (left == 0 && self.behind.remove(&endpoint)) || self.lanes.has_put_off()
    }

    /// Ends the leases of what has not begun, so that nobody waits for them.
    async fn give_back(mut self) {
        let mut waiting = self.lanes.put_off();
        let leased = self.lanes.take(None, self.shared.clock.uptime());
        waiting.extend(leased.into_iter().map(|due| due.delivery));
        self.shared.give_back(waiting).await;
    }
}

impl Shared {
    /// Makes one attempt in a place of its own, and writes down what came of it.
    async fn attempt(self, due: DueDelivery, leased_until: Duration, is_slow: bool, mut reply: ReplyOnDrop) {
        let place = if is_slow {
            let Ok(place) = Arc::clone(&self.slow).try_acquire_owned() else {
                return self.put_back(due.delivery).await;
            };
            Place::Slow(place)
        } else {
            let place = Arc::clone(&self.quick).acquire_owned().await;
            if self.queued.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.room.notify_one();
            }
            let Ok(place) = place else { return };
            Place::Quick(place)
        };
        // It may have waited long for its place; once its lease is over, it may be another daemon's.
        let left = leased_until.saturating_sub(self.clock.uptime());
        if left.is_zero() {
            return;
        }
        if left <= LEASE_MARGIN || self.life.stopping().is_cancelled() {
            return self.give_back(vec![due.delivery]).await;
        }
        let ended = self.send(&due, place).await;
        let (now, endpoint) = (self.clock.now(), due.endpoint);
        let (delivery, result) = settle(due.delivery, ended, now, fastrand::f64());
        self.metrics.webhook_attempted(result);
        match result {
            AttemptResult::Delivered => {}
            // Nobody will get it unless somebody acts.
            AttemptResult::GivenUp => tracing::warn!(
                endpoint.id = %endpoint.id, delivery.id = %delivery.id, delivery.attempts,
                status = delivery.response_status, reason = delivery.error,
                "a webhook was given up; POST /v1/deliveries/{{id}}/replay sends it again once its receiver is well"
            ),
            _ => tracing::info!(
                endpoint.id = %endpoint.id, delivery.id = %delivery.id, delivery.attempts,
                status = delivery.response_status, reason = delivery.error, ?result,
                "a webhook was not taken"
            ),
        }
        let wait = Duration::try_from(delivery.due_at.duration_since(now)).unwrap_or_default();
        let is_first = result == AttemptResult::Failed && delivery.attempts == 1 && wait <= MAX_HOLD;
        let lasts = wait.saturating_add(MAX_HOLD);
        let hold = Hold { by: due.event.sequence, again: delivery.due_at, lasts };
        (reply.reply.result, reply.reply.hold) = (Some(result), is_first.then_some(hold));
        if result == AttemptResult::Gone {
            self.switch_off(endpoint.id).await;
        }
        self.write(delivery).await;
    }

    /// The receiver wants no more. Nobody gets its events from now on unless somebody acts.
    async fn switch_off(&self, endpoint: EndpointId) {
        match self.endpoints.disable(endpoint).await {
            Ok(()) => tracing::warn!(
                endpoint.id = %endpoint,
                "endpoint switched off by 410: once its receiver is well, PATCH /v1/webhook_endpoints/{{id}} with \
                 {{\"disabled\": false}} switches it on; for one of the settings SIGHUP or a restart does, too"
            ),
            Err(error) => {
                tracing::warn!(endpoint.id = %endpoint, %error, "an endpoint that is gone could not be switched off");
            }
        }
    }

    /// Sends, and moves on to a slow place when it takes long.
    async fn send(&self, due: &DueDelivery, place: Place) -> Ended {
        let mut sending = pin!(self.webhooks.attempt(due, self.clock.now()));
        let quick = match place {
            Place::Slow(_slow) => return sending.await,
            Place::Quick(quick) => quick,
        };
        tokio::select! {
            ended = &mut sending => return ended,
            () = self.clock.sleep(self.limits.patience) => {}
        }
        tokio::select! {
            ended = &mut sending => ended,
            slow = Arc::clone(&self.slow).acquire_owned() => {
                drop(quick);
                let ended = sending.await;
                drop(slow);
                ended
            }
        }
    }

    /// Ends leases of which nothing was made: nobody need wait for them.
    async fn give_back(&self, deliveries: Vec<Delivery>) {
        if deliveries.is_empty() {
            return;
        }
        if let Err(error) = self.store.return_deliveries(deliveries, self.clock.now()).await {
            tracing::debug!(%error, "leases could not be given back: they will lapse");
        }
    }

    /// There is no place: the delivery comes again a little later, and no attempt is counted.
    async fn put_back(&self, mut delivery: Delivery) {
        let wait = PUT_BACK.mul_f64(1.0 + fastrand::f64());
        delivery.due_at = later(self.clock.now(), wait);
        self.write(delivery).await;
    }

    /// Writes an outcome down. If the store is away for long the lease lapses, and the attempt is made
    /// again: better twice than never.
    async fn write(&self, delivery: Delivery) {
        for wait in [Duration::from_millis(200), Duration::from_secs(2), Duration::ZERO] {
            match self.store.delivery_attempted(delivery.clone()).await {
                Ok(()) => return,
                Err(error) if wait.is_zero() => {
                    tracing::warn!(delivery.id = %delivery.id, %error, "the outcome of a webhook could not be stored");
                }
                Err(_) => self.clock.sleep(wait).await,
            }
        }
    }
}

enum Place {
    Quick(OwnedSemaphorePermit),
    Slow(OwnedSemaphorePermit),
}

/// What the dispatcher hears of an attempt.
#[derive(Debug, Clone, Copy)]
struct Reply {
    key: Key,
    /// How it ended; none if it was not made.
    result: Option<AttemptResult>,
    /// That later events of the lane wait.
    hold: Option<Hold>,
}

/// Tells the dispatcher that an attempt is over, however it ends: a lane must never stay busy for ever.
struct ReplyOnDrop {
    reply: Reply,
    to: mpsc::UnboundedSender<Reply>,
}

impl Drop for ReplyOnDrop {
    fn drop(&mut self) {
        // Nobody listens any more when the daemon stops.
        let _ = self.to.send(self.reply);
    }
}

#[cfg(test)]
mod tests;
