//! Access-Accept, -Reject, -Challenge to `Verdict`.
//!
//! Reads authentic replies only. An attribute of a wrong size, or twice where RFC 2865 §5.44 allows one, spoils the
//! whole reply: nothing of it is used.

use std::net::Ipv4Addr;
use std::time::Duration;

use thiserror::Error;

use super::super::hidden::{HiddenError, reveal_key};
use super::super::vendor::{VendorSpecific, microsoft_type};
use super::super::{Attribute, AttributeType, Code, MicrosoftType, Packet};
use super::Signing;
use crate::aaa::{
    Authorization, Challenge, Credentials, FramedAddress, FramedRoute, Identity, InnerKeys, Proof,
    Rejection, Verdict,
};
use crate::eap;
use crate::wire::DecodeError;

/// What an authentic reply comes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// A verdict.
    Verdict(Verdict),
    /// An Access-Accept that lets nobody in.
    Lacking(Lacking),
}

/// What an Access-Accept left out, or asks for in vain.
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum Lacking {
    /// The client would say that it cannot verify the server.
    #[error("accept without MS-CHAP2-Success")]
    Success,
    /// Without it there is no crypto binding.
    #[error("accept without MS-MPPE-Recv-Key")]
    RecvKey,
    /// Without it there is no crypto binding.
    #[error("accept without MS-MPPE-Send-Key")]
    SendKey,
    /// Nobody has proved anything: the last that the client said was its name, or that it wants another method.
    #[error("accept before an EAP method has run")]
    Method,
    /// A service that the gateway does not have; RFC 2865 §5.6 makes that a reject.
    #[error("accept for Service-Type {0}")]
    Service(u32),
}

/// Why an authentic reply is of no use.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ReplyError {
    /// An attribute is wrong.
    #[error(transparent)]
    Attribute(#[from] DecodeError),
    /// A hidden key is wrong.
    #[error("{field}: {error}")]
    Hidden {
        /// Which.
        field: &'static str,
        /// Why.
        error: HiddenError,
    },
    /// The code answers no Access-Request.
    #[error("reply with code {0:?}")]
    Code(Code),
}

/// Reads an authentic reply to the request that carried `credentials`; `server` is its name.
///
/// # Errors
///
/// When the reply must not be used at all.
pub fn decode_reply(
    reply: &Packet<'_>,
    credentials: &Credentials,
    signing: Signing<'_>,
    server: &str,
) -> Result<Answer, ReplyError> {
    let fields = Fields::collect(reply)?;
    match reply.code {
        Code::ACCESS_ACCEPT => fields.accept(credentials, signing, server),
        Code::ACCESS_REJECT => Ok(Answer::Verdict(Verdict::Reject(fields.reject()))),
        Code::ACCESS_CHALLENGE => {
            let challenge = fields.challenge(credentials, server)?;
            Ok(Answer::Verdict(Verdict::Challenge(challenge)))
        }
        code => Err(ReplyError::Code(code)),
    }
}

/// The longest time that an answer may set: what is longer makes no difference and might overflow a clock.
const MAX_TIMEOUT: u32 = 366 * 24 * 3600;
/// Acct-Interim-Interval must not be smaller (RFC 2869 §5.16).
const MIN_INTERIM: u32 = 60;
/// The smallest MTU that is taken seriously: RFC 791 has every host take 576 octets.
const MIN_MTU: u32 = 576;

/// Every attribute that matters, read by its type.
#[derive(Default)]
struct Fields<'a> {
    user: Option<Identity>,
    service: Option<u32>,
    address: Option<Ipv4Addr>,
    pool: Option<&'a str>,
    filter: Option<&'a str>,
    routes: Vec<FramedRoute>,
    session_timeout: Option<u32>,
    idle_timeout: Option<u32>,
    interim: Option<u32>,
    mtu: Option<u32>,
    class: Vec<Vec<u8>>,
    state: Option<&'a [u8]>,
    message: String,
    eap: Vec<u8>,
    microsoft: MicrosoftFields<'a>,
}

/// Microsoft's attributes that matter.
#[derive(Default)]
struct MicrosoftFields<'a> {
    success: Option<&'a [u8]>,
    error: Option<&'a [u8]>,
    recv_key: Option<&'a [u8]>,
    send_key: Option<&'a [u8]>,
    dns: [Option<Ipv4Addr>; 2],
    wins: [Option<Ipv4Addr>; 2],
}

