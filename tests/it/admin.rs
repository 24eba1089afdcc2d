//! The operators' status page: who gets in, what it shows, and what cannot be done to it from outside.

use std::time::Duration;

use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Reply, TempDir, TestDaemon, http_client, order};

const PASSWORD: &str = "correct horse battery staple";

/// What `[ops]` holds of [`PASSWORD`].
fn hash_line() -> String {
    format!("operator_password_hash = \"{}\"\n", hash_of(PASSWORD))
}

/// The hash of a password, cheap to try.
pub(crate) fn hash_of(password: &str) -> String {
    let salt = argon2::password_hash::SaltString::encode_b64(b"a test's salt").unwrap();
    let params = argon2::Params::new(64, 1, 1, None).unwrap();
    let argon = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    argon2::PasswordHasher::hash_password(&argon, password.as_bytes(), &salt).unwrap().to_string()
}

/// A browser that keeps cookies.
struct Operator<'a> {
    daemon: &'a TestDaemon,
    cookies: Vec<(String, String)>,
}

impl<'a> Operator<'a> {
    fn new(daemon: &'a TestDaemon) -> Self {
        Self { daemon, cookies: Vec::new() }
    }

    async fn call(
        &mut self,
        method: Method,
        path: &str,
        form: &[(&str, &str)],
        more: &[(&str, &str)],
    ) -> Reply {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let mut headers = vec![("cookie", cookies.as_str())];
        headers.extend_from_slice(more);
        if method == Method::POST {
            headers.push(("content-type", "application/x-www-form-urlencoded"));
        }
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let url = format!("{}{path}", self.daemon.ops);
        let reply = self.daemon.call(method, &url, None, &headers, body.into_bytes()).await;
        for cookie in reply.headers.get_all(header::SET_COOKIE) {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap().to_owned();
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value));
            }
        }
        reply
    }

    async fn get(&mut self, path: &str) -> Reply {
        self.call(Method::GET, path, &[], &[]).await
    }

    /// Opens the login form and sends it.
    async fn log_in(&mut self, password: &str) -> Reply {
        self.log_in_at("/admin/login", password).await
    }

    /// Opens the form at this address of the login, and sends it to where it says.
    async fn log_in_at(&mut self, address: &str, password: &str) -> Reply {
        let form = self.get(address).await;
        let token = token(&form);
        let to = form.text.split("action=\"").nth(1).unwrap().split('"').next().unwrap();
        self.call(Method::POST, to, &[("password", password), ("token", &token)], &[]).await
    }
}

/// The token that a page's forms carry.
fn token(page: &Reply) -> String {
    let (_, rest) =
        page.text.split_once("name=\"token\" value=\"").unwrap_or_else(|| panic!("{}", page.text));
    rest.split('"').next().unwrap().to_owned()
}

fn location(reply: &Reply) -> &str {
    reply.headers[header::LOCATION].to_str().unwrap()
}

async fn daemon() -> TestDaemon {
    TestDaemon::builder().public().ops(&hash_line()).start().await
}

