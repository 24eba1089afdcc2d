//! `countersign doctor` against an emulator: each broken link is found, and named with its code and its fix.

use std::process::{Command, Output};

use countersign::auth;
use serde_json::{Value, json};

use crate::{consent, emulated::Emulated};

const USER_ID: &str = "COUNTERSIGN__SENDERS__SYSTEM__USER_ID";
const INTEGRATION_KEY: &str = "COUNTERSIGN__SENDERS__SYSTEM__INTEGRATION_KEY";
const KEYS: &str = "COUNTERSIGN__SENDERS__SYSTEM__KEYS";
const ACCOUNT: &str = "COUNTERSIGN__SENDERS__SYSTEM__ACCOUNT";
/// Settings of a second sender begin with this.
const LABS: &str = "COUNTERSIGN__SENDERS__LABS__";
pub(crate) const STORE: &str = "COUNTERSIGN__STORE__URL";
pub(crate) const AUDIT: (&str, &str) = ("COUNTERSIGN__AUDIT__FILE", "audit.jsonl");
pub(crate) const NOBODY: &str = "11111111-2222-4333-8444-555555555555";
/// A user of another account, who has consented.
const ELSEWHERE: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210003";
/// A user whose account is on another base URI, who has consented.
const REMOTE: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210006";

/// Runs doctor with these changes to settings that are fine.
pub(crate) fn doctor(emulated: &Emulated, arguments: &[&str], changes: &[(&str, &str)]) -> (Output, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["doctor", "--json", "--config"]).arg(emulated.settings()).args(arguments);
    command.current_dir(emulated.directory()).envs(changes.iter().copied());
    let output = command.output().expect("the binary starts");
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, report)
}

/// The codes of the checks that failed, in order; each says what to do.
pub(crate) fn failed(report: &Value) -> Vec<&str> {
    let checks = report["checks"].as_array().unwrap_or_else(|| panic!("no report: {report}"));
    let failed = checks.iter().filter(|check| check["status"] == "failed");
    failed
        .map(|check| {
            assert!(check["fix"].as_str().is_some_and(|fix| fix.len() > 10), "{check}");
            check["code"].as_str().unwrap_or_else(|| panic!("{check} has no code"))
        })
        .collect()
}

/// The first failure: the one to mend.
fn first(report: &Value) -> &Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["status"] == "failed").unwrap_or_else(|| panic!("{report:#}"))
}

/// Doctor finds this and nothing else, exits with 1, and its fix has these words.
pub(crate) fn finds(
    emulated: &Emulated,
    arguments: &[&str],
    changes: &[(&str, &str)],
    code: &str,
    words: &[&str],
) {
    let (output, report) = doctor(emulated, arguments, changes);
    assert_eq!(failed(&report), [code], "{changes:?}: {report:#}");
    assert_eq!(output.status.code(), Some(1), "{changes:?}");
    let check = first(&report).to_string();
    for word in words {
        assert!(check.contains(word), "{code}: no {word} in {check}");
    }
}

#[tokio::test]
async fn a_whole_chain_passes_with_a_line_for_every_link() {
    let emulated = Emulated::start().await;
    let (output, report) = doctor(&emulated, &[], &[AUDIT]);
    assert!(output.status.success(), "{report:#}");
    assert_eq!(report["ok"], true);
    let checks = report["checks"].as_array().unwrap();
    let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    let wanted = "settings key ids scopes callers store audit_log public_URL daemon account_server clock token consent \
                  redirect_URI user account base_URI API SMS_workflow embedded_signing budget templates";
    assert_eq!(names.join(" "), wanted.replace('_', " "));
    let passed = |check: &&Value| check["status"] != "passed";
    // The daemon does not run.
    let not_passed: Vec<_> = checks.iter().filter(passed).map(|check| &check["name"]).collect();
    assert_eq!(not_passed, ["daemon"], "{report:#}");
}

#[tokio::test]
async fn it_says_how_old_a_key_file_is_and_which_key_earned_the_token() {
    let emulated = Emulated::start().await;
    let path = emulated.directory().join(emulated.entry("private_key_file"));
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let written = file.metadata().unwrap().modified().unwrap();
    file.set_modified(written - std::time::Duration::from_secs(40 * 86_400 + 3_600)).unwrap();
    let (_, report) = doctor(&emulated, &[], &[]);
    let key = detail(&report, "key");
    assert!(key.ends_with("; its file changed 40 days ago"), "{key}");
    let print = key.split("fingerprint ").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
    assert_eq!(detail(&report, "token"), format!("minted just now with the key {print}"));
}

