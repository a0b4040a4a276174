//! TLS clients, a protocol machine that is always up, and a real one that has been brought up.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use causeway_proto::aaa::{AuthMethod, Decision, Grant, Identity, Limits, NetworkConfig, Proof};
use causeway_proto::activity::Activity;
use causeway_proto::crypto::{Rng, SecretBytes};
use causeway_proto::ip::filter::Filter;
use causeway_proto::ppp;
use causeway_proto::sstp::{self, Broken, PacketSink};
use causeway_proto::terminate::TerminateCause;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use tokio::sync::oneshot;

use crate::dataplane::attach::{Attachment, Entrant};
use crate::dataplane::fixtures::Segment;
use crate::dataplane::stream::{Call, CallEnd, Ended, RecordPacking};
use crate::dataplane::uplink::Inbound;
use crate::dataplane::{Config, DataPlane};
use crate::os::poll::{Interest, Poller};
use crate::os::tun::{Device, Offload, Peer};
use crate::os::vnet::Header;
use crate::trust::Trust;

pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);
pub(super) const HOST: [u8; 4] = [192, 0, 2, 9];

/// A call that is always up: delivers data frames, sends control frames back, says one word at the end.
#[derive(Default)]
pub(super) struct StandIn {
    out: Vec<Vec<u8>>,
    ends: Vec<CallEnd>,
}

pub(super) const GOODBYE: [u8; 8] = [0x10, 1, 0, 8, 0, 6, 0, 0];

impl Call for StandIn {
    fn handle_stream<'a>(
        &mut self,
        _: Instant,
        octets: &'a mut [u8],
        inbound: &mut Inbound<'a, '_>,
    ) -> Result<usize, Broken> {
        let whole = octets.len();
        let mut rest = octets;
        while let [version, kind, hi, lo, ..] = *rest {
            if version != 0x10 {
                return Err(Broken::Version { found: version });
            }
            let len = usize::from(u16::from_be_bytes([hi, lo]) & 0x0fff);
            if len > rest.len() {
                break;
            }
            let (frame, later) = rest.split_at_mut(len);
            if kind == 0 {
                inbound.deliver(&mut frame[8..]);
            } else {
                self.out.push(frame.to_vec());
            }
            rest = later;
        }
        Ok(whole - rest.len())
    }

    fn handle_closed(&mut self, _: Instant) {
        self.ends.push(CallEnd::Down(Ended {
            cause: TerminateCause::UserRequest,
            reason: "closed",
        }));
    }

    fn terminate(&mut self, _: Instant, cause: TerminateCause) {
        self.out.push(GOODBYE.to_vec());
        self.ends.push(CallEnd::Close);
        self.ends.push(CallEnd::Down(Ended {
            cause,
            reason: "told",
        }));
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        let frame = (!self.out.is_empty()).then(|| self.out.remove(0));
        out.extend_from_slice(frame.as_deref().unwrap_or_default());
        frame.is_some()
    }

    fn poll_end(&mut self) -> Option<CallEnd> {
        self.ends.pop()
    }
}

/// The two ends of a TLS connection over loopback, after the handshake.
pub(super) fn connection() -> (
    TcpStream,
    ServerConnection,
    StreamOwned<ClientConnection, TcpStream>,
) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let made = rcgen::generate_simple_self_signed(vec![String::from("gateway.test")]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let client = Trust::Anything.client_config().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let client =
        ClientConnection::new(Arc::new(client), "gateway.test".try_into().unwrap()).unwrap();
    let shake = thread::spawn(move || {
        let mut stream = StreamOwned::new(client, near);
        stream.flush().unwrap();
        stream
            .conn
            .complete_io(&mut stream.sock)
            .expect("a handshake");
        stream
    });
    while server.is_handshaking() || server.wants_write() {
        server.complete_io(&mut far).unwrap();
    }
    let near = shake.join().unwrap();
    near.sock
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    (far, server, near)
}

pub(super) struct Client {
    pub(super) address: Ipv4Addr,
    pub(super) tls: StreamOwned<ClientConnection, TcpStream>,
    pub(super) attachment: Option<Attachment>,
    pub(super) ended: oneshot::Receiver<Ended>,
    pub(super) activity: Arc<Activity>,
    pub(super) received: Vec<u8>,
}

impl Client {
    pub(super) fn attach(plane: &DataPlane, last: u8, packing: RecordPacking) -> Self {
        Self::with(plane, last, packing, Box::new(StandIn::default()))
    }

    pub(super) fn filtered(plane: &DataPlane, last: u8, filter: Arc<Filter>) -> Self {
        let call = Box::new(StandIn::default());
        Self::attached(plane, last, RecordPacking::Many, call, Some(filter))
    }

    pub(super) fn with(
        plane: &DataPlane,
        last: u8,
        packing: RecordPacking,
        call: Box<dyn Call>,
    ) -> Self {
        Self::attached(plane, last, packing, call, None)
    }

    fn attached(
        plane: &DataPlane,
        last: u8,
        packing: RecordPacking,
        call: Box<dyn Call>,
        filter: Option<Arc<Filter>>,
    ) -> Self {
        let (socket, tls, near) = connection();
        let (sender, ended) = oneshot::channel();
        let activity = Arc::new(Activity::default());
        let address = Ipv4Addr::new(10, 8, 0, last);
        let attachment = plane
            .admit(Entrant {
                address,
                networks: Vec::new(),
                mtu: 1400,
                filter,
                socket,
                tls,
                unread: Vec::new(),
                call,
                packing,
                activity: activity.clone(),
                ended: sender,
            })
            .unwrap();
        Self {
            address,
            tls: near,
            attachment: Some(attachment),
            ended,
            activity,
            received: Vec::new(),
        }
    }

