//! Rows of the outbox: events, endpoints, deliveries.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{maybe_time, micros, time, uuid};
use crate::{
    domain::{CallerName, DeliveryId, EndpointId, Event, EventId, EventKind, Private, SignerId, SigningId},
    store::{Delivery, DeliveryState, DueDelivery, Endpoint, Error, EventFilter, SealKeys, seal::Place},
};

const EVENT: &str = "e.id, e.caller, e.kind, e.signing, e.signer, e.sequence, e.at, e.data";
const DELIVERY: &str = "d.id, d.event, d.endpoint, d.caller, d.state, d.attempts, d.created_at, d.due_at, \
                        d.attempted_at, d.response_status, d.error";

pub(super) fn add(connection: &Connection, event: &Event) -> Result<(), Error> {
    let sql = "INSERT INTO events (id, caller, kind, signing, signer, sequence, at, data)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    connection.prepare_cached(sql)?.execute(params![
        event.id.as_uuid().as_bytes(),
        event.caller.as_str(),
        event.kind.as_str(),
        event.signing.map(|id| *id.as_uuid().as_bytes()),
        event.signer.map(|id| *id.as_uuid().as_bytes()),
        event.sequence,
        micros(event.at),
        event.data,
    ])?;
    Ok(())
}

pub(super) fn list(connection: &Connection, filter: &EventFilter) -> Result<Vec<Event>, Error> {
    let after: i64 = match filter.after {
        // A cursor that retention has deleted starts from the beginning of what is left.
        Some(id) => connection
            .prepare_cached("SELECT position FROM events WHERE id = ?1")?
            .query_row([id.as_uuid().as_bytes()], |row| row.get(0))
            .optional()?
            .unwrap_or(0),
        None => 0,
    };
    let caller = filter.caller.as_ref().map(CallerName::as_str);
    let signing = filter.signing.map(|id| *id.as_uuid().as_bytes());
    // Which filter there is decides which index serves, so each has its own text.
    let condition = match (caller, signing) {
        (_, Some(_)) => "e.signing = ?2 AND (?1 IS NULL OR e.caller = ?1)",
        (Some(_), None) => "e.caller = ?1 AND ?2 IS NULL",
        (None, None) => "?1 IS NULL AND ?2 IS NULL",
    };
    let sql = format!(
        "SELECT {EVENT} FROM events e WHERE {condition} AND e.position > ?3 ORDER BY e.position LIMIT ?4"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![caller, signing, after, filter.limit], |row| event(row, 0))?;
    rows.map(|event| event?.ok_or_else(unreadable)).collect()
}

fn unreadable() -> Error {
    Error::Unusable("an event's row cannot be read".into())
}

fn event(row: &Row<'_>, from: usize) -> rusqlite::Result<Option<Event>> {
    let id = |bytes: [u8; 16]| uuid::Uuid::from_bytes(bytes);
    let kind: String = row.get(from + 2)?;
    let Some(kind) = EventKind::parse(&kind) else { return Ok(None) };
    Ok(Some(Event {
        id: EventId::from_uuid(uuid(row, from)?),
        caller: CallerName::new(row.get::<_, String>(from + 1)?),
        kind,
        signing: row.get::<_, Option<[u8; 16]>>(from + 3)?.map(|bytes| SigningId::from_uuid(id(bytes))),
        signer: row.get::<_, Option<[u8; 16]>>(from + 4)?.map(|bytes| SignerId::from_uuid(id(bytes))),
        sequence: row.get(from + 5)?,
        at: time(row.get(from + 6)?),
        data: row.get(from + 7)?,
    }))
}

/// The secrets of an endpoint, and since when the newest is in use, as one sealed value.
pub(super) fn seal_secrets(keys: &SealKeys, endpoint: &Endpoint) -> Vec<u8> {
    let secrets = (endpoint.rotated_at.map(micros), endpoint.secrets.reveal());
    let secrets = serde_json::to_vec(&secrets).expect("numbers and lists of bytes serialise");
    keys.seal(secrets_place(endpoint.id.as_uuid().as_bytes()), &secrets)
}

const fn secrets_place(id: &[u8; 16]) -> Place<'_> {
    Place { column: "endpoints.secrets", row: id }
}

