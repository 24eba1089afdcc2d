//! What the tests of the settings share: the least that a file must say, and a folder for files.

use std::path::PathBuf;

use super::{Config, ConfigError, Variables};

pub(super) const SENDER: &str = r#"
[senders.system]
integration_key = "5e0b1c8d-9a47-4c7e-8d21-6f3a2b900001"
user_id = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210001"
keys = ["key.pem"]
"#;

pub(super) const SEAL_KEY: &str = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=";

/// The least that a settings file must say, and more.
pub(super) fn with(more: &str) -> String {
    format!("{SENDER}\n[store]\nseal_key = \"{SEAL_KEY}\"\n{more}")
}

pub(super) fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn load(text: &str, pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_layers(Some(("site.toml", text)), &variables(pairs))
}

#[track_caller]
pub(super) fn refused(text: &str) -> String {
    let line = load(text, &[]).expect_err("these settings should be refused").to_string();
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

/// A directory for one test, removed at its end.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("countersign-config-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn emulator(oauth_url: &str, more: &str) -> String {
    with(&format!("[upstream]\nenvironment = \"emulator\"\noauth_url = \"{oauth_url}\"\n{more}"))
}
