//! What a server, or somebody in its place, may say ahead of the true answer.

use std::fmt;

use causeway_proto::crypto::legacy::{hmac_md5, md5_of};
use causeway_proto::radius::authenticator::{EMPTY_MESSAGE_AUTHENTICATOR, sign_reply};
use causeway_proto::radius::{AttributeList, AttributeType, Code, Packet};

/// What the liar knows.
#[derive(Debug)]
pub struct Truth<'a> {
    /// What was asked.
    pub request: &'a Packet<'a>,
    /// The true answer.
    pub reply: Vec<u8>,
    /// The shared secret, which a forger does not use.
    pub secret: &'a [u8],
}

/// What a lie is worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Worth {
    /// It is not authentic: it is ignored, and the true answer behind it counts.
    Nothing,
    /// It is signed, and cannot be read: the log-in ends without a session.
    Unreadable,
}

/// One lie.
pub struct Lie {
    /// Its name.
    pub name: &'static str,
    /// What it is worth.
    pub worth: Worth,
    make: fn(&Truth<'_>) -> Vec<Vec<u8>>,
}

impl Lie {
    /// Returns the datagrams.
    pub fn tell(&self, truth: &Truth<'_>) -> Vec<Vec<u8>> {
        (self.make)(truth)
    }
}

impl fmt::Debug for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lie({})", self.name)
    }
}

impl PartialEq for Lie {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Lie {}

const fn forged(name: &'static str, make: fn(&Truth<'_>) -> Vec<Vec<u8>>) -> Lie {
    Lie {
        name,
        worth: Worth::Nothing,
        make,
    }
}

const fn unreadable(name: &'static str, make: fn(&Truth<'_>) -> Vec<Vec<u8>>) -> Lie {
    Lie {
        name,
        worth: Worth::Unreadable,
        make,
    }
}

