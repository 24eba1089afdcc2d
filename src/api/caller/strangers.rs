//! Who was refused, for the log: a line a second at most, so that somebody who guesses cannot fill a disk. The
//! count of all is `countersign_caller_authentications_total`.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::listener::Peer;

/// How long after a line the next one may come.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    next: Duration,
    unsaid: u64,
}

impl Strangers {
    /// Says where somebody was refused, and of how many nothing was said before.
    pub(super) fn refused(&self, peer: Option<&Peer>, uptime: Duration) {
        let Some(others) = self.unsaid(uptime) else { return };
        let address = peer.and_then(|peer| peer.address).map(|address| address.ip());
        let unix_uid = peer.and_then(|peer| peer.unix_uid);
        tracing::info!(
            peer.address = address.map(tracing::field::display),
            peer.unix_uid = unix_uid,
            others,
            "refused: nobody's credentials"
        );
    }

    /// How many were passed over since the last line, if it is time for one.
    fn unsaid(&self, uptime: Duration) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if uptime < said.next {
            said.unsaid += 1;
            return None;
        }
        said.next = uptime + PAUSE;
        Some(std::mem::take(&mut said.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_a_line_a_second_that_counts_the_rest() {
        let strangers = Strangers::default();
        let at = |ms| strangers.unsaid(Duration::from_millis(ms));
        assert_eq!(at(0), Some(0));
        assert_eq!((at(1), at(500), at(999)), (None, None, None));
        assert_eq!((at(1_000), at(9_000)), (Some(3), Some(0)));
    }
}
