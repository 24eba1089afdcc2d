//! The operators' password: one argon2 hash in the settings, tried slowly.
//!
//! A try costs memory and time on purpose, so only one runs at a time, and few in a row may be wrong. The
//! count is one for all, not one a network: behind a proxy all operators share an address anyway, and whoever
//! floods the login keeps operators from this page only; `/readyz`, `/metrics` and `doctor` need no login.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use argon2::{Argon2, PasswordHash, PasswordVerifier as _};
use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;

use crate::bucket::Bucket;

/// Wrong passwords in a row.
const BURST: f64 = 5.0;
/// How many a second come back.
const REFILL: f64 = 1.0 / 12.0;

/// The hash of the operators' password as the settings have it now, a PHC text that they have checked. None:
/// the page is off. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Password(Arc<ArcSwap<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    hash: Option<SecretString>,
    /// Counts the changes.
    number: u64,
}

impl Password {
    /// Takes up what the settings say now. Another password, or none, ends every login: whoever changes it
    /// may do so because somebody else knows it.
    pub fn replace(&self, hash: Option<SecretString>) {
        let kept = self.0.load();
        let text = |hash: &SecretString| hash.expose_secret().to_owned();
        if kept.hash.as_ref().map(text) != hash.as_ref().map(text) {
            self.0.store(Arc::new(Kept { hash, number: kept.number + 1 }));
        }
    }

    /// Which password it is, counted from the start; none if there is none.
    pub fn number(&self) -> Option<u64> {
        let kept = self.0.load();
        kept.hash.as_ref().map(|_| kept.number)
    }
}

/// What guards the login.
#[derive(Debug)]
pub(super) struct Gate {
    password: Password,
    one_at_a_time: Semaphore,
    tries: Mutex<Bucket>,
    /// Ties a login form to the browser that it was shown to.
    key: Key,
}

struct Key(hmac::Key);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// What became of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the password.
    Right,
    /// It is not.
    Wrong,
    /// Too many were wrong: the next try after so long.
    Wait(Duration),
}

impl Gate {
    /// Guards with this password.
    pub(super) fn new(password: Password) -> Self {
        let mut secret = [0; 32];
        rand::fill(&mut secret).expect("the system gives random bytes");
        Self {
            password,
            one_at_a_time: Semaphore::new(1),
            tries: Mutex::new(Bucket::new(BURST, REFILL)),
            key: Key(hmac::Key::new(hmac::HMAC_SHA256, &secret)),
        }
    }

    /// Tries a password. What is tried is counted before it is known to be wrong, so that many tries at once
    /// are not free.
    pub(super) async fn admits(&self, password: SecretString, uptime: Duration) -> Verdict {
        let taken = self.tries().take(uptime);
        if let Err(wait) = taken {
            return Verdict::Wait(wait);
        }
        let Ok(_turn) = self.one_at_a_time.acquire().await else { return Verdict::Wrong };
        let Some(hash) = self.password.0.load().hash.clone() else { return Verdict::Wrong };
        let is_right = tokio::task::spawn_blocking(move || {
            PasswordHash::new(hash.expose_secret()).is_ok_and(|hash| {
                Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash).is_ok()
            })
        });
        if is_right.await.unwrap_or(false) {
            self.tries().fill();
            return Verdict::Right;
        }
        Verdict::Wrong
    }

    /// The token of a login form for the browser with this cookie.
    pub(super) fn form_token(&self, cookie: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.key.0, cookie.as_bytes()))
    }

    /// Whether a login form was shown to the browser with this cookie.
    pub(super) fn is_form_token(&self, cookie: &str, token: &str) -> bool {
        verify_slices_are_equal(self.form_token(cookie).as_bytes(), token.as_bytes()).is_ok()
    }

    fn tries(&self) -> std::sync::MutexGuard<'_, Bucket> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn five_wrong_ones_in_a_row_and_then_a_wait_also_for_the_right_one() {
        let salt = argon2::password_hash::SaltString::encode_b64(b"some salt").unwrap();
        let params = argon2::Params::new(64, 1, 1, None).unwrap();
        let argon = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let hash = argon2::PasswordHasher::hash_password(&argon, b"open sesame", &salt).unwrap().to_string();
        let password = Password::default();
        password.replace(Some(hash.into()));
        let gate = Gate::new(password);
        let at = Duration::from_secs(1_000);
        for _ in 0..5 {
            assert_eq!(gate.admits("guess".into(), at).await, Verdict::Wrong);
        }
        let Verdict::Wait(wait) = gate.admits("open sesame".into(), at).await else { panic!("no wait") };
        assert_eq!(wait.as_secs(), 12);
        assert_eq!(gate.admits("open sesame".into(), at + wait).await, Verdict::Right);
        assert_eq!(gate.admits("guess".into(), at + wait).await, Verdict::Wrong, "all tries are back");
        let token = gate.form_token("browser");
        assert!(gate.is_form_token("browser", &token) && !gate.is_form_token("other", &token));
    }
}
