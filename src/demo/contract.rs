//! The engagement letter: a PDF that the website writes for each order, as a real one would, with
//! anchor strings where signature and date belong.
//!
//! Only fonts that every reader has, so nothing is embedded. Lines are broken by hand: the text is
//! ours, and only the visitor's name varies.

use pdf_writer::{Content, Finish as _, Name, Pdf, Rect, Ref, Str, TextStr};

/// Where a signature goes, and its date. White on white: people need not see them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Anchors {
    pub(super) sign: &'static str,
    pub(super) date: &'static str,
}

/// The client's.
pub(super) const CLIENT: Anchors = Anchors { sign: "/sn1/", date: "/dt1/" };
/// The company's own, where its partner signs, too.
pub(super) const PARTNER: Anchors = Anchors { sign: "/sn2/", date: "/dt2/" };

const WIDTH: f32 = 595.0;
const HEIGHT: f32 = 842.0;
const LEFT: f32 = 72.0;
const INK: (f32, f32, f32) = (0.10, 0.14, 0.13);
const GREEN: (f32, f32, f32) = (0.06, 0.30, 0.25);
const GREY: (f32, f32, f32) = (0.42, 0.46, 0.45);
const WHITE: (f32, f32, f32) = (1.0, 1.0, 1.0);

const CATALOG: Ref = Ref::new(1);
const PAGES: Ref = Ref::new(2);
const PAGE: Ref = Ref::new(3);
const CONTENT: Ref = Ref::new(4);
const INFO: Ref = Ref::new(5);
const FACES: [(Face, &str, Ref); 3] = [
    (Face::Plain, "Helvetica", Ref::new(6)),
    (Face::Bold, "Helvetica-Bold", Ref::new(7)),
    (Face::Serif, "Times-Bold", Ref::new(8)),
];

const SECTIONS: [(&str, &[&str]); 4] = [
    (
        "1.  What we do",
        &[
            "Alder & Quill reviews the agreements that you send us, tells you in plain words what",
            "they oblige you to, and proposes changes where they are not in your interest.",
        ],
    ),
    (
        "2.  What it costs",
        &[
            "A fixed fee of EUR 480 a month covers up to six agreements. We ask you before any",
            "work beyond that begins, and we never bill for a telephone call.",
        ],
    ),
    (
        "3.  What stays between us",
        &[
            "Everything you send us is confidential. We keep it for as long as the law demands",
            "and destroy it afterwards.",
        ],
    ),
    (
        "4.  How it ends",
        &[
            "Either of us may end this engagement at the end of any month, in writing and without",
            "giving a reason. This letter is a sample: it binds nobody.",
        ],
    ),
];

/// The letter for one client; with a `partner`, whose signature it has a place for, too.
pub(super) fn letter(client: &str, partner: Option<&str>, order: &str, date: &str) -> Vec<u8> {
    let mut page = Page { content: Content::new() };
    page.band();
    page.text(Face::Serif, 20.0, LEFT, 772.0, WHITE, "Alder & Quill");
    page.text(Face::Plain, 9.0, 410.0, 774.0, WHITE, "Advisers on agreements");
    page.text(Face::Serif, 22.0, LEFT, 690.0, GREEN, "Engagement letter");
    page.text(Face::Plain, 9.5, LEFT, 670.0, GREY, &format!("Order {order}   |   {date}"));
    page.text(Face::Plain, 11.0, LEFT, 636.0, INK, "Between Alder & Quill (\"we\") and");
    page.text(Face::Bold, 11.0, LEFT, 619.0, INK, client);
    page.text(Face::Plain, 11.0, LEFT, 602.0, INK, "(\"you\"), it is agreed:");
    let mut y = 568.0;
    for (heading, lines) in SECTIONS {
        page.text(Face::Bold, 11.0, LEFT, y, GREEN, heading);
        y -= 18.0;
        for line in lines {
            page.text(Face::Plain, 11.0, LEFT, y, INK, line);
            y -= 15.5;
        }
        y -= 12.0;
    }
    page.places(210.0, CLIENT, "Signature");
    if let Some(partner) = partner {
        page.places(140.0, PARTNER, &format!("For Alder & Quill: {partner}"));
    }
    page.text(Face::Plain, 8.0, LEFT, 60.0, GREY, "Alder & Quill is a fictional company.");
    finish(page.content, order)
}

