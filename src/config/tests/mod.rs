//! Settings that are taken: their layers, their units, and the files that come with the daemon.

mod refusals;
mod secrets;

use std::time::Duration;

use secrecy::ExposeSecret as _;
use tracing::level_filters::LevelFilter;

use super::{
    testing::{SEAL_KEY, SENDER, Scratch, emulator, load, variables, with},
    *,
};

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
        ("COUNTERSIGN__CONNECT__HMAC_KEYS", "0070070070070070"),
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
    assert_eq!(config.connect.hmac_keys[0].expose_secret(), "0070070070070070");
    assert_eq!(config.stop.grace, Duration::ZERO);
    assert!(config.signer.isolate);
    assert_eq!(config.store.synchronous, Synchronous::Off);
}

#[test]
fn a_comma_makes_no_list_and_no_secret_without_brackets() {
    let name = "COUNTERSIGN__CONNECT__HMAC_KEYS";
    let keys = |value: &str| -> Vec<String> {
        let config = load(&with(""), &[(name, value)]).unwrap();
        config.connect.hmac_keys.iter().map(|key| key.expose_secret().to_owned()).collect()
    };
    let (one, two) = ("the-first-of-them", "the-second-of-them");
    let both = format!("{one},{two}");
    assert_eq!(keys(&format!("[\"{one}\", \"{two}\"]")), [one, two]);
    assert_eq!(keys(&format!("[\"{both}\"]")), [both]);
    let why = "a comma without brackets; write [\"a\", \"b\"], or [\"a,b\"] if it belongs to the value";
    for bare in ["one,two", "one, two", "\"one,two\""] {
        let line = load(&with(""), &[(name, bare)]).unwrap_err().to_string();
        assert_eq!(line, format!("connect.hmac_keys (in {name}): {why}"));
    }
    let line = load(&with(""), &[("COUNTERSIGN__SENDERS__SYSTEM__SCOPES", "signature,impersonation")]);
    assert!(line.unwrap_err().to_string().starts_with("senders.system.scopes (in COUNTERSIGN__SENDERS__"));
}

#[test]
fn ids_that_are_digits_stay_text_in_the_file_too() {
    let config =
        load(&format!("{SENDER}account = 12345678\n[store]\nseal_key = \"{SEAL_KEY}\""), &[]).unwrap();
    assert_eq!(config.senders["system"].account.as_deref(), Some("12345678"));
}

#[test]
fn the_source_of_an_entry_is_that_of_its_list() {
    let pairs = [("COUNTERSIGN__SENDERS__SYSTEM__KEYS", r#"["key.pem", {credential = "next"}]"#)];
    let line = load(&with(""), &pairs).unwrap_err().to_string();
    assert!(line.starts_with("senders.system.keys.1 (in COUNTERSIGN__SENDERS__SYSTEM__KEYS): "), "{line}");
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
fn l6_an_origin_begins_no_url_of_another() {
    use super::values::Setting as _;
    let origin = Origin::parse("https://www.example.com").unwrap();
    for own in
        ["https://www.example.com", "https://www.example.com/done?a=@b.example", "https://www.example.com#x"]
    {
        assert!(origin.begins(own), "{own}");
    }
    for other in [
        "https://www.example.com.evil.example/",
        "https://www.example.commerce.example/",
        "https://www.example.com@evil.example/",
        "https://www.example.com:443@evil.example/",
        "https://www.example.com:8443/",
        "https://www.example.com\\@evil.example/",
        "https://www.example.com\t.evil.example/",
        "https://www.example.com%2eevil.example/",
        "https://www.example.com\u{3002}evil.example/",
        "http://www.example.com/",
        "https://evil.example/https://www.example.com/",
        "https://www.example.co",
        "",
    ] {
        assert!(!origin.begins(other), "{other}");
    }
}

proptest::proptest! {
    #[test]
    fn l6_what_an_origin_begins_is_of_it(rest in "[/?#:@.a1\\\\\t]{0,3}\\PC{0,8}", port in 0_u16..) {
        let origin = format!("http://127.0.0.1:{port}");
        let origin = <Origin as super::values::Setting>::parse(&origin).unwrap();
        let url = format!("{}{rest}", origin.as_str());
        if origin.begins(&url) {
            proptest::prop_assert_eq!(Origin::of(&url::Url::parse(&url).unwrap()), origin);
        }
    }
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
    scratch.file("connect_hmac_key", "a key of an example");
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
            Some(("hmac_keys", list)) if list.starts_with("[\"…") => {
                format!("hmac_keys = [\"{SEAL_KEY}\"]")
            }
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
