//! What the upstream sent us, in SQL. Must never look into a body: it is sealed.

use sqlx::{PgConnection, Row, postgres::PgRow};

use crate::{
    domain::EnvelopeId,
    store::{Digest, INBOUND_PAGE, Received, postgres::signings::flushed, rows::InboundRow},
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

/// Those about one envelope behind that position, each with its own.
pub(super) async fn of(
    db: &mut PgConnection,
    envelope: &EnvelopeId,
    after: i64,
) -> Result<Vec<(i64, InboundRow)>> {
    // By `pos` alone it might walk along the key of the whole table to save sorting the few of one envelope.
    let sql = "SELECT identity, received_at, envelope, event, body, pos FROM inbound \
               WHERE envelope = $1 AND pos > $2 ORDER BY pos + 0 LIMIT $3";
    let query = sqlx::query(sql).bind(envelope.as_str()).bind(after).bind(i64::from(INBOUND_PAGE));
    query.fetch_all(db).await?.iter().map(placed).collect()
}

pub(super) async fn taken_in(db: &mut PgConnection, identity: &Digest, now: i64) -> Result<()> {
    let sql =
        concat!("UPDATE inbound SET taken_at = coalesce(taken_at, $2) WHERE identity = $1 AND ", flushed!());
    sqlx::query(sql).bind(identity).bind(now).execute(db).await?;
    Ok(())
}

fn placed(row: &PgRow) -> Result<(i64, InboundRow)> {
    Ok((row.try_get(5)?, inbound(row)?))
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
