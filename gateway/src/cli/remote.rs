//! The commands that ask the running gateway.

use std::time::Duration;

use crate::cli::output::{Answer, Output, Reader, Style};
use crate::cli::table::{clock, octets, safe, span, table};
use crate::cli::{Cli, Command, Common, Disconnect, Drain, Exit, peer};
use crate::control::client::{self, ClientError};
use crate::control::protocol::{
    self, Reloaded, Request, Response, Session, Status, Target, to_json,
};

/// How often `status --watch` looks.
const WATCH_PERIOD: Duration = Duration::from_secs(2);
/// Moves a terminal's cursor to its corner and wipes the rest.
const FROM_THE_TOP: &str = "\x1b[H\x1b[J";

/// Asks, and shows the answer.
pub fn run(cli: &Cli, out: &mut Output<'_>) -> Exit {
    let common = &cli.common;
    let request = match &cli.command {
        Command::Status(status) if status.watch => {
            return watch(common, out, || std::thread::sleep(WATCH_PERIOD));
        }
        Command::Status(_) => Request::Status,
        Command::Sessions(sessions) => Request::Sessions {
            protocol: sessions.protocol.clone(),
            user: sessions.user.clone(),
        },
        Command::Session { id } => Request::Session { id: id.clone() },
        Command::Disconnect(disconnect) => return end_sessions(disconnect, common, out),
        Command::Reload => Request::Reload,
        Command::Drain(drain) if drain.cancel => Request::DrainCancel,
        Command::Drain(drain) => return begin_drain(drain, common, out),
        Command::Serve(_)
        | Command::Demo(_)
        | Command::Config(_)
        | Command::Doctor(_)
        | Command::Users(_)
        | Command::Peer(_)
        | Command::Profile(_)
        | Command::Keys(_)
        | Command::Explain { .. } => return Exit::Failure,
    };
    ask_and_show(&request, common, out)
}

/// Shows the status again and again until nobody reads it. A gateway that does not answer may be starting anew.
fn watch(common: &Common, out: &mut Output<'_>, mut pause: impl FnMut()) -> Exit {
    loop {
        if out.style() == Style::Colour && !common.json {
            out.text(FROM_THE_TOP);
        }
        let exit = ask_and_show(&Request::Status, common, out);
        if !common.json {
            out.line("");
        }
        if out.reader() == Reader::Gone {
            return exit;
        }
        pause();
    }
}

/// Says that a question would have to be answered, and nobody is there.
pub(super) fn nobody_to_ask(common: &Common, out: &mut Output<'_>) -> Exit {
    let message = "standard input is no terminal, so nobody can be asked: say --yes to go on";
    if common.json {
        let response = Response::Failed {
            code: None,
            message: message.to_owned(),
        };
        out.line(&to_json(&response).to_string());
    } else {
        out.error(message);
    }
    Exit::Usage
}

pub(super) fn ask_and_show(request: &Request, common: &Common, out: &mut Output<'_>) -> Exit {
    match client::ask(&common.socket, request) {
        Ok(response) => show(&response, common, out),
        Err(error) => failed(&error, common, out),
    }
}

/// Counts what would be touched, asks, and then does it.
fn end_sessions(disconnect: &Disconnect, common: &Common, out: &mut Output<'_>) -> Exit {
    let target = match (&disconnect.id, &disconnect.user, disconnect.ip) {
        (Some(id), _, _) => Target::Id(id.clone()),
        (_, Some(user), _) => Target::User(user.clone()),
        (_, _, Some(ip)) => Target::Ip(ip),
        (None, None, None) => Target::All,
    };
    let request = |dry_run| Request::Disconnect {
        target: target.clone(),
        reason: disconnect.reason.clone(),
        dry_run,
    };
    if !disconnect.yes {
        if !out.can_ask() {
            return nobody_to_ask(common, out);
        }
        match client::ask(&common.socket, &request(true)) {
            Ok(Response::Disconnected { sessions, .. }) => {
                let question = format!("This ends {}. Go on?", plural(sessions, "session"));
                match out.confirm(&question) {
                    Answer::Yes => {}
                    Answer::No => return Exit::Failure,
                    Answer::Nobody => return nobody_to_ask(common, out),
                }
            }
            Ok(response) => return show(&response, common, out),
            Err(error) => return failed(&error, common, out),
        }
    }
    ask_and_show(&request(false), common, out)
}

fn begin_drain(drain: &Drain, common: &Common, out: &mut Output<'_>) -> Exit {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
    let request = |dry_run| Request::Drain {
        notice_seconds: seconds(drain.notice),
        over_seconds: seconds(drain.over),
        dry_run,
    };
    if !drain.yes {
        if !out.can_ask() {
            return nobody_to_ask(common, out);
        }
        match client::ask(&common.socket, &request(true)) {
            Ok(Response::Drain(plan)) => {
                let question = format!(
                    "{}, about {} over {} after {} of notice. Go on?",
                    plural(plan.sessions, "session"),
                    plural(plan.mfa_prompts, "MFA prompt"),
                    span(plan.over_seconds),
                    span(plan.notice_seconds),
                );
                match out.confirm(&question) {
                    Answer::Yes => {}
                    Answer::No => return Exit::Failure,
                    Answer::Nobody => return nobody_to_ask(common, out),
                }
            }
            Ok(response) => return show(&response, common, out),
            Err(error) => return failed(&error, common, out),
        }
    }
    ask_and_show(&request(false), common, out)
}

