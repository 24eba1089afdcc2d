//! A key that never leaves its device: SoftHSM2 of Debian as the device, the real binary as the daemon.
//!
//! The binary with the feature `pkcs11` is built beside the one that the other tests run (`tests/run` does), and named by
//! a variable: `COUNTERSIGN_PKCS11=/path/to/countersign cargo test --test it pkcs11::`. What the one without the feature
//! says of devices is tested, too.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use countersign::auth::signing_key::{self, Generated};
use serde_json::{Value, json};

use crate::{harness::TempDir, left_out::leave_out, reload::Daemon};

const PIN: &str = "271828";
/// Where Debian, Fedora and Alpine put the module.
const MODULES: [&str; 3] =
    ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/lib/pkcs11/libsofthsm2.so"];

/// The binary that knows no devices.
const WITHOUT: &str = env!("CARGO_BIN_EXE_countersign");

/// The one that was built with the feature. None, with a word about it, where nobody names it.
#[expect(clippy::disallowed_methods, reason = "the path of another build of what is tested")]
fn with_devices() -> Option<PathBuf> {
    let named = std::env::var_os("COUNTERSIGN_PKCS11").map(PathBuf::from);
    if named.is_none() {
        leave_out("COUNTERSIGN_PKCS11 names no binary with the feature pkcs11");
    }
    named
}

/// A token with one key in it, and the binary that can ask for it.
struct Device {
    program: PathBuf,
    directory: TempDir,
    module: PathBuf,
    pair: Generated,
}

impl Device {
    /// None, with a word about it, where SoftHSM2 or the binary is missing.
    fn new() -> Option<Self> {
        let program = with_devices()?;
        let module = MODULES.iter().map(Path::new).find(|path| path.exists()).map(Path::to_owned);
        let Some(module) = module.filter(|_| Command::new("softhsm2-util").arg("--version").output().is_ok())
        else {
            leave_out("softhsm2 is not installed");
            return None;
        };
        let directory = TempDir::new();
        fs::create_dir(directory.0.join("tokens")).unwrap();
        let settings = format!("directories.tokendir = {}\n", directory.0.join("tokens").display());
        fs::write(directory.0.join("softhsm2.conf"), settings).unwrap();
        write_secret(&directory.0.join("pin"), PIN);
        let device = Self { program, directory, module, pair: signing_key::generate().unwrap() };
        device.util(&[
            "--init-token",
            "--free",
            "--label",
            "countersign",
            "--so-pin",
            "314159",
            "--pin",
            PIN,
        ]);
        device.import(&device.pair, "signing", "01");
        Some(device)
    }

