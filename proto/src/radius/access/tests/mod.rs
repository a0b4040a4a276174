use super::{Nas, Signing};
use crate::aaa::{Applicant, Challenge, Credentials, Identity, MsChapV2Response, TunnelKind};

mod reply;
mod request;

const SIGNING: Signing<'static> = Signing {
    identifier: 77,
    authenticator: [9; 16],
    secret: b"secret",
};

fn applicant() -> Applicant {
    Applicant {
        nas_port: 12,
        correlation: Some("{6B29FC40-CA47-1067-B31D-00DD010662DA}".into()),
        ras_client_version: Some("MSRASV5.20".into()),
        ras_client_name: Some("MSRAS-0-PC7".into()),
        connect_info: Some("SSTP TLS1.3".into()),
        mtu: 4091,
        ..Applicant::new(
            TunnelKind::Sstp,
            "[::ffff:198.51.100.7]:50123".parse().unwrap(),
            "203.0.113.4:443".parse().unwrap(),
            "0a2b3c4d".into(),
        )
    }
}

fn nas() -> Nas {
    Nas {
        identifier: "gw-weu-1".into(),
        ipv4: Some([10, 0, 1, 4].into()),
        ipv6: None,
    }
}

fn user() -> Identity {
    Identity::new(b"CORP\\alice").unwrap()
}

fn pap() -> Credentials {
    Credentials::Pap {
        user: user(),
        password: b"wonderland".as_slice().into(),
    }
}

fn ms_chap() -> Credentials {
    Credentials::MsChapV2 {
        user: user(),
        response: MsChapV2Response {
            identifier: 5,
            challenge: [1; 16],
            peer_challenge: [2; 16],
            nt_response: [3; 24],
            flags: 0,
        },
    }
}

fn eap(message: Vec<u8>, state: Option<Challenge>) -> Credentials {
    Credentials::Eap {
        user: user(),
        message,
        state,
    }
}
