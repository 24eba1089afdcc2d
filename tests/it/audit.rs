//! The audit log of a whole daemon, and the command that checks it (rule S6).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use countersign::{
    budget::{Operation, Priority, Scope},
    clock::{Clock as _, Now},
    domain::AccountId,
    store::Retention,
};
use serde_json::{Value, json};

use crate::{
    harness::{CALLER_KEY, Reply, TempDir, TestDaemon, key_hash, order},
    made_senders::{VENDOR_KEY, call_as},
    visitors::{link_of, location, unopened},
};

fn verify(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["audit", "verify"])
        .args(arguments)
        .output()
        .expect("the binary starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("text"))
}

/// Where a log is to be, which goes with its directory, and the settings that say so.
fn log_in_its_own_directory() -> (TempDir, PathBuf, String) {
    let directory = TempDir::new();
    let path = directory.0.join("audit.jsonl");
    let settings = format!("[audit]\nfile = \"{}\"\n", path.display());
    (directory, path, settings)
}

#[tokio::test]
async fn s6_every_use_of_the_key_is_a_line_and_an_edit_is_found() {
    let (directory, path, settings) = log_in_its_own_directory();
    let mut daemon = TestDaemon::builder().with(&settings).start().await;
    let created = daemon.create("audited", &order()).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let (id, signer) = (created.id().to_owned(), created.signer().to_owned());
    daemon.restart().await;
    let view = daemon.post(&format!("/v1/signings/{id}/signers/{signer}/views"), &json!({})).await;
    assert_eq!(view.status, 201, "{}", view.text);
    let void = daemon.post(&format!("/v1/signings/{id}/void"), &json!({ "reason": "ordered twice" })).await;
    assert_eq!(void.status, 200, "{}", void.text);
    let check = daemon.post("/v1/senders/system/check", &json!({})).await;
    assert_eq!(check.status, 200, "{}", check.text);
    daemon.stop().await;

    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (mints, lines): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line["event"] == "token.mint");
    let by_sender = |name: &str| mints.iter().filter(|mint| mint["sender"] == name).count();
    // One a start; the sender without consent was tried with its key, too.
    assert!(by_sender("system") >= 2 && by_sender("unconsented") >= 2, "{text}");
    assert!(mints.iter().all(|mint| mint["detail"].as_str().unwrap().starts_with("SHA256:")), "{text}");
    let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["envelope.create", "view.create", "view.create", "envelope.void", "sender.check"]);
    assert!(lines[..4].iter().all(|line| line["signing"] == id.as_str()));
    assert!(lines.iter().all(|line| line["caller"] == "website"));
    for personal in ["Ada", "ada@", "+4915", "Signing/", "ordered twice"] {
        assert!(!text.contains(personal), "{personal} is in the audit log");
    }

    let file = path.display().to_string();
    let (code, said) = verify(&[&file]);
    assert_eq!(code, Some(0), "{said}");
    let head = said.trim().rsplit(' ').next().unwrap().to_owned();
    let count = text.lines().count();
    assert!(said.starts_with(&format!("good: {count} line(s), head {count}:")), "{said}");

    let kept: String = text.split_inclusive('\n').take(3).collect();
    let cut = directory.0.join("cut.jsonl");
    fs::write(&cut, kept).unwrap();
    let cut = cut.display().to_string();
    let (code, said) = verify(&[&cut]);
    assert_eq!(code, Some(0), "without its head nothing shows");
    assert!(said.contains("no FILE.head beside it"), "{said}");
    assert_eq!(verify(&[&cut, "--head", &head]).0, Some(1));
    // Beside the head that the daemon keeps it shows by itself; so does an older copy of the whole.
    fs::copy(directory.0.join("audit.jsonl.head"), format!("{cut}.head")).unwrap();
    let (code, said) = verify(&[&cut]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("lines are missing"), "{said}");

    let edited = directory.0.join("edited.jsonl");
    fs::write(&edited, text.replacen("view.create", "view.crEate", 1)).unwrap();
    let (code, said) = verify(&[&edited.display().to_string()]);
    assert_eq!(code, Some(1));
    let at = text.lines().position(|line| line.contains("view.create")).unwrap() + 1;
    assert!(said.contains(&format!("line {at}:")), "{said}");
    assert_eq!(verify(&[]).0, Some(2));

    // The file in use after a rotation: no fault of anybody's, and no proof either.
    let rest: String = text.split_inclusive('\n').skip(3).collect();
    let later = directory.0.join("later.jsonl");
    fs::write(&later, rest).unwrap();
    let (code, said) = verify(&[&later.display().to_string()]);
    assert_eq!((code, said.contains("in the middle of a chain")), (Some(1), true), "{said}");
}