#[tokio::test]
async fn offline_asks_nobody() {
    let emulated = Emulated::start().await;
    let (output, report) = doctor(&emulated, &["--offline"], &[AUDIT]);
    assert!(output.status.success());
    let skipped = report["checks"].as_array().unwrap().iter().filter(|check| check["status"] == "skipped");
    assert_eq!(skipped.count(), 14, "{report:#}");
    assert_eq!(emulated.control("GET", "requests", &Value::Null).await["requests"], json!([]));
}

#[tokio::test]
async fn wrong_keys_ids_and_accounts_are_told_apart() {
    let emulated = Emulated::start().await;
    let other = "other/private_key.pem";
    keygen(&emulated, "other");
    finds(&emulated, &[], &[(KEYS, other)], "key_not_registered", &["SHA256:", "Upload the public half"]);
    finds(
        &emulated,
        &[],
        &[(INTEGRATION_KEY, NOBODY)],
        "integration_key_unknown",
        &[NOBODY, "Apps and Keys"],
    );
    finds(
        &emulated,
        &[],
        &[(USER_ID, NOBODY)],
        "sender_unknown_user",
        &["not an e-mail address or account id"],
    );
    finds(
        &emulated,
        &[],
        &[(ACCOUNT, "No Such Account")],
        "sender_not_in_account",
        &["Countersign Emulator"],
    );
    let foreign = [(USER_ID, ELSEWHERE), (ACCOUNT, emulated.entry("account_id"))];
    finds(&emulated, &[], &foreign, "sender_not_in_account", &["add the user to the account"]);
    let store = [(STORE, "sqlite:///no/such/directory/file.db")];
    finds(&emulated, &[], &store, "store_unwritable", &["Make the directory", "StateDirectory="]);

    // An account's id is a GUID as good as a user's. Another sender that is in that account gives it away.
    let both = emulated.directory().join("both.toml");
    let text = std::fs::read_to_string(emulated.settings()).unwrap();
    let second = format!(
        "[senders.second]\nintegration_key = \"{}\"\nuser_id = \"{}\"\nkeys = [\"emulator/private_key.pem\"]\n",
        emulated.entry("integration_key"),
        emulated.entry("account_id"),
    );
    std::fs::write(&both, text + &second).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["doctor", "--json", "--config", "both.toml"])
        .current_dir(emulated.directory())
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(failed(&report), ["sender_user_is_account"], "{report:#}");
    assert_eq!(first(&report)["sender"], "second");
    assert_eq!(first(&report)["fix"], auth::Error::UserIsAccount.fix(), "as the daemon says it");
}

/// Makes a key that nobody registered, in a folder of that name.
fn keygen(emulated: &Emulated, folder: &str) {
    let made = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["keygen", "--out", folder])
        .current_dir(emulated.directory())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// The doctor's word on a link that passed or was not looked at.
pub(crate) fn detail<'a>(report: &'a Value, name: &str) -> &'a str {
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{report:#}"));
    assert_ne!(check["status"], "failed", "{check}");
    check["detail"].as_str().unwrap()
}

#[tokio::test]
async fn of_two_keys_the_one_that_is_refused_is_named() {
    let emulated = Emulated::start().await;
    keygen(&emulated, "other");
    let both = format!("[\"{}\", \"other/private_key.pem\"]", emulated.entry("private_key_file"));
    let words = ["keys[1]", "SHA256:", "Upload its public half"];
    finds(&emulated, &[], &[(KEYS, &both)], "key_not_registered", &words);
    let twice = format!("[\"{0}\", \"{0}\"]", emulated.entry("private_key_file"));
    assert!(doctor(&emulated, &[], &[(KEYS, &twice)]).0.status.success());
}

