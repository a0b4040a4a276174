//! Cuts a train, as the TUN hands it over, into the packets it stands for.
//!
//! Each packet is written straight to where it is sent from: headers, checksums and payload in one pass. The headers
//! are parsed, because the `hdr_len` of the vnet header covers whatever the driver had at hand.

use causeway_proto::ip::checksum::{Sum, pseudo_header};
use causeway_proto::ip::{IpPacket, PacketError, Protocol};
use thiserror::Error;

use crate::os::vnet::{Gso, Header};
use crate::os::wide;

/// Why what the TUN gave is not carried.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum TrainError {
    /// The packet is none that the gateway carries.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// The transport header runs past the end.
    #[error("the transport header is cut off")]
    Transport,
    /// The kind of train does not fit the packet, or was not asked for.
    #[error("the kind of train does not fit the packet")]
    Kind,
    /// The checksum to complete lies outside of the packet.
    #[error("the checksum to complete lies outside of the packet")]
    Checksum,
}

/// One packet, or a train of them, in which every length has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Train<'a> {
    packet: IpPacket<'a>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// One packet; `checksum` is where the summed octets begin and where the sum belongs.
    One { checksum: Option<(usize, usize)> },
    /// Several packets.
    Many(Template),
}

/// What the headers of all segments have in common, summed once.
#[derive(Clone, Copy, Debug)]
struct Template {
    transport: Transport,
    headers_len: usize,
    stride: usize,
    count: usize,
    /// The IP header without length, identification and checksum.
    ip: Sum,
    /// The pseudo header without its length, and the transport header without what differs.
    transport_sum: Sum,
    identification: u16,
}

#[derive(Clone, Copy, Debug)]
enum Transport {
    Tcp { sequence: u32, flags: u8 },
    Udp,
}

const UDP_HEADER: usize = 8;
const TCP_HEADER: usize = 20;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

impl<'a> Train<'a> {
    /// Parses what stands behind the vnet header.
    pub fn parse(header: &Header, octets: &'a [u8]) -> Result<Self, TrainError> {
        let packet = IpPacket::decode(octets)?;
        let kind = match (header.gso, packet.protocol()) {
            (Gso::None, _) => Self::one(header, &packet)?,
            (Gso::Tcp4, Protocol::Tcp) | (Gso::Udp, Protocol::Udp) => {
                let template = Template::new(&packet, usize::from(header.gso_size))?;
                Kind::Many(template)
            }
            (Gso::Tcp4 | Gso::Tcp6 | Gso::Udp | Gso::Unknown(_), _) => {
                return Err(TrainError::Kind);
            }
        };
        Ok(Self { packet, kind })
    }

    fn one(header: &Header, packet: &IpPacket<'_>) -> Result<Kind, TrainError> {
        let Some(partial) = header.checksum else {
            return Ok(Kind::One { checksum: None });
        };
        let start = usize::from(partial.start);
        let field = start + usize::from(partial.offset);
        if field + 2 > packet.octets().len() {
            return Err(TrainError::Checksum);
        }
        Ok(Kind::One {
            checksum: Some((start, field)),
        })
    }

    /// Returns the train as one packet: its addresses are those of all segments.
    #[must_use]
    pub const fn packet(&self) -> &IpPacket<'a> {
        &self.packet
    }

    /// Returns how many packets there are.
    #[must_use]
    #[inline]
    pub const fn count(&self) -> usize {
        match &self.kind {
            Kind::One { .. } => 1,
            Kind::Many(template) => template.count,
        }
    }

    /// Returns the length of packet `index`.
    #[must_use]
    #[inline]
    pub fn len_of(&self, index: usize) -> usize {
        match &self.kind {
            Kind::One { .. } => self.packet.octets().len(),
            Kind::Many(template) => {
                let (from, to) = template.range(index, self.packet.octets().len());
                template.headers_len + (to - from)
            }
        }
    }

    /// Writes packet `index` to `out`, which is [`len_of`](Self::len_of) octets long.
    ///
    /// # Panics
    ///
    /// When `out` has another length or there is no such packet.
    #[inline]
    pub fn write(&self, index: usize, out: &mut [u8]) {
        let octets = self.packet.octets();
        match &self.kind {
            Kind::One { checksum: None } => out.copy_from_slice(octets),
            Kind::One {
                checksum: Some((start, field)),
            } => {
                out[..*start].copy_from_slice(&octets[..*start]);
                let sum = wide::copy_and_sum(&mut out[*start..], &octets[*start..]);
                out[*field..*field + 2].copy_from_slice(&sum.udp_checksum());
            }
            Kind::Many(template) => template.write(octets, index, out),
        }
    }
}

