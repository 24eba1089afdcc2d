//! E-mail addresses, as strictly as the upstream takes them.

use crate::domain::Private;

/// The longest address the upstream takes (signer.email, eSignature REST API).
pub const MAX_LENGTH: usize = 100;

/// An address that has the form of one. Whether it exists only a delivery could tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(Private<String>);

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    /// Longer than [`MAX_LENGTH`].
    #[error("is longer than {MAX_LENGTH} characters")]
    TooLong,
    /// Not `local@domain`.
    #[error("is not of the form name@example.com")]
    Malformed,
}

impl Email {
    /// Checks the form: one `@`, a dot-atom before it (RFC 5322, 3.2.3), host labels after it.
    ///
    /// Quoted local parts and address literals are refused: the upstream refuses them too.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        if text.chars().count() > MAX_LENGTH {
            return Err(EmailError::TooLong);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(EmailError::Malformed)?;
        let atom = |part: &str| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_alphanumeric() || (c.is_ascii() && "!#$%&'*+/=?^_`{|}~-".contains(c)))
        };
        let label = |part: &str| {
            !part.is_empty()
                && part.len() <= 63
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.chars().all(|c| c.is_alphanumeric() || c == '-')
        };
        let labels = domain.split('.').count();
        if local.split('.').all(atom) && labels >= 2 && domain.split('.').all(label) {
            Ok(Self(Private::new(text.to_owned())))
        } else {
            Err(EmailError::Malformed)
        }
    }

    /// An address from the store, which was checked when it came in.
    pub fn trusted(text: String) -> Self {
        Self(Private::new(text))
    }

    /// The text.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_checked() {
        for good in ["ada@example.com", "a.b+c@sub.example.co.uk", "o'neil@example.ie", "jörg@müller.de"] {
            assert!(Email::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "ada",
            "ada@",
            "@example.com",
            "ada@example",
            "a b@example.com",
            "a@b@example.com",
            ".a@example.com",
            "a@-x.com",
            "a@x..com",
            "<a@x.com>",
            "a@x.com\r\nBcc: b@x.com",
        ] {
            assert_eq!(Email::parse(bad), Err(EmailError::Malformed), "{bad}");
        }
        assert_eq!(Email::parse(&format!("{}@example.com", "a".repeat(100))), Err(EmailError::TooLong));
    }
}
