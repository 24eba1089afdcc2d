//! What a definition or a change says is kept, played or refused: nothing is swallowed.

use serde_json::{Value, json};

use super::tests::{Client, definition, document, signer};
use crate::emulator::pdf::{
    read::{Matching, read},
    write::from_text,
};

/// A definition for one signer, with these members more.
fn with(more: &Value) -> Value {
    let mut whole = definition(&[signer("1", "Ada", "/sn1/")]);
    for (name, value) in more.as_object().unwrap() {
        whole[name] = value.clone();
    }
    whole
}

fn numbered(id: &str, text: &str, more: &Value) -> Value {
    let mut document = document(text);
    document["documentId"] = json!(id);
    for (name, value) in more.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

#[tokio::test]
async fn the_settings_of_a_create_are_answered_as_they_were_sent() {
    let client = Client::start().await;
    let sent = json!({
        "allowComments": "false", "allowMarkup": "True", "allowReassign": "false", "autoNavigation": "false",
        "enableWetSign": false, "envelopeIdStamping": "false", "messageLock": "true", "signingLocation": "InPerson",
    });
    let id = client.create(with(&sent)).await;
    let envelope = client.get(&format!("/envelopes/{id}")).await;
    for (name, value) in [
        ("allowComments", "false"),
        ("allowMarkup", "true"),
        ("allowReassign", "false"),
        ("autoNavigation", "false"),
        ("enableWetSign", "false"),
        ("envelopeIdStamping", "false"),
        ("messageLock", "true"),
        ("signingLocation", "inperson"),
    ] {
        assert_eq!(envelope[name], value, "{name}");
    }
    let bare = read(&client.bytes(&format!("/envelopes/{id}/documents/combined")).await).unwrap();
    assert!(bare.find("DocuSign Envelope ID", Matching::default()).is_empty());

    let id = client.create(with(&json!({ "allowReassign": null }))).await;
    let plain = client.get(&format!("/envelopes/{id}")).await;
    assert_eq!((&plain["allowReassign"], &plain["signingLocation"]), (&json!("true"), &json!("online")));
    for wrong in [json!({ "allowReassign": "perhaps" }), json!({ "signingLocation": "nowhere" })] {
        assert_eq!(client.refusal(with(&wrong)).await, "INVALID_REQUEST_PARAMETER", "{wrong}");
    }
}

#[tokio::test]
async fn what_a_document_is_to_be_is_answered_and_the_whole_leaves_out_what_it_should() {
    let client = Client::start().await;
    let aside =
        json!({ "display": "modal", "includeInDownload": "false", "signerMustAcknowledge": "view_accept" });
    let documents = json!([document("Sign here: /sn1/"), numbered("2", "Terms that stand aside", &aside)]);
    let id = client.create(with(&json!({ "documents": documents }))).await;
    let listed = client.get(&format!("/envelopes/{id}/documents")).await["envelopeDocuments"].clone();
    for (name, first, second) in [
        ("display", "inline", "modal"),
        ("includeInDownload", "true", "false"),
        ("signerMustAcknowledge", "no_interaction", "view_accept"),
    ] {
        assert_eq!((&listed[0][name], &listed[1][name]), (&json!(first), &json!(second)), "{name}");
    }
    let whole = read(&client.bytes(&format!("/envelopes/{id}/documents/combined")).await).unwrap();
    assert!(whole.find("stand aside", Matching::default()).is_empty());
    assert!(!whole.find("Sign here", Matching::default()).is_empty());
    let wrong = json!({ "documents": [numbered("1", "Sign: /sn1/", &json!({ "display": "sideways" }))] });
    assert_eq!(client.refusal(with(&wrong)).await, "INVALID_REQUEST_PARAMETER");
}

#[tokio::test]
async fn a_document_is_an_authoritative_copy_if_it_or_its_envelope_says_so() {
    let client = Client::start().await;
    for (envelope, document, copy) in [
        (json!({}), json!({}), "false"),
        (json!({}), json!({ "authoritativeCopy": "true" }), "true"),
        (json!({ "authoritativeCopy": "true" }), json!({}), "true"),
        (json!({ "authoritativeCopy": "true" }), json!({ "authoritativeCopy": "false" }), "false"),
        (json!({ "authoritativeCopy": "true", "authoritativeCopyDefault": "false" }), json!({}), "false"),
    ] {
        let mut whole = with(&envelope);
        whole["documents"] = json!([numbered("1", "Sign here: /sn1/", &document)]);
        let id = client.create(whole).await;
        let read = client.get(&format!("/envelopes/{id}?include=documents")).await;
        assert_eq!(read.get("authoritativeCopy"), envelope.get("authoritativeCopy"), "{envelope}");
        assert_eq!(read["envelopeDocuments"][0]["authoritativeCopy"], copy, "{envelope}, {document}");
        assert_eq!(read["envelopeDocuments"][1]["authoritativeCopy"], "false", "the certificate is none");
    }
    let wrong = json!({ "authoritativeCopy": "perhaps" });
    assert_eq!(client.refusal(with(&wrong)).await, "INVALID_REQUEST_PARAMETER");
}

#[tokio::test]
async fn a_recipient_tells_how_it_is_reached_and_whether_it_has_signed() {
    let client = Client::start().await;
    let mut ada = signer("1", "Ada", "/sn1/");
    ada["deliveryMethod"] = json!("Email");
    let mut whole = definition(&[ada]);
    whole["recipients"]["carbonCopies"] =
        json!([{ "recipientId": "2", "routingOrder": "1", "name": "Carol", "email": "carol@example.com" }]);
    let id = client.create(whole).await;
    for signed in ["0", "1"] {
        let read = client.get(&format!("/envelopes/{id}/recipients")).await;
        let (signer, copy) = (&read["signers"][0], &read["carbonCopies"][0]);
        assert_eq!((&signer["completedCount"], &copy["completedCount"]), (&json!(signed), &json!("0")));
        assert_eq!((&signer["deliveryMethod"], &copy["deliveryMethod"]), (&json!("email"), &json!("email")));
        if signed == "0" {
            client.act(&id, "1", "sign", json!({})).await;
        }
    }
}

#[tokio::test]
async fn a_template_is_shared_if_it_says_so() {
    let client = Client::start().await;
    for (sent, read) in [(json!("false"), "false"), (json!(true), "true"), (Value::Null, "false")] {
        let template = json!({ "name": "T", "shared": sent, "documents": [document("/sn1/")] });
        let (status, made) = client.call("POST", "/templates", template).await;
        assert_eq!(status, 201, "{made}");
        let path = format!("/templates/{}", made["templateId"].as_str().unwrap());
        assert_eq!(client.get(&path).await["shared"], read, "{sent}");
    }
}

#[tokio::test]
async fn a_change_of_a_draft_keeps_what_it_was_sent() {
    let client = Client::start().await;
    let id = client.create(with(&json!({ "status": "created" }))).await;
    let path = format!("/envelopes/{id}");
    let change = json!({
        "emailSubject": "Another", "allowReassign": "false",
        "notification": { "expirations": { "expireEnabled": "true", "expireAfter": "5" } },
        "customFields": { "textCustomFields": [{ "name": "order", "value": "7" }] },
        "documents": [numbered("2", "An annex", &json!({ "name": "Annex" }))],
        "recipients": { "signers": [{ "recipientId": "1", "name": "Grace" }, signer("2", "Bob", "/sn2/")] },
    });
    let (status, body) = client.call("PUT", &path, change).await;
    assert_eq!(status, 200, "{body}");
    let now = client.get(&format!("{path}?include=recipients,documents,custom_fields")).await;
    assert_eq!((&now["emailSubject"], &now["allowReassign"]), (&json!("Another"), &json!("false")));
    assert_eq!(now["customFields"]["textCustomFields"][0]["value"], "7");
    assert_eq!(now["envelopeDocuments"][1]["name"], "Annex");
    let signers = now["recipients"]["signers"].as_array().unwrap();
    let names: Vec<&Value> = signers.iter().map(|signer| &signer["name"]).collect();
    assert_eq!(names, [&json!("Grace"), &json!("Bob")]);
    assert_eq!(client.get(&format!("{path}/notification")).await["expirations"]["expireAfter"], "5");

    // A change that is refused changes nothing, whatever came before the refusal.
    let half = json!({ "emailSubject": "Half", "recipients": { "signers": [{ "recipientId": "x y", "name": "N" }] } });
    let (status, body) = client.call("PUT", &path, half).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_RECIPIENT_ID")));
    assert_eq!(client.get(&path).await["emailSubject"], "Another");

    let (status, body) = client.call("PUT", &path, json!({ "status": "sent" })).await;
    assert_eq!(status, 200, "{body}");
    let sent = client.get(&path).await;
    assert_eq!((&sent["status"], &sent["expireAfter"]), (&json!("sent"), &json!("5")));
}

#[tokio::test]
async fn of_a_sent_envelope_a_change_keeps_the_notification_and_refuses_what_belongs_to_drafts() {
    let client = Client::start().await;
    let id = client.create(with(&json!({}))).await;
    let path = format!("/envelopes/{id}");
    let sooner =
        json!({ "notification": { "expirations": { "expireEnabled": "true", "expireAfter": "3" } } });
    assert_eq!(client.call("PUT", &path, sooner).await.0, 200);
    assert_eq!(client.get(&path).await["expireAfter"], "3");
    for late in [
        json!({ "emailSubject": "Too late" }),
        json!({ "emailBlurb": "Too late" }),
        json!({ "documents": [numbered("2", "Too late", &json!({}))] }),
        json!({ "recipients": { "signers": [signer("2", "Bob", "/sn2/")] } }),
        json!({ "allowReassign": "false" }),
    ] {
        let (status, body) = client.call("PUT", &path, late.clone()).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("ENVELOPE_INVALID_STATUS")), "{late}");
    }
    let more = json!({ "customFields": { "textCustomFields": [{ "name": "n", "value": "v" }] } });
    assert_eq!(client.call("PUT", &path, more).await.0, 200);
    let fields = client.get(&format!("{path}/custom_fields")).await;
    assert_eq!(fields["textCustomFields"][0]["value"], "v");
    // The same words again change nothing, and are not refused: a client that sends back what it read.
    assert_eq!(client.call("PUT", &path, json!({ "emailSubject": "Contract" })).await.0, 200);
}

