//! A proxy on the way out: what goes through it, and what its trouble is told as.

use std::sync::Mutex;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use super::connections::{FAR, Server};
use crate::http_client::*;

/// A proxy that remembers what it was asked for.
struct Proxy {
    url: Url,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// It answers with this, and after a 200 leads everybody to a port of this machine. With nothing to say it is silent.
    async fn start(answer: &'static str, port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let noted = Arc::clone(&noted);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(socket.read_u8().await.unwrap());
                    }
                    let head = String::from_utf8(head).unwrap();
                    noted.lock().unwrap().push(head.lines().next().unwrap().to_owned());
                    if answer.is_empty() {
                        return std::future::pending::<()>().await;
                    }
                    socket.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await.unwrap();
                    if answer.starts_with("200")
                        && let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await
                    {
                        let _ = copy_bidirectional(&mut socket, &mut far).await;
                    }
                });
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn client(proxy: &Url, ca_file: Option<PathBuf>) -> HttpClient {
    HttpClient::new(&Options { proxy: Some(proxy.clone()), ca_file, ..Options::default() }).unwrap()
}

fn far() -> Url {
    Url::parse(&format!("https://{FAR}/x?secret=1")).unwrap()
}

#[tokio::test]
async fn a_host_outside_is_reached_through_the_proxy_and_this_machine_without_it() {
    let (server, near, ca_file) = Server::start(&["h2", "http/1.1"]).await;
    let proxy = Proxy::start("200 OK", near.port().unwrap()).await;
    let client = client(&proxy.url, ca_file.clone());
    for _ in 0..2 {
        let answer = client.send(Request::post(far())).await.unwrap();
        assert_eq!(&answer.body[..], b"here");
    }
    assert_eq!(proxy.asked(), [format!("CONNECT {FAR}:443 HTTP/1.1")], "one tunnel for both");
    client.send(Request::get(near)).await.unwrap();
    assert_eq!((server.accepted(), proxy.asked().len()), (2, 1));
    std::fs::remove_file(ca_file.unwrap()).unwrap();
}

#[tokio::test]
async fn e2_what_a_proxy_refuses_was_surely_not_sent_and_is_said_to_be_its_refusal() {
    let away = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap()
    };
    let mut proxies = vec![away, Url::parse("http://proxy.invalid:3128").unwrap()];
    for answer in [
        "403 Forbidden",
        "407 Proxy Authentication Required",
        "502 Bad Gateway",
        "200 OK\r\n\r\nno TLS, and no server",
        "",
    ] {
        // To nobody, after a 200.
        proxies.push(Proxy::start(answer, 1).await.url);
    }
    for proxy in proxies {
        let (given, connect_timeout) = (Some(proxy.clone()), Duration::from_millis(300));
        let client =
            HttpClient::new(&Options { proxy: given, connect_timeout, ..Options::default() }).unwrap();
        let error = client.send(Request::post(far())).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotSent, "{proxy}: {error:?}");
        let place = format!("{}:{}", proxy.host_str().unwrap(), proxy.port().unwrap());
        assert!(error.to_string().ends_with(&format!("through the proxy {place}")), "{proxy}: {error}");
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_behind_a_proxy_is_still_told_as_that() {
    let (_, near, ca_file) = Server::start(&["http/1.1"]).await;
    let proxy = Proxy::start("200 OK", near.port().unwrap()).await;
    let error = client(&proxy.url, None).send(Request::get(far())).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }) && error.outcome() == Outcome::NotSent, "{error:?}");
    std::fs::remove_file(ca_file.unwrap()).unwrap();
}
