use std::{path::PathBuf, time::Duration};

use secrecy::ExposeSecret;
use tracing::level_filters::LevelFilter;

use super::*;

const SENDER: &str = r#"
[senders.system]
integration_key = "5e0b1c8d-9a47-4c7e-8d21-6f3a2b900001"
user_id = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210001"
keys = ["key.pem"]
"#;

const SEAL_KEY: &str = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=";

/// The least that a settings file must say, and more.
fn with(more: &str) -> String {
    format!("{SENDER}\n[store]\nseal_key = \"{SEAL_KEY}\"\n{more}")
}

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load(text: &str, pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_layers(Some(("site.toml", text)), &variables(pairs))
}

#[track_caller]
fn refused(text: &str) -> String {
    let line = load(text, &[]).expect_err("these settings should be refused").to_string();
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

/// A directory for one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("countersign-config-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn defaults_come_from_the_documented_file() {
    let config = load(&with("[callers.website]\nunix_uids = [33]"), &[]).unwrap();
    assert_eq!(config.upstream.environment(), Environment::Demo);
    assert_eq!(config.upstream.oauth_base(), "https://account-d.docusign.com");
    assert_eq!(config.upstream.audience(), "account-d.docusign.com");
    assert_eq!(config.upstream.mode(), Mode::Test);
    assert_eq!(config.api.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.public.listen, "127.0.0.1:8081".parse().unwrap());
    assert_eq!(config.public.base_url, None);
    assert_eq!(config.ops.listen, "127.0.0.1:9464".parse().unwrap());
    assert_eq!(config.api.body_limit.bytes(), 50 * 1024 * 1024);
    assert_eq!((config.stop.grace, config.stop.deadline), (Duration::from_secs(5), Duration::from_secs(30)));
    assert_eq!((config.log.level, config.log.format), (LevelFilter::INFO, LogFormat::Human));
    assert_eq!(config.senders["system"].scopes, ["signature", "impersonation"]);
    let website = &config.callers["website"];
    assert!(website.senders.is_none() && website.rate.is_none() && !website.sms_required);
    assert!(matches!(&config.store.url, StoreUrl::Sqlite(path) if path == Path::new("countersign.db")));
    assert_eq!(config.store.synchronous, Synchronous::Full);
    assert!(!config.signer.isolate && config.otel.endpoint.is_none());
}

#[test]
fn the_file_goes_over_the_defaults_and_the_environment_over_both() {
    let text = with("[api]\nlisten = \"127.0.0.1:1\"\n[log]\nlevel = \"warn\"");
    let pairs = [
        ("COUNTERSIGN__LOG__LEVEL", "TRACE"),
        ("COUNTERSIGN__SENDERS__SYSTEM__ACCOUNT", "0012345"),
        ("COUNTERSIGN__SENDERS__SALES_EU__INTEGRATION_KEY", "5e0b1c8d-9a47-4c7e-8d21-6f3a2b900002"),
        ("COUNTERSIGN__SENDERS__SALES_EU__USER_ID", "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210003"),
        ("COUNTERSIGN__SENDERS__SALES_EU__KEYS", r#"["one.pem", {file = "two.pem"}]"#),
        ("COUNTERSIGN__CONNECT__HMAC_KEYS", "007"),
        ("COUNTERSIGN__STOP__GRACE", "0"),
        ("COUNTERSIGN__SIGNER__ISOLATE", "true"),
        ("COUNTERSIGN__STORE__SYNCHRONOUS", "off"),
        ("COUNTERSIGN_LOG", "not one of ours: a single underscore"),
        ("PATH", "/bin"),
    ];
    let config = load(&text, &pairs).unwrap();
    assert_eq!(config.api.listen, "127.0.0.1:1".parse().unwrap());
    assert_eq!(config.log.level, LevelFilter::TRACE);
    assert_eq!(config.senders["system"].account.as_deref(), Some("0012345"));
    let sales = &config.senders["sales_eu"];
    assert_eq!(sales.scopes, ["signature", "impersonation"]);
    assert!(matches!(&sales.keys[1], KeySource::File(path) if path == Path::new("two.pem")));
    assert_eq!(config.connect.hmac_keys[0].expose_secret(), "007");
    assert_eq!(config.stop.grace, Duration::ZERO);
    assert!(config.signer.isolate);
    assert_eq!(config.store.synchronous, Synchronous::Off);
}

#[test]
fn ids_that_are_digits_stay_text_in_the_file_too() {
    let config =
        load(&format!("{SENDER}account = 12345678\n[store]\nseal_key = \"{SEAL_KEY}\""), &[]).unwrap();
    assert_eq!(config.senders["system"].account.as_deref(), Some("12345678"));
}

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
        (sender("keys", "[{credential = \"key\"}]"), "senders.system.keys.0", "LoadCredential=key"),
        (SENDER.to_owned(), "store.seal_key", "openssl rand -base64 32"),
        (format!("[store]\nseal_key = \"{SEAL_KEY}\""), "senders", "[senders.system]"),
        (format!("{SENDER}[store]\nseal_key = \"c2hvcnQ=\""), "store.seal_key", "32 bytes"),
        (with("seal_keys = [\"x\"]"), "store.seal_key", "store.seal_keys"),
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
        ("[senders]\nuser_id = \"x\"".to_owned(), "senders.user_id", "[senders.user_id]"),
        (
            "[senders.system]\nkeys = []".to_owned(),
            "senders.system.integration_key",
            "COUNTERSIGN__SENDERS__SYSTEM__INTEGRATION_KEY",
        ),
    ];
    check_refusals(&table);
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

