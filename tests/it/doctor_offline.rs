//! What `countersign doctor` finds on this machine alone: settings, a store and an audit log that `serve` would refuse.

use std::{path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    consent,
    doctor::{AUDIT, NOBODY, STORE, detail, doctor, failed, finds},
    emulated::Emulated,
    harness::TempDir,
};

/// The user in `config/production.example.toml`.
const EXAMPLE_USER: &str = "55555555-6666-4777-8888-999999999999";

const SEAL_KEY: &str = "OjuYkzzbqKkGyKTs1ZNpUfXwLRp9XRTZ9X6m8Y8aZf0=";

fn write(directory: &Path, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn what_is_wrong_with_the_settings_is_found_without_a_network() {
    let directory = TempDir::new();
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/keys.example/private_key.pem");
    let pem = std::fs::read_to_string(keys).unwrap();
    write(&directory.0, "whole.pem", &pem);
    write(&directory.0, "cut.pem", &pem[..pem.len() / 2]);
    let settings = |environment: &str, user: &str, key: &str, more: &str| {
        format!(
            "[upstream]\nenvironment = \"{environment}\"\n[senders.system]\nuser_id = \"{user}\"\n\
             integration_key = \"5e0b1c8d-9a47-4c7e-8d21-6f3a2b900001\"\nkeys = [\"{key}\"]\n{more}\n\
             [callers.website]\nkey_hash = \"sha256:{}\"\nreturn_origins = [\"https://www.example.com\"]\n\
             [ops]\nlisten = \"127.0.0.1:0\"\n\
             [store]\nseal_key = \"{SEAL_KEY}\"\n",
            "1".repeat(64)
        )
    };
    let http = "[public]\nbase_url = \"http://sign.example.com\"";
    let same = format!("account = \"{NOBODY}\"");
    let table = [
        (settings("production", NOBODY, "whole.pem", ""), 1, "key_is_example", "countersign keygen"),
        (settings("demo", NOBODY, "cut.pem", ""), 1, "key_truncated", "-----BEGIN"),
        (settings("demo", EXAMPLE_USER, "whole.pem", ""), 1, "id_placeholder", "Apps and Keys"),
        // The seal key of config/local.toml.
        (
            settings("demo", NOBODY, "whole.pem", "")
                .replace(SEAL_KEY, "vrRZ8Ki8ZxZufoEFdCuzHpZPr9X3yjwvDKzN/j0jK30="),
            64,
            "settings_invalid",
            "store.seal_key",
        ),
        (settings("demo", "system@example.com", "whole.pem", ""), 64, "email_as_id", "user_id"),
        (settings("demo", "10000001", "whole.pem", ""), 64, "account_number_as_id", "Apps and Keys"),
        (settings("demo", NOBODY, "whole.pem", http), 64, "public_url_not_https", "use https"),
        (settings("demo", NOBODY, "whole.pem", &same), 64, "sender_user_is_account", "API Account ID"),
        (
            settings("demo", NOBODY, "whole.pem", "scopes = [\"signature\"]"),
            1,
            "scope_missing",
            "impersonation",
        ),
    ];
    for (text, exit, code, word) in table {
        write(&directory.0, "countersign.toml", &text);
        let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["doctor", "--json", "--offline", "--config", "countersign.toml"])
            .current_dir(&directory.0)
            .output()
            .expect("the binary starts");
        assert_eq!(output.status.code(), Some(exit), "{code}: {output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
        let codes = failed(&report);
        // The whole key is the example's: for a real upstream that is a fault of its own.
        let others: Vec<_> = codes.iter().filter(|found| **found != "key_is_example").collect();
        assert!(codes.contains(&code) && others.len() <= 1, "{code}: {report:#}");
        let check = report["checks"].as_array().unwrap().iter().find(|check| check["code"] == code).unwrap();
        assert!(check.to_string().contains(word), "{code}: {check}");
        // None of those that can be read has a public.base_url.
        if exit == 1 {
            let said = detail(&report, "public URL");
            assert!(said.contains("comes straight from DocuSign") && said.contains("/refresh"), "{said}");
        }
    }
}

#[test]
fn a_settings_file_with_secrets_that_others_can_read_is_pointed_at() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = TempDir::new();
    let settings = directory.0.join("countersign.toml");
    let text = "[senders.system]\nintegration_key = \"5e0b1c8d-9a47-4c7e-8d21-6f3a2b900001\"\n\
                user_id = \"b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210001\"\nkeys = [\"key.pem\"]\n\
                [upstream]\nenvironment = \"demo\"\n[ops]\nlisten = \"127.0.0.1:0\"\n\
                [store]\nseal_key = \"OjuYkzzbqKkGyKTs1ZNpUfXwLRp9XRTZ9X6m8Y8aZf0=\"\n";
    write(&directory.0, "countersign.toml", text);
    let secrets = |mode: u32| {
        std::fs::set_permissions(&settings, std::fs::Permissions::from_mode(mode)).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["doctor", "--json", "--offline", "--config"])
            .arg(&settings)
            .current_dir(&directory.0)
            .output()
            .expect("the binary starts");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
        report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "secrets").cloned()
    };
    assert_eq!(secrets(0o600), None);
    let check = secrets(0o644).unwrap();
    assert_eq!(check["status"], "advised", "{check}");
    let fix = format!("Run chmod 600 {}", settings.display());
    assert!(check["fix"].as_str().unwrap().starts_with(&fix), "{check}");
}

