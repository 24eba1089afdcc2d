//! What the upstream sent us, in SQL. Must never look into a body: it is sealed.

use rusqlite::{Connection, Row, params};

use crate::{
    domain::EnvelopeId,
    store::{Digest, Error, INBOUND_PAGE, Received, rows::InboundRow},
};

const INBOUND: &str = "identity, received_at, envelope, event, body";

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

/// Those about one envelope behind that position, each with its own.
pub(super) fn of(
    db: &Connection,
    envelope: &EnvelopeId,
    after: i64,
) -> Result<Vec<(i64, InboundRow)>, Error> {
    let sql =
        format!("SELECT {INBOUND}, pos FROM inbound WHERE envelope = ?1 AND pos > ?2 ORDER BY pos LIMIT ?3");
    Ok(db
        .prepare_cached(&sql)?
        .query_map(params![envelope.as_str(), after, INBOUND_PAGE], placed)?
        .collect::<Result<_, _>>()?)
}

pub(super) fn taken_in(db: &Connection, identity: &Digest, now: i64) -> Result<(), Error> {
    db.prepare_cached("UPDATE inbound SET taken_at = coalesce(taken_at, ?2) WHERE identity = ?1")?
        .execute(params![identity, now])?;
    Ok(())
}

fn placed(row: &Row<'_>) -> rusqlite::Result<(i64, InboundRow)> {
    Ok((row.get(5)?, inbound(row)?))
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
