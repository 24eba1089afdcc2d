//! The caller's deadline, as it travels with the work (rule B4).

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::Clock;

/// The uptime by which something must have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    at: Duration,
    /// How long the answer to what has left by then is waited for.
    answered_by: Duration,
}

impl Deadline {
    /// A deadline so long from now.
    pub fn within(clock: &dyn Clock, time: Duration) -> Self {
        let at = clock.uptime().saturating_add(time);
        Self { at, answered_by: at }
    }

    /// Waits so long from now for the answer to what has left in time: it is of use to whoever asks next, when nobody
    /// waits for it any more.
    #[must_use]
    pub fn answered_within(self, clock: &dyn Clock, time: Duration) -> Self {
        Self { answered_by: clock.uptime().saturating_add(time).max(self.at), ..self }
    }

    /// This deadline, so much later: what waits for work that keeps a deadline gives it the time to say so.
    #[must_use]
    pub const fn plus(self, time: Duration) -> Self {
        Self { at: self.at.saturating_add(time), answered_by: self.answered_by.saturating_add(time) }
    }

    /// The uptime at which it is over.
    pub const fn at(self) -> Duration {
        self.at
    }

    /// What is left of it.
    pub const fn left(self, uptime: Duration) -> Duration {
        self.at.saturating_sub(uptime)
    }

    /// Takes a step for as long as there is time. What is there already is taken, whatever is left. None: the time was
    /// over first.
    pub fn hold<F: Future>(self, clock: &dyn Clock, step: F) -> Held<'_, F> {
        Held { deadline: self, clock, timer: None, step }
    }

    /// How long an answer is waited for, if something that takes `needed` can still end in time.
    pub fn leaves(self, needed: Duration, uptime: Duration) -> Option<Duration> {
        (self.left(uptime) >= needed).then(|| self.answered_by.saturating_sub(uptime))
    }
}

pin_project! {
    /// A step that is held to a deadline ([`Deadline::hold`]).
    ///
    /// Written by hand, because steps lie within steps: an `async fn` has room twice for the future that it is given.
    pub struct Held<'c, F> {
        deadline: Deadline,
        clock: &'c dyn Clock,
        // Set only once the step has to wait.
        timer: Option<Timer>,
        #[pin]
        step: F,
    }
}

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<F: Future> Future for Held<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(done) = this.step.poll(context) {
            return Poll::Ready(Some(done));
        }
        let timer =
            this.timer.get_or_insert_with(|| this.clock.sleep(this.deadline.left(this.clock.uptime())));
        timer.as_mut().poll(context).map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use std::{future, sync::Arc};

    use jiff::Timestamp;

    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn what_is_there_is_taken_whatever_is_left_and_what_is_not_is_waited_for_until_then() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let second = Duration::from_secs(1);
        let over = Deadline::within(&clock, Duration::ZERO);
        assert_eq!(over.hold(&clock, future::ready(1)).await, Some(1));
        assert_eq!(over.hold(&clock, future::pending::<u8>()).await, None);
        let (shared, deadline) = (Arc::new(clock.clone()), Deadline::within(&clock, second));
        let held = tokio::spawn({
            let clock = Arc::clone(&shared);
            async move { deadline.plus(second).hold(&*clock, future::pending::<u8>()).await }
        });
        tokio::task::yield_now().await;
        clock.advance(second);
        tokio::task::yield_now().await;
        assert!(!held.is_finished());
        clock.advance(second);
        assert_eq!(held.await.unwrap(), None);
    }

    /// A clock that nobody may wait by.
    #[derive(Debug)]
    struct Unwaited;

    impl Clock for Unwaited {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }

        fn uptime(&self) -> Duration {
            Duration::ZERO
        }

        fn sleep(&self, _: Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
            panic!("a timer was made")
        }
    }

    #[tokio::test]
    async fn what_is_over_at_once_costs_no_timer() {
        let deadline = Deadline::within(&Unwaited, Duration::from_secs(1));
        assert_eq!(deadline.hold(&Unwaited, future::ready(1)).await, Some(1));
    }
}
