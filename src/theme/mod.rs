//! How our pages look, visitors' and operators' alike: the brand of the settings, the colours, the drawings,
//! and the one style sheet. It knows no page.
//!
//! The sheet is made once, at the start, and named in the policy by its digest, so that no other style can
//! ever apply. Nothing but checked colours goes into it.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};

mod colour;
mod icons;

use colour::{Colour, EDGE_CONTRAST, TEXT_CONTRAST};

pub use icons::Icon;

/// The brand, ready to be shown.
#[derive(Debug, Clone)]
pub struct Theme {
    name: String,
    logo: Option<String>,
    style: String,
    /// The digest of the style sheet, as a source of the policy.
    style_source: String,
}

/// An image, sent with every page from memory, because the policy allows no other host.
#[derive(Debug, Clone)]
pub enum Logo {
    /// PNG.
    Png(Vec<u8>),
    /// SVG. Shown as an image, in which nothing can run.
    Svg(Vec<u8>),
}

/// A colour that is not written as `#rrggbb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a colour is written as #rrggbb")]
pub struct NotAColour;

impl Theme {
    /// The look of a brand; colours are `#rrggbb`.
    pub fn new(name: &str, colour: &str, background: &str, logo: Option<Logo>) -> Result<Self, NotAColour> {
        let colour = Colour::parse(colour).ok_or(NotAColour)?;
        let background = Colour::parse(background).ok_or(NotAColour)?;
        let style = style(colour, background);
        Ok(Self {
            name: name.to_owned(),
            logo: logo.map(Logo::into_uri),
            style_source: source(&style),
            style,
        })
    }

    /// This look for other pages, with rules of their own after the common ones.
    #[must_use]
    pub fn extended(&self, rules: &str) -> Self {
        let style = format!("{}{rules}", self.style);
        Self { name: self.name.clone(), logo: self.logo.clone(), style_source: source(&style), style }
    }

    /// The brand's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The logo as a `data:` URI.
    pub fn logo(&self) -> Option<&str> {
        self.logo.as_deref()
    }

    /// The style sheet. Nothing in it comes from outside.
    pub fn style(&self) -> &str {
        &self.style
    }

    /// The style sheet as a source of a content security policy: its digest.
    pub fn style_source(&self) -> &str {
        &self.style_source
    }
}

/// A style sheet or script that stands in the page, as a source of a content security policy: its digest.
pub fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(digest::digest(&digest::SHA256, text.as_bytes())))
}

impl Default for Theme {
    fn default() -> Self {
        Self::new("Document signing", "#1f4f8f", "#f5f6f8", None).expect("these are colours")
    }
}

impl Logo {
    fn into_uri(self) -> String {
        let (kind, bytes) = match self {
            Self::Png(bytes) => ("png", bytes),
            Self::Svg(bytes) => ("svg+xml", bytes),
        };
        format!("data:image/{kind};base64,{}", STANDARD.encode(bytes))
    }
}

fn style(brand: Colour, background: Colour) -> String {
    let edge = brand.until_seen_on(Colour::WHITE, Colour::BLACK, EDGE_CONTRAST);
    let dark = brand.until_seen_on(Colour::DARK_CARD, Colour::WHITE, TEXT_CONTRAST);
    let light = brand.until_seen_on(Colour::WHITE, Colour::BLACK, TEXT_CONTRAST);
    format!(
        ":root{{--brand:{brand};--ink:{ink};--edge:{edge};--accent:{light};--page:{background};--on-page:{on_page}}}\
         @media(prefers-color-scheme:dark){{:root{{--brand:{dark};--ink:{dark_ink};--edge:{dark};--accent:{dark}}}}}\
         {SHEET}",
        ink = brand.ink(),
        on_page = background.ink(),
        dark_ink = dark.ink(),
    )
}

/// What a card leaves out where there is little room for its text.
macro_rules! narrow {
    () => {
        concat!(
            ".card{padding:1rem .75rem}h1{font-size:1.125rem}",
            ".note{padding-inline:.5rem}.button{padding-inline:.25rem}.note svg,.button svg{display:none}",
            "dl{grid-template-columns:minmax(0,1fr);gap:0}dd{margin-bottom:.25rem}",
        )
    };
}

/// Where words may be broken, where there is less than the longest of them needs.
macro_rules! narrowest {
    () => {
        concat!(
            "h1,h2,legend,.button,.card>p,.note{-webkit-hyphens:auto;hyphens:auto;hyphenate-limit-chars:10 4 4}",
            ".name{-webkit-hyphens:none;hyphens:none}",
        )
    };
}

