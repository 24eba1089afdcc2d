//! The signed documents, streamed from the upstream and never held whole.

use crate::{
    domain::{CallerName, SigningId, SigningStatus},
    esign::{DocumentRef, Download},
    signing::{Error, Signings},
    store::Inbound,
};

impl Signings {
    /// What the upstream pushed to us about a signing, as it came, oldest first.
    pub async fn received(&self, caller: &CallerName, id: SigningId) -> Result<Vec<Inbound>, Error> {
        let signing = self.get(caller, id).await?;
        let Some(envelope) = &signing.envelope else { return Ok(Vec::new()) };
        Ok(self.parts.store.inbound_of(envelope).await?)
    }

    /// Opens a document of a completed signing.
    pub async fn document(
        &self,
        caller: &CallerName,
        id: SigningId,
        document: DocumentRef,
    ) -> Result<Download, Error> {
        let signing = self.get(caller, id).await?;
        let (SigningStatus::Completed, Some(envelope)) = (signing.status, &signing.envelope) else {
            let status =
                signing.signers.first().map_or(crate::domain::SignerStatus::Waiting, |signer| signer.status);
            return Err(Error::NotReady { status, signing: signing.status });
        };
        let acting = self.parts.esign.acting(&signing.sender).await?;
        Ok(self.parts.esign.document(&acting, envelope, document, self.at_leisure()).await?)
    }
}
