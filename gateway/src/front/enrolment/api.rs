//! The words of the JSON API.

use causeway_proto::aaa::Identity;
use causeway_proto::crypto::SecretBytes;
use causeway_proto::wireguard::PublicKey;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::device::Device;
use super::http::Reply;
use super::logins::{LoginId, View, Wish};
use super::profile::Profile;
use super::reason::State;

/// The longest password that RADIUS can carry (RFC 2865 §5.2).
const MAX_PASSWORD: usize = 128;

/// Why a request is not taken, before anything is made of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    NotJson,
    User,
    Password,
    Device,
    Key,
    Code,
    Body,
    TooLarge,
    TooSlow,
    ContentType,
    CrossOrigin,
    UnknownLogin,
    NotAsked,
    NotFound,
}

impl Fault {
    const fn told(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NotJson => (
                StatusCode::BAD_REQUEST,
                "bad_request",
                "The body has to be a JSON object with the documented members and no others.",
            ),
            Self::User => (
                StatusCode::BAD_REQUEST,
                "bad_user",
                "A user name has 1 to 253 octets.",
            ),
            Self::Password => (
                StatusCode::BAD_REQUEST,
                "bad_password",
                "A password has 1 to 128 octets.",
            ),
            Self::Device => (
                StatusCode::BAD_REQUEST,
                "bad_device",
                "The name of a device has at most 40 characters: letters, digits, spaces and - _ . ' ( ).",
            ),
            Self::Key => (
                StatusCode::BAD_REQUEST,
                "bad_public_key",
                "A public key has 44 characters of base64, as `wg pubkey` prints it. This is none.",
            ),
            Self::Code => (
                StatusCode::BAD_REQUEST,
                "bad_code",
                "A code has 1 to 128 octets.",
            ),
            Self::Body => (
                StatusCode::BAD_REQUEST,
                "bad_request",
                "The request cannot be read.",
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "The request is too large.",
            ),
            Self::TooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "too_slow",
                "The request came too slowly.",
            ),
            Self::ContentType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content_type",
                "The body has to be sent as application/json.",
            ),
            Self::CrossOrigin => (
                StatusCode::FORBIDDEN,
                "cross_origin",
                "This request does not come from the log-in page. Open the page again and log in there.",
            ),
            Self::UnknownLogin => (
                StatusCode::NOT_FOUND,
                "unknown_login",
                "There is no such log-in: it has been answered already, or is too old. Log in again.",
            ),
            Self::NotAsked => (
                StatusCode::CONFLICT,
                "not_asked",
                "No code is asked for in this log-in.",
            ),
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "not_found",
                "There is nothing at this path.",
            ),
        }
    }

    /// Returns the answer for programs.
    pub(super) fn json(self) -> Reply {
        let (status, code, message) = self.told();
        error(status, code, message)
    }

    /// Returns status and sentence for people.
    pub(super) const fn text(self) -> (StatusCode, &'static str) {
        let (status, _, message) = self.told();
        (status, message)
    }
}

/// Has a password in it, so it cannot be shown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginBody {
    user: String,
    password: String,
    #[serde(default)]
    device: String,
    public_key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerBody {
    code: String,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: ErrorText<'a>,
}

#[derive(Serialize)]
struct ErrorText<'a> {
    code: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct ViewBody<'a> {
    login: &'a str,
    state: &'static str,
    /// Seconds since the log-in began.
    elapsed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(flatten)]
    profile: Option<&'a Profile>,
}

/// Reads the body of a log-in.
pub(super) fn wish(body: &[u8]) -> Result<Wish, Fault> {
    let body: LoginBody = serde_json::from_slice(body).map_err(|_| Fault::NotJson)?;
    checked(&body.user, body.password, &body.device, &body.public_key)
}

/// Checks what somebody typed.
pub(super) fn checked(
    user: &str,
    password: String,
    device: &str,
    public_key: &str,
) -> Result<Wish, Fault> {
    let password = SecretBytes::new(password.into_bytes());
    let user = Identity::new(user.as_bytes()).ok_or(Fault::User)?;
    if !(1..=MAX_PASSWORD).contains(&password.len()) {
        return Err(Fault::Password);
    }
    let key: PublicKey = public_key.trim().parse().map_err(|_| Fault::Key)?;
    // With such a key everybody could open what is sealed for it.
    if key.is_low_order() {
        return Err(Fault::Key);
    }
    let device = Device::new(device, key).ok_or(Fault::Device)?;
    Ok(Wish {
        user,
        password,
        device,
    })
}