#[tokio::test]
async fn what_was_read_can_be_sent_back_with_one_field_changed() {
    let client = Client::start().await;
    let read = async |path: &str| client.get(&format!("{path}?include=recipients,tabs,documents")).await;
    for status in ["created", "sent"] {
        let id = client.create(with(&json!({ "status": status }))).await;
        let path = format!("/envelopes/{id}");
        let mut whole = read(&path).await;
        let tabs = whole["recipients"]["signers"][0]["tabs"].clone();
        assert_eq!(whole["purgeState"], "unpurged");
        whole["documents"] = json!([{ "documentId": "1", "name": "Contract.pdf", "order": "1" }]);
        whole["notification"] = json!({ "expirations": { "expireEnabled": "true", "expireAfter": "9" } });
        let (answer, body) = client.call("PUT", &path, whole.clone()).await;
        assert_eq!(answer, 200, "{status}: {body}");
        assert!(body.get("purgeState").is_none(), "nothing was purged: {body}");
        let after = read(&path).await;
        assert_eq!(after["recipients"]["signers"][0]["tabs"], tabs, "no tab came twice");
        assert_eq!(client.get(&format!("{path}/notification")).await["expirations"]["expireAfter"], "9");
        whole["recipients"]["signers"][0]["name"] = json!("Grace");
        let changed = if status == "created" { 200 } else { 400 };
        assert_eq!(client.call("PUT", &path, whole).await.0, changed, "{status}");
        assert_eq!(read(&path).await["recipients"]["signers"][0]["tabs"], tabs, "{status}");
    }
    // A change that names no envelope is one: what is sent cannot be sent again.
    let id = client.create(with(&json!({}))).await;
    let path = format!("/envelopes/{id}");
    assert_eq!(client.call("PUT", &path, json!({ "status": "sent" })).await.0, 400);
    client.act(&id, "1", "sign", json!({})).await;
    let mut whole = client.get(&path).await;
    for (asked, then) in [
        ("documents_and_metadata_and_redact_queued", "documents_and_metadata_and_redact_queued"),
        ("documents_dequeued", "unpurged"),
        ("documents_queued", "documents_queued"),
    ] {
        whole["purgeState"] = json!(asked);
        let (answer, body) = client.call("PUT", &path, whole.clone()).await;
        assert_eq!((answer, &body["purgeState"]), (200, &json!(asked)), "{body}");
        whole = client.get(&path).await;
        assert_eq!(whole["purgeState"], then);
    }
    assert_eq!(client.call("PUT", &path, whole).await.0, 200);
}

