//! SIGHUP: what can change without a restart (rule H3).
//!
//! Callers and their issuers, webhooks, what proves Connect deliveries, the operators' password, the log level,
//! the listeners' certificates, and the senders' keys: files that changed, and lists that name other ones.
//! Everything else of new settings is checked, too, and waits for the next start: listeners, the store and the
//! upstream hold connections that nobody wants to lose to a reload.

use crate::{
    app::{Parts, events, peers::Agreed},
    config::{Agreement, Config, agreement, is_reloaded},
};

impl Parts {
    /// Takes up new settings, as far as that is possible without a restart. Whatever fails leaves
    /// everything as it was.
    pub async fn reload(&self, config: &Config) -> anyhow::Result<()> {
        // First what can fail: all is read before anything is written, and the one write is the last of it.
        let issuers = super::issuers::issuers(config, &self.callers.issuers(), &self.clock)?;
        let certificates = self.certificates.read_again(config, &self.clock)?;
        let keys = super::senders::read_keys(&self.auth, config).await?;
        let settings = events::Settings::of(config)?;
        settings.apply_to(&self.endpoints).await?;
        certificates.take_up();
        self.auth.take_up(keys);
        events::prove(&self.inbox, &self.own_keys, config, &issuers);
        self.callers.replace(&config.callers, issuers);
        self.password.replace(config.ops.operator_password_hash.clone());
        self.agreed.rcu(|agreed| agreed.reloaded(config));
        self.esign.forget_reads();
        let waiting = self.waiting(config);
        if !waiting.is_empty() {
            let settings = waiting.join(", ");
            tracing::warn!(settings, "these settings have changed and wait for a restart");
        }
        // Whoever sent the signal may have mended what these wait for. A token that is good is kept.
        self.auth.wake_those_in_trouble().await;
        Ok(())
    }

    /// What of new settings waits for the next start, by name.
    fn waiting(&self, config: &Config) -> Vec<String> {
        let mut waiting = config.written.changed_since(&self.written);
        // What every daemon has of its own, such as listeners, is not agreed on.
        let agreed = self.agreed.load().differing(&Agreed::of(config));
        waiting.extend(agreed.into_iter().filter(|name| agreement(name) == Agreement::Whole));
        waiting.retain(|name| !is_reloaded(name));
        waiting
    }
}
