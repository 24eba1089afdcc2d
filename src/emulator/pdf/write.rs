//! Lays out pages of text: contracts, the certificate, and documents converted from plain text.
//!
//! Only the fonts that every PDF reader has, so nothing is embedded and files stay small; letters
//! outside WinAnsi show as `?`.

use pdf_writer::{Content, Finish as _, Name, Pdf, Rect, Ref, Str, TextStr};

use super::win_ansi;

const WIDTH: f32 = 595.0;
const HEIGHT: f32 = 842.0;
const MARGIN: f32 = 64.0;
/// Room at the foot of each page for the page number.
const FOOT: f32 = 72.0;
/// A text of this many pages is cut: nobody converts a book to sign it.
const MAX_PAGES: usize = 500;

/// Which of the built-in fonts.
#[derive(Debug, Clone, Copy)]
enum Face {
    Plain,
    Bold,
    Script,
}

impl Face {
    fn name(self) -> Name<'static> {
        match self {
            Self::Plain => Name(b"F1"),
            Self::Bold => Name(b"F2"),
            Self::Script => Name(b"F3"),
        }
    }
}

/// Pages being laid out from top to bottom.
pub(in crate::emulator) struct Sheet {
    title: String,
    footer: String,
    pages: Vec<Content>,
    y: f32,
}

impl Sheet {
    /// An empty document; `footer` stands at the foot of each page.
    pub(in crate::emulator) fn new(title: &str, footer: &str) -> Self {
        let mut sheet =
            Self { title: title.to_owned(), footer: footer.to_owned(), pages: Vec::new(), y: 0.0 };
        sheet.turn();
        sheet
    }

    /// The title, large, with a rule under it.
    pub(in crate::emulator) fn title(&mut self, text: &str, subtitle: &str) {
        self.wrapped(text, Face::Bold, 22.0, 0.0, 28.0);
        self.wrapped(subtitle, Face::Plain, 10.0, 0.0, 15.0);
        self.rule();
    }

    /// A heading.
    pub(in crate::emulator) fn heading(&mut self, text: &str) {
        self.space(8.0);
        self.reserve(48.0);
        self.wrapped(text, Face::Bold, 12.5, 0.0, 19.0);
    }

    /// A paragraph, wrapped.
    pub(in crate::emulator) fn paragraph(&mut self, text: &str) {
        self.wrapped(text, Face::Plain, 10.5, 0.0, 15.5);
        self.space(5.0);
    }

    /// A name and its value, side by side.
    pub(in crate::emulator) fn row(&mut self, name: &str, value: &str) {
        self.reserve(16.0);
        self.text(name, Face::Bold, 9.5, MARGIN, self.y);
        let before = self.y;
        self.wrapped(value, Face::Plain, 9.5, 150.0, 15.0);
        if (self.y - before).abs() < f32::EPSILON {
            self.space(15.0);
        }
    }

    /// A place to sign or fill in: its anchor in pale letters, a line, and what it is for under it.
    pub(in crate::emulator) fn field(&mut self, anchor: &str, label: &str) {
        self.reserve(64.0);
        self.space(30.0);
        let y = self.y;
        let page = self.page();
        page.save_state().set_fill_rgb(0.62, 0.65, 0.70);
        self.text(anchor, Face::Plain, 10.0, MARGIN + 4.0, y + 5.0);
        let page = self.page();
        page.restore_state();
        page.set_line_width(0.7).move_to(MARGIN, y).line_to(MARGIN + 230.0, y).stroke();
        self.text(label, Face::Plain, 8.5, MARGIN, y - 12.0);
        self.space(22.0);
    }

    /// A name as it was signed.
    pub(in crate::emulator) fn signature(&mut self, name: &str) {
        self.reserve(40.0);
        self.space(12.0);
        let y = self.y;
        self.text(name, Face::Script, 20.0, MARGIN + 150.0, y);
        self.space(18.0);
    }

    /// A thin line across the page.
    pub(in crate::emulator) fn rule(&mut self) {
        self.space(2.0);
        let y = self.y;
        self.page().set_line_width(0.6).move_to(MARGIN, y).line_to(WIDTH - MARGIN, y).stroke();
        self.space(18.0);
    }

