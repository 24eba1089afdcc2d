//! What callers see: signings, signers, views, links, events and lists as JSON.

use std::{collections::BTreeMap, fmt::Write as _};

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    domain::{Event, EventKind, Failure, LinkId, Private, Signer, SignerId, Signing},
    store::{Delivery, DeliveryState, Endpoint, Link},
};

/// A recipient view as its caller gets it: once, and never again.
#[derive(Debug, Clone)]
pub struct ShownView {
    /// Whose view.
    pub signer: SignerId,
    /// The URL: a secret.
    pub url: Private<String>,
    /// Until when it can be opened.
    pub expires_at: Timestamp,
}

/// A link as its caller gets it: the token is not kept, so it is shown only when it is made.
#[derive(Debug, Clone)]
pub struct ShownLink {
    /// The link.
    pub link: Link,
    /// Its URL, with the token.
    pub url: Private<String>,
}

/// A signing as JSON, with the views and links that this answer hands out.
pub fn signing(signing: &Signing, views: &[ShownView], links: &[ShownLink]) -> Bytes {
    to_bytes(&SigningObject::of(signing, views, links))
}

/// What an event's object has of its own, at most: two names, a number of 20 digits and an id.
const ROOM_OF_OWN: usize = 96;

/// The objects of events about a signing as it is now: each with its event's own sequence, and with the signer if it
/// is about one. They hold no view and no link.
#[derive(Debug)]
pub struct EventData {
    /// What they share, written once; without the brace at the end.
    shared: String,
}

impl EventData {
    /// Of a signing as it is now.
    pub fn of(signing: &Signing) -> Self {
        let mut shared = to_text(&SigningObject { sequence: None, ..SigningObject::of(signing, &[], &[]) });
        shared.pop();
        Self { shared }
    }

    /// The object of one event.
    pub fn with(&self, sequence: u64, signer: Option<SignerId>) -> String {
        let mut object = String::with_capacity(self.shared.len() + ROOM_OF_OWN);
        object.push_str(&self.shared);
        let _ = match signer {
            Some(signer) => write!(object, r#","sequence":{sequence},"signer_id":"{signer}"}}"#),
            None => write!(object, r#","sequence":{sequence}}}"#),
        };
        object
    }
}

/// One page of signings.
pub fn signings(page: &[Signing], limit: usize) -> Bytes {
    paged(page, limit, |signing| SigningObject::of(signing, &[], &[]), |signing| signing.id.to_string())
}

/// A fresh view.
pub fn view(view: &ShownView) -> Bytes {
    #[derive(Serialize)]
    struct Shown<'a> {
        object: &'static str,
        signer: Text<SignerId>,
        url: &'a str,
        expires_at: Timestamp,
    }
    to_bytes(&Shown {
        object: "view",
        signer: Text(view.signer),
        url: view.url.reveal(),
        expires_at: view.expires_at,
    })
}

/// A new link.
pub fn link(shown: &ShownLink) -> Bytes {
    to_bytes(&LinkObject::of(shown))
}

/// A ticket of the direct form.
pub fn ticket(link: LinkId, ticket: &Private<String>, until: Timestamp) -> Bytes {
    #[derive(Serialize)]
    struct Shown<'a> {
        object: &'static str,
        link: Text<LinkId>,
        ticket: &'a str,
        expires_at: Timestamp,
    }
    to_bytes(&Shown { object: "ticket", link: Text(link), ticket: ticket.reveal(), expires_at: until })
}

/// A list of anything.
pub fn list<T: Serialize>(data: Vec<T>, next_cursor: Option<String>) -> Bytes {
    #[derive(Serialize)]
    struct Page<T> {
        object: &'static str,
        data: Vec<T>,
        has_more: bool,
        next_cursor: Option<String>,
    }
    to_bytes(&Page { object: "list", data, has_more: next_cursor.is_some(), next_cursor })
}

/// At most `limit` of what the store gave, which is one more where another page follows. The cursor is the id of the
/// last that is shown.
fn paged<'a, T, S: Serialize>(
    found: &'a [T],
    limit: usize,
    show: impl Fn(&'a T) -> S,
    id: impl Fn(&T) -> String,
) -> Bytes {
    let shown = &found[..found.len().min(limit)];
    let next_cursor = if found.len() > limit { shown.last().map(id) } else { None };
    list(shown.iter().map(show).collect(), next_cursor)
}

/// An event, with the object it is about as it was then.
pub fn event(event: &Event) -> Bytes {
    to_bytes(&EventObject::of(event))
}

