//! The platform over real sockets: budgets, faults, the judge, accounts.

use std::time::Duration;

use serde_json::{Value, json};

use crate::emulator::{Emulator, Error, Options, directory, testing::Running};

#[tokio::test]
async fn accounts_are_checked_by_membership_host_and_either_id() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let get = |account: &'static str| {
        let request =
            emulator.http.get(format!("{}/restapi/v2.1/accounts/{account}", emulator.ready.base_url));
        let request = request.bearer_auth(&token).send();
        async move {
            let answer = request.await.unwrap();
            let status = answer.status().as_u16();
            let body: Value = answer.json().await.unwrap();
            (status, body["errorCode"].as_str().unwrap_or_default().to_owned())
        }
    };
    assert_eq!(get(directory::ACCOUNT).await.0, 200);
    assert_eq!(get("10000002").await.0, 200);
    let other = (400, "USER_DOES_NOT_BELONG_TO_SPECIFIED_ACCOUNT".to_owned());
    assert_eq!(get(directory::OTHER_ACCOUNT).await, other);
    assert_eq!(get(directory::REMOTE_ACCOUNT).await, (400, "INVALID_USERID".to_owned()));
    assert_eq!(get("99").await, (400, "PARTNER_AUTHENTICATION_FAILED".to_owned()));
    let answer = emulator.call("GET", "", "made-up", None).await;
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.json::<Value>().await.unwrap()["errorCode"], "USER_AUTHENTICATION_FAILED");
}

#[tokio::test]
async fn an_account_that_was_moved_is_reached_where_it_is_now() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    emulator.control("POST", "accounts", json!({ "base_uri": "http://na4.test:9" })).await;
    let at = async |host: Option<&str>| {
        let url = format!("{}/restapi/v2.1/accounts/{}", emulator.ready.base_url, directory::ACCOUNT);
        let request = emulator.http.get(url).bearer_auth(&token);
        let request = match host {
            Some(host) => request.header("host", host),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        (status, body["errorCode"].as_str().unwrap_or_default().to_owned())
    };
    let refused = (400, "INVALID_USERID".to_owned());
    assert_eq!(at(None).await, refused);
    assert_eq!(at(Some("na4.test:10")).await, refused);
    assert_eq!(at(Some("NA4.test:9")).await.0, 200);
    emulator.control("POST", "accounts", json!({ "base_uri": emulator.ready.base_url })).await;
    assert_eq!(at(None).await.0, 200, "its own origin, too");
    emulator.control("POST", "accounts", json!({ "base_uri": "https://na4.test" })).await;
    assert_eq!(at(Some("na4.test")).await.0, 200, "behind what adds TLS");
    assert_eq!(at(Some("na4.test:9")).await, refused);
}

#[tokio::test]
async fn every_rest_answer_has_the_vendors_headers() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let url =
        format!("{}/restapi/v2.1/accounts/{}/users", emulator.ready.base_url, emulator.ready.account_id);
    let request = emulator.http.get(url).bearer_auth(&token).header("x-docusign-timetrack", "mine");
    let answer = request.send().await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-docusign-tracetoken").len(), 36);
    assert_eq!(header("x-ratelimit-limit"), "3000");
    assert_eq!(header("x-ratelimit-remaining"), "2999");
    assert_eq!(header("x-burstlimit-remaining"), "199");
    assert_eq!(header("x-countersign-emulator"), "true");
    assert!(header("x-docusign-timetrack").starts_with("mine;REST0_Start,"));
    assert!(httpdate::parse_http_date(&header("date")).is_ok());
}

#[tokio::test]
async fn a_spent_budget_is_an_error_by_code_and_calling_on_is_noted() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    emulator.control("POST", "limits", json!({ "hourly": 1 })).await;
    assert_eq!(emulator.call("GET", "/users", &token, None).await.status(), 200);
    let answer = emulator.call("GET", "/users", &token, None).await;
    assert_eq!(answer.status(), 400);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["errorCode"], "HOURLY_APIINVOCATION_LIMIT_EXCEEDED");
    assert_eq!(emulator.control("GET", "rules", json!({})).await["rules"], json!([]));
    emulator.clock.advance(Duration::from_secs(2));
    emulator.call("GET", "/users", &token, None).await;
    let rules = emulator.control("GET", "rules", json!({})).await;
    assert_eq!(rules["rules"][0]["rule"], "limit_ignored");
    assert_eq!(rules["rules"][0]["requests"].as_array().unwrap().len(), 2);
    // Half an hour later the clock hour is new.
    emulator.control("POST", "clock", json!({ "advance_s": 1_800 })).await;
    let mut claims = emulator.claims();
    claims["exp"] = json!(claims["iat"].as_i64().unwrap() + 3_600);
    let (_, body) = emulator.grant(&emulator.sign(&claims)).await;
    let token = body["access_token"].as_str().unwrap().to_owned();
    assert_eq!(emulator.call("GET", "/users", &token, None).await.status(), 200);
}

