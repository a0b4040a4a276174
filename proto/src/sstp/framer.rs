//! Divides the byte stream into packets, in place ([MS-SSTP] §3.1.5.1).
//!
//! There is no buffer in here: the caller keeps what is not a whole packet yet, at most 4094 octets, and puts more
//! behind it. TLS records and packets have nothing to do with each other.

use core::mem;

use super::packet::{Broken, HEADER_LEN, Header, Kind};

/// The protocol number of IPv4 in PPP (RFC 1332 §2).
const IPV4: u16 = 0x0021;

/// One whole packet in the caller's buffer.
#[derive(Debug)]
pub(super) enum Packet<'a> {
    /// A control packet, its header included: crypto binding needs every octet.
    Control(&'a [u8]),
    /// What stands behind the header of a data packet: one PPP frame.
    Data(&'a mut [u8]),
}

/// The packets at the front of a buffer.
#[derive(Debug)]
pub(super) struct Packets<'a> {
    rest: &'a mut [u8],
}

impl<'a> Packets<'a> {
    /// Starts at the first octet of `bytes`.
    pub(super) const fn of(bytes: &'a mut [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns the octets behind the last packet that was taken.
    pub(super) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes the next whole packet; `None` when there is none.
    pub(super) fn next(&mut self) -> Result<Option<Packet<'a>>, Broken> {
        let Some(header) = Header::peek(self.rest)? else {
            return Ok(None);
        };
        if self.rest.len() < header.len {
            return Ok(None);
        }
        let (packet, behind) = mem::take(&mut self.rest).split_at_mut(header.len);
        self.rest = behind;
        Ok(Some(match header.kind {
            Kind::Control => Packet::Control(packet),
            Kind::Data => Packet::Data(packet.get_mut(HEADER_LEN..).unwrap_or_default()),
        }))
    }
}

/// What a PPP frame is to the call that carries it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Frame {
    /// An IPv4 packet that starts behind so many octets.
    Ipv4 {
        /// The octets of address, control and protocol field.
        offset: usize,
    },
    /// Some other data protocol (under 0x8000).
    Data,
    /// LCP, an authentication protocol or an NCP (0x8000 and above).
    Control,
    /// Too short for a protocol number.
    Runt,
}

/// Looks at the protocol field (RFC 1661 §2).
///
/// `FF 03` may be missing and the protocol may be one octet, though we never agree to either: a peer that leaves them
/// out anyhow is understood.
pub(super) fn classify(frame: &[u8]) -> Frame {
    let (head, body) = match frame {
        [0xff, 0x03, body @ ..] => (2, body),
        body => (0, body),
    };
    let (protocol, len) = match *body {
        [low, ..] if low & 1 == 1 => (u16::from(low), 1),
        [high, low, ..] => (u16::from_be_bytes([high, low]), 2),
        _ => return Frame::Runt,
    };
    match protocol {
        IPV4 => Frame::Ipv4 { offset: head + len },
        0x8000.. => Frame::Control,
        _ => Frame::Data,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_is_what_its_protocol_says() {
        let rows: [(&[u8], Frame); 12] = [
            (&[0xff, 3, 0, 0x21, 0x45], Frame::Ipv4 { offset: 4 }),
            (&[0xff, 3, 0x21, 0x45], Frame::Ipv4 { offset: 3 }),
            (&[0, 0x21, 0x45], Frame::Ipv4 { offset: 2 }),
            (&[0x21, 0x45], Frame::Ipv4 { offset: 1 }),
            (&[0xff, 3, 0xc0, 0x21, 1], Frame::Control),
            (&[0xc2, 0x23, 1], Frame::Control),
            (&[0xff, 3, 0x80, 0x21], Frame::Control),
            (&[0xff, 3, 0, 0x57], Frame::Data),
            (&[0xff, 3, 0, 0x2d], Frame::Data),
            (&[], Frame::Runt),
            (&[0xff, 3], Frame::Runt),
            (&[0xff, 3, 0xc0], Frame::Runt),
        ];
        for (bytes, frame) in rows {
            assert_eq!(classify(bytes), frame, "{bytes:02x?}");
        }
    }

    #[test]
    fn walks_whole_packets_and_leaves_the_rest() {
        let mut bytes = vec![
            0x10, 1, 0, 8, 0, 8, 0, 0, 0x10, 0, 0, 6, 0xaa, 0xbb, 0x10, 0,
        ];
        let mut packets = Packets::of(&mut bytes);
        assert!(matches!(packets.next(), Ok(Some(Packet::Control(p))) if p.len() == 8));
        assert!(matches!(packets.next(), Ok(Some(Packet::Data(f))) if f == [0xaa, 0xbb]));
        assert!(matches!(packets.next(), Ok(None)));
        assert_eq!(packets.remaining(), 2);
    }

    proptest! {
        #[test]
        fn never_takes_more_than_there_is(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let total = bytes.len();
            let mut packets = Packets::of(&mut bytes);
            let mut taken = 0;
            while let Ok(Some(packet)) = packets.next() {
                taken += match packet {
                    Packet::Control(packet) => packet.len(),
                    Packet::Data(frame) => frame.len() + HEADER_LEN,
                };
            }
            prop_assert_eq!(taken + packets.remaining(), total);
        }
    }
}
