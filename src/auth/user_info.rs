//! Which accounts the impersonated user has, and which of them the settings mean.
//!
//! The answer of `/oauth/userinfo` also holds a person's name, which is not read, and an address, which is only
//! compared: it tells that a signer is the sender. The choice is pure, and each way to fail has its own words, because
//! this is where a user without an account, an account of the other environment, and a misspelt name look alike from
//! outside.

use std::{fmt, str::FromStr};

use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Deserializer};
use url::Url;
use uuid::Uuid;

use super::{
    account_server_calls::Question,
    error::Error,
    grant::{self, Reply},
    identity::{AccountServer, Misfit, UserId},
};
use crate::{
    digest::sha256,
    http_client::{self, HttpClient, Request},
};

/// A user of hundreds of accounts has some 100 KB.
const RESPONSE_LIMIT_BYTES: usize = 1024 * 1024;

/// Who a token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserInfo {
    /// The user.
    pub user_id: UserId,
    /// The user's e-mail address, if it is told.
    pub address: Option<Address>,
    /// The accounts in which the user is a member.
    pub accounts: Vec<Account>,
}

/// An e-mail address, kept as its digest: it is compared, and never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address([u8; 32]);

impl Address {
    /// Of an address, whatever the case of its letters.
    pub fn of(text: &str) -> Self {
        Self(sha256(text.trim().to_lowercase().as_bytes()))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[address]")
    }
}

/// A tenant at the upstream, with its own address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id in API paths.
    pub id: Uuid,
    /// Its name, as people see it.
    pub name: String,
    /// Whether it is the user's default.
    pub is_default: bool,
    /// The origin of its API; `/restapi` follows.
    pub base_uri: Url,
}

/// Which account the settings mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountChoice {
    /// The one of this id, which a customer connected, if it is one that may be connected by now.
    Connected {
        /// Which was connected.
        id: Uuid,
        /// Which may be.
        only: Box<AccountChoice>,
    },
    /// The user's default account.
    Default,
    /// The one of this id.
    Id(Uuid),
    /// The one of this name.
    Name(String),
}

impl AccountChoice {
    /// Reads the setting: nothing, a GUID, or a name.
    pub fn parse(setting: Option<&str>) -> Self {
        match setting.map(str::trim) {
            None | Some("") => Self::Default,
            Some(text) => Uuid::try_parse(text).map_or_else(|_| Self::Name(text.to_owned()), Self::Id),
        }
    }

    /// Its id, as far as that is known without asking anybody.
    pub fn id(&self) -> Option<Uuid> {
        match self {
            Self::Connected { id, .. } | Self::Id(id) => Some(*id),
            Self::Default | Self::Name(_) => None,
        }
    }

    /// Why it can be no account, as far as that is known without asking anybody.
    pub(super) fn contradiction(&self) -> Option<NotInAccount> {
        let Self::Connected { id, only } = self else { return None };
        let is_another = only.id().is_some_and(|only| only != *id);
        is_another.then(|| NotInAccount::NotAllowed { connected: id.to_string(), only: only.to_string() })
    }

    /// Whether nobody knows which it is, or whether it may be, before the user's accounts are known.
    pub(super) fn is_by_name(&self) -> bool {
        match self {
            Self::Connected { only, .. } => only.is_by_name(),
            Self::Default | Self::Id(_) => false,
            Self::Name(_) => true,
        }
    }

    fn allows(&self, account: &Account) -> bool {
        match self {
            Self::Connected { id, .. } | Self::Id(id) => account.id == *id,
            Self::Default => true,
            Self::Name(name) => account.name.trim() == name.trim(),
        }
    }
}

