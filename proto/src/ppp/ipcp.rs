//! The options of IPCP: the addresses and the name servers (RFC 1332, RFC 1877).
//!
//! The server sends its own address and nothing else (Android rejects more). It Naks with the address that was
//! granted until the client asks for exactly that one; a client that never does has no place in the network and the
//! link ends. A name server that is configured is suggested, one that is not is rejected (a Nak with 0.0.0.0 would go
//! on for ever). Everything else, Van Jacobson compression first, is rejected.

use std::net::Ipv4Addr;

use super::config::ClientConfig;
use super::control::{Options, append_option};
use super::control_protocol::{ControlProtocol, Judgement, Patience};
use super::event::DownReason;
use super::frame::Protocol;
use super::profile::RawOption;
use crate::aaa::NetworkConfig;

const ADDRESS: u8 = 3;
const DNS_1: u8 = 129;
const WINS_1: u8 = 130;
const DNS_2: u8 = 131;
const WINS_2: u8 = 132;

/// The options of IPCP on both sides.
#[derive(Debug)]
pub(crate) enum Ipcp {
    /// We give the addresses.
    Server(Server),
    /// We take them.
    Client(Client),
}

/// The server's side.
#[derive(Debug)]
pub(crate) struct Server {
    network: NetworkConfig,
    /// How often the client has refused our own address.
    refusals: u8,
}

/// The client's side.
#[derive(Debug)]
pub(crate) struct Client {
    address: Ipv4Addr,
    gateway: Ipv4Addr,
    /// The name servers that are asked for, by option, in the order of Windows.
    servers: Vec<(u8, Ipv4Addr)>,
    habits: Vec<RawOption>,
    mtu: u16,
}

impl Ipcp {
    /// Starts the server's side.
    pub(crate) const fn server(network: NetworkConfig) -> Self {
        Self::Server(Server {
            network,
            refusals: 0,
        })
    }

    /// Starts the client's side; `mtu` is the largest inner packet.
    pub(crate) fn client(config: &ClientConfig, mtu: u16) -> Self {
        let wanted = [
            (DNS_1, config.want_dns),
            (WINS_1, config.request_wins),
            (DNS_2, config.want_dns),
            (WINS_2, config.request_wins),
        ];
        Self::Client(Client {
            address: Ipv4Addr::UNSPECIFIED,
            gateway: Ipv4Addr::UNSPECIFIED,
            servers: wanted
                .into_iter()
                .filter(|(_, wanted)| *wanted)
                .map(|(kind, _)| (kind, Ipv4Addr::UNSPECIFIED))
                .collect(),
            habits: config.profile.ipcp_options().to_vec(),
            mtu,
        })
    }

    /// Returns what has been agreed on; true only once IPCP is open.
    pub(crate) fn network(&self) -> NetworkConfig {
        match self {
            Self::Server(server) => server.network.clone(),
            Self::Client(client) => NetworkConfig {
                address: client.address,
                gateway: client.gateway,
                dns: client.servers_of([DNS_1, DNS_2]),
                wins: client.servers_of([WINS_1, WINS_2]),
                mtu: client.mtu,
            },
        }
    }
}

impl ControlProtocol for Ipcp {
    const PROTOCOL: Protocol = Protocol::IPCP;
    const LOOP: DownReason = DownReason::IpcpLoop;

    fn request(&self, out: &mut Vec<u8>) {
        match self {
            Self::Server(server) => append_option(out, ADDRESS, &server.network.gateway.octets()),
            Self::Client(client) => {
                append_option(out, ADDRESS, &client.address.octets());
                for (kind, value) in &client.habits {
                    append_option(out, *kind, value);
                }
                for (kind, address) in &client.servers {
                    append_option(out, *kind, &address.octets());
                }
            }
        }
    }

    fn judge(&mut self, options: Options<'_>, patience: Patience) -> Judgement {
        match self {
            Self::Server(server) => server.judge(options, patience),
            Self::Client(client) => client.judge(options, patience),
        }
    }

    fn naked(&mut self, options: Options<'_>) -> Result<(), DownReason> {
        match self {
            Self::Server(server) => {
                server.refusals = server.refusals.saturating_add(1);
                // Our address is not negotiable, but a client may need to hear it more than once.
                if server.refusals > 5 {
                    Err(DownReason::IpcpRejected)
                } else {
                    Ok(())
                }
            }
            Self::Client(client) => {
                client.naked(options);
                Ok(())
            }
        }
    }

