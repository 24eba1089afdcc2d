//! Our own events, and their deliveries to the [endpoints](super::endpoints) that want them, in SQL.

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    domain::{CallerName, DeliveryId, EndpointId, Event, EventId, EventKind, SignerId, SigningId},
    store::{
        Delivery, DeliveryState, EventFilter,
        postgres::{
            endpoints::{ENDPOINT, endpoint},
            signings::{EventColumns, decoded, flushed},
        },
        rows::{self, DueRow, EventRow, bytes, malformed, micros},
    },
};

type Result<T> = std::result::Result<T, sqlx::Error>;

const EVENT: &str = "id, caller, kind, signing, signer, sequence, at, data, sealed";

/// When an endpoint of which a daemon has as many out as it may is worth another look, in microseconds: it may have died,
/// and another one has places. An attempt that ends asks for a look by itself.
const FULL_FOR: i64 = 5_000_000;

macro_rules! delivery_columns {
    () => {
        "id, event, endpoint, caller, state, attempts, created_at, due_at, attempted_at, response_status, error"
    };
}

pub(super) async fn add_events(db: &mut PgConnection, events: &[EventRow]) -> Result<()> {
    let events = EventColumns::new(events);
    sqlx::query(
        // Said twice, because the first answer was lost, they are there once.
        "INSERT INTO events (id, caller, kind, signing, signer, sequence, at, data, sealed) \
         SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::bytea[], $5::bytea[], $6::bigint[], \
         $7::bigint[], $8::text[], $9::bytea[]) ON CONFLICT (id) DO NOTHING",
    )
    .bind(events.ids)
    .bind(events.callers)
    .bind(events.kinds)
    .bind(events.signings)
    .bind(events.signers)
    .bind(events.sequences)
    .bind(events.at)
    .bind(events.data)
    .bind(events.sealed)
    .execute(db)
    .await?;
    Ok(())
}

/// Reads the outbox. The events of one signing are in order as they are; across signings, an event is
/// held back until every transaction that might still put one before it has ended, so that a reader who
/// goes on from the last id misses nothing. A transaction that hangs holds them back ten seconds at most.
pub(super) async fn events(db: &mut PgConnection, filter: &EventFilter) -> Result<Vec<EventRow>> {
    let slice = slice(filter);
    // An id that retention has deleted was older than all that is left.
    let sql = format!(
        "SELECT {EVENT} FROM events WHERE {slice} AND (tx, pos) > \
         (coalesce((SELECT tx FROM events WHERE id = $1), '0'), \
          coalesce((SELECT pos FROM events WHERE id = $1), 0)) ORDER BY tx, pos LIMIT $2"
    );
    let found = sqlx::query(AssertSqlSafe(sql))
        .bind(filter.after.map(|id| bytes(id.as_uuid())))
        .bind(i64::from(filter.limit))
        .bind(filter.signing.map(|id| bytes(id.as_uuid())))
        .bind(filter.caller.as_str())
        .fetch_all(db)
        .await?;
    found.iter().map(event).collect()
}

pub(super) async fn event_before(
    db: &mut PgConnection,
    filter: &EventFilter,
    at: i64,
) -> Result<Option<EventId>> {
    let slice = slice(filter);
    let sql = format!("SELECT id FROM events WHERE {slice} AND at < $1 ORDER BY tx DESC, pos DESC LIMIT $2");
    let found = sqlx::query(AssertSqlSafe(sql))
        .bind(at)
        .bind(1_i64)
        .bind(filter.signing.map(|id| bytes(id.as_uuid())))
        .bind(filter.caller.as_str())
        .fetch_optional(db)
        .await?;
    found.map(|row| Ok(EventId::from_uuid(Uuid::from_bytes(row.try_get(0)?)))).transpose()
}

/// Whose events a query is about, as far as they can be read: the signing is `$3`, the caller `$4`.
fn slice(filter: &EventFilter) -> &'static str {
    match filter.signing {
        Some(_) => "signing = $3 AND caller = $4",
        None => {
            "$3::bytea IS NULL AND caller = $4 AND (tx < pg_snapshot_xmin(pg_current_snapshot()) \
             OR stored_at < now() - interval '10 seconds')"
        }
    }
}