pub(super) fn failed(error: &ClientError, common: &Common, out: &mut Output<'_>) -> Exit {
    let (code, exit) = match error {
        ClientError::Forbidden { .. } => ("E0108", Exit::Missing),
        ClientError::Unreachable { .. }
        | ClientError::Foreign(_)
        | ClientError::TooLong
        | ClientError::Closed
        | ClientError::Broken(_) => ("E0107", Exit::Unreachable),
    };
    let mut message = error.to_string();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = cause {
        message = format!("{message}: {inner}");
        cause = inner.source();
    }
    if common.json {
        let response = Response::Failed {
            code: Some(code.to_owned()),
            message,
        };
        out.line(&to_json(&response).to_string());
    } else if !common.quiet {
        out.error(&format!("{message}  [{code}]"));
    }
    exit
}

pub(super) fn show(response: &Response, common: &Common, out: &mut Output<'_>) -> Exit {
    let exit = match response {
        Response::Status(_)
        | Response::Sessions { .. }
        | Response::Session { .. }
        | Response::Reloaded(_)
        | Response::Drain(_)
        | Response::Devices { .. }
        | Response::Device { .. }
        | Response::Enrolled { .. }
        | Response::Revoked { .. } => Exit::Done,
        Response::Disconnected { sessions: 0, .. } => Exit::NothingMatched,
        Response::Disconnected { .. } => Exit::Done,
        Response::NotFound { .. } => Exit::NothingMatched,
        Response::Forbidden { .. } => Exit::Missing,
        Response::Busy => Exit::Unreachable,
        Response::Failed { .. } => Exit::Failure,
    };
    if common.json {
        out.line(&to_json(response).to_string());
    } else if !common.quiet {
        show_text(response, common, out);
    }
    exit
}

fn show_text(response: &Response, common: &Common, out: &mut Output<'_>) {
    match response {
        Response::Status(status) => show_status(status, out),
        Response::Sessions { sessions } => show_sessions(sessions, common.verbose, out),
        Response::Session { session } => show_session(session, out),
        Response::Disconnected {
            sessions,
            dry_run: true,
        } => {
            out.line(&format!("{} would end", plural(*sessions, "session")));
        }
        Response::Disconnected {
            sessions,
            dry_run: false,
        } => {
            out.line(&format!("{} told to end", plural(*sessions, "session")));
        }
        Response::Reloaded(reloaded) => show_reload(reloaded, out),
        Response::Drain(drain) => out.line(&format!(
            "{}: {} up, notice {}, then over {}",
            drain.state,
            plural(drain.sessions, "session"),
            span(drain.notice_seconds),
            span(drain.over_seconds)
        )),
        Response::Devices { devices } => peer::show_devices(devices, common.verbose, out),
        Response::Device { device } | Response::Enrolled { device, .. } => {
            peer::show_device(device, out);
        }
        Response::Revoked { device, dry_run } => {
            let done = if *dry_run {
                "would be removed"
            } else {
                "is removed"
            };
            let (name, user) = (safe(&device.name), safe(&device.user));
            out.line(&format!("{name} of {user} {done}"));
        }
        Response::NotFound { what } => out.error(&safe(what)),
        Response::Forbidden { message } => out.error(&format!("{}  [E0108]", safe(message))),
        Response::Busy => {
            out.error("the gateway answers as many administrators as it can; try again");
        }
        Response::Failed { code, message } => {
            let code = code
                .as_ref()
                .map_or_else(String::new, |code| format!("  [{code}]"));
            out.error(&format!("{}{code}", safe(message)));
        }
    }
}

fn show_status(status: &Status, out: &mut Output<'_>) {
    let failing = status
        .failing
        .as_ref()
        .map_or_else(String::new, |part| format!(" ({part})"));
    let head = format!(
        "{}   {}{failing}   probe {}   up {}   {}",
        safe(&status.name),
        out.paint(&status.verdict),
        status.probe,
        span(status.uptime_seconds),
        status.version
    );
    out.line(&head);
    let mut rows = Vec::new();
    for component in &status.components {
        let mut words = numbers(status, component);
        if !component.reason.is_empty() {
            let since = span(component.for_seconds);
            words.push(format!("{} (for {since})", safe(&component.reason)));
        }
        rows.push(vec![
            format!("  {}", component.component),
            out.paint(&component.status),
            words.join(", "),
        ]);
    }
    for line in table(&rows) {
        out.line(&line);
    }
}

