//! The server and inline templates of one composite: which comes first, and whose documents count.

use serde_json::{Value, json};

use super::{
    composites::{person, signs_at},
    given::numbered,
    testing::Client,
};

/// A page of this name, the document of this id.
fn page(id: &str, name: &str) -> Value {
    numbered(id, "One page", &json!({ "name": name }))
}

/// Places to sign on the first document, and a text.
fn tabs(x: u32, text: &Value) -> Value {
    let mut tabs = signs_at("1", &[x]);
    tabs["textTabs"] = json!([text]);
    tabs
}

#[tokio::test]
async fn the_templates_of_a_composite_are_overlaid_in_one_sequence() {
    let client = Client::start().await;
    let text = json!({ "tabLabel": "company", "documentId": "1", "pageNumber": "1", "xPosition": "10", "yPosition": "90", "value": "Of the template" });
    let role = json!({ "recipientId": "1", "roleName": "Client", "tabs": tabs(10, &text) });
    let template = json!({ "name": "T", "emailSubject": "T", "documents": [page("1", "Template.pdf")],
        "recipients": { "signers": [role] } });
    let template = client.call("POST", "/templates", template).await.1["templateId"].clone();
    for (inline, server, first, last) in [
        ("1", "2", "Mine.pdf", "Of the template"),
        ("9", "10", "Mine.pdf", "Of the template"),
        ("2", "2", "Template.pdf", "Of mine"),
        ("2", "1", "Template.pdf", "Of mine"),
        ("10", "9", "Template.pdf", "Of mine"),
    ] {
        for role in [Some("Client"), None] {
            let mut ada = person("1", "Ada", role);
            ada["tabs"] = tabs(20, &json!({ "tabLabel": "company", "value": "Of mine" }));
            let mine = json!({ "sequence": inline, "recipients": { "signers": [ada] }, "documents": [page("1", "Mine.pdf")] });
            let definition = json!({ "status": "sent", "emailSubject": "C", "compositeTemplates": [
                { "serverTemplates": [{ "sequence": server, "templateId": template }], "inlineTemplates": [mine] },
            ] });
            let what = format!("inline {inline}, server {server}, {role:?}");
            let path = format!("/envelopes/{}", client.create(definition).await);
            let listed = client.get(&format!("{path}/documents")).await["envelopeDocuments"].clone();
            assert_eq!(
                (listed.as_array().unwrap().len(), &listed[0]["name"]),
                (2, &json!(first)),
                "{what}, with the certificate: {listed}"
            );
            let read = client.get(&format!("{path}?include=tabs")).await["recipients"].clone();
            let signer = &read["signers"][0];
            assert_eq!((&read["recipientCount"], &signer["name"]), (&json!("1"), &json!("Ada")), "{what}");
            let tabs = &signer["tabs"];
            assert_eq!(tabs["signHereTabs"].as_array().unwrap().len(), 2, "{what}: {tabs}");
            let texts = tabs["textTabs"].as_array().unwrap();
            assert_eq!((texts.len(), &texts[0]["value"]), (1, &json!(last)), "{what}: {tabs}");
        }
    }
}

#[tokio::test]
async fn a_composites_own_document_is_hidden_from_whom_all_of_the_templates_were() {
    let client = Client::start().await;
    let signer = json!({ "recipientId": "1", "roleName": "Seller", "tabs": signs_at("1", &[10]), "excludedDocuments": ["2"] });
    let reader = |id: &str, role: &str, excluded: Value| json!({ "recipientId": id, "roleName": role, "excludedDocuments": excluded });
    let readers = json!([
        reader("2", "First", json!(["1"])),
        reader("3", "Both", json!(["2", "1"])),
        reader("4", "All", json!([])),
    ]);
    let template = json!({ "name": "T", "emailSubject": "T", "documents": [page("1", "One.pdf"), page("2", "Two.pdf")],
        "recipients": { "signers": [signer], "carbonCopies": readers } });
    let template = client.call("POST", "/templates", template).await.1["templateId"].clone();
    for id in ["1", "2", "3"] {
        let copies = [
            person("2", "Bob", Some("First")),
            person("3", "Carol", Some("Both")),
            person("4", "Dan", Some("All")),
        ];
        let recipients = json!({ "signers": [person("1", "Ada", Some("Seller"))], "carbonCopies": copies });
        let definition = json!({ "status": "sent", "emailSubject": "C", "compositeTemplates": [{
            "document": page(id, "Own.pdf"),
            "serverTemplates": [{ "sequence": "1", "templateId": template }],
            "inlineTemplates": [{ "sequence": "2", "recipients": recipients }],
        }] });
        let path = format!("/envelopes/{}?include=tabs", client.create(definition).await);
        let read = client.get(&path).await["recipients"].clone();
        let excluded = |one: &Value| one["excludedDocuments"].clone();
        assert_eq!(excluded(&read["signers"][0]), Value::Null, "{id}: {read}");
        assert_eq!(read["signers"][0]["tabs"]["signHereTabs"][0]["documentId"], id, "{id}: {read}");
        let copies: Vec<Value> = read["carbonCopies"].as_array().unwrap().iter().map(excluded).collect();
        assert_eq!(copies, [Value::Null, json!([id]), Value::Null], "{id}: {read}");
    }
}
