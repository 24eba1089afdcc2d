//! A customer connects an account: through the real pages of daemon and emulator, and everything that must be
//! refused on the way.

use std::time::Duration;

use countersign::{
    auth::Kind,
    clock::{Clock as _, later},
    domain::{Private, SenderName},
    pairing::{RENEW_EVERY, Renewal},
};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    harness::{CALLER_KEY, Reply, TestDaemon, key_hash},
    made_senders::{VENDOR_KEY, call_as},
    postgres,
    uncertain::Log,
};

const USER: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210001";
const NORA: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210002";
const ELIAS: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210003";
const RAFAEL: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210006";
const SECOND_ACCOUNT: &str = "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e002";
const OTHER_ACCOUNT: &str = "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e003";

/// In seconds: nearly what counts as a lease at all.
const LONG_LEASE_S: u64 = 115;

/// A customer's browser: its cookies for the daemon, oldest first, by name and value.
#[derive(Clone, Default)]
struct Browser {
    cookies: Vec<(String, String)>,
}

impl Browser {
    /// Does with cookies as an answer says. One that is set anew keeps its place (RFC 6265, section 5.3).
    fn take(&mut self, answer: &Reply) {
        for line in answer.headers.get_all("set-cookie") {
            let line = line.to_str().unwrap();
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            let known = self.cookies.iter().position(|(known, _)| known == name);
            match (known, line.contains("; Max-Age=0;")) {
                (Some(at), true) => drop(self.cookies.remove(at)),
                (Some(at), false) => value.clone_into(&mut self.cookies[at].1),
                (None, true) => {}
                (None, false) => self.cookies.push((name.to_owned(), value.to_owned())),
            }
        }
    }

    fn header(&self) -> String {
        let pairs: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }
}

struct World {
    daemon: TestDaemon,
}

impl World {
    async fn new(form: &str) -> Self {
        Self { daemon: start(form, "client_secret = \"emulator-secret-1\"").await }
    }

    fn public(&self) -> &str {
        self.daemon.public.as_deref().unwrap()
    }

    async fn link(&self) -> String {
        self.link_of("customer").await
    }

    async fn link_of(&self, sender: &str) -> String {
        let shown = self.daemon.get(&format!("/v1/senders/{sender}/connect")).await;
        assert_eq!(shown.status, StatusCode::OK, "{}", shown.text);
        shown.body["url"].as_str().unwrap().to_owned()
    }

    async fn state(&self) -> Value {
        self.daemon.get("/v1/senders/customer/connect").await.body
    }

    async fn send(&self, browser: &Browser, method: Method, url: &str, form: &[(&str, &str)]) -> Reply {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let cookies = browser.header();
        let mut headers = vec![("content-type", "application/x-www-form-urlencoded")];
        if !cookies.is_empty() {
            headers.push(("cookie", cookies.as_str()));
        }
        self.daemon.call(method, url, None, &headers, body.into_bytes()).await
    }

    /// Presses the button: where the browser is sent, with its cookie set.
    async fn begin(&self, browser: &mut Browser, link: &str) -> String {
        let page = self.send(browser, Method::GET, link, &[]).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        assert!(!page.headers.contains_key("set-cookie"), "a GET changes nothing");
        let on = self.send(browser, Method::POST, link, &[]).await;
        assert_eq!(on.status, StatusCode::SEE_OTHER, "{}", on.text);
        let cookie = on.headers["set-cookie"].to_str().unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
        browser.take(&on);
        on.headers["location"].to_str().unwrap().to_owned()
    }

    /// Signs in at the emulator as `user` and accepts: the address that the browser comes back to.
    async fn accept(&self, page: &str, user: &str) -> String {
        self.answer(page, user, "accept").await
    }

    async fn answer(&self, page: &str, user: &str, action: &str) -> String {
        let url = url::Url::parse(page).unwrap();
        let mut form: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let at = format!("{}/oauth/auth", self.daemon.emulator.ready().oauth_url);
        let post = async |form: &[(String, String)], cookie: Option<&str>| {
            let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
            let mut headers = vec![("content-type", "application/x-www-form-urlencoded")];
            headers.extend(cookie.map(|cookie| ("cookie", cookie)));
            self.daemon.call(Method::POST, &at, None, &headers, body.into_bytes()).await
        };
        form.push(("user".to_owned(), user.to_owned()));
        let signed_in = post(&form, None).await;
        if let Some(to) = signed_in.headers.get("location").filter(|_| action == "accept") {
            return to.to_str().unwrap().to_owned();
        }
        let cookie = signed_in.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        form.pop();
        form.push(("action".to_owned(), action.to_owned()));
        let answered = post(&form, Some(&cookie)).await;
        answered.headers["location"].to_str().unwrap().to_owned()
    }

    /// The way of a user with several accounts, as far as the choice: the answer that leads there.
    async fn at_choice(&self, browser: &mut Browser) -> Reply {
        let link = self.link().await;
        let page = self.begin(browser, &link).await;
        let back = self.accept(&page, USER).await;
        let choice = self.send(browser, Method::GET, &back, &[]).await;
        assert_eq!(choice.status, StatusCode::SEE_OTHER, "{}", choice.text);
        choice
    }

    /// The whole way for a user with one account.
    async fn connect(&self, user: &str) -> (Browser, Reply) {
        let mut browser = Browser::default();
        let link = self.link().await;
        let page = self.begin(&mut browser, &link).await;
        let back = self.accept(&page, user).await;
        let reply = self.send(&browser, Method::GET, &back, &[]).await;
        (browser, reply)
    }

    async fn can_act(&self) -> bool {
        self.daemon.get("/v1/senders/customer/esign/templates").await.status == StatusCode::OK
    }

