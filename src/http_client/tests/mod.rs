//! What a peer can do to us, what is refused before it is asked, and what is never shown.

mod connections;
mod proxy;

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use http::HeaderValue;
use jiff::Timestamp;
use url::Url;

use super::*;

/// Answers every connection with the same bytes and hangs up.
async fn serve(answer: &'static [u8]) -> (Url, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/x?secret=1", listener.local_addr().unwrap())).unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });
    (url, seen)
}

fn client(change: impl FnOnce(&mut Options)) -> HttpClient {
    let mut options = Options::default();
    change(&mut options);
    HttpClient::new(&options).unwrap()
}

fn text(error: &Error) -> String {
    format!("{error} {error:?}")
}

#[tokio::test]
async fn an_answer_is_read_whole_with_its_date() {
    let (url, _) =
        serve(b"HTTP/1.1 418 x\r\nDate: Thu, 01 Jan 1970 00:00:09 GMT\r\nContent-Length: 2\r\n\r\nhi").await;
    let answer = client(|_| ()).send(Request::get(url)).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (418, &b"hi"[..]));
    assert_eq!(date(&answer.headers), Some(Timestamp::from_second(9).unwrap()));
}

#[tokio::test]
async fn redirects_are_answers() {
    let (url, seen) =
        serve(b"HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n").await;
    let answer = client(|_| ()).send(Request::get(url)).await.unwrap();
    assert_eq!(answer.status.as_u16(), 302);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_was_surely_not_sent_is_told_from_what_is_unknown() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Url::parse(&format!("http://{}/?secret=1", listener.local_addr().unwrap())).unwrap()
    };
    let error = client(|_| ()).send(Request::post(closed)).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }) && error.outcome() == Outcome::NotSent, "{error:?}");
    assert!(!text(&error).contains("secret"));

    let unknown_name = Url::parse("https://no-such-host.invalid/?secret=1").unwrap();
    let error = client(|_| ()).send(Request::post(unknown_name)).await.unwrap_err();
    assert!(matches!(error, Error::Dns { .. }) && error.outcome() == Outcome::NotSent, "{error:?}");
    assert!(!text(&error).contains("secret"));

    let (mut url, _) = serve(b"no TLS here").await;
    url.set_scheme("https").unwrap();
    let error = client(|_| ()).send(Request::post(url)).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }) && error.outcome() == Outcome::NotSent, "{error:?}");

    let (url, _) = serve(b"").await;
    let error = client(|_| ()).send(Request::post(url)).await.unwrap_err();
    assert!(matches!(error, Error::Broken(_)) && error.outcome() == Outcome::Unknown, "{error:?}");
    assert!(!text(&error).contains("secret"));

    let (url, _) = serve(b"HTTP/1.1 200 x\r\nContent-Length: 9\r\n\r\nhalf").await;
    let error = client(|_| ()).send(Request::post(url)).await.unwrap_err();
    assert!(matches!(error, Error::Truncated(_)) && error.outcome() == Outcome::Unknown, "{error:?}");
}

#[tokio::test]
async fn a_silent_peer_costs_no_more_than_the_timeout() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let request = Request::post(url).timeout(Duration::from_millis(30));
    let error = client(|_| ()).send(request).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut) && error.outcome() == Outcome::Unknown);
}

#[tokio::test]
async fn an_endless_answer_is_cut_at_the_limit() {
    let (url, _) = serve(b"HTTP/1.1 200 x\r\nContent-Length: 1000000000\r\n\r\n").await;
    let error = client(|_| ()).send(Request::get(url)).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge));
    let (url, _) = serve(b"HTTP/1.1 200 x\r\nConnection: close\r\n\r\n0123456789").await;
    let request = Request::get(url).response_limit_bytes(9);
    let error = client(|_| ()).send(request.clone()).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge));
    let body = client(|_| ()).open(request).await.unwrap().into_stream().collect::<Vec<_>>().await;
    assert!(matches!(body.last(), Some(Err(Error::TooLarge))));
}

