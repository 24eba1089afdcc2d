//! Shared budgets, connected senders, and retention.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{micros, time};
use crate::{
    domain::{AccountId, Private, SenderName},
    store::{ConnectedSender, Destroyed, Error, Retention, SealKeys, Spent, Version, seal::Place},
};

/// Rows that one run destroys of each kind, so that it never holds the writer for long.
const AT_ONCE: u32 = 1_000;

pub(super) fn spend(
    connection: &Connection,
    account: &str,
    window: Timestamp,
    calls: u64,
) -> Result<Spent, Error> {
    let sql = "INSERT INTO spent (account, starts, calls) VALUES (?1, ?2, ?3)
               ON CONFLICT (account, starts) DO UPDATE SET calls = calls + excluded.calls RETURNING calls";
    let calls = connection
        .prepare_cached(sql)?
        .query_row(params![account, micros(window), calls], |row| row.get(0))?;
    Ok(Spent { calls })
}

fn refresh_place(sender: &str) -> Place<'_> {
    Place { column: "connected_senders.refresh", row: sender.as_bytes() }
}

pub(super) fn seal_refresh(keys: &SealKeys, sender: &ConnectedSender) -> Option<Vec<u8>> {
    let token = sender.refresh_token.as_ref()?;
    Some(keys.seal(refresh_place(sender.sender.as_str()), token.reveal().as_bytes()))
}

pub(super) fn put_sender(
    connection: &Connection,
    sender: &ConnectedSender,
    sealed: Option<&[u8]>,
) -> Result<Version, Error> {
    let sql =
        "INSERT INTO connected_senders (sender, user_id, account, refresh_sealed, connected_at, version)
               SELECT ?1, ?2, ?3, ?4, ?5, ?6 + 1
               WHERE ?6 = coalesce((SELECT version FROM connected_senders WHERE sender = ?1), 0)
               ON CONFLICT (sender) DO UPDATE SET user_id = excluded.user_id, account = excluded.account,
                   refresh_sealed = excluded.refresh_sealed, connected_at = excluded.connected_at,
                   version = excluded.version";
    let written = connection.prepare_cached(sql)?.execute(params![
        sender.sender.as_str(),
        sender.user_id,
        sender.account.as_str(),
        sealed,
        micros(sender.connected_at),
        sender.version.0,
    ])?;
    if written == 0 { Err(Error::Conflict) } else { Ok(Version(sender.version.0 + 1)) }
}

pub(super) fn senders(
    connection: &Connection,
    keys: &SealKeys,
    name: Option<&str>,
) -> Result<Vec<ConnectedSender>, Error> {
    let sql = "SELECT sender, user_id, account, refresh_sealed, connected_at, version FROM connected_senders
               WHERE ?1 IS NULL OR sender = ?1 ORDER BY sender";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![name])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let sender: String = row.get(0)?;
        let sealed: Option<Vec<u8>> = row.get(3)?;
        let refresh = sealed.map(|sealed| keys.open(refresh_place(&sender), sealed)).transpose()?;
        found.push(ConnectedSender {
            user_id: row.get(1)?,
            account: AccountId::new(row.get::<_, String>(2)?),
            refresh_token: refresh.map(|bytes| Private::new(String::from_utf8_lossy(&bytes).into_owned())),
            connected_at: time(row.get(4)?),
            version: Version(row.get(5)?),
            sender: SenderName::new(sender),
        });
    }
    Ok(found)
}

pub(super) fn destroy(connection: &Connection, retention: &Retention) -> Result<Destroyed, Error> {
    let run = |sql: &str, before: Timestamp| -> Result<u64, Error> {
        Ok(connection.prepare_cached(sql)?.execute(params![micros(before), AT_ONCE])? as u64)
    };
    let keys = run(
        "UPDATE signings SET key = NULL, answer_status = NULL, answer_sealed = NULL WHERE id IN
             (SELECT id FROM signings WHERE created_at < ?1 AND key IS NOT NULL
                  AND status NOT IN ('creating', 'uncertain') LIMIT ?2)",
        retention.keys_before,
    )?;
    let personal = run(
        "UPDATE signings SET personal_sealed = NULL, answer_sealed = NULL, answer_status = NULL WHERE id IN
             (SELECT id FROM signings WHERE ended_at < ?1 AND personal_sealed IS NOT NULL LIMIT ?2)",
        retention.personal_before,
    )?;
    let signings = run(
        "DELETE FROM signings WHERE id IN (SELECT id FROM signings WHERE ended_at < ?1 LIMIT ?2)",
        retention.signings_before,
    )?;
    let mut events = run(
        "DELETE FROM events WHERE position IN (SELECT position FROM events WHERE at < ?1 AND fanned = 1
             AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event = events.id AND d.state = 'pending') LIMIT ?2)",
        retention.events_before,
    )?;
    events += run(
        "DELETE FROM deliveries WHERE id IN
             (SELECT id FROM deliveries WHERE created_at < ?1 AND state <> 'pending' LIMIT ?2)",
        retention.events_before,
    )?;
    events += run(
        "DELETE FROM inbound WHERE position IN
             (SELECT position FROM inbound WHERE received_at < ?1 AND taken_at IS NOT NULL LIMIT ?2)",
        retention.events_before,
    )?;
    run(
        "DELETE FROM spent WHERE rowid IN (SELECT rowid FROM spent WHERE starts < ?1 LIMIT ?2)",
        retention.keys_before,
    )?;
    Ok(Destroyed { keys, personal, events, signings })
}
