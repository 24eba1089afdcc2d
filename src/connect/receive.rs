//! The first half of the inbox: a delivery is verified, stored and answered.

use std::{fmt, time::Duration};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::{
    connect::{
        Inbox, Message, UnverifiedDelivery, VerifiedDelivery, digest::is_signed, payload::identity_of_bytes,
    },
    domain::{EnvelopeId, Private, SenderName},
    store::{self, Inbound, Received},
    telemetry::metrics::ConnectResult,
    tls::Name,
};

/// What a delivery may cost (rule S5).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest body.
    pub body_bytes: usize,
    /// How long a body may take to arrive.
    pub body_time: Duration,
    /// Deliveries in memory at once.
    pub concurrent: usize,
    /// How long a delivery waits for its turn to be read.
    pub turn_time: Duration,
    /// How long the store may take.
    pub store_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 2 * 1024 * 1024,
            body_time: Duration::from_secs(10),
            concurrent: 64,
            turn_time: Duration::from_millis(500),
            store_time: Duration::from_millis(800),
        }
    }
}

/// Values of which the `Authorization` header must carry one (OAuth for Connect). Empty: not asked for.
#[derive(Clone, Default)]
pub struct Bearers(Vec<Private<String>>);

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// It is stored.
    Accepted,
    /// No key makes its digest, or it does not show what else is asked for.
    BadDigest,
    /// Its body broke off.
    Broken,
    /// Too many at once, or the store does not answer: the upstream will come again.
    Busy,
    /// It had been received before.
    Duplicate,
    /// The account of a customer tells of an envelope that is none of ours.
    Foreign,
    /// Its body is over the limit.
    TooLarge,
    /// Its body did not arrive in time.
    TooSlow,
    /// It is stored, though we do not know its event, or cannot read it.
    Unknown,
}

impl Receipt {
    /// The HTTP status to answer with, and an empty body: whoever sent a wrong digest learns no more.
    pub const fn status(self) -> u16 {
        match self {
            Self::Accepted | Self::Duplicate | Self::Foreign | Self::Unknown => 200,
            Self::BadDigest => 401,
            Self::Broken => 400,
            Self::Busy => 503,
            Self::TooLarge => 413,
            Self::TooSlow => 408,
        }
    }

    /// How it is counted; what the upstream will send again is not.
    const fn counted(self) -> Option<ConnectResult> {
        match self {
            Self::Accepted => Some(ConnectResult::Accepted),
            Self::BadDigest => Some(ConnectResult::BadDigest),
            Self::Broken | Self::TooLarge | Self::TooSlow => Some(ConnectResult::Malformed),
            Self::Busy => None,
            Self::Duplicate => Some(ConnectResult::Duplicate),
            Self::Foreign | Self::Unknown => Some(ConnectResult::Unknown),
        }
    }
}

impl Bearers {
    /// The values, of which any will do.
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        Self(values.into_iter().filter(|value| !value.is_empty()).map(Private::new).collect())
    }

    fn admit(&self, headers: &HeaderMap) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let value = headers.get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        let Some((scheme, value)) = value.split_at_checked(7) else { return false };
        let is_one = |one: &Private<String>| verify_slices_are_equal(one.reveal().as_bytes(), value).is_ok();
        // Not `any`: which of them matched must not show in the time.
        let matching = self.0.iter().filter(|one| is_one(one)).count();
        scheme.eq_ignore_ascii_case(b"bearer ") && matching > 0
    }
}

impl fmt::Debug for Bearers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bearers({})", self.0.len())
    }
}

