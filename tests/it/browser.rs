//! The journey as a visitor makes it: Chromium goes through the demo, by its forms and links alone.
//!
//! Needs Debian's `chromium-driver`. Screenshots of every page are left in `target/browser`.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::demo::Demo;

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
        let directory = std::env::temp_dir().join(format!("countersign-browser-{}", std::process::id()));
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

    /// Keeps a picture, and checks what makes a page usable: it fits the screen, has one main heading
    /// and a language, and every field has a label.
    async fn look(&self, name: &str) {
        let picture = self.client.screenshot().await.unwrap();
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/browser");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(format!("{}-{name}.png", self.screen)), picture).unwrap();
        let found = self
            .client
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
        assert_eq!(found["language"], "en", "{name}: {found}");
        assert_eq!(found["unlabelled"], json!([]), "{name}");
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
        client.close().await.unwrap();
    }
    assert!(demo.stop().success());
}
