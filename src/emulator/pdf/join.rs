//! Joins documents into one PDF, writes on their pages, and packs them into an archive.

use std::io::{Cursor, Write as _};

use lopdf::{Document, Object, ObjectId, Stream, dictionary};

use super::{
    read::{Unreadable, inherited, load, page_size},
    win_ansi,
};

/// A line of text put on a page after the fact.
#[derive(Debug, Clone)]
pub(in crate::emulator) struct Stamp {
    /// The page, from 1; none means every page.
    pub page: Option<usize>,
    /// Points from the left edge.
    pub x: f32,
    /// Points from the top edge to the base line.
    pub y: f32,
    /// Size in points.
    pub size: f32,
    /// What it says.
    pub text: String,
    /// In the letters of a signature, or plain.
    pub is_signature: bool,
}

/// One document to be joined.
#[derive(Debug)]
pub(in crate::emulator) struct Piece<'a> {
    /// The file.
    pub bytes: &'a [u8],
    /// What is written on it.
    pub stamps: Vec<Stamp>,
}

/// All pieces, one after the other, in one valid file.
pub(in crate::emulator) fn combine(pieces: &[Piece<'_>]) -> Result<Vec<u8>, Unreadable> {
    let mut whole = Document::with_version("1.7");
    let tree = whole.new_object_id();
    let plain = whole.add_object(font("Helvetica"));
    let script = whole.add_object(font("Times-Italic"));
    let mut kids = Vec::new();
    for piece in pieces {
        let mut part = load(piece.bytes)?;
        part.renumber_objects_with(whole.max_id + 1);
        let pages: Vec<ObjectId> = part.page_iter().collect();
        whole.max_id = part.max_id;
        let sizes: Vec<(f32, f32)> = pages.iter().map(|id| page_size(&part, *id)).collect();
        adopt(&mut part, &pages, tree, plain, script);
        whole.objects.extend(part.objects);
        for (index, (id, size)) in pages.iter().zip(sizes).enumerate() {
            let marks: Vec<&Stamp> =
                piece.stamps.iter().filter(|stamp| stamp.page.is_none_or(|page| page == index + 1)).collect();
            write_on(&mut whole, *id, size, &marks)?;
            kids.push(Object::Reference(*id));
        }
    }
    let count = i64::try_from(kids.len()).unwrap_or(i64::MAX);
    whole.set_object(tree, dictionary! { "Type" => "Pages", "Kids" => kids, "Count" => count });
    let catalog = whole.add_object(dictionary! { "Type" => "Catalog", "Pages" => tree });
    whole.trailer.set("Root", catalog);
    whole.prune_objects();
    let mut bytes = Vec::new();
    whole.save_to(&mut bytes).map_err(|_| Unreadable::Garbage)?;
    Ok(bytes)
}

fn font(name: &str) -> lopdf::Dictionary {
    dictionary! { "Type" => "Font", "Subtype" => "Type1", "BaseFont" => name, "Encoding" => "WinAnsiEncoding" }
}

/// Makes pages independent of the tree they came from, and gives them the fonts of the stamps.
fn adopt(part: &mut Document, pages: &[ObjectId], tree: ObjectId, plain: ObjectId, script: ObjectId) {
    for id in pages {
        let own: Vec<(&str, Object)> = ["MediaBox", "CropBox", "Rotate"]
            .into_iter()
            .filter_map(|key| Some((key, inherited(part, *id, key.as_bytes())?.clone())))
            .collect();
        let mut resources =
            inherited(part, *id, b"Resources").and_then(|o| o.as_dict().ok()).cloned().unwrap_or_default();
        let mut fonts =
            resources.get_deref(b"Font", part).and_then(Object::as_dict).cloned().unwrap_or_default();
        fonts.set("CsPlain", plain);
        fonts.set("CsScript", script);
        resources.set("Font", fonts);
        let Ok(page) = part.get_dictionary_mut(*id) else { continue };
        for (key, value) in own {
            page.set(key, value);
        }
        page.set("Resources", resources);
        page.set("Parent", tree);
    }
}

fn write_on(
    whole: &mut Document,
    page: ObjectId,
    size: (f32, f32),
    marks: &[&Stamp],
) -> Result<(), Unreadable> {
    if marks.is_empty() {
        return Ok(());
    }
    // The page's own drawing may leave any state behind, so it is wrapped.
    let before = whole.add_object(Stream::new(dictionary! {}, b"q\n".to_vec()));
    let mut contents = vec![Object::Reference(before)];
    contents.extend(whole.get_page_contents(page).into_iter().map(Object::Reference));
    let mut drawing = b"\nQ\n".to_vec();
    for mark in marks {
        let face = if mark.is_signature { "CsScript" } else { "CsPlain" };
        let ink = if mark.is_signature { "0.05 0.10 0.45 rg" } else { "0.25 0.25 0.30 rg" };
        let y = size.1 - mark.y;
        let start = format!("q {ink} BT /{face} {} Tf {} {y} Td <", mark.size, mark.x);
        drawing.extend_from_slice(start.as_bytes());
        for byte in win_ansi(&mark.text) {
            drawing.extend_from_slice(format!("{byte:02X}").as_bytes());
        }
        drawing.extend_from_slice(b"> Tj ET Q\n");
    }
    contents.push(Object::Reference(whole.add_object(Stream::new(dictionary! {}, drawing))));
    whole.get_dictionary_mut(page).map_err(|_| Unreadable::Garbage)?.set("Contents", contents);
    Ok(())
}

/// A ZIP of named files, stored as they are.
pub(in crate::emulator) fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in files {
        zip.start_file(name, options)
            .and_then(|()| zip.write_all(bytes).map_err(Into::into))
            .expect("a few files fit into memory, and their names differ");
    }
    zip.finish().expect("memory does not fail").into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::pdf::{
        read::{Matching, read},
        write::from_text,
    };

    #[test]
    fn the_combined_file_holds_every_page_and_its_stamps() {
        let first = from_text("one", "First page /sn1/");
        let second = from_text("two", "Second");
        let stamp = Stamp {
            page: Some(1),
            x: 80.0,
            y: 90.0,
            size: 18.0,
            text: "Ada Lovelace".into(),
            is_signature: true,
        };
        let line = Stamp {
            page: None,
            x: 20.0,
            y: 14.0,
            size: 7.0,
            text: "Envelope ID: 1".into(),
            is_signature: false,
        };
        let whole = combine(&[
            Piece { bytes: &first, stamps: vec![stamp, line.clone()] },
            Piece { bytes: &second, stamps: vec![line] },
        ])
        .unwrap();
        let text = read(&whole).unwrap();
        assert_eq!(text.pages.len(), 2);
        assert_eq!(text.find("Ada Lovelace", Matching::default())[0].page, 1);
        assert_eq!(text.find("Envelope ID: 1", Matching::default()).len(), 2);
        assert_eq!(text.find("Second", Matching::default())[0].page, 2);
        // Joining what was joined works too.
        assert_eq!(
            read(&combine(&[Piece { bytes: &whole, stamps: Vec::new() }]).unwrap()).unwrap().pages.len(),
            2
        );
    }

    #[test]
    fn an_archive_can_be_opened() {
        let bytes = archive(&[("a.pdf".into(), b"one".to_vec()), ("b.pdf".into(), b"two".to_vec())]);
        let archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        assert_eq!(archive.len(), 2);
    }
}
