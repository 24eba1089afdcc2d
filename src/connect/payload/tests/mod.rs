//! What a message is read to: facts, their times, and names.

mod hostile;
mod unclear;

use serde_json::{Value, json};

use super::*;
use crate::{
    connect::permutations::{ENVELOPE, GUIDS, bare, signing, sim},
    domain::EventKind,
};

fn parse(value: &Value) -> Message {
    Message::parse(value.to_string().as_bytes()).unwrap()
}

fn facts(value: &Value) -> Vec<Fact> {
    parse(value).facts(&signing(2).signers)
}

/// What `sim` has of when everyone signed a completed envelope.
fn signed(number: u32) -> Fact {
    let at = format!("2026-02-25T06:12:{number}0.5Z").parse().ok();
    Fact::Signer { recipient_id: number.to_string(), fact: SignerFact::Signed, at }
}

fn of_signer(id: &str, fact: SignerFact) -> Vec<Fact> {
    vec![Fact::Signer { recipient_id: id.to_owned(), fact, at: "2026-02-25T06:13:01.1234567Z".parse().ok() }]
}

#[test]
fn every_event_name_has_its_fact_or_none() {
    let generated_at: Option<Timestamp> = "2026-02-25T06:13:01.1234567Z".parse().ok();
    let envelope = |fact: EnvelopeFact| vec![Fact::Envelope(fact, generated_at.filter(|_| fact.is_end()))];
    for (event, expected) in [
        ("envelope-completed", [vec![signed(1), signed(2)], envelope(EnvelopeFact::Completed)].concat()),
        ("envelope-declined", envelope(EnvelopeFact::Declined)),
        ("envelope-delivered", envelope(EnvelopeFact::Delivered)),
        ("envelope-purge", envelope(EnvelopeFact::Purged)),
        ("envelope-sent", envelope(EnvelopeFact::Sent)),
        ("envelope-voided", envelope(EnvelopeFact::Voided)),
        ("recipient-authenticationfailed", of_signer("1", SignerFact::AuthenticationFailed)),
        ("recipient-completed", of_signer("1", SignerFact::Signed)),
        ("recipient-declined", of_signer("1", SignerFact::Declined)),
        ("recipient-delivered", of_signer("1", SignerFact::Delivered)),
        ("recipient-resent", of_signer("1", SignerFact::Resent)),
        ("recipient-sent", of_signer("1", SignerFact::Sent)),
        ("recipient-finish-later", Vec::new()),
        ("envelope-corrected", Vec::new()),
    ] {
        let message = parse(&sim(event, Some("1"), 1));
        assert_eq!(message.facts(&signing(2).signers), expected, "{event}");
        assert!(message.is_known(), "{event}");
    }
    for event in ["click-agreed", "envelope-beamed-up", "recipient-", "", "completed"] {
        let message = parse(&sim(event, Some("1"), 1));
        assert!(!message.is_known() && message.facts(&signing(2).signers).is_empty(), "{event}");
    }
}

#[test]
fn whether_a_check_by_phone_was_passed_follows_only_from_its_result() {
    let mut signers = signing(2).signers;
    let mut message = sim("recipient-completed", Some("1"), 1);
    let fact = |is_passed| Fact::Checked { recipient_id: "1".to_owned(), is_passed };
    for (status, told) in [
        (json!(null), None),
        (json!("Passed"), None),
        (json!([[{}]]), None),
        (json!({"identityVerificationResult": "Passed", "smsAuthResult": null}), None),
        (json!({"accessCodeResult": {"status": "Passed"}}), None),
        (json!({"identityVerificationResult": {"status": "Waived"}}), None),
        (
            json!({"identityVerificationResult": {"status": "Waived"}, "smsAuthResult": {"status": "Fail"}}),
            Some(fact(false)),
        ),
        (json!({"identityVerificationResult": {"status": "Failed"}}), Some(fact(false))),
        (json!({"identityVerificationResult": {"status": "Passed"}}), Some(fact(true))),
        (
            json!({"identityVerificationResult": {"status": "Failed"}, "smsAuthResult": {"status": "Pass"}}),
            Some(fact(true)),
        ),
    ] {
        let listed = &mut message["data"]["envelopeSummary"]["recipients"]["signers"][0];
        listed["status"] = json!("completed");
        listed["recipientAuthenticationStatus"] = status.clone();
        let checks = |signers: &[Signer]| {
            let facts = parse(&message).facts(signers).into_iter();
            facts.filter(|fact| matches!(fact, Fact::Checked { .. })).collect::<Vec<_>>()
        };
        signers[0].sms_auth = false;
        assert_eq!(checks(&signers), [], "{status}: nobody has asked for one");
        signers[0].sms_auth = true;
        assert_eq!(checks(&signers), Vec::from_iter(told), "{status}");
        signers[0].upstream.is_checked = Some(true);
        assert_eq!(checks(&signers), [], "{status}: it is known");
        signers[0].upstream.is_checked = None;
    }
}

