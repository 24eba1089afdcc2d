//! When an envelope is sent and where its routing waits, as the vendor's samples eg032, eg033, eg035 and eg036 ask it.

use serde_json::{Value, json};

use super::testing::{Client, definition, signer, view_of};

/// A definition for two signers, one after the other, with this workflow.
fn with(workflow: Value) -> Value {
    let mut whole = definition(&[signer("1", "Ada", "/sn1/"), signer("2", "Ben", "/sn2/")]);
    whole["workflow"] = workflow;
    whole
}

fn pause_before(order: &str) -> Value {
    json!({ "action": "pause_before", "triggerOnItem": "routing_order", "itemId": order })
}

/// The workflow of an envelope, as it is read with the envelope and at its own address.
async fn workflow(client: &Client, id: &str) -> Value {
    let own = client.get(&format!("/envelopes/{id}/workflow")).await;
    assert_eq!(client.get(&format!("/envelopes/{id}?include=workflow")).await["workflow"], own);
    own
}

/// The statuses of the envelope and of its two signers.
async fn statuses(client: &Client, id: &str) -> [String; 3] {
    let envelope = client.get(&format!("/envelopes/{id}?include=recipients")).await;
    let of = |value: &Value| value["status"].as_str().unwrap().to_owned();
    let signers = &envelope["recipients"]["signers"];
    [of(&envelope), of(&signers[0]), of(&signers[1])]
}

#[tokio::test]
async fn a_step_holds_the_routing_until_the_sender_lets_it_go_on() {
    let client = Client::start().await;
    let id = client.create(with(json!({ "workflowSteps": [pause_before("2")] }))).await;
    let path = format!("/envelopes/{id}");
    let before = workflow(&client, &id).await;
    let step = &before["workflowSteps"][0];
    assert_eq!((&before["workflowStatus"], &step["status"]), (&json!("in_progress"), &json!("pending")));
    assert_eq!((&step["itemId"], &before["currentWorkflowStepId"]), (&json!("2"), &step["workflowStepId"]));
    assert!(client.get(&path).await.get("workflow").is_none(), "it is shown on demand");

    client.act(&id, "1", "sign", json!({})).await;
    assert_eq!(statuses(&client, &id).await[1..], ["completed", "created"]);
    let paused = workflow(&client, &id).await;
    assert_eq!(paused["workflowStatus"], "paused", "{paused}");
    assert_eq!(paused["workflowSteps"][0]["status"], "paused", "{paused}");
    assert!(paused["workflowSteps"][0]["triggeredDate"].is_string(), "{paused}");
    assert_eq!(client.view(&id, view_of("2", "Ben")).await.unwrap_err(), "RECIPIENT_NOT_IN_SEQUENCE");

    let go_on = json!({ "workflow": { "workflowStatus": "in_progress" } });
    let (status, body) = client.call("PUT", &path, go_on.clone()).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")), "{body}");
    let to_end = json!({ "workflow": { "workflowStatus": "completed" } });
    assert_eq!(client.call("PUT", &format!("{path}?resend_envelope=true"), to_end).await.0, 400);
    assert_eq!(workflow(&client, &id).await, paused);
    let (status, body) = client.call("PUT", &format!("{path}?resend_envelope=true"), go_on).await;
    assert_eq!((status, &body["envelopeId"]), (200, &json!(id)), "{body}");
    assert_eq!(statuses(&client, &id).await[2], "sent");
    let done = workflow(&client, &id).await;
    assert_eq!(
        (&done["workflowStatus"], &done["workflowSteps"][0]["status"]),
        (&json!("completed"), &json!("completed"))
    );
    assert!(
        done.get("currentWorkflowStepId").is_none() && done["workflowSteps"][0]["completedDate"].is_string()
    );
    client.act(&id, "2", "sign", json!({})).await;
    assert_eq!(statuses(&client, &id).await[0], "completed");
}

