//! Who decides in the programs: knows alice, and does what the program's mood says.

use std::net::Ipv4Addr;

use causeway_proto::aaa::{
    Challenge, Credentials, Decision, Grant, InnerKeys, Limits, MsChapV2Response, NetworkConfig,
    Proof, Refusal, RefuseReason,
};
use causeway_proto::mschapv2;

use crate::Program;

/// The only user.
pub const USER: &[u8] = b"alice";
/// Her password.
pub const PASSWORD: &str = "wonderland";

/// Decides about credentials; half of the moods are honest.
pub fn decide(program: &mut Program<'_>, credentials: &Credentials) -> Decision {
    let mood = program.byte();
    match credentials {
        Credentials::Pap { user, password } if mood & 1 == 0 => {
            if user.as_bytes() == USER && password.expose() == PASSWORD.as_bytes() {
                admit(Proof::Message(String::new()), None)
            } else {
                refuse(mood)
            }
        }
        Credentials::MsChapV2 { response, .. } if mood & 1 == 0 => {
            mschap(response).unwrap_or_else(|| refuse(mood))
        }
        Credentials::Eap { .. } if mood & 3 == 0 => Decision::Challenge(Challenge {
            eap: program.short().to_vec(),
            state: vec![1],
            server: "server".to_owned(),
            message: None,
            timeout: None,
        }),
        Credentials::Eap { .. } if mood & 3 == 2 => {
            admit(Proof::Eap(program.short().to_vec()), Some(keys(mood)))
        }
        _ if mood & 4 == 0 => refuse(mood),
        // A server that is wrong, or somebody else's.
        Credentials::MsChapV2 { .. } | Credentials::MsChapV2Change { .. } => admit(
            Proof::MsChapV2(String::from_utf8_lossy(program.short()).into_owned()),
            Some(keys(mood)),
        ),
        Credentials::Pap { .. } | Credentials::ChapMd5 { .. } | Credentials::Eap { .. } => admit(
            Proof::Message("hello".to_owned()),
            (mood & 8 == 0).then(|| keys(mood)),
        ),
    }
}

fn mschap(response: &MsChapV2Response) -> Option<Decision> {
    let hash = mschapv2::nt_password_hash(PASSWORD);
    let MsChapV2Response {
        challenge,
        peer_challenge,
        nt_response,
        ..
    } = response;
    mschapv2::verify_nt_response(nt_response, challenge, peer_challenge, USER, &hash).then(|| {
        let proof =
            mschapv2::authenticator_response(&hash, nt_response, peer_challenge, challenge, USER);
        admit(
            Proof::MsChapV2(proof),
            Some(mschapv2::server_keys(&hash, nt_response)),
        )
    })
}

fn keys(seed: u8) -> InnerKeys {
    let len = if seed & 16 == 0 { 16 } else { 32 };
    InnerKeys {
        recv: vec![seed; len].as_slice().into(),
        send: vec![!seed; len].as_slice().into(),
    }
}

fn refuse(mood: u8) -> Decision {
    let reason = RefuseReason::ALL[usize::from(mood) % RefuseReason::ALL.len()];
    let mut refusal = Refusal::new(reason);
    if mood & 0x10 != 0 {
        // The password has expired; there may be a challenge for another one, or half of one.
        let digits = "00112233445566778899AABBCCDDEEFF";
        let digits = &digits[..usize::from(mood >> 5) * 5 % 33];
        refusal.rejection.ms_chap_error = Some(format!("E=648 R=0 C={digits} V=3 M=Expired"));
    }
    Decision::Refuse(refusal)
}

fn admit(proof: Proof, keys: Option<InnerKeys>) -> Decision {
    Decision::Admit(Box::new(Grant {
        user: causeway_proto::aaa::Identity::new(USER).expect("a name"),
        proof,
        keys,
        network: NetworkConfig {
            address: Ipv4Addr::new(10, 99, 0, 2),
            gateway: Ipv4Addr::new(10, 99, 0, 1),
            dns: vec![Ipv4Addr::new(10, 98, 0, 1)],
            wins: Vec::new(),
            mtu: 1400,
        },
        limits: Limits::default(),
    }))
}
