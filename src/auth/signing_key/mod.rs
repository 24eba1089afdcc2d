//! The private key: how it is found, checked, and held.
//!
//! It takes what people have (PKCS#1 as DocuSign hands it out, PKCS#8 as everyone else does, a file
//! or a value with `\n` typed as two characters) and answers each defect with one clear line. A key
//! that loads has signed a probe which another implementation verified, so that a bad key is found
//! at start and not in front of a visitor.
//!
//! Who does what: `rsa` reads and checks the numbers, because it says what is wrong with them;
//! aws-lc signs, from a key pair that is held open; `jsonwebtoken` verifies the probe, writes the
//! header of an assertion, and verifies every assertion in the tests. Its `encode` does not sign
//! ours, because it parses the key again on every call (600 us instead of 233 us) and would have to
//! be handed the key itself, which [`Signer`](super::signer::Signer) exists to prevent.
//!
//! The text and the DER of a key are wiped when they have been read. Neither is ever in an error,
//! in `Debug`, or written anywhere.

mod pem;

pub use self::pem::Label;

use std::{
    fmt,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    rsa,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::device::DeviceKey;
use crate::digest::{hex, sha256};

/// Larger than the PEM of any RSA key that aws-lc takes (8192 bits: 6.4 KB).
const LIMIT_BYTES: u64 = 64 * 1024;
/// What DocuSign generates, and NIST SP 800-131A's minimum.
const MIN_BITS: u32 = 2048;
/// The largest that aws-lc signs with.
const MAX_BITS: u32 = 8192;

/// Where a private key comes from. A systemd credential is a file like any other.
#[derive(Clone)]
pub enum KeySource {
    /// A device that signs itself; the key is never read. Boxed: thousands of senders have a file.
    Device(Box<DeviceKey>),
    /// A file; what a symlink points to is what counts.
    File(PathBuf),
    /// The PEM itself.
    Inline(SecretString),
}

impl KeySource {
    /// Reads and checks the key. One in a device cannot be read.
    pub fn load(&self) -> Result<SigningKey, Error> {
        let key = match self {
            Self::Device(_) => Err(Defect::Device("it is in a device, which keeps it".to_owned())),
            Self::File(path) => read_file(path).and_then(|text| SigningKey::from_pem(&text)),
            Self::Inline(text) => SigningKey::from_pem(text.expose_secret()),
        };
        key.map_err(|defect| Error { origin: self.to_string().into(), defect })
    }

    /// The fingerprint of the public half and the size, whoever holds the private one.
    pub async fn examine(&self) -> Result<(Fingerprint, u32), Error> {
        match self {
            Self::Device(key) => {
                let opened = key.open().await;
                let facts = opened.map(|key| (key.fingerprint(), key.bits()));
                facts.map_err(|defect| Error { origin: self.to_string().into(), defect })
            }
            _ => self.load().map(|key| (key.fingerprint(), key.bits())),
        }
    }

    /// Something that changes whenever the file may have changed; none if there is nothing to watch.
    ///
    /// It looks through symlinks, so it also sees Kubernetes swap `..data`. The content is not read:
    /// the private key should not pass through memory every few seconds.
    pub fn stamp(&self) -> Option<Stamp> {
        let Self::File(path) = self else { return None };
        Some(Stamp(std::fs::metadata(path).ok().map(|meta| {
            let (dev, ino, size) = (meta.dev().into(), meta.ino().into(), meta.size().into());
            let (modified, changed) = (meta.mtime().into(), meta.ctime().into());
            let nanos = [meta.mtime_nsec().into(), meta.ctime_nsec().into()];
            [dev, ino, size, meta.mode().into(), modified, nanos[0], changed, nanos[1]]
        })))
    }
}

/// What a key file looked like from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp(Option<[i128; 8]>);

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(key) => key.fmt(f),
            Self::File(path) => path.display().fmt(f),
            Self::Inline(_) => f.write_str("inline value"),
        }
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySource({self})")
    }
}

/// A key that could not be taken, and where it came from.
#[derive(Debug, thiserror::Error)]
#[error("private key {origin}: {defect}")]
pub struct Error {
    /// The file's path, or "inline value".
    pub origin: Arc<str>,
    /// What is wrong.
    pub defect: Defect,
}