impl fmt::Display for AccountChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { id, .. } | Self::Id(id) => write!(f, "{id}"),
            Self::Default => f.write_str("the user's default account"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Why the account that the settings mean is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotInAccount {
    /// The base URI is one that we do not call.
    #[error("account {id} has a base URI that is neither https nor loopback")]
    BadBaseUri {
        /// The account.
        id: Uuid,
    },
    /// The account is on a host that this environment does not have.
    #[error("account {id} is on {host}, which is no host of this environment")]
    ForeignHost {
        /// The account.
        id: Uuid,
        /// Its host.
        host: String,
    },
    /// The user left the account that was the default when the sender first acted.
    #[error(
        "the user is no longer in account {left}, in which the sender has acted so far, only in {}",
        list(has)
    )]
    Left {
        /// The account.
        left: String,
        /// What the user has.
        has: Vec<(Uuid, String)>,
    },
    /// Several accounts have that name.
    #[error("the user has several accounts named {name:?}: {}", list(has))]
    NameTwice {
        /// The name in the settings.
        name: String,
        /// What the user has.
        has: Vec<(Uuid, String)>,
    },
    /// The user has no account at all.
    #[error("the user is a member of no account")]
    NoAccounts,
    /// None is marked as the default.
    #[error("the user has no default account, only {}", list(has))]
    NoDefault {
        /// What the user has.
        has: Vec<(Uuid, String)>,
    },
    /// A customer connected an account, and the settings, or the sender's maker, have named another one since.
    #[error("the sender is connected to {connected}, but only {only} is allowed")]
    NotAllowed {
        /// What was connected.
        connected: String,
        /// What may be.
        only: String,
    },
    /// The account is of the other environment.
    #[error("account {id} is a {} account, and upstream.environment is {}", if *is_demo { "demo" } else { "production" }, if *is_demo { "production" } else { "demo" })]
    OtherEnvironment {
        /// The account.
        id: Uuid,
        /// Whether it is a developer account.
        is_demo: bool,
    },
    /// The user is in others.
    #[error("the user is not in account {wanted}, only in {}", list(has))]
    NotThere {
        /// The id or name in the settings.
        wanted: String,
        /// What the user has.
        has: Vec<(Uuid, String)>,
    },
}

impl NotInAccount {
    /// The account does not belong to the environment.
    pub(super) fn misfit(account: &Account, misfit: Misfit) -> Self {
        let id = account.id;
        match misfit {
            Misfit::DemoAccount => Self::OtherEnvironment { id, is_demo: true },
            Misfit::ProductionAccount => Self::OtherEnvironment { id, is_demo: false },
            Misfit::ForeignHost => {
                Self::ForeignHost { id, host: account.base_uri.host_str().unwrap_or_default().to_owned() }
            }
        }
    }

    /// How our API names it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadBaseUri { .. } | Self::ForeignHost { .. } => "wrong_base_uri",
            Self::OtherEnvironment { .. } => "wrong_environment",
            Self::Left { .. }
            | Self::NameTwice { .. }
            | Self::NoAccounts
            | Self::NoDefault { .. }
            | Self::NotAllowed { .. }
            | Self::NotThere { .. } => "sender_not_in_account",
        }
    }

    /// The next step for a person.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::BadBaseUri { .. } => "Check upstream.environment: the base URI must be https.",
            Self::ForeignHost { .. } => {
                "Set the sender's account to one on a host of this environment; the emulator's tokens go to no real host."
            }
            Self::OtherEnvironment { .. } => {
                "Use user, account and integration key of the environment in upstream.environment; none of them is \
                 copied between demo and production."
            }
            Self::Left { .. } => {
                "Set the sender's account to one of those listed, or start the daemon again to take the user's present \
                 default; what was made in the account before is reached again once the user is back in it."
            }
            Self::NameTwice { .. } => "Set the sender's account to an id instead of a name.",
            Self::NoAccounts => "Have an administrator add the user to the account.",
            Self::NoDefault { .. } => "Set the sender's account to one of the ids listed.",
            Self::NotAllowed { .. } => {
                "Have its connect link opened again for that account (GET /v1/senders/NAME/connect), or take the account \
                 out: null in PATCH /v1/senders/NAME for a sender that a caller made, else out of the settings, and a restart."
            }
            Self::NotThere { .. } => {
                "Set the sender's account to one of those listed (by its GUID or its name, not its number), or add the \
                 user to the account; ids differ between demo and production. A connected sender is connected again with \
                 its link."
            }
        }
    }
}

