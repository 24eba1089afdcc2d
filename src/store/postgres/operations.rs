//! What the store does, operation by operation: rows are made and opened here, in the caller's task.
//!
//! Must hold no SQL: that is in [`signings`], [`endpoints`], [`outbox`], [`inbox`], [`senders`], [`presence`], [`counts`],
//! [`checks`], [`dates`] and [`retention`](super::retention).

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    clock::earlier,
    domain::{
        AccountId, CallerName, DeliveryId, EndpointId, EnvelopeId, Event, EventId, LinkId, Private,
        SenderName, Signing, SigningId,
    },
    store::{
        Answer, Begun, Change, Counter, Daemons, Delivery, Destroyed, Digest, DueDelivery, Durability,
        Endpoint, Error, EventFilter, Filter, Inbound, InboundPage, Intent, Link, NotedCalls, Received,
        Record, Retention, Sealed, SenderRecord, Store, Taking, Version,
        postgres::{
            PostgresStore, checks, counts, dates, endpoints, inbox, outbox,
            pool::{is_lost, with},
            presence, senders, signings,
        },
        rows::{
            self, Bounds, ChangedRow, EventRow, InboundRow, NewRow, SenderRow, SigningRow, bytes,
            counter_name, micros, payload_place, seal_endpoint, seal_endpoints, signed,
        },
    },
};

/// How often a begin is tried whose key is freed and taken again under its eyes.
const BEGIN_ATTEMPTS: u32 = 5;

impl Store for PostgresStore {
    fn begin<'a>(&'a self, intent: &'a Intent) -> Answer<'a, Begun> {
        Box::pin(self.write_new(NewRow::new(intent, &self.keys)))
    }