/// What is wrong with a key. One line each. It travels from the signer process.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum Defect {
    /// A certificate was given.
    #[error("this is a certificate; the private key that belongs to it is wanted")]
    Certificate,
    /// What is wrong with the device that holds it.
    #[error("{0}")]
    Device(String),
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It needs a passphrase.
    #[error("it is encrypted; decrypt it first (openssl pkey -in KEY -out NEW) and protect the file instead")]
    Encrypted,
    /// The one that comes with this program, against a real account server.
    #[error("this is the example key, which everybody has")]
    Example,
    /// The numbers do not belong together.
    #[error("its numbers do not belong together: it was damaged or put together from two keys")]
    Inconsistent,
    /// Not a file.
    #[error("it is not a regular file")]
    NotAFile,
    /// A key of another kind, which RS256 cannot use.
    #[error("it is no RSA key (an EC, Ed25519 or PSS-only key, perhaps); DocuSign takes RSA only")]
    NotRsa,
    /// No PEM block.
    #[error("it holds no PEM block (-----BEGIN RSA PRIVATE KEY----- or -----BEGIN PRIVATE KEY-----)")]
    NoPem,
    /// OpenSSH's own format.
    #[error("it is in OpenSSH's format; convert it with ssh-keygen -p -m PEM -f KEY")]
    OpenSsh,
    /// A PEM block of another kind.
    #[error("it holds a PEM block of another kind than a private key")]
    OtherLabel,
    /// The public half was given.
    #[error("this is the public key; it goes to DocuSign, the private half belongs here")]
    PublicKey,
    /// The signer process, which alone reads it, does not answer.
    #[error("the signer process does not answer")]
    SignerAway,
    /// The size is one that we do not sign with.
    #[error("it has {bits} bits; {MIN_BITS} to {MAX_BITS} are taken")]
    Size {
        /// What it has.
        bits: u32,
    },
    /// Far larger than any key.
    #[error("it is larger than 64 KiB, which no key is")]
    TooLong,
    /// Others may read it.
    #[error("its mode is {mode:04o}; no more than {widest:04o} is allowed for this file (chmod 600)")]
    TooWide {
        /// The permission bits.
        mode: u32,
        /// The widest that would be taken, which depends on whose file it is.
        widest: u32,
    },
    /// The end is missing or the body is not base64.
    #[error("it is cut off or damaged between BEGIN and END")]
    Truncated,
    /// The system says no.
    #[error("{}", unreadable(.0))]
    Unreadable(
        #[source]
        #[serde(with = "os_error")]
        std::io::Error,
    ),
}

impl Defect {
    /// It as one word of a closed set: the same for health and for `doctor`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Device(_) => "key_device_unusable",
            Self::Example => "key_is_example",
            Self::TooWide { .. } => "key_file_too_open",
            Self::NoPem | Self::Truncated => "key_truncated",
            Self::Unreadable(_) => "key_unreadable",
            Self::Certificate | Self::NotRsa | Self::OpenSsh | Self::OtherLabel | Self::PublicKey => {
                "key_wrong_kind"
            }
            Self::Empty
            | Self::Encrypted
            | Self::Inconsistent
            | Self::NotAFile
            | Self::SignerAway
            | Self::Size { .. }
            | Self::TooLong => "key_unusable",
        }
    }
}

/// What the system said, in plain words for what happens most: the path is wrong.
fn unreadable(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        kind => format!("it cannot be read: {kind}"),
    }
}

/// An error of the system as its number.
mod os_error {
    use std::io;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(error: &io::Error, to: S) -> Result<S::Ok, S::Error> {
        error.raw_os_error().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<io::Error, D::Error> {
        let number = Option::<i32>::deserialize(from)?;
        Ok(number.map_or_else(|| io::ErrorKind::Other.into(), io::Error::from_raw_os_error))
    }
}

/// A private key that signs.
pub struct SigningKey {
    pair: RsaKeyPair,
    label: Label,
    bits: u32,
    fingerprint: Fingerprint,
}

impl SigningKey {
    /// Reads PEM, with whatever dirt settings put around it, and signs a probe.
    pub fn from_pem(text: &str) -> Result<Self, Defect> {
        let (label, der) = pem::decode(text)?;
        let bits = check_numbers(label, &der)?;
        let pair = match label {
            Label::Pkcs1 => RsaKeyPair::from_der(&der),
            Label::Pkcs8 => RsaKeyPair::from_pkcs8(&der),
        };
        let pair = pair.map_err(|_| Defect::Inconsistent)?;
        let public = pair.public_key().as_der().map_err(|_| Defect::Inconsistent)?;
        let key = Self { label, bits, fingerprint: Fingerprint::of_spki(public.as_ref()), pair };
        key.probe()?;
        Ok(key)
    }

    /// Which form it was read from.
    pub fn label(&self) -> Label {
        self.label
    }

    /// The size of the modulus.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// The SHA-256 of the public half (SubjectPublicKeyInfo, DER).
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The public half as PEM: what is pasted into DocuSign.
    pub fn public_pem(&self) -> String {
        let der = self.pair.public_key().as_der().expect("it was encoded once when the key was read");
        pem::encode("PUBLIC KEY", der.as_ref()).as_str().to_owned()
    }

    /// The RS256 signature over `message`.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ()> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).map_err(|_| ())?;
        Ok(signature)
    }

    /// The public half as jsonwebtoken wants it.
    pub(super) fn decoding_key(&self) -> jsonwebtoken::DecodingKey {
        jsonwebtoken::DecodingKey::from_rsa_der(self.pair.public_key().as_ref())
    }

