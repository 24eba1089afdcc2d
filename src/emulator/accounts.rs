//! Accounts and their users: who may call, what the account can do, who is in it.
//!
//! The order of the checks on a call is inferred: token, then account, then membership. The vendor
//! publishes no map from its codes to statuses; what was seen in the field is used, 400 elsewhere.
//!
//! Sources: developers.docusign.com, eSignature REST API, Accounts, Users, AccountIdentityVerification;
//! "Troubleshooting common errors".

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    directory::{self, Account, User},
    envelopes::{
        self, Outcome, body, literals,
        model::{Refusal, invalid, refuse},
    },
    http::{Answer, Call, vendor_time},
    oauth, paging,
    schema::Body,
    state::World,
};

/// The stock workflow for phone authentication; it has one id in every account.
pub(super) const PHONE_WORKFLOW: &str = "c368e411-1592-4001-a3df-dca94ac539ae";
/// The workflow that is limited to SMS, which accounts for CFR Part 11 ask before access and before signing.
pub(super) const SMS_WORKFLOW: &str = "6d4f3a17-58a5-4d0e-9a52-3c2f1b700001";
/// The name by which the vendor's samples find it (SDK: eg041).
const SMS_NAME: &str = "SMS for access & signatures";

/// A page of the list of users (SPEC: Users:list, count).
const MAX_PAGE: usize = 100;

/// Whether the account has that identity verification workflow.
pub(super) fn has_workflow(account: &Account, id: &str) -> bool {
    account.identity_verification
        && [PHONE_WORKFLOW, SMS_WORKFLOW].iter().any(|known| known.eq_ignore_ascii_case(id))
}

/// `GET /restapi/service_information` and `GET /restapi/v2.1`, which need no token.
pub(super) fn unauthenticated(call: &Call) -> Option<Answer> {
    if call.method != Method::GET {
        return None;
    }
    let body = if call.segments.last().is_some_and(|last| last == "service_information") {
        json!({
            "buildVersion": env!("CARGO_PKG_VERSION"),
            "buildBranch": "countersign-emulator",
            "linkedSites": [call.origin],
            "serviceVersions": [{ "version": "v2.1", "versionUrl": format!("{}/restapi/v2.1", call.origin) }],
        })
    } else {
        let names = ["accounts", "envelopes", "templates", "users", "signatures", "connect", "brands"];
        json!({ "resources": names.map(|name| json!({ "name": name })) })
    };
    Some(Answer::ok(body))
}

/// Checks the token and the account of a call, and writes both into it.
pub(super) fn authorise(world: &mut World, call: &mut Call) -> Result<(), Answer> {
    let user = check_token(world, call)?;
    let asked = call.segments.get(3).cloned().unwrap_or_default();
    let Some((id, account)) = world.directory.account(&asked) else {
        return Err(Answer::error(
            StatusCode::BAD_REQUEST,
            "PARTNER_AUTHENTICATION_FAILED",
            "The specified Integrator Key was not found or is disabled. Invalid account specified for user.",
        ));
    };
    if is_elsewhere(account, call) {
        return Err(Answer::error(StatusCode::BAD_REQUEST, "INVALID_USERID", "Invalid UserId."));
    }
    if world.directory.membership(&user, id).is_none() {
        return Err(Answer::error(
            StatusCode::BAD_REQUEST,
            "USER_DOES_NOT_BELONG_TO_SPECIFIED_ACCOUNT",
            "The specified User is not a member of the specified Account.",
        ));
    }
    call.account = Some(id.to_owned());
    call.user = Some(user);
    Ok(())
}

/// Whether the account was moved to another host than the one that the call came to. A proxy may stand between that
/// adds TLS, so the scheme is not compared.
fn is_elsewhere(account: &Account, call: &Call) -> bool {
    let Some(home) = account.elsewhere.as_deref().and_then(|home| url::Url::parse(home).ok()) else {
        return false;
    };
    let came = call.origin.split_once("://").map_or("", |(_, host)| host);
    let came = url::Url::parse(&format!("{}://{came}", home.scheme()));
    came.map_or(true, |came| came.origin() != home.origin())
}

