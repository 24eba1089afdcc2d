//! What can be said of a draft before anything is spent: are the documents PDFs, and are the anchors in them?

use std::{io, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    clock::Deadline,
    domain::{
        Anchors, Document, Draft, SenderName,
        document::{Anchor, Content},
        draft::{MAX_DOCUMENTS, MAX_UPSTREAM_RETURN_URL},
    },
    esign::{self, Acting, Template},
    objects::{Invalids, invalid::token, preflight::SeenFile},
    pdf::{self, Seen},
    signing::{AT_LEISURE, Error, Signings, create::GRACE},
};

/// The upstream's limit of one file (eSignature REST API, Rules and limits).
const MAX_FILE_BYTES: usize = 32 * 1024 * 1024;
/// Bodies and documents (in base64) larger than this are read on a thread of their own, not between other requests; so
/// are smaller documents that turn out to take more than a little.
const LARGE: usize = 128 * 1024;
/// How long the files of one draft are read, waiting for a turn included. What is not read by then is left to the
/// upstream to judge.
const READING: Duration = Duration::from_secs(8);
/// Creates that are read at once on threads of their own: each may take a core, and memory.
pub(super) const READERS: usize = 2;

impl Signings {
    /// Checks the roles of a draft against its templates. What a template holds is asked once and
    /// remembered; if it cannot be asked now, the upstream judges the create itself. Who gave a deadline asks for
    /// the judgement, and is told that there was no time for it.
    pub(super) async fn check_roles(&self, draft: &Draft, deadline: Option<Deadline>) -> Result<(), Error> {
        let ids = draft.documents.iter().filter_map(|document| match document {
            Document::File { .. } => None,
            Document::Template { id, .. } => Some(id),
        });
        let mut templates = Vec::new();
        for id in ids {
            let acting = self.acting_by(&draft.sender, deadline).await?;
            let by = deadline.unwrap_or_else(|| self.at_leisure());
            match self.parts.esign.template(&acting, id, by).await {
                Ok(template) => templates.push(template),
                Err(error) if error.rejection().is_some() => return Err(error.into()),
                Err(error) if deadline.is_some_and(|by| self.is_late(&error, by)) => {
                    return Err(esign::Error::Deadline.into());
                }
                Err(_) => return Ok(()),
            }
        }
        let invalids = strange_roles(draft, &templates);
        if invalids.is_empty() { Ok(()) } else { Err(Error::Invalid(invalids)) }
    }

    /// Looks at all that a create of this draft would need of the upstream, by reads that are remembered:
    /// consent and account, roles, the SMS workflow, the budget. Answers each check and what it found, also
    /// when one before it failed; what needs an account that cannot be reached is left out. For a caller who says
    /// how long it waits nothing is asked that cannot be answered by then (rule B4).
    pub async fn dry_run(
        &self,
        draft: &Draft,
        wait: Option<Duration>,
    ) -> Vec<(&'static str, Result<(), Error>)> {
        let deadline = wait.map(|wait| Deadline::within(&*self.parts.clock, wait.min(AT_LEISURE)));
        let mut found = Vec::new();
        let acting = match self.acting_by(&draft.sender, deadline).await {
            Ok(acting) => acting,
            Err(error) => {
                found.push(("consent", Err(error)));
                return found;
            }
        };
        // A token that was good when the account was read may have been the last one.
        found.push(("consent", self.in_time_for(deadline, self.parts.esign.can_act(&acting)).await));
        found.push(("account", Ok(())));
        found.push(("template_roles", self.check_roles(draft, deadline).await));
        found.push(("sms_auth", self.check_sms(&acting, draft, deadline).await));
        found.push(("budget", self.parts.esign.has_room(&acting).map_err(Error::from)));
        found
    }

    /// Whether the codes of this draft can be sent, to everybody who is to get one.
    async fn check_sms(
        &self,
        acting: &Arc<Acting>,
        draft: &Draft,
        deadline: Option<Deadline>,
    ) -> Result<(), Error> {
        if draft.signers.iter().all(|signer| signer.sms.is_none()) {
            return Ok(());
        }
        let by = deadline.unwrap_or_else(|| self.at_leisure());
        let acting = self.in_time_for(deadline, self.check_addresses(Arc::clone(acting), draft, by)).await?;
        Ok(self.parts.esign.sms_workflow(&acting, by).await.map(drop)?)
    }

    /// Whether a check by SMS of this draft would take place. The upstream may leave it out, without a word, for who has
    /// the address of the user that the sender acts as, unless the account has the setting `senderMustAuthenticateSigning`.
    pub(super) async fn check_addresses(
        &self,
        acting: Arc<Acting>,
        draft: &Draft,
        by: Deadline,
    ) -> Result<Arc<Acting>, esign::Error> {
        if !would_skip_sms(&acting, draft) {
            return Ok(acting);
        }
        // Rare and large: boxed, so that every create need not have room for it.
        Box::pin(self.check_senders_address(draft, by)).await
    }