#[tokio::test]
async fn s6_a_head_that_was_noted_earlier_is_a_line_that_the_chain_must_go_through() {
    let (directory, path, settings) = log_in_its_own_directory();
    let daemon = TestDaemon::builder().with(&settings).start().await;
    let created = daemon.create("noted", &order()).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let void = format!("/v1/signings/{}/void", created.id());
    assert_eq!(daemon.post(&void, &json!({ "reason": "ordered twice" })).await.status, 200);
    daemon.stop().await;
    let text = fs::read_to_string(&path).unwrap();
    let noted = |at: usize| {
        let line: Value = serde_json::from_str(text.lines().nth(at - 1).unwrap()).unwrap();
        format!("{at}:{}", line["hash"].as_str().unwrap())
    };
    let count = text.lines().count();
    assert!(count >= 4, "a mint, a create, a view and a void: {text}");
    let file = path.display().to_string();
    for at in [1, 2, count] {
        let (code, said) = verify(&[&file, "--head", &noted(at)]);
        assert_eq!((code, said.contains(&noted(count))), (Some(0), true), "{said}");
    }
    let forged = format!("2:{}", "f".repeat(64));
    let (code, said) = verify(&[&file, "--head", &forged]);
    assert_eq!((code, said.contains("made anew")), (Some(1), true), "{said}");

    // The file in use after a rotation, and those before it gone.
    let rest: String = text.split_inclusive('\n').skip(2).collect();
    let later = directory.0.join("later.jsonl");
    fs::write(&later, rest).unwrap();
    let later = later.display().to_string();
    let rotated = |head: &str| verify(&[&later, "--after", &noted(2), "--head", head]);
    for at in [2, 3, count] {
        let (code, said) = rotated(&noted(at));
        assert_eq!(code, Some(0), "{said}");
    }
    let (code, said) = rotated(&noted(1));
    assert_eq!((code, said.contains("name the files that hold that line")), (Some(1), true), "{said}");
}

#[tokio::test]
async fn s6_a_create_and_its_view_are_written_down_together_before_the_post() {
    let (_directory, path, settings) = log_in_its_own_directory();
    let daemon = TestDaemon::builder().with(&settings).start().await;
    daemon
        .fault(&json!({"fault": "status", "status": 400, "method": "POST", "path": "/envelopes", "count": 1}))
        .await;
    let refused = daemon.create("refused", &order()).await;
    assert_eq!(refused.code(), "provider_rejected", "{}", refused.text);
    let mut unseen = order();
    unseen["view"] = json!(false);
    let unseen = daemon.create("unseen", &unseen).await;
    assert_eq!(unseen.status, 201, "{}", unseen.text);
    let seen = daemon.create("seen", &order()).await;
    assert!(seen.body["signers"][0]["view"]["url"].is_string(), "{}", seen.text);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |id: &Value| -> Vec<&str> {
        let lines = lines.iter().filter(|line| line["signing"] == *id);
        lines.map(|line| line["event"].as_str().unwrap()).collect()
    };
    let first = lines.iter().find(|line| line["event"] == "envelope.create").unwrap();
    assert_eq!(of(&first["signing"]), ["envelope.create", "view.create"], "of what was refused: {text}");
    assert_eq!(of(&unseen.body["id"]), ["envelope.create"], "{text}");
    assert_eq!(of(&seen.body["id"]), ["envelope.create", "view.create"], "one line for each: {text}");
}

