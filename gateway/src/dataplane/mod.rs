//! The packet path: plain threads on raw descriptors, no lock, no allocation and no log line for a packet.
//!
//! **Up** (client to network): an uplink thread reads up to 128 KiB of ciphertext of one connection, decrypts it,
//! lets the protocol machine walk the frames in place, and what it delivers is checked (`uplink`), gathered into
//! trains (`coalesce`) and written to the TUN before the next connection gets its turn.
//!
//! **Down** (network to client): the one downlink thread reads trains from the TUN, finds the session by address
//! (`slots`), cuts them (`segment`) straight into the session's queue (`queue`), encrypts up to 64 KiB at a time and
//! writes (`downlink`). It alone writes to the sockets.
//!
//! **Datagram sessions** have no machine here, only keys: the uplink thread of their shard reads trains of datagrams,
//! opens them in place and gathers what a whole batch brings (`uplink::datagrams`); the downlink thread puts packets
//! together for one call with one length (`downlink::outgoing`) and drops what the socket does not take. Handshakes,
//! timers and the life of keys belong to a driver, which is told by notices (`attach::datagram`).
//!
//! The two halves of a stream (`shard` holds the receiving ones) share what is in `stream`. Control speaks to the
//! threads through mailboxes (`mailbox`); idle threads sleep in the kernel. Counters are plain numbers of their
//! thread, published once a batch (`counters`).

mod attach;
mod call;
pub mod coalesce;
pub mod counters;
mod downlink;
#[cfg(test)]
mod fixtures;
mod half;
mod mailbox;
mod path;
pub mod queue;
pub mod segment;
pub mod series;
mod shard;
pub mod slots;
mod stream;
mod uplink;

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use ipnet::Ipv4Net;
use socket2::SockRef;

pub use attach::datagram::{DatagramAttachment, DatagramSession, Listeners, Notice, Stray};
pub use attach::{AttachError, Attachment, StreamSession};
pub use counters::{Both, Counter, Counters, Tally};
pub use path::Endpoint;
pub use stream::{Ended, RecordPacking};

pub use crate::os::clock;

use crate::dataplane::attach::Entrant;
use crate::dataplane::counters::Published;
use crate::dataplane::downlink::{DownCommand, Downlink};
use crate::dataplane::half::{DownPublished, Route, Tools};
use crate::dataplane::mailbox::Mailbox;
use crate::dataplane::shard::{Connection, Links, UpCommand, Uplink};
use crate::dataplane::slots::Routes;
use crate::dataplane::stream::{Key, Stream};
use crate::dataplane::uplink::datagrams::Datagrams;
use crate::dataplane::uplink::{Gate, Tun};
use crate::os::tun::Device;

/// The settings of the packet path.
#[derive(Clone, Debug)]
pub struct Config {
    /// Uplink threads.
    pub shards: usize,
    /// The largest inner packet.
    pub mtu: u16,
    /// The MSS that TCP may announce, if less than the session's packet size allows.
    pub mss_clamp: Option<u16>,
    /// Whether clients are kept from one another.
    pub isolate_clients: bool,
    /// The gateway's own address inside of the tunnel.
    pub gateway: Ipv4Addr,
    /// The pools, each from its first to its last address.
    pub pools: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// The networks in which those behind clients may lie; kept from clients as the pools are.
    pub routed: Vec<Ipv4Net>,
    /// Destinations that no client may reach, beside those that none ever may.
    pub blocked: Vec<Ipv4Net>,
}

/// The largest packet whose frame has a length ([MS-SSTP] §2.2.1: 12 bits, framing included).
const MAX_MTU: u16 = 4_087;

/// What the kernel holds unsent of one connection at most; the rest waits in a queue that CoDel looks after.
const UNSENT: u32 = 128 * 1024;

/// The running packet path; dropping it ends all sessions, joins the threads and closes the device.
pub struct DataPlane {
    config: Config,
    tun: Arc<Tun>,
    downlink: Arc<Mailbox<DownCommand>>,
    down_counters: DownPublished,
    uplinks: Vec<Links>,
    threads: Vec<JoinHandle<()>>,
    next_key: AtomicU64,
}

