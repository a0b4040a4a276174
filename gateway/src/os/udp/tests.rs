//! The sockets over loopback: steering, trains, and the address that answers come from.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::*;
use crate::os::poll::{Interest, Poller};

const ON: Offloads = Offloads {
    gro: true,
    gso: true,
};

fn near(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((address.ip(), 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    socket
}

/// Waits until one of `sockets` has something.
fn wait(sockets: &[&Socket]) -> usize {
    let mut poller = Poller::new(sockets.len()).unwrap();
    for (number, socket) in (0..).zip(sockets) {
        poller.add(socket, number, Interest::Read).unwrap();
    }
    let ready = poller.wait(Some(Duration::from_secs(20))).unwrap();
    let first = ready.map(|ready| ready.token).next();
    usize::try_from(first.expect("something comes")).unwrap()
}

fn datagram(kind: u8, shard: u8, len: usize) -> Vec<u8> {
    let mut octets = vec![0; len];
    for (at, octet) in [(0, kind), (4, shard)] {
        if let Some(place) = octets.get_mut(at) {
            *place = octet;
        }
    }
    octets
}

#[test]
fn data_goes_to_its_shard_and_everything_else_to_the_last_socket() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let group = listen(address.parse().unwrap(), 4, ON).unwrap();
        let mut sockets: Vec<&Socket> = group.data.iter().collect();
        sockets.push(&group.control);
        let mut ring = Ring::for_socket(&group.control);
        for (sent, expected) in [
            (datagram(4, 0, 32), 0),
            (datagram(4, 1, 96), 1),
            (datagram(4, 2, 1_452), 2),
            (datagram(4, 3, 32), 3),
            (datagram(4, 7, 32), 3),
            (datagram(4, 2, 31), 4),
            (datagram(1, 2, 148), 4),
            (datagram(2, 0, 92), 4),
            (datagram(3, 1, 64), 4),
            (datagram(0, 1, 64), 4),
            (datagram(4, 0, 1), 4),
            (Vec::new(), 4),
        ] {
            // Another port each time: nothing but the program may decide.
            near(group.address).send_to(&sent, group.address).unwrap();
            assert_eq!(wait(&sockets), expected, "{:?}", sent.get(..5));
            assert_eq!(ring.receive(sockets[expected]).unwrap(), 1);
            let arrival = ring.arrivals().next().unwrap();
            assert_eq!(arrival.octets, sent);
        }
    }
}

#[test]
fn a_port_that_is_taken_is_refused_even_by_a_group() {
    let group = listen("127.0.0.1:0".parse().unwrap(), 2, ON).unwrap();
    let again = listen(group.address, 2, ON);
    assert!(matches!(again, Err(ListenError::InUse(_))), "{again:?}");
    let elsewhere = listen("192.0.2.1:0".parse().unwrap(), 2, ON);
    assert!(matches!(elsewhere, Err(ListenError::NoSuchAddress(_))));
}

