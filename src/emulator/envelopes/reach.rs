//! How a recipient is reached: by its e-mail address or its phone.
//!
//! What is said of it is checked wherever it comes, in drafts and templates, too. What is not said yet is asked for on
//! sending.
//!
//! Sources: concepts/sms-delivery and sms-delivery/using-sms-esignature; SPEC: recipientAdditionalNotification; for who
//! has a phone number alone the vendor's sample apps mygovernment, myhealthcare and mytelecom.

use serde_json::Value;

use super::{
    model::{Fields, Kind, Recipient, Refusal, invalid, objects, refuse, text},
    progress::{incomplete, is_email},
    recipients::{email_of, is_open, name_of},
    refused::said,
    render,
};
use crate::emulator::directory::Account;

/// The way that is taken if none is said.
const MAIL: &str = "email";
/// The member of a recipient that says how it is reached.
const METHOD: &str = "deliveryMethod";
/// The member of an additional notification that says how it goes.
const SECOND_METHOD: &str = "secondaryDeliveryMethod";

/// Refuses ways of delivery that cannot be.
pub(super) fn check_said(fields: &Fields) -> Result<(), Refusal> {
    let methods = methods(fields)?;
    if let Some(unknown) = methods.iter().find(|method| !is_delivery(method)) {
        return Err(invalid(&format!("The way of delivery '{unknown}' is not one of DocuSign's.")));
    }
    if methods.into_iter().any(is_phone_delivery) {
        if text(fields, "clientUserId").is_some() {
            return Err(invalid(
                "SMS delivery is for remote recipients only: it cannot be combined with clientUserId.",
            ));
        }
        check_beside_a_phone(fields)?;
    } else if !has_phone_alone(fields) {
        return Ok(());
    }
    number(fields)?.map_or(Ok(()), |number| phone_number(number).map(drop))
}

/// Refuses delivery to a phone where the account does not have it.
pub(super) fn check_plan(account: &Account, fields: &Fields) -> Result<(), Refusal> {
    let is_off = account.settings.get("allowSMSDelivery").is_some_and(|setting| setting != "true");
    if is_off && goes_to_a_phone(fields)? {
        return Err(refuse(
            "PLAN_ITEM_NOT_ENABLED",
            "A feature in your plan is not enabled: SMS delivery is off (allowSMSDelivery).",
        ));
    }
    Ok(())
}

/// What the vendor must know of anybody before it can reach them.
pub(super) fn check_person(recipient: &Recipient) -> Result<(), Refusal> {
    check_fields(recipient.kind, &render::fields_of(recipient))
}

/// The same where all that will be said of one is said.
pub(super) fn check_fields(kind: Kind, fields: &Fields) -> Result<(), Refusal> {
    let id = text(fields, "recipientId").unwrap_or_default();
    check_phone(id, fields)?;
    let email = email_of(kind, fields);
    let goes_by_phone = text(fields, METHOD).map_or_else(|| has_phone_alone(fields), is_phone_delivery);
    let has_phone = email.is_empty() && said(fields, "phoneNumber").is_some();
    let needs_email = !(goes_by_phone && has_phone);
    if needs_email && !is_email(email) {
        return Err(refuse(
            "INVALID_EMAIL_ADDRESS_FOR_RECIPIENT",
            format!(
                "The email address for the recipient is invalid. The recipient Id follows. Recipient Id: {id}"
            ),
        ));
    }
    if name_of(kind, fields).trim().is_empty() {
        return Err(incomplete(&format!("The recipient {id} has no name.")));
    }
    Ok(())
}

/// Of who is reached by phone the number is asked for.
fn check_phone(id: &str, fields: &Fields) -> Result<(), Refusal> {
    if !goes_to_a_phone(fields)? {
        return Ok(());
    }
    check_beside_a_phone(fields)?;
    let number = number(fields)?.ok_or_else(|| {
        invalid(&format!("SMS delivery needs a phone number: the recipient {id} has no phoneNumber."))
    })?;
    phone_number(number).map(drop)
}

impl Recipient {
    /// The way in which it is reached first: as was said, else by SMS who has a phone alone, else by mail.
    pub(super) fn delivery_method(&self) -> &str {
        match text(&self.given, METHOD) {
            Some(method) if method.eq_ignore_ascii_case(MAIL) => MAIL,
            Some(method) => method,
            None if self.email.is_empty()
                && self.client_user_id.is_none()
                && has_phone_alone(&self.given) =>
            {
                "SMS"
            }
            None => MAIL,
        }
    }
}

