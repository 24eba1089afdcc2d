//! One token: what it says before it is believed, and what it takes to believe it. Pure.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;

use super::{Refusal, Settings, keys::PublicKey};

/// How far two clocks may be apart.
const LEEWAY_S: i64 = 30;

/// The last second of the year 9999, which issuers write for never. A `Timestamp` ends a day before it.
const LAST_S: u64 = 253_402_300_799;

/// Longest subject that is looked at; OIDC Core 1.0, section 2, says 255.
const SUBJECT_LIMIT: usize = 255;

/// What a token says of itself: only good for choosing the key that it is checked with.
#[derive(Debug)]
pub(super) struct Unverified {
    pub(super) issuer: String,
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    #[serde(default)]
    sub: String,
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
}

impl Unverified {
    pub(super) fn read(token: &str) -> Result<Self, Refusal> {
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::Form);
        };
        let header: Header = decode(header)?;
        let claims: Claims = decode(claims)?;
        for date in [Some(claims.exp), claims.nbf, claims.iat].into_iter().flatten() {
            seconds(date)?;
        }
        // RFC 7515, 4.1.11: an extension that must be understood is not; RFC 8725, 3.11: other kinds of JWT.
        let is_token = header.typ.is_none_or(|typ| {
            ["jwt", "at+jwt", "application/at+jwt"].contains(&typ.to_ascii_lowercase().as_str())
        });
        if header.crit.is_some() || !is_token {
            return Err(Refusal::Form);
        }
        // `none` is no algorithm here, and neither is anything that the library does not know.
        let algorithm = header.alg.parse().map_err(|_| Refusal::Algorithm)?;
        Ok(Self { issuer: claims.iss, algorithm, kid: header.kid })
    }
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Form)?;
    serde_json::from_slice(&bytes).map_err(|_| Refusal::Form)
}

/// The whole seconds of a date. It may have a fraction (RFC 7519, section 2: `NumericDate`); one before 1970 or after the
/// year 9999 is none, such as milliseconds.
fn seconds(date: f64) -> Result<i64, Refusal> {
    let since_1970 = Duration::try_from_secs_f64(date).map_err(|_| Refusal::Date)?;
    let seconds = since_1970.as_secs();
    if seconds > LAST_S {
        return Err(Refusal::Date);
    }
    i64::try_from(seconds).map_err(|_| Refusal::Date)
}

/// Checks a token whole and answers its subject.
pub(super) fn verify(
    token: &str,
    unverified: &Unverified,
    key: &PublicKey,
    settings: &Settings,
    now: Timestamp,
) -> Result<String, Refusal> {
    if !key.fits(unverified.algorithm) {
        return Err(Refusal::Algorithm);
    }
    let mut validation = Validation::new(unverified.algorithm);
    validation.set_audience(&[&settings.audience]);
    validation.set_issuer(&[&settings.issuer]);
    validation.set_required_spec_claims(&["aud", "exp", "iss"]);
    // The library's clock is the machine's; dates are compared below, with ours.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    let claims: Claims =
        jsonwebtoken::decode(token, key.decoding(), &validation).map_err(|error| refusal(&error))?.claims;
    let now = now.as_second();
    if seconds(claims.exp)? <= now.saturating_sub(LEEWAY_S) {
        return Err(Refusal::Expired);
    }
    for from in [claims.nbf, claims.iat].into_iter().flatten() {
        if seconds(from)? > now.saturating_add(LEEWAY_S) {
            return Err(Refusal::NotYet);
        }
    }
    if claims.sub.is_empty() || claims.sub.len() > SUBJECT_LIMIT {
        return Err(Refusal::Subject);
    }
    Ok(claims.sub)
}

fn refusal(error: &jsonwebtoken::errors::Error) -> Refusal {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => Refusal::Algorithm,
        ErrorKind::InvalidAudience => Refusal::Audience,
        ErrorKind::InvalidIssuer => Refusal::Issuer,
        ErrorKind::InvalidSignature => Refusal::Signature,
        _ => Refusal::Form,
    }
}
