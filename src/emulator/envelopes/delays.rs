//! Delays of a workflow: for a time, or until a date.
//!
//! Source: SPEC: envelopeDelayRule, scheduledSending, delayedRouting.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    dates,
    model::{Fields, Refusal, invalid, objects, text},
    refused::says_something,
};
use crate::emulator::http::vendor_time;

/// No delay is longer, and no date farther away (SPEC: envelopeDelayRule).
const MAX_DELAY: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A delay, begun or not.
#[derive(Debug, Clone)]
pub(super) struct Delay {
    rule: Rule,
    /// The one rule, as it was sent.
    given: Value,
    /// When it is over, once it has begun.
    pub(super) resumes: Option<Timestamp>,
    /// Whether what it held has gone on.
    pub(super) is_done: bool,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    After(SignedDuration),
    At(Timestamp),
}

impl Delay {
    /// The same for another envelope: it has not begun.
    pub(super) fn anew(&self) -> Self {
        Self { resumes: None, is_done: false, ..self.clone() }
    }

    /// Begins; when it will be over, if it is not at once.
    pub(super) fn begin(&mut self, now: Timestamp) -> Option<Timestamp> {
        let at = match self.rule {
            Rule::After(by) => now.saturating_add(by).unwrap_or(Timestamp::MAX),
            Rule::At(at) => at,
        };
        self.resumes = Some(at);
        (at > now).then_some(at)
    }

    pub(super) fn is_running(&self) -> bool {
        self.resumes.is_some() && !self.is_done
    }

    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.resumes.is_some_and(|at| at <= now)
    }

    pub(super) fn shown(&self) -> Value {
        let status = match (self.resumes, self.is_done) {
            (_, true) => "completed",
            (Some(_), false) => "started",
            (None, false) => "pending",
        };
        let mut value = json!({ "status": status, "rules": [self.given] });
        if let Some(at) = self.resumes {
            value["resumeDate"] = json!(vendor_time(at));
        }
        value
    }
}

/// The delay that a definition asks for: of what is not said there is none.
pub(super) fn delay_of(given: Option<&Value>, now: Timestamp) -> Result<Option<Delay>, Refusal> {
    let Some(given) = given.filter(|given| says_something(given)) else { return Ok(None) };
    let rules: Vec<&Fields> = objects(given.get("rules")).collect();
    let [rule] = rules[..] else { return Err(invalid("A delay has exactly one rule.")) };
    let (rule, given) = match (text(rule, "delay"), text(rule, "resumeDate")) {
        (Some(delay), None) => (span(delay).map(Rule::After), json!({ "delay": delay })),
        (None, Some(date)) => {
            (dates::parse(date).filter(|at| is_ahead(*at, now)).map(Rule::At), json!({ "resumeDate": date }))
        }
        _ => return Err(invalid("The rule of a delay has either a delay or a resumeDate.")),
    };
    let wrong = "A delay is written d.hh:mm:ss and a resumeDate as a date to come; both lie within 30 days.";
    let rule = rule.ok_or_else(|| invalid(wrong))?;
    Ok(Some(Delay { rule, given, resumes: None, is_done: false }))
}

fn is_ahead(at: Timestamp, now: Timestamp) -> bool {
    at > now && at.duration_since(now) <= MAX_DELAY
}

/// `d.hh:mm:ss` or `hh:mm:ss`, of which the numbers may lack a leading nought.
fn span(text: &str) -> Option<SignedDuration> {
    let number = |text: &str| {
        let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { text.parse::<i64>().ok() } else { None }
    };
    let (days, time) = text.trim().split_once('.').unwrap_or(("0", text.trim()));
    let parts: Vec<i64> = time.split(':').map(number).collect::<Option<_>>()?;
    let [hours, minutes, seconds] = parts[..] else { return None };
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let span = SignedDuration::from_secs(((number(days)? * 24 + hours) * 60 + minutes) * 60 + seconds);
    (!span.is_zero() && span <= MAX_DELAY).then_some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_days_and_a_time_of_at_most_thirty_days() {
        for (text, seconds) in [
            ("00:30:00", 1_800),
            ("0.5:00:00", 18_000),
            ("1.00:00:01", 86_401),
            ("30.00:00:00", 2_592_000),
            (" 2.01:00:00 ", 176_400),
        ] {
            assert_eq!(span(text), Some(SignedDuration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "30",
            "00:00:00",
            "24:00:00",
            "00:60:00",
            "1.00:00",
            "30.00:00:01",
            "-1.00:00:00",
            "1.+1:00:00",
        ] {
            assert_eq!(span(text), None, "{text}");
        }
    }
}
