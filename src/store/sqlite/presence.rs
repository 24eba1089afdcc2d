//! Whether somebody is there, in SQL: the daemon, to be told of events, and the disk, to be written to.
//!
//! A file has one daemon, so there are no notes of others, and no clock but its own. Nothing here may be what a
//! signing depends on.

use rusqlite::{Connection, OptionalExtension as _};

use crate::store::Error;

/// Room that must be there before a store whose writes failed counts as well again.
const ROOM_BYTES: i64 = 256 << 10;

/// Writes down that someone is there to be told of events.
pub(super) fn pulse(db: &Connection, now: i64) -> Result<(), Error> {
    db.prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES ('pulse', ?1)")?.execute([now])?;
    Ok(())
}

pub(super) fn last_pulse(db: &Connection) -> Result<Option<i64>, Error> {
    let sql = "SELECT value FROM meta WHERE name = 'pulse'";
    Ok(db.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?)
}

/// Writes when the database was last asked how it is.
pub(super) fn checked(db: &Connection, now: i64) -> Result<(), Error> {
    db.prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'checked_at'")?.execute([now])?;
    Ok(())
}

/// Takes as much room as a create may need, or fails.
pub(super) fn take_room(db: &Connection) -> Result<(), Error> {
    let sql = "INSERT OR REPLACE INTO meta (name, value) VALUES ('room', zeroblob(?1))";
    db.prepare_cached(sql)?.execute([ROOM_BYTES])?;
    Ok(())
}
