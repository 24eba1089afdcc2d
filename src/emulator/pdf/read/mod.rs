//! Reads the text of an uploaded PDF, and where on its pages that text stands.

mod find;

use std::collections::HashMap;

use lopdf::{
    DecompressError, Dictionary, Document, Encoding, Error, LoadOptions, Object, ObjectId, content::Content,
};

pub(in crate::emulator) use self::find::{Matching, Spot};

/// One stream of an uploaded file may grow to this many bytes when it is unpacked.
const MAX_STREAM_BYTES: usize = 32 * 1024 * 1024;
/// The drawing instructions of one page.
const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;
/// The drawing instructions of the whole file.
const MAX_TOTAL_BYTES: usize = 64 * 1024 * 1024;
const MAX_PAGES: usize = 2_000;
/// Forms may contain forms; real files stop at two.
const MAX_FORM_DEPTH: usize = 6;
/// Forms drawn on one page. One form drawn ten times on each of six levels would be a million.
const MAX_FORMS: usize = 500;

/// Why a file is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::emulator) enum Unreadable {
    /// It is encrypted; the vendor refuses it, whatever its permissions say.
    #[error("the document is protected by a password")]
    Encrypted,
    /// It is no PDF, or a broken one.
    #[error("the document is not a readable PDF")]
    Garbage,
    /// It unpacks to more than the emulator holds.
    #[error("the document is too large when it is unpacked")]
    TooLarge,
}

/// The text of a document.
#[derive(Debug, Clone, Default)]
pub(in crate::emulator) struct Text {
    /// Its pages, in order.
    pub pages: Vec<Page>,
}

/// The text of one page.
#[derive(Debug, Clone, Default)]
pub(in crate::emulator) struct Page {
    /// Width and height in points.
    pub size: (f32, f32),
    glyphs: Vec<Glyph>,
}

/// One character, or a boundary where a blank may or may not be meant.
#[derive(Debug, Clone, Copy)]
struct Glyph {
    character: char,
    kind: Kind,
    x: f32,
    y: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Written,
    /// A gap on one line: a space to some readers, nothing to others.
    Gap,
    Line,
}

/// Reads `bytes`.
pub(in crate::emulator) fn read(bytes: &[u8]) -> Result<Text, Unreadable> {
    let document = load(bytes)?;
    let mut left = MAX_TOTAL_BYTES;
    let mut pages = Vec::new();
    for id in document.page_iter() {
        if pages.len() == MAX_PAGES {
            return Err(Unreadable::TooLarge);
        }
        pages.push(read_page(&document, id, &mut left)?);
    }
    if pages.is_empty() { Err(Unreadable::Garbage) } else { Ok(Text { pages }) }
}

/// Parses `bytes`, refusing what is encrypted or swells beyond measure.
pub(super) fn load(bytes: &[u8]) -> Result<Document, Unreadable> {
    let start = &bytes[..bytes.len().min(1_024)];
    if !start.windows(5).any(|window| window == b"%PDF-") {
        return Err(Unreadable::Garbage);
    }
    let options = LoadOptions::with_max_decompressed_size(MAX_STREAM_BYTES);
    let document = Document::load_mem_with_options(bytes, options).map_err(|error| match error {
        Error::Decompress(DecompressError::MemoryLimitExceeded { .. }) => Unreadable::TooLarge,
        Error::Decryption(_) | Error::InvalidPassword | Error::UnsupportedSecurityHandler(_) => {
            Unreadable::Encrypted
        }
        _ => Unreadable::Garbage,
    })?;
    if document.is_encrypted() || document.was_encrypted() || document.trailer.has(b"Encrypt") {
        return Err(Unreadable::Encrypted);
    }
    Ok(document)
}

