//! Who is there, in SQL: daemons, to be told of events and for one another, and the database, with its clock. Must
//! never know what is in a note: it is the daemons' own.

use sqlx::{PgConnection, Row};

use crate::store::postgres::signings::flushed;

type Result<T> = std::result::Result<T, sqlx::Error>;

/// Writes down that someone is there to be told of events.
pub(super) async fn pulse(db: &mut PgConnection, now: i64) -> Result<()> {
    let sql = concat!(
        "INSERT INTO meta (name, value) SELECT 'pulse', $1::bytea WHERE ",
        flushed!(),
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    );
    sqlx::query(sql).bind(now.to_be_bytes()).execute(db).await?;
    Ok(())
}

pub(super) async fn last_pulse(db: &mut PgConnection) -> Result<Option<i64>> {
    let found = sqlx::query("SELECT value FROM meta WHERE name = 'pulse'").fetch_optional(db).await?;
    found.map(|row| row.try_get::<[u8; 8], _>(0).map(i64::from_be_bytes)).transpose()
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
