//! What a correction may not leave behind: an envelope that a create would have refused.

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    connect::accept,
    testing::{Client, definition, document, refused_with, signer, view_of, with_phone},
};

fn together(id: &str, name: &str) -> Value {
    let mut signer = signer(id, name, "/sn1/");
    signer["routingOrder"] = json!("1");
    signer
}

#[tokio::test]
async fn an_envelope_without_recipients_stays_sent_and_waits_for_who_is_added() {
    let client = Client::start().await;
    let step = json!({ "action": "pause_before", "triggerOnItem": "routing_order", "itemId": "2" });
    let mut paused = definition(&[together("1", "Ada"), together("2", "Bob")]);
    paused["workflow"] = json!({ "workflowSteps": [step] });
    for (whole, turn) in
        [(definition(&[together("1", "Ada"), together("2", "Bob")]), "sent"), (paused, "created")]
    {
        let id = client.create(whole).await;
        let envelope = format!("/envelopes/{id}");
        let path = format!("{envelope}/recipients");
        assert_eq!(client.call("DELETE", &format!("{path}/2"), Value::Null).await.0, 200);
        let (status, gone) =
            client.call("DELETE", &path, json!({ "signers": [{ "recipientId": "1" }] })).await;
        assert_eq!((status, &gone["recipientCount"]), (200, &json!("0")), "{gone}");
        let left = client.get(&path).await;
        assert_eq!((&left["recipientCount"], &left["currentRoutingOrder"]), (&json!("0"), &json!("1")));
        // Nothing that looks at it, or sends it again, ends it.
        for below in ["/form_data", "/audit_events", "/documents", "?include=recipients,tabs"] {
            client.get(&format!("{envelope}{below}")).await;
        }
        assert!(client.bytes(&format!("{envelope}/documents/certificate")).await.starts_with(b"%PDF"));
        let (status, body) = client.call("PUT", &format!("{envelope}?resend_envelope=true"), json!({})).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(client.get(&envelope).await["status"], "sent");

        let late = signer("3", "Eve", "/sn1/");
        let mut late = json!({ "signers": [late] });
        late["signers"][0]["routingOrder"] = json!("2");
        let (status, added) = client.call("POST", &path, late).await;
        assert_eq!((status, &added["signers"][0]["status"]), (201, &json!(turn)), "{added}");
        assert_eq!(client.get(&envelope).await["status"], "sent");
        if turn == "created" {
            let on = json!({ "workflow": { "workflowStatus": "in_progress" } });
            let (status, body) = client.call("PUT", &format!("{envelope}?resend_envelope=true"), on).await;
            assert_eq!(status, 200, "{body}");
        }
        client.act(&id, "3", "sign", json!({})).await;
        assert_eq!(client.get(&envelope).await["status"], "completed");
    }
}

#[tokio::test]
async fn who_has_finished_is_not_deleted_and_ends_what_nobody_else_is_left_of() {
    let client = Client::start().await;
    // Who has signed is somebody: then the last one who waits may go, and it is complete.
    let id = client.create(definition(&[together("1", "Ada"), together("2", "Bob")])).await;
    client.act(&id, "1", "sign", json!({})).await;
    let path = format!("/envelopes/{id}/recipients");
    let (status, body) = client.call("DELETE", &format!("{path}/1"), Value::Null).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("RECIPIENT_UPDATE_FAILED")));
    assert_eq!(client.call("DELETE", &format!("{path}/2"), Value::Null).await.0, 200);
    assert_eq!(client.get(&format!("/envelopes/{id}")).await["status"], "completed");

    // A draft may be empty.
    let mut draft = definition(&[together("1", "Ada")]);
    draft["status"] = json!("created");
    let id = client.create(draft).await;
    let path = format!("/envelopes/{id}/recipients/1");
    assert_eq!(client.call("DELETE", &path, Value::Null).await.0, 200);
    assert_eq!(client.get(&format!("/envelopes/{id}")).await["status"], "created");
}

