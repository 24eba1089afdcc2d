//! `countersign demo --walk`: one whole journey, driven over HTTP as a browser would, and timed.
//!
//! It presses the website's button, reads the SMS from the outbox, goes through the ceremony's own
//! forms, follows the way back, and then asks the daemon, as the website's backend would, for the fact
//! and for the signed document. Nothing in it reaches into the process.

use std::{fmt, time::Duration};

use http::{StatusCode, header};
use url::Url;

use super::{
    backend::Backend,
    orders::{OrderId, Paper},
    outbox::Outbox,
    pages::Filled,
};
use crate::{
    clock::SharedClock,
    http_client::{HttpClient, Request, Response},
};

/// From the signature to the fact; events follow within a second.
const EVENT_PATIENCE: Duration = Duration::from_secs(10);
/// A webhook is a moment behind the fact.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// No chain of redirects on this way is longer.
const MAX_REDIRECTS: usize = 5;

/// A part of the journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The website's button: order, envelope, recipient view.
    Create,
    /// The signing page opens, and its code arrives.
    Sms,
    /// The code is typed, the document signed.
    Sign,
    /// The browser is sent back to the website.
    Return,
    /// The upstream's own word for it arrives.
    Event,
    /// The signed document.
    Download,
}

impl Step {
    /// The steps in their order.
    pub const ALL: [Self; 6] =
        [Self::Create, Self::Sms, Self::Sign, Self::Return, Self::Event, Self::Download];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Sms => "SMS",
            Self::Sign => "sign",
            Self::Return => "return",
            Self::Event => "event",
            Self::Download => "download",
        }
    }
}

/// Where the journey ended early, and why.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the step {}: {why}", step.name())]
pub struct WalkError {
    /// The step that failed.
    pub step: Step,
    /// What was seen instead.
    pub why: String,
}

/// A journey under way: each step leaves what the next one needs.
pub struct Walk {
    client: HttpClient,
    clock: SharedClock,
    site: Url,
    backend: Backend,
    outbox: Outbox,
    /// Where the scripted browser is.
    at: Url,
    code: String,
    signing: String,
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk").field("signing", &self.signing).finish_non_exhaustive()
    }
}

type Done = Result<String, String>;

impl Walk {
    /// A journey through this website; none if an address or the key is malformed.
    pub fn new(
        client: HttpClient,
        clock: SharedClock,
        site: &str,
        api: &str,
        caller_key: &str,
        control: &str,
    ) -> Option<Self> {
        let site = Url::parse(site).ok()?;
        Some(Self {
            backend: Backend::new(client.clone(), Url::parse(api).ok()?, caller_key)?,
            outbox: Outbox::new(client.clone(), &Url::parse(control).ok()?),
            client,
            clock,
            at: site.clone(),
            site,
            code: String::new(),
            signing: String::new(),
        })
    }

    /// Takes one step; answers what was seen.
    pub async fn step(&mut self, step: Step) -> Result<String, WalkError> {
        let done = match step {
            Step::Create => self.create().await,
            Step::Sms => self.sms().await,
            Step::Sign => self.sign().await,
            Step::Return => self.come_back().await,
            Step::Event => self.event().await,
            Step::Download => self.download().await,
        };
        done.map_err(|why| WalkError { step, why })
    }

    async fn create(&mut self) -> Done {
        let sample = Filled::default();
        let order = OrderId::generate();
        self.at.set_path("/orders");
        let form = [
            ("order", order.as_str()),
            ("paper", Paper::Letter.word()),
            ("name", &sample.name),
            ("email", &sample.email),
            ("phone", &sample.phone),
        ];
        // The second button first: the preflight finds nothing wrong, and orders nothing.
        let checked = self.submit(&[&form[..], &[("then", "check")]].concat()).await?;
        if checked.status != StatusCode::OK {
            return Err("the preflight did not find the form good".to_owned());
        }
        let answer = self.submit(&form).await?;
        self.follow(&answer)?;
        if self.at.origin() == self.site.origin() {
            return Err("the website did not send the visitor to a signing page".to_owned());
        }
        Ok(format!("checked, order {}, and off to the signing page", order.as_str()))
    }