/// One page of events.
pub fn events(page: &[Event], limit: usize) -> Bytes {
    paged(page, limit, EventObject::of, |event| event.id.to_string())
}

/// A webhook endpoint; its secret only when it was just made.
pub fn endpoint(endpoint: &Endpoint, secret: Option<&Private<String>>) -> Bytes {
    to_bytes(&EndpointObject::of(endpoint, secret))
}

/// All endpoints of a caller.
pub fn endpoints(all: &[Endpoint]) -> Bytes {
    list(all.iter().map(|endpoint| EndpointObject::of(endpoint, None)).collect(), None)
}

/// A delivery.
pub fn delivery(delivery: &Delivery) -> Bytes {
    to_bytes(&DeliveryObject::of(delivery))
}

/// One page of deliveries.
pub fn deliveries(page: &[Delivery], limit: usize) -> Bytes {
    paged(page, limit, DeliveryObject::of, |delivery| delivery.id.to_string())
}

/// The body of a webhook (Standard Webhooks: `type`, `timestamp`, `data`).
pub fn webhook(event: &Event) -> Bytes {
    #[derive(Serialize)]
    struct Body<'a> {
        r#type: &'static str,
        timestamp: Timestamp,
        data: &'a RawValue,
    }
    to_bytes(&Body { r#type: event.kind.as_str(), timestamp: event.at, data: data(event) })
}

/// Serialises what cannot fail to serialise: maps have string keys, and numbers are finite.
pub fn to_bytes<T: Serialize>(value: &T) -> Bytes {
    // A signing with a view and a link fits: one allocation holds it.
    Bytes::from(to_vec(value, 2_048))
}

/// The object of an event, in the same way.
pub(super) fn to_text<T: Serialize>(value: &T) -> String {
    // A signing without them fits, and a block of this size is still kept at hand by the allocator (glibc).
    String::from_utf8(to_vec(value, 1_024)).expect("JSON is UTF-8")
}

fn to_vec<T: Serialize>(value: &T, capacity: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(capacity);
    serde_json::to_writer(&mut bytes, value).expect("our own objects serialise");
    bytes
}

#[derive(Serialize)]
struct SigningObject<'a> {
    object: &'static str,
    id: Text<crate::domain::SigningId>,
    mode: &'static str,
    status: &'static str,
    reference: Option<&'a str>,
    sender: &'a str,
    signers: Vec<SignerObject<'a>>,
    provider: Option<Provider<'a>>,
    metadata: &'a BTreeMap<String, String>,
    failure: Option<FailureObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    created_at: Timestamp,
    completed_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    purge_requested_at: Option<Timestamp>,
    purged_at: Option<Timestamp>,
}

impl<'a> SigningObject<'a> {
    fn of(signing: &'a Signing, views: &'a [ShownView], links: &'a [ShownLink]) -> Self {
        let there = signing.account.as_ref().zip(signing.envelope.as_ref());
        let provider = there.map(|(account, envelope)| Provider {
            name: "docusign",
            account_id: account.as_str(),
            envelope_id: envelope.as_str(),
        });
        Self {
            object: "signing",
            id: Text(signing.id),
            mode: signing.mode.as_str(),
            status: signing.status.as_str(),
            reference: signing.reference.as_deref(),
            sender: signing.sender.as_str(),
            signers: signing.signers.iter().map(|signer| SignerObject::of(signer, views, links)).collect(),
            provider,
            metadata: signing.metadata.reveal(),
            failure: signing.failure.as_ref().map(FailureObject::of),
            sequence: Some(signing.sequence),
            created_at: signing.created_at,
            completed_at: signing.completed_at,
            expires_at: signing.expires_at,
            purge_requested_at: signing.purge_requested_at,
            purged_at: signing.purged_at,
        }
    }
}

#[derive(Serialize)]
struct SignerObject<'a> {
    object: &'static str,
    id: Text<SignerId>,
    key: &'a str,
    status: &'static str,
    order: u32,
    view: Option<ViewObject<'a>>,
    link: Option<LinkObject<'a>>,
    last_return: Option<ReturnObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sms_check: Option<&'static str>,
}

impl<'a> SignerObject<'a> {
    fn of(signer: &'a Signer, views: &'a [ShownView], links: &'a [ShownLink]) -> Self {
        let view = views.iter().find(|view| view.signer == signer.id);
        let link = links.iter().find(|shown| shown.link.signer == signer.id);
        Self {
            object: "signer",
            id: Text(signer.id),
            key: &signer.key,
            status: signer.status.as_str(),
            order: signer.order,
            view: view.map(|view| ViewObject { url: view.url.reveal(), expires_at: view.expires_at }),
            link: link.map(LinkObject::of),
            last_return: signer
                .last_return
                .map(|last| ReturnObject { claim: last.claim.as_str(), at: last.at }),
            sms_check: signer
                .upstream
                .is_checked
                .map(|is_checked| if is_checked { "passed" } else { "missing" }),
        }
    }
}

