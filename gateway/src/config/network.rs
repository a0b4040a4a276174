//! `[network]`: the TUN, and what is around it.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::os::tun::{Offload, TunConfig};
use crate::os::udp::Offloads;

use super::report::Report;
use super::value::{Net4, Text};

/// No client has business with the host's own services in a cloud: the metadata service hands out the identity of the
/// virtual machine (169.254.169.254), the other is Azure's wire server.
const BLOCKED: [Ipv4Addr; 2] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(168, 63, 129, 16),
];

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    tun: String,
    mtu: u16,
    tcp_mss_clamp: u16,
    tun_offload: OffloadWord,
    udp_offload: UdpOffload,
    manage_addresses: bool,
    manage_forwarding: bool,
    manage_nftables: ManageNftables,
    uplink: Option<String>,
    isolate_clients: bool,
    dns: Vec<Ipv4Addr>,
    dns_suffix: Vec<String>,
    routes: Vec<Text<Net4>>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum OffloadWord {
    Auto,
    Off,
}

/// What the network card may do for UDP.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum UdpOffload {
    /// Both, where the kernel has them.
    Auto,
    /// Neither.
    Off,
    /// Sending trains of datagrams alone.
    Gso,
    /// Receiving them alone.
    Gro,
}

/// Which nftables rules the gateway makes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ManageNftables {
    /// None.
    Off,
    /// Between the TUN and the uplink everything passes.
    Forward,
    /// The same, and clients get the gateway's address behind it.
    Masquerade,
}

impl Default for File {
    fn default() -> Self {
        Self {
            tun: "causeway0".into(),
            mtu: 1400,
            tcp_mss_clamp: 1350,
            tun_offload: OffloadWord::Auto,
            udp_offload: UdpOffload::Auto,
            manage_addresses: true,
            manage_forwarding: true,
            manage_nftables: ManageNftables::Forward,
            uplink: None,
            isolate_clients: true,
            dns: Vec::new(),
            dns_suffix: Vec::new(),
            routes: Vec::new(),
        }
    }
}

/// The TUN, and what is around it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four switches of the file, independent of one another"
)]
pub struct Network {
    /// The device.
    pub tun: TunConfig,
    /// The largest TCP segment in a SYN that passes; `None` leaves it.
    pub mss_clamp: Option<u16>,
    /// Whether the gateway gives the TUN its address and routes.
    pub manage_addresses: bool,
    /// Whether the gateway turns `ip_forward` on.
    pub manage_forwarding: bool,
    /// Which rules the gateway makes.
    pub manage_nftables: ManageNftables,
    /// The interface towards the network behind the gateway; `None` is any.
    pub uplink: Option<String>,
    /// Whether packets from client to client are dropped.
    pub isolate_clients: bool,
    /// DNS servers for clients, at most two.
    pub dns: Vec<Ipv4Addr>,
    /// Search domains, where the protocol can carry them.
    pub dns_suffix: Vec<String>,
    /// Which offloads the sockets of the UDP tunnels use.
    pub udp_offloads: Offloads,
    /// Routes for clients, where the protocol can carry them.
    pub routes: Vec<Ipv4Net>,
    /// Where no client may send packets to.
    pub blocked: Vec<Ipv4Net>,
    /// Whether the settings are for a laptop: what cannot be had is done without.
    pub best_effort: bool,
}

pub(super) fn check(file: File, report: &mut Report) -> Network {
    let File {
        tun,
        mtu,
        tcp_mss_clamp,
        tun_offload,
        udp_offload,
        manage_addresses,
        manage_forwarding,
        manage_nftables,
        uplink,
        isolate_clients,
        mut dns,
        dns_suffix,
        routes,
    } = file;
    check_interfaces(&tun, uplink.as_ref(), report);
    check_sizes(mtu, tcp_mss_clamp, report);
    if dns.len() > 2 {
        report
            .warning(
                "E0209",
                "network.dns",
                "only the first two DNS servers reach clients",
            )
            .label("IPCP has room for two (RFC 1877)");
        dns.truncate(2);
    }
    Network {
        tun: TunConfig {
            name: tun,
            mtu,
            offload: match tun_offload {
                OffloadWord::Auto => Offload::Auto,
                OffloadWord::Off => Offload::Off,
            },
        },
        udp_offloads: Offloads {
            gso: matches!(udp_offload, UdpOffload::Auto | UdpOffload::Gso),
            gro: matches!(udp_offload, UdpOffload::Auto | UdpOffload::Gro),
        },
        mss_clamp: (tcp_mss_clamp != 0).then_some(tcp_mss_clamp),
        manage_addresses,
        manage_forwarding,
        manage_nftables,
        uplink,
        isolate_clients,
        dns,
        dns_suffix,
        routes: routes.into_iter().map(|text| text.0.0).collect(),
        blocked: BLOCKED.map(Ipv4Net::from).into(),
        best_effort: false,
    }
}

fn check_interfaces(tun: &String, uplink: Option<&String>, report: &mut Report) {
    let names = [("network.tun", Some(tun)), ("network.uplink", uplink)];
    for (path, name) in names {
        if name.is_some_and(|name| !is_interface(name)) {
            report
                .error("E0203", path, "not the name of an interface")
                .label("1 to 15 characters without `/`, `:` and spaces");
        }
    }
    if uplink == Some(tun) {
        report
            .error("E0203", "network.uplink", "the uplink is the TUN")
            .label("the interface towards the network behind the gateway");
    }
}

fn check_sizes(mtu: u16, tcp_mss_clamp: u16, report: &mut Report) {
    // An SSTP packet has at most 4,095 octets, 8 of which are not the inner packet's; RFC 791 wants 576 at least.
    if !(576..=4087).contains(&mtu) {
        report
            .error(
                "E0208",
                "network.mtu",
                "no tunnel carries packets of this size",
            )
            .label("576 to 4087; Azure: 1400");
    }
    if tcp_mss_clamp != 0 && !(536..=mtu.saturating_sub(40)).contains(&tcp_mss_clamp) {
        report
            .error(
                "E0208",
                "network.tcp_mss_clamp",
                "TCP segments would not fit the MTU",
            )
            .label(format!(
                "536 to {}; 0 = do not clamp",
                mtu.saturating_sub(40)
            ))
            .note("a segment is the packet without 20 octets of IP and 20 of TCP header");
    }
}

fn is_interface(name: &str) -> bool {
    (1..libc::IFNAMSIZ).contains(&name.len())
        && !matches!(name, "." | "..")
        && name
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':'))
}
