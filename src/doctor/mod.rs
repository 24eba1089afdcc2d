//! Walks the whole chain from the settings to a call that the upstream would take, one check a link,
//! and says what to do about each that does not hold.
//!
//! It changes nothing, here or at the upstream: it mints a token with each key, asks who that is, and reads what the
//! settings rely on: the account's workflow for phones, what it says of embedded signing, and the templates that they name. What cannot be known because an
//! earlier link is broken is skipped and says so, so that the first failure is the one to fix. No line holds a token, a
//! key, or a person's name.
//!
//! Each failure has a code, for programs; what people do wrong most often has one of its own, and what the API
//! tells a caller, too, is called there as here (`sender_…`, `wrong_…`):
//!
//! | Code | Is | Checked |
//! |---|---|---|
//! | `email_as_id`, `account_number_as_id`, `key_as_id`, `not_a_guid` | something else stands where a GUID belongs | offline |
//! | `settings_invalid` | any other setting that cannot be used | offline |
//! | `public_url_not_https` | `public.base_url` is plain HTTP | offline |
//! | `key_truncated`, `key_wrong_kind`, `key_file_too_open`, `key_unreadable`, `key_unusable` | what the key's place holds | offline |
//! | `key_device_unusable` | the device that holds the key does not sign with it | offline |
//! | `key_is_example` | the public example key, for a real upstream | offline |
//! | `certificates_unusable` | the files of a listener's TLS, or the CAs of the upstream, an issuer or the collector | offline |
//! | `scope_missing` | `scopes` lacks `signature` or `impersonation` | offline |
//! | `sender_user_is_account` | the id of an account stands in `user_id` | offline if the settings name it as an account, online if another sender is in it |
//! | `integration_key_as_user_id` | the integration key stands in `user_id`, too | offline |
//! | `key_hash_placeholder` | a caller's key hash is the row of zeros of an example | offline |
//! | `id_placeholder` | the integration key or the user id is the example's | offline |
//! | `store_unwritable` | the database file or its directory | offline |
//! | `store_unusable` | what is there is foreign, damaged, newer, or sealed with another key | offline |
//! | `store_unavailable` | the database does not answer | offline |
//! | `token_without_sender` | the store keeps a customer's refresh token for a sender that these settings do not let act by it | offline |
//! | `audit_log_unusable` | the audit log cannot be written, or its chain is broken | offline |
//! | `dns_failure`, `tls_failure`, `proxy_failure`, `connect_failure`, `no_answer` | the way to the upstream | online |
//! | `answer_unusable`, `upstream_unavailable` | who answers there is not DocuSign, or not well | online |
//! | `clock_off` | this machine's clock | online |
//! | `key_not_registered` | nobody uploaded the public half | online |
//! | `key_of_other_environment` | it was uploaded in the other environment only | online |
//! | `integration_key_unknown` | no app has this integration key | online |
//! | `wrong_environment` | the app is in the other environment | online |
//! | `sender_unknown_user`, `user_of_other_environment` | no such user here | online |
//! | `consent_missing` | nobody consented as this user, to all of these scopes | online |
//! | `consent_by_another_user` | somebody did, as another user; the running daemon saw it | online |
//! | `redirect_uri_unregistered` | the app does not list our `/consent/callback` | online |
//! | `sender_not_in_account` | the user is not a member there, or it is not said in which of their accounts | online |
//! | `wrong_base_uri` | the account lives on a host of another environment | online |
//! | `template_unknown` | a template is not in the account of the sender that calls it its own, or a general one in no sender's | online |
//! | `sms_workflow_absent` | the account cannot send codes by SMS | online |
//! | `embedded_signing_forbidden` | a setting of the account forbids every create with an embedded signer | online |
//! | `budget_low` | under a tenth of the hour's calls is left | online |
//! | `connection_fails` | a customer has connected it, and the running daemon cannot act with that | online |
//! | `clock_skew`, `consent_required`, `internal`, `key_rejected`, `malformed`, `provider_unavailable`, `rate_limited`, `refused`, `signing`, `token_refused`, `unavailable`, `unreachable` | another failure of a mint, or of what is asked with its token | online |
//! | `daemon_not_ready`, `daemon_degraded` | what the running daemon says of itself | offline |
//! | `daemon_of_other_settings` | a daemon with another store or environment answers where ours would | offline |
//!
//! The third row from below is for what has no row of its own. Its words are the causes of failed mints
//! ([`auth::Error::cause`](crate::auth::Error::cause)), and codes that a caller gets.