#[derive(Serialize)]
struct ViewObject<'a> {
    url: &'a str,
    expires_at: Timestamp,
}

#[derive(Serialize)]
struct LinkObject<'a> {
    object: &'static str,
    id: Text<crate::domain::LinkId>,
    url: &'a str,
    expires_at: Option<Timestamp>,
}

impl<'a> LinkObject<'a> {
    fn of(shown: &'a ShownLink) -> Self {
        Self {
            object: "link",
            id: Text(shown.link.id),
            url: shown.url.reveal(),
            expires_at: shown.link.expires_at,
        }
    }
}

#[derive(Serialize)]
struct ReturnObject {
    claim: &'static str,
    at: Timestamp,
}

#[derive(Serialize)]
struct Provider<'a> {
    name: &'static str,
    account_id: &'a str,
    envelope_id: &'a str,
}

#[derive(Serialize)]
struct FailureObject<'a> {
    code: &'a str,
    detail: &'a str,
    provider_code: Option<&'a str>,
}

impl<'a> FailureObject<'a> {
    fn of(failure: &'a Failure) -> Self {
        Self { code: &failure.code, detail: &failure.detail, provider_code: failure.provider_code.as_deref() }
    }
}

#[derive(Serialize)]
struct EventObject<'a> {
    object: &'static str,
    id: Text<crate::domain::EventId>,
    r#type: &'static str,
    timestamp: Timestamp,
    data: &'a RawValue,
}

impl<'a> EventObject<'a> {
    fn of(event: &'a Event) -> Self {
        Self {
            object: "event",
            id: Text(event.id),
            r#type: event.kind.as_str(),
            timestamp: event.at,
            data: data(event),
        }
    }
}

#[derive(Serialize)]
struct EndpointObject<'a> {
    object: &'static str,
    id: Text<crate::domain::EndpointId>,
    url: &'a str,
    events: Vec<&'static str>,
    allow_private: bool,
    from_settings: bool,
    created_at: Timestamp,
    rotated_at: Option<Timestamp>,
    disabled_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
}

impl<'a> EndpointObject<'a> {
    fn of(endpoint: &'a Endpoint, secret: Option<&'a Private<String>>) -> Self {
        // An empty list would read as none, and is refused where it is sent.
        let kinds = if endpoint.events.is_empty() { EventKind::ALL } else { &endpoint.events };
        Self {
            object: "webhook_endpoint",
            id: Text(endpoint.id),
            url: &endpoint.url,
            events: kinds.iter().map(|kind| kind.as_str()).collect(),
            allow_private: endpoint.allow_private,
            from_settings: endpoint.from_settings,
            created_at: endpoint.created_at,
            rotated_at: endpoint.rotated_at,
            disabled_at: endpoint.disabled_at,
            secret: secret.map(|secret| secret.reveal().as_str()),
        }
    }
}

#[derive(Serialize)]
struct DeliveryObject<'a> {
    object: &'static str,
    id: Text<crate::domain::DeliveryId>,
    event: Text<crate::domain::EventId>,
    endpoint: Text<crate::domain::EndpointId>,
    status: &'static str,
    attempts: u32,
    created_at: Timestamp,
    next_attempt_at: Option<Timestamp>,
    attempted_at: Option<Timestamp>,
    response_status: Option<u16>,
    error: Option<&'a str>,
}

impl<'a> DeliveryObject<'a> {
    fn of(delivery: &'a Delivery) -> Self {
        let is_pending = delivery.state == DeliveryState::Pending;
        Self {
            object: "delivery",
            id: Text(delivery.id),
            event: Text(delivery.event),
            endpoint: Text(delivery.endpoint),
            status: delivery.state.as_str(),
            attempts: delivery.attempts,
            created_at: delivery.created_at,
            next_attempt_at: is_pending.then_some(delivery.due_at),
            attempted_at: delivery.attempted_at,
            response_status: delivery.response_status,
            error: delivery.error.as_deref(),
        }
    }
}

/// The stored object; a row that was tampered with shows as null, not as an error.
fn data(event: &Event) -> &RawValue {
    serde_json::from_str(&event.data).unwrap_or(RawValue::NULL)
}

/// Writes an id as its text without building a `String` first.
struct Text<T>(T);

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
