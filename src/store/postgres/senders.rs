//! Records of senders, in SQL: what `pairing` keeps under a sender's name. Must never know what is sealed in them.

use sqlx::{PgConnection, Row, postgres::PgRow};

use crate::store::rows::SenderRow;

type Result<T> = std::result::Result<T, sqlx::Error>;

pub(super) async fn by_name(db: &mut PgConnection, name: &str) -> Result<Option<SenderRow>> {
    let sql = "SELECT name, user_id, account, sealed, connected_at, version FROM senders WHERE name = $1";
    sqlx::query(sql).bind(name).fetch_optional(db).await?.as_ref().map(row).transpose()
}

pub(super) async fn all(db: &mut PgConnection) -> Result<Vec<SenderRow>> {
    let sql = "SELECT name, user_id, account, sealed, connected_at, version FROM senders ORDER BY name";
    sqlx::query(sql).fetch_all(db).await?.iter().map(row).collect()
}

/// Puts a record in place of the version it states (0: there is none); says whether it was that one.
pub(super) async fn put(db: &mut PgConnection, record: &SenderRow) -> Result<bool> {
    let sql = if record.version == 0 {
        "INSERT INTO senders (name, user_id, account, sealed, connected_at, version) \
         VALUES ($1, $2, $3, $4, $5, $6 + 1) ON CONFLICT (name) DO NOTHING"
    } else {
        "UPDATE senders SET user_id = $2, account = $3, sealed = $4, connected_at = $5, version = $6 + 1 \
         WHERE name = $1 AND version = $6"
    };
    let done = sqlx::query(sql)
        .bind(record.name.as_str())
        .bind(record.user_id.as_str())
        .bind(record.account.as_str())
        .bind(record.sealed.as_deref())
        .bind(record.connected_at)
        .bind(record.version)
        .execute(db)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Destroys a record; one that is gone is no error.
pub(super) async fn remove(db: &mut PgConnection, name: &str) -> Result<()> {
    sqlx::query("DELETE FROM senders WHERE name = $1").bind(name).execute(db).await?;
    Ok(())
}

fn row(row: &PgRow) -> Result<SenderRow> {
    Ok(SenderRow {
        name: row.try_get(0)?,
        user_id: row.try_get(1)?,
        account: row.try_get(2)?,
        sealed: row.try_get(3)?,
        connected_at: row.try_get(4)?,
        version: row.try_get(5)?,
    })
}
