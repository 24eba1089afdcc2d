//! Facts: what the upstream said of an envelope, by a Connect event whose digest matched or by its API. The words that
//! both have for it are read here, so that both are read alike.
//!
//! Only facts change a status (rule F1). They may come late, twice and in any order; see
//! [`Signing::observe`](crate::domain::Signing::observe).

use jiff::Timestamp;

use crate::domain::{Private, Signer};

/// One thing that the upstream said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// Whether a recipient who has signed had passed a check by phone, by the recipient id that we gave.
    Checked {
        /// The recipient id that we gave.
        recipient_id: String,
        /// Whether one was passed.
        is_passed: bool,
    },
    /// The envelope is completed, and the upstream does not list these of our signers any more, by the recipient ids that
    /// we gave: their sender took them off it, and they have signed nothing. With when it was completed, as below.
    CompletedWithout(Vec<String>, Option<Timestamp>),
    /// About the envelope as a whole; of an end when it came, by the upstream's clock, if it said so.
    Envelope(EnvelopeFact, Option<Timestamp>),
    /// Who one recipient is now, by the recipient id that we gave: moves nothing.
    Person {
        /// The recipient id that we gave.
        recipient_id: String,
        /// As the upstream has them.
        person: Person,
    },
    /// About one recipient, by the recipient id that we gave.
    Signer {
        /// The recipient id that we gave.
        recipient_id: String,
        /// What happened to them.
        fact: SignerFact,
        /// When, by the upstream's clock, if it said so.
        at: Option<Timestamp>,
    },
}

impl Fact {
    /// About an envelope of which the upstream lists the signers, or gave no list, and then all count as listed. `at`: when
    /// it came to its end, if that is what is told.
    pub fn of_envelope(
        fact: EnvelopeFact,
        at: Option<Timestamp>,
        signers: &[Signer],
        is_listed: impl Fn(&Signer) -> bool,
    ) -> Self {
        let at = at.filter(|_| fact.is_end());
        let missing: Vec<_> = signers.iter().filter(|signer| !is_listed(signer)).collect();
        if fact != EnvelopeFact::Completed || missing.is_empty() {
            return Self::Envelope(fact, at);
        }
        let missing = missing.into_iter().map(|signer| signer.recipient_id.clone()).collect();
        Self::CompletedWithout(missing, at)
    }
}

/// A recipient as the upstream has them. A signer may change the name while they sign, and from then on a
/// view must be asked for in the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The recipient id at the upstream.
    pub recipient_id: Option<String>,
    /// The name.
    pub name: Private<String>,
    /// The address.
    pub email: Private<String>,
    /// Since when at the latest, by the upstream's clock; none: now.
    pub at: Option<Timestamp>,
}

impl Person {
    /// Whether this says something of a signer that is not known, and matters: another name or address; or of
    /// a locked one the recipient id at the upstream, or of one who may just have been locked.
    pub fn tells_more_of(&self, signer: &Signer) -> bool {
        let is_renamed = self.name != signer.name || self.email.reveal() != signer.email.reveal();
        is_renamed || (signer.role.is_some() && self.recipient_id != signer.upstream.recipient_id)
    }
}

/// What happened to an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EnvelopeFact {
    /// Everyone signed who was to sign in the end.
    Completed,
    /// A recipient declined.
    Declined,
    /// Everyone whose turn it was has opened it.
    Delivered,
    /// It ran out of time.
    Expired,
    /// Its documents were destroyed.
    Purged,
    /// It was sent.
    Sent,
    /// The sender called it off.
    Voided,
}

impl EnvelopeFact {
    /// What the upstream's word for the status of an envelope says; `has_expired`: of one that is voided. `created`,
    /// `correct` and the legacy ones say nothing to us.
    pub fn of_status(word: &str, has_expired: bool) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "completed" | "signed" => Self::Completed,
            "declined" => Self::Declined,
            "delivered" => Self::Delivered,
            "sent" => Self::Sent,
            "voided" if has_expired => Self::Expired,
            "voided" => Self::Voided,
            _ => return None,
        })
    }

    /// Whether nothing of the envelope is signed any more after it.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Declined | Self::Expired | Self::Voided)
    }
}

