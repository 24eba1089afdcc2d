//! Every refusal of the token endpoint, over real sockets.

use std::time::Duration;

use serde_json::{Value, json};

use crate::emulator::{
    directory,
    testing::{BEGIN, Running},
};

/// The good claims, changed.
fn changed(emulator: &Running, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = emulator.claims();
    change(&mut claims);
    emulator.sign(&claims)
}

fn without(emulator: &Running, claim: &str) -> String {
    changed(emulator, |claims| {
        claims.as_object_mut().unwrap().remove(claim);
    })
}

/// One letter of the signature changed.
fn tampered(mut assertion: String) -> String {
    let at = assertion.len() - 20;
    let other = if assertion.as_bytes()[at] == b'A' { "B" } else { "A" };
    assertion.replace_range(at..=at, other);
    assertion
}

/// Algorithms by the names that XML signatures have for them: the first as the vendor's SDK for C# writes it.
const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
const RSA_SHA512: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512";

#[tokio::test]
async fn a_good_assertion_gets_a_token_that_lives_an_hour() {
    let emulator = Running::start().await;
    let (status, body) = emulator.grant(&emulator.sign(&emulator.claims())).await;
    assert_eq!((status, &body["token_type"], &body["expires_in"]), (200, &json!("Bearer"), &json!(3_600)));
    assert!(body.get("refresh_token").is_none());
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(emulator.call("GET", "", token, None).await.status(), 200);

    emulator.clock.advance(Duration::from_secs(3_599));
    assert_eq!(emulator.call("GET", "", token, None).await.status(), 200);
    emulator.clock.advance(Duration::from_secs(1));
    let answer = emulator.call("GET", "", token, None).await;
    assert_eq!(answer.status(), 401);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["errorCode"], "AUTHORIZATION_INVALID_TOKEN");
}

#[tokio::test]
async fn a_longer_assertion_does_not_lengthen_the_token() {
    let emulator = Running::start().await;
    let long = changed(&emulator, |claims| claims["exp"] = json!(BEGIN + 86_400));
    let (status, body) = emulator.grant(&long).await;
    assert_eq!((status, &body["expires_in"]), (200, &json!(3_600)));
    let token = body["access_token"].as_str().unwrap();
    emulator.clock.advance(Duration::from_secs(3_600));
    assert_eq!(emulator.call("GET", "", token, None).await.status(), 401);
}

