//! `--ready-file`: tells scripts where we listen, so that they need not parse logs.
//!
//! A script that waits for the file must never see half of it: it is written beside its place, synced,
//! and moved there whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::Serialize;

use crate::config::ConfigError;

/// Whether the file could be written now; leaves nothing behind. Whoever listens first, and then cannot say so, is
/// waited for in vain.
pub fn check(path: &Path) -> Result<(), ConfigError> {
    let tried = if path.is_dir() {
        Err(io::ErrorKind::IsADirectory.into())
    } else {
        beside(path).and_then(|(_, beside)| open(&beside).and_then(|_| fs::remove_file(&beside)))
    };
    tried.map_err(|error| refused(path, &error))
}

/// That it cannot be written, and why.
pub fn refused(path: &Path, error: &io::Error) -> ConfigError {
    let cause = format!("cannot write {}: {error}", path.display());
    ConfigError::new("--ready-file", cause, "name a file in a folder that is there and can be written")
}

/// Writes `content` as JSON to `path`. Mode 0600: it may hold a test's keys.
pub fn write(path: &Path, content: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(content).context("cannot write the ready file as JSON")?;
    text.push(b'\n');
    replace(path, &text).with_context(|| format!("cannot write the ready file {}", path.display()))
}

/// The folder of the file, and where it is written first.
fn beside(path: &Path) -> io::Result<(&Path, PathBuf)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside = name.to_owned();
    beside.push(format!(".{}", std::process::id()));
    Ok((directory, directory.join(beside)))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let (directory, beside) = beside(path)?;
    let written = (|| {
        let mut file = open(&beside)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_appears_whole_replaces_an_old_one_and_leaves_nothing_beside() {
        let directory = std::env::temp_dir().join(format!("countersign-ready-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("ready.json");
        write(&path, &serde_json::json!({ "pid": 1 })).unwrap();
        write(&path, &serde_json::json!({ "pid": 2 })).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(read["pid"], 2);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        let error = write(&directory.join("none").join("ready.json"), &()).unwrap_err();
        assert!(error.to_string().contains("none/ready.json"), "{error}");
        fs::remove_dir_all(&directory).unwrap();
    }
}
