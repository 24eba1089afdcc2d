//! Templates: what they keep, show, and hand on to the envelopes that are made from them.

use serde_json::{Value, json};

use super::testing::{Client, document, refused_with};
use crate::emulator::{directory, pdf::read};

/// A template with everything that an envelope takes over.
pub(super) fn whole() -> Value {
    let tabs = json!({ "signHereTabs": [{ "anchorString": "/sn1/" }] });
    json!({
        "name": "Whole", "emailSubject": "Whole", "documents": [document("Sign: /sn1/")],
        "recipients": { "signers": [{ "recipientId": "1", "roleName": "Client", "tabs": tabs }] },
        "customFields": { "textCustomFields": [
            { "name": "origin", "value": "template" }, { "name": "kept", "value": "yes" },
        ] },
        "notification": { "expirations": { "expireEnabled": "true", "expireAfter": "7", "expireWarn": "1" } },
        "brandId": directory::BRAND, "enableWetSign": "false", "allowMarkup": true, "autoNavigation": "false",
    })
}

pub(super) async fn make(client: &Client, template: Value) -> String {
    let (status, made) = client.call("POST", "/templates", template).await;
    assert_eq!(status, 201, "{made}");
    made["templateId"].as_str().unwrap().to_owned()
}

/// The text fields of an answer: names and values.
pub(super) fn texts(fields: &Value) -> Vec<(String, String)> {
    let word = |field: &Value, name: &str| field[name].as_str().unwrap().to_owned();
    let all = fields["textCustomFields"].as_array().unwrap();
    all.iter().map(|field| (word(field, "name"), word(field, "value"))).collect()
}

pub(super) fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_template_is_answered_with_what_it_was_sent() {
    let client = Client::start().await;
    let id = make(&client, whole()).await;
    let read = client.get(&format!("/templates/{id}")).await;
    for (name, value) in [
        ("brandId", directory::BRAND),
        ("enableWetSign", "false"),
        ("allowMarkup", "true"),
        ("autoNavigation", "false"),
        ("allowReassign", "true"),
    ] {
        assert_eq!(read[name], value, "{name}");
    }
    assert_eq!(texts(&read["customFields"]), pairs(&[("origin", "template"), ("kept", "yes")]));
    assert_eq!(read["notification"]["expirations"]["expireAfter"], "7");
    let stock = client.get(&format!("/templates/{}", client.emulator.ready.template_id)).await;
    assert_eq!(stock["customFields"], json!({ "textCustomFields": [], "listCustomFields": [] }));
    assert_eq!(stock["notification"]["expirations"]["expireAfter"], "120");
    for (name, wrong) in [("brandId", "none"), ("allowMarkup", "perhaps")] {
        let mut template = whole();
        template[name] = json!(wrong);
        let (status, body) = client.call("POST", "/templates", template).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")), "{name}");
    }
}

#[tokio::test]
async fn a_template_without_a_name_is_called_by_what_there_is() {
    let client = Client::start().await;
    let mut template = whole();
    for (without, expected) in [
        ("none", "Whole"),
        ("name", "Contract.pdf"),
        ("documents", "Please sign"),
        ("emailSubject", "Template"),
    ] {
        template["emailSubject"] = json!("Please sign");
        template.as_object_mut().unwrap().remove(without);
        let (status, made) = client.call("POST", "/templates", template.clone()).await;
        assert_eq!((status, &made["name"]), (201, &json!(expected)), "without {without}: {made}");
        let read = client.get(&format!("/templates/{}", made["templateId"].as_str().unwrap())).await;
        assert_eq!(read["name"], expected);
    }
}

