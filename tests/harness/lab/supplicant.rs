//! `eapol_test` as the EAP peer of a client: a real supplicant, whose EAP travels in PPP over SSTP.
//!
//! ```text
//! eapol_test <-- RADIUS --> Relay <-- PPP EAP, SSTP, TLS --> gateway <-- RADIUS --> FreeRADIUS
//! ```
//!
//! `eapol_test` believes that it talks to a RADIUS server. The relay takes each EAP packet out of its requests and gives
//! the gateway's back as challenges; the key of the crypto binding is the one that `eapol_test` has derived.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use causeway_proto::aaa::{AuthMethod, Identity, InnerKeys};
use causeway_proto::crypto::{Rng, SecretBytes};
use causeway_proto::eap::PeerStep;
use causeway_proto::ppp;
use causeway_proto::radius::authenticator::{
    EMPTY_MESSAGE_AUTHENTICATOR, MessageAuthenticator, sign_reply, verify_message_authenticator,
};
use causeway_proto::radius::{AttributeList, AttributeType, Code, MAX_LEN, Packet};
use causeway_proto::sstp::{
    self, CertificateHashes, Client, ClientEvent, Faults, HashProtocol, PacketSink,
};
use causeway_proto::wire::Decode;
use nix::sched::{CloneFlags, setns};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{GATEWAY, Lab, Peer, eventually};

/// What the relay and `eapol_test` share.
pub const SECRET: &str = "between-relay-and-supplicant";
/// How long a log-in may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// What became of a log-in.
#[derive(Clone, Debug, Default)]
pub struct Attempt {
    /// Whether packets could flow, so the crypto binding was right.
    pub up: bool,
    /// Every request of `eapol_test`.
    pub requests: Vec<Vec<u8>>,
    /// The longest EAP packet of the gateway's.
    pub longest: usize,
    /// What `eapol_test` printed.
    pub said: String,
    /// How the call ended, when it did.
    pub ended: Option<String>,
}

impl Lab {
    /// Runs something in the gateway's namespace, on a thread of its own.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = fs::File::open(Path::new("/run/netns").join(self.namespace())).unwrap();
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// Logs in with EAP as `network` says, in the words of wpa_supplicant's configuration; `spoil` changes a bit of the
    /// key that the supplicant has derived.
    #[must_use]
    pub fn supplicant(&self, network: &str, spoil: bool) -> Attempt {
        let config = self.path("supplicant.conf");
        let network = format!("network={{\n key_mgmt=WPA-EAP\n{network}\n}}\n");
        fs::write(&config, network).unwrap();
        self.inside(|| Relay::start(self, &config, spoil).run())
    }
}

/// Starts `eapol_test` against the RADIUS server at `server`.
#[must_use]
pub fn eapol_test(lab: &Lab, config: &Path, server: SocketAddr, secret: &str) -> Peer {
    // What it derives is read while it runs.
    let mut command = lab.command("stdbuf");
    command.args([
        "-oL",
        "eapol_test",
        "-r0",
        "-t30",
        "-a",
        &server.ip().to_string(),
    ]);
    command.args(["-p", &server.port().to_string(), "-s", secret, "-c"]);
    command.arg(config);
    Peer::start(lab, "eapol_test", &mut command, |_| true)
}

struct Relay {
    socket: UdpSocket,
    supplicant: Peer,
    /// The request of the supplicant's that waits for an answer.
    open: Option<(SocketAddr, Vec<u8>)>,
    rounds: u32,
    spoil: bool,
    attempt: Attempt,
    tls: StreamOwned<ClientConnection, TcpStream>,
    client: Client,
}

struct Nowhere;

