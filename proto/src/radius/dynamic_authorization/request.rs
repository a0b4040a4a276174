//! Disconnect-Request and CoA-Request (RFC 5176 §2, §3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use subtle::ConstantTimeEq;
use thiserror::Error;

use super::super::authenticator::{
    MessageAuthenticator, response_authenticator, verify_message_authenticator,
};
use super::super::{Attribute, AttributeType, Code, Packet};
use super::ErrorCause;
use crate::wire::{Decode, DecodeError};

/// How far Event-Timestamp may be from our clock, either way (RFC 5176 §6.3).
pub const WINDOW: Duration = Duration::from_secs(300);

/// The request authenticator while the true one is computed.
const ZERO: [u8; 16] = [0; 16];

/// Why a datagram gets no answer.
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum Discard {
    /// It is no packet, or of a kind that is not for us.
    #[error("neither Disconnect-Request nor CoA-Request")]
    Malformed,
    /// Who sent it does not know the secret.
    #[error("request authenticator is wrong")]
    BadAuthenticator,
    /// It has no Message-Authenticator.
    #[error("Message-Authenticator is missing")]
    Unsigned,
    /// Its Message-Authenticator is wrong.
    #[error("Message-Authenticator is wrong")]
    BadMessageAuthenticator,
    /// Its Event-Timestamp is too old, or from the future.
    #[error("Event-Timestamp is too far from our clock")]
    Stale,
}

impl Discard {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::Malformed,
        Self::BadAuthenticator,
        Self::Unsigned,
        Self::BadMessageAuthenticator,
        Self::Stale,
    ];

    /// Returns the word for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::BadAuthenticator => "bad_authenticator",
            Self::Unsigned => "message_authenticator_missing",
            Self::BadMessageAuthenticator => "message_authenticator_invalid",
            Self::Stale => "stale",
        }
    }
}

/// Why a request that is authentic is refused.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("{cause:?}: {field}")]
pub struct Refusal {
    /// For the NAK.
    pub cause: ErrorCause,
    /// Which attribute, for the log.
    pub field: &'static str,
}

/// What is said of the session; everything that is said must fit.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selector {
    /// Acct-Session-Id.
    pub session: Option<Vec<u8>>,
    /// User-Name.
    pub user: Option<Vec<u8>>,
    /// Framed-IP-Address.
    pub address: Option<Ipv4Addr>,
    /// Calling-Station-Id: the client's outer address.
    pub calling: Option<IpAddr>,
    /// NAS-Port.
    pub port: Option<u32>,
}

impl Selector {
    /// Returns whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a session gets instead of what it had.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Change {
    /// Session-Timeout: for so long from now on.
    pub session_timeout: Option<Duration>,
    /// Idle-Timeout; zero is none.
    pub idle_timeout: Option<Duration>,
    /// Filter-Id.
    pub filter: Option<String>,
}

/// What is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// The session's end.
    Disconnect,
    /// Another authorization.
    Change(Change),
}

/// An authentic request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// Which session.
    pub selector: Selector,
    /// NAS-IP-Address or NAS-IPv6-Address: each must be the gateway's.
    pub nas_addresses: Vec<IpAddr>,
    /// NAS-Identifier.
    pub nas_identifier: Option<Vec<u8>>,
    /// What is wanted.
    pub wanted: Wanted,
}

/// Reads a datagram and decides whether it is from who knows the secret, and is of now; `wall` is our clock in seconds
/// of Unix time.
///
/// # Errors
///
/// When it gets no answer.
pub fn verify<'a>(bytes: &'a [u8], wall: u64, secret: &[u8]) -> Result<Packet<'a>, Discard> {
    let packet = Packet::decode_exact(bytes).map_err(|_| Discard::Malformed)?;
    if !matches!(packet.code, Code::DISCONNECT_REQUEST | Code::COA_REQUEST) {
        return Err(Discard::Malformed);
    }
    let expected = response_authenticator(&packet, &ZERO, secret);
    if !bool::from(expected.ct_eq(&packet.authenticator)) {
        return Err(Discard::BadAuthenticator);
    }
    match verify_message_authenticator(&packet, &ZERO, secret) {
        Ok(MessageAuthenticator::Verified) => {}
        Ok(MessageAuthenticator::Absent) => return Err(Discard::Unsigned),
        Err(_) => return Err(Discard::BadMessageAuthenticator),
    }
    for attribute in packet.attributes().map_while(Result::ok) {
        if attribute.kind == AttributeType::EVENT_TIMESTAMP
            && let Ok(at) = attribute.u32("Event-Timestamp")
            && u64::from(at).abs_diff(wall) > WINDOW.as_secs()
        {
            return Err(Discard::Stale);
        }
    }
    Ok(packet)
}

