//! The SSTP session as the machine behind a stream.

use std::time::Instant;

use causeway_proto::sstp::{Broken, Event, PacketSink, Session};
use causeway_proto::terminate::TerminateCause;

use crate::dataplane::stream::{Call, CallEnd, Ended};
use crate::dataplane::uplink::Inbound;

impl<'a> PacketSink<'a> for Inbound<'a, '_> {
    #[inline]
    fn deliver(&mut self, packet: &'a mut [u8]) {
        Self::deliver(self, packet);
    }
}

impl Call for Session {
    fn handle_stream<'a>(
        &mut self,
        now: Instant,
        octets: &'a mut [u8],
        inbound: &mut Inbound<'a, '_>,
    ) -> Result<usize, Broken> {
        Self::handle_stream(self, now, octets, inbound)
    }

    fn handle_closed(&mut self, now: Instant) {
        Self::handle_closed(self, now);
    }

    fn terminate(&mut self, now: Instant, cause: TerminateCause) {
        Self::terminate(self, now, cause);
    }

    fn handle_timeout(&mut self, now: Instant) {
        Self::handle_timeout(self, now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Self::poll_timeout(self)
    }

    fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        Self::poll_transmit(self, out)
    }

    fn poll_end(&mut self) -> Option<CallEnd> {
        loop {
            match self.poll_event()? {
                Event::Down { cause, reason } => {
                    return Some(CallEnd::Down(Ended {
                        cause,
                        reason: reason.as_str(),
                    }));
                }
                Event::Close => return Some(CallEnd::Close),
                // The log-in is behind us; a client that begins another one is ended by the machine.
                Event::Authenticate(_) | Event::Authenticated | Event::Up(_) => {}
            }
        }
    }
}
