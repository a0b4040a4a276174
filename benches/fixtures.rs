//! Fixtures shared by the benches: the traffic of one bulk TCP flow through a tunnel of 1400 octets.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use causeway::os::vnet::{Gso, Header, PartialChecksum};
use causeway_proto::aaa::{AuthMethod, Decision, Grant, Identity, Limits, NetworkConfig, Proof};
use causeway_proto::crypto::{Rng, SecretBytes};
use causeway_proto::ip::checksum::{Sum, pseudo_header};
use causeway_proto::{ppp, sstp};

/// Payload octets in a full segment: 1400 less IPv4, TCP and its timestamps.
pub const SEGMENT: usize = 1348;

/// Full segments in a train of just under 64 KiB.
pub const SEGMENTS: usize = 46;

const HEADERS: usize = 52;

/// Builds one TCP packet of the flow.
#[must_use]
pub fn tcp_packet(sequence: u32, identification: u16, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(HEADERS + payload.len()).unwrap();
    let mut octets = vec![0x45, 0];
    octets.extend_from_slice(&total.to_be_bytes());
    octets.extend_from_slice(&identification.to_be_bytes());
    octets.extend_from_slice(&[0x40, 0, 64, 6, 0, 0, 10, 8, 0, 2, 192, 0, 2, 9]);
    let checksum = Sum::new().bytes(&octets).checksum();
    octets[10..12].copy_from_slice(&checksum);
    octets.extend_from_slice(&[0x30, 0x39, 0x01, 0xbb]);
    octets.extend_from_slice(&sequence.to_be_bytes());
    octets.extend_from_slice(&[0, 0, 0, 77, 0x80, 0x10, 1, 0xf5, 0, 0, 0, 0]);
    octets.extend_from_slice(&[1, 1, 8, 10, 0, 0, 0, 5, 0, 0, 0, 6]);
    octets.extend_from_slice(payload);
    let addresses: &[u8; 8] = octets[12..20].try_into().unwrap();
    let checksum = pseudo_header(addresses, 6, total - 20)
        .bytes(&octets[20..])
        .checksum();
    octets[36..38].copy_from_slice(&checksum);
    octets
}

/// Builds [`SEGMENTS`] packets in sequence.
#[must_use]
pub fn run() -> Vec<Vec<u8>> {
    (0..SEGMENTS)
        .map(|i| {
            let sequence = u32::try_from(i * SEGMENT).unwrap();
            let identification = u16::try_from(i).unwrap();
            tcp_packet(sequence, identification, &[0x5a; SEGMENT])
        })
        .collect()
}

/// Builds the train that the kernel would hand over for [`run`].
#[must_use]
pub fn train() -> (Header, Vec<u8>) {
    let header = Header {
        checksum: Some(PartialChecksum {
            start: 20,
            offset: 16,
        }),
        gso: Gso::Tcp4,
        gso_size: u16::try_from(SEGMENT).unwrap(),
        header_len: u16::try_from(HEADERS).unwrap(),
    };
    (header, tcp_packet(0, 0, &vec![0x5a; SEGMENT * SEGMENTS]))
}

/// Brings up a call and returns the server's half.
#[must_use]
pub fn call() -> sstp::Session {
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
    while !session.is_up() {
        let mut octets = Vec::new();
        while client.poll_transmit(&mut octets) {}
        session
            .handle_stream(now, &mut octets, &mut Nothing)
            .unwrap();
        while let Some(event) = session.poll_event() {
            if let sstp::Event::Authenticate(_) = event {
                session.handle_decision(now, admit());
            }
        }
        let mut octets = Vec::new();
        while session.poll_transmit(&mut octets) {}
        client
            .handle_stream(now, &mut octets, &mut Nothing)
            .unwrap();
    }
    session
}

fn admit() -> Decision {
    Decision::Admit(Box::new(Grant {
        user: Identity::new(b"alice").unwrap(),
        proof: Proof::Message(String::new()),
        keys: None,
        network: NetworkConfig {
            address: Ipv4Addr::new(10, 8, 0, 2),
            gateway: Ipv4Addr::new(10, 8, 0, 1),
            dns: Vec::new(),
            wins: Vec::new(),
            mtu: 1400,
        },
        limits: Limits::default(),
    }))
}

struct Nothing;

impl sstp::PacketSink<'_> for Nothing {
    fn deliver(&mut self, packet: &mut [u8]) {
        panic!("a packet before the call is up: {packet:?}");
    }
}
