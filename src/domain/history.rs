//! The history of a signing: what happened to it, line by line, in the order in which we learned of it.

use jiff::Timestamp;

use crate::domain::{MomentKind, SignerId, Signing};

/// The most moments that a signing's history keeps. Beyond it what repeats gives way, the oldest first.
const MAX_HISTORY: usize = 200;

/// One line of a signing's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// When we learned of it; of a check, when it was asked for. By our clock.
    pub at: Timestamp,
    /// When it happened by the upstream's word and clock, if it said so and can be believed.
    pub happened_at: Option<Timestamp>,
    /// What happened, with a stable word such as `asked_for`, `view_minted`, `signer.signed`.
    pub what: MomentKind,
    /// The signer's key, if it is about one.
    pub signer: Option<String>,
    /// The upstream's trace id of the call, for support cases.
    pub trace: Option<String>,
    /// More, without personal data.
    pub note: Option<String>,
}

impl Moment {
    /// Whether it is the same line as another, whatever was noted beside either since.
    fn is_same_line(&self, other: &Self) -> bool {
        (self.at, &self.what, &self.signer, &self.trace)
            == (other.at, &other.what, &other.signer, &other.trace)
    }
}

impl Signing {
    /// Writes a line of history.
    pub fn remember(
        &mut self,
        at: Timestamp,
        what: MomentKind,
        signer: Option<SignerId>,
        trace: Option<String>,
    ) {
        let signer = signer.and_then(|id| self.signer(id)).map(|signer| signer.key.clone());
        if self.history.len() >= MAX_HISTORY {
            let repeats = |moment: &Moment| moment.what.is_repetitive();
            let of_a_signer = |moment: &Moment| moment.signer.is_some();
            let oldest = self.history.iter().position(repeats);
            let oldest = oldest.or_else(|| self.history.iter().position(of_a_signer));
            self.history.remove(oldest.unwrap_or(0));
        }
        self.history.push(Moment { at, happened_at: None, what, signer, trace, note: None });
    }

    /// Adds a word of ours to the line of history that was just written. Never personal data.
    pub fn annotate(&mut self, note: &str) {
        if let Some(moment) = self.history.last_mut() {
            moment.note = Some(note.to_owned());
        }
    }

    /// Adds when it happened to the line of history that was just written, by the upstream's word.
    pub fn date(&mut self, happened_at: Option<Timestamp>) {
        if let Some(moment) = self.history.last_mut() {
            moment.happened_at = happened_at;
        }
    }

    /// Writes a line of history about what was begun at that time: before what has happened since.
    pub fn remember_begun(&mut self, at: Timestamp, what: MomentKind, trace: Option<String>) {
        self.remember(at, what, None, trace);
        let since = self.history.iter().rev().skip(1).take_while(|moment| moment.at > at).count();
        let place = self.history.len().saturating_sub(since + 1);
        self.history[place..].rotate_right(1);
    }

    /// Writes a line of history about what ends the signing: before the end, if that is known already.
    pub fn remember_before_end(&mut self, at: Timestamp, what: MomentKind, trace: Option<String>) {
        self.remember(at, what, None, trace);
        if let Some(end) = self.history.iter().position(|moment| moment.what.is_asked_end()) {
            self.history[end..].rotate_right(1);
        }
    }

    /// Takes over what somebody else remembered meanwhile.
    pub fn join_history(&mut self, theirs: Vec<Moment>) {
        let is_known = |moment: &Moment| self.history.iter().any(|ours| ours.is_same_line(moment));
        let missing: Vec<_> = theirs.into_iter().filter(|moment| !is_known(moment)).collect();
        self.history.extend(missing);
        self.history.sort_by_key(|moment| moment.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EventKind, SignerStatus, SigningStatus, sample};

    const fn at(second: i64) -> Timestamp {
        Timestamp::constant(1_700_000_000 + second, 123_456_700)
    }

    #[test]
    fn what_ends_a_signing_is_told_before_the_end_whichever_is_heard_of_first() {
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        let told = |signing: &Signing| -> Vec<MomentKind> {
            signing.history.iter().rev().take(3).map(|moment| moment.what.clone()).collect()
        };
        signing.remember(at(1), MomentKind::LinkMade, None, None);
        signing.remember_before_end(at(2), MomentKind::VoidAsked, None);
        assert_eq!(told(&signing)[..2], [MomentKind::VoidAsked, MomentKind::LinkMade]);
        signing.history.pop();
        signing.remember(at(1), EventKind::SigningVoided.into(), None, None);
        signing.remember_before_end(at(2), MomentKind::VoidAsked, Some("trace".to_owned()));
        let voided = MomentKind::Event(EventKind::SigningVoided);
        assert_eq!(told(&signing), [voided, MomentKind::VoidAsked, MomentKind::LinkMade]);
    }

    #[test]
    fn what_was_begun_is_told_before_what_has_happened_since() {
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        signing.remember_begun(at(0), MomentKind::Checked, None);
        for second in [1, 3, 4] {
            signing.remember(at(second), MomentKind::LinkMade, None, None);
        }
        signing.remember_begun(at(2), MomentKind::Checked, None);
        signing.remember_begun(at(4), MomentKind::Checked, None);
        let told: Vec<_> = signing.history.iter().map(|moment| (moment.at, moment.what.clone())).collect();
        let (checked, made) = (MomentKind::Checked, MomentKind::LinkMade);
        let lines = [(0, &checked), (1, &made), (2, &checked), (3, &made), (4, &made), (4, &checked)];
        assert_eq!(told, lines.map(|(second, what)| (at(second), what.clone())));
    }

    #[test]
    fn what_repeats_pushes_nothing_else_out_of_the_history() {
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        let signer = Some(signing.signers[0].id);
        signing.remember(at(0), EventKind::SigningOpened.into(), None, None);
        for second in 1..300 {
            signing.remember(at(second), EventKind::SignerReturned.into(), signer, None);
        }
        signing.remember(at(300), EventKind::SigningCompleted.into(), None, None);
        assert_eq!(signing.history.len(), MAX_HISTORY);
        assert_eq!(signing.history[0].what, MomentKind::Event(EventKind::SigningOpened));
        assert_eq!(signing.history.last().unwrap().what, MomentKind::Event(EventKind::SigningCompleted));
        assert_eq!(signing.history[1].at, at(102), "the oldest went");
        // Without anything that repeats, the oldest about a signer, and at last the oldest.
        let mut many = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        many.remember(at(0), EventKind::SigningOpened.into(), None, None);
        for second in 1..300 {
            many.remember(at(second), EventKind::SignerReady.into(), signer, None);
        }
        assert_eq!(many.history.len(), MAX_HISTORY);
        assert_eq!(many.history[0].what, MomentKind::Event(EventKind::SigningOpened));
    }
}
