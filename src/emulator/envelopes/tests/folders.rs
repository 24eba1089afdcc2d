//! Where envelopes lie, and how they are deleted and brought back.

use serde_json::{Value, json};

use super::testing::{Client, definition, signer};

/// What lies in a folder.
async fn held(client: &Client, folder: &str) -> Vec<Value> {
    let found = client.get(&format!("/folders/{folder}?include_items=true")).await;
    let items = found["folders"][0]["folderItems"].as_array().unwrap().clone();
    assert_eq!(found["totalSetSize"], items.len().to_string(), "{found}");
    items
}

fn draft() -> Value {
    let mut draft = definition(&[signer("1", "Ada", "/sn1/")]);
    draft["status"] = json!("created");
    draft
}

#[tokio::test]
async fn an_envelope_lies_where_its_status_puts_it_until_it_is_moved() {
    let client = Client::start().await;
    let id = client.create(draft()).await;
    assert_eq!(held(&client, "draft").await[0]["envelopeId"], json!(id));
    client.call("PUT", &format!("/envelopes/{id}"), json!({ "status": "sent" })).await;
    assert!(held(&client, "draft").await.is_empty());
    let item = held(&client, "SENTITEMS").await.remove(0);
    assert_eq!((&item["status"], &item["senderName"]), (&json!("sent"), &json!("Sofia Sender")), "{item}");
    assert!(item["sentDateTime"].is_string(), "{item}");

    // As the vendor's sample eg045: by the type into the bin, and back by the id of the folder's name.
    let moved = json!({ "envelopeIds": [id] });
    let (status, body) = client.call("PUT", "/folders/recyclebin", moved).await;
    assert_eq!((status, &body["folders"][0]["itemCount"]), (200, &json!("1")), "{body}");
    let there = &body["envelopes"][0];
    assert_eq!((&there["envelopeId"], &there["status"]), (&json!(id), &json!("voided")), "{body}");
    assert!(there["statusDateTime"].is_string() && there["uri"] == format!("/envelopes/{id}"), "{body}");
    let envelope = client.get(&format!("/envelopes/{id}")).await;
    assert_eq!(envelope["status"], "voided", "what is under way is voided in the bin");
    let folders = client.get("/folders?include_items=true").await;
    let folders = folders["folders"].as_array().unwrap().clone();
    let named = |name: &str| folders.iter().find(|folder| folder["name"] == name).unwrap();
    assert_eq!(named("Deleted Items")["folderItems"][0]["envelopeId"], json!(id));
    let sent = named("Sent Items")["folderId"].as_str().unwrap();
    let back = json!({ "envelopeIds": [id], "fromFolderId": "recyclebin" });
    assert_eq!(client.call("PUT", &format!("/folders/{sent}"), back).await.0, 200);
    assert_eq!((held(&client, "recyclebin").await.len(), held(&client, sent).await.len()), (0, 1));
}

#[tokio::test]
async fn a_draft_in_the_bin_stays_a_draft_and_what_is_unknown_moves_nothing() {
    let client = Client::start().await;
    let id = client.create(draft()).await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    let (status, body) =
        client.call("PUT", "/folders/recyclebin", json!({ "envelopeIds": [id, nobody] })).await;
    assert_eq!((status, &body["errorCode"]), (404, &json!("ENVELOPE_DOES_NOT_EXIST")));
    assert_eq!(held(&client, "draft").await.len(), 1);
    assert_eq!(client.call("PUT", "/folders/attic", json!({ "envelopeIds": [id] })).await.0, 400);
    assert_eq!(client.call("PUT", "/folders/recyclebin", json!({ "envelopeIds": [id] })).await.0, 200);
    assert_eq!(client.get(&format!("/envelopes/{id}")).await["status"], "created");
    assert!(held(&client, "draft").await.is_empty());
    let found = client.get("/envelopes?from_date=2020-01-01&folder_ids=recyclebin").await;
    assert_eq!(found["envelopes"][0]["envelopeId"], json!(id));
}