#[tokio::test]
async fn a_paused_workflow_goes_on_at_its_own_address_too() {
    let client = Client::start().await;
    let id = client.create(with(json!({ "workflowSteps": [pause_before("2")] }))).await;
    client.act(&id, "1", "sign", json!({})).await;
    let go_on = json!({ "workflowStatus": "in_progress" });
    let (status, body) = client.call("PUT", &format!("/envelopes/{id}/workflow"), go_on).await;
    assert_eq!((status, &body["workflowStatus"]), (200, &json!("completed")), "{body}");
    assert_eq!(statuses(&client, &id).await[2], "sent");
}

#[tokio::test]
async fn what_is_made_with_a_paused_workflow_is_sent_when_that_goes_on() {
    let client = Client::start().await;
    let go_on = json!({ "workflowStatus": "in_progress" });
    let paused = with(json!({ "workflowStatus": "paused", "workflowSteps": [pause_before("2")] }));
    for (below, body) in
        [("/workflow", go_on.clone()), ("?resend_envelope=true", json!({ "workflow": go_on.clone() }))]
    {
        let id = client.create(paused.clone()).await;
        let path = format!("/envelopes/{id}");
        assert_eq!(statuses(&client, &id).await, ["created", "created", "created"]);
        assert_eq!(workflow(&client, &id).await["workflowStatus"], "paused");
        // Whoever sends it again changes nothing, and without a word of the workflow there is nothing to send again.
        assert_eq!(client.call("PUT", &path, json!({ "status": "sent" })).await.0, 200);
        assert_eq!(statuses(&client, &id).await[0], "created");
        let again = client.call("PUT", &format!("{path}?resend_envelope=true"), json!({})).await;
        assert_eq!((again.0, &again.1["errorCode"]), (400, &json!("ENVELOPE_INVALID_STATUS")));
        let (status, answer) = client.call("PUT", &format!("{path}{below}"), body).await;
        assert_eq!(status, 200, "{below}: {answer}");
        assert_eq!(statuses(&client, &id).await, ["sent", "sent", "created"], "{below}");
        assert_eq!(workflow(&client, &id).await["workflowStatus"], "in_progress");
        // Its steps pause it as ever.
        client.act(&id, "1", "sign", json!({})).await;
        assert_eq!(statuses(&client, &id).await[2], "created");
        assert_eq!(workflow(&client, &id).await["workflowStatus"], "paused");
    }
    // One that nobody has sent is a draft after that, too; and a schedule begins when the pause is over.
    let mut draft = paused;
    draft["status"] = json!("created");
    let scheduled =
        json!({ "workflowStatus": "paused", "scheduledSending": { "rules": [{ "delay": "00:10:00" }] } });
    for (definition, waited, then) in [(draft, 0, "created"), (with(scheduled), 600, "sent")] {
        let id = client.create(definition).await;
        client.advance(700).await;
        let path = format!("/envelopes/{id}/workflow");
        assert_eq!(client.call("PUT", &path, go_on.clone()).await.0, 200);
        assert_eq!(statuses(&client, &id).await[0], "created");
        client.advance(waited).await;
        assert_eq!(statuses(&client, &id).await[0], then);
    }
}

