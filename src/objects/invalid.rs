//! What is wrong with a request: every fault at once, each with its place (RFC 6901) and the next step.

use serde::Serialize;

/// One fault of a request. The refused value itself is never part of it: it may be personal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Invalid {
    /// Where: a JSON pointer.
    pub pointer: String,
    /// One of our codes, such as `invalid_request` or `phone_invalid`.
    pub code: &'static str,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl Invalid {
    /// Whether it is about this place, or about what that is a part of. The whole is only about itself.
    fn covers(&self, pointer: &str) -> bool {
        let below = pointer.strip_prefix(self.pointer.as_str());
        below.is_some_and(|below| below.is_empty() || (below.starts_with('/') && !self.pointer.is_empty()))
    }
}

/// All faults of a request, in the order of the document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invalids(pub Vec<Invalid>);

/// The most faults that one answer lists.
const MAX_LISTED: usize = 100;

impl Invalids {
    /// One fault alone, of the general kind.
    pub fn one(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::of(pointer, "invalid_request", detail)
    }

    /// One fault alone, with a code of its own.
    pub fn of(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self(vec![Invalid { pointer: pointer.into(), code, detail: detail.into() }])
    }

    /// Notes a fault.
    pub fn add(&mut self, pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) {
        if !self.is_full() {
            self.0.push(Invalid { pointer: pointer.into(), code, detail: detail.into() });
        }
    }

    /// Whether further ones would not be listed.
    pub(crate) const fn is_full(&self) -> bool {
        self.0.len() >= MAX_LISTED
    }

    /// Notes a fault of the general kind.
    pub fn wrong(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.add(pointer, "invalid_request", detail);
    }

    /// Notes what else is wrong with a value, unless it is known to be wrong: one fault of it is enough to look at it again.
    pub(super) fn add_first(&mut self, pointer: String, code: &'static str, detail: impl Into<String>) {
        if self.0.iter().all(|known| known.pointer != pointer) {
            self.add(pointer, code, detail);
        }
    }

    /// Notes what was found wrong otherwise, except at places that are known to be wrong and below them: what
    /// stands there was not looked at as it was meant.
    pub fn add_elsewhere(&mut self, more: Self) {
        let known = self.0.len();
        for fault in more.0 {
            let is_known = self.0[..known].iter().any(|known| known.covers(&fault.pointer));
            if !is_known {
                self.add(fault.pointer, fault.code, fault.detail);
            }
        }
    }

    /// Whether nothing is wrong.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All is well, or all that is wrong.
    pub fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    /// The code of the whole answer: that of the faults if they agree, else the general one.
    pub fn code(&self) -> &'static str {
        match self.0.split_first() {
            Some((first, rest)) if rest.iter().all(|other| other.code == first.code) => first.code,
            _ => "invalid_request",
        }
    }
}

/// Escapes one reference token of a JSON pointer (RFC 6901, section 4).
pub fn token(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
