//! Server templates: two that a fresh start has, and those that a client makes.
//!
//! Source: developers.docusign.com, eSignature REST API, "Templates". Listing, reading and creating are here; what can be
//! changed of one is in [`change`], and sharing templates is nowhere.

use std::collections::HashMap;

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

mod change;
mod stock;

pub(super) use self::{
    change::delete,
    stock::{TEMPLATE, TEMPLATE_ROLE, stock},
};
use super::{
    connect,
    envelopes::{
        self, Draft, Outcome, lengths,
        model::{Fields, File, Refusal, invalid, missing, no_such_recipient, objects, text},
        refused,
        render::{self, Include},
    },
    http::{Answer, Call, vendor_time},
    paging,
    pdf::join::{self, Piece},
    schema::Body,
    state::World,
};

/// A page of the list; the vendor's own number is not published.
const MAX_PAGE: usize = 1_000;

/// One template.
#[derive(Debug, Clone)]
pub(super) struct Template {
    /// `templateId`.
    pub(super) id: String,
    /// The account it belongs to.
    pub(super) account: String,
    /// Its name.
    pub(super) name: String,
    /// What it is for.
    pub(super) description: String,
    /// Whether others in the account may use it, as its maker says: nobody is kept out by it.
    shared: bool,
    /// The user who made it.
    pub(super) owner: String,
    /// When.
    pub(super) created: Timestamp,
    /// When it was last changed.
    modified: Timestamp,
    /// `emailSubject`.
    pub(super) subject: String,
    /// `emailBlurb`.
    pub(super) blurb: String,
    /// `customFields`, none or both lists.
    pub(super) custom_fields: Fields,
    /// `notification`, if it has one of its own.
    pub(super) notification: Option<Fields>,
    /// `brandId`: shown, and not handed on to envelopes.
    brand: Option<String>,
    /// Its settings, as those of an envelope.
    pub(super) given: Fields,
    /// Its documents.
    pub(super) documents: Vec<File>,
    recipients: Vec<Draft>,
}

impl Template {
    /// Its recipients, for a part of a definition.
    pub(super) fn drafts(&self, scope: usize) -> Vec<Draft> {
        let mut drafts = self.recipients.clone();
        for tab in drafts.iter_mut().flat_map(|draft| &mut draft.tabs) {
            tab.scope = scope;
        }
        drafts
    }
}

/// `…/templates` and below.
pub(super) fn route(world: &mut World, call: &Call, rest: &[&str]) -> Option<Outcome> {
    let Some((id, below)) = rest.split_first() else {
        return match call.method {
            Method::GET => Some(list(world, call)),
            Method::POST => Some(create(world, call)),
            _ => None,
        };
    };
    // Words that are no ids: what they name is not here.
    if ["auto_match", "insights"].contains(id) {
        return None;
    }
    if call.method == Method::PUT && below.is_empty() {
        return Some(change::update(world, call, id));
    }
    if call.method != Method::GET {
        return None;
    }
    let template = match known(world, call, id) {
        Ok(template) => template,
        Err(refusal) => return Some(Err(refusal)),
    };
    Some(match below {
        [] => full(world, call, template).map(Answer::ok),
        ["custom_fields"] => Ok(Answer::ok(render::custom_fields(&template.custom_fields))),
        ["documents"] => Ok(Answer::ok(
            json!({ "templateId": template.id, "templateDocuments": template_documents(template) }),
        )),
        ["documents", "combined"] => combined(template).map(|file| envelopes::as_asked(call, file)),
        ["documents", document] => download(template, document).map(|file| envelopes::as_asked(call, file)),
        ["notification"] => notification(template).map(|fields| Answer::ok(Value::Object(fields))),
        ["recipients"] => Ok(Answer::ok(recipients(template, call.asks_for("include_tabs")))),
        ["recipients", recipient, "tabs"] => tabs(template, recipient),
        _ => return None,
    })
}

/// Whether it is one of the caller's account.
pub(super) fn is_known(world: &World, call: &Call, id: &str) -> bool {
    known(world, call, id).is_ok()
}

fn known<'a>(world: &'a World, call: &Call, id: &str) -> Result<&'a Template, Refusal> {
    let found = world.envelopes.templates.get(&id.to_ascii_lowercase());
    let found = found.filter(|template| Some(&template.account) == call.account.as_ref());
    found
        .ok_or_else(|| missing("TEMPLATE_NOT_FOUND", "The template specified was not found in this account."))
}

