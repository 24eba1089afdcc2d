//! The document of the benchmark: a PDF with an anchor in its text, padded to a size by an image.

use base64::Engine as _;
use pdf_writer::{Content, Finish as _, Name, Pdf, Rect, Ref, Str};

/// A PDF of about this size, as base64 text.
pub(crate) fn base64(size_bytes: usize) -> String {
    base64::engine::general_purpose::STANDARD.encode(pdf(size_bytes))
}

fn pdf(size_bytes: usize) -> Vec<u8> {
    let [catalog, pages, page, font, text, image] = [1, 2, 3, 4, 5, 6].map(Ref::new);
    let mut pdf = Pdf::new();
    pdf.catalog(catalog).pages(pages);
    pdf.pages(pages).kids([page]).count(1);
    let mut one = pdf.page(page);
    one.parent(pages).media_box(Rect::new(0.0, 0.0, 595.0, 842.0)).contents(text);
    let mut resources = one.resources();
    resources.fonts().pair(Name(b"F1"), font);
    resources.x_objects().pair(Name(b"Im1"), image);
    resources.finish();
    one.finish();
    pdf.type1_font(font).base_font(Name(b"Helvetica"));
    let mut content = Content::new();
    content.begin_text().set_font(Name(b"F1"), 12.0).next_line(72.0, 720.0);
    content.show(Str(b"Signed: /sn1/")).end_text();
    pdf.stream(text, &content.finish());
    // Noise, which no filter makes smaller: a scanned page is such an image.
    let mut state = 1_u32;
    let noise: Vec<u8> = (0..size_bytes.saturating_sub(1_000))
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect();
    let mut picture = pdf.image_xobject(image, &noise);
    picture.width(i32::try_from(noise.len()).unwrap_or(1)).height(1).bits_per_component(8);
    picture.color_space().device_gray();
    picture.finish();
    pdf.finish()
}
