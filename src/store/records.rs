//! What goes into the store and comes out of it: values, and no rules about them.

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    domain::{
        AccountId, CallerName, DeliveryId, EndpointId, EnvelopeId, Event, EventId, EventKind, LinkId,
        Private, SenderName, SignerId, Signing, SigningId, SigningStatus,
    },
    store::Digest,
};

/// The number of a record's last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// Whether a write must have reached the disk before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It survives a power cut (unless the settings trade that away).
    Synced,
    /// It survives the death of the process; a power cut may undo it, and recovery finds it out again.
    Flushed,
}

/// A signing as it is stored.
#[derive(Debug, Clone)]
pub struct Record {
    /// The signing.
    pub signing: Signing,
    /// The version to state when saving it.
    pub version: Version,
    /// The digest of the idempotency key it was made with; none once the key has lapsed.
    pub key: Option<Digest>,
    /// The digest of the request it was made by.
    pub request: Digest,
    /// The definite answer to that request, if there was one.
    pub answer: Option<KeptAnswer>,
    /// What is still to be done about it.
    pub work: Option<Work>,
}

/// An answer kept for repeated calls (rule E3). The body is sealed at rest: it may hold a view URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The body as it was sent.
    pub body: Private<Bytes>,
}

/// Unfinished work on a signing: at `due_at` whoever holds no lease may claim it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// When it should be looked at next.
    pub due_at: Timestamp,
    /// Until when the daemon that wrote this is at it, and nobody else may be.
    pub leased_until: Option<Timestamp>,
    /// How often it was looked at.
    pub attempts: u32,
}

impl Work {
    /// Nobody's yet, and not tried before.
    pub const fn at(due_at: Timestamp) -> Self {
        Self { due_at, leased_until: None, attempts: 0 }
    }
}

/// A new signing, before the upstream hears of it (rule E1).
#[derive(Debug, Clone)]
pub struct Intent {
    /// The signing, `creating`.
    pub signing: Signing,
    /// The digest of caller and idempotency key.
    pub key: Digest,
    /// The digest of the request.
    pub request: Digest,
    /// Links made with it.
    pub links: Vec<Link>,
    /// All that a later attempt needs; sealed at rest, dropped when the create has ended.
    pub payload: Option<Private<Bytes>>,
    /// Who is at it.
    pub work: Work,
}

/// What became of an [`Intent`].
#[derive(Debug, Clone)]
pub enum Begun {
    /// It is on disk.
    New(Version),
    /// The key was used before: this is what it made.
    Known(Box<Record>),
}

/// One change of a signing.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    /// The signing as it is now.
    pub signing: &'a Signing,
    /// The version that it was computed from.
    pub from: Version,
    /// Our own events that the change causes; their `sequence` is the caller's to count.
    pub events: &'a [Event],
    /// New links.
    pub links: Vec<Link>,
    /// The definite answer to the create, once there is one.
    pub answer: Option<KeptAnswer>,
    /// What happens to the payload.
    pub payload: Payload,
    /// What is still to be done; `None` ends the work.
    pub work: Option<Work>,
    /// Whether it must reach the disk.
    pub durability: Durability,
}

/// What a change does to the stored payload.
#[derive(Debug, Clone)]
pub enum Payload {
    /// Destroy it.
    Drop,
    /// Leave it.
    Keep,
    /// Store this one.
    Put(Private<Bytes>),
}

/// A durable link, of which only the digest of its token is kept (rule L4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its id.
    pub id: LinkId,
    /// The signing.
    pub signing: SigningId,
    /// The signer.
    pub signer: SignerId,
    /// SHA-256 of the token.
    pub token: Digest,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by the caller's wish.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Which signings of one caller to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only with this reference.
    pub reference: Option<String>,
    /// Only with this status.
    pub status: Option<SigningStatus>,
    /// Only those older than this one.
    pub before: Option<SigningId>,
    /// At most so many.
    pub limit: u32,
}

/// A Connect delivery whose digest matched, kept as it came (rule F3).
#[derive(Debug, Clone)]
pub struct Inbound {
    /// What makes it the same message again: a digest of envelope, event, recipient and generation time.
    pub identity: Digest,
    /// When it came.
    pub received_at: Timestamp,
    /// The envelope it is about.
    pub envelope: Option<EnvelopeId>,
    /// The upstream's event name.
    pub event: String,
    /// The body as received. Sealed at rest.
    pub body: Private<Bytes>,
}

/// So many messages about one envelope are read at once: of the largest there are, 64 MiB.
pub const INBOUND_PAGE: u32 = 32;

