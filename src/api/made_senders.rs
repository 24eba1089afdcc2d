//! `/v1/senders`: senders that callers make, like one of the settings that an operator allows them.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    api::{
        Problem,
        bodies::whole_body,
        caller::{Authenticated, Caller},
        exchange::{Path, known},
        router::Api,
        senders::shown,
    },
    auth::identity::{IdError, UserId},
    config::check_name,
    domain::{Private, SenderName, template_names::Ids},
    objects::{Invalids, invalid::token},
    pairing::{Change, NewSender, Wish, is_account},
};

/// Connect keys of one sender: two suffice for a rotation, and every delivery to it costs a digest of each.
pub(super) const MAX_KEYS: usize = 4;
/// Longer than any key that DocuSign makes.
pub(super) const MAX_KEY: usize = 512;
/// Templates that one sender has names for.
pub(super) const MAX_TEMPLATES: usize = 100;

/// `POST /v1/senders`.
pub(super) async fn make(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    let fields = object(&whole_body(request, &api).await?)?;
    let mut faults = Invalids::default();
    known(&fields, &["name", "like", "user_id", "account", "hmac_keys", "templates", "brand"], &mut faults);
    let name = text(&fields, "name", &mut faults);
    let like = text(&fields, "like", &mut faults).unwrap_or_default();
    // Where there is no text, that is said already.
    if let Some(Err(why)) = name.as_deref().map(check_name) {
        faults.wrong("/name", why);
    }
    let name = name.unwrap_or_default();
    let user_id = user(&fields, &mut faults);
    let account = account(&fields, &mut faults).and_then(Wish::named);
    let hmac_keys = hmac_keys(&fields, &mut faults).unwrap_or_else(|| Private::new(Vec::new()));
    let templates = templates(&fields, &mut faults).unwrap_or_default();
    let brand = brand(&fields, &mut faults).and_then(Wish::named);
    if !faults.is_empty() {
        return Err(faults.into());
    }
    if !caller.may_make_like(&like) {
        let detail = "this caller may make no senders like that one (callers.NAME.sender_patterns)";
        let fix = "Name in like a sender that callers.NAME.sender_patterns lists for this caller, or have it listed there.";
        return Err(Problem::new("forbidden", detail).fix(fix));
    }
    api.pairings.may_act_as(&caller.name, &like, user_id, |sender| caller.may_use_sender(sender))?;
    let sender = SenderName::new(name);
    let new = NewSender { name: sender.clone(), like, user_id, account, hmac_keys, templates, brand };
    api.pairings.make(&caller.name, new).await?;
    shown(&api, &sender, StatusCode::CREATED)
}

/// `PATCH /v1/senders/{name}`: another user, account, Connect keys, templates or brand.
pub(super) async fn change(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let sender = own(&api, &caller, &name)?;
    let fields = object(&whole_body(request, &api).await?)?;
    let mut faults = Invalids::default();
    known(&fields, &["user_id", "account", "hmac_keys", "templates", "brand"], &mut faults);
    let user_id = user(&fields, &mut faults);
    let account = account(&fields, &mut faults);
    let hmac_keys = hmac_keys(&fields, &mut faults);
    let (templates, brand) = (templates(&fields, &mut faults), brand(&fields, &mut faults));
    if !faults.is_empty() {
        return Err(faults.into());
    }
    if let Some(made) = api.pairings.made(&sender) {
        let may_use = |sender: &SenderName| caller.may_use_sender(sender);
        api.pairings.may_act_as(&caller.name, &made.like, user_id, may_use)?;
    }
    let change = Change { user_id, account, hmac_keys, templates, brand };
    api.pairings.change(&sender, &caller.name, change).await?;
    shown(&api, &sender, StatusCode::OK)
}

