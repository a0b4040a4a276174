//! Whether a client is who it says.

use std::collections::HashMap;

use causeway_proto::aaa::InnerKeys;
use causeway_proto::crypto::SecretBytes;
use causeway_proto::crypto::legacy::md5_of;
use causeway_proto::mschapv2::{
    PasswordChange, authenticator_response, nt_password_hash, server_keys, user_without_domain,
    verify_nt_response,
};
use causeway_proto::radius::hidden::reveal_password;
use causeway_proto::radius::vendor::{VendorSpecific, microsoft_type};
use causeway_proto::radius::{AttributeType, MicrosoftType, Packet};

use super::{Fault, Script};

/// What a request says.
#[derive(Default)]
struct Request {
    user: String,
    password: Option<Vec<u8>>,
    challenge: Option<[u8; 16]>,
    response: Option<Vec<u8>>,
    /// MS-CHAP2-CPW, and the pieces of MS-CHAP-NT-Enc-PW.
    change: Option<Vec<u8>>,
    pieces: Vec<Vec<u8>>,
    eap: Vec<u8>,
    state: Option<Vec<u8>>,
}

impl Request {
    fn read(packet: &Packet<'_>) -> Self {
        let mut request = Self::default();
        for attribute in packet.attributes().map_while(Result::ok) {
            let value = attribute.value.to_vec();
            match attribute.kind {
                AttributeType::USER_NAME => {
                    let bare = user_without_domain(attribute.value);
                    request.user = String::from_utf8_lossy(bare).into_owned();
                }
                AttributeType::USER_PASSWORD => request.password = Some(value),
                AttributeType::EAP_MESSAGE => request.eap.extend(value),
                AttributeType::STATE => request.state = Some(value),
                AttributeType::VENDOR_SPECIFIC => {
                    let vendor = VendorSpecific::decode(attribute.value);
                    for inner in vendor.iter().flat_map(VendorSpecific::microsoft).flatten() {
                        match microsoft_type(&inner) {
                            MicrosoftType::CHAP_CHALLENGE => {
                                request.challenge = inner.value.try_into().ok();
                            }
                            MicrosoftType::CHAP2_RESPONSE => {
                                request.response = Some(inner.value.to_vec());
                            }
                            MicrosoftType::CHAP2_CPW => {
                                request.change = Some(inner.value.to_vec());
                            }
                            MicrosoftType::CHAP_NT_ENC_PW => {
                                request.pieces.push(inner.value.to_vec());
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        request
    }
}

/// What the server makes of a request.
pub(super) enum Finding {
    Accept {
        success: Option<Vec<u8>>,
        keys: Option<InnerKeys>,
        eap: Option<Vec<u8>>,
    },
    Challenge {
        eap: Option<Vec<u8>>,
        state: Vec<u8>,
    },
    Reject {
        ms_chap: Option<u8>,
        eap: Option<Vec<u8>>,
    },
    /// An MS-CHAP-Error of this identifier and number.
    Error(u8, u16),
}

/// The EAP conversations that are open: the MD5 challenge of each state.
#[derive(Default)]
pub(super) struct Conversations {
    open: HashMap<Vec<u8>, [u8; 16]>,
    next: u64,
}

impl Conversations {
    /// Returns the datagrams that answer a request, and whether they let the client in.
    pub(super) fn answer(&mut self, script: &Script, packet: &Packet<'_>) -> (Vec<Vec<u8>>, bool) {
        let request = Request::read(packet);
        if script.ignored.contains(&request.user) {
            return (Vec::new(), false);
        }
        let finding = match &script.fault {
            Fault::AskForCode => Finding::Challenge {
                eap: None,
                state: b"code".to_vec(),
            },
            Fault::Code(code) => self.find_code(script, packet, &request, code),
            Fault::Expired => find_expired(script, &request),
            Fault::EarlyAccept => accept_eap(&request),
            Fault::SuccessInChallenge => Finding::Challenge {
                eap: Some(vec![3, request.eap.get(1).copied().unwrap_or(0), 0, 4]),
                state: b"and then?".to_vec(),
            },
            Fault::Reject(_) => Finding::Reject {
                ms_chap: request.response.as_ref().map(|r| r[0]),
                eap: None,
            },
            _ => self.find(script, packet, &request),
        };
        let accepted = matches!(finding, Finding::Accept { .. });
        (script.datagrams(packet, finding), accepted)
    }

    /// Checks the password, then the code that it asks for.
    fn find_code(
        &mut self,
        script: &Script,
        packet: &Packet<'_>,
        request: &Request,
        code: &str,
    ) -> Finding {
        let state = b"the code".to_vec();
        if request.state.as_ref() != Some(&state) {
            return match self.find(script, packet, request) {
                Finding::Accept { .. } => Finding::Challenge { eap: None, state },
                other => other,
            };
        }
        let hidden = request.password.as_deref().unwrap_or_default();
        let clear = reveal_password(hidden, &script.secret, &packet.authenticator);
        if clear.is_some_and(|clear| clear.expose() == code.as_bytes()) {
            Finding::Accept {
                success: None,
                keys: None,
                eap: None,
            }
        } else {
            Finding::Reject {
                ms_chap: None,
                eap: None,
            }
        }
    }

    /// Checks what the client offered.
    fn find(&mut self, script: &Script, packet: &Packet<'_>, request: &Request) -> Finding {
        let password = script.users.get(&request.user);
        if let Some(hidden) = &request.password {
            let clear = reveal_password(hidden, &script.secret, &packet.authenticator);
            let right = clear.is_some_and(|clear| {
                password.is_some_and(|password| clear.expose() == password.as_bytes())
            });
            return if right {
                Finding::Accept {
                    success: None,
                    keys: None,
                    eap: None,
                }
            } else {
                Finding::Reject {
                    ms_chap: None,
                    eap: None,
                }
            };
        }
        if let (Some(challenge), Some(response)) = (&request.challenge, &request.response) {
            return ms_chap(&request.user, password, challenge, response);
        }
        self.eap(password, request)
    }

    /// EAP-MD5, with made-up keys of 32 octets as EAP-TLS would leave.
    fn eap(&mut self, password: Option<&String>, request: &Request) -> Finding {
        let failure = |identifier| Finding::Reject {
            ms_chap: None,
            eap: Some(vec![4, identifier, 0, 4]),
        };
        let [2, identifier, _, _, kind, data @ ..] = request.eap.as_slice() else {
            return failure(0);
        };
        match (kind, &request.state) {
            (1, None) => {
                self.next += 1;
                let challenge = md5_of(&[&self.next.to_be_bytes()]);
                let state = format!("conversation {}", self.next).into_bytes();
                self.open.insert(state.clone(), challenge);
                let mut eap = vec![1, identifier.wrapping_add(1), 0, 22, 4, 16];
                eap.extend(challenge);
                Finding::Challenge {
                    eap: Some(eap),
                    state,
                }
            }
            (4, Some(state)) => {
                let Some((challenge, password)) = self.open.remove(state).zip(password) else {
                    return failure(*identifier);
                };
                let expected = md5_of(&[&[*identifier], password.as_bytes(), &challenge]);
                if data.get(1..17) != Some(&expected) {
                    return failure(*identifier);
                }
                accept_eap(request)
            }
            _ => failure(*identifier),
        }
    }
}

/// Ends an EAP conversation well.
fn accept_eap(request: &Request) -> Finding {
    Finding::Accept {
        success: None,
        keys: Some(InnerKeys {
            recv: SecretBytes::from([0xaa; 32].as_slice()),
            send: SecretBytes::from([0xbb; 32].as_slice()),
        }),
        eap: Some(vec![3, request.eap.get(1).copied().unwrap_or(0), 0, 4]),
    }
}

/// Lets nobody in with the password that was, and with another one who knows it.
fn find_expired(script: &Script, request: &Request) -> Finding {
    let no = Finding::Reject {
        ms_chap: None,
        eap: None,
    };
    let (Some(password), Some(challenge)) = (script.users.get(&request.user), request.challenge)
    else {
        return no;
    };
    if let Some(response) = &request.response {
        return match ms_chap(&request.user, Some(password), &challenge, response) {
            Finding::Accept { .. } => Finding::Error(response[0], 648),
            wrong => wrong,
        };
    }
    let Some([7, identifier, change @ ..]) = request.change.as_deref() else {
        return no;
    };
    let mut value = Vec::new();
    for (piece, number) in request.pieces.iter().zip(1..) {
        assert_eq!(
            piece[..4],
            [6, *identifier, 0, number],
            "a piece out of its place"
        );
        value.extend_from_slice(&piece[4..]);
    }
    value.extend_from_slice(change);
    let change = PasswordChange::read(*identifier, challenge, &value).expect("a whole change");
    let user = request.user.as_bytes();
    let Some(new) = change.reveal(&nt_password_hash(password), user) else {
        return Finding::Error(*identifier, 691);
    };
    if new.chars().count() < 8 {
        return Finding::Error(*identifier, 709);
    }
    let mut response = vec![*identifier, 0];
    response.extend_from_slice(&change.peer_challenge);
    response.extend_from_slice(&[0; 8]);
    response.extend_from_slice(&change.nt_response);
    ms_chap(&request.user, Some(&new), &challenge, &response)
}

/// Checks an MS-CHAP2-Response.
fn ms_chap(
    user: &str,
    password: Option<&String>,
    challenge: &[u8; 16],
    response: &[u8],
) -> Finding {
    let identifier = response[0];
    let reject = Finding::Reject {
        ms_chap: Some(identifier),
        eap: None,
    };
    let (Some(password), Ok(peer), Ok(nt_response)) = (
        password,
        <&[u8; 16]>::try_from(&response[2..18]),
        <&[u8; 24]>::try_from(&response[26..50]),
    ) else {
        return reject;
    };
    let hash = nt_password_hash(password);
    if !verify_nt_response(nt_response, challenge, peer, user.as_bytes(), &hash) {
        return reject;
    }
    let text = authenticator_response(&hash, nt_response, peer, challenge, user.as_bytes());
    let mut success = vec![identifier];
    success.extend(text.as_bytes());
    Finding::Accept {
        success: Some(success),
        keys: Some(server_keys(&hash, nt_response)),
        eap: None,
    }
}
