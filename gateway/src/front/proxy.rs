//! The PROXY protocol, versions 1 and 2: what a load balancer says about the connection that it passes on.
//!
//! ```text
//! v1   PROXY TCP4 203.0.113.7 198.51.100.1 51022 443\r\n                   at most 107 octets
//! v2   0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A | ver+cmd | family | length, 2 | addresses, TLVs
//! ```
//!
//! Read only from configured networks, and required there: the header comes ahead of the TLS handshake, so it could
//! never be told from what a stranger writes. `LOCAL`, `UNKNOWN` and families other than TCP leave the socket's own address.
//! TLVs are skipped.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The longest line of version 1, with its end.
const MAX_V1: usize = 107;
/// The most that version 2 may have behind its 16 octets: addresses and a generous helping of TLVs.
const MAX_V2_BODY: usize = 2048;
const V2_HEAD: usize = 16;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// What the load balancer says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Header {
    /// It speaks for itself (a health check), or does not know: the socket's address counts.
    Local,
    /// It passes on this connection.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// Where the client arrived.
        destination: SocketAddr,
    },
}

/// Why there is no header.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// The octets are no header.
    #[error("no PROXY header")]
    Malformed,
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Finds the header at the front of `bytes`: `None` when it is not complete yet, else the header and its length.
///
/// # Errors
///
/// When `bytes` cannot become a header.
pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    let ahead = bytes.len().min(SIGNATURE.len());
    if bytes.get(..ahead) == SIGNATURE.get(..ahead) {
        parse_v2(bytes)
    } else {
        parse_v1(bytes)
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    const START: &[u8] = b"PROXY ";
    let ahead = bytes.len().min(START.len());
    if bytes.get(..ahead) != START.get(..ahead) {
        return Err(ProxyError::Malformed);
    }
    let Some(end) = bytes.iter().take(MAX_V1).position(|&b| b == b'\n') else {
        return if bytes.len() < MAX_V1 {
            Ok(None)
        } else {
            Err(ProxyError::Malformed)
        };
    };
    let line = bytes
        .get(START.len()..end)
        .and_then(|line| line.strip_suffix(b"\r"))
        .and_then(|line| str::from_utf8(line).ok())
        .ok_or(ProxyError::Malformed)?;
    let header = v1_line(line).ok_or(ProxyError::Malformed)?;
    Ok(Some((header, end + 1)))
}

fn v1_line(line: &str) -> Option<Header> {
    let mut words = line.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Header::Local);
    }
    let (source, destination): (IpAddr, IpAddr) = match family {
        "TCP4" => (
            words.next()?.parse::<Ipv4Addr>().ok()?.into(),
            words.next()?.parse::<Ipv4Addr>().ok()?.into(),
        ),
        "TCP6" => (
            words.next()?.parse::<Ipv6Addr>().ok()?.into(),
            words.next()?.parse::<Ipv6Addr>().ok()?.into(),
        ),
        _ => return None,
    };
    let source = SocketAddr::new(source, words.next()?.parse().ok()?);
    let destination = SocketAddr::new(destination, words.next()?.parse().ok()?);
    words.next().is_none().then_some(Header::Proxied {
        source,
        destination,
    })
}

fn parse_v2(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    let Some(([.., command, family, high, low], rest)) = bytes.split_first_chunk::<V2_HEAD>()
    else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > MAX_V2_BODY {
        return Err(ProxyError::Malformed);
    }
    let header = match command {
        0x20 => Some(Header::Local),
        0x21 => None,
        _ => return Err(ProxyError::Malformed),
    };
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    let header = match (header, family) {
        (Some(header), _) => header,
        (None, 0x11) => v2_addresses::<4>(body)?,
        (None, 0x21) => v2_addresses::<16>(body)?,
        // Unspecified, datagrams, local sockets: nothing that a TCP connection could come from.
        (None, _) => Header::Local,
    };
    Ok(Some((header, V2_HEAD + length)))
}

