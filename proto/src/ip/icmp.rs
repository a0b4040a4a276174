//! The ICMP errors of a router (RFC 792; RFC 1812 §4.3): destination unreachable, with "fragmentation needed" among
//! its codes (RFC 1191 §4). The caller limits their rate.

use core::net::Ipv4Addr;

use crate::ip::checksum::Sum;
use crate::ip::packet::{IpPacket, Protocol};

/// The errors that the gateway answers with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IcmpError {
    /// No session has the address (type 3, code 1).
    HostUnreachable,
    /// The packet is larger than the tunnel takes and may not be fragmented (type 3, code 4).
    FragmentationNeeded {
        /// The size that fits.
        mtu: u16,
    },
}

/// The length that an error must not exceed (RFC 1812 §4.3.2.3).
const MAX_LEN: usize = 576;
const IP_HEADER: usize = 20;
const ICMP_HEADER: usize = 8;

/// Appends to `out` the error about `offending`, sent from the router's address `from`; returns whether there is one
/// to send: never about another ICMP error, a later fragment, or a packet whose ends are not single hosts
/// (RFC 1812 §4.3.2.7).
pub fn append_error(
    out: &mut Vec<u8>,
    error: IcmpError,
    from: Ipv4Addr,
    offending: &IpPacket<'_>,
) -> bool {
    if !deserves_an_answer(offending) {
        return false;
    }
    let quoted = offending
        .octets()
        .get(..MAX_LEN - IP_HEADER - ICMP_HEADER)
        .unwrap_or_else(|| offending.octets());
    let (code, mtu) = match error {
        IcmpError::HostUnreachable => (1, 0),
        IcmpError::FragmentationNeeded { mtu } => (4, mtu),
    };
    let [mtu_hi, mtu_lo] = mtu.to_be_bytes();
    let unsigned = [3, code, 0, 0, 0, 0, mtu_hi, mtu_lo];
    let [sum_hi, sum_lo] = Sum::new().bytes(&unsigned).bytes(quoted).checksum();

    let total = IP_HEADER + ICMP_HEADER + quoted.len();
    let Ok(total) = u16::try_from(total) else {
        return false;
    };
    let ip = ip_header(total, from, offending);
    out.extend_from_slice(&ip);
    out.extend_from_slice(&[3, code, sum_hi, sum_lo, 0, 0, mtu_hi, mtu_lo]);
    out.extend_from_slice(quoted);
    true
}

/// Builds the header of the answer, with precedence 6 (RFC 1812 §4.3.2.5).
fn ip_header(total: u16, from: Ipv4Addr, offending: &IpPacket<'_>) -> [u8; IP_HEADER] {
    let [len_hi, len_lo] = total.to_be_bytes();
    let source = from.octets();
    let destination = offending.source().octets();
    let fixed = [0x45, 0xc0, len_hi, len_lo, 0, 0, 0x40, 0, 64, 1];
    let checksum = Sum::new()
        .bytes(&fixed)
        .bytes(&source)
        .bytes(&destination)
        .checksum();
    let mut header = [0; IP_HEADER];
    let octets = fixed
        .iter()
        .chain(&checksum)
        .chain(&source)
        .chain(&destination);
    for (to, from) in header.iter_mut().zip(octets) {
        *to = *from;
    }
    header
}

fn deserves_an_answer(packet: &IpPacket<'_>) -> bool {
    let source = packet.source();
    let destination = packet.destination();
    let host = |address: Ipv4Addr| {
        let [first, ..] = address.octets();
        first != 0 && first != 127 && first < 224
    };
    if packet.is_later_fragment() || !host(source) || !host(destination) {
        return false;
    }
    if packet.protocol() != Protocol::Icmp {
        return true;
    }
    // Echo, timestamp and the like are questions; anything else may be an error, and errors get no error.
    matches!(packet.payload().first(), Some(0 | 8 | 13 | 14))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);

    fn packet(source: [u8; 4], destination: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut octets = vec![0; IP_HEADER];
        octets[0] = 0x45;
        let total = u16::try_from(IP_HEADER + payload.len()).unwrap();
        octets[2..4].copy_from_slice(&total.to_be_bytes());
        octets[8] = 64;
        octets[9] = protocol;
        octets[12..16].copy_from_slice(&source);
        octets[16..20].copy_from_slice(&destination);
        let sum = Sum::new().bytes(&octets).checksum();
        octets[10..12].copy_from_slice(&sum);
        octets.extend_from_slice(payload);
        octets
    }

    fn answer(octets: &[u8], error: IcmpError) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        append_error(&mut out, error, GATEWAY, &IpPacket::decode(octets).unwrap()).then_some(out)
    }

    #[test]
    fn names_the_size_that_fits_and_quotes_the_packet() {
        let offending = packet([192, 0, 2, 1], [10, 8, 0, 2], 17, &[7; 1400]);
        let error = answer(&offending, IcmpError::FragmentationNeeded { mtu: 1400 }).unwrap();
        let error = IpPacket::decode(&error).unwrap();
        assert_eq!(error.verify_header(), Ok(()));
        assert_eq!(error.source(), GATEWAY);
        assert_eq!(error.destination(), Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(error.octets().len(), MAX_LEN);
        assert!(Sum::new().bytes(error.payload()).verifies());
        assert_eq!(error.payload()[..2], [3, 4]);
        assert_eq!(error.payload()[6..8], 1400_u16.to_be_bytes());
        assert_eq!(error.payload()[8..], offending[..548]);
    }

    #[test]
    fn says_that_a_host_is_not_there() {
        let offending = packet([192, 0, 2, 1], [10, 8, 0, 2], 1, &[8, 0, 0, 0]);
        let error = answer(&offending, IcmpError::HostUnreachable).unwrap();
        let error = IpPacket::decode(&error).unwrap();
        assert_eq!(error.payload()[..2], [3, 1]);
        assert_eq!(error.payload()[8..], offending);
    }

    #[test]
    fn never_answers_errors_fragments_or_crowds() {
        let host = [192, 0, 2, 1];
        let client = [10, 8, 0, 2];
        let mut fragment = packet(host, client, 17, b"x");
        fragment[7] = 1;
        for octets in [
            packet(host, client, 1, &[3, 1, 0, 0]),
            packet(host, client, 1, &[]),
            packet([0; 4], client, 17, b"x"),
            packet([127, 0, 0, 1], client, 17, b"x"),
            packet([255; 4], client, 17, b"x"),
            packet(host, [224, 0, 0, 251], 17, b"x"),
            packet(host, [255; 4], 17, b"x"),
            fragment,
        ] {
            assert_eq!(answer(&octets, IcmpError::HostUnreachable), None);
        }
    }
}
