//! Logs: structured events to stderr, as text or as JSON, through a queue that never makes a core wait.
//!
//! Every event that belongs to a session carries it as the field `session`. The node's service manager keeps the lines;
//! there are no files and no rotation here.

mod queue;

pub use queue::{LINES_WAITING_MAX, Line, LineMaker, Queue};

use crate::config::{Log, LogFormat};
use std::io::IsTerminal;
use std::str::FromStr;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

/// Keeps the logs going. Dropping it writes what waits, for a bounded time; keep it until the process ends.
pub struct Logs {
    queue: Queue,
    filter: reload::Handle<EnvFilter, Registry>,
}

/// Whether a level is one, as the configuration spells it.
pub fn check_level(text: &str) -> Result<String, String> {
    filter(text).map(|_| text.to_owned())
}

fn filter(text: &str) -> Result<EnvFilter, String> {
    let expected = || {
        format!(
            "expected error, warn, info, debug or trace, or levels by module as in \"info,pigeon_store=debug\", found \"{text}\""
        )
    };
    // The filter takes any word alone for the name of a module; here a word alone must be a level.
    let words_fit = text
        .split(',')
        .map(str::trim)
        .all(|part| !part.is_empty() && (part.contains(['=', '[']) || LevelFilter::from_str(part).is_ok()));
    if !words_fit {
        return Err(expected());
    }
    EnvFilter::try_new(text).map_err(|_| expected())
}

/// What turns events into lines. `colours` are for a terminal, and for text only.
fn layer<S>(format: LogFormat, lines: LineMaker, colours: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = fmt::layer().with_writer(lines);
    match format {
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
        LogFormat::Text => layer.with_ansi(colours).boxed(),
    }
}

impl Logs {
    /// Starts logging for the whole process. `Err` when it is started twice, or when the thread cannot be made.
    pub fn start(options: &Log) -> Result<Logs, String> {
        let queue =
            Queue::start(std::io::stderr()).map_err(|error| format!("the log writer cannot be started: {error}"))?;
        let (filter, handle) = reload::Layer::new(filter(&options.level)?);
        let colours = options.format == LogFormat::Text && std::io::stderr().is_terminal();
        let layer = layer(options.format, queue.writer(colours), colours);
        tracing_subscriber::registry()
            .with(filter)
            .with(layer)
            .try_init()
            .map_err(|error| format!("logging cannot be started: {error}"))?;
        Ok(Logs { queue, filter: handle })
    }

    /// Another level from now on; the format stays.
    pub fn set_level(&self, level: &str) -> Result<(), String> {
        self.filter
            .reload(filter(level)?)
            .map_err(|error| format!("the log level cannot be changed: {error}"))
    }

    /// Lines that were dropped so far because stderr took them too slowly. Callable from any thread.
    pub fn dropped(&self) -> impl Fn() -> u64 + Send + Sync + Clone + use<> {
        self.queue.dropped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What two events become, without their times.
    fn lines(format: LogFormat) -> Vec<String> {
        let output = queue::tests::Output::default();
        let queue = Queue::start(output.clone()).expect("threads can be made");
        let subscriber = tracing_subscriber::registry()
            .with(filter("info").expect("a level"))
            .with(layer(format, queue.writer(false), false));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(session = "00c0ffee00c0ffee", bytes = 4096, "message accepted");
            tracing::debug!("too low");
            // What a peer sent must not look like another line.
            let command = "NOOP\r\n2026 INFO forged";
            tracing::warn!(%command, "refused");
        });
        drop(queue);
        output.text().lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_event_becomes_a_line_with_its_session() {
        let text = lines(LogFormat::Text);
        assert_eq!(text.len(), 3, "{text:?}");
        assert!(
            text[0].ends_with("message accepted session=\"00c0ffee00c0ffee\" bytes=4096"),
            "{text:?}"
        );
        assert!(text[1].ends_with("refused command=NOOP\\r"), "{text:?}");
        assert_eq!(text[2], "    2026 INFO forged");

        let json = lines(LogFormat::Json);
        assert_eq!(json.len(), 2, "{json:?}");
        for part in [
            "\"level\":\"INFO\"",
            "\"session\":\"00c0ffee00c0ffee\"",
            "\"bytes\":4096",
            "\"message\":\"message accepted\"",
        ] {
            assert!(json[0].contains(part), "no {part} in {}", json[0]);
        }
        assert!(json[1].contains(r"NOOP\r\n2026"), "{json:?}");
    }

    #[test]
    fn levels_are_told_from_what_is_none() {
        for level in [
            "info",
            "INFO",
            "warn",
            "off",
            "info,pigeon_store=debug",
            "pigeon_engine=trace",
            "debug,hyper=off",
        ] {
            assert_eq!(check_level(level), Ok(level.to_owned()));
        }
        for level in [
            "",
            " ",
            "loud",
            "info,",
            "info,loud",
            "pigeon_store=loud",
            "info,pigeon_store=debug,x",
        ] {
            assert!(check_level(level).is_err(), "{level}");
        }
    }
}
