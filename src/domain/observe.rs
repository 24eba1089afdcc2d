//! How facts move a signing: late, twice and in any order, to one end (rules F1, F3).
//!
//! Most facts only raise a status. A failed identity check is an exception, because it can be undone: there
//! the times count that the upstream gives, and a failure that is older than the last unlocking is over. So
//! is a turn, which follows from the order of our own signers until the upstream says otherwise: a template
//! may bring recipients who sign before them. Whether it gave a turn or denied it last, its times tell, and not which
//! of the two is written down first. A time in the future is taken for none: it would outlive all that is
//! told later and true.
//!
//! What a fact changed is told with the upstream's own time of it: it may be heard of days later. [`Now`] is by the
//! upstream's clock, too, so that nothing is dated by two; or says that this is not known yet.

use jiff::Timestamp;

use crate::domain::{
    Email, EnvelopeFact, EventKind, Fact, Now, Private, Signer, SignerFact, SignerId, SignerStatus, Signing,
    SigningStatus,
    dates::{CLOCKS, kept},
    fact::Person,
    signing::News,
};

impl Signing {
    /// Takes in what was learned at once, and tells what it changed: nothing, if it is late or came before. The turn passes
    /// when all of it is known, so that nobody is told to sign who has signed by the same news, or after the end.
    pub fn observe_all(&mut self, facts: &[Fact], now: impl Into<Now>) -> Vec<News> {
        let now = now.into();
        let mut news: Vec<_> = facts.iter().flat_map(|fact| self.learn_fact(fact, now)).collect();
        let has_one_signed = news.iter().any(|one| one.kind == EventKind::SignerSigned);
        if has_one_signed && self.status == SigningStatus::Open {
            self.pass_turn(&mut news);
        }
        self.keep_turns(&mut news);
        news
    }

    /// Takes one fact in, as [`Self::observe_all`] does.
    pub fn observe(&mut self, fact: &Fact, now: impl Into<Now>) -> Vec<News> {
        self.observe_all(std::slice::from_ref(fact), now)
    }

    /// What one fact changes of whom or what it is about.
    fn learn_fact(&mut self, fact: &Fact, now: Now) -> Vec<News> {
        match fact {
            Fact::Checked { recipient_id, is_passed } => {
                self.note_check(recipient_id, *is_passed);
                Vec::new()
            }
            Fact::CompletedWithout(..) if self.status.is_terminal() => Vec::new(),
            Fact::CompletedWithout(unlisted, at) => self.complete(unlisted, self.believed(*at, now), now),
            Fact::Envelope(fact, at) => self.observe_envelope(*fact, self.believed(*at, now), now),
            Fact::Person { recipient_id, person } => {
                self.meet(recipient_id, person, now);
                Vec::new()
            }
            Fact::Signer { recipient_id, fact, at } => self.observe_signer(recipient_id, *fact, *at, now),
        }
    }

    /// Unlocks a signer whose identity check failed, once the upstream has been told, which was `at` by its
    /// clock. What it said of failures before is over.
    pub fn reset_authentication(&mut self, signer: SignerId, at: Timestamp) -> Vec<News> {
        let open = self.status == SigningStatus::Open;
        let Some(signer) = self.signer_mut(signer).filter(|signer| open && !signer.is_done()) else {
            return Vec::new();
        };
        signer.upstream.unlocked_at = signer.upstream.unlocked_at.max(Some(kept(at)));
        if signer.status != SignerStatus::AuthFailed {
            return Vec::new();
        }
        signer.status = SignerStatus::Ready;
        vec![News { kind: EventKind::SignerReady, signer: Some(signer.id), at: None }]
    }

    /// The upstream, asked `at` that time by its clock for a signer who stood there as `known`, gave no view because
    /// others sign first. They wait until something newer says that it is their turn; unless that was heard while the
    /// upstream was asked. Answers whether it is news.
    pub fn deny_turn(&mut self, signer: SignerId, known: SignerStatus, at: Timestamp) -> bool {
        let (is_over, at) = (self.status.is_terminal(), kept(at));
        let may_wait = |signer: &&mut Signer| {
            !is_over && !signer.status.is_terminal() && !signer.got_turn_since(known, at)
        };
        let Some(signer) = self.signer_mut(signer).filter(may_wait) else { return false };
        let is_news = signer.upstream.denied_at.is_none();
        signer.status = SignerStatus::Waiting;
        signer.upstream.denied_at = signer.upstream.denied_at.max(Some(at));
        is_news
    }

