//! One server questioned by hand: the same machine as for log-ins, on a socket of its own, with everything that came
//! back kept to be looked at. What `doctor radius` asks with; it blocks.

mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use causeway_proto::aaa::{Applicant, Credentials};
use causeway_proto::crypto::Rng;
use causeway_proto::radius::vendor::{VendorSpecific, microsoft_type};
use causeway_proto::radius::{
    AttributeType, Client, Code, Completion, Discard, Event, MicrosoftType, Packet, Port, Refused,
    RequestId, ServerId,
};
use causeway_proto::wire::Decode;
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

use super::Config;

use wire::Wire;

/// How often whoever waits is told so.
const TICK: Duration = Duration::from_secs(1);
/// A reply that is not believed may be a forgery; the true one gets so much time before the finding is told.
const AFTER_DISCARD: Duration = Duration::from_secs(3);

/// Why nothing could be asked.
#[derive(Debug, Error)]
pub enum ExamError {
    /// No socket towards the server.
    #[error("no way to {server} from {from}: {error}")]
    Socket {
        /// The server.
        server: SocketAddr,
        /// Where the question was to leave from.
        from: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The question cannot be put.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// There is no server in the configuration, or more than one.
    #[error("one server is questioned at a time")]
    Servers,
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers")]
    Random,
}

/// What came of a question.
#[derive(Debug, Default)]
pub struct Observation {
    /// How the machine ended it; `None` when only replies came that it does not believe.
    pub completion: Option<Completion>,
    /// What was not believed, with the time since the question.
    pub discarded: Vec<(Duration, Discard)>,
    /// The believed reply's code and its attributes by name, with how often each is there.
    pub reply: Option<(Code, BTreeMap<String, usize>)>,
    /// Whether the host or a router refused the datagram (ICMP).
    pub refused: bool,
    /// Datagrams sent, the first and the retransmissions.
    pub sent: usize,
}

/// The examination of one server.
#[derive(Debug)]
pub struct Exam {
    client: Client,
    wire: Wire,
    port: Port,
}

impl Exam {
    /// Prepares to question the one server of `config`.
    ///
    /// # Errors
    ///
    /// When there is no route to it, or its configured source is not an address of this machine.
    pub fn new(config: &Config) -> Result<Self, ExamError> {
        let [server] = config.servers.as_slice() else {
            return Err(ExamError::Servers);
        };
        let mut seed = [0; 32];
        SystemRandom::new()
            .fill(&mut seed)
            .map_err(|_| ExamError::Random)?;
        let mut machine = config.machine();
        // This is the question; there is no need of another.
        machine.probe = None;
        Ok(Self {
            client: Client::new(machine, Rng::from_seed(&seed)),
            wire: Wire::new(server).map_err(|error| ExamError::Socket {
                server: server.endpoint(),
                from: server.bind_address(),
                error,
            })?,
            port: Port {
                server: ServerId(0),
                number: 0,
            },
        })
    }

    /// Returns the address that the server sees as its client's.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub fn source(&self) -> io::Result<SocketAddr> {
        self.wire.source()
    }

    /// Returns what protects the way to the server; `None` over UDP.
    #[must_use]
    pub fn protection(&self) -> Option<String> {
        self.wire.protection()
    }

    /// Asks, and waits at most until `deadline`; `waiting` hears the time about once a second.
    ///
    /// # Errors
    ///
    /// When nothing could be asked.
    pub fn ask(
        &mut self,
        applicant: &Applicant,
        credentials: &Credentials,
        deadline: Duration,
        waiting: &mut dyn FnMut(Duration),
    ) -> Result<Observation, ExamError> {
        let begun = Instant::now();
        let request = self
            .client
            .request(begun, applicant, credentials, begun + deadline)?;
        let mut seen = Observation::default();
        loop {
            self.send(&mut seen);
            if let Some(completion) = self.finished(request) {
                seen.completion = Some(completion);
                return Ok(seen);
            }
            let now = Instant::now();
            let elapsed = now.saturating_duration_since(begun);
            let first = seen.discarded.first();
            if first.is_some_and(|(at, _)| elapsed >= *at + AFTER_DISCARD) {
                self.client.abandon(now, request);
                return Ok(seen);
            }
            let due = self.client.poll_timeout().map_or(TICK, |at| {
                at.saturating_duration_since(now)
                    .clamp(Duration::from_millis(1), TICK)
            });
            self.receive(due, begun, &mut seen);
            self.client.handle_timeout(Instant::now());
            waiting(elapsed);
        }
    }