/// Whether a number is all that is said of how a remote recipient is reached: three of the vendor's sample apps reach
/// them by SMS so.
fn has_phone_alone(fields: &Fields) -> bool {
    let is_unsaid = |name: &&str| text(fields, name).is_none();
    said(fields, "phoneNumber").is_some()
        && ["clientUserId", METHOD, "email", "hostEmail"].iter().all(is_unsaid)
}

/// Whether somebody without an address is reached by phone: as was said, else who has a number.
pub(super) fn is_by_phone(fields: &Fields) -> bool {
    text(fields, METHOD).map_or_else(|| said(fields, "phoneNumber").is_some(), is_phone_delivery)
}

/// Takes from a recipient of a template or a draft its address, and how that is reached, where somebody is put in its
/// place who has a phone alone. Another way to a phone stays.
pub(super) fn leave_address(known: &mut Fields, said: &Fields) {
    if text(said, "email").is_some() || !is_by_phone(said) {
        return;
    }
    let goes_to_a_phone = text(known, METHOD).is_some_and(is_phone_delivery);
    if !goes_to_a_phone {
        // A way that its template locks stays, and needs the address.
        if text(known, METHOD).is_some() && !is_open(known, METHOD) {
            return;
        }
        known.remove(METHOD);
    }
    if is_open(known, "email") {
        known.remove("email");
    }
}

/// Whether this only says again that mail is the way of somebody of whom no way was said: it was read and is sent back.
pub(super) fn is_default_again(known: &Recipient, name: &str, value: &Value) -> bool {
    let is_default = text(&known.given, METHOD).is_none() && known.delivery_method() == MAIL;
    is_default && name == METHOD && value.as_str() == Some(MAIL)
}

/// The ways of delivery that are said: the first, and that of the one notification beside it.
fn methods(fields: &Fields) -> Result<Vec<&str>, Refusal> {
    let second = second_channel(fields)?.and_then(|one| text(one, SECOND_METHOD));
    Ok(text(fields, METHOD).into_iter().chain(second).collect())
}

/// Whether anything goes to a phone: the first, or what is sent beside it.
fn goes_to_a_phone(fields: &Fields) -> Result<bool, Refusal> {
    Ok(has_phone_alone(fields) || methods(fields)?.into_iter().any(is_phone_delivery))
}

/// The one notification beside the first (sms-delivery/using-sms-esignature: the list has exactly one element).
fn second_channel(fields: &Fields) -> Result<Option<&Fields>, Refusal> {
    let mut all = objects(fields.get("additionalNotifications"));
    let first = all.next();
    if all.next().is_some() {
        return Err(invalid("additionalNotifications must hold one element."));
    }
    Ok(first)
}

/// The phone number of a recipient, else of the notification beside the first; none if neither is said.
fn number(fields: &Fields) -> Result<Option<&Value>, Refusal> {
    let second = second_channel(fields)?;
    Ok(said(fields, "phoneNumber").or_else(|| said(second?, "phoneNumber")))
}

/// Refuses what cannot stand beside delivery to a phone.
fn check_beside_a_phone(fields: &Fields) -> Result<(), Refusal> {
    let has_check = ["identityVerification", "smsAuthentication", "phoneAuthentication"]
        .iter()
        .any(|field| fields.get(*field).is_some_and(|value| !value.is_null()));
    if has_check {
        return Err(invalid("SMS delivery cannot be combined with phone or SMS authentication."));
    }
    Ok(())
}

/// Whether this `deliveryMethod` goes to a phone.
fn is_phone_delivery(method: &str) -> bool {
    method.eq_ignore_ascii_case("sms") || method.eq_ignore_ascii_case("whatsapp")
}

/// Whether this is a way of delivery: to a phone, or else one of SPEC's (recipientAdditionalNotification).
fn is_delivery(method: &str) -> bool {
    is_phone_delivery(method) || [MAIL, "fax", "offline"].iter().any(|one| one.eq_ignore_ascii_case(method))
}

/// `countryCode` and `number`, digits only, as one number with its `+`.
pub(super) fn phone_number(value: &Value) -> Result<String, Refusal> {
    let part = |name: &str| value[name].as_str().unwrap_or_default();
    let (country, number) = (part("countryCode"), part("number"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(country) || country.len() > 4 || country.starts_with('0') {
        return Err(invalid("The countryCode of a phone number must be digits only, without the leading +."));
    }
    if !digits(number) || number.len() < 4 || country.len() + number.len() > 15 {
        return Err(invalid("The number of a phone number must be digits only, without the country code."));
    }
    if country == "1" && number.starts_with(['0', '1']) {
        return Err(invalid(
            "The number of a phone number in the North American plan must not start with 0 or 1.",
        ));
    }
    Ok(format!("+{country}{number}"))
}
