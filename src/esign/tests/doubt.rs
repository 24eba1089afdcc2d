//! Creates whose outcome nobody knows, and how they are looked up.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::esign::{
    testing::{ALSO_MADE, Draft, MADE, Reply, World, create, file, template, workflows},
    *,
};
use crate::{
    auth::user_info::UserInfo,
    budget::{Operation, Outcome},
    clock::Deadline,
    domain::{EnvelopeFact, SignerFact, TransactionId},
};

#[tokio::test]
async fn e2_what_is_in_doubt_and_what_is_not() {
    let world = World::new().await;
    let html = "<html><body>Service Unavailable, ada@example.com</body></html>".to_owned();
    let cut = || Reply::Text(201, vec![], "{\"envelopeId\": \"env".to_owned());
    for (reply, code, doubt) in [
        (Reply::HangUp, "provider_unavailable", Doubt::Yes),
        (Reply::Text(503, vec![], html.clone()), "provider_unavailable", Doubt::Yes),
        (Reply::Text(503, vec![], String::new()), "provider_unavailable", Doubt::Yes),
        (Reply::Text(200, vec![], html.clone()), "provider_unavailable", Doubt::Yes),
        (Reply::Text(201, vec![], String::new()), "provider_unavailable", Doubt::Yes),
        (cut(), "provider_unavailable", Doubt::Yes),
        (Reply::json(201, &json!({"status": "Processing"})), "provider_unavailable", Doubt::Yes),
        (Reply::Text(400, vec![], html.clone()), "provider_unavailable", Doubt::Yes),
        (Reply::Text(404, vec![], html.clone()), "provider_unavailable", Doubt::Yes),
        (Reply::Text(413, vec![], html), "payload_too_large", Doubt::No),
        (Reply::error(400, "ANCHOR_TAB_STRING_NOT_FOUND"), "anchor_not_found", Doubt::No),
        (Reply::error(400, "TEMPLATE_ID_INVALID"), "provider_rejected", Doubt::No),
        (Reply::Text(400, vec![], String::new()), "provider_rejected", Doubt::No),
    ] {
        let shown = format!("{reply:?}");
        world.will(reply);
        let error = create(&world, &Draft::of(vec![file(&[])])).await.unwrap_err();
        assert_eq!((error.code(), error.doubt()), (code, doubt), "{shown}");
        // Creates are never sent twice.
        assert_eq!(world.arrived().len(), 1, "{shown}");
        let mut words = format!("{error} {error:?}");
        words.push_str(error.fix());
        assert!(!words.contains("ada@"), "{words}");
    }
}

#[tokio::test]
async fn e2_a_create_whose_answer_names_what_can_be_no_envelope_is_in_doubt() {
    let world = World::new().await;
    let bare = MADE.replace('-', "");
    for id in ["", "..", "env-1", "4711", &*bare, &*format!("{{{MADE}}}"), &*format!("{MADE}/recipients")] {
        world.will(Reply::json(201, &json!({"envelopeId": id, "status": "sent"})));
        let error = create(&world, &Draft::of(vec![file(&[])])).await.unwrap_err();
        assert_eq!((error.code(), error.doubt()), ("provider_unavailable", Doubt::Yes), "{id}");
    }
    for id in [MADE.to_owned(), MADE.to_uppercase()] {
        world.will(Reply::json(201, &json!({"envelopeId": id, "status": "sent"})));
        let made = create(&world, &Draft::of(vec![file(&[])])).await.unwrap();
        assert_eq!(made.envelope.as_str(), id, "as it was told");
    }
}

#[tokio::test]
async fn e2_a_stalled_create_is_in_doubt_and_an_unreachable_host_is_not() {
    let world = World::new().await;
    world.will(Reply::Stall);
    let soon = Deadline::within(&world.clock, Duration::from_millis(150));
    let draft = Draft::of(vec![file(&[])]);
    let acting = world.acting().await;
    let error = world.client.create_envelope(&acting, &draft.envelope(), soon, None).await.unwrap_err();
    assert!(matches!(error, Error::Unknown(_)), "{error}");
    let nowhere = Acting::new(
        acting.sender.clone(),
        uuid::Uuid::from_u128(1),
        &UserInfo { user_id: acting.user_id, address: None, accounts: Vec::new() },
        &"http://127.0.0.1:1".parse().unwrap(),
    );
    let error =
        world.client.create_envelope(&nowhere, &draft.envelope(), world.deadline(), None).await.unwrap_err();
    assert!(matches!(error, Error::NotSent(_)), "{error}");
    assert_eq!(world.ended.count(Operation::CreateEnvelope, Outcome::NotSent), 1);
    assert_eq!(world.client.budget().remaining(&nowhere.account).hour, 3_000);
}

