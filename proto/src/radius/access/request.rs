//! `Applicant` and `Credentials` to Access-Request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::super::authenticator::{EMPTY_MESSAGE_AUTHENTICATOR, with_message_authenticator};
use super::super::packet::MAX_LEN;
use super::super::{AttributeList, AttributeType, Code, MicrosoftType, Packet, hidden, vendor};
use crate::aaa::{Applicant, Credentials, MsChapV2Response, TunnelKind};
use crate::mschapv2::PasswordChange;
use crate::wire::Encode;

/// What the gateway says of itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Nas {
    /// NAS-Identifier.
    pub identifier: String,
    /// NAS-IP-Address; the MFA extension's `IP_WHITELIST` compares it, so it can be chosen.
    pub ipv4: Option<Ipv4Addr>,
    /// NAS-IPv6-Address.
    pub ipv6: Option<Ipv6Addr>,
}

/// What makes one request different from all others.
#[derive(Clone, Copy)]
pub struct Signing<'a> {
    /// Identifier.
    pub identifier: u8,
    /// Request authenticator: 16 octets that nobody can foresee.
    pub authenticator: [u8; 16],
    /// The secret shared with the server.
    pub secret: &'a [u8],
}

impl core::fmt::Debug for Signing<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Signing({})", self.identifier)
    }
}

/// Why no request can be made of these credentials.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum RequestError {
    /// The password is longer than User-Password takes.
    #[error("password is longer than 128 octets")]
    PasswordTooLong,
    /// What the client sent does not fit into an attribute or the packet.
    #[error("request is longer than 4096 octets")]
    TooLong,
}

/// Service-Type Framed.
const FRAMED: u32 = 2;
/// Framed-Protocol PPP.
const PPP: u32 = 1;
/// NAS-Port-Type Virtual: NPS' policies for VPN match on it.
const VIRTUAL: u32 = 5;
/// Tunnel-Type of SSTP: Microsoft's vendor number and 1 ([MS-RNAS] §2.2.2.1).
const TUNNEL_SSTP: u32 = vendor::MICROSOFT << 8 | 1;
/// MS-Network-Access-Server-Type "Remote Access Server (VPN-Dial up)": NPS' policies match on it.
const REMOTE_ACCESS_SERVER: u32 = 2;
/// The version that RRAS gives for itself.
const RAS_VERSION: &[u8] = b"MSRASV5.20";
/// The largest Framed-MTU: an Access-Challenge with an EAP fragment of this size still fits one Ethernet frame.
const MAX_EAP_MTU: u16 = 1344;

/// Makes the Access-Request.
///
/// # Errors
///
/// When the client's own values do not fit.
pub fn encode_request(
    nas: &Nas,
    applicant: &Applicant,
    credentials: &Credentials,
    signing: Signing<'_>,
) -> Result<Vec<u8>, RequestError> {
    encode_answer(nas, applicant, credentials, &[], signing)
}

/// Makes the Access-Request that answers a challenge by another method than EAP: `state` goes back to who sent it.
///
/// # Errors
///
/// When the client's own values do not fit.
pub fn encode_answer(
    nas: &Nas,
    applicant: &Applicant,
    credentials: &Credentials,
    state: &[u8],
    signing: Signing<'_>,
) -> Result<Vec<u8>, RequestError> {
    let mut list = AttributeList::new();
    list.push(
        AttributeType::MESSAGE_AUTHENTICATOR,
        &EMPTY_MESSAGE_AUTHENTICATOR,
    );
    list.push(AttributeType::USER_NAME, credentials.user().as_bytes());
    push_credentials(&mut list, applicant, credentials, signing)?;
    if !state.is_empty() {
        list.push(AttributeType::STATE, state);
    }
    push_nas(&mut list, nas, applicant);
    push_tunnel(&mut list, applicant);
    push_microsoft(&mut list, applicant);

    sign(Code::ACCESS_REQUEST, &list, signing).ok_or(RequestError::TooLong)
}

/// Makes the Status-Server (RFC 5997 §3); `None` when what the gateway says of itself does not fit.
#[must_use]
pub fn encode_status(nas: &Nas, signing: Signing<'_>) -> Option<Vec<u8>> {
    let mut list = AttributeList::new();
    list.push(
        AttributeType::MESSAGE_AUTHENTICATOR,
        &EMPTY_MESSAGE_AUTHENTICATOR,
    );
    push_identity(&mut list, nas);
    sign(Code::STATUS_SERVER, &list, signing)
}

