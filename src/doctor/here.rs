//! What can be seen on this machine, and in the database that the settings name.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use url::Url;
use uuid::Uuid;

use super::{Check, looked_at};
use crate::{
    app, audit,
    auth::{
        self,
        device::Module,
        signing_key::{Defect, KeySource},
    },
    clock::SharedClock,
    config::{Config, ConfigError, ConnectForm, Environment, KeyHash, Origin, Sender, StoreUrl},
    pairing::Unused,
    store::{self, Found},
    telemetry::chain,
};

/// All checks of this machine, in the order of the chain.
pub(super) async fn all(
    config: &Config,
    only: Option<&str>,
    clock: &SharedClock,
    module: Option<&Arc<Module>>,
) -> Vec<Check> {
    let mut checks = vec![settings(config)];
    checks.extend(secrets(config));
    checks.extend(certificates(config, clock));
    for (name, sender) in looked_at(config, only) {
        for (index, source) in sender.keys.iter().enumerate() {
            let source = app::key_source(&format!("senders.{name}.keys.{index}"), source, module);
            checks.push(key(config, source, clock.now()).await.of(name));
        }
        checks.push(ids(config, sender).of(name));
        checks.push(scopes(sender).of(name));
    }
    checks.push(callers(config));
    checks.extend(store(config).await);
    checks.push(audit_log(config).await);
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

/// Secrets in files that others can read; those of an emulator are worth nothing.
fn secrets(config: &Config) -> Option<Check> {
    let files: Vec<_> = config.exposed.iter().map(|file| file.display().to_string()).collect();
    if files.is_empty() || config.upstream.is_emulator() {
        return None;
    }
    let files = files.join(" ");
    let fix = format!(
        "Run chmod 600 {files}, as the user that the daemon runs as; but not under the unit in deploy/, whose user is another at each start: there make each secret a credential (LoadCredential=)."
    );
    Some(Check::advised("secrets", format!("others can read what holds secrets: {files}"), fix))
}

/// Whether a start would take the certificates that the settings name: what is in the files is no matter of the settings
/// themselves, and ends it all the same.
fn certificates(config: &Config, clock: &SharedClock) -> Vec<Check> {
    let name = "certificates";
    let (mut usable, mut checks) = (Vec::new(), Vec::new());
    for (section, read) in app::examine_certificates(config, clock) {
        match read {
            Ok(()) => usable.push(section),
            Err(ConfigError { setting, cause, fix, .. }) => {
                let (detail, fix) = (format!("{setting}: {cause}"), format!("{setting}: {fix}."));
                checks.push(Check::failed(name, "certificates_unusable", detail, fix));
            }
        }
    }
    if checks.is_empty() && !usable.is_empty() {
        checks.push(Check::passed(name, format!("those of {} can be used", usable.join(", "))));
    }
    checks
}

/// A key that can be read, or that its device has signed a probe with.
async fn key(config: &Config, source: Result<KeySource, ConfigError>, now: Timestamp) -> Check {
    let source = match source {
        Ok(source) => source,
        Err(error) => {
            let fix = format!("{}: {}.", error.setting, error.fix);
            return Check::failed("key", error.code, error.cause, fix);
        }
    };
    let (fingerprint, bits) = match source.examine().await {
        Ok((fingerprint, bits)) => (fingerprint.to_string(), bits),
        Err(error) => {
            let (code, fix) = (error.defect.code(), fix_of(&error.defect));
            return Check::failed("key", code, chain(&error).to_string(), fix);
        }
    };
    if config.barred_key().is_some_and(|barred| fingerprint.contains(barred)) {
        let fix = "Make a key of your own with `countersign keygen`, and upload its public half.";
        let detail = "this is the example key, whose private half is public";
        return Check::failed("key", "key_is_example", detail, fix);
    }
    let age = age(&source, now).map(|age| format!("; its file changed {age}")).unwrap_or_default();
    Check::passed("key", format!("RSA, {bits} bits, fingerprint {fingerprint}{age}"))
}

/// How long ago the file of a key was written: for most, how old the key is.
fn age(source: &KeySource, now: Timestamp) -> Option<String> {
    let KeySource::File(path) = source else { return None };
    let changed = Timestamp::try_from(std::fs::metadata(path).ok()?.modified().ok()?).ok()?;
    Some(match now.duration_since(changed).as_hours() / 24 {
        ..=0 => "less than a day ago".to_owned(),
        1 => "a day ago".to_owned(),
        days => format!("{days} days ago"),
    })
}

/// What to do about a key that is of no use.
fn fix_of(defect: &Defect) -> &'static str {
    match defect {
        Defect::Truncated | Defect::NoPem => {
            "Copy the whole key again, from -----BEGIN to -----END with both lines; `countersign keygen` makes a new one."
        }
        Defect::PublicKey | Defect::Certificate | Defect::NotRsa | Defect::OtherLabel | Defect::OpenSsh => {
            "Put the RSA private key there (PEM: RSA PRIVATE KEY or PRIVATE KEY); its public half goes to DocuSign."
        }
        Defect::Device(_) => {
            "See that the device is there, and that token and object of the key, signer.pkcs11_module and its PIN are right: \
             after a wrong PIN or two it may lock itself."
        }
        Defect::TooWide { .. } => "Run chmod 600 on the file, as its owner.",
        Defect::Unreadable(_) => "Put the key there, and give the file to the user that the daemon runs as.",
        _ => {
            "Put a readable RSA private key (PEM, mode 0600) where the setting points; `countersign keygen` makes one."
        }
    }
}

