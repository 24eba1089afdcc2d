//! `POST /in/docusign/{id}`: where DocuSign pushes its events. No page: a status and nothing else.

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::post,
};
use http::StatusCode;

use crate::{connect::Inbox, listener::Peer};

/// The route. The id in the path says nothing; what is believed is the digest, and
/// what else the settings ask for.
pub fn deliveries(inbox: Inbox) -> Router {
    Router::new().route("/in/docusign/{id}", post(receive)).with_state(inbox)
}

async fn receive(State(inbox): State<Inbox>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let certificate = parts.extensions.get::<Peer>().and_then(|peer| peer.certificate.as_deref());
    let receipt = inbox.receive(&parts.headers, certificate, body).await;
    StatusCode::from_u16(receipt.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response()
}
