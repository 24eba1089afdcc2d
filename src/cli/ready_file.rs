//! `--ready-file`: tells scripts where we listen, so that they need not parse logs.
//!
//! A script that waits for the file must never see half of it: it is written beside its place, synced,
//! and moved there whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::Context as _;
use serde::Serialize;

/// Writes `content` as JSON to `path`. Mode 0600: it may hold a test's keys.
pub fn write(path: &Path, content: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(content).context("cannot write the ready file as JSON")?;
    text.push(b'\n');
    replace(path, &text).with_context(|| format!("cannot write the ready file {}", path.display()))
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside = name.to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = directory.join(beside);
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
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
