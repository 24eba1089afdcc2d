//! Where an anchor is written in the text of a document.

use super::{Glyph, Kind, Text};

/// How an anchor is compared: the vendor's `anchor…` switches.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::emulator) struct Matching {
    /// `anchorCaseSensitive`.
    pub case_sensitive: bool,
    /// `anchorMatchWholeWord`.
    pub whole_word: bool,
    /// `anchorAllowWhiteSpaceInCharacters`.
    pub extra_blanks: bool,
}

/// Where an anchor stands: the page from 1, points from the left and from the top.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::emulator) struct Spot {
    /// The page, from 1.
    pub page: usize,
    /// Points from the left edge.
    pub x: f32,
    /// Points from the top edge to the base line.
    pub y: f32,
}

impl Text {
    /// Every place where `anchor` is written.
    pub(in crate::emulator) fn find(&self, anchor: &str, matching: Matching) -> Vec<Spot> {
        let mut spots: Vec<Spot> = Vec::new();
        for (index, page) in self.pages.iter().enumerate() {
            // A gap may be a blank or only kerning: either reading counts.
            for gaps_are_blanks in [false, true] {
                for (x, y) in find_in(&page.glyphs, anchor, matching, gaps_are_blanks) {
                    let spot = Spot { page: index + 1, x, y };
                    if !spots.contains(&spot) {
                        spots.push(spot);
                    }
                }
            }
        }
        spots
    }
}

fn find_in(glyphs: &[Glyph], anchor: &str, matching: Matching, gaps_are_blanks: bool) -> Vec<(f32, f32)> {
    let fold = |c: char| match c {
        c if c.is_whitespace() => ' ',
        c if matching.case_sensitive => c,
        c => c.to_lowercase().next().unwrap_or(c),
    };
    let wanted: Vec<char> = anchor.trim().chars().map(fold).collect();
    let mut found = Vec::new();
    // An anchor stands on one line.
    for line in glyphs.split(|glyph| glyph.kind == Kind::Line).filter(|_| !wanted.is_empty()) {
        let glyphs = without_gaps(line, gaps_are_blanks);
        let text: Vec<char> = glyphs.iter().map(|glyph| fold(glyph.character)).collect();
        let is_word =
            |index: Option<usize>| index.and_then(|i| text.get(i)).is_some_and(|c| c.is_alphanumeric());
        for (at, glyph) in glyphs.iter().enumerate() {
            let Some(length) = matched(&text[at..], &wanted, matching.extra_blanks) else { continue };
            if !matching.whole_word || !(is_word(at.checked_sub(1)) || is_word(Some(at + length))) {
                found.push((glyph.x, glyph.y));
            }
        }
    }
    found
}

/// The glyphs of a line with its gaps as blanks, or left out. A gap beside a blank is part of that blank.
fn without_gaps(line: &[Glyph], gaps_are_blanks: bool) -> Vec<Glyph> {
    let mut kept: Vec<Glyph> = Vec::with_capacity(line.len());
    for glyph in line {
        let last = kept.last_mut();
        if glyph.kind == Kind::Gap {
            if gaps_are_blanks && !last.is_some_and(|last| last.character.is_whitespace()) {
                kept.push(*glyph);
            }
            continue;
        }
        match last {
            Some(last) if last.kind == Kind::Gap && glyph.character.is_whitespace() => *last = *glyph,
            _ => kept.push(*glyph),
        }
    }
    kept
}

/// How much of the text is the anchor, if it begins with it. There may be one blank more after a letter, and any
/// number more after a blank (SPEC: `anchorAllowWhiteSpaceInCharacters`).
fn matched(text: &[char], wanted: &[char], extra_blanks: bool) -> Option<usize> {
    let is_blank = |at: usize| text.get(at) == Some(&' ');
    let mut at = 0;
    for (index, wanted_here) in wanted.iter().enumerate() {
        if text.get(at) != Some(wanted_here) {
            return None;
        }
        at += 1;
        let goes_on = wanted.get(index + 1).is_some_and(|next| *next != ' ');
        if extra_blanks && goes_on && is_blank(at) {
            at += 1;
            while *wanted_here == ' ' && is_blank(at) {
                at += 1;
            }
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::pdf::{read::read, write::tests::page_drawn_by};

    const PLAIN: Matching = Matching { case_sensitive: false, whole_word: false, extra_blanks: false };
    const WIDE: Matching = Matching { extra_blanks: true, ..PLAIN };

    fn text_of(instructions: &str) -> Text {
        read(&page_drawn_by(instructions)).unwrap()
    }

    #[test]
    fn anchors_are_found_however_they_were_drawn() {
        for instructions in [
            "BT /F1 12 Tf 100 700 Td (before /sn1/ after) Tj ET",
            "BT /F1 12 Tf 100 700 Td [(/s) -30 (n1) 12.5 (/)] TJ ET",
            "BT /F1 12 Tf 14 TL 1 0 0 1 100 714 Tm (/sn1/) ' ET",
            "BT /F1 12 Tf 14 TL 100 714 Td 0 0 (/sn1/) \" ET",
            "BT /F1 12 Tf 100 700 Td <2F736E312F> Tj ET",
            "q 2 0 0 2 0 0 cm BT /F1 6 Tf 50 350 Td (/sn) Tj (1/) Tj ET Q",
        ] {
            let spots = text_of(instructions).find("/sn1/", PLAIN);
            assert_eq!(spots.len(), 1, "{instructions}");
            assert!((spots[0].y - 142.0).abs() < 2.0, "{instructions}: {spots:?}");
        }
    }

    #[test]
    fn the_switches_of_an_anchor_are_honoured() {
        let text = text_of("BT /F1 12 Tf 100 700 Td (Sign Here and resign heresy) Tj ET");
        assert_eq!(text.find("sign here", PLAIN).len(), 2);
        assert_eq!(text.find("sign here", Matching { case_sensitive: true, ..PLAIN }).len(), 1);
        assert_eq!(text.find("sign here", Matching { whole_word: true, ..PLAIN }).len(), 1);
        assert_eq!(text.find("SignHere", PLAIN).len(), 0);
        assert_eq!(text.find("SignHere", WIDE).len(), 2);
    }

    #[test]
    fn extra_blanks_are_taken_as_far_as_the_vendor_takes_them() {
        let text = text_of(
            "BT /F1 12 Tf 14 TL 100 700 Td (Docu Sign, Inc   Ltd, Acme   Corp) Tj T* (uration) Tj ET",
        );
        for (anchor, plain, wide) in [
            ("DocuSign", 0, 1),
            ("Docu Sign", 1, 1),
            ("Inc Ltd", 0, 1),
            ("Inc   Ltd", 1, 1),
            ("AcmeCorp", 0, 0),
            ("DocuSign,Inc", 0, 1),
            // The next line is another place.
            ("Corpuration", 0, 0),
            ("Corp uration", 0, 0),
            (" ", 0, 0),
        ] {
            assert_eq!(text.find(anchor, PLAIN).len(), plain, "{anchor}");
            assert_eq!(text.find(anchor, WIDE).len(), wide, "{anchor}");
        }
        // A gap is a blank or nothing, and no blank more beside one.
        let kerned = text_of("BT /F1 12 Tf 100 700 Td [(Sign) -400 (here or Sign ) -400 (there)] TJ ET");
        for (anchor, hits) in [("Sign here", 1), ("Signhere", 1), ("Sign there", 1)] {
            assert_eq!(kerned.find(anchor, PLAIN).len(), hits, "{anchor}");
        }
    }
}
