//! Whole lives of envelopes, over real sockets.

use serde_json::{Value, json};

use super::testing::{Client, definition, refused_with, signer, view_of, with_phone};
use crate::emulator::pdf::read::{Matching, read};

#[tokio::test]
async fn a_view_that_is_deleted_leads_nowhere() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let url = client.view(&id, view_of("1", "Ada")).await.unwrap();
    let delete = async |url: &str| client.emulator.http.delete(url).send().await.unwrap().status().as_u16();
    assert_eq!(delete(&format!("{url}x")).await, 404, "who does not know it cannot take it away");
    assert_eq!(delete(&url).await, 200);
    assert_eq!(client.browse(&url).await.0, 404);
}

#[tokio::test]
async fn a_signer_walks_the_pages_from_the_view_to_the_signed_document() {
    let client = Client::start().await;
    let mut ada = with_phone(signer("1", "Ada", "/sn1/"));
    ada["accessCode"] = json!("Secret7");
    let id = client.create(definition(&[ada])).await;
    let url = client.view(&id, view_of("1", "Ada")).await.unwrap();
    assert!(url.contains("/Signing/MTRedeem/v1/") && url.contains("?slt="));

    let (status, session, _) = client.browse(&format!("{url}&locale=de_DE")).await;
    assert_eq!(status, 302);
    assert!(client.browse(&session).await.2.contains("Zugangscode"));
    assert_eq!(client.post(&session, &[("action", "access_code"), ("access_code", "wrong")]).await.0, 422);
    assert_eq!(client.post(&session, &[("action", "access_code"), ("access_code", "SECRET7")]).await.0, 302);
    assert!(client.browse(&session).await.2.contains("+49"));
    client.post(&session, &[("action", "send_code"), ("number", "0")]).await;
    let outbox = client.emulator.control("GET", "outbox", Value::Null).await;
    assert_eq!(outbox["messages"][0]["to"], "+4915112345678");
    let sms = outbox["messages"][0]["code"].as_str().unwrap().to_owned();
    client.post(&session, &[("action", "check_code"), ("sms_code", &sms)]).await;
    assert_eq!(client.get(&format!("/envelopes/{id}")).await["status"], "sent");

    let (_, _, page) = client.browse(&session).await;
    assert!(page.contains("/sn1/") && page.contains("lang=\"de\""), "{page}");
    assert_eq!(client.get(&format!("/envelopes/{id}")).await["status"], "delivered");
    let field = page.split("name=\"tab-").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let field = format!("tab-{field}");
    let form = [("action", "sign"), ("name", "Ada"), (field.as_str(), "Analytical Ltd")];
    let (status, back, _) = client.post(&session, &form).await;
    assert_eq!((status, back.as_str()), (302, "https://www.example.com/done?order=1&event=signing_complete"));

    let envelope =
        client.get(&format!("/envelopes/{id}?include=recipients,tabs,documents,custom_fields")).await;
    assert_eq!(envelope["status"], "completed");
    let signer = &envelope["recipients"]["signers"][0];
    assert_eq!(signer["recipientAuthenticationStatus"]["identityVerificationResult"]["status"], "Passed");
    assert_eq!(signer["recipientAuthenticationStatus"]["accessCodeResult"]["status"], "Passed");
    assert_eq!(signer["tabs"]["textTabs"][0]["value"], "Analytical Ltd");
    let combined =
        read(&client.bytes(&format!("/envelopes/{id}/documents/combined?certificate=true")).await).unwrap();
    assert!(combined.pages.len() >= 2);
    for words in
        ["Analytical Ltd", "DocuSign Envelope ID", "DEMONSTRATION DOCUMENT", "Certificate Of Completion"]
    {
        assert!(!combined.find(words, Matching::default()).is_empty(), "{words}");
    }
    let answer =
        client.emulator.call("GET", &format!("/envelopes/{id}/documents/1"), &client.token, None).await;
    assert_eq!(answer.headers()["content-disposition"], "file; filename=\"Contract.pdf\"; documentid=\"1\"");
    assert!(client.bytes(&format!("/envelopes/{id}/documents/archive")).await.starts_with(b"PK"));
    assert!(client.bytes(&format!("/envelopes/{id}/documents/certificate")).await.starts_with(b"%PDF"));
}

