//! What a result means and what to do, in one line for the log.

use std::time::Duration;

use causeway_proto::aaa::{AuthMethod, Verdict};
use causeway_proto::radius::access::{Answer, Lacking};
use causeway_proto::radius::{Completion, RadiusResult};

/// Returns the line; `None` when there is nothing to say.
#[must_use]
pub fn explain(completion: &Completion, method: AuthMethod) -> Option<String> {
    let line = match completion.result {
        RadiusResult::Accept | RadiusResult::AbandonedByClient | RadiusResult::NotAsked => {
            return None;
        }
        RadiusResult::RejectFast => with_message(
            "rejected at once: the password, a network policy, the dial-in permission or the \
             certificate mapping; see event 6273 on the NPS, field Reason Code",
            completion,
        ),
        RadiusResult::RejectAfterMfaWait => with_message(
            "rejected after a wait: the user denied the prompt or let it run out; see event 6273 \
             on the NPS",
            completion,
        ),
        RadiusResult::Challenge => match method {
            AuthMethod::Eap => return None,
            AuthMethod::Pap | AuthMethod::ChapMd5 | AuthMethod::MsChapV2 => with_message(
                "the server asks for a code that this client cannot be shown: set \
                 OVERRIDE_NUMBER_MATCHING_WITH_OTP=FALSE for the NPS extension, or let the user \
                 approve by push; with PAP, radius.pap_code_split lets users type password,code",
                completion,
            ),
        },
        RadiusResult::SilentDiscard => {
            "no answer while the same server answered others: see event 6274 \
             (discarded) on the NPS and the log AuthZAdminCh; with ESTS_TOKEN_ERROR, enable the \
             enterprise applications 981f26a1-7f43-403b-a875-f8b09b8cd720 and \
             1f5530b3-261a-47a9-b357-ded261e17918, and check the extension's certificate"
                .into()
        }
        RadiusResult::ServerSilent => {
            "no answer to anybody: a firewall, the service IAS not running, \
             this address unknown to the NPS as a RADIUS client (event 13), or a different shared \
             secret (its Message-Authenticator check drops the request)"
                .into()
        }
        RadiusResult::Unreachable => {
            "the server's host refuses the datagrams or there is no route: is \
             the service IAS running on this port?"
                .into()
        }
        RadiusResult::BadAuthenticator => {
            "the replies have a wrong response authenticator: the shared \
             secret differs, or somebody forges replies; they were ignored"
                .into()
        }
        RadiusResult::MessageAuthenticatorMissing => {
            "the replies have no Message-Authenticator: update the \
             server (KB5040268; FreeRADIUS 3.2.5), or set message_authenticator = \"if-present\""
                .into()
        }
        RadiusResult::MessageAuthenticatorInvalid => {
            "the replies have a wrong Message-Authenticator: the \
             shared secret differs on a proxy, or somebody forges replies (CVE-2024-3596); they \
             were ignored"
                .into()
        }
        RadiusResult::Malformed => malformed(completion),
    };
    Some(line)
}

/// Returns what a word for a result means, for `causeway explain`.
#[must_use]
pub fn meaning(word: &str) -> Option<String> {
    let result = RadiusResult::ALL
        .into_iter()
        .chain([RadiusResult::NotAsked])
        .find(|result| result.as_str() == word)?;
    let completion = Completion {
        result,
        answer: None,
        error: None,
        server: None,
        elapsed: Duration::ZERO,
    };
    // The method whose users meet every result.
    let line = explain(&completion, AuthMethod::MsChapV2).unwrap_or_else(|| {
        match result {
            RadiusResult::AbandonedByClient => {
                "the client left before there was an answer: Windows ends a log-in after 60 s. If \
                 the server says yes later, `causeway_radius_late_replies_total` counts it and \
                 nothing is opened"
            }
            RadiusResult::NotAsked => {
                "no server was asked: the gateway held the log-in back, because another one of the \
                 user waits for its second factor or because too many failed from this address; \
                 the log line says which"
            }
            RadiusResult::Accept
            | RadiusResult::RejectFast
            | RadiusResult::RejectAfterMfaWait
            | RadiusResult::Challenge
            | RadiusResult::SilentDiscard
            | RadiusResult::ServerSilent
            | RadiusResult::Unreachable
            | RadiusResult::BadAuthenticator
            | RadiusResult::MessageAuthenticatorMissing
            | RadiusResult::MessageAuthenticatorInvalid
            | RadiusResult::Malformed => "the server said yes",
        }
        .into()
    });
    Some(line)
}

