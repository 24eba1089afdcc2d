//! Colours, and whether they can be told apart (WCAG 2.2, 1.4.3 and 1.4.11).

use std::fmt;

/// Text must differ so much from its ground.
pub(super) const TEXT_CONTRAST: f64 = 4.5;
/// The edge of a control must differ so much from its ground.
pub(super) const EDGE_CONTRAST: f64 = 3.0;

/// An opaque sRGB colour. It can only be written as `#rrggbb`, so it may go into a style sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colour([u8; 3]);

impl Colour {
    pub(super) const BLACK: Self = Self([0x12, 0x16, 0x1c]);
    pub(super) const WHITE: Self = Self([0xff; 3]);
    /// The card in the dark.
    pub(super) const DARK_CARD: Self = Self([0x1d, 0x22, 0x2b]);

    /// Reads `#rrggbb`, and nothing else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix('#').filter(|hex| hex.len() == 6 && hex.is_ascii())?;
        let part = |at: usize| {
            let digits = hex.get(at..at + 2).filter(|two| two.bytes().all(|c| c.is_ascii_hexdigit()))?;
            u8::from_str_radix(digits, 16).ok()
        };
        Some(Self([part(0)?, part(2)?, part(4)?]))
    }

    /// How well this can be told from another colour: 1 (not at all) to 21.
    pub(super) fn contrast(self, other: Self) -> f64 {
        let (one, two) = (self.luminance() + 0.05, other.luminance() + 0.05);
        one.max(two) / one.min(two)
    }

    /// The colour for text on this one. Of black and white one always has enough contrast.
    pub(super) fn ink(self) -> Self {
        if self.contrast(Self::WHITE) >= TEXT_CONTRAST { Self::WHITE } else { Self([0; 3]) }
    }

    /// This colour, moved towards another one until it can be told from the ground.
    pub(super) fn until_seen_on(self, ground: Self, towards: Self, wanted: f64) -> Self {
        (0..=20_u16)
            .map(|step| self.mixed(towards, step))
            .find(|mixed| mixed.contrast(ground) >= wanted)
            .unwrap_or(towards)
    }

    /// `parts` of 20 of the way to another colour.
    fn mixed(self, other: Self, parts: u16) -> Self {
        let mut mixed = [0; 3];
        for (at, part) in mixed.iter_mut().enumerate() {
            let sum = u16::from(self.0[at]) * (20 - parts) + u16::from(other.0[at]) * parts;
            *part = u8::try_from(sum / 20).unwrap_or(u8::MAX);
        }
        Self(mixed)
    }

    /// Relative luminance (WCAG 2.2, definitions).
    fn luminance(self) -> f64 {
        let [red, green, blue] = self.0.map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_plain_hex_is_a_colour() {
        assert_eq!(Colour::parse("#1f4F8f").unwrap().to_string(), "#1f4f8f");
        for wrong in ["", "#fff", "red", "#12345g", "#+1+2+3", "#1f4f8f;", "#€123", "1f4f8f"] {
            assert_eq!(Colour::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn contrast_is_that_of_the_standard() {
        let black = Colour::parse("#000000").unwrap();
        assert!((black.contrast(Colour::WHITE) - 21.0).abs() < 0.01);
        let grey = Colour::parse("#767676").unwrap();
        assert!((grey.contrast(Colour::WHITE) - 4.54).abs() < 0.01, "a well-known pair");
    }

    proptest! {
        #[test]
        fn l5_every_brand_colour_can_be_read_and_seen(red: u8, green: u8, blue: u8) {
            let brand = Colour([red, green, blue]);
            prop_assert!(brand.contrast(brand.ink()) >= TEXT_CONTRAST);
            let dark = brand.until_seen_on(Colour::DARK_CARD, Colour::WHITE, EDGE_CONTRAST);
            prop_assert!(dark.contrast(Colour::DARK_CARD) >= EDGE_CONTRAST);
            prop_assert!(dark.contrast(dark.ink()) >= TEXT_CONTRAST);
            let edge = brand.until_seen_on(Colour::WHITE, Colour::BLACK, EDGE_CONTRAST);
            prop_assert!(edge.contrast(Colour::WHITE) >= EDGE_CONTRAST);
        }
    }
}
