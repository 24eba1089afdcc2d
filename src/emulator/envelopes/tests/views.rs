//! Recipient views: of hosts, of envelopes that have ended, in whose frames, and beside scripted signers.

use serde_json::{Value, json};

use super::testing::{Client, definition, document, signer, view_of, with_phone};

#[tokio::test]
async fn the_host_opens_an_in_person_session_by_name_and_address() {
    let client = Client::start().await;
    // As the vendor's sample eg039 sends it.
    let person = json!({
        "hostName": "Sofia Sender", "hostEmail": "system@countersign.example", "signerName": "Ada King",
        "recipientId": "1", "routingOrder": "1",
        "tabs": { "signHereTabs": [{ "anchorString": "/sn1/", "anchorUnits": "pixels", "anchorYOffset": "10" }] },
    });
    let id = client
        .create(json!({
            "status": "sent", "emailSubject": "Please host this", "documents": [document("Sign /sn1/")],
            "recipients": { "inPersonSigners": [person] },
        }))
        .await;
    let view = |name: &str, email: &str| {
        json!({
            "authenticationMethod": "None", "recipientId": "1", "returnUrl": "https://a.example/done",
            "userName": name, "email": email,
        })
    };
    let unknown = Err("UNKNOWN_ENVELOPE_RECIPIENT".to_owned());
    assert_eq!(client.view(&id, view("Ada King", "system@countersign.example")).await, unknown);
    assert_eq!(client.view(&id, view("Sofia Sender", "nora@countersign.example")).await, unknown);
    let url = client.view(&id, view("Sofia Sender", "system@countersign.example")).await.unwrap();
    let session = client.browse(&url).await.1;
    assert!(client.browse(&session).await.2.contains("Ada King"));
    let back = client.post(&session, &[("action", "sign"), ("name", "Ada King")]).await.1;
    assert_eq!(back, "https://a.example/done?event=signing_complete");
}

#[tokio::test]
async fn an_envelope_that_has_ended_can_be_viewed() {
    let client = Client::start().await;
    for end in ["completed", "declined", "voided"] {
        let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
        match end {
            "completed" => drop(client.act(&id, "1", "sign", json!({})).await),
            "declined" => drop(client.act(&id, "1", "decline", json!({})).await),
            _ => {
                let earlier = client.view(&id, view_of("1", "Ada")).await.unwrap();
                let void = json!({ "status": "voided", "voidedReason": "x" });
                assert_eq!(client.call("PUT", &format!("/envelopes/{id}"), void).await.0, 200);
                let back = client.browse(&earlier).await.1;
                assert!(back.ends_with("&event=ttl_expired"), "made before the void: {back}");
            }
        }
        let url = client.view(&id, view_of("1", "Ada")).await.unwrap();
        let session = client.browse(&url).await.1;
        assert!(session.starts_with("/Signing/StartInSession"), "{end}: {session}");
        assert_eq!(client.browse(&session).await.0, 200, "{end}");
        let back = client.post(&session, &[("action", "close")]).await.1;
        assert!(back.ends_with("&event=viewing_complete"), "{end}: {back}");
        assert_eq!(client.get(&format!("/envelopes/{id}")).await["status"], end);
    }
}

