//! How to point at a secret without showing it (rule S1).
//!
//! Secrets have types that do not print themselves: `secrecy::SecretString` where they are held,
//! [`Masked`] for personal data and anything else that must not print but is passed about.

use std::fmt;

use aws_lc_rs::digest;

/// Names a secret in a log: the first 8 hex digits of its SHA-256. Equal secrets have equal names,
/// and 32 bits of a digest give nothing back of a 256-bit value.
///
/// Only for random values. A phone number or an e-mail address is guessed from its digest.
pub fn digest_prefix(secret: &str) -> String {
    let digest = digest::digest(&digest::SHA256, secret.as_bytes());
    let prefix = digest.as_ref().first_chunk().copied().unwrap_or_default();
    format!("{:08x}", u32::from_be_bytes(prefix))
}

/// A value that no `Debug` and no `Display` shows. Whoever needs it asks by name.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Masked<T>(T);

impl<T> Masked<T> {
    /// Puts the mask on.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }

    /// The value itself, without the mask.
    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Masked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[masked]")
    }
}

impl<T> fmt::Display for Masked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[masked]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_value_does_not_print_itself() {
        let masked = Masked::new("ada@example.com");
        assert_eq!(
            format!("{masked} {masked:?} {:#?}", Some(masked)),
            "[masked] [masked] Some(\n    [masked],\n)"
        );
        assert_eq!(*masked.expose(), "ada@example.com");
    }

    #[test]
    fn a_digest_prefix_is_the_beginning_of_the_sha_256() {
        // `printf abc | sha256sum`
        assert_eq!(digest_prefix("abc"), "ba7816bf");
    }
}
