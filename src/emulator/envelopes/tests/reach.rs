//! How recipients are reached: by mail or by phone.

use serde_json::{Value, json};

use super::testing::{Client, definition, document, refused_with, signer};

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
