//! What is believed and what is not, against an issuer that a test makes.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use aws_lc_rs::{
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    clock::ManualClock,
    listener::{Bound, Limits},
};

const ISSUER: &str = "https://cluster.example";
const SUBJECT: &str = "system:serviceaccount:shop:website";
const START: i64 = 1_800_000_000;

/// A key pair of an issuer.
struct Pair {
    kid: &'static str,
    signing: EncodingKey,
    jwk: Value,
    /// The public half's modulus: what everybody knows of it.
    modulus: Vec<u8>,
}

impl Pair {
    fn rsa(kid: &'static str) -> Self {
        use aws_lc_rs::encoding::AsDer as _;
        use rsa::{pkcs1::EncodeRsaPrivateKey as _, pkcs8::DecodePrivateKey as _};
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
        // What signs here wants the older form.
        let der = rsa::PrivateKey::from_pkcs8_der(der.as_ref()).unwrap().to_pkcs1_der().unwrap();
        let public = pair.public_key();
        let modulus = public.modulus().big_endian_without_leading_zero().to_vec();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let exponent = text(public.exponent().big_endian_without_leading_zero());
        let jwk = json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": text(&modulus), "e": exponent });
        Self { kid, signing: EncodingKey::from_rsa_der(der.as_bytes()), jwk, modulus }
    }

    fn token(&self, claims: &Value) -> String {
        self.token_as(Algorithm::RS256, claims)
    }

    fn token_as(&self, algorithm: Algorithm, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.to_owned()), ..Header::new(algorithm) };
        jsonwebtoken::encode(&header, claims, &self.signing).unwrap()
    }
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "sub": SUBJECT, "aud": ["countersign", "other"], "iat": START, "nbf": START, "exp": START + 600 })
}

