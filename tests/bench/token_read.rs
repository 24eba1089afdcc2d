//! A cached-token read, alone and with two threads at it, beside moka's own `get`.
//!
//! `auth` reads by the sender's name; `cache` reads through a cache that is already at hand. What is
//! measured is the time that the reading thread itself ran: on a machine that does other things, the
//! wall tells how busy it is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use countersign::{
    auth::{
        AccessToken, Auth, Options, Spawner, TokenSource,
        access_token::MintedToken,
        identity::AccountServer,
        token_cache::{Record, Surroundings, TokenCache},
        token_source::Minting,
        user_info::AccountChoice,
    },
    clock::{Clock as _, SharedClock, SystemClock},
    http_client::HttpClient,
};
use criterion::{
    Criterion, criterion_group, criterion_main,
    measurement::{Measurement, ValueFormatter, WallTime},
};
use rustix::time::{ClockId, clock_gettime};

/// The processor time of this thread.
struct ThreadTime;

impl Measurement for ThreadTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let nanos = u32::try_from(time.tv_nsec).expect("less than a second");
        Duration::new(time.tv_sec.unsigned_abs(), nanos)
    }

    fn end(&self, begun: Duration) -> Duration {
        self.start().saturating_sub(begun)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

struct Always;

impl TokenSource for Always {
    fn mint(&self) -> Minting<'_> {
        let minted = MintedToken::new("bench", SystemClock.uptime(), Duration::from_secs(3_600));
        Box::pin(async { Ok(minted.expect("visible ASCII")) })
    }
}

/// Measures `read` alone, then while a second thread does the same without pause.
fn measure<R>(criterion: &mut Criterion<ThreadTime>, name: &str, read: impl Fn() -> R + Send + Sync) {
    criterion.bench_function(&format!("{name}, one thread"), |bencher| bencher.iter(&read));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                std::hint::black_box(read());
            }
        });
        criterion.bench_function(&format!("{name}, two threads"), |bencher| bencher.iter(&read));
        stop.store(true, Ordering::Relaxed);
    });
}

fn token_read(criterion: &mut Criterion<ThreadTime>) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    let clock: SharedClock = Arc::new(SystemClock);

    let around = Surroundings {
        clock: Arc::clone(&clock),
        spawner: Spawner::tokio(),
        generations: Arc::default(),
        closed: tokio_util::sync::CancellationToken::new(),
        idle_after: Duration::from_secs(86_400),
        seed: 1,
        asked: countersign::auth::account_server_calls::Asked::default(),
        is_crowded: false,
        on_idle: None,
    };
    let cache = TokenCache::new(Arc::new(Always), Arc::new(Record::default()), around);
    runtime.block_on(cache.token_within(Duration::MAX)).expect("it always mints");
    measure(criterion, "cache", || cache.ready().expect("fresh"));

    let client = HttpClient::new(&countersign::http_client::Options::default()).expect("a client");
    let origin = "https://account-d.docusign.com".parse().expect("a URL");
    let server = AccountServer::new(&origin).expect("an origin");
    let auth = Auth::new(client, server, clock, Spawner::tokio(), Options::default());
    let source: Arc<dyn TokenSource> = Arc::new(Always);
    auth.register_sources(vec![(Arc::from("system"), source, AccountChoice::Default)]);
    let token = runtime.block_on(auth.token("system")).expect("it always mints");
    measure(criterion, "auth", || auth.ready("system").expect("fresh"));

    let moka: moka::sync::Cache<Arc<str>, AccessToken> =
        moka::sync::Cache::builder().time_to_live(Duration::from_secs(3_600)).build();
    moka.insert(Arc::from("system"), token);
    measure(criterion, "moka", || moka.get("system").expect("inserted"));
    runtime.shutdown_background();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ThreadTime);
    targets = token_read
}
criterion_main!(benches);