#[tokio::test]
async fn what_belongs_to_the_other_environment_is_found_there() {
    let (here, there) = (Emulated::start().await, Emulated::start().await);
    let other = ("COUNTERSIGN__UPSTREAM__OTHER_OAUTH_URL", there.entry("oauth_url"));
    // Two emulators know the same ids and other keys: as demo and production after an app went live.
    let key = (KEYS, there.entry("private_key_file"));
    finds(&here, &[], &[other, key], "key_of_other_environment", &["not copied", "Upload the public half"]);
    here.control("POST", "apps", &json!({ "known": false })).await;
    finds(&here, &[], &[other, key], "wrong_environment", &["upstream.oauth_url"]);
    finds(&here, &[], &[key], "integration_key_unknown", &["Apps and Keys"]);
    here.control("POST", "apps", &json!({ "known": true })).await;
    here.control("POST", "users", &json!({ "user_id": here.entry("user_id"), "active": false })).await;
    let own = (KEYS, here.entry("private_key_file"));
    finds(&here, &[], &[own], "sender_unknown_user", &["user_id"]);
}

#[tokio::test]
async fn missing_consent_says_which_link_to_open_and_an_unlisted_address_is_named() {
    let emulated = Emulated::start().await;
    let url = "/oauth/auth?response_type=code&scope=signature%20impersonation";
    let partly = json!({ "granted": false, "scopes": ["impersonation"] });
    emulated.control("POST", "consent", &partly).await;
    let organisation = "admin_consent_scope=signature%20impersonation";
    finds(&emulated, &[], &[], "consent_missing", &["signature and impersonation", url, organisation]);
    emulated.control("POST", "consent", &json!({ "granted": false })).await;
    finds(&emulated, &[], &[], "consent_missing", &[url, "/consent/callback"]);
    emulated.control("POST", "consent", &json!({ "granted": true })).await;

    emulated.control("POST", "redirect_uris", &json!({ "uris": [], "loopback": false })).await;
    let callback = "http://127.0.0.1:8081/consent/callback";
    finds(&emulated, &[], &[], "redirect_uri_unregistered", &[callback, "Redirect URIs"]);
    emulated.control("POST", "redirect_uris", &json!({ "uris": [callback] })).await;
    assert!(doctor(&emulated, &[], &[]).0.status.success());
}

#[tokio::test]
async fn consent_by_another_user_is_told_from_none() {
    let emulated = Emulated::start().await;
    emulated.control("POST", "consent", &json!({ "granted": false })).await;
    let daemon = consent::Served::start(&emulated).await;
    assert_eq!(daemon.check().await["checks"][0]["code"], "consent_required");
    let changes = daemon.environment();
    let changes: Vec<_> = changes.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let page = consent::give(&daemon.link().await, emulated.entry("no_consent_user_id"), "accept").await;
    assert!(page.contains("Another user"), "{page}");
    // A caller is told the same as before, with the link, and who it was.
    let problem = daemon.refused_create(emulated.entry("template_id")).await;
    assert_eq!(problem["code"], "consent_required");
    assert!(
        problem["detail"].as_str().unwrap().contains(emulated.entry("no_consent_user_id")),
        "{problem:#}"
    );
    assert!(problem["links"]["consent"].as_str().unwrap().contains("/oauth/auth?"), "{problem:#}");
    // The daemon's state is carried over to its health twice a second.
    let told = async {
        loop {
            let (_, report) = doctor(&emulated, &[], &changes);
            if failed(&report) == ["daemon_not_ready", "consent_by_another_user"] {
                return report;
            }
        }
    };
    let report = tokio::time::timeout(std::time::Duration::from_secs(20), told).await.expect("it is told");
    let text = report.to_string();
    assert!(text.contains("Log out of DocuSign"), "{text}");
    assert!(text.contains(emulated.entry("no_consent_user_id")), "{text}");
}

