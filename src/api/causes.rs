//! From what went wrong to the problem that a caller reads: the one place that says which code an error of another
//! module has, what is told of it, and what to do where that is not the usual for its code. What is wrong with a
//! request itself is said where that is read.
//!
//! What exactly is wrong inside (a store, a disk) is the operator's, not the caller's, and is logged here.

use std::time::Duration;

use super::problem::{Problem, Provider, code};
use crate::{
    auth,
    domain::{Failure, SignerStatus, SigningId, SigningStatus},
    esign,
    events::{ReplayError, endpoints},
    objects::Invalids,
    pairing::{self, NotMade},
    signing::{self, MAX_WAITING, MAX_WAITING_OF_ONE},
    spool, store,
    telemetry::chain,
};

impl From<Invalids> for Problem {
    fn from(faults: Invalids) -> Self {
        Self::invalid(faults)
    }
}

impl From<store::Error> for Problem {
    /// What exactly is wrong is the operator's, not the caller's.
    fn from(error: store::Error) -> Self {
        tracing::error!(%error, "the store failed");
        let (detail, after) = match error {
            store::Error::Conflict => ("the same thing was changed at the same moment", 1),
            store::Error::Unavailable(_) => ("the daemon's own store does not answer, or is full", 5),
            store::Error::Unusable(_) => ("the daemon's own store is damaged, and needs its operator", 60),
        };
        Self::new("store_unavailable", detail).retry_after(Duration::from_secs(after))
    }
}

impl From<&auth::Error> for Problem {
    /// Of a sender that is gone, or has nobody who could consent; what a call was refused for is in
    /// [`esign::Error`].
    fn from(error: &auth::Error) -> Self {
        let problem = Self::new(error.code(), error.to_string());
        if error.retry_after().is_some() { problem.retry_after(Duration::from_secs(5)) } else { problem }
    }
}