    fn signing(&self, id: SigningId) -> Answer<'_, Option<Record>> {
        Box::pin(async move { self.record(with!(&self.pool, db => signings::by_id(db, id))?) })
    }

    fn signing_by_key<'a>(&'a self, caller: &'a CallerName, key: Digest) -> Answer<'a, Option<Record>> {
        Box::pin(async move { self.record(with!(&self.pool, db => signings::by_key(db, caller, &key))?) })
    }

    fn signing_by_envelope<'a>(&'a self, envelope: &'a EnvelopeId) -> Answer<'a, Option<Record>> {
        Box::pin(async move { self.record(with!(&self.pool, db => signings::by_envelope(db, envelope))?) })
    }

    fn signings_of_envelopes<'a>(&'a self, envelopes: &'a [EnvelopeId]) -> Answer<'a, Vec<Record>> {
        Box::pin(async move {
            let rows = with!(&self.pool, db => signings::by_envelopes(db, envelopes))?;
            rows.into_iter().map(|row| row.into_record(&self.keys)).collect()
        })
    }

    fn signings<'a>(&'a self, caller: &'a CallerName, filter: Filter) -> Answer<'a, Vec<Signing>> {
        Box::pin(async move {
            let rows = with!(&self.pool, db => signings::list(db, caller, &filter))?;
            rows.into_iter().map(|row| row.into_signing(&self.keys)).collect()
        })
    }

    fn callers(&self) -> Answer<'_, Vec<CallerName>> {
        Box::pin(async move { with!(&self.pool, db => signings::callers(db)) })
    }

    fn save<'a>(&'a self, change: Change<'a>) -> Answer<'a, Version> {
        Box::pin(async move {
            let next = Version(change.from.0 + 1);
            let commit = match change.durability {
                Durability::Flushed => "off",
                Durability::Synced => self.pool.durable,
            };
            let row = ChangedRow::new(change, &self.keys, self.clock.now());
            unchanged(with!(&self.pool, db => signings::save(db, &row, commit))?)?;
            Ok(next)
        })
    }

    fn forget(&self, id: SigningId, from: Version) -> Answer<'_, ()> {
        Box::pin(async move { unchanged(with!(&self.pool, db => signings::forget(db, id, signed(from.0)))?) })
    }

    fn payload(&self, id: SigningId) -> Answer<'_, Option<Private<Bytes>>> {
        Box::pin(async move {
            let id = bytes(id.as_uuid());
            let sealed = with!(&self.pool, db => signings::payload(db, &id))?;
            let open = |sealed| self.keys.open(payload_place(&id), sealed).map(Private::new);
            sealed.map(open).transpose()
        })
    }

    fn claim(&self, now: Timestamp, until: Timestamp, limit: u32) -> Answer<'_, Vec<Record>> {
        Box::pin(async move {
            let (now, until) = (micros(now), micros(until));
            let claimed = with!(&self.pool, db => signings::claim(db, now, until, limit))?;
            rows::readable(claimed, &self.keys)
        })
    }

    fn hasten<'a>(&'a self, senders: &'a [SenderName], now: Timestamp, limit: u32) -> Answer<'a, u64> {
        let now = micros(now);
        Box::pin(async move { with!(&self.pool, db => signings::hasten(db, senders, now, limit)) })
    }

    fn mend_dates(&self, now: Timestamp) -> Answer<'_, u64> {
        let bounds = Bounds::at(now);
        Box::pin(async move { with!(&self.pool, db => dates::mend_dates(db, bounds)) })
    }

    fn unsettled(&self) -> Answer<'_, u64> {
        Box::pin(async move { with!(&self.pool, db => signings::unsettled(db)) })
    }

    fn making<'a>(
        &'a self,
        senders: &'a [SenderName],
        now: Timestamp,
        sent_by: Timestamp,
    ) -> Answer<'a, Vec<SigningId>> {
        let (now, sent_by) = (micros(now), micros(sent_by));
        Box::pin(async move { with!(&self.pool, db => signings::making(db, senders, now, sent_by)) })
    }

    fn making_for_others<'a>(
        &'a self,
        caller: &'a CallerName,
        account: &'a AccountId,
        now: Timestamp,
        limit: u32,
    ) -> Answer<'a, Vec<SigningId>> {
        Box::pin(async move {
            with!(&self.pool, db => signings::making_for_others(db, caller, account, micros(now), limit))
        })
    }

    fn uncertain(&self) -> Answer<'_, u64> {
        Box::pin(async move { with!(&self.pool, db => signings::uncertain(db)) })
    }

    fn quiet<'a>(
        &'a self,
        before: Timestamp,
        except: &'a [SenderName],
        limit: u32,
    ) -> Answer<'a, Vec<Record>> {
        Box::pin(async move {
            let found = with!(&self.pool, db => signings::quiet(db, micros(before), except, limit))?;
            rows::readable(found, &self.keys)
        })
    }

    fn link_by_token(&self, token: Digest) -> Answer<'_, Option<Link>> {
        Box::pin(async move { with!(&self.pool, db => signings::link_by_token(db, &token)) })
    }

    fn link(&self, id: LinkId) -> Answer<'_, Option<Link>> {
        Box::pin(async move { with!(&self.pool, db => signings::link(db, id)) })
    }

    fn add_link(&self, link: Link) -> Answer<'_, ()> {
        Box::pin(async move { with!(&self.pool, db => signings::add_link(db, &link)) })
    }

    fn revoke_link(&self, id: LinkId, now: Timestamp) -> Answer<'_, ()> {
        Box::pin(async move { with!(&self.pool, db => signings::revoke_link(db, id, micros(now))) })
    }

    fn receive(&self, inbound: Inbound) -> Answer<'_, Received> {
        Box::pin(async move {
            let row = InboundRow::new(inbound, &self.keys);
            with!(&self.pool, db => inbox::receive(db, &row))
        })
    }

    fn inbox(&self, limit: u32) -> Answer<'_, Vec<Inbound>> {
        Box::pin(
            async move { Ok(rows::inbound(with!(&self.pool, db => inbox::waiting(db, limit))?, &self.keys)) },
        )
    }

    fn taken_in(&self, identity: Digest, now: Timestamp) -> Answer<'_, ()> {
        Box::pin(async move { with!(&self.pool, db => inbox::taken_in(db, &identity, micros(now))) })
    }

    fn inbound_of<'a>(&'a self, envelope: &'a EnvelopeId, after: Option<u64>) -> Answer<'a, InboundPage> {
        let after = signed(after.unwrap_or(0));
        Box::pin(async move {
            let rows = with!(&self.pool, db => inbox::of(db, envelope, after))?;
            Ok(rows::inbound_page(rows, &self.keys))
        })
    }

    fn add_events(&self, events: Vec<Event>) -> Answer<'_, ()> {
        let events = EventRow::seal_all(&events, &self.keys);
        Box::pin(async move { with!(&self.pool, db => outbox::add_events(db, &events)) })
    }

    fn events(&self, filter: EventFilter) -> Answer<'_, Vec<Event>> {
        Box::pin(async move {
            let found = with!(&self.pool, db => outbox::events(db, &filter))?;
            Ok(rows::legible(found, "event", |row| row.open(&self.keys)))
        })
    }

    fn event_before(&self, filter: EventFilter, at: Timestamp) -> Answer<'_, Option<EventId>> {
        Box::pin(async move { with!(&self.pool, db => outbox::event_before(db, &filter, micros(at))) })
    }

    fn put_endpoint(&self, endpoint: Endpoint) -> Answer<'_, ()> {
        let sealed = seal_endpoint(&self.keys, &endpoint);
        Box::pin(async move { with!(&self.pool, db => endpoints::put(db, &endpoint, &sealed)) })
    }

    fn add_endpoint(&self, endpoint: Endpoint, most: u32) -> Answer<'_, bool> {
        let sealed = seal_endpoint(&self.keys, &endpoint);
        Box::pin(async move { with!(&self.pool, db => endpoints::add(db, &endpoint, &sealed, most)) })
    }

    fn endpoints<'a>(&'a self, caller: Option<&'a CallerName>) -> Answer<'a, Vec<Endpoint>> {
        Box::pin(async move {
            let rows = with!(&self.pool, db => endpoints::all(db, caller))?;
            Ok(rows::legible(rows, "webhook endpoint", |row| row.into_endpoint(&self.keys)))
        })
    }

    fn switch_endpoint(&self, id: EndpointId, disabled_at: Option<Timestamp>) -> Answer<'_, ()> {
        let disabled_at = disabled_at.map(micros);
        Box::pin(async move { with!(&self.pool, db => endpoints::switch(db, id, disabled_at)) })
    }

    fn rotate_endpoint(&self, read: Endpoint, to: Endpoint) -> Answer<'_, bool> {
        Box::pin(async move {
            let id = read.id;
            let Some(row) = with!(&self.pool, db => endpoints::by_id(db, id))? else { return Ok(false) };
            let was = row.sealed.clone();
            if row.into_endpoint(&self.keys)? != read {
                return Ok(false);
            }
            let sealed = seal_endpoint(&self.keys, &to);
            with!(&self.pool, db => endpoints::rotate(db, id, &was, &sealed))
        })
    }

    fn replace_webhooks(&self, wanted: Vec<Endpoint>, now: Timestamp) -> Answer<'_, Vec<EndpointId>> {
        let (wanted, now) = (seal_endpoints(&self.keys, wanted), micros(now));
        Box::pin(async move { with!(&self.pool, db => endpoints::replace_webhooks(db, &wanted, now)) })
    }

    fn own_webhooks(&self) -> Answer<'_, Vec<EndpointId>> {
        Box::pin(async move { with!(&self.pool, db => endpoints::own(db)) })
    }

    fn remove_endpoint(&self, id: EndpointId) -> Answer<'_, ()> {
        Box::pin(async move { with!(&self.pool, db => endpoints::remove(db, id)) })
    }

    fn fan_out(&self, now: Timestamp, limit: u32) -> Answer<'_, u64> {
        Box::pin(async move { with!(&self.pool, db => outbox::fan_out(db, now, limit)) })
    }

    fn pulse(&self, now: Timestamp) -> Answer<'_, ()> {
        Box::pin(async move { with!(&self.pool, db => presence::pulse(db, micros(now))) })
    }

    fn last_pulse(&self) -> Answer<'_, Option<Timestamp>> {
        Box::pin(async move {
            with!(&self.pool, db => presence::last_pulse(db))?.map(rows::timestamp).transpose()
        })
    }

    fn claim_deliveries(
        &self,
        now: Timestamp,
        until: Timestamp,
        per_endpoint: u32,
        limit: u32,
    ) -> Answer<'_, Vec<DueDelivery>> {
        Box::pin(async move {
            let (now, until) = (micros(now), micros(until));
            let daemon = self.daemon;
            let due = with!(
                &self.pool,
                db => outbox::claim_deliveries(db, daemon, now, until, per_endpoint, limit)
            )?;
            Ok(rows::legible(due, "webhook endpoint", |due| due.open(&self.keys)))
        })
    }

    fn delivery_attempted(&self, delivery: Delivery) -> Answer<'_, ()> {
        Box::pin(async move { with!(&self.pool, db => outbox::delivery_attempted(db, &delivery)) })
    }

    fn return_deliveries(&self, deliveries: Vec<Delivery>, now: Timestamp) -> Answer<'_, ()> {
        let (daemon, now) = (self.daemon, micros(now));
        Box::pin(
            async move { with!(&self.pool, db => outbox::return_deliveries(db, daemon, &deliveries, now)) },
        )
    }

    fn deliveries<'a>(
        &'a self,
        caller: &'a CallerName,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Answer<'a, Vec<Delivery>> {
        Box::pin(async move { with!(&self.pool, db => outbox::deliveries(db, caller, before, limit)) })
    }

    fn replay(&self, id: DeliveryId, now: Timestamp) -> Answer<'_, ()> {
        Box::pin(async move { with!(&self.pool, db => outbox::replay(db, id, micros(now))) })
    }

    fn oldest_pending_delivery(&self) -> Answer<'_, Option<Timestamp>> {
        Box::pin(async move { with!(&self.pool, db => outbox::oldest_pending(db)) })
    }

    fn note_calls(&self, hour: Timestamp, counts: Vec<(String, u64)>) -> Answer<'_, ()> {
        Box::pin(async move { with!(&self.pool, db => counts::note_calls(db, micros(hour), &counts)) })
    }

    fn noted_calls(&self, since: Timestamp, until: Timestamp) -> Answer<'_, Vec<NotedCalls>> {
        Box::pin(
            async move { with!(&self.pool, db => counts::noted_calls(db, micros(since), micros(until))) },
        )
    }

    fn spend<'a>(&'a self, counter: &'a Counter, window: Timestamp, count: u64) -> Answer<'a, u64> {
        let (counter, window) = (counter_name(counter), micros(window));
        Box::pin(async move {
            if count == 0 {
                return with!(&self.pool, db => counts::spent(db, &counter, window));
            }
            with!(&self.pool, db => counts::spend(db, &counter, window, count))
        })
    }

    fn count_within<'a>(
        &'a self,
        counter: &'a Counter,
        once: Option<&'a Counter>,
        window: Timestamp,
        most: u64,
    ) -> Answer<'a, bool> {
        let (counter, once, window) = (counter_name(counter), once.map(counter_name), micros(window));
        Box::pin(async move {
            with!(&self.pool, db => counts::count_within(db, &counter, once.as_deref(), window, most))
        })
    }

    fn take_checks<'a>(
        &'a self,
        envelopes: &'a [EnvelopeId],
        resource: &'a str,
        taking: Taking,
    ) -> Answer<'a, Vec<(EnvelopeId, Timestamp)>> {
        Box::pin(async move { with!(&self.pool, db => checks::take(db, envelopes, resource, taking)) })
    }

    fn return_checks<'a>(
        &'a self,
        envelopes: &'a [EnvelopeId],
        resource: &'a str,
        taken_at: Timestamp,
    ) -> Answer<'a, ()> {
        let taken_at = micros(taken_at);
        Box::pin(async move { with!(&self.pool, db => checks::give_back(db, envelopes, resource, taken_at)) })
    }

    fn count_change<'a>(&'a self, envelope: &'a EnvelopeId, now: Timestamp) -> Answer<'a, u64> {
        Box::pin(async move { with!(&self.pool, db => checks::count_change(db, envelope, micros(now))) })
    }

    fn sender_record<'a>(&'a self, sender: &'a SenderName) -> Answer<'a, Option<SenderRecord>> {
        Box::pin(async move {
            let row = with!(&self.pool, db => senders::by_name(db, sender.as_str()))?;
            row.map(|row| row.into_record(&self.keys)).transpose()
        })
    }

    fn sender_records(&self) -> Answer<'_, Vec<SenderRecord>> {
        Box::pin(async move {
            let rows = with!(&self.pool, db => senders::all(db))?;
            Ok(rows::legible(rows, "sender record", |row| row.into_record(&self.keys)))
        })
    }

    fn put_sender_record(&self, sender: SenderRecord) -> Answer<'_, Version> {
        Box::pin(async move {
            let row = SenderRow::new(&sender, &self.keys);
            unchanged(with!(&self.pool, db => senders::put(db, &row))?)?;
            Ok(Version(sender.version.0 + 1))
        })
    }

    fn remove_sender_record<'a>(&'a self, sender: &'a SenderName) -> Answer<'a, ()> {
        Box::pin(async move { with!(&self.pool, db => senders::remove(db, sender.as_str())) })
    }

    fn destroy(&self, retention: Retention) -> Answer<'_, Destroyed> {
        Box::pin(self.destroy_all(retention))
    }

    fn reseal(&self) -> Answer<'_, Sealed> {
        Box::pin(self.seal_anew())
    }

    fn check(&self) -> Answer<'_, ()> {
        // A write, because a standby or a full disk is what an operator most needs to hear of.
        let now = self.clock.now().to_string().into_bytes();
        Box::pin(async move { with!(&self.pool, db => presence::checked(db, &now)) })
    }

    fn trouble(&self) -> Option<String> {
        self.pool.trouble()
    }

    fn daemons(&self) -> Daemons {
        Daemons::Several
    }

    fn clock(&self) -> Answer<'_, Option<Timestamp>> {
        Box::pin(async move {
            let micros = with!(&self.pool, db => presence::clock(db))?;
            rows::timestamp(micros).map(Some)
        })
    }

    fn note(&self, daemon: uuid::Uuid, note: Vec<u8>, life: Duration) -> Answer<'_, Vec<Vec<u8>>> {
        let now = self.clock.now();
        let oldest = micros(earlier(now, life));
        Box::pin(
            async move { with!(&self.pool, db => presence::note(db, daemon, &note, micros(now), oldest)) },
        )
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.pool.close().await;
            Ok(())
        })
    }
}

impl PostgresStore {
    async fn write_new(&self, row: NewRow) -> Result<Begun, Error> {
        for _ in 0..BEGIN_ATTEMPTS {
            if with!(&self.pool, db => signings::begin(db, &row))? {
                return Ok(Begun::New(Version(1)));
            }
            let known = with!(&self.pool, db => signings::by_key(db, &row.caller, &row.key))?;
            let Some(known) = self.record(known)? else { continue };
            // The answer to our own insert was lost with its connection.
            let ours = bytes(known.signing.id.as_uuid()) == row.cells.id && known.version == Version(1);
            return Ok(if ours { Begun::New(Version(1)) } else { Begun::Known(Box::new(known)) });
        }
        Err(Error::Unavailable("the idempotency key is being used and freed in turn".into()))
    }

    fn record(&self, row: Option<SigningRow>) -> Result<Option<Record>, Error> {
        row.map(|row| row.into_record(&self.keys)).transpose()
    }
}

/// Whether a change met the record it was computed from.
fn unchanged(met: bool) -> Result<(), Error> {
    if met { Ok(()) } else { Err(Error::Conflict) }
}