#[tokio::test]
async fn a_template_is_held_to_what_a_draft_is() {
    let client = Client::start().await;
    let set = |place: &str, value: Value| {
        let mut template = whole();
        *template.pointer_mut(place).unwrap() = value;
        template
    };
    let with = |name: &str, value: Value| {
        let mut template = whole();
        template["recipients"]["signers"][0][name] = value;
        template
    };
    let one = whole()["recipients"]["signers"][0].clone();
    for (template, code) in [
        (with("recipientId", json!("x y")), "INVALID_RECIPIENT_ID"),
        (with("recipientId", Value::Null), "INVALID_RECIPIENT_ID"),
        (with("routingOrder", json!("first")), "INVALID_REQUEST_PARAMETER"),
        (with("accessCode", json!("a<b")), "INVALID_REQUEST_PARAMETER"),
        (with("identityVerification", json!({ "workflowId": "none" })), "IDENTITY_WORKFLOW_INVALID_ID"),
        (with("signingGroupId", json!("1")), "PLAN_ITEM_NOT_ENABLED"),
        (set("/recipients/signers", json!([one, one])), "ENVELOPE_HAS_DUPLICATE_RECIPIENTS"),
        (set("/documents", json!([document("a"), document("b")])), "INVALID_REQUEST_PARAMETER"),
    ] {
        let (status, body) = client.call("POST", "/templates", template).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!(code)), "{body}");
    }
    // What only the vendor tells is passed over.
    let id = make(&client, with("completedCount", json!("7"))).await;
    let read = client.get(&format!("/templates/{id}/recipients")).await;
    assert!(read["signers"][0].get("completedCount").is_none(), "{read}");
}

#[tokio::test]
async fn what_a_template_locks_its_sender_does_not_change() {
    let client = Client::start().await;
    let text = |label: &str, locked: bool| json!({ "anchorString": "/sn1/", "tabLabel": label, "value": "a", "templateLocked": locked });
    let mut template = whole();
    template["recipients"]["signers"] = json!([{
        "recipientId": "1", "roleName": "Client", "note": "Its own", "templateLocked": true, "templateRequired": "true",
        "tabs": { "textTabs": [text("fixed", true), text("free", false)] },
    }]);
    let template = make(&client, template).await;
    let fill = |label: &str| json!({ "tabLabel": label, "value": "b" });
    let role = json!({
        "roleName": "Client", "name": "Ada", "email": "ada@example.com", "clientUserId": "c1", "routingOrder": "5",
        "accessCode": "1234", "tabs": { "textTabs": [fill("fixed"), fill("free"), fill("more")] },
    });
    let mut inline = role.clone();
    (inline["recipientId"], inline["note"]) = (json!("1"), json!("Another"));
    let composite = json!({
        "serverTemplates": [{ "sequence": "1", "templateId": template }],
        "inlineTemplates": [{ "sequence": "2", "recipients": { "signers": [inline] } }],
    });
    for definition in [
        json!({ "status": "sent", "templateId": template, "templateRoles": [role] }),
        json!({ "status": "sent", "emailSubject": "C", "compositeTemplates": [composite] }),
    ] {
        let path = format!("/envelopes/{}/recipients", client.create(definition).await);
        let ada = client.get(&format!("{path}?include_tabs=true")).await["signers"][0].clone();
        for (name, value) in [
            ("name", "Ada"),
            ("email", "ada@example.com"),
            ("clientUserId", "c1"),
            ("note", "Its own"),
            ("routingOrder", "1"),
        ] {
            assert_eq!(ada[name], value, "{name}: {ada}");
        }
        assert!(ada.get("accessCode").is_none(), "{ada}");
        let filled: Vec<(&str, &str)> = ada["tabs"]["textTabs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tab| (tab["tabLabel"].as_str().unwrap(), tab["value"].as_str().unwrap()))
            .collect();
        assert_eq!(filled, [("fixed", "a"), ("free", "b")]);
        stays_as_it_is(&client, &path).await;
    }
}

/// What the sender of a locked recipient, whose first text is locked, too, may change of it afterwards.
async fn stays_as_it_is(client: &Client, path: &str) {
    let read = client.get(path).await["signers"][0].clone();
    for (change, code) in [
        (json!({ "recipientId": "1", "note": "Another" }), Some("RECIPIENT_UPDATE_FAILED")),
        (read, None),
        (json!({ "recipientId": "1", "name": "Grace" }), None),
    ] {
        let (status, body) = client.call("PUT", path, json!({ "signers": [change] })).await;
        assert_eq!((status, refused_with(&body)), (200, code), "{body}");
    }
    let (status, body) = client.call("DELETE", &format!("{path}/1"), Value::Null).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("RECIPIENT_UPDATE_FAILED")));
    let path = format!("{path}/1/tabs");
    let tabs = client.get(&path).await;
    for (index, expected) in [(0, 400), (1, 200)] {
        let change = json!({ "textTabs": [{ "tabId": tabs["textTabs"][index]["tabId"], "value": "c" }] });
        let (status, body) = client.call("PUT", &path, change).await;
        assert_eq!(status, expected, "{body}");
        if expected == 400 {
            assert_eq!(body["errorCode"], "INVALID_TAB_OPERATION");
        }
    }
    let now = client.get(&path).await;
    assert_eq!(client.call("PUT", &path, now).await.0, 200, "what was read can be sent back");
}

