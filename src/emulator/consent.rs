//! The account server's pages: sign in, consent, and what is shown instead.
//!
//! Plain HTML forms, no script. The emulated users sign in by choice, without a password: what is
//! emulated is who consents to what, not who they are.
//!
//! Sources: developers.docusign.com, "Obtain consent" (individual, and for an organisation by
//! `admin_consent_scope`); RFC 6749 for what no page of the vendor says, above all refusal.

use std::collections::BTreeSet;

use http::{HeaderValue, Method, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    directory::Code,
    http::{Answer, Call},
    oauth::{self, SESSION_COOKIE},
    state::World,
};

/// Two minutes and five are both quoted for the vendor; a client should survive the shorter.
const CODE_LIFE: SignedDuration = SignedDuration::from_mins(2);
/// Parameters that go from page to page.
const PARAMETERS: [&str; 9] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "admin_consent_scope",
    "state",
    "prompt",
    "code_challenge",
    "code_challenge_method",
];

/// `GET` and `POST /oauth/auth`.
pub(super) fn route(world: &mut World, call: &Call) -> Answer {
    let given = match call.method {
        Method::GET => call.query.clone(),
        Method::POST => call.form(),
        _ => return Answer::empty(StatusCode::METHOD_NOT_ALLOWED),
    };
    match Asked::read(world, given) {
        Ok(asked) if call.method == Method::GET => begin(world, call, &asked),
        Ok(asked) => go_on(world, call, &asked),
        Err(answer) => answer,
    }
}

/// What the application asked for; its redirect URI is registered.
#[derive(Debug)]
struct Asked {
    given: Vec<(String, String)>,
    app: String,
    app_name: String,
    redirect_uri: String,
    scopes: Vec<String>,
    for_organisation: Vec<String>,
}

