//! What can be seen on this machine.

use std::{fs::OpenOptions, path::Path};

use super::Check;
use crate::{
    auth::signing_key::{self, Defect},
    config::{Config, ConnectForm, EXAMPLE_KEY_FINGERPRINT, Environment, KeySource, Sender, StoreUrl},
};

/// All checks of this machine, in the order of the chain.
pub(super) fn all(config: &Config) -> Vec<Check> {
    let mut checks = vec![settings(config)];
    for (name, sender) in &config.senders {
        checks.extend(sender.keys.iter().map(|source| key(config, source).of(name)));
        checks.push(ids(config, sender).of(name));
        checks.push(scopes(sender).of(name));
    }
    checks.push(callers(config));
    checks.push(store(config));
    checks.push(public_url(config));
    checks
}

/// They were read whole, or we would not be here.
fn settings(config: &Config) -> Check {
    let environment = match config.upstream.environment() {
        Environment::Demo => "the demo environment",
        Environment::Emulator => "the emulator",
        Environment::Production => "production",
    };
    Check::passed("settings", format!("they can be used; the upstream is {environment}"))
}

/// How `auth` names a source of the settings; none if the key cannot be read, because a device keeps it.
pub(super) fn source(source: &KeySource) -> Option<signing_key::KeySource> {
    match source {
        KeySource::Device(_) => None,
        KeySource::File(path) => Some(signing_key::KeySource::File(path.clone())),
        KeySource::Inline(text) => Some(signing_key::KeySource::Inline(text.clone())),
    }
}

fn key(config: &Config, from: &KeySource) -> Check {
    let Some(source) = source(from) else {
        return Check::skipped("key", "it is in a device, which the daemon asks when it starts");
    };
    let loaded = match source.load() {
        Ok(loaded) => loaded,
        Err(error) => {
            let (code, fix) = unusable(&error.defect);
            return Check::failed("key", code, chain(&error), fix);
        }
    };
    let fingerprint = loaded.fingerprint().to_string();
    if !config.upstream.is_emulator() && fingerprint.contains(EXAMPLE_KEY_FINGERPRINT) {
        let fix = "Make a key of your own with `countersign keygen`, and upload its public half.";
        let detail = "this is the example key, whose private half is public";
        return Check::failed("key", "key_is_example", detail, fix);
    }
    Check::passed("key", format!("RSA, {} bits, fingerprint {fingerprint}", loaded.bits()))
}

/// What is wrong with a key, and what to do.
fn unusable(defect: &Defect) -> (&'static str, &'static str) {
    match defect {
        Defect::Truncated | Defect::NoPem => (
            "key_truncated",
            "Copy the whole key again, from -----BEGIN to -----END with both lines; `countersign keygen` makes a new one.",
        ),
        Defect::PublicKey | Defect::Certificate | Defect::NotRsa | Defect::OtherLabel | Defect::OpenSsh => (
            "key_wrong_kind",
            "Put the RSA private key there (PEM: RSA PRIVATE KEY or PRIVATE KEY); its public half goes to DocuSign.",
        ),
        Defect::TooWide { .. } => ("key_file_too_open", "Run chmod 600 on the file, as its owner."),
        Defect::Unreadable(_) => {
            ("key_unreadable", "Put the key there, and give the file to the user that the daemon runs as.")
        }
        _ => (
            "key_unusable",
            "Put a readable RSA private key (PEM, mode 0600) where the setting points; `countersign keygen` makes one.",
        ),
    }
}

/// An account's id in the place of a user's is a GUID like any other; it shows if the settings also name it
/// as an account.
fn ids(config: &Config, sender: &Sender) -> Check {
    let is_account = |account: &String| {
        uuid::Uuid::try_parse(account.trim()).is_ok_and(|account| Some(account) == sender.user_id)
    };
    if config.senders.values().filter_map(|other| other.account.as_ref()).any(is_account) {
        return account_as_user();
    }
    let user = sender.user_id.map_or_else(|| "of whoever connects it".to_owned(), |id| id.to_string());
    Check::passed("ids", format!("integration key {}, user {user}", sender.integration_key))
}

