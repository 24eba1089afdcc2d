//! Every route of the public listener on one page, and what its handlers work with.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    routing::get,
};
use http::StatusCode;
use secrecy::SecretString;

use crate::{
    auth::{Auth, consent_state::ConsentStates},
    clock::SharedClock,
    lifecycle::Lifecycle,
    pairing::Pairings,
    public::{
        clicks::Clicks,
        component, consent,
        deliveries::DELIVERIES,
        facts,
        guess_limit::GuessLimit,
        links,
        pages::{Details, Page},
        pairing,
        proxies::Proxies,
        request, returns,
    },
    signing::{ResultKey, Signings, Tickets},
    telemetry::metrics::Metrics,
    theme::Theme,
};

/// What the public side can be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The origin under which visitors reach us, without a slash at the end.
    pub origin: String,
    /// How the pages look.
    pub theme: Theme,
    /// Whether views may lead to plain HTTP on loopback: for the emulator.
    pub loopback: bool,
    /// Whose word on a visitor's address is taken.
    pub proxies: Proxies,
    /// The secrets of the senders' apps, for the codes of their consent pages; a public client has none.
    pub client_secrets: HashMap<String, SecretString>,
}

/// What the public side is built on.
#[derive(Debug)]
pub struct Dependencies {
    /// The use cases.
    pub signings: Signings,
    /// The senders, for the consent page.
    pub auth: Auth,
    /// What made the `state` of the consent links.
    pub consents: ConsentStates,
    /// Which accounts customers have connected.
    pub pairings: Pairings,
    /// What signs results; the API listener shows its public half.
    pub results: Arc<ResultKey>,
    /// What the API listener makes tickets of.
    pub tickets: Tickets,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: SharedClock,
    /// Where mints run that nobody waits for any more.
    pub life: Lifecycle,
    /// How it is set up.
    pub settings: Settings,
}

/// What handlers work with, as one shared state.
#[derive(Debug)]
pub struct Public {
    pub(super) signings: Signings,
    pub(super) auth: Auth,
    pub(super) consents: ConsentStates,
    pub(super) pairings: Pairings,
    pub(super) results: Arc<ResultKey>,
    pub(super) tickets: Tickets,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: SharedClock,
    pub(super) life: Lifecycle,
    pub(super) settings: Settings,
    pub(super) guesses: GuessLimit,
    /// Codes of consent pages, right or wrong.
    pub(super) exchanges: GuessLimit,
    pub(super) wakes: consent::Wakes,
    pub(super) clicks: Arc<Clicks>,
}

impl Public {
    /// Puts the public side together.
    pub fn new(given: Dependencies) -> Self {
        Self {
            signings: given.signings,
            auth: given.auth,
            consents: given.consents,
            pairings: given.pairings,
            results: given.results,
            tickets: given.tickets,
            metrics: given.metrics,
            clock: given.clock,
            life: given.life,
            settings: given.settings,
            guesses: GuessLimit::default(),
            exchanges: GuessLimit::default(),
            wakes: consent::Wakes::default(),
            clicks: Arc::default(),
        }
    }
}

/// Makes the paths and the router of one table, so that neither has what the other has not.
macro_rules! routes {
    ($($path:literal => $handlers:expr;)*) => {
        /// The paths of this listener, as the metrics name them; with that of [`deliveries`](super::deliveries()), which
        /// are no pages.
        pub const PATHS: &[&str] = &[$($path,)* DELIVERIES];

        fn routes() -> Router<Arc<Public>> {
            Router::new()$(.route($path, $handlers))*
        }
    };
}

routes! {
    "/s/{token}" => get(links::show).post(links::click);
    "/s/{token}/facts" => get(facts::show);
    "/r/{nonce}" => get(returns::come_back).head(returns::look).post(returns::click);
    "/r/{nonce}/open/{view}" => get(returns::still_open);
    "/countersign.js" => get(component::script);
    "/consent/callback" => get(consent::callback);
    "/connect/{ticket}" => get(pairing::show).post(pairing::click);
}

/// The public listener. `connect` holds where DocuSign delivers to.
pub fn router(public: Public, connect: Router) -> Router {
    routes()
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::new(public))
        .merge(connect)
}

/// Paths of the other listeners are unknown here, too.
async fn nothing_here(State(public): State<Arc<Public>>, request: Request) -> axum::response::Response {
    let language = request::language(None, request.headers());
    public.page(language, &Page::Unknown, &Details::default(), &[])
}

async fn wrong_method(State(public): State<Arc<Public>>, request: Request) -> axum::response::Response {
    let language = request::language(None, request.headers());
    let page = Page::BadRequest(StatusCode::METHOD_NOT_ALLOWED);
    public.page(language, &page, &Details::default(), &[])
}
