//! The threads as a whole, between TLS clients over loopback and a device in memory.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use causeway_proto::activity::Activity;
use causeway_proto::sstp::Broken;
use causeway_proto::terminate::TerminateCause;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig};
use rustls::{ServerConnection, SignatureScheme, StreamOwned};
use tokio::sync::oneshot;

use super::*;
use crate::dataplane::fixtures::{Segment, ip_packet, train_header, verifies};
use crate::dataplane::stream::{Call, CallEnd};
use crate::dataplane::uplink::Inbound;
use crate::os::poll::{Interest, Poller};
use crate::os::tun::{Offload, Peer};
use crate::os::vnet::{Gso, Header};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);
const HOST: [u8; 4] = [192, 0, 2, 9];

/// A call that is always up: delivers data frames, sends control frames back, says one word at the end.
#[derive(Default)]
struct StandIn {
    out: Vec<Vec<u8>>,
    ends: Vec<CallEnd>,
}

const GOODBYE: [u8; 8] = [0x10, 1, 0, 8, 0, 6, 0, 0];

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

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The two ends of a TLS connection over loopback, after the handshake.
fn connection() -> (
    TcpStream,
    ServerConnection,
    StreamOwned<ClientConnection, TcpStream>,
) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let made = rcgen::generate_simple_self_signed(vec![String::from("gateway.test")]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
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

struct Client {
    address: Ipv4Addr,
    tls: StreamOwned<ClientConnection, TcpStream>,
    attachment: Option<Attachment>,
    ended: oneshot::Receiver<Ended>,
    activity: Arc<Activity>,
    received: Vec<u8>,
}

impl Client {
    fn attach(plane: &DataPlane, last: u8, packing: RecordPacking) -> Self {
        let (socket, tls, near) = connection();
        let (sender, ended) = oneshot::channel();
        let activity = Arc::new(Activity::default());
        let address = Ipv4Addr::new(10, 8, 0, last);
        let attachment = plane
            .admit(Entrant {
                address,
                mtu: 1400,
                socket,
                tls,
                unread: Vec::new(),
                call: Box::new(StandIn::default()),
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

    fn segment(&self, sequence: u32) -> Segment {
        let mut segment = Segment::tcp(sequence);
        segment.source = self.address.octets();
        segment
    }

    /// What a host sends to this client.
    fn towards(&self, sequence: u32) -> Segment {
        let mut segment = Segment::tcp(sequence);
        segment.source = HOST;
        segment.destination = self.address.octets();
        segment
    }

    fn send(&mut self, packets: &[Vec<u8>]) {
        let mut octets = Vec::new();
        for packet in packets {
            let len = u16::try_from(packet.len()).unwrap();
            octets.extend_from_slice(&causeway_proto::sstp::data_header(len));
            octets.extend_from_slice(packet);
        }
        self.tls.write_all(&octets).unwrap();
    }

    /// Reads the next frame, framing included.
    fn frame(&mut self) -> Option<Vec<u8>> {
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

    fn packet(&mut self) -> Vec<u8> {
        let frame = self.frame().expect("a frame");
        assert_eq!(frame[4..8], [0xff, 3, 0, 0x21]);
        frame[8..].to_vec()
    }

    fn outcome(self) -> Ended {
        self.ended.blocking_recv().unwrap()
    }
}

fn plane(offload: Offload) -> (DataPlane, Peer) {
    let (device, peer) = Device::pair(1400, offload).unwrap();
    let config = Config {
        shards: 2,
        mtu: 1400,
        mss_clamp: None,
        isolate_clients: true,
        gateway: GATEWAY,
        pools: vec![(Ipv4Addr::new(10, 8, 0, 2), Ipv4Addr::new(10, 8, 0, 99))],
        blocked: Vec::new(),
    };
    (DataPlane::start(device, config).unwrap(), peer)
}

/// Waits for the next packet or train from the gateway.
fn receive(peer: &Peer) -> (Header, Vec<u8>) {
    let mut poller = Poller::new(1).unwrap();
    poller.add(peer.as_fd(), 0, Interest::Read).unwrap();
    let ready = poller.wait(Some(Duration::from_secs(20))).unwrap().count();
    assert_eq!(ready, 1, "nothing comes");
    peer.receive().unwrap()
}

/// Gives the gateway a packet, as soon as the device takes one.
fn give(peer: &Peer, header: Header, packet: &[u8]) {
    while let Err(error) = peer.send_train(header, packet) {
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        thread::yield_now();
    }
}

#[test]
fn packets_travel_both_ways() {
    for (offload, packing) in [
        (Offload::Auto, RecordPacking::Many),
        (Offload::Off, RecordPacking::One),
    ] {
        let (plane, peer) = plane(offload);
        let mut client = Client::attach(&plane, 5, packing);
        let up = client.segment(1).payload(b"up").octets();
        client.send(std::slice::from_ref(&up));
        assert_eq!(receive(&peer), (Header::default(), up));
        let down = client.towards(1).payload(b"down").octets();
        give(&peer, Header::default(), &down);
        assert_eq!(client.packet(), down);
        let usage = client.activity.usage();
        assert_eq!((usage.up_packets, usage.down_packets), (1, 1));
        assert_eq!(usage.down_octets, down.len() as u64);
        assert!(client.activity.last_ms() > 0);
    }
}

#[test]
fn a_train_is_cut_for_the_client_and_its_packets_are_gathered_for_the_host() {
    let (plane, peer) = plane(Offload::Auto);
    let mut client = Client::attach(&plane, 5, RecordPacking::Many);
    let train = client.towards(1).payload(&vec![5; 40_000]).octets();
    give(&peer, train_header(Gso::Tcp4, 1348), &train);
    let packets: Vec<Vec<u8>> = (0..30).map(|_| client.packet()).collect();
    assert!(packets.iter().all(|packet| verifies(packet)));
    let payload: usize = packets.iter().map(|packet| packet.len() - 52).sum();
    assert_eq!(payload, 40_000);

    let up: Vec<Vec<u8>> = (0..8_u16)
        .map(|i| {
            client
                .segment(u32::from(i) * 1000)
                .identification(i)
                .payload(&[6; 1000])
                .octets()
        })
        .collect();
    client.send(&up);
    let (header, octets) = receive(&peer);
    assert_eq!((header.gso, header.gso_size), (Gso::Tcp4, 1000));
    assert_eq!(octets.len(), 52 + 8_000);
}

#[test]
fn a_spoofed_source_is_dropped_and_counted() {
    let (plane, peer) = plane(Offload::Auto);
    let mut client = Client::attach(&plane, 5, RecordPacking::Many);
    let mut spoofed = client.segment(1).payload(b"x");
    spoofed.source = [10, 8, 0, 6];
    let honest = client.segment(1).payload(b"y").octets();
    client.send(&[spoofed.octets(), honest.clone()]);
    assert_eq!(receive(&peer).1, honest);
    // The batch is published before the next one is begun.
    client.send(std::slice::from_ref(&honest));
    receive(&peer);
    assert_eq!(plane.counters().up.get(Counter::SourceAddress), 1);
}

#[test]
fn a_client_that_stops_reading_delays_nobody_and_costs_its_cap() {
    let (plane, peer) = plane(Offload::Auto);
    let mut stalled = Client::attach(&plane, 5, RecordPacking::Many);
    let mut lively = Client::attach(&plane, 6, RecordPacking::Many);
    let mut sequence = 0;
    let mut given = 0_u64;
    // More than the socket buffers of both ends and the queue together take.
    while plane.counters().down.get(Counter::QueueFull) == 0 {
        let train = stalled.towards(sequence).payload(&vec![1; 50_000]).octets();
        give(&peer, train_header(Gso::Tcp4, 1000), &train);
        sequence += 50_000;
        given += 50;
        assert!(given < 100_000, "the queue has no cap");
    }
    for i in 0..200 {
        let packet = lively.towards(i).payload(b"alive").octets();
        give(&peer, Header::default(), &packet);
        assert_eq!(lively.packet(), packet);
        let up = lively.segment(i).payload(b"too").octets();
        lively.send(std::slice::from_ref(&up));
        assert_eq!(receive(&peer).1, up);
    }
    // What waited comes in order once it is read, with gaps where the queue was full or the wait too long.
    let mut last = 0;
    for _ in 0..200 {
        let packet = stalled.packet();
        assert!(verifies(&packet));
        let sequence = u32::from_be_bytes(packet[24..28].try_into().unwrap());
        assert!(sequence >= last);
        last = sequence;
    }
}

#[test]
fn nobody_home_and_too_big_are_answered() {
    let (plane, peer) = plane(Offload::Auto);
    let client = Client::attach(&plane, 5, RecordPacking::Many);
    let mut lost = client.towards(1).payload(b"x");
    lost.destination = [10, 8, 0, 50];
    give(&peer, Header::default(), &lost.octets());
    let (_, error) = receive(&peer);
    assert_eq!(error[12..20], [10, 8, 0, 1, 192, 0, 2, 9]);
    assert_eq!(error[20..22], [3, 1]);

    let big = client.towards(1).payload(&[0; 1349]);
    give(&peer, Header::default(), &big.octets());
    let (_, error) = receive(&peer);
    assert_eq!(error[20..22], [3, 4]);
    assert_eq!(error[26..28], 1400_u16.to_be_bytes());

    // Nobody answers about an ICMP error.
    give(
        &peer,
        Header::default(),
        &ip_packet(&lost, 1, &[3, 1, 0, 0, 0, 0, 0, 0]),
    );
    give(&peer, Header::default(), &lost.octets());
    assert_eq!(receive(&peer).1[20..22], [3, 1]);
    // What is counted is published behind the packets.
    give(&peer, Header::default(), &lost.octets());
    receive(&peer);
    let counters = plane.counters().down;
    assert!(counters.get(Counter::NoSession) >= 2);
    assert_eq!(counters.get(Counter::TooBig), 1);
}

#[test]
fn control_frames_come_back_and_a_polite_end_is_heard() {
    let (plane, _peer) = plane(Offload::Auto);
    let mut client = Client::attach(&plane, 5, RecordPacking::One);
    let echo = [0x10, 1, 0, 8, 0, 8, 0, 0];
    client.tls.write_all(&echo).unwrap();
    assert_eq!(client.frame().unwrap(), echo);
    let attachment = client.attachment.take().unwrap();
    attachment.terminate(TerminateCause::Admin);
    assert_eq!(client.frame().unwrap(), GOODBYE);
    assert_eq!(client.frame(), None);
    let ended = client.outcome();
    assert_eq!(ended.cause, TerminateCause::Admin);
    assert_eq!(ended.reason, "told");
    drop(attachment);
}

#[test]
fn a_hang_up_ends_the_session_and_its_route() {
    let (plane, peer) = plane(Offload::Auto);
    let client = Client::attach(&plane, 5, RecordPacking::Many);
    client.tls.sock.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(client.outcome().cause, TerminateCause::UserRequest);
    let again = Client::attach(&plane, 5, RecordPacking::Many);
    drop(again);
    let lost = Segment::tcp(1).payload(b"x");
    let mut to_nobody = lost;
    to_nobody.source = HOST;
    to_nobody.destination = [10, 8, 0, 5];
    give(&peer, Header::default(), &to_nobody.octets());
    assert_eq!(receive(&peer).1[20..22], [3, 1]);
}

#[test]
fn an_address_can_change_hands() {
    let (plane, peer) = plane(Offload::Auto);
    let mut old = Client::attach(&plane, 5, RecordPacking::Many);
    let mut new = Client::attach(&plane, 5, RecordPacking::Many);
    old.attachment = None;
    assert_eq!(old.frame(), None);
    let packet = new.towards(1).payload(b"yours").octets();
    give(&peer, Header::default(), &packet);
    assert_eq!(new.packet(), packet);
}

#[test]
fn new_traffic_keys_do_not_disturb_the_packets() {
    let (plane, peer) = plane(Offload::Auto);
    let mut client = Client::attach(&plane, 5, RecordPacking::Many);
    for i in 0..3 {
        client.tls.conn.refresh_traffic_keys().unwrap();
        let up = client.segment(i).payload(b"up").octets();
        client.send(std::slice::from_ref(&up));
        assert_eq!(receive(&peer).1, up);
        let down = client.towards(i).payload(b"down").octets();
        give(&peer, Header::default(), &down);
        assert_eq!(client.packet(), down);
    }
}

#[test]
fn nonsense_ends_the_session() {
    let (plane, _peer) = plane(Offload::Auto);
    let mut client = Client::attach(&plane, 5, RecordPacking::Many);
    client.tls.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(client.frame(), None);
    assert_eq!(client.outcome().cause, TerminateCause::ProtocolError);

    let mut client = Client::attach(&plane, 6, RecordPacking::Many);
    client.tls.sock.write_all(&[23, 3, 3, 0, 40]).unwrap();
    client.tls.sock.write_all(&[0; 40]).unwrap();
    assert_eq!(client.outcome().reason, "tls_error");
}

#[test]
fn the_end_of_the_packet_path_is_told_to_its_sessions() {
    let (plane, _peer) = plane(Offload::Auto);
    let client = Client::attach(&plane, 5, RecordPacking::Many);
    drop(plane);
    assert_eq!(client.outcome().cause, TerminateCause::ServerStop);
}