    fn rejected(&mut self, options: Options<'_>) -> Result<(), DownReason> {
        if options.iter().any(|option| option.kind == ADDRESS) {
            return Err(DownReason::IpcpRejected);
        }
        match self {
            Self::Server(_) => {}
            Self::Client(client) => {
                for option in options.iter() {
                    client.servers.retain(|(kind, _)| *kind != option.kind);
                    client.habits.retain(|(kind, _)| *kind != option.kind);
                }
            }
        }
        Ok(())
    }
}

impl Server {
    fn judge(&self, options: Options<'_>, patience: Patience) -> Judgement {
        let mut seen = Vec::new();
        let (mut naks, mut rejects) = (Vec::new(), Vec::new());
        for option in options.iter() {
            let ours = if seen.contains(&option.kind) {
                None
            } else {
                self.value(option.kind).filter(|_| option.value.len() == 4)
            };
            if !seen.contains(&option.kind) {
                seen.push(option.kind);
            }
            match ours {
                Some(ours) if ours.octets() == option.value => {}
                Some(ours) if patience == Patience::Left => {
                    append_option(&mut naks, option.kind, &ours.octets());
                }
                Some(_) if option.kind == ADDRESS => {
                    return Judgement::Hopeless(DownReason::IpcpRejected);
                }
                Some(_) | None => append_option(&mut rejects, option.kind, option.value),
            }
        }
        if !rejects.is_empty() {
            return Judgement::Reject(rejects);
        }
        if !seen.contains(&ADDRESS) {
            if patience == Patience::Exhausted {
                return Judgement::Hopeless(DownReason::IpcpRejected);
            }
            append_option(&mut naks, ADDRESS, &self.network.address.octets());
        }
        if naks.is_empty() {
            Judgement::Ack
        } else {
            Judgement::Nak(naks)
        }
    }

    /// Returns the only value that the client may have for the option.
    fn value(&self, kind: u8) -> Option<Ipv4Addr> {
        let NetworkConfig {
            address, dns, wins, ..
        } = &self.network;
        match kind {
            ADDRESS => Some(*address),
            DNS_1 => dns.first().copied(),
            DNS_2 => dns.get(1).copied(),
            WINS_1 => wins.first().copied(),
            WINS_2 => wins.get(1).copied(),
            _ => None,
        }
    }
}

impl Client {
    fn judge(&mut self, options: Options<'_>, patience: Patience) -> Judgement {
        let mut rejects = Vec::new();
        let mut gateway = None;
        for option in options.iter() {
            match (option.kind, <[u8; 4]>::try_from(option.value)) {
                (ADDRESS, Ok(octets)) if gateway.is_none() => {
                    gateway = Some(Ipv4Addr::from(octets));
                }
                _ => append_option(&mut rejects, option.kind, option.value),
            }
        }
        if !rejects.is_empty() {
            return Judgement::Reject(rejects);
        }
        match gateway.filter(|gateway| !gateway.is_unspecified()) {
            Some(gateway) => {
                self.gateway = gateway;
                Judgement::Ack
            }
            // As pppd and MikroTik do, a server without an address is given one of ours.
            None if patience == Patience::Left => {
                let mut naks = Vec::new();
                append_option(&mut naks, ADDRESS, &[10, 112, 112, 112]);
                Judgement::Nak(naks)
            }
            None => Judgement::Hopeless(DownReason::IpcpRejected),
        }
    }

    fn naked(&mut self, options: Options<'_>) {
        for option in options.iter() {
            let Ok(octets) = <[u8; 4]>::try_from(option.value) else {
                continue;
            };
            let address = Ipv4Addr::from(octets);
            if option.kind == ADDRESS {
                self.address = address;
            }
            for (_, server) in self
                .servers
                .iter_mut()
                .filter(|(kind, _)| *kind == option.kind)
            {
                *server = address;
            }
        }
    }

    fn servers_of(&self, kinds: [u8; 2]) -> Vec<Ipv4Addr> {
        let of = |wanted| self.servers.iter().find(move |(kind, _)| *kind == wanted);
        kinds
            .into_iter()
            .filter_map(of)
            .map(|(_, address)| *address)
            .filter(|address| !address.is_unspecified())
            .collect()
    }
}
