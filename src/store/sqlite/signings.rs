//! Signings, their payloads and links, in SQL.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use crate::{
    domain::{AccountId, CallerName, EnvelopeId, LinkId, SenderName, SignerId, SigningId},
    store::{
        Digest, Error, Filter, Link,
        rows::{
            ChangedRow, MAKING_US, NewPayload, NewRow, SigningRow, UNSEEN_US, bytes, micros, signing_columns,
            timestamp,
        },
        sqlite::outbox,
    },
};

/// Writes a new signing, or finds the one that has its key.
pub(super) fn begin(db: &Connection, new: &NewRow) -> Result<Option<SigningRow>, Error> {
    let NewRow { cells, work, .. } = new;
    let inserted = db
        .prepare_cached(
            "INSERT INTO signings (id, caller, key, request, reference, status, envelope, version, \
             created_at, heard_at, due_at, leased_until, free_at, attempts, state, sealed) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) \
             ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING",
        )?
        .execute(params![
            cells.id,
            new.caller.as_str(),
            new.key,
            new.request,
            new.reference,
            cells.status,
            cells.envelope.as_ref().map(EnvelopeId::as_str),
            new.created_at,
            cells.heard_at,
            work.due_at,
            work.leased_until,
            work.free_at,
            work.attempts,
            cells.state,
            cells.sealed,
        ])?;
    if inserted == 0 {
        return by_key(db, &new.caller, &new.key);
    }
    new.links.iter().try_for_each(|link| add_link(db, link))?;
    if let Some(payload) = &new.payload {
        put_payload(db, &cells.id, payload)?;
    }
    Ok(None)
}

pub(super) fn save(db: &Connection, change: &ChangedRow) -> Result<(), Error> {
    let ChangedRow { cells, work, .. } = change;
    // What retention has destroyed (sealed IS NULL) stays destroyed. Nothing ends before it began, which is written down
    // by the upstream's time: by a clock that is behind, persons would be forgotten too early.
    let changed = db
        .prepare_cached(
            "UPDATE signings SET status = ?3, envelope = ?4, version = version + 1, \
             heard_at = max(heard_at, ?5), ended_at = CASE WHEN ?6 THEN coalesce(ended_at, max(?7, created_at)) END, \
             due_at = ?8, leased_until = ?9, free_at = ?10, attempts = ?11, state = ?12, \
             sealed = CASE WHEN sealed IS NOT NULL THEN ?13 END, answer = coalesce(?14, answer) \
             WHERE id = ?1 AND version = ?2",
        )?
        .execute(params![
            cells.id,
            change.from,
            cells.status,
            cells.envelope.as_ref().map(EnvelopeId::as_str),
            cells.heard_at,
            cells.terminal,
            change.now,
            work.due_at,
            work.leased_until,
            work.free_at,
            work.attempts,
            cells.state,
            cells.sealed,
            change.answer,
        ])?;
    if changed == 0 {
        return Err(Error::Conflict);
    }
    outbox::add_events(db, &change.events)?;
    change.links.iter().try_for_each(|link| add_link(db, link))?;
    match &change.payload {
        NewPayload::Drop => {
            db.prepare_cached("DELETE FROM payloads WHERE signing = ?1")?.execute([&cells.id])?;
        }
        NewPayload::Keep => {}
        NewPayload::Put(payload) => put_payload(db, &cells.id, payload)?,
    }
    Ok(())
}

fn put_payload(db: &Connection, signing: &[u8; 16], payload: &[u8]) -> Result<(), Error> {
    db.prepare_cached("INSERT OR REPLACE INTO payloads (signing, body) VALUES (?1, ?2)")?
        .execute(params![signing, payload])?;
    Ok(())
}

pub(super) fn forget(db: &Connection, id: SigningId, from: i64) -> Result<(), Error> {
    let removed = db
        .prepare_cached("DELETE FROM signings WHERE id = ?1 AND version = ?2")?
        .execute(params![bytes(id.as_uuid()), from])?;
    // Gone is gone, whoever did it.
    let is_there = "SELECT EXISTS (SELECT 1 FROM signings WHERE id = ?1)";
    let is_changed =
        removed == 0 && db.prepare_cached(is_there)?.query_row([bytes(id.as_uuid())], |row| row.get(0))?;
    if is_changed { Err(Error::Conflict) } else { Ok(()) }
}

pub(super) fn by_id(db: &Connection, id: SigningId) -> Result<Option<SigningRow>, Error> {
    let sql = concat!("SELECT ", signing_columns!(), " FROM signings WHERE id = ?1");
    Ok(db.prepare_cached(sql)?.query_row([bytes(id.as_uuid())], row).optional()?)
}

