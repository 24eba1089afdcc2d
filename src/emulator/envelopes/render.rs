//! Envelopes, recipients and tabs as the vendor shows them: text for every value, UTC times with
//! seven digits, relative addresses.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    filling,
    model::{Envelope, Fields, File, Kind, Purge, RADIOS, Recipient, Status, Tab, text},
    progress,
    recipients::Draft,
    settings, tabs,
};
use crate::emulator::{http::vendor_time, state::World};

/// What a reader asks to see beside the envelope itself.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of the vendor's `include` list")]
pub(in crate::emulator) struct Include {
    /// `custom_fields`.
    pub custom_fields: bool,
    /// `documents`.
    pub documents: bool,
    /// `folders`, which differ by who reads.
    pub folders: bool,
    /// `notifications`, which templates take.
    pub notifications: bool,
    /// `recipients`.
    pub recipients: bool,
    /// `tabs`, within recipients.
    pub tabs: bool,
    /// `workflow`.
    pub workflow: bool,
}

impl Include {
    /// Reads a comma-separated list.
    pub(in crate::emulator) fn parse(list: &str) -> Self {
        let has = |name: &str| list.split(',').any(|item| item.trim().eq_ignore_ascii_case(name));
        Self {
            custom_fields: has("custom_fields"),
            documents: has("documents"),
            folders: has("folders"),
            notifications: has("notifications"),
            recipients: has("recipients") || has("tabs"),
            tabs: has("tabs"),
            workflow: has("workflow"),
        }
    }
}

/// The envelope.
pub(in crate::emulator) fn envelope(world: &World, envelope: &Envelope, include: Include) -> Value {
    let mut fields = settings::envelope_defaults();
    fields.extend(envelope.given.clone());
    fields.extend(head(envelope));
    fields.extend(addresses(&envelope.id));
    fields.insert("sender".to_owned(), sender(world, envelope));
    for (status, at) in &envelope.reached {
        fields.insert(format!("{status}DateTime"), json!(vendor_time(*at)));
    }
    if let Some(sent) = envelope.reached.get("sent") {
        fields.insert("initialSentDateTime".to_owned(), json!(vendor_time(*sent)));
    }
    if let Some(reason) = &envelope.voided_reason {
        fields.insert("voidedReason".to_owned(), json!(reason));
    }
    if let Some(transaction) = &envelope.transaction {
        fields.insert("transactionId".to_owned(), json!(transaction));
    }
    if include.custom_fields {
        fields.insert("customFields".to_owned(), custom_fields(&envelope.custom_fields));
    }
    if include.recipients {
        let all: Vec<&Recipient> = envelope.recipients.iter().collect();
        fields.insert("recipients".to_owned(), recipients(&all, envelope.current_order(), include.tabs));
    }
    if include.documents {
        fields.insert("envelopeDocuments".to_owned(), Value::Array(documents(envelope)));
    }
    if include.workflow
        && let Some(workflow) = &envelope.workflow
    {
        fields.insert("workflow".to_owned(), workflow.shown());
    }
    Value::Object(fields)
}

/// Custom fields: both lists, also where there is nothing in them.
pub(in crate::emulator) fn custom_fields(known: &Fields) -> Value {
    let mut fields = known.clone();
    for list in ["textCustomFields", "listCustomFields"] {
        fields.entry(list).or_insert_with(|| json!([]));
    }
    Value::Object(fields)
}