    /// What is kept sealed of the connection.
    async fn kept(&self) -> Value {
        let row = self.daemon.parts().store.sender_records().await.unwrap().remove(0);
        serde_json::from_str(row.sealed.unwrap().reveal()).unwrap()
    }

    fn renewal(&self) -> Renewal {
        self.daemon.parts().pairings.renewal(&SenderName::new("customer")).unwrap()
    }

    /// Has a renewal under way that DocuSign leaves unanswered. Its lease lasts for as long as one can, so that nothing
    /// depends on how fast this machine is.
    async fn begin_renewal(&self) {
        let stall = json!({"fault": "stall", "method": "POST", "path": "/oauth/token", "count": 1});
        self.daemon.fault(&stall).await;
        self.daemon.forget_requests().await;
        let renewal = self.renewal();
        tokio::spawn(async move { renewal.renew().await });
        let is_asked = async || self.daemon.requests().await.contains(&"POST /oauth/token".to_owned());
        self.daemon.until("the exchange", is_asked).await;
        let store = &self.daemon.parts().store;
        let mut row = store.sender_records().await.unwrap().remove(0);
        let mut kept = self.kept().await;
        assert!(kept["leased_until"].is_string(), "it has a lease");
        let until = later(self.daemon.clock.now(), Duration::from_secs(LONG_LEASE_S));
        kept["leased_until"] = json!(until);
        row.sealed = Some(Private::new(kept.to_string()));
        store.put_sender_record(row).await.unwrap();
    }

    /// What a call that needs the token is told when the renewal that has it does not end.
    async fn told_to_wait(&self) -> Reply {
        let told = tokio::select! {
            told = self.daemon.get("/v1/senders/customer/esign/templates") => told,
            () = self.daemon.run_clock_slowly("never", async || false) => unreachable!(),
        };
        assert_eq!(told.status, StatusCode::SERVICE_UNAVAILABLE, "{}", told.text);
        assert_eq!(told.body["retry_at"], self.kept().await["leased_until"], "{}", told.text);
        let wait: u64 = told.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=LONG_LEASE_S - 10).contains(&wait), "{wait}: it was looked at for 10 s");
        assert_eq!(
            (&told.body["retryable"], &told.body["provider"]["http_status"]),
            (&json!(true), &Value::Null)
        );
        assert!(!told.text.contains("account server") && !told.text.contains("HTTP 0"), "{}", told.text);
        let sender = self.daemon.get("/v1/senders/customer").await;
        assert_eq!(sender.body["last_error"]["cause"], "connection_busy", "{}", sender.text);
        told
    }
}

async fn start(form: &str, more: &str) -> TestDaemon {
    let builder = TestDaemon::builder().public();
    builder.connectable("customer", form, more).start().await
}

#[tokio::test]
async fn a_customer_connects_by_impersonation_and_nothing_of_theirs_is_stored() {
    let mut world = World::new("impersonation").await;
    let before = world.daemon.get("/v1/senders/customer/esign/templates").await;
    assert_eq!((before.status.as_u16(), before.code()), (409, "sender_not_connected"), "{}", before.text);
    assert_eq!(world.state().await["state"], "not_connected");

    let (_, done) = world.connect(ELIAS).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    assert!(done.text.contains("Somebody Else Inc"), "{}", done.text);
    let state = world.state().await;
    assert_eq!((&state["state"], &state["user_id"]), (&json!("connected"), &json!(ELIAS)), "{state}");
    assert_eq!(state["account_id"], OTHER_ACCOUNT);
    assert!(world.can_act().await);
    let row = world.daemon.parts().store.sender_records().await.unwrap().remove(0);
    assert!(row.sealed.is_none(), "impersonation keeps no credential");

    // It outlives a restart, and an end destroys it.
    world.daemon.restart().await;
    assert!(world.can_act().await);
    let url = format!("{}/v1/senders/customer/connect", world.daemon.api);
    let ended = world.daemon.call(Method::DELETE, &url, Some(CALLER_KEY), &[], Vec::new()).await;
    assert_eq!(ended.body["state"], "not_connected", "{}", ended.text);
    assert!(world.daemon.parts().store.sender_records().await.unwrap().is_empty());
    assert!(!world.can_act().await);
    assert!(world.daemon.get("/v1/senders/system/esign/templates").await.status.is_success());
}

/// A name that a caller has given up is the settings' to take, for senders of customers too.
#[tokio::test]
async fn a_name_that_was_given_up_is_connected_as_one_of_the_settings() {
    let vendor = format!(
        "[callers.vendor]\nkey_hash = \"{}\"\nsenders = []\nsender_patterns = [\"pattern\"]\n\
         return_origins = [\"https://www.example.com\"]\n",
        key_hash(VENDOR_KEY)
    );
    let builder = TestDaemon::builder().public().with(&vendor);
    let mut daemon = builder.connectable("pattern", "impersonation", "").start().await;
    let new = json!({"name": "customer", "like": "pattern"});
    let made = call_as(&daemon, VENDOR_KEY, Method::POST, "/v1/senders", new).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let gone = call_as(&daemon, VENDOR_KEY, Method::DELETE, "/v1/senders/customer", Value::Null).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.text);
    let renamed = |settings: &str| {
        settings.replace("senders.pattern", "senders.customer").replace("[\"pattern\"]", "[\"customer\"]")
    };
    daemon.restart_with(renamed).await;
    let world = World { daemon };
    let (_, done) = world.connect(ELIAS).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    let new = json!({"name": "another", "like": "customer"});
    let made = call_as(&world.daemon, VENDOR_KEY, Method::POST, "/v1/senders", new).await;
    assert_eq!(made.status, StatusCode::CREATED, "others can be made like it: {}", made.text);
    world.daemon.parts().pairings.sync().await.unwrap();
    assert_eq!(world.state().await["state"], "connected", "also after the next look into the store");
    assert!(world.can_act().await);
}

