//! What can be said of a draft before anything is spent: are the documents PDFs, and are the anchors in them?

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    domain::{Document, Draft, document::Anchor},
    objects::{Invalids, invalid::token},
    pdf,
    signing::Signings,
};

impl Signings {
    /// Checks the documents of a draft. Nothing is sent and nothing is stored.
    pub fn preflight(&self, draft: &Draft) -> Result<(), Invalids> {
        let mut faults = Invalids::default();
        for (at, document) in draft.documents.iter().enumerate() {
            let Document::File { content, anchors, .. } = document else { continue };
            let place = format!("/documents/{at}");
            let Ok(bytes) = STANDARD.decode(content.base64()) else {
                faults.wrong(format!("{place}/content_base64"), "is not base64 (RFC 4648, with padding, no line breaks)");
                continue;
            };
            let texts: Vec<&str> = anchors.0.values().flat_map(Anchor::texts).collect();
            match pdf::missing_texts(&bytes, &texts) {
                Ok(missing) if missing.is_empty() => {}
                Ok(missing) => name_missing(&mut faults, &place, anchors, &missing),
                Err(error) => faults.wrong(format!("{place}/content_base64"), error.to_string()),
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

fn name_missing(faults: &mut Invalids, place: &str, anchors: &crate::domain::Anchors, missing: &[&str]) {
    for (kind, anchor) in &anchors.0 {
        let here = format!("{place}/anchors/{}", kind.as_str());
        match anchor {
            Anchor::Everyone(text) if missing.contains(&text.as_str()) => {
                faults.add(here, "anchor_not_found", "this text is not in the document");
            }
            Anchor::Everyone(_) => {}
            Anchor::Each(by_key) => {
                for (key, _) in by_key.iter().filter(|(_, text)| missing.contains(&text.as_str())) {
                    faults.add(format!("{here}/{}", token(key)), "anchor_not_found", "this text is not in the document");
                }
            }
        }
    }
}
