//! What the server thinks of the attributes that a client sends.

use super::attribute::{AttributeId, CryptoBinding, PROTOCOL_PPP, Status, StatusInfo};
use super::message::Control;
use crate::wire::Decode;

/// Says what is wrong with a Call Connect Request ([MS-SSTP] §3.3.5.2.2).
pub(super) fn judge_request(control: &Control<'_>) -> Result<(), StatusInfo> {
    let mut found = false;
    for attribute in control.attributes() {
        let Ok(attribute) = attribute else {
            return Err(StatusInfo::new(
                AttributeId::ENCAPSULATED_PROTOCOL,
                Status::INVALID_ATTRIB_VALUE_LENGTH,
            ));
        };
        let wrong = |id, status| Err(StatusInfo::new(id, status).with_value(attribute.value));
        match attribute.id {
            AttributeId::ENCAPSULATED_PROTOCOL if found => {
                return wrong(attribute.id, Status::DUPLICATE_ATTRIBUTE);
            }
            AttributeId::ENCAPSULATED_PROTOCOL => {
                let Ok(value) = <[u8; 2]>::try_from(attribute.value) else {
                    return wrong(attribute.id, Status::INVALID_ATTRIB_VALUE_LENGTH);
                };
                if u16::from_be_bytes(value) != PROTOCOL_PPP {
                    return wrong(attribute.id, Status::VALUE_NOT_SUPPORTED);
                }
                found = true;
            }
            AttributeId::STATUS_INFO => {
                return Err(StatusInfo::new(
                    AttributeId::STATUS_INFO,
                    Status::STATUS_INFO_NOT_SUPPORTED_IN_MSG,
                ));
            }
            AttributeId::CRYPTO_BINDING | AttributeId::CRYPTO_BINDING_REQUEST => {
                return wrong(attribute.id, Status::ATTRIB_NOT_SUPPORTED_IN_MSG);
            }
            AttributeId(_) => return wrong(attribute.id, Status::UNRECOGNIZED_ATTRIBUTE),
        }
    }
    if found {
        Ok(())
    } else {
        Err(StatusInfo::new(
            AttributeId::STATUS_INFO,
            Status::REQUIRED_ATTRIBUTE_MISSING,
        ))
    }
}

/// Returns the crypto binding when it is all that a Call Connected has.
pub(super) fn only_binding(control: &Control<'_>) -> Option<CryptoBinding> {
    let mut attributes = control.attributes();
    let attribute = attributes.next()?.ok()?;
    (attribute.id == AttributeId::CRYPTO_BINDING && attributes.next().is_none())
        .then(|| CryptoBinding::decode_exact(attribute.value).ok())
        .flatten()
}
