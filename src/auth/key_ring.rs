//! The keys of one sender, in order, and how one takes over from another (rule T10).
//!
//! A place that the settings name (a file or a value) is a *slot*. When a slot's file changes, what
//! it holds now is only a candidate: the key that works stays until the candidate has earned a real
//! token. A file that turns bad changes nothing but the status. When the settings name other places, the
//! ring of those takes the place of this one, and the key that works goes along until one of them works.
//! The ring never talks to anyone; the exchange asks it whom to try and reports what came of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use jiff::Timestamp;
use secrecy::ExposeSecret as _;

use super::{
    identity::IntegrationKey,
    impersonation::Impersonation,
    key_place::{Found, Place},
    signer::Signer,
    signer_process::SignerProcess,
    signing_key::{self, Defect, Fingerprint, KeySource, Stamp},
};
use crate::{
    clock::SharedClock,
    digest::{hex, sha256},
};

/// How long after its first rejection a key is tried again. Each pause is twice the one before.
const FIRST_RETRY: Duration = Duration::from_secs(60);
/// So many tries of its own a rejected key has, in about half an hour. From then on it is tried when a token
/// is minted anyway: a key that nobody registers must not cost a mint again and again.
const RETRIES: u32 = 5;

/// The keys of one sender.
#[derive(Debug)]
pub struct KeyRing {
    sources: Vec<KeySource>,
    clock: SharedClock,
    /// The key that is never used.
    barred: Option<&'static str>,
    ring: Mutex<Ring>,
    /// One look at a time: what two of them found could be taken in the wrong order.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Ring {
    slots: Vec<Slot>,
    /// The key that earned the last token.
    active: Option<Fingerprint>,
    /// Whether that is another than whoever waits for one has been told of.
    is_other: bool,
    /// What worked until the settings named other keys: tried after all of them, until one of them works.
    last_resort: Option<LastResort>,
}

/// A key that the settings no longer name.
#[derive(Debug, Clone)]
struct LastResort {
    /// Not looked at any more; but whoever holds the key for us holds it for as long as this is here.
    place: Arc<Place>,
    held: Held,
}

#[derive(Debug)]
struct Slot {
    place: Arc<Place>,
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
    /// How often it was rejected since it last earned a token.
    rejections: u32,
    /// When it is worth another try of its own; on the clock that only runs.
    retry_at: Option<Duration>,
}

/// The rings in use. Keys belong to the integration key and not to a user (DocuSign, "Apps and Keys"), so
/// senders of one integration key with the same places share a ring: what is read, and what is proven.
#[derive(Debug, Default)]
pub(super) struct KeyRings {
    /// By the integration key and where the keys are: a path, a device's name, or the digest of a text.
    known: HashMap<(IntegrationKey, Vec<String>), Weak<KeyRing>>,
    barred: Option<&'static str>,
}

impl KeyRings {
    /// None yet. A key whose public half has this digest will be in none of them.
    pub(super) fn barring(barred: Option<&'static str>) -> Self {
        Self { barred, ..Self::default() }
    }

    /// The ring of a sender; read now if none of its like is in use.
    pub(super) async fn ring(
        &mut self,
        sender: &Impersonation,
        process: Option<&SignerProcess>,
        clock: &SharedClock,
    ) -> Result<Arc<KeyRing>, signing_key::Error> {
        let places = sender.keys.iter().map(|source| match source {
            KeySource::Inline(text) => {
                format!("inline value {}", hex(&sha256(text.expose_secret().as_bytes())))
            }
            elsewhere => elsewhere.to_string(),
        });
        let key = (sender.integration_key, places.collect());
        if let Some(ring) = self.known.get(&key).and_then(Weak::upgrade) {
            return Ok(ring);
        }
        let ring =
            Arc::new(KeyRing::load(sender.keys.clone(), process, Arc::clone(clock), self.barred).await?);
        self.known.retain(|_, ring| ring.strong_count() > 0);
        self.known.insert(key, Arc::downgrade(&ring));
        Ok(ring)
    }
}