/// The account's id stands in `user_id`.
pub(super) fn account_as_user() -> Check {
    let fix = "Set user_id to the API user id of the user: under Users in DocuSign Admin, or User ID on Apps and Keys; not the API account id beside it.";
    Check::failed("ids", "account_id_as_user_id", "user_id is the id of an account", fix)
}

fn scopes(sender: &Sender) -> Check {
    // The code grant knows no impersonation.
    let wanted: &[&str] = match sender.connect {
        Some(ConnectForm::Code) => &["signature"],
        Some(ConnectForm::Impersonation) | None => &["signature", "impersonation"],
    };
    let missing: Vec<&str> =
        wanted.iter().copied().filter(|wanted| !sender.scopes.iter().any(|scope| scope == wanted)).collect();
    if missing.is_empty() {
        return Check::passed("scopes", sender.asked_scopes().join(" "));
    }
    let fix = "Set scopes to [\"signature\", \"impersonation\"], or leave it out; then consent again: consent counts for the scopes that were on the link.";
    Check::failed("scopes", "scope_missing", format!("without {}", missing.join(" and ")), fix)
}

fn callers(config: &Config) -> Check {
    if config.callers.is_empty() {
        let fix = "Make a key with `countersign caller add NAME`, and paste the lines that it prints.";
        return Check::advised("callers", "nobody may call the API", fix);
    }
    let nowhere = config.callers.iter().filter(|(_, caller)| caller.return_origins.is_empty());
    let nowhere: Vec<&str> = nowhere.map(|(name, _)| name.as_str()).collect();
    if !nowhere.is_empty() {
        let detail = format!("visitors of {} may be sent back nowhere", nowhere.join(", "));
        let fix =
            "Set return_origins of the caller to the website's origin, such as https://www.example.com.";
        return Check::advised("callers", detail, fix);
    }
    Check::passed("callers", format!("{} may call", config.callers.len()))
}

fn store(config: &Config) -> Check {
    let StoreUrl::Sqlite(path) = &config.store.url else {
        return Check::passed("store", "Postgres; the daemon connects and migrates when it starts");
    };
    let shown = path.display();
    if path.exists() {
        return match OpenOptions::new().read(true).write(true).open(path) {
            Ok(_) => Check::passed("store", format!("{shown} can be read and written")),
            Err(error) => Check::failed(
                "store",
                "store_unwritable",
                format!("{shown} cannot be written: {error}"),
                "Give the file to the user that the daemon runs as.",
            ),
        };
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if is_writable(directory) {
        return Check::passed("store", format!("{shown} will be made at the first start"));
    }
    let detail = format!("{} is not a directory that can be written to", directory.display());
    let fix = "Make the directory, and give it to the user that the daemon runs as.";
    Check::failed("store", "store_unwritable", detail, fix)
}

/// Asked of the system and not tried: doctor leaves no trace.
fn is_writable(directory: &Path) -> bool {
    directory.is_dir()
        && rustix::fs::access(directory, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
}

fn public_url(config: &Config) -> Check {
    match &config.public.base_url {
        Some(origin) if !has_hmac_keys(config) => Check::advised(
            "public URL",
            format!(
                "{} is set, but DocuSign's events cannot be believed without an HMAC key",
                origin.as_str()
            ),
            "Make a key under Settings > Connect > Connect Keys at DocuSign, and put it into connect.hmac_keys.",
        ),
        Some(origin) => {
            Check::passed("public URL", format!("visitors and DocuSign reach us at {}", origin.as_str()))
        }
        None => {
            Check::skipped("public URL", "public.base_url is not set: no links, and no events from DocuSign")
        }
    }
}

/// Whether anything that DocuSign pushes can be believed: by keys that are everybody's, or one sender's.
fn has_hmac_keys(config: &Config) -> bool {
    !config.connect.hmac_keys.is_empty() || config.senders.values().any(|sender| !sender.hmac_keys.is_empty())
}

/// An error with its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