/// Makes deliveries of the next events that no other daemon is at, and answers how many events that were.
pub(super) async fn fan_out(db: &mut PgConnection, now: Timestamp, limit: u32) -> Result<u64> {
    let mut transaction = db.begin().await?;
    let wanted = sqlx::query(
        "SELECT e.pos, e.id, e.caller, ARRAY (SELECT p.id FROM endpoints p WHERE p.caller = e.caller \
           AND p.disabled_at IS NULL \
           AND (p.events = '' OR position(' ' || e.kind || ' ' IN ' ' || p.events || ' ') > 0)) \
         FROM events e WHERE NOT e.fanned_out ORDER BY e.pos LIMIT $1 FOR UPDATE OF e SKIP LOCKED",
    )
    .bind(i64::from(limit))
    .fetch_all(&mut *transaction)
    .await?;
    if wanted.is_empty() {
        return Ok(0);
    }
    let (mut places, mut ids, mut events, mut endpoints, mut callers) =
        (vec![], vec![], vec![], vec![], vec![]);
    for row in &wanted {
        places.push(row.try_get::<i64, _>(0)?);
        for endpoint in row.try_get::<Vec<Vec<u8>>, _>(3)? {
            ids.push(bytes(DeliveryId::generate(now).as_uuid()).to_vec());
            events.push(row.try_get::<Vec<u8>, _>(1)?);
            endpoints.push(endpoint);
            callers.push(row.try_get::<String, _>(2)?);
        }
    }
    let wanting = endpoints.clone();
    let sql = concat!(
        "WITH done AS (UPDATE events SET fanned_out = true WHERE pos = ANY ($1) AND ",
        flushed!(),
        ") INSERT INTO deliveries (id, event, endpoint, caller, state, attempts, created_at, due_at) \
         SELECT id, event, endpoint, caller, 'pending', 0, $6, $6 \
         FROM unnest($2::bytea[], $3::bytea[], $4::bytea[], $5::text[]) AS d (id, event, endpoint, caller)"
    );
    sqlx::query(sql)
        .bind(places)
        .bind(ids)
        .bind(events)
        .bind(endpoints)
        .bind(callers)
        .bind(micros(now))
        .execute(&mut *transaction)
        .await?;
    look_at(&mut transaction, &wanting, micros(now)).await?;
    transaction.commit().await?;
    Ok(u64::try_from(wanted.len()).unwrap_or(u64::MAX))
}

/// Leases deliveries: a few of each endpoint, first ones first, so that no endpoint's backlog stands
/// before another's first delivery. Only endpoints that have something due are looked at (`next_at`), each
/// by one daemon at a time, and each look writes down when the next one is worth it. A daemon counts its own leases
/// alone: those of one that died would stand in everybody's way until they lapse.
pub(super) async fn claim_deliveries(
    db: &mut PgConnection,
    daemon: [u8; 16],
    now: i64,
    until: i64,
    per_endpoint: u32,
    limit: u32,
) -> Result<Vec<DueRow>> {
    let mut transaction = db.begin().await?;
    let endpoints = sqlx::query(
        "SELECT id FROM endpoints WHERE disabled_at IS NULL AND dropped_at IS NULL AND next_at <= $1 \
         ORDER BY next_at LIMIT $2 FOR UPDATE SKIP LOCKED",
    )
    .bind(now)
    .bind(i64::from(limit))
    .fetch_all(&mut *transaction)
    .await?;
    if endpoints.is_empty() {
        return Ok(Vec::new());
    }
    let endpoints = endpoints.iter().map(|row| row.try_get(0)).collect::<Result<Vec<Vec<u8>>>>()?;
    let sql = concat!(
        "WITH ready AS (\
           SELECT d.id, d.due_at, \
             busy.leased + row_number() OVER (PARTITION BY e.id ORDER BY d.due_at, d.id) AS rank \
           FROM unnest($5::bytea[]) AS e (id) \
           CROSS JOIN LATERAL (SELECT count(*) AS leased FROM deliveries \
             WHERE endpoint = e.id AND state = 'pending' AND leased_until > $1 AND leased_by = $6) AS busy \
           CROSS JOIN LATERAL (SELECT id, due_at FROM deliveries \
             WHERE endpoint = e.id AND state = 'pending' \
               AND greatest(due_at, coalesce(leased_until, 0)) <= $1 \
             ORDER BY greatest(due_at, coalesce(leased_until, 0)) \
             LIMIT greatest($3 - busy.leased, 0) FOR UPDATE SKIP LOCKED) AS d), \
         chosen AS (SELECT id FROM ready ORDER BY rank, due_at LIMIT $4) \
         UPDATE deliveries SET leased_until = $2, leased_by = $6 \
         WHERE id = ANY (ARRAY (SELECT id FROM chosen)) AND ",
        flushed!(),
        " RETURNING ",
        delivery_columns!()
    );
    let leased = sqlx::query(sql)
        .bind(now)
        .bind(until)
        .bind(i64::from(per_endpoint))
        .bind(i64::from(limit))
        .bind(&endpoints)
        .bind(daemon)
        .fetch_all(&mut *transaction)
        .await?;
    look_again(&mut transaction, daemon, &endpoints, now, per_endpoint).await?;
    transaction.commit().await?;
    let mut deliveries = leased.iter().map(delivery).collect::<Result<Vec<_>>>()?;
    deliveries.sort_unstable_by_key(|delivery| (delivery.due_at, delivery.id));
    with_parts(db, deliveries).await
}