#[tokio::test]
async fn one_who_is_added_before_the_others_gets_the_turn() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/"), signer("2", "Bob", "/sn2/")])).await;
    client.act(&id, "1", "sign", json!({})).await;
    let path = format!("/envelopes/{id}/recipients");
    let mut late = signer("3", "Eve", "/sn1/");
    late["routingOrder"] = json!("1");
    assert_eq!(client.call("POST", &path, json!({ "signers": [late] })).await.0, 201);
    let all = client.get(&path).await;
    assert_eq!((&all["currentRoutingOrder"], &all["signers"][2]["status"]), (&json!("1"), &json!("sent")));

    let correction = json!({ "signers": [{ "recipientId": "1", "name": "Grace" }] });
    let result = client.call("PUT", &path, correction.clone()).await.1["recipientUpdateResults"][0].clone();
    let words = "The recipient could not be updated.  Recipient not in state that allows correction.";
    assert_eq!(result["errorDetails"], json!({ "errorCode": "RECIPIENT_UPDATE_FAILED", "message": words }));
    for recipient in ["3", "2"] {
        client.act(&id, recipient, "sign", json!({})).await;
    }
    let (status, body) = client.call("PUT", &path, correction).await;
    let words = "Invalid envelope status. Envelope status is not one of: Created, Sent, Delivered, Correct.";
    assert_eq!((status, &body["message"]), (400, &json!(words)));
}

#[tokio::test]
async fn one_who_is_moved_behind_the_others_waits_again_unless_the_envelope_was_opened() {
    let client = Client::start().await;
    let two = definition(&[with_phone(signer("1", "Ada", "/sn1/")), signer("2", "Bob", "/sn2/")]);
    let behind = json!({ "signers": [{ "recipientId": "1", "routingOrder": "3" }] });
    let id = client.create(two.clone()).await;
    let path = format!("/envelopes/{id}/recipients");
    let view = async || client.view(&id, view_of("1", "Ada")).await;
    let statuses = async || {
        let all = client.get(&path).await;
        let signers = all["signers"].as_array().unwrap().iter().map(|one| one["status"].clone());
        (signers.collect::<Vec<_>>(), all["currentRoutingOrder"].clone(), all)
    };
    let opened = client.browse(&view().await.unwrap()).await.1;
    assert!(client.browse(&opened).await.2.contains("+49"), "the check comes first: nobody has seen it");
    let unopened = view().await.unwrap();
    assert_eq!(client.call("PUT", &path, behind.clone()).await.0, 200);
    let (signers, order, all) = statuses().await;
    assert_eq!((signers, order), (vec![json!("created"), json!("sent")], json!("2")), "{all}");
    assert_eq!(all["signers"][0].get("sentDateTime"), None, "{all}");
    assert_eq!(view().await.unwrap_err(), "RECIPIENT_NOT_IN_SEQUENCE");
    // Nor does a view of before let anybody sign out of turn.
    let session = client.browse(&unopened).await.1;
    let (status, back, _) = client.browse(&session).await;
    assert_eq!((status, back.as_str()), (302, "https://www.example.com/done?order=1&event=ttl_expired"));
    client.act(&id, "2", "sign", json!({})).await;
    assert_eq!(statuses().await.0, ["sent", "completed"].map(|it| json!(it)));
    client.act(&id, "1", "sign", json!({})).await;
    assert_eq!(client.get(&format!("/envelopes/{id}")).await["status"], "completed");

    let id = client.create(two).await;
    let path = format!("/envelopes/{id}/recipients");
    client.act(&id, "1", "open", json!({})).await;
    assert_eq!(client.call("PUT", &path, behind).await.0, 200);
    let all = client.get(&path).await;
    assert_eq!(
        (&all["signers"][0]["status"], &all["currentRoutingOrder"]),
        (&json!("delivered"), &json!("2"))
    );
    assert!(client.view(&id, view_of("1", "Ada")).await.is_ok());
}

#[tokio::test]
async fn a_correction_is_held_to_what_a_create_is() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let path = format!("/envelopes/{id}/recipients");
    for (field, value, code) in [
        ("email", json!("not-an-email"), "INVALID_EMAIL_ADDRESS_FOR_RECIPIENT"),
        ("email", json!(""), "INVALID_EMAIL_ADDRESS_FOR_RECIPIENT"),
        ("name", json!(""), "ENVELOPE_IS_INCOMPLETE"),
        ("name", json!(" "), "ENVELOPE_IS_INCOMPLETE"),
        ("name", json!(null), ""),
    ] {
        let mut one = json!({ "recipientId": "1" });
        one[field] = value;
        let (status, body) = client.call("PUT", &path, json!({ "signers": [one] })).await;
        assert_eq!(status, 200);
        assert_eq!(refused_with(&body).unwrap_or_default(), code, "{field}");
    }
    let ada = client.get(&path).await["signers"][0].clone();
    assert_eq!((&ada["name"], &ada["email"]), (&json!("Ada"), &json!("ada@example.com")));
    let nameless = json!({ "signers": [{ "recipientId": "2", "email": "bob@example.com" }] });
    let (status, body) = client.call("POST", &path, nameless).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("ENVELOPE_IS_INCOMPLETE")));
}

