//! `[callers.NAME]`: who may call the API, and what for.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;
use uuid::Uuid;

use super::{
    ConfigError, Environment, Oidc, Sender, SubjectRule, published, values,
    values::{Origin, Rate, Setting},
};

/// A caller, checked.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Hashes of its API keys. May be empty if something else stands in for the key.
    pub key_hashes: Vec<KeyHash>,
    /// Senders it may use; none: every one.
    pub senders: Option<Vec<String>>,
    /// Senders of the settings that it may make others like, through the API. Empty: it makes none.
    pub sender_patterns: Vec<String>,
    /// Templates it may use, by name or GUID; none: every one.
    pub templates: Option<Vec<String>>,
    /// Where visitors may be sent back to (rule L6). Empty: nowhere.
    pub return_origins: Vec<Origin>,
    /// How often it may call; none: no limit.
    pub rate: Option<Rate>,
    /// Whether every signer needs an SMS check.
    pub sms_required: bool,
    /// Users of this machine that need no key on the unix socket.
    pub unix_uids: Vec<u32>,
    /// Names in client certificates that need no key.
    pub certificates: Vec<CertificateName>,
    /// Subjects of tokens that need no key, by the issuer's name in the settings.
    pub oidc: BTreeMap<String, Vec<SubjectRule>>,
    /// What happens where a right is missing.
    pub enforcement: Enforcement,
    /// Which calls it may pass through, which are not looked into.
    pub passthrough: Passthrough,
    /// Signings that it may create in one day (UTC), by all daemons together; none: no cap.
    pub daily_signings: Option<u32>,
    /// Its share of the account's hourly calls, in percent, by all daemons together; none: all of them.
    pub budget_percent: Option<u32>,
}

/// What happens where a caller lacks a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    /// It is logged and counted, and allowed.
    Audit,
    /// It is refused.
    On,
}

/// Which calls a caller may pass through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passthrough {
    /// All that pass at all.
    All,
    /// All but those that make an envelope: what limits its signings could not be seen in them.
    NoEnvelopes,
    /// None.
    Nothing,
}

/// A name in a certificate: `cn:…`, `dns:…` or `uri:…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateName(String);

impl CertificateName {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for CertificateName {
    fn parse(text: &str) -> Result<Self, String> {
        let named = text.split_once(':').filter(|(_, name)| !name.is_empty());
        match named {
            Some(("cn" | "dns" | "uri", _)) => Ok(Self(text.to_owned())),
            _ => Err("not a name in a certificate; write cn:NAME, dns:NAME or uri:URI".into()),
        }
    }
}

/// A list of subjects, or the only one.
#[derive(Deserialize)]
pub(super) struct Subjects(#[serde(deserialize_with = "values::list")] pub(super) Vec<SubjectRule>);

/// SHA-256 of an API key, over its whole text. Compare in constant time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

impl Setting for KeyHash {
    fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with("cs_") {
            return Err(
                "the key itself stands where its hash belongs; make a new key with `countersign caller add`"
                    .into(),
            );
        }
        let wrong = || {
            "not a key hash; write sha256: and 64 hex digits, as `countersign caller add` prints".to_owned()
        };
        let hex =
            text.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.is_ascii()).ok_or_else(wrong)?;
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            if pair.starts_with('+') {
                return Err(wrong());
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(digest))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(default, deserialize_with = "values::maybe")]
    key_hash: Option<KeyHash>,
    #[serde(default, deserialize_with = "values::maybe_list")]
    key_hashes: Option<Vec<KeyHash>>,
    #[serde(default, deserialize_with = "values::maybe_list")]
    senders: Option<Vec<String>>,
    #[serde(default, deserialize_with = "values::list")]
    sender_patterns: Vec<String>,
    #[serde(default, deserialize_with = "values::maybe_list")]
    templates: Option<Vec<String>>,
    #[serde(default, deserialize_with = "values::list")]
    return_origins: Vec<Origin>,
    #[serde(default, deserialize_with = "values::maybe")]
    rate: Option<Rate>,
    #[serde(deserialize_with = "values::given")]
    sms_required: bool,
    #[serde(default, deserialize_with = "values::list")]
    unix_uids: Vec<u32>,
    #[serde(default, deserialize_with = "values::list")]
    certificates: Vec<CertificateName>,
    #[serde(default)]
    oidc: BTreeMap<String, Subjects>,
    enforcement: Enforcement,
    #[serde(default, deserialize_with = "values::maybe")]
    passthrough: Option<bool>,
    #[serde(default, deserialize_with = "values::maybe")]
    daily_signings: Option<u32>,
    #[serde(default, deserialize_with = "values::maybe")]
    budget_percent: Option<u32>,
}

