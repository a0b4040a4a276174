//! A record as an Accounting-Request and back (RFC 2866 §4.1).
//!
//! The request authenticator is `MD5(Code + Identifier + Length + 16 zero octets + attributes + secret)` (RFC 2866 §3),
//! so it proves who wrote the packet, and no Message-Authenticator is sent.

use std::net::Ipv4Addr;
use std::sync::Arc;

use subtle::ConstantTimeEq;
use thiserror::Error;

use super::super::access::{Nas, push_microsoft, push_nas, push_tunnel};
use super::super::authenticator::response_authenticator;
use super::super::{
    AttributeList, AttributeType, Attributes, Code, MAX_LEN, MIN_LEN, MicrosoftType, Packet,
};
use crate::aaa::{Applicant, AuthMethod};
use crate::activity::Usage;
use crate::wire::{Decode, DecodeError, Encode};

/// What is kept free behind the attributes of a session for those of a record: 14 integers.
const RESERVED: usize = 14 * 6;
/// The request authenticator while the true one is computed.
const ZERO: [u8; 16] = [0; 16];

/// What happened (RFC 2866 §5.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Status {
    /// A session began.
    Start,
    /// A session goes on.
    Interim,
    /// A session ended.
    Stop {
        /// Acct-Terminate-Cause (RFC 2866 §5.10).
        cause: u32,
    },
    /// The gateway has started: sessions from before are over.
    On,
    /// The gateway stops.
    Off,
}

impl Status {
    /// Returns the value of Acct-Status-Type.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Start => 1,
            Self::Stop { .. } => 2,
            Self::Interim => 3,
            Self::On => 7,
            Self::Off => 8,
        }
    }

    /// Returns the word for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Interim => "interim",
            Self::Stop { .. } => "stop",
            Self::On => "on",
            Self::Off => "off",
        }
    }

    /// Returns whether the record is about the gateway and not about a session.
    #[must_use]
    pub const fn is_of_gateway(self) -> bool {
        matches!(self, Self::On | Self::Off)
    }
}

/// One thing that happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// What.
    pub status: Status,
    /// Acct-Session-Id, which is in `base` too.
    pub session: Arc<str>,
    /// When, in seconds of Unix time.
    pub at: u64,
    /// How long the session had been up, in seconds.
    pub elapsed: u64,
    /// What had flowed by then.
    pub usage: Usage,
    /// The attributes that are the same in all records of the session, encoded.
    pub base: Arc<[u8]>,
}

/// Who decided about the log-in (RFC 2866 §5.6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Authentic {
    /// A RADIUS server.
    Radius,
    /// The gateway itself.
    Local,
}

/// Whose session it is.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// User-Name.
    pub user: &'a [u8],
    /// Every Class of the Access-Accept, in its order.
    pub classes: &'a [Vec<u8>],
    /// Framed-IP-Address.
    pub address: Ipv4Addr,
    /// How the user logged in; `None` when nobody did.
    pub method: Option<AuthMethod>,
    /// Who decided.
    pub authentic: Authentic,
}

/// Returns the attributes that all records of a session share; `applicant.session` is the Acct-Session-Id.
///
/// They are those of the Access-Request and what the log-in added. A Class that would make the packet too long is left
/// out whole, and so are those behind it. `None` when there is no room even so.
#[must_use]
pub fn session_attributes(
    nas: &Nas,
    applicant: &Applicant,
    holder: &Holder<'_>,
) -> Option<Vec<u8>> {
    let mut list = AttributeList::new();
    list.push(AttributeType::USER_NAME, holder.user);
    push_nas(&mut list, nas, applicant);
    list.push(AttributeType::FRAMED_IP_ADDRESS, &holder.address.octets());
    push_tunnel(&mut list, applicant);
    push_microsoft(&mut list, applicant);
    let authentic = match holder.authentic {
        Authentic::Radius => 1,
        Authentic::Local => 2,
    };
    list.push_u32(AttributeType::ACCT_AUTHENTIC, authentic);
    if let Some(method) = holder.method {
        let method: u32 = match method {
            AuthMethod::Pap => 1,
            AuthMethod::ChapMd5 => 2,
            AuthMethod::MsChapV2 => 4,
            AuthMethod::Eap => 5,
        };
        list.push_microsoft(MicrosoftType::ACCT_AUTH_TYPE, &method.to_be_bytes());
    }
    let room = MAX_LEN.saturating_sub(MIN_LEN).saturating_sub(RESERVED);
    let mut octets = list.finish()?.to_vec();
    for class in holder.classes {
        let mut one = AttributeList::new();
        one.push(AttributeType::CLASS, class);
        match one.finish() {
            Some(one) if octets.len().saturating_add(one.len()) <= room => octets.extend(one),
            Some(_) | None => break,
        }
    }
    (octets.len() <= room).then_some(octets)
}