#[tokio::test]
async fn recipients_come_without_tabs_at_their_own_address() {
    let client = Client::start().await;
    for status in ["created", "sent"] {
        let id = client.create(with(&json!({ "status": status }))).await;
        let path = format!("/envelopes/{id}/recipients");
        let before = client.get(&format!("{path}/1/tabs")).await;
        let mut whole = client.get(&format!("{path}?include_tabs=true")).await;
        whole["signers"][0]["note"] = json!("Please");
        let (_, body) = client.call("PUT", &path, whole).await;
        assert_eq!(body["recipientUpdateResults"][0]["errorDetails"]["errorCode"], "SUCCESS", "{body}");
        assert_eq!(client.get(&format!("{path}/1/tabs")).await, before);
        let more = json!({ "signers": [signer("2", "Bob", "/nowhere/")] });
        assert_eq!(client.call("POST", &path, more).await.0, 201);
        assert_eq!(client.get(&format!("{path}/2/tabs")).await, json!({}));
    }
}

#[tokio::test]
async fn a_reason_to_void_is_cut_at_200_characters() {
    let client = Client::start().await;
    let id = client.create(with(&json!({}))).await;
    let path = format!("/envelopes/{id}");
    let void = json!({ "status": "voided", "voidedReason": "ä".repeat(300) });
    assert_eq!(client.call("PUT", &path, void).await.0, 200);
    assert_eq!(client.get(&path).await["voidedReason"], "ä".repeat(200));
}

