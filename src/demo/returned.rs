//! The `result` of the return URL, checked as a website would: with the daemon's public key, which is
//! fetched once, and without a call for each visitor.
//!
//! It is a JWT signed with Ed25519. A genuine one says that the daemon itself sent this visitor back,
//! for this order, and what was known then; it is no licence to skip asking later.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use super::backend::{Backend, Jwk};

/// Of whom the tokens speak.
const ISSUER: &str = "countersign";

/// What the check of a token found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// It was made by someone else, or changed, or belongs to another order.
    Foreign,
    /// The daemon made it, for this order.
    Genuine,
    /// The daemon made it, and its time is over: a bookmark, most likely.
    Old,
    /// There is none, or the daemon's key could not be fetched.
    Unchecked,
}

impl Proof {
    /// What the visitor is told of it.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Foreign => "not genuine. It was changed, or made for something else, and is ignored.",
            Self::Genuine => "genuine. The daemon signed it for this order, so this return was no forgery.",
            Self::Old => "genuine, but its time is over.",
            Self::Unchecked => "none that could be checked.",
        }
    }
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
    status: String,
}

/// Checks tokens. Clones share the key.
#[derive(Debug, Clone)]
pub(super) struct Checker {
    backend: Backend,
    audience: &'static str,
    known: Arc<Mutex<Option<Jwk>>>,
}

impl Checker {
    /// `audience` is this website's name among the daemon's callers.
    pub(super) fn new(backend: Backend, audience: &'static str) -> Self {
        Self { backend, audience, known: Arc::default() }
    }

    /// Whether `token` says that the daemon sent the visitor of `signing` back with this `status`.
    pub(super) async fn check(
        &self,
        signing: &str,
        status: Option<&str>,
        token: Option<&str>,
        now: Timestamp,
    ) -> Proof {
        let Some(token) = token else { return Proof::Unchecked };
        let Some(key) = self.key().await else { return Proof::Unchecked };
        match verify(token, &key, self.audience) {
            Some(claims) if claims.sub != signing || Some(claims.status.as_str()) != status => Proof::Foreign,
            Some(claims) if claims.exp < now.as_second() => Proof::Old,
            Some(_) => Proof::Genuine,
            None => Proof::Foreign,
        }
    }

    async fn key(&self) -> Option<Jwk> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_some() {
            return known;
        }
        let key = self.backend.result_key().await.ok()?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.clone());
        Some(key)
    }
}

fn verify(token: &str, key: &Jwk, audience: &str) -> Option<Claims> {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[audience]);
    validation.set_issuer(&[ISSUER]);
    // Old and forged are told apart, so the time is looked at above, by the site's clock.
    validation.validate_exp = false;
    let key = DecodingKey::from_ed_components(&key.x).ok()?;
    jsonwebtoken::decode::<Claims>(token, &key, &validation).ok().map(|checked| checked.claims)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    fn token(pair: &Ed25519KeyPair, audience: &str) -> String {
        let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = encode(serde_json::json!({ "alg": "EdDSA", "typ": "JWT" }));
        let claims = encode(serde_json::json!({
            "iss": ISSUER, "aud": audience, "sub": "sig_1", "exp": 100, "status": "signed",
        }));
        let signature = pair.sign(format!("{header}.{claims}").as_bytes());
        format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn only_the_daemons_own_token_for_this_website_is_believed() {
        let [ours, theirs] =
            [[1; 32], [2; 32]].map(|seed| Ed25519KeyPair::from_seed_unchecked(&seed).unwrap());
        let key = Jwk { x: URL_SAFE_NO_PAD.encode(ours.public_key()) };
        assert_eq!(verify(&token(&ours, "website"), &key, "website").unwrap().sub, "sig_1");
        assert!(verify(&token(&theirs, "website"), &key, "website").is_none());
        assert!(verify(&token(&ours, "other"), &key, "website").is_none());
        let unsigned = token(&ours, "website").rsplit_once('.').unwrap().0.to_owned() + ".";
        assert!(verify(&unsigned, &key, "website").is_none());
    }
}
