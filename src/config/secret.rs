//! Secrets in the settings: by value, by file, or as a systemd credential; never two at once.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{ConfigError, values};

/// A secret is a line or a key; a larger file is something else given by mistake.
const FILE_LIMIT_BYTES: u64 = 64 * 1024;

/// An entry of a list of secrets: the value itself, or a table that says where it is.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    Value(SecretString),
    File(PathBuf),
    Credential(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default, deserialize_with = "values::maybe")]
    value: Option<String>,
    #[serde(default, deserialize_with = "values::maybe")]
    file: Option<PathBuf>,
    #[serde(default, deserialize_with = "values::maybe")]
    credential: Option<String>,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, {file = \"…\"} or {credential = \"…\"}")
    }

    fn visit_str<E>(self, text: &str) -> Result<Entry, E> {
        Ok(Entry::Value(text.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Entry, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(table))?;
        match (table.value, table.file, table.credential) {
            (Some(value), None, None) => Ok(Entry::Value(value.into())),
            (None, Some(file), None) => Ok(Entry::File(file)),
            (None, None, Some(name)) => Ok(Entry::Credential(name)),
            _ => Err(serde::de::Error::custom(
                "not exactly one of value, file and credential; keep one of the three",
            )),
        }
    }
}

/// Where systemd's credentials are, for settings that name one.
#[derive(Debug, Clone, Default)]
pub(super) struct Credentials(pub(super) Option<PathBuf>);

impl Credentials {
    /// The file of the credential `name`.
    pub(super) fn path(&self, setting: &str, name: &str) -> Result<PathBuf, ConfigError> {
        if name.contains('/') || name == ".." {
            return Err(ConfigError::new(
                setting,
                "a credential is a name, not a path",
                "write only its name",
            ));
        }
        let Some(directory) = &self.0 else {
            let cause = "there are no systemd credentials here ($CREDENTIALS_DIRECTORY is not set)";
            let fix = format!(
                "by hand, put CREDENTIALS_DIRECTORY=FOLDER (where the secrets lie) in front of the command; as a service, \
                 start under systemd with LoadCredential={name}:FILE; or give a file"
            );
            return Err(ConfigError::new(setting, cause, fix));
        };
        Ok(directory.join(name))
    }

    /// The secret that a list entry stands for.
    pub(super) fn reveal(&self, setting: &str, entry: &Entry) -> Result<SecretString, ConfigError> {
        match entry {
            Entry::Value(value) => non_empty(setting, value.expose_secret()),
            Entry::File(path) => read(setting, path),
            Entry::Credential(name) => read(setting, &self.path(setting, name)?),
        }
    }
}

/// The three forms of one secret, as they stand in a section.
pub(super) struct Forms {
    pub(super) value: Option<String>,
    pub(super) file: Option<PathBuf>,
    pub(super) credential: Option<String>,
}

impl Forms {
    /// The secret, if any form is there; an error if two are.
    pub(super) fn reveal(
        self,
        setting: &str,
        credentials: &Credentials,
    ) -> Result<Option<SecretString>, ConfigError> {
        let (file_setting, credential_setting) = (format!("{setting}_file"), format!("{setting}_credential"));
        match (self.value, self.file, self.credential) {
            (None, None, None) => Ok(None),
            (Some(value), None, None) => non_empty(setting, &value).map(Some),
            (None, Some(path), None) => read(&file_setting, &path).map(Some),
            (None, None, Some(name)) => {
                read(&credential_setting, &credentials.path(&credential_setting, &name)?).map(Some)
            }
            (Some(_), Some(_), _) => Err(twice(setting, &file_setting)),
            (Some(_), None, Some(_)) => Err(twice(setting, &credential_setting)),
            (None, Some(_), Some(_)) => Err(twice(&file_setting, &credential_setting)),
        }
    }
}

/// Where a secret is that is read again while we run: its file, or that of its credential; an error if both are there.
pub(super) fn place(
    setting: &str,
    file: Option<PathBuf>,
    credential: Option<String>,
    credentials: &Credentials,
) -> Result<Option<PathBuf>, ConfigError> {
    let (file_setting, credential_setting) = (format!("{setting}_file"), format!("{setting}_credential"));
    let (setting, path) = match (file, credential) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(twice(&file_setting, &credential_setting)),
        (Some(path), None) => (file_setting, path),
        (None, Some(name)) => {
            let path = credentials.path(&credential_setting, &name)?;
            (credential_setting, path)
        }
    };
    values::readable(&setting, &path)?;
    Ok(Some(path))
}

fn twice(one: &str, other: &str) -> ConfigError {
    ConfigError::new(one, format!("given twice, also as {other}"), "keep one of the two")
}

fn read(setting: &str, path: &Path) -> Result<SecretString, ConfigError> {
    values::readable(setting, path)?;
    let large = std::fs::metadata(path).is_ok_and(|found| found.len() > FILE_LIMIT_BYTES);
    if large {
        let cause = format!("{} is larger than 64 KiB", path.display());
        return Err(ConfigError::new(setting, cause, "name the file with the secret alone"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigError::new(
            setting,
            format!("cannot read {}: {error}", path.display()),
            "write the secret as text",
        )
    })?;
    non_empty(setting, &text)
}

fn non_empty(setting: &str, text: &str) -> Result<SecretString, ConfigError> {
    // Editors and `echo` end a file with a newline that is no part of the secret.
    let text = text.trim();
    if text.is_empty() {
        return Err(ConfigError::new(setting, "empty", "write the secret there"));
    }
    Ok(text.into())
}