/// The integration key and the user id that stand in the example.
const EXAMPLE_IDS: [Uuid; 2] = [
    uuid::uuid!("00000000-1111-4222-8333-444444444444"),
    uuid::uuid!("55555555-6666-4777-8888-999999999999"),
];

/// An account's id in the place of a user's is a GUID like any other; it shows if the settings also name it
/// as an account.
fn ids(config: &Config, sender: &Sender) -> Check {
    let is_account = |account: &String| {
        Uuid::try_parse(account.trim()).is_ok_and(|account| Some(account) == sender.user_id)
    };
    if config.senders.values().filter_map(|other| other.account.as_ref()).any(is_account) {
        return account_as_user();
    }
    let given = [Some(sender.integration_key), sender.user_id];
    if given.iter().flatten().any(|id| EXAMPLE_IDS.contains(id)) {
        let detail = "integration_key or user_id is the placeholder of an example: nobody has it";
        let fix = "Put the integration key and the user id there that Apps and Keys at DocuSign shows.";
        return Check::failed("ids", "id_placeholder", detail, fix);
    }
    let user = sender.user_id.map_or_else(|| "of whoever connects it".to_owned(), |id| id.to_string());
    Check::passed("ids", format!("integration key {}, user {user}", sender.integration_key))
}

/// The account's id stands in `user_id`.
pub(super) fn account_as_user() -> Check {
    let error = auth::Error::UserIsAccount;
    Check::failed("ids", error.code(), &error, error.fix())
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
    let nobodys = config.callers.iter().find(|(_, caller)| caller.key_hashes.iter().any(is_placeholder));
    if let Some((name, _)) = nobodys {
        let detail = format!("the key hash of {name} is the placeholder of an example: no key has it");
        let fix = format!(
            "Make a key with `countersign caller add {name}`, and put its key_hash in the place of the zeros."
        );
        return Check::failed("callers", "key_hash_placeholder", detail, fix);
    }
    let nowhere = config.callers.iter().filter(|(_, caller)| caller.return_origins.is_empty());
    let nowhere: Vec<&str> = nowhere.map(|(name, _)| name.as_str()).collect();
    if !nowhere.is_empty() {
        let detail = format!("visitors of {} may be sent back nowhere", nowhere.join(", "));
        let fix =
            "Set return_origins of the caller to the website's origin, such as https://www.example.com.";
        return Check::advised("callers", detail, fix);
    }
    let example = config.callers.values().flat_map(|caller| &caller.return_origins).find(|it| is_example(it));
    if let Some(origin) = example {
        let detail = format!("visitors may be sent back to {}, the address of an example", origin.as_str());
        let fix = "Set return_origins of the caller to the website's own origin.";
        return Check::advised("callers", detail, fix);
    }
    Check::passed("callers", format!("{} may call", config.callers.len()))
}

