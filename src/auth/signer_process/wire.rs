//! What the daemon and its signer say to each other: JSON in frames with a length before them.
//!
//! There is no message that carries bytes to sign: whoever asks names claims, and the signer makes
//! the assertion itself. There is none that carries a private key either way.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
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

/// A message as it goes over the wire.
pub(super) fn frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    let header = u32::try_from(length).ok().filter(|_| length <= LIMIT_BYTES);
    bytes[..4].copy_from_slice(&header.ok_or(io::ErrorKind::InvalidData)?.to_be_bytes());
    Ok(bytes)
}

/// The length of the body that follows this header.
pub(super) fn body_length(header: [u8; 4]) -> io::Result<usize> {
    let length = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
    if length <= LIMIT_BYTES { Ok(length) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Reads one message; none if the other side is gone.
pub(super) fn read<T: DeserializeOwned>(link: &mut impl Read) -> io::Result<Option<T>> {
    let mut header = [0; 4];
    match link.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut body = vec![0; body_length(header)?];
    link.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

/// Writes one message.
pub(super) fn write(link: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    link.write_all(&frame(message)?)
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

    #[test]
    fn a_frame_comes_back_as_it_went_and_a_long_one_is_refused() {
        let mut bytes = frame(&Request::Look {
            slot: 3,
            path: "/keys/a.pem".into(),
            known: None,
            wanted: vec![Fingerprint::of_spki(b"x")],
        })
        .unwrap();
        let back: Request = read(&mut bytes.as_slice()).unwrap().unwrap();
        assert!(matches!(back, Request::Look { slot: 3, ref wanted, .. } if wanted.len() == 1), "{back:?}");
        assert!(read::<Request>(&mut [].as_slice()).unwrap().is_none());
        bytes.truncate(bytes.len() - 1);
        assert!(read::<Request>(&mut bytes.as_slice()).is_err());
        assert!(frame(&"x".repeat(LIMIT_BYTES)).is_err());
        assert!(read::<Request>(&mut [0xff; 8].as_slice()).is_err());
    }
}
