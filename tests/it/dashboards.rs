//! What operators look at, against a real Prometheus that scrapes a demo under load: every query of the
//! dashboard gives something, every rule can be evaluated, and no name in either is one that we do not have.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    harness::{TempDir, http_client},
    left_out::leave_out,
    waiting::read_ready,
};

const DASHBOARD: &str = include_str!("../../deploy/grafana/countersign.json");
const RULES: &str = include_str!("../../deploy/prometheus/alerts.yml");

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The queries of the dashboard, as Grafana would send them for all instances.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut all = Vec::new();
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = target["expr"].as_str().unwrap();
            let text = text.replace("$instance", ".*").replace("$__rate_interval", "10s");
            assert!(!text.contains('$'), "a variable that nothing fills: {text}");
            all.push((panel["title"].as_str().unwrap().to_owned(), text));
        }
    }
    assert!(all.len() > 20);
    all
}

/// The names of ours in a text, without what Prometheus adds to those of histograms.
fn names(text: &str) -> BTreeSet<String> {
    let is_of_a_name = |c: char| !(c.is_ascii_lowercase() || c == '_');
    let words = text.split(is_of_a_name).filter(|word| word.starts_with("countersign_"));
    words.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

#[test]
fn dashboard_and_rules_name_only_metrics_that_exist_and_leave_none_of_importance_out() {
    let metrics = countersign::telemetry::metrics::Metrics::new(&["system"]);
    let contract = include_str!(
        "../../src/telemetry/metrics/snapshots/countersign__telemetry__metrics__tests__names_labels_and_kinds_are_a_contract.snap"
    );
    assert!(metrics.render().contains("countersign_build_info"));
    let known: BTreeSet<String> = contract
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect();
    let used: BTreeSet<String> = names(DASHBOARD).union(&names(RULES)).cloned().collect();
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "not among our metrics: {unknown:?}");
    // Those of the process are its platform's; these say what another one that is shown says, too.
    let elsewhere = ["countersign_clock_offset_error_seconds", "countersign_token_expiry_timestamp_seconds"];
    let unseen = known.difference(&used).filter(|name| name.starts_with("countersign_"));
    assert_eq!(unseen.collect::<Vec<_>>(), elsewhere, "neither on the dashboard nor in an alert");
}

