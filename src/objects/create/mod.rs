//! `POST /v1/signings`: from bytes to a [`Draft`], or to a list of everything that is wrong.
//!
//! The quick way reads the body once, borrowing from it; the base64 of a document is a slice of the body
//! and is never copied. Only when something is wrong is the body read again as a tree, to name every
//! fault with its place and not only the first; and what could be read is given on, with blanks in the wrong
//! places, so that whoever judges a draft by other measures can tell theirs at the same time. What holds more
//! values than any create has is read in neither way.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, hash_map::Entry},
    fmt,
};

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    domain::{
        Anchors, AuthenticatedBy, Document, Draft, Email, NewSigner, Phone, Private, SenderName, TabKind,
        TemplateNames,
        document::{Anchor, Content},
        draft::{
            AUTHENTICATION_METHODS, MAX_ACCESS_CODE, MAX_AUTHENTICATION_ID, MAX_DOCUMENTS, MAX_ENTRIES,
            MAX_FRAME_ANCESTORS, MAX_LOCALE, MAX_MESSAGE, MAX_NAME, MAX_ORDER, MAX_REFERENCE, MAX_RETURN_URL,
            MAX_SIGNERS, MAX_SUBJECT, MAX_TEXT, MIN_LOCALE, authentication_method,
        },
    },
    objects::{
        Invalids,
        create_form::{
            Base64, CREATE, Create, CreateAnchor, CreateAuthenticatedBy, CreateDocument, CreateSigner,
        },
        duration,
        entries::Entries,
        explain::{explain, from_object},
        invalid::token,
        strictness::Strictness,
        text::{length_fault, line_fault},
        values,
    },
};

/// Reads a create request. `templates` say what a template's name means for its sender.
pub fn parse_create(body: &Bytes, templates: &TemplateNames) -> Result<Draft, Invalids> {
    whole(read_create(body, templates))
}

/// Reads again a create that was accepted once, maybe by an earlier version: what is refused only since then is taken.
pub fn parse_accepted(body: &Bytes, templates: &TemplateNames) -> Result<Draft, Invalids> {
    let taken = |body: &Bytes| whole(read(body, templates, &Strictness::EVER));
    taken(body).or_else(|faults| {
        // Of a name that is there twice the last value counted, as it does in a tree.
        let tree = serde_json::from_slice::<serde_json::Value>(body).map_err(|_| faults)?;
        taken(&Bytes::from(tree.to_string()))
    })
}

fn whole(read: (Option<Draft>, Invalids)) -> Result<Draft, Invalids> {
    match read {
        (Some(draft), faults) if faults.is_empty() => Ok(draft),
        (_, faults) => Err(faults),
    }
}

/// Reads a create request as far as it can be read: a draft, which is whole if there are no faults. With faults
/// it is good for nothing but to be looked at for more of them: what is wrong or missing is blank in it, and
/// everything stands at its own place.
pub fn read_create(body: &Bytes, templates: &TemplateNames) -> (Option<Draft>, Invalids) {
    if values::exceed(values::MOST, body) {
        let detail =
            format!("the body holds more than {} values, as many as a create can have", values::MOST);
        return (None, Invalids::one("", detail));
    }
    read(body, templates, &Strictness::NOW)
}

fn read(body: &Bytes, templates: &TemplateNames, strictness: &Strictness) -> (Option<Draft>, Invalids) {
    let mut faults = Invalids::default();
    let error = match from_object::<Create<'_>>(body) {
        Ok(request) => {
            let draft = Reader { body, templates, strictness, faults: &mut faults }.draft(request);
            return (Some(draft), faults);
        }
        Err(error) => error,
    };
    // What the shape of a body tells, and what the rest of it tells once the misshapen places are blank.
    let (mut faults, rest) = explain(body, &error, CREATE);
    let rest = Bytes::from(rest);
    let draft = serde_json::from_slice::<Create<'_>>(&rest).ok().map(|request| {
        let mut more = Invalids::default();
        let draft = Reader { body: &rest, templates, strictness, faults: &mut more }.draft(request);
        faults.add_elsewhere(more);
        draft
    });
    (draft, faults)
}

