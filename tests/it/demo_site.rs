//! The demo's website by its forms, without a browser: what it is told, two signers, and every button.

use std::time::Duration;

use countersign::{
    clock::{Clock as _, SystemClock},
    http_client::{HttpClient, Options, Request, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use url::Url;

use crate::demo::Demo;

const PATIENCE: Duration = Duration::from_secs(10);
const FORM: [(&str, &str); 5] = [
    ("order", "AQ-0123ABCD"),
    ("paper", "letter"),
    ("name", "Ada Lovelace"),
    ("email", "ada@example.com"),
    ("phone", "+49 151 12345678"),
];

/// A visitor without a browser.
struct Visitor<'a> {
    demo: &'a Demo,
    client: HttpClient,
}

impl<'a> Visitor<'a> {
    fn of(demo: &'a Demo) -> Self {
        Self { demo, client: HttpClient::new(&Options::default()).unwrap() }
    }

    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("{}{path}", self.demo.entry("site_url"))).unwrap()
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        let request = Request::post(self.url(path)).form(fields.iter().copied());
        self.client.send(request).await.unwrap()
    }

    /// Presses a button of the order; it leads back to the order.
    async fn press(&self, button: &str) {
        let pressed = self.post(&format!("/orders/AQ-0123ABCD/{button}"), &[]).await;
        assert_eq!(pressed.status, StatusCode::SEE_OTHER, "{button}: {}", text(&pressed));
        assert_eq!(pressed.headers[header::LOCATION], "/orders/AQ-0123ABCD", "{button}");
    }

    /// Orders a document, with these fields instead of or besides the usual ones.
    async fn order(&self, more: &[(&str, &str)]) -> Response {
        let is_given = |(name, _): &&(&str, &str)| more.iter().any(|(given, _)| given == name);
        let usual = FORM.iter().filter(|field| !is_given(field));
        let fields: Vec<_> = usual.chain(more).copied().collect();
        self.post("/orders", &fields).await
    }

    /// The page of the order.
    async fn page(&self) -> String {
        let page = self.client.send(Request::get(self.url("/orders/AQ-0123ABCD"))).await.unwrap();
        assert_eq!(page.status, StatusCode::OK);
        text(&page)
    }

    /// The page, once it says this.
    async fn until(&self, words: &str) -> String {
        let said = async {
            loop {
                let page = self.page().await;
                if page.contains(words) {
                    return page;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if let Ok(page) = tokio::time::timeout(PATIENCE, said).await {
            return page;
        }
        panic!("never said {words:?}: {}", self.page().await)
    }

    /// The emulator's signers, in their order.
    async fn signers(&self) -> Vec<Value> {
        let listed = Request::get(self.control("signers"));
        let listed: Value = serde_json::from_slice(&self.client.send(listed).await.unwrap().body).unwrap();
        listed["signers"].as_array().unwrap().clone()
    }

    /// A scripted signer does this.
    async fn act(&self, signer: usize, action: &str) {
        let id = self.signers().await[signer]["id"].as_str().unwrap().to_owned();
        let request = Request::post(self.control(&format!("signers/{id}/{action}"))).json("{}");
        let done = self.client.send(request).await.unwrap();
        assert!(done.status.is_success(), "{}", text(&done));
    }

    fn control(&self, path: &str) -> Url {
        Url::parse(&format!("{}/_test/{path}", self.demo.entry("control_url"))).unwrap()
    }
}

fn text(response: &Response) -> String {
    String::from_utf8(response.body.to_vec()).unwrap()
}

/// The first address in a page that starts so.
fn address(page: &str, start: &str) -> Url {
    let at = page.find(start).unwrap_or_else(|| panic!("no {start} in {page}"));
    Url::parse(page[at..].split('"').next().unwrap()).unwrap()
}

#[tokio::test]
async fn f4_the_page_of_an_order_shows_what_signed_webhooks_told_and_nothing_forged() {
    let demo = Demo::start("site-told").await;
    let visitor = Visitor::of(&demo);
    visitor.order(&[]).await;
    let page = visitor.until("signer.ready").await;
    assert!(page.contains("signing.opened") && page.contains("It is your turn"), "{page}");
    // An envelope's order cannot be told from outside, so a forger would have to guess; here they know it.
    let signing = page_signing(&visitor).await;
    let event = json!({ "type": "signing.completed", "timestamp": "2026-11-26T00:00:00Z",
        "data": { "object": "signing", "id": signing, "sequence": 99 } });
    let now = SystemClock.now().as_second().to_string();
    for signature in ["v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "", "v1,%"] {
        let mut forged = Request::post(visitor.url("/hooks/countersign")).json(event.to_string());
        for (name, value) in
            [("webhook-id", "evt_1"), ("webhook-timestamp", &now), ("webhook-signature", signature)]
        {
            forged = forged.header(HeaderName::from_static(name), HeaderValue::try_from(value).unwrap());
        }
        assert_eq!(visitor.client.send(forged).await.unwrap().status, StatusCode::BAD_REQUEST);
    }
    assert!(!visitor.page().await.contains("signing.completed"));
    visitor.act(0, "sign").await;
    visitor.until("signing.completed").await;
    visitor.until("Signed by everyone").await;
}

/// The daemon's id of the order's signing, as its API lists it.
async fn page_signing(visitor: &Visitor<'_>) -> String {
    let url = format!("{}/v1/signings?reference=AQ-0123ABCD", visitor.demo.entry("api_url"));
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", visitor.demo.entry("caller_key"))).unwrap();
    bearer.set_sensitive(true);
    let request = Request::get(Url::parse(&url).unwrap()).authorization(bearer);
    let listed: Value = serde_json::from_slice(&visitor.client.send(request).await.unwrap().body).unwrap();
    listed["data"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_second_of_two_signers_gets_their_link_when_it_is_their_turn() {
    let demo = Demo::start("site-pair").await;
    let visitor = Visitor::of(&demo);
    assert_eq!(visitor.order(&[("paper", "pair")]).await.status, StatusCode::SEE_OTHER);
    let page = visitor.until("signer.ready").await;
    assert!(page.contains("Continue to sign") && !page.contains("Sign as Charles Babbage"), "{page}");
    visitor.act(0, "sign").await;
    let page = visitor.until("Sign as Charles Babbage").await;
    assert!(page.contains("It is the turn of Charles Babbage") && page.contains("You signed"), "{page}");
    assert!(page.contains("Not signed by everyone yet"), "{page}");
    let link = address(&page, &format!("{}/s/", demo.entry("public_url")));
    assert_eq!(visitor.client.send(Request::get(link)).await.unwrap().status, StatusCode::OK);
    visitor.act(1, "sign").await;
    let page = visitor.until("Signed by everyone").await;
    assert!(page.contains("Download the signed PDF"), "{page}");
}

#[tokio::test]
async fn the_preflight_finds_what_is_wrong_and_orders_nothing() {
    let demo = Demo::start("site-check").await;
    let visitor = Visitor::of(&demo);
    for paper in ["letter", "nda", "pair"] {
        let good = visitor.order(&[("paper", paper), ("then", "check")]).await;
        assert_eq!(good.status, StatusCode::OK, "{paper}: {}", text(&good));
        assert!(text(&good).contains("It would be accepted"), "{paper}");
    }
    let bad = visitor.order(&[("phone", "12"), ("then", "check")]).await;
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(text(&bad).contains("phone-error"));
    assert_eq!(visitor.signers().await, Vec::<Value>::new());
}

#[tokio::test]
async fn the_choices_of_the_form_reach_the_signing() {
    let demo = Demo::start("site-choices").await;
    let visitor = Visitor::of(&demo);
    let choices =
        [("locale", "de"), ("life", "1h"), ("access_code", "sesame"), ("known", "yes"), ("place", "here")];
    assert_eq!(visitor.order(&choices).await.status, StatusCode::SEE_OTHER);
    assert_eq!(visitor.signers().await[0]["has_access_code"], true);
    let page = visitor.until("Sign until").await;
    let link = address(&page, &format!("{}/s/", demo.entry("public_url")));
    let link = visitor.client.send(Request::get(link)).await.unwrap();
    assert!(text(&link).contains("<html lang=\"de\""), "{}", text(&link));
}

#[tokio::test]
async fn a_link_can_be_revoked_and_replaced_and_an_order_called_off_and_destroyed() {
    let demo = Demo::start("site-buttons").await;
    let visitor = Visitor::of(&demo);
    visitor.order(&[]).await;
    let start = format!("{}/s/", demo.entry("public_url"));
    let old = address(&visitor.page().await, &start);
    visitor.press("revoke").await;
    let revoked = visitor.client.send(Request::get(old)).await.unwrap();
    assert!(text(&revoked).contains("no longer valid"), "{}", text(&revoked));
    let page = visitor.page().await;
    assert!(page.contains("Make a new link") && !page.contains(&start), "{page}");
    visitor.press("link").await;
    let new = address(&visitor.page().await, &start);
    assert!(text(&visitor.client.send(Request::get(new)).await.unwrap()).contains("ready to sign"));

    visitor.press("refresh").await;
    let again = visitor.post("/orders/AQ-0123ABCD/refresh", &[]).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "one question in 15 minutes (rule B3)");
    assert!(text(&again).contains("That did not work"));

    let early = visitor.post("/orders/AQ-0123ABCD/purge", &[]).await;
    assert_eq!(early.status, StatusCode::CONFLICT, "it can still be signed");
    visitor.press("void").await;
    let page = visitor.until("signing.voided").await;
    assert!(page.contains("This order was called off") && !page.contains("Call it off"), "{page}");
    visitor.press("purge").await;
    let page = visitor.until("To be destroyed").await;
    assert!(!page.contains("Destroy it"), "{page}");
}

#[tokio::test]
async fn a_visitor_who_is_locked_out_goes_on_with_another_number() {
    let demo = Demo::start("site-phone").await;
    let visitor = Visitor::of(&demo);
    visitor.order(&[]).await;
    visitor.act(0, "fail_otp").await;
    visitor.until("Another number for your code").await;
    let phone = "/orders/AQ-0123ABCD/phone";
    let wrong = visitor.post(phone, &[("phone", "12")]).await;
    assert_eq!(wrong.status, StatusCode::CONFLICT);
    let page = text(&wrong);
    assert!(page.contains("aria-invalid=\"true\"") && page.contains("phone-error"), "{page}");
    assert!(page.contains("marked below") && !page.contains("/phone must"), "in plain words: {page}");
    let right = visitor.post(phone, &[("phone", "+49 151 87654321")]).await;
    assert_eq!(right.status, StatusCode::SEE_OTHER, "{}", text(&right));
    visitor.until("Continue to sign").await;
    assert_eq!(visitor.signers().await[0]["is_locked"], false);
}
