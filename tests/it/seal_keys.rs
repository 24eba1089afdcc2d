//! The seal key is changed while visitors are on their way.

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    harness::TestDaemon,
    visitors::{link_of, location, unopened},
};

const OLD: &str = "OjuYkzzbqKkGyKTs1ZNpUfXwLRp9XRTZ9X6m8Y8aZf0=";
const NEW: &str = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=";

/// The settings with these keys, the one in use first.
fn with_keys(settings: &str, keys: &[&str]) -> String {
    let line = settings.lines().find(|line| line.starts_with("seal_key")).unwrap();
    settings.replace(line, &format!("seal_keys = {keys:?}"))
}

impl TestDaemon {
    /// The names of the keys that results are checked with.
    async fn kids(&self) -> Vec<Value> {
        let set = self.get("/.well-known/jwks.json").await;
        set.body["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect()
    }

    /// With how many keys something in the store may be sealed.
    fn seal_keys_in_use(&self) -> u64 {
        let db = rusqlite::Connection::open(self.store_file()).unwrap();
        let sql = "SELECT count(*) FROM meta WHERE name LIKE 'seal.%'";
        db.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Signs, and answers where the browser is sent.
    async fn sign_as(&self, signer: usize) -> String {
        self.act(signer, "sign", &json!({})).await["redirect_url"].as_str().unwrap().to_owned()
    }
}

/// The name of the key that a result is signed with, of the address that leads back to the site.
fn kid_of(site: &str) -> Value {
    let url = url::Url::parse(site).unwrap();
    let result = url.query_pairs().find(|(name, _)| name == "result").unwrap().1.into_owned();
    let header = jsonwebtoken::decode_header(&result).unwrap();
    Value::String(header.kid.unwrap())
}

#[tokio::test]
async fn f2_visitors_find_their_way_back_while_the_seal_key_is_changed() {
    let mut daemon = TestDaemon::builder().public().start().await;
    let before = daemon.kids().await;
    let first = daemon.create("order-1", &unopened()).await;
    assert_eq!(daemon.click(&link_of(&first, 0)).await.status, StatusCode::SEE_OTHER);

    // As a daemon that is restarted before the others: it still makes everything with the old one.
    daemon.restart_with(|settings| with_keys(settings, &[OLD, NEW])).await;
    let both = daemon.kids().await;
    assert_eq!((both.len(), &both[0]), (2, &before[0]));
    daemon.restart_with(|settings| with_keys(settings, &[NEW, OLD])).await;
    assert_eq!(daemon.kids().await, [both[1].clone(), both[0].clone()], "each is known before it signs");
    let back = daemon.sign_as(0).await;
    let site = location(&daemon.look(&back).await);
    assert!(site.starts_with("https://www.example.com/done?"), "{site}");
    assert_eq!(kid_of(&site), both[1]);

    let second = daemon.create("order-2", &unopened()).await;
    assert_eq!(daemon.click(&link_of(&second, 0)).await.status, StatusCode::SEE_OTHER);
    // The old key goes when all is sealed anew, which the start did by itself.
    daemon.until("one key that all is sealed with", async || daemon.seal_keys_in_use() == 1).await;
    daemon.restart_with(|settings| with_keys(settings, &[NEW])).await;
    assert_eq!(daemon.kids().await, both[1..]);
    let site = location(&daemon.look(&daemon.sign_as(1).await).await);
    assert_eq!(kid_of(&site), both[1]);
    // What the old key made is over, and says so as any address that is none of ours.
    assert!(daemon.look(&back).await.status.is_client_error());
    assert_eq!(daemon.look(&link_of(&first, 0)).await.status, StatusCode::OK, "a link hangs on no key");
}