impl std::fmt::Debug for DataPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataPlane")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl DataPlane {
    /// Starts the threads on `device`, for streams alone.
    pub fn start(device: Device, config: Config) -> io::Result<Self> {
        Self::start_with(device, config, Listeners::default())
    }

    /// Starts the threads on `device`; each uplink thread reads its socket of each group of `listeners`.
    pub fn start_with(device: Device, config: Config, listeners: Listeners) -> io::Result<Self> {
        let shards = config.shards.max(1);
        let sockets = Listeners::share(listeners.data, shards)?;
        let tun = Tun::new(device);
        let downlink = Arc::new(Mailbox::new()?);
        let down_counters = DownPublished::default();
        let mut isolated = Vec::new();
        if config.isolate_clients {
            isolated.clone_from(&config.pools);
            let routed = config.routed.iter();
            isolated.extend(routed.map(|network| (network.network(), network.broadcast())));
        }
        let gate = Arc::new(Gate::new(config.gateway, &isolated, &config.blocked));
        let mut plane = Self {
            tun: tun.clone(),
            downlink: downlink.clone(),
            down_counters: down_counters.clone(),
            uplinks: Vec::new(),
            threads: Vec::new(),
            next_key: AtomicU64::new(0),
            config,
        };
        let routes = Routes::new(&plane.config.pools);
        let tools = Tools::new(tun.clone(), down_counters, plane.config.gateway);
        let down = Downlink::new(downlink.clone(), tools, sockets.clone(), routes)?;
        plane.spawn("packets-down", move || down.run())?;
        for number in 0..shards {
            let links = Links {
                mailbox: Arc::new(Mailbox::new()?),
                downlink: downlink.clone(),
                tun: tun.clone(),
                gate: gate.clone(),
                published: Arc::new(Published::default()),
                datagrams: Arc::new(Published::default()),
                load: Arc::new(AtomicUsize::new(0)),
            };
            let own = sockets
                .iter()
                .filter_map(|group| group.get(number).cloned());
            let datagrams = Datagrams::new(
                own.collect(),
                listeners.strays.clone(),
                links.datagrams.clone(),
            );
            let up = Uplink::new(links.clone(), datagrams)?;
            plane.uplinks.push(links);
            plane.spawn(&format!("packets-up-{number}"), move || up.run())?;
        }
        Ok(plane)
    }

    fn spawn(
        &mut self,
        name: &str,
        run: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let tun = self.tun.clone();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // Only a poller that the kernel has taken away ends a thread early.
                if let Err(error) = run() {
                    tracing::error!(%error, "a thread of the packet path has ended");
                    tun.set_healthy(false);
                }
            })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Takes an SSTP connection whose call is up. Nothing here waits for anybody.
    pub fn attach_stream(&self, session: StreamSession) -> Result<Attachment, AttachError> {
        let id = session.id;
        let attachment = self.admit(session.into());
        tracing::debug!(session = %id, taken = attachment.is_ok(), "the packet path was offered a session");
        attachment
    }

    fn admit(&self, entrant: Entrant) -> Result<Attachment, AttachError> {
        let Entrant {
            address,
            networks,
            mtu,
            filter,
            socket,
            tls,
            unread,
            call,
            packing,
            activity,
            ended,
        } = entrant;
        prepare(&socket)?;
        let key = Key(self.next_key.fetch_add(1, Ordering::Relaxed));
        let mtu = mtu.min(self.config.mtu).min(MAX_MTU);
        let mss = (mtu.saturating_sub(40)).min(self.config.mss_clamp.unwrap_or(u16::MAX));
        let stream = Arc::new(Stream::new(key, socket, packing, activity, tls));
        let Some(links) = self
            .uplinks
            .iter()
            .min_by_key(|links| links.load.load(Ordering::Relaxed))
        else {
            return Err(AttachError::Busy);
        };
        let route = Route {
            stream: stream.clone(),
            address,
            networks: networks.clone(),
            mtu,
            mss,
            filter: filter.clone(),
        };
        if self.downlink.offer(DownCommand::Attach(route)).is_err() {
            return Err(AttachError::Busy);
        }
        let connection = Box::new(Connection {
            stream,
            address,
            networks,
            mss,
            filter,
            call,
            rest: unread,
            ended: Some(ended),
            outcome: None,
            armed: None,
        });
        links.load.fetch_add(1, Ordering::Relaxed);
        if links.mailbox.offer(UpCommand::Attach(connection)).is_err() {
            links.load.fetch_sub(1, Ordering::Relaxed);
            self.downlink.send(DownCommand::Remove(key));
            return Err(AttachError::Busy);
        }
        Ok(Attachment {
            key,
            uplink: links.mailbox.clone(),
            downlink: self.downlink.clone(),
        })
    }

    /// Returns the counters of all threads.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        self.down_counters.streams.add_to(&mut counters.down);
        let both = &mut counters.datagrams;
        self.down_counters.datagrams.add_to(&mut both.down);
        for links in &self.uplinks {
            links.published.add_to(&mut counters.up);
            links.datagrams.add_to(&mut both.up);
        }
        counters
    }

    /// Returns whether packets reach and leave the TUN.
    #[must_use]
    pub fn tun_healthy(&self) -> bool {
        self.tun.is_healthy()
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        // The uplinks first: they tell the sessions, and the downlink says goodbye for them.
        for links in &self.uplinks {
            links.mailbox.send(UpCommand::Stop);
        }
        let mut threads = self.threads.drain(..);
        let down = threads.next();
        for thread in threads {
            thread.join().ok();
        }
        self.downlink.send(DownCommand::Stop);
        if let Some(thread) = down {
            thread.join().ok();
        }
    }
}

fn prepare(socket: &std::net::TcpStream) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    SockRef::from(socket).set_tcp_notsent_lowat(UNSENT)
}

#[cfg(test)]
mod tests;
