//! What speaks PKCS#11 (OASIS, version 2.40): blocking, so it runs on threads that may block.
//!
//! A wrong PIN is given once and never again, because devices lock themselves after a few.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::Mechanism,
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use rsa::{BoxedUint, PublicKey, pkcs8::EncodePublicKey as _, traits::PublicKeyParts as _};
use secrecy::ExposeSecret as _;

use super::{DeviceKey, Facts, Module};
use crate::auth::{
    signer::SignError,
    signing_key::{Defect, Fingerprint, check_size},
};

/// What is kept of a module for as long as the daemon runs.
#[derive(Default)]
pub(super) struct State {
    loaded: Mutex<Option<Pkcs11>>,
    is_pin_refused: AtomicBool,
}

/// An open session and the key in it.
pub(super) struct Open {
    session: Session,
    key: ObjectHandle,
}

/// Opens the token, finds the key, reads its public half, and has it sign a probe.
pub(super) fn open(key: &DeviceKey) -> Result<(Facts, Open), Defect> {
    let open = find(key)?;
    let facts = facts(&open)?;
    Ok((facts, open))
}

/// Signs; once more with a new session if the old one broke (a device that was pulled out and put back).
pub(super) fn sign(
    key: &DeviceKey,
    expected: Fingerprint,
    session: &Mutex<Option<Open>>,
    input: &str,
) -> Result<Vec<u8>, SignError> {
    let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(Ok(signature)) = session.as_ref().map(|open| sign_with(open, input.as_bytes())) {
        return Ok(signature);
    }
    *session = None;
    let (facts, open) = self::open(key).map_err(|_| SignError::Away)?;
    if facts.fingerprint != expected {
        return Err(SignError::NotHeld);
    }
    let signed = sign_with(&open, input.as_bytes()).map_err(|_| SignError::Failed);
    *session = Some(open);
    signed
}

fn sign_with(open: &Open, input: &[u8]) -> Result<Vec<u8>, Error> {
    open.session.sign(&Mechanism::Sha256RsaPkcs, open.key, input)
}

fn find(wanted: &DeviceKey) -> Result<Open, Defect> {
    let module = &wanted.module;
    let library = load(module)?;
    let slot = slot(&library, wanted)?;
    let session = library.open_ro_session(slot).map_err(|error| device(&error))?;
    log_in(module, &session)?;
    let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::KeyType(KeyType::RSA)];
    template.extend(wanted.uri.object.as_ref().map(|label| Attribute::Label(label.clone().into_bytes())));
    template.extend(wanted.uri.id.clone().map(Attribute::Id));
    let found = session.find_objects(&template).map_err(|error| device(&error))?;
    match found.as_slice() {
        [key] => Ok(Open { key: *key, session }),
        [] => Err(Defect::Device("its token holds no RSA private key of this name".to_owned())),
        _ => Err(Defect::Device("its token holds several keys of this name; add id=…".to_owned())),
    }
}

/// Loads the library, once for all keys.
fn load(module: &Module) -> Result<Pkcs11, Defect> {
    let mut loaded = module.state.loaded.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(library) = loaded.as_ref() {
        return Ok(library.clone());
    }
    let library = Pkcs11::new(&module.path)
        .map_err(|_| Defect::Device(format!("{} is no PKCS#11 module", module.path.display())))?;
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // By another daemon in this process, in tests.
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(device(&error)),
    }
    Ok(loaded.insert(library).clone())
}

fn slot(library: &Pkcs11, wanted: &DeviceKey) -> Result<Slot, Defect> {
    let slots = library.get_slots_with_token().map_err(|error| device(&error))?;
    let is_meant = |slot: &Slot| {
        let info = library.get_token_info(*slot).ok()?;
        let is_named = wanted.uri.token.as_ref().is_none_or(|token| info.label().trim_end() == token);
        (info.token_initialized() && is_named).then_some(())
    };
    let meant: Vec<Slot> = slots.into_iter().filter(|slot| is_meant(slot).is_some()).collect();
    match meant.as_slice() {
        [slot] => Ok(*slot),
        [] => Err(Defect::Device("there is no such token".to_owned())),
        _ => Err(Defect::Device("there are several tokens; name one with token=…".to_owned())),
    }
}

fn log_in(module: &Module, session: &Session) -> Result<(), Defect> {
    let refused = || Defect::Device("its PIN is refused, and is not given again".to_owned());
    if module.state.is_pin_refused.load(Ordering::Acquire) {
        return Err(refused());
    }
    let pin = AuthPin::from(module.pin.expose_secret().to_owned());
    match session.login(UserType::User, Some(&pin)) {
        // Logging in holds for all sessions of a token.
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Error::Pkcs11(
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange | RvError::PinLocked,
            _,
        )) => {
            module.state.is_pin_refused.store(true, Ordering::Release);
            Err(refused())
        }
        Err(error) => Err(device(&error)),
    }
}

/// The public half as the device tells it, proven by a signature that another implementation verifies.
fn facts(open: &Open) -> Result<Facts, Defect> {
    const PROBE: &[u8] = b"countersign probe";
    let wanted = [AttributeType::Modulus, AttributeType::PublicExponent];
    let attributes = open.session.get_attributes(open.key, &wanted).map_err(|error| device(&error))?;
    let (mut modulus, mut exponent) = (Vec::new(), Vec::new());
    for attribute in attributes {
        match attribute {
            Attribute::Modulus(bytes) => modulus = bytes,
            Attribute::PublicExponent(bytes) => exponent = bytes,
            _ => {}
        }
    }
    let number = |bytes: &[u8]| BoxedUint::from_be_slice_vartime(bytes);
    let public = PublicKey::new(number(&modulus), number(&exponent)).map_err(|_| Defect::Inconsistent)?;
    let bits = check_size(public.n().bit_width())?;
    let spki = public.to_public_key_der().map_err(|_| Defect::Inconsistent)?;
    let signature = sign_with(open, PROBE).map_err(|error| device(&error))?;
    let text = {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        URL_SAFE_NO_PAD.encode(signature)
    };
    let verifier = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
    match jsonwebtoken::crypto::verify(&text, PROBE, &verifier, Algorithm::RS256) {
        Ok(true) => Ok(Facts { fingerprint: Fingerprint::of_spki(spki.as_bytes()), bits }),
        _ => Err(Defect::Inconsistent),
    }
}

/// What the device says, by the name of its answer: the text of the library explains the standard.
fn device(error: &Error) -> Defect {
    match error {
        Error::Pkcs11(answer, function) => {
            Defect::Device(format!("the device answers {answer:?} to {function:?}"))
        }
        other => Defect::Device(other.to_string()),
    }
}