/// Returns the attributes of Accounting-On and -Off; RFC 2866 §5.5 wants an Acct-Session-Id in them as well.
#[must_use]
pub fn gateway_attributes(nas: &Nas, session: &str) -> Option<Vec<u8>> {
    let mut list = AttributeList::new();
    if let Some(address) = nas.ipv4 {
        list.push(AttributeType::NAS_IP_ADDRESS, &address.octets());
    }
    if let Some(address) = nas.ipv6 {
        list.push(AttributeType::NAS_IPV6_ADDRESS, &address.octets());
    }
    if !nas.identifier.is_empty() {
        list.push(AttributeType::NAS_IDENTIFIER, nas.identifier.as_bytes());
    }
    list.push(AttributeType::ACCT_SESSION_ID, session.as_bytes());
    list.finish().map(<[u8]>::to_vec)
}

/// Makes the Accounting-Request of a record and returns it with its authenticator; `wall` is the time now in seconds of
/// Unix time.
///
/// `None` when `base` is longer than [`session_attributes`] makes it.
#[must_use]
pub fn encode_request(
    record: &Record,
    wall: u64,
    identifier: u8,
    secret: &[u8],
) -> Option<(Vec<u8>, [u8; 16])> {
    let mut list = AttributeList::new();
    list.push_u32(AttributeType::ACCT_STATUS_TYPE, record.status.number())
        .push_u32(AttributeType::EVENT_TIMESTAMP, short(record.at))
        .push_u32(
            AttributeType::ACCT_DELAY_TIME,
            short(wall.saturating_sub(record.at)),
        );
    match record.status {
        Status::Start | Status::On | Status::Off => {}
        Status::Interim => push_usage(&mut list, record),
        Status::Stop { cause } => {
            push_usage(&mut list, record);
            list.push_u32(AttributeType::ACCT_TERMINATE_CAUSE, cause);
        }
    }
    let mut attributes = list.finish()?.to_vec();
    attributes.extend_from_slice(&record.base);
    let unsigned = Packet::new(Code::ACCOUNTING_REQUEST, identifier, ZERO, &attributes)?;
    let authenticator = response_authenticator(&unsigned, &ZERO, secret);
    let signed = Packet::new(
        Code::ACCOUNTING_REQUEST,
        identifier,
        authenticator,
        &attributes,
    )?;
    let mut out = Vec::new();
    signed.append_to(&mut out, MAX_LEN).ok()?;
    Some((out, authenticator))
}

/// Adds time, octets and packets; Input is from the client.
fn push_usage(list: &mut AttributeList, record: &Record) {
    let usage = &record.usage;
    let halves = |octets: u64| {
        // The mask leaves what fits.
        let half = |octets: u64| u32::try_from(octets & 0xffff_ffff).unwrap_or(u32::MAX);
        (half(octets >> 32), half(octets))
    };
    let (up_high, up_low) = halves(usage.up_octets);
    let (down_high, down_low) = halves(usage.down_octets);
    list.push_u32(AttributeType::ACCT_SESSION_TIME, short(record.elapsed))
        .push_u32(AttributeType::ACCT_INPUT_OCTETS, up_low)
        .push_u32(AttributeType::ACCT_INPUT_GIGAWORDS, up_high)
        .push_u32(AttributeType::ACCT_OUTPUT_OCTETS, down_low)
        .push_u32(AttributeType::ACCT_OUTPUT_GIGAWORDS, down_high)
        .push_u32(AttributeType::ACCT_INPUT_PACKETS, short(usage.up_packets))
        .push_u32(
            AttributeType::ACCT_OUTPUT_PACKETS,
            short(usage.down_packets),
        );
}

