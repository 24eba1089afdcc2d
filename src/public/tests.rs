//! The whole router over a real store, with an upstream that nobody has told us of: whatever would mint
//! fails, so what must not mint is seen to succeed without.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use axum::{Router, body::Body};
use http::{Method, Request, StatusCode, header};
use jiff::Timestamp;
use proptest::prelude::*;
use tower::ServiceExt as _;
use url::Url;

use crate::{
    auth::{self, Auth, Spawner, consent_state::ConsentStates, identity::AccountServer},
    budget::{self, Budget},
    clock::{ManualClock, SharedClock},
    domain::{
        AccountId, CallerName, EnvelopeId, LinkId, LiveView, Private, SignerStatus, Signing, SigningStatus,
    },
    esign,
    events::Hub,
    http_client::{self, HttpClient},
    lifecycle::Lifecycle,
    listener::Peer,
    look::Look,
    pairing,
    public::{self, Dependencies, Proxies, Public, Settings},
    signing::{self, NonceKey, ResultKey, ReturnTarget, Signings, Tickets, sample},
    store::{self, Begun, Durability, Intent, Payload, SealKeys, SharedStore, Version, Work},
    telemetry::metrics::Metrics,
};

const ORIGIN: &str = "https://sign.example.com";

struct World {
    router: Router,
    store: SharedStore,
    signings: Signings,
    tickets: Tickets,
    metrics: Arc<Metrics>,
    nonces: NonceKey,
    clock: ManualClock,
    signing: Signing,
    link: LinkId,
    /// The path of the link.
    path: String,
    folder: std::path::PathBuf,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What came back.
struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    text: String,
}

impl World {
    async fn new() -> Self {
        Self::of(sample::signing(SigningStatus::Open, SignerStatus::Ready)).await
    }

    async fn of(signing: Signing) -> Self {
        let folder = std::env::temp_dir().join(format!("countersign-public-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let settings = store::Settings {
            synchronous: store::Synchronous::Off,
            ..store::Settings::new(store::Location::Sqlite { path: folder.join("test.db") })
        };
        let clock = ManualClock::new(Timestamp::from_second(1_700_000_000).unwrap());
        let shared: SharedClock = Arc::new(clock.clone());
        let store = store::open(&settings, SealKeys::new(&[7; 32], &[]), Arc::clone(&shared)).await.unwrap();
        let (life, metrics) = (Lifecycle::new(), Arc::new(Metrics::new(&["system"])));
        let auth = auth(&shared);
        let esign = esign(&auth, &shared);
        let nonces = NonceKey::derive(b"secret");
        let options = signing::Settings {
            mode: crate::domain::Mode::Test,
            events_to: None,
            public_origin: Some(ORIGIN.to_owned()),
            nonce_key: nonces.clone(),
            queue_limit: 10,
            documents: (
                crate::spool::Spool::new(std::env::temp_dir(), 1 << 20),
                std::time::Duration::from_secs(60),
            ),
            metrics: Arc::clone(&metrics),
            look_every: std::time::Duration::from_millis(500),
            audit: crate::audit::Audit::off(),
        };
        let hub = Hub::new();
        let signings =
            Signings::new(Arc::clone(&store), esign, hub, Arc::clone(&shared), life.clone(), options);
        let tickets = Tickets::derive(b"secret");
        let pairings = pairing::Pairings::new(pairing::Dependencies {
            auth: auth.clone(),
            store: Arc::clone(&store),
            clock: Arc::clone(&shared),
            life: life.clone(),
            tickets: pairing::PairingTickets::derive(b"secret"),
            audit: crate::audit::Audit::off(),
            connectable: std::collections::BTreeMap::new(),
            on_brand: Box::new(|_, _| {}),
            on_change: Box::new(|_| ()),
        });
        let public = Public::new(Dependencies {
            signings: signings.clone(),
            auth,
            consents: ConsentStates::derive(b"secret"),
            pairings,
            results: Arc::new(ResultKey::derive(b"secret")),
            tickets: tickets.clone(),
            metrics: Arc::clone(&metrics),
            clock: shared,
            life,
            settings: Settings {
                origin: ORIGIN.to_owned(),
                look: Look::default(),
                loopback: false,
                proxies: Proxies::none(),
                client_secrets: HashMap::new(),
            },
        });
        let signing = keep(&store, signing).await;
        let shown =
            signings.add_link(&signing.caller, signing.id, signing.signers[0].id, None).await.unwrap();
        let path = shown.url.reveal().strip_prefix(ORIGIN).unwrap().to_owned();
        let router = public::router(public, Router::new());
        let link = shown.link.id;
        Self { router, store, signings, tickets, metrics, nonces, clock, signing, link, path, folder }
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::from(body.to_owned())).unwrap();
        let address: SocketAddr = "192.0.2.7:1234".parse().unwrap();
        request.extensions_mut().insert(Peer { address: Some(address), ..Peer::default() });
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: head.status, headers: head.headers, text }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        self.send(Method::POST, path, &[], body).await
    }

    fn return_path(&self) -> String {
        let target =
            ReturnTarget { signing: self.signing.id, signer: self.signing.signers[0].id, link: None };
        format!("/r/{}", self.nonces.nonce(target))
    }

    /// The signing as it is stored, and how often it was changed.
    async fn stored(&self) -> (Signing, u64) {
        let record = self.store.signing(self.signing.id).await.unwrap().unwrap();
        (record.signing, record.version.0)
    }

    /// How often a view was asked for.
    fn mints(&self) -> u64 {
        let text = self.metrics.render();
        let lines = text.lines().filter(|line| line.starts_with("countersign_view_mints_total{"));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    }
}