#[tokio::test]
async fn a_delayed_step_lets_the_routing_go_on_by_itself() {
    let client = Client::start().await;
    let mut step = pause_before("2");
    step["delayedRouting"] = json!({ "rules": [{ "delay": "0.00:30:00" }] });
    let id = client.create(with(json!({ "workflowSteps": [step] }))).await;
    let delay = async || workflow(&client, &id).await["workflowSteps"][0]["delayedRouting"].clone();
    let expected = json!({ "status": "pending", "rules": [{ "delay": "0.00:30:00" }] });
    assert_eq!(delay().await, expected, "it begins when its order is reached");

    client.advance(60).await;
    client.act(&id, "1", "sign", json!({})).await;
    let running = workflow(&client, &id).await;
    let step = &running["workflowSteps"][0];
    assert_eq!((&step["status"], &running["workflowStatus"]), (&json!("in_progress"), &json!("in_progress")));
    assert_eq!(
        (&step["delayedRouting"]["status"], delay().await["resumeDate"].is_string()),
        (&json!("started"), true)
    );
    assert_eq!(running["resumeDate"], step["delayedRouting"]["resumeDate"]);
    let at = format!("/envelopes/{id}/workflow/steps/{}", step["workflowStepId"].as_str().unwrap());
    assert_eq!(client.get(&at).await, *step);
    assert_eq!(client.get(&format!("{at}/delayedRouting")).await, step["delayedRouting"]);

    client.advance(1_790).await;
    assert_eq!(statuses(&client, &id).await[2], "created");
    client.advance(10).await;
    assert_eq!(statuses(&client, &id).await[2], "sent");
    assert_eq!(delay().await["status"], "completed");
}

#[tokio::test]
async fn a_scheduled_envelope_is_a_draft_until_its_time() {
    let client = Client::start().await;
    let now: jiff::Timestamp = client.get("/envelopes?from_date=2020-01-01").await["lastQueriedDateTime"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let date = (now + jiff::SignedDuration::from_mins(30)).to_string();
    for rule in [json!({ "resumeDate": date }), json!({ "delay": "00:30:00" })] {
        let id = client.create(with(json!({ "scheduledSending": { "rules": [rule] } }))).await;
        let path = format!("/envelopes/{id}/workflow/scheduledSending");
        assert_eq!(statuses(&client, &id).await, ["created", "created", "created"]);
        let schedule = client.get(&path).await;
        assert_eq!((&schedule["status"], &schedule["rules"]), (&json!("started"), &json!([rule])));
        assert_eq!(workflow(&client, &id).await["resumeDate"], schedule["resumeDate"]);
        let (status, later) = client.call("PUT", &path, json!({ "rules": [{ "delay": "00:40:00" }] })).await;
        assert_eq!((status, &later["status"]), (200, &json!("started")), "{later}");
        assert_ne!(later["resumeDate"], schedule["resumeDate"]);
        client.call("PUT", &path, json!({ "rules": [{ "delay": "00:00:20" }] })).await;
        client.advance(10).await;
        assert_eq!(statuses(&client, &id).await[0], "created");
        client.advance(10).await;
        assert_eq!(statuses(&client, &id).await, ["sent", "sent", "created"]);
        assert_eq!(client.get(&path).await["status"], "completed");
        let (status, body) = client.call("DELETE", &path, json!({})).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("ENVELOPE_INVALID_STATUS")), "{body}");
    }
}

#[tokio::test]
async fn a_schedule_that_is_gone_or_whose_draft_is_spoilt_sends_nothing() {
    let client = Client::start().await;
    let scheduled = with(json!({ "scheduledSending": { "rules": [{ "delay": "00:10:00" }] } }));
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(client.create(scheduled.clone()).await);
    }
    let schedule = |id: &str| format!("/envelopes/{id}/workflow/scheduledSending");
    assert_eq!(client.call("DELETE", &schedule(&ids[0]), json!({})).await.0, 200);
    assert_eq!(client.call("DELETE", &format!("/envelopes/{}/workflow", ids[1]), json!({})).await.0, 200);
    for id in &ids[..2] {
        let (status, body) = client.call("GET", &schedule(id), Value::Null).await;
        assert_eq!((status, &body["errorCode"]), (404, &json!("RESOURCE_NOT_FOUND")), "{body}");
    }
    let bin = json!({ "envelopeIds": [ids[2]] });
    assert_eq!(client.call("PUT", "/folders/recyclebin", bin).await.0, 200);
    let nobody = json!({ "signers": [{ "recipientId": "1" }, { "recipientId": "2" }] });
    assert_eq!(client.call("DELETE", &format!("/envelopes/{}/recipients", ids[3]), nobody).await.0, 200);
    client.advance(700).await;
    for id in &ids {
        assert_eq!(client.get(&format!("/envelopes/{id}")).await["status"], "created");
    }
    for id in &ids[2..] {
        assert_eq!(client.get(&schedule(id)).await["status"], "pending");
    }
}