#[tokio::test]
async fn an_event_that_does_not_exist_cannot_be_asked_for() {
    let client = Client::start().await;
    let asking = |event: &str| json!({ "url": "https://a.example/in", "events": ["Envelope-Sent", event] });
    let definition = with(&json!({ "eventNotification": asking("envelope-foo") }));
    assert_eq!(client.refusal(definition).await, "INVALID_REQUEST_PARAMETER");
    client.create(with(&json!({ "eventNotification": asking("recipient-finish-later") }))).await;
    let account = |event: &str| json!({ "urlToPublishTo": "https://a.example/in", "events": [event], "name": "x", "configurationType": "custom", "allUsers": "true" });
    assert_eq!(client.call("POST", "/connect", account("envelope-foo")).await.0, 400);
    assert_eq!(client.call("POST", "/connect", account("envelope-created")).await.0, 201);
}

#[tokio::test]
async fn what_is_not_played_is_refused_and_says_so() {
    let client = Client::start().await;
    let signed_by = |more: Value| {
        let mut ada = signer("1", "Ada", "/sn1/");
        for (name, value) in more.as_object().unwrap() {
            ada[name] = value.clone();
        }
        json!({ "recipients": { "signers": [ada] } })
    };
    let steps = json!({ "workflowSteps": [{ "action": "pause_before", "triggerOnItem": "routing_order", "itemId": "2" }] });
    let later = json!({ "scheduledSending": { "rules": [{ "resumeDate": "2030-01-01T00:00:00Z" }] } });
    let payment = json!([{ "anchorString": "/sn1/", "formula": "1", "paymentDetails": { "gatewayAccountId": "none" } }]);
    let refused = |(status, body): (u16, Value), what: &str| {
        assert_eq!((status, &body["errorCode"]), (400, &json!("PLAN_ITEM_NOT_ENABLED")), "{what}: {body}");
        assert!(body["message"].as_str().unwrap().contains("not emulated"), "{what}: {body}");
    };
    for more in [
        json!({ "workflow": steps }),
        json!({ "workflow": later }),
        json!({ "recipientViewRequest": { "returnUrl": "https://a.example/", "authenticationMethod": "none" } }),
        signed_by(json!({ "signingGroupId": "1" })),
        signed_by(json!({
            "idCheckConfigurationName": "Phone Auth $", "phoneAuthentication": { "recipMayProvideNumber": "true" },
        })),
        signed_by(json!({ "tabs": { "formulaTabs": payment } })),
    ] {
        refused(client.call("POST", "/envelopes", with(&more)).await, &more.to_string());
    }
    let template = json!({ "name": "T", "documents": [document("/sn1/")], "workflow": steps });
    refused(client.call("POST", "/templates", template).await, "a template");
    let id = client.create(with(&json!({ "status": "created" }))).await;
    let path = format!("/envelopes/{id}");
    let unpause = json!({ "workflow": { "workflowStatus": "in_progress" } });
    refused(client.call("PUT", &path, unpause).await, "to go on after a pause");
    let tabs = json!({ "formulaTabs": payment });
    refused(client.call("POST", &format!("{path}/recipients/1/tabs"), tabs).await, "tabs");
    let (_, results) = client
        .call(
            "PUT",
            &format!("{path}/recipients"),
            signed_by(json!({ "signingGroupId": "1" }))["recipients"].clone(),
        )
        .await;
    assert_eq!(results["recipientUpdateResults"][0]["errorDetails"]["errorCode"], "PLAN_ITEM_NOT_ENABLED");
    // What says nothing is no workflow and no group.
    for more in [
        json!({ "workflow": null }),
        json!({ "workflow": { "workflowSteps": [], "workflowStatus": null } }),
        json!({ "enforceSignerVisibility": "false" }),
        signed_by(json!({ "signingGroupId": "" })),
    ] {
        client.create(with(&more)).await;
    }
}

