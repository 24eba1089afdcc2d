//! What the judge holds against a client, and what it does not.

use std::time::Duration;

use serde_json::{Value, json};

use crate::emulator::testing::Running;

/// A client that may be cut off.
struct Client {
    emulator: Running,
    token: String,
}

impl Client {
    async fn start() -> Self {
        let emulator = Running::start().await;
        let token = emulator.access_token().await;
        Self { emulator, token }
    }

    async fn get(&self) -> u16 {
        self.emulator.call("GET", "/users", &self.token, None).await.status().as_u16()
    }

    /// A call whose answer does not arrive, or not whole.
    async fn get_in_vain(&self, fault: &str) {
        self.emulator
            .control("POST", "faults", json!({ "fault": fault, "path": "/users", "count": 1 }))
            .await;
        let url = format!(
            "{}/restapi/v2.1/accounts/{}/users",
            self.emulator.ready.base_url, self.emulator.ready.account_id
        );
        let is_whole = match self.emulator.http.get(url).bearer_auth(&self.token).send().await {
            Ok(answer) => answer.bytes().await.is_ok(),
            Err(_) => false,
        };
        assert!(!is_whole, "{fault}");
    }

    /// More time than calls under way are forgiven for.
    fn pass(&self) {
        self.emulator.clock.advance(Duration::from_secs(2));
    }

    async fn rules(&self) -> Vec<Value> {
        let rules = self.emulator.control("GET", "rules", json!({})).await;
        rules["rules"].as_array().unwrap().clone()
    }

    async fn limit(&self, hourly: u64) {
        self.emulator.control("POST", "limits", json!({ "hourly": hourly })).await;
    }
}

#[tokio::test]
async fn a_limit_error_that_did_not_arrive_is_not_held_against_the_client() {
    let client = Client::start().await;
    client.limit(1).await;
    assert_eq!(client.get().await, 200);
    for fault in ["commit_then_drop", "truncate"] {
        client.get_in_vain(fault).await;
        client.pass();
    }
    assert_eq!(client.get().await, 400);
    assert!(client.rules().await.is_empty(), "it hears of it for the first time");
    client.pass();
    client.get_in_vain("commit_then_drop").await;
    let rules = client.rules().await;
    assert_eq!(rules[0]["rule"], "limit_ignored", "by now it knows");
    assert_eq!(rules[0]["requests"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn calling_on_is_right_once_new_limits_have_filled_the_budget() {
    let client = Client::start().await;
    client.limit(1).await;
    assert_eq!([client.get().await, client.get().await], [200, 400]);
    client.limit(1_000).await;
    client.pass();
    assert_eq!(client.get().await, 200);
    assert!(client.rules().await.is_empty());
}

#[tokio::test]
async fn the_death_of_a_token_that_was_not_told_is_not_held_against_the_client() {
    let client = Client::start().await;
    client.emulator.control("POST", "tokens/revoke", json!({})).await;
    for fault in ["commit_then_drop", "truncate"] {
        client.get_in_vain(fault).await;
        client.pass();
    }
    assert_eq!(client.get().await, 401);
    assert!(client.rules().await.is_empty(), "it hears of it for the first time");
    client.pass();
    client.get_in_vain("commit_then_drop").await;
    let rules = client.rules().await;
    assert_eq!(rules[0]["rule"], "dead_token_reused", "by now it knows");
    assert_eq!(rules[0]["requests"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_token_that_did_not_arrive_is_minted_again_with_good_reason() {
    let emulator = Running::start().await;
    let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    for _ in 0..5 {
        let fault = json!({ "fault": "commit_then_drop", "path": "/oauth/token", "count": 1 });
        emulator.control("POST", "faults", fault).await;
        let assertion = emulator.sign(&emulator.claims());
        let form = [("grant_type", grant), ("assertion", assertion.as_str())];
        let url = format!("{}/oauth/token", emulator.ready.oauth_url);
        emulator.http.post(url).form(&form).send().await.unwrap_err();
    }
    emulator.access_token().await;
    assert_eq!(emulator.control("GET", "rules", json!({})).await["rules"], json!([]));
}

#[tokio::test]
async fn a_verdict_shows_its_requests_with_what_they_were_answered() {
    let emulator = Running::start().await;
    for _ in 0..4 {
        emulator.access_token().await;
    }
    let rules = emulator.control("GET", "rules", json!({})).await;
    assert_eq!(rules["rules"][0]["rule"], "mint_per_call", "{rules}");
    let requests = rules["rules"][0]["requests"].as_array().unwrap();
    let statuses: Vec<_> = requests.iter().map(|request| request["status"].as_u64()).collect();
    assert_eq!(statuses, [Some(200); 4]);
}

#[tokio::test]
async fn what_was_read_before_the_clock_was_set_back_is_forgotten() {
    let client = Client::start().await;
    let draft = json!({ "emailSubject": "x" });
    let made = client.emulator.call("POST", "/envelopes", &client.token, Some(draft)).await;
    let id = made.json::<Value>().await.unwrap()["envelopeId"].as_str().unwrap().to_owned();
    let read = async || {
        let path = format!("/envelopes/{id}");
        client.emulator.call("GET", &path, &client.token, None).await.status().as_u16()
    };
    let move_clock = async |seconds: i64| {
        client.emulator.control("POST", "clock", json!({ "advance_s": seconds })).await;
    };
    assert_eq!(read().await, 200);
    move_clock(-3_000).await;
    // The time of the first read comes again.
    move_clock(3_060).await;
    assert_eq!(read().await, 200);
    assert!(client.rules().await.is_empty());
    move_clock(60).await;
    assert_eq!(read().await, 200);
    assert_eq!(client.rules().await[0]["rule"], "polling");
}