pub(super) fn put_endpoint(
    connection: &Connection,
    endpoint: &Endpoint,
    secrets: &[u8],
) -> Result<(), Error> {
    let sql = "INSERT INTO endpoints (id, caller, url, secrets_sealed, events, allow_private, from_settings,
                   created_at, disabled_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
               ON CONFLICT (id) DO UPDATE SET caller = excluded.caller, url = excluded.url,
                   secrets_sealed = excluded.secrets_sealed, events = excluded.events,
                   allow_private = excluded.allow_private, from_settings = excluded.from_settings,
                   disabled_at = excluded.disabled_at";
    connection.prepare_cached(sql)?.execute(params![
        endpoint.id.as_uuid().as_bytes(),
        endpoint.caller.as_str(),
        endpoint.url,
        secrets,
        words(&endpoint.events),
        endpoint.allow_private,
        endpoint.from_settings,
        micros(endpoint.created_at),
        endpoint.disabled_at.map(micros),
    ])?;
    Ok(())
}

/// Kinds as `,a,b,`: so that one kind can be looked for with its commas.
fn words(kinds: &[EventKind]) -> String {
    kinds.iter().fold(String::from(","), |all, kind| all + kind.as_str() + ",")
}

pub(super) fn endpoints(
    connection: &Connection,
    keys: &SealKeys,
    caller: Option<&str>,
) -> Result<Vec<Endpoint>, Error> {
    let sql = "SELECT id, caller, url, secrets_sealed, events, allow_private, from_settings, created_at, disabled_at
               FROM endpoints WHERE ?1 IS NULL OR caller = ?1 ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![caller])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(endpoint(row, keys, 0)?);
    }
    Ok(found)
}

fn endpoint(row: &Row<'_>, keys: &SealKeys, from: usize) -> Result<Endpoint, Error> {
    let id = uuid(row, from)?;
    let secrets = keys.open(secrets_place(id.as_bytes()), row.get(from + 3)?)?;
    let (rotated_at, secrets) = serde_json::from_slice(&secrets).map_err(|_| unreadable())?;
    let events: String = row.get(from + 4)?;
    Ok(Endpoint {
        id: EndpointId::from_uuid(id),
        caller: CallerName::new(row.get::<_, String>(from + 1)?),
        url: row.get(from + 2)?,
        secrets: Private::new(secrets),
        rotated_at: maybe_time(rotated_at),
        events: events.split(',').filter_map(EventKind::parse).collect(),
        allow_private: row.get(from + 5)?,
        from_settings: row.get(from + 6)?,
        created_at: time(row.get(from + 7)?),
        disabled_at: maybe_time(row.get(from + 8)?),
    })
}

pub(super) fn remove_endpoint(connection: &Connection, id: EndpointId) -> Result<(), Error> {
    let id = *id.as_uuid().as_bytes();
    connection.prepare_cached("DELETE FROM endpoints WHERE id = ?1")?.execute([&id])?;
    let sql =
        "UPDATE deliveries SET state = 'failed', leased_until = NULL, error = 'the endpoint was removed'
               WHERE endpoint = ?1 AND state = 'pending'";
    connection.prepare_cached(sql)?.execute([&id])?;
    Ok(())
}

pub(super) fn any_to_fan_out(connection: &Connection) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM events WHERE fanned = 0)";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// Makes deliveries of events that have none yet. Answers how many events it took.
pub(super) fn fan_out(connection: &Connection, now: Timestamp, limit: u32) -> Result<u64, Error> {
    let mut wanted = connection.prepare_cached(
        "SELECT e.id, p.id, p.caller FROM (SELECT * FROM events WHERE fanned = 0 ORDER BY position LIMIT ?1) e
         JOIN endpoints p ON p.caller = e.caller AND p.disabled_at IS NULL
              AND (p.events = ',' OR instr(p.events, ',' || e.kind || ',') > 0)
         ORDER BY e.position",
    )?;
    let mut rows = wanted.query([limit])?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO deliveries (id, event, endpoint, caller, state, attempts, created_at, due_at)
         VALUES (?1, ?2, ?3, ?4, 'pending', 0, ?5, ?5)",
    )?;
    while let Some(row) = rows.next()? {
        let id = DeliveryId::generate(now);
        let (event, endpoint): ([u8; 16], [u8; 16]) = (row.get(0)?, row.get(1)?);
        insert.execute(params![
            id.as_uuid().as_bytes(),
            event,
            endpoint,
            row.get::<_, String>(2)?,
            micros(now)
        ])?;
    }
    let sql = "UPDATE events SET fanned = 1 WHERE position IN
                   (SELECT position FROM events WHERE fanned = 0 ORDER BY position LIMIT ?1)";
    Ok(connection.prepare_cached(sql)?.execute([limit])? as u64)
}

