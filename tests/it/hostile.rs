//! Hostile traffic against the three listeners of a daemon in a process of its own: it stays up, answers
//! others meanwhile, lets go of what hangs, and holds no more memory than it is allowed to.
//!
//! Everything here is bytes on a socket, because no client library would send it.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{demo::Demo, process::resident_kib};

/// The listeners, with a path that each answers with 200 or 404 to anybody.
const LISTENERS: [(&str, &str); 3] =
    [("api_url", "/docs/errors/not_found"), ("public_url", "/countersign.js"), ("ops_url", "/livez")];
/// How much a daemon may grow under what is sent here, in KiB. What is sent is far more.
const MAY_GROW_KIB: u64 = 64 * 1024;
/// A hang would last for ever; a slow machine does not need as long.
const PATIENCE: Duration = Duration::from_secs(60);

struct Target {
    demo: Demo,
    before: u64,
}

impl Target {
    async fn start(name: &str) -> Self {
        let demo = Demo::start(name).await;
        let target = Self { demo, before: 0 };
        target.answers_all().await;
        let before = target.resident_kib();
        Self { before, ..target }
    }

    fn resident_kib(&self) -> u64 {
        resident_kib(self.demo.pid())
    }

    fn host(&self, listener: &str) -> &str {
        self.demo.entry(listener).strip_prefix("http://").unwrap()
    }

    async fn connect(&self, listener: &str) -> TcpStream {
        TcpStream::connect(self.host(listener)).await.unwrap()
    }