#[test]
fn a_late_list_from_before_somebody_signed_says_of_no_check_that_it_is_missing() {
    let mut signing = signing(1);
    signing.signers[0].sms_auth = true;
    let bare = bare(&sim("envelope-completed", None, 9));
    let now: Timestamp = "2026-02-25T06:13:10Z".parse().unwrap();
    let observe = |signing: &mut crate::domain::Signing, message: &Value| {
        for fact in parse(message).facts(&signing.signers) {
            signing.observe(&fact, now);
        }
        (signing.signers[0].upstream.is_checked, signing.awaits_word_of_check())
    };
    assert_eq!(observe(&mut signing, &bare), (None, true));
    let mut late = sim("recipient-authenticationfailed", Some("1"), 1);
    for (status, result, told) in [
        ("delivered", "Failed", (None, true)),
        ("completed", "Failed", (Some(false), true)),
        ("delivered", "Passed", (Some(true), false)),
        ("Completed", "Failed", (Some(true), false)),
    ] {
        let listed = &mut late["data"]["envelopeSummary"]["recipients"]["signers"][0];
        listed["status"] = json!(status);
        listed["recipientAuthenticationStatus"] = json!({"identityVerificationResult": {"status": result}});
        assert_eq!(observe(&mut signing, &late), told, "{status} {result}");
    }
}

#[test]
fn l3_a_message_says_who_has_left_the_page_and_when() {
    let signers = signing(2).signers;
    let mut message = sim("recipient-finish-later", Some(GUIDS[1]), 1);
    let at = "2026-02-25T06:13:01.1234567Z".parse().unwrap();
    assert_eq!(parse(&message).left(&signers), Some((signers[1].id, at)));
    assert!(parse(&message).is_known() && !parse(&message).is_unclear(&signers));
    for other in ["recipient-delivered", "recipient-completed", "recipient-reassign"] {
        assert_eq!(parse(&sim(other, Some(GUIDS[1]), 1)).left(&signers), None, "{other}");
    }
    // Whoever it is that is not named, or whenever it was, no view is known to be over.
    message["data"]["recipientId"] = json!("3");
    assert_eq!(parse(&message).left(&signers), None);
    message["data"]["recipientId"] = json!("2");
    message["generatedDateTime"] = json!("lately");
    assert_eq!(parse(&message).left(&signers), None);
}

#[test]
fn a_recipient_is_found_by_short_id_by_guid_and_by_client_user_id() {
    let second = of_signer("2", SignerFact::Signed);
    assert_eq!(facts(&sim("recipient-completed", Some("2"), 1)), second);
    assert_eq!(facts(&sim("recipient-completed", Some(&GUIDS[1].to_uppercase()), 1)), second);
    // A template has put its own recipient ids in the place of ours.
    let mut replaced = sim("recipient-completed", Some("71"), 1);
    replaced["data"]["envelopeSummary"]["recipients"]["signers"][1]["recipientId"] = json!("71");
    assert_eq!(facts(&replaced), second);
    // A recipient of the template's own, who has the number of one of ours.
    let mut foreign = sim("recipient-completed", Some("2"), 1);
    foreign["data"]["envelopeSummary"]["recipients"]["signers"][1]["clientUserId"] = json!("theirs");
    assert_eq!(facts(&foreign), Vec::new());
    // Without a list only the short id can be ours.
    let mut bare = bare(&sim("recipient-completed", Some("2"), 1));
    assert_eq!(facts(&bare), second);
    bare["data"]["recipientId"] = json!(2);
    assert_eq!(facts(&bare), second);
    bare["data"]["recipientId"] = json!(GUIDS[1]);
    assert_eq!(facts(&bare), Vec::new());
}

