//! `deploy/faults/EMULATED.md` against the emulator: nothing is left out, and nothing is made up; and the plans of
//! faults beside it can be read.

use std::{collections::BTreeSet, fs, path::Path};

use countersign::emulator::{FaultKind, read_plan};
use serde_json::{Value, json};

use crate::{
    emulated::Emulated,
    harness::{TempDir, TestDaemon, http_client},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    fs::read_to_string(root().join("deploy/faults/EMULATED.md")).unwrap()
}

/// The text of every source file of the emulator without its tests.
fn sources() -> Vec<String> {
    let (mut folders, mut texts) = (vec![root().join("src/emulator")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with("test") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = fs::read_to_string(path).unwrap();
                texts.push(text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned());
            }
        }
    }
    texts
}

/// What stands between double quotes.
fn literals(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}

#[test]
fn every_error_code_and_every_way_back_is_on_the_page() {
    let page = page();
    let is_code = |text: &&str| {
        text.len() > 7
            && text.contains('_')
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    let sources = sources();
    let codes: BTreeSet<&str> = sources.iter().flat_map(|text| literals(text)).filter(is_code).collect();
    let codes: Vec<_> = codes.into_iter().filter(|code| !code.starts_with("CARGO_")).collect();
    assert!(codes.len() > 30, "{codes:?}");
    let missing: Vec<_> = codes.iter().filter(|code| !page.contains(&format!("`{code}`"))).collect();
    assert!(missing.is_empty(), "not in deploy/faults/EMULATED.md: {missing:?}");
    // (`event` in the return URL, member of clientURLs)
    let ends = sources
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| line.contains("=> (\"") && line.contains("\"on"));
    let events: Vec<_> = ends.filter_map(|line| literals(line).next()).collect();
    assert_eq!(events.len(), 10, "{events:?}");
    let missing: Vec<_> = events.iter().filter(|event| !page.contains(&format!("| `{event}` |"))).collect();
    assert!(missing.is_empty(), "not in deploy/faults/EMULATED.md: {missing:?}");
}

