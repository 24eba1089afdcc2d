//! Fields that depend on one another: those that wait for an answer, and boxes that are ticked as a group.

use serde_json::{Value, json};

use super::{
    fields::{ada, ada_view, at},
    testing::{Client, definition},
};
use crate::emulator::pdf::read::{Matching, read as read_pdf};

/// Fields that wait for others: a box, one below it, one below that, and a place to sign.
fn conditional() -> Value {
    let tab = |y: u32, label: &str, parent: &str, value: &str| {
        at(y, json!({ "tabLabel": label, "conditionalParentLabel": parent, "conditionalParentValue": value }))
    };
    json!({
        "checkboxTabs": [at(100, json!({ "tabLabel": "company" }))],
        "textTabs": [tab(120, "name of it", "company", "on"), tab(140, "never", "nobody", "on")],
        "listTabs": [{
            "documentId": "1", "pageNumber": "1", "xPosition": "50", "yPosition": "160", "tabLabel": "which sort",
            "conditionalParentLabel": "name of it", "conditionalParentValue": "Engines",
            "listItems": [{ "text": "A", "value": "a" }, { "text": "B", "value": "b" }],
        }],
        "signHereTabs": [at(200, json!({})), tab(220, "seal", "company", "on")],
    })
}

#[tokio::test]
async fn a_field_whose_condition_is_not_met_keeps_nobody_from_signing() {
    let client = Client::start().await;
    let id = client.create(definition(&[ada(&conditional())])).await;
    let path = format!("/envelopes/{id}/recipients/1/tabs");
    let session = client.browse(&client.view(&id, ada_view()).await.unwrap()).await.1;
    let page = client.browse(&session).await.2;
    assert!(
        page.contains("company") && !page.contains("name of it") && !page.contains("which sort"),
        "{page}"
    );
    assert_eq!(client.post(&session, &[("action", "sign"), ("name", "Ada Mary King")]).await.0, 302);
    let read = client.get(&path).await;
    let statuses = [0_usize, 1].map(|place| read["signHereTabs"][place]["status"].clone());
    assert_eq!(statuses, ["signed", "active"], "{read}");
    let signed = client.bytes(&format!("/envelopes/{id}/documents/1")).await;
    assert_eq!(read_pdf(&signed).unwrap().find("Ada Mary King", Matching::default()).len(), 1);
}

#[tokio::test]
async fn an_answer_shows_the_fields_that_wait_for_it_and_those_are_required_then() {
    let client = Client::start().await;
    let id = client.create(definition(&[ada(&conditional())])).await;
    let read = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
    let name = |list: &str| format!("tab-{}", read[list][0]["tabId"].as_str().unwrap());
    let (company, of_it, sort) = (name("checkboxTabs"), name("textTabs"), name("listTabs"));
    let session = client.browse(&client.view(&id, ada_view()).await.unwrap()).await.1;
    let send = async |answers: &[(&str, &str)]| {
        let form = [[("action", "sign"), ("name", "Ada Mary King")].as_slice(), answers].concat();
        let (status, _, page) = client.post(&session, &form).await;
        (status, page)
    };
    let (status, page) = send(&[(company.as_str(), "X")]).await;
    assert!(status == 422 && page.contains("name of it") && !page.contains("which sort"), "{page}");
    let field = page.split('<').find(|one| one.contains(&format!("name=\"{of_it}\""))).unwrap();
    assert!(!field.contains(" required"), "whoever unticks the box goes on without it: {field}");
    let (status, page) = send(&[(company.as_str(), "X"), (of_it.as_str(), "")]).await;
    assert!(status == 422 && page.contains("Fill in every field"), "{page}");
    let (status, page) = send(&[(company.as_str(), "X"), (of_it.as_str(), "Engines")]).await;
    assert!(status == 422 && page.contains("which sort"), "{page}");
    // Without the tick none of it is there, whatever is sent.
    let (status, page) = send(&[(sort.as_str(), "nonsense")]).await;
    assert_eq!(status, 302, "{page}");

    let id = client.create(definition(&[ada(&conditional())])).await;
    let fields = json!({ "company": "X", "name of it": "Engines" });
    let done = client.act(&id, "1", "sign", json!({ "fields": fields })).await;
    assert_eq!(done["event"], "signing_complete");
    let read = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
    assert_eq!((&read["listTabs"][0]["value"], &read["textTabs"][1]["value"]), (&json!("a"), &json!("")));
}

