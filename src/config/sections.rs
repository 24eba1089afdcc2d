//! The sections, and what becomes of a change in each: whether a reload takes it up (rule H3), and whether daemons on
//! one store have to agree on it.

/// What of a section daemons on one store have to agree on: they leave each other digests of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// All of it that means something to another daemon. That it has changed is found by the digests.
    Whole,
    /// Some of its settings. What has changed is found setting by setting.
    Partly,
    /// Nothing: each daemon has it of its own. What has changed is found setting by setting.
    Nothing,
}

/// What a reload takes up; the rest waits for the next start.
#[derive(Debug, Clone, Copy)]
enum Reload {
    All,
    /// These settings, with the tables that they are.
    Only(&'static [&'static str]),
    /// Nothing of what is compared. Senders' keys are taken up all the same: lists and files of them are each daemon's
    /// own.
    Nothing,
}

const SECTIONS: &[(&str, Agreement, Reload)] = &[
    ("api", Agreement::Nothing, Reload::Only(&["tls", "client_ca", "client_crl"])),
    ("audit", Agreement::Nothing, Reload::Nothing),
    ("budget", Agreement::Whole, Reload::Nothing),
    ("callers", Agreement::Whole, Reload::All),
    ("connect", Agreement::Whole, Reload::All),
    ("documents", Agreement::Nothing, Reload::Nothing),
    ("log", Agreement::Nothing, Reload::Only(&["level"])),
    ("oidc", Agreement::Whole, Reload::All),
    ("ops", Agreement::Nothing, Reload::Only(OF_OPS)),
    ("otel", Agreement::Nothing, Reload::Nothing),
    ("public", Agreement::Partly, Reload::Only(&["tls"])),
    ("senders", Agreement::Whole, Reload::Nothing),
    ("signer", Agreement::Nothing, Reload::Nothing),
    ("stop", Agreement::Nothing, Reload::Nothing),
    ("store", Agreement::Partly, Reload::Nothing),
    ("templates", Agreement::Whole, Reload::Nothing),
    ("upstream", Agreement::Partly, Reload::Nothing),
    ("webhooks", Agreement::Whole, Reload::All),
];

const OF_OPS: &[&str] =
    &["tls", "operator_password_hash", "operator_password_hash_file", "operator_password_hash_credential"];

/// What daemons agree on of the section that a setting, or a table, is in.
pub fn agreement(setting: &str) -> Agreement {
    row(setting).map_or(Agreement::Nothing, |(agreement, _)| agreement)
}

/// Whether a reload takes up a change of this setting, or table.
pub fn is_reloaded(setting: &str) -> bool {
    match row(setting) {
        Some((_, Reload::All)) => true,
        Some((_, Reload::Only(settings))) => {
            setting.split('.').nth(1).is_some_and(|one| settings.contains(&one))
        }
        Some((_, Reload::Nothing)) | None => false,
    }
}

/// Whether this is the name of a section.
pub(super) fn is_section(name: &str) -> bool {
    SECTIONS.iter().any(|(section, _, _)| *section == name)
}

/// The sections whose changes are found setting by setting: there is one table of each.
pub(super) fn compared_by_setting() -> impl Iterator<Item = &'static str> {
    let rows = SECTIONS.iter().filter(|(_, agreement, _)| *agreement != Agreement::Whole);
    rows.map(|(section, _, _)| *section)
}

fn row(setting: &str) -> Option<(Agreement, Reload)> {
    let section = setting.split('.').next()?;
    let row = SECTIONS.iter().find(|(name, _, _)| *name == section)?;
    Some((row.1, row.2))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::DEFAULTS;

    #[test]
    fn every_section_is_in_the_table() {
        let defaults: toml::Table = toml::from_str(DEFAULTS).unwrap();
        // Of these two there is no default.
        let sections = defaults.keys().map(String::as_str).chain(["templates", "webhooks"]);
        let known = SECTIONS.iter().map(|(section, _, _)| *section);
        assert_eq!(known.collect::<BTreeSet<_>>(), sections.collect::<BTreeSet<_>>());
    }

    #[test]
    fn h3_what_a_reload_takes_up_of_a_section_is_told_from_what_waits() {
        for setting in [
            "api.client_crl",
            "api.tls.cert_file",
            "callers.website",
            "connect",
            "log.level",
            "oidc.cluster",
            "ops.operator_password_hash_file",
            "public.tls",
            "webhooks.website",
        ] {
            assert!(is_reloaded(setting), "{setting}");
        }
        for setting in ["api.listen", "budget", "log.format", "public.base_url", "senders.system", "upstream"]
        {
            assert!(!is_reloaded(setting), "{setting}");
        }
    }
}
