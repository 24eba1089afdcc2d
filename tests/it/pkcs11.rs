//! A key that never leaves its device: SoftHSM2 of Debian as the device, the real binary as the daemon.
//!
//! Run with `cargo test --features pkcs11 --test it pkcs11::`; without the feature, what is tested is that the
//! binary says so.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use countersign::auth::signing_key::{self, Generated};
use serde_json::{Value, json};

use crate::{harness::TempDir, reload::Daemon};

const PIN: &str = "271828";
/// Where Debian, Fedora and Alpine put the module.
const MODULES: [&str; 3] =
    ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/lib/pkcs11/libsofthsm2.so"];

/// A token with one key in it.
struct Device {
    directory: TempDir,
    module: PathBuf,
    pair: Generated,
}

impl Device {
    /// None, with a word about it, where SoftHSM2 is not installed.
    fn new() -> Option<Self> {
        let module = MODULES.iter().map(Path::new).find(|path| path.exists()).map(Path::to_owned);
        let Some(module) = module.filter(|_| Command::new("softhsm2-util").arg("--version").output().is_ok())
        else {
            assert!(!is_ci(), "softhsm2 is not installed");
            eprintln!("skipped: softhsm2 is not installed");
            return None;
        };
        let directory = TempDir::new();
        fs::create_dir(directory.0.join("tokens")).unwrap();
        let settings = format!("directories.tokendir = {}\n", directory.0.join("tokens").display());
        fs::write(directory.0.join("softhsm2.conf"), settings).unwrap();
        write_secret(&directory.0.join("pin"), PIN);
        let device = Self { directory, module, pair: signing_key::generate().unwrap() };
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
        let file = self.directory.0.join(format!("{label}-{id}.pem"));
        write_secret(&file, &pair.private_pem);
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
        Daemon::launch(edit, &[("SOFTHSM2_CONF", self.conf())]).await
    }
}

#[expect(clippy::disallowed_methods, reason = "whether a missing device is a fault")]
fn is_ci() -> bool {
    std::env::var_os("CI").is_some()
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

/// A start that must fail, on settings that stand alone.
fn refused_start(directory: &TempDir, keys: &str, more: &str, conf: &Path) -> Output {
    let settings = format!(
        "[upstream]\nenvironment = \"emulator\"\noauth_url = \"http://127.0.0.1:9\"\n\
         [senders.system]\nintegration_key = \"11111111-2222-3333-4444-555555555555\"\n\
         user_id = \"66666666-7777-8888-9999-aaaaaaaaaaaa\"\nkeys = [\"{keys}\"]\n\
         [api]\nlisten = \"127.0.0.1:0\"\n[ops]\nlisten = \"127.0.0.1:0\"\n\
         [store]\nurl = \"sqlite://{}\"\nseal_key = \"OjuYkzzbqKkGyKTs1ZNpUfXwLRp9XRTZ9X6m8Y8aZf0=\"\n{more}",
        directory.0.join("refused.db").display(),
    );
    let file = directory.0.join("refused.toml");
    fs::write(&file, settings).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.arg("serve").arg("--config").arg(file).env("SOFTHSM2_CONF", conf).output().unwrap()
}

fn assert_refused(output: &Output, words: &str) {
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{line}");
    assert!(line.contains(words) && line.lines().count() == 1, "{words}: {line}");
    assert!(!line.contains(PIN), "{line}");
}

#[tokio::test]
async fn a_key_in_a_device_earns_the_token() {
    if !cfg!(feature = "pkcs11") {
        return;
    }
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

#[test]
fn what_is_wrong_with_a_device_is_one_line_at_the_start() {
    let directory = TempDir::new();
    let none = directory.0.join("none.conf");
    if !cfg!(feature = "pkcs11") {
        let more = "[signer]\npkcs11_module = \"/lib/x.so\"\npkcs11_pin = \"1\"\n";
        let output = refused_start(&directory, "pkcs11:object=x", more, &none);
        assert_refused(&output, "built without the feature pkcs11");
        return;
    }
    assert_refused(&refused_start(&directory, "pkcs11:object=x", "", &none), "signer.pkcs11_module");
    let more = "[signer]\npkcs11_module = \"/nonexistent.so\"\npkcs11_pin = \"1\"\n";
    assert_refused(&refused_start(&directory, "pkcs11:object=x", more, &none), "no PKCS#11 module");
    assert_refused(&refused_start(&directory, "pkcs11:token=x", more, &none), "names no key");
    let Some(device) = Device::new() else { return };
    let start = |keys: &str| refused_start(&directory, keys, &device.signer_settings(), &device.conf());
    assert_refused(&start("pkcs11:object=other"), "no RSA private key of this name");
    assert_refused(&start("pkcs11:token=other;object=signing"), "no such token");
    device.import(&signing_key::generate().unwrap(), "signing", "02");
    assert_refused(&start("pkcs11:object=signing"), "several keys of this name");
    write_secret(&device.directory.0.join("pin"), "000000");
    assert_refused(&start("pkcs11:object=signing;id=%01"), "PIN is refused");
}
