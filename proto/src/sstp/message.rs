//! Control messages ([MS-SSTP] §2.2.2, §2.2.9 to §2.2.17).
//!
//! ```text
//! +---------------+-------------+-+-------+-----------------------+
//! | Version (10h) |  Reserved   |1|   R   |        Length         |
//! +---------------+-------------+-+-------+-----------------------+
//! |         Message Type          |        Num Attributes         |
//! +-------------------------------+-------------------------------+
//! |  attributes ...
//! ```
//!
//! [`Control`] is a view for a receiver that must say what exactly is wrong with a message; [`Message`] is the meaning.
//! A message of which the number of attributes and the length disagree is not accepted.

use super::attribute::{
    Attribute, AttributeId, CryptoBinding, CryptoBindingRequest, PROTOCOL_PPP, StatusInfo,
};
use super::packet::{Header, Kind, MAX_LEN};
use crate::wire::{BufferFull, Decode, DecodeError, Encode, Reader, Writer, open_enum};

open_enum! {
    /// The type of a control message ([MS-SSTP] §2.2.2).
    pub struct MessageType(u16) {
        /// The client asks for a call.
        CALL_CONNECT_REQUEST = 1,
        /// The server agrees.
        CALL_CONNECT_ACK = 2,
        /// The server does not like an attribute of the request.
        CALL_CONNECT_NAK = 3,
        /// The client proves its binding.
        CALL_CONNECTED = 4,
        /// The call ends because something went wrong.
        CALL_ABORT = 5,
        /// The call ends.
        CALL_DISCONNECT = 6,
        /// The end is noted.
        CALL_DISCONNECT_ACK = 7,
        /// Are you there?
        ECHO_REQUEST = 8,
        /// Still here.
        ECHO_RESPONSE = 9,
    }
}

/// A received control message whose attributes have not been looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Control<'a> {
    /// The type.
    pub kind: MessageType,
    /// How many attributes it says that it has.
    count: u16,
    /// The attributes.
    bytes: &'a [u8],
}

impl<'a> Decode<'a> for Control<'a> {
    /// Reads a whole packet.
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let header: [u8; 4] = r.array("Header")?;
        match Header::peek(&header) {
            Ok(Some(Header {
                kind: Kind::Control,
                len,
            })) if len == r.remaining().saturating_add(header.len()) => {}
            Ok(Some(_)) => return Err(DecodeError::Length { field: "Length" }),
            Ok(None) | Err(_) => return Err(DecodeError::Value { field: "Version" }),
        }
        let kind = MessageType(r.u16("Message Type")?);
        let count = r.u16("Num Attributes")?;
        let bytes = r.rest();
        Ok(Self { kind, count, bytes })
    }
}

impl<'a> Control<'a> {
    /// Walks the attributes; the last item is an error when they do not fill the message exactly.
    #[must_use]
    pub const fn attributes(&self) -> Attributes<'a> {
        Attributes {
            left: self.count,
            r: Reader::new(self.bytes),
        }
    }

    /// Returns the first Status Info, if there is one that can be read.
    #[must_use]
    pub fn status(&self) -> Option<StatusInfo> {
        self.attributes()
            .filter_map(Result::ok)
            .find(|attribute| attribute.id == AttributeId::STATUS_INFO)
            .and_then(|attribute| StatusInfo::decode_exact(attribute.value).ok())
    }
}

/// The attributes of a [`Control`] in wire order.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    left: u16,
    r: Reader<'a>,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let trailing = self.r.finish().err()?;
            self.r.rest();
            return Some(Err(trailing));
        }
        self.left = self.left.saturating_sub(1);
        let attribute = Attribute::decode(&mut self.r);
        if attribute.is_err() {
            self.left = 0;
            self.r.rest();
        }
        Some(attribute)
    }
}

