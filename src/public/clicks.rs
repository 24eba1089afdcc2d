//! A click becomes a view: the mint runs in a task of its own, and a double click is one click.
//!
//! A browser whose visitor presses a button twice drops the first answer and waits for the second. To the
//! lease (rule L2) these are two clicks, and the visitor would be told that the documents are open
//! elsewhere. So each rendering of the page has a name, and clicks with one name share one view for a few
//! seconds. The view's URL lives as long in memory, and nowhere else (rule L4).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{FutureExt as _, future::Shared};
use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::{
    domain::{Private, SignerId, SigningId},
    public::router::Parts,
    signing::Error,
    telemetry::metrics::ViewResult,
};

/// How long clicks with one name are one.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Clicks that are remembered; the next one is on its own.
const MAX_REMEMBERED: usize = 10_000;
/// How long a visitor waits for the view. What takes longer is finished without them.
const PATIENCE: Duration = Duration::from_secs(25);
/// 128 random bits in base64url.
const NAME_LENGTH: usize = 22;

/// What a click came to.
#[derive(Debug, Clone)]
pub(super) enum Clicked {
    /// Here is the view.
    View(Private<String>),
    /// Another view may be open until then.
    Elsewhere(Timestamp),
    /// The upstream does not answer; it may, soon.
    Later,
    /// The signing has moved on; its state says how.
    Moved,
    /// No such signing or signer any more.
    Nothing,
    /// Something that only a person can heal.
    Trouble,
}

type Sharing = Shared<oneshot::Receiver<Clicked>>;

/// The clicks of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Clicks {
    recent: Mutex<HashMap<(SignerId, String), Sharing>>,
}

impl Clicks {
    /// A fresh name for a rendering of a page.
    pub(super) fn name() -> String {
        let mut bytes = [0_u8; 16];
        aws_lc_rs::rand::fill(&mut bytes).expect("the system gives random bytes");
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Joins the click of that name, or begins a new one with `begin`; tells whether it began.
    fn join(
        &self,
        signer: SignerId,
        name: Option<String>,
        begin: impl FnOnce(oneshot::Sender<Clicked>),
    ) -> (Sharing, Option<(SignerId, String)>) {
        let (tell, told) = oneshot::channel();
        let Some(name) = name.filter(|name| name.len() == NAME_LENGTH) else {
            begin(tell);
            return (told.shared(), None);
        };
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (signer, name);
        if let Some(known) = recent.get(&key) {
            return (known.clone(), None);
        }
        let sharing = told.shared();
        let remembered = (recent.len() < MAX_REMEMBERED).then(|| key.clone());
        if remembered.is_some() {
            recent.insert(key, sharing.clone());
        }
        drop(recent);
        begin(tell);
        (sharing, remembered)
    }

    fn forget(&self, key: &(SignerId, String)) {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

impl Parts {
    /// Mints a view for a click, once a name.
    pub(super) async fn click(&self, signing: SigningId, signer: SignerId, name: Option<String>) -> Clicked {
        let (told, began) = self.clicks.join(signer, name, |tell| {
            let (signings, metrics) = (self.given.signings.clone(), Arc::clone(&self.given.metrics));
            // The visitor may hang up at any moment; a lease that was taken must not be left behind.
            self.given.life.spawn_work("click", async move {
                let minted = signings.view_by_click(signing, signer).await;
                metrics.view_minted(view_result(minted.as_ref().err()));
                let clicked = match minted {
                    Ok(view) => Clicked::View(view.url),
                    Err(error) => refused(signing, &error),
                };
                let _ = tell.send(clicked);
            });
        });
        if let Some(key) = began {
            let (clicks, clock) = (Arc::clone(&self.clicks), Arc::clone(&self.given.clock));
            let stopping = self.given.life.stopping();
            self.given.life.spawn("forget a click", async move {
                tokio::select! {
                    () = clock.sleep(REMEMBERED) => {}
                    () = stopping.cancelled() => {}
                }
                clicks.forget(&key);
            });
        }
        tokio::select! {
            // Nothing is told only when the process is being aborted.
            told = told => told.unwrap_or(Clicked::Later),
            () = self.given.clock.sleep(PATIENCE) => Clicked::Later,
        }
    }
}

fn refused(signing: SigningId, error: &Error) -> Clicked {
    match error {
        Error::Closed(_) | Error::Failed { .. } | Error::NotReady { .. } => Clicked::Moved,
        Error::NotFound => Clicked::Nothing,
        Error::ViewLive { until } => Clicked::Elsewhere(*until),
        Error::Busy { .. } => Clicked::Later,
        Error::Upstream(upstream) => {
            tracing::warn!(signing.id = %signing, code = upstream.code(), "no view for a click");
            if upstream.retryable() { Clicked::Later } else { Clicked::Trouble }
        }
        other => {
            tracing::error!(signing.id = %signing, error = %other, "no view for a click");
            Clicked::Trouble
        }
    }
}

fn view_result(error: Option<&Error>) -> ViewResult {
    match error {
        None => ViewResult::Good,
        Some(Error::ViewLive { .. }) => ViewResult::Leased,
        Some(Error::Upstream(upstream)) if !upstream.retryable() => ViewResult::Rejected,
        Some(Error::Closed(_) | Error::NotFound | Error::NotReady { .. }) => ViewResult::Rejected,
        Some(_) => ViewResult::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn signer() -> SignerId {
        SignerId::generate(Timestamp::UNIX_EPOCH)
    }

    #[tokio::test]
    async fn clicks_of_one_rendering_are_one_and_others_are_not() {
        let clicks = Clicks::default();
        let (ada, bob) = (signer(), signer());
        let name = Clicks::name();
        let mints = Cell::new(0);
        let click = |signer, name: Option<&str>| {
            clicks.join(signer, name.map(str::to_owned), |tell| {
                mints.set(mints.get() + 1);
                let _ = tell.send(Clicked::View(Private::new(format!("view {}", mints.get()))));
            })
        };
        let (first, began) = click(ada, Some(&name));
        let (second, again) = click(ada, Some(&name));
        assert!(began.is_some() && again.is_none());
        for told in [first, second] {
            assert!(matches!(told.await, Ok(Clicked::View(url)) if url.reveal() == "view 1"));
        }
        drop(click(bob, Some(&name)));
        drop(click(ada, Some(&Clicks::name())));
        drop(click(ada, None));
        drop(click(ada, Some("x")));
        drop(click(ada, Some("x")));
        assert_eq!(mints.get(), 6, "another signer, another rendering, or no name: another click");
        clicks.forget(&began.unwrap());
        drop(click(ada, Some(&name)));
        assert_eq!(mints.get(), 7);
    }

    #[test]
    fn s1_a_click_shows_no_url() {
        let clicked = Clicked::View(Private::new("https://demo.docusign.net/secret".to_owned()));
        assert!(!format!("{clicked:?}").contains("secret"));
    }
}
