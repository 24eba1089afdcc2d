//! What is measured: each contender, with each payload, over each kind of upstream.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use countersign::{
    digest::{hex, sha256},
    http_client::{HttpClient, Options, Request},
};
use http::{Method, StatusCode};

use super::{
    Wanted,
    contender::{CORE, Process, wait_for_file},
    document,
    driver::{self, Load},
    overload, postgres,
    report::{self, Against, Row},
    scaling,
    upstream::{self, ACCOUNT, Counts, TEMPLATE, USER},
};

const KEY: &str = "cs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
pub(super) const INTEGRATION_KEY: &str = "5e0b1c8d-9a47-4c7e-8d21-6f3a2b900001";
const SIZE: usize = 64 * 1_024;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contender {
    Proxy,
    /// On our libraries.
    Floor {
        keeps: Keeps,
    },
    Countersign {
        durability: &'static str,
        with: With,
    },
    Postgres,
    Node,
}

/// What the floor keeps of a call, in SQLite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Nothing,
    /// A row.
    Row,
    /// What countersign's store keeps.
    Ours,
}

/// What countersign does besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum With {
    Nothing,
    /// Durable links.
    Links,
    /// An audit log, whose lines are on disk before what they tell of is done.
    Audit,
}

impl Contender {
    const ALL: [Self; 11] = [
        // With these two the others are compared.
        Self::Proxy,
        Self::Node,
        Self::Floor { keeps: Keeps::Nothing },
        Self::Floor { keeps: Keeps::Row },
        Self::Floor { keeps: Keeps::Ours },
        Self::Countersign { durability: "full", with: With::Nothing },
        Self::Countersign { durability: "full", with: With::Links },
        Self::Countersign { durability: "full", with: With::Audit },
        Self::Countersign { durability: "normal", with: With::Nothing },
        Self::Countersign { durability: "off", with: With::Nothing },
        Self::Postgres,
    ];

    fn name(self) -> String {
        match self {
            Self::Proxy => "bare proxy".into(),
            Self::Floor { keeps: Keeps::Nothing } => "floor: our libraries".into(),
            Self::Floor { keeps: Keeps::Row } => "floor: our libraries, SQLite full".into(),
            Self::Floor { keeps: Keeps::Ours } => "floor: our libraries, our store, full".into(),
            Self::Countersign { durability, with } => {
                let with = match with {
                    With::Nothing => "",
                    With::Links => ", links",
                    With::Audit => ", audit log",
                };
                format!("countersign, SQLite {durability}{with}")
            }
            Self::Postgres => "countersign, Postgres".into(),
            Self::Node => "Node SDK service".into(),
        }
    }
}

/// What everything needs.
pub(super) struct Bench {
    pub(super) wanted: Wanted,
    pub(super) folder: PathBuf,
    pub(super) upstream: upstream::Ready,
    pub(super) runtime: tokio::runtime::Runtime,
    client: HttpClient,
}

