//! An authenticator that knows one user: PAP, MS-CHAPv2 and the server's half of EAP-MSCHAPv2.

use std::net::Ipv4Addr;

use crate::aaa::{
    Challenge, Credentials, Decision, Grant, Identity, InnerKeys, Limits, NetworkConfig, Proof,
    Refusal, RefuseReason, Rejection,
};
use crate::crypto::SecretBytes;
use crate::mschapv2;

pub(super) const USER: &[u8] = b"alice";
pub(super) const PASSWORD: &str = "wonderland";
const CHALLENGE: [u8; 16] = [0x5c; 16];

/// What the authenticator does wrong.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Mood {
    /// Nothing.
    #[default]
    Right,
    /// Leaves the keys out.
    WithoutKeys,
    /// Adds keys that PAP does not have.
    WithKeys,
    /// Sends keys that are not the client's.
    OtherKeys,
    /// Says no.
    No,
}

pub(super) fn network() -> NetworkConfig {
    NetworkConfig {
        address: Ipv4Addr::new(10, 99, 0, 2),
        gateway: Ipv4Addr::new(10, 99, 0, 1),
        dns: vec![Ipv4Addr::new(10, 0, 0, 53)],
        wins: Vec::new(),
        mtu: 1400,
    }
}

/// Decides.
pub(super) fn decide(mood: Mood, credentials: Credentials) -> Decision {
    if mood == Mood::No {
        return refuse();
    }
    match credentials {
        Credentials::Pap { user, password } => {
            if user.as_bytes() == USER && password == SecretBytes::from(PASSWORD.as_bytes()) {
                let keys = (mood == Mood::WithKeys).then(other_keys);
                admit(Proof::Message(String::new()), keys)
            } else {
                refuse()
            }
        }
        Credentials::MsChapV2 { response, .. } => prove(
            &response.challenge,
            &response.peer_challenge,
            &response.nt_response,
        )
        .map_or_else(refuse, |(proof, keys)| {
            admit(Proof::MsChapV2(proof), in_mood(mood, keys))
        }),
        Credentials::Eap { message, state, .. } => eap(
            mood,
            &message,
            &state.map(|state| state.state).unwrap_or_default(),
        ),
        Credentials::ChapMd5 { .. } | Credentials::MsChapV2Change { .. } => refuse(),
    }
}

fn prove(
    challenge: &[u8; 16],
    peer: &[u8; 16],
    response: &[u8; 24],
) -> Option<(String, InnerKeys)> {
    let hash = mschapv2::nt_password_hash(PASSWORD);
    (mschapv2::nt_response(challenge, peer, USER, &hash) == *response).then(|| {
        (
            mschapv2::authenticator_response(&hash, response, peer, challenge, USER),
            mschapv2::server_keys(&hash, response),
        )
    })
}

/// The conversation: identity, challenge, response, proof, acknowledgement.
fn eap(mood: Mood, message: &[u8], state: &[u8]) -> Decision {
    let identifier = message[1];
    match message[4] {
        1 => {
            let mut data = vec![1, identifier, 0, 0, 16];
            data.extend(CHALLENGE);
            data.extend(b"gateway");
            data[3] = u8::try_from(data.len()).unwrap();
            ask(identifier, &data, &[])
        }
        26 if message[5] == 2 => {
            let value = &message[10..];
            let peer = value[..16].try_into().unwrap();
            let response: [u8; 24] = value[24..48].try_into().unwrap();
            let Some((proof, _)) = prove(&CHALLENGE, &peer, &response) else {
                return refuse_eap(identifier);
            };
            let mut data = vec![3, message[6], 0, 0];
            data.extend(format!("{proof} M=OK").as_bytes());
            data[3] = u8::try_from(data.len()).unwrap();
            ask(identifier, &data, &response)
        }
        26 if message[5] == 3 => {
            let response: [u8; 24] = state.try_into().unwrap();
            let keys = mschapv2::server_keys(&mschapv2::nt_password_hash(PASSWORD), &response);
            admit(Proof::Eap(vec![3, identifier, 0, 4]), in_mood(mood, keys))
        }
        _ => refuse_eap(identifier),
    }
}

/// Asks by EAP; the state carries the NT-Response on to the last round.
fn ask(identifier: u8, data: &[u8], state: &[u8]) -> Decision {
    let len = u8::try_from(data.len() + 5).unwrap();
    let mut eap = vec![1, identifier.wrapping_add(1), 0, len, 26];
    eap.extend(data);
    Decision::Challenge(Challenge {
        eap,
        state: state.to_vec(),
        server: "tests".into(),
        message: None,
        timeout: None,
    })
}

fn admit(proof: Proof, keys: Option<InnerKeys>) -> Decision {
    Decision::Admit(Box::new(Grant {
        user: Identity::new(USER).unwrap(),
        proof,
        keys,
        network: network(),
        limits: Limits::default(),
    }))
}

fn in_mood(mood: Mood, keys: InnerKeys) -> Option<InnerKeys> {
    match mood {
        Mood::WithoutKeys => None,
        Mood::OtherKeys => Some(other_keys()),
        Mood::Right | Mood::WithKeys | Mood::No => Some(keys),
    }
}

fn other_keys() -> InnerKeys {
    InnerKeys {
        recv: SecretBytes::new(vec![7; 16]),
        send: SecretBytes::new(vec![8; 16]),
    }
}

fn refuse() -> Decision {
    Decision::Refuse(Refusal::new(RefuseReason::Rejected))
}

fn refuse_eap(identifier: u8) -> Decision {
    Decision::Refuse(Refusal {
        reason: RefuseReason::Rejected,
        rejection: Rejection {
            eap: Some(vec![4, identifier, 0, 4]),
            ..Rejection::default()
        },
    })
}
