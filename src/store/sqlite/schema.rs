//! The schema, step by step, and the proof that the settings hold the right seal key.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

use super::at;
use crate::store::{Error, SealKeys, seal::Place};

/// "cntr": what `PRAGMA application_id` of our files says.
const APPLICATION: i32 = 0x636e_7472;
/// Each step brings a file from the version of its index to the next. Steps are never changed.
const STEPS: &[&str] = &[include_str!("../migrations/sqlite/0001_start.sql")];
/// What the key of the settings must open.
const PROOF: &[u8] = b"countersign seals with this key";
const PROOF_PLACE: Place<'_> = Place { column: "meta.value", row: b"seal_proof" };

/// Brings the schema up to date; refuses a file that is not ours, or is from a later version.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), Error> {
    let unusable = |text: String| Error::Unusable(format!("{}: {text}", path.display()));
    let number = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i32>(0));
    let version = number("user_version").map_err(|error| at(path, &error))?;
    let application = number("application_id").map_err(|error| at(path, &error))?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|error| at(path, &error))?;
    if application != APPLICATION && tables > 0 {
        return Err(unusable(
            "this is the database of another program; give store.url a path of its own".into(),
        ));
    }
    let done = usize::try_from(version).map_err(|_| unusable("its schema version is negative".into()))?;
    if done > STEPS.len() {
        let newest = STEPS.len();
        return Err(unusable(format!(
            "its schema has version {done}, this program knows up to {newest}; run the newer program"
        )));
    }
    for (step, sql) in STEPS.iter().enumerate().skip(done) {
        let transaction = connection.transaction().map_err(|error| at(path, &error))?;
        let applied = transaction.execute_batch(sql).and_then(|()| {
            transaction.execute_batch(&format!(
                "PRAGMA user_version = {}; PRAGMA application_id = {APPLICATION};",
                step + 1
            ))?;
            transaction.commit()
        });
        applied.map_err(|error| at(path, &error))?;
    }
    Ok(())
}

/// Opens the proof that an earlier start has sealed, or seals it at the first.
pub(super) fn prove_key(connection: &Connection, keys: &SealKeys) -> Result<(), Error> {
    let found: Option<Vec<u8>> = connection
        .query_row("SELECT value FROM meta WHERE name = 'seal_proof'", [], |row| row.get(0))
        .optional()?;
    match found {
        Some(sealed) => match keys.open(PROOF_PLACE, sealed) {
            Ok(proof) if proof == PROOF => Ok(()),
            Ok(_) => Err(Error::Unusable("the seal proof is not ours".into())),
            Err(Error::Unusable(text)) => {
                Err(Error::Unusable(format!("store.seal_key is not the key of this database: {text}")))
            }
            Err(error) => Err(error),
        },
        None => {
            let sealed = keys.seal(PROOF_PLACE, PROOF);
            connection.execute("INSERT INTO meta (name, value) VALUES ('seal_proof', ?1)", [sealed])?;
            Ok(())
        }
    }
}
