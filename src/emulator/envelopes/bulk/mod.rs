//! Bulk sends: a list of copies, a draft or a template that they are made of, and the batch that comes of both.
//!
//! All copies are made and sent within the call, which at the vendor only queues them; what a copy is refused is told in
//! the batch. The actions on a whole batch (`…/bulk_send_batch/{id}/{action}`) are not played.
//!
//! Sources: SPEC: BulkSend (createBulkSendList, createBulkSendTestRequest, createBulkSendRequest, getBulkSendBatches);
//! SDK: the sample eg031. Our reading: that only what the vendor's placeholders stand for must be in every copy, that a
//! list is its maker's alone, that each copy names its batch in a custom field, and what deleting a list answers.

mod batch;
mod fit;
mod list;

use http::Method;

use self::{batch::Batch, list::List};
use super::Outcome;
use crate::emulator::{http::Call, state::World};

/// All lists and batches, in the order they were made.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    lists: Vec<List>,
    batches: Vec<Batch>,
}

/// `…/bulk_send_lists` and `…/bulk_send_batch`.
pub(super) fn route(world: &mut World, call: &Call) -> Option<Outcome> {
    let (get, put, post, delete) = (Method::GET, Method::PUT, Method::POST, Method::DELETE);
    let is = |method: &Method| call.method == *method;
    Some(match call.below_account().as_slice() {
        ["bulk_send_lists"] if is(&get) => Ok(list::all(world, call)),
        ["bulk_send_lists"] if is(&post) => list::create(world, call),
        ["bulk_send_lists", id] if is(&get) => list::one(world, call, id),
        ["bulk_send_lists", id] if is(&put) => list::replace(world, call, id),
        ["bulk_send_lists", id] if is(&delete) => list::delete(world, call, id),
        ["bulk_send_lists", id, "send"] if is(&post) => batch::send(world, call, id),
        ["bulk_send_lists", id, "test"] if is(&post) => batch::test(world, call, id),
        ["bulk_send_batch"] if is(&get) => batch::all(world, call),
        ["bulk_send_batch", id] if is(&get) => batch::one(world, call, id),
        ["bulk_send_batch", id] if is(&put) => batch::rename(world, call, id),
        ["bulk_send_batch", id, "envelopes"] if is(&get) => batch::envelopes(world, call, id),
        _ => return None,
    })
}