impl Raw {
    pub(super) fn check(self, name: &str, environment: Environment) -> Result<Caller, ConfigError> {
        let setting = format!("callers.{name}.key_hash");
        let key_hashes = match (self.key_hash, self.key_hashes) {
            (Some(_), Some(_)) => {
                let cause = format!("given twice, also as callers.{name}.key_hashes");
                return Err(ConfigError::new(setting, cause, "keep one of the two"));
            }
            (Some(hash), None) => {
                check_own(&setting, &hash, environment)?;
                vec![hash]
            }
            (None, hashes) => {
                let hashes = hashes.unwrap_or_default();
                for (at, hash) in hashes.iter().enumerate() {
                    check_own(&format!("callers.{name}.key_hashes.{at}"), hash, environment)?;
                }
                hashes
            }
        };
        let stands_in = !self.unix_uids.is_empty() || !self.certificates.is_empty() || !self.oidc.is_empty();
        if key_hashes.is_empty() && !stands_in {
            let fix = format!("`countersign caller add {name}` makes a key and prints the line to paste");
            return Err(ConfigError::new(setting, "missing", fix));
        }
        if self.budget_percent.is_some_and(|percent| !(1..=100).contains(&percent)) {
            let setting = format!("callers.{name}.budget_percent");
            return Err(ConfigError::new(setting, "not a share", "write 1 to 100, or leave it out"));
        }
        if self.daily_signings == Some(0) {
            let setting = format!("callers.{name}.daily_signings");
            return Err(ConfigError::new(
                setting,
                "lets it create nothing",
                "write 1 or more, or leave it out",
            ));
        }
        let passthrough = match self.passthrough {
            Some(false) => Passthrough::Nothing,
            // A create that is passed on as it is could use any template, and leave the SMS check out.
            None if self.templates.is_some() || self.sms_required => Passthrough::NoEnvelopes,
            None | Some(true) => Passthrough::All,
        };
        Ok(Caller {
            key_hashes,
            senders: self.senders,
            sender_patterns: self.sender_patterns,
            templates: self.templates,
            return_origins: self.return_origins,
            rate: self.rate,
            sms_required: self.sms_required,
            unix_uids: self.unix_uids,
            certificates: self.certificates,
            oidc: self.oidc.into_iter().map(|(issuer, subjects)| (issuer, subjects.0)).collect(),
            enforcement: self.enforcement,
            passthrough,
            daily_signings: self.daily_signings,
            budget_percent: self.budget_percent,
        })
    }
}

impl Caller {
    /// Checks that what it is limited to exists.
    pub(super) fn check_names(
        &self,
        name: &str,
        senders: &BTreeMap<String, Sender>,
        templates: &BTreeMap<String, Uuid>,
        issuers: &BTreeMap<String, Oidc>,
    ) -> Result<(), ConfigError> {
        if let Some(issuer) = self.oidc.keys().find(|issuer| !issuers.contains_key(*issuer)) {
            let known: Vec<&str> = issuers.keys().map(String::as_str).collect();
            let fix = match super::error::nearest(issuer, &known) {
                Some(nearest) => format!("did you mean {nearest}?"),
                None => "add a table [oidc.NAME] for it".to_owned(),
            };
            let cause = format!("names an issuer that does not exist ({issuer})");
            return Err(ConfigError::new(format!("callers.{name}.oidc"), cause, fix));
        }
        let known: Vec<&str> = senders.keys().map(String::as_str).collect();
        for sender in self.senders.iter().flatten() {
            check_known(&format!("callers.{name}.senders"), "sender", sender, &known)?;
        }
        for sender in &self.sender_patterns {
            check_known(&format!("callers.{name}.sender_patterns"), "sender", sender, &known)?;
        }
        let own = senders.values().flat_map(|sender| sender.templates.keys());
        let known: Vec<&str> = templates.keys().chain(own).map(String::as_str).collect();
        for template in self.templates.iter().flatten() {
            // A request may name a template by its GUID, too.
            if <Uuid as Setting>::parse(template).is_err() {
                check_known(&format!("callers.{name}.templates"), "template", template, &known)?;
            }
        }
        Ok(())
    }
}

/// Refuses the key that everybody has, where what is called for counts (rule S4).
fn check_own(setting: &str, hash: &KeyHash, environment: Environment) -> Result<(), ConfigError> {
    if environment == Environment::Emulator || !published::is_api_key(hash.as_bytes()) {
        return Ok(());
    }
    let cause = "this is the key of an example, which everybody has";
    let fix = "make one with `countersign caller add NAME`";
    Err(ConfigError::new(setting, cause, fix))
}

pub(super) fn check_known(setting: &str, kind: &str, name: &str, known: &[&str]) -> Result<(), ConfigError> {
    if known.contains(&name) {
        return Ok(());
    }
    let fix = match super::error::nearest(name, known) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => format!("add a table [{kind}s] with it"),
    };
    Err(ConfigError::new(setting, format!("names a {kind} that does not exist ({name})"), fix))
}

/// Refuses what would make one caller of two: a key, a user, a certificate's name or a subject of both.
pub(super) fn check_apart(callers: &BTreeMap<String, Caller>) -> Result<(), ConfigError> {
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for (name, caller) in callers {
        let keys = caller.key_hashes.iter().map(|hash| ("key_hashes", format!("{:?}", hash.0)));
        let users = caller.unix_uids.iter().map(|uid| ("unix_uids", format!("uid {uid}")));
        let names = caller.certificates.iter().map(|name| ("certificates", name.0.to_ascii_lowercase()));
        let subjects = caller
            .oidc
            .iter()
            .flat_map(|(issuer, rules)| rules.iter().map(move |rule| ("oidc", format!("{issuer} {rule:?}"))));
        for (setting, identity) in keys.chain(users).chain(names).chain(subjects) {
            let owner = owners.entry(identity).or_insert(name);
            if owner != name {
                let cause = format!("an entry stands for callers.{owner}, too");
                let fix = "give each caller its own";
                return Err(ConfigError::new(format!("callers.{name}.{setting}"), cause, fix));
            }
        }
    }
    Ok(())
}
