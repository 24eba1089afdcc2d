//! An issuer's keys: read when they are first needed, kept, read again now and then and for a key that is
//! not known yet, and never more often than a bound.
//!
//! | What | How long |
//! |---|---|
//! | keys | until `refresh`, then read again; a failure keeps the old ones |
//! | keys that cannot be read again | until `max_age`, then nobody is believed |
//! | between two reads, whatever tokens come | 30 s; 2 s while there are no keys at all |

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use http::HeaderValue;
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde::Deserialize;

use super::{Refusal, Settings, Source};
use crate::{
    clock::SharedClock,
    http_client::{HttpClient, Request},
};

/// Largest JWK set.
pub(super) const SET_LIMIT_BYTES: usize = 256 * 1024;
/// Keys of a set that are looked at.
const SET_LIMIT_KEYS: usize = 100;
/// Time between two reads.
const READ_GAP: Duration = Duration::from_secs(30);
/// Time between two reads while there are no keys, or none that may still be used.
const FIRST_READ_GAP: Duration = Duration::from_secs(2);

/// A key that can check signatures.
pub(super) struct PublicKey {
    kid: Option<String>,
    kind: Kind,
    /// What the set says it is for.
    algorithm: Option<String>,
    key: DecodingKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ed25519,
    P256,
    P384,
    Rsa,
}

impl PublicKey {
    /// A key of the set, unless it is of a kind that checks no signature or that everybody could sign with.
    pub(super) fn of(jwk: &Jwk) -> Option<Self> {
        let kind = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Kind::Rsa,
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => Kind::P256,
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P384 => Kind::P384,
            AlgorithmParameters::OctetKeyPair(_) => Kind::Ed25519,
            // A shared secret in a published set is nobody's secret.
            _ => return None,
        };
        if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
            return None;
        }
        let algorithm = jwk.common.key_algorithm.map(|algorithm| format!("{algorithm:?}"));
        let key = DecodingKey::from_jwk(jwk).ok()?;
        Some(Self { kid: jwk.common.key_id.clone(), kind, algorithm, key })
    }

    /// Whether this key makes signatures of that algorithm. The token chooses neither.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let kind = match algorithm {
            ES256 => Kind::P256,
            ES384 => Kind::P384,
            EdDSA => Kind::Ed25519,
            PS256 | PS384 | PS512 | RS256 | RS384 | RS512 => Kind::Rsa,
            _ => return false,
        };
        kind == self.kind && self.algorithm.as_ref().is_none_or(|said| *said == format!("{algorithm:?}"))
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.key
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublicKey").field("kid", &self.kid).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The keys as last read.
#[derive(Debug, Clone)]
struct Read {
    keys: Arc<[Arc<PublicKey>]>,
    /// The clock's uptime when they were.
    at: Duration,
}

impl Read {
    fn find(&self, kid: Option<&str>) -> Option<Arc<PublicKey>> {
        match (kid, &*self.keys) {
            (Some(kid), keys) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)).cloned(),
            // Without a name it can only be the one there is.
            (None, [only]) => Some(Arc::clone(only)),
            (None, _) => None,
        }
    }
}

/// The keys of one issuer.
#[derive(Debug)]
pub(super) struct Keys {
    client: Option<HttpClient>,
    read: RwLock<Option<Read>>,
    /// When they were last asked for; held while they are, so that one asks for all.
    asked: tokio::sync::Mutex<Option<Duration>>,
}

impl Keys {
    pub(super) fn new(client: Option<HttpClient>) -> Self {
        Self { client, read: RwLock::default(), asked: tokio::sync::Mutex::default() }
    }

    /// The key of that name, if nothing need be read for it.
    pub(super) fn at_hand(
        &self,
        kid: Option<&str>,
        settings: &Settings,
        clock: &SharedClock,
    ) -> Option<Arc<PublicKey>> {
        let fresh = settings.refresh.min(settings.max_age);
        let read = self.known().filter(|read| clock.uptime().saturating_sub(read.at) < fresh)?;
        read.find(kid)
    }

