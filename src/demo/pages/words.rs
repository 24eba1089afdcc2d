//! The daemon's stable words, as people say them.

use crate::demo::{
    backend::Signing,
    orders::{PARTNER, PARTNER_NAME, VISITOR},
    webhooks::Told,
};

/// A person of an order, as the visitor is told of them.
pub(super) fn person(key: &str) -> &'static str {
    match key {
        PARTNER => PARTNER_NAME,
        VISITOR => "You",
        _ => "Somebody",
    }
}

pub(super) fn claim(claim: &str) -> &'static str {
    match claim {
        "access_code_failed" => "The access code was wrong",
        "cancel" => "I will finish later",
        "decline" => "I decline",
        "exception" => "The signing page failed",
        "id_check_failed" => "The SMS code was wrong too often",
        "session_timeout" => "I was away too long",
        "signing_complete" => "I have signed",
        "ttl_expired" => "The page had expired",
        "viewing_complete" => "I have read it",
        _ => "I am back",
    }
}

pub(super) fn fact(signing: &Signing) -> &'static str {
    match signing.status.as_str() {
        "completed" => "Signed by everyone",
        "creating" => "Not created yet",
        "declined" => "Declined",
        "expired" => "Expired unsigned",
        "failed" => "Never created",
        "open" if signing.is_half_signed() => "Not signed by everyone yet",
        "open" => "Not signed yet",
        "uncertain" => "Being looked up",
        "voided" => "Called off",
        _ => "Unknown",
    }
}

/// How a signer stands; `is_over`: nobody can sign any more.
pub(super) fn signer(status: &str, is_over: bool) -> &'static str {
    match status {
        "auth_failed" => "identity check failed",
        "declined" => "declined",
        "signed" => "signed",
        _ if is_over => "did not sign",
        "in_session" => "has the document open",
        "ready" => "can sign now",
        _ => "waits for their turn",
    }
}

/// A check of the preflight.
pub(super) fn check(check: &str) -> &'static str {
    match check {
        "account" => "Our account at DocuSign answers",
        "budget" => "There is room in this hour’s calls",
        "consent" => "We may send in our own name",
        "documents" => "The document can be read, and has a place for each signature",
        "return_url" => "There is a way back to us",
        "rights" => "This website may ask for it",
        "schema" => "Your entries are complete",
        "sender" => "The sender is known",
        "sms_auth" => "A code can be sent to your phone",
        "template_roles" => "Everyone has a part in the document",
        _ => "One more thing was looked at",
    }
}

/// What an event says.
pub(super) fn event(told: &Told, signing: &Signing) -> String {
    let about = told.signer.as_deref();
    let key = signing.signers.iter().find(|signer| Some(signer.id.as_str()) == about);
    let who = person(key.map_or("", |signer| signer.key.as_str()));
    let words = match told.kind.as_str() {
        "document.available" => "The signed document can be fetched",
        "signer.authentication_failed" => return format!("{who} did not pass the identity check"),
        "signer.declined" => return format!("{who} declined"),
        "signer.ready" if who == person(VISITOR) => "It is your turn",
        "signer.ready" => return format!("It is the turn of {who}"),
        "signer.returned" => return format!("{who} came back: a claim, and no more"),
        "signer.session_started" => return format!("{who} opened the document"),
        "signer.signed" => return format!("{who} signed"),
        "signing.completed" => "Everyone has signed",
        "signing.declined" => "It was declined, and is over",
        "signing.expired" => "The time was over",
        "signing.failed" => "It could not be prepared",
        "signing.opened" => "The document can be signed",
        "signing.purged" => "The document was destroyed at DocuSign",
        "signing.uncertain" => "It is being looked up at DocuSign",
        "signing.voided" => "It was called off",
        _ => "Something else happened",
    };
    words.to_owned()
}
