//! Records on the wire, and the sender against servers that lose and forget.

mod sending;
mod wire;

use std::sync::Arc;

use super::*;
use crate::aaa::{Applicant, AuthMethod, TunnelKind};
use crate::activity::Usage;
use crate::radius::access::Nas;

const SECRET: &[u8] = b"xyzzy5461";
const WALL: u64 = 0x6743_9f12;

fn nas() -> Nas {
    Nas {
        identifier: "gw1".into(),
        ipv4: Some([10, 0, 1, 4].into()),
        ipv6: None,
    }
}

fn applicant(session: &str) -> Applicant {
    Applicant {
        nas_port: 7,
        correlation: Some("{6B29FC40-CA47-1067-B31D-00DD010662DA}".into()),
        ras_client_version: Some("MSRASV5.20".into()),
        ras_client_name: Some("MSRAS-0-PC7".into()),
        connect_info: Some("SSTP TLS1.3".into()),
        mtu: 1400,
        ..Applicant::new(
            TunnelKind::Sstp,
            "198.51.100.7:50123".parse().unwrap(),
            "203.0.113.4:443".parse().unwrap(),
            session.into(),
        )
    }
}

fn holder(classes: &[Vec<u8>]) -> Holder<'_> {
    Holder {
        user: b"CORP\\alice",
        classes,
        address: [10, 99, 0, 7].into(),
        method: Some(AuthMethod::MsChapV2),
        authentic: Authentic::Radius,
    }
}

fn record(session: &str, status: Status) -> Record {
    Record {
        status,
        session: session.into(),
        at: WALL,
        elapsed: 60,
        usage: Usage {
            up_octets: 0x1_0000_0007,
            up_packets: 3,
            down_octets: 0x2_0000_0009,
            down_packets: u64::MAX,
        },
        base: session_attributes(&nas(), &applicant(session), &holder(&[]))
            .unwrap()
            .into(),
    }
}

fn arc(octets: &[u8]) -> Arc<[u8]> {
    octets.into()
}