/// Reads the body of an answer.
pub(super) fn code(body: &[u8]) -> Result<SecretBytes, Fault> {
    let body: AnswerBody = serde_json::from_slice(body).map_err(|_| Fault::NotJson)?;
    checked_code(body.code)
}

/// Checks a code.
pub(super) fn checked_code(code: String) -> Result<SecretBytes, Fault> {
    let code = SecretBytes::new(code.into_bytes());
    if (1..=MAX_PASSWORD).contains(&code.len()) {
        Ok(code)
    } else {
        Err(Fault::Code)
    }
}

/// Says how far a log-in is.
pub(super) fn view(status: StatusCode, id: &LoginId, view: &View) -> Reply {
    let mut body = ViewBody {
        login: id.as_str(),
        state: "pending",
        elapsed: view.elapsed.as_secs(),
        code: None,
        message: None,
        profile: None,
    };
    let mut status = status;
    match &view.state {
        State::Pending => {
            body.message = Some("Waiting for the sign-in; approve it on your phone if it asks.");
        }
        State::Challenge(text) => {
            body.state = "challenge";
            body.message = Some(text.as_deref().unwrap_or("Enter your code"));
        }
        State::Accepted(profile) => {
            body.state = "accepted";
            body.profile = Some(profile);
        }
        State::Refused(reason) => {
            body.state = "refused";
            body.code = Some(reason.code());
            body.message = Some(reason.text());
            if reason.is_passing() {
                status = StatusCode::SERVICE_UNAVAILABLE;
            }
        }
    }
    json(status, &body)
}

/// Says what is wrong.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Reply {
    let error = ErrorText { code, message };
    json(status, &ErrorBody { error })
}

fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    // Text and numbers can always be written.
    let text = serde_json::to_vec(body).unwrap_or_default();
    Reply::new(status, "application/json", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

    #[test]
    fn what_does_not_fit_is_named() {
        let body = |user: &str, password: &str, device: &str, key: &str| {
            let body = serde_json::json!({"user": user, "password": password, "device": device, "public_key": key});
            wish(body.to_string().as_bytes()).map(|wish| wish.device.name)
        };
        assert_eq!(body("alice", "x", " my phone ", KEY), Ok("my phone".into()));
        assert_eq!(body("alice", "x", "", KEY), Ok("device".into()));
        assert_eq!(body("", "x", "", KEY), Err(Fault::User));
        assert_eq!(body(&"a".repeat(254), "x", "", KEY), Err(Fault::User));
        assert_eq!(body("alice", "", "", KEY), Err(Fault::Password));
        assert_eq!(
            body("alice", &"x".repeat(129), "", KEY),
            Err(Fault::Password)
        );
        assert_eq!(body("alice", "x", &"d".repeat(41), KEY), Err(Fault::Device));
        assert_eq!(
            body("alice", "x", "a\nPostUp = reboot", KEY),
            Err(Fault::Device)
        );
        let zero = format!("{}=", "A".repeat(43));
        for key in ["key", "", &zero, &KEY[1..]] {
            assert_eq!(body("alice", "x", "", key), Err(Fault::Key));
        }
    }

    #[test]
    fn a_body_with_more_or_less_in_it_is_none() {
        for wrong in [
            "",
            "[]",
            "{}",
            r#"{"user":"alice","password":"x"}"#,
            r#"{"user":"alice","password":"x","public_key":"k","admin":true}"#,
            r#"{"user":"alice","user":"bob","password":"x","public_key":"k"}"#,
            r#"{"user":1,"password":"x","public_key":"k"}"#,
        ] {
            assert_eq!(
                wish(wrong.as_bytes()).unwrap_err(),
                Fault::NotJson,
                "{wrong}"
            );
        }
        assert_eq!(code(b"{\"code\":\"\"}").unwrap_err(), Fault::Code);
    }
}
