//! Whatever the order and however often: one life of an envelope leads to one final state (rule F3).
//!
//! These tests go the whole way from the upstream's JSON over facts to the signing.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    connect::Message,
    domain::{
        AccountId, Claim, EnvelopeId, EventKind, LastReturn, Signer, SignerId, SignerStatus, Signing,
        SigningStatus, sample, signing::News,
    },
    signing::result,
};

pub(super) const ENVELOPE: &str = "4f1e0001-aaaa-4bbb-8ccc-000000000001";
pub(super) const GUIDS: [&str; 2] =
    ["c0ffee00-0000-4000-8000-00000000000a", "c0ffee00-0000-4000-8000-00000000000b"];

/// An open signing whose signers sign one after the other.
pub(super) fn signing(signers: u32) -> Signing {
    let signer = |number: u32| Signer {
        id: SignerId::from_uuid(uuid::Uuid::from_u128(u128::from(number))),
        key: format!("signer-{number}"),
        order: number,
        recipient_id: number.to_string(),
        client_user_id: format!("client-{number}"),
        ..sample::person(SignerStatus::Waiting)
    };
    let mut signing = sample::signing(SigningStatus::Creating, SignerStatus::Waiting);
    signing.signers = (1..=signers).map(signer).collect();
    signing.open(AccountId::new("1"), EnvelopeId::new(ENVELOPE));
    signing
}

/// A message as the upstream sends it with `includeData: recipients`.
pub(super) fn sim(event: &str, recipient: Option<&str>, second: u32) -> Value {
    let listed = |index: usize| {
        json!({"recipientId": (index + 1).to_string(), "recipientIdGuid": GUIDS[index],
            "clientUserId": format!("client-{}", index + 1), "status": "sent", "routingOrder": (index + 1).to_string()})
    };
    let mut message = json!({
        "event": event, "apiVersion": "v2.1", "retryCount": 0, "configurationId": 12_345,
        "uri": format!("/restapi/v2.1/accounts/1/envelopes/{ENVELOPE}"),
        "generatedDateTime": format!("2026-02-25T06:13:{second:02}.1234567Z"),
        "data": {"accountId": "1", "userId": "2", "envelopeId": ENVELOPE,
            "envelopeSummary": {"status": "sent", "envelopeId": ENVELOPE,
                "recipients": {"signers": [listed(0), listed(1)], "recipientCount": "2"}}},
    });
    if let Some(recipient) = recipient {
        message["data"]["recipientId"] = json!(recipient);
    }
    if event == "envelope-completed" {
        for index in [0_usize, 1] {
            let signed_at = format!("2026-02-25T06:12:{}0.5000000Z", index + 1);
            message["data"]["envelopeSummary"]["recipients"]["signers"][index]["signedDateTime"] =
                json!(signed_at);
        }
    }
    if event == "envelope-voided" {
        message["data"]["envelopeSummary"]["voidedReason"] = json!("Called off");
    }
    message
}

/// The same message from a configuration that leaves the envelope out.
pub(super) fn bare(full: &Value) -> Value {
    let mut bare = full.clone();
    bare["data"].as_object_mut().unwrap().remove("envelopeSummary");
    bare
}

type Life = [(&'static str, Option<&'static str>); 7];