    /// The upstream gave a signer a view who waited, because it had denied them one: it is their turn.
    pub fn allow_turn(&mut self, signer: SignerId) -> Vec<News> {
        let is_open = self.status == SigningStatus::Open;
        let signer =
            self.signer_mut(signer).filter(|signer| is_open && signer.status == SignerStatus::Waiting);
        let Some(signer) = signer else { return Vec::new() };
        signer.reach(SignerStatus::Ready);
        vec![News { kind: EventKind::SignerReady, signer: Some(signer.id), at: None }]
    }

    /// Takes the name over that a signer has at the upstream now, and of a locked one the recipient id there,
    /// without which the lock cannot be lifted.
    fn meet(&mut self, recipient_id: &str, person: &Person, now: Now) {
        if self.status.is_terminal() {
            // A purge makes names unreadable.
            return;
        }
        let signer = self.signers.iter_mut().find(|signer| signer.recipient_id == recipient_id);
        let Some(signer) = signer.filter(|signer| !signer.is_done()) else { return };
        if signer.status == SignerStatus::AuthFailed && person.recipient_id.is_some() {
            signer.upstream.recipient_id.clone_from(&person.recipient_id);
        }
        let at = now.not_ahead(person.at).unwrap_or_else(|| kept(now.at));
        let (name, email) = (person.name.reveal(), person.email.reveal());
        let is_known = name == signer.name.reveal() && email == signer.email.reveal();
        let is_old = signer.upstream.named_at.is_some_and(|known| known >= at);
        if is_known || is_old || name.is_empty() || email.is_empty() {
            return;
        }
        signer.upstream.named_at = Some(at);
        signer.name = Private::new(name.clone());
        signer.email = Email::trusted(email.clone());
    }

    fn observe_envelope(&mut self, fact: EnvelopeFact, at: Option<Timestamp>, now: Now) -> Vec<News> {
        if fact == EnvelopeFact::Purged {
            return self.purge(now.at);
        }
        if self.status.is_terminal() {
            return Vec::new();
        }
        match fact {
            // Neither says anything that the signers' own facts do not say better.
            EnvelopeFact::Delivered | EnvelopeFact::Sent | EnvelopeFact::Purged => Vec::new(),
            EnvelopeFact::Completed => self.complete(&[], at, now),
            EnvelopeFact::Declined => self.end(SigningStatus::Declined, EventKind::SigningDeclined, at),
            EnvelopeFact::Expired => self.end(SigningStatus::Expired, EventKind::SigningExpired, at),
            EnvelopeFact::Voided => self.end(SigningStatus::Voided, EventKind::SigningVoided, at),
        }
    }

    /// The upstream completes an envelope only when everyone has signed, so their own facts, should
    /// they still be on the way, are already known: by then at the latest they had, but when is not said. Whom it does not
    /// list any more stays as they are.
    fn complete(&mut self, unlisted: &[String], at: Option<Timestamp>, now: Now) -> Vec<News> {
        let mut news = Vec::new();
        for signer in &mut self.signers {
            if signer.status != SignerStatus::Signed && !unlisted.contains(&signer.recipient_id) {
                signer.reach(SignerStatus::Signed);
                news.push(News { kind: EventKind::SignerSigned, signer: Some(signer.id), at: None });
            }
        }
        // This machine's clock may be behind that by which it was asked for.
        self.completed_at = Some(at.unwrap_or(now.at).max(self.created_at));
        news.extend(self.end(SigningStatus::Completed, EventKind::SigningCompleted, at));
        news.push(News { kind: EventKind::DocumentAvailable, signer: None, at });
        news
    }

    fn purge(&mut self, now: Timestamp) -> Vec<News> {
        if self.purged_at.is_some() {
            return Vec::new();
        }
        self.purged_at = Some(now);
        vec![News { kind: EventKind::SigningPurged, signer: None, at: None }]
    }

