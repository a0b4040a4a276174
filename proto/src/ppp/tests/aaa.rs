//! An authenticator that knows one user, Alice in Wonderland.

use std::net::Ipv4Addr;

use crate::aaa::{
    Challenge, Credentials, Decision, Grant, Identity, InnerKeys, Limits, NetworkConfig, Proof,
    Refusal, RefuseReason,
};
use crate::crypto::legacy::md5_of;
use crate::eap;
use crate::mschapv2;

pub(super) const PASSWORD: &str = "wonderland";
const EAP_CHALLENGE: [u8; 16] = [0x5a; 16];

pub(super) fn network() -> NetworkConfig {
    NetworkConfig {
        address: Ipv4Addr::new(10, 9, 0, 7),
        gateway: Ipv4Addr::new(10, 9, 0, 1),
        dns: vec![Ipv4Addr::new(10, 9, 0, 53), Ipv4Addr::new(10, 9, 0, 54)],
        wins: vec![],
        mtu: 1400,
    }
}

pub(super) fn admit(user: &Identity, proof: Proof, keys: Option<InnerKeys>) -> Decision {
    Decision::Admit(Box::new(Grant {
        user: user.clone(),
        proof,
        keys,
        network: network(),
        limits: Limits::default(),
    }))
}

/// What alice's password was.
pub(super) const EXPIRED: &str = "looking glass";

/// Says that the password was right, and is so no more.
pub(super) fn expired() -> Decision {
    let mut refusal = Refusal::new(RefuseReason::Rejected);
    let text = "E=648 R=0 C=00112233445566778899AABBCCDDEEFF V=3 M=Password expired";
    refusal.rejection.ms_chap_error = Some(text.to_owned());
    Decision::Refuse(refusal)
}

pub(super) fn refuse() -> Decision {
    Decision::Refuse(Refusal::new(RefuseReason::Rejected))
}

/// Decides as a RADIUS server would.
pub(super) fn decide(credentials: &Credentials) -> Decision {
    let hash = mschapv2::nt_password_hash(PASSWORD);
    let user = mschapv2::user_without_domain(credentials.user().as_bytes()).to_vec();
    if user != b"alice" {
        return refuse();
    }
    match credentials {
        Credentials::Pap { user, password } if password.expose() == PASSWORD.as_bytes() => {
            admit(user, Proof::Message("Hello".to_owned()), None)
        }
        Credentials::ChapMd5 {
            user,
            identifier,
            challenge,
            response,
        } if md5_of(&[&[*identifier], PASSWORD.as_bytes(), challenge]) == *response => {
            admit(user, Proof::Message(String::new()), None)
        }
        Credentials::MsChapV2 {
            user: name,
            response,
        } => {
            let (challenge, peer) = (&response.challenge, &response.peer_challenge);
            let nt = &response.nt_response;
            let old = mschapv2::nt_password_hash(EXPIRED);
            if mschapv2::verify_nt_response(nt, challenge, peer, &user, &old) {
                return expired();
            }
            if !mschapv2::verify_nt_response(nt, challenge, peer, &user, &hash) {
                return refuse();
            }
            let text = mschapv2::authenticator_response(&hash, nt, peer, challenge, &user);
            let keys = mschapv2::server_keys(&hash, nt);
            admit(name, Proof::MsChapV2(text), Some(keys))
        }
        Credentials::MsChapV2Change { user: name, change } => {
            // The password here is the one that has not expired.
            let Some(new) = change.reveal(&mschapv2::nt_password_hash(EXPIRED), &user) else {
                return refuse();
            };
            if *new != PASSWORD {
                return refuse();
            }
            let (challenge, peer) = (&change.challenge, &change.peer_challenge);
            let nt = &change.nt_response;
            let text = mschapv2::authenticator_response(&hash, nt, peer, challenge, &user);
            admit(
                name,
                Proof::MsChapV2(text),
                Some(mschapv2::server_keys(&hash, nt)),
            )
        }
        Credentials::Eap {
            user: name,
            message,
            state,
        } => decide_eap(name, &user, message, state.as_ref()),
        Credentials::Pap { .. } | Credentials::ChapMd5 { .. } => refuse(),
    }
}

/// EAP-MSCHAPv2: Identity, challenge, success, end; the state counts the rounds and carries the keys.
fn decide_eap(name: &Identity, user: &[u8], message: &[u8], state: Option<&Challenge>) -> Decision {
    let hash = mschapv2::nt_password_hash(PASSWORD);
    let packet = eap::Packet::read(message).unwrap();
    let (_, data) = packet.body.unwrap();
    let id = packet.identifier.wrapping_add(1);
    let Some(state) = state else {
        let body = [&[1, 9, 0, 26, 16][..], &EAP_CHALLENGE, b"rad"].concat();
        return challenge(id, eap::Type::MSCHAPV2, &body, vec![1]);
    };
    if state.state == [1] && data.len() > 54 {
        let peer: [u8; 16] = data[5..21].try_into().unwrap();
        let nt: [u8; 24] = data[29..53].try_into().unwrap();
        if !mschapv2::verify_nt_response(&nt, &EAP_CHALLENGE, &peer, user, &hash) {
            return refuse();
        }
        let text = mschapv2::authenticator_response(&hash, &nt, &peer, &EAP_CHALLENGE, user);
        let body = [&[3, 9, 0, 46][..], text.as_bytes()].concat();
        return challenge(id, eap::Type::MSCHAPV2, &body, nt.to_vec());
    }
    match <[u8; 24]>::try_from(state.state.as_slice()) {
        Ok(nt) if data == [3] => {
            let keys = mschapv2::server_keys(&hash, &nt);
            admit(
                name,
                Proof::Eap(vec![3, packet.identifier, 0, 4]),
                Some(keys),
            )
        }
        _ => refuse(),
    }
}

/// A Request of the server.
pub(super) fn challenge(id: u8, kind: eap::Type, data: &[u8], state: Vec<u8>) -> Decision {
    let packet = eap::Packet {
        code: eap::Code::REQUEST,
        identifier: id,
        body: Some((kind, data)),
    };
    Decision::Challenge(Challenge {
        eap: packet.to_vec(),
        state,
        server: "nps".to_owned(),
        message: None,
        timeout: None,
    })
}