/// One signer, from the sending to the destruction of the documents.
const SIGNED: Life = [
    ("envelope-sent", None),
    ("recipient-sent", Some("1")),
    ("recipient-delivered", Some("1")),
    ("envelope-delivered", None),
    ("recipient-completed", Some("1")),
    ("envelope-completed", None),
    ("envelope-purge", None),
];
/// Two signers, one after the other.
const BOTH_SIGNED: Life = [
    ("recipient-delivered", Some("1")),
    ("recipient-completed", Some("1")),
    ("recipient-sent", Some("2")),
    ("recipient-authenticationfailed", Some("2")),
    ("recipient-delivered", Some("2")),
    ("recipient-completed", Some("2")),
    ("envelope-completed", None),
];
/// The first signs, the second refuses.
const DECLINED: Life = [
    ("envelope-sent", None),
    ("recipient-delivered", Some("1")),
    ("recipient-completed", Some("1")),
    ("recipient-sent", Some("2")),
    ("recipient-delivered", Some("2")),
    ("recipient-declined", Some("2")),
    ("envelope-declined", None),
];
/// Called off while the second had it open.
const VOIDED: Life = [
    ("envelope-sent", None),
    ("recipient-sent", Some("1")),
    ("recipient-delivered", Some("1")),
    ("recipient-completed", Some("1")),
    ("recipient-sent", Some("2")),
    ("recipient-delivered", Some("2")),
    ("envelope-voided", None),
];
const LIVES: [(u32, Life); 4] = [(1, SIGNED), (2, BOTH_SIGNED), (2, DECLINED), (2, VOIDED)];

fn messages(life: &Life) -> Vec<Message> {
    let numbered = (1..).zip(life);
    numbered
        .map(|(second, (event, recipient))| {
            Message::parse(sim(event, *recipient, second).to_string().as_bytes()).unwrap()
        })
        .collect()
}

fn take_in(signing: &mut Signing, message: &Message) -> Vec<News> {
    // The time of learning differs between orders, and is not what is compared.
    let now = Timestamp::from_second(1_772_000_500).unwrap();
    let facts = message.facts(&signing.signers);
    signing.observe_all(&facts, now)
}

/// The browser claims that it signed; what follows is the state as a return leaves it.
fn come_back(signing: &mut Signing) {
    signing.signers[0].last_return =
        Some(LastReturn { claim: Claim::SigningComplete, at: signing.created_at, view: None });
    signing.live_view = None;
}

/// What the site may be told, at every step: nobody has signed before the upstream said so.
fn never_told_too_early(signing: &Signing, life: &Life, seen: &[usize]) -> bool {
    let said = |event: &str, recipient: Option<&str>| {
        seen.iter()
            .any(|index| life[*index].0 == event && (recipient.is_none() || life[*index].1 == recipient))
    };
    let completed = said("envelope-completed", None);
    let signers_agree = signing.signers.iter().all(|signer| {
        signer.status != SignerStatus::Signed
            || completed
            || said("recipient-completed", Some(&signer.recipient_id))
    });
    // The word in the return URL, in its result and in the facts of the link.
    let words_agree = signing.signers.iter().all(|signer| match result::status(signing, signer) {
        "completed" => completed,
        "signed" => completed || said("recipient-completed", Some(&signer.recipient_id)),
        _ => true,
    });
    (signing.status == SigningStatus::Completed) == completed && signers_agree && words_agree
}

/// What the site's webhooks are told on the way: nobody's signature before it was, nobody's turn after it was or after the
/// end, and nothing twice.
fn events_are_true(told: &[News], new: &[News], signing: &Signing) -> bool {
    new.iter().all(|one| {
        let stands = |status| {
            one.signer.and_then(|id| signing.signer(id)).is_some_and(|signer| signer.status == status)
        };
        let is_so = match one.kind {
            EventKind::SignerReady => !signing.status.is_terminal() && stands(SignerStatus::Ready),
            EventKind::SignerSigned => stands(SignerStatus::Signed),
            EventKind::SigningCompleted => signing.status == SigningStatus::Completed,
            _ => true,
        };
        is_so && !told.iter().any(|before| (before.kind, before.signer) == (one.kind, one.signer))
    })
}

fn for_each_order(items: &mut [usize], from: usize, check: &mut impl FnMut(&[usize])) {
    if from == items.len() {
        return check(items);
    }
    for next in from..items.len() {
        items.swap(from, next);
        for_each_order(items, from + 1, check);
        items.swap(from, next);
    }
}

