//! A connection that carries each request once: whoever sends knows what to send again, and when.
//!
//! When it breaks, or none can be made, everything that has no answer is given back as unreachable.

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

use super::super::datagram::Arrival;
use super::{Failure, PATIENCE, Place, Tls, next_packet, write};

/// What was sent before the sender has heard that a connection is gone is given back as well; it hears it sooner.
const GRACE: Duration = Duration::from_millis(50);

/// One connection to one server, made when there is something to send.
pub(crate) struct Once<P> {
    pub(crate) place: Place,
    pub(crate) tls: Tls,
    pub(crate) port: P,
    pub(crate) requests: mpsc::Receiver<Vec<u8>>,
    pub(crate) arrivals: mpsc::Sender<Arrival<P>>,
}

/// How a connection ended.
enum End {
    /// Nobody will send anything any more.
    Closed,
    /// The server closed it, and owed no answer.
    Idle,
}

impl<P: Copy + Send> Once<P> {
    /// Carries requests and answers until nobody sends any more.
    pub(crate) async fn run(mut self) {
        let mut failure = Failure::default();
        while let Some(first) = self.requests.recv().await {
            let ended = match timeout(PATIENCE, self.tls.connect(&self.place)).await {
                Ok(Ok(stream)) => self.carry(stream, first, &mut failure).await,
                Ok(Err(error)) => Err(error),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            match ended {
                Ok(End::Closed) => return,
                Ok(End::Idle) => {}
                Err(error) => {
                    failure.say(&self.place.name, &error);
                    let unreachable = Arrival::Unreachable(self.port);
                    if self.arrivals.send(unreachable).await.is_err() {
                        return;
                    }
                    sleep(GRACE).await;
                    while self.requests.try_recv().is_ok() {}
                }
            }
        }
    }

    async fn carry(
        &mut self,
        mut stream: TlsStream<TcpStream>,
        first: Vec<u8>,
        failure: &mut Failure,
    ) -> io::Result<End> {
        write(&mut stream, &first).await?;
        let mut owed = 1_usize;
        let mut buffer = Vec::new();
        loop {
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => {
                        write(&mut stream, &request).await?;
                        owed = owed.saturating_add(1);
                    }
                    None => return Ok(End::Closed),
                },
                read = stream.read_buf(&mut buffer) => {
                    match read {
                        Ok(0) | Err(_) if owed == 0 => return Ok(End::Idle),
                        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                        Ok(_) => {}
                        Err(error) => return Err(error),
                    }
                    while let Some(reply) = next_packet(&mut buffer)? {
                        failure.over(&self.place.name);
                        owed = owed.saturating_sub(1);
                        let arrival = Arrival::Datagram(self.port, reply);
                        if self.arrivals.send(arrival).await.is_err() {
                            return Ok(End::Closed);
                        }
                    }
                }
            }
        }
    }
}
