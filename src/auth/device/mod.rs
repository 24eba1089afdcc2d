//! Keys in a device: a hardware security module, a smart card, or SoftHSM, reached through PKCS#11.
//!
//! The private key never is in our memory: the device signs. Which key is meant, a URI says (RFC 7512);
//! how devices are reached is one module (a shared library of the device's vendor) and one PIN, for the
//! whole daemon. What speaks PKCS#11 is in `pkcs11`, behind the cargo feature of that name, because a
//! shared library runs in this process with all its rights: who has no device should not be able to load
//! one.

#[cfg(feature = "pkcs11")]
mod pkcs11;

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use secrecy::SecretString;

use super::{
    signer::SignError,
    signing_key::{Defect, Fingerprint},
};

/// A device that takes longer hangs; the mint that needs it fails and is tried again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Calls of devices under way at once (rule S5). One that hangs keeps its thread: those of a device that is gone would
/// in time be all the threads that may block, which others need, too.
#[cfg(feature = "pkcs11")]
const AT_ONCE: usize = 16;

/// How devices are reached.
pub struct Module {
    path: PathBuf,
    pin: SecretString,
    #[cfg(feature = "pkcs11")]
    state: pkcs11::State,
    #[cfg(feature = "pkcs11")]
    threads: Arc<tokio::sync::Semaphore>,
}

impl Module {
    /// The library at `path`, whose tokens are opened with this PIN of their user. Loads nothing yet.
    pub fn new(path: PathBuf, pin: SecretString) -> Arc<Self> {
        Arc::new(Self {
            path,
            pin,
            #[cfg(feature = "pkcs11")]
            state: pkcs11::State::default(),
            #[cfg(feature = "pkcs11")]
            threads: Arc::new(tokio::sync::Semaphore::new(AT_ONCE)),
        })
    }

    /// Whether this binary can speak to devices at all.
    pub const fn is_built() -> bool {
        cfg!(feature = "pkcs11")
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A key in a device, as the settings name it.
#[derive(Debug, Clone)]
pub struct DeviceKey {
    module: Arc<Module>,
    uri: KeyUri,
}

impl DeviceKey {
    /// The key that `uri` names, reached through `module`.
    pub fn new(module: Arc<Module>, uri: KeyUri) -> Self {
        Self { module, uri }
    }

    /// Finds the key and has it sign a probe.
    #[cfg(feature = "pkcs11")]
    pub(super) async fn open(&self) -> Result<DeviceSigner, Defect> {
        let key = self.clone();
        let opened = on_a_thread(&self.module.threads, PATIENCE, move || pkcs11::open(&key)).await;
        let away = || Defect::Device("the device does not answer".to_owned());
        let (facts, session) = opened.ok_or_else(away)??;
        let session = Arc::new(std::sync::Mutex::new(Some(session)));
        Ok(DeviceSigner { key: self.clone(), facts, session })
    }

    /// Says that it cannot.
    #[cfg(not(feature = "pkcs11"))]
    #[expect(clippy::unused_async, reason = "the other form of it waits")]
    pub(super) async fn open(&self) -> Result<DeviceSigner, Defect> {
        let _ = (&self.module.pin, &self.uri, PATIENCE);
        Err(Defect::Device("this binary was built without the feature pkcs11".to_owned()))
    }
}

impl fmt::Display for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

/// Does what may block, and may never end, on a thread of its own; none if that takes longer than `patience`. The
/// thread counts among `threads` for as long as it is blocked, whether or not somebody still waits.
#[cfg(any(test, feature = "pkcs11"))]
async fn on_a_thread<T: Send + 'static>(
    threads: &Arc<tokio::sync::Semaphore>,
    patience: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let threads = Arc::clone(threads);
    let done = async move {
        let one = threads.acquire_owned().await.ok()?;
        let working = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(one);
            done
        });
        working.await.ok()
    };
    tokio::time::timeout(patience, done).await.ok().flatten()
}

/// What is known of a key in a device.
#[derive(Debug, Clone, Copy)]
struct Facts {
    fingerprint: Fingerprint,
    bits: u32,
}

/// A key in a device that signs.
pub struct DeviceSigner {
    facts: Facts,
    #[cfg(feature = "pkcs11")]
    key: DeviceKey,
    #[cfg(feature = "pkcs11")]
    session: Arc<std::sync::Mutex<Option<pkcs11::Open>>>,
}

impl fmt::Debug for DeviceSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceSigner").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl DeviceSigner {
    /// Of the public half.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.facts.fingerprint
    }

    /// The size of the modulus.
    pub(super) fn bits(&self) -> u32 {
        self.facts.bits
    }

    /// The RS256 signature over `input`. A session that broke is opened again once.
    #[cfg(feature = "pkcs11")]
    pub(super) async fn sign(&self, input: &str) -> Result<Vec<u8>, SignError> {
        let (key, session, input) = (self.key.clone(), Arc::clone(&self.session), input.to_owned());
        let fingerprint = self.facts.fingerprint;
        let sign = move || pkcs11::sign(&key, fingerprint, &session, &input);
        on_a_thread(&self.key.module.threads, PATIENCE, sign).await.unwrap_or(Err(SignError::Away))
    }

    /// There is none to sign with.
    #[cfg(not(feature = "pkcs11"))]
    #[expect(clippy::unused_async, reason = "the other form of it waits")]
    pub(super) async fn sign(&self, _: &str) -> Result<Vec<u8>, SignError> {
        Err(SignError::Failed)
    }
}