/// Runs the whole benchmark and prints its table.
pub(crate) fn run(wanted: &Wanted) {
    pin();
    let folder = std::env::temp_dir().join(format!("countersign-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let this = std::env::current_exe().expect("this program");
    let delay_ms = if wanted.overload { overload::UPSTREAM_MS } else { 0 };
    let stand_in =
        Process::beside(&this, &["upstream", &folder.display().to_string(), &delay_ms.to_string()], &folder);
    let upstream: upstream::Ready = serde_json::from_str(&stand_in.said).expect("it says where it listens");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = HttpClient::new(&Options::default()).expect("a client");
    let bench = Bench { wanted: wanted.clone(), folder: folder.clone(), upstream, runtime, client };
    if wanted.scaling {
        scaling::run(&bench);
    } else if wanted.overload {
        overload::run(&bench);
    } else {
        bench.tables();
    }
    drop(bench);
    drop(stand_in);
    let _ = std::fs::remove_dir_all(folder);
}

/// Keeps the callers off the contender's core.
fn pin() {
    let this = std::process::id().to_string();
    let pinned = std::process::Command::new("taskset")
        .args(["-cp", super::contender::OTHER_CORE, &this])
        .stdout(std::process::Stdio::null())
        .status();
    assert!(pinned.is_ok_and(|status| status.success()), "taskset (util-linux) is needed, and two cores");
}

impl Bench {
    /// All contenders, with all payloads.
    fn tables(&self) {
        self.ceiling();
        report::head();
        for (payload, size) in [("template", None), ("64 KB document", Some(SIZE))] {
            for tls in [false, true] {
                if self.wanted.quick && (tls || size.is_some()) {
                    continue;
                }
                self.compare(payload, size, tls);
            }
        }
        self.passing();
    }

    /// How many single calls a second the stand-in and the callers manage together.
    fn ceiling(&self) {
        let load = Load {
            origin: self.upstream.http.clone(),
            method: Method::POST,
            path: "/restapi/v2.1/accounts/x/envelopes".to_owned(),
            key: "Bearer x",
            bodies: [Bytes::from_static(b"{}")].into(),
            good: StatusCode::CREATED,
        };
        let measured = self.runtime.block_on(driver::run(&load, 64, self.wanted.seconds));
        report::line(&format!(
            "Stand-in upstream and callers, sharing one core: {:.0} calls a second, so at most {:.0} signings.",
            measured.per_second(),
            measured.per_second() / 3.0
        ));
        let direct = self.runtime.block_on(driver::run(&load, 1, self.wanted.seconds));
        report::line(&format!(
            "Two upstream calls made directly, one after the other, take {:.2} ms at p50.\n",
            2.0 * direct.quantile_ms(0.5)
        ));
    }

    fn compare(&self, payload: &'static str, size: Option<usize>, tls: bool) {
        let mut against = Against::default();
        for contender in Contender::ALL {
            let name = contender.name();
            // Templates over plain HTTP are enough to see what the parts cost.
            if matches!(contender, Contender::Floor { .. }) && (tls || size.is_some()) {
                continue;
            }
            let is_wanted = self.wanted.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
            if !is_wanted && contender != Contender::Proxy {
                continue;
            }
            report::progress(&format!("{name}, {payload}, {}", kind(tls)));
            let Some(mut row) = self.measure(contender, size, tls) else {
                report::progress("  SKIPPED: what it needs is not on this machine");
                continue;
            };
            (row.payload, row.upstream) = (payload, kind(tls));
            match contender {
                Contender::Proxy => against.proxy = Some(row.cpu_us),
                Contender::Node => against.node = Some(row.cpu_us),
                _ => {}
            }
            report::row(&row, against);
        }
    }

    /// A call that is passed through, beside a bare reverse proxy that only puts its token on it.
    fn passing(&self) {
        report::line("\nA read of the upstream's API, passed through, 64 callers at once:\n");
        report::passing_head();
        let mut proxy_cpu = None;
        let countersign = Contender::Countersign { durability: "full", with: With::Nothing };
        let read = format!("/restapi/v2.1/accounts/{ACCOUNT}/templates/{TEMPLATE}");
        // What it costs without the call upstream shows what that call costs.
        for (name, contender, path) in [
            ("bare reverse proxy", Contender::Proxy, read.clone()),
            ("countersign", countersign, format!("/v1/senders/system/esign{read}")),
            ("countersign, an answer of its own", countersign, "/v1/senders".to_owned()),
        ] {
            let Some((process, origin)) = self.start(contender, false) else { continue };
            let load = Load {
                origin,
                method: Method::GET,
                path,
                key: concat_key(),
                bodies: [Bytes::new()].into(),
                good: StatusCode::OK,
            };
            self.runtime.block_on(driver::run(&load, 64, self.wanted.seconds / 3));
            let before = process.cpu_seconds();
            let measured = self.runtime.block_on(driver::run(&load, 64, self.wanted.seconds));
            #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
            let cpu_us = (process.cpu_seconds() - before) * 1e6 / measured.latencies_us.len() as f64;
            report::passing(
                name,
                cpu_us,
                *proxy_cpu.get_or_insert(cpu_us),
                &measured,
                process.resident_mib(),
            );
        }
    }

    fn measure(&self, contender: Contender, size: Option<usize>, tls: bool) -> Option<Row> {
        // What the one before has left to be written to disk would cost this one a tenth more.
        rustix::fs::sync();
        let before = self.counts();
        #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
        let began = Instant::now();
        let (process, origin) = self.start(contender, tls)?;
        let load = Load {
            origin,
            method: Method::POST,
            path: "/v1/signings".to_owned(),
            key: concat_key(),
            bodies: [body(size, "system")].into(),
            good: StatusCode::CREATED,
        };
        let first = self.runtime.block_on(driver::run(&load, 1, Duration::ZERO));
        let start_ms = began.elapsed().as_secs_f64() * 1_000.0;
        let mut row = Row { contender: contender.name(), start_ms, failed: first.failed, ..Row::default() };
        self.runtime.block_on(driver::run(&load, 64, self.wanted.seconds / 3));
        for concurrency in [1, 16, 64] {
            let (cpu, calls) = (process.cpu_seconds(), self.counts());
            let measured = self.runtime.block_on(driver::run(&load, concurrency, self.wanted.seconds));
            let quantiles = [0.5, 0.99, 0.999].map(|share| measured.quantile_ms(share));
            row.at.push((concurrency, measured.per_second(), quantiles));
            row.failed += measured.failed;
            #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
            if concurrency == 64 {
                let signings = measured.latencies_us.len() as f64;
                row.cpu_us = (process.cpu_seconds() - cpu) * 1e6 / signings;
                let after = self.counts();
                let spent = (after.creates + after.views + after.others)
                    - (calls.creates + calls.views + calls.others);
                row.calls = spent as f64 / signings;
            }
        }
        row.resident_mib = process.resident_mib();
        row.exchanges = self.counts().exchanges - before.exchanges;
        drop(process);
        row.cold_ms = self.cold(contender, tls, &load)?;
        Some(row)
    }

    /// 500 callers at once against a process that has just begun to listen.
    fn cold(&self, contender: Contender, tls: bool, load: &Load) -> Option<f64> {
        let (_process, origin) = self.start(contender, tls)?;
        let load = Load { origin, ..load.clone() };
        let measured = self.runtime.block_on(driver::run(&load, 500, Duration::ZERO));
        Some(if measured.failed == 0 { measured.took.as_secs_f64() * 1_000.0 } else { f64::NAN })
    }

    fn counts(&self) -> Counts {
        let url = format!("{}/_counts", self.upstream.http).parse().expect("a URL");
        let answer =
            self.runtime.block_on(self.client.send(Request::get(url))).expect("the stand-in answers");
        serde_json::from_slice(&answer.body).expect("counts")
    }

    fn start(&self, contender: Contender, tls: bool) -> Option<(Process, String)> {
        match contender {
            Contender::Proxy => Some(self.start_proxy(tls)),
            Contender::Floor { keeps } => Some(self.start_floor(keeps)),
            Contender::Countersign { durability, with } => {
                let file = self.folder.join(format!("store-{}.db", uuid::Uuid::new_v4().simple()));
                let url = format!("sqlite://{}", file.display());
                Some(self.start_countersign(&url, durability, with, tls))
            }
            Contender::Postgres => {
                let url = postgres::database()?;
                Some(self.start_countersign(&url, "full", With::Nothing, tls))
            }
            Contender::Node => self.start_node(tls),
        }
    }

    fn origin(&self, tls: bool) -> &str {
        if tls { &self.upstream.https } else { &self.upstream.http }
    }

    fn start_proxy(&self, tls: bool) -> (Process, String) {
        let ca_file = self.upstream.ca_file.display().to_string();
        let mut arguments = vec!["proxy", self.origin(tls)];
        if tls {
            arguments.push(&ca_file);
        }
        self.start_this(&arguments)
    }

    /// This program again, as what the first argument says.
    fn start_this(&self, arguments: &[&str]) -> (Process, String) {
        let this = std::env::current_exe().expect("this program");
        let process = Process::contender(&this, arguments, &self.folder, &[]);
        let origin = process.said.clone();
        (process, origin)
    }

    fn start_floor(&self, keeps: Keeps) -> (Process, String) {
        let file =
            self.folder.join(format!("floor-{}.db", uuid::Uuid::new_v4().simple())).display().to_string();
        let kept: &[&str] = match keeps {
            Keeps::Nothing => &[],
            Keeps::Row => &["row", &file],
            Keeps::Ours => &["ours", &file],
        };
        self.start_this(&[&["floor", self.origin(false)], kept].concat())
    }

    fn start_countersign(&self, store: &str, durability: &str, with: With, tls: bool) -> (Process, String) {
        let key = key_file(&self.folder);
        let mut text = settings(&self.upstream, self.origin(tls), &key, store, durability);
        match with {
            With::Nothing => {}
            With::Links => text.push_str(LINKS),
            With::Audit => {
                let name = format!("audit-{}.jsonl", uuid::Uuid::new_v4().simple());
                let file = self.folder.join(name);
                text = format!("{text}\n[audit]\nfile = \"{}\"\nsync = true\n", file.display());
            }
        }
        self.start_with(&text, CORE)
    }

    /// countersign with these settings, on these cores.
    pub(super) fn start_with(&self, text: &str, cores: &str) -> (Process, String) {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let file = self.folder.join(format!("{unique}.toml"));
        std::fs::write(&file, text).expect("settings");
        let ready = self.folder.join(format!("{unique}.json"));
        let (file, ready_text) = (file.display().to_string(), ready.display().to_string());
        let arguments = ["serve", "--config", &file, "--ready-file", &ready_text];
        let program = Path::new(env!("CARGO_BIN_EXE_countersign"));
        let process = Process::silent(cores, program, &arguments, &self.folder);
        let told: serde_json::Value = serde_json::from_str(&wait_for_file(&ready)).expect("a ready file");
        (process, told["api_url"].as_str().expect("an address").to_owned())
    }

    /// The service on the vendor's SDK, if Node and the SDK (`tests/run` installs both) are here.
    fn start_node(&self, tls: bool) -> Option<(Process, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let modules = root.join("target/tools/node");
        let is_there = modules.join("node_modules/docusign-esign").exists();
        let has_node = std::process::Command::new("node").arg("--version").output().is_ok();
        if !is_there || !has_node {
            return None;
        }
        let script = root.join("tests/bench/load/node.mjs").display().to_string();
        let (modules, key) = (modules.display().to_string(), key_file(&self.folder).display().to_string());
        let ca_file = self.upstream.ca_file.display().to_string();
        let arguments = [
            script.as_str(),
            &modules,
            self.origin(tls),
            &self.upstream.https,
            INTEGRATION_KEY,
            USER,
            ACCOUNT,
            TEMPLATE,
            &key,
        ];
        let process = Process::contender(
            Path::new("node"),
            &arguments,
            &self.folder,
            &[("NODE_EXTRA_CA_CERTS", &ca_file), ("NODE_ENV", "production")],
        );
        let origin = process.said.clone();
        Some((process, origin))
    }
}

fn kind(tls: bool) -> &'static str {
    if tls { "TLS" } else { "HTTP" }
}

pub(super) fn concat_key() -> &'static str {
    "Bearer cs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
}

