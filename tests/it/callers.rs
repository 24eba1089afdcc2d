//! How callers show who they are, and what is refused: certificates, tokens, unix users, rights on trial,
//! requests that came through a proxy or by another name, and streams that outlive a key.

use std::{fs, path::Path, sync::Arc, time::Duration};

use http::Method;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{PrivatePkcs8KeyDer, ServerName},
    version::{TLS12, TLS13},
};
use serde_json::{Value, json};

use crate::harness::{CALLER_KEY, STRANGER_KEY, THIRD_KEY, TempDir, TestDaemon, key_hash, order};

type Authority = CertifiedIssuer<'static, KeyPair>;

/// A CA, and the files that a daemon reads.
struct Pki {
    directory: TempDir,
    authority: Authority,
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Pki {
    fn new() -> Self {
        let pki = Self { directory: TempDir::new(), authority: authority("callers") };
        pki.restore();
        pki.write("ca.pem", &pki.authority.pem());
        pki
    }

    /// A certificate of the daemon, with its key.
    fn restore(&self) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        self.write("server.crt", &certificate.pem());
        self.write("server.key", &key.serialize_pem());
    }

    fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.directory.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Revokes these serial numbers, for the two months around the tests' date.
    fn revoke(&self, serials: &[u64]) {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2026, 5, 2),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 5, 1),
            next_update: date_time_ymd(2026, 7, 1),
            crl_number: SerialNumber::from(serials.len() as u64 + 1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.write("crl.pem", &params.signed_by(&self.authority).unwrap().pem().unwrap());
    }

    fn settings(&self) -> String {
        let at = |name: &str| self.directory.0.join(name).display().to_string();
        format!(
            "tls = {{ cert_file = \"{}\", key_file = \"{}\" }}\nclient_ca = \"{}\"\nclient_crl = \"{}\"",
            at("server.crt"),
            at("server.key"),
            at("ca.pem"),
            at("crl.pem")
        )
    }

    /// A client that shows a certificate; the text is what `change` made of its parameters.
    fn client(
        &self,
        issuer: &Authority,
        serial: u64,
        change: impl FnOnce(&mut CertificateParams),
    ) -> reqwest::Client {
        let (certificate, key) = issued(issuer, serial, change);
        let identity = format!("{}{}", certificate.pem(), key.serialize_pem());
        self.with(Some(&identity))
    }

    /// TLS of a client that shows a certificate, and resumes sessions where it may.
    fn tls(
        &self,
        version: &'static SupportedProtocolVersion,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Arc<ClientConfig> {
        let (certificate, key) = issued(&self.authority, 1, change);
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Arc::new(config.with_client_auth_cert(vec![certificate.der().clone()], key.into()).unwrap())
    }

    #[expect(clippy::disallowed_methods, reason = "the tests are a client of their own")]
    fn with(&self, identity: Option<&str>) -> reqwest::Client {
        let ca = reqwest::Certificate::from_pem(self.authority.pem().as_bytes()).unwrap();
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([ca]);
        let identity = identity.map(|pem| reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        identity.into_iter().fold(builder, reqwest::ClientBuilder::identity).build().unwrap()
    }
}

/// A certificate of a client, with its key.
fn issued(
    issuer: &Authority,
    serial: u64,
    change: impl FnOnce(&mut CertificateParams),
) -> (Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from(serial));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2026, 12, 31));
    params.distinguished_name = rcgen::DistinguishedName::new();
    change(&mut params);
    (params.signed_by(&key, issuer).unwrap(), key)
}

fn named(name: &str) -> impl FnOnce(&mut CertificateParams) + use<'_> {
    move |params| params.subject_alt_names.push(SanType::URI(name.try_into().unwrap()))
}

const SHOP: &str = "spiffe://bank.example/shop";

/// The status of a list of signings; none if there was no answer at all.
async fn status(client: &reqwest::Client, daemon: &TestDaemon, key: Option<&str>) -> Option<u16> {
    let url = format!("{}/v1/signings", daemon.api);
    let request = key.iter().fold(client.get(url), reqwest::RequestBuilder::bearer_auth);
    request.send().await.ok().map(|response| response.status().as_u16())
}

