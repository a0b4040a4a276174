//! What the server is told, and the answers that come of it.

use std::collections::HashMap;
use std::time::Duration;

use causeway_proto::crypto::SecretBytes;
use causeway_proto::crypto::legacy::md5_of;
use causeway_proto::radius::authenticator::{EMPTY_MESSAGE_AUTHENTICATOR, sign_reply};
use causeway_proto::radius::hidden::hide_key;
use causeway_proto::radius::{AttributeList, AttributeType, Code, MicrosoftType, Packet};

use super::check::Finding;
use super::lies::{Lie, Truth};

/// What the server knows and how it behaves.
#[derive(Clone, Debug)]
pub struct Script {
    /// The shared secret.
    pub secret: Vec<u8>,
    /// Names, without a domain, and passwords.
    pub users: HashMap<String, String>,
    /// How long it thinks.
    pub delay: Duration,
    /// What it does wrong.
    pub fault: Fault,
    /// Who never gets an answer.
    pub ignored: Vec<String>,
    /// What an accept says besides.
    pub attributes: Vec<(AttributeType, Vec<u8>)>,
    /// `Reply-Message` of a reject.
    pub reject_message: Option<String>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            secret: b"a shared secret".to_vec(),
            users: [("alice", "wonderland"), ("bob", "builder")]
                .map(|(name, password)| (name.into(), password.into()))
                .into(),
            delay: Duration::ZERO,
            fault: Fault::None,
            ignored: Vec::new(),
            attributes: Vec::new(),
            reject_message: None,
        }
    }
}

/// What the server does wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It never answers.
    Silence,
    /// The first so many copies of each request get lost on the way.
    LoseFirst(usize),
    /// It signs with another secret.
    WrongSecret,
    /// It leaves the Message-Authenticator out.
    NoMessageAuthenticator,
    /// Its Message-Authenticator is wrong under a right response authenticator.
    WrongMessageAuthenticator,
    /// Its response authenticator is zero.
    WrongAuthenticator,
    /// It answers under another identifier.
    WrongIdentifier,
    /// It answers with this code.
    WrongCode(Code),
    /// It adds these octets behind the attributes, and signs them.
    Octets(Vec<u8>),
    /// Its accept has no MPPE keys.
    NoKeys,
    /// Its accept has MPPE keys of 8 octets.
    ShortKeys,
    /// Its accept has no MS-CHAP2-Success.
    NoSuccess,
    /// It accepts a name, with an EAP-Success and keys, before any method has run.
    EarlyAccept,
    /// It puts an EAP-Success into a challenge.
    SuccessInChallenge,
    /// It answers so many times.
    Duplicates(usize),
    /// It rejects everybody with this text as MS-CHAP-Error.
    Reject(String),
    /// Every password has expired (648); one of eight characters and more is taken in its place, a shorter one is not
    /// (709).
    Expired,
    /// It asks everybody for a code.
    AskForCode,
    /// It asks whoever has the right password for this code.
    Code(String),
    /// So many forged accepts under random authenticators come ahead of the true answer.
    ForgedAhead(usize),
    /// It answers from another port.
    OtherPort,
    /// It says this ahead of the true answer.
    Lie(&'static Lie),
}