#[tokio::test]
async fn the_documents_of_composites_stand_one_behind_the_other() {
    let client = Client::start().await;
    let template = json!({ "name": "Two", "emailSubject": "Two", "documents": [
        numbered("1", "The first page", &json!({})), numbered("2", "The second page", &json!({})),
    ], "recipients": { "signers": [{ "recipientId": "1", "roleName": "Client" }] } });
    let made = client.call("POST", "/templates", template).await.1;
    let signers = json!({ "signers": [{ "recipientId": "1", "roleName": "Client", "name": "Ada", "email": "ada@example.com" }] });
    let definition = json!({ "status": "sent", "emailSubject": "Composite", "compositeTemplates": [
        { "serverTemplates": [{ "sequence": "1", "templateId": made["templateId"] }],
          "inlineTemplates": [{ "sequence": "2", "recipients": signers }] },
        { "inlineTemplates": [{ "sequence": "1", "recipients": signers }],
          "document": numbered("3", "The last page", &json!({})) },
    ] });
    let id = client.create(definition).await;
    let listed = client.get(&format!("/envelopes/{id}/documents")).await["envelopeDocuments"].clone();
    let orders: Vec<_> = listed.as_array().unwrap().iter().take(3).map(|one| one["order"].clone()).collect();
    assert_eq!(orders, ["1", "2", "3"]);
    let whole = read(&client.bytes(&format!("/envelopes/{id}/documents/combined")).await).unwrap();
    let page = |words: &str| whole.find(words, Matching::default())[0].page;
    assert_eq!([page("The first page"), page("The second page"), page("The last page")], [1, 2, 3]);
}

#[tokio::test]
async fn a_composite_may_leave_the_embedding_of_a_person_to_another() {
    let client = Client::start().await;
    let ada = |more: Value| {
        let mut ada =
            json!({ "recipientId": "1", "roleName": "signer", "name": "Ada", "email": "ada@example.com" });
        for (name, value) in more.as_object().unwrap() {
            ada[name] = value.clone();
        }
        ada
    };
    let embedded = |id: &str| ada(json!({ "clientUserId": id }));
    for (first, second, embedding) in [
        (embedded("1000"), ada(json!({})), vec!["1000"]),
        (ada(json!({})), embedded("1000"), vec!["1000"]),
        (embedded("1000"), embedded("1000"), vec!["1000"]),
        (embedded("1000"), embedded("1001"), vec!["1000", "1001"]),
        (embedded("1000"), ada(json!({ "roleName": "witness" })), vec!["1000", ""]),
        (embedded("1000"), ada(json!({ "recipientId": "2" })), vec!["1000", ""]),
    ] {
        let part = |who: &Value, x: u32| {
            let mut who = who.clone();
            who["tabs"] = signs_at("1", &[x]);
            json!({ "inlineTemplates": [{ "sequence": "1", "recipients": { "signers": [who] } }], "document": document("One page") })
        };
        let parts = json!([part(&first, 10), part(&second, 20)]);
        let definition = json!({ "status": "sent", "emailSubject": "C", "compositeTemplates": parts });
        let id = client.create(definition).await;
        let read =
            client.get(&format!("/envelopes/{id}?include=tabs")).await["recipients"]["signers"].clone();
        let signers = read.as_array().unwrap();
        let found: Vec<&str> =
            signers.iter().map(|one| one["clientUserId"].as_str().unwrap_or_default()).collect();
        assert_eq!(found, embedding, "{first} and {second}");
        let tabs: usize =
            signers.iter().map(|one| one["tabs"]["signHereTabs"].as_array().unwrap().len()).sum();
        assert_eq!(tabs, 2, "each composite's tab is there: {read}");
    }
}

