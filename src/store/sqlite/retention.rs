//! Destroying what has been kept long enough, and sealing anew what an older key sealed, in SQL.
//!
//! All in batches of a bounded size, each a write of its own, so that nobody waits for a clean-up.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params, types::Value};

use crate::store::{
    Destroyed, Durability, Error, Retention, Sealed,
    retention::looked_at_once,
    rows::micros,
    seal::{Place, SEALED_COLUMNS, SealKeyId, SealKeys},
    sqlite::SqliteStore,
};

/// Rows that one write destroys, or looks at, at most.
const BATCH: u32 = 500;

impl SqliteStore {
    /// Destroys all that is due.
    pub(super) async fn destroy_all(&self, retention: Retention) -> Result<Destroyed, Error> {
        // First, because much is counted, and only this bounds it.
        self.sweep(move |db| counts(db, retention)).await?;
        let destroyed = Destroyed {
            keys: self.sweep(move |db| keys(db, retention)).await?,
            personal: self.sweep(move |db| personal(db, retention)).await?,
            events: self.sweep(move |db| events(db, retention)).await?,
            signings: self.sweep(move |db| signings(db, retention)).await?,
        };
        // Even if that was nothing: payloads were dropped since, and an earlier run may have ended before this.
        self.empty_log().await.inspect_err(|_| {
            tracing::debug!(?destroyed, "destroyed, and still in the database's files");
        })?;
        Ok(destroyed)
    }

    /// Seals anew what older keys of the ring have sealed. Nobody else writes: what is done once is done, and a key is not
    /// needed once nothing that it has sealed lies in the file or its log.
    pub(super) async fn seal_anew(&self) -> Result<Sealed, Error> {
        let mut unused = Vec::new();
        for older in self.keys.ids().skip(1) {
            if self.read(move |db| is_sealed_with(db, older)).await? {
                self.looks.found(older);
                if !self.reseal_all(older).await? {
                    continue;
                }
                self.write(Durability::Synced, move |db| forget_key(db, older)).await?;
            }
            if self.looks.found_nothing(older, self.clock.uptime()).is_some() {
                unused.push(older);
            }
        }
        if !unused.is_empty() {
            self.empty_log().await?;
        }
        Ok(Sealed { current: self.keys.current(), unused })
    }

    /// Seals anew all that an older key has sealed, and answers whether all of that could be opened with it.
    async fn reseal_all(&self, older: SealKeyId) -> Result<bool, Error> {
        let mut is_whole = true;
        for column in SEALED_COLUMNS {
            // Less than every id: SQLite sorts text before bytes.
            let mut from = Some(Value::Text(String::new()));
            while let Some(after) = from {
                let keys = self.keys.clone();
                let batch = move |db: &Connection| reseal(db, &keys, older, column, &after);
                let resealed = self.write(Durability::Flushed, batch).await?;
                (from, is_whole) = (resealed.next, is_whole && resealed.is_whole);
            }
        }
        Ok(is_whole)
    }

    /// Repeats a batch of a clean-up until it finds less than a full one.
    async fn sweep(
        &self,
        batch: impl Fn(&Connection) -> Result<u64, Error> + Clone + Send + 'static,
    ) -> Result<u64, Error> {
        let mut total = 0;
        loop {
            let destroyed = self.write(Durability::Flushed, batch.clone()).await?;
            total += destroyed;
            if destroyed < u64::from(BATCH) {
                return Ok(total);
            }
        }
    }
}

/// Forgets idempotency keys and the answers kept for them. The key of a create that has not ended stays, whatever its
/// date: without it the same call would make a second envelope (rule E2).
fn keys(db: &Connection, retention: Retention) -> Result<u64, Error> {
    count(
        db,
        "UPDATE signings SET key = NULL, answer = NULL, version = version + 1 WHERE id IN \
         (SELECT id FROM signings WHERE key IS NOT NULL AND created_at < ?1 \
          AND status NOT IN ('creating', 'uncertain') ORDER BY created_at LIMIT ?2)",
        micros(retention.keys_before),
    )
}

