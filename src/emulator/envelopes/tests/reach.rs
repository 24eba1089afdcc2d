//! How recipients are reached: by mail or by phone.

use serde_json::{Value, json};

use super::testing::{Client, definition, document, refused_with, signer, with_phone};

/// A remote signer of this name, with these members more.
fn remote(name: &str, more: &Value) -> Value {
    let mut one = signer("1", name, "/sn1/");
    for member in ["clientUserId", "email"] {
        one.as_object_mut().unwrap().remove(member);
    }
    one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    one
}

fn phone() -> Value {
    json!({ "countryCode": "49", "number": "1511234567" })
}

fn draft(one: Value) -> Value {
    let mut whole = definition(&[one]);
    whole["status"] = json!("created");
    whole
}

/// Sends a draft: the code and the words of a refusal.
async fn send(client: &Client, id: &str) -> (u16, String) {
    let (status, body) = client.call("PUT", &format!("/envelopes/{id}"), json!({ "status": "sent" })).await;
    (status, body["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_phone_number_may_come_later_than_its_way_of_delivery_and_is_there_on_sending() {
    let client = Client::start().await;
    let by_sms = json!({ "deliveryMethod": "SMS" });
    let second = json!({ "email": "ada@example.com", "additionalNotifications": [
        { "secondaryDeliveryMethod": "WhatsApp" },
    ] });
    for way in [&by_sms, &second] {
        let id = client.create(draft(remote("Ada", way))).await;
        let (status, words) = send(&client, &id).await;
        assert_eq!(status, 400, "{way}");
        assert!(
            words.contains("recipient 1 has no phoneNumber") && !words.contains("countryCode"),
            "{words}"
        );
        let number = json!({ "signers": [{ "recipientId": "1", "phoneNumber": phone() }] });
        let (_, body) = client.call("PUT", &format!("/envelopes/{id}/recipients"), number).await;
        assert_eq!(refused_with(&body), None, "{body}");
        assert_eq!(send(&client, &id).await.0, 200, "{way}");
        assert_eq!(
            client.refusal(definition(&[remote("Ada", way)])).await,
            "INVALID_REQUEST_PARAMETER",
            "{way}"
        );
    }
    // What is said is looked at, in a draft, too.
    for wrong in [
        json!({ "deliveryMethod": "SMS", "phoneNumber": { "countryCode": "+49", "number": "1511234567" } }),
        json!({ "deliveryMethod": "SMS", "clientUserId": "1" }),
    ] {
        assert_eq!(
            client.refusal(draft(remote("Ada", &wrong))).await,
            "INVALID_REQUEST_PARAMETER",
            "{wrong}"
        );
    }
    let mut role = remote("", &by_sms);
    role["roleName"] = json!("Client");
    let template = json!({ "name": "T", "emailSubject": "T", "documents": [document("/sn1/")], "recipients": { "signers": [role] } });
    let (status, made) = client.call("POST", "/templates", template).await;
    assert_eq!(status, 201, "{made}");
    let from = |more: Value| {
        let mut role = json!({ "roleName": "Client", "name": "Ada" });
        role.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "status": "sent", "templateId": made["templateId"], "templateRoles": [role] })
    };
    let id = client.create(from(json!({ "phoneNumber": phone() }))).await;
    let ada = client.get(&format!("/envelopes/{id}/recipients")).await["signers"][0].clone();
    assert_eq!((&ada["deliveryMethod"], &ada["phoneNumber"]), (&json!("SMS"), &phone()), "{ada}");
    assert_eq!(client.refusal(from(json!({}))).await, "INVALID_REQUEST_PARAMETER");
}

