//! From a definition to documents and recipients.
//!
//! The three ways to describe an envelope (own documents, a template with roles, composite
//! templates) all come to an [`Assembly`].
//!
//! Sources: Envelopes:create and concepts/templates/composite in the vendor's reference.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    create,
    files::{Binaries, Uploads, file_from},
    filling,
    model::{Fields, File, Kind, Refusal, invalid, objects, refuse, text},
    reach,
    recipients::{self, Draft},
    refused::{self, says_something},
    settings,
    tabs::{self, DraftTab},
};
use crate::emulator::{state::World, templates::Template};

/// What a definition comes to.
#[derive(Debug, Clone, Default)]
pub(super) struct Assembly {
    /// Its documents.
    pub(super) documents: Vec<File>,
    /// Its recipients.
    pub(super) recipients: Vec<Draft>,
    /// The subject that a template gives.
    pub(super) subject: Option<String>,
    /// The message that a template gives.
    pub(super) blurb: Option<String>,
    /// Its `customFields`, one object a part: a later one of the same name counts.
    pub(super) custom_fields: Vec<Value>,
    /// The `notification` that a template gives.
    pub(super) notification: Option<Fields>,
    /// The settings that a template gives.
    pub(super) settings: Fields,
}

/// Puts together what a definition describes.
pub(super) fn assemble(
    world: &mut World,
    account: &str,
    fields: &Fields,
    uploads: &Uploads,
) -> Result<Assembly, Refusal> {
    let composites =
        fields.get("compositeTemplates").and_then(Value::as_array).filter(|list| !list.is_empty());
    if let Some(composites) = composites {
        return from_composites(world, account, &composites.clone(), uploads);
    }
    let mut assembly = Assembly::default();
    if let Some(template) = text(fields, "templateId") {
        not_beside_a_template(fields)?;
        let template = template_of(world, account, template)?.clone();
        assembly.take_template(world, &template, 0);
        fill_roles(&mut assembly.recipients, fields.get("templateRoles"))?;
    } else {
        let binaries = uploads.of("");
        let documents = fields.get("documents").and_then(Value::as_array);
        for document in documents.into_iter().flatten().filter_map(Value::as_object) {
            let file = file_from(world.guid(), document, &binaries, 0, assembly.documents.len())?;
            assembly.documents.push(file);
        }
        assembly.recipients = recipients::drafts(fields.get("recipients").unwrap_or(&Value::Null), 0)?;
    }
    let lists = fields.get("customFields").cloned();
    assembly.custom_fields.extend(lists);
    Ok(assembly)
}

