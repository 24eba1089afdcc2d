//! What the store does, operation by operation: rows are made and opened in the caller's task, SQL runs on a thread.
//!
//! Must hold no SQL: that is in [`signings`], [`endpoints`], [`outbox`], [`inbox`], [`senders`], [`presence`], [`counts`],
//! [`checks`], [`dates`] and [`retention`](super::retention).

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::Connection;

use crate::{
    domain::{
        AccountId, CallerName, DeliveryId, EndpointId, EnvelopeId, Event, EventId, LinkId, Private,
        SenderName, Signing, SigningId,
    },
    store::{
        Answer, Begun, Change, Counter, Daemons, Delivery, Destroyed, Digest, DueDelivery, Durability,
        Endpoint, Error, EventFilter, Filter, Inbound, InboundPage, Intent, Link, NotedCalls, Received,
        Record, Retention, Sealed, SenderRecord, Store, Taking, Version,
        rows::{
            self, Bounds, ChangedRow, EventRow, InboundRow, NewRow, SenderRow, bytes, counter_name, micros,
            payload_place, seal_endpoint, seal_endpoints, signed, timestamp,
        },
        sqlite::{
            SqliteStore, checks, counts, dates, end, endpoints, inbox, outbox, presence, senders, signings,
        },
    },
};

impl Store for SqliteStore {
    fn begin<'a>(&'a self, intent: &'a Intent) -> Answer<'a, Begun> {
        Box::pin(async move {
            let row = NewRow::new(intent, &self.keys);
            let known = self.write(Durability::Synced, move |db| signings::begin(db, &row)).await?;
            Ok(match self.record(known)? {
                None => Begun::New(Version(1)),
                Some(record) => Begun::Known(Box::new(record)),
            })
        })
    }

