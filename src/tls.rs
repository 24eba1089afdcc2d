//! TLS of our own listeners: their certificates, and the certificates of those who call (mutual TLS).
//!
//! Files are read whole at start and on SIGHUP; whatever is wrong with one is found then and not at the first
//! handshake. A client certificate must chain to the CA, be within its dates on *our* clock, and be named by
//! no revocation list; a list that has run out refuses everybody, because nobody knows whom it would name
//! (RFC 5280, 6.3). Where client certificates are asked for, no session is resumed: all of that is looked at in a
//! whole handshake alone. What a certificate is called is read here, what its bearer may do is decided elsewhere.
//!
//! It never says more of a private key than the name of its file.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime,
        pem::{self, PemObject},
    },
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    time_provider::TimeProvider,
};
use x509_cert::{
    Certificate,
    crl::CertificateList,
    der::{Decode as _, asn1::ObjectIdentifier},
    ext::pkix::{SubjectAltName, name::GeneralName},
    time::Time,
};

use crate::clock::SharedClock;

/// A certificate chain, a key or a list is at most so large; anything more is another file.
const FILE_LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// RFC 4519: `commonName`.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The files of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Certificate chain, PEM, the listener's own first.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The CAs that client certificates must come from; none: no client certificate is asked for.
    pub client_ca: Option<PathBuf>,
    /// Whether who shows no certificate is let in all the same, to be told apart later.
    pub lets_strangers_in: bool,
    /// Revocation lists of these CAs, PEM.
    pub client_crl: Option<PathBuf>,
}

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct Error {
    /// The file.
    pub path: PathBuf,
    why: Unusable,
}

#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("cannot be read: {0}")]
    Io(io::Error),
    #[error("larger than 4 MiB")]
    TooLarge,
    #[error("others than its owner and group may read it; chmod it to 0600 or 0640")]
    Wide,
    #[error("holds no {0} in PEM form")]
    Empty(&'static str),
    #[error("the key does not belong to the certificate, or is of a kind that TLS does not use")]
    Mismatch,
    #[error("holds a certificate that no CA has")]
    NotACa,
    #[error("cannot be used for client certificates: {0}")]
    Verifier(rustls::server::VerifierBuilderError),
}

/// What runs out: a file of a listener that has dates in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The listener's own certificate.
    Certificate,
    /// The CAs of client certificates.
    ClientCa,
    /// Their revocation lists.
    ClientCrl,
}

/// Until when a file of a listener serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// Which one.
    pub kind: Kind,
    /// Where it is.
    pub path: PathBuf,
    /// The first date in it that passes.
    pub at: Timestamp,
}

/// What a listener serves with, and until when.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// For the handshakes.
    pub config: Arc<ServerConfig>,
    /// What runs out; a file whose dates cannot be read is not in it.
    pub expiries: Vec<Expiry>,
}

/// Reads the files of a listener, and the dates in them. Nothing is taken over in part.
pub fn load(files: &Files, clock: &SharedClock) -> Result<Loaded, Error> {
    let mut expiries = Vec::new();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let time: Arc<dyn TimeProvider> = Arc::new(OurTime(Arc::clone(clock)));
    let chain: Vec<CertificateDer<'static>> = read_all(&files.certificate, "certificate")?;
    note(&mut expiries, Kind::Certificate, &files.certificate, chain.iter().filter_map(|der| not_after(der)));
    let key = private_key(&files.key)?;
    let builder = ServerConfig::builder_with_details(Arc::clone(&provider), time)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for both versions");
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => builder.with_client_cert_verifier(verifier(ca, files, provider, &mut expiries)?),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|_| Error { path: files.key.clone(), why: Unusable::Mismatch })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if files.client_ca.is_some() {
        // A resumed session brings along the client certificate of the first, whatever has become of it since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Loaded { config: Arc::new(config), expiries })
}

/// The first of these dates.
fn note(expiries: &mut Vec<Expiry>, kind: Kind, path: &Path, dates: impl Iterator<Item = Timestamp>) {
    expiries.extend(dates.min().map(|at| Expiry { kind, path: path.to_owned(), at }));
}

