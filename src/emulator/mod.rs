//! DocuSign in miniature: a strict, stateful, unkind copy of what an embedded-signing integration
//! touches, on loopback, over HTTP or TLS.
//!
//! # Goals
//!
//! - **Strict.** It verifies what the vendor verifies: assertions by signature, `aud`, `iss`, `exp`,
//!   `sub`, consent and scopes; request bodies by the vendor's own types; recipient views by exact
//!   match. Envelopes walk through legal states only.
//! - **Honest.** What it refuses, it refuses with the vendor's status and code where these are known;
//!   where the vendor publishes none, the choice is marked as inferred beside it.
//! - **Unkind.** It has the vendor's limits on by default and a named fault for each of its bad days
//!   ([`faults`]), deterministic from a seed and the order of requests.
//! - **A judge.** It notes the rules that a client breaks without any call failing ([`judge`]).
//! - **Not to be mistaken.** Loopback only, memory only, fresh keys each start, and
//!   `X-Countersign-Emulator: true` on every answer.
//!
//! # What is emulated
//!
//! Sources are pages of developers.docusign.com (read 2026), the vendor's OpenAPI file (SPEC), and its six
//! SDKs; what none of them says is marked as inferred where it is made.
//!
//! | Part | Paths | Behaviour | Source | In |
//! |---|---|---|---|---|
//! | tokens | `POST /oauth/token` | JWT grant by signature, `aud`, `iss`, `exp`, `sub`, consent, scopes, each with its error; code grant with PKCE or secret; refresh | platform/auth; the FAQ's list of JWT errors | [`oauth`] |
//! | who a token is for | `GET /oauth/userinfo` | accounts with `base_uri`, the default one | platform/auth/reference | [`oauth`] |
//! | consent | `GET /oauth/auth`, `/logout` | individual and organisation-wide (for the users of claimed domains), exact redirect URIs, `state`, refusal; a page to click | platform/auth/consent | [`consent`] |
//! | discovery | `/.well-known/openid-configuration` | the endpoints | seen in the field | [`oauth`] |
//! | account, users, brands, settings | `/restapi/v2.1/accounts/{a}`, `…/users`, `…/brands`, `…/folders`, `…/settings`, `…/identity_verification` | membership, the features of a plan, the SMS workflow | SPEC: Accounts, Users, AccountBrands, Folders | [`accounts`], [`brands`], [`envelopes`] |
//! | stored signatures | `…/users/{u}/signatures` | make, list, read, images, delete | SPEC: UserSignatures | [`signatures`] |
//! | envelopes | `…/envelopes…`, `…/bulk_send_…`, `…/views/console`, `/Member/…` | create from documents, templates, composite templates and multipart; draft, send, correct, void; workflows; bulk sends; lists with their filters; custom fields, audit events, locks, notification, recipients and tabs; views for senders | SPEC: Envelopes, EnvelopeRecipients, BulkSend; esign101/rules-and-limits | [`envelopes`] |
//! | templates | `…/templates…` | roles, tabs, documents; make, read, list, change in part, delete | SPEC: Templates | [`templates`] |
//! | anchors | in every PDF that comes | found in the text by the vendor's switches; an absent one fails the create | how-to on anchor tabs | [`pdf`] |
//! | recipient views | `…/views/recipient` | exact match of name, e-mail and client user id; single use, five minutes; for embedded recipients, hosts of in-person sessions and remote recipients who are users, when their turn has come, and of envelopes that have ended | SPEC: EnvelopeViews; embedding concepts | [`recipient_views`] |
//! | signing ceremony | `/Signing/…` | SMS and access code with attempts and lock, adopt and sign, decline, finish later, time-out, the `event` of the return | embedding concepts; support guide on authentication | [`ceremony`] |
//! | Connect | `…/connect`, and to receivers' URLs | account and envelope configurations, one message an event (SIM), HMAC with several keys, retries | platform/webhooks/connect; `connect.schema-v2.json` | [`connect`], [`connect_settings`] |
//! | limits | every REST call | hourly and burst budgets, their headers and errors; polling; 35 MB a request | esign101/rules-and-limits | [`limits`] |
//! | what is missing | every other call of the vendor's | 501 `NOT_EMULATED`, unlike a path that the vendor has not either | SPEC: paths | [`unplayed`] |
//! | bad days | every call and delivery | the faults of [`FaultKind`], by plan or one by one | seen in the field | [`faults`] |
//! | the judge | `GET /_test/rules` | six rules that a client may break without any call failing | go-live rules, FAQ | [`judge`] |
//!
//! Each endpoint, check, error code, timer and rule with its source: `deploy/faults/EMULATED.md`, which a test holds
//! against this code. How others use it, with plans of faults, and what the judge says of an application on the
//! official SDK: `deploy/faults/README.md`.
//!
//! # Gaps
//!
//! - One environment: demo and production are not told apart but by an account on another base URI. Two
//!   emulators play both: their keys differ, and `POST /_test/apps` takes an integration key out of one.
//! - Of the Admin API nothing; of OAuth no device flow, no client credentials, no `/oauth/revoke`
//!   (the vendor documents none).
//! - Consent for one's own organisation is given in DocuSign Admin, of which there is nothing here: the link for
//!   other organisations stands for both. Claiming a domain needs no proof by DNS, but a control call.
//! - No XML bodies, no PowerForms, no payments, no ID verification beyond phone and
//!   access code, and of focused view its
//!   parameters only: the script of `js-d.docusign.com` and its frame are not served.
//! - Invitation e-mails are not sent; SMS goes to an outbox.
//! - Limits an envelope and the life of an authorization code are guesses: the vendor keeps them secret.
//! - A redirect URI counts as registered if it is listed, or (unlike at the vendor) if it is a
//!   loopback address with the path `/consent/callback`, because a daemon on port 0 cannot be listed.
//!
//! The emulator shares no type with any client of the vendor's API: if it did, one misreading of the
//! format would cancel itself out and every test would pass.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use serde::Serialize;

