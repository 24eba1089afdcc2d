//! Whole lives of envelopes, over real sockets.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::emulator::{
    pdf::{
        read::{Matching, read},
        write::from_text,
    },
    testing::Running,
};

const PHONE: &str = "c368e411-1592-4001-a3df-dca94ac539ae";

pub(super) struct Client {
    pub(super) emulator: Running,
    pub(super) token: String,
    moved: i64,
}

impl Client {
    pub(super) async fn start() -> Self {
        let emulator = Running::start().await;
        let token = emulator.access_token().await;
        Self { emulator, token, moved: 0 }
    }

    pub(super) async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = (method != "GET").then_some(body);
        let answer = self.emulator.call(method, path, &self.token, body).await;
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, Value::Null).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(super) async fn create(&self, definition: Value) -> String {
        let (status, body) = self.call("POST", "/envelopes", definition).await;
        assert_eq!(status, 201, "{body}");
        body["envelopeId"].as_str().unwrap().to_owned()
    }

    /// The code of a refused create.
    pub(super) async fn refusal(&self, definition: Value) -> String {
        let (status, body) = self.call("POST", "/envelopes", definition).await;
        assert_eq!(status, 400, "{body}");
        body["errorCode"].as_str().unwrap().to_owned()
    }

    pub(super) async fn view(&self, envelope: &str, request: Value) -> Result<String, String> {
        let (status, body) =
            self.call("POST", &format!("/envelopes/{envelope}/views/recipient"), request).await;
        if status == 201 {
            return Ok(body["url"].as_str().unwrap().to_owned());
        }
        assert_eq!(status, 400, "{body}");
        Err(body["errorCode"].as_str().unwrap().to_owned())
    }

    pub(super) async fn bytes(&self, path: &str) -> Vec<u8> {
        let answer = self.emulator.call("GET", path, &self.token, None).await;
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        answer.bytes().await.unwrap().to_vec()
    }

    pub(super) async fn guid(&self, envelope: &str, recipient: &str) -> String {
        let all = self.get(&format!("/envelopes/{envelope}/recipients")).await;
        let signer =
            all["signers"].as_array().unwrap().iter().find(|signer| signer["recipientId"] == recipient);
        signer.unwrap()["recipientIdGuid"].as_str().unwrap().to_owned()
    }

    pub(super) async fn act(&self, envelope: &str, recipient: &str, action: &str, body: Value) -> Value {
        let guid = self.guid(envelope, recipient).await;
        self.emulator.control("POST", &format!("signers/{guid}/{action}"), body).await
    }

    /// A browser's GET: status, where it is sent, and the page.
    pub(super) async fn browse(&self, url: &str) -> (u16, String, String) {
        read_page(self.emulator.http.get(self.absolute(url)).send().await.unwrap()).await
    }

    pub(super) async fn post(&self, url: &str, form: &[(&str, &str)]) -> (u16, String, String) {
        read_page(self.emulator.http.post(self.absolute(url)).form(form).send().await.unwrap()).await
    }

    pub(super) fn absolute(&self, url: &str) -> String {
        if url.starts_with('/') { format!("{}{url}", self.emulator.ready.base_url) } else { url.to_owned() }
    }

    pub(super) async fn advance(&self, seconds: i64) {
        self.emulator.control("POST", "clock", json!({ "advance_s": seconds })).await;
    }

    /// Moves the clock past the life of the token, and mints another one.
    async fn outlive(&mut self, seconds: i64) {
        self.advance(seconds).await;
        self.moved += seconds;
        let mut claims = self.emulator.claims();
        for claim in ["iat", "exp"] {
            claims[claim] = json!(claims[claim].as_i64().unwrap() + self.moved);
        }
        let (status, body) = self.emulator.grant(&self.emulator.sign(&claims)).await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().clone_into(&mut self.token);
    }
}

async fn read_page(answer: reqwest::Response) -> (u16, String, String) {
    let to = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned()).unwrap_or_default();
    (answer.status().as_u16(), to, answer.text().await.unwrap())
}

pub(super) fn document(text: &str) -> Value {
    json!({ "documentId": "1", "name": "Contract.pdf", "fileExtension": "pdf", "documentBase64": STANDARD.encode(from_text("Contract", text)) })
}

