//! What can be said of a draft before anything is spent: are the documents PDFs, and are the anchors in them?

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    domain::{Anchors, Document, Draft, document::Anchor},
    objects::{Invalids, invalid::token},
    pdf,
    signing::Signings,
};

/// Documents larger than this (in base64) are read on a thread of their own, not between other requests.
const LARGE: usize = 128 * 1024;

impl Signings {
    /// Checks the documents of a draft and gives it back. Nothing is sent and nothing is stored.
    pub async fn preflight(&self, draft: Draft) -> Result<Draft, Invalids> {
        let size: usize = draft.documents.iter().map(size).sum();
        let (draft, faults) = if size <= LARGE {
            check(draft)
        } else {
            // A panic of the reader is a fault of the document as far as the caller is concerned.
            tokio::task::spawn_blocking(move || check(draft)).await.map_err(|_| unreadable())?
        };
        if faults.is_empty() { Ok(draft) } else { Err(faults) }
    }
}

fn unreadable() -> Invalids {
    let mut faults = Invalids::default();
    faults.wrong("/documents", pdf::Error::Unreadable.to_string());
    faults
}

fn size(document: &Document) -> usize {
    match document {
        Document::File { content, .. } => content.base64().len(),
        Document::Template { .. } => 0,
    }
}

fn check(draft: Draft) -> (Draft, Invalids) {
    let mut faults = Invalids::default();
    for (at, document) in draft.documents.iter().enumerate() {
        let Document::File { content, anchors, .. } = document else { continue };
        let place = format!("/documents/{at}");
        let Ok(bytes) = STANDARD.decode(content.base64()) else {
            faults.wrong(
                format!("{place}/content_base64"),
                "is not base64 (RFC 4648, with padding, no line breaks)",
            );
            continue;
        };
        let texts: Vec<&str> = anchors.0.values().flat_map(Anchor::texts).collect();
        match pdf::missing_texts(&bytes, &texts) {
            Ok(missing) => name_missing(&mut faults, &place, anchors, &missing),
            Err(error) => faults.wrong(format!("{place}/content_base64"), error.to_string()),
        }
    }
    (draft, faults)
}

fn name_missing(faults: &mut Invalids, place: &str, anchors: &Anchors, missing: &[&str]) {
    const DETAIL: &str = "this text is not in the document";
    for (kind, anchor) in &anchors.0 {
        let here = format!("{place}/anchors/{}", kind.as_str());
        match anchor {
            Anchor::Everyone(text) if missing.contains(&text.as_str()) => {
                faults.add(here, "anchor_not_found", DETAIL);
            }
            Anchor::Everyone(_) => {}
            Anchor::Each(by_key) => {
                for (key, _) in by_key.iter().filter(|(_, text)| missing.contains(&text.as_str())) {
                    faults.add(format!("{here}/{}", token(key)), "anchor_not_found", DETAIL);
                }
            }
        }
    }
}
