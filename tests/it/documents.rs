//! The signed documents: one download whatever is asked, a digest that is true, ranges, and their end.

use countersign::digest::{hex, sha256};
use http::{Method, StatusCode, header};
use serde_json::json;

use crate::harness::{CALLER_KEY, Reply, TempDir, TestDaemon, order};

/// A daemon with a completed signing, and the path of its documents.
async fn completed() -> (TestDaemon, String) {
    completed_with("").await
}

async fn completed_with(settings: &str) -> (TestDaemon, String) {
    let daemon = TestDaemon::builder().public().with(settings).start().await;
    let made = daemon.create("order-1", &order()).await;
    daemon.sign_all().await;
    let path = format!("/v1/signings/{}", made.id());
    daemon.until("completed", async || daemon.get(&path).await.body["status"] == "completed").await;
    daemon.forget_requests().await;
    (daemon, path)
}

async fn get(daemon: &TestDaemon, path: &str, headers: &[(&str, &str)]) -> (Reply, Vec<u8>) {
    daemon.bytes(Method::GET, &format!("{}{path}", daemon.api), CALLER_KEY, headers).await
}

async fn downloads(daemon: &TestDaemon) -> usize {
    daemon.requests().await.iter().filter(|line| line.contains("/documents/")).count()
}

fn quoted_sha256(bytes: &[u8]) -> String {
    format!("\"{}\"", hex(&sha256(bytes)))
}