#[tokio::test]
async fn calling_on_about_an_envelope_whose_own_budget_is_spent_is_noted() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    emulator.control("POST", "limits", json!({ "envelope_reads": 1, "envelope_writes": 1 })).await;
    let code = async |method: &str, path: &str| {
        let body = (method == "PUT").then(|| json!({}));
        let body: Value = emulator.call(method, path, &token, body).await.json().await.unwrap();
        body["errorCode"].as_str().unwrap_or_default().to_owned()
    };
    let noted = async || {
        let rules = emulator.control("GET", "rules", json!({})).await;
        let rules = rules["rules"].as_array().unwrap().clone();
        rules.into_iter().map(|row| (row["rule"].clone(), row["subject"].clone())).collect::<Vec<_>>()
    };
    let (polled, changed) =
        ("Hourly_Envelope_Polling_Limit_Exceeded", "Hourly_APIInvocation_Envelope_Limit_Exceeded");
    assert_ne!(code("GET", "/envelopes/one").await, polled);
    assert_eq!(code("GET", "/envelopes/one/recipients").await, polled);
    emulator.clock.advance(Duration::from_secs(2));
    // Other budgets are not spent: another envelope's, this one's of writes, and the account's.
    assert_ne!(code("GET", "/envelopes/another").await, polled);
    assert_ne!(code("PUT", "/envelopes/one").await, changed);
    code("GET", "/users").await;
    assert_eq!(noted().await, []);
    assert_eq!(code("GET", "/envelopes/one").await, polled);
    let reads = (json!("limit_ignored"), json!("one reads"));
    assert_eq!(noted().await, std::slice::from_ref(&reads));
    assert_eq!(code("PUT", "/envelopes/one").await, changed);
    emulator.clock.advance(Duration::from_secs(2));
    assert_eq!(code("PUT", "/envelopes/one").await, changed);
    assert_eq!(noted().await, [reads, (json!("limit_ignored"), json!("one writes"))]);
}

#[tokio::test]
async fn faults_hit_the_wire_as_their_names_say() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let arm = |fault: Value| emulator.control("POST", "faults", fault);
    let url =
        format!("{}/restapi/v2.1/accounts/{}/users", emulator.ready.base_url, emulator.ready.account_id);
    let send = || emulator.http.get(&url).bearer_auth(&token).send();

    arm(json!({ "fault": "status", "path": "/users", "status": 503, "count": 1 })).await;
    assert_eq!(send().await.unwrap().status(), 503);
    assert_eq!(send().await.unwrap().status(), 200);
    arm(json!({ "fault": "html", "count": 1 })).await;
    assert!(send().await.unwrap().text().await.unwrap().starts_with("<!DOCTYPE html>"));
    arm(json!({ "fault": "rate_limit", "status": 429, "reset_s": 7, "count": 1 })).await;
    let answer = send().await.unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["x-ratelimit-remaining"], "0");
    arm(json!({ "fault": "truncate", "count": 1 })).await;
    assert!(send().await.unwrap().bytes().await.is_err());
    arm(json!({ "fault": "reset_before_commit", "count": 1 })).await;
    assert!(send().await.is_err());
    arm(json!({ "fault": "token_dies", "count": 1 })).await;
    assert_eq!(send().await.unwrap().status(), 401);
    let listed = emulator.control("GET", "faults", json!({})).await;
    assert!(listed["faults"].as_array().unwrap().iter().all(|fault| fault["fired"] == 1), "{listed}");
}

