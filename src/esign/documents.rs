//! Documents of an envelope, as streams.

use std::fmt;

use http::{HeaderValue, header};

use super::{
    Acting, Client, Error,
    call::{Body, Call},
};
use crate::{budget::Operation, clock::Deadline, domain::EnvelopeId, http_client::BodyStream};

/// The vendor's limit of an envelope's documents together is 200 MB; combined with a certificate no more than this.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// Which document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DocumentRef {
    /// All documents in one PDF.
    Combined,
    /// The certificate of completion.
    Certificate,
    /// The one of that id.
    Number(u32),
}

/// As the vendor's addresses and our own have it.
impl fmt::Display for DocumentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Combined => f.write_str("combined"),
            Self::Certificate => f.write_str("certificate"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// A document on its way.
pub struct Download {
    /// What it is.
    pub content_type: Option<HeaderValue>,
    /// Its size, if the upstream says.
    pub length: Option<u64>,
    /// The upstream's trace id.
    pub trace: Option<String>,
    /// The bytes.
    pub body: BodyStream,
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Client {
    /// Downloads a document. The deadline covers the way to its first byte.
    ///
    /// The vendor allows few starts an hour (3 for `combined`, 10 otherwise): keep what comes.
    pub async fn document(
        &self,
        acting: &Acting,
        envelope: &EnvelopeId,
        document: DocumentRef,
        deadline: Deadline,
    ) -> Result<Download, Error> {
        let url = acting.url(["envelopes", envelope.as_str(), "documents", &document.to_string()]);
        let mut call = Call::get(Operation::Document, url, deadline).streamed();
        call.limit_bytes = MAX_BYTES;
        call.headers
            .insert(header::ACCEPT, HeaderValue::from_static("application/pdf, application/zip, */*"));
        let answer = self.call(acting, call).await?;
        let length =
            answer.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let content_type = answer.headers.get(header::CONTENT_TYPE).cloned();
        let trace = answer.trace();
        match answer.body {
            Body::Streamed(response) => {
                Ok(Download { content_type, length, trace, body: response.into_stream() })
            }
            Body::Whole(_) => {
                Err(Error::BadAnswer { status: answer.status.as_u16(), what: "it was not streamed", trace })
            }
        }
    }
}
