//! `countersign trigger`: makes the emulator cause an event, as a signer or sender would.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use serde_json::{Value, json};
use url::Url;

use super::{output, web_url};
use crate::http_client::{HttpClient, Options, Request};

/// What can be made to happen, by the name of the event that it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Event {
    /// Every signer signs, in their order; the documents are then there as well.
    #[value(name = "signing.completed", aliases = ["completed", "document.available"])]
    Completed,
    /// The signer declines, which ends the signing.
    #[value(name = "signing.declined", aliases = ["declined", "signer.declined"])]
    Declined,
    /// The sender voids it in DocuSign's own pages.
    #[value(name = "signing.voided", aliases = ["voided"])]
    Voided,
    /// Its date comes.
    #[value(name = "signing.expired", aliases = ["expired"])]
    Expired,
    /// The answer to the next create is lost, and its envelope is there: told of when a signing is made.
    #[value(name = "signing.uncertain", aliases = ["uncertain"])]
    Uncertain,
    /// The signer opens the signing page.
    #[value(name = "signer.session_started", aliases = ["session_started", "open"])]
    SessionStarted,
    /// The signer signs.
    #[value(name = "signer.signed", aliases = ["signed"])]
    Signed,
    /// The signer leaves to finish later, and their browser comes back.
    #[value(name = "signer.returned", aliases = ["finish_later", "returned"])]
    Returned,
    /// The signer gives wrong codes until locked out.
    #[value(name = "signer.authentication_failed", aliases = ["fail_otp", "authentication_failed"])]
    AuthenticationFailed,
    /// The emulator's first user takes consent back, and all tokens die: told of when the next call needs one.
    #[value(name = "sender.consent_missing", aliases = ["consent_missing"])]
    ConsentMissing,
    /// That user consents again.
    #[value(name = "sender.recovered", aliases = ["recovered"])]
    Recovered,
}

/// Who or what has to act for that.
enum Cause {
    Signer(&'static str),
    Envelope(&'static str),
    Consent { granted: bool },
    NextCreate,
}

impl Event {
    const fn cause(self) -> Cause {
        match self {
            Self::Completed | Self::Signed => Cause::Signer("sign"),
            Self::Declined => Cause::Signer("decline"),
            Self::SessionStarted => Cause::Signer("open"),
            Self::Returned => Cause::Signer("finish_later"),
            Self::AuthenticationFailed => Cause::Signer("fail_otp"),
            Self::Voided => Cause::Envelope("void"),
            Self::Expired => Cause::Envelope("expire"),
            Self::ConsentMissing => Cause::Consent { granted: false },
            Self::Recovered => Cause::Consent { granted: true },
            Self::Uncertain => Cause::NextCreate,
        }
    }
}

/// What happens otherwise: said behind the events of the help.
const OTHERWISE: &str = "The rest is not the emulator's to cause alone: signing.opened and signer.ready come with a signing that is \
    made, signing.purged with one that is purged, signing.failed when an accepted create is refused later or cannot be \
    sent in time, and budget.low when an hour's calls are nearly spent (POST /_test/limits makes them few).";

/// Makes the emulator cause one event, on the newest signing that somebody can sign.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true, after_help = OTHERWISE)]
pub(super) struct Args {
    /// The event to cause.
    event: Event,
    /// The emulator's control interface.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8444", value_parser = web_url)]
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
    let signer = args.signer.as_deref();
    match args.event.cause() {
        Cause::Signer(action) => control.signer_acts(args.event, action, signer).await?,
        Cause::Envelope(action) => {
            let Seat { envelope, .. } = control.seat(signer).await?;
            output::line(control.post(&["envelopes", &envelope, action], &json!({})).await?)?;
        }
        Cause::Consent { granted } => {
            let done = control.post(&["consent"], &json!({ "granted": granted })).await?;
            if !granted {
                control.post(&["tokens", "revoke"], &json!({})).await?;
            }
            output::line(done)?;
        }
        Cause::NextCreate => {
            let fault =
                json!({ "fault": "commit_then_drop", "method": "POST", "path": "/envelopes", "count": 1 });
            output::line(control.post(&["faults"], &fault).await?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A signer, and what they sign.
struct Seat {
    signer: String,
    envelope: String,
}

struct Control {
    client: HttpClient,
    origin: Url,
}

impl Control {
    /// Has the signer act, and for [`Event::Completed`] everybody who comes after.
    async fn signer_acts(&self, event: Event, action: &str, signer: Option<&str>) -> anyhow::Result<()> {
        let mut signer = match signer {
            Some(signer) => signer.to_owned(),
            None => self.seat(None).await?.signer,
        };
        loop {
            let done = self.post(&["signers", &signer, action], &json!({})).await?;
            output::line(&done)?;
            if event == Event::Returned {
                self.come_back(&done).await?;
            }
            if event != Event::Completed || done["envelope_status"] == "completed" {
                return Ok(());
            }
            let next = |seat: &Seat| done["envelope_id"] == *seat.envelope;
            signer =
                self.newest(next).await?.context("nobody is left to sign, and it is not completed")?.signer;
        }
    }

    /// The signer that is named, or the newest one whose turn it is.
    async fn seat(&self, named: Option<&str>) -> anyhow::Result<Seat> {
        let found = self.newest(|seat| named.is_none_or(|signer| seat.signer == signer)).await?;
        found.context(match named {
            Some(_) => "it is not this signer's turn, or there is no such signer",
            None => "no signer has their turn; create a signing first",
        })
    }

    /// The newest signer of some whose turn it is.
    async fn newest(&self, is_one: impl Fn(&Seat) -> bool) -> anyhow::Result<Option<Seat>> {
        let listed = self.send(Request::get(self.url(&["signers"]))).await?;
        let mut in_turn = listed["signers"].as_array().into_iter().flatten().filter_map(|signer| {
            let text = |name: &str| Some(signer[name].as_str()?.to_owned());
            (signer["is_in_turn"] == true)
                .then_some(Seat { signer: text("id")?, envelope: text("envelope_id")? })
        });
        Ok(in_turn.rfind(is_one))
    }

    async fn post(&self, path: &[&str], body: &Value) -> anyhow::Result<Value> {
        self.send(Request::post(self.url(path)).json(body.to_string())).await
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
        let answer = answer.with_context(|| {
            format!(
                "no emulator answers at {}: start `countersign emulate`, or give --control: the control_url of its \
                 ready file",
                self.origin
            )
        })?;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.status.is_success() {
            return Ok(body);
        }
        // So the control interface says it, and nothing else that may answer there.
        match body.as_object().filter(|body| body.len() == 1).and_then(|body| body.get("error")?.as_str()) {
            Some(detail) => bail!("the emulator refuses (HTTP {}): {detail}", answer.status.as_u16()),
            None => bail!(
                "what answers at {} (HTTP {}) is not the control interface of an emulator: give --control: the control_url \
                 of its ready file",
                self.origin,
                answer.status.as_u16()
            ),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EVENT_TYPES;

    #[test]
    fn every_event_can_be_caused_or_is_said_to_happen_otherwise() {
        for kind in EVENT_TYPES {
            let is_caused = Event::from_str(kind, false).is_ok();
            assert_ne!(is_caused, OTHERWISE.contains(kind), "{kind}");
        }
    }
}
