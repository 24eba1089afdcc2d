//! One signing: its signers, its status, and how facts move it.
//!
//! ```text
//! signing  creating ⇄ uncertain → open → completed | declined | voided | expired | failed
//! signer   waiting → ready → in_session → signed | declined | auth_failed
//! ```
//!
//! How facts move it is in `observe`, and what is written down of it, line by line, in `history`. Terminal states
//! never move back, whatever comes in whatever order (rule F3). Whoever is ready waits again once the upstream
//! denies that it is their turn ([`Signing::deny_turn`]). The one way out of `auth_failed` is that somebody
//! unlocks the check: we ([`Signing::reset_authentication`]), or a person at the upstream's own console.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::{
    AccountId, CallerName, Claim, Email, EnvelopeId, EventKind, Fact, LastReturn, LiveView, Moment, Now,
    Private, SenderName, SignerId, SignerStatus, SigningId, SigningStatus, TransactionId,
};

/// Whether signatures bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Production.
    Live,
    /// The developer environment or the emulator.
    Test,
}

impl Mode {
    /// As in the API: `live` or `test`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

/// One agreement: it owns one envelope at the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// Our id.
    pub id: SigningId,
    /// Who asked for it; nobody else sees it.
    pub caller: CallerName,
    /// Whether signatures bind.
    pub mode: Mode,
    /// The sender it is sent as.
    pub sender: SenderName,
    /// The caller's own name for it.
    pub reference: Option<String>,
    /// Where it stands.
    pub status: SigningStatus,
    /// Our id of the create.
    pub transaction_id: TransactionId,
    /// When the create was sent, while nothing is known of its outcome: whoever finds this set may not
    /// send it again before looking it up (rule E2).
    pub posted_at: Option<Timestamp>,
    /// Since when look-ups of that create have found nothing.
    pub missing_since: Option<Timestamp>,
    /// When it was decided that the create had made nothing, and that it is sent again; or when it was seen to
    /// have made two. A second envelope may come to light until a day later.
    pub repeated_at: Option<Timestamp>,
    /// How often a second envelope has been looked for since. Of a create that nobody was promised: how often it was
    /// looked for in vain after it was seen to be missing.
    pub twins_sought: u8,
    /// The account that the create was sent to, and in which the envelope is.
    pub account: Option<AccountId>,
    /// The envelope, once it is known to exist.
    pub envelope: Option<EnvelopeId>,
    /// The signers, in the order of the request.
    pub signers: Vec<Signer>,
    /// The caller's own data, given back as it came.
    pub metadata: Private<BTreeMap<String, String>>,
    /// The language asked for.
    pub locale: Option<String>,
    /// Origins that may frame the signing pages.
    pub frame_ancestors: Vec<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// What was in the way when the create was last tried, while it waits.
    pub last_try: Option<Failure>,
    /// Until when a limit keeps the create from being sent, while it waits for that and for nothing else.
    pub limited_until: Option<Timestamp>,
    /// The view that may be open now (rule L2).
    pub live_view: Option<LiveView>,
    /// When the upstream was last asked for its status (rule B3).
    pub checked_at: Option<Timestamp>,
    /// Number of the last event.
    pub sequence: u64,
    /// What happened, for the timeline.
    pub history: Vec<Moment>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When everyone had signed: by the upstream's word, or else when we learnt of it. By its clock either way.
    pub completed_at: Option<Timestamp>,
    /// When the caller wants it to end.
    pub expires_at: Option<Timestamp>,
    /// When the caller asked for its documents to be destroyed.
    pub purge_requested_at: Option<Timestamp>,
    /// How much is to be destroyed with them.
    pub purge_scope: Option<PurgeScope>,
    /// When its documents were destroyed at the upstream.
    pub purged_at: Option<Timestamp>,
}

/// One person who signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Our id.
    pub id: SignerId,
    /// The caller's name for them within the signing.
    pub key: String,
    /// Where they stand.
    pub status: SignerStatus,
    /// Their turn; equal numbers sign side by side.
    pub order: u32,
    /// The name as it was sent to the upstream: views must match it exactly.
    pub name: Private<String>,
    /// The address as it was sent.
    pub email: Email,
    /// The recipient id as it was sent.
    pub recipient_id: String,
    /// The client user id as it was sent: our id of them, which the caller is shown, too. It tells nothing of the person.
    pub client_user_id: String,
    /// The role in the template.
    pub role: Option<String>,
    /// Where the browser goes in the end.
    pub return_url: Option<String>,
    /// How the caller authenticated this person.
    pub authenticated_by: Option<AuthenticatedBy>,
    /// Whether a code goes to their phone before they sign.
    pub sms_auth: bool,
    /// What the browser said when it last came back. A claim, never a fact (rule F1).
    pub last_return: Option<LastReturn>,
    /// What the upstream has told of them besides.
    pub upstream: Upstream,
}

