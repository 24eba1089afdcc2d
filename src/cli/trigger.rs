//! `countersign trigger`: makes the emulator cause an event, as a signer or sender would.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use serde_json::{Value, json};
use url::Url;

use super::output;
use crate::http_client::{HttpClient, Options, Request};

/// What the emulator's scripted signer does for each event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Event {
    /// Every signer signs, in their order.
    #[value(name = "signing.completed", aliases = ["completed"])]
    Completed,
    /// The signer declines, which ends the signing.
    #[value(name = "signing.declined", aliases = ["declined", "signer.declined"])]
    Declined,
    /// The signer signs.
    #[value(name = "signer.signed", aliases = ["signed"])]
    Signed,
    /// The signer leaves to finish later, and their browser comes back.
    #[value(name = "signer.returned", aliases = ["finish_later", "returned"])]
    Returned,
    /// The signer gives wrong codes until locked out.
    #[value(name = "signer.authentication_failed", aliases = ["fail_otp", "authentication_failed"])]
    AuthenticationFailed,
}

impl Event {
    const fn action(self) -> &'static str {
        match self {
            Self::Completed | Self::Signed => "sign",
            Self::Declined => "decline",
            Self::Returned => "finish_later",
            Self::AuthenticationFailed => "fail_otp",
        }
    }
}

/// Makes the emulator cause one event. To void a signing, call POST /v1/signings/{id}/void.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    /// The event to cause.
    event: Event,
    /// The emulator's control interface.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8444")]
    control: Url,
    /// The signer (`recipientIdGuid`); left out: the newest one whose turn it is.
    #[arg(long, value_name = "GUID")]
    signer: Option<String>,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let control = Control {
        client: HttpClient::new(&Options::default()).context("no HTTP client can be built")?,
        origin: args.control,
    };
    let mut signer = match args.signer {
        Some(signer) => signer,
        None => control.newest(None).await?.context("no signer has their turn; create a signing first")?,
    };
    loop {
        let done = control.act(&signer, args.event.action()).await?;
        output::line(&done);
        if args.event == Event::Returned {
            control.come_back(&done).await?;
        }
        if args.event != Event::Completed || done["envelope_status"] == "completed" {
            return Ok(ExitCode::SUCCESS);
        }
        let envelope = done["envelope_id"].as_str().unwrap_or_default();
        signer = control
            .newest(Some(envelope))
            .await?
            .context("nobody is left to sign, and it is not completed")?;
    }
}

struct Control {
    client: HttpClient,
    origin: Url,
}

impl Control {
    /// The newest signer whose turn it is, of one envelope or of all.
    async fn newest(&self, envelope: Option<&str>) -> anyhow::Result<Option<String>> {
        let listed = self.send(Request::get(self.url(&["signers"]))).await?;
        let signers = listed["signers"].as_array().cloned().unwrap_or_default();
        let in_turn = |signer: &&Value| {
            signer["is_in_turn"] == true && envelope.is_none_or(|id| signer["envelope_id"] == id)
        };
        Ok(signers.iter().rfind(in_turn).and_then(|signer| signer["id"].as_str()).map(str::to_owned))
    }

    async fn act(&self, signer: &str, action: &str) -> anyhow::Result<Value> {
        let request = Request::post(self.url(&["signers", signer, action]));
        self.send(request.json(json!({}).to_string())).await
    }

    /// Opens the address that the ceremony sends its signer to, as their browser would: it is the browser
    /// that tells of a return.
    async fn come_back(&self, done: &Value) -> anyhow::Result<()> {
        let address = done["redirect_url"]
            .as_str()
            .context("the signer has no signing page open, so no browser comes back; open one first")?;
        let address = Url::parse(address).context("the signer's way back is not a valid address")?;
        self.client.send(Request::get(address)).await.context("nobody answers where the signer is sent")?;
        Ok(())
    }

    async fn send(&self, request: Request) -> anyhow::Result<Value> {
        let answer = self.client.send(request).await;
        let answer = answer.with_context(|| format!("no emulator answers at {}", self.origin))?;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if !answer.status.is_success() {
            bail!("the emulator refuses (HTTP {}): {body}", answer.status);
        }
        Ok(body)
    }

    /// Segments are escaped, so that a name cannot lead elsewhere.
    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.origin.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().push("_test").extend(path);
        }
        url
    }
}
