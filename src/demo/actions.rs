//! What a visitor can do with an order besides signing: each button is one call to the daemon, and leads
//! back to the order. What the daemon refuses is shown there in its own words.

use axum::{
    Form,
    extract::{Path, State, rejection::FormRejection},
    response::Response,
};
use http::StatusCode;
use serde::Deserialize;

use super::{
    backend::{Refusal, Signing},
    orders::{Order, VISITOR},
    placing::digits,
    site::{ReturnQuery, Shared, bad_form, no_such_order, page, to_order},
};

/// Why an order is called off: signers read it.
const REASON: &str = "The client called the order off on our website.";

type Done = Result<Response, Response>;

/// Asks DocuSign now, once.
pub(super) async fn refresh(State(shared): State<Shared>, Path(id): Path<String>) -> Done {
    let (order, signing) = shared.find(&id).await?;
    let asked = shared.backend.refresh(&signing.id).await;
    shared.after(&order, &signing, asked.map(drop)).await
}

/// Calls the order off.
pub(super) async fn void(State(shared): State<Shared>, Path(id): Path<String>) -> Done {
    let (order, signing) = shared.find(&id).await?;
    let voided = shared.backend.void(&signing.id, REASON).await;
    shared.after(&order, &signing, voided.map(drop)).await
}

/// Has the documents destroyed at DocuSign.
pub(super) async fn purge(State(shared): State<Shared>, Path(id): Path<String>) -> Done {
    let (order, signing) = shared.find(&id).await?;
    let purged = shared.backend.purge(&signing.id).await;
    shared.after(&order, &signing, purged.map(drop)).await
}

#[derive(Deserialize)]
pub(super) struct PhoneForm {
    phone: String,
}

/// Another number for the visitor's code, also after too many wrong ones.
pub(super) async fn phone(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    form: Result<Form<PhoneForm>, FormRejection>,
) -> Done {
    let Form(form) = form.map_err(|_| bad_form())?;
    let (order, signing) = shared.find(&id).await?;
    let signer = signing.signer(VISITOR).ok_or_else(no_such_order)?;
    let changed = shared.backend.phone(&signing.id, &signer.id, &digits(&form.phone)).await;
    shared.after(&order, &signing, changed.map(drop)).await
}

/// Makes the visitor's link worthless: it was seen by someone who should not have it.
pub(super) async fn revoke(State(shared): State<Shared>, Path(id): Path<String>) -> Done {
    let (order, signing) = shared.find(&id).await?;
    let link = order.link.as_ref().ok_or_else(no_such_order)?;
    let revoked = shared.backend.revoke(&link.id).await;
    if revoked.is_ok() {
        shared.orders.relink(&order.id, None);
    }
    shared.after(&order, &signing, revoked).await
}

/// Gives the visitor another link.
pub(super) async fn link(State(shared): State<Shared>, Path(id): Path<String>) -> Done {
    let (order, signing) = shared.find(&id).await?;
    let signer = signing.signer(VISITOR).ok_or_else(no_such_order)?;
    let made = shared.backend.link(&signing.id, &signer.id).await;
    let made = made.map(|link| shared.orders.relink(&order.id, Some(link)));
    shared.after(&order, &signing, made).await
}

impl Shared {
    /// Back to the order; or its page, with what was refused on top.
    async fn after(&self, order: &Order, signing: &Signing, done: Result<(), Refusal>) -> Done {
        match done {
            Ok(()) => Ok(to_order(&order.id)),
            Err(refusal) => {
                let shown = self.shown(order, signing, &ReturnQuery::default(), Some(&refusal)).await;
                Err(page(StatusCode::CONFLICT, shown))
            }
        }
    }
}
