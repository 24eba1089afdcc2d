//! The task that mints: when, and what it does with the outcome.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::FutureExt as _;

use super::{Control, Driver, Failed, MINT_GAP, OnIdle, Shared, slot::Epoch};
use crate::auth::{
    access_token::{AccessToken, MintedToken},
    error::Error,
    token_source::Failure,
};

/// What the driver does next.
enum Step {
    /// Mint; a flight begins.
    Mint(Epoch),
    /// Nothing before then, unless woken.
    Sleep(Duration),
}

/// Runs until the cache is closed or idle.
pub(super) async fn drive(shared: Arc<Shared>) {
    let guard = Guard(Arc::clone(&shared));
    let closed = shared.around.closed.clone();
    loop {
        let Some(step) = shared.next_step(shared.around.clock.uptime()) else {
            drop(guard);
            if let Some(OnIdle(leave)) = &shared.around.on_idle {
                leave();
            }
            return;
        };
        let work = async {
            match step {
                Step::Mint(begun) => shared.fly(begun).await,
                Step::Sleep(duration) => tokio::select! {
                    biased;
                    () = shared.wake.notified() => {}
                    () = shared.around.clock.sleep(duration) => {}
                },
            }
        };
        tokio::select! {
            biased;
            () = closed.cancelled() => break,
            () = work => {}
        }
    }
}

/// Tells those who wait if the task goes away, by its own will or not.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        {
            let mut control = self.0.lock();
            control.flight = None;
            if control.driver == Driver::Running {
                control.driver = Driver::Gone;
            }
        }
        self.0.changed.send_modify(|count| *count += 1);
    }
}

impl Shared {
    /// None once the sender is idle.
    fn next_step(&self, now: Duration) -> Option<Step> {
        let mut control = self.lock();
        let used_at = Duration::from_secs(self.used_at.load(Ordering::Relaxed));
        let idle_at = used_at.saturating_add(self.around.idle_after);
        let is_well = control.failed.is_none() && !control.forced;
        // One that fails goes on: nobody may have to call before a missing consent is seen to be there.
        if is_well && now >= idle_at {
            self.current.clear();
            control.driver = Driver::Dropped;
            return None;
        }
        let due = self.due(&control);
        if now >= due {
            (control.flight, control.last_started, control.forced) = (Some(now), Some(now), false);
            control.held_until = Duration::ZERO;
            control.started += 1;
            // A key or a consent that changed is proven at once, and an operator may ask: the vendor would have
            // a token kept until shortly before its end.
            if self.current.look(|token| token.is_some_and(|token| now < token.schedule.refresh_at)) {
                self.around.asked.early();
            }
            return Some(Step::Mint(self.current.begin()));
        }
        let until = if is_well { due.min(idle_at) } else { due };
        Some(Step::Sleep(until.saturating_sub(now)))
    }

    /// When the next mint begins, if nobody wakes the driver before.
    fn due(&self, control: &Control) -> Duration {
        let gap = control.last_started.map_or(Duration::ZERO, |last| last.saturating_add(MINT_GAP));
        if control.forced {
            return gap;
        }
        // A mint that failed is tried again although the token is young: somebody asked for it, because a
        // key or a consent changed, and nobody should have to ask twice.
        let refresh_at =
            self.current.look(|token| token.map_or(Duration::ZERO, |token| token.schedule.refresh_at));
        let wanted = if control.failed.is_some() { Duration::ZERO } else { refresh_at };
        let allowed = control.failed.as_ref().map_or(Duration::ZERO, |failed| failed.not_before);
        wanted.max(allowed).max(gap).max(control.held_until)
    }

    /// One flight, and what becomes of it.
    async fn fly(&self, begun: Epoch) {
        // A panic below is a failure like any other: the refresher outlives it (rule T4).
        let outcome = AssertUnwindSafe(self.source.mint()).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| Err(Error::Internal.into()));
        let now = self.around.clock.uptime();
        {
            let mut control = self.lock();
            control.flight = None;
            control.ended += 1;
            match outcome {
                Ok(minted) => self.publish(&mut control, begun, minted, now),
                Err(failure) => self.remember(&mut control, failure, now),
            }
        }
        self.nudged.store(false, Ordering::Release);
        self.changed.send_modify(|count| *count += 1);
    }

    fn publish(&self, control: &mut Control, begun: Epoch, minted: MintedToken, now: Duration) {
        let generation = self.around.generations.fetch_add(1, Ordering::Relaxed) + 1;
        let is_first = !std::mem::replace(&mut control.has_minted, true);
        let jitter = control.jitter.symmetric();
        let token = if is_first && self.around.is_crowded {
            AccessToken::publish_in_crowd(minted, generation, jitter, control.jitter.symmetric())
        } else {
            AccessToken::publish(minted, generation, jitter)
        };
        if now >= token.schedule().usable_until {
            let what = "its token's life was over on arrival";
            return self.remember(control, Error::Malformed { status: 200, what }.into(), now);
        }
        self.record.minted();
        if control.failed.take().is_some() {
            // What was waited for is not dropped at once because nobody read meanwhile.
            self.touch(now);
        }
        // One that began before an invalidation may be as dead as what was invalidated (rule T6).
        self.current.publish(begun, token.into());
    }

    fn remember(&self, control: &mut Control, failure: Failure, now: Duration) {
        self.record.failed(&failure.error);
        let since = control.failed.as_ref().map_or(now, |failed| failed.since);
        let soonest = now.saturating_add(MINT_GAP.mul_f64(0.5));
        control.failed = Some(Failed {
            error: failure.error,
            not_before: failure.not_before.unwrap_or_default().max(soonest),
            flight: control.ended,
            since,
        });
    }
}
