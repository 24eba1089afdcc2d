//! Where settings come from: the compiled-in defaults, the file, the environment, in rising order.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use figment::{
    Figment, Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

use super::{
    error::{ConfigError, variable},
    values::checked_names,
};

/// What the defaults are called where it is said from where a setting came.
pub(super) const DEFAULTS_NAME: &str = "config/default.toml";
/// Every setting with its default and its meaning.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// Sections whose tables carry names that the operator chose.
pub(super) const NAMED: [&str; 4] = ["callers", "oidc", "senders", "webhooks"];

/// The table that holds the defaults of every named table of its section.
const EVERY: &str = "*";

/// What variables that are settings begin with.
const PREFIX: &str = "COUNTERSIGN__";

/// A settings file is a page or ten; a larger one is something else given by mistake.
const FILE_LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// Environment variables, as the process got them or as a test gives them.
#[derive(Clone, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Those of this process; what is not Unicode is left out.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// What a service manager calls the sockets that it gives us, in their order.
    pub fn socket_names(&self) -> Vec<String> {
        let names = self.0.get("LISTEN_FDNAMES").map(String::as_str).unwrap_or_default();
        names.split(':').map(str::to_owned).collect()
    }

    /// Where a service manager wants to hear how we are.
    pub fn notify_socket(&self) -> Option<&str> {
        self.0.get("NOTIFY_SOCKET").map(String::as_str)
    }

    /// How long the service manager lets this process be silent, if it is this process that it means.
    pub fn watchdog(&self, pid: u32) -> Option<Duration> {
        let is_meant = self.0.get("WATCHDOG_PID").is_none_or(|meant| meant.parse() == Ok(pid));
        let limit = self.0.get("WATCHDOG_USEC").filter(|_| is_meant)?.parse().ok()?;
        Some(Duration::from_micros(limit)).filter(|limit| !limit.is_zero())
    }

    /// Where systemd put the credentials of this service.
    pub(super) fn credentials_directory(&self) -> Option<PathBuf> {
        self.0.get("CREDENTIALS_DIRECTORY").map(PathBuf::from)
    }
}

// By hand: variables hold secrets.
impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// One source of settings.
struct Layer {
    name: String,
    settings: Dict,
}

impl Layer {
    /// Checks the names of tables before anything in them is read: a copy of the defaults' table lacks what they need.
    fn check_names(&self) -> Result<(), ConfigError> {
        for section in NAMED {
            let Some(tables) = self.settings.get(section).and_then(Value::as_dict) else { continue };
            let checked = if tables.contains_key(EVERY) {
                let cause = format!("\"{EVERY}\" stands in {DEFAULTS_NAME} only");
                Err(ConfigError::new(format!("{section}.{EVERY}"), cause, "write the setting in each table"))
            } else {
                checked_names(section, tables.keys())
            };
            checked.map_err(|error| error.found_in(Some(self.name.clone())))?;
        }
        Ok(())
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.settings.clone())]))
    }
}

/// Stacks the layers.
pub(super) fn stack(file: Option<(&str, &str)>, variables: &Variables) -> Result<Figment, ConfigError> {
    let file = match file {
        Some((name, text)) => Some(Layer { name: name.to_owned(), settings: parse(name, text)? }),
        None => None,
    };
    let variables: Vec<Layer> =
        variables.0.iter().filter_map(|(name, value)| from_variable(name, value)).collect();
    file.iter().chain(&variables).try_for_each(Layer::check_names)?;
    let mut defaults = parse(DEFAULTS_NAME, DEFAULTS)?;
    for section in NAMED {
        let given = file.iter().chain(&variables).filter_map(|layer| layer.settings.get(section));
        let names: BTreeSet<&String> = given.filter_map(Value::as_dict).flat_map(Dict::keys).collect();
        spread(&mut defaults, section, &names);
    }
    let mut figment = Figment::from(Layer { name: DEFAULTS_NAME.to_owned(), settings: defaults });
    for layer in file.into_iter().chain(variables) {
        figment = figment.merge(layer);
    }
    Ok(figment)
}

/// Gives each named table of `section` the defaults of the table `"*"`.
fn spread(defaults: &mut Dict, section: &str, names: &BTreeSet<&String>) {
    let Some(Value::Dict(tag, mut tables)) = defaults.remove(section) else { return };
    let Some(every) = tables.remove(EVERY) else { return };
    let spread = names.iter().map(|name| ((*name).clone(), every.clone())).collect();
    defaults.insert(section.to_owned(), Value::Dict(tag, spread));
}

/// Reads a settings file whole.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let refused = |cause: String| {
        ConfigError::new(path.display().to_string(), cause, "name a readable settings file with --config")
    };
    let size = std::fs::metadata(path)
        .map_err(|error| refused(format!("cannot read the settings file: {error}")))?;
    if size.len() > FILE_LIMIT_BYTES {
        return Err(refused("larger than 4 MiB, so it is no settings file".to_owned()));
    }
    std::fs::read_to_string(path).map_err(|error| refused(format!("cannot read the settings file: {error}")))
}

/// Parses TOML. The error has line and column, and not the line itself: it may hold a secret.
fn parse(name: &str, text: &str) -> Result<Dict, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let message = error.message();
        let is_double = message.contains("duplicate key");
        let fix =
            if is_double { "a table or a key stands there twice: keep one" } else { "mend the file there" };
        ConfigError::new(name, format!("not valid TOML at line {line}, column {column}: {message}"), fix)
    })
}

/// A layer of its own for each variable, so that an error can name it.
fn from_variable(name: &str, text: &str) -> Option<Layer> {
    let keys: Vec<String> = name.strip_prefix(PREFIX)?.split("__").map(str::to_lowercase).collect();
    let mut value = interpret(text);
    let mut settings = Dict::new();
    let (first, rest) = keys.split_first()?;
    for key in rest.iter().rev() {
        value = Value::from(Dict::from([(key.clone(), value)]));
    }
    settings.insert(first.clone(), value);
    Some(Layer { name: variable(&keys), settings })
}

/// A variable's value: a list, a table or a quoted text if it is written as one, else the bare text.
///
/// Numbers and truth values stay text here and are read where a setting wants them: ids that are
/// digits keep their leading zeros.
fn interpret(text: &str) -> Value {
    if text.trim_start().starts_with(['[', '{', '"']) {
        return text.parse().unwrap_or_else(|never: std::convert::Infallible| match never {});
    }
    Value::from(text)
}
