//! Whether the copies of a list fit a draft or a template, and the envelopes that come of both.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::list::{List, called};
use crate::emulator::{
    envelopes::{
        access::Part,
        assembly::{Assembly, assemble},
        create,
        files::Uploads,
        filling,
        model::{Envelope, Fields, Refusal, Status, Tab, objects, refuse, text},
        overlay::name_of,
        reach,
        recipients::{self, Draft},
        refused::says_something,
        render, tabs,
        workflow::Workflow,
    },
    http::Call,
    state::World,
};

/// How the address of a placeholder begins, for which every copy names somebody (SDK: eg031).
const PLACEHOLDER: &str = "multibulkrecipients-";
/// The custom field by which a copy tells its batch.
const BATCH_FIELD: &str = "BulkBatchId";

/// What copies are made of.
pub(super) struct Source {
    assembly: Assembly,
    /// What a definition says beside it.
    fields: Fields,
    /// Taken over as it is: a date in it may have passed since, and then nothing is put off.
    workflow: Option<Workflow>,
    places: Places,
}

impl Source {
    fn new(assembly: Assembly, fields: Fields, workflow: Option<Workflow>) -> Self {
        let places = Places::of(&assembly.recipients);
        Self { assembly, fields, workflow, places }
    }
}

/// Where in a source the first recipient of each role, in lower case, and of each id is.
#[derive(Default)]
struct Places {
    by_role: HashMap<String, usize>,
    by_id: HashMap<String, usize>,
}

impl Places {
    fn of(drafts: &[Draft]) -> Self {
        let mut places = Self::default();
        for (place, draft) in drafts.iter().enumerate() {
            if let Some(role) = text(&draft.fields, "roleName") {
                places.by_role.entry(role.to_lowercase()).or_insert(place);
            }
            if let Some(id) = text(&draft.fields, "recipientId") {
                places.by_id.entry(id.to_owned()).or_insert(place);
            }
        }
        places
    }

    /// The place of whom a recipient of a copy means: by its role, else by its id.
    fn find(&self, one: &Fields) -> Option<usize> {
        match text(one, "roleName") {
            Some(role) => self.by_role.get(&role.to_lowercase()),
            None => self.by_id.get(text(one, "recipientId")?),
        }
        .copied()
    }
}

/// The draft or the template of this id, if the caller may send it.
pub(super) fn source(world: &mut World, call: &Call, id: Option<&str>) -> Result<Source, Refusal> {
    let Some(id) = id else {
        return Err(refuse(
            "BULK_SEND_ENVELOPE_CANNOT_BE_NULL",
            "Cannot send a bulk list without an envelope.",
        ));
    };
    let (key, account) = (id.to_ascii_lowercase(), call.account.clone().unwrap_or_default());
    let not_found = || {
        refuse(
            "BULK_SEND_ENVELOPE_NOT_FOUND",
            format!("Envelope {id} does not exist or you do not have permission to access it."),
        )
    };
    let (source, is_draft) = if let Some(envelope) = world.envelopes.envelopes.get(&key) {
        if envelope.account != account || !matches!(Part::of(world, call, envelope), Part::Sender) {
            return Err(not_found());
        }
        (of_draft(envelope), envelope.status == Status::Created)
    } else {
        let template = world.envelopes.templates.get(&key);
        let template = template.filter(|template| template.account == account).ok_or_else(not_found)?;
        let mut fields = Fields::new();
        fields.insert("templateId".to_owned(), json!(template.id));
        let assembly = assemble(world, &account, &fields, &Uploads::default())?;
        (Source::new(assembly, Fields::new(), None), true)
    };
    if !is_draft || source.assembly.documents.is_empty() {
        return Err(refuse(
            "BULK_SEND_ENVELOPE_NOT_IN_SENDABLE_STATE",
            format!("Envelope {id} is not in a sendable state. The envelope is not complete."),
        ));
    }
    Ok(source)
}

/// A draft, as the definition of another one.
fn of_draft(draft: &Envelope) -> Source {
    let recipients = draft.recipients.iter().map(|one| Draft {
        kind: one.kind,
        fields: render::fields_of(one),
        tabs: one.tabs.iter().map(Tab::draft).collect(),
    });
    let assembly = Assembly {
        documents: draft.documents.clone(),
        recipients: recipients.collect(),
        subject: Some(draft.subject.clone()),
        blurb: Some(draft.blurb.clone()),
        custom_fields: vec![Value::Object(draft.custom_fields.clone())],
        notification: Some(draft.notification.clone()),
        settings: draft.given.clone(),
        inline: Vec::new(),
    };
    let hooks = draft.hooks.iter().map(|(_, hook)| hook.clone()).collect();
    let mut fields = Fields::new();
    fields.insert("eventNotifications".to_owned(), Value::Array(hooks));
    Source::new(assembly, fields, draft.workflow.clone())
}