#[tokio::test]
async fn a_tab_that_its_template_requires_is_filled_in_and_not_removed() {
    let client = Client::start().await;
    let text = |label: &str, kept: bool| json!({ "anchorString": "/sn1/", "tabLabel": label, "templateRequired": kept });
    let mut template = whole();
    template["recipients"]["signers"][0]["tabs"] =
        json!({ "textTabs": [text("kept", true), text("free", false)] });
    let template = make(&client, template).await;
    let ada = json!({ "roleName": "Client", "name": "Ada", "email": "ada@example.com" });
    let id = client.create(json!({ "status": "sent", "templateId": template, "templateRoles": [ada] })).await;
    let path = format!("/envelopes/{id}/recipients/1/tabs");
    let tabs = client.get(&path).await["textTabs"].clone();
    for (place, expected) in [(0_usize, 400), (1, 200)] {
        let named = json!({ "textTabs": [{ "tabId": tabs[place]["tabId"] }] });
        let (status, body) = client.call("DELETE", &path, named).await;
        assert_eq!(status, expected, "{body}");
        if expected == 400 {
            assert_eq!(body["errorCode"], "INVALID_TAB_OPERATION");
        }
    }
    let change = json!({ "textTabs": [{ "tabId": tabs[0]["tabId"], "value": "b" }] });
    assert_eq!(client.call("PUT", &path, change).await.0, 200);
    let left = client.get(&path).await["textTabs"].clone();
    assert_eq!((left.as_array().unwrap().len(), &left[0]["value"]), (1, &json!("b")));
}

#[tokio::test]
async fn an_envelope_takes_over_what_its_definition_does_not_say() {
    let client = Client::start().await;
    let template = make(&client, whole()).await;
    let ada = json!({ "recipientId": "1", "roleName": "Client", "name": "Ada", "email": "ada@example.com" });
    let by_role = json!({ "status": "sent", "templateId": template, "templateRoles": [ada] });
    let composite = json!({ "status": "sent", "emailSubject": "C", "compositeTemplates": [{
        "serverTemplates": [{ "sequence": "1", "templateId": template }],
        "inlineTemplates": [{ "sequence": "2", "recipients": { "signers": [ada] } }],
    }] });
    for definition in [&by_role, &composite] {
        let id = client.create(definition.clone()).await;
        let read = client.get(&format!("/envelopes/{id}?include=custom_fields")).await;
        assert_eq!(texts(&read["customFields"]), pairs(&[("origin", "template"), ("kept", "yes")]));
        assert_eq!((&read["enableWetSign"], &read["expireAfter"]), (&json!("false"), &json!("7")));
        assert!(read.get("brandId").is_none(), "a brand is not handed on: {read}");
    }
    let mut own = by_role;
    own["customFields"] = json!({ "textCustomFields": [{ "name": "origin", "value": "definition" }] });
    own["notification"] = json!({ "expirations": { "expireEnabled": "true", "expireAfter": "9" } });
    own["enableWetSign"] = json!("true");
    let id = client.create(own).await;
    let read = client.get(&format!("/envelopes/{id}?include=custom_fields")).await;
    assert_eq!(texts(&read["customFields"]), pairs(&[("kept", "yes"), ("origin", "definition")]));
    assert_eq!((&read["enableWetSign"], &read["expireAfter"]), (&json!("true"), &json!("9")));
    assert_eq!(read["autoNavigation"], "false", "what it does not say is the template's");
}