/// When an envelope came to an end, by the upstream's `completedDateTime`, `declinedDateTime` and `voidedDateTime`, as it
/// writes them.
pub fn ended_at(end: EnvelopeFact, [completed, declined, voided]: [Option<&str>; 3]) -> Option<Timestamp> {
    let said = match end {
        EnvelopeFact::Completed => completed,
        EnvelopeFact::Declined => declined,
        EnvelopeFact::Expired | EnvelopeFact::Voided => voided,
        EnvelopeFact::Delivered | EnvelopeFact::Purged | EnvelopeFact::Sent => None,
    };
    said.and_then(time)
}

/// A time as the upstream writes it: UTC with seven fractional digits, mostly with a `Z`. What is from before there were any
/// envelopes is none: a platform like the upstream's writes a date that nobody has set as `0001-01-01T00:00:00`.
pub fn time(text: &str) -> Option<Timestamp> {
    let at: Timestamp = text.parse().ok().or_else(|| format!("{text}Z").parse().ok())?;
    (at >= EARLIEST).then_some(at)
}

/// The year 2000.
const EARLIEST: Timestamp = Timestamp::constant(946_684_800, 0);

/// Whether an envelope that is voided ran out of time: the upstream voids such a one itself, not before its time, and
/// with a reason of its own. All as the upstream writes it.
pub fn has_expired(reason: Option<&str>, voided_at: Option<&str>, expires_at: Option<&str>) -> bool {
    let times = voided_at.and_then(time).zip(expires_at.and_then(time));
    times.is_some_and(|(voided, expires)| voided >= expires) || reason.is_some_and(tells_of_expiry)
}

/// The results of identity checks by phone in a recipient's `recipientAuthenticationStatus`, the last two of older forms.
pub const PHONE_CHECKS: [&str; 3] = ["identityVerificationResult", "phoneAuthResult", "smsAuthResult"];

/// Whether the results of identity checks say that one was passed (`Passed`, or `Pass`), or none and that one failed
/// (`Failed`, or `Fail`). Any other word says neither.
pub fn has_passed<'a>(results: impl IntoIterator<Item = &'a str>) -> Option<bool> {
    let said = results.into_iter().filter_map(|result| {
        let start = result.get(..4)?.to_ascii_lowercase();
        matches!(&*start, "fail" | "pass").then(|| start == "pass")
    });
    said.reduce(|one, other| one || other)
}

/// The longest reason of a void that the upstream keeps (`voidedReason`).
pub const MAX_REASON: usize = 200;

/// How the upstream begins the reason of a void when an envelope ran out of time.
const EXPIRED: &str = "envelope has expired";

/// Whether the reason of a void says that the envelope ran out of time, and not that somebody called it off.
pub fn tells_of_expiry(reason: &str) -> bool {
    let start = reason.trim_start().get(..EXPIRED.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(EXPIRED))
}

/// What happened to one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignerFact {
    /// All tries of an identity check were used up.
    AuthenticationFailed,
    /// They declined.
    Declined,
    /// They opened the documents, past all identity checks.
    Delivered,
    /// The sender had it sent to them again, which unlocks an identity check.
    Resent,
    /// It became their turn.
    Sent,
    /// They signed.
    Signed,
}

impl SignerFact {
    /// What the upstream's word for the status of a recipient says. `created` and the words for those who do not sign say
    /// nothing to us.
    pub fn of_status(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "completed" | "signed" => Self::Signed,
            "declined" => Self::Declined,
            "delivered" => Self::Delivered,
            "sent" => Self::Sent,
            _ => return None,
        })
    }

    /// Whether their part has ended for good.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Declined | Self::Signed)
    }
}

