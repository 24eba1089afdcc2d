//! What the upstream sent us, and the senders that were connected through a browser, in SQL.

use sqlx::{PgConnection, Row, postgres::PgRow};

use crate::{
    domain::EnvelopeId,
    store::{
        Digest, Received,
        postgres::signings::flushed,
        rows::{InboundRow, SenderRow},
    },
};

type Result<T> = std::result::Result<T, sqlx::Error>;

pub(super) async fn receive(db: &mut PgConnection, inbound: &InboundRow) -> Result<Received> {
    // Somebody was heard of: a check (rule B3) can wait.
    let stored: bool = sqlx::query(
        "WITH stored AS (\
           INSERT INTO inbound (identity, received_at, envelope, event, body) VALUES ($1, $2, $3, $4, $5) \
           ON CONFLICT (identity) DO NOTHING RETURNING envelope), \
         heard AS (\
           UPDATE signings SET heard_at = greatest(heard_at, $2) \
           WHERE envelope IN (SELECT envelope FROM stored)) \
         SELECT EXISTS (SELECT 1 FROM stored)",
    )
    .bind(inbound.identity)
    .bind(inbound.received_at)
    .bind(inbound.envelope.as_deref())
    .bind(inbound.event.as_str())
    .bind(inbound.body.as_slice())
    .fetch_one(db)
    .await?
    .try_get(0)?;
    Ok(if stored { Received::New } else { Received::Again })
}

pub(super) async fn waiting(db: &mut PgConnection, limit: u32) -> Result<Vec<InboundRow>> {
    let sql = "SELECT identity, received_at, envelope, event, body FROM inbound WHERE taken_at IS NULL \
               ORDER BY pos LIMIT $1";
    sqlx::query(sql).bind(i64::from(limit)).fetch_all(db).await?.iter().map(inbound).collect()
}

pub(super) async fn of(db: &mut PgConnection, envelope: &EnvelopeId) -> Result<Vec<InboundRow>> {
    let sql = "SELECT identity, received_at, envelope, event, body FROM inbound WHERE envelope = $1 \
               ORDER BY pos";
    sqlx::query(sql).bind(envelope.as_str()).fetch_all(db).await?.iter().map(inbound).collect()
}

pub(super) async fn taken_in(db: &mut PgConnection, identity: &Digest, now: i64) -> Result<()> {
    let sql =
        concat!("UPDATE inbound SET taken_at = coalesce(taken_at, $2) WHERE identity = $1 AND ", flushed!());
    sqlx::query(sql).bind(identity).bind(now).execute(db).await?;
    Ok(())
}

pub(super) async fn sender(db: &mut PgConnection, name: &str) -> Result<Option<SenderRow>> {
    let sql = "SELECT name, user_id, account, sealed, connected_at, version FROM senders WHERE name = $1";
    sqlx::query(sql).bind(name).fetch_optional(db).await?.as_ref().map(sender_row).transpose()
}

pub(super) async fn senders(db: &mut PgConnection) -> Result<Vec<SenderRow>> {
    let sql = "SELECT name, user_id, account, sealed, connected_at, version FROM senders ORDER BY name";
    sqlx::query(sql).fetch_all(db).await?.iter().map(sender_row).collect()
}

/// Puts a sender in place of the version it states (0: there is none); says whether it was that one.
pub(super) async fn put_sender(db: &mut PgConnection, sender: &SenderRow) -> Result<bool> {
    let sql = if sender.version == 0 {
        "INSERT INTO senders (name, user_id, account, sealed, connected_at, version) \
         VALUES ($1, $2, $3, $4, $5, $6 + 1) ON CONFLICT (name) DO NOTHING"
    } else {
        "UPDATE senders SET user_id = $2, account = $3, sealed = $4, connected_at = $5, version = $6 + 1 \
         WHERE name = $1 AND version = $6"
    };
    let done = sqlx::query(sql)
        .bind(sender.name.as_str())
        .bind(sender.user_id.as_str())
        .bind(sender.account.as_str())
        .bind(sender.sealed.as_deref())
        .bind(sender.connected_at)
        .bind(sender.version)
        .execute(db)
        .await?;
    Ok(done.rows_affected() > 0)
}

