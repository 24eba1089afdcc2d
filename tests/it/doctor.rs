//! `countersign doctor` against an emulator: each broken link is found, and named with its fix.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::emulated::Emulated;

/// Runs doctor with these changes to settings that are fine.
fn doctor(emulated: &Emulated, arguments: &[&str], changes: &[(&str, &str)]) -> (Output, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["doctor", "--json", "--config"]).arg(emulated.settings()).args(arguments);
    command.current_dir(emulated.directory()).envs(changes.iter().copied());
    let output = command.output().expect("the binary starts");
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, report)
}

/// The checks that failed, each with whether it says what to do.
fn failed(report: &Value) -> Vec<&str> {
    let checks = report["checks"].as_array().expect("a report");
    let failed = checks.iter().filter(|check| check["status"] == "failed");
    failed
        .map(|check| {
            assert!(check["fix"].as_str().is_some_and(|fix| fix.len() > 10), "{check}");
            check["name"].as_str().unwrap()
        })
        .collect()
}

#[tokio::test]
async fn a_whole_chain_passes_with_a_line_for_every_link() {
    let emulated = Emulated::start().await;
    let (output, report) = doctor(&emulated, &[], &[]);
    assert!(output.status.success(), "{report:#}");
    assert_eq!(report["ok"], true);
    let names: Vec<_> = report["checks"].as_array().unwrap().iter().map(|check| &check["name"]).collect();
    let wanted = [
        "settings",
        "key",
        "callers",
        "store",
        "public URL",
        "clock",
        "token",
        "consent",
        "user",
        "account",
        "base URI",
        "SMS workflow",
        "budget",
    ];
    assert_eq!(names, wanted);
    assert!(
        report["checks"].as_array().unwrap().iter().all(|check| check["status"] == "passed"),
        "{report:#}"
    );
}

#[tokio::test]
async fn offline_asks_nobody() {
    let emulated = Emulated::start().await;
    let (output, report) = doctor(&emulated, &["--offline"], &[]);
    assert!(output.status.success());
    let skipped = report["checks"].as_array().unwrap().iter().filter(|check| check["status"] == "skipped");
    assert_eq!(skipped.count(), 8, "{report:#}");
    assert_eq!(emulated.control("GET", "requests", &Value::Null).await["requests"], json!([]));
}

#[tokio::test]
async fn each_broken_link_is_found_and_what_hangs_on_it_is_skipped() {
    let emulated = Emulated::start().await;
    let table: [(&[(&str, &str)], &str); 4] = [
        (&[("COUNTERSIGN__SENDERS__SYSTEM__USER_ID", "11111111-2222-4333-8444-555555555555")], "token"),
        (
            &[("COUNTERSIGN__SENDERS__SYSTEM__INTEGRATION_KEY", "11111111-2222-4333-8444-555555555555")],
            "token",
        ),
        (&[("COUNTERSIGN__SENDERS__SYSTEM__ACCOUNT", "No Such Account")], "account"),
        (&[("COUNTERSIGN__STORE__URL", "sqlite:///no/such/directory/file.db")], "store"),
    ];
    for (changes, wanted) in table {
        let (output, report) = doctor(&emulated, &[], changes);
        assert_eq!(failed(&report), [wanted], "{changes:?}: {report:#}");
        assert_eq!(output.status.code(), Some(1), "{changes:?}");
    }
    emulated.control("POST", "features", &json!({ "identity_verification": false })).await;
    assert_eq!(failed(&doctor(&emulated, &[], &[]).1), ["SMS workflow"]);
    emulated.control("POST", "consent", &json!({ "granted": false })).await;
    let (_, report) = doctor(&emulated, &[], &[]);
    assert_eq!(failed(&report), ["consent"]);
    let text = report.to_string();
    assert!(text.contains("/oauth/auth?response_type=code&scope=signature%20impersonation"), "{text}");
}

#[tokio::test]
async fn a_clock_that_is_an_hour_wrong_is_said_and_the_token_minted_all_the_same() {
    let emulated = Emulated::start().await;
    emulated.control("POST", "clock", &json!({ "advance_s": 3600 })).await;
    let (_, report) = doctor(&emulated, &[], &[]);
    assert_eq!(failed(&report), ["clock"], "{report:#}");
}

#[test]
fn bad_settings_exit_64_and_with_json_nothing_else_is_on_standard_output() {
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["doctor", "--json", "--config", "no-such-file.toml"])
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(64));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    assert_eq!(failed(&report), ["settings"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
}
