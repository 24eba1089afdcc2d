//! The form that a sender asks of what a signer writes: `validationPattern` and `validationMessage`.

use serde_json::{Value, json};

use super::{
    fields::{ada as with_tabs, ada_view, at},
    testing::{Client, definition, signer, view_of},
};

/// A signer with these texts alone.
fn ada(texts: &Value) -> Value {
    let mut ada = signer("1", "Ada", "/sn1/");
    ada["tabs"] = json!({ "textTabs": texts });
    ada
}

fn zip_code() -> Value {
    json!({
        "anchorString": "/sn1/", "tabLabel": "zip", "required": "false",
        "validationPattern": "^\\d{5}(-\\d{4})?$", "validationMessage": "Five digits, please.",
    })
}

#[tokio::test]
async fn a_signer_is_held_to_the_pattern_of_a_field_in_the_words_of_its_sender() {
    let client = Client::start().await;
    let mut wordless = zip_code();
    (wordless["tabLabel"], wordless["validationMessage"]) = (json!("other"), Value::Null);
    let id = client.create(definition(&[ada(&json!([zip_code(), wordless]))])).await;
    let read = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
    let name = |place: usize| format!("tab-{}", read["textTabs"][place]["tabId"].as_str().unwrap());
    let names = [name(0), name(1)];
    let session = client.browse(&client.view(&id, view_of("1", "Ada")).await.unwrap()).await.1;
    let send = async |values: [&str; 2]| {
        let mut form = vec![("action", "sign"), ("name", "Ada")];
        form.extend(names.iter().map(String::as_str).zip(values));
        let (status, _, page) = client.post(&session, &form).await;
        (status, page)
    };
    let (status, page) = send(["9810", ""]).await;
    assert!(status == 422 && page.contains("Five digits, please."), "{status} {page}");
    let (status, page) = send(["98101", "x"]).await;
    assert!(status == 422 && page.contains("form that its field asks for"), "{status} {page}");
    assert_ne!(client.get(&format!("/envelopes/{id}")).await["status"], "completed");
    // What may be left empty is left so.
    assert_eq!(send(["98101-1234", ""]).await.0, 302);
}

#[tokio::test]
async fn a_scripted_signer_gives_what_matches_and_none_is_made_up() {
    let client = Client::start().await;
    let mut required = zip_code();
    required["required"] = json!("true");
    let id = client.create(definition(&[ada(&json!([required]))])).await;
    let guid = client.guid(&id, "1").await;
    let url = format!("{}/_test/signers/{guid}/sign", client.emulator.ready.control_url);
    for (fields, expected) in
        [(json!({}), 409), (json!({ "zip": "nowhere" }), 409), (json!({ "zip": "98101" }), 200)]
    {
        let answer = client.emulator.http.post(&url).json(&json!({ "fields": fields })).send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert_eq!(status, expected, "{text}");
        assert!(status == 200 || text.contains("validationPattern"), "{text}");
    }
}

#[tokio::test]
async fn zip_codes_and_social_security_numbers_have_a_form_without_a_pattern() {
    let client = Client::start().await;
    let optional = |y: u32, more: Value| {
        at(y, json!({ "tabLabel": y.to_string(), "required": "false", "validationMessage": more }))
    };
    let mut own = optional(140, Value::Null);
    own["validationPattern"] = json!("^[A-Z]+$");
    let tabs = json!({
        "zipTabs": [optional(100, json!("A ZIP code, please.")), own],
        "ssnTabs": [optional(120, Value::Null)],
    });
    let id = client.create(definition(&[with_tabs(&tabs)])).await;
    let read = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
    let name = |list: &str, place: usize| format!("tab-{}", read[list][place]["tabId"].as_str().unwrap());
    let names = [name("zipTabs", 0), name("ssnTabs", 0), name("zipTabs", 1)];
    let session = client.browse(&client.view(&id, ada_view()).await.unwrap()).await.1;
    let send = async |values: [&str; 3]| {
        let mut form = vec![("action", "sign"), ("name", "Ada Mary King")];
        form.extend(names.iter().map(String::as_str).zip(values));
        let (status, _, page) = client.post(&session, &form).await;
        (status, page)
    };
    for zip in ["not a zip", "9810", "981011", "98101-12"] {
        let (status, page) = send([zip, "", ""]).await;
        assert!(status == 422 && page.contains("A ZIP code, please."), "{zip}: {status} {page}");
    }
    for ssn in ["x", "987-65-432", "9876-54-321"] {
        let (status, page) = send(["", ssn, ""]).await;
        assert!(status == 422 && page.contains("form that its field asks for"), "{ssn}: {status} {page}");
    }
    assert_eq!(send(["", "", "98101"]).await.0, 422, "its sender's own pattern counts");
    assert_eq!(send(["981011234", "987654321", "ABC"]).await.0, 302);
}

#[tokio::test]
async fn samples_are_what_their_fields_take() {
    let client = Client::start().await;
    let field = |y: u32, length: Value| at(y, json!({ "tabLabel": y.to_string(), "maxLength": length }));
    let tabs = json!({
        "zipTabs": [field(100, json!(5))],
        "ssnTabs": [field(120, Value::Null), field(130, json!(9))],
        "dateTabs": [field(140, Value::Null)],
        "phoneNumberTabs": [field(160, Value::Null)],
        "emailTabs": [field(180, Value::Null), field(190, json!(5))],
        "textTabs": [field(200, json!(3))],
    });
    let id = client.create(definition(&[with_tabs(&tabs)])).await;
    assert_eq!(client.act(&id, "1", "sign", json!({})).await["event"], "signing_complete");
    let read = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
    for (list, place, value) in [
        ("zipTabs", 0, "98101"),
        ("ssnTabs", 0, "987-65-4321"),
        ("ssnTabs", 1, "987654321"),
        ("dateTabs", 0, "01/31/2026"),
        ("phoneNumberTabs", 0, "+1 206 555 0100"),
        ("emailTabs", 0, "sample@example.com"),
        ("emailTabs", 1, "a@b.c"),
        ("textTabs", 0, "Sam"),
    ] {
        assert_eq!(read[list][place]["value"], value, "{list} {place}");
    }
}

#[tokio::test]
async fn a_field_without_room_for_a_sample_is_given_none() {
    let client = Client::start().await;
    for list in ["emailTabs", "ssnTabs", "zipTabs"] {
        let tabs = json!({ list: [at(100, json!({ "tabLabel": "narrow", "maxLength": 4 }))] });
        let id = client.create(definition(&[with_tabs(&tabs)])).await;
        let guid = client.guid(&id, "1").await;
        let url = format!("{}/_test/signers/{guid}/sign", client.emulator.ready.control_url);
        let refused = client.emulator.http.post(&url).body("{}").send().await.unwrap();
        assert_eq!(refused.status(), 409, "{list}");
        assert_eq!(client.get(&format!("/envelopes/{id}")).await["status"], "sent", "{list}");
    }
}
