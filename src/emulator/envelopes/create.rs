//! `POST /envelopes`: from a definition to an envelope.
//!
//! The three ways to describe one (own documents, a template with roles, composite templates) all
//! come to an [`Assembly`]: documents, recipients, and the rest. Nothing is kept of a create that fails.
//!
//! Sources: Envelopes:create in the vendor's reference, how-to/send-binary, rules-and-limits.

use std::{collections::HashMap, sync::Arc};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    Outcome, change, malformed,
    model::{Envelope, Fields, File, Purge, Refusal, Status, invalid, refuse, text},
    progress,
    recipients::{self, Draft, MAX_RECIPIENTS},
};
use crate::emulator::{
    connect,
    http::{Answer, Call, vendor_time},
    multipart,
    pdf::{read, write},
    schema::{self, Body},
    state::World,
    templates::Template,
};

/// Per file by API (rules-and-limits).
const MAX_FILE_BYTES: usize = 32 * 1024 * 1024;
const MAX_SUBJECT: usize = 100;
const MAX_BLURB: usize = 10_000;
/// A transaction id is at least this useful; the vendor's bound is not published.
const MAX_TRANSACTION: usize = 100;

/// The bytes that came beside the JSON, by `documentid`.
type Binaries = HashMap<String, Bytes>;

/// What a definition comes to.
#[derive(Debug, Default)]
struct Assembly {
    documents: Vec<File>,
    recipients: Vec<Draft>,
    subject: Option<String>,
    blurb: Option<String>,
    custom_fields: Vec<Value>,
}

/// Creates an envelope, and sends it if asked to.
pub(super) fn create(world: &mut World, call: &Call) -> Outcome {
    let (definition, binaries) = definition(call)?;
    let fields = definition.as_object().cloned().unwrap_or_default();
    let is_sent = match text(&fields, "status").unwrap_or("created").to_ascii_lowercase().as_str() {
        "created" => false,
        "sent" => true,
        _ => return Err(invalid("The status of a new envelope is 'created' or 'sent'.")),
    };
    let is_asynchronous =
        text(&fields, "asynchronous").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let transaction = text(&fields, "transactionId").map(str::to_owned);
    if is_asynchronous && transaction.is_none() {
        return Err(invalid("An asynchronous envelope needs a transactionId."));
    }
    if transaction.as_ref().is_some_and(|id| id.chars().count() > MAX_TRANSACTION) {
        return Err(invalid("The transactionId is too long."));
    }
    let account = call.account.clone().unwrap_or_default();
    let assembly = assemble(world, &account, &fields, &binaries)?;
    let envelope = build(world, call, &fields, assembly)?;
    let id = envelope.id.clone();
    world.envelopes.envelopes.insert(id.clone(), envelope);
    if is_sent {
        if let Err(refusal) = progress::send(world, &id, call.now) {
            world.envelopes.envelopes.remove(&id);
            return Err(refusal);
        }
    } else {
        connect::emit(world, &id, "envelope-created", None, call.now);
    }
    world.envelopes.order.push(id.clone());
    let status = world.envelopes.envelopes[&id].status.name();
    let answer = if is_asynchronous {
        json!({ "status": "Processing", "statusDateTime": vendor_time(call.now) })
    } else {
        json!({
            "envelopeId": id,
            "uri": format!("/envelopes/{id}"),
            "statusDateTime": vendor_time(call.now),
            "status": status,
        })
    };
    Ok(Answer::json(StatusCode::CREATED, answer))
}

