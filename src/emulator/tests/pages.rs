//! What web pages of others get from the control interface: nothing.

use serde_json::Value;

use crate::emulator::testing::Running;

#[tokio::test]
async fn the_control_interface_answers_no_web_page_of_another_machine() {
    let emulator = Running::start().await;
    emulator.access_token().await;
    let control = format!("{}/_test", emulator.ready.control_url);
    for (host, origin, status) in [
        ("127.0.0.1:8444", None, 200),
        ("[::1]:8444", None, 200),
        ("localhost:8444", None, 200),
        ("LOCALHOST.", None, 200),
        ("control.localhost:8444", None, 200),
        ("emulator:8444", None, 200),
        ("localhost:8444", Some("http://localhost:3000"), 200),
        ("localhost:8444", Some("https://app.localhost"), 200),
        ("localhost:8444", Some("http://127.0.0.1:3000"), 200),
        ("localhost:8444", Some("http://[::1]:3000"), 200),
        ("evil.example", None, 403),
        ("evil.example:8444", Some("http://evil.example:8444"), 403),
        ("127.0.0.1.evil.example", None, 403),
        ("localhost:8444", Some("https://evil.example"), 403),
        ("localhost:8444", Some("https://localhost.evil.example"), 403),
        ("localhost:8444", Some("http://203.0.113.7"), 403),
        ("localhost:8444", Some("http://intranet"), 403),
        ("localhost:8444", Some("null"), 403),
    ] {
        for (method, path) in [("GET", "outbox"), ("POST", "reset")] {
            if method == "POST" && status == 200 {
                continue;
            }
            let request = emulator.http.request(method.parse().unwrap(), format!("{control}/{path}"));
            let mut request = request.header("host", host);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let answer = request.send().await.unwrap();
            let (answered, marked) =
                (answer.status().as_u16(), answer.headers().contains_key("x-countersign-emulator"));
            assert_eq!((answered, marked), (status, true), "{method} {host} {origin:?}");
            let body: Value = answer.json().await.unwrap();
            assert_eq!(body.get("error").is_some(), status == 403, "{body}");
        }
    }
    let requests = emulator.control("GET", "requests", Value::Null).await["requests"].clone();
    assert!(!requests.as_array().unwrap().is_empty(), "none of them reset the world");
}