pub(super) fn signer(id: &str, name: &str, anchor: &str) -> Value {
    json!({
        "recipientId": id, "routingOrder": id, "name": name, "email": format!("{}@example.com", name.to_lowercase()),
        "clientUserId": format!("client-{id}"),
        "tabs": { "signHereTabs": [{ "anchorString": anchor }], "textTabs": [{ "anchorString": anchor, "tabLabel": "company", "anchorXOffset": 200 }] },
    })
}

pub(super) fn definition(signers: &[Value]) -> Value {
    json!({
        "status": "sent", "emailSubject": "Contract", "documents": [document("Sign here: /sn1/ and /sn2/")],
        "recipients": { "signers": signers },
    })
}

pub(super) fn view_of(id: &str, name: &str) -> Value {
    json!({
        "returnUrl": "https://www.example.com/done?order=1", "authenticationMethod": "none", "clientUserId": format!("client-{id}"),
        "userName": name, "email": format!("{}@example.com", name.to_lowercase()),
    })
}

fn with_phone(mut signer: Value) -> Value {
    signer["identityVerification"] = json!({ "workflowId": PHONE, "steps": null, "inputOptions": [
        { "name": "phone_number_list", "valueType": "PhoneNumberList", "phoneNumberList": [{ "countryCode": "49", "number": "15112345678" }] },
    ] });
    signer
}

#[tokio::test]
async fn a_signer_walks_the_pages_from_the_view_to_the_signed_document() {
    let client = Client::start().await;
    let mut ada = with_phone(signer("1", "Ada", "/sn1/"));
    ada["accessCode"] = json!("Secret7");
    let id = client.create(definition(&[ada])).await;
    let url = client.view(&id, view_of("1", "Ada")).await.unwrap();
    assert!(url.contains("/Signing/MTRedeem/v1/") && url.contains("?slt="));

    let (status, session, _) = client.browse(&format!("{url}&locale=de_DE")).await;
    assert_eq!(status, 302);
    assert!(client.browse(&session).await.2.contains("Zugangscode"));
    assert_eq!(client.post(&session, &[("action", "access_code"), ("access_code", "wrong")]).await.0, 422);
    assert_eq!(client.post(&session, &[("action", "access_code"), ("access_code", "SECRET7")]).await.0, 302);
    assert!(client.browse(&session).await.2.contains("+49"));
    client.post(&session, &[("action", "send_code"), ("number", "0")]).await;
    let outbox = client.emulator.control("GET", "outbox", Value::Null).await;
    assert_eq!(outbox["messages"][0]["to"], "+4915112345678");
    let sms = outbox["messages"][0]["code"].as_str().unwrap().to_owned();
    client.post(&session, &[("action", "check_code"), ("sms_code", &sms)]).await;
    assert_eq!(client.get(&format!("/envelopes/{id}")).await["status"], "sent");

    let (_, _, page) = client.browse(&session).await;
    assert!(page.contains("/sn1/") && page.contains("lang=\"de\""), "{page}");
    assert_eq!(client.get(&format!("/envelopes/{id}")).await["status"], "delivered");
    let field = page.split("name=\"tab-").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let field = format!("tab-{field}");
    let form = [("action", "sign"), ("name", "Ada"), (field.as_str(), "Analytical Ltd")];
    let (status, back, _) = client.post(&session, &form).await;
    assert_eq!((status, back.as_str()), (302, "https://www.example.com/done?order=1&event=signing_complete"));

    let envelope =
        client.get(&format!("/envelopes/{id}?include=recipients,tabs,documents,custom_fields")).await;
    assert_eq!(envelope["status"], "completed");
    let signer = &envelope["recipients"]["signers"][0];
    assert_eq!(signer["recipientAuthenticationStatus"]["identityVerificationResult"]["status"], "Passed");
    assert_eq!(signer["recipientAuthenticationStatus"]["accessCodeResult"]["status"], "Passed");
    assert_eq!(signer["tabs"]["textTabs"][0]["value"], "Analytical Ltd");
    let combined =
        read(&client.bytes(&format!("/envelopes/{id}/documents/combined?certificate=true")).await).unwrap();
    assert!(combined.pages.len() >= 2);
    for words in
        ["Analytical Ltd", "DocuSign Envelope ID", "DEMONSTRATION DOCUMENT", "Certificate Of Completion"]
    {
        assert!(!combined.find(words, Matching::default()).is_empty(), "{words}");
    }
    let answer =
        client.emulator.call("GET", &format!("/envelopes/{id}/documents/1"), &client.token, None).await;
    assert_eq!(answer.headers()["content-disposition"], "file; filename=\"Contract.pdf\"; documentid=\"1\"");
    assert!(client.bytes(&format!("/envelopes/{id}/documents/archive")).await.starts_with(b"PK"));
    assert!(client.bytes(&format!("/envelopes/{id}/documents/certificate")).await.starts_with(b"%PDF"));
}

