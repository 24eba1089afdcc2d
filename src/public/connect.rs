//! `POST /in/docusign/{id}`: where DocuSign pushes its events. No page: a status and nothing else.

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::post,
};
use http::StatusCode;

use crate::connect::Inbox;

/// The route. The id in the path says nothing; what is believed is the digest.
pub fn deliveries(inbox: Inbox) -> Router {
    Router::new().route("/in/docusign/{id}", post(receive)).with_state(inbox)
}

async fn receive(State(inbox): State<Inbox>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let receipt = inbox.receive(&parts.headers, body).await;
    StatusCode::from_u16(receipt.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response()
}