fn emulator(oauth_url: &str, more: &str) -> String {
    with(&format!("[upstream]\nenvironment = \"emulator\"\noauth_url = \"{oauth_url}\"\n{more}"))
}

fn caller(more: &str) -> String {
    with(&format!("[callers.website]\nkey_hash = \"sha256:{}\"\n{more}", "0".repeat(64)))
}

fn webhook(url: &str, more: &str) -> String {
    let secret = format!("whsec_{SEAL_KEY}");
    with(&format!("[webhooks.website]\nurl = \"{url}\"\nsecrets = [\"{secret}\"]\n{more}"))
}

#[test]
fn broken_toml_is_placed_and_not_quoted() {
    let line = refused("[store]\nseal_key = \"topsecret\nurl = 1");
    assert!(line.starts_with("site.toml: not valid TOML at line 2, column"), "{line}");
    assert!(!line.contains("topsecret"), "{line}");
}

#[test]
fn a_line_stays_a_line_whatever_a_key_holds() {
    let line = refused("\"a\\nb\\u001b[31m\" = 1");
    assert!(line.contains("unknown setting") && !line.contains('\u{1b}'), "{line}");
}

#[test]
fn the_source_of_an_entry_is_that_of_its_list() {
    let pairs = [("COUNTERSIGN__SENDERS__SYSTEM__KEYS", r#"["key.pem", {credential = "next"}]"#)];
    let line = load(&with(""), &pairs).unwrap_err().to_string();
    assert!(line.starts_with("senders.system.keys.1 (in COUNTERSIGN__SENDERS__SYSTEM__KEYS): "), "{line}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Some(Path::new("/nonexistent/site.toml")), &Variables::default()).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/site.toml: cannot read"), "{error}");
}

#[test]
fn secrets_come_by_value_by_file_or_from_systemd() {
    let scratch = Scratch::new("secrets");
    scratch.file("seal", &format!("{SEAL_KEY}\n"));
    let hmac = scratch.file("hmac", "from a file\n");
    let text = format!(
        "{SENDER}[store]\nseal_key_credential = \"seal\"\nurl_file = \"{url}\"\n\
         [connect]\nhmac_keys = [\"inline\", {{file = \"{hmac}\"}}, {{credential = \"hmac\"}}]",
        url = scratch.file("url", "postgres://user:pass@db.example.com/countersign\n"),
    );
    let directory = scratch.0.display().to_string();
    let config = load(&text, &[("CREDENTIALS_DIRECTORY", &directory)]).unwrap();
    let keys: Vec<&str> = config.connect.hmac_keys.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(keys, ["inline", "from a file", "from a file"]);
    assert!(matches!(&config.store.url, StoreUrl::Postgres(_)));
    assert_eq!(config.store.seal_keys[0].key.expose_secret(), b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef");
    assert_eq!(config.store.seal_keys[0].id.len(), 8);

    let empty = scratch.file("empty", "\n");
    let line = refused(&format!("{SENDER}[store]\nseal_key_file = \"{empty}\""));
    assert!(line.starts_with("store.seal_key_file (in site.toml): empty"), "{line}");
    let line = load(&text, &[("CREDENTIALS_DIRECTORY", "/nonexistent")]).unwrap_err().to_string();
    assert!(
        line.starts_with("store.seal_key_credential (in site.toml): cannot read /nonexistent/seal"),
        "{line}"
    );
}

#[test]
fn no_secret_is_in_the_debug_output() {
    let scratch = Scratch::new("debug");
    let url = scratch.file("url", "postgres://user:planted-url@db/x");
    let text = format!(
        "{SENDER}[store]\nurl_file = \"{url}\"\nseal_keys = [\"{SEAL_KEY}\"]\n[connect]\nhmac_keys = \"planted-hmac\"\n\
         [webhooks.w]\nurl = \"https://h.example\"\nsecrets = \"whsec_{SEAL_KEY}\"\n[ops]\n\
         operator_password_hash = \"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG\""
    );
    let config = load(&text, &[]).unwrap();
    let printed = format!("{config:?} {:?}", variables(&[("COUNTERSIGN__X", "planted-variable")]));
    for planted in ["planted", SEAL_KEY, "ABCDEFGH", "65, 66, 67", "RdescudvJ"] {
        assert!(!printed.contains(planted), "{planted} is in {printed}");
    }
    // The positive control: what is no secret is there.
    assert!(printed.contains("key.pem") && printed.contains("COUNTERSIGN__X"), "{printed}");
}

#[test]
fn rotation_keeps_several_keys_in_order() {
    let other = "ZmVkY2JhWllYV1ZVVFNSUVBPTk1MS0pJSEdGRURDQkE=";
    let config = load(&format!("{SENDER}[store]\nseal_keys = [\"{other}\", \"{SEAL_KEY}\"]"), &[]).unwrap();
    let ids: Vec<&str> = config.store.seal_keys.iter().map(|key| key.id.as_str()).collect();
    let alone = load(&with(""), &[]).unwrap();
    assert_eq!(ids[1], alone.store.seal_keys[0].id);
    assert_ne!(ids[0], ids[1]);
    let hashes = format!("key_hashes = [\"sha256:{}\", \"sha256:{}\"]", "0".repeat(64), "ab".repeat(32));
    let config = load(&with(&format!("[callers.website]\n{hashes}")), &[]).unwrap();
    assert_eq!(config.callers["website"].key_hashes[1].as_bytes(), &[0xab; 32]);
}

#[test]
fn an_inline_key_is_told_from_a_path() {
    let pem = "\"\"\"-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\"\"\"";
    let text = with("").replace("[\"key.pem\"]", &format!("[{pem}, \"/etc/key.pem\", {{value = {pem}}}]"));
    let config = load(&text, &[]).unwrap();
    let kinds: Vec<bool> =
        config.senders["system"].keys.iter().map(|key| matches!(key, KeySource::Inline(_))).collect();
    assert_eq!(kinds, [true, false, true]);
}

#[test]
fn the_emulator_is_reached_on_loopback_only() {
    for (url, audience) in [
        ("http://127.0.0.1:8443", "127.0.0.1"),
        ("https://localhost:8443/", "localhost"),
        ("http://[::1]:8443", "[::1]"),
    ] {
        let config = load(&emulator(url, "[public]\nbase_url = \"http://127.0.0.1:8081\""), &[]).unwrap();
        assert_eq!(config.upstream.oauth_base(), url.trim_end_matches('/'));
        assert_eq!((config.upstream.audience(), config.upstream.mode()), (audience, Mode::Test));
        assert_eq!(config.public.base_url.unwrap().as_str(), "http://127.0.0.1:8081");
    }
    let config = load(&with("[upstream]\nenvironment = \"production\""), &[]).unwrap();
    assert_eq!((config.upstream.audience(), config.upstream.mode()), ("account.docusign.com", Mode::Live));
}

#[test]
fn times_sizes_and_rates_are_read_in_every_unit() {
    use super::values::Setting as _;
    let times = [
        ("500ms", 500),
        ("5", 5_000),
        ("5s", 5_000),
        ("10m", 600_000),
        ("2h", 7_200_000),
        ("21d", 1_814_400_000),
    ];
    for (text, millis) in times {
        assert_eq!(Duration::parse(text), Ok(Duration::from_millis(millis)), "{text}");
    }
    for text in ["", "s", "-1", "1.5s", "5 weeks", "99999999999999999999", "184467440737095516d"] {
        assert!(Duration::parse(text).is_err(), "{text}");
    }
    for (text, bytes) in [("1024", 1024), ("64KiB", 65_536), ("50 MiB", 52_428_800), ("1GB", 1_000_000_000)] {
        assert_eq!(ByteSize::parse(text).unwrap().bytes(), bytes, "{text}");
    }
    assert_eq!(Rate::parse("1000/h"), Ok(Rate { count: 1_000, per: Duration::from_secs(3_600) }));
    for text in ["0/s", "100", "100/d", "-1/s"] {
        assert!(Rate::parse(text).is_err(), "{text}");
    }
    let origin = Origin::parse("https://WWW.example.com:443").unwrap();
    assert_eq!(origin.as_str(), "https://www.example.com");
}

#[test]
fn listeners_may_all_take_port_zero() {
    let text = emulator(
        "http://127.0.0.1:1",
        "[api]\nlisten = \"127.0.0.1:0\"\n[public]\nlisten = \"127.0.0.1:0\"\n\
         base_url = \"http://localhost:8081\"\n[ops]\nlisten = \"127.0.0.1:0\"",
    );
    load(&text, &[]).unwrap();
}

#[test]
fn the_example_files_load() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    Config::load(Some(&root.join("local.toml")), &Variables::default()).unwrap();
    let scratch = Scratch::new("examples");
    scratch.file("seal_key", SEAL_KEY);
    scratch.file("connect_hmac_key", "an example");
    let directory = scratch.0.display().to_string();
    let variables = variables(&[("CREDENTIALS_DIRECTORY", &directory)]);
    let config = Config::load(Some(&root.join("production.example.toml")), &variables).unwrap();
    assert_eq!(config.upstream.mode(), Mode::Live);
}

#[test]
fn the_example_key_has_the_fingerprint_that_is_refused() {
    use rsa::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("keys.example/public_key.pem");
    let key = rsa::PublicKey::read_public_key_pem_file(path).unwrap();
    let der = key.to_public_key_der().unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der.as_bytes());
    let pairs = EXAMPLE_KEY_FINGERPRINT.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    let expected: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
    assert_eq!(digest.as_ref(), expected);
}

