//! The list of envelopes: its dates, its filters, its pages; and the small lists of one envelope.

use serde_json::{Value, json};

use super::testing::{Client, definition, document, signer};
use crate::emulator::directory;

async fn count(client: &Client, query: &str) -> String {
    client.get(&format!("/envelopes?{query}")).await["totalSetSize"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_list_takes_the_dates_of_the_vendors_samples() {
    let client = Client::start().await;
    client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    for (date, found) in [
        ("2020%2F01%2F31", "1"),
        ("Fri,%2031%20Jan%202020%2010:00:00%20GMT", "1"),
        ("1%2F31%2F2020%2010:00:00%20PM", "1"),
        ("2020-01-31T10:00:00.1234567%2B02:00", "1"),
        ("2099%2F01%2F31", "0"),
    ] {
        assert_eq!(count(&client, &format!("from_date={date}")).await, found, "{date}");
    }
    for date in ["2020%2F13%2F31", "31.01.2020%20soon", "yesterday"] {
        let (status, body) = client.call("GET", &format!("/envelopes?from_date={date}"), Value::Null).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")), "{date}");
    }
}

#[tokio::test]
async fn a_period_is_about_the_date_that_the_vendors_table_says() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    client.act(&id, "1", "finish_later", json!({})).await;
    client.advance(60).await;
    let before_the_end = client.get(&format!("/envelopes/{id}")).await["deliveredDateTime"].clone();
    client.act(&id, "1", "sign", json!({})).await;
    let since = |more: &str| {
        let delivered = before_the_end.as_str().unwrap().trim_end_matches('Z');
        // A second later: after it was opened, before it was signed.
        let at = delivered.parse::<jiff::civil::DateTime>().unwrap() + jiff::SignedDuration::from_secs(1);
        format!("from_date={at}Z&{more}")
    };
    for (query, found) in [
        ("from_to_status=changed", "1"),
        ("from_to_status=Delivered", "1"),
        ("from_to_status=signed", "1"),
        ("from_to_status=completed", "1"),
        ("from_to_status=sent", "0"),
        ("from_to_status=created", "0"),
        ("from_to_status=voided", "0"),
        ("from_to_status=timedout", "0"),
        ("from_to_status=delivered&status=completed", "1"),
        ("from_to_status=delivered&status=created,sent", "0"),
        ("from_to_status=sent&status=any", "0"),
    ] {
        assert_eq!(count(&client, &since(query)).await, found, "{query}");
    }
    let (status, _) =
        client.call("GET", &format!("/envelopes?{}", since("from_to_status=opened")), Value::Null).await;
    assert_eq!(status, 400);
    // There is no reading at the address of a list by ids.
    for method in ["GET", "POST"] {
        assert_eq!(client.call(method, "/envelopes/status", json!({})).await.0, 405, "{method}");
    }
}

#[tokio::test]
async fn templates_are_sorted_and_narrowed_as_asked() {
    let client = Client::start().await;
    let template = json!({ "name": "a draft of mine", "documents": [document("Sign")] });
    assert_eq!(client.call("POST", "/templates", template).await.0, 201);
    let names = async |query: &str| -> Vec<String> {
        let list = client.get(&format!("/templates?{query}")).await["envelopeTemplates"].clone();
        let name = |one: &Value| one["name"].as_str().unwrap().chars().next().unwrap().to_string();
        list.as_array().unwrap().iter().map(name).collect()
    };
    assert_eq!(names("order=asc&order_by=name").await, ["a", "M", "M"]);
    assert_eq!(names("order=desc&order_by=name").await, ["M", "M", "a"]);
    assert_eq!(names("order=desc&order_by=modified").await[0], "a");
    for (query, found) in [
        ("created_from_date=2020-01-01", 1),
        ("created_from_date=2099-01-01", 0),
        ("to_date=2020-01-01", 2),
        ("user_filter=owned_by_me", 3),
        ("user_filter=shared_with_me", 0),
        ("shared_by_me=true", 2),
        ("shared_by_me=false", 1),
        ("is_download=false", 3),
    ] {
        assert_eq!(names(query).await.len(), found, "{query}");
    }
    for query in ["folder_ids=x", "is_download=true", "order_by=used", "order=up", "user_filter=me"] {
        let (status, body) = client.call("GET", &format!("/templates?{query}"), Value::Null).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")), "{query}");
    }
}

#[tokio::test]
async fn a_list_is_narrowed_by_text_and_sender_and_refuses_what_it_cannot_narrow_by() {
    let client = Client::start().await;
    client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let mut other = definition(&[signer("1", "Bob", "/sn1/")]);
    other["emailSubject"] = json!("Lease");
    client.create(other).await;
    let user = directory::USER;
    for (filter, found) in [
        ("search_text=LEASE".to_owned(), "1"),
        ("search_text=ada@example".to_owned(), "1"),
        ("search_text=nowhere".to_owned(), "0"),
        ("user_filter=sender".to_owned(), "2"),
        ("user_filter=recipient".to_owned(), "0"),
        (format!("user_id={user}"), "2"),
        (format!("user_id={}", directory::NO_CONSENT_USER), "0"),
        ("email=system@countersign.example&user_name=Sofia%20Sender".to_owned(), "2"),
        ("email=nora@countersign.example&user_name=Nora%20Noconsent".to_owned(), "0"),
        ("last_queried_date=2020-01-01T00:00:00Z".to_owned(), "0"),
        ("folder_ids=drafts".to_owned(), "0"),
        ("folder_ids=drafts,sentitems".to_owned(), "2"),
        ("folder_types=sentitems".to_owned(), "2"),
        ("folder_ids=recyclebin&folder_types=sentitems".to_owned(), "0"),
        ("folder_ids=out_for_signature".to_owned(), "2"),
        ("folder_ids=drafts,Waiting_For_Others".to_owned(), "2"),
        ("folder_ids=completed,awaiting_my_signature".to_owned(), "0"),
    ] {
        assert_eq!(count(&client, &format!("from_date=2020-01-01&{filter}")).await, found, "{filter}");
    }
    for filter in [
        "user_filter=everybody",
        "email=system@countersign.example",
        "email=nobody@example.com&user_name=Nobody",
        "folder_ids=expiring_soon",
        "folder_types=completed",
        "folder_types=normal",
        "folder_types=templates",
        "intersecting_folder_ids=inbox",
        "powerformids=1",
        "ac_status=Original",
        "continuation_token=x",
        "order_by=signer_list",
    ] {
        let path = format!("/envelopes?from_date=2020-01-01&{filter}");
        let (status, body) = client.call("GET", &path, Value::Null).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")), "{filter}");
    }
}

#[tokio::test]
async fn a_search_folder_holds_what_waits_for_whom() {
    let client = Client::start().await;
    let mut own = signer("2", "Sofia", "/sn2/");
    own["email"] = json!("system@countersign.example");
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/"), own])).await;
    let words = ["awaiting_my_signature", "out_for_signature", "waiting_for_others", "completed"];
    let holding = async || {
        let mut holding = Vec::new();
        for word in words {
            if count(&client, &format!("from_date=2020-01-01&folder_ids={word}")).await == "1" {
                holding.push(word);
            }
        }
        holding
    };
    assert_eq!(holding().await, ["out_for_signature", "waiting_for_others"]);
    client.act(&id, "1", "sign", json!({})).await;
    assert_eq!(holding().await, ["awaiting_my_signature", "out_for_signature"]);
    client.act(&id, "2", "sign", json!({})).await;
    assert_eq!(holding().await, ["completed"]);
    let bin = json!({ "envelopeIds": [id] });
    assert_eq!(client.call("PUT", "/folders/recyclebin", bin).await.0, 200);
    assert!(holding().await.is_empty());
}

#[tokio::test]
async fn a_list_names_the_pages_before_and_after() {
    let client = Client::start().await;
    for _ in 0..5 {
        client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    }
    let mut path = "/envelopes?from_date=2020-01-01T00:00:00%2B00:00&count=2".to_owned();
    let (mut seen, mut starts) = (Vec::new(), Vec::new());
    while !path.is_empty() {
        let page = client.get(&path).await;
        let rows = page["envelopes"].as_array().unwrap().iter();
        seen.extend(rows.map(|one| one["envelopeId"].to_string()));
        starts.push((page["startPosition"].clone(), page["endPosition"].clone()));
        assert_eq!(page["totalSetSize"], "5");
        assert_eq!(page["previousUri"] == "", starts.len() == 1, "{page}");
        page["nextUri"].as_str().unwrap().clone_into(&mut path);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 5);
    assert_eq!(starts, [("0", "1"), ("2", "3"), ("4", "4")].map(|(a, b)| (json!(a), json!(b))));
    let last = client.get("/envelopes?from_date=2020-01-01&count=2&start_position=3").await;
    let before = client.get(last["previousUri"].as_str().unwrap()).await;
    assert_eq!((&before["startPosition"], &before["resultSetSize"]), (&json!("1"), &json!("2")));
}

#[tokio::test]
async fn an_envelope_without_custom_fields_has_two_empty_lists_of_them() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let fields = client.get(&format!("/envelopes/{id}/custom_fields")).await;
    assert_eq!(fields, json!({ "textCustomFields": [], "listCustomFields": [] }));
}

