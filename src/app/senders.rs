//! From the settings' senders and their keys to `auth`. What becomes of them is in `sender_health`.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use crate::{
    auth::{
        Auth, FreshKeys, Impersonation,
        device::{DeviceKey, KeyUri, Module, UriError},
        identity::Scopes,
        key_ring::KeyStatus,
        signing_key::{self, Defect, KeySource},
        user_info::AccountChoice,
    },
    config::{self, Config, ConfigError, Environment},
    domain::{SenderName, TemplateNames, template_names::Ids},
    pairing::Pairings,
};

/// Senders that are registered in one step: what that takes is small, and used again for the next.
const AT_ONCE: usize = 1_000;

/// Registers every sender; its keys are read now. Sends nothing.
pub(super) async fn register(auth: &Auth, config: &Config) -> Result<(), ConfigError> {
    let module = device_module(config);
    let all: Vec<_> = config.senders.iter().collect();
    for some in all.chunks(AT_ONCE) {
        register_some(auth, some, module.as_ref(), config.upstream.environment()).await?;
    }
    if config.upstream.is_emulator() {
        return Ok(());
    }
    for name in auth.senders() {
        // One that left meanwhile has no key.
        let keys = auth.status(&name).map_or_else(|_| Vec::new(), |status| status.keys);
        refuse_example_key(&name, &keys)?;
    }
    for (name, sender) in config.senders.iter().filter(|(_, sender)| sender.user_id.is_none()) {
        // What else is wrong with them is told when somebody connects.
        let keys = file_keys(name, sender).unwrap_or_default();
        match auth.examine_keys(keys).await {
            Ok(keys) => refuse_example_key(name, &keys)?,
            Err(error) if matches!(error.defect, Defect::Example) => return Err(example(name, &error)),
            Err(_) => {}
        }
    }
    Ok(())
}

/// What templates are called: in the settings, and by callers for the senders that they made.
pub(super) fn template_names(config: &Config, pairings: &Pairings) -> TemplateNames {
    let ids = |named: &BTreeMap<String, uuid::Uuid>| -> Ids {
        named.iter().map(|(name, id)| (name.clone(), id.to_string())).collect()
    };
    let own = config.senders.iter().filter(|(_, sender)| !sender.templates.is_empty());
    let own = own.map(|(name, sender)| (SenderName::new(name.as_str()), ids(&sender.templates)));
    let pairings = pairings.clone();
    TemplateNames::new(ids(&config.templates), own.collect())
        .and_of_made(move |sender, name| pairings.made(sender)?.templates().get(name).cloned())
}

/// Reads the keys of senders whose lists name other ones now; nothing changes yet. Senders that customers
/// connected or callers made, and whatever else a sender's table says, wait for the next start.
pub(super) async fn read_keys(auth: &Auth, config: &Config) -> Result<FreshKeys, ConfigError> {
    let module = device_module(config);
    let mut wanted = Vec::with_capacity(config.senders.len());
    for (name, sender) in config.senders.iter().filter(|(_, sender)| sender.user_id.is_some()) {
        wanted.push((Arc::from(name.as_str()), key_sources(name, sender, module.as_ref())?));
    }
    let environment = config.upstream.environment();
    let fresh = auth.read_keys(wanted).await;
    let fresh = fresh.map_err(|(name, error)| unusable(&name, &error, environment))?;
    fresh.statuses().try_for_each(|(name, keys)| refuse_example_key(name, &keys))?;
    Ok(fresh)
}

fn unusable(name: &str, error: &signing_key::Error, environment: Environment) -> ConfigError {
    let mut fix = "write the path of an RSA private key in PEM, readable by this user only".to_owned();
    match &error.defect {
        Defect::Example => return example(name, error),
        Defect::Unreadable(cause) if cause.kind() == io::ErrorKind::NotFound => {
            fix.push_str(&looked_for(&error.origin, environment));
        }
        _ => {}
    }
    ConfigError::new(format!("senders.{name}.keys"), error.to_string(), fix)
}

/// Where a file was looked for that is not there, which a relative path does not say, and who would have written it.
fn looked_for(path: &str, environment: Environment) -> String {
    let absolute = std::path::absolute(path).ok().filter(|_| Path::new(path).is_relative());
    let here = absolute.map(|path| {
        format!("; a relative path begins where the daemon was started, so this one is {}", path.display())
    });
    let written = match environment {
        Environment::Emulator => "; `countersign emulate --state-dir DIR` writes DIR/private_key.pem",
        Environment::Demo | Environment::Production => "",
    };
    format!("{}{written}", here.unwrap_or_default())
}

