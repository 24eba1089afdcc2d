//! An account's Connect configurations and HMAC keys, for its administrators.
//!
//! Configurations of the account apply to every envelope in it; deliveries are made in
//! [`super::connect`]. Source: developers.docusign.com, eSignature REST API, ConnectConfigurations
//! and ConnectSecret; at most 20 configurations ("Rules and resource limits").

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::{
    accounts, connect,
    directory::{ConnectSettings, HmacKey},
    http::{Answer, Call, text, truthy, vendor_time},
    schema::{self, Body},
    state::World,
};

const MAX_CONFIGURATIONS: usize = 20;
const MAX_HMAC_KEYS: usize = 100;
/// `configurationType`.
const TYPES: [&str; 4] = ["custom", "customrecipient", "salesforce", "eOriginal"];

/// `…/connect` and below.
pub(super) fn route(world: &mut World, call: &Call) -> Option<Answer> {
    let below = call.below_account();
    let ["connect", rest @ ..] = below.as_slice() else { return None };
    if let Err(refused) = accounts::require_admin(world, call) {
        return Some(refused);
    }
    let rest: Vec<String> = rest.iter().map(|part| (*part).to_owned()).collect();
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let number = 10_000 + u64::from(world.number(0..9_000_000));
    let key_id = world.guid();
    let account = world.directory.accounts.get_mut(call.account.as_deref()?)?;
    let settings = &mut account.connect;
    let answer = match (rest.as_slice(), &call.method) {
        ([], &Method::GET) => Ok(list(settings)),
        ([], &Method::POST) => create(settings, call, number),
        ([], &Method::PUT) => update(settings, call),
        (["secret" | "secrets"], &Method::GET) => Ok(keys(settings)),
        (["secret" | "secrets"], &Method::POST) => add_key(settings, call, key_id),
        (["secret" | "secrets", id], &Method::DELETE) => remove_key(settings, id),
        // Words that are no ids: what they name is not here.
        (["failures" | "logs" | "mobile_notifiers" | "oauth" | "users"], _) => return None,
        ([id], &Method::GET) => find(settings, id)
            .map(|(_, found)| Answer::ok(json!({ "configurations": [found], "totalRecords": "1" }))),
        ([id], &Method::DELETE) => find(settings, id).map(|(id, _)| id).map(|id| {
            settings.configurations.remove(&id);
            // SPEC has no body in this answer.
            Answer::empty(StatusCode::OK)
        }),
        _ => return None,
    };
    Some(answer.unwrap_or_else(|refused| refused))
}

fn list(settings: &ConnectSettings) -> Answer {
    let rows: Vec<&Value> = settings.configurations.values().collect();
    Answer::ok(json!({ "configurations": rows, "totalRecords": rows.len().to_string() }))
}

fn find(settings: &ConnectSettings, id: &str) -> Result<(u64, Value), Answer> {
    id.parse().ok().and_then(|id| Some((id, settings.configurations.get(&id)?.clone()))).ok_or_else(|| {
        Answer::error(
            StatusCode::BAD_REQUEST,
            "CONNECT_CONFIGURATION_DOES_NOT_EXIST",
            "The Connect configuration does not exist.",
        )
    })
}

fn read(call: &Call) -> Result<Map<String, Value>, Answer> {
    call.json()?;
    let malformed = |detail: String| {
        Answer::error(
            StatusCode::BAD_REQUEST,
            "INVALID_REQUEST_BODY",
            &format!("The request body is missing or improperly formatted. {detail}"),
        )
    };
    let value = schema::parse(Body::ConnectConfiguration, &call.body).map_err(malformed)?;
    Ok(value.as_object().cloned().unwrap_or_default())
}