    fn send(&mut self, seen: &mut Observation) {
        let mut datagram = Vec::new();
        while let Some(transmit) = self.client.poll_transmit(&mut datagram) {
            // The machine may want to know more of the server by other sockets; here one question is enough.
            if transmit.port == self.port {
                seen.sent = seen.sent.saturating_add(1);
                if self.wire.send(&datagram).is_err() {
                    self.refused(seen);
                }
            }
            datagram.clear();
        }
    }

    fn receive(&mut self, due: Duration, begun: Instant, seen: &mut Observation) {
        match self.wire.receive(due) {
            Ok(Some(bytes)) => {
                let now = Instant::now();
                match self.client.handle_datagram(now, self.port, &bytes) {
                    Ok(()) => seen.reply = describe(&bytes),
                    Err(why) => seen
                        .discarded
                        .push((now.saturating_duration_since(begun), why)),
                }
            }
            Ok(None) => {}
            Err(_) => self.refused(seen),
        }
    }

    fn refused(&mut self, seen: &mut Observation) {
        seen.refused = true;
        self.client.handle_unreachable(Instant::now(), self.port);
    }

    fn finished(&mut self, wanted: RequestId) -> Option<Completion> {
        while let Some(event) = self.client.poll_event() {
            if let Event::Finished {
                request,
                completion,
            } = event
                && request == wanted
            {
                return Some(completion);
            }
        }
        None
    }
}

/// Names what is in a reply; values stay out of it, some of them are secrets.
fn describe(bytes: &[u8]) -> Option<(Code, BTreeMap<String, usize>)> {
    let packet = Packet::decode_exact(bytes).ok()?;
    let mut names = BTreeMap::new();
    for attribute in packet.attributes().flatten() {
        if attribute.kind == AttributeType::VENDOR_SPECIFIC {
            let specific = VendorSpecific::decode(attribute.value).ok();
            let inner = specific.iter().flat_map(VendorSpecific::microsoft);
            for own in inner.flatten() {
                count(&mut names, microsoft_name(microsoft_type(&own)));
            }
        } else {
            count(&mut names, name_of(attribute.kind));
        }
    }
    Some((packet.code, names))
}

fn count(names: &mut BTreeMap<String, usize>, name: String) {
    let count = names.entry(name).or_default();
    *count = count.saturating_add(1);
}

fn name_of(kind: AttributeType) -> String {
    let name = match kind {
        AttributeType::USER_NAME => "User-Name",
        AttributeType::SERVICE_TYPE => "Service-Type",
        AttributeType::FRAMED_PROTOCOL => "Framed-Protocol",
        AttributeType::FRAMED_IP_ADDRESS => "Framed-IP-Address",
        AttributeType::FILTER_ID => "Filter-Id",
        AttributeType::FRAMED_MTU => "Framed-MTU",
        AttributeType::REPLY_MESSAGE => "Reply-Message",
        AttributeType::STATE => "State",
        AttributeType::CLASS => "Class",
        AttributeType::SESSION_TIMEOUT => "Session-Timeout",
        AttributeType::IDLE_TIMEOUT => "Idle-Timeout",
        AttributeType::PROXY_STATE => "Proxy-State",
        AttributeType::EAP_MESSAGE => "EAP-Message",
        AttributeType::MESSAGE_AUTHENTICATOR => "Message-Authenticator",
        AttributeType::ACCT_INTERIM_INTERVAL => "Acct-Interim-Interval",
        AttributeType::FRAMED_POOL => "Framed-Pool",
        AttributeType(number) => return format!("attribute {number}"),
    };
    name.to_owned()
}

fn microsoft_name(kind: MicrosoftType) -> String {
    let name = match kind {
        MicrosoftType::CHAP_ERROR => "MS-CHAP-Error",
        MicrosoftType::MPPE_SEND_KEY => "MS-MPPE-Send-Key",
        MicrosoftType::MPPE_RECV_KEY => "MS-MPPE-Recv-Key",
        MicrosoftType::CHAP2_SUCCESS => "MS-CHAP2-Success",
        MicrosoftType::PRIMARY_DNS_SERVER => "MS-Primary-DNS-Server",
        MicrosoftType::SECONDARY_DNS_SERVER => "MS-Secondary-DNS-Server",
        MicrosoftType::PRIMARY_NBNS_SERVER => "MS-Primary-NBNS-Server",
        MicrosoftType::SECONDARY_NBNS_SERVER => "MS-Secondary-NBNS-Server",
        MicrosoftType(number) => return format!("Microsoft attribute {number}"),
    };
    name.to_owned()
}