#[tokio::test]
async fn tabs_and_parts_of_a_list_are_shown_on_demand() {
    let client = Client::start().await;
    let id = make(&client, whole()).await;
    let path = format!("/templates/{id}");
    for (query, with_tabs) in [("", false), ("?include=documents", false), ("?include=documents,Tabs", true)]
    {
        let read = client.get(&format!("{path}{query}")).await;
        assert_eq!(read["recipients"]["signers"][0].get("tabs").is_some(), with_tabs, "{query}");
        assert_eq!(read["documents"].as_array().unwrap().len(), 1);
    }
    for (query, with_tabs) in [("", false), ("?include_tabs=false", false), ("?include_tabs=True", true)] {
        let read = client.get(&format!("{path}/recipients{query}")).await;
        assert_eq!(read["signers"][0].get("tabs").is_some(), with_tabs, "{query}");
    }
    for (query, shown) in [
        ("", [false; 4]),
        ("&include=recipients,documents", [true, true, false, false]),
        ("&include=custom_fields,notifications", [false, false, true, true]),
    ] {
        let rows = client.get(&format!("/templates?search_text=whole{query}")).await;
        let row = &rows["envelopeTemplates"][0];
        let there =
            ["recipients", "documents", "customFields", "notification"].map(|name| row.get(name).is_some());
        assert_eq!(there, shown, "{query}");
    }
}

#[tokio::test]
async fn a_tab_of_a_template_says_what_and_whose_it_is() {
    let client = Client::start().await;
    let ready = &client.emulator.ready;
    let made = make(&client, whole()).await;
    let mut ids = Vec::new();
    for template in [&made, &ready.template_id] {
        let path = format!("/templates/{template}/recipients?include_tabs=true");
        let read = client.get(&path).await;
        assert_eq!(client.get(&path).await, read, "an id stays");
        let signer = &read["signers"][0];
        let lists = signer["tabs"].as_object().unwrap();
        for (list, tab) in
            lists.iter().flat_map(|(list, tabs)| tabs.as_array().unwrap().iter().map(move |tab| (list, tab)))
        {
            assert_eq!(tab["recipientId"], signer["recipientId"], "{tab}");
            assert_eq!(tab["tabType"], json!(list.trim_end_matches("Tabs").to_lowercase()), "{tab}");
            let id = tab["tabId"].as_str().unwrap();
            assert!(uuid::Uuid::parse_str(id).is_ok(), "{tab}");
            ids.push(id.to_owned());
        }
        assert_eq!(lists["signHereTabs"][0]["anchorString"], "/sn1/");
    }
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert!(all > 2 && ids.len() == all, "no two are one: {ids:?}");
    // An envelope's tabs have ids of their own.
    let ada = json!({ "roleName": "Client", "name": "Ada", "email": "ada@example.com" });
    let id = client.create(json!({ "status": "sent", "templateId": made, "templateRoles": [ada] })).await;
    let tabs = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
    assert!(!ids.contains(&tabs["signHereTabs"][0]["tabId"].as_str().unwrap().to_owned()), "{tabs}");
}

