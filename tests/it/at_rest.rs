//! What lies on the disk under a whole daemon: of links and views nothing that opens anything (rule L4), of persons
//! nothing that can be read, and after retention nothing at all (rule S2). Every column, in both stores, is the subject of
//! `store::sealing` and `store::retention`.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::{
    digest::{hex, sha256},
    domain::SigningId,
};
use http::StatusCode;
use serde_json::json;

use crate::{
    harness::{TestDaemon, order},
    visitors::{link_of, location},
};

/// Every byte of the store, and of what lies beside it.
fn on_disk(daemon: &TestDaemon) -> Vec<u8> {
    let folder = daemon.store_file().parent().unwrap().to_owned();
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).flat_map(|path| std::fs::read(path).unwrap()).collect()
}

fn holds(disk: &[u8], what: &[u8]) -> bool {
    disk.windows(what.len()).any(|part| part.eq_ignore_ascii_case(what))
}

/// How many values the store keeps sealed of signings, and of what was said about them.
fn sealed(daemon: &TestDaemon) -> u64 {
    let db = rusqlite::Connection::open(daemon.store_file()).unwrap();
    let sql = "SELECT (SELECT count(sealed) + count(answer) FROM signings) + (SELECT count(*) FROM payloads) \
               + (SELECT count(*) FROM inbound) + (SELECT count(sealed) FROM events WHERE signing IS NOT NULL)";
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn l4_of_a_link_only_the_digest_is_kept_and_no_view_lies_in_the_clear() {
    let mut daemon = TestDaemon::builder().public().start().await;
    let made = daemon.create("order-1", &order()).await;
    let links = format!("/v1/signings/{}/signers/{}/links", made.id(), made.signer());
    let another = daemon.post(&links, &json!({})).await;
    assert_eq!(another.status, StatusCode::CREATED, "{}", another.text);
    let first = link_of(&made, 0);
    let second = another.body["url"].as_str().unwrap();
    // The view of the answer is over by then, and the click makes one.
    daemon.clock.advance(Duration::from_secs(400));
    let views = [
        made.body["signers"][0]["view"]["url"].as_str().unwrap().to_owned(),
        location(&daemon.click(second).await),
    ];

    let disk = on_disk(&daemon);
    let token = |url: &str| url.rsplit('/').next().unwrap().to_owned();
    let tokens = [token(&first), token(second)];
    assert_ne!(tokens[0], tokens[1]);
    for token in &tokens {
        let bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
        assert_eq!(bytes.len() * 8, 256, "random bits");
        assert!(holds(&disk, &sha256(token.as_bytes())), "the search is blind for links");
        for form in [token.as_bytes(), bytes.as_slice(), hex(&bytes).as_bytes()] {
            assert!(!holds(&disk, form), "the token of a link lies there");
        }
    }
    assert!(holds(&disk, made.body["provider"]["envelope_id"].as_str().unwrap().as_bytes()));
    for view in &views {
        let (_, ticket) = view.split_once("slt=").unwrap_or_else(|| panic!("{view}"));
        assert!(ticket.len() > 20, "{view}");
        for form in [view.as_bytes(), ticket.as_bytes()] {
            assert!(!holds(&disk, form), "a view lies there in the clear");
        }
    }
    // The answer with both is kept all the same: who repeats the call gets it.
    daemon.restart().await;
    assert_eq!(daemon.create("order-1", &order()).await.text, made.text);
}

#[tokio::test]
async fn s2_persons_are_sealed_and_retention_leaves_nothing_of_them() {
    let mut daemon = TestDaemon::builder().public().start().await;
    daemon.restart_with(|settings| settings.replace("[store]\n", "[store]\nretention = \"1d\"\n")).await;
    let mut planted = order();
    planted["metadata"] = json!({"note": "planted-note"});
    planted["signers"][0]["authenticated_by"] = json!({"method": "password", "id": "planted-login"});
    let made = daemon.create("order-1", &planted).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let id: SigningId = made.id().parse().unwrap();
    daemon.sign_all().await;
    daemon.settle(made.id(), "completed").await;

    let disk = on_disk(&daemon);
    assert!(holds(&disk, b"order-8812"), "the search is blind for the store");
    for personal in ["Ada Lovelace", "ada@example.com", "15112345678", "www.example.com/done", "planted-"] {
        assert!(!holds(&disk, personal.as_bytes()), "{personal} lies there in the clear");
    }
    assert!(sealed(&daemon) >= 3, "of the signing, its answer and what was told");
    let before = daemon.record(id).await.signing;
    assert_eq!(before.signers[0].name.reveal(), "Ada Lovelace", "which the daemon can read");

    daemon.clock.advance(Duration::from_secs(25 * 3_600));
    daemon.run_clock("retention", async || sealed(&daemon) == 0).await;
    let after = daemon.record(id).await.signing;
    let signer = &after.signers[0];
    assert_eq!((signer.name.reveal().as_str(), signer.email.reveal()), ("", ""));
    assert_eq!((&signer.return_url, &signer.authenticated_by), (&None, &None));
    assert!(after.metadata.reveal().is_empty());
    assert_eq!(
        (after.status, after.completed_at),
        (before.status, before.completed_at),
        "what came of it stays"
    );
    let shown = daemon.get(&format!("/v1/signings/{id}")).await;
    assert_eq!((&shown.body["status"], &shown.body["metadata"]), (&json!("completed"), &json!({})));
}
