//! Who is logged in: a random id in a cookie, of which only the digest is kept, in memory, for an hour.
//!
//! A restart ends all logins. Nothing here outlives the process, and whoever reads its memory finds no id that
//! a browser could send.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::{HeaderMap, header};

use super::Admin;
use crate::{digest::sha256, secret_text::random};

/// Whatever is done with it, a login ends after this.
pub(super) const LIFE: Duration = Duration::from_secs(3_600);
/// More than any team has; the oldest makes room.
const MAX_SESSIONS: usize = 64;
/// The cookie of a login.
pub(super) const COOKIE: &str = "countersign_operator";

/// All logins.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

/// One login.
#[derive(Clone)]
pub(super) struct Session {
    /// Uptime at which it ends.
    pub(super) until: Duration,
    /// What every form of this login carries.
    pub(super) token: String,
    /// Which password it was opened with.
    password: u64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("until", &self.until).finish_non_exhaustive()
    }
}

impl Session {
    /// Whether a form carries this login's token.
    pub(super) fn is_token(&self, text: &str) -> bool {
        verify_slices_are_equal(self.token.as_bytes(), text.as_bytes()).is_ok()
    }
}

impl Sessions {
    /// Begins one; answers the value of its cookie.
    pub(super) fn begin(&self, uptime: Duration, password: u64) -> String {
        let (id, session) =
            (random::<32>(), Session { until: uptime + LIFE, token: random::<32>(), password });
        let mut all = self.lock();
        all.retain(|_, session| uptime < session.until);
        if all.len() >= MAX_SESSIONS
            && let Some(oldest) = all.iter().min_by_key(|(_, session)| session.until).map(|(id, _)| *id)
        {
            all.remove(&oldest);
        }
        all.insert(sha256(id.as_bytes()), session);
        id
    }

    /// The one of this cookie, if it lives.
    pub(super) fn find(&self, id: &str, uptime: Duration) -> Option<Session> {
        self.lock().get(&sha256(id.as_bytes())).filter(|session| uptime < session.until).cloned()
    }

    /// Ends one.
    pub(super) fn end(&self, id: &str) {
        self.lock().remove(&sha256(id.as_bytes()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admin {
    /// Whether a login is one of the password that is set now.
    pub(super) fn is_open(&self, session: &Session) -> bool {
        self.password.number() == Some(session.password)
    }

    /// The login behind a request.
    pub(super) fn session(&self, headers: &HeaderMap) -> Option<Session> {
        let id = cookie(headers, COOKIE)?;
        self.sessions.find(&id, self.clock.uptime()).filter(|session| self.is_open(session))
    }
}

/// A cookie of a request.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let pairs = all.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_lives_for_an_hour_and_is_bounded_in_number() {
        let sessions = Sessions::default();
        let at = Duration::from_secs;
        let first = sessions.begin(at(0), 1);
        assert!(sessions.find(&first, at(3_599)).is_some());
        assert!(sessions.find(&first, at(3_600)).is_none());
        assert!(sessions.find("guess", at(1)).is_none());
        let second = sessions.begin(at(1), 1);
        sessions.end(&second);
        assert!(sessions.find(&second, at(2)).is_none());
        for second in 0..200 {
            sessions.begin(at(second), 1);
        }
        assert!(sessions.lock().len() <= MAX_SESSIONS);
        assert!(sessions.find(&first, at(10)).is_none(), "the oldest made room");
    }
}
