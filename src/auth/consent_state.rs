//! The `state` that goes to the consent page and comes back with the answer (RFC 6749, 10.12): it says which
//! sender was meant, and that the link was ours.
//!
//! It carries a MAC and is not stored, so any daemon on the same secret can take the answer. The PKCE
//! verifier follows from it and the key, so it is not stored either. A state is no secret of the visitor:
//! it allows nothing but to have a code exchanged and its user compared with the configured one.

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};

use super::consent::PkceVerifier;
use crate::secret_text::KeyRing;

/// How long a consent link may lie in an administrator's mail.
pub const STATE_LIFE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// When it ends, as seconds, and random bytes.
const HEAD: usize = 8 + 8;
const TAG: usize = 16;
/// Longer than any name of a sender in the settings.
const MAX_NAME: usize = 200;

/// Makes and reads states. `Debug` does not show the keys.
#[derive(Clone)]
pub struct ConsentStates {
    keys: KeyRing,
}

/// What goes into a consent link.
#[derive(Debug)]
pub struct ConsentState {
    /// The text of the `state` parameter.
    pub state: String,
    /// The secret whose challenge goes with it.
    pub verifier: PkceVerifier,
}

impl ConsentStates {
    /// States under keys that are derived from the secret in use, and from those before it.
    pub fn derive(secret: &[u8], older: &[Vec<u8>]) -> Self {
        Self { keys: KeyRing::derive(secret, older, "countersign consent state v1") }
    }

    /// A state for a sender's consent link.
    pub fn issue(&self, sender: &str, now: Timestamp) -> ConsentState {
        let until = now.saturating_add(STATE_LIFE).map_or(i64::MAX, Timestamp::as_second);
        let mut head = [0_u8; HEAD];
        head[..8].copy_from_slice(&until.to_be_bytes());
        rand::fill(&mut head[8..]).expect("the system gives random bytes");
        let key = self.keys.current();
        let bytes = [&head, tag(key, &head, sender).as_slice(), sender.as_bytes()].concat();
        let state = URL_SAFE_NO_PAD.encode(bytes);
        let verifier = verifier(key, &state);
        ConsentState { state, verifier }
    }

    /// The sender of a state that came back, with the verifier for its code; none if it is not ours or
    /// too old.
    pub fn open(&self, state: &str, now: Timestamp) -> Option<(String, PkceVerifier)> {
        let bytes = URL_SAFE_NO_PAD.decode(state).ok()?;
        let (head, rest) = bytes.split_at_checked(HEAD)?;
        let (given, name) = rest.split_at_checked(TAG).filter(|(_, name)| name.len() <= MAX_NAME)?;
        let sender = std::str::from_utf8(name).ok()?;
        let made = |key: &hmac::Key| verify_slices_are_equal(&tag(key, head, sender), given).is_ok();
        let key = self.keys.find(made)?;
        let (until, _) = head.split_first_chunk::<8>()?;
        let is_live = i64::from_be_bytes(*until) > now.as_second();
        is_live.then(|| (sender.to_owned(), verifier(key, state)))
    }
}

fn tag(key: &hmac::Key, head: &[u8], sender: &str) -> [u8; TAG] {
    let mut context = hmac::Context::with_key(key);
    context.update(b"state");
    context.update(head);
    context.update(sender.as_bytes());
    let mut tag = [0_u8; TAG];
    tag.copy_from_slice(&context.sign().as_ref()[..TAG]);
    tag
}

fn verifier(key: &hmac::Key, state: &str) -> PkceVerifier {
    let mut context = hmac::Context::with_key(key);
    context.update(b"verifier");
    context.update(state.as_bytes());
    PkceVerifier::from_bytes(context.sign().as_ref())
}

impl std::fmt::Debug for ConsentStates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConsentStates")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap()
    }

    #[test]
    fn t11_a_state_names_its_sender_for_a_week() {
        let states = ConsentStates::derive(b"secret", &[]);
        let asked = states.issue("system", now());
        let (sender, verifier) = states.open(&asked.state, now()).unwrap();
        assert_eq!(sender, "system");
        assert_eq!(verifier.as_str(), asked.verifier.as_str());
        assert_eq!(verifier.as_str().len(), 43, "RFC 7636, 4.1");
        assert!(states.open(&asked.state, now() + STATE_LIFE).is_none());
        assert!(ConsentStates::derive(b"other", &[]).open(&asked.state, now()).is_none());
        assert_ne!(states.issue("system", now()).verifier.as_str(), verifier.as_str());
        // The code of a link from before a change of the secret is still exchanged.
        let changed = ConsentStates::derive(b"new", &[b"secret".to_vec()]);
        let (_, verifier) = changed.open(&asked.state, now()).unwrap();
        assert_eq!(verifier.as_str(), asked.verifier.as_str());
    }

    #[test]
    fn t11_a_changed_state_is_none() {
        let states = ConsentStates::derive(b"secret", &[]);
        let state = states.issue("system", now()).state;
        let bytes = URL_SAFE_NO_PAD.decode(&state).unwrap();
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            assert!(states.open(&URL_SAFE_NO_PAD.encode(forged), now()).is_none(), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_state_by_chance(text in ".{0,300}") {
            prop_assert!(ConsentStates::derive(b"secret", &[]).open(&text, now()).is_none());
        }
    }
}
