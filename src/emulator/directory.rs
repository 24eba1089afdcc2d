//! Who and what the emulated DocuSign knows: organisations, accounts, users, integration keys,
//! consents and the tokens it gave out.
//!
//! The ids and the first account's Connect key are fixed and well known, so that settings written for one run fit the
//! next. Private keys and tokens are not: fresh ones each start keep it from being mistaken for the real thing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// The account that is the first user's default.
pub(super) const ACCOUNT: &str = "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e001";
/// A second account of the same organisation, on the same host.
pub(super) const SECOND_ACCOUNT: &str = "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e002";
/// An account of another company; only [`ELSEWHERE_USER`] is in it.
pub(super) const OTHER_ACCOUNT: &str = "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e003";
/// An account whose base URI is another host: calls for it here are refused.
pub(super) const REMOTE_ACCOUNT: &str = "3f1c9a52-6f0e-4a3b-8f57-1d2a90c4e004";
/// The one brand of [`ACCOUNT`].
pub(super) const BRAND: &str = "7c1d4e90-3a5b-4d2f-8e61-0b9f2a6c5001";
const BRAND_NAME: &str = "Emulated Brand";
/// The organisation of the first two accounts.
pub(super) const ORGANISATION: &str = "9d0c5e1a-2b44-4f6e-9a3d-5c7e1f20b001";
/// The system sender: administrator of the first account, has consented to [`INTEGRATION_KEY`].
pub(super) const USER: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210001";
/// A member of the first account who has consented to nothing.
pub(super) const NO_CONSENT_USER: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210002";
/// A user of [`OTHER_ACCOUNT`] only, who has consented to [`INTEGRATION_KEY`].
pub(super) const ELSEWHERE_USER: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210003";
/// The administrator of the organisation.
pub(super) const ORGANISATION_ADMIN: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210004";
/// A user who was closed.
pub(super) const CLOSED_USER: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210005";
/// A user of [`REMOTE_ACCOUNT`], with consent.
pub(super) const REMOTE_USER: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210006";
/// A member of the first account with an address outside the organisation's claimed domains.
pub(super) const GUEST_USER: &str = "b7d7a1c4-52e8-4d0f-9b6a-7e3f0c210007";
/// The domain that the organisation has claimed.
const CLAIMED_DOMAIN: &str = "countersign.example";
/// The first integration key.
pub(super) const INTEGRATION_KEY: &str = "5e0b1c8d-9a47-4c7e-8d21-6f3a2b900001";
/// A second integration key, with a key pair and consents of its own.
pub(super) const SECOND_INTEGRATION_KEY: &str = "5e0b1c8d-9a47-4c7e-8d21-6f3a2b900002";

/// Where a browser may land after a consent for an application without an address of its own: what the vendor's examples
/// of such links name, and a redirect URI of the stock integration keys. It is the vendor's, and not served here.
const LANDING: &str = "https://www.docusign.com";

/// Scopes that a fresh emulator has the first user's consent for.
const FIRST_CONSENT: [&str; 4] = ["extended", "impersonation", "openid", "signature"];

/// Everything of section "who".
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// The accounts, by GUID.
    pub(super) accounts: BTreeMap<String, Account>,
    /// The users, by GUID.
    pub(super) users: BTreeMap<String, User>,
    /// Who is in which account.
    pub(super) memberships: Vec<Membership>,
    /// The e-mail domains that an organisation has claimed: its administrator decides for users of these alone.
    pub(super) claimed_domains: BTreeMap<String, BTreeSet<String>>,
    /// The integration keys, by GUID.
    pub(super) apps: BTreeMap<String, App>,
    /// Integration keys that a test took out of this environment.
    pub(super) apps_elsewhere: BTreeMap<String, App>,
    /// Individual consent: (integration key, user, scope).
    pub(super) consents: BTreeSet<(String, String, String)>,
    /// Administrator consent: (integration key, organisation, scope).
    pub(super) organisation_consents: BTreeSet<(String, String, String)>,
    /// Authorization codes not used yet, and those used or stale.
    pub(super) codes: BTreeMap<String, Code>,
    /// Refresh tokens that are alive.
    pub(super) refresh_tokens: BTreeMap<String, RefreshToken>,
    /// Access tokens given out.
    pub(super) access_tokens: BTreeMap<String, AccessToken>,
    /// Browser sessions on the account server: cookie to user.
    pub(super) sessions: BTreeMap<String, String>,
}