use crate::{clock::SharedClock, lifecycle::Lifecycle, listener};

mod accounts;
mod brands;
mod by_recipient;
mod ceremony;
mod connect;
mod connect_settings;
mod consent;
mod control;
mod directory;
mod envelopes;
mod faults;
mod files;
mod http;
mod in_memory;
mod judge;
mod lenient_json;
mod limits;
mod mishaps;
mod multipart;
mod oauth;
mod paging;
mod pdf;
mod recipient_views;
mod requests;
mod schema;
mod server;
mod signatures;
mod state;
mod templates;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod time;
mod unplayed;
mod wire;

/// Reads a PDF as an upload is read, for the fuzzers.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_pdf(bytes: &[u8]) {
    if let Ok(text) = pdf::read::read(bytes) {
        let _ = text.find("/sn1/", pdf::read::Matching::default());
    }
}

/// Reads a DOCX as an upload is read, for the fuzzers.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_docx(bytes: &[u8]) {
    envelopes::docx::read_hostile(bytes);
}

/// Reads a multipart body, for the fuzzers: every part lies within it.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_multipart(content_type: &str, body: &[u8]) {
    let Some(Ok(boundary)) = multipart::boundary(content_type) else { return };
    for part in multipart::parts(body, &boundary).unwrap_or_default() {
        assert!(part.content.start <= part.content.end && part.content.end <= body.len());
    }
}

pub use faults::{Fault, Kind as FaultKind, read_plan};
pub use in_memory::{InMemory, Made};

/// How to start an emulator.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where vendor paths are served; loopback only, port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the control interface is served; loopback only.
    pub control: SocketAddr,
    /// Whether the vendor's listener speaks TLS, with a CA made for this run.
    pub tls: bool,
    /// Of ids and faults: the same seed and the same requests give the same answers.
    pub seed: u64,
    /// Faults armed from the start.
    pub faults: Option<Vec<Fault>>,
    /// Where the keys and the CA are written; a temporary directory, removed at the end, if absent.
    pub state_dir: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            control: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: false,
            seed: 0,
            faults: None,
            state_dir: None,
        }
    }
}