#[tokio::test]
async fn s6_the_evidence_of_a_signing_is_checked_offline_and_every_change_of_it_is_found() {
    let directory = TempDir::new();
    let log = directory.0.join("audit.jsonl");
    let settings = format!("[audit]\nfile = \"{}\"\n", log.display());
    let daemon = TestDaemon::builder().public().with(&settings).start().await;
    daemon.create("other", &order()).await;
    let made = daemon.create("proven", &order()).await;
    let path = format!("/v1/signings/{}", made.id());
    let early = daemon.get(&format!("{path}/evidence")).await;
    assert_eq!((early.status.as_u16(), early.code()), (409, "signer_not_ready"));
    let signers = daemon.control(http::Method::GET, "signers", &Value::Null).await;
    let envelope = &made.body["provider"]["envelope_id"];
    let mut all = signers["signers"].as_array().unwrap().iter();
    let signer = all.find(|signer| signer["envelope_id"] == *envelope).unwrap();
    let guid = signer.get("recipient_id_guid").or_else(|| signer.get("id")).unwrap().as_str().unwrap();
    daemon.control(http::Method::POST, &format!("signers/{guid}/sign"), &json!({})).await;
    daemon.run_clock("completed", async || daemon.get(&path).await.body["status"] == "completed").await;

    let stranger = daemon.as_stranger(http::Method::GET, &format!("{path}/evidence"), &Value::Null).await;
    assert_eq!(stranger.status, 404);
    let url = format!("{}{path}/evidence", daemon.api);
    let (reply, bundle) = daemon.bytes(http::Method::GET, &url, CALLER_KEY, &[]).await;
    assert!(reply.status.is_success(), "{}", reply.text);
    let file = directory.0.join("bundle.zip");
    fs::write(&file, &bundle).unwrap();
    let file = file.display().to_string();
    let keys = directory.0.join("keys.json");
    fs::write(&keys, daemon.get("/.well-known/jwks.json").await.text).unwrap();
    let (keys, log) = (keys.display().to_string(), log.display().to_string());
    let (code, said) = verify(&[&file, "--keys", &keys, &log]);
    assert_eq!(code, Some(0), "{said}");
    // Create, view, the two documents that went into it, and that it is handed out.
    assert!(said.contains(made.id()) && said.contains("5 line(s) of the audit log"), "{said}");
    let inside = |name: &str| {
        let mut zip = zip::ZipArchive::new(std::io::Cursor::new(&bundle)).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut zip.by_name(name).unwrap(), &mut bytes).unwrap();
        bytes
    };
    assert!(inside("documents/combined.pdf").starts_with(b"%PDF"));
    assert!(inside("documents/certificate.pdf").starts_with(b"%PDF"));
    let event: Value = serde_json::from_slice(&inside("events/0001.json")).unwrap();
    assert_eq!(event["data"]["envelopeId"], *envelope, "as DocuSign sent it");
    // What lies here already is handed out by a line of its own.
    let document = format!("{}{path}/documents/combined", daemon.api);
    for handed_out in 1..3 {
        let (reply, _) = daemon.bytes(http::Method::GET, &document, CALLER_KEY, &[]).await;
        assert!(reply.status.is_success(), "{}", reply.text);
        let written = fs::read_to_string(&log).unwrap();
        assert_eq!(written.matches("\"document.hand_out\"").count(), handed_out, "{written}");
        assert_eq!(written.matches("\"document.fetch\"").count(), 2, "{written}");
    }

    // A key of somebody else, a log of somebody else, one changed byte.
    fs::write(&keys, "{\"keys\":[]}").unwrap();
    assert_eq!(verify(&[&file, "--keys", &keys]).0, Some(1));
    let other = directory.0.join("other.jsonl");
    fs::write(&other, "").unwrap();
    let (code, said) = verify(&[&file, &other.display().to_string()]);
    assert_eq!(code, Some(1), "{said}");
    let mut changed = bundle.clone();
    let at = changed.windows(9).position(|part| part == b"completed").unwrap();
    changed[at] ^= 1;
    fs::write(&file, changed).unwrap();
    let (code, said) = verify(&[&file]);
    assert_eq!(
        (code, said.contains("changed") || said.contains("zip") || said.contains("signed")),
        (Some(1), true),
        "{said}"
    );
}

