//! Several daemons on one store must mean the same by the same names: each leaves a digest of what they have to
//! agree on, and says in its health where another one differs. A rolling change of settings differs for as
//! long as it rolls; what stays is a mistake.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::{
    app::Parts,
    config::{Config, Sender, is_reloaded},
    digest::{hex, sha256},
    ops::health::{Reason, Status},
};

/// How often a daemon says which settings it runs with. Notes live four times as long.
const SAY_EVERY: Duration = Duration::from_secs(15);

/// More senders than this are compared together: the note of each by itself would be as large as the settings.
const NAMED: usize = 20;

/// What daemons on one store have to agree on, each part as the beginning of a digest: nothing in it can be
/// read back. Secrets go through a key that the store's database does not hold, so that a weak one cannot be
/// guessed from it: through each seal key, because during a rotation daemons have only some of them in common. A part
/// that may hold secrets is as many digests, with blanks between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Agreed(BTreeMap<String, String>);

impl Agreed {
    pub(super) fn of(config: &Config) -> Self {
        let mut parts = with_secrets(config);
        let mut add = |name: String, text: String| {
            parts.insert(name, short(&sha256(text.as_bytes())));
        };
        add(
            "upstream".to_owned(),
            format!("{} {:?}", config.upstream.oauth_base(), config.upstream.environment()),
        );
        add("public.base_url".to_owned(), format!("{:?}", config.public.base_url));
        add("templates".to_owned(), format!("{:?}", config.templates));
        add("budget".to_owned(), format!("{:?}", config.budget));
        add("store.retention".to_owned(), format!("{:?}", config.store.retention));
        let ids: Vec<_> = config.store.seal_keys.iter().map(|key| key.id.as_str()).collect();
        add("store.seal_keys".to_owned(), ids.join(" "));
        let sender = |it: &Sender| {
            let who = format!("{} {:?} {:?} {:?}", it.integration_key, it.user_id, it.account, it.scopes);
            // Nothing for nothing: a daemon of the version before knows of none.
            let mut text = if it.templates.is_empty() { who } else { format!("{who} {:?}", it.templates) };
            for (name, id) in [("sms_workflow", it.sms_workflow), ("brand", it.brand)] {
                let _ = id.map(|id| write!(text, " {name} {id}"));
            }
            text
        };
        if config.senders.len() > NAMED {
            let all = config.senders.iter().map(|(name, it)| format!("{name} {}\n", sender(it)));
            add("senders".to_owned(), all.collect());
        } else {
            for (name, it) in &config.senders {
                add(format!("senders.{name}"), sender(it));
            }
        }
        for (name, it) in &config.oidc {
            let who = (&it.issuer, &it.audience, &it.algorithms, it.jwks_url.as_ref().map(url::Url::as_str));
            // Files are each machine's own, where they lie and what is in them while they are replaced.
            add(format!("oidc.{name}"), format!("{who:?} {:?} {:?}", it.refresh, it.max_age));
        }
        for (name, caller) in &config.callers {
            add(format!("callers.{name}"), format!("{caller:?}"));
        }
        Self(parts)
    }

    /// These after a reload: what waits for the next start is as it was.
    pub(super) fn reloaded(&self, config: &Config) -> Self {
        self.replaced_by(Self::of(config))
    }

    fn replaced_by(&self, new: Self) -> Self {
        let stay = self.0.iter().filter(|(name, _)| !is_reloaded(name));
        let mut parts: BTreeMap<_, _> = stay.map(|(name, hash)| (name.clone(), hash.clone())).collect();
        parts.extend(new.0.into_iter().filter(|(name, _)| is_reloaded(name)));
        Self(parts)
    }

    /// The parts that are not alike, by name.
    pub(super) fn differing(&self, other: &Self) -> Vec<String> {
        let names = self.0.keys().chain(other.0.keys());
        let is_alike = |name: &String| match (self.0.get(name), other.0.get(name)) {
            // Under a key that only one of them has, nothing is alike.
            (Some(ours), Some(theirs)) => ours.split(' ').any(|one| theirs.split(' ').any(|it| it == one)),
            _ => false,
        };
        let mut differing: Vec<String> = names.filter(|name| !is_alike(name)).cloned().collect();
        differing.sort();
        differing.dedup();
        differing
    }
}

