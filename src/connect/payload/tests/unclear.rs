//! What a message leaves out that has to be known, and which other one says it.

use serde_json::json;

use super::*;

/// Only one of two messages of the same news leaves out what is to be known of it.
#[track_caller]
fn clears(clear: &Message, unclear: &Message, signers: &[Signer]) {
    assert!(unclear.is_unclear(signers) && !clear.is_unclear(signers));
    assert!(clear.clears(unclear) && !unclear.clears(unclear));
    assert_ne!(clear.identity(b""), unclear.identity(b""), "as one message, what it says would be lost");
}

#[test]
fn f1_a_number_is_nobody_who_fills_a_role() {
    // Their numbers are the template's: here the first of ours is the template's second.
    let mut signers = signing(2).signers;
    signers[0].role = Some("Manager".to_owned());
    signers[1].role = Some("Client".to_owned());
    let mut bare = bare(&sim("recipient-completed", Some("1"), 1));
    let unclear = parse(&bare);
    assert_eq!(unclear.facts(&signers), Vec::new());
    assert!(!unclear.is_unclear(&signing(2).signers));
    // Beside it the same news comes with the recipients: that is another message, and says who.
    let mut listed = sim("recipient-completed", Some("1"), 1);
    let people = &mut listed["data"]["envelopeSummary"]["recipients"]["signers"];
    people[0]["clientUserId"] = json!("client-2");
    people[1]["clientUserId"] = json!("client-1");
    let clear = parse(&listed);
    assert_eq!(clear.facts(&signers), of_signer("2", SignerFact::Signed));
    clears(&clear, &unclear, &signers);
    // Whoever is listed without a client user id is none of ours.
    let people = &mut listed["data"]["envelopeSummary"]["recipients"]["signers"];
    people[0].as_object_mut().unwrap().remove("clientUserId");
    let remote = parse(&listed);
    assert!(remote.facts(&signers).is_empty() && !remote.is_unclear(&signers));
    let aggregate = json!({"status": "sent", "envelopeId": ENVELOPE,
        "recipients": {"signers": [{"recipientId": "1", "status": "completed"}]}});
    assert_eq!(parse(&aggregate).facts(&signers), [Fact::Envelope(EnvelopeFact::Sent, None)]);
    // What ends nobody's part is not worth asking about.
    bare["event"] = json!("recipient-delivered");
    assert!(!parse(&bare).is_unclear(&signers));
}

#[test]
fn f1_a_completion_without_a_list_is_unclear_while_one_of_several_may_be_gone() {
    let mut signers = signing(2).signers;
    let listed = sim("envelope-completed", None, 1);
    let unclear = parse(&bare(&listed));
    clears(&parse(&listed), &unclear, &signers);
    assert!(parse(&json!({"status": "completed", "envelopeId": ENVELOPE})).is_unclear(&signers));
    assert!(!unclear.is_unclear(&signers[..1]), "nobody else can have completed it");
    for signer in &mut signers {
        signer.status = SignerStatus::Signed;
    }
    assert!(!unclear.is_unclear(&signers), "it is known");
}

#[test]
fn f1_a_void_that_does_not_say_why_is_unclear_for_it_may_be_an_expiry() {
    let signers = signing(1).signers;
    let full = sim("envelope-voided", None, 1);
    let mut bare = bare(&full);
    clears(&parse(&full), &parse(&bare), &signers);
    assert!(parse(&json!({"status": "voided", "envelopeId": ENVELOPE})).is_unclear(&signers));
    let (expires, voided) = ("2026-03-01T00:00:00.0000000Z", "2026-03-01T00:00:05.0000000Z");
    for (summary, is_unclear) in [
        (json!({"voidedReason": " "}), true),
        (json!({"voidedDateTime": voided}), true),
        (json!({"voidedDateTime": "lately", "expireDateTime": expires}), true),
        (json!({"voidedDateTime": voided, "expireDateTime": expires}), false),
        (json!({"voidedReason": "Called off"}), false),
    ] {
        bare["data"]["envelopeSummary"] = summary;
        assert_eq!(parse(&bare).is_unclear(&signers), is_unclear, "{bare}");
    }
}

#[test]
fn f1_a_declined_envelope_tells_who_has_declined_it_or_is_unclear() {
    let mut signers = signing(2).signers;
    let mut listed = sim("envelope-declined", None, 1);
    let end = Fact::Envelope(EnvelopeFact::Declined, parse(&listed).generated_at());
    assert_eq!(facts(&listed), std::slice::from_ref(&end), "somebody who is none of our signers");
    listed["data"]["envelopeSummary"]["recipients"]["signers"][0]["status"] = json!("completed");
    listed["data"]["envelopeSummary"]["recipients"]["signers"][1]["status"] = json!("declined");
    let told = [of_signer("2", SignerFact::Declined), vec![end]].concat();
    assert_eq!(facts(&listed), told, "and of nobody else anything");
    let unclear = parse(&bare(&listed));
    clears(&parse(&listed), &unclear, &signers);
    assert!(unclear.is_unclear(&signers[..1]));
    assert!(parse(&json!({"status": "declined", "envelopeId": ENVELOPE})).is_unclear(&signers));
    signers[0].status = SignerStatus::Declined;
    assert!(!unclear.is_unclear(&signers), "it is known");
}