fn check_token(world: &mut World, call: &Call) -> Result<String, Answer> {
    let Some(text) = oauth::bearer(call) else {
        return Err(Answer::error(
            StatusCode::UNAUTHORIZED,
            "PARTNER_AUTHENTICATION_FAILED",
            "The specified Integrator Key was not found or is disabled. An Integrator key was not specified.",
        ));
    };
    let wrong = || {
        Answer::error(
            StatusCode::UNAUTHORIZED,
            "USER_AUTHENTICATION_FAILED",
            "One or both of Username and Password are invalid. Invalid access token",
        )
    };
    let token = world.directory.access_tokens.get(text).cloned().ok_or_else(wrong)?;
    if !token.is_alive(call.now) {
        return Err(Answer::error(
            StatusCode::UNAUTHORIZED,
            "AUTHORIZATION_INVALID_TOKEN",
            "The access token provided is expired, revoked or malformed.",
        ));
    }
    // An application token stands for nobody.
    let user = token.user.ok_or_else(wrong)?;
    if !token.scopes.iter().any(|scope| scope == "signature") {
        return Err(Answer::error(
            StatusCode::FORBIDDEN,
            "USER_LACKS_PERMISSIONS",
            "This user lacks sufficient permissions to access this resource. The token lacks the scope signature.",
        ));
    }
    world.judge.used(&oauth::owner(&token.app, Some(&user)));
    Ok(user)
}

/// Calls about the account itself.
pub(super) fn route(world: &mut World, call: &Call) -> Option<Answer> {
    let id = call.account.clone()?;
    let below = call.below_account();
    if call.method == Method::PUT && below == ["settings"] {
        return Some(change_settings(world, call, &id).unwrap_or_else(|refused| refused));
    }
    if call.method != Method::GET {
        return None;
    }
    let account = world.directory.accounts.get(&id)?;
    match below.as_slice() {
        [] => Some(information(&id, account, call).map_or_else(Into::into, Answer::ok)),
        ["settings"] => Some(settings(account).map_or_else(Into::into, Answer::ok)),
        ["users"] => Some(users(world, call, &id).unwrap_or_else(Into::into)),
        ["users", user] => Some(one_user(world, call, &id, user)),
        ["identity_verification"] => Some(Answer::ok(workflows(account, call))),
        _ => None,
    }
}

fn information(id: &str, account: &Account, call: &Call) -> Result<Value, Refusal> {
    let mut information = json!({
        "accountIdGuid": id,
        "externalAccountId": account.number,
        "accountName": account.name,
        "createdDate": vendor_time(account.created),
        // "Reserved for DocuSign" (SPEC): a word, since the vendor's own suite for C# wants one.
        "billingProfile": "web",
        "currentPlanId": "c2f00001-0000-4000-8000-000000000001",
        "planName": "Developer (emulated)",
        "planClassification": "business",
        "billingPeriodEnvelopesAllowed": "unlimited",
        "billingPeriodEnvelopesSent": "0",
        "canUpgrade": "false",
        "connectPermission": "true",
        "isDowngrade": "false",
        "suspensionStatus": "",
        "distributorCode": "EMULATOR",
    });
    if call.asks_for("include_account_settings") {
        information["accountSettings"] = settings(account)?;
    }
    Ok(information)
}

