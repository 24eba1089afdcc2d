//! The account server: tokens, who they are, and signing out.
//!
//! It never says more than the vendor does: an OAuth error and, for some, a description. Every grant
//! error is a 400, as all observed ones are. The consent page is in [`super::consent`].
//!
//! Sources: developers.docusign.com/platform/auth/reference and below; error texts from the developer
//! FAQ and from bug reports against the official SDKs.

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use http::{HeaderValue, Method, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    directory::{AccessToken, RefreshToken},
    http::{Answer, Call},
    state::World,
};

mod assertion;
#[cfg(test)]
mod tests;

/// JWT access tokens live an hour, whatever the assertion says.
const JWT_TOKEN_LIFE: SignedDuration = SignedDuration::from_secs(3_600);
/// Tokens of the code grant live 8 hours.
pub(super) const CODE_TOKEN_LIFE: SignedDuration = SignedDuration::from_secs(28_800);
const REFRESH_TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(24 * 30);
const JWT_GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The browser's session on the account server.
pub(super) const SESSION_COOKIE: &str = "countersign_emulator_session";

/// A refused grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refusal {
    error: &'static str,
    description: Option<&'static str>,
}

impl Refusal {
    /// `invalid_grant` with a description.
    const fn grant(description: &'static str) -> Self {
        Self { error: "invalid_grant", description: Some(description) }
    }

    /// An error without a description.
    const fn bare(error: &'static str) -> Self {
        Self { error, description: None }
    }

    fn answer(self) -> Answer {
        let body = match self.description {
            Some(description) => json!({ "error": self.error, "error_description": description }),
            None => json!({ "error": self.error }),
        };
        uncached(Answer::json(StatusCode::BAD_REQUEST, body))
    }
}

/// The paths of the account server but for the consent page.
pub(super) fn route(world: &mut World, call: &Call) -> Option<Answer> {
    let route = call.route();
    let answer = match (route.as_slice(), &call.method) {
        (["oauth", "token"], &Method::POST) => token(world, call).unwrap_or_else(Refusal::answer),
        (["oauth", "userinfo"], &Method::GET) => user_info(world, call),
        ([".well-known", "openid-configuration"], &Method::GET) => configuration(call),
        (["logout"] | ["oauth", "logout"], &Method::GET) => sign_out(world, call),
        (["oauth", "token" | "userinfo"], _) => Answer::empty(StatusCode::METHOD_NOT_ALLOWED),
        _ => return None,
    };
    Some(answer)
}

/// The bearer token of a request.
pub(super) fn bearer(call: &Call) -> Option<&str> {
    let (scheme, token) = call.header("authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Ends a token before its time.
pub(super) fn kill(world: &mut World, token: &str) {
    let Some(token) = world.directory.access_tokens.get_mut(token) else { return };
    token.is_revoked = true;
    world.judge.died(&owner(&token.app, token.user.as_deref()));
}

/// Tells the judge that a token is dead as far as the client knows, though it lives.
pub(super) fn mourn(world: &mut World, token: &str) {
    let Some(token) = world.directory.access_tokens.get(token) else { return };
    world.judge.died(&owner(&token.app, token.user.as_deref()));
}

/// How the judge names who mints.
pub(super) fn owner(app: &str, user: Option<&str>) -> String {
    format!("{app} {}", user.unwrap_or("(application)"))
}

/// Makes an access token and remembers it.
pub(super) fn issue(
    world: &mut World,
    app: &str,
    user: Option<&str>,
    scopes: &[String],
    (now, life): (Timestamp, SignedDuration),
) -> String {
    let text = opaque();
    let token = AccessToken {
        app: app.to_owned(),
        user: user.map(str::to_owned),
        scopes: scopes.to_vec(),
        expires: now.saturating_add(life).unwrap_or(Timestamp::MAX),
        is_revoked: false,
    };
    let tokens = &mut world.directory.access_tokens;
    // Long dead ones are forgotten, so that a soak test does not grow.
    let day = SignedDuration::from_hours(24);
    tokens.retain(|_, token| token.expires.saturating_add(day).is_ok_and(|gone| now < gone));
    tokens.insert(text.clone(), token);
    text
}

/// A text that looks like the vendor's tokens and codes: the form of a JWT around binary content.
pub(super) fn opaque() -> String {
    let kid = uuid::Uuid::from_bytes(World::secret()).to_string();
    let header = json!({ "typ": "MT", "alg": "RS256", "kid": kid }).to_string();
    let parts = [header.as_bytes(), &World::secret::<160>(), &World::secret::<256>()];
    parts.map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).join(".")
}

/// `POST /oauth/token`.
fn token(world: &mut World, call: &Call) -> Result<Answer, Refusal> {
    if call.media_type() != "application/x-www-form-urlencoded" {
        return Err(Refusal::bare("invalid_grant"));
    }
    let form = call.form();
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    match field("grant_type") {
        Some(JWT_GRANT) => jwt_grant(world, call, field("assertion")),
        Some("authorization_code") => {
            let client = Client::of(call, field)?;
            code_grant(world, call, &client, field)
        }
        Some("refresh_token") => {
            let client = Client::of(call, field)?;
            refresh_grant(world, call, &client, field("refresh_token").unwrap_or_default())
        }
        _ => Err(Refusal::grant("unsupported_grant_type")),
    }
}

fn jwt_grant(world: &mut World, call: &Call, assertion: Option<&str>) -> Result<Answer, Refusal> {
    let assertion = assertion.ok_or(Refusal::bare("invalid_grant"))?;
    let granted = assertion::check(&world.directory, assertion, &hosts(world, call), call.now)?;
    let user = granted.user.as_deref();
    let token = issue(world, &granted.app, user, &granted.scopes, (call.now, JWT_TOKEN_LIFE));
    note_mint(world, call, &owner(&granted.app, user), JWT_TOKEN_LIFE);
    Ok(uncached(Answer::ok(json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": JWT_TOKEN_LIFE.as_secs(),
    }))))
}