/// What the upstream has told of a signer besides where they stand. Times are by its clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upstream {
    /// The recipient id there, once it is certain: a template puts its own in the place of ours.
    pub recipient_id: Option<String>,
    /// When the name was last told.
    pub named_at: Option<Timestamp>,
    /// When an identity check last failed for good.
    pub failed_at: Option<Timestamp>,
    /// When they were last unlocked, or past all checks: a failure before it is over.
    pub unlocked_at: Option<Timestamp>,
    /// When they were last denied a view because others sign first, while nothing newer says that it is their turn.
    pub denied_at: Option<Timestamp>,
    /// When it last said that it is their turn, of those before whom others may sign: a denial from about then is over.
    pub turn_at: Option<Timestamp>,
    /// Whether they had passed a check by phone when they signed, once that was told.
    pub is_checked: Option<bool>,
}

/// How the caller authenticated a person; it goes into the certificate of completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticatedBy {
    /// The upstream's word for the method, such as `Password`.
    pub method: &'static str,
    /// When.
    pub at: Option<Timestamp>,
    /// The caller's own proof of it.
    pub id: Option<String>,
}

/// What a purge destroys: the later, the more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PurgeScope {
    /// The documents.
    Documents,
    /// Documents, tabs and attachments' metadata.
    DocumentsAndMetadata,
    /// All of it, with names and addresses made unreadable.
    DocumentsMetadataAndRedact,
}

impl PurgeScope {
    /// All of them.
    pub const ALL: [Self; 3] =
        [Self::Documents, Self::DocumentsAndMetadata, Self::DocumentsMetadataAndRedact];

    /// The word in our API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Documents => "documents",
            Self::DocumentsAndMetadata => "documents_and_metadata",
            Self::DocumentsMetadataAndRedact => "documents_metadata_and_redact",
        }
    }

    /// The scope of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// Why a signing failed, in words a caller may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One of our problem codes.
    pub code: String,
    /// What happened.
    pub detail: String,
    /// The upstream's own code, if it gave one.
    pub provider_code: Option<String>,
    /// The HTTP status that it came with.
    pub provider_status: Option<u16>,
    /// The upstream's trace id.
    pub provider_trace: Option<String>,
}

impl Failure {
    /// One that is not the upstream's word.
    pub fn ours(code: &str, detail: &str) -> Self {
        Self {
            code: code.to_owned(),
            detail: detail.to_owned(),
            provider_code: None,
            provider_status: None,
            provider_trace: None,
        }
    }
}

/// Something that a fact changed, to be told to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// What.
    pub kind: EventKind,
    /// To whom, if to one signer.
    pub signer: Option<SignerId>,
    /// When, by the upstream's clock, if it told that and can be believed; else just now.
    pub at: Option<Timestamp>,
}

impl Signing {
    /// The signer of that id.
    pub fn signer(&self, id: SignerId) -> Option<&Signer> {
        self.signers.iter().find(|signer| signer.id == id)
    }

    /// The signer of that id, to change.
    pub fn signer_mut(&mut self, id: SignerId) -> Option<&mut Signer> {
        self.signers.iter_mut().find(|signer| signer.id == id)
    }

    /// The first signer, in signing order, whose turn it is.
    pub fn next_signer(&self) -> Option<&Signer> {
        self.signers
            .iter()
            .filter(|signer| matches!(signer.status, SignerStatus::Ready | SignerStatus::InSession))
            .min_by_key(|signer| signer.order)
    }

    /// Whether it has come to its end, and it is known who has declined it, if somebody has.
    pub fn tells_its_end(&self) -> bool {
        let has_declined = |signer: &Signer| signer.status == SignerStatus::Declined;
        self.status.is_terminal()
            && (self.status != SigningStatus::Declined || self.signers.iter().any(has_declined))
    }

    /// Whether what is personal in it is destroyed: as long as it is kept, no signer's name is empty.
    pub fn is_without_persons(&self) -> bool {
        self.signers.iter().any(|signer| signer.name.reveal().is_empty())
    }