#[tokio::test]
async fn a_stream_that_ends_early_ends_with_an_error() {
    let (url, _) = serve(b"HTTP/1.1 200 x\r\nContent-Length: 9\r\n\r\nhalf").await;
    let answer = client(|_| ()).open(Request::get(url)).await.unwrap();
    let pieces: Vec<_> = answer.into_stream().collect().await;
    assert!(matches!(pieces.last(), Some(Err(Error::Truncated(_)))), "{pieces:?}");
}

#[tokio::test]
async fn plain_http_and_inner_addresses_are_refused() {
    let refused = async |reach: Reach, url: &str| {
        let request = Request::get(Url::parse(url).unwrap()).timeout(Duration::from_secs(2));
        matches!(client(|o| o.reach = reach).send(request).await, Err(Error::Refused(_)))
    };
    assert!(refused(Reach::Anywhere, "http://example.com/").await);
    assert!(refused(Reach::Anywhere, "ftp://127.0.0.1/").await);
    for url in ["https://127.0.0.1/", "https://10.0.0.1/", "https://[::1]/", "https://169.254.169.254/"] {
        assert!(refused(Reach::PublicOnly, url).await, "{url}");
    }
    // A name that leads inside is caught after it was resolved.
    let request = Request::get(Url::parse("https://ip6-localhost./").unwrap());
    assert!(client(|o| o.reach = Reach::PublicOnly).send(request).await.is_err());
}

#[test]
fn public_addresses_are_told_from_special_ones() {
    for inner in ["0.0.0.0", "100.64.0.1", "172.31.0.1", "192.168.1.1", "198.18.0.1", "255.255.255.255"]
        .into_iter()
        .chain([
            "::",
            "::ffff:10.0.0.1",
            "fe80::1",
            "fc00::1",
            "2001:db8::1",
            "2002:a00:1::",
            "64:ff9b::a00:1",
        ])
    {
        assert!(!is_public(inner.parse().unwrap()), "{inner}");
    }
    for outer in ["1.1.1.1", "100.63.0.1", "172.32.0.1", "2606:4700::1111", "2001:4860:4860::8888"] {
        assert!(is_public(outer.parse().unwrap()), "{outer}");
    }
}

#[test]
fn a_ca_file_that_is_not_one_is_named() {
    let build = |path: &str| {
        HttpClient::new(&Options { ca_file: Some(path.into()), ..Options::default() })
            .unwrap_err()
            .to_string()
    };
    assert!(build("/nonexistent/ca.pem").contains("/nonexistent/ca.pem"));
    assert!(build("Cargo.toml").contains("no certificate"));
}

#[test]
fn the_wish_to_wait_is_read_in_each_form_and_by_the_answers_own_clock() {
    let wait = |text: &'static str, date: Option<&'static str>, ours: Option<i64>| {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static(text));
        if let Some(date) = date {
            headers.insert(http::header::DATE, HeaderValue::from_static(date));
        }
        let ours = ours.map(|second| Timestamp::from_second(second).unwrap());
        retry_after(&headers, ours).map(|wait| wait.as_secs())
    };
    let (date, earlier) = ("Thu, 01 Jan 1970 00:01:30 GMT", "Thu, 01 Jan 1970 00:01:00 GMT");
    assert_eq!(wait(" 7 ", None, None), Some(7));
    assert_eq!(wait(date, Some(earlier), None), Some(30));
    assert_eq!(wait(date, Some(earlier), Some(80)), Some(30), "the answer's own clock");
    assert_eq!(wait(date, None, Some(80)), Some(10));
    assert_eq!(wait(date, None, None), None);
    assert_eq!(wait(earlier, Some(date), None), Some(0));
    for wrong in ["-1", "soon", "1.5", ""] {
        assert_eq!(wait(wrong, Some(earlier), Some(0)), None, "{wrong}");
    }
}

#[test]
fn debug_shows_no_query_header_or_body() {
    let request = Request::post(Url::parse("https://example.com/a?secret").unwrap())
        .authorization(HeaderValue::from_static("Bearer secret"))
        .form([("assertion", "secret")]);
    assert!(!format!("{request:?}").contains("secret"));
}