    fn util(&self, arguments: &[&str]) {
        let output = Command::new("softhsm2-util").args(arguments).env("SOFTHSM2_CONF", self.conf()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    fn import(&self, pair: &Generated, label: &str, id: &str) {
        use rsa::{
            pkcs1::DecodeRsaPrivateKey as _,
            pkcs8::{EncodePrivateKey as _, LineEnding},
        };
        let file = self.directory.0.join(format!("{label}-{id}.pem"));
        // softhsm2-util takes no other form than PKCS#8.
        let key = rsa::PrivateKey::from_pkcs1_pem(&pair.private_pem).unwrap();
        write_secret(&file, &key.to_pkcs8_pem(LineEnding::LF).unwrap());
        let path = file.display().to_string();
        self.util(&["--import", &path, "--token", "countersign", "--label", label, "--id", id, "--pin", PIN]);
        fs::remove_file(file).unwrap();
    }

    fn conf(&self) -> PathBuf {
        self.directory.0.join("softhsm2.conf")
    }

    fn signer_settings(&self) -> String {
        let pin = self.directory.0.join("pin");
        format!(
            "[signer]\npkcs11_module = \"{}\"\npkcs11_pin_file = \"{}\"\n",
            self.module.display(),
            pin.display()
        )
    }

    /// A daemon with this as the sender's key.
    async fn daemon(&self, uri: &str) -> Daemon {
        let edit = |text: String| with_key(&text, uri) + &self.signer_settings();
        Daemon::launch_program(&self.program, edit, &[("SOFTHSM2_CONF", self.conf())]).await
    }
}

fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The settings with another key.
fn with_key(text: &str, key: &str) -> String {
    let line = text.lines().find(|line| line.starts_with("keys = ")).unwrap();
    text.replace(line, &format!("keys = [\"{key}\"]"))
}

async fn register(daemon: &Daemon, pair: &Generated) {
    let ready = daemon.emulator.ready();
    let body =
        json!({"integration_key": ready.integration_key, "public_key_pem": pair.public_pem, "active": true});
    let url = format!("{}/_test/keys", ready.control_url);
    let sent = crate::harness::http_client().post(url).body(body.to_string()).send().await.unwrap();
    assert!(sent.status().is_success());
}

/// Settings that stand alone, for a key of an upstream that is not there.
fn alone(directory: &TempDir, keys: &str, more: &str) -> String {
    format!(
        "[upstream]\nenvironment = \"emulator\"\noauth_url = \"http://127.0.0.1:9\"\n\
         [senders.system]\nintegration_key = \"11111111-2222-3333-4444-555555555555\"\n\
         user_id = \"66666666-7777-8888-9999-aaaaaaaaaaaa\"\nkeys = [\"{keys}\"]\n\
         [api]\nlisten = \"127.0.0.1:0\"\n[ops]\nlisten = \"127.0.0.1:0\"\n\
         [store]\nurl = \"sqlite://{}\"\nseal_key = \"OjuYkzzbqKkGyKTs1ZNpUfXwLRp9XRTZ9X6m8Y8aZf0=\"\n{more}",
        directory.0.join("refused.db").display(),
    )
}

/// A start that must fail.
fn refused_start(program: &Path, directory: &TempDir, keys: &str, more: &str, conf: &Path) -> Output {
    let settings = alone(directory, keys, more);
    let file = directory.0.join("refused.toml");
    fs::write(&file, settings).unwrap();
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(file).env("SOFTHSM2_CONF", conf).output().unwrap()
}

/// The checks that doctor makes on these settings.
fn doctor(
    program: &Path,
    directory: &TempDir,
    settings: &str,
    arguments: &[&str],
    conf: &Path,
) -> Vec<Value> {
    let file = directory.0.join("doctor.toml");
    fs::write(&file, settings).unwrap();
    let mut command = Command::new(program);
    command.args(["doctor", "--json", "--config"]).arg(file).args(arguments).env("SOFTHSM2_CONF", conf);
    let output = command.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert!(!report.to_string().contains(PIN), "{report:#}");
    report["checks"].as_array().unwrap().clone()
}

/// The line of this name, or the first of several.
fn line<'a>(checks: &'a [Value], name: &str) -> &'a Value {
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}: {checks:#?}"))
}

fn assert_refused(output: &Output, words: &str) {
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{line}");
    assert!(line.contains(words) && line.lines().count() == 1, "{words}: {line}");
    assert!(!line.contains(PIN), "{line}");
}

#[tokio::test]
async fn a_key_in_a_device_earns_the_token() {
    let Some(device) = Device::new() else { return };
    let daemon = device.daemon("pkcs11:token=countersign;object=signing").await;
    register(&daemon, &device.pair).await;
    // The key was not registered when the daemon started; a wake-up asks again at once.
    daemon.signal(rustix::process::Signal::HUP);
    let is_active = async |daemon: &Daemon| {
        let (_, text) = daemon.get(daemon.api.join("/v1/senders").unwrap()).await;
        let senders: Value = serde_json::from_str(&text).unwrap();
        let key = &senders["data"][0]["keys"][0];
        key["state"] == "active" && key["fingerprint"] == device.pair.fingerprint.to_string()
    };
    daemon.until("a token", async |daemon| is_active(daemon).await).await;
    assert!(!daemon.log().contains(PIN));
}