/// Fixed places to sign, at these distances from the left of this document.
fn signs_at(document: &str, places: &[u32]) -> Value {
    let tab = |x: &u32| json!({ "documentId": document, "pageNumber": "1", "xPosition": x, "yPosition": 50 });
    json!({ "signHereTabs": places.iter().map(tab).collect::<Vec<Value>>() })
}

/// Where the only signer of an envelope signs: documents and distances from the left.
async fn places(client: &Client, id: &str) -> Vec<(String, String)> {
    let all = client.get(&format!("/envelopes/{id}?include=tabs")).await["recipients"].clone();
    assert_eq!(all["recipientCount"], "1", "{all}");
    let tabs = all["signers"][0]["tabs"]["signHereTabs"].as_array().unwrap().clone();
    let word = |tab: &Value, name: &str| tab[name].as_str().unwrap().to_owned();
    tabs.iter().map(|tab| (word(tab, "documentId"), word(tab, "xPosition"))).collect()
}

fn of(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(document, x)| ((*document).to_owned(), (*x).to_owned())).collect()
}

#[tokio::test]
async fn a_later_template_of_a_composite_lies_over_the_first() {
    let client = Client::start().await;
    let mut templates = Vec::new();
    for x in [10, 99] {
        let client_role = json!({ "recipientId": "1", "roleName": "Client", "tabs": signs_at("1", &[x]) });
        let template = json!({ "name": "T", "emailSubject": "T", "documents": [document("One page")],
            "recipients": { "signers": [client_role] } });
        let made = client.call("POST", "/templates", template).await.1;
        templates.push(json!({ "sequence": templates.len() + 1, "templateId": made["templateId"] }));
    }
    let ada = json!({ "recipientId": "1", "roleName": "client", "name": "Ada", "email": "ada@example.com" });
    let inline = json!([{ "sequence": "3", "recipients": { "signers": [ada] } }]);
    let id = client
        .create(json!({ "status": "sent", "emailSubject": "C", "compositeTemplates": [
            { "serverTemplates": templates, "inlineTemplates": inline },
        ] }))
        .await;
    assert_eq!(places(&client, &id).await, of(&[("1", "10"), ("1", "99")]));
    let listed = client.get(&format!("/envelopes/{id}/documents")).await["envelopeDocuments"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 2, "the first one's document and the certificate: {listed}");
}

#[tokio::test]
async fn tabs_follow_the_document_that_gets_another_number() {
    let client = Client::start().await;
    let ada = |tabs: &Value| json!({ "signers": [{ "recipientId": "1", "name": "Ada", "email": "ada@example.com", "tabs": tabs }] });
    let both = json!({ "signHereTabs": [
        signs_at("1", &[20])["signHereTabs"][0], signs_at("2", &[30])["signHereTabs"][0],
    ] });
    let second =
        [numbered("1", "Second", &json!({ "order": "1" })), numbered("2", "Third", &json!({ "order": "2" }))];
    let id = client
        .create(json!({ "status": "sent", "emailSubject": "C", "compositeTemplates": [
            { "inlineTemplates": [{ "sequence": "1", "recipients": ada(&signs_at("1", &[10])) }], "document": document("First") },
            { "inlineTemplates": [{ "sequence": "1", "recipients": ada(&both), "documents": second }] },
        ] }))
        .await;
    assert_eq!(places(&client, &id).await, of(&[("1", "10"), ("2", "20"), ("3", "30")]));
}

