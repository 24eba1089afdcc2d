//! The views at which a sender's people work: addresses, pages, ways out.

use serde_json::{Value, json};

use super::testing::{Client, definition, signer};

const BACK: &str = "https://www.example.com/done?order=1";

/// As the vendor's sample eg011 sends it.
fn request() -> Value {
    json!({ "returnUrl": BACK, "viewAccess": "envelope", "settings": {
        "startingScreen": "Prepare", "sendButtonAction": "send", "showBackButton": "false", "lockToken": "",
        "recipientSettings": { "showEditRecipients": "false" },
    } })
}

async fn draft(client: &Client) -> String {
    let mut draft = definition(&[signer("1", "Ada", "/sn1/")]);
    draft["status"] = json!("created");
    client.create(draft).await
}

/// Asks for a view, which is given: its address.
async fn view(client: &Client, path: &str, request: Value) -> String {
    let (status, body) = client.call("POST", path, request).await;
    assert_eq!(status, 201, "{path}: {body}");
    body["url"].as_str().unwrap().to_owned()
}

/// Opens an address: the address of the page.
async fn open(client: &Client, url: &str) -> String {
    let (status, page, _) = client.browse(url).await;
    assert!(status == 302 && page.starts_with("/Member/Session/"), "{status} {page}");
    page
}

async fn status(client: &Client, id: &str) -> Value {
    client.get(&format!("/envelopes/{id}")).await["status"].clone()
}

#[tokio::test]
async fn a_draft_is_sent_from_its_view() {
    let client = Client::start().await;
    for name in ["sender", "edit"] {
        let id = draft(&client).await;
        let path = format!("/envelopes/{id}/views/{name}");
        let url = view(&client, &path, request()).await;
        let place = format!("&DocuEnvelope={id}&send=1");
        assert!(
            url.contains("/Member/StartInSession.aspx?StartConsole=1&t=") && url.ends_with(&place),
            "{url}"
        );
        let page = open(&client, &url).await;
        let (_, _, text) = client.browse(&page).await;
        assert!(text.contains("Contract.pdf") && text.contains("ada@example.com"), "{text}");
        assert!(!text.contains("value=\"cancel\""), "it has no back button: {text}");
        assert_eq!(status(&client, &id).await, "created");
        let (code, back, _) = client.post(&page, &[("action", "send")]).await;
        assert_eq!((code, back), (302, format!("{BACK}&envelopeId={id}&event=Send")));
        assert_eq!(status(&client, &id).await, "sent");
        assert!(client.browse(&page).await.1.ends_with("&event=Send"), "the visit is over");
        let (code, body) = client.call("POST", &path, request()).await;
        assert_eq!((code, &body["errorCode"]), (400, &json!("ENVELOPE_INVALID_STATUS")));
        let said = body["message"].as_str().unwrap().to_lowercase();
        assert!(said.contains(&format!(" {name} view cannot be created")), "{said}");
    }
}

#[tokio::test]
async fn a_draft_that_cannot_be_sent_says_why_and_stays() {
    let client = Client::start().await;
    let id = client.create(json!({ "emailSubject": "Empty" })).await;
    let url = view(&client, &format!("/envelopes/{id}/views/sender"), json!({ "returnUrl": BACK })).await;
    let page = open(&client, &url).await;
    let (code, _, text) = client.post(&page, &[("action", "send")]).await;
    assert!(code == 422 && text.contains("It has no documents."), "{code} {text}");
    assert_eq!(status(&client, &id).await, "created");
    assert!(client.post(&page, &[("action", "save")]).await.1.ends_with("&event=Save"));
    let url = view(&client, &format!("/envelopes/{id}/views/sender"), json!({ "returnUrl": BACK })).await;
    let page = open(&client, &url).await;
    assert!(client.post(&page, &[("action", "cancel")]).await.1.ends_with("&event=Cancel"));
    // The button only leads back where the address, as it once could, says so.
    let url = view(&client, &format!("/envelopes/{id}/views/sender"), json!({ "returnUrl": BACK })).await;
    let page = open(&client, &format!("{url}&sendButtonAction=redirect")).await;
    assert!(client.post(&page, &[("action", "send")]).await.1.ends_with("&event=Save"));
}

#[tokio::test]
async fn an_address_opens_once_within_ten_minutes_unless_it_is_revoked() {
    let client = Client::start().await;
    let id = draft(&client).await;
    let path = format!("/envelopes/{id}/views/sender");
    let url = view(&client, &path, request()).await;
    let page = open(&client, &url).await;
    assert!(client.browse(&url).await.1.ends_with("&event=SessionEnd"));
    let late = view(&client, &path, request()).await;
    client.advance(601).await;
    assert!(client.browse(&late).await.1.ends_with("&event=SessionEnd"));
    client.advance(20 * 60).await;
    assert!(client.browse(&page).await.1.ends_with("&event=SessionEnd"), "nobody clicked");
    let revoked = view(&client, &path, request()).await;
    let answer = client.emulator.http.delete(client.absolute(&revoked)).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(client.browse(&revoked).await.0, 404);
    let wrong = json!({ "returnUrl": "nowhere" });
    assert_eq!(client.call("POST", &path, wrong).await.0, 400);
}

