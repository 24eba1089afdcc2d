//! The endpoints that want our events, in SQL.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    domain::{CallerName, EndpointId},
    store::{
        Endpoint,
        rows::{EndpointRow, bytes, event_kinds, event_words, micros, own_webhook, webhook_of},
    },
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// The columns that [`endpoint`] reads.
pub(super) const ENDPOINT: &str = "id, caller, sealed, events, allow_private, from_settings, created_at, disabled_at, \
                        dropped_at";

pub(super) async fn put(db: &mut PgConnection, endpoint: &Endpoint, sealed: &[u8]) -> Result<()> {
    sqlx::query(
        "INSERT INTO endpoints (id, caller, sealed, events, allow_private, from_settings, created_at, \
         disabled_at, next_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0) \
         ON CONFLICT (id) DO UPDATE SET caller = $2, sealed = $3, events = $4, allow_private = $5, \
         from_settings = $6, created_at = $7, next_at = 0",
    )
    .bind(bytes(endpoint.id.as_uuid()))
    .bind(endpoint.caller.as_str())
    .bind(sealed)
    .bind(event_words(&endpoint.events))
    .bind(endpoint.allow_private)
    .bind(endpoint.from_settings)
    .bind(micros(endpoint.created_at))
    .bind(endpoint.disabled_at.map(micros))
    .execute(db)
    .await?;
    Ok(())
}

/// Names to other daemons who counts a caller's endpoints and adds one (`pg_advisory_xact_lock`): "cstr hadd".
const COUNT_LOCK: i64 = 0x6373_7472_6861_6464;

/// Answers whether its caller had room for it. Of many at once each counts what those before it have added.
pub(super) async fn add(
    db: &mut PgConnection,
    endpoint: &Endpoint,
    sealed: &[u8],
    most: u32,
) -> Result<bool> {
    let mut transaction = db.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(COUNT_LOCK).execute(&mut *transaction).await?;
    // Without itself: the answer to this very write may have been lost after its commit.
    let others: i64 =
        sqlx::query("SELECT count(*) FROM endpoints WHERE caller = $1 AND id <> $2 AND dropped_at IS NULL")
            .bind(endpoint.caller.as_str())
            .bind(bytes(endpoint.id.as_uuid()))
            .fetch_one(&mut *transaction)
            .await?
            .try_get(0)?;
    if others >= i64::from(most) {
        return Ok(false);
    }
    put(&mut transaction, endpoint, sealed).await?;
    transaction.commit().await?;
    Ok(true)
}

pub(super) async fn all(db: &mut PgConnection, caller: Option<&CallerName>) -> Result<Vec<EndpointRow>> {
    let sql = format!(
        "SELECT {ENDPOINT} FROM endpoints WHERE $1::text IS NULL OR caller = $1 ORDER BY created_at, id"
    );
    let found = sqlx::query(AssertSqlSafe(sql)).bind(caller.map(CallerName::as_str)).fetch_all(db).await?;
    found.iter().map(endpoint).collect()
}

pub(super) async fn by_id(db: &mut PgConnection, id: EndpointId) -> Result<Option<EndpointRow>> {
    let sql = format!("SELECT {ENDPOINT} FROM endpoints WHERE id = $1");
    let found = sqlx::query(AssertSqlSafe(sql)).bind(bytes(id.as_uuid())).fetch_optional(db).await?;
    found.as_ref().map(endpoint).transpose()
}

/// Answers whether it was still as it was.
pub(super) async fn rotate(db: &mut PgConnection, id: EndpointId, was: &[u8], sealed: &[u8]) -> Result<bool> {
    let rotated = sqlx::query("UPDATE endpoints SET sealed = $3 WHERE id = $1 AND sealed = $2")
        .bind(bytes(id.as_uuid()))
        .bind(was)
        .bind(sealed)
        .execute(db)
        .await?;
    Ok(rotated.rows_affected() == 1)
}

pub(super) async fn switch(db: &mut PgConnection, id: EndpointId, disabled_at: Option<i64>) -> Result<()> {
    sqlx::query("UPDATE endpoints SET disabled_at = $2, next_at = 0 WHERE id = $1")
        .bind(bytes(id.as_uuid()))
        .bind(disabled_at)
        .execute(db)
        .await?;
    Ok(())
}

/// Names to other daemons who replaces the endpoints of the settings (`pg_advisory_xact_lock`): "cstr hook".
const REPLACE_LOCK: i64 = 0x6373_7472_686f_6f6b;

