//! What we send, except the definition of an envelope.

use serde::Serialize;

use crate::domain::Phone;

/// `PUT /envelopes/{id}`.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub(in crate::esign) struct EnvelopeChange<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::esign) status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::esign) voided_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::esign) purge_state: Option<&'a str>,
}

/// `PUT /envelopes/{id}/recipients`.
#[derive(Serialize)]
pub(in crate::esign) struct Correction<'a> {
    pub(in crate::esign) signers: [CorrectedSigner<'a>; 1],
}

/// One corrected signer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::esign) struct CorrectedSigner<'a> {
    pub(in crate::esign) recipient_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::esign) access_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::esign) identity_verification: Option<IdentityVerification<'a>>,
}

/// `identityVerification` of a recipient: a code goes to this phone.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::esign) struct IdentityVerification<'a> {
    workflow_id: &'a str,
    input_options: [InputOption<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InputOption<'a> {
    name: &'static str,
    value_type: &'static str,
    phone_number_list: [PhoneNumber<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhoneNumber<'a> {
    country_code: &'a str,
    number: &'a str,
}

impl<'a> IdentityVerification<'a> {
    pub(in crate::esign) fn by_phone(workflow_id: &'a str, phone: &'a Phone) -> Self {
        let number = PhoneNumber { country_code: phone.country_code(), number: phone.number() };
        Self {
            workflow_id,
            input_options: [InputOption {
                name: "phone_number_list",
                value_type: "PhoneNumberList",
                phone_number_list: [number],
            }],
        }
    }
}

/// `POST /envelopes/{id}/views/recipient`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::esign) struct RecipientView<'a> {
    pub(in crate::esign) return_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::esign) ping_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::esign) ping_frequency: Option<String>,
    pub(in crate::esign) authentication_method: &'a str,
    pub(in crate::esign) user_name: &'a str,
    pub(in crate::esign) email: &'a str,
    pub(in crate::esign) client_user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::esign) recipient_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::esign) assertion_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::esign) authentication_instant: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(in crate::esign) frame_ancestors: &'a [&'a str],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(in crate::esign) message_origins: &'a [&'a str],
}