/// The numbers that belong to a component.
fn numbers(status: &Status, component: &protocol::ComponentStatus) -> Vec<String> {
    let mut words = match component.component.as_str() {
        "sstp" => {
            let counts = &status.sessions;
            let mut words = vec![format!("{} of {} up", counts.up, counts.limit)];
            if counts.unreachable > 0 {
                words.push(format!("{} unreachable", counts.unreachable));
            }
            if counts.authenticating > 0 {
                words.push(format!("{} logging in", counts.authenticating));
            }
            words
        }
        "pool" => status
            .pools
            .iter()
            .map(|pool| {
                let all = pool.used + pool.free + pool.reserved;
                format!("{} {} of {all} used", safe(&pool.name), pool.used)
            })
            .collect(),
        "radius" => status
            .radius
            .iter()
            .map(|server| {
                let state = if server.up { "up" } else { "silent" };
                format!("{} {state}, {} waiting", safe(&server.name), server.pending)
            })
            .collect(),
        "certificate" => status
            .certificate
            .iter()
            .map(|certificate| {
                let names: Vec<String> = certificate
                    .names
                    .iter()
                    .take(3)
                    .map(|name| safe(name))
                    .collect();
                format!("{}, {} days", names.join(" "), certificate.days_left)
            })
            .collect(),
        _ => Vec::new(),
    };
    if !component.detail.is_empty() {
        words.push(safe(&component.detail));
    }
    words
}

fn show_sessions(sessions: &[Session], verbose: bool, out: &mut Output<'_>) {
    let mut head = vec![
        "ID", "USER", "PROTOCOL", "STATE", "ADDRESS", "FROM", "SINCE", "RX", "TX", "AUTH",
    ];
    if verbose {
        head.extend(["DEVICE", "ROAMED", "CORRELATION"]);
    }
    let mut rows = vec![head.into_iter().map(str::to_owned).collect()];
    for session in sessions {
        let mut row = vec![
            session.id.clone(),
            safe(&session.user),
            session.protocol.clone(),
            out.paint(&session.state),
            session.address.clone().unwrap_or_else(|| "-".to_owned()),
            session.remote.clone(),
            clock(&session.since, Duration::from_secs(session.age_seconds)),
            octets(session.rx_bytes),
            octets(session.tx_bytes),
            authentication(session),
        ];
        if verbose {
            row.extend([
                or_none(session.device.as_ref()),
                roamed(session),
                or_none(session.correlation.as_ref()),
            ]);
        }
        rows.push(row);
    }
    for line in table(&rows) {
        out.line(&line);
    }
}

fn authentication(session: &Session) -> String {
    let mut words: Vec<String> = session.method.iter().cloned().collect();
    words.extend(session.server.as_deref().map(safe));
    words.extend(
        session
            .auth_ms
            .map(|ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100)),
    );
    if words.is_empty() {
        "-".to_owned()
    } else {
        words.join(", ")
    }
}

fn or_none(value: Option<&String>) -> String {
    value.map_or_else(|| "-".to_owned(), |text| safe(text))
}

/// How often the client's outer address has changed, and when last.
fn roamed(session: &Session) -> String {
    match &session.roamed {
        Some(last) => format!("{}, last {}", session.roams, safe(last)),
        None => "-".to_owned(),
    }
}

fn show_session(session: &Session, out: &mut Output<'_>) {
    let age = Duration::from_secs(session.age_seconds);
    let rows = [
        ("session", session.id.clone()),
        ("user", safe(&session.user)),
        ("state", out.paint(&session.state)),
        ("protocol", session.protocol.clone()),
        ("address", or_none(session.address.as_ref())),
        ("pool", or_none(session.pool.as_ref())),
        ("from", session.remote.clone()),
        ("roamed", roamed(session)),
        ("device", or_none(session.device.as_ref())),
        (
            "since",
            format!(
                "{} ({})",
                clock(&session.since, age),
                span(session.age_seconds)
            ),
        ),
        (
            "rx",
            format!(
                "{}, {} packets",
                octets(session.rx_bytes),
                session.rx_packets
            ),
        ),
        (
            "tx",
            format!(
                "{}, {} packets",
                octets(session.tx_bytes),
                session.tx_packets
            ),
        ),
        ("accounting id", or_none(session.accounting_id.as_ref())),
        ("auth", authentication(session)),
        ("result", or_none(session.result.as_ref())),
        ("tls", or_none(session.tls.as_ref())),
        ("crypto binding", or_none(session.hash_protocol.as_ref())),
        ("packing", or_none(session.packing.as_ref())),
        ("filter", or_none(session.filter.as_ref())),
        ("networks", session.networks.join(", ")),
        ("correlation", or_none(session.correlation.as_ref())),
    ];
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    for line in table(&rows) {
        out.line(&line);
    }
}

fn show_reload(reloaded: &Reloaded, out: &mut Output<'_>) {
    for (what, keys) in [
        ("applied", &reloaded.applied),
        ("for new sessions", &reloaded.new_sessions),
        ("needs a restart", &reloaded.needs_restart),
    ] {
        if !keys.is_empty() {
            out.line(&format!("{what}: {}", keys.join(", ")));
        }
    }
    if *reloaded == Reloaded::default() {
        out.line("nothing has changed");
    }
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

#[cfg(test)]
pub(super) mod tests;