/// Destroys the personal data of signings that ended: their sealed half, their answers and payloads,
/// and what the upstream sent about them.
fn personal(db: &Connection, retention: Retention) -> Result<u64, Error> {
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

/// Of events, those that no delivery is still to be made of, and none is pending of. Where nobody listens there will be
/// none. In the order of their ids, which begin with the same time (RFC 9562, 5.7): each event is written by a signing
/// that waits for it, and needs no index more.
const OLD_EVENTS: &str = "SELECT pos FROM events WHERE id < ?3 AND at < ?1 \
    AND (pos <= (SELECT value FROM meta WHERE name = 'fanned_out') OR NOT EXISTS (SELECT 1 FROM endpoints)) \
    AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event = events.id AND state = 'pending') \
    ORDER BY id LIMIT ?2";

/// Deletes old events, deliveries and inbound messages, but none with which something is still to be done: a clock
/// that was behind may have dated it. That does not last: attempts end after days, and what came in is taken in. What
/// is pending for an endpoint that is off waits for good, and goes.
fn events(db: &Connection, retention: Retention) -> Result<u64, Error> {
    let before = micros(retention.events_before);
    let mut deleted = webhooks(db, micros(retention.dropped_before))?;
    // First, because they keep their events.
    deleted += count(
        db,
        "DELETE FROM deliveries WHERE id IN \
         (SELECT id FROM deliveries WHERE created_at < ?1 AND (state <> 'pending' OR NOT EXISTS \
            (SELECT 1 FROM endpoints WHERE id = deliveries.endpoint AND disabled_at IS NULL)) \
          ORDER BY created_at LIMIT ?2)",
        before,
    )?;
    let old_events = db
        .prepare_cached(&format!("DELETE FROM events WHERE pos IN ({OLD_EVENTS})"))?
        .execute(params![before, BATCH, first_id_after(retention.events_before)])?;
    deleted += u64::try_from(old_events).unwrap_or(u64::MAX);
    // New ones go on from the highest left; the fan-out must not think it has seen them.
    db.prepare_cached(
        "UPDATE meta SET value = min(value, (SELECT coalesce(max(pos), 0) FROM events)) \
         WHERE name = 'fanned_out'",
    )?
    .execute([])?;
    deleted += count(
        db,
        "DELETE FROM inbound WHERE pos IN \
         (SELECT pos FROM inbound WHERE received_at < ?1 AND taken_at IS NOT NULL \
          ORDER BY received_at LIMIT ?2)",
        before,
    )?;
    Ok(deleted)
}

/// Removes webhooks that the settings have long ceased to name, once what was pending for them is deleted. Answers how many
/// deliveries that were.
fn webhooks(db: &Connection, before: i64) -> Result<u64, Error> {
    let deleted = count(
        db,
        // The few endpoints first, whatever the planner thinks.
        "DELETE FROM deliveries WHERE id IN \
         (SELECT d.id FROM endpoints p CROSS JOIN deliveries d \
          WHERE p.dropped_at < ?1 AND d.endpoint = p.id AND d.state = 'pending' LIMIT ?2)",
        before,
    )?;
    db.prepare_cached(
        "DELETE FROM endpoints WHERE dropped_at < ?1 AND NOT EXISTS \
         (SELECT 1 FROM deliveries WHERE endpoint = endpoints.id AND state = 'pending')",
    )?
    .execute([before])?;
    Ok(deleted)
}

/// Above every id that was made up to this time, and below those of the next millisecond.
fn first_id_after(at: Timestamp) -> [u8; 16] {
    let millis = u64::try_from(at.as_millisecond()).unwrap_or(0).saturating_add(1);
    (u128::from(millis) << 80).to_be_bytes()
}

/// Deletes what was counted long ago: calls, checks, changes.
fn counts(db: &Connection, retention: Retention) -> Result<u64, Error> {
    let (before, checks_before) = (micros(retention.events_before), micros(retention.checks_before));
    let windows_before = micros(retention.windows_before);
    let mut deleted = 0;
    for (sql, before) in [
        (
            "DELETE FROM budgets WHERE (account, window_at) IN \
             (SELECT account, window_at FROM budgets WHERE window_at < ?1 LIMIT ?2)",
            windows_before,
        ),
        (
            "DELETE FROM ledger WHERE (hour, name) IN (SELECT hour, name FROM ledger WHERE hour < ?1 LIMIT ?2)",
            before,
        ),
        (
            "DELETE FROM checks WHERE (envelope, resource) IN \
             (SELECT envelope, resource FROM checks WHERE made_at < ?1 ORDER BY made_at LIMIT ?2)",
            checks_before,
        ),
        (
            "DELETE FROM changes WHERE envelope IN \
             (SELECT envelope FROM changes WHERE last_at < ?1 ORDER BY last_at LIMIT ?2)",
            before,
        ),
    ] {
        deleted += count(db, sql, before)?;
    }
    Ok(deleted)
}

/// Deletes signings that ended long ago, with their payloads and links. One whose key is known would let the
/// key begin anew (rule E3), and one with work has somebody coming for it.
fn signings(db: &Connection, retention: Retention) -> Result<u64, Error> {
    count(
        db,
        "DELETE FROM signings WHERE id IN \
         (SELECT id FROM signings WHERE ended_at IS NOT NULL AND ended_at < ?1 AND key IS NULL \
          AND due_at IS NULL ORDER BY ended_at LIMIT ?2)",
        micros(retention.signings_before),
    )
}

fn count(db: &Connection, sql: &str, before: i64) -> Result<u64, Error> {
    let changed = db.prepare_cached(sql)?.execute(params![before, BATCH])?;
    Ok(u64::try_from(changed).unwrap_or(u64::MAX))
}

/// Whether the database may hold what this key sealed.
fn is_sealed_with(db: &Connection, key: SealKeyId) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM meta WHERE name = ?1)";
    Ok(db.prepare_cached(sql)?.query_row([format!("seal.{key}")], |row| row.get(0))?)
}

