//! Tabs that are added and changed at their own address.

use serde_json::{Value, json};

use super::testing::{Client, definition, document, signer};

/// What a call of the tabs of a new envelope's signer answers, and all that it has then.
async fn called(client: &Client, status: &str, method: &str, tabs: &Value) -> (u16, Value, Value) {
    let mut whole = definition(&[signer("1", "Ada", "/sn1/")]);
    whole["documents"] = json!([document("Sign here: /sn1/ and /sn2/ or /sn2/")]);
    whole["status"] = json!(status);
    let path = format!("/envelopes/{}/recipients/1/tabs", client.create(whole).await);
    let (status, answer) = client.call(method, &path, tabs.clone()).await;
    (status, answer, client.get(&path).await)
}

/// As the vendor's test of its SDK for Node places it.
fn place() -> Value {
    json!({ "documentId": "1", "pageNumber": "1", "recipientId": "1", "xPosition": "200", "yPosition": "200" })
}

#[tokio::test]
async fn an_addition_of_tabs_is_answered_with_those_alone() {
    let client = Client::start().await;
    for (status, hits) in [("created", 1), ("sent", 2)] {
        let tabs = json!({ "signHereTabs": [place()], "initialHereTabs": [{ "anchorString": "/sn2/" }] });
        let (code, added, all) = called(&client, status, "POST", &tabs).await;
        assert_eq!((code, added["signHereTabs"].as_array().unwrap().len()), (201, 1), "{added}");
        for (name, value) in place().as_object().unwrap() {
            assert_eq!(&added["signHereTabs"][0][name], value, "{name}: {added}");
        }
        // Every hit of an anchor is a tab of its own, once it is placed.
        assert_eq!(added["initialHereTabs"].as_array().unwrap().len(), hits, "{added}");
        assert_eq!(
            (added.get("textTabs"), all["signHereTabs"].as_array().unwrap().len()),
            (None, 2),
            "{all}"
        );
    }
}

#[tokio::test]
async fn a_change_of_tabs_is_answered_with_those_alone() {
    let client = Client::start().await;
    let mut whole = definition(&[signer("1", "Ada", "/sn1/")]);
    whole["recipients"]["signers"][0]["tabs"]["textTabs"] =
        json!([{ "anchorString": "/sn1/" }, { "anchorString": "/sn2/" }]);
    let path = format!("/envelopes/{}/recipients/1/tabs", client.create(whole).await);
    let second = client.get(&path).await["textTabs"][1]["tabId"].clone();
    let change = json!({ "textTabs": [{ "tabId": second, "value": "Engines" }] });
    let (status, changed) = client.call("PUT", &path, change).await;
    let texts = changed["textTabs"].as_array().unwrap();
    assert_eq!((status, texts.len(), changed.get("signHereTabs")), (200, 1, None), "{changed}");
    assert_eq!((&texts[0]["tabId"], &texts[0]["value"]), (&second, &json!("Engines")));
}

#[tokio::test]
async fn a_change_that_names_no_tab_adds_one() {
    let client = Client::start().await;
    let group = json!({ "groupName": "ink", "documentId": "1", "radios": [
        { "value": "blue", "pageNumber": "1", "xPosition": "100", "yPosition": "100" },
        { "value": "red", "pageNumber": "1", "xPosition": "130", "yPosition": "100" },
    ] });
    let tabs = json!({ "signHereTabs": [place()], "radioGroupTabs": [group] });
    for status in ["created", "sent"] {
        let (code, added, all) = called(&client, status, "PUT", &tabs).await;
        let sign = &added["signHereTabs"][0];
        assert_eq!(
            (code, &sign["documentId"], &sign["recipientId"]),
            (200, &json!("1"), &json!("1")),
            "{added}"
        );
        assert_eq!(added["radioGroupTabs"][0]["groupName"], "ink", "{added}");
        assert_eq!(all["signHereTabs"].as_array().unwrap().len(), 2, "{all}");
        assert_eq!(all["radioGroupTabs"], added["radioGroupTabs"], "{all}");
    }
    let unknown =
        json!({ "signHereTabs": [{ "tabId": "00000000-0000-4000-8000-000000000000", "pageNumber": "1" }] });
    let (status, body, all) = called(&client, "sent", "PUT", &unknown).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_TAB_ID")), "{body}");
    assert_eq!(all["signHereTabs"].as_array().unwrap().len(), 1, "{all}");
    // What is new is held to what an addition is.
    let beyond = json!({ "textTabs": [{ "value": "x", "documentId": "1", "pageNumber": "9" }] });
    let (status, body, _) = called(&client, "sent", "PUT", &beyond).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("TAB_PAGENUMBER_IS_NOT_IN_DOCUMENT")), "{body}");
}

