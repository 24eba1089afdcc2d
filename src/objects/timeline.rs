//! The timeline of a signing, in plain words. It only words what was written down, and knows nothing else of it.

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    domain::{EventKind, MomentKind, PurgeScope, Signing},
    objects::show,
};

/// The timeline of a signing, in plain words.
pub fn of(signing: &Signing) -> Bytes {
    #[derive(Serialize)]
    struct Entry<'a> {
        object: &'static str,
        at: Timestamp,
        happened_at: Option<Timestamp>,
        what: &'a str,
        text: String,
        signer: Option<&'a str>,
        trace: Option<&'a str>,
    }
    let entries = signing.history.iter().map(|moment| Entry {
        object: "moment",
        at: moment.at,
        happened_at: moment.happened_at,
        what: moment.what.as_str(),
        text: plain_words(&moment.what, moment.signer.as_deref(), moment.note.as_deref()),
        signer: moment.signer.as_deref(),
        trace: moment.trace.as_deref(),
    });
    show::list(entries.collect(), None)
}

/// A line of history as a sentence.
fn plain_words(what: &MomentKind, signer: Option<&str>, note: Option<&str>) -> String {
    let who = signer.map_or_else(|| "the signer".to_owned(), |key| format!("signer “{key}”"));
    let sentence = match what {
        MomentKind::AskedFor => "The signing was asked for and written down.",
        MomentKind::AuthenticationReset => return format!("The identity check of {who} was reset."),
        MomentKind::CheckMissing => {
            return format!(
                "A code by SMS was asked for, and DocuSign tells of none that {who} typed in before signing."
            );
        }
        MomentKind::Checked => "DocuSign was asked for the status.",
        MomentKind::CreateQueued => "It cannot be sent now: the create waits until it can.",
        MomentKind::CreateRepeated => "Look-ups found no envelope of the create: it is sent again.",
        MomentKind::DocumentFetched => "A document was fetched from DocuSign.",
        MomentKind::Event(kind) => return plain_event(*kind, &who, note),
        MomentKind::ExpiryAsked => "The time that the caller gave is over: DocuSign was asked to end it.",
        MomentKind::ExtraEnvelopeVoided => {
            let extra = note.map_or_else(String::new, |envelope| format!(", {envelope}"));
            return format!(
                "A create that was sent twice had made an envelope too many{extra}: it is voided."
            );
        }
        MomentKind::Found => "The lost create was looked up, and the envelope was found.",
        MomentKind::LinkMade => return format!("A link was made for {who}."),
        MomentKind::LinkRevoked => return format!("A link of {who} was revoked."),
        MomentKind::Other(word) => return spaced(word),
        MomentKind::PurgeAsked => plain_purge(note.and_then(PurgeScope::parse)),
        MomentKind::TurnDenied => {
            return format!("DocuSign made no recipient view for {who}: others sign first.");
        }
        MomentKind::ViewMinted => {
            let by = match note {
                Some("link") => ", by the link",
                Some("return") => ", by the page after their return",
                _ => "",
            };
            return format!("A recipient view was made for {who}{by}.");
        }
        MomentKind::VoidAsked => "The caller asked for the envelope to be called off.",
    };
    sentence.to_owned()
}

/// A purge as a sentence. Earlier versions did not keep how much was to be destroyed.
const fn plain_purge(scope: Option<PurgeScope>) -> &'static str {
    match scope {
        None | Some(PurgeScope::Documents) => {
            "DocuSign was asked to destroy the documents: it takes about 14 days."
        }
        Some(PurgeScope::DocumentsAndMetadata) => {
            "DocuSign was asked to destroy the documents and their metadata: it takes about 14 days."
        }
        Some(PurgeScope::DocumentsMetadataAndRedact) => {
            "DocuSign was asked to destroy the documents and their metadata, and to make names and addresses unreadable: it takes about 14 days."
        }
    }
}

/// An event in the history as a sentence.
fn plain_event(kind: EventKind, who: &str, note: Option<&str>) -> String {
    let sentence = match kind {
        // These are about no signing.
        EventKind::BudgetLow | EventKind::SenderConsentMissing | EventKind::SenderRecovered => {
            return spaced(kind.as_str());
        }
        EventKind::DocumentAvailable => "The signed documents can be fetched.",
        EventKind::SignerAuthenticationFailed => {
            return format!("The identity check of {who} failed for good.");
        }
        EventKind::SignerDeclined => return format!("DocuSign says that {who} declined."),
        EventKind::SignerReady => return format!("It is the turn of {who}."),
        EventKind::SignerReturned => {
            let claim = note.unwrap_or("nothing");
            return format!("The browser of {who} came back, and claimed: {claim}.");
        }
        EventKind::SignerSessionStarted => {
            return format!("DocuSign says that {who} opened the documents.");
        }
        EventKind::SignerSigned => return format!("DocuSign says that {who} signed."),
        EventKind::SigningCompleted => "DocuSign says that everyone has signed.",
        EventKind::SigningDeclined => "DocuSign says that the envelope was declined.",
        EventKind::SigningExpired => "DocuSign says that the envelope has expired.",
        EventKind::SigningFailed => "The signing failed: its `failure` says why.",
        EventKind::SigningOpened => "The envelope exists, and can be signed.",
        EventKind::SigningPurged => "The documents were destroyed at DocuSign.",
        EventKind::SigningUncertain => "The answer to the create was lost: it is being looked up.",
        EventKind::SigningVoided => "The envelope was called off.",
    };
    sentence.to_owned()
}

/// A word that has no sentence, to be read all the same.
fn spaced(word: &str) -> String {
    word.replace(['_', '.'], " ")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::domain::{SignerStatus, SigningStatus, sample};

    #[test]
    fn the_timeline_shows_each_line_with_its_word_and_one_that_nobody_knows_all_the_same() {
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        let (at, signer) = (signing.created_at, signing.signers[0].id);
        signing.remember(at, MomentKind::CreateQueued, None, None);
        signing.remember(at, EventKind::SignerReturned.into(), Some(signer), Some("trace-1".to_owned()));
        signing.remember(at, MomentKind::parse("of_a_later.version"), None, None);
        signing.date(Some(at));
        signing.remember(at, MomentKind::ExtraEnvelopeVoided, None, None);
        signing.annotate("an-envelope");
        let shown: Value = serde_json::from_slice(&of(&signing)).unwrap();
        let lines = shown["data"].as_array().unwrap().iter();
        let lines: Vec<_> =
            lines.map(|line| (line["what"].as_str().unwrap(), line["text"].as_str().unwrap())).collect();
        let expected = [
            ("create_queued", "It cannot be sent now: the create waits until it can."),
            ("signer.returned", "The browser of signer “visitor” came back, and claimed: nothing."),
            ("of_a_later.version", "of a later version"),
            (
                "extra_envelope_voided",
                "A create that was sent twice had made an envelope too many, an-envelope: it is voided.",
            ),
        ];
        assert_eq!(lines, expected);
        let dates = [&shown["data"][0]["happened_at"], &shown["data"][2]["happened_at"]];
        assert_eq!(dates, [&Value::Null, &Value::from(at.to_string())]);
    }
}