    fn observe_signer(
        &mut self,
        recipient_id: &str,
        fact: SignerFact,
        at: Option<Timestamp>,
        now: Now,
    ) -> Vec<News> {
        let happened_at = self.believed(at, now);
        if fact == SignerFact::Signed {
            self.date_signature(recipient_id, happened_at);
        }
        // A late fact about a signer still completes the record of a declined or voided envelope, but no news of a signer
        // can follow the completion, which implied all of it but when; whom it left out is gone.
        if matches!(self.status, SigningStatus::Completed | SigningStatus::Failed) {
            return Vec::new();
        }
        // One from before the signing was asked for, by our word, still tells what came after what.
        let at = now.not_ahead(at);
        let first = self.signers.iter().map(|signer| signer.order).min();
        let Some(signer) = self.signers.iter_mut().find(|signer| signer.recipient_id == recipient_id) else {
            return Vec::new();
        };
        // Whom nobody signs before is denied no turn: what is kept against that would cost a write.
        if signer.role.is_some() || Some(signer.order) != first {
            signer.note_turn(fact, at);
        }
        let Some(status) = signer.learn(fact, at, now.at) else { return Vec::new() };
        signer.reach(status);
        let id = signer.id;
        if status.is_terminal() && self.live_view.as_ref().is_some_and(|view| view.signer == id) {
            self.live_view = None;
        }
        let kind = match status {
            SignerStatus::AuthFailed => EventKind::SignerAuthenticationFailed,
            SignerStatus::Declined => EventKind::SignerDeclined,
            SignerStatus::InSession => EventKind::SignerSessionStarted,
            SignerStatus::Ready | SignerStatus::Waiting => EventKind::SignerReady,
            SignerStatus::Signed => EventKind::SignerSigned,
        };
        if self.status.is_terminal() && matches!(status, SignerStatus::InSession | SignerStatus::Ready) {
            // It completes the record; but nobody is to be told after the end that somebody may sign.
            return Vec::new();
        }
        vec![News { kind, signer: Some(id), at: happened_at }]
    }
}

impl Signer {
    /// Whether they have come to their own end, which no unlocking undoes.
    pub const fn is_done(&self) -> bool {
        matches!(self.status, SignerStatus::Declined | SignerStatus::Signed)
    }

    fn reach(&mut self, status: SignerStatus) {
        self.status = status;
        self.upstream.denied_at = None;
        if self.is_done() {
            // Whoever has ended is neither locked nor unlocked any more, whatever comes late.
            (self.upstream.failed_at, self.upstream.unlocked_at) = (None, None);
            self.upstream.turn_at = None;
        }
    }

    /// Keeps when it was their turn by the upstream's word, also if they stand there already: a denial of before may come
    /// after it.
    fn note_turn(&mut self, fact: SignerFact, at: Option<Timestamp>) {
        if !self.is_done() && matches!(fact, SignerFact::Delivered | SignerFact::Sent) {
            self.upstream.turn_at = self.upstream.turn_at.max(at);
        }
    }

    /// Whether they have got their turn since the upstream denied it, asked at that time when they stood there as `known`:
    /// by its own times, or because they stand further now.
    fn got_turn_since(&self, known: SignerStatus, denied: Timestamp) -> bool {
        let is_overtaken = self.upstream.turn_at.is_some_and(|at| denied.duration_since(at) <= CLOCKS);
        is_overtaken || self.status.rank() > known.rank()
    }

    /// Where a fact takes them, if anywhere.
    fn learn(&mut self, fact: SignerFact, at: Option<Timestamp>, now: Timestamp) -> Option<SignerStatus> {
        if self.is_done() {
            return None;
        }
        let status = match fact {
            // Both outrank a failed check: it was reset, and its fact came late.
            SignerFact::Declined => return Some(SignerStatus::Declined),
            SignerFact::Signed => return Some(SignerStatus::Signed),
            SignerFact::AuthenticationFailed => return self.fail(at, now),
            SignerFact::Delivered => SignerStatus::InSession,
            SignerFact::Resent | SignerFact::Sent => SignerStatus::Ready,
        };
        if fact != SignerFact::Sent {
            self.upstream.unlocked_at = self.upstream.unlocked_at.max(at);
        }
        let is_unlocked = self.status == SignerStatus::AuthFailed
            && self.upstream.unlocked_at.is_some_and(|at| Some(at) > self.upstream.failed_at);
        let is_further = fact != SignerFact::Resent && status.rank() > self.status.rank();
        (is_unlocked || (is_further && !self.was_denied_since(at))).then_some(status)
    }

