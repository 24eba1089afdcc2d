//! What visitors see, in Chromium: the journey through the demo by its forms and links, signing inside a
//! page, and every page of the public listener, on a desk and on a phone. And what an operator sees who gives
//! consent from the status page.
//!
//! Needs Debian's `chromium-driver`. Each page is looked at with the rules of axe-core where `tests/run` has
//! put them, and leaves a picture in `target/browser`.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use fantoccini::{Client, ClientBuilder, Locator, elements::Element, key::Key};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use http::{Method, StatusCode};

use crate::{
    consent::Served,
    demo::Demo,
    emulated::Emulated,
    harness::{Reply, TestDaemon, order},
};

const PATIENCE: Duration = Duration::from_secs(20);
const DESKTOP: (u32, u32) = (1280, 900);
const PHONE: (u32, u32) = (390, 844);

/// Chromium under a driver, with a profile of its own; both end with this.
struct Browser {
    driver: Child,
    address: String,
    directory: PathBuf,
}

impl Browser {
    /// None if there is no driver, and nobody insists on one.
    #[expect(clippy::disallowed_methods, reason = "CI must not pass by skipping")]
    fn start() -> Option<Self> {
        let driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn();
        let mut driver = match driver {
            Ok(driver) => driver,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "chromedriver cannot be started: {error}");
                eprintln!("skipped: chromedriver cannot be started ({error}); install chromium-driver");
                return None;
            }
        };
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, port) = line.split_once("was started successfully on port ")?;
                port.trim_end_matches('.').parse::<u16>().ok()
            })
            .expect("chromedriver says on which port it listens");
        let name = format!("countersign-browser-{}", uuid::Uuid::new_v4().simple());
        let directory = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        Some(Self { driver, address: format!("http://127.0.0.1:{port}"), directory })
    }

    async fn open(&self, name: &str, (width, height): (u32, u32)) -> Client {
        let profile = self.directory.join(name);
        let mut arguments: Vec<String> = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
        ]
        .map(str::to_owned)
        .into();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        arguments.push(format!("--window-size={width},{height}"));
        let mut options = json!({ "args": arguments });
        if width < 500 {
            // Windows of Chromium do not get this narrow; an emulated device does.
            options["mobileEmulation"] = json!({ "deviceMetrics": { "width": width, "height": height, "pixelRatio": 2, "touch": true } });
        }
        let capabilities = json!({ "browserName": "chrome", "goog:chromeOptions": options });
        let Value::Object(capabilities) = capabilities else { unreachable!("a literal") };
        ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&self.address)
            .await
            .expect("a session with Chromium")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Keeps a picture, and checks what makes a page usable: it fits the screen, has one main heading and a
/// language, every field has a label, and axe-core finds nothing wrong.
async fn inspect(client: &Client, screen: &str, name: &str, language: &str) {
    let picture = client.screenshot().await.unwrap();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/browser");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(format!("{screen}-{name}.png")), picture).unwrap();
    let found = client
        .execute(
            "return {
                overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
                headings: document.querySelectorAll('h1').length,
                language: document.documentElement.lang,
                unlabelled: [...document.querySelectorAll('input:not([type=hidden]), textarea, select')]
                    .filter((field) => field.labels.length === 0).map((field) => field.outerHTML),
            }",
            vec![],
        )
        .await
        .unwrap();
    assert!(found["overflow"].as_i64().unwrap() <= 0, "{name} is wider than the screen: {found}");
    assert_eq!(found["headings"], 1, "{name}: {found}");
    assert_eq!(found["language"], language, "{name}: {found}");
    assert_eq!(found["unlabelled"], json!([]), "{name}");
    let Some(axe) = axe() else { return };
    client.execute(axe, vec![]).await.unwrap();
    // Pages that wait load themselves again, because nothing else can without script (rule L5).
    let violations = client
        .execute_async(
            "const done = arguments[arguments.length - 1];
             axe.run(document, { rules: { 'meta-refresh': { enabled: false } } })
                .then(({ violations }) => done(violations.map(({ id, help, nodes }) => [id, help, nodes.map((node) => node.html)])));",
            vec![],
        )
        .await
        .unwrap();
    assert_eq!(violations, json!([]), "{screen} {name}");
}