fn verifier(
    ca: &Path,
    files: &Files,
    provider: Arc<rustls::crypto::CryptoProvider>,
    expiries: &mut Vec<Expiry>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    let certificates: Vec<CertificateDer<'static>> = read_all(ca, "certificate")?;
    note(expiries, Kind::ClientCa, ca, certificates.iter().filter_map(|der| not_after(der)));
    for certificate in certificates {
        roots.add(certificate).map_err(|_| Error { path: ca.to_owned(), why: Unusable::NotACa })?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if files.lets_strangers_in {
        builder = builder.allow_unauthenticated();
    }
    let crl = files.client_crl.as_deref();
    if let Some(crl) = crl {
        let lists: Vec<CertificateRevocationListDer<'static>> = read_all(crl, "revocation list")?;
        note(expiries, Kind::ClientCrl, crl, lists.iter().filter_map(|der| next_update(der)));
        // Intermediate CAs rarely have lists of their own at hand; who is revoked is the caller.
        builder = builder.with_crls(lists).only_check_end_entity_revocation().enforce_revocation_expiration();
    }
    let path = crl.unwrap_or(ca).to_owned();
    builder.build().map_err(|error| Error { path, why: Unusable::Verifier(error) })
}

fn not_after(der: &[u8]) -> Option<Timestamp> {
    let certificate = Certificate::from_der(der).ok()?;
    timestamp(certificate.tbs_certificate().validity().not_after)
}

fn next_update(der: &[u8]) -> Option<Timestamp> {
    let list: CertificateList = CertificateList::from_der(der).ok()?;
    timestamp(list.tbs_cert_list.next_update?)
}

fn timestamp(time: Time) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(time.to_unix_duration().as_secs()).ok()?).ok()
}

/// How long a client certificate is good, by the clock of the listener that it was shown to.
#[derive(Debug, Clone)]
pub struct Validity {
    until: UnixTime,
    time: Arc<dyn TimeProvider>,
}

impl Validity {
    /// Of a certificate that such a listener has verified; none if its dates cannot be read.
    pub fn of(der: &[u8], listener: &ServerConfig) -> Option<Self> {
        let until = u64::try_from(not_after(der)?.as_second()).ok()?;
        let until = UnixTime::since_unix_epoch(Duration::from_secs(until));
        Some(Self { until, time: Arc::clone(&listener.time_provider) })
    }

    /// Whether it has run out by now, as the handshake would say.
    pub fn is_over(&self) -> bool {
        self.time.current_time().is_none_or(|now| now > self.until)
    }
}

/// Why a handshake came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The client certificate has run out, or is not valid yet.
    Dates,
    /// The revocation list has run out, so nobody is let in.
    ListExpired,
    /// No client certificate was shown.
    NoCertificate,
    /// Anything else: no TLS at all, no common version, the peer left.
    Other,
    /// The client certificate is revoked.
    Revoked,
    /// It did not end in time.
    TimedOut,
    /// The client certificate is of another CA, or of no good one.
    Untrusted,
}

impl Refusal {
    /// Reads what the handshake ended with.
    pub fn of(error: &io::Error) -> Self {
        use rustls::{CertificateError as Bad, Error::InvalidCertificate};
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match cause {
            Some(rustls::Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(InvalidCertificate(bad)) => match bad {
                Bad::Expired
                | Bad::ExpiredContext { .. }
                | Bad::NotValidYet
                | Bad::NotValidYetContext { .. } => Self::Dates,
                Bad::ExpiredRevocationList | Bad::ExpiredRevocationListContext { .. } => Self::ListExpired,
                Bad::Revoked => Self::Revoked,
                _ => Self::Untrusted,
            },
            _ => Self::Other,
        }
    }

    /// Whether the peer showed a certificate that was not taken, which is somebody's mistake: strangers that knock
    /// on a port do not get so far.
    pub const fn is_of_certificate(self) -> bool {
        matches!(self, Self::Dates | Self::ListExpired | Self::Revoked | Self::Untrusted)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dates => "the client certificate has run out, or is not valid yet",
            Self::ListExpired => "the revocation list has run out: nobody is let in",
            Self::NoCertificate => "no client certificate",
            Self::Other => "no handshake",
            Self::Revoked => "the client certificate is revoked",
            Self::TimedOut => "no handshake in time",
            Self::Untrusted => "the client certificate is not of a CA of the settings",
        })
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    use std::os::unix::fs::PermissionsExt as _;
    let error = |why| Error { path: path.to_owned(), why };
    let mode = fs::metadata(path).map_err(|cause| error(Unusable::Io(cause)))?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(error(Unusable::Wide));
    }
    let text = zeroize::Zeroizing::new(read(path)?);
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| error(Unusable::Empty("private key")))
}

