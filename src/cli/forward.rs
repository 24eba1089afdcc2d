//! Where `countersign listen` passes events on: a receiver under development, which gets each of them as
//! the webhook that it would be.

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

use super::output;
use crate::{
    clock::{Clock as _, SystemClock},
    events::{
        endpoints::{new_secret, secret_bytes},
        webhooks::{Targets, headers},
    },
    http_client::{HttpClient, Options, Request},
};

/// A receiver, and what deliveries to it are signed with.
pub(super) struct Forward {
    client: HttpClient,
    url: Url,
    secrets: [Vec<u8>; 1],
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
        let secret = if let Some(text) = secret {
            output::note(format_args!("forwarding to {url}"));
            secret_bytes(&text).context("--secret is not whsec_ and base64")?
        } else {
            let (bytes, text) = new_secret();
            output::note(format_args!("forwarding to {url}, signed with {}", text.reveal()));
            bytes
        };
        ensure!(!secret.is_empty(), "--secret is empty");
        let client = HttpClient::new(&Options::default()).context("no HTTP client can be built")?;
        Ok(Self { client, url, secrets: [secret] })
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
        let signed = headers(&self.secrets, &event.id, SystemClock.now(), &body);
        let mut request = Request::post(self.url.clone()).json(body);
        for (name, value) in signed {
            request = request.header(name, value);
        }
        Ok(self.client.send(request).await?.status)
    }
}