/// The script of axe-core; none if it was not installed, and nobody insists on it.
#[expect(clippy::disallowed_methods, reason = "CI must not pass by skipping")]
fn axe() -> Option<&'static str> {
    static SCRIPT: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let script = SCRIPT.get_or_init(|| {
        let path = "target/tools/node/node_modules/axe-core/axe.min.js";
        let script = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok();
        assert!(script.is_some() || std::env::var_os("CI").is_none(), "{path} is not there");
        if script.is_none() {
            eprintln!("skipped: the rules of axe-core are not there; tests/run installs them");
        }
        script
    });
    script.as_deref()
}

/// One visitor with a browser window.
struct Visitor<'a> {
    client: Client,
    demo: &'a Demo,
    screen: &'static str,
}

impl Visitor<'_> {
    async fn goto(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.demo.entry("site_url"))).await.unwrap();
    }

    async fn press(&self, css: &str) {
        let button = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await.unwrap();
        button.click().await.unwrap();
    }

    async fn text(&self, css: &str) -> String {
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await;
        found.unwrap_or_else(|error| panic!("{css}: {error}")).text().await.unwrap()
    }

    async fn fill(&self, css: &str, text: &str) {
        let field = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    async fn look(&self, name: &str) {
        inspect(&self.client, self.screen, name, "en").await;
    }

    /// Opens the outbox in a second tab, as the page suggests, and reads the newest code.
    async fn read_code(&self) -> String {
        let ceremony = self.client.window().await.unwrap();
        let tab = self.client.new_window(true).await.unwrap();
        self.client.switch_to_window(tab.handle).await.unwrap();
        self.goto("/outbox").await;
        let code = self.text(".bubble .code").await;
        self.look("4-outbox").await;
        self.client.close_window().await.unwrap();
        self.client.switch_to_window(ceremony).await.unwrap();
        code
    }

    async fn sign(&self) {
        self.goto("/").await;
        self.look("1-home").await;
        self.fill("#phone", "12").await;
        self.press("form button").await;
        assert!(self.text("#phone-error").await.contains("Mobile phone"));
        self.look("2-refused").await;
        self.fill("#name", "Grace Hopper").await;
        self.fill("#email", "grace@example.com").await;
        self.fill("#phone", "+49 1511 7654321").await;
        self.press("form button").await;

        self.press("button[value=send_code]").await;
        self.client.wait().at_most(PATIENCE).for_element(Locator::Css("#sms_code")).await.unwrap();
        self.look("3-phone").await;
        let code = self.read_code().await;
        self.fill("#sms_code", &code).await;
        self.press("button[value=check_code]").await;
        self.client.wait().at_most(PATIENCE).for_element(Locator::Css("button[value=sign]")).await.unwrap();
        self.look("5-document").await;
        self.press("button[value=sign]").await;
    }

    /// Signs inside a page of the website, and never leaves it.
    async fn sign_here(&self) {
        self.goto("/").await;
        self.press("input[name=place][value=here]").await;
        self.press("form button").await;
        let defined = Locator::Css("countersign-link:defined");
        self.client.wait().at_most(PATIENCE).for_element(defined).await.unwrap();
        self.look("10-here").await;
        let page = self.client.current_url().await.unwrap();
        // The driver does not press buttons in a shadow tree.
        let press = "document.querySelector('countersign-link').shadowRoot.querySelector('button').click()";
        self.client.execute(press, vec![]).await.unwrap();
        self.in_frame().await;
        self.press("button[value=send_code]").await;
        self.client.wait().at_most(PATIENCE).for_element(Locator::Css("#sms_code")).await.unwrap();
        self.client.clone().enter_parent_frame().await.unwrap();
        let picture = self.client.screenshot().await.unwrap();
        std::fs::write(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(format!("target/browser/{}-11-frame.png", self.screen)),
            picture,
        )
        .unwrap();
        let code = self.read_code().await;
        self.in_frame().await;
        self.fill("#sms_code", &code).await;
        self.press("button[value=check_code]").await;
        self.press("button[value=sign]").await;
        self.client.clone().enter_parent_frame().await.unwrap();
        let wanted = Locator::XPath("//*[@id='fact-said'][text()='Signed by everyone']");
        self.client.wait().at_most(PATIENCE).for_element(wanted).await.unwrap();
        assert_eq!(self.client.current_url().await.unwrap(), page, "never left");
        assert_eq!(self.text("#claim-said").await, "signing_complete");
        let log = self.text("#log").await;
        for event in ["countersign-fact: completed", "countersign-return"] {
            assert!(log.contains(event), "{event} in {log}");
        }
        self.client
            .wait()
            .at_most(PATIENCE)
            .for_element(Locator::Css("countersign-link[status=completed]"))
            .await
            .unwrap();
        let is_open =
            "return document.querySelector('countersign-link').shadowRoot.querySelector('dialog').open";
        assert_eq!(self.client.execute(is_open, vec![]).await.unwrap(), false, "the frame is closed");
        self.look("12-signed-here").await;
    }

    /// A part of the component.
    async fn shadow(&self, css: &str) -> Element {
        let script =
            format!("return document.querySelector('countersign-link').shadowRoot.querySelector('{css}')");
        let found = self.client.execute(&script, vec![]).await.unwrap();
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        let id = id.unwrap_or_else(|| panic!("{css}: {found}")).to_owned();
        Element::from_element_id(self.client.clone(), id.into())
    }

    async fn in_frame(&self) {
        self.shadow("iframe").await.enter_frame().await.unwrap();
    }

    /// Back on the website: the claim and the fact agree, and the document is there.
    async fn truth(&self) {
        assert_eq!(self.text(".badge.good").await, "Completed");
        assert!(self.text("section.claim").await.contains("I have signed"));
        assert!(self.text("section.claim").await.contains("genuine"));
        assert!(self.text("section.fact").await.contains("Signed by everyone"));
        self.look("6-truth").await;
        let link = self.client.find(Locator::Css("a[href$='signed.pdf']")).await.unwrap();
        assert!(link.is_displayed().await.unwrap());
        self.goto("/orders").await;
        assert!(self.text(".orders").await.contains("Completed"));
        self.look("7-orders").await;
    }

    /// Whoever stops in the middle meets the daemon's own page, and can go on there or from the website.
    async fn finish_later_and_go_on(&self) {
        self.goto("/").await;
        self.press("form button").await;
        self.press("button[value=finish_later]").await;
        let back = format!("a[href^='{}/orders/']", self.demo.entry("site_url"));
        self.client.wait().at_most(PATIENCE).for_element(Locator::Css(&back)).await.unwrap();
        let here = self.client.current_url().await.unwrap();
        assert!(here.as_str().starts_with(self.demo.entry("public_url")), "a page of the daemon");
        self.look("8-later").await;
        self.press(&back).await;
        assert_eq!(self.text(".badge.wait").await, "Not signed yet");
        assert!(self.text("section.claim").await.contains("I will finish later"));
        self.look("9-unsigned").await;
        self.press("form button").await;
        let again = self.client.wait().at_most(PATIENCE);
        again.for_element(Locator::Css("button[value=send_code]")).await.unwrap();
    }
}

