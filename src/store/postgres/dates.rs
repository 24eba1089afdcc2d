//! Dates that a clock has written which was ahead and has been set back since, mended in SQL.

use sqlx::{Connection, PgConnection, Row};

use crate::store::{
    postgres::{outbox, signings::flushed},
    rows::Bounds,
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// What waits beyond all bounds is due now, and who was heard of beyond them was heard of now. Each by an index of
/// its own, so that what comes due in months is not walked through. Rows that somebody just takes are let be.
pub(super) async fn mend_dates(db: &mut PgConnection, bounds: Bounds) -> Result<u64> {
    let Bounds { now, retry, look, heard, .. } = bounds;
    let unsettled = concat!(
        "UPDATE signings SET leased_until = NULL, due_at = least(due_at, $1), free_at = least(due_at, $1), \
           version = version + 1 \
         WHERE id = ANY (ARRAY (\
           SELECT id FROM signings WHERE status IN ('creating', 'uncertain') AND due_at IS NOT NULL \
           AND (leased_until > $2 OR free_at > $3 \
                OR (free_at > $2 AND EXISTS (SELECT 1 FROM payloads WHERE signing = signings.id))) \
           FOR UPDATE SKIP LOCKED)) AND ",
        flushed!()
    );
    let unsettled = sqlx::query(unsettled).bind(now).bind(retry).bind(look).execute(&mut *db).await?;
    let failed = concat!(
        "UPDATE signings SET leased_until = NULL, due_at = $1, free_at = $1, version = version + 1 \
         WHERE id = ANY (ARRAY (\
           SELECT id FROM signings WHERE attempts > 0 AND due_at > $2 \
           AND status NOT IN ('creating', 'uncertain') FOR UPDATE SKIP LOCKED)) AND ",
        flushed!()
    );
    let failed = sqlx::query(failed).bind(now).bind(retry).execute(&mut *db).await?;
    let heard_of = concat!(
        "UPDATE signings SET heard_at = $1 WHERE id = ANY (ARRAY (\
           SELECT id FROM signings WHERE status = 'open' AND heard_at > $2 FOR UPDATE SKIP LOCKED)) AND ",
        flushed!()
    );
    let heard_of = sqlx::query(heard_of).bind(now).bind(heard).execute(&mut *db).await?;
    let ended = concat!(
        "UPDATE signings SET ended_at = $1 WHERE id = ANY (ARRAY (\
           SELECT id FROM signings WHERE ended_at IS NOT NULL AND ended_at > $2 FOR UPDATE SKIP LOCKED)) AND ",
        flushed!()
    );
    let ended = sqlx::query(ended).bind(now).bind(heard).execute(&mut *db).await?;
    let deliveries = deliveries(db, bounds).await?;
    let signings = [unsettled, failed, heard_of, ended].map(|done| done.rows_affected());
    Ok(signings.into_iter().sum::<u64>() + deliveries)
}

/// Makes due what waits, or is leased, beyond all bounds, and answers how many deliveries that were. Those that somebody
/// just takes are let be.
async fn deliveries(db: &mut PgConnection, bounds: Bounds) -> Result<u64> {
    let Bounds { now, delivery, delivery_lease, .. } = bounds;
    let mut transaction = db.begin().await?;
    let mended = concat!(
        "UPDATE deliveries SET leased_until = NULL, due_at = least(due_at, $1) WHERE id = ANY (ARRAY (\
           SELECT d.id FROM endpoints e JOIN deliveries d ON d.endpoint = e.id AND d.state = 'pending' \
           AND (greatest(d.due_at, coalesce(d.leased_until, 0)) > $2 OR d.leased_until > $3) \
           LIMIT 5000 FOR UPDATE OF d SKIP LOCKED)) AND ",
        flushed!(),
        " RETURNING endpoint"
    );
    let query = sqlx::query(mended).bind(now).bind(delivery).bind(delivery_lease);
    let mended = query.fetch_all(&mut *transaction).await?;
    if mended.is_empty() {
        return Ok(0);
    }
    let endpoints = mended.iter().map(|row| row.try_get(0)).collect::<Result<Vec<Vec<u8>>>>()?;
    outbox::look_at(&mut transaction, &endpoints, now).await?;
    transaction.commit().await?;
    Ok(u64::try_from(mended.len()).unwrap_or(u64::MAX))
}