#[tokio::test]
async fn s6_evidence_says_that_what_retention_has_destroyed_is_not_in_it() {
    let directory = TempDir::new();
    let daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("kept", &order()).await;
    daemon.sign_all().await;
    daemon.settle(made.id(), "completed").await;
    let url = format!("{}/v1/signings/{}/evidence", daemon.api, made.id());
    let bundle = async |name: &str| {
        let (reply, bundle) = daemon.bytes(http::Method::GET, &url, CALLER_KEY, &[]).await;
        assert!(reply.status.is_success(), "{}", reply.text);
        let file = directory.0.join(name);
        fs::write(&file, &bundle).unwrap();
        let mut zip = zip::ZipArchive::new(std::io::Cursor::new(bundle)).unwrap();
        let manifest: Value = serde_json::from_reader(zip.by_name("manifest.json").unwrap()).unwrap();
        (manifest, verify(&[&file.display().to_string()]))
    };
    let (manifest, (code, said)) = bundle("whole.zip").await;
    assert_eq!(manifest["personal_data_destroyed"], false, "{manifest}");
    assert!(manifest["events_since"].is_null(), "{manifest}");
    assert_eq!((code, said.contains("destroyed")), (Some(0), false), "{said}");

    let store = &daemon.parts().store;
    let day = jiff::SignedDuration::from_hours(24);
    let later = Retention::at(daemon.clock.now() + day * 91, day * 90);
    assert_eq!(store.destroy(later).await.unwrap().personal, 1);
    let (manifest, (code, said)) = bundle("destroyed.zip").await;
    assert_eq!(manifest["personal_data_destroyed"], true, "{manifest}");
    assert_eq!((code, said.contains("were destroyed before it was made")), (Some(0), true), "{said}");
}

/// A daemon that has accepted a create, and cannot write down that it makes its envelope: another file lies where its log
/// was, and the chain cannot go on.
async fn queue_unaudited() -> (TempDir, PathBuf, TestDaemon, Reply) {
    let (directory, path, settings) = log_in_its_own_directory();
    let daemon = TestDaemon::builder().with(&settings).start().await;
    fs::remove_file(&path).unwrap();
    fs::write(&path, "something else\n").unwrap();
    let created = daemon.queue("unaudited", &order()).await;
    (directory, path, daemon, created)
}

#[tokio::test]
async fn s6_what_cannot_be_written_down_is_not_done() {
    let (_directory, path, daemon, created) = queue_unaudited().await;
    daemon
        .until("the attempt", async || {
            let timeline = daemon.get(&format!("/v1/signings/{}/timeline", created.id())).await;
            timeline.text.contains("create_queued")
        })
        .await;
    assert_eq!(daemon.envelopes().await, 0);
    daemon
        .run_clock("health says so", async || {
            let ready = daemon.ops("/readyz").await;
            ready.status == 503 && ready.text.contains("\"audit\"") && ready.text.contains("another file")
        })
        .await;
    assert!(daemon.ops("/metrics").await.text.contains("countersign_audit_up 0"));
    assert!(daemon.ops("/metrics").await.text.contains("countersign_ready 0\n"));

    fs::remove_file(&path).unwrap();
    // Nobody need ask for anything before it is seen that it can be written again.
    daemon.run_clock("health is well", async || daemon.ops("/readyz").await.status == 200).await;
    assert!(daemon.ops("/metrics").await.text.contains("countersign_audit_up 1"));
    assert!(daemon.ops("/metrics").await.text.contains("countersign_ready 1\n"));
    let status =
        async || daemon.get(&format!("/v1/signings/{}", created.id())).await.body["status"] == "open";
    daemon.run_clock("the envelope, once the log can be written", status).await;
    assert_eq!(daemon.envelopes().await, 1);
}