/// The settings of an account: its own, and what is the same in every account here, because it is how envelopes are
/// treated: the rules of access codes, what an envelope does about time unless it says otherwise, which tabs can be used.
/// Of these objects (SPEC: accountSettingsInformation) only the members that are true of this emulator are shown.
fn settings(account: &Account) -> Result<Value, Refusal> {
    let mut settings = json!(account.settings);
    settings["accessCodeFormat"] = json!({
        "formatRequired": "false",
        "letterRequired": "false",
        "minimumLength": "1",
        "numberRequired": "false",
        "specialCharacterRequired": "false",
    });
    let mut notification = envelopes::notification(None)?;
    notification.remove("useAccountDefaults");
    notification.insert("userOverrideEnabled".to_owned(), json!("true"));
    settings["accountNotification"] = Value::Object(notification);
    settings["accountUISettings"] = json!({
        "enableAdminMessage": "false",
        "enableEnvelopeCopyWithData": "false",
        "hasExternalLinkedAccounts": "false",
        "shouldRedactAccessCode": "false",
    });
    settings["tabAccountSettings"] = json!({
        "calculatedFieldsEnabled": "false",
        "checkboxTabsEnabled": "true",
        "currencyTabsEnabled": "true",
        "dataFieldRegexEnabled": "true",
        "dataFieldSizeEnabled": "true",
        "listTabsEnabled": "true",
        "prefillTabsEnabled": "false",
        "radioTabsEnabled": "true",
        "savingCustomTabsEnabled": "false",
        "sharedCustomTabsEnabled": "false",
        "tabLockingEnabled": "true",
        "textTabsEnabled": "true",
    });
    Ok(settings)
}

/// `PUT …/settings`, for administrators. Settings that decide nothing here are kept as they are sent.
fn change_settings(world: &mut World, call: &Call, account: &str) -> Result<Answer, Answer> {
    require_admin(world, call)?;
    let given = body(call, Body::AccountSettings)?.as_object().cloned().unwrap_or_default();
    let switches = directory::SETTINGS.map(|(name, _)| name);
    literals::switches(&given, &switches)?;
    if let Some(account) = world.directory.accounts.get_mut(account) {
        for (name, value) in &given {
            let Some(value) = value.as_str() else { continue };
            let value = match switches.contains(&name.as_str()) {
                true if value.is_empty() => continue,
                true => value.to_ascii_lowercase(),
                false => value.to_owned(),
            };
            account.settings.insert(name.clone(), value);
        }
    }
    Ok(Answer::empty(StatusCode::OK))
}

/// Refuses who does not administer the account.
pub(super) fn require_admin(world: &World, call: &Call) -> Result<(), Answer> {
    let place = match (&call.user, &call.account) {
        (Some(user), Some(account)) => world.directory.membership(user, account),
        _ => None,
    };
    if place.is_some_and(|place| place.is_admin) {
        return Ok(());
    }
    Err(Answer::error(
        StatusCode::UNAUTHORIZED,
        "USER_NOT_ACCOUNT_ADMIN",
        "The user is not an account administrator.",
    ))
}

/// Filters of the vendor's that are not played here: ignored, they would answer another question. With
/// `include_usersettings_for_csv` and `login_status` rows would hold what nobody has here.
const NOT_PLAYED: [&str; 6] = [
    "alternate_admins_only",
    "domain_users_only",
    "group_id",
    "include_usersettings_for_csv",
    "login_status",
    "not_group_id",
];

fn users(world: &World, call: &Call, account: &str) -> Outcome {
    let given = |name: &str| call.query(name).filter(|value| !value.is_empty());
    let asks = |name: &&str| given(name).is_some_and(|value| !value.eq_ignore_ascii_case("false"));
    if let Some(name) = NOT_PLAYED.into_iter().find(asks) {
        return Err(invalid(&format!("The emulator does not filter users by '{name}'.")));
    }
    if given("email").is_some() && given("email_substring").is_some() {
        return Err(invalid("Query parameters 'email' and 'email_substring' do not go together."));
    }
    let has_part = |name: &str, whole: &str| {
        given(name).is_none_or(|part| whole.to_lowercase().contains(&part.to_lowercase()))
    };
    let directory = &world.directory;
    let people: Vec<Value> = directory
        .memberships
        .iter()
        .filter(|place| place.account == account)
        .filter_map(|place| Some((place, directory.users.get(&place.user)?)))
        .filter(|(_, user)| call.query("email").is_none_or(|email| user.email.eq_ignore_ascii_case(email)))
        .filter(|(_, user)| has_part("email_substring", &user.email))
        .filter(|(_, user)| has_part("user_name_substring", &user.name))
        .filter(|(_, user)| {
            call.query("status").is_none_or(|wanted| {
                wanted.split(',').any(|wanted| wanted.trim().eq_ignore_ascii_case(status_of(user)))
            })
        })
        .map(|(place, user)| person(&place.user, user, place.is_admin, call))
        .collect();
    if people.is_empty() && call.query("email").is_some() {
        return Err(refuse(
            "USER_LACKS_MEMBERSHIP",
            "The UserID does not have a valid membership in this Account.",
        ));
    }
    paging::page(call, "/users", "users", people, MAX_PAGE).map(Answer::ok)
}

