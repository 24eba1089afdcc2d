//! What is shown a sender: bounded, however many senders there are.
//!
//! Up to 10 senders have labels of their own. With more, the last of the alphabet share the label
//! `other`, whose gauges show the worst of them, and of their keys only those that are bad: an alert on any sender still
//! fires.

use std::collections::{BTreeMap, BTreeSet};

use prometheus::GaugeVec;

use super::{KeyState, Metrics};

/// Senders with a label of their own.
const OWN_LABELS: usize = 10;

/// Series of `key_info`: a key each, and room for rotations.
const KEY_SERIES: usize = 13;

/// The label of the rest.
const OTHER: &str = "other";

/// What a sender's gauges show at a scrape.
#[derive(Debug, Clone)]
pub struct SenderReading {
    /// The sender's name.
    pub sender: String,
    /// When its access token ends, Unix seconds; 0 without one.
    pub expires_at_seconds: f64,
    /// How long the account server may stay down before a caller notices; none for one that needs no token now.
    pub runway_seconds: Option<f64>,
    /// Whether consent is granted; none if that is not known.
    pub consent_granted: Option<bool>,
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
        let mut worst: BTreeMap<&str, Worst> = BTreeMap::new();
        // A key that is gone takes its series with it.
        self.key_info.reset();
        let mut keys = 0;
        for reading in readings {
            let label = self.senders.label(&reading.sender);
            worst.entry(label).or_default().take(reading);
            if label != reading.sender {
                let bad = reading
                    .keys
                    .iter()
                    .filter(|key| matches!(key.state, KeyState::Broken | KeyState::Rejected));
                for key in bad {
                    self.key_info.with_label_values(&[label, "none", key.state.as_str()]).set(1.0);
                }
                continue;
            }
            for key in reading.keys.iter().take(KEY_SERIES - keys) {
                keys += 1;
                self.key_info.with_label_values(&[label, &key.fingerprint, key.state.as_str()]).set(1.0);
            }
        }
        for (label, worst) in worst {
            self.token_expiry_timestamp_seconds
                .with_label_values(&[label])
                .set(worst.expires_at.unwrap_or_default());
            set(&self.token_runway_seconds, label, worst.runway);
            set(&self.consent_granted, label, worst.consent.map(|granted| f64::from(u8::from(granted))));
        }
    }
}

/// The worst of the senders that share a label; none where none of them says anything.
#[derive(Debug, Default)]
struct Worst {
    expires_at: Option<f64>,
    runway: Option<f64>,
    consent: Option<bool>,
}

impl Worst {
    fn take(&mut self, reading: &SenderReading) {
        let least = |one: Option<f64>, other: Option<f64>| one.into_iter().chain(other).reduce(f64::min);
        self.expires_at = least(self.expires_at, Some(reading.expires_at_seconds));
        self.runway = least(self.runway, reading.runway_seconds);
        let known = self.consent.into_iter().chain(reading.consent_granted);
        self.consent = known.reduce(|one, other| one && other);
    }
}

/// Sets a gauge, or takes its series away: what is not known is not bad.
fn set(gauge: &GaugeVec, label: &str, value: Option<f64>) {
    match value {
        Some(value) => gauge.with_label_values(&[label]).set(value),
        // There may have been none.
        None => drop(gauge.remove_label_values(&[label])),
    }
}
