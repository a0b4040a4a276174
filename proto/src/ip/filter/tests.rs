use proptest::prelude::*;

use super::*;
use crate::ip::checksum::Sum;

const CLIENT: [u8; 4] = [10, 99, 0, 7];

fn rules(texts: &[&str]) -> Vec<Rule> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn filter(deny: &[&str], allow: &[&str]) -> Filter {
    Filter::new("staff", &rules(deny), &rules(allow))
}

/// The filter of the manual.
fn staff() -> Filter {
    filter(
        &["10.0.66.0/24"],
        &[
            "10.0.0.0/8",
            "tcp/443 192.0.2.5/32",
            "udp/53-54 192.0.2.10",
            "icmp any",
        ],
    )
}

/// A packet, described.
#[derive(Clone)]
struct Like {
    source: [u8; 4],
    destination: [u8; 4],
    protocol: u8,
    /// Flags and fragment offset.
    fragment: u16,
    options: Vec<u8>,
    payload: Vec<u8>,
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const MORE: u16 = 0x2000;

fn to(destination: [u8; 4], protocol: u8, payload: &[u8]) -> Like {
    Like {
        source: CLIENT,
        destination,
        protocol,
        fragment: 0,
        options: Vec::new(),
        payload: payload.to_vec(),
    }
}

fn from(source: [u8; 4], protocol: u8, payload: &[u8]) -> Like {
    Like {
        source,
        destination: CLIENT,
        ..to(CLIENT, protocol, payload)
    }
}

impl Like {
    fn octets(&self) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let mut octets = vec![0x40 | u8::try_from(header_len / 4).unwrap(), 0];
        let total = u16::try_from(header_len + self.payload.len()).unwrap();
        octets.extend_from_slice(&total.to_be_bytes());
        octets.extend_from_slice(&[0, 9]);
        octets.extend_from_slice(&self.fragment.to_be_bytes());
        octets.extend_from_slice(&[64, self.protocol, 0, 0]);
        octets.extend_from_slice(&self.source);
        octets.extend_from_slice(&self.destination);
        octets.extend_from_slice(&self.options);
        let checksum = Sum::new().bytes(&octets).checksum();
        octets[10..12].copy_from_slice(&checksum);
        octets.extend_from_slice(&self.payload);
        octets
    }

    fn up(&self, filter: &Filter) -> bool {
        filter.allows(&IpPacket::decode(&self.octets()).unwrap())
    }

    fn down(&self, filter: &Filter) -> bool {
        filter.allows_back(&IpPacket::decode(&self.octets()).unwrap())
    }
}

/// The first 8 octets of TCP or UDP.
fn transport(source: u16, destination: u16) -> [u8; 8] {
    let [a, b] = source.to_be_bytes();
    let [c, d] = destination.to_be_bytes();
    [a, b, c, d, 0, 8, 0, 0]
}

#[test]
fn the_filter_of_the_manual_does_what_it_says() {
    let staff = staff();
    assert_eq!(staff.name(), "staff");
    for (far, protocol, port, expected) in [
        ([10, 5, 5, 5], TCP, 22, true),
        ([10, 5, 5, 5], 47, 0, true),
        ([10, 0, 66, 1], TCP, 22, false),
        ([10, 0, 65, 255], TCP, 22, true),
        ([10, 0, 67, 0], TCP, 22, true),
        ([10, 0, 66, 1], ICMP, 0, false),
        ([192, 0, 2, 5], TCP, 443, true),
        ([192, 0, 2, 5], TCP, 444, false),
        ([192, 0, 2, 5], TCP, 442, false),
        ([192, 0, 2, 5], UDP, 443, false),
        ([192, 0, 2, 6], TCP, 443, false),
        ([192, 0, 2, 10], UDP, 52, false),
        ([192, 0, 2, 10], UDP, 53, true),
        ([192, 0, 2, 10], UDP, 54, true),
        ([192, 0, 2, 10], UDP, 55, false),
        ([192, 0, 2, 10], TCP, 53, false),
        ([198, 51, 100, 1], ICMP, 0, true),
        ([198, 51, 100, 1], 47, 0, false),
        ([11, 0, 0, 0], TCP, 22, false),
    ] {
        let up = to(far, protocol, &transport(40_000, port)).up(&staff);
        assert_eq!(up, expected, "{far:?} {protocol} {port} up");
        let down = from(far, protocol, &transport(port, 40_000)).down(&staff);
        assert_eq!(down, expected, "{far:?} {protocol} {port} down");
    }
}

