//! One SSTP connection of the packet path: what its two halves share, and the protocol machine behind it.
//!
//! rustls keeps both directions in one object, so a lock is held for a batch, never for a packet. Only the downlink
//! thread writes to the socket: what the machine or TLS itself has to say is left here and the downlink is told.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use causeway_proto::activity::Activity;
use causeway_proto::sstp::Broken;
use causeway_proto::terminate::TerminateCause;
use rustls::ServerConnection;

use crate::dataplane::uplink::Inbound;

/// The protocol machine behind a stream, as the packet path sees it.
pub(crate) trait Call: Send {
    /// Walks the whole frames in `octets`; returns how many octets they took.
    fn handle_stream<'a>(
        &mut self,
        now: Instant,
        octets: &'a mut [u8],
        inbound: &mut Inbound<'a, '_>,
    ) -> Result<usize, Broken>;

    /// The transport was closed by the peer or broke.
    fn handle_closed(&mut self, now: Instant);

    /// Begins a polite end.
    fn terminate(&mut self, now: Instant, cause: TerminateCause);

    /// A deadline has passed.
    fn handle_timeout(&mut self, now: Instant);

    /// Returns the next deadline.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Appends one frame to send; `false` when there is none.
    fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool;

    /// Returns what has ended.
    fn poll_end(&mut self) -> Option<CallEnd>;
}

/// How a call ends, in two steps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CallEnd {
    /// The session is over; the goodbye may still be under way.
    Down(Ended),
    /// Send what is queued and close.
    Close,
}

/// Why a session left the packet path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ended {
    /// The cause for accounting.
    pub cause: TerminateCause,
    /// What happened, one word.
    pub reason: &'static str,
}

/// How many SSTP packets go into a TLS record.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RecordPacking {
    /// One, for clients that read no more than one out of a record.
    One,
    /// As many as fit.
    #[default]
    Many,
}

impl RecordPacking {
    /// Returns the word of the configuration and the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Many => "many",
        }
    }
}

/// The name of a session between the threads of the packet path; never used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Key(pub(crate) u64);

/// What the halves of a session share.
pub(crate) struct Stream {
    pub(crate) key: Key,
    pub(crate) socket: TcpStream,
    pub(crate) packing: RecordPacking,
    pub(crate) activity: Arc<Activity>,
    tls: Mutex<ServerConnection>,
    /// Frames of the machine, whole SSTP packets, not yet encrypted.
    control: Mutex<Vec<u8>>,
    /// Whether the downlink has been told about [`control`](Self::control) and has not looked yet.
    told: AtomicBool,
}

/// The plaintext of a record at most (RFC 8446 §5.1).
pub(crate) const RECORD: usize = 16 * 1024;

/// The control octets that wait for a client at most.
const CONTROL_CAP: usize = 64 * 1024;

/// What [`Stream::open`] found behind the plaintext.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Opened {
    /// The peer has said that it sends nothing more.
    pub(crate) closed: bool,
    /// TLS has something to send of its own.
    pub(crate) wants_write: bool,
}

impl Stream {
    pub(crate) fn new(
        key: Key,
        socket: TcpStream,
        packing: RecordPacking,
        activity: Arc<Activity>,
        mut tls: ServerConnection,
    ) -> Self {
        tls.set_buffer_limit(None);
        Self {
            key,
            socket,
            packing,
            activity,
            tls: Mutex::new(tls),
            control: Mutex::default(),
            told: AtomicBool::new(false),
        }
    }

    /// Decrypts `ciphertext` to `plaintext`, from `*have` on.
    pub(crate) fn open(
        &self,
        mut ciphertext: &[u8],
        plaintext: &mut [u8],
        have: &mut usize,
    ) -> io::Result<Opened> {
        let mut tls = self.tls();
        let mut opened = Opened::default();
        loop {
            let state = tls.process_new_packets().map_err(io::Error::other)?;
            let waiting = state.plaintext_bytes_to_read();
            opened.closed |= state.peer_has_closed();
            if waiting > 0 {
                let end = *have + waiting;
                let room = plaintext
                    .get_mut(*have..end)
                    .ok_or(io::ErrorKind::OutOfMemory)?;
                tls.reader().read_exact(room)?;
                *have = end;
            }
            if ciphertext.is_empty() || tls.read_tls(&mut ciphertext)? == 0 {
                break;
            }
        }
        opened.wants_write = tls.wants_write();
        drop(tls);
        Ok(opened)
    }