/// How the handshake of a new connection went, and the status; none if there was no answer at all.
async fn ask_anew(config: &Arc<ClientConfig>, daemon: &TestDaemon) -> Option<(HandshakeKind, u16)> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = daemon.api.strip_prefix("https://").unwrap();
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, socket).await.ok()?;
    let request = b"GET /v1/signings HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut answer = Vec::new();
    // With TLS 1.3 a refusal comes only now.
    let _ = stream.read_to_end(&mut answer).await;
    let kind = stream.get_ref().1.handshake_kind()?;
    let answer = String::from_utf8_lossy(&answer);
    Some((kind, answer.split(' ').nth(1)?.parse().ok()?))
}

async fn with_certificates(pki: &Pki) -> TestDaemon {
    let caller = format!("certificates = [\"uri:{SHOP}\", \"cn:shop\"]");
    TestDaemon::builder().api(&pki.settings()).caller(&caller).start().await
}

#[tokio::test]
async fn a_client_certificate_names_its_caller_and_a_bad_one_gets_no_further_than_the_handshake() {
    let pki = Pki::new();
    pki.revoke(&[66]);
    let daemon = with_certificates(&pki).await;
    assert!(daemon.api.starts_with("https://"), "{}", daemon.api);
    let good = pki.client(&pki.authority, 1, named(SHOP));
    let by_common_name = pki.client(&pki.authority, 2, |params| {
        params.distinguished_name.push(DnType::CommonName, "shop");
    });
    assert_eq!(status(&good, &daemon, None).await, Some(200));
    assert_eq!(status(&by_common_name, &daemon, None).await, Some(200));
    // It cannot be used for somebody else, and it stands for nobody who is not in the settings.
    assert_eq!(status(&good, &daemon, Some(CALLER_KEY)).await, Some(200));
    assert_eq!(status(&good, &daemon, Some(STRANGER_KEY)).await, Some(401));
    let unknown = pki.client(&pki.authority, 3, named("spiffe://bank.example/shop/evil"));
    assert_eq!(status(&unknown, &daemon, None).await, Some(401));
    assert_eq!(status(&unknown, &daemon, Some(CALLER_KEY)).await, Some(200));

    let elsewhere = authority("callers");
    let bad = [
        ("none", pki.with(None)),
        ("of another CA of the same name", pki.client(&elsewhere, 1, named(SHOP))),
        (
            "expired",
            pki.client(&pki.authority, 4, |params| {
                named(SHOP)(params);
                params.not_after = date_time_ymd(2026, 5, 31);
            }),
        ),
        (
            "not yet valid",
            pki.client(&pki.authority, 5, |params| {
                named(SHOP)(params);
                params.not_before = date_time_ymd(2026, 6, 2);
            }),
        ),
        ("revoked", pki.client(&pki.authority, 66, named(SHOP))),
        (
            "for servers",
            pki.client(&pki.authority, 6, |params| {
                named(SHOP)(params);
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }),
        ),
    ];
    for (what, client) in &bad {
        assert_eq!(status(client, &daemon, Some(CALLER_KEY)).await, None, "{what}");
    }
    for reason in ["no_certificate", "certificate"] {
        let series = format!("countersign_tls_handshakes_refused_total{{reason=\"{reason}\"}}");
        daemon.until(reason, async || !metric(&daemon, &series).await.ends_with(" 0")).await;
    }
    assert!(!daemon.ops("/readyz").await.text.contains("certificates"));
    let expiry = "countersign_certificate_expiry_timestamp_seconds{kind=\"client_crl\",listener=\"api\"}";
    assert_eq!(metric(&daemon, expiry).await, format!("{expiry} 1782864000"), "1 July 2026");
    daemon.clock.advance(Duration::from_secs(31 * 86_400));
    let late = pki.client(&pki.authority, 7, named(SHOP));
    assert_eq!(status(&late, &daemon, None).await, None, "a list that has run out lets nobody in");
    let said = async || daemon.ops("/readyz").await.text.contains("crl.pem ran out at 2026-07-01T00:00:00Z");
    daemon.until("that the list has run out", said).await;
    let series = "countersign_tls_handshakes_refused_total{reason=\"crl_expired\"}";
    assert!(!metric(&daemon, series).await.ends_with(" 0"));
    daemon.stop().await;
}