#[tokio::test]
async fn a_sender_that_nobody_has_connected_waits_and_has_no_fault() {
    let emulated = Emulated::start().await;
    let customer = [
        ("COUNTERSIGN__SENDERS__CUSTOMER__CONNECT", "impersonation"),
        ("COUNTERSIGN__SENDERS__CUSTOMER__KEYS", emulated.entry("private_key_file")),
        ("COUNTERSIGN__SENDERS__CUSTOMER__INTEGRATION_KEY", emulated.entry("integration_key")),
    ];
    let of_customer = |report: &Value, name: &str| {
        let checks = report["checks"].as_array().unwrap().clone();
        let found = checks.into_iter().find(|check| check["sender"] == "customer" && check["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}: {report:#}"))
    };
    // Nobody runs who would know.
    let (output, report) = doctor(&emulated, &[], &customer);
    assert!(output.status.success() && report["ok"] == true, "{report:#}");
    let connection = of_customer(&report, "connection");
    assert_eq!(connection["status"], "advised", "{connection}");
    assert!(connection["fix"].as_str().unwrap().contains("/v1/senders/customer/connect"), "{connection}");
    for (name, status) in [
        ("account server", "passed"),
        ("redirect URI", "passed"),
        ("token", "skipped"),
        ("budget", "skipped"),
    ] {
        assert_eq!(of_customer(&report, name)["status"], status, "{report:#}");
    }

    let daemon = consent::Served::start_with(&emulated, &customer).await;
    let environment = daemon.environment();
    let mut changes: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    changes.extend(customer);
    // The senders' state is carried over to the daemon's health twice a second.
    let told = async {
        loop {
            let (_, report) = doctor(&emulated, &[], &changes);
            let connection = of_customer(&report, "connection");
            if connection["detail"].as_str().unwrap().contains("waits for a customer") {
                return report;
            }
        }
    };
    let report = tokio::time::timeout(std::time::Duration::from_secs(20), told).await.expect("it is told");
    assert_eq!(failed(&report), Vec::<&str>::new(), "{report:#}");
    // What is wrong for every customer is found before the first one comes.
    let nobodys = ("COUNTERSIGN__SENDERS__CUSTOMER__INTEGRATION_KEY", NOBODY);
    let (_, report) = doctor(&emulated, &[], &[customer[0], customer[1], nobodys]);
    assert_eq!(of_customer(&report, "redirect URI")["code"], "redirect_uri_unregistered", "{report:#}");
}

#[tokio::test]
async fn templates_that_are_not_in_the_account_are_named() {
    let emulated = Emulated::start().await;
    let (_, report) = doctor(&emulated, &[], &[]);
    assert_eq!(detail(&report, "templates"), "the one that the settings name is there");
    let general = ("COUNTERSIGN__TEMPLATES__LEASE", NOBODY);
    finds(&emulated, &[], &[general], "template_unknown", &["templates.lease", "demo and production"]);
    // A sender's own goes before that of all, which is not asked for then.
    let own = "COUNTERSIGN__SENDERS__SYSTEM__TEMPLATES__LEASE";
    let words = ["senders.system.templates.lease"];
    finds(
        &emulated,
        &[],
        &[("COUNTERSIGN__TEMPLATES__LEASE", emulated.entry("template_id")), (own, NOBODY)],
        "template_unknown",
        &words,
    );
    let (_, report) = doctor(&emulated, &[], &[general, (own, emulated.entry("template_id"))]);
    assert_eq!(detail(&report, "templates"), "all 2 that the settings name are there");
    // A limit in the way of the second tells nothing of it.
    emulated.control("POST", "limits", &json!({ "hourly": 1 })).await;
    let second = ("COUNTERSIGN__TEMPLATES__OFFER", NOBODY);
    let (_, report) = doctor(&emulated, &[], &[second]);
    assert_eq!(failed(&report), ["budget_low"], "{report:#}");
    assert!(detail(&report, "templates").starts_with("not asked: "), "{report:#}");
}

/// Settings of a second sender: the same user as the first, in the default account.
fn labs(emulated: &Emulated) -> Vec<(String, String)> {
    let settings =
        [("INTEGRATION_KEY", "integration_key"), ("USER_ID", "user_id"), ("KEYS", "private_key_file")];
    settings.map(|(name, entry)| (format!("{LABS}{name}"), emulated.entry(entry).to_owned())).into()
}

/// As [`doctor`], for changes that were made up.
fn look(emulated: &Emulated, arguments: &[&str], changes: &[(String, String)]) -> (Output, Value) {
    let changes: Vec<_> = changes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    doctor(emulated, arguments, &changes)
}

/// The same second sender, in another account of the organisation, where no template is.
fn labs_elsewhere(emulated: &Emulated) -> Vec<(String, String)> {
    let mut changes = labs(emulated);
    let account = "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e002";
    changes.push((format!("{LABS}ACCOUNT"), account.to_owned()));
    changes
}