#[test]
fn the_port_is_that_of_the_far_end() {
    let web = filter(&[], &["tcp/443 any"]);
    assert!(!to([192, 0, 2, 5], TCP, &transport(443, 40_000)).up(&web));
    assert!(!from([192, 0, 2, 5], TCP, &transport(40_000, 443)).down(&web));
}

#[test]
fn denied_comes_before_allowed_and_nothing_is_nothing() {
    let packet = to([10, 1, 1, 1], TCP, &transport(1, 22));
    assert!(!packet.up(&filter(&["tcp/22 any"], &["any"])));
    assert!(to([10, 1, 1, 1], TCP, &transport(1, 23)).up(&filter(&["tcp/22 any"], &["any"])));
    assert!(!packet.up(&filter(&[], &[])));
    assert!(!packet.up(&filter(&["10.2.0.0/16"], &[])));
    assert!(packet.up(&filter(&[], &["any"])));
}

#[test]
fn the_doubt_about_a_fragment_works_against_it() {
    let far = [10, 1, 1, 1];
    let later = Like {
        fragment: 185,
        ..to(far, TCP, &transport(1, 443))
    };
    let first = Like {
        fragment: MORE,
        ..to(far, TCP, &transport(1, 443))
    };
    // (filter, first fragment, later fragment)
    for (deny, allow, whole, rest) in [
        (&[][..], &["tcp/443 any"][..], true, false),
        (&[], &["tcp any"], true, true),
        (&[], &["10.0.0.0/8"], true, true),
        (&["tcp/22 any"], &["any"], true, false),
        (&["udp/22 any"], &["any"], true, true),
        (&["tcp/22 10.2.0.0/16"], &["any"], true, true),
        (&["tcp/443 any"], &["any"], false, false),
    ] {
        let filter = filter(deny, allow);
        assert_eq!(first.up(&filter), whole, "{deny:?} {allow:?}");
        assert_eq!(later.up(&filter), rest, "{deny:?} {allow:?}");
        let back = Like {
            fragment: 185,
            ..from(far, TCP, &transport(443, 1))
        };
        assert_eq!(back.down(&filter), rest, "{deny:?} {allow:?}");
    }
    // A later part of an echo is an echo.
    let ping = Like {
        fragment: 185,
        ..to(far, ICMP, &[0; 8])
    };
    assert!(ping.up(&filter(&[], &["icmp any"])));
}

#[test]
fn a_header_too_short_for_ports_is_in_doubt() {
    for len in 0..4 {
        let packet = to([10, 1, 1, 1], UDP, &transport(1, 53)[..len]);
        assert!(!packet.up(&filter(&[], &["udp/53 any"])));
        assert!(!packet.up(&filter(&["udp/54 any"], &["any"])));
        assert!(packet.up(&filter(&[], &["udp any"])));
    }
    let enough = to([10, 1, 1, 1], UDP, &transport(1, 53)[..4]);
    assert!(enough.up(&filter(&[], &["udp/53 any"])));
}

#[test]
fn ports_stand_behind_the_options() {
    let packet = Like {
        options: vec![7, 7, 4, 0, 80, 0, 80, 0],
        ..to([10, 1, 1, 1], TCP, &transport(1, 443))
    };
    assert!(packet.up(&filter(&[], &["tcp/443 any"])));
    assert!(!packet.up(&filter(&[], &["tcp/80 any"])));
}