    fn signing(&self, id: SigningId) -> Answer<'_, Option<Record>> {
        Box::pin(async move { self.record(self.read(move |db| signings::by_id(db, id)).await?) })
    }

    fn signing_by_key<'a>(&'a self, caller: &'a CallerName, key: Digest) -> Answer<'a, Option<Record>> {
        let caller = caller.clone();
        Box::pin(async move { self.record(self.read(move |db| signings::by_key(db, &caller, &key)).await?) })
    }

    fn signing_by_envelope<'a>(&'a self, envelope: &'a EnvelopeId) -> Answer<'a, Option<Record>> {
        let envelope = envelope.clone();
        Box::pin(async move { self.record(self.read(move |db| signings::by_envelope(db, &envelope)).await?) })
    }

    fn signings_of_envelopes<'a>(&'a self, envelopes: &'a [EnvelopeId]) -> Answer<'a, Vec<Record>> {
        let envelopes = envelopes.to_vec();
        Box::pin(async move {
            let rows = self.read(move |db| signings::by_envelopes(db, &envelopes)).await?;
            rows.into_iter().map(|row| row.into_record(&self.keys)).collect()
        })
    }

    fn signings<'a>(&'a self, caller: &'a CallerName, filter: Filter) -> Answer<'a, Vec<Signing>> {
        let caller = caller.clone();
        Box::pin(async move {
            let rows = self.read(move |db| signings::list(db, &caller, &filter)).await?;
            rows.into_iter().map(|row| row.into_signing(&self.keys)).collect()
        })
    }

    fn callers(&self) -> Answer<'_, Vec<CallerName>> {
        Box::pin(self.read(signings::callers))
    }

    fn save<'a>(&'a self, change: Change<'a>) -> Answer<'a, Version> {
        Box::pin(async move {
            let (durability, next) = (change.durability, Version(change.from.0 + 1));
            let row = ChangedRow::new(change, &self.keys, self.clock.now());
            self.write(durability, move |db| signings::save(db, &row)).await?;
            Ok(next)
        })
    }

    fn forget(&self, id: SigningId, from: Version) -> Answer<'_, ()> {
        Box::pin(self.write(Durability::Synced, move |db| signings::forget(db, id, signed(from.0))))
    }

    fn payload(&self, id: SigningId) -> Answer<'_, Option<Private<Bytes>>> {
        Box::pin(async move {
            let id = bytes(id.as_uuid());
            let sealed = self.read(move |db| signings::payload(db, &id)).await?;
            let open = |sealed| self.keys.open(payload_place(&id), sealed).map(Private::new);
            sealed.map(open).transpose()
        })
    }

    fn claim(&self, now: Timestamp, until: Timestamp, limit: u32) -> Answer<'_, Vec<Record>> {
        Box::pin(async move {
            let (now, until) = (micros(now), micros(until));
            let claimed =
                self.write(Durability::Flushed, move |db| signings::claim(db, now, until, limit)).await?;
            rows::readable(claimed, &self.keys)
        })
    }

    fn hasten<'a>(&'a self, senders: &'a [SenderName], now: Timestamp, limit: u32) -> Answer<'a, u64> {
        let (senders, now) = (senders.to_vec(), micros(now));
        Box::pin(self.write(Durability::Flushed, move |db| signings::hasten(db, &senders, now, limit)))
    }

    fn mend_dates(&self, now: Timestamp) -> Answer<'_, u64> {
        let bounds = Bounds::at(now);
        Box::pin(self.write(Durability::Flushed, move |db| dates::mend_dates(db, bounds)))
    }

    fn unsettled(&self) -> Answer<'_, u64> {
        Box::pin(self.read(signings::unsettled))
    }

    fn making<'a>(
        &'a self,
        senders: &'a [SenderName],
        now: Timestamp,
        sent_by: Timestamp,
    ) -> Answer<'a, Vec<SigningId>> {
        let senders = senders.to_vec();
        Box::pin(self.read(move |db| signings::making(db, &senders, micros(now), micros(sent_by))))
    }

    fn making_for_others<'a>(
        &'a self,
        caller: &'a CallerName,
        account: &'a AccountId,
        now: Timestamp,
        limit: u32,
    ) -> Answer<'a, Vec<SigningId>> {
        let (caller, account) = (caller.clone(), account.clone());
        Box::pin(self.read(move |db| signings::making_for_others(db, &caller, &account, micros(now), limit)))
    }

    fn uncertain(&self) -> Answer<'_, u64> {
        Box::pin(self.read(signings::uncertain))
    }

    fn quiet<'a>(
        &'a self,
        before: Timestamp,
        except: &'a [SenderName],
        limit: u32,
    ) -> Answer<'a, Vec<Record>> {
        let except = except.to_vec();
        Box::pin(async move {
            let found = self.read(move |db| signings::quiet(db, micros(before), &except, limit)).await?;
            rows::readable(found, &self.keys)
        })
    }

    fn link_by_token(&self, token: Digest) -> Answer<'_, Option<Link>> {
        Box::pin(self.read(move |db| signings::link_by_token(db, &token)))
    }

    fn link(&self, id: LinkId) -> Answer<'_, Option<Link>> {
        Box::pin(self.read(move |db| signings::link(db, id)))
    }

    fn add_link(&self, link: Link) -> Answer<'_, ()> {
        Box::pin(self.write(Durability::Synced, move |db| signings::add_link(db, &link)))
    }

    fn revoke_link(&self, id: LinkId, now: Timestamp) -> Answer<'_, ()> {
        Box::pin(self.write(Durability::Synced, move |db| signings::revoke_link(db, id, now)))
    }

    fn receive(&self, inbound: Inbound) -> Answer<'_, Received> {
        Box::pin(async move {
            let row = InboundRow::new(inbound, &self.keys);
            self.write(Durability::Synced, move |db| inbox::receive(db, &row)).await
        })
    }

    fn inbox(&self, limit: u32) -> Answer<'_, Vec<Inbound>> {
        Box::pin(async move {
            Ok(rows::inbound(self.read(move |db| inbox::waiting(db, limit)).await?, &self.keys))
        })
    }

    fn taken_in(&self, identity: Digest, now: Timestamp) -> Answer<'_, ()> {
        // Lost in a power cut, it is taken in once more, which changes nothing.
        Box::pin(self.write(Durability::Flushed, move |db| inbox::taken_in(db, &identity, micros(now))))
    }

    fn inbound_of<'a>(&'a self, envelope: &'a EnvelopeId, after: Option<u64>) -> Answer<'a, InboundPage> {
        let (envelope, after) = (envelope.clone(), signed(after.unwrap_or(0)));
        Box::pin(async move {
            let rows = self.read(move |db| inbox::of(db, &envelope, after)).await?;
            Ok(rows::inbound_page(rows, &self.keys))
        })
    }

    fn add_events(&self, events: Vec<Event>) -> Answer<'_, ()> {
        Box::pin(async move {
            let events = EventRow::seal_all(&events, &self.keys);
            self.write(Durability::Synced, move |db| outbox::add_events(db, &events)).await
        })
    }

    fn events(&self, filter: EventFilter) -> Answer<'_, Vec<Event>> {
        Box::pin(async move {
            let found = self.read(move |db| outbox::events(db, &filter)).await?;
            Ok(rows::legible(found, "event", |row| row.open(&self.keys)))
        })
    }

    fn event_before(&self, filter: EventFilter, at: Timestamp) -> Answer<'_, Option<EventId>> {
        Box::pin(self.read(move |db| outbox::event_before(db, &filter, micros(at))))
    }

    fn put_endpoint(&self, endpoint: Endpoint) -> Answer<'_, ()> {
        Box::pin(async move {
            self.listened_to.store(true, Ordering::SeqCst);
            let sealed = seal_endpoint(&self.keys, &endpoint);
            self.write(Durability::Synced, move |db| endpoints::put(db, &endpoint, &sealed)).await
        })
    }

    fn add_endpoint(&self, endpoint: Endpoint, most: u32) -> Answer<'_, bool> {
        Box::pin(async move {
            self.listened_to.store(true, Ordering::SeqCst);
            let sealed = seal_endpoint(&self.keys, &endpoint);
            self.write(Durability::Synced, move |db| endpoints::add(db, &endpoint, &sealed, most)).await
        })
    }

    fn endpoints<'a>(&'a self, caller: Option<&'a CallerName>) -> Answer<'a, Vec<Endpoint>> {
        let caller = caller.cloned();
        Box::pin(async move {
            let rows = self.read(move |db| endpoints::all(db, caller.as_ref())).await?;
            Ok(rows::legible(rows, "webhook endpoint", |row| row.into_endpoint(&self.keys)))
        })
    }

    fn switch_endpoint(&self, id: EndpointId, disabled_at: Option<Timestamp>) -> Answer<'_, ()> {
        let disabled_at = disabled_at.map(micros);
        Box::pin(self.write(Durability::Synced, move |db| endpoints::switch(db, id, disabled_at)))
    }

    fn rotate_endpoint(&self, read: Endpoint, to: Endpoint) -> Answer<'_, bool> {
        Box::pin(async move {
            let id = read.id;
            let Some(row) = self.read(move |db| endpoints::by_id(db, id)).await? else { return Ok(false) };
            let was = row.sealed.clone();
            if row.into_endpoint(&self.keys)? != read {
                return Ok(false);
            }
            let sealed = seal_endpoint(&self.keys, &to);
            let rotate = move |db: &Connection| endpoints::rotate(db, id, &was, &sealed);
            self.write(Durability::Synced, rotate).await
        })
    }

    fn replace_webhooks(&self, wanted: Vec<Endpoint>, now: Timestamp) -> Answer<'_, Vec<EndpointId>> {
        Box::pin(async move {
            if !wanted.is_empty() {
                self.listened_to.store(true, Ordering::SeqCst);
            }
            let wanted = seal_endpoints(&self.keys, wanted);
            let replace = move |db: &Connection| endpoints::replace_webhooks(db, &wanted, micros(now));
            self.write(Durability::Synced, replace).await
        })
    }

    fn own_webhooks(&self) -> Answer<'_, Vec<EndpointId>> {
        Box::pin(self.read(endpoints::own))
    }

    fn remove_endpoint(&self, id: EndpointId) -> Answer<'_, ()> {
        Box::pin(self.write(Durability::Synced, move |db| endpoints::remove(db, id)))
    }

    fn fan_out(&self, now: Timestamp, limit: u32) -> Answer<'_, u64> {
        Box::pin(async move {
            if !self.listened_to.load(Ordering::SeqCst) {
                return Ok(0);
            }
            self.write(Durability::Flushed, move |db| outbox::fan_out(db, now, limit)).await
        })
    }

    fn pulse(&self, now: Timestamp) -> Answer<'_, ()> {
        Box::pin(self.write(Durability::Flushed, move |db| presence::pulse(db, micros(now))))
    }

    fn last_pulse(&self) -> Answer<'_, Option<Timestamp>> {
        Box::pin(async move { self.read(presence::last_pulse).await?.map(timestamp).transpose() })
    }

    fn claim_deliveries(
        &self,
        now: Timestamp,
        until: Timestamp,
        per_endpoint: u32,
        limit: u32,
    ) -> Answer<'_, Vec<DueDelivery>> {
        Box::pin(async move {
            if !self.listened_to.load(Ordering::SeqCst) {
                return Ok(Vec::new());
            }
            let (now, until) = (micros(now), micros(until));
            let due = self
                .write(Durability::Flushed, move |db| {
                    outbox::claim_deliveries(db, now, until, per_endpoint, limit)
                })
                .await?;
            Ok(rows::legible(due, "webhook endpoint", |due| due.open(&self.keys)))
        })
    }

    fn delivery_attempted(&self, delivery: Delivery) -> Answer<'_, ()> {
        // Lost in a power cut, it is delivered twice: deliveries may repeat, events do not.
        Box::pin(self.write(Durability::Flushed, move |db| outbox::delivery_attempted(db, &delivery)))
    }

    fn return_deliveries(&self, deliveries: Vec<Delivery>, now: Timestamp) -> Answer<'_, ()> {
        let give_back = move |db: &Connection| outbox::return_deliveries(db, &deliveries, micros(now));
        Box::pin(self.write(Durability::Flushed, give_back))
    }

    fn deliveries<'a>(
        &'a self,
        caller: &'a CallerName,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Answer<'a, Vec<Delivery>> {
        let caller = caller.clone();
        Box::pin(self.read(move |db| outbox::deliveries(db, &caller, before, limit)))
    }

    fn replay(&self, id: DeliveryId, now: Timestamp) -> Answer<'_, ()> {
        Box::pin(self.write(Durability::Synced, move |db| outbox::replay(db, id, micros(now))))
    }

    fn oldest_pending_delivery(&self) -> Answer<'_, Option<Timestamp>> {
        Box::pin(async move { self.read(outbox::oldest_pending).await?.map(timestamp).transpose() })
    }

    fn note_calls(&self, hour: Timestamp, counts: Vec<(String, u64)>) -> Answer<'_, ()> {
        Box::pin(async move {
            let note = move |db: &Connection| counts::note_calls(db, micros(hour), &counts);
            self.write(Durability::Flushed, note).await
        })
    }

    fn noted_calls(&self, since: Timestamp, until: Timestamp) -> Answer<'_, Vec<NotedCalls>> {
        Box::pin(
            async move { self.read(move |db| counts::noted_calls(db, micros(since), micros(until))).await },
        )
    }

    fn spend<'a>(&'a self, counter: &'a Counter, window: Timestamp, count: u64) -> Answer<'a, u64> {
        let (counter, window) = (counter_name(counter), micros(window));
        Box::pin(async move {
            if count == 0 {
                return self.read(move |db| counts::spent(db, &counter, window)).await;
            }
            let spend = move |db: &Connection| counts::spend(db, &counter, window, count);
            self.write(Durability::Flushed, spend).await
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
            let count =
                move |db: &Connection| counts::count_within(db, &counter, once.as_deref(), window, most);
            self.write(Durability::Flushed, count).await
        })
    }

    fn take_checks<'a>(
        &'a self,
        envelopes: &'a [EnvelopeId],
        resource: &'a str,
        taking: Taking,
    ) -> Answer<'a, Vec<(EnvelopeId, Timestamp)>> {
        let (envelopes, resource) = (envelopes.to_vec(), resource.to_owned());
        let take = move |db: &Connection| checks::take(db, &envelopes, &resource, taking);
        Box::pin(self.write(Durability::Synced, take))
    }

    fn return_checks<'a>(
        &'a self,
        envelopes: &'a [EnvelopeId],
        resource: &'a str,
        taken_at: Timestamp,
    ) -> Answer<'a, ()> {
        let (envelopes, resource) = (envelopes.to_vec(), resource.to_owned());
        let give_back = move |db: &Connection| checks::give_back(db, &envelopes, &resource, micros(taken_at));
        Box::pin(self.write(Durability::Flushed, give_back))
    }

    fn count_change<'a>(&'a self, envelope: &'a EnvelopeId, now: Timestamp) -> Answer<'a, u64> {
        let envelope = envelope.clone();
        let count = move |db: &Connection| checks::count_change(db, &envelope, micros(now));
        Box::pin(self.write(Durability::Flushed, count))
    }

    fn sender_record<'a>(&'a self, sender: &'a SenderName) -> Answer<'a, Option<SenderRecord>> {
        let name = sender.clone();
        Box::pin(async move {
            let row = self.read(move |db| senders::by_name(db, name.as_str())).await?;
            row.map(|row| row.into_record(&self.keys)).transpose()
        })
    }

    fn sender_records(&self) -> Answer<'_, Vec<SenderRecord>> {
        Box::pin(async move {
            let rows = self.read(senders::all).await?;
            Ok(rows::legible(rows, "sender record", |row| row.into_record(&self.keys)))
        })
    }

    fn put_sender_record(&self, sender: SenderRecord) -> Answer<'_, Version> {
        Box::pin(async move {
            let row = SenderRow::new(&sender, &self.keys);
            let next = self.write(Durability::Synced, move |db| senders::put(db, &row)).await?;
            Ok(rows::version(next))
        })
    }

    fn remove_sender_record<'a>(&'a self, sender: &'a SenderName) -> Answer<'a, ()> {
        let name = sender.clone();
        Box::pin(self.write(Durability::Synced, move |db| senders::remove(db, name.as_str())))
    }

    fn destroy(&self, retention: Retention) -> Answer<'_, Destroyed> {
        Box::pin(self.destroy_all(retention))
    }

    fn reseal(&self) -> Answer<'_, Sealed> {
        Box::pin(self.seal_anew())
    }

    fn check(&self) -> Answer<'_, ()> {
        // A write, because a full or read-only disk is what an operator most needs to hear of. One page fits
        // into the log even then, so after a failure it takes as much as a create may need. A file that is not
        // there any more takes writes as ever, so it is looked for.
        let (now, open_path) = (micros(self.clock.now()), Arc::clone(&self.open_path));
        let was_failing = self.failing.load(Ordering::Relaxed);
        Box::pin(async move {
            let check = move |db: &Connection| {
                open_path.check()?;
                presence::checked(db, now)?;
                if was_failing { presence::take_room(db) } else { Ok(()) }
            };
            self.write(Durability::Flushed, check).await?;
            if was_failing {
                self.failing.store(false, Ordering::Relaxed);
            }
            Ok(())
        })
    }

    fn trouble(&self) -> Option<String> {
        self.met().take()
    }

    /// By the lock on the file.
    fn daemons(&self) -> Daemons {
        Daemons::One
    }

    fn close(&self) -> Answer<'_, ()> {
        self.reads.close();
        let (threads, writes) = (std::mem::take(&mut *self.threads()), Arc::clone(&self.writes));
        Box::pin(async move {
            tokio::task::spawn_blocking(move || end(threads, &writes))
                .await
                .map_err(|e| Error::Unavailable(format!("it could not be closed: {e}")))?
        })
    }
}
