//! What trains put at risk: on the wire, on the TUN, and when the kernel refuses them.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use causeway_proto::wireguard::{PeerId, Role};
use tokio::sync::mpsc;

use super::rig::{Mobile, Plan, Site, keys};
use crate::dataplane::Endpoint;
use crate::dataplane::counters::Counter;
use crate::dataplane::downlink::datagram::{DatagramHalf, Order};
use crate::dataplane::downlink::{DownCommand, Downlink};
use crate::dataplane::fixtures::{Segment, ip_packet, partial, train_header, verifies};
use crate::dataplane::half::{DownPublished, Tools};
use crate::dataplane::mailbox::Mailbox;
use crate::dataplane::path::Cell;
use crate::dataplane::segment::Train;
use crate::dataplane::slots::Routes;
use crate::dataplane::stream::Key;
use crate::dataplane::tests::rig::{GATEWAY, HOST, give, receive};
use crate::dataplane::uplink::Tun;
use crate::dataplane::uplink::datagrams::Told;
use crate::os::poll::{Interest, Poller};
use crate::os::tun::{Device, Offload, Peer};
use crate::os::udp::{Offloads, Path, Ring, Socket};
use crate::os::vnet::{Gso, Header};

/// Takes what the gateway writes to the TUN, trains cut, until there are `count` packets; and the number of writes.
fn cut(site: &Site, count: usize) -> (Vec<Vec<u8>>, usize) {
    let (mut packets, mut writes) = (Vec::new(), 0);
    while packets.len() < count {
        let (header, octets) = receive(&site.tun);
        writes += 1;
        let train = Train::parse(&header, &octets).unwrap();
        for index in 0..train.count() {
            let mut out = vec![0; train.len_of(index)];
            train.write(index, &mut out);
            packets.push(out);
        }
    }
    (packets, writes)
}

#[test]
fn without_segmentation_or_with_a_refusal_every_packet_comes() {
    for (gso, refuse) in [(true, true), (false, false)] {
        let site = Site::with(&Plan {
            offloads: Offloads { gro: !gso, gso },
            refuse,
            ..Plan::default()
        });
        let mut mobile = Mobile::up(&site, 5, 0);
        for round in 0..2 {
            let train = mobile.towards(1).payload(&vec![5; 40_000]).octets();
            give(&site.tun, train_header(Gso::Tcp4, 1348), &train);
            for number in 0..30 {
                let packet = mobile.packet();
                assert!(verifies(&packet), "{round} {number}");
                assert_eq!(packet[24..28], (1 + number * 1348_u32).to_be_bytes());
            }
        }
        let tally = site.down(Counter::Packets, 60);
        assert_eq!(tally.get(Counter::TrainsRefused), u64::from(refuse));
        assert_eq!(tally.dropped(), 0);
        assert!(mobile.arrivals > 2, "one by one");
    }
}

#[test]
fn trains_of_several_reads_share_a_call_as_long_as_their_packets_are_of_one_length() {
    let mut desk = Desk::new();
    for number in 0..6 {
        desk.give(number * 2_000, &[1; 2_000]);
    }
    desk.give(12_000, b"short");
    desk.give(12_005, &[1; 1_000]);
    desk.down.turn();
    let lens: Vec<Vec<usize>> = std::iter::from_fn(|| desk.arrival()).collect();
    let (long, short) = (1_056 + 32, 64 + 32);
    let mut first = vec![long; 12];
    first.push(short);
    assert_eq!(lens, [first, vec![long]]);
}

#[test]
fn what_was_read_for_one_session_is_never_sent_for_the_next_one_in_its_place() {
    let mut desk = Desk::new();
    desk.give(0, b"for the old one");
    desk.mailbox.send(DownCommand::Remove(Key(7)));
    desk.attach(8);
    desk.down.turn();
    assert_eq!(desk.arrival(), Some(vec![80 + 32]));
    desk.give(0, b"for the new one, which has no key");
    desk.down.turn();
    assert_eq!(desk.arrival(), None);
}

#[test]
fn an_order_that_has_waited_does_not_undo_what_data_has_told_since() {
    let mut desk = Desk::new();
    // The handshake came from elsewhere, data from here, and then the thread hears of the handshake.
    let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
    let elsewhere = Socket::single(elsewhere, Offloads::default()).unwrap();
    desk.cell.store(&place(&desk.far));
    let order = Order::SetEndpoint(Key(7), place(&elsewhere));
    desk.mailbox.send(DownCommand::Datagram(order));
    desk.down.turn();
    desk.give(0, b"down");
    desk.down.turn();
    assert_eq!(desk.arrival(), Some(vec![64 + 32]));
    // A later one counts.
    let order = Order::SetEndpoint(Key(7), place(&elsewhere));
    desk.mailbox.send(DownCommand::Datagram(order));
    desk.down.turn();
    desk.give(0, b"down");
    desk.down.turn();
    assert_eq!(desk.arrival(), None);
}

fn place(socket: &Socket) -> Endpoint {
    Endpoint {
        listener: 0,
        path: Path::to(socket.address().unwrap()),
    }
}

