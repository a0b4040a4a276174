//! ACK and NAK (RFC 5176 §2.3, §3.5).

use super::super::authenticator::{EMPTY_MESSAGE_AUTHENTICATOR, sign_reply};
use super::super::{AttributeList, AttributeType, Code, Packet};
use crate::wire::open_enum;

open_enum! {
    /// Error-Cause (RFC 5176 §3.5).
    pub struct ErrorCause(u32) {
        /// An attribute is not known, or does not belong here.
        UNSUPPORTED_ATTRIBUTE = 401,
        /// An attribute that is needed is not there.
        MISSING_ATTRIBUTE = 402,
        /// The request names another gateway.
        NAS_IDENTIFICATION_MISMATCH = 403,
        /// The request contradicts itself or cannot be read.
        INVALID_REQUEST = 404,
        /// Service-Type asks for what is not done.
        UNSUPPORTED_SERVICE = 405,
        /// A value cannot be.
        INVALID_ATTRIBUTE_VALUE = 407,
        /// The gateway is not configured to do this.
        ADMINISTRATIVELY_PROHIBITED = 501,
        /// No such session.
        SESSION_CONTEXT_NOT_FOUND = 503,
        /// The session cannot be ended.
        SESSION_CONTEXT_NOT_REMOVABLE = 504,
        /// There is no room to do it.
        RESOURCES_UNAVAILABLE = 506,
        /// The request fits several sessions.
        MULTIPLE_SESSION_SELECTION_UNSUPPORTED = 508,
    }
}

/// Makes the answer to a request: ACK, or NAK with its cause. Proxy-State goes back as it came, in its order.
///
/// `None` when the request is none of the two, or its own Proxy-State leaves no room.
#[must_use]
pub fn respond(
    request: &Packet<'_>,
    refused: Option<ErrorCause>,
    secret: &[u8],
) -> Option<Vec<u8>> {
    let code = match (request.code, refused) {
        (Code::DISCONNECT_REQUEST, None) => Code::DISCONNECT_ACK,
        (Code::DISCONNECT_REQUEST, Some(_)) => Code::DISCONNECT_NAK,
        (Code::COA_REQUEST, None) => Code::COA_ACK,
        (Code::COA_REQUEST, Some(_)) => Code::COA_NAK,
        _ => return None,
    };
    let mut list = AttributeList::new();
    list.push(
        AttributeType::MESSAGE_AUTHENTICATOR,
        &EMPTY_MESSAGE_AUTHENTICATOR,
    );
    if let Some(cause) = refused {
        list.push_u32(AttributeType::ERROR_CAUSE, cause.0);
    }
    for attribute in request.attributes().map_while(Result::ok) {
        if attribute.kind == AttributeType::PROXY_STATE {
            list.push(AttributeType::PROXY_STATE, attribute.value);
        }
    }
    sign_reply(
        code,
        request.identifier,
        list.finish()?,
        &request.authenticator,
        secret,
    )
}