/// Fills a place that may be filled once.
fn once<T>(place: &mut Option<T>, value: T, field: &'static str) -> Result<(), DecodeError> {
    if place.replace(value).is_some() {
        return Err(DecodeError::Value { field });
    }
    Ok(())
}

impl<'a> Fields<'a> {
    fn collect(reply: &Packet<'a>) -> Result<Self, DecodeError> {
        let mut fields = Self::default();
        for attribute in reply.attributes() {
            fields.take(&attribute?)?;
        }
        Ok(fields)
    }

    fn take(&mut self, a: &Attribute<'a>) -> Result<(), DecodeError> {
        match a.kind {
            AttributeType::USER_NAME => {
                let field = "User-Name";
                let user = Identity::new(a.value).ok_or(DecodeError::Length { field })?;
                once(&mut self.user, user, field)
            }
            AttributeType::SERVICE_TYPE => number(&mut self.service, a, "Service-Type"),
            AttributeType::FRAMED_IP_ADDRESS => address(&mut self.address, a, "Framed-IP-Address"),
            AttributeType::FRAMED_POOL => {
                once(&mut self.pool, a.text("Framed-Pool")?, "Framed-Pool")
            }
            AttributeType::FILTER_ID => once(&mut self.filter, a.text("Filter-Id")?, "Filter-Id"),
            AttributeType::FRAMED_ROUTE => {
                let field = "Framed-Route";
                let route = a.text(field)?.parse();
                self.routes
                    .push(route.map_err(|_| DecodeError::Value { field })?);
                Ok(())
            }
            AttributeType::SESSION_TIMEOUT => {
                number(&mut self.session_timeout, a, "Session-Timeout")
            }
            AttributeType::IDLE_TIMEOUT => number(&mut self.idle_timeout, a, "Idle-Timeout"),
            AttributeType::ACCT_INTERIM_INTERVAL => {
                number(&mut self.interim, a, "Acct-Interim-Interval")
            }
            AttributeType::FRAMED_MTU => number(&mut self.mtu, a, "Framed-MTU"),
            AttributeType::CLASS => {
                self.class.push(a.octets("Class")?.to_vec());
                Ok(())
            }
            AttributeType::STATE => once(&mut self.state, a.octets("State")?, "State"),
            AttributeType::REPLY_MESSAGE => {
                self.push_message(a.value);
                Ok(())
            }
            AttributeType::EAP_MESSAGE => {
                self.eap.extend_from_slice(a.octets("EAP-Message")?);
                Ok(())
            }
            AttributeType::VENDOR_SPECIFIC => {
                for inner in VendorSpecific::decode(a.value)?.microsoft() {
                    self.microsoft.take(&inner?)?;
                }
                Ok(())
            }
            // RFC 2865 §5: unknown attributes are ignored.
            _ => Ok(()),
        }
    }