fn read_all<T: PemObject>(path: &Path, what: &'static str) -> Result<Vec<T>, Error> {
    let text = read(path)?;
    let all: Result<Vec<T>, pem::Error> = T::pem_slice_iter(&text).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(Error { path: path.to_owned(), why: Unusable::Empty(what) }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let error = |why| Error { path: path.to_owned(), why };
    let found = fs::metadata(path).map_err(|cause| error(Unusable::Io(cause)))?;
    if found.len() > FILE_LIMIT_BYTES {
        return Err(error(Unusable::TooLarge));
    }
    fs::read(path).map_err(|cause| error(Unusable::Io(cause)))
}

/// Dates of certificates and lists are compared with the daemon's clock, like every other date.
#[derive(Debug)]
struct OurTime(SharedClock);

impl TimeProvider for OurTime {
    fn current_time(&self) -> Option<UnixTime> {
        let since = u64::try_from(self.0.now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(since)))
    }
}

/// A name that a client certificate carries, of one of the kinds that settings can speak of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Name {
    /// The subject's common name.
    Common(String),
    /// A DNS name among the subject's alternative names, in lower case.
    Dns(String),
    /// A URI among them, such as a SPIFFE id.
    Uri(String),
}

impl Name {
    /// Reads `cn:…`, `dns:…` or `uri:…`.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        if name.is_empty() {
            return None;
        }
        Some(match kind {
            "cn" => Self::Common(name.to_owned()),
            "dns" => Self::Dns(name.to_ascii_lowercase()),
            "uri" => Self::Uri(name.to_owned()),
            _ => return None,
        })
    }

    /// The names of a verified client certificate. One that cannot be read whole has none.
    pub fn of_certificate(der: &[u8]) -> Vec<Self> {
        let Ok(certificate) = Certificate::from_der(der) else { return Vec::new() };
        let content = certificate.tbs_certificate();
        let mut names = Vec::new();
        if let Ok(Some((_, alternatives))) = content.get_extension::<SubjectAltName>() {
            names.extend(alternatives.0.iter().filter_map(|name| match name {
                GeneralName::DnsName(name) => Some(Self::Dns(name.as_str().to_ascii_lowercase())),
                GeneralName::UniformResourceIdentifier(uri) => Some(Self::Uri(uri.as_str().to_owned())),
                _ => None,
            }));
        }
        let subject = content.subject().iter();
        names.extend(subject.filter(|part| part.oid == COMMON_NAME).filter_map(|part| {
            let text = std::str::from_utf8(part.value.value()).ok()?;
            Some(Self::Common(text.to_owned()))
        }));
        names
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Common(name) => write!(f, "cn:{name}"),
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Uri(name) => write!(f, "uri:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn a_certificate_has_the_names_it_carries_and_no_other() {
        let mut params = CertificateParams::new(vec!["Shop.Internal".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://bank/shop".try_into().unwrap()));
        params.distinguished_name.push(DnType::CommonName, "shop");
        params.distinguished_name.push(DnType::OrganizationName, "Bank");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let names = Name::of_certificate(certificate.der());
        let expected = ["dns:shop.internal", "uri:spiffe://bank/shop", "cn:shop"];
        assert_eq!(names, expected.map(|name| Name::parse(name).unwrap()));
        assert_eq!(Name::of_certificate(b"no certificate"), []);
    }

    #[test]
    fn a_name_is_written_with_its_kind() {
        for text in ["cn:shop", "dns:shop.internal", "uri:spiffe://bank/shop"] {
            assert_eq!(Name::parse(text).unwrap().to_string(), text);
        }
        for text in ["shop", "cn:", "email:a@b.c", ""] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }
}