impl From<esign::Error> for Problem {
    fn from(error: esign::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&esign::Error> for Problem {
    fn from(error: &esign::Error) -> Self {
        let provider = error.said().map_or_else(Provider::default, |said| Provider {
            http_status: Some(said.status),
            code: said.code,
            trace: said.trace,
        });
        let problem = Self::new(error.code(), signing::detail(error)).provider(provider);
        let problem = match next_step(error) {
            Some(fix) => problem.fix(fix),
            None => problem,
        };
        match error {
            esign::Error::CheckSpent { until, .. } | esign::Error::Limited { until, .. } => {
                problem.at(*until)
            }
            // Nobody knows when the period of the plan ends, and each try costs a call.
            esign::Error::Rejected(rejection)
                if rejection.kind == esign::RejectionKind::AllowanceExceeded =>
            {
                problem.for_good()
            }
            // Uploads of that size last as long.
            esign::Error::Rejected(rejection) if rejection.kind == esign::RejectionKind::UploadsAlike => {
                problem.retry_after(Duration::from_secs(30))
            }
            esign::Error::Auth(cause) if problem.is_passing() => match &**cause {
                auth::Error::ConnectionBusy { until } => problem.at(*until),
                auth::Error::TokenRefused { retry_after: Some(after) } => problem.retry_after(*after),
                _ => problem.retry_after(Duration::from_secs(5)),
            },
            _ if problem.is_passing() => problem.retry_after(Duration::from_secs(5)),
            _ => problem,
        }
    }
}

/// What to do about a failure upstream, where its code alone does not say it: the same code stands for several
/// causes. Where the code says it, its words are better, because they know of our calls and keys.
fn next_step(error: &esign::Error) -> Option<&'static str> {
    match error {
        esign::Error::Auth(cause) => match &**cause {
            // The problem links to where consent is given.
            auth::Error::Closed
            | auth::Error::ConnectionBusy { .. }
            | auth::Error::ConnectionChanged
            | auth::Error::ConsentRequired(_)
            | auth::Error::Unavailable { .. }
            | auth::Error::Unreachable(_) => None,
            other => Some(other.fix()),
        },
        esign::Error::CheckSpent { .. }
        | esign::Error::Deadline
        | esign::Error::OtherAccount { .. }
        | esign::Error::SendAgain
        | esign::Error::SmsToSender
        | esign::Error::Unrecorded => Some(error.fix()),
        // Nothing was stored: the same call, with the same key, works once the cause is gone.
        esign::Error::Rejected(rejection) => Some(rejection.kind.fix()),
        _ => None,
    }
}

impl From<signing::Error> for Problem {
    fn from(error: signing::Error) -> Self {
        use signing::Error;
        match error {
            Error::BrokenOff { is_stopping: true } => Self::shutting_down(),
            Error::BrokenOff { is_stopping: false } => Self::broken_off(),
            Error::Busy { retry_after } => {
                Self::new("provider_unavailable", "too many creates already wait for DocuSign")
                    .retry_after(retry_after)
            }
            Error::Closed(status) => {
                Self::new("signing_closed", format!("the signing is {}", status.as_str()))
            }
            Error::Download(error) => Self::from(&*error),
            Error::DailyCap { cap, until } => {
                Self::new("quota_exceeded", format!("this caller has reached its limit of {cap} signings a day; those that DocuSign refused count, too"))
                    .fix("Repeat the call when the day ends (UTC), at retry_at, or have the operator raise daily_signings of [callers.NAME] (SIGHUP).")
                    .at(until)
            }
            Error::Failed { failure, signing, replayed } => {
                Self::of_failure(&failure, signing).replayed(replayed)
            }
            Error::InProgress { signing, retry_after } => {
                Self::new("idempotency_in_progress", "the first call with this key has no outcome yet")
                    .link("signing", format!("/v1/signings/{signing}"))
                    .retry_after(retry_after)
            }
            Error::Invalid(faults) => faults.into(),
            Error::KeyReused { signing } => {
                Self::new("idempotency_key_reused", "the key belongs to a request with another body")
                    .link("signing", format!("/v1/signings/{signing}"))
            }
            Error::LinkOver => Self::new("link_revoked", "the link was revoked, or its time is over"),
            Error::NoPublicListener => {
                Self::new("invalid_request", "there are no links: public.base_url is not set")
            }
            Error::NoReturnUrl => {
                Self::new("invalid_request", "the signer has no return_url, and public.base_url is not set")
            }
            Error::NotFound => Self::not_found(),
            Error::NoCheck => Self::new("signer_not_ready", "the signer was given no check by SMS, so there is no number to correct")
                .fix("Void the signing and make a new one with sms_auth, or set an access code for this signer (POST …/access_code).")
                .for_good(),
            Error::NotCompleted(status) => Self::not_completed(status),
            Error::NotEnded(status) => Self::not_ended(status),
            Error::NotOpen(status) => Self::not_open(format!("the signing is {}", status.as_str())),
            Error::NotReady { status, signing } => Self::not_ready(status, signing),
            Error::PollingBudget { retry_at } => {
                Self::new("polling_budget", "the status of this envelope was asked for within the last 15 minutes")
                    .at(retry_at)
            }
            Error::Purged => {
                Self::new("signing_closed", "the documents were destroyed at DocuSign, as was asked for")
            }
            Error::Store(error) => error.into(),
            Error::TimeOver => Self::time_over(),
            Error::TooManyWaiting { retry_after } => Self::too_many_waiting(retry_after),
            Error::TooOften { retry_after } => {
                Self::new("quota_exceeded", "views were made for this signer too often in a short time")
                    .fix("Repeat the call after the time in Retry-After; no setting raises this limit.")
                    .retry_after(retry_after)
            }
            Error::Upstream(error) => error.into(),
            Error::ViewLive { until } => {
                Self::new("signer_not_ready", "another view of this envelope may be open")
                    .fix("Ask again at retry_at, when that view is surely over.")
                    .at(until)
            }
        }
    }
}

impl From<&signing::DownloadError> for Problem {
    fn from(error: &signing::DownloadError) -> Self {
        match error {
            signing::DownloadError::Upstream(error) => error.into(),
            signing::DownloadError::Spool(error) => error.into(),
        }
    }
}

impl From<&spool::Error> for Problem {
    fn from(error: &spool::Error) -> Self {
        let problem = match error {
            spool::Error::Full => Self::new(
                "quota_exceeded",
                "the space for documents on their way is used up (documents.spool_limit)",
            )
            .fix("Repeat the call after the time in Retry-After, or have the operator raise documents.spool_limit (a restart)."),
            spool::Error::Io(error) => {
                tracing::error!(%error, "a document cannot be kept in documents.spool_dir");
                Self::new("store_unavailable", "the daemon's own disk does not take or give the document")
                    .fix("Repeat the same call after the time in Retry-After; the operator looks at the disk of documents.spool_dir: the daemon's log says what is wrong with it.")
            }
        };
        problem.retry_after(Duration::from_secs(30))
    }
}

impl From<pairing::Error> for Problem {
    fn from(error: pairing::Error) -> Self {
        // Without a code it was destroyed meanwhile, here or at another daemon.
        let Some(code) = error.code() else { return Self::not_found() };
        let detail = match error {
            pairing::Error::Store(_) | pairing::Error::Unrecorded => {
                tracing::error!(error = %chain(&error), "a sender was not made, changed or disconnected");
                "it could not be written down, so nothing was changed".to_owned()
            }
            _ => error.to_string(),
        };
        let problem = Self::new(code, detail);
        let problem = match error.fix() {
            Some(fix) => problem.fix(fix),
            None => problem,
        };
        if problem.is_passing() { problem.retry_after(Duration::from_secs(5)) } else { problem }
    }
}

impl From<NotMade> for Problem {
    fn from(error: NotMade) -> Self {
        match error {
            NotMade::NameTaken => Invalids::one("/name", error.to_string()).into(),
            NotMade::UserMissing | NotMade::UserUnwanted => {
                Invalids::one("/user_id", error.to_string()).into()
            }
            NotMade::UserTaken => Self::new("forbidden", error.to_string()).fix(
                "Name a user of this caller's own in user_id. If a sender of the settings acts as that user, have it \
                 listed in callers.NAME.senders for this caller.",
            ),
            NotMade::NoPattern => Self::new("forbidden", error.to_string())
                .fix("Have the daemon started again: senders of the settings are read at its start."),
            NotMade::TooMany => Self::new("forbidden", error.to_string())
                .fix("Use a sender that this caller has made (PATCH /v1/senders/{name} changes its user), or another caller."),
            NotMade::Failed(cause) => cause.into(),
        }
    }
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::EndpointDisabled => Self::new(
                "endpoint_disabled",
                "the endpoint of this delivery is switched off, so it would wait and not be sent",
            ),
            ReplayError::EndpointGone => Self::new(
                "not_found",
                "the endpoint of this delivery is gone; the event is in GET /v1/events",
            ),
            ReplayError::NotFound => Self::not_found(),
            ReplayError::Store(error) => error.into(),
        }
    }
}

