//! The first half of the inbox: a delivery is verified, stored and answered.

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;

use crate::{
    connect::{
        Inbox, Keys, Message, UnverifiedDelivery, VerifiedDelivery,
        body_slots::{BodySlot, BodySlots},
        digest::is_signed,
        payload::identity_of_bytes,
    },
    domain::{Private, SenderName},
    signing::ToldOf,
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
    /// How far a body is a small one; nearly all of the upstream's are.
    pub small_bytes: usize,
    /// Small bodies in memory at once.
    pub small: usize,
    /// Larger ones.
    pub large: usize,
    /// How long a delivery waits for a slot.
    pub place_time: Duration,
    /// How long the answer may take once the body has arrived; the wait for a slot counts.
    pub answer_time: Duration,
    /// How long it may be unknown whose envelope a customer's account tells of.
    pub owner_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        // In all 128 MiB at most: 32 of small bodies, 96 of large ones.
        Self {
            body_bytes: 2 * 1024 * 1024,
            body_time: Duration::from_secs(10),
            small_bytes: 64 * 1024,
            small: 512,
            large: 48,
            place_time: Duration::from_millis(500),
            // The upstream waits 100 s (eSignature REST API, requiresAcknowledgement), and one delivery that fails keeps all
            // later ones back: a store that fails over, or a disk that stalls, must not cost one. Twice the store's patience.
            answer_time: Duration::from_secs(20),
            // A create is written down a second or two after its envelope is told of: its first view is waited for. One in
            // doubt stays so for minutes, in which each delivery about anything else of that account would hold its slot
            // for the whole of the time above.
            owner_time: Duration::from_secs(3),
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
    /// The store does not answer, whose it is, is not known yet, or whether its token is good; or all slots are held by
    /// such: the upstream will come again.
    Busy,
    /// Too many at once, and it had proven nothing by then: if it was the upstream's, it will come again.
    Crowded,
    /// It had been received before.
    Duplicate,
    /// The account of a customer tells of an envelope that is none of ours.
    Foreign,
    /// Its body is over the limit.
    TooLarge,
    /// Its body did not arrive in time.
    TooSlow,
    /// It is stored, though we do not know its event.
    Unknown,
    /// It is no JSON of DocuSign's; at the general address it is stored all the same.
    Unreadable,
}

/// A body that has arrived.
struct Arrived<'a> {
    body: Bytes,
    /// The time that is left for the answer.
    left: Duration,
    /// What the body's memory is counted by.
    slot: BodySlot<'a>,
}

impl Receipt {
    /// The HTTP status to answer with, and an empty body: whoever sent a wrong digest learns no more.
    pub const fn status(self) -> u16 {
        match self {
            Self::Accepted | Self::Duplicate | Self::Foreign | Self::Unknown | Self::Unreadable => 200,
            Self::BadDigest => 401,
            Self::Broken => 400,
            Self::Busy | Self::Crowded => 503,
            Self::TooLarge => 413,
            Self::TooSlow => 408,
        }
    }

