//! The shared store: one Postgres for several daemons (rule E5).
//!
//! Nothing here relies on being alone: a key is claimed by `ON CONFLICT`, a change by its version, work
//! by `FOR UPDATE SKIP LOCKED` and a lease. Almost every operation is one statement, and so one round
//! trip and one commit; those that recovery would find out again commit without waiting for the disk.
//!
//! | How it works | |
//! |---|---|
//! | [`pool`] | connections, and what to do when one is lost |
//! | [`schema`] | whether the database is ours |
//! | [`operations`] | the [`Store`](crate::store::Store) itself |
//!
//! | What it does, in SQL | |
//! |---|---|
//! | [`signings`] | signings, their payloads and links |
//! | [`inbox`] | what the upstream sent us |
//! | [`endpoints`] | who wants our own events |
//! | [`outbox`] | our own events, and their deliveries |
//! | [`senders`] | records of senders |
//! | [`dates`] | what a clock that was ahead has written, mended |
//! | [`presence`] | which daemons are there, and the database with its clock |
//! | [`counts`] | calls by the hour, and what was spent of a window |
//! | [`checks`] | status checks of envelopes, and their changes |
//! | [`retention`] | destroying and sealing anew |

mod checks;
mod counts;
mod dates;
mod endpoints;
mod inbox;
mod operations;
mod outbox;
mod pool;
mod presence;
mod retention;
mod schema;
mod senders;
mod signings;

pub(super) use self::pool::trusts_any_server;
use crate::{
    clock::SharedClock,
    domain::Private,
    store::{
        Error, Found, Settings,
        postgres::pool::Pool,
        retention::Looks,
        rows::{SenderRow, bytes},
        seal::SealKeys,
    },
};

/// The store in a Postgres.
#[derive(Debug)]
pub struct PostgresStore {
    pool: Pool,
    keys: SealKeys,
    clock: SharedClock,
    /// Whose leases of deliveries are ours.
    daemon: [u8; 16],
    looks: Looks,
}

/// Looks at the database as [`PostgresStore::open`] would, without changing anything.
pub(super) async fn examine(
    url: &Private<String>,
    settings: &Settings,
    keys: &SealKeys,
) -> Result<Found, Error> {
    let pool = Pool::new(url, settings)?;
    let found = pool.examine(keys).await;
    pool.close().await;
    found
}

/// What a database holds of senders that [`examine`] has found to be up to date. Changes nothing, either.
pub(super) async fn kept_of_senders(
    url: &Private<String>,
    settings: &Settings,
) -> Result<Vec<SenderRow>, Error> {
    let pool = Pool::new(url, settings)?;
    let kept = kept_in(&pool).await;
    pool.close().await;
    kept
}

async fn kept_in(pool: &Pool) -> Result<Vec<SenderRow>, Error> {
    let mut connection = pool.acquire().await?;
    senders::all(&mut connection).await.map_err(|e| pool.meaning(e))
}

impl PostgresStore {
    /// Connects, and brings the schema up to date.
    pub async fn open(
        url: &Private<String>,
        settings: &Settings,
        keys: SealKeys,
        clock: SharedClock,
    ) -> Result<Self, Error> {
        let pool = Pool::new(url, settings)?;
        pool.prepare(&keys).await?;
        Ok(Self { pool, keys, clock, daemon: bytes(uuid::Uuid::new_v4()), looks: Looks::default() })
    }
}
