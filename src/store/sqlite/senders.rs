//! Records of senders, in SQL: what `pairing` keeps under a sender's name. Must never know what is sealed in them.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::store::{Error, rows::SenderRow};

const RECORD: &str = "name, user_id, account, sealed, connected_at, version";

pub(super) fn by_name(db: &Connection, name: &str) -> Result<Option<SenderRow>, Error> {
    let sql = format!("SELECT {RECORD} FROM senders WHERE name = ?1");
    Ok(db.prepare_cached(&sql)?.query_row([name], row).optional()?)
}

pub(super) fn all(db: &Connection) -> Result<Vec<SenderRow>, Error> {
    let sql = format!("SELECT {RECORD} FROM senders ORDER BY name");
    Ok(db.prepare_cached(&sql)?.query_map([], row)?.collect::<Result<_, _>>()?)
}

/// Puts a record in place of the version it states; 0 states that there is none.
pub(super) fn put(db: &Connection, record: &SenderRow) -> Result<i64, Error> {
    let sql = if record.version == 0 {
        "INSERT INTO senders (name, user_id, account, sealed, connected_at, version) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6 + 1) ON CONFLICT (name) DO NOTHING"
    } else {
        "UPDATE senders SET user_id = ?2, account = ?3, sealed = ?4, connected_at = ?5, version = ?6 + 1 \
         WHERE name = ?1 AND version = ?6"
    };
    let changed = db.prepare_cached(sql)?.execute(params![
        record.name,
        record.user_id,
        record.account,
        record.sealed,
        record.connected_at,
        record.version,
    ])?;
    if changed == 0 { Err(Error::Conflict) } else { Ok(record.version + 1) }
}

/// Destroys a record; one that is gone is no error.
pub(super) fn remove(db: &Connection, name: &str) -> Result<(), Error> {
    db.execute("DELETE FROM senders WHERE name = ?1", [name])?;
    Ok(())
}

fn row(row: &Row<'_>) -> rusqlite::Result<SenderRow> {
    Ok(SenderRow {
        name: row.get(0)?,
        user_id: row.get(1)?,
        account: row.get(2)?,
        sealed: row.get(3)?,
        connected_at: row.get(4)?,
        version: row.get(5)?,
    })
}
