//! Listening sockets, and what an error of `accept` means.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

/// Connections that the kernel holds ready; a burst of clients after a restart fits.
const BACKLOG: i32 = 4096;

/// Why nothing listens.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Another process has the port.
    #[error("another process listens on {0}")]
    InUse(SocketAddr),
    /// The port is below 1024 and this process may not.
    #[error("this process may not listen on {0}: CAP_NET_BIND_SERVICE is missing")]
    NotPermitted(SocketAddr),
    /// The address is of no interface.
    #[error("no interface has the address of {0}")]
    NoSuchAddress(SocketAddr),
    /// Anything else.
    #[error("listening on {address}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl ListenError {
    /// Returns whether the machine has no such address because it has no IPv6.
    #[must_use]
    pub fn is_no_ipv6(&self) -> bool {
        match self {
            Self::NoSuchAddress(address) => address.is_ipv6(),
            Self::Other { source, .. } => source.raw_os_error() == Some(libc::EAFNOSUPPORT),
            Self::InUse(_) | Self::NotPermitted(_) => false,
        }
    }

    /// Returns the number under which `causeway explain` knows the error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InUse(_) => "E0806",
            Self::NotPermitted(_) => "E0102",
            Self::NoSuchAddress(_) | Self::Other { .. } => "E0807",
        }
    }
}

/// Listens on an address, without blocking; an IPv6 socket takes no IPv4 connections, so that both can be had apart.
///
/// # Errors
///
/// When the address is taken, not ours, or not permitted.
pub fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    bind(address).map_err(|source| match source.raw_os_error() {
        Some(libc::EADDRINUSE) => ListenError::InUse(address),
        Some(libc::EACCES | libc::EPERM) => ListenError::NotPermitted(address),
        Some(libc::EADDRNOTAVAIL) => ListenError::NoSuchAddress(address),
        _ => ListenError::Other { address, source },
    })
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.cloexec().nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What to do about an error of `accept` (accept(2), "Error handling").
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AcceptError {
    /// That connection is dead; the next one may be fine.
    NextConnection,
    /// Descriptors or memory are short: wait before the next one, or the loop spins.
    WaitAWhile,
    /// The listener itself is broken.
    Broken,
}

impl AcceptError {
    /// Judges an error.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Self::WaitAWhile,
            Some(libc::EBADF | libc::EFAULT | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP) => {
                Self::Broken
            }
            _ => Self::NextConnection,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_share_a_port() {
        let v4 = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = v4.local_addr().unwrap().port();
        assert!(matches!(
            listen(([127, 0, 0, 1], port).into()),
            Err(ListenError::InUse(_))
        ));
        match listen(SocketAddr::new("::1".parse().unwrap(), port)) {
            Ok(_) | Err(ListenError::NoSuchAddress(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn an_address_that_is_not_ours_is_named() {
        let error = listen("192.0.2.1:1".parse().unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no interface has the address of 192.0.2.1:1"
        );
    }

    #[test]
    fn a_shortage_is_told_from_a_dead_connection() {
        let of = |code| AcceptError::of(&io::Error::from_raw_os_error(code));
        assert_eq!(of(libc::EMFILE), AcceptError::WaitAWhile);
        assert_eq!(of(libc::ECONNABORTED), AcceptError::NextConnection);
        assert_eq!(of(libc::EPROTO), AcceptError::NextConnection);
        assert_eq!(of(libc::EINVAL), AcceptError::Broken);
    }
}
