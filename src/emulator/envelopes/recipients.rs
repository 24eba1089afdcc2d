//! Recipients: from the client's words to a checked [`Recipient`].
//!
//! Sources: EnvelopeRecipients in the vendor's reference; how-to/phone-auth and concepts/recipients/auth for identity
//! checks. How they are reached is in [`super::reach`].

use serde_json::Value;

use super::{
    filling::is_true,
    lengths,
    model::{Fields, Kind, PhoneCheck, Recipient, RecipientStatus, Refusal, invalid, refuse, text},
    reach::{self, phone_number},
    refused,
    tabs::{self, DraftTab},
};
use crate::emulator::{
    accounts,
    directory::Account,
    schema::{self, Body},
    state::World,
};

/// An envelope takes at most so many recipients (rules-and-limits).
pub(super) const MAX_RECIPIENTS: usize = 100;
const MAX_ACCESS_CODE: usize = 50;

/// A recipient as a client or template describes it.
#[derive(Debug, Clone)]
pub(in crate::emulator) struct Draft {
    /// Which list it was in.
    pub kind: Kind,
    /// Its fields, without tabs.
    pub fields: Fields,
    /// Its tabs.
    pub tabs: Vec<DraftTab>,
}

/// What a sender may say of a recipient that its template locks: who it is, and how it is embedded. Its tabs have locks
/// of their own. "The sender cannot change any attributes of the recipient" (SPEC: signer.templateLocked); that a role can
/// be filled all the same is our reading.
const OPEN: [&str; 11] = [
    "clientUserId",
    "email",
    "embeddedRecipientStartURL",
    "hostEmail",
    "hostName",
    "name",
    "phoneNumber",
    "recipientId",
    "roleName",
    "signerEmail",
    "signerName",
];

/// Whether a sender may say this of a recipient: anything, or of one that its template locks only who it is.
pub(super) fn is_open(recipient: &Fields, name: &str) -> bool {
    !is_true(recipient, tabs::LOCKED) || OPEN.contains(&name)
}

/// The members that ask for an identity check in the older form.
const OLDER_CHECK: [&str; 3] = ["idCheckConfigurationName", "phoneAuthentication", "smsAuthentication"];

/// Takes from a recipient the form of an identity check whose place the other form takes in what is laid over it.
pub(super) fn leave_check(known: &mut Fields, said: &Fields) {
    if refused::said(said, "identityVerification").is_some() {
        known.retain(|name, _| !OLDER_CHECK.contains(&name.as_str()));
    } else if text(said, "idCheckConfigurationName").is_some() {
        known.remove("identityVerification");
    }
}

/// Reads a `recipients` object.
pub(in crate::emulator) fn drafts(recipients: &Value, scope: usize) -> Result<Vec<Draft>, Refusal> {
    let Some(lists) = recipients.as_object() else { return Ok(Vec::new()) };
    let mut drafts = Vec::new();
    for (list, items) in lists {
        let Some(items) = items.as_array().filter(|items| !items.is_empty()) else { continue };
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.list() == list) else {
            return Err(refused::lacking(&format!("recipients of the kind '{list}'")));
        };
        for item in items.iter().filter_map(Value::as_object) {
            let mut fields = item.clone();
            fields.retain(|name, _| !REPORTED.contains(&name.as_str()));
            let tabs = fields.remove("tabs");
            tabs::refuse_prefilled(tabs.as_ref())?;
            let tabs = tabs::drafts(tabs.as_ref(), scope);
            drafts.push(Draft { kind, fields, tabs });
        }
    }
    Ok(drafts)
}

/// Checks a draft and makes it a recipient. Ids must have been settled.
pub(super) fn build(
    world: &mut World,
    account: &str,
    sender: &str,
    draft: Draft,
) -> Result<Recipient, Refusal> {
    let row = account_of(world, account)?;
    let Checked { order, mut phone, access_code } = checked(row, &draft)?;
    let Draft { kind, mut fields, tabs } = draft;
    let name = name_of(kind, &fields);
    let email = email_of(kind, &fields).to_owned();
    let is_sender =
        world.directory.users.get(sender).is_some_and(|user| user.email.eq_ignore_ascii_case(&email));
    if is_sender && row.settings.get("senderMustAuthenticateSigning").is_none_or(|setting| setting != "true")
    {
        // The vendor does not ask senders who sign: the check is silently absent.
        phone = None;
    }
    let user_id = world
        .directory
        .users
        .iter()
        .find(|(user, data)| {
            data.email.eq_ignore_ascii_case(&email) && world.directory.membership(user, account).is_some()
        })
        .map(|(user, _)| user.clone());
    let user_id = user_id.unwrap_or_else(|| world.guid());
    let tabs = tabs.into_iter().filter(|_| kind.has_tabs()).map(|tab| tab.build(world.guid())).collect();
    let recipient = Recipient {
        kind,
        id: text(&fields, "recipientId").unwrap_or_default().to_owned(),
        guid: world.guid(),
        user_id,
        name,
        email,
        client_user_id: text(&fields, "clientUserId").map(str::to_owned),
        order,
        role: text(&fields, "roleName").map(str::to_owned),
        status: RecipientStatus::Created,
        sent: None,
        delivered: None,
        signed: None,
        declined: None,
        access_code,
        access_code_failures: 0,
        phone,
        authentication: Fields::new(),
        tabs,
        adopted_name: None,
        app_authentication: None,
        given: {
            // A role, or an inline recipient of another kind, may say what this kind does not have.
            schema::fit(Body::Recipients, kind.list(), &mut fields);
            fields.retain(|name, _| !HELD.contains(&name.as_str()));
            fields
        },
    };
    Ok(recipient)
}

