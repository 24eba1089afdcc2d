//! What a durable link leads to. Looking never changes, mints or spends anything (rule L1).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use jiff::Timestamp;

use crate::{
    domain::{CallerName, LinkId, Private, Signer, Signing},
    signing::{
        Error, ReturnTarget, Signings, digest,
        views::{Queued, queued},
    },
    store::Link,
};

/// How long a link's token is: 256 bits in base64url without padding.
const TOKEN_LENGTH: usize = 43;

/// A link, with the signer it was made for.
#[derive(Debug, Clone)]
pub struct OpenedLink {
    /// The link.
    pub id: LinkId,
    /// Whether it still leads anywhere.
    pub state: LinkState,
    /// The signing, as the facts have it.
    pub signing: Signing,
    /// The signer.
    pub signer: Signer,
    /// The place in line of its create, while that waits.
    pub queued: Option<Queued>,
}

impl OpenedLink {
    /// Whom it is for.
    pub const fn target(&self) -> ReturnTarget {
        ReturnTarget { signing: self.signing.id, signer: self.signer.id, link: Some(self.id) }
    }
}

/// Whether a link still leads anywhere. What it leads to then, the signing's status tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Its time is over, by the caller's wish.
    Expired,
    /// It works.
    Live,
    /// The caller revoked it.
    Revoked,
}

impl LinkState {
    fn of(link: &Link, now: Timestamp) -> Self {
        if link.revoked_at.is_some() {
            Self::Revoked
        } else if link.expires_at.is_some_and(|at| at <= now) {
            Self::Expired
        } else {
            Self::Live
        }
    }
}

impl Signings {
    /// The link of a token; none if there is none, or if the text cannot be a token at all.
    pub async fn open_link(&self, token: &Private<String>) -> Result<Option<OpenedLink>, Error> {
        let token = token.reveal();
        if !is_token(token) {
            return Ok(None);
        }
        // The store finds the digest by an index, which tells nothing about tokens; the comparison here
        // makes sure of it, in constant time, whatever the store does.
        let digest = digest(token.as_bytes());
        let link = self.parts.store.link_by_token(digest).await?;
        let Some(link) = link.filter(|link| verify_slices_are_equal(&link.token, &digest).is_ok()) else {
            return Ok(None);
        };
        let state = LinkState::of(&link, self.parts.clock.now());
        let Some(record) = self.parts.store.signing(link.signing).await? else { return Ok(None) };
        let Some(signer) = record.signing.signer(link.signer).cloned() else { return Ok(None) };
        let queued = queued(&record);
        Ok(Some(OpenedLink { id: link.id, state, signing: record.signing, signer, queued }))
    }

    /// Whether the link that a view hung on still leads on: who revokes a link closes what it opened. What
    /// the caller got without a link hangs on the signing alone.
    pub async fn link_state(&self, link: Option<LinkId>) -> Result<LinkState, Error> {
        let Some(id) = link else { return Ok(LinkState::Live) };
        let link = self.parts.store.link(id).await?;
        // Links go only with their signing.
        Ok(link.map_or(LinkState::Revoked, |link| LinkState::of(&link, self.parts.clock.now())))
    }

    /// A link of this caller that still leads on.
    pub async fn live_link(&self, caller: &CallerName, id: LinkId) -> Result<Link, Error> {
        let link = self.parts.store.link(id).await?.ok_or(Error::NotFound)?;
        self.record_of(caller, link.signing).await?;
        match LinkState::of(&link, self.parts.clock.now()) {
            LinkState::Live => Ok(link),
            LinkState::Expired | LinkState::Revoked => Err(Error::LinkOver),
        }
    }

    /// The signing and signer that a nonce names, as the facts have them.
    pub async fn look_back(&self, target: ReturnTarget) -> Result<(Signing, Signer), Error> {
        let (signing, signer, _) = self.look_at(target).await?;
        Ok((signing, signer))
    }

    /// The same, with the place in line of a create that waits.
    pub async fn look_at(&self, target: ReturnTarget) -> Result<(Signing, Signer, Option<Queued>), Error> {
        let record = self.record(target.signing).await?;
        let queued = queued(&record);
        let signing = record.signing;
        let signer = signing.signer(target.signer).cloned().ok_or(Error::NotFound)?;
        Ok((signing, signer, queued))
    }
}

/// Whether a text has the shape of a token.
pub(crate) fn is_token(text: &str) -> bool {
    text.len() == TOKEN_LENGTH
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_one_shape() {
        let token = crate::signing::random_token();
        assert!(is_token(&token));
        for wrong in [
            "",
            "a",
            &token[1..],
            &format!("{token}A"),
            &token.replace(|_| true, "%"),
            &format!("é{}", &token[2..]),
        ] {
            assert!(!is_token(wrong), "{wrong}");
        }
    }
}