#[tokio::test]
async fn what_is_dropped_after_the_commit_has_happened() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    emulator.control("POST", "faults", json!({ "fault": "commit_then_drop", "method": "PUT" })).await;
    let url =
        format!("{}/restapi/v2.1/accounts/{}/settings", emulator.ready.base_url, emulator.ready.account_id);
    let sent = emulator.http.put(url).bearer_auth(&token).json(&json!({ "inSessionEnabled": false }));
    assert!(sent.send().await.is_err());
    let settings: Value = emulator.call("GET", "/settings", &token, None).await.json().await.unwrap();
    assert_eq!(settings["inSessionEnabled"], "false");
    let requests = emulator.control("GET", "requests", json!({})).await;
    let dropped =
        requests["requests"].as_array().unwrap().iter().find(|entry| entry["method"] == "PUT").unwrap();
    assert_eq!(dropped["status"], Value::Null);
}

#[tokio::test]
async fn a_misspelt_knob_is_refused_by_name() {
    let emulator = Running::start().await;
    for (path, body, named) in [
        ("faults", json!({ "fault": "explode" }), "explode"),
        ("faults", json!({ "fault": "html", "ratio": 1 }), "ratio"),
        ("limits", json!({ "hour": 1 }), "hour"),
        ("clock", json!({}), "advance_s"),
        ("clock", json!({ "set": "1960-01-01T00:00:00Z" }), "1970"),
        ("clock", json!({ "set": "1969-12-31T23:59:59.5Z" }), "1970"),
        ("clock", json!({ "set": "9999-01-01T00:00:00Z" }), "9998"),
        ("clock", json!({ "set": -1 }), "1970"),
        ("clock", json!({ "set": 253_370_764_800_i64 }), "9998"),
        ("clock", json!({ "set": 1e300 }), "9998"),
        ("clock", json!({ "set": "yesterday" }), "RFC 3339"),
        ("clock", json!({ "set": true }), "RFC 3339"),
        ("clock", json!({ "advance_s": -1e10 }), "1970"),
        ("clock", json!({ "advance_s": 1e12 }), "9998"),
        ("consent", json!({ "user_id": "nobody", "granted": true }), "user_id"),
        ("keys", json!({ "public_key_pem": "x" }), "public_key_pem"),
    ] {
        let url = format!("{}/_test/{path}", emulator.ready.control_url);
        let answer = emulator.http.post(url).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{path}");
        let body: Value = answer.json().await.unwrap();
        assert!(body["error"].as_str().unwrap().contains(named), "{path}: {body}");
    }
}

#[tokio::test]
async fn the_clock_goes_where_the_dates_of_answers_can_go() {
    let emulator = Running::start().await;
    let url = format!("{}/restapi/service_information", emulator.ready.base_url);
    let date = async || {
        let answer = emulator.http.get(&url).send().await.unwrap();
        answer.headers()["date"].to_str().unwrap().to_owned()
    };
    let begin = date().await;
    for (to, told) in [
        (json!("1970-01-01T00:00:00Z"), "Thu, 01 Jan 1970 00:00:00 GMT"),
        (json!(1_800_000_000), "Fri, 15 Jan 2027 08:00:00 GMT"),
        (json!(1_800_000_001.5), "Fri, 15 Jan 2027 08:00:01 GMT"),
        (json!("9998-12-31T23:59:59Z"), "Thu, 31 Dec 9998 23:59:59 GMT"),
    ] {
        emulator.control("POST", "clock", json!({ "set": to })).await;
        assert_eq!(date().await, told);
    }
    let beyond = emulator.http.post(format!("{}/_test/clock", emulator.ready.control_url));
    let refused = beyond.json(&json!({ "advance_s": 1e300 })).send().await.unwrap();
    assert_eq!(refused.status(), 400);
    assert_eq!(date().await, "Thu, 31 Dec 9998 23:59:59 GMT", "what is refused moves nothing");
    emulator.control("POST", "reset", json!({})).await;
    assert_eq!(date().await, begin);
}

#[tokio::test]
async fn a_mint_a_call_is_noted_and_one_for_many_is_not() {
    let emulator = Running::start().await;
    for _ in 0..4 {
        let token = emulator.access_token().await;
        for _ in 0..3 {
            emulator.call("GET", "/users", &token, None).await;
        }
    }
    assert_eq!(emulator.control("GET", "rules", json!({})).await["rules"], json!([]));
    for _ in 0..4 {
        let token = emulator.access_token().await;
        emulator.call("GET", "/users", &token, None).await;
    }
    assert_eq!(emulator.control("GET", "rules", json!({})).await["rules"][0]["rule"], "mint_per_call");
}

