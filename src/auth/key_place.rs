//! Where one key of a sender is, and who reads it there: this process, the signer process, or a device.
//!
//! The key ring above knows neither files nor processes: it asks a place what it holds now, and gets a
//! [`Signer`] or a defect.

use std::fmt;

use super::{
    device::DeviceKey,
    signer::Signer,
    signer_process::{RemoteSlot, SignerProcess},
    signing_key::{self, Defect, Fingerprint, KeySource, Stamp},
};

/// A place that the settings name.
#[derive(Debug)]
pub(super) enum Place {
    /// A device, which signs itself.
    Device(DeviceKey),
    /// Read by this process.
    Here(KeySource),
    /// A file that only the signer process reads.
    Isolated(RemoteSlot),
}

/// What a place holds now.
#[derive(Debug)]
pub(super) struct Found {
    /// What it looked like just before it was read; none if it cannot change.
    pub(super) stamp: Option<Stamp>,
    /// The key, or what is wrong.
    pub(super) key: Result<Signer, signing_key::Error>,
}

impl Place {
    /// The place of a source. With a signer process, files are read there and nowhere else.
    pub(super) fn new(source: KeySource, process: Option<&SignerProcess>) -> Self {
        match (source, process) {
            (KeySource::Device(key), _) => Self::Device(*key),
            (KeySource::File(path), Some(process)) => Self::Isolated(process.open(path)),
            (source, _) => Self::Here(source),
        }
    }

    /// What it holds, if that may have changed: never the key that is barred (the digest of its public half, in hex).
    pub(super) async fn look_but(
        &self,
        known: Option<&Stamp>,
        wanted: Vec<Fingerprint>,
        barred: Option<&str>,
    ) -> Option<Found> {
        let Found { stamp, key } = self.look(known, wanted).await?;
        let key = key.and_then(|key| {
            // Shown as "SHA256:" and the digest.
            let shown = key.fingerprint().to_string();
            let is_barred = barred.is_some_and(|digest| shown.ends_with(digest));
            if is_barred { Err(self.error(Defect::Example)) } else { Ok(key) }
        });
        Some(Found { stamp, key })
    }

    /// What it holds, if that may have changed since it looked like `known`. Keys that are not
    /// `wanted` any more are forgotten by whoever holds them.
    async fn look(&self, known: Option<&Stamp>, wanted: Vec<Fingerprint>) -> Option<Found> {
        match self {
            // Looked for until it is there; what it is does not change then.
            Self::Device(_) if !wanted.is_empty() => None,
            Self::Device(key) => {
                let key = key.open().await.map(Signer::Device).map_err(|defect| self.error(defect));
                Some(Found { stamp: None, key })
            }
            Self::Here(source) => {
                // Stamped before it is read: a change in between is seen at the next look.
                let stamp = source.stamp();
                if known.is_some() && stamp.as_ref() == known {
                    return None;
                }
                Some(Found { stamp, key: source.load().map(Signer::InProcess) })
            }
            Self::Isolated(slot) => match slot.look(known, wanted).await {
                None if known.is_some() => None,
                None => Some(Found { stamp: None, key: Err(self.error(Defect::SignerAway)) }),
                Some((stamp, key)) => {
                    let key = key.map(Signer::Isolated).map_err(|defect| self.error(defect));
                    Some(Found { stamp: Some(stamp), key })
                }
            },
        }
    }

    /// Whether what it holds can change while we run.
    pub(super) fn can_change(&self) -> bool {
        match self {
            Self::Here(source) => matches!(source, KeySource::File(_)),
            Self::Device(_) | Self::Isolated(_) => true,
        }
    }

    fn error(&self, defect: Defect) -> signing_key::Error {
        signing_key::Error { origin: self.to_string().into(), defect }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(key) => key.fmt(f),
            Self::Here(source) => source.fmt(f),
            Self::Isolated(slot) => slot.path.display().fmt(f),
        }
    }
}
