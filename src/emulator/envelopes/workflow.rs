//! The workflow of an envelope: when it is sent, and where its routing waits.
//!
//! A step `pause_before` holds the routing before its order: until the sender lets it go on, or with `delayedRouting`
//! until the delay is over. With `scheduledSending` a draft that is sent stays a draft until then, and one that is made
//! with the `workflowStatus` "paused" until that is `in_progress`. Conditional routing (`recipientRouting`) is refused.
//!
//! Sources: SPEC: Envelopes:create, workflow, workflowStep, scheduledSending, delayedRouting, envelopeDelayRule and Envelopes:update; SDK:
//! the samples eg032, eg033, eg035 and eg036. Our reading is which of the vendor's words applies when, that what was
//! sent keeps its workflow but for going on and for being rid of it, and every refusal.

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Outcome, body,
    change::whole,
    delays::{Delay, delay_of},
    envelope_mut,
    model::{Envelope, Fields, Refusal, Status, invalid, missing, objects, text},
    progress,
    redraft::{is_within, only_of_a_draft, until_the_end},
    refused::{lacking, said},
};
use crate::emulator::{
    http::{Answer, Call, vendor_time},
    schema::Body,
    state::World,
};

/// What a sender sets to let a paused workflow go on.
const GOES_ON: &str = "in_progress";
/// What a sender makes an envelope with that is not to be sent yet.
const PAUSED: &str = "paused";
const SCHEDULE: &str = "scheduledSending";
const STEPS: &str = "workflowSteps";

/// When an envelope is sent, and where its routing waits.
#[derive(Debug, Clone, Default)]
pub(in crate::emulator) struct Workflow {
    steps: Vec<Step>,
    sending: Option<Delay>,
    /// What the sender paused as a whole.
    pause: Option<Pause>,
}

/// What becomes of an envelope when its workflow, which was paused as a whole, goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    /// It stays a draft: nobody has sent it.
    Idle,
    /// It is sent.
    Waiting,
}

/// A pause before a routing order.
#[derive(Debug, Clone)]
struct Step {
    /// `workflowStepId`.
    id: String,
    /// `itemId`.
    order: u32,
    /// What ends the pause; without it the sender does.
    delay: Option<Delay>,
    /// When the routing came to it.
    triggered: Option<Timestamp>,
    /// When the routing went on.
    completed: Option<Timestamp>,
}

impl Step {
    fn is_paused(&self) -> bool {
        self.triggered.is_some() && self.completed.is_none() && self.delay.is_none()
    }

    fn complete(&mut self, now: Timestamp) {
        self.completed = Some(now);
        if let Some(delay) = &mut self.delay {
            delay.is_done = true;
        }
    }

    fn shown(&self) -> Value {
        let status = match (self.triggered, self.completed) {
            (_, Some(_)) => "completed",
            (None, None) => "pending",
            (Some(_), None) if self.delay.is_some() => "in_progress",
            (Some(_), None) => "paused",
        };
        let mut value = json!({
            "workflowStepId": self.id,
            "action": "pause_before",
            "triggerOnItem": "routing_order",
            "itemId": self.order.to_string(),
            "status": status,
        });
        for (name, at) in [("triggeredDate", self.triggered), ("completedDate", self.completed)] {
            if let Some(at) = at {
                value[name] = json!(vendor_time(at));
            }
        }
        if let Some(delay) = &self.delay {
            value["delayedRouting"] = delay.shown();
        }
        value
    }
}

impl Workflow {
    /// Itself, if anything is in it.
    fn unless_empty(self) -> Option<Self> {
        Some(self).filter(|own| !own.steps.is_empty() || own.sending.is_some() || own.pause.is_some())
    }

    /// The same for another envelope: nothing of it has begun.
    pub(super) fn anew(&self, world: &mut World) -> Self {
        let steps = self.steps.iter().map(|step| Step {
            id: world.guid(),
            order: step.order,
            delay: step.delay.as_ref().map(Delay::anew),
            triggered: None,
            completed: None,
        });
        Self {
            steps: steps.collect(),
            sending: self.sending.as_ref().map(Delay::anew),
            pause: self.pause.map(|_| Pause::Idle),
        }
    }

    /// The envelope is to be sent: whether it is kept back until the sender lets the workflow go on.
    pub(super) fn keeps_back(&mut self) -> bool {
        self.pause = self.pause.map(|_| Pause::Waiting);
        self.pause.is_some()
    }