#[tokio::test]
async fn each_wrong_claim_is_refused_with_the_vendors_words() {
    let emulator = Running::start().await;
    let set = |claim: &'static str, value: Value| changed(&emulator, |claims| claims[claim] = value);
    let no_keys = ("invalid_grant", Some("no_valid_keys_or_signatures"));
    let no_issuer = ("invalid_grant", Some("issuer_not_found"));
    let no_user = ("invalid_grant", Some("user_not_found"));
    let no_consent = ("consent_required", None);
    let by_uri = emulator.sign_as(&json!({"alg": RSA_SHA256}), &emulator.claims());
    let tampered_by_uri = tampered(by_uri);
    let tampered = tampered(emulator.sign(&emulator.claims()));
    let host = &emulator.ready.oauth_host;
    let cases = [
        ("not a JWT", "nonsense".to_owned(), ("invalid_grant", None)),
        ("tampered", tampered, no_keys),
        ("HS256", emulator.sign_as(&json!({"alg": "HS256"}), &emulator.claims()), no_keys),
        ("RS512", emulator.sign_as(&json!({"alg": "RS512"}), &emulator.claims()), no_keys),
        ("none", emulator.sign_as(&json!({"alg": "none"}), &emulator.claims()), no_keys),
        ("no alg", emulator.sign_as(&json!({"typ": "JWT"}), &emulator.claims()), no_keys),
        ("RS512 by its URI", emulator.sign_as(&json!({"alg": RSA_SHA512}), &emulator.claims()), no_keys),
        ("tampered, by its URI", tampered_by_uri, no_keys),
        ("no aud", without(&emulator, "aud"), no_keys),
        ("aud with scheme", set("aud", json!(format!("https://{host}"))), no_keys),
        ("aud with slash", set("aud", json!(format!("{host}/"))), no_keys),
        ("another aud", set("aud", json!("account-s.docusign.com")), no_issuer),
        ("no iss", without(&emulator, "iss"), no_issuer),
        ("unknown iss", set("iss", json!("00000000-0000-4000-8000-000000000000")), no_issuer),
        ("another app's key", set("iss", json!(directory::SECOND_INTEGRATION_KEY)), no_keys),
        ("no exp", without(&emulator, "exp"), no_keys),
        ("expired", set("exp", json!(BEGIN)), ("invalid_grant", Some("expired_grant"))),
        ("nbf to come", set("nbf", json!(BEGIN + 1)), no_keys),
        ("iat to come", set("iat", json!(BEGIN + 1)), no_keys),
        ("e-mail as sub", set("sub", json!("system@countersign.example")), no_user),
        ("account as sub", set("sub", json!(directory::ACCOUNT)), no_user),
        ("closed user", set("sub", json!(directory::CLOSED_USER)), no_user),
        ("sub no text", set("sub", json!(7)), ("invalid_grant", Some("invalid_subject"))),
        ("no consent", set("sub", json!(directory::NO_CONSENT_USER)), no_consent),
        ("scope not granted", set("scope", json!("signature cors")), no_consent),
        ("no scope", without(&emulator, "scope"), ("invalid_scope", None)),
    ];
    for (name, assertion, (error, description)) in cases {
        let (status, body) = emulator.grant(&assertion).await;
        assert_eq!(status, 400, "{name}");
        assert_eq!(body["error"], error, "{name}");
        assert_eq!(body.get("error_description").and_then(Value::as_str), description, "{name}");
    }
}

#[tokio::test]
async fn each_form_of_a_good_assertion_is_taken() {
    let emulator = Running::start().await;
    let set = |claim: &'static str, value: Value| changed(&emulator, |claims| claims[claim] = value);
    let port = emulator.ready.oauth_host.rsplit_once(':').unwrap().1.to_owned();
    let cases = [
        ("C#'s alg", emulator.sign_as(&json!({"alg": RSA_SHA256, "typ": "JWT"}), &emulator.claims())),
        ("aud without port", set("aud", json!("127.0.0.1"))),
        ("aud by name", set("aud", json!(format!("localhost:{port}")))),
        ("demo's aud", set("aud", json!("account-d.docusign.com"))),
        ("production's aud", set("aud", json!("account.docusign.com"))),
        ("no iat", without(&emulator, "iat")),
        ("exactly an hour", set("exp", json!(BEGIN + 3_600))),
        ("the Python sample's 4,000 s", set("exp", json!(BEGIN + 4_000))),
        ("nbf now", set("nbf", json!(BEGIN))),
        ("SDK's default scope", set("scope", json!("signature"))),
        ("capitals", set("sub", json!(directory::USER.to_uppercase()))),
        ("fractions", set("exp", json!(f64::from(u32::try_from(BEGIN).unwrap()) + 600.5))),
    ];
    for (name, assertion) in cases {
        let (status, body) = emulator.grant(&assertion).await;
        assert_eq!(status, 200, "{name}: {body}");
    }
}