    /// The finished file.
    pub(in crate::emulator) fn finish(mut self) -> Vec<u8> {
        let count = self.pages.len();
        let footer = std::mem::take(&mut self.footer);
        let mut pdf = Pdf::new();
        let mut next = (1..).map(Ref::new);
        let mut id = || next.next().expect("an endless range");
        let (catalog, tree, fonts) = (id(), id(), [id(), id(), id()]);
        let pages: Vec<(Ref, Ref)> = (0..count).map(|_| (id(), id())).collect();
        pdf.catalog(catalog).pages(tree);
        pdf.document_info(id()).title(TextStr(&self.title)).producer(TextStr("countersign emulator"));
        pdf.pages(tree)
            .kids(pages.iter().map(|(page, _)| *page))
            .count(i32::try_from(count).unwrap_or(i32::MAX));
        for (index, (content, (page, stream))) in self.pages.drain(..).zip(&pages).enumerate() {
            let mut writer = pdf.page(*page);
            writer.media_box(Rect::new(0.0, 0.0, WIDTH, HEIGHT)).parent(tree).contents(*stream);
            let mut resources = writer.resources();
            let mut dictionary = resources.fonts();
            for (face, font) in [Face::Plain, Face::Bold, Face::Script].iter().zip(fonts) {
                dictionary.pair(face.name(), font);
            }
            dictionary.finish();
            resources.finish();
            writer.finish();
            let number = format!("{footer}   {} / {count}", index + 1);
            pdf.stream(*stream, &with_line(content, &number));
        }
        for (font, base) in fonts.iter().zip([&b"Helvetica"[..], b"Helvetica-Bold", b"Times-Italic"]) {
            pdf.type1_font(*font).base_font(Name(base)).encoding_predefined(Name(b"WinAnsiEncoding"));
        }
        pdf.finish()
    }

    fn page(&mut self) -> &mut Content {
        self.pages.last_mut().expect("`new` turns to the first page")
    }

    fn turn(&mut self) {
        self.pages.push(Content::new());
        self.y = HEIGHT - MARGIN - 12.0;
    }

    fn space(&mut self, points: f32) {
        self.y -= points;
    }

    /// Turns the page unless `points` are left on this one.
    fn reserve(&mut self, points: f32) {
        if self.y - points < FOOT && self.pages.len() < MAX_PAGES {
            self.turn();
        }
    }

    fn wrapped(&mut self, text: &str, face: Face, size: f32, indent: f32, leading: f32) {
        let room = WIDTH - 2.0 * MARGIN - indent;
        for line in wrap(text, size, room) {
            self.reserve(leading);
            if self.y < FOOT {
                return;
            }
            let y = self.y;
            self.text(&line, face, size, MARGIN + indent, y);
            self.space(leading);
        }
    }

    fn text(&mut self, text: &str, face: Face, size: f32, x: f32, y: f32) {
        show(self.page(), text, face, size, x, y);
    }
}

fn with_line(mut content: Content, footer: &str) -> Vec<u8> {
    show(&mut content, footer, Face::Plain, 7.5, MARGIN, 36.0);
    content.finish().to_vec()
}

fn show(content: &mut Content, text: &str, face: Face, size: f32, x: f32, y: f32) {
    content.begin_text().set_font(face.name(), size).next_line(x, y).show(Str(&win_ansi(text))).end_text();
}

