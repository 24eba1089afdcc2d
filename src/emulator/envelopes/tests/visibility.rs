//! Documents that not everybody sees.

use serde_json::{Value, json};

use super::testing::{Client, definition, document, signer, view_of};

/// A document whose text names it.
fn named(id: &str, text: &str) -> Value {
    let mut document = document(text);
    document["documentId"] = json!(id);
    document
}

/// Ada signs on document 1 and Bob on document 2; document 3 is for all but Bob; Carol gets a copy without 2.
fn shared_out(enforced: &str) -> Value {
    let (ada, mut bob) = (signer("1", "Ada", "/sn1/"), signer("2", "Bob", "/sn2/"));
    bob["excludedDocuments"] = json!(["3"]);
    bob["routingOrder"] = json!("1");
    let mut whole = definition(&[ada, bob]);
    whole["documents"] =
        json!([named("1", "For Ada: /sn1/"), named("2", "For Bob: /sn2/"), named("3", "For most")]);
    whole["recipients"]["carbonCopies"] = json!([{
        "recipientId": "3", "routingOrder": "1", "name": "Carol", "email": "carol@example.com", "excludedDocuments": ["2"],
    }]);
    whole["enforceSignerVisibility"] = json!(enforced);
    whole
}

/// The ids of the listed documents, without the certificate.
async fn listed(client: &Client, path: &str) -> Vec<String> {
    let read = client.get(path).await;
    let all = read["envelopeDocuments"].as_array().unwrap();
    let ids = all.iter().map(|one| one["documentId"].as_str().unwrap().to_owned());
    ids.filter(|id| id != "certificate").collect()
}

#[tokio::test]
async fn a_signer_sees_what_has_a_tab_of_its_own_or_none_and_is_not_excluded() {
    let client = Client::start().await;
    for (enforced, ada, bob, carol) in [
        ("True", vec!["1", "3"], vec!["2"], vec!["1", "3"]),
        ("false", vec!["1", "2", "3"], vec!["1", "2", "3"], vec!["1", "2", "3"]),
    ] {
        let id = client.create(shared_out(enforced)).await;
        let path = format!("/envelopes/{id}/documents");
        assert_eq!(listed(&client, &path).await, ["1", "2", "3"], "the sender sees all");
        for (recipient, name, seen) in [("1", "Ada", &ada), ("2", "Bob", &bob), ("3", "Carol", &carol)] {
            assert_eq!(&listed(&client, &format!("{path}?recipient_id={recipient}")).await, seen, "{name}");
            for document in ["1", "2", "3"] {
                let as_seen = format!("{path}/{document}?recipient_id={recipient}");
                let status = client.call("GET", &as_seen, Value::Null).await.0;
                assert_eq!(status == 200, seen.contains(&document), "{name} gets {document}: {status}");
            }
            if name == "Carol" {
                continue;
            }
            let session = client.browse(&client.view(&id, view_of(recipient, name)).await.unwrap()).await.1;
            let page = client.browse(&session).await.2;
            let code = session.split("code=").nth(1).unwrap();
            for (document, words) in [("1", "For Ada"), ("2", "For Bob"), ("3", "For most")] {
                let is_seen = seen.contains(&document);
                assert_eq!(page.contains(words), is_seen, "{name}'s page and {document}");
                let (status, ..) = client.browse(&format!("/Signing/Document/{code}/{document}")).await;
                assert_eq!(status, if is_seen { 200 } else { 404 }, "{name} opens {document}");
            }
        }
    }
    let id = client.create(shared_out("true")).await;
    let path = format!("/envelopes/{id}/documents?recipient_id=9");
    let (status, body) = client.call("GET", &path, Value::Null).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_RECIPIENT_ID")));
    assert_eq!(client.get(&format!("/envelopes/{id}")).await["enforceSignerVisibility"], "true");
}
