//! Tickets in addresses: the link that a customer gets, the `state` that goes to DocuSign and comes back, and
//! the address of a choice. All carry a MAC and are not stored, so any daemon on the same secret takes them.
//! It covers which of all that ever had a name the sender is, so a link of one that is gone leads to no other.
//!
//! States and choices belong to one browser: their MAC covers its cookie, so an answer that somebody else
//! provoked (RFC 9700, section 4.7) or a link that was passed on is none. Each attempt has a cookie of its own, and
//! they say by which name it goes, so that two links in one browser do not take each other's. The PKCE verifier follows
//! from the state, the cookie and our key, and is not stored either.

use std::fmt;

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::{
    auth::consent::PkceVerifier,
    clock::later,
    digest::sha256,
    secret_text::{KeyRing, is_random, random},
};

/// How long a link may lie in a customer's mail.
const LINK_LIFE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// From the button to the callback, signing in included.
pub(super) const STATE_LIFE: SignedDuration = SignedDuration::from_mins(15);
/// Kind, end as seconds, and which attempt it is of; of a link, random bytes in the place of that.
const HEAD: usize = 1 + 8 + ATTEMPT;
/// So much of the digest of its cookie names an attempt: too much for two to be the same, and of no help to whoever wants
/// the cookie, which is 256 random bits.
const ATTEMPT: usize = 8;
const TAG: usize = 16;
/// Longer than any name of a sender.
const MAX_NAME: usize = 200;
/// Random bytes in a browser's cookie.
const COOKIE_BYTES: usize = 32;
/// First in every state, so that it is told from those of consent links.
const STATE_MARK: &str = "c.";

/// What a ticket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Link = 1,
    State = 2,
    Choice = 3,
}

/// A ticket that is not ours, not for this browser, or too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadTicket;

/// A sender, and which of those that ever had its name; nil for one of the settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) sender: &'a str,
    pub(super) born: Uuid,
}

/// Which of those that ever had a name has it now.
type Births<'a> = &'a dyn Fn(&str) -> Uuid;

/// What one browser is known by in one attempt, between the button and the pairing.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie(String);

impl Cookie {
    /// A fresh one of 256 bits.
    pub(super) fn generate() -> Self {
        Self(random::<COOKIE_BYTES>())
    }

    /// One that came with a request.
    pub fn read(text: &str) -> Option<Self> {
        is_random::<COOKIE_BYTES>(text).then(|| Self(text.to_owned()))
    }

    /// Its text, for the browser alone.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Which attempt it is of: no secret, and what its name ends with.
    pub fn attempt(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.hash()[..ATTEMPT])
    }

    /// What it is known by in the store.
    pub(super) fn digest(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.hash())
    }

    fn hash(&self) -> [u8; 32] {
        sha256(self.0.as_bytes())
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie")
    }
}

/// Makes and reads tickets. `Debug` does not show the keys.
#[derive(Clone)]
pub struct PairingTickets {
    keys: KeyRing,
}

impl fmt::Debug for PairingTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairingTickets")
    }
}

impl PairingTickets {
    /// Tickets under keys that are derived from the secret in use, and from those before it.
    pub fn derive(secret: &[u8], older: &[Vec<u8>]) -> Self {
        Self { keys: KeyRing::derive(secret, older, "countersign pairing v1") }
    }

    pub(super) fn link(&self, of: Of<'_>, now: Timestamp) -> (String, Timestamp) {
        let until = later(now, LINK_LIFE);
        (self.issue(Kind::Link, of, until, None), until)
    }

    pub(super) fn open_link(
        &self,
        ticket: &str,
        now: Timestamp,
        births: Births<'_>,
    ) -> Result<String, BadTicket> {
        Ok(self.open(Kind::Link, ticket, (now, births), None)?.0)
    }

    /// A state, and the PKCE verifier whose challenge goes with it.
    pub(super) fn state(&self, of: Of<'_>, cookie: &Cookie, now: Timestamp) -> (String, PkceVerifier) {
        let until = later(now, STATE_LIFE);
        let state = format!("{STATE_MARK}{}", self.issue(Kind::State, of, until, Some(cookie)));
        let verifier = verifier(self.keys.current(), &state, cookie);
        (state, verifier)
    }

    pub(super) fn is_state(text: &str) -> bool {
        text.starts_with(STATE_MARK)
    }

    /// Which attempt a state or a choice says that it is of, by which its cookie is found. Nobody has checked it, and what a
    /// link holds there leads to no cookie.
    pub fn attempt_of(text: &str) -> Option<String> {
        let ticket = text.strip_prefix(STATE_MARK).unwrap_or(text);
        let bytes = URL_SAFE_NO_PAD.decode(ticket).ok()?;
        bytes.get(HEAD - ATTEMPT..HEAD).map(|attempt| URL_SAFE_NO_PAD.encode(attempt))
    }

