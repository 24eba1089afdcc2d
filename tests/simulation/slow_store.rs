//! A real store behind a connection that is slow, breaks, and is sometimes away.
//!
//! The store underneath runs on threads of its own; whoever asks it waits there, so that nothing else of
//! the world goes on meanwhile and the order of events stays the seed's. Time passes before and after.

use std::sync::Arc;

use bytes::Bytes;
use countersign::{
    clock::Clock as _,
    domain::{
        AccountId, CallerName, DeliveryId, EndpointId, EnvelopeId, Event, EventId, LinkId, Private,
        SenderName, Signing, SigningId,
    },
    store::{
        Answer, Begun, Change, Counter, Daemons, Delivery, Destroyed, Digest, DueDelivery, Endpoint, Error,
        EventFilter, Filter, Inbound, InboundPage, Intent, Link, NotedCalls, Received, Record, Retention,
        Sealed, SenderRecord, SharedStore, Store, Taking, Version,
    },
};
use jiff::Timestamp;
use tokio::runtime::Runtime;

use super::network::Weather;

/// One daemon's way to the store that all share.
pub(crate) struct SlowStore {
    pub(crate) store: SharedStore,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) weather: Weather,
    pub(crate) daemon: u32,
}

impl std::fmt::Debug for SlowStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SlowStore")
    }
}

impl SlowStore {
    async fn before(&self, what: &str) -> Result<(), Error> {
        let delay = self.weather.store_delay();
        self.weather.clock.sleep(delay).await;
        self.weather.note(&format!("daemon {} {what}", self.daemon));
        if self.weather.store_is_away() {
            return Err(Error::Unavailable("the simulated connection to it broke".into()));
        }
        Ok(())
    }

    /// It was done; whether the answer comes through is another matter.
    async fn after(&self) -> Result<(), Error> {
        let delay = self.weather.store_delay();
        self.weather.clock.sleep(delay).await;
        if self.weather.store_loses_an_answer() {
            return Err(Error::Unavailable("the simulated connection to it broke after the commit".into()));
        }
        Ok(())
    }
}

macro_rules! slowly {
    ($self:ident, $store:ident.$operation:ident($($argument:expr),*)) => {
        Box::pin(async move {
            $self.before(stringify!($operation)).await?;
            let answer = $self.runtime.block_on($self.$store.$operation($($argument),*));
            $self.after().await?;
            answer
        })
    };
}

/// What the simulation does not use goes straight through.
macro_rules! straight {
    ($self:ident, $call:expr) => {
        Box::pin(async move { $self.runtime.block_on($call) })
    };
}

