//! What the vendor's official sample programs send, in the forms that they send it in.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::testing::{Client, definition, signer};
use crate::emulator::{
    envelopes::docx::tests::docx,
    pdf::{
        read::{Matching, Page, Text, read},
        write::from_text,
    },
};

/// A POST below the first account, byte for byte.
async fn post(client: &Client, path: &str, content_type: &str, body: Vec<u8>) -> (u16, Value) {
    let (base, account) = (&client.emulator.ready.base_url, &client.emulator.ready.account_id);
    let url = format!("{base}/restapi/v2.1/accounts/{account}{path}");
    let request = client.emulator.http.post(url).bearer_auth(&client.token);
    let answer = request.header("content-type", content_type).body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn pdf(text: &str) -> String {
    STANDARD.encode(from_text("Contract", text))
}

fn numbered(id: &str, text: &str) -> Value {
    json!({ "documentId": id, "name": format!("{id}.pdf"), "documentBase64": pdf(text) })
}

/// A definition for one signer, of this document alone.
fn of_document(document: &Value) -> Value {
    let mut whole = definition(&[signer("1", "Ada", "/sn1/")]);
    whole["documents"] = json!([document]);
    whole
}

/// The text of the first document of an envelope.
async fn text_of(client: &Client, id: &str) -> Text {
    read(&client.bytes(&format!("/envelopes/{id}/documents/1")).await).unwrap()
}

#[tokio::test]
async fn a_file_comes_in_base64_if_it_is_asked_for_so() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let template = &client.emulator.ready.template_id;
    let (base, account) = (&client.emulator.ready.base_url, &client.emulator.ready.account_id);
    for path in [
        format!("/envelopes/{id}/documents/1"),
        format!("/envelopes/{id}/documents/combined"),
        format!("/envelopes/{id}/documents/certificate"),
        format!("/envelopes/{id}/documents/archive"),
        format!("/templates/{template}/documents/1"),
        format!("/templates/{template}/documents/combined"),
    ] {
        let plain = client.bytes(&path).await;
        let url = format!("{base}/restapi/v2.1/accounts/{account}{path}");
        for (encoding, is_encoded) in [("Base64", true), ("binary", false)] {
            let request = client.emulator.http.get(&url).bearer_auth(&client.token);
            let answer = request.header("content-transfer-encoding", encoding).send().await.unwrap();
            let said = answer.headers().get("content-transfer-encoding").cloned();
            assert_eq!(said.is_some_and(|said| said == "base64"), is_encoded, "{path}");
            let body = answer.bytes().await.unwrap();
            let body = if is_encoded { STANDARD.decode(&body).unwrap() } else { body.to_vec() };
            assert!(body == plain, "{path}");
        }
    }
}

#[tokio::test]
async fn a_docx_becomes_a_pdf_of_its_text_and_its_anchors_are_found() {
    let client = Client::start().await;
    let body = "<w:p><w:r><w:t>Agreed &amp; signed: /s</w:t></w:r><w:r><w:t>n1/</w:t></w:r></w:p>";
    let plan = docx(body);
    let named = |name: &str, extension: Value, bytes: &[u8]| {
        of_document(&json!({
            "documentId": "1", "name": name, "fileExtension": extension, "documentBase64": STANDARD.encode(bytes),
        }))
    };
    for (name, extension) in [("Battle Plan", json!("docx")), ("Plan", json!(".DOCX"))] {
        let id = client.create(named(name, extension, &plan)).await;
        assert_eq!(text_of(&client, &id).await.find("Agreed & signed: /sn1/", Matching::default()).len(), 1);
    }
    let torn = &plan[..plan.len() - 30];
    for bytes in [&b"no archive"[..], torn] {
        assert_eq!(client.refusal(named("Plan", json!("docx"), bytes)).await, "UNABLE_TO_LOAD_DOCUMENT");
    }
    for (name, extension) in [("Plan", json!("xlsx")), ("Plan.docx", Value::Null)] {
        assert_eq!(client.refusal(named(name, extension, &plan)).await, "UNABLE_TO_LOAD_DOCUMENT");
    }
}

