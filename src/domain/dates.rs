//! How far the upstream's word on when something happened is believed.

use jiff::{SignedDuration, Timestamp};

use crate::domain::{EventKind, Moment, MomentKind, Signing};

/// The time by the upstream's clock is known so well.
pub(super) const CLOCKS: SignedDuration = SignedDuration::from_secs(60);

/// The time at which facts are taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    pub(super) at: Timestamp,
    /// Whether the upstream has told what time it is, so that this is by its clock.
    is_told: bool,
}

impl Now {
    /// By this machine's clock alone: the upstream has told no time yet.
    pub const fn untold(at: Timestamp) -> Self {
        Self { at, is_told: false }
    }

    /// A time by the upstream's word as it decides what is newer: none if it is in the future, by more than clocks differ.
    /// It would outlive all that is told later and true.
    pub(super) fn not_ahead(self, at: Option<Timestamp>) -> Option<Timestamp> {
        at.map(kept).filter(|at| !self.is_before(*at))
    }

    fn is_before(self, at: Timestamp) -> bool {
        self.is_told && at.duration_since(self.at) > CLOCKS
    }
}

/// By the upstream's clock.
impl From<Timestamp> for Now {
    fn from(at: Timestamp) -> Self {
        Self { at, is_told: true }
    }
}

impl Signing {
    /// When something happened by the upstream's word; none if it told no time, or one that cannot be: before the signing
    /// was asked for, or in the future. By clocks that differ a little it may be just outside. A machine whose own clock is
    /// behind does not know what is in the future before the upstream has told the time.
    pub(super) fn believed(&self, at: Option<Timestamp>, now: Now) -> Option<Timestamp> {
        let at = now.not_ahead(at)?;
        let is_too_early = self.created_at.duration_since(at) > CLOCKS;
        let latest = if now.is_told { now.at } else { at };
        (!is_too_early).then(|| at.min(latest).max(self.created_at))
    }

    /// Adds when somebody signed to the line of it, if that was written without a time: a completion that does not say when
    /// each of them signed may be heard of before their own messages. Nobody signs after it, but by clocks that differ.
    pub(super) fn date_signature(&mut self, recipient_id: &str, at: Option<Timestamp>) {
        let Some(at) = at else { return };
        let end = self.completed_at.unwrap_or(at);
        let signer = self.signers.iter().find(|signer| signer.recipient_id == recipient_id);
        let Some(signer) = signer.filter(|_| at.duration_since(end) <= CLOCKS) else { return };
        let kind = MomentKind::Event(EventKind::SignerSigned);
        let is_theirs =
            |moment: &&mut Moment| moment.what == kind && moment.signer.as_ref() == Some(&signer.key);
        if let Some(line) = self.history.iter_mut().find(is_theirs) {
            line.happened_at = line.happened_at.or(Some(at.min(end)));
        }
    }
}