/// Breaks `text` into lines of at most `room` points; words longer than a line are cut.
fn wrap(text: &str, size: f32, room: f32) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let joined = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        if width(&joined, size) <= room {
            line = joined;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for character in word.chars() {
            line.push(character);
            if width(&line, size) > room {
                line.pop();
                lines.push(std::mem::replace(&mut line, character.to_string()));
            }
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

fn width(text: &str, size: f32) -> f32 {
    let units: f32 = win_ansi(text).iter().map(|byte| f32::from(glyph_width(*byte))).sum();
    units / 1_000.0 * size
}

fn glyph_width(byte: u8) -> u16 {
    byte.checked_sub(32).and_then(|index| HELVETICA.get(usize::from(index)).copied()).unwrap_or(556)
}

/// Widths of Helvetica from the space to the tilde, in thousandths of an em (Adobe's metrics).
const HELVETICA: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556,
    556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278,
    500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469,
    556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500,
    278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];

/// A PDF of a plain text, line by line.
pub(in crate::emulator) fn from_text(name: &str, text: &str) -> Vec<u8> {
    let mut sheet = Sheet::new(name, name);
    for line in text.lines() {
        if line.trim().is_empty() {
            sheet.space(9.0);
        } else {
            sheet.wrapped(line, Face::Plain, 10.5, 0.0, 15.0);
        }
    }
    sheet.finish()
}

/// A PDF of the text in an HTML page: no styles, no images.
pub(in crate::emulator) fn from_html(name: &str, html: &str) -> Vec<u8> {
    from_text(name, &text_of_html(html))
}

fn text_of_html(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(&before.split_whitespace().collect::<Vec<_>>().join(" "));
        if before.ends_with(char::is_whitespace) {
            text.push(' ');
        }
        let (tag, after) = after.split_once('>').unwrap_or((after, ""));
        let name: String =
            tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
        rest = match name.to_ascii_lowercase().as_str() {
            hidden @ ("script" | "style" | "head") if !tag.starts_with('/') => {
                let end = format!("</{hidden}");
                after.to_ascii_lowercase().find(&end).map_or("", |at| &after[at..])
            }
            "p" | "br" | "div" | "li" | "tr" | "h1" | "h2" | "h3" | "h4" | "section" | "table" => {
                text.push('\n');
                after
            }
            _ => after,
        };
    }
    text.push_str(rest);
    for (entity, letter) in
        [("&nbsp;", " "), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")]
    {
        text = text.replace(entity, letter);
    }
    text
}

#[cfg(test)]
pub(in crate::emulator) mod tests {
    use super::*;
    use crate::emulator::pdf::read::{Matching, read};

    /// One A4 page with Helvetica as /F1, drawn by these instructions.
    pub(in crate::emulator) fn page_drawn_by(instructions: &str) -> Vec<u8> {
        let mut pdf = Pdf::new();
        let [catalog, tree, page, stream, font] = [1, 2, 3, 4, 5].map(Ref::new);
        pdf.catalog(catalog).pages(tree);
        pdf.pages(tree).kids([page]).count(1);
        let mut writer = pdf.page(page);
        writer.media_box(Rect::new(0.0, 0.0, WIDTH, HEIGHT)).parent(tree).contents(stream);
        writer.resources().fonts().pair(Name(b"F1"), font);
        writer.finish();
        pdf.stream(stream, instructions.as_bytes());
        pdf.type1_font(font).base_font(Name(b"Helvetica")).encoding_predefined(Name(b"WinAnsiEncoding"));
        pdf.finish()
    }

    #[test]
    fn what_is_written_can_be_read_back() {
        let mut sheet = Sheet::new("Title", "foot");
        sheet.title("Mutual Agreement", "between two");
        for _ in 0..60 {
            sheet.heading("Größe");
            sheet.paragraph(&"many words in a row ".repeat(20));
        }
        sheet.field("/sn1/", "Signature");
        let text = read(&sheet.finish()).unwrap();
        assert!(text.pages.len() > 3);
        assert_eq!(text.find("Größe", Matching::default()).len(), 60);
        let spots = text.find("/sn1/", Matching::default());
        assert_eq!(spots.len(), 1);
        assert_eq!(spots[0].page, text.pages.len());
    }

    #[test]
    fn html_loses_its_tags_and_scripts() {
        let html = "<html><head><title>no</title></head><body><h1>One &amp; only</h1><script>x<y</script><p>Two /sn1/</p></body>";
        let text = read(&from_html("a.html", html)).unwrap();
        let lines = text.pages[0].lines();
        assert!(lines.contains(&"One & only".to_owned()), "{lines:?}");
        assert!(lines.iter().all(|line| !line.contains("no") && !line.contains('x')), "{lines:?}");
        assert_eq!(text.find("/sn1/", Matching::default()).len(), 1);
    }

    #[test]
    fn a_word_longer_than_the_line_is_cut() {
        assert!(wrap(&"x".repeat(400), 10.0, 200.0).iter().all(|line| width(line, 10.0) <= 200.0));
        assert_eq!(wrap("", 10.0, 200.0), Vec::<String>::new());
    }
}