fn head(envelope: &Envelope) -> Fields {
    let mut fields = object(json!({
        "envelopeId": envelope.id,
        "status": envelope.status.name(),
        "emailSubject": envelope.subject,
        "createdDateTime": vendor_time(envelope.created),
        "lastModifiedDateTime": vendor_time(envelope.modified),
        "statusChangedDateTime": vendor_time(envelope.changed),
        "envelopeLocation": "current_site",
        "hasComments": "false",
        "hasFormDataChanged": envelope.has_form_data_changed().to_string(),
        "is21CFRPart11": "false",
        "isDynamicEnvelope": "false",
        "isSignatureProviderEnvelope": "false",
        "purgeState": envelope.purge.name(),
    }));
    if !envelope.blurb.is_empty() {
        fields.insert("emailBlurb".to_owned(), json!(envelope.blurb));
    }
    if let Purge::Queued { since, .. } = envelope.purge {
        fields.insert("purgeRequestDate".to_owned(), json!(vendor_time(since)));
    }
    let expirations = envelope.notification.get("expirations");
    fields.insert("expireEnabled".to_owned(), json!(envelope.expires.is_some().to_string()));
    if let Some(expires) = envelope.expires {
        fields.insert("expireDateTime".to_owned(), json!(vendor_time(expires)));
        fields.insert(
            "expireAfter".to_owned(),
            json!(expirations.and_then(|e| e["expireAfter"].as_str()).unwrap_or("120")),
        );
    }
    fields
}

fn addresses(id: &str) -> Fields {
    object(json!({
        "envelopeUri": format!("/envelopes/{id}"),
        "attachmentsUri": format!("/envelopes/{id}/attachments"),
        "certificateUri": format!("/envelopes/{id}/documents/certificate"),
        "customFieldsUri": format!("/envelopes/{id}/custom_fields"),
        "documentsCombinedUri": format!("/envelopes/{id}/documents/combined"),
        "documentsUri": format!("/envelopes/{id}/documents"),
        "notificationUri": format!("/envelopes/{id}/notification"),
        "recipientsUri": format!("/envelopes/{id}/recipients"),
        "templatesUri": format!("/envelopes/{id}/templates"),
    }))
}

/// The sender, as an account user.
pub(in crate::emulator) fn sender(world: &World, envelope: &Envelope) -> Value {
    let email =
        world.directory.users.get(&envelope.sender).map(|user| user.email.clone()).unwrap_or_default();
    json!({
        "userName": progress::sender_name(world, envelope),
        "userId": envelope.sender,
        "accountId": envelope.account,
        "email": email,
    })
}

/// The documents of an envelope, and the certificate once there is one.
pub(in crate::emulator) fn documents(envelope: &Envelope) -> Vec<Value> {
    let mut all: Vec<Value> = envelope
        .documents
        .iter()
        .map(|file| {
            let mut row = document_row(file, &format!("/envelopes/{}", envelope.id));
            row["sizeBytes"] = json!(file.bytes.len().to_string());
            document(settings::document_defaults(&envelope.given), &file.given, row)
        })
        .collect();
    if envelope.status != Status::Created {
        let certificate = json!({
            "documentId": "certificate",
            "documentIdGuid": envelope.id,
            "name": "Summary",
            "type": "summary",
            "uri": format!("/envelopes/{}/documents/certificate", envelope.id),
            "order": "999",
        });
        all.push(document(settings::document_defaults(&Fields::new()), &Fields::new(), certificate));
    }
    all
}

/// A document in the list of those of an envelope or a template, which is at that address (SPEC: envelopeDocument).
pub(in crate::emulator) fn document_row(file: &File, of: &str) -> Value {
    let pages: Vec<Value> =
        (1..=file.text.pages.len()).map(|n| json!({ "sequence": n.to_string() })).collect();
    json!({
        "documentId": file.id,
        "documentIdGuid": file.guid,
        "name": file.name,
        "type": "content",
        "uri": format!("{of}/documents/{}", file.id),
        "order": file.order.to_string(),
        "pages": pages,
    })
}

/// A row of the list of documents: what was sent of it, else these defaults, and what is the same in every row.
fn document(mut fields: Fields, given: &Fields, row: Value) -> Value {
    fields.extend(given.clone());
    fields.extend(object(row));
    fields
        .insert("availableDocumentTypes".to_owned(), json!([{ "type": "electronic", "isDefault": "true" }]));
    Value::Object(fields)
}