    pub(super) fn segment(&self, sequence: u32) -> Segment {
        let mut segment = Segment::tcp(sequence);
        segment.source = self.address.octets();
        segment
    }

    /// What a host sends to this client.
    pub(super) fn towards(&self, sequence: u32) -> Segment {
        let mut segment = Segment::tcp(sequence);
        segment.source = HOST;
        segment.destination = self.address.octets();
        segment
    }

    pub(super) fn send(&mut self, packets: &[Vec<u8>]) {
        let mut octets = Vec::new();
        for packet in packets {
            let len = u16::try_from(packet.len()).unwrap();
            octets.extend_from_slice(&sstp::data_header(len));
            octets.extend_from_slice(packet);
        }
        self.tls.write_all(&octets).unwrap();
    }

    /// Reads the next frame, framing included.
    pub(super) fn frame(&mut self) -> Option<Vec<u8>> {
        loop {
            if let [_, _, hi, lo, ..] = *self.received {
                let len = usize::from(u16::from_be_bytes([hi, lo]) & 0x0fff);
                if self.received.len() >= len {
                    return Some(self.received.drain(..len).collect());
                }
            }
            let mut buffer = [0; 16 * 1024];
            match self.tls.read(&mut buffer) {
                Ok(0) => return None,
                Ok(len) => self.received.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(super) fn packet(&mut self) -> Vec<u8> {
        let frame = self.frame().expect("a frame");
        assert_eq!(frame[4..8], [0xff, 3, 0, 0x21]);
        frame[8..].to_vec()
    }

    pub(super) fn outcome(self) -> Ended {
        self.ended.blocking_recv().unwrap()
    }
}

pub(super) fn plane(offload: Offload) -> (DataPlane, Peer) {
    let (device, peer) = Device::pair(1400, offload).unwrap();
    let config = Config {
        shards: 2,
        mtu: 1400,
        mss_clamp: None,
        isolate_clients: true,
        gateway: GATEWAY,
        pools: vec![(Ipv4Addr::new(10, 8, 0, 2), Ipv4Addr::new(10, 8, 0, 99))],
        routed: Vec::new(),
        blocked: Vec::new(),
    };
    (DataPlane::start(device, config).unwrap(), peer)
}

/// Waits for the next packet or train from the gateway.
pub(super) fn receive(peer: &Peer) -> (Header, Vec<u8>) {
    let mut poller = Poller::new(1).unwrap();
    poller.add(peer.as_fd(), 0, Interest::Read).unwrap();
    let ready = poller.wait(Some(Duration::from_secs(20))).unwrap().count();
    assert_eq!(ready, 1, "nothing comes");
    peer.receive().unwrap()
}

/// Gives the gateway a packet, as soon as the device takes one.
pub(super) fn give(peer: &Peer, header: Header, packet: &[u8]) {
    while let Err(error) = peer.send_train(header, packet) {
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        thread::yield_now();
    }
}

/// A server's and a client's half of one call that is up, and what the server had not read by then.
pub(super) fn call(address: Ipv4Addr) -> (sstp::Session, sstp::Client) {
    let now = Instant::now();
    let certificate = sstp::CertificateHashes::of(b"certificate");
    let mut rng = Rng::from_seed(&[7; 32]);
    let server = ppp::Config::server(ppp::ServerConfig {
        auth: vec![AuthMethod::Pap],
        name: String::from("gateway"),
        auth_wait: Duration::from_secs(30),
        password_change: false,
    });
    let client = ppp::Config::client(ppp::ClientConfig {
        user: Identity::new(b"alice").unwrap(),
        password: SecretBytes::from(&b"wonderland"[..]),
        auth: vec![AuthMethod::Pap],
        want_dns: false,
        request_wins: false,
        mtu: 1400,
        supplicant: ppp::Supplicant::BuiltIn,
        new_password: None,
        profile: ppp::Profile::Plain,
    });
    let config = sstp::Config {
        ppp: server,
        hashes: vec![sstp::HashProtocol::Sha256],
        hello_interval: Duration::from_secs(60),
        connect_request_timeout: Duration::from_secs(20),
        call_connected_timeout: Duration::from_secs(75),
    };
    let mut session = sstp::Session::new(config, certificate, rng.fork(), now);
    let config = sstp::ClientConfig {
        ppp: client,
        certificate,
        preferred: sstp::HashProtocol::Sha256,
        hello_interval: Duration::from_secs(60),
        faults: sstp::Faults::default(),
    };
    let mut client = sstp::Client::new(config, rng.fork(), now);
    for _ in 0..50 {
        let mut octets = Vec::new();
        while client.poll_transmit(&mut octets) {}
        session
            .handle_stream(now, &mut octets, &mut Nothing)
            .unwrap();
        while let Some(event) = session.poll_event() {
            if let sstp::Event::Authenticate(_) = event {
                session.handle_decision(now, admit(address));
            }
        }
        let mut octets = Vec::new();
        while session.poll_transmit(&mut octets) {}
        client
            .handle_stream(now, &mut octets, &mut Nothing)
            .unwrap();
    }
    assert!(session.is_up());
    (session, client)
}

fn admit(address: Ipv4Addr) -> Decision {
    Decision::Admit(Box::new(Grant {
        user: Identity::new(b"alice").unwrap(),
        proof: Proof::Message(String::new()),
        keys: None,
        network: NetworkConfig {
            address,
            gateway: GATEWAY,
            dns: Vec::new(),
            wins: Vec::new(),
            mtu: 1400,
        },
        limits: Limits::default(),
    }))
}

/// A sink for what must not come.
pub(super) struct Nothing;

impl PacketSink<'_> for Nothing {
    fn deliver(&mut self, packet: &mut [u8]) {
        panic!("a packet before the call is up: {packet:?}");
    }
}