#[tokio::test]
async fn a_correction_tells_who_was_changed_and_details_of_who_was_not() {
    let client = Client::start().await;
    for status in ["created", "sent"] {
        let mut whole = definition(&[signer("1", "Ada", "/sn1/")]);
        whole["status"] = json!(status);
        let id = client.create(whole).await;
        let path = format!("/envelopes/{id}/recipients");
        let ada = client.guid(&id, "1").await;
        let change = json!({ "signers": [
            { "recipientId": "1", "note": "Please" }, { "recipientId": "1", "accessCode": "a<b" },
            { "recipientId": "9", "name": "Eve", "email": "eve@example.com" },
        ] });
        let (code, body) = client.call("PUT", &path, change).await;
        let results = body["recipientUpdateResults"].as_array().unwrap();
        assert_eq!((code, results.len()), (200, 3), "{body}");
        assert_eq!(results[0], json!({ "recipientId": "1", "recipientIdGuid": ada }), "{body}");
        assert_eq!(results[1]["recipientIdGuid"], json!(ada), "{body}");
        assert_eq!(results[1]["errorDetails"]["errorCode"], "INVALID_REQUEST_PARAMETER", "{body}");
        // Who is not there is added to a draft, and to nothing else.
        let added = if status == "created" { json!(client.guid(&id, "9").await) } else { Value::Null };
        assert_eq!(
            (&results[2]["recipientId"], &results[2]["recipientIdGuid"]),
            (&json!("9"), &added),
            "{body}"
        );
        let refused = if status == "created" { Value::Null } else { json!("INVALID_RECIPIENT_ID") };
        assert_eq!(results[2]["errorDetails"]["errorCode"], refused, "{body}");
    }
}

#[tokio::test]
async fn a_tab_is_moved_only_to_a_place_that_is_there() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let path = format!("/envelopes/{id}/recipients/1/tabs");
    let before = client.get(&path).await;
    let tab = before["signHereTabs"][0]["tabId"].clone();
    let put = async |list: &str, mut change: Value| {
        change["tabId"] = tab.clone();
        let (status, body) = client.call("PUT", &path, json!({ list: [change] })).await;
        (status, body["errorCode"].as_str().unwrap_or_default().to_owned())
    };
    let refused = |code: &str| (400, code.to_owned());
    let elsewhere = put("signHereTabs", json!({ "documentId": "9" })).await;
    assert_eq!(elsewhere, refused("TAB_REFERS_TO_MISSING_DOCUMENT"));
    for (place, code) in [
        (json!({ "xPosition": "99999" }), "TAB_OUT_OF_BOUNDS"),
        (json!({ "pageNumber": "7" }), "TAB_PAGENUMBER_IS_NOT_IN_DOCUMENT"),
        (json!({ "yPosition": -1 }), "INVALID_REQUEST_PARAMETER"),
    ] {
        assert_eq!(put("signHereTabs", place.clone()).await, refused(code), "{place}");
    }
    assert_eq!(put("textTabs", json!({ "value": "x" })).await, refused("INVALID_TAB_ID"));
    assert_eq!(client.get(&path).await, before, "what is refused changes nothing");
    assert_eq!(put("signHereTabs", json!({ "xPosition": "10", "yPosition": "20" })).await.0, 200);
    assert_eq!(client.get(&path).await["signHereTabs"][0]["xPosition"], "10");
    // A list that was read can be sent back as it is.
    assert_eq!(client.call("PUT", &path, before).await.0, 200);
}

#[tokio::test]
async fn tabs_of_one_who_has_finished_stay_as_they_are() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/"), signer("2", "Bob", "/sn2/")])).await;
    client.act(&id, "1", "sign", json!({})).await;
    let path = format!("/envelopes/{id}/recipients/1/tabs");
    let tab = client.get(&path).await["textTabs"][0]["tabId"].clone();
    let change = json!({ "textTabs": [{ "tabId": tab, "value": "late" }] });
    let (status, body) = client.call("PUT", &path, change).await;
    let words = "The Tab specified is not valid for the requested operation. Recipient not in state that allows correction.";
    assert_eq!((status, body), (400, json!({ "errorCode": "INVALID_TAB_OPERATION", "message": words })));
}

