//! Consent as people give it (rule T11): by the emulator's pages, with the real binary, and what the daemon
//! makes of a consent that goes away.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use countersign::clock::Clock as _;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use url::Url;

use crate::{
    emulated::Emulated,
    harness::{TestDaemon, http_client},
    waiting::{eventually, read_ready},
};

/// The key of the caller in `config/local.toml`.
const LOCAL_KEY: &str = "cs_DVo8fu2h_8Q2zyEOCXi5UIxYZ6bYnOFUK3Agt5uR7l0";

/// Goes through the consent page as this user, and on to where it sends the browser; answers that page.
pub(crate) async fn give(link: &str, user: &str, action: &str) -> String {
    let client = http_client();
    let asked = Url::parse(link).unwrap();
    let carried: Vec<(String, String)> = asked.query_pairs().into_owned().collect();
    let post = async |more: (&str, &str), cookie: Option<String>| {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(&carried).append_pair(more.0, more.1);
        let request = client
            .post(format!("{}/oauth/auth", asked.origin().ascii_serialization()))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.finish());
        match cookie {
            Some(cookie) => request.header(header::COOKIE, cookie),
            None => request,
        }
        .send()
        .await
        .unwrap()
    };
    let signed_in = post(("user", user), None).await;
    let cookie = signed_in.headers()[header::SET_COOKIE].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let mut answer = signed_in;
    if !answer.status().is_redirection() {
        answer = post(("action", action), Some(cookie)).await;
    }
    let back = answer.headers()[header::LOCATION].to_str().unwrap().to_owned();
    client.get(back).send().await.unwrap().text().await.unwrap()
}

/// `serve` in a process of its own, on ports that its settings name.
pub(crate) struct Served {
    process: Child,
    ready: Value,
    ports: [u16; 2],
}

impl Served {
    pub(crate) async fn start(emulated: &Emulated) -> Self {
        Self::start_with(emulated, &[]).await
    }

    pub(crate) async fn start_with(emulated: &Emulated, more: &[(&str, &str)]) -> Self {
        let ports = [crate::ports::free_port(), crate::ports::free_port()];
        let mut served = Self { process: spawn(emulated, ports, more), ready: Value::Null, ports };
        let file = emulated.directory().join("serve.json");
        served.ready = read_ready(&file).await;
        served
    }