fn list(accounts: &[(Uuid, String)]) -> String {
    let shown: Vec<String> = accounts.iter().take(10).map(|(id, name)| format!("{id} ({name})")).collect();
    let more = accounts.len().saturating_sub(shown.len());
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

impl UserInfo {
    /// The account that was the user's default before, whichever is that by now.
    pub fn stay(&self, account: Uuid) -> Result<&Account, NotInAccount> {
        self.choose(&AccountChoice::Id(account)).map_err(|reason| match reason {
            NotInAccount::NotThere { wanted, has } => NotInAccount::Left { left: wanted, has },
            other => other,
        })
    }

    /// The account that `choice` means.
    pub fn choose(&self, choice: &AccountChoice) -> Result<&Account, NotInAccount> {
        let has = || self.accounts.iter().map(|a| (a.id, a.name.clone())).collect::<Vec<_>>();
        if self.accounts.is_empty() {
            return Err(NotInAccount::NoAccounts);
        }
        let account = match choice {
            AccountChoice::Default => match self.accounts.as_slice() {
                // The only one is the default, marked or not.
                [only] => only,
                all => {
                    all.iter().find(|a| a.is_default).ok_or_else(|| NotInAccount::NoDefault { has: has() })?
                }
            },
            AccountChoice::Connected { id, only } => {
                let account = self.choose(&AccountChoice::Id(*id))?;
                if !only.allows(account) {
                    let connected = format!("{} ({})", account.id, account.name);
                    return Err(NotInAccount::NotAllowed { connected, only: only.to_string() });
                }
                account
            }
            AccountChoice::Id(id) => self
                .accounts
                .iter()
                .find(|account| account.id == *id)
                .ok_or_else(|| NotInAccount::NotThere { wanted: id.to_string(), has: has() })?,
            AccountChoice::Name(name) => {
                let mut named = self.accounts.iter().filter(|account| account.name.trim() == name.trim());
                match (named.next(), named.next()) {
                    (Some(account), None) => account,
                    (Some(_), Some(_)) => {
                        return Err(NotInAccount::NameTwice { name: name.clone(), has: has() });
                    }
                    (None, _) => return Err(NotInAccount::NotThere { wanted: name.clone(), has: has() }),
                }
            }
        };
        if http_client::is_callable(&account.base_uri) {
            Ok(account)
        } else {
            Err(NotInAccount::BadBaseUri { id: account.id })
        }
    }
}

/// Asks who the bearer in `authorization` is.
pub async fn fetch(
    client: &HttpClient,
    server: &AccountServer,
    authorization: &HeaderValue,
) -> Reply<UserInfo> {
    let request = Request::get(server.endpoint("/oauth/userinfo"))
        .authorization(authorization.clone())
        .header(header::ACCEPT, HeaderValue::from_static("application/json"))
        .response_limit_bytes(RESPONSE_LIMIT_BYTES);
    let sent = client.send(request).await;
    server.asked().user_info(&sent);
    let reply = Reply::new(sent, "it is larger than 1 MiB", |answer| match answer.status {
        StatusCode::OK => read(&answer.body),
        StatusCode::UNAUTHORIZED => Err(Error::TokenRefused { retry_after: None }),
        status => Err(grant::refusal(status, &answer.headers, &answer.body)),
    });
    server.asked().ended(Question::UserInfo, reply.result.as_ref().err());
    reply
}

#[derive(Deserialize)]
struct Wire {
    #[serde(deserialize_with = "from_text")]
    sub: Uuid,
    /// Whatever it is: nobody is to be without a token's user for want of an address.
    #[serde(default)]
    email: serde_json::Value,
    accounts: Vec<WireAccount>,
}

#[derive(Deserialize)]
struct WireAccount {
    #[serde(deserialize_with = "from_text")]
    account_id: Uuid,
    #[serde(default)]
    account_name: String,
    #[serde(default, deserialize_with = "lenient_bool")]
    is_default: bool,
    #[serde(deserialize_with = "from_text")]
    base_uri: Url,
}

pub(crate) fn read(body: &[u8]) -> Result<UserInfo, Error> {
    let what = "it lacks a usable sub or accounts";
    let wire: Wire = serde_json::from_slice(body).map_err(|_| Error::Malformed { status: 200, what })?;
    let accounts = wire.accounts.into_iter().map(|account| Account {
        id: account.account_id,
        name: account.account_name,
        is_default: account.is_default,
        base_uri: account.base_uri,
    });
    let email = wire.email.as_str().filter(|email| !email.trim().is_empty());
    Ok(UserInfo { user_id: wire.sub.into(), address: email.map(Address::of), accounts: accounts.collect() })
}

fn from_text<'de, T: FromStr, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| serde::de::Error::custom("not what it should be"))
}