/// `DELETE /v1/senders/{name}`: with what was stored of its pairing. Its signings stay.
pub(super) async fn unmake(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let sender = own(&api, &caller, &name)?;
    api.pairings.unmake(&sender, &caller.name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A sender that this caller made: those of the settings are the operators'.
fn own(api: &Api, caller: &Caller, name: &str) -> Result<SenderName, Problem> {
    let sender = api.sender_of(caller, name)?;
    if api.pairings.made(&sender).is_some() {
        return Ok(sender);
    }
    Err(Problem::new("forbidden", "this sender is in the settings, and is changed there")
        .fix("Change [senders.NAME] in the settings, and start the daemon again (new keys are taken up by SIGHUP)."))
}

fn object(body: &bytes::Bytes) -> Result<Map<String, Value>, Problem> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        _ => Err(Problem::new("invalid_request", "the body is not a JSON object")),
    }
}

fn text(fields: &Map<String, Value>, name: &str, faults: &mut Invalids) -> Option<String> {
    let given = fields.get(name);
    let text = given.and_then(Value::as_str).map(str::to_owned);
    if text.is_none() {
        faults.wrong(format!("/{name}"), if given.is_none() { "is missing" } else { "must be text" });
    }
    text
}

/// The usual things that stand in the place of a user id are told apart.
fn user(fields: &Map<String, Value>, faults: &mut Invalids) -> Option<UserId> {
    let given = fields.get("user_id").filter(|value| !value.is_null())?;
    let read = given.as_str().map(str::parse::<UserId>);
    match read {
        Some(Ok(id)) => Some(id),
        Some(Err(why)) => {
            let code = match why {
                IdError::Email => "email_as_id",
                IdError::NotAGuid => "invalid_request",
            };
            faults.add("/user_id", code, why.to_string());
            None
        }
        None => {
            faults.wrong("/user_id", "must be text");
            None
        }
    }
}

fn account(fields: &Map<String, Value>, faults: &mut Invalids) -> Option<Wish> {
    match fields.get("account")? {
        Value::Null => Some(Wish::Default),
        Value::String(text) if is_account(text) => Some(Wish::This(text.clone())),
        _ => {
            faults.wrong("/account", "must be the id or the name of an account");
            None
        }
    }
}

fn brand(fields: &Map<String, Value>, faults: &mut Invalids) -> Option<Wish> {
    let given = fields.get("brand")?;
    if given.is_null() {
        return Some(Wish::Default);
    }
    let id = guid(given);
    if id.is_none() {
        faults.wrong("/brand", "must be the GUID of a brand of the account");
    }
    id.map(Wish::This)
}

/// All templates that the sender alone calls so. A name must not look like an id, which would mean another template.
fn templates(fields: &Map<String, Value>, faults: &mut Invalids) -> Option<Ids> {
    let given = fields.get("templates").filter(|value| !value.is_null())?;
    let Some(named) = given.as_object().filter(|named| named.len() <= MAX_TEMPLATES) else {
        faults.wrong("/templates", format!("must be at most {MAX_TEMPLATES} GUIDs of templates by name"));
        return None;
    };
    let mut ids = Ids::new();
    for (name, id) in named {
        let place = format!("/templates/{}", token(name));
        match (check_name(name), guid(id)) {
            (Err(why), _) => faults.wrong(place, why),
            (Ok(()), _) if Uuid::try_parse(name).is_ok() => faults.wrong(place, "is an id, not a name"),
            (Ok(()), None) => faults.wrong(place, "must be the GUID of a template"),
            (Ok(()), Some(id)) => {
                ids.insert(name.clone(), id);
            }
        }
    }
    Some(ids)
}

fn guid(value: &Value) -> Option<String> {
    Uuid::try_parse(value.as_str()?).ok().map(|id| id.hyphenated().to_string())
}

/// The Connect keys of the sender's account. They are written, and never shown.
fn hmac_keys(fields: &Map<String, Value>, faults: &mut Invalids) -> Option<Private<Vec<String>>> {
    let given = fields.get("hmac_keys").filter(|value| !value.is_null())?;
    let is_key = |key: &&str| (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    let keys = given.as_array().filter(|keys| keys.len() <= MAX_KEYS).and_then(|keys| {
        keys.iter().map(|key| key.as_str().filter(is_key).map(str::to_owned)).collect::<Option<Vec<_>>>()
    });
    if keys.is_none() {
        let wanted = format!("must be at most {MAX_KEYS} keys of 1 to {MAX_KEY} visible characters");
        faults.wrong("/hmac_keys", wanted);
    }
    keys.map(Private::new)
}