#[tokio::test]
async fn a_line_feed_in_base64_and_commas_at_ends_are_taken_in_bodies_and_parts() {
    let client = Client::start().await;
    let ada = signer("1", "Ada", "/sn1/");
    let encoded = pdf("Sign: /sn1/");
    let (head, tail) = encoded.split_at(76);
    let written = |end: &str| {
        format!(
            "{{\"emailSubject\": \"Please sign\",\n\"documents\": [{{\"documentBase64\": \"{head}\n{tail}\n\", \
             \"name\": \"A\", \"fileExtension\": \"pdf\", \"documentId\": \"1\",}},],\n\
             \"recipients\": {{\"signers\": [{ada}]}},\n\"status\": \"sent\"{end}}}"
        )
    };
    for end in ["", ",", ",\n"] {
        let (status, made) = post(&client, "/envelopes", "application/json", written(end).into_bytes()).await;
        assert_eq!(status, 201, "{made}");
    }
    let form = format!("--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b--\r\n", written(","));
    let (status, made) =
        post(&client, "/envelopes", "multipart/form-data; boundary=b", form.into_bytes()).await;
    assert_eq!(status, 201, "{made}");
    for end in [",,", ", nothing", ","] {
        // The last one lacks its brace.
        let body = written(end);
        let body = if end == "," { &body[..body.len() - 1] } else { body.as_str() };
        let (status, refused) =
            post(&client, "/envelopes", "application/json", body.as_bytes().to_vec()).await;
        assert_eq!((status, &refused["errorCode"]), (400, &json!("INVALID_REQUEST_BODY")), "{end}");
    }
}

#[tokio::test]
async fn members_are_told_apart_without_case_and_answered_in_the_vendors() {
    let client = Client::start().await;
    // As Node's eg019 writes it.
    let id = client
        .create(json!({
            "EmailSubject": "Please sign", "Status": "sent",
            "Documents": [{ "DocumentBase64": pdf("Sign: /sn1/"), "Name": "Lorem", "FileExtension": "pdf", "DocumentId": "1" }],
            "recipients": { "Signers": [{
                "Name": "Ada", "Email": "ada@example.com", "RecipientId": "1", "AccessCode": "Secret7",
                "Tabs": { "SignHereTabs": [{ "DocumentID": "1", "PageNumber": "1", "XPosition": "200", "YPosition": "160" }] },
            }] },
        }))
        .await;
    let envelope = client.get(&format!("/envelopes/{id}?include=recipients,tabs")).await;
    assert_eq!((&envelope["status"], &envelope["emailSubject"]), (&json!("sent"), &json!("Please sign")));
    let ada = &envelope["recipients"]["signers"][0];
    assert_eq!((&ada["name"], &ada["accessCode"]), (&json!("Ada"), &json!("Secret7")));
    let tab = &ada["tabs"]["signHereTabs"][0];
    assert_eq!((&tab["xPosition"], &tab["documentId"]), (&json!("200"), &json!("1")));
    assert!(tab.get("XPosition").is_none() && ada.get("AccessCode").is_none(), "{ada}");
}

#[tokio::test]
async fn a_file_name_whose_quote_never_closes_is_taken() {
    let client = Client::start().await;
    let mut whole = definition(&[signer("1", "Ada", "/sn1/")]);
    whole["documents"] =
        json!([{ "documentId": "1", "name": "Order acknowledgement", "fileExtension": "html" }]);
    let form = format!(
        "--b\r\nContent-Type: application/json\r\nContent-Disposition: form-data\r\n\r\n{whole}\r\n\
         --b\r\nContent-Type: text/html\r\n\
         Content-Disposition: file; filename=\"Order acknowledgement;documentid=1\r\n\r\n<p>Agreed: /sn1/</p>\r\n--b--\r\n"
    );
    let (status, made) =
        post(&client, "/envelopes", "multipart/form-data; boundary=b", form.into_bytes()).await;
    assert_eq!(status, 201, "{made}");
}