/// Tells the judge that the application got a token by itself. A code is not: a person stands behind each.
fn note_mint(world: &mut World, call: &Call, owner: &str, life: SignedDuration) {
    let expires = call.now.saturating_add(life).unwrap_or(Timestamp::MAX);
    if let Some(entry) = world.requests.entry(call.number) {
        world.judge.minted(owner, entry, expires);
    }
}

/// The names under which this server may be addressed in `aud`: its own, and the request's `Host`.
fn hosts(world: &World, call: &Call) -> Vec<String> {
    let host = |origin: &str| origin.split_once("://").map(|(_, host)| host.to_owned());
    let own = host(&world.setup.origin);
    let as_name =
        own.as_deref().and_then(|own| own.rsplit_once(':')).map(|(_, port)| format!("localhost:{port}"));
    [own, as_name, host(&call.origin)].into_iter().flatten().collect()
}

/// Who redeems a code or a refresh token.
#[derive(Debug)]
struct Client {
    app: String,
    secret: Option<String>,
}

impl Client {
    /// From Basic credentials or from the form.
    fn of<'a>(call: &'a Call, field: impl Fn(&str) -> Option<&'a str>) -> Result<Self, Refusal> {
        let malformed = Refusal::bare("invalid_grant");
        let Some(value) = call.header("authorization") else {
            let app = field("client_id").ok_or(malformed)?.to_ascii_lowercase();
            return Ok(Self { app, secret: field("client_secret").map(str::to_owned) });
        };
        let (_, credentials) = value
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .ok_or(malformed)?;
        let decoded = BASE64_STANDARD.decode(credentials.trim()).map_err(|_| malformed)?;
        let decoded = String::from_utf8(decoded).map_err(|_| malformed)?;
        let (app, secret) = decoded.split_once(':').ok_or(malformed)?;
        Ok(Self { app: app.to_ascii_lowercase(), secret: Some(secret.to_owned()) })
    }

    /// Whether it proved itself with a secret; a public client has none to prove.
    fn is_confidential(&self, world: &World) -> Result<bool, Refusal> {
        let app = world.directory.apps.get(&self.app).ok_or(Refusal::grant("unauthorized_client"))?;
        match &self.secret {
            Some(secret) if app.secrets.contains(secret) => Ok(true),
            Some(_) => Err(Refusal::grant("expired_client_token")),
            None => Ok(false),
        }
    }
}

fn code_grant<'a>(
    world: &mut World,
    call: &Call,
    client: &Client,
    field: impl Fn(&str) -> Option<&'a str>,
) -> Result<Answer, Refusal> {
    let is_confidential = client.is_confidential(world)?;
    let stale = Refusal::grant("expired_client_token");
    let code = world.directory.codes.get_mut(field("code").unwrap_or_default()).ok_or(stale)?;
    if code.app != client.app || code.is_used || call.now >= code.expires {
        return Err(stale);
    }
    if let Some(challenge) = &code.challenge {
        let verifier = field("code_verifier").unwrap_or_default();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
        if BASE64_URL_SAFE_NO_PAD.encode(digest) != challenge.trim_end_matches('=') {
            return Err(Refusal::bare("invalid_grant"));
        }
    } else if !is_confidential {
        return Err(Refusal::grant("unauthorized_client"));
    }
    // A `redirect_uri`, which RFC 6749 would have compared, is not looked at: the vendor lists none here, and its sample
    // in Java sends a path alone.
    code.is_used = true;
    let code = code.clone();
    let expires = call.now.saturating_add(REFRESH_TOKEN_LIFE).unwrap_or(Timestamp::MAX);
    let refresh = RefreshToken {
        app: code.app,
        user: code.user,
        scopes: code.scopes,
        is_public: !is_confidential,
        expires,
    };
    Ok(renewable(world, call, refresh))
}

