//! Bearer tokens that someone else issued: OIDC, as Kubernetes gives them to service accounts.
//!
//! A token names its issuer and its subject, and proves both with a signature by a key that the issuer
//! publishes as a JWK set (RFC 7517). What is checked, and how (RFC 7519, RFC 8725):
//!
//! - the issuer is one of the settings, compared as text, and only *its* keys are asked; where several tables of the
//!   settings name it, such as one for each audience, each checks the token whole by itself, and the first that takes it
//!   says what it is called;
//! - the algorithm is one of the settings' list, which holds no HMAC and no `none`, and fits the key's own
//!   kind: a public key can never be taken for a shared secret;
//! - `aud` holds our audience, `exp` is not over, `nbf` and `iat` are not ahead, by our clock with a leeway;
//! - there is a subject, and what it may do is the caller's business, not this module's.
//!
//! It must never log or show a token, and never ask an issuer more often than its bound allows, whatever
//! callers send.

mod keys;
mod token;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use url::Url;

use crate::{
    clock::SharedClock,
    http_client::{BuildError, HttpClient, Options},
};

pub use jsonwebtoken::Algorithm;
use keys::Keys;

/// Longest token that is looked at.
const TOKEN_LIMIT_BYTES: usize = 16 * 1024;

/// Time for one read of an issuer's keys.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// An issuer of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What `iss` must say, to the letter.
    pub issuer: String,
    /// What `aud` must hold.
    pub audience: String,
    /// The signatures that are taken.
    pub algorithms: Vec<Algorithm>,
    /// Where the keys are.
    pub source: Source,
    /// After so long the keys are read again.
    pub refresh: Duration,
    /// Keys older than this are not believed any more.
    pub max_age: Duration,
}

/// Where an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// At a URL.
    Url {
        /// The URL of the JWK set.
        url: Url,
        /// PEM file whose certificates alone are trusted there; none: the operating system's.
        ca_file: Option<PathBuf>,
        /// A file with a bearer token to show there, read anew each time.
        token_file: Option<PathBuf>,
    },
}

/// Whom a token speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The issuer's name in the settings.
    pub issuer: String,
    /// The subject, as the issuer calls it.
    pub subject: String,
}

/// Why a token is not believed. The texts are for the caller; they repeat nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its algorithm is not taken.
    #[error("the token's algorithm is not among those of the issuer in the settings")]
    Algorithm,
    /// It is for somebody else.
    #[error("the token's audience is not ours")]
    Audience,
    /// One of its dates is none.
    #[error("the token's exp, nbf or iat is no date: it is a number of seconds since 1970")]
    Date,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It is no token.
    #[error("the bearer is neither an API key nor a token that can be read")]
    Form,
    /// Nobody of the settings issued it.
    #[error("the token's issuer is not in the settings")]
    Issuer,
    /// Its key is not among the issuer's.
    #[error("the token's key is not among those that its issuer publishes")]
    Key,
    /// The keys could not be read for too long.
    #[error("the issuer's keys cannot be read at the moment")]
    Keys,
    /// Its time has not come.
    #[error("the token is not valid yet; the issuer's clock or this machine's is wrong")]
    NotYet,
    /// The signature is not the key's.
    #[error("the token's signature is wrong")]
    Signature,
    /// It has no subject.
    #[error("the token has no subject")]
    Subject,
}

/// All issuers. Clones share the keys.
#[derive(Debug, Clone, Default)]
pub struct Issuers {
    issuers: Arc<BTreeMap<String, Arc<Issuer>>>,
}

#[derive(Debug)]
struct Issuer {
    settings: Settings,
    keys: Keys,
    clock: SharedClock,
}

