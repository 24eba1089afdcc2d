//! Who we are to the account server, and whom we act as: values that are checked once, at the edge.
//!
//! The commonest mistakes of integrators are told apart here, before anything is sent: an e-mail
//! address or an account number where the API user id belongs, an address where a host belongs.

use std::{fmt, str::FromStr, sync::Arc};

use url::Url;
use uuid::Uuid;

use super::account_server_calls::Asked;
use crate::http_client::is_loopback;

/// Our client identifier at the upstream; the `iss` of an assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IntegrationKey(Uuid);

/// The upstream's id of the user we act as; the `sub` of an assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UserId(Uuid);

/// Why a text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// An e-mail address was given.
    #[error("this is an e-mail address; the GUID called \"API user id\" on the Apps and Keys page is wanted")]
    Email,
    /// Something else was given.
    #[error("this is no GUID, such as 7c2b8d7e-1111-2222-3333-444455556666")]
    NotAGuid,
}

fn parse_guid(text: &str) -> Result<Uuid, IdError> {
    let text = text.trim();
    match Uuid::try_parse(text) {
        Ok(id) if !id.is_nil() => Ok(id),
        _ if text.contains('@') => Err(IdError::Email),
        _ => Err(IdError::NotAGuid),
    }
}

macro_rules! guid {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_guid(text).map(Self)
            }
        }
        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }
    };
}
guid!(IntegrationKey);
guid!(UserId);

/// The upstream host that issues access tokens: its origin, and its name as the `aud` of assertions.
#[derive(Debug, Clone)]
pub struct AccountServer {
    origin: Url,
    audience: Arc<str>,
    asked: Asked,
}

impl AccountServer {
    /// Takes a bare origin, such as `https://account-d.docusign.com`.
    ///
    /// The audience is its host, with the port where one is written: no scheme and no slash, since
    /// the vendor answers `no_valid_keys_or_signatures` to either.
    pub fn new(origin: &Url) -> Result<Self, NotAnOrigin> {
        let bare = matches!(origin.path(), "" | "/")
            && origin.query().is_none()
            && origin.fragment().is_none()
            && origin.username().is_empty()
            && origin.password().is_none();
        let host = origin.host_str().filter(|_| bare && matches!(origin.scheme(), "http" | "https"));
        let host = host.ok_or(NotAnOrigin)?;
        let audience = match origin.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Ok(Self { origin: origin.clone(), audience: audience.into(), asked: Asked::default() })
    }

    /// Whether an account at this base URI is of the same environment, so that a token from here is of use
    /// there. Each environment has hosts of its own (DocuSign, "Authentication" and "Go-Live", read 2026-10).
    pub fn fits(&self, base_uri: &Url) -> Result<(), Misfit> {
        const DEMO: &str = "demo.docusign.net";
        let host = base_uri.host_str().unwrap_or_default();
        let is_docusign = base_uri.scheme() == "https" && host.ends_with(".docusign.net");
        match self.origin.host_str().unwrap_or_default() {
            "account-d.docusign.com" if is_docusign && host == DEMO => Ok(()),
            "account-d.docusign.com" if is_docusign => Err(Misfit::ProductionAccount),
            "account.docusign.com" if is_docusign && host != DEMO => Ok(()),
            "account.docusign.com" if is_docusign => Err(Misfit::DemoAccount),
            "account-d.docusign.com" | "account.docusign.com" => Err(Misfit::ForeignHost),
            // An emulator: what it gives out must not reach anybody else (rule S4).
            _ if is_loopback(base_uri) => Ok(()),
            _ => Err(Misfit::ForeignHost),
        }
    }

    /// How often it was asked; clones count together.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The environment's administration (developers.docusign.com, platform/auth/reference: environments).
    pub(super) fn admin_url(&self) -> Option<&'static str> {
        match self.origin.host_str().unwrap_or_default() {
            "account-d.docusign.com" => Some("https://admindemo.docusign.com"),
            "account.docusign.com" => Some("https://admin.docusign.com"),
            _ => None,
        }
    }

    /// The `aud` of assertions for it.
    pub fn audience(&self) -> &Arc<str> {
        &self.audience
    }

    /// One of its three endpoints.
    pub(super) fn endpoint(&self, path: &'static str) -> Url {
        let mut url = self.origin.clone();
        url.set_path(path);
        url
    }
}