fn http() -> HttpClient {
    HttpClient::new(&http_client::Options::default()).unwrap()
}

/// No senders, so nothing can be sent.
fn auth(clock: &SharedClock) -> Auth {
    let server = AccountServer::new(&Url::parse("https://account-d.docusign.com").unwrap()).unwrap();
    Auth::new(http(), server, Arc::clone(clock), Spawner::tokio(), auth::Options::default())
}

fn esign(auth: &Auth, clock: &SharedClock) -> Arc<esign::Client> {
    let options = budget::Options {
        hourly: 3_000,
        burst: 500,
        reserve_from_new_work_percent: 10,
        reserve_from_checks_percent: 5,
    };
    esign::Client::new(esign::Deps {
        http: http(),
        auth: auth.clone(),
        budget: Budget::new(options, Arc::clone(clock)),
        clock: Arc::clone(clock),
        observer: None,
        senders: Vec::new(),
        options: esign::Options { calls_at_once: 4, ..esign::Options::default() },
    })
}

async fn keep(store: &SharedStore, mut signing: Signing) -> Signing {
    signing.account = Some(AccountId::new("account"));
    signing.envelope = Some(EnvelopeId::new("envelope"));
    let now = signing.created_at;
    let intent = Intent {
        signing: signing.clone(),
        key: [1; 32],
        request: [2; 32],
        links: Vec::new(),
        payload: None,
        work: Work { due_at: now, leased_until: None, attempts: 0 },
    };
    let Begun::New(from) = store.begin(intent).await.unwrap() else { panic!("the store is new") };
    save(store, &signing, from).await;
    signing
}

async fn save(store: &SharedStore, signing: &Signing, from: Version) {
    let change = store::Change {
        signing,
        from,
        events: Vec::new(),
        links: Vec::new(),
        answer: None,
        payload: Payload::Keep,
        work: None,
        durability: Durability::Flushed,
    };
    store.save(change).await.unwrap();
}

async fn change(world: &World, rule: impl FnOnce(&mut Signing)) {
    let record = world.store.signing(world.signing.id).await.unwrap().unwrap();
    let mut signing = record.signing;
    rule(&mut signing);
    save(&world.store, &signing, record.version).await;
}

