//! The reading of PDFs, as the daemon sees it: a process that is started when there is something to read.
//!
//! One file is read at a time; the rest of a create costs more than that. A reader that dies over a file, or takes longer
//! than its caller waits, is replaced for the next one, and the file is said to take too much. What cannot be asked must
//! keep nobody else waiting.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{
    COMMAND, Error, Seen,
    wire::{Answer, LIMIT_BYTES, Request},
};
use crate::{
    clock::{Deadline, SharedClock},
    own_process,
};

/// Reads PDFs, one after the other.
#[derive(Debug)]
pub struct Readers {
    /// The binary that reads; none: the daemon does it itself.
    program: Option<PathBuf>,
    turn: Arc<Semaphore>,
    idle: Mutex<Option<Reader>>,
    clock: SharedClock,
}

impl Readers {
    /// Readers by `program`, which is the countersign binary; without one, on a thread of this process.
    pub fn new(program: Option<PathBuf>, clock: SharedClock) -> Self {
        Self { program, turn: Arc::new(Semaphore::new(1)), idle: Mutex::default(), clock }
    }

    /// A turn at reading, if there is one by then. A file is made ready only with it in hand: those that wait take no memory.
    pub async fn turn(&self, until: Deadline) -> Option<Turn> {
        let turn = until.hold(&*self.clock, Arc::clone(&self.turn).acquire_owned()).await?;
        Some(Turn(turn.expect("it is never closed")))
    }

    /// Reads a file and looks for `texts` in it. What is not done by then takes too much.
    pub async fn read(
        &self,
        turn: Turn,
        file: Vec<u8>,
        texts: Vec<String>,
        until: Deadline,
    ) -> Result<Seen, Error> {
        let bytes = file.len();
        let why = match until.hold(&*self.clock, self.ask(turn, file, texts)).await {
            Some(Ok(seen)) => return seen,
            Some(Err(error)) => error.to_string(),
            None => "it takes too long".to_owned(),
        };
        tracing::warn!(pdf.bytes = bytes, pdf.reader = why, "a PDF is left to DocuSign unread");
        Err(Error::TooMuch)
    }

    /// Whether a reader can be had by then, and sets itself its limits. The error says why not.
    pub async fn probe(&self, until: Deadline) -> io::Result<()> {
        // Somebody reads, so it can be had.
        let Some(turn) = self.turn(until).await else { return Ok(()) };
        match until.hold(&*self.clock, self.ask(turn, Vec::new(), Vec::new())).await {
            Some(Ok(Err(Error::NotAPdf))) => Ok(()),
            Some(Ok(other)) => Err(io::Error::other(format!("of no bytes at all it says {other:?}"))),
            Some(Err(error)) => Err(error),
            None => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Asks a reader. One that is dropped on the way, because nobody waits any more, is killed.
    async fn ask(&self, turn: Turn, file: Vec<u8>, texts: Vec<String>) -> io::Result<Result<Seen, Error>> {
        let Some(program) = &self.program else { return Ok(here(turn, file, texts).await) };
        let question = Request { texts, file_bytes: file.len() }.frame()?;
        let reader = match self.take_idle() {
            Some(reader) => reader,
            None => Reader::start(program)?,
        };
        let (Answer { seen, stays }, reader) = reader.exchange(&question, &file).await?;
        if stays {
            *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(reader);
        }
        drop(turn);
        Ok(seen)
    }

    /// One that has nothing to do, and lives.
    fn take_idle(&self) -> Option<Reader> {
        let mut reader = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        matches!(reader.child.try_wait(), Ok(None)).then_some(reader)
    }
}

/// The right to read one file. The next one waits until it is dropped.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "it is given back with this")] OwnedSemaphorePermit);

/// Reads on a thread of this process.
async fn here(turn: Turn, file: Vec<u8>, texts: Vec<String>) -> Result<Seen, Error> {
    let reading = tokio::task::spawn_blocking(move || {
        // Given back when it is read, and not when nobody waits for it any more.
        let _turn = turn;
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        super::read(&file, &texts)
    });
    // As far as the caller is concerned, a panic of the reader is an error of the document.
    reading.await.unwrap_or(Err(Error::Unreadable))
}

/// A running reader, killed when this is dropped.
#[derive(Debug)]
struct Reader {
    questions: ChildStdin,
    answers: ChildStdout,
    child: Child,
}

impl Reader {
    fn start(program: &Path) -> io::Result<Self> {
        let mut command = Command::new(program);
        command
            .arg0("countersign")
            .arg(COMMAND)
            // The environment may hold secrets that are no business of it.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            // A Ctrl-C in the terminal is for the daemon, which still reads while it drains.
            .process_group(0);
        let mut child = command.spawn()?;
        let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("it has no pipes"));
        };
        Ok(Self { questions, answers, child })
    }

    /// Asks it. How it ended says more than a broken pipe.
    async fn exchange(mut self, question: &[u8], file: &[u8]) -> io::Result<(Answer, Self)> {
        let told = async {
            self.questions.write_all(question).await?;
            self.questions.write_all(file).await?;
            own_process::receive(&mut self.answers, LIMIT_BYTES).await
        };
        if let Ok(answer) = told.await {
            return Ok((answer, self));
        }
        let Self { questions, answers, mut child } = self;
        // It waits for nothing more, and so ends.
        drop((questions, answers));
        Err(io::Error::other(format!("it ended ({})", child.wait().await?)))
    }
}