    async fn sms(&mut self) -> Done {
        self.open().await?;
        self.submit(&[("action", "send_code"), ("number", "0")]).await?;
        let messages = self.outbox.messages().await.ok_or("the outbox does not answer")?;
        let message = messages.first().ok_or("no message arrived")?;
        self.code.clone_from(&message.code);
        Ok(format!("a code of {} digits arrived", message.code.chars().count()))
    }

    async fn sign(&mut self) -> Done {
        let code = std::mem::take(&mut self.code);
        let answer = self.submit(&[("action", "check_code"), ("sms_code", &code)]).await?;
        self.follow(&answer)?;
        self.open().await?;
        let answer = self.submit(&[("action", "sign"), ("name", &Filled::default().name)]).await?;
        let ceremony = self.at.clone();
        self.follow(&answer)?;
        if self.at.origin() == ceremony.origin() {
            return Err("the signing page did not let the signer go".to_owned());
        }
        Ok("code accepted, name adopted, document signed".to_owned())
    }

    async fn come_back(&mut self) -> Done {
        let answer = self.open().await?;
        if self.at.origin() != self.site.origin() || answer.status != StatusCode::OK {
            return Err("the browser did not end up on the website".to_owned());
        }
        let id = self.at.query_pairs().find(|(name, _)| name == "signing_id").map(|(_, id)| id.into_owned());
        self.signing = id.ok_or("the return URL names no signing")?;
        Ok(format!("back on the website, {}", self.signing))
    }

    async fn event(&mut self) -> Done {
        let until = self.clock.uptime() + EVENT_PATIENCE;
        let mut signing = self.backend.signing(&self.signing).await.map_err(|refusal| refusal.detail)?;
        while !signing.is_final() {
            if self.clock.uptime() >= until {
                return Err(format!("the status is still {}", signing.status));
            }
            signing = self
                .backend
                .newer(&self.signing, signing.sequence, 2)
                .await
                .map_err(|refusal| refusal.detail)?;
        }
        if signing.status != "completed" {
            return Err(format!("it ended as {}", signing.status));
        }
        while !self.shows("signing.completed").await? {
            if self.clock.uptime() >= until {
                return Err("the website was told nothing by webhook".to_owned());
            }
            self.clock.sleep(LOOK_AGAIN).await;
        }
        Ok("DocuSign's own word has arrived: completed; the website was told by a signed webhook".to_owned())
    }

    /// Whether the page where the browser is has this word.
    async fn shows(&self, word: &str) -> Result<bool, String> {
        let page = seen(self.send(Request::get(self.at.clone())).await?)?;
        Ok(String::from_utf8_lossy(&page.body).contains(word))
    }

    async fn download(&mut self) -> Done {
        let document =
            self.backend.document(&self.signing, "combined").await.map_err(|refusal| refusal.detail)?;
        let answer = document.read(16 * 1024 * 1024).await.map_err(|error| error.to_string())?;
        if !answer.body.starts_with(b"%PDF") {
            return Err("what was downloaded is no PDF".to_owned());
        }
        Ok(format!("signed PDF, {} bytes", answer.body.len()))
    }

    /// Opens the page where the browser is, through all redirects.
    async fn open(&mut self) -> Result<Response, String> {
        for _ in 0..MAX_REDIRECTS {
            let answer = self.send(Request::get(self.at.clone())).await?;
            if !answer.status.is_redirection() {
                return seen(answer);
            }
            self.follow(&answer)?;
        }
        Err("the redirects do not end".to_owned())
    }

    /// Sends a form to the page where the browser is, which is where all forms on this way lead.
    async fn submit(&self, fields: &[(&str, &str)]) -> Result<Response, String> {
        seen(self.send(Request::post(self.at.clone()).form(fields.iter().copied())).await?)
    }

    async fn send(&self, request: Request) -> Result<Response, String> {
        self.client.send(request).await.map_err(|error| error.to_string())
    }

    fn follow(&mut self, answer: &Response) -> Result<(), String> {
        let target = answer.headers.get(header::LOCATION).and_then(|target| target.to_str().ok());
        let target = target.ok_or_else(|| format!("no redirect, but status {}", answer.status.as_u16()))?;
        self.at = self.at.join(target).map_err(|_| "a redirect leads nowhere".to_owned())?;
        Ok(())
    }
}

fn seen(answer: Response) -> Result<Response, String> {
    if answer.status.is_client_error() || answer.status.is_server_error() {
        return Err(format!("a page answered with status {}", answer.status.as_u16()));
    }
    Ok(answer)
}