/// The definition, and the files that came with it.
fn definition(call: &Call) -> Result<(Value, Binaries), Refusal> {
    let content_type = call.header("content-type").unwrap_or_default();
    let Some(boundary) = multipart::boundary(content_type) else {
        return Ok((super::body(call, Body::EnvelopeDefinition)?, Binaries::new()));
    };
    let broken = |error: multipart::Malformed| malformed(&format!("Multipart: {error}."));
    let mut parts = multipart::parts(&call.body, &boundary.map_err(broken)?).map_err(broken)?.into_iter();
    let first =
        parts.next().filter(|part| part.media_type.is_empty() || part.media_type == "application/json");
    let first = first.ok_or_else(|| malformed("The first part must be the definition, application/json."))?;
    let definition = schema::parse(Body::EnvelopeDefinition, &call.body[first.content])
        .map_err(|detail| malformed(&detail))?;
    let mut binaries = Binaries::new();
    for part in parts {
        let Some(id) = part.parameters.get("documentid") else {
            return Err(malformed("A part after the first has no documentid in its Content-Disposition."));
        };
        let mut bytes = call.body.slice(part.content.clone());
        if part
            .parameters
            .get("transfer-encoding")
            .is_some_and(|encoding| encoding.eq_ignore_ascii_case("base64"))
        {
            bytes = decode(&bytes)?.into();
        }
        binaries.insert(id.clone(), bytes);
    }
    Ok((definition, binaries))
}

fn assemble(
    world: &mut World,
    account: &str,
    fields: &Fields,
    binaries: &Binaries,
) -> Result<Assembly, Refusal> {
    let composites =
        fields.get("compositeTemplates").and_then(Value::as_array).filter(|list| !list.is_empty());
    if let Some(composites) = composites {
        return from_composites(world, account, &composites.clone(), binaries);
    }
    let mut assembly = Assembly::default();
    if let Some(template) = text(fields, "templateId") {
        let template = template_of(world, account, template)?.clone();
        assembly.take_template(world, &template, 0);
        fill_roles(&mut assembly.recipients, fields.get("templateRoles"))?;
    } else {
        let documents = fields.get("documents").and_then(Value::as_array);
        for document in documents.into_iter().flatten().filter_map(Value::as_object) {
            let file = file_from(world.guid(), document, binaries, 0, assembly.documents.len())?;
            assembly.documents.push(file);
        }
        assembly.recipients = recipients::drafts(fields.get("recipients").unwrap_or(&Value::Null), 0)?;
    }
    let lists = fields.get("customFields").cloned();
    assembly.custom_fields.extend(lists);
    Ok(assembly)
}

/// A template that this account may use.
fn template_of<'a>(world: &'a World, account: &str, id: &str) -> Result<&'a Template, Refusal> {
    // The name of this code circulates; DocuSign publishes none for an unknown template.
    let unknown = || refuse("TEMPLATE_ID_INVALID", "Invalid template ID.");
    let template = world.envelopes.templates.get(&id.to_ascii_lowercase()).ok_or_else(unknown)?;
    if template.account != account {
        return Err(refuse(
            "USER_DOES_NOT_BELONG_TO_SPECIFIED_ACCOUNT",
            "The specified User is not a member of the specified Account. User is not a member of the template's account.",
        ));
    }
    Ok(template)
}

impl Assembly {
    fn take_template(&mut self, world: &mut World, template: &Template, scope: usize) {
        self.take_template_documents(world, template, scope);
        self.recipients.extend(template.drafts(scope));
        self.subject.get_or_insert_with(|| template.subject.clone());
        self.blurb.get_or_insert_with(|| template.blurb.clone());
    }

    fn take_template_documents(&mut self, world: &mut World, template: &Template, scope: usize) {
        let copies = template.documents.iter().map(|file| File { guid: world.guid(), scope, ..file.clone() });
        self.documents.extend(copies.collect::<Vec<_>>());
    }

