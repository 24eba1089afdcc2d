//! `countersign listen`: our outgoing events as they happen, one JSON object a line; and, if asked for, as
//! signed webhooks to a receiver under development.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use http::{HeaderValue, StatusCode, header};
use url::Url;

use super::{forward::Forward, output, web_url};
use crate::{
    clock::{Clock as _, SystemClock},
    http_client::{HttpClient, Options, Request, StreamedResponse},
};

/// How long to stay away from a daemon that cannot be reached.
const COME_BACK: Duration = Duration::from_secs(2);
/// The longest time that a stream may be silent; comments arrive more often.
const SILENCE: Duration = Duration::from_secs(90);
/// The longest event that is taken.
const MAX_EVENT_BYTES: usize = 1024 * 1024;
/// The longest refusal that is read.
const MAX_PROBLEM_BYTES: usize = 64 * 1024;

/// Prints the events of a caller as they happen, until it is stopped.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The API listener of a daemon.
    #[arg(long, value_name = "API", default_value = "http://127.0.0.1:8080", value_parser = web_url)]
    url: Url,
    /// The caller's key.
    #[arg(long, value_name = "KEY", env = "COUNTERSIGN_KEY", hide_env_values = true)]
    key: String,
    /// End after so many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Also post each event here as a signed webhook, once: for a receiver under development.
    #[arg(long, value_name = "URL", value_parser = web_url)]
    forward_to: Option<Url>,
    /// What forwarded webhooks are signed with (whsec_…); left out: a new secret, which is shown.
    #[arg(long, value_name = "SECRET", env = "COUNTERSIGN_WEBHOOK_SECRET", hide_env_values = true)]
    secret: Option<String>,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let options =
        Options { timeout: Duration::from_secs(86_400), read_timeout: SILENCE, ..Options::default() };
    let client = HttpClient::new(&options).context("no HTTP client can be built")?;
    let mut url = args.url.clone();
    url.set_path("/v1/events");
    let mut bearer =
        HeaderValue::try_from(format!("Bearer {}", args.key)).context("the key is not a valid header")?;
    bearer.set_sensitive(true);
    let forward = args.forward_to.map(|url| Forward::new(url, args.secret)).transpose()?;
    let mut position = Position { last: None, left: args.count };
    let mut said = Said::default();
    loop {
        let mut request = Request::get(url.clone())
            .authorization(bearer.clone())
            .header(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(last) = position.last.as_deref().and_then(|id| HeaderValue::try_from(id).ok()) {
            request = request.header(header::HeaderName::from_static("last-event-id"), last);
        }
        match client.open(request).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                said.note(format!("listening at {url}"));
                if follow(answer, &mut position, forward.as_ref()).await? {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            Ok(answer) => said.note(refused(answer).await?),
            Err(error) => said.note(format!("{url} cannot be reached, trying again: {error}")),
        }
        SystemClock.sleep(COME_BACK).await;
    }
}

/// Where a reader is.
struct Position {
    last: Option<String>,
    left: Option<u64>,
}

/// How the last try ended, as it was said: while a daemon is away, each further one would say the same again.
#[derive(Default)]
struct Said(Option<String>);

impl Said {
    fn note(&mut self, text: String) {
        if let Some(text) = self.anew(text) {
            output::note(text);
        }
    }

    /// What there is to say, if that has changed.
    fn anew(&mut self, text: String) -> Option<&str> {
        if self.0.as_ref() == Some(&text) {
            return None;
        }
        Some(self.0.insert(text).as_str())
    }
}

/// A refusal ends it, unless it says that a later call may succeed: then that is what there is to say.
async fn refused(answer: StreamedResponse) -> anyhow::Result<String> {
    let status = answer.status;
    let body = answer.read(MAX_PROBLEM_BYTES).await.map(|answer| answer.body).unwrap_or_default();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let detail = problem["detail"].as_str();
    if detail.is_none() && status == StatusCode::NOT_FOUND {
        bail!("that is not the API listener (HTTP {status}): give --url the address of [api]");
    }
    let fix = problem["fix"].as_str().map(|fix| format!(". {fix}")).unwrap_or_default();
    let detail = format!("{}{fix}", detail.unwrap_or("no reason given"));
    if problem["retryable"] == true {
        return Ok(format!("refused for now (HTTP {status}): {detail}"));
    }
    bail!("refused (HTTP {status}): {detail}")
}

/// Prints what arrives; answers whether as many came as were asked for. A stream that breaks is opened
/// again from the last event seen.
async fn follow(
    answer: StreamedResponse,
    position: &mut Position,
    forward: Option<&Forward>,
) -> anyhow::Result<bool> {
    let mut stream = answer.into_stream();
    let mut held = Vec::new();
    while let Some(Ok(piece)) = stream.next().await {
        held.extend_from_slice(&piece);
        if held.len() > MAX_EVENT_BYTES {
            bail!("an event larger than {MAX_EVENT_BYTES} bytes arrived");
        }
        while let Some(end) = held.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = held.drain(..end + 2).collect();
            let event = parse(&String::from_utf8_lossy(&block));
            position.last = event.id.or(position.last.take());
            // A comment, or how far a stream that ends has come.
            if event.data.is_empty() {
                continue;
            }
            output::line(&event.data)?;
            if let Some(forward) = forward {
                forward.send(&event.data).await;
            }
            if let Some(left) = position.left.as_mut() {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// One block of a stream. Without data it is no event.
#[derive(Debug, PartialEq, Eq)]
struct Received {
    id: Option<String>,
    data: String,
}

/// Reads one block of a stream (WHATWG HTML, "Server-sent events").
fn parse(block: &str) -> Received {
    let (mut id, mut data) = (None, Vec::new());
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => id = Some(value.to_owned()),
            "data" => data.push(value),
            _ => {}
        }
    }
    Received { id, data: data.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_is_away_is_told_of_once_and_so_is_that_it_is_back() {
        let mut said = Said::default();
        let tries = ["up", "away", "away", "away", "starting", "starting", "up", "up", "away"];
        let told: Vec<_> =
            tries.into_iter().filter_map(|text| said.anew(text.to_owned()).map(str::to_owned)).collect();
        assert_eq!(told, ["up", "away", "starting", "up", "away"]);
    }

    #[test]
    fn a_block_is_read_as_the_standard_says() {
        let event = parse("id: evt_1\nevent: signing.opened\ndata: {\"a\":1}\n\n");
        assert_eq!(event, Received { id: Some("evt_1".into()), data: "{\"a\":1}".into() });
        assert_eq!(parse(": still here\n\n"), Received { id: None, data: String::new() });
        assert_eq!(parse("id: evt_2\n\n"), Received { id: Some("evt_2".into()), data: String::new() });
        assert_eq!(parse("data: 1\ndata: 2\n\n").data, "1\n2");
    }
}