mod here;
mod reach;
mod upstream;

use std::fmt;

use serde::Serialize;

use crate::{
    app,
    clock::SharedClock,
    config::{Config, ConfigError, Sender},
};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It holds, and something is missing or odd that most will want to mend.
    Advised,
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
    /// Which fault it is: a word of the closed set above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
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
        Self { name, sender: None, status: Status::Passed, code: None, detail: detail.to_string(), fix: None }
    }

    pub(self) fn skipped(name: &'static str, detail: impl fmt::Display) -> Self {
        Self { status: Status::Skipped, ..Self::passed(name, detail) }
    }

    /// Nothing is broken, and something is missing that most will want.
    pub(self) fn advised(name: &'static str, detail: impl fmt::Display, fix: impl fmt::Display) -> Self {
        Self { status: Status::Advised, fix: Some(fix.to_string()), ..Self::passed(name, detail) }
    }

    pub(self) fn failed(
        name: &'static str,
        code: &'static str,
        detail: impl fmt::Display,
        fix: impl fmt::Display,
    ) -> Self {
        let (status, fix) = (Status::Failed, Some(fix.to_string()));
        Self { status, code: Some(code), fix, ..Self::passed(name, detail) }
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
    pub fn of_bad_settings(error: &ConfigError) -> Self {
        let (setting, cause) = (&error.setting, &error.cause);
        let place = error.source_name.as_ref().map(|name| format!(" (in {name})")).unwrap_or_default();
        // A quoted key may hold anything; a line is a line.
        let line = |text: String| text.replace(char::is_control, " ");
        let (detail, fix) = (format!("{setting}{place}: {cause}"), format!("{setting}: {}.", error.fix));
        Self::new(vec![Check::failed("settings", error.code, line(detail), line(fix))])
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let mark = match check.status {
                Status::Advised => '!',
                Status::Failed => '✗',
                Status::Passed => '✓',
                Status::Skipped => '–',
            };
            let sender = check.sender.as_ref().map(|sender| format!(" ({sender})")).unwrap_or_default();
            let code = check.code.map(|code| format!(" [{code}]")).unwrap_or_default();
            writeln!(f, "{mark} {}{sender}: {}{code}", check.name, check.detail)?;
            if let Some(fix) = &check.fix {
                writeln!(f, "    fix: {fix}")?;
            }
        }
        let count = |status| self.checks.iter().filter(|check| check.status == status).count();
        match count(Status::Failed) {
            0 => {}
            1 => return write!(f, "1 check failed."),
            more => return write!(f, "{more} checks failed; fix the first one first."),
        }
        let advised = match count(Status::Advised) {
            0 => String::new(),
            1 => "; 1 warning (!)".to_owned(),
            more => format!("; {more} warnings (!)"),
        };
        let skipped = match count(Status::Skipped) {
            0 => String::new(),
            1 => "; 1 check was not made (–)".to_owned(),
            more => format!("; {more} checks were not made (–)"),
        };
        if advised.is_empty() && skipped.is_empty() {
            return write!(f, "All is well.");
        }
        write!(f, "Nothing failed{advised}{skipped}.")
    }
}