    /// When a state that opens was made, to the second.
    pub(super) fn made_at(state: &str) -> Option<Timestamp> {
        let bytes = URL_SAFE_NO_PAD.decode(state.strip_prefix(STATE_MARK)?).ok()?;
        let until = i64::from_be_bytes(bytes.get(1..9)?.try_into().ok()?);
        Timestamp::from_second(until).ok()?.checked_sub(STATE_LIFE).ok()
    }

    /// The sender of a state, and the verifier for the code that came with it.
    pub(super) fn open_state(
        &self,
        text: &str,
        cookie: &Cookie,
        now: Timestamp,
        births: Births<'_>,
    ) -> Result<(String, PkceVerifier), BadTicket> {
        let ticket = text.strip_prefix(STATE_MARK).ok_or(BadTicket)?;
        let (sender, key) = self.open(Kind::State, ticket, (now, births), Some(cookie))?;
        Ok((sender, verifier(key, text, cookie)))
    }

    pub(super) fn choice(&self, of: Of<'_>, cookie: &Cookie, now: Timestamp) -> String {
        let until = later(now, super::CHOICE_LIFE);
        self.issue(Kind::Choice, of, until, Some(cookie))
    }

    pub(super) fn open_choice(
        &self,
        ticket: &str,
        cookie: &Cookie,
        now: Timestamp,
        births: Births<'_>,
    ) -> Result<String, BadTicket> {
        Ok(self.open(Kind::Choice, ticket, (now, births), Some(cookie))?.0)
    }

    fn issue(&self, kind: Kind, of: Of<'_>, until: Timestamp, cookie: Option<&Cookie>) -> String {
        let mut head = [0_u8; HEAD];
        head[0] = kind as u8;
        head[1..9].copy_from_slice(&until.as_second().to_be_bytes());
        match cookie {
            Some(cookie) => head[HEAD - ATTEMPT..].copy_from_slice(&cookie.hash()[..ATTEMPT]),
            None => rand::fill(&mut head[HEAD - ATTEMPT..]).expect("the system gives random bytes"),
        }
        let tag = tag(self.keys.current(), &head, of, cookie);
        URL_SAFE_NO_PAD.encode([&head, tag.as_slice(), of.sender.as_bytes()].concat())
    }

