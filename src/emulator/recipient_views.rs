//! `POST …/views/recipient`: the single-use address at which one embedded recipient signs.
//!
//! Everything must match what the envelope says now, to the letter; the address is good for one
//! opening within five minutes. Source: EnvelopeViews:createRecipient and concepts/embedding.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    ceremony,
    envelopes::{
        Outcome, Part, body,
        model::{Envelope, Fields, Kind, Recipient, RecipientStatus, Refusal, Status, invalid, refuse, text},
        only_the_sender,
    },
    http::{Answer, Call},
    judge::Rule,
    requests::Entry,
    schema::Body,
    state::World,
};

/// A recipient view can be opened for so long.
pub(super) const LIFE: SignedDuration = SignedDuration::from_secs(300);
/// A longer return URL is cut by the vendor.
const MAX_RETURN_URL: usize = 470;
/// Where the vendor's own frame comes from, in its two environments.
const APPS: [&str; 2] = ["https://apps-d.docusign.com", "https://apps.docusign.com"];
/// `authenticationMethod`, compared without case: samples send `none`.
const METHODS: [&str; 18] = [
    "Biometric",
    "Email",
    "HTTPBasicAuth",
    "Kerberos",
    "KnowledgeBasedAuth",
    "None",
    "PaperDocuments",
    "Password",
    "RSASecureID",
    "SingleSignOn_CASiteminder",
    "SingleSignOn_InfoCard",
    "SingleSignOn_MicrosoftActiveDirectory",
    "SingleSignOn_Other",
    "SingleSignOn_Passport",
    "SingleSignOn_SAML",
    "Smartcard",
    "SSLMutualAuth",
    "X509Certificate",
];

/// One recipient view.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// In the address.
    pub(super) guid: String,
    /// The secret in the address.
    pub(super) token: String,
    /// For which envelope.
    pub(super) envelope: String,
    /// For which recipient: the `recipientIdGuid`.
    pub(super) recipient: String,
    /// When it was made.
    pub(super) minted: Timestamp,
    /// Whether it was opened.
    pub(super) is_used: bool,
    /// Where the browser goes afterwards.
    pub(super) return_url: String,
    /// What the signing page is to call while it is open.
    pub(super) ping_url: Option<String>,
    /// `clientURLs`: other places for single outcomes.
    pub(super) client_urls: Fields,
    /// Who may show the ceremony in a frame, as `frame-ancestors` of a content security policy names them.
    pub(super) ancestors: Vec<String>,
    /// The number of the request that made it.
    pub(super) request: u64,
}

impl View {
    /// Whether it can still be opened.
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        !self.is_used && now.duration_since(self.minted) < LIFE
    }

    /// A used or stale one is remembered for a day, so that opening it still finds the way back.
    pub(super) fn is_worth_keeping(&self, now: Timestamp) -> bool {
        now.duration_since(self.minted) < SignedDuration::from_hours(24)
    }
}

/// Makes a view.
pub(super) fn create(world: &mut World, call: &Call, id: &str) -> Outcome {
    let given = body(call, Body::RecipientViewRequest)?;
    let fields = given.as_object().cloned().unwrap_or_default();
    let return_url = return_url(&fields)?;
    let ping_url = ping_url(&fields)?;
    let method = method(&fields)?;
    let named = origins(&fields, "frameAncestors")?;
    focused(&named, &origins(&fields, "messageOrigins")?)?;
    let ancestors = in_frames_of(&fields, named)?;
    let envelope = &world.envelopes.envelopes[id];
    // One that has ended can still be looked at: `viewing_complete` is said of it.
    if envelope.status == Status::Created {
        return Err(refuse(
            "ENVELOPE_INVALID_STATUS",
            format!(
                "The envelope status is not one that allows a recipient view: it is {}.",
                envelope.status.name()
            ),
        ));
    }
    let recipient = matching(envelope, &fields, call.user.as_deref())?;
    if Part::of(world, call, envelope) != Part::Sender && !is_user(recipient, call.user.as_deref()) {
        return Err(only_the_sender());
    }
    if recipient.status == RecipientStatus::Created && !envelope.status.is_final() {
        return Err(refuse(
            "RECIPIENT_NOT_IN_SEQUENCE",
            "The token for an out of sequence recipient cannot be generated.",
        ));
    }
    let guid = recipient.guid.clone();
    put_out(world, call, id, &guid);
    if let Some(recipient) =
        world.envelopes.envelopes.get_mut(id).and_then(|envelope| envelope.recipient_mut(&guid))
    {
        recipient.app_authentication = Some(method);
    }
    let view = View {
        guid: world.guid(),
        token: URL_SAFE_NO_PAD.encode(World::secret::<96>()),
        envelope: id.to_owned(),
        recipient: guid,
        minted: call.now,
        is_used: false,
        return_url,
        ping_url,
        client_urls: fields.get("clientURLs").and_then(Value::as_object).cloned().unwrap_or_default(),
        ancestors,
        request: call.number,
    };
    let address = format!("{}/Signing/MTRedeem/v1/{}?slt={}", call.origin, view.guid, view.token);
    world.envelopes.views.insert(view.guid.clone(), view);
    Ok(Answer::json(StatusCode::CREATED, json!({ "url": address })))
}

