//! `/v1/senders`: senders that callers make, like one of the settings that an operator allows them.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use crate::{
    api::{
        Problem,
        caller::{Authenticated, Caller},
        exchange::{Path, Shape, readable},
        router::Api,
        senders::shown,
    },
    auth::identity::{IdError, UserId},
    config::{Environment, check_name, connect_key},
    domain::{Private, SenderName, template_names::Ids},
    objects::{Invalids, entries::Entries, explain::Kind, invalid::token},
    pairing::{Change, MAX_ACCOUNT, NewSender, Wish, is_account},
};

/// Connect keys of one sender: two suffice for a rotation, and every delivery to it costs a digest of each.
pub(super) const MAX_KEYS: usize = 4;
/// Longer than any key that DocuSign makes.
pub(super) const MAX_KEY: usize = 512;
/// Templates that one sender has names for.
pub(super) const MAX_TEMPLATES: usize = 100;

/// A body of these texts, and of what can be changed of a sender later. A struct that is flattened into another could not
/// refuse the fields that there are not.
macro_rules! body {
    ($(#[$doc:meta])* $body:ident { $($needed:ident),* }) => {
        $(#[$doc])*
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $body {
            $($needed: String,)*
            user_id: Option<String>,
            #[serde(default, deserialize_with = "wish")]
            account: Option<Wish>,
            hmac_keys: Option<Vec<String>>,
            templates: Option<Entries<String, String>>,
            #[serde(default, deserialize_with = "wish")]
            brand: Option<Wish>,
        }

        impl Shape for $body {
            const SHAPE: Kind = Kind::Object(&[
                $((stringify!($needed), true, Kind::Text),)*
                ("user_id", false, Kind::Text),
                ("account", false, Kind::Text),
                ("hmac_keys", false, Kind::List(&Kind::Text)),
                ("templates", false, Kind::Map(&Kind::Text)),
                ("brand", false, Kind::Text),
            ]);
        }
    };
}

body! {
    /// What a sender is made with.
    NewBody { name, like }
}

body! {
    /// What of a sender changes.
    ChangeBody {}
}

/// Null is a wish, too; what is not there is none.
fn wish<'de, D: Deserializer<'de>>(given: D) -> Result<Option<Wish>, D::Error> {
    let named = Option::<String>::deserialize(given)?;
    Ok(Some(named.map_or(Wish::Default, Wish::This)))
}

/// `POST /v1/senders`.
pub(super) async fn make(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    let (body, mut faults) = readable(request, &api).await?;
    let NewBody { name, like, user_id, account, hmac_keys, templates, brand } = body;
    let mut more = Invalids::default();
    if let Err(why) = check_name(&name) {
        more.wrong("/name", why);
    }
    let given = ChangeBody { user_id, account, hmac_keys, templates, brand };
    let given = judged(given, api.environment, &mut more);
    faults.add_elsewhere(more);
    faults.into_result()?;
    if !caller.may_make_like(&like) {
        let detail = "this caller may make no senders like that one (callers.NAME.sender_patterns)";
        let fix = "Name in like a sender that callers.NAME.sender_patterns lists for this caller, or have it listed there.";
        return Err(Problem::new("forbidden", detail).fix(fix));
    }
    api.pairings.may_act_as(&caller.name, &like, given.user_id, |sender| caller.may_use_sender(sender))?;
    let sender = SenderName::new(name);
    let new = NewSender {
        name: sender.clone(),
        like,
        user_id: given.user_id,
        account: given.account.and_then(Wish::named),
        hmac_keys: given.hmac_keys.unwrap_or_default(),
        templates: given.templates.unwrap_or_default(),
        brand: given.brand.and_then(Wish::named),
    };
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
    let (body, mut faults) = readable(request, &api).await?;
    let mut more = Invalids::default();
    let change = judged(body, api.environment, &mut more);
    faults.add_elsewhere(more);
    faults.into_result()?;
    if let Some(made) = api.pairings.made(&sender) {
        let may_use = |sender: &SenderName| caller.may_use_sender(sender);
        api.pairings.may_act_as(&caller.name, &made.like, change.user_id, may_use)?;
    }
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

/// What is given, by the rules of each; what breaks them is noted.
fn judged(body: ChangeBody, environment: Environment, faults: &mut Invalids) -> Change {
    if let Some(Wish::This(account)) = &body.account
        && !is_account(account)
    {
        let why = format!("must be the id or the name of an account, at most {MAX_ACCOUNT} characters");
        faults.wrong("/account", why);
    }
    Change {
        user_id: body.user_id.and_then(|id| user(&id, faults)),
        account: body.account,
        hmac_keys: body.hmac_keys.map(|keys| hmac_keys(&keys, environment, faults)),
        templates: body.templates.map(|named| templates(named.0, faults)),
        brand: body.brand.map(|wish| brand(wish, faults)),
    }
}

/// The usual things that stand in the place of a user id are told apart.
fn user(id: &str, faults: &mut Invalids) -> Option<UserId> {
    let read = id.parse::<UserId>();
    if let Err(why) = &read {
        let code = match why {
            IdError::Email => "email_as_id",
            IdError::NotAGuid => "invalid_request",
        };
        faults.add("/user_id", code, why.to_string());
    }
    read.ok()
}

/// The Connect keys of the sender's account, without the quotes that came with copying. They are written, and never shown.
fn hmac_keys(keys: &[String], environment: Environment, faults: &mut Invalids) -> Private<Vec<String>> {
    if keys.len() > MAX_KEYS {
        faults.wrong("/hmac_keys", format!("may hold at most {MAX_KEYS} keys"));
    }
    let mut bare = Vec::new();
    for (at, key) in keys.iter().enumerate() {
        let place = format!("/hmac_keys/{at}");
        if !(1..=MAX_KEY).contains(&key.len()) || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            faults.wrong(place, format!("must have 1 to {MAX_KEY} visible characters"));
            continue;
        }
        match connect_key(key, environment) {
            Ok(key) => bare.push(key.to_owned()),
            Err(why) => {
                let fix = "give a key of Settings > Connect > Connect Keys at DocuSign";
                faults.wrong(place, format!("cannot be a Connect key ({why}); {fix}"));
            }
        }
    }
    Private::new(bare)
}

/// All templates that the sender alone calls so. A name must not look like an id, which would mean another template.
fn templates(named: Ids, faults: &mut Invalids) -> Ids {
    if named.len() > MAX_TEMPLATES {
        faults.wrong("/templates", format!("must be at most {MAX_TEMPLATES} GUIDs of templates by name"));
    }
    let mut ids = Ids::new();
    for (name, id) in named {
        let place = format!("/templates/{}", token(&name));
        match (check_name(&name), guid(&id)) {
            (Err(why), _) => faults.wrong(place, why),
            (Ok(()), _) if Uuid::try_parse(&name).is_ok() => faults.wrong(place, "is an id, not a name"),
            (Ok(()), None) => faults.wrong(place, "must be the GUID of a template"),
            (Ok(()), Some(id)) => {
                ids.insert(name, id);
            }
        }
    }
    ids
}

fn brand(wish: Wish, faults: &mut Invalids) -> Wish {
    let Some(text) = wish.named() else { return Wish::Default };
    let id = guid(&text);
    if id.is_none() {
        faults.wrong("/brand", "must be the GUID of a brand of the account");
    }
    id.map_or(Wish::Default, Wish::This)
}

fn guid(text: &str) -> Option<String> {
    Uuid::try_parse(text).ok().map(|id| id.hyphenated().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `config/local.toml` shows.
    fn emulators_key() -> &'static str {
        let local = include_str!("../../config/local.toml");
        local.split("hmac_keys = [\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap()
    }

    #[test]
    fn s4_a_connect_key_that_everybody_has_or_could_guess_is_refused_for_a_real_upstream() {
        let emulators = emulators_key();
        let quoted = format!("'{emulators}'");
        let own = "a-Connect-key-of-this-account-alone";
        for key in [emulators, quoted.as_str(), "k", "fifteen-letters", "''"] {
            for environment in [Environment::Demo, Environment::Production] {
                let mut faults = Invalids::default();
                hmac_keys(&[own.to_owned(), key.to_owned()], environment, &mut faults);
                let places: Vec<_> = faults.0.iter().map(|fault| fault.pointer.as_str()).collect();
                assert_eq!(places, ["/hmac_keys/1"], "{key}");
                assert!(!faults.0[0].detail.contains(emulators), "{faults:?}");
            }
        }
        // The emulator signs with its own, and a test with what it likes.
        let mut faults = Invalids::default();
        let keys = hmac_keys(&[quoted.clone(), "k".to_owned()], Environment::Emulator, &mut faults);
        assert_eq!(
            (keys.reveal().as_slice(), faults),
            (&[emulators.to_owned(), "k".to_owned()][..], Invalids::default())
        );
    }
}
