//! Whatever can make an RS256 signature: the one type the rest of `auth` knows.
//!
//! The private half stays behind it. Signing is async because a signer may be a device or another
//! process; what is signed is the draft of an assertion, so that such a process can make it itself
//! and need not believe what it is asked to sign.

use std::fmt;

use super::{
    assertion::Draft,
    device::DeviceSigner,
    signer_process::RemoteKey,
    signing_key::{Fingerprint, SigningKey},
};

/// A holder of one private key.
#[derive(Debug)]
pub enum Signer {
    /// The key is in a device, which signs.
    Device(DeviceSigner),
    /// The key is in this process's memory.
    InProcess(SigningKey),
    /// The key is in the signer process.
    Isolated(RemoteKey),
}

impl Signer {
    /// The RS256 signature over the draft.
    pub(super) async fn sign(&self, draft: &Draft<'_>) -> Result<Vec<u8>, SignError> {
        match self {
            Self::Device(key) => key.sign(draft.input()).await,
            Self::InProcess(key) => key.sign(draft.input().as_bytes()).map_err(|()| SignError::Failed),
            Self::Isolated(key) => key.sign(draft).await,
        }
    }

    /// The fingerprint of the public half.
    pub fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Device(key) => key.fingerprint(),
            Self::InProcess(key) => key.fingerprint(),
            Self::Isolated(key) => key.fingerprint(),
        }
    }

    /// The size of the modulus.
    pub fn bits(&self) -> u32 {
        match self {
            Self::Device(key) => key.bits(),
            Self::InProcess(key) => key.bits(),
            Self::Isolated(key) => key.bits(),
        }
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RSA-{} {}", self.bits(), self.fingerprint())
    }
}

/// The signature could not be made. All of them heal by themselves or by the next look at the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// There is no answer from the process or device that holds the key.
    #[error("what holds the key does not answer")]
    Away,
    /// The key is there and made no signature.
    #[error("the key did not sign")]
    Failed,
    /// The signer process was started again, and the key's file holds another one by now.
    #[error("the key is no longer held")]
    NotHeld,
    /// It could not be written down beforehand, and then nothing is signed (rule S6).
    #[error("it cannot be written into the audit log")]
    Unrecorded,
    /// The signer does not sign such a claim, or not for such a time.
    #[error("the signer refuses the claims or their time; is this machine's clock off by more than a day?")]
    Refused,
}
