//! Consent: where a person goes to let us act as a user, and the proof that ties their answer to us.
//!
//! The texts are exact, because people copy them: `%20` between scopes, the parameters in the order
//! of the vendor's own examples, the redirect URI byte for byte as it is registered (DocuSign,
//! "JWT Grant" and "Obtaining administrative consent", read 2026-10).

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::identity::{AccountServer, IntegrationKey, Scopes};
use crate::digest::sha256;

/// Where a browser lands after it consented if there is no public listener: a page that exists, and that the vendor's
/// own examples use.
const LANDING: &str = "https://www.docusign.com";

/// The redirect URI of the public listener of this origin: what is registered with the integration key.
pub fn callback(origin: &str) -> String {
    format!("{origin}/consent/callback")
}

/// The redirect URI of a consent: our own, if there is a public listener.
pub fn redirect_uri(origin: Option<&str>) -> String {
    origin.map_or_else(|| LANDING.to_owned(), callback)
}

/// Where consent for a sender is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentUrls {
    /// By the sender's user.
    pub individual: String,
    /// By an administrator, for every user of the organisation.
    pub organisation: String,
}

/// Who consents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentBy {
    /// The impersonated user, for himself.
    Individual,
    /// An administrator, for everyone in the organisation's claimed domains.
    Organisation,
}

/// What is known of a sender's consent. A state, not an error (rule T11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// The last mint worked.
    Granted,
    /// The account server said so.
    Missing,
    /// Nothing was asked yet, or something else stood in the way.
    Unknown,
}

impl Consent {
    /// The state's name in status answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }
}

/// For so long after a consent was found to be missing, or somebody was told where to give it, whoever looks at the
/// sender has the account server asked again (rule T11). Who asks on and on does not prolong it.
const AWAITED: Duration = Duration::from_secs(600);

/// Whether somebody may be on their way to consent. Without a callback nothing else shows it.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    since: Option<Duration>,
    asked_at: Option<Duration>,
    /// Whether it is known that the consent is missing.
    is_known: bool,
}

impl Awaited {
    /// The consent is missing. Found for the first time, that has just been told to those who can mend it. Answers
    /// whether it may be given any moment.
    pub(super) fn missing(&mut self, now: Duration) -> bool {
        if !std::mem::replace(&mut self.is_known, true) {
            self.since = Some(now);
        }
        self.is_on(now)
    }

    /// Somebody asks, or is told, where to consent.
    pub(super) fn asked(&mut self, now: Duration) {
        if self.asked_at.is_none_or(|at| now.saturating_sub(at) >= AWAITED) {
            self.since = Some(now);
        }
        self.asked_at = Some(now);
    }

    fn is_on(&self, now: Duration) -> bool {
        self.since.is_some_and(|since| now.saturating_sub(since) < AWAITED)
    }
}

/// The page on which consent is given.
///
/// Of what is asked the state comes back with the answer, whose code is exchanged with the verifier: whoever
/// exchanges it shows that they asked for it.
pub(super) fn url(
    by: ConsentBy,
    server: &AccountServer,
    integration_key: IntegrationKey,
    scopes: &Scopes,
    redirect_uri: &str,
    asked: Option<(&str, &PkceVerifier)>,
) -> String {
    let mut url = server.endpoint("/oauth/auth").to_string();
    let mut add = |name: &str, value: &str| {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(name);
        url.push('=');
        percent_encode(value, &mut url);
    };
    add("response_type", "code");
    match by {
        ConsentBy::Individual => add("scope", scopes.as_str()),
        ConsentBy::Organisation => {
            add("scope", "openid");
            add("admin_consent_scope", scopes.as_str());
        }
    }
    add("client_id", &integration_key.to_string());
    add("redirect_uri", redirect_uri);
    if let Some((state, verifier)) = asked {
        add("state", state);
        add("code_challenge", &verifier.challenge());
        // RFC 7636 spells it "S256"; the vendor's pages, as third parties quote them, do not.
        add("code_challenge_method", "s256");
    }
    url
}

