//! A running emulator for the tests in this module: real sockets, a clock that stands still.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use rsa::{pkcs1::DecodeRsaPrivateKey as _, pkcs8::EncodePrivateKey as _};
use serde_json::{Value, json};

use super::{Emulator, Options, Ready};
use crate::{clock::ManualClock, lifecycle::Lifecycle};

/// The time at which test emulators begin: half past a full hour.
pub(super) const BEGIN: i64 = 1_800_001_800 - 1_800_001_800 % 3_600 + 1_800;

/// An emulator that ends with the value.
pub(super) struct Running {
    pub(super) ready: Ready,
    pub(super) clock: ManualClock,
    pub(super) http: reqwest::Client,
    key: aws_lc_rs::signature::RsaKeyPair,
    life: Lifecycle,
    _emulator: Emulator,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.life.abort();
    }
}

impl Running {
    pub(super) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    #[expect(clippy::disallowed_methods, reason = "a client of the emulator, not of the daemon")]
    pub(super) async fn with(options: Options) -> Self {
        let clock = ManualClock::new(Timestamp::from_second(BEGIN).unwrap());
        let life = Lifecycle::new();
        let emulator = Emulator::start(options, Arc::new(clock.clone()), &life).await.unwrap();
        let ready = emulator.ready().clone();
        let pem = std::fs::read_to_string(&ready.private_key_file).unwrap();
        let private = rsa::PrivateKey::from_pkcs1_pem(&pem).unwrap().to_pkcs8_der().unwrap();
        let key = aws_lc_rs::signature::RsaKeyPair::from_pkcs8(private.as_bytes()).unwrap();
        let policy = reqwest::redirect::Policy::none();
        let http = reqwest::Client::builder().redirect(policy).no_proxy().build().unwrap();
        Self { ready, clock, http, key, life, _emulator: emulator }
    }

    /// The claims that the first user's assertion should have.
    pub(super) fn claims(&self) -> Value {
        json!({
            "iss": self.ready.integration_key,
            "sub": self.ready.user_id,
            "aud": self.ready.oauth_host,
            "iat": BEGIN,
            "exp": BEGIN + 600,
            "scope": "signature impersonation",
        })
    }

    /// Signs with the registered key.
    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({ "alg": "RS256", "typ": "JWT" }), claims)
    }

    pub(super) fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let parts = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        let text = parts.join(".");
        let mut signature = vec![0; self.key.public_modulus_len()];
        let random = aws_lc_rs::rand::SystemRandom::new();
        self.key
            .sign(&aws_lc_rs::signature::RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)
            .unwrap();
        format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    pub(super) async fn grant(&self, assertion: &str) -> (u16, Value) {
        let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion)];
        self.token(&form).await
    }

    pub(super) async fn token(&self, form: &[(&str, &str)]) -> (u16, Value) {
        let url = format!("{}/oauth/token", self.ready.oauth_url);
        let answer = self.http.post(url).form(form).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// An access token of the first user.
    pub(super) async fn access_token(&self) -> String {
        let (status, body) = self.grant(&self.sign(&self.claims())).await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    /// A REST call below the first account.
    pub(super) async fn call(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> reqwest::Response {
        let url = format!("{}/restapi/v2.1/accounts/{}{path}", self.ready.base_url, self.ready.account_id);
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.http.request(method, url).bearer_auth(token);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        request.send().await.unwrap()
    }

    pub(super) async fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.http.request(method, format!("{}/_test/{path}", self.ready.control_url));
        let answer = request.body(body.to_string()).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }
}
