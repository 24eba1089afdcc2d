//! The one writer of a file: a thread of its own, which takes all that waits, writes it at once, and syncs
//! once for all of it.
//!
//! A write that fails is cut off again, so that the file stays a chain; if not even that works, nothing
//! more is written. What a kill or a power cut has left of a line is cut off at the next start: nobody was told that
//! it stands. A file that was renamed or removed (logrotate) is noticed before each write: a new one
//! goes on with the chain of the old. After `copytruncate` it goes on in the same file, which is empty then, or holds
//! the last write alone if that came between the look and the write. A file that is otherwise longer or shorter than
//! what was written, because somebody else cut it or added to it, is noticed before each write, too: nothing more is
//! written until it has its length again, or was moved away.
//!
//! How far the chain has come is kept beside it, in [`super::noted`]. It is noted only after the lines before it
//! are on disk, so that a power cut never leaves a note of lines that are gone: with `sync` after each write,
//! without after every thousand lines and whenever nothing comes for a second; at rotations and at the end in
//! both cases. The note itself is synced when nothing comes and at the end: a power cut may leave an older one,
//! which finds less and accuses nobody.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use tokio::sync::oneshot;

use super::{
    Entry, Error, Found,
    chain::{self, Head, Torn, Whole},
    mark::Mark,
    noted,
};
use crate::clock::SharedClock;

/// Orders that may wait for the disk before callers wait to be let in.
const QUEUE: usize = 1_024;
/// Orders that share one write.
const BATCH: usize = 256;
/// So many lines may come without `sync` before they are synced for the sake of the note.
const NOTE_AFTER: u64 = 1_000;
/// With nothing to write for so long, what is written is noted and synced.
const IDLE: Duration = Duration::from_secs(1);

/// Lines to write, all or none of them, and whom to tell.
type Job = (Vec<Entry>, oneshot::Sender<io::Result<()>>);

enum Order {
    Write(Job),
    /// Write what came before, let go of the file, and end.
    Close(oneshot::Sender<()>),
}

/// The writer's handle. The thread ends with it.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::SyncSender<Order>,
    head: Arc<Mutex<Head>>,
    trouble: Trouble,
    /// What was cut off at the start, in bytes.
    pub(super) torn_bytes: u64,
}

/// Why nothing can be written now, if that is so.
type Trouble = Arc<Mutex<Option<String>>>;

impl Writer {
    pub(super) fn start(path: &Path, sync: bool, clock: SharedClock) -> Result<Self, Error> {
        let file = open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => Error::InUse,
            other => Error::Io(other.into()),
        })?;
        let whole = resume(path, &file)?;
        let torn_bytes = if whole.torn.is_some() { cut_off(&file, &whole)? } else { 0 };
        let (head, length) = (whole.head, whole.bytes);
        let (shared, trouble) = (Arc::new(Mutex::new(head.clone())), Trouble::default());
        let (queue, orders) = mpsc::sync_channel(QUEUE);
        let log = Log {
            path: path.to_owned(),
            file,
            length,
            last: Last { after: head.clone(), bytes: 0 },
            sync,
            noted: Noted { seq: 0, is_synced: false, has_failed: false },
            head,
            shared: Arc::clone(&shared),
            trouble: Arc::clone(&trouble),
            failed: false,
        };
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || log.run(&orders, &clock))?;
        Ok(Self { queue, head: shared, trouble, torn_bytes })
    }

    pub(super) async fn record(&self, entries: Vec<Entry>) -> Result<(), Error> {
        let (tell, told) = oneshot::channel();
        self.send(Order::Write((entries, tell))).await;
        told.await.map_err(|_| Error::Closed)?.map_err(Error::Io)
    }

    /// Ends the thread; the file is free for another process then.
    pub(super) async fn close(&self) {
        let (tell, told) = oneshot::channel();
        self.send(Order::Close(tell)).await;
        // It may have ended already.
        let _ = told.await;
    }

    /// An order that cannot be sent is dropped, and whoever waits for it hears of that.
    async fn send(&self, order: Order) {
        if let Err(mpsc::TrySendError::Full(order)) = self.queue.try_send(order) {
            let queue = self.queue.clone();
            // The disk is far behind: wait off the runtime's threads.
            let _ = tokio::task::spawn_blocking(move || queue.send(order).is_ok()).await;
        }
    }

    /// Why nothing can be written now, if that is so.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn head(&self) -> Head {
        self.head.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Looks at a log as [`Writer::start`] would, without making or writing anything; what it would go on with, or none