#[tokio::test]
async fn a_wrong_code_is_told_once_and_at_its_field() {
    let client = Client::start().await;
    let mut ada = with_phone(signer("1", "Ada", "/sn1/"));
    ada["accessCode"] = json!("Secret7");
    let id = client.create(definition(&[ada])).await;
    let session = client.browse(&client.view(&id, view_of("1", "Ada")).await.unwrap()).await.1;
    let marks = ["role=\"status\"", "role=\"alert\"", "aria-invalid=\"true\" aria-describedby=\"problem\""];
    let marked = |page: &str| marks.map(|mark| page.contains(mark));
    assert_eq!(marked(&client.browse(&session).await.2), [false; 3]);
    let wrong = [("action", "access_code"), ("access_code", "wrong")];
    assert_eq!(marked(&client.post(&session, &wrong).await.2), [false, true, true]);
    client.post(&session, &[("action", "access_code"), ("access_code", "Secret7")]).await;
    client.post(&session, &[("action", "send_code"), ("number", "0")]).await;
    assert_eq!(marked(&client.browse(&session).await.2), [true, false, false]);
    let wrong = [("action", "check_code"), ("sms_code", "none")];
    assert_eq!(marked(&client.post(&session, &wrong).await.2), [false, true, true]);
}

#[tokio::test]
async fn a_view_is_opened_once_and_within_five_minutes() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let url = client.view(&id, view_of("1", "Ada")).await.unwrap();
    assert!(client.browse(&url).await.1.starts_with("/Signing/StartInSession"));
    assert!(client.browse(&url).await.1.ends_with("&event=ttl_expired"));
    let late = client.view(&id, view_of("1", "Ada")).await.unwrap();
    client.advance(301).await;
    assert!(client.browse(&late).await.1.ends_with("&event=ttl_expired"));
    assert_eq!(client.browse(&url.replace("slt=", "slt=x")).await.0, 404);
}

#[tokio::test]
async fn every_other_way_out_has_its_event() {
    let client = Client::start().await;
    for (action, reason, event) in [
        ("finish_later", "", "cancel"),
        ("decline", "too dear", "decline"),
        ("exception", "", "exception"),
        ("fax", "", "fax_pending"),
    ] {
        let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
        let url = client.view(&id, view_of("1", "Ada")).await.unwrap();
        let session = client.browse(&url).await.1;
        let (_, back, _) = client.post(&session, &[("action", action), ("reason", reason)]).await;
        assert!(back.ends_with(&format!("&event={event}")), "{action}: {back}");
    }
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let session = client.browse(&client.view(&id, view_of("1", "Ada")).await.unwrap()).await.1;
    client.advance(21 * 60).await;
    assert!(client.browse(&session).await.1.ends_with("&event=session_timeout"));
    client.act(&id, "1", "sign", json!({})).await;
    let session = client.browse(&client.view(&id, view_of("1", "Ada")).await.unwrap()).await.1;
    assert!(client.post(&session, &[("action", "close")]).await.1.ends_with("&event=viewing_complete"));

    let mut guarded = signer("1", "Ada", "/sn1/");
    guarded["accessCode"] = json!("right");
    let id = client.create(definition(&[guarded])).await;
    let session = client.browse(&client.view(&id, view_of("1", "Ada")).await.unwrap()).await.1;
    let wrong = [("action", "access_code"), ("access_code", "no")];
    client.post(&session, &wrong).await;
    client.post(&session, &wrong).await;
    assert!(client.post(&session, &wrong).await.1.ends_with("&event=access_code_failed"));
}

#[tokio::test]
async fn a_newer_view_puts_the_signer_out_and_the_judge_sees_it() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let session = client.browse(&client.view(&id, view_of("1", "Ada")).await.unwrap()).await.1;
    assert_eq!(client.browse(&session).await.0, 200);
    client.view(&id, view_of("1", "Ada")).await.unwrap();
    assert_eq!(client.browse(&session).await.0, 409);
    let rules = client.emulator.control("GET", "rules", Value::Null).await;
    assert!(rules.to_string().contains("view_reminted"), "{rules}");
    let shown = rules["rules"][0]["requests"].as_array().unwrap();
    assert_eq!([&shown[0]["status"], &shown[1]["status"]], [201, 201], "{rules}");
}