impl From<endpoints::Error> for Problem {
    fn from(error: endpoints::Error) -> Self {
        match error {
            endpoints::Error::Forbidden(why) => Invalids::one("/url", why.to_string()).into(),
            endpoints::Error::InSettings => {
                Self::new("forbidden", "this endpoint is in the settings, and changes only there; here it can be switched on")
                    .fix("Change [webhooks.NAME] in the settings, and have them read again (SIGHUP).")
            }
            endpoints::Error::NotFound => Self::not_found(),
            endpoints::Error::Store(error) => error.into(),
            error @ endpoints::Error::TooMany => Self::new("quota_exceeded", error.to_string())
                .fix("Delete an endpoint that is not used any more (DELETE /v1/webhook_endpoints/{id}), and make the new one.")
                .for_good(),
        }
    }
}

/// The answers to what comes too early, each with what to wait for.
impl Problem {
    /// A signing whose envelope is not known to exist yet.
    fn not_open(detail: String) -> Self {
        Self::new("signer_not_ready", detail)
            .fix("Wait for the event signing.opened (GET …/wait), and ask again: DocuSign has not confirmed the envelope yet.")
    }

    /// A signer who cannot sign now.
    fn not_ready(signer: SignerStatus, signing: SigningStatus) -> Self {
        let detail = format!("the signer is {}, and the signing is {}", signer.as_str(), signing.as_str());
        if signing != SigningStatus::Open {
            return Self::not_open(detail);
        }
        let problem = Self::new("signer_not_ready", detail);
        match signer {
            SignerStatus::AuthFailed => problem
                .fix("Lift the lock: give the signer another number (POST …/phone) or another access code (POST …/access_code), and ask again.")
                .for_good(),
            SignerStatus::Declined | SignerStatus::Signed => {
                problem.fix("Read the signing: this signer is done, and needs no further view.").for_good()
            }
            SignerStatus::InSession | SignerStatus::Ready | SignerStatus::Waiting => problem,
        }
    }

    /// Documents and evidence, asked for before there are any.
    fn not_completed(signing: SigningStatus) -> Self {
        let is_over = signing.is_terminal();
        let detail =
            format!("the signing is {}, and its documents can be had once it is completed", signing.as_str());
        if is_over {
            Self::new("signing_closed", detail)
                .fix("Read the signing for how it ended: only a completed one has signed documents, and this one will never be.")
        } else {
            Self::new("signer_not_ready", detail)
                .fix("Wait for the event document.available (or signing.completed), and ask again.")
        }
    }

    /// A view or a link of what has expired, though DocuSign has not said so yet.
    fn time_over() -> Self {
        Self::new("signing_closed", "the signing has expired: its time (expires_in) is over")
            .fix("Make a new signing, with a longer expires_in if needed: this one ends with the event signing.expired, once DocuSign has confirmed it, or with signing.failed if its create was still waiting.")
    }

    /// A wait for news, where there is no place for it.
    fn too_many_waiting(retry_after: Duration) -> Self {
        let detail = format!(
            "{MAX_WAITING_OF_ONE} calls of this caller wait for news of signings already, or {MAX_WAITING} of all"
        );
        Self::new("quota_exceeded", detail)
            .fix("Repeat the call after the time in Retry-After, or wait for all signings by one stream (GET /v1/events with Accept: text/event-stream). No setting raises this limit.")
            .retry_after(retry_after)
    }