#[tokio::test]
async fn who_has_a_phone_and_no_address_is_reached_by_sms() {
    let client = Client::start().await;
    let ways = async |id: &str| {
        let one = client.get(&format!("/envelopes/{id}/recipients")).await["signers"][0].clone();
        (one["deliveryMethod"].clone(), one["status"].clone())
    };
    let by_phone = remote("Ada", &json!({ "phoneNumber": phone() }));
    let id = client.create(definition(std::slice::from_ref(&by_phone))).await;
    assert_eq!(ways(&id).await, (json!("SMS"), json!("sent")));
    // An address that comes later is taken before the phone.
    let path = format!("/envelopes/{id}/recipients");
    let known = json!({ "signers": [{ "recipientId": "1", "email": "ada@example.com" }] });
    let (_, body) = client.call("PUT", &path, known).await;
    assert_eq!((refused_with(&body), ways(&id).await.0), (None, json!("email")), "{body}");

    let id = client.create(draft(by_phone.clone())).await;
    assert_eq!(ways(&id).await, (json!("SMS"), json!("created")));
    assert_eq!(send(&client, &id).await.0, 200);

    let with = |more: Value| {
        let mut one = by_phone.clone();
        one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        definition(&[one])
    };
    for (definition, code) in [
        (with(json!({ "deliveryMethod": "email" })), "INVALID_EMAIL_ADDRESS_FOR_RECIPIENT"),
        (with(json!({ "clientUserId": "client-1" })), "INVALID_EMAIL_ADDRESS_FOR_RECIPIENT"),
        (with(json!({ "phoneNumber": { "countryCode": "49" } })), "INVALID_REQUEST_PARAMETER"),
        (definition(&[with_phone(by_phone.clone())]), "INVALID_REQUEST_PARAMETER"),
    ] {
        assert_eq!(client.refusal(definition.clone()).await, code, "{definition}");
    }
}

#[tokio::test]
async fn a_role_and_a_copy_of_a_bulk_send_are_reached_by_sms_too() {
    let client = Client::start().await;
    let template = &client.emulator.ready.template_id;
    let role = json!({ "roleName": "Client", "name": "Ada", "phoneNumber": phone() });
    let id =
        client.create(json!({ "status": "sent", "templateId": template, "templateRoles": [role] })).await;
    let all = client.get(&format!("/envelopes/{id}/recipients")).await;
    assert_eq!(all["signers"][0]["deliveryMethod"], "SMS", "{all}");

    let mut placeholder = remote("Multi Bulk Recipient", &json!({ "deliveryMethod": "Email" }));
    placeholder["email"] = json!("multiBulkRecipients-signer@docusign.com");
    let source = client.create(draft(placeholder)).await;
    let copy = json!({ "recipients": [{ "recipientId": "1", "name": "Ada", "phoneNumber": phone() }] });
    let (status, list) =
        client.call("POST", "/bulk_send_lists", json!({ "name": "By phone", "bulkCopies": [copy] })).await;
    assert_eq!(status, 201, "{list}");
    let path = format!("/bulk_send_lists/{}/send", list["listId"].as_str().unwrap());
    let (_, batch) = client.call("POST", &path, json!({ "envelopeOrTemplateId": source })).await;
    let path = format!("/bulk_send_batch/{}", batch["batchId"].as_str().unwrap());
    assert_eq!(client.get(&path).await["sent"], "1");
    let made = client.get(&format!("{path}/envelopes?include=recipients")).await["envelopes"][0].clone();
    let ada = &made["recipients"]["signers"][0];
    assert_eq!((&ada["deliveryMethod"], &ada["email"]), (&json!("SMS"), &json!("")), "{made}");
}