fn changed(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

/// A place that publishes keys, counts how often it is asked, and can be switched off.
struct Publisher {
    set: Arc<Mutex<Option<Value>>>,
    asked: Arc<AtomicUsize>,
    clock: ManualClock,
    issuers: Issuers,
}

impl Publisher {
    async fn start(keys: &[&Pair]) -> Self {
        Self::read_every(keys, Duration::from_secs(600)).await
    }

    async fn read_every(keys: &[&Pair], refresh: Duration) -> Self {
        let set = Arc::new(Mutex::new(Some(Self::set(keys))));
        let asked = Arc::new(AtomicUsize::new(0));
        let (answers, count) = (Arc::clone(&set), Arc::clone(&asked));
        let handler = move || {
            count.fetch_add(1, Ordering::Relaxed);
            let set = answers.lock().unwrap().clone();
            async move { set.map(axum::Json).ok_or(http::StatusCode::SERVICE_UNAVAILABLE) }
        };
        let router = axum::Router::new().route("/jwks", axum::routing::get(handler));
        let bound = Bound::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("{}/jwks", bound.origin()).parse().unwrap();
        tokio::spawn(bound.serve(router, Limits::default(), CancellationToken::new()));
        let clock = ManualClock::new(jiff::Timestamp::from_second(START).unwrap());
        let settings = Settings {
            issuer: ISSUER.to_owned(),
            audience: "countersign".to_owned(),
            algorithms: vec![Algorithm::RS256, Algorithm::ES256],
            source: Source::Url { url, ca_file: None, token_file: None },
            refresh,
            max_age: Duration::from_secs(3_600),
        };
        let all = BTreeMap::from([("cluster".to_owned(), settings)]);
        let shared: SharedClock = Arc::new(clock.clone());
        let issuers = Issuers::new(all, &Issuers::default(), &shared).unwrap();
        Self { set, asked, clock, issuers }
    }

    fn set(keys: &[&Pair]) -> Value {
        json!({ "keys": keys.iter().map(|pair| pair.jwk.clone()).collect::<Vec<_>>() })
    }

    fn publish(&self, set: Option<Value>) {
        *self.set.lock().unwrap() = set;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    async fn refusal(&self, token: &str) -> Refusal {
        self.issuers.identify(token).await.expect_err(token)
    }
}

#[tokio::test]
async fn a_good_token_names_its_issuer_and_subject() {
    let pair = Pair::rsa("one");
    let publisher = Publisher::start(&[&pair]).await;
    let identity = publisher.issuers.identify(&pair.token(&claims())).await.unwrap();
    assert_eq!(identity, Identity { issuer: "cluster".to_owned(), subject: SUBJECT.to_owned() });
    let single = pair.token(&changed("aud", json!("countersign")));
    assert!(publisher.issuers.identify(&single).await.is_ok());
    assert_eq!(publisher.asked(), 1, "the keys are kept");
}

#[tokio::test]
async fn claims_that_do_not_hold_are_refused() {
    let pair = Pair::rsa("one");
    let publisher = Publisher::start(&[&pair]).await;
    let table = [
        (changed("aud", json!("others")), Refusal::Audience),
        (changed("aud", json!(["others"])), Refusal::Audience),
        (changed("aud", Value::Null), Refusal::Form),
        (changed("iss", json!("https://cluster.example/")), Refusal::Issuer),
        (changed("exp", json!(START - 31)), Refusal::Expired),
        (changed("exp", json!("soon")), Refusal::Form),
        (changed("exp", json!(1_799_999_969.9)), Refusal::Expired),
        (changed("nbf", json!(1_800_000_031.5)), Refusal::NotYet),
        (changed("exp", json!(-1)), Refusal::Date),
        (changed("nbf", json!(-0.5)), Refusal::Date),
        (changed("exp", json!(START * 1_000)), Refusal::Date),
        (changed("iat", json!(1e300)), Refusal::Date),
        (changed("exp", json!(u64::MAX)), Refusal::Date),
        (changed("exp", json!(253_402_300_800_i64)), Refusal::Date),
        (changed("nbf", json!(253_402_300_799_i64)), Refusal::NotYet),
        (changed("nbf", json!(START + 31)), Refusal::NotYet),
        (changed("iat", json!(START + 3_600)), Refusal::NotYet),
        (changed("sub", json!("")), Refusal::Subject),
        (changed("sub", json!("x".repeat(256))), Refusal::Subject),
    ];
    for (claims, expected) in table {
        assert_eq!(publisher.refusal(&pair.token(&claims)).await, expected, "{claims}");
    }
    let mut without = claims();
    without.as_object_mut().unwrap().remove("exp");
    assert_eq!(publisher.refusal(&pair.token(&without)).await, Refusal::Form);
    let token = pair.token(&claims());
    publisher.clock.advance(Duration::from_secs(629));
    assert!(publisher.issuers.identify(&token).await.is_ok(), "within the leeway");
    publisher.clock.advance(Duration::from_secs(2));
    assert_eq!(publisher.refusal(&token).await, Refusal::Expired);
}

/// RFC 7519, section 2: a date need not be whole.
#[tokio::test]
async fn dates_may_have_a_fraction_which_counts_for_nothing() {
    let pair = Pair::rsa("one");
    let publisher = Publisher::start(&[&pair]).await;
    let mut fractional = claims();
    for (name, date) in [("exp", "1800000600.75"), ("nbf", "1800000030.999"), ("iat", "1.8000000005e9")] {
        fractional[name] = serde_json::from_str(date).unwrap();
    }
    let token = pair.token(&fractional);
    assert!(publisher.issuers.identify(&token).await.is_ok());
    publisher.clock.advance(Duration::from_secs(629));
    assert!(publisher.issuers.identify(&token).await.is_ok(), "within the leeway");
    publisher.clock.advance(Duration::from_secs(1));
    assert_eq!(publisher.refusal(&token).await, Refusal::Expired);
}

/// Such as .NET's `DateTime.MaxValue`, with its fraction.
#[tokio::test]
async fn a_token_for_good_ends_with_the_year_9999() {
    let pair = Pair::rsa("one");
    let publisher = Publisher::start(&[&pair]).await;
    for date in ["253402300799", "253402300799.9999"] {
        let token = pair.token(&changed("exp", serde_json::from_str(date).unwrap()));
        assert!(publisher.issuers.identify(&token).await.is_ok(), "{date}");
    }
}

/// RFC 8725, 2.1 and 3.1: what the token says of its algorithm decides nothing.
#[tokio::test]
async fn no_algorithm_and_no_confusion_of_keys_is_believed() {
    let pair = Pair::rsa("one");
    let other = Pair::rsa("one");
    let publisher = Publisher::start(&[&pair]).await;
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = |alg: &str| format!("{}.{}.", part(&json!({"alg": alg, "kid": "one"})), part(&claims()));
    for alg in ["none", "None", "NONE", "", "RS1"] {
        assert_eq!(publisher.refusal(&unsigned(alg)).await, Refusal::Algorithm, "{alg}");
    }
    assert_eq!(publisher.refusal(&unsigned("RS256")).await, Refusal::Signature);
    // The public half taken for a shared secret, in each form that it is known in.
    for secret in
        [pair.modulus.clone(), pair.jwk.to_string().into_bytes(), pair.jwk["n"].to_string().into_bytes()]
    {
        let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::HS256) };
        let forged = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(&secret)).unwrap();
        assert_eq!(publisher.refusal(&forged).await, Refusal::Algorithm);
    }
    assert_eq!(publisher.refusal(&pair.token_as(Algorithm::PS256, &claims())).await, Refusal::Algorithm);
    assert_eq!(publisher.refusal(&pair.token_as(Algorithm::RS512, &claims())).await, Refusal::Algorithm);
    assert_eq!(publisher.refusal(&other.token(&claims())).await, Refusal::Signature);
    let token = pair.token(&claims());
    let parts: Vec<&str> = token.split('.').collect();
    let forged = format!("{}.{}.{}", parts[0], part(&changed("sub", json!("admin"))), parts[2]);
    assert_eq!(publisher.refusal(&forged).await, Refusal::Signature);
    let wrong_kind = format!("{}.{}.{}", part(&json!({"alg": "ES256", "kid": "one"})), parts[1], parts[2]);
    assert_eq!(publisher.refusal(&wrong_kind).await, Refusal::Algorithm);
}

