//! Restarts, writes that were cut short, rotations, and files that somebody else has changed.

use super::*;
use crate::{
    audit::{Act, Audit},
    clock::{ManualClock, SystemClock},
};

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("countersign-audit-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("audit.jsonl")
    }

    fn open(&self) -> Result<Audit, Error> {
        Audit::open(&self.file(), false, Arc::new(SystemClock))
    }

    fn head(&self) -> Head {
        chain::verify(&fs::read(self.file()).unwrap()[..], Some(&Head::genesis())).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn entry() -> Entry {
    Entry::new(Act::ViewCreate, "system").caller("website").signing("sig_1")
}

#[tokio::test]
async fn s6_the_chain_goes_on_after_a_restart_in_a_file_that_only_we_can_read() {
    let scratch = Scratch::new();
    let audit = scratch.open().unwrap();
    audit.record(entry()).await.unwrap();
    assert!(matches!(scratch.open(), Err(Error::InUse)));
    audit.close().await;
    assert!(matches!(audit.record(entry()).await, Err(Error::Closed)));
    let audit = scratch.open().unwrap();
    audit.record(entry()).await.unwrap();
    assert_eq!(scratch.head(), audit.head().unwrap());
    assert_eq!(scratch.head().seq, 2);
    assert_eq!(fs::metadata(scratch.file()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn s6_many_at_once_are_one_chain() {
    let scratch = Scratch::new();
    let audit = scratch.open().unwrap();
    let all = (0..3_000).map(|_| audit.record(entry()));
    assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
    assert_eq!(scratch.head().seq, 3_000);
}

#[tokio::test]
async fn s6_what_is_done_together_is_written_together_or_not_at_all() {
    let scratch = Scratch::new();
    let audit = scratch.open().unwrap();
    let both = || vec![Entry::new(Act::EnvelopeCreate, "system").signing("sig_1"), entry()];
    audit.record_all(both()).await.unwrap();
    assert_eq!(scratch.head().seq, 2);
    let text = fs::read_to_string(scratch.file()).unwrap();
    let second = text.find("view.create");
    assert!(text.find("envelope.create") < second && second.is_some(), "{text}");
    // Another file in its place: the chain cannot go on.
    fs::remove_file(scratch.file()).unwrap();
    fs::write(scratch.file(), "something else\n").unwrap();
    assert!(matches!(audit.record_all(both()).await, Err(Error::Io(_))));
    assert_eq!(audit.head().unwrap().seq, 2);
}

/// A log of two lines, and how long the first is.
async fn two_lines(scratch: &Scratch) -> (Vec<u8>, usize) {
    let audit = scratch.open().unwrap();
    audit.record(entry()).await.unwrap();
    audit.record(entry()).await.unwrap();
    audit.close().await;
    let bytes = fs::read(scratch.file()).unwrap();
    let first = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    (bytes, first)
}

#[tokio::test]
async fn s6_half_a_line_that_nobody_was_told_of_is_cut_off_and_the_chain_goes_on() {
    let scratch = Scratch::new();
    let (bytes, first) = two_lines(&scratch).await;
    let (one, two) = bytes.split_at(first);
    let head = chain::verify(one, None).unwrap();
    let zeros = "\0".repeat(200_000).into_bytes();
    let tails: [&[u8]; 5] =
        [&two[..1], &two[..two.len() - 1], &zeros[..1], &zeros, &[&two[..50], &zeros[..]].concat()];
    for tail in tails {
        let torn = [one, tail].concat();
        fs::write(scratch.file(), &torn).unwrap();
        noted::write(&scratch.file(), &head, true).unwrap();
        let verified = chain::verify(&torn[..], None).unwrap_err();
        assert!(verified.to_string().contains("line 2: the line has no end"), "{verified}");
        let found = examine(&scratch.file()).unwrap();
        assert_eq!(found, Some(Found { seq: 1, torn_bytes: tail.len() as u64 }));
        assert_eq!(fs::read(scratch.file()).unwrap(), torn, "a look changes nothing");
        let audit = scratch.open().unwrap();
        assert_eq!(fs::read(scratch.file()).unwrap(), one);
        audit.record(entry()).await.unwrap();
        assert_eq!((scratch.head().seq, Some(scratch.head())), (2, audit.head()));
        audit.close().await;
    }
    // The first line of all, and the first one after a rotation.
    let begun = [(&one[..50], Head::genesis()), (&zeros[..], Head::genesis()), (&two[..50], head)];
    for (text, noted) in begun {
        fs::write(scratch.file(), text).unwrap();
        noted::write(&scratch.file(), &noted, true).unwrap();
        let audit = scratch.open().unwrap();
        assert_eq!(audit.head(), Some(noted));
        assert_eq!(fs::read(scratch.file()).unwrap(), b"");
        audit.close().await;
    }
}

#[tokio::test]
async fn s6_half_a_line_is_refused_where_it_was_noted_as_a_whole_one_or_is_none_of_ours() {
    let scratch = Scratch::new();
    let (bytes, first) = two_lines(&scratch).await;
    let (one, two) = bytes.split_at(first);
    let whole = chain::verify(&bytes[..], None).unwrap();
    let refused = |text: &[u8]| {
        fs::write(scratch.file(), text).unwrap();
        let errors = [scratch.open().unwrap_err(), examine(&scratch.file()).unwrap_err()];
        assert_eq!(fs::read(scratch.file()).unwrap(), text, "it is left as it is");
        errors
    };
    noted::write(&scratch.file(), &whole, true).unwrap();
    let cut: [&[u8]; 4] = [&bytes[..bytes.len() - 20], &two[..50], &one[..50], b"\0\0\0"];
    for text in cut {
        assert!(refused(text).iter().all(|error| matches!(error, Error::Cut(_))));
    }
    noted::write(&scratch.file(), &Head::genesis(), true).unwrap();
    let mut changed = bytes.clone();
    changed[20] ^= 1;
    let others: [&[u8]; 4] = [
        b"another file, which has no end",
        &[one, b"something else"].concat(),
        &[one, b"\0\0\0", two].concat(),
        &changed[..changed.len() - 20],
    ];
    for text in others {
        assert!(refused(text).iter().all(|error| matches!(error, Error::Broken(_))));
    }
}

#[tokio::test]
async fn s6_a_log_that_lost_its_end_or_is_an_older_copy_is_not_gone_on_with() {
    let scratch = Scratch::new();
    let audit = scratch.open().unwrap();
    audit.record(entry()).await.unwrap();
    audit.close().await;
    let older = fs::read(scratch.file()).unwrap();
    let audit = scratch.open().unwrap();
    audit.record(entry()).await.unwrap();
    audit.close().await;
    let whole = fs::read(scratch.file()).unwrap();
    fs::write(scratch.file(), &older).unwrap();
    assert!(matches!(scratch.open(), Err(Error::Cut(_))));
    // The whole one is; and nothing is wrong with what was written after the last note.
    fs::write(scratch.file(), &whole).unwrap();
    let audit = scratch.open().unwrap();
    audit.record(entry()).await.unwrap();
    audit.close().await;
    noted::write(&scratch.file(), &chain::verify(&whole[..], None).unwrap(), false).unwrap();
    let audit = scratch.open().unwrap();
    assert_eq!(audit.head().unwrap().seq, 3);
    audit.close().await;
    let note = noted::beside(&scratch.file());
    assert_eq!(fs::metadata(&note).unwrap().permissions().mode() & 0o777, 0o600);
    // As a power cut may leave the first one.
    fs::write(note, "").unwrap();
    assert_eq!(scratch.open().unwrap().head().unwrap().seq, 3);
}

#[tokio::test]
async fn s6_a_log_that_somebody_cuts_or_adds_to_meanwhile_is_not_gone_on_with() {
    let scratch = Scratch::new();
    let (whole, first) = two_lines(&scratch).await;
    let audit = scratch.open().unwrap();
    let longer = [&whole[..], b"more\n"].concat();
    for text in [&whole[..first], &whole[..whole.len() - 1], &longer[..]] {
        fs::write(scratch.file(), text).unwrap();
        assert!(matches!(audit.record(entry()).await, Err(Error::Io(_))));
        let why = audit.trouble().unwrap();
        assert!(why.contains(&format!("{} bytes and should have {}", text.len(), whole.len())), "{why}");
        assert_eq!(fs::read(scratch.file()).unwrap(), text, "it is left as it is");
    }
    assert_eq!(audit.head().unwrap().seq, 2);
    fs::write(scratch.file(), &whole).unwrap();
    audit.record(entry()).await.unwrap();
    assert_eq!((scratch.head().seq, audit.trouble()), (3, None), "it is whole again");
    let third = scratch.head();
    // As `copytruncate` does.
    fs::write(scratch.file(), "").unwrap();
    audit.record(entry()).await.unwrap();
    audit.record(entry()).await.unwrap();
    let fifth = chain::verify(&fs::read(scratch.file()).unwrap()[..], Some(&third)).unwrap();
    assert_eq!(fifth.seq, 5);
    // What was changed is kept elsewhere, and a new file goes on.
    fs::write(scratch.file(), "something else\n").unwrap();
    assert!(audit.record(entry()).await.is_err());
    fs::rename(scratch.file(), scratch.0.join("evidence")).unwrap();
    audit.record(entry()).await.unwrap();
    audit.record(entry()).await.unwrap();
    let seventh = chain::verify(&fs::read(scratch.file()).unwrap()[..], Some(&fifth)).unwrap();
    assert_eq!((seventh.seq, Some(seventh)), (7, audit.head()));
}

/// As `copytruncate` leaves it between the look and the write, however often.
#[tokio::test]
async fn s6_a_log_that_was_emptied_just_before_the_last_write_is_gone_on_with() {
    let scratch = Scratch::new();
    // Its time stands still, so that all lines are of one length.
    let clock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
    let audit = Audit::open(&scratch.file(), false, Arc::new(clock)).unwrap();
    let mut heads = vec![Head::genesis()];
    for entries in [vec![entry()], vec![entry()], vec![entry(), entry()]] {
        audit.record_all(entries).await.unwrap();
        heads.push(audit.head().unwrap());
    }
    let before = fs::read(scratch.file()).unwrap();
    let (cut, last) = before.split_at(before.len() / 2);
    fs::write(scratch.file(), cut).unwrap();
    assert!(matches!(audit.record(entry()).await, Err(Error::Io(_))), "as long, and not the last write");
    assert_eq!(fs::read(scratch.file()).unwrap(), cut, "it is left as it is");
    fs::write(scratch.file(), last).unwrap();
    audit.record(entry()).await.unwrap();
    let there = fs::read(scratch.file()).unwrap();
    assert_eq!(chain::verify(&there[..], Some(&heads[2])).unwrap().seq, 5);
    fs::write(scratch.file(), &there[last.len()..]).unwrap();
    audit.record(entry()).await.unwrap();
    audit.record(entry()).await.unwrap();
    let there = fs::read(scratch.file()).unwrap();
    let end = chain::verify(&[&before[..], &there[..]].concat()[..], Some(&Head::genesis())).unwrap();
    assert_eq!((end.seq, Some(end), audit.trouble()), (7, audit.head(), None));
}

#[tokio::test]
async fn s6_an_emptied_log_goes_on_with_the_number_that_is_missing() {
    let scratch = Scratch::new();
    let audit = scratch.open().unwrap();
    audit.record(entry()).await.unwrap();
    audit.close().await;
    // As a rotation while the daemon is down; by somebody else, line 2 shows that line 1 is missing.
    fs::rename(scratch.file(), scratch.0.join("audit.jsonl.1")).unwrap();
    let audit = scratch.open().unwrap();
    audit.record(entry()).await.unwrap();
    assert_eq!(audit.head().unwrap().seq, 2);
    let text = fs::read(scratch.file()).unwrap();
    assert!(chain::verify(&text[..], Some(&Head::genesis())).is_err());
    let before = fs::read(scratch.0.join("audit.jsonl.1")).unwrap();
    chain::verify(&[before, text].concat()[..], Some(&Head::genesis())).unwrap();
}

#[tokio::test]
async fn a_rotated_log_goes_on_in_a_new_file_with_the_same_chain() {
    let scratch = Scratch::new();
    let audit = scratch.open().unwrap();
    audit.record(entry()).await.unwrap();
    let old = scratch.head();
    fs::rename(scratch.file(), scratch.0.join("audit.jsonl.1")).unwrap();
    audit.record(entry()).await.unwrap();
    let new = chain::verify(&fs::read(scratch.file()).unwrap()[..], Some(&old)).unwrap();
    assert_eq!((new.seq, Some(new)), (2, audit.head()));
}
