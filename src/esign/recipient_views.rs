//! Recipient views: the URL at which one embedded recipient signs, once, within five minutes.

use http::Method;
use jiff::Timestamp;
use url::Url;

use super::{
    Acting, Client, Error,
    call::{Announcement, Call},
    languages, wire,
};
use crate::{
    budget::Operation,
    clock::Deadline,
    domain::{EnvelopeId, Private, draft::MAX_UPSTREAM_RETURN_URL},
    http_client::is_callable,
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
    /// Mints a view. One that was live before is dead after (rule L2 is the caller's to keep). It is announced when nothing
    /// holds it back any more.
    pub async fn recipient_view(
        &self,
        acting: &Acting,
        envelope: &EnvelopeId,
        request: &ViewRequest<'_>,
        deadline: Deadline,
        announcement: Option<Announcement>,
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
        let answer = self.call(acting, call.announced(announcement)).await?;
        let view: wire::answers::View = answer.decode()?;
        let language = request.locale.and_then(languages::supported);
        let usable = view.url.and_then(|text| plain(&text, language).or_else(|| parsed(&text, language)));
        let url = usable.ok_or_else(|| answer.bad("it holds no usable URL"))?;
        Ok(View { url: Private::new(url), trace: answer.trace() })
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

/// A view's URL with its language. A browser is sent there: it has to be a web address, and an encrypted one unless it
/// is this machine's.
fn parsed(text: &str, language: Option<&str>) -> Option<String> {
    let mut url = Url::parse(text).ok().filter(is_callable)?;
    if let Some(language) = language {
        // Appended as text: the rest of the query is a token, to be left as it is.
        let query = url.query().map_or_else(String::new, |query| format!("{query}&"));
        url.set_query(Some(&format!("{query}locale={language}")));
    }
    Some(url.into())
}

/// The same without taking the whole URL apart, which is long: of one whose beginning, up to the path, comes out of a
/// parser as it is, and whose rest holds nothing that a parser changes. Of others nothing is said.
fn plain(text: &str, language: Option<&str>) -> Option<String> {
    let rest = text.splitn(4, '/').nth(3)?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    // Segments that are dots would be taken out.
    let is_segment = |segment: &str| !segment.starts_with('.') && segment.bytes().all(is_unreserved);
    let is_of_query = |byte: u8| is_unreserved(byte) || matches!(byte, b'%' | b'&' | b'+' | b'=');
    if !(path.split('/').all(is_segment) && query.bytes().all(is_of_query)) {
        return None;
    }
    let site = text.strip_suffix(rest)?;
    Url::parse(site).ok().filter(|url| is_callable(url) && url.as_str() == site)?;
    Some(match language {
        Some(language) if rest.contains('?') => format!("{text}&locale={language}"),
        Some(language) => format!("{text}?locale={language}"),
        None => text.to_owned(),
    })
}

/// What stands for itself everywhere in a URL (RFC 3986, 2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_docusign_answers_need_not_be_taken_apart() {
        for url in [
            "https://demo.docusign.net/Signing/MTRedeem/v1/6f1a?slt=eyJ0eXAi.T1QiLCJ-_%2B%3d",
            "https://na3.docusign.net/Signing/StartInSession.aspx?code=1&persistent_auth_token=no_client_token",
            "http://127.0.0.1:8443/Signing/MTRedeem/v1/6f1a?slt=a",
            "https://localhost:8443/",
        ] {
            assert_eq!(plain(url, None).as_deref(), Some(url));
        }
    }

    #[test]
    fn what_a_parser_would_change_or_refuse_is_left_to_it() {
        for url in [
            "https://demo.docusign.net",
            "HTTPS://demo.docusign.net/a",
            "https://demo.docusign.net:443/a",
            "https://demo.docusign.net\\a/b",
            "https:/demo.docusign.net/a/b",
            "https://demo.docusign.net/a/../b",
            "https://demo.docusign.net/%2e%2e/b",
            "https://demo.docusign.net/a?b=c d",
            "https://demo.docusign.net/a?b='",
            "https://demo.docusign.net/a#b",
            " https://demo.docusign.net/a",
            "https://demo.docu\tsign.net/a",
            "http://demo.docusign.net/a",
            "https://127.1/a",
            "https:///a/b",
            "javascript://a/b",
            "/a/b/c/d",
            "",
        ] {
            assert_eq!(plain(url, None), None, "{url}");
        }
    }

    proptest! {
        #[test]
        fn either_way_a_view_has_one_url(
            site in "(https?|ftp):/{1,3}([a-z0-9.@-]{0,9}|127\\.0\\.0\\.1|localhost)(:[0-9]{0,5})?[/?#]?",
            rest in "([a-zA-Z0-9/.?%&=+_~-]{0,20}|[ -~]{0,12}|\\PC{0,6})",
            has_language in any::<bool>(),
        ) {
            let (text, language) = (format!("{site}{rest}"), has_language.then_some("fr_CA"));
            if let Some(url) = plain(&text, language) {
                prop_assert_eq!(Some(url), parsed(&text, language));
            }
        }
    }
}
