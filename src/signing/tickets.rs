//! One-use tickets for the `direct` form: a site that already knows that this is a click lets its own form
//! post to the link, and so spares the visitor the page with our button.
//!
//! A ticket belongs to one link, lives a minute, and carries a MAC, so that nothing is stored when it is
//! made. That it was used is remembered in this process only: with several daemons a ticket could be used
//! once at each within its minute, which the lease makes harmless (rule L2).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};

use crate::{
    clock::later,
    domain::{LinkId, Private},
    secret_text::KeyRing,
};

/// How long a ticket can be used.
pub const TICKET_LIFE: SignedDuration = SignedDuration::from_secs(60);
/// The time it ends, as seconds, and a random name.
const BODY: usize = 8 + 16;
const TAG: usize = 16;
/// Used tickets that are remembered; none leaves before its time, so beyond this no ticket is taken.
const MAX_USED: usize = 100_000;
/// So many are remembered before those whose time is over are forgotten.
const SWEEP_AT: usize = 1_024;

/// Makes and takes tickets. Clones share what was used.
#[derive(Clone)]
pub struct Tickets {
    keys: KeyRing,
    used: Arc<Mutex<HashMap<[u8; TAG], i64>>>,
}

impl Tickets {
    /// Under keys that are derived from the secret in use, and from those before it.
    pub fn derive(secret: &[u8], older: &[Vec<u8>]) -> Self {
        Self { keys: KeyRing::derive(secret, older, "countersign link ticket v1"), used: Arc::default() }
    }

    /// A ticket for one click on a link, and until when it can be used.
    pub fn issue(&self, link: LinkId, now: Timestamp) -> (Private<String>, Timestamp) {
        let until = later(now, TICKET_LIFE);
        let mut bytes = [0_u8; BODY + TAG];
        bytes[..8].copy_from_slice(&until.as_second().to_be_bytes());
        aws_lc_rs::rand::fill(&mut bytes[8..BODY]).expect("the system gives random bytes");
        let tag = tag(self.keys.current(), link, &bytes[..BODY]);
        bytes[BODY..].copy_from_slice(&tag);
        (Private::new(URL_SAFE_NO_PAD.encode(bytes)), until)
    }

    /// Takes a ticket: whether it is one of ours, for this link, in time, and not used before.
    pub fn redeem(&self, ticket: &str, link: LinkId, now: Timestamp) -> bool {
        let Some(bytes) = URL_SAFE_NO_PAD.decode(ticket).ok().filter(|bytes| bytes.len() == BODY + TAG)
        else {
            return false;
        };
        let (body, given) = bytes.split_at(BODY);
        let made = |key: &hmac::Key| verify_slices_are_equal(&tag(key, link, body), given).is_ok();
        let Some(key) = self.keys.find(made) else { return false };
        let mut until = [0_u8; 8];
        until.copy_from_slice(&body[..8]);
        let (until, now) = (i64::from_be_bytes(until), now.as_second());
        if until <= now {
            return false;
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        // Each time there are twice as many, so that what is over does not pile up.
        if used.len() >= MAX_USED || (used.len() >= SWEEP_AT && used.len().is_power_of_two()) {
            used.retain(|_, until| *until > now);
        }
        used.len() < MAX_USED && used.insert(tag(key, link, body), until).is_none()
    }
}

fn tag(key: &hmac::Key, link: LinkId, body: &[u8]) -> [u8; TAG] {
    let mut context = hmac::Context::with_key(key);
    context.update(link.as_uuid().as_bytes());
    context.update(body);
    let mut tag = [0_u8; TAG];
    tag.copy_from_slice(&context.sign().as_ref()[..TAG]);
    tag
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tickets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_works_once_for_its_link_within_a_minute() {
        let tickets = Tickets::derive(b"secret", &[]);
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let (link, other) = (LinkId::generate(now), LinkId::generate(now));
        let (ticket, _) = tickets.issue(link, now);
        let ticket = ticket.into_inner();
        assert!(!tickets.redeem(&ticket, other, now), "another link's");
        assert!(!Tickets::derive(b"other", &[]).redeem(&ticket, link, now), "another daemon's");
        assert!(tickets.clone().redeem(&ticket, link, now));
        assert!(!tickets.redeem(&ticket, link, now), "twice");
        let (old, _) = Tickets::derive(b"old", &[]).issue(link, now);
        assert!(Tickets::derive(b"secret", &[b"old".to_vec()]).redeem(old.reveal(), link, now));
        let (late, until) = tickets.issue(link, now);
        assert_eq!(until, now + TICKET_LIFE);
        assert!(!tickets.redeem(late.reveal(), link, until), "too late");
    }

    #[test]
    fn a_changed_ticket_is_none() {
        let tickets = Tickets::derive(b"secret", &[]);
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let link = LinkId::generate(now);
        let ticket = tickets.issue(link, now).0.into_inner();
        for at in 0..ticket.len() {
            let mut forged = ticket.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert!(!tickets.redeem(std::str::from_utf8(&forged).unwrap(), link, now), "byte {at}");
        }
        for wrong in ["", "A", &ticket[1..], "é"] {
            assert!(!tickets.redeem(wrong, link, now));
        }
    }
}
