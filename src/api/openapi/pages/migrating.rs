//! `/docs/migrating`: for people who do today with DocuSign's SDKs what countersign does for them.

use maud::{Markup, html};

/// What an application does with an SDK, and what becomes of it.
const ROWS: &[(&str, &str)] = &[
    (
        "`requestJWTUserToken`, a private key, a token cache",
        "Nothing: the daemon holds the key and keeps the token. You send an API key of your own (`countersign caller add`).",
    ),
    (
        "`getUserInfo`, `baseUri`, `accountId`",
        "Nothing: a sender of the settings knows its account. You name the `sender`.",
    ),
    (
        "`consent_required`, building the consent URL",
        "`GET /v1/senders/{name}/consent` has the links; `/readyz` says that one is missing.",
    ),
    (
        "`EnvelopesApi.createEnvelope` with an `EnvelopeDefinition`",
        "`POST /v1/signings` with documents and signers. An `Idempotency-Key` replaces your own bookkeeping of retries.",
    ),
    (
        "`clientUserId`, and keeping name and email with it",
        "Nothing: one is made for each signer, and a later view matches exactly.",
    ),
    (
        "`createRecipientView`",
        "`view.url` of the answer, later `POST /v1/signings/{id}/signers/{sid}/views`.",
    ),
    (
        "Sending a fresh view when the five minutes are over",
        "Give out `link.url`: it makes a view at each click.",
    ),
    (
        "`getAccountIdentityVerification`, `identityVerification` with a workflow id",
        "`sms_auth: {phone}`; the workflow is looked up. The list of workflows is not passed through.",
    ),
    (
        "`templateRoles`, composite templates",
        "`documents: [{template}]` and a `role` for each signer; the composite form is chosen where it is needed.",
    ),
    (
        "`tabs.signHereTabs` with `anchorString`",
        "`anchors: {sign: \"/sn1/\"}` of a document; it is looked for in the PDF before anything is sent.",
    ),
    (
        "`event` of the return URL (`signing_complete`)",
        "`last_return.claim`: what a browser said. `status` is what DocuSign said.",
    ),
    (
        "Polling `getEnvelope`",
        "A webhook, or `GET /v1/signings/{id}/wait`. DocuSign blocks who polls more often than every 15 minutes.",
    ),
    (
        "A Connect listener with an HMAC check",
        "A webhook endpoint (Standard Webhooks): a signature, ids that stay the same, replay.",
    ),
    ("`getDocument`", "`GET /v1/signings/{id}/documents/combined`, `certificate` or a number."),
    ("`update` with `status: voided`", "`POST /v1/signings/{id}/void`."),
    (
        "`HOURLY_APIINVOCATION_LIMIT_EXCEEDED`",
        "429 `provider_rate_limited` with a true `Retry-After`, before DocuSign has to say it.",
    ),
    (
        "Catching `ApiException` and reading its body",
        "A problem document: `code`, `fix`, `retryable`, and DocuSign's code under `provider.code`.",
    ),
];

/// The page.
pub(super) fn page() -> Markup {
    html! {
        main.alone #content {
            p { a href="/docs" { "countersign API" } }
            h1 { "Coming from DocuSign's SDKs" }
            p {
                "Two ways, and both may be used at once: keep the SDK and change two lines, or say what you want in \
                 one call of ours."
            }
            (keep())
            (call())
            h2 id="table" { "What becomes what" }
            (super::scrolled("What becomes what", &html! { table {
                thead { tr { th scope="col" { "With an SDK" } th scope="col" { "Here" } } }
                tbody { @for (before, after) in ROWS { tr { td { (super::prose(before)) } td { (super::prose(after)) } } } }
            } }))
            (differences())
        }
    }
}

fn keep() -> Markup {
    let python = "client = ApiClient(host=f\"{COUNTERSIGN_URL}/v1/senders/system/esign/restapi\")\n\
                  client.set_default_header(\"Authorization\", f\"Bearer {COUNTERSIGN_KEY}\")\n\
                  envelopes = EnvelopesApi(client)      # as before; no private key, no token";
    let node = "const client = new docusign.ApiClient();\n\
                client.setBasePath(`${COUNTERSIGN_URL}/v1/senders/system/esign/restapi`);\n\
                client.addDefaultHeader(\"Authorization\", `Bearer ${COUNTERSIGN_KEY}`);";
    html! {
        h2 id="keep" { "Keep the SDK, give the key away" }
        p {
            "Point the SDK at the pass-through and let it send a caller key where it sent an access token. The \
             daemon acts as the sender, keeps to DocuSign's limits, and lets only listed calls through: create, get \
             and list envelopes, recipients, recipient views, documents, templates (read), and the sender's own \
             signatures. Anything else is 403, and DocuSign never hears of it. A recipient view may return to the origins \
             in " code { "return_origins" } " of the caller's settings, and to no others. The address to which an e-mail to an \
             embedded recipient leads (" code { "embeddedRecipientStartURL" } ") has one of them, too, or is "
            code { "SIGN_AT_DOCUSIGN" } "."
        }
        pre tabindex="0" { code { (python) } }
        pre tabindex="0" { code { (node) } }
        p { "What you lose on this way: exactly-once creates, durable links, and events in our form." }
        p {
            "Read a signing that " code { "POST /v1/signings" } " made with " code { "GET /v1/signings/{id}" } ": what a passed \
             read of its envelope or recipients tells is not taken in, and for 15 minutes it takes the place of the daemon's \
             own (" code { "409 polling_budget" } " of a refresh, of another phone number before its recipient is \
             known, or of a void of an envelope that has ended, where no list tells how)."
        }
        p {
            "The SDK for Python repeats a read that is answered 429 or 503 by itself, after the time in "
            code { "Retry-After" } ", and sleeps until then, past its own time-out: that can be most of an hour where the \
             account's calls are used up, and 15 minutes where DocuSign did not answer a read of an envelope's status, which \
             may not be asked for again before. Have its pool of connections (urllib3) make no retries if a worker must not sleep."
        }
    }
}

fn call() -> Markup {
    html! {
        h2 id="call" { "Say it in one call" }
        p {
            "Token, account, envelope definition, recipient view and their retries become "
            a href="/docs#create_signing" { code { "POST /v1/signings" } }
            ". Envelopes made before the move stay where they are: read them through the pass-through, and let them \
             end there."
        }
    }
}

fn differences() -> Markup {
    html! {
        h2 id="differences" { "What is different on purpose" }
        ul {
            li { "No call of ours answers with an access token." }
            li { "Field names are ours and few; an unknown one is refused by name, never ignored." }
            li { "Times are RFC 3339 in UTC, booleans and numbers are JSON's own." }
            li { "One view an envelope is live at a time: a second click does not throw out the signer." }
            li { "Remote signers (an e-mail by DocuSign, no URL) are not made by POST /v1/signings; use the pass-through: which makes and reads \
                 them, and neither sends a draft, nor voids or resends what is sent. Do these in DocuSign itself." }
        }
    }
}

#[cfg(test)]
mod tests {
    /// What the page promises of paths is in the router.
    #[test]
    fn every_path_of_the_table_exists() {
        let page = super::page().into_string();
        for path in ["/v1/signings/{id}/wait", "/v1/signings/{id}/void", "/v1/senders/{name}/consent"] {
            assert!(page.contains(path) && crate::api::router::PATHS.contains(&path), "{path}");
        }
    }
}
