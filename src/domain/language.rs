//! The languages that visitors meet.

/// A language that our pages speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Language {
    /// Deutsch.
    De,
    /// English, when nothing else fits.
    #[default]
    En,
    /// Español.
    Es,
    /// Français.
    Fr,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::De, Self::En, Self::Es, Self::Fr];

    /// The primary subtag (RFC 5646).
    pub const fn tag(self) -> &'static str {
        match self {
            Self::De => "de",
            Self::En => "en",
            Self::Es => "es",
            Self::Fr => "fr",
        }
    }

    /// The language of a tag such as `de`, `de-AT` or `fr_CA`, if our pages speak it.
    pub fn from_tag(tag: &str) -> Option<Self> {
        let primary = tag.split(['-', '_']).next()?.trim();
        Self::ALL.into_iter().find(|language| language.tag().eq_ignore_ascii_case(primary))
    }

    /// The best of an `Accept-Language` header (RFC 9110, 12.5.4); English when none fits.
    pub fn negotiate(accept: &str) -> Self {
        let mut best = (0.0_f32, Self::En);
        for item in accept.split(',').take(20) {
            let mut parts = item.split(';');
            let Some(language) = parts.next().and_then(Self::from_tag) else { continue };
            let quality = parts
                .find_map(|part| part.trim().strip_prefix("q="))
                .map_or(Some(1.0), |text| text.trim().parse::<f32>().ok())
                .filter(|quality| (0.0..=1.0).contains(quality))
                .unwrap_or(0.0);
            if quality > best.0 {
                best = (quality, language);
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_language_wins() {
        for (accept, expected) in [
            ("de-AT,de;q=0.9,en;q=0.8", Language::De),
            ("nl, fr;q=0.5, es;q=0.7", Language::Es),
            ("xx", Language::En),
            ("", Language::En),
            ("fr;q=0", Language::En),
            ("de;q=nan,fr;q=0.1", Language::Fr),
        ] {
            assert_eq!(Language::negotiate(accept), expected, "{accept}");
        }
    }
}
