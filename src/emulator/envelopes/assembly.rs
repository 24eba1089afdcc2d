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
    model::{Fields, File, Kind, Refusal, invalid, objects, refuse, text},
    overlay::{EMBEDDING, first_free, has_role, id_of, lay_over, overlay, same_role},
    recipients::{self, Draft},
    refused::{self, says_something},
    settings, tabs,
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
    /// Which of the recipients an inline template brought.
    pub(super) inline: Vec<usize>,
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
        assembly.take_template(world, &template, 0, None);
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
    /// the first that has any (SPEC: compositeTemplate; that all of that one's are meant is our reading); what is on them
    /// is on the composite's `own` one, if it has such.
    fn take_template(&mut self, world: &mut World, template: &Template, scope: usize, own: Option<&str>) {
        if self.documents.is_empty() {
            self.take_template_documents(world, template, scope);
        }
        let mut drafts = template.drafts(scope);
        if let Some(own) = own {
            move_to(own, &template.documents, &mut drafts);
        }
        for mut draft in drafts {
            draft.fields.retain(|_, value| says_something(value));
            match same_role(&self.recipients, &draft).or_else(|| self.inline_of(&draft)) {
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

    /// Whom an inline template before this one brought without a role, of the same kind and id: they are one, whichever
    /// of the two templates comes first.
    fn inline_of(&self, draft: &Draft) -> Option<usize> {
        text(&draft.fields, "roleName")?;
        let is_it = |known: &Draft| {
            known.kind == draft.kind
                && text(&known.fields, "roleName").is_none()
                && id_of(known) == id_of(draft)
        };
        self.inline.iter().copied().find(|index| is_it(&self.recipients[*index]))
    }

    /// Takes an inline template, over those before it.
    fn take_inline(
        &mut self,
        world: &mut World,
        inline: &Value,
        binaries: &Binaries,
        scope: usize,
    ) -> Result<(), Refusal> {
        let over = recipients::drafts(&inline["recipients"], scope)?;
        // The first that has documents brings them: those of the others are passed over (DEV blog on composite
        // templates, I).
        let documents = inline["documents"].as_array().filter(|_| self.documents.is_empty());
        for document in documents.into_iter().flatten().filter_map(Value::as_object) {
            let file = file_from(world.guid(), document, binaries, scope, self.documents.len())?;
            self.documents.push(file);
        }
        let known = self.recipients.len();
        overlay(&mut self.recipients, over);
        self.inline.extend(known..self.recipients.len());
        self.custom_fields.extend(inline.get("customFields").cloned());
        inline["envelope"].as_object().map_or(Ok(()), |envelope| self.take_envelope(envelope))
    }

    /// Takes what an inline template says of the envelope, over what the templates before it said.
    fn take_envelope(&mut self, envelope: &Fields) -> Result<(), Refusal> {
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

/// Moves what is on the documents of a template to the one that takes the place of all of them. Whoever was to see none
/// of them is not to see that one either; whoever was to see one, is (our reading).
fn move_to(own: &str, documents: &[File], drafts: &mut [Draft]) {
    for draft in &mut *drafts {
        let Some(excluded) = draft.fields.remove("excludedDocuments") else { continue };
        let is_excluded = |file: &File| {
            excluded.as_array().is_some_and(|ids| ids.iter().any(|id| id.as_str() == Some(file.id.as_str())))
        };
        if !documents.is_empty() && documents.iter().all(is_excluded) {
            draft.fields.insert("excludedDocuments".to_owned(), json!([own]));
        }
    }
    follow(drafts, |_| Some(own));
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
    // A composite's own document takes the place of its templates' documents, whose tabs are then on it (DEV blog on
    // composite templates, II).
    if let Some(document) = composite["document"].as_object() {
        part.documents.push(file_from(world.guid(), document, binaries, scope, 0)?);
    }
    let own = part.documents.first().map(|file| file.id.clone());
    for layer in in_sequence(composite) {
        match layer {
            Layer::Server(server) => {
                let id = server["templateId"].as_str().unwrap_or_default();
                let template = template_of(world, account, id)?.clone();
                part.take_template(world, &template, scope, own.as_deref());
            }
            Layer::Inline(inline) => part.take_inline(world, inline, binaries, scope)?,
        }
    }
    Ok(part)
}

/// A template of a composite.
enum Layer<'d> {
    Server(&'d Value),
    Inline(&'d Value),
}

impl Layer<'_> {
    /// Where it stands among the others; without a number behind them.
    fn sequence(&self) -> u32 {
        let (Self::Server(item) | Self::Inline(item)) = self;
        item["sequence"].as_str().and_then(|n| n.trim().parse().ok()).unwrap_or(u32::MAX)
    }
}

/// The templates of a composite as they are overlaid: each list gives "their position in the overlay" (SPEC:
/// compositeTemplate). Of the same position the server's come first (our reading).
fn in_sequence(composite: &Value) -> Vec<Layer<'_>> {
    let servers = composite["serverTemplates"].as_array().into_iter().flatten().map(Layer::Server);
    let inlines = composite["inlineTemplates"].as_array().into_iter().flatten().map(Layer::Inline);
    let mut layers: Vec<_> = servers.chain(inlines).collect();
    layers.sort_by_key(Layer::sequence);
    layers
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