/// The lists of a `recipients` object, with nobody in them: also of kinds that are not played.
pub(in crate::emulator) fn recipient_lists() -> Fields {
    let names = [
        "signers",
        "agents",
        "editors",
        "intermediaries",
        "carbonCopies",
        "certifiedDeliveries",
        "inPersonSigners",
        "seals",
        "witnesses",
        "notaries",
    ];
    names.into_iter().map(|list| (list.to_owned(), json!([]))).collect()
}

impl Envelope {
    /// `currentRoutingOrder`: that of who has the turn, else of who declined, else the last that was reached (SPEC: "if
    /// this value equals a particular signer's routing order, it indicates that the envelope has been sent to that
    /// recipient"; of whom nobody signs any more: our reading).
    pub(in crate::emulator) fn current_order(&self) -> u32 {
        let orders = |are: fn(&Recipient) -> bool| {
            self.recipients.iter().filter(move |one| are(one)).map(|one| one.order)
        };
        let in_turn = orders(|one| one.status.is_in_turn()).min();
        let declined = || orders(|one| one.declined.is_some()).min();
        let reached = || orders(|one| one.sent.is_some()).max();
        in_turn.or_else(declined).or_else(reached).or_else(|| orders(|_| true).min()).unwrap_or(1)
    }
}

/// A `recipients` object.
pub(in crate::emulator) fn recipients(all: &[&Recipient], current_order: u32, with_tabs: bool) -> Value {
    let mut lists = recipient_lists();
    for kind in Kind::ALL {
        let of_kind = all.iter().filter(|recipient| recipient.kind == kind);
        let rendered: Vec<Value> = of_kind.map(|one| recipient(one, with_tabs)).collect();
        lists.insert(kind.list().to_owned(), Value::Array(rendered));
    }
    lists.insert("recipientCount".to_owned(), json!(all.len().to_string()));
    lists.insert("currentRoutingOrder".to_owned(), json!(current_order.to_string()));
    Value::Object(lists)
}

/// One recipient.
pub(in crate::emulator) fn recipient(one: &Recipient, with_tabs: bool) -> Value {
    let mut fields = fields_of(one);
    fields.remove("accessCode");
    if let Some(code) = &one.access_code {
        // The sender may read back what it set.
        fields.insert("accessCode".to_owned(), json!(code));
    }
    // In every recipient of the vendor's examples (SPEC: EnvelopeRecipients:list).
    fields.entry("requireIdLookup").or_insert_with(|| json!("false"));
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("recipientIdGuid", json!(one.guid));
    put("recipientType", json!(one.kind.name()));
    put("userId", json!(one.user_id));
    put("status", json!(one.status.name()));
    let signs = one.kind.signs();
    put("completedCount", json!(if signs && one.signed.is_some() { "1" } else { "0" }));
    // Members of those who sign: SPEC has them in no other kind of recipient.
    if signs {
        put("creationReason", json!("sender"));
        put("requireUploadSignature", json!("false"));
    }
    if one.kind == Kind::Signer {
        put("isBulkRecipient", json!("false"));
    }
    put("deliveryMethod", json!(one.delivery_method()));
    put("totalTabCount", json!(one.tabs.len().to_string()));
    let mut time = |name: &str, at: Option<Timestamp>| {
        if let Some(at) = at {
            fields.insert(name.to_owned(), json!(vendor_time(at)));
        }
    };
    time("sentDateTime", one.sent);
    time("deliveredDateTime", one.delivered);
    time("signedDateTime", one.signed);
    time("declinedDateTime", one.declined.as_ref().map(|(at, _)| *at));
    if let Some((_, reason)) = &one.declined {
        fields.insert("declinedReason".to_owned(), json!(reason));
    }
    if !one.authentication.is_empty() {
        fields.insert("recipientAuthenticationStatus".to_owned(), Value::Object(one.authentication.clone()));
    }
    if with_tabs && one.kind.has_tabs() {
        fields.insert("tabs".to_owned(), tabs(one));
    }
    Value::Object(fields)
}