/// Refuses what nobody may ask of a recipient, of an envelope or of a template; who it is, is asked for on sending.
pub(in crate::emulator) fn check_draft(world: &World, account: &str, draft: &Draft) -> Result<(), Refusal> {
    checked(account_of(world, account)?, draft).map(drop)
}

/// What is made of the words of a draft.
struct Checked {
    order: u32,
    phone: Option<PhoneCheck>,
    access_code: Option<String>,
}

fn checked(account: &Account, draft: &Draft) -> Result<Checked, Refusal> {
    let Draft { fields, tabs, .. } = draft;
    refused::in_recipient(fields)?;
    check_id(text(fields, "recipientId").unwrap_or_default())?;
    lengths::of_recipient(fields)?;
    tabs::check(tabs)?;
    let order = routing_order(fields)?;
    check_embedding(account, fields)?;
    reach::check_said(fields)?;
    reach::check_plan(account, fields)?;
    let phone = phone_check(account, fields)?;
    Ok(Checked { order, phone, access_code: access_code(fields)? })
}

/// Fields that [`Recipient`] holds itself.
const HELD: [&str; 7] =
    ["recipientId", "name", "email", "clientUserId", "routingOrder", "roleName", "accessCode"];

/// Fields that the vendor tells and a client cannot set: passed over when they are sent back.
const REPORTED: [&str; 15] = [
    "autoRespondedReason",
    "completedCount",
    "creationReason",
    "declinedDateTime",
    "declinedReason",
    "deliveredDateTime",
    "isBulkRecipient",
    "recipientAuthenticationStatus",
    "recipientIdGuid",
    "sentDateTime",
    "signedDateTime",
    "status",
    "statusCode",
    "totalTabCount",
    "userId",
];

/// The name of who signs, or gets it.
pub(super) fn name_of(kind: Kind, fields: &Fields) -> String {
    let field = if kind == Kind::InPersonSigner { "signerName" } else { "name" };
    text(fields, field).or_else(|| text(fields, "name")).unwrap_or_default().to_owned()
}

/// The address of that one, or of who hosts it.
pub(super) fn email_of(kind: Kind, fields: &Fields) -> &str {
    let field = if kind == Kind::InPersonSigner { "hostEmail" } else { "email" };
    text(fields, field).or_else(|| text(fields, "email")).unwrap_or_default()
}

fn check_id(id: &str) -> Result<(), Refusal> {
    let is_number =
        id.len() <= 9 && id.bytes().all(|byte| byte.is_ascii_digit()) && id.bytes().any(|byte| byte != b'0');
    if is_number || uuid::Uuid::parse_str(id).is_ok() {
        return Ok(());
    }
    Err(refuse(
        "INVALID_RECIPIENT_ID",
        "Invalid recipient specified. A recipientId is a positive number or a GUID, and every recipient has one.",
    ))
}

/// SPEC names no least order, and 0 is what pydocusign sends unless told otherwise: it comes before 1.
fn routing_order(fields: &Fields) -> Result<u32, Refusal> {
    let Some(order) = text(fields, "routingOrder") else { return Ok(1) };
    let not_one = || invalid("The routingOrder of a recipient must be a whole number that is not negative.");
    order.parse().map_err(|_| not_one())
}

fn account_of<'a>(world: &'a World, account: &str) -> Result<&'a Account, Refusal> {
    let unknown = || refuse("ACCOUNT_NOT_AUTHORIZED_FOR_ENVELOPE", "The account is not known here.");
    world.directory.accounts.get(account).ok_or_else(unknown)
}

