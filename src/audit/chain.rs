//! The chain itself: how a line is hashed, and how a file is checked.
//!
//! A line is `{"seq":…,"at":…,"event":…,"sender":…,"caller":…,"signing":…,"detail":…,"prev":"…","hash":"…"}`
//! with absent members left out, and `hash` = SHA-256(`prev` ‖ the line without its last member), where
//! `prev` is the text of the hash before, 64 zeros at the very beginning. Checking works on the bytes as they
//! stand and never on what a JSON reader makes of them, so that every byte counts.

use std::{
    fmt,
    io::{self, BufRead},
};

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Entry, mark::Mark};
use crate::digest::hex;

/// Longest line that is taken for one of ours.
const MAX_LINE_BYTES: u64 = 64 * 1024;
/// The bytes of a hash as text.
const HASH_LENGTH: usize = 64;
/// What stands between a line and its hash.
const HASH_MEMBER: &[u8] = b",\"hash\":\"";
/// What stands after the hash.
const LINE_END: &[u8] = b"\"}";
/// What stands before a line's number.
const NUMBER_MEMBER: &[u8] = b"{\"seq\":";

/// The last line of a chain: what the next one hangs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its number; 0 before the first line.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl Head {
    /// Before the first line.
    pub fn genesis() -> Self {
        Self { seq: 0, hash: "0".repeat(HASH_LENGTH) }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

/// Reads what [`Head`] shows.
impl std::str::FromStr for Head {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let wrong = "not a head: its number, a colon, and 64 hex digits";
        let (seq, hash) = text.split_once(':').ok_or(wrong)?;
        if !is_hash(hash.as_bytes()) {
            return Err(wrong);
        }
        Ok(Self { seq: seq.parse().map_err(|_| wrong)?, hash: hash.to_owned() })
    }
}

/// Where a chain breaks.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Broken {
    /// The line of the file, from 1.
    pub line: u64,
    /// What is wrong there.
    pub why: Unsound,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum Unsound {
    /// It says nothing of a line that was noted before it begins.
    #[error(
        "the chain begins after {begin}, and {noted} was noted before: name the files that hold that line, too"
    )]
    BeginsLater {
        /// What it goes on from.
        begin: Head,
        /// What was noted.
        noted: Head,
    },
    /// It is not of the form of a line.
    #[error("not a line of an audit log")]
    Form,
    /// The end is missing, or the whole file is an older or a made-up one.
    #[error("the chain ends with {end}, and had come to {noted}: lines are missing, or it was made anew")]
    Cut {
        /// Where it ends.
        end: Head,
        /// How far it had come.
        noted: Head,
    },
    /// It was changed, or its hash was.
    #[error("the line does not have the hash that it states")]
    Hash,
    /// The line before is not the one it was written after.
    #[error("it does not follow the line before: something was taken out, added, moved or repeated")]
    Link,
    /// It has another line in the place of the one that was noted.
    #[error("the chain has {found} where {noted} was noted: it was made anew, or is another one")]
    Other {
        /// What is there.
        found: Head,
        /// What was noted.
        noted: Head,
    },
    /// The last line has no end.
    #[error(
        "the line has no end: a write was cut short, or the file; the daemon cuts it off at its next start, \
         unless FILE.head shows that it was whole"
    )]
    Torn,
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
}

#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    at: Timestamp,
    event: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    sender: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    prev: &'a str,
}

/// Appends the next line of the chain to `out`; answers the new head.
pub(super) fn append(out: &mut Vec<u8>, head: &Head, at: Timestamp, entry: &Entry) -> Head {
    let seq = head.seq + 1;
    let line = Line {
        seq,
        at,
        event: entry.act.as_str(),
        sender: &entry.sender,
        caller: entry.caller.as_deref(),
        signing: entry.signing.as_deref(),
        detail: entry.detail.as_deref(),
        prev: &head.hash,
    };
    let begin = out.len();
    serde_json::to_writer(&mut *out, &line).expect("text and numbers serialise");
    let hash = hash(&head.hash, &out[begin..]);
    // The closing brace moves behind the hash.
    out.pop();
    out.extend_from_slice(HASH_MEMBER);
    out.extend_from_slice(hash.as_bytes());
    out.extend_from_slice(LINE_END);
    out.push(b'\n');
    Head { seq, hash }
}