#[tokio::test]
async fn of_what_was_sent_only_what_the_vendor_lists_is_corrected() {
    let client = Client::start().await;
    for (status, first, role) in [("created", "Grace", "Other"), ("sent", "Ada", "Client")] {
        let mut whole = definition(&[signer("1", "Ada", "/sn1/")]);
        whole["status"] = json!(status);
        whole["recipients"]["signers"][0]["firstName"] = json!("Ada");
        whole["recipients"]["signers"][0]["roleName"] = json!("Client");
        let path = format!("/envelopes/{}/recipients", client.create(whole).await);
        let change = json!({
            "recipientId": "1", "firstName": "Grace", "roleName": "Other", "note": "Please", "accessCode": "1234",
            "customFields": ["kept"], "suppressEmails": "true", "status": "completed",
        });
        let (_, body) = client.call("PUT", &path, json!({ "signers": [change] })).await;
        assert_eq!(refused_with(&body), None, "{body}");
        let ada = client.get(&path).await["signers"][0].clone();
        assert_eq!((&ada["firstName"], &ada["roleName"]), (&json!(first), &json!(role)), "{status}: {ada}");
        assert_eq!((&ada["note"], &ada["accessCode"]), (&json!("Please"), &json!("1234")), "{status}: {ada}");
        assert_eq!(
            (&ada["customFields"], &ada["suppressEmails"]),
            (&json!(["kept"]), &json!("true")),
            "{ada}"
        );
        assert_eq!(ada["status"], status, "{ada}");
    }
}

#[tokio::test]
async fn of_several_that_are_added_all_come_or_none() {
    let client = Client::start().await;
    for status in ["created", "sent"] {
        let mut whole = definition(&[signer("1", "Ada", "/sn1/")]);
        whole["status"] = json!(status);
        let path = format!("/envelopes/{}/recipients", client.create(whole).await);
        let before = client.get(&path).await;
        let two = json!({ "signers": [signer("2", "Bob", "/sn2/"), signer("1", "Eve", "/sn1/")] });
        let (code, body) = client.call("POST", &path, two).await;
        assert_eq!((code, &body["errorCode"]), (400, &json!("INVALID_RECIPIENT_ID")), "{status}: {body}");
        assert_eq!(client.get(&path).await, before, "{status}");
    }
}

#[tokio::test]
async fn whoever_changes_the_recipients_of_a_draft_changes_the_draft() {
    let client = Client::start().await;
    let mut draft = definition(&[signer("1", "Ada", "/sn1/")]);
    draft["status"] = json!("created");
    let path = format!("/envelopes/{}", client.create(draft).await);
    let mut last = client.get(&path).await["lastModifiedDateTime"].clone();
    for (method, below, body) in [
        ("POST", "/recipients", json!({ "signers": [signer("2", "Bob", "/sn2/")] })),
        ("PUT", "/recipients", json!({ "signers": [{ "recipientId": "2", "name": "Grace" }] })),
        ("DELETE", "/recipients/2", Value::Null),
    ] {
        client.advance(60).await;
        let (status, answer) = client.call(method, &format!("{path}{below}"), body).await;
        assert!(status < 300, "{method}: {answer}");
        let now = client.get(&path).await["lastModifiedDateTime"].clone();
        assert_ne!(now, last, "{method}");
        last = now;
    }
}

#[tokio::test]
async fn an_addition_is_answered_with_what_is_added_and_with_the_counts_of_all() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/"), signer("2", "Bob", "/sn2/")])).await;
    client.act(&id, "1", "sign", json!({})).await;
    let path = format!("/envelopes/{id}/recipients");
    let (status, added) =
        client.call("POST", &path, json!({ "signers": [signer("3", "Eve", "/sn1/")] })).await;
    assert_eq!((status, added["signers"].as_array().unwrap().len()), (201, 1), "{added}");
    let all = client.get(&path).await;
    for (name, value) in [("recipientCount", "3"), ("currentRoutingOrder", "2")] {
        assert_eq!((&added[name], &all[name]), (&json!(value), &json!(value)), "{name}");
    }
}

