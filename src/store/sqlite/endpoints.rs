//! The endpoints that want our events, in SQL.

use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use crate::{
    domain::{CallerName, EndpointId},
    store::{
        Endpoint, Error,
        rows::{EndpointRow, bytes, event_kinds, event_words, micros, own_webhook, webhook_of},
        sqlite::outbox::collect,
    },
};

/// The columns that [`endpoint`] reads.
pub(super) const ENDPOINT: &str = "id, caller, sealed, events, allow_private, from_settings, created_at, disabled_at, \
                        dropped_at";

/// Whether there is an endpoint at all.
pub(super) fn is_listened_to(db: &Connection) -> Result<bool, Error> {
    Ok(db.query_row("SELECT EXISTS (SELECT 1 FROM endpoints)", [], |row| row.get(0))?)
}

pub(super) fn put(db: &Connection, endpoint: &Endpoint, sealed: &[u8]) -> Result<(), Error> {
    // What happened while nobody listened is not for the first who does.
    if !is_listened_to(db)? {
        db.execute(
            "UPDATE meta SET value = (SELECT coalesce(max(pos), 0) FROM events) WHERE name = 'fanned_out'",
            [],
        )?;
    }
    db.prepare_cached(
        "INSERT INTO endpoints (id, caller, sealed, events, allow_private, from_settings, created_at, \
         disabled_at, next_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0) \
         ON CONFLICT (id) DO UPDATE SET caller = ?2, sealed = ?3, events = ?4, allow_private = ?5, \
         from_settings = ?6, created_at = ?7, next_at = 0",
    )?
    .execute(params![
        bytes(endpoint.id.as_uuid()),
        endpoint.caller.as_str(),
        sealed,
        event_words(&endpoint.events),
        endpoint.allow_private,
        endpoint.from_settings,
        micros(endpoint.created_at),
        endpoint.disabled_at.map(micros),
    ])?;
    Ok(())
}

/// Answers whether its caller had room for it.
pub(super) fn add(db: &Connection, endpoint: &Endpoint, sealed: &[u8], most: u32) -> Result<bool, Error> {
    let others: u32 = db
        .prepare_cached(
            "SELECT count(*) FROM endpoints WHERE caller = ?1 AND id <> ?2 AND dropped_at IS NULL",
        )?
        .query_row(params![endpoint.caller.as_str(), bytes(endpoint.id.as_uuid())], |row| row.get(0))?;
    if others >= most {
        return Ok(false);
    }
    put(db, endpoint, sealed)?;
    Ok(true)
}

pub(super) fn all(db: &Connection, caller: Option<&CallerName>) -> Result<Vec<EndpointRow>, Error> {
    let sql =
        format!("SELECT {ENDPOINT} FROM endpoints WHERE ?1 IS NULL OR caller = ?1 ORDER BY created_at, id");
    collect(db, &sql, [caller.map(CallerName::as_str)], endpoint)
}

pub(super) fn by_id(db: &Connection, id: EndpointId) -> Result<Option<EndpointRow>, Error> {
    let sql = format!("SELECT {ENDPOINT} FROM endpoints WHERE id = ?1");
    Ok(collect(db, &sql, [bytes(id.as_uuid())], endpoint)?.pop())
}

/// Answers whether it was still as it was.
pub(super) fn rotate(db: &Connection, id: EndpointId, was: &[u8], sealed: &[u8]) -> Result<bool, Error> {
    let rotate = "UPDATE endpoints SET sealed = ?3 WHERE id = ?1 AND sealed = ?2";
    Ok(db.execute(rotate, params![bytes(id.as_uuid()), was, sealed])? == 1)
}

pub(super) fn switch(db: &Connection, id: EndpointId, disabled_at: Option<i64>) -> Result<(), Error> {
    db.prepare_cached("UPDATE endpoints SET disabled_at = ?2, next_at = 0 WHERE id = ?1")?
        .execute(params![bytes(id.as_uuid()), disabled_at])?;
    Ok(())
}

/// Makes the endpoints of the settings these, each with its sealed half, and answers which others it has dropped.
pub(super) fn replace_webhooks(
    db: &Connection,
    wanted: &[(Endpoint, Vec<u8>)],
    now: i64,
) -> Result<Vec<EndpointId>, Error> {
    for (endpoint, sealed) in wanted {
        // What is pending is another caller's if the endpoint was.
        db.prepare_cached(
            "DELETE FROM deliveries WHERE state = 'pending' \
             AND endpoint = (SELECT id FROM endpoints WHERE id = ?1 AND caller <> ?2)",
        )?
        .execute(params![bytes(endpoint.id.as_uuid()), endpoint.caller.as_str()])?;
        put(db, endpoint, sealed)?;
        db.prepare_cached("UPDATE endpoints SET disabled_at = NULL, dropped_at = NULL WHERE id = ?1")?
            .execute([bytes(endpoint.id.as_uuid())])?;
    }
    let is_wanted = |id: &EndpointId| wanted.iter().any(|(endpoint, _)| endpoint.id == *id);
    let sql = "SELECT id FROM endpoints WHERE from_settings AND dropped_at IS NULL";
    let mut dropped = collect(db, sql, [], |row| Ok(EndpointId::from_uuid(Uuid::from_bytes(row.get(0)?))))?;
    dropped.retain(|id| !is_wanted(id));
    for id in &dropped {
        db.prepare_cached("UPDATE endpoints SET dropped_at = ?2 WHERE id = ?1")?
            .execute(params![bytes(id.as_uuid()), now])?;
    }
    remember_own(db)?;
    Ok(dropped)
}

/// Remembers for good which webhooks of the settings are named after their callers.
fn remember_own(db: &Connection) -> Result<(), Error> {
    let sql = "SELECT id, caller FROM endpoints WHERE from_settings";
    let all = collect(db, sql, [], |row| {
        Ok((EndpointId::from_uuid(Uuid::from_bytes(row.get(0)?)), row.get::<_, String>(1)?))
    })?;
    for name in all.iter().filter_map(|(id, caller)| own_webhook(*id, caller)) {
        db.prepare_cached("INSERT OR IGNORE INTO meta (name, value) VALUES (?1, 0)")?.execute([name])?;
    }
    Ok(())
}

/// The webhooks that were named after their callers.
pub(super) fn own(db: &Connection) -> Result<Vec<EndpointId>, Error> {
    let sql = "SELECT name FROM meta WHERE name LIKE 'own.%'";
    let names = collect(db, sql, [], |row| Ok(row.get::<_, String>(0)?))?;
    Ok(names.iter().filter_map(|name| webhook_of(name)).collect())
}

pub(super) fn remove(db: &Connection, id: EndpointId) -> Result<(), Error> {
    let id = bytes(id.as_uuid());
    db.execute("DELETE FROM deliveries WHERE endpoint = ?1 AND state = 'pending'", [id])?;
    db.execute("DELETE FROM endpoints WHERE id = ?1", [id])?;
    Ok(())
}

pub(super) fn endpoint(row: &Row<'_>) -> Result<EndpointRow, Error> {
    Ok(EndpointRow {
        id: row.get(0)?,
        caller: row.get(1)?,
        sealed: row.get(2)?,
        events: event_kinds(&row.get::<_, String>(3)?),
        allow_private: row.get(4)?,
        from_settings: row.get(5)?,
        created_at: row.get(6)?,
        disabled_at: row.get(7)?,
        dropped_at: row.get(8)?,
    })
}