fn hash(prev: &str, line: &[u8]) -> String {
    let mut context = Context::new(&SHA256);
    context.update(prev.as_bytes());
    context.update(line);
    hex(context.finish().as_ref())
}

/// Checks a whole file. It must go on from `after`; with none, from wherever its first line says, which is
/// how a file begins after a rotation.
pub fn verify(input: impl BufRead, after: Option<&Head>) -> Result<Head, Broken> {
    verify_past(input, after, [])
}

/// As [`verify`], and shows each line to the marks.
pub fn verify_past<'a>(
    input: impl BufRead,
    after: Option<&Head>,
    marks: impl IntoIterator<Item = &'a mut Mark>,
) -> Result<Head, Broken> {
    let whole = verify_whole_lines(input, after, marks)?;
    if whole.torn.is_some() {
        return Err(Broken { line: whole.lines + 1, why: Unsound::Torn });
    }
    Ok(whole.head)
}

/// The lines of a file that have an end.
#[derive(Debug)]
pub(super) struct Whole {
    /// Where their chain ends.
    pub(super) head: Head,
    /// How many they are.
    pub(super) lines: u64,
    /// How many bytes they are.
    pub(super) bytes: u64,
    /// What comes after them.
    pub(super) torn: Option<Torn>,
}

/// What a write that was cut short leaves: the beginning of the next line, and zeros up to the end of the file, which
/// a power cut puts in the place of what was not on disk yet. Either may be missing.
#[derive(Debug)]
pub(super) struct Torn {
    /// The line's number, if that much of it is there.
    pub(super) seq: Option<u64>,
}

/// As [`verify_past`], and takes a last line that has no end for none.
pub(super) fn verify_whole_lines<'a>(
    mut input: impl BufRead,
    after: Option<&Head>,
    marks: impl IntoIterator<Item = &'a mut Mark>,
) -> Result<Whole, Broken> {
    let mut marks: Vec<&mut Mark> = marks.into_iter().collect();
    let (mut head, mut lines, mut bytes) = (after.cloned(), 0, 0);
    let mut text = Vec::new();
    loop {
        let broken = |why| Broken { line: lines + 1, why };
        text.clear();
        let mut limited = io::Read::take(&mut input, MAX_LINE_BYTES);
        let read =
            limited.read_until(b'\n', &mut text).map_err(|error| broken(Unsound::Unreadable(error)))?;
        if text.pop_if(|last| *last == b'\n').is_none() {
            let mut whole = Whole { head: head.unwrap_or_else(Head::genesis), lines, bytes, torn: None };
            if read > 0 {
                let before = (lines > 0 || after.is_some()).then_some(&whole.head);
                whole.torn = Some(read_torn(&text, input, before).map_err(broken)?);
            }
            return Ok(whole);
        }
        let next = check(&mut text, head.as_ref()).map_err(broken)?;
        for mark in &mut marks {
            mark.pass(&next);
        }
        head = Some(next);
        lines += 1;
        bytes += read as u64;
    }
}

/// Reads what has no end, and is followed by `rest`. Anything but what we may have left is no line of ours.
fn read_torn(text: &[u8], mut rest: impl BufRead, before: Option<&Head>) -> Result<Torn, Unsound> {
    let length = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let (begun, zeros) = text.split_at(length);
    let known = begun.len().min(NUMBER_MEMBER.len());
    let seq: Option<u64> = begun.strip_prefix(NUMBER_MEMBER).and_then(|number| {
        let end = number.iter().position(|byte| *byte == b',')?;
        std::str::from_utf8(&number[..end]).ok()?.parse().ok()
    });
    let is_next = before.zip(seq).is_none_or(|(before, seq)| before.seq.checked_add(1) == Some(seq));
    if begun[..known] != NUMBER_MEMBER[..known] || !is_next {
        return Err(Unsound::Form);
    }
    loop {
        let more = rest.fill_buf().map_err(Unsound::Unreadable)?;
        if more.is_empty() {
            return Ok(Torn { seq });
        }
        // Longer than any line of ours.
        if zeros.is_empty() || more.iter().any(|byte| *byte != 0) {
            return Err(Unsound::Form);
        }
        let length = more.len();
        rest.consume(length);
    }
}

