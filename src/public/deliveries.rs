//! `POST /in/docusign/{id}`: where DocuSign pushes its events. No page: a status and nothing else. `of.NAME` in
//! the place of the id is the address of the sender NAME, where that sender's own keys count.

use axum::{
    Router,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
    routing::post,
};
use http::StatusCode;

use crate::{
    connect::{Inbox, own_keys},
    listener::Peer,
};

/// The path, as the metrics name it.
pub(super) const DELIVERIES: &str = "/in/docusign/{id}";

/// The route. An id in the path says at most with whose keys; what is believed is the digest, and what else the
/// settings ask for.
pub fn deliveries(inbox: Inbox) -> Router {
    Router::new().route(DELIVERIES, post(receive)).with_state(inbox)
}

async fn receive(State(inbox): State<Inbox>, Path(id): Path<String>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let certificate = parts.extensions.get::<Peer>().and_then(|peer| peer.certificate.as_deref());
    let own = own_keys::sender_at(&id);
    let receipt = inbox.receive_at(own.as_ref(), &parts.headers, certificate, body).await;
    StatusCode::from_u16(receipt.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response()
}