/// Writes down when endpoints are worth the next look: when their next delivery is free, or, if this daemon has as many
/// out as it may, [a little later](FULL_FOR), or when the first lease ends.
async fn look_again(
    db: &mut PgConnection,
    daemon: [u8; 16],
    endpoints: &[Vec<u8>],
    now: i64,
    per_endpoint: u32,
) -> Result<()> {
    sqlx::query(
        "UPDATE endpoints SET next_at = CASE WHEN \
           (SELECT count(*) FROM deliveries WHERE endpoint = endpoints.id AND state = 'pending' \
            AND leased_until > $2 AND leased_by = $4) >= $3 \
         THEN least($5, (SELECT min(leased_until) FROM deliveries WHERE endpoint = endpoints.id \
            AND state = 'pending' AND leased_until > $2)) \
         ELSE (SELECT greatest(due_at, coalesce(leased_until, 0)) FROM deliveries \
            WHERE endpoint = endpoints.id AND state = 'pending' \
            ORDER BY greatest(due_at, coalesce(leased_until, 0)) LIMIT 1) END \
         WHERE id = ANY ($1)",
    )
    .bind(endpoints)
    .bind(now)
    .bind(i64::from(per_endpoint))
    .bind(daemon)
    .bind(now.saturating_add(FULL_FOR))
    .execute(db)
    .await?;
    Ok(())
}

/// Adds event and endpoint to each delivery. One whose event is gone has nothing to deliver, and one whose endpoint is
/// another caller's by now has nobody who may get it: it ends. A fan-out may have made it while that changed.
async fn with_parts(db: &mut PgConnection, deliveries: Vec<Delivery>) -> Result<Vec<DueRow>> {
    if deliveries.is_empty() {
        return Ok(Vec::new());
    }
    let ids =
        |of: fn(&Delivery) -> Uuid| deliveries.iter().map(|d| of(d).as_bytes().to_vec()).collect::<Vec<_>>();
    let events = sqlx::query(AssertSqlSafe(format!("SELECT {EVENT} FROM events WHERE id = ANY ($1)")))
        .bind(ids(|delivery| delivery.event.as_uuid()))
        .fetch_all(&mut *db)
        .await?;
    // Those that cannot be read are there all the same: another version may know them.
    let events: Vec<_> = events
        .iter()
        .filter_map(|row| Some((row.try_get::<[u8; 16], _>(0).ok()?, row)))
        .map(|(id, row)| (id, rows::legible([row], "event", |row| Ok(event(row)?)).pop()))
        .collect();
    let endpoints =
        sqlx::query(AssertSqlSafe(format!("SELECT {ENDPOINT} FROM endpoints WHERE id = ANY ($1)")))
            .bind(ids(|delivery| delivery.endpoint.as_uuid()))
            .fetch_all(&mut *db)
            .await?;
    let mut due = Vec::with_capacity(deliveries.len());
    let (mut gone, mut without) = (Vec::new(), Vec::new());
    for delivery in deliveries {
        let of_event = bytes(delivery.event.as_uuid());
        let event = events.iter().find(|(id, _)| *id == of_event).map(|(_, event)| event.clone());
        let id = bytes(delivery.endpoint.as_uuid());
        let found = endpoints.iter().find(|row| row.try_get::<&[u8], _>(0).is_ok_and(|found| found == id));
        let found = found.map(endpoint).transpose()?;
        match (event, found.filter(|found| found.caller == delivery.caller.as_str())) {
            (Some(Some(event)), Some(endpoint)) => due.push(DueRow { delivery, event, endpoint }),
            // Until its lease ends it stands in nobody's way.
            (Some(None), _) => {}
            _ => {
                gone.push(bytes(delivery.id.as_uuid()).to_vec());
                without.push(id.to_vec());
            }
        }
    }
    if !gone.is_empty() {
        sqlx::query("UPDATE deliveries SET state = 'failed', leased_until = NULL WHERE id = ANY ($1)")
            .bind(gone)
            .execute(&mut *db)
            .await?;
        // Others wait for the places that these had.
        look_at(db, &without, 0).await?;
    }
    Ok(due)
}

