//! The command line as scripts meet it: the real binary, its exit codes and its two outputs.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
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
    let table: [&[&str]; 14] = [
        &[],
        &["audit"],
        &["audit", "verify"],
        &["trigger"],
        &["trigger", "nonsense"],
        &["keygen"],
        &["caller"],
        &["operator"],
        &["operator", "password", "--nonsense"],
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

/// A key is shown this once: whoever sends it to a full disk must hear that they have none.
#[test]
fn what_cannot_be_written_is_a_failure_and_a_reader_that_went_away_is_none() {
    let run = |arguments: &[&str], out: std::process::Stdio| {
        Command::new(env!("CARGO_BIN_EXE_countersign")).args(arguments).stdout(out).output().unwrap()
    };
    let table: [&[&str]; 5] = [
        &["caller", "add", "website", "--json"],
        &["caller", "add", "website"],
        &["operator", "password", "--json"],
        &["openapi"],
        &["emulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"],
    ];
    for arguments in table {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = run(arguments, full.into());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(
            said.contains("countersign: cannot write the output: No space left"),
            "{arguments:?}: {said}"
        );
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = run(&["openapi"], writer.into());
    assert!(output.status.success() && stderr(&output).is_empty(), "{}", stderr(&output));
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

/// The user of the settings that are wrong.
const USER_ID: &str = "user_id = \"5f1c9a52-6f0e-4a3b-8f57-1d2a90900002\"";

/// A receiver that nothing would ever be sent to.
const WEBHOOK_INSIDE: &str = "[webhooks.shop]\nurl = \"https://10.0.0.5/events\"\n\
    secrets = [\"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"]\n";

/// What is said of it when it stands in this file.
fn refusal_of_webhook_inside(file: &Path) -> String {
    let cause = "it is not on the public internet, and allow_private is not true; ";
    format!("webhooks.shop.url (in {}): {cause}", file.display())
}

#[test]
fn bad_settings_are_one_line_and_exit_64() {
    let folder = crate::harness::TempDir::new();
    let example = folder.0.join("example.pem").display().to_string();
    let pem = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/keys.example/private_key.pem"))
        .unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let settings = |key: &str, environment: &str, more: &str| {
        format!(
            "[upstream]\n{environment}\n[senders.system]\nintegration_key = \"5f1c9a52-6f0e-4a3b-8f57-1d2a90900001\"\n\
             {USER_ID}\nkeys = [\"{key}\"]\n{more}\n\
             [api]\nlisten = \"127.0.0.1:0\"\n[ops]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = \"sqlite://{}\"\n\
             seal_key = \"OjuYkzzbqKkGyKTs1ZNpUfXwLRp9XRTZ9X6m8Y8aZf0=\"\n",
            folder.0.join("c.db").display()
        )
    };
    let demo = "environment = \"demo\"";
    let emulator = "environment = \"emulator\"\noauth_url = \"http://127.0.0.1:9\"";
    write("example.pem", &pem, 0o600);
    let good = settings(&example, emulator, "");
    let listening = |listener: &str, line: &str| {
        good.replacen(&format!("[{listener}]\nlisten = \"127.0.0.1:0\""), &format!("[{listener}]\n{line}"), 1)
    };
    let inside = good.clone() + WEBHOOK_INSIDE;
    // Which is taken where allow_private is left out.
    let on_loopback = inside.replace("https://10.0.0.5", "http://127.0.0.1:9") + "allow_private = false\n";
    let (upstream, rest) = good.split_once("[senders.system]").unwrap();
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = busy.local_addr().unwrap();
    let nowhere = folder.0.join("nowhere/file");
    let refused_inside = refusal_of_webhook_inside(&folder.0.join("settings.toml"));
    let cases = [
        (settings(&example, demo, ""), "example key"),
        (settings(&example, demo, "").replace(USER_ID, "connect = \"impersonation\""), "example key"),
        (settings(&write("wide.pem", &pem, 0o644), emulator, ""), "0600"),
        (settings(&write("cut.pem", &pem[..pem.len() / 2], 0o600), emulator, ""), "cut off"),
        (settings(&folder.0.join("none.pem").display().to_string(), emulator, ""), "there is no such file"),
        (settings(&example, emulator, "scoeps = [\"signature\"]"), "senders.system.scopes"),
        (settings(&example, "environment = \"dmeo\"", ""), "upstream.environment"),
        (listening("api", &format!("listen = \"{taken}\"")), "api.listen: cannot listen"),
        (listening("ops", "listen = \"192.0.2.1:9464\""), "ops.listen: cannot listen"),
        (inside, refused_inside.as_str()),
        (on_loopback, refused_inside.as_str()),
        (listening("api", &format!("unix_socket = \"{}\"", nowhere.display())), "make its folder"),
        (
            settings(&example, emulator, &format!("[audit]\nfile = \"{}\"", nowhere.display())),
            "make its folder",
        ),
        (good.replace("\"5f1c9a52-6f0e-4a3b-8f57-1d2a90900001\"", "\"\""), "integration_key"),
        (format!("{upstream}{}", &rest[rest.find("[api]").unwrap()..]), "add a table [senders.system]"),
    ];
    for (text, expected) in cases {
        let file = write("settings.toml", &text, 0o600);
        let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["serve", "--config", &file])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("config/default.toml"), "a file that the reader may not have: {said}");
        assert!(expected != "integration_key" || !said.contains("leave it out"), "{said}");
    }
}