#[test]
fn a_train_arrives_as_one_or_in_pieces_as_the_switches_say() {
    for (gso, gro) in [(true, true), (true, false), (false, true), (false, false)] {
        let far = listen(
            "127.0.0.1:0".parse().unwrap(),
            1,
            Offloads { gro, gso: true },
        )
        .unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = Socket::single(socket, Offloads { gro: true, gso }).unwrap();
        assert_eq!(
            (socket.sends_trains(), far.data[0].receives_trains()),
            (gso, gro)
        );
        let mut octets = Vec::new();
        for number in 0..5 {
            let mut one = datagram(4, 0, if number == 4 { 60 } else { 100 });
            one[8] = number;
            octets.extend_from_slice(&one);
        }
        let sent = socket.send(&Path::to(far.address), &octets, 100);
        assert_eq!((sent.taken, sent.refused), (5, false));
        assert!(sent.error.is_none());
        let mut ring = Ring::for_socket(&far.data[0]);
        let mut got = Vec::new();
        let mut arrivals = 0;
        while got.len() < 5 {
            wait(&[&far.data[0]]);
            ring.receive(&far.data[0]).unwrap();
            for arrival in ring.arrivals() {
                arrivals += 1;
                assert_eq!(arrival.path.remote, socket.address().unwrap());
                got.extend(arrival.datagrams().map(|octets| (octets.len(), octets[8])));
            }
        }
        assert_eq!(got, [(100, 0), (100, 1), (100, 2), (100, 3), (60, 4)]);
        assert_eq!(arrivals == 1, gso && gro, "{arrivals} arrivals");
        let empty = ring.receive(&far.data[0]).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn a_train_that_the_kernel_refuses_is_sent_one_by_one_and_is_the_last() {
    let far = listen("127.0.0.1:0".parse().unwrap(), 1, ON).unwrap();
    let socket = Socket::single(UdpSocket::bind("127.0.0.1:0").unwrap(), ON).unwrap();
    refuse_trains(&socket);
    let path = Path::to(far.address);
    let octets = [datagram(4, 0, 64), datagram(4, 0, 64), datagram(4, 0, 40)].concat();
    let sent = socket.send(&path, &octets, 64);
    assert_eq!((sent.taken, sent.refused), (3, true));
    assert!(!socket.sends_trains());
    let sent = socket.send(&path, &octets, 64);
    assert_eq!((sent.taken, sent.refused), (3, false));
    let mut ring = Ring::for_socket(&far.data[0]);
    let mut lens = Vec::new();
    while lens.len() < 6 {
        wait(&[&far.data[0]]);
        ring.receive(&far.data[0]).unwrap();
        for arrival in ring.arrivals() {
            lens.extend(arrival.datagrams().map(|octets| octets.len()));
        }
    }
    assert_eq!(lens, [64, 64, 40, 64, 64, 40]);
}

#[test]
fn what_single_datagrams_do_not_like_either_does_not_end_trains() {
    let socket = Socket::single(UdpSocket::bind("127.0.0.1:0").unwrap(), ON).unwrap();
    let path = Path {
        remote: "127.0.0.1:9".parse().unwrap(),
        local: Some("192.0.2.1".parse().unwrap()),
    };
    let sent = socket.send(&path, &[0; 128], 64);
    assert_eq!((sent.taken, sent.refused), (0, false));
    assert!(sent.error.is_some());
    assert!(socket.sends_trains());
}

#[test]
fn a_wildcard_answers_from_the_address_it_was_reached_on() {
    for (wildcard, reached) in [
        ("0.0.0.0:0", IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))),
        ("[::]:0", IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ] {
        let group = listen(wildcard.parse().unwrap(), 2, ON).unwrap();
        let far = SocketAddr::new(reached, group.address.port());
        let from = match reached {
            IpAddr::V4(_) => "127.0.0.1:0",
            IpAddr::V6(_) => "[::1]:0",
        };
        let client = near(from.parse().unwrap());
        client.send_to(&datagram(1, 0, 148), far).unwrap();
        wait(&[&group.control]);
        let mut ring = Ring::for_socket(&group.control);
        ring.receive(&group.control).unwrap();
        let path = ring.arrivals().next().unwrap().path;
        assert_eq!(path.local, Some(reached));
        assert_eq!(path.remote, client.local_addr().unwrap());
        // From the socket of another thread, as the packet path does, and in a train.
        let sent = group.data[1].send(&path, &[7; 50], 32);
        assert_eq!(sent.taken, 2);
        let mut buffer = [0; 64];
        for expected in [32, 18] {
            assert_eq!(client.recv_from(&mut buffer).unwrap(), (expected, far));
        }
    }
}

#[test]
fn nothing_is_ever_fragmented() {
    let group = listen("127.0.0.1:0".parse().unwrap(), 1, ON).unwrap();
    let discover = |socket: &Socket| {
        let mut value = 0_i32;
        let mut len = libc::socklen_t::try_from(size_of::<i32>()).unwrap();
        // SAFETY: the descriptor is open; value and length are live.
        let done = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_IP,
                libc::IP_MTU_DISCOVER,
                (&raw mut value).cast(),
                &raw mut len,
            )
        };
        assert_eq!(done, 0);
        value
    };
    assert_eq!(discover(&group.data[0]), libc::IP_PMTUDISC_PROBE);
    assert_eq!(discover(&group.control), libc::IP_PMTUDISC_PROBE);
}
