//! Our own events, and their deliveries to the [endpoints](super::endpoints) that want them, in SQL.

use std::fmt::Write as _;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params, types::Value};
use uuid::Uuid;

use crate::{
    domain::{CallerName, DeliveryId, EndpointId, Event, EventId, EventKind, SignerId, SigningId},
    store::{
        Delivery, DeliveryState, Error, EventFilter,
        rows::{DueRow, EventRow, bytes, malformed, micros, signed, timestamp},
        sqlite::endpoints::{ENDPOINT, endpoint},
    },
};

const EVENT: &str = "id, caller, kind, signing, signer, sequence, at, data, sealed";
const DELIVERY: &str = "id, event, endpoint, caller, state, attempts, created_at, due_at, attempted_at, \
                        response_status, error";

pub(super) fn add_events(db: &Connection, events: &[EventRow]) -> Result<(), Error> {
    let mut insert = db.prepare_cached(
        "INSERT INTO events (id, caller, kind, signing, signer, sequence, at, data, sealed) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for EventRow { event, sealed } in events {
        insert.execute(params![
            bytes(event.id.as_uuid()),
            event.caller.as_str(),
            event.kind.as_str(),
            event.signing.map(|id| bytes(id.as_uuid())),
            event.signer.map(|id| bytes(id.as_uuid())),
            signed(event.sequence),
            micros(event.at),
            event.data,
            sealed,
        ])?;
    }
    Ok(())
}

pub(super) fn events(db: &Connection, filter: &EventFilter) -> Result<Vec<EventRow>, Error> {
    // An id that retention has deleted was older than all that is left.
    let mut sql =
        format!("SELECT {EVENT} FROM events WHERE pos > coalesce((SELECT pos FROM events WHERE id = ?1), 0)");
    let after = filter.after.map_or(Value::Null, |id| Value::Blob(bytes(id.as_uuid()).to_vec()));
    let mut values = vec![after, Value::Integer(i64::from(filter.limit))];
    narrow(&mut sql, &mut values, filter);
    sql.push_str(" ORDER BY pos LIMIT ?2");
    collect(db, &sql, rusqlite::params_from_iter(values), event)
}

pub(super) fn event_before(db: &Connection, filter: &EventFilter, at: i64) -> Result<Option<EventId>, Error> {
    let (mut sql, mut values) = ("SELECT id FROM events WHERE at < ?1".to_owned(), vec![Value::Integer(at)]);
    narrow(&mut sql, &mut values, filter);
    sql.push_str(" ORDER BY pos DESC LIMIT 1");
    let id = |row: &Row<'_>| Ok(EventId::from_uuid(Uuid::from_bytes(row.get(0)?)));
    Ok(collect(db, &sql, rusqlite::params_from_iter(values), id)?.pop())
}

/// Adds whose events a query is about.
fn narrow(sql: &mut String, values: &mut Vec<Value>, filter: &EventFilter) {
    if let Some(signing) = filter.signing {
        values.push(Value::Blob(bytes(signing.as_uuid()).to_vec()));
        let _ = write!(sql, " AND signing = ?{}", values.len());
    }
    values.push(Value::Text(filter.caller.as_str().to_owned()));
    let _ = write!(sql, " AND caller = ?{}", values.len());
}

