//! The built-in client of the Mobility tunnel: the initiator's half of `causeway_proto::wireguard` over a real socket.
//!
//! As its sister for SSTP it is made to prove that things work, not to be fast.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use causeway_proto::wireguard::{
    Config, Event, Index, Interface, Kind, OVERHEAD, PeerActivity, PeerId, PresharedKey,
    PrivateKey, PublicKey, ReceivingKey, SendingKey, Settings,
};
use tokio::io::Interest;

use super::ClientError;
use super::ping::{echo_request, is_reply};
use crate::os::clock;
use crate::os::credentials;
use crate::os::udp::{Offloads, Path, Ring, Socket};

/// The one peer.
const GATEWAY: PeerId = PeerId(0);
/// How often an echo that got no answer is sent again.
const TRIES: u16 = 3;
/// How long an answer may take.
const WAIT: Duration = Duration::from_secs(1);

/// How to get in.
#[derive(Clone, Debug)]
pub struct MobilityOptions {
    /// The gateway.
    pub server: SocketAddr,
    /// Its public key.
    pub server_key: PublicKey,
    /// Our key, which is enrolled.
    pub private_key: PrivateKey,
    /// The secret besides the keys.
    pub preshared_key: PresharedKey,
    /// Our inner address.
    pub address: Ipv4Addr,
}

/// A tunnel whose handshake is done.
#[derive(Debug)]
pub struct MobilityTunnel {
    options: MobilityOptions,
    interface: Interface,
    activity: Arc<PeerActivity>,
    link: Link,
    receiving: HashMap<Index, ReceivingKey>,
    sending: Option<Arc<SendingKey>>,
    inbox: VecDeque<Vec<u8>>,
    octets: Vec<u8>,
}

/// A socket, and what sees when it can be read.
#[derive(Debug)]
struct Link {
    socket: Socket,
    watcher: tokio::net::UdpSocket,
    ring: Ring,
}

impl Link {
    fn towards(server: SocketAddr) -> io::Result<Self> {
        let own: SocketAddr = if server.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let offloads = Offloads {
            gro: false,
            gso: false,
        };
        let socket = Socket::single(UdpSocket::bind(own)?, offloads)?;
        Ok(Self {
            watcher: socket.watched()?,
            ring: Ring::for_socket(&socket),
            socket,
        })
    }

    fn send(&self, to: SocketAddr, octets: &[u8]) -> io::Result<()> {
        let sent = self.socket.send(&Path::to(to), octets, octets.len());
        sent.error.map_or(Ok(()), Err)
    }

    /// Waits for datagrams and hands each over.
    async fn receive(&mut self, mut each: impl FnMut(SocketAddr, &mut [u8])) -> io::Result<()> {
        self.watcher.readable().await?;
        let (ring, socket) = (&mut self.ring, &self.socket);
        match self
            .watcher
            .try_io(Interest::READABLE, || ring.receive(socket))
        {
            Ok(_) => {}
            // Nothing after all, or the echo of something that nobody took.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        for arrival in self.ring.arrivals() {
            let from = arrival.path.remote;
            arrival
                .datagrams()
                .for_each(|datagram| each(from, datagram));
        }
        Ok(())
    }
}

impl MobilityTunnel {
    /// Makes a handshake within `patience`.
    ///
    /// # Errors
    ///
    /// When the gateway does not answer, which it does not to a key that it does not know.
    pub async fn connect(
        options: MobilityOptions,
        patience: Duration,
    ) -> Result<Self, ClientError> {
        let now = Instant::now();
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let config = Config {
            private_key: options.private_key.clone(),
            epoch: clock::epoch(),
        };
        let seed = credentials::random().map_err(io::Error::other)?;
        let mut interface = Interface::new(config, *seed, now, unix);
        let activity = Arc::<PeerActivity>::default();
        let settings = Settings {
            id: GATEWAY,
            key: options.server_key,
            preshared_key: options.preshared_key.clone(),
            endpoint: Some(options.server),
            shard: 0,
            keepalive: None,
            last_timestamp: [0; 12],
            activity: Some(Arc::clone(&activity)),
        };
        interface
            .add_peer(now, settings)
            .map_err(io::Error::other)?;
        interface.handle_decision(now, GATEWAY, true);
        interface.handle_need(now, GATEWAY);
        let mut tunnel = Self {
            link: Link::towards(options.server)?,
            options,
            interface,
            activity,
            receiving: HashMap::new(),
            sending: None,
            inbox: VecDeque::new(),
            octets: Vec::new(),
        };
        tunnel.drain()?;
        let until = now + patience;
        while tunnel.sending.is_none() {
            if Instant::now() >= until {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer").into());
            }
            tunnel.step(until).await?;
        }
        Ok(tunnel)
    }

