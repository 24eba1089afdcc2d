//! Whatever can make an RS256 signature: the one type the rest of `auth` knows.
//!
//! The private half stays behind it. Signing is async because a signer may be a device or another
//! process; what is signed is the text of an assertion, so that such a process can look at what it
//! is asked to sign.

use std::fmt;

use super::signing_key::{Fingerprint, SigningKey};

/// A holder of one private key.
#[derive(Debug)]
pub enum Signer {
    /// The key is in this process's memory.
    InProcess(SigningKey),
}

impl Signer {
    /// The RS256 signature over `input`, the first two parts of a JWT.
    #[expect(clippy::unused_async, reason = "a signer outside this process answers later")]
    pub async fn sign(&self, input: &str) -> Result<Vec<u8>, SignError> {
        match self {
            Self::InProcess(key) => key.sign(input.as_bytes()).map_err(|()| SignError),
        }
    }

    /// The fingerprint of the public half.
    pub fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::InProcess(key) => key.fingerprint(),
        }
    }

    /// The size of the modulus.
    pub fn bits(&self) -> u32 {
        match self {
            Self::InProcess(key) => key.bits(),
        }
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RSA-{} {}", self.bits(), self.fingerprint())
    }
}

/// The signature could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key did not sign")]
pub struct SignError;
