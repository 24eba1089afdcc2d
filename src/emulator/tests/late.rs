//! Answers that come late or never, to clients that do not wait: what is done by then, and what is held against them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::emulator::testing::Running;

/// Longer than anybody waits.
const AN_HOUR_MS: u64 = 3_600_000;

const CREATE: &str = r#"{"emailSubject": "x", "transactionId": "t1"}"#;

/// A client whose patience ends.
struct Client {
    emulator: Running,
    token: String,
}

impl Client {
    async fn start() -> Self {
        let emulator = Running::start().await;
        let token = emulator.access_token().await;
        emulator.control("DELETE", "requests", json!({})).await;
        Self { emulator, token }
    }

    async fn arm(&self, fault: &str, path: &str) {
        let fault = json!({ "fault": fault, "delay_ms": AN_HOUR_MS, "path": path, "count": 1 });
        self.emulator.control("POST", "faults", fault).await;
    }

    /// The statuses in the log, oldest first.
    async fn log(&self) -> Vec<Value> {
        let log = self.emulator.control("GET", "requests", json!({})).await;
        log["requests"].as_array().unwrap().iter().map(|entry| entry["status"].clone()).collect()
    }

    /// Sends a request and, once the log is so long and ends with this status, leaves without an answer. The
    /// connection is closed when this comes back.
    async fn leave(&self, path: &str, media_type: &str, body: &str, (length, status): (usize, Value)) {
        let host = self.emulator.ready.base_url.strip_prefix("http://").unwrap();
        let mut socket = tokio::net::TcpStream::connect(host).await.unwrap();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nContent-Type: {media_type}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let left = async {
            loop {
                let log = self.log().await;
                if log.len() == length && log.last() == Some(&status) {
                    break;
                }
            }
            socket.shutdown().await.unwrap();
            let mut answer = Vec::new();
            // Closed or reset: in either case nothing is answered.
            let _ = socket.read_to_end(&mut answer).await;
            answer
        };
        let answer =
            tokio::time::timeout(Duration::from_secs(20), left).await.expect("nobody waits for an hour");
        assert_eq!(String::from_utf8_lossy(&answer), "");
    }

    /// Creates an envelope and leaves.
    async fn create_in_vain(&self, status: Value) {
        let path = format!("/restapi/v2.1/accounts/{}/envelopes", self.emulator.ready.account_id);
        self.leave(&path, "application/json", CREATE, (1, status)).await;
    }

    /// Asks for the users.
    async fn users(&self) -> u16 {
        self.emulator.call("GET", "/users", &self.token, None).await.status().as_u16()
    }

    /// More time than calls under way are forgiven for.
    fn pass(&self) {
        self.emulator.clock.advance(Duration::from_secs(2));
    }

    async fn rules(&self) -> Value {
        self.emulator.control("GET", "rules", json!({})).await["rules"].clone()
    }

    /// How many envelopes are found by the transaction id.
    async fn found(&self) -> Value {
        let listed = self.emulator.call("GET", "/envelopes?transaction_ids=t1", &self.token, None).await;
        listed.json::<Value>().await.unwrap()["resultSetSize"].clone()
    }
}

#[tokio::test]
async fn what_was_asked_for_is_done_before_a_late_answer_and_stays_when_its_client_has_left() {
    let client = Client::start().await;
    client.arm("delay", "/envelopes").await;
    client.create_in_vain(json!(201)).await;
    assert_eq!(client.found().await, "1");
    assert_eq!(client.log().await[0], 201, "what would have been answered");
    assert_eq!(client.rules().await, json!([]));
    // Whoever makes it again, and does not look, is found out.
    let create: Value = serde_json::from_str(CREATE).unwrap();
    let again = client.emulator.call("POST", "/envelopes", &client.token, Some(create)).await;
    assert_eq!(again.status(), 201);
    let rules = client.rules().await;
    assert_eq!(rules[0]["rule"], "create_repeated", "{rules}");
}

