//! The same tunnel with boringtun at one end: it reads what we write, and we what it writes.

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519;

use super::flood::crowd;
use super::side::{Arrived, Card, Side};
use crate::timer::testing::start;
use crate::wireguard::{Kind, PresharedKey};

use super::side::UNIX;

/// An IPv4 packet, since boringtun looks: 10.0.0.1 to 10.0.0.2, with `len` octets in all.
fn packet(len: u8) -> Vec<u8> {
    let mut packet = vec![0x5a; usize::from(len)];
    let header = [
        0x45, 0, 0, len, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ];
    packet[..20].copy_from_slice(&header);
    packet
}

struct Other {
    tunnel: Tunn,
    card: Card,
}

fn sides(psk: Option<[u8; 32]>) -> (Side, Other) {
    let (mine, theirs) = (Card::new(1, "192.0.2.1:1"), Card::new(2, "192.0.2.2:2"));
    let side = Side::with(&mine, &theirs, true, start(), UNIX, |settings| {
        settings.preshared_key = PresharedKey::from_bytes(psk.unwrap_or_default());
    });
    // The keys go over as `wg` writes them.
    let private = decode(&theirs.private.expose_base64());
    let tunnel = Tunn::new(
        x25519::StaticSecret::from(private),
        x25519::PublicKey::from(*mine.public().as_bytes()),
        psk,
        None,
        3,
        None,
    );
    let card = theirs;
    (side, Other { tunnel, card })
}

fn decode(base64: &str) -> [u8; 32] {
    let digit = |octet| match octet {
        b'A'..=b'Z' => octet - b'A',
        b'a'..=b'z' => octet - b'a' + 26,
        b'0'..=b'9' => octet - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => 0,
    };
    let octets: Vec<u8> = base64
        .as_bytes()
        .chunks(4)
        .flat_map(|four| {
            let bits = four
                .iter()
                .fold(0, |bits: u32, octet| bits << 6 | u32::from(digit(*octet)));
            let [_, a, b, c] = bits.to_be_bytes();
            [a, b, c]
        })
        .take(32)
        .collect();
    octets.try_into().unwrap()
}

impl Other {
    fn read(&mut self, octets: &[u8]) -> Read {
        let mut room = vec![0; 4096];
        match self.tunnel.decapsulate(None, octets, &mut room) {
            TunnResult::WriteToNetwork(octets) => Read::Answer(octets.to_vec()),
            TunnResult::WriteToTunnelV4(octets, _) => Read::Packet(octets.to_vec()),
            TunnResult::Done => Read::Nothing,
            TunnResult::Err(error) => panic!("{error:?}"),
            TunnResult::WriteToTunnelV6(..) => panic!("IPv6"),
        }
    }

    fn write(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut room = vec![0; 4096];
        written(self.tunnel.encapsulate(packet, &mut room))
    }
}

fn written(result: TunnResult<'_>) -> Vec<u8> {
    let TunnResult::WriteToNetwork(octets) = result else {
        panic!("{result:?}");
    };
    octets.to_vec()
}

#[derive(Debug, Eq, PartialEq)]
enum Read {
    Answer(Vec<u8>),
    Packet(Vec<u8>),
    Nothing,
}

fn exchange(side: &mut Side, other: &mut Other) {
    for len in [20, 21, 35, 36, 100, 255] {
        let packet = packet(len);
        assert!(side.send(&packet));
        let (_, frame) = side.out.pop().unwrap();
        assert_eq!(other.read(&frame), Read::Packet(packet.clone()));

        let frame = other.write(&packet);
        assert_eq!(Kind::of(&frame), Some(Kind::Data));
        let Ok(Arrived::Packet(mut opened)) = side.receive(other.card.address, &frame) else {
            panic!("not opened");
        };
        // With its padding, which boringtun does not make.
        opened.truncate(packet.len());
        assert_eq!(opened, packet);
    }
}

#[test]
fn we_begin() {
    for psk in [None, Some([0x77; 32])] {
        let (mut side, mut other) = sides(psk);
        side.dial();
        let (_, initiation) = side.out.pop().unwrap();
        let Read::Answer(response) = other.read(&initiation) else {
            panic!("no response");
        };
        assert_eq!(Kind::of(&response), Some(Kind::Response));
        side.receive(other.card.address, &response).unwrap();
        let (_, keepalive) = side.out.pop().unwrap();
        assert_eq!(other.read(&keepalive), Read::Nothing);
        exchange(&mut side, &mut other);
    }
}

#[test]
fn the_other_begins() {
    for psk in [None, Some([0x77; 32])] {
        let (mut side, mut other) = sides(psk);
        // It keeps the packet until it has a key.
        let initiation = other.write(&packet(40));
        assert_eq!(Kind::of(&initiation), Some(Kind::Initiation));
        side.receive(other.card.address, &initiation).unwrap();
        let (_, response) = side.out.pop().unwrap();
        let Read::Answer(first) = other.read(&response) else {
            panic!("no keepalive");
        };
        assert!(side.sending.is_none(), "not before its first packet");
        let arrived = side.receive(other.card.address, &first).unwrap();
        assert_eq!(arrived, Arrived::Keepalive);
        let Read::Answer(kept) = other.read(&[]) else {
            panic!("no packet");
        };
        let Ok(Arrived::Packet(opened)) = side.receive(other.card.address, &kept) else {
            panic!("not opened");
        };
        assert_eq!(opened[..40], packet(40));
        exchange(&mut side, &mut other);
    }
}

#[test]
fn it_takes_our_cookies_and_we_take_its_silence() {
    let (mut side, mut other) = sides(None);
    side.under_load = true;
    crowd(&mut side, other.card.address);
    let initiation = other.write(&packet(40));
    assert!(side.receive(other.card.address, &initiation).is_err());
    let (_, cookie) = side.out.pop().unwrap();
    assert_eq!(other.read(&cookie), Read::Nothing);
    let mut room = vec![0; 4096];
    let again = written(other.tunnel.format_handshake_initiation(&mut room, true));
    assert_ne!(again[132..], [0; 16], "it has a cookie now");
    // Its timestamp is that of the wall clock, to its own grain; ours waits for 20 ms between two of one peer.
    side.now += core::time::Duration::from_millis(50);
    let result = side.receive(other.card.address, &again);
    assert!(result.is_ok(), "{result:?}");
    let (_, response) = side.out.pop().unwrap();
    assert!(matches!(other.read(&response), Read::Answer(_)));

    let mut stranger = sides(None).1;
    stranger.tunnel = sides(Some([1; 32])).1.tunnel;
    let mut spoilt = stranger.write(&packet(40));
    spoilt[120] ^= 1;
    assert!(side.receive(other.card.address, &spoilt).is_err());
    assert_eq!(side.out, []);
}
