//! What there is to see, gathered once for a page. No token, no key, no name of a person.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::Admin;
use crate::{
    auth::{
        SenderStatus, Standing,
        consent::{self, ConsentBy, ConsentUrls},
    },
    budget::{Forecast, Remaining},
    clock::start_of,
    domain::{AccountId, SenderName},
    ops::{Report, Status, health::sender_of},
    pairing::connect_url,
};

/// Senders on one page.
pub(super) const PAGE: usize = 50;

/// Everything on the page.
#[derive(Debug)]
pub(super) struct View {
    pub(super) report: Report,
    pub(super) senders: Vec<SenderView>,
    /// How many there are in all.
    pub(super) count: usize,
    /// The name that this page begins with; empty for the first page.
    pub(super) from: String,
    /// The name that the next page begins with.
    pub(super) next: Option<Arc<str>>,
    pub(super) budgets: Vec<(AccountId, Remaining, Forecast)>,
    pub(super) queue: Queue,
    /// What would have to be added to our clock, once the upstream has answered.
    pub(super) clock_offset: Option<SignedDuration>,
    /// This machine's time, cut to the minute: what is shown may change that often.
    pub(super) now: Timestamp,
}

/// One sender.
#[derive(Debug)]
pub(super) struct SenderView {
    pub(super) name: Arc<str>,
    pub(super) health: Status,
    pub(super) account: Option<AccountId>,
    /// Whether it waits for a customer to connect it, which is nobody's fault.
    pub(super) is_unconnected: bool,
    pub(super) status: SenderStatus,
    /// Whom it acts as, if anybody.
    pub(super) user: Option<String>,
}

/// What waits.
#[derive(Debug)]
pub(super) struct Queue {
    /// Creates that are not settled; none if the store does not say.
    pub(super) unsettled: Option<u64>,
    /// How long the oldest of our events waits for its receiver.
    pub(super) oldest_delivery: Option<Duration>,
}

/// Where consent for a sender is given.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) individual: String,
    pub(super) organisation: String,
    pub(super) redirect_uri: String,
    /// Whether the browser comes back to us.
    pub(super) comes_back: bool,
    /// Whether a customer connects the sender, with the individual link.
    pub(super) is_for_customer: bool,
}

/// Looks at everything, and at the senders from this name on. Asks the store for two numbers, and nobody else.
pub(super) async fn look(admin: &Admin, from: &str) -> View {
    let report = admin.health.report();
    let health_of = |status: &SenderStatus| {
        let named = report.reasons.iter().find(|reason| sender_of(&reason.part) == Some(&*status.name));
        let named = named.map(|reason| reason.status);
        // Of very many senders health does not name each.
        named.unwrap_or_else(|| match (status.trouble(), status.standing()) {
            (None, _) => Status::Ready,
            (Some(_), Standing::NotReady) => Status::NotReady,
            (Some(_), _) => Status::Degraded,
        })
    };
    let mut names = admin.auth.senders_from(from);
    let next = names.get(PAGE).cloned();
    names.truncate(PAGE);
    let statuses = names.iter().filter_map(|name| admin.auth.status(name).ok());
    let senders = statuses.map(|status| {
        let name = SenderName::new(Arc::clone(&status.name));
        let pairings = &admin.pairings;
        SenderView {
            name: Arc::clone(&status.name),
            health: health_of(&status),
            account: admin.esign.known(&name).map(|acting| acting.account.clone()),
            is_unconnected: pairings.is_connectable(name.as_str()) && pairings.paired(&name).is_none(),
            user: pairings.user_of(&status),
            status,
        }
    });
    let senders: Vec<_> = senders.collect();
    let budget = admin.esign.budget();
    let budgets = budget.all_remaining().into_iter().map(|(account, left)| {
        let forecast = budget.forecast(&account);
        (account, left, forecast)
    });
    let now = admin.clock.now();
    let oldest = admin.store.oldest_pending_delivery().await.ok().flatten();
    View {
        senders,
        count: admin.auth.count(),
        from: from.to_owned(),
        next,
        budgets: budgets.collect(),
        queue: Queue {
            unsettled: admin.signings.unsettled().await.ok(),
            oldest_delivery: oldest.map(|at| now.duration_since(at).unsigned_abs()),
        },
        clock_offset: admin.auth.clock_offset().map(|offset| offset.offset),
        now: start_of(now, SignedDuration::from_mins(1)),
        report,
    }
}

/// The links of a sender; a fresh state each time, so that the daemon can tell who came back.
pub(super) fn links(admin: &Admin, name: &str) -> Option<Links> {
    let comes_back = admin.public_origin.is_some();
    let redirect_uri = consent::redirect_uri(admin.public_origin.as_deref());
    let of_customer = customer_links(admin, name, &redirect_uri);
    let is_for_customer = of_customer.is_some();
    let of_user = || {
        let asked = comes_back.then(|| admin.consents.issue(name, admin.clock.now()));
        admin.auth.consent_urls(name, &redirect_uri, asked.as_ref()).ok()
    };
    let ConsentUrls { individual, organisation } = of_customer.or_else(of_user)?;
    Some(Links { individual, organisation, redirect_uri, comes_back, is_for_customer })
}

/// Where a customer connects a sender, or switches it to another account, and where their organisation allows it.
fn customer_links(admin: &Admin, name: &str, redirect_uri: &str) -> Option<ConsentUrls> {
    let link = admin.pairings.link(name)?;
    let individual = connect_url(admin.public_origin.as_deref()?, &link.ticket);
    let organisation = admin.pairings.consent_page(name, ConsentBy::Organisation, redirect_uri)?;
    Some(ConsentUrls { individual, organisation })
}
