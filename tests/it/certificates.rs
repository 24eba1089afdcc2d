//! Certificates of callers and of the daemon: whom one lets in, and what becomes of it when it runs out or is revoked.

use std::{fs, sync::Arc, time::Duration};

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

use crate::harness::{CALLER_KEY, STRANGER_KEY, TempDir, TestDaemon};

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