/// Width and height of a page in points; A4 when it does not say.
pub(super) fn page_size(document: &Document, page: ObjectId) -> (f32, f32) {
    let corners =
        inherited(document, page, b"MediaBox").and_then(|object| object.as_array().ok()).map(|array| {
            let number =
                |index: usize| array.get(index).and_then(|o| document.dereference(o).ok()?.1.as_float().ok());
            (number(0), number(1), number(2), number(3))
        });
    match corners {
        Some((Some(left), Some(bottom), Some(right), Some(top))) if right > left && top > bottom => {
            (right - left, top - bottom)
        }
        _ => (595.0, 842.0),
    }
}

/// An attribute that a page may have from its ancestors.
pub(super) fn inherited<'a>(document: &'a Document, page: ObjectId, key: &[u8]) -> Option<&'a Object> {
    let mut node = document.get_dictionary(page).ok()?;
    for _ in 0..32 {
        if let Ok(object) = node.get_deref(key, document) {
            return Some(object);
        }
        node = node.get_deref(b"Parent", document).and_then(Object::as_dict).ok()?;
    }
    None
}

fn read_page(document: &Document, id: ObjectId, left: &mut usize) -> Result<Page, Unreadable> {
    let limit = MAX_PAGE_BYTES.min(*left);
    let content = document.get_page_content_with_limit(id, limit).map_err(|_| Unreadable::TooLarge)?;
    *left = left.saturating_sub(content.len());
    let size = page_size(document, id);
    let mut reader = Reader { document, glyphs: Vec::new(), left, forms: 0, pen: None };
    let none = Dictionary::new();
    let resources = inherited(document, id, b"Resources").and_then(|o| o.as_dict().ok()).unwrap_or(&none);
    reader.run(&content, resources, IDENTITY, 0)?;
    let mut glyphs = reader.glyphs;
    for glyph in &mut glyphs {
        glyph.y = size.1 - glyph.y;
    }
    Ok(Page { size, glyphs })
}

type Matrix = [f32; 6];
const IDENTITY: Matrix = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0];

/// `a` applied before `b`.
fn multiply(a: Matrix, b: Matrix) -> Matrix {
    [
        a[0] * b[0] + a[1] * b[2],
        a[0] * b[1] + a[1] * b[3],
        a[2] * b[0] + a[3] * b[2],
        a[2] * b[1] + a[3] * b[3],
        a[4] * b[0] + a[5] * b[2] + b[4],
        a[4] * b[1] + a[5] * b[3] + b[5],
    ]
}

struct Reader<'a, 'b> {
    document: &'a Document,
    glyphs: Vec<Glyph>,
    left: &'b mut usize,
    forms: usize,
    /// Where the last text ended.
    pen: Option<(f32, f32, f32)>,
}

/// The text state of ISO 32000-1, 9.3, as far as positions need it.
#[derive(Clone)]
struct State<'e> {
    user: Matrix,
    text: Matrix,
    line: Matrix,
    leading: f32,
    size: f32,
    encoding: Option<&'e Encoding<'e>>,
}

impl State<'_> {
    fn next_line(&mut self, x: f32, y: f32) {
        self.line = multiply([1.0, 0.0, 0.0, 1.0, x, y], self.line);
        self.text = self.line;
    }
}