#[tokio::test]
async fn a_view_of_a_draft_needs_neither_a_body_nor_a_return_url() {
    let client = Client::start().await;
    for name in ["sender", "edit"] {
        let id = draft(&client).await;
        let path = format!("/envelopes/{id}/views/{name}");
        let bare = client.emulator.call("POST", &path, &client.token, None).await;
        assert_eq!(bare.status().as_u16(), 201, "{name}");
        let bare: Value = bare.json().await.unwrap();
        // As the vendor's test of its SDK for C# asks, without options.
        let empty = view(&client, &path, json!({})).await;
        for (url, action) in [(bare["url"].as_str().unwrap(), "save"), (empty.as_str(), "send")] {
            let page = open(&client, url).await;
            let (code, back, text) = client.post(&page, &[("action", action)]).await;
            assert!(
                code == 200 && back.is_empty() && text.contains("This view is over"),
                "{code} {back} {text}"
            );
        }
        assert_eq!(status(&client, &id).await, "sent");
        // Of what was sent there is none, with a return URL or without.
        let (code, body) = client.call("POST", &path, json!({})).await;
        assert_eq!((code, &body["errorCode"]), (400, &json!("ENVELOPE_INVALID_STATUS")), "{name}: {body}");
        let (code, body) = client.call("POST", &format!("/envelopes/{id}/views/correct"), json!({})).await;
        assert_eq!((code, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")), "{body}");
    }
}

#[tokio::test]
async fn an_address_is_forgotten_after_a_day() {
    let client = Client::start().await;
    let id = draft(&client).await;
    let url = view(&client, &format!("/envelopes/{id}/views/sender"), request()).await;
    client.advance(23 * 60 * 60).await;
    assert!(client.browse(&url).await.1.ends_with("&event=SessionEnd"));
    client.advance(2 * 60 * 60).await;
    assert_eq!(client.browse(&url).await.0, 404);
}

#[tokio::test]
async fn what_is_under_way_is_sent_again_from_its_view() {
    let client = Client::start().await;
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let path = format!("/envelopes/{id}/views/correct");
    let page = open(&client, &view(&client, &path, json!({ "returnUrl": BACK })).await).await;
    let back = client.post(&page, &[("action", "send")]).await.1;
    assert_eq!(back, format!("{BACK}&envelopeId={id}&event=send"));
    assert_eq!(client.call("DELETE", &path, json!({})).await.0, 200);
    let draft = draft(&client).await;
    let (code, body) =
        client.call("POST", &format!("/envelopes/{draft}/views/correct"), json!({ "returnUrl": BACK })).await;
    assert_eq!((code, &body["errorCode"]), (400, &json!("ENVELOPE_INVALID_STATUS")));
}

#[tokio::test]
async fn a_console_shows_an_envelope_or_none() {
    let client = Client::start().await;
    let id = draft(&client).await;
    let page = open(&client, &view(&client, "/views/console", json!({ "returnUrl": BACK })).await).await;
    assert_eq!(client.post(&page, &[("action", "close")]).await.1, format!("{BACK}&event=SessionEnd"));
    let request = json!({ "returnUrl": BACK, "envelopeId": id });
    let page = open(&client, &view(&client, "/views/console", request).await).await;
    assert!(client.browse(&page).await.2.contains("Contract.pdf"));
    assert!(client.post(&page, &[("action", "send")]).await.1.ends_with("&event=Send"));
    assert_eq!(status(&client, &id).await, "sent");
    let nobody = json!({ "returnUrl": BACK, "envelopeId": "00000000-0000-4000-8000-000000000000" });
    assert_eq!(client.call("POST", "/views/console", nobody).await.0, 404);
}

#[tokio::test]
async fn a_console_needs_neither_a_body_nor_a_return_url() {
    let client = Client::start().await;
    let bare = client.emulator.call("POST", "/views/console", &client.token, None).await;
    assert_eq!(bare.status().as_u16(), 201);
    let bare: Value = bare.json().await.unwrap();
    let id = draft(&client).await;
    let of_draft = view(&client, "/views/console", json!({ "envelopeId": id })).await;
    for (url, action) in [(bare["url"].as_str().unwrap(), "close"), (of_draft.as_str(), "send")] {
        let page = open(&client, url).await;
        let (code, back, text) = client.post(&page, &[("action", action)]).await;
        assert!(code == 200 && back.is_empty() && text.contains("This view is over"), "{code} {back} {text}");
        assert!(client.browse(url).await.2.contains("This view is over"), "it opens once");
    }
    assert_eq!(status(&client, &id).await, "sent");
    let wrong = json!({ "returnUrl": "nowhere" });
    assert_eq!(client.call("POST", "/views/console", wrong).await.0, 400);
}

#[tokio::test]
async fn a_view_does_not_send_what_another_has_locked() {
    let client = Client::start().await;
    let id = draft(&client).await;
    let lock = client.call("POST", &format!("/envelopes/{id}/lock"), json!({})).await.1;
    let path = format!("/envelopes/{id}/views/sender");
    let page = open(&client, &view(&client, &path, request()).await).await;
    let (code, _, text) = client.post(&page, &[("action", "send")]).await;
    assert!(code == 422 && text.contains("locked"), "{code} {text}");
    let mut with_token = request();
    with_token["settings"]["lockToken"] = lock["lockToken"].clone();
    let page = open(&client, &view(&client, &path, with_token).await).await;
    assert!(client.post(&page, &[("action", "send")]).await.1.ends_with("&event=Send"));
    assert_eq!(status(&client, &id).await, "sent");
}