impl Inbox {
    /// Receives one delivery, of one who has shown a certificate with these names: verified, and on disk when this answers [`Receipt::Accepted`].
    pub async fn receive<B>(&self, headers: &HeaderMap, certificate: Option<&[Name]>, body: B) -> Receipt
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let receipt = match self.verify(headers, certificate, body).await {
            Ok(delivery) => self.keep(&delivery).await,
            Err(refused) => refused,
        };
        if let Some(result) = receipt.counted() {
            self.parts.metrics.connect_delivered(result);
        }
        if !matches!(receipt, Receipt::Accepted | Receipt::Duplicate | Receipt::Foreign) {
            tracing::warn!(?receipt, "a Connect delivery was not simply accepted");
        }
        receipt
    }

    async fn verify<B>(
        &self,
        headers: &HeaderMap,
        certificate: Option<&[Name]>,
        body: B,
    ) -> Result<VerifiedDelivery, Receipt>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (limits, keys) = (&self.parts.limits, self.parts.keys.load_full());
        // Nobody's body is read who shows nothing that could prove it.
        if keys.is_empty() || !is_signed(headers) || !self.parts.bearers.load().admit(headers) {
            return Err(Receipt::BadDigest);
        }
        if self.parts.clients.load().as_ref().is_some_and(|clients| !clients.admit(certificate)) {
            return Err(Receipt::BadDigest);
        }
        if let Some(tokens) = self.parts.tokens.load_full() {
            match self.within(limits.turn_time, tokens.admit(headers)).await {
                Some(Ok(true)) => {}
                Some(Ok(false)) => return Err(Receipt::BadDigest),
                Some(Err(_)) | None => return Err(Receipt::Busy),
            }
        }
        let most = u64::try_from(limits.body_bytes).unwrap_or(u64::MAX);
        if body.size_hint().lower() > most {
            return Err(Receipt::TooLarge);
        }
        let turn = self.within(limits.turn_time, self.parts.turns.acquire()).await;
        let _turn = turn.and_then(Result::ok).ok_or(Receipt::Busy)?;
        let limited = Limited::new(body, limits.body_bytes);
        let read =
            self.within(limits.body_time, Box::pin(limited.collect())).await.ok_or(Receipt::TooSlow)?;
        let broken = |error: Box<dyn std::error::Error + Send + Sync>| {
            if error.is::<LengthLimitError>() { Receipt::TooLarge } else { Receipt::Broken }
        };
        let body = read.map_err(broken)?;
        UnverifiedDelivery::new(headers, body.to_bytes()).verify(&keys).map_err(|_| Receipt::BadDigest)
    }

    async fn keep(&self, delivery: &VerifiedDelivery) -> Receipt {
        let body = delivery.body();
        let message = Message::parse(body).ok();
        if let Some(senders) = delivery.of() {
            let envelope = message.as_ref().and_then(|message| message.envelope.as_ref());
            let allowed = self.within(self.parts.limits.store_time, self.speaks_for(senders, envelope)).await;
            if let Err(refused) = allowed.unwrap_or(Err(Receipt::Busy)) {
                return refused;
            }
        }
        let inbound = Inbound {
            identity: message
                .as_ref()
                .map_or_else(|| identity_of_bytes(body), |message| message.identity(body)),
            received_at: self.parts.clock.now(),
            envelope: message.as_ref().and_then(|message| message.envelope.clone()),
            event: message.as_ref().map(|message| message.event.clone()).unwrap_or_default(),
            body: Private::new(body.clone()),
        };
        match self.within(self.parts.limits.store_time, self.parts.store.receive(inbound)).await {
            Some(Ok(Received::New)) => {
                self.parts.stored.notify_one();
                if message.is_some_and(|message| message.is_known()) {
                    Receipt::Accepted
                } else {
                    Receipt::Unknown
                }
            }
            Some(Ok(Received::Again)) => Receipt::Duplicate,
            Some(Err(error)) => {
                tracing::error!(%error, "a Connect delivery could not be stored: DocuSign will send it again");
                Receipt::Busy
            }
            None => Receipt::Busy,
        }
    }

    /// Whether those whose keys signed may speak of the envelope. Anything else about a customer's account is
    /// none of ours, and is not kept.
    async fn speaks_for(&self, senders: &[SenderName], envelope: Option<&EnvelopeId>) -> Result<(), Receipt> {
        let busy = |error: store::Error| {
            tracing::error!(%error, "whose an envelope is cannot be read: DocuSign will send it again");
            Receipt::Busy
        };
        let Some(envelope) = envelope else { return Err(Receipt::Foreign) };
        match self.parts.store.signing_by_envelope(envelope).await.map_err(busy)? {
            Some(record) if senders.contains(&record.signing.sender) => Ok(()),
            Some(_) => Err(Receipt::BadDigest),
            // The answer to its create may not be written down yet.
            None if self.parts.store.unsettled().await.map_err(busy)? > 0 => Err(Receipt::Busy),
            None => Err(Receipt::Foreign),
        }
    }
}
