//! `/v1/senders/{name}/connect`: the link with which a customer connects an account of their own, how that
//! stands, and its end.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    api::{
        Problem,
        caller::Authenticated,
        exchange::{Path, json},
        router::Api,
        senders::{ErrorObject, last_error},
    },
    auth::consent::{self, ConsentBy},
    domain::SenderName,
    objects::show,
    pairing::connect_url,
};

#[derive(Serialize)]
struct ConnectionObject {
    object: &'static str,
    sender: String,
    state: &'static str,
    user_id: Option<String>,
    account_id: Option<String>,
    connected_at: Option<Timestamp>,
    /// Why the sender cannot act, though it is connected: what was connected may be lost, withdrawn, or not allowed any more.
    last_error: Option<ErrorObject>,
    /// A secret for as long as it lives: whoever opens it connects an account of theirs.
    url: Option<String>,
    expires_at: Option<Timestamp>,
    /// Where an administrator allows it for all users of the customer's organisation, who may need that first.
    organisation_url: Option<String>,
}

/// `GET`: how the sender is connected, and a fresh link. Opening it again switches the account.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let sender = connectable(&api, &caller, &name)?;
    let link = pairing_url(&api, &name).ok_or_else(|| {
        Problem::new("invalid_request", "there is no link: public.base_url is not set in the settings")
    })?;
    Ok(json(StatusCode::OK, object(&api, &sender, Some(link))))
}

/// A fresh link for a connectable sender, and when it ends; none without a public listener.
pub(super) fn pairing_url(api: &Api, sender: &str) -> Option<(String, Timestamp)> {
    let link = api.pairings.link(sender)?;
    Some((connect_url(api.public_origin.as_deref()?, &link.ticket), link.expires_at))
}

/// `DELETE`: destroys what was stored. Repeating it is harmless.
pub(super) async fn disconnect(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let sender = connectable(&api, &caller, &name)?;
    api.pairings.disconnect(&sender, &caller.name).await?;
    Ok(json(StatusCode::OK, object(&api, &sender, None)))
}

fn connectable(api: &Api, caller: &crate::api::caller::Caller, name: &str) -> Result<SenderName, Problem> {
    let sender = api.sender_of(caller, name)?;
    if api.pairings.is_connectable(name) {
        return Ok(sender);
    }
    let detail = "this sender's user is in the settings: it has consent (…/consent), and nothing to connect";
    Err(Problem::new("not_found", detail))
}

fn object(api: &Api, sender: &SenderName, link: Option<(String, Timestamp)>) -> bytes::Bytes {
    let paired = api.pairings.paired(sender);
    // One that waits for a customer lacks nothing else.
    let status = paired.as_ref().and_then(|_| api.auth.status(sender.as_str()).ok());
    let (url, expires_at) = link.unzip();
    show::to_bytes(&ConnectionObject {
        object: "connection",
        sender: sender.to_string(),
        state: if paired.is_some() { "connected" } else { "not_connected" },
        connected_at: paired.as_ref().map(|paired| paired.since),
        account_id: paired.as_ref().map(|paired| paired.account.to_string()),
        user_id: paired.map(|paired| paired.user_id),
        last_error: status.as_ref().and_then(last_error),
        url,
        expires_at,
        organisation_url: api.public_origin.as_ref().and_then(|origin| {
            let back = consent::callback(origin);
            api.pairings.consent_page(sender.as_str(), ConsentBy::Organisation, &back)
        }),
    })
}