/// Puts attributes that begin with an empty Message-Authenticator into a packet.
fn sign(code: Code, list: &AttributeList, signing: Signing<'_>) -> Option<Vec<u8>> {
    let (identifier, authenticator) = (signing.identifier, signing.authenticator);
    let unsigned = Packet::new(code, identifier, authenticator, list.finish()?)?;
    let attributes = with_message_authenticator(&unsigned, &authenticator, signing.secret);
    let signed = Packet::new(code, identifier, authenticator, &attributes)?;
    let mut out = Vec::new();
    signed.append_to(&mut out, MAX_LEN).ok()?;
    Some(out)
}

/// Adds what the client offered as proof.
fn push_credentials(
    list: &mut AttributeList,
    applicant: &Applicant,
    credentials: &Credentials,
    signing: Signing<'_>,
) -> Result<(), RequestError> {
    match credentials {
        Credentials::Pap { password, .. } => {
            let hidden =
                hidden::hide_password(password.expose(), signing.secret, &signing.authenticator)
                    .ok_or(RequestError::PasswordTooLong)?;
            list.push(AttributeType::USER_PASSWORD, &hidden);
        }
        Credentials::ChapMd5 {
            identifier,
            challenge,
            response,
            ..
        } => {
            let mut password = vec![*identifier];
            password.extend_from_slice(response);
            list.push(AttributeType::CHAP_PASSWORD, &password)
                .push(AttributeType::CHAP_CHALLENGE, challenge);
        }
        Credentials::MsChapV2 { response, .. } => {
            list.push_microsoft(MicrosoftType::CHAP_CHALLENGE, &response.challenge)
                .push_microsoft(MicrosoftType::CHAP2_RESPONSE, &chap2_response(response));
        }
        Credentials::MsChapV2Change { change, .. } => push_change(list, change),
        Credentials::Eap { message, state, .. } => {
            list.push_split(AttributeType::EAP_MESSAGE, message);
            if let Some(state) = state.as_ref().filter(|state| !state.state.is_empty()) {
                list.push(AttributeType::STATE, &state.state);
            }
            let mtu = applicant.mtu.min(MAX_EAP_MTU);
            list.push_u32(AttributeType::FRAMED_MTU, mtu.into());
        }
    }
    Ok(())
}

/// Returns the value of MS-CHAP2-Response, 50 octets (RFC 2548 §2.3.2).
fn chap2_response(response: &MsChapV2Response) -> Vec<u8> {
    let mut value = vec![response.identifier, response.flags];
    value.extend_from_slice(&response.peer_challenge);
    value.extend_from_slice(&[0; 8]);
    value.extend_from_slice(&response.nt_response);
    value
}

/// Adds a new password: its block in pieces of what an attribute holds, numbered from 1 (RFC 2548 §2.2, §2.3.4).
fn push_change(list: &mut AttributeList, change: &PasswordChange) {
    /// What is left of 255 octets behind type, length and vendor, type and length within, and the piece's own header.
    const PIECE: usize = 255 - 2 - 4 - 2 - 4;
    let mut value = vec![7, change.identifier];
    value.extend_from_slice(&change.encrypted_hash);
    value.extend_from_slice(&change.peer_challenge);
    value.extend_from_slice(&[0; 8]);
    value.extend_from_slice(&change.nt_response);
    value.extend_from_slice(&change.flags);
    list.push_microsoft(MicrosoftType::CHAP_CHALLENGE, &change.challenge)
        .push_microsoft(MicrosoftType::CHAP2_CPW, &value);
    for (piece, number) in change.encrypted_password.chunks(PIECE).zip(1_u8..) {
        let mut value = vec![6, change.identifier, 0, number];
        value.extend_from_slice(piece);
        list.push_microsoft(MicrosoftType::CHAP_NT_ENC_PW, &value);
    }
}

