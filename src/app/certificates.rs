//! The certificates of the listeners: read at start and again on SIGHUP, watched until they run out, and who was
//! refused because of his own is counted and told.
//!
//! A certificate that runs out gives no error here: the others just stop coming. So it is said before, where an
//! operator looks: in `/readyz`, in the log, and in a gauge.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;

use crate::{
    app::{Parts, from_settings::http_client, issuers::issuers, traces},
    clock::SharedClock,
    config::{Config, ConfigError},
    listener::{Peer, Tls},
    oidc::Issuers,
    ops::{Reason, Status},
    telemetry::{
        log_throttle::LogThrottle,
        metrics::{ExpiryKind, HandshakeRefusal, Metrics},
    },
    tls::{self, Expiry, Kind, Loaded, Refusal},
};

/// How often the dates are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// From when on a certificate or a CA counts as about to run out.
const NOTICE: SignedDuration = SignedDuration::from_hours(14 * 24);
/// From when on a revocation list counts as about to run out: it is made anew every day or week.
const LIST_NOTICE: SignedDuration = SignedDuration::from_hours(6);

/// The certificates of all listeners that speak TLS, to be read again. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Certificates(Arc<Vec<Held>>);

#[derive(Debug)]
struct Held {
    listener: &'static str,
    tls: Tls,
    expiries: Mutex<Vec<Expiry>>,
}

