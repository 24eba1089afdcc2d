//! Stored signatures of the user that a sender acts as. Only the own user's can be read or changed,
//! whoever asks (`UserSignatures`), and no document is signed with them through the API.

use bytes::Bytes;
use http::{HeaderValue, Method, header};

use super::{
    Acting, Client, Error,
    call::{Answer, Body, Call},
    refusal::Refusal,
    wire,
};
use crate::{
    budget::{Deadline, Operation},
    domain::Private,
};

/// "Less than 200 KB" (`UserSignatures: updateImage`).
const MAX_IMAGE_BYTES: usize = 200 * 1024;

/// A stored signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSignature {
    /// Its id. It may change with every write.
    pub id: String,
    /// The name it shows.
    pub name: Private<String>,
    /// The initials it shows.
    pub initials: Private<String>,
    /// Its font, if it is not drawn.
    pub font: Option<String>,
    /// Whether it is the user's default.
    pub is_default: bool,
    /// Whether it has an image.
    pub has_image: bool,
    /// When it was made, as the upstream words it.
    pub created_at: Option<String>,
}

/// A signature to store.
#[derive(Debug, Clone, Copy)]
pub struct NewSignature<'a> {
    /// The name it shows.
    pub name: &'a str,
    /// The initials it shows.
    pub initials: &'a str,
    /// The font, such as `7_DocuSign`.
    pub font: Option<&'a str>,
    /// Whether it becomes the user's default.
    pub is_default: Option<bool>,
}

/// Which image of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageKind {
    /// The initials.
    Initials,
    /// The signature.
    Signature,
}

impl ImageKind {
    const fn segment(self) -> &'static str {
        match self {
            Self::Initials => "initials_image",
            Self::Signature => "signature_image",
        }
    }
}

/// An image.
#[derive(Clone)]
pub struct SignatureImage {
    /// `image/gif`, `image/png`, `image/jpeg` or `image/bmp`.
    pub content_type: HeaderValue,
    /// The bytes.
    pub bytes: Bytes,
}

impl std::fmt::Debug for SignatureImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[image, {} bytes]", self.bytes.len())
    }
}

impl Client {
    /// Lists the stored signatures.
    pub async fn signatures(
        &self,
        acting: &Acting,
        deadline: Deadline,
    ) -> Result<Vec<StoredSignature>, Error> {
        let call = Call::get(Operation::Signatures, place(acting, &[]), deadline);
        let listed: wire::answers::Signatures = self.call(acting, call).await?.decode()?;
        Ok(listed.user_signatures.into_iter().filter_map(stored).collect())
    }

    /// Reads one.
    pub async fn signature(
        &self,
        acting: &Acting,
        id: &str,
        deadline: Deadline,
    ) -> Result<StoredSignature, Error> {
        let answer =
            self.call(acting, Call::get(Operation::Signatures, place(acting, &[id]), deadline)).await?;
        one(&answer, answer.decode()?)
    }

    /// Stores a new one.
    pub async fn add_signature(
        &self,
        acting: &Acting,
        new: &NewSignature<'_>,
        deadline: Deadline,
    ) -> Result<StoredSignature, Error> {
        let body = wire::json(&wire::requests::Signatures { user_signatures: [written(new)] });
        let call =
            Call::new(Operation::SignatureChange, Method::POST, place(acting, &[]), deadline).json(body);
        let answer = self.call(acting, call).await?;
        let listed: wire::answers::Signatures = answer.decode()?;
        let first = listed.user_signatures.into_iter().next();
        one(&answer, first.ok_or_else(|| answer.bad("it holds no signature"))?)
    }

    /// Changes one.
    pub async fn update_signature(
        &self,
        acting: &Acting,
        id: &str,
        new: &NewSignature<'_>,
        deadline: Deadline,
    ) -> Result<StoredSignature, Error> {
        let body = wire::json(&written(new));
        let call =
            Call::new(Operation::SignatureChange, Method::PUT, place(acting, &[id]), deadline).json(body);
        let answer = self.call(acting, call).await?;
        one(&answer, answer.decode()?)
    }

