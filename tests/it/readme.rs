//! The README keeps its word: every command in it is run, and the answer it shows is the answer. The links of all pages
//! lead somewhere.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use countersign::config::Config;
use serde_json::{Value, json};

use crate::{
    demo::{Demo, terminate},
    emulated::Emulated,
    harness::TempDir,
    waiting::read_ready,
};

const README: &str = include_str!("../../README.md");
/// Where the README's commands expect the website.
const SITE: &str = "http://127.0.0.1:8090";
/// 32 bytes, which the README has `openssl` make.
const SEAL_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// The commands and what runs each; a new command in the README needs an entry here.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Kind {
    Caller,
    Curl,
    Demo,
    Doctor,
    Emulate,
    Keygen,
    Serve,
    Tests,
}

#[test]
fn every_command_has_a_test() {
    let mut found: Vec<Kind> = blocks("sh").iter().map(|command| kind(command)).collect();
    found.sort();
    let all = [
        Kind::Caller,
        Kind::Curl,
        Kind::Demo,
        Kind::Doctor,
        Kind::Emulate,
        Kind::Keygen,
        Kind::Serve,
        Kind::Tests,
    ];
    assert_eq!(found, all, "each once");
    assert!(README.contains("`cargo run --release -- demo --walk`"), "run by the tests of the demo");
}

#[test]
fn the_one_call_fits_the_settings_for_trying_things_out() {
    let local = include_str!("../../config/local.toml");
    let call = command(Kind::Curl);
    assert!(call.contains("\"template\": \"nda\"") && local.contains("[templates]\nnda = "));
    assert!(call.contains(SITE) && local.contains(&format!("\"{SITE}\"")));
}

#[test]
fn the_script_that_runs_everything_is_there_and_is_what_ci_runs() {
    assert_eq!(command(Kind::Tests), "tests/run");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for script in ["tests/run", ".ci/run"] {
        let path = root.join(script);
        assert!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o100 != 0,
            "{script} is executable"
        );
        assert!(
            Command::new("bash").arg("-n").arg(&path).status().unwrap().success(),
            "{script} can be read"
        );
    }
    assert!(std::fs::read_to_string(root.join(".ci/run")).unwrap().contains("tests/run"));
}

#[tokio::test]
async fn the_demo_starts_and_the_call_gets_the_answer_that_is_shown() {
    assert_eq!(command(Kind::Demo), "cargo run --release -- demo");
    let demo = Demo::start("readme").await;
    let call = command(Kind::Curl).replace(SITE, demo.entry("site_url"));
    let mut shell = shell(&call, Path::new("/"));
    shell.env("COUNTERSIGN_URL", demo.entry("api_url")).env("COUNTERSIGN_KEY", demo.entry("caller_key"));
    let output = shell.output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let [shown] = blocks("json").try_into().expect("one answer");
    let shown: Value = serde_json::from_str(&shown).expect("the answer shown is JSON");
    assert_eq!(shape(&answer), shape(&shown), "{answer:#}");
    for (pointer, wanted) in
        [("/status", "open"), ("/reference", "order-8812"), ("/signers/0/status", "ready")]
    {
        assert_eq!(answer.pointer(pointer), Some(&wanted.into()), "{pointer}");
        assert_eq!(shown.pointer(pointer), Some(&wanted.into()), "{pointer}");
    }
    // The URL opens the ceremony.
    let view = answer.pointer("/signers/0/view/url").and_then(Value::as_str).unwrap();
    let page = Command::new("curl").args(["-sS", "-L", "--fail", view]).output().unwrap();
    assert!(page.status.success() && String::from_utf8_lossy(&page.stdout).contains("send_code"), "{page:?}");
}

/// Which answers the call has says the API's own document. An integrator must know of each that is no refusal.
#[test]
fn every_answer_of_the_one_call_is_explained() {
    let output = Command::new(env!("CARGO_BIN_EXE_countersign")).arg("openapi").output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let answers =
        document.pointer("/paths/~1v1~1signings/post/responses").and_then(Value::as_object).unwrap();
    // 200 is of a dry run.
    let taken: Vec<_> = answers.keys().filter(|it| it.starts_with('2') && *it != "200").collect();
    assert_eq!(taken, ["201", "202"]);
    for status in taken {
        assert!(README.contains(&format!("\n| `{status}` | ")), "{status}");
    }
    assert!(README.contains("where `view` is `null`"), "not every 201 has one");
}

