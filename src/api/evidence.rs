//! `GET /v1/signings/{id}/evidence`: all that proves a completed signing, as one file.

use axum::{body::Body, extract::State, response::Response};
use futures_util::TryStreamExt as _;
use http::{HeaderValue, header};
use serde::Serialize;

use crate::{
    api::{Problem, caller::Authenticated, exchange::Path, router::Api},
    domain::{CallerName, Signing, SigningId},
    esign::DocumentRef,
    evidence::{self, About},
    objects::show,
    store::Inbound,
};

/// Largest document that is put into a bundle, which is made in memory.
const DOCUMENT_LIMIT_BYTES: u64 = 64 * 1024 * 1024;

/// Bundles that are made at once.
pub const AT_ONCE: usize = 2;

/// Answers the bundle. It costs two calls upstream.
pub(super) async fn bundle(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: SigningId = id.parse().map_err(|_| Problem::not_found())?;
    let signing = api.signings.get(&caller.name, id).await?;
    let _turn = api.bundles.acquire().await.map_err(|_| Problem::new("shutting_down", "the daemon stops"))?;
    let mut files = Vec::new();
    for (name, document) in [("combined", DocumentRef::Combined), ("certificate", DocumentRef::Certificate)] {
        files.push((format!("documents/{name}.pdf"), read(&api, &caller.name, id, document).await?));
    }
    files.push(("signing.json".to_owned(), show::signing(&signing, &[], &[]).to_vec()));
    files.push(("timeline.json".to_owned(), show::timeline(&signing).to_vec()));
    files.extend(received(api.signings.received(&caller.name, id).await?));
    let audit = api.signings.audit();
    let lines = audit.slice(&id.to_string()).await.map_err(|error| {
        tracing::error!(%error, "the audit log cannot be read");
        Problem::new("provider_unavailable", "the daemon's own audit log cannot be read")
    })?;
    if let Some(lines) = lines {
        files.push(("audit.jsonl".to_owned(), lines));
    }
    let about = about(&signing, &api);
    let bytes = evidence::pack(about, files, &api.result_keys, |manifest| api.results.seal(manifest));
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    let name = HeaderValue::try_from(format!("attachment; filename=\"{id}.evidence.zip\""));
    headers.insert(header::CONTENT_DISPOSITION, name.expect("an id is a header value"));
    Ok(response)
}

fn about(signing: &Signing, api: &Api) -> About {
    About {
        signing: signing.id.to_string(),
        envelope: signing.envelope.as_ref().map(|envelope| envelope.as_str().to_owned()),
        status: signing.status.as_str().to_owned(),
        made_at: api.clock.now(),
        audit_head: api.signings.audit().head().map(|head| head.to_string()),
    }
}

async fn read(
    api: &Api,
    caller: &CallerName,
    id: SigningId,
    document: DocumentRef,
) -> Result<Vec<u8>, Problem> {
    let content = api.signings.document(caller, id, document).await?.content;
    if content.length() > DOCUMENT_LIMIT_BYTES {
        let detail = "a document is larger than 64 MiB; fetch the documents one by one";
        return Err(Problem::new("payload_too_large", detail));
    }
    let mut bytes = Vec::new();
    let mut pieces = std::pin::pin!(content.read(0, content.length()));
    let lost = |_| {
        Problem::new("provider_unavailable", "the document was lost here while it was read")
            .retry_after(std::time::Duration::from_secs(5))
    };
    while let Some(piece) = pieces.try_next().await.map_err(lost)? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// The events as they came, and when.
fn received(all: Vec<Inbound>) -> Vec<(String, Vec<u8>)> {
    #[derive(Serialize)]
    struct Entry {
        file: String,
        received_at: jiff::Timestamp,
        event: String,
    }
    let mut index = Vec::new();
    let mut files = Vec::new();
    for (at, inbound) in all.into_iter().enumerate() {
        let file = format!("events/{:04}.json", at + 1);
        index.push(Entry { file: file.clone(), received_at: inbound.received_at, event: inbound.event });
        files.push((file, inbound.body.reveal().to_vec()));
    }
    files.push(("events/index.json".to_owned(), show::to_bytes(&index).to_vec()));
    files
}