/// The parts that may hold secrets, under each seal key.
fn with_secrets(config: &Config) -> BTreeMap<String, String> {
    let mut parts: BTreeMap<String, String> = BTreeMap::new();
    for key in &config.store.seal_keys {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.key.expose_secret());
        for (name, text) in under(&key, config) {
            let part = parts.entry(name).or_default();
            if !part.is_empty() {
                part.push(' ');
            }
            part.push_str(&short(&sha256(text.as_bytes())));
        }
    }
    parts
}

/// The same parts as they are compared, secrets by what this key makes of them.
fn under(key: &hmac::Key, config: &Config) -> Vec<(String, String)> {
    let sealed = |secrets: &[SecretString]| {
        let all = secrets.iter().map(|it| short(hmac::sign(key, it.expose_secret().as_bytes()).as_ref()));
        all.collect::<Vec<_>>().join(" ")
    };
    let connect = &config.connect;
    let own = config.senders.iter().filter(|(_, sender)| !sender.hmac_keys.is_empty());
    let own = own.map(|(name, sender)| format!("\n{name} {}", sealed(&sender.hmac_keys)));
    let text = format!(
        "{}\n{}\n{:?} {:?} {}{}",
        sealed(&connect.hmac_keys),
        sealed(&connect.bearer_tokens),
        connect.oidc,
        connect.certificates,
        connect.client_ca.is_some(),
        own.collect::<String>(),
    );
    let mut parts = vec![("connect".to_owned(), text)];
    for (name, it) in &config.webhooks {
        // A daemon of the version before knows of no third answer.
        let allow_private = it.allow_private.unwrap_or_default();
        let rest = format!("{} {:?} {:?} {allow_private}", it.url, it.callers, it.events);
        parts.push((format!("webhooks.{name}"), format!("{rest} {}", sealed(&it.secrets))));
    }
    parts
}

/// The beginning of a digest: enough to tell two settings apart.
fn short(digest: &[u8]) -> String {
    hex(&digest[..8])
}

/// Says so from now on, until the stop.
pub(super) fn watch(parts: &Parts) {
    let (daemon, told) = (Uuid::new_v4(), Arc::new(Mutex::new(Vec::new())));
    parts.repeat("peers", SAY_EVERY, move |parts| {
        let told = Arc::clone(&told);
        async move {
            let agreed = parts.agreed.load_full();
            let note = serde_json::to_vec(&agreed.0).expect("text serialises");
            if let Ok(others) = parts.store.note(daemon, note, SAY_EVERY * 4).await {
                let differing = report(&parts, &agreed, &others);
                log(&mut told.lock().unwrap_or_else(PoisonError::into_inner), differing);
            }
        }
    });
}

/// One line when it begins or changes, and one when it ends.
fn log(told: &mut Vec<String>, differing: Vec<String>) {
    if *told == differing {
        return;
    }
    if differing.is_empty() {
        tracing::info!("all daemons on this store have the same settings again");
    } else {
        let settings = differing.join(", ");
        tracing::warn!(
            settings,
            "another daemon on this store has other settings: give both the same, and restart"
        );
    }
    *told = differing;
}

