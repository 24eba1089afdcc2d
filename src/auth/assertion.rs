//! The assertion: the short-lived JWT by which we ask for an access token (RFC 7523, section 3).
//!
//! Pure except for the signature: a signer, claims and a time in, a text out. What is signed is a
//! [`Draft`], which a signer in another process makes once more from the same claims. The vendor's peculiarities are all here
//! (DocuSign, "JWT Grant", read 2026-10): `aud` is the bare host; no `nbf`, which it compares with
//! its own clock without tolerance; no `kid`, since it tries every registered key; `exp` must be
//! there; `iat` is back-dated because the clocks of two machines never agree.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, Header};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    identity::{IntegrationKey, Scopes, UserId},
    signer::{SignError, Signer},
};

/// How far back `iat` is dated (rule T9).
pub const BACKDATE: Duration = Duration::from_secs(60);
/// From `iat` to `exp`. The vendor allows an hour; its own samples use ten minutes.
pub const LIFE: Duration = Duration::from_secs(600);

/// What an assertion claims, apart from the time.
#[derive(Debug, Clone)]
pub struct Claims {
    /// `iss`.
    pub integration_key: IntegrationKey,
    /// `sub`: the impersonated user.
    pub user_id: UserId,
    /// `aud`: the bare host of the account server.
    pub audience: Arc<str>,
    /// `scope`.
    pub scopes: Scopes,
}

/// A signed assertion. Whoever has it can act as the user until it expires.
pub struct Assertion {
    text: Zeroizing<String>,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

/// What is signed: the first two parts of a JWT, and what they say.
pub(super) struct Draft<'a> {
    claims: &'a Claims,
    now: Timestamp,
    issued_at: Timestamp,
    expires_at: Timestamp,
    input: Zeroizing<String>,
}

impl<'a> Draft<'a> {
    /// Claims as of `now`; none where time ends.
    pub(super) fn new(claims: &'a Claims, now: Timestamp) -> Option<Self> {
        let issued_at = now.saturating_sub(BACKDATE).ok()?;
        let expires_at = issued_at.saturating_add(LIFE).ok()?;
        let wire = Wire {
            iss: claims.integration_key.to_string(),
            sub: claims.user_id.to_string(),
            aud: &claims.audience,
            iat: issued_at.as_second(),
            exp: expires_at.as_second(),
            scope: claims.scopes.as_str(),
        };
        let header = part(&Header::new(Algorithm::RS256));
        let input = Zeroizing::new(format!("{header}.{}", part(&wire)));
        Some(Self { claims, now, issued_at, expires_at, input })
    }

    /// What is claimed.
    pub(super) fn claims(&self) -> &Claims {
        self.claims
    }

    /// As of when.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// The bytes to sign.
    pub(super) fn input(&self) -> &str {
        &self.input
    }
}

impl Assertion {
    /// Signs `claims` as of `now`, which is the account server's time as far as we know it.
    pub async fn sign(signer: &Signer, claims: &Claims, now: Timestamp) -> Result<Self, SignError> {
        let draft = Draft::new(claims, now).ok_or(SignError::Refused)?;
        let signature = signer.sign(&draft).await?;
        let Draft { input: mut text, issued_at, expires_at, .. } = draft;
        text.push('.');
        text.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(Self { text, issued_at, expires_at })
    }

    /// The compact form, for the form field `assertion`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a server whose clock shows `now` finds it neither early nor expired.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        (self.issued_at..self.expires_at).contains(&now)
    }
}

impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assertion").field("issued_at", &self.issued_at).finish_non_exhaustive()
    }
}

/// The claims in the order in which they are written.
#[derive(Serialize)]
struct Wire<'a> {
    iss: String,
    sub: String,
    aud: &'a str,
    iat: i64,
    exp: i64,
    scope: &'a str,
}

fn part(value: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).expect("plain strings and numbers always serialize"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::signing_key::SigningKey;

    const KEY: &str = include_str!("../../tests/fixtures/assertion/key.pem");
    const VECTOR: &str = include_str!("../../tests/fixtures/assertion/assertion.jwt");
    const NOW: i64 = 1_700_000_000;

    fn claims() -> Claims {
        Claims {
            integration_key: "11111111-2222-3333-4444-555555555555".parse().unwrap(),
            user_id: "66666666-7777-8888-9999-aaaaaaaaaaaa".parse().unwrap(),
            audience: "account-d.docusign.com".into(),
            scopes: Scopes::default(),
        }
    }

    async fn sign(now: Timestamp) -> Assertion {
        let signer = Signer::InProcess(SigningKey::from_pem(KEY).unwrap());
        Assertion::sign(&signer, &claims(), now).await.unwrap()
    }

    #[tokio::test]
    async fn t9_equals_the_vector_of_another_implementation_to_the_byte() {
        assert_eq!(sign(Timestamp::from_second(NOW).unwrap()).await.as_str(), VECTOR.trim_end());
    }

    #[tokio::test]
    async fn t9_claims_are_backdated_short_and_without_nbf() {
        let assertion = sign(Timestamp::new(NOW, 999_999_999).unwrap()).await;
        let mut validation = jsonwebtoken::Validation::new(Algorithm::RS256);
        validation.set_audience(&["account-d.docusign.com"]);
        validation.validate_exp = false;
        let key = SigningKey::from_pem(KEY).unwrap().decoding_key();
        let decoded =
            jsonwebtoken::decode::<serde_json::Value>(assertion.as_str(), &key, &validation).unwrap();
        assert_eq!(
            decoded.claims,
            serde_json::json!({
                "iss": "11111111-2222-3333-4444-555555555555",
                "sub": "66666666-7777-8888-9999-aaaaaaaaaaaa",
                "aud": "account-d.docusign.com",
                "iat": NOW - 60,
                "exp": NOW + 540,
                "scope": "signature impersonation",
            })
        );
        assert_eq!((decoded.header.alg, decoded.header.kid), (Algorithm::RS256, None));
    }

    #[tokio::test]
    async fn it_knows_when_a_servers_clock_would_refuse_it() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let assertion = sign(at(NOW)).await;
        assert!(assertion.is_valid_at(at(NOW - 60)) && assertion.is_valid_at(at(NOW + 539)));
        assert!(!assertion.is_valid_at(at(NOW - 61)) && !assertion.is_valid_at(at(NOW + 540)));
    }

    #[tokio::test]
    async fn debug_shows_nothing_that_could_be_used() {
        let assertion = sign(Timestamp::from_second(NOW).unwrap()).await;
        assert!(!format!("{assertion:?}").contains("eyJ"));
    }
}
