//! Takes up what the store holds: at start, and what other daemons changed.
//!
//! Each look costs what changed, and one read of the rows: ten thousand senders are registered in a few steps.

use std::collections::HashSet;

use super::{Paired, Pairings, WAITING, defined::DEFINES};
use crate::{
    domain::SenderName,
    store::{self, SenderRecord},
    telemetry::chain,
};

impl Pairings {
    /// Takes up what the store holds: at start, and what other daemons changed. Choices that nobody made in
    /// time are destroyed, and what is left of senders that were.
    pub async fn sync(&self) -> Result<(), store::Error> {
        let _changing = self.inner.changing.lock().await;
        let rows = self.inner.given.store.sender_records().await?;
        let (definitions, rows): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.sender.as_str().ends_with(DEFINES));
        // What senders are comes before whom they act for.
        let resting = self.take_up_definitions(&definitions).await;
        let (waiting, mut paired): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.sender.as_str().contains(WAITING));
        paired.retain(|row| !resting.contains(&row.sender));
        let (left, paired): (Vec<_>, Vec<_>) =
            paired.into_iter().partition(|row| self.is_left_over(row, &definitions));
        self.take_up_pairings(paired).await;
        let late = waiting.into_iter().filter(|row| self.is_too_late(row.connected_at));
        for row in late.chain(left) {
            self.inner.given.store.remove_sender_record(&row.sender).await?;
        }
        Ok(())
    }

    async fn take_up_pairings(&self, rows: Vec<SenderRecord>) {
        let mut gone: HashSet<SenderName> = self.live().keys().cloned().collect();
        let mut changed = Vec::new();
        for row in rows {
            gone.remove(&row.sender);
            let Ok(connectable) = self.connectable(row.sender.as_str()) else { continue };
            let paired = Paired { user_id: row.user_id, account: row.account, since: row.connected_at };
            // A renewal changes nobody.
            if self.paired(&row.sender).as_ref() != Some(&paired) {
                changed.push((connectable, row.sender, paired));
            }
        }
        for (sender, error) in self.act_by(changed).await {
            tracing::error!(%sender, error = %chain(&error), "a connected sender cannot be taken up");
        }
        for name in &gone {
            self.live().remove(name);
        }
        self.unpaired(gone.into_iter().filter(|name| self.is_connectable(name.as_str())));
    }
}
