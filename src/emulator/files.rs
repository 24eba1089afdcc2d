//! What the emulator writes for its clients: private keys and the CA's certificate.
//!
//! Fresh keys each start, so that nothing that signs for one run is believed in another. The Connect key alone stays, as
//! the ids do: settings that are written once are to believe the events of every run.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::{
    digest,
    encoding::{AsDer as _, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyUsagePurpose};
use rsa::{
    pkcs1::{EncodeRsaPrivateKey as _, EncodeRsaPublicKey as _},
    pkcs8::{DecodePrivateKey as _, LineEnding},
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{Error, state::World};

/// Where the files go.
#[derive(Debug)]
pub(super) struct StateDir {
    path: PathBuf,
    is_ours: bool,
    /// The directory itself, locked: a second emulator would put other keys in the place of those that clients read here.
    lock: fs::File,
}

impl StateDir {
    /// The directory given, or a fresh temporary one that is removed at the end.
    pub(super) fn open(given: Option<&Path>) -> Result<Self, Error> {
        let is_ours = given.is_none();
        let path = given.map_or_else(
            || {
                let name = uuid::Uuid::from_bytes(World::secret()).simple().to_string();
                std::env::temp_dir().join(format!("countersign-emulator-{name}"))
            },
            Path::to_owned,
        );
        let opened = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .and_then(|()| fs::canonicalize(&path))
            .and_then(|path| fs::File::open(&path).map(|lock| (path, lock)));
        let (path, lock) = match opened {
            Ok(opened) => opened,
            Err(source) => return Err(Error::File { path, source }),
        };
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, is_ours, lock }),
            Err(fs::TryLockError::WouldBlock) => Err(Error::StateDirTaken { path }),
            Err(fs::TryLockError::Error(source)) => Err(Error::File { path, source }),
        }
    }

    /// Writes a file whole, readable by its owner only.
    fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        let part = self.path.join(format!(".{name}.part"));
        let written = fs::remove_file(&part)
            .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
            .and_then(|()| fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part))
            .and_then(|mut file| file.write_all(content))
            .and_then(|()| fs::rename(&part, &path));
        match written {
            Ok(()) => Ok(path),
            Err(source) => Err(Error::File { path, source }),
        }
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        // Closing it does the same a moment later: a process that is just being started has all that is open for so long.
        let _ = self.lock.unlock();
        if self.is_ours {
            // Nothing to do about a failure: the system clears its temporary directory.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// The secrets of one run.
#[derive(Debug)]
pub(super) struct Secrets {
    /// The first integration key's private half.
    pub(super) private_key_file: PathBuf,
    /// Both public halves, PKCS#1 DER.
    pub(super) public_keys: [Vec<u8>; 2],
    /// The first account's Connect HMAC key.
    pub(super) connect_hmac_key: String,
}

impl Secrets {
    /// Makes them and writes the private keys.
    pub(super) fn make(dir: &StateDir) -> Result<Self, Error> {
        let (pem, first) = key_pair()?;
        let private_key_file = dir.write("private_key.pem", pem.as_bytes())?;
        let (pem, second) = key_pair()?;
        dir.write("second_private_key.pem", pem.as_bytes())?;
        Ok(Self { private_key_file, public_keys: [first, second], connect_hmac_key: connect_hmac_key() })
    }
}

/// The Connect key of every emulator: of the form that DocuSign's have, and worth nothing. It is made here, so that who
/// looks for it in what a program holds does not find this line.
fn connect_hmac_key() -> String {
    let text = "countersign emulate: this Connect key is public, and worth nothing";
    BASE64_STANDARD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

/// A fresh RSA-2048 pair: private half as PKCS#1 PEM, which is what DocuSign hands out, and public half.
fn key_pair() -> Result<(impl std::ops::Deref<Target = String>, Vec<u8>), Error> {
    let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| Error::Key)?;
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| Error::Key)?;
    let private = rsa::PrivateKey::from_pkcs8_der(der.as_ref()).map_err(|_| Error::Key)?;
    let public = private.to_public_key().to_pkcs1_der().map_err(|_| Error::Key)?.as_bytes().to_vec();
    let pem = private.to_pkcs1_pem(LineEnding::LF).map_err(|_| Error::Key)?;
    Ok((pem, public))
}

/// A CA, a certificate for loopback, and the CA's certificate in a file.
pub(super) fn tls(dir: &StateDir) -> Result<(Arc<rustls::ServerConfig>, PathBuf), Error> {
    let (ca_pem, config) = certificates().map_err(|error| Error::Tls(error.to_string()))?;
    let ca_file = dir.write("ca.pem", ca_pem.as_bytes())?;
    Ok((Arc::new(config), ca_file))
}

fn certificates() -> Result<(String, rustls::ServerConfig), Box<dyn std::error::Error>> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(DnType::CommonName, "countersign emulator CA (not to be trusted)");
    let authority_key = rcgen::KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);

    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let key = rcgen::KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((authority_certificate.pem(), config))
}
