//! The whole stack over a real socket.

use std::sync::atomic::Ordering;

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

use super::{
    consent::{Consent, PkceVerifier},
    grant::ClientProof,
    key_ring::KeyState,
    signing_key::KeySource,
    test_support::{Canned, Server, TempDir, USER, fresh_key},
    user_info::AccountChoice,
    *,
};
use crate::{
    clock::{Clock as _, ManualClock},
    http_client,
};

struct Daemon {
    auth: Auth,
    clock: ManualClock,
    server: Arc<Server>,
    _stop: DropGuard,
}

impl Daemon {
    /// A daemon whose clock is `wrong` seconds ahead of the account server's.
    async fn start(wrong: i64) -> Self {
        Self::start_with(wrong, Options { seed: 1, ..Options::default() }).await
    }

    async fn start_with(wrong: i64, options: Options) -> Self {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let (server, url, stop) = Server::start(now).await;
        let clock = ManualClock::new(now);
        clock.step(SignedDuration::from_secs(wrong));
        let auth = Auth::new(
            HttpClient::new(&http_client::Options::default()).unwrap(),
            AccountServer::new(&url).unwrap(),
            Arc::new(clock.clone()),
            Spawner::tokio(),
            options,
        );
        Self { auth, clock, server, _stop: stop.drop_guard() }
    }

    async fn register(&self, keys: Vec<KeySource>) {
        let sender = Impersonation {
            integration_key: "11111111-2222-3333-4444-555555555555".parse().unwrap(),
            user_id: USER.parse().unwrap(),
            scopes: identity::Scopes::default(),
            keys,
            account: AccountChoice::Default,
        };
        self.auth.register("system", sender).await.unwrap();
    }

    /// One key, registered on both sides.
    async fn register_one_key(&self) {
        let pem = fresh_key();
        self.register(vec![inline(&pem)]).await;
        self.server.keys.lock().unwrap().push(pem);
    }