/// Which key, by RFC 7512: `pkcs11:token=…;object=…` or `;id=%01`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUri {
    token: Option<String>,
    object: Option<String>,
    id: Option<Vec<u8>>,
}

/// Why a text is no such URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Something that we do not look at; ignoring it could mean another key.
    #[error("\"{0}\" is not looked at; token, object, id and type=private are")]
    Attribute(String),
    /// Half an escape, or no text.
    #[error("its escapes (%41) are damaged")]
    Escape,
    /// Neither `object` nor `id`.
    #[error("it names no key: object=LABEL or id=%01 is wanted")]
    NoKey,
    /// Module and PIN have settings of their own.
    #[error("nothing may follow a \"?\": module and PIN are in [signer]")]
    Query,
    /// It does not begin so.
    #[error("it does not begin with \"pkcs11:\"")]
    Scheme,
}

impl FromStr for KeyUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let path = text.trim().strip_prefix("pkcs11:").ok_or(UriError::Scheme)?;
        if path.contains('?') {
            return Err(UriError::Query);
        }
        let mut uri = Self { token: None, object: None, id: None };
        for attribute in path.split(';').filter(|attribute| !attribute.is_empty()) {
            let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            let bytes = unescape(value)?;
            let words = || String::from_utf8(bytes.clone()).map_err(|_| UriError::Escape);
            match name {
                "token" => uri.token = Some(words()?),
                "object" => uri.object = Some(words()?),
                "id" => uri.id = Some(bytes),
                "type" if value == "private" => {}
                other => return Err(UriError::Attribute(other.to_owned())),
            }
        }
        if uri.object.is_none() && uri.id.is_none() { Err(UriError::NoKey) } else { Ok(uri) }
    }
}

fn unescape(text: &str) -> Result<Vec<u8>, UriError> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&first, more)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = more;
            continue;
        }
        let (digits, after) = more.split_at_checked(2).ok_or(UriError::Escape)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(UriError::Escape);
        bytes.push(u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).expect("two hex digits"));
        rest = after;
    }
    Ok(bytes)
}

impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pkcs11:")?;
        let escaped = |f: &mut fmt::Formatter<'_>, name: &str, bytes: &[u8]| {
            write!(f, "{name}=")?;
            bytes.iter().try_for_each(|byte| {
                if byte.is_ascii_alphanumeric() || b"-._~ ".contains(byte) {
                    write!(f, "{}", char::from(*byte))
                } else {
                    write!(f, "%{byte:02x}")
                }
            })
        };
        let parts = [
            ("token", self.token.as_ref().map(String::as_bytes)),
            ("object", self.object.as_ref().map(String::as_bytes)),
            ("id", self.id.as_deref()),
        ];
        let mut is_first = true;
        for (name, bytes) in parts {
            let Some(bytes) = bytes else { continue };
            if !std::mem::take(&mut is_first) {
                f.write_str(";")?;
            }
            escaped(f, name, bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_one_key_and_nothing_that_is_not_looked_at() {
        let uri: KeyUri = " pkcs11:token=My%20HSM;object=signing;id=%01%aF;type=private ".parse().unwrap();
        assert_eq!(uri.token.as_deref(), Some("My HSM"));
        assert_eq!((uri.object.as_deref(), uri.id.as_deref()), (Some("signing"), Some([1, 0xaf].as_slice())));
        assert_eq!(uri.to_string().parse(), Ok(uri));
        for (text, error) in [
            ("file:key.pem", UriError::Scheme),
            ("pkcs11:", UriError::NoKey),
            ("pkcs11:token=x", UriError::NoKey),
            ("pkcs11:object=x?pin-value=1234", UriError::Query),
            ("pkcs11:object=x;serial=1", UriError::Attribute("serial".to_owned())),
            ("pkcs11:object=x;type=public", UriError::Attribute("type".to_owned())),
            ("pkcs11:object=%4", UriError::Escape),
            ("pkcs11:object=%zz", UriError::Escape),
            ("pkcs11:object=%ff", UriError::Escape),
        ] {
            assert_eq!(text.parse::<KeyUri>(), Err(error), "{text}");
        }
    }

    #[tokio::test]
    async fn s5_devices_that_hang_take_so_many_threads_and_no_more() {
        let threads = Arc::new(tokio::sync::Semaphore::new(2));
        let (moment, long) = (Duration::from_millis(20), Duration::from_secs(60));
        let (answer, hangs) = std::sync::mpsc::channel::<()>();
        let hangs = Arc::new(std::sync::Mutex::new(hangs));
        for _ in 0..2 {
            let hangs = Arc::clone(&hangs);
            let asked = on_a_thread(&threads, moment, move || hangs.lock().unwrap().recv().is_err()).await;
            assert_eq!(asked, None);
        }
        let more: Option<()> = on_a_thread(&threads, moment, || panic!("there is no thread for it")).await;
        assert_eq!(more, None);
        // They answer at last, to nobody.
        drop(answer);
        assert_eq!(on_a_thread(&threads, long, || 7).await, Some(7));
    }

    #[test]
    fn the_pin_is_not_printed() {
        let module = Module::new("/lib/x.so".into(), "1234".into());
        let key = DeviceKey::new(module, "pkcs11:object=x".parse().unwrap());
        assert!(!format!("{key:?} {key}").contains("1234"));
    }
}