/// A downlink whose turns the test calls for, and where its one session's datagrams go.
struct Desk {
    down: Downlink,
    mailbox: Arc<Mailbox<DownCommand>>,
    tun: Peer,
    far: Socket,
    ring: Ring,
    arrived: VecDeque<Vec<usize>>,
    /// Of the last session.
    cell: Arc<Cell>,
}

impl Desk {
    fn new() -> Self {
        let (device, tun) = Device::pair(1400, Offload::Auto).unwrap();
        let socket = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            Socket::single(socket, Offloads::default()).unwrap()
        };
        let (near, far) = (socket(), socket());
        let mailbox = Arc::new(Mailbox::new().unwrap());
        let tools = Tools::new(Tun::new(device), DownPublished::default(), GATEWAY);
        let sockets = vec![vec![Arc::new(near)]];
        let down = Downlink::new(mailbox.clone(), tools, sockets, Routes::new(&[])).unwrap();
        let mut desk = Self {
            down,
            mailbox,
            tun,
            ring: Ring::for_socket(&far),
            far,
            arrived: VecDeque::new(),
            cell: Arc::default(),
        };
        let key = desk.attach(7);
        let endpoint = place(&desk.far);
        let sending = keys(0, 5, Duration::ZERO, Role::Responder).server.0;
        for order in [
            Order::SetEndpoint(key, endpoint),
            Order::InstallSending(key, sending),
        ] {
            desk.mailbox.send(DownCommand::Datagram(order));
        }
        desk.down.turn();
        desk
    }

    fn attach(&mut self, key: u64) -> Key {
        let key = Key(key);
        self.cell = Arc::default();
        let half = DatagramHalf {
            key,
            peer: PeerId(5),
            shard: 0,
            address: Ipv4Addr::new(10, 8, 0, 5),
            mtu: 1_400,
            mss: 1_360,
            filter: None,
            activity: Arc::default(),
            peer_activity: Arc::default(),
            notices: mpsc::channel(1).0,
            sending: None,
            next: None,
            held: None,
            cell: self.cell.clone(),
            seen: 0,
            endpoint: None,
            asked: Told::default(),
        };
        let order = Order::Attach(Box::new(half));
        self.mailbox.send(DownCommand::Datagram(order));
        key
    }

    /// Gives the TUN a train for the session's address.
    fn give(&self, sequence: u32, payload: &[u8]) {
        let mut segment = Segment::tcp(sequence).payload(payload);
        (segment.source, segment.destination) = (HOST, [10, 8, 0, 5]);
        give(&self.tun, train_header(Gso::Tcp4, 1_000), &segment.octets());
    }

    /// Returns the lengths of the datagrams of the next call.
    fn arrival(&mut self) -> Option<Vec<usize>> {
        if self.arrived.is_empty() {
            self.ring.receive(&self.far).ok()?;
            let arrivals = self.ring.arrivals();
            self.arrived = arrivals
                .map(|arrival| arrival.datagrams().map(|octets| octets.len()).collect())
                .collect();
        }
        self.arrived.pop_front()
    }
}

/// What makes a packet differ from its neighbours.
type Change = fn(&mut Segment);

#[test]
fn a_packet_that_differs_ends_a_train_and_everything_arrives_as_it_was() {
    let site = Site::new();
    let mobile = Mobile::up(&site, 5, 0);
    let changes: [(&str, Change); 9] = [
        ("PSH ends it", |segment| segment.flags |= 0x08),
        ("FIN", |segment| segment.flags |= 0x01),
        ("URG", |segment| segment.flags |= 0x20),
        ("ECE", |segment| segment.flags |= 0x40),
        ("options", |segment| segment.tcp_options[11] ^= 1),
        ("window", |segment| segment.window += 1),
        ("ECN", |segment| segment.type_of_service = 3),
        ("TTL", |segment| segment.time_to_live -= 1),
        ("identification", |segment| segment.identification += 100),
    ];
    for (name, change) in changes {
        let sent: Vec<Vec<u8>> = (0..5_u16)
            .map(|number| {
                let mut segment = mobile
                    .segment(u32::from(number) * 500)
                    .identification(number)
                    .payload(&[9; 500]);
                if number == 2 {
                    change(&mut segment);
                }
                segment.octets()
            })
            .collect();
        mobile.send(&sent);
        let (got, writes) = cut(&site, 5);
        assert_eq!(got, sent, "{name}");
        assert!(writes > 1, "{name}");
    }
}

#[test]
fn a_wrong_checksum_is_not_mended_and_joins_no_train() {
    let site = Site::new();
    let mobile = Mobile::up(&site, 5, 0);
    for udp in [false, true] {
        let mut sent: Vec<Vec<u8>> = (0..4_u16)
            .map(|number| {
                let mut segment = mobile.segment(u32::from(number) * 500);
                segment.tcp = !udp;
                segment.identification(number).payload(&[9; 500]).octets()
            })
            .collect();
        *sent[1].last_mut().unwrap() ^= 0x10;
        mobile.send(&sent);
        let (got, writes) = cut(&site, 4);
        assert_eq!(got, sent);
        assert!(writes >= 3);
        assert!(!verifies(&got[1]));
    }
}

