//! Settings that are refused: one line that names the setting and what to do.

use crate::config::{
    testing::{SEAL_KEY, SENDER, emulator, load, refused, with},
    *,
};

#[test]
fn unknown_settings_are_refused_with_the_nearest_known_one() {
    let table = [
        (
            "[senders.system]\nintegration_kye = 1",
            "senders.system.integration_kye",
            "did you mean senders.system.integration_key?",
        ),
        ("[senders.other]\nkey = \"x\"", "senders.other.key", "senders.other.keys"),
        (
            "[callers.website]\nreturn_origin = []",
            "callers.website.return_origin",
            "did you mean callers.website.return_origins?",
        ),
        (
            "[webhooks.website]\nsecret = \"x\"",
            "webhooks.website.secret",
            "did you mean webhooks.website.secrets?",
        ),
        ("[upstrem]\n", "upstrem", "did you mean upstream?"),
        ("[api]\nlisten_address = \"x\"", "api.listen_address", "api.listen"),
        ("[api]\nbody-limit = 1", "api.body-limit", "did you mean api.body_limit?"),
        ("[api.tls]\ncert = \"x\"", "api.tls.cert", "did you mean api.tls.cert_file?"),
        ("[public]\nbase_uri = \"x\"", "public.base_uri", "did you mean public.base_url?"),
        ("[public.brand]\ncolour = \"x\"", "public.brand.colour", "did you mean public.brand.color?"),
        ("[log]\nlvl = \"info\"", "log.lvl", "log.level"),
        ("[stop]\ngrace_period = 1", "stop.grace_period", "stop.grace"),
        (
            "[log]\ntemplates.nda = \"x\"",
            "log.templates",
            "templates is a section: write it as [templates], or put the key above the first table",
        ),
        ("[log.senders.other]\nkeys = []", "log.senders", "write it as [senders.system], or put"),
        ("[ops]\nzzz = 1", "ops.zzz", "known here: listen"),
    ];
    for (text, setting, suggestion) in table {
        let sender = if text.starts_with("[senders.system]") { "" } else { SENDER };
        let line = refused(&format!("{sender}\n{text}"));
        assert!(line.starts_with(&format!("{setting} (in site.toml): unknown setting; ")), "{line}");
        assert!(line.contains(suggestion), "{line}");
    }
    let line = load(&with(""), &[("COUNTERSIGN__STORE__SEAL_KYE", "x")]).unwrap_err().to_string();
    let expected =
        "store.seal_kye (in COUNTERSIGN__STORE__SEAL_KYE): unknown setting; did you mean store.seal_key?";
    assert_eq!(line, expected);
}

#[test]
fn a_bad_sender_store_or_upstream_is_one_line_that_names_the_setting_and_the_fix() {
    let sender = |key: &str, value: &str| {
        let kept: Vec<&str> = SENDER.lines().filter(|line| !line.starts_with(key)).collect();
        let kept = kept.join(
            "
",
        );
        format!("{kept}\n{key} = {value}\n[store]\nseal_key = \"{SEAL_KEY}\"")
    };
    let table = [
        (sender("user_id", "\"ada@example.com\""), "senders.system.user_id", "e-mail address"),
        (sender("user_id", "12345678"), "senders.system.user_id", "account number"),
        (
            sender("user_id", "\"5e0b1c8d-9a47-4c7e-8d21-6f3a2b900001\""),
            "senders.system.user_id",
            "same as integration_key",
        ),
        (sender("integration_key", "\"abc\""), "senders.system.integration_key", "not a GUID"),
        (sender("keys", "[]"), "senders.system.keys", "keygen"),
        (sender("scopes", "\"signature impersonation\""), "senders.system.scopes", "write a list"),
        (sender("keys", "[{file = \"a\", value = \"b\"}]"), "senders.system.keys.0", "exactly one"),
        (sender("keys", "[{credential = \"key\"}]"), "senders.system.keys.0", "LoadCredential=key:FILE"),
        (sender("keys", "[{credential = \"key\"}]"), "senders.system.keys.0", "CREDENTIALS_DIRECTORY=FOLDER"),
        (SENDER.to_owned(), "store.seal_key", "openssl rand -base64 32"),
        (format!("[store]\nseal_key = \"{SEAL_KEY}\""), "senders", "[senders.system]"),
        (format!("{SENDER}[store]\nseal_key = \"c2hvcnQ=\""), "store.seal_key", "32 bytes"),
        (with("seal_keys = [\"x\"]"), "store.seal_key", "store.seal_keys"),
        (
            format!("{SENDER}[store]\nseal_keys = [{}]", format!("\"{SEAL_KEY}\", ").repeat(9)),
            "store.seal_keys",
            "leave out the oldest",
        ),
        (with("seal_key_file = \"x\""), "store.seal_key", "also as store.seal_key_file"),
        (with("url = \"mysql://x\""), "store.url", "sqlite://"),
        (with("url = \"sqlite://\""), "store.url", "names no file"),
        (with("retention = \"0d\""), "store.retention", "zero"),
        (with("synchronous = \"maybe\""), "store.synchronous", "\"full\""),
        (with("[upstream]\nenvironment = \"prod\""), "upstream.environment", "\"production\""),
        (
            with("[upstream]\noauth_url = \"http://127.0.0.1:1\""),
            "upstream.oauth_url",
            "only for the emulator",
        ),
        (with("[upstream]\nca_file = \"x\""), "upstream.ca_file", "only for the emulator"),
        (with("[upstream]\nproxy = \"proxy.bank:3128\""), "upstream.proxy", "not a web address"),
        (with("[upstream]\nproxy = \"socks5://proxy.bank\""), "upstream.proxy", "not a web address"),
        (with("[upstream]\nproxy = \"http://proxy.bank/out\""), "upstream.proxy", "has a path"),
        (with("[upstream]\nproxy = \"http://a:b@proxy.bank\""), "upstream.proxy", "leave them out"),
        (emulator("http://127.0.0.1:1", "proxy = \"http://proxy.bank\""), "upstream.proxy", "remove it"),
        (with("[upstream]\nenvironment = \"emulator\""), "upstream.oauth_url", "missing"),
        (emulator("https://account-d.docusign.com", ""), "upstream.oauth_url", "this machine only"),
        (emulator("http://127.0.0.1:1/oauth", ""), "upstream.oauth_url", "path"),
    ];
    check_refusals(&table);
}