/// As after a crash between the end of a sender and that of its pairing.
#[tokio::test]
async fn a_pairing_that_outlived_its_sender_is_destroyed_and_a_later_one_is_not() {
    let vendor = format!(
        "[callers.vendor]\nkey_hash = \"{}\"\nsenders = []\nsender_patterns = [\"customer\"]\n",
        key_hash(VENDOR_KEY)
    );
    let builder = TestDaemon::builder().public().with(&vendor);
    let daemon = builder.connectable("customer", "impersonation", "").start().await;
    for name in ["acme", "rival"] {
        let new = json!({"name": name, "like": "customer"});
        let made = call_as(&daemon, VENDOR_KEY, Method::POST, "/v1/senders", new).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        let path = format!("/v1/senders/{name}");
        let gone = call_as(&daemon, VENDOR_KEY, Method::DELETE, &path, Value::Null).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.text);
    }
    let (parts, ready) = (daemon.parts(), daemon.emulator.ready());
    // The second one was connected since, by a daemon whose settings have a sender of this name.
    for (name, connected_at) in [("acme", "2026-06-01T11:00:00Z"), ("rival", "2026-06-01T13:00:00Z")] {
        let row = countersign::store::SenderRecord {
            sender: countersign::domain::SenderName::new(name),
            user_id: ready.user_id.clone(),
            account: countersign::domain::AccountId::new(ready.account_id.clone()),
            sealed: Some(countersign::domain::Private::new("a refresh token".to_owned())),
            connected_at: connected_at.parse().unwrap(),
            version: countersign::store::Version(0),
        };
        parts.store.put_sender_record(row).await.unwrap();
    }
    parts.pairings.sync().await.unwrap();
    let rows = parts.store.sender_records().await.unwrap();
    let paired: Vec<_> =
        rows.iter().map(|row| row.sender.as_str()).filter(|name| !name.ends_with('@')).collect();
    assert_eq!(paired, ["rival"]);
}

#[tokio::test]
async fn who_has_several_accounts_chooses_and_may_switch() {
    let world = World::new("impersonation").await;
    let mut browser = Browser::default();
    let choice = world.at_choice(&mut browser).await;
    let kept = choice.headers["set-cookie"].to_str().unwrap();
    assert!(kept.starts_with(&format!("{};", browser.header())), "a choice has its own quarter of an hour");
    let at = choice.headers["location"].to_str().unwrap().to_owned();
    assert!(!at.contains("code="), "the address of the choice holds no code");
    let shown = world.send(&browser, Method::GET, &at, &[]).await;
    assert!(
        shown.text.contains("Countersign Emulator Labs") && shown.text.contains("fieldset"),
        "{}",
        shown.text
    );
    assert_eq!(world.state().await["state"], "not_connected", "nothing is half paired");

    // Another browser, and an account that is not the person's, choose nothing.
    let stranger = world.send(&Browser::default(), Method::POST, &at, &[("account", SECOND_ACCOUNT)]).await;
    assert_eq!(stranger.status, StatusCode::GONE);
    let foreign = world.send(&browser, Method::POST, &at, &[("account", OTHER_ACCOUNT)]).await;
    assert_eq!(foreign.status, StatusCode::SEE_OTHER, "{}", foreign.text);
    let none = world.send(&browser, Method::POST, &at, &[]).await;
    assert_eq!((&none.headers["location"], none.status.as_u16()), (&foreign.headers["location"], 303));
    let again = world.send(&browser, Method::GET, foreign.headers["location"].to_str().unwrap(), &[]).await;
    assert!(again.text.contains("fieldset"), "the accounts again: {}", again.text);
    assert_eq!(world.state().await["state"], "not_connected");

    let chosen = world.send(&browser, Method::POST, &at, &[("account", SECOND_ACCOUNT)]).await;
    assert_eq!(chosen.status, StatusCode::OK, "{}", chosen.text);
    assert_eq!(world.state().await["account_id"], SECOND_ACCOUNT);
    assert_eq!(world.daemon.parts().store.sender_records().await.unwrap().len(), 1, "what waited is gone");
    assert!(world.can_act().await);

    let (_, done) = world.connect(ELIAS).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    assert_eq!(world.state().await["account_id"], OTHER_ACCOUNT);
    let path = format!("/v1/senders/customer/esign/restapi/v2.1/accounts/{SECOND_ACCOUNT}/templates");
    assert_eq!(world.daemon.get(&path).await.status, StatusCode::FORBIDDEN, "the old account is left");
}

