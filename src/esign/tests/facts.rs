//! What the upstream's statuses are in our words.

use serde_json::json;

use crate::esign::testing::{MADE, Reply, World, envelope_reply};
use crate::{
    clock::Clock as _,
    domain::{
        Email, EnvelopeFact, EnvelopeId, Fact, Private, Signer, SignerFact, SignerId, SignerStatus,
        fact::Person,
    },
};

#[tokio::test]
async fn facts_carry_the_recipient_ids_that_we_gave() {
    let world = World::new().await;
    let (acting, envelope) = (world.acting().await, EnvelopeId::new("env-1"));
    world.will(envelope_reply("completed", "completed"));
    let seen = world.client.envelope(&acting, &envelope, world.deadline()).await.unwrap();
    let signer = |recipient_id: &str, client_user_id: &str| Signer {
        id: SignerId::generate(world.clock.now()),
        key: "visitor".to_owned(),
        status: SignerStatus::Ready,
        order: 1,
        name: Private::new("Ada Lovelace".to_owned()),
        email: Email::trusted("ada@example.com".to_owned()),
        recipient_id: recipient_id.to_owned(),
        client_user_id: client_user_id.to_owned(),
        role: None,
        return_url: None,
        authenticated_by: None,
        sms_auth: false,
        last_return: None,
        upstream: crate::domain::Upstream::default(),
    };
    // The second has the id that the template gave to the first, and is someone else.
    let facts = seen.facts(&[signer("1", "opaque-1"), signer("77", "opaque-2")]);
    let recipient_id = || "1".to_owned();
    let ada = Fact::Signer { recipient_id: recipient_id(), fact: SignerFact::Signed, at: None };
    let person = Person {
        recipient_id: Some("77".to_owned()),
        name: Private::new("Ada L.".to_owned()),
        email: Private::new("ada@example.com".to_owned()),
        at: None,
    };
    let renamed = Fact::Person { recipient_id: recipient_id(), person };
    assert_eq!(facts, [ada.clone(), renamed, Fact::CompletedWithout(vec!["77".to_owned()], None)]);
    // Without a client user id the number tells, but not of those who fill a role: it is the template's.
    let mut remote = seen;
    remote.recipients[0].client_user_id = None;
    remote.recipients[0].recipient_id = "1".to_owned();
    let completed = || Fact::Envelope(EnvelopeFact::Completed, None);
    assert_eq!(remote.facts(&[signer("1", "opaque-1")]), [ada, completed()]);
    let in_role = Signer { role: Some("Manager".to_owned()), ..signer("1", "opaque-1") };
    let unlisted = Fact::CompletedWithout(vec![recipient_id()], None);
    assert_eq!(remote.facts(std::slice::from_ref(&in_role)), [unlisted], "rule F1");
    // Without any list nobody is said to be gone.
    remote.recipients.clear();
    assert_eq!(remote.facts(&[in_role]), [completed()]);
}

#[tokio::test]
async fn f1_an_end_has_the_time_that_the_upstream_gives_it_if_that_is_one() {
    let world = World::new().await;
    let acting = world.acting().await;
    let said = "2026-06-01T12:04:05.1234567Z";
    let read: Option<jiff::Timestamp> = said.parse().ok();
    let cases = [
        ("completed", "completedDateTime", json!(said), read),
        ("Completed", "completedDateTime", json!("2026-06-01T12:04:05.1234567"), read),
        ("completed", "completedDateTime", json!("2026-06-01T14:04:05.1234567+02:00"), read),
        ("completed", "completedDateTime", json!("soon"), None),
        ("completed", "completedDateTime", json!({}), None),
        ("completed", "voidedDateTime", json!(said), None),
        ("declined", "declinedDateTime", json!(said), read),
        ("voided", "voidedDateTime", json!(said), read),
        ("sent", "completedDateTime", json!(said), None),
    ];
    for (number, (status, field, date, told)) in cases.into_iter().enumerate() {
        let one = json!({"envelopeId": MADE, "status": status, field: date, "recipients": {"signers": [
            {"recipientId": "1", "status": "completed", "signedDateTime": date},
            {"recipientId": "2", "status": "declined", "declinedDateTime": date},
            {"recipientId": "3", "status": "delivered", "signedDateTime": date}]}});
        let envelope = EnvelopeId::new(format!("env-{number}"));
        world.will(Reply::json(200, &one));
        let seen = world.client.envelope(&acting, &envelope, world.deadline()).await.unwrap();
        world.will(Reply::json(200, &json!({"envelopes": [one]})));
        let ids = [envelope];
        let since = crate::esign::Since::Ids(&ids);
        let page = world.client.list_changes(&acting, since, 0, world.deadline()).await.unwrap();
        let is_date = date.as_str().is_some_and(|date| date.starts_with("2026"));
        for seen in [&seen, &page.seen[0]] {
            assert_eq!(seen.ended_at, told, "{one}");
            let of_signers: Vec<_> = seen.recipients.iter().map(|recipient| recipient.fact_at).collect();
            assert_eq!(of_signers, [read.filter(|_| is_date), read.filter(|_| is_date), None], "{one}");
        }
    }
}