impl Template {
    fn new(packet: &IpPacket<'_>, stride: usize) -> Result<Self, TrainError> {
        let octets = packet.octets();
        let segment = packet.payload();
        if stride == 0 || packet.is_fragment() {
            return Err(TrainError::Kind);
        }
        let tcp = packet.protocol() == Protocol::Tcp;
        let transport_len = if tcp {
            let offset = *segment.get(12).ok_or(TrainError::Transport)?;
            usize::from(offset >> 4) * 4
        } else {
            UDP_HEADER
        };
        let shortest = if tcp { TCP_HEADER } else { UDP_HEADER };
        if transport_len < shortest || transport_len > segment.len() {
            return Err(TrainError::Transport);
        }
        let headers_len = packet.header_len() + transport_len;

        let mut ip = [0; 60];
        let ip = &mut ip[..packet.header_len()];
        ip.copy_from_slice(packet.header_octets());
        ip[2..6].fill(0);
        ip[10..12].fill(0);
        let mut header = [0; 60];
        let header = &mut header[..transport_len];
        header.copy_from_slice(&segment[..transport_len]);
        let transport = if tcp {
            let sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            let flags = header[13];
            header[4..8].fill(0);
            header[13] = 0;
            header[16..18].fill(0);
            Transport::Tcp { sequence, flags }
        } else {
            header[4..8].fill(0);
            Transport::Udp
        };
        let pseudo = pseudo_header(packet.addresses(), packet.protocol_number(), 0);
        Ok(Self {
            transport,
            headers_len,
            stride,
            count: (octets.len() - headers_len).div_ceil(stride).max(1),
            ip: Sum::new().bytes(ip),
            transport_sum: pseudo.bytes(header),
            identification: packet.identification(),
        })
    }