/// Whether every copy must say who this is.
fn is_open(draft: &Draft) -> bool {
    let email = text(&draft.fields, "email").or_else(|| text(&draft.fields, "hostEmail"));
    email.is_none_or(|email| email.to_lowercase().starts_with(PLACEHOLDER))
}

fn tabs_of(one: &Fields) -> impl Iterator<Item = (&str, &str)> {
    objects(one.get("tabs"))
        .filter_map(|tab| Some((text(tab, "tabLabel")?, tab.get("initialValue")?.as_str()?)))
}

/// The custom fields of a source, whatever their kind.
fn custom_fields(assembly: &Assembly) -> impl Iterator<Item = &Fields> {
    let lists = assembly.custom_fields.iter().filter_map(Value::as_object).flat_map(Fields::values);
    lists.filter_map(Value::as_array).flatten().filter_map(Value::as_object)
}

/// Why the list cannot be sent with this, each reason once, in the vendor's words (createBulkSendRequest).
pub(super) fn misfits(source: &Source, list: &List) -> Vec<Refusal> {
    let (mut reasons, mut seen) = (Vec::new(), HashSet::new());
    if list.copies.is_empty() {
        reasons.push(refuse(
            "BULK_SEND_ENVELOPE_LIST_CONTAINS_NO_COPIES",
            "Cannot send an envelope with a bulk sending list which contains no copies.",
        ));
    }
    if source.assembly.recipients.is_empty() {
        reasons.push(refuse(
            "BULK_SEND_ENVELOPE_HAS_NO_RECIPIENTS",
            "Bulk sending copy contains recipients, but the specified envelope does not.",
        ));
        return reasons;
    }
    for copy in &list.copies {
        for reason in misfits_of_people(source, copy).into_iter().chain(misfits_of_fields(source, copy)) {
            if seen.insert((reason.code, reason.message.clone())) {
                reasons.push(reason);
            }
        }
    }
    reasons
}

fn misfits_of_people(source: &Source, copy: &Value) -> Vec<Refusal> {
    let (mut reasons, drafts) = (Vec::new(), &source.assembly.recipients);
    let by_role = objects(copy.get("recipients")).any(|one| text(one, "roleName").is_some());
    let no_role = |role: &str| {
        refuse("BULK_SEND_RECIPIENT_ROLE_DOES_NOT_MATCH", format!("Recipient Role {role} does not match."))
    };
    let mut named = HashSet::new();
    for one in objects(copy.get("recipients")) {
        let Some(place) = source.places.find(one) else {
            let id = called(one);
            reasons.push(if by_role {
                no_role(id)
            } else {
                refuse(
                    "BULK_SEND_RECIPIENT_ID_DOES_NOT_EXIST_IN_ENVELOPE",
                    format!("Recipient {id} does not exist in the envelope."),
                )
            });
            continue;
        };
        named.insert(place);
        let tabs = &drafts[place].tabs;
        let missing = tabs_of(one).filter(|(label, _)| !tabs.iter().any(|tab| name_of(tab) == Some(*label)));
        reasons.extend(missing.map(|(label, _)| {
            refuse(
                "BULK_SEND_TAB_LABEL_DOES_NOT_EXIST_IN_ENVELOPE",
                format!("Tab with label {label} does not exist in envelope."),
            )
        }));
    }
    let others = drafts.iter().enumerate().filter(|(place, _)| !named.contains(place));
    for (_, draft) in others.filter(|(_, draft)| is_open(draft)) {
        let id = text(&draft.fields, "recipientId").unwrap_or_default();
        reasons.push(if by_role {
            no_role(text(&draft.fields, "roleName").unwrap_or(id))
        } else {
            refuse("BULK_SEND_RECIPIENT_ID_DOES_NOT_MATCH", format!("Recipient ID {id} does not match."))
        });
    }
    reasons
}

