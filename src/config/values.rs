//! How a setting's text becomes a value: times, sizes, ids, addresses, rates.
//!
//! Everything is read from text, and numbers are taken as text first: an id made of digits must not
//! turn into a number on the way from the environment. A parser says "cause; fix" and never repeats
//! what it was given.

use std::{collections::BTreeMap, fmt, marker::PhantomData, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{self, IntoDeserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use tracing::level_filters::LevelFilter;
use url::Url;
use uuid::Uuid;

use super::error::ConfigError;

/// A value that is written as text or as a number.
pub(super) trait Setting: Sized {
    /// Reads it; the error is "cause; fix".
    fn parse(text: &str) -> Result<Self, String>;
}

/// For `deserialize_with`: a value that is there.
pub(super) fn given<'de, D: Deserializer<'de>, T: Setting>(input: D) -> Result<T, D::Error> {
    Written::deserialize(input).map(|written| written.0)
}

/// For `deserialize_with`: text that must be there, and not empty.
pub(super) fn needed<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    struct Needed(String);
    impl Setting for Needed {
        fn parse(text: &str) -> Result<Self, String> {
            if text.is_empty() {
                Err("empty; write a value: it is needed".into())
            } else {
                Ok(Self(text.to_owned()))
            }
        }
    }
    given(input).map(|Needed(text)| text)
}

/// For `deserialize_with`, beside `default`: a value that may be left out.
pub(super) fn maybe<'de, D: Deserializer<'de>, T: Setting>(input: D) -> Result<Option<T>, D::Error> {
    given(input).map(Some)
}

/// For `deserialize_with`: a list, or its only entry.
pub(super) fn list<'de, D: Deserializer<'de>, T: Setting>(input: D) -> Result<Vec<T>, D::Error> {
    let list: Vec<Written<T>> = one_or_many(input)?;
    Ok(list.into_iter().map(|written| written.0).collect())
}

/// For `deserialize_with`, beside `default`: a list that may be left out.
pub(super) fn maybe_list<'de, D: Deserializer<'de>, T: Setting>(
    input: D,
) -> Result<Option<Vec<T>>, D::Error> {
    list(input).map(Some)
}

/// For `deserialize_with`: values by name.
pub(super) fn named<'de, D: Deserializer<'de>, T: Setting>(
    input: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    let named: BTreeMap<String, Written<T>> = BTreeMap::deserialize(input)?;
    Ok(named.into_iter().map(|(name, written)| (name, written.0)).collect())
}

/// For `deserialize_with`: a list of anything, or its only entry. One that holds a comma is written in brackets: without
/// them it would be one where two are meant, and nobody would see it of a secret.
pub(super) fn one_or_many<'de, D, T>(input: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    input.deserialize_any(OneOrMany(PhantomData))
}

struct Written<T>(T);

impl<'de, T: Setting> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = input.deserialize_any(TextVisitor)?;
        T::parse(text.trim()).map(Written).map_err(de::Error::custom)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a number")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_char<E>(self, text: char) -> Result<String, E> {
        Ok(text.to_string())
    }

    fn visit_bool<E>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E>(self, value: f64) -> Result<String, E> {
        Ok(value.to_string())
    }
}

struct OneOrMany<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element()? {
            list.push(entry);
        }
        Ok(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Vec<T>, A::Error> {
        Ok(vec![T::deserialize(MapAccessDeserializer::new(table))?])
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
        // In several lines it is a key, which has no commas of ours.
        if text.contains(',') && !text.contains('\n') {
            return Err(de::Error::custom(
                "a comma without brackets; write [\"a\", \"b\"], or [\"a,b\"] if it belongs to the value",
            ));
        }
        Ok(vec![T::deserialize(text.into_deserializer())?])
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Vec<T>, E> {
        Ok(vec![T::deserialize(value.into_deserializer())?])
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Vec<T>, E> {
        Ok(vec![T::deserialize(value.into_deserializer())?])
    }
}

impl Setting for String {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("empty; write a value or leave it out".into()) } else { Ok(text.to_owned()) }
    }
}

impl Setting for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        String::parse(text).map(PathBuf::from)
    }
}

impl Setting for bool {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "neither true nor false; write true or false".into())
    }
}

impl Setting for u32 {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "not a whole number; write one from 0 to 4294967295".into())
    }
}

impl Setting for Uuid {
    fn parse(text: &str) -> Result<Self, String> {
        // Only the form that DocuSign shows: `Uuid` itself would take braces and bare digits, too.
        let id = (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten();
        id.ok_or_else(|| "not a GUID; copy it whole, such as 01234567-89ab-4cde-8f01-23456789abcd".into())
    }
}

impl Setting for SocketAddr {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "not an address and port; write such as 127.0.0.1:8080 or [::1]:8080".into())
    }
}

impl Setting for Url {
    fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text)
            .map_err(|error| format!("not a URL ({error}); write it whole, with https://"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err("not a web address; begin it with https://".into());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("holds a user name or password; leave them out".into());
        }
        Ok(url)
    }
}