#[tokio::test]
async fn a_draft_takes_another_workflow_and_what_is_under_way_only_loses_it() {
    let client = Client::start().await;
    let mut draft = with(json!({ "workflowSteps": [pause_before("1")] }));
    draft["status"] = json!("created");
    let id = client.create(draft).await;
    let path = format!("/envelopes/{id}");
    // As the vendor's page on Envelopes:update sends it, with a number and a description.
    let mut step = pause_before("2");
    (step["itemId"], step["description"]) = (json!(2), json!("pause_before routing order 2"));
    let sent = json!({ "status": "sent", "workflow": { "workflowSteps": [step] } });
    let (status, body) = client.call("PUT", &path, sent).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(statuses(&client, &id).await, ["sent", "sent", "created"]);
    let read = client.get(&format!("{path}?include=workflow")).await;
    assert_eq!(client.call("PUT", &path, read).await.0, 200, "what was read can be sent back");
    for (below, body) in [
        ("", json!({ "workflow": { "workflowSteps": [pause_before("3")] } })),
        ("/workflow", json!({ "workflowSteps": [pause_before("3")] })),
        ("/workflow/scheduledSending", json!({ "rules": [{ "delay": "01:00:00" }] })),
    ] {
        let (status, body) = client.call("PUT", &format!("{path}{below}"), body).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("ENVELOPE_INVALID_STATUS")), "{below}: {body}");
    }
    client.act(&id, "1", "sign", json!({})).await;
    assert_eq!(statuses(&client, &id).await[2], "created");
    assert_eq!(client.call("DELETE", &format!("{path}/workflow"), json!({})).await.0, 200);
    assert_eq!(statuses(&client, &id).await[2], "sent", "nothing holds the routing any more");
}

#[tokio::test]
async fn a_draft_whose_schedule_has_passed_takes_other_steps_beside_it() {
    let client = Client::start().await;
    let found = client.get("/envelopes?from_date=2020-01-01").await;
    let now: jiff::Timestamp = found["lastQueriedDateTime"].as_str().unwrap().parse().unwrap();
    let date = (now + jiff::SignedDuration::from_mins(30)).to_string();
    let mut draft = with(json!({ "scheduledSending": { "rules": [{ "resumeDate": date }] } }));
    draft["status"] = json!("created");
    let id = client.create(draft).await;
    client.advance(31 * 60).await;

    let path = format!("/envelopes/{id}");
    for (order, is_below) in [("1", false), ("2", true)] {
        let mut read = workflow(&client, &id).await;
        read["workflowSteps"] = json!([pause_before(order)]);
        let (status, body) = if is_below {
            client.call("PUT", &format!("{path}/workflow"), read.clone()).await
        } else {
            client.call("PUT", &path, json!({ "workflow": read })).await
        };
        assert_eq!(status, 200, "{body}");
        let now = workflow(&client, &id).await;
        assert_eq!(now["workflowSteps"][0]["itemId"], order, "{now}");
        assert_eq!(now["scheduledSending"], read["scheduledSending"], "what is sent back as it is stays");
    }
    let before = workflow(&client, &id).await;
    let passed = json!({ "rules": [{ "resumeDate": now.to_string() }] });
    for refused in [
        json!({ "workflowSteps": [pause_before("1")], "scheduledSending": passed }),
        // The status is looked at when the steps are others already.
        json!({ "workflowSteps": [pause_before("1")], "workflowStatus": "completed" }),
    ] {
        let (status, body) = client.call("PUT", &format!("{path}/workflow"), refused).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")), "{body}");
        assert_eq!(workflow(&client, &id).await, before, "nothing is kept of what is refused");
    }
}