/// Asks for a look at endpoints at that time, or earlier if one was asked for. Always, also if the time seems right
/// already: whoever is at the endpoint may be moving it. In one order, so that two daemons never wait for each other.
pub(super) async fn look_at(db: &mut PgConnection, endpoints: &[Vec<u8>], at: i64) -> Result<()> {
    sqlx::query(
        "UPDATE endpoints SET next_at = least(next_at, $2) FROM (SELECT id FROM endpoints \
         WHERE id = ANY ($1) ORDER BY id FOR UPDATE) AS wanted WHERE endpoints.id = wanted.id",
    )
    .bind(endpoints)
    .bind(at)
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn delivery_attempted(db: &mut PgConnection, delivery: &Delivery) -> Result<()> {
    // The endpoint is asked to be looked at also when there is nothing left of this one: others may have
    // waited for its place.
    let sql = concat!(
        "WITH done AS (UPDATE deliveries SET state = $2, attempts = $3, due_at = $4, attempted_at = $5, \
         response_status = $6, error = $7, leased_until = NULL WHERE id = $1 AND attempts IN ($3, $3 - 1) AND ",
        flushed!(),
        " RETURNING endpoint) UPDATE endpoints SET next_at = least(next_at, $8) FROM done \
         WHERE endpoints.id = done.endpoint"
    );
    let at = delivery.attempted_at.map_or(delivery.due_at, |at| at.min(delivery.due_at));
    sqlx::query(sql)
        .bind(bytes(delivery.id.as_uuid()))
        .bind(delivery.state.as_str())
        .bind(i64::from(delivery.attempts))
        .bind(micros(delivery.due_at))
        .bind(delivery.attempted_at.map(micros))
        .bind(delivery.response_status.map(i64::from))
        .bind(delivery.error.as_deref())
        .bind(micros(at))
        .execute(db)
        .await?;
    Ok(())
}

/// Ends leases of which nothing was made, unless they are another daemon's by now. Their places are free: that is worth a
/// look at once, whenever they are due.
pub(super) async fn return_deliveries(
    db: &mut PgConnection,
    daemon: [u8; 16],
    deliveries: &[Delivery],
    now: i64,
) -> Result<()> {
    let mut transaction = db.begin().await?;
    let ids =
        |of: fn(&Delivery) -> Uuid| deliveries.iter().map(|d| of(d).as_bytes().to_vec()).collect::<Vec<_>>();
    let sql = concat!(
        "UPDATE deliveries SET due_at = w.due_at, leased_until = NULL \
         FROM unnest($1::bytea[], $2::bigint[], $3::bigint[]) AS w (id, attempts, due_at) \
         WHERE deliveries.id = w.id AND state = 'pending' AND deliveries.attempts = w.attempts \
           AND leased_by = $4 AND ",
        flushed!()
    );
    sqlx::query(sql)
        .bind(ids(|delivery| delivery.id.as_uuid()))
        .bind(deliveries.iter().map(|delivery| i64::from(delivery.attempts)).collect::<Vec<_>>())
        .bind(deliveries.iter().map(|delivery| micros(delivery.due_at)).collect::<Vec<_>>())
        .bind(daemon)
        .execute(&mut *transaction)
        .await?;
    look_at(&mut transaction, &ids(|delivery| delivery.endpoint.as_uuid()), now).await?;
    transaction.commit().await
}

pub(super) async fn deliveries(
    db: &mut PgConnection,
    caller: &CallerName,
    before: Option<DeliveryId>,
    limit: u32,
) -> Result<Vec<Delivery>> {
    let sql = concat!(
        "SELECT ",
        delivery_columns!(),
        " FROM deliveries WHERE caller = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
    );
    let found = sqlx::query(sql)
        .bind(caller.as_str())
        .bind(before.map_or([0xff; 16], |id| bytes(id.as_uuid())))
        .bind(i64::from(limit))
        .fetch_all(db)
        .await?;
    found.iter().map(delivery).collect()
}

/// Makes a delivery pending again, with all its attempts, if its endpoint is still there.
pub(super) async fn replay(db: &mut PgConnection, id: DeliveryId, now: i64) -> Result<()> {
    sqlx::query(
        "WITH again AS (UPDATE deliveries SET state = 'pending', attempts = 0, due_at = $2, \
           leased_until = NULL WHERE id = $1 AND endpoint IN (SELECT id FROM endpoints) RETURNING endpoint) \
         UPDATE endpoints SET next_at = least(next_at, $2) FROM again WHERE endpoints.id = again.endpoint",
    )
    .bind(bytes(id.as_uuid()))
    .bind(now)
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn oldest_pending(db: &mut PgConnection) -> Result<Option<Timestamp>> {
    // Those of endpoints that get nothing do not count.
    let oldest = sqlx::query(
        "SELECT min((SELECT created_at FROM deliveries WHERE endpoint = endpoints.id AND state = 'pending' \
         ORDER BY created_at LIMIT 1)) FROM endpoints WHERE disabled_at IS NULL AND dropped_at IS NULL",
    )
    .fetch_one(db)
    .await?;
    oldest.try_get::<Option<_>, _>(0)?.map(decoded).transpose()
}

fn unknown(what: &str) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(malformed(what)))
}

