//! Protocols that we do not speak, and whether the peer has been told.

use super::control::{Code, HEADER};
use super::frame::Protocol;
use super::outbox::Outbox;

/// The protocols that have been rejected (RFC 1661 §5.7): each once.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    protocols: Vec<Protocol>,
    identifier: u8,
}

impl Refused {
    /// After so many protocols a peer is only trying.
    const MAX: usize = 16;

    /// Rejects the protocol if that has not been done; `limit` is the largest packet.
    pub(crate) fn reject(&mut self, protocol: Protocol, body: &[u8], limit: u16, out: &mut Outbox) {
        if self.protocols.len() >= Self::MAX || self.protocols.contains(&protocol) {
            return;
        }
        self.protocols.push(protocol);
        self.identifier = self.identifier.wrapping_add(1);
        let mut data = protocol.0.to_be_bytes().to_vec();
        data.extend(body);
        data.truncate(usize::from(limit).saturating_sub(HEADER));
        out.control(
            Protocol::LCP,
            Code::PROTOCOL_REJECT.0,
            self.identifier,
            &data,
        );
    }
}
