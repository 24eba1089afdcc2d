//! Durable links: how they are made and revoked, and what one leads to. Looking never changes, mints or spends
//! anything (rule L1).

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use jiff::Timestamp;

use crate::{
    clock::later,
    digest::sha256,
    domain::{CallerName, LinkId, MomentKind, Private, Signer, SignerId, Signing, SigningId},
    objects::show::ShownLink,
    secret_text::{is_random, random},
    signing::{
        Error, ReturnTarget, Signings,
        in_line::{Queued, queued},
        is_past,
    },
    store::Link,
};

/// Random bytes in a link's token.
const TOKEN_BYTES: usize = 32;

/// A link, with the signer it was made for.
#[derive(Debug, Clone)]
pub struct OpenedLink {
    /// The link.
    pub id: LinkId,
    /// Whether it still leads anywhere.
    pub state: LinkState,
    /// When it ends, by the caller's wish.
    pub ends_at: Option<Timestamp>,
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
        ReturnTarget { signing: self.signing.id, signer: self.signer.id, link: Some(self.id), view: None }
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
        if !is_random::<TOKEN_BYTES>(token) {
            return Ok(None);
        }
        // The store finds the digest by an index, which tells nothing about tokens; the comparison here
        // makes sure of it, in constant time, whatever the store does.
        let digest = sha256(token.as_bytes());
        let link = self.parts.store.link_by_token(digest).await?;
        let Some(link) = link.filter(|link| verify_slices_are_equal(&link.token, &digest).is_ok()) else {
            return Ok(None);
        };
        let state = LinkState::of(&link, self.corrected_now());
        let Some(record) = self.parts.store.signing(link.signing).await? else { return Ok(None) };
        let Some(signer) = record.signing.signer(link.signer).cloned() else { return Ok(None) };
        let queued = queued(&record);
        Ok(Some(OpenedLink {
            id: link.id,
            state,
            ends_at: link.expires_at,
            signing: record.signing,
            signer,
            queued,
        }))
    }

    /// Whether the link that a view hung on still leads on: who revokes a link closes what it opened. What
    /// the caller got without a link hangs on the signing alone.
    pub async fn link_state(&self, link: Option<LinkId>) -> Result<LinkState, Error> {
        let Some(id) = link else { return Ok(LinkState::Live) };
        let link = self.parts.store.link(id).await?;
        // Links go only with their signing.
        Ok(link.map_or(LinkState::Revoked, |link| LinkState::of(&link, self.corrected_now())))
    }

    /// A link of this caller that still leads on.
    pub async fn live_link(&self, caller: &CallerName, id: LinkId) -> Result<Link, Error> {
        let link = self.parts.store.link(id).await?.ok_or(Error::NotFound)?;
        self.record_of(caller, link.signing).await?;
        match LinkState::of(&link, self.corrected_now()) {
            LinkState::Live => Ok(link),
            LinkState::Expired | LinkState::Revoked => Err(Error::LinkOver),
        }
    }

    /// A new durable link for one signer; with `life` it ends sooner than the signing.
    pub async fn add_link(
        &self,
        caller: &CallerName,
        id: SigningId,
        signer: SignerId,
        life: Option<Duration>,
    ) -> Result<ShownLink, Error> {
        let record = self.record_of(caller, id).await?;
        if record.signing.status.is_terminal() {
            return Err(Error::Closed(record.signing.status));
        }
        if record.signing.signer(signer).is_none() {
            return Err(Error::NotFound);
        }
        let now = self.corrected_now();
        if is_past(&record.signing, now) {
            return Err(Error::TimeOver);
        }
        let mut shown = self.new_link(&record.signing, signer, now).ok_or(Error::NoPublicListener)?;
        if let Some(end) = life.map(|life| later(now, life)) {
            shown.link.expires_at = Some(shown.link.expires_at.map_or(end, |of_signing| of_signing.min(end)));
        }
        self.parts.store.add_link(shown.link.clone()).await?;
        self.jot(id, MomentKind::LinkMade, Some(signer), None).await;
        Ok(shown)
    }

    /// Revokes a link; repeating it is harmless.
    pub async fn revoke_link(&self, caller: &CallerName, id: LinkId) -> Result<(), Error> {
        let link = self.parts.store.link(id).await?.ok_or(Error::NotFound)?;
        self.record_of(caller, link.signing).await?;
        self.parts.store.revoke_link(id, self.parts.clock.now()).await?;
        if link.revoked_at.is_none() {
            self.jot(link.signing, MomentKind::LinkRevoked, Some(link.signer), None).await;
        }
        Ok(())
    }

    /// The signing and signer that a nonce names, as the facts have them.
    pub async fn look_back(&self, target: ReturnTarget) -> Result<(Signing, Signer), Error> {
        let (signing, signer, _) = self.look_at(target).await?;
        Ok((signing, signer))
    }

    /// The signing and signer that a nonce names, with the place in line of a create that waits.
    pub async fn look_at(&self, target: ReturnTarget) -> Result<(Signing, Signer, Option<Queued>), Error> {
        let record = self.record(target.signing).await?;
        let queued = queued(&record);
        let signing = record.signing;
        let signer = signing.signer(target.signer).cloned().ok_or(Error::NotFound)?;
        Ok((signing, signer, queued))
    }

    /// Links for all signers, if there is a public listener for them to lead to.
    pub(super) fn new_links(&self, signing: &Signing, now: Timestamp) -> Vec<ShownLink> {
        signing.signers.iter().filter_map(|signer| self.new_link(signing, signer.id, now)).collect()
    }

    /// Makes a link with a fresh token, if there is a public listener for it to lead to.
    fn new_link(&self, signing: &Signing, signer: SignerId, now: Timestamp) -> Option<ShownLink> {
        let origin = self.parts.settings.public_origin.as_ref()?;
        let token = random::<TOKEN_BYTES>();
        let link = Link {
            id: LinkId::generate(now),
            signing: signing.id,
            signer,
            token: sha256(token.as_bytes()),
            created_at: now,
            expires_at: signing.expires_at,
            revoked_at: None,
        };
        Some(ShownLink { link, url: Private::new(format!("{origin}/s/{token}")) })
    }
}
