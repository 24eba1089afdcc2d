//! The checks on a JWT Grant's assertion, each for real and in the order in which the vendor seems
//! to make them: parse, `aud`, `iss`, signature, times, `sub`, consent.
//!
//! Sources: RFC 7523; developers.docusign.com, "JWT Grant"; the error texts from the DocuSign
//! developer FAQ. No leeway is published for clocks, so there is none here.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{super::directory::Directory, Refusal};

/// The vendor's account servers; both are accepted, so that a client's real settings work too.
const REAL_HOSTS: [&str; 2] = ["account-d.docusign.com", "account.docusign.com"];
/// Every scope set that is consented to for JWT Grant holds this one, whether or not the assertion
/// names it: SDKs leave it out of the assertion, and a consent without it does not do.
const ALWAYS_CONSENTED: &str = "impersonation";
/// RS256 by its two names. The second is what the vendor's SDK for C# writes: its library puts the URI there by which XML
/// signatures call the algorithm, and as those tokens are good at the vendor, it is taken there.
const RS256: [&str; 2] = ["RS256", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"];

/// What a good assertion asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Granted {
    /// The integration key.
    pub(super) app: String,
    /// The impersonated user; none for an application token.
    pub(super) user: Option<String>,
    /// The scopes asked for.
    pub(super) scopes: Vec<String>,
}

/// Checks an assertion. `hosts` are the names under which this account server was reached.
pub(super) fn check(
    directory: &Directory,
    assertion: &str,
    hosts: &[String],
    now: Timestamp,
) -> Result<Granted, Refusal> {
    let (signed, unverified) = parse(assertion)?;
    check_audience(&unverified, hosts)?;
    let issuer = unverified.get("iss").and_then(Value::as_str).map(str::to_ascii_lowercase);
    let (app, registered) = issuer
        .and_then(|issuer| directory.apps.get_key_value(&issuer))
        .ok_or(Refusal::grant("issuer_not_found"))?;
    let is_signed = registered.keys.iter().filter(|key| key.is_active).any(|key| {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key.der)
            .verify(signed.text.as_bytes(), &signed.signature)
            .is_ok()
    });
    if !is_signed {
        return Err(BAD_SIGNATURE);
    }
    let claims = unverified;
    check_times(&claims, now)?;
    let scopes = scopes(&claims)?;
    let user = check_user(directory, &claims)?;
    if let Some(user) = &user {
        let mut needed = scopes.iter().map(String::as_str).chain([ALWAYS_CONSENTED]);
        if !needed.all(|scope| directory.has_consent(app, user, scope)) {
            return Err(Refusal::bare("consent_required"));
        }
    }
    Ok(Granted { app: app.clone(), user, scopes })
}

const BAD_SIGNATURE: Refusal = Refusal::grant("no_valid_keys_or_signatures");
const MALFORMED: Refusal = Refusal::bare("invalid_grant");

struct Signed<'a> {
    text: &'a str,
    signature: Vec<u8>,
}

/// Header and claims, not verified yet, and what the signature covers.
fn parse(assertion: &str) -> Result<(Signed<'_>, Map<String, Value>), Refusal> {
    let (text, signature) = assertion.trim().rsplit_once('.').ok_or(MALFORMED)?;
    let (header, claims) = text.split_once('.').ok_or(MALFORMED)?;
    let header = json(header)?;
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| MALFORMED)?;
    if !header.get("alg").and_then(Value::as_str).is_some_and(|name| RS256.contains(&name)) {
        return Err(BAD_SIGNATURE);
    }
    Ok((Signed { text, signature }, json(claims)?))
}

fn json(part: &str) -> Result<Map<String, Value>, Refusal> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| MALFORMED)?;
    serde_json::from_slice(&bytes).map_err(|_| MALFORMED)
}

/// A bare host of ours, with or without port, or one of the vendor's own.
fn check_audience(claims: &Map<String, Value>, hosts: &[String]) -> Result<(), Refusal> {
    let audience = match claims.get("aud") {
        Some(Value::String(audience)) => audience,
        Some(Value::Array(list)) => match list.as_slice() {
            [Value::String(audience)] => audience,
            _ => return Err(BAD_SIGNATURE),
        },
        _ => return Err(BAD_SIGNATURE),
    };
    if audience.is_empty() || audience.contains('/') {
        return Err(BAD_SIGNATURE);
    }
    let is_ours = |host: &String| {
        audience.eq_ignore_ascii_case(host) || audience.eq_ignore_ascii_case(without_port(host))
    };
    if hosts.iter().any(is_ours) || REAL_HOSTS.contains(&audience.to_ascii_lowercase().as_str()) {
        Ok(())
    } else {
        // What naming the other environment's host looks like from here.
        Err(Refusal::grant("issuer_not_found"))
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn check_times(claims: &Map<String, Value>, now: Timestamp) -> Result<(), Refusal> {
    let now = now.as_second();
    let issued = date(claims, "iat")?;
    let starts = date(claims, "nbf")?;
    let expires = date(claims, "exp")?.ok_or(BAD_SIGNATURE)?;
    if expires <= now {
        return Err(Refusal::grant("expired_grant"));
    }
    if starts.is_some_and(|starts| starts > now) || issued.is_some_and(|issued| issued > now) {
        return Err(BAD_SIGNATURE);
    }
    // An `exp` more than an hour ahead is taken: the FAQ says only that it does not lengthen the token, and the
    // vendor's own Python sample sends 4,000 s.
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a NumericDate may have a fraction; whole seconds decide"
)]
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, Refusal> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(at)) => Ok(at.as_i64().or_else(|| at.as_f64().map(|at| at.floor() as i64))),
        Some(_) => Err(BAD_SIGNATURE),
    }
}

fn scopes(claims: &Map<String, Value>) -> Result<Vec<String>, Refusal> {
    let scope = claims.get("scope").and_then(Value::as_str).unwrap_or_default();
    let scopes: Vec<String> = scope.split_whitespace().map(str::to_owned).collect();
    if scopes.is_empty() { Err(Refusal::bare("invalid_scope")) } else { Ok(scopes) }
}

fn check_user(directory: &Directory, claims: &Map<String, Value>) -> Result<Option<String>, Refusal> {
    match claims.get("sub") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(subject)) => {
            let user = subject.to_ascii_lowercase();
            if directory.is_active(&user) { Ok(Some(user)) } else { Err(Refusal::grant("user_not_found")) }
        }
        Some(_) => Err(Refusal::grant("invalid_subject")),
    }
}