#[tokio::test]
async fn a_deletion_is_answered_with_who_was_deleted_and_with_the_counts_of_the_others() {
    let client = Client::start().await;
    let three = [together("1", "Ada"), together("2", "Bob"), together("3", "Eve")];
    for status in ["created", "sent"] {
        let mut whole = definition(&three);
        whole["status"] = json!(status);
        whole["recipients"]["carbonCopies"] = json!([{ "recipientId": "4", "routingOrder": "2", "name": "Carol", "email": "carol@example.com" }]);
        let path = format!("/envelopes/{}/recipients", client.create(whole).await);
        let (code, gone) = client.call("DELETE", &format!("{path}/2"), Value::Null).await;
        let bob = &gone["signers"][0];
        assert_eq!(
            (code, &bob["recipientId"], &bob["status"]),
            (200, &json!("2"), &json!("deleted")),
            "{gone}"
        );
        assert_eq!((gone["signers"].as_array().unwrap().len(), &gone["recipientCount"]), (1, &json!("3")));

        let two = json!({ "signers": [{ "recipientId": "3" }], "carbonCopies": [{ "recipientId": "4" }] });
        let (code, gone) = client.call("DELETE", &path, two).await;
        for (list, id) in [("signers", "3"), ("carbonCopies", "4")] {
            let one = &gone[list][0];
            assert_eq!(
                (code, &one["recipientId"], &one["status"]),
                (200, &json!(id), &json!("deleted")),
                "{gone}"
            );
        }
        let left = client.get(&path).await;
        assert_eq!((&left["signers"][0]["recipientId"], &left["recipientCount"]), (&json!("1"), &json!("1")));
        assert_eq!(left["signers"][0]["status"], status, "{left}");
    }
}

#[tokio::test]
async fn one_who_is_sent_in_another_list_becomes_of_that_kind() {
    let client = Client::start().await;
    let id = client.create(definition(&[together("1", "Ada"), together("2", "Bob")])).await;
    let path = format!("/envelopes/{id}/recipients");
    let moved = async |list: &str, one: Value| {
        let (status, body) = client.call("PUT", &path, json!({ list: [one] })).await;
        assert_eq!(status, 200, "{body}");
        refused_with(&body).unwrap_or_default().to_owned()
    };
    client.act(&id, "2", "finish_later", json!({})).await;
    let reader = json!({ "recipientId": "2", "recipientType": "certifieddelivery" });
    assert_eq!(moved("certifiedDeliveries", reader).await, "");
    let all = client.get(&format!("{path}?include_tabs=true")).await;
    let bob = &all["certifiedDeliveries"][0];
    assert_eq!((all["signers"].as_array().unwrap().len(), &bob["name"]), (1, &json!("Bob")), "{all}");
    for (name, value) in [("recipientType", "certifieddelivery"), ("status", "sent"), ("totalTabCount", "0")]
    {
        assert_eq!(bob[name], value, "{name}: {bob}");
    }
    assert_eq!((&bob["clientUserId"], &bob["email"]), (&json!("client-2"), &json!("bob@example.com")));
    assert_eq!((bob.get("tabs"), bob.get("creationReason")), (None, None), "{bob}");

    // A guest needs a host, and a host is no guest.
    let guest = json!({ "recipientId": "2", "hostName": "Sofia Sender" });
    assert_eq!(moved("inPersonSigners", guest.clone()).await, "INVALID_EMAIL_ADDRESS_FOR_RECIPIENT");
    let mut guest = guest;
    guest["hostEmail"] = json!("system@countersign.example");
    assert_eq!(moved("inPersonSigners", guest).await, "");
    let hosted = client.get(&path).await["inPersonSigners"][0].clone();
    assert_eq!((&hosted["signerName"], &hosted["status"]), (&json!("Bob"), &json!("sent")), "{hosted}");
    assert_eq!(moved("signers", json!({ "recipientId": "2" })).await, "INVALID_EMAIL_ADDRESS_FOR_RECIPIENT");

    // Who has signed stays what it is; and when the last one gets a copy only, nobody is waited for.
    client.act(&id, "1", "sign", json!({})).await;
    assert_eq!(moved("carbonCopies", json!({ "recipientId": "1" })).await, "RECIPIENT_UPDATE_FAILED");
    let copy = json!({ "recipientId": "2", "email": "bob@example.com" });
    assert_eq!(moved("carbonCopies", copy).await, "");
    let read = client.get(&format!("/envelopes/{id}?include=recipients")).await;
    let bob = &read["recipients"]["carbonCopies"][0];
    assert_eq!((&read["status"], &bob["status"]), (&json!("completed"), &json!("completed")), "{read}");
    assert_eq!((&bob["name"], bob.get("hostName")), (&json!("Bob"), None), "{bob}");
}

