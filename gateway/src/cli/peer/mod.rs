//! `causeway peer`, `causeway profile` and `causeway keys`: devices of the Mobility tunnel, and their keys.
//!
//! A key pair that is made for a device is made here, on the administrator's side: the gateway is told the public half, and
//! the private half is shown once and kept nowhere.

mod profile;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use causeway_proto::wireguard::{PresharedKey, PrivateKey};
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use crate::cli::output::{Answer, Output};
use crate::cli::table::{safe, table};
use crate::cli::{Common, Exit, remote};
use crate::control::client;
use crate::control::protocol::{Device, NewDevice, Profile, Request, Response, to_json};
use crate::os::credentials;

/// `causeway peer`.
#[derive(Clone, Debug, Subcommand)]
pub enum Peer {
    /// Enrol a device; without `--public-key`, make its key pair and print its profile, once
    Add(Add),
    /// List the enrolled devices
    List {
        /// Only of this user
        #[arg(long)]
        user: Option<String>,
    },
    /// Show one device
    Show {
        /// Its number, public key or name, or USER/NAME
        device: String,
    },
    /// Remove a device and end its session
    Revoke {
        /// Its number, public key or name, or USER/NAME
        device: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// `causeway peer add`.
#[derive(Args, Clone, Debug)]
pub struct Add {
    /// What it is called
    pub name: String,
    /// Whose it is [default: a user of the device's own name]
    #[arg(long)]
    pub user: Option<String>,
    /// The public key that the device has made itself
    #[arg(long, value_name = "KEY")]
    pub public_key: Option<String>,
    /// Its inner address [default: one of the pool]
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<Ipv4Addr>,
    /// Make a pre-shared key as well
    #[arg(long)]
    pub psk: bool,
    /// How long it may have sessions, such as 30d [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub expires: Option<Duration>,
    /// How the profile is given
    #[command(flatten)]
    pub form: Form,
}

/// How a profile is given.
#[derive(Args, Clone, Debug)]
pub struct Form {
    /// Draw it as a QR code for the WireGuard app as well
    #[arg(long, conflicts_with = "out")]
    pub qr: bool,
    /// Write it into this new file, for its owner's eyes alone
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `causeway profile`.
#[derive(Clone, Debug, Subcommand)]
pub enum ProfileOf {
    /// The wg-quick file of an enrolled device, without its private key, which only the device has
    Wireguard {
        /// Its number, public key or name, or USER/NAME
        device: String,
        /// How the profile is given
        #[command(flatten)]
        form: Form,
    },
}

/// `causeway keys`.
#[derive(Clone, Debug, Subcommand)]
pub enum Keys {
    /// Make the gateway's private key for `mobility.private_key`
    Mobility {
        /// Write it into this new file, for its owner's eyes alone
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// Does what `causeway peer` says.
pub(super) fn run(command: &Peer, common: &Common, out: &mut Output<'_>) -> Exit {
    match command {
        Peer::Add(new) => add(new, common, out),
        Peer::List { user } => {
            let user = user.clone();
            remote::ask_and_show(&Request::Devices { user }, common, out)
        }
        Peer::Show { device } => {
            let what = device.clone();
            remote::ask_and_show(&Request::Device { what }, common, out)
        }
        Peer::Revoke { device, yes } => revoke(device, *yes, common, out),
    }
}

/// Does what `causeway profile` says.
pub(super) fn profile_of(command: &ProfileOf, common: &Common, out: &mut Output<'_>) -> Exit {
    let ProfileOf::Wireguard { device, form } = command;
    let request = Request::DeviceProfile {
        what: device.clone(),
    };
    match client::ask(&common.socket, &request) {
        Ok(Response::Enrolled { device, profile }) => {
            give(&device, &profile, (None, form), common, out)
        }
        Ok(response) => remote::show(&response, common, out),
        Err(error) => remote::failed(&error, common, out),
    }
}

/// Does what `causeway keys` says.
pub(super) fn keys(command: &Keys, out: &mut Output<'_>) -> Exit {
    let Keys::Mobility { out: file } = command;
    let key = match new_key() {
        Ok(key) => key,
        Err(why) => return cannot(&why, out),
    };
    let text = Zeroizing::new(format!("{}\n", key.expose_base64().as_str()));
    match file {
        Some(file) => {
            if let Err(why) = write(file, &text) {
                return cannot(&why, out);
            }
            out.line(&format!(
                "{} is written; its public half is {}",
                file.display(),
                key.public()
            ));
        }
        None => out.text(&text),
    }
    Exit::Done
}

fn add(new: &Add, common: &Common, out: &mut Output<'_>) -> Exit {
    // Before anything is enrolled, what is given already exists.
    if let Some(file) = new.form.out.as_ref().filter(|file| file.exists()) {
        return cannot(&format!("{} is there already", file.display()), out);
    }
    let made = match &new.public_key {
        Some(_) => None,
        None => match new_key() {
            Ok(key) => Some(key),
            Err(why) => return cannot(&why, out),
        },
    };
    let preshared_key = if new.psk {
        match credentials::random() {
            Ok(octets) => Some(PresharedKey::from_bytes(*octets)),
            Err(error) => return cannot(&error.to_string(), out),
        }
    } else {
        None
    };
    let public = made.as_ref().map(|key| key.public().to_string());
    let request = Request::DeviceAdd(Box::new(NewDevice {
        name: new.name.clone(),
        user: new.user.clone(),
        public_key: public
            .or_else(|| new.public_key.clone())
            .unwrap_or_default(),
        preshared_key: preshared_key.map(|key| key.expose_base64().as_str().to_owned()),
        address: new.address,
        lifetime_seconds: new.expires.map(|time| time.as_secs()),
    }));
    match client::ask(&common.socket, &request) {
        Ok(Response::Enrolled { device, profile }) => {
            give(&device, &profile, (made.as_ref(), &new.form), common, out)
        }
        Ok(response) => remote::show(&response, common, out),
        Err(error) => remote::failed(&error, common, out),
    }
}

/// Gives the profile away: into a file, or printed, and drawn.
fn give(
    device: &Device,
    profile: &Profile,
    (key, form): (Option<&PrivateKey>, &Form),
    common: &Common,
    out: &mut Output<'_>,
) -> Exit {
    let text = profile::wg_quick(device, profile, key);
    if let Some(file) = &form.out
        && let Err(why) = write(file, &text)
    {
        let exit = cannot(&why, out);
        if key.is_some() {
            out.error(&format!(
                "the private key is lost: `causeway peer revoke {}` and add the device again",
                device.id
            ));
        }
        return exit;
    }
    if common.json {
        let response = Response::Enrolled {
            device: Box::new(device.clone()),
            profile: Box::new(profile.clone()),
        };
        let mut json = to_json(&response);
        if let Some(object) = json.as_object_mut() {
            let key = key.map(|key| key.expose_base64().as_str().to_owned());
            object.insert("private_key".to_owned(), key.into());
            object.insert("wg_quick".to_owned(), text.as_str().into());
        }
        out.line(&json.to_string());
    } else if let Some(file) = &form.out {
        out.line(&format!(
            "{} of {} has {}; its profile is in {}",
            safe(&device.name),
            safe(&device.user),
            safe(&device.address),
            file.display()
        ));
    } else {
        out.text(&text);
        if form.qr {
            match profile::qr(&text) {
                Some(code) => out.text(&code),
                None => return cannot("the profile is too long for a QR code", out),
            }
        }
    }
    Exit::Done
}

fn revoke(device: &str, yes: bool, common: &Common, out: &mut Output<'_>) -> Exit {
    let request = |dry_run| Request::DeviceRevoke {
        what: device.to_owned(),
        dry_run,
    };
    if !yes {
        if !out.can_ask() {
            return remote::nobody_to_ask(common, out);
        }
        match client::ask(&common.socket, &request(true)) {
            Ok(Response::Revoked { device, .. }) => {
                let session = match device.session {
                    Some(_) => " and ends its session",
                    None => "",
                };
                let question = format!(
                    "This removes {} of {} ({}){session}. Go on?",
                    safe(&device.name),
                    safe(&device.user),
                    safe(&device.address)
                );
                match out.confirm(&question) {
                    Answer::Yes => {}
                    Answer::No => return Exit::Failure,
                    Answer::Nobody => return remote::nobody_to_ask(common, out),
                }
            }
            Ok(response) => return remote::show(&response, common, out),
            Err(error) => return remote::failed(&error, common, out),
        }
    }
    remote::ask_and_show(&request(false), common, out)
}

/// Lists devices.
pub(super) fn show_devices(devices: &[Device], verbose: bool, out: &mut Output<'_>) {
    let mut head = vec![
        "ID", "DEVICE", "USER", "STATE", "ADDRESS", "FROM", "EXPIRES", "BY",
    ];
    if verbose {
        head.extend(["KEY", "LAST HANDSHAKE"]);
    }
    let mut rows = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for device in devices {
        let mut row = vec![
            device.id.to_string(),
            safe(&device.name),
            safe(&device.user),
            out.paint(&device.state),
            safe(&device.address),
            or(device.endpoint.as_deref(), "-"),
            or(device.expires.as_deref(), "never"),
            device.origin.clone(),
        ];
        if verbose {
            row.push(device.public_key.clone());
            row.push(or(device.last_handshake.as_deref(), "-"));
        }
        rows.push(row);
    }
    for line in table(&rows) {
        out.line(&line);
    }
}

/// Shows one device.
pub(super) fn show_device(device: &Device, out: &mut Output<'_>) {
    let psk = if device.preshared_key { "yes" } else { "no" };
    let rows = [
        ("device", safe(&device.name)),
        ("id", device.id.to_string()),
        ("user", safe(&device.user)),
        ("state", out.paint(&device.state)),
        ("session", or(device.session.as_deref(), "-")),
        ("address", safe(&device.address)),
        ("pool", or(device.pool.as_deref(), "none any more")),
        ("public key", safe(&device.public_key)),
        ("pre-shared key", psk.to_owned()),
        ("enrolled by", device.origin.clone()),
        ("enrolled", safe(&device.created)),
        ("expires", or(device.expires.as_deref(), "never")),
        ("from", or(device.endpoint.as_deref(), "-")),
        ("last handshake", or(device.last_handshake.as_deref(), "-")),
        ("filter", or(device.filter.as_deref(), "-")),
    ];
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    for line in table(&rows) {
        out.line(&line);
    }
}

fn or(text: Option<&str>, instead: &str) -> String {
    text.map_or_else(|| instead.to_owned(), safe)
}

fn new_key() -> Result<PrivateKey, String> {
    credentials::random()
        .map(|octets| PrivateKey::from_bytes(*octets))
        .map_err(|error| error.to_string())
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    credentials::write_private(file, text.as_bytes())
        .map_err(|error| format!("{}: {error}", file.display()))
}

fn cannot(why: &str, out: &mut Output<'_>) -> Exit {
    out.error(why);
    Exit::Failure
}