#[tokio::test]
async fn a_document_has_its_digest_ranges_and_conditions_and_costs_one_call() {
    let (daemon, path) = completed().await;
    let path = format!("{path}/documents/combined");
    let (whole, bytes) = get(&daemon, &path, &[]).await;
    let tag = quoted_sha256(&bytes);
    assert_eq!((whole.status, whole.headers[header::ETAG].to_str().unwrap()), (StatusCode::OK, tag.as_str()));
    assert_eq!(whole.headers[header::ACCEPT_RANGES], "bytes");
    assert_eq!(whole.headers[header::CONTENT_TYPE], "application/pdf");
    assert!(bytes.starts_with(b"%PDF") && bytes.len() > 1_000);
    let length = bytes.len();

    let (part, piece) = get(&daemon, &path, &[("range", "bytes=10-99"), ("if-range", &tag)]).await;
    assert_eq!((part.status, &piece[..]), (StatusCode::PARTIAL_CONTENT, &bytes[10..100]));
    assert_eq!(part.headers[header::CONTENT_RANGE], format!("bytes 10-99/{length}"));
    assert_eq!(part.headers[header::ETAG], tag);
    let (_, tail) = get(&daemon, &path, &[("range", "bytes=-7")]).await;
    assert_eq!(tail, bytes[length - 7..]);
    let (other, all) = get(&daemon, &path, &[("range", "bytes=0-1"), ("if-range", "\"another\"")]).await;
    assert_eq!((other.status, all.len()), (StatusCode::OK, length), "a range of another version");
    let beyond = format!("bytes={length}-");
    let (beyond, _) = get(&daemon, &path, &[("range", &beyond)]).await;
    assert_eq!((beyond.status, beyond.code()), (StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable"));
    assert_eq!(beyond.headers[header::CONTENT_RANGE], format!("bytes */{length}"));
    let (same, nothing) = get(&daemon, &path, &[("if-none-match", &format!("\"x\", {tag}"))]).await;
    assert_eq!((same.status, nothing.len()), (StatusCode::NOT_MODIFIED, 0));
    for (meant, also, status) in [
        ("*", ("range", "bytes=0-1"), StatusCode::PARTIAL_CONTENT),
        (&*tag, ("if-none-match", &*tag), StatusCode::NOT_MODIFIED),
        ("\"another\"", ("if-none-match", &*tag), StatusCode::PRECONDITION_FAILED),
        (&*format!("W/{tag}"), ("range", "bytes=0-1"), StatusCode::PRECONDITION_FAILED),
    ] {
        let (answer, _) = get(&daemon, &path, &[("if-match", meant), also]).await;
        assert_eq!(answer.status, status, "{meant} {also:?}: {}", answer.text);
        assert_eq!(answer.headers[header::ETAG], tag);
        if status == StatusCode::PRECONDITION_FAILED {
            assert_eq!(answer.code(), "precondition_failed");
        }
    }
    let url = format!("{}{path}", daemon.api);
    let (head, nothing) = daemon.bytes(Method::HEAD, &url, CALLER_KEY, &[("range", "bytes=0-1")]).await;
    assert_eq!((head.status, nothing.len()), (StatusCode::OK, 0));
    assert_eq!(head.headers[header::CONTENT_LENGTH], length.to_string());
    assert_eq!(downloads(&daemon).await, 1);

    // Kept for a while, and then fetched again.
    daemon.clock.advance(std::time::Duration::from_secs(16 * 60));
    let (again, _) = get(&daemon, &path, &[]).await;
    assert_eq!((again.status, downloads(&daemon).await), (StatusCode::OK, 2));
    let (foreign, _) = daemon.bytes(Method::GET, &url, crate::harness::STRANGER_KEY, &[]).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
}

/// DocuSign lets three combined downloads of an envelope begin in an hour.
#[tokio::test]
async fn a_disk_that_takes_no_document_spends_no_download() {
    let folder = TempDir::new();
    let spool = folder.0.join("spool");
    std::fs::create_dir(&spool).unwrap();
    let settings = format!("[documents]\nspool_dir = \"{}\"\n", spool.display());
    let (daemon, path) = completed_with(&settings).await;
    let path = format!("{path}/documents/combined");
    std::fs::remove_dir(&spool).unwrap();
    for _ in 0..5 {
        let (refused, _) = get(&daemon, &path, &[]).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (503, "store_unavailable"), "{}", refused.text);
        assert_eq!(refused.headers[header::RETRY_AFTER], "30");
    }
    assert_eq!(downloads(&daemon).await, 0);
    std::fs::create_dir(&spool).unwrap();
    let (whole, _) = get(&daemon, &path, &[]).await;
    assert_eq!((whole.status, downloads(&daemon).await), (StatusCode::OK, 1), "{}", whole.text);
}

#[tokio::test]
async fn many_readers_at_once_share_one_download_and_one_who_hangs_up_changes_nothing() {
    let (daemon, path) = completed().await;
    let path = format!("{path}/documents/certificate");
    daemon.fault(&json!({"fault": "delay", "path": "/documents/certificate", "delay_ms": 500})).await;
    let url = format!("{}{path}", daemon.api);
    let impatient = daemon.bytes(Method::GET, &url, CALLER_KEY, &[]);
    // The first to ask goes away once its download has begun, and the others get what it began.
    tokio::select! {
        _ = impatient => panic!("the answer is held back"),
        () = daemon.until("the download", async || downloads(&daemon).await > 0) => {}
    }
    let readers = futures_util::future::join_all((0..20).map(|_| get(&daemon, &path, &[])));
    tokio::pin!(readers);
    let answers = loop {
        tokio::select! {
            answers = &mut readers => break answers,
            () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {
                daemon.clock.advance(std::time::Duration::from_millis(50));
            }
        }
    };
    for (reply, bytes) in &answers {
        assert_eq!((reply.status, bytes), (StatusCode::OK, &answers[0].1), "{}", reply.text);
    }
    assert_eq!(downloads(&daemon).await, 1);
}

#[tokio::test]
async fn a_download_that_is_cut_off_is_an_error_and_never_half_a_document() {
    let (daemon, path) = completed().await;
    let path = format!("{path}/documents/combined");
    daemon.fault(&json!({"fault": "truncate", "path": "/documents/combined", "count": 1})).await;
    let (cut, _) = get(&daemon, &path, &[]).await;
    assert_eq!((cut.status, cut.code()), (StatusCode::SERVICE_UNAVAILABLE, "provider_unavailable"));
    assert_eq!(cut.body["retryable"], true);
    let (whole, bytes) = get(&daemon, &path, &[]).await;
    assert_eq!(whole.headers[header::ETAG].to_str().unwrap(), quoted_sha256(&bytes));
}

#[tokio::test]
async fn documents_that_do_not_fit_on_the_disk_are_refused_with_the_setting_to_raise() {
    let daemon = TestDaemon::builder().public().with("[documents]\nspool_limit = \"1KiB\"\n").start().await;
    let made = daemon.create("order-1", &order()).await;
    daemon.sign_all().await;
    let path = format!("/v1/signings/{}", made.id());
    daemon.until("completed", async || daemon.get(&path).await.body["status"] == "completed").await;
    let (refused, _) = get(&daemon, &format!("{path}/documents/combined"), &[]).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (429, "quota_exceeded"), "{}", refused.text);
    assert!(refused.text.contains("documents.spool_limit") && refused.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn b2_a_limit_in_the_way_is_told_with_the_time_to_come_back() {
    let (daemon, path) = completed().await;
    let open = daemon.create("order-2", &order()).await;
    assert_eq!(open.status, StatusCode::CREATED, "{}", open.text);
    daemon.control(Method::POST, "limits", &json!({"hourly": 0})).await;
    let void = format!("/v1/signings/{}/void", open.id());
    let refusals = [
        daemon.post(&void, &json!({"reason": "a test"})).await,
        get(&daemon, &format!("{path}/documents/combined"), &[]).await.0,
        get(&daemon, &format!("{path}/evidence"), &[]).await.0,
    ];
    for refused in refusals {
        let seen = (refused.status.as_u16(), refused.code());
        assert_eq!(seen, (429, "provider_rate_limited"), "{}", refused.text);
        assert!(refused.body["retry_at"].is_string(), "{}", refused.text);
        assert!(refused.headers.contains_key(header::RETRY_AFTER), "{}", refused.text);
    }
}

#[tokio::test]
async fn a_purge_is_asked_for_once_and_followed_to_its_end() {
    let (daemon, path) = completed().await;
    let purge = format!("{path}/purge");
    let wrong = daemon.post(&purge, &json!({"scope": "everything"})).await;
    assert_eq!((wrong.code(), &wrong.body["errors"][0]["pointer"]), ("invalid_request", &json!("/scope")));
    for _ in 0..2 {
        let asked = daemon.post(&purge, &json!({})).await;
        assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.text);
        assert!(asked.body["purge_requested_at"].is_string() && asked.body["purged_at"].is_null());
    }
    let changes = daemon.requests().await.into_iter().filter(|line| line.starts_with("PUT ")).count();
    assert_eq!(changes, 1, "asked once");
    assert_eq!(get(&daemon, &format!("{path}/documents/combined"), &[]).await.0.status, StatusCode::OK);
    let foreign = daemon.as_stranger(Method::POST, &purge, &json!({})).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);

    daemon.clock.advance(std::time::Duration::from_secs(14 * 86_400 + 60));
    daemon.run_clock("purged", async || daemon.get(&path).await.body["purged_at"].is_string()).await;
    let (gone, _) = get(&daemon, &format!("{path}/documents/combined"), &[]).await;
    assert_eq!((gone.status, gone.code()), (StatusCode::CONFLICT, "signing_closed"));
    let timeline = daemon.get(&format!("{path}/timeline")).await;
    assert!(timeline.text.contains("asked to destroy") && timeline.text.contains("were destroyed"));
    assert_eq!(events(&daemon, "signing.purged").await, 1);
}