    /// The envelope is to be sent: when that is put off to, if it is.
    pub(super) fn put_off(&mut self, now: Timestamp) -> Option<Timestamp> {
        let sending = self.sending.as_mut()?;
        let at = sending.begin(now);
        sending.is_done = at.is_none();
        at
    }

    /// Whether a draft with it is to be sent by now.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.sending.as_ref().is_some_and(|sending| sending.is_running() && sending.is_over(now))
    }

    /// The envelope was sent as scheduled.
    pub(super) fn sent(&mut self) {
        if let Some(sending) = &mut self.sending {
            sending.is_done = true;
        }
    }

    /// A draft is not sent by itself any more.
    pub(super) fn unschedule(&mut self) {
        if let Some(sending) = self.sending.as_mut().filter(|sending| sending.is_running()) {
            sending.resumes = None;
        }
        self.pause = self.pause.map(|_| Pause::Idle);
    }

    /// The routing comes to an order. None: it goes on; else it waits, and delays that begin are over then.
    pub(super) fn hold(&mut self, order: u32, now: Timestamp) -> Option<Vec<Timestamp>> {
        let (mut is_held, mut begun) = (false, Vec::new());
        for step in self.steps.iter_mut().filter(|step| step.order <= order && step.completed.is_none()) {
            if step.triggered.is_none() {
                step.triggered = Some(now);
                begun.extend(step.delay.as_mut().and_then(|delay| delay.begin(now)));
            }
            if step.delay.as_ref().is_some_and(|delay| delay.is_over(now)) {
                step.complete(now);
            }
            is_held |= step.completed.is_none();
        }
        is_held.then_some(begun)
    }

    fn is_paused(&self) -> bool {
        self.pause.is_some() || self.steps.iter().any(Step::is_paused)
    }

    fn is_done(&self) -> bool {
        self.steps.iter().all(|step| step.completed.is_some())
            && self.sending.as_ref().is_none_or(|sending| sending.is_done)
    }

    fn status(&self) -> &'static str {
        match (self.is_paused(), self.is_done()) {
            (true, _) => PAUSED,
            (false, true) => "completed",
            (false, false) => GOES_ON,
        }
    }

    /// As the vendor shows it.
    pub(super) fn shown(&self) -> Value {
        let current = self.steps.iter().find(|step| step.completed.is_none());
        let mut value = json!({
            "workflowStatus": self.status(),
            STEPS: self.steps.iter().map(Step::shown).collect::<Vec<_>>(),
        });
        if let Some(step) = current {
            value["currentWorkflowStepId"] = json!(step.id);
        }
        if let Some(sending) = &self.sending {
            value[SCHEDULE] = sending.shown();
        }
        let delays = [self.sending.as_ref(), current.and_then(|step| step.delay.as_ref())];
        if let Some(at) = delays.into_iter().flatten().filter_map(|delay| delay.resumes).max() {
            value["resumeDate"] = json!(vendor_time(at));
        }
        value
    }
}

/// The workflow that a definition asks for.
pub(super) fn of(world: &mut World, fields: &Fields, now: Timestamp) -> Result<Option<Workflow>, Refusal> {
    let Some(given) = said(fields, "workflow") else { return Ok(None) };
    let (steps, sending) = (steps_of(world, given, now)?, delay_of(given.get(SCHEDULE), now)?);
    let is_paused =
        given["workflowStatus"].as_str().is_some_and(|status| status.eq_ignore_ascii_case(PAUSED));
    Ok(Workflow { steps, sending, pause: is_paused.then_some(Pause::Idle) }.unless_empty())
}

fn steps_of(world: &mut World, given: &Value, now: Timestamp) -> Result<Vec<Step>, Refusal> {
    objects(given.get(STEPS)).map(|step| step_of(world.guid(), step, now)).collect()
}

fn step_of(id: String, given: &Fields, now: Timestamp) -> Result<Step, Refusal> {
    if said(given, "recipientRouting").is_some() {
        return Err(lacking("conditional recipients (recipientRouting)"));
    }
    for (name, only) in [("action", "pause_before"), ("triggerOnItem", "routing_order")] {
        if !text(given, name).is_some_and(|value| value.eq_ignore_ascii_case(only)) {
            return Err(invalid(&format!("The {name} of a workflow step is '{only}'.")));
        }
    }
    let order = text(given, "itemId").and_then(|item| item.trim().parse::<u32>().ok());
    let order = order.filter(|order| *order > 0);
    let order = order.ok_or_else(|| invalid("The itemId of a workflow step is a routing order."))?;
    let delay = delay_of(given.get("delayedRouting"), now)?;
    Ok(Step { id, order, delay, triggered: None, completed: None })
}

