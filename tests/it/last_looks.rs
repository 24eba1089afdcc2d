//! Creates in doubt whose last look is answered, and never well: the list by our own ids works, and the one by the hidden
//! custom field does not.

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use countersign::{
    clock::ManualClock,
    domain::{Signing, SigningId, SigningStatus},
    emulator::InMemory,
    http_client::{Carried, Carrier},
    lifecycle::Spawner,
    signing::{Created, Signings},
    store::SharedStore,
};
use http::{Method, Request, Response, StatusCode};

use crate::{
    simulation::envelope::{ask_for, daemon, order, prepare},
    store::Fixture,
};

/// More rounds than anything here takes.
const ROUNDS: u32 = 2_000;

/// An upstream that makes no envelope and does not say so, and that answers last looks like this.
#[derive(Debug)]
struct Wire {
    emulator: InMemory,
    last_look: (StatusCode, &'static str),
    posts: AtomicUsize,
    last_looks: AtomicUsize,
}

impl Carrier for Wire {
    fn carry(&self, request: Request<Bytes>, _: Duration) -> Carried {
        let is_create = request.method() == Method::POST && request.uri().path().ends_with("/envelopes");
        let is_last_look = request.uri().query().is_some_and(|query| query.contains("custom_field="));
        let answer = if is_create {
            self.posts.fetch_add(1, Ordering::Relaxed);
            answer((StatusCode::INTERNAL_SERVER_ERROR, "{}"))
        } else if is_last_look {
            self.last_looks.fetch_add(1, Ordering::Relaxed);
            answer(self.last_look)
        } else {
            self.emulator.vendor(request)
        };
        Box::pin(ready(Ok(answer)))
    }
}

fn answer((status, body): (StatusCode, &'static str)) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from_static(body.as_bytes()));
    *answer.status_mut() = status;
    answer
}

struct Bench {
    fixture: Fixture,
    store: SharedStore,
    wire: Arc<Wire>,
    signings: Signings,
}

impl Bench {
    async fn new(last_look: (StatusCode, &'static str)) -> Self {
        let fixture = Fixture::sqlite();
        let store = fixture.open().await;
        let emulator = InMemory::new(1, Arc::new(fixture.clock.clone()));
        prepare(&emulator, Duration::ZERO);
        let (posts, last_looks) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let wire = Arc::new(Wire { emulator, last_look, posts, last_looks });
        let (network, clock): (Arc<Wire>, Arc<ManualClock>) =
            (Arc::clone(&wire), Arc::new(fixture.clock.clone()));
        let signings = daemon(network, Arc::clone(&store), &Spawner::tokio(), clock, 1);
        Self { fixture, store, wire, signings }
    }

    async fn signing(&self, id: SigningId) -> Signing {
        self.store.signing(id).await.unwrap().unwrap().signing
    }

    /// Lets recovery go round, and time go on, until it is so.
    async fn until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        for _ in 0..ROUNDS {
            if is_so().await {
                return;
            }
            self.fixture.clock.advance(Duration::from_millis(500));
            self.signings.round(&Arc::default()).await.unwrap();
            tokio::task::yield_now().await;
        }
        panic!("{what} did not come");
    }
}

/// Its caller would be told "uncertain" for as long as the signing is kept, and the upstream be asked as long.
#[tokio::test]
async fn e2_a_doubt_whose_last_look_is_never_answered_well_ends_as_unknown() {
    let refusal = r#"{"errorCode": "INVALID_REQUEST_PARAMETER", "message": "custom_field"}"#;
    for last_look in [(StatusCode::OK, "<html>"), (StatusCode::BAD_REQUEST, refusal)] {
        let bench = Bench::new(last_look).await;
        let body = Bytes::from(order("order-1", false).to_string());
        let made = bench.signings.create(ask_for("order-1", body, Duration::ZERO), None).await.unwrap();
        let Created::Accepted { signing: id, .. } = made else { panic!("nobody waited") };
        let looked = || bench.wire.last_looks.load(Ordering::Relaxed);
        bench.until("a few last looks", async || looked() >= 3).await;
        assert_eq!(bench.signing(id).await.status, SigningStatus::Uncertain, "its key lives");
        bench.fixture.clock.advance(Duration::from_secs(6 * 86_400));
        let has_ended = async || bench.signing(id).await.status != SigningStatus::Uncertain;
        bench.until("its end", has_ended).await;
        let ended = bench.signing(id).await;
        let code = ended.failure.map(|failure| failure.code);
        assert_eq!((ended.status, code.as_deref()), (SigningStatus::Failed, Some("outcome_unknown")));
        assert_eq!(bench.wire.posts.load(Ordering::Relaxed), 1, "it was not sent again");
    }
}
