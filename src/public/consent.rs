//! `/consent/callback`: an administrator comes back from the consent page (rule T11).
//!
//! The code is exchanged at once, only to learn who consented: consent counts for that user alone. The
//! page says what to do; it holds no token and no id.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    response::Response,
};
use url::form_urlencoded;

use crate::{
    audit::{Act, Entry},
    auth::{
        ConsentOutcome, Error,
        consent::{Consent, PkceVerifier},
        grant::{ClientProof, harmless},
    },
    bucket::Bucket,
    pairing::Answer,
    public::{
        Public,
        pages::{ConsentPage, Details, Page},
        request,
    },
};

/// So many answers without our state wake those without consent, and then one in half a minute. Such an answer costs
/// whoever sends it nothing, and us an exchange and a line of the audit log for each sender. For the whole process,
/// because whoever has many networks would have many allowances.
const WAKES: Bucket = Bucket::new(3.0, 1.0 / 30.0);

/// Whether those without consent may be woken once more.
#[derive(Debug)]
pub(super) struct Wakes(Mutex<Bucket>);

impl Default for Wakes {
    fn default() -> Self {
        Self(Mutex::new(WAKES))
    }
}

impl Wakes {
    fn is_due(&self, uptime: Duration) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(uptime).is_ok()
    }
}

/// What the consent page sent along.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    code: Option<String>,
    error: Option<String>,
    state: Option<String>,
}

/// GET: takes the answer of the consent page.
pub(super) async fn callback(State(public): State<Arc<Public>>, request: Request) -> Response {
    let head = request.into_parts().0;
    let query = Query::of(head.uri.query().unwrap_or_default());
    let language = request::language(None, &head.headers);
    let answer = match (&query.code, &query.error) {
        (_, Some(word)) => Answer::Refused(word),
        (Some(code), None) => Answer::Code(code),
        (None, None) => Answer::Nothing,
    };
    if let Some(answer) = public.connected(&head, query.state.as_deref(), answer).await {
        return answer;
    }
    let address = request::address(&head, &public.settings.proxies);
    let asked = query.state.as_deref().and_then(|state| public.consents.open(state, public.clock.now()));
    let page = match (asked, query) {
        (None, _) if !public.guesses.allows(address, public.clock.uptime()) => Page::TooMany,
        (None, Query { error: Some(word), .. }) => Page::Consent(refused(None, &word)),
        (None, Query { state, code, .. }) => {
            public.wake_those_without_consent().await;
            // The link for an organisation has no state: its administrator is nobody's user.
            let is_organisation = state.is_none() && code.is_some();
            Page::Consent(if is_organisation { ConsentPage::Organisation } else { ConsentPage::Received })
        }
        (Some((sender, _)), Query { error: Some(word), .. }) => Page::Consent(refused(Some(&sender), &word)),
        // A state may come back as often as somebody likes, and each code costs an exchange and a line of the audit
        // log. Counted apart from wrong addresses: no stranger keeps an administrator from consenting.
        (Some(_), Query { code: Some(_), .. })
            if !public.exchanges.allows(address, public.clock.uptime()) =>
        {
            Page::TooMany
        }
        (Some((sender, verifier)), Query { code: Some(code), .. }) => {
            let entry = Entry::new(Act::ConsentTaken, &sender);
            if let Err(error) = public.signings.audit().record(entry).await {
                tracing::error!(sender, %error, "consent not taken up: the audit log cannot be written");
                return public.page(language, &Page::Consent(ConsentPage::Failed), &Details::default(), &[]);
            }
            Page::Consent(page(sender.clone(), public.completed(sender, code, verifier).await))
        }
        (Some(_), _) => Page::Consent(ConsentPage::Failed),
    };
    public.page(language, &page, &Details::default(), &[])
}

