//! A signing as it is asked for: checked, not made yet.

use std::{collections::BTreeMap, time::Duration};

use crate::domain::{AuthenticatedBy, Document, Email, Phone, Private, SenderName};

/// The most documents a signing takes.
pub const MAX_DOCUMENTS: usize = 50;
/// The most signers a signing takes; the upstream allows 100 recipients.
pub const MAX_SIGNERS: usize = 100;
/// The longest name the upstream takes (signer.name, and the client user id).
pub const MAX_NAME: usize = 100;
/// The longest reference of a caller's own.
pub const MAX_REFERENCE: usize = 255;
/// The longest id of an authentication.
pub const MAX_AUTHENTICATION_ID: usize = 255;
/// The last turn of a signer.
pub const MAX_ORDER: u32 = 10_000;
/// The shortest tag of a language.
pub const MIN_LOCALE: usize = 2;
/// The longest tag of a language.
pub const MAX_LOCALE: usize = 10;
/// The longest e-mail subject the upstream takes; longer is an error there, not cut.
pub const MAX_SUBJECT: usize = 100;
/// The longest message the upstream takes (emailBlurb).
pub const MAX_MESSAGE: usize = 10_000;
/// The longest access code the upstream takes.
pub const MAX_ACCESS_CODE: usize = 50;
/// The longest return URL we keep. With a public listener it never reaches the upstream.
pub const MAX_RETURN_URL: usize = 2_000;
/// Where the upstream cuts a return URL (EnvelopeViews: createRecipient): the longest without a public listener.
pub const MAX_UPSTREAM_RETURN_URL: usize = 470;
/// The most entries of metadata, and of fields of one signer.
pub const MAX_ENTRIES: usize = 50;
/// The longest text in metadata and fields.
pub const MAX_TEXT: usize = 4_000;
/// The most origins that may frame the signing pages.
pub const MAX_FRAME_ANCESTORS: usize = 10;
/// The longest life of a signing.
pub const MAX_LIFE: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Everything a create needs. It holds personal data and document bytes, and shows neither.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The caller's own name for it.
    pub reference: Option<String>,
    /// The sender to send as.
    pub sender: SenderName,
    /// The subject; people see it in e-mails and in the upstream's web app.
    pub subject: Option<String>,
    /// A message to the signers.
    pub message: Option<String>,
    /// What is signed, in order.
    pub documents: Vec<Document>,
    /// Who signs.
    pub signers: Vec<NewSigner>,
    /// Whether the answer should hold a recipient view.
    pub view: bool,
    /// The language of the signing pages.
    pub locale: Option<String>,
    /// How long it may be signed.
    pub expires_in: Option<Duration>,
    /// Origins that may frame the signing pages.
    pub frame_ancestors: Vec<String>,
    /// The caller's own data.
    pub metadata: Private<BTreeMap<String, String>>,
}

/// One person who is to sign.
#[derive(Debug, Clone)]
pub struct NewSigner {
    /// The caller's name for them, unique within the signing.
    pub key: String,
    /// Their name.
    pub name: Private<String>,
    /// Their address.
    pub email: Email,
    /// Their role in the templates.
    pub role: Option<String>,
    /// Their turn.
    pub order: u32,
    /// Where the code goes that they must enter before they sign.
    pub sms: Option<Phone>,
    /// A code that the caller told them.
    pub access_code: Option<Private<String>>,
    /// What is filled in for them, by tab label.
    pub fields: Private<BTreeMap<String, String>>,
    /// How the caller authenticated them.
    pub authenticated_by: Option<AuthenticatedBy>,
    /// Where their browser goes in the end.
    pub return_url: Option<String>,
}

/// The upstream's words for how the app authenticated a person (EnvelopeViews: createRecipient,
/// `authenticationMethod`), and ours in snake_case.
pub const AUTHENTICATION_METHODS: &[(&str, &str)] = &[
    ("biometric", "Biometric"),
    ("email", "Email"),
    ("http_basic_auth", "HTTPBasicAuth"),
    ("kerberos", "Kerberos"),
    ("knowledge_based_auth", "KnowledgeBasedAuth"),
    ("none", "None"),
    ("paper_documents", "PaperDocuments"),
    ("password", "Password"),
    ("rsa_secure_id", "RSASecureID"),
    ("single_sign_on", "SingleSignOn_Other"),
    ("single_sign_on_active_directory", "SingleSignOn_MicrosoftActiveDirectory"),
    ("single_sign_on_info_card", "SingleSignOn_InfoCard"),
    ("single_sign_on_passport", "SingleSignOn_Passport"),
    ("single_sign_on_saml", "SingleSignOn_SAML"),
    ("single_sign_on_siteminder", "SingleSignOn_CASiteminder"),
    ("smartcard", "Smartcard"),
    ("ssl_mutual_auth", "SSLMutualAuth"),
    ("x509_certificate", "X509Certificate"),
];

/// The upstream's word for a method, by our word.
pub fn authentication_method(word: &str) -> Option<&'static str> {
    AUTHENTICATION_METHODS.iter().find(|(ours, _)| *ours == word).map(|(_, theirs)| *theirs)
}