fn refresh_grant(world: &mut World, call: &Call, client: &Client, text: &str) -> Result<Answer, Refusal> {
    let is_confidential = client.is_confidential(world)?;
    let stale = Refusal::bare("invalid_grant");
    let known = world.directory.refresh_tokens.get(text).ok_or(stale)?;
    let fits = known.app == client.app && (is_confidential || known.is_public);
    if !fits || call.now >= known.expires || !world.directory.is_active(&known.user) {
        return Err(stale);
    }
    // Rotation: the old one dies with the answer that carries the new one.
    let mut refresh = world.directory.refresh_tokens.remove(text).ok_or(stale)?;
    if refresh.scopes.iter().any(|scope| scope == "extended") {
        refresh.expires = call.now.saturating_add(REFRESH_TOKEN_LIFE).unwrap_or(Timestamp::MAX);
    }
    note_mint(world, call, &owner(&refresh.app, Some(&refresh.user)), CODE_TOKEN_LIFE);
    Ok(renewable(world, call, refresh))
}

/// An access token, and the refresh token that goes with it.
fn renewable(world: &mut World, call: &Call, refresh: RefreshToken) -> Answer {
    let life = (call.now, CODE_TOKEN_LIFE);
    let access = issue(world, &refresh.app, Some(&refresh.user), &refresh.scopes, life);
    let (text, scope) = (opaque(), refresh.scopes.join(" "));
    world.directory.refresh_tokens.insert(text.clone(), refresh);
    uncached(Answer::ok(json!({
        "access_token": access,
        "token_type": "Bearer",
        "refresh_token": text,
        "expires_in": CODE_TOKEN_LIFE.as_secs(),
        "scope": scope,
    })))
}

/// `GET /oauth/userinfo`.
fn user_info(world: &mut World, call: &Call) -> Answer {
    let unauthorised = |body: Value| {
        let challenge = HeaderValue::from_static("Bearer");
        Answer::json(StatusCode::UNAUTHORIZED, body).with(header::WWW_AUTHENTICATE, challenge)
    };
    let Some(token) = bearer(call) else { return unauthorised(json!({ "error": "invalid_request" })) };
    let Some(token) = world.directory.access_tokens.get(token).cloned() else {
        return unauthorised(json!({ "error": "invalid_token" }));
    };
    let Some(user) = token.user.filter(|_| call.now < token.expires && !token.is_revoked) else {
        // What the vendor says of a token that was good once.
        let reference = world.guid();
        return unauthorised(json!({ "error": "internal_server_error", "reference_id": reference }));
    };
    world.judge.used(&owner(&token.app, Some(&user)));
    let directory = &world.directory;
    let Some(person) = directory.users.get(&user) else {
        return unauthorised(json!({ "error": "invalid_token" }));
    };
    let places = directory.memberships.iter().filter(|place| place.user == user);
    let accounts: Vec<Value> = places
        .filter_map(|place| {
            let account = directory.accounts.get(&place.account)?;
            let mut row = json!({
                "account_id": place.account,
                "is_default": place.is_default,
                "account_name": account.name,
                "base_uri": account.elsewhere.as_deref().unwrap_or(&call.origin),
            });
            if let Some(organisation) = &account.organisation {
                let href = format!("{}/v1/organizations/{organisation}", call.origin);
                let links = json!([{ "rel": "self", "href": href }]);
                row["organization"] = json!({ "organization_id": organisation, "links": links });
            }
            Some(row)
        })
        .collect();
    Answer::ok(json!({
        "sub": user,
        "name": person.name,
        "given_name": person.given_name,
        "family_name": person.family_name,
        "created": person.created.strftime("%Y-%m-%dT%H:%M:%S.%2f").to_string(),
        "email": person.email,
        "accounts": accounts,
    }))
}

/// `GET /.well-known/openid-configuration`.
fn configuration(call: &Call) -> Answer {
    let origin = &call.origin;
    Answer::ok(json!({
        "issuer": format!("{origin}/"),
        "authorization_endpoint": format!("{origin}/oauth/auth"),
        "token_endpoint": format!("{origin}/oauth/token"),
        "userinfo_endpoint": format!("{origin}/oauth/userinfo"),
        "response_types_supported": ["code", "token"],
        "grant_types_supported": ["authorization_code", "refresh_token", JWT_GRANT],
        "subject_types_supported": ["public"],
        "scopes_supported": ["signature", "impersonation", "extended", "openid", "cors"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
    }))
}

/// `GET /logout`: ends the browser's session, and goes to a registered address if one is given.
fn sign_out(world: &mut World, call: &Call) -> Answer {
    if let Some(session) = call.cookie(SESSION_COOKIE) {
        world.directory.sessions.remove(&session);
    }
    let to = call.query("redirect_uri").filter(|to| {
        let app = call.query("client_id").and_then(|app| world.directory.apps.get(app));
        app.is_some_and(|app| app.is_registered(to))
    });
    let answer = match to {
        Some(to) => Answer::redirect(to),
        None => super::consent::signed_out(),
    };
    let gone = format!("{SESSION_COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
    match HeaderValue::from_str(&gone) {
        Ok(gone) => answer.with(header::SET_COOKIE, gone),
        Err(_) => answer,
    }
}

fn uncached(answer: Answer) -> Answer {
    answer
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
        .with(header::PRAGMA, HeaderValue::from_static("no-cache"))
}