/// Makes the endpoints of the settings these, each with its sealed half, and answers which others it has dropped.
pub(super) async fn replace_webhooks(
    db: &mut PgConnection,
    wanted: &[(Endpoint, Vec<u8>)],
    now: i64,
) -> Result<Vec<EndpointId>> {
    let (mut ids, mut callers, mut sealed, mut events, mut private, mut created) =
        (vec![], vec![], vec![], vec![], vec![], vec![]);
    for (endpoint, of_it) in wanted {
        ids.push(bytes(endpoint.id.as_uuid()).to_vec());
        callers.push(endpoint.caller.as_str().to_owned());
        sealed.push(of_it.clone());
        events.push(event_words(&endpoint.events));
        private.push(endpoint.allow_private);
        created.push(micros(endpoint.created_at));
    }
    let mut transaction = db.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(REPLACE_LOCK).execute(&mut *transaction).await?;
    // In one order, as whoever fans out takes them, so that neither waits for the other.
    sqlx::query("SELECT id FROM endpoints WHERE from_settings ORDER BY id FOR UPDATE")
        .execute(&mut *transaction)
        .await?;
    forget_others(&mut transaction, &ids, &callers).await?;
    sqlx::query(
        "INSERT INTO endpoints (id, caller, sealed, events, allow_private, from_settings, created_at, next_at) \
         SELECT id, caller, sealed, events, private, true, created, 0 \
         FROM unnest($1::bytea[], $2::text[], $3::bytea[], $4::text[], $5::boolean[], $6::bigint[]) \
         AS w (id, caller, sealed, events, private, created) ORDER BY id \
         ON CONFLICT (id) DO UPDATE SET caller = excluded.caller, sealed = excluded.sealed, \
         events = excluded.events, allow_private = excluded.allow_private, from_settings = true, \
         created_at = excluded.created_at, disabled_at = NULL, dropped_at = NULL, next_at = 0",
    )
    .bind(&ids)
    .bind(callers)
    .bind(sealed)
    .bind(events)
    .bind(private)
    .bind(created)
    .execute(&mut *transaction)
    .await?;
    let dropped = sqlx::query(
        "UPDATE endpoints SET dropped_at = $2 WHERE from_settings AND dropped_at IS NULL \
         AND NOT (id = ANY ($1)) RETURNING id",
    )
    .bind(&ids)
    .bind(now)
    .fetch_all(&mut *transaction)
    .await?;
    remember_own(&mut transaction).await?;
    transaction.commit().await?;
    dropped.iter().map(|row| Ok(EndpointId::from_uuid(Uuid::from_bytes(row.try_get(0)?)))).collect()
}

/// Deletes what is pending for endpoints that were another caller's: it is not for these callers. What another daemon
/// has in hand is passed over, and ends at the next claim.
async fn forget_others(db: &mut PgConnection, ids: &[Vec<u8>], callers: &[String]) -> Result<()> {
    sqlx::query(
        "DELETE FROM deliveries WHERE id = ANY (ARRAY (\
           SELECT d.id FROM unnest($1::bytea[], $2::text[]) AS w (id, caller) \
           JOIN endpoints p ON p.id = w.id AND p.caller <> w.caller \
           JOIN deliveries d ON d.endpoint = p.id AND d.state = 'pending' FOR UPDATE OF d SKIP LOCKED))",
    )
    .bind(ids)
    .bind(callers)
    .execute(db)
    .await?;
    Ok(())
}

/// Remembers for good which webhooks of the settings are named after their callers.
async fn remember_own(db: &mut PgConnection) -> Result<()> {
    let rows =
        sqlx::query("SELECT id, caller FROM endpoints WHERE from_settings").fetch_all(&mut *db).await?;
    let mut names = Vec::new();
    for row in rows {
        let (id, caller): ([u8; 16], String) = (row.try_get(0)?, row.try_get(1)?);
        names.extend(own_webhook(EndpointId::from_uuid(Uuid::from_bytes(id)), &caller));
    }
    sqlx::query(
        "INSERT INTO meta (name, value) SELECT name, ''::bytea FROM unnest($1::text[]) AS own (name) \
         ON CONFLICT (name) DO NOTHING",
    )
    .bind(names)
    .execute(db)
    .await?;
    Ok(())
}

/// The webhooks that were named after their callers.
pub(super) async fn own(db: &mut PgConnection) -> Result<Vec<EndpointId>> {
    let rows = sqlx::query("SELECT name FROM meta WHERE name LIKE 'own.%'").fetch_all(db).await?;
    let names = rows.iter().map(|row| row.try_get::<String, _>(0)).collect::<Result<Vec<_>>>()?;
    Ok(names.iter().filter_map(|name| webhook_of(name)).collect())
}

pub(super) async fn remove(db: &mut PgConnection, id: EndpointId) -> Result<()> {
    sqlx::query(
        "WITH gone AS (DELETE FROM endpoints WHERE id = $1) \
         DELETE FROM deliveries WHERE endpoint = $1 AND state = 'pending'",
    )
    .bind(bytes(id.as_uuid()))
    .execute(db)
    .await?;
    Ok(())
}

pub(super) fn endpoint(row: &PgRow) -> Result<EndpointRow> {
    Ok(EndpointRow {
        id: row.try_get(0)?,
        caller: row.try_get(1)?,
        sealed: row.try_get(2)?,
        events: event_kinds(row.try_get(3)?),
        allow_private: row.try_get(4)?,
        from_settings: row.try_get(5)?,
        created_at: row.try_get(6)?,
        disabled_at: row.try_get(7)?,
        dropped_at: row.try_get(8)?,
    })
}