/// Makes deliveries of the next events, and answers how many events that were.
pub(super) fn fan_out(db: &Connection, now: Timestamp, limit: u32) -> Result<u64, Error> {
    let mut statement = db.prepare_cached(
        "SELECT pos, id, caller, kind FROM events \
         WHERE pos > (SELECT value FROM meta WHERE name = 'fanned_out') ORDER BY pos LIMIT ?1",
    )?;
    let mut last = None;
    let mut count = 0;
    let mut next = statement.query([limit])?;
    while let Some(row) = next.next()? {
        let (event, caller, kind): ([u8; 16], String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
        deliver_to_all(db, now, &event, &caller, &kind)?;
        last = Some(row.get::<_, i64>(0)?);
        count += 1;
    }
    if let Some(last) = last {
        db.prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'fanned_out'")?.execute([last])?;
    }
    Ok(count)
}

fn deliver_to_all(
    db: &Connection,
    now: Timestamp,
    event: &[u8; 16],
    caller: &str,
    kind: &str,
) -> Result<(), Error> {
    let endpoints: Vec<[u8; 16]> = db
        .prepare_cached(
            "SELECT id FROM endpoints WHERE caller = ?1 AND disabled_at IS NULL \
             AND (events = '' OR instr(' ' || events || ' ', ' ' || ?2 || ' ') > 0)",
        )?
        .query_map([caller, kind], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for endpoint in endpoints {
        let id = DeliveryId::generate(now);
        db.prepare_cached(
            "INSERT INTO deliveries (id, event, endpoint, caller, state, attempts, created_at, due_at) \
             VALUES (?1, ?2, ?3, ?4, 'pending', 0, ?5, ?5)",
        )?
        .execute(params![bytes(id.as_uuid()), event, endpoint, caller, micros(now)])?;
        look_at(db, &endpoint, micros(now))?;
    }
    Ok(())
}

/// Leases deliveries: a few of each endpoint, first ones first, so that no endpoint's backlog stands
/// before another's first delivery. Only endpoints that have something due are looked at (`next_at`), and
/// each look writes down when the next one is worth it.
pub(super) fn claim_deliveries(
    db: &Connection,
    now: i64,
    until: i64,
    per_endpoint: u32,
    limit: u32,
) -> Result<Vec<DueRow>, Error> {
    let mut ready = Vec::new();
    let sql = "SELECT id FROM endpoints WHERE disabled_at IS NULL AND dropped_at IS NULL AND next_at <= ?1 \
               ORDER BY next_at LIMIT ?2";
    let endpoints: Vec<[u8; 16]> = collect(db, sql, params![now, limit], |row| Ok(row.get(0)?))?;
    for endpoint in &endpoints {
        let busy = leased(db, endpoint, now)?;
        let due: Vec<(u32, i64, [u8; 16])> = db
            .prepare_cached(
                "SELECT due_at, id FROM deliveries WHERE endpoint = ?1 AND state = 'pending' \
                 AND max(due_at, coalesce(leased_until, 0)) <= ?2 \
                 ORDER BY max(due_at, coalesce(leased_until, 0)) LIMIT ?3",
            )?
            .query_map(params![endpoint, now, per_endpoint.saturating_sub(busy)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .zip(busy..)
            .map(|(row, rank)| row.map(|(due_at, id)| (rank, due_at, id)))
            .collect::<Result<_, _>>()?;
        ready.extend(due);
    }
    ready.sort_unstable();
    ready.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let claimed: Result<Vec<_>, _> =
        ready.into_iter().map(|(_, _, id)| lease(db, &id, until)).filter_map(Result::transpose).collect();
    endpoints.iter().try_for_each(|endpoint| look_again(db, endpoint, now, per_endpoint))?;
    claimed
}

/// Deliveries of an endpoint that someone is at.
fn leased(db: &Connection, endpoint: &[u8; 16], now: i64) -> Result<u32, Error> {
    Ok(db
        .prepare_cached(
            "SELECT count(*) FROM deliveries \
             WHERE endpoint = ?1 AND state = 'pending' AND leased_until IS NOT NULL AND leased_until > ?2",
        )?
        .query_row(params![endpoint, now], |row| row.get(0))?)
}

/// Writes down when an endpoint is worth the next look: when its next delivery is free, or, if as many
/// are out as may be, when the first lease ends. An attempt that ends asks for a look by itself.
fn look_again(db: &Connection, endpoint: &[u8; 16], now: i64, per_endpoint: u32) -> Result<(), Error> {
    let next = if leased(db, endpoint, now)? >= per_endpoint {
        "SELECT leased_until FROM deliveries WHERE endpoint = ?1 AND state = 'pending' \
         AND leased_until IS NOT NULL AND leased_until > ?2 ORDER BY leased_until LIMIT 1"
    } else {
        "SELECT max(due_at, coalesce(leased_until, 0)) FROM deliveries WHERE endpoint = ?1 \
         AND state = 'pending' AND ?2 IS NOT NULL ORDER BY max(due_at, coalesce(leased_until, 0)) LIMIT 1"
    };
    let next: Option<i64> =
        db.prepare_cached(next)?.query_row(params![endpoint, now], |row| row.get(0)).optional()?;
    db.prepare_cached("UPDATE endpoints SET next_at = ?2 WHERE id = ?1")?.execute(params![endpoint, next])?;
    Ok(())
}

/// Asks for a look at an endpoint at that time, or earlier if one was asked for.
pub(super) fn look_at(db: &Connection, endpoint: &[u8; 16], at: i64) -> Result<(), Error> {
    db.prepare_cached("UPDATE endpoints SET next_at = min(coalesce(next_at, ?2), ?2) WHERE id = ?1")?
        .execute(params![endpoint, at])?;
    Ok(())
}

/// Leases one delivery. One whose event is gone has nothing to deliver, and one whose endpoint is another caller's by
/// now has nobody who may get it: it ends.
fn lease(db: &Connection, id: &[u8; 16], until: i64) -> Result<Option<DueRow>, Error> {
    let sql = format!("UPDATE deliveries SET leased_until = ?2 WHERE id = ?1 RETURNING {DELIVERY}");
    let delivery = collect(db, &sql, params![id, until], delivery)?.pop().ok_or(Error::Conflict)?;
    let sql = format!("SELECT {EVENT} FROM events WHERE id = ?1");
    let event = match collect(db, &sql, [bytes(delivery.event.as_uuid())], event) {
        // Another version may know it; until its lease ends this delivery stands in nobody's way.
        Err(error @ Error::Unusable(_)) => {
            tracing::error!(%error, "a stored event cannot be read: passed over");
            return Ok(None);
        }
        found => found?.pop(),
    };
    let sql = format!("SELECT {ENDPOINT} FROM endpoints WHERE id = ?1");
    let found = collect(db, &sql, [bytes(delivery.endpoint.as_uuid())], endpoint)?.pop();
    let endpoint = found.filter(|found| found.caller == delivery.caller.as_str());
    let (Some(event), Some(endpoint)) = (event, endpoint) else {
        db.execute("UPDATE deliveries SET state = 'failed', leased_until = NULL WHERE id = ?1", [id])?;
        return Ok(None);
    };
    Ok(Some(DueRow { delivery, event, endpoint }))
}

/// Frees the deliveries that the daemon before this one had in hand; whether they arrived nobody knows, and
/// a receiver knows them by their id.
pub(super) fn end_leases(db: &Connection) -> Result<(), Error> {
    db.execute(
        "UPDATE deliveries SET leased_until = NULL WHERE state = 'pending' AND leased_until IS NOT NULL",
        [],
    )?;
    // Whoever waited for one of those leases to end is worth a look at once.
    db.execute("UPDATE endpoints SET next_at = 0 WHERE next_at IS NOT NULL", [])?;
    Ok(())
}

pub(super) fn delivery_attempted(db: &Connection, delivery: &Delivery) -> Result<(), Error> {
    db.prepare_cached(
        // Replayed meanwhile, it has all its attempts again, and this one is none of them.
        "UPDATE deliveries SET state = ?2, attempts = ?3, due_at = ?4, attempted_at = ?5, \
         response_status = ?6, error = ?7, leased_until = NULL WHERE id = ?1 AND attempts IN (?3, ?3 - 1)",
    )?
    .execute(params![
        bytes(delivery.id.as_uuid()),
        delivery.state.as_str(),
        delivery.attempts,
        micros(delivery.due_at),
        delivery.attempted_at.map(micros),
        delivery.response_status,
        delivery.error,
    ])?;
    // Also when there is nothing left of this one: others may have waited for its place.
    let at = delivery.attempted_at.map_or(delivery.due_at, |at| at.min(delivery.due_at));
    look_at(db, &bytes(delivery.endpoint.as_uuid()), micros(at))
}

/// Ends leases of which nothing was made. Their places are free: that is worth a look at once, whenever they are due.
pub(super) fn return_deliveries(db: &Connection, deliveries: &[Delivery], now: i64) -> Result<(), Error> {
    let mut free = db.prepare_cached(
        "UPDATE deliveries SET due_at = ?3, leased_until = NULL \
         WHERE id = ?1 AND state = 'pending' AND attempts = ?2",
    )?;
    for delivery in deliveries {
        free.execute(params![bytes(delivery.id.as_uuid()), delivery.attempts, micros(delivery.due_at)])?;
        look_at(db, &bytes(delivery.endpoint.as_uuid()), now)?;
    }
    Ok(())
}

pub(super) fn deliveries(
    db: &Connection,
    caller: &CallerName,
    before: Option<DeliveryId>,
    limit: u32,
) -> Result<Vec<Delivery>, Error> {
    let before = before.map_or([0xff; 16], |id| bytes(id.as_uuid()));
    let sql =
        format!("SELECT {DELIVERY} FROM deliveries WHERE caller = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3");
    collect(db, &sql, params![caller.as_str(), before, limit], delivery)
}

/// Makes a delivery pending again, with all its attempts, if its endpoint is still there.
pub(super) fn replay(db: &Connection, id: DeliveryId, now: i64) -> Result<(), Error> {
    db.execute(
        "UPDATE deliveries SET state = 'pending', attempts = 0, due_at = ?2, leased_until = NULL \
         WHERE id = ?1 AND endpoint IN (SELECT id FROM endpoints)",
        params![bytes(id.as_uuid()), now],
    )?;
    db.execute(
        "UPDATE endpoints SET next_at = min(coalesce(next_at, ?2), ?2) \
         WHERE id = (SELECT endpoint FROM deliveries WHERE id = ?1)",
        params![bytes(id.as_uuid()), now],
    )?;
    Ok(())
}

pub(super) fn oldest_pending(db: &Connection) -> Result<Option<i64>, Error> {
    // Those of endpoints that get nothing do not count.
    Ok(db
        .prepare_cached(
            "SELECT min((SELECT created_at FROM deliveries WHERE endpoint = endpoints.id AND state = 'pending' \
             ORDER BY created_at LIMIT 1)) FROM endpoints WHERE disabled_at IS NULL AND dropped_at IS NULL",
        )?
        .query_row([], |row| row.get(0))?)
}

pub(super) fn collect<T>(
    db: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    convert: impl Fn(&Row<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(convert(row)?);
    }
    Ok(found)
}

fn event(row: &Row<'_>) -> Result<EventRow, Error> {
    let event = Event {
        id: EventId::from_uuid(Uuid::from_bytes(row.get(0)?)),
        caller: CallerName::new(row.get::<_, String>(1)?),
        kind: EventKind::parse(row.get_ref(2)?.as_str().map_err(|_| malformed("event"))?)
            .ok_or_else(|| malformed("event"))?,
        signing: row.get::<_, Option<_>>(3)?.map(|id| SigningId::from_uuid(Uuid::from_bytes(id))),
        signer: row.get::<_, Option<_>>(4)?.map(|id| SignerId::from_uuid(Uuid::from_bytes(id))),
        sequence: row.get::<_, i64>(5)?.unsigned_abs(),
        at: timestamp(row.get(6)?)?,
        data: row.get(7)?,
    };
    Ok(EventRow { event, sealed: row.get(8)? })
}

fn delivery(row: &Row<'_>) -> Result<Delivery, Error> {
    Ok(Delivery {
        id: DeliveryId::from_uuid(Uuid::from_bytes(row.get(0)?)),
        event: EventId::from_uuid(Uuid::from_bytes(row.get(1)?)),
        endpoint: EndpointId::from_uuid(Uuid::from_bytes(row.get(2)?)),
        caller: CallerName::new(row.get::<_, String>(3)?),
        state: DeliveryState::parse(&row.get::<_, String>(4)?).ok_or_else(|| malformed("delivery"))?,
        attempts: row.get(5)?,
        created_at: timestamp(row.get(6)?)?,
        due_at: timestamp(row.get(7)?)?,
        attempted_at: row.get::<_, Option<_>>(8)?.map(timestamp).transpose()?,
        response_status: row.get(9)?,
        error: row.get(10)?,
    })
}
