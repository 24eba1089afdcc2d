//! `[senders.NAME]`: the DocuSign users we act as.
//!
//! Keys are located here and read by `auth`, which also watches them (rule T10).

use std::{collections::BTreeMap, path::PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    ConfigError,
    secret::{Credentials, Entry, Forms},
    values,
};

/// The key in `keys.example/`: hex of the SHA-256 over its public half (SubjectPublicKeyInfo, DER).
/// It is public, so a real upstream must never know it (rule S4).
pub const EXAMPLE_KEY_FINGERPRINT: &str = "d373ea5946e1d0b725fc2181fac3211666f4ee36d4e7a9f5d097eb3af21faf71";

/// Where a private key is.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// In a device, by its PKCS#11 URI.
    Device(String),
    /// In a file, that may change while we run.
    File(PathBuf),
    /// In the settings: PEM text, perhaps with `\n` typed as two characters.
    Inline(SecretString),
}

/// A sender, checked.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Our client identifier at the upstream, the `iss` of assertions.
    pub integration_key: Uuid,
    /// The impersonated user, the `sub` of assertions; none if it is connectable.
    pub user_id: Option<Uuid>,
    /// Account id or name; none: the user's default account when the sender first acts.
    pub account: Option<String>,
    /// How a customer connects it; none if its user is in the settings.
    pub connect: Option<ConnectForm>,
    /// The app's secret, for the codes of consent and connect links; none for a public client.
    pub client_secret: Option<SecretString>,
    /// Private keys, the one in use first. Empty only with `connect = "code"`.
    pub keys: Vec<KeySource>,
    /// Connect HMAC keys of its account, believed of its own envelopes alone.
    pub hmac_keys: Vec<SecretString>,
    /// What consent and tokens cover. Never empty.
    pub scopes: Vec<String>,
    /// Identity verification workflow for SMS; none: found by its type.
    pub sms_workflow: Option<Uuid>,
    /// DocuSign brand of the signing pages.
    pub brand: Option<Uuid>,
    /// Templates of its account, by names that mean these for it alone.
    pub templates: BTreeMap<String, Uuid>,
}

impl Sender {
    /// What a person is asked for, and tokens cover: the code grant knows no impersonation, and its refresh tokens
    /// last with `extended` only.
    pub fn asked_scopes(&self) -> Vec<&str> {
        let mut asked: Vec<&str> = self.scopes.iter().map(String::as_str).collect();
        if self.connect == Some(ConnectForm::Code) {
            asked.retain(|scope| !matches!(*scope, "impersonation" | "extended"));
            asked.push("extended");
        }
        asked
    }

    /// A key in a device needs the module through which it is reached.
    pub(super) fn check_devices(&self, name: &str, has_module: bool) -> Result<(), ConfigError> {
        let device = self.keys.iter().position(|key| matches!(key, KeySource::Device(_)));
        device.filter(|_| !has_module).map_or(Ok(()), |index| {
            let fix = "set signer.pkcs11_module to the library of the device's vendor, and its PIN";
            let cause = "this key is in a device, and nothing says how to reach it";
            Err(ConfigError::new(format!("senders.{name}.keys.{index}"), cause, fix))
        })
    }

    /// With an isolated signer no key may be in the settings, which the daemon itself reads.
    pub(super) fn check_isolated(&self, name: &str) -> Result<(), ConfigError> {
        let inline = self.keys.iter().position(|key| matches!(key, KeySource::Inline(_)));
        inline.map_or(Ok(()), |index| {
            let cause = "signer.isolate is on, and this key is in the settings, which the daemon reads";
            let fix = "write it to a file, and its path here; the signer alone reads that";
            Err(ConfigError::new(format!("senders.{name}.keys.{index}"), cause, fix))
        })
    }
}

/// How a sender without a user in the settings comes by its tokens, once a customer has connected it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectForm {
    /// By the authorization code grant, with a refresh token that is kept.
    Code,
    /// By JWT Grant, with nothing kept.
    Impersonation,
}

impl values::Setting for ConnectForm {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "code" => Ok(Self::Code),
            "impersonation" => Ok(Self::Impersonation),
            _ => Err("not one of \"impersonation\" and \"code\"".into()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(deserialize_with = "values::needed")]
    integration_key: String,
    #[serde(default, deserialize_with = "values::maybe")]
    user_id: Option<String>,
    #[serde(default, deserialize_with = "values::maybe")]
    account: Option<String>,
    #[serde(default, deserialize_with = "values::maybe")]
    connect: Option<ConnectForm>,
    #[serde(default, deserialize_with = "values::maybe")]
    client_secret: Option<String>,
    #[serde(default, deserialize_with = "values::maybe")]
    client_secret_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "values::maybe")]
    client_secret_credential: Option<String>,
    #[serde(default, deserialize_with = "values::one_or_many")]
    keys: Vec<Entry>,
    #[serde(default, deserialize_with = "values::one_or_many")]
    hmac_keys: Vec<Entry>,
    #[serde(deserialize_with = "values::list")]
    scopes: Vec<String>,
    #[serde(default, deserialize_with = "values::maybe")]
    sms_workflow: Option<Uuid>,
    #[serde(default, deserialize_with = "values::maybe")]
    brand: Option<Uuid>,
    #[serde(default, deserialize_with = "values::named")]
    templates: BTreeMap<String, Uuid>,
}