/// Encodes all but the unreserved characters of RFC 3986, so that a blank is `%20` and never `+`.
fn percent_encode(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// The secret half of a PKCE pair (RFC 7636): whoever exchanges the code shows that he asked for it.
pub struct PkceVerifier(Zeroizing<String>);

impl PkceVerifier {
    /// One made of secret bytes: of 32, as the RFC recommends.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The text that goes with the code.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The public half.
    pub(crate) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(sha256(self.0.as_bytes()))
    }
}

impl fmt::Debug for PkceVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PkceVerifier")
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn consent_url(by: ConsentBy, server: &str, asked: Option<(&str, &PkceVerifier)>) -> String {
        let server = AccountServer::new(&Url::parse(server).unwrap()).unwrap();
        let key = "7C2B8D7E-1111-2222-3333-444455556666".parse().unwrap();
        let redirect = "https://sign.example.com/consent/callback?x=a+b";
        url(by, &server, key, &Scopes::default(), redirect, asked)
    }

    fn verifier_of_the_rfc() -> PkceVerifier {
        PkceVerifier(Zeroizing::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned()))
    }

    #[test]
    fn t11_the_individual_url_is_exact() {
        assert_eq!(
            consent_url(ConsentBy::Individual, "https://account-d.docusign.com", None),
            "https://account-d.docusign.com/oauth/auth?response_type=code&scope=signature%20impersonation\
             &client_id=7c2b8d7e-1111-2222-3333-444455556666\
             &redirect_uri=https%3A%2F%2Fsign.example.com%2Fconsent%2Fcallback%3Fx%3Da%2Bb"
        );
    }

    #[test]
    fn t11_consent_is_awaited_for_minutes_after_a_question_and_not_for_as_long_as_somebody_asks() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let mut awaited = Awaited::default();
        assert!(!awaited.is_on(minutes(0)));
        let is_on: Vec<bool> = (1..=30)
            .map(|minute| {
                awaited.asked(minutes(minute));
                awaited.is_on(minutes(minute))
            })
            .collect();
        assert_eq!(is_on.iter().filter(|is_on| **is_on).count(), 10, "{is_on:?}");
        // Who comes back after a pause is somebody else, or tries anew.
        awaited.asked(minutes(45));
        assert!(awaited.is_on(minutes(54)) && !awaited.is_on(minutes(55)));
    }

    #[test]
    fn t11_a_consent_that_turns_out_to_be_missing_is_awaited_once() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let mut awaited = Awaited::default();
        let is_on: Vec<bool> = (5..100).map(|minute| awaited.missing(minutes(minute))).collect();
        assert!(is_on[..10].iter().all(|is_on| *is_on), "{is_on:?}");
        assert!(!is_on[10..].iter().any(|is_on| *is_on), "{is_on:?}");
        awaited.asked(minutes(100));
        assert!(awaited.missing(minutes(109)) && !awaited.missing(minutes(110)));
    }

    #[test]
    fn t11_the_organisation_url_is_exact() {
        let asked = Some(("a b&c", &verifier_of_the_rfc()));
        assert_eq!(
            consent_url(ConsentBy::Organisation, "https://account.docusign.com/", asked),
            "https://account.docusign.com/oauth/auth?response_type=code&scope=openid\
             &admin_consent_scope=signature%20impersonation\
             &client_id=7c2b8d7e-1111-2222-3333-444455556666\
             &redirect_uri=https%3A%2F%2Fsign.example.com%2Fconsent%2Fcallback%3Fx%3Da%2Bb&state=a%20b%26c\
             &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=s256"
        );
    }

    #[test]
    fn the_challenge_is_that_of_rfc_7636_appendix_b() {
        assert_eq!(verifier_of_the_rfc().challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        let made = PkceVerifier::from_bytes(&[7; 32]);
        assert_eq!(made.as_str().len(), 43);
        assert!(!format!("{made:?}").contains(made.as_str()));
    }
}
