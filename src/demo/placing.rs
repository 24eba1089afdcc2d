//! Placing an order: the form, the check before it, and the one call that a website needs.

use axum::{
    Form,
    extract::{State, rejection::FormRejection},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    backend::Refusal,
    contract,
    orders::{Order, OrderId, PARTNER, PARTNER_EMAIL, PARTNER_NAME, Paper, Place, VISITOR},
    pages::{self, Filled, LANGUAGES, LIVES, Notice},
    site::{Shared, bad_form, page, see_other, to_order},
};

#[derive(Deserialize)]
pub(super) struct OrderForm {
    order: String,
    paper: String,
    #[serde(default)]
    place: Option<String>,
    name: String,
    email: String,
    phone: String,
    #[serde(default)]
    locale: String,
    #[serde(default)]
    life: String,
    #[serde(default)]
    access_code: String,
    #[serde(default)]
    known: Option<String>,
    /// Which button was pressed.
    #[serde(default)]
    then: Option<String>,
}

impl OrderForm {
    /// What was chosen and typed; none if it is no form of ours.
    fn read(&self) -> Option<(OrderId, Filled)> {
        let chosen = |choices: &[(&'static str, &'static str)], word: &str| {
            let found = choices.iter().find(|(value, _)| *value == word).or(choices.first());
            found.map(|(value, _)| *value)
        };
        let filled = Filled {
            paper: Paper::parse(&self.paper)?,
            place: self.place.as_deref().map_or(Some(Place::Away), Place::parse)?,
            name: self.name.trim().to_owned(),
            email: self.email.trim().to_owned(),
            phone: digits(&self.phone),
            locale: chosen(&LANGUAGES, &self.locale)?,
            life: chosen(&LIVES, &self.life)?,
            access_code: self.access_code.trim().to_owned(),
            is_known: self.known.is_some(),
        };
        Some((OrderId::parse(&self.order)?, filled))
    }
}

/// People write numbers with blanks; the API takes digits.
pub(super) fn digits(phone: &str) -> String {
    phone.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '/' | '.')).collect()
}

/// The buttons of the form: one envelope, and off to sign it; or only a look at whether that would work.
pub(super) async fn place(
    State(shared): State<Shared>,
    form: Result<Form<OrderForm>, FormRejection>,
) -> Result<Response, Response> {
    let Form(form) = form.map_err(|_| bad_form())?;
    let (id, mut filled) = form.read().ok_or_else(bad_form)?;
    if shared.public.is_none() {
        filled.place = Place::Away;
    }
    if shared.orders.find(&id).is_some() {
        // The form again, after "back": the order stands, and its page knows the way on.
        return Ok(to_order(&id));
    }
    let body = shared.request(&id, &filled);
    if form.then.as_deref() == Some("check") {
        return Ok(match shared.backend.preflight(&body).await {
            Ok(seen) => page(StatusCode::OK, pages::home(&id, &filled, Notice::Checked(&seen))),
            Err(refusal) => refused(&filled, &refusal),
        });
    }
    match shared.backend.create(id.as_str(), &body).await {
        Ok(signing) => {
            let signer = signing.signer(VISITOR);
            let link = |key| signing.signer(key).and_then(|signer| signer.link.clone());
            shared.orders.add(Order {
                id: id.clone(),
                paper: filled.paper,
                placed_at: shared.clock.now(),
                signing: signing.id.clone(),
                link: link(VISITOR),
                is_link_revoked: false,
                partner_link: link(PARTNER),
            });
            Ok(match (filled.place, signer.and_then(|signer| signer.address())) {
                (Place::Here, _) => see_other(&format!("/orders/{}/here", id.as_str())),
                (Place::Away, Some(address)) => see_other(address),
                (Place::Away, None) => to_order(&id),
            })
        }
        Err(refusal) => Err(refused(&filled, &refusal)),
    }
}

/// The form again. What is sent next is another request, so it gets another number.
fn refused(filled: &Filled, refusal: &Refusal) -> Response {
    let notice = Notice::Refused(refusal);
    page(StatusCode::UNPROCESSABLE_ENTITY, pages::home(&OrderId::generate(), filled, notice))
}

impl Shared {
    /// The one call that a website needs.
    fn request(&self, id: &OrderId, filled: &Filled) -> Value {
        let mut signers = vec![self.visitor(id, filled)];
        if filled.paper == Paper::Pair {
            signers.push(json!({
                "key": PARTNER,
                "name": PARTNER_NAME,
                "email": PARTNER_EMAIL,
                "order": 2,
                "return_url": self.return_url(id),
            }));
        }
        let mut request = json!({
            "reference": id.as_str(),
            "sender": "system",
            "subject": format!("Please sign: {}", filled.paper.title()),
            "documents": [self.document(id, filled)],
            "signers": signers,
            "expires_in": filled.life,
            // In a page of ours the component opens the link; a view would only grow stale.
            "view": filled.place == Place::Away,
            "frame_ancestors": match filled.place {
                Place::Away => Vec::new(),
                Place::Here => vec![self.origin.to_string()],
            },
        });
        if !filled.locale.is_empty() {
            request["locale"] = json!(filled.locale);
        }
        request
    }

    fn visitor(&self, id: &OrderId, filled: &Filled) -> Value {
        let mut signer = json!({
            "key": VISITOR,
            "name": filled.name,
            "email": filled.email,
            "order": 1,
            "sms_auth": { "phone": filled.phone },
            "return_url": self.return_url(id),
        });
        if filled.paper == Paper::Nda {
            signer["role"] = json!("Client");
        }
        if !filled.access_code.is_empty() {
            signer["access_code"] = json!(filled.access_code);
        }
        if filled.is_known {
            let login = format!("login-{}", id.as_str());
            signer["authenticated_by"] = json!({ "method": "password", "at": self.clock.now(), "id": login });
        }
        signer
    }

    fn return_url(&self, id: &OrderId) -> String {
        format!("{}/orders/{}", self.origin, id.as_str())
    }

    fn document(&self, id: &OrderId, filled: &Filled) -> Value {
        let partner = match filled.paper {
            Paper::Letter => None,
            Paper::Nda => return json!({ "template": "nda" }),
            Paper::Pair => Some(PARTNER_NAME),
        };
        let pdf = contract::letter(&filled.name, partner, id.as_str(), &pages::day(self.clock.now()));
        let (client, ours) = (contract::CLIENT, contract::PARTNER);
        let anchors = match partner {
            None => json!({ "sign": client.sign, "date": client.date }),
            Some(_) => json!({
                "sign": { VISITOR: client.sign, PARTNER: ours.sign },
                "date": { VISITOR: client.date, PARTNER: ours.date },
            }),
        };
        json!({
            "name": "Engagement letter.pdf",
            "content_base64": BASE64.encode(pdf),
            "anchors": anchors,
        })
    }
}
