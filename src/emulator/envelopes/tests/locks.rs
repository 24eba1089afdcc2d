//! Locks on envelopes, and what is taken away from them.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::testing::{Client, definition, signer};
use crate::emulator::{
    directory,
    envelopes::{route, tick},
    http::Call,
    state::{Setup, World},
};

async fn draft(client: &Client) -> String {
    let mut draft = definition(&[signer("1", "Ada", "/sn1/")]);
    draft["status"] = json!("created");
    draft["customFields"] = json!({ "textCustomFields": [{ "name": "a", "value": "1" }, { "name": "b" }] });
    client.create(draft).await
}

/// A call with `X-DocuSign-Edit`: the status and the code of a refusal.
async fn with_edit(client: &Client, method: &str, path: &str, edit: &str, body: &Value) -> (u16, String) {
    let ready = &client.emulator.ready;
    let url = format!("{}/restapi/v2.1/accounts/{}{path}", ready.base_url, ready.account_id);
    let request = client.emulator.http.request(method.parse().unwrap(), url).bearer_auth(&client.token);
    let answer = request.header("X-DocuSign-Edit", edit).json(body).send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap_or_default();
    (status, body["errorCode"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_locked_envelope_is_changed_with_the_token_only() {
    let client = Client::start().await;
    let path = format!("/envelopes/{}", draft(&client).await);
    let lock = format!("{path}/lock");
    let none = client.call("GET", &lock, Value::Null).await;
    assert_eq!((none.0, &none.1["errorCode"]), (400, &json!("EDIT_LOCK_ENVELOPE_NOT_LOCKED")));
    let request = json!({ "lockDurationInSeconds": "600", "lockType": "edit", "lockedByApp": "Test" });
    let (status, made) = client.call("POST", &lock, request.clone()).await;
    assert_eq!((status, &made["lockDurationInSeconds"]), (201, &json!("600")), "{made}");
    assert_eq!(made["lockedByUser"]["email"], "system@countersign.example");
    let again = client.call("POST", &lock, request).await;
    assert_eq!((again.0, &again.1["errorCode"]), (400, &json!("EDIT_LOCK_ENVELOPE_ALREADY_LOCKED")));

    let change = json!({ "emailSubject": "New" });
    let refused = client.call("PUT", &path, change.clone()).await;
    assert_eq!((refused.0, &refused.1["errorCode"]), (400, &json!("EDIT_LOCK_NOT_LOCK_OWNER")));
    // The vendor's words, of an envelope too.
    let words = "The user is not the owner of the lock. The template is locked by another user or in another application";
    assert_eq!(refused.1["message"], words);
    let refused = client.call("POST", &format!("{path}/custom_fields"), json!({})).await;
    assert_eq!(refused.0, 400, "{}", refused.1);
    assert_eq!(client.get(&path).await["emailSubject"], "Contract");
    // A token that was lost is read again, in the body and in the header.
    let read = client.emulator.call("GET", &lock, &client.token, None).await;
    let header = read.headers()["x-docusign-edit"].to_str().unwrap().to_owned();
    let token = read.json::<Value>().await.unwrap()["lockToken"].as_str().unwrap().to_owned();
    assert_eq!(token, made["lockToken"].as_str().unwrap());
    assert_eq!(with_edit(&client, "PUT", &path, &header, &change).await, (200, String::new()));
    let xml = format!("<DocuSignEdit><LockToken>{token}</LockToken></DocuSignEdit>");
    assert_eq!(with_edit(&client, "PUT", &path, &xml, &change).await, (200, String::new()));
    let wrong = with_edit(&client, "DELETE", &lock, "{\"LockToken\":\"x\"}", &json!({})).await;
    assert_eq!(wrong, (400, "EDIT_LOCK_NOT_LOCK_OWNER".to_owned()));
    assert_eq!(with_edit(&client, "DELETE", &lock, &header, &json!({})).await.0, 200);
    assert_eq!(client.call("PUT", &path, json!({ "emailSubject": "Newer" })).await.0, 200);
}

#[tokio::test]
async fn a_lock_runs_out_unless_it_is_used() {
    let client = Client::start().await;
    let path = format!("/envelopes/{}", draft(&client).await);
    let lock = format!("{path}/lock");
    for wrong in [json!({ "lockDurationInSeconds": "0" }), json!({ "lockType": "read" })] {
        assert_eq!(client.call("POST", &lock, wrong.clone()).await.0, 400, "{wrong}");
    }
    let made = client.call("POST", &lock, json!({})).await.1;
    assert_eq!(made["lockDurationInSeconds"], "300");
    let edit = json!({ "LockToken": made["lockToken"], "LockDurationInSeconds": "60" }).to_string();
    client.advance(290).await;
    let change = json!({ "emailSubject": "New" });
    assert_eq!(with_edit(&client, "PUT", &path, &edit, &change).await.0, 200);
    client.advance(50).await;
    assert_eq!(client.call("PUT", &path, change.clone()).await.0, 400, "it was used 50 seconds ago");
    let longer = json!({ "lockDurationInSeconds": "3600" });
    assert_eq!(with_edit(&client, "PUT", &lock, &edit, &longer).await.0, 200);
    assert_eq!(client.get(&lock).await["lockDurationInSeconds"], "1800");
    client.advance(1_800).await;
    assert_eq!(client.call("PUT", &path, change).await.0, 200);
}

#[tokio::test]
async fn what_was_changed_under_a_lock_is_kept_or_taken_back() {
    let client = Client::start().await;
    let path = format!("/envelopes/{}", draft(&client).await);
    for (query, subject) in [("?save_changes=false", "Contract"), ("", "New")] {
        let made = client.call("POST", &format!("{path}/lock"), json!({})).await.1;
        let edit = json!({ "LockToken": made["lockToken"] }).to_string();
        let change = json!({ "emailSubject": "New" });
        assert_eq!(with_edit(&client, "PUT", &path, &edit, &change).await.0, 200);
        let unlock = format!("{path}/lock{query}");
        assert_eq!(with_edit(&client, "DELETE", &unlock, &edit, &json!({})).await.0, 200);
        assert_eq!(client.get(&path).await["emailSubject"], subject, "{query}");
    }
}

#[tokio::test]
async fn a_schedule_that_comes_back_with_its_draft_is_kept_though_its_time_has_passed() {
    let client = Client::start().await;
    let mut scheduled = definition(&[signer("1", "Ada", "/sn1/")]);
    scheduled["workflow"] = json!({ "scheduledSending": { "rules": [{ "delay": "00:10:00" }] } });
    for is_binned in [false, true] {
        let id = client.create(scheduled.clone()).await;
        let path = format!("/envelopes/{id}");
        let lock = json!({ "lockDurationInSeconds": "1800" });
        let made = client.call("POST", &format!("{path}/lock"), lock).await.1;
        let edit = json!({ "LockToken": made["lockToken"] }).to_string();
        let (method, at, body) = if is_binned {
            ("PUT", "/folders/recyclebin".to_owned(), json!({ "envelopeIds": [id] }))
        } else {
            ("DELETE", format!("{path}/workflow/scheduledSending"), json!({}))
        };
        assert_eq!(with_edit(&client, method, &at, &edit, &body).await.0, 200);
        client.advance(700).await;
        assert_eq!(client.get(&path).await["status"], "created");
        let unlock = format!("{path}/lock?save_changes=false");
        assert_eq!(with_edit(&client, "DELETE", &unlock, &edit, &json!({})).await.0, 200);
        client.advance(1).await;
        assert_eq!(client.get(&path).await["status"], "sent", "{at}");
    }
}

/// A call by the first user, as the server hands it on.
fn post(below: &str, body: &Value, now: Timestamp) -> Call {
    let path = format!("/restapi/v2.1/accounts/{}{below}", directory::ACCOUNT);
    Call {
        number: 1,
        method: Method::POST,
        segments: path.split('/').skip(1).map(str::to_owned).collect(),
        path,
        query: Vec::new(),
        headers: HeaderMap::new(),
        body: body.to_string().into(),
        account: Some(directory::ACCOUNT.to_owned()),
        user: Some(directory::USER.to_owned()),
        now,
        origin: String::new(),
    }
}

#[test]
fn a_lock_that_has_run_out_is_forgotten_in_time() {
    let now = Timestamp::UNIX_EPOCH;
    let setup = Setup {
        seed: 0,
        faults: Vec::new(),
        public_keys: [Vec::new(), Vec::new()],
        connect_hmac_key: String::new(),
        origin: String::new(),
    };
    let mut world = World::new(Arc::new(setup), now);
    let lock = |world: &mut World, now: Timestamp| {
        let made = route(world, &post("/envelopes", &json!({ "emailSubject": "x" }), now)).unwrap();
        let made: Value = serde_json::from_slice(&made.body).unwrap();
        let below = format!("/envelopes/{}/lock", made["envelopeId"].as_str().unwrap());
        assert_eq!(route(world, &post(&below, &json!({}), now)).unwrap().status, StatusCode::CREATED);
    };
    lock(&mut world, now);
    let later = now + SignedDuration::from_mins(59);
    lock(&mut world, later);
    assert_eq!(world.envelopes.locks.len(), 2);
    tick(&mut world, later + SignedDuration::from_mins(2));
    assert_eq!(world.envelopes.locks.len(), 1, "the one that lasts is kept");
}

#[tokio::test]
async fn custom_fields_are_deleted_by_their_id() {
    let client = Client::start().await;
    let path = format!("/envelopes/{}/custom_fields", draft(&client).await);
    let before = client.get(&path).await;
    let field = before["textCustomFields"][0].clone();
    let named = json!({ "textCustomFields": [{ "fieldId": field["fieldId"] }] });
    let (status, gone) = client.call("DELETE", &path, named.clone()).await;
    assert_eq!((status, &gone["textCustomFields"]), (200, &json!([field])), "{gone}");
    let left = client.get(&path).await;
    assert_eq!(left["textCustomFields"], json!([before["textCustomFields"][1]]));
    assert_eq!(client.call("DELETE", &path, named).await.0, 400, "it is gone");
    assert_eq!(client.get(&path).await, left);
}

#[tokio::test]
async fn custom_fields_are_changed_by_their_id_and_keep_names_of_their_own() {
    let client = Client::start().await;
    let path = format!("/envelopes/{}/custom_fields", draft(&client).await);
    let before = client.get(&path).await;
    let id = before["textCustomFields"][0]["fieldId"].clone();
    for wrong in [
        json!({ "fieldId": "1", "name": "a", "value": "2" }),
        json!({ "name": "a", "value": "2" }),
        json!({ "fieldId": id, "name": "b", "value": "2" }),
    ] {
        let (status, body) = client.call("PUT", &path, json!({ "textCustomFields": [wrong.clone()] })).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")), "{wrong}");
        assert_eq!(client.get(&path).await, before, "{wrong}");
    }
    let change = json!({ "textCustomFields": [{ "fieldId": id, "name": "c", "value": "2" }] });
    let (status, changed) = client.call("PUT", &path, change).await;
    assert_eq!((status, &changed["textCustomFields"][0]["name"]), (200, &json!("c")), "{changed}");
    assert_eq!(client.get(&path).await["textCustomFields"][0]["value"], "2");
}

#[tokio::test]
async fn two_custom_fields_of_one_name_in_one_body_are_refused() {
    let client = Client::start().await;
    let path = format!("/envelopes/{}", draft(&client).await);
    let before = client.get(&format!("{path}/custom_fields")).await;
    let field = |value: &str| json!({ "name": "c", "value": value });
    for list in ["textCustomFields", "listCustomFields"] {
        let twice = json!({ list: [field("1"), field("2")] });
        let inside = json!({ "emailSubject": "C", "name": "T", "customFields": twice });
        for (method, path, body) in [
            ("POST", format!("{path}/custom_fields"), twice),
            ("PUT", path.clone(), json!({ "customFields": inside["customFields"] })),
            ("POST", "/envelopes".to_owned(), inside.clone()),
            ("POST", "/templates".to_owned(), inside.clone()),
        ] {
            let (status, body) = client.call(method, &path, body).await;
            let code = json!("INVALID_REQUEST_PARAMETER");
            assert_eq!((status, &body["errorCode"]), (400, &code), "{method} {path}: {body}");
        }
    }
    assert_eq!(client.get(&format!("{path}/custom_fields")).await, before);
    // One that is there is replaced, as before.
    let known = json!({ "textCustomFields": [{ "name": "a", "value": "new" }] });
    assert_eq!(client.call("POST", &format!("{path}/custom_fields"), known).await.0, 201);
}

#[tokio::test]
async fn tabs_of_a_recipient_that_is_not_there_are_not_deleted() {
    let client = Client::start().await;
    let id = draft(&client).await;
    let path = format!("/envelopes/{id}/recipients/9/tabs");
    let (status, body) = client.call("DELETE", &path, json!({ "textTabs": [{ "tabId": "1" }] })).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_RECIPIENT_ID")));
}

#[tokio::test]
async fn tabs_are_deleted_until_their_recipient_has_finished() {
    let client = Client::start().await;
    let id = draft(&client).await;
    let path = format!("/envelopes/{id}/recipients/1/tabs");
    let before = client.get(&path).await;
    let named = json!({ "textTabs": [{ "tabId": before["textTabs"][0]["tabId"] }] });
    let (status, gone) = client.call("DELETE", &path, named.clone()).await;
    assert_eq!((status, &gone["textTabs"]), (200, &before["textTabs"]), "{gone}");
    let left = client.get(&path).await;
    assert!(left["textTabs"].as_array().is_none_or(Vec::is_empty), "{left}");
    assert_eq!(left["signHereTabs"], before["signHereTabs"]);
    let (status, body) = client.call("DELETE", &path, named).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_TAB_ID")));
    let (status, body) = client.call("PUT", &format!("/envelopes/{id}"), json!({ "status": "sent" })).await;
    assert_eq!(status, 200, "{body}");
    let locked =
        json!({ "textTabs": [{ "anchorString": "/sn1/", "templateLocked": "true", "required": "false" }] });
    assert_eq!(client.call("POST", &path, locked.clone()).await.0, 201);
    let of = |tabs: &Value, list: &str| json!({ list: [{ "tabId": tabs[list][0]["tabId"] }] });
    let tabs = client.get(&path).await;
    let (status, body) = client.call("DELETE", &path, of(&tabs, "textTabs")).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_TAB_OPERATION")), "{body}");
    let (status, gone) = client.call("DELETE", &path, of(&tabs, "signHereTabs")).await;
    assert_eq!((status, &gone["signHereTabs"]), (200, &tabs["signHereTabs"]), "{gone}");
    let more = json!({ "signHereTabs": [{ "anchorString": "/sn1/" }] });
    assert_eq!(client.call("POST", &path, more).await.0, 201);
    client.act(&id, "1", "sign", json!({})).await;
    let tabs = client.get(&path).await;
    let (status, body) = client.call("DELETE", &path, of(&tabs, "signHereTabs")).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("ENVELOPE_INVALID_STATUS")));
}
