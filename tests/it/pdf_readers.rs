//! PDFs that are made to be a burden, against a real daemon: what reads them may die of it, and nobody else.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use crate::{
    harness::http_client,
    reload::{Daemon, OLD_KEY},
};

/// What a reader may have taken and still wait for the next file, and a little more.
const KEPT_KIB: u64 = 20 * 1024;

/// What the daemon may have in hand at most. The worst of these files took gigabytes.
const BOUNDED_KIB: u64 = 160 * 1024;

/// A file of these objects, the catalog first.
fn file(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"%PDF-1.5\n".to_vec();
    let mut table = vec![format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1)];
    for (number, object) in (1..).zip(objects) {
        table.push(format!("{:010} 00000 n \n", bytes.len()));
        bytes.extend(format!("{number} 0 obj\n").bytes().chain(object.iter().copied()).chain(*b"\nendobj\n"));
    }
    let at = bytes.len();
    let trailer = format!("trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{at}\n%%EOF\n", objects.len() + 1);
    table.push(trailer);
    bytes.extend(table.concat().bytes());
    bytes
}

/// One page that says this, and one more object.
fn page(text: &str, more: Vec<u8>) -> Vec<u8> {
    let content = format!("BT /F1 12 Tf 72 700 Td ({text}) Tj ET");
    file(&[
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 5 0 R \
          /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica \
          /Encoding /WinAnsiEncoding >> >> >> >>"
            .to_vec(),
        more,
        format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()).into_bytes(),
    ])
}

/// An object stream, of `members` that all begin at the same place: each is read anew.
fn all_alike(members: usize, place: &[u8]) -> Vec<u8> {
    let index = (100..100 + members).map(|number| format!("{number} 0 ")).collect::<Vec<_>>().concat();
    let mut content = index.clone().into_bytes();
    content.extend_from_slice(place);
    let mut object = format!(
        "<< /Type /ObjStm /N {members} /First {} /Length {} >>\nstream\n",
        index.len(),
        content.len()
    )
    .into_bytes();
    object.extend(content);
    object.extend(b"\nendstream");
    object
}

fn ask(pdf: &[u8]) -> Value {
    json!({
        "reference": "burden", "sender": "system",
        "documents": [{ "name": "a.pdf", "content_base64": STANDARD.encode(pdf), "anchors": { "sign": "/sn1/" } }],
        "signers": [{ "key": "visitor", "name": "Ada Lovelace", "email": "ada@example.com",
                      "return_url": "https://www.example.com/done" }],
    })
}

async fn dry_run(daemon: &Daemon, pdf: &[u8]) -> (u16, Value) {
    let url = daemon.api.join("/v1/signings?dry_run=true").unwrap();
    let call = http_client().post(url).bearer_auth(OLD_KEY).json(&ask(pdf)).send().await.unwrap();
    (call.status().as_u16(), call.json().await.unwrap())
}

