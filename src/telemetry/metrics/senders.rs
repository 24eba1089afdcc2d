//! What is shown a sender: bounded, however many senders there are.
//!
//! Up to 12 senders have labels of their own. With more, the last of the alphabet share the label
//! `other`, whose gauges show the worst of them: an alert on any sender still fires.

use std::collections::{BTreeMap, BTreeSet};

use super::{KeyState, Metrics};

/// Senders with a label of their own.
const OWN_LABELS: usize = 12;

/// Series of `key_info`: a key each, and room for rotations.
const KEY_SERIES: usize = 20;

/// The label of the rest.
const OTHER: &str = "other";

/// What a sender's gauges show at a scrape.
#[derive(Debug, Clone)]
pub struct SenderReading {
    /// The sender's name.
    pub sender: String,
    /// When its access token ends, Unix seconds; 0 without one.
    pub expires_at_seconds: f64,
    /// How long the account server may stay down before a caller notices.
    pub runway_seconds: f64,
    /// Whether consent is granted, as far as we know.
    pub consent_granted: bool,
    /// Its private keys.
    pub keys: Vec<KeyReading>,
}

/// A private key at a scrape.
#[derive(Debug, Clone)]
pub struct KeyReading {
    /// Of the public half; a prefix will do.
    pub fingerprint: String,
    /// What it is used for.
    pub state: KeyState,
}

/// Which senders have a label of their own.
#[derive(Debug)]
pub(super) struct Labels(BTreeSet<String>);

impl Labels {
    pub(super) fn new(senders: &[&str]) -> Self {
        let sorted: BTreeSet<String> = senders.iter().map(|name| (*name).to_owned()).collect();
        let own = if sorted.len() > OWN_LABELS { OWN_LABELS - 1 } else { OWN_LABELS };
        Self(sorted.into_iter().take(own).collect())
    }

    pub(super) fn label<'a>(&self, sender: &'a str) -> &'a str {
        if self.0.contains(sender) { sender } else { OTHER }
    }
}

impl Metrics {
    /// Sets the gauges of all senders; call it from a scrape hook with all of them.
    pub fn observe_senders(&self, readings: &[SenderReading]) {
        let mut worst: BTreeMap<&str, (f64, f64, bool)> = BTreeMap::new();
        // A key that is gone takes its series with it.
        self.key_info.reset();
        let mut keys = 0;
        for reading in readings {
            let label = self.senders.label(&reading.sender);
            let entry = worst.entry(label).or_insert((f64::INFINITY, f64::INFINITY, true));
            entry.0 = entry.0.min(reading.expires_at_seconds);
            entry.1 = entry.1.min(reading.runway_seconds);
            entry.2 &= reading.consent_granted;
            if label != reading.sender {
                continue;
            }
            for key in reading.keys.iter().take(KEY_SERIES - keys) {
                keys += 1;
                self.key_info.with_label_values(&[label, &key.fingerprint, key.state.as_str()]).set(1.0);
            }
        }
        for (label, (expires_at, runway, consent)) in worst {
            self.token_expiry_timestamp_seconds.with_label_values(&[label]).set(expires_at);
            self.token_runway_seconds.with_label_values(&[label]).set(runway);
            self.consent_granted.with_label_values(&[label]).set(f64::from(u8::from(consent)));
        }
    }
}
