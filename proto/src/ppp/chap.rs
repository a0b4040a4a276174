//! CHAP with MD5 (RFC 1994) and MS-CHAPv2 (RFC 2759), both halves.
//!
//! ```text
//! Challenge, Response | Value-Size | Value ... | Name ... |
//! Success, Failure    | Message ...                       |
//! ```
//!
//! The challenge is sent again, unchanged, only while no response has come. A second response is swallowed while the
//! first is being looked at and gets the same answer afterwards.

use super::auth::{Exchange, Step, cut, refusal_of, words};
use super::config::ClientConfig;
use super::control::Packet;
use super::event::DownReason;
use super::frame::Protocol;
use super::outbox::Outbox;
use crate::aaa::{
    Credentials, Decision, Identity, InnerKeys, MsChapV2Response, Proof, Refusal, RefuseReason,
    Rejection,
};
use crate::crypto::legacy::md5_of;
use crate::crypto::{Rng, SecretBytes};
use crate::mschapv2::{Answer, PasswordChange};
use crate::wire::{Decode, DecodeError, Reader};
use zeroize::Zeroizing;

const CHALLENGE: u8 = 1;
const RESPONSE: u8 = 2;
const SUCCESS: u8 = 3;
const FAILURE: u8 = 4;
/// RFC 2759 §7.
const CHANGE_PASSWORD: u8 = 7;

/// The longest message of a Success or Failure.
const MAX_MESSAGE: usize = 512;

/// The algorithm octet of the LCP option.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Algorithm {
    /// 5.
    Md5,
    /// 0x81.
    MsChapV2,
}

/// The authenticator.
#[derive(Debug)]
pub(crate) struct Server {
    algorithm: Algorithm,
    identifier: u8,
    challenge: [u8; 16],
    name: Vec<u8>,
    rng: Rng,
    /// Whether a password that has expired may be changed; that is offered once.
    changes: bool,
    user: Option<Identity>,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting,
    Pending,
    /// The peer was told that its password has expired, by this message, and may send a new one for this challenge.
    Expired {
        challenge: [u8; 16],
        message: Vec<u8>,
    },
    Ended {
        code: u8,
        message: Vec<u8>,
    },
}

impl Server {
    /// `changes` says whether an expired password may be changed (RFC 2759 §7).
    pub(crate) fn new(algorithm: Algorithm, name: &str, changes: bool, mut rng: Rng) -> Self {
        Self {
            changes: changes && algorithm == Algorithm::MsChapV2,
            user: None,
            algorithm,
            identifier: rng.u8(),
            challenge: rng.array(),
            name: cut(name, 255).as_bytes().to_vec(),
            rng,
            state: State::Waiting,
        }
    }

    fn credentials(&self, value: &[u8], user: Identity) -> Result<Credentials, DecodeError> {
        let mut r = Reader::new(value);
        let credentials = match self.algorithm {
            Algorithm::Md5 => Credentials::ChapMd5 {
                user,
                identifier: self.identifier,
                challenge: self.challenge.to_vec(),
                response: r.array("Value")?,
            },
            Algorithm::MsChapV2 => {
                let peer_challenge = r.array("Peer-Challenge")?;
                r.array::<8>("Reserved")?;
                Credentials::MsChapV2 {
                    user,
                    response: MsChapV2Response {
                        identifier: self.identifier,
                        challenge: self.challenge,
                        peer_challenge,
                        nt_response: r.array("NT-Response")?,
                        flags: r.u8("Flags")?,
                    },
                }
            }
        };
        r.finish()?;
        Ok(credentials)
    }

    fn end(&mut self, code: u8, text: &str, out: &mut Outbox) {
        let message = cut(text, MAX_MESSAGE).as_bytes().to_vec();
        out.control(Protocol::CHAP, code, self.identifier, &message);
        self.state = State::Ended { code, message };
    }

    fn refuse(&mut self, refusal: &Refusal, out: &mut Outbox) -> Step {
        let text = match (self.algorithm, &refusal.rejection.ms_chap_error) {
            (Algorithm::Md5, _) => words(refusal).to_owned(),
            (Algorithm::MsChapV2, Some(error)) => without_retry(error),
            (Algorithm::MsChapV2, None) => {
                let challenge = u128::from_be_bytes(self.rng.array());
                format!("E=691 R=0 C={challenge:032X} V=3 M={}", words(refusal))
            }
        };
        self.end(FAILURE, &text, out);
        Step::Failure(DownReason::AuthRefused)
    }

