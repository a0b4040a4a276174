//! The one writer.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{error, info};

use crate::task::Stop;

use super::{Peers, disk, form};

/// How often is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long a change waits for others before all are written.
    pub(super) batch: Duration,
    /// How often what devices do is written, and what has expired is removed.
    pub(super) lazy: Duration,
    /// How long a disk that did not take the file is left alone.
    pub(super) retry: Duration,
}

const PACE: Pace = Pace {
    batch: Duration::from_millis(50),
    lazy: Duration::from_secs(10),
    retry: Duration::from_secs(5),
};
/// A large register is written less often: writing takes at most this share of the time.
const SHARE: u32 = 10;

/// How far writing has come.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// What is on disk.
    pub(super) version: u64,
    /// What was tried last.
    pub(super) tried: u64,
    pub(super) error: Option<String>,
    pub(super) stopped: bool,
}

/// The task that writes the register down.
#[derive(Debug)]
#[must_use]
pub struct Keeper {
    peers: Arc<Peers>,
    pub(super) pace: Pace,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.peers
            .written
            .send_modify(|written| written.stopped = true);
    }
}

impl Keeper {
    pub(super) const fn new(peers: Arc<Peers>) -> Self {
        Self { peers, pace: PACE }
    }

    /// Writes until the stop, and once more then.
    pub async fn run(self, mut stop: Stop) {
        let mut lazy = interval(self.pace.lazy);
        lazy.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick comes at once.
        lazy.tick().await;
        loop {
            let urgent = tokio::select! {
                () = self.peers.urgent.notified() => true,
                _ = lazy.tick() => false,
                () = stop.stopped() => break,
            };
            if urgent {
                sleep(self.pace.batch).await;
            } else {
                self.sweep();
            }
            if urgent || self.peers.seen.load(Ordering::Relaxed) {
                let pause = self.write().await;
                tokio::select! {
                    () = sleep(pause) => {}
                    () = stop.stopped() => break,
                }
            }
        }
        self.write().await;
    }

    fn sweep(&self) {
        let removed = self.peers.sweep();
        if removed > 0 {
            info!(
                event = "peers_expired",
                devices = removed,
                "devices whose log-in has long expired were removed"
            );
        }
    }

    /// Writes everything once, and returns how long to leave the disk alone.
    async fn write(&self) -> Duration {
        let peers = Arc::clone(&self.peers);
        let begun = Instant::now();
        let done = tokio::task::spawn_blocking(move || peers.write()).await;
        if done.unwrap_or(false) {
            begun.elapsed() * SHARE
        } else {
            // Nothing else would ask for it again.
            self.peers.urgent.notify_one();
            self.pace.retry
        }
    }
}

impl Peers {
    /// Writes the file if it is not what the books say; false when it cannot be.
    pub(super) fn write(&self) -> bool {
        let seen = self.seen.swap(false, Ordering::Relaxed);
        let (version, next, all) = {
            let books = self.books();
            (books.version(), books.next(), books.list())
        };
        if !seen && self.written.borrow().version == version {
            return true;
        }
        let result = match &self.path {
            Some(path) => form::write(next, &all)
                .map_err(io::Error::other)
                .and_then(|text| disk::write(path, &text))
                .map_err(|error| error.to_string()),
            None => Ok(()),
        };
        let path = self
            .path
            .as_deref()
            .unwrap_or_else(|| Path::new(""))
            .display();
        let failed = result.is_err();
        if failed {
            self.seen.fetch_or(seen, Ordering::Relaxed);
        }
        self.written.send_modify(|written| {
            written.tried = version;
            match result {
                Ok(()) => {
                    if written.error.take().is_some() {
                        info!(%path, "enrolled devices are written again");
                    }
                    written.version = version;
                }
                Err(message) => {
                    // Once a change of state.
                    if written.error.is_none() {
                        error!(%path, error = message, code = "E0705",
                            "enrolled devices cannot be written: a restart would forget what has changed");
                    }
                    written.error = Some(message);
                }
            }
        });
        !failed
    }
}