/// Every lie.
pub static LIES: &[Lie] = &[
    // Who wrote it.
    forged("signed with another secret", |t| {
        vec![accept_with(t, b"another secret")]
    }),
    forged("signed with the secret and a NUL", |t| {
        vec![accept_with(t, &[t.secret, &[0]].concat())]
    }),
    forged("signed with half the secret", |t| {
        vec![accept_with(t, &t.secret[..t.secret.len() / 2])]
    }),
    forged("signed with no secret", |t| vec![accept_with(t, b"")]),
    forged("response authenticator of zeros", |t| {
        vec![with_authenticator(t, [0; 16])]
    }),
    forged("response authenticator of the request", |t| {
        vec![with_authenticator(t, t.request.authenticator)]
    }),
    forged("response authenticator off by one bit", |t| {
        let mut bytes = accept(t);
        bytes[19] ^= 1;
        vec![bytes]
    }),
    forged("response authenticator without the secret", |t| {
        let bytes = accept(t);
        let authenticator = md5_of(&[&bytes[..4], &t.request.authenticator, &bytes[20..]]);
        vec![with_authenticator(t, authenticator)]
    }),
    forged("signed for another request", |t| {
        let list = empty();
        vec![signed(t, Code::ACCESS_ACCEPT, &list, &[9; 16])]
    }),
    forged("signed for a request of zeros", |t| {
        vec![signed(t, Code::ACCESS_ACCEPT, &empty(), &[0; 16])]
    }),
    // Message-Authenticator.
    forged("no Message-Authenticator", |t| {
        vec![signed(
            t,
            Code::ACCESS_ACCEPT,
            &[],
            &t.request.authenticator,
        )]
    }),
    forged("Message-Authenticator of zeros", |t| {
        vec![with_message_authenticator(t, &[0; 16])]
    }),
    forged("Message-Authenticator of 15 octets", |t| {
        vec![with_message_authenticator(t, &[7; 15])]
    }),
    forged("Message-Authenticator of 17 octets", |t| {
        vec![with_message_authenticator(t, &[7; 17])]
    }),
    forged("Message-Authenticator without octets", |t| {
        vec![with_message_authenticator(t, &[])]
    }),
    forged("Message-Authenticator of another secret", |t| {
        let mac = mac(t, Code::ACCESS_ACCEPT, &t.request.authenticator, b"other");
        vec![with_message_authenticator(t, &mac)]
    }),
    forged("Message-Authenticator over zeros", |t| {
        let mac = mac(t, Code::ACCESS_ACCEPT, &[0; 16], t.secret);
        vec![with_message_authenticator(t, &mac)]
    }),
    forged("Message-Authenticator of a reject", |t| {
        let authenticator = t.request.authenticator;
        let mac = mac(t, Code::ACCESS_REJECT, &authenticator, t.secret);
        vec![with_message_authenticator(t, &mac)]
    }),
    forged("two Message-Authenticators", |t| {
        let list = [empty(), empty()].concat();
        vec![signed(
            t,
            Code::ACCESS_ACCEPT,
            &list,
            &t.request.authenticator,
        )]
    }),
    forged("reject turned into an accept", |t| {
        let authenticator = t.request.authenticator;
        let mut bytes = signed(t, Code::ACCESS_REJECT, &empty(), &authenticator);
        bytes[0] = Code::ACCESS_ACCEPT.0;
        vec![bytes]
    }),
    forged(
        "reject turned into an accept and signed again without the MAC",
        |t| {
            // What CVE-2024-3596 achieves: the response authenticator fits.
            let reject = mac(t, Code::ACCESS_REJECT, &t.request.authenticator, t.secret);
            vec![with_message_authenticator(t, &reject)]
        },
    ),
    forged(
        "prefix of garbage in Proxy-State, as in CVE-2024-3596",
        |t| {
            let mut list = vec![33, 200];
            list.resize(200, 0xA5);
            vec![signed(
                t,
                Code::ACCESS_ACCEPT,
                &list,
                &t.request.authenticator,
            )]
        },
    ),
    // The frame.
    forged("no octets", |_| vec![vec![]]),
    forged("one octet", |_| vec![vec![2]]),
    forged("19 octets", |t| vec![accept(t)[..19].to_vec()]),
    forged("a header of zeros", |_| vec![vec![0; 20]]),
    forged("a header of ones", |_| vec![vec![0xFF; 20]]),
    forged("200 octets of zeros", |_| vec![vec![0; 200]]),
    forged("a length below the header", |t| vec![with_length(t, 19)]),
    forged("a length of zero", |t| vec![with_length(t, 0)]),
    forged("a length beyond the datagram", |t| {
        let len = u16::try_from(accept(t).len()).unwrap();
        vec![with_length(t, len + 1)]
    }),
    forged("a length of 65535", |t| vec![with_length(t, 65_535)]),
    forged("a length within the datagram", |t| vec![with_length(t, 20)]),
    forged("octets behind the end", |t| {
        // RFC 2865 §3 calls them padding; nobody sends any.
        let mut bytes = accept_with(t, b"another secret");
        bytes.extend([0; 7]);
        vec![bytes]
    }),
    forged("4097 octets", |t| {
        let mut bytes = accept(t);
        bytes.resize(4097, 0);
        bytes[2..4].copy_from_slice(&4097u16.to_be_bytes());
        vec![bytes]
    }),
    forged("60,000 octets", |t| {
        let mut bytes = accept(t);
        bytes.resize(60_000, 0);
        vec![bytes]
    }),
    forged("every truncation", |t| {
        let bytes = accept(t);
        (0..bytes.len()).map(|len| bytes[..len].to_vec()).collect()
    }),
    forged("each octet off", |t| {
        let bytes = accept(t);
        (1..bytes.len())
            .map(|place| {
                let mut bytes = bytes.clone();
                bytes[place] ^= 0x20;
                bytes
            })
            .collect()
    }),
    forged("an attribute added after signing", |t| {
        let mut bytes = accept(t);
        bytes.extend([25, 6, 1, 2, 3, 4]);
        let len = u16::try_from(bytes.len()).unwrap();
        bytes[2..4].copy_from_slice(&len.to_be_bytes());
        vec![bytes]
    }),
    forged("the attributes taken out after signing", |t| {
        let mut bytes = accept(t)[..20].to_vec();
        bytes[2..4].copy_from_slice(&20u16.to_be_bytes());
        vec![bytes]
    }),
    // The identifier.
    forged("the next identifier", |t| vec![with_identifier(t, 1)]),
    forged("an identifier half way round", |t| {
        vec![with_identifier(t, 128)]
    }),
    forged("every identifier, forged", |t| {
        (0..=255)
            .map(|step| {
                let mut bytes = with_identifier(t, step);
                bytes[4..20].copy_from_slice(&md5_of(&[&[step]]));
                bytes
            })
            .collect()
    }),
    // The code.
    forged("code 0", |t| vec![with_code(t, 0)]),
    forged("code 255", |t| vec![with_code(t, 255)]),
    forged("the request come back", |t| {
        let mut bytes = t.request.head().to_vec();
        bytes.extend(t.request.authenticator);
        bytes.extend(t.request.attribute_octets());
        vec![bytes]
    }),
    forged("an Access-Request", |t| vec![with_code(t, 1)]),
    forged("an Accounting-Response", |t| vec![with_code(t, 5)]),
    forged("a Status-Server", |t| vec![with_code(t, 12)]),
    forged("a Status-Client", |t| vec![with_code(t, 13)]),
    forged("a Disconnect-Request", |t| vec![with_code(t, 40)]),
    forged("a CoA-Ack", |t| vec![with_code(t, 44)]),
    // Another protocol.
    forged("HTTP", |_| vec![b"HTTP/1.1 200 OK\r\n\r\n".to_vec()]),
    forged("a query of DNS", |_| {
        vec![b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03vpn\0\0\x01\0\x01".to_vec()]
    }),
    forged("a thousand random accepts", |t| {
        let bytes = accept(t);
        (0..1000u32)
            .map(|n| {
                let mut bytes = bytes.clone();
                bytes[4..20].copy_from_slice(&md5_of(&[&n.to_be_bytes()]));
                bytes
            })
            .collect()
    }),
    // Signed, so that it reaches the reader of attributes.
    unreadable("an attribute of length 0", |t| vec![plus(t, &[25, 0])]),
    unreadable("an attribute of length 1", |t| vec![plus(t, &[25, 1])]),
    unreadable("an attribute beyond the end", |t| {
        vec![plus(t, &[25, 9, 1, 2, 3])]
    }),
    unreadable("one octet behind the attributes", |t| vec![plus(t, &[25])]),
    unreadable("a Session-Timeout of 3 octets", |t| {
        vec![plus(t, &[27, 5, 0, 0, 9])]
    }),
    unreadable("a Session-Timeout of 5 octets", |t| {
        vec![plus(t, &[27, 7, 0, 0, 0, 0, 9])]
    }),
    unreadable("an Idle-Timeout without octets", |t| {
        vec![plus(t, &[28, 2])]
    }),
    unreadable("a Framed-IP-Address of 3 octets", |t| {
        vec![plus(t, &[8, 5, 10, 0, 0])]
    }),
    unreadable("a Framed-IP-Address of 16 octets", |t| {
        let mut value = vec![8, 18];
        value.resize(18, 9);
        vec![plus(t, &value)]
    }),
    unreadable("a Framed-MTU of 2 octets", |t| {
        vec![plus(t, &[12, 4, 5, 120])]
    }),
    unreadable("a Service-Type of one octet", |t| vec![plus(t, &[6, 3, 2])]),
    unreadable("an MPPE key that is no key", |t| {
        vec![plus(t, &[26, 12, 0, 0, 1, 55, 17, 6, 0x80, 1, 2, 3])]
    }),
];

/// Returns an accept as the server would sign it, which nobody has earned.
fn accept(t: &Truth<'_>) -> Vec<u8> {
    accept_with(t, b"what a forger guesses")
}

fn accept_with(t: &Truth<'_>, secret: &[u8]) -> Vec<u8> {
    let authenticator = &t.request.authenticator;
    let code = Code::ACCESS_ACCEPT;
    sign_reply(code, t.request.identifier, &empty(), authenticator, secret).unwrap()
}

/// Returns the attributes of a reply with nothing in it but the place for its Message-Authenticator.
fn empty() -> Vec<u8> {
    let mut list = AttributeList::new();
    list.push(
        AttributeType::MESSAGE_AUTHENTICATOR,
        &EMPTY_MESSAGE_AUTHENTICATOR,
    );
    list.finish().unwrap().to_vec()
}

/// Returns a reply that is signed with the true secret.
fn signed(t: &Truth<'_>, code: Code, attributes: &[u8], authenticator: &[u8; 16]) -> Vec<u8> {
    let identifier = t.request.identifier;
    sign_reply(code, identifier, attributes, authenticator, t.secret).unwrap()
}

/// Returns the true answer with more attributes behind its own, signed.
fn plus(t: &Truth<'_>, more: &[u8]) -> Vec<u8> {
    let mut attributes = t.reply[20..].to_vec();
    // The place for the Message-Authenticator, which is the first.
    attributes[2..18].fill(0);
    attributes.extend(more);
    signed(t, Code(t.reply[0]), &attributes, &t.request.authenticator)
}

fn with_authenticator(t: &Truth<'_>, authenticator: [u8; 16]) -> Vec<u8> {
    let mut bytes = accept(t);
    bytes[4..20].copy_from_slice(&authenticator);
    bytes
}

/// Returns an accept whose response authenticator is right, and whose Message-Authenticator is this.
fn with_message_authenticator(t: &Truth<'_>, value: &[u8]) -> Vec<u8> {
    let mut attributes = vec![80, u8::try_from(value.len() + 2).unwrap()];
    attributes.extend(value);
    let len = u16::try_from(20 + attributes.len()).unwrap().to_be_bytes();
    let head = [Code::ACCESS_ACCEPT.0, t.request.identifier, len[0], len[1]];
    let authenticator = md5_of(&[&head, &t.request.authenticator, &attributes, t.secret]);
    [head.as_slice(), &authenticator, &attributes].concat()
}

/// Returns the Message-Authenticator of a reply that has nothing else.
fn mac(t: &Truth<'_>, code: Code, authenticator: &[u8; 16], secret: &[u8]) -> [u8; 16] {
    let head = [code.0, t.request.identifier, 0, 38];
    hmac_md5(secret, &[&head, authenticator, &empty()])
}

fn with_length(t: &Truth<'_>, len: u16) -> Vec<u8> {
    let mut bytes = t.reply.clone();
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    bytes
}

fn with_identifier(t: &Truth<'_>, step: u8) -> Vec<u8> {
    let identifier = t.request.identifier.wrapping_add(step);
    let authenticator = &t.request.authenticator;
    let code = Code::ACCESS_ACCEPT;
    sign_reply(code, identifier, &empty(), authenticator, t.secret).unwrap()
}

fn with_code(t: &Truth<'_>, code: u8) -> Vec<u8> {
    signed(t, Code(code), &empty(), &t.request.authenticator)
}
