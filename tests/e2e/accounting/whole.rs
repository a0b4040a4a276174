//! A whole gateway: a client logs in, packets flow, a RADIUS server ends the session, and what was reported is what was.

use super::*;

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use causeway::client::{ClientError, Login, Options, Trust, Tunnel};
use causeway::config::{self, Config as Settings, DynamicAuthorization};
use causeway::os::credentials::SecretRef;
use causeway::os::tun::Peer;
use causeway::startup::{Gateway as Whole, prepare};
use causeway_proto::radius::authenticator::{
    EMPTY_MESSAGE_AUTHENTICATOR, response_authenticator, with_message_authenticator,
};
use causeway_proto::radius::{AttributeList, AttributeType, Code, MAX_LEN, Packet};
use causeway_proto::terminate::TerminateCause;
use causeway_proto::wire::{Decode as _, Encode as _};
use harness::radius_server::{RadiusServer, Script};

/// Sends every packet back to where it came from.
fn mirror(peer: &Peer, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match peer.receive() {
            Ok((_, mut packet)) if packet.first() == Some(&0x45) => {
                let (source, destination) = packet[12..20].split_at_mut(4);
                source.swap_with_slice(destination);
                peer.send(&packet).unwrap();
            }
            Ok(_) => {}
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// An UDP packet of 128 octets without a UDP checksum.
fn packet(from: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 128, 0, 0, 0x40, 0, 64, 17, 0, 0];
    packet.extend(from.octets());
    packet.extend([192, 0, 2, 1]);
    let sum = causeway_proto::ip::checksum::wide(&packet).checksum();
    packet.splice(10..12, sum);
    packet.extend([0x13, 0x88, 0x13, 0x88, 0, 108, 0, 0]);
    packet.resize(128, 0x55);
    packet
}

fn disconnect(address: Ipv4Addr) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut list = AttributeList::new();
    list.push(
        AttributeType::MESSAGE_AUTHENTICATOR,
        &EMPTY_MESSAGE_AUTHENTICATOR,
    )
    .push_u32(
        AttributeType::EVENT_TIMESTAMP,
        u32::try_from(now.as_secs()).unwrap(),
    )
    .push(AttributeType::FRAMED_IP_ADDRESS, &address.octets());
    let code = Code::DISCONNECT_REQUEST;
    let unsigned = Packet::new(code, 1, [0; 16], list.finish().unwrap()).unwrap();
    let octets = with_message_authenticator(&unsigned, &[0; 16], SECRET);
    let mut packet = Packet::new(code, 1, [0; 16], &octets).unwrap();
    packet.authenticator = response_authenticator(&packet, &[0; 16], SECRET);
    let mut out = Vec::new();
    packet.append_to(&mut out, MAX_LEN).unwrap();
    out
}

fn session_id_of(request: &[u8]) -> Vec<u8> {
    let packet = Packet::decode_exact(request).unwrap();
    packet
        .attributes()
        .map(Result::unwrap)
        .find(|attribute| attribute.kind == AttributeType::ACCT_SESSION_ID)
        .map(|attribute| attribute.value.to_vec())
        .unwrap()
}

fn settings(folder: &Path, auth: SocketAddr, acct: SocketAddr, dynauth: SocketAddr) -> Settings {
    let secret = folder.join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut settings = Settings::dev().unwrap();
    settings.radius.servers = vec![config::Server {
        name: "nps0".into(),
        address: auth.ip(),
        auth_port: auth.port(),
        acct_port: acct.port(),
        secret: SecretRef::File(secret.clone()),
        transport: config::Transport::Udp,
        source: None,
        status_server: config::StatusServer::Off,
        tls: None,
    }];
    settings.radius.probe = None;
    settings.radius.accounting = Some(config::Accounting {
        interim: Duration::from_secs(600),
        queue: folder.join("acct.queue"),
        queue_max: 1_000,
    });
    settings.radius.dynamic_authorization = Some(DynamicAuthorization {
        listen: dynauth,
        clients: vec!["127.0.0.1/32".parse().unwrap()],
        secret: SecretRef::File(secret),
    });
    settings
}

async fn log_in(gateway: &Whole) -> Tunnel {
    let login = Login {
        user: Identity::new(b"alice").unwrap(),
        password: b"wonderland".as_slice().into(),
        method: AuthMethod::MsChapV2,
    };
    let trust = Trust::Pinned(gateway.certificates.current().hashes().sha256);
    let options = Options::windows(gateway.addresses[0], trust, login);
    Tunnel::connect(&options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_reported_of_a_session_is_what_it_was() {
    let script = Script {
        attributes: vec![
            (AttributeType::CLASS, b"of nps".to_vec()),
            (AttributeType::CLASS, b"and another".to_vec()),
        ],
        ..Script::default()
    };
    let auth = RadiusServer::start(script).unwrap();
    let acct = AccountingServer::start(0, 0).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let dynauth = free.local_addr().unwrap();
    drop(free);
    let mut settings = settings(folder.path(), auth.address(), acct.address(), dynauth);

    settings.network.best_effort = true;
    settings.admin.socket = folder.path().join("admin.sock");
    settings.sstp.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    settings.admin.listen = None;
    // Its port is a fixed one.
    settings.mobility = None;
    // The device in memory: nothing of this machine is touched, whoever runs the test.
    let prepared = prepare(&settings, None, || Err(io::Error::other("in memory"))).unwrap();
    let (parts, peer) = (prepared.parts, prepared.peer.unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let (mirror_stop, mirror_peer) = (Arc::clone(&stop), peer);
    let mirror = std::thread::spawn(move || mirror(&mirror_peer, &mirror_stop));
    let gateway = Whole::start(&settings, parts).unwrap();

    let mut tunnel = log_in(&gateway).await;
    let address = tunnel.network().address;
    for _ in 0..20 {
        tunnel.send(&packet(address)).await.unwrap();
        assert_eq!(tunnel.receive().await.unwrap().len(), 128);
    }
    client.send_to(&disconnect(address), dynauth).unwrap();
    let mut answer = [0; 64];
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let (len, _) = client.recv_from(&mut answer).unwrap();
    assert_eq!(
        Packet::decode_exact(&answer[..len]).unwrap().code,
        Code::DISCONNECT_ACK
    );
    let end = tunnel.ended().await;
    assert!(
        matches!(end, ClientError::Ended { .. } | ClientError::Closed),
        "{end}"
    );
    drop(tunnel);
    gateway.stop().await;
    stop.store(true, Ordering::Relaxed);
    mirror.join().unwrap();

    let reports = acct.reports();
    let statuses: Vec<_> = reports.iter().map(|report| report.status).collect();
    let cause = TerminateCause::DynamicAuthorization.acct_terminate_cause();
    let expected = [
        Status::On,
        Status::Start,
        Status::Stop { cause },
        Status::Off,
    ];
    assert_eq!(statuses, expected);
    let (start, end) = (&reports[1], &reports[2]);
    assert_eq!(start.session, end.session);
    assert_eq!(start.session, session_id_of(&auth.requests()[0]));
    assert_eq!(start.session.len(), "0a2b3c4d-67439f12".len());
    for report in [start, end] {
        assert_eq!(report.user.as_deref(), Some(&b"alice"[..]));
        assert_eq!(report.address, Some(address));
        assert_eq!(
            report.classes,
            [b"of nps".to_vec(), b"and another".to_vec()]
        );
    }
    let usage = end.usage;
    assert_eq!((usage.up_packets, usage.up_octets), (20, 20 * 128));
    assert_eq!((usage.down_packets, usage.down_octets), (20, 20 * 128));
}
