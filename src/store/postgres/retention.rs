//! Destroying what has been kept long enough, and sealing anew what an older key sealed, in SQL.
//!
//! All in batches of a bounded size. Several daemons may clean up at once: they skip each other's rows.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::{
    PostgresStore,
    pool::{is_lost, with},
};
use crate::store::{
    Destroyed, Error, Retention, Sealed,
    retention::looked_at_once,
    rows::micros,
    seal::{Place, SEALED_COLUMNS, SealKeyId, SealKeys},
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// Rows that one statement destroys, or looks at, at most.
const BATCH: i64 = 500;

/// For so long nothing may be found that an older key sealed before the key is given up: daemons that are restarted one after
/// the other may still seal with it meanwhile.
const APART: Duration = Duration::from_secs(3_600);

impl PostgresStore {
    /// Destroys all that is due.
    pub(super) async fn destroy_all(&self, retention: Retention) -> std::result::Result<Destroyed, Error> {
        // First, because much is counted, and only this bounds it.
        self.sweep(counts, retention).await?;
        Ok(Destroyed {
            keys: self.sweep(keys, retention).await?,
            personal: self.sweep(personal, retention).await?,
            events: self.sweep(events, retention).await?,
            signings: self.sweep(signings, retention).await?,
        })
    }

    /// Seals anew what older keys have sealed. Others write meanwhile: only looks that find nothing are sure. The probe of
    /// a key stays until then, so that no daemon starts without a key that it may need.
    pub(super) async fn seal_anew(&self) -> std::result::Result<Sealed, Error> {
        let mut unused = Vec::new();
        for older in self.keys.ids().skip(1) {
            let now = self.clock.uptime();
            let mut held = self.pool.acquire().await?;
            if is_sealed_with(&mut held, older).await? {
                self.looks.known(older);
            }
            // What the first look found it has sealed anew: the second may be the first that finds nothing.
            if self.look_for(&mut held, older).await? && self.look_for(&mut held, older).await? {
                continue;
            }
            if self.looks.found_nothing(older, now).is_some_and(|lasts| lasts >= APART) {
                forget_key(&mut held, older).await?;
                unused.push(older);
            }
        }
        Ok(Sealed { current: self.keys.current(), unused })
    }

    /// Looks once for what an older key of the ring sealed, seals it anew, and answers whether it found any.
    ///
    /// It looks whenever the key is in the ring, also where no probe says that it was used: another daemon may not have the
    /// new settings yet, and still seal with the old key.
    async fn look_for(&self, db: &mut PgConnection, older: SealKeyId) -> std::result::Result<bool, Error> {
        let mut found = false;
        for column in SEALED_COLUMNS {
            let mut from = Some(Vec::new());
            while let Some(after) = from {
                let (next, is_found) = reseal_batch(db, &self.keys, older, column, after).await?;
                from = next;
                if is_found {
                    self.looks.found(older);
                    found = true;
                }
            }
        }
        if found {
            sqlx::query("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
                .bind(format!("seal.{older}"))
                .bind(self.keys.probe(older))
                .execute(db)
                .await?;
        }
        Ok(found)
    }

    /// Repeats a batch of a clean-up until it finds less than a full one.
    async fn sweep(
        &self,
        batch: impl AsyncFn(&mut PgConnection, Retention) -> Result<u64>,
        retention: Retention,
    ) -> std::result::Result<u64, Error> {
        let mut total = 0;
        loop {
            let destroyed = with!(&self.pool, db => batch(db, retention))?;
            total += destroyed;
            if destroyed < BATCH.unsigned_abs() {
                return Ok(total);
            }
        }
    }
}

/// Forgets idempotency keys and the answers kept for them. The key of a create that has not ended stays, whatever its
/// date: without it the same call would make a second envelope (rule E2).
async fn keys(db: &mut PgConnection, retention: Retention) -> Result<u64> {
    count(
        db,
        "UPDATE signings SET key = NULL, answer = NULL, version = version + 1 WHERE id = ANY (ARRAY (\
           SELECT id FROM signings WHERE key IS NOT NULL AND created_at < $1 \
           AND status NOT IN ('creating', 'uncertain') ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
        micros(retention.keys_before),
    )
    .await
}

/// Destroys the personal data of signings that ended: their sealed half, their answers and payloads,
/// and what the upstream sent about them.
async fn personal(db: &mut PgConnection, retention: Retention) -> Result<u64> {
    let ended = sqlx::query(
        "WITH ended AS (\
           SELECT id, envelope FROM signings WHERE ended_at < $1 AND sealed IS NOT NULL \
           ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED), \
         heard AS (\
           DELETE FROM inbound WHERE taken_at IS NOT NULL AND envelope IN (SELECT envelope FROM ended)), \
         paid AS (DELETE FROM payloads WHERE signing IN (SELECT id FROM ended)) \
         UPDATE signings SET sealed = NULL, answer = NULL, version = version + 1 \
         WHERE id IN (SELECT id FROM ended)",
    )
    .bind(micros(retention.personal_before))
    .bind(BATCH)
    .execute(db)
    .await?;
    Ok(ended.rows_affected())
}

/// Deletes old events, deliveries and inbound messages, but none with which something is still to be done: a clock
/// that was behind may have dated it. That does not last: attempts end after days, and what came in is taken in. What
/// is pending for an endpoint that is off waits for good, and goes.
async fn events(db: &mut PgConnection, retention: Retention) -> Result<u64> {
    let before = micros(retention.events_before);
    let mut deleted = webhooks(db, micros(retention.dropped_before)).await?;
    for sql in [
        // First, because they keep their events.
        "DELETE FROM deliveries WHERE id = ANY (ARRAY (\
           SELECT id FROM deliveries d WHERE created_at < $1 AND (state <> 'pending' OR NOT EXISTS (\
             SELECT 1 FROM endpoints p WHERE p.id = d.endpoint AND p.disabled_at IS NULL)) \
           ORDER BY created_at LIMIT $2 FOR UPDATE OF d SKIP LOCKED))",
        // Where nobody listens there will be no deliveries.
        "DELETE FROM events WHERE pos = ANY (ARRAY (\
           SELECT pos FROM events e WHERE at < $1 \
           AND (fanned_out OR NOT EXISTS (SELECT 1 FROM endpoints)) \
           AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event = e.id AND d.state = 'pending') \
           ORDER BY at LIMIT $2 FOR UPDATE OF e SKIP LOCKED))",
        "DELETE FROM inbound WHERE pos = ANY (ARRAY (\
           SELECT pos FROM inbound WHERE received_at < $1 AND taken_at IS NOT NULL \
           ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
    ] {
        deleted += count(db, sql, before).await?;
    }
    Ok(deleted)
}

/// Removes webhooks that the settings have long ceased to name, once what was pending for them is deleted. Answers how many
/// deliveries that were.
async fn webhooks(db: &mut PgConnection, before: i64) -> Result<u64> {
    let sql = "DELETE FROM deliveries WHERE id = ANY (ARRAY (\
                 SELECT d.id FROM endpoints p JOIN deliveries d ON d.endpoint = p.id AND d.state = 'pending' \
                 WHERE p.dropped_at < $1 LIMIT $2 FOR UPDATE OF d SKIP LOCKED))";
    let deleted = count(db, sql, before).await?;
    sqlx::query(
        "DELETE FROM endpoints WHERE dropped_at < $1 AND NOT EXISTS \
         (SELECT 1 FROM deliveries WHERE endpoint = endpoints.id AND state = 'pending')",
    )
    .bind(before)
    .execute(db)
    .await?;
    Ok(deleted)
}

/// Deletes what was counted long ago: calls, checks, changes.
async fn counts(db: &mut PgConnection, retention: Retention) -> Result<u64> {
    let (before, checks_before) = (micros(retention.events_before), micros(retention.checks_before));
    let windows_before = micros(retention.windows_before);
    let mut deleted = 0;
    // Rows that somebody just takes again are not there to be deleted.
    for (sql, before) in [
        (
            "DELETE FROM budgets WHERE (account, window_at) IN (\
               SELECT account, window_at FROM budgets WHERE window_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
            windows_before,
        ),
        (
            "DELETE FROM ledger WHERE (hour, name) IN (\
               SELECT hour, name FROM ledger WHERE hour < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
            before,
        ),
        (
            "DELETE FROM checks WHERE (envelope, resource) IN (\
               SELECT envelope, resource FROM checks WHERE made_at < $1 ORDER BY made_at LIMIT $2 \
               FOR UPDATE SKIP LOCKED)",
            checks_before,
        ),
        (
            "DELETE FROM changes WHERE envelope IN (\
               SELECT envelope FROM changes WHERE last_at < $1 ORDER BY last_at LIMIT $2 \
               FOR UPDATE SKIP LOCKED)",
            before,
        ),
    ] {
        deleted += count(db, sql, before).await?;
    }
    Ok(deleted)
}

/// Deletes signings that ended long ago, with their payloads and links. One whose key is known would let the
/// key begin anew (rule E3), and one with work has somebody coming for it.
async fn signings(db: &mut PgConnection, retention: Retention) -> Result<u64> {
    count(
        db,
        "DELETE FROM signings WHERE id = ANY (ARRAY (\
           SELECT id FROM signings WHERE ended_at < $1 AND key IS NULL AND due_at IS NULL \
           ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
        micros(retention.signings_before),
    )
    .await
}

async fn count(db: &mut PgConnection, sql: &'static str, before: i64) -> Result<u64> {
    Ok(sqlx::query(sql).bind(before).bind(BATCH).execute(db).await?.rows_affected())
}

/// Whether the database may hold what this key sealed, by its probe.
async fn is_sealed_with(db: &mut PgConnection, key: SealKeyId) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM meta WHERE name = $1)";
    sqlx::query(sql).bind(format!("seal.{key}")).fetch_one(db).await?.try_get(0)
}