    /// Adds one composite's part: ids that are taken get new ones, the same person is merged.
    fn merge(&mut self, mut part: Assembly) {
        for file in part.documents {
            let renumbered = self.free_document_id(&file.id);
            for tab in part.recipients.iter_mut().flat_map(|draft| &mut draft.tabs) {
                if tab.scope == file.scope && text(&tab.fields, "documentId") == Some(&file.id) {
                    tab.fields.insert("documentId".to_owned(), json!(renumbered));
                }
            }
            self.documents.push(File { id: renumbered, ..file });
        }
        for draft in part.recipients {
            if let Some(known) = self.recipients.iter_mut().find(|known| is_same_person(known, &draft)) {
                known.tabs.extend(draft.tabs);
                continue;
            }
            self.add_recipient(draft);
        }
        self.custom_fields.extend(part.custom_fields);
        self.subject = self.subject.take().or(part.subject);
        self.blurb = self.blurb.take().or(part.blurb);
    }

    fn free_document_id(&self, wanted: &str) -> String {
        let is_taken = |id: &str| self.documents.iter().any(|file| file.id == id);
        if !is_taken(wanted) {
            return wanted.to_owned();
        }
        first_free(is_taken)
    }

    fn add_recipient(&mut self, mut draft: Draft) {
        let is_taken =
            |id: &str| self.recipients.iter().any(|known| text(&known.fields, "recipientId") == Some(id));
        if text(&draft.fields, "recipientId").is_some_and(is_taken) {
            let free = first_free(is_taken);
            draft.fields.insert("recipientId".to_owned(), json!(free));
        }
        self.recipients.push(draft);
    }
}

/// The first number that is not taken; definitions are far smaller than the range.
fn first_free(is_taken: impl Fn(&str) -> bool) -> String {
    (1..u32::MAX).map(|n| n.to_string()).find(|id| !is_taken(id)).unwrap_or_default()
}

fn is_same_person(known: &Draft, other: &Draft) -> bool {
    let same = |name: &str| text(&known.fields, name) == text(&other.fields, name);
    known.kind == other.kind
        && same("name")
        && same("email")
        && same("clientUserId")
        && text(&known.fields, "email").is_some()
        && (same("recipientId") || same("roleName"))
}

fn from_composites(
    world: &mut World,
    account: &str,
    composites: &[Value],
    binaries: &Binaries,
) -> Result<Assembly, Refusal> {
    let mut whole = Assembly::default();
    for (index, composite) in composites.iter().enumerate() {
        let part = from_composite(world, account, composite, binaries, index + 1)?;
        whole.merge(part);
    }
    Ok(whole)
}

fn from_composite(
    world: &mut World,
    account: &str,
    composite: &Value,
    binaries: &Binaries,
    scope: usize,
) -> Result<Assembly, Refusal> {
    let mut part = Assembly::default();
    for server in in_sequence(&composite["serverTemplates"]) {
        let template =
            template_of(world, account, server["templateId"].as_str().unwrap_or_default())?.clone();
        part.take_template(world, &template, scope);
    }
    for inline in in_sequence(&composite["inlineTemplates"]) {
        overlay(&mut part.recipients, recipients::drafts(&inline["recipients"], scope)?);
        part.custom_fields.extend(inline.get("customFields").cloned());
        for document in inline["documents"].as_array().into_iter().flatten().filter_map(Value::as_object) {
            let file = file_from(world.guid(), document, binaries, scope, part.documents.len())?;
            part.documents.push(file);
        }
        if let Some(subject) =
            inline["envelope"]["emailSubject"].as_str().filter(|subject| !subject.is_empty())
        {
            part.subject = Some(subject.to_owned());
        }
    }
    // A composite's own document takes the place of its templates' documents.
    if let Some(document) = composite["document"].as_object() {
        part.documents = vec![file_from(world.guid(), document, binaries, scope, 0)?];
    }
    Ok(part)
}

fn in_sequence(list: &Value) -> Vec<Value> {
    let mut items: Vec<Value> = list.as_array().cloned().unwrap_or_default();
    items.sort_by_key(|item| {
        item["sequence"].as_str().and_then(|n| n.trim().parse::<u32>().ok()).unwrap_or(u32::MAX)
    });
    items
}

