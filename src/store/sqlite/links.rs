//! Where a database file is, however the settings spell its path.
//!
//! SQLite follows links, and keeps its log beside the file that they lead to. Our lock has to lie there, too: else two
//! daemons that know a file by two names would both have it open.

use std::path::{Path, PathBuf};

use crate::store::Error;

/// How many links may lead to a file, one after the other: as many as Linux follows.
const MOST_LINKS: usize = 40;

/// Where the links lead that the last part of a path may be; also to a file that is not there yet. A path that is no link
/// stays as it is written: links among its folders change nothing, since what lies beside the file is the same by either.
pub(super) fn followed(path: &Path) -> Result<PathBuf, Error> {
    let mut at = path.to_owned();
    for _ in 0..=MOST_LINKS {
        match std::fs::read_link(&at) {
            Ok(target) => at = at.parent().unwrap_or(Path::new("")).join(target),
            // No link, or nothing there, or not to be looked at: whoever opens it says what is wrong with that.
            Err(_) => return Ok(at),
        }
    }
    Err(Error::Unusable(format!(
        "{}: a link that leads to no file: correct it, or set store.url to a file",
        path.display()
    )))
}

/// One name for the file that a path leads to, whichever path that is, also before the file is made. Where its folder is
/// not to be found it is the path as it is written.
pub(crate) fn place_of_file(path: &Path) -> PathBuf {
    let at = followed(path).unwrap_or_else(|_| path.to_owned());
    let folder = at.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let found = folder.canonicalize().ok().zip(at.file_name()).map(|(folder, name)| folder.join(name));
    found.or_else(|| std::path::absolute(&at).ok()).unwrap_or(at)
}