    /// The place in the order of those whose turn it is, as far as our own signers tell.
    fn turn(&self) -> Option<u32> {
        let missing = self.signers.iter().filter(|signer| signer.status != SignerStatus::Signed);
        missing.map(|signer| signer.order).min()
    }

    /// Whether a signer who waits may ask for a view all the same: the upstream has denied them their turn, and only it
    /// knows when they have it; or all before them say that they have signed. That is a claim, of which nothing follows but
    /// that it is worth to ask: the event of it may be late or lost.
    pub fn may_ask(&self, signer: &Signer) -> bool {
        let waits = self.status == SigningStatus::Open && signer.status == SignerStatus::Waiting;
        let has_left = |other: &Signer| {
            let claims = other.last_return.is_some_and(|last| last.claim == Claim::SigningComplete);
            claims || other.status == SignerStatus::Signed
        };
        let mut before = self.signers.iter().filter(|other| other.order < signer.order);
        waits && (!self.waits_in_order(signer) || before.all(has_left))
    }

    /// Whether a signer waits for others of ours, as far as is known, and for nothing else: that the upstream denies them
    /// their turn tells nothing then. Whose turn it is by our own order can wait for no other reason than that it did. The
    /// record may not say so: a daemon of an earlier version, which does not know the denial, writes it without.
    pub fn waits_in_order(&self, signer: &Signer) -> bool {
        let (is_denied, is_next) = (signer.upstream.denied_at.is_some(), Some(signer.order) == self.turn());
        signer.status == SignerStatus::Waiting && !is_denied && !is_next
    }

    /// The envelope exists: opens the signing, and tells whose turn it is.
    pub fn open(&mut self, account: AccountId, envelope: EnvelopeId) -> Vec<News> {
        if !matches!(self.status, SigningStatus::Creating | SigningStatus::Uncertain) {
            return Vec::new();
        }
        self.status = SigningStatus::Open;
        self.last_try = None;
        self.limited_until = None;
        self.posted_at = None;
        self.missing_since = None;
        self.account = Some(account);
        self.envelope = Some(envelope);
        let mut news = vec![News { kind: EventKind::SigningOpened, signer: None, at: None }];
        self.pass_turn(&mut news);
        news
    }

    /// The envelope exists, and was found as these facts say: opens the signing, and takes them in with it. All of that is
    /// told at once.
    pub fn open_as_found(
        &mut self,
        account: AccountId,
        envelope: EnvelopeId,
        facts: &[Fact],
        now: impl Into<Now>,
    ) -> Vec<News> {
        let mut news = self.open(account, envelope);
        news.extend(self.observe_all(facts, now));
        self.keep_turns(&mut news);
        news
    }

    /// The envelope will never exist.
    pub fn fail(&mut self, failure: Failure) -> Vec<News> {
        if self.status.is_terminal() || self.status == SigningStatus::Open {
            return Vec::new();
        }
        self.failure = Some(failure);
        self.last_try = None;
        self.limited_until = None;
        self.posted_at = None;
        self.end(SigningStatus::Failed, EventKind::SigningFailed, None)
    }

    /// The answer to the create was lost.
    pub fn doubt(&mut self) -> Vec<News> {
        if self.status != SigningStatus::Creating {
            return Vec::new();
        }
        self.status = SigningStatus::Uncertain;
        vec![News { kind: EventKind::SigningUncertain, signer: None, at: None }]
    }

    pub(super) fn end(&mut self, status: SigningStatus, kind: EventKind, at: Option<Timestamp>) -> Vec<News> {
        self.status = status;
        self.live_view = None;
        vec![News { kind, signer: None, at }]
    }

    /// Leaves of the turns in what is told at once those that are somebody's still: nobody is told to sign who has signed by
    /// the same news, or after the end.
    pub(super) fn keep_turns(&self, news: &mut Vec<News>) {
        let is_over = self.status.is_terminal();
        let is_ready = |id: SignerId| self.signer(id).is_some_and(|it| it.status == SignerStatus::Ready);
        news.retain(|one| {
            one.kind != EventKind::SignerReady || (!is_over && one.signer.is_some_and(is_ready))
        });
    }

