//! What visitors see, in Chromium: the journey through the demo by its forms and links, signing inside a
//! page, and every page of the public listener, on a desk and on a phone. And what an operator sees who gives
//! consent from the status page.
//!
//! Needs Debian's `chromium-driver`. Each page is looked at with the rules of axe-core where `tests/run` has
//! put them, and leaves a picture in `target/browser`.

mod operator;
mod pages;
mod visitor;

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use fantoccini::{Client, ClientBuilder, Locator, elements::Element, wd::WindowHandle};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::{left_out::leave_out, ports::free_port};

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
    fn start() -> Option<Self> {
        // One that it chooses for itself it needs on two addresses, and ends where the second is taken.
        let port = free_port();
        let driver =
            Command::new("chromedriver").arg(format!("--port={port}")).stdout(Stdio::piped()).spawn();
        let mut driver = match driver {
            Ok(driver) => driver,
            Err(error) => {
                leave_out(&format!("chromedriver cannot be started: {error}"));
                return None;
            }
        };
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let is_up = lines.map_while(Result::ok).any(|line| line.contains("was started successfully"));
        assert!(is_up, "chromedriver does not say that it was started");
        let name = format!("countersign-browser-{}", uuid::Uuid::new_v4().simple());
        let directory = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        Some(Self { driver, address: format!("http://127.0.0.1:{port}"), directory })
    }

    async fn open(&self, name: &str, size: (u32, u32)) -> Client {
        self.open_in(name, size, "en").await
    }

    /// For a visitor who reads this language.
    async fn open_in(&self, name: &str, size: (u32, u32), language: &str) -> Client {
        self.open_as(name, size, language, 16).await
    }

    /// For a visitor who reads this language in text of this size.
    async fn open_as(&self, name: &str, (width, height): (u32, u32), language: &str, text_px: u32) -> Client {
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
        let mut options = json!({ "args": arguments, "prefs": {
            "intl.accept_languages": language,
            "webkit.webprefs.default_font_size": text_px,
        } });
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

/// What a page has at this place, once it has it. A page that is just being left answers with all kinds of
/// errors, so none of them counts.
async fn find(client: &Client, place: Locator<'_>) -> Element {
    let found = async {
        loop {
            if let Ok(element) = client.find(place).await {
                return element;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if let Ok(element) = tokio::time::timeout(PATIENCE, found).await {
        return element;
    }
    let seen = client.execute("return [location.href, document.body.innerText]", vec![]).await;
    panic!("{place:?} is not there: {seen:?}")
}

/// The window that is none of these, once there is one.
async fn new_window(client: &Client, known: &[WindowHandle]) -> WindowHandle {
    let opened = async {
        loop {
            let windows = client.windows().await.unwrap();
            if let Some(new) = windows.into_iter().find(|window| !known.contains(window)) {
                return new;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, opened).await.expect("a second window")
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
    // Pages that wait load themselves again, because nothing else can without script (rule L5). One that does
    // so while it is looked at takes the rules with it, so they go in with the look, and may be taken again.
    let look = format!(
        "{axe};
         const done = arguments[arguments.length - 1];
         axe.run(document, {{ rules: {{ 'meta-refresh': {{ enabled: false }} }} }})
            .then(({{ violations }}) => done(violations.map(({{ id, help, nodes }}) => [id, help, nodes.map((node) => node.html)])));"
    );
    let mut violations = client.execute_async(&look, vec![]).await;
    for _ in 0..5 {
        if violations.is_err() {
            violations = client.execute_async(&look, vec![]).await;
        }
    }
    let violations = violations.unwrap();
    assert_eq!(violations, json!([]), "{screen} {name}");
}

/// Checks what large text must leave of a page: it fits the screen, and no word but a name is broken without a hyphen.
async fn inspect_words(client: &Client, name: &str, text_px: u32) {
    let look = "const broken = new Set();
        const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        while (walk.nextNode()) {
            const node = walk.currentNode;
            if (!node.parentElement.closest('header, main') || node.parentElement.closest('code, pre, dd, textarea, .name')) continue;
            const line = (at) => {
                const range = document.createRange();
                range.setStart(node, at);
                range.setEnd(node, at + 1);
                return [...range.getClientRects()].at(-1)?.top;
            };
            for (const word of node.data.matchAll(/[\\p{L}\\p{N}]+/gu)) {
                const lines = [...word[0]].map((_, at) => line(word.index + at));
                if (lines.some((top) => Math.abs(top - lines[0]) > 4)) broken.add(word[0]);
            }
        }
        return {
            overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
            text: getComputedStyle(document.documentElement).fontSize,
            broken: [...broken],
        }";
    let found = client.execute(look, vec![]).await.unwrap();
    assert_eq!(found, json!({ "overflow": 0, "text": format!("{text_px}px"), "broken": [] }), "{name}");
}

/// The script of axe-core; none if it was not installed, and nobody insists on it.
fn axe() -> Option<&'static str> {
    static SCRIPT: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let script = SCRIPT.get_or_init(|| {
        let path = "target/tools/node/node_modules/axe-core/axe.min.js";
        let script = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok();
        if script.is_none() {
            leave_out("the rules of axe-core are not there");
        }
        script
    });
    script.as_deref()
}
