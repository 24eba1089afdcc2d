//! What a delivery may have to show besides its digest, where the operator asks for more.
//!
//! - *Mutual TLS*: a client certificate, which the listener has verified against the operator's CA; here is
//!   looked at whose it is. A public CA has other customers, too, so a name is to be asked for beside it.
//! - *OAuth for Connect*: an access token that the operator's own authorization server gave the upstream,
//!   checked as [`oidc`](crate::oidc) checks any token, and its subject.
//!
//! Source: developers.docusign.com, platform/webhooks/connect/validation-and-security.

use std::collections::BTreeMap;

use http::{HeaderMap, header};

use crate::{
    config::SubjectRule,
    oidc::{Issuers, Refusal},
    tls::Name,
};

/// Names of which a client certificate must carry one. None: any certificate of the CA will do.
#[derive(Debug, Clone, Default)]
pub struct Clients(Vec<Name>);

impl Clients {
    /// These names.
    pub fn new(names: impl IntoIterator<Item = Name>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Whether the names of a verified certificate are those of such a client.
    pub(super) fn admit(&self, certificate: Option<&[Name]>) -> bool {
        certificate.is_some_and(|names| self.0.is_empty() || names.iter().any(|name| self.0.contains(name)))
    }
}

/// Whose access tokens prove a delivery: subjects, by the issuer's name in the settings.
#[derive(Debug, Clone)]
pub struct Tokens {
    issuers: Issuers,
    subjects: BTreeMap<String, Vec<SubjectRule>>,
}

/// The keys of the issuer cannot be read, and without them nothing can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoKeys;

impl Tokens {
    /// Tokens of these issuers for these subjects.
    pub fn new(issuers: Issuers, subjects: BTreeMap<String, Vec<SubjectRule>>) -> Self {
        Self { issuers, subjects }
    }

    /// Whether the headers carry such a token.
    pub(super) async fn admit(&self, headers: &HeaderMap) -> Result<bool, NoKeys> {
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, token)) = value.and_then(|value| value.split_once(' ')) else { return Ok(false) };
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Ok(false);
        }
        match self.issuers.identify(token.trim()).await {
            Ok(identity) => {
                let rules = self.subjects.get(&identity.issuer).map(Vec::as_slice).unwrap_or_default();
                Ok(rules.iter().any(|rule| rule.matches(&identity.subject)))
            }
            Err(Refusal::Keys) => Err(NoKeys),
            Err(refusal) => {
                tracing::debug!(%refusal, "the access token of a Connect delivery is refused");
                Ok(false)
            }
        }
    }
}