/// What has no second half on the wire stays at its largest value instead of beginning again.
fn short(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// An Accounting-Request as a server reads it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// What happened.
    pub status: Status,
    /// Acct-Session-Id.
    pub session: Vec<u8>,
    /// User-Name.
    pub user: Option<Vec<u8>>,
    /// Every Class, in order.
    pub classes: Vec<Vec<u8>>,
    /// Framed-IP-Address.
    pub address: Option<Ipv4Addr>,
    /// Event-Timestamp.
    pub at: Option<u32>,
    /// Acct-Delay-Time.
    pub delay: u32,
    /// Acct-Session-Time.
    pub elapsed: u32,
    /// The counters.
    pub usage: Usage,
}

/// Why an Accounting-Request is not taken.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Malformed {
    /// The request authenticator is wrong: another secret or a forgery.
    #[error("request authenticator is wrong")]
    Authenticator,
    /// It cannot be read.
    #[error(transparent)]
    Wire(#[from] DecodeError),
}

/// Checks and reads an Accounting-Request.
///
/// # Errors
///
/// When it is not from who knows the secret, or lacks what it must have.
pub fn decode_request(bytes: &[u8], secret: &[u8]) -> Result<Report, Malformed> {
    let packet = Packet::decode_exact(bytes)?;
    if packet.code != Code::ACCOUNTING_REQUEST {
        return Err(DecodeError::Value { field: "Code" }.into());
    }
    let expected = response_authenticator(&packet, &ZERO, secret);
    if !bool::from(expected.ct_eq(&packet.authenticator)) {
        return Err(Malformed::Authenticator);
    }
    Ok(read(packet.attributes())?)
}

fn read(attributes: Attributes<'_>) -> Result<Report, DecodeError> {
    let mut report = Report {
        status: Status::On,
        session: Vec::new(),
        user: None,
        classes: Vec::new(),
        address: None,
        at: None,
        delay: 0,
        elapsed: 0,
        usage: Usage::default(),
    };
    let (mut number, mut cause) = (0, 0);
    let (mut up, mut down) = ([0u32; 2], [0u32; 2]);
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            AttributeType::ACCT_STATUS_TYPE => number = attribute.u32("Acct-Status-Type")?,
            AttributeType::ACCT_TERMINATE_CAUSE => cause = attribute.u32("Acct-Terminate-Cause")?,
            AttributeType::ACCT_SESSION_ID => {
                report.session = attribute.octets("Acct-Session-Id")?.to_vec();
            }
            AttributeType::USER_NAME => report.user = Some(attribute.octets("User-Name")?.to_vec()),
            AttributeType::CLASS => report.classes.push(attribute.value.to_vec()),
            AttributeType::FRAMED_IP_ADDRESS => {
                report.address = Some(attribute.ipv4("Framed-IP-Address")?);
            }
            AttributeType::EVENT_TIMESTAMP => report.at = Some(attribute.u32("Event-Timestamp")?),
            AttributeType::ACCT_DELAY_TIME => report.delay = attribute.u32("Acct-Delay-Time")?,
            AttributeType::ACCT_SESSION_TIME => {
                report.elapsed = attribute.u32("Acct-Session-Time")?;
            }
            AttributeType::ACCT_INPUT_OCTETS => up[1] = attribute.u32("Acct-Input-Octets")?,
            AttributeType::ACCT_INPUT_GIGAWORDS => up[0] = attribute.u32("Acct-Input-Gigawords")?,
            AttributeType::ACCT_OUTPUT_OCTETS => down[1] = attribute.u32("Acct-Output-Octets")?,
            AttributeType::ACCT_OUTPUT_GIGAWORDS => {
                down[0] = attribute.u32("Acct-Output-Gigawords")?;
            }
            AttributeType::ACCT_INPUT_PACKETS => {
                report.usage.up_packets = attribute.u32("Acct-Input-Packets")?.into();
            }
            AttributeType::ACCT_OUTPUT_PACKETS => {
                report.usage.down_packets = attribute.u32("Acct-Output-Packets")?.into();
            }
            _ => {}
        }
    }
    let whole = |[high, low]: [u32; 2]| u64::from(high) << 32 | u64::from(low);
    report.usage.up_octets = whole(up);
    report.usage.down_octets = whole(down);
    report.status = match number {
        1 => Status::Start,
        2 => Status::Stop { cause },
        3 => Status::Interim,
        7 => Status::On,
        8 => Status::Off,
        _ => {
            return Err(DecodeError::Value {
                field: "Acct-Status-Type",
            });
        }
    };
    if report.session.is_empty() {
        return Err(DecodeError::Truncated {
            field: "Acct-Session-Id",
        });
    }
    Ok(report)
}