#[tokio::test]
async fn a_tab_that_is_added_needs_no_page() {
    let client = Client::start().await;
    // As the vendor's test of its SDK for C# adds it, to what was sent.
    let tabs = json!({ "approveTabs": [{
        "status": "created", "anchorXOffset": "10", "anchorYOffset": "5", "tabLabel": "new approve tab",
    }] });
    for (method, expected) in [("POST", 201), ("PUT", 200)] {
        let (status, added, all) = called(&client, "sent", method, &tabs).await;
        assert_eq!(status, expected, "{added}");
        assert_eq!(added["approveTabs"][0]["tabLabel"], "new approve tab", "{added}");
        assert_eq!(all["approveTabs"], added["approveTabs"], "{all}");
    }
    // It is there and holds up nobody.
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    assert_eq!(client.call("POST", &format!("/envelopes/{id}/recipients/1/tabs"), tabs.clone()).await.0, 201);
    client.act(&id, "1", "sign", json!({})).await;
    assert_eq!(client.get(&format!("/envelopes/{id}")).await["status"], "completed");
    // A draft takes it, too, and is not sent with it.
    let mut draft = definition(&[signer("1", "Ada", "/sn1/")]);
    draft["status"] = json!("created");
    let path = format!("/envelopes/{}", client.create(draft).await);
    assert_eq!(client.call("POST", &format!("{path}/recipients/1/tabs"), tabs).await.0, 201);
    let (status, body) = client.call("PUT", &path, json!({ "status": "sent" })).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("TAB_PAGE_NUMBER_NOT_SPECIFIED")), "{body}");
}

#[tokio::test]
async fn tabs_that_are_added_or_changed_say_their_recipient_as_the_path_does() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let guid = client.guid(&id, "1").await;
    for named in ["1", guid.as_str()] {
        let path = format!("/envelopes/{id}/recipients/{named}/tabs");
        let (_, added) = client.call("POST", &path, json!({ "signHereTabs": [place()] })).await;
        let tab = &added["signHereTabs"][0];
        assert_eq!((&tab["recipientId"], &tab["recipientIdGuid"]), (&json!(named), &json!(guid)), "{added}");
        let (_, changed) = client.call("PUT", &path, added.clone()).await;
        assert_eq!(changed, added, "what was answered can be sent back");
        let (_, more) = client.call("PUT", &path, json!({ "signHereTabs": [place()] })).await;
        assert_eq!(more["signHereTabs"][0]["recipientId"], named, "{more}");
        let all = client.get(&path).await;
        let all = all["signHereTabs"].as_array().unwrap();
        assert!(all.iter().all(|tab| tab["recipientId"] == "1"), "{all:?}");
    }
    assert_eq!(client.get(&format!("/envelopes/{id}/recipients")).await["signers"][0]["recipientId"], "1");
}

#[tokio::test]
async fn a_field_of_an_extension_app_is_refused_and_says_so() {
    let client = Client::start().await;
    // A connected field, by some of the members that the SDKs give it.
    let connected =
        json!({ "extensionGroupId": "g", "extensionName": "Address check", "publisherName": "Ours" });
    let mut text = place();
    text["extensionData"] = connected.clone();
    let radio = json!({ "value": "blue", "pageNumber": "1", "xPosition": "100", "yPosition": "100" });
    let mut group = json!({ "groupName": "ink", "documentId": "1", "radios": [radio] });
    group["radios"][0]["extensionData"] = connected;
    for tabs in [json!({ "textTabs": [text] }), json!({ "radioGroupTabs": [group] })] {
        let mut whole = definition(&[signer("1", "Ada", "/sn1/")]);
        whole["recipients"]["signers"][0]["tabs"] = tabs.clone();
        assert_eq!(client.refusal(whole).await, "PLAN_ITEM_NOT_ENABLED", "{tabs}");
        let (status, body, _) = called(&client, "sent", "POST", &tabs).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("PLAN_ITEM_NOT_ENABLED")), "{body}");
        assert!(body["message"].as_str().unwrap().contains("extensionData"), "{body}");
    }
    // What says nothing is none.
    let mut plain = place();
    plain["extensionData"] = json!({ "extensionName": "", "connectionInstances": [] });
    let (status, body, _) = called(&client, "sent", "POST", &json!({ "textTabs": [plain] })).await;
    assert_eq!(status, 201, "{body}");
}