/// What an account must allow for embedded recipients.
fn check_embedding(account: &Account, fields: &Fields) -> Result<(), Refusal> {
    let is_on = |name: &str| account.settings.get(name).is_some_and(|value| value == "true");
    if text(fields, "clientUserId").is_some()
        && (is_on("signerMustHaveAccount") || is_on("signerMustLoginToSign") || !is_on("inSessionEnabled"))
    {
        return Err(refuse(
            "ACCOUNT_LACKS_PERMISSIONS",
            "This Account lacks sufficient permissions. Embedded recipients need inSessionEnabled, and neither signerMustHaveAccount nor signerMustLoginToSign.",
        ));
    }
    Ok(())
}

fn access_code(fields: &Fields) -> Result<Option<String>, Refusal> {
    let Some(code) = text(fields, "accessCode") else { return Ok(None) };
    if code.chars().count() > MAX_ACCESS_CODE || code.contains(['<', '>', '&', '#']) {
        return Err(invalid("The accessCode must have at most 50 characters and none of < > & #."));
    }
    Ok(Some(code.to_owned()))
}

/// The phone check that a recipient asks for, in the modern or a legacy form.
fn phone_check(account: &Account, fields: &Fields) -> Result<Option<PhoneCheck>, Refusal> {
    let check =
        |numbers, result| PhoneCheck { numbers, result, failures: 0, is_locked: false, is_passed: false };
    if let Some(modern) = fields.get("identityVerification").and_then(Value::as_object) {
        let workflow = text(modern, "workflowId").unwrap_or_default();
        if !accounts::has_workflow(account, workflow) {
            // The name is the one that the vendor's samples look for in server messages.
            return Err(refuse(
                "IDENTITY_WORKFLOW_INVALID_ID",
                "The identity workflow ID specified is not valid.",
            ));
        }
        return Ok(Some(check(phone_numbers(modern)?, "identityVerificationResult")));
    }
    let Some(configuration) = text(fields, "idCheckConfigurationName") else { return Ok(None) };
    let (field, result) = match configuration.trim_end_matches('$').trim().to_ascii_lowercase().as_str() {
        "sms auth" => ("smsAuthentication", "smsAuthResult"),
        "phone auth" => ("phoneAuthentication", "phoneAuthResult"),
        "id check" => return Err(refused::lacking("questions about a person's past (ID Check $)")),
        _ => return Err(invalid("The idCheckConfigurationName is not a configuration of this account.")),
    };
    if account.settings.get("enableSMSAuthentication").is_some_and(|setting| setting != "true") {
        return Err(refuse(
            "ACCOUNT_LACKS_PERMISSIONS",
            "This Account lacks sufficient permissions. SMS authentication is off.",
        ));
    }
    let legacy = fields.get(field).and_then(Value::as_object);
    let given = legacy.and_then(|legacy| legacy.get("senderProvidedNumbers")).and_then(Value::as_array);
    let numbers: Vec<String> =
        given.into_iter().flatten().filter_map(Value::as_str).filter_map(legacy_number).collect();
    let may_provide = |legacy: &Fields| {
        text(legacy, "recipMayProvideNumber").is_some_and(|value| value.eq_ignore_ascii_case("true"))
    };
    if given.is_none_or(Vec::is_empty) && legacy.is_some_and(may_provide) {
        return Err(refused::lacking("phone numbers that the recipient gives (recipMayProvideNumber)"));
    }
    if numbers.is_empty() || given.is_some_and(|given| given.len() != numbers.len()) {
        return Err(invalid(&format!(
            "{field}.senderProvidedNumbers must hold phone numbers such as +15551234567."
        )));
    }
    Ok(Some(check(numbers, result)))
}

fn phone_numbers(modern: &Fields) -> Result<Vec<String>, Refusal> {
    let options = modern.get("inputOptions").and_then(Value::as_array);
    let list = options.into_iter().flatten().find(|option| option["name"] == "phone_number_list");
    let numbers =
        list.and_then(|option| option["phoneNumberList"].as_array()).filter(|numbers| !numbers.is_empty());
    let Some(numbers) = numbers else {
        return Err(invalid(
            "identityVerification.inputOptions needs an option named phone_number_list, of valueType PhoneNumberList, with at least one number in phoneNumberList.",
        ));
    };
    let kind = list.and_then(|option| option["valueType"].as_str()).unwrap_or_default();
    if !kind.eq_ignore_ascii_case("PhoneNumberList") {
        return Err(invalid("The valueType of the option phone_number_list must be PhoneNumberList."));
    }
    numbers.iter().map(phone_number).collect()
}

fn legacy_number(text: &str) -> Option<String> {
    let is_sane = text.chars().all(|c| c.is_ascii_digit() || "+-() .".contains(c));
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    (is_sane && (7..=15).contains(&digits.len())).then(|| format!("+{digits}"))
}