    /// Deletes one.
    pub async fn delete_signature(&self, acting: &Acting, id: &str, deadline: Deadline) -> Result<(), Error> {
        let call = Call::new(Operation::SignatureChange, Method::DELETE, place(acting, &[id]), deadline);
        self.call(acting, call).await.map(drop)
    }

    /// Reads an image.
    pub async fn signature_image(
        &self,
        acting: &Acting,
        id: &str,
        kind: ImageKind,
        deadline: Deadline,
    ) -> Result<SignatureImage, Error> {
        let url = place(acting, &[id, kind.segment()]);
        let mut call = Call::get(Operation::Signatures, url, deadline);
        call.headers.insert(header::ACCEPT, HeaderValue::from_static("image/*"));
        let answer = self.call(acting, call).await?;
        let content_type = answer.headers.get(header::CONTENT_TYPE).cloned();
        let content_type = content_type.ok_or_else(|| answer.bad("it does not say what it is"))?;
        match answer.body {
            Body::Whole(bytes) => Ok(SignatureImage { content_type, bytes }),
            Body::Streamed(_) => Err(answer.bad("it was not read")),
        }
    }

    /// Gives a signature an image.
    pub async fn put_signature_image(
        &self,
        acting: &Acting,
        id: &str,
        kind: ImageKind,
        image: &SignatureImage,
        deadline: Deadline,
    ) -> Result<(), Error> {
        if image.bytes.len() >= MAX_IMAGE_BYTES {
            return Err(Error::Invalid("an image must be smaller than 200 KB"));
        }
        let url = place(acting, &[id, kind.segment()]);
        let mut call = Call::new(Operation::SignatureChange, Method::PUT, url, deadline);
        call.body = Some((image.content_type.clone(), vec![image.bytes.clone()]));
        self.call(acting, call).await.map(drop)
    }

    /// Removes an image.
    pub async fn delete_signature_image(
        &self,
        acting: &Acting,
        id: &str,
        kind: ImageKind,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let url = place(acting, &[id, kind.segment()]);
        let call = Call::new(Operation::SignatureChange, Method::DELETE, url, deadline);
        self.call(acting, call).await.map(drop)
    }
}

fn place(acting: &Acting, below: &[&str]) -> url::Url {
    let user = acting.user_id.to_string();
    acting.url(["users", &user, "signatures"].into_iter().chain(below.iter().copied()))
}

const fn written<'a>(new: &NewSignature<'a>) -> wire::requests::Signature<'a> {
    wire::requests::Signature {
        signature_name: new.name,
        signature_initials: new.initials,
        signature_font: new.font,
        is_default: match new.is_default {
            Some(true) => Some("true"),
            Some(false) => Some("false"),
            None => None,
        },
    }
}

/// One signature of an answer, whose error may be inside of it.
fn one(answer: &Answer, read: wire::answers::Signature) -> Result<StoredSignature, Error> {
    let code = read.error_details.as_ref().and_then(|details| details.error_code.as_deref());
    if let Some(code) = code.filter(|code| !code.eq_ignore_ascii_case("SUCCESS")) {
        let (status, code, trace) = (answer.status, super::refusal::plain_code(code), answer.trace());
        let refusal = Refusal { status, code, is_foreign: false, trace };
        return Err(refusal.rejected(super::RejectionKind::Other));
    }
    stored(read).ok_or_else(|| answer.bad("it names no signature"))
}

fn stored(read: wire::answers::Signature) -> Option<StoredSignature> {
    Some(StoredSignature {
        id: read.signature_id?,
        name: Private::new(read.signature_name.unwrap_or_default()),
        initials: Private::new(read.signature_initials.unwrap_or_default()),
        font: read.signature_font,
        is_default: read.is_default.is_some_and(|value| value.eq_ignore_ascii_case("true")),
        has_image: read.signature_image_uri.is_some(),
        created_at: read.created_date_time.or(read.adopted_date_time),
    })
}