/// One account.
#[derive(Debug, Clone)]
pub(super) struct Account {
    /// The short number that may stand for the GUID in paths.
    pub(super) number: String,
    /// Its name.
    pub(super) name: String,
    /// When it was made.
    pub(super) created: Timestamp,
    /// The organisation that it is in.
    pub(super) organisation: Option<String>,
    /// Another host that serves it; none if this one does.
    pub(super) elsewhere: Option<String>,
    /// Its settings, as the vendor writes them: text.
    pub(super) settings: BTreeMap<String, String>,
    /// Whether identity verification (phone authentication) is in the plan.
    pub(super) identity_verification: bool,
    /// Its brands, by GUID.
    pub(super) brands: BTreeMap<String, Brand>,
    /// Its Connect configurations and HMAC keys.
    pub(super) connect: ConnectSettings,
}

impl Account {
    /// The id of one of its brands as it is stored; ids are told apart without case.
    pub(super) fn brand_id(&self, id: &str) -> Option<&str> {
        self.brands.keys().find(|known| known.eq_ignore_ascii_case(id)).map(String::as_str)
    }
}

/// How an account's envelopes look.
#[derive(Debug, Clone, Default)]
pub(super) struct Brand {
    /// Its name.
    pub(super) name: String,
    /// What else was sent of it.
    pub(super) given: serde_json::Map<String, Value>,
}

/// What an account pushes where.
#[derive(Debug, Clone, Default)]
pub(super) struct ConnectSettings {
    /// Account-level configurations, by `connectId`: as they were sent, filled up with the defaults.
    pub(super) configurations: BTreeMap<u64, Value>,
    /// The HMAC keys, oldest first; each signs every delivery that includes HMAC.
    pub(super) hmac_keys: Vec<HmacKey>,
}

/// One HMAC key of an account.
#[derive(Debug, Clone)]
pub(super) struct HmacKey {
    /// Its id in the API.
    pub(super) id: String,
    /// The secret; its UTF-8 text is the key.
    pub(super) secret: String,
    /// When it was made.
    pub(super) created: Timestamp,
}

/// One person, or system user.
#[derive(Debug, Clone)]
pub(super) struct User {
    /// The whole name.
    pub(super) name: String,
    /// The first name.
    pub(super) given_name: String,
    /// The last name.
    pub(super) family_name: String,
    /// The e-mail address.
    pub(super) email: String,
    /// Whether the user is active.
    pub(super) is_active: bool,
    /// The organisation that the user administers.
    pub(super) administers: Option<String>,
    /// When the user was made.
    pub(super) created: Timestamp,
    /// The stored signatures, oldest first.
    pub(super) signatures: Vec<StoredSignature>,
}

/// A signature that a user keeps for later.
#[derive(Debug, Clone)]
pub(super) struct StoredSignature {
    /// Its id; changes on every write, as at the vendor.
    pub(super) id: String,
    /// The name it shows.
    pub(super) name: String,
    /// The initials it shows.
    pub(super) initials: String,
    /// The font, such as `3_DocuSign`.
    pub(super) font: String,
    /// Whether it is offered first.
    pub(super) is_default: bool,
    /// When it was made.
    pub(super) created: Timestamp,
    /// Images by kind (`signature_image`, `initials_image`, `stamp_image`): media type and bytes.
    pub(super) images: BTreeMap<String, (String, bytes::Bytes)>,
}