#[tokio::test]
async fn what_an_answer_brings_into_sight_is_shown_before_it_is_signed() {
    let client = Client::start().await;
    let waiting = |y: u32, label: &str| {
        at(
            y,
            json!({ "tabLabel": label, "conditionalParentLabel": "parent", "conditionalParentValue": "on" }),
        )
    };
    let mut ticked = waiting(120, "ticked");
    ticked["selected"] = json!("true");
    let mut remark = waiting(140, "remark");
    remark["required"] = json!("false");
    let tabs =
        json!({ "checkboxTabs": [at(100, json!({ "tabLabel": "parent" })), ticked], "textTabs": [remark] });
    for leaves_it in [true, false] {
        let id = client.create(definition(&[ada(&tabs)])).await;
        let path = format!("/envelopes/{id}/recipients/1/tabs");
        let read = client.get(&path).await;
        let name = |place: usize| format!("tab-{}", read["checkboxTabs"][place]["tabId"].as_str().unwrap());
        let names = [name(0), name(1)];
        let session = client.browse(&client.view(&id, ada_view()).await.unwrap()).await.1;
        let mut form = vec![("action", "sign"), ("name", "Ada Mary King"), (names[0].as_str(), "X")];
        let (status, _, page) = client.post(&session, &form).await;
        assert!(status == 422 && page.contains("more fields") && page.contains("remark"), "{page}");
        assert_eq!(client.get(&path).await["checkboxTabs"][1]["selected"], "true", "nobody has seen it yet");
        if leaves_it {
            form.push((names[1].as_str(), "X"));
        }
        let (status, _, page) = client.post(&session, &form).await;
        assert_eq!(status, 302, "{page}");
        let selected = client.get(&path).await["checkboxTabs"][1]["selected"].clone();
        assert_eq!(selected, json!(leaves_it.to_string()));
    }
    let id = client.create(definition(&[ada(&tabs)])).await;
    let done = client.act(&id, "1", "sign", json!({ "fields": { "parent": "X" } })).await;
    assert_eq!(done["event"], "signing_complete", "who is scripted has no page to look at");
}

#[tokio::test]
async fn a_field_can_wait_for_any_text_in_another() {
    let client = Client::start().await;
    let mut particulars = at(120, json!({ "tabLabel": "particulars" }));
    particulars["conditionalParentLabel"] = json!("remark");
    particulars["conditionalParentValue"] = json!("##ANY##");
    let remark = at(100, json!({ "tabLabel": "remark", "required": "false" }));
    let tabs = json!({ "textTabs": [remark, particulars] });
    let id = client.create(definition(&[ada(&tabs)])).await;
    let read = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
    let remark = format!("tab-{}", read["textTabs"][0]["tabId"].as_str().unwrap());
    let session = client.browse(&client.view(&id, ada_view()).await.unwrap()).await.1;
    assert!(!client.browse(&session).await.2.contains("particulars"));
    let send = async |typed: &str| {
        let form = [("action", "sign"), ("name", "Ada Mary King"), (remark.as_str(), typed)];
        let (status, _, page) = client.post(&session, &form).await;
        (status, page)
    };
    let (status, page) = send("Engines").await;
    assert!(status == 422 && page.contains("particulars"), "{status}: {page}");
    let (status, page) = send("").await;
    assert_eq!(status, 302, "{page}");

    let id = client.create(definition(&[ada(&tabs)])).await;
    client.act(&id, "1", "sign", json!({ "fields": { "remark": "Engines" } })).await;
    let read = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
    assert_eq!(read["textTabs"][1]["value"], "Sample", "it is in sight, and required");
}