/// Walks the chain; of senders, to the one of this name `only`, if one is given. The others' settings say all the same
/// what may be elsewhere.
pub async fn examine(config: &Config, only: Option<&str>, clock: SharedClock, reach: Reach) -> Report {
    // One for the whole walk: a device is given a wrong PIN once.
    let module = app::device_module(config);
    let mut checks = here::all(config, only, &clock, module.as_ref()).await;
    let daemon = reach::Daemon::ask(config).await;
    checks.push(daemon.check());
    checks.extend(upstream::all(config, only, clock, reach, &daemon, module.as_ref()).await);
    Report::new(checks)
}

/// The senders that are looked at.
fn looked_at<'a>(config: &'a Config, only: Option<&str>) -> impl Iterator<Item = (&'a String, &'a Sender)> {
    config.senders.iter().filter(move |(name, _)| only.is_none_or(|only| only == name.as_str()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::SignedDuration;

    use super::*;
    use crate::auth::{Error, error::Said, signer::SignError};

    #[test]
    fn every_code_that_a_check_can_have_is_in_the_table() {
        let rows = include_str!("mod.rs").lines().filter_map(|line| line.strip_prefix("//! | "));
        let codes = rows.filter_map(|row| row.split(" | ").next());
        let table: BTreeSet<&str> = codes.flat_map(|codes| codes.split('`').skip(1).step_by(2)).collect();
        let files = [
            include_str!("here.rs"),
            include_str!("reach.rs"),
            include_str!("upstream/connectable.rs"),
            include_str!("upstream/mod.rs"),
            include_str!("upstream/templates.rs"),
            include_str!("upstream/token.rs"),
        ];
        let code = files.iter().filter_map(|text| text.split("#[cfg(test)]").next());
        let is_code = |text: &&str| {
            text.contains('_') && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        let named: BTreeSet<&str> = code.flat_map(|text| text.split('"')).filter(is_code).collect();
        assert!(named.len() > 30, "{named:?}");
        let passed_on = [
            Error::ClockSkew { offset: SignedDuration::ZERO },
            Error::ConsentRequired(Said::default()),
            Error::Internal,
            Error::KeyRejected(Said::default()),
            Error::Malformed { status: 200, what: "" },
            Error::RateLimited { retry_after: None },
            Error::Refused { status: 400, error: String::new() },
            Error::Signing(SignError::Away),
            Error::TokenRefused { retry_after: None },
            Error::Unavailable { status: 503, retry_after: None },
        ];
        let of_auth = passed_on.iter().map(Error::cause);
        let missing: Vec<_> = named.into_iter().chain(of_auth).filter(|word| !table.contains(word)).collect();
        assert!(missing.is_empty(), "not in the table: {missing:?}");
    }

    #[test]
    fn what_was_not_looked_at_is_not_called_well() {
        let passed = || Check::passed("store", "takes writes");
        let skipped = || Check::skipped("token", "not asked");
        let advised = || Check::advised("audit log", "audit.file is not set", "Set audit.file.");
        let ends = |checks: Vec<Check>| Report::new(checks).to_string().lines().last().unwrap().to_owned();
        assert_eq!(ends(vec![passed()]), "All is well.");
        assert_eq!(ends(vec![passed(), skipped()]), "Nothing failed; 1 check was not made (–).");
        assert_eq!(ends(vec![skipped(), skipped()]), "Nothing failed; 2 checks were not made (–).");
        assert_eq!(ends(vec![passed(), advised()]), "Nothing failed; 1 warning (!).");
        let said = "Nothing failed; 2 warnings (!); 1 check was not made (–).";
        assert_eq!(ends(vec![advised(), skipped(), advised()]), said);
        let report = Report::new(vec![advised()]);
        assert!(
            report.ok && report.to_string().starts_with("! audit log: audit.file is not set\n"),
            "{report}"
        );
        let failed = Check::failed("store", "store_unwritable", "full", "Make room.");
        assert_eq!(ends(vec![skipped(), failed]), "1 check failed.");
    }
}
