//! One line of a filter, as an operator writes it: `10.0.0.0/8`, `tcp/443 10.1.0.5/32`, `udp/1024-2047 any`, `icmp any`.
//!
//! ```text
//! rule     = [ protocol SP ] network
//! protocol = "icmp" / ( "tcp" / "udp" ) [ "/" port [ "-" port ] ]
//! network  = "any" / address [ "/" prefix-length ]
//! ```
//!
//! Without a protocol the rule speaks of every protocol. What looks like a typing error is not accepted: a network with
//! bits behind its prefix, port 0, a range that runs backwards, ICMP with a port.

use core::fmt;
use core::net::Ipv4Addr;
use core::str::FromStr;

use thiserror::Error;

/// Some packets, by the network at the far end, the protocol and the port there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rule {
    pub(super) network: Network,
    pub(super) transport: Transport,
}

/// A network; the bits behind the prefix are zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Network {
    base: u32,
    mask: u32,
}

/// What the packets carry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Transport {
    Any,
    Icmp,
    Tcp(Ports),
    Udp(Ports),
}

/// Ports, first to last, both included and none of them 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ports {
    Any,
    Range(u16, u16),
}

/// Why a text is no rule.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum RuleError {
    /// Neither one word nor two.
    #[error("neither a network nor a protocol and a network")]
    Shape,
    /// No protocol of this name can be told apart.
    #[error("unknown protocol {0:?}")]
    Protocol(String),
    /// The protocol has no ports.
    #[error("{0} has no ports")]
    NoPorts(&'static str),
    /// No port, or 0, or more than 65535.
    #[error("{0:?} is no port from 1 to 65535")]
    Port(String),
    /// The last port comes before the first.
    #[error("the range of ports {first}-{last} runs backwards")]
    Backwards {
        /// The first.
        first: u16,
        /// The last.
        last: u16,
    },
    /// No IPv4 network.
    #[error("{0:?} is no IPv4 network")]
    Network(String),
    /// The address has bits behind the prefix: a host is meant, or a shorter prefix.
    #[error("{address}/{length} has bits behind the prefix; the network is {network}/{length}")]
    HostBits {
        /// The address.
        address: Ipv4Addr,
        /// The length of the prefix.
        length: u8,
        /// The address that the network has.
        network: Ipv4Addr,
    },
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let mut words = text.split_ascii_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(network), None, None) => Ok(Self {
                network: network.parse()?,
                transport: Transport::Any,
            }),
            (Some(transport), Some(network), None) => Ok(Self {
                transport: transport.parse()?,
                network: network.parse()?,
            }),
            (None, _, _) | (_, _, Some(_)) => Err(RuleError::Shape),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = |f: &mut fmt::Formatter<'_>, name: &str, ports: Ports| match ports {
            Ports::Any => write!(f, "{name} "),
            Ports::Range(first, last) if first == last => write!(f, "{name}/{first} "),
            Ports::Range(first, last) => write!(f, "{name}/{first}-{last} "),
        };
        match self.transport {
            Transport::Any => {}
            Transport::Icmp => f.write_str("icmp ")?,
            Transport::Tcp(range) => ports(f, "tcp", range)?,
            Transport::Udp(range) => ports(f, "udp", range)?,
        }
        if self.network.mask == 0 {
            return f.write_str("any");
        }
        let length = self.network.mask.leading_ones();
        write!(f, "{}/{length}", Ipv4Addr::from_bits(self.network.base))
    }
}

impl Network {
    #[inline]
    pub(super) const fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask == self.base
    }
}

impl FromStr for Network {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        const BITS: u8 = 32;
        if text == "any" {
            return Ok(Self { base: 0, mask: 0 });
        }
        let wrong = || RuleError::Network(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, decimal(length).ok_or_else(wrong)?),
            None => (text, u16::from(BITS)),
        };
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let length = u8::try_from(length).ok().filter(|length| *length <= BITS);
        let length = length.ok_or_else(wrong)?;
        let mask = u32::MAX
            .checked_shl(u32::from(BITS - length))
            .unwrap_or_default();
        let base = address.to_bits() & mask;
        if base != address.to_bits() {
            return Err(RuleError::HostBits {
                address,
                length,
                network: Ipv4Addr::from_bits(base),
            });
        }
        Ok(Self { base, mask })
    }
}