    /// Tells the peer that its password has expired and waits for a new one.
    fn offer(&mut self, error: &str, out: &mut Outbox) -> Step {
        self.changes = false;
        let challenge = challenge_of(error).unwrap_or_else(|| self.rng.array());
        let digits = u128::from_be_bytes(challenge);
        let words = error.split_once(" M=").map_or("", |(_, words)| words);
        // R=1 lets the peer wait for a person (RFC 2759 §6).
        let text = format!("E=648 R=1 C={digits:032X} V=3 M={words}");
        let message = cut(&text, MAX_MESSAGE).as_bytes().to_vec();
        out.control(Protocol::CHAP, FAILURE, self.identifier, &message);
        self.state = State::Expired { challenge, message };
        Step::Prompt
    }

    /// Takes what comes when the peer has been told that its password has expired.
    fn handle_change(&mut self, packet: &Packet<'_>, out: &mut Outbox) -> Step {
        let State::Expired { challenge, message } = &self.state else {
            return Step::Wait;
        };
        let next = self.identifier.wrapping_add(1);
        match packet.code {
            // The peer has not heard it.
            RESPONSE if packet.identifier == self.identifier => {
                out.control(Protocol::CHAP, FAILURE, self.identifier, message);
                Step::Wait
            }
            // Another try with the old one, which will not become better.
            RESPONSE if packet.identifier == next => {
                self.refuse(&Refusal::new(RefuseReason::Rejected), out)
            }
            CHANGE_PASSWORD if packet.identifier == next => {
                let change = PasswordChange::read(next, *challenge, packet.data);
                let (Some(change), Some(user)) = (change, self.user.clone()) else {
                    return Step::Wait;
                };
                self.identifier = next;
                self.state = State::Pending;
                Step::Ask(Credentials::MsChapV2Change { user, change })
            }
            _ => Step::Wait,
        }
    }
}

impl Exchange for Server {
    fn start(&mut self, out: &mut Outbox) {
        let data = value_and_name(&self.challenge, &self.name);
        out.control(Protocol::CHAP, CHALLENGE, self.identifier, &data);
    }

    fn handle(&mut self, information: &[u8], out: &mut Outbox) -> Step {
        let Ok(packet) = Packet::decode(&mut Reader::new(information)) else {
            return Step::Wait;
        };
        if matches!(self.state, State::Expired { .. }) {
            return self.handle_change(&packet, out);
        }
        if let State::Ended { code, message } = &self.state
            && packet.code == CHANGE_PASSWORD
            && packet.identifier == self.identifier
        {
            out.control(Protocol::CHAP, *code, self.identifier, message);
        }
        if packet.code != RESPONSE || packet.identifier != self.identifier {
            return Step::Wait;
        }
        let Ok((value, name)) = read_value_and_name(packet.data) else {
            return Step::Wait;
        };
        match &self.state {
            State::Waiting => {
                let Some(user) = Identity::new(name) else {
                    return self.refuse(&Refusal::new(RefuseReason::Rejected), out);
                };
                let Ok(credentials) = self.credentials(value, user) else {
                    return Step::Wait;
                };
                self.user = Some(credentials.user().clone());
                self.state = State::Pending;
                Step::Ask(credentials)
            }
            State::Pending | State::Expired { .. } => Step::Wait,
            State::Ended { code, message } => {
                out.control(Protocol::CHAP, *code, self.identifier, message);
                Step::Wait
            }
        }
    }

    fn decide(&mut self, decision: &Decision, out: &mut Outbox) -> Step {
        if !matches!(self.state, State::Pending) {
            return Step::Wait;
        }
        if let Some(refusal) = refusal_of(decision) {
            if self.changes && refusal.rejection.is_expired_password() {
                let error = refusal.rejection.ms_chap_error.unwrap_or_default();
                return self.offer(&error, out);
            }
            return self.refuse(&refusal, out);
        }
        let Decision::Admit(grant) = decision else {
            return Step::Wait;
        };
        match (self.algorithm, &grant.proof) {
            (Algorithm::Md5, Proof::Message(text)) => self.end(SUCCESS, text, out),
            (Algorithm::MsChapV2, Proof::MsChapV2(text)) if text.starts_with("S=") => {
                self.end(SUCCESS, text, out);
            }
            // A success without the server's proof is no success (Windows would say so too).
            (Algorithm::Md5 | Algorithm::MsChapV2, _) => {
                return self.refuse(&Refusal::new(RefuseReason::MissingKeys), out);
            }
        }
        Step::Success(grant.keys.clone())
    }