/// How a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It earned the last token, and was not refused since.
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
    /// Its number in the list that the settings give, from 0; none if it stands there no longer.
    pub number: Option<usize>,
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
    /// Reads all keys, in the signer process if there is one. A key that cannot be read, or is the one that is
    /// `barred` (the digest of its public half, in hex), is a defect in the status, unless it leaves none.
    pub async fn load(
        sources: Vec<KeySource>,
        process: Option<&SignerProcess>,
        clock: SharedClock,
        barred: Option<&'static str>,
    ) -> Result<Self, signing_key::Error> {
        let now = clock.now();
        let mut slots = Vec::with_capacity(sources.len());
        let mut first_defect = None;
        for source in &sources {
            let place = Arc::new(Place::new(source.clone(), process));
            let Some(Found { stamp, key }) = place.look_but(None, Vec::new(), barred).await else {
                continue;
            };
            let (current, defect) = match key {
                Ok(key) => (Some(Held::new(key, now)), None),
                Err(error) => (None, Some(Arc::new(error))),
            };
            first_defect = first_defect.or_else(|| defect.clone());
            slots.push(Slot { place, stamp, current, candidate: None, defect });
        }
        if slots.iter().all(|slot| slot.current.is_none()) {
            let origin = Arc::from("settings");
            let none = || signing_key::Error { origin, defect: Defect::Empty };
            drop(slots);
            return Err(first_defect.and_then(Arc::into_inner).unwrap_or_else(none));
        }
        let ring = Mutex::new(Ring { slots, active: None, is_other: false, last_resort: None });
        Ok(Self { sources, clock, barred, ring, looking: tokio::sync::Mutex::default() })
    }

    /// Where its keys are.
    pub fn sources(&self) -> &[KeySource] {
        &self.sources
    }

    /// Whom to try, in order: by slot, and in a slot what is new before what works.
    pub fn in_order(&self) -> Vec<Arc<Signer>> {
        let ring = self.lock();
        let mut order: Vec<Arc<Signer>> = Vec::new();
        let last = ring.last_resort.iter().map(|last| &last.held);
        for held in ring.slots.iter().flat_map(Slot::held).chain(last) {
            if order.iter().all(|known| known.fingerprint() != held.signer.fingerprint()) {
                order.push(Arc::clone(&held.signer));
            }
        }
        order
    }

    /// Takes the place of another ring, whose key goes along until one of ours has earned a token.
    pub(super) fn take_over_from(&self, before: &Self) {
        let Some(last) = before.working() else { return };
        let key = last.held.signer.fingerprint();
        let mut ring = self.lock();
        let is_ours = ring.slots.iter().flat_map(Slot::held).any(|held| held.is(key));
        // It may be in use by another sender, and proven or provided for.
        if ring.active.is_none() && !is_ours {
            ring.last_resort.get_or_insert(last);
        }
    }

    /// The key that earned the last token, if it is still held.
    fn working(&self) -> Option<LastResort> {
        let ring = self.lock();
        let of_slot = |slot: &Slot| {
            let held = slot.held().find(|held| ring.active.is_some_and(|active| held.is(active)))?;
            Some(LastResort { place: Arc::clone(&slot.place), held: held.clone() })
        };
        let found = ring.slots.iter().find_map(of_slot).or_else(|| ring.last_resort.clone())?;
        // In the next list it stands nowhere, so nobody is told there that it was refused before.
        let held = Held { rejections: 0, retry_at: None, ..found.held };
        Some(LastResort { held, ..found })
    }

    /// This key earned a token: a candidate takes over its slot now, and not before.
    pub fn accepted(&self, key: Fingerprint) {
        let now = self.clock.now();
        let mut ring = self.lock();
        let before = ring.active.replace(key);
        ring.is_other |= before != Some(key);
        let mut is_ours = false;
        for slot in &mut ring.slots {
            if slot.candidate.as_ref().is_some_and(|held| held.is(key)) {
                slot.current = slot.candidate.take();
            }
            if let Some(held) = slot.current.as_mut().filter(|held| held.is(key)) {
                (held.last_success, held.rejections, held.retry_at) = (Some(now), 0, None);
                is_ours = true;
            }
        }
        if is_ours {
            ring.last_resort = None;
        } else if let Some(last) = ring.last_resort.as_mut().filter(|last| last.held.is(key)) {
            (last.held.last_success, last.held.rejections, last.held.retry_at) = (Some(now), 0, None);
        }
    }

    /// The account server does not accept this key.
    pub fn rejected(&self, key: Fingerprint) {
        let now = self.clock.uptime();
        let mut ring = self.lock();
        let Ring { slots, last_resort, .. } = &mut *ring;
        let in_slots = slots.iter_mut().flat_map(|slot| slot.candidate.iter_mut().chain(&mut slot.current));
        for held in in_slots.chain(last_resort.iter_mut().map(|last| &mut last.held)) {
            if held.is(key) {
                held.reject(now);
            }
        }
    }

    /// Whether another key earned a token than the one before, which is news to those whom that one earned none. Says
    /// so once.
    pub fn has_other(&self) -> bool {
        std::mem::take(&mut self.lock().is_other)
    }

    /// Whether a rejected key has waited long enough for another try, which its public half may have been
    /// registered for in the meantime. Says so once for each pause, and only while another key is active:
    /// without one, every mint tries it.
    pub fn has_retry(&self) -> bool {
        let now = self.clock.uptime();
        let mut ring = self.lock();
        if ring.active.is_none() {
            return false;
        }
        let held = ring.slots.iter_mut().flat_map(|slot| slot.candidate.iter_mut().chain(&mut slot.current));
        let due = held.filter_map(|held| held.retry_at.take_if(|at| *at <= now));
        due.count() > 0
    }

    /// Whether a mint may show that a key works of which that is not known: none has earned a token yet, or one was
    /// rejected, and its public half may be registered by now.
    pub(super) fn wants_proof(&self) -> bool {
        let ring = self.lock();
        ring.active.is_none() || ring.slots.iter().flat_map(Slot::held).any(|held| held.rejections > 0)
    }

    /// Looks whether files changed, and reads those. Answers whether there is a new key to prove.
    pub async fn look(&self) -> bool {
        let _one_at_a_time = self.looking.lock().await;
        let places: Vec<_> = self.lock().slots.iter().map(Slot::what_to_look_at).collect();
        let mut fresh = false;
        for (index, (place, known, wanted)) in places.into_iter().enumerate() {
            if !place.can_change() {
                continue;
            }
            if let Some(found) = place.look_but(known.as_ref(), wanted, self.barred).await {
                let now = self.clock.now();
                fresh |= self.lock().slots[index].take(found, now);
            }
        }
        fresh
    }

    /// Whether any key can change while we run.
    pub fn is_watchable(&self) -> bool {
        self.lock().slots.iter().any(|slot| slot.place.can_change())
    }

    /// All keys, candidates too, in order.
    pub fn status(&self) -> Vec<KeyStatus> {
        let ring = self.lock();
        let mut all = Vec::new();
        for (number, slot) in ring.slots.iter().enumerate() {
            let (number, origin) = (Some(number), slot.place.to_string());
            let mut defect = slot.defect.clone();
            for held in slot.held() {
                all.push(held.status(number, &origin, defect.take(), ring.active));
            }
            if let Some(defect) = defect {
                all.push(KeyStatus {
                    origin,
                    number,
                    fingerprint: None,
                    bits: None,
                    state: KeyState::Broken,
                    loaded_at: None,
                    last_success: None,
                    defect: Some(defect),
                });
            }
        }
        let last = ring.last_resort.iter();
        all.extend(last.map(|last| last.held.status(None, &last.place.to_string(), None, ring.active)));
        all
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Its keys, what is new before what works.
    fn held(&self) -> impl Iterator<Item = &Held> {
        self.candidate.iter().chain(&self.current)
    }

    /// The place, what it looked like, and the keys of it that are in use.
    fn what_to_look_at(&self) -> (Arc<Place>, Option<Stamp>, Vec<Fingerprint>) {
        let wanted = self.held().map(|held| held.signer.fingerprint()).collect();
        (Arc::clone(&self.place), self.stamp.clone(), wanted)
    }

    /// Takes in what the place holds now. Answers whether that is a key that has yet to be proven.
    fn take(&mut self, found: Found, now: Timestamp) -> bool {
        self.stamp = found.stamp;
        let key = match found.key {
            Ok(key) => key,
            Err(error) => {
                if self.defect.as_ref().is_some_and(|known| known.to_string() == error.to_string()) {
                    return false;
                }
                // Where none was read before, that is how the sender stands, which is told with it.
                if self.current.is_some() {
                    tracing::warn!(key.file = %self.place, %error, "a key file changed and is bad now: the key read before stays");
                }
                self.defect = Some(Arc::new(error));
                return false;
            }
        };
        self.defect = None;
        let fingerprint = key.fingerprint();
        if self.current.as_ref().is_some_and(|held| held.is(fingerprint)) {
            self.candidate = None;
            return false;
        }
        tracing::info!(key.file = %self.place, key.fingerprint = %fingerprint, "a key file changed: its key is proven next");
        let held = Some(Held::new(key, now));
        *(if self.current.is_none() { &mut self.current } else { &mut self.candidate }) = held;
        true
    }
}

