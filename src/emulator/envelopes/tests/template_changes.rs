//! Templates that are changed and deleted.

use serde_json::{Value, json};

use super::{
    templates::{make, pairs, texts, whole},
    testing::{Client, document},
};
use crate::emulator::directory;

#[tokio::test]
async fn a_template_is_changed_and_what_was_read_can_be_sent_back() {
    let client = Client::start().await;
    let id = make(&client, whole()).await;
    let path = format!("/templates/{id}");
    client.advance(60).await;
    let change = json!({
        "name": "Renamed", "description": "Ours", "emailSubject": "New", "shared": "true", "enableWetSign": "true",
        "customFields": { "textCustomFields": [{ "name": "kept", "value": "changed" }] },
        "notification": { "expirations": { "expireAfter": "9" } },
    });
    let (status, body) = client.call("PUT", &path, change).await;
    assert_eq!((status, &body["envelopeId"]), (200, &json!(id)), "{body}");
    let read = client.get(&format!("{path}?include=tabs")).await;
    for (name, value) in [
        ("name", "Renamed"),
        ("description", "Ours"),
        ("emailSubject", "New"),
        ("shared", "true"),
        ("enableWetSign", "true"),
        ("autoNavigation", "false"),
        ("brandId", directory::BRAND),
    ] {
        assert_eq!(read[name], value, "{name}");
    }
    assert_eq!(texts(&read["customFields"]), pairs(&[("origin", "template"), ("kept", "changed")]));
    let expirations = &read["notification"]["expirations"];
    assert_eq!((&expirations["expireAfter"], &expirations["expireWarn"]), (&json!("9"), &json!("1")));
    assert!(read["lastModified"].as_str() > read["created"].as_str(), "{read}");
    let since = read["lastModified"].as_str().unwrap();
    for (query, found) in [("modified_from_date", "1"), ("created_from_date", "0")] {
        let rows = client.get(&format!("/templates?search_text=renamed&{query}={since}")).await;
        assert_eq!(rows["totalSetSize"], found, "{query}: {rows}");
    }
    // An SDK changes a member of what it read, and sends all of it.
    let mut back = read.clone();
    back["emailBlurb"] = json!("Please sign.");
    let (status, body) = client.call("PUT", &path, back).await;
    assert_eq!(status, 200, "{body}");
    let now = client.get(&format!("{path}?include=tabs")).await;
    for name in ["customFields", "documents", "notification", "recipients", "name"] {
        assert_eq!(now[name], read[name], "{name}");
    }
    assert_eq!(now["emailBlurb"], "Please sign.");
    let ada = json!({ "roleName": "Client", "name": "Ada", "email": "ada@example.com" });
    let sent = client.create(json!({ "status": "sent", "templateId": id, "templateRoles": [ada] })).await;
    assert_eq!(client.get(&format!("/envelopes/{sent}")).await["emailSubject"], "New");
}

#[tokio::test]
async fn a_template_that_is_read_and_sent_back_says_no_more_than_it_did() {
    let client = Client::start().await;
    let mut silent = whole();
    for name in ["enableWetSign", "allowMarkup", "autoNavigation"] {
        silent.as_object_mut().unwrap().remove(name);
    }
    let silent = make(&client, silent).await;
    let strict = json!({ "name": "Strict", "enableWetSign": "false", "allowReassign": "false" });
    let strict = make(&client, strict).await;
    let ada = json!({ "recipientId": "1", "roleName": "Client", "name": "Ada", "email": "ada@example.com" });
    let both = json!({ "status": "sent", "emailSubject": "Both", "compositeTemplates": [{
        "serverTemplates": [
            { "sequence": "1", "templateId": silent }, { "sequence": "2", "templateId": strict },
        ],
        "inlineTemplates": [{ "sequence": "3", "recipients": { "signers": [ada] } }],
    }] });
    let treated = async || {
        let id = client.create(both.clone()).await;
        let made = client.get(&format!("/envelopes/{id}")).await;
        ["enableWetSign", "allowReassign", "autoNavigation"].map(|name| made[name].clone())
    };
    assert_eq!(treated().await, ["false", "false", "true"]);
    let path = format!("/templates/{silent}");
    let read = client.get(&path).await;
    client.advance(60).await;
    let (status, body) = client.call("PUT", &path, read.clone()).await;
    assert_eq!((status, &body["envelopeId"]), (200, &json!(silent)), "{body}");
    assert_eq!(client.get(&path).await, read, "its time stands still, too");
    assert_eq!(treated().await, ["false", "false", "true"]);
    // What is another word than before counts.
    let mut changed = read;
    changed["autoNavigation"] = json!("false");
    assert_eq!(client.call("PUT", &path, changed).await.0, 200);
    assert_eq!(treated().await, ["false", "false", "false"]);
}

#[tokio::test]
async fn a_change_of_a_template_is_held_to_what_a_create_is_and_leaves_its_parts() {
    let client = Client::start().await;
    let path = format!("/templates/{}", make(&client, whole()).await);
    let before = client.get(&path).await;
    for (change, code) in [
        (json!({ "emailSubject": "x".repeat(101) }), "INVALID_REQUEST_PARAMETER"),
        (json!({ "brandId": "none" }), "INVALID_REQUEST_PARAMETER"),
        (json!({ "documents": [document("Another")] }), "PLAN_ITEM_NOT_ENABLED"),
        (
            json!({ "recipients": { "signers": [{ "recipientId": "1", "note": "New" }] } }),
            "PLAN_ITEM_NOT_ENABLED",
        ),
        (json!({ "name": ["x"] }), "INVALID_REQUEST_BODY"),
    ] {
        let (status, body) = client.call("PUT", &path, change).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!(code)), "{body}");
    }
    assert_eq!(client.get(&path).await, before);
    let (status, body) = client.call("PUT", "/templates/none", json!({ "name": "x" })).await;
    assert_eq!((status, &body["errorCode"]), (404, &json!("TEMPLATE_NOT_FOUND")));
}

#[tokio::test]
async fn a_template_is_deleted_in_the_recycle_bin() {
    let client = Client::start().await;
    let id = make(&client, whole()).await;
    let ada = json!({ "roleName": "Client", "name": "Ada", "email": "ada@example.com" });
    let definition = json!({ "status": "sent", "templateId": id, "templateRoles": [ada] });
    let sent = client.create(definition.clone()).await;
    let named = json!({ "envelopeIds": [id] });
    let (status, body) = client.call("PUT", "/folders/sentitems", named.clone()).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")), "{body}");
    let (status, body) = client.call("PUT", "/folders/recyclebin", named).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(client.call("GET", &format!("/templates/{id}"), Value::Null).await.0, 404);
    assert_eq!(client.refusal(definition).await, "TEMPLATE_ID_INVALID");
    assert_eq!(
        client.get(&format!("/envelopes/{sent}")).await["status"],
        "sent",
        "what was made of it stays"
    );
}