impl Issuers {
    /// The issuers of the settings, by name. Nothing is asked before the first token comes. Issuers that
    /// are in `before` with the same settings keep their keys.
    pub fn new(
        settings: BTreeMap<String, Settings>,
        before: &Self,
        clock: &SharedClock,
    ) -> Result<Self, BuildError> {
        let issuer = |(name, settings): (String, Settings)| {
            if let Some(known) = before.issuers.get(&name).filter(|known| known.settings == settings) {
                return Ok((name, Arc::clone(known)));
            }
            let client = match &settings.source {
                Source::File(_) => None,
                Source::Url { ca_file, .. } => Some(HttpClient::new(&Options {
                    ca_file: ca_file.clone(),
                    timeout: FETCH_TIMEOUT,
                    connect_timeout: FETCH_TIMEOUT,
                    response_limit_bytes: keys::SET_LIMIT_BYTES,
                    ..Options::default()
                })?),
            };
            let keys = Keys::new(client);
            Ok((name, Arc::new(Issuer { settings, keys, clock: Arc::clone(clock) })))
        };
        let issuers = settings.into_iter().map(issuer).collect::<Result<_, BuildError>>()?;
        Ok(Self { issuers: Arc::new(issuers) })
    }

    /// Whether there are none, so that a token cannot be one.
    pub fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// Whom a token speaks of, if it can be believed.
    pub async fn identify(&self, token: &str) -> Result<Identity, Refusal> {
        if token.len() > TOKEN_LIMIT_BYTES {
            return Err(Refusal::Form);
        }
        let unverified = token::Unverified::read(token)?;
        let mut refused = Refusal::Issuer;
        for (name, issuer) in &*self.issuers {
            match issuer.subject(token, &unverified).await {
                Ok(subject) => return Ok(Identity { issuer: name.clone(), subject }),
                Err(refusal) if refusal.weight() > refused.weight() => refused = refusal,
                Err(_) => {}
            }
        }
        Err(refused)
    }
}

impl Refusal {
    /// How much it says of a token that several tables refuse: another audience is what tells them apart, and
    /// nothing is known as long as the keys of one cannot be read.
    const fn weight(self) -> u8 {
        match self {
            Self::Issuer => 0,
            Self::Audience => 1,
            Self::Keys => 3,
            _ => 2,
        }
    }
}

impl Issuer {
    /// The subject of a token, if it is one of this issuer for us.
    async fn subject(
        self: &Arc<Self>,
        token: &str,
        unverified: &token::Unverified,
    ) -> Result<String, Refusal> {
        if self.settings.issuer != unverified.issuer {
            return Err(Refusal::Issuer);
        }
        if !self.settings.algorithms.contains(&unverified.algorithm) {
            return Err(Refusal::Algorithm);
        }
        let key = self.key(unverified.kid.as_deref()).await?;
        token::verify(token, unverified, &key, &self.settings, self.clock.now())
    }

    /// The key of that name. What it takes to read keys goes on when the caller hangs up: a stranger who sends
    /// tokens with keys that do not exist, and leaves, must not keep a new key from being read.
    async fn key(self: &Arc<Self>, kid: Option<&str>) -> Result<Arc<keys::PublicKey>, Refusal> {
        if let Some(key) = self.keys.at_hand(kid, &self.settings, &self.clock) {
            return Ok(key);
        }
        let (issuer, kid) = (Arc::clone(self), kid.map(str::to_owned));
        let found =
            tokio::spawn(
                async move { issuer.keys.find(kid.as_deref(), &issuer.settings, &issuer.clock).await },
            );
        found.await.unwrap_or(Err(Refusal::Keys))
    }
}

/// What a stranger sends as a token, checked with what an issuer may publish as its keys.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_hostile(token: &str, set: &[u8]) {
    let settings = Settings {
        issuer: "https://issuer.example".to_owned(),
        audience: "countersign".to_owned(),
        algorithms: vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA],
        source: Source::File(std::path::PathBuf::new()),
        refresh: Duration::from_secs(300),
        max_age: Duration::from_secs(3_600),
    };
    let now = jiff::Timestamp::from_second(1_700_000_000).expect("a time");
    let keys = keys::parse(set).unwrap_or_default();
    let Ok(unverified) = token::Unverified::read(token) else { return };
    for key in &keys {
        let _ = token::verify(token, &unverified, key, &settings, now);
    }
}

#[cfg(test)]
mod tests;
