//! `causeway doctor`: looks at one part of the gateway step by step, and says what to do about what is wrong.

mod finding;
mod login;
mod mobility;
mod question;
mod radius;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use causeway_proto::aaa::{AuthMethod, Identity};
use causeway_proto::crypto::SecretBytes;
use clap::{Args, Subcommand, ValueEnum};

use crate::cli::{Exit, Output};
use crate::config::{self, Base, Colours, Config, Options};

use finding::Report;

/// `causeway doctor`.
#[derive(Clone, Debug, Subcommand)]
pub enum Doctor {
    /// Question the RADIUS servers: route, reply, authenticators, attributes, time
    ///
    /// Without `--user` it asks about a user that does not exist, which no second factor is asked for. With `--user` it
    /// logs that user in at the server, and a phone may ring. The gateway need not run.
    Radius(DoctorRadius),
    /// Log in through the public listener as a client does, and log out again
    Login(DoctorLogin),
    /// Come through the Mobility tunnel as a device does: keys, the way of UDP, and how long packets may be
    ///
    /// On the gateway's machine it enrols a device, and removes it again. With `--profile` it runs on any machine.
    Mobility(DoctorMobility),
}

/// What both need to know.
#[derive(Args, Clone, Debug)]
pub(super) struct Who {
    /// The configuration
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/causeway/gateway.toml"
    )]
    config: PathBuf,
    /// How the user proves who it is [default: the first of `sstp.auth`]
    #[arg(long, value_enum)]
    method: Option<Method>,
    /// A file with the password [default: it is asked for]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// How long to wait [default: `radius.timeout`]
    #[arg(long, value_name = "TIME", value_parser = super::duration)]
    timeout: Option<Duration>,
}

/// `causeway doctor radius`.
#[derive(Args, Clone, Debug)]
pub struct DoctorRadius {
    /// What is the same for all
    #[command(flatten)]
    who: Who,
    /// Log this user in
    #[arg(long)]
    user: Option<String>,
    /// Expect a second factor
    #[arg(long)]
    mfa: bool,
    /// Only this server
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
}

/// `causeway doctor login`.
#[derive(Args, Clone, Debug)]
pub struct DoctorLogin {
    /// What is the same for all
    #[command(flatten)]
    who: Who,
    /// The user to log in
    #[arg(long)]
    user: String,
    /// Where the gateway listens [default: the first of `sstp.listen`]
    #[arg(long, value_name = "ADDRESS:PORT")]
    address: Option<SocketAddr>,
    /// A host behind the gateway that must answer a ping
    #[arg(long, value_name = "ADDRESS")]
    ping: Option<Ipv4Addr>,
}

/// `causeway doctor mobility`.
#[derive(Args, Clone, Debug)]
pub struct DoctorMobility {
    /// The configuration
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/causeway/gateway.toml"
    )]
    config: PathBuf,
    /// Where devices reach the gateway [default: the first of `mobility.external`]
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: Option<String>,
    /// Come as this device, a file for wg-quick; neither configuration nor gateway is needed on this machine
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "endpoint"])]
    profile: Option<PathBuf>,
    /// A host that must answer a ping through the tunnel [default: the gateway's inner address]
    #[arg(long, value_name = "ADDRESS")]
    ping: Option<Ipv4Addr>,
}

/// The methods that the built-in client has.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Method {
    /// A password in clear, inside the tunnel
    Pap,
    /// MS-CHAPv2
    Mschapv2,
    /// EAP-MSCHAPv2
    Eap,
}

impl From<Method> for AuthMethod {
    fn from(method: Method) -> Self {
        match method {
            Method::Pap => Self::Pap,
            Method::Mschapv2 => Self::MsChapV2,
            Method::Eap => Self::Eap,
        }
    }
}

impl Who {
    /// Returns the method that was asked for, else the first configured one that the built-in client has.
    fn method(&self, config: &Config) -> AuthMethod {
        self.method.map_or_else(
            || {
                config
                    .sstp
                    .auth
                    .iter()
                    .copied()
                    .find(|method| *method != AuthMethod::ChapMd5)
                    .unwrap_or(AuthMethod::MsChapV2)
            },
            AuthMethod::from,
        )
    }

    /// Reads the password.
    fn password(&self, user: &str, out: &mut Output<'_>) -> Result<SecretBytes, Exit> {
        let Some(file) = &self.password_file else {
            let asked = out.ask_secret(&format!("Password for {user}"));
            return asked
                .map(|password| SecretBytes::from(password.as_bytes()))
                .map_err(|why| {
                    out.error(why.as_str());
                    Exit::Failure
                });
        };
        match std::fs::read(file).map(zeroize::Zeroizing::new) {
            Ok(content) => {
                let end = content.trim_ascii_end().len();
                Ok(SecretBytes::from(content.get(..end).unwrap_or_default()))
            }
            Err(error) => {
                out.error(&format!("{}: {error}", file.display()));
                Err(Exit::Failure)
            }
        }
    }
}

/// Does what was asked.
pub(super) fn run(doctor: &Doctor, json: bool, out: &mut Output<'_>) -> Exit {
    let done = match doctor {
        Doctor::Radius(asked) => radius::run(asked, json, out),
        Doctor::Login(asked) => login::run(asked, json, out),
        Doctor::Mobility(asked) => mobility::run(asked, json, out),
    };
    done.unwrap_or_else(|exit| exit)
}

/// Reads the configuration, or shows what is wrong with it.
fn load(path: &Path, out: &mut Output<'_>) -> Result<Config, Exit> {
    match config::load(&Options::of_process(Base::File(path.to_path_buf()))) {
        Ok(loaded) => Ok(loaded.config),
        Err(report) => {
            out.text(&report.render(Colours::Off));
            Err(Exit::Configuration)
        }
    }
}

fn identity(user: &str, out: &mut Output<'_>) -> Result<Identity, Exit> {
    Identity::new(user.as_bytes()).ok_or_else(|| {
        out.error("a user name has 1 to 253 octets");
        Exit::Failure
    })
}

/// Returns an address of a listener that one can connect to.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// A time as people read it.
fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