/// Checks lines that were taken out of a log, in its order: each must have the hash that it states. Answers
/// them with their numbers. That the log holds them, only the log can show.
pub fn verify_slice(lines: &[u8]) -> Result<Vec<(Vec<u8>, u64)>, Broken> {
    let mut found: Vec<(Vec<u8>, u64)> = Vec::new();
    for (at, line) in lines.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let broken = |why| Broken { line: at as u64 + 1, why };
        let text = line.strip_suffix(b"\n").ok_or_else(|| broken(Unsound::Form))?;
        let head = check(&mut text.to_vec(), None).map_err(broken)?;
        if found.last().is_some_and(|(_, before)| *before >= head.seq) {
            return Err(broken(Unsound::Link));
        }
        found.push((text.to_vec(), head.seq));
    }
    Ok(found)
}

/// Checks one line, without its newline, and answers the head it makes.
fn check(text: &mut Vec<u8>, before: Option<&Head>) -> Result<Head, Unsound> {
    #[derive(Deserialize)]
    struct Place {
        seq: u64,
        prev: String,
    }
    let suffix = HASH_MEMBER.len() + HASH_LENGTH + LINE_END.len();
    let at = text.len().checked_sub(suffix).ok_or(Unsound::Form)?;
    let stated = text[at..]
        .strip_prefix(HASH_MEMBER)
        .and_then(|rest| rest.strip_suffix(LINE_END))
        .filter(|hash| is_hash(hash))
        .ok_or(Unsound::Form)?;
    let stated = String::from_utf8_lossy(stated).into_owned();
    text.truncate(at);
    text.push(b'}');
    let place: Place = serde_json::from_slice(text).map_err(|_| Unsound::Form)?;
    if hash(&place.prev, text) != stated {
        return Err(Unsound::Hash);
    }
    let follows =
        before.is_none_or(|head| place.prev == head.hash && Some(place.seq) == head.seq.checked_add(1));
    // Line 1 hangs on nothing, wherever the check begins.
    let begins_well = (place.seq == 1) == (place.prev == Head::genesis().hash);
    if !follows || !begins_well {
        return Err(Unsound::Link);
    }
    Ok(Head { seq: place.seq, hash: stated })
}