impl<'a> PacketSink<'a> for Nowhere {
    fn deliver(&mut self, _packet: &'a mut [u8]) {}
}

impl Relay {
    fn start(lab: &Lab, config: &Path, spoil: bool) -> Self {
        let socket = UdpSocket::bind((GATEWAY, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let supplicant = eapol_test(lab, config, socket.local_addr().unwrap(), SECRET);
        let mut tls = connect(&lab.path("pki/ca.pem"));
        let request = Client::request(
            "vpn.test",
            "{6B29FC40-CA47-1067-B31D-00DD010662DA}",
            shape(),
        );
        tls.write_all(&request).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut octet = [0];
            tls.read_exact(&mut octet).unwrap();
            answer.extend(octet);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
        tls.sock
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let certificate = CertificateHashes::of(&tls.conn.peer_certificates().unwrap()[0]);
        let config = sstp::ClientConfig {
            ppp: ppp::Config::client(ppp::ClientConfig {
                user: Identity::new(b"unused").unwrap(),
                password: SecretBytes::from(b"unused".as_slice()),
                auth: vec![AuthMethod::Eap],
                want_dns: true,
                request_wins: false,
                mtu: 1400,
                supplicant: ppp::Supplicant::External,
                new_password: None,
                profile: ppp::Profile::Windows,
            }),
            certificate,
            preferred: HashProtocol::Sha256,
            hello_interval: Duration::from_secs(60),
            faults: Faults::default(),
        };
        Self {
            socket,
            supplicant,
            open: None,
            rounds: 0,
            spoil,
            attempt: Attempt::default(),
            tls,
            client: Client::new(config, Rng::from_seed(&[7; 32]), Instant::now()),
        }
    }

    fn run(mut self) -> Attempt {
        let started = Instant::now();
        let mut plain = Vec::new();
        let mut chunk = vec![0; 16_384];
        while started.elapsed() < PATIENCE && !self.attempt.up && self.attempt.ended.is_none() {
            let now = Instant::now();
            let consumed = self.client.handle_stream(now, &mut plain, &mut Nowhere);
            plain.drain(..consumed.unwrap());
            self.client.handle_timeout(now);
            while let Some(event) = self.client.poll_event() {
                match event {
                    ClientEvent::Eap(packet) => {
                        let said = self.consult(&packet);
                        self.client.handle_supplicant(Instant::now(), said);
                    }
                    ClientEvent::AuthenticateDone | ClientEvent::Close => {}
                    ClientEvent::Up(_) => self.attempt.up = true,
                    ClientEvent::Down { reason, .. } => {
                        self.attempt.ended = Some(reason.as_str().to_owned());
                    }
                }
            }
            let mut out = Vec::new();
            while self.client.poll_transmit(&mut out) {}
            if self
                .tls
                .write_all(&out)
                .and_then(|()| self.tls.flush())
                .is_err()
            {
                break;
            }
            match self.tls.read(&mut chunk) {
                Ok(0) => self.client.handle_closed(Instant::now()),
                Ok(read) => plain.extend_from_slice(&chunk[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => {}
                Err(_) => self.client.handle_closed(Instant::now()),
            }
        }
        self.attempt.said = self.supplicant.log();
        self.attempt
    }

    /// Lets the supplicant answer an EAP packet of the gateway's.
    fn consult(&mut self, packet: &[u8]) -> PeerStep {
        self.attempt.longest = self.attempt.longest.max(packet.len());
        match packet {
            // It has begun by itself, and does not know the identifier.
            [1, identifier, _, _, 1, ..] => {
                let mut response = self.hear();
                response[1] = *identifier;
                PeerStep::Respond(response)
            }
            [1, ..] => {
                self.answer(Code::ACCESS_CHALLENGE, packet);
                PeerStep::Respond(self.hear())
            }
            [3, ..] => {
                self.answer(Code::ACCESS_ACCEPT, packet);
                match self.keys() {
                    Some(keys) => PeerStep::Success(keys),
                    None => PeerStep::Unverified,
                }
            }
            _ => {
                self.answer(Code::ACCESS_REJECT, packet);
                PeerStep::Failure
            }
        }
    }

    /// Waits for the supplicant's next request and returns its EAP.
    fn hear(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; MAX_LEN];
        let Ok((len, from)) = self.socket.recv_from(&mut buffer) else {
            panic!("the supplicant is silent:\n{}", self.supplicant.log());
        };
        buffer.truncate(len);
        let request = Packet::decode_exact(&buffer).unwrap();
        assert_eq!(request.code, Code::ACCESS_REQUEST);
        assert_eq!(
            verify_message_authenticator(&request, &request.authenticator, SECRET.as_bytes()),
            Ok(MessageAuthenticator::Verified)
        );
        let mut eap = Vec::new();
        let mut state = None;
        for attribute in request.attributes().map(Result::unwrap) {
            match attribute.kind {
                AttributeType::EAP_MESSAGE => eap.extend(attribute.value),
                AttributeType::STATE => state = Some(attribute.value.to_vec()),
                _ => {}
            }
        }
        let expected = (self.rounds > 0).then(|| self.rounds.to_be_bytes().to_vec());
        assert_eq!(state, expected, "the supplicant's state");
        self.attempt.requests.push(buffer.clone());
        self.open = Some((from, buffer));
        eap
    }

    /// Answers the open request.
    fn answer(&mut self, code: Code, eap: &[u8]) {
        let (to, bytes) = self.open.take().unwrap();
        let request = Packet::decode_exact(&bytes).unwrap();
        let mut list = AttributeList::new();
        list.push(
            AttributeType::MESSAGE_AUTHENTICATOR,
            &EMPTY_MESSAGE_AUTHENTICATOR,
        );
        list.push_split(AttributeType::EAP_MESSAGE, eap);
        if code == Code::ACCESS_CHALLENGE {
            self.rounds += 1;
            list.push(AttributeType::STATE, &self.rounds.to_be_bytes());
        }
        let reply = sign_reply(
            code,
            request.identifier,
            list.finish().unwrap(),
            &request.authenticator,
            SECRET.as_bytes(),
        );
        self.socket.send_to(&reply.unwrap(), to).unwrap();
    }

    /// Reads what the supplicant derived: the MSK's first half is what the server calls its receive key.
    fn keys(&self) -> Option<InnerKeys> {
        let found = || derived(&self.supplicant.log());
        eventually(5, || found().is_some());
        let mut key = found()?;
        if self.spoil {
            key[0] ^= 1;
        }
        let (recv, send) = key.split_at(key.len() / 2);
        Some(InnerKeys {
            recv: SecretBytes::from(recv),
            send: SecretBytes::from(send),
        })
    }
}

/// Finds the last key in the words of `eapol_test`; inside of PEAP the inner method derives one as well.
fn derived(said: &str) -> Option<Vec<u8>> {
    let hex = said
        .lines()
        .rfind(|line| line.contains(": Derived key - hexdump(len="))?
        .rsplit_once("):")?
        .1;
    let octets = hex.split_whitespace();
    let key: Option<Vec<u8>> = octets.map(|o| u8::from_str_radix(o, 16).ok()).collect();
    key.filter(|key| key.len() >= 32)
}

const fn shape() -> sstp::http::ClientShape {
    sstp::http::ClientShape::Windows
}

/// Connects to the gateway, whose certificate must be by `authority`.
fn connect(authority: &PathBuf) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("vpn.test").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect((GATEWAY, 443)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(connection, socket)
}