#[tokio::test]
async fn certificates_that_serve_would_refuse_are_found() {
    let emulated = Emulated::start().await;
    let directory = emulated.directory();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    write(directory, "server.crt", &made.cert.pem());
    write(directory, "server.key", &made.signing_key.serialize_pem());
    write(directory, "other.key", &other.signing_key.serialize_pem());
    write(directory, "empty.pem", "no certificate\n");
    write(directory, "jwks.json", "{}");
    let certificate = |section: &str| (format!("COUNTERSIGN__{section}__TLS__CERT_FILE"), "server.crt");
    let key = |section: &str, file: &'static str| (format!("COUNTERSIGN__{section}__TLS__KEY_FILE"), file);
    let more = |name: &str, value: &'static str| (format!("COUNTERSIGN__{name}"), value);
    let cluster = |name: &str, value: &'static str| more(&format!("OIDC__CLUSTER__{name}"), value);
    let both = |api: &'static str, ops: &'static str| {
        vec![certificate("API"), key("API", api), certificate("OPS"), key("OPS", ops)]
    };
    let with = |more: Vec<(String, &'static str)>| [both("server.key", "server.key"), more].concat();
    let issuer = vec![
        cluster("ISSUER", "https://cluster"),
        cluster("AUDIENCE", "countersign"),
        cluster("JWKS_URL", "https://cluster/keys"),
    ];
    let look = |changes: &[(String, &'static str)]| {
        let changes: Vec<_> = changes.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        doctor(&emulated, &["--offline"], &changes).1
    };

    let well = look(&with(issuer.clone()));
    assert_eq!(detail(&well, "certificates"), "those of api, ops, oidc can be used");
    let none = look(&[]);
    let is_looked_at = |check: &Value| check["name"] == "certificates";
    assert!(!none["checks"].as_array().unwrap().iter().any(is_looked_at), "{none:#}");

    let (crl, ca) = (more("API__CLIENT_CRL", "empty.pem"), more("API__CLIENT_CA", "empty.pem"));
    let table = [
        (both("other.key", "server.key"), "api.tls: ", "does not belong to the certificate"),
        (both("server.key", "other.key"), "ops.tls: ", "does not belong to the certificate"),
        (with(vec![ca]), "api.tls: ", "empty.pem"),
        (with(vec![more("API__CLIENT_CA", "server.crt"), crl]), "api.tls: ", "empty.pem"),
        ([issuer, vec![cluster("CA_FILE", "empty.pem")]].concat(), "oidc: ", "no certificate in PEM form"),
        (
            vec![more("OTEL__ENDPOINT", "http://127.0.0.1:4318"), more("OTEL__CA_FILE", "empty.pem")],
            "otel.ca_file: ",
            "no certificate in PEM form",
        ),
    ];
    for (changes, setting, word) in table {
        let report = look(&changes);
        assert_eq!(failed(&report), ["certificates_unusable"], "{changes:?}: {report:#}");
        let check = report["checks"].as_array().unwrap().iter().find(|check| check["status"] == "failed");
        let (detail, fix) = (check.unwrap()["detail"].as_str().unwrap(), &check.unwrap()["fix"]);
        assert!(detail.starts_with(setting) && detail.contains(word), "{detail}");
        assert!(fix.as_str().unwrap().starts_with(setting), "{fix}");
    }
}

#[test]
fn addresses_of_the_example_that_nobody_has_replaced_are_pointed_at() {
    let directory = TempDir::new();
    let example = include_str!("../../config/production.example.toml");
    let caller = "COUNTERSIGN__CALLERS__WEBSITE__KEY_HASH";
    write(&directory.0, "countersign.toml", example);
    for secret in ["private_key", "seal_key", "connect_hmac_key"] {
        write(&directory.0, secret, SEAL_KEY);
    }
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["doctor", "--json", "--offline", "--config", "countersign.toml"])
        .env("CREDENTIALS_DIRECTORY", &directory.0)
        .env(caller, format!("sha256:{}", "1".repeat(64)))
        .current_dir(&directory.0)
        .output()
        .expect("the binary starts");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    for name in ["callers", "public URL"] {
        assert!(detail(&report, name).contains("the address of an example"), "{report:#}");
    }
    assert!(failed(&report).contains(&"id_placeholder"), "{report:#}");
}

#[test]
fn bad_settings_are_a_check_that_failed_for_people_too() {
    let directory = TempDir::new();
    write(&directory.0, "countersign.toml", "[api]\n\"lis\\nten\" = \"127.0.0.1:0\"\n");
    let doctor = |argument: &str| {
        Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["doctor", argument, "countersign.toml"])
            .current_dir(&directory.0)
            .output()
            .expect("the binary starts")
    };
    let output = doctor("--config");
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = said.lines().collect();
    let [check, fix, end] = lines.as_slice() else { panic!("{said}") };
    assert!(check.starts_with("✗ settings: api.lis ten") && check.ends_with("[settings_invalid]"), "{said}");
    assert!(fix.starts_with("    fix: api.lis ten: ") && *end == "1 check failed.", "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
    let help = doctor("--help");
    assert!(String::from_utf8_lossy(&help.stdout).contains("64"), "{help:?}");
}

#[test]
fn bad_settings_exit_64_and_with_json_nothing_else_is_on_standard_output() {
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["doctor", "--json", "--config", "no-such-file.toml"])
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(64));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    assert_eq!(failed(&report), ["settings_invalid"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
}

#[tokio::test]
async fn a_store_that_serve_would_refuse_is_found_and_left_as_it_is() {
    let emulated = Emulated::start().await;
    let path = |name: &str| emulated.directory().join(name);
    let url = |name: &str| format!("sqlite://{}", path(name).display());
    let look = |name: &str| doctor(&emulated, &["--offline"], &[(STORE, &url(name))]).1;
    assert_eq!(detail(&look("none.db"), "store"), "will be made at the first start");

    let other = store(&path("other.db"), 9).await;
    // While it is open, and when it is closed and has no log.
    for _ in 0..2 {
        finds(&emulated, &["--offline"], &[(STORE, &url("other.db"))], "store_unusable", &["seal key"]);
        other.close().await.unwrap();
    }
    rusqlite::Connection::open(path("other.db")).unwrap().pragma_update(None, "user_version", 999).unwrap();
    finds(
        &emulated,
        &["--offline"],
        &[(STORE, &url("other.db"))],
        "store_unusable",
        &["schema is number 999"],
    );

    let foreign = rusqlite::Connection::open(path("foreign.db")).unwrap();
    foreign.execute_batch("CREATE TABLE theirs (id INTEGER)").unwrap();
    drop(foreign);
    finds(&emulated, &["--offline"], &[(STORE, &url("foreign.db"))], "store_unusable", &["another program"]);

    std::fs::write(path("lost.db-lock"), "held data").unwrap();
    finds(&emulated, &["--offline"], &[(STORE, &url("lost.db"))], "store_unusable", &["restore the file"]);

    let mut left: Vec<_> = std::fs::read_dir(emulated.directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".db"))
        .collect();
    left.sort();
    assert_eq!(left, ["foreign.db", "lost.db-lock", "other.db", "other.db-lock"], "it leaves no trace");
}