/// Takes over what a change says of the steps and of the schedule, which is for drafts; each stays if it is not named,
/// or only sent back as it is: then its date may have passed. Whether the routing goes on is up to [`go_on`].
pub(super) fn change(world: &mut World, call: &Call, id: &str, given: &Value) -> Result<(), Refusal> {
    let envelope = &world.envelopes.envelopes[id];
    let shown = envelope.workflow.as_ref().map_or(Value::Null, Workflow::shown);
    if is_within(given, &shown) {
        return Ok(());
    }
    let redefines = |name: &str| !is_within(&given[name], &shown[name]);
    if redefines(STEPS) || redefines(SCHEDULE) {
        only_of_a_draft(envelope, "the workflow")?;
        let steps = redefines(STEPS).then(|| steps_of(world, given, call.now)).transpose()?;
        let sending = redefines(SCHEDULE).then(|| delay_of(given.get(SCHEDULE), call.now)).transpose()?;
        let envelope = envelope_mut(world, id);
        envelope.modified = call.now;
        let mut workflow = envelope.workflow.take().unwrap_or_default();
        if let Some(steps) = steps {
            workflow.steps = steps;
        }
        let mut again = None;
        if let Some(sending) = sending {
            let is_scheduled = workflow.sending.as_ref().is_some_and(Delay::is_running);
            workflow.sending = sending;
            again = if is_scheduled { workflow.put_off(call.now) } else { None };
        }
        envelope.workflow = workflow.unless_empty();
        if let Some(at) = again {
            world.envelopes.wake(id, at);
        }
    }
    let Some(status) = given["workflowStatus"].as_str().filter(|status| !status.is_empty()) else {
        return Ok(());
    };
    let now = match &world.envelopes.envelopes[id].workflow {
        None if shown.is_null() => return Err(invalid("The envelope has no workflow.")),
        left => left.as_ref().map_or_else(|| Workflow::default().status(), Workflow::status),
    };
    if status.eq_ignore_ascii_case(GOES_ON) || status.eq_ignore_ascii_case(now) {
        return Ok(());
    }
    Err(invalid("The workflowStatus can be set to 'in_progress'."))
}

/// Lets go on what waits for the sender, if a change of the envelope says so: with `resend_envelope`, as the samples do
/// it.
pub(super) fn go_on(world: &mut World, call: &Call, id: &str, given: &Value) -> Result<(), Refusal> {
    if !is_to_resume(&world.envelopes.envelopes[id], given) {
        return Ok(());
    }
    if !call.asks_for("resend_envelope") {
        return Err(invalid("A paused workflow goes on with resend_envelope=true."));
    }
    resume(world, call, id)
}

fn is_to_resume(envelope: &Envelope, given: &Value) -> bool {
    let is_asked = given["workflowStatus"].as_str().is_some_and(|it| it.eq_ignore_ascii_case(GOES_ON));
    let is_alive = envelope.status.is_open() || is_kept_back(envelope);
    is_asked && is_alive && envelope.workflow.as_ref().is_some_and(Workflow::is_paused)
}

/// Whether it is a draft whose workflow is paused as a whole.
pub(super) fn is_kept_back(envelope: &Envelope) -> bool {
    envelope.status == Status::Created
        && envelope.workflow.as_ref().is_some_and(|workflow| workflow.pause.is_some())
}

fn resume(world: &mut World, call: &Call, id: &str) -> Result<(), Refusal> {
    let envelope = envelope_mut(world, id);
    let Some(workflow) = envelope.workflow.as_mut() else { return Ok(()) };
    let pause = workflow.pause.take();
    workflow.steps.iter_mut().filter(|step| step.is_paused()).for_each(|step| step.complete(call.now));
    envelope.note(call.now, "Sender", "Workflow Resumed", "The workflow goes on.");
    if pause == Some(Pause::Waiting) {
        return progress::send(world, id, call.now);
    }
    progress::activate(world, id, call.now);
    Ok(())
}