#[tokio::test]
async fn a_shared_secret_in_the_set_is_no_key() {
    let pair = Pair::rsa("one");
    let publisher = Publisher::start(&[&pair]).await;
    let secret =
        json!({ "kty": "oct", "kid": "oct", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(b"secret") });
    publisher.publish(Some(json!({ "keys": [secret, { "kty": "nonsense" }, pair.jwk] })));
    assert!(publisher.issuers.identify(&pair.token(&claims())).await.is_ok(), "the others still count");
    let header = Header { kid: Some("oct".to_owned()), ..Header::new(Algorithm::HS256) };
    let forged = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(b"secret")).unwrap();
    assert_eq!(publisher.refusal(&forged).await, Refusal::Algorithm);
}

#[tokio::test]
async fn what_is_no_token_is_refused_unasked() {
    let pair = Pair::rsa("one");
    let publisher = Publisher::start(&[&pair]).await;
    let token = pair.token(&claims());
    let critical = json!({ "alg": "RS256", "kid": "one", "crit": ["exp"] });
    let other_kind = json!({ "alg": "RS256", "kid": "one", "typ": "logout+jwt" });
    let with_header = |header: &Value| {
        let rest = token.split_once('.').unwrap().1;
        format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
    };
    let table = [
        String::new(),
        "x".to_owned(),
        "a.b.c".to_owned(),
        format!("{token}.more"),
        token.replace('.', ".."),
        "x".repeat(20_000),
        with_header(&critical),
        with_header(&other_kind),
    ];
    for token in table {
        assert_eq!(publisher.refusal(&token).await, Refusal::Form, "{token}");
    }
    assert_eq!(publisher.asked(), 0);
}

#[tokio::test]
async fn a_new_key_is_taken_up_at_once_and_the_issuer_is_asked_within_a_bound() {
    let (old, new) = (Pair::rsa("old"), Pair::rsa("new"));
    let publisher = Publisher::start(&[&old]).await;
    assert!(publisher.issuers.identify(&old.token(&claims())).await.is_ok());
    publisher.publish(Some(Publisher::set(&[&new])));
    publisher.clock.advance(Duration::from_secs(31));
    assert!(publisher.issuers.identify(&new.token(&claims())).await.is_ok());
    assert_eq!(publisher.asked(), 2);
    assert_eq!(publisher.refusal(&old.token(&claims())).await, Refusal::Key, "the old one is gone");

    let unknown = Pair::rsa("unknown").token(&claims());
    for _ in 0..50 {
        assert_eq!(publisher.refusal(&unknown).await, Refusal::Key);
    }
    assert_eq!(publisher.asked(), 2, "not before the gap is over");
    publisher.clock.advance(Duration::from_secs(31));
    let all = (0..50).map(|_| publisher.refusal(&unknown));
    assert!(futures_util::future::join_all(all).await.iter().all(|refusal| *refusal == Refusal::Key));
    assert_eq!(publisher.asked(), 3, "one asks for all");
}

#[tokio::test]
async fn a_stranger_who_hangs_up_does_not_keep_a_new_key_from_being_read() {
    let (old, new) = (Pair::rsa("old"), Pair::rsa("new"));
    let publisher = Publisher::start(&[&old]).await;
    assert!(publisher.issuers.identify(&old.token(&claims())).await.is_ok());
    publisher.publish(Some(Publisher::set(&[&new])));
    publisher.clock.advance(Duration::from_secs(31));
    let unknown = Pair::rsa("unknown").token(&claims());
    // Far enough to ask, and gone before there can be an answer.
    let asking = publisher.issuers.identify(&unknown);
    assert!(futures_util::FutureExt::now_or_never(asking).is_none());
    assert!(publisher.issuers.identify(&new.token(&claims())).await.is_ok(), "it was read all the same");
    assert_eq!(publisher.asked(), 2);
}

#[tokio::test]
async fn whoever_wants_keys_read_often_gets_them_read_often() {
    let (old, new) = (Pair::rsa("old"), Pair::rsa("new"));
    let publisher = Publisher::read_every(&[&old], Duration::from_secs(5)).await;
    assert!(publisher.issuers.identify(&old.token(&claims())).await.is_ok());
    publisher.publish(Some(Publisher::set(&[&new])));
    publisher.clock.advance(Duration::from_secs(6));
    assert!(publisher.issuers.identify(&new.token(&claims())).await.is_ok());
}