#[tokio::test]
async fn a_token_whose_sender_is_not_in_the_settings_is_pointed_at_and_left_as_it_is() {
    use countersign::{
        domain::{AccountId, Private, SenderName},
        store::{SenderRecord, Version},
    };
    let emulated = Emulated::start().await;
    let path = emulated.directory().join("left.db");
    let url = format!("sqlite://{}", path.display());
    let seal = [
        ("COUNTERSIGN__STORE__SEAL_KEY", "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk="),
        (STORE, url.as_str()),
    ];
    let left = store(&path, 9).await;
    // By impersonation: nothing of the customer's is kept. A choice goes within a quarter of an hour by itself.
    for (name, token) in [("customer", Some("token")), ("impersonating", None), ("customer#x", Some("token"))]
    {
        let record = SenderRecord {
            sender: SenderName::new(name),
            user_id: NOBODY.to_owned(),
            account: AccountId::new(NOBODY),
            sealed: token.map(|token| Private::new(token.to_owned())),
            connected_at: "2026-06-01T12:00:00Z".parse().unwrap(),
            version: Version(0),
        };
        left.put_sender_record(record).await.unwrap();
    }
    let look = |more: &[(&str, &str)]| {
        let (output, report) = doctor(&emulated, &["--offline"], &[&seal[..], more].concat());
        assert!(output.status.success() && failed(&report).is_empty(), "{report:#}");
        let checks = report["checks"].as_array().unwrap().clone();
        checks.into_iter().find(|check| check["name"] == "connections")
    };
    // While a daemon has it open, and when it is closed and has no log.
    for _ in 0..2 {
        let found = look(&[]).unwrap();
        assert_eq!((&found["status"], &found["code"]), (&json!("advised"), &json!("token_without_sender")));
        assert!(found["detail"].as_str().unwrap().ends_with(": customer"), "{found}");
        let fix = found["fix"].as_str().unwrap();
        for step in ["put its section back", "callers.CALLER.senders", "DELETE /v1/senders/NAME/connect"] {
            assert!(fix.contains(step), "{fix}");
        }
        left.close().await.unwrap();
    }
    let customer = [
        ("COUNTERSIGN__SENDERS__CUSTOMER__INTEGRATION_KEY", emulated.entry("integration_key")),
        ("COUNTERSIGN__SENDERS__CUSTOMER__CONNECT", "code"),
    ];
    assert_eq!(look(&customer), None, "it acts by the token");
    let by_key = [
        customer[0],
        ("COUNTERSIGN__SENDERS__CUSTOMER__CONNECT", "impersonation"),
        ("COUNTERSIGN__SENDERS__CUSTOMER__KEYS", emulated.entry("private_key_file")),
    ];
    let found = look(&by_key).unwrap();
    assert!(found["detail"].as_str().unwrap().ends_with(": customer"), "it acts by its key: {found}");
    assert!(found["fix"].as_str().unwrap().contains("opened again"), "{found}");
}

