//! Who there is and who may do what: users, accounts, integration keys, consents, domains, features.

use std::collections::BTreeMap;

use rsa::{
    pkcs1::{DecodeRsaPublicKey as _, EncodeRsaPublicKey as _},
    pkcs8::DecodePublicKey as _,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{done, read};
use crate::emulator::{
    directory::{self, PublicKey},
    http::{self, Answer, Call},
    oauth,
    state::World,
};

/// Who has consented to what.
pub(super) fn consents(world: &World) -> Answer {
    let row = |kind: &str, (app, owner, scope): &(String, String, String)| json!({ "integration_key": app, kind: owner, "scope": scope });
    let individual = world.directory.consents.iter().map(|consent| row("user_id", consent));
    let organisation =
        world.directory.organisation_consents.iter().map(|consent| row("organization_id", consent));
    Answer::ok(json!({ "consents": individual.chain(organisation).collect::<Vec<Value>>() }))
}

/// Scopes as a list or as one text with blanks between.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scopes {
    List(Vec<String>),
    Text(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Consent {
    user_id: Option<String>,
    organization_id: Option<String>,
    integration_key: Option<String>,
    scopes: Option<Scopes>,
    granted: bool,
}

/// Grants consent, or takes it back: refresh tokens die then, access tokens live on, as at the vendor.
pub(super) fn consent(world: &mut World, call: &Call) -> Result<Answer, String> {
    let new: Consent = read(call)?;
    let app = known_app(world, new.integration_key)?;
    let scopes = match new.scopes {
        Some(Scopes::List(list)) => Some(list),
        Some(Scopes::Text(text)) => Some(text.split_whitespace().map(str::to_owned).collect()),
        None if new.granted => Some(vec!["impersonation".to_owned(), "signature".to_owned()]),
        None => None,
    };
    let directory = &mut world.directory;
    let (set, owner) = match (new.user_id, new.organization_id) {
        (Some(_), Some(_)) => return Err("give one of `user_id` and `organization_id`".to_owned()),
        (None, Some(organisation)) => (&mut directory.organisation_consents, organisation),
        (user, None) => {
            let user = user.unwrap_or_else(|| directory::USER.to_owned()).to_ascii_lowercase();
            if !directory.users.contains_key(&user) {
                return Err("no such `user_id`".to_owned());
            }
            (&mut directory.consents, user)
        }
    };
    if new.granted {
        set.extend(scopes.into_iter().flatten().map(|scope| (app.clone(), owner.clone(), scope)));
        return Ok(done());
    }
    set.retain(|(for_app, by, scope)| {
        *for_app != app || *by != owner || scopes.as_ref().is_some_and(|scopes| !scopes.contains(scope))
    });
    let members: Vec<String> = directory.users.keys().cloned().collect();
    for user in members {
        let has_all =
            |scopes: &[String]| scopes.iter().all(|scope| directory.has_consent(&app, &user, scope));
        let dead: Vec<String> = directory
            .refresh_tokens
            .iter()
            .filter(|(_, token)| token.app == app && token.user == user && !has_all(&token.scopes))
            .map(|(text, _)| text.clone())
            .collect();
        for text in dead {
            directory.refresh_tokens.remove(&text);
        }
    }
    Ok(done())
}

fn known_app(world: &World, app: Option<String>) -> Result<String, String> {
    let app = app.map_or_else(|| directory::INTEGRATION_KEY.to_owned(), |app| app.to_ascii_lowercase());
    if world.directory.apps.contains_key(&app) {
        Ok(app)
    } else {
        Err("no such `integration_key`".to_owned())
    }
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    integration_key: Option<String>,
    public_key_pem: String,
    #[serde(default = "yes")]
    active: bool,
}

/// Registers a public key, or switches a registered one off and on.
pub(super) fn key(world: &mut World, call: &Call) -> Result<Answer, String> {
    let new: NewKey = read(call)?;
    let app = known_app(world, new.integration_key)?;
    let pem = new.public_key_pem.trim();
    let public = rsa::PublicKey::from_public_key_pem(pem)
        .ok()
        .or_else(|| rsa::PublicKey::from_pkcs1_pem(pem).ok())
        .ok_or("`public_key_pem` is no RSA public key in PEM (PUBLIC KEY or RSA PUBLIC KEY)")?;
    let der = public.to_pkcs1_der().map_err(|error| error.to_string())?.as_bytes().to_vec();
    if let Some(app) = world.directory.apps.get_mut(&app) {
        match app.keys.iter_mut().find(|key| key.der == der) {
            Some(known) => known.is_active = new.active,
            None => app.keys.push(PublicKey { der, is_active: new.active }),
        }
    }
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RedirectUris {
    integration_key: Option<String>,
    uris: Vec<String>,
    /// Whether loopback callbacks count as registered without being listed.
    loopback: Option<bool>,
}

/// Registers redirect URIs.
pub(super) fn redirect_uris(world: &mut World, call: &Call) -> Result<Answer, String> {
    let new: RedirectUris = read(call)?;
    let app = known_app(world, new.integration_key)?;
    if let Some(uri) = new.uris.iter().find(|uri| url::Url::parse(uri).is_err()) {
        return Err(format!("`{uri}` is no absolute URI"));
    }
    if let Some(app) = world.directory.apps.get_mut(&app) {
        app.redirect_uris.extend(new.uris);
        app.takes_loopback_callbacks = new.loopback.unwrap_or(app.takes_loopback_callbacks);
    }
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    user_id: Option<String>,
    integration_key: Option<String>,
}

/// Ends access tokens before their time: of a user, of an integration key, or all.
pub(super) fn revoke(world: &mut World, call: &Call) -> Result<Answer, String> {
    let which: Revoke = read(call)?;
    let same = |wanted: &Option<String>, is: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| is.is_some_and(|is| is.eq_ignore_ascii_case(wanted)))
    };
    let dying: Vec<String> = world
        .directory
        .access_tokens
        .iter()
        .filter(|(_, token)| same(&which.user_id, token.user.as_deref()))
        .filter(|(_, token)| same(&which.integration_key, Some(&token.app)) && token.is_alive(call.now))
        .map(|(text, _)| text.clone())
        .collect();
    for token in &dying {
        oauth::kill(world, token);
    }
    Ok(Answer::ok(json!({ "ok": true, "revoked": dying.len() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserChange {
    user_id: String,
    active: Option<bool>,
    account_id: Option<String>,
    member: Option<bool>,
}

/// Closes or re-opens a user, or moves one in or out of an account.
pub(super) fn user(world: &mut World, call: &Call) -> Result<Answer, String> {
    let change: UserChange = read(call)?;
    let id = change.user_id.to_ascii_lowercase();
    let directory = &mut world.directory;
    let user = directory.users.get_mut(&id).ok_or("no such `user_id`")?;
    user.is_active = change.active.unwrap_or(user.is_active);
    if let Some(member) = change.member {
        let account = change.account_id.as_deref().unwrap_or(directory::ACCOUNT);
        let account = directory.account(account).ok_or("no such `account_id`")?.0.to_owned();
        directory.memberships.retain(|place| place.user != id || place.account != account);
        if member {
            let is_default = !directory.memberships.iter().any(|place| place.user == id);
            directory.memberships.push(directory::Membership {
                user: id,
                account,
                is_default,
                is_admin: false,
            });
        }
    }
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountMove {
    account_id: Option<String>,
    base_uri: Option<String>,
}

/// Moves an account to another host, as the vendor does when it moves one between its sites: `userinfo`
/// names the new one, and calls for it that come to any other are refused. The emulator may have the new one, too.
pub(super) fn account(world: &mut World, call: &Call) -> Result<Answer, String> {
    let new: AccountMove = read(call)?;
    if new.base_uri.as_ref().is_some_and(|uri| url::Url::parse(uri).is_err()) {
        return Err("`base_uri` is no absolute URI".to_owned());
    }
    let asked = new.account_id.as_deref().unwrap_or(directory::ACCOUNT);
    let account = world.directory.account(asked).ok_or("no such `account_id`")?.0.to_owned();
    if let Some(account) = world.directory.accounts.get_mut(&account) {
        account.elsewhere = new.base_uri;
    }
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AppChange {
    integration_key: Option<String>,
    known: bool,
}

/// Takes an integration key out of this environment, like one that was never promoted to it, or puts it back.
pub(super) fn app(world: &mut World, call: &Call) -> Result<Answer, String> {
    let change: AppChange = read(call)?;
    let id = change
        .integration_key
        .map_or_else(|| directory::INTEGRATION_KEY.to_owned(), |id| id.to_ascii_lowercase());
    let directory = &mut world.directory;
    let (here, away) = (&mut directory.apps, &mut directory.apps_elsewhere);
    let (from, to) = if change.known { (away, here) } else { (here, away) };
    match from.remove(&id) {
        Some(app) => drop(to.insert(id, app)),
        None if to.contains_key(&id) => {}
        None => return Err("no such `integration_key`".to_owned()),
    }
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Features {
    account_id: Option<String>,
    identity_verification: Option<bool>,
    #[serde(default)]
    settings: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Domains {
    organization_id: Option<String>,
    claimed: Vec<String>,
}

/// Says which domains an organisation has claimed, in place of those before.
pub(super) fn domains(world: &mut World, call: &Call) -> Result<Answer, String> {
    let new: Domains = read(call)?;
    let organisation = new.organization_id.unwrap_or_else(|| directory::ORGANISATION.to_owned());
    let claimed =
        world.directory.claimed_domains.get_mut(&organisation).ok_or("no such `organization_id`")?;
    *claimed = new.claimed.iter().map(|domain| domain.to_ascii_lowercase()).collect();
    Ok(done())
}

/// Turns a plan's features on and off, and sets account settings.
pub(super) fn features(world: &mut World, call: &Call) -> Result<Answer, String> {
    let new: Features = read(call)?;
    let asked = new.account_id.as_deref().unwrap_or(directory::ACCOUNT);
    let account = world.directory.account(asked).ok_or("no such `account_id`")?.0.to_owned();
    let Some(account) = world.directory.accounts.get_mut(&account) else { return Ok(done()) };
    account.identity_verification = new.identity_verification.unwrap_or(account.identity_verification);
    for (name, value) in new.settings {
        let value = http::text(Some(&value)).ok_or_else(|| format!("`settings.{name}` is no text"))?;
        account.settings.insert(name, value);
    }
    Ok(done())
}

/// All there is.
pub(super) fn who(world: &World) -> Answer {
    let directory = &world.directory;
    let accounts = directory.accounts.iter().map(|(id, account)| {
        json!({ "account_id": id, "number": account.number, "name": account.name,
                "organization_id": account.organisation, "base_uri": account.elsewhere })
    });
    let users = directory.users.iter().map(|(id, user)| {
        let places: Vec<&str> = directory
            .memberships
            .iter()
            .filter(|place| place.user == *id)
            .map(|place| place.account.as_str())
            .collect();
        json!({ "user_id": id, "name": user.name, "email": user.email, "active": user.is_active,
                "accounts": places, "administers": user.administers })
    });
    let organisations = directory
        .claimed_domains
        .iter()
        .map(|(id, claimed)| json!({ "organization_id": id, "claimed_domains": claimed }));
    let apps = directory.apps.iter().map(|(id, app)| {
        json!({ "integration_key": id, "name": app.name, "secrets": app.secrets,
                "redirect_uris": app.redirect_uris, "keys": app.keys.iter().filter(|key| key.is_active).count() })
    });
    Answer::ok(json!({
        "organizations": organisations.collect::<Vec<_>>(),
        "accounts": accounts.collect::<Vec<_>>(),
        "users": users.collect::<Vec<_>>(),
        "integration_keys": apps.collect::<Vec<_>>(),
    }))
}