#[tokio::test]
async fn what_a_fault_answers_is_not_held_against_the_client() {
    let emulator = Running::start().await;
    // Each token is refused, so that each mint is right.
    for _ in 0..5 {
        let token = emulator.access_token().await;
        let fault = json!({ "fault": "status", "status": 401, "path": "/users", "count": 1 });
        emulator.control("POST", "faults", fault).await;
        assert_eq!(emulator.call("GET", "/users", &token, None).await.status(), 401);
    }
    // No envelope is made by a page of HTML, and none is read.
    let token = emulator.access_token().await;
    for _ in 0..2 {
        for (method, path) in [("POST", "/envelopes"), ("GET", "/envelopes/e1")] {
            let fault = json!({ "fault": "html", "status": 200, "method": method, "path": path, "count": 1 });
            emulator.control("POST", "faults", fault).await;
            let body = (method == "POST").then(|| json!({ "transactionId": "one" }));
            assert_eq!(emulator.call(method, path, &token, body).await.status(), 200);
        }
    }
    assert_eq!(emulator.control("GET", "rules", json!({})).await["rules"], json!([]));
}

#[tokio::test]
async fn stored_signatures_are_for_their_user_alone() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let own = format!("/users/{}/signatures", directory::USER);
    let foreign = format!("/users/{}/signatures", directory::NO_CONSENT_USER);
    assert_eq!(emulator.call("GET", &foreign, &token, None).await.status(), 400);
    let made =
        json!({ "userSignatures": [{ "signatureName": "Sofia Sender", "signatureFont": "3_DocuSign" }] });
    let answer = emulator.call("POST", &own, &token, Some(made)).await;
    assert_eq!(answer.status(), 201);
    let body: Value = answer.json().await.unwrap();
    let signature = &body["userSignatures"][0];
    assert_eq!((&signature["signatureInitials"], &signature["isDefault"]), (&json!("SS"), &json!("true")));
    let one = format!("{own}/{}", signature["signatureId"].as_str().unwrap());
    for (member, kind) in [("signatureImageUri", "signature_image"), ("initialsImageUri", "initials_image")] {
        assert_eq!(signature[member], json!(format!("{one}/{kind}")), "below the account");
    }
    let url = format!(
        "{}/restapi/v2.1/accounts/{}{one}/signature_image",
        emulator.ready.base_url,
        directory::ACCOUNT
    );
    let image = emulator.http.put(url).bearer_auth(&token).header("content-type", "image/png").body("png");
    let changed: Value = image.send().await.unwrap().json().await.unwrap();
    // The id changes on a write, as at the vendor.
    assert_eq!(emulator.call("GET", &one, &token, None).await.status(), 404);
    let one = format!("{own}/{}", changed["signatureId"].as_str().unwrap());
    let image = emulator.call("GET", &format!("{one}/signature_image"), &token, None).await;
    assert_eq!(image.headers()["content-type"], "image/png");
    assert_eq!(emulator.call("DELETE", &one, &token, None).await.status(), 200);
}

#[tokio::test]
async fn features_and_connect_settings_can_be_changed() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let workflows = || async {
        let answer = emulator.call("GET", "/identity_verification", &token, None).await;
        answer.json::<Value>().await.unwrap()["identityVerification"].as_array().unwrap().clone()
    };
    let names: Vec<Value> =
        workflows().await.iter().map(|workflow| workflow["defaultName"].clone()).collect();
    assert_eq!(names, ["Phone Authentication", "SMS for access & signatures"]);
    emulator.control("POST", "features", json!({ "identity_verification": false })).await;
    assert!(workflows().await.is_empty());

    let bad = emulator.call("POST", "/connect", &token, Some(json!({ "name": "x" }))).await;
    assert_eq!(bad.status(), 400);
    let good = json!({ "name": "x", "urlToPublishTo": "https://a.example/in", "includeHMAC": true, "configurationType": "custom", "allUsers": true });
    let made: Value = emulator.call("POST", "/connect", &token, Some(good)).await.json().await.unwrap();
    assert_eq!(made["includeHMAC"], "true");
    let path = format!("/connect/{}", made["connectId"].as_str().unwrap());
    let gone = emulator.call("DELETE", &path, &token, None).await;
    assert_eq!((gone.status().as_u16(), gone.text().await.unwrap().as_str()), (200, ""));
    let keys: Value = emulator.call("GET", "/connect/secret", &token, None).await.json().await.unwrap();
    assert_eq!(keys["connectSecrets"][0]["key"], json!(emulator.ready.connect_hmac_key));
}