/// An administrator opens both in two tabs, and then allows both.
#[tokio::test]
async fn two_links_in_one_browser_are_both_completed() {
    let builder = TestDaemon::builder().public().connectable("sales", "impersonation", "");
    let world = World { daemon: builder.connectable("hr", "impersonation", "").start().await };
    let mut browser = Browser::default();
    let (sales, hr) = (world.link_of("sales").await, world.link_of("hr").await);
    let first = world.begin(&mut browser, &sales).await;
    let second = world.begin(&mut browser, &hr).await;
    let (first, second) = (world.accept(&first, USER).await, world.accept(&second, ELIAS).await);

    // The cookie of one attempt is none of another's, whatever it is called.
    let [own, other] = browser.cookies.as_slice() else { panic!("{:?}", browser.cookies) };
    for wrong in [other.clone(), (own.0.clone(), other.1.clone()), (other.0.clone(), own.1.clone())] {
        let foreign = world.send(&Browser { cookies: vec![wrong] }, Method::GET, &first, &[]).await;
        assert_eq!(foreign.status, StatusCode::GONE, "{}", foreign.text);
    }

    let choice = world.send(&browser, Method::GET, &first, &[]).await;
    assert_eq!(choice.status, StatusCode::SEE_OTHER, "{}", choice.text);
    browser.take(&choice);
    let done = world.send(&browser, Method::GET, &second, &[]).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    browser.take(&done);
    assert_eq!(browser.cookies.len(), 1, "what is completed leaves no cookie");
    let at = choice.headers["location"].to_str().unwrap();
    let shown = world.send(&browser, Method::GET, at, &[]).await;
    assert!(shown.text.contains("fieldset"), "{}", shown.text);
    let chosen = world.send(&browser, Method::POST, at, &[("account", SECOND_ACCOUNT)]).await;
    assert_eq!(chosen.status, StatusCode::OK, "{}", chosen.text);
    browser.take(&chosen);
    assert!(browser.cookies.is_empty(), "{:?}", browser.cookies);
    for (sender, account) in [("sales", SECOND_ACCOUNT), ("hr", OTHER_ACCOUNT)] {
        let state = world.daemon.get(&format!("/v1/senders/{sender}/connect")).await.body;
        assert_eq!(state["account_id"], account, "{state}");
    }
}

#[tokio::test]
async fn of_many_attempts_in_one_browser_the_oldest_gives_way() {
    let world = World::new("impersonation").await;
    let (mut browser, link) = (Browser::default(), world.link().await);
    let mut pages = Vec::new();
    for _ in 0..9 {
        pages.push(world.begin(&mut browser, &link).await);
    }
    assert_eq!(browser.cookies.len(), 8);
    let (oldest, next) = (world.accept(&pages[0], ELIAS).await, world.accept(&pages[1], ELIAS).await);
    let gone = world.send(&browser, Method::GET, &oldest, &[]).await;
    assert_eq!(gone.status, StatusCode::GONE, "{}", gone.text);
    let done = world.send(&browser, Method::GET, &next, &[]).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
}

#[tokio::test]
async fn a_disconnected_sender_is_not_connected_again_by_a_choice_that_waited() {
    let world = World::new("code").await;
    let mut browser = Browser::default();
    let choice = world.at_choice(&mut browser).await;
    let at = choice.headers["location"].to_str().unwrap();
    let url = format!("{}/v1/senders/customer/connect", world.daemon.api);
    let gone = world.daemon.call(Method::DELETE, &url, Some(CALLER_KEY), &[], Vec::new()).await;
    assert!(gone.status.is_success(), "{}", gone.text);
    assert!(world.daemon.parts().store.sender_records().await.unwrap().is_empty(), "its refresh token, too");
    let chosen = world.send(&browser, Method::POST, at, &[("account", SECOND_ACCOUNT)]).await;
    assert_eq!(chosen.status, StatusCode::GONE, "{}", chosen.text);
    assert_eq!(world.state().await["state"], "not_connected");
}

/// What a daemon remembers of used answers is gone with a restart, as it never was with another daemon.
#[tokio::test]
async fn an_answer_that_another_daemon_has_taken_is_not_called_a_failure() {
    for user in [ELIAS, USER] {
        let mut world = World::new("impersonation").await;
        let mut browser = Browser::default();
        let link = world.link().await;
        let page = world.begin(&mut browser, &link).await;
        world.daemon.clock.advance(Duration::from_secs(5));
        let back = world.accept(&page, user).await;
        let first = world.send(&browser, Method::GET, &back, &[]).await;
        let expected = if user == ELIAS { StatusCode::OK } else { StatusCode::SEE_OTHER };
        assert_eq!(first.status, expected, "{}", first.text);
        world.daemon.restart().await;
        let second = world.send(&browser, Method::GET, &back, &[]).await;
        assert_eq!(second.status, StatusCode::GONE, "{}", second.text);
    }
}

#[tokio::test]
async fn answers_that_are_foreign_old_or_used_pair_nobody() {
    let world = World::new("impersonation").await;
    let mut browser = Browser::default();
    let link = world.link().await;
    let page = world.begin(&mut browser, &link).await;
    let back = world.accept(&page, ELIAS).await;
    let get = async |browser: &Browser, url: &str| world.send(browser, Method::GET, url, &[]).await.status;

    // Somebody else's browser, a forged state, a code of another app's, none at all.
    assert_eq!(get(&Browser::default(), &back).await, StatusCode::GONE);
    let forged = back.replace("state=c.", "state=c.A");
    assert_eq!(get(&browser, &forged).await, StatusCode::GONE);
    assert_eq!(world.state().await["state"], "not_connected");
    let (head, _) = back.split_once("code=").unwrap();
    let state = back.split('&').find(|part| part.starts_with("state=")).unwrap();
    assert_eq!(get(&browser, &format!("{head}{state}")).await, StatusCode::OK, "no code: nothing is used up");
    assert_eq!(get(&browser, &back).await, StatusCode::OK);
    assert_eq!(get(&browser, &back).await, StatusCode::GONE, "a second time");
    assert_eq!(world.state().await["state"], "connected");

    let page = world.begin(&mut browser, &link).await;
    let back = world.accept(&page, ELIAS).await;
    let (head, _) = back.split_once("code=").unwrap();
    let state = back.split('&').find(|part| part.starts_with("state=")).unwrap();
    let foreign = format!("{head}code=nonsense&{state}");
    assert_eq!(get(&browser, &foreign).await, StatusCode::BAD_GATEWAY);
    assert_eq!(get(&browser, &back).await, StatusCode::GONE, "its state is used");

    let page = world.begin(&mut browser, &link).await;
    let refused = world.answer(&page, NORA, "cancel").await;
    assert!(refused.contains("error=access_denied"), "{refused}");
    assert_eq!(get(&browser, &refused).await, StatusCode::OK);
    assert_eq!(world.state().await["user_id"], ELIAS, "a refusal leaves what was");
    let page = world.begin(&mut browser, &link).await;
    let broken = world.answer(&page, NORA, "cancel").await.replace("access_denied", "server_error");
    let broken = world.send(&browser, Method::GET, &broken, &[]).await;
    assert_eq!(broken.status, StatusCode::BAD_GATEWAY, "nobody refused: {}", broken.text);

    let page = world.begin(&mut browser, &link).await;
    let late = world.accept(&page, ELIAS).await;
    world.daemon.clock.advance(Duration::from_secs(16 * 60));
    assert_eq!(get(&browser, &late).await, StatusCode::GONE, "too late");
    world.daemon.clock.advance(Duration::from_secs(7 * 86_400));
    assert_eq!(get(&browser, &link).await, StatusCode::GONE, "an old link");
    assert_eq!(get(&browser, &format!("{}/connect/x", world.public())).await, StatusCode::GONE);
}

