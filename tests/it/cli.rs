//! The command line as scripts meet it: the real binary, its exit codes and its two outputs.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Output},
};

fn countersign(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_countersign")).args(arguments).output().expect("the binary starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text on standard output")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text on standard error")
}

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("countersign-cli-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    path
}

#[test]
fn missing_and_wrong_arguments_exit_2() {
    let table: [&[&str]; 12] = [
        &[],
        &["audit"],
        &["audit", "verify"],
        &["trigger"],
        &["trigger", "nonsense"],
        &["keygen"],
        &["caller"],
        &["caller", "add"],
        &["caller", "add", "Not A Name"],
        &["keygen", "--out", "x", "--bits", "1024"],
        &["nonsense"],
        &["keygen", "--nonsense"],
    ];
    for arguments in table {
        let output = countersign(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stdout(&output).is_empty() && !stderr(&output).is_empty(), "{arguments:?}");
    }
    assert_eq!(countersign(&["--help"]).status.code(), Some(0));
    assert!(stdout(&countersign(&["--version"])).starts_with("countersign "));
}

#[test]
fn caller_add_shows_a_key_and_its_hash_and_with_json_nothing_else() {
    let output = countersign(&["caller", "add", "website", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let added: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let fields: Vec<&str> = added.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["key", "key_hash", "name"]);
    assert_eq!(added["name"], "website");
    let key = added["key"].as_str().unwrap();
    assert!(key.starts_with("cs_") && key.len() == 46, "{key}");

    let text = stdout(&countersign(&["caller", "add", "website"]));
    assert!(text.contains("    cs_") && text.contains("[callers.website]\nkey_hash = \"sha256:"), "{text}");
}

#[test]
fn keygen_makes_a_pair_that_fits_and_overwrites_nothing() {
    let directory = scratch("keygen");
    let out = directory.display().to_string();
    let output = countersign(&["keygen", "--out", &out]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let (private_path, public_path) = (directory.join("private_key.pem"), directory.join("public_key.pem"));
    let private = fs::read_to_string(&private_path).unwrap();
    assert!(private.starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    assert_eq!(fs::metadata(&private_path).unwrap().permissions().mode() & 0o777, 0o600);
    let public = fs::read_to_string(&public_path).unwrap();
    assert_eq!(stdout(&output), public);
    assert!(stderr(&output).contains("Apps and Keys") && !stderr(&output).contains("PRIVATE KEY-----"));
    let fits = {
        use rsa::{pkcs1::DecodeRsaPrivateKey as _, pkcs8::DecodePublicKey as _};
        let private = rsa::PrivateKey::from_pkcs1_pem(&private).unwrap();
        private.to_public_key() == rsa::PublicKey::from_public_key_pem(&public).unwrap()
    };
    assert!(fits);

    let again = countersign(&["keygen", "--out", &out]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(stderr(&again).lines().count(), 1, "{}", stderr(&again));
    assert!(stderr(&again).contains("private_key.pem exists"), "{}", stderr(&again));
    assert_eq!(fs::read_to_string(&private_path).unwrap(), private);
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn openapi_prints_the_document_and_nothing_else() {
    let output = countersign(&["openapi"]);
    assert_eq!(output.status.code(), Some(0));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(document["paths"]["/v1/signings"]["post"].is_object());
}
