//! `…/brands`: what an account's envelopes can look like; here a name that stands on top of the pages.
//!
//! Logos, resources and an account's default brands are not played; colours, links and the like are kept and answered.
//! Source: AccountBrands:list, :create, :get, :deleteList, :delete. That only an administrator makes and deletes
//! brands, that no two have one name, and the codes of the refusals are our reading.

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::{
    accounts::require_admin,
    directory::Brand,
    envelopes::{
        body,
        model::{Refusal, invalid},
    },
    http::{Answer, Call},
    schema::Body,
    state::World,
};

/// What is kept of a definition as it was sent.
const KEPT: [&str; 8] = [
    "brandCompany",
    "brandLanguages",
    "colors",
    "defaultBrandLanguage",
    "emailContent",
    "isOverridingCompanyName",
    "landingPages",
    "links",
];

/// Calls about the brands of an account.
pub(super) fn route(world: &mut World, call: &Call) -> Option<Answer> {
    let account = call.account.clone()?;
    let is = |method: Method| call.method == method;
    let outcome = match call.below_account().as_slice() {
        ["brands"] if is(Method::GET) => Ok(list(world, &account, |_| true)),
        ["brands"] if is(Method::POST) => create(world, call, &account),
        ["brands"] if is(Method::DELETE) => delete_named(world, call, &account),
        ["brands", id] if is(Method::GET) => one(world, &account, id).map_err(Into::into),
        ["brands", id] if is(Method::DELETE) => delete(world, call, &account, id),
        _ => return None,
    };
    Some(outcome.unwrap_or_else(|refused| refused))
}

/// `brandsResponse` with those whose id is wanted.
fn list(world: &World, account: &str, is_wanted: impl Fn(&str) -> bool) -> Answer {
    let brands = world.directory.accounts.get(account).map(|account| &account.brands);
    let brands = brands.into_iter().flatten().filter(|(id, _)| is_wanted(id));
    let brands: Vec<Value> = brands.map(|(id, brand)| shown(id, brand)).collect();
    Answer::ok(json!({ "brands": brands }))
}

fn shown(id: &str, brand: &Brand) -> Value {
    let mut fields = Map::new();
    fields.insert("brandCompany".to_owned(), json!(brand.name));
    fields.insert("brandLanguages".to_owned(), json!(["en"]));
    fields.insert("defaultBrandLanguage".to_owned(), json!("en"));
    fields.extend(brand.given.clone());
    fields.insert("brandId".to_owned(), json!(id));
    fields.insert("brandName".to_owned(), json!(brand.name));
    fields.insert("isSendingDefault".to_owned(), json!(false));
    fields.insert("isSigningDefault".to_owned(), json!(false));
    Value::Object(fields)
}

/// The id of a brand as it is stored.
fn find(world: &World, account: &str, id: &str) -> Result<String, Refusal> {
    let found = world.directory.accounts.get(account).and_then(|account| account.brand_id(id));
    found.map(str::to_owned).ok_or_else(|| invalid("The account has no brand of that 'brandId'."))
}

fn one(world: &World, account: &str, id: &str) -> Result<Answer, Refusal> {
    let id = find(world, account, id)?;
    Ok(Answer::ok(shown(&id, &world.directory.accounts[account].brands[&id])))
}

fn create(world: &mut World, call: &Call, account: &str) -> Result<Answer, Answer> {
    require_admin(world, call)?;
    let given = body(call, Body::Brand)?;
    let name = given["brandName"].as_str().map(str::trim).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| invalid("A value was not found for parameter 'brandName'."))?.to_owned();
    let id = world.guid();
    let Some(known) = world.directory.accounts.get_mut(account).map(|account| &mut account.brands) else {
        return Err(invalid("There is no such account.").into());
    };
    if known.values().any(|brand| brand.name.eq_ignore_ascii_case(&name)) {
        return Err(invalid("The account has a brand of that 'brandName'.").into());
    }
    let kept = KEPT.into_iter().filter(|name| !given[*name].is_null());
    let kept = kept.map(|name| (name.to_owned(), given[name].clone())).collect();
    known.insert(id.clone(), Brand { name, given: kept });
    let mut answer = list(world, account, |known| known == id);
    answer.status = StatusCode::CREATED;
    Ok(answer)
}

/// `DELETE …/brands`: those of the body; all of them are there, or none goes.
fn delete_named(world: &mut World, call: &Call, account: &str) -> Result<Answer, Answer> {
    require_admin(world, call)?;
    let given = body(call, Body::Brands)?;
    let named = given["brands"].as_array().into_iter().flatten();
    let named = named.map(|brand| find(world, account, brand["brandId"].as_str().unwrap_or_default()));
    let ids = named.collect::<Result<Vec<String>, Refusal>>()?;
    for id in ids {
        remove(world, account, &id);
    }
    Ok(list(world, account, |_| true))
}

fn delete(world: &mut World, call: &Call, account: &str, id: &str) -> Result<Answer, Answer> {
    require_admin(world, call)?;
    let id = find(world, account, id)?;
    remove(world, account, &id);
    Ok(Answer::empty(StatusCode::OK))
}

fn remove(world: &mut World, account: &str, id: &str) {
    if let Some(account) = world.directory.accounts.get_mut(account) {
        account.brands.remove(id);
    }
}
