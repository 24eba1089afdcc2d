//! An operator makes a sender for a caller: one that the settings let the caller make itself, so that who knows
//! the operators' password can do no more than they allow.

use std::{collections::BTreeMap, fmt, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Deserialize;

use super::{
    Admin,
    aim::Aim,
    page::{self, Field},
    request::{self, InTime},
    session::Session,
};
use crate::{
    audit::{Act, Entry},
    config::check_name,
    domain::{CallerName, Private, SenderName, template_names::Ids},
    pairing::{MAX_ACCOUNT, NewSender, NotMade, is_account},
    telemetry::chain,
};

/// What the settings say of callers: asked anew each time, because a reload changes it.
#[derive(Clone)]
pub struct Makers {
    /// For whom senders may be made, and like which.
    pub find: Arc<FindMakers>,
    /// Who may use a sender of the settings.
    pub of_sender: Arc<FindCallers>,
}

/// Callers, with the senders of the settings that they may make others like.
type FindMakers = dyn Fn() -> BTreeMap<CallerName, Vec<String>> + Send + Sync;

/// The callers that may use a sender.
type FindCallers = dyn Fn(&SenderName) -> Vec<CallerName> + Send + Sync;

impl fmt::Debug for Makers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Makers")
    }
}

/// What the form sends, and shows again if something is wrong with it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    token: String,
    /// For whom and like which, as [`choice`] writes it.
    #[serde(default)]
    pub(super) of: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) user_id: String,
    #[serde(default)]
    pub(super) account: String,
}

/// What is wrong with a form.
pub(super) type Invalids = Vec<(Field, String)>;

/// A caller and a sender to be like, as one value. No name holds a slash.
pub(super) fn choice(caller: &CallerName, like: &str) -> String {
    format!("{caller}/{like}")
}

/// `GET /admin/new-sender`.
pub(super) async fn show(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    let Some(session) = admin.session(&headers) else { return request::see_other(&Aim::NewSender.login()) };
    answer(&admin, &session, StatusCode::OK, &Wanted::default(), &Invalids::new())
}

/// `POST /admin/new-sender`.
pub(super) async fn make(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
    form: InTime<Wanted>,
) -> Response {
    let Some(session) = admin.session(&headers) else { return request::see_other(&Aim::NewSender.login()) };
    let wanted = form.0;
    if !request::is_ours(&headers) || !session.is_token(&wanted.token) {
        return request::text(StatusCode::FORBIDDEN, page::FOREIGN);
    }
    let refused = |invalids: &Invalids| answer(&admin, &session, StatusCode::BAD_REQUEST, &wanted, invalids);
    let (owner, new) = match read(&admin, &wanted) {
        Ok(read) => read,
        Err(invalids) => return refused(&invalids),
    };
    let entry = Entry::new(Act::OperatorMakeSender, &new.name).caller(&owner);
    if let Err(answer) = admin.record(entry.detail(format!("like {}", new.like))).await {
        return answer;
    }
    let name = new.name.clone();
    match admin.pairings.make(&owner, new).await {
        Ok(()) => {
            tracing::info!(sender = %name, caller = %owner, "an operator made a sender");
            request::see_other(&format!("/admin/senders/{name}/consent"))
        }
        Err(error) => {
            let field = match error {
                NotMade::NameTaken => Field::Name,
                NotMade::UserMissing | NotMade::UserTaken | NotMade::UserUnwanted => Field::UserId,
                NotMade::NoPattern | NotMade::TooMany => Field::Of,
                NotMade::Failed(cause) => {
                    tracing::error!(error = %chain(&cause), "a sender was not made");
                    return request::text(StatusCode::SERVICE_UNAVAILABLE, page::NOT_MADE);
                }
            };
            refused(&vec![(field, error.to_string())])
        }
    }
}

/// Whom it is for, and what it is; or all that is wrong.
fn read(admin: &Admin, wanted: &Wanted) -> Result<(CallerName, NewSender), Invalids> {
    let mut invalids = Invalids::new();
    let makers = (admin.makers.find)();
    let pairs = makers.iter().flat_map(|(caller, all)| all.iter().map(move |like| (caller, like)));
    let chosen = pairs.into_iter().find(|(caller, like)| choice(caller, like) == wanted.of);
    let (name, user, account) = (wanted.name.trim(), wanted.user_id.trim(), wanted.account.trim());
    if let Err(why) = check_name(name) {
        invalids.push((Field::Name, why.to_owned()));
    }
    let user_id = match user {
        "" => None,
        user => user.parse().map_err(|why| invalids.push((Field::UserId, format!("{why}")))).ok(),
    };
    if !account.is_empty() && !is_account(account) {
        let why = format!("must be the id or the name of an account, at most {MAX_ACCOUNT} characters");
        invalids.push((Field::Account, why));
    }
    let Some((caller, like)) = chosen else {
        invalids.push((Field::Of, "is not among what the settings allow".to_owned()));
        return Err(invalids);
    };
    let may_use = |sender: &SenderName| (admin.makers.of_sender)(sender).contains(caller);
    if let Err(why) = admin.pairings.may_act_as(caller, like, user_id, may_use) {
        invalids.push((Field::UserId, why.to_string()));
    }
    if !invalids.is_empty() {
        return Err(invalids);
    }
    let new = NewSender {
        name: SenderName::new(name),
        like: like.clone(),
        user_id,
        account: Some(account.to_owned()).filter(|account| !account.is_empty()),
        hmac_keys: Private::new(Vec::new()),
        templates: Ids::new(),
        brand: None,
    };
    Ok((caller.clone(), new))
}

fn answer(
    admin: &Admin,
    session: &Session,
    status: StatusCode,
    wanted: &Wanted,
    invalids: &Invalids,
) -> Response {
    let makers = (admin.makers.find)();
    request::page(&admin.theme, status, &page::new_sender(admin, session, &makers, wanted, invalids))
}
