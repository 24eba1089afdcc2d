//! A click becomes a view: the mint runs in a task of its own, a double click is one click, and while the
//! upstream is down a click waits in line for as long as its visitor does.
//!
//! A browser whose visitor presses a button twice drops the first answer and waits for the second. To the
//! lease (rule L2) these are two clicks, and the visitor would be told that the documents are open
//! elsewhere. So each rendering of the page has a name, and clicks with one name share one view. Under the
//! same name the page of a visitor in line asks, by loading itself, whether the upstream is back: it is the
//! click that mints then, not the look (rule L1). The view's URL lives in memory for half a minute, and
//! nowhere else (rule L4). The line is this process's own: another daemon that is asked for it shows the
//! button, and says that it must be pressed once more.
//!
//! That page is got and not posted: a browser that comes back to the answer of a POST shows an error of its own, and asks
//! whether to send the form again. Whoever goes back from the signing page would meet that.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::response::Response;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::{
    clock::SharedClock,
    domain::{Private, SignerId, SigningId},
    public::{Public, answer::see_other, request},
    secret_text::{is_random, random},
    signing::{Error, ReturnTarget, Signings},
    telemetry::chain,
};

/// How long the answer to a click is remembered. Longer than the page of the line takes to look again.
const REMEMBERED: Duration = Duration::from_secs(30);
/// Clicks that are remembered; the next one is on its own, and does not stand in line.
const MAX_REMEMBERED: usize = 10_000;
/// How long a visitor waits for the view before they get the page of the line.
const PATIENCE: Duration = Duration::from_secs(25);
/// Time between the tries for one click: at first, and at most.
const TRY_AGAIN: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(8)];
/// Whoever has not looked for so long has gone, and no view is minted for them.
const ABSENT: Duration = Duration::from_secs(60);
/// Nobody stands in line for longer.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// Random bytes in the name of a rendering.
const NAME_BYTES: usize = 16;

/// What a click came to.
#[derive(Debug, Clone)]
pub(super) enum Clicked {
    /// Here is the view.
    View(Private<String>),
    /// The upstream says that others sign first.
    Early,
    /// Another view may be open until then.
    Elsewhere(Timestamp),
    /// The upstream has no such envelope (any more), so no view will ever be made for it.
    Gone,
    /// In line: the upstream does not answer, and is asked again while the visitor looks.
    InLine,
    /// The upstream does not answer; it may, soon.
    Later,
    /// The signing or the link has moved on; its state says how.
    Moved,
    /// No such signing or signer any more.
    Nothing,
    /// The signer has another name at the upstream, which can be asked for then.
    Renamed(Timestamp),
    /// Views were made for this signer too often in a short time.
    TooOften,
    /// Something that only a person can heal.
    Trouble,
}

/// Sends the browser of a click that stands in line to the page of the line.
pub(super) fn to_the_line(clicked: &Clicked, name: &str) -> Option<Response> {
    matches!(clicked, Clicked::InLine).then(|| see_other(&request::line(name))).flatten()
}

#[derive(Debug, Clone)]
enum Progress {
    /// The first try is under way.
    Trying,
    /// The upstream did not answer; the next try comes.
    InLine,
    /// It is over.
    Over(Clicked),
}

/// One click under way, as those see it who wait for it.
#[derive(Debug, Clone)]
pub(super) struct Pursuit {
    progress: watch::Receiver<Progress>,
    /// When its visitor last looked: uptime, in milliseconds.
    seen_ms: Arc<AtomicU64>,
}

impl Pursuit {
    fn begin(uptime: Duration) -> (watch::Sender<Progress>, Self) {
        let (tell, progress) = watch::channel(Progress::Trying);
        let pursuit = Self { progress, seen_ms: Arc::default() };
        pursuit.look(uptime);
        (tell, pursuit)
    }

