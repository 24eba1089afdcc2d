//! What a create takes and what it is refused with.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::testing::{Client, definition, signer, with_phone};
use crate::emulator::pdf::{
    read::{Matching, read},
    write::from_text,
};

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of refusals, to be read as one")]
async fn creates_are_refused_with_the_vendors_codes() {
    let client = Client::start().await;
    let whole = definition(&[signer("1", "Ada", "/sn1/")]);
    let spoiled = |spoil: &dyn Fn(&mut Value)| {
        let mut copy = whole.clone();
        spoil(&mut copy);
        copy
    };
    let set =
        |path: &'static str, value: Value| spoiled(&|copy| *copy.pointer_mut(path).unwrap() = value.clone());
    let phone = |number: Value| {
        let mut ada = with_phone(signer("1", "Ada", "/sn1/"));
        ada["identityVerification"]["inputOptions"][0]["phoneNumberList"] = number;
        definition(&[ada])
    };
    let signed_at = |document: &str, page: &str, x: &str| {
        let place = json!({ "documentId": document, "pageNumber": page, "xPosition": x, "yPosition": "1" });
        set("/recipients/signers/0/tabs", json!({ "signHereTabs": [place] }))
    };
    let anchored_off = |name: &str, offset: &str, unit: &str| {
        let place = json!({ "anchorString": "/sn1/", "anchorUnits": unit, name: offset });
        set("/recipients/signers/0/tabs", json!({ "signHereTabs": [place] }))
    };
    let one = "/recipients/signers/0";
    for (code, definition) in [
        ("ENVELOPE_IS_INCOMPLETE", spoiled(&|copy| drop(copy.as_object_mut().unwrap().remove("documents")))),
        ("ENVELOPE_IS_INCOMPLETE", spoiled(&|copy| drop(copy.as_object_mut().unwrap().remove("recipients")))),
        ("ENVELOPE_IS_INCOMPLETE", set("/emailSubject", json!(""))),
        ("INVALID_REQUEST_PARAMETER", set("/emailSubject", json!("x".repeat(101)))),
        ("INVALID_REQUEST_PARAMETER", set("/status", json!("completed"))),
        ("INVALID_REQUEST_BODY", set("/documents", json!({}))),
        ("INVALID_EMAIL_ADDRESS_FOR_RECIPIENT", set("/recipients/signers/0/email", json!("nobody"))),
        ("INVALID_RECIPIENT_ID", set("/recipients/signers/0/recipientId", json!("zero"))),
        (
            "ENVELOPE_HAS_DUPLICATE_RECIPIENTS",
            definition(&[signer("1", "Ada", "/sn1/"), signer("1", "Bob", "/sn2/")]),
        ),
        (
            "ANCHOR_TAB_STRING_NOT_FOUND",
            set("/recipients/signers/0/tabs/signHereTabs/0/anchorString", json!("/nowhere/")),
        ),
        ("UNABLE_TO_LOAD_DOCUMENT", set("/documents/0/documentBase64", json!(STANDARD.encode("no pdf")))),
        ("UNABLE_TO_LOAD_DOCUMENT", set("/documents/0/documentBase64", json!("!!!"))),
        (
            "UNABLE_TO_LOAD_DOCUMENT",
            spoiled(&|copy| {
                let document = &mut copy["documents"][0];
                document["fileExtension"] = json!("docx");
                document["documentBase64"] = json!(STANDARD.encode("no docx"));
            }),
        ),
        (
            "TEMPLATE_ID_INVALID",
            json!({ "status": "sent", "templateId": "00000000-0000-0000-0000-000000000000" }),
        ),
        (
            "IDENTITY_WORKFLOW_INVALID_ID",
            spoiled(&|copy| {
                copy.pointer_mut(one).unwrap()["identityVerification"] = json!({ "workflowId": "nope" });
            }),
        ),
        ("INVALID_REQUEST_PARAMETER", phone(json!([]))),
        ("INVALID_REQUEST_PARAMETER", phone(json!([{ "countryCode": "+49", "number": "1511234567" }]))),
        ("INVALID_REQUEST_PARAMETER", phone(json!([{ "countryCode": "49", "number": "0151 123" }]))),
        (
            "INVALID_REQUEST_PARAMETER",
            spoiled(&|copy| copy.pointer_mut(one).unwrap()["accessCode"] = json!("a<b")),
        ),
        (
            "INVALID_REQUEST_PARAMETER",
            spoiled(&|copy| {
                let one = copy.pointer_mut(one).unwrap();
                one["deliveryMethod"] = json!("SMS");
                one["phoneNumber"] = json!({ "countryCode": "49", "number": "1511234567" });
            }),
        ),
        ("TAB_PAGENUMBER_IS_NOT_IN_DOCUMENT", signed_at("1", "7", "1")),
        ("TAB_REFERS_TO_MISSING_DOCUMENT", signed_at("2", "1", "1")),
        ("INVALID_REQUEST_PARAMETER", signed_at("1", "1", "-1")),
        ("TAB_OUT_OF_BOUNDS", signed_at("1", "1", "99999")),
        ("TAB_OUT_OF_BOUNDS", anchored_off("anchorXOffset", "20", "inches")),
        ("TAB_OUT_OF_BOUNDS", anchored_off("anchorYOffset", "9999", "pixels")),
    ] {
        assert_eq!(client.refusal(definition.clone()).await, code, "{definition}");
    }
    let tolerant = set(
        "/recipients/signers/0/tabs/signHereTabs/0",
        json!({ "anchorString": "/nowhere/", "anchorIgnoreIfNotPresent": true }),
    );
    client.create(tolerant).await;
    assert_eq!(client.get("/envelopes?from_date=2020-01-01").await["resultSetSize"], "1");
}