#[tokio::test]
async fn recipients_come_with_their_tabs_if_these_are_asked_for() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    for (query, with_tabs) in [
        ("", false),
        ("?include_anchor_tab_locations=true", false),
        ("?include_tabs=true", true),
        ("?include_tabs=true&include_anchor_tab_locations=true", true),
    ] {
        let read = client.get(&format!("/envelopes/{id}/recipients{query}")).await;
        assert_eq!(read["signers"][0].get("tabs").is_some(), with_tabs, "{query}");
    }
}

#[tokio::test]
async fn lists_find_by_transaction_and_custom_field_and_need_a_narrowing() {
    let mut client = Client::start().await;
    let mut one = definition(&[signer("1", "Ada", "/sn1/")]);
    one["transactionId"] = json!("tx-1");
    one["customFields"] = json!({ "textCustomFields": [{ "name": "requestId", "value": "r-1" }] });
    let id = client.create(one).await;
    client.create(definition(&[signer("1", "Bob", "/sn1/")])).await;
    let (status, body) = client.call("GET", "/envelopes", Value::Null).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")));
    let found = client.get("/envelopes?transaction_ids=tx-1,tx-2").await;
    assert_eq!(
        found["envelopeTransactionStatuses"],
        json!([{ "envelopeId": id, "status": "sent", "transactionId": "tx-1" }])
    );
    let found = client
        .get("/envelopes?from_date=2020-01-01T00:00:00Z&custom_field=requestId=r-1&include=recipients")
        .await;
    assert_eq!(found["totalSetSize"], "1");
    assert_eq!(found["envelopes"][0]["recipients"]["signers"][0]["name"], "Ada");
    assert_eq!(client.get("/envelopes?from_date=2020-01-01&status=completed").await["resultSetSize"], "0");
    let (_, body) = client
        .call("PUT", "/envelopes/status?envelope_ids=request_body", json!({ "envelopeIds": [id] }))
        .await;
    assert_eq!(body["envelopes"][0]["envelopeId"], json!(id));
    let listed = format!("envelope_ids={},00000000-0000-4000-8000-000000000000", id.to_uppercase());
    assert_eq!(count(&client, &listed).await, "1");
    assert_eq!(count(&client, &format!("{listed}&transaction_ids=tx-1")).await, "1");
    assert_eq!(count(&client, &format!("{listed}&transaction_ids=tx-2")).await, "0");
    client.emulator.control("POST", "faults", json!({ "fault": "list_lag", "delay_ms": 5_000 })).await;
    assert_eq!(client.get("/envelopes?transaction_ids=tx-1").await["resultSetSize"], "0");
    client.advance(6).await;
    assert_eq!(client.get("/envelopes?transaction_ids=tx-1").await["resultSetSize"], "1");
    client.outlive(7 * 24 * 3_600).await;
    assert_eq!(client.get("/envelopes?transaction_ids=tx-1").await["resultSetSize"], "0");
}

#[tokio::test]
async fn empty_lists_of_ids_narrow_nothing() {
    let client = Client::start().await;
    client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let empty = "envelope_ids=&transaction_ids=";
    assert_eq!(count(&client, &format!("from_date=2020-01-01&{empty}")).await, "1");
    for (method, path) in [("GET", "/envelopes"), ("PUT", "/envelopes/status")] {
        let (status, body) = client.call(method, &format!("{path}?{empty}"), json!({})).await;
        let code = json!("INVALID_REQUEST_PARAMETER");
        assert_eq!((status, &body["errorCode"]), (400, &code), "{method}: nothing narrows it: {body}");
    }
}

#[tokio::test]
async fn an_order_or_a_page_that_cannot_be_is_refused_though_nothing_is_found() {
    let client = Client::start().await;
    for query in ["order_by=bogus", "order=foo", "count=0", "count=few", "start_position=-1"] {
        let path = format!("/envelopes?from_date=2020-01-01&{query}");
        let (status, body) = client.call("GET", &path, Value::Null).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")), "{query}");
    }
    assert_eq!(count(&client, "from_date=2020-01-01&order=ASC&order_by=sent&count=2000").await, "0");
}
