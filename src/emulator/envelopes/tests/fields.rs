//! What a signer fills in, tab by tab: numbers, choices, and what the vendor fills in by itself.

use serde_json::{Value, json};

use super::testing::{Client, definition, document, view_of};
use crate::emulator::pdf::read::{Matching, read as read_pdf};

pub(super) fn at(y: u32, mut tab: Value) -> Value {
    for (name, value) in [("documentId", "1"), ("pageNumber", "1"), ("xPosition", "50")] {
        tab[name] = json!(value);
    }
    tab["yPosition"] = json!(y.to_string());
    tab
}

/// As the vendor's sample of template values writes it, but that an answer is required.
fn colours() -> Value {
    let radio = |value: &str, x: u32| json!({ "pageNumber": "1", "value": value, "selected": "false", "xPosition": x, "yPosition": 300, "required": "false" });
    json!({ "documentId": "1", "groupName": "radio1", "requireAll": "true", "radios": [radio("white", 74), radio("red", 94)] })
}

fn sizes(selected: &str) -> Value {
    let item = |value: &str| json!({ "text": value.to_uppercase(), "value": value, "selected": (value == selected).to_string() });
    at(400, json!({ "tabLabel": "size", "listItems": [item("small"), item("large")] }))
}

pub(super) fn ada(tabs: &Value) -> Value {
    json!({
        "recipientId": "1", "name": "Ada Mary King", "email": "ada@example.com", "clientUserId": "client-1", "tabs": tabs,
    })
}

pub(super) fn ada_view() -> Value {
    let mut view = view_of("1", "Ada");
    view["userName"] = json!("Ada Mary King");
    view
}