    /// Adds to the message what a log line and a PAP packet can carry.
    fn push_message(&mut self, octets: &[u8]) {
        if !self.message.is_empty() {
            self.message.push(' ');
        }
        self.message.extend(
            String::from_utf8_lossy(octets)
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c }),
        );
    }

    fn message(&self) -> Option<String> {
        let text = self.message.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn accept(
        self,
        credentials: &Credentials,
        signing: Signing<'_>,
        server: &str,
    ) -> Result<Answer, ReplyError> {
        if let Some(service) = self.service.filter(|service| *service != FRAMED) {
            return Ok(Answer::Lacking(Lacking::Service(service)));
        }
        let proof = match credentials {
            Credentials::Pap { .. } | Credentials::ChapMd5 { .. } => {
                Proof::Message(self.message().unwrap_or_default())
            }
            Credentials::MsChapV2 { .. } | Credentials::MsChapV2Change { .. } => {
                match self.microsoft.success {
                    None => return Ok(Answer::Lacking(Lacking::Success)),
                    Some(value) => Proof::MsChapV2(authenticator_response(value)?),
                }
            }
            Credentials::Eap { message, .. } if !is_of_method(message) => {
                return Ok(Answer::Lacking(Lacking::Method));
            }
            Credentials::Eap { message, .. } => Proof::Eap(self.eap_success(message)?),
        };
        let keys = match credentials {
            Credentials::Pap { .. } | Credentials::ChapMd5 { .. } => None,
            Credentials::MsChapV2 { .. }
            | Credentials::MsChapV2Change { .. }
            | Credentials::Eap { .. } => {
                let Some(recv) = self.microsoft.recv_key else {
                    return Ok(Answer::Lacking(Lacking::RecvKey));
                };
                let Some(send) = self.microsoft.send_key else {
                    return Ok(Answer::Lacking(Lacking::SendKey));
                };
                let reveal = |value, field| {
                    reveal_key(value, signing.secret, &signing.authenticator)
                        .map_err(|error| ReplyError::Hidden { field, error })
                };
                Some(InnerKeys {
                    recv: reveal(recv, "MS-MPPE-Recv-Key")?,
                    send: reveal(send, "MS-MPPE-Send-Key")?,
                })
            }
        };
        let message = self.message();
        Ok(Answer::Verdict(Verdict::Accept(Box::new(Authorization {
            user: self.user.unwrap_or_else(|| credentials.user().clone()),
            proof,
            keys,
            address: framed_address(self.address),
            pool: self.pool.map(str::to_owned),
            routes: self.routes,
            session_timeout: timeout(self.session_timeout),
            idle_timeout: timeout(self.idle_timeout),
            interim: timeout(self.interim.map(|seconds| seconds.max(MIN_INTERIM))),
            mtu: self.mtu.and_then(mtu),
            class: self.class,
            filter: self.filter.map(str::to_owned),
            dns: known(self.microsoft.dns),
            wins: known(self.microsoft.wins),
            server: server.to_owned(),
            message,
        }))))
    }

    /// Returns the packet that ends the conversation; anything but an EAP-Success is an error.
    fn eap_success(&self, response: &[u8]) -> Result<Vec<u8>, DecodeError> {
        if self.eap.is_empty() {
            // RFC 3579 §2.6.3: the gateway makes one, with the identifier of the last response.
            let identifier = response.get(1).copied().unwrap_or_default();
            return Ok(vec![EAP_SUCCESS, identifier, 0, 4]);
        }
        eap_packet(&self.eap, EAP_SUCCESS)
    }

    fn reject(self) -> Rejection {
        Rejection {
            ms_chap_error: self.microsoft.error.and_then(chap_error),
            eap: eap_packet(&self.eap, EAP_FAILURE).ok(),
            message: self.message(),
        }
    }

    fn challenge(self, credentials: &Credentials, server: &str) -> Result<Challenge, DecodeError> {
        let eap = match credentials {
            Credentials::Eap { .. } => eap_packet(&self.eap, EAP_REQUEST)?,
            Credentials::Pap { .. }
            | Credentials::ChapMd5 { .. }
            | Credentials::MsChapV2 { .. }
            | Credentials::MsChapV2Change { .. } => Vec::new(),
        };
        let message = self.message();
        Ok(Challenge {
            eap,
            state: self.state.unwrap_or_default().to_vec(),
            server: server.to_owned(),
            message,
            timeout: timeout(self.session_timeout),
        })
    }
}

impl<'a> MicrosoftFields<'a> {
    fn take(&mut self, a: &Attribute<'a>) -> Result<(), DecodeError> {
        let [primary_dns, secondary_dns] = &mut self.dns;
        let [primary_wins, secondary_wins] = &mut self.wins;
        match microsoft_type(a) {
            MicrosoftType::CHAP2_SUCCESS => once(&mut self.success, a.value, "MS-CHAP2-Success"),
            MicrosoftType::CHAP_ERROR => once(&mut self.error, a.value, "MS-CHAP-Error"),
            MicrosoftType::MPPE_RECV_KEY => once(&mut self.recv_key, a.value, "MS-MPPE-Recv-Key"),
            MicrosoftType::MPPE_SEND_KEY => once(&mut self.send_key, a.value, "MS-MPPE-Send-Key"),
            MicrosoftType::PRIMARY_DNS_SERVER => address(primary_dns, a, "MS-Primary-DNS-Server"),
            MicrosoftType::SECONDARY_DNS_SERVER => {
                address(secondary_dns, a, "MS-Secondary-DNS-Server")
            }
            MicrosoftType::PRIMARY_NBNS_SERVER => {
                address(primary_wins, a, "MS-Primary-NBNS-Server")
            }
            MicrosoftType::SECONDARY_NBNS_SERVER => {
                address(secondary_wins, a, "MS-Secondary-NBNS-Server")
            }
            _ => Ok(()),
        }
    }
}