#[tokio::test]
async fn a_signer_is_put_out_also_where_the_request_of_their_view_was_forgotten() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    client.browse(&client.view(&id, view_of("1", "Ada")).await.unwrap()).await;
    client.emulator.control("DELETE", "requests", Value::Null).await;
    client.view(&id, view_of("1", "Ada")).await.unwrap();
    let rules = client.emulator.control("GET", "rules", Value::Null).await;
    assert_eq!(rules["rules"][0]["rule"], "view_reminted", "{rules}");
    let shown = rules["rules"][0]["requests"].as_array().unwrap();
    assert!(shown.len() == 1 && shown[0]["path"].as_str().unwrap().ends_with("/views/recipient"), "{rules}");
}

#[tokio::test]
async fn a_newer_view_of_one_that_nobody_is_in_breaks_no_rule() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let view = async || client.view(&id, view_of("1", "Ada")).await.unwrap();
    // Not opened, left, or idle for too long.
    view().await;
    let session = client.browse(&view().await).await.1;
    client.post(&session, &[("action", "finish_later")]).await;
    client.browse(&view().await).await;
    client.advance(21 * 60).await;
    view().await;
    let rules = client.emulator.control("GET", "rules", Value::Null).await;
    assert_eq!(rules["rules"], json!([]));
}

#[tokio::test]
async fn a_view_must_match_to_the_letter() {
    let client = Client::start().await;
    let mut remote = signer("2", "Bob", "/sn2/");
    remote.as_object_mut().unwrap().remove("clientUserId");
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/"), remote])).await;
    let unknown = Err("UNKNOWN_ENVELOPE_RECIPIENT".to_owned());
    for (field, value) in [
        ("userName", "ada"),
        ("userName", "Ada "),
        ("email", "Ada@example.com"),
        ("clientUserId", "client-2"),
        ("recipientId", "9"),
    ] {
        let mut request = view_of("1", "Ada");
        request[field] = json!(value);
        assert_eq!(client.view(&id, request).await, unknown, "{field}");
    }
    let mut request = view_of("2", "Bob");
    request.as_object_mut().unwrap().remove("clientUserId");
    assert_eq!(client.view(&id, request).await, unknown);
    for (field, value) in [
        ("returnUrl", json!(null)),
        ("returnUrl", json!("www.example.com")),
        ("authenticationMethod", json!("guess")),
        ("frameAncestors", json!(["http://evil.example"])),
    ] {
        let mut request = view_of("1", "Ada");
        request[field] = value;
        assert_eq!(client.view(&id, request).await, Err("INVALID_REQUEST_PARAMETER".to_owned()), "{field}");
    }
    let recipients = client.get(&format!("/envelopes/{id}/recipients")).await;
    for (name, index, is_found) in [
        ("userId", 0, true),
        ("recipientId", 0, true),
        ("recipientIdGuid", 0, true),
        ("recipientIdGuid", 1, false),
    ] {
        let user = recipients["signers"][index][name].clone();
        let by_user = json!({ "returnUrl": "https://a.example/", "authenticationMethod": "NONE", "clientUserId": "client-1", "userId": user });
        assert_eq!(client.view(&id, by_user).await.is_ok(), is_found, "{name} {index}");
    }
}

#[tokio::test]
async fn signers_wait_for_their_turn_and_an_adopted_name_counts() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/"), signer("2", "Bob", "/sn2/")])).await;
    assert_eq!(client.view(&id, view_of("2", "Bob")).await, Err("RECIPIENT_NOT_IN_SEQUENCE".to_owned()));
    client.view(&id, view_of("1", "Ada")).await.unwrap();
    let left = client.act(&id, "1", "finish_later", json!({ "name": "Ada King" })).await;
    assert_eq!(left["redirect_url"], "https://www.example.com/done?order=1&event=cancel");
    assert_eq!(client.view(&id, view_of("1", "Ada")).await, Err("UNKNOWN_ENVELOPE_RECIPIENT".to_owned()));
    let mut current = view_of("1", "Ada");
    current["userName"] = json!("Ada King");
    assert!(client.view(&id, current).await.is_ok());
    client.act(&id, "1", "sign", json!({ "fields": { "company": "Engines" } })).await;
    assert!(client.view(&id, view_of("2", "Bob")).await.is_ok());
    let done = client.act(&id, "2", "sign", json!({})).await;
    assert_eq!(done["envelope_status"], "completed");
    let guid = client.guid(&id, "2").await;
    let again = client
        .emulator
        .http
        .post(format!("{}/_test/signers/{guid}/sign", client.emulator.ready.control_url))
        .send()
        .await
        .unwrap();
    assert_eq!(again.status().as_u16(), 409);
}

