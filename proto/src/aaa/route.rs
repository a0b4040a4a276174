//! `Framed-Route` (RFC 2865 §5.22): a network behind the client.
//!
//! ```text
//! route = prefix [ "/" length ] [ SP gateway [ SP metric *( SP number ) ] ]
//! ```
//!
//! Without a length the prefix has that of its class, as the RFC says. Octets behind the prefix are not looked at. The
//! gateway 0.0.0.0 is the client; numbers behind the first metric are for routing protocols that nobody speaks here.

use core::net::Ipv4Addr;
use core::str::FromStr;

use thiserror::Error;

/// A network that is to be reached through a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FramedRoute {
    base: u32,
    prefix: u8,
    gateway: Option<Ipv4Addr>,
    metric: u32,
}

/// Why a text is no route.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum RouteError {
    /// The network.
    #[error("the network is not an IPv4 address, alone or with a prefix length of 0 to 32")]
    Network,
    /// The gateway.
    #[error("the gateway is not an IPv4 address")]
    Gateway,
    /// A metric.
    #[error("the metric is not a number")]
    Metric,
}

impl FramedRoute {
    /// Returns the first address of the network.
    #[must_use]
    pub const fn network(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base)
    }

    /// Returns the prefix length.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Returns the next hop; `None` is the client itself.
    #[must_use]
    pub const fn gateway(&self) -> Option<Ipv4Addr> {
        self.gateway
    }

    /// Returns the metric; 0 when none was said.
    #[must_use]
    pub const fn metric(&self) -> u32 {
        self.metric
    }
}

impl FromStr for FramedRoute {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let mut words = text.split_ascii_whitespace();
        let network = words.next().ok_or(RouteError::Network)?;
        let (address, length) = match network.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (network, None),
        };
        let address: Ipv4Addr = address.parse().map_err(|_| RouteError::Network)?;
        let prefix = match length {
            Some(length) => length
                .parse()
                .ok()
                .filter(|prefix| *prefix <= 32)
                .ok_or(RouteError::Network)?,
            None => class(address),
        };
        let gateway: Ipv4Addr = match words.next() {
            Some(word) => word.parse().map_err(|_| RouteError::Gateway)?,
            None => Ipv4Addr::UNSPECIFIED,
        };
        let mut metric = None;
        for word in words {
            // The RFC's own example has a negative one.
            let number: i64 = word.parse().map_err(|_| RouteError::Metric)?;
            metric = metric.or(Some(number));
        }
        let mask = u32::MAX
            .checked_shl(32_u32.saturating_sub(prefix.into()))
            .unwrap_or(0);
        Ok(Self {
            base: address.to_bits() & mask,
            prefix,
            gateway: (!gateway.is_unspecified()).then_some(gateway),
            metric: u32::try_from(metric.unwrap_or(0).max(0)).unwrap_or(u32::MAX),
        })
    }
}

/// The prefix length of an address by its class; 0.0.0.0 is the default route.
const fn class(address: Ipv4Addr) -> u8 {
    match address.octets() {
        [0, 0, 0, 0] => 0,
        [0..=127, ..] => 8,
        [128..=191, ..] => 16,
        [192..=223, ..] => 24,
        [224..=255, ..] => 32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_servers_write() {
        for (text, network, prefix, gateway, metric) in [
            (
                "192.168.1.0/24 192.168.1.1 1 2 -1 3 400",
                [192, 168, 1, 0],
                24,
                Some([192, 168, 1, 1]),
                1,
            ),
            ("192.168.7.0/24", [192, 168, 7, 0], 24, None, 0),
            ("192.168.7.9/24 0.0.0.0 -1", [192, 168, 7, 0], 24, None, 0),
            (
                "  10.1.0.0  10.9.0.7\t5 6 7 ",
                [10, 0, 0, 0],
                8,
                Some([10, 9, 0, 7]),
                5,
            ),
            ("172.16.5.0 0.0.0.0", [172, 16, 0, 0], 16, None, 0),
            ("192.0.2.0 0.0.0.0", [192, 0, 2, 0], 24, None, 0),
            ("192.0.2.77/32", [192, 0, 2, 77], 32, None, 0),
            ("0.0.0.0", [0, 0, 0, 0], 0, None, 0),
            ("10.0.0.0/0 0.0.0.0 1", [0, 0, 0, 0], 0, None, 1),
            (
                "10.0.0.0/8 0.0.0.0 4294967296",
                [10, 0, 0, 0],
                8,
                None,
                u32::MAX,
            ),
        ] {
            let route: FramedRoute = text.parse().unwrap();
            assert_eq!(route.network().octets(), network, "{text}");
            assert_eq!(route.prefix(), prefix, "{text}");
            let hop = route.gateway().map(|hop| hop.octets());
            assert_eq!((hop, route.metric()), (gateway, metric), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_route() {
        for (text, error) in [
            ("", RouteError::Network),
            ("   ", RouteError::Network),
            ("default", RouteError::Network),
            ("10.0.0.0/33", RouteError::Network),
            ("10.0.0.0/", RouteError::Network),
            ("10.0.0.0/-1", RouteError::Network),
            ("10.0.0/8", RouteError::Network),
            ("fd00::/8", RouteError::Network),
            ("10.0.0.0/8 gw", RouteError::Gateway),
            ("10.0.0.0/8 0.0.0.0 x", RouteError::Metric),
        ] {
            assert_eq!(text.parse::<FramedRoute>(), Err(error), "{text:?}");
        }
    }
}
