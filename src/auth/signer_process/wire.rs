//! What the daemon and its signer say to each other, in the frames of [`own_process`](crate::own_process).
//!
//! There is no message that carries bytes to sign: whoever asks names claims, and the signer makes
//! the assertion itself. There is none that carries a private key either way.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use crate::auth::{
    assertion::Claims,
    identity::{AccountServer, Scopes},
    signing_key::{Defect, Fingerprint, Stamp},
};

/// The longest message. Scopes and paths are short; a signature has a kilobyte at most.
pub(super) const LIMIT_BYTES: usize = 16 * 1024;

/// The first thing that a signer says, once it is confined.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Hello {
    /// Whether its memory can never be swapped out.
    pub(super) is_memory_locked: bool,
    /// Whether it has a network of its own, with nothing in it.
    pub(super) has_own_network: bool,
}

/// What the daemon asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Request {
    /// Forgets a place for a key, and the keys of it.
    Close {
        /// The place's number.
        slot: u64,
    },
    /// Reads a key file, if it changed.
    Look {
        /// Which place for a key, by a number of the daemon's.
        slot: u64,
        /// The file.
        path: PathBuf,
        /// What the file looked like when it was last read.
        known: Option<Stamp>,
        /// Keys of this slot that are still wanted; the others are forgotten.
        wanted: Vec<Fingerprint>,
    },
    /// Signs an assertion.
    Sign {
        /// The key's slot.
        slot: u64,
        /// Which key.
        key: Fingerprint,
        /// What is claimed.
        claims: WireClaims,
        /// The account server's time, Unix seconds.
        now: i64,
    },
}

/// What the signer answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The place is forgotten.
    Closed,
    /// The file is as it was.
    Same,
    /// The file holds this key now.
    Key {
        /// What it looked like just before it was read.
        stamp: Stamp,
        /// Of the public half.
        fingerprint: Fingerprint,
        /// The size of the modulus.
        bits: u32,
    },
    /// The file holds no key that could be used.
    Defect {
        /// What it looked like just before it was read.
        stamp: Stamp,
        /// What is wrong.
        defect: Defect,
    },
    /// The signature, base64url.
    Signature(String),
    /// No signature, and why.
    Refused(Refusal),
}

/// Why there is no signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Refusal {
    /// The claims are not of the one shape that is signed.
    Claims,
    /// The key did not sign.
    Failed,
    /// It would be valid at a time that is too far from this machine's.
    Time,
    /// No such key is held.
    UnknownKey,
}

/// Claims as they travel: checked by the signer again, which believes nobody.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireClaims {
    integration_key: Uuid,
    user_id: Uuid,
    audience: String,
    scopes: String,
}

impl From<&Claims> for WireClaims {
    fn from(claims: &Claims) -> Self {
        Self {
            integration_key: claims.integration_key.into(),
            user_id: claims.user_id.into(),
            audience: claims.audience.to_string(),
            scopes: claims.scopes.as_str().to_owned(),
        }
    }
}

impl WireClaims {
    /// The claims, if they have our shape: two ids, a bare host, well-formed scopes.
    pub(super) fn check(self) -> Option<Claims> {
        // Which ports are left out depends on the scheme, which an audience does not tell.
        let is_bare_host = ["https", "http"].into_iter().any(|scheme| {
            let origin = Url::parse(&format!("{scheme}://{}", self.audience)).ok();
            let server = origin.and_then(|origin| AccountServer::new(&origin).ok());
            server.is_some_and(|server| **server.audience() == *self.audience)
        });
        let scopes = Scopes::new(self.scopes.split(' ')).ok()?;
        let ids = [self.integration_key, self.user_id];
        (is_bare_host && ids.iter().all(|id| !id.is_nil())).then(|| Claims {
            integration_key: self.integration_key.into(),
            user_id: self.user_id.into(),
            audience: self.audience.into(),
            scopes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(audience: &str, scopes: &str) -> WireClaims {
        WireClaims {
            integration_key: Uuid::from_u128(1),
            user_id: Uuid::from_u128(2),
            audience: audience.to_owned(),
            scopes: scopes.to_owned(),
        }
    }

    #[test]
    fn only_claims_of_our_shape_are_taken() {
        for audience in ["account-d.docusign.com", "127.0.0.1:8443", "localhost:443", "localhost:80"] {
            let taken = claims(audience, "signature impersonation").check();
            assert_eq!(taken.map(|claims| claims.audience.to_string()).as_deref(), Some(audience));
        }
        for audience in ["", "https://account-d.docusign.com", "a/b", "a b", "a?b", "user@host", "A.example"]
        {
            assert!(claims(audience, "signature").check().is_none(), "{audience:?}");
        }
        for scopes in ["", " ", "a  b", "a\"b", "a\nb", "ä"] {
            assert!(claims("account-d.docusign.com", scopes).check().is_none(), "{scopes:?}");
        }
        let nobody = WireClaims { user_id: Uuid::nil(), ..claims("account-d.docusign.com", "signature") };
        assert!(nobody.check().is_none());
    }
}