fn check(fields: &Map<String, Value>) -> Result<(), Answer> {
    let refused = |detail: &str| {
        let message = format!("The request contained at least one invalid parameter. {detail}");
        Err(Answer::error(StatusCode::BAD_REQUEST, "INVALID_REQUEST_PARAMETER", &message))
    };
    let url = text(fields.get("urlToPublishTo")).and_then(|url| url::Url::parse(&url).ok());
    let is_taken =
        |url: url::Url| url.scheme() == "https" || (url.scheme() == "http" && connect::is_loopback(&url));
    if !url.is_some_and(is_taken) {
        return refused(
            "urlToPublishTo must be an https address (plain http only on loopback, at this emulator).",
        );
    }
    if text(fields.get("name")).is_none_or(|name| name.is_empty()) {
        return refused("A name is required.");
    }
    let kind = text(fields.get("configurationType")).unwrap_or_default();
    if !TYPES.iter().any(|known| known.eq_ignore_ascii_case(&kind)) {
        return refused(&format!("configurationType is required, as one of {}.", TYPES.join(", ")));
    }
    let users = fields.get("userIds").and_then(Value::as_array);
    if !truthy(fields.get("allUsers")) && users.is_none_or(Vec::is_empty) {
        return refused("userIds are required unless allUsers is true.");
    }
    match connect::unknown_event(fields) {
        Some(event) => refused(&format!("The events have no '{event}'.")),
        None => Ok(()),
    }
}

fn create(settings: &mut ConnectSettings, call: &Call, number: u64) -> Result<Answer, Answer> {
    let mut fields = defaults();
    fields.extend(read(call)?);
    check(&fields)?;
    if settings.configurations.len() >= MAX_CONFIGURATIONS {
        return Err(Answer::error(
            StatusCode::BAD_REQUEST,
            "CONNECT_CONFIGURATION_LIMIT_EXCEEDED",
            "The account has the maximum number of Connect configurations.",
        ));
    }
    fields.insert("connectId".to_owned(), json!(number.to_string()));
    let configuration = Value::Object(fields);
    settings.configurations.insert(number, configuration.clone());
    Ok(Answer::json(StatusCode::CREATED, configuration))
}

/// What is not sent: nobody is told of anything (SPEC: connectCustomConfiguration).
fn defaults() -> Map<String, Value> {
    let defaults = json!({
        "allUsers": "false",
        "allowEnvelopePublish": "false",
        "deliveryMode": "SIM",
        "enableLog": "true",
        "events": [],
        "eventData": { "version": "restv2.1", "format": "json", "includeData": [] },
        "includeHMAC": "false",
        "requiresAcknowledgement": "true",
    });
    defaults.as_object().cloned().unwrap_or_default()
}

fn update(settings: &mut ConnectSettings, call: &Call) -> Result<Answer, Answer> {
    let given = read(call)?;
    let (id, old) = find(settings, &text(given.get("connectId")).unwrap_or_default())?;
    let mut fields = old.as_object().cloned().unwrap_or_default();
    fields.extend(given);
    check(&fields)?;
    let configuration = Value::Object(fields);
    settings.configurations.insert(id, configuration.clone());
    Ok(Answer::ok(configuration))
}

fn shown(key: &HmacKey) -> Value {
    json!({ "key": key.secret, "id": key.id, "createdDateTime": vendor_time(key.created) })
}

fn keys(settings: &ConnectSettings) -> Answer {
    Answer::ok(json!({ "connectSecrets": settings.hmac_keys.iter().map(shown).collect::<Vec<_>>() }))
}

/// Makes a key, or takes the one that is given; each key signs every delivery.
fn add_key(settings: &mut ConnectSettings, call: &Call, id: String) -> Result<Answer, Answer> {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    if settings.hmac_keys.len() >= MAX_HMAC_KEYS {
        return Err(Answer::error(
            StatusCode::BAD_REQUEST,
            "CONNECT_SECRET_LIMIT_EXCEEDED",
            "The account has the maximum number of HMAC keys.",
        ));
    }
    let given = if call.body.is_empty() { None } else { text(call.json()?.get("key")) };
    let secret = given.unwrap_or_else(|| BASE64_STANDARD.encode(World::secret::<32>()));
    let key = HmacKey { id, secret, created: call.now };
    let answer = Answer::json(StatusCode::CREATED, shown(&key));
    settings.hmac_keys.push(key);
    Ok(answer)
}

fn remove_key(settings: &mut ConnectSettings, id: &str) -> Result<Answer, Answer> {
    let before = settings.hmac_keys.len();
    settings.hmac_keys.retain(|key| key.id != id);
    if settings.hmac_keys.len() == before {
        return Err(Answer::error(StatusCode::BAD_REQUEST, "INVALID_REQUEST_PARAMETER", "No such key."));
    }
    Ok(Answer::ok(json!({})))
}