/// Forgets a key that nothing is sealed with any more: it may leave the settings.
fn forget_key(db: &Connection, key: SealKeyId) -> Result<(), Error> {
    db.execute("DELETE FROM meta WHERE name = ?1", [format!("seal.{key}")])?;
    Ok(())
}

/// What one look at sealed rows came to.
struct Resealed {
    /// Where to go on.
    next: Option<Value>,
    /// Whether all that the older key sealed could be opened with it.
    is_whole: bool,
}

/// Looks at the next rows of one column after `from`, and seals anew what `older` sealed. It looks at a bounded
/// number of rows and bytes, not only changes that much: the writer is busy meanwhile. What is damaged stays as it is.
fn reseal(
    db: &Connection,
    keys: &SealKeys,
    older: SealKeyId,
    (table, id, column): (&'static str, &'static str, &'static str),
    from: &Value,
) -> Result<Resealed, Error> {
    // A length is known without reading the value.
    let next: Vec<(Value, Option<u64>)> = db
        .prepare_cached(&format!(
            "SELECT {id}, length({column}) FROM {table} WHERE {id} > ?1 ORDER BY {id} LIMIT ?2"
        ))?
        .query_map(params![from, BATCH], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let count = looked_at_once(next.iter().map(|(_, length)| length.unwrap_or_default()));
    let mut read = db.prepare_cached(&format!(
        "SELECT {column} FROM {table} WHERE {id} = ?1 AND substr({column}, 1, 4) = ?2"
    ))?;
    let mut update = db.prepare_cached(&format!("UPDATE {table} SET {column} = ?2 WHERE {id} = ?1"))?;
    let mut resealed = Resealed { next: None, is_whole: true };
    for (row, length) in next.into_iter().take(count) {
        let sealed: Option<Vec<u8>> = match length {
            Some(_) => read.query_row(params![row, older.to_bytes()], |row| row.get(0)).optional()?,
            None => None,
        };
        if let Some(sealed) = sealed {
            let name = match &row {
                Value::Blob(bytes) => bytes.as_slice(),
                Value::Text(text) => text.as_bytes(),
                _ => &[],
            };
            match keys.reseal(Place { table, column, row: name }, sealed) {
                Ok(again) => _ = update.execute(params![row, again])?,
                Err(error) => {
                    tracing::error!(table, column, %error, "a sealed value cannot be opened: left as it is");
                    resealed.is_whole = false;
                }
            }
        }
        resealed.next = Some(row);
    }
    Ok(resealed)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::{domain::EventId, store::migrations};

    #[test]
    fn old_events_are_found_by_indexes_and_not_sorted() {
        let db = Connection::open_in_memory().unwrap();
        for (_, step) in migrations::missing(&migrations::SQLITE, 0) {
            db.execute_batch(step).unwrap();
        }
        let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {OLD_EVENTS}")).unwrap();
        let steps: Vec<String> = plan
            .query_map(params![0, BATCH, first_id_after(Timestamp::UNIX_EPOCH)], |row| row.get("detail"))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        for index in ["events USING INDEX", "deliveries_event"] {
            assert!(steps.iter().any(|step| step.contains(index)), "{index}: {steps:?}");
        }
        assert!(!steps.iter().any(|step| step.contains("B-TREE")), "{steps:?}");
    }

    #[test]
    fn ids_are_told_apart_by_the_millisecond() {
        let at = Timestamp::from_millisecond(1_800_000_000_123).unwrap();
        let bound = first_id_after(at);
        let id = |at| *EventId::generate(at).as_uuid().as_bytes();
        assert!(id(at) < bound && id(Timestamp::UNIX_EPOCH) < bound);
        assert!(id(at + SignedDuration::from_millis(1)) >= bound);
    }
}
