//! Rows of signings and their payloads.

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{events, links, maybe_time, micros, time, uuid};
use crate::{
    domain::{Event, Private, Signing, SigningId, SigningStatus},
    store::{
        Change, Digest, Error, Filter, Intent, KeptAnswer, Link, Payload, Record, SealKeys, Version, Work,
        rows::{self, Columns},
        seal::Place,
    },
};

/// The columns of a record, in the order in which [`record`] reads them.
macro_rules! columns {
    () => {
        "id, caller, sender, reference, status, envelope, created_at, version, key, request, state, \
         personal_sealed, answer_status, answer_sealed, due_at, leased_until, attempts"
    };
}

const fn place<'a>(column: &'static str, id: &'a [u8; 16]) -> Place<'a> {
    Place { column, row: id }
}

/// A new signing, sealed and ready to be written.
pub(super) struct NewRow {
    id: [u8; 16],
    caller: String,
    sender: String,
    reference: Option<String>,
    key: Digest,
    request: Digest,
    state: Vec<u8>,
    personal: Vec<u8>,
    payload: Option<Vec<u8>>,
    work: Work,
    created_at: Timestamp,
    links: Vec<Link>,
}

impl NewRow {
    pub(super) fn of(intent: &Intent, keys: &SealKeys) -> Self {
        let signing = &intent.signing;
        let id = *signing.id.as_uuid().as_bytes();
        let seal = |column, plain: &[u8]| keys.seal(place(column, &id), plain);
        Self {
            caller: signing.caller.to_string(),
            sender: signing.sender.to_string(),
            reference: signing.reference.clone(),
            key: intent.key,
            request: intent.request,
            state: rows::state(signing),
            personal: seal("signings.personal", &rows::personal(signing)),
            payload: intent.payload.as_ref().map(|payload| seal("payloads.body", payload.reveal())),
            work: intent.work,
            created_at: signing.created_at,
            links: intent.links.clone(),
            id,
        }
    }
}

/// Writes a new signing; `None` if its key is taken.
pub(super) fn begin(connection: &Connection, row: &NewRow) -> Result<Option<Version>, Error> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO signings (id, caller, key, request, sender, reference, status, version, state,
             personal_sealed, due_at, leased_until, attempts, created_at, changed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'creating', 1, ?7, ?8, ?9, ?10, ?11, ?12, ?12)
         ON CONFLICT (key) DO NOTHING",
    )?;
    let written = insert.execute(params![
        row.id,
        row.caller,
        row.key,
        row.request,
        row.sender,
        row.reference,
        row.state,
        row.personal,
        micros(row.work.due_at),
        row.work.leased_until.map(micros),
        row.work.attempts,
        micros(row.created_at),
    ])?;
    if written == 0 {
        return Ok(None);
    }
    if let Some(payload) = &row.payload {
        put_payload(connection, &row.id, payload)?;
    }
    row.links.iter().try_for_each(|link| links::add(connection, link))?;
    Ok(Some(Version(1)))
}

/// A change, sealed and ready to be written.
pub(super) struct ChangedRow {
    id: [u8; 16],
    from: Version,
    status: &'static str,
    is_ended: bool,
    envelope: Option<String>,
    state: Vec<u8>,
    personal: Vec<u8>,
    answer: Option<(u16, Vec<u8>)>,
    payload: PayloadRow,
    work: Option<Work>,
    events: Vec<Event>,
    links: Vec<Link>,
}

enum PayloadRow {
    Drop,
    Keep,
    Put(Vec<u8>),
}

impl ChangedRow {
    pub(super) fn of(change: Change<'_>, keys: &SealKeys) -> Self {
        let signing = change.signing;
        let id = *signing.id.as_uuid().as_bytes();
        let seal = |column, plain: &[u8]| keys.seal(place(column, &id), plain);
        Self {
            from: change.from,
            status: signing.status.as_str(),
            is_ended: signing.status.is_terminal(),
            envelope: signing.envelope.as_ref().map(ToString::to_string),
            state: rows::state(signing),
            personal: seal("signings.personal", &rows::personal(signing)),
            answer: change
                .answer
                .map(|answer| (answer.status, seal("signings.answer", answer.body.reveal()))),
            payload: match change.payload {
                Payload::Drop => PayloadRow::Drop,
                Payload::Keep => PayloadRow::Keep,
                Payload::Put(body) => PayloadRow::Put(seal("payloads.body", body.reveal())),
            },
            work: change.work,
            events: change.events,
            links: change.links,
            id,
        }
    }
}