    /// How it is counted.
    const fn counted(self) -> ConnectResult {
        match self {
            Self::Accepted => ConnectResult::Accepted,
            Self::BadDigest => ConnectResult::BadDigest,
            Self::Broken | Self::Crowded | Self::TooLarge | Self::TooSlow | Self::Unreadable => {
                ConnectResult::Malformed
            }
            Self::Busy => ConnectResult::Busy,
            Self::Duplicate => ConnectResult::Duplicate,
            Self::Foreign | Self::Unknown => ConnectResult::Unknown,
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
    /// Receives one delivery at the general address, of one who has shown a certificate with these names:
    /// verified, and on disk when this answers [`Receipt::Accepted`].
    pub async fn receive<B>(&self, headers: &HeaderMap, certificate: Option<&[Name]>, body: B) -> Receipt
    where
        B: http_body::Body<Data = Bytes> + Send,
    {
        self.receive_at(None, headers, certificate, body).await
    }

    /// As [`receive`](Self::receive), at the address of this sender, if it is one's own.
    pub async fn receive_at<B>(
        &self,
        own: Option<&SenderName>,
        headers: &HeaderMap,
        certificate: Option<&[Name]>,
        body: B,
    ) -> Receipt
    where
        B: http_body::Body<Data = Bytes> + Send,
    {
        let keys = match own {
            None => self.parts.keys.load_full(),
            Some(sender) => Arc::new(self.parts.own_keys.of(sender)),
        };
        let receipt = if keys.is_empty() {
            self.unproven(match own {
                None => {
                    "no Connect key is set: copy one from Settings > Connect > Connect Keys into connect.hmac_keys"
                }
                Some(_) => {
                    "there is no such sender, or it has no hmac_keys: compare the address in the configuration"
                }
            })
        } else {
            self.outcome(&keys, headers, certificate, body).await.unwrap_or_else(|refused| refused)
        };
        self.parts.metrics.connect_delivered(receipt.counted());
        // Anybody can have themselves turned away, and must not have the upstream asked for what it could not tell.
        if receipt == Receipt::Busy {
            self.parts.signings.event_refused();
        }
        if let Some(others) = self.line_due(receipt) {
            tracing::warn!(?receipt, others, "a Connect delivery was not simply accepted");
        }
        receipt
    }

    /// Says to the operator why nothing is believed; whoever sent it learns nothing. Anybody can send such a thing,
    /// as often as they like.
    fn unproven(&self, why: &'static str) -> Receipt {
        if let Some(others) = self.parts.refusals.due(self.parts.clock.uptime()) {
            tracing::warn!(why, others, "a Connect delivery is refused");
        }
        Receipt::BadDigest
    }

    /// Says to the operator what to set in a configuration that tells nothing, whosever address it pushes to. It does so
    /// with each change of an envelope.
    fn unreadable(&self) {
        if let Some(others) = self.parts.failures.due(self.parts.clock.uptime()) {
            let fix = "set the configuration's data format to JSON (REST v2.1)";
            tracing::warn!(
                fix,
                others,
                "a Connect delivery is no JSON of DocuSign's, and nothing is learnt from it"
            );
        }
    }

    /// Of how many nothing was said, if a line about this one is due. Those that are cut short may be anybody's, too.
    fn line_due(&self, receipt: Receipt) -> Option<u64> {
        match receipt {
            // What proves nothing, or cannot be read, has said why by then.
            Receipt::Accepted
            | Receipt::BadDigest
            | Receipt::Duplicate
            | Receipt::Foreign
            | Receipt::Unreadable => None,
            Receipt::Unknown => Some(0),
            Receipt::Broken | Receipt::Busy | Receipt::Crowded | Receipt::TooLarge | Receipt::TooSlow => {
                self.parts.failures.due(self.parts.clock.uptime())
            }
        }
    }

    async fn outcome<B>(
        &self,
        keys: &Keys,
        headers: &HeaderMap,
        certificate: Option<&[Name]>,
        body: B,
    ) -> Result<Receipt, Receipt>
    where
        B: http_body::Body<Data = Bytes> + Send,
    {
        // Nobody's body is read who shows nothing that could prove it.
        if !is_signed(headers) {
            return Err(self
                .unproven("it has no X-DocuSign-Signature-1: switch HMAC on in the Connect configuration"));
        }
        if !self.parts.bearers.load().admit(headers) {
            return Err(self.unproven("its Authorization is none of connect.bearer_tokens"));
        }
        if self.parts.clients.load().as_ref().is_some_and(|clients| !clients.admit(certificate)) {
            return Err(self.unproven("it shows no client certificate that connect.certificates admits"));
        }
        let mut arrived = self.read(body).await?;
        let judged = async {
            let delivery = UnverifiedDelivery::new(headers, arrived.body);
            let delivery = delivery.verify(keys).map_err(|_| {
                self.unproven(
                    "no signature of it is by a key of ours: compare the Connect keys with connect.hmac_keys",
                )
            })?;
            arrived.slot.proven();
            self.has_token(headers).await?;
            Ok(self.keep(&delivery).await)
        };
        // All of it together: what is not on disk by then comes again.
        self.within(arrived.left, judged).await.unwrap_or(Err(Receipt::Busy))
    }

    /// Reads a body, within its limits of size, time and number.
    async fn read<B>(&self, body: B) -> Result<Arrived<'_>, Receipt>
    where
        B: http_body::Body<Data = Bytes> + Send,
    {
        let limits = &self.parts.limits;
        if usize::try_from(body.size_hint().lower()).is_ok_and(|length| length > limits.body_bytes) {
            return Err(Receipt::TooLarge);
        }
        let (mut body, mut late) = (Box::pin(body), self.parts.clock.sleep(limits.body_time));
        let (mut slot, mut waited) = self.slot(&self.parts.small).await?;
        let (mut whole, mut is_small) = (Vec::new(), true);
        loop {
            let frame = tokio::select! {
                biased;
                frame = body.frame() => frame,
                () = slot.cut() => return Err(Receipt::Crowded),
                () = &mut late => return Err(Receipt::TooSlow),
            };
            let Some(frame) = frame else { break };
            let Ok(data) = frame.map_err(|_| Receipt::Broken)?.into_data() else { continue };
            let length = whole.len().saturating_add(data.len());
            if length > limits.body_bytes {
                return Err(Receipt::TooLarge);
            }
            if is_small && length > limits.small_bytes {
                let large = self.slot(&self.parts.large).await?;
                (slot, waited, is_small) = (large.0, waited.saturating_add(large.1), false);
                whole.reserve_exact(limits.body_bytes.saturating_sub(whole.len()));
            }
            whole.extend_from_slice(&data);
        }
        slot.arrived();
        Ok(Arrived { body: whole.into(), left: limits.answer_time.saturating_sub(waited), slot })
    }

    /// A slot, and how long it took to get one.
    async fn slot<'a>(&self, slots: &'a BodySlots) -> Result<(BodySlot<'a>, Duration), Receipt> {
        let before = self.parts.clock.uptime();
        let slot = self.within(self.parts.limits.place_time, slots.take()).await;
        // Where true deliveries hold all of them, the store keeps them there, and no stranger.
        let turned_away = || if slots.are_all_proven() { Receipt::Busy } else { Receipt::Crowded };
        Ok((slot.ok_or_else(turned_away)?, self.parts.clock.uptime().saturating_sub(before)))
    }

    /// Asks for an access token, if one is asked for.
    async fn has_token(&self, headers: &HeaderMap) -> Result<(), Receipt> {
        let Some(tokens) = self.parts.tokens.load_full() else { return Ok(()) };
        match tokens.admit(headers).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.unproven("its access token is none that connect.oidc admits")),
            Err(_) => Err(Receipt::Busy),
        }
    }

    async fn keep(&self, delivery: &VerifiedDelivery) -> Receipt {
        let body = delivery.body();
        let message = Message::parse(body).ok();
        if message.is_none() {
            self.unreadable();
        }
        if let Some(senders) = delivery.of()
            && let Err(refused) = self.speaks_for(senders, message.as_ref()).await
        {
            return refused;
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
        match self.parts.store.receive(inbound).await {
            Ok(Received::New) => {
                self.parts.stored.notify_one();
                match message {
                    Some(message) if message.is_known() => Receipt::Accepted,
                    Some(_) => Receipt::Unknown,
                    None => Receipt::Unreadable,
                }
            }
            Ok(Received::Again) => Receipt::Duplicate,
            Err(error) => {
                tracing::error!(%error, "a Connect delivery could not be stored: DocuSign will send it again");
                Receipt::Busy
            }
        }
    }

    /// Whether those whose keys signed may speak of the envelope. Anything else about a customer's account is
    /// none of ours, and is not kept.
    async fn speaks_for(&self, senders: &[SenderName], message: Option<&Message>) -> Result<(), Receipt> {
        let busy = |error: store::Error| {
            tracing::error!(%error, "whose an envelope is cannot be read: DocuSign will send it again");
            Receipt::Busy
        };
        let message = message.ok_or(Receipt::Unreadable)?;
        let envelope = message.envelope.as_ref().ok_or(Receipt::Foreign)?;
        let told_at = message.generated_at();
        let wait = self.parts.limits.owner_time;
        let told_of = self.parts.signings.sender_of_envelope(envelope, senders, told_at, wait).await;
        match told_of.map_err(busy)? {
            ToldOf::Senders(sender) if senders.contains(&sender) => Ok(()),
            ToldOf::Senders(_) => {
                Err(self
                    .unproven("it speaks of an envelope of another sender than the one whose key signed it"))
            }
            ToldOf::Nobodys => Err(Receipt::Foreign),
            ToldOf::Unknown => Err(Receipt::Busy),
        }
    }
}