#[tokio::test]
async fn what_a_signer_would_have_to_do_and_cannot_here_is_refused() {
    let client = Client::start().await;
    for (list, switches, is_owed) in [
        ("drawTabs", json!({ "required": "true" }), true),
        ("drawTabs", json!({ "required": "false" }), false),
        ("signerAttachmentTabs", json!({}), true),
        ("signerAttachmentTabs", json!({ "optional": "false" }), true),
        ("signerAttachmentTabs", json!({ "optional": "true" }), false),
        ("viewTabs", json!({ "required": "true" }), true),
        ("viewTabs", json!({ "requiredRead": "true" }), true),
        ("viewTabs", json!({}), false),
    ] {
        let mut tab = place();
        tab.as_object_mut().unwrap().extend(switches.as_object().unwrap().clone());
        let tabs = json!({ list: [tab] });
        let mut whole = definition(&[signer("1", "Ada", "/sn1/")]);
        whole["recipients"]["signers"][0]["tabs"] = tabs.clone();
        let (status, body, all) = called(&client, "sent", "POST", &tabs).await;
        if is_owed {
            assert_eq!(client.refusal(whole).await, "PLAN_ITEM_NOT_ENABLED", "{tabs}");
            assert_eq!(
                (status, &body["errorCode"]),
                (400, &json!("PLAN_ITEM_NOT_ENABLED")),
                "{tabs}: {body}"
            );
            assert!(body["message"].as_str().unwrap().contains(list), "{body}");
            continue;
        }
        assert_eq!((status, &all[list]), (201, &body[list]), "{tabs}: {body}");
        let id = client.create(whole).await;
        // A change of it says no more than what it changes, or makes it one that is owed.
        let path = format!("/envelopes/{id}/recipients/1/tabs");
        let tab = client.get(&path).await[list][0]["tabId"].clone();
        let moved = json!({ list: [{ "tabId": tab, "xPosition": "210" }] });
        assert_eq!(client.call("PUT", &path, moved).await.0, 200, "{tabs}");
        let owed = json!({ list: [{ "tabId": tab, "required": "true", "optional": "false" }] });
        let (status, body) = client.call("PUT", &path, owed).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("PLAN_ITEM_NOT_ENABLED")), "{tabs}: {body}");
        client.act(&id, "1", "sign", json!({})).await;
        assert_eq!(client.get(&format!("/envelopes/{id}")).await["status"], "completed");
    }
}

#[tokio::test]
async fn a_tab_that_is_new_is_so_whatever_id_it_names() {
    let client = Client::start().await;
    let named = |id: &str| {
        let mut tab = place();
        tab["tabId"] = json!(id);
        json!({ "signerAttachmentTabs": [tab] })
    };
    let mut whole = definition(&[signer("1", "Ada", "/sn1/")]);
    whole["recipients"]["signers"][0]["tabs"] = named("t1");
    assert_eq!(client.refusal(whole.clone()).await, "PLAN_ITEM_NOT_ENABLED");
    let role = json!({ "recipientId": "1", "roleName": "Client", "tabs": named("t1") });
    let template = json!({ "name": "T", "emailSubject": "T", "documents": [document("One page")], "recipients": { "signers": [role] } });
    let (status, body) = client.call("POST", "/templates", template).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("PLAN_ITEM_NOT_ENABLED")), "{body}");

    // One that is there, and one that is not.
    whole["recipients"]["signers"][0]["tabs"]["signerAttachmentTabs"][0]["optional"] = json!("true");
    let tabs = format!("/envelopes/{}/recipients/1/tabs", client.create(whole).await);
    let known = client.get(&tabs).await["signerAttachmentTabs"][0]["tabId"].as_str().unwrap().to_owned();
    for id in [known.as_str(), "t1"] {
        let (status, body) = client.call("POST", &tabs, named(id)).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("PLAN_ITEM_NOT_ENABLED")), "{id}: {body}");
    }
    assert_eq!(client.call("PUT", &tabs, named(&known)).await.0, 200, "it says nothing of what is owed");
    assert_eq!(client.get(&tabs).await["signerAttachmentTabs"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_locale_of_a_field_is_kept_with_its_long_form_of_currencies() {
    let client = Client::start().await;
    let locale = json!({ "cultureName": "en-US", "currencyCode": "usd", "useLongCurrencyFormat": "true" });
    let mut amount = place();
    amount["localePolicy"] = locale.clone();
    let (status, added, _) = called(&client, "sent", "POST", &json!({ "numericalTabs": [amount] })).await;
    assert_eq!((status, &added["numericalTabs"][0]["localePolicy"]), (201, &locale), "{added}");
}