fn report(parts: &Parts, agreed: &Agreed, others: &[Vec<u8>]) -> Vec<String> {
    let read = |note: &Vec<u8>| serde_json::from_slice(note).ok().map(Agreed);
    let mut differing: Vec<String> =
        others.iter().filter_map(read).flat_map(|other| agreed.differing(&other)).collect();
    differing.sort();
    differing.dedup();
    if differing.is_empty() {
        parts.health.forget("settings");
    } else {
        let detail = format!("another daemon on this store has other settings: {}", differing.join(", "));
        parts.health.set(Reason::new("settings", Status::Degraded, detail));
    }
    differing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Agreement, agreement};

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

    fn settings(more: &str) -> Agreed {
        let text = format!(
            r#"
[senders.system]
integration_key = "5e0b1c8d-9a47-4c7e-8d21-6f3a2b900001"
user_id = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210001"
keys = ["key.pem"]
[webhooks.website]
url = "https://www.example.com/hooks"
{more}
"#
        );
        Agreed::of(&Config::from_toml(&text).unwrap())
    }

    const SEAL: &str = "[store]\nseal_key = \"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=\"\n";
    const HOOK: &str = "secrets = [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]\n";

    #[test]
    fn what_daemons_on_one_store_would_do_differently_is_named() {
        let ours = settings(&format!("{HOOK}{SEAL}"));
        let differing = |more: &str| ours.differing(&settings(more));
        assert_eq!(differing(&format!("{HOOK}{SEAL}")), Vec::<String>::new());
        assert_eq!(
            differing(&format!("{HOOK}{SEAL}[connect]\nhmac_keys = [\"a key of Connect\"]\n")),
            ["connect"]
        );
        assert_eq!(differing(&format!("{HOOK}{SEAL}retention = \"30d\"\n")), ["store.retention"]);
        assert_eq!(differing(&format!("{HOOK}{SEAL}[budget]\nhourly_limit = 9\n")), ["budget"]);
        let issuer = "[oidc.k8s]\nissuer = \"https://k8s.example\"\naudience = \"cs\"\njwks_url = \"https://k8s.example/jwks\"\n";
        assert_eq!(differing(&format!("{HOOK}{SEAL}{issuer}")), ["oidc.k8s"]);
        let sales = |more: &str| {
            let (app, user) =
                ("5e0b1c8d-9a47-4c7e-8d21-6f3a2b900001", "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210002");
            settings(&format!(
                "{HOOK}{SEAL}[senders.sales]\nintegration_key = \"{app}\"\nuser_id = \"{user}\"\nkeys = [\"k\"]\n{more}"
            ))
        };
        let id = "6a1d2c7e-3b4f-4e5a-9c8d-7f6e5d4c3b2a";
        for more in [format!("brand = \"{id}\""), format!("sms_workflow = \"{id}\"")] {
            assert_eq!(sales("").differing(&sales(&more)), ["senders.sales"], "{more}");
        }
        let other = HOOK.replace("MfKQ", "NfKQ");
        assert_eq!(differing(&format!("{other}{SEAL}")), ["webhooks.website"]);
        let sealed = SEAL.replace("QUJD", "RUJD");
        let found = differing(&format!("{HOOK}{sealed}"));
        assert!(found.contains(&"store.seal_keys".to_owned()), "{found:?}");
        assert!(!serde_json::to_string(&ours.0).unwrap().contains("whsec"), "{ours:?}");
    }

    #[test]
    fn at_no_step_of_a_seal_keys_rotation_does_anything_else_differ() {
        let (old, new) =
            ("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=", "RUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=");
        let with = |hook: &str, keys: &[&str]| {
            settings(&format!(
                "{hook}[connect]\nhmac_keys = [\"a key of Connect\"]\n[store]\nseal_keys = {keys:?}\n"
            ))
        };
        let steps: [&[&str]; 4] = [&[old], &[old, new], &[new, old], &[new]];
        let other = HOOK.replace("MfKQ", "NfKQ");
        for step in steps.windows(2) {
            let (before, after) = (with(HOOK, step[0]), with(HOOK, step[1]));
            let changed = with(&other, step[1]);
            assert_eq!(before.differing(&after), ["store.seal_keys"]);
            assert_eq!(before.differing(&changed), ["store.seal_keys", "webhooks.website"]);
            // Read again, and not yet started again.
            let reloaded = before.replaced_by(after.clone());
            assert_eq!(reloaded.differing(&before), Vec::<String>::new());
            assert_eq!(reloaded.differing(&after), ["store.seal_keys"]);
        }
    }

    #[test]
    fn daemons_agree_on_nothing_of_a_section_that_each_has_of_its_own() {
        let issuer = "[oidc.k8s]\nissuer = \"https://k8s.example\"\naudience = \"cs\"\njwks_url = \"https://k8s.example/jwks\"\n";
        let agreed = settings(&format!("{HOOK}{SEAL}{issuer}"));
        for name in agreed.0.keys() {
            assert_ne!(agreement(name), Agreement::Nothing, "{name}");
        }
    }

    #[test]
    fn a_reload_changes_what_it_takes_up_and_nothing_else() {
        let before = settings(&format!("{HOOK}{SEAL}"));
        let text = format!(
            "{HOOK}{SEAL}[connect]\nhmac_keys = [\"a key of Connect\"]\n[budget]\nhourly_limit = 9\n"
        );
        let after = settings(&text);
        let reloaded = before.replaced_by(after.clone());
        assert_eq!(reloaded.0["connect"], after.0["connect"]);
        assert_eq!(reloaded.0["budget"], before.0["budget"]);
        assert_eq!(reloaded.differing(&after), ["budget"], "which waits for a restart");
    }
}
