//! Why there is no token, to the bottom of it.
//!
//! The account server's words name what it did not find, not why it is not there. The commonest why is that
//! it is in the other environment: an app that goes live takes its integration key along and nothing else.
//! So where something is not known here, the other environment is asked whether it is known there; the
//! assertion tells it nothing that DocuSign does not have.

use std::sync::Arc;

use super::Bench;
use crate::{
    auth::{Error, Impersonation, key_ring::KeyState},
    config::Environment,
    doctor::Check,
    telemetry::chain,
};

/// How far an assertion comes at an account server, in the order of its checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    Nothing,
    IntegrationKey,
    Key,
    User,
}

impl Known {
    fn of(minted: &Result<(), Arc<Error>>) -> Self {
        match minted.as_ref().map_err(|error| &**error) {
            Ok(()) | Err(Error::ConsentRequired(_)) => Self::User,
            Err(Error::UserUnknown(_)) => Self::Key,
            Err(Error::KeyRejected(_) | Error::ClockSkew { .. }) => Self::IntegrationKey,
            Err(_) => Self::Nothing,
        }
    }
}

impl Bench<'_> {
    /// Missing consent has a check of its own: the key was taken, and a person has to act.
    pub(super) async fn token(&self, minted: &Result<(), Arc<Error>>) -> Check {
        let error = match minted {
            Ok(()) => {
                let detail = format!("minted just now with the key {}", self.earned_by());
                return Check::passed("token", detail);
            }
            Err(error) => &**error,
        };
        let upload = format!(
            "Upload the public half of this key ({}) under Apps and Keys > your app > Service Integration, in {}.",
            self.fingerprints(),
            self.here()
        );
        match error {
            Error::ConsentRequired(_) => Check::skipped("token", "the account server wants consent first"),
            Error::Unreachable(_)
            | Error::Malformed { .. }
            | Error::Unavailable { .. }
            | Error::RateLimited { .. } => Check::skipped("token", "not asked: see the account server"),
            Error::KeyRejected(_) if self.known_elsewhere().await >= Known::Key => {
                let detail = format!(
                    "this key is registered in {}, and not in {}; keys are not copied when an app goes live",
                    self.there(),
                    self.here()
                );
                Check::failed("token", "key_of_other_environment", detail, upload)
            }
            Error::KeyRejected(_) => {
                Check::failed("token", "key_not_registered", chain(error).to_string(), upload)
            }
            Error::IssuerUnknown(_) if self.known_elsewhere().await >= Known::IntegrationKey => {
                let detail =
                    format!("the integration key belongs to {}, and not to {}", self.there(), self.here());
                Check::failed("token", "wrong_environment", detail, self.move_over())
            }
            Error::IssuerUnknown(_) => Check::failed(
                "token",
                "integration_key_unknown",
                format!("{} knows no app with integration key {}", self.here(), self.sender.integration_key),
                "Copy the integration key (36 characters) of the app from Apps and Keys into integration_key.",
            ),
            Error::UserUnknown(_) if self.known_elsewhere().await >= Known::User => {
                let detail = format!("the user belongs to {}, and not to {}", self.there(), self.here());
                Check::failed("token", "user_of_other_environment", detail, self.move_over())
            }
            Error::UserUnknown(_) => {
                Check::failed("token", "sender_unknown_user", chain(error).to_string(), error.fix())
            }
            other => Check::failed("token", other.cause(), chain(other).to_string(), other.fix()),
        }
    }

    /// Of several keys, each that the account server refuses: the others mint without it, until it is the last.
    pub(super) async fn refused_keys(&self, minted: &Result<(), Arc<Error>>) -> Vec<Check> {
        if minted.is_err() || self.who.keys.len() < 2 {
            return Vec::new();
        }
        let mut refused = Vec::new();
        for (place, key) in self.who.keys.iter().enumerate() {
            let alone = Impersonation { keys: vec![key.clone()], ..self.who.clone() };
            let tried = self.auth.try_out(self.name.as_str(), alone).await;
            let Some(error) = tried.err().filter(|error| matches!(**error, Error::KeyRejected(_))) else {
                continue;
            };
            let print = key.examine().await.map(|(print, _)| print.to_string()).unwrap_or_default();
            let detail = format!("keys[{place}] ({print}) is refused, another one mints: {}", chain(&*error));
            let fix = "Upload its public half, or take it out of the settings if it is one that you deleted at DocuSign.";
            refused.push(Check::failed("token", "key_not_registered", detail, fix));
        }
        refused
    }

    async fn known_elsewhere(&self) -> Known {
        match &self.other {
            Some(other) => Known::of(&other.prove(self.name.as_str()).await),
            None => Known::Nothing,
        }
    }

    fn here(&self) -> &'static str {
        match self.config.upstream.environment() {
            Environment::Demo => "the demo environment",
            Environment::Emulator => "this emulator",
            Environment::Production => "production",
        }
    }

    fn there(&self) -> &'static str {
        match self.config.upstream.environment() {
            Environment::Demo => "production",
            Environment::Emulator => "the other emulator",
            Environment::Production => "the demo environment",
        }
    }

    fn move_over(&self) -> &'static str {
        match self.config.upstream.environment() {
            Environment::Demo => {
                "Set upstream.environment to \"production\", or take integration_key and user_id from the developer account."
            }
            Environment::Emulator => {
                "Set upstream.oauth_url to the emulator that these ids belong to, or use this one's."
            }
            Environment::Production => {
                "Promote the app (Apps and Keys > Start Go-Live Review) and take user_id from the production account, or set upstream.environment to \"demo\"."
            }
        }
    }

    fn fingerprints(&self) -> String {
        self.fingerprints_of(|_| true)
    }

    /// The key that earned the last token.
    fn earned_by(&self) -> String {
        self.fingerprints_of(|state| state == KeyState::Active)
    }

    fn fingerprints_of(&self, is_meant: impl Fn(KeyState) -> bool) -> String {
        let keys = self.auth.status(self.name.as_str()).map(|status| status.keys).unwrap_or_default();
        let meant = keys.iter().filter(|key| is_meant(key.state));
        let mut prints: Vec<_> = meant.filter_map(|key| Some(key.fingerprint?.to_string())).collect();
        // The settings may name one key twice.
        prints.dedup();
        prints.join(", ")
    }
}