    /// A purge of what still goes on.
    fn not_ended(signing: SigningStatus) -> Self {
        let detail = format!(
            "the signing is {}, and only the documents of one that has ended can be purged",
            signing.as_str()
        );
        Self::new("signer_not_ready", detail)
            .fix("Wait for its end (the event signing.completed, declined, voided or expired), or void it first (POST …/void), and ask again.")
    }
}

/// What mends the cause for which the upstream refused a create: its own code tells it better than ours. For one that we
/// do not know, ours says what to do.
fn mended(failure: &Failure) -> Option<String> {
    let fix = match failure.provider_status {
        Some(status) => {
            let kind = esign::RejectionKind::of_kept(status, failure.provider_code.as_deref())?;
            let is_it = kind != esign::RejectionKind::Other && kind.code() == failure.code;
            is_it.then(|| kind.fix())?
        }
        // It was never sent, because no code by SMS can go to somebody; its key is used up all the same.
        None => (failure.code == esign::Error::SmsToSender.code()).then(|| code(&failure.code).fix)?,
    };
    Some(format!("{fix} Then make a new signing with a new Idempotency-Key."))
}

impl Problem {
    /// Why a create has failed, as its key answers from then on (rule E3). So it must not come with a status for which
    /// clients send the same call again, which some causes have that keep creates waiting until their time is over.
    fn of_failure(failure: &Failure, signing: SigningId) -> Self {
        let is_passing = matches!(code(&failure.code).status, 409 | 429 | 500..);
        let problem = if is_passing && failure.code != "outcome_unknown" {
            Self::new("invalid_request", format!("{} ({})", failure.detail, failure.code)).fix(
                "Have removed what was in the way, and make a new signing with a new Idempotency-Key: this one will not be sent.",
            )
        } else {
            Self::new(&failure.code, failure.detail.clone())
        };
        let problem = match mended(failure).filter(|_| !is_passing) {
            Some(fix) => problem.fix(fix),
            None => problem,
        };
        problem.link("signing", format!("/v1/signings/{signing}")).provider(Provider {
            http_status: failure.provider_status,
            code: failure.provider_code.clone(),
            trace: failure.provider_trace.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;

    fn fix(code: &str, status: u16, said: Option<&str>) -> String {
        fix_of(&Failure {
            provider_code: said.map(str::to_owned),
            provider_status: Some(status),
            ..Failure::ours(code, "the upstream refused")
        })
    }

    fn fix_of(failure: &Failure) -> String {
        let problem = Problem::of_failure(failure, SigningId::from_uuid(Uuid::from_u128(1)));
        let document: Value = serde_json::from_slice(&problem.document("req")).unwrap();
        document["fix"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_create_that_was_refused_says_what_mends_its_own_cause() {
        for (ours, said, part) in [
            (
                "provider_rejected",
                "INVALID_EMAIL_ADDRESS_FOR_RECIPIENT",
                "Correct the signer's e-mail address.",
            ),
            ("provider_rejected", "UNABLE_TO_LOAD_DOCUMENT", "Send a PDF that opens without a password"),
            ("provider_rejected", "TEMPLATE_ID_INVALID", "Check the template's id in [templates]"),
            ("phone_invalid", "invalid_phone_number", "Correct the signer's phone number."),
            ("anchor_not_found", "ANCHOR_TAB_STRING_NOT_FOUND", "real text in the PDF"),
        ] {
            let fix = fix(ours, 400, Some(said));
            assert!(fix.contains(part) && fix.contains("a new Idempotency-Key"), "{said}: {fix}");
        }
        // What we know nothing of, and what only looks like it.
        for said in [None, Some("OF_A_LATER_YEAR"), Some("INVALID_PHONE_NUMBER")] {
            assert_eq!(fix("provider_rejected", 400, said), code("provider_rejected").fix, "{said:?}");
        }
        assert!(fix("provider_unavailable", 503, None).contains("this one will not be sent"));
    }

    #[test]
    fn a_create_that_was_never_sent_for_want_of_a_code_by_sms_asks_for_a_new_key() {
        for (cause, part) in [
            (esign::Error::SmsToSender, "a mailbox that no signer has"),
            (esign::Error::SmsAuthUnavailable, "phone authentication switched on"),
        ] {
            let detail = format!("its time was over; at the last try: {cause}");
            let fix = fix_of(&Failure::ours(cause.code(), &detail));
            assert!(fix.contains(part) && fix.contains("a new Idempotency-Key"), "{fix}");
        }
        let fix = fix_of(&Failure::ours("template_role_mismatch", "no such role"));
        assert_eq!(fix, code("template_role_mismatch").fix);
    }
}