/// What is said of a sender's templates.
fn templates(report: &Value, sender: &str) -> Value {
    let checks = report["checks"].as_array().unwrap().iter();
    let mut found = checks.filter(|check| check["name"] == "templates" && check["sender"] == sender);
    found.next().unwrap_or_else(|| panic!("{report:#}")).clone()
}

#[tokio::test]
async fn a_sender_that_is_looked_at_alone_is_judged_as_among_the_others() {
    let emulated = Emulated::start().await;
    let changes = labs_elsewhere(&emulated);
    let (output, report) = look(&emulated, &["--sender", "labs"], &changes);
    assert!(output.status.success(), "{report:#}");
    let mut checks = report["checks"].as_array().unwrap().iter();
    assert!(checks.all(|check| check["sender"].is_null() || check["sender"] == "labs"), "{report:#}");
    let (_, of_all) = look(&emulated, &[], &changes);
    assert_eq!(templates(&report, "labs"), templates(&of_all, "labs"));
    // What it calls its own is in no other sender's account.
    let own = (format!("{LABS}TEMPLATES__NDA"), emulated.entry("template_id").to_owned());
    let (_, report) = look(&emulated, &["--sender", "labs"], &[changes.as_slice(), &[own]].concat());
    assert_eq!(failed(&report), ["template_unknown"], "{report:#}");
}

#[tokio::test]
async fn a_template_that_is_in_another_senders_account_is_no_fault() {
    let emulated = Emulated::start().await;
    let changes = labs_elsewhere(&emulated);
    let (output, report) = look(&emulated, &[], &changes);
    assert!(output.status.success(), "{report:#}");
    assert_eq!(templates(&report, "system")["status"], "passed", "{report:#}");
    let there = templates(&report, "labs");
    assert_eq!(there["status"], "advised", "{there}");
    assert_eq!(there["detail"], "not in this sender's account: templates.nda");
    assert!(there["fix"].as_str().unwrap().contains("senders.labs.templates"), "{there}");

    // In nobody's account, it is nobody's.
    let lease = ("COUNTERSIGN__TEMPLATES__LEASE".to_owned(), NOBODY.to_owned());
    let (_, report) = look(&emulated, &[], &[changes.as_slice(), &[lease]].concat());
    assert_eq!(failed(&report), ["template_unknown"; 2], "{report:#}");
    for sender in ["system", "labs"] {
        assert_eq!(templates(&report, sender)["detail"], "not in this sender's account: templates.lease");
    }
    // What it calls its own has to be there, whoever else has it.
    let own = (format!("{LABS}TEMPLATES__NDA"), emulated.entry("template_id").to_owned());
    let (_, report) = look(&emulated, &[], &[changes.as_slice(), &[own]].concat());
    assert_eq!(failed(&report), ["template_unknown"], "{report:#}");
    assert!(templates(&report, "labs").to_string().contains("senders.labs.templates.nda"), "{report:#}");
}

#[tokio::test]
async fn templates_are_asked_for_once_an_account_and_leave_it_half_of_its_calls() {
    let emulated = Emulated::start().await;
    let many = (0..25).map(|number| {
        (
            format!("COUNTERSIGN__TEMPLATES__T{number}"),
            format!("11111111-2222-4333-8444-5555555555{number:02}"),
        )
    });
    let changes: Vec<_> = labs(&emulated).into_iter().chain(many).collect();
    let asked = async || {
        let all = emulated.control("GET", "requests", &Value::Null).await;
        let paths = all["requests"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap());
        paths.filter(|path| path.contains("/templates/")).count()
    };
    let (_, report) = look(&emulated, &[], &changes);
    assert_eq!(asked().await, 20, "{report:#}");
    emulated.control("DELETE", "requests", &Value::Null).await;
    // What was asked before no longer counts.
    emulated.control("POST", "limits", &json!({ "burst": 20 })).await;
    let (_, report) = look(&emulated, &[], &changes);
    let again = asked().await;
    assert!((1..=10).contains(&again), "{again}: {report:#}");
    let checks = report["checks"].as_array().unwrap();
    let mut others =
        checks.iter().filter(|check| check["name"] == "SMS workflow" || check["name"] == "budget");
    assert!(others.all(|check| check["status"] == "passed"), "{report:#}");
}

