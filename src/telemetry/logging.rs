//! Logs: one line an event on standard error, for people or as JSON, at a level that can be changed
//! while the process runs (rule H3).
//!
//! The level is ours alone. Other crates never say more than warnings, because at their lower levels
//! hyper logs headers, reqwest URLs, sqlx statements and rustls what was sent; a level of "trace"
//! must not turn the log into a place where secrets are (rule S1).

use std::io::{self, IsTerminal as _};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer as _, Registry,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    reload,
    util::{SubscriberInitExt as _, TryInitError},
};

/// The crate whose level the setting is about.
const OURS: &str = "countersign";

/// The most that other crates may say.
const OTHERS: LevelFilter = LevelFilter::WARN;

/// For whom logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// People at a terminal.
    Human,
    /// Programs: one JSON object a line.
    Json,
}

/// Changes the level of a running log.
#[derive(Debug, Clone)]
pub struct LogControl {
    filter: reload::Handle<Targets, Registry>,
}

impl LogControl {
    /// From now on at this level.
    pub fn set_level(&self, level: LevelFilter) {
        // Fails only when the subscriber is gone, and then nobody logs.
        let _ = self.filter.reload(targets(level));
        announce(level);
    }
}

/// Starts logging for this process, to standard error. Once only.
pub fn start(level: LevelFilter, format: Format) -> Result<LogControl, TryInitError> {
    let (subscriber, control) = subscriber(level, format, io::stderr);
    subscriber.try_init()?;
    announce(level);
    Ok(control)
}

/// The subscriber behind [`start`], for a writer of the caller's choice.
pub fn subscriber<W>(
    level: LevelFilter,
    format: Format,
    writer: W,
) -> (impl Subscriber + Send + Sync, LogControl)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets(level));
    let layer = match format {
        Format::Human => fmt::layer().with_writer(writer).with_ansi(io::stderr().is_terminal()).boxed(),
        Format::Json => {
            fmt::layer().json().flatten_event(true).with_current_span(false).with_writer(writer).boxed()
        }
    };
    (tracing_subscriber::registry().with(filter.and_then(layer)), LogControl { filter: handle })
}

fn targets(level: LevelFilter) -> Targets {
    Targets::new().with_target(OURS, level).with_default(level.min(OTHERS))
}

fn announce(level: LevelFilter) {
    // In the text: as a field it would collide with the line's own level in JSON.
    tracing::trace!("everything of ours is logged, level {level}");
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, LazyLock, Mutex};

    use tracing::{
        dispatcher::Dispatch,
        subscriber::{DefaultGuard, NoSubscriber},
    };

    use super::*;

    /// While a process has one subscriber, tracing asks whoever comes to a line first whether it is heard, and keeps
    /// the answer for all threads: another test's "no" would silence this one. Where there are two it asks both.
    static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

    /// What this thread logs, until this is dropped.
    pub(crate) struct Logged {
        sink: Sink,
        control: LogControl,
        _until: DefaultGuard,
    }

    impl Logged {
        pub(crate) fn start(level: LevelFilter, format: Format) -> Self {
            LazyLock::force(&SECOND);
            let sink = Sink::default();
            let writer = sink.clone();
            let (subscriber, control) = subscriber(level, format, move || writer.clone());
            Self { sink, control, _until: tracing::subscriber::set_default(subscriber) }
        }

        /// What was logged since the last call, as text.
        pub(crate) fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut self.sink.0.lock().unwrap())).unwrap()
        }
    }

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn other_crates_never_say_more_than_warnings() {
        let logged = Logged::start(LevelFilter::TRACE, Format::Human);
        for_all_levels_of_others();
        tracing::trace!("ours");
        let text = logged.take();
        assert!(text.contains("TRACE") && text.contains("ours"), "{text}");
        assert!(text.contains("a warning"), "{text}");
        assert!(!text.contains("a header") && !text.contains("a statement"), "{text}");
    }

    fn for_all_levels_of_others() {
        tracing::trace!(target: "hyper::proto", "a header");
        tracing::debug!(target: "sqlx::query", "a statement");
        tracing::info!(target: "reqwest", "a header");
        tracing::warn!(target: "rustls", "a warning");
    }

    #[test]
    fn the_level_changes_while_running() {
        let logged = Logged::start(LevelFilter::INFO, Format::Human);
        tracing::debug!("too early");
        tracing::info!("in time");
        logged.control.set_level(LevelFilter::TRACE);
        tracing::debug!("audible");
        let text = logged.take();
        assert!(
            text.contains("in time") && text.contains("audible") && !text.contains("too early"),
            "{text}"
        );
        logged.control.set_level(LevelFilter::OFF);
        tracing::error!("silenced");
        tracing::error!(target: "hyper", "silenced, too");
        assert_eq!(logged.take(), "");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let logged = Logged::start(LevelFilter::INFO, Format::Json);
        tracing::info!(sender = "system", note = "two\nlines", "token minted");
        let text = logged.take();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1);
        let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!((&line["level"], &line["sender"]), (&"INFO".into(), &"system".into()));
        assert_eq!(line["message"], "token minted");
    }
}
