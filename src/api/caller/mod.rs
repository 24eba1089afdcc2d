//! Who calls, and what they may do.
//!
//! A caller is known by an API key (kept as a hash, compared in constant time), by a client certificate that
//! the listener has verified, by a bearer token of an issuer in the settings, or, on a unix socket, by the
//! user id of its process. Everything else about a request comes after that. Who shows two of them that
//! belong to two callers is neither.

mod rights;
mod share;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::{
    extract::{FromRef, FromRequestParts, MatchedPath},
    http::{HeaderMap, Method, header, request::Parts},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{Problem, exchange::refuse_query, router::Api},
    config::{self, SubjectRule},
    digest::sha256,
    domain::{CallerName, SenderName},
    listener::Peer,
    oidc::{Identity, Issuers, Refusal},
    telemetry::{
        log_throttle::LogThrottle,
        metrics::{AuthMethod, AuthResult, Metrics},
    },
    tls::Name,
};

pub use rights::Caller;
pub use share::Share;

/// When to come again while an issuer's keys cannot be read.
const ISSUER_RETRY: Duration = Duration::from_secs(10);

/// What every API key begins with.
const KEY_PREFIX: &[u8] = b"cs_";

/// All callers; replaced as a whole when the settings are read again. Clones share it.
#[derive(Debug, Clone)]
pub struct Callers {
    table: Arc<ArcSwap<Table>>,
    refusals: Arc<LogThrottle>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Table {
    by_key: HashMap<[u8; 32], Arc<Caller>>,
    by_uid: HashMap<u32, Arc<Caller>>,
    by_certificate: HashMap<Name, Arc<Caller>>,
    by_subject: Vec<(String, SubjectRule, Arc<Caller>)>,
    issuers: Issuers,
    /// Fires when another table takes its place.
    outdated: CancellationToken,
}

impl Callers {
    /// The callers of the settings, and the issuers whose tokens may stand for them.
    pub fn new(settings: &BTreeMap<String, config::Caller>, issuers: Issuers, metrics: Arc<Metrics>) -> Self {
        let table = Table::of(settings, issuers, &Table::default(), &metrics);
        let table = Arc::new(ArcSwap::from_pointee(table));
        Self { table, refusals: Arc::default(), metrics }
    }

    /// Takes up new settings; requests under way keep the rights they came with, but for streams, which end, and what
    /// a caller has spent of its share stays spent.
    pub fn replace(&self, settings: &BTreeMap<String, config::Caller>, issuers: Issuers) {
        let table = Table::of(settings, issuers, &self.table.load(), &self.metrics);
        self.table.swap(Arc::new(table)).outdated.cancel();
        self.warn_if_none();
    }

    /// What each caller that has a share of the hour's calls has spent of it.
    pub fn shares(&self) -> BTreeMap<CallerName, Arc<Share>> {
        let table = self.table.load();
        let shares =
            table.all().filter_map(|caller| Some((caller.name.clone(), Arc::clone(caller.share()?))));
        shares.collect()
    }

    /// Which senders of the settings each caller may make others like, by its name; only who may at all.
    pub fn makers(&self) -> BTreeMap<CallerName, Vec<String>> {
        let table = self.table.load();
        let makers = table.all().filter(|caller| !caller.patterns().is_empty());
        makers.map(|caller| (caller.name.clone(), caller.patterns().to_vec())).collect()
    }

    /// Whether anybody is known by the user id of a process.
    pub fn has_unix_users(&self) -> bool {
        !self.table.load().by_uid.is_empty()
    }

    /// A daemon without callers is of use only to who is setting it up, and refuses every call alike.
    pub fn warn_if_none(&self) {
        if self.table.load().all().next().is_none() {
            tracing::warn!(
                "nobody may call the API: make a key with `countersign caller add NAME`, and paste the lines that it \
                 prints into the settings"
            );
        }
    }

