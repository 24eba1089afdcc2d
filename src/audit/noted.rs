//! How far a log has come, in a file beside it (`FILE.head`): what shows that lines are missing at its end.
//!
//! One line, `SEQ:HASH`, always of the same length, so that it is written over in place: within one sector, and
//! also when the disk is full. It guards against what happens to a log by itself, such as a backup that was put
//! back or a file that was cut; whoever may write both files can forge both, which only a head that was noted on
//! another machine shows.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::chain::Head;

/// Where the note of this log is.
pub fn beside(log: &Path) -> PathBuf {
    let mut name = OsString::from(log);
    name.push(".head");
    name.into()
}

/// What is noted; none if nothing ever was. A power cut may leave the first note made and not filled.
pub fn read(log: &Path) -> io::Result<Option<Head>> {
    let path = beside(log);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()));
    match text.trim_matches(['\0', '\n']) {
        "" => Ok(None),
        head => head.parse().map(Some).map_err(wrong),
    }
}

/// Notes a head, for good if it is to be synced.
pub(super) fn write(log: &Path, head: &Head, synced: bool) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(beside(log))?;
    file.write_all_at(format!("{:020}:{}\n", head.seq, head.hash).as_bytes(), 0)?;
    if synced { file.sync_data() } else { Ok(()) }
}
