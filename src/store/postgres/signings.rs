//! Signings, their payloads and links, in SQL: one statement, and so one round trip, an operation.

use sqlx::{PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    domain::{AccountId, CallerName, EnvelopeId, LinkId, SenderName, SignerId, SigningId, SigningStatus},
    store::{
        Digest, Filter, Link,
        rows::{
            ChangedRow, EventRow, MAKING_US, NewPayload, NewRow, SigningRow, UNSEEN_US, bytes, micros,
            signed, signing_columns, timestamp,
        },
    },
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// True, and makes the commit of this statement not wait for the disk.
macro_rules! flushed {
    () => {
        "(SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL"
    };
}
pub(super) use flushed;

/// The columns of links, turned on their side for `unnest`.
#[derive(Default)]
struct LinkColumns {
    ids: Vec<Vec<u8>>,
    signers: Vec<Vec<u8>>,
    tokens: Vec<Vec<u8>>,
    created_at: Vec<i64>,
    expires_at: Vec<Option<i64>>,
    revoked_at: Vec<Option<i64>>,
}

impl LinkColumns {
    fn new(links: &[Link]) -> Self {
        let mut columns = Self::default();
        for link in links {
            columns.ids.push(bytes(link.id.as_uuid()).to_vec());
            columns.signers.push(bytes(link.signer.as_uuid()).to_vec());
            columns.tokens.push(link.token.to_vec());
            columns.created_at.push(micros(link.created_at));
            columns.expires_at.push(link.expires_at.map(micros));
            columns.revoked_at.push(link.revoked_at.map(micros));
        }
        columns
    }
}

/// The columns of events, turned on their side for `unnest`.
#[derive(Default)]
pub(super) struct EventColumns<'a> {
    pub(super) ids: Vec<Vec<u8>>,
    pub(super) callers: Vec<&'a str>,
    pub(super) kinds: Vec<&'static str>,
    pub(super) signings: Vec<Option<Vec<u8>>>,
    pub(super) signers: Vec<Option<Vec<u8>>>,
    pub(super) sequences: Vec<i64>,
    pub(super) at: Vec<i64>,
    pub(super) data: Vec<&'a str>,
    pub(super) sealed: Vec<Option<&'a [u8]>>,
}

impl<'a> EventColumns<'a> {
    pub(super) fn new(events: &'a [EventRow]) -> Self {
        let mut columns = Self::default();
        for EventRow { event, sealed } in events {
            columns.ids.push(bytes(event.id.as_uuid()).to_vec());
            columns.callers.push(event.caller.as_str());
            columns.kinds.push(event.kind.as_str());
            columns.signings.push(event.signing.map(|id| bytes(id.as_uuid()).to_vec()));
            columns.signers.push(event.signer.map(|id| bytes(id.as_uuid()).to_vec()));
            columns.sequences.push(signed(event.sequence));
            columns.at.push(micros(event.at));
            columns.data.push(&event.data);
            columns.sealed.push(sealed.as_deref());
        }
        columns
    }
}

/// Writes a new signing; says whether its key was free.
pub(super) async fn begin(db: &mut PgConnection, new: &NewRow) -> Result<bool> {
    let NewRow { cells, work, .. } = new;
    let links = LinkColumns::new(&new.links);
    let row = sqlx::query(
        "WITH new AS (\
           INSERT INTO signings (id, caller, key, request, reference, status, envelope, version, created_at, \
             heard_at, due_at, leased_until, free_at, attempts, state, sealed) \
           VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9, $10, $11, $12, $13, $14, $15) \
           ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING RETURNING id), \
         linked AS (\
           INSERT INTO links (id, signing, signer, token, created_at, expires_at, revoked_at) \
           SELECT l.id, new.id, l.signer, l.token, l.created_at, l.expires_at, l.revoked_at FROM new, \
             unnest($16::bytea[], $17::bytea[], $18::bytea[], $19::bigint[], $20::bigint[], $21::bigint[]) \
             AS l (id, signer, token, created_at, expires_at, revoked_at)), \
         paid AS (\
           INSERT INTO payloads (signing, body) SELECT id, $22::bytea FROM new WHERE $22 IS NOT NULL) \
         SELECT EXISTS (SELECT 1 FROM new)",
    )
    .bind(cells.id)
    .bind(new.caller.as_str())
    .bind(new.key)
    .bind(new.request)
    .bind(new.reference.as_deref())
    .bind(cells.status)
    .bind(cells.envelope.as_ref().map(EnvelopeId::as_str))
    .bind(new.created_at)
    .bind(cells.heard_at)
    .bind(work.due_at)
    .bind(work.leased_until)
    .bind(work.free_at)
    .bind(work.attempts)
    .bind(cells.state.as_str())
    .bind(cells.sealed.as_slice())
    .bind(links.ids)
    .bind(links.signers)
    .bind(links.tokens)
    .bind(links.created_at)
    .bind(links.expires_at)
    .bind(links.revoked_at)
    .bind(new.payload.as_deref())
    .fetch_one(db)
    .await?;
    row.try_get(0)
}