    /// Everyone who may use a sender, by name.
    pub fn of_sender(&self, sender: &SenderName) -> Vec<CallerName> {
        let table = self.table.load();
        let seeing = table.all().filter(|caller| caller.sees_sender(sender));
        let mut names: Vec<_> = seeing.map(|caller| caller.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Whether anybody can be this caller.
    pub(in crate::api) fn knows(&self, caller: &CallerName) -> bool {
        self.table.load().all().any(|known| known.name == *caller)
    }

    /// Whether this caller may use a sender of the settings, be it for as long as its rights are on trial.
    pub(in crate::api) fn may_use(&self, caller: &CallerName, sender: &SenderName) -> bool {
        self.table.load().all().any(|known| known.name == *caller && known.is_let_use_sender(sender))
    }

    /// The issuers in use.
    pub fn issuers(&self) -> Issuers {
        self.table.load().issuers.clone()
    }

    /// The caller behind a request.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<Arc<Caller>, Problem> {
        let table = self.table.load_full();
        let (method, found) = table.authenticate(headers, peer).await;
        let result = if found.is_ok() { AuthResult::Good } else { AuthResult::Refused };
        self.metrics.caller_authenticated(method, result);
        found
    }

    /// Says where somebody was refused, and why. The count of all is `countersign_caller_authentications_total`.
    fn note_refusal(&self, peer: Option<&Peer>, problem: &Problem, uptime: Duration) {
        let Some(others) = self.refusals.due(uptime) else { return };
        let address = peer.and_then(|peer| peer.address).map(|address| address.ip());
        let unix_uid = peer.and_then(|peer| peer.unix_uid);
        tracing::info!(
            peer.address = address.map(tracing::field::display),
            peer.unix_uid = unix_uid,
            why = problem.detail(),
            others,
            "refused: nobody's credentials"
        );
    }
}

impl Table {
    /// The callers of the settings. `before` are those there were: who is still there has spent what they have.
    fn of(
        settings: &BTreeMap<String, config::Caller>,
        issuers: Issuers,
        before: &Self,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let mut table = Self { issuers, ..Self::default() };
        let shares: HashMap<_, _> = before.all().map(|caller| (&caller.name, &caller.share)).collect();
        for (name, rights) in settings {
            let name = CallerName::new(name.as_str());
            let share = shares.get(&name).map_or_else(Arc::default, |share| Arc::clone(share));
            let outdated = table.outdated.clone();
            let caller = Arc::new(Caller::new(name, rights, share, Arc::clone(metrics), outdated));
            for hash in &rights.key_hashes {
                table.by_key.insert(*hash.as_bytes(), Arc::clone(&caller));
            }
            for uid in &rights.unix_uids {
                table.by_uid.insert(*uid, Arc::clone(&caller));
            }
            for name in &rights.certificates {
                if let Some(name) = Name::parse(name.as_str()) {
                    table.by_certificate.insert(name, Arc::clone(&caller));
                }
            }
            for (issuer, rules) in &rights.oidc {
                let rule = |rule: &SubjectRule| (issuer.clone(), rule.clone(), Arc::clone(&caller));
                table.by_subject.extend(rules.iter().map(rule));
            }
        }
        table
    }

    /// Each caller, once for every way to show that one is it.
    fn all(&self) -> impl Iterator<Item = &Arc<Caller>> {
        let by_subject = self.by_subject.iter().map(|(_, _, caller)| caller);
        let all = self.by_key.values().chain(self.by_uid.values());
        all.chain(self.by_certificate.values()).chain(by_subject)
    }

    async fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> (AuthMethod, Result<Arc<Caller>, Problem>) {
        let refused = |detail: &str| Err(Problem::new("unauthenticated", detail));
        let certified =
            match peer.and_then(|peer| peer.certificate.as_deref()).map(|names| self.of_names(names)) {
                Some(Err(problem)) => return (AuthMethod::Certificate, Err(problem)),
                Some(Ok(found)) => found,
                None => None,
            };
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        if let Some(value) = values.next() {
            if values.next().is_some() {
                return (AuthMethod::None, refused("there are several Authorization headers"));
            }
            let (method, found) = self.of_bearer(value.as_bytes()).await;
            return match (&found, certified) {
                (Ok(shown), Some(certified)) if shown.name != certified.name => {
                    (method, refused("the bearer and the client certificate belong to different callers"))
                }
                _ => (method, found),
            };
        }
        if let Some(caller) = certified {
            return (AuthMethod::Certificate, Ok(caller));
        }
        if peer.is_some_and(|peer| peer.certificate.is_some()) {
            return (AuthMethod::Certificate, refused("no caller has a name of this client certificate"));
        }
        match peer.and_then(|peer| peer.unix_uid).and_then(|uid| self.by_uid.get(&uid)) {
            Some(caller) => (AuthMethod::Unix, Ok(Arc::clone(caller))),
            None => (AuthMethod::None, refused("there is no Authorization header")),
        }
    }

    async fn of_bearer(&self, value: &[u8]) -> (AuthMethod, Result<Arc<Caller>, Problem>) {
        let refused = |detail: &str| Err(Problem::new("unauthenticated", detail));
        let bearer = value
            .split_first_chunk::<7>()
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
            .map(|(_, bearer)| bearer);
        let Some(bearer) = bearer else {
            return (AuthMethod::None, refused("the Authorization header is not of the form Bearer cs_…"));
        };
        if bearer.starts_with(KEY_PREFIX) || self.issuers.is_empty() {
            let found = self.of_key(bearer).map_or_else(|| refused("no caller has this API key"), Ok);
            return (AuthMethod::Key, found);
        }
        let token = std::str::from_utf8(bearer).map_err(|_| Refusal::Form);
        let identified = match token {
            Ok(token) => self.issuers.identify(token).await,
            Err(refusal) => Err(refusal),
        };
        let found = match identified {
            Ok(identity) => self
                .of_subject(&identity)
                .map_or_else(|| refused("no caller has this token's subject; the token itself is good"), Ok),
            // Whose token it is cannot be known, so nothing is said against it.
            Err(Refusal::Keys) => {
                Err(Problem::new("issuer_unavailable", Refusal::Keys.to_string()).retry_after(ISSUER_RETRY))
            }
            Err(refusal) => refused(&refusal.to_string()),
        };
        (AuthMethod::Token, found)
    }