#[test]
fn a_bad_setting_elsewhere_is_one_line_that_names_it_and_the_fix() {
    let table = [
        (with("[upstream]\nrequest_timeout = \"soon\""), "upstream.request_timeout", "not a time"),
        (with("[api]\nlisten = \"localhost\""), "api.listen", "127.0.0.1:8080"),
        (with("[api]\nlisten = \"127.0.0.1:9464\""), "api.listen", "ops.listen"),
        (with("[api]\nbody_limit = \"lots\""), "api.body_limit", "not a size"),
        (with("[api]\nclient_ca = \"/nonexistent/ca.pem\""), "api.client_ca", "cannot read"),
        (
            with("[api]\ntls = { cert_file = \"/nonexistent/c.pem\", key_file = \"k\" }"),
            "api.tls.cert_file",
            "cannot read",
        ),
        (with("[public]\nbase_url = \"http://sign.example.com\""), "public.base_url", "https"),
        (with("[public]\nbase_url = \"https://example.com/sign\""), "public.base_url", "path"),
        (with("[public]\nbase_url = \"http://localhost:1\""), "public.base_url", "https"),
        (with("[public]\nbase_url = \"https://sign.example.com:0\""), "public.base_url", "port 0"),
        (with("[public.brand]\ncolor = \"red;}\""), "public.brand.color", "#1f4f8f"),
        (with("[ops]\noperator_password_hash = \"hunter2\""), "ops.operator_password_hash", "argon2"),
        (with("[callers.website]\nsms_required = true"), "callers.website.key_hash", "caller add website"),
        (with("[callers.website]\nkey_hash = \"cs_abc\""), "callers.website.key_hash", "the key itself"),
        (with("[callers.website]\nkey_hash = \"sha256:12\""), "callers.website.key_hash", "64 hex digits"),
        (caller("senders = [\"sytem\"]"), "callers.website.senders", "did you mean system?"),
        (caller("templates = [\"nda\"]"), "callers.website.templates", "[templates]"),
        (caller("rate = \"often\""), "callers.website.rate", "100/s"),
        (
            caller("return_origins = [\"https://a.example\", \"https://b.example/x\"]"),
            "callers.website.return_origins.1",
            "path",
        ),
        (
            caller("return_origins = [\"http://www.example.com\"]"),
            "callers.website.return_origins.0",
            "https",
        ),
        (caller("sms_required = \"perhaps\""), "callers.website.sms_required", "true or false"),
        (with("[callers.\"Web Site\"]\nunix_uids = 1"), "callers.Web Site", "lower-case"),
        (with("[templates]\nnda = \"x\""), "templates.nda", "GUID"),
        (with("[senders.system.templates]\nnda = \"x\""), "senders.system.templates.nda", "GUID"),
        (with("[senders.system.templates]\n\"N D A\" = \"x\""), "senders.system.templates.N D A", "GUID"),
        (webhook("http://hooks.example.com", "events = []"), "webhooks.website.url", "https"),
        (
            webhook("https://hooks.example.com", "events = []"),
            "webhooks.website.events",
            "leave it out for all",
        ),
        (
            webhook("https://hooks.example.com", "events = [\"signing.complete\"]"),
            "webhooks.website.events",
            "signing.completed",
        ),
        (with("[budget]\nreserve_percent = 100"), "budget.reserve_percent", "90"),
        (with("[log]\nlevel = \"loud\""), "log.level", "trace"),
        (with("[log]\nformat = \"xml\""), "log.format", "\"json\""),
        (with("[signer]\nisolate = [1]"), "signer.isolate", "found a list"),
        (
            with(
                "[signer]\nisolate = true\n[senders.other]\nintegration_key = \"11111111-2222-3333-4444-555555555555\"\nuser_id = \"66666666-7777-8888-9999-aaaaaaaaaaaa\"\nkeys = [\"-----BEGIN RSA PRIVATE KEY-----\"]",
            ),
            "senders.other.keys.0",
            "the signer alone reads",
        ),
        ("senders = 5".to_owned(), "senders", "a table"),
        (
            "[senders.system]\nkeys = []".to_owned(),
            "senders.system.integration_key",
            "COUNTERSIGN__SENDERS__SYSTEM__INTEGRATION_KEY",
        ),
    ];
    check_refusals(&table);
}