#[tokio::test]
async fn a_view_is_opened_once_and_within_five_minutes() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let url = client.view(&id, view_of("1", "Ada")).await.unwrap();
    assert!(client.browse(&url).await.1.starts_with("/Signing/StartInSession"));
    assert!(client.browse(&url).await.1.ends_with("&event=ttl_expired"));
    let late = client.view(&id, view_of("1", "Ada")).await.unwrap();
    client.advance(301).await;
    assert!(client.browse(&late).await.1.ends_with("&event=ttl_expired"));
    assert_eq!(client.browse(&url.replace("slt=", "slt=x")).await.0, 404);
}

#[tokio::test]
async fn every_other_way_out_has_its_event() {
    let client = Client::start().await;
    for (action, reason, event) in [
        ("finish_later", "", "cancel"),
        ("decline", "too dear", "decline"),
        ("exception", "", "exception"),
        ("fax", "", "fax_pending"),
    ] {
        let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
        let url = client.view(&id, view_of("1", "Ada")).await.unwrap();
        let session = client.browse(&url).await.1;
        let (_, back, _) = client.post(&session, &[("action", action), ("reason", reason)]).await;
        assert!(back.ends_with(&format!("&event={event}")), "{action}: {back}");
    }
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let session = client.browse(&client.view(&id, view_of("1", "Ada")).await.unwrap()).await.1;
    client.advance(21 * 60).await;
    assert!(client.browse(&session).await.1.ends_with("&event=session_timeout"));
    client.act(&id, "1", "sign", json!({})).await;
    let session = client.browse(&client.view(&id, view_of("1", "Ada")).await.unwrap()).await.1;
    assert!(client.post(&session, &[("action", "close")]).await.1.ends_with("&event=viewing_complete"));

    let mut guarded = signer("1", "Ada", "/sn1/");
    guarded["accessCode"] = json!("right");
    let id = client.create(definition(&[guarded])).await;
    let session = client.browse(&client.view(&id, view_of("1", "Ada")).await.unwrap()).await.1;
    let wrong = [("action", "access_code"), ("access_code", "no")];
    client.post(&session, &wrong).await;
    client.post(&session, &wrong).await;
    assert!(client.post(&session, &wrong).await.1.ends_with("&event=access_code_failed"));
}

#[tokio::test]
async fn a_newer_view_puts_the_signer_out_and_the_judge_sees_it() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let session = client.browse(&client.view(&id, view_of("1", "Ada")).await.unwrap()).await.1;
    assert_eq!(client.browse(&session).await.0, 200);
    client.view(&id, view_of("1", "Ada")).await.unwrap();
    assert_eq!(client.browse(&session).await.0, 409);
    let rules = client.emulator.control("GET", "rules", Value::Null).await;
    assert!(rules.to_string().contains("view_reminted"), "{rules}");
}

#[tokio::test]
async fn a_view_must_match_to_the_letter() {
    let client = Client::start().await;
    let mut remote = signer("2", "Bob", "/sn2/");
    remote.as_object_mut().unwrap().remove("clientUserId");
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/"), remote])).await;
    let unknown = Err("UNKNOWN_ENVELOPE_RECIPIENT".to_owned());
    for (field, value) in [
        ("userName", "ada"),
        ("userName", "Ada "),
        ("email", "Ada@example.com"),
        ("clientUserId", "client-2"),
        ("recipientId", "9"),
    ] {
        let mut request = view_of("1", "Ada");
        request[field] = json!(value);
        assert_eq!(client.view(&id, request).await, unknown, "{field}");
    }
    let mut request = view_of("2", "Bob");
    request.as_object_mut().unwrap().remove("clientUserId");
    assert_eq!(client.view(&id, request).await, unknown);
    for (field, value) in [
        ("returnUrl", json!(null)),
        ("returnUrl", json!("www.example.com")),
        ("authenticationMethod", json!("guess")),
        ("frameAncestors", json!(["http://evil.example"])),
    ] {
        let mut request = view_of("1", "Ada");
        request[field] = value;
        assert_eq!(client.view(&id, request).await, Err("INVALID_REQUEST_PARAMETER".to_owned()), "{field}");
    }
    let recipients = client.get(&format!("/envelopes/{id}/recipients")).await;
    for (name, index, is_found) in [
        ("userId", 0, true),
        ("recipientId", 0, true),
        ("recipientIdGuid", 0, true),
        ("recipientIdGuid", 1, false),
    ] {
        let user = recipients["signers"][index][name].clone();
        let by_user = json!({ "returnUrl": "https://a.example/", "authenticationMethod": "NONE", "clientUserId": "client-1", "userId": user });
        assert_eq!(client.view(&id, by_user).await.is_ok(), is_found, "{name} {index}");
    }
}