/// Writes a change; says whether the version was still the one it was computed from.
pub(super) async fn save(db: &mut PgConnection, change: &ChangedRow, commit: &'static str) -> Result<bool> {
    let ChangedRow { cells, work, .. } = change;
    let (links, events) = (LinkColumns::new(&change.links), EventColumns::new(&change.events));
    let (drop, put) = match &change.payload {
        NewPayload::Drop => (true, None),
        NewPayload::Keep => (false, None),
        NewPayload::Put(payload) => (false, Some(payload.as_slice())),
    };
    // What retention has destroyed (sealed IS NULL) stays destroyed. Nothing ends before it began, which is written down
    // by the upstream's time: by a clock that is behind, persons would be forgotten too early.
    let row = sqlx::query(
        "WITH saved AS (\
           UPDATE signings SET status = $3, envelope = $4, version = version + 1, \
             heard_at = greatest(heard_at, $5), \
             ended_at = CASE WHEN $6 THEN coalesce(ended_at, greatest($7, created_at)) END, \
             due_at = $8, leased_until = $9, free_at = $10, attempts = $11, state = $12, \
             sealed = CASE WHEN sealed IS NOT NULL THEN $13::bytea END, answer = coalesce($14, answer) \
           WHERE id = $1 AND version = $2 \
             AND (SELECT set_config('synchronous_commit', $15, true)) IS NOT NULL RETURNING id), \
         told AS (\
           INSERT INTO events (id, caller, kind, signing, signer, sequence, at, data, sealed) \
           SELECT e.id, e.caller, e.kind, e.signing, e.signer, e.sequence, e.at, e.data, e.sealed FROM saved, \
             unnest($16::bytea[], $17::text[], $18::text[], $19::bytea[], $20::bytea[], $21::bigint[], \
             $22::bigint[], $23::text[], $32::bytea[]) WITH ORDINALITY \
             AS e (id, caller, kind, signing, signer, sequence, at, data, sealed, n) ORDER BY e.n), \
         linked AS (\
           INSERT INTO links (id, signing, signer, token, created_at, expires_at, revoked_at) \
           SELECT l.id, saved.id, l.signer, l.token, l.created_at, l.expires_at, l.revoked_at FROM saved, \
             unnest($24::bytea[], $25::bytea[], $26::bytea[], $27::bigint[], $28::bigint[], $29::bigint[]) \
             AS l (id, signer, token, created_at, expires_at, revoked_at)), \
         dropped AS (DELETE FROM payloads WHERE $30 AND signing IN (SELECT id FROM saved)), \
         paid AS (\
           INSERT INTO payloads (signing, body) SELECT id, $31::bytea FROM saved WHERE $31 IS NOT NULL \
           ON CONFLICT (signing) DO UPDATE SET body = excluded.body) \
         SELECT EXISTS (SELECT 1 FROM saved)"
    )
    .bind(cells.id)
    .bind(change.from)
    .bind(cells.status)
    .bind(cells.envelope.as_ref().map(EnvelopeId::as_str))
    .bind(cells.heard_at)
    .bind(cells.terminal)
    .bind(change.now)
    .bind(work.due_at)
    .bind(work.leased_until)
    .bind(work.free_at)
    .bind(work.attempts)
    .bind(cells.state.as_str())
    .bind(cells.sealed.as_slice())
    .bind(change.answer.as_deref())
    .bind(commit)
    .bind(events.ids)
    .bind(events.callers)
    .bind(events.kinds)
    .bind(events.signings)
    .bind(events.signers)
    .bind(events.sequences)
    .bind(events.at)
    .bind(events.data)
    .bind(links.ids)
    .bind(links.signers)
    .bind(links.tokens)
    .bind(links.created_at)
    .bind(links.expires_at)
    .bind(links.revoked_at)
    .bind(drop)
    .bind(put)
    .bind(events.sealed)
    .fetch_one(db)
    .await?;
    row.try_get(0)
}