fn person_of(client_user_id: &str) -> Value {
    json!({ "recipientId": "1", "name": "Ada", "email": "ada@example.com", "clientUserId": client_user_id })
}

#[tokio::test]
async fn templates_come_with_roles_or_as_composites() {
    let client = Client::start().await;
    let (template, role) = (&client.emulator.ready.template_id, &client.emulator.ready.template_role);
    let person = json!({ "roleName": role, "name": "Ada", "email": "ada@example.com", "clientUserId": "c1", "tabs": { "textTabs": [{ "tabLabel": "company", "value": "Engines" }] } });
    let by_role = json!({ "status": "Sent", "templateId": template, "templateRoles": [person] });
    let id = client.create(by_role).await;
    let envelope = client.get(&format!("/envelopes/{id}?include=tabs")).await;
    let one = &envelope["recipients"]["signers"][0];
    assert_eq!(
        (&one["clientUserId"], &one["tabs"]["textTabs"][0]["value"]),
        (&json!("c1"), &json!("Engines"))
    );
    assert_eq!(one["tabs"]["signHereTabs"].as_array().unwrap().len(), 1);
    let unfilled = json!({ "status": "sent", "templateId": template });
    assert_eq!(client.refusal(unfilled).await, "INVALID_EMAIL_ADDRESS_FOR_RECIPIENT");

    let mut inline = with_phone(person_of("c2"));
    inline["roleName"] = json!(role);
    let composite = json!({
        "status": "sent", "emailSubject": "Composite",
        "customFields": { "textCustomFields": [{ "name": "lost", "value": "1" }] },
        "compositeTemplates": [{
            "serverTemplates": [{ "sequence": "1", "templateId": template }],
            "inlineTemplates": [{ "sequence": 2, "recipients": { "signers": [inline] }, "customFields": { "textCustomFields": [{ "name": "kept", "value": "2" }] } }],
        }],
    });
    let id = client.create(composite).await;
    let envelope = client.get(&format!("/envelopes/{id}?include=recipients,custom_fields")).await;
    assert_eq!(envelope["recipients"]["recipientCount"], "1");
    assert_eq!(envelope["customFields"]["textCustomFields"][0]["name"], "kept");
    assert_eq!(envelope["customFields"]["textCustomFields"].as_array().unwrap().len(), 1);
    let signed = client.act(&id, "1", "sign", json!({})).await;
    assert_eq!(signed["envelope_status"], "completed");
    assert!(client.get("/templates").await["envelopeTemplates"].to_string().contains(template.as_str()));
    let full = client.get(&format!("/templates/{template}")).await;
    assert_eq!(full["recipients"]["signers"][0]["roleName"], json!(role));
}

#[tokio::test]
async fn a_multipart_create_takes_the_bytes_as_they_are() {
    let client = Client::start().await;
    let mut plain = definition(&[signer("1", "Ada", "/sn1/")]);
    plain["documents"][0].as_object_mut().unwrap().remove("documentBase64");
    let mut body = format!("--b0\r\nContent-Type: application/json\r\nContent-Disposition: form-data\r\n\r\n{plain}\r\n--b0\r\nContent-Type: application/pdf\r\nContent-Disposition: file; filename=\"Contract.pdf\"; documentid=1\r\n\r\n").into_bytes();
    body.extend(from_text("Contract", "Sign /sn1/"));
    body.extend(b"\r\n--b0--\r\n");
    let url = format!(
        "{}/restapi/v2.1/accounts/{}/envelopes",
        client.emulator.ready.base_url, client.emulator.ready.account_id
    );
    let request = client
        .emulator
        .http
        .post(url)
        .bearer_auth(&client.token)
        .header("content-type", "multipart/form-data; boundary=b0");
    let answer = request.body(body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 201);
}

#[tokio::test]
async fn what_is_a_pdf_by_its_bytes_is_one_whatever_it_is_called() {
    let client = Client::start().await;
    let bytes = from_text("Contract", "Sign here: /sn1/");
    for (name, extension) in [
        ("SignTest1.docx", "docx"),
        ("SignTest1.docx", ""),
        ("page.html", "html"),
        ("page.html", ""),
        ("t", "txt"),
    ] {
        let mut whole = definition(&[signer("1", "Ada", "/sn1/")]);
        let document = &mut whole["documents"][0];
        (document["name"], document["fileExtension"]) = (json!(name), json!(extension));
        document["documentBase64"] = json!(STANDARD.encode(&bytes));
        let path = format!("/envelopes/{}", client.create(whole).await);
        assert_eq!(client.get(&format!("{path}/documents")).await["envelopeDocuments"][0]["name"], name);
        let own = client.bytes(&format!("{path}/documents/1")).await;
        let text = read(&own).unwrap();
        assert!(!text.find("/sn1/", Matching::default()).is_empty(), "{name}, {extension}");
        assert!(text.find("obj", Matching::default()).is_empty(), "{name}: the source is not drawn");
    }
}
