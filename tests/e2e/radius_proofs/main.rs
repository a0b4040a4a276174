//! What the RADIUS client promises, at full size: one prompt for each log-in, and thousands that wait.

mod pending;
mod prompts;

use causeway_proto::aaa::{Applicant, Credentials, Identity, TunnelKind};

const SECRET: &[u8] = b"a shared secret";

fn applicant(n: u32) -> Applicant {
    Applicant {
        nas_port: n,
        correlation: Some("{6B29FC40-CA47-1067-B31D-00DD010662DA}".into()),
        ras_client_version: Some("MSRASV5.20".into()),
        ras_client_name: Some("MSRAS-0-PC7".into()),
        connect_info: Some("SSTP TLS1.3".into()),
        mtu: 4091,
        ..Applicant::new(
            TunnelKind::Sstp,
            "198.51.100.7:50123".parse().unwrap(),
            "203.0.113.4:443".parse().unwrap(),
            format!("{n:08x}"),
        )
    }
}

fn pap(n: u32) -> Credentials {
    Credentials::Pap {
        user: Identity::new(format!("user{n}").as_bytes()).unwrap(),
        password: b"wonderland".as_slice().into(),
    }
}