#[tokio::test]
async fn keys_are_tried_in_turn_and_a_switched_off_one_counts_no_more() {
    let emulator = Running::start().await;
    let pem = |path: &str| {
        use rsa::{pkcs1::DecodeRsaPrivateKey as _, pkcs8::EncodePublicKey as _};
        let file = emulator.ready.private_key_file.with_file_name(path);
        let private = rsa::PrivateKey::from_pkcs1_pem(&std::fs::read_to_string(file).unwrap()).unwrap();
        private.to_public_key().to_public_key_pem(rsa::pkcs8::LineEnding::LF).unwrap()
    };
    let second = json!({ "public_key_pem": pem("second_private_key.pem") });
    emulator.control("POST", "keys", second).await;
    assert_eq!(emulator.grant(&emulator.sign(&emulator.claims())).await.0, 200);
    let first = json!({ "public_key_pem": pem("private_key.pem"), "active": false });
    emulator.control("POST", "keys", first).await;
    let (_, body) = emulator.grant(&emulator.sign(&emulator.claims())).await;
    assert_eq!(body["error_description"], "no_valid_keys_or_signatures");
}

#[tokio::test]
async fn taking_consent_back_ends_grants_and_leaves_issued_tokens_alive() {
    let emulator = Running::start().await;
    let token = emulator.access_token().await;
    emulator.control("POST", "consent", json!({ "user_id": directory::USER, "granted": false })).await;
    let (_, body) = emulator.grant(&emulator.sign(&emulator.claims())).await;
    assert_eq!(body, json!({ "error": "consent_required" }));
    assert_eq!(emulator.call("GET", "", &token, None).await.status(), 200);
    let scopes = json!({ "user_id": directory::USER, "scopes": ["signature"], "granted": true });
    emulator.control("POST", "consent", scopes).await;
    // Without impersonation the consent does not do, whether or not the assertion names it.
    let (_, body) = emulator.grant(&changed(&emulator, |claims| claims["scope"] = json!("signature"))).await;
    assert_eq!(body["error"], "consent_required");
    let scopes = json!({ "user_id": directory::USER, "scopes": "signature impersonation", "granted": true });
    emulator.control("POST", "consent", scopes).await;
    assert_eq!(emulator.grant(&emulator.sign(&emulator.claims())).await.0, 200);
}

#[tokio::test]
async fn an_application_token_is_good_for_no_account() {
    let emulator = Running::start().await;
    let (status, body) = emulator.grant(&without(&emulator, "sub")).await;
    assert_eq!(status, 200);
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(emulator.call("GET", "", token, None).await.status(), 401);
}

#[tokio::test]
async fn a_wrong_form_is_refused_before_anything_is_read() {
    let emulator = Running::start().await;
    let (_, body) = emulator.token(&[("grant_type", "password")]).await;
    assert_eq!(body["error_description"], "unsupported_grant_type");
    let url = format!("{}/oauth/token", emulator.ready.oauth_url);
    let answer = emulator.http.post(&url).json(&json!({ "grant_type": "x" })).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "error": "invalid_grant" }));
    assert_eq!(emulator.http.get(&url).send().await.unwrap().status(), 405);
    let revoke = format!("{}/oauth/revoke", emulator.ready.oauth_url);
    assert_eq!(emulator.http.post(revoke).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn userinfo_names_the_accounts_and_the_host_that_was_asked() {
    let emulator = Running::start().await;
    let url = format!("{}/oauth/userinfo", emulator.ready.oauth_url);
    assert_eq!(emulator.http.get(&url).send().await.unwrap().status(), 401);
    let token = emulator.access_token().await;
    let request = emulator.http.get(&url).bearer_auth(&token).header("host", "esign.test:9");
    let body: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(body["sub"], directory::USER);
    let accounts = body["accounts"].as_array().unwrap();
    assert_eq!(accounts.len(), 2);
    assert_eq!(accounts[0]["account_id"], directory::ACCOUNT);
    assert_eq!(accounts[0]["is_default"], json!(true));
    assert_eq!(accounts[0]["base_uri"], "http://esign.test:9");
    assert_eq!(accounts[0]["organization"]["organization_id"], directory::ORGANISATION);

    emulator.control("POST", "tokens/revoke", json!({ "user_id": directory::USER })).await;
    let answer = emulator.http.get(&url).bearer_auth(&token).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"], "internal_server_error");
}