/// Each look at a database that does not answer takes as long as its patience.
#[tokio::test]
async fn a_database_that_hangs_up_is_asked_once() {
    let emulated = Emulated::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://nobody@{}/none?sslmode=disable", listener.local_addr().unwrap());
    let (calls, called) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // It hangs up once the call is counted.
        for _call in listener.incoming() {
            if calls.send(()).is_err() {
                break;
            }
        }
    });
    finds(&emulated, &["--offline"], &[(STORE, &url)], "store_unavailable", &["See that the database runs"]);
    assert_eq!(called.try_iter().count(), 1);
}

/// A store at this path that is sealed with a key of these bytes.
async fn store(path: &Path, byte: u8) -> countersign::store::SharedStore {
    use countersign::{clock::SystemClock, store};
    let settings = store::Settings::new(store::Location::Sqlite { path: path.to_owned() });
    let keys = store::SealKeys::new(&[byte; store::SEAL_KEY_LEN], &[]);
    store::open(&settings, keys, std::sync::Arc::new(SystemClock)).await.unwrap()
}

#[tokio::test]
async fn an_audit_log_that_serve_would_refuse_is_found() {
    use countersign::{
        audit::{Act, Audit, Entry},
        clock::SystemClock,
    };
    let emulated = Emulated::start().await;
    let look = |file: &str| doctor(&emulated, &["--offline"], &[(AUDIT.0, file)]).1;
    assert!(detail(&look(AUDIT.1), "audit log").contains("will be made"), "{:#}", look(AUDIT.1));
    let path = emulated.directory().join(AUDIT.1);
    let audit = Audit::open(&path, false, std::sync::Arc::new(SystemClock)).unwrap();
    for _ in 0..2 {
        audit.record(Entry::new(Act::ViewCreate, "system")).await.unwrap();
    }
    assert!(detail(&look(AUDIT.1), "audit log").contains("being written by a daemon"));
    audit.close().await;
    assert!(detail(&look(AUDIT.1), "audit log").contains("whole, with 2 line(s)"));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"system\"", "\"custom\"", 1)).unwrap();
    finds(&emulated, &["--offline"], &[AUDIT], "audit_log_unusable", &["line 1", "audit verify"]);
    let nowhere = (AUDIT.0, "/no/such/directory/audit.jsonl");
    finds(&emulated, &["--offline"], &[nowhere], "audit_log_unusable", &["Make the directory"]);
}

