//! A sender's keys: which one is tried, how a new one is proven, and files that change (rule T10).

use crate::auth::{
    key_ring::KeyState,
    signing_key::KeySource,
    testing::{Daemon, TempDir, USER, fresh_key, inline},
    user_info::AccountChoice,
    *,
};
use crate::{clock::Clock as _, config::EXAMPLE_KEY_FINGERPRINT};

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
    daemon.until("tried", |s| s.keys[0].state == KeyState::Rejected && s.mints.good == 2).await;
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
    let [second, third] = [fresh_key(), fresh_key()];
    daemon.list_alone(&second).await;
    assert_eq!(daemon.key_states(), [KeyState::Unproven, KeyState::Standby]);
    // Nobody has uploaded the new one: the sender acts on.
    daemon.prove().await.unwrap();
    assert_eq!(daemon.key_states(), [KeyState::Rejected, KeyState::Active]);
    // Nor the next one, which takes the place of the one that never worked.
    daemon.list_alone(&third).await;
    daemon.prove().await.unwrap();
    assert_eq!(daemon.key_states(), [KeyState::Rejected, KeyState::Active]);
    daemon.server.keys.lock().unwrap().push(third);
    daemon.prove().await.unwrap();
    assert_eq!(daemon.key_states(), [KeyState::Active], "and no longer");
    daemon.server.keys.lock().unwrap().clear();
    assert_eq!(daemon.prove().await.unwrap_err().code(), "key_rejected");
    assert_eq!(daemon.key_states(), [KeyState::Rejected]);
}

#[tokio::test]
async fn t10_a_key_that_is_refused_after_it_earned_a_token_is_told_as_rejected_until_it_earns_another() {
    let daemon = Daemon::start(0).await;
    let keys = [fresh_key(), fresh_key()];
    daemon.server.keys.lock().unwrap().push(keys[1].clone());
    daemon.register(keys.iter().map(|pem| inline(pem)).collect()).await;
    daemon.auth.token("system").await.unwrap();
    assert_eq!(daemon.key_states(), [KeyState::Rejected, KeyState::Active]);
    // Its public half is taken out of the app.
    daemon.server.keys.lock().unwrap().clear();
    assert_eq!(daemon.prove().await.unwrap_err().code(), "key_rejected");
    assert_eq!(daemon.key_states(), [KeyState::Rejected, KeyState::Rejected], "neither can be used");
    daemon.server.keys.lock().unwrap().push(keys[1].clone());
    daemon.prove().await.unwrap();
    assert_eq!(daemon.key_states(), [KeyState::Rejected, KeyState::Active]);
}

#[tokio::test]
async fn t10_a_last_resort_that_is_refused_is_told_as_rejected_too_and_not_in_the_next_list() {
    let daemon = Daemon::start(0).await;
    daemon.register_one_key().await;
    daemon.auth.token("system").await.unwrap();
    daemon.list_alone(&fresh_key()).await;
    daemon.prove().await.unwrap();
    assert_eq!(daemon.key_states(), [KeyState::Rejected, KeyState::Active]);
    let known = std::mem::take(&mut *daemon.server.keys.lock().unwrap());
    assert_eq!(daemon.prove().await.unwrap_err().code(), "key_rejected");
    assert_eq!(daemon.key_states(), [KeyState::Rejected, KeyState::Rejected]);
    daemon.list_alone(&fresh_key()).await;
    assert_eq!(daemon.key_states(), [KeyState::Unproven, KeyState::Standby]);
    *daemon.server.keys.lock().unwrap() = known;
    daemon.prove().await.unwrap();
    assert_eq!(daemon.key_states(), [KeyState::Rejected, KeyState::Active]);
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
        .until("gone", |s| s.keys[0].defect.as_ref().is_some_and(|d| d.to_string().contains("no such file")))
        .await;
    dir.write("key.pem", &key);
    daemon.until("healed", |status| status.keys[0].defect.is_none()).await;
}

