//! How long work shows that it goes on: a spinner on a terminal, plain lines elsewhere.
//!
//! On standard error, so that results on standard output stay alone.

use std::{
    fmt,
    io::{IsTerminal as _, Read},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::output;

/// Work that is shown. Dropping it clears the spinner.
pub struct Progress {
    spinner: Option<ProgressBar>,
}

impl Progress {
    /// Work that has just begun.
    pub fn start(what: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            output::note(format_args!("{what} …"));
            return Self { spinner: None };
        }
        let style =
            ProgressStyle::with_template("{spinner} {msg} {elapsed}").expect("a constant that parses");
        let spinner = ProgressBar::new_spinner().with_style(style).with_message(what.to_owned());
        spinner.enable_steady_tick(Duration::from_millis(100));
        Self { spinner: Some(spinner) }
    }

    /// The next step of it.
    pub fn step(&self, what: &str) {
        match &self.spinner {
            Some(spinner) => spinner.set_message(what.to_owned()),
            None => output::note(format_args!("{what} …")),
        }
    }

    /// It is done; `what` stays on the terminal.
    pub fn done(self, what: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
        output::note(what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

/// Long files that are read: a bar on a terminal, nothing elsewhere. Dropping it clears the bar.
pub struct Reading {
    bar: ProgressBar,
}

impl Reading {
    /// Of so many bytes in all.
    pub fn start(what: &str, bytes: u64) -> Self {
        let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes} of {total_bytes}, {eta} left")
            .expect("a constant that parses");
        Self { bar: ProgressBar::new(bytes).with_style(style).with_message(what.to_owned()) }
    }

    /// One of the files.
    pub fn of(&self, file: impl Read) -> impl Read {
        self.bar.wrap_read(file)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}