impl Raw {
    pub(super) fn check(self, name: &str, credentials: &Credentials) -> Result<Sender, ConfigError> {
        let setting = |key: &str| format!("senders.{name}.{key}");
        let integration_key = guid(&setting("integration_key"), &self.integration_key, "Integration Key")?;
        let user_id = self.user(&setting("user_id"), integration_key)?;
        if self.keys.is_empty() && self.connect != Some(ConnectForm::Code) {
            let fix = "name the PEM file; `countersign keygen --out DIR` makes one";
            return Err(ConfigError::new(setting("keys"), "there is no key", fix));
        }
        if self.scopes.is_empty() {
            let fix = "leave it out for \"signature\" and \"impersonation\"";
            return Err(ConfigError::new(setting("scopes"), "there is no scope", fix));
        }
        if self.scopes.iter().any(|scope| scope.contains(char::is_whitespace)) {
            let fix = "write a list, such as [\"signature\", \"impersonation\"]";
            return Err(ConfigError::new(setting("scopes"), "several scopes in one text", fix));
        }
        let secret = Forms {
            value: self.client_secret,
            file: self.client_secret_file,
            credential: self.client_secret_credential,
        };
        let client_secret = secret.reveal(&setting("client_secret"), credentials)?;
        values::checked_names(&setting("templates"), self.templates.keys())?;
        let reveal = |(at, entry)| credentials.reveal(&setting(&format!("hmac_keys.{at}")), entry);
        let hmac_keys = self.hmac_keys.iter().enumerate().map(reveal).collect::<Result<_, _>>()?;
        let locate = |(index, entry)| key_source(&setting(&format!("keys.{index}")), entry, credentials);
        Ok(Sender {
            integration_key,
            user_id,
            connect: self.connect,
            client_secret,
            account: self.account,
            keys: self.keys.into_iter().enumerate().map(locate).collect::<Result<_, _>>()?,
            hmac_keys,
            scopes: self.scopes,
            sms_workflow: self.sms_workflow,
            brand: self.brand,
            templates: self.templates,
        })
    }
}

impl Raw {
    /// The user, unless it comes from whoever connects the sender.
    fn user(&self, setting: &str, integration_key: Uuid) -> Result<Option<Uuid>, ConfigError> {
        let user = match (&self.user_id, self.connect) {
            (None, Some(_)) => return Ok(None),
            (Some(_), Some(_)) => {
                let fix = "leave it out: it is the user who opens the connect link";
                return Err(ConfigError::new(
                    setting,
                    "a connectable sender has no user in the settings",
                    fix,
                ));
            }
            (None, None) => {
                let fix =
                    "copy the User ID (36 characters) from Apps and Keys, or set connect for a customer's";
                return Err(ConfigError::new(setting, "missing", fix));
            }
            (Some(user), None) => user,
        };
        let user_id = guid(setting, user, "User ID")?;
        if integration_key == user_id {
            let fix = "Apps and Keys shows the User ID on top, the Integration Key beside the app";
            let error = ConfigError::new(setting, "the same as integration_key", fix);
            return Err(error.coded("integration_key_as_user_id"));
        }
        if self.account.as_deref().is_some_and(|account| account.eq_ignore_ascii_case(user)) {
            let fix = "write the GUID of the user; the account has an API Account ID of its own";
            let error = ConfigError::new(setting, "the same as account", fix);
            return Err(error.coded("sender_user_is_account"));
        }
        Ok(Some(user_id))
    }
}

/// Reads a GUID; the usual things that stand in its place get a message of their own.
fn guid(setting: &str, text: &str, label: &str) -> Result<Uuid, ConfigError> {
    if let Ok(id) = <Uuid as values::Setting>::parse(text) {
        return Ok(id);
    }
    let (code, cause) = if text.contains('@') {
        ("email_as_id", "an e-mail address stands where a GUID belongs")
    } else if text.bytes().all(|c| c.is_ascii_digit()) {
        ("account_number_as_id", "an account number stands where a GUID belongs")
    } else if text.starts_with("-----BEGIN") {
        ("key_as_id", "a key stands where a GUID belongs")
    } else {
        ("not_a_guid", "not a GUID")
    };
    let fix = format!("copy the {label} (36 characters) from Apps and Keys");
    Err(ConfigError::new(setting, cause, fix).coded(code))
}

fn key_source(setting: &str, entry: Entry, credentials: &Credentials) -> Result<KeySource, ConfigError> {
    Ok(match entry {
        Entry::Value(text) if text.expose_secret().contains("-----BEGIN") => KeySource::Inline(text),
        Entry::Value(text) if text.expose_secret().trim_start().starts_with("pkcs11:") => {
            KeySource::Device(text.expose_secret().trim().to_owned())
        }
        Entry::Value(text)
            if text.expose_secret().trim().is_empty() || text.expose_secret().contains('\n') =>
        {
            let cause = "neither a path nor PEM text";
            return Err(ConfigError::new(setting, cause, "write the path of the PEM file"));
        }
        Entry::Value(text) => KeySource::File(PathBuf::from(text.expose_secret().trim())),
        Entry::File(path) => KeySource::File(path),
        Entry::Credential(name) => KeySource::File(credentials.path(setting, &name)?),
    })
}