/// Filters of the vendor's that are not played here: ignored, they would answer another question.
const NOT_PLAYED: [&str; 9] = [
    "folder_ids",
    "folder_types",
    "is_deleted_template_only",
    "is_download",
    "search_fields",
    "template_ids",
    "used_from_date",
    "used_to_date",
    "user_id",
];

fn list(world: &World, call: &Call) -> Outcome {
    let given = |name: &str| call.query(name).filter(|value| !value.is_empty());
    let asks = |name: &&str| given(name).is_some_and(|value| !value.eq_ignore_ascii_case("false"));
    if let Some(name) = NOT_PLAYED.into_iter().find(|name| asks(name)) {
        return Err(invalid(&format!("The emulator does not filter templates by '{name}'.")));
    }
    let wanted = given("search_text").unwrap_or_default().to_lowercase();
    let created = period(call, &["from_date", "created_from_date"], &["to_date", "created_to_date"])?;
    let modified = period(call, &["modified_from_date"], &["modified_to_date"])?;
    let mut mine: Vec<&Template> = world.envelopes.templates.values().collect();
    mine.retain(|template| {
        Some(&template.account) == call.account.as_ref()
            && template.name.to_lowercase().contains(&wanted)
            && is_within(template.created, created)
            && is_within(template.modified, modified)
    });
    whose(call, &mut mine)?;
    sort(call, &mut mine)?;
    let all = mine.into_iter().map(|template| row(world, call, template)).collect::<Result<_, _>>()?;
    paging::page(call, "/templates", "envelopeTemplates", all, MAX_PAGE).map(Answer::ok)
}

/// From when and until when, where it says so.
type Period = (Option<Timestamp>, Option<Timestamp>);

/// What all these parameters ask for together.
fn period(call: &Call, begins: &[&str], ends: &[&str]) -> Result<Period, Refusal> {
    let (mut from, mut to): Period = (None, None);
    for name in begins {
        from = from.max(envelopes::date(call, name)?);
    }
    for name in ends {
        let other = envelopes::date(call, name)?;
        to = to.into_iter().chain(other).min();
    }
    Ok((from, to))
}

fn is_within(at: Timestamp, (from, to): Period) -> bool {
    from.is_none_or(|from| at >= from) && to.is_none_or(|to| at <= to)
}

fn whose(call: &Call, all: &mut Vec<&Template>) -> Result<(), Refusal> {
    let given = |name: &str| call.query(name).filter(|value| !value.is_empty());
    let is_own = |template: &Template| Some(&template.owner) == call.user.as_ref();
    match given("user_filter") {
        None | Some("all") => {}
        Some("owned_by_me") => all.retain(|template| is_own(template)),
        Some("shared_with_me") => all.retain(|template| template.shared && !is_own(template)),
        Some(_) => {
            return Err(invalid("Query parameter 'user_filter' is one of owned_by_me, shared_with_me, all."));
        }
    }
    match given("shared_by_me").map(str::to_ascii_lowercase).as_deref() {
        None => {}
        Some("true") => all.retain(|template| template.shared && is_own(template)),
        Some("false") => all.retain(|template| !(template.shared && is_own(template))),
        Some(_) => return Err(invalid("Query parameter 'shared_by_me' is true or false.")),
    }
    Ok(())
}

/// By id, unless an order is asked for.
fn sort(call: &Call, all: &mut [&Template]) -> Result<(), Refusal> {
    let given = |name: &str| call.query(name).filter(|value| !value.is_empty());
    let (order, by) = (given("order"), given("order_by"));
    if order.is_none() && by.is_none() {
        return Ok(());
    }
    match by {
        None | Some("name") => all.sort_by_key(|template| template.name.to_lowercase()),
        Some("modified") => all.sort_by_key(|template| template.modified),
        Some(by) => return Err(invalid(&format!("The emulator does not sort templates by '{by}'."))),
    }
    match order {
        None | Some("asc") => {}
        Some("desc") => all.reverse(),
        Some(_) => return Err(invalid("Query parameter 'order' is asc or desc.")),
    }
    Ok(())
}

fn summary(world: &World, template: &Template) -> Value {
    let owner = world.directory.users.get(&template.owner);
    let pages: usize = template.documents.iter().map(|file| file.text.pages.len()).sum();
    json!({
        "templateId": template.id,
        "name": template.name,
        "description": template.description,
        "uri": format!("/templates/{}", template.id),
        "shared": template.shared.to_string(),
        "passwordProtected": "false",
        "emailSubject": template.subject,
        "emailBlurb": template.blurb,
        "created": vendor_time(template.created),
        "lastModified": vendor_time(template.modified),
        "pageCount": pages.to_string(),
        "folderName": "Templates",
        "owner": {
            "userId": template.owner,
            "userName": owner.map(|user| user.name.as_str()),
            "email": owner.map(|user| user.email.as_str()),
        },
    })
}