/// A user's place in an account.
#[derive(Debug, Clone)]
pub(super) struct Membership {
    /// The user's GUID.
    pub(super) user: String,
    /// The account's GUID.
    pub(super) account: String,
    /// Whether it is the user's default account.
    pub(super) is_default: bool,
    /// Whether the user administers the account.
    pub(super) is_admin: bool,
}

/// One integration key.
#[derive(Debug, Clone)]
pub(super) struct App {
    /// What the consent page calls it.
    pub(super) name: String,
    /// Secrets for the code grant.
    pub(super) secrets: Vec<String>,
    /// Registered public keys.
    pub(super) keys: Vec<PublicKey>,
    /// Registered redirect URIs, compared exactly.
    pub(super) redirect_uris: Vec<String>,
    /// Whether any loopback address with the path `/consent/callback` counts as registered.
    pub(super) takes_loopback_callbacks: bool,
}

impl App {
    /// Whether a browser may be sent there: listed exactly, or a daemon's callback on loopback.
    pub(super) fn is_registered(&self, uri: &str) -> bool {
        let is_loopback_callback = || {
            let Ok(url) = url::Url::parse(uri) else { return false };
            let is_loopback = match url.host() {
                Some(url::Host::Domain(name)) => name == "localhost",
                Some(url::Host::Ipv4(address)) => address.is_loopback(),
                Some(url::Host::Ipv6(address)) => address.is_loopback(),
                None => false,
            };
            is_loopback && matches!(url.scheme(), "http" | "https") && url.path() == "/consent/callback"
        };
        self.redirect_uris.iter().any(|known| known == uri)
            || (self.takes_loopback_callbacks && is_loopback_callback())
    }
}

/// One registered public key.
#[derive(Debug, Clone)]
pub(super) struct PublicKey {
    /// PKCS#1 DER, which is what signatures are verified with.
    pub(super) der: Vec<u8>,
    /// Whether it still counts.
    pub(super) is_active: bool,
}

/// An authorization code.
#[derive(Debug, Clone)]
pub(super) struct Code {
    /// For which integration key.
    pub(super) app: String,
    /// Who consented.
    pub(super) user: String,
    /// What was granted.
    pub(super) scopes: Vec<String>,
    /// The PKCE challenge (S256), for public clients.
    pub(super) challenge: Option<String>,
    /// When it dies.
    pub(super) expires: Timestamp,
    /// Whether it was used.
    pub(super) is_used: bool,
}

/// A refresh token.
#[derive(Debug, Clone)]
pub(super) struct RefreshToken {
    /// For which integration key.
    pub(super) app: String,
    /// Who logged in.
    pub(super) user: String,
    /// What was granted.
    pub(super) scopes: Vec<String>,
    /// Whether a public client holds it.
    pub(super) is_public: bool,
    /// When it dies; only `extended` moves this.
    pub(super) expires: Timestamp,
}

/// An access token.
#[derive(Debug, Clone)]
pub(super) struct AccessToken {
    /// For which integration key.
    pub(super) app: String,
    /// The user; none for an application token, which no account call accepts.
    pub(super) user: Option<String>,
    /// What it may do.
    pub(super) scopes: Vec<String>,
    /// When it dies.
    pub(super) expires: Timestamp,
    /// Whether it died early.
    pub(super) is_revoked: bool,
}

impl AccessToken {
    /// Whether it works.
    pub(super) fn is_alive(&self, now: Timestamp) -> bool {
        !self.is_revoked && now < self.expires
    }
}