#[tokio::test]
async fn a_purge_whose_event_is_lost_is_found_out_by_asking() {
    let daemon = TestDaemon::start().await;
    let made = daemon.create("order-1", &order()).await;
    let path = format!("/v1/signings/{}", made.id());
    let early = daemon.post(&format!("{path}/purge"), &json!({})).await;
    assert_eq!((early.status, early.code()), (StatusCode::CONFLICT, "signer_not_ready"));
    daemon.sign_all().await;
    assert_eq!(daemon.post(&format!("{path}/refresh"), &json!({})).await.body["status"], "completed");
    assert_eq!(daemon.post(&format!("{path}/purge"), &json!({})).await.status, StatusCode::ACCEPTED);
    daemon.clock.advance(std::time::Duration::from_secs(14 * 86_400 + 60));
    assert!(daemon.get(&path).await.body["purged_at"].is_null(), "nobody tells us");
    daemon.clock.advance(std::time::Duration::from_secs(6 * 3_600));
    daemon.run_clock("purged", async || daemon.get(&path).await.body["purged_at"].is_string()).await;
    assert_eq!(events(&daemon, "signing.purged").await, 1);
}

#[tokio::test]
async fn a_signing_ends_at_the_hour_that_its_caller_gave() {
    let daemon = TestDaemon::builder().public().start().await;
    let mut short = order();
    short["expires_in"] = json!("36h");
    let made = daemon.create("order-1", &short).await;
    let path = format!("/v1/signings/{}", made.id());
    daemon.clock.advance(std::time::Duration::from_secs(36 * 3_600 - 60));
    daemon.run_clock("nothing", async || daemon.ops("/livez").await.status == StatusCode::OK).await;
    assert_eq!(daemon.get(&path).await.body["status"], "open");
    daemon.clock.advance(std::time::Duration::from_secs(60));
    daemon.run_clock("expired", async || daemon.get(&path).await.body["status"] == "expired").await;
    let voids = daemon.requests().await.into_iter().filter(|line| line.starts_with("PUT ")).count();
    assert_eq!(voids, 1, "the upstream counts whole days: it is told");
    // Its own event, that it was voided, changes nothing any more.
    let mut rounds = 0;
    let pass = async || {
        rounds += 1;
        rounds > 40
    };
    daemon.run_clock("its event", pass).await;
    assert_eq!(daemon.get(&path).await.body["status"], "expired");
    assert_eq!(events(&daemon, "signing.expired").await, 1);
    assert_eq!(events(&daemon, "signing.voided").await, 0);
}

#[tokio::test]
async fn whole_days_are_ended_by_the_upstream_and_found_out_without_its_event() {
    for is_public in [true, false] {
        let builder = TestDaemon::builder();
        let daemon = if is_public { builder.public() } else { builder }.start().await;
        let mut short = order();
        short["expires_in"] = json!("3d");
        let made = daemon.create("order-1", &short).await;
        let path = format!("/v1/signings/{}", made.id());
        daemon.clock.advance(std::time::Duration::from_secs(3 * 86_400 + 30));
        if !is_public {
            daemon.clock.advance(std::time::Duration::from_secs(15 * 60));
        }
        daemon.run_clock("expired", async || daemon.get(&path).await.body["status"] == "expired").await;
        let tries = daemon.requests().await.into_iter().filter(|line| line.starts_with("PUT ")).count();
        assert!(tries <= usize::from(!is_public), "{is_public}: {tries}");
    }
}

/// How many events of a kind there are.
async fn events(daemon: &TestDaemon, kind: &str) -> usize {
    let all = daemon.get("/v1/events?limit=100").await;
    let all = all.body["data"].as_array().cloned().unwrap_or_default();
    all.iter().filter(|event| event["type"] == kind).count()
}