#[tokio::test]
async fn a_daemon_of_other_settings_on_the_same_address_is_not_taken_for_ours() {
    let emulated = Emulated::start().await;
    let daemon = consent::Served::start(&emulated).await;
    let environment = daemon.environment();
    let mut changes: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let said = |changes: &[(&str, &str)]| {
        let (output, report) = doctor(&emulated, &["--offline"], changes);
        let checks = report["checks"].as_array().unwrap_or_else(|| panic!("no report: {report}"));
        let line = checks.iter().find(|check| check["name"] == "daemon").unwrap().clone();
        (output.status.success(), line)
    };
    let (_, own) = said(&changes);
    assert!(own["detail"].as_str().unwrap().starts_with("it runs"), "{own}");
    changes.push((STORE, "sqlite://another.db"));
    let (is_well, another) = said(&changes);
    assert_eq!((&another["code"], is_well), (&json!("daemon_of_other_settings"), true), "{another}");
    let (detail, fix) = (another["detail"].as_str().unwrap(), another["fix"].as_str().unwrap());
    assert!(detail.contains("another daemon answers at 127.0.0.1:"), "{detail}");
    assert!(fix.contains("ops.listen") && fix.contains("store.url"), "{fix}");
    assert!(fix.contains("COUNTERSIGN__STORE__URL in its environment and this shell has not"), "{fix}");
}