#[tokio::test]
async fn an_html_definition_is_converted_once_whatever_the_document_is_called() {
    let client = Client::start().await;
    let html = "<html><body><h1>Responsive</h1><p>Agreed: /sn1/</p></body></html>";
    let document = json!({ "documentId": "1", "name": "doc1.html", "htmlDefinition": { "source": html } });
    let id = client.create(of_document(&document)).await;
    let lines: Vec<String> = text_of(&client, &id).await.pages.iter().flat_map(Page::lines).collect();
    assert!(lines.contains(&"Responsive".to_owned()), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains("endobj")), "the file itself was laid out: {lines:?}");
}

#[tokio::test]
async fn a_tab_that_comes_later_looks_in_the_documents_of_every_composite() {
    let client = Client::start().await;
    let ada = |anchor: &str| {
        let tabs = json!({ "signHereTabs": [{ "anchorString": anchor }] });
        json!({ "signers": [{ "recipientId": "1", "name": "Ada", "email": "ada@example.com", "tabs": tabs }] })
    };
    let composed = |status: &str, anchor: &str, first: &str| {
        json!({ "status": status, "emailSubject": "C", "compositeTemplates": [
            { "inlineTemplates": [{ "sequence": "1", "recipients": ada(anchor) }], "document": numbered("1", first) },
            { "document": numbered("2", "Second /c2/") },
        ] })
    };
    // One that comes with its composite looks there alone.
    assert_eq!(client.refusal(composed("sent", "/c2/", "First")).await, "ANCHOR_TAB_STRING_NOT_FOUND");
    let id = client.create(composed("sent", "/c1/", "First /c1/")).await;
    let path = format!("/envelopes/{id}/recipients/1/tabs");
    let later = json!({ "signHereTabs": [{ "anchorString": "/c2/" }] });
    let (status, body) = client.call("POST", &path, later).await;
    assert_eq!(status, 201, "{body}");
    let tabs = client.get(&path).await["signHereTabs"].clone();
    assert_eq!((&tabs[0]["documentId"], &tabs[1]["documentId"]), (&json!("1"), &json!("2")));

    // A document that is replaced in a draft stays in its composite.
    let id = client.create(composed("created", "/c1/", "First")).await;
    let path = format!("/envelopes/{id}");
    let replaced = json!({ "documents": [numbered("1", "First /c1/")] });
    assert_eq!(client.call("PUT", &path, replaced).await.0, 200);
    let (status, body) = client.call("PUT", &path, json!({ "status": "sent" })).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn an_amount_has_a_number_beside_its_value() {
    let client = Client::start().await;
    let mut ada = signer("1", "Ada", "/sn1/");
    // As eg016 sends it.
    ada["tabs"]["numericalTabs"] = json!([{
        "documentId": "1", "pageNumber": 1, "xPosition": "210", "yPosition": "235", "tabLabel": "salary",
        "validationType": "Currency", "minNumericalValue": "0", "maxNumericalValue": 1_000_000,
        "numericalValue": 123_000, "localePolicy": { "cultureName": "en-US", "currencyCode": "usd" },
    }]);
    let id = client.create(definition(&[ada])).await;
    let path = format!("/envelopes/{id}/recipients/1/tabs");
    let read = async || client.get(&path).await["numericalTabs"][0].clone();
    let tab = read().await;
    assert_eq!((&tab["value"], &tab["numericalValue"]), (&json!("123000"), &json!("123000")));
    assert_eq!(tab["maxNumericalValue"], "1000000");
    for (change, value, number) in [
        (json!({ "value": "99.5" }), "99.5", Some("99.5")),
        (json!({ "numericalValue": "7" }), "7", Some("7")),
        // Whether this is a thousand is up to a locale.
        (json!({ "value": "1,000" }), "1,000", None),
    ] {
        let mut sent = change.clone();
        sent["tabId"] = tab["tabId"].clone();
        let (status, body) = client.call("PUT", &path, json!({ "numericalTabs": [sent] })).await;
        assert_eq!(status, 200, "{body}");
        let now = read().await;
        assert_eq!(
            (now["value"].as_str(), now["numericalValue"].as_str()),
            (Some(value), number),
            "{change}"
        );
    }
}

#[tokio::test]
async fn a_call_for_tabs_without_any_is_refused() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let path = format!("/envelopes/{id}/recipients/1/tabs");
    for method in ["POST", "PUT"] {
        for tabs in [json!({}), json!({ "signHereTabs": [] }), json!({ "textTabs": null })] {
            let (status, body) = client.call(method, &path, tabs.clone()).await;
            assert_eq!(
                (status, &body["errorCode"]),
                (400, &json!("INVALID_REQUEST_BODY")),
                "{method} {tabs}"
            );
            assert!(body["message"].as_str().unwrap().ends_with("No tabs specified."), "{body}");
        }
    }
}

