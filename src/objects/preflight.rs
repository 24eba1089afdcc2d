//! What a dry run has found.

use bytes::Bytes;
use serde::Serialize;

use super::show::to_bytes;

/// What was seen of a file that an envelope is to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeenFile {
    /// The name that people see.
    pub name: String,
    /// Its size, decoded.
    pub bytes: usize,
    /// How many pages it has; none if it takes too much to read, and is left to the upstream to judge.
    pub pages: Option<usize>,
}

/// What a dry run has looked at, all of it well.
pub fn found(checks: &[&str], documents: &[SeenFile]) -> Bytes {
    #[derive(Serialize)]
    struct Preflight<'a> {
        object: &'static str,
        ok: bool,
        checks: Vec<Check<'a>>,
        documents: &'a [SeenFile],
    }
    #[derive(Serialize)]
    struct Check<'a> {
        check: &'a str,
        ok: bool,
    }
    let checks = checks.iter().map(|check| Check { check, ok: true }).collect();
    to_bytes(&Preflight { object: "preflight", ok: true, checks, documents })
}