impl Request {
    /// Reads what [`verify`] has let through.
    ///
    /// # Errors
    ///
    /// What the NAK has to say.
    pub fn read(packet: &Packet<'_>) -> Result<Self, Refusal> {
        let mut request = Self {
            selector: Selector::default(),
            nas_addresses: Vec::new(),
            nas_identifier: None,
            wanted: Wanted::Disconnect,
        };
        let mut change = Change::default();
        let mut is_dated = false;
        for attribute in packet.attributes() {
            let attribute = attribute.map_err(|error| invalid(&error))?;
            match attribute.kind {
                AttributeType::MESSAGE_AUTHENTICATOR
                | AttributeType::PROXY_STATE
                | AttributeType::ACCT_TERMINATE_CAUSE
                | AttributeType::REPLY_MESSAGE => {}
                AttributeType::EVENT_TIMESTAMP => {
                    attribute
                        .u32("Event-Timestamp")
                        .map_err(|error| invalid(&error))?;
                    is_dated = true;
                }
                _ => request.take(packet.code, &mut change, &attribute)?,
            }
        }
        if !is_dated {
            return Err(refuse(ErrorCause::MISSING_ATTRIBUTE, "Event-Timestamp"));
        }
        if request.selector.is_empty() {
            return Err(refuse(
                ErrorCause::MISSING_ATTRIBUTE,
                "Acct-Session-Id, User-Name or Framed-IP-Address",
            ));
        }
        if packet.code == Code::COA_REQUEST {
            if change == Change::default() {
                return Err(refuse(
                    ErrorCause::MISSING_ATTRIBUTE,
                    "Session-Timeout, Idle-Timeout or Filter-Id",
                ));
            }
            request.wanted = Wanted::Change(change);
        }
        Ok(request)
    }

    fn take(
        &mut self,
        code: Code,
        change: &mut Change,
        attribute: &Attribute<'_>,
    ) -> Result<(), Refusal> {
        let selector = &mut self.selector;
        match attribute.kind {
            AttributeType::ACCT_SESSION_ID => {
                once(&mut selector.session, octets(attribute, "Acct-Session-Id")?)
            }
            AttributeType::USER_NAME => once(&mut selector.user, octets(attribute, "User-Name")?),
            AttributeType::FRAMED_IP_ADDRESS => {
                let address = attribute.ipv4("Framed-IP-Address");
                once(&mut selector.address, address.map_err(|e| invalid(&e))?)
            }
            AttributeType::NAS_PORT => {
                let port = attribute.u32("NAS-Port").map_err(|e| invalid(&e))?;
                once(&mut selector.port, port)
            }
            AttributeType::CALLING_STATION_ID => {
                let text = attribute.text("Calling-Station-Id");
                let address = text
                    .map_err(|e| invalid(&e))?
                    .parse::<IpAddr>()
                    .map_err(|_| {
                        refuse(ErrorCause::INVALID_ATTRIBUTE_VALUE, "Calling-Station-Id")
                    })?;
                once(&mut selector.calling, address.to_canonical())
            }
            AttributeType::NAS_IDENTIFIER => {
                let name = octets(attribute, "NAS-Identifier")?;
                once(&mut self.nas_identifier, name)
            }
            AttributeType::NAS_IP_ADDRESS => {
                let address = attribute.ipv4("NAS-IP-Address").map_err(|e| invalid(&e))?;
                self.nas_addresses.push(address.into());
                Ok(())
            }
            AttributeType::NAS_IPV6_ADDRESS => {
                let address: [u8; 16] = attribute
                    .array("NAS-IPv6-Address")
                    .map_err(|e| invalid(&e))?;
                self.nas_addresses.push(Ipv6Addr::from(address).into());
                Ok(())
            }
            AttributeType::SERVICE_TYPE => {
                Err(refuse(ErrorCause::UNSUPPORTED_SERVICE, "Service-Type"))
            }
            _ if code == Code::COA_REQUEST => change.take(attribute),
            _ => Err(refuse(
                ErrorCause::UNSUPPORTED_ATTRIBUTE,
                "an attribute that does not belong into a Disconnect-Request",
            )),
        }
    }
}

impl Change {
    fn take(&mut self, attribute: &Attribute<'_>) -> Result<(), Refusal> {
        let seconds = |field| {
            attribute
                .u32(field)
                .map(|seconds| Duration::from_secs(seconds.into()))
                .map_err(|e| invalid(&e))
        };
        match attribute.kind {
            AttributeType::SESSION_TIMEOUT => {
                let timeout = seconds("Session-Timeout")?;
                if timeout.is_zero() {
                    return Err(refuse(
                        ErrorCause::INVALID_ATTRIBUTE_VALUE,
                        "Session-Timeout",
                    ));
                }
                once(&mut self.session_timeout, timeout)
            }
            AttributeType::IDLE_TIMEOUT => once(&mut self.idle_timeout, seconds("Idle-Timeout")?),
            AttributeType::FILTER_ID => {
                let name = attribute.text("Filter-Id").map_err(|e| invalid(&e))?;
                once(&mut self.filter, name.to_owned())
            }
            _ => Err(refuse(
                ErrorCause::UNSUPPORTED_ATTRIBUTE,
                "an attribute that cannot be changed",
            )),
        }
    }
}

const fn refuse(cause: ErrorCause, field: &'static str) -> Refusal {
    Refusal { cause, field }
}

/// A value that cannot be is one thing, a packet that cannot be read another.
const fn invalid(error: &DecodeError) -> Refusal {
    match error {
        DecodeError::Value { field } => refuse(ErrorCause::INVALID_ATTRIBUTE_VALUE, field),
        DecodeError::Length { field } | DecodeError::Truncated { field } => {
            refuse(ErrorCause::INVALID_REQUEST, field)
        }
        DecodeError::Trailing { .. } => refuse(ErrorCause::INVALID_REQUEST, "attributes"),
    }
}

fn octets(attribute: &Attribute<'_>, field: &'static str) -> Result<Vec<u8>, Refusal> {
    attribute
        .octets(field)
        .map(<[u8]>::to_vec)
        .map_err(|error| invalid(&error))
}

/// Takes what may be said once (RFC 5176 §3.6).
fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Refusal> {
    if place.replace(value).is_some() {
        return Err(refuse(ErrorCause::INVALID_REQUEST, "an attribute twice"));
    }
    Ok(())
}