#[tokio::test]
async fn the_current_order_is_one_that_the_envelope_was_sent_to() {
    let client = Client::start().await;
    let three = [signer("1", "Ada", "/sn1/"), signer("2", "Bob", "/sn2/"), signer("3", "Eve", "/sn2/")];
    let mut draft = definition(&three);
    draft["status"] = json!("created");
    let drafted = client.create(draft).await;
    let id = client.create(definition(&three)).await;
    let current = async |id: &str| {
        let path = format!("/envelopes/{id}");
        let own = client.get(&format!("{path}/recipients")).await["currentRoutingOrder"].clone();
        let envelope = client.get(&format!("{path}?include=recipients")).await;
        assert_eq!(envelope["recipients"]["currentRoutingOrder"], own);
        own.as_str().unwrap().to_owned()
    };
    assert_eq!((current(&drafted).await.as_str(), current(&id).await.as_str()), ("1", "1"));
    client.act(&id, "1", "sign", json!({})).await;
    assert_eq!(current(&id).await, "2");
    client.act(&id, "2", "decline", json!({})).await;
    assert_eq!(current(&id).await, "2", "nobody sent it to the third");

    let id = client.create(definition(&three)).await;
    let path = format!("/envelopes/{id}/recipients");
    let (status, gone) = client.call("DELETE", &format!("{path}/1"), Value::Null).await;
    assert_eq!((status, &gone["currentRoutingOrder"]), (200, &json!("2")), "{gone}");
    assert_eq!(client.get(&path).await["signers"][0]["status"], "sent");
    for (recipient, order) in [("2", "3"), ("3", "3")] {
        client.act(&id, recipient, "sign", json!({})).await;
        assert_eq!(current(&id).await, order);
    }

    let mut paused = definition(&three);
    let step = json!({ "action": "pause_before", "triggerOnItem": "routing_order", "itemId": "2" });
    paused["workflow"] = json!({ "workflowSteps": [step] });
    let id = client.create(paused).await;
    client.act(&id, "1", "sign", json!({})).await;
    assert_eq!(current(&id).await, "1", "the second waits for the sender");
}

#[tokio::test]
async fn form_data_has_changed_once_a_signer_changed_it() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let path = format!("/envelopes/{id}");
    assert_eq!(client.get(&path).await["hasFormDataChanged"], "false");
    client.act(&id, "1", "sign", json!({ "fields": { "company": "Engines" } })).await;
    assert_eq!(client.get(&path).await["hasFormDataChanged"], "true");
}

#[tokio::test]
async fn a_failed_phone_check_locks_until_the_sender_corrects_it() {
    let client = Client::start().await;
    let id = client.create(definition(&[with_phone(signer("1", "Ada", "/sn1/"))])).await;
    let session = client.browse(&client.view(&id, view_of("1", "Ada")).await.unwrap()).await.1;
    client.post(&session, &[("action", "send_code")]).await;
    let wrong = [("action", "check_code"), ("sms_code", "nope")];
    client.post(&session, &wrong).await;
    client.post(&session, &wrong).await;
    assert!(client.post(&session, &wrong).await.1.ends_with("&event=id_check_failed"));
    let locked = client.browse(&client.view(&id, view_of("1", "Ada")).await.unwrap()).await.1;
    assert!(client.browse(&locked).await.1.ends_with("&event=id_check_failed"));
    let correction = json!({ "signers": [with_phone(json!({ "recipientId": "1" }))] });
    let (status, body) = client.call("PUT", &format!("/envelopes/{id}/recipients"), correction).await;
    assert_eq!((status, refused_with(&body)), (200, None), "{body}");
    assert_eq!(client.act(&id, "1", "sign", json!({})).await["event"], "signing_complete");
    let (status, body) = client
        .call(
            "PUT",
            &format!("/envelopes/{id}/recipients"),
            json!({ "signers": [{ "recipientId": "1", "name": "X" }] }),
        )
        .await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("ENVELOPE_INVALID_STATUS")));
}