/// A control message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// `SSTP_MSG_CALL_CONNECT_REQUEST` for PPP.
    ConnectRequest,
    /// `SSTP_MSG_CALL_CONNECT_ACK`.
    ConnectAck(CryptoBindingRequest),
    /// `SSTP_MSG_CALL_CONNECT_NAK`.
    ConnectNak(StatusInfo),
    /// `SSTP_MSG_CALL_CONNECTED`.
    Connected(CryptoBinding),
    /// `SSTP_MSG_CALL_ABORT`.
    Abort(StatusInfo),
    /// `SSTP_MSG_CALL_DISCONNECT`.
    Disconnect(StatusInfo),
    /// `SSTP_MSG_CALL_DISCONNECT_ACK`.
    DisconnectAck,
    /// `SSTP_MSG_ECHO_REQUEST`.
    EchoRequest,
    /// `SSTP_MSG_ECHO_RESPONSE`.
    EchoResponse,
}

impl Message {
    /// Returns the type.
    #[must_use]
    pub const fn kind(&self) -> MessageType {
        match self {
            Self::ConnectRequest => MessageType::CALL_CONNECT_REQUEST,
            Self::ConnectAck(_) => MessageType::CALL_CONNECT_ACK,
            Self::ConnectNak(_) => MessageType::CALL_CONNECT_NAK,
            Self::Connected(_) => MessageType::CALL_CONNECTED,
            Self::Abort(_) => MessageType::CALL_ABORT,
            Self::Disconnect(_) => MessageType::CALL_DISCONNECT,
            Self::DisconnectAck => MessageType::CALL_DISCONNECT_ACK,
            Self::EchoRequest => MessageType::ECHO_REQUEST,
            Self::EchoResponse => MessageType::ECHO_RESPONSE,
        }
    }

    /// Returns the whole packet.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // Every message fits: the largest, a Nak, has fewer than 100 octets.
        self.append_to(&mut out, MAX_LEN).unwrap_or_default();
        out
    }

    fn encode_attributes(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        match self {
            Self::ConnectRequest => Attribute {
                id: AttributeId::ENCAPSULATED_PROTOCOL,
                value: &PROTOCOL_PPP.to_be_bytes(),
            }
            .encode(w),
            Self::ConnectAck(request) => request.encode(w),
            Self::Connected(binding) => binding.encode(w),
            Self::ConnectNak(status) | Self::Abort(status) | Self::Disconnect(status) => {
                status.encode(w)
            }
            Self::DisconnectAck | Self::EchoRequest | Self::EchoResponse => Ok(()),
        }
    }

    const fn attribute_count(&self) -> u16 {
        match self {
            Self::ConnectRequest
            | Self::ConnectAck(_)
            | Self::ConnectNak(_)
            | Self::Connected(_)
            | Self::Abort(_)
            | Self::Disconnect(_) => 1,
            Self::DisconnectAck | Self::EchoRequest | Self::EchoResponse => 0,
        }
    }
}

impl Encode for Message {
    /// Writes the whole packet.
    fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        let [version, flags, ..] = Header {
            kind: Kind::Control,
            len: 0,
        }
        .to_bytes();
        w.bytes(&[version, flags])?;
        let length = w.open(2)?;
        w.u16(self.kind().0)?;
        w.u16(self.attribute_count())?;
        self.encode_attributes(w)?;
        w.close(length)
    }
}

impl<'a> Decode<'a> for Message {
    /// Reads a whole packet. A missing Status Info counts as one without an error; attributes where none belong are
    /// passed over.
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let control = Control::decode(r)?;
        let status = || control.status().unwrap_or(StatusInfo::CLEAN);
        match control.kind {
            MessageType::CALL_CONNECT_REQUEST => {
                let value = only(&control, AttributeId::ENCAPSULATED_PROTOCOL)?;
                if value == PROTOCOL_PPP.to_be_bytes() {
                    Ok(Self::ConnectRequest)
                } else {
                    Err(DecodeError::Value {
                        field: "Encapsulated Protocol ID",
                    })
                }
            }
            MessageType::CALL_CONNECT_ACK => {
                let value = only(&control, AttributeId::CRYPTO_BINDING_REQUEST)?;
                CryptoBindingRequest::decode_exact(value).map(Self::ConnectAck)
            }
            MessageType::CALL_CONNECT_NAK => Ok(Self::ConnectNak(status())),
            MessageType::CALL_CONNECTED => {
                let value = only(&control, AttributeId::CRYPTO_BINDING)?;
                CryptoBinding::decode_exact(value).map(Self::Connected)
            }
            MessageType::CALL_ABORT => Ok(Self::Abort(status())),
            MessageType::CALL_DISCONNECT => Ok(Self::Disconnect(status())),
            MessageType::CALL_DISCONNECT_ACK => Ok(Self::DisconnectAck),
            MessageType::ECHO_REQUEST => Ok(Self::EchoRequest),
            MessageType::ECHO_RESPONSE => Ok(Self::EchoResponse),
            MessageType(_) => Err(DecodeError::Value {
                field: "Message Type",
            }),
        }
    }
}

