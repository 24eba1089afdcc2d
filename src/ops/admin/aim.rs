//! Where an operator was going who has to log in first. The address of the login names it, and anybody can write
//! such an address: so it is one of the pages that there are, built anew from what it is, or the status page.

use url::form_urlencoded;

use crate::config::check_name;

/// A page that is opened by its address.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// That of a sender's consent.
    Consent(String),
    /// The form that makes a sender.
    NewSender,
    /// The status page.
    Overview,
}

impl Aim {
    /// The page of a sender's consent, if a sender can have this name.
    pub(super) fn consent(name: &str) -> Self {
        if check_name(name).is_ok() { Self::Consent(name.to_owned()) } else { Self::Overview }
    }

    /// What the query of a login names.
    pub(super) fn of_login(query: Option<&str>) -> Self {
        let mut fields = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let next = fields.find(|(name, _)| name == "next").map(|(_, path)| path).unwrap_or_default();
        let sender = next.strip_prefix("/admin/senders/").and_then(|rest| rest.strip_suffix("/consent"));
        match (&*next, sender) {
            (_, Some(name)) => Self::consent(name),
            ("/admin/new-sender", None) => Self::NewSender,
            _ => Self::Overview,
        }
    }

    /// Its address.
    pub(super) fn path(&self) -> String {
        match self {
            Self::Consent(name) => format!("/admin/senders/{name}/consent"),
            Self::NewSender => "/admin/new-sender".to_owned(),
            Self::Overview => "/admin/".to_owned(),
        }
    }

    /// The address of the login that leads there.
    pub(super) fn login(&self) -> String {
        match self {
            Self::Overview => "/admin/login".to_owned(),
            // No name holds what would have to be encoded.
            page => format!("/admin/login?next={}", page.path()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_the_page_that_it_names() {
        for (aim, login) in [
            (Aim::consent("system"), "/admin/login?next=/admin/senders/system/consent"),
            (Aim::NewSender, "/admin/login?next=/admin/new-sender"),
            (Aim::Overview, "/admin/login"),
        ] {
            assert_eq!(aim.login(), login);
            let query = login.split_once('?').map(|(_, query)| query);
            assert_eq!(Aim::of_login(query), aim);
        }
        let encoded = "x=y&next=%2Fadmin%2Fsenders%2Fsystem%2Fconsent&next=/admin/new-sender";
        assert_eq!(Aim::of_login(Some(encoded)).path(), "/admin/senders/system/consent");
    }

    #[test]
    fn a_login_leads_nowhere_else() {
        for next in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example/admin/",
            "javascript:alert(1)",
            "/admin/senders/../consent",
            "/admin/senders/%2e%2e/consent",
            "/admin/senders//evil.example/consent",
            "/admin/senders/a\\b/consent",
            "/admin/senders/a%0d%0aset-cookie:x/consent",
            "/admin/senders/consent",
            "/admin/senders/system/check",
            "/admin/new-sender?x=y",
            "/admin/logout",
            "/admin/stream",
            "/metrics",
        ] {
            assert_eq!(Aim::of_login(Some(&format!("next={next}"))), Aim::Overview, "{next}");
        }
        assert_eq!(Aim::consent("\r\n").login(), "/admin/login");
    }
}
