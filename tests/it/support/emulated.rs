//! The emulator as a process of its own, in a directory with the settings of `config/local.toml` for it:
//! for tests of commands, which have no clock to move and no parts to look into.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use countersign::http_client::{HttpClient, Options, Request};
use serde_json::Value;
use url::Url;

use crate::waiting::read_ready;

pub(crate) struct Emulated {
    process: Child,
    directory: PathBuf,
    ready: Value,
}

impl Emulated {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With these arguments more.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let name = format!("countersign-emulated-{}", uuid::Uuid::new_v4().simple());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let ready_file = directory.join("emulator.json");
        let process = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["emulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"])
            .args(["--state-dir", "emulator", "--ready-file", "emulator.json"])
            .args(arguments)
            .current_dir(&directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let mut emulated = Self { process, directory, ready: Value::Null };
        emulated.ready = read_ready(&ready_file).await;
        let local = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/local.toml");
        let settings = std::fs::read_to_string(local).unwrap();
        // The file names fixed ports; tests take free ones.
        let settings = settings.replace("http://127.0.0.1:8443", emulated.entry("oauth_url"));
        let settings = format!(
            "{settings}\n[api]\nlisten = \"127.0.0.1:0\"\n[ops]\nlisten = \"127.0.0.1:0\"\n\
             [stop]\ngrace = \"0s\"\n"
        );
        let settings = settings.replace("[public]\n", "[public]\nlisten = \"127.0.0.1:0\"\n");
        std::fs::write(emulated.settings(), settings).unwrap();
        emulated
    }

    /// The settings file.
    pub(crate) fn settings(&self) -> PathBuf {
        self.directory.join("countersign.toml")
    }

    /// Where everything is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What its ready file says.
    pub(crate) fn entry(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap()
    }

    /// A call of the control interface.
    pub(crate) async fn control(&self, method: &str, call: &str, body: &Value) -> Value {
        let url = Url::parse(&format!("{}/_test/{call}", self.entry("control_url"))).unwrap();
        let request = Request::new(method.parse().unwrap(), url);
        let request = if body.is_null() { request } else { request.json(body.to_string()) };
        let answer = HttpClient::new(&Options::default()).unwrap().send(request).await.unwrap();
        assert!(answer.status.is_success(), "{call}: {}", String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).unwrap()
    }
}

impl Drop for Emulated {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