/// Lays recipients of an inline template over those of the server templates, by role or by id.
fn overlay(base: &mut Vec<Draft>, over: Vec<Draft>) {
    for draft in over {
        let role = text(&draft.fields, "roleName").map(str::to_lowercase);
        let by_role = base.iter().position(|known| {
            role.is_some() && text(&known.fields, "roleName").map(str::to_lowercase) == role
        });
        let id = text(&draft.fields, "recipientId");
        let by_id = || base.iter().position(|known| id.is_some() && text(&known.fields, "recipientId") == id);
        match by_role.or_else(by_id) {
            Some(index) => lay_over(&mut base[index], draft),
            None => base.push(draft),
        }
    }
}

fn lay_over(base: &mut Draft, over: Draft) {
    let template_id = base.fields.get("recipientId").cloned();
    base.fields.extend(over.fields.into_iter().filter(|(_, value)| !value.is_null()));
    // Template tabs belong to the template's recipient id, which therefore stays.
    if let Some(id) = template_id {
        base.fields.insert("recipientId".to_owned(), id);
    }
    for tab in over.tabs {
        let label = text(&tab.fields, "tabLabel").map(str::to_owned);
        let known = base.tabs.iter_mut().find(|known| {
            known.list == tab.list && label.is_some() && text(&known.fields, "tabLabel") == label.as_deref()
        });
        match known {
            Some(known) => known.fields.extend(tab.fields.into_iter().filter(|(_, value)| !value.is_null())),
            None => base.tabs.push(tab),
        }
    }
}

/// Fills the roles of a template.
fn fill_roles(base: &mut Vec<Draft>, roles: Option<&Value>) -> Result<(), Refusal> {
    let roles = roles.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
    let mut over = Vec::new();
    for role in roles {
        if text(role, "roleName").is_none() {
            return Err(invalid("Every entry of templateRoles needs a roleName."));
        }
        let mut fields = role.clone();
        // A role cannot carry an identity check: that needs a composite template.
        fields.remove("identityVerification");
        let tabs = super::tabs::drafts(fields.remove("tabs").as_ref(), 0);
        over.push(Draft { kind: super::model::Kind::Signer, fields, tabs });
    }
    overlay(base, over);
    // A role that the template does not have becomes a signer of its own, without tabs.
    for (index, draft) in base.iter_mut().enumerate() {
        if text(&draft.fields, "recipientId").is_none() {
            draft.fields.insert("recipientId".to_owned(), json!((100 + index).to_string()));
        }
    }
    Ok(())
}

fn build(world: &mut World, call: &Call, fields: &Fields, assembly: Assembly) -> Result<Envelope, Refusal> {
    let account = call.account.clone().unwrap_or_default();
    let sender = call.user.clone().unwrap_or_default();
    check_ids(&assembly)?;
    let subject = text(fields, "emailSubject").map(str::to_owned).or(assembly.subject).unwrap_or_default();
    let blurb = text(fields, "emailBlurb").map(str::to_owned).or(assembly.blurb).unwrap_or_default();
    check_words(&subject, &blurb)?;
    let mut custom_fields = Fields::new();
    for lists in assembly.custom_fields {
        change::merge_custom_fields(world, &mut custom_fields, &lists)?;
    }
    let notification = notification(fields.get("notification"))?;
    let hooks = hooks(world, fields.get("eventNotification"))?;
    let mut built = Vec::new();
    for draft in assembly.recipients {
        built.push(recipients::build(world, &account, &sender, draft)?);
    }
    let brand = text(fields, "brandId").map(|brand| ("brandId".to_owned(), json!(brand)));
    let mut envelope = Envelope {
        id: world.guid(),
        account,
        sender,
        status: Status::Created,
        changed: call.now,
        modified: call.now,
        created: call.now,
        reached: std::collections::BTreeMap::new(),
        expires: None,
        voided_reason: None,
        subject,
        blurb,
        transaction: text(fields, "transactionId").map(str::to_owned),
        custom_fields,
        notification,
        documents: assembly.documents,
        recipients: built,
        hooks,
        purge: Purge::Unpurged,
        audit: Vec::new(),
        given: brand.into_iter().collect(),
    };
    let name = progress::sender_name(world, &envelope);
    envelope.note(call.now, &name, "Registered", "The envelope was created.");
    Ok(envelope)
}

