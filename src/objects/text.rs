//! What a text that people read may hold, whoever writes it: the same in every request.

use crate::objects::Invalids;

/// Refuses a text of one line that is given by itself, for what one of a create is refused for.
pub fn check_line(place: &str, text: &str, least: usize, most: usize) -> Result<(), Invalids> {
    line_fault(text, least, most).map_or(Ok(()), |fault| Err(Invalids::one(place, fault)))
}

/// What is wrong with a text of one line.
pub(super) fn line_fault(text: &str, least: usize, most: usize) -> Option<String> {
    if let Some(fault) = length_fault(text, least, most) {
        return Some(fault);
    }
    if text.contains(|c: char| c.is_control() || is_bidi_control(c)) {
        let fault = "may hold neither control characters, nor line breaks, nor characters that turn the direction of \
                     writing";
        return Some(fault.to_owned());
    }
    let is_hidden = !text.is_empty() && text.chars().all(is_unseen);
    is_hidden.then(|| "has no character that can be seen".to_owned())
}

/// What is wrong with the length of a text.
pub(super) fn length_fault(text: &str, least: usize, most: usize) -> Option<String> {
    let has = (least..=most).contains(&text.chars().count());
    (!has).then(|| format!("must have {least} to {most} characters"))
}

/// What turns the direction of writing (Unicode's `Bidi_Control`): with it a name can be made to read as another.
const fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What nobody sees: among others it has its use (joiners in Persian or Hindi names), alone it has none.
fn is_unseen(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}