fn status(pid: u32, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The daemon's readers that live: one at most, which may be that of its look whether there can be one, soon after its
/// start.
fn readers(daemon: &Daemon) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| status(*pid, "PPid") == Some(daemon.process.id().into()))
        // One that has ended has no memory; its daemon learns of it with the next file.
        .filter(|pid| status(*pid, "VmRSS").is_some())
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "countersign-pdf\n")
        })
        .collect()
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s5_a_pdf_that_is_made_to_be_a_burden_burdens_nobody_else() {
    let daemon = Daemon::start_with("").await;
    let good = page("sign here: /sn1/", b"null".to_vec());
    let well = |(status, body): (u16, Value)| {
        assert_eq!((status, &body["documents"][0]["pages"]), (200, &json!(1)), "{body}");
    };
    well(dry_run(&daemon, &good).await);
    let burdens = [
        (
            "members that are one large array",
            all_alike(2_000, &[b"[", &*b"0 ".repeat(100_000), b"]"].concat()),
        ),
        ("members before blanks, which take long", all_alike(12_000, &b" ".repeat(400_000))),
        ("an array of empty ones", [b"[", &*b"[]".repeat(2_000_000), b"]"].concat()),
    ];
    for (what, burden) in burdens {
        let [used] = readers(&daemon)[..] else { panic!("it waits for the next file") };
        let (code, body) = dry_run(&daemon, &page("no place to sign", burden)).await;
        assert_eq!((code, &body["documents"][0]["pages"]), (200, &Value::Null), "{what}: {body}");
        let most = status(daemon.process.id(), "VmHWM").unwrap();
        assert!(most < BOUNDED_KIB, "{what}: the daemon had {most} KiB");
        // It took more than a reader has, which may be told a moment before the process is gone.
        daemon.until(what, async |daemon| !readers(daemon).contains(&used)).await;
        well(dry_run(&daemon, &good).await);
    }
    // A nesting is refused by who reads, or is more than its stack holds.
    let nest = [b"[".repeat(200_000), b"]".repeat(200_000)].concat();
    let (code, _) = dry_run(&daemon, &page("no place to sign", nest)).await;
    assert!(code == 200 || code == 422, "{code}");
    well(dry_run(&daemon, &good).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_dies_is_replaced_and_none_is_left_behind() {
    let mut daemon = Daemon::start_with("").await;
    let pdf = page("sign here: /other/", b"null".to_vec());
    for _ in 0..2 {
        let (status, body) = dry_run(&daemon, &pdf).await;
        assert_eq!((status, &body["errors"][0]["code"]), (422, &json!("anchor_not_found")), "{body}");
        let [reader] = readers(&daemon)[..] else { panic!("one after the other, so one") };
        kill(reader);
        daemon.until("its end", async |daemon| !readers(daemon).contains(&reader)).await;
    }
    dry_run(&daemon, &pdf).await;
    let [reader] = readers(&daemon)[..] else { panic!("there is one again") };
    daemon.signal(Signal::KILL);
    daemon.process.wait().unwrap();
    daemon.until("the end of what it started", async |_| status(reader, "PPid").is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_pdf_is_read_and_one_of_many_objects_leaves_no_memory_behind() {
    let daemon = Daemon::start_with("").await;
    let bulk = b"<< /Length 20000000 >>\nstream\n".iter().copied();
    let bulk = bulk.chain(std::iter::repeat_n(b'x', 20_000_000)).chain(*b"\nendstream").collect();
    let many = [b"[", &*b"<< /A (b) /C 1 >> ".repeat(60_000), b"]"].concat();
    for more in [bulk, many] {
        let (code, body) = dry_run(&daemon, &page("sign here: /sn1/", more)).await;
        assert_eq!((code, &body["documents"][0]["pages"]), (200, &json!(1)), "{body}");
    }
    let has_grown = |pid| status(pid, "RssAnon").is_some_and(|kib| kib > KEPT_KIB);
    daemon
        .until("the end of what has grown", async |daemon| !readers(daemon).into_iter().any(has_grown))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_reader_can_be_asked_keeps_nobody_waiting() {
    let daemon = Daemon::start_with("").await;
    daemon.until("the look whether there can be one", async |daemon| !readers(daemon).is_empty()).await;
    let [looked] = readers(&daemon)[..] else { panic!("it waits for a file") };
    kill(looked);
    daemon.until("its end", async |daemon| readers(daemon).is_empty()).await;
    let mut body = ask(&page("sign here: /sn1/", b"null".to_vec()));
    let long = |at: usize| (format!("{at}"), json!("\u{10ffff}".repeat(100)));
    body["documents"][0]["anchors"]["sign"] = Value::Object((0..12_000).map(long).collect());
    let url = daemon.api.join("/v1/signings?dry_run=true").unwrap();
    let call = http_client().post(url).bearer_auth(OLD_KEY).json(&body).send();
    assert_eq!(call.await.unwrap().status(), 400);
    assert_eq!(readers(&daemon), [0_u32; 0], "none was begun");
}
