//! The website's receiver of events: what the daemon tells it, unasked, as signed webhooks.
//!
//! Each delivery is checked before it is believed, as the Standard Webhooks specification says: the HMAC
//! over id, time and the raw body, compared in constant time, and the time against the clock, so that an
//! old delivery cannot be played again. A delivery may come twice and an event late; its id tells the one,
//! its `sequence` the other.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;

/// How far the time of a delivery may be from ours (the specification's libraries: five minutes).
const TOLERANCE_S: i64 = 300;
/// The oldest events are forgotten then; a demo is no archive.
const MAX_EVENTS: usize = 2_000;

/// An event of a signing, as the daemon told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// Such as `signer.signed`.
    pub(super) kind: String,
    /// When it happened, in the daemon's words.
    pub(super) at: Timestamp,
    /// Its place among the events of its signing.
    pub(super) sequence: u64,
    /// The signer that it is about, if one.
    pub(super) signer: Option<String>,
    id: String,
    signing: String,
}

/// Why a delivery is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is none of ours, or was changed on its way.
    Forged,
    /// It was signed too long ago.
    Old,
    /// It is signed, and cannot be read.
    Unreadable,
}

/// Checks deliveries and remembers what they said. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Receiver {
    key: hmac::Key,
    told: Arc<Mutex<VecDeque<Told>>>,
}

#[derive(Deserialize)]
struct Body {
    r#type: String,
    timestamp: Timestamp,
    data: Data,
}

/// What the website reads of the object that an event is about.
#[derive(Deserialize)]
struct Data {
    object: String,
    id: String,
    #[serde(default)]
    sequence: u64,
    signer_id: Option<String>,
}

impl Receiver {
    /// `secret` is `whsec_…`, as the daemon's settings have it; none if it is not of that form.
    pub(super) fn new(secret: &str) -> Option<Self> {
        let bytes = BASE64.decode(secret.strip_prefix("whsec_")?).ok()?;
        Some(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &bytes), told: Arc::default() })
    }

    /// Takes a delivery, if it is genuine.
    pub(super) fn take(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<(), Refused> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(id), Some(at), Some(signatures)) =
            (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"))
        else {
            return Err(Refused::Forged);
        };
        let signed = [format!("{id}.{at}.").as_bytes(), body].concat();
        if !signatures.split(' ').any(|signature| self.is_ours(signature, &signed)) {
            return Err(Refused::Forged);
        }
        let at: i64 = at.parse().map_err(|_| Refused::Forged)?;
        if now.as_second().abs_diff(at) > TOLERANCE_S.unsigned_abs() {
            return Err(Refused::Old);
        }
        let body: Body = serde_json::from_slice(body).map_err(|_| Refused::Unreadable)?;
        if body.data.object == "signing" {
            self.remember(Told {
                kind: body.r#type,
                at: body.timestamp,
                sequence: body.data.sequence,
                signer: body.data.signer_id,
                id: id.to_owned(),
                signing: body.data.id,
            });
        }
        Ok(())
    }

    fn is_ours(&self, signature: &str, signed: &[u8]) -> bool {
        let given = signature.strip_prefix("v1,").and_then(|text| BASE64.decode(text).ok());
        given.is_some_and(|given| hmac::verify(&self.key, signed, &given).is_ok())
    }

    fn remember(&self, event: Told) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.iter().any(|known| known.id == event.id) {
            return;
        }
        told.push_front(event);
        told.truncate(MAX_EVENTS);
    }

    /// What was told about a signing, in the order in which it happened.
    pub(super) fn of(&self, signing: &str) -> Vec<Told> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of_it: Vec<_> = told.iter().filter(|event| event.signing == signing).cloned().collect();
        of_it.sort_by_key(|event| event.sequence);
        of_it
    }
}

/// Whether a website with this secret believes a delivery of anybody's, whatever it says.
#[cfg(any(test, fuzzing))]
pub(crate) fn is_believed(secret: &str, headers: &HeaderMap, body: &[u8], now: Timestamp) -> bool {
    let taken = Receiver::new(secret).map(|receiver| receiver.take(headers, body, now));
    matches!(taken, Some(Ok(()) | Err(Refused::Unreadable)))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const AT: i64 = 1_614_265_330;

    fn now() -> Timestamp {
        Timestamp::from_second(AT).unwrap()
    }

    fn headers(id: &str, at: i64, body: &[u8], key: &hmac::Key) -> HeaderMap {
        let tag = hmac::sign(key, &[format!("{id}.{at}.").as_bytes(), body].concat());
        let signature = format!("v1,AAAA v1a,x v1,{}", BASE64.encode(tag));
        [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", at.to_string()),
            ("webhook-signature", signature),
        ]
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::try_from(value).unwrap()))
        .collect()
    }

    fn event(kind: &str, sequence: u64) -> Vec<u8> {
        serde_json::json!({ "type": kind, "timestamp": now(),
            "data": { "object": "signing", "id": "sig_1", "sequence": sequence, "signer_id": null } })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // The example of the Standard Webhooks specification's reference libraries, for this secret.
        let receiver = Receiver::new(SECRET).unwrap();
        let signed = br#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#;
        assert!(receiver.is_ours("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", signed));
        assert!(!receiver.is_ours("v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", signed));
        assert!(Receiver::new("secret").is_none() && Receiver::new("whsec_*").is_none());
    }

    #[test]
    fn f4_what_is_forged_changed_or_old_is_not_believed() {
        let receiver = Receiver::new(SECRET).unwrap();
        let body = event("signing.completed", 1);
        let good = headers("evt_1", AT, &body, &receiver.key);
        let theirs = headers("evt_1", AT, &body, &hmac::Key::new(hmac::HMAC_SHA256, b"theirs"));
        assert_eq!(receiver.take(&theirs, &body, now()), Err(Refused::Forged));
        assert_eq!(receiver.take(&good, &event("signing.voided", 1), now()), Err(Refused::Forged));
        assert_eq!(receiver.take(&HeaderMap::new(), &body, now()), Err(Refused::Forged));
        let late = headers("evt_1", AT - TOLERANCE_S - 1, &body, &receiver.key);
        assert_eq!(receiver.take(&late, &body, now()), Err(Refused::Old));
        let broken = headers("evt_1", AT, b"{}", &receiver.key);
        assert_eq!(receiver.take(&broken, b"{}", now()), Err(Refused::Unreadable));
        assert_eq!(receiver.of("sig_1"), []);
        assert_eq!(receiver.take(&good, &body, now()), Ok(()));
        assert_eq!(receiver.of("sig_1").len(), 1);
    }

    #[test]
    fn what_comes_twice_is_told_once_and_what_comes_late_is_put_in_its_place() {
        let receiver = Receiver::new(SECRET).unwrap();
        for (id, kind, sequence) in
            [("evt_2", "signer.ready", 2), ("evt_1", "signing.opened", 1), ("evt_2", "signer.ready", 2)]
        {
            let body = event(kind, sequence);
            receiver.take(&headers(id, AT, &body, &receiver.key), &body, now()).unwrap();
        }
        let kinds: Vec<_> = receiver.of("sig_1").into_iter().map(|told| told.kind).collect();
        assert_eq!(kinds, ["signing.opened", "signer.ready"]);
        assert_eq!(receiver.of("sig_2"), []);
    }
}
