//! Packets from the clients: checked, clamped, counted, gathered, written to the TUN.
//!
//! A packet passes when its source is the session's own address, or in a network behind its client, and its destination is one that clients may reach:
//! a single host, no other client (unless allowed), not the gateway's own services, and never the services that a
//! cloud offers to the machine itself. The session's own filter comes after all that: it can only take away.

pub(crate) mod datagrams;

use std::io::{self, IoSlice};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use causeway_proto::activity::Activity;
use causeway_proto::ip::filter::Filter;
use causeway_proto::ip::{IpPacket, PacketError, Protocol, mss};
use ipnet::Ipv4Net;

use crate::dataplane::coalesce::{Coalescer, Output, Storage};
use crate::dataplane::counters::{Counter, Tally};
use crate::os::tun::{Device, Trains};

/// What the packet path lets through.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    gateway: Ipv4Addr,
    /// First and last address of each pool; empty when clients may reach one another.
    isolated: Vec<(u32, u32)>,
    blocked: Vec<(u32, u32)>,
}

/// Never reached through the gateway, whatever the configuration says: link-local addresses with the clouds'
/// metadata service among them (RFC 3927 §7 forbids forwarding them anyway), and the Azure host.
const ALWAYS_BLOCKED: [(u32, u32); 2] = [
    (
        Ipv4Addr::new(169, 254, 0, 0).to_bits(),
        Ipv4Addr::new(169, 254, 255, 255).to_bits(),
    ),
    (
        Ipv4Addr::new(168, 63, 129, 16).to_bits(),
        Ipv4Addr::new(168, 63, 129, 16).to_bits(),
    ),
];

impl Gate {
    pub(crate) fn new(
        gateway: Ipv4Addr,
        isolated: &[(Ipv4Addr, Ipv4Addr)],
        blocked: &[Ipv4Net],
    ) -> Self {
        let range = |(first, last): &(Ipv4Addr, Ipv4Addr)| (first.to_bits(), last.to_bits());
        let net = |net: &Ipv4Net| (net.network().to_bits(), net.broadcast().to_bits());
        Self {
            gateway,
            isolated: isolated.iter().map(range).collect(),
            blocked: ALWAYS_BLOCKED
                .into_iter()
                .chain(blocked.iter().map(net))
                .collect(),
        }
    }

    /// Decides about a packet of the client that has `address` and `networks`; an error says under what it is counted.
    #[inline]
    pub(crate) fn check(
        &self,
        address: Ipv4Addr,
        networks: &[Ipv4Net],
        packet: &IpPacket<'_>,
    ) -> Result<(), Counter> {
        let source = packet.source();
        if source != address && !networks.iter().any(|network| network.contains(&source)) {
            return Err(Counter::SourceAddress);
        }
        packet.verify_header().map_err(|_| Counter::Malformed)?;
        let destination = packet.destination();
        let [first, ..] = destination.octets();
        if first == 0 || first == 127 || first >= 224 || destination == address {
            return Err(Counter::Destination);
        }
        let bits = destination.to_bits();
        let within = |ranges: &[(u32, u32)]| {
            ranges
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&bits))
        };
        if destination == self.gateway {
            return if is_ping(packet) {
                Ok(())
            } else {
                Err(Counter::Gateway)
            };
        }
        if within(&self.blocked) {
            return Err(Counter::Blocked);
        }
        if within(&self.isolated) {
            return Err(Counter::Isolated);
        }
        Ok(())
    }

    /// Decides about `packet` of the client that has `address` and `networks` and may send what `filter` allows; returns
    /// the length of the packet without what stands behind it, or under what it is counted.
    #[inline]
    pub(crate) fn admit(
        &self,
        address: Ipv4Addr,
        networks: &[Ipv4Net],
        filter: Option<&Filter>,
        packet: &[u8],
    ) -> Result<usize, Counter> {
        let packet = IpPacket::decode(packet).map_err(|error| match error {
            PacketError::Version(_) => Counter::NotIpv4,
            PacketError::Truncated
            | PacketError::HeaderLength
            | PacketError::Checksum
            | PacketError::Options => Counter::Malformed,
        })?;
        self.check(address, networks, &packet)?;
        if filter.is_some_and(|filter| !filter.allows(&packet)) {
            return Err(Counter::Filter);
        }
        Ok(packet.octets().len())
    }
}