#[tokio::test]
async fn uploads_go_to_the_composite_that_they_name() {
    let client = Client::start().await;
    let composite = |n: u32| {
        let tabs = json!({ "signHereTabs": [{ "anchorString": format!("/c{n}/") }] });
        let ada = json!({ "recipientId": "1", "name": "Ada", "email": "ada@example.com", "tabs": tabs });
        json!({ "compositeTemplateId": n.to_string(), "document": { "documentId": "1", "name": format!("{n}.pdf") },
            "inlineTemplates": [{ "sequence": "1", "recipients": { "signers": [ada] } }] })
    };
    let definition =
        json!({ "status": "sent", "emailSubject": "C", "compositeTemplates": [composite(1), composite(2)] });
    let post = async |ids: [&str; 2]| {
        let mut body = format!("--b0\r\nContent-Type: application/json\r\n\r\n{definition}\r\n").into_bytes();
        for (n, id) in ids.into_iter().enumerate() {
            let named = format!("file; filename=\"a.pdf\"; documentid=1; compositeTemplateId=\"{id}\"");
            body.extend(format!("--b0\r\nContent-Disposition: {named}\r\n\r\n").into_bytes());
            body.extend(from_text("Upload", &format!("Sign /c{}/", n + 1)));
            body.extend(b"\r\n");
        }
        body.extend(b"--b0--\r\n");
        let (base, account) = (&client.emulator.ready.base_url, &client.emulator.ready.account_id);
        let url = format!("{base}/restapi/v2.1/accounts/{account}/envelopes");
        let request = client.emulator.http.post(url).bearer_auth(&client.token);
        let request = request.header("content-type", "multipart/form-data; boundary=b0").body(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, made) = post(["1", "2"]).await;
    assert_eq!(status, 201, "{made}");
    let path = format!("/envelopes/{}/documents/2", made["envelopeId"].as_str().unwrap());
    assert!(!read(&client.bytes(&path).await).unwrap().find("/c2/", Matching::default()).is_empty());
    let (status, refused) = post(["1", "1"]).await;
    assert_eq!((status, &refused["errorCode"]), (400, &json!("INVALID_REQUEST_BODY")));
}

#[tokio::test]
async fn an_in_person_role_is_its_hosts() {
    let client = Client::start().await;
    let guest = json!({ "recipientId": "1", "roleName": "Guest" });
    let template = json!({ "name": "T", "emailSubject": "T", "documents": [document("Sign")],
        "recipients": { "inPersonSigners": [guest] } });
    let made = client.call("POST", "/templates", template).await.1;
    let role = json!({ "roleName": "Guest", "name": "Sofia", "email": "sofia@example.com", "inPersonSignerName": "Ada" });
    let id = client
        .create(
            json!({ "status": "sent", "templateId": made["templateId"], "templateRoles": [role.clone()] }),
        )
        .await;
    let all = client.get(&format!("/envelopes/{id}/recipients")).await;
    let one = &all["inPersonSigners"][0];
    for (name, value) in [("hostName", "Sofia"), ("hostEmail", "sofia@example.com"), ("signerName", "Ada")] {
        assert_eq!(one[name], value, "{name}");
    }
    for name in ["name", "email", "inPersonSignerName"] {
        assert!(one.get(name).is_none(), "{name}: {one}");
    }
    // What would get lost beside a template is refused; what is empty is not there.
    let mut both = json!({ "status": "sent", "templateId": made["templateId"], "templateRoles": [role], "documents": [] });
    client.create(both.clone()).await;
    both["recipients"] = json!({ "signers": [signer("1", "Ada", "/sn1/")] });
    assert_eq!(client.refusal(both).await, "INVALID_REQUEST_PARAMETER");
}

#[tokio::test]
async fn a_tab_has_a_page_or_an_anchor_unless_a_template_places_it() {
    let client = Client::start().await;
    let with_tabs = |tabs: Value| {
        let mut ada = signer("1", "Ada", "/sn1/");
        ada["tabs"] = tabs;
        with(&json!({ "recipients": { "signers": [ada] } }))
    };
    for tab in [json!({}), json!({ "documentId": "1", "xPosition": "10", "yPosition": "10" })] {
        let refused = client.refusal(with_tabs(json!({ "signHereTabs": [tab] }))).await;
        assert_eq!(refused, "TAB_PAGE_NUMBER_NOT_SPECIFIED");
    }
    // A group has no place, and a list that does not exist is no list.
    let group = json!([{ "groupLabel": "g", "groupRule": "SelectAtLeast", "minimumRequired": "1" }]);
    let mut tabs = signs_at("1", &[10]);
    (tabs["tabGroups"], tabs["signThereTabs"]) = (group, json!([{ "anchorString": "/nowhere/" }]));
    let id = client.create(with_tabs(tabs)).await;
    let read = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await;
    assert!(read.get("signThereTabs").is_none() && read["signHereTabs"][0]["xPosition"] == "10", "{read}");
    let path = format!("/envelopes/{id}/recipients/1/tabs");
    let (status, body) = client.call("POST", &path, json!({ "textTabs": [{ "tabLabel": "x" }] })).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("TAB_PAGE_NUMBER_NOT_SPECIFIED")));
    // A role fills what its template places, and may name what the template has not.
    let fills = json!({ "textTabs": [
        { "tabLabel": "company", "value": "Engines" }, { "tabLabel": "none", "value": "x" },
    ] });
    let role = json!({ "roleName": "Client", "name": "Ada", "email": "ada@example.com", "tabs": fills });
    let template = &client.emulator.ready.template_id;
    client.create(json!({ "status": "sent", "templateId": template, "templateRoles": [role] })).await;
}

