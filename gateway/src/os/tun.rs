//! The TUN device: made by the `tun` crate, read and written here.
//!
//! With offload every packet has a [`vnet`] header in front, and one read or write carries a train of up to 64 KiB
//! that the kernel's stack handles as one packet. What the kernel takes is probed at the start: segmentation of TCP
//! and UDP (Linux 6.2), of TCP alone, or nothing.
#![expect(unsafe_code, reason = "the `tun` crate has no TUNSETOFFLOAD")]

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
use nix::sys::uio::writev;
use nix::unistd::{read, write};
use thiserror::Error;
use tun::AbstractDevice;

use crate::os::vnet;

/// How the device is made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TunConfig {
    /// The name of the interface.
    pub name: String,
    /// The largest packet.
    pub mtu: u16,
    /// Whether trains of packets are exchanged.
    pub offload: Offload,
}

/// Whether trains of packets are exchanged with the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Offload {
    /// As much as the kernel takes.
    Auto,
    /// One packet at a time, for hosts whose segmentation engine is broken.
    Off,
}

/// Why there is no device.
#[derive(Debug, Error)]
pub enum TunError {
    /// The kernel or the `tun` crate refused.
    #[error("the interface {name} cannot be made")]
    Create {
        /// The name asked for.
        name: String,
        /// The reason.
        #[source]
        source: tun::Error,
    },
    /// The descriptor could not be set up.
    #[error("the descriptor of {name} cannot be set up")]
    Setup {
        /// The name of the interface.
        name: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

/// What the device segments and coalesces.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trains {
    /// TCP and UDP.
    TcpAndUdp,
    /// TCP.
    Tcp,
    /// Nothing.
    None,
}

/// An open device: packets from and to the kernel's stack.
#[derive(Debug)]
pub struct Device {
    fd: OwnedFd,
    name: String,
    mtu: u16,
    framed: bool,
    trains: Trains,
    refused: AtomicBool,
}

impl Device {
    /// Makes the interface `config` describes, down and without an address.
    pub fn open(config: &TunConfig) -> Result<Self, TunError> {
        let framed = config.offload == Offload::Auto;
        let refused = |source| TunError::Create {
            name: config.name.clone(),
            source,
        };
        let mut settings = tun::Configuration::default();
        settings.tun_name(&config.name).mtu(config.mtu);
        settings.platform_config(|platform| {
            // The crate would take the interface up at once; addresses come first.
            platform.ensure_root_privileges(false).vnet_hdr(framed);
        });
        let mut made = tun::create(&settings).map_err(refused)?;
        made.set_mtu(config.mtu).map_err(refused)?;
        let name = made.tun_name().map_err(refused)?;

        let setup = |source| TunError::Setup {
            name: config.name.clone(),
            source,
        };
        // SAFETY: the descriptor is open, because `made` lives until after the copy.
        let fd = unsafe { BorrowedFd::borrow_raw(made.as_raw_fd()) }
            .try_clone_to_owned()
            .map_err(setup)?;
        drop(made);
        set_nonblocking(&fd).map_err(setup)?;
        let trains = if framed { negotiate(&fd) } else { Trains::None };
        Ok(Self {
            fd,
            name,
            mtu: config.mtu,
            framed,
            trains,
            refused: AtomicBool::new(false),
        })
    }

