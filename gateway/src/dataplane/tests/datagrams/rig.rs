//! Peers over loopback sockets: each has the other halves of the gateway's keys.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use causeway_proto::activity::Activity;
use causeway_proto::ip::IpPacket;
use causeway_proto::ip::filter::Filter;
use causeway_proto::wireguard::{
    Index, OVERHEAD, PeerActivity, PeerId, ReceivingKey, Role, SendingKey,
};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::dataplane::counters::{Both, Counter, Tally};
use crate::dataplane::fixtures::Segment;
use crate::dataplane::tests::rig::{GATEWAY, HOST};
use crate::dataplane::{
    Config, DataPlane, DatagramAttachment, DatagramSession, Endpoint, Listeners, Notice, Stray,
};
use crate::ids::SessionId;
use crate::os::poll::{Interest, Poller};
use crate::os::tun::{Device, Offload, Peer};
use crate::os::udp::{self, Offloads, Path, Ring, Socket};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway whose TUN is in memory.
pub(super) struct Site {
    pub(super) plane: DataPlane,
    pub(super) tun: Peer,
    /// Where the gateway listens.
    pub(super) address: SocketAddr,
    /// Where it listens too.
    pub(super) other: Option<SocketAddr>,
    /// Its socket for everything that is no data.
    pub(super) control: Socket,
    pub(super) strays: mpsc::Receiver<Stray>,
}

/// How a [`Site`] is made.
pub(super) struct Plan {
    pub(super) listen: &'static str,
    /// A second address.
    pub(super) also: Option<&'static str>,
    pub(super) shards: u8,
    pub(super) offload: Offload,
    pub(super) offloads: Offloads,
    /// Lets the kernel refuse trains.
    pub(super) refuse: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0",
            also: None,
            shards: 2,
            offload: Offload::Auto,
            offloads: Offloads::default(),
            refuse: false,
        }
    }
}

impl Site {
    pub(super) fn new() -> Self {
        Self::with(&Plan::default())
    }

    pub(super) fn with(plan: &Plan) -> Self {
        let (device, tun) = Device::pair(1400, plan.offload).unwrap();
        let config = Config {
            shards: usize::from(plan.shards),
            mtu: 1400,
            mss_clamp: None,
            isolate_clients: true,
            gateway: GATEWAY,
            pools: vec![(Ipv4Addr::new(10, 8, 0, 2), Ipv4Addr::new(10, 8, 0, 99))],
            blocked: Vec::new(),
            routed: Vec::new(),
        };
        let group = udp::listen(plan.listen.parse().unwrap(), plan.shards, plan.offloads).unwrap();
        if plan.refuse {
            group.data.iter().for_each(udp::refuse_trains);
        }
        let (sender, strays) = mpsc::channel(2);
        let mut data = vec![group.data];
        let mut other = None;
        if let Some(listen) = plan.also {
            let group = udp::listen(listen.parse().unwrap(), plan.shards, plan.offloads).unwrap();
            other = Some(group.address);
            data.push(group.data);
        }
        let listeners = Listeners {
            data,
            strays: Some(sender),
        };
        Self {
            plane: DataPlane::start_with(device, config, listeners).unwrap(),
            tun,
            address: group.address,
            other,
            control: group.control,
            strays,
        }
    }

    pub(super) fn counters(&self) -> Both {
        self.plane.counters().datagrams
    }

    /// Waits until `count` of `counter` are published.
    pub(super) fn up(&self, counter: Counter, count: u64) -> Tally {
        until(|| self.counters().up.get(counter) >= count);
        let tally = self.counters().up;
        assert_eq!(tally.get(counter), count, "{counter:?}");
        tally
    }

    /// The same for the other direction.
    pub(super) fn down(&self, counter: Counter, count: u64) -> Tally {
        until(|| self.counters().down.get(counter) >= count);
        let tally = self.counters().down;
        assert_eq!(tally.get(counter), count, "{counter:?}");
        tally
    }
}