#[test]
fn the_settings_that_are_shown_can_be_used() {
    let guid = "11111111-2222-4333-8444-555555555555";
    let values = [
        ("integration_key", guid),
        ("user_id", "66666666-7777-4888-8999-000000000000"),
        ("key_hash", "sha256:3f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046dea"),
        ("nda", guid),
        ("seal_key", SEAL_KEY),
    ];
    let whole = filled_in(&whole_settings(), &values);
    let config = Config::from_toml(&whole).unwrap_or_else(|error| panic!("{error}"));
    assert!(config.callers.contains_key("website") && config.templates.contains_key("nda"));
    let pieces = blocks("toml").into_iter().filter(|piece| *piece != whole_settings());
    for piece in pieces {
        let text = format!("{whole}\n{}", filled_in(&piece, &values));
        Config::from_toml(&text).unwrap_or_else(|error| panic!("{error}\n{piece}"));
    }
}

/// The settings file of the way to DocuSign; the other pieces are added to it.
fn whole_settings() -> String {
    blocks("toml").into_iter().find(|piece| piece.starts_with("[upstream]")).unwrap()
}

/// Settings with something in the place of each "…".
fn filled_in(piece: &str, values: &[(&str, &str)]) -> String {
    let mut text = piece
        .replace("hmac_keys = [\"…\"]", "hmac_keys = [\"a key of Connect\"]")
        .replace("client_secret_file = \"/etc/countersign/client_secret\"", "client_secret = \"a secret\"")
        .replace("whsec_…", &format!("whsec_{SEAL_KEY}"));
    for (key, value) in values {
        text = text.replace(&format!("{key} = \"…\""), &format!("{key} = \"{value}\""));
    }
    assert!(!text.contains('…'), "what is to be written here? {text}");
    text
}

#[tokio::test]
async fn the_emulator_starts_and_prints_what_is_promised() {
    let folder = TempDir::new();
    let command = command(Kind::Emulate).replace("cargo run --release --", "exec countersign");
    let ports = "--listen 127.0.0.1:0 --control 127.0.0.1:0 --ready-file ready.json";
    let emulator = shell(&format!("{command} {ports}"), &folder.0).stdout(Stdio::piped()).spawn().unwrap();
    read_ready(&folder.0.join("ready.json")).await;
    terminate(&emulator);
    let output = emulator.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let promised =
        ["REST base path", "integration key", "private key", "has consented", "template", "Python", "Node"];
    for word in promised {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(folder.0.join("emulator/ca.pem").exists(), "it speaks TLS");
}

/// That file with the emulator is what the tests of commands run: `Emulated`.
#[test]
fn the_two_commands_of_the_settings_for_trying_things_out_are_those_of_the_readme() {
    let local = include_str!("../../config/local.toml");
    for command in
        ["countersign emulate --state-dir emulator", "countersign serve --config config/local.toml"]
    {
        assert!(README.contains(&format!("`{command}`")), "{command}");
        assert!(local.contains(&format!("#   {command}\n")), "{command}");
    }
}

#[tokio::test]
async fn the_settings_for_trying_things_out_believe_the_emulator_and_serve_says_what_no_key_costs() {
    let emulated = Emulated::start().await;
    let settings = std::fs::read_to_string(emulated.settings()).unwrap();
    let key = format!("hmac_keys = [\"{}\"]", emulated.entry("connect_hmac_key"));
    assert!(include_str!("../../config/local.toml").contains(&key), "{key}");
    for (settings, is_deaf) in [(settings.clone(), false), (settings.replace(&key, "hmac_keys = []"), true)] {
        std::fs::write(emulated.settings(), settings).unwrap();
        let serve = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["serve", "--ready-file", "ready.json", "--config"])
            .arg(emulated.settings())
            .current_dir(emulated.directory())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let ready = emulated.directory().join("ready.json");
        read_ready(&ready).await;
        std::fs::remove_file(&ready).unwrap();
        terminate(&serve);
        let output = serve.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said.contains("set connect.hmac_keys"), is_deaf, "{said}");
    }
}

