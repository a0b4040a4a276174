//! UDP sockets for tunnels: a group of them for each address, so that every thread of the packet path has its own.
//!
//! A group has one socket for each shard and one more for everything that is no data: a program in the kernel
//! (`steering`) chooses by the first octets of the datagram, so a flood of handshakes fills the queue of the last
//! socket and no other. All of them take trains (`UDP_GRO`), the last one too: the kernel looks a flow's socket up
//! without its octets when it decides whether to gather, so one socket that refused would end trains for every flow
//! that hashes to it. A train is steered by its first datagram; what hides behind it is the reader's to sort out.
//!
//! Datagrams are never fragmented, neither here nor on the way (`IP_PMTUDISC_PROBE`): the tunnel's MTU is what has to
//! fit, and a forged ICMP message cannot make the kernel believe in a smaller path. The bits of ECN are left alone.
//!
//! Sending and receiving are `sendmsg` and `recvmmsg` as they are: a batch must survive the kernel's refusal of
//! segmentation, both offloads have a switch, and the sockets are ours to open.
#![expect(unsafe_code, reason = "nix has no IP_MTU_DISCOVER")]

mod receive;
mod send;
mod steering;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Type};

pub use receive::{Arrival, Arrivals, Ring};
pub use send::{MAX_OCTETS, MAX_SEGMENTS, Sent};

use crate::os::tcp::ListenError;

/// Which offloads are used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Offloads {
    /// Datagrams of one flow are received in trains.
    pub gro: bool,
    /// Datagrams to one client are sent in trains.
    pub gso: bool,
}

impl Default for Offloads {
    fn default() -> Self {
        Self {
            gro: true,
            gso: true,
        }
    }
}

/// The two ends of a datagram's way.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Path {
    /// The client's end.
    pub remote: SocketAddr,
    /// The address that the client reached, from which it expects the answer; `None` lets the kernel choose.
    pub local: Option<IpAddr>,
}

impl Path {
    /// Makes a path from the address that the kernel chooses.
    #[must_use]
    pub const fn to(remote: SocketAddr) -> Self {
        Self {
            remote,
            local: None,
        }
    }
}

/// The sockets of one address.
#[derive(Debug)]
pub struct Group {
    /// The address, with the port that the kernel chose if none was given.
    pub address: SocketAddr,
    /// One for each shard: datagrams of data, by the shard in their receiver index.
    pub data: Vec<Socket>,
    /// Everything else; in a train that a handshake message leads there may be data behind it, which is lost.
    pub control: Socket,
}

/// One socket of a group; it never blocks.
#[derive(Debug)]
pub struct Socket {
    inner: UdpSocket,
    gro: bool,
    gso: AtomicBool,
}

/// What a socket holds of what nobody has read yet, and of what the device has not sent; a burst of a fast client fits.
const DATA_BUFFER: usize = 8 << 20;

/// The same for handshakes: some thousands of them.
const CONTROL_BUFFER: usize = 1 << 20;

/// Opens the sockets of `address` for `shards` threads.
///
/// # Errors
///
/// When the address is taken, not ours, not permitted, or the kernel cannot steer.
pub fn listen(address: SocketAddr, shards: u8, offloads: Offloads) -> Result<Group, ListenError> {
    group(address, shards.max(1), offloads).map_err(|source| match source.raw_os_error() {
        Some(libc::EADDRINUSE) => ListenError::InUse(address),
        Some(libc::EACCES | libc::EPERM) => ListenError::NotPermitted(address),
        Some(libc::EADDRNOTAVAIL) => ListenError::NoSuchAddress(address),
        _ => ListenError::Other { address, source },
    })
}

fn group(mut address: SocketAddr, shards: u8, offloads: Offloads) -> io::Result<Group> {
    if address.port() != 0 {
        // Somebody else's group would let us in, and steering would be his; alone, this is refused.
        drop(bind(address, Sharing::Alone)?);
    }
    let mut data = Vec::with_capacity(usize::from(shards));
    for number in 0..shards {
        let socket = Socket::new(bind(address, Sharing::Group)?, offloads, DATA_BUFFER)?;
        if number == 0 {
            address = socket.inner.local_addr()?;
            steering::attach(&socket, shards)?;
        }
        data.push(socket);
    }
    let control = Socket::new(bind(address, Sharing::Group)?, offloads, CONTROL_BUFFER)?;
    Ok(Group {
        address,
        data,
        control,
    })
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Sharing {
    Alone,
    Group,
}

fn bind(address: SocketAddr, sharing: Sharing) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::DGRAM.cloexec().nonblocking(),
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if sharing == Sharing::Group {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

impl Socket {
    /// Takes a socket that nobody shares, for an end that has one socket alone.
    ///
    /// # Errors
    ///
    /// When the kernel refuses an option.
    pub fn single(socket: UdpSocket, offloads: Offloads) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Self::new(socket, offloads, DATA_BUFFER)
    }

    fn new(socket: UdpSocket, offloads: Offloads, buffer: usize) -> io::Result<Self> {
        // As much as the kernel allows: beyond net.core.rmem_max only with CAP_NET_ADMIN.
        if setsockopt(&socket, sockopt::RcvBufForce, &buffer).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &buffer)?;
        }
        if setsockopt(&socket, sockopt::SndBufForce, &buffer).is_err() {
            setsockopt(&socket, sockopt::SndBuf, &buffer)?;
        }
        if socket.local_addr()?.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
            let probe = libc::IP_PMTUDISC_PROBE;
            set_number(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, probe)?;
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            let probe = libc::IPV6_PMTUDISC_PROBE;
            set_number(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, probe)?;
        }
        // Before Linux 5.0 and 4.18 there are no trains: what is refused here is done without.
        let gro = offloads.gro && setsockopt(&socket, sockopt::UdpGroSegment, &true).is_ok();
        let gso = offloads.gso && setsockopt(&socket, sockopt::UdpGsoSegment, &0).is_ok();
        Ok(Self {
            inner: socket,
            gro,
            gso: AtomicBool::new(gso),
        })
    }

    /// Returns the address that the socket is bound to.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// Makes something by which a runtime sees when the socket can be read; in that runtime.
    ///
    /// # Errors
    ///
    /// When there is no descriptor left, or the runtime cannot watch.
    pub fn watched(&self) -> io::Result<tokio::net::UdpSocket> {
        tokio::net::UdpSocket::from_std(self.inner.try_clone()?)
    }

    /// Returns whether datagrams arrive in trains.
    #[must_use]
    pub const fn receives_trains(&self) -> bool {
        self.gro
    }

    /// Returns whether datagrams are sent in trains; not any more once the kernel has refused one.
    #[must_use]
    pub fn sends_trains(&self) -> bool {
        self.gso.load(Ordering::Relaxed)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

fn set_number(fd: &impl AsRawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or(4);
    // SAFETY: the descriptor is open, and `value` is a live i32 of the length given.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast::<libc::c_void>(),
            len,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes the kernel refuse trains of `socket`: without checksums it segments nothing.
#[cfg(test)]
pub(crate) fn refuse_trains(socket: &Socket) {
    set_number(socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
}

#[cfg(test)]
mod tests;