/// Where a running emulator is and what it knows: the content of the ready file.
#[derive(Debug, Clone, Serialize)]
pub struct Ready {
    /// The process.
    pub pid: u32,
    /// Host and port of the account server: what SDKs call the OAuth base path, and a valid `aud`.
    pub oauth_host: String,
    /// Its origin.
    pub oauth_url: String,
    /// The origin of the REST API; `/restapi` is added by the client.
    pub base_url: String,
    /// The origin of the control interface.
    pub control_url: String,
    /// The CA certificate of the vendor's listener, with TLS.
    pub ca_file: Option<PathBuf>,
    /// The first integration key.
    pub integration_key: String,
    /// The user who has consented to it.
    pub user_id: String,
    /// A user who has not.
    pub no_consent_user_id: String,
    /// The account of both.
    pub account_id: String,
    /// The private half of the integration key's RSA pair (PKCS#1 PEM, mode 0600).
    pub private_key_file: PathBuf,
    /// A template of that account.
    pub template_id: String,
    /// The template's role.
    pub template_role: String,
    /// A brand of that account.
    pub brand_id: String,
    /// The account's Connect HMAC key: the same in every run, and worth nothing.
    pub connect_hmac_key: String,
}

/// Why the emulator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A listener asked for an address that others can reach.
    #[error("the emulator listens on loopback only, not on {address}")]
    NotLoopback {
        /// Which of the [`Options`] it is: `listen` or `control`.
        option: &'static str,
        /// The address asked for.
        address: SocketAddr,
    },
    /// An address is taken or not ours.
    #[error(
        "cannot listen on {address}; stop what listens there, or give another address (port 0: a free one)"
    )]
    Bind {
        /// Which of the [`Options`] it is: `listen` or `control`.
        option: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another emulator writes its files there.
    #[error("another emulator uses {}; stop it, or give this one another directory", path.display())]
    StateDirTaken {
        /// Where.
        path: PathBuf,
    },
    /// A key pair could not be made.
    #[error("cannot make an RSA key pair")]
    Key,
    /// The certificates could not be made.
    #[error("cannot make the TLS certificates: {0}")]
    Tls(String),
}

/// A running emulator. Dropping it removes the state directory if it was a temporary one; the
/// listeners end with the [`Lifecycle`].
#[derive(Debug)]
pub struct Emulator {
    ready: Ready,
    in_memory: InMemory,
    _files: files::StateDir,
}

impl Emulator {
    /// Binds both listeners and serves them until `life` stops.
    pub async fn start(options: Options, clock: SharedClock, life: &Lifecycle) -> Result<Self, Error> {
        let vendor = bind("listen", options.listen).await?;
        let control = bind("control", options.control).await?;
        let state_dir = files::StateDir::open(options.state_dir.as_deref())?;
        let secrets = files::Secrets::make(&state_dir)?;
        let (vendor, ca_file) = if options.tls {
            let (tls, ca_file) = files::tls(&state_dir)?;
            (vendor.with_tls(listener::Tls::new(tls, |_, _| {})), Some(ca_file))
        } else {
            (vendor, None)
        };
        let origin = vendor.origin();
        let ready = Ready {
            pid: std::process::id(),
            oauth_host: origin.split_once("://").map_or_else(String::new, |(_, host)| host.to_owned()),
            oauth_url: origin.clone(),
            base_url: origin.clone(),
            control_url: control.origin(),
            ca_file,
            integration_key: directory::INTEGRATION_KEY.to_owned(),
            user_id: directory::USER.to_owned(),
            no_consent_user_id: directory::NO_CONSENT_USER.to_owned(),
            account_id: directory::ACCOUNT.to_owned(),
            private_key_file: secrets.private_key_file,
            template_id: templates::TEMPLATE.to_owned(),
            template_role: templates::TEMPLATE_ROLE.to_owned(),
            brand_id: directory::BRAND.to_owned(),
            connect_hmac_key: secrets.connect_hmac_key.clone(),
        };
        let setup = state::Setup {
            seed: options.seed,
            faults: options.faults.unwrap_or_default(),
            public_keys: secrets.public_keys,
            connect_hmac_key: secrets.connect_hmac_key,
            origin,
        };
        let in_memory = server::start(vendor, control, Arc::new(setup), clock, life);
        Ok(Self { ready, in_memory, _files: state_dir })
    }

    /// Where it is and what it knows.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// The same without sockets: for who cannot wait for an answer, such as a test that ends.
    pub fn in_memory(&self) -> &InMemory {
        &self.in_memory
    }
}

async fn bind(option: &'static str, address: SocketAddr) -> Result<listener::Bound, Error> {
    if !address.ip().is_loopback() {
        return Err(Error::NotLoopback { option, address });
    }
    listener::Bound::tcp(address).await.map_err(|source| Error::Bind { option, address, source })
}