/// Whom of an envelope's signers the upstream means by the names that it has for a recipient.
///
/// The client user id is ours, and no template replaces it: whoever has another was added by a template.
/// Without one the recipient id tells, but not of those who fill a role: their number is the template's own,
/// and may be the one that we gave to somebody else.
pub fn whom<'a>(
    signers: &'a [Signer],
    client_user_id: Option<&str>,
    recipient_id: Option<&str>,
) -> Option<&'a Signer> {
    if let Some(id) = client_user_id.filter(|id| !id.is_empty()) {
        return signers.iter().find(|signer| signer.client_user_id == id);
    }
    let id = recipient_id?;
    signers.iter().find(|signer| signer.role.is_none() && signer.recipient_id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_told_by_how_the_reason_begins() {
        for reason in ["Envelope has expired.", "envelope has expired", " ENVELOPE HAS EXPIRED: late"] {
            assert!(tells_of_expiry(reason), "{reason}");
        }
        for reason in
            ["", "Envelope has", "The envelope has expired", "Envelope has expireß", "ordered twice"]
        {
            assert!(!tells_of_expiry(reason), "{reason}");
        }
    }

    #[test]
    fn an_expiry_is_told_by_the_times_too_with_or_without_a_zone() {
        let at = |second: u8| format!("2026-03-01T00:00:{second:02}.0000000Z");
        let (early, late) = (at(4), at(5));
        let is_one =
            |voided: &str, expires: &str| has_expired(Some("ordered twice"), Some(voided), Some(expires));
        assert!(is_one(&late, &early) && is_one(&late, &late) && !is_one(&early, &late));
        assert!(is_one(late.trim_end_matches('Z'), &early), "as if it were UTC");
        assert!(!is_one(&late, "0001-01-01T00:00:00"), "nobody has set when it is to expire");
        assert!(!is_one("soon", &early) && !has_expired(None, Some(&late), None));
        assert!(has_expired(Some("Envelope has expired."), None, None));
    }

    #[test]
    fn a_date_that_nobody_has_set_is_none() {
        for unset in ["0001-01-01T00:00:00", "0001-01-01T00:00:00.0000000Z", "1999-12-31T23:59:59Z"] {
            assert_eq!(time(unset), None, "{unset}");
        }
        assert_eq!(time("2000-01-01T00:00:00").map(Timestamp::as_second), Some(946_684_800));
    }

    #[test]
    fn each_end_has_a_time_of_its_own() {
        use EnvelopeFact::{Completed, Declined, Delivered, Expired, Purged, Sent, Voided};
        let said = ["2026-06-01T12:00:01.1234567Z", "2026-06-01T12:00:02.1234567Z", "2026-06-01T12:00:03"];
        for (fact, second) in [(Completed, 1), (Declined, 2), (Expired, 3), (Voided, 3)] {
            let read = ended_at(fact, said.map(Some)).map(|at| at.as_second() - 1_780_315_200);
            assert_eq!((read, fact.is_end()), (Some(second), true), "{fact:?}");
            assert_eq!(ended_at(fact, [None, Some("soon"), Some("")]), None, "{fact:?}");
        }
        for fact in [Delivered, Purged, Sent] {
            assert_eq!((ended_at(fact, said.map(Some)), fact.is_end()), (None, false), "{fact:?}");
        }
    }

    #[test]
    fn a_status_is_read_whatever_the_case_of_its_letters() {
        assert_eq!(EnvelopeFact::of_status("Completed", false), Some(EnvelopeFact::Completed));
        assert_eq!(EnvelopeFact::of_status("voided", true), Some(EnvelopeFact::Expired));
        assert_eq!(EnvelopeFact::of_status("VOIDED", false), Some(EnvelopeFact::Voided));
        assert_eq!(SignerFact::of_status("Signed"), Some(SignerFact::Signed));
        for word in ["", "created", "correct", "processing", "autoresponded", "faxpending"] {
            assert_eq!(
                (EnvelopeFact::of_status(word, true), SignerFact::of_status(word)),
                (None, None),
                "{word}"
            );
        }
    }
}