/// Forgets a key that nothing is sealed with any more: it may leave the settings.
async fn forget_key(db: &mut PgConnection, key: SealKeyId) -> Result<()> {
    sqlx::query("DELETE FROM meta WHERE name = $1").bind(format!("seal.{key}")).execute(db).await?;
    Ok(())
}

/// Looks at the next rows of one column, and answers where to go on, and whether the older key had sealed any of them.
async fn reseal_batch(
    db: &mut PgConnection,
    keys: &SealKeys,
    older: SealKeyId,
    (table, id, column): (&'static str, &'static str, &'static str),
    after: Vec<u8>,
) -> std::result::Result<(Option<Vec<u8>>, bool), Error> {
    // A name is text, all other ids are bytes: here both are their bytes.
    let id = if table == "senders" { format!("convert_to({id}, 'UTF8')") } else { id.to_owned() };
    let next: Vec<(Vec<u8>, i64)> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT {id}, CASE WHEN substr({column}, 1, 4) = $1 THEN length({column}) ELSE 0 END::bigint \
         FROM {table} WHERE {id} > $2 ORDER BY {id} LIMIT $3"
    )))
    .bind(older.to_bytes())
    .bind(after)
    .bind(BATCH)
    .fetch_all(&mut *db)
    .await?;
    let count = looked_at_once(next.iter().map(|(_, length)| length.unsigned_abs()));
    let names: Vec<&[u8]> = next.iter().take(count).map(|(name, _)| name.as_slice()).collect();
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT {id}, {column} FROM {table} WHERE {id} = ANY ($2) AND substr({column}, 1, 4) = $1"
    )))
    .bind(older.to_bytes())
    .bind(&names)
    .fetch_all(&mut *db)
    .await?;
    // A row that was written meanwhile is left alone.
    let update = format!("UPDATE {table} SET {column} = $2 WHERE {id} = $1 AND {column} = $3");
    for row in &rows {
        let (name, sealed): (Vec<u8>, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
        match keys.reseal(Place { table, column, row: &name }, sealed.clone()) {
            Ok(again) => {
                let query = sqlx::query(AssertSqlSafe(update.clone())).bind(&name).bind(again);
                query.bind(sealed).execute(&mut *db).await?;
            }
            Err(error) => {
                tracing::error!(table, column, %error, "a sealed value cannot be opened: left as it is");
            }
        }
    }
    Ok((names.last().map(|name| name.to_vec()), !rows.is_empty()))
}
