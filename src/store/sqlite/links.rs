//! Rows of links, and of inbound messages.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{maybe_time, micros, time, uuid};
use crate::{
    domain::{EnvelopeId, LinkId, Private, SignerId, SigningId},
    store::{Digest, Error, Inbound, Link, Received, SealKeys, seal::Place},
};

const LINK: &str = "SELECT id, signing, signer, token, created_at, expires_at, revoked_at FROM links";

pub(super) fn add(connection: &Connection, link: &Link) -> Result<(), Error> {
    let sql = "INSERT INTO links (id, signing, signer, token, created_at, expires_at, revoked_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    connection.prepare_cached(sql)?.execute(params![
        link.id.as_uuid().as_bytes(),
        link.signing.as_uuid().as_bytes(),
        link.signer.as_uuid().as_bytes(),
        link.token,
        micros(link.created_at),
        link.expires_at.map(micros),
        link.revoked_at.map(micros),
    ])?;
    Ok(())
}

pub(super) fn by_token(connection: &Connection, token: Digest) -> Result<Option<Link>, Error> {
    let sql = format!("{LINK} WHERE token = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row(params![token], link).optional()?)
}

pub(super) fn by_id(connection: &Connection, id: LinkId) -> Result<Option<Link>, Error> {
    let sql = format!("{LINK} WHERE id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row(params![id.as_uuid().as_bytes()], link).optional()?)
}

pub(super) fn revoke(connection: &Connection, id: LinkId, now: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE links SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1";
    connection.prepare_cached(sql)?.execute(params![id.as_uuid().as_bytes(), micros(now)])?;
    Ok(())
}

fn link(row: &Row<'_>) -> rusqlite::Result<Link> {
    Ok(Link {
        id: LinkId::from_uuid(uuid(row, 0)?),
        signing: SigningId::from_uuid(uuid(row, 1)?),
        signer: SignerId::from_uuid(uuid(row, 2)?),
        token: row.get(3)?,
        created_at: time(row.get(4)?),
        expires_at: maybe_time(row.get(5)?),
        revoked_at: maybe_time(row.get(6)?),
    })
}

/// Where the body of an inbound message stands.
pub(super) const fn inbound_place(identity: &Digest) -> Place<'_> {
    Place { column: "inbound.body", row: identity }
}

pub(super) fn receive(connection: &Connection, inbound: &Inbound, sealed: &[u8]) -> Result<Received, Error> {
    let sql = "INSERT INTO inbound (identity, envelope, event, body_sealed, received_at)
               VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (identity) DO NOTHING";
    let envelope = inbound.envelope.as_ref().map(EnvelopeId::as_str);
    let received_at = micros(inbound.received_at);
    let values = params![inbound.identity, envelope, inbound.event, sealed, received_at];
    let written = connection.prepare_cached(sql)?.execute(values)?;
    Ok(if written == 0 { Received::Again } else { Received::New })
}

pub(super) fn inbox(connection: &Connection, keys: &SealKeys, limit: u32) -> Result<Vec<Inbound>, Error> {
    let sql = "SELECT identity, envelope, event, body_sealed, received_at FROM inbound
               WHERE taken_at IS NULL ORDER BY position LIMIT ?1";
    read(connection, keys, sql, params![limit])
}

pub(super) fn inbound_of(
    connection: &Connection,
    keys: &SealKeys,
    envelope: &str,
) -> Result<Vec<Inbound>, Error> {
    let sql = "SELECT identity, envelope, event, body_sealed, received_at FROM inbound
               WHERE envelope = ?1 ORDER BY position";
    read(connection, keys, sql, params![envelope])
}

pub(super) fn taken_in(connection: &Connection, identity: Digest, now: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE inbound SET taken_at = ?2 WHERE identity = ?1";
    connection.prepare_cached(sql)?.execute(params![identity, micros(now)])?;
    Ok(())
}

fn read(
    connection: &Connection,
    keys: &SealKeys,
    sql: &str,
    values: &[&dyn rusqlite::ToSql],
) -> Result<Vec<Inbound>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let identity: Digest = row.get(0)?;
        let body = keys.open(inbound_place(&identity), row.get(3)?)?;
        found.push(Inbound {
            identity,
            envelope: row.get::<_, Option<String>>(1)?.map(EnvelopeId::new),
            event: row.get(2)?,
            body: Private::new(body),
            received_at: time(row.get(4)?),
        });
    }
    Ok(found)
}
