//! Events of envelopes as Connect delivers them.

use std::{collections::BTreeMap, time::Duration};

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
    for expected in ["envelope-sent", "recipient-completed", "envelope-completed"] {
        let (head, body) = accept(&receiver).await;
        assert!(is_signed(&client, &head, &body));
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(event["event"], expected);
        assert_eq!(event["data"]["envelopeId"], json!(id));
        assert_eq!(event["data"].get("recipientId").is_some(), expected.starts_with("recipient"));
        assert!(event["data"]["envelopeSummary"]["recipients"]["signers"].is_array());
    }
}

#[tokio::test]
async fn the_message_of_the_sending_shows_whom_it_was_sent_to() {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sent = definition(&[signer("1", "Ada", "/sn1/"), signer("2", "Bob", "/sn2/")]);
    sent["eventNotification"] = json!({
        "url": format!("http://{}/in", receiver.local_addr().unwrap()), "events": ["envelope-sent", "recipient-sent"],
        "eventData": { "version": "restv2.1", "format": "json", "includeData": ["recipients"] },
    });
    let id = client.create(sent).await;
    let read = client.get(&format!("/envelopes/{id}/recipients")).await;
    assert_eq!(read["signers"][0]["status"], "sent");
    for expected in ["envelope-sent", "recipient-sent"] {
        let (_, body) = accept(&receiver).await;
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(event["event"], expected);
        let told = &event["data"]["envelopeSummary"]["recipients"];
        assert_eq!(told["currentRoutingOrder"], read["currentRoutingOrder"], "{expected}");
        for (place, name) in [(0_usize, "status"), (0, "sentDateTime"), (1, "status"), (1, "sentDateTime")] {
            let of = |recipients: &Value| recipients["signers"][place].get(name).cloned();
            assert_eq!(of(told), of(&read), "{expected}: {name} of {place}");
        }
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
async fn connect_tells_of_templates_that_are_made_and_of_envelopes_that_are_deleted() {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let configuration = json!({
        "name": "x", "configurationType": "custom", "allUsers": "true", "allowEnvelopePublish": "true",
        "urlToPublishTo": format!("http://{}/in", receiver.local_addr().unwrap()), "includeHMAC": "true",
        "events": ["template-created", "envelope-voided", "envelope-deleted"],
    });
    assert_eq!(client.call("POST", "/connect", configuration).await.0, 201);
    let (_, made) = client.call("POST", "/templates", json!({ "name": "Plain" })).await;
    let (head, body) = accept(&receiver).await;
    assert!(is_signed(&client, &head, &body));
    let event: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(event["event"], "template-created");
    assert_eq!(event["data"]["templateId"], made["templateId"], "{event}");
    assert!(event["uri"].as_str().unwrap().ends_with(made["uri"].as_str().unwrap()), "{event}");

    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let bin = json!({ "envelopeIds": [id] });
    for _ in 0..2 {
        assert_eq!(client.call("PUT", "/folders/recyclebin", bin.clone()).await.0, 200);
    }
    client.call("POST", "/templates", json!({ "name": "Last" })).await;
    assert_eq!(three(&receiver).await, ["envelope-voided", "envelope-deleted", "template-created"]);
}

#[tokio::test]
async fn connect_tells_of_templates_that_are_changed_and_deleted() {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let configuration = json!({
        "name": "x", "configurationType": "custom", "allUsers": "true", "allowEnvelopePublish": "true",
        "urlToPublishTo": format!("http://{}/in", receiver.local_addr().unwrap()),
        "events": ["template-created", "template-modified", "template-deleted"],
    });
    assert_eq!(client.call("POST", "/connect", configuration).await.0, 201);
    let (_, made) = client.call("POST", "/templates", json!({ "name": "Plain" })).await;
    let id = made["templateId"].as_str().unwrap();
    // The second time it changes nothing.
    for _ in 0..2 {
        client.call("PUT", &format!("/templates/{id}"), json!({ "name": "Renamed" })).await;
    }
    client.call("PUT", "/folders/recyclebin", json!({ "envelopeIds": [id] })).await;
    assert_eq!(three(&receiver).await, ["template-created", "template-modified", "template-deleted"]);
}

/// A definition whose events go to this path of the receiver, signed and tried again.
fn telling(receiver: &TcpListener, path: &str, events: &[&str]) -> Value {
    let mut definition = definition(&[signer("1", "Ada", "/sn1/")]);
    definition["eventNotification"] = json!({
        "url": format!("http://{}{path}", receiver.local_addr().unwrap()), "requireAcknowledgment": true,
        "includeHMAC": true, "events": events,
    });
    definition
}

/// The paths of the next events, sorted: each of several configurations has a queue of its own.
async fn paths(receiver: &TcpListener, number: usize) -> Vec<String> {
    let mut paths = Vec::new();
    for _ in 0..number {
        let (head, _) = accept(receiver).await;
        paths.push(head.split(' ').nth(1).unwrap().to_owned());
    }
    paths.sort();
    paths
}

#[tokio::test]
async fn connect_tells_every_notification_of_a_list_of_copies_too() {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listed = |paths: &[&str], event: &str| -> Vec<Value> {
        paths.iter().map(|path| telling(&receiver, path, &[event])["eventNotification"].clone()).collect()
    };
    let mut whole = telling(&receiver, "/one", &["envelope-sent"]);
    whole["eventNotifications"] = json!(listed(&["/two", "/three"], "envelope-sent"));
    client.create(whole.clone()).await;
    assert_eq!(paths(&receiver, 3).await, ["/one", "/three", "/two"]);

    whole["status"] = json!("created");
    let draft = client.create(whole.clone()).await;
    let copy = json!({ "recipients": [{ "recipientId": "1", "name": "Ada", "email": "ada@example.com" }] });
    let (_, list) =
        client.call("POST", "/bulk_send_lists", json!({ "name": "L", "bulkCopies": [copy] })).await;
    let path = format!("/bulk_send_lists/{}/send", list["listId"].as_str().unwrap());
    let (status, batch) = client.call("POST", &path, json!({ "envelopeOrTemplateId": draft })).await;
    assert_eq!(status, 201, "{batch}");
    assert_eq!(paths(&receiver, 3).await, ["/one", "/three", "/two"]);

    let elsewhere = json!([{ "url": "http://www.example.com/in", "events": ["envelope-sent"] }]);
    let too_many = json!(listed(&["/a"; 20], "envelope-sent"));
    for wrong in [elsewhere, json!(listed(&["/a", "/b"], "envelope-eaten")), too_many] {
        whole["eventNotifications"] = wrong;
        assert_eq!(client.refusal(whole.clone()).await, "INVALID_REQUEST_PARAMETER");
    }
}

#[tokio::test]
async fn connect_tells_in_which_folder_of_its_sender_an_envelope_lies() {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut whole = telling(&receiver, "/in", &["envelope-sent", "envelope-deleted"]);
    whole["eventNotification"]["eventData"] = json!({ "includeData": ["folders"] });
    let id = client.create(whole).await;
    let path = format!("/envelopes/{id}?include=folders");
    let told = async || {
        let (_, body) = accept(&receiver).await;
        serde_json::from_slice::<Value>(&body).unwrap()["data"]["envelopeSummary"]["folders"].clone()
    };
    let folders = told().await;
    assert_eq!((&folders[0]["name"], &folders), (&json!("Sent Items"), &client.get(&path).await["folders"]));
    client.call("PUT", "/folders/recyclebin", json!({ "envelopeIds": [id] })).await;
    let folders = told().await;
    assert_eq!((&folders[0]["type"], &folders), (&json!("recyclebin"), &client.get(&path).await["folders"]));
}

#[tokio::test]
async fn connect_sends_the_documents_that_are_asked_for_with_every_try() {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut whole = telling(&receiver, "/in", &["envelope-completed"]);
    whole["eventNotification"]["eventData"] = json!({ "includeData": ["documents"] });
    let id = client.create(whole).await;
    client.act(&id, "1", "sign", json!({})).await;
    let (head, first) = answer(&receiver, 500).await;
    assert!(is_signed(&client, &head, &first));
    let (head, second) = retried(&client, &receiver).await;
    assert!(is_signed(&client, &head, &second));
    for body in [first, second] {
        let event: Value = serde_json::from_slice(&body).unwrap();
        let told = event["data"]["envelopeSummary"]["envelopeDocuments"].as_array().unwrap();
        let ids: Vec<&str> = told.iter().map(|one| one["documentId"].as_str().unwrap()).collect();
        assert_eq!(ids, ["1", "certificate"]);
        for one in told {
            let path = format!("/envelopes/{id}/documents/{}", one["documentId"].as_str().unwrap());
            let sent = STANDARD.decode(one["PDFBytes"].as_str().unwrap()).unwrap();
            assert!(sent == client.bytes(&path).await, "{path}");
        }
    }
}

#[tokio::test]
async fn connect_shows_documents_as_they_were_when_it_happened() {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut whole = telling(&receiver, "/in", &["envelope-sent", "envelope-completed"]);
    whole["eventNotification"]["eventData"] = json!({ "includeData": ["documents"] });
    let id = client.create(whole).await;
    let path = format!("/envelopes/{id}/documents/1");
    let unsigned = client.bytes(&path).await;
    client.act(&id, "1", "sign", json!({})).await;
    let signed = client.bytes(&path).await;
    assert!(unsigned != signed);
    // The receiver was not there until now.
    for expected in [unsigned, signed] {
        let (_, body) = accept(&receiver).await;
        let event: Value = serde_json::from_slice(&body).unwrap();
        let told = &event["data"]["envelopeSummary"]["envelopeDocuments"][0];
        assert!(
            STANDARD.decode(told["PDFBytes"].as_str().unwrap()).unwrap() == expected,
            "{}",
            event["event"]
        );
    }
}

#[tokio::test]
async fn connect_keeps_back_the_reason_of_a_void_only_if_it_is_told_to() {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let void = json!({ "status": "voided", "voidedReason": "mistake" });
    for (switch, reason) in
        [(Value::Null, Some("mistake")), (json!("true"), Some("mistake")), (json!("False"), None)]
    {
        let mut whole = telling(&receiver, "/in", &["envelope-voided"]);
        whole["eventNotification"]["eventData"] = json!({ "includeData": ["custom_fields"] });
        whole["eventNotification"]["includeEnvelopeVoidReason"] = switch;
        let id = client.create(whole).await;
        assert_eq!(client.call("PUT", &format!("/envelopes/{id}"), void.clone()).await.0, 200);
        let (_, body) = accept(&receiver).await;
        let event: Value = serde_json::from_slice(&body).unwrap();
        let summary = &event["data"]["envelopeSummary"];
        assert_eq!(summary["status"], "voided", "{event}");
        assert_eq!(summary["voidedReason"].as_str(), reason, "{event}");
    }
}

#[tokio::test]
async fn connect_leaves_out_the_users_that_a_configuration_excepts() {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let next = async || {
        let (_, body) = accept(&receiver).await;
        serde_json::from_slice::<Value>(&body).unwrap()["event"].clone()
    };
    let configuration = json!({
        "name": "x", "configurationType": "custom", "allowEnvelopePublish": "true",
        "allUsersExcept": "true", "userIds": [client.emulator.ready.user_id],
        "urlToPublishTo": format!("http://{}/in", receiver.local_addr().unwrap()),
        "events": ["envelope-sent", "envelope-voided"],
    });
    let (status, made) = client.call("POST", "/connect", configuration).await;
    assert_eq!(status, 201, "{made}");
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let change = async |mut change: Value| {
        change["connectId"] = made["connectId"].clone();
        assert_eq!(client.call("PUT", "/connect", change).await.0, 200);
    };
    change(json!({ "allUsersExcept": "false" })).await;
    let void = json!({ "status": "voided", "voidedReason": "mistake" });
    assert_eq!(client.call("PUT", &format!("/envelopes/{id}"), void).await.0, 200);
    assert_eq!(next().await, "envelope-voided", "who is excepted sent it");
    change(json!({ "allUsersExcept": "true", "userIds": ["00000000-0000-4000-8000-000000000000"] })).await;
    client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    assert_eq!(next().await, "envelope-sent");
}

#[tokio::test]
async fn connect_tries_again_repeats_and_missigns_on_demand() {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for fault in ["event_double", "event_bad_signature"] {
        client.emulator.control("POST", "faults", json!({ "fault": fault, "count": 1 })).await;
    }
    let id = client.create(telling(&receiver, "/in", &["envelope-sent", "recipient-completed"])).await;
    let count = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap()["retryCount"].clone();
    let (head, body) = answer(&receiver, 500).await;
    assert!(!is_signed(&client, &head, &body));
    let (head, body) = retried(&client, &receiver).await;
    assert_eq!(count(&body), json!(1));
    assert!(is_signed(&client, &head, &body), "one try was to be missigned");
    let (head, repeated) = accept(&receiver).await;
    assert_eq!(count(&repeated), json!(0));
    assert!(is_signed(&client, &head, &repeated));
    client.act(&id, "1", "sign", json!({})).await;
    let (head, body) = accept(&receiver).await;
    assert_eq!(count(&body), json!(0));
    assert!(is_signed(&client, &head, &body), "the next event is another");
}

/// Which of ten events were missigned, by the path that each went to.
async fn missigned(is_prompt: bool) -> BTreeMap<String, bool> {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    client.emulator.control("POST", "faults", json!({ "fault": "event_bad_signature", "rate": 0.5 })).await;
    let mut seen = BTreeMap::new();
    let note = |seen: &mut BTreeMap<String, bool>, (head, body): (String, Vec<u8>)| {
        let path = head.split(' ').nth(1).unwrap().to_owned();
        seen.insert(path, !is_signed(&client, &head, &body));
    };
    for number in 0..10 {
        client.create(telling(&receiver, &format!("/in/{number}"), &["envelope-sent"])).await;
        if is_prompt {
            note(&mut seen, accept(&receiver).await);
        }
    }
    if !is_prompt {
        for _ in 0..10 {
            note(&mut seen, answer(&receiver, 500).await);
        }
    }
    seen
}

#[tokio::test]
async fn the_same_seed_missigns_the_same_events_however_fast_they_are_received() {
    let (promptly, slowly) = (missigned(true).await, missigned(false).await);
    assert_eq!(promptly, slowly);
    assert_eq!(promptly.len(), 10);
    assert!(promptly.values().any(|is_missigned| *is_missigned) && promptly.values().any(|it| !it));
}

/// The kinds of three events in the order in which they come.
async fn three(receiver: &TcpListener) -> Vec<String> {
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let (_, body) = accept(receiver).await;
        let event: Value = serde_json::from_slice(&body).unwrap();
        kinds.push(event["event"].as_str().unwrap().to_owned());
    }
    kinds
}

#[tokio::test]
async fn an_event_is_overtaken_by_the_next_one_if_that_happens_soon() {
    let events = ["envelope-sent", "recipient-completed", "envelope-completed"];
    for (seconds, expected) in [
        (0, ["recipient-completed", "envelope-sent", "envelope-completed"]),
        (1, ["recipient-completed", "envelope-sent", "envelope-completed"]),
        (2, events),
    ] {
        let client = Client::start().await;
        let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
        client.emulator.control("POST", "faults", json!({ "fault": "event_reorder", "count": 1 })).await;
        let id = client.create(telling(&receiver, "/in", &events)).await;
        client.advance(seconds).await;
        client.act(&id, "1", "sign", json!({})).await;
        assert_eq!(three(&receiver).await, expected, "after {seconds} s");
    }
}

#[tokio::test]
async fn an_event_that_nothing_overtakes_comes_after_all() {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    client.emulator.control("POST", "faults", json!({ "fault": "event_reorder" })).await;
    client.create(telling(&receiver, "/in", &["envelope-sent"])).await;
    client.advance(2).await;
    accept(&receiver).await;
}

#[tokio::test]
async fn an_event_of_a_change_that_is_refused_costs_no_fault() {
    let client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut draft = telling(&receiver, "/in", &["envelope-sent"]);
    draft["status"] = json!("created");
    let id = client.create(draft).await;
    client.emulator.control("POST", "faults", json!({ "fault": "event_bad_signature", "count": 1 })).await;
    let path = format!("/envelopes/{id}");
    // Sent, and then refused: only what has ended can be purged.
    let refused = json!({ "status": "sent", "purgeState": "documents_queued" });
    assert_eq!(client.call("PUT", &path, refused).await.0, 400);
    assert_eq!(client.get(&path).await["status"], "created");
    assert_eq!(client.call("PUT", &path, json!({ "status": "sent" })).await.0, 200);
    let (head, body) = accept(&receiver).await;
    assert!(!is_signed(&client, &head, &body));
}

#[tokio::test]
async fn a_reset_ends_the_deliveries_under_way_and_holds_up_no_new_ones() {
    let mut client = Client::start().await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let id = client.create(telling(&receiver, "/old", &["envelope-sent", "recipient-completed"])).await;
    answer(&receiver, 500).await;
    client.act(&id, "1", "sign", json!({})).await;
    client.emulator.control("POST", "reset", json!({})).await;
    client.token = client.emulator.access_token().await;
    // Its configuration has the number of the old one, which would wait for five seconds that do not pass.
    client.create(telling(&receiver, "/new", &["envelope-sent"])).await;
    let (head, _) = accept(&receiver).await;
    assert!(head.starts_with("POST /new "), "{head}");
}

fn is_signed(client: &Client, head: &str, body: &[u8]) -> bool {
    let key = client.emulator.ready.connect_hmac_key.as_bytes();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    let digest = head.lines().find_map(|line| line.strip_prefix("x-docusign-signature-1: ")).unwrap();
    aws_lc_rs::hmac::verify(&key, body, &STANDARD.decode(digest).unwrap()).is_ok()
}

/// What is tried again, answered with 200. The pause begins once the emulator has read the last answer, so time moves
/// until it is over.
async fn retried(client: &Client, receiver: &TcpListener) -> (String, Vec<u8>) {
    let mut retried = Box::pin(accept(receiver));
    loop {
        client.advance(6).await;
        tokio::select! {
            next = &mut retried => break next,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
}

/// One HTTP request, answered with 200.
pub(super) async fn accept(receiver: &TcpListener) -> (String, Vec<u8>) {
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