#[tokio::test]
async fn the_test_of_a_bulk_list_says_which_phones_no_copy_can_be_sent_to() {
    let client = Client::start().await;
    let mut placeholder = remote("Multi Bulk Recipient", &json!({ "deliveryMethod": "Email" }));
    placeholder["email"] = json!("multiBulkRecipients-signer@docusign.com");
    let plain = client.create(draft(placeholder.clone())).await;
    let checked = client.create(draft(with_phone(placeholder))).await;
    for (source, more, code) in [
        (&plain, json!({ "phoneNumber": phone() }), None),
        (&plain, json!({ "deliveryMethod": "SMS" }), Some("INVALID_REQUEST_PARAMETER")),
        (&plain, json!({ "phoneNumber": { "countryCode": "49" } }), Some("INVALID_REQUEST_PARAMETER")),
        (&checked, json!({ "phoneNumber": phone() }), Some("INVALID_REQUEST_PARAMETER")),
        (
            &plain,
            json!({ "phoneNumber": phone(), "clientUserId": "1" }),
            Some("INVALID_EMAIL_ADDRESS_FOR_RECIPIENT"),
        ),
    ] {
        let mut one = json!({ "recipientId": "1", "name": "Ada" });
        one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let list = json!({ "name": "By phone", "bulkCopies": [{ "recipients": [one] }] });
        let (_, list) = client.call("POST", "/bulk_send_lists", list).await;
        let path = format!("/bulk_send_lists/{}", list["listId"].as_str().unwrap());
        let request = json!({ "envelopeOrTemplateId": source });
        let (_, tested) = client.call("POST", &format!("{path}/test"), request.clone()).await;
        assert_eq!(tested["canBeSent"], json!(code.is_none()), "{more}: {tested}");
        let codes: Vec<&str> = code.into_iter().collect();
        assert_eq!(tested["validationErrors"], json!(codes), "{more}: {tested}");
        let (_, batch) = client.call("POST", &format!("{path}/send"), request).await;
        let batch = client.get(&format!("/bulk_send_batch/{}", batch["batchId"].as_str().unwrap())).await;
        assert_eq!(batch["failed"], if code.is_none() { "0" } else { "1" }, "{more}: {batch}");
    }
}

#[tokio::test]
async fn a_number_that_is_all_there_is_to_reach_somebody_is_looked_at_in_a_draft_too() {
    let client = Client::start().await;
    let partly = json!({ "countryCode": "49" });
    let alone = draft(remote("Ada", &json!({ "phoneNumber": partly })));
    assert_eq!(client.refusal(alone).await, "INVALID_REQUEST_PARAMETER");
    for beside in [json!({ "email": "ada@example.com" }), json!({ "clientUserId": "1" })] {
        let mut one = remote("Ada", &beside);
        one["phoneNumber"] = partly.clone();
        client.create(draft(one)).await;
    }
}

#[tokio::test]
async fn an_account_without_sms_delivery_sends_nothing_to_a_phone() {
    let client = Client::start().await;
    let allow = async |is_on: bool| {
        let (status, body) = client.call("PUT", "/settings", json!({ "allowSMSDelivery": is_on })).await;
        assert_eq!(status, 200, "{body}");
    };
    let ways = [
        json!({ "phoneNumber": phone() }),
        json!({ "phoneNumber": phone(), "deliveryMethod": "WhatsApp" }),
        json!({ "email": "ada@example.com", "additionalNotifications": [
            { "secondaryDeliveryMethod": "SMS", "phoneNumber": phone() },
        ] }),
    ];
    for way in &ways {
        let earlier = client.create(draft(remote("Ada", way))).await;
        let by_mail = client.create(draft(remote("Ada", &json!({ "email": "ada@example.com" })))).await;
        allow(false).await;
        for definition in [definition(&[remote("Ada", way)]), draft(remote("Ada", way))] {
            assert_eq!(client.refusal(definition).await, "PLAN_ITEM_NOT_ENABLED", "{way}");
        }
        let template = json!({ "name": "T", "recipients": { "signers": [remote("Ada", way)] } });
        let (status, body) = client.call("POST", "/templates", template).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("PLAN_ITEM_NOT_ENABLED")), "{way}");
        let (status, words) = send(&client, &earlier).await;
        assert!(status == 400 && words.contains("allowSMSDelivery"), "{way}: {words}");
        // A number alone is no way of delivery where there is an address.
        let number = json!({ "signers": [{ "recipientId": "1", "phoneNumber": phone() }] });
        let path = format!("/envelopes/{by_mail}/recipients");
        let (_, body) = client.call("PUT", &path, number).await;
        assert_eq!((refused_with(&body), send(&client, &by_mail).await.0), (None, 200), "{body}");
        let second = json!({ "signers": [{ "recipientId": "1", "deliveryMethod": "SMS" }] });
        let (_, body) = client.call("PUT", &path, second).await;
        assert_eq!(refused_with(&body), Some("PLAN_ITEM_NOT_ENABLED"), "{body}");
        allow(true).await;
        assert_eq!(send(&client, &earlier).await.0, 200, "{way}");
    }
}