    /// What the settings need, so that other commands see this daemon.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        environment(self.ports)
    }

    /// One of its listeners.
    pub(crate) fn entry(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap()
    }

    async fn call(&self, method: Method, path: &str) -> Value {
        let url = format!("{}{path}", self.entry("api_url"));
        let request = http_client().request(method, url).bearer_auth(LOCAL_KEY);
        let request = request.header(header::CONTENT_TYPE, "application/json").body("{}");
        serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap()
    }

    /// The link on which the sender's user consents.
    pub(crate) async fn link(&self) -> String {
        let shown = self.call(Method::GET, "/v1/senders/system/consent").await;
        shown["individual_url"].as_str().unwrap_or_else(|| panic!("{shown}")).to_owned()
    }

    /// Asks for a signing that the sender cannot send; answers the problem.
    pub(crate) async fn refused_create(&self, template: &str) -> Value {
        let body = json!({
            "sender": "system",
            "documents": [{ "template": template }],
            "signers": [{ "key": "visitor", "name": "Ada", "email": "ada@example.com", "role": "Client",
                "return_url": "http://localhost:3000/done" }],
        });
        let request = http_client().post(format!("{}/v1/signings", self.entry("api_url")));
        let request =
            request.bearer_auth(LOCAL_KEY).header("idempotency-key", "refused").body(body.to_string());
        let answer = request.header(header::CONTENT_TYPE, "application/json").send().await.unwrap();
        let status = answer.status();
        let problem = answer.text().await.unwrap();
        assert_eq!(status, StatusCode::CONFLICT, "{problem}");
        serde_json::from_str(&problem).unwrap()
    }

    /// Has the sender checked now.
    pub(crate) async fn check(&self) -> Value {
        self.call(Method::POST, "/v1/senders/system/check").await
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn environment([public, ops]: [u16; 2]) -> Vec<(&'static str, String)> {
    vec![
        ("COUNTERSIGN__PUBLIC__LISTEN", format!("127.0.0.1:{public}")),
        ("COUNTERSIGN__PUBLIC__BASE_URL", format!("http://127.0.0.1:{public}")),
        ("COUNTERSIGN__OPS__LISTEN", format!("127.0.0.1:{ops}")),
    ]
}

fn spawn(emulated: &Emulated, ports: [u16; 2], more: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["serve", "--ready-file", "serve.json", "--config"])
        .arg(emulated.settings())
        .current_dir(emulated.directory())
        .envs(environment(ports))
        .envs(more.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts")
}

#[tokio::test]
async fn t11_consent_wait_ends_within_seconds_of_the_grant() {
    let emulated = Emulated::start().await;
    emulated.control("POST", "consent", &json!({ "granted": false })).await;
    let mut waiting = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["consent", "--wait", "--timeout", "60", "--config"])
        .arg(emulated.settings())
        .current_dir(emulated.directory())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let asked = async || {
        let all = emulated.control("GET", "requests", &Value::Null).await;
        all["requests"].as_array().unwrap().len()
    };
    eventually("a request", async || asked().await > 0).await;
    assert!(waiting.try_wait().unwrap().is_none(), "it waits");
    emulated.control("POST", "consent", &json!({ "granted": true })).await;
    let ended = tokio::task::spawn_blocking(move || waiting.wait_with_output().unwrap());
    let output = tokio::time::timeout(Duration::from_secs(10), ended).await.expect("within seconds").unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("an administrator of a customer's organisation"), "{text}");
    // Exact for this environment, these scopes, this key and this callback; with our state on the personal one.
    let head = format!("{}/oauth/auth?response_type=code&scope=", emulated.entry("oauth_url"));
    let tail = format!(
        "&client_id={}&redirect_uri=http%3A%2F%2F127.0.0.1%3A8081%2Fconsent%2Fcallback",
        emulated.entry("integration_key")
    );
    assert!(text.contains(&format!("{head}signature%20impersonation{tail}&state=")), "{text}");
    assert!(
        text.contains(&format!("{head}openid&admin_consent_scope=signature%20impersonation{tail}\n")),
        "{text}"
    );
}

#[tokio::test]
async fn t11_the_links_of_a_daemon_without_an_address_are_taken_as_well() {
    let emulated = Emulated::start().await;
    let settings = std::fs::read_to_string(emulated.settings()).unwrap();
    let without = settings.replace("base_url = \"http://127.0.0.1:8081\"\n", "");
    assert_ne!(without, settings);
    std::fs::write(emulated.settings(), without).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["consent", "--config"])
        .arg(emulated.settings())
        .current_dir(emulated.directory())
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let links: Vec<&str> = text.lines().map(str::trim).filter(|line| line.contains("/oauth/auth?")).collect();
    assert_eq!(links.len(), 2, "{text}");
    for link in links {
        assert!(link.contains("redirect_uri=https%3A%2F%2Fwww.docusign.com"), "{link}");
        let page = http_client().get(link).send().await.unwrap();
        assert_eq!(page.status(), StatusCode::OK, "{link}: {}", page.text().await.unwrap());
    }
}

#[tokio::test]
async fn t11_consent_wait_says_what_else_is_in_the_way_and_goes_on() {
    let emulated = Emulated::start().await;
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["consent", "--wait", "--timeout", "2", "--config"])
        .arg(emulated.settings())
        .env("COUNTERSIGN__SENDERS__SYSTEM__USER_ID", "00000000-0000-4000-8000-000000000009")
        .current_dir(emulated.directory())
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.matches("waiting for consent: sender_unknown_user: ").count(), 1, "{said}");
    assert!(said.contains("no grant in time") && said.contains("user_id"), "{said}");
}

#[tokio::test]
async fn t11_a_consent_given_in_a_browser_makes_the_daemon_ready_at_once() {
    let emulated = Emulated::start().await;
    emulated.control("POST", "consent", &json!({ "granted": false })).await;
    let daemon = Served::start(&emulated).await;
    let link = daemon.link().await;
    let user = emulated.entry("user_id");
    assert!(give(&link, user, "cancel").await.contains("consent"), "a refusal has its page");
    let page = give(&link, user, "accept").await;
    assert!(page.contains("consent is granted"), "{page}");
    let readyz = format!("{}/readyz", daemon.entry("ops_url"));
    let ready = async {
        while http_client().get(&readyz).send().await.unwrap().status() != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ready).await.expect("ready within seconds of the grant");
}

