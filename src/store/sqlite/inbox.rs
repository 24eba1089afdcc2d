//! What the upstream sent us, and the senders that were connected through a browser, in SQL.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    domain::EnvelopeId,
    store::{
        Digest, Error, Received,
        rows::{InboundRow, SenderRow},
    },
};

const INBOUND: &str = "identity, received_at, envelope, event, body";
const SENDER: &str = "name, user_id, account, sealed, connected_at, version";

pub(super) fn receive(db: &Connection, inbound: &InboundRow) -> Result<Received, Error> {
    let stored = db
        .prepare_cached(
            "INSERT INTO inbound (identity, received_at, envelope, event, body) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (identity) DO NOTHING",
        )?
        .execute(params![
            inbound.identity,
            inbound.received_at,
            inbound.envelope,
            inbound.event,
            inbound.body
        ])?;
    if stored == 0 {
        return Ok(Received::Again);
    }
    // Somebody was heard of: a check (rule B3) can wait.
    db.prepare_cached("UPDATE signings SET heard_at = max(heard_at, ?2) WHERE envelope = ?1")?
        .execute(params![inbound.envelope, inbound.received_at])?;
    Ok(Received::New)
}

pub(super) fn waiting(db: &Connection, limit: u32) -> Result<Vec<InboundRow>, Error> {
    let sql = format!("SELECT {INBOUND} FROM inbound WHERE taken_at IS NULL ORDER BY pos LIMIT ?1");
    Ok(db.prepare_cached(&sql)?.query_map([limit], inbound)?.collect::<Result<_, _>>()?)
}

pub(super) fn of(db: &Connection, envelope: &EnvelopeId) -> Result<Vec<InboundRow>, Error> {
    let sql = format!("SELECT {INBOUND} FROM inbound WHERE envelope = ?1 ORDER BY pos");
    Ok(db.prepare_cached(&sql)?.query_map([envelope.as_str()], inbound)?.collect::<Result<_, _>>()?)
}

pub(super) fn taken_in(db: &Connection, identity: &Digest, now: i64) -> Result<(), Error> {
    db.prepare_cached("UPDATE inbound SET taken_at = coalesce(taken_at, ?2) WHERE identity = ?1")?
        .execute(params![identity, now])?;
    Ok(())
}

pub(super) fn sender(db: &Connection, name: &str) -> Result<Option<SenderRow>, Error> {
    let sql = format!("SELECT {SENDER} FROM senders WHERE name = ?1");
    Ok(db.prepare_cached(&sql)?.query_row([name], sender_row).optional()?)
}

pub(super) fn senders(db: &Connection) -> Result<Vec<SenderRow>, Error> {
    let sql = format!("SELECT {SENDER} FROM senders ORDER BY name");
    Ok(db.prepare_cached(&sql)?.query_map([], sender_row)?.collect::<Result<_, _>>()?)
}

/// Puts a sender in place of the version it states; 0 states that there is none.
pub(super) fn put_sender(db: &Connection, sender: &SenderRow) -> Result<i64, Error> {
    let sql = if sender.version == 0 {
        "INSERT INTO senders (name, user_id, account, sealed, connected_at, version) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6 + 1) ON CONFLICT (name) DO NOTHING"
    } else {
        "UPDATE senders SET user_id = ?2, account = ?3, sealed = ?4, connected_at = ?5, version = ?6 + 1 \
         WHERE name = ?1 AND version = ?6"
    };
    let changed = db.prepare_cached(sql)?.execute(params![
        sender.name,
        sender.user_id,
        sender.account,
        sender.sealed,
        sender.connected_at,
        sender.version,
    ])?;
    if changed == 0 { Err(Error::Conflict) } else { Ok(sender.version + 1) }
}

fn inbound(row: &Row<'_>) -> rusqlite::Result<InboundRow> {
    Ok(InboundRow {
        identity: row.get(0)?,
        received_at: row.get(1)?,
        envelope: row.get(2)?,
        event: row.get(3)?,
        body: row.get(4)?,
    })
}

fn sender_row(row: &Row<'_>) -> rusqlite::Result<SenderRow> {
    Ok(SenderRow {
        name: row.get(0)?,
        user_id: row.get(1)?,
        account: row.get(2)?,
        sealed: row.get(3)?,
        connected_at: row.get(4)?,
        version: row.get(5)?,
    })
}

/// Writes down that someone is there to be told of events.
pub(super) fn pulse(db: &Connection, now: i64) -> Result<(), Error> {
    db.prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES ('pulse', ?1)")?.execute([now])?;
    Ok(())
}

pub(super) fn last_pulse(db: &Connection) -> Result<Option<i64>, Error> {
    let sql = "SELECT value FROM meta WHERE name = 'pulse'";
    Ok(db.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?)
}