#[test]
fn for_an_event_that_does_not_exist_the_one_that_is_near_is_named_or_else_all() {
    let refused_for = |event: &str, hint| {
        let settings = webhook("https://hooks.example.com", &format!("events = [\"{event}\"]"));
        (settings, "webhooks.website.events", hint)
    };
    check_refusals(&[
        refused_for("signing.complete", "did you mean signing.completed?"),
        refused_for("Signing_Completed", "did you mean signing.completed?"),
        refused_for("completed", "did you mean signing.completed?"),
        refused_for("consent-missing", "did you mean sender.consent_missing?"),
        refused_for("signer", "unknown event signer; the types are budget.low, "),
        refused_for("declined", "unknown event declined; the types are budget.low, "),
        refused_for("envelope-completed", "the types are budget.low, document.available, "),
        refused_for("nope", "unknown event nope; the types are budget.low, "),
    ]);
}

#[track_caller]
fn check_refusals(table: &[(String, &str, &str)]) {
    for (text, setting, hint) in table {
        let line = refused(text);
        let names_it =
            line.starts_with(&format!("{setting}:")) || line.starts_with(&format!("{setting} (in "));
        assert!(names_it && line.contains(hint) && line.contains("; "), "{setting}, {hint}: {line}");
        assert!(!line.contains("hunter2") && !line.contains("ada@") && !line.contains(SEAL_KEY), "{line}");
    }
}

fn caller(more: &str) -> String {
    with(&format!("[callers.website]\nkey_hash = \"sha256:{}\"\n{more}", "0".repeat(64)))
}

fn webhook(url: &str, more: &str) -> String {
    let secret = format!("whsec_{SEAL_KEY}");
    with(&format!("[webhooks.website]\nurl = \"{url}\"\nsecrets = [\"{secret}\"]\n{more}"))
}

/// Two tenants, and a receiver whose table has this head.
fn two_callers(head: &str) -> String {
    let callers = "[callers.shop]\nunix_uids = [32]\n[callers.website]\nunix_uids = [33]";
    let secret = format!("whsec_{SEAL_KEY}");
    with(&format!("{callers}\n{head}\nurl = \"https://hooks.example.com\"\nsecrets = [\"{secret}\"]\n"))
}

#[test]
fn a_receiver_that_names_no_caller_is_not_everybodys() {
    let table = [
        (
            two_callers("[webhooks.websit]"),
            "webhooks.websit.callers",
            "there is no caller websit; name the table after a caller, such as [webhooks.website], or say whose",
        ),
        (two_callers("[webhooks.crm]"), "webhooks.crm.callers", "or [\"*\"] for everybody's"),
        // A tenant that is gone: its receiver does not become the one of those who stay.
        (
            two_callers("[webhooks.website]").replace("[callers.website]", "[callers.crm]"),
            "webhooks.website.callers",
            "there is no caller website",
        ),
        (
            two_callers("[webhooks.crm]") + "callers = [\"shop\", \"websit\"]",
            "webhooks.crm.callers",
            "did you mean website?",
        ),
        // Everybody's or not, a name is of somebody.
        (
            two_callers("[webhooks.crm]") + "callers = [\"*\", \"websit\"]",
            "webhooks.crm.callers",
            "did you mean website?",
        ),
    ];
    check_refusals(&table);
}