fn v2_addresses<const N: usize>(body: &[u8]) -> Result<Header, ProxyError>
where
    IpAddr: From<[u8; N]>,
{
    let parts = || {
        let (source, rest) = body.split_first_chunk::<N>()?;
        let (destination, rest) = rest.split_first_chunk::<N>()?;
        let (source_port, rest) = rest.split_first_chunk::<2>()?;
        let (destination_port, _) = rest.split_first_chunk::<2>()?;
        Some(Header::Proxied {
            source: SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes(*source_port)),
            destination: SocketAddr::new(
                IpAddr::from(*destination),
                u16::from_be_bytes(*destination_port),
            ),
        })
    };
    parts().ok_or(ProxyError::Malformed)
}

/// Reads the header from a socket and not one octet of what follows it.
///
/// # Errors
///
/// When the octets are no header or the connection breaks.
pub async fn read(stream: &mut TcpStream) -> Result<Header, ProxyError> {
    let mut header = Vec::new();
    loop {
        let mut ahead = [0; 256];
        let peeked = stream.peek(&mut ahead).await?;
        if peeked == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let before = header.len();
        header.extend(ahead.iter().take(peeked));
        let parsed = parse(&header)?;
        let end = parsed.map_or(header.len(), |(_, length)| length);
        let mut taken = vec![0; end.saturating_sub(before)];
        stream.read_exact(&mut taken).await?;
        if let Some((header, _)) = parsed {
            return Ok(header);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &[u8] = b"PROXY TCP4 203.0.113.7 198.51.100.1 51022 443\r\n";

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn proxied(source: &str, destination: &str) -> Header {
        Header::Proxied {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    /// Each header, alone and with something behind it, and what each of its beginnings is.
    fn reads(bytes: &[u8], header: Header) {
        let mut longer = bytes.to_vec();
        longer.extend(b"\x16\x03\x01");
        assert_eq!(parse(&longer).unwrap(), Some((header, bytes.len())));
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]).unwrap(), None, "{end} octets");
        }
    }

    #[test]
    fn reads_both_versions() {
        reads(V1, proxied("203.0.113.7:51022", "198.51.100.1:443"));
        reads(
            b"PROXY TCP6 2001:db8::1 2001:db8::2 1 443\r\n",
            proxied("[2001:db8::1]:1", "[2001:db8::2]:443"),
        );
        reads(b"PROXY UNKNOWN\r\n", Header::Local);
        reads(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Header::Local);
        let body = [203, 0, 113, 7, 198, 51, 100, 1, 0xC7, 0x4E, 0x01, 0xBB];
        reads(
            &v2(0x21, 0x11, &body),
            proxied("203.0.113.7:51022", "198.51.100.1:443"),
        );
        let with_tlv = [&body[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        reads(
            &v2(0x21, 0x11, &with_tlv),
            proxied("203.0.113.7:51022", "198.51.100.1:443"),
        );
        let mut six = [0; 36];
        six[15] = 1;
        six[31] = 2;
        six[33] = 9;
        reads(&v2(0x21, 0x21, &six), proxied("[::1]:9", "[::2]:0"));
        reads(&v2(0x20, 0, &[]), Header::Local);
        reads(&v2(0x20, 0x11, &body), Header::Local);
        reads(&v2(0x21, 0x31, &[0; 216]), Header::Local);
    }

    #[test]
    fn refuses_what_is_no_header() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x03\x01\x02\x00",
            b"PROXY TCP4 203.0.113.7 198.51.100.1 51022\r\n",
            b"PROXY TCP4 203.0.113.7 198.51.100.1 51022 443 1\r\n",
            b"PROXY TCP4 203.0.113.7 198.51.100.1 51022 65536\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY UDP4 203.0.113.7 198.51.100.1 51022 443\r\n",
            b"PROXY TCP4 203.0.113.7 198.51.100.1 51022 443\n",
            &[&b"PROXY "[..], &[b'a'; 101]].concat(),
            &v2(0x31, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x21, &[0; 12]),
            &v2(0x20, 0x00, &[0; 2049]),
        ] {
            assert!(parse(bytes).is_err(), "{bytes:02x?}");
        }
    }

    #[tokio::test]
    async fn leaves_what_follows_the_header() {
        use tokio::io::AsyncWriteExt;
        use tokio::net::TcpListener;

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let writer = tokio::spawn(async move {
            for piece in [&V1[..10], &V1[10..], b"hello"] {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(
            read(&mut server).await.unwrap(),
            proxied("203.0.113.7:51022", "198.51.100.1:443")
        );
        writer.await.unwrap();
        let mut rest = String::new();
        server.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "hello");
    }
}
