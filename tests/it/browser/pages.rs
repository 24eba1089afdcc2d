//! Every page of the public listener, and the documentation.

use std::time::Duration;

use fantoccini::{Locator, key::Key};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Browser, DESKTOP, PATIENCE, PHONE, inspect, inspect_words};
use crate::harness::{Reply, TestDaemon, order};

/// A page of the public listener, and what leads to it.
struct Situation {
    name: &'static str,
    url: String,
    language: &'static str,
    words: &'static str,
}

impl Situation {
    fn new(name: &'static str, url: impl Into<String>, words: &'static str) -> Self {
        Self { name, url: url.into(), language: "en", words }
    }
}

/// Makes signings, and brings each into a situation.
struct Stage<'a> {
    daemon: &'a TestDaemon,
    made: std::cell::Cell<u32>,
}

impl Stage<'_> {
    async fn signing(&self, change: impl FnOnce(&mut Value)) -> (Reply, String) {
        let mut order = order();
        order["view"] = json!(false);
        change(&mut order);
        let number = self.made.replace(self.made.get() + 1);
        let made = self.daemon.create(&format!("page-{number}"), &order).await;
        let link = made.body["signers"][0]["link"]["url"].as_str().unwrap_or_else(|| panic!("{}", made.text));
        let link = link.to_owned();
        (made, link)
    }

    async fn click(&self, link: &str) {
        let clicked = self.daemon.call(Method::POST, link, None, &[], Vec::new()).await;
        assert_eq!(clicked.status, StatusCode::SEE_OTHER, "{}", clicked.text);
    }

    /// A scripted signer of the newest envelope; answers where the browser goes.
    async fn act(&self, made: &Reply, signer: usize, action: &str) -> String {
        let envelope = &made.body["provider"]["envelope_id"];
        let all = self.daemon.control(Method::GET, "signers", &Value::Null).await;
        let of_envelope: Vec<&Value> =
            all["signers"].as_array().unwrap().iter().filter(|one| one["envelope_id"] == *envelope).collect();
        let id = of_envelope[signer]["id"].as_str().unwrap();
        let done = self.daemon.control(Method::POST, &format!("signers/{id}/{action}"), &json!({})).await;
        done["redirect_url"].as_str().unwrap_or_default().to_owned()
    }

    async fn stands(&self, made: &Reply, pointer: &str, wanted: &str) {
        let path = format!("/v1/signings/{}", made.id());
        let is_so = async || self.daemon.get(&path).await.body.pointer(pointer) == Some(&json!(wanted));
        self.daemon.run_clock(wanted, is_so).await;
    }

    async fn all(&self) -> Vec<Situation> {
        let mut pages = self.turns_and_ends().await;
        pages.extend(self.links_and_returns().await);
        pages
    }

    async fn turns_and_ends(&self) -> Vec<Situation> {
        let two = |order: &mut Value| {
            order["documents"] = json!([{ "name": "Contract.pdf",
                "content_base64": std::str::from_utf8(&crate::esign::pdf()).unwrap(),
                "anchors": { "sign": { "visitor": "/sn1/", "manager": "/co1/" } } }]);
            order["signers"][0].as_object_mut().unwrap().remove("role");
            order["signers"][0]["order"] = json!(1);
            order["signers"].as_array_mut().unwrap().push(json!({ "key": "manager", "order": 2,
                "name": "Charles Babbage", "email": "charles@example.com", "return_url": "https://www.example.com/done" }));
        };
        let mut pages = Vec::new();
        let (_, link) = self.signing(|_| {}).await;
        pages.push(Situation::new("ready", link, "ready to sign"));
        for (name, language, words) in [
            ("ready-de", "de", "Ihre Dokumente"),
            ("ready-fr", "fr", "Vos documents"),
            ("ready-es", "es", "Sus documentos"),
        ] {
            let (_, link) = self.signing(|order| order["locale"] = json!(language)).await;
            pages.push(Situation { language, ..Situation::new(name, link, words) });
        }
        let (_, open) = self.signing(|_| {}).await;
        self.click(&open).await;
        pages.push(Situation::new("elsewhere", open, "Already open"));

        let (both, first) = self.signing(two).await;
        let (early, _) = self.signing(two).await;
        let second = early.body["signers"][1]["link"]["url"].as_str().unwrap();
        pages.push(Situation::new("waiting", second, "not your turn"));
        let (half, signed) = self.signing(two).await;
        self.act(&half, 0, "sign").await;
        self.stands(&half, "/signers/0/status", "signed").await;
        pages.push(Situation::new("signed", signed, "You have signed"));
        let (done, completed) = self.signing(|_| {}).await;
        self.act(&done, 0, "sign").await;
        self.stands(&done, "/status", "completed").await;
        pages.push(Situation::new("completed", completed, "Everyone has signed"));
        self.act(&both, 0, "decline").await;
        self.stands(&both, "/status", "declined").await;
        pages.push(Situation::new("declined", first, "You declined"));
        let second = both.body["signers"][1]["link"]["url"].as_str().unwrap();
        pages.push(Situation::new("declined-by-other", second, "Signing has ended"));
        let (gone, voided) = self.signing(|_| {}).await;
        self.daemon.post(&format!("/v1/signings/{}/void", gone.id()), &json!({"reason": "test"})).await;
        pages.push(Situation::new("voided", voided, "withdrawn"));
        let (locked, link) = self.signing(|_| {}).await;
        self.act(&locked, 0, "fail_otp").await;
        self.stands(&locked, "/signers/0/status", "auth_failed").await;
        pages.push(Situation::new("check-failed", link, "confirm that it is you"));

        pages
    }

    async fn links_and_returns(&self) -> Vec<Situation> {
        let mut pages = Vec::new();
        let (ready, _) = self.signing(|_| {}).await;
        let path = format!("/v1/signings/{}/signers/{}/links", ready.id(), ready.signer());
        let short = self.daemon.post(&path, &json!({"expires_in": "1s"})).await;
        pages.push(Situation::new("link-expired", short.body["url"].as_str().unwrap(), "has expired"));
        let taken = self.daemon.post(&path, &json!({})).await;
        let id = taken.body["id"].as_str().unwrap();
        let url = format!("{}/v1/links/{id}", self.daemon.api);
        self.daemon.call(Method::DELETE, &url, Some(crate::harness::CALLER_KEY), &[], Vec::new()).await;
        pages.push(Situation::new("revoked", taken.body["url"].as_str().unwrap(), "no longer valid"));

        let (later, link) = self.signing(|order| order["signers"][0]["return_url"] = Value::Null).await;
        self.click(&link).await;
        let back = self.act(&later, 0, "finish_later").await;
        for (name, event, words) in [
            ("back-finish-later", "cancel", "Finish whenever you like"),
            ("back-idle", "session_timeout", "away for a while"),
            ("back-stale", "ttl_expired", "had to be closed"),
            ("back-broken", "exception", "had a problem"),
            ("back-fax", "fax_pending", "Waiting for your fax"),
            ("back-check-failed", "id_check_failed", "confirm that it is you"),
            ("back-pending", "signing_complete", "Thank you"),
        ] {
            pages.push(Situation::new(name, back.replace("event=cancel", &format!("event={event}")), words));
        }
        let public = self.daemon.public.as_ref().unwrap();
        pages.push(Situation::new("unknown", format!("{public}/s/{}", "A".repeat(43)), "nothing here"));
        let fault = json!({"fault": "status", "status": 503, "method": "POST", "path": "/envelopes"});
        self.daemon.fault(&fault).await;
        let number = self.made.replace(self.made.get() + 1);
        let wait = [("prefer", "respond-async")];
        let queued = self.daemon.create_with(&format!("page-{number}"), &order(), &wait).await;
        let link = queued.body["signers"][0]["link"]["url"].as_str().unwrap();
        pages.push(Situation::new("creating", link, "being prepared"));
        pages
    }
}