/// Reads an access code that is given by itself, as strictly as that of a new signer.
pub fn parse_access_code(text: &str) -> Result<Private<String>, Invalids> {
    let mut faults = Invalids::default();
    let mut reader = Reader {
        body: &Bytes::new(),
        templates: &TemplateNames::default(),
        strictness: &Strictness::NOW,
        faults: &mut faults,
    };
    let code = reader.access_code(format_args!(""), Some(text.into()));
    code.filter(|_| faults.is_empty()).ok_or(faults)
}

/// Where in a request something stands: a JSON pointer, which is written only for a fault.
type Place<'p> = fmt::Arguments<'p>;

/// Turns what was read into a draft, noting each fault on the way.
struct Reader<'r> {
    body: &'r Bytes,
    templates: &'r TemplateNames,
    strictness: &'r Strictness,
    faults: &'r mut Invalids,
}

impl Reader<'_> {
    fn draft(&mut self, request: Create<'_>) -> Draft {
        let count = request.documents.len();
        if count == 0 || count > MAX_DOCUMENTS {
            self.faults.wrong("/documents", format!("must hold 1 to {MAX_DOCUMENTS} documents"));
        }
        let sender = SenderName::new(request.sender.as_ref());
        let documents = request.documents.into_iter().enumerate();
        let documents: Vec<_> =
            documents.map(|(at, document)| self.document(&sender, at, document)).collect();
        let count = request.signers.len();
        if count == 0 || count > MAX_SIGNERS {
            self.faults.wrong("/signers", format!("must hold 1 to {MAX_SIGNERS} signers"));
        }
        let signers = request.signers.into_iter().enumerate();
        let signers: Vec<_> = signers.map(|(at, signer)| self.signer(at, signer)).collect();
        self.keys_are_unique(&signers);
        self.anchors_name_signers(&documents, &signers);
        self.templates_have_roles(&documents, &signers);
        Draft {
            reference: self.text(format_args!("/reference"), request.reference, 1, MAX_REFERENCE),
            sender,
            subject: self.text(format_args!("/subject"), request.subject, 1, MAX_SUBJECT),
            message: self.prose(format_args!("/message"), request.message, MAX_MESSAGE),
            documents,
            signers,
            view: request.view.unwrap_or(true),
            locale: self.locale(request.locale),
            expires_in: self.expires_in(request.expires_in),
            frame_ancestors: self.frame_ancestors(request.frame_ancestors.unwrap_or_default()),
            metadata: Private::new(self.entries(format_args!("/metadata"), request.metadata)),
        }
    }

    fn document(&mut self, sender: &SenderName, at: usize, document: CreateDocument<'_>) -> Document {
        let place = format_args!("/documents/{at}");
        let blank = || Document::Template { alias: String::new(), id: String::new() };
        match (document.template, document.content_base64) {
            (Some(_), Some(_)) => {
                self.faults
                    .wrong(place.to_string(), "give either template, or name and content_base64, not both");
                blank()
            }
            (None, None) => {
                self.faults.wrong(place.to_string(), "give either template, or name and content_base64");
                blank()
            }
            (Some(alias), None) => {
                self.template(sender, place, &alias, document.name.is_some() || document.anchors.is_some())
            }
            (None, Some(Base64(text))) => self.file(place, document.name, &text, document.anchors),
        }
    }

    fn template(&mut self, sender: &SenderName, place: Place<'_>, alias: &str, has_more: bool) -> Document {
        if has_more {
            self.faults
                .wrong(place.to_string(), "a template has its own name and tabs: leave name and anchors out");
        }
        if let Some(id) = self.templates.find(sender, alias) {
            return Document::Template { alias: alias.to_owned(), id };
        }
        // An id is taken as it is, so that a new template needs no new settings.
        let id = uuid::Uuid::try_parse(alias).ok().map(|id| id.hyphenated().to_string());
        if id.is_none() {
            self.faults.wrong(
                format!("{place}/template"),
                "is neither a name under [templates] in the settings or the sender's own, nor the id of a template",
            );
        }
        Document::Template { alias: alias.to_owned(), id: id.unwrap_or_default() }
    }

    fn file(
        &mut self,
        place: Place<'_>,
        name: Option<Cow<'_, str>>,
        base64: &str,
        anchors: Option<Entries<Cow<'_, str>, CreateAnchor>>,
    ) -> Document {
        let name = self.text(format_args!("{place}/name"), name, 1, MAX_NAME);
        if name.is_none() {
            self.faults.wrong(format!("{place}/name"), "is missing: the name that people see");
        }
        if base64.is_empty() {
            self.faults.wrong(format!("{place}/content_base64"), "is empty");
        }
        let anchors = self.anchors(format_args!("{place}/anchors"), anchors);
        // A slice of the body where it can be: a document of 25 MB is not copied.
        let content = match self.slice(base64) {
            Some(slice) => slice,
            None => Bytes::copy_from_slice(base64.as_bytes()),
        };
        Document::File { name: name.unwrap_or_default(), content: Content::new(content), anchors }
    }

    fn slice(&self, text: &str) -> Option<Bytes> {
        let body = self.body.as_ptr_range();
        let part = text.as_bytes().as_ptr_range();
        (body.start <= part.start && part.end <= body.end).then(|| self.body.slice_ref(text.as_bytes()))
    }

    fn anchors(&mut self, place: Place<'_>, given: Option<Entries<Cow<'_, str>, CreateAnchor>>) -> Anchors {
        let mut anchors = BTreeMap::new();
        for (word, anchor) in given.into_iter().flat_map(|given| given.0) {
            let here = format!("{place}/{}", token(&word));
            let Some(kind) = TabKind::parse(&word) else {
                let kinds = TabKind::ALL.map(TabKind::as_str).join(", ");
                self.faults.add(here, "unknown_field", format!("no such kind of tab; there are {kinds}"));
                continue;
            };
            let anchor = match anchor {
                CreateAnchor::Each(texts) => Anchor::Each(texts),
                CreateAnchor::Everyone(text) => Anchor::Everyone(text),
            };
            let is_bad = |text: &str| text.trim().is_empty() || text.chars().count() > MAX_NAME;
            let bad: Vec<String> = match &anchor {
                Anchor::Everyone(text) => is_bad(text).then_some(here).into_iter().collect(),
                Anchor::Each(texts) => {
                    let bad = texts.iter().filter(|(_, text)| is_bad(text));
                    bad.map(|(key, _)| format!("{here}/{}", token(key))).collect()
                }
            };
            if bad.is_empty() {
                anchors.insert(kind, anchor);
            }
            for place in bad {
                self.faults.wrong(place, format!("an anchor has 1 to {MAX_NAME} characters"));
            }
        }
        Anchors(anchors)
    }

    fn signer(&mut self, at: usize, signer: CreateSigner<'_>) -> NewSigner {
        let place = format_args!("/signers/{at}");
        let name =
            self.text(format_args!("{place}/name"), Some(signer.name), 1, MAX_NAME).unwrap_or_default();
        if name.trim() != name {
            self.wrong_too(format!("{place}/name"), "may neither begin nor end with a blank");
        }
        let email = Email::parse(&signer.email)
            .map_err(|error| self.faults.wrong(format!("{place}/email"), error.to_string()))
            .ok();
        let sms = signer.sms_auth.and_then(|sms| {
            Phone::parse(&sms.phone)
                .map_err(|error| {
                    self.faults.add(format!("{place}/sms_auth/phone"), "phone_invalid", error.to_string());
                })
                .ok()
        });
        let key = self.text(format_args!("{place}/key"), signer.key, 1, MAX_NAME);
        NewSigner {
            key: key.unwrap_or_else(|| format!("signer{}", at + 1)),
            name: Private::new(name),
            email: email.unwrap_or_else(|| Email::trusted(String::new())),
            role: self.text(format_args!("{place}/role"), signer.role, 1, MAX_NAME),
            order: self.order(place, signer.order),
            sms,
            access_code: self.access_code(place, signer.access_code),
            fields: Private::new(self.entries(format_args!("{place}/fields"), signer.fields)),
            authenticated_by: signer.authenticated_by.and_then(|by| self.authenticated_by(place, &by)),
            return_url: self.return_url(place, signer.return_url),
        }
    }

    fn order(&mut self, place: Place<'_>, order: Option<u32>) -> u32 {
        let order = order.unwrap_or(1);
        if order == 0 || order > MAX_ORDER {
            self.faults.wrong(format!("{place}/order"), format!("must be 1 to {MAX_ORDER}"));
        }
        order
    }

    fn access_code(&mut self, place: Place<'_>, code: Option<Cow<'_, str>>) -> Option<Private<String>> {
        let place = format_args!("{place}/access_code");
        let code = self.text(place, code, 1, MAX_ACCESS_CODE)?;
        if code.contains(['<', '>', '&', '#']) {
            self.wrong_too(place.to_string(), "may not hold < > & or #");
        }
        Some(Private::new(code))
    }

    fn authenticated_by(
        &mut self,
        place: Place<'_>,
        by: &CreateAuthenticatedBy<'_>,
    ) -> Option<AuthenticatedBy> {
        let place = format_args!("{place}/authenticated_by");
        let at = by.at.as_deref().map(str::parse::<Timestamp>);
        if matches!(at, Some(Err(_))) {
            self.faults
                .wrong(format!("{place}/at"), "must be a time of RFC 3339, as in 2026-05-01T12:00:00Z");
        }
        let id = self.text(format_args!("{place}/id"), by.id.clone(), 1, MAX_AUTHENTICATION_ID);
        let Some(method) = authentication_method(&by.method) else {
            let words: Vec<_> = AUTHENTICATION_METHODS.iter().map(|(ours, _)| *ours).collect();
            self.faults.wrong(format!("{place}/method"), format!("must be one of {}", words.join(", ")));
            return None;
        };
        Some(AuthenticatedBy { method, at: at.and_then(Result::ok), id })
    }

    fn return_url(&mut self, place: Place<'_>, url: Option<Cow<'_, str>>) -> Option<String> {
        let place = format_args!("{place}/return_url");
        let text = url?;
        if !(self.strictness.is_return_url)(&text) {
            self.faults.add(
                place.to_string(),
                "return_url_refused",
                format!(
                    "must be a whole URL that begins with http:// or https://, without credentials, backslashes or \
                     blanks around it, at most {MAX_RETURN_URL} characters"
                ),
            );
            return None;
        }
        Some(text.into_owned())
    }

    fn locale(&mut self, locale: Option<Cow<'_, str>>) -> Option<String> {
        let locale = locale?;
        let good = (MIN_LOCALE..=MAX_LOCALE).contains(&locale.len())
            && locale.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && locale.starts_with(|c: char| c.is_ascii_alphabetic());
        if !good {
            self.faults.wrong("/locale", "must be a language tag such as de or fr-CA");
            return None;
        }
        Some(locale.into_owned())
    }

    fn expires_in(&mut self, text: Option<Cow<'_, str>>) -> Option<std::time::Duration> {
        let text = text?;
        let life = (self.strictness.life)(&text);
        if life.is_none() {
            self.faults.wrong("/expires_in", duration::LIFE);
        }
        life
    }

    fn frame_ancestors(&mut self, given: Vec<Cow<'_, str>>) -> Vec<String> {
        if given.len() > MAX_FRAME_ANCESTORS {
            self.faults.wrong("/frame_ancestors", format!("may hold at most {MAX_FRAME_ANCESTORS} origins"));
        }
        for (at, text) in given.iter().enumerate() {
            if !(self.strictness.is_frame_ancestor)(text) {
                self.faults.wrong(
                    format!("/frame_ancestors/{at}"),
                    "must be a bare origin such as https://www.example.com, without a path or a wildcard",
                );
            }
        }
        given.into_iter().map(Cow::into_owned).collect()
    }

    fn text(
        &mut self,
        place: Place<'_>,
        text: Option<Cow<'_, str>>,
        least: usize,
        most: usize,
    ) -> Option<String> {
        let text = text?;
        if let Some(fault) = line_fault(&text, least, most) {
            self.faults.wrong(place.to_string(), fault);
        }
        Some(text.into_owned())
    }

    /// Notes what else is wrong with a text, unless something is.
    fn wrong_too(&mut self, place: String, detail: &str) {
        self.faults.add_first(place, "invalid_request", detail);
    }

    /// Text of several lines, which is the message alone.
    fn prose(&mut self, place: Place<'_>, text: Option<Cow<'_, str>>, most: usize) -> Option<String> {
        let text = text?;
        if let Some(fault) = length_fault(&text, 0, most) {
            self.faults.wrong(place.to_string(), fault);
        } else if text.contains(|c: char| c.is_control() && c != '\n') {
            self.faults.wrong(place.to_string(), "may not hold control characters other than line breaks");
        }
        Some(text.into_owned())
    }

    fn entries(
        &mut self,
        place: Place<'_>,
        entries: Option<Entries<String, String>>,
    ) -> BTreeMap<String, String> {
        let entries = entries.map(|entries| entries.0).unwrap_or_default();
        if entries.len() > MAX_ENTRIES {
            self.faults.wrong(place.to_string(), format!("may hold at most {MAX_ENTRIES} entries"));
        }
        for (name, value) in &entries {
            let long = name.is_empty() || name.chars().count() > MAX_NAME || value.chars().count() > MAX_TEXT;
            if long {
                self.faults.wrong(
                    format!("{place}/{}", token(name)),
                    format!("names have 1 to {MAX_NAME} characters, values at most {MAX_TEXT}"),
                );
            }
        }
        entries
    }

    fn keys_are_unique(&mut self, signers: &[NewSigner]) {
        let mut seen = std::collections::HashSet::new();
        for (at, signer) in signers.iter().enumerate() {
            if !seen.insert(signer.key.as_str()) {
                self.wrong_too(format!("/signers/{at}/key"), "another signer has the same key");
            }
        }
    }

    fn anchors_name_signers(&mut self, documents: &[Document], signers: &[NewSigner]) {
        for (at, document) in documents.iter().enumerate() {
            let Document::File { anchors, .. } = document else { continue };
            for (kind, anchor) in &anchors.0 {
                let Anchor::Each(by_key) = anchor else { continue };
                for key in by_key.keys().filter(|key| signers.iter().all(|signer| signer.key != **key)) {
                    self.faults.wrong(
                        format!("/documents/{at}/anchors/{}/{}", kind.as_str(), token(key)),
                        "no signer has this key",
                    );
                }
            }
        }
    }

    fn templates_have_roles(&mut self, documents: &[Document], signers: &[NewSigner]) {
        if !documents
            .iter()
            .any(|document| matches!(document, Document::Template { alias, .. } if !alias.is_empty()))
        {
            return;
        }
        // The upstream would make one recipient of two signers in one role, and one signature would count for both.
        let mut taken = HashMap::new();
        for (at, signer) in signers.iter().enumerate() {
            let detail = match &signer.role {
                None => format!("is missing: with a template, say which role signer {:?} takes", signer.key),
                Some(role) => match taken.entry(role.to_lowercase()) {
                    Entry::Vacant(free) => {
                        free.insert(signer.key.as_str());
                        continue;
                    }
                    Entry::Occupied(_) if self.strictness.lets_share_roles => continue,
                    Entry::Occupied(first) => {
                        format!("is that of signer {:?}: a role of a template is for one signer", first.get())
                    }
                },
            };
            self.faults.add_first(format!("/signers/{at}/role"), "template_role_mismatch", detail);
        }
    }
}

#[cfg(test)]
mod tests;
