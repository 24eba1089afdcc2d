//! The emulator as a test sees it: what it is told to do, what it got, and what must not be left of that at the end.

use std::sync::atomic::Ordering;

use http::Method;
use serde_json::{Value, json};

use crate::harness::TestDaemon;

impl TestDaemon {
    /// The emulator's control interface.
    pub(crate) async fn control(&self, method: Method, path: &str, body: &Value) -> Value {
        if (&method, path) == (&Method::DELETE, "faults") {
            // Afterwards nobody knows any more.
            self.fired_every_fault();
        }
        let url = format!("{}/_test/{path}", self.emulator.ready().control_url);
        let headers = [("content-type", "application/json")];
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        let reply = self.call(method, &url, None, &headers, body).await;
        assert!(reply.status.is_success(), "{path}: {}", reply.text);
        reply.body
    }

    pub(crate) async fn fault(&self, fault: &Value) {
        self.control(Method::POST, "faults", fault).await;
    }

    /// From here on a fault need not fire: one that keeps away what comes only now and then, or never.
    pub(crate) fn faults_may_wait(&self) {
        self.faults_may_wait.store(true, Ordering::Relaxed);
    }

    /// From here on rules of DocuSign's may be broken: by what the test does itself, or has done on purpose.
    pub(crate) fn rules_may_break(&self) {
        self.rules_may_break.store(true, Ordering::Relaxed);
    }

    pub(super) fn fired_every_fault(&self) {
        let all = self.told("faults");
        let idle: Vec<_> = all.iter().filter(|fault| fault["fired"] == 0).collect();
        assert!(
            self.faults_may_wait.load(Ordering::Relaxed) || idle.is_empty(),
            "armed, and never fired: {idle:?}"
        );
    }

    /// But for needless tokens: where the clock is moved by hand many die unused. Tests of rule T1 count them.
    pub(super) fn kept_every_rule(&self) {
        let all = self.told("rules");
        let broken: Vec<_> = all.iter().filter(|rule| rule["rule"] != "mint_per_call").collect();
        assert!(
            self.rules_may_break.load(Ordering::Relaxed) || broken.is_empty(),
            "rules of DocuSign's were broken: {broken:#?}"
        );
    }

    /// A list of the emulator's control interface, without waiting.
    fn told(&self, what: &str) -> Vec<Value> {
        let answer = self.emulator.in_memory().control(Method::GET, what, &Value::Null);
        let list: Value = serde_json::from_slice(answer.body()).unwrap();
        list[what].as_array().unwrap().clone()
    }

    /// The next create meets this fault.
    pub(crate) async fn fault_create(&self, fault: &str) {
        self.fault(&json!({"fault": fault, "method": "POST", "path": "/envelopes", "count": 1})).await;
    }

    /// The requests that the emulator got, as "METHOD path".
    pub(crate) async fn requests(&self) -> Vec<String> {
        let all = self.control(Method::GET, "requests", &Value::Null).await;
        let line = |one: &Value| {
            format!(
                "{} {}",
                one["method"].as_str().unwrap_or_default(),
                one["path"].as_str().unwrap_or_default()
            )
        };
        all["requests"].as_array().unwrap().iter().map(line).collect()
    }

    /// How often the emulator answered requests of this path with this status.
    pub(crate) async fn answered(&self, path: &str, status: u64) -> usize {
        let all = self.control(Method::GET, "requests", &Value::Null).await;
        let all = all["requests"].as_array().unwrap();
        all.iter().filter(|one| one["path"] == path && one["status"] == status).count()
    }

    /// Tokens given out; the sender without consent is refused and does not count.
    pub(crate) async fn mints(&self) -> usize {
        self.answered("/oauth/token", 200).await
    }

    /// How often the account server said that the consent of `unconsented` is missing.
    pub(crate) async fn refusals(&self) -> usize {
        self.answered("/oauth/token", 400).await
    }

    pub(crate) async fn forget_requests(&self) {
        self.control(Method::DELETE, "requests", &Value::Null).await;
    }

    /// How many envelopes the emulator has made.
    pub(crate) async fn envelopes(&self) -> usize {
        let signers = self.control(Method::GET, "signers", &Value::Null).await;
        let signers = signers["signers"].as_array().cloned().unwrap_or_default();
        let ids: std::collections::HashSet<_> = signers
            .iter()
            .map(|signer| signer["envelope_id"].as_str().unwrap_or_default().to_owned())
            .collect();
        ids.len()
    }
}