#[tokio::test]
async fn e2_look_ups_take_only_what_is_ours() {
    let world = World::new().await;
    let acting = world.acting().await;
    let (ours, other) = (TransactionId::generate(), TransactionId::generate());
    world.will(Reply::json(
        200,
        &json!({"resultSetSize": "2", "envelopes": [{"envelopeId": MADE, "status": "sent", "transactionId": ours.to_string(),
                "recipients": {"signers": [{"recipientId": "1", "clientUserId": "opaque-1", "status": "completed"}]}},
            {"envelopeId": ALSO_MADE, "status": "sent", "transactionId": TransactionId::generate().to_string()}],
            "envelopeTransactionStatuses": [{"envelopeId": MADE, "status": "sent", "transactionId": ours.to_string()}]}),
    ));
    let found = world.client.find(&acting, &[ours, other], world.deadline()).await.unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), [&ours]);
    let made = &found[&ours];
    assert_eq!(made.iter().map(|found| found.seen.envelope.as_str()).collect::<Vec<_>>(), [MADE]);
    assert_eq!((made[0].can_be_voided, &*made[0].seen.facts), (true, &[EnvelopeFact::Sent][..]));
    let signer = &made[0].seen.recipients[0];
    assert_eq!((signer.client_user_id.as_deref(), signer.fact), (Some("opaque-1"), Some(SignerFact::Signed)));
    let asked = format!("GET envelopes?transaction_ids={ours}%2C{other}&include=recipients");
    assert_eq!(world.arrived()[0].line, asked);
    // Where nothing but the status is told, that is known.
    world.will(Reply::json(
        200,
        &json!({"envelopeTransactionStatuses": [{"envelopeId": MADE, "status": "completed", "transactionId": ours.to_string()}]}),
    ));
    let found = world.client.find(&acting, &[ours], world.deadline()).await.unwrap();
    let made = &found[&ours];
    assert_eq!((made[0].can_be_voided, &*made[0].seen.facts), (false, &[EnvelopeFact::Completed][..]));
    assert!(made[0].seen.recipients.is_empty());
    let third = "93be49ab-0000-4000-8000-000000000003";
    let field = |value| json!({"textCustomFields": [{"name": "countersign_id", "value": value}]});
    world.will(Reply::json(
        200,
        &json!({"envelopes": [{"envelopeId": MADE, "status": "sent", "customFields": field("sig_2")},
            {"envelopeId": ALSO_MADE, "status": "sent"}, {"envelopeId": third, "status": "sent", "customFields": field("sig_1")}]}),
    ));
    let since = Timestamp::from_second(1_700_000_000).unwrap();
    let found = world.client.find_by_signing(&acting, "sig_1", since, world.deadline()).await.unwrap();
    assert_eq!(found.iter().map(|found| found.seen.envelope.as_str()).collect::<Vec<_>>(), [third]);
    world.will(Reply::json(200, &json!({"resultSetSize": "0"})));
    assert!(world.client.find(&acting, &[ours], world.deadline()).await.unwrap().is_empty());
}