pub(super) fn any_due(connection: &Connection, now: Timestamp) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM deliveries WHERE state = 'pending' AND due_at <= ?1
                   AND (leased_until IS NULL OR leased_until <= ?1))";
    Ok(connection.prepare_cached(sql)?.query_row([micros(now)], |row| row.get(0))?)
}

pub(super) fn claim(
    connection: &Connection,
    keys: &SealKeys,
    now: Timestamp,
    until: Timestamp,
    per_endpoint: u32,
    limit: u32,
) -> Result<Vec<DueDelivery>, Error> {
    let sql = format!(
        "SELECT {DELIVERY}, {EVENT}, p.id, p.caller, p.url, p.secrets_sealed, p.events, p.allow_private,
                p.from_settings, p.created_at, p.disabled_at
         FROM (SELECT *, row_number() OVER (PARTITION BY endpoint ORDER BY due_at, id) AS place
               FROM deliveries WHERE state = 'pending' AND due_at <= ?1
                    AND (leased_until IS NULL OR leased_until <= ?1)) d
         JOIN events e ON e.id = d.event JOIN endpoints p ON p.id = d.endpoint AND p.disabled_at IS NULL
         WHERE d.place <= ?2 ORDER BY d.place, d.due_at, d.id LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![micros(now), per_endpoint, limit])?;
    let mut claimed = Vec::new();
    while let Some(row) = rows.next()? {
        let event = event(row, 11)?.ok_or_else(unreadable)?;
        claimed.push(DueDelivery { delivery: delivery(row)?, event, endpoint: endpoint(row, keys, 19)? });
    }
    let mut lease = connection.prepare_cached("UPDATE deliveries SET leased_until = ?2 WHERE id = ?1")?;
    for due in &claimed {
        lease.execute(params![due.delivery.id.as_uuid().as_bytes(), micros(until)])?;
    }
    Ok(claimed)
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let state: String = row.get(4)?;
    Ok(Delivery {
        id: DeliveryId::from_uuid(uuid(row, 0)?),
        event: EventId::from_uuid(uuid(row, 1)?),
        endpoint: EndpointId::from_uuid(uuid(row, 2)?),
        caller: CallerName::new(row.get::<_, String>(3)?),
        state: match state.as_str() {
            "delivered" => DeliveryState::Delivered,
            "pending" => DeliveryState::Pending,
            _ => DeliveryState::Failed,
        },
        attempts: row.get(5)?,
        created_at: time(row.get(6)?),
        due_at: time(row.get(7)?),
        attempted_at: maybe_time(row.get(8)?),
        response_status: row.get(9)?,
        error: row.get(10)?,
    })
}

pub(super) fn attempted(connection: &Connection, delivery: &Delivery) -> Result<(), Error> {
    let state = match delivery.state {
        DeliveryState::Delivered => "delivered",
        DeliveryState::Failed => "failed",
        DeliveryState::Pending => "pending",
    };
    let sql = "UPDATE deliveries SET state = ?2, attempts = ?3, due_at = ?4, attempted_at = ?5,
                   response_status = ?6, error = ?7, leased_until = NULL WHERE id = ?1";
    connection.prepare_cached(sql)?.execute(params![
        delivery.id.as_uuid().as_bytes(),
        state,
        delivery.attempts,
        micros(delivery.due_at),
        delivery.attempted_at.map(micros),
        delivery.response_status,
        delivery.error,
    ])?;
    Ok(())
}

pub(super) fn deliveries(
    connection: &Connection,
    caller: &str,
    before: Option<DeliveryId>,
    limit: u32,
) -> Result<Vec<Delivery>, Error> {
    let sql = format!(
        "SELECT {DELIVERY} FROM deliveries d WHERE d.caller = ?1 AND (?2 IS NULL OR d.id < ?2)
         ORDER BY d.id DESC LIMIT ?3"
    );
    let before = before.map(|id| *id.as_uuid().as_bytes());
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![caller, before, limit], delivery)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn replay(connection: &Connection, id: DeliveryId, now: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE deliveries SET state = 'pending', attempts = 0, due_at = ?2, leased_until = NULL WHERE id = ?1";
    connection.prepare_cached(sql)?.execute(params![id.as_uuid().as_bytes(), micros(now)])?;
    Ok(())
}

pub(super) fn oldest_pending(connection: &Connection) -> Result<Option<Timestamp>, Error> {
    let sql = "SELECT min(created_at) FROM deliveries WHERE state = 'pending'";
    Ok(maybe_time(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?))
}
