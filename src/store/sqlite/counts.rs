//! What was counted, in SQL: calls an hour by their names, and what counters have counted in a window. Must know no
//! limit of its own.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::store::{
    Error, NotedCalls,
    rows::{signed, timestamp},
};

/// Adds to counts of an hour.
pub(super) fn note_calls(db: &Connection, hour: i64, counts: &[(String, u64)]) -> Result<(), Error> {
    let mut add = db.prepare_cached(
        "INSERT INTO ledger (hour, name, calls) VALUES (?1, ?2, ?3) \
         ON CONFLICT (hour, name) DO UPDATE SET calls = calls + excluded.calls",
    )?;
    for (name, calls) in counts {
        add.execute(params![hour, name, signed(*calls)])?;
    }
    Ok(())
}

pub(super) fn noted_calls(db: &Connection, since: i64, until: i64) -> Result<Vec<NotedCalls>, Error> {
    let sql = "SELECT hour, name, calls FROM ledger WHERE hour >= ?1 AND hour < ?2 ORDER BY hour, name";
    let rows: Vec<(i64, String, i64)> = db
        .prepare_cached(sql)?
        .query_map([since, until], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    rows.into_iter()
        .map(|(hour, name, calls)| {
            Ok(NotedCalls { hour: timestamp(hour)?, name, count: calls.unsigned_abs() })
        })
        .collect()
}

/// The sum of a window.
pub(super) fn spent(db: &Connection, counter: &str, window: i64) -> Result<u64, Error> {
    let sum: Option<i64> = db
        .prepare_cached("SELECT calls FROM budgets WHERE account = ?1 AND window_at = ?2")?
        .query_row(params![counter, window], |row| row.get(0))
        .optional()?;
    Ok(sum.unwrap_or_default().unsigned_abs())
}

/// Adds to a window and answers its sum.
pub(super) fn spend(db: &Connection, counter: &str, window: i64, count: u64) -> Result<u64, Error> {
    let sum: i64 = db
        .prepare_cached(
            "INSERT INTO budgets (account, window_at, calls) VALUES (?1, ?2, ?3) \
             ON CONFLICT (account, window_at) DO UPDATE SET calls = calls + excluded.calls RETURNING calls",
        )?
        .query_row(params![counter, window, signed(count)], |row| row.get(0))?;
    Ok(sum.unsigned_abs())
}

/// Counts one more, unless that would be more than `most`; with `once` only if that has counted nothing.
pub(super) fn count_within(
    db: &Connection,
    counter: &str,
    once: Option<&str>,
    window: i64,
    most: u64,
) -> Result<bool, Error> {
    if let Some(once) = once
        && spent(db, once, window)? > 0
    {
        return Ok(true);
    }
    if spent(db, counter, window)? >= most {
        return Ok(false);
    }
    for counter in [Some(counter), once].into_iter().flatten() {
        spend(db, counter, window, 1)?;
    }
    Ok(true)
}