    /// A map look-up by a digest leaks at most which digests exist; the comparison that decides is in
    /// constant time.
    fn of_key(&self, key: &[u8]) -> Option<Arc<Caller>> {
        let hash = sha256(key);
        let (known, caller) = self.by_key.get_key_value(&hash)?;
        aws_lc_rs::constant_time::verify_slices_are_equal(known, &hash).ok()?;
        Some(Arc::clone(caller))
    }

    /// The one caller that a certificate's names speak of; several would be a certificate for two.
    fn of_names(&self, names: &[Name]) -> Result<Option<Arc<Caller>>, Problem> {
        let mut found = names.iter().filter_map(|name| self.by_certificate.get(name));
        let first = found.next();
        if found.any(|other| first.is_some_and(|first| first.name != other.name)) {
            let detail = "the names of the client certificate belong to different callers";
            return Err(Problem::new("unauthenticated", detail));
        }
        Ok(first.cloned())
    }

    /// The rule that says most about a subject decides.
    fn of_subject(&self, identity: &Identity) -> Option<Arc<Caller>> {
        let rules = self
            .by_subject
            .iter()
            .filter(|(issuer, rule, _)| *issuer == identity.issuer && rule.matches(&identity.subject));
        rules.max_by_key(|(_, rule, _)| rule.precision()).map(|(.., caller)| Arc::clone(caller))
    }
}

/// A caller as a handler's argument: nothing else of the request is looked at before. A query that the route does not
/// take is refused here too, before it costs a share ([`refuse_query`]).
#[derive(Debug, Clone)]
pub struct Authenticated(pub Arc<Caller>);

impl<S> FromRequestParts<S> for Authenticated
where
    Arc<Api>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let api = Arc::<Api>::from_ref(state);
        let peer = parts.extensions.get::<Peer>();
        let caller = api.callers.authenticate(&parts.headers, peer).await;
        let caller =
            caller.inspect_err(|problem| api.callers.note_refusal(peer, problem, api.clock.uptime()))?;
        caller.spend(api.clock.uptime())?;
        let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        refuse_query(&parts.method, path, &parts.uri)?;
        caller.spend_share(|| cost(&parts.method, path), api.hourly_limit, api.clock.now())?;
        Ok(Self(caller))
    }
}

/// What a create costs upstream, warm (rule B1): the envelope and the first view.
pub(super) const CREATE_CALLS: u64 = 2;

/// What a request costs upstream at most, warm (rule B1). Creates, documents and evidence are not here: their handlers spend
/// the share once they know whether anything is to go upstream. A create that was made before, and a document that lies
/// here, are answered without a call, and are there also when the share is used up.
fn cost(method: &Method, path: &str) -> u64 {
    match (method, path) {
        (&Method::POST, "/v1/senders/{name}/check") => 2,
        (_, "/v1/senders/{name}/esign/{*path}") => 1,
        (&Method::POST, path) => {
            let asks = ["/views", "/void", "/refresh", "/purge", "/phone", "/access_code"];
            u64::from(asks.iter().any(|end| path.ends_with(end)))
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::router::PATHS;

    #[test]
    fn b1_whatever_goes_upstream_counts_towards_the_share() {
        let free = |path: &&str| cost(&Method::GET, path) == 0 && cost(&Method::POST, path) == 0;
        let costly: Vec<_> = PATHS.iter().filter(|path| !free(path)).copied().collect();
        let expected = [
            "/v1/signings/{id}/signers/{signer}/views",
            "/v1/signings/{id}/signers/{signer}/phone",
            "/v1/signings/{id}/signers/{signer}/access_code",
            "/v1/signings/{id}/void",
            "/v1/signings/{id}/refresh",
            "/v1/signings/{id}/purge",
            "/v1/senders/{name}/check",
            "/v1/senders/{name}/esign/{*path}",
        ];
        assert_eq!(costly, expected);
        assert_eq!(cost(&Method::POST, "/v1/signings/{id}/purge"), 1);
        assert_eq!(cost(&Method::GET, "/v1/signings"), 0, "a list never asks upstream");
    }
}
