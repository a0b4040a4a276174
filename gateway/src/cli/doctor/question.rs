//! What is asked of a RADIUS server on behalf of a user whose password is at hand.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use causeway_proto::aaa::{
    Applicant, AuthMethod, Credentials, Identity, MsChapV2Response, Proof, TunnelKind, Verdict,
};
use causeway_proto::crypto::{Rng, SecretBytes};
use causeway_proto::eap::{Peer, PeerStep};
use causeway_proto::mschapv2::Answer;
use causeway_proto::radius::access;
use ring::rand::{SecureRandom, SystemRandom};

use crate::radius::{Exam, ExamError, Observation};

/// EAP-Request/Identity: what a gateway begins with, so that the peer has something to answer.
const IDENTITY_REQUEST: [u8; 5] = [1, 1, 0, 5, 1];
/// More rounds than any method needs.
const MAX_ROUNDS: usize = 40;

/// A user who wants to log in.
pub(super) struct Question {
    pub(super) user: Identity,
    pub(super) password: SecretBytes,
    pub(super) method: AuthMethod,
    /// How long all of it may take.
    pub(super) timeout: Duration,
}

/// What came of it.
pub(super) struct Answered {
    pub(super) observation: Observation,
    /// Requests made; more than one with EAP.
    pub(super) rounds: usize,
    /// How long all of it took.
    pub(super) elapsed: Duration,
    /// Whether the server proved that it knows the password; `None` when the method has no such proof, or nobody was
    /// let in.
    pub(super) proved: Option<bool>,
}

/// What the answer is checked with.
enum Prover {
    Nothing,
    MsChapV2(Answer),
    Eap(Box<Peer>),
}

impl Question {
    /// Puts the question and follows it to the verdict; `waiting` hears the time about once a second.
    pub(super) fn put(
        self,
        exam: &mut Exam,
        waiting: &mut dyn FnMut(Duration),
    ) -> Result<Answered, ExamError> {
        let begun = Instant::now();
        let applicant = applicant(exam);
        let timeout = self.timeout;
        let (mut credentials, mut prover) = self.credentials()?;
        let mut rounds = 0_usize;
        loop {
            rounds = rounds.saturating_add(1);
            let left = timeout.saturating_sub(begun.elapsed());
            let observation = exam.ask(&applicant, &credentials, left, waiting)?;
            if rounds < MAX_ROUNDS
                && let Some(next) = next_round(&observation, &credentials, &mut prover)
            {
                credentials = next;
                continue;
            }
            return Ok(Answered {
                proved: proved(&observation, prover),
                observation,
                rounds,
                elapsed: begun.elapsed(),
            });
        }
    }

    /// Makes the first credentials.
    fn credentials(self) -> Result<(Credentials, Prover), ExamError> {
        let mut random = [0; 64];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| ExamError::Random)?;
        let mut rng = Rng::from_seed(random.first_chunk().ok_or(ExamError::Random)?);
        let user = self.user;
        Ok(match self.method {
            AuthMethod::Eap => {
                let mut peer = Peer::new(user.clone(), self.password, rng);
                let message = match peer.handle(&IDENTITY_REQUEST) {
                    PeerStep::Respond(message) => message,
                    PeerStep::Ignore
                    | PeerStep::Success(_)
                    | PeerStep::Failure
                    | PeerStep::Unverified => Vec::new(),
                };
                let credentials = Credentials::Eap {
                    user,
                    message,
                    state: None,
                };
                (credentials, Prover::Eap(Box::new(peer)))
            }
            AuthMethod::MsChapV2 => {
                let (challenge, peer_challenge) = (rng.array(), rng.array());
                let password = String::from_utf8_lossy(self.password.expose());
                let answer = Answer::new(&password, user.as_bytes(), challenge, peer_challenge);
                let value = answer.value();
                let nt_response = value
                    .get(24..)
                    .and_then(|rest| rest.first_chunk())
                    .copied()
                    .unwrap_or([0; 24]);
                let response = MsChapV2Response {
                    identifier: 1,
                    challenge,
                    peer_challenge,
                    nt_response,
                    flags: 0,
                };
                let credentials = Credentials::MsChapV2 { user, response };
                (credentials, Prover::MsChapV2(answer))
            }
            AuthMethod::Pap | AuthMethod::ChapMd5 => {
                let password = self.password;
                (Credentials::Pap { user, password }, Prover::Nothing)
            }
        })
    }
}

fn applicant(exam: &Exam) -> Applicant {
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let source = exam.source().unwrap_or(nowhere);
    Applicant {
        ras_client_name: Some("causeway doctor".to_owned()),
        connect_info: Some("doctor".to_owned()),
        mtu: 1400,
        ..Applicant::new(
            TunnelKind::Sstp,
            source,
            source,
            format!("doctor-{}", std::process::id()),
        )
    }
}

fn verdict(observation: &Observation) -> Option<&Verdict> {
    match observation.completion.as_ref()?.answer.as_ref()? {
        access::Answer::Verdict(verdict) => Some(verdict),
        access::Answer::Lacking(_) => None,
    }
}

/// The client's next EAP Response, if the server asked for one.
fn next_round(
    observation: &Observation,
    last: &Credentials,
    prover: &mut Prover,
) -> Option<Credentials> {
    let (Prover::Eap(peer), Some(Verdict::Challenge(challenge))) = (prover, verdict(observation))
    else {
        return None;
    };
    match peer.handle(&challenge.eap) {
        PeerStep::Respond(message) => Some(Credentials::Eap {
            user: last.user().clone(),
            message,
            state: Some(challenge.clone()),
        }),
        PeerStep::Ignore | PeerStep::Success(_) | PeerStep::Failure | PeerStep::Unverified => None,
    }
}

/// Whether an accept carries the proof that its method has.
fn proved(observation: &Observation, prover: Prover) -> Option<bool> {
    let Some(Verdict::Accept(authorization)) = verdict(observation) else {
        return None;
    };
    match (prover, &authorization.proof) {
        (Prover::MsChapV2(answer), Proof::MsChapV2(text)) => {
            Some(answer.is_proved_by(text.as_bytes()))
        }
        (Prover::Eap(mut peer), Proof::Eap(packet)) => {
            Some(matches!(peer.handle(packet), PeerStep::Success(_)))
        }
        (Prover::Nothing, _) => None,
        (Prover::MsChapV2(_) | Prover::Eap(_), _) => Some(false),
    }
}