    /// The key of that name.
    pub(super) async fn find(
        &self,
        kid: Option<&str>,
        settings: &Settings,
        clock: &SharedClock,
    ) -> Result<Arc<PublicKey>, Refusal> {
        let usable = |read: &Read| clock.uptime().saturating_sub(read.at) < settings.max_age;
        let known = self.known().filter(usable);
        let found = known.as_ref().and_then(|read| read.find(kid));
        let is_old =
            known.as_ref().is_none_or(|read| clock.uptime().saturating_sub(read.at) >= settings.refresh);
        match found {
            Some(key) if !is_old => return Ok(key),
            // Good enough to go on with while somebody else reads.
            Some(key) => {
                if let Ok(mut asked) = self.asked.try_lock() {
                    self.read_again(&mut asked, settings, clock).await;
                } else {
                    return Ok(key);
                }
            }
            None => {
                let mut asked = self.asked.lock().await;
                self.read_again(&mut asked, settings, clock).await;
            }
        }
        let read = self.known().filter(usable).ok_or(Refusal::Keys)?;
        read.find(kid).ok_or(Refusal::Key)
    }

    fn known(&self) -> Option<Read> {
        self.read.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the keys, unless that was tried a moment ago.
    async fn read_again(&self, asked: &mut Option<Duration>, settings: &Settings, clock: &SharedClock) {
        let now = clock.uptime();
        let is_usable = self.known().is_some_and(|read| now.saturating_sub(read.at) < settings.max_age);
        // Whoever wants them read more often means it.
        let gap = if is_usable { READ_GAP.min(settings.refresh).max(FIRST_READ_GAP) } else { FIRST_READ_GAP };
        if asked.is_some_and(|at| now.saturating_sub(at) < gap) {
            return;
        }
        *asked = Some(now);
        match self.fetch(&settings.source).await.and_then(|set| parse(&set)) {
            Ok(keys) => {
                tracing::debug!(issuer = settings.issuer, keys = keys.len(), "an issuer's keys were read");
                let read = Read { keys: keys.into(), at: now };
                *self.read.write().unwrap_or_else(PoisonError::into_inner) = Some(read);
            }
            Err(error) => {
                tracing::warn!(issuer = settings.issuer, error, "an issuer's keys cannot be read");
            }
        }
    }

    async fn fetch(&self, source: &Source) -> Result<Vec<u8>, String> {
        let (url, token_file) = match source {
            Source::File(path) => return limited(path),
            Source::Url { url, token_file, .. } => (url, token_file),
        };
        let mut request = Request::get(url.clone());
        if let Some(path) = token_file {
            let token = String::from_utf8(limited(path)?).unwrap_or_default();
            let bearer = HeaderValue::try_from(format!("Bearer {}", token.trim()));
            request = request.authorization(bearer.map_err(|_| "the token file holds no token".to_owned())?);
        }
        let client = self.client.as_ref().ok_or("there is no client")?;
        let answer = client.send(request).await.map_err(|error| error.to_string())?;
        if !answer.status.is_success() {
            return Err(format!("the answer was {}", answer.status));
        }
        Ok(answer.body.to_vec())
    }
}

fn limited(path: &Path) -> Result<Vec<u8>, String> {
    let found = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if found.len() > SET_LIMIT_BYTES as u64 {
        return Err("the file is larger than 256 KiB".to_owned());
    }
    std::fs::read(path).map_err(|error| error.to_string())
}

/// The usable keys of a set. Others in it are of no concern; none at all is a mistake.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Arc<PublicKey>>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(text).map_err(|_| "it is no JWK set".to_owned())?;
    let one = |value| serde_json::from_value::<Jwk>(value).ok().and_then(|jwk| PublicKey::of(&jwk));
    let keys: Vec<_> = set.keys.into_iter().take(SET_LIMIT_KEYS).filter_map(one).map(Arc::new).collect();
    if keys.is_empty() { Err("it holds no key that checks signatures".to_owned()) } else { Ok(keys) }
}
