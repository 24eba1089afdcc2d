//! The keys of one sender, in order, and how one takes over from another (rule T10).
//!
//! A place that the settings name (a file or a value) is a *slot*. When a slot's file changes, what
//! it holds now is only a candidate: the key that works stays until the candidate has earned a real
//! token. A file that turns bad changes nothing but the status. The ring never talks to anyone; the
//! exchange asks it whom to try and reports what came of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::{
    signer::Signer,
    signing_key::{self, Fingerprint, KeySource, Stamp},
};
use crate::clock::SharedClock;

/// The keys of one sender.
#[derive(Debug)]
pub struct KeyRing {
    clock: SharedClock,
    ring: Mutex<Ring>,
}

#[derive(Debug)]
struct Ring {
    slots: Vec<Slot>,
    /// The key that earned the last token.
    active: Option<Fingerprint>,
}

#[derive(Debug)]
struct Slot {
    source: KeySource,
    stamp: Option<Stamp>,
    current: Option<Held>,
    candidate: Option<Held>,
    defect: Option<Arc<signing_key::Error>>,
}

#[derive(Debug, Clone)]
struct Held {
    signer: Arc<Signer>,
    loaded_at: Timestamp,
    last_success: Option<Timestamp>,
    rejected: bool,
}

/// How a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It earned the last token.
    Active,
    /// There is no readable key in its place.
    Broken,
    /// The account server does not accept it (yet).
    Rejected,
    /// It has earned a token before, or stands behind one that does.
    Standby,
    /// It has not been tried.
    Unproven,
}

impl KeyState {
    /// The `state` label of `key_info`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Broken => "broken",
            Self::Rejected => "rejected",
            Self::Standby => "standby",
            Self::Unproven => "unproven",
        }
    }
}

/// One key as operators see it.
#[derive(Debug, Clone)]
pub struct KeyStatus {
    /// The file, or "inline value".
    pub origin: String,
    /// None if nothing readable was ever there.
    pub fingerprint: Option<Fingerprint>,
    /// The size of its modulus.
    pub bits: Option<u32>,
    /// How it stands.
    pub state: KeyState,
    /// When it was read, by this machine's clock.
    pub loaded_at: Option<Timestamp>,
    /// When it last earned a token, by this machine's clock.
    pub last_success: Option<Timestamp>,
    /// What is wrong with the file now; an earlier key of that file may still serve.
    pub defect: Option<Arc<signing_key::Error>>,
}

impl KeyRing {
    /// Reads all keys. One that cannot be read is a defect in the status, unless it leaves none.
    pub fn load(sources: Vec<KeySource>, clock: SharedClock) -> Result<Self, signing_key::Error> {
        let now = clock.now();
        let mut slots = Vec::with_capacity(sources.len());
        let mut first_defect = None;
        for source in sources {
            // Stamped before it is read: a change in between is seen at the next look.
            let stamp = source.stamp();
            let (current, defect) = match source.load() {
                Ok(key) => (Some(Held::new(key, now)), None),
                Err(error) => (None, Some(Arc::new(error))),
            };
            first_defect = first_defect.or_else(|| defect.clone());
            slots.push(Slot { source, stamp, current, candidate: None, defect });
        }
        if slots.iter().all(|slot| slot.current.is_none()) {
            let origin = Arc::from("settings");
            let none = || signing_key::Error { origin, defect: signing_key::Defect::Empty };
            drop(slots);
            return Err(first_defect.and_then(Arc::into_inner).unwrap_or_else(none));
        }
        Ok(Self { clock, ring: Mutex::new(Ring { slots, active: None }) })
    }

    /// Whom to try, in order: by slot, and in a slot what is new before what works.
    pub fn in_order(&self) -> Vec<Arc<Signer>> {
        let ring = self.lock();
        let mut order: Vec<Arc<Signer>> = Vec::new();
        for held in ring.slots.iter().flat_map(|slot| slot.candidate.iter().chain(&slot.current)) {
            if order.iter().all(|known| known.fingerprint() != held.signer.fingerprint()) {
                order.push(Arc::clone(&held.signer));
            }
        }
        order
    }

