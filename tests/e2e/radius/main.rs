//! The gateway's RADIUS client and user file against a server that lies as it is told.

mod absurd;
mod faults;
mod house;
mod lies;
mod logins;
mod new_password;
mod prompts;
mod servers;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use causeway::auth::{
    AuthHealth, Authenticator, DuplicateLogins, DuplicatePolicy, Outcome, RadiusAuthenticator,
    UserFile,
};
use causeway::radius::{Config, Demand, RadiusResult, Server, StatusServer, Transport};
use causeway_proto::aaa::{
    Applicant, AuthMethod, Authorization, Challenge, Credentials, FramedAddress, Identity,
    InnerKeys, MsChapV2Response, Proof, RefuseReason, TunnelKind, Verdict,
};
use causeway_proto::crypto::legacy::md5_of;
use causeway_proto::mschapv2::{
    nt_password_hash, nt_response, server_keys, user_without_domain, verify_authenticator_response,
};
use causeway_proto::radius::{AttributeType, Code};
use harness::radius_server::{Fault, RadiusServer, Script};

const CHALLENGE: [u8; 16] = [0x11; 16];
const PEER: [u8; 16] = [0x22; 16];

fn applicant() -> Applicant {
    Applicant {
        nas_port: 7,
        correlation: Some("{6B29FC40-CA47-1067-B31D-00DD010662DA}".into()),
        ras_client_version: Some("MSRASV5.20".into()),
        ras_client_name: Some("MSRAS-0-PC7".into()),
        connect_info: Some("SSTP TLS1.3".into()),
        mtu: 4091,
        ..Applicant::new(
            TunnelKind::Sstp,
            "198.51.100.7:50123".parse().unwrap(),
            "203.0.113.4:443".parse().unwrap(),
            "0a2b3c4d".into(),
        )
    }
}

fn identity(user: &str) -> Identity {
    Identity::new(user.as_bytes()).unwrap()
}

fn pap(user: &str, password: &str) -> Credentials {
    Credentials::Pap {
        user: identity(user),
        password: password.as_bytes().into(),
    }
}

fn response(user: &str, password: &str) -> [u8; 24] {
    let bare = user_without_domain(user.as_bytes());
    nt_response(&CHALLENGE, &PEER, bare, &nt_password_hash(password))
}

fn ms_chap(user: &str, password: &str) -> Credentials {
    Credentials::MsChapV2 {
        user: identity(user),
        response: MsChapV2Response {
            identifier: 3,
            challenge: CHALLENGE,
            peer_challenge: PEER,
            nt_response: response(user, password),
            flags: 0,
        },
    }
}

/// Starts the client for servers at these addresses.
fn client_of(
    servers: &[SocketAddr],
    change: impl FnOnce(&mut Config),
) -> (Authenticator, Transport) {
    let mut config = Config {
        servers: servers
            .iter()
            .enumerate()
            .map(|(n, address)| Server {
                name: format!("nps{n}"),
                address: address.ip(),
                auth_port: address.port(),
                secret: Script::default().secret.as_slice().into(),
                source: None,
                status: StatusServer::Off,
                tls: None,
            })
            .collect(),
        nas_identifier: "gw-test".into(),
        timeout: Duration::from_secs(20),
        retransmit: vec![Duration::from_millis(150)],
        ..Config::default()
    };
    change(&mut config);
    let mfa = config.mfa;
    let (transport, driver) = Transport::new(config).unwrap();
    tokio::spawn(driver.run());
    let radius = RadiusAuthenticator::new(transport.clone(), mfa);
    (Authenticator::radius(radius, None), transport)
}

fn client(server: &RadiusServer) -> Authenticator {
    client_of(&[server.address()], |_| ()).0
}

/// How long a client waits that nobody answers.
const HASTY: Duration = Duration::from_millis(600);
/// What took less than this did not wait for the deadline of a client that is not hasty.
const AT_ONCE: Duration = Duration::from_secs(10);

fn hasty_client(server: &RadiusServer) -> Authenticator {
    client_of(&[server.address()], |c| c.timeout = HASTY).0
}

async fn ask(authenticator: &Authenticator, credentials: Credentials) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(58);
    authenticator
        .authenticate(&applicant(), credentials, deadline)
        .await
}

fn faulty(fault: Fault) -> RadiusServer {
    RadiusServer::start(Script {
        fault,
        ..Script::default()
    })
    .unwrap()
}

fn accepted(outcome: &Outcome) -> &Authorization {
    assert_eq!(
        (outcome.result, outcome.refusal),
        (RadiusResult::Accept, None)
    );
    match &outcome.verdict {
        Some(Verdict::Accept(authorization)) => authorization,
        other => panic!("{other:?}"),
    }
}

/// A client that is refused must never be told otherwise.
fn refused(outcome: &Outcome, result: RadiusResult, reason: RefuseReason) {
    assert_eq!(
        (outcome.result, outcome.refusal),
        (result, Some(reason)),
        "{outcome:?}"
    );
    assert!(
        matches!(outcome.verdict, None | Some(Verdict::Reject(_))),
        "{outcome:?}"
    );
    assert!(outcome.explanation.is_some(), "{outcome:?}");
}
