//! Rows: how things lie in the database, and the conversion from and to the domain, by hand, because the
//! conversion is where validation happens.
//!
//! Dates are microseconds since 1970 UTC, ids the bytes of their UUIDs, and whatever is personal or
//! secret is sealed before it comes near a connection.

mod counters;
mod inbox;
mod outbox;
mod senders;
mod signing;
mod writes;

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::store::{
    CLOCKS, Digest, Error, LONGEST_DELIVERY, LONGEST_DELIVERY_LEASE, LONGEST_LOOK, LONGEST_RETRY, Record,
    Version,
    seal::{Place, SealKeys},
};

pub(super) use counters::counter_name;
pub(super) use inbox::{InboundRow, inbound, inbound_page};
pub(super) use outbox::{
    DueRow, EndpointRow, EventRow, event_kinds, event_words, own_webhook, seal_endpoint, seal_endpoints,
    webhook_of,
};
pub(super) use senders::SenderRow;
pub(super) use signing::{SigningRow, signing_columns};
pub(super) use writes::{ChangedRow, NewPayload, NewRow};

/// How long an uncertain create counts as one whose envelope is being found out about.
pub(super) const MAKING_US: i64 = 15 * 60 * 1_000_000;
/// How long a create that nobody could look for may have made an envelope that is not written down.
pub(super) const UNSEEN_US: i64 = 24 * 3_600 * 1_000_000;

/// Beyond what nobody writes at a time: a clock wrote it that has been set back since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) now: i64,
    /// Of leases, and of what failed.
    pub(super) retry: i64,
    /// Of look-ups that nobody waits for.
    pub(super) look: i64,
    /// Of when somebody was heard of.
    pub(super) heard: i64,
    /// Of deliveries, and of their leases.
    pub(super) delivery: i64,
    pub(super) delivery_lease: i64,
}

impl Bounds {
    pub(super) fn at(now: Timestamp) -> Self {
        let now = micros(now);
        let beyond = |wait: Duration| now.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX));
        Self {
            now,
            retry: beyond(LONGEST_RETRY),
            look: beyond(LONGEST_LOOK),
            heard: beyond(CLOCKS),
            delivery: beyond(LONGEST_DELIVERY),
            delivery_lease: beyond(LONGEST_DELIVERY_LEASE),
        }
    }
}

/// The records of those rows that can be read. One damaged row must not keep the rest from being worked
/// on; if nothing can be read, that is the answer.
pub(super) fn readable(rows: Vec<SigningRow>, keys: &SealKeys) -> Result<Vec<Record>, Error> {
    let mut records = Vec::with_capacity(rows.len());
    let mut failed = None;
    for row in rows {
        let id = Uuid::from_bytes(row.id);
        match row.into_record(keys) {
            Ok(record) => records.push(record),
            Err(e) => {
                tracing::error!(signing.id = %id.simple(), error = %e, "a stored signing cannot be read");
                failed = Some(e);
            }
        }
    }
    match failed {
        Some(e) if records.is_empty() => Err(e),
        _ => Ok(records),
    }
}

/// Those of other rows that can be read. A damaged one, or one of a later version, is told of and passed over.
pub(super) fn legible<R, T>(
    rows: impl IntoIterator<Item = R>,
    what: &'static str,
    read: impl Fn(R) -> Result<T, Error>,
) -> Vec<T> {
    let read = rows.into_iter().map(read);
    read.filter_map(|row| {
        row.inspect_err(|error| tracing::error!(what, %error, "a stored row cannot be read: passed over"))
            .ok()
    })
    .collect()
}

pub(super) const fn sealed_place(signing: &[u8; 16]) -> Place<'_> {
    Place { table: "signings", column: "sealed", row: signing }
}

/// What stands before a kept answer: its status, which was never another than 201. Rows that are there have it, and an
/// older daemon that shares the database reads it.
pub(super) const ANSWER_PREFIX: [u8; 2] = 201_u16.to_be_bytes();

pub(super) const fn answer_place(signing: &[u8; 16]) -> Place<'_> {
    Place { table: "signings", column: "answer", row: signing }
}

pub(super) const fn payload_place(signing: &[u8; 16]) -> Place<'_> {
    Place { table: "payloads", column: "body", row: signing }
}

pub(super) const fn inbound_place(identity: &Digest) -> Place<'_> {
    Place { table: "inbound", column: "body", row: identity }
}

pub(super) const fn endpoint_place(endpoint: &[u8; 16]) -> Place<'_> {
    Place { table: "endpoints", column: "sealed", row: endpoint }
}

pub(super) const fn event_place(id: &[u8; 16]) -> Place<'_> {
    Place { table: "events", column: "sealed", row: id }
}

pub(super) const fn sender_place(name: &str) -> Place<'_> {
    Place { table: "senders", column: "sealed", row: name.as_bytes() }
}

/// A value in the database that this version cannot read.
pub(super) fn malformed(what: &str) -> Error {
    Error::Unusable(format!("a stored {what} has a form this version does not know"))
}

pub(super) const fn bytes(uuid: Uuid) -> [u8; 16] {
    uuid.into_bytes()
}

pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

pub(super) fn timestamp(micros: i64) -> Result<Timestamp, Error> {
    Timestamp::from_microsecond(micros).map_err(|_| malformed("date"))
}

pub(super) fn version(number: i64) -> Version {
    Version(number.unsigned_abs())
}

/// A number as both databases hold it. Ours never come near the limit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn hex(uuid: Uuid) -> String {
    uuid.simple().to_string()
}

pub(super) fn uuid(text: &str) -> Result<Uuid, Error> {
    Uuid::try_parse(text).map_err(|_| malformed("id"))
}

pub(super) fn cow(text: Option<&String>) -> Option<std::borrow::Cow<'_, str>> {
    text.map(|text| std::borrow::Cow::Borrowed(text.as_str()))
}
