//! Receiving: one call for a batch, into buffers that last.
#![expect(
    unsafe_code,
    reason = "recvmmsg takes pointers, and control messages are read in place"
)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use socket2::{SockAddr, SockAddrStorage};

use super::{Path, Socket};

/// The most datagrams or trains that one call brings.
const MOST: usize = 64;

/// The length of a place for a train, which may have 64 KiB, and of one for a single datagram, when no trains come.
///
/// Not a power of two: places at such a distance would share the same few lines of the processor's cache.
const TRAIN: usize = 65_536 + 1_664;
const SINGLE: usize = 8_192 + 1_664;

/// A call asks for as many trains as fit into the cache, and for many datagrams when they come one by one.
const FEW: usize = 8;
/// More octets than this in one call are enough.
const ENOUGH: usize = 512 * 1_024;

/// Enough for the packet information of IPv6 and the length of a train's datagrams.
const CONTROL: usize = 128;

/// Buffers of one thread for what it receives.
pub struct Ring {
    octets: Box<[u8]>,
    /// The length of one place in `octets`.
    size: usize,
    heads: Box<[Head]>,
    filled: usize,
    /// How many the next call asks for.
    asked: usize,
}

/// What the kernel says of one datagram or train.
struct Head {
    name: SockAddrStorage,
    control: Control,
    len: usize,
    stride: usize,
    path: Option<Path>,
}

/// Room for control messages, aligned as their headers are.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// A datagram, or a train of them from one sender.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// Where it came from and what it was sent to.
    pub path: Path,
    /// The length of each datagram but the last, which may be shorter.
    pub stride: usize,
    /// The datagrams, one behind the other.
    pub octets: &'a mut [u8],
}

impl<'a> Arrival<'a> {
    /// Takes the datagrams apart.
    pub fn datagrams(self) -> impl Iterator<Item = &'a mut [u8]> {
        self.octets.chunks_mut(self.stride.max(1))
    }
}

impl Ring {
    /// Makes the buffers that fit what `socket` receives: half a megabyte, and for trains up to four, of which those
    /// are touched that trains have filled.
    #[must_use]
    pub fn for_socket(socket: &Socket) -> Self {
        Self::new(socket.receives_trains())
    }

    /// Makes buffers for trains, or for single datagrams.
    #[must_use]
    pub fn new(trains: bool) -> Self {
        let size = if trains { TRAIN } else { SINGLE };
        let head = || Head {
            name: SockAddrStorage::zeroed(),
            control: Control([0; CONTROL]),
            len: 0,
            stride: 0,
            path: None,
        };
        Self {
            octets: vec![0; MOST * size].into_boxed_slice(),
            size,
            heads: (0..MOST).map(|_| head()).collect(),
            filled: 0,
            asked: if trains { FEW } else { MOST },
        }
    }

    /// Receives what waits, as far as there are places; `WouldBlock` when nothing does.
    ///
    /// # Errors
    ///
    /// When nothing waits, or the socket is broken.
    pub fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        self.filled = 0;
        let nothing = libc::mmsghdr {
            msg_hdr: libc::msghdr {
                msg_name: std::ptr::null_mut(),
                msg_namelen: 0,
                msg_iov: std::ptr::null_mut(),
                msg_iovlen: 0,
                msg_control: std::ptr::null_mut(),
                msg_controllen: 0,
                msg_flags: 0,
            },
            msg_len: 0,
        };
        let nowhere = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        let mut messages = [nothing; MOST];
        let mut places = [nowhere; MOST];
        let count = self.asked.min(self.heads.len());
        let buffers = self.octets.chunks_exact_mut(self.size);
        for (((message, place), head), buffer) in messages
            .iter_mut()
            .zip(&mut places)
            .zip(&mut self.heads)
            .zip(buffers)
        {
            place.iov_base = buffer.as_mut_ptr().cast();
            place.iov_len = buffer.len();
            let header = &mut message.msg_hdr;
            header.msg_name = (&raw mut head.name).cast();
            header.msg_namelen = head.name.size_of();
            header.msg_iov = place;
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut head.control).cast();
            header.msg_controllen = CONTROL;
        }
        // SAFETY: the descriptor is open; each of the first `count` messages points to a name, one iovec with its
        // buffer, and room for control messages, all of the lengths given, disjoint, and alive behind the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                u32::try_from(count).unwrap_or(0),
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let Ok(received) = usize::try_from(received) else {
            return Err(io::Error::last_os_error());
        };
        for (message, head) in messages.iter().zip(&mut self.heads).take(received) {
            head.read(message);
        }
        self.filled = received;
        self.adapt();
        Ok(received)
    }

    /// Asks for more next time when all places were used by little, and for less when much has come.
    fn adapt(&mut self) {
        let heads = self.heads.iter().take(self.filled);
        let octets: usize = heads.map(|head| head.len).sum();
        if octets > ENOUGH {
            self.asked = FEW;
        } else if self.filled == self.asked && octets < ENOUGH / 2 {
            self.asked = (self.asked * 2).min(MOST);
        }
    }

    /// Returns what the last call brought.
    pub fn arrivals(&mut self) -> Arrivals<'_> {
        Arrivals {
            octets: self.octets.chunks_exact_mut(self.size),
            heads: self.heads.iter().take(self.filled),
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}