#[tokio::test]
async fn an_envelope_without_custom_fields_shows_both_lists_empty() {
    let client = Client::start().await;
    let template = &client.emulator.ready.template_id;
    let ada = json!({ "roleName": "Client", "name": "Ada", "email": "ada@example.com" });
    let id = client.create(json!({ "status": "sent", "templateId": template, "templateRoles": [ada] })).await;
    let empty = json!({ "textCustomFields": [], "listCustomFields": [] });
    let read = client.get(&format!("/envelopes/{id}?include=custom_fields")).await;
    assert_eq!(read["customFields"], empty);
    assert_eq!(client.get(&format!("/envelopes/{id}/custom_fields")).await, empty);
}

#[tokio::test]
async fn a_draft_has_no_certificate() {
    let client = Client::start().await;
    let mut draft = super::testing::definition(&[super::testing::signer("1", "Ada", "/sn1/")]);
    draft["status"] = json!("created");
    let path = format!("/envelopes/{}/documents", client.create(draft).await);
    let (status, body) = client.call("GET", &format!("{path}/certificate"), Value::Null).await;
    assert_eq!((status, &body["errorCode"]), (404, &json!("DOCUMENT_DOES_NOT_EXIST")), "{body}");
    let bytes = client.bytes(&format!("{path}/archive")).await;
    assert_eq!(zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap().len(), 1);
    let whole = read::read(&client.bytes(&format!("{path}/combined?certificate=true")).await).unwrap();
    assert!(whole.find("Certificate", read::Matching::default()).is_empty());
}

#[tokio::test]
async fn an_archive_comes_without_the_certificate_if_asked() {
    let client = Client::start().await;
    let id = client.create(super::testing::definition(&[super::testing::signer("1", "Ada", "/sn1/")])).await;
    for (query, files) in [("", 2), ("?certificate=true", 2), ("?certificate=False", 1)] {
        let bytes = client.bytes(&format!("/envelopes/{id}/documents/archive{query}")).await;
        let archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
        assert_eq!(archive.len(), files, "{query}");
        assert_eq!(archive.file_names().any(|name| name == "Summary.pdf"), files == 2);
    }
}

#[tokio::test]
async fn the_documents_of_a_template_come_in_one_in_their_order() {
    let client = Client::start().await;
    let paper = |id: &str, order: &str, text: &str| {
        let mut paper = document(text);
        (paper["documentId"], paper["order"]) = (json!(id), json!(order));
        paper
    };
    let mut template = whole();
    template["documents"] = json!([paper("1", "2", "Sign: /sn1/"), paper("2", "1", "Terms")]);
    let path = format!("/templates/{}/documents", make(&client, template).await);
    let joined = read::read(&client.bytes(&format!("{path}/combined")).await).unwrap();
    let page_of = |text: &str| joined.find(text, read::Matching::default())[0].page;
    assert_eq!((joined.pages.len(), page_of("Terms"), page_of("/sn1/")), (2, 1, 2));
    let mut empty = whole();
    (empty["documents"], empty["recipients"]) = (json!([]), json!({}));
    let path = format!("/templates/{}/documents/combined", make(&client, empty).await);
    let (status, body) = client.call("GET", &path, Value::Null).await;
    assert_eq!((status, &body["errorCode"]), (404, &json!("DOCUMENT_DOES_NOT_EXIST")), "{body}");
}

/// Reads a member as the SDKs read one that they type as a boolean: any text is true.
fn read_as_boolean(shown: &mut Value, name: &str) {
    if let Some(text) = shown[name].as_str().map(str::to_owned) {
        shown[name] = json!(!text.is_empty());
    }
}

