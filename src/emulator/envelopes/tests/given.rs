//! What a definition or a change says is kept, played or refused: nothing is swallowed.

use serde_json::{Value, json};

use super::testing::{Client, definition, document, refused_with, signer, with_phone};
use crate::emulator::pdf::read::{Matching, read};

/// A definition for one signer, with these members more.
pub(super) fn with(more: &Value) -> Value {
    let mut whole = definition(&[signer("1", "Ada", "/sn1/")]);
    for (name, value) in more.as_object().unwrap() {
        whole[name] = value.clone();
    }
    whole
}

/// Another document, with these members more.
pub(super) fn numbered(id: &str, text: &str, more: &Value) -> Value {
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
async fn a_recipient_tells_how_it_is_reached_and_proven_and_whether_it_has_signed() {
    let client = Client::start().await;
    let mut ada = signer("1", "Ada", "/sn1/");
    ada["deliveryMethod"] = json!("Email");
    let mut whole = definition(&[ada]);
    whole["recipients"]["carbonCopies"] = json!([{
        "recipientId": "2", "routingOrder": "1", "name": "Carol", "email": "carol@example.com",
        "requireIdLookup": true,
    }]);
    let id = client.create(whole).await;
    for signed in ["0", "1"] {
        let read = client.get(&format!("/envelopes/{id}/recipients")).await;
        let (signer, copy) = (&read["signers"][0], &read["carbonCopies"][0]);
        assert_eq!((&signer["completedCount"], &copy["completedCount"]), (&json!(signed), &json!("0")));
        assert_eq!((&signer["deliveryMethod"], &copy["deliveryMethod"]), (&json!("email"), &json!("email")));
        assert_eq!((&signer["requireIdLookup"], &copy["requireIdLookup"]), (&json!("false"), &json!("true")));
        if signed == "0" {
            client.act(&id, "1", "sign", json!({})).await;
        }
    }
}

#[tokio::test]
async fn a_recipient_is_reached_by_one_second_channel_at_most_and_by_no_unknown_one() {
    let client = Client::start().await;
    let reached_by = |more: Value| {
        let mut ada = signer("1", "Ada", "/sn1/");
        ada.as_object_mut().unwrap().remove("clientUserId");
        ada.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        definition(&[ada])
    };
    let phone = json!({ "countryCode": "49", "number": "1511234567" });
    let second = |method: &str| json!({ "secondaryDeliveryMethod": method, "phoneNumber": phone });
    for more in [
        json!({ "additionalNotifications": [second("SMS")] }),
        json!({ "additionalNotifications": [second("WhatsApp")] }),
        json!({ "additionalNotifications": [second("email")], "deliveryMethod": "Email" }),
        json!({ "additionalNotifications": [] }),
        json!({ "deliveryMethod": "SMS", "phoneNumber": phone }),
    ] {
        client.create(reached_by(more)).await;
    }
    for more in [
        json!({ "additionalNotifications": [second("SMS"), second("WhatsApp")] }),
        json!({ "additionalNotifications": [second("pigeon")] }),
        json!({ "deliveryMethod": "Telegram", "phoneNumber": phone }),
    ] {
        let code = client.refusal(reached_by(more.clone())).await;
        assert_eq!(code, "INVALID_REQUEST_PARAMETER", "{more}");
    }
}

#[tokio::test]
async fn what_only_the_sdks_know_is_answered_too() {
    let client = Client::start().await;
    let mut ada = with_phone(signer("1", "Ada", "/sn1/"));
    ada["identityVerification"]["workflowLabel"] = json!("By phone");
    ada["identityVerification"]["inputOptions"][0]["stringValue"] = json!("x");
    let mut whole = definition(&[ada]);
    whole["notification"] = json!({ "reminders": { "maximumReminderCount": 3 } });
    let id = client.create(whole).await;
    let read = client.get(&format!("/envelopes/{id}/recipients")).await;
    let check = &read["signers"][0]["identityVerification"];
    assert_eq!(
        (&check["workflowLabel"], &check["inputOptions"][0]["stringValue"]),
        (&json!("By phone"), &json!("x"))
    );
    let read = client.get(&format!("/envelopes/{id}/notification")).await;
    assert_eq!(read["reminders"]["maximumReminderCount"], "3", "{read}");
}

#[tokio::test]
async fn a_word_is_neither_a_switch_nor_a_number() {
    let client = Client::start().await;
    let tabbed = |more: Value| {
        let mut ada = signer("1", "Ada", "/sn1/");
        ada["tabs"]["textTabs"][0].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "recipients": { "signers": [ada] } })
    };
    let mut grouped = signer("1", "Ada", "/sn1/");
    grouped["tabs"]["radioGroupTabs"] = json!([{ "groupName": "g", "documentId": "1", "radios": [
        { "value": "a", "pageNumber": "1", "xPosition": "9", "yPosition": "9", "required": "perhaps" },
    ] }]);
    let lives = |warn: &str| json!({ "expireEnabled": "true", "expireAfter": "9", "expireWarn": warn });
    for wrong in [
        json!({ "notification": { "useAccountDefaults": "banana" } }),
        json!({ "notification": { "expirations": { "expireEnabled": "yes" } } }),
        json!({ "notification": { "expirations": lives("soon") } }),
        json!({ "notification": { "reminders": { "reminderEnabled": "banana" } } }),
        json!({ "notification": { "reminders": { "reminderDelay": "-1" } } }),
        json!({ "notification": { "reminders": { "reminderFrequency": "daily" } } }),
        json!({ "notification": { "reminders": { "maximumReminderCount": "many" } } }),
        json!({ "documents": [numbered("1", "Sign here: /sn1/", &json!({ "order": "first" }))] }),
        tabbed(json!({ "required": "perhaps" })),
        tabbed(json!({ "locked": "banana" })),
        tabbed(json!({ "maxLength": "long" })),
        json!({ "recipients": { "signers": [grouped] } }),
    ] {
        assert_eq!(client.refusal(with(&wrong)).await, "INVALID_REQUEST_PARAMETER", "{wrong}");
    }
    let nobody = definition(&[signer("00", "Ada", "/sn1/")]);
    assert_eq!(client.refusal(nobody).await, "INVALID_RECIPIENT_ID");

    // What SDKs send for these: booleans, numbers, capitals and empty texts.
    let mut right = tabbed(json!({ "required": true, "locked": "False", "maxLength": 50 }));
    right["notification"] = json!({
        "useAccountDefaults": false, "expirations": { "expireEnabled": "TRUE", "expireAfter": 9, "expireWarn": 1 },
        "reminders": { "reminderEnabled": true, "reminderDelay": 2, "reminderFrequency": "" },
    });
    right["documents"] = json!([numbered("1", "Sign here: /sn1/", &json!({ "order": 0 }))]);
    let path = format!("/envelopes/{}", client.create(with(&right)).await);
    let tabs = client.get(&format!("{path}/recipients/1/tabs")).await;
    let change = json!({ "textTabs": [{ "tabId": tabs["textTabs"][0]["tabId"], "required": "perhaps" }] });
    let reminders = json!({ "reminders": { "reminderDelay": "soon" } });
    for (below, wrong) in [("/recipients/1/tabs", change), ("/notification", reminders)] {
        let (status, body) = client.call("PUT", &format!("{path}{below}"), wrong).await;
        assert_eq!(
            (status, &body["errorCode"]),
            (400, &json!("INVALID_REQUEST_PARAMETER")),
            "{below}: {body}"
        );
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
    // A change that names no envelope is one: what is sent cannot be sent again, nor be a draft.
    let id = client.create(with(&json!({}))).await;
    let path = format!("/envelopes/{id}");
    for status in ["sent", "created"] {
        assert_eq!(client.call("PUT", &path, json!({ "status": status })).await.0, 400, "{status}");
    }
    let drafted = format!("/envelopes/{}", client.create(with(&json!({ "status": "created" }))).await);
    assert_eq!(client.call("PUT", &drafted, json!({ "status": "created" })).await.0, 200);
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
        assert_eq!(refused_with(&body), None, "{body}");
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
    // What says nothing is not there; what says anything says where to.
    for absent in [json!({}), json!({ "url": null }), Value::Null] {
        client.create(with(&json!({ "eventNotification": absent, "eventNotifications": [absent] }))).await;
    }
    let nowhere = with(&json!({ "eventNotification": { "events": ["envelope-sent"] } }));
    assert_eq!(client.refusal(nowhere).await, "INVALID_REQUEST_PARAMETER");
    let account = |event: &str| json!({ "urlToPublishTo": "https://a.example/in", "events": [event], "name": "x", "configurationType": "custom", "allUsers": "true" });
    assert_eq!(client.call("POST", "/connect", account("envelope-foo")).await.0, 400);
    assert_eq!(client.call("POST", "/connect", account("envelope-created")).await.0, 201);
}