/// What one call brought; see [`Ring::arrivals`].
#[derive(Debug)]
pub struct Arrivals<'a> {
    octets: std::slice::ChunksExactMut<'a, u8>,
    heads: std::iter::Take<std::slice::Iter<'a, Head>>,
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Head")
            .field("len", &self.len)
            .field("stride", &self.stride)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl<'a> Iterator for Arrivals<'a> {
    type Item = Arrival<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let head = self.heads.next()?;
            let octets = self.octets.next()?;
            // What was cut off, or came from nowhere, is nothing.
            let Some(path) = head.path else {
                continue;
            };
            return Some(Arrival {
                path,
                stride: head.stride,
                octets: octets.get_mut(..head.len)?,
            });
        }
    }
}

impl Head {
    /// Reads what the kernel has left in `message`, whose pointers are to this head.
    fn read(&mut self, message: &libc::mmsghdr) {
        self.len = usize::try_from(message.msg_len).unwrap_or(0);
        self.stride = self.len;
        self.path = None;
        let header = &message.msg_hdr;
        if header.msg_flags & libc::MSG_TRUNC != 0 {
            return;
        }
        let name = std::mem::replace(&mut self.name, SockAddrStorage::zeroed());
        // SAFETY: the kernel has written an address of this length, within the room that it was given.
        let name = unsafe { SockAddr::new(name, header.msg_namelen) };
        let Some(remote) = name.as_socket() else {
            return;
        };
        let mut local = None;
        // SAFETY: `header` still points to the control messages that the kernel wrote, and has their length.
        let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
        while !next.is_null() {
            // SAFETY: both macros' pointers are null or point to a whole header within the control messages.
            let (level, kind) = unsafe { ((*next).cmsg_level, (*next).cmsg_type) };
            match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = content(next);
                    let octets = info.ipi_spec_dst.s_addr.to_ne_bytes();
                    local = Some(IpAddr::V4(Ipv4Addr::from(octets)));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = content(next);
                    local = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let stride: libc::c_int = content(next);
                    self.stride = usize::try_from(stride).unwrap_or(self.len).max(1);
                }
                _ => {}
            }
            // SAFETY: `next` is a header of `header`'s control messages.
            next = unsafe { libc::CMSG_NXTHDR(header, next) };
        }
        self.path = Some(Path { remote, local });
    }
}

/// The numbers that the kernel puts into control messages.
trait Plain: Copy {}

impl Plain for libc::in_pktinfo {}
impl Plain for libc::in6_pktinfo {}
impl Plain for libc::c_int {}

fn content<T: Plain>(header: *const libc::cmsghdr) -> T {
    // SAFETY: the kernel writes a whole `T` behind a header of this level and type; every octet pattern is a `T`, and
    // the read asks for no alignment.
    unsafe { libc::CMSG_DATA(header).cast::<T>().read_unaligned() }
}