#[tokio::test]
async fn the_documents_of_a_template_are_shown_with_their_settings() {
    let client = Client::start().await;
    let copy = "authoritativeCopy";
    let settings = [
        ("display", "modal", "inline"),
        ("includeInDownload", "false", "true"),
        ("signerMustAcknowledge", "view", "no_interaction"),
        ("templateRequired", "true", "false"),
    ];
    let mut template = whole();
    (template["name"], template["documents"][0]["templateLocked"]) = (json!("Set"), json!("true"));
    template["documents"][0][copy] = json!("true");
    for (name, sent, _) in settings {
        template["documents"][0][name] = json!(sent);
    }
    let (set, plain) = (make(&client, template).await, make(&client, whole()).await);
    for (id, is_set) in [(&set, true), (&plain, false)] {
        let path = format!("/templates/{id}");
        let read = client.get(&path).await;
        let named = if is_set { "set" } else { "whole" };
        let listed = client.get(&format!("/templates?search_text={named}&include=documents")).await;
        let own = client.get(&format!("{path}/documents")).await;
        let shapes = [
            &read["documents"][0],
            &listed["envelopeTemplates"][0]["documents"][0],
            &own["templateDocuments"][0],
        ];
        for shown in shapes {
            assert_eq!(shown["name"], "Contract.pdf", "{shown}");
            for (name, sent, usual) in settings {
                assert_eq!(shown[name], if is_set { sent } else { usual }, "{name}: {shown}");
            }
            assert_eq!(shown.get("templateLocked").is_some(), is_set, "{shown}");
        }
        // The type of the first two has none, and that of the last has it as text.
        let copies = shapes.map(|shown| shown.get(copy).cloned());
        assert_eq!(copies, [None, None, Some(json!(is_set.to_string()))]);
        let mut typed = read.clone();
        read_as_boolean(&mut typed["documents"][0], copy);
        for back in [read.clone(), typed] {
            let (status, body) = client.call("PUT", &path, back).await;
            assert_eq!(status, 200, "{body}");
            assert_eq!(client.get(&path).await, read, "it can be sent back");
        }
        // Who says what it is, or what it is not, is understood.
        for said in [true, false] {
            let mut back = read.clone();
            back["documents"][0][copy] = json!(said);
            let (status, body) = client.call("PUT", &path, back).await;
            assert_eq!(status, if said == is_set { 200 } else { 400 }, "{body}");
        }
    }
}

#[tokio::test]
async fn the_recipients_of_a_template_stand_in_the_lists_of_an_envelopes() {
    let client = Client::start().await;
    let id = make(&client, whole()).await;
    let read = client.get(&format!("/templates/{id}/recipients")).await;
    let signer = &read["signers"][0];
    for (name, value) in [("routingOrder", "1"), ("recipientType", "signer"), ("roleName", "Client")] {
        assert_eq!(signer[name], value, "{name}: {signer}");
    }
    let ada = json!({ "roleName": "Client", "name": "Ada", "email": "ada@example.com" });
    let sent = client.create(json!({ "status": "sent", "templateId": id, "templateRoles": [ada] })).await;
    let of_envelope = client.get(&format!("/envelopes/{sent}/recipients")).await;
    for name in of_envelope.as_object().unwrap().keys().filter(|name| *name != "currentRoutingOrder") {
        assert!(read.get(name).is_some(), "{name}");
    }
}

#[tokio::test]
async fn parts_of_a_template_are_read_at_their_own_addresses() {
    let client = Client::start().await;
    let path = format!("/templates/{}", make(&client, whole()).await);
    let read = client.get(&format!("{path}?include=tabs")).await;
    assert_eq!(client.get(&format!("{path}/custom_fields")).await, read["customFields"]);
    assert_eq!(client.get(&format!("{path}/notification")).await, read["notification"]);
    let tabs = client.get(&format!("{path}/recipients/1/tabs")).await;
    assert_eq!(tabs, read["recipients"]["signers"][0]["tabs"]);
    assert_eq!(tabs["signHereTabs"][0]["anchorString"], "/sn1/");
    let (status, body) = client.call("GET", &format!("{path}/recipients/9/tabs"), Value::Null).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_RECIPIENT_ID")), "{body}");
}