    /// Somebody else is answered, on every listener, soon.
    async fn answers_all(&self) {
        for (listener, path) in LISTENERS {
            let answer =
                self.said(listener, format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
            let answer =
                tokio::time::timeout(Duration::from_secs(10), answer).await.expect("others are served");
            assert!(
                answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 404"),
                "{listener}: {answer:.80}"
            );
        }
    }

    /// Sends, and reads until the other side closes.
    async fn said(&self, listener: &str, request: impl AsRef<[u8]>) -> String {
        let mut socket = self.connect(listener).await;
        // A refusal may come, and the connection go, before all of it is sent.
        let _ = socket.write_all(request.as_ref()).await;
        until_closed(socket).await
    }

    async fn survived(self) {
        self.answers_all().await;
        let grown = self.resident_kib().saturating_sub(self.before);
        assert!(grown < MAY_GROW_KIB, "grew by {grown} KiB");
        assert!(self.demo.stop().success());
    }
}

/// What a peer says until it closes; a reset ends it, too. It must close.
async fn until_closed(mut socket: TcpStream) -> String {
    let mut said = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    let reading = async {
        while let Ok(count @ 1..) = socket.read(&mut piece).await {
            said.extend_from_slice(&piece[..count]);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the connection is closed");
    String::from_utf8_lossy(&said).into_owned()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn s5_a_header_that_never_ends_is_given_up_while_others_are_served() {
    let target = Target::start("hostile-loris").await;
    let mut slow = Vec::new();
    for (listener, path) in LISTENERS {
        for _ in 0..100 {
            let mut socket = target.connect(listener).await;
            socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Slow: ").as_bytes()).await.unwrap();
            slow.push(socket);
        }
    }
    target.answers_all().await;
    for socket in slow {
        until_closed(socket).await;
    }
    target.survived().await;
}

#[tokio::test]
async fn s5_a_flood_of_headers_is_refused() {
    let target = Target::start("hostile-headers").await;
    for (listener, path) in LISTENERS {
        let many = "X-More: 1\r\n".repeat(5_000);
        let answer = target.said(listener, format!("GET {path} HTTP/1.1\r\nHost: x\r\n{many}\r\n")).await;
        assert!([0, 400, 431].contains(&status(&answer)), "{listener}: {answer:.80}");
        let long = "a".repeat(8 * 1024 * 1024);
        let answer =
            target.said(listener, format!("GET {path} HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n")).await;
        assert!([0, 400, 431].contains(&status(&answer)), "{listener}: {answer:.80}");
        let answer = target.said(listener, format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert!([0, 400, 414, 431].contains(&status(&answer)), "{listener}: {answer:.80}");
    }
    target.survived().await;
}

#[tokio::test]
async fn s5_heads_that_grow_without_end_are_cut_off_and_not_kept() {
    let target = Target::start("hostile-growing").await;
    for (listener, path) in LISTENERS {
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Long: {}", "a".repeat(100_000));
        let mut growing = Vec::new();
        for _ in 0..100 {
            let mut socket = target.connect(listener).await;
            let _ = socket.write_all(head.as_bytes()).await;
            growing.push(socket);
        }
        let said = futures_util::future::join_all(growing.into_iter().map(until_closed));
        // For their size, before the time for a head is over.
        let said = tokio::time::timeout(Duration::from_secs(8), said).await.expect("they are cut off");
        for answer in said {
            assert!([0, 400, 431].contains(&status(&answer)), "{listener}: {answer:.80}");
        }
    }
    target.survived().await;
}

#[tokio::test]
async fn s5_a_body_without_end_is_refused_and_not_kept() {
    let target = Target::start("hostile-bodies").await;
    let key = target.demo.entry("caller_key").to_owned();
    let head = format!(
        "POST /v1/signings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nIdempotency-Key: big\r\n\
         Content-Type: application/json\r\nConnection: close\r\n"
    );
    let answer = target.said("api_url", format!("{head}Content-Length: 99999999999\r\n\r\n{{")).await;
    assert_eq!(status(&answer), 413, "{answer:.200}");
    // 128 MiB in chunks, to a limit of 50 MiB; the limit must be met long before the end.
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(0x10_0000));
    let mut socket = target.connect("api_url").await;
    socket.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let mut sent = 0;
    while sent < 128 && socket.write_all(chunk.as_bytes()).await.is_ok() {
        sent += 1;
    }
    let answer = until_closed(socket).await;
    assert!([0, 413].contains(&status(&answer)), "{answer:.200}");
    assert!(sent < 128, "it took all of it");
    for (listener, path) in
        [("public_url", "/countersign.js"), ("public_url", "/in/docusign/x"), ("ops_url", "/livez")]
    {
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        let answer = target.said(listener, format!("{head}Content-Length: 99999999999\r\n\r\n{{")).await;
        assert!((400..500).contains(&status(&answer)), "{listener}{path}: {answer:.80}");
    }
    target.survived().await;
}

#[tokio::test]
async fn s5_a_request_that_breaks_off_holds_nothing() {
    let target = Target::start("hostile-truncated").await;
    let key = target.demo.entry("caller_key").to_owned();
    let cut = [
        String::new(),
        "GE".to_owned(),
        "GET / HTTP/1.1\r\nHost".to_owned(),
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx".to_owned(),
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nx".to_owned(),
        format!(
            "POST /v1/signings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nIdempotency-Key: cut\r\n\
             Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{\"sender\":"
        ),
        "\u{0}\u{1}\u{2}\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{0}\u{a5}\u{1}".to_owned(),
    ];
    for (listener, _) in LISTENERS {
        for request in &cut {
            let mut socket = target.connect(listener).await;
            let _ = socket.write_all(request.as_bytes()).await;
            let _ = socket.shutdown().await;
            let answer = until_closed(socket).await;
            assert!(
                [0, 400, 404, 405, 413].contains(&status(&answer)),
                "{listener} {request:?}: {answer:.80}"
            );
        }
    }
    target.survived().await;
}

#[tokio::test]
async fn s5_pipelined_requests_are_answered_one_by_one() {
    const MANY: usize = 500;
    let target = Target::start("hostile-pipeline").await;
    for (listener, path) in LISTENERS {
        let one = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let last = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let all = one.repeat(MANY - 1) + &last;
        let (mut from, mut to) = target.connect(listener).await.into_split();
        let writing = tokio::spawn(async move { to.write_all(all.as_bytes()).await.map(|()| to) });
        let mut said = Vec::new();
        let read = tokio::time::timeout(PATIENCE, from.read_to_end(&mut said)).await;
        read.expect("it ends").unwrap();
        writing.await.unwrap().unwrap();
        // A body may show a status line, too; none shows a date as a header has it.
        let count = said.windows(8).filter(|at| at.starts_with(b"\r\ndate: ")).count();
        assert_eq!(count, MANY, "{listener}");
    }
    target.survived().await;
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The preface, and our settings.
fn greeting() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes
}

/// `GET / http x`, from HPACK's static table (RFC 7541, appendix A).
const HEADERS: &[u8] = &[0x82, 0x86, 0x84, 0x41, 0x01, b'x'];

/// The reason that HTTP/2 gives to whoever asks too much (RFC 9113, 7).
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// The reason of the first GOAWAY among the frames of an answer (RFC 9113, 4.1 and 6.8).
fn goaway(mut frames: &[u8]) -> Option<u32> {
    while let [a, b, c, kind, _flags, _, _, _, _, rest @ ..] = frames {
        let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap();
        let payload = rest.get(..length)?;
        if *kind == 7 {
            return Some(u32::from_be_bytes(payload.get(4..8)?.try_into().unwrap()));
        }
        frames = &rest[length..];
    }
    None
}

#[tokio::test]
async fn s5_http2_rapid_reset_is_cut_off() {
    const STREAMS: u32 = 50_000;
    let target = Target::start("hostile-reset").await;
    for (listener, _) in LISTENERS {
        let (from, mut to) = target.connect(listener).await.into_split();
        let writing = tokio::spawn(async move {
            let mut sent = 0;
            if to.write_all(&greeting()).await.is_ok() {
                for stream in (0..STREAMS).map(|number| 2 * number + 1) {
                    let mut pair = frame(1, 0x5, stream, HEADERS);
                    pair.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
                    if to.write_all(&pair).await.is_err() {
                        break;
                    }
                    sent += 1;
                }
            }
            let _ = to.shutdown().await;
            sent
        });
        let mut from = from;
        let mut said = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, from.read_to_end(&mut said)).await.expect("it is closed");
        let sent = writing.await.unwrap();
        let told = goaway(&said);
        assert_eq!(told, Some(ENHANCE_YOUR_CALM), "{listener}: {sent} resets were sent");
    }
    target.survived().await;
}

#[tokio::test]
async fn s5_http2_headers_that_go_on_for_ever_are_cut_off() {
    let target = Target::start("hostile-continuation").await;
    for (listener, _) in LISTENERS {
        let mut socket = target.connect(listener).await;
        let mut bytes = greeting();
        // HEADERS without END_HEADERS, then CONTINUATION upon CONTINUATION: a literal field each.
        bytes.extend(frame(1, 0x1, 1, HEADERS));
        socket.write_all(&bytes).await.unwrap();
        let mut field = vec![0x00, 0x01, b'a', 0x7f, 0x81, 0x7e];
        field.extend([b'v'; 127 + 0x3f01]);
        let more = frame(9, 0, 1, &field[..16_000]);
        let mut sent = 0;
        while sent < 4_000 && socket.write_all(&more).await.is_ok() {
            sent += 1;
        }
        assert!(sent < 4_000, "{listener} took 64 MB of one header");
        until_closed(socket).await;
    }
    target.survived().await;
}

/// The reason for a stream that was not looked at (RFC 9113, 7).
const REFUSED_STREAM: u32 = 0x7;

/// The head of a POST of JSON: POST and http from HPACK's static table, and fields with names from it that nobody is to
/// remember (RFC 7541, 6.2.2).
fn post(path: &str, key: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    let credentials = format!("Bearer {key}");
    for (name, value) in [(1_u8, "x"), (4, path), (23, &credentials), (31, "application/json")] {
        match name.checked_sub(15) {
            None => block.push(name),
            Some(more) => block.extend([0x0f, more]),
        }
        let length = u8::try_from(value.len()).ok().filter(|length| *length < 0x7f);
        block.push(length.expect("a length of one byte"));
        block.extend(value.as_bytes());
    }
    block
}

/// The next frame of an answer: its kind, its stream, and what it holds.
async fn next_frame(socket: &mut TcpStream) -> (u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    socket.read_exact(&mut head).await.expect("a frame");
    let [a, b, c, kind, _flags, stream @ ..] = head;
    let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
    socket.read_exact(&mut payload).await.expect("all of the frame");
    (kind, u32::from_be_bytes(stream), payload)
}

#[tokio::test]
async fn s5_http2_streams_at_once_are_bounded() {
    const STREAMS: u32 = 1_000;
    let target = Target::start("hostile-streams").await;
    // Requests whose bodies never come, to a path that waits for them.
    let head = post("/v1/webhook_endpoints", target.demo.entry("caller_key"));
    let mut socket = target.connect("api_url").await;
    let mut bytes = greeting();
    for number in 0..STREAMS {
        // END_HEADERS without END_STREAM.
        bytes.extend(frame(1, 0x4, 2 * number + 1, &head));
    }
    socket.write_all(&bytes).await.unwrap();
    let limit = countersign::listener::Limits::default().streams;
    let mut refused = Vec::new();
    let all_others = async {
        while refused.len() < usize::try_from(STREAMS - limit).unwrap() {
            let (kind, stream, payload) = next_frame(&mut socket).await;
            match kind {
                3 => {
                    assert_eq!(payload, REFUSED_STREAM.to_be_bytes(), "stream {stream}");
                    refused.push(stream);
                }
                1 | 7 => panic!("stream {stream} was answered, or all were given up: {payload:?}"),
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, all_others).await.expect("what is over the limit is refused");
    assert_eq!(refused, (limit..STREAMS).map(|number| 2 * number + 1).collect::<Vec<_>>());
    target.answers_all().await;
    drop(socket);
    target.survived().await;
}