#[tokio::test]
async fn f1_statuses_become_facts() {
    let world = World::new().await;
    let acting = world.acting().await;
    for (index, (status, extra, expected)) in [
        ("sent", json!({}), vec![EnvelopeFact::Sent]),
        ("Completed", json!({}), vec![EnvelopeFact::Completed]),
        ("declined", json!({}), vec![EnvelopeFact::Declined]),
        ("voided", json!({"voidedReason": "mistake"}), vec![EnvelopeFact::Voided]),
        ("voided", json!({"voidedReason": "Envelope has expired."}), vec![EnvelopeFact::Expired]),
        (
            "voided",
            json!({"expireDateTime": "2026-01-02T00:00:00.0000000Z", "voidedDateTime": "2026-01-02T00:05:00.0000000Z"}),
            vec![EnvelopeFact::Expired],
        ),
        (
            "completed",
            json!({"purgeState": "documents_and_metadata_purged"}),
            vec![EnvelopeFact::Completed, EnvelopeFact::Purged],
        ),
        (
            "completed",
            json!({"purgeState": "Documents_And_Metadata_And_Redact_Purged"}),
            vec![EnvelopeFact::Completed, EnvelopeFact::Purged],
        ),
        ("completed", json!({"purgeState": "documents_queued"}), vec![EnvelopeFact::Completed]),
        ("completed", json!({"purgeState": "documents_dequeued"}), vec![EnvelopeFact::Completed]),
        ("completed", json!({"purgeState": "Unpurged"}), vec![EnvelopeFact::Completed]),
        ("processing", json!({}), vec![]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut body = json!({"envelopeId": MADE, "status": status});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        world.will(Reply::json(200, &body));
        let envelope = EnvelopeId::new(format!("e{index}"));
        let seen = world.client.envelope(&acting, &envelope, world.deadline()).await.unwrap();
        assert_eq!(seen.facts, expected, "{status}");
    }
}

#[tokio::test]
async fn whether_a_check_by_phone_was_passed_is_told_of_one_envelope_and_of_a_list_only_if_it_says_so() {
    let world = World::new().await;
    let acting = world.acting().await;
    let result = |name: &str, status: &str| json!({name: {"status": status}});
    let cases = [
        (json!(null), Some(false), None),
        (json!({}), Some(false), None),
        (result("accessCodeResult", "Passed"), Some(false), None),
        (result("identityVerificationResult", "Failed"), Some(false), Some(false)),
        (result("identityVerificationResult", "Passed"), Some(true), Some(true)),
        (result("phoneAuthResult", "pass"), Some(true), Some(true)),
        (result("smsAuthResult", "Pass"), Some(true), Some(true)),
        // A word of a later year.
        (result("smsAuthResult", "Waived"), None, None),
    ];
    for (number, (status, told, listed)) in cases.into_iter().enumerate() {
        let envelope = EnvelopeId::new(format!("env-{number}"));
        let one = json!({"envelopeId": MADE, "status": "completed", "recipients": {"signers": [
            {"recipientId": "1", "status": "completed", "recipientAuthenticationStatus": status}]}});
        world.will(Reply::json(200, &one));
        let seen = world.client.envelope(&acting, &envelope, world.deadline()).await.unwrap();
        assert_eq!(seen.recipients[0].is_checked, told, "{status}");
        let mut signing =
            crate::domain::sample::signing(crate::domain::SigningStatus::Open, SignerStatus::Ready);
        let checks = |signers: &[Signer]| {
            let facts = seen.facts(signers).into_iter();
            facts.filter(|fact| matches!(fact, Fact::Checked { .. })).collect::<Vec<_>>()
        };
        assert_eq!(checks(&signing.signers), [], "nobody has asked for one");
        signing.signers[0].sms_auth = true;
        let fact = told.map(|is_passed| Fact::Checked { recipient_id: "1".to_owned(), is_passed });
        assert_eq!(checks(&signing.signers), Vec::from_iter(fact), "{status}");
        world.will(Reply::json(200, &json!({"envelopes": [one]})));
        let ids = [envelope.clone()];
        let since = crate::esign::Since::Ids(&ids);
        let page = world.client.list_changes(&acting, since, 0, world.deadline()).await.unwrap();
        assert_eq!(page.seen[0].recipients[0].is_checked, listed, "{status}");
    }
}
