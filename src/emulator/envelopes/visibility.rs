//! Which documents a recipient sees.
//!
//! Where the envelope says `enforceSignerVisibility`, nobody sees what its `excludedDocuments` name, and a signer sees
//! a document with tabs only if one of them is its own. The sender sees all. An envelope says so or not: whether the
//! account has the feature is not asked.
//!
//! Source: SPEC: envelope.enforceSignerVisibility, signer.excludedDocuments, `recipient_id` of EnvelopeDocuments:get.

use std::borrow::Cow;

use serde_json::Value;

use super::{
    access::{self, Part},
    model::{Envelope, File, Recipient, Refusal, Tab, text},
    settings,
};
use crate::emulator::{http::Call, state::World};

/// The documents of its envelope that this recipient sees.
pub(in crate::emulator) fn seen<'e>(
    envelope: &'e Envelope,
    recipient: &'e Recipient,
) -> impl Iterator<Item = &'e File> {
    envelope.documents.iter().filter(move |file| sees(envelope, recipient, file))
}

fn sees(envelope: &Envelope, recipient: &Recipient, file: &File) -> bool {
    if !hides(envelope) {
        return true;
    }
    let excluded = recipient.given.get("excludedDocuments").and_then(Value::as_array);
    if excluded.into_iter().flatten().any(|id| id.as_str() == Some(file.id.as_str())) {
        return false;
    }
    let is_here = |tab: &Tab| text(&tab.fields, "documentId") == Some(file.id.as_str());
    let has_tab = |one: &Recipient| one.tabs.iter().any(is_here);
    !recipient.kind.signs() || has_tab(recipient) || !envelope.recipients.iter().any(has_tab)
}

/// Whether anything in it may be hidden from anybody.
fn hides(envelope: &Envelope) -> bool {
    settings::is_on(&envelope.given, "enforceSignerVisibility")
}

/// The envelope with the documents that its caller may see.
pub(super) fn to_caller<'e>(world: &World, call: &Call, envelope: &'e Envelope) -> Cow<'e, Envelope> {
    if !hides(envelope) || Part::of(world, call, envelope) != Part::Recipient {
        return Cow::Borrowed(envelope);
    }
    let user = call.user.as_deref().unwrap_or_default();
    Cow::Owned(seen_by(envelope, |one| access::is_user(world, one, user)))
}

/// The envelope with the documents that a call asks for: the sender may ask for those that one recipient sees.
pub(super) fn asked_for<'e>(
    world: &World,
    call: &Call,
    envelope: &'e Envelope,
) -> Result<Cow<'e, Envelope>, Refusal> {
    let asked = call.query("recipient_id").filter(|id| !id.is_empty());
    let Some(id) = asked.filter(|_| Part::of(world, call, envelope) == Part::Sender) else {
        return Ok(to_caller(world, call, envelope));
    };
    let viewer = &envelope.recipients[envelope.place_of(id)?];
    Ok(Cow::Owned(seen_by(envelope, |one| one.guid == viewer.guid)))
}

/// With the documents that at least one of these recipients sees.
fn seen_by(envelope: &Envelope, is_viewer: impl Fn(&Recipient) -> bool) -> Envelope {
    let viewers: Vec<&Recipient> = envelope.recipients.iter().filter(|one| is_viewer(one)).collect();
    let mut narrowed = envelope.clone();
    narrowed.documents.retain(|file| viewers.iter().any(|one| sees(envelope, one, file)));
    narrowed
}