    /// Encrypts what `fill` gives to the writer, each piece a record, and appends the ciphertext to `wire`, with
    /// whatever else TLS has to send.
    pub(crate) fn seal(
        &self,
        wire: &mut Vec<u8>,
        fill: impl FnOnce(&mut dyn FnMut(&[u8])),
    ) -> io::Result<()> {
        let mut tls = self.tls();
        let mut result = Ok(());
        fill(&mut |record| {
            if result.is_ok() {
                result = tls.writer().write_all(record);
            }
        });
        result?;
        while tls.wants_write() {
            tls.write_tls(wire)?;
        }
        drop(tls);
        Ok(())
    }

    /// Appends TLS's goodbye to `wire`.
    pub(crate) fn seal_goodbye(&self, wire: &mut Vec<u8>) -> io::Result<()> {
        self.tls().send_close_notify();
        self.seal(wire, |_| {})
    }

    /// Leaves control frames for the downlink, unless too many wait; returns whether they were taken.
    pub(crate) fn leave_control(&self, frames: &[u8]) -> bool {
        let mut control = self.control();
        let fits = control.len() + frames.len() <= CONTROL_CAP;
        if fits {
            control.extend_from_slice(frames);
        }
        fits
    }

    /// Returns whether the downlink must be told that there is something to send.
    pub(crate) fn must_tell(&self) -> bool {
        !self.told.swap(true, Ordering::AcqRel)
    }

    /// Moves the control frames to `frames`, which is empty.
    pub(crate) fn take_control(&self, frames: &mut Vec<u8>) {
        self.told.store(false, Ordering::Release);
        std::mem::swap(&mut *self.control(), frames);
    }

    fn tls(&self) -> MutexGuard<'_, ServerConnection> {
        // A connection that a panic has left half changed fails its next record, and the session ends.
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn control(&self) -> MutexGuard<'_, Vec<u8>> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Splits control frames into what may share a record.
pub(crate) fn control_records(
    mut frames: &[u8],
    packing: RecordPacking,
    mut record: impl FnMut(&[u8]),
) {
    while !frames.is_empty() {
        let mut end = packet_len(frames);
        while packing == RecordPacking::Many && end < frames.len() {
            let next = packet_len(&frames[end..]);
            if end + next > RECORD {
                break;
            }
            end += next;
        }
        let (now, later) = frames.split_at(end);
        record(now);
        frames = later;
    }
}

/// The length of the SSTP packet at the front ([MS-SSTP] §2.2.1); all of it when it is none.
fn packet_len(frames: &[u8]) -> usize {
    let len = match frames {
        [_, _, hi, lo, ..] => usize::from(u16::from_be_bytes([*hi, *lo]) & 0x0fff),
        [..] => frames.len(),
    };
    if len < 4 {
        frames.len()
    } else {
        len.min(frames.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_frames_share_records_only_when_they_may() {
        let mut frames = Vec::new();
        for len in [8_u8, 14, 9] {
            frames.extend_from_slice(&[0x10, 1, 0, len]);
            frames.resize(frames.len() + usize::from(len) - 4, len);
        }
        let split = |packing| {
            let mut lens = Vec::new();
            control_records(&frames, packing, |record| lens.push(record.len()));
            lens
        };
        assert_eq!(split(RecordPacking::One), [8, 14, 9]);
        assert_eq!(split(RecordPacking::Many), [31]);
        let mut broken = Vec::new();
        control_records(&[1, 2, 0], RecordPacking::One, |record| {
            broken.push(record.len());
        });
        control_records(&[1, 2, 0, 0, 9], RecordPacking::One, |record| {
            broken.push(record.len());
        });
        assert_eq!(broken, [3, 5]);
    }
}
