//! Several daemons on one Postgres (rule E5), and a Postgres that goes away: real processes, a real server,
//! and a network between them that the test can cut.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use countersign::clock::{Clock as _, SystemClock};
use http::{Method, StatusCode};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{
    harness::{TestDaemon, order},
    kills, postgres,
};

/// Keys under way while daemons die.
const KEYS: usize = 48;

/// What the network between a daemon and its database does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    /// Bytes go nowhere, and nobody is told: a partition.
    Cut,
    /// Connections are broken and refused: a server that is down.
    Down,
    /// It works.
    Up,
}

/// A way to Postgres that can be cut.
struct Proxy {
    wire: watch::Sender<Wire>,
}

impl Proxy {
    async fn to(url: &str) -> (Self, String) {
        let (before, name) = url.rsplit_once('/').unwrap();
        let target = before.rsplit_once('@').unwrap().1.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wire = watch::Sender::new(Wire::Up);
        let wires = wire.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if *wires.borrow() == Wire::Down {
                    continue;
                }
                let Ok(far) = TcpStream::connect(&target).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(pass(near_in, far_out, wires.subscribe()));
                tokio::spawn(pass(far_in, near_out, wires.subscribe()));
            }
        });
        (Self { wire }, format!("postgres://postgres@{address}/{name}"))
    }

    fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }
}

/// Passes bytes on while the wire is up, holds them while it is cut, and hangs up when it is down.
async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut wire: watch::Receiver<Wire>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = wire.wait_for(|wire| *wire == Wire::Down) => return,
        };
        let Ok(length @ 1..) = read else { return };
        let now = wire.wait_for(|wire| *wire != Wire::Cut).await.map(|wire| *wire);
        if !matches!(now, Ok(Wire::Up)) || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Lets the emulator's time go as fast as the real one, for as long as this lives.