#[test]
fn a_receiver_gets_the_events_of_callers_that_its_table_names() {
    let callers = |head: &str, more: &str| {
        let config = load(&(two_callers(head) + more), &[]).unwrap();
        config.webhooks.values().next().unwrap().callers.clone()
    };
    assert_eq!(callers("[webhooks.website]", ""), None);
    let all = Some(vec!["shop".to_owned(), "website".to_owned()]);
    assert_eq!(callers("[webhooks.crm]", "callers = [\"*\"]"), all);
    assert_eq!(callers("[webhooks.website]", "callers = [\"*\"]"), all);
    assert_eq!(callers("[webhooks.crm]", "callers = [\"shop\", \"*\"]"), all);
    assert_eq!(callers("[webhooks.crm]", "callers = [\"shop\"]"), Some(vec!["shop".to_owned()]));
    // Nobody else is there whose events they could be.
    let alone = two_callers("[webhooks.crm]").replace("[callers.website]\nunix_uids = [33]\n", "");
    assert_eq!(load(&alone, &[]).unwrap().webhooks["crm"].callers, None);
}

#[test]
fn a_section_whose_table_lacks_its_name_is_told_to_give_it_one() {
    let hashes = format!("[\"sha256:{}\"]", "0".repeat(64));
    for (section, key, value, named) in [
        ("callers", "key_hash", "\"sha256:00\"", "[callers.website]"),
        ("callers", "key_hashes", hashes.as_str(), "[callers.website]"),
        ("oidc", "issuer", "\"https://a.example\"", "[oidc.cluster]"),
        ("senders", "integration_key", "\"x\"", "[senders.system]"),
        ("webhooks", "url", "\"https://hooks.example.com\"", "[webhooks.website]"),
    ] {
        let line = refused(&format!("[{section}]\n{key} = {value}"));
        let fix = format!("; give the table a name, such as {named}, and put {key} into it");
        assert!(line.starts_with(&format!("{section}.{key} (in ")) && line.ends_with(&fix), "{line}");
    }
    let line = refused("[callers]\nwebsite = 1");
    assert!(line.ends_with("write a table: [callers.website]"), "{line}");
}

/// Whoever copies it out of the file of the defaults is not told to give the whole sender a variable.
#[test]
fn the_table_of_the_defaults_is_refused_by_its_name() {
    for section in ["callers", "oidc", "senders", "webhooks"] {
        let line = refused(&with(&format!("[{section}.\"*\"]\n")));
        let why = "\"*\" stands in config/default.toml only; write the setting in each table";
        assert_eq!(line, format!("{section}.* (in site.toml): {why}"));
    }
    let line = refused(&with("[webhooks.\"Web Site\"]\n"));
    assert!(line.starts_with("webhooks.Web Site (in site.toml): not a usable name; "), "{line}");
}

#[test]
fn broken_toml_is_placed_and_not_quoted() {
    let line = refused("[store]\nseal_key = \"topsecret\nurl = 1");
    assert!(line.starts_with("site.toml: not valid TOML at line 2, column"), "{line}");
    assert!(!line.contains("topsecret"), "{line}");
}

#[test]
fn a_table_or_a_key_that_stands_twice_is_said_to() {
    for text in ["[callers.shop]\n[senders]\n[callers.shop]", "[ops]\nlisten = \"a\"\nlisten = \"b\""] {
        let line = refused(text);
        assert!(line.contains("at line 3, column") && line.contains("stands there twice"), "{line}");
    }
}

#[test]
fn a_line_stays_a_line_whatever_a_key_holds() {
    let line = refused("\"a\\nb\\u001b[31m\" = 1");
    assert!(line.contains("unknown setting") && !line.contains('\u{1b}'), "{line}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Some(Path::new("/nonexistent/site.toml")), &Variables::default()).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/site.toml: cannot read"), "{error}");
}

#[test]
fn what_can_never_apply_is_refused_and_a_word_is_asked_for_as_one() {
    let line = refused(&with("[callers.shop]\ncertificates = [\"cn:shop\"]"));
    assert!(line.starts_with("callers.shop.certificates") && line.contains("api.client_ca"), "{line}");
    let line = refused(&with("[upstream]\nenvironment = 5"));
    assert!(line.contains("in quotes") && !line.contains("enum"), "{line}");
}
