//! What one envelope was called for, in SQL: its status checks (rule B3), and how often it was changed.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{
    domain::EnvelopeId,
    store::{
        Error, Taking,
        rows::{micros, timestamp},
    },
};

/// Takes the checks that are free; answers the others, each with when it was taken.
pub(super) fn take(
    db: &Connection,
    envelopes: &[EnvelopeId],
    resource: &str,
    taking: Taking,
) -> Result<Vec<(EnvelopeId, Timestamp)>, Error> {
    let (since, absurd) = (micros(taking.free_since), micros(taking.absurd_after));
    let mut find = db.prepare_cached(
        "SELECT made_at FROM checks WHERE envelope = ?1 AND resource = ?2 \
         AND made_at > ?3 AND made_at <= ?4",
    )?;
    let mut put = db.prepare_cached(
        "INSERT INTO checks (envelope, resource, made_at) VALUES (?1, ?2, ?3) \
         ON CONFLICT (envelope, resource) DO UPDATE SET made_at = excluded.made_at",
    )?;
    let mut refused = Vec::new();
    for envelope in envelopes {
        let made = params![envelope.as_str(), resource, since, absurd];
        match find.query_row(made, |row| row.get(0)).optional()? {
            Some(made_at) => refused.push((envelope.clone(), timestamp(made_at)?)),
            None => drop(put.execute(params![envelope.as_str(), resource, micros(taking.now)])?),
        }
    }
    Ok(refused)
}

/// Gives back checks that were taken then.
pub(super) fn give_back(
    db: &Connection,
    envelopes: &[EnvelopeId],
    resource: &str,
    taken_at: i64,
) -> Result<(), Error> {
    let sql = "DELETE FROM checks WHERE envelope = ?1 AND resource = ?2 AND made_at = ?3";
    let mut delete = db.prepare_cached(sql)?;
    for envelope in envelopes {
        delete.execute(params![envelope.as_str(), resource, taken_at])?;
    }
    Ok(())
}

/// Counts a change of an envelope; answers how many there were.
pub(super) fn count_change(db: &Connection, envelope: &EnvelopeId, now: i64) -> Result<u64, Error> {
    let sql = "INSERT INTO changes (envelope, calls, last_at) VALUES (?1, 1, ?2) \
         ON CONFLICT (envelope) DO UPDATE SET calls = calls + 1, last_at = excluded.last_at RETURNING calls";
    let calls: i64 = db.prepare_cached(sql)?.query_row(params![envelope.as_str(), now], |row| row.get(0))?;
    Ok(calls.unsigned_abs())
}