#[tokio::test]
async fn a_visitor_signs_in_a_real_browser_on_a_desk_and_on_a_phone() {
    let Some(browser) = Browser::start() else { return };
    let demo = Demo::start("browser").await;
    for (screen, size) in [("desktop", DESKTOP), ("phone", PHONE)] {
        let client = browser.open(screen, size).await;
        let visitor = Visitor { client: client.clone(), demo: &demo, screen };
        visitor.sign().await;
        visitor.truth().await;
        visitor.finish_later_and_go_on().await;
        if size == DESKTOP {
            visitor.sign_here().await;
        }
        client.close().await.unwrap();
    }
    assert!(demo.stop().success());
}

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
    by_keyboard(&browser, &daemon, &stage).await;
    daemon.control(Method::DELETE, "faults", &Value::Null).await;
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
    for _ in 0..40 {
        daemon.clock.advance(Duration::from_secs(1));
        if client.find(Locator::Css("button[value=send_code]")).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    client.find(Locator::Css("button[value=send_code]")).await.expect("led on by itself");
    client.close().await.unwrap();
}

const PASSWORD: &str = "correct horse battery staple";

/// An operator with a browser window.
struct Operator<'a> {
    client: Client,
    served: &'a Served,
    screen: &'static str,
}

impl Operator<'_> {
    async fn find(&self, css: &str) -> fantoccini::elements::Element {
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await;
        found.unwrap_or_else(|error| panic!("{css}: {error}"))
    }

    async fn press(&self, css: &str) {
        self.find(css).await.click().await.unwrap();
    }

    async fn look(&self, name: &str) {
        inspect(&self.client, self.screen, name, "en").await;
    }

    async fn log_in(&self) {
        self.client.goto(&format!("{}/admin/", self.served.entry("ops_url"))).await.unwrap();
        self.look("10-login").await;
        // By keyboard alone: the field has the focus, Enter sends.
        self.client.active_element().await.unwrap().send_keys("wrong guess\u{E007}").await.unwrap();
        self.find("#error").await;
        self.look("11-wrong").await;
        let field = self.find("#password").await;
        field.send_keys(&format!("{PASSWORD}\u{E007}")).await.unwrap();
        self.find("#sender-system").await;
    }

    /// Opens the consent page in a second tab, accepts as the sender's user, and sees the tick come by itself.
    async fn consent(&self, user: &str) {
        assert!(self.find("#sender-system").await.text().await.unwrap().contains("missing"));
        self.look("12-status-missing").await;
        self.press("#consent-system").await;
        self.find("#tick-system .tick.warn").await;
        self.look("13-consent").await;
        self.client.execute("window.wasNotReloaded = true", vec![]).await.unwrap();
        let here = self.client.window().await.unwrap();
        self.press("#open").await;
        let there = async {
            loop {
                let windows = self.client.windows().await.unwrap();
                if let Some(there) = windows.into_iter().find(|window| *window != here) {
                    return there;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let there = tokio::time::timeout(PATIENCE, there).await.expect("a second tab");
        self.client.switch_to_window(there).await.unwrap();
        self.press(&format!("button[value='{user}']")).await;
        self.press("button[value=accept]").await;
        self.find(".card.good").await;
        self.look("14-granted").await;
        self.client.close_window().await.unwrap();
        self.client.switch_to_window(here).await.unwrap();
        self.find("#tick-system .tick.good").await;
        let kept = self.client.execute("return window.wasNotReloaded === true", vec![]).await.unwrap();
        assert_eq!(kept, true, "the tick appeared without reloading");
        self.look("15-tick").await;
    }

    async fn check_and_leave(&self) {
        self.client.goto(&format!("{}/admin/", self.served.entry("ops_url"))).await.unwrap();
        self.press("#check-system").await;
        self.find(".tick.good[role=status]").await;
        self.find("#sender-system .pill.good").await;
        self.press("#keys-system summary").await;
        self.look("16-status-ready").await;
        self.press("header form button").await;
        self.find("#password").await;
    }
}

#[tokio::test]
async fn an_operator_gives_consent_in_a_real_browser_and_the_tick_appears() {
    let Some(browser) = Browser::start() else { return };
    let emulated = Emulated::start().await;
    let hash = crate::admin::hash_of(PASSWORD);
    let settings = [("COUNTERSIGN__OPS__OPERATOR_PASSWORD_HASH", hash.as_str())];
    emulated.control("POST", "consent", &json!({ "granted": false })).await;
    let served = Served::start_with(&emulated, &settings).await;
    for (screen, size) in [("desktop", DESKTOP), ("phone", PHONE)] {
        emulated.control("POST", "consent", &json!({ "granted": false })).await;
        // The daemon learns of it by a check, which costs no mint while the last one is fresh.
        let noticed = async {
            while served.check().await["ok"] == true {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(PATIENCE, noticed).await.expect("the withdrawal is noticed");
        let client = browser.open(screen, size).await;
        let operator = Operator { client: client.clone(), served: &served, screen };
        operator.log_in().await;
        operator.consent(emulated.entry("user_id")).await;
        operator.check_and_leave().await;
        client.close().await.unwrap();
    }
}
