//! Destroying what has been kept long enough, and sealing anew what an older key sealed, in SQL.
//!
//! All in batches of a bounded size, each a write of its own, so that nobody waits for a clean-up.

use rusqlite::{Connection, params};

use crate::store::{
    Error, Retention,
    rows::micros,
    seal::{Place, SEALED_COLUMNS, SealKeys},
};

/// Rows that one write destroys at most.
pub(super) const BATCH: u32 = 500;

/// Rows that one write seals anew at most.
const RESEAL_BATCH: u32 = 100;

/// Forgets idempotency keys and the answers kept for them.
pub(super) fn keys(db: &Connection, retention: Retention) -> Result<u64, Error> {
    count(
        db,
        "UPDATE signings SET key = NULL, answer = NULL, version = version + 1 WHERE id IN \
         (SELECT id FROM signings WHERE key IS NOT NULL AND created_at < ?1 ORDER BY created_at LIMIT ?2)",
        micros(retention.keys_before),
    )
}

/// Destroys the personal data of signings that ended: their sealed half, their answers and payloads,
/// and what the upstream sent about them.
pub(super) fn personal(db: &Connection, retention: Retention) -> Result<u64, Error> {
    let ended: Vec<([u8; 16], Option<String>)> = db
        .prepare_cached(
            "SELECT id, envelope FROM signings WHERE ended_at IS NOT NULL AND sealed IS NOT NULL \
             AND ended_at < ?1 ORDER BY ended_at LIMIT ?2",
        )?
        .query_map(params![micros(retention.personal_before), BATCH], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (id, envelope) in &ended {
        db.prepare_cached(
            "UPDATE signings SET sealed = NULL, answer = NULL, version = version + 1 WHERE id = ?1",
        )?
        .execute([id])?;
        db.prepare_cached("DELETE FROM payloads WHERE signing = ?1")?.execute([id])?;
        db.prepare_cached("DELETE FROM inbound WHERE envelope = ?1 AND taken_at IS NOT NULL")?
            .execute([envelope])?;
    }
    Ok(u64::try_from(ended.len()).unwrap_or(u64::MAX))
}

/// Deletes old events, deliveries and inbound messages.
pub(super) fn events(db: &Connection, retention: Retention) -> Result<u64, Error> {
    let before = micros(retention.events_before);
    let mut deleted = 0;
    // Events lie in the order they came: the oldest stand first.
    deleted += count(
        db,
        "DELETE FROM events WHERE pos IN (SELECT pos FROM events ORDER BY pos LIMIT ?2) AND at < ?1",
        before,
    )?;
    // New ones go on from the highest left; the fan-out must not think it has seen them.
    db.prepare_cached(
        "UPDATE meta SET value = min(value, (SELECT coalesce(max(pos), 0) FROM events)) \
         WHERE name = 'fanned_out'",
    )?
    .execute([])?;
    deleted += count(
        db,
        "DELETE FROM deliveries WHERE id IN \
         (SELECT id FROM deliveries WHERE created_at < ?1 ORDER BY created_at LIMIT ?2)",
        before,
    )?;
    deleted += count(
        db,
        "DELETE FROM inbound WHERE pos IN \
         (SELECT pos FROM inbound WHERE received_at < ?1 ORDER BY received_at LIMIT ?2)",
        before,
    )?;
    db.prepare_cached("DELETE FROM budgets WHERE window_at < ?1")?.execute([before])?;
    Ok(deleted)
}

/// Deletes signings that ended long ago, with their links.
pub(super) fn signings(db: &Connection, retention: Retention) -> Result<u64, Error> {
    count(
        db,
        "DELETE FROM signings WHERE id IN \
         (SELECT id FROM signings WHERE ended_at IS NOT NULL AND ended_at < ?1 ORDER BY ended_at LIMIT ?2)",
        micros(retention.signings_before),
    )
}

fn count(db: &Connection, sql: &'static str, before: i64) -> Result<u64, Error> {
    let changed = db.prepare_cached(sql)?.execute(params![before, BATCH])?;
    Ok(u64::try_from(changed).unwrap_or(u64::MAX))
}

/// Seals a few values anew that an older key of the ring sealed, and answers how many. Once none is
/// left, the older key's probe goes, and the key may leave the settings.
pub(super) fn reseal(db: &Connection, keys: &SealKeys) -> Result<u64, Error> {
    let mut resealed = 0;
    for older in keys.ids().filter(|id| *id != keys.current()) {
        let probe = format!("seal.{older}");
        let in_use: bool = db
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM meta WHERE name = ?1)")?
            .query_row([&probe], |row| row.get(0))?;
        if !in_use {
            continue;
        }
        let mut left = 0;
        for (table, id, column) in SEALED_COLUMNS {
            left += reseal_column(db, keys, older.to_bytes(), (table, id, column))?;
        }
        if left == 0 {
            db.execute("DELETE FROM meta WHERE name = ?1", [&probe])?;
        }
        resealed += left;
    }
    Ok(resealed)
}

fn reseal_column(
    db: &Connection,
    keys: &SealKeys,
    older: [u8; 4],
    (table, id, column): (&'static str, &'static str, &'static str),
) -> Result<u64, Error> {
    let rows: Vec<(rusqlite::types::Value, Vec<u8>)> = db
        .prepare_cached(&format!(
            "SELECT {id}, {column} FROM {table} WHERE substr({column}, 1, 4) = ?1 LIMIT ?2"
        ))?
        .query_map(params![older, RESEAL_BATCH], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut update = db.prepare_cached(&format!("UPDATE {table} SET {column} = ?2 WHERE {id} = ?1"))?;
    let count = rows.len();
    for (row, sealed) in rows {
        let name = match &row {
            rusqlite::types::Value::Blob(bytes) => bytes.as_slice(),
            rusqlite::types::Value::Text(text) => text.as_bytes(),
            _ => &[],
        };
        let again = keys.reseal(Place { table, column, row: name }, sealed)?;
        update.execute(params![row, again])?;
    }
    Ok(u64::try_from(count).unwrap_or(u64::MAX))
}
