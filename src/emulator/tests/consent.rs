//! Consent in a browser, and the code grant that it leads to.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::json;

use crate::emulator::{directory, testing::Running};

const CALLBACK: &str = "http://127.0.0.1:7001/consent/callback";

/// A browser on the account server: it keeps the session cookie.
struct Browser<'a> {
    emulator: &'a Running,
    query: Vec<(&'a str, &'a str)>,
    cookie: Option<String>,
}

impl<'a> Browser<'a> {
    fn new(emulator: &'a Running, query: &[(&'a str, &'a str)]) -> Self {
        Self { emulator, query: query.to_vec(), cookie: None }
    }

    fn asking(emulator: &'a Running, scope: &'a str) -> Self {
        let query = [
            ("response_type", "code"),
            ("client_id", directory::INTEGRATION_KEY),
            ("redirect_uri", CALLBACK),
            ("scope", scope),
            ("state", "s 1"),
        ];
        Self::new(emulator, &query)
    }

    async fn open(&self) -> reqwest::Response {
        let url = format!("{}/oauth/auth", self.emulator.ready.oauth_url);
        let url = url::Url::parse_with_params(&url, &self.query).unwrap();
        self.send(self.emulator.http.get(url)).await
    }

    async fn press(&mut self, name: &str, value: &str) -> reqwest::Response {
        let url = format!("{}/oauth/auth", self.emulator.ready.oauth_url);
        let form: Vec<_> = self.query.iter().copied().chain([(name, value)]).collect();
        let answer = self.send(self.emulator.http.post(url).form(&form)).await;
        if let Some(cookie) = answer.headers().get("set-cookie") {
            self.cookie = Some(cookie.to_str().unwrap().split(';').next().unwrap().to_owned());
        }
        answer
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> reqwest::Response {
        let request = match &self.cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        };
        request.send().await.unwrap()
    }
}