#[tokio::test]
async fn voiding_has_rules_and_expiry_voids() {
    let mut client = Client::start().await;
    let mut draft = definition(&[signer("1", "Ada", "/sn1/")]);
    draft["status"] = json!("created");
    draft["notification"] =
        json!({ "expirations": { "expireEnabled": "true", "expireAfter": 3, "expireWarn": "0" } });
    let id = client.create(draft).await;
    let path = format!("/envelopes/{id}");
    let void = json!({ "status": "voided", "voidedReason": "mistake" });
    let (status, body) = client.call("PUT", &path, void.clone()).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("ENVELOPE_CANNOT_VOID_INVALID_STATE")));
    assert_eq!(client.view(&id, view_of("1", "Ada")).await, Err("ENVELOPE_INVALID_STATUS".to_owned()));
    assert_eq!(client.call("PUT", &path, json!({ "status": "sent" })).await.0, 200);
    assert_eq!(client.call("PUT", &path, json!({ "status": "voided" })).await.0, 400);
    let other = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    assert_eq!(client.call("PUT", &format!("/envelopes/{other}"), void).await.0, 200);
    let voided = client.get(&format!("/envelopes/{other}")).await;
    assert_eq!((&voided["status"], &voided["voidedReason"]), (&json!("voided"), &json!("mistake")));
    client.outlive(3 * 24 * 3_600 + 1).await;
    let expired = client.get(&path).await;
    assert_eq!(
        (&expired["status"], &expired["voidedReason"]),
        (&json!("voided"), &json!("Envelope has expired."))
    );
    assert_eq!(client.call("PUT", &path, json!({ "purgeState": "documents_queued" })).await.0, 200);
    client.outlive(14 * 24 * 3_600).await;
    assert_eq!(client.get(&path).await["purgeState"], "documents_purged");
    assert_eq!(client.call("GET", &format!("{path}/documents/combined"), Value::Null).await.0, 400);
}

#[tokio::test]
async fn nobody_is_warned_before_the_envelope_is_sent() {
    let client = Client::start().await;
    for (days, warning, is_taken) in [(3, "4", false), (3, "3", true), (3, "0", true), (3, "", true)] {
        let mut whole = definition(&[signer("1", "Ada", "/sn1/")]);
        whole["notification"] = json!({ "expirations": {
            "expireEnabled": "true", "expireAfter": days, "expireWarn": warning,
        } });
        let status = client.call("POST", "/envelopes", whole).await.0;
        assert_eq!(status == 201, is_taken, "{days}, {warning}: {status}");
    }
}

#[tokio::test]
async fn a_change_of_the_warning_alone_is_judged_by_the_envelopes_own_expiry() {
    let client = Client::start().await;
    let mut whole = definition(&[signer("1", "Ada", "/sn1/")]);
    whole["notification"] = json!({
        "expirations": { "expireEnabled": "true", "expireAfter": "200", "expireWarn": "10" },
        "reminders": { "reminderEnabled": "true", "reminderDelay": "3" },
    });
    let path = format!("/envelopes/{}/notification", client.create(whole).await);
    let warn =
        async |days: &str| client.call("PUT", &path, json!({ "expirations": { "expireWarn": days } })).await;
    let (status, body) = warn("150").await;
    assert_eq!((status, &body["expirations"]["expireAfter"]), (200, &json!("200")), "{body}");
    assert_eq!(warn("201").await.0, 400);
    let read = client.get(&path).await;
    assert_eq!(read["expirations"]["expireWarn"], "150");
    assert_eq!(read["reminders"]["reminderDelay"], "3", "of these nothing was said");
    let (_, body) = client.call("PUT", &path, json!({ "useAccountDefaults": "true" })).await;
    assert_eq!(
        (&body["expirations"]["expireAfter"], &body["reminders"]["reminderDelay"]),
        (&json!("120"), &json!("0"))
    );
}

#[tokio::test]
async fn a_shorter_life_takes_the_warning_of_before_along() {
    let client = Client::start().await;
    let mut whole = definition(&[signer("1", "Ada", "/sn1/")]);
    whole["notification"] =
        json!({ "expirations": { "expireEnabled": "true", "expireAfter": "30", "expireWarn": "10" } });
    let path = format!("/envelopes/{}/notification", client.create(whole).await);
    let put =
        async |expirations: Value| client.call("PUT", &path, json!({ "expirations": expirations })).await;
    for (days, warning) in [("12", "10"), ("5", "5")] {
        let (status, body) = put(json!({ "expireEnabled": "true", "expireAfter": days })).await;
        assert_eq!((status, &body["expirations"]["expireWarn"]), (200, &json!(warning)), "{body}");
    }
    assert_eq!(put(json!({ "expireAfter": "3", "expireWarn": "5" })).await.0, 400, "it is said again");
    let read = client.get(&path).await;
    assert_eq!(
        (&read["expirations"]["expireAfter"], &read["expirations"]["expireWarn"]),
        (&json!("5"), &json!("5"))
    );
}