#[test]
fn what_is_no_plain_segment_passes_untouched_and_in_order() {
    let site = Site::new();
    let mobile = Mobile::up(&site, 5, 0);
    let like = mobile.segment(0);
    let mut fragment = ip_packet(&like, 17, &[1; 480]);
    fragment[6] = 0x20;
    fragment[10..12].fill(0);
    let checksum = causeway_proto::ip::checksum::Sum::new()
        .bytes(&fragment[..20])
        .checksum();
    fragment[10..12].copy_from_slice(&checksum);
    let mut unsummed = mobile.segment(0).payload(&[2; 472]);
    unsummed.tcp = false;
    let mut unsummed = unsummed.octets();
    unsummed[26..28].fill(0);
    let mut empty = mobile.segment(0);
    empty.tcp = false;
    let sent = [
        fragment,
        unsummed,
        ip_packet(&like, 1, &[8; 480]),
        ip_packet(&like, 47, &[3; 480]),
        mobile.segment(7).payload(b"").octets(),
        empty.octets(),
    ];
    mobile.send_each(&sent);
    let mut got: VecDeque<Vec<u8>> = VecDeque::new();
    while got.len() < sent.len() {
        let (header, octets) = receive(&site.tun);
        assert_eq!(header, Header::default());
        got.push_back(octets);
    }
    assert_eq!(got, sent);
}

#[test]
fn padding_behind_a_packet_never_reaches_the_network() {
    let site = Site::new();
    let mobile = Mobile::up(&site, 5, 0);
    for len in 0..33 {
        let packet = mobile.segment(1).payload(&vec![4; len]).octets();
        mobile.send(std::slice::from_ref(&packet));
        assert_eq!(receive(&site.tun).1, packet);
    }
}

#[test]
fn short_last_packets_empty_ones_and_unfinished_checksums_go_down_right() {
    let site = Site::new();
    let mut mobile = Mobile::up(&site, 5, 0);
    for payload in [0, 1, 999, 1_000, 1_001, 2_999] {
        for tcp in [true, false] {
            let mut segment = mobile.towards(1).payload(&vec![6; payload]);
            segment.tcp = tcp;
            let gso = if tcp { Gso::Tcp4 } else { Gso::Udp };
            give(&site.tun, train_header(gso, 1_000), &segment.octets());
            let mut got = 0;
            for _ in 0..payload.div_ceil(1_000).max(1) {
                let packet = mobile.packet();
                assert!(verifies(&packet), "{payload}");
                got += packet.len() - if tcp { 52 } else { 28 };
            }
            assert_eq!(got, payload);
            if payload <= 1_000 {
                let (header, octets) = partial(&segment);
                give(&site.tun, header, &octets);
                assert_eq!(mobile.packet(), segment.octets());
            }
        }
    }
    let mut broken = mobile.towards(1).payload(b"payload").octets();
    broken[36] ^= 1;
    give(&site.tun, Header::default(), &broken);
    assert_eq!(mobile.packet(), broken);
    let mut unsummed = Segment::udp().payload(b"unsummed");
    (unsummed.source, unsummed.destination) = (HOST, mobile.address.octets());
    let mut unsummed = unsummed.octets();
    unsummed[26..28].fill(0);
    give(&site.tun, Header::default(), &unsummed);
    assert_eq!(mobile.packet(), unsummed);
}

#[test]
fn a_handshake_behind_data_finds_its_way_and_a_flood_of_them_is_bounded() {
    for gro in [true, false] {
        let mut site = Site::with(&Plan {
            offloads: Offloads { gro, gso: true },
            ..Plan::default()
        });
        let mobile = Mobile::up(&site, 5, 1);
        let packet = mobile.segment(1).payload(&[1; 200]).octets();
        let mut initiation = vec![7; 148];
        initiation[..4].copy_from_slice(&[1, 0, 0, 0]);
        for _ in 0..3 {
            let frames = [mobile.seal(&packet), initiation.clone()];
            mobile.send_frames(&frames);
            assert_eq!(receive(&site.tun).1, packet);
        }
        site.up(Counter::ControlFull, 1);
        for _ in 0..2 {
            let stray = site.strays.try_recv().unwrap();
            assert_eq!(stray.octets, initiation);
            assert_eq!(stray.endpoint.path.remote, mobile.endpoint().path.remote);
        }

        let sent = mobile
            .socket
            .send(&Path::to(site.address), &initiation, initiation.len());
        assert_eq!(sent.taken, 1);
        let mut poller = Poller::new(1).unwrap();
        poller.add(&site.control, 0, Interest::Read).unwrap();
        assert_eq!(poller.wait(Some(super::rig::PATIENCE)).unwrap().count(), 1);
        let mut ring = Ring::for_socket(&site.control);
        ring.receive(&site.control).unwrap();
        assert_eq!(ring.arrivals().next().unwrap().octets, initiation);
    }
}