fn misfits_of_fields(source: &Source, copy: &Value) -> Vec<Refusal> {
    let is_known = |name: &str| custom_fields(&source.assembly).any(|own| text(own, "name") == Some(name));
    let named = objects(copy.get("customFields")).filter_map(|field| text(field, "name"));
    let unknown = named.filter(|name| !is_known(name));
    unknown
        .map(|name| {
            refuse(
                "BULK_SEND_ENVELOPE_CUSTOM_FIELD_DOES_NOT_EXIST_IN_ENVELOPE",
                format!("Custom field {name} does not exist in the envelope."),
            )
        })
        .collect()
}

/// What a create would refuse of the people of a list, each reason once, in its words. None of it keeps a list from being
/// sent: such a copy fails.
pub(super) fn refusals(world: &World, call: &Call, source: &Source, list: &List) -> Vec<Refusal> {
    let account = call.account.as_deref().unwrap_or_default();
    let mut reasons = Vec::new();
    for one in list.copies.iter().flat_map(|copy| objects(copy.get("recipients"))) {
        let Some(place) = source.places.find(one) else { continue };
        let known = &source.assembly.recipients[place];
        // A copy says nothing of tabs that could be refused here.
        let mut draft = Draft { kind: known.kind, fields: known.fields.clone(), tabs: Vec::new() };
        name_person(&mut draft, one);
        let checked = recipients::check_draft(world, account, &draft);
        let checked = checked.and_then(|()| reach::check_fields(draft.kind, &draft.fields));
        if let Err(reason) = checked
            && !reasons.contains(&reason)
        {
            reasons.push(reason);
        }
    }
    reasons
}

/// Makes and sends one copy: the id of the envelope.
pub(super) fn make(
    world: &mut World,
    call: &Call,
    source: &Source,
    copy: &Value,
    batch: &str,
) -> Result<String, Refusal> {
    let (mut assembly, mut fields) = (source.assembly.clone(), source.fields.clone());
    for name in ["emailSubject", "emailBlurb"] {
        if let Some(words) = copy[name].as_str().filter(|words| !words.is_empty()) {
            fields.insert(name.to_owned(), json!(words));
        }
    }
    for file in &mut assembly.documents {
        file.guid = world.guid();
    }
    for one in objects(copy.get("recipients")) {
        if let Some(place) = source.places.find(one) {
            name_person(&mut assembly.recipients[place], one);
        }
    }
    let own = assembly.custom_fields.iter_mut().filter_map(Value::as_object_mut);
    let own = own.flat_map(Fields::values_mut).filter_map(Value::as_array_mut).flatten();
    for known in own {
        let same = objects(copy.get("customFields")).find(|field| field.get("name") == known.get("name"));
        if let Some(value) = same.and_then(|field| field.get("value")) {
            known["value"] = value.clone();
        }
    }
    assembly.custom_fields.push(json!({ "textCustomFields": [{ "name": BATCH_FIELD, "value": batch }] }));
    let mut envelope = create::build(world, call, &fields, assembly)?;
    envelope.workflow = source.workflow.as_ref().map(|workflow| workflow.anew(world));
    create::enter(world, envelope, true, call.now)
}

/// Puts a person of a copy in the place of one of the source.
fn name_person(draft: &mut Draft, one: &Fields) {
    let said = one.iter().filter(|(name, value)| {
        !["recipientId", "roleName", "tabs"].contains(&name.as_str())
            && recipients::is_open(&draft.fields, name)
            && says_something(value)
    });
    let said: Fields = said.map(|(name, value)| (name.clone(), value.clone())).collect();
    recipients::leave_check(&mut draft.fields, &said);
    reach::leave_address(&mut draft.fields, &said);
    draft.fields.extend(said);
    for (label, value) in tabs_of(one) {
        for tab in draft.tabs.iter_mut().filter(|tab| name_of(tab) == Some(label)) {
            if filling::is_true(&tab.fields, tabs::LOCKED) {
                continue;
            }
            if tab.list == "checkboxTabs" {
                let is_ticked = ["true", "X"].iter().any(|word| value.eq_ignore_ascii_case(word));
                tab.fields.insert("selected".to_owned(), json!(is_ticked.to_string()));
                continue;
            }
            filling::lay_over(&mut tab.fields, "value", json!(value));
            for radio in tabs::radios(&mut tab.fields) {
                let is_chosen = text(radio, "value") == Some(value);
                radio.insert("selected".to_owned(), json!(is_chosen.to_string()));
            }
        }
    }
}