impl Held {
    fn new(signer: Signer, loaded_at: Timestamp) -> Self {
        Self { signer: Arc::new(signer), loaded_at, last_success: None, rejections: 0, retry_at: None }
    }

    fn is(&self, key: Fingerprint) -> bool {
        self.signer.fingerprint() == key
    }

    fn reject(&mut self, now: Duration) {
        let pause = FIRST_RETRY * 2_u32.pow(self.rejections.min(RETRIES));
        self.retry_at = (self.rejections < RETRIES).then(|| now + pause);
        self.rejections = self.rejections.saturating_add(1);
    }

    fn status(
        &self,
        number: Option<usize>,
        origin: &str,
        defect: Option<Arc<signing_key::Error>>,
        active: Option<Fingerprint>,
    ) -> KeyStatus {
        // It may be refused by now although no other has earned a token since.
        let state = if self.rejections > 0 {
            KeyState::Rejected
        } else if active == Some(self.signer.fingerprint()) {
            KeyState::Active
        } else if self.last_success.is_some() {
            KeyState::Standby
        } else {
            KeyState::Unproven
        };
        KeyStatus {
            origin: origin.to_owned(),
            number,
            fingerprint: Some(self.signer.fingerprint()),
            bits: Some(self.signer.bits()),
            state,
            loaded_at: Some(self.loaded_at),
            last_success: self.last_success,
            defect,
        }
    }
}
