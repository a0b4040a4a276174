//! ICMP echo through the tunnel.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use causeway_proto::ip::checksum;

use super::{ClientError, Tunnel};

/// How often an echo that got no answer is sent again.
const TRIES: u16 = 5;
/// How long an answer may take.
const WAIT: Duration = Duration::from_secs(1);
/// `ICMP Echo` and `Echo Reply` (RFC 792).
const ECHO: u8 = 8;
const ECHO_REPLY: u8 = 0;
const IDENTIFIER: u16 = 0x6361;

impl Tunnel {
    /// Sends an echo request with `payload` octets and waits for the reply; returns the round trip.
    ///
    /// # Errors
    ///
    /// When the call has ended, or nothing came back in several tries.
    pub async fn ping(&mut self, to: Ipv4Addr, payload: usize) -> Result<Duration, ClientError> {
        self.ping_from(self.network().address, to, payload).await
    }

    /// Pings as [`Tunnel::ping`] does, for a host behind the client.
    ///
    /// # Errors
    ///
    /// When the call has ended, or nothing came back in several tries.
    pub async fn ping_from(
        &mut self,
        from: Ipv4Addr,
        to: Ipv4Addr,
        payload: usize,
    ) -> Result<Duration, ClientError> {
        for sequence in 0..TRIES {
            let packet = echo_request(from, to, sequence, payload);
            let sent = Instant::now();
            self.send(&packet).await?;
            let answered = tokio::time::timeout(WAIT, async {
                loop {
                    let packet = self.receive().await?;
                    if is_reply(&packet, to, sequence) {
                        return Ok::<_, ClientError>(sent.elapsed());
                    }
                }
            });
            if let Ok(answer) = answered.await {
                return answer;
            }
        }
        Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "no echo reply").into())
    }
}

/// Builds an IPv4 packet with an echo request.
pub(super) fn echo_request(from: Ipv4Addr, to: Ipv4Addr, sequence: u16, payload: usize) -> Vec<u8> {
    let total = u16::try_from(28 + payload).unwrap_or(u16::MAX);
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&total.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0x40, 0, 64, 1, 0, 0]);
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    let sum = checksum::wide(&packet).checksum();
    packet.splice(10..12, sum);
    let mut icmp = vec![ECHO, 0, 0, 0];
    icmp.extend_from_slice(&IDENTIFIER.to_be_bytes());
    icmp.extend_from_slice(&sequence.to_be_bytes());
    icmp.extend((0..payload).map(|i| u8::try_from(i % 251).unwrap_or_default()));
    let sum = checksum::wide(&icmp).checksum();
    icmp.splice(2..4, sum);
    packet.extend_from_slice(&icmp);
    packet
}

/// Whether a packet is the reply to our request.
pub(super) fn is_reply(packet: &[u8], from: Ipv4Addr, sequence: u16) -> bool {
    let [identifier_high, identifier_low] = IDENTIFIER.to_be_bytes();
    let [sequence_high, sequence_low] = sequence.to_be_bytes();
    packet.get(9) == Some(&1)
        && packet.get(12..16) == Some(&from.octets()[..])
        && packet.get(20) == Some(&ECHO_REPLY)
        && packet.get(24..28)
            == Some(&[identifier_high, identifier_low, sequence_high, sequence_low][..])
}