/// Some of what was received about one envelope.
#[derive(Debug, Clone)]
pub struct InboundPage {
    /// Oldest first. What cannot be read is passed over.
    pub messages: Vec<Inbound>,
    /// Behind what to go on, if there may be more.
    pub next: Option<u64>,
}

/// What became of an [`Inbound`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// The same message had come before.
    Again,
    /// It is stored.
    New,
}

/// A place that wants our events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Whose events it gets.
    pub caller: CallerName,
    /// Where they go.
    pub url: String,
    /// Signing secrets (the bytes behind `whsec_`), newest first. Sealed at rest.
    pub secrets: Private<Vec<Vec<u8>>>,
    /// When the newest secret took over; the older ones stop signing a while after.
    pub rotated_at: Option<Timestamp>,
    /// Which kinds; empty means all.
    pub events: Vec<EventKind>,
    /// Whether it may resolve to a private address.
    pub allow_private: bool,
    /// Whether it comes from the settings, and not from the API.
    pub from_settings: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when nothing is sent there (it answered 410, or failed for too long).
    pub disabled_at: Option<Timestamp>,
    /// Since when the settings, which it comes from, no longer name it. Nothing is sent there; what happens is kept for it
    /// for a while, in case they name it again.
    pub dropped_at: Option<Timestamp>,
}

/// One event on its way to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// The event.
    pub event: EventId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The caller whose they are.
    pub caller: CallerName,
    /// How far it is.
    pub state: DeliveryState,
    /// Attempts made.
    pub attempts: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the next attempt is due.
    pub due_at: Timestamp,
    /// When the last attempt ended.
    pub attempted_at: Option<Timestamp>,
    /// What the receiver answered last.
    pub response_status: Option<u16>,
    /// What went wrong last, in words for the caller.
    pub error: Option<String>,
}

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// The receiver took it.
    Delivered,
    /// All attempts were used up, or the endpoint is gone.
    Failed,
    /// Attempts are left.
    Pending,
}

impl DeliveryState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// The word in our API and in stored rows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Pending => "pending",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// A delivery with what is needed to make its next attempt.
#[derive(Debug, Clone)]
pub struct DueDelivery {
    /// The delivery.
    pub delivery: Delivery,
    /// Its event.
    pub event: Event,
    /// Its endpoint.
    pub endpoint: Endpoint,
}

/// One slice of the outbox.
#[derive(Debug, Clone)]
pub struct EventFilter {
    /// Whose events.
    pub caller: CallerName,
    /// Only of this signing.
    pub signing: Option<SigningId>,
    /// Only those after this one.
    pub after: Option<EventId>,
    /// At most so many.
    pub limit: u32,
}

/// What `pairing` keeps of a sender that is not of the settings alone: whom it was connected to, a choice that waits
/// for a person, or the definition of a sender that a caller made. Which of these it is follows from the name, and
/// is `pairing`'s to know.
#[derive(Debug, Clone)]
pub struct SenderRecord {
    /// The sender's name, or one that `pairing` derived from it.
    pub sender: SenderName,
    /// The impersonated user, as the account server or a caller named them; may be empty.
    pub user_id: String,
    /// The account chosen; may be empty.
    pub account: AccountId,
    /// What `pairing` keeps secret beside it: a refresh token with its lease, what a choice is made of, or a
    /// definition. Sealed at rest; the store knows none of their forms.
    pub sealed: Option<Private<String>>,
    /// When it was connected or last changed.
    pub connected_at: Timestamp,
    /// The version to state when replacing it.
    pub version: Version,
}

/// What makes a status check of an envelope free to be taken (rule B3).
#[derive(Debug, Clone, Copy)]
pub struct Taking {
    /// When it is taken.
    pub now: Timestamp,
    /// One that was made then or before is over.
    pub free_since: Timestamp,
    /// One that was made after this was written by a clock that was wrong, and counts for nothing.
    pub absurd_after: Timestamp,
}

/// What is counted in windows, by all daemons together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counter {
    /// An account's calls, by the hour.
    Account(AccountId),
    /// An account's calls, by the slots of its bursts. A counter of its own: a slot and an hour may begin at the
    /// same instant.
    Burst(AccountId),
    /// What a caller has spent of its share of the calls, by the hour.
    Share(CallerName),
    /// A caller's creates, by the day.
    Creates(CallerName),
    /// Whether an idempotency key was counted among the creates, by the day. Its digest is scoped to its caller.
    Key(Digest),
}

/// What was counted under one name in one hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotedCalls {
    /// When the hour begins.
    pub hour: Timestamp,
    /// What was counted.
    pub name: String,
    /// How often.
    pub count: u64,
}