#[tokio::test]
async fn a_connect_configuration_says_what_it_must_and_is_off_unless_it_says_otherwise() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let whole = json!({
        "name": "x", "configurationType": "custom", "urlToPublishTo": "https://a.example/in",
        "userIds": [directory::USER], "events": ["envelope-sent"],
    });
    let post = async |change: Value| {
        let mut body = whole.clone();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = emulator.call("POST", "/connect", &token, Some(body)).await;
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, made) = post(json!({ "allowEnvelopePublish": null })).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!((&made["allowEnvelopePublish"], &made["allUsers"]), (&json!("false"), &json!("false")));
    for wrong in [
        json!({ "userIds": null }),
        json!({ "userIds": [] }),
        json!({ "configurationType": null }),
        json!({ "configurationType": "another" }),
        json!({ "name": "" }),
        json!({ "urlToPublishTo": "http://a.example/in" }),
        json!({ "urlToPublishTo": "a.example" }),
    ] {
        let (status, body) = post(wrong.clone()).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")), "{wrong}");
    }
    for right in [
        json!({ "userIds": null, "allUsers": "true" }),
        json!({ "urlToPublishTo": "http://127.0.0.1:9/in", "configurationType": "eoriginal" }),
    ] {
        assert_eq!(post(right.clone()).await.0, 201, "{right}");
    }
}

#[tokio::test]
async fn images_of_signatures_are_told_apart_by_file_name_and_signatures_go_by_their_name_too() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let row = json!({ "userSignatures": [{ "signatureName": "Sofia Sender", "signatureInitials": "SoS" }] });
    let own = format!("/users/{}/signatures", directory::USER);
    let url = format!("{}/restapi/v2.1/accounts/{}{own}", emulator.ready.base_url, directory::ACCOUNT);
    // `cGlj\r\ndHVyZQ==` is "picture".
    let post = async |content: &str| {
        let parts = [
            ("Content-Type: application/json".to_owned(), row.to_string()),
            ("Content-Type: image/png\r\nContent-Disposition: file; filename=\"SoS\"".to_owned(), "initials".to_owned()),
            ("Content-Type: image/gif\r\nContent-Disposition: file; filename=\"Sofia Sender\"\r\nContent-Transfer-Encoding: Base64".to_owned(), content.to_owned()),
            ("Content-Type: image/gif\r\nContent-Disposition: file; filename=\"Nobody\"".to_owned(), "x".to_owned()),
        ];
        let parts = parts.map(|(head, content)| format!("--b0\r\n{head}\r\n\r\n{content}\r\n"));
        let request = emulator.http.post(&url).bearer_auth(&token);
        let request = request.header("content-type", "multipart/form-data; boundary=b0");
        request.body(parts.concat() + "--b0--\r\n").send().await.unwrap()
    };
    let refused = post("no base64!").await;
    assert_eq!(refused.status(), 400);
    assert_eq!(refused.json::<Value>().await.unwrap()["errorCode"], "INVALID_REQUEST_PARAMETER");
    assert_eq!(post("cGlj\r\ndHVyZQ==").await.status(), 201);
    let named = format!("{own}/Sofia%20Sender");
    for (kind, media_type, content) in
        [("signature_image", "image/gif", "picture"), ("initials_image", "image/png", "initials")]
    {
        let image = emulator.call("GET", &format!("{named}/{kind}"), &token, None).await;
        assert_eq!(image.headers()["content-type"], media_type);
        assert_eq!(image.text().await.unwrap(), content);
    }
    let read: Value = emulator.call("GET", &named, &token, None).await.json().await.unwrap();
    assert_eq!((&read["signatureInitials"], &read["signatureType"]), (&json!("SoS"), &json!("image")));
    let renamed = json!({ "signatureName": "Another" });
    assert_eq!(emulator.call("PUT", &named, &token, Some(renamed)).await.status(), 200);
    assert_eq!(emulator.call("GET", &named, &token, None).await.status(), 404);
    assert_eq!(emulator.call("DELETE", &format!("{own}/Another"), &token, None).await.status(), 200);
}