impl Directory {
    /// The directory of a fresh start. `keys` are the public keys of the two integration keys.
    pub(super) fn stocked(keys: [Vec<u8>; 2], hmac_key: &str, now: Timestamp) -> Self {
        let mut directory = Self::default();
        directory.stock_accounts(hmac_key, now);
        directory.stock_users(now);
        let claimed = BTreeSet::from([CLAIMED_DOMAIN.to_owned()]);
        directory.claimed_domains.insert(ORGANISATION.to_owned(), claimed);
        let [first, second] = keys;
        directory.stock_apps(first, second);
        for (app, user) in [
            (INTEGRATION_KEY, USER),
            (INTEGRATION_KEY, ELSEWHERE_USER),
            (INTEGRATION_KEY, REMOTE_USER),
            (SECOND_INTEGRATION_KEY, USER),
        ] {
            for scope in FIRST_CONSENT {
                directory.consents.insert((app.to_owned(), user.to_owned(), scope.to_owned()));
            }
        }
        directory
    }

    fn stock_accounts(&mut self, hmac_key: &str, now: Timestamp) {
        let rows = [
            (ACCOUNT, "10000001", "Countersign Emulator Ltd", Some(ORGANISATION), None),
            (SECOND_ACCOUNT, "10000002", "Countersign Emulator Labs", Some(ORGANISATION), None),
            (OTHER_ACCOUNT, "10000003", "Somebody Else Inc", None, None),
            (REMOTE_ACCOUNT, "10000004", "Another Base URI", None, Some("https://eu.docusign.invalid")),
        ];
        for (id, number, name, organisation, elsewhere) in rows {
            let hmac_keys = match id {
                ACCOUNT => {
                    vec![HmacKey { id: "1".to_owned(), secret: hmac_key.to_owned(), created: now }]
                }
                _ => Vec::new(),
            };
            let account = Account {
                number: number.to_owned(),
                name: name.to_owned(),
                created: now.saturating_sub(SignedDuration::from_hours(24 * 400)).unwrap_or(now),
                organisation: organisation.map(str::to_owned),
                elsewhere: elsewhere.map(str::to_owned),
                settings: SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
                identity_verification: true,
                brands: (id == ACCOUNT)
                    .then(|| (BRAND.to_owned(), Brand { name: BRAND_NAME.to_owned(), ..Brand::default() }))
                    .into_iter()
                    .collect(),
                connect: ConnectSettings { configurations: BTreeMap::new(), hmac_keys },
            };
            self.accounts.insert(id.to_owned(), account);
        }
    }

    fn stock_users(&mut self, now: Timestamp) {
        let rows = [
            (USER, "Sofia", "Sender", "system@countersign.example", true, None),
            (NO_CONSENT_USER, "Nora", "Noconsent", "nora@countersign.example", true, None),
            (ELSEWHERE_USER, "Elias", "Elsewhere", "elias@elsewhere.example", true, None),
            (ORGANISATION_ADMIN, "Olga", "Orgadmin", "olga@countersign.example", true, Some(ORGANISATION)),
            (CLOSED_USER, "Clara", "Closed", "clara@countersign.example", false, None),
            (REMOTE_USER, "Rafael", "Remote", "rafael@remote.example", true, None),
            (GUEST_USER, "Gina", "Guest", "gina@agency.example", true, None),
        ];
        for (id, given_name, family_name, email, is_active, administers) in rows {
            let administers: Option<&str> = administers;
            let user = User {
                name: format!("{given_name} {family_name}"),
                given_name: given_name.to_owned(),
                family_name: family_name.to_owned(),
                email: email.to_owned(),
                is_active,
                administers: administers.map(str::to_owned),
                created: now.saturating_sub(SignedDuration::from_hours(24 * 400)).unwrap_or(now),
                signatures: Vec::new(),
            };
            self.users.insert(id.to_owned(), user);
        }
        let places = [
            (USER, ACCOUNT, true, true),
            (USER, SECOND_ACCOUNT, false, false),
            (NO_CONSENT_USER, ACCOUNT, true, false),
            (ELSEWHERE_USER, OTHER_ACCOUNT, true, true),
            (ORGANISATION_ADMIN, ACCOUNT, true, true),
            (CLOSED_USER, ACCOUNT, true, false),
            (REMOTE_USER, REMOTE_ACCOUNT, true, true),
            (GUEST_USER, ACCOUNT, true, false),
        ];
        for (user, account, is_default, is_admin) in places {
            let (user, account) = (user.to_owned(), account.to_owned());
            self.memberships.push(Membership { user, account, is_default, is_admin });
        }
    }