    /// Our inner address.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.options.address
    }

    /// Our outer port.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.link.socket.address()?.port())
    }

    /// Goes on from another port, as a device does that has changed its network.
    ///
    /// # Errors
    ///
    /// When there is no other socket.
    pub fn roam(&mut self) -> io::Result<()> {
        self.link = Link::towards(self.options.server)?;
        Ok(())
    }

    /// Sends a packet.
    ///
    /// # Errors
    ///
    /// When there is no key, or the kernel refuses, which it does with what is too long for the way there.
    pub fn send(&self, packet: &[u8]) -> Result<(), ClientError> {
        let key = self.sending.as_ref().ok_or(ClientError::Closed)?;
        let padded = packet.len().next_multiple_of(16);
        let mut frame = vec![0; OVERHEAD / 2];
        frame.extend_from_slice(packet);
        frame.resize(padded.saturating_add(OVERHEAD), 0);
        let counter = key.reserve(1).ok_or(ClientError::Closed)?;
        key.seal(counter, &mut frame).map_err(io::Error::other)?;
        self.link.send(self.options.server, &frame)?;
        self.activity.sent_data(clock::coarse_ms());
        Ok(())
    }

    /// Waits for the next packet, with its padding; nothing when none came until `until`.
    ///
    /// # Errors
    ///
    /// When the socket is broken.
    pub async fn receive(&mut self, until: Instant) -> Result<Option<Vec<u8>>, ClientError> {
        loop {
            if let Some(packet) = self.inbox.pop_front() {
                return Ok(Some(packet));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            self.step(until).await?;
        }
    }

    /// Sends an echo request with `payload` octets and waits for the reply; returns the round trip.
    ///
    /// # Errors
    ///
    /// When nothing came back in several tries, or the packet is too long for the way there.
    pub async fn ping(&mut self, to: Ipv4Addr, payload: usize) -> Result<Duration, ClientError> {
        for sequence in 0..TRIES {
            let packet = echo_request(self.options.address, to, sequence, payload);
            let sent = Instant::now();
            self.send(&packet)?;
            while sent.elapsed() < WAIT {
                while let Some(packet) = self.inbox.pop_front() {
                    if is_reply(&packet, to, sequence) {
                        return Ok(sent.elapsed());
                    }
                }
                self.step(sent + WAIT).await?;
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "no echo reply").into())
    }

    /// Does the next thing that happens until `until`.
    async fn step(&mut self, until: Instant) -> Result<(), ClientError> {
        let wake = self
            .interface
            .poll_timeout()
            .map_or(until, |at| at.min(until));
        let mut arrived = Vec::new();
        tokio::select! {
            received = self.link.receive(|from, octets| arrived.push((from, octets.to_vec()))) => received?,
            () = tokio::time::sleep_until(wake.into()) => {}
        }
        for (from, octets) in arrived {
            self.take(from, octets);
        }
        self.interface.handle_timeout(Instant::now());
        self.drain()?;
        Ok(())
    }

    fn take(&mut self, from: SocketAddr, mut octets: Vec<u8>) {
        if Kind::of(&octets) == Some(Kind::Data) {
            self.open(&mut octets);
            return;
        }
        let result = self
            .interface
            .handle_datagram(Instant::now(), from, false, &octets);
        if let Err(error) = result {
            tracing::debug!(%error, %from, "a message was dropped");
        }
    }

    fn open(&mut self, octets: &mut [u8]) {
        let index = octets.get(4..8).and_then(<[u8]>::first_chunk::<4>);
        let Some(index) = index.map(|octets| Index(u32::from_le_bytes(*octets))) else {
            return;
        };
        let Some(Ok(packet)) = self.receiving.get_mut(&index).map(|key| key.open(octets)) else {
            return;
        };
        let now = clock::coarse_ms();
        if packet.is_empty() {
            self.activity.received_keepalive(now);
        } else {
            self.activity.received_data(now);
            self.inbox.push_back(packet.to_vec());
        }
        self.interface.handle_first_data(Instant::now(), index);
    }

    fn drain(&mut self) -> io::Result<()> {
        while let Some(event) = self.interface.poll_event() {
            match event {
                Event::Authorize { peer, .. } => {
                    self.interface.handle_decision(Instant::now(), peer, true);
                }
                Event::InstallReceiving { key, .. } => {
                    self.receiving.insert(key.index(), key);
                }
                Event::InstallSending { key, .. } => self.sending = Some(key),
                Event::Remove { index, .. } => {
                    self.receiving.remove(&index);
                }
                Event::RemoveSending { .. } => self.sending = None,
                Event::PrepareSending { .. }
                | Event::Timestamp { .. }
                | Event::HandshakeDone { .. }
                | Event::GaveUp { .. } => {}
            }
        }
        loop {
            self.octets.clear();
            let Some(to) = self.interface.poll_transmit(&mut self.octets) else {
                return Ok(());
            };
            match self.link.send(to, &self.octets) {
                Ok(()) => {}
                // Nobody listens, as the last message was told; the next one may find somebody.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
    }
}