    /// This key earned a token: a candidate takes over its slot now, and not before.
    pub fn accepted(&self, key: Fingerprint) {
        let now = self.clock.now();
        let mut ring = self.lock();
        ring.active = Some(key);
        for slot in &mut ring.slots {
            if slot.candidate.as_ref().is_some_and(|held| held.signer.fingerprint() == key) {
                slot.current = slot.candidate.take();
            }
            if let Some(held) = slot.current.as_mut().filter(|held| held.signer.fingerprint() == key) {
                (held.last_success, held.rejected) = (Some(now), false);
            }
        }
    }

    /// The account server does not accept this key.
    pub fn rejected(&self, key: Fingerprint) {
        for slot in &mut self.lock().slots {
            for held in slot.candidate.iter_mut().chain(&mut slot.current) {
                held.rejected |= held.signer.fingerprint() == key;
            }
        }
    }

    /// Looks whether files changed, and reads those. Answers whether there is a new key to prove.
    pub fn look(&self) -> bool {
        let now = self.clock.now();
        let mut ring = self.lock();
        let mut fresh = false;
        for slot in &mut ring.slots {
            let stamp = slot.source.stamp();
            if stamp == slot.stamp {
                continue;
            }
            slot.stamp = stamp;
            fresh |= slot.reread(now);
        }
        fresh
    }

    /// Whether any key is a file, which can change.
    pub fn is_watchable(&self) -> bool {
        self.lock().slots.iter().any(|slot| matches!(slot.source, KeySource::File(_)))
    }

    /// All keys, candidates too, in order.
    pub fn status(&self) -> Vec<KeyStatus> {
        let ring = self.lock();
        let mut all = Vec::new();
        for slot in &ring.slots {
            let origin = slot.source.to_string();
            let mut defect = slot.defect.clone();
            for held in slot.candidate.iter().chain(&slot.current) {
                all.push(held.status(&origin, defect.take(), ring.active));
            }
            if let Some(defect) = defect {
                all.push(KeyStatus {
                    origin,
                    fingerprint: None,
                    bits: None,
                    state: KeyState::Broken,
                    loaded_at: None,
                    last_success: None,
                    defect: Some(defect),
                });
            }
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Reads the changed file. Answers whether it holds a key that has yet to be proven.
    fn reread(&mut self, now: Timestamp) -> bool {
        let key = match self.source.load() {
            Ok(key) => key,
            Err(error) => {
                tracing::warn!(key.file = %self.source, %error, "a key file changed and is bad now: the key read before stays");
                self.defect = Some(Arc::new(error));
                return false;
            }
        };
        self.defect = None;
        let fingerprint = key.fingerprint();
        let is =
            |held: &Option<Held>| held.as_ref().is_some_and(|held| held.signer.fingerprint() == fingerprint);
        if is(&self.current) {
            self.candidate = None;
            return false;
        }
        tracing::info!(key.file = %self.source, key.fingerprint = %fingerprint, "a key file changed: its key is proven next");
        let held = Some(Held::new(key, now));
        *(if self.current.is_none() { &mut self.current } else { &mut self.candidate }) = held;
        true
    }
}

impl Held {
    fn new(key: signing_key::SigningKey, loaded_at: Timestamp) -> Self {
        let signer = Arc::new(Signer::InProcess(key));
        Self { signer, loaded_at, last_success: None, rejected: false }
    }

    fn status(
        &self,
        origin: &str,
        defect: Option<Arc<signing_key::Error>>,
        active: Option<Fingerprint>,
    ) -> KeyStatus {
        let state = if active == Some(self.signer.fingerprint()) {
            KeyState::Active
        } else if self.rejected {
            KeyState::Rejected
        } else if self.last_success.is_some() {
            KeyState::Standby
        } else {
            KeyState::Unproven
        };
        KeyStatus {
            origin: origin.to_owned(),
            fingerprint: Some(self.signer.fingerprint()),
            bits: Some(self.signer.bits()),
            state,
            loaded_at: Some(self.loaded_at),
            last_success: self.last_success,
            defect,
        }
    }
}