pub(super) async fn remove_sender(db: &mut PgConnection, name: &str) -> Result<()> {
    sqlx::query("DELETE FROM senders WHERE name = $1").bind(name).execute(db).await?;
    Ok(())
}

/// Notes of daemons are rows of `meta`: the time, 8 bytes, and the note. Others' that are older go.
pub(super) async fn note(
    db: &mut PgConnection,
    daemon: uuid::Uuid,
    note: &[u8],
    now: i64,
    oldest: i64,
) -> Result<Vec<Vec<u8>>> {
    let name = format!("daemon.{}", daemon.simple());
    let value = [&now.to_be_bytes(), note].concat();
    sqlx::query(
        "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(&name)
    .bind(&value)
    .execute(&mut *db)
    .await?;
    let rows = sqlx::query("SELECT name, value FROM meta WHERE name LIKE 'daemon.%' AND name <> $1")
        .bind(&name)
        .fetch_all(&mut *db)
        .await?;
    let mut notes = Vec::new();
    for row in rows {
        let (name, value): (String, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
        match value.split_first_chunk::<8>() {
            Some((at, note)) if i64::from_be_bytes(*at) >= oldest => notes.push(note.to_vec()),
            _ => {
                sqlx::query("DELETE FROM meta WHERE name = $1").bind(&name).execute(&mut *db).await?;
            }
        }
    }
    Ok(notes)
}

fn inbound(row: &PgRow) -> Result<InboundRow> {
    Ok(InboundRow {
        identity: row.try_get(0)?,
        received_at: row.try_get(1)?,
        envelope: row.try_get(2)?,
        event: row.try_get(3)?,
        body: row.try_get(4)?,
    })
}

fn sender_row(row: &PgRow) -> Result<SenderRow> {
    Ok(SenderRow {
        name: row.try_get(0)?,
        user_id: row.try_get(1)?,
        account: row.try_get(2)?,
        sealed: row.try_get(3)?,
        connected_at: row.try_get(4)?,
        version: row.try_get(5)?,
    })
}

/// Writes when the database was last asked how it is.
pub(super) async fn checked(db: &mut PgConnection, now: &[u8]) -> Result<()> {
    let sql = concat!(
        "INSERT INTO meta (name, value) SELECT 'checked_at', $1::bytea WHERE ",
        flushed!(),
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    );
    sqlx::query(sql).bind(now).execute(db).await?;
    Ok(())
}

/// The database's own clock, in microseconds: now, and not when the transaction began.
pub(super) async fn clock(db: &mut PgConnection) -> Result<i64> {
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    sqlx::query(sql).fetch_one(db).await?.try_get(0)
}

/// Writes down that someone is there to be told of events.
pub(super) async fn pulse(db: &mut PgConnection, now: i64) -> Result<()> {
    let sql = concat!(
        "INSERT INTO meta (name, value) SELECT 'pulse', $1::bytea WHERE ",
        flushed!(),
        " ON CONFLICT (name) DO UPDATE SET value = greatest(meta.value, excluded.value)"
    );
    // Big-endian numbers sort as what they mean: of two daemons the later one counts.
    sqlx::query(sql).bind(now.to_be_bytes()).execute(db).await?;
    Ok(())
}

pub(super) async fn last_pulse(db: &mut PgConnection) -> Result<Option<i64>> {
    let found = sqlx::query("SELECT value FROM meta WHERE name = 'pulse'").fetch_optional(db).await?;
    found.map(|row| row.try_get::<[u8; 8], _>(0).map(i64::from_be_bytes)).transpose()
}