fn example(name: &str, error: &signing_key::Error) -> ConfigError {
    let fix = "make one with `countersign keygen`";
    ConfigError::new(format!("senders.{name}.keys"), error.to_string(), fix)
}

async fn register_some(
    auth: &Auth,
    senders: &[(&String, &config::Sender)],
    module: Option<&Arc<Module>>,
    environment: Environment,
) -> Result<(), ConfigError> {
    let mut all = Vec::with_capacity(senders.len());
    for (name, sender) in senders {
        // A connectable sender has no user yet; `pairing` adds it.
        let Some(user_id) = sender.user_id else { continue };
        let impersonation = Impersonation {
            integration_key: sender.integration_key.into(),
            user_id: user_id.into(),
            scopes: scopes(name, sender)?,
            keys: key_sources(name, sender, module)?,
            account: AccountChoice::parse(sender.account.as_deref()),
        };
        all.push((Arc::from(name.as_str()), impersonation));
    }
    auth.register_all(all).await.map_err(|(name, error)| unusable(&name, &error, environment))
}

/// What tokens of the sender are to allow.
pub(super) fn scopes(name: &str, sender: &config::Sender) -> Result<Scopes, ConfigError> {
    Scopes::new(sender.asked_scopes()).map_err(|error| {
        let fix =
            "write DocuSign's names, such as [\"signature\", \"impersonation\"], or leave it out for these";
        ConfigError::new(format!("senders.{name}.scopes"), error.to_string(), fix)
    })
}

/// The key of `keys.example/` is public, so a real upstream must never trust it (rule S4).
fn refuse_example_key(name: &str, keys: &[KeyStatus]) -> Result<(), ConfigError> {
    let mut defects = keys.iter().filter_map(|key| key.defect.as_ref());
    let defect = defects.find(|error| matches!(error.defect, Defect::Example));
    defect.map_or(Ok(()), |error| Err(example(name, error)))
}

/// How devices that hold keys are reached, if the settings say so. Loads nothing yet. One for all that reach them
/// in a run: a wrong PIN is given to a device once, because it locks itself after a few.
pub(crate) fn device_module(config: &Config) -> Option<Arc<Module>> {
    config.signer.pkcs11.as_ref().map(|it| Module::new(it.module.clone(), it.pin.clone()))
}

/// The keys as `auth` names them.
pub(crate) fn key_sources(
    name: &str,
    sender: &config::Sender,
    module: Option<&Arc<Module>>,
) -> Result<Vec<KeySource>, ConfigError> {
    let of = |(index, source)| key_source(&format!("senders.{name}.keys.{index}"), source, module);
    sender.keys.iter().enumerate().map(of).collect()
}

/// One key as `auth` names it; `setting` is where it is written.
pub(crate) fn key_source(
    setting: &str,
    source: &config::KeySource,
    module: Option<&Arc<Module>>,
) -> Result<KeySource, ConfigError> {
    match source {
        config::KeySource::Device(uri) => {
            let wrong = |cause: String| {
                let fix = "write pkcs11:token=NAME;object=LABEL, and build with --features pkcs11";
                ConfigError::new(setting, cause, fix)
            };
            if !Module::is_built() {
                return Err(wrong("this binary was built without the feature pkcs11".to_owned()));
            }
            let uri: KeyUri = uri.parse().map_err(|error: UriError| wrong(error.to_string()))?;
            let module = module.ok_or_else(|| wrong("no PKCS#11 module is set".to_owned()))?;
            Ok(KeySource::Device(Box::new(DeviceKey::new(Arc::clone(module), uri))))
        }
        config::KeySource::File(path) => Ok(KeySource::File(path.clone())),
        config::KeySource::Inline(text) => Ok(KeySource::Inline(text.clone())),
    }
}

/// The keys of a connectable sender: files and values only, until a device is shared by all who use it.
pub(super) fn file_keys(name: &str, sender: &config::Sender) -> Result<Vec<KeySource>, ConfigError> {
    let of = |source: &config::KeySource| match source {
        config::KeySource::Device(_) => {
            let cause = "a connectable sender's key cannot be in a device";
            Err(ConfigError::new(format!("senders.{name}.keys"), cause, "name a PEM file"))
        }
        config::KeySource::File(path) => Ok(KeySource::File(path.clone())),
        config::KeySource::Inline(text) => Ok(KeySource::Inline(text.clone())),
    };
    sender.keys.iter().map(of).collect()
}
