//! A TLS connection that can be taken apart again: the data plane wants the socket and the TLS state, not a stream.

use std::io::{self, Read, Write};

use rustls::ServerConnection;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// How much ciphertext may wait for the socket before a log-in is given up: negotiation is a few kilobytes.
const MAX_UNSENT: usize = 64 * 1024;

/// A server's side of an established TLS connection on a tokio socket.
#[derive(Debug)]
pub(super) struct TlsIo {
    stream: TcpStream,
    tls: ServerConnection,
}

impl TlsIo {
    /// Takes a connection whose handshake is done.
    pub(super) const fn new(stream: TcpStream, tls: ServerConnection) -> Self {
        Self { stream, tls }
    }

    /// Gives the parts back; the TLS state may hold plaintext that nobody has read yet.
    pub(super) fn into_parts(self) -> (TcpStream, ServerConnection) {
        (self.stream, self.tls)
    }

    /// Waits for plaintext and appends it to `plain`; 0 means that the peer has closed. Sends what waits for the
    /// socket meanwhile. Cancel-safe.
    pub(super) async fn read(&mut self, plain: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            if let Some(read) = self.read_decrypted(plain)? {
                return Ok(read);
            }
            if !self.tls.wants_read() {
                return Ok(0);
            }
            let mut interest = Interest::READABLE;
            if self.tls.wants_write() {
                interest = interest.add(Interest::WRITABLE);
            }
            let ready = self.stream.ready(interest).await?;
            if ready.is_writable() {
                self.try_flush()?;
            }
            if !ready.is_readable() && !ready.is_read_closed() {
                continue;
            }
            match self.tls.read_tls(&mut TryRead(&self.stream)) {
                Ok(0) => return Ok(0),
                Ok(_) => {
                    let processed = self.tls.process_new_packets();
                    if let Err(error) = processed {
                        // The alert that says what was wrong is waiting to be sent.
                        self.try_flush()?;
                        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                    }
                    self.try_flush()?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes what is decrypted already; `None` when there is nothing.
    fn read_decrypted(&mut self, plain: &mut Vec<u8>) -> io::Result<Option<usize>> {
        let mut chunk = [0; 4096];
        match self.tls.reader().read(&mut chunk) {
            Ok(read) => {
                plain.extend_from_slice(chunk.get(..read).unwrap_or_default());
                Ok(Some(read))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(0)),
            Err(error) => Err(error),
        }
    }

    /// Encrypts `packet` into a record of its own; [`TlsIo::try_flush`] sends it.
    pub(super) fn write_record(&mut self, packet: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(packet)
    }

    /// Says that nothing more will be written.
    pub(super) fn close_notify(&mut self) {
        self.tls.send_close_notify();
    }

    /// Sends what the socket takes now; the rest waits for [`TlsIo::writable`].
    pub(super) fn try_flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut TryWrite(&self.stream)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns whether ciphertext waits for the socket.
    pub(super) fn has_unsent(&self) -> bool {
        self.tls.wants_write()
    }

    /// Waits until the socket takes more. Cancel-safe.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.stream.writable().await
    }

    /// Bounds what may wait for a client that does not read.
    pub(super) fn bound_unsent(&mut self) {
        self.tls.set_buffer_limit(Some(MAX_UNSENT));
    }
}

/// Non-blocking reads of a tokio socket for rustls.
struct TryRead<'a>(&'a TcpStream);

impl Read for TryRead<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // `try_read` clears tokio's readiness itself when the socket is empty.
        self.0.try_read(buf)
    }
}

/// Non-blocking writes of a tokio socket for rustls.
struct TryWrite<'a>(&'a TcpStream);

impl Write for TryWrite<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