fn check_ids(assembly: &Assembly) -> Result<(), Refusal> {
    if assembly.recipients.len() > MAX_RECIPIENTS {
        return Err(invalid("An envelope has at most 100 recipients."));
    }
    let mut seen = std::collections::HashSet::new();
    if !assembly
        .recipients
        .iter()
        .all(|draft| seen.insert(text(&draft.fields, "recipientId").unwrap_or_default()))
    {
        return Err(refuse(
            "INVALID_RECIPIENT_ID",
            "Invalid recipient specified. Every recipient of an envelope needs a recipientId of its own.",
        ));
    }
    let mut seen = std::collections::HashSet::new();
    if !assembly.documents.iter().all(|file| seen.insert(file.id.as_str())) {
        return Err(invalid("Every document of an envelope needs a documentId of its own."));
    }
    Ok(())
}

/// The limits of the texts in the invitation.
pub(super) fn check_words(subject: &str, blurb: &str) -> Result<(), Refusal> {
    if subject.chars().count() > MAX_SUBJECT {
        return Err(invalid("The emailSubject is longer than 100 characters."));
    }
    if blurb.chars().count() > MAX_BLURB {
        return Err(invalid("The emailBlurb is longer than 10000 characters."));
    }
    Ok(())
}

/// The `notification` with the account's defaults for what was not sent.
pub(super) fn notification(given: Option<&Value>) -> Result<Fields, Refusal> {
    let mut expirations = json!({ "expireEnabled": "true", "expireAfter": "120", "expireWarn": "0" });
    let mut reminders = json!({ "reminderEnabled": "false", "reminderDelay": "0", "reminderFrequency": "0" });
    let given = given.and_then(Value::as_object);
    let uses_defaults = given
        .and_then(|given| text(given, "useAccountDefaults"))
        .is_some_and(|v| v.eq_ignore_ascii_case("true"));
    if let Some(given) = given.filter(|_| !uses_defaults) {
        for (name, target) in [("expirations", &mut expirations), ("reminders", &mut reminders)] {
            for (field, value) in given.get(name).and_then(Value::as_object).into_iter().flatten() {
                target[field.as_str()] = value.clone();
            }
        }
        let days = expirations["expireAfter"].as_str().and_then(|days| days.trim().parse::<u32>().ok());
        let is_enabled =
            expirations["expireEnabled"].as_str().is_some_and(|v| v.eq_ignore_ascii_case("true"));
        if is_enabled && !days.is_some_and(|days| (1..=999).contains(&days)) {
            return Err(invalid("expireAfter must be a number of days from 1 to 999."));
        }
    }
    let mut fields = Fields::new();
    fields.insert("useAccountDefaults".to_owned(), json!(uses_defaults.to_string()));
    fields.insert("expirations".to_owned(), expirations);
    fields.insert("reminders".to_owned(), reminders);
    Ok(fields)
}

/// When an envelope that is sent at `sent` ends by itself.
pub(super) fn expiry(notification: &Fields, sent: Timestamp) -> Option<Timestamp> {
    let expirations = notification.get("expirations")?;
    if !expirations["expireEnabled"].as_str()?.eq_ignore_ascii_case("true") {
        return None;
    }
    let days: i64 = expirations["expireAfter"].as_str()?.trim().parse().ok()?;
    sent.checked_add(SignedDuration::from_hours(24 * days)).ok()
}

