//! Secrets: where they come from, and that they are not printed.

use secrecy::ExposeSecret;

use crate::config::{
    testing::{SEAL_KEY, SENDER, Scratch, emulator, load, refused, variables, with},
    *,
};

#[test]
fn secrets_come_by_value_by_file_or_from_systemd() {
    let scratch = Scratch::new("secrets");
    scratch.file("seal", &format!("{SEAL_KEY}\n"));
    let hmac = scratch.file("hmac", "a key from a file\n");
    let text = format!(
        "{SENDER}[store]\nseal_key_credential = \"seal\"\nurl_file = \"{url}\"\n\
         [connect]\nhmac_keys = [\"an inline Connect key\", {{file = \"{hmac}\"}}, {{credential = \"hmac\"}}]",
        url = scratch.file("url", "postgres://user:pass@db.example.com/countersign\n"),
    );
    let directory = scratch.0.display().to_string();
    let config = load(&text, &[("CREDENTIALS_DIRECTORY", &directory)]).unwrap();
    let keys: Vec<&str> = config.connect.hmac_keys.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(keys, ["an inline Connect key", "a key from a file", "a key from a file"]);
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

/// Those that are read again while we run are files, and a credential is one.
#[test]
fn a_listeners_key_and_the_token_for_an_issuer_come_by_file_or_from_systemd() {
    let scratch = Scratch::new("places");
    let (certificate, key) = (scratch.file("tls.crt", "x"), scratch.file("tls-key", "x"));
    scratch.file("token", "x");
    let issuer = "[oidc.a]\nissuer = \"i\"\naudience = \"a\"\njwks_url = \"https://a.example/\"";
    let text = |listener: &str, of_key: &str, of_token: &str| {
        let tls = format!("[{listener}.tls]\ncert_file = \"{certificate}\"\n{of_key}");
        with(&format!("{issuer}\n{of_token}\n{tls}"))
    };
    let directory = scratch.0.display().to_string();
    let credentials = [("CREDENTIALS_DIRECTORY", directory.as_str())];
    let token = "token_credential = \"token\"";
    for listener in ["api", "public", "ops"] {
        for of_key in [format!("key_file = \"{key}\""), "key_credential = \"tls-key\"".to_owned()] {
            let config = load(&text(listener, &of_key, token), &credentials).unwrap();
            let all = [&config.api.tls, &config.public.tls, &config.ops.tls];
            let keys: Vec<_> = all.into_iter().flatten().map(|tls| tls.key_file.clone()).collect();
            assert_eq!(keys, [Path::new(&key)], "{listener}: {of_key}");
            assert_eq!(config.oidc["a"].token_file.as_deref(), Some(scratch.0.join("token").as_path()));
        }
    }
    for (of_key, of_token, refusal) in [
        ("", "", "api.tls.key_file: missing"),
        ("key_file = \"x\"\nkey_credential = \"x\"", "", "api.tls.key_file (in site.toml): given twice"),
        ("key_credential = \"none\"", "", "api.tls.key_credential (in site.toml): cannot read"),
        (
            "key_credential = \"tls-key\"",
            "token_credential = \"../x\"",
            "oidc.a.token_credential (in site.toml)",
        ),
    ] {
        let line = load(&text("api", of_key, of_token), &credentials).unwrap_err().to_string();
        assert!(line.starts_with(refusal), "{line}");
    }
}

#[test]
fn a_table_in_the_place_of_a_secret_is_told_the_settings_for_files_and_credentials() {
    for (table, setting) in [
        ("ops", "operator_password_hash"),
        ("senders.other", "client_secret"),
        ("signer", "pkcs11_pin"),
        ("store", "seal_key"),
        ("store", "url"),
    ] {
        let line = refused(&format!("{SENDER}[{table}]\n{setting} = {{ file = \"x\" }}"));
        let fix = format!("found a table; write {setting}_file = \"…\" or {setting}_credential = \"…\"");
        assert!(line.starts_with(&format!("{table}.{setting} (in ")) && line.ends_with(&fix), "{line}");
    }
    // Where there are no such settings none are named.
    let line = refused(&with("[log]\nlevel = { file = \"x\" }"));
    assert!(line.contains("found a table") && !line.contains("_file"), "{line}");
}

#[test]
fn no_secret_is_in_the_debug_output() {
    let scratch = Scratch::new("debug");
    let url = scratch.file("url", "postgres://user:planted-url@db/x");
    let text = format!(
        "{SENDER}[store]\nurl_file = \"{url}\"\nseal_keys = [\"{SEAL_KEY}\"]\n[connect]\nhmac_keys = \"planted-hmac-key\"\n\
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
fn s4_the_emulators_connect_key_is_refused_for_a_real_upstream() {
    let local = include_str!("../../../config/local.toml");
    let list = local.lines().find(|line| line.starts_with("hmac_keys = ")).unwrap();
    assert!(Config::from_toml(local).unwrap().has_hmac_keys());
    // What comes with copying is taken off before deliveries are held against it.
    let quoted = list.replace("[\"", "[\"'").replace("\"]", "'\"]");
    for list in [list, quoted.as_str()] {
        for (text, setting) in with_connect_keys(list) {
            let line = refused(&text);
            assert!(
                line.starts_with(&format!("{setting} (in site.toml): this is the key of the emulator")),
                "{line}"
            );
        }
    }
}

/// Settings with this list for everybody and for a sender, and what its first entry is called.
fn with_connect_keys(list: &str) -> [(String, &'static str); 2] {
    let of_all = with(&format!("[connect]\n{list}"));
    let of_one = format!("{SENDER}{list}\n[store]\nseal_key = \"{SEAL_KEY}\"");
    [(of_all, "connect.hmac_keys.0"), (of_one, "senders.system.hmac_keys.0")]
}

#[test]
fn a_connect_key_that_could_be_guessed_is_refused_for_a_real_upstream() {
    for (key, why) in [("fifteen-letters", "shorter than 16 characters"), ("''", "empty")] {
        for (text, setting) in with_connect_keys(&format!("hmac_keys = [\"{key}\"]")) {
            let line = refused(&text);
            assert!(line.starts_with(&format!("{setting} (in site.toml): {why}; ")), "{line}");
        }
    }
    for (text, _) in with_connect_keys("hmac_keys = [\"sixteen--letters\"]") {
        load(&text, &[]).unwrap();
    }
    let of_emulator = emulator("http://127.0.0.1:8443", "[connect]\nhmac_keys = [\"k\"]");
    load(&of_emulator, &[]).unwrap();
}

#[test]
fn s4_the_api_key_and_the_seal_key_of_the_examples_are_refused_for_a_real_upstream() {
    let local = include_str!("../../../config/local.toml");
    let line = |start: &str| local.lines().find(|line| line.starts_with(start)).unwrap();
    let (hash, seal) = (line("key_hash = "), line("seal_key = "));
    let of = |line: &'static str| line.split_once(" = ").unwrap().1;
    let table = [
        (with(&format!("[callers.website]\n{hash}")), "callers.website.key_hash"),
        (
            with(&format!("[callers.website]\nkey_hashes = [\"sha256:{}\", {}]", "1".repeat(64), of(hash))),
            "callers.website.key_hashes.1",
        ),
        (format!("{SENDER}[store]\n{seal}"), "store.seal_key"),
        // A former one proves what browsers bring back, too.
        (format!("{SENDER}[store]\nseal_keys = [\"{SEAL_KEY}\", {}]", of(seal)), "store.seal_keys.1"),
    ];
    for (text, setting) in table {
        for environment in ["demo", "production"] {
            let said = refused(&format!("{text}\n[upstream]\nenvironment = \"{environment}\""));
            let start =
                format!("{setting} (in site.toml): this is the key of an example, which everybody has; ");
            assert!(said.starts_with(&start), "{said}");
        }
        let of_emulator = "[upstream]\nenvironment = \"emulator\"\noauth_url = \"http://127.0.0.1:8443\"";
        load(&format!("{text}\n{of_emulator}"), &[]).unwrap();
    }
}