#[tokio::test]
async fn a_signature_is_made_under_its_name_and_deleted_without_a_word() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let own = format!("/users/{}/signatures", directory::USER);
    let put = async |id: &str, body: Value| {
        let answer = emulator.call("PUT", &format!("{own}/{id}"), &token, Some(body)).await;
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, made) = put("Sofia%20Sender", json!({ "signatureFont": "2_DocuSign" })).await;
    assert_eq!((status, &made["signatureName"]), (200, &json!("Sofia Sender")), "{made}");
    assert_eq!(made["isDefault"], "true", "there was none");
    let (status, second) = put("short", json!({ "signatureName": "S. Sender" })).await;
    assert_eq!((status, &second["signatureName"]), (200, &json!("S. Sender")), "{second}");
    assert_eq!(second["isDefault"], "false");
    let listed: Value = emulator.call("GET", &own, &token, None).await.json().await.unwrap();
    assert_eq!(listed["userSignatures"].as_array().unwrap().len(), 2, "{listed}");
    let (status, body) = put("00000000-0000-4000-8000-000000000000", json!({})).await;
    assert_eq!((status, &body["errorCode"]), (404, &json!("SIGNATURE_NOT_FOUND")));
    let gone = emulator.call("DELETE", &format!("{own}/Sofia%20Sender"), &token, None).await;
    assert_eq!((gone.status().as_u16(), gone.text().await.unwrap().as_str()), (200, ""));
}

#[tokio::test]
async fn it_listens_on_loopback_only_and_cleans_up_behind_itself() {
    let everywhere = "0.0.0.0:0".parse().unwrap();
    let life = crate::lifecycle::Lifecycle::new();
    let clock = std::sync::Arc::new(crate::clock::SystemClock);
    let options = Options { listen: everywhere, ..Options::default() };
    let refused = Emulator::start(options, clock, &life).await;
    assert!(matches!(refused, Err(Error::NotLoopback { option: "listen", .. })));
    let emulator = Running::with(Options { tls: true, ..Options::default() }).await;
    let key = emulator.ready.private_key_file.clone();
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&key).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    assert!(emulator.ready.ca_file.as_ref().unwrap().exists());
    drop(emulator);
    assert!(!key.exists());
}

#[tokio::test]
async fn the_same_seed_gives_the_same_ids() {
    let trace = |seed| async move {
        let emulator = Running::with(Options { seed, ..Options::default() }).await;
        let url = format!("{}/restapi/service_information", emulator.ready.base_url);
        let answer = emulator.http.get(url).send().await.unwrap();
        answer.headers()["x-docusign-tracetoken"].to_str().unwrap().to_owned()
    };
    assert_eq!(trace(7).await, trace(7).await);
    assert_ne!(trace(7).await, trace(8).await);
}

#[tokio::test]
async fn a_body_over_the_vendors_limit_or_of_another_type_is_refused() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    let url = format!("{}/restapi/v2.1/accounts/{}/settings", emulator.ready.base_url, directory::ACCOUNT);
    let put = |body: Vec<u8>, kind: &'static str| {
        let request = emulator.http.put(&url).bearer_auth(&token).header("content-type", kind);
        async move { request.body(body).send().await.unwrap().status().as_u16() }
    };
    assert_eq!(put(b"{".to_vec(), "application/json").await, 400);
    assert_eq!(put(b"<a/>".to_vec(), "application/xml").await, 415);
    assert_eq!(put(b"{}".to_vec(), "application/json; charset=utf-8").await, 200);
    // Closing the connection on so large a body may beat the answer to it.
    let sent = emulator.http.put(&url).bearer_auth(&token).body(vec![b' '; 35_651_585]).send().await;
    assert!(sent.is_err() || is_too_large(&sent.unwrap()));
}

/// Such a call is not counted, and is an account's call in everything else.
fn is_too_large(answer: &reqwest::Response) -> bool {
    let has = |name: &str| answer.headers().contains_key(name);
    answer.status() == 413
        && has("x-docusign-tracetoken")
        && has("x-countersign-emulator")
        && !has("x-ratelimit-remaining")
        && !has("x-burstlimit-remaining")
}
