//! The call that mints a recipient view: announced when nothing holds it back, under the name that its signer has now,
//! with the way back and the ping that lead to us.
//!
//! Must not judge who may have a view, nor write one down: that is for [`views`](super::views) and
//! [`first_view`](super::first_view).

use jiff::Timestamp;

use crate::{
    clock::Deadline,
    domain::{EnvelopeId, LinkId, Signer, SignerId, Signing},
    esign::{self, Announcement, RejectionKind, ViewRequest},
    signing::{Error, ReturnTarget, Signings},
};

/// How often an open signing page tells us that it is open (`pingFrequency`): twice within
/// [`VIEW_LIFE`](super::leases::VIEW_LIFE), so that one that is lost does no harm.
const PING_SECONDS: u32 = 120;

/// A view that is to be minted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Minting {
    /// What the way back hangs on.
    pub(super) link: Option<LinkId>,
    /// What a visitor clicked on to have it, `link` or `return`; none: the caller has asked for it.
    pub(super) clicked: Option<&'static str>,
    /// Its name.
    pub(super) at: Timestamp,
    /// When nobody waits for it any more.
    pub(super) deadline: Deadline,
}

impl Signings {
    /// Mints a view. A signer who adopted a signature under another name no longer matches what was
    /// sent, so after that refusal the name that they have now is tried once.
    pub(super) async fn mint_with_current_name(
        &self,
        signing: &Signing,
        signer: SignerId,
        minting: Minting,
    ) -> Result<esign::View, Error> {
        let signer = signing.signer(signer).ok_or(Error::NotFound)?;
        let envelope = signing
            .envelope
            .as_ref()
            .ok_or(Error::NotReady { status: signer.status, signing: signing.status })?;
        let acting = self.acting_for(signing).await?;
        match self.mint(&acting, signing, envelope, signer, minting).await {
            Err(Error::Upstream(error)) if error.rejection() == Some(RejectionKind::RecipientMismatch) => {
                match self.renamed(&acting, signing, envelope, signer, minting.deadline).await? {
                    Some(renamed) => self.mint(&acting, signing, envelope, &renamed, minting).await,
                    None => Err(Error::Upstream(error)),
                }
            }
            other => other,
        }
    }

    /// The signer under another name than the one that was refused, if they have one: an event has told it
    /// meanwhile, or else all are read, which is allowed once in a quarter of an hour (rule B3). What was read
    /// is kept at once, whatever becomes of the view.
    async fn renamed(
        &self,
        acting: &esign::Acting,
        signing: &Signing,
        envelope: &EnvelopeId,
        refused: &Signer,
        deadline: Deadline,
    ) -> Result<Option<Signer>, Error> {
        let other = |signing: &Signing| {
            let now = signing.signer(refused.id)?;
            (now.name != refused.name || now.email != refused.email).then(|| now.clone())
        };
        let known = self.record(signing.id).await?.signing;
        if let Some(renamed) = other(&known) {
            return Ok(Some(renamed));
        }
        let recipients = self.recipients(acting, envelope, deadline).await?;
        let read = self.take_in(signing.id, &esign::people(&recipients, &known.signers), None).await?;
        Ok(other(&read))
    }

    /// Mints a view, which is announced when nothing holds it back any more.
    async fn mint(
        &self,
        acting: &esign::Acting,
        signing: &Signing,
        envelope: &EnvelopeId,
        signer: &Signer,
        minting: Minting,
    ) -> Result<esign::View, Error> {
        let announcement = match minting.clicked {
            Some(clicked) => self.announcing_view(signing, &format_args!("{} {clicked}", signer.id)),
            None => self.announcing_view(signing, &signer.id),
        };
        self.mint_announced(acting, signing, envelope, signer, (minting, announcement)).await
    }

    /// The one call that mints a view. Without an announcement the audit log tells of it already.
    pub(super) async fn mint_announced(
        &self,
        acting: &esign::Acting,
        signing: &Signing,
        envelope: &EnvelopeId,
        signer: &Signer,
        (minting, announcement): (Minting, Option<Announcement>),
    ) -> Result<esign::View, Error> {
        let Minting { link, clicked: _, at, deadline } = minting;
        let target = ReturnTarget { signing: signing.id, signer: signer.id, link, view: Some(at) };
        let ours = self.way_back(target);
        let ping = ours.as_ref().map(|url| format!("{url}/open/{}", at.as_microsecond()));
        // The upstream sends the browser to us if we can be reached, else straight to the site.
        let return_url = ours.or_else(|| signer.return_url.clone()).ok_or(Error::NoReturnUrl)?;
        let request = ViewRequest {
            name: &signer.name,
            email: signer.email.reveal(),
            client_user_id: &signer.client_user_id,
            // With a role the recipient comes from a template, which may put its own id in place of ours.
            recipient_id: signer.role.is_none().then_some(signer.recipient_id.as_str()),
            return_url: &return_url,
            ping: ping.as_deref().map(|url| (url, PING_SECONDS)),
            authentication_method: signer.authenticated_by.as_ref().map(|by| by.method),
            authentication_instant: signer.authenticated_by.as_ref().and_then(|by| by.at),
            assertion_id: signer.authenticated_by.as_ref().and_then(|by| by.id.as_deref()),
            frame_ancestors: &signing.frame_ancestors,
            locale: signing.locale.as_deref(),
        };
        Ok(self.parts.esign.recipient_view(acting, envelope, &request, deadline, announcement).await?)
    }

    /// Our own address for who comes back, if we can be reached.
    fn way_back(&self, target: ReturnTarget) -> Option<String> {
        let origin = self.parts.settings.public_origin.as_ref()?;
        Some(format!("{origin}/r/{}", self.parts.settings.nonce_key.nonce(target)))
    }
}
