use super::*;

use std::net::Ipv4Addr;
use std::time::Duration;

use causeway_proto::aaa::{AuthMethod, Identity};
use causeway_proto::crypto::SecretBytes;
use causeway_proto::ip::checksum::Sum;
use causeway_proto::ip::filter::Filter;
use causeway_proto::terminate::TerminateCause;
use causeway_proto::wireguard::{PresharedKey, PrivateKey};

use crate::client::{Login, MobilityOptions, MobilityTunnel, Options, Trust, Tunnel};
use crate::control::protocol::{NewDevice, Request, Response};
use crate::dataplane::Counter;
use crate::observe::metrics::Names;
use crate::os::tun::{Offload, Peer};
use crate::os::udp;
use crate::session::{SessionCommand, SessionView, State};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A gateway on loopback with a device in memory.
fn gateway(config: &Config) -> (Gateway, Peer) {
    let (device, peer) = Device::pair(config.network.tun.mtu, Offload::Off).unwrap();
    let (_, metrics) = metrics::for_test(&Names::default());
    let parts = Parts {
        listeners: vec![TcpListener::bind("127.0.0.1:0").unwrap()],
        admin: None,
        mobility: config
            .mobility
            .iter()
            .map(|_| {
                let shards = u8::try_from(config.dataplane().shards).unwrap();
                udp::listen(LOOPBACK, shards, udp::Offloads::default()).unwrap()
            })
            .collect(),
        control: None,
        certificates: translate::certificates(config, &config.sstp.listen).unwrap(),
        authority: Authority::read(config).unwrap(),
        device,
        metrics,
    };
    parts.listeners[0].set_nonblocking(true).unwrap();
    (Gateway::start(config, parts).unwrap(), peer)
}

async fn log_in(gateway: &Gateway) -> Tunnel {
    let login = Login {
        user: Identity::new(b"alice").unwrap(),
        password: SecretBytes::from(&b"wonderland"[..]),
        method: AuthMethod::MsChapV2,
    };
    let trust = Trust::Pinned(gateway.certificates.current().hashes().sha256);
    let options = Options::windows(gateway.addresses[0], trust, login);
    Tunnel::connect(&options).await.unwrap()
}

