//! The thread that writes, and the bounded queue in front of it.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use metrics::Counter;

/// Records that wait for the writer.
const QUEUE: usize = 4096;
/// How long a drop of the guard waits for a writer that is stuck.
const FLUSH: Duration = Duration::from_secs(1);
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Where records go.
pub(super) enum Sink {
    Stream(Box<dyn Write + Send>),
    Journal(UnixDatagram),
}

impl Sink {
    pub(super) fn stderr() -> Self {
        Self::Stream(Box::new(io::stderr()))
    }

    pub(super) fn journal() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(JOURNAL)?;
        Ok(Self::Journal(socket))
    }

    fn write(&mut self, record: &[u8]) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.write_all(record),
            Self::Journal(socket) => socket.send(record).map(drop),
        }
    }
}

enum Message {
    Record(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The near end of the queue; never waits.
#[derive(Debug)]
pub(super) struct Writer {
    queue: SyncSender<Message>,
    dropped: Counter,
}

impl Writer {
    pub(super) fn write(&self, record: Vec<u8>) {
        match self.queue.try_send(Message::Record(record)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.dropped.increment(1),
        }
    }
}

/// Writes what is queued when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Guard {
    queue: SyncSender<Message>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (done, flushed) = sync_channel(1);
        // A writer that is stuck, or gone, is not waited for.
        if self.queue.try_send(Message::Flush(done)).is_ok() && flushed.recv_timeout(FLUSH).is_err()
        {
        }
    }
}

/// Starts the thread.
pub(super) fn spawn(sink: Sink) -> io::Result<(Writer, Guard)> {
    let (queue, records) = sync_channel(QUEUE);
    let dropped = metrics::counter!("causeway_log_events_dropped_total");
    let lost = dropped.clone();
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || run(sink, &records, &lost))?;
    let guard = Guard {
        queue: queue.clone(),
    };
    Ok((Writer { queue, dropped }, guard))
}

fn run(mut sink: Sink, records: &Receiver<Message>, lost: &Counter) {
    while let Ok(message) = records.recv() {
        match message {
            Message::Record(record) => {
                if sink.write(&record).is_err() {
                    lost.increment(1);
                }
            }
            Message::Flush(done) => {
                // The guard may have stopped waiting.
                if done.send(()).is_err() {}
            }
        }
    }
}
