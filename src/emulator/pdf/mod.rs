//! PDF files as an envelope needs them: read their text, write our own, join and stamp them.
//!
//! [`read`] finds anchor strings in what a client uploaded, with bounds on everything an uploaded
//! file controls. [`write`] lays out the sample contracts, the certificate of completion, and texts
//! that come as something else than PDF. [`join`] makes the combined document and the archive.
//!
//! It must never trust a file: no recursion without depth, no decompression without a limit, no
//! panic. It never renders; positions of text are estimates, good to a few points, because no font
//! program is read. Text in images is not seen, as at the vendor.

pub(in crate::emulator) mod join;
pub(in crate::emulator) mod read;
pub(in crate::emulator) mod write;

/// Bytes of `text` in WinAnsi, what the built-in fonts speak; `?` for what it lacks.
fn win_ansi(text: &str) -> Vec<u8> {
    text.chars().map(win_ansi_byte).collect()
}

fn win_ansi_byte(character: char) -> u8 {
    match character {
        '\t' | '\u{a0}' => b' ',
        '€' => 0x80,
        '‚' => 0x82,
        '„' => 0x84,
        '…' => 0x85,
        'Š' => 0x8a,
        'Ž' => 0x8e,
        '‘' => 0x91,
        '’' => 0x92,
        '“' => 0x93,
        '”' => 0x94,
        '•' => 0x95,
        '–' => 0x96,
        '—' => 0x97,
        'š' => 0x9a,
        'ž' => 0x9e,
        ' '..='~' | '\u{a1}'..='\u{ff}' => u8::try_from(u32::from(character)).unwrap_or(b'?'),
        _ => b'?',
    }
}