#[test]
fn every_order_of_a_life_of_seven_events_ends_in_the_same_state() {
    for (signers, life) in LIVES {
        let messages = messages(&life);
        let mut expected = signing(signers);
        for message in &messages {
            take_in(&mut expected, message);
        }
        assert!(expected.status.is_terminal());
        let mut orders = 0;
        for_each_order(&mut [0, 1, 2, 3, 4, 5, 6], 0, &mut |order| {
            let mut signing = signing(signers);
            for (step, index) in order.iter().enumerate() {
                take_in(&mut signing, &messages[*index]);
                assert!(never_told_too_early(&signing, &life, &order[..=step]), "{order:?} at {step}");
            }
            assert_eq!(signing, expected, "{order:?}");
            orders += 1;
        });
        assert_eq!(orders, 5_040);
    }
}

#[test]
fn the_site_is_told_the_truth_whenever_the_browser_comes_back() {
    for (signers, life) in LIVES {
        let messages = messages(&life);
        let mut expected = signing(signers);
        for message in &messages {
            take_in(&mut expected, message);
        }
        for_each_order(&mut [0, 1, 2, 3, 4, 5, 6], 0, &mut |order| {
            // Before the first, between any two, and after the last.
            for returned in 0..=order.len() {
                let (mut signing, mut told) = (signing(signers), Vec::new());
                for step in 0..=order.len() {
                    if step == returned {
                        come_back(&mut signing);
                        assert!(
                            never_told_too_early(&signing, &life, &order[..step]),
                            "{order:?} {returned}"
                        );
                    }
                    let Some(index) = order.get(step) else { break };
                    let new = take_in(&mut signing, &messages[*index]);
                    assert!(events_are_true(&told, &new, &signing), "{order:?} {returned} at {step}");
                    assert!(never_told_too_early(&signing, &life, &order[..=step]), "{order:?} {returned}");
                    told.extend(new);
                }
                signing.signers[0].last_return = None;
                assert_eq!(signing, expected, "{order:?}, back at {returned}");
            }
        });
    }
}

#[test]
fn every_event_again_at_every_later_moment_and_all_of_them_a_day_late_change_nothing() {
    for (signers, life) in LIVES {
        let messages = messages(&life);
        for_each_order(&mut [0, 1, 2, 3, 4, 5, 6], 0, &mut |order| {
            let mut signing = signing(signers);
            for (step, index) in order.iter().enumerate() {
                take_in(&mut signing, &messages[*index]);
                let once = signing.clone();
                // Each that has come so far comes again, so that all pairs of places are tried.
                for earlier in &order[..=step] {
                    assert_eq!(take_in(&mut signing, &messages[*earlier]), Vec::new(), "{order:?} at {step}");
                }
                assert_eq!(signing, once, "{order:?} at {step}");
            }
        });
    }
}

proptest! {
    #[test]
    fn repeats_and_a_return_at_any_moment_change_nothing(
        which in 0_usize..4,
        shuffled in Just(vec![0_usize, 1, 2, 3, 4, 5, 6]).prop_shuffle(),
        repeats in proptest::collection::vec((0_usize..7, any::<proptest::sample::Index>()), 0..21),
        returned in any::<proptest::sample::Index>(),
    ) {
        let (signers, life) = LIVES[which];
        let messages = messages(&life);
        let mut order = shuffled;
        for (event, place) in repeats {
            order.insert(place.index(order.len() + 1), event);
        }
        let mut expected = signing(signers);
        for message in &messages {
            take_in(&mut expected, message);
        }
        let (mut signing, returned) = (signing(signers), returned.index(order.len() + 1));
        // The browser claims that it signed, before, between or after all of it.
        let claim = LastReturn { claim: Claim::SigningComplete, at: signing.created_at, view: None };
        for (step, index) in order.iter().enumerate() {
            if step == returned {
                signing.signers[0].last_return = Some(claim);
            }
            take_in(&mut signing, &messages[*index]);
            prop_assert!(never_told_too_early(&signing, &life, &order[..=step]));
        }
        signing.signers[0].last_return = None;
        prop_assert_eq!(signing, expected);
    }
}
