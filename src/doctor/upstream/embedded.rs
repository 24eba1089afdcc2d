//! Whether the account lets anybody sign in a company's own pages.
//!
//! Three settings of an account forbid every create with an embedded signer. DocuSign says then that permissions are
//! missing, and not which setting it is.

use super::{PATIENCE, bench::Bench};
use crate::{
    clock::Deadline,
    doctor::Check,
    esign::{self, Acting},
    telemetry::chain,
};

/// The name of the check.
pub(super) const EMBEDDED: &str = "embedded signing";

impl Bench<'_> {
    /// Reads the account's settings.
    pub(super) async fn embedded_signing(&self, acting: &Acting) -> Check {
        let deadline = Deadline::within(&*self.clock, PATIENCE);
        match self.esign.forbidding_settings(acting, deadline).await {
            Ok(wrong) if wrong.is_empty() => Check::passed(EMBEDDED, "no setting of the account forbids it"),
            Ok(wrong) => {
                let names: Vec<_> = wrong.iter().map(|setting| setting.name).collect();
                let changes = wrong.iter().map(|setting| format!("{} to {}", setting.name, setting.must_be));
                let changes: Vec<_> = changes.collect();
                let detail = format!("the account's settings forbid it: {}", names.join(", "));
                let fix = format!(
                    "Have an administrator of the DocuSign account set {}: as it is, DocuSign refuses every signing.",
                    changes.join(" and ")
                );
                Check::failed(EMBEDDED, "embedded_signing_forbidden", detail, fix)
            }
            // Not every user may read them.
            Err(error @ (esign::Error::Limited { .. } | esign::Error::Rejected(_))) => {
                Check::skipped(EMBEDDED, format!("the account's settings are not told: {}", chain(&error)))
            }
            Err(error) => {
                let fix = "See the checks above; try again in a minute.";
                Check::failed(EMBEDDED, "upstream_unavailable", chain(&error).to_string(), fix)
            }
        }
    }
}