/// The fields of a recipient that a client can set, as it would send them.
pub(in crate::emulator) fn fields_of(one: &Recipient) -> Fields {
    let mut fields = one.given.clone();
    let (name, email) = match one.kind {
        Kind::InPersonSigner => ("signerName", "hostEmail"),
        _ => ("name", "email"),
    };
    for (field, value) in [
        (name, Some(&one.name)),
        (email, Some(&one.email)),
        ("recipientId", Some(&one.id)),
        ("clientUserId", one.client_user_id.as_ref()),
        ("roleName", one.role.as_ref()),
        ("accessCode", one.access_code.as_ref()),
    ] {
        if let Some(value) = value {
            fields.insert(field.to_owned(), json!(value));
        }
    }
    fields.insert("routingOrder".to_owned(), json!(one.order.to_string()));
    fields
}

/// The `tabs` object of a recipient of a template, whose tabs go by these ids.
pub(in crate::emulator) fn tabs_of_draft(draft: &Draft, ids: impl Iterator<Item = String>) -> Value {
    let built: Vec<Tab> = draft.tabs.iter().cloned().zip(ids).map(|(tab, id)| tab.build(id)).collect();
    lists_of(&built, text(&draft.fields, "recipientId").unwrap_or_default(), None)
}

/// A `tabs` object.
pub(in crate::emulator) fn tabs(one: &Recipient) -> Value {
    lists_of(&one.tabs, &one.id, Some(&one.guid))
}

/// The tabs of a recipient of this id, and this GUID, which one of a template does not have.
fn lists_of(all: &[Tab], recipient: &str, guid: Option<&str>) -> Value {
    let mut lists: Map<String, Value> = Map::new();
    for tab in all {
        let mut fields = self::tab(tab, recipient);
        fields.extend(guid.map(|guid| ("recipientIdGuid".to_owned(), json!(guid))));
        if let Value::Array(list) = lists.entry(tab.list.clone()).or_insert_with(|| json!([])) {
            list.push(Value::Object(fields));
        }
    }
    Value::Object(lists)
}

/// What the vendor answers of a tab that was not told it (SPEC: the tabs; of places to sign the field).
fn defaults_of(list: &str) -> &'static [(&'static str, &'static str)] {
    match list {
        "signHereTabs" => {
            &[("name", "SignHere"), ("optional", "false"), ("scaleValue", "1"), ("stampType", "signature")]
        }
        "initialHereTabs" => &[("name", "InitialHere"), ("optional", "false"), ("scaleValue", "1")],
        // Its radios have these.
        RADIOS => &[],
        "checkboxTabs" => &[("locked", "false"), ("required", "false")],
        "listTabs" => &[("locked", "false"), ("required", "true")],
        _ if filling::FILLABLE.contains(&list) => &[
            ("concealValueOnDocument", "false"),
            ("disableAutoSize", "false"),
            ("locked", "false"),
            ("required", "true"),
        ],
        _ => &[],
    }
}

/// One tab of a recipient.
pub(super) fn tab(tab: &Tab, recipient: &str) -> Fields {
    let mut fields = tab.fields.clone();
    for (name, default) in defaults_of(&tab.list) {
        fields.entry(*name).or_insert_with(|| json!(default));
    }
    if tab.list != RADIOS {
        fields.insert("tabId".to_owned(), json!(tab.id));
    }
    fields.insert("recipientId".to_owned(), json!(recipient));
    fields.insert("tabType".to_owned(), json!(tabs::type_of(&tab.list)));
    if !tab.is_signature() && tabs::has_value(&tab.list) {
        fields.insert("value".to_owned(), json!(tab.value));
    }
    if tab.list == "checkboxTabs" {
        fields.insert("selected".to_owned(), json!((!tab.value.is_empty()).to_string()));
    }
    fields
}

fn object(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}
