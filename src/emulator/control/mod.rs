//! The control interface: what a test may do to the emulated DocuSign, on a port of its own so that
//! vendor paths stay purely the vendor's.
//!
//! JSON in and out; unknown fields are refused by name, because a misspelt knob that does nothing
//! would make a test pass for the wrong reason. `GET /_test` lists the calls. Web pages of other machines are refused
//! ([`callers`]).

pub(super) mod callers;
mod knobs;
mod people;

use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{
    envelopes,
    http::{Answer, Call},
    state::World,
    time::Time,
};

const CALLS: &[(&str, &str, &str)] = &[
    ("GET", "/_test/requests", "every vendor request, oldest first"),
    ("DELETE", "/_test/requests", "forgets them"),
    ("GET", "/_test/rules", "the vendor's rules that the client broke"),
    ("GET", "/_test/limits", "the limits in force"),
    ("POST", "/_test/limits", "{hourly, burst, envelope_reads, envelope_writes, status}"),
    ("GET", "/_test/faults", "what is armed, and how often each fired"),
    ("POST", "/_test/faults", "{fault, method, path, rate, count, status, delay_ms, reset_s}"),
    ("DELETE", "/_test/faults", "disarms all"),
    ("GET", "/_test/clock", "the emulator's time"),
    ("POST", "/_test/clock", "{advance_s} or {set}, as in RFC 3339 or seconds since 1970; from 1970 to 9998"),
    ("GET", "/_test/consent", "who has consented to what"),
    ("POST", "/_test/consent", "{user_id, integration_key, scopes, granted}; or organization_id"),
    ("POST", "/_test/keys", "{integration_key, public_key_pem, active}"),
    ("POST", "/_test/redirect_uris", "{integration_key, uris}"),
    ("POST", "/_test/tokens/revoke", "{user_id}, {integration_key} or {}"),
    ("POST", "/_test/users", "{user_id, active, account_id, member}"),
    (
        "POST",
        "/_test/accounts",
        "{account_id, base_uri}: the account moves to another origin, or back (null)",
    ),
    ("POST", "/_test/apps", "{integration_key, known}: an app that this environment does not have"),
    (
        "POST",
        "/_test/domains",
        "{organization_id, claimed}: the e-mail domains that an organisation has claimed",
    ),
    ("POST", "/_test/features", "{account_id, identity_verification, settings}"),
    ("GET", "/_test/directory", "organizations, accounts, users, memberships and integration keys"),
    ("GET", "/_test/signers", "everyone who has a part in an envelope"),
    (
        "POST",
        "/_test/signers/{recipientIdGuid}/{open|sign|decline|finish_later|fail_otp}",
        "{name, reason, fields}: a scripted signer",
    ),
    ("POST", "/_test/envelopes/{envelopeId}/void", "by its sender, in DocuSign's own pages"),
    ("POST", "/_test/envelopes/{envelopeId}/expire", "its date comes"),
    ("GET", "/_test/outbox", "text messages sent"),
    ("POST", "/_test/reset", "back to the state after start; requests under way are cut off"),
    ("GET", "/_test", "this list"),
];

/// Every control call.
pub(super) fn route(world: &mut World, time: &Time, call: &Call) -> Answer {
    if let Some(answer) = envelopes::control(world, call) {
        return answer;
    }
    let route = call.route();
    let ["_test", rest @ ..] = route.as_slice() else { return unknown(call) };
    let answer = match (rest, &call.method) {
        ([], &Method::GET) => Ok(index()),
        (["requests"], &Method::GET) => Ok(Answer::ok(json!({ "requests": world.requests.entries() }))),
        (["requests"], &Method::DELETE) => {
            world.requests.forget();
            Ok(done())
        }
        (["rules"], &Method::GET) => Ok(Answer::ok(json!({ "rules": world.judge.verdicts() }))),
        (["limits"], &Method::GET) => Ok(knobs::limits(world)),
        (["limits"], &Method::POST) => knobs::set_limits(world, call),
        (["faults"], &Method::GET) => Ok(Answer::ok(json!({ "faults": world.faults.list() }))),
        (["faults"], &Method::POST) => knobs::arm(world, call),
        (["faults"], &Method::DELETE) => {
            world.faults.disarm();
            Ok(done())
        }
        (["clock"], &Method::GET) => Ok(Answer::ok(json!({ "now": time.now() }))),
        (["clock"], &Method::POST) => knobs::move_clock(world, time, call),
        (["consent"], &Method::GET) => Ok(people::consents(world)),
        (["consent"], &Method::POST) => people::consent(world, call),
        (["keys"], &Method::POST) => people::key(world, call),
        (["redirect_uris"], &Method::POST) => people::redirect_uris(world, call),
        (["tokens", "revoke"], &Method::POST) => people::revoke(world, call),
        (["users"], &Method::POST) => people::user(world, call),
        (["accounts"], &Method::POST) => people::account(world, call),
        (["apps"], &Method::POST) => people::app(world, call),
        (["domains"], &Method::POST) => people::domains(world, call),
        (["features"], &Method::POST) => people::features(world, call),
        (["directory"], &Method::GET) => Ok(people::who(world)),
        (["reset"], &Method::POST) => {
            time.restore();
            world.reset(time.now());
            Ok(done())
        }
        _ => return unknown(call),
    };
    answer.unwrap_or_else(|detail| Answer::control_error(StatusCode::BAD_REQUEST, &detail))
}

fn done() -> Answer {
    Answer::ok(json!({ "ok": true }))
}

fn unknown(call: &Call) -> Answer {
    let detail = format!("no control call {} {}; GET /_test lists them", call.method, call.path);
    Answer::control_error(StatusCode::NOT_FOUND, &detail)
}

fn index() -> Answer {
    let calls =
        CALLS.iter().map(|(method, path, about)| json!({ "method": method, "path": path, "about": about }));
    Answer::ok(json!({ "calls": calls.collect::<Vec<_>>() }))
}

/// What a control call is given; without a body nothing.
pub(super) fn read<T: DeserializeOwned>(call: &Call) -> Result<T, String> {
    let body: &[u8] = if call.body.is_empty() { b"{}" } else { &call.body };
    serde_json::from_slice(body).map_err(|error| error.to_string())
}