pub(super) fn until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "it never comes to that");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The two halves of one direction's key, and the other direction's.
pub(super) struct Keys {
    pub(super) server: (Arc<SendingKey>, ReceivingKey),
    pub(super) client: (SendingKey, ReceivingKey),
}

/// Makes a key pair as the gateway's handshake would have, `age` ago.
pub(super) fn keys(shard: u8, slot: u32, age: Duration, role: Role) -> Keys {
    let created = Instant::now().checked_sub(age).unwrap();
    let other = match role {
        Role::Initiator => Role::Responder,
        Role::Responder => Role::Initiator,
    };
    let ours = Index::new(shard, slot, 33);
    let theirs = Index(0x5511_0000 | slot);
    let key = |direction: u8| Zeroizing::new([direction ^ u8::try_from(slot).unwrap(); 32]);
    Keys {
        server: (
            Arc::new(SendingKey::new(key(0x40), theirs.0, created, role)),
            ReceivingKey::new(key(0x80), ours, created, role),
        ),
        client: (
            SendingKey::new(key(0x80), ours.0, created, other),
            ReceivingKey::new(key(0x40), theirs, created, other),
        ),
    }
}

/// A client with its session.
pub(super) struct Mobile {
    pub(super) address: Ipv4Addr,
    pub(super) socket: Socket,
    ring: Ring,
    /// Where the gateway is.
    pub(super) gateway: SocketAddr,
    pub(super) sending: SendingKey,
    pub(super) receiving: ReceivingKey,
    /// What was received and not looked at.
    pub(super) received: VecDeque<Vec<u8>>,
    /// How many calls brought it.
    pub(super) arrivals: usize,
    pub(super) attachment: Option<DatagramAttachment>,
    pub(super) notices: mpsc::Receiver<Notice>,
    pub(super) activity: Arc<Activity>,
    pub(super) peer_activity: Arc<PeerActivity>,
}

fn socket(ip: IpAddr) -> Socket {
    Socket::single(UdpSocket::bind((ip, 0)).unwrap(), Offloads::default()).unwrap()
}

impl Mobile {
    /// Attaches a peer, without a key to send with.
    pub(super) fn attach(site: &Site, last: u8, shard: u8, filter: Option<Arc<Filter>>) -> Self {
        Self::with_room(site, last, shard, filter, 16)
    }