pub(super) async fn forget(db: &mut PgConnection, id: SigningId, from: i64) -> Result<bool> {
    let sql = "DELETE FROM signings WHERE id = $1 AND version = $2";
    let id = bytes(id.as_uuid());
    let done = sqlx::query(sql).bind(id).bind(from).execute(&mut *db).await?;
    if done.rows_affected() > 0 {
        return Ok(true);
    }
    // Gone is gone, whoever did it.
    let is_there = "SELECT EXISTS (SELECT 1 FROM signings WHERE id = $1)";
    Ok(!sqlx::query(is_there).bind(id).fetch_one(db).await?.try_get::<bool, _>(0)?)
}

pub(super) async fn by_id(db: &mut PgConnection, id: SigningId) -> Result<Option<SigningRow>> {
    let sql = concat!("SELECT ", signing_columns!(), " FROM signings WHERE id = $1");
    sqlx::query(sql).bind(bytes(id.as_uuid())).fetch_optional(db).await?.as_ref().map(row).transpose()
}

pub(super) async fn by_key(
    db: &mut PgConnection,
    caller: &CallerName,
    key: &Digest,
) -> Result<Option<SigningRow>> {
    let sql = concat!("SELECT ", signing_columns!(), " FROM signings WHERE key = $1 AND caller = $2");
    sqlx::query(sql).bind(key).bind(caller.as_str()).fetch_optional(db).await?.as_ref().map(row).transpose()
}

pub(super) async fn by_envelope(db: &mut PgConnection, envelope: &EnvelopeId) -> Result<Option<SigningRow>> {
    let sql = concat!(
        "SELECT ",
        signing_columns!(),
        " FROM signings WHERE envelope = $1 ORDER BY created_at DESC LIMIT 1"
    );
    sqlx::query(sql).bind(envelope.as_str()).fetch_optional(db).await?.as_ref().map(row).transpose()
}

pub(super) async fn by_envelopes(db: &mut PgConnection, envelopes: &[EnvelopeId]) -> Result<Vec<SigningRow>> {
    let sql = concat!(
        "SELECT ",
        signing_columns!(),
        " FROM signings WHERE envelope = ANY ($1) ORDER BY created_at"
    );
    let envelopes: Vec<_> = envelopes.iter().map(EnvelopeId::as_str).collect();
    sqlx::query(sql).bind(envelopes).fetch_all(db).await?.iter().map(row).collect()
}

pub(super) async fn list(
    db: &mut PgConnection,
    caller: &CallerName,
    filter: &Filter,
) -> Result<Vec<SigningRow>> {
    let before = filter.before.map_or([0xff; 16], |id| bytes(id.as_uuid()));
    // Two statements, because each has its own index.
    let sql = if filter.reference.is_some() {
        concat!(
            "SELECT ",
            signing_columns!(),
            " FROM signings WHERE caller = $1 AND id < $2 AND ($3::text IS NULL OR status = $3) \
             AND left(reference, 255) = left($5, 255) AND reference = $5 ORDER BY id DESC LIMIT $4"
        )
    } else {
        concat!(
            "SELECT ",
            signing_columns!(),
            " FROM signings WHERE caller = $1 AND id < $2 AND ($3::text IS NULL OR status = $3) \
             AND $5::text IS NULL ORDER BY id DESC LIMIT $4"
        )
    };
    let found = sqlx::query(sql)
        .bind(caller.as_str())
        .bind(before)
        .bind(filter.status.map(SigningStatus::as_str))
        .bind(i64::from(filter.limit))
        .bind(filter.reference.as_deref())
        .fetch_all(db)
        .await?;
    found.iter().map(row).collect()
}

/// From each name the index leads to the next, past all the signings between: those may be millions.
pub(super) async fn callers(db: &mut PgConnection) -> Result<Vec<CallerName>> {
    let sql = "WITH RECURSIVE found (caller) AS (SELECT min(caller) FROM signings UNION ALL \
               SELECT (SELECT min(s.caller) FROM signings s WHERE s.caller > found.caller) FROM found \
               WHERE found.caller IS NOT NULL) \
               SELECT caller FROM found WHERE caller IS NOT NULL ORDER BY caller";
    let found = sqlx::query(sql).fetch_all(db).await?;
    found.iter().map(|row| row.try_get::<String, _>(0).map(CallerName::new)).collect()
}

