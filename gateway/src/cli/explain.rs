//! `causeway explain`: error codes, the causes of a session's end, and the error numbers that Windows shows.

use causeway_proto::terminate::TerminateCause;
use serde_json::json;

use crate::auth;
use crate::cli::Exit;
use crate::cli::output::Output;
use crate::control::protocol::SCHEMA;

/// What Windows shows for an SSTP connection, and where to look on this side.
const WINDOWS: &[(u32, &str)] = &[
    (
        619,
        "The port was disconnected. The gateway or something between ended the connection during the log-in: look at `causeway_session_setup_failures_total` and the log by correlation id.",
    ),
    (
        628,
        "The connection was terminated by the remote computer before it was complete: the log names the stage.",
    ),
    (
        629,
        "The connection was closed by the remote computer: the gateway ended the session; the log line session_end names the cause.",
    ),
    (
        645,
        "Internal authentication error: the answer to MS-CHAPv2 was not what the client computed. With RADIUS: the reply's MS-CHAP2-Success is missing or wrong.",
    ),
    (
        691,
        "User name or password wrong, or the user may not log in this way. The log line auth_result says what the server answered; with NPS, event 6273 has the reason code.",
    ),
    (
        718,
        "The client waited for an answer to its log-in and got none: RADIUS or the second factor took too long. Compare `radius.timeout` with `causeway_radius_response_seconds`.",
    ),
    (
        720,
        "No common PPP protocol: no address could be agreed on. Is the pool empty (`causeway status`)?",
    ),
    (
        734,
        "The PPP link was terminated: the client and `sstp.auth` have no authentication method in common.",
    ),
    (
        807,
        "The network between client and gateway broke off; the gateway says peer_lost.",
    ),
    (
        812,
        "Refused by a policy of the RADIUS server, or the method of the client is not among its allowed ones.",
    ),
    (868, "The host name of the gateway cannot be resolved."),
    (
        0x8007_0040,
        "The network name is no longer available: something cut the TLS connection, often a proxy that inspects it.",
    ),
    (
        0x8007_04C9,
        "The server refused the connection: no room for one more session, or it drains.",
    ),
    (
        0x8007_2746,
        "The connection was reset: by a firewall, or because the certificate binding did not match.",
    ),
    (0x8007_274C, "The gateway cannot be reached on TCP 443."),
    (0x8007_274D, "Nothing listens on TCP 443 at this address."),
    (
        0x8009_0326,
        "The TLS handshake failed: no version or cipher suite in common.",
    ),
    (
        0x8009_2013,
        "The revocation list of the certificate cannot be reached from the client. Make its address reachable, or set NoCertRevocationCheck on the client.",
    ),
    (
        0x800B_0101,
        "The certificate of the gateway has expired (or the client's clock is wrong).",
    ),
    (
        0x800B_0109,
        "The client does not trust the authority that signed the gateway's certificate. Is the whole chain in `sstp.certificate`?",
    ),
    (
        0x800B_010F,
        "The certificate is for another name than the one the client dials.",
    ),
];

/// Prints what a code means; `pages` are the error pages, by code.
pub fn explain(code: &str, pages: &[(&str, &str)], json: bool, out: &mut Output<'_>) -> Exit {
    let found = pages
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(code))
        .map(|(name, page)| ((*name).to_owned(), (*page).to_owned()))
        .or_else(|| end_cause(code))
        .or_else(|| windows(code))
        .or_else(|| auth::meaning(code).map(|text| (format!("log-in result: {code}"), text)));
    let Some((name, text)) = found else {
        out.error("no such code; an error code, the cause of a session's end, or an error number of Windows is meant");
        return Exit::NothingMatched;
    };
    if json {
        out.line(&json!({ "schema": SCHEMA, "code": name, "text": text }).to_string());
    } else {
        out.line(&format!("{name}\n\n{}", text.trim_end()));
    }
    Exit::Done
}