/// Adds what the server wants shown.
fn with_message(line: &str, completion: &Completion) -> String {
    let message = match &completion.answer {
        Some(Answer::Verdict(Verdict::Reject(rejection))) => rejection.message.as_deref(),
        Some(Answer::Verdict(Verdict::Challenge(challenge))) => challenge.message.as_deref(),
        Some(Answer::Verdict(Verdict::Accept(_)) | Answer::Lacking(_)) | None => None,
    };
    match message {
        Some(message) => format!("{line}; the server says {message:?}"),
        None => line.into(),
    }
}

fn malformed(completion: &Completion) -> String {
    if let Some(error) = &completion.error {
        return format!("the server's reply cannot be used: {error}");
    }
    match &completion.answer {
        Some(Answer::Lacking(lacking)) => {
            let hint = match lacking {
                Lacking::Success | Lacking::RecvKey | Lacking::SendKey => {
                    "the policy's encryption settings are off, a proxy strips Microsoft's \
                     attributes, or the NPS extension used a text code, which leaves the policy's \
                     attributes out"
                }
                Lacking::Method => {
                    "a server must not let anybody in for a name alone: its EAP is broken, or it \
                     is no RADIUS server of yours"
                }
                Lacking::Service(_) => "the policy must set Service-Type to Framed, or not at all",
            };
            format!("{lacking}: {hint}")
        }
        Some(Answer::Verdict(_)) | None => {
            "the replies are no RADIUS, or cut off; they were ignored".into()
        }
    }
}

#[cfg(test)]
mod tests {
    use causeway_proto::aaa::Rejection;

    use super::*;

    fn line(result: RadiusResult, answer: Option<Answer>, method: AuthMethod) -> Option<String> {
        explain(
            &Completion {
                result,
                answer,
                error: None,
                server: None,
                elapsed: Duration::ZERO,
            },
            method,
        )
    }

    #[test]
    fn every_failure_says_what_to_look_for() {
        let rows = [
            (RadiusResult::RejectFast, "6273"),
            (RadiusResult::RejectAfterMfaWait, "denied"),
            (RadiusResult::Challenge, "OVERRIDE_NUMBER_MATCHING_WITH_OTP"),
            (RadiusResult::SilentDiscard, "6274"),
            (RadiusResult::ServerSilent, "event 13"),
            (RadiusResult::Unreachable, "IAS"),
            (RadiusResult::BadAuthenticator, "secret differs"),
            (RadiusResult::MessageAuthenticatorMissing, "KB5040268"),
            (RadiusResult::MessageAuthenticatorInvalid, "CVE-2024-3596"),
            (RadiusResult::Malformed, "cut off"),
        ];
        for (result, word) in rows {
            let line = line(result, None, AuthMethod::MsChapV2).unwrap();
            assert!(line.contains(word), "{line}");
            assert!(!line.contains('\n') && !line.contains("  "), "{line}");
        }
        assert_eq!(line(RadiusResult::Challenge, None, AuthMethod::Eap), None);
    }

    #[test]
    fn every_word_has_a_meaning() {
        for result in RadiusResult::ALL {
            assert!(meaning(result.as_str()).is_some());
        }
        assert!(meaning("not_asked").is_some_and(|text| text.contains("held")));
        assert!(meaning("silent_discard").is_some_and(|text| text.contains("6274")));
        assert_eq!(meaning("accepted"), None);
    }

    #[test]
    fn the_servers_own_words_are_quoted() {
        let reject = Answer::Verdict(Verdict::Reject(Rejection {
            message: Some("Dial-in \"denied\"".into()),
            ..Rejection::default()
        }));
        let line = line(RadiusResult::RejectFast, Some(reject), AuthMethod::Pap).unwrap();
        assert!(line.ends_with(r#"the server says "Dial-in \"denied\"""#));
        let lacking = Answer::Lacking(Lacking::RecvKey);
        let line = malformed(&Completion {
            result: RadiusResult::Malformed,
            answer: Some(lacking),
            error: None,
            server: None,
            elapsed: Duration::ZERO,
        });
        assert!(line.starts_with("accept without MS-MPPE-Recv-Key: "));
    }
}