#[tokio::test]
async fn the_way_from_key_to_the_first_call_works_as_written() {
    let emulated = Emulated::start().await;
    let run = |wanted| towards(&emulated, command(wanted)).output().unwrap();
    let keygen = run(Kind::Keygen);
    assert!(keygen.status.success(), "{keygen:?}");
    let public = String::from_utf8(keygen.stdout).unwrap();
    assert!(public.contains("-----BEGIN PUBLIC KEY-----"));
    let integration_key = emulated.entry("integration_key");
    let uploaded = json!({ "integration_key": integration_key, "public_key_pem": public, "active": true });
    emulated.control("POST", "keys", &uploaded).await;
    let caller = String::from_utf8(run(Kind::Caller).stdout).unwrap();
    let key = caller.lines().map(str::trim).find(|line| line.starts_with("cs_")).expect("a key is shown");
    let hash = caller.split("key_hash = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let values = [
        ("integration_key", integration_key),
        ("user_id", emulated.entry("user_id")),
        ("key_hash", hash),
        ("nda", emulated.entry("template_id")),
        ("seal_key", SEAL_KEY),
    ];
    std::fs::write(emulated.settings(), filled_in(&whole_settings(), &values)).unwrap();

    let doctor = run(Kind::Doctor);
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
    let serve = format!("exec {} --ready-file ready.json", command(Kind::Serve));
    let mut serve = towards(&emulated, &serve).stderr(Stdio::null()).spawn().unwrap();
    let ready = emulated.directory().join("ready.json");
    let ready = read_ready(&ready).await;
    let mut call = shell(&command(Kind::Curl).replace(SITE, "https://www.example.com"), emulated.directory());
    call.env("COUNTERSIGN_URL", ready["api_url"].as_str().unwrap()).env("COUNTERSIGN_KEY", key);
    let answer: Value = serde_json::from_slice(&call.output().unwrap().stdout).unwrap();
    assert_eq!(answer["status"], "open", "{answer:#}");
    assert!(answer.pointer("/signers/0/view/url").is_some_and(Value::is_string), "{answer:#}");
    assert_eq!(answer.pointer("/signers/0/link"), Some(&Value::Null), "nobody can reach this machine");
    terminate(&serve);
    assert!(serve.wait().unwrap().success());
}

/// A command of the way to DocuSign, with the emulator at its end, and on free ports.
fn towards(emulated: &Emulated, command: &str) -> Command {
    let settings = [
        ("UPSTREAM__ENVIRONMENT", "emulator"),
        ("UPSTREAM__OAUTH_URL", emulated.entry("oauth_url")),
        ("API__LISTEN", "127.0.0.1:0"),
        ("OPS__LISTEN", "127.0.0.1:0"),
        ("STOP__GRACE", "0s"),
    ];
    let mut shell = shell(command, emulated.directory());
    shell.envs(settings.map(|(name, value)| (format!("COUNTERSIGN__{name}"), value)));
    shell
}

/// The figures that are quoted are those of the benchmark's own page.
#[test]
fn what_is_quoted_of_the_benchmark_is_what_it_found() {
    let found = include_str!("../bench/README.md");
    let section =
        README.split("## How fast it is").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let rows: Vec<_> = section.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 2 + 4, "a head, and four rows");
    for row in rows {
        assert!(found.lines().any(|line| line == row), "{row}");
    }
    let repeat = "cargo bench --bench load";
    assert!(section.contains(repeat) && found.contains(repeat), "how to repeat it");
}

/// The pages that people read; what is emulated is a list of its own kind.
const PAGES: &[&str] = &[
    "README.md",
    "deploy/README.md",
    "deploy/audit.md",
    "deploy/containers.md",
    "deploy/faults/README.md",
    "deploy/kubernetes.md",
    "deploy/rotation.md",
    "deploy/runbook.md",
    "deploy/supply-chain.md",
    "deploy/upkeep.md",
    "tests/bench/README.md",
];

