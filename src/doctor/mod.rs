//! Walks the whole chain from the settings to a call that the upstream would take, one check a link,
//! and says what to do about each that does not hold.
//!
//! It changes nothing, here or at the upstream: it mints one token, asks who that is, and reads two
//! resources. What cannot be known because an earlier link is broken is skipped and says so, so that
//! the first failure is the one to mend. No line holds a token, a key, or a person's name.

mod here;
mod upstream;

use std::fmt;

use serde::Serialize;

use crate::{clock::SharedClock, config::Config};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It does not hold.
    Failed,
    /// It holds.
    Passed,
    /// It was not looked at, or there is nothing to look at.
    Skipped,
}

/// One link of the chain.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What was looked at: a word of a closed set.
    pub name: &'static str,
    /// Whose it is, where there are several: a sender's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// How it ended.
    pub status: Status,
    /// What was seen.
    pub detail: String,
    /// The next step, if it failed or could be better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// All checks, in the order of the chain.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether none failed.
    pub ok: bool,
    /// The checks.
    pub checks: Vec<Check>,
}

/// Whether the upstream may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Only what can be seen on this machine.
    Offline,
    /// Everything.
    Online,
}

impl Check {
    pub(self) fn passed(name: &'static str, detail: impl fmt::Display) -> Self {
        Self { name, sender: None, status: Status::Passed, detail: detail.to_string(), fix: None }
    }

    pub(self) fn skipped(name: &'static str, detail: impl fmt::Display) -> Self {
        Self { name, sender: None, status: Status::Skipped, detail: detail.to_string(), fix: None }
    }

    /// Nothing is broken, and something is missing that most will want.
    pub(self) fn advised(name: &'static str, detail: impl fmt::Display, fix: impl fmt::Display) -> Self {
        Self { status: Status::Skipped, ..Self::failed(name, detail, fix) }
    }

    pub(self) fn failed(name: &'static str, detail: impl fmt::Display, fix: impl fmt::Display) -> Self {
        let (detail, fix) = (detail.to_string(), Some(fix.to_string()));
        Self { name, sender: None, status: Status::Failed, detail, fix }
    }

    pub(self) fn of(self, sender: &str) -> Self {
        Self { sender: Some(sender.to_owned()), ..self }
    }
}

impl Report {
    fn new(checks: Vec<Check>) -> Self {
        Self { ok: checks.iter().all(|check| check.status != Status::Failed), checks }
    }

    /// The report on settings that cannot be used: nothing behind them can be looked at.
    pub fn of_bad_settings(error: &dyn fmt::Display) -> Self {
        Self::new(vec![Check::failed("settings", error, "Correct the settings and run doctor again.")])
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let mark = match check.status {
                Status::Failed => '✗',
                Status::Passed => '✓',
                Status::Skipped => '–',
            };
            let sender = check.sender.as_ref().map(|sender| format!(" ({sender})")).unwrap_or_default();
            writeln!(f, "{mark} {}{sender}: {}", check.name, check.detail)?;
            if let Some(fix) = &check.fix {
                writeln!(f, "    fix: {fix}")?;
            }
        }
        let failed = self.checks.iter().filter(|check| check.status == Status::Failed).count();
        match failed {
            0 => write!(f, "All is well."),
            1 => write!(f, "1 check failed."),
            more => write!(f, "{more} checks failed; mend the first one first."),
        }
    }
}

/// Walks the chain.
pub async fn examine(config: &Config, clock: SharedClock, reach: Reach) -> Report {
    let mut checks = here::all(config);
    checks.extend(upstream::all(config, clock, reach).await);
    Report::new(checks)
}