#[tokio::test]
async fn a_certificate_that_has_run_out_lives_on_in_no_session_and_no_open_connection() {
    let pki = Pki::new();
    pki.revoke(&[]);
    let daemon = with_certificates(&pki).await;
    let short_lived = |params: &mut CertificateParams| {
        named(SHOP)(params);
        params.not_after = date_time_ymd(2026, 6, 10);
    };
    let configs = [&TLS12, &TLS13].map(|version| pki.tls(version, short_lived));
    for config in &configs {
        for _ in 0..2 {
            let (kind, status) = ask_anew(config, &daemon).await.expect("an answer");
            assert_eq!(status, 200);
            assert_ne!(kind, HandshakeKind::Resumed, "nobody would look at the certificate");
        }
    }
    let kept = pki.client(&pki.authority, 1, short_lived);
    assert_eq!(status(&kept, &daemon, None).await, Some(200));
    daemon.clock.advance(Duration::from_secs(10 * 86_400));
    for config in &configs {
        assert_eq!(ask_anew(config, &daemon).await, None);
    }
    // Its connection is still there or just closed; neither lets it in.
    let late = status(&kept, &daemon, None).await;
    assert!(late.is_none_or(|status| status == 401), "{late:?}");
    daemon.until("the end of its connection", async || status(&kept, &daemon, None).await.is_none()).await;
    daemon.stop().await;
}

/// The line of one series.
async fn metric(daemon: &TestDaemon, series: &str) -> String {
    let text = daemon.ops("/metrics").await.text;
    text.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("no {series}")).to_owned()
}