/// The vendor sends a boolean; its own SDKs have seen the word.
fn lenient_bool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value == true || value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("true")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(accounts: &[(u128, &str, bool, &str)]) -> UserInfo {
        let accounts = accounts.iter().map(|(id, name, is_default, base_uri)| Account {
            id: Uuid::from_u128(*id),
            name: (*name).to_owned(),
            is_default: *is_default,
            base_uri: Url::parse(base_uri).unwrap(),
        });
        UserInfo { user_id: Uuid::from_u128(9).into(), address: None, accounts: accounts.collect() }
    }

    const DEMO: &str = "https://demo.docusign.net";

    #[test]
    fn the_account_is_chosen_by_default_id_or_name() {
        let user = user(&[(1, "Acme", false, DEMO), (2, "Bolt", true, DEMO), (3, "Bolt", false, DEMO)]);
        let chosen = |setting| user.choose(&AccountChoice::parse(setting)).map(|a| a.id.as_u128());
        assert_eq!(chosen(None), Ok(2));
        assert_eq!(chosen(Some("00000000-0000-0000-0000-000000000003")), Ok(3));
        assert_eq!(chosen(Some(" Acme ")), Ok(1));
        assert!(matches!(chosen(Some("Bolt")), Err(NotInAccount::NameTwice { .. })));
        let error = chosen(Some("Cast")).unwrap_err();
        assert_eq!(error.code(), "sender_not_in_account");
        assert!(error.to_string().contains("(Acme)"), "{error}");
    }

    #[test]
    fn each_way_to_have_no_account_has_its_words() {
        let choose = |user: &UserInfo| user.choose(&AccountChoice::Default).map(|a| a.id).unwrap_err();
        assert_eq!(choose(&user(&[])), NotInAccount::NoAccounts);
        let two = user(&[(1, "A", false, DEMO), (2, "B", false, DEMO)]);
        assert!(matches!(choose(&two), NotInAccount::NoDefault { .. }));
        let plain = user(&[(1, "A", true, "http://demo.docusign.net")]);
        assert_eq!(choose(&plain).code(), "wrong_base_uri");
        assert!(user(&[(1, "A", false, "http://127.0.0.1:8443")]).choose(&AccountChoice::Default).is_ok());
    }

    #[test]
    fn an_account_of_the_other_environment_is_named_as_that() {
        let user = user(&[(1, "A", true, DEMO), (2, "B", false, "https://eu.docusign.net")]);
        for (server, at, said) in [
            ("https://account.docusign.com", 0, "is a demo account"),
            ("https://account-d.docusign.com", 1, "is a production account"),
        ] {
            let server = AccountServer::new(&Url::parse(server).unwrap()).unwrap();
            let misfit = server.fits(&user.accounts[at].base_uri).unwrap_err();
            let error = NotInAccount::misfit(&user.accounts[at], misfit);
            assert_eq!(error.code(), "wrong_environment");
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn the_documented_answer_is_read_and_people_are_left_out() {
        let body = br#"{"sub":"50d89ab1-dad5-4a0a-b410-92ee3110b970","name":"Ada","email":"a@example.com",
            "accounts":[{"account_id":"fe0b61a3-3b9b-4b36-84cc-aa40c8d0ad61","is_default":"true",
            "account_name":"NewCo","base_uri":"https://demo.docusign.net",
            "organization":{"organization_id":"9dd9d6cd-7ad1-461a-a432-3a7b4ac2b9b1","links":[]}}]}"#;
        let user = read(body).unwrap();
        assert!(user.accounts[0].is_default);
        assert_eq!(user.address, Some(Address::of("A@example.com")));
        assert_ne!(user.address, Some(Address::of("b@example.com")));
        let shown = format!("{user:?}");
        assert!(!shown.contains("Ada") && !shown.contains("a@example.com"), "{shown}");
        for none in ["null", "7", r#"" ""#, "{}"] {
            let body =
                format!(r#"{{"sub":"50d89ab1-dad5-4a0a-b410-92ee3110b970","email":{none},"accounts":[]}}"#);
            assert_eq!(read(body.as_bytes()).unwrap().address, None, "{none}");
        }
        for bad in ["", "[]", "{}", r#"{"sub":"x","accounts":[]}"#, r#"{"sub":null}"#, "<html>"] {
            assert!(matches!(read(bad.as_bytes()), Err(Error::Malformed { .. })), "{bad}");
        }
    }
}
