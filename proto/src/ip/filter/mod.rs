//! A named filter: which packets of a session pass. Stateless, immutable, shared by reference, no allocation a packet.
//!
//! Rules speak of the **far end**: its address, the protocol, and its port. Towards the network the far end is the
//! destination ([`Filter::allows`]), on the way back the source ([`Filter::allows_back`]). All `deny` rules come before
//! all `allow` rules; the first match wins, and what none matches is dropped.
//!
//! Where a packet does not tell its port, because it is a later fragment (RFC 791 §3.2) or too short, the doubt works
//! against it: it matches a `deny` rule with ports and no `allow` rule with ports. So a later fragment passes only if
//! its whole protocol may pass, and an attack with overlapping fragments (RFC 1858 §4, RFC 3128) gains nothing: a
//! fragment that could carry ports is one that says which.
//!
//! An ICMP error on the way back (RFC 792) comes from any router on the path; it passes when it quotes a packet that
//! was allowed to go out, or the filter would break path MTU discovery (RFC 1191).

mod rule;

use core::net::Ipv4Addr;

use crate::ip::packet::{IpPacket, Protocol};

pub use rule::{Rule, RuleError};

use rule::Transport;

/// A filter, compiled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Filter {
    name: String,
    rules: Box<[Entry]>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Entry {
    rule: Rule,
    action: Action,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Action {
    Deny,
    Allow,
}

/// What rules are compared with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Flow {
    protocol: Protocol,
    /// The far end.
    far: Ipv4Addr,
    /// The port there; `None` when the packet does not tell.
    port: Option<u16>,
}

impl Filter {
    /// Makes a filter of its rules, `deny` before `allow`.
    #[must_use]
    pub fn new(name: &str, deny: &[Rule], allow: &[Rule]) -> Self {
        let entry = |action| {
            move |rule: &Rule| Entry {
                rule: *rule,
                action,
            }
        };
        Self {
            name: name.to_owned(),
            rules: deny
                .iter()
                .map(entry(Action::Deny))
                .chain(allow.iter().map(entry(Action::Allow)))
                .collect(),
        }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether a packet may go from the client to the network.
    #[inline]
    #[must_use]
    pub fn allows(&self, packet: &IpPacket<'_>) -> bool {
        self.passes(Flow {
            protocol: packet.protocol(),
            far: packet.destination(),
            port: ports(packet).map(|(_, destination)| destination),
        })
    }

    /// Returns whether a packet may come from the network to the client.
    #[inline]
    #[must_use]
    pub fn allows_back(&self, packet: &IpPacket<'_>) -> bool {
        let flow = Flow {
            protocol: packet.protocol(),
            far: packet.source(),
            port: ports(packet).map(|(source, _)| source),
        };
        self.passes(flow) || self.allows_error(packet)
    }

    #[inline]
    fn passes(&self, flow: Flow) -> bool {
        self.rules
            .iter()
            .find(|entry| entry.matches(flow))
            .is_some_and(|entry| entry.action == Action::Allow)
    }

    /// Whether a packet is an error about one of the client's own that was allowed.
    #[cold]
    fn allows_error(&self, packet: &IpPacket<'_>) -> bool {
        const UNREACHABLE: u8 = 3;
        const TIME_EXCEEDED: u8 = 11;
        const PARAMETER_PROBLEM: u8 = 12;
        let [
            UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            quoted @ ..,
        ] = packet.payload()
        else {
            return false;
        };
        if packet.protocol() != Protocol::Icmp || packet.is_later_fragment() {
            return false;
        }
        IpPacket::decode_quoted(quoted)
            .is_ok_and(|quoted| quoted.source() == packet.destination() && self.allows(&quoted))
    }
}

impl Entry {
    #[inline]
    fn matches(&self, flow: Flow) -> bool {
        if !self.rule.network.contains(flow.far) {
            return false;
        }
        let ports = match (self.rule.transport, flow.protocol) {
            (Transport::Any, _) | (Transport::Icmp, Protocol::Icmp) => return true,
            (Transport::Tcp(ports), Protocol::Tcp) | (Transport::Udp(ports), Protocol::Udp) => {
                ports
            }
            (Transport::Icmp | Transport::Tcp(_) | Transport::Udp(_), _) => return false,
        };
        match flow.port {
            Some(port) => ports.contains(port),
            None => ports == rule::Ports::Any || self.action == Action::Deny,
        }
    }
}

/// The source and destination port of TCP and UDP, when the packet holds them.
#[inline]
fn ports(packet: &IpPacket<'_>) -> Option<(u16, u16)> {
    match packet.protocol() {
        Protocol::Tcp | Protocol::Udp if !packet.is_later_fragment() => {
            first_ports(packet.payload())
        }
        Protocol::Tcp | Protocol::Udp | Protocol::Icmp | Protocol::Other(_) => None,
    }
}

#[inline]
fn first_ports(transport: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d, ..] = *transport else {
        return None;
    };
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

#[cfg(test)]
mod tests;