impl Store for SlowStore {
    fn begin<'a>(&'a self, intent: &'a Intent) -> Answer<'a, Begun> {
        slowly!(self, store.begin(intent))
    }
    fn signing(&self, id: SigningId) -> Answer<'_, Option<Record>> {
        slowly!(self, store.signing(id))
    }
    fn signing_by_key<'a>(&'a self, caller: &'a CallerName, key: Digest) -> Answer<'a, Option<Record>> {
        slowly!(self, store.signing_by_key(caller, key))
    }
    fn signing_by_envelope<'a>(&'a self, envelope: &'a EnvelopeId) -> Answer<'a, Option<Record>> {
        straight!(self, self.store.signing_by_envelope(envelope))
    }
    fn signings_of_envelopes<'a>(&'a self, envelopes: &'a [EnvelopeId]) -> Answer<'a, Vec<Record>> {
        straight!(self, self.store.signings_of_envelopes(envelopes))
    }
    fn signings<'a>(&'a self, caller: &'a CallerName, filter: Filter) -> Answer<'a, Vec<Signing>> {
        straight!(self, self.store.signings(caller, filter))
    }
    fn callers(&self) -> Answer<'_, Vec<CallerName>> {
        straight!(self, self.store.callers())
    }
    fn save<'a>(&'a self, change: Change<'a>) -> Answer<'a, Version> {
        slowly!(self, store.save(change))
    }
    fn forget(&self, id: SigningId, from: Version) -> Answer<'_, ()> {
        slowly!(self, store.forget(id, from))
    }
    fn payload(&self, id: SigningId) -> Answer<'_, Option<Private<Bytes>>> {
        slowly!(self, store.payload(id))
    }
    fn claim(&self, now: Timestamp, until: Timestamp, limit: u32) -> Answer<'_, Vec<Record>> {
        slowly!(self, store.claim(now, until, limit))
    }
    fn hasten<'a>(&'a self, senders: &'a [SenderName], now: Timestamp, limit: u32) -> Answer<'a, u64> {
        straight!(self, self.store.hasten(senders, now, limit))
    }
    fn mend_dates(&self, now: Timestamp) -> Answer<'_, u64> {
        straight!(self, self.store.mend_dates(now))
    }
    fn making<'a>(
        &'a self,
        senders: &'a [SenderName],
        now: Timestamp,
        sent_by: Timestamp,
    ) -> Answer<'a, Vec<SigningId>> {
        slowly!(self, store.making(senders, now, sent_by))
    }
    fn making_for_others<'a>(
        &'a self,
        caller: &'a CallerName,
        account: &'a AccountId,
        now: Timestamp,
        limit: u32,
    ) -> Answer<'a, Vec<SigningId>> {
        straight!(self, self.store.making_for_others(caller, account, now, limit))
    }

    fn unsettled(&self) -> Answer<'_, u64> {
        slowly!(self, store.unsettled())
    }

    fn uncertain(&self) -> Answer<'_, u64> {
        slowly!(self, store.uncertain())
    }
    fn quiet<'a>(
        &'a self,
        before: Timestamp,
        except: &'a [SenderName],
        limit: u32,
    ) -> Answer<'a, Vec<Record>> {
        straight!(self, self.store.quiet(before, except, limit))
    }
    fn pulse(&self, now: Timestamp) -> Answer<'_, ()> {
        straight!(self, self.store.pulse(now))
    }
    fn last_pulse(&self) -> Answer<'_, Option<Timestamp>> {
        straight!(self, self.store.last_pulse())
    }
    fn link_by_token(&self, token: Digest) -> Answer<'_, Option<Link>> {
        straight!(self, self.store.link_by_token(token))
    }
    fn link(&self, id: LinkId) -> Answer<'_, Option<Link>> {
        straight!(self, self.store.link(id))
    }
    fn add_link(&self, link: Link) -> Answer<'_, ()> {
        straight!(self, self.store.add_link(link))
    }
    fn revoke_link(&self, id: LinkId, now: Timestamp) -> Answer<'_, ()> {
        straight!(self, self.store.revoke_link(id, now))
    }
    fn receive(&self, inbound: Inbound) -> Answer<'_, Received> {
        straight!(self, self.store.receive(inbound))
    }
    fn inbox(&self, limit: u32) -> Answer<'_, Vec<Inbound>> {
        straight!(self, self.store.inbox(limit))
    }
    fn taken_in(&self, identity: Digest, now: Timestamp) -> Answer<'_, ()> {
        straight!(self, self.store.taken_in(identity, now))
    }
    fn inbound_of<'a>(&'a self, envelope: &'a EnvelopeId, after: Option<u64>) -> Answer<'a, InboundPage> {
        straight!(self, self.store.inbound_of(envelope, after))
    }
    fn add_events(&self, events: Vec<Event>) -> Answer<'_, ()> {
        straight!(self, self.store.add_events(events))
    }
    fn events(&self, filter: EventFilter) -> Answer<'_, Vec<Event>> {
        straight!(self, self.store.events(filter))
    }
    fn event_before(&self, filter: EventFilter, at: Timestamp) -> Answer<'_, Option<EventId>> {
        straight!(self, self.store.event_before(filter, at))
    }
    fn put_endpoint(&self, endpoint: Endpoint) -> Answer<'_, ()> {
        straight!(self, self.store.put_endpoint(endpoint))
    }
    fn add_endpoint(&self, endpoint: Endpoint, most: u32) -> Answer<'_, bool> {
        straight!(self, self.store.add_endpoint(endpoint, most))
    }
    fn endpoints<'a>(&'a self, caller: Option<&'a CallerName>) -> Answer<'a, Vec<Endpoint>> {
        straight!(self, self.store.endpoints(caller))
    }
    fn switch_endpoint(&self, id: EndpointId, disabled_at: Option<Timestamp>) -> Answer<'_, ()> {
        straight!(self, self.store.switch_endpoint(id, disabled_at))
    }
    fn rotate_endpoint(&self, read: Endpoint, to: Endpoint) -> Answer<'_, bool> {
        straight!(self, self.store.rotate_endpoint(read, to))
    }
    fn replace_webhooks(&self, wanted: Vec<Endpoint>, now: Timestamp) -> Answer<'_, Vec<EndpointId>> {
        straight!(self, self.store.replace_webhooks(wanted, now))
    }
    fn own_webhooks(&self) -> Answer<'_, Vec<EndpointId>> {
        straight!(self, self.store.own_webhooks())
    }
    fn remove_endpoint(&self, id: EndpointId) -> Answer<'_, ()> {
        straight!(self, self.store.remove_endpoint(id))
    }
    fn fan_out(&self, now: Timestamp, limit: u32) -> Answer<'_, u64> {
        straight!(self, self.store.fan_out(now, limit))
    }
    fn claim_deliveries(
        &self,
        now: Timestamp,
        until: Timestamp,
        per_endpoint: u32,
        limit: u32,
    ) -> Answer<'_, Vec<DueDelivery>> {
        straight!(self, self.store.claim_deliveries(now, until, per_endpoint, limit))
    }
    fn delivery_attempted(&self, delivery: Delivery) -> Answer<'_, ()> {
        straight!(self, self.store.delivery_attempted(delivery))
    }
    fn return_deliveries(&self, deliveries: Vec<Delivery>, now: Timestamp) -> Answer<'_, ()> {
        straight!(self, self.store.return_deliveries(deliveries, now))
    }
    fn deliveries<'a>(
        &'a self,
        caller: &'a CallerName,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Answer<'a, Vec<Delivery>> {
        straight!(self, self.store.deliveries(caller, before, limit))
    }
    fn replay(&self, id: DeliveryId, now: Timestamp) -> Answer<'_, ()> {
        straight!(self, self.store.replay(id, now))
    }
    fn oldest_pending_delivery(&self) -> Answer<'_, Option<Timestamp>> {
        straight!(self, self.store.oldest_pending_delivery())
    }
    fn note_calls(&self, hour: Timestamp, counts: Vec<(String, u64)>) -> Answer<'_, ()> {
        straight!(self, self.store.note_calls(hour, counts))
    }
    fn noted_calls(&self, since: Timestamp, until: Timestamp) -> Answer<'_, Vec<NotedCalls>> {
        straight!(self, self.store.noted_calls(since, until))
    }
    fn spend<'a>(&'a self, counter: &'a Counter, window: Timestamp, count: u64) -> Answer<'a, u64> {
        straight!(self, self.store.spend(counter, window, count))
    }
    fn count_within<'a>(
        &'a self,
        counter: &'a Counter,
        once: Option<&'a Counter>,
        window: Timestamp,
        most: u64,
    ) -> Answer<'a, bool> {
        straight!(self, self.store.count_within(counter, once, window, most))
    }
    fn take_checks<'a>(
        &'a self,
        envelopes: &'a [EnvelopeId],
        resource: &'a str,
        taking: Taking,
    ) -> Answer<'a, Vec<(EnvelopeId, Timestamp)>> {
        straight!(self, self.store.take_checks(envelopes, resource, taking))
    }
    fn return_checks<'a>(
        &'a self,
        envelopes: &'a [EnvelopeId],
        resource: &'a str,
        taken_at: Timestamp,
    ) -> Answer<'a, ()> {
        straight!(self, self.store.return_checks(envelopes, resource, taken_at))
    }
    fn count_change<'a>(&'a self, envelope: &'a EnvelopeId, now: Timestamp) -> Answer<'a, u64> {
        straight!(self, self.store.count_change(envelope, now))
    }
    fn sender_record<'a>(&'a self, sender: &'a SenderName) -> Answer<'a, Option<SenderRecord>> {
        straight!(self, self.store.sender_record(sender))
    }
    fn sender_records(&self) -> Answer<'_, Vec<SenderRecord>> {
        straight!(self, self.store.sender_records())
    }
    fn put_sender_record(&self, sender: SenderRecord) -> Answer<'_, Version> {
        straight!(self, self.store.put_sender_record(sender))
    }
    fn remove_sender_record<'a>(&'a self, sender: &'a SenderName) -> Answer<'a, ()> {
        straight!(self, self.store.remove_sender_record(sender))
    }
    fn destroy(&self, retention: Retention) -> Answer<'_, Destroyed> {
        straight!(self, self.store.destroy(retention))
    }
    fn reseal(&self) -> Answer<'_, Sealed> {
        straight!(self, self.store.reseal())
    }
    fn check(&self) -> Answer<'_, ()> {
        straight!(self, self.store.check())
    }
    fn trouble(&self) -> Option<String> {
        self.store.trouble()
    }
    fn daemons(&self) -> Daemons {
        Daemons::Several
    }
    fn close(&self) -> Answer<'_, ()> {
        straight!(self, self.store.close())
    }
}