/// Several daemons share a store, and the disk of one is full.
#[tokio::test]
async fn s6_a_daemon_that_can_write_nothing_down_leaves_what_comes_due_to_one_that_can() {
    let (_directory, _, daemon, created) = queue_unaudited().await;
    let id = created.id().parse().unwrap();
    let free_work = async || daemon.record(id).await.work.filter(|work| work.leased_until.is_none());
    daemon.until("the attempt", async || free_work().await.is_some_and(|work| work.attempts > 0)).await;
    let before = daemon.record(id).await;
    let wait = before.work.unwrap().due_at.duration_since(daemon.clock.now());
    // The time at which it has come due, and those of the two looks of another one.
    daemon.clock.advance(Duration::try_from(wait).unwrap());
    for _ in 0..2 {
        let claimed = daemon.parts().signings.round(&Arc::default()).await.unwrap();
        assert_eq!((claimed, daemon.record(id).await.version), (0, before.version), "it is the other's");
        daemon.clock.advance(Duration::from_millis(500));
    }
    // There is no other one.
    daemon.run_clock("another attempt", async || daemon.record(id).await.version != before.version).await;
    assert_eq!(daemon.envelopes().await, 0);
}

/// The lines of a log but those of mints: event, signing and detail.
fn acts(path: &Path) -> Vec<(String, Option<String>, Option<String>)> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let word = |line: &Value, member: &str| line[member].as_str().map(str::to_owned);
    lines
        .filter(|line| line["event"] != "token.mint")
        .map(|line| (word(&line, "event").unwrap(), word(&line, "signing"), word(&line, "detail")))
        .collect()
}