/// A row of the list, with what `include` asks for.
fn row(world: &World, call: &Call, template: &Template) -> Result<Value, Refusal> {
    let mut value = summary(world, template);
    let include = Include::parse(call.query("include").unwrap_or_default());
    if include.custom_fields {
        value["customFields"] = render::custom_fields(&template.custom_fields);
    }
    if include.documents {
        value["documents"] = Value::Array(documents(template));
    }
    if include.notifications {
        value["notification"] = Value::Object(notification(template)?);
    }
    if include.recipients {
        value["recipients"] = recipients(template, include.tabs);
    }
    Ok(value)
}

/// All of it, but that tabs are shown on demand only.
fn full(world: &World, call: &Call, template: &Template) -> Result<Value, Refusal> {
    let mut fields = envelopes::envelope_defaults();
    fields.extend(template.given.clone());
    fields.extend(template.brand.as_ref().map(|brand| ("brandId".to_owned(), json!(brand))));
    fields.extend(summary(world, template).as_object().cloned().unwrap_or_default());
    let mut value = Value::Object(fields);
    value["customFields"] = render::custom_fields(&template.custom_fields);
    value["documents"] = Value::Array(documents(template));
    value["notification"] = Value::Object(notification(template)?);
    value["recipients"] =
        recipients(template, Include::parse(call.query("include").unwrap_or_default()).tabs);
    Ok(value)
}

/// Its own, or that of the account.
fn notification(template: &Template) -> Result<Fields, Refusal> {
    template.notification.clone().map_or_else(|| envelopes::notification(None), Ok)
}

/// As the template's own list has them (`document` of the OpenAPI file). That has no `authoritativeCopy`, which the SDKs
/// type as a boolean there: what they read as text they would send back as `true`, whatever it says.
fn documents(template: &Template) -> Vec<Value> {
    let mut all = documents_in_full(template);
    for row in all.iter_mut().filter_map(Value::as_object_mut) {
        row.remove("authoritativeCopy");
    }
    all
}

/// The same with all that can be said of each, which is more than is shown.
fn documents_in_full(template: &Template) -> Vec<Value> {
    let row = |file: &File| {
        let row = json!({
            "documentId": file.id,
            "name": file.name,
            "uri": format!("/templates/{}/documents/{}", template.id, file.id),
            "order": file.order.to_string(),
            "pages": file.text.pages.len().to_string(),
        });
        with_settings(template, file, row)
    };
    template.documents.iter().map(row).collect()
}

/// As the list of documents has them (`envelopeDocument` there), which is another shape of the same.
fn template_documents(template: &Template) -> Vec<Value> {
    let address = format!("/templates/{}", template.id);
    let row = |file: &File| with_settings(template, file, render::document_row(file, &address));
    template.documents.iter().map(row).collect()
}

/// A row of either list with the settings of its document, which both have: as those of an envelope's documents.
fn with_settings(template: &Template, file: &File, row: Value) -> Value {
    let mut fields = envelopes::document_defaults(&template.given);
    fields.extend(file.given.clone());
    if let Value::Object(row) = row {
        fields.extend(row);
    }
    Value::Object(fields)
}

/// The same lists as an envelope's, but no `currentRoutingOrder`: nobody has a turn.
fn recipients(template: &Template, with_tabs: bool) -> Value {
    let mut lists = render::recipient_lists();
    let mut ids = tab_ids(&template.id);
    for draft in &template.recipients {
        let mut fields = draft.fields.clone();
        for (name, default) in
            [("name", ""), ("email", ""), ("requireIdLookup", "false"), ("routingOrder", "1")]
        {
            fields.entry(name).or_insert_with(|| json!(default));
        }
        fields.insert("recipientType".to_owned(), json!(draft.kind.name()));
        if with_tabs && draft.kind.has_tabs() {
            fields.insert("tabs".to_owned(), render::tabs_of_draft(draft, &mut ids));
        }
        if let Some(list) = lists.get_mut(draft.kind.list()).and_then(Value::as_array_mut) {
            list.push(Value::Object(fields));
        }
    }
    lists.insert("recipientCount".to_owned(), json!(template.recipients.len().to_string()));
    Value::Object(lists)
}