/// Returns the value of the only attribute, which must be `id`.
fn only<'a>(control: &Control<'a>, id: AttributeId) -> Result<&'a [u8], DecodeError> {
    let mut attributes = control.attributes();
    let attribute = attributes.next().ok_or(DecodeError::Length {
        field: "Num Attributes",
    })??;
    if attribute.id != id {
        return Err(DecodeError::Value {
            field: "AttributeID",
        });
    }
    match attributes.next() {
        None => Ok(attribute.value),
        Some(_) => Err(DecodeError::Length {
            field: "Num Attributes",
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sstp::attribute::Status;

    fn every() -> Vec<Message> {
        let status = StatusInfo::new(AttributeId::CRYPTO_BINDING, Status::VALUE_NOT_SUPPORTED);
        vec![
            Message::ConnectRequest,
            Message::ConnectAck(CryptoBindingRequest {
                hashes: 3,
                nonce: [7; 32],
            }),
            Message::ConnectNak(status.clone().with_value(&[1, 2, 3])),
            Message::Connected(CryptoBinding {
                hash: 2,
                nonce: [7; 32],
                certificate_hash: [8; 32],
                mac: [9; 32],
            }),
            Message::Abort(status),
            Message::Disconnect(StatusInfo::CLEAN),
            Message::DisconnectAck,
            Message::EchoRequest,
            Message::EchoResponse,
        ]
    }

    #[test]
    fn every_message_has_the_length_of_the_standard() {
        let lengths: Vec<usize> = every().iter().map(|m| m.to_bytes().len()).collect();
        assert_eq!(lengths, [14, 48, 23, 112, 20, 20, 8, 8, 8]);
    }

    #[test]
    fn the_request_is_the_one_of_the_standard() {
        let bytes = Message::ConnectRequest.to_bytes();
        assert_eq!(bytes, [0x10, 1, 0, 14, 0, 1, 0, 1, 0, 1, 0, 6, 0, 1]);
    }

    #[test]
    fn every_message_comes_back_and_no_prefix_does() {
        for message in every() {
            let bytes = message.to_bytes();
            assert_eq!(Message::decode_exact(&bytes), Ok(message));
            for len in 0..bytes.len() {
                assert!(Message::decode_exact(&bytes[..len]).is_err());
            }
        }
    }

    #[test]
    fn a_count_that_lies_is_an_error() {
        for count in [0, 2, 0xffff_u16] {
            let mut bytes = Message::ConnectRequest.to_bytes();
            bytes[6..8].copy_from_slice(&count.to_be_bytes());
            assert!(Message::decode_exact(&bytes).is_err(), "{count}");
        }
    }

    #[test]
    fn an_abort_without_a_status_is_read() {
        let bytes = [0x10, 1, 0, 8, 0, 5, 0, 0];
        assert_eq!(
            Message::decode_exact(&bytes),
            Ok(Message::Abort(StatusInfo::CLEAN))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(message) = Message::decode_exact(&bytes) {
                prop_assert_eq!(Message::decode_exact(&message.to_bytes()), Ok(message));
            }
        }

        #[test]
        fn any_attributes_end(count: u16, body in proptest::collection::vec(any::<u8>(), 0..600)) {
            let len = u16::try_from(body.len() + 8).unwrap();
            let mut bytes = vec![0x10, 1];
            bytes.extend(len.to_be_bytes());
            bytes.extend([0, 1]);
            bytes.extend(count.to_be_bytes());
            bytes.extend(&body);
            let control = Control::decode_exact(&bytes).unwrap();
            prop_assert!(control.attributes().count() <= body.len() / 4 + 1);
        }
    }
}
