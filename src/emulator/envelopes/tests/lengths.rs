//! How long texts may be, wherever they come.

use serde_json::{Value, json};

use super::testing::{Client, definition, signer};

/// A draft with a text in each place that has a limit.
fn whole() -> Value {
    let mut ada = signer("1", "Ada", "/sn1/");
    ada["tabs"] = json!({
        "formulaTabs": [{ "pageNumber": "1", "formula": "1" }],
        "listTabs": [{ "pageNumber": "1", "listItems": [{ "text": "a", "value": "a" }] }],
        "textTabs": [{ "pageNumber": "1", "tabLabel": "a" }],
    });
    ada["customFields"] = json!(["a"]);
    ada["firstName"] = json!("a");
    ada["note"] = json!("a");
    let guest = json!({ "recipientId": "2", "hostEmail": "a", "hostName": "a", "signerName": "a" });
    let mut draft = definition(&[ada]);
    draft["status"] = json!("created");
    draft["emailBlurb"] = json!("a");
    draft["recipients"]["inPersonSigners"] = json!([guest]);
    draft["documents"][0]["documentFields"] = json!([{ "name": "a", "value": "a" }]);
    draft["customFields"] = json!({
        "textCustomFields": [{ "name": "a", "value": "a" }],
        "listCustomFields": [{ "name": "b", "listItems": ["a"] }],
    });
    // Of templates.
    draft["name"] = json!("Whole");
    draft
}

const LIMITS: [(&str, usize); 20] = [
    ("/emailSubject", 100),
    ("/emailBlurb", 10_000),
    ("/customFields/textCustomFields/0/name", 100),
    ("/customFields/textCustomFields/0/value", 100),
    ("/customFields/listCustomFields/0/name", 100),
    ("/customFields/listCustomFields/0/listItems/0", 100),
    ("/documents/0/documentFields/0/name", 50),
    ("/documents/0/documentFields/0/value", 200),
    ("/recipients/inPersonSigners/0/hostEmail", 100),
    ("/recipients/inPersonSigners/0/hostName", 100),
    ("/recipients/inPersonSigners/0/signerName", 100),
    ("/recipients/signers/0/clientUserId", 100),
    ("/recipients/signers/0/customFields/0", 100),
    ("/recipients/signers/0/email", 100),
    ("/recipients/signers/0/firstName", 50),
    ("/recipients/signers/0/name", 100),
    ("/recipients/signers/0/note", 1_000),
    ("/recipients/signers/0/tabs/formulaTabs/0/formula", 2_000),
    ("/recipients/signers/0/tabs/listTabs/0/listItems/0/text", 100),
    ("/recipients/signers/0/tabs/textTabs/0/tabLabel", 500),
];

#[tokio::test]
async fn what_is_longer_than_the_vendor_says_is_refused_of_envelopes_and_templates() {
    let client = Client::start().await;
    for (place, most) in LIMITS {
        for (length, expected) in [(most, 201), (most + 1, 400)] {
            let mut draft = whole();
            *draft.pointer_mut(place).unwrap() = json!("ä".repeat(length));
            for path in ["/envelopes", "/templates"] {
                let (status, body) = client.call("POST", path, draft.clone()).await;
                assert_eq!(status, expected, "{path} {place} {length}: {body}");
                if expected == 400 {
                    assert_eq!(body["errorCode"], "INVALID_REQUEST_PARAMETER", "{path} {place}: {body}");
                    assert!(body["message"].as_str().unwrap().contains(&most.to_string()), "{body}");
                }
            }
        }
    }
}

#[tokio::test]
async fn all_items_of_a_list_together_have_a_limit() {
    let client = Client::start().await;
    for (count, expected) in [(20, 201), (21, 400)] {
        let items: Vec<String> = (0..count).map(|number| format!("{number:0>100}")).collect();
        let mut of_the_envelope = whole();
        of_the_envelope["customFields"]["listCustomFields"][0]["listItems"] = json!(items);
        let mut of_a_tab = whole();
        let choices: Vec<Value> = items.iter().map(|item| json!({ "text": item, "value": item })).collect();
        of_a_tab["recipients"]["signers"][0]["tabs"]["listTabs"][0]["listItems"] = json!(choices);
        for draft in [of_the_envelope, of_a_tab] {
            let (status, body) = client.call("POST", "/envelopes", draft).await;
            assert_eq!(status, expected, "{count}: {body}");
        }
    }
}

#[tokio::test]
async fn a_change_is_held_to_the_same_lengths() {
    let client = Client::start().await;
    let id = client.create(whole()).await;
    let path = format!("/envelopes/{id}");
    let noted = json!({ "signers": [{ "recipientId": "1", "note": "x".repeat(1_001) }] });
    let (status, body) = client.call("PUT", &format!("{path}/recipients"), noted).await;
    let code = &body["recipientUpdateResults"][0]["errorDetails"]["errorCode"];
    assert_eq!((status, code), (200, &json!("INVALID_REQUEST_PARAMETER")), "{body}");
    let tabs = client.get(&format!("{path}/recipients/1/tabs")).await;
    let labelled =
        json!({ "textTabs": [{ "tabId": tabs["textTabs"][0]["tabId"], "tabLabel": "x".repeat(501) }] });
    let field = json!({ "textCustomFields": [{ "name": "x".repeat(101), "value": "a" }] });
    for (method, below, change) in
        [("PUT", "/recipients/1/tabs", labelled), ("POST", "/custom_fields", field)]
    {
        let (status, body) = client.call(method, &format!("{path}{below}"), change).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")), "{below}");
    }
}
