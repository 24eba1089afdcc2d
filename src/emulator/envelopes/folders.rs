//! `…/folders`: the folders that every account has, what lies in them, and moving envelopes.
//!
//! An envelope lies where its status puts it, for its sender and for those it came to, until it is moved. Folders of
//! one's own are made in the vendor's pages, of which there are none here. In the recycle bin what is under way is
//! voided; nothing is forgotten there. Templates have no folders here: put in the bin, which is how they are deleted, they
//! are gone.
//!
//! Source: Folders:list, :listItems, :moveEnvelopes; SDK: the sample eg045. The names of the folders are those of its
//! text; that the answer to a move names what was moved is SPEC's foldersResponse, and Node's own tests. The ids, that
//! only the sender and administrators move, that the answer has the folder too, and how items are narrowed (the period is
//! about the last change of a status) are our reading.

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Outcome,
    access::{Part, is_recipient, is_sender, no_part, only_the_sender},
    body,
    filter::ItemFilter,
    find, locks,
    model::{Envelope, Refusal, Status, invalid},
    progress, render,
};
use crate::emulator::{
    connect,
    http::{Answer, Call, vendor_time},
    paging,
    schema::Body,
    state::World,
    templates,
};

/// Items in a page.
const MAX_PAGE: usize = 1_000;
/// Why what is put in the recycle bin is voided.
const DELETED: &str = "The envelope was deleted by its sender.";

/// One folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Folder {
    /// Its id, in every account.
    id: &'static str,
    /// The vendor's `type`, which may stand for the id.
    kind: &'static str,
    name: &'static str,
}

static INBOX: Folder = Folder { id: "8a4d6f10-7b2c-4e95-9c31-5d0e7a1b0001", kind: "inbox", name: "Inbox" };
static SENT: Folder =
    Folder { id: "8a4d6f10-7b2c-4e95-9c31-5d0e7a1b0002", kind: "sentitems", name: "Sent Items" };
static DRAFTS: Folder = Folder { id: "8a4d6f10-7b2c-4e95-9c31-5d0e7a1b0003", kind: "draft", name: "Draft" };
static BIN: Folder =
    Folder { id: "8a4d6f10-7b2c-4e95-9c31-5d0e7a1b0004", kind: "recyclebin", name: "Deleted Items" };

impl Folder {
    fn all() -> [&'static Self; 4] {
        [&INBOX, &SENT, &DRAFTS, &BIN]
    }

    /// The folder of that id or type.
    pub(super) fn named(word: &str) -> Option<&'static Self> {
        let is_it = |folder: &&Self| [folder.id, folder.kind].iter().any(|it| it.eq_ignore_ascii_case(word));
        Self::all().into_iter().find(is_it)
    }

    /// Whether it holds what was deleted.
    pub(super) fn is_bin(&self) -> bool {
        *self == BIN
    }

    /// Where an envelope lies for a user, if it is the user's at all.
    pub(super) fn of(world: &World, envelope: &Envelope, user: &str) -> Option<&'static Self> {
        let is_sent = is_sender(envelope, user);
        let is_received = envelope.status != Status::Created && is_recipient(world, envelope, user);
        match world.envelopes.filed.get(&envelope.id) {
            Some(&folder) if is_sent || is_received => Some(folder),
            _ if is_sent && envelope.status == Status::Created => Some(&DRAFTS),
            _ if is_sent => Some(&SENT),
            _ if is_received => Some(&INBOX),
            _ => None,
        }
    }
}

/// `…/folders` and `…/folders/{folder}`.
pub(super) fn route(world: &mut World, call: &Call, rest: &[&str]) -> Option<Outcome> {
    Some(match (rest, &call.method) {
        ([], &Method::GET) => list(world, call),
        ([id], &Method::GET) => named(id).and_then(|folder| items(world, call, folder)),
        ([id], &Method::PUT) => named(id).and_then(|folder| put(world, call, folder)),
        _ => return None,
    })
}

fn named(word: &str) -> Result<&'static Folder, Refusal> {
    Folder::named(word).ok_or_else(|| invalid("The account has no folder of that id."))
}

fn list(world: &World, call: &Call) -> Outcome {
    let include = call.query("include").filter(|list| !list.is_empty()).unwrap_or("envelope_folders");
    let has_envelopes = include.split(',').any(|kind| kind.trim().eq_ignore_ascii_case("envelope_folders"));
    let with_items = call.asks_for("include_items");
    let folders = Folder::all().into_iter().filter(|_| has_envelopes).map(|folder| {
        let (mut row, items) = held(world, call, folder, None);
        if with_items {
            row["folderItems"] = json!(items);
        }
        row
    });
    paging::page(call, "/folders", "folders", folders.collect(), MAX_PAGE).map(Answer::ok)
}

/// One folder and the size of what lies in it, as far as it is asked for; a page of that by `include_items`.
fn items(world: &World, call: &Call, folder: &Folder) -> Outcome {
    let filter = ItemFilter::read(call)?;
    let (mut row, all) = held(world, call, folder, Some(&filter));
    let at = format!("/folders/{}", folder.id);
    let mut answer = paging::page(call, &at, "folderItems", all, MAX_PAGE)?;
    if let Some(fields) = answer.as_object_mut() {
        let items = fields.remove("folderItems").filter(|_| call.asks_for("include_items"));
        if let Some(items) = items {
            row["folderItems"] = items;
        }
        fields.insert("folders".to_owned(), json!([row]));
    }
    Ok(Answer::ok(answer))
}