#[tokio::test]
async fn keys_outlive_an_outage_of_their_issuer_but_not_for_ever() {
    let pair = Pair::rsa("one");
    let publisher = Publisher::start(&[&pair]).await;
    let lasting = pair.token(&changed("exp", json!(START + 100_000)));
    assert!(publisher.issuers.identify(&lasting).await.is_ok());
    publisher.publish(None);
    publisher.clock.advance(Duration::from_secs(3_599));
    assert!(publisher.issuers.identify(&lasting).await.is_ok(), "older than refresh, younger than max_age");
    publisher.clock.advance(Duration::from_secs(1));
    assert_eq!(publisher.refusal(&lasting).await, Refusal::Keys);
    publisher.publish(Some(json!({ "keys": [] })));
    publisher.clock.advance(Duration::from_secs(31));
    assert_eq!(publisher.refusal(&lasting).await, Refusal::Keys, "an empty set replaces nothing");
    publisher.publish(Some(Publisher::set(&[&pair])));
    publisher.clock.advance(Duration::from_secs(31));
    assert!(publisher.issuers.identify(&lasting).await.is_ok());
}

#[tokio::test]
async fn each_table_of_an_issuer_takes_the_tokens_for_its_own_audience() {
    let (pair, other) = (Pair::rsa("one"), Pair::rsa("one"));
    let folder = std::env::temp_dir().join(format!("countersign-oidc-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&folder).unwrap();
    let [file, nowhere] = ["jwks.json", "nowhere.json"].map(|name| folder.join(name));
    std::fs::write(&file, Publisher::set(&[&pair]).to_string()).unwrap();
    let table = |audience: &str, algorithm, file: &PathBuf| Settings {
        issuer: ISSUER.to_owned(),
        audience: audience.to_owned(),
        algorithms: vec![algorithm],
        source: Source::File(file.clone()),
        refresh: Duration::from_secs(600),
        max_age: Duration::from_secs(3_600),
    };
    let clock = ManualClock::new(jiff::Timestamp::from_second(START).unwrap());
    let shared: SharedClock = Arc::new(clock.clone());
    let of = |tables: [(&str, Settings); 3]| {
        let all = tables.map(|(name, settings)| (name.to_owned(), settings)).into();
        Issuers::new(all, &Issuers::default(), &shared).unwrap()
    };
    let issuers = of([
        ("a", table("first", Algorithm::RS256, &file)),
        ("b", table("second", Algorithm::RS256, &file)),
        ("c", table("third", Algorithm::ES256, &file)),
    ]);
    let token = |audience: &str| pair.token(&changed("aud", json!(audience)));
    for (audience, name) in [("first", "a"), ("second", "b")] {
        let identity = issuers.identify(&token(audience)).await.unwrap();
        assert_eq!((identity.issuer.as_str(), identity.subject.as_str()), (name, SUBJECT));
    }
    // Each with its own algorithms, and the refusal says what there is to say.
    assert_eq!(issuers.identify(&token("third")).await, Err(Refusal::Algorithm));
    let forged = other.token(&changed("aud", json!("second")));
    assert_eq!(issuers.identify(&forged).await, Err(Refusal::Signature));
    let elsewhere = pair.token(&changed("iss", json!("https://elsewhere.example")));
    assert_eq!(issuers.identify(&elsewhere).await, Err(Refusal::Issuer));

    let issuers = of([
        ("a", table("first", Algorithm::RS256, &nowhere)),
        ("b", table("second", Algorithm::RS256, &file)),
        ("c", table("second", Algorithm::RS256, &file)),
    ]);
    let identity = issuers.identify(&token("second")).await.unwrap();
    assert_eq!(identity.issuer, "b", "keys that cannot be read are the concern of their table alone");
    assert_eq!(issuers.identify(&token("first")).await, Err(Refusal::Keys), "nobody can know");
    clock.advance(Duration::from_secs(700));
    assert_eq!(issuers.identify(&token("second")).await, Err(Refusal::Keys), "it may still be of the first");
    std::fs::write(&nowhere, Publisher::set(&[&pair]).to_string()).unwrap();
    clock.advance(Duration::from_secs(31));
    assert_eq!(issuers.identify(&token("second")).await, Err(Refusal::Expired));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn debug_shows_no_key_material() {
    let pair = Pair::rsa("one");
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(pair.jwk).unwrap();
    let key = keys::PublicKey::of(&jwk).unwrap();
    assert_eq!(format!("{key:?}"), "PublicKey { kid: Some(\"one\"), kind: Rsa, .. }");
}
