//! 10,000 links opened within 10 s, by as many visitors: each page is asked for at its time, whatever became
//! of the one before, so that a stall is seen by all who come meanwhile. Then the same visitors press the
//! button. Daemon, emulator and visitors share this process and this machine; over loopback, SQLite FULL.
//!
//! `cargo bench --bench links [-- COUNT]`. Fails if any answer is wrong, or the page's p99 is over 50 ms.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark: it measures real time with a client of its own, and says what it saw"
)]

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use countersign::{
    app::App,
    clock::{SharedClock, SystemClock},
    config::Config,
    digest::{hex, sha256},
    emulator::{self, Emulator},
    lifecycle::Lifecycle,
};
use futures_util::{StreamExt as _, stream};
use http::{Method, StatusCode};
use serde_json::{Value, json};

const KEY: &str = "cs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const WITHIN: Duration = Duration::from_secs(10);
const LIMIT_P99: Duration = Duration::from_millis(50);
/// Creates at once, before anything is measured.
const CREATES: usize = 64;

struct Stage {
    api: String,
    http: reqwest::Client,
}

impl Stage {
    async fn create(&self, number: usize) -> String {
        let order = json!({
            "sender": "system", "view": false, "documents": [{ "template": "nda" }],
            "signers": [{ "name": "Ada Lovelace", "email": "ada@example.com", "role": "Client",
                "return_url": "https://www.example.com/done" }],
        });
        let request = self.http.post(format!("{}/v1/signings", self.api)).bearer_auth(KEY);
        let request = request.header("idempotency-key", format!("bench-{number}"));
        let answer = request.header("content-type", "application/json").body(order.to_string()).send().await;
        let answer = answer.expect("the API answers");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        let made: Value = serde_json::from_str(&text).expect("JSON");
        let link = made["signers"][0]["link"]["url"].as_str();
        link.unwrap_or_else(|| panic!("{status}: {text}")).to_owned()
    }
}

/// All requests, each at its time; how long each took, and how many answers were others than expected.
async fn open(http: &reqwest::Client, method: Method, links: &[String], expected: StatusCode) -> Run {
    let began = Instant::now();
    let tasks: Vec<_> = (0_u32..)
        .zip(links)
        .map(|(number, link)| {
            let at = WITHIN * number / u32::try_from(links.len()).expect("a few thousand");
            let request = http.request(method.clone(), link);
            tokio::spawn(async move {
                tokio::time::sleep_until((began + at).into()).await;
                let sent = Instant::now();
                let answer = request.send().await;
                let status = match answer {
                    Ok(answer) => {
                        let status = answer.status();
                        answer.bytes().await.map(|_| status).ok()
                    }
                    Err(_) => None,
                };
                (status, sent.elapsed())
            })
        })
        .collect();
    let mut run = Run { took: Vec::new(), wrong: 0, whole: Duration::ZERO };
    for task in tasks {
        let (status, took) = task.await.expect("no visitor panics");
        run.wrong += usize::from(status != Some(expected));
        run.took.push(took);
    }
    run.whole = began.elapsed();
    run.took.sort_unstable();
    run
}

struct Run {
    took: Vec<Duration>,
    wrong: usize,
    whole: Duration,
}

impl Run {
    fn quantile(&self, per_mille: usize) -> Duration {
        self.took[(self.took.len() * per_mille / 1_000).min(self.took.len() - 1)]
    }

    fn print(&self, what: &str) {
        println!(
            "{what}: {} within {:.1} s, {} wrong, p50 {:.1?}, p99 {:.1?}, max {:.1?}",
            self.took.len(),
            self.whole.as_secs_f64(),
            self.wrong,
            self.quantile(500),
            self.quantile(990),
            self.quantile(1_000),
        );
    }
}

fn settings(emulator: &emulator::Ready, folder: &std::path::Path) -> String {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let port = port.expect("a free port").port();
    let hash = hex(&sha256(KEY.as_bytes()));
    format!(
        "[upstream]\nenvironment = \"emulator\"\noauth_url = \"{}\"\n\
         [senders.system]\nintegration_key = \"{}\"\nuser_id = \"{}\"\nkeys = [\"{}\"]\n\
         [api]\nlisten = \"127.0.0.1:0\"\n[ops]\nlisten = \"127.0.0.1:0\"\n\
         [public]\nlisten = \"127.0.0.1:{port}\"\nbase_url = \"http://127.0.0.1:{port}\"\n\
         [budget]\nhourly_limit = 1000000\nburst_limit = 1000000\n\
         [callers.website]\nkey_hash = \"sha256:{hash}\"\nreturn_origins = [\"https://www.example.com\"]\n\
         [store]\nurl = \"sqlite://{}\"\nseal_key = \"OjuYkzzbqKkGyKTs1ZNpUfXwLRp9XRTZ9X6m8Y8aZf0=\"\n\
         [templates]\nnda = \"{}\"\n[stop]\ngrace = 0\ndeadline = 5\n[log]\nlevel = \"error\"\n",
        emulator.oauth_url,
        emulator.integration_key,
        emulator.user_id,
        emulator.private_key_file.display(),
        folder.join("links.db").display(),
        emulator.template_id,
    )
}

async fn run(count: usize, folder: PathBuf) -> bool {
    let clock: SharedClock = Arc::new(SystemClock);
    let (life, around) = (Lifecycle::new(), Lifecycle::new());
    let emulator = Emulator::start(emulator::Options::default(), Arc::clone(&clock), &around)
        .await
        .expect("an emulator");
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(4_000)
        .build()
        .expect("a client");
    let limits = format!("{}/_test/limits", emulator.ready().control_url);
    let body = json!({ "hourly": 1_000_000, "burst": 1_000_000 }).to_string();
    let raised = http.post(limits).header("content-type", "application/json").body(body).send().await;
    assert!(raised.expect("the control interface").status().is_success());
    let config = Config::from_toml(&settings(emulator.ready(), &folder)).expect("settings");
    let app = App::build(config, clock, life.clone()).await.expect("a daemon");
    let api = app.ready().api_url;
    let parts = app.parts();
    let daemon = tokio::spawn(app.run());
    while parts.auth.ready("system").is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stage = Stage { api, http: http.clone() };
    let began = Instant::now();
    let links: Vec<String> =
        stream::iter(0..count).map(|number| stage.create(number)).buffer_unordered(CREATES).collect().await;
    println!("{count} signings made in {:.1} s", began.elapsed().as_secs_f64());
    let pages = open(&http, Method::GET, &links, StatusCode::OK).await;
    pages.print("page");
    let clicks = open(&http, Method::POST, &links, StatusCode::SEE_OTHER).await;
    clicks.print("button, view minted");
    life.stop();
    daemon.await.expect("no panic").expect("an orderly end");
    around.abort();
    pages.wrong == 0 && clicks.wrong == 0 && pages.quantile(990) < LIMIT_P99
}

fn main() -> std::process::ExitCode {
    let count = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(10_000);
    let folder = std::env::temp_dir().join(format!("countersign-bench-links-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let good = runtime.block_on(run(count, folder.clone()));
    let _ = std::fs::remove_dir_all(folder);
    if good { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}