/// Adds who asks and on which port.
pub(in crate::radius) fn push_nas(list: &mut AttributeList, nas: &Nas, applicant: &Applicant) {
    push_identity(list, nas);
    list.push_u32(AttributeType::NAS_PORT, applicant.nas_port)
        .push_u32(AttributeType::NAS_PORT_TYPE, VIRTUAL)
        .push_u32(AttributeType::SERVICE_TYPE, FRAMED)
        .push_u32(AttributeType::FRAMED_PROTOCOL, PPP)
        .push(AttributeType::ACCT_SESSION_ID, applicant.session.as_bytes());
    if let Some(text) = applicant.connect_info.as_deref().filter(|t| !t.is_empty()) {
        list.push(AttributeType::CONNECT_INFO, text.as_bytes());
    }
}

/// Adds what the gateway says of itself.
fn push_identity(list: &mut AttributeList, nas: &Nas) {
    if let Some(address) = nas.ipv4 {
        list.push(AttributeType::NAS_IP_ADDRESS, &address.octets());
    }
    if let Some(address) = nas.ipv6 {
        list.push(AttributeType::NAS_IPV6_ADDRESS, &address.octets());
    }
    if !nas.identifier.is_empty() {
        list.push(AttributeType::NAS_IDENTIFIER, nas.identifier.as_bytes());
    }
}

/// Adds the tunnel and its ends; addresses without ports, because policies compare them as text.
pub(in crate::radius) fn push_tunnel(list: &mut AttributeList, applicant: &Applicant) {
    let (client, server) = (applicant.remote.ip(), applicant.local.ip());
    list.push_address_text(AttributeType::CALLED_STATION_ID, server)
        .push_address_text(AttributeType::CALLING_STATION_ID, client);
    match applicant.tunnel {
        TunnelKind::Sstp => {
            // The tag, a zero octet, and the value in three octets (RFC 2868 §3.1).
            list.push_u32(AttributeType::TUNNEL_TYPE, TUNNEL_SSTP);
        }
        // They get their numbers when they are built.
        TunnelKind::Ikev2 | TunnelKind::Mobility => {}
    }
    let medium = match client.to_canonical() {
        IpAddr::V4(_) => 1,
        IpAddr::V6(_) => 2,
    };
    list.push_u32(AttributeType::TUNNEL_MEDIUM_TYPE, medium)
        .push_address_text(AttributeType::TUNNEL_CLIENT_ENDPOINT, client)
        .push_address_text(AttributeType::TUNNEL_SERVER_ENDPOINT, server);
}

/// Adds what NPS knows a Microsoft gateway by; the client's own words only when they look as they should.
pub(in crate::radius) fn push_microsoft(list: &mut AttributeList, applicant: &Applicant) {
    list.push_microsoft(MicrosoftType::RAS_VENDOR, &vendor::MICROSOFT.to_be_bytes())
        .push_microsoft(MicrosoftType::RAS_VERSION, RAS_VERSION)
        .push_microsoft(
            MicrosoftType::NETWORK_ACCESS_SERVER_TYPE,
            &REMOTE_ACCESS_SERVER.to_be_bytes(),
        );
    if let Some(version) = applicant.ras_client_version.as_deref().and_then(printable) {
        list.push_microsoft(MicrosoftType::RAS_CLIENT_VERSION, version);
    }
    if let Some(name) = applicant.ras_client_name.as_deref().and_then(printable) {
        let mut value = name.to_vec();
        value.push(0);
        list.push_microsoft(MicrosoftType::RAS_CLIENT_NAME, &value);
    }
    if let Some(guid) = applicant.correlation.as_deref().and_then(guid) {
        list.push_microsoft(MicrosoftType::RAS_CORRELATION_ID, guid.as_bytes());
    }
}

/// Takes 1 to 32 printable octets ([MS-RNAS] §2.2.1.2: fewer than 34 with the final zero).
fn printable(text: &str) -> Option<&[u8]> {
    let octets = text.as_bytes();
    ((1..=32).contains(&octets.len()) && octets.iter().all(|o| (0x20..0x7f).contains(o)))
        .then_some(octets)
}

/// Takes a GUID with or without braces and returns it with them; what some clients send instead is left out.
fn guid(text: &str) -> Option<String> {
    let inner = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
        .unwrap_or(text);
    let good = inner.len() == 36
        && inner.char_indices().all(|(at, c)| match at {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        });
    good.then(|| format!("{{{inner}}}"))
}
