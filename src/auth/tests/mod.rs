//! The whole stack over a real socket.

mod consent;
mod keys;

use std::sync::atomic::Ordering;

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

use super::{
    consent::Consent,
    grant::ClientProof,
    key_ring::KeyState,
    testing::{Canned, Daemon, fresh_key, inline},
    user_info::AccountChoice,
    *,
};
use crate::clock::{Clock as _, ManualClock};

#[tokio::test]
async fn t5_a_thousand_cold_callers_cost_one_exchange() {
    let daemon = Daemon::start(0).await;
    daemon.register_one_key().await;
    let callers: Vec<_> = (0..1_000)
        .map(|_| {
            let auth = daemon.auth.clone();
            tokio::spawn(async move { auth.token("system").await.unwrap().generation() })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), 1);
    }
    assert_eq!(daemon.server.exchanges(), 1);
    assert_eq!(daemon.auth.ready("system").unwrap().header(), "Bearer bearer-1");
    let status = daemon.auth.status("system").unwrap();
    assert_eq!((status.band, status.consent), (access_token::Band::Fresh, Consent::Granted));
    assert_eq!(status.mints.good, 1);
}

#[tokio::test]
async fn t9_a_day_of_clock_error_is_survived_after_one_corrected_retry() {
    for wrong in [86_400, -86_400, 660, -660] {
        let daemon = Daemon::start(wrong).await;
        daemon.register_one_key().await;
        daemon.auth.token("system").await.unwrap();
        assert_eq!(daemon.server.exchanges(), 2, "{wrong}");
        let offset = daemon.auth.clock_offset().unwrap();
        let error = (offset.offset + SignedDuration::from_secs(wrong)).unsigned_abs();
        assert!(error <= offset.error_bound, "{offset:?}");
        // Expiry is published in the upstream's time, and the next claims are right at once.
        let expires_at = daemon.auth.status("system").unwrap().expires_at.unwrap();
        assert!((expires_at.as_second() - 1_800_003_600).abs() <= 2, "{expires_at}");
        daemon.pass(5);
        daemon.meanwhile(daemon.auth.prove("system")).await.unwrap();
        assert_eq!(daemon.server.exchanges(), 3, "{wrong}");
        // Someone sets the clock right, or more wrong: nothing changes.
        daemon.clock.step(SignedDuration::from_hours(-30));
        daemon.pass(5);
        daemon.meanwhile(daemon.auth.prove("system")).await.unwrap();
        assert_eq!(daemon.server.exchanges(), 4, "{wrong}");
    }
}

#[tokio::test]
async fn t9_a_wrong_key_is_not_blamed_on_a_right_clock_nor_a_corrected_one() {
    for wrong in [0, 86_400] {
        let daemon = Daemon::start(wrong).await;
        daemon.register(vec![inline(&fresh_key())]).await;
        let error = daemon.auth.token("system").await.unwrap_err();
        assert_eq!((error.code(), error.kind()), ("key_rejected", Kind::Permanent), "{wrong}");
        assert_eq!(daemon.key_states(), [KeyState::Rejected]);
    }
}

#[tokio::test]
async fn t9_a_clock_that_no_correction_helps_is_named() {
    let daemon = Daemon::start(0).await;
    daemon.register_one_key().await;
    let expired = br#"{"error":"invalid_grant","error_description":"expired_grant"}"#;
    daemon.server.canned.lock().unwrap().push_back((400, Canned::Whole(expired.to_vec())));
    assert_eq!(daemon.auth.token("system").await.unwrap_err().code(), "clock_skew");
}

#[tokio::test]
async fn t9_the_clock_is_named_when_the_vendor_blames_the_key_and_the_clock_explains_it() {
    let daemon = Daemon::start(0).await;
    daemon.register_one_key().await;
    // The server's clock goes back by more than `iat` is back-dated, again and again: what is signed
    // by its last answer is in its future. It says `no_valid_keys_or_signatures`, as the vendor does.
    *daemon.server.jump.lock().unwrap() = -700;
    let error = daemon.auth.token("system").await.unwrap_err();
    assert_eq!((error.code(), daemon.server.exchanges()), ("clock_skew", 2));
    assert_eq!(daemon.key_states(), [KeyState::Unproven], "the key is not blamed");
}

#[tokio::test]
async fn a_refresh_token_renews_with_a_secret_or_as_a_public_client() {
    let daemon = Daemon::start(0).await;
    let inner = &daemon.auth.inner;
    let key = "11111111-2222-3333-4444-555555555555".parse().unwrap();
    let secret = SecretString::from("hush");
    for (text, proof, is_taken) in [
        ("again", ClientProof::Secret(&secret, None), true),
        ("again", ClientProof::Public(None), true),
        ("stale", ClientProof::Secret(&secret, None), false),
    ] {
        let token = SecretString::from(text);
        let reply = grant::refresh(&inner.client, &inner.server, key, &token, proof).await;
        assert_eq!(reply.result.is_ok(), is_taken, "{text} {:?}", reply.result);
        assert!(reply.date.is_some());
    }
}