#[tokio::test]
async fn a_setting_of_the_account_that_forbids_every_signing_is_named() {
    let emulated = Emulated::start().await;
    for (name, wrong, right) in [
        ("inSessionEnabled", "false", "true"),
        ("signerMustHaveAccount", "true", "false"),
        ("signerMustLoginToSign", "true", "false"),
    ] {
        let set = async |value: &str| {
            emulated.control("POST", "features", &json!({ "settings": { name: value } })).await;
        };
        set(wrong).await;
        let change = format!("set {name} to {right}");
        finds(&emulated, &[], &[], "embedded_signing_forbidden", &[name, &change]);
        set(right).await;
    }
}

#[tokio::test]
async fn clocks_hosts_and_limits() {
    let emulated = Emulated::start().await;
    for (seconds, said) in [(600, "behind"), (86_400, "behind"), (-600, "ahead"), (-86_400, "ahead")] {
        emulated.control("POST", "clock", &json!({ "advance_s": seconds })).await;
        finds(&emulated, &[], &[], "clock_off", &[said, "timedatectl"]);
        emulated.control("POST", "clock", &json!({ "advance_s": -seconds })).await;
    }
    emulated.control("POST", "features", &json!({ "identity_verification": false })).await;
    finds(&emulated, &[], &[], "sms_workflow_absent", &["phone authentication"]);
    emulated.control("POST", "features", &json!({ "identity_verification": true })).await;
    emulated.control("POST", "limits", &json!({ "hourly": 1 })).await;
    finds(&emulated, &[], &[], "budget_low", &["0 of 1 calls left"]);
    emulated.control("POST", "limits", &json!({ "hourly": 3000 })).await;

    let (_, report) = doctor(&emulated, &[], &[(USER_ID, REMOTE)]);
    assert_eq!(failed(&report), ["wrong_base_uri", "dns_failure"], "{report:#}");
    let moved = json!({ "base_uri": "https://na4.docusign.invalid" });
    emulated.control("POST", "accounts", &moved).await;
    let (_, report) = doctor(&emulated, &[], &[]);
    assert_eq!(failed(&report), ["wrong_base_uri", "dns_failure"], "{report:#}");
    assert!(report.to_string().contains("na4.docusign.invalid"));
    let stands = |name: &str| {
        let mut checks = report["checks"].as_array().unwrap().iter();
        checks.find(|check| check["name"] == name).unwrap()["status"].clone()
    };
    assert_eq!(
        (stands("account"), stands("base URI")),
        (json!("passed"), json!("failed")),
        "it is there, and elsewhere"
    );
    emulated.control("POST", "accounts", &json!({ "base_uri": null })).await;

    let nobody = "http://127.0.0.1:1";
    let away = [("COUNTERSIGN__UPSTREAM__OAUTH_URL", nobody)];
    finds(&emulated, &[], &away, "connect_failure", &["countersign emulate"]);
    for (fault, code) in [("html", "answer_unusable"), ("status", "upstream_unavailable")] {
        let fault = json!({ "fault": fault, "status": if fault == "html" { 200 } else { 503 }, "path": "/oauth/token" });
        emulated.control("POST", "faults", &fault).await;
        finds(&emulated, &[], &[], code, &[]);
        emulated.control("DELETE", "faults", &Value::Null).await;
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_trusts_is_a_tls_failure() {
    let emulated = Emulated::start_with(&["--tls"]).await;
    finds(&emulated, &[], &[], "tls_failure", &["upstream.ca_file"]);
    let ca = [("COUNTERSIGN__UPSTREAM__CA_FILE", emulated.entry("ca_file"))];
    assert!(doctor(&emulated, &[], &ca).0.status.success());
}

#[tokio::test]
async fn who_has_several_accounts_is_advised_to_name_one() {
    let emulated = Emulated::start().await;
    let account = |changes: &[(&str, &str)]| {
        let (_, report) = doctor(&emulated, &[], changes);
        let mut checks = report["checks"].as_array().unwrap().clone().into_iter();
        checks.find(|check| check["name"] == "account").unwrap()
    };
    let id = emulated.entry("account_id");
    let left_open = account(&[]);
    assert_eq!(left_open["status"], "passed", "{left_open}");
    let fix = left_open["fix"].as_str().unwrap();
    assert!(fix.contains("senders.system.account") && fix.contains(id), "{fix}");
    assert_eq!(account(&[(ACCOUNT, id)])["fix"], Value::Null);
}