#[tokio::test]
async fn a_person_who_cannot_be_acted_for_is_told_why_and_can_go_back() {
    let world = World::new("impersonation").await;
    // Consents to nothing before, and the app asks for all at once: the page grants it.
    let (_, done) = world.connect(NORA).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    assert_eq!(world.state().await["user_id"], NORA);
    let shown = world.daemon.get("/v1/senders/customer").await;
    assert_eq!(
        (&shown.body["state"], &shown.body["consent"]),
        (&json!("ready"), &json!("granted")),
        "at once"
    );
    assert_eq!(shown.body["user_id"], NORA);

    // An account on another host than this environment's has no place here.
    let (_, elsewhere) = world.connect(RAFAEL).await;
    assert_eq!(elsewhere.status, StatusCode::CONFLICT, "{}", elsewhere.text);
    assert!(elsewhere.text.contains("wrong_base_uri"), "it says why: {}", elsewhere.text);
    assert_eq!(world.state().await["user_id"], NORA, "nothing changed");

    // Removed from the account after pairing: named, with what the user does have.
    let out =
        json!({"user_id": NORA, "account_id": world.daemon.emulator.ready().account_id, "member": false});
    world.daemon.control(Method::POST, "users", &out).await;
    world
        .daemon
        .control(
            Method::POST,
            "users",
            &json!({"user_id": NORA, "account_id": OTHER_ACCOUNT, "member": true}),
        )
        .await;
    world.daemon.clock.advance(Duration::from_secs(60));
    let check = world.daemon.post("/v1/senders/customer/check", &json!({})).await;
    let found = check.body["checks"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(found["code"], "sender_not_in_account", "{}", check.text);
    assert!(found["detail"].as_str().unwrap().contains("Somebody Else Inc"), "{found}");
    let (_, again) = world.connect(NORA).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text);
    assert!(world.can_act().await, "a way back without a restart");
}

#[tokio::test]
async fn the_code_form_keeps_a_sealed_token_and_renews_it() {
    for secret in ["client_secret = \"emulator-secret-1\"", ""] {
        let mut world = World { daemon: start("code", secret).await };
        let (_, done) = world.connect(ELIAS).await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.text);
        assert!(world.can_act().await);
        let kept = async |world: &World| {
            let row = world.daemon.parts().store.sender_records().await.unwrap().remove(0);
            row.sealed.unwrap().reveal().clone()
        };
        let first = kept(&world).await;
        // Eight hours later its access token is dead, and a fresh one costs no person.
        world.daemon.clock.advance(Duration::from_secs(9 * 3_600));
        world.daemon.until("a renewed token", async || world.can_act().await).await;
        assert_ne!(kept(&world).await, first, "the refresh token was rotated");
        world.daemon.restart().await;
        assert!(world.can_act().await);
        let mut database = std::fs::read(world.daemon.store_file()).unwrap();
        database
            .extend(std::fs::read(world.daemon.store_file().with_extension("db-wal")).unwrap_or_default());
        let holds = |text: &[u8]| database.windows(text.len()).any(|window| window == text);
        assert!(holds(ELIAS.as_bytes()), "the search finds what is there");
        let token = serde_json::from_str::<Value>(&kept(&world).await).unwrap();
        let token = token["refresh_token"].as_str().unwrap().to_owned();
        assert!(!holds(token.as_bytes()) && !holds(&token.as_bytes()[..40]), "it lies sealed");

        // Revoked at DocuSign: named, and connecting again is all it takes.
        let revoke = json!({"user_id": ELIAS, "scopes": ["signature", "extended"], "granted": false});
        world.daemon.control(Method::POST, "consent", &revoke).await;
        world.daemon.control(Method::POST, "tokens/revoke", &json!({})).await;
        world.daemon.clock.advance(Duration::from_secs(400));
        let lost = world.daemon.get("/v1/senders/customer/esign/templates").await;
        assert_eq!((lost.status.as_u16(), lost.code()), (409, "sender_not_connected"), "{}", lost.text);
        let state = world.state().await;
        assert_eq!(
            (&state["state"], &state["last_error"]["cause"]),
            (&json!("connected"), &json!("connection_lost"))
        );
        assert!(state["last_error"]["fix"].as_str().unwrap().contains("connect"), "{state}");
        let told = async |kind: &str| {
            let events = world.daemon.get("/v1/events").await.body;
            let of = |event: &Value| event["type"] == kind && event["data"]["name"] == "customer";
            events["data"].as_array().unwrap().iter().any(of)
        };
        world.daemon.run_clock("the event of it", async || told("sender.consent_missing").await).await;
        let (_, again) = world.connect(ELIAS).await;
        assert_eq!(again.status, StatusCode::OK, "{}", again.text);
        assert!(world.can_act().await);
        assert_eq!(world.state().await["last_error"], Value::Null);
        world.daemon.run_clock("that it is over", async || told("sender.recovered").await).await;
    }
}