    /// Makes a device without a kernel behind it; the [`Peer`] plays the stack. Both sides frame packets as
    /// `offload` says.
    pub fn pair(mtu: u16, offload: Offload) -> io::Result<(Self, Peer)> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        )?;
        for fd in [&ours, &theirs] {
            // As much as the system allows: a device holds 500 packets.
            setsockopt(fd, sockopt::SndBuf, &(4 << 20)).ok();
        }
        let framed = offload == Offload::Auto;
        let device = Self {
            fd: ours,
            name: String::from("memory"),
            mtu,
            framed,
            trains: if framed {
                Trains::TcpAndUdp
            } else {
                Trains::None
            },
            refused: AtomicBool::new(false),
        };
        Ok((device, Peer { fd: theirs, framed }))
    }

    /// Returns the name that the kernel gave the interface.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the largest packet.
    #[must_use]
    pub const fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Returns whether a [`vnet`] header stands in front of every packet.
    #[must_use]
    pub const fn is_framed(&self) -> bool {
        self.framed
    }

    /// Returns what may be written as a train; nothing once the kernel has refused one.
    #[must_use]
    pub fn trains(&self) -> Trains {
        if self.refused.load(Ordering::Relaxed) {
            Trains::None
        } else {
            self.trains
        }
    }

    /// Stops writing trains for good, after the kernel refused one; returns whether this was the first time.
    pub fn give_up_trains(&self) -> bool {
        !self.refused.swap(true, Ordering::Relaxed)
    }

    /// Reads one packet or train, header included; `WouldBlock` when there is none.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(read(&self.fd, buffer)?)
    }

    /// Writes one packet or train, header included, gathered from `parts`.
    pub fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(writev(&self.fd, parts)?)
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The other end of [`Device::pair`], for tests and the demonstration.
#[derive(Debug)]
pub struct Peer {
    fd: OwnedFd,
    framed: bool,
}

impl Peer {
    /// Gives the device one whole packet.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.send_train(vnet::Header::default(), packet)
    }

    /// Gives the device a packet or train as `header` describes it; without framing the header is left out.
    pub fn send_train(&self, header: vnet::Header, packet: &[u8]) -> io::Result<()> {
        if self.framed {
            let header = header.encode();
            writev(&self.fd, &[IoSlice::new(&header), IoSlice::new(packet)])?;
        } else {
            write(&self.fd, packet)?;
        }
        Ok(())
    }

    /// Takes one packet or train from the device; `WouldBlock` when there is none.
    pub fn receive(&self) -> io::Result<(vnet::Header, Vec<u8>)> {
        let mut buffer = vec![0; vnet::LEN + vnet::MAX_PACKET];
        let len = read(&self.fd, &mut buffer)?;
        buffer.truncate(len);
        if !self.framed {
            return Ok((vnet::Header::default(), buffer));
        }
        let Some((header, packet)) = buffer.split_first_chunk::<{ vnet::LEN }>() else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        Ok((vnet::Header::decode(header), packet.to_vec()))
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

mod request {
    nix::ioctl_write_int_bad!(
        set_offload,
        nix::request_code_write!(b'T', 208, size_of::<libc::c_uint>())
    );
}

const CHECKSUM: i32 = 0x01;
const TSO4: i32 = 0x02;
const TSO6: i32 = 0x04;
const USO4: i32 = 0x20;
const USO6: i32 = 0x40;

/// Asks for as much segmentation as the kernel has.
fn negotiate(fd: &OwnedFd) -> Trains {
    let tcp = CHECKSUM | TSO4 | TSO6;
    for (flags, trains) in [(tcp | USO4 | USO6, Trains::TcpAndUdp), (tcp, Trains::Tcp)] {
        // SAFETY: the request takes its flags by value; the descriptor is open.
        if unsafe { request::set_offload(fd.as_raw_fd(), flags) }.is_ok() {
            return trains;
        }
    }
    Trains::None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_carries_packets_both_ways() {
        for offload in [Offload::Auto, Offload::Off] {
            let (device, peer) = Device::pair(1400, offload).unwrap();
            let mut buffer = [0; 128];
            assert_eq!(
                device.read(&mut buffer).unwrap_err().kind(),
                io::ErrorKind::WouldBlock
            );
            peer.send(b"down").unwrap();
            let len = device.read(&mut buffer).unwrap();
            assert!(buffer[..len].ends_with(b"down"));

            let header = IoSlice::new(&vnet::PLAIN);
            let up = IoSlice::new(b"up");
            match offload {
                Offload::Auto => device.write(&[header, up]).unwrap(),
                Offload::Off => device.write(&[up]).unwrap(),
            };
            assert_eq!(
                peer.receive().unwrap(),
                (vnet::Header::default(), b"up".to_vec())
            );
        }
    }

    #[test]
    fn a_refused_train_ends_all_trains() {
        let (device, _peer) = Device::pair(1400, Offload::Auto).unwrap();
        assert_eq!(device.trains(), Trains::TcpAndUdp);
        assert!(device.give_up_trains());
        assert!(!device.give_up_trains());
        assert_eq!(device.trains(), Trains::None);
    }
}
