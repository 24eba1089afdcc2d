//! Who calls, and what they may do.
//!
//! A caller is known by an API key (kept as a hash, compared in constant time), or, on a unix socket, by
//! the user id of its process. Everything else about a request comes after that.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};

use crate::{
    api::{Problem, router::Api},
    config,
    domain::{CallerName, Document, Draft, SenderName},
    listener::Peer,
    objects::Invalids,
    signing::digest,
};

/// One caller and its rights.
#[derive(Debug)]
pub struct Caller {
    /// Its name in the settings.
    pub name: CallerName,
    rights: config::Caller,
    bucket: Option<Bucket>,
}

/// All callers; replaced as a whole when the settings are read again. Clones share it.
#[derive(Debug, Clone)]
pub struct Callers {
    table: Arc<ArcSwap<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    by_key: HashMap<[u8; 32], Arc<Caller>>,
    by_uid: HashMap<u32, Arc<Caller>>,
}

impl Callers {
    /// The callers of the settings.
    pub fn new(settings: &std::collections::BTreeMap<String, config::Caller>) -> Self {
        Self { table: Arc::new(ArcSwap::from_pointee(Table::of(settings))) }
    }

    /// Takes up new settings; requests under way keep the rights they came with.
    pub fn replace(&self, settings: &std::collections::BTreeMap<String, config::Caller>) {
        self.table.store(Arc::new(Table::of(settings)));
    }

    /// The caller behind a request.
    pub fn authenticate(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Result<Arc<Caller>, Problem> {
        let table = self.table.load();
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            let key = value
                .as_bytes()
                .split_first_chunk::<7>()
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
            let Some((_, key)) = key else {
                return Err(Problem::new(
                    "unauthenticated",
                    "the Authorization header is not of the form Bearer cs_…",
                ));
            };
            return table
                .of_key(key)
                .ok_or_else(|| Problem::new("unauthenticated", "no caller has this API key"));
        }
        let by_uid = peer.and_then(|peer| peer.unix_uid).and_then(|uid| table.by_uid.get(&uid));
        by_uid.cloned().ok_or_else(|| Problem::new("unauthenticated", "there is no Authorization header"))
    }
}

impl Table {
    fn of(settings: &std::collections::BTreeMap<String, config::Caller>) -> Self {
        let mut table = Self::default();
        for (name, rights) in settings {
            let caller = Arc::new(Caller {
                name: CallerName::new(name.as_str()),
                bucket: rights.rate.as_ref().map(|rate| Bucket::new(rate.count, rate.per)),
                rights: rights.clone(),
            });
            for hash in &rights.key_hashes {
                table.by_key.insert(*hash.as_bytes(), Arc::clone(&caller));
            }
            for uid in &rights.unix_uids {
                table.by_uid.insert(*uid, Arc::clone(&caller));
            }
        }
        table
    }

    /// A map look-up by a digest leaks at most which digests exist; the comparison that decides is in
    /// constant time.
    fn of_key(&self, key: &[u8]) -> Option<Arc<Caller>> {
        let hash = digest(key);
        let (known, caller) = self.by_key.get_key_value(&hash)?;
        aws_lc_rs::constant_time::verify_slices_are_equal(known, &hash).ok()?;
        Some(Arc::clone(caller))
    }
}

impl Caller {
    /// Counts a request against the caller's rate.
    pub fn spend(&self, uptime: Duration) -> Result<(), Problem> {
        match self.bucket.as_ref().map_or(Ok(()), |bucket| bucket.take(uptime)) {
            Ok(()) => Ok(()),
            Err(wait) => Err(Problem::new("quota_exceeded", "this caller's rate in the settings is used up")
                .retry_after(wait)),
        }
    }

    /// Whether this caller may use a sender.
    pub fn may_use_sender(&self, sender: &SenderName) -> bool {
        self.rights.senders.as_ref().is_none_or(|names| names.iter().any(|name| name == sender.as_str()))
    }

    /// Checks a draft against the caller's rights: template, return URLs, SMS.
    pub fn check(&self, draft: &Draft) -> Result<(), Problem> {
        let mut faults = Invalids::default();
        for (at, document) in draft.documents.iter().enumerate() {
            let (Document::Template { alias, id }, Some(allowed)) = (document, &self.rights.templates) else {
                continue;
            };
            if !allowed.iter().any(|name| name == alias || name == id) {
                faults.add(
                    format!("/documents/{at}/template"),
                    "forbidden",
                    "this caller may not use this template",
                );
            }
        }
        for (at, signer) in draft.signers.iter().enumerate() {
            if signer.return_url.as_deref().is_some_and(|url| !self.may_return_to(url)) {
                faults.add(
                    format!("/signers/{at}/return_url"),
                    "return_url_refused",
                    "its origin is not among return_origins of this caller",
                );
            }
            if self.rights.sms_required && signer.sms.is_none() {
                faults.add(
                    format!("/signers/{at}/sms_auth"),
                    "forbidden",
                    "this caller must ask for an SMS code",
                );
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults.into()) }
    }

    /// Whether visitors may be sent back to this URL (rule L6).
    pub fn may_return_to(&self, url: &str) -> bool {
        url::Url::parse(url).is_ok_and(|url| self.rights.return_origins.contains(&config::Origin::of(&url)))
    }
}

/// A caller as a handler's argument: nothing else of the request is looked at before.
#[derive(Debug, Clone)]
pub struct Authenticated(pub Arc<Caller>);

impl<S> FromRequestParts<S> for Authenticated
where
    Api: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let api = Api::from_ref(state);
        let caller = api.callers.authenticate(&parts.headers, parts.extensions.get::<Peer>())?;
        caller.spend(api.clock.uptime())?;
        Ok(Self(caller))
    }
}

/// A token bucket: `count` at once, refilled evenly over `per`.
#[derive(Debug)]
struct Bucket {
    count: f64,
    per_second: f64,
    state: Mutex<(f64, Duration)>,
}

impl Bucket {
    fn new(count: u32, per: Duration) -> Self {
        let count = f64::from(count);
        Self { count, per_second: count / per.as_secs_f64(), state: Mutex::new((count, Duration::ZERO)) }
    }

    fn take(&self, uptime: Duration) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, last) = *state;
        let passed = uptime.saturating_sub(last).as_secs_f64();
        let left = passed.mul_add(self.per_second, left).min(self.count);
        if left < 1.0 {
            *state = (left, uptime);
            return Err(Duration::from_secs_f64((1.0 - left) / self.per_second));
        }
        *state = (left - 1.0, uptime);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_count_and_refills_evenly() {
        let bucket = Bucket::new(2, Duration::from_secs(10));
        let at = Duration::from_secs;
        assert!(bucket.take(at(100)).is_ok() && bucket.take(at(100)).is_ok());
        assert_eq!(bucket.take(at(100)), Err(at(5)));
        assert!(bucket.take(at(105)).is_ok());
        assert!(bucket.take(at(106)).is_err());
    }
}
