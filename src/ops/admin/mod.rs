//! `/admin/`: the operators' status page. How each sender stands, where its consent is given, what is left
//! of the budget and what waits. A check may be asked for, the link given away with which a customer connects a
//! sender, and a sender made for a caller: one that the settings let that caller make itself. That is all that can
//! be done here.
//!
//! What an operator does is written into the audit log before it is done.
//!
//! Off unless `ops.operator_password_hash` is set; a reload may set it, change it, or take it away. It must
//! never show a token, a key, a name of a person or a link of a visitor; nothing here calls the upstream but
//! the check, which an operator asked for (rule T4).
//!
//! The page works without script: then it loads itself again. With script, a stream brings what has changed
//! and only that part is replaced, so the tick of a consent appears by itself.
//!
//! Whoever opens one of its pages without a login gets there after it.
//!
//! | Limit | Is | In |
//! |---|---|---|
//! | life of a login | 1 h, whatever is done with it | `session` |
//! | logins at a time | 64, the oldest goes | `session` |
//! | wrong passwords | 5 at once, then one in 12 s, over all; one is tried at a time | `gate` |
//! | body of a form | 4 KiB, within 10 s | `mod`, `request` |
//! | open streams | 32 | `stream` |

mod aim;
mod gate;
mod login;
mod making;
mod page;
mod request;
mod session;
mod sheet;
mod stream;
mod view;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{get, post},
};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use self::{aim::Aim, gate::Gate, request::InTime, session::Sessions};
pub use self::{gate::Password, making::Makers};
use crate::{
    audit::{Act, Entry},
    auth::{Auth, consent_state::ConsentStates},
    clock::SharedClock,
    domain::SenderName,
    esign,
    ops::Health,
    pairing::Pairings,
    signing::Signings,
    store::SharedStore,
    theme::Theme,
};

/// A form holds a password and a token.
const MAX_FORM_BYTES: usize = 4 * 1024;
/// How long the check's button waits for the answer before the page comes back.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the page is built on.
#[derive(Debug)]
pub struct Dependencies {
    /// The operators' password.
    pub password: Password,
    /// Whether the listener speaks TLS itself.
    pub is_tls: bool,
    /// Which DocuSign this is, in words.
    pub environment: &'static str,
    /// How the daemon does.
    pub health: Health,
    /// The senders.
    pub auth: Auth,
    /// Their accounts and budgets.
    pub esign: Arc<esign::Client>,
    /// What waits to be created.
    pub signings: Signings,
    /// What waits to be delivered.
    pub store: SharedStore,
    /// Makes the `state` of consent links.
    pub consents: ConsentStates,
    /// Which senders are connected; makes others.
    pub pairings: Pairings,
    /// For whom senders may be made, and like which.
    pub makers: Makers,
    /// Where the consent page sends the browser back to.
    pub public_origin: Option<String>,
    /// The time.
    pub clock: SharedClock,
    /// Ends the streams.
    pub closing: CancellationToken,
}

/// What handlers work with, as one shared state.
#[derive(Debug)]
pub struct Admin {
    password: Password,
    is_tls: bool,
    theme: Theme,
    environment: &'static str,
    health: Health,
    auth: Auth,
    esign: Arc<esign::Client>,
    signings: Signings,
    store: SharedStore,
    consents: ConsentStates,
    pairings: Pairings,
    makers: Makers,
    public_origin: Option<String>,
    clock: SharedClock,
    closing: CancellationToken,
    gate: Gate,
    sessions: Sessions,
    streams: Arc<tokio::sync::Semaphore>,
}

impl Admin {
    /// Puts the page together.
    pub fn new(given: Dependencies) -> Self {
        Self {
            gate: Gate::new(given.password.clone()),
            password: given.password,
            is_tls: given.is_tls,
            theme: Theme::default().extended(sheet::RULES),
            environment: given.environment,
            health: given.health,
            auth: given.auth,
            esign: given.esign,
            signings: given.signings,
            store: given.store,
            consents: given.consents,
            pairings: given.pairings,
            makers: given.makers,
            public_origin: given.public_origin,
            clock: given.clock,
            closing: given.closing,
            sessions: Sessions::default(),
            streams: Arc::new(tokio::sync::Semaphore::new(stream::MAX_STREAMS)),
        }
    }

    /// What tells whether the page is on.
    pub(super) fn password(&self) -> Password {
        self.password.clone()
    }