#[tokio::test]
async fn a_workflow_that_is_emptied_is_gone_and_what_is_not_there_is_not_found() {
    let client = Client::start().await;
    let rules = |rules: Value| json!({ "rules": rules });
    let (steps, sending) = (json!([pause_before("2")]), rules(json!([{ "delay": "00:30:00" }])));
    for (own, below, change, left) in [
        (
            json!({ "workflowSteps": steps }),
            "",
            json!({ "workflowSteps": [], "workflowStatus": "in_progress" }),
            json!({ "workflowSteps": [], "workflowStatus": "completed" }),
        ),
        (json!({ "scheduledSending": sending }), "/scheduledSending", rules(json!([])), rules(json!([]))),
    ] {
        let mut draft = with(own);
        draft["status"] = json!("created");
        let path = format!("/envelopes/{}/workflow", client.create(draft).await);
        let emptied = client.call("PUT", &format!("{path}{below}"), change).await;
        assert_eq!(emptied, (200, left), "{below}");
        let schedule = format!("{path}/scheduledSending");
        for (method, at, body) in [
            ("GET", &path, Value::Null),
            ("PUT", &path, json!({ "workflowSteps": steps })),
            ("DELETE", &path, json!({})),
            ("GET", &schedule, Value::Null),
            ("PUT", &schedule, sending.clone()),
            ("DELETE", &schedule, json!({})),
        ] {
            let (status, body) = client.call(method, at, body).await;
            assert_eq!((status, &body["errorCode"]), (404, &json!("RESOURCE_NOT_FOUND")), "{method} {at}");
        }
    }
    // A workflow of steps alone takes a schedule.
    let mut draft = with(json!({ "workflowSteps": steps }));
    draft["status"] = json!("created");
    let path = format!("/envelopes/{}/workflow/scheduledSending", client.create(draft).await);
    assert_eq!(client.call("DELETE", &path, json!({})).await.0, 404);
    let (status, body) = client.call("PUT", &path, sending.clone()).await;
    assert_eq!((status, &body["rules"]), (200, &sending["rules"]), "{body}");
}

#[tokio::test]
async fn a_workflow_that_cannot_be_is_refused() {
    let client = Client::start().await;
    let step = |name: &str, value: Value| {
        let mut step = pause_before("2");
        step[name] = value;
        json!({ "workflowSteps": [step] })
    };
    let rules = |rules: Value| json!({ "scheduledSending": { "rules": rules } });
    for workflow in [
        step("action", json!("resume_after")),
        step("triggerOnItem", Value::Null),
        step("itemId", json!("0")),
        step("delayedRouting", json!({ "rules": [{ "delay": "soon" }] })),
        rules(json!([{ "delay": "01:00:00" }, { "delay": "02:00:00" }])),
        rules(json!([{ "delay": "01:00:00", "resumeDate": "2099-01-01" }])),
        rules(json!([{ "resumeDate": "2020-01-01T00:00:00Z" }])),
        rules(json!([{ "resumeDate": "2099-01-01T00:00:00Z" }])),
    ] {
        assert_eq!(client.refusal(with(workflow.clone())).await, "INVALID_REQUEST_PARAMETER", "{workflow}");
    }
    let rules = json!({ "rules": { "conditionalRecipients": [{ "recipientId": "2" }] } });
    assert_eq!(client.refusal(with(step("recipientRouting", rules))).await, "PLAN_ITEM_NOT_ENABLED");
    let id = client.create(definition(&[signer("1", "Ada", "/sn1/")])).await;
    let path = format!("/envelopes/{id}?resend_envelope=true");
    let (status, body) =
        client.call("PUT", &path, json!({ "workflow": { "workflowStatus": "in_progress" } })).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("INVALID_REQUEST_PARAMETER")), "{body}");
}