    /// Notes that the visitor is still there.
    fn look(&self, uptime: Duration) {
        self.seen_ms.store(u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn is_forsaken(&self, uptime: Duration) -> bool {
        uptime.saturating_sub(Duration::from_millis(self.seen_ms.load(Ordering::Relaxed))) > ABSENT
    }

    /// What it has come to by now.
    fn now(&self) -> Clicked {
        match &*self.progress.borrow() {
            Progress::InLine | Progress::Trying => Clicked::InLine,
            Progress::Over(clicked) => clicked.clone(),
        }
    }

    /// The outcome of the first try.
    async fn first(&mut self) -> Clicked {
        // Nothing is told any more only when the process is being aborted.
        let told = self.progress.wait_for(|progress| !matches!(progress, Progress::Trying)).await;
        if told.is_err() {
            return Clicked::Later;
        }
        drop(told);
        self.now()
    }
}

type Key = (SignerId, String);

/// The clicks of the last seconds, and those in line.
#[derive(Debug, Default)]
pub(super) struct Clicks {
    recent: Mutex<HashMap<Key, Pursuit>>,
}

impl Clicks {
    /// A fresh name for a rendering of a page.
    pub(super) fn name() -> String {
        random::<NAME_BYTES>()
    }

    /// The name that came with a click; one of our own where none of ours came.
    pub(super) fn name_of(given: Option<String>) -> String {
        given.filter(|name| Self::is_name(name)).unwrap_or_else(Self::name)
    }

    /// Whether it could be the name of a rendering of ours, or of another daemon's.
    pub(super) fn is_name(text: &str) -> bool {
        is_random::<NAME_BYTES>(text)
    }

    /// Joins the click of that name, or begins a new one with `begin`, which learns whether it is remembered.
    fn join(
        &self,
        signer: SignerId,
        name: &str,
        uptime: Duration,
        begin: impl FnOnce(watch::Sender<Progress>, Pursuit, bool),
    ) -> Pursuit {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (signer, name.to_owned());
        if let Some(known) = recent.get(&key) {
            known.look(uptime);
            return known.clone();
        }
        let (tell, pursuit) = Pursuit::begin(uptime);
        let remembered = recent.len() < MAX_REMEMBERED;
        if remembered {
            recent.insert(key, pursuit.clone());
        }
        drop(recent);
        begin(tell, pursuit.clone(), remembered);
        pursuit
    }

    /// What the click of that name has come to, if it is remembered. Its visitor is seen to be there.
    fn look(&self, signer: SignerId, name: &str, uptime: Duration) -> Option<Clicked> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let pursuit = recent.get(&(signer, name.to_owned()))?;
        pursuit.look(uptime);
        Some(pursuit.now())
    }

    fn forget(&self, key: &Key) {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

impl Public {
    /// Mints a view for a click, once a name. Past the visitor's patience the click stands in line.
    pub(super) async fn click(&self, target: ReturnTarget, name: &str) -> Clicked {
        let clock = &self.clock;
        let mut pursuit =
            self.clicks.join(target.signer, name, clock.uptime(), |tell, pursuit, remembered| {
                let chase = Chase {
                    signings: self.signings.clone(),
                    clock: Arc::clone(clock),
                    stopping: self.life.stopping(),
                    target,
                    pursuit,
                    tell,
                };
                let (clicks, key) = (Arc::clone(&self.clicks), (target.signer, name.to_owned()));
                let life = self.life.clone();
                let (clock, stopping) = (Arc::clone(clock), self.life.stopping());
                // The visitor may hang up at any moment; a lease that was taken must not be left behind.
                self.life.spawn_work("click", async move {
                    chase.run(remembered).await;
                    life.spawn("forget a click", async move {
                        tokio::select! {
                            () = clock.sleep(REMEMBERED) => {}
                            () = stopping.cancelled() => {}
                        }
                        clicks.forget(&key);
                    });
                });
            });
        tokio::select! {
            clicked = pursuit.first() => clicked,
            () = clock.sleep(PATIENCE) => Clicked::InLine,
        }
    }

    /// What a click in line has come to; none if nobody here knows it (any more).
    pub(super) fn look_in_line(&self, signer: SignerId, name: &str) -> Option<Clicked> {
        self.clicks.look(signer, name, self.clock.uptime())
    }
}

/// The task behind a click.
struct Chase {
    signings: Signings,
    clock: SharedClock,
    stopping: tokio_util::sync::CancellationToken,
    target: ReturnTarget,
    pursuit: Pursuit,
    tell: watch::Sender<Progress>,
}

impl Chase {
    /// Tries until there is an answer, or nobody waits for it any more. `may_wait`: whether its page can
    /// ask for it again.
    async fn run(self, may_wait: bool) {
        let began = self.clock.uptime();
        let [mut wait, longest_wait] = TRY_AGAIN;
        let clicked = loop {
            let clicked = self.once().await;
            if !may_wait || !matches!(clicked, Clicked::Later) {
                break clicked;
            }
            self.tell.send_replace(Progress::InLine);
            tokio::select! {
                () = self.clock.sleep(wait) => {}
                () = self.stopping.cancelled() => break Clicked::Later,
            }
            let uptime = self.clock.uptime();
            if self.pursuit.is_forsaken(uptime) || uptime.saturating_sub(began) > LONGEST {
                break Clicked::Later;
            }
            wait = (wait * 2).min(longest_wait);
        };
        self.tell.send_replace(Progress::Over(clicked));
    }

    async fn once(&self) -> Clicked {
        match self.signings.view_by_click(self.target).await {
            Ok(view) => Clicked::View(view.url),
            Err(error) => refused(self.target.signing, &error),
        }
    }
}

fn refused(signing: SigningId, error: &Error) -> Clicked {
    match error {
        Error::Closed(_)
        | Error::Failed { .. }
        | Error::LinkOver
        | Error::NotReady { .. }
        | Error::TimeOver => Clicked::Moved,
        Error::NotFound => Clicked::Nothing,
        // It is no outage, and asking again at once is refused each time: the signer's page says to come back.
        early if early.is_out_of_turn() => {
            tracing::info!(signing.id = %signing, "no view for a click: others sign first, says the upstream");
            Clicked::Early
        }
        Error::ViewLive { until } => Clicked::Elsewhere(*until),
        Error::Busy { .. } | Error::BrokenOff { is_stopping: true } => Clicked::Later,
        // Trying again before that time would be refused each time.
        Error::PollingBudget { retry_at } => Clicked::Renamed(*retry_at),
        Error::TooOften { .. } => {
            tracing::info!(signing.id = %signing, "no view for a click: there were too many in a short time");
            Clicked::TooOften
        }
        Error::Upstream(upstream) => {
            tracing::warn!(signing.id = %signing, code = upstream.code(), "no view for a click");
            if let Some(until) = error.check_spent_until() {
                // The name that the view must have could not be read, and is not read again before then: each try until then
                // would be refused for the old one.
                Clicked::Renamed(until)
            } else if upstream.retryable() {
                Clicked::Later
            } else if error.is_of_unknown_envelope() {
                Clicked::Gone
            } else {
                Clicked::Trouble
            }
        }
        other => {
            tracing::error!(signing.id = %signing, error = %chain(&other), "no view for a click");
            Clicked::Trouble
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::esign::read_refusal;

    const NOW: Duration = Duration::from_secs(1_000);

    fn signer() -> SignerId {
        SignerId::generate(Timestamp::UNIX_EPOCH)
    }

    #[tokio::test]
    async fn clicks_of_one_rendering_are_one_and_others_are_not() {
        let clicks = Clicks::default();
        let (ada, bob) = (signer(), signer());
        let name = Clicks::name();
        let begun = RefCell::new(Vec::new());
        let click = |signer, name: &str| {
            clicks.join(signer, name, NOW, |tell, _, remembered| {
                assert!(remembered);
                begun.borrow_mut().push(tell);
            })
        };
        let (mut first, mut second) = (click(ada, &name), click(ada, &name));
        assert_eq!(begun.borrow().len(), 1);
        let view = Clicked::View(Private::new("view 1".to_owned()));
        begun.borrow()[0].send_replace(Progress::Over(view));
        for told in [first.first().await, second.first().await] {
            assert!(matches!(told, Clicked::View(url) if url.reveal() == "view 1"));
        }
        drop((click(bob, &name), click(ada, &Clicks::name())));
        assert_eq!(begun.borrow().len(), 3, "another signer or another rendering: another click");
        clicks.forget(&(ada, name.clone()));
        drop(click(ada, &name));
        assert_eq!(begun.borrow().len(), 4);
    }

    #[test]
    fn only_names_of_ours_are_taken() {
        let name = Clicks::name();
        assert_eq!(Clicks::name_of(Some(name.clone())), name);
        for wrong in
            [None, Some(String::new()), Some("x".repeat(21)), Some("<".repeat(22)), Some("é".repeat(11))]
        {
            let made = Clicks::name_of(wrong.clone());
            assert!(made.len() == 22 && Some(&made) != wrong.as_ref());
        }
    }

    #[test]
    fn a_line_is_left_by_whoever_does_not_look() {
        let clicks = Clicks::default();
        let (ada, name) = (signer(), Clicks::name());
        let pursuit = clicks.join(ada, &name, NOW, |tell, _, _| {
            tell.send_replace(Progress::InLine);
        });
        assert!(!pursuit.is_forsaken(NOW + ABSENT));
        assert!(pursuit.is_forsaken(NOW + ABSENT + Duration::from_millis(1)));
        let later = NOW + ABSENT * 2;
        assert!(matches!(clicks.look(ada, &name, later), Some(Clicked::InLine)));
        assert!(!pursuit.is_forsaken(later));
        assert!(clicks.look(signer(), &name, later).is_none(), "another signer has no part in it");
    }

    #[test]
    fn what_docusign_does_not_have_any_more_is_gone_and_another_refusal_is_not() {
        let signing = SigningId::generate(Timestamp::UNIX_EPOCH);
        let told = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            let error = read_refusal(status, &HeaderMap::new(), Bytes::from_static(b"{}"));
            refused(signing, &Error::Upstream(error))
        };
        assert!(matches!(told(404), Clicked::Gone));
        assert!(matches!(told(400), Clicked::Trouble));
        assert!(matches!(told(503), Clicked::Later));
    }

    #[test]
    fn memory_is_bounded() {
        let clicks = Clicks::default();
        let mut kept = 0;
        for _ in 0..MAX_REMEMBERED + 5 {
            clicks.join(signer(), "n", NOW, |_, _, remembered| kept += usize::from(remembered));
        }
        assert_eq!((kept, clicks.recent.lock().unwrap().len()), (MAX_REMEMBERED, MAX_REMEMBERED));
    }

    #[test]
    fn s1_a_click_shows_no_url() {
        let clicked = Clicked::View(Private::new("https://demo.docusign.net/secret".to_owned()));
        assert!(!format!("{clicked:?}").contains("secret"));
    }
}