/// An empty datagram of the client for a host behind the gateway.
fn datagram(from: Ipv4Addr) -> Vec<u8> {
    let mut octets = vec![0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0];
    octets.extend_from_slice(&from.octets());
    octets.extend_from_slice(&[10, 98, 0, 1]);
    let checksum = Sum::new().bytes(&octets).checksum();
    octets[10..12].copy_from_slice(&checksum);
    octets.extend_from_slice(&[0, 9, 0, 53, 0, 8, 0, 0]);
    octets
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_changes_the_filter_of_a_running_session() {
    let (gateway, peer) = gateway(&Config::dev().unwrap());
    let mut tunnel = log_in(&gateway).await;
    let packet = datagram(tunnel.network().address);
    let [session] = gateway.table.snapshot().try_into().unwrap();
    assert_eq!(session.facts.filter, None);
    let mut send = async |done: &dyn Fn() -> bool| {
        while !done() {
            tunnel.send(&packet).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let arrives = || peer.receive().is_ok_and(|(_, octets)| octets == packet);
    send(&arrives).await;

    let filter = Arc::new(Filter::new("none", &[], &[]));
    let order = SessionCommand::SetFilter(Some(filter));
    assert!(gateway.table.command(session.id, order));
    let dropped = || gateway.data_plane.counters().up.get(Counter::Filter);
    send(&|| dropped() > 0).await;
    let named = || gateway.table.find(session.id).unwrap().facts.filter;
    send(&|| named().as_deref() == Some("none")).await;
    while peer.receive().is_ok() {}
    let before = dropped();
    send(&|| dropped() > before).await;
    assert!(peer.receive().is_err());

    assert!(
        gateway
            .table
            .command(session.id, SessionCommand::SetFilter(None))
    );
    send(&arrives).await;
    send(&|| named().is_none()).await;
    drop(tunnel);
    gateway.stop().await;
}

/// Enrols a device as an administrator does, and returns how it comes in.
fn enrol(gateway: &Gateway, name: &str) -> MobilityOptions {
    let private_key = PrivateKey::from_bytes([7; 32]);
    let request = Request::DeviceAdd(Box::new(NewDevice {
        name: name.to_owned(),
        public_key: private_key.public().to_string(),
        ..NewDevice::default()
    }));
    let Response::Enrolled { profile, .. } = gateway.desk.respond(request) else {
        panic!("not enrolled");
    };
    MobilityOptions {
        server: gateway.mobility[0],
        server_key: profile.server_public_key.parse().unwrap(),
        private_key,
        preshared_key: PresharedKey::default(),
        address: profile.address.split('/').next().unwrap().parse().unwrap(),
    }
}

/// Waits until it is so.
async fn until(mut done: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < limit, "it never comes to that");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_comes_moves_is_put_out_and_comes_again_until_it_is_revoked() {
    let patience = Duration::from_secs(30);
    let (gateway, peer) = gateway(&Config::dev().unwrap());
    let options = enrol(&gateway, "phone");
    let mut tunnel = MobilityTunnel::connect(options.clone(), patience)
        .await
        .unwrap();
    let packet = datagram(tunnel.address());
    let arrives = || peer.receive().is_ok_and(|(_, octets)| octets == packet);
    tunnel.send(&packet).unwrap();
    until(arrives).await;
    // Control hears of the first packet after the network does.
    let is_up = |view: &SessionView| view.state == State::Up;
    until(|| gateway.table.snapshot().iter().any(is_up)).await;
    let [first] = gateway.table.snapshot().try_into().unwrap();
    assert_eq!(first.facts.device.as_deref(), Some("phone"));
    assert_eq!(first.remote.port(), tunnel.port().unwrap());

    tunnel.roam().unwrap();
    tunnel.send(&packet).unwrap();
    until(arrives).await;
    let view = || gateway.table.find(first.id).unwrap();
    until(|| view().facts.roams == 1).await;
    assert_eq!(view().remote.port(), tunnel.port().unwrap());
    // What comes back finds it there.
    let mut back = packet.clone();
    back.copy_within(12..16, 16);
    back[12..16].copy_from_slice(&[10, 98, 0, 1]);
    peer.send(&back).unwrap();
    let came = tunnel.receive(Instant::now() + patience).await.unwrap();
    let came = came.unwrap_or_else(|| panic!("{:?}", gateway.data_plane.counters().datagrams));
    assert_eq!(came[..28], back);

    let order = SessionCommand::Terminate(TerminateCause::Admin);
    assert!(gateway.table.command(first.id, order));
    until(|| gateway.table.snapshot().is_empty()).await;
    let unknown = || {
        gateway
            .data_plane
            .counters()
            .datagrams
            .up
            .get(Counter::NoKey)
    };
    // The network hears of the end after the table does.
    until(|| {
        tunnel.send(&packet).unwrap();
        unknown() > 0
    })
    .await;
    // A device that has lost its memory must not say the time of its first coming again; it says it to 17 ms.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let again = MobilityTunnel::connect(options.clone(), patience)
        .await
        .unwrap();
    let [second] = gateway.table.snapshot().try_into().unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(second.address, first.address);

    let request = Request::DeviceRevoke {
        what: "phone".to_owned(),
        dry_run: false,
    };
    let revoked = gateway.desk.respond(request);
    assert!(matches!(revoked, Response::Revoked { .. }), "{revoked:?}");
    until(|| gateway.table.snapshot().is_empty()).await;
    drop(again);
    let refused = MobilityTunnel::connect(options, Duration::from_millis(300)).await;
    assert!(refused.is_err(), "a device that was revoked is answered");
    gateway.stop().await;
}