#[tokio::test]
async fn the_subject_names_the_role_once_it_is_sent() {
    let client = Client::start().await;
    let template = &client.emulator.ready.template_id;
    let from = |subject: &str, name: &str, status: &str| {
        let role = json!({ "roleName": "Client", "name": name, "email": "ada@example.com" });
        json!({ "status": status, "emailSubject": subject, "templateId": template, "templateRoles": [role] })
    };
    let words = "[[Client_UserName]] ([[Client_Email]]), [[Nobody_Email]] and [[so on";
    let id = client.create(from(words, "[[Client_Email]]", "created")).await;
    let path = format!("/envelopes/{id}");
    assert_eq!(client.get(&path).await["emailSubject"], words);
    assert_eq!(client.call("PUT", &path, json!({ "status": "sent" })).await.0, 200);
    let merged = "[[Client_Email]] (ada@example.com), [[Nobody_Email]] and [[so on";
    assert_eq!(client.get(&path).await["emailSubject"], merged);
    // The limit is that of the merged text.
    let long = "[[Client_UserName]]".repeat(6);
    client.create(from(&long, "Ada", "sent")).await;
    assert_eq!(client.refusal(from(&long, &"A".repeat(17), "sent")).await, "INVALID_REQUEST_PARAMETER");
}

#[tokio::test]
async fn a_role_fills_the_radio_group_of_the_same_name() {
    let client = Client::start().await;
    let radio =
        |value: &str, x: u32| json!({ "value": value, "pageNumber": "1", "xPosition": x, "yPosition": 200 });
    let group = |name: &str| json!({ "groupName": name, "documentId": "1", "radios": [radio("white", 100), radio("red", 130)] });
    let tabs = json!({ "radioGroupTabs": [group("paper"), group("ink")] });
    let template = json!({ "name": "R", "emailSubject": "R", "documents": [document("Choose")], "recipients": {
        "signers": [{ "recipientId": "1", "roleName": "Client", "tabs": tabs }],
    } });
    let made = client.call("POST", "/templates", template).await.1;
    let chosen = json!({ "radioGroupTabs": [{ "groupName": "ink", "radios": [{ "value": "red", "selected": "true" }] }] });
    let id = client
        .create(json!({ "status": "sent", "templateId": made["templateId"], "templateRoles": [
            { "roleName": "Client", "name": "Ada", "email": "ada@example.com", "tabs": chosen },
        ] }))
        .await;
    let groups = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await["radioGroupTabs"].clone();
    let selected = |group: &Value| -> Vec<Value> {
        group["radios"].as_array().unwrap().iter().map(|radio| radio["selected"].clone()).collect()
    };
    assert_eq!(groups.as_array().unwrap().len(), 2, "{groups}");
    assert_eq!(
        (&groups[1]["groupName"], selected(&groups[1])),
        (&json!("ink"), vec![json!("false"), json!("true")])
    );
    assert_eq!(groups[1]["radios"][1]["xPosition"], "130", "where the template has it");
    assert!(!selected(&groups[0]).contains(&json!("true")));
}