#[tokio::test]
async fn without_a_hash_the_page_is_off_and_says_how_it_comes_on() {
    let daemon = TestDaemon::start().await;
    let bare = daemon.ops("/").await;
    assert_eq!(bare.status, StatusCode::NOT_FOUND);
    assert!(bare.text.contains("/readyz") && !bare.text.contains("/admin/"), "{}", bare.text);
    let off = daemon.ops("/admin/").await;
    assert_eq!(off.status, StatusCode::NOT_FOUND);
    assert!(off.text.contains("countersign operator password"), "{}", off.text);
    assert_eq!(daemon.ops("/admin/login").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn only_the_password_opens_it_and_the_login_ends() {
    let daemon = daemon().await;
    let bare = daemon.ops("/").await;
    assert!(bare.status == StatusCode::NOT_FOUND && bare.text.contains("/admin/"), "{}", bare.text);
    let mut operator = Operator::new(&daemon);
    for (path, login) in [
        ("/admin/", "/admin/login"),
        ("/admin/senders/system/consent", "/admin/login?next=/admin/senders/system/consent"),
    ] {
        let reply = operator.get(path).await;
        assert_eq!((reply.status, location(&reply)), (StatusCode::SEE_OTHER, login));
    }
    assert_eq!(operator.get("/admin/stream").await.status, StatusCode::UNAUTHORIZED);
    let wrong = operator.log_in("guess").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.text.contains("aria-invalid=\"true\""), "{}", wrong.text);

    let right = operator.log_in(PASSWORD).await;
    assert_eq!((right.status, location(&right)), (StatusCode::SEE_OTHER, "/admin/"));
    let cookie = right.headers[header::SET_COOKIE].to_str().unwrap();
    for word in ["HttpOnly", "SameSite=Strict", "Path=/admin/", "Max-Age=3600"] {
        assert!(cookie.contains(word), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "this is plain HTTP on loopback");
    let page = operator.get("/admin/").await;
    assert_eq!(page.status, StatusCode::OK);
    for header in ["content-security-policy", "x-frame-options", "cache-control"] {
        assert!(page.headers.contains_key(header), "{header}");
    }
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");

    let token = token(&page);
    let out = operator.call(Method::POST, "/admin/logout", &[("token", &token)], &[]).await;
    assert_eq!(out.headers[header::LOCATION], "/admin/login");
    assert_eq!(operator.get("/admin/").await.status, StatusCode::SEE_OTHER);

    operator.log_in(PASSWORD).await;
    assert_eq!(operator.get("/admin/").await.status, StatusCode::OK);
    daemon.clock.advance(Duration::from_secs(3_600));
    assert_eq!(operator.get("/admin/").await.status, StatusCode::SEE_OTHER, "an hour later");
}

#[tokio::test]
async fn a_login_leads_to_the_page_that_was_asked_for_and_nowhere_else() {
    let daemon = daemon().await;
    let page = "/admin/senders/system/consent";
    let mut operator = Operator::new(&daemon);
    let login = location(&operator.get(page).await).to_owned();
    let wrong = operator.log_in_at(&login, "guess").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.text.contains(&format!("action=\"{login}\"")), "kept for the next try: {}", wrong.text);
    let entered = operator.log_in_at(&login, PASSWORD).await;
    assert_eq!((entered.status, location(&entered)), (StatusCode::SEE_OTHER, page));
    assert_eq!(operator.get(page).await.status, StatusCode::OK);
    assert_eq!(location(&operator.get(&login).await), page, "also where nobody has to log in any more");
    for next in
        ["//evil.example", "/%5Cevil.example", "https:%2F%2Fevil.example", "/admin/%0d%0ax:y", "/metrics"]
    {
        let entered = Operator::new(&daemon).log_in_at(&format!("/admin/login?next={next}"), PASSWORD).await;
        assert_eq!((entered.status, location(&entered)), (StatusCode::SEE_OTHER, "/admin/"), "{next}");
    }
}

#[tokio::test]
async fn s6_what_an_operator_does_is_written_down_first_or_not_done() {
    let directory = TempDir::new();
    let log = directory.0.join("audit.jsonl");
    let audit = format!("[audit]\nfile = \"{}\"\n", log.display());
    let daemon = TestDaemon::builder().public().ops(&hash_line()).with(&audit).start().await;
    let mut operator = Operator::new(&daemon);
    operator.log_in("guess").await;
    operator.log_in(PASSWORD).await;
    let form = [("token", &*token(&operator.get("/admin/").await))];
    daemon.forget_requests().await;
    let checked = tokio::select! {
        checked = operator.call(Method::POST, "/admin/senders/system/check", &form, &[]) => checked,
        () = daemon.run_clock("never", async || false) => unreachable!(),
    };
    assert_eq!(checked.status, StatusCode::SEE_OTHER, "{}", checked.text);
    // An operator may be told that it takes a while.
    daemon.run_clock("the check", async || daemon.mints().await > 0).await;

    let before = std::fs::read_to_string(&log).unwrap();
    // Another file in its place: the chain cannot go on.
    std::fs::remove_file(&log).unwrap();
    std::fs::write(&log, "something else\n").unwrap();
    daemon.forget_requests().await;
    let refused = operator.call(Method::POST, "/admin/senders/system/check", &form, &[]).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text);
    assert_eq!(daemon.requests().await, Vec::<String>::new(), "nothing was asked for");
    let mut second = Operator::new(&daemon);
    assert_eq!(second.log_in(PASSWORD).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(second.get("/admin/").await.status, StatusCode::SEE_OTHER, "nobody was let in");

    std::fs::remove_file(&log).unwrap();
    operator.call(Method::POST, "/admin/logout", &form, &[]).await;
    let text = before + &std::fs::read_to_string(&log).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines = lines.filter(|line| line["event"] != "token.mint");
    let said: Vec<_> = lines.map(|line| (line["event"].clone(), line["sender"].clone())).collect();
    let no_sender = Value::Null;
    let wanted = [
        (json!("operator.login"), no_sender.clone()),
        (json!("operator.check"), json!("system")),
        (json!("operator.logout"), no_sender),
    ];
    assert_eq!(said, wanted, "{text}");
}

#[tokio::test]
async fn h3_a_reload_changes_the_password_and_ends_every_login() {
    let daemon = daemon().await;
    let settings = |hash: Option<&str>| {
        let line = hash.map(|hash| format!("operator_password_hash = \"{hash}\"\n")).unwrap_or_default();
        countersign::config::Config::from_toml(&daemon.settings().replace(&hash_line(), &line)).unwrap()
    };
    let (same, other) = (hash_of(PASSWORD), hash_of("another one"));
    let mut operator = Operator::new(&daemon);
    operator.log_in(PASSWORD).await;
    daemon.parts().reload(&settings(Some(&same))).await.unwrap();
    assert_eq!(operator.get("/admin/").await.status, StatusCode::OK, "the same password ends nothing");
    daemon.parts().reload(&settings(Some(&other))).await.unwrap();
    assert_eq!(operator.get("/admin/").await.status, StatusCode::SEE_OTHER);
    assert_eq!(operator.get("/admin/stream").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(operator.log_in(PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(operator.log_in("another one").await.status, StatusCode::SEE_OTHER);
    daemon.parts().reload(&settings(None)).await.unwrap();
    for path in ["/admin/", "/admin/login", "/admin/stream"] {
        assert_eq!(operator.get(path).await.status, StatusCode::NOT_FOUND, "{path} is off");
    }
    daemon.parts().reload(&settings(Some(&other))).await.unwrap();
    assert_eq!(operator.get("/admin/").await.status, StatusCode::SEE_OTHER, "a login of before stays ended");
}

#[tokio::test]
async fn many_senders_come_in_pages_with_their_state_and_a_way_to_each() {
    let tenants = |key: &str, pem: &str| -> String {
        let one = |number: usize| {
            let user = if number == 75 {
                "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210002"
            } else {
                "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210001"
            };
            format!(
                "[senders.tenant-{number:02}]\nintegration_key = \"{key}\"\nuser_id = \"{user}\"\nkeys = [\"{pem}\"]\n"
            )
        };
        (0..99).map(one).collect()
    };
    let daemon = TestDaemon::builder().public().ops(&hash_line()).with_senders(tenants).start().await;
    assert!(daemon.parts().auth.token("tenant-75").await.is_err(), "its user has not consented");
    let mut operator = Operator::new(&daemon);
    operator.log_in(PASSWORD).await;
    let cards = |page: &Reply| page.text.matches("data-part=\"sender-").count();
    let first = operator.get("/admin/").await;
    assert_eq!(cards(&first), 50);
    assert!(
        first.text.contains("101 senders") && first.text.contains("href=\"/admin/?from=tenant-49\""),
        "{}",
        first.text
    );
    let last = operator.get("/admin/?from=tenant-49").await;
    assert_eq!(cards(&last), 50);
    let card = last.text.split("id=\"sender-tenant-75\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(card.contains("Not ready"), "health names no single one of so many, the card does: {card}");
    assert_eq!(cards(&operator.get("/admin/?from=zzz").await), 0);
    let consent = operator.get("/admin/senders/tenant-75/consent").await;
    assert_eq!(consent.status, StatusCode::OK);
    let form = [("token", &*token(&consent))];
    let checked = tokio::select! {
        checked = operator.call(Method::POST, "/admin/senders/tenant-75/check", &form, &[]) => checked,
        () = daemon.run_clock("never", async || false) => unreachable!(),
    };
    assert!(location(&checked).ends_with("&from=tenant-75#sender-tenant-75"), "{}", location(&checked));
}

#[tokio::test]
async fn behind_tls_the_cookie_is_secure() {
    let proxied = [("x-forwarded-proto", "https")];
    let daemon = daemon().await;
    let mut operator = Operator::new(&daemon);
    let refused = operator.call(Method::GET, "/admin/login", &[], &proxied).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "no proxy was meant to stand in front");
    assert!(refused.body["detail"].as_str().unwrap().contains("allow_forwarded"), "{}", refused.text);
    let settings = format!("{}allow_forwarded = true\n", hash_line());
    let daemon = TestDaemon::builder().ops(&settings).start().await;
    let mut operator = Operator::new(&daemon);
    let page = operator.call(Method::GET, "/admin/login", &[], &proxied).await;
    assert!(page.headers[header::SET_COOKIE].to_str().unwrap().ends_with("; Secure"));
    let plain = Operator::new(&daemon).call(Method::GET, "/admin/login", &[], &[]).await;
    assert!(
        !plain.headers[header::SET_COOKIE].to_str().unwrap().contains("Secure"),
        "a browser would drop it"
    );
}

#[tokio::test]
async fn a_form_that_never_ends_is_given_up() {
    let daemon = daemon().await;
    let address = daemon.ops.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /admin/login HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: 100\r\n\r\ntoken="
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tokio::select! {
        read = stream.read_exact(&mut answer) => drop(read.unwrap()),
        () = daemon.run_clock("never", async || false) => unreachable!(),
    }
    assert_eq!(str::from_utf8(&answer).unwrap(), "HTTP/1.1 408");
}

#[tokio::test]
async fn a_form_that_cannot_be_read_is_answered_as_the_page_answers() {
    let daemon = daemon().await;
    let send = async |path: &str, kind: &str, body: &str| {
        let url = format!("{}{path}", daemon.ops);
        daemon.call(Method::POST, &url, None, &[("content-type", kind)], body.as_bytes().to_vec()).await
    };
    let (form, json) = ("application/x-www-form-urlencoded", "application/json");
    let large = format!("password=x&token={}", "x".repeat(10_000));
    for (kind, body, status) in [
        (json, "{}", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (form, "password=x", StatusCode::UNPROCESSABLE_ENTITY),
        (form, large.as_str(), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        for path in ["/admin/login", "/admin/logout", "/admin/senders/system/check"] {
            let refused = send(path, kind, body).await;
            assert_eq!(refused.status, status, "{path}");
            assert!(refused.text.contains("open the page again"), "{path}: {}", refused.text);
            for header in ["cache-control", "x-content-type-options", "x-frame-options"] {
                assert!(refused.headers.contains_key(header), "{path}: {header}");
            }
            let is_page = refused.headers["content-type"].to_str().unwrap().starts_with("text/html");
            assert_eq!(is_page, path == "/admin/login", "{path}: {}", refused.text);
        }
    }
    // The form that comes with the refusal is one to log in by.
    let mut operator = Operator::new(&daemon);
    let again = operator.call(Method::POST, "/admin/login", &[], &[]).await;
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY);
    let filled = [("password", PASSWORD), ("token", &*token(&again))];
    let entered = operator.call(Method::POST, "/admin/login", &filled, &[]).await;
    assert_eq!((entered.status, location(&entered)), (StatusCode::SEE_OTHER, "/admin/"));
}

#[tokio::test]
async fn guessing_is_slow() {
    let daemon = daemon().await;
    let mut operator = Operator::new(&daemon);
    for _ in 0..5 {
        assert_eq!(operator.log_in("guess").await.status, StatusCode::UNAUTHORIZED);
    }
    let refused = operator.log_in(PASSWORD).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = refused.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    daemon.clock.advance(Duration::from_secs(wait + 1));
    assert_eq!(operator.log_in(PASSWORD).await.status, StatusCode::SEE_OTHER, "what it said is true");
}

#[tokio::test]
async fn forms_from_elsewhere_do_nothing() {
    let daemon = daemon().await;
    let mut operator = Operator::new(&daemon);
    let form = token(&operator.get("/admin/login").await);
    let entry = [("password", PASSWORD), ("token", form.as_str())];
    let foreign: [&[(&str, &str)]; 3] =
        [&[("sec-fetch-site", "cross-site")], &[("origin", "https://evil.example")], &[("origin", "null")]];
    for headers in foreign {
        let refused = operator.call(Method::POST, "/admin/login", &entry, headers).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    let without = [("password", PASSWORD), ("token", "guess")];
    assert_eq!(
        operator.call(Method::POST, "/admin/login", &without, &[]).await.status,
        StatusCode::FORBIDDEN
    );
    let mut other = Operator::new(&daemon);
    other.get("/admin/login").await;
    let stolen = other.call(Method::POST, "/admin/login", &entry, &[]).await;
    assert_eq!(stolen.status, StatusCode::FORBIDDEN, "the token of another browser");

    operator.log_in(PASSWORD).await;
    let token = token(&operator.get("/admin/").await);
    daemon.forget_requests().await;
    let check = "/admin/senders/system/check";
    for (sent, headers) in [("guess", foreign[0]), ("guess", &[][..]), (token.as_str(), foreign[1])] {
        let refused = operator.call(Method::POST, check, &[("token", sent)], headers).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{sent} {headers:?}");
    }
    assert_eq!(operator.call(Method::POST, check, &[], &[]).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let large = "x".repeat(10_000);
    let refused = operator.call(Method::POST, check, &[("token", &large)], &[]).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(daemon.requests().await.is_empty(), "nobody was asked anything");
}

#[tokio::test]
async fn it_shows_how_each_sender_stands_and_what_to_do() {
    let daemon = daemon().await;
    daemon.create("order-1", &order()).await;
    let mut operator = Operator::new(&daemon);
    operator.log_in(PASSWORD).await;
    daemon.run_clock("a look", async || daemon.ops("/readyz").await.text.contains("consent_required")).await;
    let page = operator.get("/admin/").await.text;
    let ready = daemon.emulator.ready();
    let fingerprint = &daemon.parts().auth.status("system").unwrap().keys[0].fingerprint.unwrap().to_string();
    for shown in [
        "system",
        "unconsented",
        "Degraded",
        "consent_required",
        &ready.user_id,
        &ready.account_id,
        fingerprint,
        "2048 bits",
        "next try at",
        " of 3000",
        "Envelopes to be made",
        "agrees with DocuSign",
        "http-equiv=\"refresh\"",
        "meter",
    ] {
        assert!(page.contains(shown), "no {shown} in {page}");
    }
    let consent = operator.get("/admin/senders/unconsented/consent").await.text;
    let callback = format!("{}/consent/callback", daemon.public.as_ref().unwrap());
    for shown in [
        "/oauth/auth?response_type=code&amp;scope=signature%20impersonation&amp;client_id=",
        "scope=openid&amp;admin_consent_scope=signature%20impersonation",
        &callback,
        &ready.no_consent_user_id,
        "Consent for unconsented is missing",
    ] {
        assert!(consent.contains(shown), "no {shown} in {consent}");
    }
    assert_eq!(operator.get("/admin/senders/nobody/consent").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_sender_that_there_is_not_has_a_page_with_a_way_back() {
    let daemon = daemon().await;
    let mut operator = Operator::new(&daemon);
    operator.log_in(PASSWORD).await;
    let form = [("token", &*token(&operator.get("/admin/").await))];
    let page = operator.get("/admin/senders/nobody/consent").await;
    let checked = operator.call(Method::POST, "/admin/senders/nobody/check", &form, &[]).await;
    for reply in [page, checked] {
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
        assert!(reply.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
        for shown in
            ["<title>No such sender · countersign</title>", "<a href=\"/admin/\">Back to all senders</a>"]
        {
            assert!(reply.text.contains(shown), "no {shown} in {}", reply.text);
        }
    }
}

#[tokio::test]
async fn t4_a_check_is_asked_for_and_the_stream_brings_the_tick() {
    let daemon = daemon().await;
    let mut operator = Operator::new(&daemon);
    operator.log_in(PASSWORD).await;
    let token = token(&operator.get("/admin/").await);
    let cookies: Vec<_> = operator.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut stream = http_client()
        .get(format!("{}/admin/stream", daemon.ops))
        .header(header::COOKIE, cookies.join("; "))
        .send()
        .await
        .unwrap();
    let mut seen = String::new();
    until(&daemon, &mut stream, &mut seen, "Consent for unconsented is missing").await;
    let user = &daemon.emulator.ready().no_consent_user_id;
    daemon.control(Method::POST, "consent", &json!({ "user_id": user, "granted": true })).await;
    let form = [("token", token.as_str())];
    let check = operator.call(Method::POST, "/admin/senders/unconsented/check", &form, &[]);
    let reply =
        tokio::select! { reply = check => reply, () = ticking(&daemon) => unreachable!("it never ends") };
    assert_eq!(reply.headers[header::LOCATION], "/admin/?checked=good#sender-unconsented");
    until(&daemon, &mut stream, &mut seen, "Consent is granted: unconsented can act.").await;
    daemon.clock.advance(Duration::from_secs(3_600));
    until(&daemon, &mut stream, &mut seen, "event: end").await;
}

#[tokio::test]
async fn an_operator_makes_what_the_settings_let_a_caller_make_and_connects_it() {
    let directory = TempDir::new();
    let log = directory.0.join("audit.jsonl");
    let audit = format!("[audit]\nfile = \"{}\"\n", log.display());
    let builder = TestDaemon::builder().public().ops(&hash_line()).with(&audit);
    let builder = builder.caller("sender_patterns = [\"system\", \"customer\"]\n");
    let daemon = builder.connectable("customer", "code", "").start().await;
    let mut operator = Operator::new(&daemon);
    assert_eq!(location(&operator.get("/admin/new-sender").await), "/admin/login?next=/admin/new-sender");
    operator.log_in(PASSWORD).await;
    let overview = operator.get("/admin/").await;
    assert!(overview.text.contains("href=\"/admin/new-sender\""), "{}", overview.text);
    let waiting =
        overview.text.split("id=\"sender-customer\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(
        waiting.contains("Not connected")
            && waiting.contains("nobody yet")
            && waiting.contains("Connect link"),
        "{waiting}"
    );
    let page = operator.get("/admin/new-sender").await;
    assert!(
        page.text.contains("value=\"website/customer\"") && !page.text.contains("stranger"),
        "{}",
        page.text
    );
    let token = token(&page);
    let user = daemon.emulator.ready().user_id.clone();
    let filled = |of: &'static str, name: &'static str, user: &str| {
        [("of", of.to_owned()), ("name", name.to_owned()), ("user_id", user.to_owned())]
    };
    for (form, field) in [
        (filled("stranger/system", "acme", &user), "of"),
        (filled("website/unconsented", "acme", &user), "of"),
        (filled("website/system", "A b", &user), "name"),
        (filled("website/system", "system", &user), "name"),
        (filled("website/system", "acme", "ada@example.com"), "user_id"),
        (filled("website/system", "acme", ""), "user_id"),
        (filled("website/customer", "acme", &user), "user_id"),
    ] {
        let mut form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        form.push(("token", &token));
        let refused = operator.call(Method::POST, "/admin/new-sender", &form, &[]).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{form:?}");
        assert!(refused.text.contains(&format!("id=\"{field}-fault\"")), "{form:?}: {}", refused.text);
    }
    let form = [("of", "website/customer"), ("name", "acme"), ("token", "guess")];
    let foreign = operator.call(Method::POST, "/admin/new-sender", &form, &[]).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    assert_eq!(daemon.get("/v1/senders/acme").await.code(), "sender_unknown", "nothing was made");

    let form = [("of", "website/customer"), ("name", "acme"), ("token", token.as_str())];
    let made = operator.call(Method::POST, "/admin/new-sender", &form, &[]).await;
    assert_eq!((made.status, location(&made)), (StatusCode::SEE_OTHER, "/admin/senders/acme/consent"));
    let shown = daemon.get("/v1/senders/acme").await;
    assert_eq!((&shown.body["like"], &shown.body["connected"]), (&json!("customer"), &json!(false)));
    let link = operator.get("/admin/senders/acme/consent").await.text;
    let start = format!("{}/connect/", daemon.public.as_ref().unwrap());
    assert!(link.contains(&start) && link.contains("Connect acme"), "{link}");
    let text = std::fs::read_to_string(&log).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let made: Vec<_> =
        lines.filter(|line| line["event"] == "operator.make_sender" && line["sender"] == "acme").collect();
    let last = made.last().unwrap();
    assert_eq!((&last["caller"], &last["detail"]), (&json!("website"), &json!("like customer")), "{text}");
}

/// Lets the test's clock go on.
async fn ticking(daemon: &TestDaemon) {
    loop {
        daemon.clock.advance(Duration::from_millis(50));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reads a stream until this has come.
async fn until(daemon: &TestDaemon, stream: &mut reqwest::Response, seen: &mut String, wanted: &str) {
    while !seen.contains(wanted) {
        tokio::select! {
            chunk = stream.chunk() => {
                let chunk = chunk.unwrap().unwrap_or_else(|| panic!("it ended without {wanted}: {seen}"));
                seen.push_str(std::str::from_utf8(&chunk).unwrap());
            }
            () = ticking(daemon) => {}
        }
    }
}