#[test]
fn an_error_about_an_allowed_packet_comes_back_from_any_router() {
    let web = filter(&[], &["tcp/443 192.0.2.5"]);
    let router = [203, 0, 113, 1];
    let error = |kind: u8, quoted: &[u8]| {
        let mut payload = vec![kind, 4, 0, 0, 0, 0, 5, 120];
        payload.extend_from_slice(quoted);
        payload
    };
    let mut allowed = to([192, 0, 2, 5], TCP, &transport(40_000, 443)).octets();
    // As quoted: the length is that of the whole packet.
    allowed[2..4].copy_from_slice(&1500_u16.to_be_bytes());
    let other = to([192, 0, 2, 5], TCP, &transport(40_000, 80)).octets();
    let foreign = Like {
        source: [10, 99, 0, 8],
        ..to([192, 0, 2, 5], TCP, &transport(40_000, 443))
    }
    .octets();
    for (kind, quoted, expected) in [
        (3, &allowed[..], true),
        (11, &allowed, true),
        (12, &allowed, true),
        // A redirect or a reply is no error about a packet.
        (5, &allowed, false),
        (0, &allowed, false),
        (3, &other, false),
        (3, &foreign, false),
        (3, &allowed[..24], true),
        // Without its ports nobody knows whether it was allowed.
        (3, &allowed[..23], false),
        (3, &allowed[..19], false),
        (3, &[], false),
    ] {
        let payload = error(kind, quoted);
        assert_eq!(from(router, ICMP, &payload).down(&web), expected, "{kind}");
    }
    // Not upwards, not as another protocol, not in a later fragment.
    let payload = error(3, &allowed);
    assert!(!to(router, ICMP, &payload).up(&web));
    assert!(!from(router, UDP, &payload).down(&web));
    let later = Like {
        fragment: 1,
        ..from(router, ICMP, &payload)
    };
    assert!(!later.down(&web));
}

proptest! {
    #[test]
    fn arbitrary_packets_never_panic_and_the_order_of_equals_does_not_matter(
        mut octets in proptest::collection::vec(any::<u8>(), 20..120),
        port in 1_u16..,
    ) {
        octets[0] = 0x45 | (octets[0] & 3);
        octets[2] = 0;
        octets[3] = u8::try_from(octets.len()).unwrap();
        let one = format!("tcp/{port} any");
        let texts = [one.as_str(), "udp/1-1023 10.0.0.0/8", "icmp 128.0.0.0/1", "0.0.0.0/2"];
        let mut reversed = texts;
        reversed.reverse();
        if let Ok(packet) = IpPacket::decode(&octets) {
            for (deny, allow) in [(&texts[..], &["any"][..]), (&["64.0.0.0/2"], &texts)] {
                let a = filter(deny, allow);
                let turned: Vec<_> = deny.iter().rev().copied().collect();
                let b = filter(&turned, allow);
                prop_assert_eq!(a.allows(&packet), b.allows(&packet));
                prop_assert_eq!(a.allows_back(&packet), b.allows_back(&packet));
            }
            // The mirror of a packet that may go may come.
            let up = filter(&texts, &["any"]).allows(&packet);
            let mut mirrored = octets.clone();
            mirrored[12..16].copy_from_slice(&octets[16..20]);
            mirrored[16..20].copy_from_slice(&octets[12..16]);
            if packet.header_len() + 4 <= octets.len() {
                let at = packet.header_len();
                mirrored[at..at + 2].copy_from_slice(&octets[at + 2..at + 4]);
                mirrored[at + 2..at + 4].copy_from_slice(&octets[at..at + 2]);
            }
            let mirrored = IpPacket::decode(&mirrored).unwrap();
            prop_assert!(!up || filter(&texts, &["any"]).allows_back(&mirrored));
            prop_assert!(!filter(&[], &[]).allows(&packet));
        }
    }
}