#[tokio::test]
async fn l5_every_page_of_the_public_listener_is_usable_on_a_desk_and_on_a_phone() {
    let Some(browser) = Browser::start() else { return };
    let daemon = TestDaemon::builder().public().start().await;
    let stage = Stage { daemon: &daemon, made: std::cell::Cell::new(0) };
    let pages = stage.all().await;
    daemon.clock.advance(Duration::from_secs(2));
    for (screen, size) in [("desktop", DESKTOP), ("phone", PHONE)] {
        let client = browser.open(screen, size).await;
        for page in &pages {
            client.goto(&page.url).await.unwrap();
            let text = client.find(Locator::Css("main")).await.unwrap().text().await.unwrap();
            assert!(text.contains(page.words), "{}: {text}", page.name);
            inspect(&client, screen, &format!("page-{}", page.name), page.language).await;
        }
        client.close().await.unwrap();
    }
    in_other_languages(&browser, &pages).await;
    by_keyboard(&browser, &daemon, &stage).await;
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
}

#[tokio::test]
async fn l5_large_text_leaves_words_whole_on_a_phone() {
    let Some(browser) = Browser::start() else { return };
    let daemon = TestDaemon::builder().public().start().await;
    let stage = Stage { daemon: &daemon, made: std::cell::Cell::new(0) };
    let mut links = Vec::new();
    for language in ["de", "en", "es", "fr"] {
        links.push(stage.signing(|order| order["locale"] = json!(language)).await.1);
    }
    for (width, text_px) in [(360, 24), (390, 32)] {
        let name = format!("large-{text_px}");
        let client = browser.open_as(&name, (width, 844), "en", text_px).await;
        for link in &links {
            client.goto(link).await.unwrap();
            let heading = client.find(Locator::Css("h1")).await.unwrap().text().await.unwrap();
            inspect_words(&client, &format!("{heading}, {text_px} px"), text_px).await;
        }
        client.close().await.unwrap();
    }
    // Where the text of the page alone is made larger, no media query sees it.
    let client = browser.open_as("larger-text-alone", (390, 844), "en", 16).await;
    for link in &links {
        client.goto(link).await.unwrap();
        let heading = client.find(Locator::Css("h1")).await.unwrap().text().await.unwrap();
        client.execute("document.documentElement.style.fontSize = '200%'", vec![]).await.unwrap();
        inspect_words(&client, &format!("{heading}, text alone"), 32).await;
    }
    client.close().await.unwrap();
}