    #[inline]
    const fn range(&self, index: usize, end: usize) -> (usize, usize) {
        let from = self.headers_len + index * self.stride;
        let to = from + self.stride;
        (from, if to < end { to } else { end })
    }

    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a train is at most 65,535 octets long, and sequence numbers wrap"
    )]
    fn write(&self, octets: &[u8], index: usize, out: &mut [u8]) {
        let (from, to) = self.range(index, octets.len());
        let (headers, payload) = out.split_at_mut(self.headers_len);
        headers.copy_from_slice(&octets[..self.headers_len]);
        let payload_sum = wide::copy_and_sum(payload, &octets[from..to]);

        let ip_len = usize::from(headers[0] & 0x0f) * 4;
        let (ip, header) = headers.split_at_mut(ip_len);
        let total = (self.headers_len + (to - from)) as u16;
        let identification = self.identification.wrapping_add(index as u16);
        ip[2..4].copy_from_slice(&total.to_be_bytes());
        ip[4..6].copy_from_slice(&identification.to_be_bytes());
        let checksum = self.ip.number(total).number(identification).checksum();
        ip[10..12].copy_from_slice(&checksum);

        let len = total - ip_len as u16;
        let sum = self.transport_sum.plus(payload_sum).number(len);
        match self.transport {
            Transport::Tcp { sequence, flags } => {
                let sequence = sequence.wrapping_add((index * self.stride) as u32);
                let mut flags = flags;
                if index > 0 {
                    flags &= !CWR;
                }
                if index + 1 < self.count {
                    flags &= !(FIN | PSH);
                }
                header[4..8].copy_from_slice(&sequence.to_be_bytes());
                header[13] = flags;
                let checksum = sum
                    .number((sequence >> 16) as u16)
                    .number(sequence as u16)
                    .number(u16::from(flags))
                    .checksum();
                header[16..18].copy_from_slice(&checksum);
            }
            Transport::Udp => {
                header[4..6].copy_from_slice(&len.to_be_bytes());
                // The length is summed twice: in the pseudo header and in the header.
                let checksum = sum.number(len).udp_checksum();
                header[6..8].copy_from_slice(&checksum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dataplane::fixtures::{Segment, partial, train_header, verifies};

    fn cut(header: &Header, octets: &[u8]) -> Result<Vec<Vec<u8>>, TrainError> {
        let train = Train::parse(header, octets)?;
        Ok((0..train.count())
            .map(|index| {
                let mut out = vec![0; train.len_of(index)];
                train.write(index, &mut out);
                out
            })
            .collect())
    }

    #[test]
    fn cuts_a_tcp_train_into_packets_with_right_headers() {
        let payload: Vec<u8> = (0..5_000_u16).map(|i| (i % 251) as u8).collect();
        let whole = Segment::tcp(1_000).flags(0x98 | FIN).payload(&payload);
        let packets = cut(&train_header(Gso::Tcp4, 1348), &whole.octets()).unwrap();
        assert_eq!(packets.len(), 4);
        let mut at = 0;
        for (index, octets) in packets.iter().enumerate() {
            assert!(verifies(octets), "packet {index}");
            let part = &payload[at..payload.len().min(at + 1348)];
            let expected_flags = match index {
                0 => 0x10 | CWR,
                1 | 2 => 0x10,
                _ => 0x18 | FIN,
            };
            let expected = Segment::tcp(1_000 + u32::try_from(at).unwrap())
                .flags(expected_flags)
                .identification(whole.identification + u16::try_from(index).unwrap())
                .payload(part);
            assert_eq!(octets, &expected.octets());
            at += part.len();
        }
    }

    #[test]
    fn cuts_a_udp_train_with_a_short_last_datagram() {
        let whole = Segment::udp().payload(&[9; 2_500]);
        let packets = cut(&train_header(Gso::Udp, 1200), &whole.octets()).unwrap();
        let lens: Vec<usize> = packets.iter().map(Vec::len).collect();
        assert_eq!(lens, [1228, 1228, 128]);
        assert!(packets.iter().all(|octets| verifies(octets)));
    }

    #[test]
    fn completes_the_checksum_of_a_single_packet() {
        for segment in [
            Segment::tcp(5).payload(b"odd"),
            Segment::udp().payload(&[1; 1_200]),
            Segment::udp().payload(b""),
        ] {
            let (header, octets) = partial(&segment);
            assert!(!verifies(&octets));
            assert_eq!(cut(&header, &octets).unwrap(), [segment.octets()]);
        }
    }

    #[test]
    fn passes_a_finished_packet_untouched() {
        let mut broken = Segment::tcp(5).payload(b"payload").octets();
        broken[36] ^= 1;
        assert_eq!(cut(&Header::default(), &broken).unwrap(), [broken]);
    }

    #[test]
    fn refuses_trains_that_cannot_be() {
        let tcp = Segment::tcp(5).payload(&[0; 3_000]).octets();
        for (header, expected) in [
            (train_header(Gso::Udp, 1_000), TrainError::Kind),
            (train_header(Gso::Tcp4, 0), TrainError::Kind),
            (train_header(Gso::Tcp6, 1_000), TrainError::Kind),
            (train_header(Gso::Unknown(3), 1_000), TrainError::Kind),
        ] {
            assert_eq!(cut(&header, &tcp).unwrap_err(), expected);
        }
        let short = Segment::tcp(5).payload(b"").octets();
        for offset in [0x40, 0xf0] {
            let mut wrong = short.clone();
            wrong[32] = offset;
            assert_eq!(
                cut(&train_header(Gso::Tcp4, 100), &wrong).unwrap_err(),
                TrainError::Transport
            );
        }
        let (mut header, _) = partial(&Segment::tcp(5));
        if let Some(checksum) = &mut header.checksum {
            checksum.offset = 900;
        }
        assert_eq!(cut(&header, &short).unwrap_err(), TrainError::Checksum);
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(
            header in any::<[u8; crate::os::vnet::LEN]>(),
            mut octets in proptest::collection::vec(any::<u8>(), 0..400),
            protocol in prop_oneof![Just(6_u8), Just(17)],
        ) {
            if let [first, _, hi, lo, _, _, _, _, _, at, ..] = octets.as_mut_slice() {
                *first = 0x40 | (*first & 7);
                *hi = 0;
                *lo &= 0x7f;
                *at = protocol;
            }
            let mut header = header;
            header[1] %= 7;
            header[3] = 0;
            let header = Header::decode(&header);
            if let Ok(packets) = cut(&header, &octets) {
                prop_assert!(!packets.is_empty());
            }
        }
    }
}