#[tokio::test]
async fn a_group_asks_for_so_many_of_its_boxes() {
    let client = Client::start().await;
    let tabs = |group: &Value| {
        let ticks = [100, 120, 140]
            .map(|y| at(y, json!({ "tabLabel": format!("box-{y}"), "tabGroupLabels": ["g"] })));
        let mut whole = json!({ "checkboxTabs": ticks, "tabGroups": [group] });
        whole["tabGroups"][0]["groupLabel"] = json!("g");
        definition(&[ada(&whole)])
    };
    for (group, taken) in [
        (
            json!({ "groupRule": "SelectAtLeast", "minimumRequired": "1", "maximumAllowed": "1" }),
            [422, 302, 302, 302],
        ),
        (
            json!({ "groupRule": "SelectAtMost", "minimumRequired": "3", "maximumAllowed": "2" }),
            [302, 302, 302, 422],
        ),
        (json!({ "groupRule": "SelectExactly", "minimumRequired": "2" }), [422, 422, 302, 422]),
        (
            json!({ "groupRule": "SelectARange", "minimumRequired": "1", "maximumAllowed": "2" }),
            [422, 302, 302, 422],
        ),
        (json!({ "minimumRequired": "9" }), [422, 422, 422, 302]),
    ] {
        for (ticked, status) in taken.into_iter().enumerate() {
            let id = client.create(tabs(&group)).await;
            let read = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
            let boxes = read["checkboxTabs"].as_array().unwrap().iter().take(ticked);
            let names: Vec<String> =
                boxes.map(|tab| format!("tab-{}", tab["tabId"].as_str().unwrap())).collect();
            let mut form = vec![("action", "sign"), ("name", "Ada Mary King")];
            form.extend(names.iter().map(|name| (name.as_str(), "X")));
            let session = client.browse(&client.view(&id, ada_view()).await.unwrap()).await.1;
            assert_eq!(client.post(&session, &form).await.0, status, "{group}, {ticked}");
        }
        let id = client.create(tabs(&group)).await;
        assert_eq!(client.act(&id, "1", "sign", json!({})).await["event"], "signing_complete", "{group}");
    }
}

#[tokio::test]
async fn a_group_allows_what_its_signer_cannot_leave_out() {
    let client = Client::start().await;
    let exactly_one = json!({ "groupRule": "SelectExactly", "minimumRequired": "1", "maximumAllowed": "1" });
    let initials = |y: u32| ("initialHereTabs", at(y, json!({ "optional": "true" })));
    let required = |y: u32| ("textTabs", at(y, json!({ "required": "true" })));
    let locked = |y: u32| ("textTabs", at(y, json!({ "value": "fixed", "locked": "true" })));
    let tick = |y: u32| ("checkboxTabs", at(y, json!({})));
    for (group, members, status) in [
        (exactly_one.clone(), [initials(100), initials(120)], 302),
        (exactly_one.clone(), [required(100), required(120)], 302),
        (json!({ "groupRule": "SelectAtMost", "maximumAllowed": "1" }), [locked(100), locked(120)], 302),
        (
            json!({ "groupRule": "SelectARange", "minimumRequired": "2", "maximumAllowed": "1" }),
            [tick(100), tick(120)],
            302,
        ),
        (exactly_one, [initials(100), tick(120)], 422),
    ] {
        let mut tabs = json!({ "tabGroups": [group] });
        tabs["tabGroups"][0]["groupLabel"] = json!("g");
        for (list, mut member) in members {
            member["tabGroupLabels"] = json!(["g"]);
            let mut all = tabs[list].as_array().cloned().unwrap_or_default();
            all.push(member);
            tabs[list] = json!(all);
        }
        let id = client.create(definition(&[ada(&tabs)])).await;
        let read = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
        let fields = ["checkboxTabs", "textTabs"].into_iter().filter_map(|list| read[list].as_array());
        let names: Vec<String> =
            fields.flatten().map(|tab| format!("tab-{}", tab["tabId"].as_str().unwrap())).collect();
        let mut form = vec![("action", "sign"), ("name", "Ada Mary King")];
        form.extend(names.iter().map(|name| (name.as_str(), "X")));
        let session = client.browse(&client.view(&id, ada_view()).await.unwrap()).await.1;
        assert_eq!(client.post(&session, &form).await.0, status, "{tabs}");
        let id = client.create(definition(&[ada(&tabs)])).await;
        assert_eq!(client.act(&id, "1", "sign", json!({})).await["event"], "signing_complete", "{tabs}");
    }
}