#[tokio::test]
async fn every_query_of_the_dashboard_gives_something_of_a_demo_under_load() {
    if Command::new("prometheus").arg("--version").output().is_err() {
        leave_out("prometheus cannot be started");
        return;
    }
    let folder = TempDir::new();
    let demo = folder.0.join("demo.json");
    let _demo = Killed(
        Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["demo", "--site", "127.0.0.1:0", "--ready-file"])
            .arg(&demo)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let demo = read_ready(&demo).await;
    let (prometheus, _running) = prometheus(&folder.0, demo["ops_url"].as_str().unwrap());
    hook(&demo).await;
    for round in 0..6 {
        journey(&demo, round).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let client = http_client();
    let mut empty = Vec::new();
    // What was counted is seen at the next scrape, and a rate needs two.
    for _ in 0..40 {
        empty.clear();
        for (panel, query) in queries() {
            let url = url::Url::parse_with_params(&format!("{prometheus}/api/v1/query"), [("query", &query)])
                .unwrap();
            let Ok(answer) = client.get(url).send().await else {
                empty.push(format!("{panel}: no answer"));
                continue;
            };
            let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default();
            assert_ne!(answer["status"], "error", "{panel}: {query}: {answer}");
            let results = answer["data"]["result"].as_array().cloned().unwrap_or_default();
            let is_number = |one: &Value| one["value"][1].as_str().is_some_and(|text| text != "NaN");
            if !results.iter().any(is_number) {
                empty.push(format!("{panel}: {query}"));
            }
        }
        if empty.is_empty() {
            break;
        }
        journey(&demo, 99).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(empty.is_empty(), "nothing came of:\n{}", empty.join("\n"));
    an_exemplar_arrives(&demo, &prometheus).await;
    let rules = client.get(format!("{prometheus}/api/v1/rules")).send().await.unwrap().text().await.unwrap();
    let rules: Value = serde_json::from_str(&rules).unwrap();
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap().clone();
    assert_eq!(rules.len(), RULES.matches("- alert:").count());
    for rule in &rules {
        assert_ne!(rule["health"], "err", "{rule}");
        assert_ne!(rule["state"], "firing", "a demo that is well: {rule}");
    }
}

/// A call of a caller that traces, until Prometheus has its trace beside a bucket of the durations.
async fn an_exemplar_arrives(demo: &Value, prometheus: &str) {
    let (trace, client) = ("4bf92f3577b34da6a3ce929d0e0e4736", http_client());
    let url =
        format!("{prometheus}/api/v1/query_exemplars?query=countersign_http_request_duration_seconds_bucket");
    let mut found = String::new();
    for _ in 0..100 {
        let list = client.get(format!("{}/v1/signings", demo["api_url"].as_str().unwrap()));
        let list = list.bearer_auth(demo["caller_key"].as_str().unwrap());
        list.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01")).send().await.unwrap();
        found = client.get(&url).send().await.unwrap().text().await.unwrap();
        if found.contains(trace) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no exemplar came: {found}");
}

/// A Prometheus that scrapes the demo five times a second.
fn prometheus(folder: &Path, ops: &str) -> (String, Killed) {
    let target = ops.strip_prefix("http://").unwrap();
    std::fs::write(folder.join("alerts.yml"), RULES).unwrap();
    let config = format!(
        "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 500ms }}\n\
         rule_files: [{}]\n\
         scrape_configs:\n  - job_name: countersign\n    static_configs: [{{ targets: [\"{target}\"] }}]\n",
        folder.join("alerts.yml").display()
    );
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    let port = crate::ports::free_port();
    let running = Command::new("prometheus")
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--enable-feature=exemplar-storage")
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join("prometheus.log")).unwrap())
        .spawn()
        .unwrap();
    (format!("http://127.0.0.1:{port}"), Killed(running))
}

/// An endpoint that nobody answers at: attempts are what the dashboard shows.
async fn hook(demo: &Value) {
    let url = format!("{}/v1/webhook_endpoints", demo["api_url"].as_str().unwrap());
    let body = serde_json::json!({ "url": "http://127.0.0.1:9/hook", "allow_private": true });
    let request = http_client().post(url).bearer_auth(demo["caller_key"].as_str().unwrap());
    let answer =
        request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

/// One order from the create to the return, with a link opened and a webhook endpoint to tell.
async fn journey(demo: &Value, round: usize) {
    let text = |name: &str| demo[name].as_str().unwrap_or_default().to_owned();
    let (api, key, client) = (text("api_url"), text("caller_key"), http_client());
    let post = async |url: String, body: Value| {
        let request = client.post(url).bearer_auth(&key).header("content-type", "application/json");
        let key = format!("dashboard-{round}-{}", uuid::Uuid::new_v4().simple());
        let answer = request.header("idempotency-key", key).body(body.to_string()).send().await.unwrap();
        serde_json::from_str::<Value>(&answer.text().await.unwrap_or_default()).unwrap_or_default()
    };
    let mut order = crate::harness::order();
    order["signers"][0].as_object_mut().unwrap().remove("return_url");
    let made = post(format!("{api}/v1/signings"), order).await;
    let Some(link) = made["signers"][0]["link"]["url"].as_str() else { panic!("{made}") };
    client.get(link).send().await.unwrap();
    let signers = client.get(format!("{}/_test/signers", text("control_url"))).send().await.unwrap();
    let signers: Value = serde_json::from_str(&signers.text().await.unwrap()).unwrap();
    let envelope = &made["provider"]["envelope_id"];
    let all = signers["signers"].as_array().unwrap();
    let signer =
        all.iter().find(|signer| signer["envelope_id"] == *envelope).unwrap_or_else(|| panic!("{signers}"));
    let id =
        signer["recipient_id_guid"].as_str().or(signer["id"].as_str()).unwrap_or_else(|| panic!("{signer}"));
    let done = client.post(format!("{}/_test/signers/{id}/sign", text("control_url"))).body("{}");
    let done = done.header("content-type", "application/json").send().await.unwrap();
    let done: Value = serde_json::from_str(&done.text().await.unwrap()).unwrap_or_default();
    client.get(done["redirect_url"].as_str().unwrap()).send().await.unwrap();
}