fn hooks(world: &mut World, given: Option<&Value>) -> Result<Vec<(u64, Value)>, Refusal> {
    let Some(given) = given.filter(|given| given.is_object()) else { return Ok(Vec::new()) };
    let address = given["url"].as_str().unwrap_or_default();
    let is_sane = url::Url::parse(address)
        .is_ok_and(|url| url.scheme() == "https" || (url.scheme() == "http" && connect::is_loopback(&url)));
    if !is_sane {
        return Err(invalid(
            "The url of eventNotification must be an https address (plain http only on loopback, at this emulator).",
        ));
    }
    world.envelopes.next_hook += 1;
    Ok(vec![(world.envelopes.next_hook, given.clone())])
}

/// A document from its description and bytes: read, and converted if it is text.
pub(in crate::emulator) fn file_from(
    guid: String,
    fields: &Fields,
    binaries: &Binaries,
    scope: usize,
    index: usize,
) -> Result<File, Refusal> {
    let id = text(fields, "documentId").unwrap_or_default();
    if !id.parse::<u32>().is_ok_and(|id| (1..=2_147_483_647).contains(&id)) {
        return Err(invalid("A documentId is a positive whole number, and every document has one."));
    }
    let name = text(fields, "name").unwrap_or("Document");
    let bytes = match (binaries.get(id), text(fields, "documentBase64")) {
        (Some(bytes), _) => bytes.clone(),
        (None, Some(encoded)) => decode(encoded.as_bytes())?.into(),
        (None, None) => match fields.get("htmlDefinition").and_then(|html| html["source"].as_str()) {
            Some(html) => write::from_html(name, html).into(),
            None => return Err(unable(name, "It has no content.")),
        },
    };
    if bytes.len() > MAX_FILE_BYTES {
        return Err(unable(name, "It is larger than 32 MB."));
    }
    let bytes = to_pdf(name, text(fields, "fileExtension"), bytes)?;
    let read = read::read(&bytes).map_err(|error| match error {
        read::Unreadable::Encrypted => refuse(
            "UNSUPPORTED_PDF_CONTENT",
            format!("The PDF document '{name}' contains content that is not supported: it is protected by a password."),
        ),
        read::Unreadable::Garbage => unable(name, "It is not a readable PDF."),
        read::Unreadable::TooLarge => unable(name, "It is too large when it is unpacked."),
    })?;
    let order = text(fields, "order").and_then(|order| order.parse().ok());
    let order = order.unwrap_or_else(|| u32::try_from(index + 1).unwrap_or(u32::MAX));
    Ok(File { id: id.to_owned(), guid, name: name.to_owned(), order, bytes, text: Arc::new(read), scope })
}

fn unable(name: &str, why: &str) -> Refusal {
    refuse("UNABLE_TO_LOAD_DOCUMENT", format!("Unable to load the document. Document: '{name}'. {why}"))
}

fn to_pdf(name: &str, extension: Option<&str>, bytes: Bytes) -> Result<Bytes, Refusal> {
    let by_name =
        name.rsplit_once('.').map(|(_, end)| end).filter(|end| ["txt", "htm", "html"].contains(end));
    let extension = extension.or(by_name).unwrap_or("pdf").trim_start_matches('.').to_ascii_lowercase();
    let words = || String::from_utf8_lossy(&bytes).into_owned();
    match extension.as_str() {
        "pdf" => Ok(bytes),
        "txt" | "text" | "csv" | "md" => Ok(write::from_text(name, &words()).into()),
        "htm" | "html" => Ok(write::from_html(name, &words()).into()),
        _ => Err(unable(name, "The emulator converts txt and html; the vendor would convert this one too.")),
    }
}

/// Base64 with or without padding, line breaks ignored.
fn decode(encoded: &[u8]) -> Result<Vec<u8>, Refusal> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let dense: Vec<u8> = encoded.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    GeneralPurpose::new(&alphabet::STANDARD, config).decode(dense).map_err(|_| {
        refuse("UNABLE_TO_LOAD_DOCUMENT", "Unable to load the document. The content is not base64.")
    })
}
