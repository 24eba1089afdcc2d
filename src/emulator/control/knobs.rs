//! The knobs of the world: limits, faults, the clock.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::read;
use crate::emulator::{
    faults::Fault,
    http::{Answer, Call},
    state::World,
    time::Time,
};

/// When the year 9999 begins.
const YEAR_9999: i64 = 253_370_764_800;

/// The limits in force.
pub(super) fn limits(world: &World) -> Answer {
    let limits = &world.limits;
    Answer::ok(json!({
        "hourly": limits.hourly,
        "burst": limits.burst,
        "envelope_reads": limits.envelope_reads,
        "envelope_writes": limits.envelope_writes,
        "status": limits.status.as_u16(),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLimits {
    hourly: Option<u64>,
    burst: Option<u64>,
    envelope_reads: Option<u64>,
    envelope_writes: Option<u64>,
    status: Option<u16>,
}

/// New limits start with full budgets.
pub(super) fn set_limits(world: &mut World, call: &Call) -> Result<Answer, String> {
    let new: NewLimits = read(call)?;
    let status = match new.status {
        None => None,
        Some(400) => Some(StatusCode::BAD_REQUEST),
        Some(429) => Some(StatusCode::TOO_MANY_REQUESTS),
        Some(other) => return Err(format!("`status` is 400 or 429, not {other}")),
    };
    let limits = &mut world.limits;
    limits.hourly = new.hourly.unwrap_or(limits.hourly);
    limits.burst = new.burst.unwrap_or(limits.burst);
    limits.envelope_reads = new.envelope_reads.unwrap_or(limits.envelope_reads);
    limits.envelope_writes = new.envelope_writes.unwrap_or(limits.envelope_writes);
    limits.status = status.unwrap_or(limits.status);
    limits.refill();
    world.judge.refilled();
    Ok(self::limits(world))
}

/// Arms a fault.
pub(super) fn arm(world: &mut World, call: &Call) -> Result<Answer, String> {
    let fault: Fault = read(call)?;
    fault.check()?;
    let id = world.faults.arm(fault);
    Ok(Answer::json(StatusCode::CREATED, json!({ "id": id })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    advance_s: Option<f64>,
    set: Option<Value>,
}

/// Moves the time, and lets it do what it does alone.
pub(super) fn move_clock(world: &mut World, time: &Time, call: &Call) -> Result<Answer, String> {
    let before = time.now();
    match read(call)? {
        Move { advance_s: Some(seconds), set: None } => {
            let by = SignedDuration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
            check(time.now().checked_add(by).ok())?;
            time.advance(by);
        }
        Move { advance_s: None, set: Some(to) } => {
            let to = moment(&to)?;
            check(Some(to))?;
            time.set(to);
        }
        _ => return Err("give one of `advance_s` and `set`".to_owned()),
    }
    let now = time.now();
    if now < before {
        world.judge.turned_back();
    }
    world.tick(now);
    Ok(Answer::ok(json!({ "now": now })))
}

/// A time as text of RFC 3339, or as seconds since 1970.
fn moment(written: &Value) -> Result<Timestamp, String> {
    let other = || "`set` is a time as in RFC 3339, or seconds since 1970".to_owned();
    match written {
        Value::String(text) => text.parse().map_err(|error: jiff::Error| format!("{}: {error}", other())),
        Value::Number(seconds) => {
            let since = SignedDuration::try_from_secs_f64(seconds.as_f64().ok_or_else(other)?);
            let since = since.map_err(|_| BEYOND.to_owned())?;
            Timestamp::UNIX_EPOCH.checked_add(since).map_err(|_| BEYOND.to_owned())
        }
        _ => Err(other()),
    }
}

/// What is said of a time to which the clock cannot go.
const BEYOND: &str = "the clock goes from the beginning of 1970 to the end of 9998";

/// Every answer has the time in its `Date`, and the dates that can be written there go from 1970 to 9999. The last
/// year is left for the time to go on in.
fn check(to: Option<Timestamp>) -> Result<(), String> {
    match to {
        Some(to) if to >= Timestamp::UNIX_EPOCH && to.as_second() < YEAR_9999 => Ok(()),
        _ => Err(BEYOND.to_owned()),
    }
}