impl Script {
    /// Puts a finding into datagrams, with the fault.
    pub(super) fn datagrams(&self, request: &Packet<'_>, finding: Finding) -> Vec<Vec<u8>> {
        let mut list = AttributeList::new();
        match self.fault {
            Fault::NoMessageAuthenticator => {}
            Fault::WrongMessageAuthenticator => {
                // Behind another one, so that signing does not fill it in.
                list.push(AttributeType::CLASS, b"ahead")
                    .push(AttributeType::MESSAGE_AUTHENTICATOR, &[0x55; 16]);
            }
            _ => {
                list.push(
                    AttributeType::MESSAGE_AUTHENTICATOR,
                    &EMPTY_MESSAGE_AUTHENTICATOR,
                );
            }
        }
        let mut code = self.fill(&mut list, request, finding);
        let mut octets = list.finish().expect("the script fits").to_vec();
        if let Fault::Octets(more) = &self.fault {
            octets.extend(more);
        }
        if let Fault::WrongCode(wrong) = self.fault {
            code = wrong;
        }
        let identifier = match self.fault {
            Fault::WrongIdentifier => request.identifier.wrapping_add(7),
            _ => request.identifier,
        };
        let secret = match self.fault {
            Fault::WrongSecret => b"another secret",
            _ => self.secret.as_slice(),
        };
        let mut bytes = sign_reply(code, identifier, &octets, &request.authenticator, secret)
            .expect("the script fits");
        if self.fault == Fault::WrongAuthenticator {
            bytes[4..20].fill(0);
        }
        match self.fault {
            Fault::Duplicates(times) => vec![bytes; times],
            Fault::ForgedAhead(times) => {
                let forged = (0..times).map(|n| {
                    let mut forged = bytes.clone();
                    forged[0] = Code::ACCESS_ACCEPT.0;
                    forged[4..20].copy_from_slice(&md5_of(&[&n.to_be_bytes()]));
                    forged
                });
                forged.chain([bytes.clone()]).collect()
            }
            Fault::Lie(lie) => {
                let mut all = lie.tell(&Truth {
                    request,
                    reply: bytes.clone(),
                    secret: &self.secret,
                });
                all.push(bytes);
                all
            }
            _ => vec![bytes],
        }
    }

    /// Adds the attributes of a finding and returns the code.
    fn fill(&self, list: &mut AttributeList, request: &Packet<'_>, finding: Finding) -> Code {
        match finding {
            Finding::Accept { success, keys, eap } => {
                list.push_split(AttributeType::EAP_MESSAGE, &eap.unwrap_or_default());
                if let Some(success) = success.filter(|_| self.fault != Fault::NoSuccess) {
                    list.push_microsoft(MicrosoftType::CHAP2_SUCCESS, &success);
                }
                if let Some(keys) = keys.filter(|_| self.fault != Fault::NoKeys) {
                    self.push_key(list, request, MicrosoftType::MPPE_RECV_KEY, &keys.recv);
                    self.push_key(list, request, MicrosoftType::MPPE_SEND_KEY, &keys.send);
                }
                for (kind, value) in &self.attributes {
                    list.push(*kind, value);
                }
                Code::ACCESS_ACCEPT
            }
            Finding::Challenge { eap, state } => {
                match eap {
                    Some(eap) => list.push_split(AttributeType::EAP_MESSAGE, &eap),
                    None => list.push(AttributeType::REPLY_MESSAGE, b"Enter your code"),
                };
                list.push(AttributeType::STATE, &state);
                Code::ACCESS_CHALLENGE
            }
            Finding::Error(identifier, number) => {
                let text = format!("E={number} R=0 C=00112233445566778899AABBCCDDEEFF V=3 M=No");
                let mut value = vec![identifier];
                value.extend(text.as_bytes());
                list.push_microsoft(MicrosoftType::CHAP_ERROR, &value);
                Code::ACCESS_REJECT
            }
            Finding::Reject { ms_chap, eap } => {
                list.push_split(AttributeType::EAP_MESSAGE, &eap.unwrap_or_default());
                if let Some(identifier) = ms_chap {
                    let text = match &self.fault {
                        Fault::Reject(text) => text,
                        _ => "E=691 R=1 C=00112233445566778899AABBCCDDEEFF V=3 M=Wrong",
                    };
                    let mut value = vec![identifier];
                    value.extend(text.as_bytes());
                    list.push_microsoft(MicrosoftType::CHAP_ERROR, &value);
                }
                if let Some(message) = &self.reject_message {
                    list.push(AttributeType::REPLY_MESSAGE, message.as_bytes());
                }
                Code::ACCESS_REJECT
            }
        }
    }

    fn push_key(
        &self,
        list: &mut AttributeList,
        request: &Packet<'_>,
        kind: MicrosoftType,
        key: &SecretBytes,
    ) {
        let key = match self.fault {
            Fault::ShortKeys => &key.expose()[..8],
            _ => key.expose(),
        };
        let value = hide_key(key, [0x80, kind.0], &self.secret, &request.authenticator);
        list.push_microsoft(kind, &value);
    }
}
