//! What a template is called: a sender's own names first, then those that all senders share.
//!
//! Senders have accounts of their own, and a template has another id in each, so the same word may mean another
//! template for another sender.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use super::SenderName;

/// Ids at the upstream, by name.
pub type Ids = BTreeMap<String, String>;
type OfMade = Box<dyn Fn(&SenderName, &str) -> Option<String> + Send + Sync>;

/// The names of templates.
#[derive(Default)]
pub struct TemplateNames {
    everybodys: Ids,
    by_sender: HashMap<SenderName, Ids>,
    of_made: Option<OfMade>,
}

impl TemplateNames {
    /// Those of the settings: of all senders, and of each.
    pub fn new(everybodys: Ids, by_sender: HashMap<SenderName, Ids>) -> Self {
        Self { everybodys, by_sender, of_made: None }
    }

    /// With those that callers gave to senders that they made.
    #[must_use]
    pub fn and_of_made(
        self,
        find: impl Fn(&SenderName, &str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { of_made: Some(Box::new(find)), ..self }
    }

    /// The id of the template that a name means for a sender.
    pub fn find(&self, sender: &SenderName, name: &str) -> Option<String> {
        let made = self.of_made.as_ref().and_then(|find| find(sender, name));
        made.or_else(|| self.in_settings(sender, name).cloned())
    }

    /// As [`find`](Self::find), by the words of the settings alone: what a caller may use is written in them, and
    /// a name that the caller gave proves nothing.
    pub fn in_settings(&self, sender: &SenderName, name: &str) -> Option<&String> {
        let own = self.by_sender.get(sender).and_then(|own| own.get(name));
        own.or_else(|| self.everybodys.get(name))
    }

    /// A sender's own, if the settings give it some.
    pub fn own(&self, sender: &SenderName) -> Option<&Ids> {
        self.by_sender.get(sender)
    }
}

impl fmt::Debug for TemplateNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemplateNames").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_senders_own_name_goes_before_everybodys() {
        let ids = |id: &str| Ids::from([("nda".to_owned(), id.to_owned())]);
        let (sales, made, other) = (SenderName::new("sales"), SenderName::new("made"), SenderName::new("hr"));
        let of_sender = HashMap::from([(sales.clone(), ids("of-sales"))]);
        let names = TemplateNames::new(ids("of-all"), of_sender).and_of_made({
            let made = made.clone();
            move |sender, name| (*sender == made && name == "nda").then(|| "of-made".to_owned())
        });
        assert_eq!(names.find(&sales, "nda").as_deref(), Some("of-sales"));
        assert_eq!(names.find(&made, "nda").as_deref(), Some("of-made"));
        assert_eq!(names.find(&other, "nda").as_deref(), Some("of-all"));
        assert_eq!(
            names.in_settings(&made, "nda").map(String::as_str),
            Some("of-all"),
            "not the caller's word"
        );
        assert_eq!(names.find(&sales, "other"), None);
    }
}
