//! What the tests of this module share: the whole router over a real store, with an upstream that nobody has
//! told us of: whatever would mint fails, so what must not mint is seen to succeed without.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use axum::{Router, body::Body};
use http::{Method, Request, StatusCode};
use jiff::Timestamp;
use tower::ServiceExt as _;
use url::Url;

use crate::{
    auth::{self, Auth, Spawner, consent_state::ConsentStates, identity::AccountServer},
    budget::{self, Budget},
    clock::{ManualClock, SharedClock},
    domain::{AccountId, EnvelopeId, LinkId, SignerStatus, Signing, SigningStatus, sample},
    esign,
    events::Hub,
    http_client::{self, HttpClient},
    lifecycle::Lifecycle,
    listener::Peer,
    pairing,
    public::{self, Dependencies, Proxies, Public, Settings},
    signing::{self, NonceKey, ResultKey, ReturnTarget, Signings, Tickets},
    store::{self, Begun, Durability, Intent, Payload, SealKeys, SharedStore, Version, Work},
    telemetry::metrics::Metrics,
    theme::Theme,
};

pub(super) const ORIGIN: &str = "https://sign.example.com";

/// The router with one signing in its store.
pub(super) struct World {
    router: Router,
    store: SharedStore,
    pub(super) signings: Signings,
    pub(super) tickets: Tickets,
    metrics: Arc<Metrics>,
    nonces: NonceKey,
    pub(super) clock: ManualClock,
    pub(super) signing: Signing,
    pub(super) link: LinkId,
    /// The path of the link.
    pub(super) path: String,
    folder: std::path::PathBuf,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: http::HeaderMap,
    pub(super) text: String,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::of(sample::signing(SigningStatus::Open, SignerStatus::Ready)).await
    }

    pub(super) async fn of(signing: Signing) -> Self {
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
        let nonces = NonceKey::derive(b"secret", &[]);
        let options = signing::Settings {
            mode: crate::domain::Mode::Test,
            events_to: None,
            public_origin: Some(ORIGIN.to_owned()),
            nonce_key: nonces.clone(),
            queue_limit: 10,
            spool: crate::spool::Spool::new(std::env::temp_dir(), 1 << 20),
            keep_documents: std::time::Duration::from_secs(60),
            pdf_program: None,
            metrics: Arc::clone(&metrics),
            look_every: std::time::Duration::from_millis(500),
            audit: crate::audit::Audit::off(),
        };
        let signings = Signings::new(signing::Dependencies {
            store: Arc::clone(&store),
            esign,
            hub: Hub::new(),
            clock: Arc::clone(&shared),
            life: life.clone(),
            settings: options,
        });
        let tickets = Tickets::derive(b"secret", &[]);
        let pairings = pairings(&auth, &store, &shared, &life);
        let public = Public::new(Dependencies {
            signings: signings.clone(),
            auth,
            consents: ConsentStates::derive(b"secret", &[]),
            pairings,
            results: Arc::new(ResultKey::derive(b"secret", &[])),
            tickets: tickets.clone(),
            metrics: Arc::clone(&metrics),
            clock: shared,
            life,
            settings: Settings {
                origin: ORIGIN.to_owned(),
                theme: Theme::default(),
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

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
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

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub(super) async fn post(&self, path: &str, body: &str) -> Answer {
        self.send(Method::POST, path, &[], body).await
    }

    pub(super) fn return_path(&self) -> String {
        let target = ReturnTarget {
            signing: self.signing.id,
            signer: self.signing.signers[0].id,
            link: None,
            view: None,
        };
        format!("/r/{}", self.nonces.nonce(target))
    }

    /// The signing as it is stored, and how often it was changed.
    pub(super) async fn stored(&self) -> (Signing, u64) {
        let record = self.store.signing(self.signing.id).await.unwrap().unwrap();
        (record.signing, record.version.0)
    }

    /// How often a view was asked for.
    pub(super) fn mints(&self) -> u64 {
        let text = self.metrics.render();
        let lines = text.lines().filter(|line| line.starts_with("countersign_view_mints_total{"));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    }
}

fn http() -> HttpClient {
    HttpClient::new(&http_client::Options::default()).unwrap()
}

/// Customers' connections, of whom nobody is any.
fn pairings(auth: &Auth, store: &SharedStore, clock: &SharedClock, life: &Lifecycle) -> pairing::Pairings {
    pairing::Pairings::new(pairing::Dependencies {
        auth: auth.clone(),
        store: Arc::clone(store),
        clock: Arc::clone(clock),
        life: life.clone(),
        tickets: pairing::PairingTickets::derive(b"secret", &[]),
        audit: crate::audit::Audit::off(),
        connectable: std::collections::BTreeMap::new(),
        on_brand: Box::new(|_, _| {}),
        on_change: Box::new(|_| ()),
    })
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
    let Begun::New(from) = store.begin(&intent).await.unwrap() else { panic!("the store is new") };
    save(store, &signing, from).await;
    signing
}

async fn save(store: &SharedStore, signing: &Signing, from: Version) {
    let change = store::Change {
        signing,
        from,
        events: &[],
        links: Vec::new(),
        answer: None,
        payload: Payload::Keep,
        work: None,
        durability: Durability::Flushed,
    };
    store.save(change).await.unwrap();
}

/// Changes the signing in the store.
pub(super) async fn change(world: &World, rule: impl FnOnce(&mut Signing)) {
    let record = world.store.signing(world.signing.id).await.unwrap().unwrap();
    let mut signing = record.signing;
    rule(&mut signing);
    save(&world.store, &signing, record.version).await;
}