/// if there is no file yet.
pub(super) fn examine(path: &Path) -> Result<Option<Found>, Error> {
    let file = match OpenOptions::new().read(true).append(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::Io(error)),
    };
    // Let go at once: a daemon that starts now must not find it taken.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => flock(&file, FlockOperation::Unlock).map_err(|error| Error::Io(error.into()))?,
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::InUse),
        Err(other) => return Err(Error::Io(other.into())),
    }
    let whole = resume(path, &file)?;
    let torn_bytes = if whole.torn.is_some() { torn_bytes(&file, &whole)? } else { 0 };
    Ok(Some(Found { seq: whole.head.seq, torn_bytes }))
}

/// Checks the chain that is there, also against how far it had come; answers what goes on. A file without a whole
/// line goes on with the chain of one that was moved away, or emptied, while nobody wrote.
fn resume(path: &Path, file: &File) -> Result<Whole, Error> {
    let known = noted::read(path)?;
    let mut mark = known.clone().map(Mark::new);
    let mut whole =
        chain::verify_whole_lines(BufReader::new(file), None, mark.as_mut()).map_err(Error::Broken)?;
    if let (Some(known), 0) = (known, whole.lines) {
        // A line is noted once it is whole: half of one that may have been noted is no write that was cut short.
        let is_noted = |torn: &Torn| torn.seq.map_or(known.seq > 0, |seq| seq <= known.seq);
        if whole.torn.as_ref().is_some_and(is_noted) {
            return Err(Error::Cut(chain::Unsound::Cut { end: whole.head, noted: known }));
        }
        whole.head = known;
    }
    if let Some(mark) = mark {
        mark.check(&whole.head).map_err(Error::Cut)?;
    }
    Ok(whole)
}

/// Cuts off what a write that was cut short has left after the last whole line; answers how many bytes.
fn cut_off(file: &File, whole: &Whole) -> io::Result<u64> {
    let bytes = torn_bytes(file, whole)?;
    file.set_len(whole.bytes)?;
    file.sync_all()?;
    Ok(bytes)
}

fn torn_bytes(file: &File, whole: &Whole) -> io::Result<u64> {
    Ok(file.metadata()?.len().saturating_sub(whole.bytes))
}

/// What the note says, or would if it could be written.
struct Noted {
    seq: u64,
    is_synced: bool,
    has_failed: bool,
}

/// What was written last.
struct Last {
    /// The head that its lines go on from.
    after: Head,
    bytes: usize,
}

/// What the thread holds.
struct Log {
    path: PathBuf,
    file: File,
    /// How long it is, if nobody else writes to it.
    length: u64,
    last: Last,
    sync: bool,
    head: Head,
    shared: Arc<Mutex<Head>>,
    trouble: Trouble,
    noted: Noted,
    /// The file may end in half a line that could not be cut off.
    failed: bool,
}