/// `…/workflow` and what is below it.
pub(super) fn route(world: &mut World, call: &Call, id: &str, rest: &[&str]) -> Option<Outcome> {
    let is = |method: Method| call.method == method;
    Some(match rest {
        [] if is(Method::GET) => part(world, id, |workflow| Some(workflow.clone())),
        [] if is(Method::PUT) => put(world, call, id),
        [] if is(Method::DELETE) => delete(world, call, id),
        ["scheduledSending"] if is(Method::GET) => schedule(world, id),
        ["scheduledSending"] if is(Method::PUT) => reschedule(world, call, id),
        ["scheduledSending"] if is(Method::DELETE) => unschedule(world, call, id),
        ["steps", step] if is(Method::GET) => part(world, id, |workflow| step_named(workflow, step)),
        ["steps", step, "delayedRouting"] if is(Method::GET) => {
            part(world, id, |workflow| step_named(workflow, step)?.get("delayedRouting").cloned())
        }
        _ => return None,
    })
}

/// What is shown of the workflow. The vendor publishes no code for what is not there: our reading.
fn part(world: &World, id: &str, choose: impl Fn(&Value) -> Option<Value>) -> Outcome {
    let workflow = world.envelopes.envelopes[id].workflow.as_ref().map(Workflow::shown);
    workflow.and_then(|workflow| choose(&workflow)).map(Answer::ok).ok_or_else(no_such_workflow)
}

fn no_such_workflow() -> Refusal {
    missing("RESOURCE_NOT_FOUND", "The envelope has no such workflow.")
}

/// What is left of the workflow after a change, which may have emptied it.
fn left(world: &World, id: &str) -> Value {
    world.envelopes.envelopes[id]
        .workflow
        .as_ref()
        .map_or_else(|| Workflow::default().shown(), Workflow::shown)
}

fn step_named(workflow: &Value, id: &str) -> Option<Value> {
    let mut steps = workflow[STEPS].as_array()?.iter();
    steps
        .find(|step| step["workflowStepId"].as_str().is_some_and(|own| own.eq_ignore_ascii_case(id)))
        .cloned()
}

fn schedule(world: &World, id: &str) -> Outcome {
    part(world, id, |workflow| workflow.get(SCHEDULE).cloned())
}

/// Changes a workflow "if it has one" (EnvelopeWorkflowDefinition:update, which has no `resend_envelope`).
fn put(world: &mut World, call: &Call, id: &str) -> Outcome {
    let given = body(call, Body::Workflow)?;
    if world.envelopes.envelopes[id].workflow.is_none() {
        return Err(no_such_workflow());
    }
    whole(world, id, |world| {
        change(world, call, id, &given)?;
        if is_to_resume(&world.envelopes.envelopes[id], &given) {
            resume(world, call, id)?;
        }
        Ok(())
    })?;
    Ok(Answer::ok(left(world, id)))
}

/// What waited for the workflow goes on without it; what was scheduled stays a draft.
fn delete(world: &mut World, call: &Call, id: &str) -> Outcome {
    let envelope = envelope_mut(world, id);
    until_the_end(envelope)?;
    if envelope.workflow.take().is_none() {
        return Err(no_such_workflow());
    }
    envelope.modified = call.now;
    progress::activate(world, id, call.now);
    Ok(Answer::empty(StatusCode::OK))
}

/// Changes the schedule of a workflow, or gives it one: without rules it has none.
fn reschedule(world: &mut World, call: &Call, id: &str) -> Outcome {
    let given = body(call, Body::ScheduledSending)?;
    if world.envelopes.envelopes[id].workflow.is_none() {
        return Err(no_such_workflow());
    }
    whole(world, id, |world| change(world, call, id, &json!({ SCHEDULE: given })))?;
    Ok(Answer::ok(left(world, id).get(SCHEDULE).cloned().unwrap_or_else(|| json!({ "rules": [] }))))
}

/// What was scheduled stays a draft.
fn unschedule(world: &mut World, call: &Call, id: &str) -> Outcome {
    let envelope = envelope_mut(world, id);
    only_of_a_draft(envelope, "the workflow")?;
    if envelope.workflow.as_ref().is_none_or(|own| own.sending.is_none()) {
        return Err(no_such_workflow());
    }
    envelope.modified = call.now;
    let workflow = envelope.workflow.take();
    envelope.workflow = workflow.and_then(|own| Workflow { sending: None, ..own }.unless_empty());
    Ok(Answer::empty(StatusCode::OK))
}