/// Leases what is due and nobody else is just claiming. The version moves on, so that whoever held it
/// before cannot save any more. What is free is due, too (`free_at` is the later of due and lease), and asked for
/// so that the index on `due_at` gives it in order, however much there is.
pub(super) async fn claim(
    db: &mut PgConnection,
    now: i64,
    until: i64,
    limit: u32,
) -> Result<Vec<SigningRow>> {
    let sql = concat!(
        "WITH due AS (SELECT id FROM signings WHERE due_at <= $1 AND free_at <= $1 ORDER BY due_at, id LIMIT $3 \
           FOR UPDATE SKIP LOCKED) \
         UPDATE signings SET leased_until = $2, free_at = greatest(due_at, $2), version = version + 1 \
         WHERE id = ANY (ARRAY (SELECT id FROM due)) AND ",
        flushed!(),
        " RETURNING ",
        signing_columns!()
    );
    let claimed = sqlx::query(sql).bind(now).bind(until).bind(i64::from(limit)).fetch_all(db).await?;
    let mut rows = claimed.iter().map(row).collect::<Result<Vec<_>>>()?;
    rows.sort_unstable_by_key(|row| (row.due_at, row.id));
    Ok(rows)
}

/// What somebody just takes is let be. What waits for a sender has been tried: that is said for the index.
pub(super) async fn hasten(
    db: &mut PgConnection,
    senders: &[SenderName],
    now: i64,
    limit: u32,
) -> Result<u64> {
    let sql = concat!(
        "UPDATE signings SET due_at = $1, free_at = $1, version = version + 1 \
         WHERE id = ANY (ARRAY (\
           SELECT id FROM signings WHERE attempts > 0 AND due_at > $1 \
           AND status IN ('creating', 'uncertain') AND leased_until IS NULL \
           AND state::json ->> 'sender' = ANY ($2) AND state::json ->> 'twins_sought' IS NULL \
           AND coalesce((state::json ->> 'limited_until')::bigint, 0) <= $1 \
           ORDER BY due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED)) AND ",
        flushed!()
    );
    let senders: Vec<_> = senders.iter().map(SenderName::as_str).collect();
    let query = sqlx::query(sql).bind(now).bind(senders).bind(i64::from(limit));
    Ok(query.execute(db).await?.rows_affected())
}

pub(super) async fn making(
    db: &mut PgConnection,
    senders: &[SenderName],
    now: i64,
    sent_by: i64,
) -> Result<Vec<SigningId>> {
    let sql = "SELECT id FROM signings WHERE status IN ('creating', 'uncertain') \
               AND (state::json ->> 'posted_at')::bigint <= $4 \
               AND (leased_until > $1 OR (status = 'uncertain' AND (state::json ->> 'posted_at')::bigint > $2)) \
               AND state::json ->> 'sender' = ANY ($3)";
    let senders: Vec<_> = senders.iter().map(SenderName::as_str).collect();
    let query = sqlx::query(sql).bind(now).bind(now - MAKING_US).bind(senders).bind(sent_by);
    query.fetch_all(db).await?.iter().map(signing_id).collect()
}

pub(super) async fn making_for_others(
    db: &mut PgConnection,
    caller: &CallerName,
    account: &AccountId,
    now: i64,
    limit: u32,
) -> Result<Vec<SigningId>> {
    let sql = "SELECT id FROM signings WHERE status IN ('creating', 'uncertain') AND caller <> $1 \
               AND state::json ->> 'account' = $2 AND state::json ->> 'posted_at' IS NOT NULL \
               AND (leased_until > $3 OR (state::json ->> 'posted_at')::bigint > $4 \
                    OR (state::json ->> 'missing_since' IS NULL AND (state::json ->> 'posted_at')::bigint > $5)) \
               LIMIT $6";
    let query = sqlx::query(sql).bind(caller.as_str()).bind(account.as_str()).bind(now);
    let found =
        query.bind(now - MAKING_US).bind(now - UNSEEN_US).bind(i64::from(limit)).fetch_all(db).await?;
    found.iter().map(signing_id).collect()
}

fn signing_id(row: &PgRow) -> Result<SigningId> {
    Ok(SigningId::from_uuid(Uuid::from_bytes(row.try_get(0)?)))
}

pub(super) async fn unsettled(db: &mut PgConnection) -> Result<u64> {
    let sql = "SELECT count(*) FROM signings WHERE status IN ('creating', 'uncertain')";
    Ok(sqlx::query(sql).fetch_one(db).await?.try_get::<i64, _>(0)?.unsigned_abs())
}

