//! Consent that is given, given by somebody else, and awaited.

use crate::auth::{
    consent::{Consent, PkceVerifier},
    grant::ClientProof,
    testing::{Canned, Daemon},
    *,
};

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
