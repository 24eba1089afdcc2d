//! One page a code: what it means, why it comes, what to do, and how it looks.

use maud::{Markup, html};
use serde_json::Value;

use super::{block, prose};
use crate::{
    api::{
        Problem,
        openapi::examples,
        problem::{CODES, Code, Provider},
    },
    objects::Invalids,
};

/// Every code, with the way to its page.
pub(super) fn list() -> Markup {
    html! {
        p { a href="/docs#codes" { "The API" } }
        h1 { "Codes" }
        ul {
            @for one in CODES {
                li { a href=(format!("/docs/errors/{}", one.code)) { code { (one.code) } } ": " (one.title) "." }
            }
        }
    }
}

/// The page of a code.
pub(super) fn page(code: &Code) -> Markup {
    html! {
        main.alone #content {
            p { a href="/docs#codes" { "All codes" } }
            h1 { code { (code.code) } }
            p { strong { (code.title) } ". It comes with HTTP status " (code.status) "." }
            h2 { "Why" }
            p { (prose(row(code.code).0)) }
            h2 { "What to do" }
            p { (prose(code.fix)) }
            h2 { "Repeating the call" }
            p {
                @if code.retryable {
                    "The same call may succeed later without anybody doing anything. Wait for the time in "
                    code { "Retry-After" } " where there is one, and keep the same " code { "Idempotency-Key" } "."
                } @else {
                    "The same call will be refused again until something is changed."
                }
            }
            h2 { "Such as" }
            pre tabindex="0" { code { "HTTP/1.1 " (code.status) "\nContent-Type: application/problem+json" } }
            (block(&example(code)))
        }
    }
}

/// A problem of that code, as the API writes it: of a place in the body where the detail begins with one.
pub(in crate::api::openapi) fn example(code: &Code) -> Value {
    let detail = row(code.code).1;
    let problem = match detail.split_once(' ').filter(|_| detail.starts_with('/')) {
        Some((pointer, what)) => Problem::invalid(Invalids::of(pointer, code.code, what)),
        None => Problem::new(code.code, detail),
    };
    let problem = if code.code == "consent_required" { with_way_out(problem) } else { problem };
    let document = problem.document("4f0c3a52b7d84d6f9a1be2c07d5e8f31");
    serde_json::from_slice(&document).unwrap_or_default()
}

/// What comes with the code that everybody meets first: where to consent, and what DocuSign said.
fn with_way_out(problem: Problem) -> Problem {
    let consent = examples::of("Consent").unwrap_or_default();
    let said = Provider { http_status: Some(400), code: Some("consent_required".to_owned()), trace: None };
    problem.link("consent", consent["individual_url"].as_str().unwrap_or_default().to_owned()).provider(said)
}

/// What leads to a code, and what the detail may say.
fn row(code: &str) -> (&'static str, &'static str) {
    WHY.iter().find(|(name, ..)| *name == code).map_or(("", ""), |(_, why, detail)| (why, detail))
}