/// A time as it is stored: what is compared again must not change by being kept.
pub(super) fn kept(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::{
        EnvelopeFact, Fact, Private, Signer, SignerFact, SignerId, SignerStatus, SigningStatus, Upstream,
        fact::Person, sample,
    };

    const fn at(second: i64) -> Timestamp {
        Timestamp::constant(1_700_000_000 + second, 123_456_700)
    }

    #[test]
    fn f1_an_end_is_dated_by_the_upstream_unless_that_date_cannot_be() {
        let now = at(200_000);
        let created_at = sample::signing(SigningStatus::Open, SignerStatus::Ready).created_at;
        for (said, told) in [
            (None, None),
            (Some(at(40)), Some(kept(at(40)))),
            // By clocks that differ a little.
            (Some(at(-59)), Some(created_at)),
            (Some(at(200_059)), Some(now)),
            // Nothing is signed before it is asked for, or tomorrow.
            (Some(at(-61)), None),
            (Some(at(-86_400)), None),
            (Some(at(200_061)), None),
            (Some(Timestamp::MIN), None),
            (Some(Timestamp::MAX), None),
        ] {
            for unlisted in [false, true] {
                let mut signing = sample::signing(SigningStatus::Open, SignerStatus::InSession);
                let end = Fact::of_envelope(EnvelopeFact::Completed, said, &signing.signers, |_| !unlisted);
                let news = signing.observe(&end, now);
                assert_eq!(signing.completed_at, Some(told.unwrap_or(now)), "{said:?}");
                // That is no word on when each of them signed.
                let of_the_end = |kind| told.filter(|_| kind != EventKind::SignerSigned);
                assert!(news.iter().all(|one| one.at == of_the_end(one.kind)), "{said:?}: {news:?}");
                // What is told again later does not move it.
                assert_eq!(signing.observe(&Fact::Envelope(EnvelopeFact::Completed, Some(at(50))), now), []);
                assert_eq!(signing.completed_at, Some(told.unwrap_or(now)), "{said:?}");
            }
            for end in [EnvelopeFact::Declined, EnvelopeFact::Expired, EnvelopeFact::Voided] {
                let mut signing = sample::signing(SigningStatus::Open, SignerStatus::InSession);
                let news = signing.observe(&Fact::Envelope(end, said), now);
                assert_eq!((news[0].at, signing.completed_at), (told, None), "{end:?} {said:?}");
            }
        }
    }

    #[test]
    fn f1_a_machine_that_is_behind_takes_no_date_for_the_future_before_it_was_told_the_time() {
        let (behind, signed_at) = (at(-7_200), at(40));
        let end = |said| Fact::Envelope(EnvelopeFact::Completed, said);
        let open = || sample::signing(SigningStatus::Open, SignerStatus::InSession);
        let created_at = open().created_at;
        for (said, now, told) in [
            (Some(signed_at), Now::untold(behind), Some(kept(signed_at))),
            (Some(signed_at), behind.into(), None),
            (Some(at(-61)), Now::untold(behind), None),
            (None, Now::untold(behind), None),
        ] {
            let mut signing = open();
            let news = signing.observe(&end(said), now);
            let completed = news.iter().find(|one| one.kind == EventKind::SigningCompleted).unwrap();
            assert_eq!(completed.at, told, "{said:?} {now:?}");
            // Nothing is completed before it was asked for.
            assert_eq!(signing.completed_at, Some(told.unwrap_or(created_at)), "{said:?} {now:?}");
        }
    }

    #[test]
    fn f1_whoever_signed_is_told_with_their_own_time_and_whose_turn_it_became_with_none() {
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        let second = SignerId::from_uuid(Uuid::from_u128(4));
        let other = sample::person(SignerStatus::Waiting);
        signing.signers.push(Signer { id: second, order: 2, recipient_id: "2".to_owned(), ..other });
        let signed = |id: &str, at| Fact::Signer {
            recipient_id: id.to_owned(),
            fact: SignerFact::Signed,
            at: Some(at),
        };
        let now = at(200_000);
        let mut told = signing.observe(&signed("1", at(10)), now);
        told.extend(signing.observe(&signed("2", at(20)), now));
        told.extend(signing.observe(&Fact::Envelope(EnvelopeFact::Completed, Some(at(21))), now));
        let told: Vec<_> = told.iter().map(|one| (one.kind, one.at)).collect();
        let dated = [
            (EventKind::SignerSigned, Some(10)),
            (EventKind::SignerReady, None),
            (EventKind::SignerSigned, Some(20)),
            (EventKind::SigningCompleted, Some(21)),
            (EventKind::DocumentAvailable, Some(21)),
        ];
        assert_eq!(told, dated.map(|(kind, second)| (kind, second.map(|second| kept(at(second))))));
    }

    #[test]
    fn f1_what_is_dated_in_the_future_outlives_nothing_that_is_true() {
        use SignerFact::{AuthenticationFailed, Delivered, Resent};
        let now = at(1_000);
        let says = |signing: &mut Signing, fact, at| {
            let fact = Fact::Signer { recipient_id: "1".to_owned(), fact, at: Some(at) };
            signing.observe(&fact, now).iter().map(|one| one.kind).collect::<Vec<_>>()
        };
        let failed = [EventKind::SignerAuthenticationFailed];
        for ahead in [at(1_061), at(4_600), Timestamp::MAX] {
            let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
            assert_eq!(says(&mut signing, AuthenticationFailed, ahead), failed, "as if it were of now");
            assert_eq!(signing.signers[0].upstream.failed_at, Some(now));
            assert_eq!(says(&mut signing, Delivered, ahead), [], "nobody knows when");
            // By clocks that differ a little.
            assert_eq!(says(&mut signing, Resent, at(1_030)), [EventKind::SignerReady], "{ahead}");
            assert_eq!(says(&mut signing, AuthenticationFailed, ahead), [], "it may be the one from before");
            assert_eq!(says(&mut signing, AuthenticationFailed, at(1_040)), failed, "{ahead}");

            // Word of their turn is no shield against all denials to come.
            let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
            signing.signers[0].role = Some("buyer".to_owned());
            assert_eq!(says(&mut signing, Delivered, ahead), [EventKind::SignerSessionStarted]);
            assert_eq!(signing.signers[0].upstream, Upstream::default(), "{ahead}");
            assert!(signing.deny_turn(signing.signers[0].id, SignerStatus::InSession, at(1_200)), "{ahead}");
        }
    }

    #[test]
    fn f1_a_name_that_is_told_with_a_date_in_the_future_gives_way_to_the_next() {
        for ahead in [at(1_061), at(4_600), Timestamp::MAX] {
            let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
            for (name, said, is_taken) in
                [("Wrong", ahead, true), ("Late", at(999), false), ("Right", at(1_030), true)]
            {
                let person = Person {
                    recipient_id: None,
                    name: Private::new(name.to_owned()),
                    email: Private::new("ada@example.com".to_owned()),
                    at: Some(said),
                };
                signing.observe(&Fact::Person { recipient_id: "1".to_owned(), person }, at(1_000));
                assert_eq!(signing.signers[0].name.reveal() == name, is_taken, "{name} {ahead}");
            }
        }
    }

    #[test]
    fn f1_when_somebody_signed_is_kept_in_whichever_order_it_is_heard() {
        let now = at(200_000);
        // Nobody signs after the end: such a time is that of the message.
        for (said, told) in [
            (Some(at(40)), Some(kept(at(40)))),
            (Some(at(110)), Some(kept(at(100)))),
            (Some(at(161)), None),
            (Some(at(-61)), None),
            (None, None),
        ] {
            let mut signing = sample::signing(SigningStatus::Open, SignerStatus::InSession);
            for one in signing.observe(&Fact::Envelope(EnvelopeFact::Completed, Some(at(100))), now) {
                signing.remember(now, one.kind.into(), one.signer, None);
                signing.date(one.at);
            }
            let mut expected = signing.clone();
            expected.history[0].happened_at = told;
            let signed = |fact, at| Fact::Signer { recipient_id: "1".to_owned(), fact, at };
            assert_eq!(signing.observe(&signed(SignerFact::Signed, said), now), [], "it is no news");
            assert_eq!(signing, expected, "{said:?}");
            for other in
                [signed(SignerFact::Delivered, Some(at(5))), signed(SignerFact::Declined, Some(at(6)))]
            {
                assert_eq!(signing.observe(&other, now), []);
            }
            // What is known is not moved.
            if told.is_some() {
                assert_eq!(signing.observe(&signed(SignerFact::Signed, Some(at(50))), now), []);
            }
            assert_eq!(signing, expected, "{said:?}");
        }
    }
}