impl Certificates {
    /// Reads the files that the settings name.
    pub(super) fn read(
        config: &Config,
        clock: &SharedClock,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, ConfigError> {
        let mut all = Vec::new();
        for (listener, files) in files(config) {
            let Loaded { config, expiries } = load(listener, &files, clock)?;
            let tls = Tls::new(config, refused(listener, clock, metrics));
            all.push(Held { listener, tls, expiries: Mutex::new(expiries) });
        }
        Ok(Self(Arc::new(all)))
    }

    /// What a listener speaks TLS with; none if it does not.
    pub(super) fn of(&self, listener: &str) -> Option<Tls> {
        self.0.iter().find(|held| held.listener == listener).map(|held| held.tls.clone())
    }

    /// Reads the files of all listeners anew, and changes nothing yet. TLS that was off stays off until the
    /// next start.
    pub(super) fn read_again(
        &self,
        config: &Config,
        clock: &SharedClock,
    ) -> Result<FreshCertificates, ConfigError> {
        let files = files(config);
        let mut fresh = Vec::new();
        for (at, held) in self.0.iter().enumerate() {
            if let Some((_, files)) = files.iter().find(|(name, _)| *name == held.listener) {
                fresh.push((at, load(held.listener, files, clock)?));
            }
        }
        Ok(FreshCertificates { of: self.clone(), fresh })
    }

    fn expiries(&self) -> Vec<(&'static str, Expiry)> {
        let of = |held: &Held| {
            let expiries = held.expiries.lock().unwrap_or_else(PoisonError::into_inner);
            expiries.iter().map(|expiry| (held.listener, expiry.clone())).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }
}

/// Certificates that were read and are not in use yet.
pub(super) struct FreshCertificates {
    of: Certificates,
    fresh: Vec<(usize, Loaded)>,
}

impl FreshCertificates {
    /// From the next connection on.
    pub(super) fn take_up(self) {
        for (at, Loaded { config, expiries }) in self.fresh {
            let held = &self.of.0[at];
            held.tls.replace(config);
            *held.expiries.lock().unwrap_or_else(PoisonError::into_inner) = expiries;
        }
    }
}

/// Counts handshakes that came to nothing. Whoever showed a certificate that is not taken is in the log, too.
fn refused(
    listener: &'static str,
    clock: &SharedClock,
    metrics: &Arc<Metrics>,
) -> impl Fn(&Peer, Refusal) + Send + Sync + 'static {
    let (clock, metrics, sparing) = (Arc::clone(clock), Arc::clone(metrics), LogThrottle::default());
    move |peer, why| {
        metrics.handshake_refused(label(why));
        if !why.is_of_certificate() {
            return;
        }
        if let Some(others) = sparing.due(clock.uptime()) {
            let address = peer.address.map(|address| address.ip());
            tracing::info!(
                listener,
                peer.address = address.map(tracing::field::display),
                %why,
                others,
                "refused: a client certificate"
            );
        }
    }
}

fn label(why: Refusal) -> HandshakeRefusal {
    match why {
        Refusal::Dates | Refusal::Revoked | Refusal::Untrusted => HandshakeRefusal::Certificate,
        Refusal::ListExpired => HandshakeRefusal::ListExpired,
        Refusal::NoCertificate => HandshakeRefusal::NoCertificate,
        Refusal::Other | Refusal::TimedOut => HandshakeRefusal::Other,
    }
}

/// Keeps health and the gauge up to date with the dates.
pub(super) fn watch(parts: &Parts) {
    if parts.certificates.0.is_empty() {
        return;
    }
    let certificates = parts.certificates.clone();
    parts.metrics.on_scrape(move |metrics| {
        for (listener, Expiry { kind, at, .. }) in certificates.expiries() {
            let kind = match kind {
                Kind::Certificate => ExpiryKind::Certificate,
                Kind::ClientCa => ExpiryKind::ClientCa,
                Kind::ClientCrl => ExpiryKind::ClientCrl,
            };
            metrics.certificate_expires(listener, kind, at);
        }
    });
    parts.repeat("certificates", LOOK_EVERY, |parts| async move {
        for held in parts.certificates.0.iter() {
            let reason = judged(&parts, held);
            parts.health.set(reason);
        }
    });
}

/// What is to be said of a listener's files: of that which runs out first.
fn judged(parts: &Parts, held: &Held) -> Reason {
    let (part, now) = (format!("certificates.{}", held.listener), parts.clock.now());
    let expiries = held.expiries.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(first) =
        expiries.iter().filter(|it| it.at.duration_since(now) < notice(it.kind)).min_by_key(|it| it.at)
    else {
        return Reason::new(part, Status::Ready, "none runs out soon");
    };
    let (path, at) = (first.path.display(), first.at);
    let ran_out = if at <= now { "ran out" } else { "runs out" };
    let so = match first.kind {
        Kind::Certificate | Kind::ClientCa if at > now => "",
        Kind::Certificate => ", and nobody trusts this listener",
        Kind::ClientCa => ", and callers with a certificate of it are refused",
        Kind::ClientCrl if at > now => "; then everybody is refused",
        Kind::ClientCrl => ", and everybody is refused",
    };
    Reason::new(part, Status::Degraded, format!("{path} {ran_out} at {at}{so}: renew it, and send SIGHUP"))
}

const fn notice(kind: Kind) -> SignedDuration {
    match kind {
        Kind::Certificate | Kind::ClientCa => NOTICE,
        Kind::ClientCrl => LIST_NOTICE,
    }
}

/// Reads all certificates that the settings name as a start would: those of the listeners, and the CAs of whom we call.
/// Answers by section of the settings what is wrong with them; nothing of a section that names none. Asks nobody.
pub(crate) fn examine_certificates(
    config: &Config,
    clock: &SharedClock,
) -> Vec<(&'static str, Result<(), ConfigError>)> {
    let read =
        |(listener, files): (&'static str, tls::Files)| (listener, load(listener, &files, clock).map(|_| ()));
    let mut all: Vec<_> = files(config).into_iter().map(read).collect();
    let upstream = &config.upstream;
    if upstream.ca_file.is_some() {
        all.push(("upstream", http_client(config, upstream.request_timeout).map(|_| ())));
    }
    if !config.oidc.is_empty() {
        all.push(("oidc", issuers(config, &Issuers::default(), clock).map(|_| ())));
    }
    if config.otel.endpoint.is_some() {
        all.push(("otel", traces::client(config).map(|_| ())));
    }
    all
}

fn load(listener: &str, files: &tls::Files, clock: &SharedClock) -> Result<Loaded, ConfigError> {
    tls::load(files, clock).map_err(|error| {
        let fix = "write PEM files that belong together, readable by this user only";
        ConfigError::new(format!("{listener}.tls"), error.to_string(), fix)
    })
}

fn files(config: &Config) -> Vec<(&'static str, tls::Files)> {
    let plain = |tls: &crate::config::Tls| tls::Files {
        certificate: tls.cert_file.clone(),
        key: tls.key_file.clone(),
        client_ca: None,
        lets_strangers_in: false,
        client_crl: None,
    };
    let api = config.api.tls.as_ref().map(|tls| tls::Files {
        client_ca: config.api.client_ca.clone(),
        client_crl: config.api.client_crl.clone(),
        ..plain(tls)
    });
    // Visitors have no certificates; DocuSign is asked for its own where it delivers.
    let public = config.public.tls.as_ref().map(|tls| tls::Files {
        client_ca: config.connect.client_ca.clone(),
        lets_strangers_in: true,
        ..plain(tls)
    });
    let all = [("api", api), ("public", public), ("ops", config.ops.tls.as_ref().map(plain))];
    all.into_iter().filter_map(|(name, files)| Some((name, files?))).collect()
}
