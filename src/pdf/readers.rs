//! The reading of PDFs, as the daemon sees it: a few processes, started when there is something to read.
//!
//! A reader that dies over a file, or takes too long, is replaced for the next one, and the file is said to take too
//! much. It must never keep a caller for longer than [`PATIENCE`], twice: for a turn, and for the answer.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
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

/// Files that are read at the same time.
const AT_ONCE: usize = 2;
/// How long is waited for a turn, and then for an answer. More than a reader gives itself in CPU.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads PDFs, a few at a time.
#[derive(Debug)]
pub struct Readers {
    /// The binary that reads; none: the daemon does it itself.
    program: Option<PathBuf>,
    turns: Arc<Semaphore>,
    idle: Mutex<Vec<Reader>>,
    clock: SharedClock,
}

impl Readers {
    /// Readers by `program`, which is the countersign binary; without one, on threads of this process.
    pub fn new(program: Option<PathBuf>, clock: SharedClock) -> Self {
        Self { program, turns: Arc::new(Semaphore::new(AT_ONCE)), idle: Mutex::default(), clock }
    }

    /// Reads a file and looks for `texts` in it.
    pub async fn read(&self, file: Vec<u8>, texts: Vec<String>) -> Result<Seen, Error> {
        let Some(turn) = self.in_time(Arc::clone(&self.turns).acquire_owned()).await else {
            tracing::warn!("a PDF is left to DocuSign unread: others take long to read");
            return Err(Error::TooMuch);
        };
        let turn = turn.expect("it is never closed");
        let Some(program) = &self.program else { return here(file, texts, turn).await };
        let request = Request { texts, file_bytes: file.len() };
        let why = match self.in_time(self.ask(program, &request, &file)).await {
            Some(Ok(seen)) => return seen,
            Some(Err(error)) => error.to_string(),
            None => "it did not answer, and is killed".to_owned(),
        };
        tracing::warn!(pdf.bytes = file.len(), pdf.reader = why, "a PDF is left to DocuSign unread");
        Err(Error::TooMuch)
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        Deadline::within(&*self.clock, PATIENCE).hold(&*self.clock, work).await
    }

    /// Asks a reader. One that is dropped on the way, because nobody waits any more, is killed.
    async fn ask(&self, program: &Path, request: &Request, file: &[u8]) -> io::Result<Result<Seen, Error>> {
        let mut reader = match self.take_idle() {
            Some(reader) => reader,
            None => Reader::start(program)?,
        };
        let Answer { seen, stays } = reader.exchange(request, file).await?;
        if stays {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        }
        Ok(seen)
    }

    /// One that has nothing to do, and lives.
    fn take_idle(&self) -> Option<Reader> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find_map(|mut reader| {
            let lives = matches!(reader.child.try_wait(), Ok(None));
            lives.then_some(reader)
        })
    }
}

/// Reads on a thread of this process.
async fn here(file: Vec<u8>, texts: Vec<String>, turn: OwnedSemaphorePermit) -> Result<Seen, Error> {
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

    async fn exchange(&mut self, request: &Request, file: &[u8]) -> io::Result<Answer> {
        let told = async {
            self.questions.write_all(&own_process::frame(request, LIMIT_BYTES)?).await?;
            self.questions.write_all(file).await?;
            own_process::receive(&mut self.answers, LIMIT_BYTES).await
        };
        match told.await {
            Ok(answer) => Ok(answer),
            // How it ended says more than the closed pipe.
            Err(_) => Err(io::Error::other(format!("it ended ({})", self.child.wait().await?))),
        }
    }
}