impl Setting for LevelFilter {
    fn parse(text: &str) -> Result<Self, String> {
        // `LevelFilter` itself would take numbers, too.
        Ok(match text.to_ascii_lowercase().as_str() {
            "off" => Self::OFF,
            "error" => Self::ERROR,
            "warn" => Self::WARN,
            "info" => Self::INFO,
            "debug" => Self::DEBUG,
            "trace" => Self::TRACE,
            _ => return Err("unknown level; write off, error, warn, info, debug or trace".into()),
        })
    }
}

impl Setting for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            "not a time; write whole seconds or such as \"500ms\", \"5s\", \"10m\", \"2h\", \"21d\""
                .to_owned()
        };
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (count, unit) = text.split_at(digits);
        let count: u64 = count.parse().map_err(|_| wrong())?;
        let unit_ms = match unit.trim_start() {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        count.checked_mul(unit_ms).map(Self::from_millis).ok_or_else(|| "too long a time; write less".into())
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    /// As a length in memory.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Setting for ByteSize {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "not a size; write bytes or such as \"64KiB\", \"50MiB\", \"1GiB\"".to_owned();
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (count, unit) = text.split_at(digits);
        let count: u64 = count.parse().map_err(|_| wrong())?;
        let unit_bytes: u64 = match unit.trim_start() {
            "" | "B" => 1,
            "kB" | "KB" => 1_000,
            "KiB" => 1 << 10,
            "MB" => 1_000_000,
            "MiB" => 1 << 20,
            "GB" => 1_000_000_000,
            "GiB" => 1 << 30,
            _ => return Err(wrong()),
        };
        count.checked_mul(unit_bytes).map(Self).ok_or_else(|| "too large; write less".into())
    }
}

/// Scheme, host and port of a website: what L6's allow-list is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// The origin of a URL.
    pub fn of(url: &Url) -> Self {
        Self(url.origin().ascii_serialization())
    }

    /// As browsers write it: `https://www.example.com`, the port only where it is unusual.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a URL shows, without being taken apart, that this is its origin: it begins with it, and no more of an
    /// authority follows. Of one that does not, nothing is said.
    pub fn begins(&self, url: &str) -> bool {
        let rest = url.strip_prefix(self.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
    }
}

impl Setting for Origin {
    fn parse(text: &str) -> Result<Self, String> {
        let url = <Url as Setting>::parse(text)?;
        if text.contains('*') {
            return Err("has a wildcard; write each origin out, because they are compared whole".into());
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err("has a path; write only scheme, host and port".into());
        }
        if url.scheme() == "http" && !is_loopback_to_browsers(&url) {
            return Err("plain http outside of loopback; use https".into());
        }
        Ok(Self::of(&url))
    }
}

/// So many calls in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Calls.
    pub count: u32,
    /// The time they are counted over.
    pub per: Duration,
}

impl Setting for Rate {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "not a rate; write such as \"100/s\", \"600/m\" or \"1000/h\"".to_owned();
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let per = match unit.trim() {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3_600),
            _ => return Err(wrong()),
        };
        match count.trim().parse() {
            Ok(count) if count > 0 => Ok(Self { count, per }),
            _ => Err(wrong()),
        }
    }
}

/// Whether a browser takes a URL for one on its own machine, by its name: names below `localhost`, too.
pub(super) fn is_loopback_to_browsers(url: &Url) -> bool {
    is_loopback(url) || url.domain().is_some_and(|name| name.ends_with(".localhost"))
}

/// Whether a URL leads to this machine only, by its name; nothing is resolved. Names below `localhost` do for
/// browsers alone: where we call, they may resolve to anything.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Checks a name that the operator chose for a sender, caller, webhook or template.
///
/// Names stand in URLs, metric labels and environment variables, so their letters are few.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let letters =
        name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_'));
    if letters
        && (1..=64).contains(&name.len())
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && !name.contains("__")
    {
        return Ok(());
    }
    Err("use 1 to 64 lower-case letters, digits, \"-\" and single \"_\", beginning with a letter or digit")
}

pub(super) fn checked_names<'a>(
    section: &str,
    names: impl Iterator<Item = &'a String>,
) -> Result<(), ConfigError> {
    for name in names {
        check_name(name)
            .map_err(|fix| ConfigError::new(format!("{section}.{name}"), "not a usable name", fix))?;
    }
    Ok(())
}

/// Refuses a time or a number of zero, which would mean never or none.
pub(super) fn positive<T: Default + PartialEq>(setting: &str, value: &T) -> Result<(), ConfigError> {
    if *value == T::default() {
        return Err(ConfigError::new(setting, "zero", "write more than zero, or leave it out"));
    }
    Ok(())
}

/// Checks that a file can be read, so that its absence is a line at start and not a failure later.
pub(super) fn readable(setting: &str, path: &std::path::Path) -> Result<(), ConfigError> {
    match std::fs::File::open(path).and_then(|file| file.metadata()) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(ConfigError::new(setting, format!("{} is no file", path.display()), "name a file")),
        Err(error) => {
            let cause = format!("cannot read {}: {error}", path.display());
            Err(ConfigError::new(setting, cause, "name a file that this user can read"))
        }
    }
}
