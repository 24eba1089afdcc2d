//! Events of envelopes as Connect delivers them.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::testing::{Client, definition, signer};

#[tokio::test]
async fn connect_pushes_signed_events_in_order() {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sent = definition(&[signer("1", "Ada", "/sn1/")]);
    sent["eventNotification"] = json!({
        "url": format!("http://{}/in", receiver.local_addr().unwrap()), "requireAcknowledgment": "true", "includeHMAC": "true",
        "events": ["envelope-sent", "recipient-completed", "envelope-completed"],
        "eventData": { "version": "restv2.1", "format": "json", "includeData": ["recipients"] },
    });
    let id = client.create(sent).await;
    client.act(&id, "1", "sign", json!({})).await;
    let key = aws_lc_rs::hmac::Key::new(
        aws_lc_rs::hmac::HMAC_SHA256,
        client.emulator.ready.connect_hmac_key.as_bytes(),
    );
    for expected in ["envelope-sent", "recipient-completed", "envelope-completed"] {
        let (head, body) = accept(&receiver).await;
        let digest = head.lines().find_map(|line| line.strip_prefix("x-docusign-signature-1: ")).unwrap();
        aws_lc_rs::hmac::verify(&key, &body, &STANDARD.decode(digest).unwrap()).unwrap();
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(event["event"], expected);
        assert_eq!(event["data"]["envelopeId"], json!(id));
        assert_eq!(event["data"].get("recipientId").is_some(), expected.starts_with("recipient"));
        assert!(event["data"]["envelopeSummary"]["recipients"]["signers"].is_array());
    }
}

#[tokio::test]
async fn connect_knows_the_older_word_for_a_draft() {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut draft = definition(&[signer("1", "Ada", "/sn1/")]);
    draft["status"] = json!("created");
    draft["eventNotification"] = json!({
        "url": format!("http://{}/in", receiver.local_addr().unwrap()),
        "envelopeEvents": [{ "envelopeEventStatusCode": "Draft" }],
    });
    client.create(draft).await;
    let (_, body) = accept(&receiver).await;
    let event: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(event["event"], "envelope-created");
}

#[tokio::test]
async fn connect_tries_again_repeats_and_missigns_on_demand() {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for fault in ["event_double", "event_bad_signature"] {
        client.emulator.control("POST", "faults", json!({ "fault": fault, "count": 1 })).await;
    }
    let mut sent = definition(&[signer("1", "Ada", "/sn1/")]);
    sent["eventNotification"] = json!({
        "url": format!("http://{}/in", receiver.local_addr().unwrap()), "requireAcknowledgment": true, "includeHMAC": true,
        "events": ["envelope-sent"],
    });
    client.create(sent).await;
    let key = client.emulator.ready.connect_hmac_key.clone();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key.as_bytes());
    let (head, body) = answer(&receiver, 500).await;
    let digest = head.lines().find_map(|line| line.strip_prefix("x-docusign-signature-1: ")).unwrap();
    aws_lc_rs::hmac::verify(&key, &body, &STANDARD.decode(digest).unwrap()).unwrap_err();
    // The pause begins once the emulator has read the answer, so time moves until it is over.
    let mut retried = Box::pin(answer(&receiver, 200));
    let (head, body) = loop {
        client.advance(6).await;
        tokio::select! {
            next = &mut retried => break next,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    };
    let digest = head.lines().find_map(|line| line.strip_prefix("x-docusign-signature-1: ")).unwrap();
    aws_lc_rs::hmac::verify(&key, &body, &STANDARD.decode(digest).unwrap()).unwrap();
    let count = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap()["retryCount"].clone();
    assert_eq!(count(&body), json!(1));
    let (_, repeated) = answer(&receiver, 200).await;
    assert_eq!(count(&repeated), json!(0));
}

/// One HTTP request, answered with 200.
async fn accept(receiver: &TcpListener) -> (String, Vec<u8>) {
    answer(receiver, 200).await
}

/// One HTTP request, answered with this status.
async fn answer(receiver: &TcpListener, status: u16) -> (String, Vec<u8>) {
    let work = async {
        let (mut stream, _) = receiver.accept().await.unwrap();
        let mut bytes = Vec::new();
        loop {
            let mut chunk = vec![0; 16_384];
            let n = stream.read(&mut chunk).await.unwrap();
            bytes.extend_from_slice(&chunk[..n]);
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
            let length: usize =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
            if bytes.len() < end + 4 + length {
                continue;
            }
            let reply = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(reply.as_bytes()).await.unwrap();
            let original = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let head = original.lines().map(|line| match line.split_once(": ") {
                Some((name, value)) => format!("{}: {value}\n", name.to_lowercase()),
                None => format!("{line}\n"),
            });
            return (head.collect(), bytes[end + 4..].to_vec());
        }
    };
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("an event comes")
}
