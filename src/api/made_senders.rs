//! `/v1/senders`: senders that callers make, like one of the settings that an operator allows them.

use axum::{
    extract::{Path, Request, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use serde_json::{Map, Value};

use crate::{
    api::{
        Problem,
        caller::Authenticated,
        exchange::{is_json, whole_body},
        router::Api,
        senders::shown,
    },
    auth::identity::{IdError, UserId},
    config::check_name,
    domain::{Private, SenderName},
    objects::{Invalids, invalid::token},
    pairing::{self, AccountWish, Change, NewSender, NotMade, is_account},
};

/// Connect keys of one sender: two suffice for a rotation, and every delivery to it costs a digest of each.
pub(super) const MAX_KEYS: usize = 4;
/// Longer than any key that DocuSign makes.
pub(super) const MAX_KEY: usize = 512;

/// `POST /v1/senders`.
pub(super) async fn make(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    is_json(request.headers())?;
    let fields = object(&whole_body(request, &api).await?)?;
    let mut faults = Invalids::default();
    known(&fields, &["name", "like", "user_id", "account", "hmac_keys"], &mut faults);
    let name = text(&fields, "name", &mut faults).unwrap_or_default();
    let like = text(&fields, "like", &mut faults).unwrap_or_default();
    if let Err(why) = check_name(&name) {
        faults.wrong("/name", why);
    }
    let user_id = user(&fields, &mut faults);
    let account = account(&fields, &mut faults);
    let hmac_keys = hmac_keys(&fields, &mut faults).unwrap_or_else(|| Private::new(Vec::new()));
    if !faults.is_empty() {
        return Err(faults.into());
    }
    if !caller.may_make_like(&like) {
        let detail = "this caller may make no senders like that one (callers.NAME.sender_patterns)";
        return Err(Problem::new("forbidden", detail));
    }
    let sender = SenderName::new(name);
    let account = account.and_then(|wish| match wish {
        AccountWish::Default => None,
        AccountWish::This(account) => Some(account),
    });
    let new = NewSender { name: sender.clone(), like, user_id, account, hmac_keys };
    api.pairings.make(&caller.name, new).await.map_err(problem)?;
    shown(&api, &sender, StatusCode::CREATED)
}

/// `PATCH /v1/senders/{name}`: another user, account, or Connect keys.
pub(super) async fn change(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let sender = own(&api, &caller, &name)?;
    is_json(request.headers())?;
    let fields = object(&whole_body(request, &api).await?)?;
    let mut faults = Invalids::default();
    known(&fields, &["user_id", "account", "hmac_keys"], &mut faults);
    let user_id = user(&fields, &mut faults);
    let account = account(&fields, &mut faults);
    let hmac_keys = hmac_keys(&fields, &mut faults);
    if !faults.is_empty() {
        return Err(faults.into());
    }
    api.pairings
        .change(&sender, &caller.name, Change { user_id, account, hmac_keys })
        .await
        .map_err(problem)?;
    shown(&api, &sender, StatusCode::OK)
}

/// `DELETE /v1/senders/{name}`: with what was stored of its pairing. Its signings stay.
pub(super) async fn unmake(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let sender = own(&api, &caller, &name)?;
    api.pairings.unmake(&sender, &caller.name).await.map_err(problem)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A sender that this caller made: those of the settings are the operators'.
fn own(api: &Api, caller: &crate::api::caller::Caller, name: &str) -> Result<SenderName, Problem> {
    let sender = api.sender_of(caller, name)?;
    if api.pairings.made(&sender).is_some() {
        return Ok(sender);
    }
    Err(Problem::new("forbidden", "this sender is in the settings, and is changed there"))
}

fn object(body: &bytes::Bytes) -> Result<Map<String, Value>, Problem> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        _ => Err(Problem::new("invalid_request", "the body is not a JSON object")),
    }
}

fn known(fields: &Map<String, Value>, names: &[&str], faults: &mut Invalids) {
    for name in fields.keys().filter(|name| !names.contains(&name.as_str())) {
        faults.add(format!("/{}", token(name)), "unknown_field", "there is no such field");
    }
}

fn text(fields: &Map<String, Value>, name: &str, faults: &mut Invalids) -> Option<String> {
    let text = fields.get(name).and_then(Value::as_str).map(str::to_owned);
    if text.is_none() {
        faults.wrong(format!("/{name}"), "must be text");
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

fn account(fields: &Map<String, Value>, faults: &mut Invalids) -> Option<AccountWish> {
    match fields.get("account")? {
        Value::Null => Some(AccountWish::Default),
        Value::String(text) if is_account(text) => Some(AccountWish::This(text.clone())),
        _ => {
            faults.wrong("/account", "must be the id or the name of an account");
            None
        }
    }
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

fn problem(error: NotMade) -> Problem {
    let invalid = |pointer: &'static str, error: &NotMade| {
        let mut faults = Invalids::default();
        faults.wrong(pointer, error.to_string());
        Problem::from(faults)
    };
    match error {
        NotMade::NameTaken => invalid("/name", &error),
        NotMade::UserMissing | NotMade::UserUnwanted => invalid("/user_id", &error),
        NotMade::NoPattern | NotMade::TooMany => Problem::new("forbidden", error.to_string()),
        // It was destroyed meanwhile, here or at another daemon.
        NotMade::Failed(pairing::Error::Stale) => Problem::not_found(),
        NotMade::Failed(cause) => {
            tracing::error!(error = %cause, "a sender was not made or changed");
            Problem::new("store_unavailable", "it could not be written down, so nothing was changed")
                .retry_after(std::time::Duration::from_secs(5))
        }
    }
}
