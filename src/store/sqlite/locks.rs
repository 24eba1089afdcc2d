//! The locks that keep other daemons off a database file, and what they remember of it.
//!
//! A file has one beside its path; where the settings name a link, there is one beside the link, too: whoever knows the file
//! by either name is kept off, and if the place that the link leads to is empty one day, as of a disk that is not mounted,
//! the one beside the link still says that there was data.
//!
//! Must never lock the database itself: closing any handle on that would drop SQLite's own locks (sqlite.org, "How To
//! Corrupt An SQLite Database File", 2.2).

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::store::{
    Error,
    sqlite::file::{beside, unopened},
};

/// What a lock file holds once there is a database beside it.
const BEGUN: &[u8] = b"the database beside this file holds data: remove this file only to begin anew\n";

/// Held for as long as this lives.
#[derive(Debug)]
pub(super) struct Locks(Vec<Lock>);

/// A locked file. Unlocked when it goes, and not only closed: a process that is just being started has all that is
/// open until it becomes its program, and would hold the lock as long.
#[derive(Debug)]
struct Lock {
    file: File,
    /// The path that it lies beside.
    of: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing it does the same a moment later.
        let _ = self.file.unlock();
    }
}

impl Locks {
    /// Takes those of the path of the settings and of the file `at` the end of links, if that is another.
    pub(super) fn take(path: &Path, at: &Path) -> Result<Self, Error> {
        let mut locks = vec![Lock::take(path)?];
        if at != path {
            locks.push(Lock::take(at)?);
        }
        Ok(Self(locks))
    }

    /// The path of which a lock says that there was a database.
    pub(super) fn begun(&self) -> Result<Option<&Path>, Error> {
        for lock in &self.0 {
            if lock.is_begun()? {
                return Ok(Some(&lock.of));
            }
        }
        Ok(None)
    }

    /// Says from now on that there is one.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        for lock in &mut self.0 {
            if !lock.is_begun()? {
                lock.file.write_all(BEGUN).map_err(|e| unopened(&beside(&lock.of, "lock"), &e))?;
            }
        }
        Ok(())
    }
}

impl Lock {
    fn take(path: &Path) -> Result<Self, Error> {
        let beside = beside(path, "lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&beside)
            // It is the database that the settings name.
            .map_err(|e| unopened(path, &e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file, of: path.to_owned() }),
            Err(TryLockError::WouldBlock) => Err(Error::Unusable(format!(
                "{}: another countersign uses this file: stop it, or let both share a Postgres",
                path.display()
            ))),
            Err(TryLockError::Error(e)) => Err(unopened(&beside, &e)),
        }
    }

    fn is_begun(&self) -> Result<bool, Error> {
        Ok(self.file.metadata().map_err(|e| unopened(&self.of, &e))?.len() > 0)
    }
}

/// Whether a lock that may lie beside a path says that there was a database. It is not taken.
pub(super) fn says_begun(path: &Path) -> bool {
    std::fs::metadata(beside(path, "lock")).is_ok_and(|lock| lock.len() > 0)
}
