//! The packets of the client, right ones and wrong ones.

use super::faults::{BindingFault, RequestFault};
use crate::aaa::InnerKeys;
use crate::sstp::attribute::{CryptoBinding, HashProtocol};
use crate::sstp::binding::{CertificateHashes, Hlak, compound_mac};
use crate::sstp::message::Message;
use crate::sstp::packet::data_header;

/// Returns a Call Connect Request with `fault`; `None` for a client that says nothing.
pub(super) fn connect_request(fault: RequestFault) -> Option<Vec<u8>> {
    const PPP: &[u8] = &[0, 1, 0, 6, 0, 1];
    let (count, attributes): (u16, &[&[u8]]) = match fault {
        RequestFault::None | RequestFault::Again => {
            return Some(Message::ConnectRequest.to_bytes());
        }
        RequestFault::Silent => return None,
        RequestFault::WrongProtocol => (1, &[&[0, 1, 0, 6, 0, 2]]),
        RequestFault::NoProtocol => (0, &[]),
        RequestFault::Duplicate => (2, &[PPP, PPP]),
        RequestFault::Unknown => (2, &[PPP, &[0, 9, 0, 4]]),
        RequestFault::WrongLength => (1, &[&[0, 1, 0, 5, 0]]),
        RequestFault::StatusInfo => (2, &[PPP, &[0, 2, 0, 12, 0, 0, 0, 0, 0, 0, 0, 7]]),
        RequestFault::WrongCount => (0xffff, &[PPP]),
    };
    let mut packet = vec![0x10, 1, 0, 0, 0, 1];
    packet.extend(count.to_be_bytes());
    packet.extend(attributes.concat());
    Some(with_length(packet))
}

/// Returns a Call Connected with `fault`.
pub(super) fn call_connected(
    nonce: [u8; 32],
    hash: HashProtocol,
    certificate: &CertificateHashes,
    keys: Option<&InnerKeys>,
    fault: BindingFault,
) -> Vec<u8> {
    let mut binding = CryptoBinding {
        hash: hash.bit(),
        nonce,
        certificate_hash: certificate.field(hash),
        mac: [0; 32],
    };
    let mut hlak = Hlak::from_keys(keys);
    match fault {
        BindingFault::WrongNonce => binding.nonce = [0x55; 32],
        BindingFault::WrongCertificate => {
            binding.certificate_hash = CertificateHashes::of(b"somebody else").field(hash);
        }
        BindingFault::TwoHashes => binding.hash = 3,
        BindingFault::NoHash => binding.hash = 0,
        BindingFault::UnknownHash => binding.hash = 4,
        BindingFault::ZeroKeys => hlak = Hlak::from_keys(None),
        BindingFault::SwappedKeys => {
            let swapped = keys.map(|keys| InnerKeys {
                recv: keys.send.clone(),
                send: keys.recv.clone(),
            });
            hlak = Hlak::from_keys(swapped.as_ref());
        }
        BindingFault::None
        | BindingFault::WrongMac
        | BindingFault::Short
        | BindingFault::Missing => {}
    }
    let mut packet = Message::Connected(binding).to_bytes();
    if let Some(whole) = packet.first_chunk() {
        binding.mac = compound_mac(hash, &hlak, whole);
    }
    if fault == BindingFault::WrongMac
        && let Some(first) = binding.mac.first_mut()
    {
        *first ^= 1;
    }
    packet = Message::Connected(binding).to_bytes();
    match fault {
        BindingFault::Short => {
            packet.pop();
            if let Some(attribute_length) = packet.get_mut(11) {
                *attribute_length = attribute_length.saturating_sub(1);
            }
            with_length(packet)
        }
        BindingFault::Missing => vec![0x10, 1, 0, 8, 0, 4, 0, 0],
        BindingFault::None
        | BindingFault::WrongNonce
        | BindingFault::WrongCertificate
        | BindingFault::WrongMac
        | BindingFault::TwoHashes
        | BindingFault::NoHash
        | BindingFault::UnknownHash
        | BindingFault::ZeroKeys
        | BindingFault::SwappedKeys => packet,
    }
}

/// Returns an IP packet that comes too early.
pub(super) fn early_data() -> Vec<u8> {
    let mut packet = data_header(20).to_vec();
    packet.extend([0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    packet
}

/// Fills in the length of a control packet.
fn with_length(mut packet: Vec<u8>) -> Vec<u8> {
    let [high, low] = u16::try_from(packet.len()).unwrap_or(0).to_be_bytes();
    for (at, octet) in [(2, high), (3, low)] {
        if let Some(place) = packet.get_mut(at) {
            *place = octet;
        }
    }
    packet
}
