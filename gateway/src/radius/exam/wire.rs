//! The way to the server that is questioned: a connected datagram socket, or a TLS connection that blocks.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use causeway_proto::radius::{MAX_LEN, MIN_LEN};
use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::radius::Server;

/// How long a connection may take to be made.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to the server.
#[derive(Debug)]
pub(super) enum Wire {
    Udp(UdpSocket),
    Tls(Box<Stream>),
}

/// A TLS connection and what has been read of the next packet.
#[derive(Debug)]
pub(super) struct Stream {
    tls: StreamOwned<ClientConnection, TcpStream>,
    unread: Vec<u8>,
}

impl Wire {
    /// Makes the way; over TLS the handshake is done then.
    pub(super) fn new(server: &Server) -> io::Result<Self> {
        let (from, to) = (server.bind_address(), server.endpoint());
        let Some(tls) = &server.tls else {
            let socket = UdpSocket::bind(from)?;
            socket.connect(to)?;
            return Ok(Self::Udp(socket));
        };
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.bind(&from.into())?;
        socket.connect_timeout(&to.into(), PATIENCE)?;
        let mut socket = TcpStream::from(socket);
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let mut session = tls.session().map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Self::Tls(Box::new(Stream {
            tls: StreamOwned::new(session, socket),
            unread: Vec::new(),
        })))
    }

    /// Returns the address that the server sees.
    pub(super) fn source(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Udp(socket) => socket.local_addr(),
            Self::Tls(stream) => stream.tls.sock.local_addr(),
        }
    }

    /// Returns what protects the connection, if anything does.
    pub(super) fn protection(&self) -> Option<String> {
        match self {
            Self::Udp(_) => None,
            Self::Tls(stream) => {
                let version = stream.tls.conn.protocol_version();
                Some(version.map_or_else(|| "TLS".to_owned(), |version| format!("{version:?}")))
            }
        }
    }

    pub(super) fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(packet).map(drop),
            Self::Tls(stream) => stream
                .tls
                .write_all(packet)
                .and_then(|()| stream.tls.flush()),
        }
    }

    /// Waits at most `patience` for a packet; `None` when there is none yet.
    pub(super) fn receive(&mut self, patience: Duration) -> io::Result<Option<Vec<u8>>> {
        let received = match self {
            Self::Udp(socket) => {
                socket.set_read_timeout(Some(patience))?;
                let mut buffer = vec![0; MAX_LEN];
                socket.recv(&mut buffer).map(|length| {
                    buffer.truncate(length);
                    Some(buffer)
                })
            }
            Self::Tls(stream) => stream.receive(patience),
        };
        match received {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(None)
            }
            received => received,
        }
    }
}

impl Stream {
    /// Reads on until there is a whole packet (RFC 6614 §2.1: packets follow one another, each with its length).
    fn receive(&mut self, patience: Duration) -> io::Result<Option<Vec<u8>>> {
        if let Some(packet) = self.whole()? {
            return Ok(Some(packet));
        }
        self.tls.sock.set_read_timeout(Some(patience))?;
        let mut buffer = [0; MAX_LEN];
        let read = self.tls.read(&mut buffer)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.unread
            .extend_from_slice(buffer.get(..read).unwrap_or_default());
        self.whole()
    }

    /// Takes a packet that is there in full.
    fn whole(&mut self) -> io::Result<Option<Vec<u8>>> {
        let length = match self.unread.as_slice() {
            [_, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
            _ => return Ok(None),
        };
        if !(MIN_LEN..=MAX_LEN).contains(&length) {
            return Err(ErrorKind::InvalidData.into());
        }
        if self.unread.len() < length {
            return Ok(None);
        }
        let rest = self.unread.split_off(length);
        Ok(Some(std::mem::replace(&mut self.unread, rest)))
    }
}