#[test]
fn a_message_tells_the_name_that_a_signer_has_now_and_shows_it_to_nobody() {
    let mut message = sim("recipient-finish-later", Some("1"), 1);
    let listed = &mut message["data"]["envelopeSummary"]["recipients"]["signers"][0];
    (listed["name"], listed["email"]) = (json!("Ada Lovelace"), json!("ada@example.com"));
    assert_eq!(facts(&message), [], "the one that we know");
    message["data"]["envelopeSummary"]["recipients"]["signers"][0]["name"] = json!("Augusta King");
    let mut named = signing(2);
    let now: Timestamp = "2026-02-25T06:13:30Z".parse().unwrap();
    for fact in parse(&message).facts(&named.signers) {
        assert_eq!(named.observe(&fact, now), []);
    }
    assert_eq!(named.signers[0].name.reveal(), "Augusta King");
    // What was said before comes late.
    let mut late = sim("recipient-delivered", Some("1"), 0);
    late["data"]["envelopeSummary"]["recipients"]["signers"][0]["name"] = json!("Ada Lovelace");
    late["data"]["envelopeSummary"]["recipients"]["signers"][0]["email"] = json!("ada@example.com");
    for fact in parse(&late).facts(&named.signers) {
        named.observe(&fact, now);
    }
    assert_eq!(named.signers[0].name.reveal(), "Augusta King");
    assert!(!format!("{:?}", parse(&message)).contains("Augusta"));
}

#[test]
fn an_envelope_that_ran_out_of_time_has_expired() {
    let mut voided = sim("envelope-voided", None, 1);
    let generated_at = parse(&voided).generated_at();
    voided["data"]["envelopeSummary"]["voidedReason"] = json!("Envelope has expired.");
    assert_eq!(facts(&voided), [Fact::Envelope(EnvelopeFact::Expired, generated_at)]);
    voided["data"]["envelopeSummary"]["voidedReason"] = json!("Called off");
    assert_eq!(facts(&voided), [Fact::Envelope(EnvelopeFact::Voided, generated_at)]);
    voided["data"]["envelopeSummary"]["expireDateTime"] = json!("2026-03-01T00:00:00.0000000Z");
    voided["data"]["envelopeSummary"]["voidedDateTime"] = json!("2026-03-01T00:00:05.0000000Z");
    let voided_at: Option<Timestamp> = "2026-03-01T00:00:05Z".parse().ok();
    assert_eq!(facts(&voided), [Fact::Envelope(EnvelopeFact::Expired, voided_at)]);
}

#[test]
fn an_end_is_dated_by_its_own_time_and_else_by_when_the_message_was_generated() {
    let ended_at = |message: &Value| match facts(message).pop() {
        Some(Fact::Envelope(_, at) | Fact::Signer { at, .. }) => at,
        other => panic!("{other:?}"),
    };
    let said = "2026-02-25T06:12:30.7654321Z";
    let read: Option<Timestamp> = said.parse().ok();
    for (event, field) in [
        ("envelope-completed", "completedDateTime"),
        ("envelope-declined", "declinedDateTime"),
        ("envelope-voided", "voidedDateTime"),
    ] {
        let mut message = sim(event, None, 1);
        let generated_at = parse(&message).generated_at();
        let others =
            [json!("lately"), json!([7]), json!("0001-01-01T00:00:00")].map(|date| (date, generated_at));
        for (date, at) in others.into_iter().chain([(json!(said), read)]) {
            message["data"]["envelopeSummary"][field] = date;
            assert_eq!(ended_at(&message), at, "{message}");
        }
    }
    for (event, field, told) in [
        ("recipient-completed", "signedDateTime", true),
        ("recipient-declined", "declinedDateTime", true),
        ("recipient-delivered", "signedDateTime", false),
    ] {
        let mut message = sim(event, Some("1"), 1);
        let generated_at = parse(&message).generated_at();
        message["data"]["envelopeSummary"]["recipients"]["signers"][0][field] = json!(said);
        assert_eq!(ended_at(&message), if told { read } else { generated_at }, "{message}");
    }
    // An aggregate message says nothing of when it was generated.
    let mut aggregate = json!({"status": "completed", "envelopeId": ENVELOPE, "completedDateTime": said,
        "recipients": {"signers": [{"recipientId": "1", "status": "completed", "signedDateTime": "2026-02-25T06:12:20"},
            {"recipientId": "2", "status": "completed"}]}});
    let signed = |id: &str, at| Fact::Signer { recipient_id: id.to_owned(), fact: SignerFact::Signed, at };
    let first = signed("1", "2026-02-25T06:12:20Z".parse().ok());
    let end = |at| Fact::Envelope(EnvelopeFact::Completed, at);
    assert_eq!(facts(&aggregate), [first.clone(), signed("2", None), end(read)]);
    aggregate["completedDateTime"] = json!(null);
    assert_eq!(facts(&aggregate), [first, signed("2", None), end(None)]);
}