    /// The same, with room for so many notices.
    pub(super) fn with_room(
        site: &Site,
        last: u8,
        shard: u8,
        filter: Option<Arc<Filter>>,
        room: usize,
    ) -> Self {
        let Keys { server, client } = keys(shard, u32::from(last), Duration::ZERO, Role::Responder);
        let (sender, notices) = mpsc::channel(room);
        let (activity, peer_activity) = (Arc::default(), Arc::new(PeerActivity::new()));
        let address = Ipv4Addr::new(10, 8, 0, last);
        let attachment = site
            .plane
            .attach_datagram(DatagramSession {
                id: SessionId::new(u32::from(last)),
                address,
                mtu: 1400,
                filter,
                peer: PeerId(u32::from(last)),
                shard,
                activity: Arc::clone(&activity),
                peer_activity: Arc::clone(&peer_activity),
                notices: sender,
            })
            .unwrap();
        attachment.install_receiving(server.1);
        let socket = socket(match site.address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(at) => IpAddr::V6(*at.ip()),
        });
        Self {
            address,
            ring: Ring::for_socket(&socket),
            socket,
            gateway: site.address,
            sending: client.0,
            receiving: client.1,
            received: VecDeque::new(),
            arrivals: 0,
            attachment: Some(attachment),
            notices,
            activity,
            peer_activity,
        }
    }

    /// Attaches a peer that has sent a packet and may be sent to.
    pub(super) fn up(site: &Site, last: u8, shard: u8) -> Self {
        Self::filtered(site, last, shard, None)
    }

    pub(super) fn filtered(site: &Site, last: u8, shard: u8, filter: Option<Arc<Filter>>) -> Self {
        let mut mobile = Self::attach(site, last, shard, filter);
        mobile.send(&[Vec::new()]);
        let first = mobile.notice();
        assert!(matches!(first, Notice::FirstData(_)), "{first:?}");
        let own = keys(shard, u32::from(last), Duration::ZERO, Role::Responder);
        mobile.attached().install_sending(own.server.0);
        mobile
    }

    pub(super) fn attached(&self) -> &DatagramAttachment {
        self.attachment.as_ref().unwrap()
    }

    /// Goes to another place.
    pub(super) fn roam(&mut self) -> SocketAddr {
        self.socket = socket(self.gateway.ip());
        self.socket.address().unwrap()
    }

    pub(super) fn notice(&mut self) -> Notice {
        let notices = &mut self.notices;
        let mut notice = None;
        until(|| {
            notice = notices.try_recv().ok();
            notice.is_some()
        });
        notice.unwrap()
    }

    pub(super) fn segment(&self, sequence: u32) -> Segment {
        let mut segment = Segment::tcp(sequence);
        segment.source = self.address.octets();
        segment
    }

    /// What a host sends to this client.
    pub(super) fn towards(&self, sequence: u32) -> Segment {
        let mut segment = Segment::tcp(sequence);
        segment.source = HOST;
        segment.destination = self.address.octets();
        segment
    }

    /// Seals a packet.
    pub(super) fn seal(&self, packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 16];
        frame.extend_from_slice(packet);
        frame.resize(OVERHEAD + packet.len().next_multiple_of(16), 0);
        let counter = self.sending.reserve(1).unwrap();
        self.sending.seal(counter, &mut frame).unwrap();
        frame
    }

    /// Sends packets in one train, so that they come in one batch; they are of one length, or the last is shorter.
    pub(super) fn send(&self, packets: &[Vec<u8>]) {
        let frames: Vec<Vec<u8>> = packets.iter().map(|packet| self.seal(packet)).collect();
        self.send_frames(&frames);
    }

    pub(super) fn send_frames(&self, frames: &[Vec<u8>]) {
        let stride = frames.first().map_or(1, Vec::len);
        let sent = self
            .socket
            .send(&Path::to(self.gateway), &frames.concat(), stride);
        assert_eq!((sent.taken, sent.refused), (frames.len(), false));
    }

    /// Sends packets of any length, each for itself.
    pub(super) fn send_each(&self, packets: &[Vec<u8>]) {
        for packet in packets {
            self.send(std::slice::from_ref(packet));
        }
    }

    /// Returns the next packet, without padding; empty for a keepalive.
    pub(super) fn packet(&mut self) -> Vec<u8> {
        loop {
            if let Some(packet) = self.received.pop_front() {
                return packet;
            }
            self.fill();
        }
    }

    fn fill(&mut self) {
        let mut poller = Poller::new(1).unwrap();
        poller.add(&self.socket, 0, Interest::Read).unwrap();
        assert_eq!(
            poller.wait(Some(PATIENCE)).unwrap().count(),
            1,
            "nothing comes"
        );
        self.ring.receive(&self.socket).unwrap();
        for arrival in self.ring.arrivals() {
            self.arrivals += 1;
            assert_eq!(arrival.path.remote, self.gateway);
            for datagram in arrival.datagrams() {
                let packet = self.receiving.open(datagram).unwrap();
                let len = IpPacket::decode(packet).map_or(0, |packet| packet.octets().len());
                assert!(packet[len..].iter().all(|octet| *octet == 0), "padding");
                self.received.push_back(packet[..len].to_vec());
            }
        }
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint {
            listener: 0,
            path: Path::to(self.socket.address().unwrap()),
        }
    }
}