#[tokio::test]
async fn two_daemons_that_renew_at_once_lose_nothing() {
    let world = World::new("code").await;
    let (_, done) = world.connect(ELIAS).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    let parts = world.daemon.parts();
    let customer = countersign::domain::SenderName::new("customer");
    let renewal = || parts.pairings.renewal(&customer).unwrap();
    let (first, second) = (renewal(), renewal());
    for round in 0..5 {
        let both = async { tokio::join!(first.renew(), second.renew()) };
        let (one, two) = tokio::select! {
            both = both => both,
            () = world.daemon.run_clock("never", async || false) => unreachable!(),
        };
        assert!(one.is_ok() && two.is_ok(), "round {round}: {one:?} {two:?}");
    }
    assert_eq!(parts.store.sender_records().await.unwrap().len(), 1);
}

/// With SQLite a daemon has the file for itself, and so knows that whoever took the lease is gone.
#[tokio::test]
async fn a_daemon_that_was_alone_and_died_over_a_renewal_is_not_waited_for() {
    let mut world = World::new("code").await;
    let (_, done) = world.connect(ELIAS).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    let before = world.kept().await;
    world.begin_renewal().await;
    world.daemon.crash().await;
    assert!(world.can_act().await, "while the clock stands still");
    let after = world.kept().await;
    assert_ne!(after["refresh_token"], before["refresh_token"]);
    assert!(after["leased_until"].is_null() && after["leased_by"].is_null());
}

/// What DocuSign answered went with the process, and the old token is used up: that is not waited for either.
#[tokio::test]
async fn a_daemon_that_died_with_the_new_token_has_lost_the_connection_and_says_so() {
    let mut world = World::new("code").await;
    let (_, done) = world.connect(ELIAS).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    world.begin_renewal().await;
    let (ready, kept) = (world.daemon.emulator.ready().clone(), world.kept().await);
    let exchange = [
        ("grant_type", "refresh_token"),
        ("refresh_token", kept["refresh_token"].as_str().unwrap()),
        ("client_id", ready.integration_key.as_str()),
        ("client_secret", "emulator-secret-1"),
    ];
    let at = format!("{}/oauth/token", ready.oauth_url);
    let answered = world.send(&Browser::default(), Method::POST, &at, &exchange).await;
    assert_eq!(answered.status, StatusCode::OK, "{}", answered.text);
    world.daemon.crash().await;
    let lost = world.daemon.get("/v1/senders/customer/esign/templates").await;
    assert_eq!((lost.status.as_u16(), lost.code()), (409, "sender_not_connected"), "{}", lost.text);
    let (_, again) = world.connect(ELIAS).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text);
    assert!(world.can_act().await);
}

/// A sender of the settings and one that a caller has made like it, each connected by a customer with `connect = "code"`.
async fn two_connected() -> World {
    let vendor = format!(
        "[callers.vendor]\nkey_hash = \"{}\"\nsenders = []\nsender_patterns = [\"customer\"]\n\
         return_origins = [\"https://www.example.com\"]\n",
        key_hash(VENDOR_KEY)
    );
    let builder =
        TestDaemon::builder().public().with(&vendor).caller("senders = [\"system\", \"customer\"]\n");
    let world = World { daemon: builder.connectable("customer", "code", "").start().await };
    let new = json!({"name": "acme", "like": "customer"});
    let made = call_as(&world.daemon, VENDOR_KEY, Method::POST, "/v1/senders", new).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let acme = call_as(&world.daemon, VENDOR_KEY, Method::GET, "/v1/senders/acme/connect", Value::Null).await;
    let acme = acme.body["url"].as_str().unwrap().to_owned();
    for (link, user) in [(world.link().await, ELIAS), (acme, NORA)] {
        let mut browser = Browser::default();
        let page = world.begin(&mut browser, &link).await;
        let back = world.accept(&page, user).await;
        let done = world.send(&browser, Method::GET, &back, &[]).await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    }
    world
}

/// Whose refresh tokens nobody acts by.
async fn told(world: &World) -> Option<String> {
    let unused = world.daemon.parts().pairings.unused().await.unwrap();
    unused.map(|unused| unused.to_string())
}

/// Ends a connection with the key of a caller.
async fn end(world: &World, key: &str, sender: &str) -> Reply {
    let path = format!("/v1/senders/{sender}/connect");
    call_as(&world.daemon, key, Method::DELETE, &path, Value::Null).await
}