/// Writes a change, if the record is still at the version that it was computed from.
pub(super) fn save(connection: &Connection, row: &ChangedRow) -> Result<Version, Error> {
    // The time of the change is that of its newest event, or the last one known: the store reads no clock.
    let mut update = connection.prepare_cached(
        "UPDATE signings SET status = ?3, envelope = ?4, version = version + 1, state = ?5, personal_sealed = ?6,
             answer_status = coalesce(?7, answer_status), answer_sealed = coalesce(?8, answer_sealed),
             due_at = ?9, leased_until = ?10, attempts = ?11, changed_at = max(changed_at, ?12),
             ended_at = CASE WHEN ?13 THEN coalesce(ended_at, max(changed_at, ?12)) END
         WHERE id = ?1 AND version = ?2",
    )?;
    let changed_at = row.events.last().map_or(0, |event| micros(event.at));
    let written = update.execute(params![
        row.id,
        row.from.0,
        row.status,
        row.envelope,
        row.state,
        row.personal,
        row.answer.as_ref().map(|(status, _)| *status),
        row.answer.as_ref().map(|(_, body)| body),
        row.work.map(|work| micros(work.due_at)),
        row.work.and_then(|work| work.leased_until).map(micros),
        row.work.map_or(0, |work| work.attempts),
        changed_at,
        row.is_ended,
    ])?;
    if written == 0 {
        return Err(Error::Conflict);
    }
    match &row.payload {
        PayloadRow::Drop => {
            connection.prepare_cached("DELETE FROM payloads WHERE signing = ?1")?.execute([&row.id])?;
        }
        PayloadRow::Keep => {}
        PayloadRow::Put(body) => put_payload(connection, &row.id, body)?,
    }
    row.links.iter().try_for_each(|link| links::add(connection, link))?;
    row.events.iter().try_for_each(|event| events::add(connection, event))?;
    Ok(Version(row.from.0 + 1))
}

fn put_payload(connection: &Connection, id: &[u8; 16], body: &[u8]) -> Result<(), Error> {
    let sql = "INSERT INTO payloads (signing, body_sealed) VALUES (?1, ?2)
               ON CONFLICT (signing) DO UPDATE SET body_sealed = excluded.body_sealed";
    connection.prepare_cached(sql)?.execute(params![id, body])?;
    Ok(())
}

pub(super) fn forget(connection: &Connection, id: SigningId, from: Version) -> Result<(), Error> {
    let sql = "DELETE FROM signings WHERE id = ?1 AND version = ?2";
    let gone = connection.prepare_cached(sql)?.execute(params![id.as_uuid().as_bytes(), from.0])?;
    if gone == 0 { Err(Error::Conflict) } else { Ok(()) }
}

pub(super) fn payload(
    connection: &Connection,
    keys: &SealKeys,
    id: SigningId,
) -> Result<Option<Private<Bytes>>, Error> {
    let id = *id.as_uuid().as_bytes();
    let sealed: Option<Vec<u8>> = connection
        .prepare_cached("SELECT body_sealed FROM payloads WHERE signing = ?1")?
        .query_row([&id], |row| row.get(0))
        .optional()?;
    sealed.map(|sealed| keys.open(place("payloads.body", &id), sealed).map(Private::new)).transpose()
}

pub(super) fn by_id(
    connection: &Connection,
    keys: &SealKeys,
    id: SigningId,
) -> Result<Option<Record>, Error> {
    let sql = concat!("SELECT ", columns!(), " FROM signings WHERE id = ?1");
    one(connection, keys, sql, params![id.as_uuid().as_bytes()])
}

pub(super) fn by_key(connection: &Connection, keys: &SealKeys, key: Digest) -> Result<Option<Record>, Error> {
    one(connection, keys, concat!("SELECT ", columns!(), " FROM signings WHERE key = ?1"), params![key])
}

pub(super) fn by_envelope(
    connection: &Connection,
    keys: &SealKeys,
    envelope: &str,
) -> Result<Option<Record>, Error> {
    one(
        connection,
        keys,
        concat!("SELECT ", columns!(), " FROM signings WHERE envelope = ?1"),
        params![envelope],
    )
}