fn one_user(world: &World, call: &Call, account: &str, asked: &str) -> Answer {
    let asked = asked.to_ascii_lowercase();
    let place = world.directory.membership(&asked, account);
    match (place, world.directory.users.get(&asked)) {
        (Some(place), Some(user)) => {
            let mut one = person(&asked, user, place.is_admin, call);
            one["userSettings"] = user_settings(user, place.is_admin);
            // There are no groups here for anybody to be in.
            one["groupList"] = json!([]);
            Answer::ok(one)
        }
        _ => Answer::error(StatusCode::BAD_REQUEST, "INVALID_USERID", "Invalid UserId."),
    }
}

/// What a user may do here, by the members of SPEC's userSettingsInformation: nobody can change it.
fn user_settings(user: &User, is_admin: bool) -> Value {
    let (may, may_all) = (user.is_active.to_string(), (user.is_active && is_admin).to_string());
    json!({
        "allowEnvelopeTransferTo": "false",
        "allowEsealRecipients": "false",
        "allowSendOnBehalfOf": "false",
        "apiAccountWideAccess": may_all,
        "bulkSend": may,
        "canLockEnvelopes": may,
        "canManageAccount": may_all,
        "canManageTemplates": may,
        "canSendAPIRequests": may,
        "canSendEnvelope": may,
        "canSignEnvelope": may,
        "disableDocumentUpload": "false",
        "enableSequentialSigningAPI": may,
        "powerFormMode": "none",
    })
}

fn status_of(user: &User) -> &'static str {
    if user.is_active { "Active" } else { "Closed" }
}

fn person(id: &str, user: &User, is_admin: bool, call: &Call) -> Value {
    json!({
        "userId": id,
        "userName": user.name,
        "firstName": user.given_name,
        "lastName": user.family_name,
        "email": user.email,
        "userStatus": status_of(user),
        "userType": "CompanyUser",
        "isAdmin": if is_admin { "True" } else { "False" },
        "createdDateTime": vendor_time(user.created),
        "userAddedToAccountDateTime": vendor_time(user.created),
        "defaultAccountId": call.account,
        "uri": format!("/users/{id}"),
    })
}

/// `GET …/identity_verification`: what a signer can be asked to prove, and what it takes to ask.
fn workflows(account: &Account, call: &Call) -> Value {
    let wants_active = call
        .query("identity_verification_workflow_status")
        .is_none_or(|status| status.eq_ignore_ascii_case("active") || status.eq_ignore_ascii_case("all"));
    if !account.identity_verification || !wants_active {
        return json!({ "identityVerification": [] });
    }
    let row = |id: &str, name: &str, about: &str, key: &str| {
        json!({
            "workflowId": id,
            "defaultName": name,
            "defaultDescription": about,
            "workflowResourceKey": key,
            "ownerType": if id == PHONE_WORKFLOW { "default" } else { "account" },
            "inputOptions": [{
                "optionName": "phone_number_list",
                "valueType": "PhoneNumberList",
                "isRequired": true,
            }],
        })
    };
    json!({ "identityVerification": [
        row(
            PHONE_WORKFLOW,
            "Phone Authentication",
            "The recipient will authenticate with a code sent by text message or call.",
            "workflow_phone_authentication",
        ),
        row(
            SMS_WORKFLOW,
            SMS_NAME,
            "The recipient will authenticate with a code sent by text message.",
            "workflow_sms_for_access_and_signatures",
        ),
    ] })
}