/// Who is named for the role of a template whose recipient has these members, by a role and by an inline template.
async fn named(client: &Client, known: &Value, more: &Value) -> [Value; 2] {
    let mut role = remote("", known);
    role["roleName"] = json!("Client");
    let template = json!({ "name": "T", "emailSubject": "T", "documents": [document("/sn1/")], "recipients": { "signers": [role] } });
    let (status, made) = client.call("POST", "/templates", template).await;
    assert_eq!(status, 201, "{made}");
    let template = &made["templateId"];
    let mut ada = json!({ "roleName": "Client", "name": "Ada" });
    ada.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let by_role = json!({ "status": "sent", "templateId": template, "templateRoles": [ada] });
    ada["recipientId"] = json!("1");
    let inline = json!({ "status": "sent", "compositeTemplates": [{
        "serverTemplates": [{ "sequence": "1", "templateId": template }],
        "inlineTemplates": [{ "sequence": "2", "recipients": { "signers": [ada] } }],
    }] });
    let read = async |definition: Value| {
        let id = client.create(definition).await;
        let one = client.get(&format!("/envelopes/{id}/recipients")).await["signers"][0].clone();
        json!([one["deliveryMethod"], one["email"]])
    };
    [read(by_role).await, read(inline).await]
}

#[tokio::test]
async fn a_role_with_a_phone_alone_leaves_what_its_template_says_of_an_address() {
    let client = Client::start().await;
    let by_phone = json!({ "phoneNumber": phone() });
    for (known, more, reached) in [
        (json!({ "deliveryMethod": "email" }), by_phone.clone(), json!(["SMS", ""])),
        (
            json!({ "deliveryMethod": "email", "email": "any@example.com" }),
            by_phone.clone(),
            json!(["SMS", ""]),
        ),
        (json!({ "deliveryMethod": "WhatsApp" }), by_phone.clone(), json!(["WhatsApp", ""])),
        (
            json!({ "deliveryMethod": "email" }),
            json!({ "phoneNumber": phone(), "email": "ada@example.com" }),
            json!(["email", "ada@example.com"]),
        ),
        (
            json!({ "deliveryMethod": "email", "email": "any@example.com" }),
            json!({ "phoneNumber": phone(), "clientUserId": "1" }),
            json!(["email", "any@example.com"]),
        ),
        // A way that its template locks is not left, and a way that is passed over leads nowhere else.
        (
            json!({ "deliveryMethod": "email", "email": "any@example.com", "templateLocked": "true" }),
            by_phone.clone(),
            json!(["email", "any@example.com"]),
        ),
        (
            json!({ "email": "any@example.com", "templateLocked": "true" }),
            json!({ "deliveryMethod": "SMS" }),
            json!(["email", "any@example.com"]),
        ),
    ] {
        let both = named(&client, &known, &more).await;
        assert_eq!(both, [reached.clone(), reached], "{known}, {more}");
    }
}

#[tokio::test]
async fn a_way_that_was_read_and_is_sent_back_does_not_keep_a_phone_from_being_one() {
    let client = Client::start().await;
    let id = client.create(draft(remote("Ada", &json!({})))).await;
    let path = format!("/envelopes/{id}/recipients");
    let mut read = client.get(&path).await;
    assert_eq!(read["signers"][0]["deliveryMethod"], "email");
    read["signers"][0]["phoneNumber"] = phone();
    let (_, body) = client.call("PUT", &path, read).await;
    assert_eq!(refused_with(&body), None, "{body}");
    assert_eq!(client.get(&path).await["signers"][0]["deliveryMethod"], "SMS");
    // It is another word than before.
    let by_mail = json!({ "signers": [{ "recipientId": "1", "deliveryMethod": "email" }] });
    let (_, body) = client.call("PUT", &path, by_mail).await;
    assert_eq!(refused_with(&body), None, "{body}");
    assert_eq!(send(&client, &id).await.0, 400, "mail needs an address");
    let by_phone = json!({ "signers": [{ "recipientId": "1", "deliveryMethod": "SMS" }] });
    client.call("PUT", &path, by_phone).await;
    assert_eq!(send(&client, &id).await.0, 200);
}
