//! Sending: one call for a train, and one by one when the kernel does not take trains.
#![expect(
    unsafe_code,
    reason = "sendmsg takes pointers, and control messages are written in place"
)]

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;

use socket2::SockAddr;

use super::{Path, Socket};

/// The most datagrams in a train.
pub const MAX_SEGMENTS: usize = 64;

/// The most octets in a train.
///
/// One datagram of IPv4 holds 65,507, but a train that has 65,536 with its headers, those of the link too, is longer than
/// a device says it can cut (`gso_max_size`), and the kernel cuts it for it: measured on a veth pair, that doubles the
/// sender's work. The longest headers are UDP, IPv6, a VLAN tag and Ethernet, 66 octets.
pub const MAX_OCTETS: usize = 65_400;

/// What became of a train.
#[derive(Debug, Default)]
pub struct Sent {
    /// Datagrams that the kernel has taken, from the front.
    pub taken: usize,
    /// Whether the kernel refused the train and takes its datagrams one by one: no train will be tried again.
    pub refused: bool,
    /// Why the others were not.
    pub error: Option<io::Error>,
}

/// Room for the source address and the length of the datagrams, aligned as their headers are.
#[repr(C, align(8))]
struct Control([u8; 64]);

impl Socket {
    /// Sends `octets` along `path`: datagrams of `stride` octets each, the last one may be shorter.
    ///
    /// At most [`MAX_SEGMENTS`] and [`MAX_OCTETS`]. Whatever refuses a train is asked for its datagrams one by one.
    #[must_use]
    pub fn send(&self, path: &Path, octets: &[u8], stride: usize) -> Sent {
        let mut sent = Sent::default();
        if octets.len() > stride && self.sends_trains() {
            match self.send_once(path, octets, u16::try_from(stride).ok()) {
                Ok(()) => {
                    sent.taken = octets.len().div_ceil(stride.max(1));
                    return sent;
                }
                // No checksum offload, or a kernel that takes less at a time; or something that single datagrams do
                // not like either.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL)) => {
                    sent.refused = true;
                }
                Err(error) => {
                    sent.error = Some(error);
                    return sent;
                }
            }
        }
        for datagram in octets.chunks(stride.max(1)) {
            if let Err(error) = self.send_once(path, datagram, None) {
                sent.error = Some(error);
                break;
            }
            sent.taken += 1;
        }
        sent.refused &= sent.taken > 0;
        if sent.refused {
            self.gso.store(false, Ordering::Relaxed);
        }
        sent
    }

    fn send_once(&self, path: &Path, octets: &[u8], stride: Option<u16>) -> io::Result<()> {
        let name = SockAddr::from(path.remote);
        let mut place = libc::iovec {
            iov_base: octets.as_ptr().cast_mut().cast(),
            iov_len: octets.len(),
        };
        let mut control = Control([0; 64]);
        let mut header = libc::msghdr {
            msg_name: name.as_ptr().cast_mut().cast(),
            msg_namelen: name.len(),
            msg_iov: &raw mut place,
            msg_iovlen: 1,
            msg_control: std::ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        };
        let used = control.write(path.local, stride);
        if used > 0 {
            header.msg_control = (&raw mut control).cast();
            header.msg_controllen = used;
        }
        loop {
            // SAFETY: the descriptor is open; name, iovec and control messages are alive and of the lengths given,
            // and the kernel only reads them.
            let sent =
                unsafe { libc::sendmsg(self.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
            if sent >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

impl Control {
    /// Writes the messages; returns their length.
    fn write(&mut self, local: Option<IpAddr>, stride: Option<u16>) -> usize {
        let mut at = 0;
        match local {
            Some(IpAddr::V4(address)) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr {
                        s_addr: u32::from_ne_bytes(address.octets()),
                    },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                at = self.push(at, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            Some(IpAddr::V6(address)) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: address.octets(),
                    },
                    ipi6_ifindex: 0,
                };
                at = self.push(at, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
            None => {}
        }
        if let Some(stride) = stride {
            at = self.push(at, libc::SOL_UDP, libc::UDP_SEGMENT, stride);
        }
        at
    }

    /// Writes one message at `at`; returns where the next one begins.
    #[expect(
        clippy::cast_ptr_alignment,
        reason = "the room is aligned, and nothing here relies on it"
    )]
    fn push<T: Copy>(&mut self, at: usize, level: i32, kind: i32, content: T) -> usize {
        let len = u32::try_from(size_of::<T>()).unwrap_or(0);
        // SAFETY: both are arithmetic on the length.
        let (space, whole) = unsafe { (libc::CMSG_SPACE(len), libc::CMSG_LEN(len)) };
        let (Ok(space), Ok(whole)) = (usize::try_from(space), usize::try_from(whole)) else {
            return at;
        };
        let Some(room) = self.0.get_mut(at..at + space) else {
            return at;
        };
        let header = room.as_mut_ptr().cast::<libc::cmsghdr>();
        // SAFETY: `room` has place for the header and a `T` behind it, and neither write asks for alignment.
        unsafe {
            header.write_unaligned(libc::cmsghdr {
                cmsg_len: whole,
                cmsg_level: level,
                cmsg_type: kind,
            });
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(content);
        }
        at + space
    }
}