/// A new view puts out whoever is signing; the judge is told. A view that nobody has opened puts out nobody.
fn put_out(world: &mut World, call: &Call, envelope: &str, recipient: &str) {
    let mut earlier = Vec::new();
    world.envelopes.sessions.change(recipient, |session| {
        if session.is_live(call.now) {
            session.end(ceremony::Ending::ThrownOut);
            earlier.push(session.request);
        }
    });
    let World { judge, requests, .. } = world;
    if let Some(first) = earlier.first() {
        // It is one also where the request of the earlier view was forgotten since.
        let shown: Vec<&Entry> =
            [*first, call.number].into_iter().filter_map(|number| requests.entry(number)).collect();
        judge.broke(Rule::ViewReminted, &format!("{envelope}/{recipient}"), &shown);
    }
}

/// `pingUrl` and `pingFrequency`, checked as they are described. Gap: the pages have no script and call
/// nobody; `GET /_test/signers` tells the address, so that a test can.
fn ping_url(fields: &Fields) -> Result<Option<String>, Refusal> {
    let Some(address) = text(fields, "pingUrl").filter(|address| !address.is_empty()) else {
        return Ok(None);
    };
    let is_web = url::Url::parse(address).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    let frequency = text(fields, "pingFrequency").map_or(Ok(300_u32), str::parse);
    if !is_web || !frequency.is_ok_and(|seconds| (60..=1_200).contains(&seconds)) {
        return Err(invalid("'pingUrl' must be a web address, and 'pingFrequency' 60 to 1200 seconds."));
    }
    Ok(Some(address.to_owned()))
}

/// `returnUrl`, which a view must have.
pub(super) fn return_url(fields: &Fields) -> Result<String, Refusal> {
    let Some(address) = text(fields, "returnUrl") else {
        return Err(invalid("A value was not found for parameter 'returnUrl'."));
    };
    let has_scheme = address.split_once("://").is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && !scheme.is_empty()
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    });
    if !has_scheme || address.chars().any(|c| c.is_control() || c == ' ') {
        return Err(invalid("The returnUrl must be an absolute address that begins with its scheme."));
    }
    Ok(address.chars().take(MAX_RETURN_URL).collect())
}

fn method(fields: &Fields) -> Result<String, Refusal> {
    let Some(method) = text(fields, "authenticationMethod") else {
        return Err(invalid("A value was not found for parameter 'authenticationMethod'."));
    };
    METHODS
        .iter()
        .find(|known| known.eq_ignore_ascii_case(method))
        .map(|known| (*known).to_owned())
        .ok_or_else(|| invalid("The value of 'authenticationMethod' is not one that is known."))
}

/// Who may frame the ceremony: the `frameAncestors`, which browsers put before `X-Frame-Options`, or else what
/// `xFrameOptions` says; without either nobody.
fn in_frames_of(fields: &Fields, named: Vec<String>) -> Result<Vec<String>, Refusal> {
    let allowed = match text(fields, "xFrameOptions").map(str::to_ascii_lowercase).as_deref() {
        None | Some("deny") => Vec::new(),
        Some("same_origin") => vec!["'self'".to_owned()],
        Some("allow_from") => vec![allowed_from(fields)?],
        Some(_) => {
            return Err(invalid("'xFrameOptions' must be one of deny, same_origin, allow_from."));
        }
    };
    Ok(if named.is_empty() { allowed } else { named })
}

/// The origin of `xFrameOptionsAllowFromUrl`, which `allow_from` must have.
fn allowed_from(fields: &Fields) -> Result<String, Refusal> {
    let url = text(fields, "xFrameOptionsAllowFromUrl").and_then(|text| url::Url::parse(text).ok());
    url.filter(|url| matches!(url.scheme(), "http" | "https"))
        .map(|url| url.origin().ascii_serialization())
        .ok_or_else(|| invalid("'xFrameOptionsAllowFromUrl' must be a web address with 'allow_from'."))
}