#[test]
fn f1_a_completion_dates_each_signature_by_its_own_time_or_by_none() {
    use EventKind::{DocumentAvailable, SignerSigned, SigningCompleted};
    let mut message = sim("envelope-completed", None, 9);
    let people = &mut message["data"]["envelopeSummary"]["recipients"]["signers"];
    people[0]["signedDateTime"] = json!("2026-02-25T06:12:20.5000000Z");
    people[1]["signedDateTime"] = json!("lately");
    // Somebody who is none of our signers.
    let other =
        json!({"recipientId": "7", "clientUserId": "theirs", "signedDateTime": "2026-02-25T06:12:40Z"});
    people.as_array_mut().unwrap().push(other);
    let signed_at: Option<Timestamp> = "2026-02-25T06:12:20.5Z".parse().ok();
    let generated_at = parse(&message).generated_at();
    let first = Fact::Signer { recipient_id: "1".to_owned(), fact: SignerFact::Signed, at: signed_at };
    assert_eq!(facts(&message), [first, Fact::Envelope(EnvelopeFact::Completed, generated_at)]);
    // It is as clear, and as much the same message, as one without these times.
    assert!(parse(&message).ends() && !parse(&message).is_unclear(&signing(2).signers));
    let mut signing = signing(2);
    let now: Timestamp = "2026-02-25T06:13:30Z".parse().unwrap();
    let told = signing.observe_all(&parse(&message).facts(&signing.signers), now);
    let signed = told.iter().filter(|one| one.kind == SignerSigned);
    let signed: Vec<_> = signed.map(|one| (one.signer, one.at)).collect();
    let [one, two] = [0, 1].map(|index| Some(signing.signers[index].id));
    assert_eq!(signed, [(one, signed_at), (two, None)]);
    // The event of the first's own signature is lost; but by this news the second has signed, too.
    let kinds: Vec<_> = told.iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [SignerSigned, SignerSigned, SigningCompleted, DocumentAvailable]);
    let last = told.iter().find(|one| one.kind == SigningCompleted).unwrap();
    assert_eq!(last.at.map(Timestamp::as_second), generated_at.map(Timestamp::as_second));
}

#[test]
fn the_event_is_believed_and_not_the_summary() {
    let mut early = sim("recipient-delivered", Some("1"), 1);
    early["data"]["envelopeSummary"]["status"] = json!("completed");
    assert_eq!(facts(&early), of_signer("1", SignerFact::Delivered));
}

#[test]
fn an_aggregate_message_says_all_at_once() {
    let message = json!({
        "status": "completed", "envelopeId": ENVELOPE,
        "recipients": {"signers": [{"recipientId": "1", "status": "completed"}, {"recipientId": "2", "status": "autoresponded"}]},
    });
    let signed = Fact::Signer { recipient_id: "1".to_owned(), fact: SignerFact::Signed, at: None };
    assert_eq!(facts(&message), [signed, Fact::Envelope(EnvelopeFact::Completed, None)]);
    assert_eq!(parse(&message).envelope, Some(EnvelopeId::new(ENVELOPE)));
}

#[test]
fn f1_a_completion_says_whom_the_envelope_does_not_have_any_more() {
    let mut message = sim("envelope-completed", None, 1);
    message["data"]["envelopeSummary"]["recipients"]["signers"].as_array_mut().unwrap().pop();
    let generated_at = parse(&message).generated_at();
    let without = |at| Fact::CompletedWithout(vec!["2".to_owned()], at);
    assert_eq!(facts(&message), [signed(1), without(generated_at)]);
    let aggregate = json!({"status": "completed", "envelopeId": ENVELOPE,
        "recipients": {"signers": [{"recipientId": "1", "status": "completed"}]}});
    let signed = Fact::Signer { recipient_id: "1".to_owned(), fact: SignerFact::Signed, at: None };
    assert_eq!(facts(&aggregate), [signed, without(None)]);
    // A configuration that leaves the recipients out says that of nobody.
    message["data"]["envelopeSummary"]["recipients"]["signers"] = json!([]);
    assert_eq!(facts(&message), [Fact::Envelope(EnvelopeFact::Completed, generated_at)]);
}

#[test]
fn the_same_message_has_one_identity_whatever_its_retry_count() {
    let identity = |value: &Value| parse(value).identity(value.to_string().as_bytes());
    let first = sim("recipient-completed", Some("1"), 1);
    let mut again = first.clone();
    again["retryCount"] = json!(3);
    assert_eq!(identity(&first), identity(&again));
    for other in [
        sim("recipient-completed", Some("2"), 1),
        sim("recipient-completed", Some("1"), 2),
        sim("recipient-delivered", Some("1"), 1),
    ] {
        assert_ne!(identity(&first), identity(&other));
    }
}