#[tokio::test]
async fn the_senders_own_id_of_an_envelope_is_kept() {
    let client = Client::start().await;
    let with = |status: &str| {
        let mut whole = definition(&[signer("1", "Ada", "/sn1/")]);
        (whole["status"], whole["externalEnvelopeId"]) = (json!(status), json!("crm-7"));
        whole
    };
    for (status, changed) in [("created", 200), ("sent", 400)] {
        let path = format!("/envelopes/{}", client.create(with(status)).await);
        assert_eq!(client.get(&path).await["externalEnvelopeId"], "crm-7");
        let put = async |id: &str| client.call("PUT", &path, json!({ "externalEnvelopeId": id })).await.0;
        assert_eq!(put("crm-7").await, 200, "what was read can be sent back");
        assert_eq!(put("crm-8").await, changed, "{status}");
    }
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    assert!(client.get(&format!("/envelopes/{id}")).await.get("externalEnvelopeId").is_none());
}

#[tokio::test]
async fn what_would_vanish_without_a_word_is_refused() {
    let client = Client::start().await;
    let with = |pointer: &str, name: &str, value: Value| {
        let mut whole = definition(&[signer("1", "Ada", "/sn1/")]);
        whole.pointer_mut(pointer).unwrap()[name] = value;
        whole
    };
    let prefilled = json!({ "textTabs": [{ "value": "x", "documentId": "1", "pageNumber": "1" }] });
    for definition in [
        with("", "emailSettings", json!({ "replyEmailAddressOverride": "a@example.com" })),
        with("", "attachments", json!([{ "label": "a", "attachmentType": ".htm", "data": "eA==" }])),
        with("/documents/0", "tabs", json!({ "prefillTabs": prefilled })),
        with("/recipients/signers/0/tabs", "prefillTabs", prefilled.clone()),
    ] {
        assert_eq!(client.refusal(definition.clone()).await, "PLAN_ITEM_NOT_ENABLED", "{definition}");
    }
    let template = &client.emulator.ready.template_id;
    let role = json!({ "roleName": "Client", "name": "Ada", "email": "ada@example.com", "tabs": { "prefillTabs": prefilled } });
    let by_role = json!({ "status": "sent", "templateId": template, "templateRoles": [role] });
    assert_eq!(client.refusal(by_role).await, "PLAN_ITEM_NOT_ENABLED");
    // What says nothing asks for nothing.
    let nothing = json!({ "bccEmailAddresses": [], "replyEmailAddressOverride": null });
    let id = client.create(with("", "emailSettings", nothing)).await;
    let path = format!("/envelopes/{id}/recipients/1/tabs");
    let (status, body) = client.call("POST", &path, json!({ "prefillTabs": prefilled })).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("PLAN_ITEM_NOT_ENABLED")), "{body}");
}