#[tokio::test]
async fn l1_a_day_of_scanners_changes_nothing_and_mints_nothing() {
    let world = World::new().await;
    let before = world.stored().await;
    for round in 0..50 {
        for (method, headers) in [
            (Method::GET, &[][..]),
            (Method::HEAD, &[("user-agent", "Mozilla/5.0 (compatible; SafeLinks)")][..]),
            (Method::GET, &[("sec-purpose", "prefetch;prerender")][..]),
            (Method::OPTIONS, &[][..]),
        ] {
            let answer = world.send(method.clone(), &world.path, headers, "").await;
            let expected =
                if method == Method::OPTIONS { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::OK };
            assert_eq!(answer.status, expected, "{round} {method}");
        }
    }
    assert_eq!(world.stored().await, before);
    assert_eq!(world.mints(), 0);
}

#[tokio::test]
async fn l1_only_a_click_of_ours_or_a_ticket_asks_for_a_view() {
    let world = World::new().await;
    let before = world.stored().await;
    let foreign = [("sec-fetch-site", "cross-site")];
    let refused = world.send(Method::POST, &world.path, &foreign, "").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text.contains("<form method=\"post\">"), "the visitor still gets on");
    for ticket in ["", "abc", "%00"] {
        let refused = world.post(&world.path, &format!("ticket={ticket}")).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{ticket}");
    }
    assert_eq!(world.mints(), 0);
    assert_eq!(world.stored().await, before);

    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let ticket = format!("ticket={}", world.tickets.issue(world.link, now).0.reveal());
    let taken = world.send(Method::POST, &world.path, &foreign, &ticket).await;
    assert_eq!(taken.status, StatusCode::SERVICE_UNAVAILABLE, "it was tried, and there is no upstream");
    assert_eq!(world.mints(), 1);
    let again = world.send(Method::POST, &world.path, &foreign, &ticket).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN, "a ticket is used once");
    let clicked = world.send(Method::POST, &world.path, &[("sec-fetch-site", "same-origin")], "").await;
    assert_eq!((clicked.status, world.mints()), (StatusCode::SERVICE_UNAVAILABLE, 2));
    assert_eq!(world.stored().await.0.live_view, None, "a click that led nowhere holds no lease");
}

#[tokio::test]
async fn each_situation_has_its_page_and_status() {
    let world = World::new().await;
    for (status, signer, seen, clicked, words) in [
        (SigningStatus::Open, SignerStatus::Ready, 200, 503, "ready to sign"),
        (SigningStatus::Open, SignerStatus::Waiting, 200, 409, "not your turn"),
        (SigningStatus::Open, SignerStatus::AuthFailed, 403, 403, "confirm that it is you"),
        (SigningStatus::Open, SignerStatus::Signed, 200, 409, "Everyone has signed"),
        (SigningStatus::Creating, SignerStatus::Waiting, 202, 409, "being prepared"),
        (SigningStatus::Uncertain, SignerStatus::Waiting, 202, 409, "being prepared"),
        (SigningStatus::Completed, SignerStatus::Signed, 200, 409, "Everyone has signed"),
        (SigningStatus::Declined, SignerStatus::Declined, 410, 410, "You declined"),
        (SigningStatus::Declined, SignerStatus::Ready, 410, 410, "Signing has ended"),
        (SigningStatus::Voided, SignerStatus::Ready, 410, 410, "withdrawn"),
        (SigningStatus::Expired, SignerStatus::Ready, 410, 410, "The time to sign has run out"),
        (SigningStatus::Failed, SignerStatus::Waiting, 410, 410, "cannot be signed"),
    ] {
        change(&world, |signing| {
            signing.status = status;
            signing.signers[0].status = signer;
        })
        .await;
        let page = world.get(&world.path).await;
        assert_eq!(page.status, seen, "{status:?} {signer:?}");
        assert!(page.text.contains(words), "{words}");
        assert_eq!(world.post(&world.path, "").await.status, clicked, "{status:?} {signer:?}");
    }
}

