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
mod tests;