fn page(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for from in PAGES {
        let text = page(from);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let beside = root.join(from).parent().unwrap().join(file);
            let to = if file.is_empty() { root.join(from) } else { beside };
            assert!(to.exists(), "{from}: {target}");
            if !anchor.is_empty() {
                let found = std::fs::read_to_string(&to).unwrap();
                assert!(found.lines().any(|line| anchor_of(line) == anchor), "{from}: {target}");
            }
        }
    }
    for found in std::fs::read_dir(root.join("deploy")).unwrap().map(|entry| entry.unwrap().path()) {
        let is_page = found.extension().is_some_and(|kind| kind == "md");
        let known = PAGES.iter().any(|page| root.join(page) == found);
        assert!(known || !is_page, "{} is a page, too", found.display());
    }
}

/// What a heading can be linked to as.
fn anchor_of(line: &str) -> String {
    let heading = line.strip_prefix('#').map(|rest| rest.trim_start_matches('#').trim()).unwrap_or_default();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// A longer one cannot be read in a terminal: it wants a section, or a list.
#[test]
fn no_cell_of_a_table_is_a_paragraph() {
    for path in PAGES {
        for row in page(path).lines().filter(|line| line.trim_start().starts_with('|')) {
            let longest = row.split(" | ").max_by_key(|cell| cell.chars().count()).unwrap_or_default();
            assert!(longest.chars().count() <= 120, "{path}: {longest}");
        }
    }
}

#[test]
fn every_alert_has_a_section_of_the_runbook_and_names_it() {
    let (rules, runbook) = (page("deploy/prometheus/alerts.yml"), page("deploy/runbook.md"));
    let named: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(named.len() > 20, "{named:?}");
    let sections: Vec<&str> = runbook.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    for alert in &named {
        assert!(sections.contains(alert), "{alert}");
        assert!(rules.contains(&format!("runbook: \"deploy/runbook.md, section {alert}\"")), "{alert}");
    }
    assert_eq!(sections.len(), named.len(), "no section of an alert that is gone");
}

/// A command as a person types it, with our binary on the path.
#[expect(clippy::disallowed_methods, reason = "commands find their programs by PATH")]
fn shell(command: &str, directory: &Path) -> Command {
    let binary = Path::new(env!("CARGO_BIN_EXE_countersign"));
    let mut path = binary.parent().unwrap().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(directory).env("PATH", path);
    shell
}

fn command(wanted: Kind) -> &'static str {
    blocks("sh").into_iter().find(|command| kind(command) == wanted).map(|text| &*text.leak()).unwrap()
}

fn kind(command: &str) -> Kind {
    let table = [
        ("cargo run --release -- demo", Kind::Demo),
        ("cargo run --release -- emulate", Kind::Emulate),
        ("countersign caller", Kind::Caller),
        ("countersign doctor", Kind::Doctor),
        ("countersign keygen", Kind::Keygen),
        ("countersign serve", Kind::Serve),
        ("curl ", Kind::Curl),
        ("tests/run", Kind::Tests),
    ];
    let found = table.iter().find(|(start, _)| command.starts_with(start));
    found.map_or_else(|| panic!("nothing runs this command: {command}"), |(_, kind)| *kind)
}

/// The fenced blocks of a language, without the indentation of a list.
fn blocks(language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = README.lines();
    while let Some(line) = lines.next() {
        let Some(fence) = line.trim_start().strip_prefix("```") else { continue };
        let indent = line.len() - line.trim_start().len();
        let body: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
        if fence == language {
            let unindented = body.iter().map(|line| line.get(indent..).unwrap_or_default());
            blocks.push(unindented.collect::<Vec<_>>().join("\n"));
        }
    }
    blocks
}

/// A value with every leaf replaced by its type: what two answers to the same call have in common.
fn shape(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Object(fields) => {
            let fields: BTreeMap<_, _> =
                fields.iter().map(|(key, value)| (key.clone(), shape(value))).collect();
            json!(fields)
        }
        Value::Bool(_) => "boolean".into(),
        Value::Null => Value::Null,
        Value::Number(_) => "number".into(),
        Value::String(_) => "text".into(),
    }
}