/// Whether an origin is in the domain that is set aside for examples (RFC 2606).
fn is_example(origin: &Origin) -> bool {
    let host = Url::parse(origin.as_str()).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.is_some_and(|host| host == "example.com" || host.ends_with(".example.com"))
}

/// Whether a hash is the row of zeros that stands in the example.
fn is_placeholder(hash: &KeyHash) -> bool {
    hash.as_bytes().iter().all(|byte| *byte == 0)
}

/// The store, and what it keeps that nobody acts by.
async fn store(config: &Config) -> Vec<Check> {
    let (settings, keys) = match app::located(config) {
        Ok(located) => located,
        Err(error) => return vec![Check::skipped("store", format!("not looked at: {error:#}"))],
    };
    let found = store::examine(&settings, &keys).await;
    let is_legible = matches!(found, Ok(Found::Ours { is_up_to_date: true }));
    let mut checks = vec![start(config, &settings, found)];
    if is_legible {
        checks.extend(unused(config, &settings, &keys).await);
    }
    checks
}

/// Whether a start would take the store that was found.
fn start(config: &Config, settings: &store::Settings, found: Result<Found, store::Error>) -> Check {
    // Before what SQLite says of a file that it may not open.
    if let StoreUrl::Sqlite(path) = &config.store.url
        // Where the settings name a link, a lock lies beside that, too.
        && let Some(check) = writable(&store::place_of_file(path)).or_else(|| writable(path))
    {
        return check;
    }
    match (found, &config.store.url) {
        (Err(error @ store::Error::Unavailable(_)), StoreUrl::Sqlite(_)) => {
            Check::failed("store", "store_unavailable", error, "Mend what this line names; try again.")
        }
        (Err(error @ store::Error::Unavailable(_)), StoreUrl::Postgres(_)) => {
            let fix = "See that the database runs and that store.url leads to it; try again.";
            Check::failed("store", "store_unavailable", error, fix)
        }
        (Err(error), _) => {
            let fix = "See deploy/upkeep.md for backups, deploy/rotation.md for seal keys, deploy/kubernetes.md for Postgres.";
            Check::failed("store", "store_unusable", error, fix)
        }
        (Ok(_), _) if settings.location.trusts_any_server() => {
            let fix = "Add ?sslmode=verify-full&sslrootcert=FILE to store.url, with the certificate of the database's CA.";
            Check::advised(
                "store",
                "the database is reached over a network and need not prove that it is ours",
                fix,
            )
        }
        (Ok(found), _) => told(found),
    }
}

fn told(found: Found) -> Check {
    Check::passed(
        "store",
        match found {
            Found::Nothing => "will be made at the first start",
            Found::Ours { is_up_to_date: true } => "ours, and the seal keys open it",
            Found::Ours { is_up_to_date: false } => {
                "ours, and the seal keys open it; the next start brings its schema up to date"
            }
            Found::InLog => "ours; the next start takes up what a crash or a copy has left in its log",
        },
    )
}

/// Refresh tokens that nobody acts by.
async fn unused(config: &Config, settings: &store::Settings, keys: &store::SealKeys) -> Option<Check> {
    let name = "connections";
    let kept = match store::kept_of_senders(settings, keys).await {
        Ok(kept) => kept,
        Err(error) => return Some(Check::skipped(name, format!("not looked at: {error}"))),
    };
    let has = |name: &str| config.senders.contains_key(name);
    let unused = Unused::of(&kept, has, |name| config.senders.get(name)?.connect.map(app::form_of))?;
    let detail =
        format!("refresh tokens are kept for senders that these settings do not let act by them: {unused}");
    // Another daemon on the store may have them: nothing is broken.
    Some(Check { code: Some("token_without_sender"), ..Check::advised(name, detail, Unused::FIX) })
}