impl Asked {
    fn read(world: &World, given: Vec<(String, String)>) -> Result<Self, Answer> {
        let field = |name: &str| {
            given.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        // Each once: the vendor's IAM SDK asks for `signature` five times.
        let words = |name: &str| {
            let mut words: Vec<String> = Vec::new();
            for word in field(name).split_whitespace() {
                if !words.iter().any(|known| known == word) {
                    words.push(word.to_owned());
                }
            }
            words
        };
        let app = field("client_id").to_ascii_lowercase();
        let Some(known) = world.directory.apps.get(&app) else {
            return Err(problem(
                "The client ID provided is not registered with Docusign",
                "No integration key of this environment has that id.",
            ));
        };
        let redirect_uri = field("redirect_uri");
        if !known.is_registered(&redirect_uri) {
            return Err(problem(
                "The redirect URI is not registered properly with Docusign",
                "It must equal one of the integration key's redirect URIs to the letter, scheme and slash \
                 included. On the emulator: POST /_test/redirect_uris registers one.",
            ));
        }
        let (scopes, for_organisation) = (words("scope"), words("admin_consent_scope"));
        let app_name = known.name.clone();
        let asked = Self { given, app, app_name, redirect_uri, scopes, for_organisation };
        match asked.field("response_type") {
            "code" | "token" => {}
            _ => return Err(asked.back(&[("error", "unsupported_response_type")])),
        }
        if asked.scopes.is_empty() {
            return Err(asked.back(&[("error", "invalid_scope")]));
        }
        let method = asked.field("code_challenge_method");
        if !asked.field("code_challenge").is_empty() && !method.eq_ignore_ascii_case("s256") {
            return Err(asked.back(&[("error", "invalid_request")]));
        }
        Ok(asked)
    }

    fn field(&self, name: &str) -> &str {
        self.given.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// Sends the browser back to the application.
    fn back(&self, answer: &[(&str, &str)]) -> Answer {
        let Ok(mut to) = url::Url::parse(&self.redirect_uri) else {
            return problem("The redirect URI is not registered properly with Docusign", "It is not a URI.");
        };
        let state = self.field("state");
        let state = (!state.is_empty()).then_some(("state", state));
        let pairs = answer.iter().copied().chain(state);
        if self.field("response_type") == "token" {
            let fragment = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
            to.set_fragment(Some(&fragment));
        } else {
            to.query_pairs_mut().extend_pairs(pairs);
        }
        Answer::redirect(to.as_str())
    }

    /// Hidden fields that carry the question to the next page.
    fn carried(&self) -> Markup {
        html! {
            @for name in PARAMETERS {
                @if !self.field(name).is_empty() {
                    input type="hidden" name=(name) value=(self.field(name));
                }
            }
        }
    }
}

fn begin(world: &mut World, call: &Call, asked: &Asked) -> Answer {
    match signed_in(world, call) {
        Some(user) if asked.field("prompt") != "login" => ask(world, call, asked, &user),
        _ => sign_in_page(world, asked),
    }
}

fn go_on(world: &mut World, call: &Call, asked: &Asked) -> Answer {
    let user = asked.field("user");
    if !user.is_empty() {
        if !world.directory.is_active(user) {
            return problem("You cannot sign in", "This user is not active.");
        }
        let session = uuid::Uuid::from_bytes(World::secret()).simple().to_string();
        world.directory.sessions.insert(session.clone(), user.to_owned());
        let cookie = format!("{SESSION_COOKIE}={session}; Path=/; HttpOnly; SameSite=Lax");
        let answer = ask(world, call, asked, user);
        return match HeaderValue::from_str(&cookie) {
            Ok(cookie) => answer.with(header::SET_COOKIE, cookie),
            Err(_) => answer,
        };
    }
    match (asked.field("action"), signed_in(world, call)) {
        ("cancel", _) => asked.back(&[("error", "access_denied")]),
        ("accept", Some(user)) => accept(world, call, asked, &user),
        _ => sign_in_page(world, asked),
    }
}

fn signed_in(world: &World, call: &Call) -> Option<String> {
    let user = world.directory.sessions.get(&call.cookie(SESSION_COOKIE)?)?;
    world.directory.is_active(user).then(|| user.clone())
}

/// For which organisation the user may decide; none if nothing is asked for one.
fn organisation_of(world: &World, asked: &Asked, user: &str) -> Result<Option<String>, Answer> {
    if asked.for_organisation.is_empty() {
        return Ok(None);
    }
    let Some(owner) = world.directory.users.get(user).and_then(|user| user.administers.clone()) else {
        return Err(problem(
            "Only an organization administrator can grant this",
            "The application asks for consent for everyone in the organization. Sign in as its administrator.",
        ));
    };
    // The vendor says for whom the consent counts, and not what its page says if that is nobody: inferred.
    if world.directory.claimed_domains.get(&owner).is_none_or(BTreeSet::is_empty) {
        return Err(problem(
            "The organization has no claimed domain",
            "An administrator decides for the users whose addresses are in the organization's claimed domains; \
             there is none yet. On the emulator: POST /_test/domains claims some.",
        ));
    }
    Ok(Some(owner))
}

/// Asks a signed-in user, unless there is nothing left to ask.
fn ask(world: &mut World, call: &Call, asked: &Asked, user: &str) -> Answer {
    if let Err(answer) = organisation_of(world, asked, user) {
        return answer;
    }
    let has_all = asked.scopes.iter().all(|scope| world.directory.has_consent(&asked.app, user, scope));
    if asked.for_organisation.is_empty() && has_all {
        return grant(world, call, asked, user);
    }
    consent_page(world, asked, user)
}

fn accept(world: &mut World, call: &Call, asked: &Asked, user: &str) -> Answer {
    let organisation = match organisation_of(world, asked, user) {
        Ok(organisation) => organisation,
        Err(answer) => return answer,
    };
    for (owner, scope) in
        organisation.iter().flat_map(|owner| asked.for_organisation.iter().map(move |scope| (owner, scope)))
    {
        let consent = (asked.app.clone(), owner.clone(), scope.clone());
        world.directory.organisation_consents.insert(consent);
    }
    for scope in &asked.scopes {
        world.directory.consents.insert((asked.app.clone(), user.to_owned(), scope.clone()));
    }
    grant(world, call, asked, user)
}

/// Back to the application with a code, or with a token in the implicit form.
fn grant(world: &mut World, call: &Call, asked: &Asked, user: &str) -> Answer {
    if asked.field("response_type") == "token" {
        let life = (call.now, oauth::CODE_TOKEN_LIFE);
        let token = oauth::issue(world, &asked.app, Some(user), &asked.scopes, life);
        let seconds = oauth::CODE_TOKEN_LIFE.as_secs().to_string();
        return asked.back(&[("access_token", &token), ("expires_in", &seconds), ("token_type", "bearer")]);
    }
    let challenge = asked.field("code_challenge");
    let code = Code {
        app: asked.app.clone(),
        user: user.to_owned(),
        scopes: asked.scopes.clone(),
        challenge: (!challenge.is_empty()).then(|| challenge.to_owned()),
        expires: call.now.saturating_add(CODE_LIFE).unwrap_or(Timestamp::MAX),
        is_used: false,
    };
    let text = oauth::opaque();
    world.directory.codes.insert(text.clone(), code);
    asked.back(&[("code", &text)])
}

fn sign_in_page(world: &World, asked: &Asked) -> Answer {
    let users = world.directory.users.iter().filter(|(_, user)| user.is_active);
    let page = html! {
        h1 { "Sign in" }
        p { "to continue to " strong { (asked.app_name) } ". Choose an emulated user; no password is asked." }
        form method="post" action="/oauth/auth" {
            (asked.carried())
            ul.choices {
                @for (id, user) in users {
                    li {
                        button.choice type="submit" name="user" value=(id) {
                            span.name { (user.name) }
                            @if user.administers.is_some() { span.tag { "organization administrator" } }
                            span.detail { (user.email) }
                            span.detail { code { (id) } }
                        }
                    }
                }
            }
        }
    };
    Answer::html(StatusCode::OK, frame("Sign in", &page))
}

fn consent_page(world: &World, asked: &Asked, user: &str) -> Answer {
    let name = world.directory.users.get(user).map_or("", |user| user.name.as_str());
    let is_admin = !asked.for_organisation.is_empty();
    let scopes = if is_admin { &asked.for_organisation } else { &asked.scopes };
    let page = html! {
        h1 { strong { (asked.app_name) } " asks for access" }
        p {
            "You are signed in as " strong { (name) } ". "
            @if is_admin { "You decide for everyone in your organization's claimed domains: " (domains(world, user)) "." } @else { "If you accept, it may:" }
        }
        ul.scopes {
            @for scope in scopes { li { strong { (scope) } span.detail { (meaning(scope)) } } }
        }
        form method="post" action="/oauth/auth" {
            (asked.carried())
            p.actions {
                button.primary type="submit" name="action" value="accept" { "Accept" }
                button type="submit" name="action" value="cancel" { "Cancel" }
            }
        }
    };
    Answer::html(StatusCode::OK, frame("Consent", &page))
}

fn domains(world: &World, admin: &str) -> String {
    let owner = world.directory.users.get(admin).and_then(|user| user.administers.as_ref());
    let claimed = owner.and_then(|owner| world.directory.claimed_domains.get(owner)).into_iter().flatten();
    claimed.map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn meaning(scope: &str) -> &'static str {
    match scope {
        "signature" => "Create and send envelopes, and see their status",
        "impersonation" => "Do so on your behalf while you are away",
        "extended" => "Stay signed in for longer",
        "openid" => "See who you are",
        "cors" => "Call from a page in the browser",
        _ => "A permission of another API",
    }
}

/// The page after signing out.
pub(super) fn signed_out() -> Answer {
    let page = html! {
        h1 { "You are signed out" }
        p { "You can close this page." }
    };
    Answer::html(StatusCode::OK, frame("Signed out", &page))
}

/// The account server's own error page: no redirect, because the address is not to be trusted.
fn problem(title: &str, detail: &str) -> Answer {
    let page = html! {
        h1 { (title) }
        p { (detail) }
    };
    Answer::html(StatusCode::BAD_REQUEST, frame(title, &page))
}

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1c2230;--soft:#5a6375;--line:#d5dae3;--back:#f3f5f9;--card:#fff;--act:#2d5bd7;--on:#fff}
@media (prefers-color-scheme:dark){:root{--ink:#e9ecf3;--soft:#a3adc0;--line:#3a4254;--back:#12161f;--card:#1b212d;--act:#7fa2ff;--on:#0c1020}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1rem;background:var(--back);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}
main{width:100%;max-width:32rem;background:var(--card);border:1px solid var(--line);border-radius:12px;padding:2rem;overflow-wrap:anywhere}
h1{margin:0 0 .5rem;font-size:1.4rem;line-height:1.25}
p{margin:.5rem 0 1rem}
ul{list-style:none;margin:0 0 1rem;padding:0}
.scopes li{padding:.6rem 0;border-bottom:1px solid var(--line)}
.detail{display:block;color:var(--soft);font-size:.85rem}
.tag{display:inline-block;margin-left:.5rem;padding:0 .5rem;border:1px solid var(--line);border-radius:1rem;font-size:.75rem}
button{font:inherit;padding:.6rem 1.2rem;border:1px solid var(--line);border-radius:8px;background:none;color:inherit;cursor:pointer}
button:focus-visible{outline:3px solid var(--act);outline-offset:2px}
.primary{background:var(--act);border-color:var(--act);color:var(--on)}
.choice{display:block;width:100%;margin-bottom:.5rem;text-align:left}
.choice:hover{border-color:var(--act)}
.name{font-weight:600}
.actions{display:flex;gap:.75rem;margin:1.5rem 0 0}
footer{margin-top:1.5rem;padding-top:1rem;border-top:1px solid var(--line);color:var(--soft);font-size:.8rem}
";

fn frame(title: &str, content: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (title) " | DocuSign emulator" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (content)
                    footer { "This is the countersign emulator, not DocuSign." }
                }
            }
        }
    }
    .into_string()
}
