//! Dates that a clock has written which was ahead and has been set back since, mended in SQL.

use rusqlite::{Connection, params};

use crate::store::{Error, rows::Bounds, sqlite::outbox};

/// Deliveries that are mended in one go.
const MENDED: u32 = 5_000;

/// What waits beyond all bounds is due now, and who was heard of beyond them was heard of now. Each by an index of
/// its own, so that what comes due in months is not walked through.
pub(super) fn mend_dates(db: &Connection, bounds: Bounds) -> Result<u64, Error> {
    let Bounds { now, retry, look, heard, .. } = bounds;
    let unsettled = db
        .prepare_cached(
            "UPDATE signings SET leased_until = NULL, due_at = min(due_at, ?1), free_at = min(due_at, ?1), \
             version = version + 1 WHERE status IN ('creating', 'uncertain') AND due_at IS NOT NULL \
             AND (leased_until > ?2 OR free_at > ?3 \
                  OR (free_at > ?2 AND EXISTS (SELECT 1 FROM payloads WHERE signing = signings.id)))",
        )?
        .execute([now, retry, look])?;
    let failed = db
        .prepare_cached(
            "UPDATE signings SET leased_until = NULL, due_at = ?1, free_at = ?1, version = version + 1 \
             WHERE attempts > 0 AND due_at > ?2 AND status NOT IN ('creating', 'uncertain')",
        )?
        .execute([now, retry])?;
    let heard = db
        .prepare_cached("UPDATE signings SET heard_at = ?1 WHERE status = 'open' AND heard_at > ?2")?
        .execute([now, heard])?;
    let ended = db
        .prepare_cached("UPDATE signings SET ended_at = ?1 WHERE ended_at IS NOT NULL AND ended_at > ?2")?
        .execute([now, bounds.heard])?;
    let deliveries = deliveries(db, bounds)?;
    Ok(u64::try_from(unsettled + failed + heard + ended + deliveries).unwrap_or(u64::MAX))
}

/// Makes due what waits, or is leased, beyond all bounds, and answers how many deliveries that were. Asked of each
/// endpoint, because the indexes begin with it; the cross join says so.
fn deliveries(db: &Connection, bounds: Bounds) -> Result<usize, Error> {
    let Bounds { now, delivery, delivery_lease, .. } = bounds;
    let mut mended = 0;
    for (sql, bound) in [
        (
            "SELECT d.id, d.endpoint FROM endpoints e CROSS JOIN deliveries d ON d.endpoint = e.id \
             AND d.state = 'pending' AND max(d.due_at, coalesce(d.leased_until, 0)) > ?1 LIMIT ?2",
            delivery,
        ),
        (
            "SELECT d.id, d.endpoint FROM endpoints e CROSS JOIN deliveries d ON d.endpoint = e.id \
             AND d.state = 'pending' AND d.leased_until IS NOT NULL AND d.leased_until > ?1 LIMIT ?2",
            delivery_lease,
        ),
    ] {
        let found: Vec<([u8; 16], [u8; 16])> =
            outbox::collect(db, sql, params![bound, MENDED], |row| Ok((row.get(0)?, row.get(1)?)))?;
        mended += found.len();
        for (id, endpoint) in found {
            db.prepare_cached(
                "UPDATE deliveries SET leased_until = NULL, due_at = min(due_at, ?2) WHERE id = ?1",
            )?
            .execute(params![id, now])?;
            outbox::look_at(db, &endpoint, now)?;
        }
    }
    Ok(mended)
}