    fn resend(&mut self, out: &mut Outbox) {
        if matches!(self.state, State::Waiting) {
            self.start(out);
        }
    }

    fn give_up(&mut self, out: &mut Outbox) {
        self.refuse(&Refusal::new(RefuseReason::Rejected), out);
    }
}

/// The peer.
#[derive(Debug)]
pub(crate) struct Client {
    algorithm: Algorithm,
    user: Identity,
    password: SecretBytes,
    /// What takes its place when it has expired.
    new_password: Option<SecretBytes>,
    rng: Rng,
    answer: Option<(u8, ClientAnswer)>,
    /// Whether a new password was sent.
    changed: bool,
    ended: bool,
}

#[derive(Debug)]
enum ClientAnswer {
    Md5 {
        challenge: Vec<u8>,
        response: [u8; 16],
    },
    MsChapV2(Answer),
}

impl Client {
    pub(crate) fn new(algorithm: Algorithm, config: &ClientConfig, rng: Rng) -> Self {
        Self {
            algorithm,
            user: config.user.clone(),
            password: config.password.clone(),
            new_password: config.new_password.clone(),
            rng,
            answer: None,
            changed: false,
            ended: false,
        }
    }

    /// Sends a new password in place of one that has expired, once; `None` when there is none to send.
    fn change(&mut self, identifier: u8, error: &[u8], out: &mut Outbox) -> Option<()> {
        let error = core::str::from_utf8(error).ok()?;
        let challenge = challenge_of(error)?;
        let rejection = Rejection {
            ms_chap_error: Some(error.to_owned()),
            ..Rejection::default()
        };
        if !rejection.is_expired_password() {
            return None;
        }
        let new = self.new_password.take()?;
        let text = |password: &SecretBytes| {
            let text = core::str::from_utf8(password.expose()).ok()?;
            Some(Zeroizing::new(text.to_owned()))
        };
        let (old, text) = (text(&self.password)?, text(&new)?);
        let mut padding = [0; 512];
        for piece in padding.chunks_exact_mut(16) {
            piece.copy_from_slice(&self.rng.array::<16>());
        }
        let own = self.rng.array();
        let next = identifier.wrapping_add(1);
        let user = self.user.as_bytes();
        let passwords = (old.as_str(), text.as_str());
        let change = PasswordChange::new(passwords, user, (next, challenge), own, &padding)?;
        out.control(Protocol::CHAP, CHANGE_PASSWORD, next, &change.value());
        let answer = Answer::new(&text, user, challenge, own);
        self.answer = Some((next, ClientAnswer::MsChapV2(answer)));
        self.password = new;
        Some(())
    }

    /// Answers a challenge; one that is repeated gets the same answer.
    fn respond(&mut self, identifier: u8, challenge: &[u8], out: &mut Outbox) -> Option<()> {
        let repeated = self.answer.as_ref().is_some_and(|(id, answer)| {
            *id == identifier
                && match answer {
                    ClientAnswer::Md5 {
                        challenge: answered,
                        ..
                    } => answered == challenge,
                    ClientAnswer::MsChapV2(answer) => answer.authenticator() == challenge,
                }
        });
        if !repeated {
            let answer = match self.algorithm {
                Algorithm::Md5 => ClientAnswer::Md5 {
                    challenge: challenge.to_vec(),
                    response: md5_of(&[&[identifier], self.password.expose(), challenge]),
                },
                Algorithm::MsChapV2 => {
                    let password = core::str::from_utf8(self.password.expose()).ok()?;
                    let challenge = <[u8; 16]>::try_from(challenge).ok()?;
                    let user = self.user.as_bytes();
                    let own = self.rng.array();
                    ClientAnswer::MsChapV2(Answer::new(password, user, challenge, own))
                }
            };
            self.answer = Some((identifier, answer));
        }
        self.send_response(out);
        Some(())
    }