fn event(row: &PgRow) -> Result<EventRow> {
    let id =
        |index: usize| Ok::<_, sqlx::Error>(row.try_get::<Option<[u8; 16]>, _>(index)?.map(Uuid::from_bytes));
    let event = Event {
        id: EventId::from_uuid(Uuid::from_bytes(row.try_get(0)?)),
        caller: CallerName::new(row.try_get::<String, _>(1)?),
        kind: EventKind::parse(row.try_get(2)?).ok_or_else(|| unknown("event"))?,
        signing: id(3)?.map(SigningId::from_uuid),
        signer: id(4)?.map(SignerId::from_uuid),
        sequence: row.try_get::<i64, _>(5)?.unsigned_abs(),
        at: decoded(row.try_get(6)?)?,
        data: row.try_get(7)?,
    };
    Ok(EventRow { event, sealed: row.try_get(8)? })
}

fn delivery(row: &PgRow) -> Result<Delivery> {
    let number = |index: usize| row.try_get::<Option<i64>, _>(index);
    Ok(Delivery {
        id: DeliveryId::from_uuid(Uuid::from_bytes(row.try_get(0)?)),
        event: EventId::from_uuid(Uuid::from_bytes(row.try_get(1)?)),
        endpoint: EndpointId::from_uuid(Uuid::from_bytes(row.try_get(2)?)),
        caller: CallerName::new(row.try_get::<String, _>(3)?),
        state: DeliveryState::parse(row.try_get(4)?).ok_or_else(|| unknown("delivery"))?,
        attempts: u32::try_from(row.try_get::<i64, _>(5)?).map_err(|_| unknown("delivery"))?,
        created_at: decoded(row.try_get(6)?)?,
        due_at: decoded(row.try_get(7)?)?,
        attempted_at: number(8)?.map(decoded).transpose()?,
        response_status: number(9)?.and_then(|status| u16::try_from(status).ok()),
        error: row.try_get(10)?,
    })
}