#[tokio::test]
async fn a_scripted_signer_fills_what_a_box_ticked_for_its_group_brings_into_sight() {
    let client = Client::start().await;
    let ticks =
        ["first", "second"].map(|label| at(100, json!({ "tabLabel": label, "tabGroupLabels": ["g"] })));
    let mut reason = at(140, json!({ "tabLabel": "reason", "required": "true" }));
    reason["conditionalParentLabel"] = json!("first");
    reason["conditionalParentValue"] = json!("on");
    let tabs = json!({
        "checkboxTabs": ticks, "textTabs": [reason],
        "tabGroups": [{ "groupLabel": "g", "groupRule": "SelectExactly", "minimumRequired": "1" }],
    });
    for (fields, filled) in [(json!({}), "Sample"), (json!({ "reason": "Engines" }), "Engines")] {
        let id = client.create(definition(&[ada(&tabs)])).await;
        let done = client.act(&id, "1", "sign", json!({ "fields": fields })).await;
        assert_eq!(done["event"], "signing_complete");
        let read = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
        assert_eq!(read["checkboxTabs"][0]["selected"], "true");
        assert_eq!(read["textTabs"][0]["value"], filled);
    }
}

#[tokio::test]
async fn a_scripted_signer_leaves_a_box_ticked_as_whoever_signs_on_the_page_does() {
    let client = Client::start().await;
    let tick =
        |y: u32, label: &str, selected: &str| at(y, json!({ "tabLabel": label, "selected": selected }));
    let (mut first, mut second) = (tick(120, "first", "false"), tick(140, "second", "true"));
    (first["tabGroupLabels"], second["tabGroupLabels"]) = (json!(["g"]), json!(["g"]));
    let of_it = json!({
        "tabLabel": "name of it", "conditionalParentLabel": "company", "conditionalParentValue": "on",
    });
    let tabs = json!({
        "checkboxTabs": [tick(100, "company", "true"), first, second], "textTabs": [at(160, of_it)],
        "tabGroups": [{ "groupLabel": "g", "groupRule": "SelectExactly", "minimumRequired": "1" }],
    });
    let shown = async |id: &str| {
        let read = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
        let ticks = [0, 1, 2].map(|place: usize| read["checkboxTabs"][place]["selected"].clone());
        (ticks, read["textTabs"][0]["value"].clone(), read)
    };
    // On the page: the boxes that are ticked on it, the answer, and for once a box more.
    let id = client.create(definition(&[ada(&tabs)])).await;
    let read = shown(&id).await.2;
    let name = |list: &str, place: usize| format!("tab-{}", read[list][place]["tabId"].as_str().unwrap());
    let boxes = [0, 1, 2].map(|place| name("checkboxTabs", place));
    let of_it = name("textTabs", 0);
    let session = client.browse(&client.view(&id, ada_view()).await.unwrap()).await.1;
    let mut form = vec![("action", "sign"), ("name", "Ada Mary King"), (of_it.as_str(), "Engines")];
    form.extend([(boxes[0].as_str(), "X"), (boxes[2].as_str(), "X"), (boxes[1].as_str(), "X")]);
    assert_eq!(client.post(&session, &form).await.0, 422, "two of a group of one");
    form.pop();
    assert_eq!(client.post(&session, &form).await.0, 302);
    let (ticks, value, _) = shown(&id).await;
    assert_eq!((&ticks, &value), (&["true", "false", "true"].map(|it| json!(it)), &json!("Engines")));

    let id = client.create(definition(&[ada(&tabs)])).await;
    let url =
        format!("{}/_test/signers/{}/sign", client.emulator.ready.control_url, client.guid(&id, "1").await);
    let body = json!({ "fields": { "first": "X", "name of it": "Engines" } });
    let refused = client.emulator.http.post(url).body(body.to_string()).send().await.unwrap();
    assert_eq!(refused.status(), 409, "two of a group of one");
    let id = client.create(definition(&[ada(&tabs)])).await;
    client.act(&id, "1", "sign", json!({ "fields": { "name of it": "Engines" } })).await;
    let scripted = shown(&id).await;
    assert_eq!((scripted.0, scripted.1), (ticks, value));
    let id = client.create(definition(&[ada(&tabs)])).await;
    let fields = json!({ "company": "", "first": "X", "second": "" });
    client.act(&id, "1", "sign", json!({ "fields": fields })).await;
    let (ticks, value, read) = shown(&id).await;
    assert_eq!(ticks, ["false", "true", "false"].map(|it| json!(it)), "what is given counts: {read}");
    assert_eq!(value, "", "{read}");
}
