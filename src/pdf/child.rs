//! The process that reads: it is given a file, says what it saw, and waits for the next.
//!
//! For each file it may take so much memory and time; what needs more is the end of the process (an allocation that
//! is refused aborts it, and so does a nesting that its stack cannot hold), which is an answer, too. It must hold
//! nothing of one file when it reads the next, start no process and write no log: its one way out is the answer.
//!
//! Follows setrlimit(2): RLIMIT_DATA counts what is allocated, RLIMIT_CPU seconds since the process began.

use std::{
    fs::{self, File},
    io::{self, IsTerminal as _},
};

use rustix::{
    process::{DumpableBehavior, Resource, Rlimit},
    time::ClockId,
};

use super::{
    read,
    wire::{self, Answer, FILE_LIMIT_BYTES, LIMIT_BYTES, Request},
};
use crate::own_process;

/// Memory for any file: a kilobyte for each of its objects, of which large ones have 100,000.
const MEMORY_BYTES: usize = 160 * 1024 * 1024;
/// Memory for each byte of a file: as it came, as its streams are kept, and a third time for what is read of it.
const MEMORY_PER_BYTE: usize = 3;
/// Seconds of CPU for a file. The largest that are well take a tenth of one.
const SECONDS: u64 = 2;
/// With more than this in hand it ends, so that what it once took for a file is not kept for good.
const KEPT_BYTES: usize = 16 * 1024 * 1024;

/// Serves the daemon until that is gone. Questions come by standard input.
pub fn run() -> io::Result<()> {
    if io::stdin().is_terminal() {
        return Err(io::Error::other("this command is for the daemon, which starts it itself"));
    }
    let mut questions = File::from(rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?);
    let mut answers = File::from(rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?);
    // Shown by ps; the binary is the daemon's own.
    let _ = rustix::thread::set_name(c"countersign-pdf");
    // Documents are nobody's business; and where memory is short, this goes before the daemon does.
    let _ = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    // After that, because files of this process are root's from now on; with it no handler is given a core either.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    while let Some(request) = own_process::read::<Request>(&mut questions, LIMIT_BYTES)? {
        limit(request.file_bytes)?;
        let file = wire::read_file(&mut questions, &request)?;
        let texts: Vec<&str> = request.texts.iter().map(String::as_str).collect();
        let seen = read(&file, &texts);
        drop(file);
        let stays = kept_bytes().is_some_and(|bytes| bytes <= KEPT_BYTES);
        own_process::write(&mut answers, &Answer { seen, stays }, LIMIT_BYTES)?;
        if !stays {
            break;
        }
    }
    Ok(())
}

/// What may be taken for a file of this size.
fn limit(file_bytes: usize) -> io::Result<()> {
    let memory = MEMORY_BYTES + MEMORY_PER_BYTE * file_bytes.min(FILE_LIMIT_BYTES);
    set(Resource::Data, u64::try_from(memory).unwrap_or(u64::MAX))?;
    let used = rustix::time::clock_gettime(ClockId::ProcessCPUTime).tv_sec.unsigned_abs();
    set(Resource::Cpu, used + 1 + SECONDS)
}

/// Sets a limit as far as the hard one goes, which stays: the next file may be larger.
fn set(resource: Resource, limit: u64) -> io::Result<()> {
    let maximum = rustix::process::getrlimit(resource).maximum;
    let current = Some(maximum.map_or(limit, |most| most.min(limit)));
    Ok(rustix::process::setrlimit(resource, Rlimit { current, maximum })?)
}

/// Memory of its own that is resident: all but what it shares with the daemon, which is the binary.
fn kept_bytes() -> Option<usize> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: Vec<usize> = text.split(' ').map_while(|field| field.trim().parse().ok()).collect();
    Some((pages.get(1)? - pages.get(2)?) * rustix::param::page_size())
}