impl Drop for Log {
    /// Unlocks it, and not only closes it: a process that is just being started has all that is open until it becomes
    /// its program, and would hold the lock as long.
    fn drop(&mut self) {
        // Closing it does the same a moment later.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl Log {
    fn run(mut self, orders: &mpsc::Receiver<Order>, clock: &SharedClock) {
        self.note(true);
        loop {
            let first = match orders.recv_timeout(IDLE) {
                Ok(first) => first,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.note(true);
                    self.look_again();
                    continue;
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return self.note(true),
            };
            let (mut batch, mut close) = (Vec::new(), None);
            for order in std::iter::once(first).chain(orders.try_iter().take(BATCH - 1)) {
                match order {
                    Order::Write(job) => batch.push(job),
                    Order::Close(tell) => {
                        close = Some(tell);
                        break;
                    }
                }
            }
            let written = if batch.is_empty() { Ok(()) } else { self.write(&batch, clock) };
            if let Err(error) = &written {
                tracing::error!(%error, "the audit log cannot be written; nothing is done meanwhile");
            }
            self.tell(written.as_ref().err());
            for (_, tell) in batch {
                let copy = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
                // Who hung up does not act.
                let _ = tell.send(written.as_ref().copied().map_err(copy));
            }
            if let Some(tell) = close {
                self.note(true);
                drop(self);
                let _ = tell.send(());
                return;
            }
        }
    }

    fn tell(&self, trouble: Option<&io::Error>) {
        let mut told = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *told = trouble.map(ToString::to_string);
    }

    /// A daemon that is not ready is asked for nothing, so no line would find out that there is room again. A disk
    /// that refuses for another reason than want of room is found out by the next line.
    fn look_again(&mut self) {
        let is_in_trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if !is_in_trouble || self.failed {
            return;
        }
        let looked = self.follow_rotation();
        match looked.and_then(|_| Ok(rustix::fs::fstatvfs(&self.file)?.f_bavail > 0)) {
            Ok(true) => {
                tracing::info!("the audit log can be written again");
                self.tell(None);
            }
            Ok(false) => {}
            Err(error) => self.tell(Some(&error)),
        }
    }

    fn write(&mut self, batch: &[Job], clock: &SharedClock) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier write left half a line"));
        }
        let length = self.follow_rotation()?;
        if length < self.length {
            tracing::warn!(head = %self.head, "the audit log was emptied; its chain goes on in the same file");
        }
        let (mut bytes, mut head) = (Vec::new(), self.head.clone());
        for entry in batch.iter().flat_map(|(entries, _)| entries) {
            head = chain::append(&mut bytes, &head, clock.now(), entry);
        }
        let written =
            self.file.write_all(&bytes).and_then(|()| if self.sync { self.file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            self.failed = self.file.set_len(length).is_err();
            return Err(error);
        }
        self.length = length + bytes.len() as u64;
        let after = std::mem::replace(&mut self.head, head.clone());
        self.last = Last { after, bytes: bytes.len() };
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = head;
        if self.sync || self.head.seq - self.noted.seq >= NOTE_AFTER {
            self.note(false);
        }
        Ok(())
    }

    /// Notes how far the chain has come. The lines stand, so a note that fails stops nothing; it is said once, and
    /// tried again with the next line or in the next quiet second.
    fn note(&mut self, synced: bool) {
        let is_noted = self.noted.seq == self.head.seq && (self.noted.is_synced || !synced);
        if self.failed || (is_noted && !self.noted.has_failed) {
            return;
        }
        let lines = if self.sync { Ok(()) } else { self.file.sync_data() };
        let noted = lines.and_then(|()| noted::write(&self.path, &self.head, synced));
        if let Err(error) = &noted
            && !self.noted.has_failed
        {
            tracing::warn!(%error, "how far the audit log has come cannot be noted beside it");
        }
        self.noted = Noted { seq: self.head.seq, is_synced: synced, has_failed: noted.is_err() };
    }

    /// Goes on in a new file if the path leads elsewhere now. Answers how long the file is: as long as it should be, or
    /// as `copytruncate` leaves it.
    fn follow_rotation(&mut self) -> io::Result<u64> {
        let ours = self.file.metadata()?;
        let is_ours = |found: fs::Metadata| found.dev() == ours.dev() && found.ino() == ours.ino();
        if fs::metadata(&self.path).is_ok_and(is_ours) {
            let (found, length) = (ours.len(), self.length);
            if found != length && found != 0 && !self.is_last_alone(found)? {
                let why =
                    format!("somebody else has changed it: it has {found} bytes and should have {length}");
                return Err(io::Error::other(why));
            }
            return Ok(found);
        }
        let file = open(&self.path)?;
        if file.metadata()?.len() > 0 {
            return Err(io::Error::other("another file stands in its place"));
        }
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        self.note(true);
        tracing::info!(head = %self.head, "the audit log was rotated; a new file goes on with its chain");
        (self.file, self.length) = (file, 0);
        Ok(0)
    }

    /// Whether a file of this length has lost all but the last write: it was emptied just before that. The length alone
    /// does not tell: lines are often as long as others, so one that was cut may have it.
    fn is_last_alone(&self, found: u64) -> io::Result<bool> {
        let Last { after, bytes } = &self.last;
        if found >= self.length || found != *bytes as u64 {
            return Ok(false);
        }
        let mut lines = vec![0_u8; *bytes];
        self.file.read_exact_at(&mut lines, 0)?;
        Ok(chain::verify(&lines[..], Some(after)).is_ok_and(|head| head == self.head))
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    // One that was there, or was made by a rotation, may be wider.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
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
}