#[tokio::test]
async fn the_documentation_fits_a_phone_with_large_text() {
    let Some(browser) = Browser::start() else { return };
    let daemon = TestDaemon::start().await;
    let client = browser.open_as("documentation", PHONE, "en", 32).await;
    for page in ["", "/component", "/errors", "/errors/consent_required", "/migrating", "/results"] {
        client.goto(&format!("{}/docs{page}", daemon.api)).await.unwrap();
        client.find(Locator::Css("#content h1")).await.unwrap();
        let beyond = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(client.execute(beyond, vec![]).await.unwrap(), 0, "/docs{page} is wider than the screen");
    }
    client.close().await.unwrap();
}

/// The same pages for visitors who read something else: on a phone, where long words have the least room.
async fn in_other_languages(browser: &Browser, pages: &[Situation]) {
    let english = headings(browser, pages, "en").await;
    for language in ["de", "fr", "es"] {
        let translated = headings(browser, pages, language).await;
        for ((page, english), translated) in pages.iter().zip(&english).zip(&translated) {
            // A signing with a language of its own keeps it.
            let has_own = page.language != "en";
            assert_eq!(english == translated, has_own, "{} in {language}: {translated}", page.name);
        }
    }
}

/// The main heading of each page, as a browser of this language gets it.
async fn headings(browser: &Browser, pages: &[Situation], language: &str) -> Vec<String> {
    let client = browser.open_in(&format!("reads-{language}"), PHONE, language).await;
    let mut headings = Vec::new();
    for page in pages {
        client.goto(&page.url).await.unwrap();
        headings.push(client.find(Locator::Css("h1")).await.unwrap().text().await.unwrap());
        if page.language == "en" && language != "en" {
            inspect(&client, "phone", &format!("page-{}-{language}", page.name), language).await;
        }
    }
    client.close().await.unwrap();
    headings
}

/// A visitor without a mouse gets to the documents, and one who meets an outage stands in line.
async fn by_keyboard(browser: &Browser, daemon: &TestDaemon, stage: &Stage<'_>) {
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    let (_, link) = stage.signing(|_| {}).await;
    let (_, other) = stage.signing(|_| {}).await;
    let client = browser.open("keyboard", PHONE).await;
    client.goto(&link).await.unwrap();
    let body = client.find(Locator::Css("body")).await.unwrap();
    body.send_keys(&Key::Tab.to_string()).await.unwrap();
    let focused = client.active_element().await.unwrap();
    assert_eq!(focused.tag_name().await.unwrap(), "button", "the first stop is the button");
    focused.send_keys(&Key::Enter.to_string()).await.unwrap();
    client.wait().at_most(PATIENCE).for_element(Locator::Css("button[value=send_code]")).await.unwrap();

    daemon
        .fault(&json!({"fault": "status", "status": 503, "method": "POST", "path": "/views/recipient"}))
        .await;
    client.goto(&other).await.unwrap();
    client.find(Locator::Css("form button")).await.unwrap().click().await.unwrap();
    let title = Locator::XPath("//h1[contains(., 'not answering right now')]");
    client.wait().at_most(PATIENCE).for_element(title).await.unwrap();
    inspect(&client, "phone", "page-in-line", "en").await;
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
    // The page loads itself again, and the visitor is at DocuSign without another press.
    for _ in 0..80 {
        daemon.clock.advance(Duration::from_millis(250));
        if client.find(Locator::Css("button[value=send_code]")).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    client.find(Locator::Css("button[value=send_code]")).await.expect("led on by itself");
    client.close().await.unwrap();
}
