//! The journey through the demo by its forms and links, and signing inside a page of the website.

use std::path::Path;

use fantoccini::{Client, Locator, elements::Element};
use serde_json::Value;

use super::{Browser, DESKTOP, PATIENCE, PHONE, find, inspect, inspect_words, new_window};
use crate::demo::Demo;

/// Nothing may scroll sideways in it (WCAG 2.2, 1.4.10).
const SMALLEST: (u32, u32) = (320, 640);

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

    async fn find(&self, css: &str) -> Element {
        find(&self.client, Locator::Css(css)).await
    }

    async fn press(&self, css: &str) {
        self.find(css).await.click().await.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    /// Presses a button that leads to another page, and waits until this one is gone: the next may look alike.
    async fn submit(&self, css: &str) {
        let button = self.find(css).await;
        button.clone().click().await.unwrap_or_else(|error| panic!("{css}: {error}"));
        let gone = async {
            while button.tag_name().await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.unwrap_or_else(|_| panic!("{css} leads nowhere"));
    }

    async fn text(&self, css: &str) -> String {
        self.find(css).await.text().await.unwrap_or_else(|error| panic!("{css}: {error}"))
    }

    async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Waits for an element with exactly this text: what was there before had another one.
    async fn sees(&self, element: &str, text: &str) {
        find(&self.client, Locator::XPath(&format!("//{element}[normalize-space()='{text}']"))).await;
    }

    /// Waits until the browser is on a page of the daemon's.
    async fn leaves_for_the_daemon(&self) {
        let public = self.demo.entry("public_url");
        let left = async {
            while !self.client.current_url().await.unwrap().as_str().starts_with(public) {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, left).await.expect("the link leads to the daemon");
    }

    async fn look(&self, name: &str) {
        inspect(&self.client, self.screen, name, "en").await;
    }

    /// Looks at all of a page with text of twice the size (WCAG 2.2, 1.4.4).
    async fn look_at_large_text(&self, name: &str, language: &str) {
        let enlarge = "document.documentElement.style.fontSize = '200%';
                       document.querySelectorAll('details').forEach((one) => { one.open = true })";
        self.client.execute(enlarge, vec![]).await.unwrap();
        inspect(&self.client, self.screen, &format!("{name}-{language}"), language).await;
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
        self.find("#sms_code").await;
        self.look("3-phone").await;
        let code = self.read_code().await;
        self.fill("#sms_code", &code).await;
        self.press("button[value=check_code]").await;
        self.find("button[value=sign]").await;
        self.look("5-document").await;
        self.press("button[value=sign]").await;
    }

    /// Signs inside a page of the website, and never leaves it.
    async fn sign_here(&self) {
        self.goto("/").await;
        self.press("input[name=place][value=here]").await;
        self.press("form button").await;
        self.find("countersign-link:defined").await;
        self.look("10-here").await;
        let page = self.client.current_url().await.unwrap();
        // The driver does not press buttons in a shadow tree.
        let press = "document.querySelector('countersign-link').shadowRoot.querySelector('button').click()";
        self.client.execute(press, vec![]).await.unwrap();
        self.in_frame().await;
        self.press("button[value=send_code]").await;
        self.find("#sms_code").await;
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
        self.sees("*[@id='fact-said']", "Signed by everyone").await;
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

    /// Signs in a tab of its own. The page it was opened from stays, and follows the facts; it goes on with
    /// that after the component was moved to another place in it.
    async fn sign_in_a_tab(&self) {
        self.goto("/").await;
        self.press("input[name=place][value=here]").await;
        self.press("form button").await;
        self.find("countersign-link:defined").await;
        self.opens_nothing_twice().await;
        let here = self.client.window().await.unwrap();
        let before = self.client.windows().await.unwrap();
        let press = "const link = document.querySelector('countersign-link');
                     link.setAttribute('mode', 'tab');
                     link.shadowRoot.querySelector('button').click();";
        self.client.execute(press, vec![]).await.unwrap();
        let tab = new_window(&self.client, &before).await;
        let is_open =
            "return document.querySelector('countersign-link').shadowRoot.querySelector('dialog').open";
        assert_eq!(self.client.execute(is_open, vec![]).await.unwrap(), false, "and no frame");
        // It looks at the facts, and is moved after that.
        find(&self.client, Locator::XPath("//*[@id='log'][contains(., 'countersign-fact')]")).await;
        let moved = "document.querySelector('main').append(document.querySelector('countersign-link'))";
        self.client.execute(moved, vec![]).await.unwrap();

        self.client.switch_to_window(tab).await.unwrap();
        self.leaves_for_the_daemon().await;
        self.press("form button").await;
        self.pass_the_check().await;
        self.press("button[value=sign]").await;
        assert_eq!(self.text(".badge.good").await, "Completed");
        self.client.close_window().await.unwrap();

        self.client.switch_to_window(here).await.unwrap();
        self.sees("*[@id='fact-said']", "Signed by everyone").await;
        assert_eq!(self.text("#claim-said").await, "signing_complete");
    }

    /// A component without a link says so and opens nothing; one that is moved while its frame is open closes it, and its
    /// button opens it anew. A frame that is closed keeps nothing.
    async fn opens_nothing_twice(&self) {
        let bare = "const said = [];
                    const { error } = console;
                    console.error = (text) => said.push(text);
                    const bare = document.createElement('countersign-link');
                    document.body.append(bare);
                    bare.open();
                    console.error = error;
                    const { open } = bare.shadowRoot.querySelector('dialog');
                    bare.remove();
                    return [said, open]";
        let told = self.client.execute(bare, vec![]).await.unwrap();
        assert_eq!(told, serde_json::json!([["countersign-link: no web address in href"], false]));
        // Without a ticket it asks for no view, which would keep the tab waiting.
        let moved = "const link = document.querySelector('countersign-link');
                     const dialog = link.shadowRoot.querySelector('dialog');
                     const { ticket } = link;
                     link.ticket = '';
                     link.setAttribute('mode', 'frame');
                     link.open();
                     const before = dialog.open;
                     link.parentNode.append(link);
                     const after = dialog.open;
                     link.open();
                     const again = dialog.matches(':modal');
                     const frame = dialog.querySelector('iframe');
                     const holds = () => new Promise((tell) => dialog.addEventListener('close',
                       () => tell(frame.src === link.getAttribute('href')), { once: true }));
                     const holding = await holds();
                     dialog.close();
                     const held = await holds();
                     link.ticket = ticket;
                     return [before, after, again, holding, held]";
        let seen = self.client.execute(moved, vec![]).await.unwrap();
        let expected = serde_json::json!([true, false, true, true, false]);
        assert_eq!(
            seen, expected,
            "a dialog that was moved is not modal, and a frame that was closed is empty"
        );
    }

    /// Has a code sent, reads it and types it.
    async fn pass_the_check(&self) {
        self.press("button[value=send_code]").await;
        self.find("#sms_code").await;
        let code = self.read_code().await;
        self.fill("#sms_code", &code).await;
        self.press("button[value=check_code]").await;
    }

    /// Looks before ordering: nothing wrong is found, and nothing is ordered.
    async fn check_first(&self) {
        self.goto("/").await;
        self.press(".choices summary").await;
        self.press("#locale option[value=de]").await;
        self.fill("#access_code", "sesame").await;
        self.press("#known").await;
        self.look("13-choices").await;
        self.submit("button[value=check]").await;
        assert!(self.text(".notice.good").await.contains("It would be accepted"));
        self.look("14-checked").await;
        // What was typed is still there, and so is the button that orders.
        self.press("form button").await;
        self.find("button[value=access_code]").await;
        assert!(self.text("label[for=access_code]").await.contains("Zugangscode"), "in German");
        self.goto("/orders").await;
    }

    /// A letter for two: the visitor signs, then the partner, whose link comes when it is his turn.
    async fn sign_as_two(&self) {
        self.goto("/").await;
        self.press("input[name=paper][value=pair]").await;
        self.press("form button").await;
        self.pass_the_check().await;
        self.press("button[value=sign]").await;
        let partner = format!("a.button[href^='{}/s/']", self.demo.entry("public_url"));
        assert_eq!(self.text(&partner).await, "Sign as Charles Babbage");
        assert_eq!(self.text(".badge.wait").await, "Signed in part", "one of two");
        assert!(self.text("section[aria-labelledby=told]").await.contains("signer.ready"));
        self.look("15-partner").await;
        self.submit(&partner).await;
        self.submit("form button").await;
        self.press("button[value=sign]").await;
        assert_eq!(self.text(".badge.good").await, "Completed");
        assert!(self.text("section[aria-labelledby=told]").await.contains("signing.completed"));
        self.look("16-both").await;
    }

    /// Presses one of the folded buttons of an order.
    async fn act(&self, path: &str) {
        self.press(&format!("details:has(form[action$='/{path}']) summary")).await;
        self.submit(&format!("form[action$='/{path}'] button")).await;
    }

    /// Revokes the link, types wrong codes until nobody is let in, changes the number, calls the order off and
    /// has it destroyed.
    async fn use_every_button(&self) {
        self.goto("/").await;
        self.press("form button").await;
        self.press("button[value=finish_later]").await;
        let back = format!("a[href^='{}/orders/']", self.demo.entry("site_url"));
        self.press(&back).await;
        self.sees("h1", "Your document waits for you").await;
        let order = self.client.current_url().await.unwrap();
        let unfold = "document.querySelectorAll('details').forEach((one) => { one.open = true })";
        self.client.execute(unfold, vec![]).await.unwrap();
        self.look("17-buttons").await;
        self.client.refresh().await.unwrap();
        self.act("revoke").await;
        self.sees("summary", "Get a new link").await;

        self.submit("form[action$='/sign'] button").await;
        self.press("button[value=send_code]").await;
        for _ in 0..3 {
            self.fill("#sms_code", "wrong").await;
            self.submit("button[value=check_code]").await;
        }
        self.client.goto(order.as_str()).await.unwrap();
        self.sees("h1", "We could not tell that it is you").await;
        self.fill("#phone", "12").await;
        self.submit("form[action$='/phone'] button").await;
        assert!(self.text("#phone-error").await.contains("Mobile phone"));
        self.look("18-locked").await;
        self.fill("#phone", "+49 1511 7654321").await;
        self.submit("form[action$='/phone'] button").await;
        self.find("form[action$='/sign'] button").await;

        self.act("void").await;
        assert_eq!(self.text(".badge.bad").await, "Called off");
        self.act("purge").await;
        self.sees("dt", "To be destroyed").await;
        self.look("19-called-off").await;
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
        self.find(&back).await;
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

#[tokio::test]
async fn a_visitor_finds_everything_else_that_the_website_can_do() {
    let Some(browser) = Browser::start() else { return };
    let demo = Demo::start("browser-more").await;
    for (screen, size) in [("desktop", DESKTOP), ("phone", PHONE)] {
        let client = browser.open(screen, size).await;
        let visitor = Visitor { client: client.clone(), demo: &demo, screen };
        visitor.check_first().await;
        visitor.sign_as_two().await;
        visitor.use_every_button().await;
        client.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_component_in_tab_mode_opens_a_tab_and_reports_on_also_when_it_was_moved() {
    let Some(browser) = Browser::start() else { return };
    let demo = Demo::start("browser-tab").await;
    let client = browser.open("tab", DESKTOP).await;
    Visitor { client: client.clone(), demo: &demo, screen: "tab" }.sign_in_a_tab().await;
    client.close().await.unwrap();
}

#[tokio::test]
async fn orders_and_long_names_of_events_fit_the_smallest_window() {
    let Some(browser) = Browser::start() else { return };
    let demo = Demo::start("browser-smallest").await;
    let client = browser.open("smallest", SMALLEST).await;
    let visitor = Visitor { client: client.clone(), demo: &demo, screen: "smallest" };
    visitor.goto("/").await;
    visitor.press("form button").await;
    visitor.press("button[value=send_code]").await;
    for _ in 0..3 {
        visitor.fill("#sms_code", "wrong").await;
        visitor.submit("button[value=check_code]").await;
    }
    visitor.goto("/orders").await;
    visitor.look("20-orders").await;
    visitor.press(".orders a").await;
    let told = async {
        while !visitor.text("section[aria-labelledby=told]").await.contains("signer.authentication_failed") {
            client.refresh().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("the webhook comes");
    visitor.look("21-events").await;
    client.close().await.unwrap();
}

#[tokio::test]
async fn the_outbox_fits_the_smallest_window_with_text_of_twice_the_size() {
    let Some(browser) = Browser::start() else { return };
    let demo = Demo::start("browser-outbox").await;
    let client = browser.open_as("outbox", SMALLEST, "en", 32).await;
    let visitor = Visitor { client: client.clone(), demo: &demo, screen: "outbox" };
    visitor.goto("/").await;
    visitor.press("form button").await;
    visitor.press("button[value=send_code]").await;
    visitor.find("#sms_code").await;
    visitor.goto("/outbox").await;
    visitor.find(".bubble .code").await;
    inspect_words(&client, "/outbox", 32).await;
    client.close().await.unwrap();
}

#[tokio::test]
async fn the_ceremony_fits_a_phone_with_text_of_twice_the_size() {
    let Some(browser) = Browser::start() else { return };
    let demo = Demo::start("browser-large-text").await;
    for language in ["en", "de"] {
        let client = browser.open(&format!("large-text-{language}"), PHONE).await;
        let visitor = Visitor { client: client.clone(), demo: &demo, screen: "large-text" };
        for page in ["/orders", "/"] {
            visitor.goto(page).await;
            client.execute("document.documentElement.style.fontSize = '200%'", vec![]).await.unwrap();
            inspect_words(&client, page, 32).await;
        }
        visitor.goto("/").await;
        visitor.press(".choices summary").await;
        visitor.press(&format!("#locale option[value={language}]")).await;
        visitor.press("form button").await;
        visitor.find("button[value=send_code]").await;
        visitor.look_at_large_text("22-phone", language).await;
        visitor.pass_the_check().await;
        visitor.find("button[value=sign]").await;
        visitor.look_at_large_text("23-document", language).await;
        client.close().await.unwrap();
    }
}
