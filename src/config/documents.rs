//! `[documents]`: where signed documents lie while they are fetched, and where those to be signed are read.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{ConfigError, StoreUrl, values, values::ByteSize};

/// The section, checked.
#[derive(Debug, Clone)]
pub struct Documents {
    /// A directory that this user may write.
    pub spool_dir: PathBuf,
    /// The most that lies there.
    pub spool_limit: ByteSize,
    /// How long a document is kept after it was fetched from the upstream.
    pub keep: Duration,
    /// Whether PDFs are read in a process of their own.
    pub isolate: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(default, deserialize_with = "values::maybe")]
    spool_dir: Option<PathBuf>,
    #[serde(deserialize_with = "values::given")]
    spool_limit: ByteSize,
    #[serde(deserialize_with = "values::given")]
    keep: Duration,
    #[serde(deserialize_with = "values::given")]
    isolate: bool,
}

impl Raw {
    /// Beside the store's own file unless set, because that is a disk that can be written; the system's
    /// temporary directory with Postgres.
    pub(super) fn check(self, store: &StoreUrl) -> Result<Documents, ConfigError> {
        let spool_dir = match (self.spool_dir, store) {
            (Some(given), _) => directory(given)?,
            (None, StoreUrl::Sqlite(file)) => match file.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                _ => PathBuf::from("."),
            },
            (None, StoreUrl::Postgres(_)) => std::env::temp_dir(),
        };
        Ok(Documents { spool_dir, spool_limit: self.spool_limit, keep: self.keep, isolate: self.isolate })
    }
}

fn directory(path: PathBuf) -> Result<PathBuf, ConfigError> {
    if path.is_dir() {
        return Ok(path);
    }
    let fix = "make it, or name another directory that this user may write";
    Err(ConfigError::new("documents.spool_dir", format!("{} is no directory", path.display()), fix))
}