#[tokio::test]
async fn the_words_of_a_sent_envelope_are_changed_until_it_has_ended() {
    let client = Client::start().await;
    let mut ada = signer("1", "Ada", "/sn1/");
    ada["roleName"] = json!("Client");
    let id = client.create(definition(&[ada])).await;
    let path = format!("/envelopes/{id}");
    // As the test of the SDK for PHP sends it.
    let new =
        json!({ "envelopeId": id, "emailSubject": "new email subject", "emailBlurb": "new email message" });
    let (status, body) = client.call("PUT", &path, new.clone()).await;
    assert_eq!((status, &body["envelopeId"]), (200, &json!(id)), "{body}");
    let now = client.get(&path).await;
    assert_eq!((&now["emailSubject"], &now["emailBlurb"]), (&new["emailSubject"], &new["emailBlurb"]));
    assert_eq!(now["status"], "sent");
    // Merge fields are filled in at once; a subject that is too long or blank could not have been sent.
    let merged = json!({ "emailSubject": "For [[Client_UserName]]" });
    assert_eq!(client.call("PUT", &path, merged).await.0, 200);
    assert_eq!(client.get(&path).await["emailSubject"], "For Ada");
    for (wrong, code) in
        [("x".repeat(101), "INVALID_REQUEST_PARAMETER"), (" ".into(), "ENVELOPE_IS_INCOMPLETE")]
    {
        let (status, body) = client.call("PUT", &path, json!({ "emailSubject": wrong })).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!(code)), "{wrong:?}: {body}");
    }
    client.act(&id, "1", "sign", json!({})).await;
    for late in [json!({ "emailSubject": "Too late" }), json!({ "emailBlurb": "Too late" })] {
        let (status, body) = client.call("PUT", &path, late.clone()).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("ENVELOPE_INVALID_STATUS")), "{late}");
    }
    // The same words again change nothing, and are not refused: a client that sends back what it read.
    assert_eq!(client.call("PUT", &path, json!({ "emailSubject": "For Ada" })).await.0, 200);
}

#[tokio::test]
async fn an_order_of_zero_comes_before_one() {
    let client = Client::start().await;
    let at = |id: &str, name: &str, order: Value| {
        let mut signer = signer(id, name, "/sn1/");
        signer["routingOrder"] = order;
        signer
    };
    let id = client.create(definition(&[at("1", "Ada", json!("1")), at("2", "Bob", json!(0))])).await;
    let now = async || {
        let read = client.get(&format!("/envelopes/{id}/recipients")).await;
        let states = [0_usize, 1].map(|place| read["signers"][place]["status"].clone());
        (read["currentRoutingOrder"].clone(), states)
    };
    assert_eq!(now().await, (json!("0"), [json!("created"), json!("sent")]));
    let read = client.get(&format!("/envelopes/{id}/recipients")).await;
    assert_eq!(read["signers"][1]["routingOrder"], "0", "{read}");
    client.act(&id, "2", "sign", json!({})).await;
    assert_eq!(now().await, (json!("1"), [json!("sent"), json!("completed")]));
    client.act(&id, "1", "sign", json!({})).await;
    assert_eq!(client.get(&format!("/envelopes/{id}")).await["status"], "completed");
    for wrong in ["-1", "0.5", "first"] {
        let refused = client.refusal(definition(&[at("1", "Ada", json!(wrong))])).await;
        assert_eq!(refused, "INVALID_REQUEST_PARAMETER", "{wrong}");
    }
}

#[tokio::test]
async fn an_envelope_is_ended_by_its_id_in_any_case() {
    let client = Client::start().await;
    for action in ["void", "expire"] {
        let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
        let path = format!("envelopes/{}/{action}", id.to_uppercase());
        let ended = client.emulator.control("POST", &path, json!({})).await;
        assert_eq!(ended["envelope_id"], json!(id), "{action}");
        let read = client.get(&format!("/envelopes/{id}")).await;
        assert_eq!(ended["envelope_status"], read["status"], "{action}");
        assert_eq!(read["status"], "voided", "{action}");
    }
}