/// The name of the page's field for a group of radios.
fn radio_name(page: &str) -> String {
    let name = page.split("type=\"radio\" name=\"").nth(1).expect("the page offers radios");
    name.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_signer_fills_numbers_and_choices_and_is_held_to_the_required_ones() {
    let client = Client::start().await;
    let tabs = json!({
        "numericalTabs": [at(200, json!({ "tabLabel": "amount", "validationType": "Number" }))],
        "radioGroupTabs": [colours()],
        "listTabs": [sizes("")],
    });
    let id = client.create(definition(&[ada(&tabs)])).await;
    let session = client.browse(&client.view(&id, ada_view()).await.unwrap()).await.1;
    let page = client.browse(&session).await.2;
    assert!(page.contains("radio1") && page.contains("LARGE"), "{page}");
    let path = format!("/envelopes/{id}/recipients/1/tabs");
    let read = client.get(&path).await;
    let name = |list: &str| format!("tab-{}", read[list][0]["tabId"].as_str().unwrap());
    let names = [name("listTabs"), name("numericalTabs"), radio_name(&page)];
    let send = async |values: [&str; 3]| {
        let mut form = vec![("action", "sign"), ("name", "Ada Mary King")];
        let fields = names.iter().map(String::as_str).zip(values);
        form.extend(fields.filter(|(_, value)| !value.is_empty()));
        client.post(&session, &form).await.0
    };
    assert_eq!(send(["", "12", "red"]).await, 422, "a list is required");
    assert_eq!(send(["huge", "12", "red"]).await, 422, "a list has its items only");
    assert_eq!(send(["small", "12", "green"]).await, 422, "a group has its radios only");
    assert_eq!(send(["small", "twelve", "red"]).await, 422, "a number has digits");
    assert_eq!(client.get(&format!("/envelopes/{id}")).await["status"], "delivered");
    assert_eq!(send(["small", "12", "red"]).await, 302);

    let read = client.get(&path).await;
    assert_eq!(read["numericalTabs"][0]["value"], "12");
    let radios = &read["radioGroupTabs"][0]["radios"];
    assert_eq!((&radios[0]["selected"], &radios[1]["selected"]), (&json!("false"), &json!("true")));
    assert_eq!(read["listTabs"][0]["value"], "small");
    let data = client.get(&format!("/envelopes/{id}/form_data")).await;
    let data = data["formData"].as_array().unwrap();
    assert!(data.iter().any(|one| one["name"] == "radio1" && one["value"] == "red"), "{data:?}");
}

#[tokio::test]
async fn form_data_tells_what_was_sent_and_filled_in_and_when() {
    let client = Client::start().await;
    let tabs = json!({
        "textTabs": [at(100, json!({ "tabLabel": "city", "value": "Paris" }))],
        "numericalTabs": [at(200, json!({ "tabLabel": "amount", "required": "false" }))],
        "listTabs": [sizes("large")],
        "fullNameTabs": [at(300, json!({ "tabLabel": "who" }))],
    });
    let mut bob = ada(&json!({ "signHereTabs": [at(500, json!({}))] }));
    for (name, value) in
        [("recipientId", "2"), ("routingOrder", "2"), ("name", "Bob"), ("clientUserId", "client-2")]
    {
        bob[name] = json!(value);
    }
    let id = client.create(definition(&[ada(&tabs), bob])).await;
    let path = format!("/envelopes/{id}/form_data");
    let times = |row: &Value| {
        ["SentTime", "DeliveredTime", "SignedTime", "DeclinedTime"].map(|name| row.get(name).is_some())
    };
    let data = client.get(&path).await;
    let rows = &data["recipientFormData"];
    assert_eq!((times(&rows[0]), times(&rows[1])), ([true, false, false, false], [false; 4]));
    let prefill = json!({
        "formData": [], "senderEmail": "system@countersign.example", "senderName": "Sofia Sender",
        "senderUserId": client.emulator.ready.user_id,
    });
    assert_eq!(data["prefillFormData"], prefill);
    client
        .act(&id, "1", "sign", json!({ "fields": { "city": "Rome", "amount": "12.5", "size": "small" } }))
        .await;
    client.act(&id, "2", "decline", json!({})).await;
    let data = client.get(&path).await;
    let rows = &data["recipientFormData"];
    assert_eq!((times(&rows[0]), times(&rows[1])), ([true, true, true, false], [true, true, false, true]));
    let item = |name: &str| {
        let all = rows[0]["formData"].as_array().unwrap();
        all.iter().find(|item| item["name"] == name).unwrap().clone()
    };
    assert_eq!(item("city"), json!({ "name": "city", "value": "Rome", "originalValue": "Paris" }));
    let amount = json!({ "name": "amount", "value": "12.5", "originalValue": "", "numericalValue": "12.5" });
    assert_eq!(item("amount"), amount);
    let size =
        json!({ "name": "size", "value": "small", "originalValue": "large", "listSelectedValue": "small" });
    assert_eq!(item("size"), size);
    assert_eq!(item("who"), json!({ "name": "who", "value": "Ada Mary King" }), "nobody fills it in");
}

#[tokio::test]
async fn a_required_group_or_number_keeps_a_signer_from_finishing() {
    let client = Client::start().await;
    for tabs in [
        json!({ "radioGroupTabs": [colours()] }),
        json!({ "numericalTabs": [at(200, json!({ "tabLabel": "amount" }))] }),
    ] {
        let id = client.create(definition(&[ada(&tabs)])).await;
        let session = client.browse(&client.view(&id, ada_view()).await.unwrap()).await.1;
        let form = [("action", "sign"), ("name", "Ada Mary King")];
        assert_eq!(client.post(&session, &form).await.0, 422, "{tabs}");
    }
}

#[tokio::test]
async fn a_list_begins_with_its_selected_item_and_takes_its_items_alone() {
    let client = Client::start().await;
    let id = client.create(definition(&[ada(&json!({ "listTabs": [sizes("large")] }))])).await;
    let path = format!("/envelopes/{id}/recipients/1/tabs");
    let list = client.get(&path).await["listTabs"][0].clone();
    assert_eq!(list["value"], "large");
    let put = async |value: &str| {
        let change = json!({ "listTabs": [{ "tabId": list["tabId"], "value": value }] });
        client.call("PUT", &path, change).await.0
    };
    assert_eq!(put("nope").await, 400);
    assert_eq!(put("small").await, 200);
    assert_eq!(client.get(&path).await["listTabs"][0]["value"], "small");
}

#[tokio::test]
async fn a_group_is_answered_ahead_by_its_radios() {
    let client = Client::start().await;
    let id = client.create(definition(&[ada(&json!({ "radioGroupTabs": [colours()] }))])).await;
    let path = format!("/envelopes/{id}/recipients/1/tabs");
    let put = async |value: &str| {
        let radios = json!([{ "value": value, "selected": "true" }]);
        let change = json!({ "radioGroupTabs": [{ "groupName": "radio1", "radios": radios }] });
        client.call("PUT", &path, change).await.0
    };
    assert_eq!(put("white").await, 200);
    assert_eq!(put("green").await, 400);
    let group = client.get(&path).await["radioGroupTabs"][0].clone();
    assert_eq!((&group["value"], &group["radios"][0]["selected"]), (&json!("white"), &json!("true")));
    assert_eq!(group["radios"].as_array().unwrap().len(), 2);
    let done = client.act(&id, "1", "sign", json!({ "fields": { "radio1": "red" } })).await;
    assert_eq!(done["event"], "signing_complete");
    assert_eq!(client.get(&path).await["radioGroupTabs"][0]["value"], "red");
}

#[tokio::test]
async fn names_and_the_envelopes_id_fill_in_by_themselves() {
    let client = Client::start().await;
    let plain = |y| json!([at(y, json!({ "tabLabel": format!("auto-{y}") }))]);
    let tabs =
        json!({ "firstNameTabs": plain(100), "lastNameTabs": plain(120), "envelopeIdTabs": plain(140) });
    let id = client.create(definition(&[ada(&tabs)])).await;
    client.act(&id, "1", "sign", json!({})).await;
    let read = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
    let value = |list: &str| read[list][0]["value"].as_str().unwrap().to_owned();
    assert_eq!((value("firstNameTabs").as_str(), value("lastNameTabs").as_str()), ("Ada", "King"));
    // Of the id only the drawing tells: the tab has no value (SPEC: envelopeId).
    assert_eq!(read["envelopeIdTabs"][0].get("value"), None);
    let signed = read_pdf(&client.bytes(&format!("/envelopes/{id}/documents/1")).await).unwrap();
    assert!(!signed.find(&id, Matching::default()).is_empty());
}

#[tokio::test]
async fn a_group_that_was_read_can_be_sent_back_with_another_choice() {
    let client = Client::start().await;
    let id = client.create(definition(&[ada(&json!({ "radioGroupTabs": [colours()] }))])).await;
    let path = format!("/envelopes/{id}/recipients/1/tabs");
    let mut tabs = client.get(&path).await;
    let ids = |tabs: &Value| {
        let radios = tabs["radioGroupTabs"][0]["radios"].as_array().unwrap().clone();
        radios.iter().map(|radio| radio["tabId"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = ids(&tabs);
    assert!(
        before[0] != before[1] && before.iter().all(|id| uuid::Uuid::parse_str(id).is_ok()),
        "{before:?}"
    );
    tabs["radioGroupTabs"][0]["radios"][1]["selected"] = json!("true");
    let (status, body) = client.call("PUT", &path, tabs).await;
    assert_eq!(status, 200, "{body}");
    let mut now = client.get(&path).await;
    assert_eq!((&now["radioGroupTabs"][0]["value"], ids(&now)), (&json!("red"), before.clone()));
    // A null is nothing said: by the value then.
    for (radio, selected) in [(0, "true"), (1, "false")] {
        now["radioGroupTabs"][0]["radios"][radio]["tabId"] = Value::Null;
        now["radioGroupTabs"][0]["radios"][radio]["selected"] = json!(selected);
    }
    let (status, body) = client.call("PUT", &path, now).await;
    assert_eq!(status, 200, "{body}");
    let now = client.get(&path).await;
    assert_eq!((&now["radioGroupTabs"][0]["value"], ids(&now)), (&json!("white"), before));
}

#[tokio::test]
async fn a_tab_without_a_label_is_labelled_by_its_type_and_signatures_say_where_they_stand() {
    let client = Client::start().await;
    let tabs = json!({
        "signHereTabs": [at(100, json!({})), at(120, json!({ "tabLabel": "mine" }))],
        "initialHereTabs": [at(140, json!({ "tabLabel": null }))],
        "textTabs": [at(160, json!({ "tabLabel": "", "required": "false" }))],
        "drawTabs": [at(180, json!({}))],
        "radioGroupTabs": [colours()],
    });
    let mut draft = definition(&[ada(&tabs)]);
    draft["status"] = json!("created");
    let id = client.create(draft).await;
    let path = format!("/envelopes/{id}/recipients/1/tabs");
    let read = client.get(&path).await;
    let labels =
        ["signHereTabs", "initialHereTabs", "textTabs"].map(|list| read[list][0]["tabLabel"].clone());
    assert_eq!(labels, [json!("signhere"), json!("initialhere"), json!("")]);
    assert_eq!(read["signHereTabs"][1]["tabLabel"], "mine");
    for list in ["drawTabs", "radioGroupTabs"] {
        assert!(read[list][0].get("tabLabel").is_none(), "{read}");
    }
    assert!(read["signHereTabs"][0].get("status").is_none(), "a draft waits for nobody");
    assert_eq!(client.call("PUT", &format!("/envelopes/{id}"), json!({ "status": "sent" })).await.0, 200);
    let statuses = async || {
        let read = client.get(&path).await;
        [&read["signHereTabs"][0], &read["signHereTabs"][1], &read["initialHereTabs"][0]]
            .map(|tab| tab["status"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(statuses().await, ["active"; 3]);
    client.act(&id, "1", "sign", json!({ "fields": { "radio1": "red" } })).await;
    assert_eq!(statuses().await, ["signed"; 3]);

    let id = client.create(definition(&[ada(&json!({ "signHereTabs": [at(100, json!({}))] }))])).await;
    client.act(&id, "1", "decline", json!({})).await;
    let read = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
    assert_eq!(read["signHereTabs"][0]["status"], "declined");
}

#[tokio::test]
async fn an_anchor_may_have_extra_blanks_unless_it_says_otherwise() {
    let client = Client::start().await;
    let with_anchor = |mut tab: Value| {
        tab["anchorString"] = json!("Signhere:");
        definition(&[ada(&json!({ "signHereTabs": [tab] }))])
    };
    client.create(with_anchor(json!({}))).await;
    client.create(with_anchor(json!({ "anchorAllowWhiteSpaceInCharacters": "TRUE" }))).await;
    let strict = with_anchor(json!({ "anchorAllowWhiteSpaceInCharacters": false }));
    assert_eq!(client.refusal(strict).await, "ANCHOR_TAB_STRING_NOT_FOUND");
}

#[tokio::test]
async fn a_field_takes_no_more_than_its_length_and_one_for_an_address_takes_an_address() {
    let client = Client::start().await;
    let tabs = json!({
        "textTabs": [at(100, json!({ "tabLabel": "code", "maxLength": 3 }))],
        "emailTabs": [at(120, json!({ "tabLabel": "contact" }))],
    });
    let id = client.create(definition(&[ada(&tabs)])).await;
    let read = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
    let name = |list: &str| format!("tab-{}", read[list][0]["tabId"].as_str().unwrap());
    let (code, contact) = (name("textTabs"), name("emailTabs"));
    let session = client.browse(&client.view(&id, ada_view()).await.unwrap()).await.1;
    let page = client.browse(&session).await.2;
    assert!(page.contains("maxlength=\"3\"") && page.contains("type=\"email\""), "{page}");
    let send = async |first: &str, second: &str| {
        let form = [
            ("action", "sign"),
            ("name", "Ada Mary King"),
            (code.as_str(), first),
            (contact.as_str(), second),
        ];
        client.post(&session, &form).await.0
    };
    assert_eq!(send("abcd", "ada@example.com").await, 422);
    assert_eq!(send("äöü", "not an address").await, 422);
    assert_eq!(send("äöü", "ada@example.com").await, 302);

    let id = client.create(definition(&[ada(&tabs)])).await;
    let done = client.act(&id, "1", "sign", json!({})).await;
    assert_eq!(done["event"], "signing_complete");
    let read = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
    assert_eq!(read["textTabs"][0]["value"], "Sam");
}

#[tokio::test]
async fn a_scripted_signer_leaves_no_required_field_empty() {
    let client = Client::start().await;
    let sign = async |items: Value| {
        let tabs = json!({ "listTabs": [at(100, json!({ "tabLabel": "sort", "listItems": items }))] });
        let id = client.create(definition(&[ada(&tabs)])).await;
        let (url, guid) = (&client.emulator.ready.control_url, client.guid(&id, "1").await);
        let asked = client.emulator.http.post(format!("{url}/_test/signers/{guid}/sign"));
        let status = asked.send().await.unwrap().status().as_u16();
        let read = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
        (status, read["listTabs"][0]["value"].as_str().unwrap().to_owned())
    };
    let nothing = json!({ "text": "", "value": "" });
    assert_eq!(sign(json!([nothing, { "text": "A", "value": "a" }])).await, (200, "a".to_owned()));
    assert_eq!(sign(json!([nothing])).await, (409, String::new()));
}

#[tokio::test]
async fn a_tab_is_answered_with_what_it_was_not_told() {
    let client = Client::start().await;
    let tabs = json!({
        "signHereTabs": [at(100, json!({})), at(120, json!({ "optional": "true", "scaleValue": "0.5" }))],
        "initialHereTabs": [at(140, json!({}))],
        "textTabs": [at(160, json!({})), at(180, json!({ "required": "false", "locked": true }))],
        "checkboxTabs": [at(200, json!({}))],
        "listTabs": [sizes("small")],
    });
    let id = client.create(definition(&[ada(&tabs)])).await;
    let template =
        json!({ "name": "T", "recipients": { "signers": [{ "recipientId": "1", "tabs": tabs }] } });
    let made = client.call("POST", "/templates", template).await.1;
    let path = format!("/templates/{}/recipients?include_tabs=true", made["templateId"].as_str().unwrap());
    for read in [
        client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await,
        client.get(&path).await["signers"][0]["tabs"].clone(),
    ] {
        for (pointer, value) in [
            ("/signHereTabs/0/name", "SignHere"),
            ("/signHereTabs/0/optional", "false"),
            ("/signHereTabs/0/scaleValue", "1"),
            ("/signHereTabs/0/stampType", "signature"),
            ("/signHereTabs/1/optional", "true"),
            ("/signHereTabs/1/scaleValue", "0.5"),
            ("/initialHereTabs/0/name", "InitialHere"),
            ("/textTabs/0/required", "true"),
            ("/textTabs/0/locked", "false"),
            ("/textTabs/0/concealValueOnDocument", "false"),
            ("/textTabs/0/disableAutoSize", "false"),
            ("/textTabs/1/required", "false"),
            ("/textTabs/1/locked", "true"),
            ("/checkboxTabs/0/required", "false"),
            ("/listTabs/0/required", "true"),
        ] {
            assert_eq!(read.pointer(pointer), Some(&json!(value)), "{pointer}: {read}");
        }
        for strange in ["/initialHereTabs/0/stampType", "/listTabs/0/disableAutoSize"] {
            assert_eq!(read.pointer(strange), None, "{strange}: {read}");
        }
    }
}

#[tokio::test]
async fn a_tab_tells_the_guid_of_its_recipient_whatever_is_sent() {
    let client = Client::start().await;
    let tabs = json!({
        "textTabs": [at(200, json!({ "tabLabel": "company", "recipientIdGuid": "made-up" }))],
        "radioGroupTabs": [colours()],
    });
    let id = client.create(definition(&[ada(&tabs)])).await;
    let guid = json!(client.guid(&id, "1").await);
    let path = format!("/envelopes/{id}/recipients/1/tabs");
    let read = client.get(&path).await;
    for list in ["textTabs", "radioGroupTabs"] {
        assert_eq!(read[list][0]["recipientIdGuid"], guid, "{read}");
    }
    let tab = json!({ "tabId": read["textTabs"][0]["tabId"], "recipientIdGuid": "made-up", "tooltip": "x" });
    let (status, changed) = client.call("PUT", &path, json!({ "textTabs": [tab] })).await;
    let tab = &changed["textTabs"][0];
    assert_eq!((status, &tab["recipientIdGuid"], &tab["tooltip"]), (200, &guid, &json!("x")), "{changed}");
}

#[tokio::test]
async fn every_hit_of_an_anchor_has_a_guid_of_its_own_and_can_be_named_by_it() {
    let client = Client::start().await;
    let mut whole = definition(&[ada(&json!({
        "signHereTabs": [{ "anchorString": "/sn1/" }],
        "textTabs": [{ "anchorString": "/sn1/", "tabLabel": "note", "required": "false" }],
    }))]);
    whole["documents"] = json!([document("/sn1/ and /sn1/ and /sn1/")]);
    let path = format!("/envelopes/{}/recipients/1/tabs", client.create(whole).await);
    let read = client.get(&path).await;
    let all = ["signHereTabs", "textTabs"].into_iter().flat_map(|list| read[list].as_array().unwrap());
    let mut ids: Vec<&str> = all.map(|tab| tab["tabId"].as_str().unwrap()).collect();
    assert!(ids.iter().all(|id| uuid::Uuid::parse_str(id).is_ok()), "{ids:?}");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6, "{ids:?}");
    let change = json!({ "textTabs": [{ "tabId": read["textTabs"][2]["tabId"], "value": "third" }] });
    assert_eq!(client.call("PUT", &path, change).await.0, 200);
    assert_eq!(client.get(&path).await["textTabs"][2]["value"], "third");
}

#[tokio::test]
async fn the_hits_of_a_changed_anchor_have_guids_of_their_own_too() {
    let client = Client::start().await;
    let mut whole = definition(&[ada(&json!({
        "signHereTabs": [{ "anchorString": "/sn1/" }],
        "textTabs": [{ "anchorString": "/x/", "tabLabel": "note", "required": "false" }],
    }))]);
    whole["documents"] = json!([document("/sn1/ then /x/ and /x/ and /x/ or /y/ and /y/ and /y/ and /y/")]);
    for changed in 0..3_usize {
        let path = format!("/envelopes/{}/recipients/1/tabs", client.create(whole.clone()).await);
        let read = client.get(&path).await;
        let id = &read["textTabs"][changed]["tabId"];
        let change = json!({ "textTabs": [{ "tabId": id, "anchorString": "/y/" }] });
        assert_eq!(client.call("PUT", &path, change).await.0, 200);
        let read = client.get(&path).await;
        let all = ["signHereTabs", "textTabs"].into_iter().flat_map(|list| read[list].as_array().unwrap());
        let mut ids: Vec<&str> = all.map(|tab| tab["tabId"].as_str().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 7, "{changed}: {ids:?}");
    }
}