fn is_hash(text: &[u8]) -> bool {
    text.len() == HASH_LENGTH && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{audit::Act, digest::sha256};

    fn chain(lines: u64) -> (Vec<u8>, Head) {
        let (mut bytes, mut head) = (Vec::new(), Head::genesis());
        for number in 0..lines {
            let at = Timestamp::from_second(1_800_000_000 + i64::try_from(number).unwrap()).unwrap();
            let entry = Entry::new(Act::EnvelopeCreate, "system").caller("website").signing(number);
            head = append(&mut bytes, &head, at, &entry);
        }
        (bytes, head)
    }

    fn whole(bytes: &[u8]) -> Result<Head, Broken> {
        verify(bytes, Some(&Head::genesis()))
    }

    fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
        bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn s6_an_untouched_chain_is_good_and_has_the_head_it_was_written_with() {
        let (bytes, head) = chain(20);
        assert_eq!(whole(&bytes).unwrap(), head);
        assert_eq!(head.to_string().parse::<Head>().unwrap(), head);
        assert_eq!(whole(b"").unwrap(), Head::genesis());
    }

    #[test]
    fn s6_the_first_line_is_as_documented() {
        let (bytes, _) = chain(1);
        let line: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&line["seq"], &line["event"]), (&1.into(), &"envelope.create".into()));
        // Computed with sha256sum over 64 zeros and the line without its hash.
        let text = String::from_utf8(bytes).unwrap();
        let (content, _) = text.split_once(",\"hash\"").unwrap();
        let input = format!("{}{content}}}", "0".repeat(64));
        assert_eq!(line["hash"], hex(&sha256(input.as_bytes())));
    }

    #[test]
    fn s6_a_slice_is_good_line_by_line_in_the_order_of_the_log() {
        let all = lines(&chain(12).0);
        let slice = [all[1].clone(), all[4].clone(), all[11].clone()];
        let found = verify_slice(&slice.concat()).unwrap();
        assert_eq!(found.iter().map(|(_, seq)| *seq).collect::<Vec<_>>(), [2, 5, 12]);
        let swapped = [all[4].clone(), all[1].clone()].concat();
        assert!(matches!(verify_slice(&swapped), Err(Broken { line: 2, why: Unsound::Link })));
        let mut edited = slice.concat();
        edited[20] ^= 1;
        assert!(verify_slice(&edited).is_err());
        assert!(verify_slice(&edited[..edited.len() - 1]).is_err());
    }

    #[test]
    fn a_rotated_file_is_good_after_the_head_of_the_one_before_and_only_then() {
        let (bytes, head) = chain(6);
        let all = lines(&bytes);
        let (first, second) = (all[..4].concat(), all[4..].concat());
        let middle = whole(&first).unwrap();
        assert_eq!(verify(&second[..], Some(&middle)).unwrap(), head);
        assert_eq!(verify(&second[..], None).unwrap(), head);
        assert_eq!(whole(&second).unwrap_err().line, 1);
    }

    #[test]
    fn a_last_line_is_torn_if_it_began_as_ours_and_ends_in_nothing_or_zeros() {
        let (bytes, _) = chain(3);
        let last = lines(&bytes).pop().unwrap();
        let before = &bytes[..bytes.len() - last.len()];
        let (half, zeros, long) = (&last[..100], "\0".repeat(200_000), "x".repeat(100_000));
        let zeros = zeros.as_bytes();
        let torn: [&[u8]; 6] =
            [&last[..1], half, &last[..last.len() - 1], &zeros[..1], zeros, &[half, zeros].concat()];
        for tail in torn {
            let broken = whole(&[before, tail].concat()).unwrap_err();
            assert!(matches!(broken, Broken { line: 3, why: Unsound::Torn }), "{broken}");
        }
        let other: [&[u8]; 5] = [
            b"a word",
            b"{\"seq\":9,\"at\":",
            &[zeros, b"x"].concat(),
            &[half, zeros, half].concat(),
            &[half, long.as_bytes()].concat(),
        ];
        for tail in other {
            let broken = whole(&[before, tail].concat()).unwrap_err();
            assert!(matches!(broken, Broken { line: 3, why: Unsound::Form }), "{broken}");
        }
    }

    #[test]
    fn a_cut_at_the_end_shows_only_against_the_head() {
        let (bytes, head) = chain(6);
        let cut = lines(&bytes)[..5].concat();
        assert_ne!(whole(&cut).unwrap(), head);
    }

    proptest! {
        #[test]
        fn s6_any_changed_byte_is_found(at in 0_usize..3_000, with in any::<u8>()) {
            let (mut bytes, _) = chain(12);
            let at = at % bytes.len();
            prop_assume!(bytes[at] != with);
            bytes[at] = with;
            prop_assert!(whole(&bytes).is_err());
        }

        #[test]
        fn s6_any_byte_taken_out_or_put_in_is_found(at in 0_usize..3_000, new in proptest::option::of(any::<u8>())) {
            let (mut bytes, _) = chain(12);
            let at = at % bytes.len();
            match new {
                Some(byte) => bytes.insert(at, byte),
                None => drop(bytes.remove(at)),
            }
            prop_assert!(whole(&bytes).is_err());
        }

        #[test]
        fn s6_any_line_taken_out_before_the_end_is_found(out in 0_usize..11) {
            let mut all = lines(&chain(12).0);
            all.remove(out);
            let broken = whole(&all.concat()).unwrap_err();
            prop_assert_eq!(broken.line, out as u64 + 1);
        }

        #[test]
        fn s6_any_two_lines_swapped_are_found(a in 0_usize..12, b in 0_usize..12) {
            prop_assume!(a != b);
            let mut all = lines(&chain(12).0);
            all.swap(a, b);
            prop_assert!(whole(&all.concat()).is_err());
        }

        #[test]
        fn s6_any_line_repeated_anywhere_is_found(from in 0_usize..12, to in 0_usize..=12) {
            let mut all = lines(&chain(12).0);
            let line = all[from].clone();
            all.insert(to, line);
            prop_assert!(whole(&all.concat()).is_err());
        }
    }
}