    /// Makes everyone ready who waits for nobody any more, as far as the order of our signers tells: whom the upstream
    /// has denied their turn waits for somebody of whom we know nothing. When the turn passed is nobody's word: of several
    /// who sign side by side the last may not be the one who is heard of last.
    pub(super) fn pass_turn(&mut self, news: &mut Vec<News>) {
        let turn = self.turn();
        for signer in &mut self.signers {
            let is_denied = signer.upstream.denied_at.is_some();
            if signer.status == SignerStatus::Waiting && Some(signer.order) == turn && !is_denied {
                signer.status = SignerStatus::Ready;
                news.push(News { kind: EventKind::SignerReady, signer: Some(signer.id), at: None });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::{EnvelopeFact, SignerFact, sample};

    const fn at(second: i64) -> Timestamp {
        Timestamp::constant(1_700_000_000 + second, 123_456_700)
    }

    #[test]
    fn f1_who_comes_after_somebody_that_says_to_have_signed_may_ask_and_no_more() {
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        signing.signers.push(Signer { order: 2, ..sample::person(SignerStatus::Waiting) });
        signing.signers.push(Signer { order: 3, ..sample::person(SignerStatus::Waiting) });
        for claim in Claim::ALL {
            signing.signers[0].last_return = Some(LastReturn { claim: *claim, at: at(1), view: None });
            let may_ask = [1, 2].map(|index| signing.may_ask(&signing.signers[index]));
            assert_eq!(may_ask, [*claim == Claim::SigningComplete, false], "{claim:?}");
            assert!(signing.waits_in_order(&signing.signers[1]), "it is no fact");
        }
        signing.signers[0].status = SignerStatus::Signed;
        assert!(!signing.waits_in_order(&signing.signers[1]) && signing.waits_in_order(&signing.signers[2]));
    }

    #[test]
    fn f1_whose_part_or_envelope_is_over_by_the_same_news_is_not_told_to_sign() {
        use EventKind::{SignerReady, SignerSigned, SigningVoided};
        let of = |number: u32, fact| Fact::Signer { recipient_id: number.to_string(), fact, at: None };
        let [one, two] = [1, 2].map(|number| of(number, SignerFact::Signed));
        let voided = Fact::Envelope(EnvelopeFact::Voided, None);
        for (facts, expected) in [
            (vec![one.clone(), two], vec![(SignerSigned, 1), (SignerSigned, 2), (SignerReady, 3)]),
            (vec![one, of(2, SignerFact::Sent), voided], vec![(SignerSigned, 1), (SigningVoided, 0)]),
        ] {
            let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
            signing.signers = (1..=3).map(in_turn).collect();
            let news = signing.observe_all(&facts, at(1));
            let order = |news: &News| news.signer.and_then(|id| signing.signer(id)).map_or(0, |it| it.order);
            assert_eq!(news.iter().map(|one| (one.kind, order(one))).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn f1_what_is_found_as_it_stands_tells_nobody_to_sign_who_has_signed_or_after_the_end() {
        use EventKind::{SignerReady, SignerSigned, SigningOpened, SigningVoided};
        let signed = Fact::Signer { recipient_id: "1".to_owned(), fact: SignerFact::Signed, at: None };
        let voided = Fact::Envelope(EnvelopeFact::Voided, None);
        for (facts, expected) in [
            (vec![], vec![(SigningOpened, 0), (SignerReady, 1)]),
            (vec![signed.clone()], vec![(SigningOpened, 0), (SignerSigned, 1), (SignerReady, 2)]),
            (vec![voided.clone()], vec![(SigningOpened, 0), (SigningVoided, 0)]),
            (vec![signed, voided], vec![(SigningOpened, 0), (SignerSigned, 1), (SigningVoided, 0)]),
        ] {
            let mut signing = sample::signing(SigningStatus::Uncertain, SignerStatus::Waiting);
            signing.signers =
                (1..=2).map(|order| Signer { status: SignerStatus::Waiting, ..in_turn(order) }).collect();
            let (account, envelope) = (AccountId::new("an account"), EnvelopeId::new("an envelope"));
            let news = signing.open_as_found(account, envelope, &facts, at(1));
            let order = |news: &News| news.signer.and_then(|id| signing.signer(id)).map_or(0, |it| it.order);
            assert_eq!(news.iter().map(|one| (one.kind, order(one))).collect::<Vec<_>>(), expected);
        }
    }

    /// One of several who sign one after the other.
    fn in_turn(order: u32) -> Signer {
        let status = if order == 1 { SignerStatus::Ready } else { SignerStatus::Waiting };
        let id = SignerId::from_uuid(Uuid::from_u128(order.into()));
        Signer { id, order, recipient_id: order.to_string(), ..sample::person(status) }
    }
}