/// Service-Type Framed.
const FRAMED: u32 = 2;
/// EAP codes (RFC 3748 §4).
const EAP_REQUEST: u8 = 1;
const EAP_SUCCESS: u8 = 3;
const EAP_FAILURE: u8 = 4;

fn number(
    place: &mut Option<u32>,
    a: &Attribute<'_>,
    field: &'static str,
) -> Result<(), DecodeError> {
    once(place, a.u32(field)?, field)
}

fn address(
    place: &mut Option<Ipv4Addr>,
    a: &Attribute<'_>,
    field: &'static str,
) -> Result<(), DecodeError> {
    once(place, a.ipv4(field)?, field)
}

/// Returns whether an EAP-Response belongs to a method, which Identity, Notification and Nak do not (RFC 3748 §5).
fn is_of_method(response: &[u8]) -> bool {
    let packet = eap::Packet::read(response).ok();
    packet
        .and_then(|packet| packet.body)
        .is_some_and(|(kind, _)| {
            ![eap::Type::IDENTITY, eap::Type::NOTIFICATION, eap::Type::NAK].contains(&kind)
        })
}

/// Reads MS-CHAP2-Success: an identifier, then `S=` and 40 hexadecimal digits; what follows is not passed on.
fn authenticator_response(value: &[u8]) -> Result<String, DecodeError> {
    let field = "MS-CHAP2-Success";
    let text = value.get(1..43).ok_or(DecodeError::Length { field })?;
    let digits = text
        .strip_prefix(b"S=")
        .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        .ok_or(DecodeError::Value { field })?;
    Ok(format!("S={}", String::from_utf8_lossy(digits)))
}

/// Reads MS-CHAP-Error: an identifier, then a text that goes on to the client when it is one.
fn chap_error(value: &[u8]) -> Option<String> {
    let text = value.get(1..)?;
    (text.starts_with(b"E=") && text.iter().all(|octet| (0x20..0x7f).contains(octet)))
        .then(|| String::from_utf8_lossy(text).into_owned())
}

/// Takes one whole EAP packet of the given code; octets behind its length are padding (RFC 3748 §4.1).
fn eap_packet(message: &[u8], code: u8) -> Result<Vec<u8>, DecodeError> {
    let field = "EAP-Message";
    let Some([found, _, high, low]) = message.first_chunk() else {
        return Err(DecodeError::Length { field });
    };
    if *found != code {
        return Err(DecodeError::Value { field });
    }
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    message
        .get(..len)
        .filter(|packet| packet.len() >= 4)
        .map(<[u8]>::to_vec)
        .ok_or(DecodeError::Length { field })
}

/// RFC 2865 §5.8.
fn framed_address(address: Option<Ipv4Addr>) -> FramedAddress {
    match address.map(|address| address.octets()) {
        None | Some([255, 255, 255, 254]) => FramedAddress::Pool,
        Some([255, 255, 255, 255]) => FramedAddress::ClientChooses,
        Some(octets) => FramedAddress::Fixed(octets.into()),
    }
}

/// Zero means that no limit was set, as every gateway understands it.
fn timeout(seconds: Option<u32>) -> Option<Duration> {
    let seconds = seconds.filter(|seconds| *seconds != 0)?;
    Some(Duration::from_secs(seconds.min(MAX_TIMEOUT).into()))
}

/// Lifts an MTU below the smallest to it; one above 65535 says nothing.
fn mtu(value: u32) -> Option<u16> {
    u16::try_from(value.max(MIN_MTU)).ok()
}

/// Returns the addresses that are some.
fn known(addresses: [Option<Ipv4Addr>; 2]) -> Vec<Ipv4Addr> {
    addresses
        .into_iter()
        .flatten()
        .filter(|address| !address.is_unspecified())
        .collect()
}