#[tokio::test]
async fn t11_the_secret_of_a_confidential_app_goes_with_the_code_of_its_consent_page() {
    for (secret, is_taken) in [("emulator-secret-1", true), ("another-secret", false)] {
        let emulated = Emulated::start().await;
        emulated.control("POST", "consent", &json!({ "granted": false })).await;
        let settings = [("COUNTERSIGN__SENDERS__SYSTEM__CLIENT_SECRET", secret)];
        let daemon = Served::start_with(&emulated, &settings).await;
        let page = give(&daemon.link().await, emulated.entry("user_id"), "accept").await;
        assert_eq!(page.contains("consent is granted"), is_taken, "{secret}: {page}");
    }
}

/// What `/readyz` says of the sender.
async fn reason(daemon: &TestDaemon) -> Option<Value> {
    let reasons = daemon.ops("/readyz").await.body["reasons"].clone();
    reasons.as_array().unwrap().iter().find(|reason| reason["part"] == "sender.system").cloned()
}

async fn events(daemon: &TestDaemon) -> Vec<String> {
    let listed = daemon.get("/v1/events").await;
    let events = listed.body["data"].as_array().unwrap_or_else(|| panic!("{}", listed.text)).clone();
    let of_ours = events.iter().filter(|event| event["data"]["name"] == "system");
    of_ours.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn t11_withdrawn_consent_is_noticed_before_a_visitor_notices_and_told() {
    let daemon = TestDaemon::start().await;
    let gauge = "countersign_consent_granted{sender=\"system\"}";
    assert!(daemon.ops("/metrics").await.text.contains(&format!("{gauge} 1")));
    daemon.control(Method::POST, "consent", &json!({ "granted": false })).await;
    // The token lives on for an hour, as at the vendor; its refresh comes after half of that.
    daemon.clock.advance(Duration::from_secs(34 * 60));
    let is_noticed =
        async || reason(&daemon).await.is_some_and(|reason| reason["code"] == "consent_required");
    daemon.run_clock("the withdrawal", is_noticed).await;
    assert_eq!(reason(&daemon).await.unwrap()["status"], "degraded", "the token still works");
    assert!(daemon.ops("/metrics").await.text.contains(&format!("{gauge} 0")));
    let token = daemon.parts().auth.token("system").await;
    assert!(token.is_ok(), "a visitor notices nothing: {token:?}");
    daemon.run_clock("the event", async || events(&daemon).await == ["sender.consent_missing"]).await;

    daemon.control(Method::POST, "consent", &json!({ "granted": true })).await;
    // Mints keep a distance to one another, by the clock.
    let nothing = json!({});
    tokio::select! {
        _ = daemon.post("/v1/senders/system/check", &nothing) => {}
        () = daemon.run_clock("never", async || false) => unreachable!(),
    }
    daemon
        .run_clock("the recovery", async || {
            let mut told = events(&daemon).await;
            told.sort();
            told == ["sender.consent_missing", "sender.recovered"]
        })
        .await;
    assert!(reason(&daemon).await.is_none());
    assert!(daemon.ops("/metrics").await.text.contains(&format!("{gauge} 1")));
}

#[tokio::test]
async fn t11_an_idle_sender_stays_ready_and_its_consent_is_probed() {
    let daemon = TestDaemon::start().await;
    daemon.clock.advance(Duration::from_secs(86_400 + 60));
    let is_idle = async || daemon.parts().auth.status("system").unwrap().is_idle();
    daemon.until("idleness", is_idle).await;
    daemon.run_clock("a look", async || reason(&daemon).await.is_none()).await;
    daemon.control(Method::POST, "consent", &json!({ "granted": false })).await;
    daemon.clock.advance(Duration::from_secs(6 * 3_600 + 60));
    // It is asked again by itself, and so says when.
    let is_told = |reason: Value| reason["code"] == "consent_required" && !reason["next_try"].is_null();
    daemon.run_clock("the probe", async || reason(&daemon).await.is_some_and(is_told)).await;
    daemon.control(Method::POST, "consent", &json!({ "granted": true })).await;
    daemon.run_clock("the grant", async || reason(&daemon).await.is_none()).await;
    assert!(daemon.parts().auth.ready("system").is_some());
}

#[tokio::test]
async fn t11_without_a_callback_readyz_tells_of_a_grant_within_seconds_of_it() {
    let daemon = TestDaemon::start().await;
    let is_told = async || daemon.ops("/readyz").await.text.contains("consent_required");
    daemon.run_clock("the first refusal", async || is_told().await).await;
    // At slow pace the next look would be a minute and a half away at least.
    let late = daemon.clock.uptime() + Duration::from_secs(240);
    daemon.run_clock("minutes", async || daemon.clock.uptime() >= late).await;
    let user = &daemon.emulator.ready().no_consent_user_id;
    daemon.control(Method::POST, "consent", &json!({ "user_id": user, "granted": true })).await;
    let granted_at = daemon.clock.uptime();
    daemon.run_clock("the grant", async || !is_told().await).await;
    let waited = daemon.clock.uptime().saturating_sub(granted_at);
    assert!(waited <= Duration::from_secs(20), "{waited:?}");
}

#[tokio::test]
async fn t11_an_hour_in_which_nobody_consents_costs_few_exchanges() {
    let daemon = TestDaemon::start().await;
    daemon.until("the first refusal", async || daemon.refusals().await == 1).await;
    // For ten minutes it is looked for, and then slowly.
    daemon.pass(Duration::from_secs(5), 120).await;
    assert!((10..=121).contains(&daemon.refusals().await), "{}", daemon.refusals().await);
    daemon.forget_requests().await;
    daemon.pass(Duration::from_secs(10), 300).await;
    let later = daemon.refusals().await;
    assert!((3..=16).contains(&later), "in 50 min: {later}");
}

#[tokio::test]
async fn t11_without_a_callback_a_grant_is_seen_by_who_looks() {
    let daemon = TestDaemon::start().await;
    let consent = async || {
        let shown = daemon.get("/v1/senders/unconsented").await;
        shown.body["consent"].as_str().unwrap_or_else(|| panic!("{}", shown.text)).to_owned()
    };
    daemon.until("the first refusal", async || consent().await == "missing").await;
    let back = "redirect_uri=https%3A%2F%2Fa.example%2Fb";
    let links = daemon.get(&format!("/v1/senders/unconsented/consent?{back}")).await;
    assert_eq!(links.body["state"], "missing", "{}", links.text);
    let user = &daemon.emulator.ready().no_consent_user_id;
    daemon.control(Method::POST, "consent", &json!({ "user_id": user, "granted": true })).await;
    // The usual wait would be 48 s at least.
    daemon.clock.advance(Duration::from_secs(6));
    daemon.until("the grant", async || consent().await == "granted").await;
}

#[tokio::test]
async fn t11_an_answer_without_our_state_wakes_at_once_and_of_many_few_do() {
    let daemon = TestDaemon::builder().public().start().await;
    daemon.until("the first refusal", async || daemon.refusals().await == 1).await;
    // Until nobody looks for it quickly any more.
    daemon.pass(Duration::from_secs(5), 130).await;
    daemon.forget_requests().await;
    let callback = format!("{}/consent/callback", daemon.public.as_ref().unwrap());
    let answer = async || {
        let page = daemon.call(Method::GET, &callback, None, &[], Vec::new()).await;
        assert!(page.text.contains("We have your answer"), "{}", page.text);
    };
    for _ in 0..60 {
        answer().await;
        daemon.pass(Duration::from_secs(1), 1).await;
    }
    // Three at once, one in half a minute, and what would have come by itself.
    let tried = daemon.refusals().await;
    assert!((3..=6).contains(&tried), "{tried} in a minute");

    daemon.pass(Duration::from_secs(30), 1).await;
    let user = &daemon.emulator.ready().no_consent_user_id;
    daemon.control(Method::POST, "consent", &json!({ "user_id": user, "granted": true })).await;
    let granted_at = daemon.clock.uptime();
    answer().await;
    let is_told = async || daemon.ops("/readyz").await.text.contains("consent_required");
    daemon.run_clock_slowly("the grant", async || !is_told().await).await;
    let waited = daemon.clock.uptime().saturating_sub(granted_at);
    assert!(waited <= Duration::from_secs(20), "{waited:?}");
}
