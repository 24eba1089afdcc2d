//! A field's `validationPattern`, or that of its kind: whether what its signer wrote is of that form.
//!
//! The vendor's page looks at it in the signer's browser (the vendor's blog, "Use regex validation in envelopes' tabs"),
//! as JavaScript. Here a library reads it that means by `\d`, `\w` and `\b` what a browser does and takes no pattern that
//! could take long. It has no looks ahead and no references to groups: a pattern with what it cannot read holds nobody.
//! That a match anywhere in the text counts, unless the pattern says `^` and `$`, is our reading.

use regex_lite::RegexBuilder;

/// What a pattern may come to once it is read, in bytes: a text is gone through once for each part of it.
const MAX_PROGRAM: usize = 256 * 1024;

/// Whether a text is of this form, or the form cannot be read.
pub(super) fn allows(pattern: &str, text: &str) -> bool {
    let read = RegexBuilder::new(pattern).size_limit(MAX_PROGRAM).build();
    read.map_or(true, |pattern| pattern.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_browser() {
        for (pattern, matching, other) in [
            (r"^[1-9]\d{2}-\d{3}-\d{4}$", "206-555-0100", "006-555-0100"),
            (r"^\d{5}(-\d{4})?$", "98101-1234", "98101-12"),
            (r"^\d{5}$", "98101", "\u{669}\u{668}\u{661}\u{660}\u{661}"),
            (r"\d{3}", "a1234", "12"),
            (r"^[\w.+-]+@[a-z]+\.(com|org)$", "a.b+c-d@x.org", "a@x.net"),
            (r"^\w{1,20}@\w{1,20}$", "ada@example", "\u{e4}da@example"),
            (r"^\d{2}\/\d{2}\/\d{4}$", "01/02/2026", "01-02-2026"),
            (r"^[^\s,]*$", "a-b", "a,b"),
            (r"^[\s\S]{2}$", "\n\u{e4}", "\n"),
            (r"^(a|b)*?c+$", "abac", "ab"),
            (r"^[a\-z]$", "-", "b"),
            (r"^[^<>]{1,1000}$", "a", "<a>"),
            (r"\bcat\b", "a cat.", "cats"),
            ("^[0-9]$", "1", "1\n"),
        ] {
            assert!(allows(pattern, matching), "{pattern} {matching}");
            assert!(!allows(pattern, other), "{pattern} {other}");
        }
    }

    #[test]
    fn what_is_not_read_holds_nobody() {
        for pattern in ["(", "[a", r"^(?=.*\d).{4,}$", r"^(a|b)\1$", "((((a{0,999}){0,999}){0,999}){0,999})b"]
        {
            assert!(allows(pattern, "no such text"), "{pattern}");
        }
    }
}