/// Sizes are in rem, so that the pages grow with the visitor's own text size; at 320 px nothing scrolls
/// sideways; targets are at least 3 rem high (WCAG 2.2, 2.5.5). A window that is narrow for its text gives all its room to
/// words, which are broken with a hyphen, if at all. A media query counts in the text size of the browser; where only the
/// text of the page is made larger, a query of its `main` counts in that.
const SHEET: &str = concat!(
    ":root{color-scheme:light dark;--card:#fff;--text:#12161c;--quiet:#4a5361;--line:#d9dee6;--tint:#eef2f7;",
    "--good:#17693a;--good-tint:#e3f4ea;--warn:#7a4a00;--warn-tint:#fdf1da;--bad:#a1262c;--bad-tint:#fbe9e9}",
    "@media(prefers-color-scheme:dark){:root{--page:#12161c;--on-page:#e8ecf2;--card:#1d222b;--text:#f0f3f7;",
    "--quiet:#b3bcc9;--line:#39414e;--tint:#2a313d;--good:#7fd6a2;--good-tint:#1c3a2a;--warn:#f0c674;",
    "--warn-tint:#3d3120;--bad:#f3a0a4;--bad-tint:#432529}}",
    "*{box-sizing:border-box}",
    "html{-webkit-text-size-adjust:100%;text-size-adjust:100%}",
    "body{margin:0;min-height:100vh;min-height:100dvh;display:flex;flex-direction:column;background:var(--page);",
    "color:var(--on-page);font:1rem/1.55 system-ui,-apple-system,\"Segoe UI\",Roboto,\"Helvetica Neue\",Arial,",
    "sans-serif;overflow-wrap:break-word}",
    // Names to be repeated to the letter: of hosts, senders, codes.
    ".name,dd{overflow-wrap:anywhere}",
    // What stands beside a drawing may be narrower than its longest word.
    "header span,.note span,.pick span,.button span,fieldset{min-width:0}",
    "body>*{width:100%;max-width:33rem;margin-inline:auto;padding-inline:1rem}",
    "header{display:flex;align-items:center;gap:.75rem;padding-block:1.5rem 1rem;font-weight:600;font-size:1.0625rem}",
    "header img{display:block;max-height:2.5rem;max-width:10rem}",
    ".mark{flex:none;width:2.25rem;height:2.25rem;border-radius:.625rem;background:var(--brand);color:var(--ink);",
    "display:grid;place-items:center}",
    ".mark svg{width:1.25rem;height:1.25rem}",
    "main{flex:1 0 auto;container-type:inline-size}",
    ".card{background:var(--card);color:var(--text);border:1px solid var(--line);border-radius:1rem;",
    "padding:clamp(1.25rem,5vw,2.25rem);box-shadow:0 1px 2px rgb(16 24 40/.06),0 12px 32px -12px rgb(16 24 40/.14)}",
    ".icon{width:3.25rem;height:3.25rem;border-radius:50%;display:grid;place-items:center;margin-bottom:1.25rem;",
    "background:var(--tint);color:var(--accent)}",
    ".icon svg{width:1.625rem;height:1.625rem}",
    ".good .icon{background:var(--good-tint);color:var(--good)}",
    ".warn .icon{background:var(--warn-tint);color:var(--warn)}",
    ".bad .icon{background:var(--bad-tint);color:var(--bad)}",
    "svg{fill:none;stroke:currentColor;stroke-width:2;stroke-linecap:round;stroke-linejoin:round;display:block}",
    "h1{font-size:clamp(1.375rem,1.15rem + 1.2vw,1.75rem);line-height:1.25;letter-spacing:-.01em;margin:0 0 .625rem;",
    "text-wrap:balance}",
    "p{margin:0 0 1rem}",
    ".card>:last-child,.card form:last-child{margin-bottom:0}",
    ".quiet{color:var(--quiet);font-size:.9375rem}",
    ".note{display:flex;gap:.75rem;background:var(--tint);border-radius:.75rem;padding:.75rem .875rem;",
    "margin:0 0 1.25rem;font-size:.9375rem}",
    ".note svg{flex:none;width:1.25rem;height:1.25rem;margin-top:.15rem;color:var(--accent)}",
    "dl{display:grid;grid-template-columns:auto 1fr;gap:.25rem 1rem;margin:0 0 1.25rem;padding:.875rem 0;",
    "border-block:1px solid var(--line);font-size:.9375rem}",
    "dt{color:var(--quiet)}dd{margin:0;font-weight:600}",
    "form{margin:1.5rem 0 1rem}",
    "fieldset{border:0;margin:0 0 1.25rem;padding:0}legend{font-weight:600;padding:0;margin-bottom:.5rem}",
    ".pick{display:flex;gap:.875rem;align-items:center;min-height:3.25rem;padding:.625rem .875rem;",
    "border:1px solid var(--line);border-radius:.75rem;margin-bottom:.5rem;cursor:pointer}",
    ".pick input{flex:none;width:1.25rem;height:1.25rem;margin:0;accent-color:var(--accent)}",
    ".pick:has(:checked){border-color:var(--edge);background:var(--tint)}",
    ".button{display:flex;align-items:center;justify-content:center;gap:.625rem;width:100%;min-height:3.25rem;",
    "padding:.75rem 1.25rem;border:2px solid var(--edge);border-radius:.75rem;background:var(--brand);",
    "color:var(--ink);font:inherit;font-weight:600;font-size:1.0625rem;text-align:center;text-decoration:none;",
    "cursor:pointer;-webkit-hyphens:none;hyphens:none}",
    ".button svg{width:1.25rem;height:1.25rem;flex:none}",
    ".button:hover{filter:brightness(1.08)}.button:active{filter:brightness(.94)}",
    ".plain{background:transparent;border-color:var(--edge);color:var(--text);margin:1.5rem 0 1rem}",
    "form+.plain{margin-top:0}",
    ":focus-visible{outline:3px solid var(--text);outline-offset:3px;box-shadow:0 0 0 3px var(--card)}",
    "footer{padding-block:1.25rem 2rem;font-size:.875rem}",
    "footer p{margin:0 0 .25rem}",
    ".test{display:inline-block;background:var(--warn-tint);color:var(--warn);border-radius:.5rem;padding:.25rem .625rem}",
    ".wait svg{animation:turn 1.6s linear infinite}",
    "@keyframes turn{to{transform:rotate(1turn)}}",
    "@media(prefers-reduced-motion:reduce){*{animation:none!important}}",
    "@media(min-width:40rem){header{padding-block:4rem 1.25rem}}",
    "@media(max-width:20rem){body>*{padding-inline:.5rem}header{gap:.5rem}.mark{width:1.75rem;height:1.75rem}",
    narrow!(),
    "}@container(max-width:16rem){",
    narrow!(),
    "}@media(max-width:14rem){",
    narrowest!(),
    "}@container(max-width:12rem){",
    narrowest!(),
    "}",
    "@media(forced-colors:active){.button,.card{border-color:ButtonText}}",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_made_of_checked_colours_only() {
        for wrong in ["#1f4f8f}body{display:none", "url(https://evil.example)", "blue", ""] {
            assert!(Theme::new("a", wrong, "#ffffff", None).is_err(), "{wrong}");
            assert!(Theme::new("a", "#ffffff", wrong, None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn l5_the_fixed_pairs_of_the_sheet_have_contrast() {
        for (text, ground) in [
            ("#12161c", "#ffffff"),
            ("#4a5361", "#ffffff"),
            ("#17693a", "#e3f4ea"),
            ("#7a4a00", "#fdf1da"),
            ("#a1262c", "#fbe9e9"),
            ("#12161c", "#eef2f7"),
            ("#e8ecf2", "#12161c"),
            ("#f0f3f7", "#1d222b"),
            ("#b3bcc9", "#1d222b"),
            ("#7fd6a2", "#1c3a2a"),
            ("#f0c674", "#3d3120"),
            ("#f3a0a4", "#432529"),
            ("#f0f3f7", "#2a313d"),
        ] {
            assert!(
                SHEET.contains(text) && SHEET.contains(ground) || ground == "#ffffff",
                "{text} on {ground}"
            );
            let contrast = Colour::parse(text).unwrap().contrast(Colour::parse(ground).unwrap());
            assert!(contrast >= TEXT_CONTRAST, "{text} on {ground}: {contrast:.2}");
        }
    }

    #[test]
    fn a_logo_is_carried_in_the_page() {
        let theme = Theme::new("a", "#ffffff", "#000000", Some(Logo::Svg(b"<svg/>".to_vec()))).unwrap();
        assert_eq!(theme.logo.as_deref(), Some("data:image/svg+xml;base64,PHN2Zy8+"));
    }
}
