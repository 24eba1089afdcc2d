//! The journey through the demo by its forms and links, and signing inside a page of the website.

use std::path::Path;

use fantoccini::{Client, Locator, elements::Element};
use serde_json::Value;

use super::{Browser, DESKTOP, PATIENCE, PHONE, inspect};
use crate::demo::Demo;

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