#[tokio::test]
async fn a_folder_shows_its_items_on_demand_and_their_number_always() {
    let client = Client::start().await;
    client.create(draft()).await;
    for below in ["", "/draft"] {
        for (query, is_shown) in [("", false), ("?include_items=false", false), ("?include_items=true", true)]
        {
            let found = client.get(&format!("/folders{below}{query}")).await;
            let all = found["folders"].as_array().unwrap();
            let folder = all.iter().find(|folder| folder["type"] == "draft").unwrap();
            assert_eq!(folder["itemCount"], "1", "{below}{query}: {found}");
            assert_eq!(folder.get("folderItems").is_some(), is_shown, "{below}{query}: {found}");
            assert!(found.get("folderItems").is_none(), "{found}");
        }
    }
}

#[tokio::test]
async fn an_envelope_tells_on_demand_in_which_folder_it_lies() {
    let client = Client::start().await;
    let id = client.create(draft()).await;
    let path = format!("/envelopes/{id}");
    assert!(client.get(&path).await.get("folders").is_none());
    for (name, kind) in [("Draft", "draft"), ("Deleted Items", "recyclebin")] {
        let folders = client.get(&format!("{path}?include=recipients,Folders")).await["folders"].clone();
        assert_eq!((&folders[0]["name"], &folders[0]["type"]), (&json!(name), &json!(kind)), "{folders}");
        assert_eq!(folders[0]["owner"]["userName"], "Sofia Sender", "{folders}");
        assert_eq!(folders.as_array().unwrap().len(), 1);
        let listed = client.get("/envelopes?from_date=2020-01-01&include=folders").await;
        assert_eq!(listed["envelopes"][0]["folders"], folders);
        client.call("PUT", "/folders/recyclebin", json!({ "envelopeIds": [id] })).await;
    }
}

#[tokio::test]
async fn a_void_puts_the_envelope_in_the_bin_if_asked() {
    let client = Client::start().await;
    let void = json!({ "status": "voided", "voidedReason": "changed our minds" });
    for (query, expected) in [("", 0), ("?recycle_on_void=false", 0), ("?recycle_on_void=true", 1)] {
        let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
        let path = format!("/envelopes/{id}");
        assert_eq!(client.call("PUT", &format!("{path}{query}"), void.clone()).await.0, 200, "{query}");
        let read = client.get(&path).await;
        let told = (&read["status"], &read["voidedReason"]);
        assert_eq!(told, (&json!("voided"), &json!("changed our minds")), "{query}");
        assert_eq!(held(&client, "recyclebin").await.len(), expected, "{query}");
    }
}

#[tokio::test]
async fn the_items_of_a_folder_are_narrowed_by_what_is_asked() {
    let client = Client::start().await;
    let mut other = definition(&[signer("1", "Ben", "/sn1/")]);
    other["emailSubject"] = json!("About the boat");
    let (_, boat) =
        (client.create(definition(&[signer("1", "Ada", "/sn1/")])).await, client.create(other).await);
    client.act(&boat, "1", "sign", json!({})).await;
    for (filter, found) in [
        ("", "2"),
        ("&search_text=BOAT", "1"),
        ("&search_text=ben", "1"),
        ("&search_text=nothing", "0"),
        ("&status=completed", "1"),
        ("&status=sent,completed", "2"),
        ("&from_date=2099-01-01", "0"),
        ("&from_date=2020-01-01&to_date=2099-01-01", "2"),
        ("&to_date=2020-01-01", "0"),
        ("&owner_email=nobody@example.com", "0"),
        ("&owner_name=sofia%20sender", "2"),
    ] {
        let answer = client.get(&format!("/folders/sentitems?include_items=true{filter}")).await;
        assert_eq!(
            (&answer["totalSetSize"], &answer["folders"][0]["itemCount"]),
            (&json!(found), &json!(found)),
            "{filter}"
        );
    }
    let (status, body) = client.call("GET", "/folders/sentitems?from_date=soon", Value::Null).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")));
}
