//! One question to a running gateway, for the command line and for tests; blocking.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::control::protocol::{Request, Response};
use crate::control::{MAX_REQUEST, MAX_RESPONSE};

/// A gateway that does not answer within this is not reachable.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nothing listens on the socket.
    #[error("no gateway answers on {path}")]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// This user may not open the socket.
    #[error(
        "this user may not ask the gateway on {path}: ask as root (sudo), or join the socket's group and log in anew \
         (sudo usermod -aG causeway-admin NAME)"
    )]
    Forbidden {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The gateway closed without an answer.
    #[error("the gateway closed the connection without an answer")]
    Closed,
    /// What came back is no answer.
    #[error("the gateway speaks another version")]
    Foreign(#[from] serde_json::Error),
    /// The answer is longer than any should be.
    #[error("the answer is too long")]
    TooLong,
    /// The connection broke.
    #[error("the connection to the gateway broke")]
    Broken(#[from] io::Error),
}

/// Asks the gateway that listens on `socket`.
///
/// # Errors
///
/// When there is no answer.
pub fn ask(socket: &Path, request: &Request) -> Result<Response, ClientError> {
    let mut stream = UnixStream::connect(socket).map_err(|source| {
        let path = socket.to_owned();
        if source.kind() == io::ErrorKind::PermissionDenied {
            ClientError::Forbidden { path, source }
        } else {
            ClientError::Unreachable { path, source }
        }
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = serde_json::to_vec(request)?;
    let length = u32::try_from(request.len()).map_err(|_too_long| ClientError::TooLong)?;
    if length > MAX_REQUEST {
        return Err(ClientError::TooLong);
    }
    let sent = stream
        .write_all(&length.to_be_bytes())
        .and_then(|()| stream.write_all(&request));
    // Whoever is turned away is answered before the request has been read.
    let is_closed = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionReset
        )
    };
    match sent {
        Err(error) if !is_closed(&error) => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if is_closed(&error) => return Err(ClientError::Closed),
        Err(error) => return Err(error.into()),
    }
    let length = u32::from_be_bytes(length);
    if length > MAX_RESPONSE {
        return Err(ClientError::TooLong);
    }
    let mut response = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut response)?;
    Ok(serde_json::from_slice(&response)?)
}
