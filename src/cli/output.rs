//! Writing to the terminal. A reader that went away (`| head`) is no error.

use std::{
    fmt::Display,
    io::{self, Write as _},
};

/// A result: standard output.
pub(super) fn line(text: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Anything else: standard error.
pub(super) fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
