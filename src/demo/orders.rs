//! The orders of the website: what a shop's database would hold, in memory.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use uuid::Uuid;

use super::backend::Link;

/// The oldest order is forgotten then; a demo is no archive.
const MAX_ORDERS: usize = 200;
/// The visitor among the signers of a signing.
pub(super) const VISITOR: &str = "visitor";
/// The company's partner, where two sign.
pub(super) const PARTNER: &str = "partner";
/// Their name and address: an employee's, which the website knows.
pub(super) const PARTNER_NAME: &str = "Charles Babbage";
pub(super) const PARTNER_EMAIL: &str = "charles.babbage@alder-quill.example";
const PREFIX: &str = "AQ-";
const DIGITS: usize = 8;

/// What can be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paper {
    /// A letter that this website writes as a PDF, with anchors for the signature.
    Letter,
    /// The confidentiality agreement, a template at the upstream.
    Nda,
    /// The same letter for two: the visitor signs first, then the company's partner.
    Pair,
}

impl Paper {
    pub(super) const ALL: [Self; 3] = [Self::Letter, Self::Nda, Self::Pair];

    /// Its value in the form.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Letter => "letter",
            Self::Nda => "nda",
            Self::Pair => "pair",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|paper| paper.word() == word)
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Letter => "Engagement letter",
            Self::Nda => "Mutual non-disclosure agreement",
            Self::Pair => "Engagement letter, signed by both of us",
        }
    }
}

/// Where it is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// On DocuSign's page: the visitor is sent there and comes back.
    Away,
    /// In a page of this website, with the daemon's component.
    Here,
}

impl Place {
    pub(super) const ALL: [Self; 2] = [Self::Away, Self::Here];

    /// Its value in the form.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Here => "here",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|place| place.word() == word)
    }
}

/// An order's number, such as `AQ-0F3D9A21`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OrderId(String);

impl OrderId {
    pub(super) fn generate() -> Self {
        let hex = Uuid::new_v4().simple().to_string().to_uppercase();
        Self(format!("{PREFIX}{}", &hex[..DIGITS]))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix(PREFIX)?;
        let is_one =
            hex.len() == DIGITS && hex.bytes().all(|c| c.is_ascii_digit() || (b'A'..=b'F').contains(&c));
        is_one.then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// One order.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) id: OrderId,
    pub(super) paper: Paper,
    pub(super) placed_at: Timestamp,
    /// The daemon's id for it.
    pub(super) signing: String,
    /// The visitor's durable link, while it works: a shop would keep it as it keeps a password.
    pub(super) link: Option<Link>,
    /// Whether that link was revoked.
    pub(super) is_link_revoked: bool,
    /// The partner's, to be handed out when it is their turn.
    pub(super) partner_link: Option<Link>,
}

/// All orders, newest first. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Orders(Arc<Mutex<VecDeque<Order>>>);

impl Orders {
    pub(super) fn add(&self, order: Order) {
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.iter().any(|known| known.id == order.id) {
            return;
        }
        orders.push_front(order);
        orders.truncate(MAX_ORDERS);
    }

    pub(super) fn find(&self, id: &OrderId) -> Option<Order> {
        let orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        orders.iter().find(|order| order.id == *id).cloned()
    }

    /// Writes down that the visitor's link is another one now, or works no more.
    pub(super) fn relink(&self, id: &OrderId, link: Option<Link>) {
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(order) = orders.iter_mut().find(|order| order.id == *id) else { return };
        order.is_link_revoked = link.is_none();
        order.link = link;
    }

    pub(super) fn all(&self) -> Vec<Order> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        let id = OrderId::generate();
        assert_eq!(OrderId::parse(id.as_str()), Some(id));
        for wrong in ["", "AQ-", "AQ-0f3d9a21", "AQ-0F3D9A2", "AQ-0F3D9A2/", "BQ-0F3D9A21"] {
            assert_eq!(OrderId::parse(wrong), None, "{wrong}");
        }
    }
}
