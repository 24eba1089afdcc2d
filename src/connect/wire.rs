//! A delivery as the upstream writes it: the few fields that are read, each of which may be missing.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use crate::domain::fact;

/// The longest event name and id that is kept; the upstream's are shorter than 40.
const MAX_WORD: usize = 100;

/// A single-message (SIM) event. An aggregate message is a [`Summary`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body {
    #[serde(default)]
    pub(super) event: Text,
    #[serde(default)]
    pub(super) generated_date_time: Text,
    #[serde(default)]
    pub(super) data: Option<Data>,
}

/// What the event is about.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Data {
    #[serde(default)]
    pub(super) envelope_id: Text,
    #[serde(default)]
    pub(super) recipient_id: Text,
    #[serde(default)]
    pub(super) envelope_summary: Option<Summary>,
}

/// An envelope.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    #[serde(default)]
    pub(super) envelope_id: Text,
    #[serde(default)]
    pub(super) status: Text,
    #[serde(default)]
    pub(super) voided_reason: Text,
    #[serde(default)]
    pub(super) completed_date_time: Text,
    #[serde(default)]
    pub(super) declined_date_time: Text,
    #[serde(default)]
    pub(super) voided_date_time: Text,
    #[serde(default)]
    pub(super) expire_date_time: Text,
    #[serde(default)]
    recipients: Option<Recipients>,
}

impl Summary {
    /// Those of its recipients who sign.
    pub(super) fn signers(&self) -> impl Iterator<Item = &Recipient> {
        self.recipients.iter().filter_map(|recipients| recipients.signers.as_ref()).flatten()
    }
}

#[derive(Deserialize)]
struct Recipients {
    #[serde(default)]
    signers: Option<Vec<Recipient>>,
}

/// A signer of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Recipient {
    #[serde(default)]
    pub(super) client_user_id: Text,
    #[serde(default, rename = "recipientIdGuid")]
    guid: Text,
    #[serde(default, rename = "recipientId")]
    pub(super) id: Text,
    #[serde(default)]
    pub(super) status: Text,
    #[serde(default)]
    pub(super) signed_date_time: Text,
    #[serde(default)]
    pub(super) declined_date_time: Text,
    #[serde(default)]
    pub(super) name: Text,
    #[serde(default)]
    pub(super) email: Text,
    #[serde(default, rename = "recipientAuthenticationStatus")]
    pub(super) checks: PhoneChecks,
}

impl Recipient {
    /// Whether an event that gives this as its `recipientId` is about them: that is the short id or the GUID.
    pub(super) fn is(&self, named: &str) -> bool {
        self.id.0.as_deref() == Some(named)
            || self.guid.0.as_deref().is_some_and(|guid| guid.eq_ignore_ascii_case(named))
    }
}

/// Whether a check by phone was passed, if there are results of such that say it. An account's own configuration may
/// leave them out, so that nothing follows where there are none.
#[derive(Default)]
pub(super) struct PhoneChecks(pub(super) Option<bool>);

impl<'de> Deserialize<'de> for PhoneChecks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = Value::deserialize(deserializer)?;
        let results = fact::PHONE_CHECKS.iter().filter_map(|name| read.get(name)?.get("status")?.as_str());
        Ok(Self(fact::has_passed(results)))
    }
}

/// A text or a number as text; anything else is as if it were missing.
///
/// NUL is left out: Postgres keeps no such text. Other odd characters stay, because a view must be asked for in the
/// name that the upstream has.
#[derive(Default)]
pub(super) struct Text(pub(super) Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        // A reason may be longer than a word; only its beginning is looked at.
        Ok(Text(Some(text.chars().filter(|c| *c != '\0').take(MAX_WORD).collect())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Text, E> {
        Ok(Text(Some(number.to_string())))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Text, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Text, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }
}
