//! The vocabulary: values and rules of our field. No IO, no async, no serde, no clock.
//!
//! Everything here is pure: a rule takes `now` and answers what changes. Formats belong to the edges
//! (`api`, `esign::wire`, `store`), which convert by hand, because the conversion is where validation
//! happens.

mod check;
mod dates;
pub mod document;
pub mod draft;
pub mod email;
pub mod event;
pub mod fact;
mod history;
pub mod ids;
pub mod language;
pub mod moment_kind;
mod observe;
pub mod phone;
pub mod private;
#[cfg(any(test, fuzzing))]
pub(crate) mod sample;
pub mod signing;
pub mod status;
pub mod template_names;
pub mod view;

pub use dates::Now;
pub use document::{Anchors, Document, TabKind};
pub use draft::{Draft, NewSigner};
pub use email::Email;
pub use event::{Event, EventKind};
pub use fact::{EnvelopeFact, Fact, SignerFact, whom};
pub use history::Moment;
pub use ids::{
    AccountId, CallerName, DeliveryId, EndpointId, EnvelopeId, EventId, LinkId, SenderName, SignerId,
    SigningId, TransactionId,
};
pub use language::Language;
pub use moment_kind::MomentKind;
pub use phone::Phone;
pub use private::Private;
pub use signing::{AuthenticatedBy, Failure, Mode, PurgeScope, Signer, Signing, Upstream};
pub use status::{SignerStatus, SigningStatus};
pub use template_names::TemplateNames;
pub use view::{Claim, LastReturn, LiveView, ViewKind};
