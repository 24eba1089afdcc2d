//! The shape of a create request: as types, for the quick way, and as a table, for telling everything that is
//! wrong with a body of another shape. What may stand in it is judged in [`create`](super::create).

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::objects::{entries::Entries, explain::Kind};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create<'a> {
    #[serde(borrow, default)]
    pub(super) reference: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) sender: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) subject: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) message: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) documents: Vec<CreateDocument<'a>>,
    #[serde(borrow)]
    pub(super) signers: Vec<CreateSigner<'a>>,
    #[serde(default)]
    pub(super) view: Option<bool>,
    #[serde(borrow, default)]
    pub(super) locale: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) expires_in: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) frame_ancestors: Option<Vec<Cow<'a, str>>>,
    #[serde(default)]
    pub(super) metadata: Option<Entries<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateDocument<'a> {
    #[serde(borrow, default)]
    pub(super) template: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) content_base64: Option<Base64<'a>>,
    #[serde(borrow, default)]
    pub(super) anchors: Option<Entries<Cow<'a, str>, CreateAnchor>>,
}

/// Text that is borrowed from the body where the body holds it unescaped, which base64 nearly always is
/// (some encoders write `/` as `\/`).
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Base64<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

pub(super) enum CreateAnchor {
    Everyone(String),
    Each(BTreeMap<String, String>),
}

/// By hand, because of a derived form that fits neither way nobody learns why.
impl<'de> Deserialize<'de> for CreateAnchor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EitherAnchor)
    }
}

struct EitherAnchor;

impl<'de> Visitor<'de> for EitherAnchor {
    type Value = CreateAnchor;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, or an object of strings")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<CreateAnchor, E> {
        Ok(CreateAnchor::Everyone(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CreateAnchor, A::Error> {
        Entries::deserialize(MapAccessDeserializer::new(map)).map(|texts| CreateAnchor::Each(texts.0))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateSigner<'a> {
    #[serde(borrow, default)]
    pub(super) key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) email: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) role: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) order: Option<u32>,
    #[serde(borrow, default)]
    pub(super) sms_auth: Option<CreateSms<'a>>,
    #[serde(borrow, default)]
    pub(super) access_code: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) fields: Option<Entries<String, String>>,
    #[serde(borrow, default)]
    pub(super) authenticated_by: Option<CreateAuthenticatedBy<'a>>,
    #[serde(borrow, default)]
    pub(super) return_url: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateSms<'a> {
    #[serde(borrow)]
    pub(super) phone: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateAuthenticatedBy<'a> {
    #[serde(borrow)]
    pub(super) method: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) at: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) id: Option<Cow<'a, str>>,
}

/// The shape of a create as a table, for telling everything that is wrong with a body that is not of it.
pub(crate) const CREATE: Kind = Kind::Object(&[
    ("reference", false, Kind::Text),
    ("sender", true, Kind::Text),
    ("subject", false, Kind::Text),
    ("message", false, Kind::Text),
    (
        "documents",
        true,
        Kind::List(&Kind::Object(&[
            ("template", false, Kind::Text),
            ("name", false, Kind::Text),
            ("content_base64", false, Kind::Text),
            ("anchors", false, Kind::Map(&Kind::TextOrTexts)),
        ])),
    ),
    (
        "signers",
        true,
        Kind::List(&Kind::Object(&[
            ("key", false, Kind::Text),
            ("name", true, Kind::Text),
            ("email", true, Kind::Text),
            ("role", false, Kind::Text),
            ("order", false, Kind::Count),
            ("sms_auth", false, Kind::Object(&[("phone", true, Kind::Text)])),
            ("access_code", false, Kind::Text),
            ("fields", false, Kind::Map(&Kind::Text)),
            (
                "authenticated_by",
                false,
                Kind::Object(&[
                    ("method", true, Kind::Text),
                    ("at", false, Kind::Text),
                    ("id", false, Kind::Text),
                ]),
            ),
            ("return_url", false, Kind::Text),
        ])),
    ),
    ("view", false, Kind::Bool),
    ("locale", false, Kind::Text),
    ("expires_in", false, Kind::Text),
    ("frame_ancestors", false, Kind::List(&Kind::Text)),
    ("metadata", false, Kind::Map(&Kind::Text)),
]);

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::objects::testing::hold;

    #[test]
    fn a_create_is_the_same_as_types_and_as_a_table() {
        hold(CREATE, &|body: &Value| serde_json::from_str::<Create<'_>>(&body.to_string()).map(drop));
    }
}