/// What would get lost beside a template. The vendor publishes no code for it: our reading.
fn not_beside_a_template(fields: &Fields) -> Result<(), Refusal> {
    let beside =
        ["documents", "recipients"].into_iter().find(|name| fields.get(*name).is_some_and(says_something));
    let Some(name) = beside else { return Ok(()) };
    Err(invalid(&format!(
        "'{name}' cannot stand beside 'templateId': compositeTemplates bring a template, documents and recipients together."
    )))
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
    /// Takes a template, a later one over those before it: by role, as an inline template is. The documents are those of
    /// the first that has any (SPEC: compositeTemplate; that all of that one's are meant is our reading).
    fn take_template(&mut self, world: &mut World, template: &Template, scope: usize) {
        if self.documents.is_empty() {
            self.take_template_documents(world, template, scope);
        }
        for mut draft in template.drafts(scope) {
            draft.fields.retain(|_, value| says_something(value));
            match same_role(&self.recipients, &draft) {
                Some(index) => lay_over(&mut self.recipients[index], draft),
                None => self.add_recipient(draft),
            }
        }
        self.subject.get_or_insert_with(|| template.subject.clone());
        self.blurb.get_or_insert_with(|| template.blurb.clone());
        if !template.custom_fields.is_empty() {
            self.custom_fields.push(Value::Object(template.custom_fields.clone()));
        }
        self.take_treatment(template.notification.as_ref(), &template.given);
    }

    /// Takes what a template says of how the envelope is to be treated, where none before it said it.
    fn take_treatment(&mut self, notification: Option<&Fields>, settings: &Fields) {
        self.notification = self.notification.take().or_else(|| notification.cloned());
        for (name, value) in settings {
            self.settings.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }

    /// Takes what an inline template says of the envelope, over what the templates before it said.
    fn take_inline(&mut self, envelope: &Fields) -> Result<(), Refusal> {
        refused::in_envelope(envelope)?;
        for (name, words) in [("emailSubject", &mut self.subject), ("emailBlurb", &mut self.blurb)] {
            if let Some(said) = text(envelope, name) {
                *words = Some(said.to_owned());
            }
        }
        if let Some(given) = refused::said(envelope, "notification") {
            self.notification = Some(create::notification(Some(given))?);
        }
        self.settings.extend(settings::of_envelope(envelope)?);
        Ok(())
    }

    fn take_template_documents(&mut self, world: &mut World, template: &Template, scope: usize) {
        let copies = template.documents.iter().map(|file| File { guid: world.guid(), scope, ..file.clone() });
        self.documents.extend(copies.collect::<Vec<_>>());
    }

    /// Adds one composite's part behind the ones before it: ids that are taken get new ones, the same person is
    /// merged.
    fn merge(&mut self, mut part: Assembly) {
        part.documents.sort_by_key(|file| file.order);
        for file in renumber(part.documents, &self.documents, &mut part.recipients) {
            let order = u32::try_from(self.documents.len() + 1).unwrap_or(u32::MAX);
            self.documents.push(File { order, ..file });
        }
        for draft in part.recipients {
            let Some(known) = self.recipients.iter_mut().find(|known| is_same_person(known, &draft)) else {
                self.add_recipient(draft);
                continue;
            };
            if let Some(embedding) = text(&draft.fields, EMBEDDING) {
                known.fields.insert(EMBEDDING.to_owned(), json!(embedding));
            }
            known.tabs.extend(draft.tabs);
        }
        self.custom_fields.extend(part.custom_fields);
        self.subject = self.subject.take().or(part.subject);
        self.blurb = self.blurb.take().or(part.blurb);
        self.take_treatment(part.notification.as_ref(), &part.settings);
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

/// Gives each file whose id is taken another one, which what is on it follows. Every tab is moved once: the new id of one
/// file may be the old id of the next.
fn renumber(files: Vec<File>, taken: &[File], drafts: &mut [Draft]) -> Vec<File> {
    let mut moved = BTreeMap::new();
    let mut ids: BTreeSet<String> = taken.iter().map(|file| file.id.clone()).collect();
    let mut renumbered = Vec::new();
    for file in files {
        let old = file.id.clone();
        let id = if ids.contains(&old) { first_free(|id| ids.contains(id)) } else { old.clone() };
        ids.insert(id.clone());
        moved.insert(old, id.clone());
        renumbered.push(File { id, ..file });
    }
    follow(drafts, |old| moved.get(old).map(String::as_str));
    renumbered
}

/// Takes along to the new ids of documents the tabs that lie on them, and who shall not see them.
fn follow<'a>(drafts: &mut [Draft], new_id: impl Fn(&str) -> Option<&'a str>) {
    for draft in drafts {
        let excluded = draft.fields.get_mut("excludedDocuments").and_then(Value::as_array_mut);
        for id in excluded.into_iter().flatten() {
            if let Some(new) = id.as_str().and_then(&new_id) {
                *id = json!(new);
            }
        }
        for tab in &mut draft.tabs {
            if let Some(new) = text(&tab.fields, "documentId").and_then(&new_id) {
                tab.fields.insert("documentId".to_owned(), json!(new));
            }
        }
    }
}

/// The first number that is not taken; definitions are far smaller than the range.
fn first_free(is_taken: impl Fn(&str) -> bool) -> String {
    (1..u32::MAX).map(|n| n.to_string()).find(|id| !is_taken(id)).unwrap_or_default()
}

/// The member that makes a recipient an embedded one.
const EMBEDDING: &str = "clientUserId";

/// Whether two composites mean one person. One of them may leave the embedding to the other, where nothing else tells
/// them apart (SDK: eg013; that the id and the role must be the same then is our reading).
fn is_same_person(known: &Draft, other: &Draft) -> bool {
    let same = |name: &str| text(&known.fields, name) == text(&other.fields, name);
    let is_open = || [known, other].iter().any(|draft| text(&draft.fields, EMBEDDING).is_none());
    known.kind == other.kind
        && same("name")
        && same("email")
        && text(&known.fields, "email").is_some()
        && if same(EMBEDDING) {
            same("recipientId") || same("roleName")
        } else {
            is_open() && same("recipientId") && same("roleName")
        }
}

fn from_composites(
    world: &mut World,
    account: &str,
    composites: &[Value],
    uploads: &Uploads,
) -> Result<Assembly, Refusal> {
    let mut whole = Assembly::default();
    for (index, composite) in composites.iter().enumerate() {
        let own = uploads.of(composite["compositeTemplateId"].as_str().unwrap_or_default());
        let part = from_composite(world, account, composite, &own, index + 1)?;
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
    // A composite's own document takes the place of its templates' documents, whose tabs are then on it (DEV blog on
    // composite templates, II).
    if let Some(document) = composite["document"].as_object() {
        let file = file_from(world.guid(), document, binaries, scope, 0)?;
        follow(&mut part.recipients, |_| Some(file.id.as_str()));
        part.documents = vec![file];
    }
    for inline in in_sequence(&composite["inlineTemplates"]) {
        let over = recipients::drafts(&inline["recipients"], scope)?;
        // The first that has documents brings them: those of the others are passed over (the same blog, I).
        let documents = inline["documents"].as_array().filter(|_| part.documents.is_empty());
        for document in documents.into_iter().flatten().filter_map(Value::as_object) {
            let file = file_from(world.guid(), document, binaries, scope, part.documents.len())?;
            part.documents.push(file);
        }
        overlay(&mut part.recipients, over);
        part.custom_fields.extend(inline.get("customFields").cloned());
        if let Some(envelope) = inline["envelope"].as_object() {
            part.take_inline(envelope)?;
        }
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

/// Lays recipients over those of the templates before them. Whoever fits nobody there is added, under another id if the
/// own one is taken: nobody takes the place, or the tabs, of somebody else by an id that happens to be the same.
fn overlay(base: &mut Vec<Draft>, over: Vec<Draft>) {
    let places = places(base, &over);
    let taken: BTreeSet<String> = base.iter().filter_map(id_of).collect();
    let mut ids: BTreeSet<String> = base.iter().chain(&over).filter_map(id_of).collect();
    for (mut draft, place) in over.into_iter().zip(places) {
        if let Some(index) = place {
            lay_over(&mut base[index], draft);
            continue;
        }
        if id_of(&draft).is_some_and(|id| taken.contains(&id)) {
            let free = first_free(|id| ids.contains(id));
            ids.insert(free.clone());
            draft.fields.insert("recipientId".to_owned(), json!(free));
        }
        base.push(draft);
    }
}

/// Whom each of these lies over: the one of its role; or, of who has no role, the one of its kind and id that nobody else
/// lies over. A role is required "when you are working with template recipients" (SPEC: signer.roleName), so that one
/// which the templates lack fits nobody; that an id alone does is our reading.
fn places(base: &[Draft], over: &[Draft]) -> Vec<Option<usize>> {
    let mut places: Vec<Option<usize>> = over.iter().map(|draft| same_role(base, draft)).collect();
    for (index, draft) in over.iter().enumerate() {
        let Some(id) = text(&draft.fields, "recipientId") else { continue };
        if text(&draft.fields, "roleName").is_none() {
            let is_meant =
                |known: &Draft| known.kind == draft.kind && text(&known.fields, "recipientId") == Some(id);
            let place = base.iter().position(is_meant).filter(|place| !places.contains(&Some(*place)));
            places[index] = place;
        }
    }
    places
}

/// The `recipientId` of a draft.
fn id_of(draft: &Draft) -> Option<String> {
    text(&draft.fields, "recipientId").map(str::to_owned)
}

/// Whether a recipient has this role, whatever the case of its letters.
fn has_role(draft: &Draft, role: &str) -> bool {
    text(&draft.fields, "roleName").is_some_and(|own| own.to_lowercase() == role.to_lowercase())
}

/// The recipient of the same role.
fn same_role(base: &[Draft], draft: &Draft) -> Option<usize> {
    let role = text(&draft.fields, "roleName")?;
    base.iter().position(|known| has_role(known, role))
}

/// Lays one over the other, but for what a template locks: that is passed over (our reading).
fn lay_over(base: &mut Draft, mut over: Draft) {
    let template_id = base.fields.get("recipientId").cloned();
    let is_locked = |fields: &Fields| filling::is_true(fields, tabs::LOCKED);
    let takes_tabs = !is_locked(&base.fields);
    // Whoever is named takes the place of who was there; embedded recipients are reached by their address all the same.
    let is_remote = [&base.fields, &over.fields].iter().all(|one| text(one, EMBEDDING).is_none());
    over.fields.retain(|name, _| recipients::is_open(&base.fields, name));
    recipients::leave_check(&mut base.fields, &over.fields);
    if is_remote && text(&over.fields, "name").is_some() {
        reach::leave_address(&mut base.fields, &over.fields);
    }
    base.fields.extend(over.fields);
    // Template tabs belong to the template's recipient id, which therefore stays.
    if let Some(id) = template_id {
        base.fields.insert("recipientId".to_owned(), id);
    }
    for tab in over.tabs {
        let is_stray = !["anchorString", "pageNumber"].iter().any(|name| text(&tab.fields, name).is_some());
        if let Some(part) = wildcard(&tab).filter(|_| is_stray) {
            let has_part = |known: &&mut DraftTab| {
                known.list == tab.list && name_of(known).is_some_and(|label| label.contains(part))
            };
            for known in base.tabs.iter_mut().filter(has_part).filter(|known| !is_locked(&known.fields)) {
                let mut fields = tab.fields.clone();
                fields.remove(LABEL);
                lay_tab_over(&mut known.fields, fields);
            }
            continue;
        }
        let is_same = |known: &&mut DraftTab| {
            known.list == tab.list && name_of(&tab).is_some() && name_of(known) == name_of(&tab)
        };
        if let Some(known) = base.tabs.iter_mut().find(is_same) {
            if !is_locked(&known.fields) {
                lay_tab_over(&mut known.fields, tab.fields);
            }
        } else if takes_tabs {
            base.tabs.push(DraftTab { is_stray, ..tab });
        }
    }
}

/// The label of a tab.
const LABEL: &str = "tabLabel";

/// What must be in the labels of the tabs that this one fills, if it is to fill more than one: what stands behind `\*`,
/// which matches "either as a full string or a sub-string" (the vendor's staff, docusign-esign-node-client issue 64).
fn wildcard(tab: &DraftTab) -> Option<&str> {
    text(&tab.fields, LABEL)?.strip_prefix("\\*")
}

/// What a tab is known by: its label, or for radio buttons the name of their group, which has no label.
pub(super) fn name_of(tab: &DraftTab) -> Option<&str> {
    text(&tab.fields, if tab.list == "radioGroupTabs" { "groupName" } else { LABEL })
}

fn lay_tab_over(base: &mut Fields, mut over: Fields) {
    // Whatever the order, a number that is laid over is that of the value beside it.
    let number = over.remove(filling::NUMBER).filter(|number| !number.is_null());
    for (name, value) in over.into_iter().filter(|(_, value)| !value.is_null()) {
        match (base.get_mut(&name), value) {
            (Some(Value::Array(known)), Value::Array(radios)) if name == "radios" => choose(known, radios),
            (_, value) => filling::lay_over(base, &name, value),
        }
    }
    if let Some(number) = number {
        filling::lay_over(base, filling::NUMBER, number);
    }
}

/// The buttons of a group are told apart by their value, and at most one is chosen.
fn choose(known: &mut Vec<Value>, over: Vec<Value>) {
    let is_chosen = |radio: &&Value| {
        radio["selected"].as_str().is_some_and(|selected| selected.eq_ignore_ascii_case("true"))
    };
    let chosen = over.iter().find(is_chosen).map(|radio| radio["value"].clone());
    for radio in over {
        let same = known.iter_mut().find(|known| known["value"] == radio["value"]);
        match (same.and_then(Value::as_object_mut), radio) {
            (Some(same), Value::Object(radio)) => {
                same.extend(radio.into_iter().filter(|(_, value)| !value.is_null()));
            }
            (_, radio) => known.push(radio),
        }
    }
    let Some(chosen) = chosen else { return };
    for radio in known.iter_mut().filter_map(Value::as_object_mut) {
        let is_it = radio.get("value") == Some(&chosen);
        radio.insert("selected".to_owned(), json!(is_it.to_string()));
    }
}

/// The name and address of an in-person role are its host's (SPEC: templateRole).
fn host_the_signer(fields: &mut Fields, guest: Option<Value>) {
    let (name, email) = (fields.remove("name"), fields.remove("email"));
    for (field, value) in [("hostName", name), ("hostEmail", email), ("signerName", guest)] {
        fields.extend(value.map(|value| (field.to_owned(), value)));
    }
}

/// Fills the roles of a template.
fn fill_roles(base: &mut Vec<Draft>, roles: Option<&Value>) -> Result<(), Refusal> {
    let mut over = Vec::new();
    for role in objects(roles) {
        let Some(name) = text(role, "roleName") else {
            return Err(invalid("Every entry of templateRoles needs a roleName."));
        };
        let mut fields = role.clone();
        let guest = fields.remove("inPersonSignerName");
        let known = base.iter().find(|known| has_role(known, name));
        if known.is_some_and(|known| known.kind == Kind::InPersonSigner) {
            host_the_signer(&mut fields, guest);
        }
        tabs::refuse_prefilled(fields.get("tabs"))?;
        let tabs = tabs::drafts(fields.remove("tabs").as_ref(), 0);
        over.push(Draft { kind: Kind::Signer, fields, tabs });
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