#[tokio::test]
async fn t10_a_key_that_works_at_last_serves_all_who_share_its_place() {
    let daemon = Daemon::start(0).await;
    let (dir, [lost, good]) = (TempDir::new(), [fresh_key(), fresh_key()]);
    let path = dir.write("key.pem", &lost);
    daemon.register(vec![KeySource::File(path.clone())]).await;
    let names = ["system", "second", "third"];
    for name in &names[1..] {
        let like = daemon.auth.impersonation("system").unwrap();
        daemon.auth.register(name, like).await.unwrap();
    }
    for name in names {
        assert_eq!(daemon.auth.token(name).await.unwrap_err().code(), "key_rejected");
    }
    daemon.server.keys.lock().unwrap().push(good.clone());
    dir.write("key.pem", &good);
    let serves = |name: &&str| daemon.auth.ready(name).is_some();
    // The next tries of their own are a minute away.
    daemon.after(10, "one proves it", |_| names.iter().any(serves)).await;
    daemon.after(10, "and all have it", |_| names.iter().all(serves)).await;
}

#[tokio::test]
async fn s4_the_example_key_is_no_key_at_the_start_nor_when_it_is_put_there_later() {
    let options = Options { seed: 1, barred: Some(EXAMPLE_KEY_FINGERPRINT), ..Options::default() };
    let daemon = Daemon::start_with(0, options).await;
    let example = include_str!("../../../keys.example/private_key.pem");
    let error = daemon.auth.examine_keys(vec![inline(example)]).await.unwrap_err();
    assert!(matches!(error.defect, signing_key::Defect::Example), "{error}");
    let (dir, key) = (TempDir::new(), fresh_key());
    daemon.server.keys.lock().unwrap().extend([key.clone(), example.to_owned()]);
    daemon.register(vec![KeySource::File(dir.write("key.pem", &key)), inline(example)]).await;
    daemon.auth.token("system").await.unwrap();
    assert_eq!(daemon.key_states(), [KeyState::Active, KeyState::Broken]);
    dir.write("key.pem", example);
    daemon.until("seen", |status| status.keys[0].defect.is_some()).await;
    let status = daemon.auth.status("system").unwrap();
    let said = status.keys[0].defect.as_ref().unwrap().to_string();
    assert!(said.contains("example key"), "{said}");
    daemon.pass(5);
    daemon.meanwhile(daemon.auth.prove("system")).await.unwrap();
    assert_eq!(daemon.key_states(), [KeyState::Active, KeyState::Broken], "the key read before goes on");
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
async fn t4_a_reload_has_those_in_trouble_mint_at_once_and_nobody_whose_token_is_good() {
    let daemon = Daemon::start(0).await;
    let (first, second) = (fresh_key(), fresh_key());
    daemon.server.keys.lock().unwrap().push(second.clone());
    daemon.register(vec![inline(&second)]).await;
    daemon.auth.token("system").await.unwrap();
    let exchanges = daemon.server.exchanges();
    for _ in 0..3 {
        daemon.pass(5);
        daemon.auth.wake_those_in_trouble().await;
        // Enough for the refresher to begin.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!daemon.auth.status("system").unwrap().is_refreshing);
    }
    // One mint that is asked for is the next one.
    daemon.pass(5);
    daemon.meanwhile(daemon.auth.prove("system")).await.unwrap();
    assert_eq!(daemon.server.exchanges(), exchanges + 1);

    // Its consent is withdrawn, and granted a moment later.
    *daemon.server.has_consent.lock().unwrap() = false;
    daemon.pass(5);
    assert!(daemon.meanwhile(daemon.auth.prove("system")).await.is_err());
    *daemon.server.has_consent.lock().unwrap() = true;
    daemon.auth.wake_those_in_trouble().await;
    daemon.after(2, "the mint", |status| status.failure.is_none()).await;

    // A new key in front, whose public half comes late.
    daemon.register(vec![inline(&first), inline(&second)]).await;
    daemon.auth.token("system").await.unwrap();
    assert_eq!(daemon.key_states(), [KeyState::Rejected, KeyState::Active]);
    daemon.server.keys.lock().unwrap().push(first);
    daemon.auth.wake_those_in_trouble().await;
    daemon.after(2, "the mint", |status| status.keys[0].state == KeyState::Active).await;
}