#[tokio::test]
async fn x_frame_options_say_who_may_frame_the_page() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let view = |options: Value| {
        let mut request = view_of("1", "Ada");
        request.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        request
    };
    let policy = async |options: Value| {
        let url = client.view(&id, view(options)).await.unwrap();
        let session = client.absolute(&client.browse(&url).await.1);
        let page = client.emulator.http.get(session).send().await.unwrap();
        let policies = page.headers().get_all("content-security-policy").iter();
        policies.map(|policy| policy.to_str().unwrap().to_owned()).collect::<Vec<_>>().join("; ")
    };
    let site = "https://my.example.com";
    for (options, allowed) in [
        (json!({}), "frame-ancestors 'none'"),
        (json!({ "xFrameOptions": "deny" }), "frame-ancestors 'none'"),
        (json!({ "xFrameOptions": "same_origin" }), "frame-ancestors 'self'"),
        (
            json!({ "xFrameOptions": "allow_from", "xFrameOptionsAllowFromUrl": format!("{site}/page?x=1") }),
            "frame-ancestors https://my.example.com",
        ),
        (
            json!({ "xFrameOptions": "deny", "frameAncestors": ["https://other.example"] }),
            "frame-ancestors https://other.example",
        ),
        // As the vendor's PHP sample eg044 sends it: of a path only the origin counts.
        (
            json!({ "frameAncestors": ["http://localhost:8080/public"] }),
            "frame-ancestors http://localhost:8080",
        ),
    ] {
        let found = policy(options.clone()).await;
        assert!(found.ends_with(allowed), "{options}: {found}");
    }
    for options in [
        json!({ "xFrameOptions": "zzz" }),
        json!({ "xFrameOptions": "allow_from" }),
        json!({ "xFrameOptions": "allow_from", "xFrameOptionsAllowFromUrl": "my.example.com" }),
        json!({ "xFrameOptions": "allow_from", "xFrameOptionsAllowFromUrl": "ftp://my.example.com" }),
        json!({ "frameAncestors": ["https://my.example.com/page?x=1"] }),
        json!({ "frameAncestors": ["http://my.example.com/page"] }),
        json!({
            "frameAncestors": [site, "https://apps-d.docusign.com"],
            "messageOrigins": ["https://apps-d.docusign.com/page"],
        }),
    ] {
        let refused = client.view(&id, view(options.clone())).await;
        assert_eq!(refused, Err("INVALID_REQUEST_PARAMETER".to_owned()), "{options}");
    }
}

#[tokio::test]
async fn a_void_that_is_refused_ends_no_view() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let url = client.view(&id, view_of("1", "Ada")).await.unwrap();
    let path = format!("/envelopes/{id}");
    let void = |purge: &str| json!({ "status": "voided", "voidedReason": "x", "purgeState": purge });
    for (query, purge, code) in
        [("", "bogus", "INVALID_REQUEST_PARAMETER"), ("?resend_envelope=true", "", "ENVELOPE_INVALID_STATUS")]
    {
        let (status, body) = client.call("PUT", &format!("{path}{query}"), void(purge)).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!(code)), "{body}");
    }
    assert_eq!(client.get(&path).await["status"], "sent");
    let session = client.browse(&url).await.1;
    assert!(session.starts_with("/Signing/StartInSession"), "the view is still good: {session}");
    let (status, body) = client.call("PUT", &path, void("documents_queued")).await;
    assert_eq!((status, &body["purgeState"]), (200, &json!("documents_queued")), "{body}");
    let voided = client.get(&path).await;
    assert_eq!((&voided["status"], &voided["purgeState"]), (&json!("voided"), &json!("documents_queued")));
}

/// What the control interface says to an action of the first signer that is refused.
async fn refusal(client: &Client, envelope: &str, action: &str, body: &Value) -> u16 {
    let guid = client.guid(envelope, "1").await;
    let url = format!("{}/_test/signers/{guid}/{action}", client.emulator.ready.control_url);
    client.emulator.http.post(url).body(body.to_string()).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_scripted_signer_that_is_refused_spends_no_view_and_puts_nobody_out() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let url = client.view(&id, view_of("1", "Ada")).await.unwrap();
    assert_eq!(refusal(&client, &id, "fail_otp", &json!({})).await, 409, "there is no phone");
    let (status, session, _) = client.browse(&url).await;
    assert_eq!(status, 302);
    assert!(session.starts_with("/Signing/StartInSession"), "{session}");
    assert_eq!(refusal(&client, &id, "fail_otp", &json!({})).await, 409);
    assert_eq!(client.browse(&session).await.0, 200, "who is at work goes on");
}

