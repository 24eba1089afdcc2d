//! What the daemon and a reader say to each other: [messages](crate::own_process), and behind a question its file.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use super::{Error, Seen};
use crate::own_process;

/// The longest message: the texts that are looked for.
pub(super) const LIMIT_BYTES: usize = 4 * 1024 * 1024;
/// The largest file that is taken.
pub(super) const FILE_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// What the daemon asks for. The bytes of the file follow.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// What is looked for.
    pub(super) texts: Vec<String>,
    /// How long the file is.
    pub(super) file_bytes: usize,
}

impl Request {
    /// The question as it goes over the wire. The error: no reader takes that much.
    pub(super) fn frame(&self) -> io::Result<Vec<u8>> {
        self.check()?;
        own_process::frame(self, LIMIT_BYTES)
    }

    fn check(&self) -> io::Result<()> {
        if self.file_bytes <= FILE_LIMIT_BYTES { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}

/// What a reader answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    /// What was seen.
    pub(super) seen: Result<Seen, Error>,
    /// Whether it can be asked again. One that has grown ends, and its memory with it.
    pub(super) stays: bool,
}

/// Reads the file that follows a message.
pub(super) fn read_file(link: &mut impl Read, request: &Request) -> io::Result<Vec<u8>> {
    request.check()?;
    let mut file = vec![0; request.file_bytes];
    link.read_exact(&mut file)?;
    Ok(file)
}
