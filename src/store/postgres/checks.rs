//! What one envelope was called for, in SQL: its status checks (rule B3), and how often it was changed.

use sqlx::{PgConnection, Row};

use jiff::Timestamp;

use crate::{
    domain::EnvelopeId,
    store::{Taking, postgres::signings::decoded, rows::micros},
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// Takes the checks that are free; answers the others, each with when it was taken. One statement, and in one
/// order, so that of two daemons one gets a check and neither waits for the other for ever.
pub(super) async fn take(
    db: &mut PgConnection,
    envelopes: &[EnvelopeId],
    resource: &str,
    taking: Taking,
) -> Result<Vec<(EnvelopeId, Timestamp)>> {
    // A row that came to be while this ran is not in its view of the table, and was taken just now.
    let sql = "WITH asked AS (SELECT DISTINCT unnest($1::text[]) AS envelope), \
         taken AS (\
           INSERT INTO checks (envelope, resource, made_at) \
           SELECT envelope, $2, $3 FROM asked ORDER BY envelope \
           ON CONFLICT (envelope, resource) DO UPDATE SET made_at = excluded.made_at \
             WHERE checks.made_at <= $4 OR checks.made_at > $5 RETURNING envelope) \
         SELECT asked.envelope, coalesce(checks.made_at, $3) FROM asked \
         LEFT JOIN checks ON checks.envelope = asked.envelope AND checks.resource = $2 \
         WHERE asked.envelope NOT IN (SELECT envelope FROM taken)";
    let rows = sqlx::query(sql)
        .bind(ids(envelopes))
        .bind(resource)
        .bind(micros(taking.now))
        .bind(micros(taking.free_since))
        .bind(micros(taking.absurd_after))
        .fetch_all(db)
        .await?;
    let refused = |row: &sqlx::postgres::PgRow| {
        let envelope = EnvelopeId::new(row.try_get::<String, _>(0)?);
        Ok((envelope, decoded(row.try_get(1)?)?))
    };
    rows.iter().map(refused).collect()
}

/// Gives back checks that were taken then.
pub(super) async fn give_back(
    db: &mut PgConnection,
    envelopes: &[EnvelopeId],
    resource: &str,
    taken_at: i64,
) -> Result<()> {
    let sql = "DELETE FROM checks WHERE envelope = ANY ($1) AND resource = $2 AND made_at = $3";
    sqlx::query(sql).bind(ids(envelopes)).bind(resource).bind(taken_at).execute(db).await?;
    Ok(())
}

/// Counts a change of an envelope; answers how many there were.
pub(super) async fn count_change(db: &mut PgConnection, envelope: &EnvelopeId, now: i64) -> Result<u64> {
    let sql = "INSERT INTO changes (envelope, calls, last_at) VALUES ($1, 1, $2) \
         ON CONFLICT (envelope) DO UPDATE SET calls = changes.calls + 1, last_at = excluded.last_at \
         RETURNING calls";
    let row = sqlx::query(sql).bind(envelope.as_str()).bind(now).fetch_one(db).await?;
    Ok(row.try_get::<i64, _>(0)?.unsigned_abs())
}

fn ids(envelopes: &[EnvelopeId]) -> Vec<&str> {
    envelopes.iter().map(EnvelopeId::as_str).collect()
}