    /// The same where it would not as far as is known: somebody may have given that user a mailbox of its own since, and
    /// the account may ask senders for the code, too.
    async fn check_senders_address(&self, draft: &Draft, by: Deadline) -> Result<Arc<Acting>, esign::Error> {
        let acting = self.parts.esign.looked_at_again(&draft.sender).await?;
        if !would_skip_sms(&acting, draft) {
            return Ok(acting);
        }
        let is_asked_too = self.parts.esign.checks_senders(&acting, by).await?;
        if is_asked_too { Ok(acting) } else { Err(esign::Error::SmsToSender) }
    }

    /// The same of a draft that stands in line, as far as the sender is known.
    pub(super) async fn check_known_addresses(
        &self,
        draft: &Draft,
        by: Deadline,
    ) -> Result<(), esign::Error> {
        let Some(acting) = self.parts.esign.known(&draft.sender) else { return Ok(()) };
        self.check_addresses(acting, draft, by).await.map(drop)
    }

    /// The same for a caller who waits so long for it to be put into line: an account server that stalls must not hold them
    /// much longer, and the store has the rest of the grace. What is not found out by then is looked at again when it is
    /// to be sent.
    pub(super) async fn check_before_line(&self, draft: &Draft, until: Deadline) -> Result<(), Error> {
        let by = until.plus(GRACE / 2);
        match by.hold(&*self.parts.clock, self.check_known_addresses(draft, by)).await {
            Some(Err(error @ esign::Error::SmsToSender)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn is_late(&self, error: &esign::Error, deadline: Deadline) -> bool {
        matches!(error, esign::Error::Deadline) || deadline.left(self.parts.clock.uptime()).is_zero()
    }

    /// The sender in its account: asked for only if the caller has the time.
    async fn acting_by(&self, sender: &SenderName, deadline: Option<Deadline>) -> Result<Arc<Acting>, Error> {
        let is_ended = deadline.is_some_and(|it| it.left(self.parts.clock.uptime()).is_zero());
        match self.parts.esign.known(sender) {
            Some(known) => Ok(known),
            None if is_ended => Err(esign::Error::Deadline.into()),
            None => self.in_time_for(deadline, self.parts.esign.acting(sender)).await,
        }
    }

    /// Waits as long as the caller does.
    async fn in_time_for<T>(
        &self,
        deadline: Option<Deadline>,
        work: impl Future<Output = Result<T, esign::Error>>,
    ) -> Result<T, Error> {
        let done = match deadline {
            Some(deadline) => deadline.hold(&*self.parts.clock, work).await,
            None => Some(work.await),
        };
        Ok(done.unwrap_or(Err(esign::Error::Deadline))?)
    }

    /// Checks the documents of a draft, and that its signers have a way back, and gives it back, with what was seen of
    /// its files and what is wrong. Nothing is sent and nothing is stored.
    pub async fn preflight(&self, draft: Draft) -> (Draft, Vec<SeenFile>, Invalids) {
        let (seen, mut invalids) = self.read_documents(&draft).await;
        if self.parts.settings.public_origin.is_none() {
            invalids.add_elsewhere(stranded(&draft));
        }
        (draft, seen, invalids)
    }

    async fn read_documents(&self, draft: &Draft) -> (Vec<SeenFile>, Invalids) {
        let (mut seen, mut invalids) = (Vec::new(), Invalids::default());
        let until = Deadline::within(&*self.parts.clock, READING);
        // Of more it is said already that they are too many.
        for (at, document) in draft.documents.iter().take(MAX_DOCUMENTS).enumerate() {
            let Document::File { name, content, anchors } = document else { continue };
            let place = format!("/documents/{at}");
            match self.read_file(content, anchors, until).await {
                Ok((bytes, file)) => {
                    if let Some(file) = &file {
                        name_missing(&mut invalids, &place, anchors, &file.missing);
                    }
                    seen.push(SeenFile { name: name.clone(), bytes, pages: file.map(|file| file.pages) });
                }
                Err(unfit) => {
                    invalids.add(format!("{place}/content_base64"), unfit.code(), unfit.to_string());
                }
            }
        }
        (seen, invalids)
    }

    /// Whether PDFs can be read. The error says why not.
    pub async fn probe_pdfs(&self) -> io::Result<()> {
        self.parts.pdfs.probe(Deadline::within(&*self.parts.clock, READING)).await
    }

    /// How large a file is, and what was seen of it; that is nothing if it takes too much to read.
    async fn read_file(
        &self,
        content: &Content,
        anchors: &Anchors,
        until: Deadline,
    ) -> Result<(usize, Option<Seen>), Unfit> {
        let base64 = content.base64().clone();
        let bytes = decoded_bytes(&base64);
        if bytes > MAX_FILE_BYTES {
            return Err(Unfit::TooLarge);
        }
        let Some(turn) = self.parts.pdfs.turn(until).await else {
            tracing::warn!("a PDF is left to DocuSign unread: those before it take too long");
            return Ok((bytes, None));
        };
        let decoded = self.on_reader(base64.len(), move || STANDARD.decode(base64)).await;
        let file = decoded.and_then(Result::ok).ok_or(Unfit::NotBase64)?;
        let texts = anchors.0.values().flat_map(Anchor::texts).map(str::to_owned).collect();
        match self.parts.pdfs.read(turn, file, texts, until).await {
            Ok(seen) => Ok((bytes, Some(seen))),
            Err(pdf::Error::TooMuch) => Ok((bytes, None)),
            Err(error) => Err(Unfit::Pdf(error)),
        }
    }

    /// Reads something of so many bytes: what is large on a thread of its own. None: the reader panicked there.
    pub async fn on_reader<T: Send + 'static>(
        &self,
        bytes: usize,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if bytes > LARGE { self.on_thread(read).await } else { Some(read()) }
    }

    async fn on_thread<T: Send + 'static>(&self, read: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let turn = Arc::clone(&self.parts.readers).acquire_owned().await.expect("it is never closed");
        let reading = tokio::task::spawn_blocking(move || {
            // Given back when it is read, and not when nobody waits for it any more.
            let _turn = turn;
            read()
        });
        reading.await.ok()
    }

    /// Checks the roles of a draft as far as its templates are remembered: for a draft that is refused anyway,
    /// and so is worth no call.
    pub fn known_roles(&self, draft: &Draft) -> Invalids {
        let known = self.parts.esign.known(&draft.sender);
        let mut templates = Vec::new();
        for document in &draft.documents {
            let Document::Template { id, .. } = document else { continue };
            let Some(template) =
                known.as_ref().and_then(|acting| self.parts.esign.known_template(acting, id))
            else {
                return Invalids::default();
            };
            templates.push(template);
        }
        strange_roles(draft, &templates)
    }
}

/// Whether somebody who is to get a code by SMS has the address of the sender's own user.
fn would_skip_sms(acting: &Acting, draft: &Draft) -> bool {
    draft.signers.iter().any(|signer| signer.sms.is_some() && acting.is_user(signer.email.reveal()))
}

/// The roles that signers have and no template.
fn strange_roles(draft: &Draft, templates: &[Arc<Template>]) -> Invalids {
    let roles = || templates.iter().flat_map(|template| &template.roles).map(|role| role.name.as_str());
    let mut invalids = Invalids::default();
    if roles().next().is_none() {
        return invalids;
    }
    for (at, signer) in draft.signers.iter().enumerate() {
        let Some(role) = &signer.role else { continue };
        if !roles().any(|known| known.eq_ignore_ascii_case(role)) {
            let all: Vec<_> = roles().collect();
            let detail = format!("no such role; the template has: {}", all.join(", "));
            invalids.add(format!("/signers/{at}/role"), "template_role_mismatch", detail);
        }
    }
    invalids
}

/// The signers whom nothing leads back. The upstream opens no view without an address for that, and cuts a long one, so
/// nobody could sign.
fn stranded(draft: &Draft) -> Invalids {
    let mut invalids = Invalids::default();
    for (at, signer) in draft.signers.iter().enumerate() {
        let wrong = match &signer.return_url {
            None => {
                "is needed: without public.base_url in the settings there is no link, and nowhere else to come back to"
            }
            Some(url) if url.chars().count() > MAX_UPSTREAM_RETURN_URL => {
                "is longer than the 470 characters that DocuSign keeps, and goes there as it is without public.base_url in \
                 the settings"
            }
            Some(_) => continue,
        };
        invalids.wrong(format!("/signers/{at}/return_url"), wrong);
    }
    invalids
}

/// How large a file is that was written so, if it is base64 at all.
fn decoded_bytes(base64: &[u8]) -> usize {
    let padding = base64.iter().rev().take_while(|byte| **byte == b'=').count();
    (base64.len() / 4 * 3).saturating_sub(padding)
}

/// Why a file cannot be sent.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("is not base64 (RFC 4648, with padding, no line breaks)")]
    NotBase64,
    #[error("is larger than the 32 MB that DocuSign takes in one file")]
    TooLarge,
    #[error(transparent)]
    Pdf(pdf::Error),
}

impl Unfit {
    const fn code(&self) -> &'static str {
        match self {
            Self::NotBase64 | Self::Pdf(_) => "invalid_request",
            Self::TooLarge => "payload_too_large",
        }
    }
}

fn name_missing(invalids: &mut Invalids, place: &str, anchors: &Anchors, missing: &[String]) {
    const DETAIL: &str = "this text is not in the document";
    let is_missing = |text: &str| missing.iter().any(|one| one == text);
    for (kind, anchor) in &anchors.0 {
        let here = format!("{place}/anchors/{}", kind.as_str());
        match anchor {
            Anchor::Everyone(text) if is_missing(text) => {
                invalids.add(here, "anchor_not_found", DETAIL);
            }
            Anchor::Everyone(_) => {}
            Anchor::Each(by_key) => {
                for (key, _) in by_key.iter().filter(|(_, text)| is_missing(text)) {
                    invalids.add(format!("{here}/{}", token(key)), "anchor_not_found", DETAIL);
                }
            }
        }
    }
}