/// Where a redirect leads: one of its query's values.
fn landed(answer: &reqwest::Response, name: &str) -> Option<String> {
    assert_eq!(answer.status(), 302);
    let to = url::Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
    assert!(to.as_str().starts_with(CALLBACK), "{to}");
    to.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[tokio::test]
async fn an_unregistered_redirect_uri_gets_a_page_and_no_redirect() {
    let emulator = Running::start().await;
    for uri in ["https://evil.example/consent/callback", "http://127.0.0.1:7001/other", ""] {
        let query = [
            ("response_type", "code"),
            ("client_id", directory::INTEGRATION_KEY),
            ("redirect_uri", uri),
            ("scope", "signature"),
        ];
        let answer = Browser::new(&emulator, &query).open().await;
        assert_eq!(answer.status(), 400);
        let page = answer.text().await.unwrap();
        assert!(page.contains("The redirect URI is not registered properly with Docusign"), "{page}");
    }
    let uris = json!({ "uris": ["https://app.example/cb"], "loopback": false });
    emulator.control("POST", "redirect_uris", uris).await;
    assert_eq!(Browser::asking(&emulator, "signature").open().await.status(), 400);
}

#[tokio::test]
async fn consent_in_the_browser_makes_the_grant_work() {
    let emulator = Running::start().await;
    let mut browser = Browser::asking(&emulator, "signature impersonation");
    let page = browser.open().await.text().await.unwrap();
    assert!(page.contains("Sign in") && page.contains("Nora Noconsent"), "{page}");
    let page = browser.press("user", directory::NO_CONSENT_USER).await.text().await.unwrap();
    assert!(page.contains("Accept") && page.contains("impersonation"), "{page}");

    let refused = browser.press("action", "cancel").await;
    assert_eq!(landed(&refused, "error").as_deref(), Some("access_denied"));
    let mut claims = emulator.claims();
    claims["sub"] = json!(directory::NO_CONSENT_USER);
    assert_eq!(emulator.grant(&emulator.sign(&claims)).await.1["error"], "consent_required");

    let accepted = browser.press("action", "accept").await;
    assert!(landed(&accepted, "code").is_some());
    assert_eq!(landed(&accepted, "state").as_deref(), Some("s 1"));
    assert_eq!(emulator.grant(&emulator.sign(&claims)).await.0, 200);
    // Nothing left to ask: straight back, unless a new sign-in is wanted.
    assert!(landed(&browser.open().await, "code").is_some());
    browser.query.push(("prompt", "login"));
    assert_eq!(browser.open().await.status(), 200);
}

#[tokio::test]
async fn a_scope_that_is_asked_for_again_and_again_is_one() {
    let emulator = Running::start().await;
    let mut browser = Browser::asking(&emulator, "signature cors signature signature");
    let page = browser.press("user", directory::NO_CONSENT_USER).await.text().await.unwrap();
    let rows = |scope: &str| page.matches(&format!("<strong>{scope}</strong>")).count();
    assert_eq!((rows("signature"), rows("cors")), (1, 1), "{page}");
}

#[tokio::test]
async fn only_an_organisations_administrator_consents_for_all_of_it() {
    let emulator = Running::start().await;
    let mut browser = Browser::asking(&emulator, "openid");
    browser.query.push(("admin_consent_scope", "signature impersonation"));
    let page = browser.press("user", directory::NO_CONSENT_USER).await.text().await.unwrap();
    assert!(page.contains("organization administrator"), "{page}");
    browser.press("user", directory::ORGANISATION_ADMIN).await;
    assert!(landed(&browser.press("action", "accept").await, "code").is_some());
    let grant = async |user: &str| {
        let mut claims = emulator.claims();
        claims["sub"] = json!(user);
        emulator.grant(&emulator.sign(&claims)).await
    };
    assert_eq!(grant(directory::NO_CONSENT_USER).await.0, 200);
    // A member of the account, and of no claimed domain.
    assert_eq!(grant(directory::GUEST_USER).await.1["error"], "consent_required");
    emulator.control("POST", "domains", json!({ "claimed": ["Agency.example"] })).await;
    assert_eq!(grant(directory::GUEST_USER).await.0, 200);
    assert_eq!(grant(directory::NO_CONSENT_USER).await.1["error"], "consent_required");
}

#[tokio::test]
async fn an_organisation_without_a_claimed_domain_has_nobody_to_consent_for() {
    let emulator = Running::start().await;
    emulator.control("POST", "domains", json!({ "claimed": [] })).await;
    let mut browser = Browser::asking(&emulator, "openid");
    browser.query.push(("admin_consent_scope", "signature impersonation"));
    let page = browser.press("user", directory::ORGANISATION_ADMIN).await.text().await.unwrap();
    assert!(page.contains("no claimed domain"), "{page}");
    let page = browser.press("action", "accept").await.text().await.unwrap();
    assert!(page.contains("no claimed domain"), "{page}");
    let mut claims = emulator.claims();
    claims["sub"] = json!(directory::NO_CONSENT_USER);
    assert_eq!(emulator.grant(&emulator.sign(&claims)).await.1["error"], "consent_required");
}

async fn code_for(emulator: &Running, more: &[(&'static str, &str)]) -> String {
    let mut browser = Browser::asking(emulator, "signature extended");
    let more: Vec<(&str, String)> = more.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    browser.query.extend(more.iter().map(|(key, value)| (*key, value.as_str())));
    landed(&browser.press("user", directory::USER).await, "code").unwrap()
}

#[tokio::test]
async fn a_code_is_used_once_and_soon_and_refresh_tokens_rotate() {
    let emulator = Running::start().await;
    let code = code_for(&emulator, &[]).await;
    let client = [("client_id", directory::INTEGRATION_KEY), ("client_secret", "emulator-secret-1")];
    let redeem = |code: String| {
        let emulator = &emulator;
        async move {
            let form = [("grant_type", "authorization_code"), ("code", code.as_str()), client[0], client[1]];
            emulator.token(&form).await
        }
    };
    let (status, body) = redeem(code.clone()).await;
    assert_eq!((status, &body["expires_in"]), (200, &json!(28_800)));
    assert_eq!(redeem(code).await.1["error_description"], "expired_client_token");
    let late = code_for(&emulator, &[]).await;
    emulator.clock.advance(Duration::from_secs(120));
    assert_eq!(redeem(late).await.1["error_description"], "expired_client_token");

    let first = body["refresh_token"].as_str().unwrap().to_owned();
    let refresh = |token: String| {
        let emulator = &emulator;
        async move {
            let form =
                [("grant_type", "refresh_token"), ("refresh_token", token.as_str()), client[0], client[1]];
            emulator.token(&form).await
        }
    };
    emulator.clock.advance(Duration::from_secs(29 * 86_400));
    let (status, body) = refresh(first.clone()).await;
    assert_eq!(status, 200);
    assert_eq!(refresh(first).await.1, json!({ "error": "invalid_grant" }));
    // `extended` was granted: the new one has a life of its own.
    emulator.clock.advance(Duration::from_secs(29 * 86_400));
    assert_eq!(refresh(body["refresh_token"].as_str().unwrap().to_owned()).await.0, 200);
}

#[tokio::test]
async fn a_code_is_exchanged_whatever_the_request_says_of_the_redirect_uri() {
    let emulator = Running::start().await;
    for uri in [CALLBACK, "/ds/callback", "https://elsewhere.example/", ""] {
        let code = code_for(&emulator, &[]).await;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("client_id", directory::INTEGRATION_KEY),
            ("client_secret", "emulator-secret-1"),
            ("redirect_uri", uri),
        ];
        let (status, body) = emulator.token(&form).await;
        assert_eq!(status, 200, "{uri}: {body}");
    }
}

#[tokio::test]
async fn a_renewal_a_call_is_noted_and_one_for_many_is_not() {
    let emulator = Running::start().await;
    let client = [("client_id", directory::INTEGRATION_KEY), ("client_secret", "emulator-secret-1")];
    let code = code_for(&emulator, &[]).await;
    let form = [("grant_type", "authorization_code"), ("code", code.as_str()), client[0], client[1]];
    let (_, mut body) = emulator.token(&form).await;
    for (calls, noted) in [(3, json!([])), (1, json!("mint_per_call"))] {
        for _ in 0..4 {
            let token = body["refresh_token"].as_str().unwrap().to_owned();
            let form =
                [("grant_type", "refresh_token"), ("refresh_token", token.as_str()), client[0], client[1]];
            let (status, renewed) = emulator.token(&form).await;
            assert_eq!(status, 200, "{renewed}");
            for _ in 0..calls {
                emulator.call("GET", "/users", renewed["access_token"].as_str().unwrap(), None).await;
            }
            body = renewed;
        }
        let rules = emulator.control("GET", "rules", json!({})).await["rules"].clone();
        assert_eq!(if rules[0].is_null() { rules } else { rules[0]["rule"].clone() }, noted, "{calls} calls");
    }
}

#[tokio::test]
async fn a_public_client_proves_itself_with_the_code_verifier() {
    let emulator = Running::start().await;
    let verifier = "a-verifier-of-more-than-forty-three-characters-1234";
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(digest);
    for (given, expected) in [("wrong", 400), (verifier, 200)] {
        let pkce = [("code_challenge", challenge.as_str()), ("code_challenge_method", "s256")];
        let code = code_for(&emulator, &pkce).await;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("client_id", directory::INTEGRATION_KEY),
            ("code_verifier", given),
        ];
        assert_eq!(emulator.token(&form).await.0, expected);
    }
}
