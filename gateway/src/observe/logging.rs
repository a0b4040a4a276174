//! The log: one event, one line, on standard error, written by a thread of its own.
//!
//! The writer's queue is bounded. When whoever reads the log is slower than the gateway, lines are dropped and counted;
//! nothing else waits for them.

use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait for the writer.
const QUEUE: usize = 4096;

/// How a line looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Hands lines to the writing thread.
#[derive(Clone)]
struct Lines {
    queue: SyncSender<Vec<u8>>,
    dropped: metrics::Counter,
}

/// One event's line.
struct Line<'l> {
    lines: &'l Lines,
    octets: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.octets.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if self.octets.is_empty() {
            return;
        }
        match self.lines.queue.try_send(std::mem::take(&mut self.octets)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lines.dropped.increment(1)
            }
        }
    }
}

impl<'l> MakeWriter<'l> for Lines {
    type Writer = Line<'l>;

    fn make_writer(&'l self) -> Line<'l> {
        Line {
            lines: self,
            octets: Vec::new(),
        }
    }
}

/// Starts the log; a second call in one process changes nothing. `level` is a filter such as `info,causeway::radius=debug`.
pub fn init(level: &str, format: Format) {
    let (queue, lines) = sync_channel::<Vec<u8>>(QUEUE);
    let writer = std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            while let Ok(line) = lines.recv() {
                // A pipe that is gone is no reason to end.
                if io::stderr().write_all(&line).is_err() {}
            }
        });
    if writer.is_err() {
        return;
    }
    let lines = Lines {
        queue,
        dropped: metrics::counter!("causeway_log_events_dropped_total"),
    };
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(lines);
    // An error means that the process has a subscriber already, as in tests.
    let started = match format {
        Format::Text => builder.with_ansi(false).try_init(),
        Format::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init(),
    };
    if started.is_err() {}
}

/// Writes text that is no event to standard error: a drawn configuration error, or how to connect.
pub fn plain(text: &str) {
    if writeln!(io::stderr(), "{text}").is_err() {}
}
