//! Whether a database is ours: empty, or as one of our versions left it.
//!
//! Whoever points `store.url` at a database of another program is told so in one line, before anything in it is
//! changed: our tables do not go among others, and tables that have our names and not our columns are not ours.

use sqlx::{PgConnection, Row};

use crate::store::Error;

/// Our tables and their columns, as the last step of the schema leaves them.
const TABLES: &[(&str, &[&str])] = &[
    ("budgets", &["account", "window_at", "calls"]),
    ("changes", &["envelope", "calls", "last_at"]),
    ("checks", &["envelope", "resource", "made_at"]),
    (
        "deliveries",
        &[
            "id",
            "event",
            "endpoint",
            "caller",
            "state",
            "attempts",
            "created_at",
            "due_at",
            "leased_until",
            "attempted_at",
            "response_status",
            "error",
            "leased_by",
        ],
    ),
    (
        "endpoints",
        &[
            "id",
            "caller",
            "sealed",
            "events",
            "allow_private",
            "from_settings",
            "created_at",
            "disabled_at",
            "next_at",
            "dropped_at",
        ],
    ),
    (
        "events",
        &[
            "pos",
            "tx",
            "stored_at",
            "id",
            "caller",
            "kind",
            "signing",
            "signer",
            "sequence",
            "at",
            "data",
            "fanned_out",
            "sealed",
        ],
    ),
    ("inbound", &["pos", "identity", "received_at", "envelope", "event", "body", "taken_at"]),
    ("ledger", &["hour", "name", "calls"]),
    ("links", &["id", "signing", "signer", "token", "created_at", "expires_at", "revoked_at"]),
    ("meta", &["name", "value"]),
    ("payloads", &["signing", "body"]),
    ("senders", &["name", "user_id", "account", "sealed", "connected_at", "version"]),
    (
        "signings",
        &[
            "id",
            "caller",
            "key",
            "request",
            "reference",
            "status",
            "envelope",
            "version",
            "created_at",
            "heard_at",
            "ended_at",
            "due_at",
            "leased_until",
            "free_at",
            "attempts",
            "state",
            "sealed",
            "answer",
        ],
    ),
];

/// What is said of a database that is not ours; with one thing in it that shows it.
pub(super) fn foreign(shown_by: Option<&str>) -> Error {
    let such_as = shown_by.map(|name| format!(" (such as {name:?})")).unwrap_or_default();
    Error::Unusable(format!(
        "the database has tables of another program{such_as}: give countersign a database of its own in store.url"
    ))
}

/// A statement about our tables failed because they are not as we left them.
pub(super) fn not_ours(e: sqlx::Error) -> Error {
    let code =
        e.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default().into_owned();
    let is_foreign = matches!(e, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
        // 42 is a table or column that is not as we left it; 42501 is a right that we lack.
        || (code.starts_with("42") && code != "42501");
    if is_foreign { foreign(None) } else { e.into() }
}

/// The number of the schema that is there; 0 for an empty database.
pub(super) async fn number(connection: &mut PgConnection) -> Result<i64, Error> {
    let begun = sqlx::query("SELECT to_regclass('meta') IS NOT NULL").fetch_one(&mut *connection).await?;
    if !begun.try_get::<bool, _>(0)? {
        return match others(connection).await? {
            Some(name) => Err(foreign(Some(&name))),
            None => Ok(0),
        };
    }
    let found = sqlx::query("SELECT value FROM meta WHERE name = 'schema'").fetch_optional(connection).await;
    let value: Option<Vec<u8>> =
        found.and_then(|row| row.map(|row| row.try_get(0)).transpose()).map_err(not_ours)?;
    let number = value.and_then(|value| String::from_utf8(value).ok()?.parse().ok());
    number.ok_or_else(|| foreign(Some("meta")))
}

/// A table, view or sequence in the schema where ours would go, if there is one that belongs to no extension.
async fn others(connection: &mut PgConnection) -> Result<Option<String>, Error> {
    let sql = "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') \
           AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass \
             AND d.objid = c.oid AND d.deptype = 'e') \
         ORDER BY c.relname LIMIT 1";
    let found = sqlx::query(sql).fetch_optional(connection).await?;
    Ok(found.map(|row| row.try_get(0)).transpose()?)
}

/// Makes sure that each of our tables has the columns that we read and write.
pub(super) async fn check(connection: &mut PgConnection) -> Result<(), Error> {
    let columns =
        TABLES.iter().flat_map(|(table, columns)| columns.iter().map(move |column| (*table, *column)));
    let (tables, columns): (Vec<_>, Vec<_>) = columns.unzip();
    let sql = "SELECT ours.tab, ours.col FROM unnest($1::text[], $2::text[]) AS ours (tab, col) \
         WHERE NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = to_regclass(ours.tab) \
           AND a.attname = ours.col AND NOT a.attisdropped) LIMIT 1";
    let missing = sqlx::query(sql).bind(tables).bind(columns).fetch_optional(connection).await?;
    let Some(row) = missing else { return Ok(()) };
    let (table, column): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    Err(Error::Unusable(format!(
        "the database has no {table}.{column}, so its tables are of another program or were changed by hand: give \
         countersign a database of its own in store.url, or bring back a backup"
    )))
}
