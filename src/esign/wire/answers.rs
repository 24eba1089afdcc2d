//! What the upstream answers.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::domain::{TransactionId, fact::time};

/// Text that may come as a number or a boolean; empty text is none. NUL is left out: Postgres keeps no such text.
fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(mut text) => {
            if text.contains('\0') {
                text.retain(|c| c != '\0');
            }
            Some(text).filter(|text| !text.is_empty())
        }
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        Value::Array(_) | Value::Null | Value::Object(_) => None,
    })
}

/// A list that may be null.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

macro_rules! answer {
    ($(#[$doc:meta])* $name:ident
        texts [$($text:ident),* $(,)?] lists [$($list:ident: $item:ty),* $(,)?] parts [$($part:ident: $kind:ty),* $(,)?]
    ) => {
        $(#[$doc])*
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase")]
        pub(in crate::esign) struct $name {
            $(#[serde(default, deserialize_with = "lenient")] pub(in crate::esign) $text: Option<String>,)*
            $(#[serde(default, deserialize_with = "list")] pub(in crate::esign) $list: Vec<$item>,)*
            $(#[serde(default)] pub(in crate::esign) $part: Option<$kind>,)*
        }
    };
}

answer!(/** An error, of a whole answer or of one item in it. */ Problem texts [error_code] lists [] parts []);
answer!(/** Of a create, and an item of a list. */ Envelope
    texts [
        envelope_id,
        status,
        transaction_id,
        completed_date_time,
        declined_date_time,
        voided_reason,
        voided_date_time,
        expire_date_time,
        purge_state,
    ]
    lists []
    parts [recipients: Recipients, custom_fields: CustomFields]
);
answer!(/** The recipients of an envelope or a template. */ Recipients
    texts [] lists [signers: Recipient] parts []
);
answer!(/** One signer. */ Recipient
    texts [recipient_id, client_user_id, name, email, status, signed_date_time, declined_date_time, role_name]
    lists []
    parts [recipient_authentication_status: Authentication]
);
answer!(/** Results of identity checks. */ Authentication
    texts []
    lists []
    parts [
        access_code_result: CheckResult,
        identity_verification_result: CheckResult,
        phone_auth_result: CheckResult,
        sms_auth_result: CheckResult,
    ]
);
answer!(/** The result of one identity check. */ CheckResult texts [status, event_timestamp] lists [] parts []);
answer!(/** Custom fields. */ CustomFields texts [] lists [text_custom_fields: CustomField] parts []);
answer!(/** One custom field. */ CustomField texts [name, value] lists [] parts []);
answer!(/** A list of envelopes. */ Envelopes
    texts [total_set_size]
    lists [envelopes: Envelope, envelope_transaction_statuses: TransactionStatus]
    parts []
);
answer!(/** What became of a transaction. */ TransactionStatus
    texts [envelope_id, status, transaction_id] lists [] parts []
);
answer!(/** A recipient view. */ View texts [url] lists [] parts []);
answer!(/** Settings of an account: the few that decide on embedded signing. */ AccountSettings
    texts [in_session_enabled, sender_must_authenticate_signing, signer_must_have_account, signer_must_login_to_sign]
    lists []
    parts []
);
answer!(/** Identity verification workflows of an account. */ Workflows
    texts [] lists [identity_verification: Workflow] parts []
);
answer!(/** One of them. */ Workflow
    texts [workflow_id, default_name] lists [input_options: WorkflowInput] parts []
);
answer!(/** What a workflow wants to know. */ WorkflowInput texts [value_type] lists [] parts []);
answer!(/** A template. */ Template
    texts [] lists [] parts [recipients: Recipients]
);
answer!(/** What became of corrected recipients. */ Updated
    texts [] lists [recipient_update_results: UpdatedOne] parts []
);
answer!(/** What became of one. */ UpdatedOne texts [] lists [] parts [error_details: Problem]);

impl Envelope {
    /// Our id of the create that it came from.
    pub(in crate::esign) fn transaction(&self) -> Option<TransactionId> {
        let id = uuid::Uuid::try_parse(self.transaction_id.as_deref()?).ok()?;
        Some(TransactionId::from_uuid(id))
    }

    /// Whether it has not ended yet, as far as it says.
    pub(in crate::esign) fn can_be_voided(&self) -> bool {
        let status = self.status.as_deref().unwrap_or_default();
        !["voided", "deleted", "declined", "completed"].iter().any(|ended| status.eq_ignore_ascii_case(ended))
    }
}

impl Authentication {
    /// The last check that failed for good, if any: the upstream says `Failed` (or `Fail`) when the tries are used up.
    pub(in crate::esign) fn failure(&self) -> Option<&CheckResult> {
        let has_failed = |result: &&CheckResult| {
            let status = result.status.as_deref().and_then(|status| status.get(..4));
            status.is_some_and(|start| start.eq_ignore_ascii_case("fail"))
        };
        let results = [
            &self.access_code_result,
            &self.identity_verification_result,
            &self.phone_auth_result,
            &self.sms_auth_result,
        ];
        results.into_iter().flatten().filter(has_failed).max_by_key(|result| result.at())
    }
}

impl Authentication {
    /// The results of checks by phone, as the upstream words them.
    pub(in crate::esign) fn by_phone(&self) -> impl Iterator<Item = &str> {
        let results = [&self.identity_verification_result, &self.phone_auth_result, &self.sms_auth_result];
        results.into_iter().flatten().filter_map(|result| result.status.as_deref())
    }
}

impl CheckResult {
    /// When it came about.
    pub(in crate::esign) fn at(&self) -> Option<Timestamp> {
        self.event_timestamp.as_deref().and_then(time)
    }
}

impl CustomFields {
    /// Whether a field has this value.
    pub(in crate::esign) fn holds(&self, name: &str, value: &str) -> bool {
        self.text_custom_fields
            .iter()
            .any(|field| field.name.as_deref() == Some(name) && field.value.as_deref() == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn any_scalar_is_text_and_nulls_are_nothing() {
        let envelope: Envelope = serde_json::from_str(
            r#"{"envelopeId": 7, "status": null, "recipients": {"signers": null, "agents": [1]},
                "customFields": null, "unknown": {"a": []}}"#,
        )
        .unwrap();
        assert_eq!(envelope.envelope_id.as_deref(), Some("7"));
        assert!(envelope.status.is_none() && envelope.recipients.unwrap().signers.is_empty());
    }

    #[test]
    fn a_create_is_known_in_any_spelling_of_its_id_and_what_has_ended_is_not_voided() {
        let read = |text: &str| serde_json::from_str::<Envelope>(text).unwrap();
        let id = TransactionId::generate();
        for text in [id.to_string(), id.to_string().to_uppercase()] {
            let told = read(&format!(r#"{{"transactionId": "{text}"}}"#)).transaction();
            assert_eq!(told, Some(id), "{text}");
        }
        assert_eq!(read(r#"{"transactionId": "anybody"}"#).transaction(), None);
        assert_eq!(read("{}").transaction(), None);
        for (status, is_open) in [("Completed", false), ("voided", false), ("sent", true), ("", true)] {
            let told = read(&format!(r#"{{"status": "{status}"}}"#));
            assert_eq!(told.can_be_voided(), is_open, "{status}");
        }
    }

    #[test]
    fn text_is_read_without_nul() {
        let read = |text: &str| serde_json::from_str::<View>(text).unwrap().url;
        assert_eq!(read(r#"{"url": "a\u0000b"}"#).as_deref(), Some("ab"));
        assert_eq!(read(r#"{"url": "\u0000"}"#), None);
    }

    #[test]
    fn the_upstreams_times_are_read() {
        assert!(time("2020-08-10T18:00:47.5770000Z").is_some());
        assert!(time("2020-08-10T18:00:47.577").is_some());
        assert!(time("yesterday").is_none());
    }

    proptest! {
        #[test]
        fn hostile_answers_do_not_panic(text in ".{0,200}", depth in 0_usize..400) {
            let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            for body in [text, nested.clone(), format!("{{\"envelopes\":{nested}}}"), format!("{{\"status\":{nested}}}")] {
                let _ = serde_json::from_str::<Envelopes>(&body);
                let _ = serde_json::from_str::<Envelope>(&body);
                let _ = super::super::error_code(body.as_bytes());
                let _ = time(&body);
            }
        }
    }
}