#[derive(Debug, Clone, Copy)]
enum Face {
    Plain,
    Bold,
    Serif,
}

impl Face {
    const fn name(self) -> Name<'static> {
        match self {
            Self::Plain => Name(b"F1"),
            Self::Bold => Name(b"F2"),
            Self::Serif => Name(b"F3"),
        }
    }
}

struct Page {
    content: Content,
}

impl Page {
    /// The coloured band on top.
    fn band(&mut self) {
        let (r, g, b) = GREEN;
        self.content.set_fill_rgb(r, g, b).rect(0.0, 748.0, WIDTH, HEIGHT - 748.0).fill_nonzero();
    }

    fn text(&mut self, face: Face, size: f32, x: f32, y: f32, color: (f32, f32, f32), text: &str) {
        let bytes = win_ansi(text);
        self.content
            .set_fill_rgb(color.0, color.1, color.2)
            .begin_text()
            .set_font(face.name(), size)
            .next_line(x, y)
            .show(Str(&bytes))
            .end_text();
    }

    /// A line for a signature and one for its date.
    fn places(&mut self, line: f32, anchors: Anchors, label: &str) {
        self.place(LEFT, line, anchors.sign, label);
        self.place(360.0, line, anchors.date, "Date");
    }

    /// A line to write on, with its anchor just above and its label below.
    fn place(&mut self, left: f32, line: f32, anchor: &str, label: &str) {
        self.text(Face::Plain, 6.0, left, line + 6.0, WHITE, anchor);
        self.content.set_stroke_rgb(GREY.0, GREY.1, GREY.2).set_line_width(0.7);
        self.content.move_to(left, line).line_to(left + 165.0, line).stroke();
        self.text(Face::Plain, 8.5, left, line - 13.0, GREY, label);
    }
}

fn finish(content: Content, order: &str) -> Vec<u8> {
    let mut pdf = Pdf::new();
    pdf.catalog(CATALOG).pages(PAGES);
    pdf.document_info(INFO).title(TextStr(&format!("Engagement letter {order}")));
    pdf.pages(PAGES).kids([PAGE]).count(1);
    let mut page = pdf.page(PAGE);
    page.parent(PAGES).media_box(Rect::new(0.0, 0.0, WIDTH, HEIGHT)).contents(CONTENT);
    let mut resources = page.resources();
    let mut fonts = resources.fonts();
    for (face, _, reference) in FACES {
        fonts.pair(face.name(), reference);
    }
    fonts.finish();
    resources.finish();
    page.finish();
    for (_, font, reference) in FACES {
        pdf.type1_font(reference)
            .base_font(Name(font.as_bytes()))
            .encoding_predefined(Name(b"WinAnsiEncoding"));
    }
    pdf.stream(CONTENT, &content.finish());
    pdf.finish()
}

/// Letters that the built-in fonts lack become a question mark; Latin-1 is a part of WinAnsi.
fn win_ansi(text: &str) -> Vec<u8> {
    let encode = |c: char| match u32::from(c) {
        code @ (0x20..=0x7e | 0xa0..=0xff) => u8::try_from(code).unwrap_or(b'?'),
        0x2013 => 0x96,
        0x2019 => 0x92,
        0x20ac => 0x80,
        _ => b'?',
    };
    text.chars().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_anchors_can_be_found_in_the_letter_and_the_name_is_in_it() {
        let text = |partner: Option<&str>| {
            let pdf = letter("Zoë Müller", partner, "AQ-0F3D9A21", "23 November 2026");
            lopdf::Document::load_mem(&pdf).unwrap().extract_text(&[1]).unwrap()
        };
        let (one, two) = (text(None), text(Some("Charles Babbage")));
        for wanted in [CLIENT.sign, CLIENT.date, "Zoë Müller", "AQ-0F3D9A21"] {
            assert!(one.contains(wanted) && two.contains(wanted), "{wanted} is not in: {one} {two}");
        }
        for wanted in [PARTNER.sign, PARTNER.date, "Charles Babbage"] {
            assert!(!one.contains(wanted) && two.contains(wanted), "{wanted}: {one} {two}");
        }
    }
}
