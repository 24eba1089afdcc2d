//! The sealed half of a signing, as JSON: what retention destroys of it.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use crate::{
    domain::{Signer, Signing},
    store::rows::{cow, micros},
};

/// The sealed half of a signing.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Personal<'a> {
    pub(super) signers: Vec<Person<'a>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: Cow<'a, BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_try: Option<Cow<'a, str>>,
}

/// Method, date, and the caller's own proof.
type Authentication<'a> = (Cow<'a, str>, Option<i64>, Option<Cow<'a, str>>);

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Person<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) email: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) return_url: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) authenticated_by: Option<Authentication<'a>>,
}

impl<'a> From<&'a Signing> for Personal<'a> {
    fn from(signing: &'a Signing) -> Self {
        let person = |signer: &'a Signer| Person {
            name: signer.name.reveal().as_str().into(),
            email: signer.email.reveal().into(),
            return_url: cow(signer.return_url.as_ref()),
            authenticated_by: signer
                .authenticated_by
                .as_ref()
                .map(|by| (by.method.into(), by.at.map(micros), cow(by.id.as_ref()))),
        };
        Self {
            signers: signing.signers.iter().map(person).collect(),
            metadata: Cow::Borrowed(signing.metadata.reveal()),
            failure: signing.failure.as_ref().map(|failure| failure.detail.as_str().into()),
            last_try: signing.last_try.as_ref().map(|last| last.detail.as_str().into()),
        }
    }
}