pub(super) fn by_key(
    db: &Connection,
    caller: &CallerName,
    key: &Digest,
) -> Result<Option<SigningRow>, Error> {
    let sql = concat!("SELECT ", signing_columns!(), " FROM signings WHERE key = ?1 AND caller = ?2");
    Ok(db.prepare_cached(sql)?.query_row(params![key, caller.as_str()], row).optional()?)
}

pub(super) fn by_envelope(db: &Connection, envelope: &EnvelopeId) -> Result<Option<SigningRow>, Error> {
    let sql = concat!(
        "SELECT ",
        signing_columns!(),
        " FROM signings WHERE envelope = ?1 ORDER BY created_at DESC LIMIT 1"
    );
    Ok(db.prepare_cached(sql)?.query_row([envelope.as_str()], row).optional()?)
}

pub(super) fn by_envelopes(db: &Connection, envelopes: &[EnvelopeId]) -> Result<Vec<SigningRow>, Error> {
    let sql = concat!(
        "SELECT ",
        signing_columns!(),
        " FROM signings WHERE envelope IN (SELECT value FROM json_each(?1)) ORDER BY created_at"
    );
    rows(db, sql, params![list_of(envelopes.iter().map(EnvelopeId::as_str))])
}

pub(super) fn list(db: &Connection, caller: &CallerName, filter: &Filter) -> Result<Vec<SigningRow>, Error> {
    let before = filter.before.map_or([0xff; 16], |id| bytes(id.as_uuid()));
    let status = filter.status.map(crate::domain::SigningStatus::as_str);
    // Two statements, because each has its own index.
    match &filter.reference {
        Some(reference) => rows(
            db,
            concat!(
                "SELECT ",
                signing_columns!(),
                " FROM signings WHERE caller = ?1 AND reference = ?5 AND id < ?2 \
                 AND (?3 IS NULL OR status = ?3) ORDER BY id DESC LIMIT ?4"
            ),
            params![caller.as_str(), before, status, filter.limit, reference],
        ),
        None => rows(
            db,
            concat!(
                "SELECT ",
                signing_columns!(),
                " FROM signings WHERE caller = ?1 AND id < ?2 \
                 AND (?3 IS NULL OR status = ?3) ORDER BY id DESC LIMIT ?4"
            ),
            params![caller.as_str(), before, status, filter.limit],
        ),
    }
}

/// From each name the index leads to the next, past all the signings between: those may be millions.
pub(super) fn callers(db: &Connection) -> Result<Vec<CallerName>, Error> {
    let sql = "WITH RECURSIVE found (caller) AS (SELECT min(caller) FROM signings UNION ALL \
               SELECT (SELECT min(s.caller) FROM signings s WHERE s.caller > found.caller) FROM found \
               WHERE found.caller IS NOT NULL) \
               SELECT caller FROM found WHERE caller IS NOT NULL ORDER BY caller";
    let caller = |row: &Row<'_>| row.get::<_, String>(0).map(CallerName::new);
    Ok(db.prepare_cached(sql)?.query_map([], caller)?.collect::<Result<_, _>>()?)
}

/// What is due and not in hand. What is free is due, too (`free_at` is the later of due and lease), and asked for so
/// that the index on `due_at` gives it in order, however much there is.
const DUE: &str = "SELECT id FROM signings WHERE due_at <= ?1 AND free_at <= ?1 ORDER BY due_at, id LIMIT ?2";