#[tokio::test]
async fn a_delay_is_on_top_of_a_connection_that_is_cut_when_the_work_is_done() {
    let client = Client::start().await;
    client.arm("delay", "/envelopes").await;
    client.arm("commit_then_drop", "/envelopes").await;
    client.create_in_vain(Value::Null).await;
    assert_eq!(client.found().await, "1");
}

#[tokio::test]
async fn nothing_is_done_of_what_stalls() {
    for others in [Vec::new(), vec!["delay"]] {
        let client = Client::start().await;
        client.arm("stall", "/envelopes").await;
        for other in &others {
            client.arm(other, "/envelopes").await;
        }
        client.create_in_vain(Value::Null).await;
        assert_eq!(client.found().await, "0", "{others:?}");
        assert_eq!(client.log().await[0], Value::Null, "{others:?}");
    }
}

#[tokio::test]
async fn tokens_that_came_too_late_are_minted_again_with_good_reason() {
    let client = Client::start().await;
    let assertion = client.emulator.sign(&client.emulator.claims());
    let form = format!("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion={assertion}");
    for number in 1..=5 {
        client.arm("delay", "/oauth/token").await;
        client.leave("/oauth/token", "application/x-www-form-urlencoded", &form, (number, json!(200))).await;
    }
    client.emulator.access_token().await;
    assert_eq!(client.rules().await, json!([]));
}

#[tokio::test]
async fn a_limit_error_that_came_too_late_is_none_that_its_client_was_told_of() {
    let client = Client::start().await;
    client.emulator.control("POST", "limits", json!({ "hourly": 1 })).await;
    client.found().await;
    client.arm("delay", "/envelopes").await;
    let path = format!("/restapi/v2.1/accounts/{}/envelopes", client.emulator.ready.account_id);
    client.leave(&path, "application/json", CREATE, (2, json!(400))).await;
    client.pass();
    client.found().await;
    assert_eq!(client.log().await[2], 400);
    assert_eq!(client.rules().await, json!([]));
}

/// The control calls after which every call is refused, with the status, and the rule that is broken by calling on.
fn refusals() -> [(&'static str, Value, u16, &'static str); 2] {
    [
        ("limits", json!({ "hourly": 0 }), 400, "limit_ignored"),
        ("tokens/revoke", json!({}), 401, "dead_token_reused"),
    ]
}

#[tokio::test]
async fn a_refusal_that_is_still_to_come_is_not_held_against_the_client_that_waits_for_it() {
    for (path, body, status, _) in refusals() {
        let client = Client::start().await;
        client.emulator.control("POST", path, body).await;
        client.arm("delay", "/users").await;
        let meanwhile = async {
            while client.log().await != [json!(status)] {}
            client.pass();
            assert_eq!(client.users().await, status);
            assert_eq!(client.rules().await, json!([]), "{path}");
        };
        let both = async {
            tokio::select! {
                answered = client.users() => panic!("{answered} within the hour"),
                () = meanwhile => {}
            }
        };
        tokio::time::timeout(Duration::from_secs(20), both).await.expect("nobody waits for an hour");
    }
}

#[tokio::test]
async fn a_late_refusal_is_held_against_a_client_that_has_it() {
    for (path, body, status, rule) in refusals() {
        let client = Client::start().await;
        client.emulator.control("POST", path, body).await;
        let fault = json!({ "fault": "delay", "delay_ms": 1, "path": "/users", "count": 1 });
        client.emulator.control("POST", "faults", fault).await;
        assert_eq!(client.users().await, status);
        assert_eq!(client.rules().await, json!([]), "{path}");
        client.pass();
        assert_eq!(client.users().await, status);
        let rules = client.rules().await;
        assert_eq!(rules[0]["rule"], rule, "{rules}");
        assert_eq!(rules[0]["requests"].as_array().unwrap().len(), 2);
    }
}
