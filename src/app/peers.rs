//! Several daemons on one store must mean the same by the same names: each leaves a digest of what they have to
//! agree on, and says in its health where another one differs. A rolling change of settings differs for as
//! long as it rolls; what stays is a mistake.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use uuid::Uuid;

use crate::{
    app::Parts,
    config::{Config, Sender},
    ops::health::{PartStatus, Reason},
};

/// How often a daemon says which settings it runs with. Notes live four times as long.
const SAY_EVERY: Duration = Duration::from_secs(15);

/// More senders than this are compared together: the note of each by itself would be as large as the settings.
const NAMED: usize = 20;

/// What daemons on one store have to agree on, each part as the beginning of a digest: nothing in it can be
/// read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Agreed(BTreeMap<String, String>);

impl Agreed {
    pub(super) fn of(config: &Config) -> Self {
        let mut parts = BTreeMap::new();
        let mut add = |name: String, text: String| {
            let hash = digest(&SHA256, text.as_bytes());
            let short =
                hash.as_ref().iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
            parts.insert(name, short);
        };
        add(
            "upstream".to_owned(),
            format!("{} {:?}", config.upstream.oauth_base(), config.upstream.environment()),
        );
        add("public.base_url".to_owned(), format!("{:?}", config.public.base_url));
        add("templates".to_owned(), format!("{:?}", config.templates));
        let sender = |sender: &Sender| {
            format!(
                "{} {:?} {:?} {:?}",
                sender.integration_key, sender.user_id, sender.account, sender.scopes
            )
        };
        if config.senders.len() > NAMED {
            let all = config.senders.iter().map(|(name, it)| format!("{name} {}\n", sender(it)));
            add("senders".to_owned(), all.collect());
        } else {
            for (name, it) in &config.senders {
                add(format!("senders.{name}"), sender(it));
            }
        }
        for (name, caller) in &config.callers {
            add(format!("callers.{name}"), format!("{caller:?}"));
        }
        Self(parts)
    }

    /// The parts that are not alike, by name.
    fn differing(&self, other: &Self) -> Vec<String> {
        let names = self.0.keys().chain(other.0.keys());
        let mut differing: Vec<String> =
            names.filter(|name| self.0.get(*name) != other.0.get(*name)).cloned().collect();
        differing.sort();
        differing.dedup();
        differing
    }
}

/// Says so from now on, until the stop.
pub(super) fn watch(parts: &Parts, agreed: Agreed) {
    let (daemon, agreed) = (Uuid::new_v4(), Arc::new(agreed));
    parts.repeat("peers", SAY_EVERY, move |parts| {
        let agreed = Arc::clone(&agreed);
        async move {
            let note = serde_json::to_vec(&agreed.0).expect("text serialises");
            if let Ok(others) = parts.store.note(daemon, note, SAY_EVERY * 4).await {
                report(&parts, &agreed, &others);
            }
        }
    });
}

fn report(parts: &Parts, agreed: &Agreed, others: &[Vec<u8>]) {
    let read = |note: &Vec<u8>| serde_json::from_slice(note).ok().map(Agreed);
    let mut differing: Vec<String> =
        others.iter().filter_map(read).flat_map(|other| agreed.differing(&other)).collect();
    differing.sort();
    differing.dedup();
    if differing.is_empty() {
        parts.health.forget("settings");
    } else {
        let detail = format!("another daemon on this store has other settings: {}", differing.join(", "));
        parts.health.set(Reason::new("settings", PartStatus::Degraded, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(pairs: &[(&str, &str)]) -> Agreed {
        Agreed(pairs.iter().map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned())).collect())
    }

    #[test]
    fn parts_that_are_not_alike_are_named() {
        let ours = agreed(&[("senders.system", "1"), ("templates", "2")]);
        assert_eq!(ours.differing(&ours), Vec::<String>::new());
        let other = agreed(&[("senders.sales", "1"), ("senders.system", "1"), ("templates", "3")]);
        assert_eq!(ours.differing(&other), ["senders.sales", "templates"]);
    }
}