#[tokio::test]
async fn s6_what_a_limit_holds_back_is_no_line() {
    let (_directory, path, settings) = log_in_its_own_directory();
    let daemon = TestDaemon::builder().with(&settings).start().await;
    let made = daemon.create("made", &order()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let views = format!("/v1/signings/{}/signers/{}/views", made.id(), made.signer());
    let limit = json!({"fault": "rate_limit", "status": 429, "method": "POST", "path": "/envelopes", "count": 1, "reset_s": 60});
    daemon.fault(&limit).await;
    let refused = daemon.create("refused", &order()).await;
    assert_eq!(refused.code(), "provider_rate_limited", "{}", refused.text);
    let events = || acts(&path).into_iter().map(|(event, ..)| event).collect::<Vec<_>>();
    assert_eq!(events(), ["envelope.create", "view.create"].repeat(2), "DocuSign was asked");

    daemon.forget_requests().await;
    for held in [daemon.create("held", &order()).await, daemon.post(&views, &json!({})).await] {
        assert_eq!(held.code(), "provider_rate_limited", "{}", held.text);
    }
    assert_eq!((daemon.requests().await.len(), events().len()), (0, 4));
    let after: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    daemon.clock.advance(Duration::from_secs(after + 1));
    for done in [daemon.post(&views, &json!({})).await, daemon.create("held", &order()).await] {
        assert_eq!(done.status, 201, "{}", done.text);
    }
    assert_eq!(events()[4..], ["view.create", "envelope.create", "view.create"]);
}

#[tokio::test]
async fn s6_a_create_that_outwaits_its_caller_is_a_line_and_the_view_that_nobody_asks_for_is_none() {
    let (_directory, path, settings) = log_in_its_own_directory();
    let daemon = TestDaemon::builder().with(&settings).start().await;
    let mut body = order();
    body["signers"][0].as_object_mut().unwrap().remove("sms_auth");
    let first = daemon.create("first", &body).await;
    assert_eq!(first.status, 201, "{}", first.text);
    // Others spend what is left of the burst.
    let account = AccountId::new(daemon.emulator.ready().account_id.clone());
    let (budget, now) = (daemon.parts().esign.budget(), Now::read(&daemon.clock));
    let held_by = loop {
        match budget.admit(&account, Operation::CreateView, Priority::Signer, now) {
            Ok(permit) => permit.answered(&http::HeaderMap::new(), now),
            Err(shed) => break shed.scope,
        }
    };
    assert_eq!(held_by, Scope::Burst);
    let held = daemon.create_with("held", &body, &[("prefer", "wait=1")]);
    let time = async {
        let is_begun = async || daemon.get("/v1/signings").await.body["data"].as_array().unwrap().len() == 2;
        daemon.until("it is written down", is_begun).await;
        daemon.clock.advance(std::time::Duration::from_secs(2));
    };
    let (held, ()) = tokio::join!(held, time);
    assert_eq!(held.status, 202, "{}", held.text);
    let events = || acts(&path).into_iter().map(|(event, ..)| event).collect::<Vec<_>>();
    assert_eq!(events(), ["envelope.create", "view.create"], "it has not left");
    daemon.clock.advance(std::time::Duration::from_secs(32));
    let made = format!("/v1/signings/{}", held.id());
    daemon.until("the envelope", async || daemon.get(&made).await.body["status"] == "open").await;
    assert_eq!(events(), ["envelope.create", "view.create", "envelope.create"]);
    let asked = daemon.requests().await;
    assert_eq!(asked.iter().filter(|line| line.ends_with("/views/recipient")).count(), 1, "{asked:?}");
}

#[tokio::test]
async fn s6_a_status_that_a_caller_has_asked_for_changes_nothing_and_is_no_line() {
    let (_directory, path, settings) = log_in_its_own_directory();
    let daemon = TestDaemon::builder().with(&settings).start().await;
    let made = daemon.create("order-1", &order()).await;
    daemon.sign_all().await;
    let before = acts(&path);
    let refreshed = daemon.post(&format!("/v1/signings/{}/refresh", made.id()), &json!({})).await;
    assert_eq!(refreshed.body["status"], "completed", "{}", refreshed.text);
    assert_eq!(acts(&path), before);
    let page = include_str!("../../deploy/audit.md");
    assert!(page.contains("has no line, whoever causes it: the status of an envelope (`POST …/refresh`"));
}

#[tokio::test]
async fn s6_the_log_and_the_timeline_say_how_much_a_purge_destroys() {
    let (_directory, path, settings) = log_in_its_own_directory();
    let daemon = TestDaemon::builder().with(&settings).start().await;
    let made = daemon.create("order-1", &order()).await;
    let signing = format!("/v1/signings/{}", made.id());
    let void = daemon.post(&format!("{signing}/void"), &json!({"reason": "ordered twice"})).await;
    assert_eq!(void.status, 200, "{}", void.text);
    let scopes = ["documents", "documents_and_metadata", "documents_metadata_and_redact"];
    for scope in scopes {
        let asked = daemon.post(&format!("{signing}/purge"), &json!({ "scope": scope })).await;
        assert_eq!(asked.status, 202, "{}", asked.text);
    }
    let envelope = made.body["provider"]["envelope_id"].as_str().unwrap();
    let said: Vec<_> =
        acts(&path).into_iter().filter(|(event, ..)| event == "envelope.purge").map(|line| line.2).collect();
    assert_eq!(said, scopes.map(|scope| Some(format!("{envelope} {scope}"))));
    let timeline = daemon.get(&format!("{signing}/timeline")).await;
    let moments = timeline.body["data"].as_array().unwrap().iter();
    let told: Vec<&str> = moments
        .filter(|moment| moment["what"] == "purge_asked")
        .map(|moment| moment["text"].as_str().unwrap())
        .collect();
    let all = "the documents and their metadata, and to make names and addresses unreadable";
    let expected = ["the documents", "the documents and their metadata", all];
    let expected =
        expected.map(|what| format!("DocuSign was asked to destroy {what}: it takes about 14 days."));
    assert_eq!(told, expected);
}

#[tokio::test]
async fn s6_the_line_of_a_document_says_which_one_it_is_and_evidence_has_its_own() {
    let (_directory, path, settings) = log_in_its_own_directory();
    let daemon = TestDaemon::builder().with(&settings).start().await;
    let made = daemon.create("order-1", &order()).await;
    let signing = format!("/v1/signings/{}", made.id());
    daemon.sign_all().await;
    let signed = daemon.post(&format!("{signing}/refresh"), &json!({})).await;
    assert_eq!(signed.body["status"], "completed", "{}", signed.text);
    let known = acts(&path).len();
    for part in ["documents/certificate", "documents/1", "evidence", "documents/1", "evidence"] {
        let url = format!("{}{signing}/{part}", daemon.api);
        let (reply, _) = daemon.bytes(http::Method::GET, &url, CALLER_KEY, &[]).await;
        assert!(reply.status.is_success(), "{part}: {}", reply.text);
    }
    let envelope = made.body["provider"]["envelope_id"].as_str().unwrap();
    let expected = [
        ("document.fetch", " certificate"),
        ("document.fetch", " 1"),
        ("document.fetch", " combined"),
        ("document.hand_out", " certificate"),
        ("evidence.hand_out", ""),
        ("document.hand_out", " 1"),
        ("document.hand_out", " combined"),
        ("document.hand_out", " certificate"),
        ("evidence.hand_out", ""),
    ];
    let expected = expected.map(|(event, part)| {
        (event.to_owned(), Some(made.id().to_owned()), Some(format!("{envelope}{part}")))
    });
    assert_eq!(acts(&path)[known..], expected);
}

#[tokio::test]
async fn s6_a_view_that_a_visitor_clicked_for_is_told_from_one_of_the_caller() {
    let (_directory, path, settings) = log_in_its_own_directory();
    let daemon = TestDaemon::builder().public().with(&settings).start().await;
    let made = daemon.create("order-1", &unopened()).await;
    let (signing, signer) = (format!("/v1/signings/{}", made.id()), made.signer());
    let viewed = daemon.post(&format!("{signing}/signers/{signer}/views"), &json!({})).await;
    assert_eq!(viewed.status, 201, "{}", viewed.text);
    // Whoever comes back with nothing done may go on from the page that is shown then.
    let come_back = async || {
        let later = daemon.act(0, "finish_later", &json!({})).await;
        let back = later["redirect_url"].as_str().unwrap().to_owned();
        assert_eq!(daemon.look(&back).await.status, 200);
        back.split('?').next().unwrap().to_owned()
    };
    let back = come_back().await;
    assert!(location(&daemon.click(&back).await).contains("/Signing/MTRedeem/"));
    come_back().await;
    assert!(location(&daemon.click(&link_of(&made, 0)).await).contains("/Signing/MTRedeem/"));
    // The way back from a link's view hangs on the link, and is none.
    let back = come_back().await;
    assert!(location(&daemon.click(&back).await).contains("/Signing/MTRedeem/"));

    let said: Vec<_> =
        acts(&path).into_iter().filter(|(event, ..)| event == "view.create").map(|line| line.2).collect();
    assert_eq!(said, ["", " return", " link", " return"].map(|how| Some(format!("{signer}{how}"))));
    let timeline = daemon.get(&format!("{signing}/timeline")).await;
    let moments = timeline.body["data"].as_array().unwrap().iter();
    let told: Vec<&str> = moments
        .filter(|moment| moment["what"] == "view_minted")
        .map(|moment| moment["text"].as_str().unwrap())
        .collect();
    let by_return = ", by the page after their return";
    let expected = ["", by_return, ", by the link", by_return];
    let expected = expected.map(|how| format!("A recipient view was made for signer “visitor”{how}."));
    assert_eq!(told, expected);
}

#[tokio::test]
async fn s6_what_a_caller_does_with_its_senders_has_words_of_its_own() {
    let directory = TempDir::new();
    let path = directory.0.join("audit.jsonl");
    let settings = format!(
        "[audit]\nfile = \"{}\"\n\n[callers.vendor]\nkey_hash = \"{}\"\nsenders = []\n\
         sender_patterns = [\"customer\"]\n",
        path.display(),
        key_hash(VENDOR_KEY)
    );
    let builder = TestDaemon::builder().public().with(&settings);
    let daemon = builder.connectable("customer", "impersonation", "").start().await;
    let account = "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e002";
    for (method, path, body, status) in [
        (http::Method::POST, "/v1/senders", json!({"name": "shop", "like": "customer"}), 201_u16),
        (http::Method::PATCH, "/v1/senders/shop", json!({ "account": account }), 200),
        (http::Method::DELETE, "/v1/senders/shop/connect", Value::Null, 200),
        (http::Method::DELETE, "/v1/senders/shop", Value::Null, 204),
    ] {
        let done = call_as(&daemon, VENDOR_KEY, method, path, body).await;
        assert_eq!(done.status, status, "{path}: {}", done.text);
    }
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_shop: Vec<&Value> = lines.iter().filter(|line| line["sender"] == "shop").collect();
    let events: Vec<&str> = of_shop.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["sender.make", "sender.change", "sender.disconnect", "sender.unmake"], "{text}");
    assert!(of_shop.iter().all(|line| line["caller"] == "vendor" && line["detail"].is_null()), "{text}");
}