#[tokio::test]
async fn a_revoked_or_expired_link_leads_nowhere() {
    let world = World::new().await;
    let caller = CallerName::new("website");
    world.signings.revoke_link(&caller, world.link).await.unwrap();
    for answer in [world.get(&world.path).await, world.post(&world.path, "").await] {
        assert_eq!(answer.status, StatusCode::GONE);
        assert!(answer.text.contains("no longer valid"));
        assert!(!answer.text.contains("Ada Lovelace"), "a link that is withdrawn names nobody");
    }
    let world = World::new().await;
    change(&world, |signing| signing.expires_at = Some(signing.created_at)).await;
    let id = world.signing.signers[0].id;
    let shown = world.signings.add_link(&caller, world.signing.id, id, None).await.unwrap();
    let path = shown.url.reveal().strip_prefix(ORIGIN).unwrap().to_owned();
    for answer in [world.get(&path).await, world.post(&path, "").await] {
        assert_eq!(answer.status, StatusCode::GONE);
        assert!(answer.text.contains("has expired"));
    }
    let resumed = world.post(&world.return_path(), "").await;
    assert_eq!(resumed.status, StatusCode::GONE, "nor does the way round by the return");
    assert_eq!(world.mints(), 0);
}

#[tokio::test]
async fn guesses_are_refused_and_slowed_down_and_good_links_go_on() {
    let world = World::new().await;
    let before = world.stored().await;
    let wrong = [
        "/s/a".to_owned(),
        format!("/s/{}", "A".repeat(43)),
        format!("{}A", world.path),
        world.path[..world.path.len() - 1].to_owned(),
        world.path.to_uppercase().replace("/S/", "/s/"),
        format!("/r/{}", "A".repeat(64)),
        format!("{}x", world.return_path()),
        "/s/%ff%fe".to_owned(),
    ];
    for path in &wrong {
        for method in [Method::GET, Method::POST] {
            assert_eq!(world.send(method, path, &[], "").await.status, StatusCode::NOT_FOUND, "{path}");
        }
    }
    let mut last = world.get(&wrong[1]).await;
    for _ in 0..60 {
        last = world.get(&wrong[1]).await;
    }
    assert_eq!(last.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(last.headers[header::RETRY_AFTER], "60");
    assert_eq!(world.get(&world.path).await.status, StatusCode::OK);
    assert_eq!((world.stored().await, world.mints()), (before, 0));
    world.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(world.get(&wrong[1]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn paths_of_other_listeners_are_unknown() {
    let world = World::new().await;
    for path in ["/", "/v1/signings", "/metrics", "/livez", "/_test/requests", "/oauth/token", "/s", "/s/"] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.text.starts_with("<!DOCTYPE html>"));
    }
    let answer = world.send(Method::DELETE, &world.path, &[], "").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn l5_every_answer_is_kept_private_and_holds_no_token() {
    let world = World::new().await;
    let token = world.path.strip_prefix("/s/").unwrap().to_owned();
    let nonce = world.return_path().strip_prefix("/r/").unwrap().to_owned();
    for (method, path) in [
        (Method::GET, world.path.clone()),
        (Method::POST, world.path.clone()),
        (Method::GET, "/s/x".to_owned()),
        (Method::GET, world.return_path() + "?event=cancel"),
        (Method::GET, world.return_path() + "?event=signing_complete"),
        (Method::POST, world.return_path()),
        (Method::GET, "/consent/callback?code=c".to_owned()),
    ] {
        let answer = world.send(method.clone(), &path, &[], "").await;
        for name in ["cache-control", "referrer-policy", "x-robots-tag", "x-content-type-options"] {
            assert!(answer.headers.contains_key(name), "{name}: {method} {path}");
        }
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
        assert!(!answer.text.contains(&token) && !answer.text.contains(&nonce), "{method} {path}");
        if !answer.status.is_redirection() {
            assert!(answer.headers.contains_key(header::CONTENT_SECURITY_POLICY));
        }
    }
}

#[tokio::test]
async fn the_page_speaks_the_signings_language_and_lets_its_frames_in() {
    let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
    signing.reference = Some("<script>alert(1)</script>".to_owned());
    let world = World::of(signing).await;
    let french = world.send(Method::GET, &world.path, &[("accept-language", "fr-CH")], "").await;
    assert!(french.text.contains("<html lang=\"fr\">"));
    change(&world, |signing| {
        signing.locale = Some("de".to_owned());
        signing.frame_ancestors = vec!["https://www.example.com".to_owned()];
        signing.signers[0].name = Private::new("<img src=x>".to_owned());
    })
    .await;
    let german = world.send(Method::GET, &world.path, &[("accept-language", "fr")], "").await;
    assert!(german.text.contains("<html lang=\"de\">"));
    assert!(german.text.contains("&lt;script&gt;") && !german.text.contains("<script"));
    assert!(german.text.contains("&lt;img") && !german.text.contains("<img"));
    let policy = german.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.ends_with("frame-ancestors https://www.example.com"));
    assert!(!german.headers.contains_key(header::X_FRAME_OPTIONS));
}

/// Where the browser is sent, as path and parameters.
fn location(answer: &Answer) -> Option<Url> {
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    Url::parse(answer.headers[header::LOCATION].to_str().unwrap()).ok()
}

#[tokio::test]
async fn f1_a_forged_return_tells_the_site_the_facts() {
    let world = World::new().await;
    let answer = world.get(&format!("{}?event=signing_complete&status=signed", world.return_path())).await;
    let url = location(&answer).unwrap();
    let pairs: std::collections::HashMap<_, _> = url.query_pairs().into_owned().collect();
    assert_eq!(url.host_str(), Some("www.example.com"));
    assert_eq!(pairs["status"], "ready");
    assert_eq!(pairs["signing_id"], world.signing.id.to_string());
    assert_eq!(pairs["result"].split('.').count(), 3);
    let (signing, _) = world.stored().await;
    assert_eq!(signing.signers[0].status, SignerStatus::Ready, "a claim changes no status");
    assert_eq!(signing.signers[0].last_return.unwrap().claim.as_str(), "signing_complete");
}

#[tokio::test]
async fn a_replayed_return_is_one_return_and_looking_is_none() {
    let world = World::new().await;
    let path = format!("{}?event=cancel", world.return_path());
    assert_eq!(world.get(&path).await.status, StatusCode::OK);
    let once = world.stored().await;
    for _ in 0..5 {
        world.get(&path).await;
        world.get(&format!("{}?wait=2", world.return_path())).await;
        assert_eq!(world.send(Method::HEAD, &path, &[], "").await.status, StatusCode::OK);
        let ahead = world.send(Method::GET, &path, &[("sec-purpose", "prefetch")], "").await;
        assert_eq!(ahead.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(world.stored().await, once);
    assert_eq!(world.mints(), 0);
}

#[tokio::test]
async fn trying_again_on_a_page_after_a_return_is_no_second_return() {
    let world = World::new().await;
    let path = world.return_path();
    let signer = world.signing.signers[0].id;
    let minted_at = Timestamp::from_second(1_700_000_000).unwrap();
    let until = Timestamp::from_second(1_700_000_240).unwrap();
    let again = "class=\"button plain\" href=\"?wait=0\"";
    world.get(&format!("{path}?event=cancel")).await;
    change(&world, |signing| {
        signing.signers[0].status = SignerStatus::InSession;
        signing.live_view = Some(LiveView { clicked: true, signer, minted_at, until });
    })
    .await;
    let before = world.stored().await;
    let elsewhere = world.post(&path, "").await;
    assert_eq!(elsewhere.status, StatusCode::CONFLICT);
    assert!(elsewhere.text.contains(again), "{}", elsewhere.text);
    let page = world.get(&format!("{path}?wait=0")).await;
    assert!(page.text.contains("<form method=\"post\">"), "what the browser said is known: {}", page.text);
    assert_eq!(world.stored().await, before);

    change(&world, |signing| signing.signers[0].return_url = None).await;
    let plain = world.get(&path).await;
    assert!(plain.text.contains(again), "{}", plain.text);
    let before = world.stored().await;
    assert_eq!(world.get(&format!("{path}?wait=0")).await.text, plain.text);
    assert_eq!(world.stored().await, before);
}

#[tokio::test]
async fn l3_a_pause_leads_back_to_signing_and_to_the_site() {
    let world = World::new().await;
    for event in ["cancel", "exception", "session_timeout", "ttl_expired"] {
        let page = world.get(&format!("{}?event={event}", world.return_path())).await;
        assert_eq!(page.status, StatusCode::OK, "{event}");
        assert!(page.text.contains("<form method=\"post\">"), "{event}");
        assert!(page.text.contains("href=\"https://www.example.com/done?signing_id=sig_"), "{event}");
    }
    let resumed = world.post(&world.return_path(), "").await;
    assert_eq!((resumed.status, world.mints()), (StatusCode::SERVICE_UNAVAILABLE, 1), "it was tried");
    let foreign = [("sec-fetch-site", "cross-site")];
    let refused = world.send(Method::POST, &world.return_path(), &foreign, "").await;
    assert_eq!((refused.status, world.mints()), (StatusCode::FORBIDDEN, 1));
}

#[tokio::test]
async fn without_a_site_the_last_page_is_ours_and_waits_for_the_facts() {
    let world = World::new().await;
    change(&world, |signing| signing.signers[0].return_url = None).await;
    let waiting = world.get(&format!("{}?event=signing_complete", world.return_path())).await;
    assert_eq!(waiting.status, StatusCode::OK);
    assert!(waiting.text.contains("content=\"2;url=?wait=1\"") && waiting.text.contains("confirmation"));
    change(&world, |signing| {
        signing.status = SigningStatus::Completed;
        signing.signers[0].status = SignerStatus::Signed;
    })
    .await;
    let done = world.get(&format!("{}?wait=1", world.return_path())).await;
    assert!(done.text.contains("Everyone has signed") && !done.text.contains("http-equiv=\"refresh\""));
}

#[tokio::test]
async fn t11_a_consent_answer_without_our_state_exchanges_nothing() {
    let world = World::new().await;
    for (query, status, words) in [
        ("", 400, "We have your answer"),
        // An organisation's link has no state.
        ("?code=abc", 200, "for your organisation"),
        ("?code=abc&state=forged", 400, "the link was old or not made by us"),
        ("?error=access_denied", 200, "Consent was not given"),
        ("?error=server_error", 502, "Consent could not be confirmed"),
    ] {
        let answer = world.get(&format!("/consent/callback{query}")).await;
        assert_eq!(answer.status.as_u16(), status, "{query}");
        assert!(answer.text.contains(words), "{query}: {}", answer.text);
    }
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let state = ConsentStates::derive(b"secret").issue("system", now).state;
    let denied = world.get(&format!("/consent/callback?error=access_denied&state={state}")).await;
    assert_eq!(denied.status, StatusCode::OK);
    assert!(denied.text.contains("Consent was not given"));
    let unknown = world.get(&format!("/consent/callback?code=abc&state={state}")).await;
    assert_eq!(unknown.status, StatusCode::BAD_GATEWAY, "no such sender here");
}

#[test]
fn arbitrary_addresses_never_panic_and_never_mint() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::new());
    let before = runtime.block_on(world.stored());
    let text = proptest::string::string_regex("[!-~&&[^#?/%\"<>\\\\^`{|}]]{1,80}").unwrap();
    proptest!(ProptestConfig::with_cases(200), |(token in text, place in "[sr]", event in "[a-z_&=]{0,20}")| {
        let path = format!("/{place}/{token}?event={event}");
        for method in [Method::GET, Method::HEAD, Method::POST] {
            let answer = runtime.block_on(world.send(method, &path, &[], "click=x&ticket=y"));
            let refused = [StatusCode::NOT_FOUND, StatusCode::TOO_MANY_REQUESTS].contains(&answer.status);
            prop_assert!(refused, "{} {}", answer.status, path);
        }
    });
    assert_eq!(runtime.block_on(world.stored()), before);
    assert_eq!(world.mints(), 0);
}
