//! What a link does with the packets of LCP, in every phase.

use std::time::Instant;

use super::super::control::{Code, HEADER, Packet};
use super::super::event::DownReason;
use super::super::frame::Protocol;
use super::super::lcp::Lcp;
use super::super::negotiation::Negotiation;
use super::{Link, Phase};
use crate::wire::{Decode, Reader};

impl Link {
    /// Takes what an LCP frame carries.
    pub(super) fn handle_lcp(&mut self, now: Instant, body: &[u8]) {
        let Ok(packet) = Packet::decode(&mut Reader::new(body)) else {
            return;
        };
        let code = Code(packet.code);
        match &mut self.phase {
            Phase::Waiting => self.establish(now),
            Phase::Ended(acks) => {
                if code == Code::TERMINATE_REQUEST && *acks > 0 {
                    *acks = acks.saturating_sub(1);
                    self.acknowledge_terminate(&packet);
                }
                return;
            }
            Phase::Establish | Phase::Authenticate(_) | Phase::Network(_) | Phase::Terminate(_) => {
            }
        }
        match code {
            Code::ECHO_REQUEST => self.answer_echo(&packet),
            Code::ECHO_REPLY | Code::DISCARD_REQUEST | Code::TIME_REMAINING => {}
            Code::IDENTIFICATION => self.identification.learn(packet.data),
            Code::PROTOCOL_REJECT => self.handle_protocol_reject(now, &packet),
            Code::CONFIGURE_REQUEST
            | Code::CONFIGURE_ACK
            | Code::CONFIGURE_NAK
            | Code::CONFIGURE_REJECT
            | Code::TERMINATE_REQUEST
            | Code::TERMINATE_ACK
            | Code::CODE_REJECT => self.handle_lcp_negotiation(now, &packet),
            _ => {
                let mru = self.peer_mru();
                self.lcp.handle_unknown(now, body, mru, &mut self.outbox);
            }
        }
    }

    fn handle_lcp_negotiation(&mut self, now: Instant, packet: &Packet<'_>) {
        let code = Code(packet.code);
        if code == Code::TERMINATE_REQUEST && !self.lcp.is_closing() {
            self.acknowledge_terminate(packet);
            return self.ended(DownReason::PeerTerminated);
        }
        if self.lcp.is_own_request(packet) {
            // Until pppd is ready, its terminal sends back what we send; there is nobody to negotiate with.
            return;
        }
        if self.lcp.is_open() {
            if code == Code::CONFIGURE_REQUEST && self.lcp.protocol.is_ours(packet.data) {
                return;
            }
            if self.lcp.repeats_acknowledged(packet) {
                return Negotiation::<Lcp>::acknowledge_again(packet, &mut self.outbox);
            }
            if code == Code::CONFIGURE_REQUEST {
                return self.fail(now, DownReason::Renegotiation);
            }
            if code == Code::TERMINATE_ACK {
                // The peer believes that we have hung up.
                return self.ended(DownReason::PeerTerminated);
            }
        }
        let mru = self.peer_mru();
        let progress = self.lcp.handle(now, packet, mru, &mut self.outbox);
        self.lcp_progress(now, progress, DownReason::LcpRejected);
    }

    fn handle_protocol_reject(&mut self, now: Instant, packet: &Packet<'_>) {
        if !self.lcp.is_open() {
            return;
        }
        let Ok(protocol) = Reader::new(packet.data)
            .u16("Rejected-Protocol")
            .map(Protocol)
        else {
            return;
        };
        match (&self.phase, protocol) {
            (_, Protocol::LCP) => self.fail(now, DownReason::LcpRejected),
            (Phase::Authenticate(auth), rejected) if auth.protocol() == rejected => {
                self.fail(now, DownReason::LcpNoAuthAgreed);
            }
            (Phase::Network(_), Protocol::IPCP) => self.fail(now, DownReason::IpcpRejected),
            _ => {}
        }
    }

    fn answer_echo(&mut self, packet: &Packet<'_>) {
        let Some((magic, data)) = packet.data.split_first_chunk::<4>() else {
            return;
        };
        let ours = self.lcp.protocol.magic();
        let looped = ours != 0 && u32::from_be_bytes(*magic) == ours;
        if !self.lcp.is_open() || looped {
            return;
        }
        let mut reply = ours.to_be_bytes().to_vec();
        reply.extend(data);
        reply.truncate(usize::from(self.peer_mru()).saturating_sub(HEADER));
        self.outbox
            .control(Protocol::LCP, Code::ECHO_REPLY.0, packet.identifier, &reply);
    }

    fn acknowledge_terminate(&mut self, packet: &Packet<'_>) {
        self.outbox
            .control(Protocol::LCP, Code::TERMINATE_ACK.0, packet.identifier, &[]);
    }
}