#[test]
fn the_commented_settings_of_the_default_file_exist() {
    // Uncommented, with real values in place of the dots, the whole file must still be taken.
    let text = DEFAULTS
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting)
                if setting.starts_with('[') || setting.contains(" = ") && !setting.contains(". ") =>
            {
                setting
            }
            _ => line,
        })
        .filter(|line| {
            !line.contains("_file = ")
                && !["client_c", "pkcs11_module", "tls = "].iter().any(|start| line.starts_with(start))
        })
        .filter(|line| !line.starts_with("unix_socket") && !line.contains("oauth_url = "))
        .filter(|line| !line.starts_with("operator_password_hash"))
        // Which wants the file of client_ca; the next test has it.
        .filter(|line| !line.starts_with("certificates = [\"uri:"))
        .map(|line| match line.split_once(" = ") {
            Some(("integration_key", _)) => {
                "integration_key = \"5e0b1c8d-9a47-4c7e-8d21-6f3a2b900001\"".to_owned()
            }
            Some(("user_id", _)) => "user_id = \"b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210001\"".to_owned(),
            Some(("templates", own)) if own.starts_with('{') => {
                "templates = { nda = \"3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e001\" }".to_owned()
            }
            Some((key @ ("sms_workflow" | "brand" | "nda"), _)) => {
                format!("{key} = \"3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e001\"")
            }
            Some(("key_hash", _)) => format!("key_hash = \"sha256:{}\"", "0".repeat(64)),
            Some(("secrets", _)) => format!("secrets = [\"whsec_{SEAL_KEY}\"]"),
            Some(("seal_key", _)) => format!("seal_key = \"{SEAL_KEY}\""),
            _ => line.to_owned(),
        })
        .filter(|line| !line.contains('*'))
        .collect::<Vec<_>>()
        .join("\n")
        // What stood under a table "*" belongs to no table now; the defaults supply it anyway.
        .replace("scopes = [\"signature\", \"impersonation\"]", "")
        .replace("sms_required = false", "");
    let config = load(&text, &[]).unwrap();
    assert_eq!(config.callers["website"].rate, Some(Rate { count: 100, per: Duration::from_secs(1) }));
    assert_eq!(config.webhooks["website"].events.as_ref().unwrap().len(), 1);
}

#[test]
fn what_can_never_apply_is_refused_and_a_word_is_asked_for_as_one() {
    let line = refused(&with("[callers.shop]\ncertificates = [\"cn:shop\"]"));
    assert!(line.starts_with("callers.shop.certificates") && line.contains("api.client_ca"), "{line}");
    let line = refused(&with("[upstream]\nenvironment = 5"));
    assert!(line.contains("in quotes") && !line.contains("enum"), "{line}");
}