// The emulator is in this process, and must answer while the command runs.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_asks_the_device_and_walks_the_whole_chain_with_its_key() {
    let Some(device) = Device::new() else { return };
    let uri = "pkcs11:token=countersign;object=signing";
    let daemon = device.daemon(uri).await;
    register(&daemon, &device.pair).await;
    let settings = fs::read_to_string(daemon.directory.0.join("settings.toml")).unwrap();
    let walk = |settings: &str| doctor(&device.program, &daemon.directory, settings, &[], &device.conf());
    let checks = walk(&settings);
    let failed: Vec<_> = checks.iter().filter(|check| check["status"] == "failed").collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let print = device.pair.fingerprint.to_string();
    for name in ["key", "token"] {
        assert!(line(&checks, name)["detail"].as_str().unwrap().contains(&print), "{checks:#?}");
    }
    for name in ["token", "consent", "user", "account", "API", "SMS workflow", "budget"] {
        assert_eq!(line(&checks, name)["status"], "passed", "{checks:#?}");
    }

    // One that nobody registered stands behind it, and is named by its place in the settings.
    let other = daemon.directory.0.join("other.pem");
    write_secret(&other, &signing_key::generate().unwrap().private_pem);
    let checks = walk(&with_key(&settings, &format!("{uri}\", \"{}", other.display())));
    let failed: Vec<_> = checks.iter().filter(|check| check["status"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert_eq!(failed[0]["code"], "key_not_registered");
    assert!(failed[0]["detail"].as_str().unwrap().starts_with("keys[1] (SHA256:"), "{failed:#?}");
}

#[test]
fn doctor_says_what_is_wrong_with_a_device() {
    let directory = TempDir::new();
    let more = "[signer]\npkcs11_module = \"/nonexistent.so\"\npkcs11_pin = \"1\"\n";
    let settings = alone(&directory, "pkcs11:object=x", more);
    let assert_told = |program: &Path, code: &str, words: &str| {
        let checks = doctor(program, &directory, &settings, &["--offline"], &directory.0.join("none.conf"));
        let key = line(&checks, "key");
        assert_eq!((&key["status"], &key["code"]), (&json!("failed"), &json!(code)), "{key}");
        assert!(key["detail"].as_str().unwrap().contains(words), "{key}");
        assert!(key["fix"].as_str().unwrap().contains("pkcs11"), "{key}");
    };
    assert_told(Path::new(WITHOUT), "settings_invalid", "built without the feature pkcs11");
    let Some(program) = with_devices() else { return };
    assert_told(&program, "key_device_unusable", "no PKCS#11 module");
}

#[test]
fn a_binary_that_knows_no_devices_says_so_in_one_line() {
    let directory = TempDir::new();
    let more = "[signer]\npkcs11_module = \"/lib/x.so\"\npkcs11_pin = \"1\"\n";
    let none = directory.0.join("none.conf");
    let output = refused_start(Path::new(WITHOUT), &directory, "pkcs11:object=x", more, &none);
    assert_refused(&output, "built without the feature pkcs11");
}

#[test]
fn what_is_wrong_with_a_device_is_one_line_at_the_start() {
    let Some(device) = Device::new() else { return };
    let directory = TempDir::new();
    let none = directory.0.join("none.conf");
    let without = |keys: &str, more: &str| refused_start(&device.program, &directory, keys, more, &none);
    assert_refused(&without("pkcs11:object=x", ""), "signer.pkcs11_module");
    let more = "[signer]\npkcs11_module = \"/nonexistent.so\"\npkcs11_pin = \"1\"\n";
    assert_refused(&without("pkcs11:object=x", more), "no PKCS#11 module");
    assert_refused(&without("pkcs11:token=x", more), "names no key");
    let start = |keys: &str| {
        refused_start(&device.program, &directory, keys, &device.signer_settings(), &device.conf())
    };
    assert_refused(&start("pkcs11:object=other"), "no RSA private key of this name");
    assert_refused(&start("pkcs11:token=other;object=signing"), "no such token");
    device.import(&signing_key::generate().unwrap(), "signing", "02");
    assert_refused(&start("pkcs11:object=signing"), "several keys of this name");
    write_secret(&device.directory.0.join("pin"), "000000");
    assert_refused(&start("pkcs11:object=signing;id=%01"), "PIN is refused");
}