    /// Both clocks go on together.
    fn pass(&self, seconds: u64) {
        self.server.clock.advance(Duration::from_secs(seconds));
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Lets time go on until something is so. The network takes real time, so this polls.
    async fn until(&self, what: &str, is_so: impl Fn(&SenderStatus) -> bool) {
        for _ in 0..500 {
            if is_so(&self.auth.status("system").unwrap()) {
                return;
            }
            self.pass(1);
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        panic!("never: {what}: {:?}", self.auth.status("system"));
    }

    /// Lets this time pass at once, and waits for what has to come of it without any more of it.
    async fn after(&self, seconds: u64, what: &str, is_so: impl Fn(&SenderStatus) -> bool) {
        self.pass(seconds);
        for _ in 0..2_500 {
            if is_so(&self.auth.status("system").unwrap()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        panic!("not {seconds} s after: {what}: {:?}", self.auth.status("system"));
    }

    /// Waits for something while time goes on.
    async fn meanwhile<T>(&self, work: impl Future<Output = T>) -> T {
        let time = async {
            for _ in 0..1_000 {
                self.pass(1);
                tokio::time::sleep(Duration::from_millis(4)).await;
            }
        };
        tokio::select! {
            done = work => done,
            () = time => panic!("it never ended"),
        }
    }

    fn key_states(&self) -> Vec<KeyState> {
        self.auth.status("system").unwrap().keys.iter().map(|key| key.state).collect()
    }
}

fn inline(pem: &str) -> KeySource {
    KeySource::Inline(SecretString::from(pem))
}

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
    assert_eq!(status.mints[0], ("ok", 1));
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
async fn t10_the_next_key_in_order_is_tried() {
    let daemon = Daemon::start(0).await;
    let (first, second) = (fresh_key(), fresh_key());
    daemon.server.keys.lock().unwrap().push(second.clone());
    daemon.register(vec![inline(&first), inline(&second)]).await;
    daemon.auth.token("system").await.unwrap();
    assert_eq!(daemon.key_states(), [KeyState::Rejected, KeyState::Active]);
    // The first one is registered after all: it takes over at the next mint.
    daemon.server.keys.lock().unwrap().push(first);
    daemon.pass(5);
    daemon.meanwhile(daemon.auth.prove("system")).await.unwrap();
    assert_eq!(daemon.key_states(), [KeyState::Active, KeyState::Standby]);
}

/// A daemon in whose key file stands a new key now, which was tried and is not registered: the old one goes
/// on. Answers both keys; the folder holds the file.
async fn with_a_new_key_that_waits() -> (Daemon, TempDir, [String; 2]) {
    let daemon = Daemon::start(0).await;
    let dir = TempDir::new();
    let keys = [fresh_key(), fresh_key()];
    daemon.server.keys.lock().unwrap().push(keys[0].clone());
    daemon.register(vec![KeySource::File(dir.write("key.pem", &keys[0]))]).await;
    daemon.auth.token("system").await.unwrap();
    dir.write("key.pem", &keys[1]);
    // The mint that tried it went on to the old key, and has ended.
    daemon.until("tried", |s| s.keys[0].state == KeyState::Rejected && s.mints[0] == ("ok", 2)).await;
    assert_eq!(daemon.key_states(), [KeyState::Rejected, KeyState::Active]);
    assert!(daemon.auth.status("system").unwrap().failure.is_none());
    (daemon, dir, keys)
}

#[tokio::test]
async fn t10_a_new_key_is_proven_before_the_old_one_retires() {
    let (daemon, _dir, [_, new]) = with_a_new_key_that_waits().await;
    // It is registered, and the old one removed.
    *daemon.server.keys.lock().unwrap() = vec![new];
    daemon.pass(5);
    daemon.meanwhile(daemon.auth.prove("system")).await.unwrap();
    assert_eq!(daemon.key_states(), [KeyState::Active]);
}

#[tokio::test]
async fn t10_a_new_key_whose_public_half_is_registered_later_is_tried_again_within_minutes() {
    let (daemon, _dir, [_, new]) = with_a_new_key_that_waits().await;
    daemon.server.keys.lock().unwrap().push(new);
    let (before, exchanges) = (daemon.clock.uptime(), daemon.server.exchanges());
    daemon.until("proven", |s| s.keys.len() == 1 && s.keys[0].state == KeyState::Active).await;
    let took = daemon.clock.uptime().saturating_sub(before);
    assert!(took >= Duration::from_secs(30) && took < Duration::from_secs(300), "{took:?}");
    assert_eq!(daemon.server.exchanges() - exchanges, 1, "the key that waits is what was minted for");
}

#[tokio::test]
async fn t10_a_list_of_other_keys_leaves_the_one_that_works_until_one_of_them_does() {
    let daemon = Daemon::start(0).await;
    daemon.register_one_key().await;
    daemon.auth.token("system").await.unwrap();
    let take_up = async |pem: &str| {
        let fresh = daemon.auth.read_keys(vec![(Arc::from("system"), vec![inline(pem)])]).await.unwrap();
        daemon.auth.take_up(fresh);
    };
    let prove = async || {
        daemon.pass(5);
        daemon.meanwhile(daemon.auth.prove("system")).await
    };
    let [second, third] = [fresh_key(), fresh_key()];
    take_up(&second).await;
    assert_eq!(daemon.key_states(), [KeyState::Unproven, KeyState::Standby]);
    // Nobody has uploaded the new one: the sender acts on.
    prove().await.unwrap();
    assert_eq!(daemon.key_states(), [KeyState::Rejected, KeyState::Active]);
    // Nor the next one, which takes the place of the one that never worked.
    take_up(&third).await;
    prove().await.unwrap();
    assert_eq!(daemon.key_states(), [KeyState::Rejected, KeyState::Active]);
    daemon.server.keys.lock().unwrap().push(third);
    prove().await.unwrap();
    assert_eq!(daemon.key_states(), [KeyState::Active], "and no longer");
    daemon.server.keys.lock().unwrap().clear();
    assert_eq!(prove().await.unwrap_err().code(), "key_rejected");
}

#[tokio::test]
async fn t10_a_file_is_followed_in_place_by_rename_and_by_swapped_links_with_no_failed_request() {
    let daemon = Daemon::start(0).await;
    let dir = TempDir::new();
    let keys: Vec<String> = (0..4).map(|_| fresh_key()).collect();
    daemon.server.keys.lock().unwrap().extend(keys.iter().cloned());
    // As Kubernetes mounts it: key.pem -> ..data/key.pem, ..data -> a directory of its own.
    let mount = |name: &str, pem: &str| {
        std::fs::create_dir(dir.0.join(name)).unwrap();
        dir.write(&format!("{name}/key.pem"), pem);
        std::os::unix::fs::symlink(name, dir.0.join("..tmp")).unwrap();
        std::fs::rename(dir.0.join("..tmp"), dir.0.join("..data")).unwrap();
    };
    mount("..1", &keys[0]);
    std::os::unix::fs::symlink("..data/key.pem", dir.0.join("key.pem")).unwrap();
    daemon.register(vec![KeySource::File(dir.0.join("key.pem"))]).await;
    daemon.auth.token("system").await.unwrap();
    let active = |status: &SenderStatus| {
        status.keys.iter().find(|key| key.state == KeyState::Active).and_then(|key| key.fingerprint)
    };
    for (pem, change) in keys[1..].iter().zip(["links", "in place", "rename"]) {
        match change {
            "links" => mount("..2", pem),
            "in place" => drop(dir.write("..2/key.pem", pem)),
            _ => std::fs::rename(dir.write("next", pem), dir.0.join("..2/key.pem")).unwrap(),
        }
        let fingerprint = signing_key::SigningKey::from_pem(pem).unwrap().fingerprint();
        let is_taken_up =
            |status: &SenderStatus| active(status) == Some(fingerprint) && status.keys.len() == 1;
        daemon.after(10, change, is_taken_up).await;
        assert!(daemon.auth.ready("system").is_some(), "{change}");
    }
}

#[tokio::test]
async fn t10_a_bad_file_keeps_the_old_key_and_says_so() {
    let daemon = Daemon::start(0).await;
    let dir = TempDir::new();
    let key = fresh_key();
    daemon.server.keys.lock().unwrap().push(key.clone());
    let path = dir.write("key.pem", &key);
    daemon.register(vec![KeySource::File(path.clone())]).await;
    daemon.auth.token("system").await.unwrap();
    dir.write("key.pem", &key[..900]);
    daemon.until("seen", |status| status.keys[0].defect.is_some()).await;
    let status = daemon.auth.status("system").unwrap();
    assert_eq!(status.keys[0].state, KeyState::Active);
    let said = status.keys[0].defect.as_ref().unwrap().to_string();
    assert!(said.contains("cut off") && said.contains(path.to_str().unwrap()), "{said}");
    daemon.pass(5);
    daemon.meanwhile(daemon.auth.prove("system")).await.unwrap();
    // The file is gone: the same. It is back: all is well.
    std::fs::remove_file(&path).unwrap();
    daemon
        .until("gone", |s| {
            s.keys[0].defect.as_ref().is_some_and(|d| d.to_string().contains("cannot be read"))
        })
        .await;
    dir.write("key.pem", &key);
    daemon.until("healed", |status| status.keys[0].defect.is_none()).await;
}

#[tokio::test]
async fn s4_no_readable_key_is_refused_at_the_start_with_its_reason() {
    let daemon = Daemon::start(0).await;
    let sender = Impersonation {
        integration_key: "11111111-2222-3333-4444-555555555555".parse().unwrap(),
        user_id: USER.parse().unwrap(),
        scopes: identity::Scopes::default(),
        keys: vec![KeySource::File("/nonexistent/key.pem".into())],
        account: AccountChoice::Default,
    };
    let error = daemon.auth.register("system", sender).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/key.pem"), "{error}");
    assert_eq!(daemon.auth.token("system").await.unwrap_err().code(), "sender_unknown");
}

#[tokio::test]
async fn t11_the_callback_of_the_right_person_heals_at_once() {
    let daemon = Daemon::start(0).await;
    daemon.register_one_key().await;
    *daemon.server.has_consent.lock().unwrap() = false;
    assert_eq!(daemon.auth.token("system").await.unwrap_err().code(), "consent_required");
    assert_eq!(daemon.auth.status("system").unwrap().consent, Consent::Missing);
    daemon.pass(5);
    *daemon.server.has_consent.lock().unwrap() = true;
    let verifier = PkceVerifier::from_bytes(&[7; 32]);
    let proof = ClientProof::Public(Some(&verifier));
    let outcome = daemon.meanwhile(daemon.auth.complete_consent("system", "good", proof)).await.unwrap();
    assert_eq!(outcome, ConsentOutcome::Granted);
    assert!(daemon.auth.ready("system").is_some());
    assert_eq!(daemon.auth.status("system").unwrap().consent, Consent::Granted);
    // The browser loads the page again, and its code is spent.
    let proof = ClientProof::Public(Some(&verifier));
    let again = daemon.auth.complete_consent("system", "stale", proof).await.unwrap();
    assert_eq!(again, ConsentOutcome::Granted);
}

#[tokio::test]
async fn t11_consent_by_another_person_is_said_to_be_that() {
    let daemon = Daemon::start(0).await;
    daemon.register_one_key().await;
    *daemon.server.has_consent.lock().unwrap() = false;
    *daemon.server.user.lock().unwrap() = "77777777-7777-7777-7777-777777777777".to_owned();
    let verifier = PkceVerifier::from_bytes(&[7; 32]);
    let proof = ClientProof::Public(Some(&verifier));
    let outcome = daemon.auth.complete_consent("system", "good", proof).await.unwrap();
    let ConsentOutcome::OtherUser { consented, configured } = outcome else { panic!("{outcome:?}") };
    assert_ne!(consented, configured);
    let refused = daemon.auth.token("system").await.unwrap_err();
    assert_eq!((refused.code(), refused.cause()), ("consent_required", "consent_by_another_user"));
    let failure = daemon.auth.status("system").unwrap().failure.unwrap();
    assert_eq!(failure.error.cause(), "consent_by_another_user");
    let proof = ClientProof::Public(Some(&verifier));
    let error = daemon.auth.complete_consent("system", "stale", proof).await.unwrap_err();
    assert_eq!(error.cause(), "code_rejected");
    // The right one consents elsewhere, which a mint shows, and takes it back: nobody else is to blame for that.
    *daemon.server.has_consent.lock().unwrap() = true;
    daemon.pass(5);
    daemon.meanwhile(daemon.auth.prove("system")).await.unwrap();
    *daemon.server.has_consent.lock().unwrap() = false;
    daemon.pass(5);
    let error = daemon.meanwhile(daemon.auth.prove("system")).await.unwrap_err();
    assert_eq!(error.cause(), "consent_required");
}

#[tokio::test]
async fn t4_what_a_probe_finds_that_a_person_has_to_mend_is_seen_to_be_mended() {
    let daemon = Daemon::start(0).await;
    daemon.register_one_key().await;
    daemon.auth.probe("system").await.unwrap();
    daemon.server.canned.lock().unwrap().push_back((503, Canned::Whole(Vec::new())));
    assert_eq!(daemon.auth.probe("system").await.unwrap_err().kind(), Kind::Transient);
    assert!(daemon.auth.statuses_in_use().is_empty(), "it heals by itself, and nobody needs a token");
    let keys = std::mem::take(&mut *daemon.server.keys.lock().unwrap());
    assert_eq!(daemon.auth.probe("system").await.unwrap_err().code(), "key_rejected");
    daemon.until("what is wrong", |status| status.failure.is_some()).await;
    *daemon.server.keys.lock().unwrap() = keys;
    daemon.until("what is right", SenderStatus::has_token).await;
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
async fn t11_an_awaited_consent_is_seen_within_seconds_by_whoever_looks() {
    let daemon = Daemon::start(0).await;
    *daemon.server.has_consent.lock().unwrap() = false;
    daemon.register_one_key().await;
    assert_eq!(daemon.auth.token("system").await.unwrap_err().cause(), "consent_required");
    // It has just turned out to be missing, and may be given any moment: it is looked for, each 5 s at most.
    for exchanges in 1..4 {
        for _ in 0..100 {
            daemon.auth.look_for_consent("system");
        }
        daemon.auth.token("system").await.unwrap_err();
        assert_eq!(daemon.server.exchanges(), exchanges);
        daemon.pass(5);
    }
    // Nobody gives it for long: it is asked for slowly again, and who looks changes nothing.
    daemon.pass(600);
    daemon.auth.token("system").await.unwrap_err();
    daemon.pass(20);
    daemon.auth.look_for_consent("system");
    daemon.auth.token("system").await.unwrap_err();
    assert_eq!(daemon.server.exchanges(), 4);
    // Somebody asks where to consent: it may be there already.
    for exchanges in 5..7 {
        for _ in 0..100 {
            daemon.auth.await_consent("system");
            daemon.auth.look_for_consent("system");
        }
        daemon.auth.token("system").await.unwrap_err();
        assert_eq!(daemon.server.exchanges(), exchanges);
        daemon.pass(5);
    }
    *daemon.server.has_consent.lock().unwrap() = true;
    daemon.auth.look_for_consent("system");
    daemon.auth.token("system").await.unwrap();
    assert_eq!(daemon.auth.status("system").unwrap().consent, Consent::Granted);
    daemon.pass(5);
    daemon.auth.await_consent("system");
    daemon.auth.look_for_consent("system");
    assert_eq!(daemon.server.exchanges(), 7, "and then it is known");
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
    let daemon = Daemon::start_with(0, Options { idle_after: Duration::from_secs(100), seed: 1 }).await;
    daemon.register_one_key().await;
    let first = daemon.auth.token("system").await.unwrap();
    daemon.until("dropped", |status| !status.has_token() && status.failure.is_none()).await;
    daemon.auth.inner.caches.run_pending_tasks();
    assert_eq!(daemon.auth.inner.caches.entry_count(), 0);
    let again = daemon.auth.token("system").await.unwrap();
    assert!(again.generation() > first.generation());
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
    daemon.auth.unregister("system");
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
    for number in 0..USED * 2 {
        let source = Counting { clock: clock.clone(), minutes: Arc::clone(&minutes) };
        auth.register_source(&format!("tenant-{number}"), Arc::new(source), AccountChoice::Default);
    }
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