fn let_time_pass(around: &TestDaemon) -> tokio::task::JoinHandle<()> {
    let clock = around.clock.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            clock.advance(Duration::from_millis(100));
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn e5_one_killed_and_one_cut_off_from_the_database_make_one_envelope_a_key() {
    let Some(url) = postgres::database() else { return };
    let around = TestDaemon::start().await;
    around.control(Method::POST, "limits", &json!({"hourly": 100_000, "burst": 100_000})).await;
    around
        .fault(&json!({"fault": "commit_then_drop", "method": "POST", "path": "/envelopes", "rate": 0.1}))
        .await;
    let time = let_time_pass(&around);
    let (proxy, cut_url) = Proxy::to(&url).await;
    let folder = crate::harness::TempDir::new();
    let settings = [&url, &url, &cut_url].map(|url| around.settings_for_a_process(url));
    let (mut daemons, mut apis) = (Vec::new(), Vec::new());
    for (number, settings) in settings.iter().enumerate() {
        let (daemon, api) = kills::start(settings, &folder.0, number).await;
        daemons.push(daemon);
        apis.push(api);
    }
    let apis = Arc::new(std::sync::Mutex::new(apis));
    let ended = Arc::new(AtomicUsize::new(0));
    let load: Vec<_> =
        (0..KEYS).map(|number| tokio::spawn(ask(number, apis.clone(), ended.clone()))).collect();

    tokio::time::sleep(Duration::from_millis(700)).await;
    proxy.set(Wire::Cut);
    // One of those that are not cut off, at a random moment, twice.
    for round in 10..12 {
        let (which, after) = (fastrand::usize(0..2), fastrand::u64(0..1_500));
        println!("daemon {which} is killed after {after} ms");
        tokio::time::sleep(Duration::from_millis(after)).await;
        daemons[which].kill();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (again, api) = kills::start(&settings[which], &folder.0, round).await;
        daemons[which] = again;
        apis.lock().unwrap()[which] = api;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    proxy.set(Wire::Up);

    let mut ids = Vec::new();
    for one in load {
        ids.push(one.await.unwrap());
    }
    assert_eq!(ended.load(Ordering::SeqCst), KEYS);
    assert_eq!(around.envelopes().await, KEYS, "exactly one envelope a key");
    // Whoever is asked says the same, also the one that was cut off.
    let apis = apis.lock().unwrap().clone();
    for api in apis {
        for (number, id) in ids.iter().enumerate().step_by(7) {
            assert_eq!(&kills::settled(&around, &api, &format!("order-{number}")).await, id, "at {api}");
        }
    }
    time.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn e3_one_key_at_two_daemons_at_the_same_moment_is_one_create() {
    let Some(url) = postgres::database() else { return };
    let around = TestDaemon::start().await;
    let time = let_time_pass(&around);
    let folder = crate::harness::TempDir::new();
    let settings = around.settings_for_a_process(&url);
    let (mut one, first) = kills::start(&settings, &folder.0, 0).await;
    let (mut two, second) = kills::start(&settings, &folder.0, 1).await;
    for number in 0..20 {
        let key = format!("order-{number}");
        let (a, b) = tokio::join!(kills::create(&first, &key), kills::create(&second, &key));
        let ((a, of_first), (b, of_second)) = (a.unwrap(), b.unwrap());
        assert_eq!((a, b), (201, 201), "{of_first} {of_second}");
        assert_eq!(of_first["id"], of_second["id"], "{key}");
    }
    assert_eq!(around.envelopes().await, 20);
    one.kill();
    two.kill();
    time.abort();
}

/// Asks for one key, at whichever daemon, until it is made. The id never changes.
async fn ask(number: usize, apis: Arc<std::sync::Mutex<Vec<String>>>, ended: Arc<AtomicUsize>) -> String {
    let mut random = fastrand::Rng::with_seed(number as u64);
    tokio::time::sleep(Duration::from_millis(random.u64(0..6_000))).await;
    let mut promised: Option<String> = None;
    for _ in 0..2_000 {
        let api = {
            let apis = apis.lock().unwrap();
            apis[random.usize(0..apis.len())].clone()
        };
        if let Some((status @ (201 | 202), body)) = kills::create(&api, &format!("order-{number}")).await {
            let id = body["id"].as_str().unwrap().to_owned();
            assert_eq!(promised.get_or_insert_with(|| id.clone()), &id, "order-{number} keeps its id");
            if status == 201 {
                ended.fetch_add(1, Ordering::SeqCst);
                return id;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("order-{number} was never settled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_comes_back_is_used_again_without_a_restart() {
    let Some(url) = postgres::database() else { return };
    let around = TestDaemon::start().await;
    let (proxy, url) = Proxy::to(&url).await;
    let folder = crate::harness::TempDir::new();
    let (mut daemon, api) = kills::start(&around.settings_for_a_process(&url), &folder.0, 0).await;
    let (status, first) = kills::create(&api, "order-1").await.unwrap();
    assert_eq!(status, 201, "{first}");
    proxy.set(Wire::Down);
    let (status, problem) = kills::create(&api, "order-2").await.expect("an answer, and no silence");
    assert_eq!((status, problem["retryable"].as_bool()), (503, Some(true)), "{problem}");
    assert!(problem["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{problem}");
    proxy.set(Wire::Up);
    let second = kills::settled(&around, &api, "order-2").await;
    let again = kills::settled(&around, &api, "order-1").await;
    assert_eq!(Some(again.as_str()), first["id"].as_str());
    assert_ne!(second, again);
    daemon.kill();
    assert_eq!(around.envelopes().await, 2);
}

#[tokio::test]
async fn a_full_queue_is_refused_with_a_time_and_hides_no_key() {
    let daemon = TestDaemon::builder().upstream("queue_limit = 3").start().await;
    daemon.fault(&json!({"fault": "status", "status": 503, "method": "POST", "path": "/envelopes"})).await;
    for number in 0..3 {
        daemon.queue(&format!("order-{number}"), &order()).await;
    }
    let refused = daemon.create_with("order-3", &order(), &[("prefer", "respond-async")]).await;
    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "provider_unavailable"),
        "{}",
        refused.text
    );
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=120).contains(&wait), "{wait}");
    let known = daemon.create_with("order-0", &order(), &[("prefer", "respond-async")]).await;
    assert_eq!(known.status, StatusCode::CONFLICT, "under way, and not refused: {}", known.text);
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    daemon
        .run_clock("room in the queue", async || daemon.parts().signings.unsettled().await.unwrap() == 0)
        .await;
    let made = daemon.create("order-3", &order()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!(daemon.envelopes().await, 4);
}

/// Leases are dates, so a daemon whose clock is not the database's says so, and what to do.
#[tokio::test(flavor = "multi_thread")]
async fn e5_a_clock_that_is_not_the_databases_makes_a_daemon_unready_until_it_is_mended() {
    let Some(url) = postgres::database() else { return };
    let daemon = TestDaemon::builder().store(&url).start().await;
    let part = async || {
        let report = daemon.ops("/readyz").await;
        let reasons = report.body["reasons"].as_array().unwrap().clone();
        let store = reasons.into_iter().find(|reason| reason["part"] == "store");
        store.map(|reason| (reason["status"].clone(), reason["detail"].as_str().unwrap().to_owned()))
    };
    // The test's clock shows another date than the server's.
    daemon.until("the date is seen to be wrong", async || part().await.is_some()).await;
    // At the next look ours is so far ahead of the server's, which is on this machine.
    let look_with = |ahead_ms: i64| {
        let wanted = SystemClock.now() + SignedDuration::from_millis(ahead_ms - 2_000);
        daemon.clock.step(wanted.duration_since(daemon.clock.now()));
        daemon.clock.advance(Duration::from_secs(2));
    };
    let becomes = async |ahead_ms: i64, expected: Option<&str>| {
        daemon
            .until(&format!("{ahead_ms} ms ahead: {expected:?}"), async || {
                look_with(ahead_ms);
                let part = part().await;
                match expected {
                    None => part.is_none(),
                    Some(words) => part.is_some_and(|(status, detail)| {
                        status == "not_ready" && detail.contains(words) && detail.contains("NTP")
                    }),
                }
            })
            .await;
    };
    becomes(0, None).await;
    becomes(15_000, Some("ahead of the database's")).await;
    assert_eq!(daemon.ops("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    becomes(5_000, None).await;
    becomes(-15_000, Some("behind the database's")).await;
    let offset = daemon.metric("countersign_store_clock_offset_seconds", &[]).await;
    assert!((14.0..16.5).contains(&offset), "{offset}");
    becomes(0, None).await;
}