/// The example key, as a file that nobody else can read: a checkout's is refused (rule S4).
pub(super) fn key_file(folder: &Path) -> PathBuf {
    let file = folder.join("private_key.pem");
    if !file.exists() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("keys.example/private_key.pem");
        std::fs::copy(example, &file).expect("a copy of the example key");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    }
    file
}

pub(super) fn body(size: Option<usize>, sender: &str) -> Bytes {
    let (document, role) = match size {
        None => (r#"{"template":"nda"}"#.to_owned(), r#""role":"Client","#),
        Some(size) => {
            let text = document::base64(size);
            (
                format!(
                    r#"{{"name":"Contract.pdf","content_base64":"{text}","anchors":{{"sign":"/sn1/"}}}}"#
                ),
                "",
            )
        }
    };
    format!(
        r#"{{"reference":"order-8812","sender":"{sender}","documents":[{document}],"signers":[{{"key":"visitor","name":"Ada Lovelace","email":"ada@example.com",{role}"return_url":"https://www.example.com/done"}}]}}"#
    )
    .into()
}

/// With links there is a public listener.
const LINKS: &str = "[public]\nlisten = \"127.0.0.1:0\"\nbase_url = \"https://sign.example.com\"\n";

pub(super) fn settings(
    upstream: &upstream::Ready,
    origin: &str,
    key: &Path,
    store: &str,
    durability: &str,
) -> String {
    let hash = hex(&sha256(KEY.as_bytes()));
    format!(
        r#"
[upstream]
environment = "emulator"
oauth_url = "{origin}"
ca_file = "{ca}"
max_connections = 128
[senders.system]
integration_key = "{INTEGRATION_KEY}"
user_id = "{USER}"
keys = ["{key}"]
[api]
listen = "127.0.0.1:0"
[ops]
listen = "127.0.0.1:0"
[callers.website]
key_hash = "sha256:{hash}"
return_origins = ["https://www.example.com"]
[store]
url = "{store}"
seal_key = "OjuYkzzbqKkGyKTs1ZNpUfXwLRp9XRTZ9X6m8Y8aZf0="
synchronous = "{durability}"
[templates]
nda = "{TEMPLATE}"
[budget]
hourly_limit = 1000000000
burst_limit = 1000000000
[log]
level = "warn"
"#,
        ca = upstream.ca_file.display(),
        key = key.display(),
    )
}
