//! The SSTP driver: one task for each call until it is up, then the connection moves to the data plane and the task
//! only waits for its end.

mod call;
mod io;

use std::sync::Arc;
use std::time::Duration;

use causeway_proto::sstp;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::dataplane::DataPlane;
use crate::session::admission::Admission;
use crate::task::Stop;

pub use call::{Place, SstpConnection};

/// How SSTP packets fall into TLS records (`sstp.record_packing`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Packing {
    /// One packet a record until the client is known to read whole records.
    #[default]
    Auto,
    /// One packet a record, always.
    One,
    /// As many packets as fit, always.
    Many,
}

/// The driver's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the machine of each call is made with.
    pub machine: sstp::Config,
    /// How long a log-in may take, from the first PPP frame to the decision.
    pub auth_timeout: Duration,
    /// How SSTP packets fall into TLS records.
    pub packing: Packing,
}

/// What all calls share.
#[derive(Debug)]
pub struct Driver {
    /// The settings; a reload replaces them for new calls.
    pub config: arc_swap::ArcSwap<Config>,
    /// The door.
    pub admission: Arc<Admission>,
    /// The packet path.
    pub data_plane: Arc<DataPlane>,
}

impl Driver {
    /// Serves calls until the stop and until the last of them has ended.
    pub async fn run(
        self: Arc<Self>,
        mut connections: mpsc::Receiver<SstpConnection>,
        mut stop: Stop,
    ) {
        let mut calls = JoinSet::new();
        loop {
            tokio::select! {
                connection = connections.recv() => {
                    let Some(connection) = connection else { break };
                    calls.spawn(call::run(Arc::clone(&self), connection, stop.clone()));
                }
                Some(ended) = calls.join_next(), if !calls.is_empty() => report(ended),
                () = stop.stopped() => break,
            }
        }
        while let Some(ended) = calls.join_next().await {
            report(ended);
        }
    }
}

/// A panic ends one call, never the daemon; it is our mistake and an operator should see it.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        metrics::counter!("causeway_session_setup_failures_total", "protocol" => "sstp", "stage" => "ppp", "reason" => "internal").increment(1);
        tracing::error!(%error, "a call ended by a fault of the gateway");
    }
}