/// An echo request, or a later part of one that was fragmented.
fn is_ping(packet: &IpPacket<'_>) -> bool {
    const ECHO: u8 = 8;
    packet.protocol() == Protocol::Icmp
        && (packet.is_later_fragment() || packet.payload().first() == Some(&ECHO))
}

/// Where the packets of one batch of one client go; the sink of its protocol machine.
pub(crate) struct Inbound<'a, 't> {
    client: Client<'t>,
    gate: &'t Gate,
    coalescer: Coalescer<'a, 't, TunWriter<'t>>,
    packets: u64,
    octets: u64,
}

/// What a batch must know of its client.
#[derive(Clone, Copy)]
pub(crate) struct Client<'t> {
    pub(crate) address: Ipv4Addr,
    pub(crate) networks: &'t [Ipv4Net],
    pub(crate) mss: u16,
    pub(crate) filter: Option<&'t Filter>,
    pub(crate) activity: &'t Activity,
}

impl<'a, 't> Inbound<'a, 't> {
    pub(crate) fn new(
        client: Client<'t>,
        gate: &'t Gate,
        storage: &'t mut Storage,
        writer: TunWriter<'t>,
    ) -> Self {
        Self {
            client,
            gate,
            coalescer: Coalescer::new(storage, writer),
            packets: 0,
            octets: 0,
        }
    }

    /// Takes one inner packet.
    #[inline]
    pub(crate) fn deliver(&mut self, packet: &'a mut [u8]) {
        let Client {
            address,
            networks,
            filter,
            ..
        } = self.client;
        let len = match self.gate.admit(address, networks, filter, packet) {
            Ok(len) => len,
            Err(counter) => {
                self.coalescer.output().tally.add(counter, 1);
                return;
            }
        };
        let packet = &mut packet[..len];
        mss::clamp(packet, self.client.mss);
        self.packets += 1;
        self.octets += len as u64;
        self.coalescer.push(packet);
    }

    /// Writes what was gathered and counts the batch.
    pub(crate) fn finish(self, now_ms: u64) {
        let writer = self.coalescer.finish();
        if self.packets > 0 {
            writer.tally.add(Counter::Packets, self.packets);
            writer.tally.add(Counter::Octets, self.octets);
            self.client
                .activity
                .add_up(self.packets, self.octets, now_ms);
        }
    }
}

/// The device and whether it works, as all threads see it.
#[derive(Debug)]
pub(crate) struct Tun {
    pub(crate) device: Device,
    healthy: AtomicBool,
}

impl Tun {
    pub(crate) fn new(device: Device) -> Arc<Self> {
        Arc::new(Self {
            device,
            healthy: AtomicBool::new(true),
        })
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    pub(crate) fn set_healthy(&self, healthy: bool) {
        // Looked at first, so that the line is written only when the state changes.
        if self.is_healthy() != healthy {
            self.healthy.store(healthy, Ordering::Relaxed);
        }
    }
}

/// Writes to the TUN and counts it.
pub(crate) struct TunWriter<'t> {
    pub(crate) tun: &'t Tun,
    pub(crate) tally: &'t mut Tally,
}

impl Output for TunWriter<'_> {
    fn trains(&self) -> Trains {
        self.tun.device.trains()
    }

    fn write(&mut self, parts: &[IoSlice<'_>], packets: usize) {
        let device = &self.tun.device;
        let parts = if device.is_framed() {
            parts
        } else {
            &parts[1..]
        };
        let packets = packets as u64;
        match device.write(parts) {
            Ok(_) => {
                self.tally.add(Counter::TunWrites, 1);
                self.tally.add(Counter::TunPackets, packets);
                if packets > 1 {
                    self.tally.add(Counter::Coalesced, packets);
                }
                self.tun.set_healthy(true);
            }
            Err(error) => self.failed(&error, packets),
        }
    }
}

impl TunWriter<'_> {
    #[cold]
    fn failed(&mut self, error: &io::Error, packets: u64) {
        self.tally.add(Counter::TunErrors, 1);
        if error.kind() == io::ErrorKind::InvalidInput && packets > 1 {
            self.tally.add(Counter::TrainsRefused, 1);
            self.tun.device.give_up_trains();
        } else if error.kind() != io::ErrorKind::WouldBlock
            && error.kind() != io::ErrorKind::InvalidInput
        {
            // EIO: the interface is down; EBADFD: it is gone.
            self.tun.set_healthy(false);
        }
    }
}

#[cfg(test)]
mod tests;