    /// Writes down what an operator is about to do. If that fails, it is not done.
    async fn record(&self, entry: Entry) -> Result<(), Response> {
        self.signings.audit().record(entry).await.map_err(|error| {
            tracing::error!(%error, "an operator's act is not done: it cannot be written into the audit log");
            request::text(StatusCode::SERVICE_UNAVAILABLE, page::UNRECORDED)
        })
    }
}

/// Its routes.
pub fn router(admin: Admin) -> Router {
    let admin = Arc::new(admin);
    Router::new()
        .route("/admin", get(|| async { request::see_other("/admin/") }))
        .route("/admin/", get(overview))
        .route("/admin/login", get(login::show).post(login::enter))
        .route("/admin/logout", post(login::leave))
        .route("/admin/stream", get(stream::open))
        .route("/admin/new-sender", get(making::show).post(making::make))
        .route("/admin/senders/{name}/consent", get(consent))
        .route("/admin/senders/{name}/check", post(check))
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
        .route_layer(from_fn_with_state(Arc::clone(&admin), only_if_on))
        .with_state(admin)
}

/// The settings may switch the page on and off while the daemon runs.
async fn only_if_on(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    if admin.password.number().is_none() {
        return request::text(StatusCode::NOT_FOUND, page::OFF);
    }
    next.run(request).await
}

#[derive(Debug, Deserialize)]
struct Came {
    /// How a check ended, if the page comes back from one.
    checked: Option<String>,
    /// The first sender to show.
    from: Option<String>,
}

async fn overview(State(admin): State<Arc<Admin>>, headers: HeaderMap, came: Query<Came>) -> Response {
    let Some(session) = admin.session(&headers) else { return request::see_other(&Aim::Overview.login()) };
    let view = view::look(&admin, came.0.from.as_deref().unwrap_or_default()).await;
    let notice = came.0.checked.as_deref().and_then(page::Notice::of);
    request::page(&admin.theme, StatusCode::OK, &page::overview(&admin, &session, &view, notice))
}

async fn consent(State(admin): State<Arc<Admin>>, headers: HeaderMap, Path(name): Path<String>) -> Response {
    let Some(session) = admin.session(&headers) else {
        return request::see_other(&Aim::consent(&name).login());
    };
    admin.auth.await_consent(&name);
    let view = view::look(&admin, &name).await;
    let links = view::links(&admin, &name);
    match (view.senders.iter().find(|sender| *sender.name == *name), links) {
        (Some(sender), Some(links)) => {
            let html = page::consent(&admin, &session, sender, &links);
            request::page(&admin.theme, StatusCode::OK, &html)
        }
        _ => request::page(&admin.theme, StatusCode::NOT_FOUND, &page::no_sender(&admin, &session)),
    }
}

/// Every form carries the login's own token.
#[derive(Debug, Deserialize)]
struct Asked {
    token: String,
}

/// A token is asked for now, and with it the user's account.
async fn check(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
    Path(name): Path<String>,
    form: InTime<Asked>,
) -> Response {
    let Some(session) = admin.session(&headers) else { return request::see_other(&Aim::Overview.login()) };
    if !request::is_ours(&headers) || !session.is_token(&form.0.token) {
        return request::text(StatusCode::FORBIDDEN, page::FOREIGN);
    }
    if admin.auth.status(&name).is_err() {
        return request::page(&admin.theme, StatusCode::NOT_FOUND, &page::no_sender(&admin, &session));
    }
    if let Err(answer) = admin.record(Entry::new(Act::OperatorCheck, &name)).await {
        return answer;
    }
    tracing::info!(sender = name, "an operator asks for a check");
    let (auth, esign) = (admin.auth.clone(), Arc::clone(&admin.esign));
    let sender = SenderName::new(name.as_str());
    let work = tokio::spawn(async move {
        auth.prove(sender.as_str()).await.map_err(|_| ())?;
        // Where the account lives may have changed.
        esign.take_up(&sender).await.map(|_| ()).map_err(|_| ())
    });
    let ended = tokio::select! {
        done = work => if matches!(done, Ok(Ok(()))) { "good" } else { "bad" },
        () = admin.clock.sleep(PATIENCE) => "waiting",
    };
    let from = if admin.auth.count() > view::PAGE { format!("&from={name}") } else { String::new() };
    request::see_other(&format!("/admin/?checked={ended}{from}#sender-{name}"))
}