/// Code, why it comes, an example of its detail.
const WHY: &[(&str, &str, &str)] = &[
    (
        "anchor_not_found",
        "The text that an anchor names was looked for in the PDF's own text and is not there. DocuSign would place no field and the signer could not sign, so nothing was sent.",
        "/documents/0/anchors/sign this text is not in the document",
    ),
    (
        "clock_skew",
        "DocuSign refuses what a machine with a wrong clock signs. Small errors are corrected for; this one could not be.",
        "this machine's clock is 2 h ahead of DocuSign's",
    ),
    (
        "consent_required",
        "A sender acts only after the impersonated user, or an administrator, has consented once to the integration key and its scopes; that has not happened yet, or it was withdrawn.",
        "the user of sender \"system\" has not consented to signature, impersonation",
    ),
    (
        "content_encoding_unsupported",
        "Bodies are taken as they are: one that is said to be compressed is not unpacked here, and not passed on. The header Accept-Encoding of the answer says so, too.",
        "the body has a Content-Encoding, and is taken without one alone",
    ),
    (
        "endpoint_disabled",
        "The receiver answered 410, which says that it wants no more, or its caller switched the endpoint off. Nothing is sent there until it is switched on again.",
        "the endpoint of this delivery is switched off, so it would wait and not be sent",
    ),
    (
        "forbidden",
        "The key is valid, and the settings do not let this caller use what the request names; or nobody may do that here, such as passing on a call that is not on the list. The fix says which.",
        "this caller may not use the template",
    ),
    (
        "idempotency_in_progress",
        "An earlier call with the same key has begun and has no outcome yet. Two at once would risk two envelopes.",
        "the first call with this key has no outcome yet",
    ),
    (
        "idempotency_key_missing",
        "A create without a key could not be repeated safely after a lost answer, so it is not begun.",
        "there is no header Idempotency-Key",
    ),
    (
        "idempotency_key_reused",
        "The key already belongs to a request with another body. One key stands for one order. Bodies are compared byte by byte: the same JSON with other blanks, or with its members in another order, is another body.",
        "the key belongs to a request with another body",
    ),
    (
        "internal",
        "A handler broke off, which is a fault of this program. What the call had done by then stays done, and what had been accepted is finished.",
        "the call broke off, through a fault of this program",
    ),
    (
        "invalid_request",
        "The request is not of the form that the operation takes. Every fault is listed in errors with a JSON pointer. Or a create was accepted and could not be sent before its time was over: the detail says what was in the way, and the `failure` of the signing has its code.",
        "/signers/0/email is not of the form name@example.com",
    ),
    (
        "issuer_unavailable",
        "The bearer is a token of an issuer of the settings, whose keys could not be read for too long. Whether it is good cannot be known now.",
        "the issuer's keys cannot be read at the moment",
    ),
    (
        "key_rejected",
        "DocuSign accepts no signature of the sender's private keys: the public half is not registered for this integration key, or in another environment.",
        "the account server accepts none of the sender's keys",
    ),
    ("link_revoked", "The link was taken back and leads nowhere any more.", "the link was revoked"),
    (
        "method_not_allowed",
        "The path exists and does not know this method; the header Allow lists those it knows.",
        "this path does not take this method",
    ),
    (
        "not_found",
        "There is no such path or object, or it belongs to another caller, which looks the same on purpose.",
        "there is nothing here for this caller",
    ),
    (
        "outcome_unknown",
        "A call that was passed through and makes an envelope was sent, and no answer to it came. DocuSign may have made the envelope, and a second call would make another one. Or a signing has failed with this: its create was in doubt, and look-ups did not show its outcome until the Idempotency-Key was about to lapse.",
        "POST envelopes was sent, and its answer was lost: the envelope may exist",
    ),
    (
        "payload_too_large",
        "The body is larger than api.body_limit, larger than 64 KiB where the call takes no documents, or larger than what DocuSign takes.",
        "the body is larger than 50 MiB",
    ),
    (
        "phone_invalid",
        "The number could not receive a code as it is written, so nothing was sent.",
        "/signers/0/sms_auth/phone must start with + and the country calling code, as in +4915112345678",
    ),
    (
        "polling_budget",
        "DocuSign blocks applications that ask for one envelope's status more than once in 15 minutes; countersign keeps to that whatever callers do.",
        "the status of this envelope was asked for within the last 15 minutes",
    ),
    (
        "precondition_failed",
        "The header If-Match lists ETags of a document, and the document that is here has none of them. A weak one (`W/`) is never the same.",
        "the document is none of those that If-Match names",
    ),
    (
        "provider_rate_limited",
        "The account's calls of this hour or these 30 seconds are spent, or kept for people who are already signing. Or DocuSign refused a create with UNSPECIFIED_ERROR and no reason: it does so while more than 70 uploads of the same document are under way, over all accounts. The key stays free.",
        "no further calls are allowed until 2026-06-01T13:00:00Z",
    ),
    (
        "provider_rejected",
        "DocuSign understood the request and refuses it. Its code is in provider.code.",
        "the upstream refused: The envelope is incomplete.",
    ),
    (
        "provider_unavailable",
        "DocuSign did not answer, or could not, or as many creates already wait for it as may. What was written down is finished later. Where it was the status of an envelope that was asked for, Retry-After is the end of the 15 minutes in which it may not be asked for again.",
        "no answer came from the upstream",
    ),
    (
        "quota_exceeded",
        "One of the caller's limits (rate, daily_signings, budget_percent) is used up; or as many creates, passed calls, large bodies of those, bytes of documents, bundles of evidence, calls that wait for news, event streams or webhook endpoints are there as may be at once; or documents.spool_limit is full; or the DocuSign plan has no envelopes left. The detail says which.",
        "this caller may make 10 calls a second",
    ),
    (
        "range_not_satisfiable",
        "The Range begins behind the end of the document. A download that is resumed belongs to one version: send its ETag as If-Range.",
        "the document has 48213 bytes",
    ),
    (
        "return_url_refused",
        "Visitors are sent only to origins that the settings list, so that nobody can use this service as an open redirect.",
        "/signers/0/return_url has an origin that is not among callers.website.return_origins",
    ),
    (
        "sender_busy",
        "The sender belongs to a customer and acts by a refresh token, which works once, so that one renewal at a time has it. Another one has it now; or the daemon that had it has died, which nobody can know where several share a Postgres, and the end of its time is waited for, a minute after it began. Or the customer connected the sender anew, or it was disconnected, while it was renewed. It says nothing of DocuSign, and the call was not sent there.",
        "another renewal of the sender's refresh token is under way, or broke off; it is over by 2026-06-01T12:01:00Z at the latest",
    ),
    (
        "sender_not_connected",
        "The sender belongs to a customer, who has not connected an account yet, or whose connection was revoked at DocuSign.",
        "this sender is not connected to an account",
    ),
    (
        "sender_not_in_account",
        "The impersonated user is not an active member of the account that the settings name; or, where they name none, of the one that was the user's default when the sender first acted: it moves to no other by itself. Or a customer connected another account than the only one that the sender may act in by now. Or a signing is in another account than the one that its sender was set to since; the detail names both.",
        "the user is no member of the account that the settings name",
    ),
    (
        "sender_unknown",
        "The settings have no sender of this name, or this caller may not use it.",
        "there is no sender of that name for this caller",
    ),
    (
        "sender_unknown_user",
        "The user id of the sender does not exist in this DocuSign environment.",
        "the account server does not know the sender's user",
    ),
    (
        "sender_user_is_account",
        "DocuSign does not know the user id of the sender, because it is the id of an account.",
        "user_id is the id of an account, and not of a user",
    ),
    (
        "shutting_down",
        "The daemon was told to stop, and finishes only what it has accepted.",
        "the daemon has stopped taking work",
    ),
    (
        "signer_not_ready",
        "The envelope does not exist yet, others sign first, the signer is locked or done; or documents, evidence or a purge are asked for before the signing has ended. The fix says what to wait for; where retryable is false, waiting does not help.",
        "the signer is waiting, and the signing is open",
    ),
    (
        "signing_closed",
        "The signing is completed, declined, voided, expired or failed, and an end never moves back. Or its time (`expires_in`) is over, and DocuSign has not confirmed the end yet: nobody is given a view (by a passed call neither) or a link any more.",
        "the signing is completed",
    ),
    (
        "sms_auth_unavailable",
        "The DocuSign account has no identity verification workflow for phones, or DocuSign does not know the one that it named. Or a signer has the e-mail address of the sender's own user: DocuSign may ask a sender who signs for no code (unless the account's setting senderMustAuthenticateSigning is true), so the envelope would be signed without the check, and nothing would say so.",
        "the account has no identity verification workflow for phones",
    ),
    (
        "store_unavailable",
        "The database in which this daemon keeps its signings is away, full, read-only or damaged, so nothing can be written down, and nothing was sent to DocuSign that is not written down. What had been accepted is finished once it is back, and the same key makes the same envelope. Or the disk of its audit log (audit.file) or of documents on their way (documents.spool_dir) fails; the fix says which.",
        "the daemon's own store does not answer, or is full",
    ),
    (
        "template_role_mismatch",
        "A signer's role is not among the roles of the template, so DocuSign would add a signer without fields; or two signers have one role (upper and lower case are the same), and DocuSign would take them for one person. One signer in one role of several templates is fine.",
        "/signers/0/role no such role; the template has: Client",
    ),
    (
        "transfer_encoding_unsupported",
        "Chunks are put together again, and that is all that is undone. A body that is compressed within them, or is in two layers of them, would be taken for what it is not.",
        "the Transfer-Encoding is another than chunked alone",
    ),
    (
        "unauthenticated",
        "There is no API key in the request, or none that a caller in the settings has.",
        "there is no Authorization header",
    ),
    (
        "unknown_field",
        "A field of the request, or a parameter of its query, does not exist. A misspelt field that is silently ignored is worse than a refusal.",
        "/signers/0/emial there is no such field; did you mean email?",
    ),
    (
        "wrong_base_uri",
        "The account is served by another DocuSign host than the one asked. One that was moved is followed to its new host by itself: this is said where DocuSign names no other host, or told less than a minute ago where the account lives. A create is answered so, too, if DocuSign finds nothing under the address of the account (a 404); its key stays free.",
        "the account is served by another host",
    ),
    (
        "wrong_environment",
        "The account is a developer account and the settings speak of production, or the other way round. Keys, users, accounts and consent are separate in the two.",
        "account 3f1c9a52-… is a demo account, and upstream.environment is production",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_with_cause_fix_and_example() {
        for code in CODES {
            let (why, detail) = row(code.code);
            assert!(!why.is_empty() && !detail.is_empty(), "{} says why", code.code);
            let page = page(code).into_string();
            assert!(page.contains(code.code) && page.contains("What to do"), "{}", code.code);
            assert_eq!(example(code)["code"], code.code);
        }
        assert_eq!(WHY.len(), CODES.len(), "no page of a code that is gone");
    }

    #[test]
    fn who_lacks_consent_sees_where_to_give_it() {
        let code = crate::api::problem::code("consent_required");
        assert!(code.fix.contains("`links.consent`"), "{}", code.fix);
        let example = example(code);
        assert!(
            example["links"]["consent"]
                .as_str()
                .unwrap()
                .starts_with("https://account-d.docusign.com/oauth/auth?")
        );
        assert_eq!(example["provider"]["code"], "consent_required");
    }

    /// As the settings are: an origin of return_origins is https, or of this machine.
    #[test]
    fn the_fix_of_a_return_url_asks_for_what_the_settings_take() {
        let fix = crate::api::problem::code("return_url_refused").fix;
        assert!(fix.contains("https URL (http only on loopback)") && !fix.contains("http(s)"), "{fix}");
    }
}