#[tokio::test]
async fn signers_wait_for_their_turn_and_an_adopted_name_counts() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/"), signer("2", "Bob", "/sn2/")])).await;
    assert_eq!(client.view(&id, view_of("2", "Bob")).await, Err("RECIPIENT_NOT_IN_SEQUENCE".to_owned()));
    client.view(&id, view_of("1", "Ada")).await.unwrap();
    let left = client.act(&id, "1", "finish_later", json!({ "name": "Ada King" })).await;
    assert_eq!(left["redirect_url"], "https://www.example.com/done?order=1&event=cancel");
    assert_eq!(client.view(&id, view_of("1", "Ada")).await, Err("UNKNOWN_ENVELOPE_RECIPIENT".to_owned()));
    let mut current = view_of("1", "Ada");
    current["userName"] = json!("Ada King");
    assert!(client.view(&id, current).await.is_ok());
    client.act(&id, "1", "sign", json!({ "fields": { "company": "Engines" } })).await;
    assert!(client.view(&id, view_of("2", "Bob")).await.is_ok());
    let done = client.act(&id, "2", "sign", json!({})).await;
    assert_eq!(done["envelope_status"], "completed");
    let guid = client.guid(&id, "2").await;
    let again = client
        .emulator
        .http
        .post(format!("{}/_test/signers/{guid}/sign", client.emulator.ready.control_url))
        .send()
        .await
        .unwrap();
    assert_eq!(again.status().as_u16(), 409);
}

#[tokio::test]
async fn a_failed_phone_check_locks_until_the_sender_corrects_it() {
    let client = Client::start().await;
    let id = client.create(definition(&[with_phone(signer("1", "Ada", "/sn1/"))])).await;
    let session = client.browse(&client.view(&id, view_of("1", "Ada")).await.unwrap()).await.1;
    client.post(&session, &[("action", "send_code")]).await;
    let wrong = [("action", "check_code"), ("sms_code", "nope")];
    client.post(&session, &wrong).await;
    client.post(&session, &wrong).await;
    assert!(client.post(&session, &wrong).await.1.ends_with("&event=id_check_failed"));
    let locked = client.browse(&client.view(&id, view_of("1", "Ada")).await.unwrap()).await.1;
    assert!(client.browse(&locked).await.1.ends_with("&event=id_check_failed"));
    let correction = json!({ "signers": [with_phone(json!({ "recipientId": "1" }))] });
    let (status, body) = client.call("PUT", &format!("/envelopes/{id}/recipients"), correction).await;
    assert_eq!(
        (status, &body["recipientUpdateResults"][0]["errorDetails"]["errorCode"]),
        (200, &json!("SUCCESS"))
    );
    assert_eq!(client.act(&id, "1", "sign", json!({})).await["event"], "signing_complete");
    let (status, body) = client
        .call(
            "PUT",
            &format!("/envelopes/{id}/recipients"),
            json!({ "signers": [{ "recipientId": "1", "name": "X" }] }),
        )
        .await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("ENVELOPE_INVALID_STATUS")));
}

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
        ("INVALID_RECIPIENT_ID", definition(&[signer("1", "Ada", "/sn1/"), signer("1", "Bob", "/sn2/")])),
        (
            "ANCHOR_TAB_STRING_NOT_FOUND",
            set("/recipients/signers/0/tabs/signHereTabs/0/anchorString", json!("/nowhere/")),
        ),
        ("UNABLE_TO_LOAD_DOCUMENT", set("/documents/0/documentBase64", json!(STANDARD.encode("no pdf")))),
        ("UNABLE_TO_LOAD_DOCUMENT", set("/documents/0/documentBase64", json!("!!!"))),
        ("UNABLE_TO_LOAD_DOCUMENT", set("/documents/0/fileExtension", json!("docx"))),
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
        (
            "TAB_OUT_OF_BOUNDS",
            set(
                "/recipients/signers/0/tabs",
                json!({ "signHereTabs": [{ "documentId": "1", "pageNumber": "7", "xPosition": "1", "yPosition": "1" }] }),
            ),
        ),
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