#[tokio::test]
async fn the_older_lists_have_words_of_their_own() {
    let client = Client::start().await;
    let envelope = |word: &str| json!({ "envelopeEvents": [{ "envelopeEventStatusCode": word }] });
    let recipient = |word: &str| json!({ "recipientEvents": [{ "recipientEventStatusCode": word }] });
    for (mut notification, is_taken) in [
        (envelope("completed"), true),
        (envelope("Draft"), true),
        (envelope("signed"), true),
        (envelope("Finished"), false),
        (envelope("AutoResponded"), false),
        (recipient("AuthenticationFailed"), true),
        (recipient("Signed"), true),
        (recipient("Voided"), false),
    ] {
        notification["url"] = json!("https://a.example/in");
        let definition = with(&json!({ "eventNotification": notification }));
        if is_taken {
            client.create(definition).await;
        } else {
            assert_eq!(client.refusal(definition).await, "INVALID_REQUEST_PARAMETER", "{notification}");
        }
    }
    for (list, word, status) in [
        ("envelopeEvents", "Completed", 201),
        ("envelopeEvents", "signed", 201),
        ("envelopeEvents", "finished", 400),
        ("recipientEvents", "Declined", 201),
        ("recipientEvents", "voided", 400),
    ] {
        let mut account = json!({ "urlToPublishTo": "https://a.example/in", "name": "x", "configurationType": "custom", "allUsers": "true" });
        account[list] = json!([word]);
        assert_eq!(client.call("POST", "/connect", account).await.0, status, "{list}: {word}");
    }
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
    let payment = json!([{ "anchorString": "/sn1/", "formula": "1", "paymentDetails": { "gatewayAccountId": "none" } }]);
    let refused = |(status, body): (u16, Value), what: &str| {
        assert_eq!((status, &body["errorCode"]), (400, &json!("PLAN_ITEM_NOT_ENABLED")), "{what}: {body}");
        assert!(body["message"].as_str().unwrap().contains("not emulated"), "{what}: {body}");
    };
    for more in [
        json!({ "recipientViewRequest": { "returnUrl": "https://a.example/", "authenticationMethod": "none" } }),
        json!({ "envelopeId": "4c890a42-225f-42c1-9713-d1200305274b" }),
        signed_by(json!({ "signingGroupId": "1" })),
        signed_by(json!({ "idCheckConfigurationName": "ID Check $" })),
        signed_by(json!({ "socialAuthentications": [{ "authentication": "Facebook" }] })),
        signed_by(json!({
            "idCheckConfigurationName": "Phone Auth $", "phoneAuthentication": { "recipMayProvideNumber": "true" },
        })),
        signed_by(json!({ "tabs": { "formulaTabs": payment } })),
    ] {
        refused(client.call("POST", "/envelopes", with(&more)).await, &more.to_string());
    }
    for kind in ["agents", "editors", "intermediaries", "notaries", "participants", "seals", "witnesses"] {
        let mut more = signed_by(json!({}));
        more["recipients"][kind] = json!([{ "recipientId": "2", "name": "Bob", "email": "bob@example.com" }]);
        refused(client.call("POST", "/envelopes", with(&more)).await, kind);
    }
    let template = json!({ "name": "T", "documents": [document("/sn1/")], "workflow": steps });
    refused(client.call("POST", "/templates", template).await, "a template");
    let id = client.create(with(&json!({ "status": "created" }))).await;
    let path = format!("/envelopes/{id}");
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
