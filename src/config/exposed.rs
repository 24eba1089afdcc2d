//! Which of the files that hold secrets others can read or write: `doctor` points at them, and `serve`
//! warns of them when it reads the settings.
//!
//! Private keys are refused where their file lies open, so they count here only where they stand in the settings.

use std::{
    collections::BTreeSet,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

/// Settings that hold a secret, or a list of them.
const SECRETS: [&str; 7] =
    ["bearer_tokens", "client_secret", "hmac_keys", "pkcs11_pin", "seal_key", "seal_keys", "secrets"];

/// Further settings that hold a secret where they name a file.
const IN_FILES: [&str; 2] = ["key", "url"];

/// Of the settings file, and of the files that it names for secrets, those that hold some and lie open.
pub(super) fn exposed(path: &Path, text: &str) -> Vec<PathBuf> {
    let Ok(settings) = toml::from_str::<Table>(text) else { return Vec::new() };
    let mut found = Found::default();
    found.look(&settings);
    let own = found.has_values.then(|| path.to_owned());
    own.into_iter().chain(found.files).filter(|file| is_open(file)).collect()
}

/// Root's files may be read by the group of the user that the daemon runs as, as those of keys may.
fn is_open(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|found| {
        let others = if found.uid() == 0 { 0o037 } else { 0o077 };
        found.mode() & others != 0
    })
}

/// Where secrets are.
#[derive(Default)]
struct Found {
    /// Whether some stand in the settings themselves.
    has_values: bool,
    files: BTreeSet<PathBuf>,
}

impl Found {
    fn look(&mut self, table: &Table) {
        for (key, value) in table {
            let in_file =
                key.strip_suffix("_file").filter(|it| SECRETS.contains(it) || IN_FILES.contains(it));
            match value {
                Value::String(file) if in_file.is_some() => drop(self.files.insert(file.into())),
                secret if SECRETS.contains(&key.as_str()) => self.take(secret),
                other => self.look_into(other),
            }
        }
    }

    fn look_into(&mut self, value: &Value) {
        match value {
            Value::Array(entries) => entries.iter().for_each(|entry| self.look_into(entry)),
            Value::String(text) => self.has_values |= shows_a_secret(text),
            Value::Table(table) => self.look(table),
            _ => {}
        }
    }

    fn take(&mut self, secret: &Value) {
        match secret {
            Value::Array(entries) => entries.iter().for_each(|entry| self.take(entry)),
            Value::Table(forms) => {
                self.has_values |= forms.contains_key("value");
                self.files.extend(forms.get("file").and_then(Value::as_str).map(PathBuf::from));
            }
            _ => self.has_values = true,
        }
    }
}

/// A private key, or the URL of a database with its password.
fn shows_a_secret(text: &str) -> bool {
    let is_url =
        || text.starts_with("postgres") && url::Url::parse(text).is_ok_and(|it| it.password().is_some());
    text.contains("PRIVATE KEY-----") || is_url()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::testing::Scratch;

    #[test]
    fn files_with_secrets_that_others_can_read_are_found_and_no_others() {
        let scratch = Scratch::new("exposed");
        let file = |name: &str, mode: u32| {
            let path = scratch.file(name, "x");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let (open, shut) = (file("open", 0o644), file("shut", 0o600));
        let settings = PathBuf::from(file("settings.toml", 0o644));
        for (text, expected) in [
            ("[store]\nseal_key = \"x\"".to_owned(), vec![settings.clone()]),
            ("[connect]\nhmac_keys = [\"x\"]".to_owned(), vec![settings.clone()]),
            ("[connect]\nbearer_tokens = [\"x\"]".to_owned(), vec![settings.clone()]),
            ("[connect]\nbearer_tokens = []".to_owned(), vec![]),
            ("[webhooks.a]\nsecrets = [{ value = \"x\" }]".to_owned(), vec![settings.clone()]),
            ("[store]\nurl = \"postgres://a:b@host/c\"".to_owned(), vec![settings.clone()]),
            ("[senders.a]\nkeys = [\"-----BEGIN PRIVATE KEY-----\"]".to_owned(), vec![settings.clone()]),
            (format!("[store]\nseal_key_file = \"{open}\""), vec![open.clone().into()]),
            (format!("[api]\ntls = {{ key_file = \"{open}\" }}"), vec![open.clone().into()]),
            (format!("[connect]\nhmac_keys = {{ file = \"{open}\" }}"), vec![open.clone().into()]),
            (format!("[store]\nseal_key_file = \"{shut}\"\nurl = \"sqlite://a\""), vec![]),
            ("[senders.a]\nkeys = [\"key.pem\"]\n[store]\nseal_key_credential = \"x\"".to_owned(), vec![]),
        ] {
            assert_eq!(exposed(&settings, &text), expected, "{text}");
        }
        std::fs::set_permissions(&settings, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(exposed(&settings, "[store]\nseal_key = \"x\"").is_empty());
    }
}