fn put(world: &mut World, call: &Call, folder: &'static Folder) -> Outcome {
    let given = body(call, Body::FoldersRequest)?;
    let named = given["envelopeIds"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let (deleted, moved): (Vec<&str>, Vec<&str>) = named.partition(|id| templates::is_known(world, call, id));
    if !deleted.is_empty() && !folder.is_bin() {
        return Err(invalid("The emulator has no folders of templates: one is only deleted, in the bin."));
    }
    let ids = moved.into_iter().map(|id| find(world, call, id)).collect::<Result<Vec<String>, Refusal>>()?;
    for id in &ids {
        match Part::of(world, call, &world.envelopes.envelopes[id]) {
            Part::None => return Err(no_part()),
            Part::Recipient => return Err(only_the_sender()),
            Part::Sender => locks::guard(world, call, id, &["folders"])?,
        }
    }
    for id in &ids {
        if folder.is_bin() {
            discard(world, id, call.now);
        } else {
            world.envelopes.filed.insert(id.clone(), folder);
        }
    }
    for id in deleted {
        templates::delete(world, call, id);
    }
    let held = lying_in(world, call, folder).count();
    let moved: Vec<Value> = ids.iter().map(|id| summary(&world.envelopes.envelopes[id])).collect();
    Ok(Answer::ok(json!({ "folders": [counted(world, call, folder, held)], "envelopes": moved })))
}

/// One that was moved, as it stands now (SPEC: envelopeSummary).
fn summary(envelope: &Envelope) -> Value {
    json!({
        "envelopeId": envelope.id,
        "status": envelope.status.name(),
        "statusDateTime": vendor_time(envelope.changed),
        "uri": format!("/envelopes/{}", envelope.id),
    })
}

/// Puts an envelope in the recycle bin, which is how it is deleted.
pub(super) fn discard(world: &mut World, id: &str, now: Timestamp) {
    progress::delete(world, id, DELETED, now);
    if world.envelopes.filed.insert(id.to_owned(), &BIN) != Some(&BIN) {
        connect::emit(world, id, "envelope-deleted", None, now);
    }
}

/// What lies in a folder for the caller, newest first.
fn lying_in<'w>(world: &'w World, call: &'w Call, folder: &'w Folder) -> impl Iterator<Item = &'w Envelope> {
    let user = call.user.as_deref().unwrap_or_default();
    let all = world.envelopes.made(None).into_iter().rev();
    let mine = all.filter(|envelope| Some(&envelope.account) == call.account.as_ref());
    mine.filter(move |envelope| Folder::of(world, envelope, user) == Some(folder))
}

/// A folder with the size of what lies in it, as far as that is asked for, and that itself.
fn held(world: &World, call: &Call, folder: &Folder, filter: Option<&ItemFilter>) -> (Value, Vec<Value>) {
    let asked = |envelope: &&Envelope| filter.is_none_or(|filter| filter.admits(world, envelope));
    let all = lying_in(world, call, folder).filter(asked);
    let items: Vec<Value> = all.map(|envelope| item(world, envelope)).collect();
    (counted(world, call, folder, items.len()), items)
}

fn item(world: &World, envelope: &Envelope) -> Value {
    let sender = render::sender(world, envelope);
    let mut item = json!({
        "ownerName": sender["userName"],
        "senderName": sender["userName"],
        "senderEmail": sender["email"],
        "senderUserId": sender["userId"],
        "envelopeId": envelope.id,
        "envelopeUri": format!("/envelopes/{}", envelope.id),
        "recipientsUri": format!("/envelopes/{}/recipients", envelope.id),
        "status": envelope.status.name(),
        "subject": envelope.subject,
        "is21CFRPart11": "false",
        "createdDateTime": vendor_time(envelope.created),
        "lastModifiedDateTime": vendor_time(envelope.modified),
    });
    for status in ["sent", "completed"] {
        if let Some(at) = envelope.reached.get(status) {
            item[format!("{status}DateTime")] = json!(vendor_time(*at));
        }
    }
    if let Some(at) = envelope.expires {
        item["expireDateTime"] = json!(vendor_time(at));
    }
    item
}

/// The folder in which an envelope lies for a user, as the envelope has it (SPEC: envelope.folders): without the
/// number of what else lies there, which the folder's own address tells.
pub(in crate::emulator) fn holding(world: &World, user: &str, envelope: &Envelope) -> Vec<Value> {
    let folder = Folder::of(world, envelope, user);
    folder.into_iter().map(|folder| shown(world, user, folder)).collect()
}

fn counted(world: &World, call: &Call, folder: &Folder, items: usize) -> Value {
    let mut row = shown(world, call.user.as_deref().unwrap_or_default(), folder);
    row["itemCount"] = json!(items.to_string());
    row
}

fn shown(world: &World, id: &str, folder: &Folder) -> Value {
    let user = world.directory.users.get(id);
    json!({
        "folderId": folder.id,
        "name": folder.name,
        "type": folder.kind,
        "uri": format!("/folders/{}", folder.id),
        "parentFolderId": "root",
        "hasAccess": "true",
        "hasSubFolders": "false",
        "subFolderCount": "0",
        "owner": {
            "userId": id,
            "userName": user.map(|user| user.name.clone()).unwrap_or_default(),
            "email": user.map(|user| user.email.clone()).unwrap_or_default(),
        },
    })
}