#[tokio::test]
async fn t7_user_info_refreshes_once_after_a_401_and_never_loops() {
    let daemon = Daemon::start(0).await;
    daemon.register_one_key().await;
    let first = daemon.auth.token("system").await.unwrap();
    daemon.pass(60);
    daemon.server.dead.lock().unwrap().push(first.header().to_str().unwrap().to_owned());
    assert_eq!(daemon.auth.account("system").await.unwrap().name, "NewCo");
    assert_eq!((daemon.server.exchanges(), daemon.server.user_infos.load(Ordering::SeqCst)), (2, 2));
    // Remembered for an hour; afterwards an outage does not take it away.
    daemon.auth.account("system").await.unwrap();
    assert_eq!(daemon.server.user_infos.load(Ordering::SeqCst), 2);
    let all = (1..100).map(|n| format!("Bearer bearer-{n}"));
    daemon.server.dead.lock().unwrap().extend(all);
    daemon.pass(3_700);
    daemon.meanwhile(daemon.auth.account("system")).await.unwrap();
    assert_eq!(daemon.server.user_infos.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn those_who_ask_for_a_user_at_once_share_one_call() {
    let daemon = Daemon::start(0).await;
    daemon.register_one_key().await;
    let asked = futures_util::future::join_all((0..20).map(|_| daemon.auth.account("system"))).await;
    assert!(asked.iter().all(Result::is_ok));
    assert_eq!((daemon.server.exchanges(), daemon.server.user_infos.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn a_sender_that_is_to_act_elsewhere_keeps_its_token_and_what_is_wrong_with_it() {
    const OTHER: &str = "00000000-0000-0000-0000-000000000001";
    let daemon = Daemon::start(0).await;
    daemon.register_one_key().await;
    let id = uuid::Uuid::parse_str("fe0b61a3-3b9b-4b36-84cc-aa40c8d0ad61").unwrap();
    let allow = |only: &str| {
        let only = Box::new(AccountChoice::parse(Some(only)));
        daemon.auth.act_in("system", AccountChoice::Connected { id, only });
    };
    let wrong = || daemon.auth.status("system").unwrap().misplaced.map(|it| it.error.in_full());
    // Nobody knows the user's accounts yet.
    allow(OTHER);
    assert!(wrong().unwrap().contains(OTHER));
    allow("Elsewhere");
    assert!(wrong().is_some(), "what was wrong is, until somebody has asked");
    daemon.auth.account("system").await.unwrap_err();
    assert!(wrong().unwrap().contains("Elsewhere"));
    allow("NewCo");
    assert_eq!(wrong(), None);
    daemon.auth.account("system").await.unwrap();
    allow("OldCo");
    assert!(wrong().unwrap().contains("OldCo"), "known at once by now");
    assert_eq!((daemon.server.exchanges(), daemon.server.user_infos.load(Ordering::SeqCst)), (1, 1));

    // What keeps it from tokens stays known as well.
    *daemon.server.has_consent.lock().unwrap() = false;
    daemon.after(2_000, "the refusal", |status| status.failure.is_some()).await;
    allow("NewCo");
    let status = daemon.auth.status("system").unwrap();
    assert_eq!((status.failure.is_some(), status.consent), (true, Consent::Missing));
}

#[tokio::test]
async fn t8_hostile_answers_over_the_wire_give_a_problem_and_no_token() {
    let daemon = Daemon::start(0).await;
    daemon.register_one_key().await;
    let whole = |status, text: &str| (status, Canned::Whole(text.as_bytes().to_vec()));
    let mut answers = vec![
        (200, Canned::Gigabyte),
        (200, Canned::Cut(r#"{"access_token":"abc","token_type":"Bearer","expires_in":3600"#)),
        (200, Canned::Cut("")),
        whole(502, "<html>Bad Gateway"),
        whole(302, ""),
        whole(204, ""),
    ];
    answers.extend(grant::tests::MALFORMED.iter().map(|(_, body)| whole(200, body)));
    assert!(answers.len() >= 50);
    for (status, body) in answers {
        daemon.server.canned.lock().unwrap().push_back((status, body));
        let error = daemon.auth.token("system").await.unwrap_err();
        assert_eq!((error.code(), error.kind()), ("provider_unavailable", Kind::Transient), "{error:?}");
        assert!(daemon.auth.ready("system").is_none());
        daemon.pass(100);
    }
    daemon.until("healed", SenderStatus::has_token).await;
}

#[tokio::test]
async fn an_idle_sender_is_dropped_and_comes_back() {
    let options = Options { idle_after: Duration::from_secs(100), seed: 1, ..Options::default() };
    let daemon = Daemon::start_with(0, options).await;
    daemon.register_one_key().await;
    let first = daemon.auth.token("system").await.unwrap();
    daemon.until("dropped", |status| !status.has_token() && status.failure.is_none()).await;
    daemon.auth.inner.caches.run_pending_tasks();
    assert_eq!(daemon.auth.inner.caches.entry_count(), 0);
    let again = daemon.auth.token("system").await.unwrap();
    assert!(again.generation() > first.generation());
}

#[tokio::test]
async fn a_sender_in_constant_use_goes_on_though_moka_gave_its_cache_up() {
    let daemon = Daemon::start(0).await;
    daemon.register_one_key().await;
    let first = daemon.auth.token("system").await.unwrap();
    // As after a week, in which no reader had to ask it.
    daemon.auth.inner.caches.invalidate_all();
    daemon.auth.inner.caches.run_pending_tasks();
    let same = daemon.auth.token("system").await.unwrap();
    assert_eq!((same.generation(), daemon.server.exchanges()), (first.generation(), 1));
    assert_eq!(daemon.auth.retire("system", first.generation()), Retired::Now);
    daemon.pass(5);
    assert!(daemon.auth.token("system").await.unwrap().generation() > first.generation());
    assert_eq!(daemon.server.exchanges(), 2);
}

#[tokio::test]
async fn replacing_a_sender_moves_those_who_wait_and_removing_it_tells_them() {
    let daemon = Daemon::start(0).await;
    daemon.register_one_key().await;
    let auth = daemon.auth.clone();
    let waiting = tokio::spawn(async move { auth.token("system").await });
    tokio::task::yield_now().await;
    daemon.register_one_key().await;
    assert!(waiting.await.unwrap().is_ok());
    let auth = daemon.auth.clone();
    daemon.auth.unregister_all(["system"]);
    assert_eq!(auth.token("system").await.unwrap_err().code(), "sender_unknown");
    daemon.register_one_key().await;
    daemon.auth.close();
    assert_eq!(daemon.auth.token("system").await.unwrap_err().code(), "shutting_down");
}

#[tokio::test]
async fn nothing_secret_is_printed() {
    let daemon = Daemon::start(0).await;
    daemon.register_one_key().await;
    let token = daemon.auth.token("system").await.unwrap();
    let status = daemon.auth.status("system").unwrap();
    let printed = format!("{:?} {token:?} {status:?}", daemon.auth);
    assert!(!printed.contains("bearer-1") && !printed.contains("BEGIN"), "{printed}");
}

/// Counts in which minute each mint came.
struct Counting {
    clock: ManualClock,
    minutes: Arc<std::sync::Mutex<Vec<u64>>>,
}

impl TokenSource for Counting {
    fn mint(&self) -> token_source::Minting<'_> {
        let now = self.clock.uptime();
        self.minutes.lock().unwrap().push(now.as_secs() / 60);
        let minted = access_token::MintedToken::new("x", now, Duration::from_secs(3_600)).unwrap();
        Box::pin(std::future::ready(Ok(minted)))
    }
}

#[tokio::test]
async fn refreshes_of_senders_first_used_together_are_spread_and_idle_ones_rest() {
    const USED: usize = 500;
    const HOURS: u64 = 6;
    let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
    let shared: SharedClock = Arc::new(clock.clone());
    let server = AccountServer::new(&url::Url::parse("http://127.0.0.1:1").unwrap()).unwrap();
    let client = HttpClient::new(&crate::http_client::Options::default()).unwrap();
    let options = Options { seed: 7, ..Options::default() };
    let auth = Auth::new(client, server, shared, Spawner::tokio(), options);
    let minutes = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tenant = |number: usize| {
        let source = Counting { clock: clock.clone(), minutes: Arc::clone(&minutes) };
        let source: Arc<dyn TokenSource> = Arc::new(source);
        (Arc::<str>::from(format!("tenant-{number}")), source, AccountChoice::Default)
    };
    auth.register_sources((0..USED * 2).map(tenant).collect());
    for number in 0..USED {
        auth.token(&format!("tenant-{number}")).await.unwrap();
    }
    assert_eq!(minutes.lock().unwrap().len(), USED, "who is not used is not minted for");
    minutes.lock().unwrap().clear();
    let began = clock.uptime().as_secs() / 60;
    for _ in 0..HOURS * 360 {
        clock.advance(Duration::from_secs(10));
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }
    let mut counts = vec![0_u32; usize::try_from(HOURS * 60).unwrap() + 1];
    for minute in minutes.lock().unwrap().iter() {
        counts[usize::try_from(*minute - began).unwrap()] += 1;
    }
    let total: u32 = counts.iter().sum();
    let mean = f64::from(total) / f64::from(u32::try_from(HOURS * 60).unwrap());
    let most = counts.iter().max().copied().unwrap();
    assert!(mean > 14.0, "{mean} a minute: they were refreshed");
    assert!(f64::from(most) <= 2.0 * mean, "{most} in one minute, {mean} in the mean");
}