/// As one names no envelope in the answer to a create, so does another in a list; but it is there.
#[tokio::test]
async fn e2_what_a_list_names_that_can_be_no_envelope_is_not_taken_for_one_nor_for_nothing() {
    let world = World::new().await;
    let (acting, ours) = (world.acting().await, TransactionId::generate());
    let since = Timestamp::from_second(1_700_000_000).unwrap();
    let field = json!({"textCustomFields": [{"name": "countersign_id", "value": "sig_1"}]});
    for id in ["", "..", "env-1", &*format!("{MADE}/recipients")] {
        let one = json!({"envelopeId": id, "status": "sent", "transactionId": ours.to_string(), "customFields": field});
        let other = json!({"envelopeId": MADE, "status": "sent"});
        let page =
            json!({"envelopes": [one, other], "envelopeTransactionStatuses": [one], "totalSetSize": "2"});
        for _ in 0..3 {
            world.will(Reply::json(200, &page));
        }
        assert!(world.client.find(&acting, &[ours], world.deadline()).await.unwrap().is_empty(), "{id}");
        // Before a create is sent again this is asked: nothing found would mean that it has made nothing.
        let found = world.client.find_by_signing(&acting, "sig_1", since, world.deadline()).await;
        assert!(matches!(found, Err(Error::BadAnswer { .. })), "{id}: {found:?}");
        let changes =
            world.client.list_changes(&acting, Since::Changed(since), 0, world.deadline()).await.unwrap();
        let seen: Vec<_> = changes.seen.iter().map(|seen| seen.envelope.as_str()).collect();
        assert_eq!((seen, changes.next), (vec![MADE], None), "{id}");
    }
    // One that is read alone is no answer, either.
    world.will(Reply::json(200, &json!({"envelopeId": "..", "status": "sent"})));
    let envelope = crate::domain::EnvelopeId::new(MADE);
    let read = world.client.envelope(&acting, &envelope, world.deadline()).await;
    let Err(Error::CheckSpent { error, .. }) = read else { panic!("{read:?}") };
    assert!(matches!(*error, Error::BadAnswer { .. }), "{error}");
}

#[tokio::test]
async fn what_a_create_is_refused_for_is_remembered_no_longer() {
    let world = World::new().await;
    let acting = world.acting().await;
    let workflow = |id: &str| {
        let input = json!([{"valueType": "PhoneNumberList"}]);
        Reply::json(200, &json!({"identityVerification": [{"workflowId": id, "inputOptions": input}]}))
    };
    let known = async || world.client.sms_workflow(&acting, world.deadline()).await.unwrap();
    world.will(workflow("old")).will(Reply::error(400, "IDENTITY_WORKFLOW_INVALID_ID")).will(workflow("new"));
    assert_eq!([known().await, known().await].map(|id| id.to_string()), ["old", "old"]);
    let draft = Draft::of(vec![file(&[])]);
    world.client.create_envelope(&acting, &draft.envelope(), world.deadline(), None).await.unwrap_err();
    assert_eq!([known().await, known().await].map(|id| id.to_string()), ["new", "new"]);

    let id = "11111111-2222-3333-4444-555555555555";
    world.will(Reply::json(200, &json!({"templateId": id}))).will(Reply::error(400, "TEMPLATE_ID_INVALID"));
    world.client.template(&acting, id, world.deadline()).await.unwrap();
    assert!(world.client.known_template(&acting, id).is_some());
    let draft = Draft::of(vec![template()]);
    world.client.create_envelope(&acting, &draft.envelope(), world.deadline(), None).await.unwrap_err();
    assert!(world.client.known_template(&acting, id).is_none());
}

#[tokio::test]
async fn what_was_read_of_an_account_is_forgotten_with_the_check_of_a_sender_that_was_not_known() {
    let world = World::new().await;
    let acting = world.acting().await;
    world.client.forget(&acting.sender);
    world.will(workflows()).will(workflows());
    for asked in [1, 1, 2] {
        if asked == 2 {
            assert_eq!(*world.client.take_up(&acting.sender).await.unwrap(), *acting);
        }
        world.client.sms_workflow(&acting, world.deadline()).await.unwrap();
        assert_eq!(world.client.known(&acting.sender).is_some(), asked == 2);
        assert_eq!(world.ended.count(Operation::IdentityWorkflows, Outcome::Ok), asked);
    }
}

#[tokio::test]
async fn what_a_create_is_refused_for_without_a_reason_is_no_word_on_it() {
    let world = World::new().await;
    world.will(Reply::error(400, "UNSPECIFIED_ERROR")).will(Reply::error(400, "UNSPECIFIED_ERROR"));
    let draft = Draft::of(vec![file(&[])]);
    let error = create(&world, &draft).await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), ("provider_rate_limited", true), "{error}");
    assert_eq!((error.rejection(), error.doubt()), (Some(RejectionKind::UploadsAlike), Doubt::No));
    assert!(error.fix().contains("in a template"));
    // Of another call it says nothing that we know.
    let (acting, envelope) = (world.acting().await, crate::domain::EnvelopeId::new("env-1"));
    let error = world.client.void(&acting, &envelope, "x", world.deadline()).await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), ("provider_rejected", false), "{error}");
}