/// Leases what is due. The version moves on, so that whoever held it before cannot save any more.
pub(super) fn claim(db: &Connection, now: i64, until: i64, limit: u32) -> Result<Vec<SigningRow>, Error> {
    let due: Vec<[u8; 16]> = db
        .prepare_cached(DUE)?
        .query_map(params![now, limit], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut lease = db.prepare_cached(concat!(
        "UPDATE signings SET leased_until = ?2, free_at = max(due_at, ?2), version = version + 1 \
         WHERE id = ?1 RETURNING ",
        signing_columns!()
    ))?;
    due.iter().map(|id| Ok(lease.query_row(params![id, until], row)?)).collect()
}

/// Makes due at once what the daemon before this one had in hand. Its last call may still be under way at
/// the upstream; whoever takes over looks it up, and waits, before anything is sent again. A lease that ends with a limit is
/// no daemon's: a create that a person stands before waits so. It is known by that, and not at all in a row that is damaged,
/// for which the store must open all the same.
pub(super) fn end_leases(db: &Connection, now: i64) -> Result<(), Error> {
    db.execute(
        "UPDATE signings SET leased_until = NULL, due_at = min(due_at, ?1), free_at = min(due_at, ?1), \
         version = version + 1 WHERE due_at IS NOT NULL AND leased_until IS NOT NULL \
         AND leased_until IS NOT CASE WHEN json_valid(state) THEN state ->> 'limited_until' END",
        [now],
    )?;
    Ok(())
}

/// What waits for a sender has been tried. In the order of this index, which ends with the rowid, nothing is sorted, and
/// what was hastened before is not read again, however much there is; the planner would take the index of the status.
const HASTEN: &str = "UPDATE signings SET due_at = ?1, free_at = ?1, version = version + 1 WHERE rowid IN (\
    SELECT rowid FROM signings INDEXED BY signings_put_off WHERE attempts > 0 AND due_at > ?1 \
    AND status IN ('creating', 'uncertain') AND leased_until IS NULL \
    AND state ->> 'sender' IN (SELECT value FROM json_each(?2)) AND state ->> 'twins_sought' IS NULL \
    AND coalesce(state ->> 'limited_until', 0) <= ?1 ORDER BY due_at, rowid LIMIT ?3)";

pub(super) fn hasten(db: &Connection, senders: &[SenderName], now: i64, limit: u32) -> Result<u64, Error> {
    let hastened = db.prepare_cached(HASTEN)?.execute(params![now, names(senders), limit])?;
    Ok(u64::try_from(hastened).unwrap_or(u64::MAX))
}

pub(super) fn unsettled(db: &Connection) -> Result<u64, Error> {
    let count: i64 = db
        .prepare_cached("SELECT count(*) FROM signings WHERE status IN ('creating', 'uncertain')")?
        .query_row([], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

pub(super) fn making(
    db: &Connection,
    senders: &[SenderName],
    now: i64,
    sent_by: i64,
) -> Result<Vec<SigningId>, Error> {
    // The index is found by the status; of those few the rest is read.
    let sql = "SELECT id FROM signings WHERE status IN ('creating', 'uncertain') AND state ->> 'posted_at' <= ?4 \
               AND (leased_until > ?1 OR (status = 'uncertain' AND state ->> 'posted_at' > ?2)) \
               AND state ->> 'sender' IN (SELECT value FROM json_each(?3))";
    let values = params![now, now - MAKING_US, names(senders), sent_by];
    Ok(db.prepare_cached(sql)?.query_map(values, signing_id)?.collect::<Result<_, _>>()?)
}

pub(super) fn making_for_others(
    db: &Connection,
    caller: &CallerName,
    account: &AccountId,
    now: i64,
    limit: u32,
) -> Result<Vec<SigningId>, Error> {
    // The index is found by the status; of those few the rest is read.
    let sql = "SELECT id FROM signings WHERE status IN ('creating', 'uncertain') AND caller <> ?1 \
               AND state ->> 'account' = ?2 AND state ->> 'posted_at' IS NOT NULL \
               AND (leased_until > ?3 OR state ->> 'posted_at' > ?4 \
                    OR (state ->> 'missing_since' IS NULL AND state ->> 'posted_at' > ?5)) LIMIT ?6";
    let (lately, today) = (now - MAKING_US, now - UNSEEN_US);
    let values = params![caller.as_str(), account.as_str(), now, lately, today, limit];
    Ok(db.prepare_cached(sql)?.query_map(values, signing_id)?.collect::<Result<_, _>>()?)
}

fn signing_id(row: &Row<'_>) -> rusqlite::Result<SigningId> {
    row.get(0).map(|id| SigningId::from_uuid(Uuid::from_bytes(id)))
}

pub(super) fn uncertain(db: &Connection) -> Result<u64, Error> {
    // Both conditions, because the index is found by the first.
    let sql = "SELECT count(*) FROM signings WHERE status IN ('creating', 'uncertain') AND status = 'uncertain' \
               AND state ->> 'twins_sought' IS NULL";
    let count: i64 = db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

pub(super) fn quiet(
    db: &Connection,
    before: i64,
    except: &[SenderName],
    limit: u32,
) -> Result<Vec<SigningRow>, Error> {
    let sql = concat!(
        "SELECT ",
        signing_columns!(),
        " FROM signings WHERE status = 'open' AND heard_at < ?1 \
         AND state ->> 'sender' NOT IN (SELECT value FROM json_each(?3)) ORDER BY heard_at LIMIT ?2"
    );
    rows(db, sql, params![before, limit, names(except)])
}

fn names(senders: &[SenderName]) -> String {
    list_of(senders.iter().map(SenderName::as_str))
}

/// Words as `json_each` takes them.
fn list_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: serde_json::Value = words.collect();
    words.to_string()
}

pub(super) fn payload(db: &Connection, id: &[u8; 16]) -> Result<Option<Vec<u8>>, Error> {
    Ok(db
        .prepare_cached("SELECT body FROM payloads WHERE signing = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?)
}

pub(super) fn add_link(db: &Connection, link: &Link) -> Result<(), Error> {
    let added = db
        .prepare_cached(
            "INSERT INTO links (id, signing, signer, token, created_at, expires_at, revoked_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (token) DO NOTHING",
        )?
        .execute(params![
            bytes(link.id.as_uuid()),
            bytes(link.signing.as_uuid()),
            bytes(link.signer.as_uuid()),
            link.token,
            micros(link.created_at),
            link.expires_at.map(micros),
            link.revoked_at.map(micros),
        ])?;
    if added == 0 { Err(Error::Conflict) } else { Ok(()) }
}

pub(super) fn link(db: &Connection, id: LinkId) -> Result<Option<Link>, Error> {
    let sql =
        "SELECT id, signing, signer, token, created_at, expires_at, revoked_at FROM links WHERE id = ?1";
    one_link(db, sql, &bytes(id.as_uuid()))
}

pub(super) fn link_by_token(db: &Connection, token: &Digest) -> Result<Option<Link>, Error> {
    let sql =
        "SELECT id, signing, signer, token, created_at, expires_at, revoked_at FROM links WHERE token = ?1";
    one_link(db, sql, token)
}

pub(super) fn revoke_link(db: &Connection, id: LinkId, now: Timestamp) -> Result<(), Error> {
    db.prepare_cached("UPDATE links SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1")?
        .execute(params![bytes(id.as_uuid()), micros(now)])?;
    Ok(())
}

fn one_link(db: &Connection, sql: &'static str, by: &[u8]) -> Result<Option<Link>, Error> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([by])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let date = |index| row.get::<_, Option<i64>>(index)?.map(timestamp).transpose();
    Ok(Some(Link {
        id: LinkId::from_uuid(Uuid::from_bytes(row.get(0)?)),
        signing: SigningId::from_uuid(Uuid::from_bytes(row.get(1)?)),
        signer: SignerId::from_uuid(Uuid::from_bytes(row.get(2)?)),
        token: row.get(3)?,
        created_at: timestamp(row.get(4)?)?,
        expires_at: date(5)?,
        revoked_at: date(6)?,
    }))
}

fn rows(db: &Connection, sql: &'static str, params: impl rusqlite::Params) -> Result<Vec<SigningRow>, Error> {
    Ok(db.prepare_cached(sql)?.query_map(params, row)?.collect::<Result<_, _>>()?)
}

fn row(row: &Row<'_>) -> rusqlite::Result<SigningRow> {
    Ok(SigningRow {
        id: row.get(0)?,
        caller: row.get(1)?,
        key: row.get(2)?,
        request: row.get(3)?,
        reference: row.get(4)?,
        status: row.get(5)?,
        envelope: row.get(6)?,
        version: row.get(7)?,
        created_at: row.get(8)?,
        due_at: row.get(9)?,
        leased_until: row.get(10)?,
        attempts: row.get(11)?,
        state: row.get(12)?,
        sealed: row.get(13)?,
        answer: row.get(14)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::migrations;

    /// The steps in which SQLite would do it.
    fn plan(sql: &str, values: impl rusqlite::Params) -> Vec<String> {
        let db = Connection::open_in_memory().unwrap();
        for (_, step) in migrations::missing(&migrations::SQLITE, 0) {
            db.execute_batch(step).unwrap();
        }
        let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        plan.query_map(values, |row| row.get("detail")).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn a_claim_reads_by_an_index_and_sorts_nothing() {
        let steps = plan(DUE, params![0, 10]);
        assert!(steps.iter().all(|step| step.contains("signings_due")), "{steps:?}");
    }

    #[test]
    fn what_is_hastened_is_read_by_an_index_from_where_it_begins_and_sorted_by_nothing() {
        let steps = plan(HASTEN, params![0, "[]", 10]);
        assert!(steps.iter().any(|step| step.contains("signings_put_off (due_at>?)")), "{steps:?}");
        assert!(!steps.iter().any(|step| step.contains("ORDER BY")), "{steps:?}");
    }
}