/// Why an account and an account server do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// The account is a developer account, and the account server is production's.
    DemoAccount,
    /// The account is on a host that this environment does not have.
    ForeignHost,
    /// The account is a production account, and the account server is the developers'.
    ProductionAccount,
}

/// A URL that has more than scheme, host and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a bare origin is wanted, such as https://account-d.docusign.com")]
pub struct NotAnOrigin;

/// The scopes asked for, in the order of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes(Arc<str>);

impl Scopes {
    /// Takes scope names; a name is visible ASCII without quotes or backslash (RFC 6749, section 3.3).
    pub fn new<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Result<Self, BadScope> {
        let mut text = String::new();
        for name in names {
            let name = name.as_ref();
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
                return Err(BadScope);
            }
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(name);
        }
        if text.is_empty() { Err(BadScope) } else { Ok(Self(text.into())) }
    }

    /// The names, separated by blanks.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Scopes {
    fn default() -> Self {
        Self("signature impersonation".into())
    }
}

/// A scope name that no server would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("scope names are visible ASCII, and at least one is wanted")]
pub struct BadScope;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_email_in_place_of_a_user_id_is_named() {
        assert_eq!("system@example.com".parse::<UserId>(), Err(IdError::Email));
        assert_eq!("1234567".parse::<UserId>(), Err(IdError::NotAGuid));
        let id: UserId = " 7C2B8D7E-1111-2222-3333-444455556666 ".parse().unwrap();
        assert_eq!(id.to_string(), "7c2b8d7e-1111-2222-3333-444455556666");
    }

    #[test]
    fn the_audience_is_the_bare_host() {
        let audience =
            |url: &str| AccountServer::new(&Url::parse(url).unwrap()).map(|s| s.audience().to_string());
        assert_eq!(audience("https://account-d.docusign.com").unwrap(), "account-d.docusign.com");
        assert_eq!(audience("https://account.docusign.com/").unwrap(), "account.docusign.com");
        assert_eq!(audience("https://account.docusign.com:443/").unwrap(), "account.docusign.com");
        assert_eq!(audience("http://127.0.0.1:8443").unwrap(), "127.0.0.1:8443");
        assert_eq!(audience("https://account.docusign.com/oauth/token"), Err(NotAnOrigin));
        assert_eq!(audience("https://user@account.docusign.com/"), Err(NotAnOrigin));
        assert_eq!(audience("file:///etc/passwd"), Err(NotAnOrigin));
    }

    #[test]
    fn a_token_of_one_environment_is_not_taken_to_another() {
        let fits = |server: &str, base: &str| {
            AccountServer::new(&Url::parse(server).unwrap()).unwrap().fits(&Url::parse(base).unwrap())
        };
        let (demo, live) = ("https://account-d.docusign.com", "https://account.docusign.com");
        assert_eq!(fits(demo, "https://demo.docusign.net"), Ok(()));
        assert_eq!(fits(live, "https://eu.docusign.net"), Ok(()));
        assert_eq!(fits(live, "https://na3.docusign.net"), Ok(()));
        assert_eq!(fits(demo, "https://www.docusign.net"), Err(Misfit::ProductionAccount));
        assert_eq!(fits(live, "https://demo.docusign.net"), Err(Misfit::DemoAccount));
        for base in ["https://docusign.net.evil.example", "http://eu.docusign.net", "http://127.0.0.1:8443"] {
            assert_eq!(fits(live, base), Err(Misfit::ForeignHost), "{base}");
        }
        assert_eq!(fits("http://127.0.0.1:8443", "http://localhost:9"), Ok(()));
        assert_eq!(fits("http://127.0.0.1:8443", "https://demo.docusign.net"), Err(Misfit::ForeignHost));
    }

    #[test]
    fn scopes_are_checked_and_joined() {
        assert_eq!(Scopes::new(["signature", "impersonation"]), Ok(Scopes::default()));
        assert_eq!(Scopes::new(["a b"]), Err(BadScope));
        assert_eq!(Scopes::new(Vec::<String>::new()), Err(BadScope));
    }
}