/// The signer with a check by SMS in the older form.
fn with_older_check(mut signer: Value, number: &str) -> Value {
    signer["idCheckConfigurationName"] = json!("SMS Auth $");
    signer["smsAuthentication"] = json!({ "senderProvidedNumbers": [number] });
    signer
}

#[tokio::test]
async fn one_form_of_an_identity_check_takes_the_place_of_the_other() {
    let client = Client::start().await;
    let older: (&str, &[&str]) = ("+4915122222222", &["identityVerification"]);
    let modern: (&str, &[&str]) = ("+4915112345678", &["idCheckConfigurationName", "smsAuthentication"]);
    let ada = signer("1", "Ada", "/sn1/");
    let (by_modern, by_older) = (with_phone(ada.clone()), with_older_check(ada, "+4915133333333"));
    let id = json!({ "recipientId": "1" });
    let named =
        json!({ "recipientId": "1", "roleName": "Client", "name": "Ada", "email": "ada@example.com" });
    for (first, (to, gone)) in [(by_modern, older), (by_older, modern)] {
        let check = |one: &Value| {
            if to == older.0 { with_older_check(one.clone(), to) } else { with_phone(one.clone()) }
        };
        let corrected = client.create(definition(std::slice::from_ref(&first))).await;
        let path = format!("/envelopes/{corrected}/recipients");
        let (_, body) = client.call("PUT", &path, json!({ "signers": [check(&id)] })).await;
        assert_eq!(refused_with(&body), None, "{body}");

        let mut role = first;
        role["roleName"] = json!("Client");
        let template = json!({ "name": "T", "emailSubject": "T", "documents": [document("Sign /sn1/")],
            "recipients": { "signers": [role] } });
        let template = client.call("POST", "/templates", template).await.1["templateId"].clone();
        let composed = client
            .create(json!({ "status": "sent", "emailSubject": "C", "compositeTemplates": [{
                "serverTemplates": [{ "sequence": "1", "templateId": template }],
                "inlineTemplates": [{ "sequence": "2", "recipients": { "signers": [check(&named)] } }],
            }] }))
            .await;
        for id in [corrected, composed] {
            client.act(&id, "1", "open", json!({})).await;
            let sent = client.emulator.control("GET", "outbox", Value::Null).await["messages"].clone();
            assert_eq!(sent.as_array().unwrap().last().unwrap()["to"], to, "{sent}");
            let ada = client.get(&format!("/envelopes/{id}/recipients")).await["signers"][0].clone();
            assert!(gone.iter().all(|name| ada.get(*name).is_none()), "{ada}");
        }
    }
}

#[tokio::test]
async fn a_deletion_of_what_was_sent_is_told_as_a_correction() {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sent = definition(&[together("1", "Ada"), together("2", "Bob"), together("3", "Eve")]);
    sent["eventNotification"] = json!({
        "url": format!("http://{}/in", receiver.local_addr().unwrap()), "events": ["envelope-corrected"],
    });
    let id = client.create(sent).await;
    let path = format!("/envelopes/{id}/recipients");
    let corrected = async || {
        let all = client.get(&format!("/envelopes/{id}/audit_events")).await;
        let fields = all["auditEvents"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|one| one["eventFields"].as_array().unwrap());
        fields.filter(|field| field["name"] == "Action" && field["value"] == "Corrected").count()
    };
    // By its GUID, too, as its tabs are reached.
    for (place, named) in [client.guid(&id, "1").await, "2".to_owned()].iter().enumerate() {
        let (status, gone) = client.call("DELETE", &format!("{path}/{named}"), Value::Null).await;
        assert_eq!((status, gone["signers"].as_array().unwrap().len()), (200, 1), "{gone}");
        assert_eq!(corrected().await, place + 1);
        let event: Value = serde_json::from_slice(&accept(&receiver).await.1).unwrap();
        assert_eq!(
            (&event["event"], &event["data"]["envelopeId"]),
            (&json!("envelope-corrected"), &json!(id))
        );
    }
    // Who is not named by an id is nobody, and then nobody goes.
    let eve = client.guid(&id, "3").await;
    for nobody in [json!({ "name": "Eve" }), json!({ "recipientIdGuid": eve }), json!({ "recipientId": "9" })]
    {
        let both = json!({ "signers": [{ "recipientId": "3" }, nobody] });
        let (status, body) = client.call("DELETE", &path, both).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_RECIPIENT_ID")), "{nobody}: {body}");
    }
    assert_eq!((client.get(&path).await["recipientCount"].clone(), corrected().await), (json!("1"), 2));
}