#[tokio::test]
async fn a_certificate_that_runs_out_soon_is_said_before_and_a_reload_takes_the_new_one() {
    let pki = Pki::new();
    pki.revoke(&[]);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.not_after = date_time_ymd(2026, 6, 10);
    pki.write("server.crt", &params.signed_by(&key, &pki.authority).unwrap().pem());
    pki.write("server.key", &key.serialize_pem());
    let daemon = with_certificates(&pki).await;
    let ready = async || daemon.ops("/readyz").await;
    let warned = async || {
        let said = ready().await;
        // Callers are served all the same.
        said.status == 200 && said.text.contains("server.crt runs out at 2026-06-10")
    };
    daemon.run_clock("the warning", warned).await;
    pki.restore();
    let config = countersign::config::Config::from_toml(daemon.settings()).unwrap();
    daemon.parts().reload(&config).await.unwrap();
    daemon.clock.advance(Duration::from_secs(60));
    daemon.until("that all is well", async || !ready().await.text.contains("server.crt")).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_reload_closes_the_connections_of_a_certificate_that_was_revoked() {
    let pki = Pki::new();
    pki.revoke(&[]);
    let daemon = with_certificates(&pki).await;
    let (good, other) =
        (pki.client(&pki.authority, 1, named(SHOP)), pki.client(&pki.authority, 2, named(SHOP)));
    assert_eq!(status(&good, &daemon, None).await, Some(200));
    pki.revoke(&[1]);
    assert_eq!(status(&good, &daemon, None).await, Some(200), "until the daemon hears of it");
    let config = countersign::config::Config::from_toml(daemon.settings()).unwrap();
    daemon.parts().reload(&config).await.unwrap();
    daemon.until("the refusal", async || status(&good, &daemon, None).await.is_none()).await;
    assert_eq!(status(&other, &daemon, None).await, Some(200));

    // What is wrong with a new file changes nothing, also nothing of what the same settings say of webhooks.
    pki.write("server.crt", "no certificate");
    let webhook = "[webhooks.website]\nurl = \"https://hooks.example.com/\"\nsecrets = [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]\n";
    let more = format!("{}\n{webhook}", daemon.settings());
    let more = countersign::config::Config::from_toml(&more).unwrap();
    assert!(daemon.parts().reload(&more).await.is_err());
    assert_eq!(status(&other, &daemon, None).await, Some(200));
    let endpoints = async || daemon.parts().store.endpoints(None).await.unwrap().len();
    assert_eq!(endpoints().await, 0, "a reload that fails writes nothing");
    pki.restore();
    daemon.parts().reload(&more).await.unwrap();
    assert_eq!(endpoints().await, 1);
    daemon.stop().await;
}

#[tokio::test]
async fn a_token_of_an_issuer_stands_for_its_caller() {
    let directory = TempDir::new();
    let key = KeyPair::generate().unwrap();
    let public = key.public_key_raw();
    let text = |bytes: &[u8]| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
    };
    let (x, y) = (text(&public[1..33]), text(&public[33..65]));
    let set = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "x": x, "y": y }] });
    fs::write(directory.0.join("jwks.json"), set.to_string()).unwrap();
    let token = |subject: &str, audience: &str| {
        let header = jsonwebtoken::Header {
            kid: Some("k1".to_owned()),
            ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256)
        };
        let claims =
            json!({ "iss": "https://cluster", "sub": subject, "aud": audience, "exp": 4_000_000_000_u64 });
        let signing = jsonwebtoken::EncodingKey::from_ec_der(&key.serialize_der());
        jsonwebtoken::encode(&header, &claims, &signing).unwrap()
    };
    let issuer = format!(
        "[oidc.cluster]\nissuer = \"https://cluster\"\naudience = \"countersign\"\njwks_file = \"{}\"\n",
        directory.0.join("jwks.json").display()
    );
    let caller = "oidc = { cluster = [\"system:serviceaccount:shop:*\"] }";
    let daemon = TestDaemon::builder().caller(caller).with(&issuer).start().await;
    let url = format!("{}/v1/signings", daemon.api);
    let ask = async |token: String| daemon.call(Method::GET, &url, Some(&token), &[], Vec::new()).await;
    assert_eq!(ask(token("system:serviceaccount:shop:website", "countersign")).await.status, 200);
    for (subject, audience) in [
        ("system:serviceaccount:shopping:website", "countersign"),
        ("system:serviceaccount:shop:website", "vault"),
    ] {
        let reply = ask(token(subject, audience)).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (401, "unauthenticated"), "{}", reply.text);
        assert!(!reply.text.contains(subject), "{}", reply.text);
    }
    // It is not said of a token that it is bad when nobody can know.
    fs::remove_file(directory.0.join("jwks.json")).unwrap();
    daemon.clock.advance(Duration::from_secs(8 * 86_400));
    let unknown = ask(token("system:serviceaccount:shop:website", "countersign")).await;
    assert_eq!((unknown.status.as_u16(), unknown.code()), (503, "issuer_unavailable"), "{}", unknown.text);
    assert!(unknown.headers.contains_key("retry-after"));
    // Keys go on to work beside tokens.
    assert_eq!(ask(CALLER_KEY.to_owned()).await.status, 200);
    let metrics = daemon.ops("/metrics").await.text;
    for line in [
        "countersign_caller_authentications_total{method=\"token\",result=\"good\"} 1",
        "countersign_caller_authentications_total{method=\"token\",result=\"refused\"} 3",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_user_of_this_machine_needs_no_key_on_the_unix_socket() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let directory = TempDir::new();
    let path = directory.0.join("api.sock");
    let own = rustix::process::getuid().as_raw();
    let ask = async |path: &Path, more: &str| {
        let mut socket = tokio::net::UnixStream::connect(path).await.unwrap();
        let request = format!("GET /v1/signings HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    for (uid, expected) in [(own, "200"), (own + 1, "401")] {
        let api = format!("unix_socket = \"{}\"", path.display());
        let caller = format!("unix_uids = [{uid}]");
        let daemon = TestDaemon::builder().api(&api).caller(&caller).start().await;
        // Whatever the umask is, other users can connect; who they are decides.
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o666);
        assert_eq!(ask(&path, "").await, expected);
        assert_eq!(ask(&path, &format!("Authorization: Bearer {STRANGER_KEY}\r\n")).await, "200");
        assert_eq!(ask(&path, "Authorization: Bearer cs_wrong\r\n").await, "401", "the user does not help");
        assert_eq!(ask(&path, "X-Forwarded-For: 10.0.0.1\r\n").await, "403");
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_unix_socket_takes_the_place_of_a_dead_one_and_of_nothing_else() {
    use countersign::listener::Bound;
    let directory = TempDir::new();
    let at = |name: &str| directory.0.join(name);
    fs::write(at("precious"), "precious").unwrap();
    assert!(Bound::unix(&at("precious")).is_err());
    assert_eq!(fs::read_to_string(at("precious")).unwrap(), "precious");
    let living = std::os::unix::net::UnixListener::bind(at("living")).unwrap();
    assert!(Bound::unix(&at("living")).is_err());
    drop(living);
    assert!(Bound::unix(&at("living")).is_ok(), "its process is gone");
}

#[tokio::test]
async fn rights_on_trial_are_logged_and_counted_and_nothing_is_refused() {
    let lacking = "senders = []\ntemplates = []\nsms_required = true\nrate = \"2/h\"\ndaily_signings = 1\n";
    let missing = ["rate", "return_origin", "sender", "sms", "template"];
    let mut asked = order();
    asked["signers"][0]["return_url"] = json!("https://elsewhere.example/done");
    asked["signers"][0].as_object_mut().unwrap().remove("sms_auth");
    for (enforcement, decision) in [("audit", "audited"), ("on", "refused")] {
        let caller = format!("{lacking}enforcement = \"{enforcement}\"");
        let daemon = TestDaemon::builder().caller(&caller).start().await;
        let first = daemon.create("one", &asked).await;
        let mut own = asked.clone();
        if enforcement == "on" {
            assert_eq!((first.status.as_u16(), first.code()), (404, "sender_unknown"), "{}", first.text);
            let at = |fault: &Value| fault["pointer"].as_str().unwrap().to_owned();
            let places: Vec<_> = first.body["errors"].as_array().unwrap().iter().map(at).collect();
            let all = ["/documents/0/template", "/signers/0/return_url", "/signers/0/sms_auth", "/sender"];
            assert_eq!(places, all, "each right that it lacks: {}", first.text);
        } else {
            assert_eq!(first.status, 201, "{}", first.text);
            own["sender"] = json!("system");
        }
        daemon.create("two", &own).await;
        let third = daemon.create("three", &own).await;
        assert_eq!(third.status, if enforcement == "on" { 429 } else { 201 }, "{}", third.text);
        let metrics = daemon.ops("/metrics").await.text;
        let counted = |right: &&str| {
            let line =
                format!("countersign_caller_rights_total{{right=\"{right}\",decision=\"{decision}\"}}");
            let other =
                format!("countersign_caller_rights_total{{decision=\"{decision}\",right=\"{right}\"}}");
            metrics.contains(&line) || metrics.contains(&other)
        };
        assert!(missing.iter().all(counted), "{metrics}");
        let shown = daemon.get("/v1/senders").await;
        if enforcement == "audit" {
            assert_eq!(
                shown.body["data"],
                json!([]),
                "what it may not use it is not told of: {}",
                shown.text
            );
        }
        daemon.stop().await;
    }
}

#[tokio::test]
async fn what_came_through_a_proxy_is_refused_on_loopback_unless_it_is_meant() {
    let headers = [
        "Forwarded: for=10.0.0.1\r\n",
        "X-Forwarded-For: 10.0.0.1\r\n",
        "x-forwarded-proto: https\r\n",
        "X-Real-IP: 1.2.3.4\r\n",
    ];
    let daemon = TestDaemon::start().await;
    let paths = ["/v1/signings", "/openapi.json", "/.well-known/jwks.json", "/nothing"];
    for path in paths {
        for header in headers {
            assert_eq!(daemon.raw("GET", path, Some(CALLER_KEY), header).await, 403, "{path} {header}");
        }
    }
    let url = format!("{}/v1/signings", daemon.api);
    let reply = daemon.call(Method::GET, &url, Some(CALLER_KEY), &[("forwarded", "for=x")], Vec::new()).await;
    assert_eq!(reply.code(), "forbidden");
    assert!(reply.body["detail"].as_str().unwrap().contains("allow_forwarded"), "{}", reply.text);
    let ops = format!("{}/readyz", daemon.ops);
    let forwarded = [("x-forwarded-for", "10.0.0.1")];
    let refused = daemon.call(Method::GET, &ops, None, &forwarded, Vec::new()).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (403, "forbidden"));
    assert!(refused.body["detail"].as_str().unwrap().contains("allow_forwarded"), "{}", refused.text);
    assert_eq!(refused.headers["x-request-id"], refused.body["request_id"].as_str().unwrap());
    let metrics = daemon.ops("/metrics").await.text;
    let counted = "countersign_http_requests_total{listener=\"ops\",route=\"other\",status=\"403\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    daemon.stop().await;

    let meant = TestDaemon::builder().api("allow_forwarded = true").start().await;
    assert_eq!(meant.raw("GET", "/v1/signings", Some(CALLER_KEY), headers[0]).await, 200);
    meant.stop().await;
}

#[tokio::test]
async fn more_creates_at_once_than_are_taken_are_refused_at_once_and_those_under_way_are_not() {
    let daemon = TestDaemon::builder().api("creates_at_once = 2").start().await;
    daemon.fault(&json!({ "fault": "delay", "method": "POST", "path": "/envelopes", "delay_ms": 500 })).await;
    let order = order();
    let all = (0..8).map(|number| {
        let (daemon, order) = (&daemon, &order);
        async move { daemon.create(&format!("crowd-{number}"), order).await }
    });
    let all = futures_util::future::join_all(all).await;
    let made = all.iter().filter(|reply| reply.status == 201).count();
    let refused: Vec<_> = all.iter().filter(|reply| reply.status == 429).collect();
    assert_eq!((made, refused.len()), (2, 6), "{all:?}");
    assert!(
        refused
            .iter()
            .all(|reply| reply.code() == "quota_exceeded" && reply.headers.contains_key("retry-after"))
    );
    assert_eq!(daemon.create("crowd-7", &order).await.status, 201, "the key is free");
}

#[tokio::test]
async fn a_name_that_is_not_this_machines_is_refused_by_the_operators_listener_on_loopback() {
    let ask = async |daemon: &TestDaemon, host: &str| {
        let url = format!("{}/readyz", daemon.ops);
        daemon.call(Method::GET, &url, None, &[("host", host)], Vec::new()).await
    };
    let daemon = TestDaemon::start().await;
    for host in [
        "evil.example",
        "evil.example:9464",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "EVIL.example.",
    ] {
        let refused = ask(&daemon, host).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (403, "forbidden"), "{host}: {}", refused.text);
        assert!(refused.body["detail"].as_str().unwrap().contains("allow_forwarded"), "{}", refused.text);
        assert!(!refused.text.contains("evil"), "{}", refused.text);
    }
    // An address means what it says, and nobody elsewhere can have a name without a dot mean this machine.
    for host in ["localhost", "LOCALHOST:80", "a.localhost", "127.0.0.1:1", "192.0.2.1", "[::1]:9464", "ops"]
    {
        assert_ne!(ask(&daemon, host).await.status.as_u16(), 403, "{host}");
    }
    daemon.stop().await;

    let meant = TestDaemon::builder().ops("allow_forwarded = true\n").start().await;
    assert_ne!(ask(&meant, "ops.example").await.status.as_u16(), 403);
    meant.stop().await;
}

#[tokio::test]
async fn a_reload_ends_streams_so_that_nobody_reads_on_with_a_key_that_is_gone() {
    let daemon = TestDaemon::start().await;
    let mut stream = daemon.stream("/v1/events", &[]).await;
    assert_eq!(stream.status().as_u16(), 200);
    let rotated = daemon.settings().replace(&key_hash(CALLER_KEY), &key_hash(THIRD_KEY));
    let config = countersign::config::Config::from_toml(&rotated).unwrap();
    daemon.parts().reload(&config).await.unwrap();
    let ends = async { while stream.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(10), ends).await.expect("the stream ends");
    assert_eq!(daemon.stream("/v1/events", &[]).await.status().as_u16(), 401);
    daemon.stop().await;
}