pub(super) fn page(
    connection: &Connection,
    keys: &SealKeys,
    caller: &str,
    filter: &Filter,
) -> Result<Vec<Signing>, Error> {
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM signings WHERE caller = ?1 AND (?2 IS NULL OR reference = ?2) AND (?3 IS NULL OR status = ?3)
              AND (?4 IS NULL OR id < ?4) ORDER BY id DESC LIMIT ?5"
    );
    let before = filter.before.map(|id| *id.as_uuid().as_bytes());
    let status = filter.status.map(SigningStatus::as_str);
    let found = many(connection, keys, sql, params![caller, filter.reference, status, before, filter.limit])?;
    Ok(found.into_iter().map(|record| record.signing).collect())
}

pub(super) fn any_due(connection: &Connection, now: Timestamp) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM signings WHERE due_at <= ?1 AND (leased_until IS NULL OR leased_until <= ?1))";
    Ok(connection.prepare_cached(sql)?.query_row([micros(now)], |row| row.get(0))?)
}

pub(super) fn claim(
    connection: &Connection,
    keys: &SealKeys,
    now: Timestamp,
    until: Timestamp,
    limit: u32,
) -> Result<Vec<Record>, Error> {
    let sql = concat!(
        "UPDATE signings SET leased_until = ?2, due_at = ?2, version = version + 1
         WHERE id IN (SELECT id FROM signings WHERE due_at <= ?1 AND (leased_until IS NULL OR leased_until <= ?1)
                      ORDER BY due_at, id LIMIT ?3)
         RETURNING ",
        columns!()
    );
    let mut claimed = many(connection, keys, sql, params![micros(now), micros(until), limit])?;
    claimed.sort_by_key(|record| record.signing.id);
    Ok(claimed)
}

pub(super) fn unsettled(connection: &Connection) -> Result<u64, Error> {
    let sql = "SELECT count(*) FROM signings WHERE status IN ('creating', 'uncertain')";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

pub(super) fn quiet(
    connection: &Connection,
    keys: &SealKeys,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<Record>, Error> {
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM signings WHERE status = 'open' AND changed_at < ?1 ORDER BY changed_at LIMIT ?2"
    );
    many(connection, keys, sql, params![micros(before), limit])
}

fn one(
    connection: &Connection,
    keys: &SealKeys,
    sql: &str,
    values: &[&dyn rusqlite::ToSql],
) -> Result<Option<Record>, Error> {
    Ok(many(connection, keys, sql, values)?.pop())
}

fn many(
    connection: &Connection,
    keys: &SealKeys,
    sql: &str,
    values: &[&dyn rusqlite::ToSql],
) -> Result<Vec<Record>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(record(row, keys)?);
    }
    Ok(found)
}

fn record(row: &Row<'_>, keys: &SealKeys) -> Result<Record, Error> {
    let id = uuid(row, 0)?;
    let raw = *id.as_bytes();
    let columns = Columns {
        id: SigningId::from_uuid(id),
        caller: row.get(1)?,
        sender: row.get(2)?,
        reference: row.get(3)?,
        status: row.get(4)?,
        envelope: row.get(5)?,
        created_at: time(row.get(6)?),
    };
    let personal: Option<Vec<u8>> = row.get(11)?;
    let personal = personal.map(|sealed| keys.open(place("signings.personal", &raw), sealed)).transpose()?;
    let answer = match (row.get::<_, Option<u16>>(12)?, row.get::<_, Option<Vec<u8>>>(13)?) {
        (Some(status), Some(sealed)) => {
            let body = keys.open(place("signings.answer", &raw), sealed)?;
            Some(KeptAnswer { status, body: Private::new(body) })
        }
        _ => None,
    };
    let due_at: Option<i64> = row.get(14)?;
    let leased_until = maybe_time(row.get(15)?);
    let attempts = row.get(16)?;
    let state =
        row.get_ref(10)?.as_blob().map_err(|_| Error::Unusable("a signing's row cannot be read".into()))?;
    Ok(Record {
        signing: rows::signing(columns, state, personal.as_deref())?,
        version: Version(row.get(7)?),
        key: row.get(8)?,
        request: row.get(9)?,
        answer,
        work: due_at.map(|due_at| Work { due_at: time(due_at), leased_until, attempts }),
    })
}
