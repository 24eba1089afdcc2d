//! `[signer]`: who holds the private keys, if not the daemon itself.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

use super::{
    ConfigError,
    secret::{Credentials, Forms},
    values,
};

/// The section, checked.
#[derive(Debug, Clone)]
pub struct Signer {
    /// Whether private keys live in a child process of their own; key files are read there alone.
    pub isolate: bool,
    /// How devices that hold keys are reached.
    pub pkcs11: Option<Pkcs11>,
}

/// A PKCS#11 module.
#[derive(Debug, Clone)]
pub struct Pkcs11 {
    /// The shared library.
    pub module: PathBuf,
    /// Of the token's user.
    pub pin: SecretString,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(deserialize_with = "values::given")]
    isolate: bool,
    #[serde(default, deserialize_with = "values::maybe")]
    pkcs11_module: Option<PathBuf>,
    #[serde(default, deserialize_with = "values::maybe")]
    pkcs11_pin: Option<String>,
    #[serde(default, deserialize_with = "values::maybe")]
    pkcs11_pin_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "values::maybe")]
    pkcs11_pin_credential: Option<String>,
}

impl Raw {
    pub(super) fn check(self, credentials: &Credentials) -> Result<Signer, ConfigError> {
        let forms = Forms {
            value: self.pkcs11_pin,
            file: self.pkcs11_pin_file,
            credential: self.pkcs11_pin_credential,
        };
        let pin = forms.reveal("signer.pkcs11_pin", credentials)?;
        let pkcs11 = match (self.pkcs11_module, pin) {
            (None, None) => None,
            (Some(module), Some(pin)) => Some(Pkcs11 { module, pin }),
            (Some(_), None) => {
                let fix = "give the PIN of the token's user: pkcs11_pin_file = \"…\"";
                return Err(ConfigError::new("signer.pkcs11_pin", "a module without a PIN", fix));
            }
            (None, Some(_)) => {
                let fix = "name the shared library of the device's vendor, or leave the PIN out";
                return Err(ConfigError::new("signer.pkcs11_module", "a PIN without a module", fix));
            }
        };
        Ok(Signer { isolate: self.isolate, pkcs11 })
    }
}