    fn send_response(&self, out: &mut Outbox) {
        let Some((identifier, answer)) = &self.answer else {
            return;
        };
        let value = match answer {
            ClientAnswer::Md5 { response, .. } => response.to_vec(),
            ClientAnswer::MsChapV2(answer) => answer.value(),
        };
        let data = value_and_name(&value, self.user.as_bytes());
        out.control(Protocol::CHAP, RESPONSE, *identifier, &data);
    }

    /// Looks at a Success: the keys, or why it is none.
    fn verify(&self, identifier: u8, message: &[u8]) -> Result<Option<InnerKeys>, DownReason> {
        match &self.answer {
            Some((id, answer)) if *id == identifier => match answer {
                ClientAnswer::Md5 { .. } => Ok(None),
                ClientAnswer::MsChapV2(answer) if answer.is_proved_by(message) => {
                    Ok(Some(answer.keys()))
                }
                ClientAnswer::MsChapV2(_) => Err(DownReason::AuthUnverified),
            },
            Some(_) | None => Err(DownReason::AuthUnverified),
        }
    }
}

impl Exchange for Client {
    fn start(&mut self, _out: &mut Outbox) {}

    fn handle(&mut self, information: &[u8], out: &mut Outbox) -> Step {
        let Ok(packet) = Packet::decode(&mut Reader::new(information)) else {
            return Step::Wait;
        };
        match packet.code {
            CHALLENGE => {
                let Ok((value, _)) = read_value_and_name(packet.data) else {
                    return Step::Wait;
                };
                match self.respond(packet.identifier, value, out) {
                    Some(()) => Step::Wait,
                    None => Step::Failure(DownReason::AuthRefused),
                }
            }
            SUCCESS if !self.ended => {
                self.ended = true;
                match self.verify(packet.identifier, packet.data) {
                    Ok(keys) => Step::Success(keys),
                    Err(reason) => Step::Failure(reason),
                }
            }
            FAILURE if !self.ended => {
                if self.change(packet.identifier, packet.data, out).is_some() {
                    self.changed = true;
                    return Step::Wait;
                }
                self.ended = true;
                Step::Failure(DownReason::AuthRefused)
            }
            _ => Step::Wait,
        }
    }

    fn decide(&mut self, _decision: &Decision, _out: &mut Outbox) -> Step {
        Step::Wait
    }

    /// Nobody has said anything about our response: the word may have been lost (RFC 1994 §4.2).
    fn resend(&mut self, out: &mut Outbox) {
        if !self.ended && !self.changed {
            self.send_response(out);
        }
    }

    fn give_up(&mut self, _out: &mut Outbox) {}
}

/// Returns the challenge in the text of an MS-CHAP-Error, if it has one as it should be.
fn challenge_of(error: &str) -> Option<[u8; 16]> {
    let mut words = error.split(" M=").next()?.split_ascii_whitespace();
    let digits = words.find_map(|word| word.strip_prefix("C="))?;
    let good = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = good.then(|| u128::from_str_radix(digits, 16).ok());
    Some(number??.to_be_bytes())
}

/// Reads the data of a Challenge or Response.
fn read_value_and_name(data: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let mut r = Reader::new(data);
    let size = usize::from(r.u8("Value-Size")?);
    Ok((r.bytes(size, "Value")?, r.rest()))
}

/// Returns the data of a Challenge or Response.
fn value_and_name(value: &[u8], name: &[u8]) -> Vec<u8> {
    let size = u8::try_from(value.len()).unwrap_or(u8::MAX);
    [&[size], value, name].concat()
}

/// Forbids the retry that the authenticator allows: a second attempt is a second log-in here.
fn without_retry(error: &str) -> String {
    let (head, message) = match error.find("M=") {
        Some(at) => error.split_at(at),
        None => (error, ""),
    };
    head.replace("R=1", "R=0") + message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_is_forbidden_and_the_rest_is_verbatim() {
        assert_eq!(
            without_retry("E=648 R=1 C=00112233445566778899AABBCCDDEEFF V=3 M=Not  R=1"),
            "E=648 R=0 C=00112233445566778899AABBCCDDEEFF V=3 M=Not  R=1"
        );
        assert_eq!(without_retry("E=691 R=0"), "E=691 R=0");
    }
}