#[tokio::test]
async fn a_token_whose_sender_left_the_settings_is_told_of_until_it_is_destroyed() {
    let (log, _hearing) = Log::hear();
    let warned = || -> Vec<String> {
        let text = log.text();
        text.lines().filter(|line| line.contains("refresh tokens are kept")).map(str::to_owned).collect()
    };
    let mut world = two_connected().await;
    assert_eq!(told(&world).await, None, "both act by them");

    // A name that no sender has may stand in no list either.
    let away = |settings: &str| {
        let settings = settings.replace("[senders.customer]", "[senders.another]");
        settings.replace(", \"customer\"]", "]").replace("[\"customer\"]", "[]")
    };
    world.daemon.restart_with(away).await;
    assert_eq!(told(&world).await.as_deref(), Some("acme, customer"));
    assert_eq!(world.daemon.get("/v1/senders/customer/connect").await.code(), "sender_unknown");
    world.daemon.until("the warning", async || !warned().is_empty()).await;
    let lines = warned();
    let [line] = lines.as_slice() else { panic!("it is said once: {lines:?}") };
    assert!(line.contains("\"senders\":\"acme, customer\"") && line.contains("DELETE"), "{line}");

    // What is told to do about it works, and the half of it does not.
    let section = |settings: &str| settings.replace("[senders.another]", "[senders.customer]");
    world.daemon.restart_with(section).await;
    assert_eq!(told(&world).await, None);
    assert_eq!(end(&world, CALLER_KEY, "customer").await.code(), "sender_unknown");
    let list =
        |settings: &str| settings.replace("senders = [\"system\"]", "senders = [\"system\", \"customer\"]");
    world.daemon.restart_with(list).await;
    assert_eq!(end(&world, CALLER_KEY, "acme").await.code(), "sender_unknown");
    for (key, sender) in [(CALLER_KEY, "customer"), (VENDOR_KEY, "acme")] {
        let ended = end(&world, key, sender).await;
        assert!(ended.status.is_success(), "{}", ended.text);
    }
    world.daemon.restart_with(away).await;
    assert_eq!(told(&world).await, None);
}

#[tokio::test]
async fn a_token_that_a_sender_acts_by_no_more_is_told_of_until_it_is_connected_again() {
    let mut world = two_connected().await;
    let ready = world.daemon.emulator.ready();
    let keys = format!("keys = [\"{}\"]\n", ready.private_key_file.display());
    let acme = format!(
        "[senders.acme]\nintegration_key = \"{}\"\nuser_id = \"{USER}\"\n{keys}",
        ready.integration_key
    );
    // The name is that of another sender now, and who made the one before cannot act by it.
    world.daemon.restart_with(|settings| format!("{settings}{acme}")).await;
    assert_eq!(told(&world).await.as_deref(), Some("acme"));

    let by_key = format!("connect = \"impersonation\"\n{keys}");
    let switched =
        |settings: &str| settings.replace(acme.as_str(), "").replace("connect = \"code\"\n", &by_key);
    world.daemon.restart_with(switched).await;
    assert_eq!(told(&world).await.as_deref(), Some("acme, customer"));
    let (_, again) = world.connect(ELIAS).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text);
    assert_eq!(told(&world).await.as_deref(), Some("acme"));
    let ended = end(&world, VENDOR_KEY, "acme").await;
    assert!(ended.status.is_success(), "{}", ended.text);
    assert_eq!(told(&world).await, None);
}

/// Nobody can tell the dead from the slow there, and so the end of the lease is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_shared_its_store_and_died_over_a_renewal_is_waited_for() {
    let Some(url) = postgres::database() else { return };
    let builder = TestDaemon::builder().public().store(&url);
    let secret = "client_secret = \"emulator-secret-1\"";
    let mut world = World { daemon: builder.connectable("customer", "code", secret).start().await };
    let (_, done) = world.connect(ELIAS).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    world.begin_renewal().await;
    world.daemon.crash().await;
    assert_eq!(world.told_to_wait().await.code(), "sender_busy");
    world.daemon.clock.advance(Duration::from_secs(LONG_LEASE_S));
    assert!(world.can_act().await, "the lease is over");
}

#[tokio::test]
async fn a_renewal_that_does_not_end_is_told_as_that_with_its_time() {
    let world = World::new("code").await;
    let (_, done) = world.connect(ELIAS).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    world.begin_renewal().await;
    assert_eq!(world.told_to_wait().await.code(), "sender_busy");
}

/// Whoever is connected by then counts, and nobody calls it an outage of DocuSign's.
#[tokio::test]
async fn a_renewal_of_a_connection_that_ends_meanwhile_is_told_as_that() {
    let world = World::new("code").await;
    let (_, done) = world.connect(ELIAS).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    let slow =
        json!({"fault": "delay", "delay_ms": 2_000, "method": "POST", "path": "/oauth/token", "count": 1});
    world.daemon.fault(&slow).await;
    let renewal = world.renewal();
    let disconnect = async {
        let is_leased = async || world.kept().await["leased_until"].is_string();
        world.daemon.until("its lease", is_leased).await;
        let url = format!("{}/v1/senders/customer/connect", world.daemon.api);
        let ended = world.daemon.call(Method::DELETE, &url, Some(CALLER_KEY), &[], Vec::new()).await;
        assert!(ended.status.is_success(), "{}", ended.text);
    };
    let (renewed, ()) = tokio::join!(renewal.renew(), disconnect);
    let error = renewed.unwrap_err();
    let told = (error.code(), error.cause(), error.kind());
    assert_eq!(told, ("sender_busy", "connection_changed", Kind::Transient));
    assert!(error.said().is_none() && !error.to_string().contains("account server"), "{error}");
}

#[tokio::test]
async fn a_proof_is_no_sender_and_a_browser_that_hangs_up_leaves_nothing() {
    let world = World::new("impersonation").await;
    let mut browser = Browser::default();
    let choice = world.at_choice(&mut browser).await;
    let at = choice.headers["location"].to_str().unwrap().to_owned();
    let senders = world.daemon.parts().auth.senders();
    world
        .daemon
        .fault(&json!({"fault": "stall", "method": "POST", "path": "/oauth/token", "count": 1}))
        .await;
    world.daemon.forget_requests().await;
    let chosen = [("account", SECOND_ACCOUNT)];
    let proving = world.send(&browser, Method::POST, &at, &chosen);
    let asked = world
        .daemon
        .until("the mint", async || world.daemon.requests().await.contains(&"POST /oauth/token".to_owned()));
    tokio::select! {
        early = proving => panic!("it stalls: {}", early.text),
        () = asked => {}
    }
    assert_eq!(world.daemon.parts().auth.senders(), senders);
    world.daemon.control(Method::DELETE, "faults", &Value::Null).await;
    let again = world.send(&browser, Method::POST, &at, &chosen).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text);
    assert_eq!(world.daemon.parts().auth.senders(), senders);
}

