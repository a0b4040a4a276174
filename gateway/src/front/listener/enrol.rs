//! A connection that wants the log-in of Mobility.

use rustls::ProtocolVersion;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use crate::front::enrolment::{Ends, Enrolment};

use super::{Arrival, Front};

impl Front {
    /// Lets the log-in of Mobility speak with the client, and closes.
    pub(super) async fn enrol(
        &self,
        enrolment: &Enrolment,
        stream: TlsStream<TcpStream>,
        read: Vec<u8>,
        arrival: &Arrival,
    ) {
        let ends = Ends {
            remote: arrival.remote,
            local: arrival.local,
            tls: match stream.get_ref().1.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "1.2",
                _ => "1.3",
            },
        };
        let count = |code| self.series.response(code);
        let served = Box::pin(enrolment.serve(stream, read, ends, count)).await;
        if let Some(mut stream) = served
            && let Ok(Ok(())) = timeout(self.config.deadlines.answer, stream.shutdown()).await
        {
            self.linger(&mut stream).await;
        }
    }
}