pub(super) async fn uncertain(db: &mut PgConnection) -> Result<u64> {
    let sql = "SELECT count(*) FROM signings WHERE status IN ('creating', 'uncertain') AND status = 'uncertain' \
               AND state::json ->> 'twins_sought' IS NULL";
    Ok(sqlx::query(sql).fetch_one(db).await?.try_get::<i64, _>(0)?.unsigned_abs())
}

pub(super) async fn quiet(
    db: &mut PgConnection,
    before: i64,
    except: &[SenderName],
    limit: u32,
) -> Result<Vec<SigningRow>> {
    let sql = concat!(
        "SELECT ",
        signing_columns!(),
        " FROM signings WHERE status = 'open' AND heard_at < $1 \
         AND state::json ->> 'sender' <> ALL ($3) ORDER BY heard_at LIMIT $2"
    );
    let except: Vec<_> = except.iter().map(SenderName::as_str).collect();
    let query = sqlx::query(sql).bind(before).bind(i64::from(limit)).bind(except);
    query.fetch_all(db).await?.iter().map(row).collect()
}

pub(super) async fn payload(db: &mut PgConnection, id: &[u8; 16]) -> Result<Option<Vec<u8>>> {
    let found =
        sqlx::query("SELECT body FROM payloads WHERE signing = $1").bind(id).fetch_optional(db).await?;
    found.map(|row| row.try_get(0)).transpose()
}

pub(super) async fn add_link(db: &mut PgConnection, link: &Link) -> Result<()> {
    sqlx::query(
        "INSERT INTO links (id, signing, signer, token, created_at, expires_at, revoked_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING",
    )
    .bind(bytes(link.id.as_uuid()))
    .bind(bytes(link.signing.as_uuid()))
    .bind(bytes(link.signer.as_uuid()))
    .bind(link.token)
    .bind(micros(link.created_at))
    .bind(link.expires_at.map(micros))
    .bind(link.revoked_at.map(micros))
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn link(db: &mut PgConnection, id: LinkId) -> Result<Option<Link>> {
    let sql =
        "SELECT id, signing, signer, token, created_at, expires_at, revoked_at FROM links WHERE id = $1";
    let found = sqlx::query(sql).bind(bytes(id.as_uuid())).fetch_optional(db).await?;
    found.as_ref().map(link_row).transpose()
}

pub(super) async fn link_by_token(db: &mut PgConnection, token: &Digest) -> Result<Option<Link>> {
    let sql =
        "SELECT id, signing, signer, token, created_at, expires_at, revoked_at FROM links WHERE token = $1";
    let found = sqlx::query(sql).bind(token).fetch_optional(db).await?;
    found.as_ref().map(link_row).transpose()
}

pub(super) async fn revoke_link(db: &mut PgConnection, id: LinkId, now: i64) -> Result<()> {
    let sql = "UPDATE links SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1";
    sqlx::query(sql).bind(bytes(id.as_uuid())).bind(now).execute(db).await?;
    Ok(())
}

fn link_row(row: &PgRow) -> Result<Link> {
    let id = |index: usize| Ok::<_, sqlx::Error>(Uuid::from_bytes(row.try_get(index)?));
    let date = |index: usize| row.try_get::<Option<i64>, _>(index)?.map(decoded).transpose();
    Ok(Link {
        id: LinkId::from_uuid(id(0)?),
        signing: SigningId::from_uuid(id(1)?),
        signer: SignerId::from_uuid(id(2)?),
        token: row.try_get(3)?,
        created_at: decoded(row.try_get(4)?)?,
        expires_at: date(5)?,
        revoked_at: date(6)?,
    })
}

/// A date, or the driver's word for a value of the wrong form.
pub(super) fn decoded(micros: i64) -> Result<jiff::Timestamp> {
    timestamp(micros).map_err(|e| sqlx::Error::Decode(Box::new(e)))
}

fn row(row: &PgRow) -> Result<SigningRow> {
    Ok(SigningRow {
        id: row.try_get(0)?,
        caller: row.try_get(1)?,
        key: row.try_get(2)?,
        request: row.try_get(3)?,
        reference: row.try_get(4)?,
        status: row.try_get(5)?,
        envelope: row.try_get(6)?,
        version: row.try_get(7)?,
        created_at: row.try_get(8)?,
        due_at: row.try_get(9)?,
        leased_until: row.try_get(10)?,
        attempts: row.try_get(11)?,
        state: row.try_get(12)?,
        sealed: row.try_get(13)?,
        answer: row.try_get(14)?,
    })
}