/// Origins: https, or http on localhost, which developer accounts may use. `frameAncestors` are host sources of a content
/// security policy, which may have a path (SDK: the PHP sample eg044 sends one); browsers compare the origin alone.
fn origins(fields: &Fields, name: &str) -> Result<Vec<String>, Refusal> {
    let list = fields.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let may_have_path = name == "frameAncestors";
    let is_taken = |url: &url::Url| {
        let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1"));
        (url.scheme() == "https" || (url.scheme() == "http" && is_local))
            && (may_have_path || url.path() == "/")
            && url.query().is_none()
            && url.fragment().is_none()
    };
    list.map(|origin| {
        let url = url::Url::parse(origin).ok().filter(is_taken);
        let plain = url.map(|url| url.origin().ascii_serialization());
        plain.ok_or_else(|| {
            let path = if may_have_path { "a query" } else { "a path" };
            invalid(&format!("'{name}' must hold origins: https, or http on localhost, without {path}."))
        })
    })
    .collect()
}

/// Focused view: the vendor's own pages stand in the frame and tell the site's page what happens, so they
/// must be named in both lists, and nobody else may be told (how-to/request-signature-focused-view).
fn focused(ancestors: &[String], messages: &[String]) -> Result<(), Refusal> {
    let [told] = messages else {
        return match messages {
            [] => Ok(()),
            _ => Err(invalid("'messageOrigins' must hold one origin.")),
        };
    };
    if !APPS.contains(&told.as_str()) {
        return Err(invalid(
            "'messageOrigins' must be https://apps-d.docusign.com, or in production https://apps.docusign.com.",
        ));
    }
    let has_site = ancestors.iter().any(|origin| origin != told);
    if !ancestors.contains(told) || !has_site {
        return Err(invalid(
            "'frameAncestors' must hold the origin of your site and that of 'messageOrigins'.",
        ));
    }
    Ok(())
}

/// The recipient that the request means; every value must be what the envelope says now.
fn matching<'a>(
    envelope: &'a Envelope,
    fields: &Fields,
    caller: Option<&str>,
) -> Result<&'a Recipient, Refusal> {
    let (client, user) = (text(fields, "clientUserId"), text(fields, "userId"));
    let is_meant = |recipient: &&Recipient| {
        let is_same_client = recipient.client_user_id.as_deref() == client;
        // SPEC, "Sending to a remote signer": as that recipient, and without `clientUserId`.
        let is_own = is_same_client && is_user(recipient, caller);
        match (user, client) {
            (Some(user), Some(_)) => {
                // SPEC: with `clientUserId`, `userId` is a recipient's id; clients send the person's, too.
                let ids = [&recipient.user_id, &recipient.id, &recipient.guid];
                is_same_client
                    && ids.iter().any(|id| id.eq_ignore_ascii_case(user))
                    && agrees(recipient, fields)
            }
            (Some(user), None) => is_own && recipient.user_id.eq_ignore_ascii_case(user),
            (None, Some(_)) => is_same_client && is_called(recipient, fields),
            // The user of an in-person session is its host.
            (None, None) if recipient.kind == Kind::InPersonSigner => {
                is_same_client && is_host(recipient, fields)
            }
            (None, None) => is_own && is_called(recipient, fields),
        }
    };
    let by_id = |recipient: &&Recipient| {
        text(fields, "recipientId").is_none_or(|id| id == recipient.id || id == recipient.guid)
    };
    let mut found: Vec<&Recipient> = envelope.recipients.iter().filter(is_meant).filter(by_id).collect();
    found.sort_by_key(|recipient| (recipient.is_done(), !recipient.status.is_in_turn(), recipient.order));
    found.first().copied().ok_or_else(|| {
        refuse(
            "UNKNOWN_ENVELOPE_RECIPIENT",
            "The recipient you have identified is not a valid recipient of the specified envelope. Envelope recipient could not be determined. 'clientUserId', 'email', or 'userName' in request and envelope may not match.",
        )
    })
}

/// Whether this recipient is the user who asks.
fn is_user(recipient: &Recipient, caller: Option<&str>) -> bool {
    caller.is_some_and(|caller| recipient.user_id.eq_ignore_ascii_case(caller))
}

/// Whether name and e-mail are the recipient's, to the letter.
fn is_called(recipient: &Recipient, fields: &Fields) -> bool {
    text(fields, "userName") == Some(&recipient.name) && text(fields, "email") == Some(&recipient.email)
}

/// Whether this is the host of this in-person session, who opens it for the signer: a DocuSign user, and so without
/// `clientUserId` (SPEC: inPersonSigner.hostName; the vendor's sample eg039). That any member may ask is our reading.
fn is_host(recipient: &Recipient, fields: &Fields) -> bool {
    text(&recipient.given, "hostName").is_some_and(|host| text(fields, "userName") == Some(host))
        && text(fields, "email") == Some(&recipient.email)
}

/// With `userId`, name and e-mail may be left out, but must not be wrong.
fn agrees(recipient: &Recipient, fields: &Fields) -> bool {
    text(fields, "userName").is_none_or(|name| name == recipient.name)
        && text(fields, "email").is_none_or(|email| email == recipient.email)
}
