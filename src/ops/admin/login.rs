//! Logging in and out.

use std::sync::Arc;

use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use secrecy::SecretString;
use serde::Deserialize;

use super::{
    Admin, Asked,
    aim::Aim,
    gate::Verdict,
    page,
    request::{self, InTime, Unread},
    session::{COOKIE, LIFE, cookie},
};
use crate::{
    audit::{Act, Entry},
    secret_text::{is_random, random},
};

/// Ties the login form to the browser that it was shown to.
const FORM_COOKIE: &str = "countersign_operator_form";
/// How long a login form may lie open.
const FORM_LIFE_S: u64 = 3_600;

/// What the login form sends.
#[derive(Deserialize)]
pub(super) struct Filled {
    password: SecretString,
    token: String,
}

/// `GET /admin/login`.
pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let aim = Aim::of_login(query.as_deref());
    if admin.session(&headers).is_some() {
        return request::see_other(&aim.path());
    }
    form(&admin, &headers, &aim, StatusCode::OK, None)
}

/// `POST /admin/login`.
pub(super) async fn enter(
    State(admin): State<Arc<Admin>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    form: Result<InTime<Filled>, Unread>,
) -> Response {
    let aim = Aim::of_login(query.as_deref());
    let refused = |status, refusal| self::form(&admin, &headers, &aim, status, Some(refusal));
    let gate = &admin.gate;
    let Filled { password, token } = match form {
        Ok(InTime(filled)) => filled,
        Err(Unread { status, says }) => return refused(status, page::Refusal::Unread(says)),
    };
    let is_shown = cookie(&headers, FORM_COOKIE).is_some_and(|shown| gate.is_form_token(&shown, &token));
    if !request::is_ours(&headers) || !is_shown {
        return refused(StatusCode::FORBIDDEN, page::Refusal::Foreign);
    }
    let uptime = admin.clock.uptime();
    // Taken before the password is tried: one that is changed meanwhile opens nothing.
    let number = admin.password.number().unwrap_or_default();
    match gate.admits(password, uptime).await {
        Verdict::Right => {
            if let Err(answer) = admin.record(Entry::of_operator(Act::OperatorLogin)).await {
                return answer;
            }
            tracing::info!("an operator has logged in");
            let id = admin.sessions.begin(uptime, number);
            let mut response = request::see_other(&aim.path());
            let headers_out = response.headers_mut();
            headers_out.append(header::SET_COOKIE, admin.cookie(&headers, COOKIE, &id, LIFE.as_secs()));
            headers_out.append(header::SET_COOKIE, admin.cookie(&headers, FORM_COOKIE, "", 0));
            response
        }
        Verdict::Wrong => {
            tracing::warn!("a wrong operator password");
            refused(StatusCode::UNAUTHORIZED, page::Refusal::Wrong)
        }
        Verdict::Wait(wait) => {
            let seconds = wait.as_secs().max(1);
            let mut response = refused(StatusCode::TOO_MANY_REQUESTS, page::Refusal::Wait(seconds));
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            response
        }
    }
}

/// `POST /admin/logout`.
pub(super) async fn leave(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
    form: InTime<Asked>,
) -> Response {
    let is_meant = request::is_ours(&headers)
        && admin.session(&headers).is_some_and(|session| session.is_token(&form.0.token));
    let mut response = request::see_other(&Aim::Overview.login());
    if is_meant && let Some(id) = cookie(&headers, COOKIE) {
        if let Err(answer) = admin.record(Entry::of_operator(Act::OperatorLogout)).await {
            return answer;
        }
        admin.sessions.end(&id);
        response.headers_mut().append(header::SET_COOKIE, admin.cookie(&headers, COOKIE, "", 0));
    }
    response
}

/// The login form, for this browser: its cookie is kept if it has one, so that two open forms both work.
fn form(
    admin: &Admin,
    headers: &HeaderMap,
    aim: &Aim,
    status: StatusCode,
    refusal: Option<page::Refusal>,
) -> Response {
    let gate = &admin.gate;
    // Whether it looks like what we give out; the token proves the rest.
    let shown = cookie(headers, FORM_COOKIE).filter(|shown| is_random::<32>(shown));
    let shown = shown.unwrap_or_else(random::<32>);
    let html = page::login(admin, &gate.form_token(&shown), aim, refusal);
    let mut response = request::page(&admin.theme, status, &html);
    response
        .headers_mut()
        .append(header::SET_COOKIE, admin.cookie(headers, FORM_COOKIE, &shown, FORM_LIFE_S));
    response
}
