//! Who in an account may see and change an envelope: its sender, its recipients, the administrators.

use serde_json::{Value, json};

use super::testing::{Client, definition, document, signer, view_of};
use crate::emulator::directory;

const NORA: &str = "nora@countersign.example";

impl Client {
    /// The same emulator, called by another user.
    async fn become_user(&mut self, user: &str) {
        let consent = json!({ "user_id": user, "scopes": ["signature", "impersonation"], "granted": true });
        self.emulator.control("POST", "consent", consent).await;
        let mut claims = self.emulator.claims();
        claims["sub"] = json!(user);
        let (status, body) = self.emulator.grant(&self.emulator.sign(&claims)).await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().clone_into(&mut self.token);
    }

    /// The code of a refusal, empty for what is done.
    async fn code(&self, method: &str, path: &str, body: Value) -> String {
        let (_, body) = self.call(method, path, body).await;
        body["errorCode"].as_str().unwrap_or_default().to_owned()
    }

    /// The ids in a list since ever, with these further parameters.
    async fn listed(&self, more: &str) -> Vec<String> {
        let found = self.get(&format!("/envelopes?from_date=2020-01-01{more}")).await;
        let rows = found["envelopes"].as_array().unwrap().iter();
        rows.map(|one| one["envelopeId"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn another_senders_envelope_is_neither_read_nor_changed() {
    let mut client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    client.become_user(directory::NO_CONSENT_USER).await;
    let path = format!("/envelopes/{id}");
    let void = json!({ "status": "voided", "voidedReason": "x" });
    let refused = "USER_NOT_ENVELOPE_SENDER_OR_RECIPIENT";
    assert_eq!(client.code("GET", &path, Value::Null).await, refused);
    assert_eq!(client.code("GET", &format!("{path}/documents/combined"), Value::Null).await, refused);
    assert_eq!(client.code("PUT", &path, void).await, refused);
    assert_eq!(client.view(&id, view_of("1", "Ada")).await, Err(refused.to_owned()));
    assert!(client.listed("").await.is_empty(), "nor is it in the list");

    let own = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    assert_eq!(client.listed("").await, std::slice::from_ref(&own));
    assert!(client.view(&own, view_of("1", "Ada")).await.is_ok());
    // Any member may ask by the sender's id (SPEC: user_id).
    assert_eq!(client.listed(&format!("&user_id={}", directory::USER)).await, [id]);
    // An administrator of the account has a part in everything.
    client.become_user(directory::ORGANISATION_ADMIN).await;
    assert_eq!(client.listed("").await.len(), 2);
    assert_eq!(client.code("GET", &format!("/envelopes/{own}"), Value::Null).await, "");
}

#[tokio::test]
async fn a_member_who_is_a_recipient_reads_and_signs_and_changes_nothing() {
    let mut client = Client::start().await;
    let mut nora = signer("2", "Nora", "/sn2/");
    (nora["email"], nora["routingOrder"]) = (json!(NORA), json!("1"));
    nora.as_object_mut().unwrap().remove("clientUserId");
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/"), nora])).await;
    client.become_user(directory::NO_CONSENT_USER).await;
    let path = format!("/envelopes/{id}");
    assert_eq!(client.get(&path).await["status"], "sent");
    let void = json!({ "status": "voided", "voidedReason": "x" });
    assert_eq!(client.code("PUT", &path, void).await, "USER_LACKS_PERMISSIONS");
    // Her own view, as the user that she is; nobody else's.
    let own = json!({
        "returnUrl": "https://a.example/", "authenticationMethod": "none", "userId": directory::NO_CONSENT_USER,
    });
    assert!(client.view(&id, own).await.is_ok());
    let by_name = |name: &str| json!({ "returnUrl": "https://a.example/", "authenticationMethod": "none", "userName": name, "email": NORA });
    let unknown = Err("UNKNOWN_ENVELOPE_RECIPIENT".to_owned());
    assert!(client.view(&id, by_name("Nora")).await.is_ok());
    assert_eq!(client.view(&id, by_name("nora")).await, unknown);
    let loud = json!({
        "returnUrl": "https://a.example/", "authenticationMethod": "none",
        "userId": directory::NO_CONSENT_USER.to_uppercase(),
    });
    assert!(client.view(&id, loud).await.is_ok());
    let (_, other) = client.call("POST", &format!("{path}/views/recipient"), view_of("1", "Ada")).await;
    assert_eq!(other["errorCode"], "USER_LACKS_PERMISSIONS");
    assert_eq!(client.listed("&user_filter=recipient").await, std::slice::from_ref(&id));
    assert_eq!(client.listed("&user_filter=recipient_only").await, [id]);
    assert!(client.listed("&user_filter=sender").await.is_empty());
}

#[tokio::test]
async fn a_remote_recipients_view_is_its_own_and_an_embedded_ones_needs_the_client_user_id() {
    let mut client = Client::start().await;
    let mut nora = signer("1", "Nora", "/sn1/");
    nora["email"] = json!(NORA);
    let embedded = client.create(definition(&[nora.clone()])).await;
    nora.as_object_mut().unwrap().remove("clientUserId");
    let remote = client.create(definition(&[nora])).await;
    let view = |more: Value| {
        let mut view = json!({ "returnUrl": "https://a.example/", "authenticationMethod": "none" });
        view.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        view
    };
    let by_name = view(json!({ "userName": "Nora", "email": NORA }));
    let by_user = view(json!({ "userId": directory::NO_CONSENT_USER }));
    let unknown = Err("UNKNOWN_ENVELOPE_RECIPIENT".to_owned());
    // Not even the sender opens what a remote recipient signs.
    assert_eq!(client.view(&remote, by_name.clone()).await, unknown);
    assert_eq!(client.view(&remote, by_user.clone()).await, unknown);
    client.become_user(directory::NO_CONSENT_USER).await;
    for request in [by_name, by_user.clone()] {
        assert_eq!(client.view(&embedded, request.clone()).await, unknown, "{request}");
        assert!(client.view(&remote, request).await.is_ok());
    }
    let mut whole = by_user;
    whole["clientUserId"] = json!("client-1");
    assert!(client.view(&embedded, whole).await.is_ok());
}

#[tokio::test]
async fn a_recipient_fetches_the_documents_that_it_sees() {
    let mut client = Client::start().await;
    let mut whole = definition(&[signer("1", "Ada", "/sn1/")]);
    let mut hidden = document("Not for Nora");
    hidden["documentId"] = json!("2");
    whole["documents"] = json!([document("Sign here: /sn1/"), hidden]);
    whole["enforceSignerVisibility"] = json!("true");
    whole["recipients"]["carbonCopies"] = json!([{
        "recipientId": "2", "routingOrder": "1", "name": "Nora", "email": NORA, "excludedDocuments": ["2"],
    }]);
    let id = client.create(whole).await;
    client.become_user(directory::NO_CONSENT_USER).await;
    for path in ["/documents", "/documents?recipient_id=1", "?include=documents"] {
        let read = client.get(&format!("/envelopes/{id}{path}")).await;
        let all = read["envelopeDocuments"].as_array().unwrap().iter();
        let ids: Vec<&Value> = all.map(|one| &one["documentId"]).collect();
        assert_eq!(ids, [&json!("1"), &json!("certificate")], "{path}");
    }
    assert!(client.bytes(&format!("/envelopes/{id}/documents/1")).await.starts_with(b"%PDF"));
    let path = format!("/envelopes/{id}/documents/2");
    assert_eq!(client.code("GET", &path, Value::Null).await, "DOCUMENT_DOES_NOT_EXIST");
}
