//! What a client says about itself in LCP Identification (RFC 1570 §2.1, [MS-RNAS] §2.2.1).

/// The texts of the Identification packets that came.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Identification {
    /// The version, as `MSRASV5.20`.
    pub version: Option<String>,
    /// The computer, as `MSRAS-0-COMPUTER`.
    pub name: Option<String>,
    /// The correlation GUID, in the order of the wire.
    pub guid: Option<[u8; 16]>,
}

impl Identification {
    /// The longest text that is kept.
    const MAX_TEXT: usize = 128;

    /// Takes the data of one packet: our copy of the peer's magic number, then the message.
    pub(crate) fn learn(&mut self, data: &[u8]) {
        let Some((_magic, message)) = data.split_first_chunk::<4>() else {
            return;
        };
        if let Some(text) = text_with(message, b"MSRASV") {
            self.version = Some(text);
        } else if let Some(text) = text_with(message, b"MSRAS-") {
            self.name = Some(text);
        } else if let Ok(guid) = <[u8; 16]>::try_from(message) {
            self.guid = Some(guid);
        }
    }
}

/// Returns the message as text if it starts with `prefix` and is printable; a NUL at the end is left off.
fn text_with(message: &[u8], prefix: &[u8]) -> Option<String> {
    if !message.starts_with(prefix) || message.len() > Identification::MAX_TEXT {
        return None;
    }
    let message = message.strip_suffix(&[0]).unwrap_or(message);
    let text = core::str::from_utf8(message).ok()?;
    (!text.chars().any(char::is_control)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learns_the_three_packets_of_windows() {
        let mut identification = Identification::default();
        identification.learn(b"\x11\x22\x33\x44MSRASV5.20");
        identification.learn(b"\x11\x22\x33\x44MSRAS-0-DESKTOP\0");
        identification.learn(b"\x11\x22\x33\x440123456789abcdef");
        assert_eq!(identification.version.as_deref(), Some("MSRASV5.20"));
        assert_eq!(identification.name.as_deref(), Some("MSRAS-0-DESKTOP"));
        assert_eq!(identification.guid.as_ref(), Some(b"0123456789abcdef"));
    }

    #[test]
    fn ignores_what_it_does_not_know() {
        let mut identification = Identification::default();
        for data in [
            &b""[..],
            b"\0\0\0",
            b"\0\0\0\0",
            b"\0\0\0\0pppd",
            b"\0\0\0\0MSRASV\n",
            &[b'M'; 400],
        ] {
            identification.learn(data);
        }
        assert_eq!(identification, Identification::default());
    }
}