impl<'a> Reader<'a, '_> {
    fn run(
        &mut self,
        bytes: &[u8],
        resources: &'a Dictionary,
        user: Matrix,
        depth: usize,
    ) -> Result<(), Unreadable> {
        let fonts = self.fonts(resources)?;
        // What cannot be parsed shows no text, as a scanned page.

        let mut state =
            State { user, text: IDENTITY, line: IDENTITY, leading: 0.0, size: 12.0, encoding: None };
        let mut saved = Vec::new();
        for operation in Content::decode_iter(bytes).map_while(Result::ok) {
            let operands = &operation.operands;
            let number = |index: usize| operands.get(index).and_then(|o| o.as_float().ok()).unwrap_or(0.0);
            match operation.operator.as_str() {
                "q" if saved.len() < 256 => saved.push(state.clone()),
                "Q" => state = saved.pop().unwrap_or(state),
                "cm" => state.user = multiply(std::array::from_fn(number), state.user),
                "BT" => (state.text, state.line) = (IDENTITY, IDENTITY),
                "Tm" => {
                    state.line = std::array::from_fn(number);
                    state.text = state.line;
                }
                "Td" => state.next_line(number(0), number(1)),
                "TD" => {
                    state.leading = -number(1);
                    state.next_line(number(0), number(1));
                }
                "TL" => state.leading = number(0),
                "T*" => state.next_line(0.0, -state.leading),
                "Tf" => {
                    state.size = number(1);
                    state.encoding = operands.first().and_then(|o| fonts.get(o.as_name().ok()?));
                }
                "Tj" => self.show(&mut state, operands.first()),
                "'" => {
                    state.next_line(0.0, -state.leading);
                    self.show(&mut state, operands.first());
                }
                "\"" => {
                    state.next_line(0.0, -state.leading);
                    self.show(&mut state, operands.get(2));
                }
                "TJ" => self.show_spaced(&mut state, operands.first()),
                "Do" if depth < MAX_FORM_DEPTH => {
                    self.draw_form(operands.first(), resources, state.user, depth)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn fonts(&self, resources: &'a Dictionary) -> Result<HashMap<&'a [u8], Encoding<'a>>, Unreadable> {
        let mut found = HashMap::new();
        let Ok(fonts) = resources.get_deref(b"Font", self.document).and_then(Object::as_dict) else {
            return Ok(found);
        };
        for (name, font) in fonts {
            let Ok(font) = self.document.dereference(font).and_then(|(_, object)| object.as_dict()) else {
                continue;
            };
            match font.get_font_encoding_with_limit(self.document, MAX_PAGE_BYTES) {
                Ok(encoding) => drop(found.insert(name.as_slice(), encoding)),
                Err(Error::Decompress(DecompressError::MemoryLimitExceeded { .. })) => {
                    return Err(Unreadable::TooLarge);
                }
                Err(_) => {}
            }
        }
        Ok(found)
    }

    fn draw_form(
        &mut self,
        name: Option<&Object>,
        resources: &'a Dictionary,
        user: Matrix,
        depth: usize,
    ) -> Result<(), Unreadable> {
        self.forms += 1;
        let form = name.and_then(|name| {
            let all = resources.get_deref(b"XObject", self.document).and_then(Object::as_dict).ok()?;
            all.get_deref(name.as_name().ok()?, self.document).and_then(Object::as_stream).ok()
        });
        let Some(form) = form.filter(|_| self.forms <= MAX_FORMS) else { return Ok(()) };
        if form.dict.get(b"Subtype").and_then(Object::as_name).ok() != Some(b"Form".as_slice()) {
            return Ok(());
        }
        let bytes = form.decompressed_content_with_limit(MAX_PAGE_BYTES.min(*self.left));
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(Error::Decompress(DecompressError::MemoryLimitExceeded { .. })) => {
                return Err(Unreadable::TooLarge);
            }
            Err(_) => form.content.clone(),
        };
        *self.left = self.left.saturating_sub(bytes.len());
        let matrix = form.dict.get_deref(b"Matrix", self.document).and_then(Object::as_array).ok();
        let number = |index: usize| {
            let default = IDENTITY[index];
            matrix.and_then(|m| m.get(index)).and_then(|o| o.as_float().ok()).unwrap_or(default)
        };
        let own =
            form.dict.get_deref(b"Resources", self.document).and_then(Object::as_dict).unwrap_or(resources);
        self.run(&bytes, own, multiply(std::array::from_fn(number), user), depth + 1)
    }

    fn show_spaced(&mut self, state: &mut State<'_>, array: Option<&Object>) {
        for item in array.and_then(|o| o.as_array().ok()).into_iter().flatten() {
            if let Ok(kern) = item.as_float() {
                if kern < -180.0 {
                    self.mark(state, Kind::Gap);
                }
                state.text = multiply([1.0, 0.0, 0.0, 1.0, -kern / 1_000.0 * state.size, 0.0], state.text);
            } else {
                self.show(state, Some(item));
            }
        }
    }

    fn show(&mut self, state: &mut State<'_>, string: Option<&Object>) {
        let Some(Ok(bytes)) = string.map(Object::as_str) else { return };
        let text = state.encoding.and_then(|encoding| encoding.bytes_to_string(bytes).ok());
        // Without a usable encoding the bytes are read as Latin-1, which suits plain fonts.
        let text = text.unwrap_or_else(|| bytes.iter().map(|&byte| char::from(byte)).collect());
        let place = multiply(state.text, state.user);
        self.separate(place[4], place[5], state.size * place[3].abs().max(place[1].abs()));
        for character in text.chars() {
            let place = multiply(state.text, state.user);
            self.glyphs.push(Glyph { character, kind: Kind::Written, x: place[4], y: place[5] });
            state.text = multiply([1.0, 0.0, 0.0, 1.0, ADVANCE * state.size, 0.0], state.text);
        }
        let end = multiply(state.text, state.user);
        self.pen = Some((end[4], end[5], state.size));
    }

    /// Notes whether the text at this place goes on where the last one stopped.
    fn separate(&mut self, x: f32, y: f32, size: f32) {
        let Some((last_x, last_y, _)) = self.pen else { return };
        let kind = if (y - last_y).abs() > size.max(1.0) * 0.5 {
            Kind::Line
        } else if (x - last_x).abs() > size * 0.2 {
            Kind::Gap
        } else {
            return;
        };
        self.glyphs.push(Glyph { character: ' ', kind, x, y });
    }

    fn mark(&mut self, state: &State<'_>, kind: Kind) {
        let place = multiply(state.text, state.user);
        self.glyphs.push(Glyph { character: ' ', kind, x: place[4], y: place[5] });
    }
}

/// The mean width of a glyph in ems; no font program is read.
const ADVANCE: f32 = 0.5;

impl Page {
    /// The text in lines, to be read by a person.
    pub(in crate::emulator) fn lines(&self) -> Vec<String> {
        let mut lines = vec![String::new()];
        for glyph in &self.glyphs {
            let line = lines.last_mut().expect("there is always a line");
            match glyph.kind {
                Kind::Line => lines.push(String::new()),
                Kind::Gap if line.ends_with(' ') => {}
                _ => line.push(glyph.character),
            }
        }
        lines.retain(|line| !line.trim().is_empty());
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::pdf::write::tests::page_drawn_by;

    #[test]
    fn what_is_no_pdf_is_refused() {
        assert_eq!(read(b"hello").unwrap_err(), Unreadable::Garbage);
        assert_eq!(read(b"%PDF-1.7\nnothing else").unwrap_err(), Unreadable::Garbage);
        assert_eq!(read(b"").unwrap_err(), Unreadable::Garbage);
        let whole = page_drawn_by("BT ET");
        for cut in (0..whole.len()).step_by(7) {
            let _ = read(&whole[..cut]);
        }
    }

    #[test]
    fn a_form_that_draws_itself_ends() {
        let mut document = load(&page_drawn_by("/X Do")).unwrap();
        let page = document.page_iter().next().unwrap();
        let form = document.new_object_id();
        let resources =
            lopdf::dictionary! { "XObject" => lopdf::dictionary! { "X" => Object::Reference(form) } };
        let dict = lopdf::dictionary! { "Subtype" => "Form", "Resources" => resources.clone() };
        document.set_object(form, lopdf::Stream::new(dict, b"/X Do /X Do /X Do".to_vec()));
        document.get_dictionary_mut(page).unwrap().set("Resources", resources);
        let mut bytes = Vec::new();
        document.save_to(&mut bytes).unwrap();
        assert_eq!(read(&bytes).unwrap().pages.len(), 1);
    }
}