fn person_of(client_user_id: &str) -> Value {
    json!({ "recipientId": "1", "name": "Ada", "email": "ada@example.com", "clientUserId": client_user_id })
}

#[tokio::test]
async fn lists_find_by_transaction_and_custom_field_and_need_a_narrowing() {
    let mut client = Client::start().await;
    let mut one = definition(&[signer("1", "Ada", "/sn1/")]);
    one["transactionId"] = json!("tx-1");
    one["customFields"] = json!({ "textCustomFields": [{ "name": "requestId", "value": "r-1" }] });
    let id = client.create(one).await;
    client.create(definition(&[signer("1", "Bob", "/sn1/")])).await;
    let (status, body) = client.call("GET", "/envelopes", Value::Null).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")));
    let found = client.get("/envelopes?transaction_ids=tx-1,tx-2").await;
    assert_eq!(
        found["envelopeTransactionStatuses"],
        json!([{ "envelopeId": id, "status": "sent", "transactionId": "tx-1" }])
    );
    let found = client
        .get("/envelopes?from_date=2020-01-01T00:00:00Z&custom_field=requestId=r-1&include=recipients")
        .await;
    assert_eq!(found["totalSetSize"], "1");
    assert_eq!(found["envelopes"][0]["recipients"]["signers"][0]["name"], "Ada");
    assert_eq!(client.get("/envelopes?from_date=2020-01-01&status=completed").await["resultSetSize"], "0");
    let (_, body) = client
        .call("PUT", "/envelopes/status?envelope_ids=request_body", json!({ "envelopeIds": [id] }))
        .await;
    assert_eq!(body["envelopes"][0]["envelopeId"], json!(id));
    client.emulator.control("POST", "faults", json!({ "fault": "list_lag", "delay_ms": 5_000 })).await;
    assert_eq!(client.get("/envelopes?transaction_ids=tx-1").await["resultSetSize"], "0");
    client.advance(6).await;
    assert_eq!(client.get("/envelopes?transaction_ids=tx-1").await["resultSetSize"], "1");
    client.outlive(7 * 24 * 3_600).await;
    assert_eq!(client.get("/envelopes?transaction_ids=tx-1").await["resultSetSize"], "0");
}

#[tokio::test]
async fn voiding_has_rules_and_expiry_voids() {
    let mut client = Client::start().await;
    let mut draft = definition(&[signer("1", "Ada", "/sn1/")]);
    draft["status"] = json!("created");
    draft["notification"] =
        json!({ "expirations": { "expireEnabled": "true", "expireAfter": 3, "expireWarn": "0" } });
    let id = client.create(draft).await;
    let path = format!("/envelopes/{id}");
    let void = json!({ "status": "voided", "voidedReason": "mistake" });
    let (status, body) = client.call("PUT", &path, void.clone()).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("ENVELOPE_CANNOT_VOID_INVALID_STATE")));
    assert_eq!(client.view(&id, view_of("1", "Ada")).await, Err("ENVELOPE_INVALID_STATUS".to_owned()));
    assert_eq!(client.call("PUT", &path, json!({ "status": "sent" })).await.0, 200);
    assert_eq!(client.call("PUT", &path, json!({ "status": "voided" })).await.0, 400);
    let other = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    assert_eq!(client.call("PUT", &format!("/envelopes/{other}"), void).await.0, 200);
    let voided = client.get(&format!("/envelopes/{other}")).await;
    assert_eq!((&voided["status"], &voided["voidedReason"]), (&json!("voided"), &json!("mistake")));
    client.outlive(3 * 24 * 3_600 + 1).await;
    let expired = client.get(&path).await;
    assert_eq!(
        (&expired["status"], &expired["voidedReason"]),
        (&json!("voided"), &json!("Envelope has expired."))
    );
    assert_eq!(client.call("PUT", &path, json!({ "purgeState": "documents_queued" })).await.0, 200);
    client.outlive(14 * 24 * 3_600).await;
    assert_eq!(client.get(&path).await["purgeState"], "documents_purged");
    assert_eq!(client.call("GET", &format!("{path}/documents/combined"), Value::Null).await.0, 400);
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
async fn connect_pushes_signed_events_in_order() {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sent = definition(&[signer("1", "Ada", "/sn1/")]);
    sent["eventNotification"] = json!({
        "url": format!("http://{}/in", receiver.local_addr().unwrap()), "requireAcknowledgment": "true", "includeHMAC": "true",
        "events": ["envelope-sent", "recipient-completed", "envelope-completed"],
        "eventData": { "version": "restv2.1", "format": "json", "includeData": ["recipients"] },
    });
    let id = client.create(sent).await;
    client.act(&id, "1", "sign", json!({})).await;
    let key = aws_lc_rs::hmac::Key::new(
        aws_lc_rs::hmac::HMAC_SHA256,
        client.emulator.ready.connect_hmac_key.as_bytes(),
    );
    for expected in ["envelope-sent", "recipient-completed", "envelope-completed"] {
        let (head, body) = accept(&receiver).await;
        let digest = head.lines().find_map(|line| line.strip_prefix("x-docusign-signature-1: ")).unwrap();
        aws_lc_rs::hmac::verify(&key, &body, &STANDARD.decode(digest).unwrap()).unwrap();
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(event["event"], expected);
        assert_eq!(event["data"]["envelopeId"], json!(id));
        assert_eq!(event["data"].get("recipientId").is_some(), expected.starts_with("recipient"));
        assert!(event["data"]["envelopeSummary"]["recipients"]["signers"].is_array());
    }
}

