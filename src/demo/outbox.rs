//! The text messages that the emulator did not send: what the visitor's phone would show.

use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use url::Url;

use crate::http_client::{HttpClient, Request};

/// A text message.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Message {
    pub(super) to: String,
    pub(super) text: String,
    pub(super) code: String,
    pub(super) at: Timestamp,
}

/// Where the messages are.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    client: HttpClient,
    url: Url,
}

impl Outbox {
    pub(super) fn new(client: HttpClient, control: &Url) -> Self {
        let mut url = control.clone();
        url.set_path("/_test/outbox");
        Self { client, url }
    }

    /// All messages, newest first; none if the emulator does not answer.
    pub(super) async fn messages(&self) -> Option<Vec<Message>> {
        #[derive(Deserialize)]
        struct Answer {
            messages: Vec<Message>,
        }
        let answer = self.client.send(Request::get(self.url.clone())).await.ok()?;
        if answer.status != StatusCode::OK {
            return None;
        }
        let mut answer: Answer = serde_json::from_slice(&answer.body).ok()?;
        answer.messages.reverse();
        Some(answer.messages)
    }
}