#[test]
fn a_key_that_is_not_there_is_named_by_its_whole_path_and_by_who_writes_it() {
    let folder = crate::harness::TempDir::new();
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["serve", "--config", concat!(env!("CARGO_MANIFEST_DIR"), "/config/local.toml")])
        .current_dir(&folder.0)
        .output()
        .unwrap();
    let said = stderr(&output);
    assert_eq!((output.status.code(), said.trim_end().lines().count()), (Some(64), 1), "{said}");
    let place = folder.0.canonicalize().unwrap().join("emulator/private_key.pem");
    assert!(said.contains(&format!("so this one is {}", place.display())), "{said}");
    assert!(said.contains("countersign emulate --state-dir DIR"), "{said}");
}

#[test]
fn an_option_that_emulate_or_demo_cannot_start_with_is_named_and_exits_64() {
    let folder = crate::harness::TempDir::new();
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = busy.local_addr().unwrap().to_string();
    let plan = folder.0.join("plan.toml");
    fs::write(&plan, "[[fault]]\nfault = \"delay\"\ndelay_ms = 5\nchance = 1\n").unwrap();
    let plan = plan.display().to_string();
    let nowhere = folder.0.join("nope.toml").display().to_string();
    let free = "127.0.0.1:0";
    let cases: [(&[&str], &str); 9] = [
        (&["emulate", "--listen", &taken], "--listen: cannot listen on"),
        (&["emulate", "--listen", "0.0.0.0:0"], "--listen: 0.0.0.0:0 is no loopback address"),
        (&["emulate", "--listen", free, "--control", &taken], "--control: cannot listen on"),
        (&["emulate", "--listen", free, "--control", "0.0.0.0:0"], "--control: 0.0.0.0:0 is no loopback"),
        (&["emulate", "--faults", &nowhere], "--faults: cannot read"),
        (&["emulate", "--faults", &plan], "unknown field `chance`"),
        (
            &["emulate", "--listen", free, "--control", free, "--state-dir", &plan],
            "--state-dir: cannot write",
        ),
        (&["demo", "--site", &taken], "--site: cannot listen on"),
        (&["demo", "--site", "0.0.0.0:0"], "--site: 0.0.0.0:0 is no loopback address"),
    ];
    for (arguments, expected) in cases {
        let output = countersign(arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert!(stdout(&output).is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_state_dir_has_one_emulator_at_a_time() {
    let emulated = crate::emulated::Emulated::start().await;
    let folder = emulated.directory().join("emulator");
    let key = fs::read(folder.join("private_key.pem")).unwrap();
    let free = "127.0.0.1:0";
    let second = countersign(&[
        "emulate",
        "--listen",
        free,
        "--control",
        free,
        "--state-dir",
        folder.to_str().unwrap(),
    ]);
    let said = stderr(&second);
    assert_eq!((second.status.code(), said.trim_end().lines().count()), (Some(64), 1), "{said}");
    assert!(said.contains("--state-dir: another emulator uses"), "{said}");
    assert_eq!(fs::read(folder.join("private_key.pem")).unwrap(), key, "the first one's clients go on");
}

#[test]
fn an_address_without_a_host_is_refused_with_how_to_write_one() {
    for option in
        [["emulate", "--listen", "8443"], ["emulate", "--control", "8444"], ["demo", "--site", "8090"]]
    {
        let said = stderr(&countersign(&option));
        assert!(said.contains("an IP address and a port, such as 127.0.0.1:8443"), "{option:?}: {said}");
    }
}

#[test]
fn an_address_without_http_is_refused_with_how_to_write_it_by_every_option_that_asks_one() {
    for bare in ["127.0.0.1:19110", "localhost:19110"] {
        let options: [&[&str]; 3] = [
            &["listen", "--key", "k", "--url", bare],
            &["listen", "--key", "k", "--forward-to", bare],
            &["trigger", "completed", "--control", bare],
        ];
        for option in options {
            let output = countersign(option);
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{option:?}: {said}");
            assert!(said.contains("write an http:// or https:// address"), "{option:?}: {said}");
        }
    }
}

#[test]
fn a_ready_file_that_cannot_be_written_is_said_before_anything_listens() {
    let folder = crate::harness::TempDir::new();
    let local = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/local.toml")).unwrap();
    let file = folder.0.join("local.toml");
    std::fs::write(&file, local).unwrap();
    let temporary = folder.0.join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let commands: [&[&str]; 3] = [
        &["serve", "--config", file.to_str().unwrap()],
        &["emulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"],
        &["demo", "--site", "127.0.0.1:0"],
    ];
    for command in commands {
        for nowhere in [folder.0.join("none/ready.json"), folder.0.clone()] {
            let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
                .args(command)
                .args([OsStr::new("--ready-file"), nowhere.as_os_str()])
                .env("TMPDIR", &temporary)
                .output()
                .unwrap();
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(64), "{command:?}: {said}");
            assert_eq!(said.trim_end().lines().count(), 1, "{command:?}: {said}");
            assert!(said.contains("--ready-file: cannot write"), "{command:?}: {said}");
        }
    }
    // Where an emulator and a demo keep their state.
    std::fs::remove_dir(temporary).expect("nothing was begun there");
    let left: Vec<_> =
        std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["local.toml"], "nor here");
}

#[test]
fn a_sender_that_is_not_there_is_called_that_and_emulate_says_what_it_does() {
    let folder = crate::harness::TempDir::new();
    let local = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/local.toml")).unwrap();
    let file = folder.0.join("local.toml");
    std::fs::write(&file, local).unwrap();
    for command in ["consent", "doctor"] {
        let output = countersign(&[command, "--sender", "nope", "--config", file.to_str().unwrap()]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "an argument is wrong, and not the settings: {said}");
        assert!(said.contains("--sender nope is not configured"), "{said}");
        assert!(said.contains("one of system"), "{said}");
    }
    let help = stdout(&countersign(&["--help"]));
    assert!(help.contains("emulate") && !help.contains("What `emulate` takes"), "{help}");
}

#[test]
fn audit_verify_says_in_its_help_what_it_finds() {
    let help = stdout(&countersign(&["audit", "verify", "--help"]));
    assert!(help.contains("FILE.head") && help.contains("bundle of evidence"), "{help}");
}

#[test]
fn openapi_prints_the_document_and_nothing_else() {
    let output = countersign(&["openapi"]);
    assert_eq!(output.status.code(), Some(0));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(document["paths"]["/v1/signings"]["post"].is_object());
}

#[test]
fn operator_password_prints_a_hash_that_the_settings_take() {
    let made = countersign(&["operator", "password", "--json"]);
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let (password, hash) =
        (made["password"].as_str().unwrap(), made["operator_password_hash"].as_str().unwrap());
    assert_eq!(password.len(), 24);
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    let again = countersign(&["operator", "password"]);
    let text = stdout(&again);
    assert!(
        text.contains("Under [ops]") && text.contains("\n\noperator_password_hash = \"$argon2id$"),
        "{text}"
    );
    assert!(!text.contains("\n[ops]"), "that table is there already: {text}");
    assert!(!text.contains(password), "each time another one");
}

#[test]
fn operator_password_takes_ones_own_but_no_short_one() {
    use std::{io::Write as _, process::Stdio};
    let run = |password: &str| {
        let mut process = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["operator", "password", "--stdin", "--json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
        process.wait_with_output().unwrap()
    };
    let good = run("correct horse battery\nsecond line\n");
    let made: serde_json::Value = serde_json::from_slice(&good.stdout).unwrap();
    let hash = argon2::PasswordHash::new(made["operator_password_hash"].as_str().unwrap()).unwrap();
    let verify = |password: &[u8]| {
        argon2::PasswordVerifier::verify_password(&argon2::Argon2::default(), password, &hash).is_ok()
    };
    assert!(verify(b"correct horse battery") && !verify(b"correct horse battery\n"));
    assert!(made.get("password").is_none(), "what was given is not shown again");
    let short = run("short\n");
    assert_eq!(short.status.code(), Some(1));
    assert!(stderr(&short).contains("12 characters"));
}
