//! Recipient views: the URL at which one embedded recipient signs, once, within five minutes.

use http::Method;
use jiff::Timestamp;

use super::{Acting, Client, Error, call::Call, languages, wire};
use crate::{
    budget::{Deadline, Operation},
    domain::{EnvelopeId, Private, draft::MAX_UPSTREAM_RETURN_URL},
};

/// Whose view, and what goes with it. Name, address and client user id must be what the envelope says.
#[derive(Debug, Clone, Copy)]
pub struct ViewRequest<'a> {
    /// The name as the upstream has it.
    pub name: &'a Private<String>,
    /// The address as the upstream has it.
    pub email: &'a str,
    /// What makes them embedded.
    pub client_user_id: &'a str,
    /// The id within the envelope, if it is certain: a template may have put its own in the place of ours.
    pub recipient_id: Option<&'a str>,
    /// Where the browser comes back.
    pub return_url: &'a str,
    /// What the signing page calls while it is open, and how often in seconds (60 to 1200).
    pub ping: Option<(&'a str, u32)>,
    /// The upstream's word for how the caller authenticated the person; `None` if they did not.
    pub authentication_method: Option<&'a str>,
    /// When they did.
    pub authentication_instant: Option<Timestamp>,
    /// The caller's own proof of it.
    pub assertion_id: Option<&'a str>,
    /// Origins that may frame the signing pages; the upstream's own are added, which its focused view needs.
    pub frame_ancestors: &'a [String],
    /// The language, as a tag.
    pub locale: Option<&'a str>,
}

/// A minted view. Its URL is a secret.
#[derive(Debug, Clone)]
pub struct View {
    /// The URL.
    pub url: Private<String>,
    /// The upstream's trace id.
    pub trace: Option<String>,
}

impl Client {
    /// Mints a view. One that was live before is dead after (rule L2 is the caller's to keep).
    pub async fn recipient_view(
        &self,
        acting: &Acting,
        envelope: &EnvelopeId,
        request: &ViewRequest<'_>,
        deadline: Deadline,
    ) -> Result<View, Error> {
        if request.return_url.chars().count() > MAX_UPSTREAM_RETURN_URL {
            return Err(Error::Invalid(
                "the return URL is longer than the 470 characters that the upstream keeps",
            ));
        }
        let (frame_ancestors, message_origins) = self.frames(request.frame_ancestors);
        let body = wire::json(&wire::requests::RecipientView {
            return_url: request.return_url,
            ping_url: request.ping.map(|(url, _)| url),
            ping_frequency: request.ping.map(|(_, seconds)| seconds.to_string()),
            authentication_method: request.authentication_method.unwrap_or("None"),
            user_name: request.name.reveal(),
            email: request.email,
            client_user_id: request.client_user_id,
            recipient_id: request.recipient_id,
            assertion_id: request.assertion_id,
            authentication_instant: request.authentication_instant.map(|at| at.to_string()),
            frame_ancestors: &frame_ancestors,
            message_origins: &message_origins,
        });
        let url = acting.url(["envelopes", envelope.as_str(), "views", "recipient"]);
        let call = Call::new(Operation::CreateView, Method::POST, url, deadline).json(body);
        let answer = self.call(acting, call).await?;
        let view: wire::answers::View = answer.decode()?;
        // A browser is sent there: it has to be a web address, and an encrypted one unless it is this machine's.
        let parsed = view.url.as_deref().and_then(|text| url::Url::parse(text).ok());
        let mut url = parsed
            .filter(crate::http_client::is_callable)
            .ok_or_else(|| answer.bad("it holds no usable URL"))?;
        if let Some(language) = request.locale.and_then(languages::supported) {
            // Appended as text: the rest of the query is a token, to be left as it is.
            let query = url.query().map_or_else(String::new, |query| format!("{query}&"));
            url.set_query(Some(&format!("{query}locale={language}")));
        }
        Ok(View { url: Private::new(url.into()), trace: answer.trace() })
    }

    /// Who may frame the signing pages, and whom they may send messages to. For a site that frames them,
    /// the upstream's own pages stand in between (how-to/request-signature-focused-view, read 2026-08).
    fn frames<'a>(&'a self, site: &'a [String]) -> (Vec<&'a str>, Vec<&'a str>) {
        if site.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let own = self.apps_origin;
        let others = site.iter().map(String::as_str).filter(|origin| *origin != own);
        (others.chain([own]).collect(), vec![own])
    }
}