    /// The sender of a ticket, and the key that it was made under.
    fn open(
        &self,
        kind: Kind,
        ticket: &str,
        (now, births): (Timestamp, Births<'_>),
        cookie: Option<&Cookie>,
    ) -> Result<(String, &hmac::Key), BadTicket> {
        let bytes = URL_SAFE_NO_PAD.decode(ticket).map_err(|_| BadTicket)?;
        let (head, rest) = bytes.split_at_checked(HEAD).ok_or(BadTicket)?;
        let (given, name) = rest.split_at_checked(TAG).ok_or(BadTicket)?;
        let sender = std::str::from_utf8(name).ok().filter(|name| name.len() <= MAX_NAME).ok_or(BadTicket)?;
        let of = Of { sender, born: births(sender) };
        let made = |key: &hmac::Key| verify_slices_are_equal(&tag(key, head, of, cookie), given).is_ok();
        let key = self.keys.find(made).ok_or(BadTicket)?;
        let (until, _) = head[1..].split_first_chunk::<8>().ok_or(BadTicket)?;
        let is_live = head[0] == kind as u8 && i64::from_be_bytes(*until) > now.as_second();
        if is_live { Ok((sender.to_owned(), key)) } else { Err(BadTicket) }
    }
}

fn tag(key: &hmac::Key, head: &[u8], of: Of<'_>, cookie: Option<&Cookie>) -> [u8; TAG] {
    let mut context = hmac::Context::with_key(key);
    // A head begins with a kind, so neither can be read as the other.
    if of.born.is_nil() {
        context.update(b"ticket");
    } else {
        context.update(b"ticket of one made ");
        context.update(of.born.as_bytes());
    }
    context.update(head);
    // Of fixed length, so that nothing can move from one part into the next.
    let browser = cookie.map_or([0; 32], Cookie::hash);
    context.update(&browser);
    context.update(of.sender.as_bytes());
    let mut tag = [0_u8; TAG];
    tag.copy_from_slice(&context.sign().as_ref()[..TAG]);
    tag
}

/// The PKCE verifier of a state that was made under this key.
fn verifier(key: &hmac::Key, state: &str, cookie: &Cookie) -> PkceVerifier {
    let mut context = hmac::Context::with_key(key);
    context.update(b"verifier");
    context.update(state.as_bytes());
    context.update(cookie.0.as_bytes());
    PkceVerifier::from_bytes(context.sign().as_ref())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CUSTOMER: Of<'static> = Of { sender: "customer", born: Uuid::nil() };

    fn of_settings(_: &str) -> Uuid {
        Uuid::nil()
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap()
    }

    #[test]
    fn a_state_is_of_one_browser_one_kind_and_one_time() {
        let tickets = PairingTickets::derive(b"secret", &[]);
        let (cookie, other) = (Cookie::generate(), Cookie::generate());
        let (state, asked) = tickets.state(CUSTOMER, &cookie, now());
        assert!(PairingTickets::is_state(&state));
        let open = |tickets: &PairingTickets, cookie: &Cookie, now| {
            let opened = tickets.open_state(&state, cookie, now, &of_settings);
            opened.map(|(sender, verifier)| (sender, verifier.challenge()))
        };
        let own = Ok(("customer".to_owned(), asked.challenge()));
        assert_eq!(open(&tickets, &cookie, now()), own);
        assert_eq!(open(&tickets, &other, now()), Err(BadTicket));
        assert_eq!(open(&tickets, &cookie, now() + STATE_LIFE), Err(BadTicket));
        assert_eq!(open(&PairingTickets::derive(b"other", &[]), &cookie, now()), Err(BadTicket));
        let changed = PairingTickets::derive(b"other", &[b"secret".to_vec()]);
        assert_eq!(open(&changed, &cookie, now()), own, "from before a change of the secret");
        let ticket = state.strip_prefix(STATE_MARK).unwrap();
        assert_eq!(tickets.open_choice(ticket, &cookie, now(), &of_settings), Err(BadTicket));
        assert_eq!(tickets.open_link(ticket, now(), &of_settings), Err(BadTicket));
        let (link, until) = tickets.link(CUSTOMER, now());
        assert_eq!(tickets.open_link(&link, now(), &of_settings), Ok("customer".to_owned()));
        assert_eq!(changed.open_link(&link, now(), &of_settings), Ok("customer".to_owned()));
        assert_eq!(tickets.open_link(&link, until, &of_settings), Err(BadTicket));
        assert_eq!(tickets.open_choice(&link, &cookie, now(), &of_settings), Err(BadTicket));
        assert_ne!(verifier(tickets.keys.current(), &state, &other).challenge(), asked.challenge());
    }

    #[test]
    fn a_state_and_its_choice_say_which_cookie_is_theirs() {
        let tickets = PairingTickets::derive(b"secret", &[]);
        let (cookie, other) = (Cookie::generate(), Cookie::generate());
        let (state, _) = tickets.state(CUSTOMER, &cookie, now());
        let choice = tickets.choice(CUSTOMER, &cookie, now());
        for text in [&state, &choice] {
            assert_eq!(PairingTickets::attempt_of(text), Some(cookie.attempt()));
        }
        assert_ne!(cookie.attempt(), other.attempt());
        assert!(!cookie.as_str().contains(&cookie.attempt()), "it is no part of the value");
        let links = [tickets.link(CUSTOMER, now()).0, tickets.link(CUSTOMER, now()).0];
        assert_ne!(links[0], links[1], "those of one second, too");
        assert_ne!(PairingTickets::attempt_of(&links[0]), PairingTickets::attempt_of(&links[1]));
        for text in ["", "c.", "c.AAAA", "é"] {
            assert_eq!(PairingTickets::attempt_of(text), None, "{text}");
        }
    }

    #[test]
    fn a_link_is_of_one_birth_of_its_name() {
        let tickets = PairingTickets::derive(b"secret", &[]);
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let (link, _) = tickets.link(Of { sender: "customer", born: first }, now());
        assert_eq!(tickets.open_link(&link, now(), &|_| first), Ok("customer".to_owned()));
        assert_eq!(tickets.open_link(&link, now(), &|_| second), Err(BadTicket));
        assert_eq!(tickets.open_link(&link, now(), &of_settings), Err(BadTicket));
    }

    #[test]
    fn a_changed_ticket_is_none() {
        let tickets = PairingTickets::derive(b"secret", &[]);
        let bytes = URL_SAFE_NO_PAD.decode(tickets.link(CUSTOMER, now()).0).unwrap();
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            assert_eq!(
                tickets.open_link(&URL_SAFE_NO_PAD.encode(forged), now(), &of_settings),
                Err(BadTicket),
                "byte {at}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_ticket_or_a_cookie_by_chance(text in ".{0,300}") {
            let tickets = PairingTickets::derive(b"secret", &[]);
            let cookie = Cookie::generate();
            prop_assert!(tickets.open_link(&text, now(), &of_settings).is_err());
            prop_assert!(tickets.open_state(&[STATE_MARK, &text].concat(), &cookie, now(), &of_settings).is_err());
            prop_assert!(Cookie::read(&text).is_none_or(|read| read.as_str() == text));
        }
    }
}
