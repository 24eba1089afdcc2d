//! The way out through a proxy, as the settings say it; what goes through is tested beside the client.

use std::sync::{Arc, Mutex};

use countersign::{
    app::App,
    clock::{ManualClock, SharedClock},
    config::Config,
    lifecycle::Lifecycle,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::TestDaemon;

#[tokio::test]
async fn e2_a_daemon_asks_its_proxy_for_docusign_and_says_when_that_refuses() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = [0; 1024];
            let length = socket.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            noted.lock().unwrap().push(head.lines().next().unwrap_or_default().to_owned());
            let _ = socket.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
        }
    });
    // The keys and the rest of the settings are an emulator's; DocuSign itself is asked for, and never reached.
    let around = TestDaemon::start().await;
    let oauth = format!("oauth_url = \"{}\"", around.emulator.ready().oauth_url);
    let directory = crate::harness::TempDir::new();
    let settings = around
        .settings_for_a_process(&format!("sqlite://{}", directory.0.join("store.db").display()))
        .replace("environment = \"emulator\"", "environment = \"demo\"")
        // The emulator's own is everybody's, and DocuSign has none of it.
        .replace(&around.emulator.ready().connect_hmac_key, "a-connect-key-of-this-account")
        .replace(&oauth, &format!("proxy = \"http://{place}\""));
    let clock: SharedClock = Arc::new(ManualClock::new("2026-06-01T12:00:00Z".parse().unwrap()));
    let life = Lifecycle::new();
    let config = Config::from_toml(&settings).unwrap_or_else(|error| panic!("{error}"));
    let app = Box::pin(App::build(config, clock, life.clone())).await.unwrap();
    let error = app.parts().auth.prove("system").await.unwrap_err();
    let said = error.in_full();
    assert!(
        said.contains("account-d.docusign.com") && said.ends_with(&format!("the proxy {place}")),
        "{said}"
    );
    assert_eq!(asked.lock().unwrap()[0], "CONNECT account-d.docusign.com:443 HTTP/1.1");
    life.abort();
}