/// Why this user could not write a database file, if so.
fn writable(path: &Path) -> Option<Check> {
    use rustix::fs::{Access, access};
    let failed = |detail: String, fix: &str| Some(Check::failed("store", "store_unwritable", detail, fix));
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Its log and its lock lie beside it.
    if !is_writable(directory) {
        return failed(no_place(directory), MAKE_PLACE);
    }
    let path = path.display();
    let all = ["", "-lock", "-wal", "-shm"].map(|end| PathBuf::from(format!("{path}{end}")));
    let is_shut =
        |file: &&PathBuf| file.exists() && access(*file, Access::READ_OK | Access::WRITE_OK).is_err();
    let shut = all.iter().find(is_shut)?;
    let fix = format!(
        "Give {path} and, where they are, {path}-lock, {path}-wal and {path}-shm to the user that the daemon runs as."
    );
    failed(format!("{} cannot be read and written", shut.display()), &fix)
}

/// Whether a start would go on with the log that is there: its whole chain is checked.
async fn audit_log(config: &Config) -> Check {
    let name = "audit log";
    let Some(path) = config.audit.file.clone() else {
        let fix = "Set audit.file: each use of the key is then a line in it, written before the effect.";
        return Check::advised(name, "audit.file is not set: nothing is written down", fix);
    };
    let (shown, directory) = (path.display().to_string(), path.parent().map(Path::to_owned));
    match tokio::task::spawn_blocking(move || audit::examine(&path)).await {
        Ok(Ok(Some(found))) if found.torn_bytes > 0 => {
            let torn = "and one without an end, which the daemon cuts off at its next start";
            Check::passed(name, format!("{shown} has {} line(s), {torn}", found.seq))
        }
        Ok(Ok(Some(found))) => Check::passed(name, format!("{shown} is whole, with {} line(s)", found.seq)),
        Ok(Err(audit::Error::InUse)) => Check::passed(name, format!("{shown} is being written by a daemon")),
        Ok(Ok(None)) => match directory.filter(|it| !it.as_os_str().is_empty() && !is_writable(it)) {
            None => Check::passed(name, format!("{shown} will be made at the first start")),
            Some(directory) => Check::failed(name, "audit_log_unusable", no_place(&directory), MAKE_PLACE),
        },
        Ok(Err(error)) => {
            let fix = format!("audit.file: {}.", error.fix());
            Check::failed(name, "audit_log_unusable", format!("{shown}: {error}"), fix)
        }
        Err(_) => Check::skipped(name, "the reader stopped"),
    }
}

/// What to do about a directory that our files cannot be made in.
const MAKE_PLACE: &str = "Make the directory, and give it to the user that the daemon runs as; under systemd the first \
                          start makes it (StateDirectory=).";

fn no_place(directory: &Path) -> String {
    format!("{} is not a directory that can be written to", directory.display())
}

/// Asked of the system and not tried: doctor leaves no trace.
fn is_writable(directory: &Path) -> bool {
    directory.is_dir()
        && rustix::fs::access(directory, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
}

fn public_url(config: &Config) -> Check {
    match &config.public.base_url {
        Some(origin) if is_example(origin) => Check::advised(
            "public URL",
            format!("{} is the address of an example", origin.as_str()),
            "Set public.base_url to where visitors and DocuSign reach the daemon, or leave it out.",
        ),
        Some(origin) if !config.has_hmac_keys() => Check::advised(
            "public URL",
            format!(
                "{} is set, but DocuSign's events cannot be believed without an HMAC key",
                origin.as_str()
            ),
            "Make a key under Settings > Connect > Connect Keys at DocuSign, and put it into connect.hmac_keys.",
        ),
        Some(origin) => {
            let detail = format!("visitors and DocuSign are sent to {} (not tried)", origin.as_str());
            Check::passed("public URL", detail)
        }
        None => Check::skipped(
            "public URL",
            "public.base_url is not set: no links, and no events from DocuSign. The browser comes straight from DocuSign, with \
             event=… alone: put your order into return_url, and call POST /v1/signings/{id}/refresh when the visitor is back",
        ),
    }
}
