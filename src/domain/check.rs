//! Whether the identity check took place that was asked for of a signer.
//!
//! The upstream may leave it out without a word: for who has the sender's own address, by a setting of the account that
//! spares people a check that they have passed before, or because an administrator switched it off. Who has signed all
//! the same stays signed, because the upstream says so; but whoever asked for the check is told that it is missing.

use jiff::Timestamp;

use crate::domain::{MomentKind, Signer, SignerId, SignerStatus, Signing};

impl Signing {
    /// Takes over what the upstream tells of the check by phone of a signer who has signed. That it was passed is not taken
    /// back. That it is missing says nothing of who was given another check in its place since, nor of what was destroyed
    /// there: the results go with the rest.
    pub(super) fn note_check(&mut self, recipient_id: &str, is_passed: bool) {
        let Some(signer) = self.signers.iter().find(|signer| signer.recipient_id == recipient_id) else {
            return;
        };
        let is_due = signer.sms_auth
            && signer.status == SignerStatus::Signed
            && signer.upstream.is_checked != Some(true);
        let says_nothing = !is_passed && (self.was_reset(signer) || self.purged_at.is_some());
        if !is_due || says_nothing {
            return;
        }
        let id = signer.id;
        if let Some(signer) = self.signer_mut(id) {
            signer.upstream.is_checked = Some(is_passed);
        }
    }

    fn was_reset(&self, signer: &Signer) -> bool {
        let resets = self.history.iter().filter(|moment| moment.what == MomentKind::AuthenticationReset);
        resets.filter_map(|moment| moment.signer.as_ref()).any(|key| *key == signer.key)
    }

    /// Writes a line of history about each signer whose check is missing, once, and answers who they are.
    pub fn tell_missing_checks(&mut self, now: Timestamp) -> Vec<SignerId> {
        let is_told = |key: &str| {
            let mut lines = self.history.iter().filter(|moment| moment.what == MomentKind::CheckMissing);
            lines.any(|moment| moment.signer.as_deref() == Some(key))
        };
        let missing = self.signers.iter().filter(|signer| signer.lacks_check() && !is_told(&signer.key));
        let missing: Vec<_> = missing.map(|signer| signer.id).collect();
        for id in &missing {
            self.remember(now, MomentKind::CheckMissing, Some(*id), None);
        }
        missing
    }

    /// Whether somebody has signed who was to be checked by phone, and it is not known that they were. That it is missing is
    /// no last word: who asks again may be told otherwise.
    pub fn awaits_word_of_check(&self) -> bool {
        let awaits = |signer: &Signer| {
            signer.sms_auth
                && signer.status == SignerStatus::Signed
                && signer.upstream.is_checked != Some(true)
        };
        // What was destroyed there tells nothing any more.
        self.purged_at.is_none() && self.signers.iter().any(awaits)
    }
}

impl Signer {
    /// Whether they have signed without the check by phone that was asked for, by the upstream's word.
    pub fn lacks_check(&self) -> bool {
        self.sms_auth && self.upstream.is_checked == Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EnvelopeFact, Fact, SignerFact, SigningStatus, sample};

    fn checked(is_passed: bool) -> Fact {
        Fact::Checked { recipient_id: "1".to_owned(), is_passed }
    }

    fn signing() -> Signing {
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::InSession);
        signing.signers[0].sms_auth = true;
        signing
    }

    #[test]
    fn a_check_that_is_missing_is_told_once_and_one_that_was_passed_is_not_taken_back() {
        let now = Timestamp::UNIX_EPOCH;
        let mut missing = signing();
        missing.observe(&checked(false), now);
        assert_eq!(missing.signers[0].upstream.is_checked, None, "they may still be asked for the code");
        missing.observe(&Fact::Envelope(EnvelopeFact::Completed, None), now);
        assert!(missing.awaits_word_of_check() && missing.tell_missing_checks(now).is_empty());
        missing.observe(&checked(false), now);
        assert!(
            missing.signers[0].lacks_check() && missing.awaits_word_of_check(),
            "who asks may be told otherwise"
        );
        assert_eq!(missing.tell_missing_checks(now), [missing.signers[0].id]);
        assert_eq!(missing.tell_missing_checks(now), []);
        let lines = missing.history.iter().filter(|moment| moment.what == MomentKind::CheckMissing);
        assert_eq!(lines.filter_map(|moment| moment.signer.as_deref()).collect::<Vec<_>>(), ["visitor"]);
        missing.observe(&checked(true), now);
        missing.observe(&checked(false), now);
        assert_eq!(missing.signers[0].upstream.is_checked, Some(true));
        assert!(!missing.awaits_word_of_check());
    }

    #[test]
    fn nothing_is_missing_that_was_not_asked_for_or_was_replaced_or_destroyed() {
        let now = Timestamp::UNIX_EPOCH;
        let signed = Fact::Signer { recipient_id: "1".to_owned(), fact: SignerFact::Signed, at: None };
        let mut unasked = signing();
        unasked.signers[0].sms_auth = false;
        let mut replaced = signing();
        let id = replaced.signers[0].id;
        replaced.remember(now, MomentKind::AuthenticationReset, Some(id), None);
        let mut destroyed = signing();
        destroyed.observe(&Fact::Envelope(EnvelopeFact::Completed, None), now);
        destroyed.observe(&Fact::Envelope(EnvelopeFact::Purged, None), now);
        for (mut signing, awaits) in [(unasked, false), (replaced, true), (destroyed, false)] {
            signing.observe(&signed, now);
            signing.observe(&checked(false), now);
            assert!(!signing.signers[0].lacks_check());
            assert_eq!(signing.awaits_word_of_check(), awaits);
            assert_eq!(signing.tell_missing_checks(now), []);
        }
    }
}
