//! An error with its causes, on one line: for logs and for `doctor`.
//!
//! Our errors say at each level what that level knows ("the upstream cannot be reached"), and keep the cause as
//! [`source`](Error::source). Whoever repairs it needs all of them.

use std::{error::Error, fmt};

/// Shows an error and all that is behind it, each after a colon.
pub fn chain<'a>(error: &'a (dyn Error + 'a)) -> Chain<'a> {
    Chain(error)
}

/// See [`chain`].
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a>(&'a (dyn Error + 'a));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{says}")]
    struct Level {
        says: &'static str,
        source: Option<Box<Level>>,
    }

    #[test]
    fn each_level_has_its_word() {
        let level = |says, below: Option<Level>| Level { says, source: below.map(Box::new) };
        let error = level("the upstream failed", Some(level("cannot connect", Some(level("refused", None)))));
        assert_eq!(chain(&error).to_string(), "the upstream failed: cannot connect: refused");
    }
}
