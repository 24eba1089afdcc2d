//! What was counted, in SQL: calls an hour by their names, and what counters have counted in a window. Must know no
//! limit of its own.

use sqlx::{Connection as _, PgConnection, Row};

use crate::store::{
    NotedCalls,
    postgres::signings::{decoded, flushed},
    rows::signed,
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// Adds to counts of an hour.
pub(super) async fn note_calls(db: &mut PgConnection, hour: i64, counts: &[(String, u64)]) -> Result<()> {
    let (names, calls): (Vec<_>, Vec<_>) =
        counts.iter().map(|(name, calls)| (name.clone(), signed(*calls))).unzip();
    let sql = concat!(
        "INSERT INTO ledger (hour, name, calls) \
         SELECT $1, added.name, added.calls FROM unnest($2::text[], $3::bigint[]) AS added (name, calls) WHERE ",
        flushed!(),
        // In one order, so that two daemons never wait for each other's rows.
        " ORDER BY added.name \
         ON CONFLICT (hour, name) DO UPDATE SET calls = ledger.calls + excluded.calls"
    );
    sqlx::query(sql).bind(hour).bind(names).bind(calls).execute(db).await?;
    Ok(())
}

pub(super) async fn noted_calls(db: &mut PgConnection, since: i64, until: i64) -> Result<Vec<NotedCalls>> {
    let sql = "SELECT hour, name, calls FROM ledger WHERE hour >= $1 AND hour < $2 ORDER BY hour, name";
    let rows = sqlx::query(sql).bind(since).bind(until).fetch_all(db).await?;
    rows.iter()
        .map(|row| {
            let count = row.try_get::<i64, _>(2)?.unsigned_abs();
            Ok(NotedCalls { hour: decoded(row.try_get(0)?)?, name: row.try_get(1)?, count })
        })
        .collect()
}

/// The sum of a window.
pub(super) async fn spent(db: &mut PgConnection, counter: &str, window: i64) -> Result<u64> {
    let sql = "SELECT calls FROM budgets WHERE account = $1 AND window_at = $2";
    let sum = sqlx::query(sql).bind(counter).bind(window).fetch_optional(db).await?;
    let sum = sum.map(|row| row.try_get::<i64, _>(0)).transpose()?;
    Ok(sum.unwrap_or_default().unsigned_abs())
}

/// Adds to a window and answers its sum.
pub(super) async fn spend(db: &mut PgConnection, counter: &str, window: i64, count: u64) -> Result<u64> {
    let sql = concat!(
        "INSERT INTO budgets (account, window_at, calls) SELECT $1, $2, $3 WHERE ",
        flushed!(),
        " ON CONFLICT (account, window_at) DO UPDATE SET calls = budgets.calls + excluded.calls \
         RETURNING calls"
    );
    let sum = sqlx::query(sql).bind(counter).bind(window).bind(signed(count)).fetch_one(db).await?;
    Ok(sum.try_get::<i64, _>(0)?.unsigned_abs())
}

/// Counts one more, unless that would be more than `most`; with `once` only if that has counted nothing. Whoever counts the
/// same once waits at its row until the first is through, and counts after all if that was one too many.
pub(super) async fn count_within(
    db: &mut PgConnection,
    counter: &str,
    once: Option<&str>,
    window: i64,
    most: u64,
) -> Result<bool> {
    let mut transaction = db.begin().await?;
    if let Some(once) = once {
        let sql = concat!(
            "INSERT INTO budgets (account, window_at, calls) SELECT $1, $2, 1 WHERE ",
            flushed!(),
            " ON CONFLICT (account, window_at) DO NOTHING"
        );
        let first = sqlx::query(sql).bind(once).bind(window).execute(&mut *transaction).await?;
        if first.rows_affected() == 0 {
            // At once, and not when the connection is used again: others wait at the rows.
            transaction.rollback().await?;
            return Ok(true);
        }
    }
    // The first of a window is inserted without a look at the most.
    if most == 0 {
        transaction.rollback().await?;
        return Ok(false);
    }
    let sql = concat!(
        "INSERT INTO budgets (account, window_at, calls) SELECT $1, $2, 1 WHERE ",
        flushed!(),
        " ON CONFLICT (account, window_at) DO UPDATE SET calls = budgets.calls + 1 WHERE budgets.calls < $3"
    );
    let done =
        sqlx::query(sql).bind(counter).bind(window).bind(signed(most)).execute(&mut *transaction).await?;
    let is_counted = done.rows_affected() > 0;
    if is_counted {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(is_counted)
}