impl FromStr for Transport {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (name, ports) = match text.split_once('/') {
            Some((name, ports)) => (name, Some(ports)),
            None => (text, None),
        };
        match (name, ports) {
            ("tcp", None) => Ok(Self::Tcp(Ports::Any)),
            ("udp", None) => Ok(Self::Udp(Ports::Any)),
            ("tcp", Some(ports)) => Ok(Self::Tcp(ports.parse()?)),
            ("udp", Some(ports)) => Ok(Self::Udp(ports.parse()?)),
            ("icmp", None) => Ok(Self::Icmp),
            ("icmp", Some(_)) => Err(RuleError::NoPorts("icmp")),
            (name, _) => Err(RuleError::Protocol(name.to_owned())),
        }
    }
}

impl Ports {
    #[inline]
    pub(super) const fn contains(self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Range(first, last) => first <= port && port <= last,
        }
    }
}

impl FromStr for Ports {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let port = |text: &str| {
            decimal(text)
                .filter(|port| *port != 0)
                .ok_or_else(|| RuleError::Port(text.to_owned()))
        };
        let Some((first, last)) = text.split_once('-') else {
            let only = port(text)?;
            return Ok(Self::Range(only, only));
        };
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(RuleError::Backwards { first, last });
        }
        Ok(Self::Range(first, last))
    }
}

/// Digits alone: the standard library would take a plus sign as well.
fn decimal(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_operators_write() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.0.5", "10.1.0.5/32"),
            ("any", "any"),
            ("0.0.0.0/0", "any"),
            ("tcp any", "tcp any"),
            ("tcp/443 10.1.0.5/32", "tcp/443 10.1.0.5/32"),
            (" udp/1-65535\t 10.0.0.0/8 ", "udp/1-65535 10.0.0.0/8"),
            ("udp/53-53 10.0.0.10", "udp/53 10.0.0.10/32"),
            ("icmp any", "icmp any"),
        ] {
            let rule: Rule = text.parse().unwrap();
            assert_eq!(rule.to_string(), shown);
            assert_eq!(shown.parse(), Ok(rule));
        }
    }

    #[test]
    fn tells_typing_errors_apart() {
        let port = |text: &str| RuleError::Port(text.to_owned());
        let network = |text: &str| RuleError::Network(text.to_owned());
        let protocol = |text: &str| RuleError::Protocol(text.to_owned());
        for (text, expected) in [
            ("", RuleError::Shape),
            ("  ", RuleError::Shape),
            ("tcp 443 10.0.0.0/8", RuleError::Shape),
            ("sctp 10.0.0.0/8", protocol("sctp")),
            ("TCP 10.0.0.0/8", protocol("TCP")),
            ("443/tcp any", protocol("443")),
            ("icmp/8 any", RuleError::NoPorts("icmp")),
            ("tcp/0 any", port("0")),
            ("tcp/65536 any", port("65536")),
            ("tcp/ any", port("")),
            ("tcp/+80 any", port("+80")),
            ("tcp/80- any", port("")),
            ("tcp/80-90-100 any", port("90-100")),
            ("tcp/http any", port("http")),
            (
                "udp/90-80 any",
                RuleError::Backwards {
                    first: 90,
                    last: 80,
                },
            ),
            ("tcp", network("tcp")),
            ("10.0.0.0/33", network("10.0.0.0/33")),
            ("10.0.0.0/", network("10.0.0.0/")),
            ("10.0.0.0/+8", network("10.0.0.0/+8")),
            ("10.0.0/8", network("10.0.0/8")),
            ("fd00::/8", network("fd00::/8")),
            ("tcp example.com", network("example.com")),
            (
                "10.0.0.5/8",
                RuleError::HostBits {
                    address: Ipv4Addr::new(10, 0, 0, 5),
                    length: 8,
                    network: Ipv4Addr::new(10, 0, 0, 0),
                },
            ),
        ] {
            assert_eq!(text.parse::<Rule>(), Err(expected), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_survives_its_text(text in "[a-z]{0,4}[/ ]?[0-9]{0,6}[- ]?[0-9. /]{0,20}") {
            if let Ok(rule) = text.parse::<Rule>() {
                prop_assert_eq!(rule.to_string().parse(), Ok(rule));
            }
        }
    }
}