/// The words of paths in the arms of the emulator's routers.
fn routed() -> BTreeSet<String> {
    let sources = sources();
    let arms = sources.iter().flat_map(|text| text.lines()).map(str::trim).filter(|line| {
        let is_pattern = line.starts_with("[\"") || line.starts_with("([\"") || line.starts_with("[id");
        is_pattern && line.contains("=>")
    });
    let patterns = arms.filter_map(|line| line.split("=>").next());
    patterns.flat_map(literals).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[test]
fn every_word_of_the_routers_is_in_a_path_of_the_page() {
    let (page, routed) = (page(), routed());
    // What is listed as missing does not tell what is there.
    let page = page.split("### Calls that are answered with 501").next().unwrap();
    assert!(routed.len() > 30 && routed.contains("audit_events"), "{routed:?}");
    let missing: Vec<_> = routed.iter().filter(|word| !page.contains(&format!("/{word}"))).collect();
    assert!(missing.is_empty(), "not in deploy/faults/EMULATED.md: {missing:?}");
}

/// Methods and paths between backquotes, as `GET /users/{user}`.
fn promised(page: &str) -> Vec<(String, String)> {
    let spans = page.split('`').skip(1).step_by(2).filter_map(|span| span.split_once(' '));
    let calls = spans.filter(|(method, path)| {
        ["GET", "POST", "PUT", "DELETE"].contains(method)
            && path.starts_with('/')
            && !path.starts_with("/_test")
    });
    calls.map(|(method, path)| (method.to_owned(), path.to_owned())).collect()
}

#[tokio::test]
async fn every_path_of_the_page_is_answered_by_the_emulator() {
    let daemon = TestDaemon::start().await;
    // The test is a client that tries everything.
    daemon.rules_may_break();
    let ready = daemon.emulator.ready().clone();
    let created = daemon.create("there", &crate::harness::order()).await;
    let envelope = created.body["provider"]["envelope_id"].as_str().unwrap().to_owned();
    let token = daemon.parts().auth.token("system").await.unwrap();
    let calls = promised(&page());
    assert!(calls.len() > 45, "{calls:?}");
    for (method, path) in calls {
        let is_whole = ["/oauth", "/logout", "/restapi", "/Signing", "/.well-known"]
            .iter()
            .any(|it| path.starts_with(it));
        let below = format!("/restapi/v2.1/accounts/{}{path}", ready.account_id);
        let path = if is_whole { path } else { below };
        let path = path
            .replace("{envelope}", &envelope)
            .replace("{user}", &ready.user_id)
            .replace("{template}", &ready.template_id)
            .replace("{signature}", "00000000-0000-4000-8000-000000000000")
            .replace("{recipient}", "9")
            .replace("{document}", "1");
        let request = http_client().request(method.parse().unwrap(), format!("{}{path}", ready.oauth_url));
        let request =
            request.header("authorization", token.header()).header("content-type", "application/json");
        let answer = request.body("{}").send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert!(
            !text.contains("does not resolve to a resource") && status != 405 && status != 501,
            "{method} {path}: {status} {text}"
        );
    }
}

#[tokio::test]
async fn every_control_call_fault_and_rule_is_on_the_page() {
    let (daemon, page) = (TestDaemon::start().await, page());
    let index = daemon.control(http::Method::GET, "", &Value::Null).await;
    for call in index["calls"].as_array().unwrap() {
        let call = format!("`{} {}`", call["method"].as_str().unwrap(), call["path"].as_str().unwrap());
        assert!(page.contains(&call), "{call} is not in deploy/faults/EMULATED.md");
    }
    let kinds = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let known = kinds.filter(|kind| serde_json::from_value::<FaultKind>(json!(kind)).is_ok()).count();
    assert_eq!(known, 14, "a row for each fault");
    let sources = sources();
    let judge = sources.iter().find(|text| text.contains("pub(super) enum Rule {")).unwrap();
    let rules = judge.split("pub(super) enum Rule {").nth(1).unwrap().split('}').next().unwrap();
    let rules: Vec<String> =
        rules.lines().filter_map(|line| line.trim().strip_suffix(',')).map(snake_case).collect();
    assert_eq!(rules.len(), 6, "{rules:?}");
    let missing: Vec<_> = rules.iter().filter(|rule| !page.contains(&format!("| `{rule}` |"))).collect();
    assert!(missing.is_empty(), "not in deploy/faults/EMULATED.md: {missing:?}");
}

fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

#[test]
fn every_plan_of_faults_that_we_hand_out_can_be_read() {
    let plans = fs::read_dir(root().join("deploy/faults")).unwrap().map(|entry| entry.unwrap().path());
    let plans: Vec<_> = plans.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    assert!(plans.len() >= 5, "{plans:?}");
    for path in plans {
        let plan = read_plan(&fs::read_to_string(&path).unwrap());
        let plan = plan.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!plan.is_empty(), "{}", path.display());
    }
}

/// What is armed in an emulator that was started with this plan and seed, and what it answers to the same calls.
async fn answers(plan: &Path, seed: &str) -> (Value, Vec<u16>) {
    let emulated = Emulated::start_with(&["--seed", seed, "--faults", plan.to_str().unwrap()]).await;
    let armed = emulated.control("GET", "faults", &Value::Null).await;
    let (client, url) = (http_client(), format!("{}/oauth/userinfo", emulated.entry("oauth_url")));
    let mut statuses = Vec::new();
    for _ in 0..60 {
        statuses.push(client.get(&url).send().await.unwrap().status().as_u16());
    }
    (armed, statuses)
}

#[tokio::test]
async fn a_plan_of_faults_is_armed_from_the_start_and_a_seed_repeats_it() {
    let folder = TempDir::new();
    let plan = folder.0.join("plan.toml");
    let text = "[[fault]]\nfault = \"status\"\nstatus = 503\npath = \"/oauth/userinfo\"\nrate = 0.4\n";
    fs::write(&plan, text).unwrap();
    let (armed, first) = answers(&plan, "7").await;
    assert_eq!(armed["faults"].as_array().unwrap().len(), 1, "{armed}");
    assert_eq!(answers(&plan, "7").await.1, first);
    assert_ne!(answers(&plan, "8").await.1, first);
    let fired = first.iter().filter(|status| **status == 503).count();
    assert!((8..=40).contains(&fired), "{first:?}");
    // One that is handed out, as its users start it.
    let (armed, _) = answers(&root().join("deploy/faults/lost-answers.toml"), "1").await;
    let plan = read_plan(&fs::read_to_string(root().join("deploy/faults/lost-answers.toml")).unwrap());
    assert_eq!(armed["faults"].as_array().unwrap().len(), plan.unwrap().len(), "{armed}");
}