#[tokio::test]
async fn connect_knows_the_older_word_for_a_draft() {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut draft = definition(&[signer("1", "Ada", "/sn1/")]);
    draft["status"] = json!("created");
    draft["eventNotification"] = json!({
        "url": format!("http://{}/in", receiver.local_addr().unwrap()),
        "envelopeEvents": [{ "envelopeEventStatusCode": "Draft" }],
    });
    client.create(draft).await;
    let (_, body) = accept(&receiver).await;
    let event: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(event["event"], "envelope-created");
}

#[tokio::test]
async fn connect_tries_again_repeats_and_missigns_on_demand() {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for fault in ["event_double", "event_bad_signature"] {
        client.emulator.control("POST", "faults", json!({ "fault": fault, "count": 1 })).await;
    }
    let mut sent = definition(&[signer("1", "Ada", "/sn1/")]);
    sent["eventNotification"] = json!({
        "url": format!("http://{}/in", receiver.local_addr().unwrap()), "requireAcknowledgment": true, "includeHMAC": true,
        "events": ["envelope-sent"],
    });
    client.create(sent).await;
    let key = client.emulator.ready.connect_hmac_key.clone();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key.as_bytes());
    let (head, body) = answer(&receiver, 500).await;
    let digest = head.lines().find_map(|line| line.strip_prefix("x-docusign-signature-1: ")).unwrap();
    aws_lc_rs::hmac::verify(&key, &body, &STANDARD.decode(digest).unwrap()).unwrap_err();
    // The pause begins once the emulator has read the answer, so time moves until it is over.
    let mut retried = Box::pin(answer(&receiver, 200));
    let (head, body) = loop {
        client.advance(6).await;
        tokio::select! {
            next = &mut retried => break next,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    };
    let digest = head.lines().find_map(|line| line.strip_prefix("x-docusign-signature-1: ")).unwrap();
    aws_lc_rs::hmac::verify(&key, &body, &STANDARD.decode(digest).unwrap()).unwrap();
    let count = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap()["retryCount"].clone();
    assert_eq!(count(&body), json!(1));
    let (_, repeated) = answer(&receiver, 200).await;
    assert_eq!(count(&repeated), json!(0));
}

/// One HTTP request, answered with 200.
async fn accept(receiver: &TcpListener) -> (String, Vec<u8>) {
    answer(receiver, 200).await
}

/// One HTTP request, answered with this status.
async fn answer(receiver: &TcpListener, status: u16) -> (String, Vec<u8>) {
    let work = async {
        let (mut stream, _) = receiver.accept().await.unwrap();
        let mut bytes = Vec::new();
        loop {
            let mut chunk = vec![0; 16_384];
            let n = stream.read(&mut chunk).await.unwrap();
            bytes.extend_from_slice(&chunk[..n]);
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
            let length: usize =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
            if bytes.len() < end + 4 + length {
                continue;
            }
            let reply = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(reply.as_bytes()).await.unwrap();
            let original = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let head = original.lines().map(|line| match line.split_once(": ") {
                Some((name, value)) => format!("{}: {value}\n", name.to_lowercase()),
                None => format!("{line}\n"),
            });
            return (head.collect(), bytes[end + 4..].to_vec());
        }
    };
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("an event comes")
}
