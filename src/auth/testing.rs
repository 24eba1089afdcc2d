//! An account server of a few lines, on a real socket, and a daemon of it, for the tests of this module.
//!
//! It verifies what the vendor verifies (signature, time, issuer) with jsonwebtoken, and shares no
//! type with the code under test; the full emulator lives elsewhere.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicUsize, atomic::Ordering},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Form, State},
    http::{Response, StatusCode, header},
    routing::{get, post},
};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use super::{
    Auth, Error, Impersonation, Options, SenderStatus, Spawner,
    identity::{self, AccountServer},
    key_ring::KeyState,
    signing_key::{self, KeySource, SigningKey},
    user_info::AccountChoice,
};
use crate::{
    clock::{Clock as _, ManualClock},
    http_client::{self, HttpClient},
    listener::{Bound, Limits},
};

/// The user of all tests.
pub(super) const USER: &str = "66666666-7777-8888-9999-aaaaaaaaaaaa";

/// A directory of its own, gone with the test.
pub(super) struct TempDir(pub(super) PathBuf);

impl TempDir {
    pub(super) fn new() -> Self {
        let mut bytes = [0; 8];
        aws_lc_rs::rand::fill(&mut bytes).unwrap();
        let path = std::env::temp_dir().join(format!("countersign-auth-{:016x}", u64::from_ne_bytes(bytes)));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Writes a key file that only its owner may read.
    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A fresh private key as PEM.
pub(super) fn fresh_key() -> String {
    signing_key::generate().unwrap().private_pem.to_string()
}

/// A body that is given instead of the truth.
pub(super) enum Canned {
    /// These bytes.
    Whole(Vec<u8>),
    /// A gigabyte.
    Gigabyte,
    /// This beginning, and then the connection ends.
    Cut(&'static str),
}

impl From<Canned> for Body {
    fn from(canned: Canned) -> Self {
        use futures_util::stream;
        match canned {
            Canned::Whole(bytes) => Self::from(bytes),
            Canned::Gigabyte => {
                let block = bytes::Bytes::from(vec![b'x'; 1 << 16]);
                Self::from_stream(stream::iter(
                    (0..1 << 14).map(move |_| Ok::<_, std::io::Error>(block.clone())),
                ))
            }
            Canned::Cut(text) => {
                let end = Err(std::io::Error::other("the connection is cut"));
                Self::from_stream(stream::iter([Ok(bytes::Bytes::from_static(text.as_bytes())), end]))
            }
        }
    }
}

/// What the server knows and counts.
pub(super) struct Server {
    /// The server's own clock.
    pub(super) clock: ManualClock,
    /// Registered private keys (their public halves verify).
    pub(super) keys: Mutex<Vec<String>>,
    pub(super) has_consent: Mutex<bool>,
    pub(super) exchanges: AtomicUsize,
    pub(super) user_infos: AtomicUsize,
    /// Answers given instead of the truth, first come first served.
    pub(super) canned: Mutex<VecDeque<(u16, Canned)>>,
    /// Seconds by which the server's clock jumps at each exchange.
    pub(super) jump: Mutex<i64>,
    /// Bearers that are dead.
    pub(super) dead: Mutex<Vec<String>>,
    /// The user in `/oauth/userinfo`.
    pub(super) user: Mutex<String>,
}

impl Server {
    /// Starts one that is right about the time `now`.
    pub(super) async fn start(now: Timestamp) -> (Arc<Self>, Url, CancellationToken) {
        let server = Arc::new(Self {
            clock: ManualClock::new(now),
            keys: Mutex::default(),
            has_consent: Mutex::new(true),
            exchanges: AtomicUsize::new(0),
            user_infos: AtomicUsize::new(0),
            canned: Mutex::default(),
            jump: Mutex::default(),
            dead: Mutex::default(),
            user: Mutex::new(USER.to_owned()),
        });
        let bound = Bound::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = Url::parse(&bound.origin()).unwrap();
        let router = Router::new()
            .route("/oauth/token", post(token))
            .route("/oauth/userinfo", get(user_info))
            .with_state(Arc::clone(&server));
        let stop = CancellationToken::new();
        tokio::spawn(bound.serve(router, Limits::default(), stop.clone()));
        (server, url, stop)
    }

    pub(super) fn exchanges(&self) -> usize {
        self.exchanges.load(Ordering::SeqCst)
    }

    fn answer(&self, status: u16, body: impl Into<Body>) -> Response<Body> {
        let seconds = u64::try_from(self.clock.now().as_second()).unwrap();
        let date = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        Response::builder()
            .status(StatusCode::from_u16(status).unwrap())
            .header(header::DATE, httpdate::fmt_http_date(date))
            .body(body.into())
            .unwrap()
    }

    fn refuse(&self, error: &str, description: &str) -> Response<Body> {
        self.answer(400, format!(r#"{{"error":"{error}","error_description":"{description}"}}"#))
    }

    fn verify(&self, assertion: &str) -> Result<(), (&'static str, &'static str)> {
        let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
        validation.validate_aud = false;
        validation.validate_exp = false;
        let claims = self.keys.lock().unwrap().iter().find_map(|pem| {
            let key = SigningKey::from_pem(pem).unwrap().decoding_key();
            jsonwebtoken::decode::<serde_json::Value>(assertion, &key, &validation).ok()
        });
        let claims = claims.ok_or(("invalid_grant", "no_valid_keys_or_signatures"))?.claims;
        let now = self.clock.now().as_second();
        if claims["iat"].as_i64().unwrap() > now {
            return Err(("invalid_grant", "no_valid_keys_or_signatures"));
        }
        if claims["exp"].as_i64().unwrap() <= now {
            return Err(("invalid_grant", "expired_grant"));
        }
        if claims["sub"] != USER {
            return Err(("invalid_grant", "user_not_found"));
        }
        if *self.has_consent.lock().unwrap() { Ok(()) } else { Err(("consent_required", "")) }
    }
}

async fn token(
    State(server): State<Arc<Server>>,
    headers: axum::http::HeaderMap,
    Form(form): Form<std::collections::HashMap<String, String>>,
) -> Response<Body> {
    let count = server.exchanges.fetch_add(1, Ordering::SeqCst) + 1;
    server.clock.step(jiff::SignedDuration::from_secs(*server.jump.lock().unwrap()));
    // Slow enough for many callers to arrive meanwhile.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    if let Some((status, body)) = server.canned.lock().unwrap().pop_front() {
        return server.answer(status, Body::from(body));
    }
    // "integration key:hush", as HTTP Basic credentials.
    let has_secret = headers
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value == "Basic MTExMTExMTEtMjIyMi0zMzMzLTQ0NDQtNTU1NTU1NTU1NTU1Omh1c2g=");
    let is_renewal = form.get("refresh_token").is_some_and(|token| token == "again");
    let verdict = match form.get("assertion") {
        None if is_renewal && (has_secret != form.contains_key("client_id")) => Ok(()),
        Some(assertion) => server.verify(assertion),
        None if form.get("code").is_some_and(|code| code == "good") && form.contains_key("code_verifier") => {
            Ok(())
        }
        None => Err(("invalid_grant", "expired_client_token")),
    };
    match verdict {
        Ok(()) => {
            let body =
                format!(r#"{{"access_token":"bearer-{count}","token_type":"Bearer","expires_in":3600}}"#);
            server.answer(200, body)
        }
        Err((error, description)) => server.refuse(error, description),
    }
}

async fn user_info(State(server): State<Arc<Server>>, headers: axum::http::HeaderMap) -> Response<Body> {
    server.user_infos.fetch_add(1, Ordering::SeqCst);
    let bearer = headers[header::AUTHORIZATION].to_str().unwrap().to_owned();
    if server.dead.lock().unwrap().contains(&bearer) {
        return server.answer(401, "");
    }
    let body = serde_json::json!({
        "sub": *server.user.lock().unwrap(),
        "accounts": [
            {"account_id": "fe0b61a3-3b9b-4b36-84cc-aa40c8d0ad61", "is_default": true,
             "account_name": "NewCo", "base_uri": "http://127.0.0.1:9"},
        ],
    });
    server.answer(200, body.to_string())
}

/// A daemon's side of it, with an account server and the time of both.
pub(super) struct Daemon {
    pub(super) auth: Auth,
    pub(super) clock: ManualClock,
    pub(super) server: Arc<Server>,
    _stop: DropGuard,
}

impl Daemon {
    /// A daemon whose clock is `wrong` seconds ahead of the account server's.
    pub(super) async fn start(wrong: i64) -> Self {
        Self::start_with(wrong, Options { seed: 1, ..Options::default() }).await
    }

    pub(super) async fn start_with(wrong: i64, options: Options) -> Self {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let (server, url, stop) = Server::start(now).await;
        let clock = ManualClock::new(now);
        clock.step(SignedDuration::from_secs(wrong));
        let auth = Auth::new(
            HttpClient::new(&http_client::Options::default()).unwrap(),
            AccountServer::new(&url).unwrap(),
            Arc::new(clock.clone()),
            Spawner::tokio(),
            options,
        );
        Self { auth, clock, server, _stop: stop.drop_guard() }
    }

    pub(super) async fn register(&self, keys: Vec<KeySource>) {
        let sender = Impersonation {
            integration_key: "11111111-2222-3333-4444-555555555555".parse().unwrap(),
            user_id: USER.parse().unwrap(),
            scopes: identity::Scopes::default(),
            keys,
            account: AccountChoice::Default,
        };
        self.auth.register("system", sender).await.unwrap();
    }

    /// One key, registered on both sides.
    pub(super) async fn register_one_key(&self) {
        let pem = fresh_key();
        self.register(vec![inline(&pem)]).await;
        self.server.keys.lock().unwrap().push(pem);
    }

    /// Both clocks go on together.
    pub(super) fn pass(&self, seconds: u64) {
        self.server.clock.advance(Duration::from_secs(seconds));
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Lets time go on until something is so. The network takes real time, so this polls.
    pub(super) async fn until(&self, what: &str, is_so: impl Fn(&SenderStatus) -> bool) {
        for _ in 0..500 {
            if is_so(&self.auth.status("system").unwrap()) {
                return;
            }
            self.pass(1);
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        panic!("never: {what}: {:?}", self.auth.status("system"));
    }

    /// Lets this time pass at once, and waits for what has to come of it without any more of it.
    pub(super) async fn after(&self, seconds: u64, what: &str, is_so: impl Fn(&SenderStatus) -> bool) {
        self.pass(seconds);
        for _ in 0..2_500 {
            if is_so(&self.auth.status("system").unwrap()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        panic!("not {seconds} s after: {what}: {:?}", self.auth.status("system"));
    }

    /// Waits for something while time goes on.
    pub(super) async fn meanwhile<T>(&self, work: impl Future<Output = T>) -> T {
        let time = async {
            for _ in 0..1_000 {
                self.pass(1);
                tokio::time::sleep(Duration::from_millis(4)).await;
            }
        };
        tokio::select! {
            done = work => done,
            () = time => panic!("it never ended"),
        }
    }

    /// The settings name this key alone from now on.
    pub(super) async fn list_alone(&self, pem: &str) {
        let fresh = self.auth.read_keys(vec![(Arc::from("system"), vec![inline(pem)])]).await.unwrap();
        self.auth.take_up(fresh);
    }

    /// Has the keys earn a token, a moment after whatever was before.
    pub(super) async fn prove(&self) -> Result<(), Arc<Error>> {
        self.pass(5);
        self.meanwhile(self.auth.prove("system")).await
    }

    pub(super) fn key_states(&self) -> Vec<KeyState> {
        self.auth.status("system").unwrap().keys.iter().map(|key| key.state).collect()
    }
}

/// A key that stands in the settings.
pub(super) fn inline(pem: &str) -> KeySource {
    KeySource::Inline(SecretString::from(pem))
}