#[tokio::test]
async fn a_scripted_signer_whose_answer_is_refused_has_not_come() {
    let client = Client::start().await;
    let mut ada = with_phone(signer("1", "Ada", "/sn1/"));
    ada["tabs"]["listTabs"] = json!([{
        "anchorString": "/sn1/", "anchorXOffset": 300, "tabLabel": "size",
        "listItems": [{ "text": "Small", "value": "small" }],
    }]);
    let id = client.create(definition(&[ada])).await;
    let huge = json!({ "fields": { "company": "Engines", "size": "huge" } });
    assert_eq!(refusal(&client, &id, "sign", &huge).await, 409, "no such choice");
    let outbox = client.emulator.control("GET", "outbox", Value::Null).await;
    assert_eq!(outbox["messages"], json!([]));
    let read = client.get(&format!("/envelopes/{id}?include=recipients,tabs")).await;
    let signer = &read["recipients"]["signers"][0];
    assert_eq!((&read["status"], &signer["status"]), (&json!("sent"), &json!("sent")));
    assert_ne!(signer["tabs"]["textTabs"][0]["value"], "Engines");
    let small = json!({ "fields": { "company": "Engines", "size": "small" } });
    assert_eq!(client.act(&id, "1", "sign", small).await["envelope_status"], "completed");
}

#[tokio::test]
async fn a_scripted_signer_is_known_in_any_case_and_takes_nothing_misspelt() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let guid = client.guid(&id, "1").await.to_uppercase();
    let url = format!("{}/_test/signers/{guid}/sign", client.emulator.ready.control_url);
    for (given, named) in [
        (json!({ "nme": "x" }), "nme"),
        (json!({ "name": 1 }), "string"),
        (json!({ "fields": { "company": 1 } }), "string"),
        (json!("x"), "Given"),
    ] {
        let refused = client.emulator.http.post(&url).body(given.to_string()).send().await.unwrap();
        assert_eq!(refused.status(), 400, "{given}");
        let body: Value = refused.json().await.unwrap();
        assert!(body["error"].as_str().unwrap().contains(named), "{given}: {body}");
    }
    let given = json!({ "name": "Ada King", "reason": "none", "fields": { "company": "Engines" } });
    let done = client.emulator.control("POST", &format!("signers/{guid}/sign"), given).await;
    assert_eq!(
        (&done["event"], &done["recipient_id"]),
        (&json!("signing_complete"), &json!(guid.to_lowercase()))
    );
    let read = client.get(&format!("/envelopes/{id}?include=recipients,tabs")).await;
    let signer = &read["recipients"]["signers"][0];
    assert_eq!(
        (&signer["name"], &signer["tabs"]["textTabs"][0]["value"]),
        (&json!("Ada King"), &json!("Engines"))
    );
}

#[tokio::test]
async fn a_scripted_signer_says_which_answers_it_cannot_give() {
    let client = Client::start().await;
    let mut ada = signer("1", "Ada", "/sn1/");
    let text =
        |label: &str, x: u32| json!({ "anchorString": "/sn1/", "anchorXOffset": x, "tabLabel": label });
    let mut hidden = text("remark", 250);
    hidden["conditionalParentLabel"] = json!("company");
    hidden["conditionalParentValue"] = json!("Engines");
    let mut locked = text("price", 300);
    (locked["locked"], locked["value"]) = (json!("true"), json!("12"));
    ada["tabs"]["textTabs"] = json!([text("company", 200), hidden, locked]);
    let id = client.create(definition(&[ada])).await;
    let guid = client.guid(&id, "1").await;
    let url = format!("{}/_test/signers/{guid}/sign", client.emulator.ready.control_url);
    for (fields, named) in [
        (json!({ "Companny": "x", "company": "Engines" }), "`Companny`"),
        (json!({ "signhere": "x" }), "`signhere`"),
        (json!({ "price": "1" }), "locked: `price`"),
    ] {
        let body = json!({ "fields": fields }).to_string();
        let refused = client.emulator.http.post(&url).body(body).send().await.unwrap();
        assert_eq!(refused.status(), 409, "{fields}");
        let told: Value = refused.json().await.unwrap();
        let told = told["error"].as_str().unwrap();
        assert!(told.contains(named) && !told.contains("company"), "{fields}: {told}");
        assert_eq!(client.get(&format!("/envelopes/{id}")).await["status"], "sent", "{fields}");
    }
    // It is hidden, as the other one says something else.
    let done = client.act(&id, "1", "sign", json!({ "fields": { "company": "x", "remark": "y" } })).await;
    assert_eq!(done["event"], "signing_complete");
    let texts = client.get(&format!("/envelopes/{id}/recipients/1/tabs")).await["textTabs"].clone();
    assert_eq!([&texts[0]["value"], &texts[1]["value"], &texts[2]["value"]], ["x", "", "12"]);
}