#[tokio::test]
async fn a_pairing_that_could_not_be_taken_up_is_tried_again() {
    let late = |key: &str, pem: &str| {
        format!(
            "[senders.late]\nintegration_key = \"{key}\"\nconnect = \"impersonation\"\nkeys = [\"{pem}.late\"]\n"
        )
    };
    let daemon = TestDaemon::builder().public().with_senders(late).start().await;
    let (parts, ready) = (daemon.parts(), daemon.emulator.ready());
    let row = countersign::store::SenderRecord {
        sender: countersign::domain::SenderName::new("late"),
        user_id: ready.user_id.clone(),
        account: countersign::domain::AccountId::new(ready.account_id.clone()),
        sealed: None,
        connected_at: "2026-06-01T12:00:00Z".parse().unwrap(),
        version: countersign::store::Version(0),
    };
    parts.store.put_sender_record(row).await.unwrap();
    parts.pairings.sync().await.unwrap();
    assert_eq!(daemon.get("/v1/senders/late/esign/templates").await.code(), "sender_not_connected");
    let mut file = ready.private_key_file.clone().into_os_string();
    file.push(".late");
    std::fs::copy(&ready.private_key_file, file).unwrap();
    parts.pairings.sync().await.unwrap();
    let read = daemon.get("/v1/senders/late/esign/templates").await;
    assert_eq!(read.status, StatusCode::OK, "{}", read.text);
}

#[tokio::test]
async fn a_membership_that_is_mended_is_seen_within_minutes() {
    let world = World::new("impersonation").await;
    let (_, done) = world.connect(NORA).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    assert!(world.can_act().await);
    let account = world.daemon.emulator.ready().account_id.clone();
    let member = async |account: &str, is_member: bool| {
        let body = json!({"user_id": NORA, "account_id": account, "member": is_member});
        world.daemon.control(Method::POST, "users", &body).await;
    };
    member(OTHER_ACCOUNT, true).await;
    member(&account, false).await;
    world.daemon.clock.advance(Duration::from_secs(61));
    assert!(!world.can_act().await);
    let named = world.daemon.get("/v1/senders/customer/esign/templates").await;
    assert_eq!(named.code(), "sender_not_in_account", "{}", named.text);
    // Asked for once, however often somebody tries within the minute.
    world.daemon.forget_requests().await;
    assert!(!world.can_act().await && !world.can_act().await);
    let asked = world.daemon.requests().await;
    assert!(!asked.contains(&"GET /oauth/userinfo".to_owned()), "{asked:?}");
    member(&account, true).await;
    world.daemon.clock.advance(Duration::from_secs(61));
    assert!(world.can_act().await, "without a restart, and without an hour");
}

#[tokio::test]
async fn a_sender_that_is_connected_elsewhere_than_the_settings_allow_by_now_does_not_act() {
    let mut world = World::new("impersonation").await;
    let (_, done) = world.connect(ELIAS).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    assert!(world.can_act().await && world.can_act().await && world.can_act().await);
    let pinned = format!("[senders.customer]\naccount = \"{SECOND_ACCOUNT}\"\n");
    world.daemon.restart_with(|settings| settings.replace("[senders.customer]\n", &pinned)).await;
    let refused = world.daemon.get("/v1/senders/customer/esign/templates").await;
    assert_eq!(refused.code(), "sender_not_in_account", "{}", refused.text);
    let shown = world.daemon.get("/v1/senders/customer").await.body;
    assert_eq!((&shown["state"], &shown["connected"]), (&json!("not_ready"), &json!(true)), "{shown}");
    let detail = shown["last_error"]["detail"].as_str().unwrap();
    assert!(detail.contains(OTHER_ACCOUNT) && detail.contains(SECOND_ACCOUNT), "{detail}");
    assert_eq!(world.state().await["last_error"], shown["last_error"]);
    let check = world.daemon.post("/v1/senders/customer/check", &json!({})).await;
    let found = check.body["checks"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(found["code"], "sender_not_in_account", "{}", check.text);
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_kept_alive() {
    let crowd = |key: &str, pem: &str| {
        (0..25).fold(String::new(), |all, number| {
            all + &format!(
                "[senders.tenant-{number}]\nintegration_key = \"{key}\"\nuser_id = \"{USER}\"\nkeys = [\"{pem}\"]\n"
            )
        })
    };
    let builder = TestDaemon::builder().public().with_senders(crowd);
    let secret = "client_secret = \"emulator-secret-1\"";
    let world = World { daemon: builder.connectable("customer", "code", secret).start().await };
    let (_, done) = world.connect(ELIAS).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    let first = world.kept().await;
    // Not used once, for three times what a refresh token lives at most with nobody to renew it.
    for round in 0..4 {
        let before = world.kept().await;
        world.daemon.clock.advance(Duration::from_secs(21 * 86_400));
        let mut looks = 0;
        let renewed = async || {
            let now = world.kept().await;
            looks += 1;
            // The look that was under way when the clock jumped finds nothing due: it is the next one that does.
            // The clock goes on when that has had its time, and not with each poll: days would pass within one stall.
            if looks % 100 == 0 && now["leased_until"].is_null() {
                world.daemon.clock.advance(RENEW_EVERY);
            }
            now["refresh_token"] != before["refresh_token"]
        };
        world.daemon.until("its renewal", renewed).await;
        assert_ne!(world.kept().await["refresh_token"], first["refresh_token"], "round {round}");
    }
    assert!(world.can_act().await);
}
