//! Where `countersign listen` passes events on: a receiver under development, which gets each of them as
//! the webhook that it would be.

use anyhow::{Context as _, ensure};
use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

use super::output;
use crate::{
    clock::{Clock as _, SystemClock},
    events::webhooks::{Targets, sign},
    http_client::{HttpClient, Options, Request},
};

const PREFIX: &str = "whsec_";
const NEW_SECRET_BYTES: usize = 32;

/// A receiver, and what deliveries to it are signed with.
pub(super) struct Forward {
    client: HttpClient,
    url: Url,
    secret: Vec<u8>,
}

/// An event as the stream has it.
#[derive(Deserialize)]
struct Event<'a> {
    id: String,
    r#type: String,
    timestamp: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// The body of a webhook (Standard Webhooks).
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    timestamp: &'a str,
    data: &'a RawValue,
}

impl Forward {
    /// Without a `secret` one is made, and shown.
    pub(super) fn new(url: Url, secret: Option<String>) -> anyhow::Result<Self> {
        Targets { plain_loopback: true }.check(&url, true).context("--forward-to")?;
        let is_new = secret.is_none();
        let secret = secret.map_or_else(new_secret, Ok)?;
        let bytes = secret.strip_prefix(PREFIX).and_then(|text| BASE64.decode(text).ok());
        let bytes = bytes.context("--secret is not whsec_ and base64")?;
        ensure!(!bytes.is_empty(), "--secret is empty");
        if is_new {
            output::note(format_args!("forwarding to {url}, signed with {secret}"));
        } else {
            output::note(format_args!("forwarding to {url}"));
        }
        let client = HttpClient::new(&Options::default()).context("no HTTP client can be built")?;
        Ok(Self { client, url, secret: bytes })
    }

    /// Delivers one event, once, and says how it was taken: what a developer wants to see is the first try.
    pub(super) async fn send(&self, event: &str) {
        let Ok(event) = serde_json::from_str::<Event<'_>>(event) else { return };
        match self.deliver(&event).await {
            Ok(status) => output::note(format_args!("{} {}: {status}", event.r#type, event.id)),
            Err(error) => output::note(format_args!("{} {}: {error:#}", event.r#type, event.id)),
        }
    }

    async fn deliver(&self, event: &Event<'_>) -> anyhow::Result<http::StatusCode> {
        let body = Body { r#type: &event.r#type, timestamp: &event.timestamp, data: event.data };
        let body = serde_json::to_vec(&body)?;
        let at = SystemClock.now().as_second();
        let signature = sign(&self.secret, &event.id, at, &body);
        let mut request = Request::post(self.url.clone()).json(body);
        for (name, value) in
            [("id", event.id.clone()), ("timestamp", at.to_string()), ("signature", signature)]
        {
            let name = HeaderName::try_from(format!("webhook-{name}"))?;
            request = request.header(name, HeaderValue::try_from(value)?);
        }
        Ok(self.client.send(request).await?.status)
    }
}

fn new_secret() -> anyhow::Result<String> {
    let mut bytes = [0; NEW_SECRET_BYTES];
    rand::fill(&mut bytes).context("the system gives no random bytes")?;
    Ok(format!("{PREFIX}{}", BASE64.encode(bytes)))
}
