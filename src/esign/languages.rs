//! The languages of the upstream's signing pages.

/// As the upstream spells them (Accounts: listSupportedLanguages, read in mid 2026), sorted.
const SUPPORTED: &[&str] = &[
    "ar", "bg", "cs", "da", "de", "el", "en", "en_GB", "es", "es_MX", "et", "fa", "fi", "fr", "fr_CA", "he",
    "hi", "hr", "hu", "id", "it", "ja", "ko", "lt", "lv", "ms", "nl", "no", "pl", "pt", "pt_BR", "ro", "ru",
    "sk", "sl", "sr", "sv", "th", "tr", "uk", "vi", "zh_CN", "zh_TW",
];

/// The upstream's spelling of a tag such as `de-AT`, `fr_CA` or `zh-Hant`; none if it has no such language.
pub(super) fn supported(tag: &str) -> Option<&'static str> {
    let tag = tag.trim().replace('-', "_");
    let find = |wanted: &str| SUPPORTED.iter().copied().find(|known| known.eq_ignore_ascii_case(wanted));
    if let Some(exact) = find(&tag) {
        return Some(exact);
    }
    let (primary, rest) = tag.split_once('_').unwrap_or((&tag, ""));
    match primary.to_ascii_lowercase().as_str() {
        "nb" | "nn" => find("no"),
        "zh" if ["hant", "hk", "mo"].iter().any(|part| rest.to_ascii_lowercase().starts_with(part)) => {
            find("zh_TW")
        }
        "zh" => find("zh_CN"),
        primary => find(primary),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_spelled_as_the_upstream_does() {
        for (tag, expected) in [
            ("de", Some("de")),
            ("de-AT", Some("de")),
            ("EN-gb", Some("en_GB")),
            ("fr_CA", Some("fr_CA")),
            ("nb-NO", Some("no")),
            ("zh-Hant-TW", Some("zh_TW")),
            ("zh", Some("zh_CN")),
            ("tlh", None),
            ("", None),
            ("de&x=1", None),
        ] {
            assert_eq!(supported(tag), expected, "{tag}");
        }
    }
}