fn end_cause(code: &str) -> Option<(String, String)> {
    let cause = TerminateCause::ALL
        .into_iter()
        .find(|cause| cause.as_str() == code || cause.number().to_string() == code)?;
    let name = format!("session end {}: {}", cause.number(), cause.as_str());
    let text = format!(
        "{}\n\nAcct-Terminate-Cause {}.",
        cause_text(cause),
        cause.acct_terminate_cause()
    );
    Some((name, text))
}

const fn cause_text(cause: TerminateCause) -> &'static str {
    match cause {
        TerminateCause::UserRequest => "The user hung up.",
        TerminateCause::IdleTimeout => {
            "No packet flowed for `limits.idle_timeout`, or for the Idle-Timeout that RADIUS gave."
        }
        TerminateCause::SessionTimeout => {
            "The session lasted `limits.session_timeout`, or the Session-Timeout that RADIUS gave."
        }
        TerminateCause::Admin => "`causeway disconnect` ended it.",
        TerminateCause::DynamicAuthorization => {
            "The RADIUS server sent a Disconnect-Request or a CoA-Request."
        }
        TerminateCause::Drain => {
            "The gateway drains; the client should dial again and reach another one."
        }
        TerminateCause::PeerLost => {
            "The connection broke, or the client's keepalive stayed unanswered: the network, a suspended laptop, a load balancer."
        }
        TerminateCause::Replaced => {
            "A newer log-in of the same user took its place (`limits.sessions_per_user`)."
        }
        TerminateCause::AuthenticationExpired => {
            "The log-in on which the session rests has expired."
        }
        TerminateCause::Blocked => "The user, key or certificate has been blocked.",
        TerminateCause::ProtocolError => {
            "The client broke the protocol; the log line session_end says how. A crypto binding that does not match means a TLS proxy between."
        }
        TerminateCause::ServerStop => "The gateway stopped.",
        TerminateCause::AuthFailed => {
            "The log-in was refused: the log line auth_result of the same session names the reason. Such a call never was a session, and is not accounted for."
        }
    }
}

fn windows(code: &str) -> Option<(String, String)> {
    let hexadecimal = code.strip_prefix("0x").or_else(|| code.strip_prefix("0X"));
    let number = match hexadecimal {
        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
        // Event logs write the same number as a negative decimal.
        None => code
            .parse::<u32>()
            .ok()
            .or_else(|| code.parse::<i32>().ok().map(i32::cast_unsigned))?,
    };
    let (_, text) = WINDOWS.iter().find(|(known, _)| *known == number)?;
    let name = if number > 0xFFFF {
        format!("Windows error 0x{number:08X}")
    } else {
        format!("Windows error {number}")
    };
    Some((name, (*text).to_owned()))
}

#[cfg(test)]
mod tests {
    use crate::cli::output::Style;

    use super::*;

    fn said(code: &str) -> (Exit, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let pages = [("E0204", "RADIUS timeout is too short for MFA\n")];
        let exit = explain(
            code,
            &pages,
            false,
            &mut Output::new(&mut out, &mut err, None, Style::Plain),
        );
        (exit, String::from_utf8(out).unwrap())
    }

    #[test]
    fn knows_errors_causes_and_windows() {
        assert_eq!(
            said("e0204").1,
            "E0204\n\nRADIUS timeout is too short for MFA\n"
        );
        for cause in TerminateCause::ALL {
            assert_eq!(said(cause.as_str()), said(&cause.number().to_string()));
            assert_eq!(said(cause.as_str()).0, Exit::Done);
        }
        assert!(said("691").1.starts_with("Windows error 691\n"));
        assert!(
            said("0x80072746")
                .1
                .starts_with("Windows error 0x80072746\n")
        );
        assert_eq!(said("-2147014842"), said("0x80072746"));
        assert_eq!(said("E9999").0, Exit::NothingMatched);
    }
}
