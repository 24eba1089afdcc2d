//! Identifiers, as types and never as bare strings.
//!
//! Our own ids carry a prefix that says what they name (`sig_`, `lnk_`, …) over a UUIDv7, so that they
//! sort by age, to the millisecond. Ids of the upstream are kept as it spells them.

use std::{fmt, str::FromStr, sync::Arc};

use jiff::Timestamp;
use uuid::Uuid;

/// Text that is not an id of the wanted kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id that starts with {prefix}")]
pub struct NotAnId {
    /// The prefix that ids of this kind have.
    pub prefix: &'static str,
}

macro_rules! own_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// What every id of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id. It sorts after those of earlier milliseconds; among those of its own its place is chance.
            pub fn generate(now: Timestamp) -> Self {
                let seconds = u64::try_from(now.as_second()).unwrap_or(0);
                let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
                Self(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos)))
            }

            /// The id around a UUID that was made elsewhere (a row of the store).
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID underneath.
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.simple())
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let wrong = NotAnId { prefix: $prefix };
                let hex = text.strip_prefix($prefix).ok_or(wrong)?;
                // One spelling only: 32 lower-case digits, so that an id has one URL.
                if hex.len() != 32 || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                    return Err(wrong);
                }
                Uuid::try_parse(hex).map(Self).map_err(|_| wrong)
            }
        }
    };
}

own_id!(/** One agreement with its signers, links and status. */ SigningId, "sig_");
own_id!(/** One signer of a signing. */ SignerId, "sgr_");
own_id!(/** One durable link of a signer. */ LinkId, "lnk_");
own_id!(/** One of our own events. */ EventId, "evt_");
own_id!(/** One webhook endpoint of a caller. */ EndpointId, "whk_");
own_id!(/** One event on its way to one endpoint. */ DeliveryId, "dlv_");

impl EndpointId {
    /// The id of an endpoint from the settings: the same for the same name, at every start.
    pub fn from_settings(name: &str) -> Self {
        // UUIDv8 leaves the bits to us; a digest of the name makes it stable.
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
        let mut bytes = [0_u8; 16];
        bytes.copy_from_slice(&digest.as_ref()[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The id of what an endpoint from the settings is for one of several callers. A slash is in no name, so this is
    /// nobody else's.
    pub fn from_settings_for(name: &str, caller: &str) -> Self {
        Self::from_settings(&format!("{name}/{caller}"))
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the text as it is.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(/** The name of a caller in the settings. */ CallerName);
name!(/** The name of a sender: an impersonated user with its account. */ SenderName);
name!(/** The upstream's id of an account: a GUID, or the short external number. */ AccountId);
name!(/** The upstream's id of an envelope. */ EnvelopeId);

/// Our own id of a create, which the upstream remembers for 7 days (`transactionId`), so that a create
/// whose answer was lost can be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransactionId(Uuid);

impl TransactionId {
    /// A fresh random one.
    pub fn generate() -> Self {
        Self(Uuid::new_v4())
    }

    /// The id around a UUID from the store.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID underneath.
    pub const fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = SigningId::generate(Timestamp::from_second(1_700_000_000).unwrap());
        let text = id.to_string();
        assert!(text.starts_with("sig_"));
        assert_eq!(text.parse::<SigningId>(), Ok(id));
        for wrong in
            [&text[4..], &text.to_uppercase(), &text.replace("sig_", "lnk_"), &format!("{text}0"), ""]
        {
            assert!(wrong.parse::<SigningId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ids_sort_by_age() {
        let at = |second| SigningId::generate(Timestamp::from_second(second).unwrap()).to_string();
        assert!(at(1_700_000_000) < at(1_700_000_001));
    }

    #[test]
    fn an_endpoint_of_the_settings_keeps_its_id() {
        assert_eq!(EndpointId::from_settings("website"), EndpointId::from_settings("website"));
        assert_ne!(EndpointId::from_settings("website"), EndpointId::from_settings("shop"));
    }
}