impl Public {
    /// Takes consent up, also if the browser has left: the sender is to act at once, and the code works once.
    async fn completed(
        &self,
        sender: String,
        code: String,
        verifier: PkceVerifier,
    ) -> Result<ConsentOutcome, Arc<Error>> {
        let auth = self.auth.clone();
        let secret = self.settings.client_secrets.get(&sender).cloned();
        let outcome = self.life.outcome_of("take up consent", async move {
            let proof = match &secret {
                Some(secret) => ClientProof::Secret(secret, Some(&verifier)),
                None => ClientProof::Public(Some(&verifier)),
            };
            auth.complete_consent(&sender, &code, proof).await
        });
        outcome.await.unwrap_or_else(|| Err(Arc::new(Error::Closed)))
    }

    /// An answer without our state may be the end of a link that somebody typed: consent, if it was given,
    /// counts all the same. Only senders that lack it are asked to try again, and not again for a while: whether
    /// anybody consented cannot be told.
    async fn wake_those_without_consent(&self) {
        if !self.wakes.is_due(self.clock.uptime()) {
            return;
        }
        for sender in self.auth.statuses_that_tell() {
            if sender.consent == Consent::Missing {
                // A sender that is gone needs no wake-up.
                let _ = self.auth.wake(&sender.name).await;
            }
        }
    }
}

/// What else of it the page names (RFC 6749, 4.1.2.1): a word that somebody made up is shown to nobody.
const KNOWN: [&str; 4] =
    ["invalid_request", "invalid_scope", "unauthorized_client", "unsupported_response_type"];

/// What the consent page answered instead of a code (RFC 6749, 4.1.2.1): only one of its words is a person's.
fn refused(sender: Option<&str>, word: &str) -> ConsentPage {
    if word == "access_denied" {
        return ConsentPage::Denied;
    }
    tracing::warn!(sender, error = harmless(word), "the consent page answered with an error");
    match word {
        "consent_required" => ConsentPage::Denied,
        "server_error" | "temporarily_unavailable" => ConsentPage::Unavailable,
        other => {
            let known = KNOWN.into_iter().find(|known| *known == other);
            ConsentPage::Refused { code: known.unwrap_or("unknown") }
        }
    }
}

fn page(sender: String, outcome: Result<ConsentOutcome, Arc<Error>>) -> ConsentPage {
    match outcome {
        Ok(ConsentOutcome::Granted) => {
            tracing::info!(sender, "consent was granted");
            ConsentPage::Granted { sender }
        }
        Ok(ConsentOutcome::GrantedButFailing) => {
            tracing::warn!(sender, "consent was granted, and the sender still cannot act");
            ConsentPage::Failed
        }
        Ok(ConsentOutcome::OtherUser { .. }) => {
            tracing::warn!(sender, "another user than the configured one consented");
            ConsentPage::WrongUser { sender }
        }
        Err(error) => {
            tracing::warn!(sender, code = error.code(), "the consent page's code was not exchanged");
            ConsentPage::Failed
        }
    }
}

impl Query {
    fn of(query: &str) -> Self {
        let mut found = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let field = match &*name {
                "code" => &mut found.code,
                "error" => &mut found.error,
                "state" => &mut found.state,
                _ => continue,
            };
            // Of several, the first: a second one was put there by somebody else.
            field.get_or_insert_with(|| value.into_owned());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_parameter_counts() {
        let query = Query::of("state=a%20b&code=c&state=evil&x=y&code=evil");
        assert_eq!(query, Query { code: Some("c".into()), error: None, state: Some("a b".into()) });
        assert_eq!(Query::of(""), Query::default());
    }

    #[test]
    fn t11_of_many_answers_without_our_state_few_wake_anybody() {
        let wakes = Wakes::default();
        let due: Vec<_> = (1_000..1_090).filter(|at| wakes.is_due(Duration::from_secs(*at))).collect();
        assert_eq!((&due[..3], due.len()), (&[1_000, 1_001, 1_002][..], 5), "{due:?}");
    }

    #[test]
    fn t11_each_outcome_has_its_page() {
        let granted = page("system".into(), Ok(ConsentOutcome::Granted));
        assert_eq!(granted, ConsentPage::Granted { sender: "system".into() });
        assert_eq!(page("system".into(), Ok(ConsentOutcome::GrantedButFailing)), ConsentPage::Failed);
        let error = Arc::new(crate::auth::Error::SenderUnknown);
        assert_eq!(page("system".into(), Err(error)), ConsentPage::Failed);
    }
}