/// The tabs of one of its recipients.
fn tabs(template: &Template, recipient: &str) -> Outcome {
    let lists = recipients(template, true);
    let mut all =
        lists.as_object().into_iter().flat_map(Fields::values).filter_map(Value::as_array).flatten();
    let one = all.find(|one| one["recipientId"] == recipient).ok_or_else(no_such_recipient)?;
    Ok(Answer::ok(one.get("tabs").cloned().unwrap_or_else(|| json!({}))))
}

/// The ids of the tabs of a template, one after the other: the tabs of no template are ever changed, so counting on from
/// its own id gives each the same one whenever it is read.
fn tab_ids(template: &str) -> impl Iterator<Item = String> {
    let first = Uuid::parse_str(template).unwrap_or_default().as_u128();
    // The last bits stay as they are: those tell the stock templates apart.
    (1..=u32::MAX).map(move |number| Uuid::from_u128(first ^ (u128::from(number) << 32)).to_string())
}

fn download(template: &Template, document: &str) -> Outcome {
    let file = template.documents.iter().find(|file| file.id == document);
    let file =
        file.ok_or_else(|| missing("DOCUMENT_DOES_NOT_EXIST", "The document specified was not found."))?;
    Ok(Answer::bytes(StatusCode::OK, "application/pdf", file.bytes.clone()))
}

/// All documents in one, in their order, with nothing written on them: nobody has signed.
fn combined(template: &Template) -> Outcome {
    let mut files: Vec<&File> = template.documents.iter().collect();
    if files.is_empty() {
        return Err(missing("DOCUMENT_DOES_NOT_EXIST", "The template has no documents."));
    }
    files.sort_by_key(|file| file.order);
    let pieces: Vec<Piece<'_>> =
        files.into_iter().map(|file| Piece { bytes: &file.bytes, stamps: Vec::new() }).collect();
    let bytes = join::combine(&pieces).map_err(|_| envelopes::cannot_be_joined())?;
    Ok(Answer::bytes(StatusCode::OK, "application/pdf", bytes))
}

fn create(world: &mut World, call: &Call) -> Outcome {
    let given = envelopes::body(call, Body::EnvelopeTemplate)?;
    let fields = given.as_object().cloned().unwrap_or_default();
    let id = world.guid();
    let template = build(world, call, &fields, id.clone())?;
    let name = template.name.clone();
    world.envelopes.templates.insert(id.clone(), template);
    connect::emit_of_template(world, &id, "template-created", call.now);
    Ok(Answer::json(
        StatusCode::CREATED,
        json!({ "templateId": id, "name": name, "uri": format!("/templates/{id}") }),
    ))
}

/// Its own name, else what it can be told by: SPEC asks for none, and says nothing of what the vendor calls it then.
fn name_of(fields: &Fields) -> &str {
    let document = objects(fields.get("documents")).next().and_then(|document| text(document, "name"));
    text(fields, "name").or(document).or_else(|| text(fields, "emailSubject")).unwrap_or("Template")
}

fn build(world: &mut World, call: &Call, fields: &Fields, id: String) -> Result<Template, Refusal> {
    refused::in_template(fields)?;
    let account = call.account.clone().unwrap_or_default();
    let recipients = envelopes::drafts(fields.get("recipients").unwrap_or(&Value::Null), 0)?;
    recipients.iter().try_for_each(|draft| envelopes::check_draft(world, &account, draft))?;
    let mut documents = Vec::new();
    for document in
        fields.get("documents").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
    {
        documents.push(envelopes::file_from(world.guid(), document, &HashMap::new(), 0, documents.len())?);
    }
    envelopes::check_ids(&recipients, &documents)?;
    let mut custom_fields = Fields::new();
    if let Some(given) = refused::said(fields, "customFields") {
        envelopes::merge_custom_fields(world, &mut custom_fields, given)?;
    }
    let of = |name: &str| text(fields, name).unwrap_or_default().to_owned();
    let (subject, blurb) = (of("emailSubject"), of("emailBlurb"));
    lengths::of_words(&subject, &blurb)?;
    Ok(Template {
        id,
        brand: envelopes::brand(world, &account, fields)?,
        account,
        name: name_of(fields).to_owned(),
        description: of("description"),
        shared: text(fields, "shared").is_some_and(|value| value.eq_ignore_ascii_case("true")),
        owner: call.user.clone().unwrap_or_default(),
        created: call.now,
        modified: call.now,
        subject,
        blurb,
        custom_fields,
        notification: refused::said(fields, "notification")
            .map(|given| envelopes::notification(Some(given)))
            .transpose()?,
        given: envelopes::settings_of(fields)?,
        documents,
        recipients,
    })
}
