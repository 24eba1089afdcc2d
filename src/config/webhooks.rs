//! `[webhooks.NAME]`: where our own events go.
//!
//! Secrets have the form of the Standard Webhooks specification: `whsec_` and base64 of 24 to 64 bytes. Callers are
//! tenants, so a receiver never gets the events of one that its table does not name, by its name or in `callers`.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use figment::Figment;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::Url;

use super::{
    ConfigError, Environment,
    callers::check_known,
    error::{near, nearest},
    secret::{Credentials, Entry},
    values,
};

/// Every type of event that we send.
pub const EVENT_TYPES: [&str; 18] = [
    "budget.low",
    "document.available",
    "sender.consent_missing",
    "sender.recovered",
    "signer.authentication_failed",
    "signer.declined",
    "signer.ready",
    "signer.returned",
    "signer.session_started",
    "signer.signed",
    "signing.completed",
    "signing.declined",
    "signing.expired",
    "signing.failed",
    "signing.opened",
    "signing.purged",
    "signing.uncertain",
    "signing.voided",
];

/// What to write in the place of a type of event that does not exist: the one that is near, or any of all.
pub fn instead_of_event(unknown: &str) -> String {
    match near(unknown, &EVENT_TYPES) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("the types are {}", EVENT_TYPES.join(", ")),
    }
}

/// What stands for all callers, whoever they are.
const EVERYBODY: &str = "*";

/// A receiver of events, checked.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where deliveries are posted.
    pub url: Url,
    /// `whsec_…`; every one signs each delivery. Never empty.
    pub secrets: Vec<SecretString>,
    /// Callers whose events it gets; none: the caller of its name, or the only one, if there never was one of its name.
    pub callers: Option<Vec<String>>,
    /// Types of events to send, never an empty list; none: all.
    pub events: Option<Vec<String>>,
    /// Whether private and loopback addresses are delivered to; none: to a loopback address, with the emulator.
    pub allow_private: Option<bool>,
    /// The file or variable that the URL came from, for whoever refuses it later.
    pub found_in: Option<String>,
}

/// Adds to each receiver where its URL came from.
pub(super) fn note_origins(receivers: &mut BTreeMap<String, Webhook>, figment: &Figment) {
    let Ok(written) = figment.find_value("webhooks") else { return };
    for (name, receiver) in receivers {
        let url = written.find_ref(&format!("{name}.url"));
        let layer = url.and_then(|url| figment.get_metadata(url.tag()));
        receiver.found_in = layer.map(|layer| layer.name.to_string());
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(deserialize_with = "values::given")]
    url: Url,
    #[serde(deserialize_with = "values::one_or_many")]
    secrets: Vec<Entry>,
    #[serde(default, deserialize_with = "values::maybe_list")]
    callers: Option<Vec<String>>,
    #[serde(default, deserialize_with = "values::maybe_list")]
    events: Option<Vec<String>>,
    #[serde(default, deserialize_with = "values::maybe")]
    allow_private: Option<bool>,
}

impl Raw {
    pub(super) fn check(
        self,
        name: &str,
        environment: Environment,
        credentials: &Credentials,
        known: &[String],
    ) -> Result<Webhook, ConfigError> {
        let setting = |key: &str| format!("webhooks.{name}.{key}");
        let plain_is_fine = environment == Environment::Emulator && values::is_loopback(&self.url);
        if self.url.scheme() != "https" && !plain_is_fine {
            let fix = "use https (plain http is for loopback with the emulator)";
            return Err(ConfigError::new(setting("url"), "events name signers, so they need https", fix));
        }
        if self.secrets.is_empty() {
            let fix = "write one; make it with: echo whsec_$(openssl rand -base64 32)";
            return Err(ConfigError::new(setting("secrets"), "there is no secret", fix));
        }
        let secrets = self.secrets.iter().enumerate().map(|(index, entry)| {
            let setting = setting(&format!("secrets.{index}"));
            signing_secret(&setting, credentials.reveal(&setting, entry)?)
        });
        let secrets = secrets.collect::<Result<_, _>>()?;
        if self.events.as_ref().is_some_and(Vec::is_empty) {
            // An empty list means none elsewhere, so nobody could tell what is meant by one here.
            let fix = "name at least one, or leave it out for all";
            return Err(ConfigError::new(setting("events"), "there is no event", fix));
        }
        for event in self.events.iter().flatten() {
            if !EVENT_TYPES.contains(&event.as_str()) {
                let cause = format!("unknown event {event}");
                return Err(ConfigError::new(setting("events"), cause, instead_of_event(event)));
            }
        }
        Ok(Webhook {
            url: self.url,
            secrets,
            callers: whose(name, self.callers, known)?,
            events: self.events,
            allow_private: self.allow_private,
            found_in: None,
        })
    }
}

/// Callers whose events the receiver `name` gets, none for the one of its name, or for the only one that there is. A
/// misspelt name, or one whose caller is gone, must not become everybody's: that is said in a word of its own.
fn whose(
    name: &str,
    callers: Option<Vec<String>>,
    known: &[String],
) -> Result<Option<Vec<String>>, ConfigError> {
    let setting = format!("webhooks.{name}.callers");
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    match callers {
        Some(callers) => {
            let mut named = callers.iter().filter(|caller| *caller != EVERYBODY);
            named.try_for_each(|caller| check_known(&setting, "caller", caller, &known))?;
            let is_everybodys = callers.iter().any(|caller| caller == EVERYBODY);
            Ok(Some(if is_everybodys { known.into_iter().map(str::to_owned).collect() } else { callers }))
        }
        None => match nearest(name, &known) {
            Some(nearest) if known.len() > 1 && !known.contains(&name) => {
                let fix = format!(
                    "name the table after a caller, such as [webhooks.{nearest}], or say whose events it gets: \
                     callers = [\"{nearest}\"], or [\"{EVERYBODY}\"] for everybody's"
                );
                let cause = format!("left out, and there is no caller {name}");
                Err(ConfigError::new(setting, cause, fix))
            }
            _ => Ok(None),
        },
    }
}

fn signing_secret(setting: &str, secret: SecretString) -> Result<SecretString, ConfigError> {
    let bytes = secret.expose_secret().strip_prefix("whsec_").and_then(|text| BASE64.decode(text).ok());
    if bytes.is_some_and(|bytes| (24..=64).contains(&bytes.len())) {
        return Ok(secret);
    }
    let fix = "make one with: echo whsec_$(openssl rand -base64 32)";
    Err(ConfigError::new(setting, "not whsec_ and base64 of 24 to 64 bytes", fix))
}