    fn stock_apps(&mut self, first: Vec<u8>, second: Vec<u8>) {
        let rows = [
            (INTEGRATION_KEY, "Countersign", "emulator-secret-1", first),
            (SECOND_INTEGRATION_KEY, "Countersign (second key)", "emulator-secret-2", second),
        ];
        for (id, name, secret, der) in rows {
            let app = App {
                name: name.to_owned(),
                secrets: vec![secret.to_owned()],
                keys: vec![PublicKey { der, is_active: true }],
                redirect_uris: vec![LANDING.to_owned()],
                takes_loopback_callbacks: true,
            };
            self.apps.insert(id.to_owned(), app);
        }
    }

    /// An account by GUID or by its short number: the GUID, and the account.
    pub(super) fn account(&self, id: &str) -> Option<(&str, &Account)> {
        let lower = id.to_ascii_lowercase();
        self.accounts
            .iter()
            .find(|(guid, account)| **guid == lower || account.number == id)
            .map(|(guid, account)| (guid.as_str(), account))
    }

    /// A user's place in an account.
    pub(super) fn membership(&self, user: &str, account: &str) -> Option<&Membership> {
        self.memberships.iter().find(|place| place.user == user && place.account == account)
    }

    /// Whether the user may sign in: known and not closed.
    pub(super) fn is_active(&self, user: &str) -> bool {
        self.users.get(user).is_some_and(|user| user.is_active)
    }

    /// Whether the user's address is in a domain that the organisation has claimed.
    pub(super) fn is_claimed(&self, user: &str, organisation: &str) -> bool {
        let domain = self.users.get(user).and_then(|user| user.email.rsplit_once('@'));
        let domain = domain.map(|(_, domain)| domain.to_ascii_lowercase());
        let claimed = self.claimed_domains.get(organisation);
        domain.zip(claimed).is_some_and(|(domain, claimed)| claimed.contains(&domain))
    }

    /// Whether the user has consented to the scope, or an administrator for everyone in the organisation's
    /// claimed domains ("Obtaining admin consent").
    pub(super) fn has_consent(&self, app: &str, user: &str, scope: &str) -> bool {
        let key = |owner: &str| (app.to_owned(), owner.to_owned(), scope.to_owned());
        self.consents.contains(&key(user))
            || self.memberships.iter().filter(|place| place.user == user).any(|place| {
                let organisation = self.accounts.get(&place.account).and_then(|a| a.organisation.as_deref());
                organisation.is_some_and(|owner| {
                    self.organisation_consents.contains(&key(owner)) && self.is_claimed(user, owner)
                })
            })
    }
}

/// The settings that decide something for embedded signing, as they are from the start: all of them are on or off. An
/// account has some 400 more.
pub(super) const SETTINGS: [(&str, &str); 14] = [
    ("allowInPerson", "true"),
    ("allowSMSDelivery", "true"),
    ("attachCompletedEnvelope", "false"),
    ("enableRecipientDomainValidation", "false"),
    ("enableSMSAuthentication", "true"),
    ("enableSequentialSigningAPI", "true"),
    ("envelopeIntegrationEnabled", "true"),
    ("inSessionEnabled", "true"),
    ("inSessionSuppressEmails", "true"),
    ("phoneAuthRecipientMayProvidePhoneNumber", "false"),
    ("senderMustAuthenticateSigning", "false"),
    ("signerMustHaveAccount", "false"),
    ("signerMustLoginToSign", "false"),
    ("universalSignatureOptIn", "false"),
];