    /// Signs something and has it verified, before anyone depends on it.
    fn probe(&self) -> Result<(), Defect> {
        const PROBE: &[u8] = b"countersign probe";
        let signature = self.sign(PROBE).map_err(|()| Defect::Inconsistent)?;
        let text = URL_SAFE_NO_PAD.encode(signature);
        let algorithm = jsonwebtoken::Algorithm::RS256;
        match jsonwebtoken::crypto::verify(&text, PROBE, &self.decoding_key(), algorithm) {
            Ok(true) => Ok(()),
            _ => Err(Defect::Inconsistent),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} bits, {})", self.bits, self.fingerprint)
    }
}

/// The SHA-256 over a public key's SubjectPublicKeyInfo, as `openssl pkey -pubout -outform DER` gives it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a SubjectPublicKeyInfo in DER.
    pub fn of_spki(der: &[u8]) -> Self {
        Self(sha256(der))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A new pair, not stored anywhere yet.
pub struct Generated {
    /// The private half: PKCS#1 PEM, as DocuSign's own page gives it, so that its samples read it, too.
    pub private_pem: Zeroizing<String>,
    /// The public half, for pasting into DocuSign.
    pub public_pem: String,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

impl fmt::Debug for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Generated({})", self.fingerprint)
    }
}

/// Makes a new pair of the size that DocuSign itself generates.
pub fn generate() -> Option<Generated> {
    generate_of(rsa::KeySize::Rsa2048)
}

/// Makes a new pair of that size.
///
/// None only if the machine has no randomness.
pub fn generate_of(size: rsa::KeySize) -> Option<Generated> {
    // aws-lc makes a key in a tenth of the time that the rsa crate takes.
    let pair = rsa::KeyPair::generate(size).ok()?;
    let private = pair.as_der().ok()?;
    let der: &[u8] = private.as_ref();
    // What PKCS#8 wraps for an RSA key is PKCS#1 (RFC 8017, appendix A.1.2).
    let wrapped = ::rsa::pkcs8::PrivateKeyInfoRef::try_from(der).ok()?;
    let private_pem = pem::encode(Label::Pkcs1.as_str(), wrapped.private_key.as_bytes());
    let key = SigningKey::from_pem(&private_pem).ok()?;
    Some(Generated { public_pem: key.public_pem(), fingerprint: key.fingerprint(), private_pem })
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, Defect> {
    // Without NONBLOCK, opening a named pipe would wait for a writer.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = file.map_err(Defect::Unreadable)?;
    // Of the opened file, so that nobody can swap it between the check and the reading.
    let meta = file.metadata().map_err(Defect::Unreadable)?;
    if !meta.is_file() {
        return Err(Defect::NotAFile);
    }
    let mode = meta.mode() & 0o7777;
    let widest = widest(meta.uid(), rustix::process::geteuid().as_raw());
    if mode & !widest != 0 {
        return Err(Defect::TooWide { mode, widest });
    }
    if meta.len() > LIMIT_BYTES {
        return Err(Defect::TooLong);
    }
    // Reserved whole: a buffer that grows leaves copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(LIMIT_BYTES).unwrap_or(0) + 1));
    file.take(LIMIT_BYTES).read_to_end(&mut bytes).map_err(Defect::Unreadable)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(Defect::NoPem),
    }
}

/// The widest mode of a file of that owner (rule S4): 0600. If it is root's and we are not root, its group
/// may read it, too: so Kubernetes mounts a Secret for a user of its own (fsGroup), and whoever could
/// change that is root anyway. PostgreSQL draws the same line for its `ssl_key_file`.
const fn widest(owner: u32, ourselves: u32) -> u32 {
    if owner == 0 && ourselves != 0 { 0o640 } else { 0o600 }
}

/// Reads the numbers with `rsa`, which checks that they belong together, and answers the size.
fn check_numbers(label: Label, der: &[u8]) -> Result<u32, Defect> {
    use ::rsa::{
        PrivateKey, pkcs1::DecodeRsaPrivateKey as _, pkcs8::DecodePrivateKey as _, pkcs8::PrivateKeyInfoRef,
        traits::PublicKeyParts as _,
    };
    let key = match label {
        Label::Pkcs1 => PrivateKey::from_pkcs1_der(der).ok(),
        Label::Pkcs8 => {
            let info = PrivateKeyInfoRef::try_from(der).map_err(|_| Defect::Truncated)?;
            // Of RFC 8017, appendix A: rsaEncryption. A PSS-only key has another.
            if info.algorithm.oid.to_string() != "1.2.840.113549.1.1.1" {
                return Err(Defect::NotRsa);
            }
            PrivateKey::from_pkcs8_der(der).ok()
        }
    };
    check_size(key.ok_or(Defect::Inconsistent)?.n().bit_width())
}

/// The size, if it is one that we sign with.
pub(super) fn check_size(bits: u32) -> Result<u32, Defect> {
    if (MIN_BITS..=MAX_BITS).contains(&bits) { Ok(bits) } else { Err(Defect::Size { bits }) }
}

#[cfg(test)]
mod tests;
