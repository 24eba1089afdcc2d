//! What an operator sees who gives consent from the status page.

use std::time::Duration;

use fantoccini::{Client, Locator, elements::Element};
use serde_json::json;

use super::{Browser, DESKTOP, PATIENCE, PHONE, find, inspect, inspect_words, new_window};
use crate::{consent::Served, emulated::Emulated, harness::TestDaemon};

const PASSWORD: &str = "correct horse battery staple";

/// An operator with a browser window.
struct Operator<'a> {
    client: Client,
    served: &'a Served,
    screen: &'static str,
}

impl Operator<'_> {
    async fn find(&self, css: &str) -> Element {
        find(&self.client, Locator::Css(css)).await
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
        let there = new_window(&self.client, std::slice::from_ref(&here)).await;
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
        let columns = "return getComputedStyle(document.querySelector('.card dl')).gridTemplateColumns.split(' ').length";
        let columns = self.client.execute(columns, vec![]).await.unwrap();
        assert_eq!(columns, if self.screen == "phone" { 1 } else { 2 }, "no word is broken on a phone");
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

#[tokio::test]
async fn l5_large_text_leaves_the_words_of_the_consent_page_whole() {
    let Some(browser) = Browser::start() else { return };
    let settings = format!("operator_password_hash = \"{}\"\n", crate::admin::hash_of(PASSWORD));
    let daemon = TestDaemon::builder().public().ops(&settings).start().await;
    let client = browser.open_as("large-operator", PHONE, "en", 32).await;
    client.goto(&format!("{}/admin/", daemon.ops)).await.unwrap();
    let field = find(&client, Locator::Css("#password")).await;
    field.send_keys(&format!("{PASSWORD}\u{E007}")).await.unwrap();
    find(&client, Locator::Css("#sender-unconsented")).await;
    client.goto(&format!("{}/admin/senders/unconsented/consent", daemon.ops)).await.unwrap();
    find(&client, Locator::Css("#tick-unconsented")).await;
    inspect_words(&client, "consent", 32).await;
    client.close().await.unwrap();
}

#[tokio::test]
async fn what_is_left_of_the_calls_is_whole_on_a_phone() {
    let Some(browser) = Browser::start() else { return };
    let settings = format!("operator_password_hash = \"{}\"\n", crate::admin::hash_of(PASSWORD));
    let daemon = TestDaemon::builder().public().ops(&settings).start().await;
    daemon.create("order-1", &crate::harness::order()).await;
    for (width, name) in [(320, "narrow-operator"), (390, "phone-operator")] {
        let client = browser.open(name, (width, 844)).await;
        client.goto(&format!("{}/admin/", daemon.ops)).await.unwrap();
        let field = find(&client, Locator::Css("#password")).await;
        field.send_keys(&format!("{PASSWORD}\u{E007}")).await.unwrap();
        find(&client, Locator::Css("table.stack td")).await;
        let cut_off = "return [...document.querySelectorAll('table.stack tbody *')].filter((part) =>
            part.getBoundingClientRect().right > document.querySelector('table.stack').parentElement.getBoundingClientRect().right).length";
        assert_eq!(client.execute(cut_off, vec![]).await.unwrap(), 0, "{width} px");
        client.close().await.unwrap();
    }
}

#[tokio::test]
async fn the_emulators_pages_of_consent_fit_the_narrowest_screen() {
    let Some(browser) = Browser::start() else { return };
    let emulated = Emulated::start().await;
    let client = browser.open("narrow", (320, 640)).await;
    let fits = async |place: &str| {
        find(&client, Locator::Css(place)).await;
        let beyond = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(client.execute(beyond, vec![]).await.unwrap(), 0, "{place} is wider than the screen");
    };
    // Who has consented is not asked again.
    emulated.control("POST", "consent", &json!({ "granted": false })).await;
    let (server, app) = (emulated.entry("oauth_url"), emulated.entry("integration_key"));
    let back = "http://127.0.0.1:1/consent/callback";
    let asked = format!("client_id={app}&redirect_uri={back}&scope=signature%20impersonation");
    let page = format!("{server}/oauth/auth?response_type=code&{asked}");
    client.goto(&page).await.unwrap();
    let user = format!("button[value='{}']", emulated.entry("user_id"));
    fits(&user).await;
    find(&client, Locator::Css(&user)).await.click().await.unwrap();
    fits("button[value=accept]").await;
    client.close().await.unwrap();
}
