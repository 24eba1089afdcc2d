//! One example of each object, as it answers. The fields are held against the schemas by a test here, the
//! values by a JSON Schema validator in `tests/interop/contract.py`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::pages;

const SIGNING: &str = "sig_01a20a9cb8ac793087910b5c2f9eb946";
const SIGNER: &str = "sgr_01a20a9cb8ac7d30be5cc85600d85951";
const CREATED: &str = "2026-06-01T12:00:00Z";

/// The example of a schema, by its name.
pub(super) fn of(schema: &str) -> Option<Value> {
    Some(match schema {
        "Check" => json!({ "object": "sender_check", "sender": "system", "ok": true, "checks": [
            { "check": "token", "ok": true, "code": null, "detail": "the account server gives us tokens", "fix": null } ] }),
        "Consent" => consent(),
        "CreateSigning" => with_a_file(),
        "Delivery" => json!({ "object": "delivery", "id": "dlv_01a20a9cb8ac7a10a1b2c3d4e5f60718",
            "event": "evt_01a20a9cb8ac7b20a1b2c3d4e5f60718", "endpoint": "whk_01a20a9cb8ac7c30a1b2c3d4e5f60718",
            "status": "delivered", "attempts": 1, "created_at": CREATED, "next_attempt_at": null,
            "attempted_at": CREATED, "response_status": 204, "error": null }),
        "Event" => {
            json!({ "object": "event", "id": "evt_01a20a9cb8ac7b20a1b2c3d4e5f60718", "type": "signing.opened",
            "timestamp": CREATED, "data": signing() })
        }
        "Fault" => json!({ "pointer": "/signers/0/email", "code": "invalid_request",
            "detail": "is not of the form name@example.com" }),
        "Link" => json!({ "object": "link", "id": "lnk_01a20a9cb8ac7facb5caf258d5143c59",
            "url": "https://sign.example.com/s/EXAMPLEexampleEXAMPLEexampleEXAMPLEexample0", "expires_at": null }),
        "Moment" => json!({ "object": "moment", "at": CREATED, "happened_at": null, "what": "signing.opened",
            "text": "DocuSign made the envelope", "signer": null, "trace": "6f1f2a52-0d0c-4c4f-9f57-1d2a90c4e001" }),
        "Preflight" => json!({ "object": "preflight", "ok": true, "checks": [
            { "check": "schema", "ok": true }, { "check": "rights", "ok": true }, { "check": "documents", "ok": true } ],
            "documents": [{ "name": "Contract.pdf", "bytes": 48_213, "pages": 3 }] }),
        "Problem" => pages::example_problem(),
        "Sender" => sender(),
        "Signing" => signing(),
        "View" => json!({ "object": "view", "signer": SIGNER,
            "url": "https://demo.docusign.net/Signing/MTRedeem/v1/EXAMPLE", "expires_at": "2026-06-01T12:05:00Z" }),
        "WebhookEndpoint" => {
            json!({ "object": "webhook_endpoint", "id": "whk_01a20a9cb8ac7c30a1b2c3d4e5f60718",
            "url": "https://www.example.com/hooks/signing", "events": ["signing.completed"], "allow_private": false,
            "from_settings": false, "created_at": CREATED, "rotated_at": null, "disabled_at": null })
        }
        "WebhookMessage" => super::webhooks::example(),
        _ => return None,
    })
}

/// One page with two anchors, as small as a PDF may be.
const CONTRACT: &str = concat!(
    "%PDF-1.4\n",
    "1 0 obj\n",
    "<</Type/Catalog/Pages 2 0 R>>\n",
    "endobj\n",
    "2 0 obj\n",
    "<</Type/Pages/Kids[3 0 R]/Count 1>>\n",
    "endobj\n",
    "3 0 obj\n",
    "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>\n",
    "endobj\n",
    "4 0 obj\n",
    "<</Length 56>>stream\n",
    "BT /F1 12 Tf 72 700 Td (Signed by: /sn1/ on /dt1/) Tj ET\n",
    "endstream\n",
    "endobj\n",
    "5 0 obj\n",
    "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>\n",
    "endobj\n",
    "xref\n",
    "0 6\n",
    "0000000000 65535 f \n",
    "0000000009 00000 n \n",
    "0000000054 00000 n \n",
    "0000000105 00000 n \n",
    "0000000217 00000 n \n",
    "0000000320 00000 n \n",
    "trailer<</Size 6/Root 1 0 R>>\n",
    "startxref\n",
    "383\n",
    "%%EOF\n",
);

/// A create of another kind than the one that stands at its operation: with a file, and anchors in it.
fn with_a_file() -> Value {
    json!({
        "reference": "order-8813", "sender": "system", "subject": "Your contract",
        "documents": [{
            "name": "Contract.pdf", "content_base64": STANDARD.encode(CONTRACT),
            "anchors": { "sign": "/sn1/", "date": "/dt1/" },
        }],
        "signers": [{
            "key": "visitor", "name": "Ada Lovelace", "email": "ada@example.com",
            "return_url": "https://www.example.com/done",
        }],
    })
}

/// A signing with one signer whose turn it is.
pub(super) fn signing() -> Value {
    json!({
        "object": "signing", "id": SIGNING, "mode": "test", "status": "open", "reference": "order-8812",
        "sender": "system",
        "signers": [{ "object": "signer", "id": SIGNER, "key": "visitor", "status": "ready", "order": 1,
            "last_return": null }],
        "provider": { "name": "docusign", "account_id": "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e001",
            "envelope_id": "3c5fc6a7-5172-4e0d-ba08-0689dc9d7c07" },
        "metadata": {}, "failure": null, "sequence": 2, "created_at": CREATED, "completed_at": null,
        "expires_at": null, "purge_requested_at": null, "purged_at": null,
    })
}

fn sender() -> Value {
    json!({ "object": "sender", "name": "system", "mode": "test", "state": "ready", "consent": "granted",
        "account_id": "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e001", "expires_at": "2026-06-01T13:00:00Z",
        "runway_seconds": 3300, "templates": {}, "brand": null, "keys": [{ "fingerprint": "SHA256:EXAMPLE", "state": "active",
            "last_success": CREATED }], "last_error": null, "next_try": null })
}

fn consent() -> Value {
    let url = "https://account-d.docusign.com/oauth/auth?response_type=code&client_id=5e0b1c8d-9a47-4c7e-8d21-6f3a2b900001";
    let back = "https://sign.example.com/consent/callback";
    json!({ "object": "consent", "sender": "system", "state": "missing",
        "individual_url": format!("{url}&scope=signature%20impersonation&redirect_uri={back}"),
        "organisation_url": format!("{url}&scope=openid&admin_consent_scope=signature%20impersonation&redirect_uri={back}"),
        "redirect_uri": back })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openapi::document;

    #[test]
    fn every_object_of_an_answer_has_an_example_with_its_fields_and_no_others() {
        let document = document();
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            let Some(example) = of(name) else { continue };
            assert_eq!(schema["examples"][0], example, "{name}");
            for field in example.as_object().unwrap().keys() {
                assert!(schema["properties"][field].is_object(), "{name} has no {field}");
            }
            for field in schema["required"].as_array().into_iter().flatten() {
                assert!(example.get(field.as_str().unwrap()).is_some(), "{name} needs {field}");
            }
        }
        for name in ["Signing", "Problem", "Event", "WebhookMessage", "Sender", "Delivery"] {
            assert!(of(name).is_some(), "{name}");
        }
    }
}
