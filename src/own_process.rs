//! What the daemon has in common with the processes that it starts of its own binary: where that is, and how they
//! speak, in JSON with a length before each message.
//!
//! A length over the caller's limit is an error before anything is read or kept. What such a process does, and what it
//! may do, is the matter of whoever starts it: `auth::signer_process`, `pdf`.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes of the length before a message.
const HEADER: usize = 4;

/// The binary that runs now, even if its file was replaced since.
pub fn program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// A message as it goes over the wire, at most `limit` bytes of JSON.
pub fn frame(message: &impl Serialize, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; HEADER];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - HEADER;
    let header = u32::try_from(length).ok().filter(|_| length <= limit);
    bytes[..HEADER].copy_from_slice(&header.ok_or(io::ErrorKind::InvalidData)?.to_be_bytes());
    Ok(bytes)
}

/// Writes one message.
pub fn write(link: &mut impl Write, message: &impl Serialize, limit: usize) -> io::Result<()> {
    link.write_all(&frame(message, limit)?)
}

/// Reads one message; none if the other side is gone.
pub fn read<T: DeserializeOwned>(link: &mut impl Read, limit: usize) -> io::Result<Option<T>> {
    let mut header = [0; HEADER];
    match link.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut body = vec![0; length(header, limit)?];
    link.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

/// Waits for one message. That the other side is gone is an error.
pub async fn receive<T: DeserializeOwned>(
    link: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> io::Result<T> {
    let mut header = [0; HEADER];
    link.read_exact(&mut header).await?;
    let mut body = vec![0; length(header, limit)?];
    link.read_exact(&mut body).await?;
    Ok(serde_json::from_slice(&body)?)
}

fn length(header: [u8; HEADER], limit: usize) -> io::Result<usize> {
    let length = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
    if length <= limit { Ok(length) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 64;

    #[tokio::test]
    async fn a_frame_comes_back_as_it_went_and_a_long_one_is_refused() {
        let mut bytes = frame(&["one", "two"], LIMIT).unwrap();
        assert_eq!(read::<[String; 2]>(&mut bytes.as_slice(), LIMIT).unwrap().unwrap(), ["one", "two"]);
        assert_eq!(receive::<[String; 2]>(&mut bytes.as_slice(), LIMIT).await.unwrap(), ["one", "two"]);
        assert!(read::<[String; 2]>(&mut [].as_slice(), LIMIT).unwrap().is_none());
        bytes.truncate(bytes.len() - 1);
        assert!(read::<[String; 2]>(&mut bytes.as_slice(), LIMIT).is_err());
        assert!(receive::<[String; 2]>(&mut bytes.as_slice(), LIMIT).await.is_err());
        assert!(frame(&"x".repeat(LIMIT), LIMIT).is_err());
        assert!(read::<String>(&mut [0xff; 8].as_slice(), LIMIT).is_err());
    }
}
