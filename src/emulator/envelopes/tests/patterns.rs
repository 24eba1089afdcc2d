//! The form that a sender asks of what a signer writes: `validationPattern` and `validationMessage`.

use serde_json::{Value, json};

use super::testing::{Client, definition, signer, view_of};

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