    /// Whether the upstream has denied their turn since it said otherwise at that time. What comes without a time was
    /// read just now, or is told of everyone at once: it counts.
    fn was_denied_since(&self, at: Option<Timestamp>) -> bool {
        let between = self.upstream.denied_at.zip(at).map(|(denied, at)| denied.duration_since(at));
        between.is_some_and(|between| between > CLOCKS)
    }

    /// A check failed for good, unless it was before the last unlocking. The API tells of a failure as long
    /// as there is no other result, and perhaps without its time: after an unlocking it cannot count.
    fn fail(&mut self, at: Option<Timestamp>, now: Timestamp) -> Option<SignerStatus> {
        let is_over = self.upstream.unlocked_at.is_some_and(|unlocked| at.is_none_or(|at| at <= unlocked));
        if at.is_some() || !is_over {
            self.upstream.failed_at = self.upstream.failed_at.max(Some(at.unwrap_or(now)));
        }
        (!is_over && self.status != SignerStatus::AuthFailed).then_some(SignerStatus::AuthFailed)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::{AccountId, EnvelopeId, Upstream, sample};

    const fn at(second: i64) -> Timestamp {
        Timestamp::constant(1_700_000_000 + second, 123_456_700)
    }

    fn said(signing: &mut Signing, fact: SignerFact, second: Option<i64>) -> Vec<EventKind> {
        let fact = Fact::Signer { recipient_id: "1".to_owned(), fact, at: second.map(at) };
        signing.observe(&fact, at(1_000)).into_iter().map(|one| one.kind).collect()
    }

    #[test]
    fn a_failure_counts_only_if_nothing_unlocked_it_since() {
        use SignerFact::{AuthenticationFailed, Delivered, Resent, Signed};
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        let signer = signing.signers[0].id;
        assert_eq!(
            said(&mut signing, AuthenticationFailed, Some(10)),
            [EventKind::SignerAuthenticationFailed]
        );
        assert_eq!(said(&mut signing, Delivered, Some(9)), [], "from before the failure");
        assert_eq!(said(&mut signing, Delivered, None), [], "nobody knows when");
        assert_eq!(signing.reset_authentication(signer, at(20)).len(), 1);
        for late in [Some(10), Some(20), None] {
            assert_eq!(said(&mut signing, AuthenticationFailed, late), [], "{late:?}");
        }
        assert_eq!(
            said(&mut signing, AuthenticationFailed, Some(30)),
            [EventKind::SignerAuthenticationFailed]
        );
        // At the upstream's own console.
        assert_eq!(said(&mut signing, Resent, Some(29)), []);
        assert_eq!(said(&mut signing, Resent, Some(31)), [EventKind::SignerReady]);
        assert_eq!(said(&mut signing, Resent, Some(31)), []);
        assert_eq!(
            said(&mut signing, AuthenticationFailed, Some(40)),
            [EventKind::SignerAuthenticationFailed]
        );
        assert_eq!(said(&mut signing, Delivered, Some(41)), [EventKind::SignerSessionStarted]);
        assert_eq!(said(&mut signing, AuthenticationFailed, Some(40)), []);
        assert_eq!(said(&mut signing, Signed, Some(42)).first(), Some(&EventKind::SignerSigned));
        assert_eq!(signing.signers[0].upstream, Upstream::default());
    }

    #[test]
    fn f1_whoever_is_denied_their_turn_waits_for_word_that_is_newer() {
        use SignerFact::{AuthenticationFailed, Declined, Delivered, Resent, Sent, Signed};
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        let signer = signing.signers[0].id;
        let stands = |signing: &Signing| (signing.signers[0].status, signing.next_signer().is_some());
        let deny = |signing: &mut Signing, second| {
            let known = signing.signers[0].status;
            signing.deny_turn(signer, known, at(second))
        };
        assert!(deny(&mut signing, 100) && !deny(&mut signing, 90));
        assert_eq!(stands(&signing), (SignerStatus::Waiting, false));
        // What was said before, and comes late; and what says nothing of a turn.
        for (fact, second) in [(Sent, 39), (Delivered, 39), (Resent, 200)] {
            assert_eq!(said(&mut signing, fact, Some(second)), [], "{fact:?}");
        }
        assert_eq!(stands(&signing), (SignerStatus::Waiting, false));
        // By clocks that differ a little, it may have been said just after.
        assert_eq!(said(&mut signing, Sent, Some(40)), [EventKind::SignerReady]);
        assert_eq!(signing.signers[0].upstream.denied_at, None);
        for (fact, told) in [
            (Sent, EventKind::SignerReady),
            (Delivered, EventKind::SignerSessionStarted),
            (AuthenticationFailed, EventKind::SignerAuthenticationFailed),
        ] {
            let mut signing = sample::signing(SigningStatus::Open, SignerStatus::InSession);
            deny(&mut signing, 100);
            assert_eq!(said(&mut signing, fact, None), [told], "as it is read now");
        }
        // An end is an end, whenever it was.
        for fact in [Declined, Signed] {
            let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
            deny(&mut signing, 100);
            assert!(!said(&mut signing, fact, Some(1)).is_empty() && !deny(&mut signing, 200));
        }
    }

    #[test]
    fn f1_a_denial_that_word_of_their_turn_has_overtaken_is_not_noted() {
        use SignerFact::{Delivered, Sent, Signed};
        let behind = |status| {
            let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
            let before = SignerId::from_uuid(Uuid::from_u128(4));
            let other =
                Signer { id: before, recipient_id: "0".to_owned(), ..sample::person(SignerStatus::Signed) };
            signing.signers[0].order = 2;
            signing.signers[0].status = status;
            signing.signers.push(other);
            signing
        };
        let signer = behind(SignerStatus::Ready).signers[0].id;
        let deny = |signing: &mut Signing, known, second| signing.deny_turn(signer, known, at(second));
        // By our own order they stand there already, so that the word changes nothing else.
        for (word, counts) in [(39, true), (40, false), (100, false), (160, false)] {
            for fact in [Sent, Delivered] {
                let mut signing = behind(SignerStatus::InSession);
                assert_eq!(said(&mut signing, fact, Some(word)), []);
                assert_eq!(deny(&mut signing, SignerStatus::InSession, 100), counts, "{fact:?} {word}");
                // Written down the other way round, they stand alike.
                let mut other = behind(SignerStatus::InSession);
                assert!(deny(&mut other, SignerStatus::InSession, 100));
                said(&mut other, fact, Some(word));
                let waits = |signing: &Signing| signing.signers[0].status == SignerStatus::Waiting;
                assert_eq!((waits(&signing), waits(&other)), (counts, counts), "{fact:?} {word}");
            }
        }
        // What was read or given meanwhile has no time, and shows.
        let mut read = behind(SignerStatus::Waiting);
        assert!(deny(&mut read, SignerStatus::Waiting, 100));
        assert_eq!(said(&mut read, Sent, None), [EventKind::SignerReady]);
        assert!(!deny(&mut read, SignerStatus::Waiting, 101));
        assert!(deny(&mut read, SignerStatus::Ready, 102), "and then it is denied");
        assert_eq!(said(&mut read, Signed, Some(200)).first(), Some(&EventKind::SignerSigned));
        // A sole signer of ours with no role is sent to at once, and that is no write.
        let mut sole = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        let before = sole.clone();
        assert_eq!(said(&mut sole, Sent, Some(1)), []);
        assert_eq!(sole, before);
    }

    #[test]
    fn f1_our_own_order_gives_nobody_a_turn_who_was_denied_it() {
        let mut signing = sample::signing(SigningStatus::Creating, SignerStatus::Waiting);
        let (first, second) = (signing.signers[0].id, SignerId::from_uuid(Uuid::from_u128(4)));
        let other = sample::person(SignerStatus::Waiting);
        signing.signers.push(Signer { id: second, order: 2, recipient_id: "2".to_owned(), ..other });
        assert!(signing.deny_turn(first, SignerStatus::Waiting, at(0)));
        let opened = signing.open(AccountId::new("a"), EnvelopeId::new("e"));
        assert_eq!(opened.iter().map(|it| it.kind).collect::<Vec<_>>(), [EventKind::SigningOpened]);
        // A view that is made all the same says that it is their turn.
        let told: Vec<_> = signing.allow_turn(first).iter().map(|it| (it.kind, it.signer)).collect();
        assert_eq!(told, [(EventKind::SignerReady, Some(first))]);
        assert_eq!(signing.allow_turn(first), [], "once");
        assert!(signing.deny_turn(second, SignerStatus::Waiting, at(0)));
        assert_eq!(said(&mut signing, SignerFact::Signed, Some(1)), [EventKind::SignerSigned]);
        assert_eq!(signing.signers[1].status, SignerStatus::Waiting);
    }

    #[test]
    fn whoever_waits_without_a_word_why_though_nobody_is_before_them_may_ask() {
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        let (first, second) = (signing.signers[0].id, SignerId::from_uuid(Uuid::from_u128(4)));
        signing.signers.push(Signer { id: second, order: 2, ..sample::person(SignerStatus::Waiting) });
        let may_ask = |signing: &Signing| [0, 1].map(|index| signing.may_ask(&signing.signers[index]));
        assert_eq!(may_ask(&signing), [false, false], "one need not, and the other waits for them");
        assert!(signing.deny_turn(first, SignerStatus::Ready, at(0)));
        assert!(signing.deny_turn(second, SignerStatus::Waiting, at(0)));
        assert_eq!(may_ask(&signing), [true, true]);
        // A daemon of an earlier version has written the record since.
        for signer in &mut signing.signers {
            signer.upstream.denied_at = None;
        }
        assert_eq!(may_ask(&signing), [true, false]);
        assert_eq!(signing.allow_turn(first).len(), 1, "who is given a view then has their turn");
        assert_eq!(signing.signers[0].status, SignerStatus::Ready);
        let waiting = sample::signing(SigningStatus::Voided, SignerStatus::Waiting);
        assert!(!waiting.may_ask(&waiting.signers[0]), "nor does anybody ask after the end");
    }

    #[test]
    fn f1_whom_a_completed_envelope_does_not_list_any_more_has_not_signed() {
        use EventKind::{DocumentAvailable, SignerSigned, SigningCompleted};
        for status in [SignerStatus::Ready, SignerStatus::InSession, SignerStatus::Waiting] {
            let mut signing = sample::signing(SigningStatus::Open, SignerStatus::InSession);
            let (first, second) = (signing.signers[0].id, SignerId::from_uuid(Uuid::from_u128(4)));
            let removed = Signer { id: second, recipient_id: "2".to_owned(), ..sample::person(status) };
            signing.signers.push(removed);
            let completed =
                Fact::of_envelope(EnvelopeFact::Completed, None, &signing.signers, |it| it.id == first);
            assert_eq!(completed, Fact::CompletedWithout(vec!["2".to_owned()], None));
            let told: Vec<_> =
                signing.observe(&completed, at(1)).iter().map(|one| (one.kind, one.signer)).collect();
            assert_eq!(
                told,
                [(SignerSigned, Some(first)), (SigningCompleted, None), (DocumentAvailable, None)]
            );
            assert_eq!([0, 1].map(|index| signing.signers[index].status), [SignerStatus::Signed, status]);
            assert_eq!(signing.status, SigningStatus::Completed);
            // What comes again, or later and without a list, adds nothing.
            for again in [completed, Fact::Envelope(EnvelopeFact::Completed, None)] {
                assert_eq!(signing.observe(&again, at(2)), []);
            }
            assert_eq!(signing.signers[1].status, status);
        }
        let all = sample::signing(SigningStatus::Open, SignerStatus::Ready).signers;
        for (fact, is_listed) in [(EnvelopeFact::Completed, true), (EnvelopeFact::Voided, false)] {
            let end = Fact::of_envelope(fact, Some(at(1)), &all, |_| is_listed);
            assert_eq!(end, Fact::Envelope(fact, Some(at(1))));
        }
        let purged = Fact::of_envelope(EnvelopeFact::Purged, Some(at(1)), &all, |_| false);
        assert_eq!(purged, Fact::Envelope(EnvelopeFact::Purged, None), "that is no end");
    }

    #[test]
    fn nobody_is_told_after_the_end_that_somebody_may_sign() {
        for fact in [SignerFact::Sent, SignerFact::Delivered] {
            let mut signing = sample::signing(SigningStatus::Voided, SignerStatus::Waiting);
            assert_eq!(said(&mut signing, fact, Some(1)), []);
            assert_ne!(signing.signers[0].status, SignerStatus::Waiting, "but it is written down");
        }
    }
}
