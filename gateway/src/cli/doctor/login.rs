//! `causeway doctor login`: a whole log-in through the public listener, as a monitor would run it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use causeway_proto::aaa::{AuthMethod, Identity};
use causeway_proto::crypto::{SecretBytes, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::cli::{Exit, Output};
use crate::client::{ClientError, Login, Options, Trust, Tunnel, probe};
use crate::config::Config;
use crate::startup::runtime;

use super::{DoctorLogin, Report, identity, load, reachable, seconds};

/// The path that Traffic Manager asks.
const HEALTH: &str = "/sra_%7BBA195980-CD49-458b-9E23-C84EE0ADCD75%7D/";
/// How long a connection and a probe may take.
const SHORT: Duration = Duration::from_secs(10);
/// What a ping carries.
const PAYLOAD: usize = 1000;

/// What is logged in with.
struct Visit<'v> {
    config: &'v Config,
    server: SocketAddr,
    trust: Trust,
    user: Identity,
    password: SecretBytes,
    method: AuthMethod,
    timeout: Duration,
    ping: Option<Ipv4Addr>,
}

pub(super) fn run(asked: &DoctorLogin, json: bool, out: &mut Output<'_>) -> Result<Exit, Exit> {
    let config = load(&asked.who.config, out)?;
    let user = identity(&asked.user, out)?;
    let Some(server) = asked
        .address
        .or_else(|| config.sstp.listen.first().copied().map(reachable))
    else {
        out.error("sstp.listen is empty: nothing to log in to");
        return Err(Exit::Configuration);
    };
    let certificate = match pinned(&config) {
        Ok(certificate) => certificate,
        Err(message) => {
            out.error(&message);
            return Err(Exit::Configuration);
        }
    };
    let password = asked.who.password(&asked.user, out)?;
    let visit = Visit {
        server,
        trust: Trust::Pinned(digest::sha256(&certificate)),
        user,
        password,
        method: asked.who.method(&config),
        timeout: asked.who.timeout.unwrap_or_else(|| config.login_deadline()),
        ping: asked.ping,
        config: &config,
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            out.error(&error.to_string());
            return Err(Exit::Failure);
        }
    };
    let mut report = Report::new(out, json);
    report.subject(&format!("https://{server} as {}", asked.user));
    runtime.block_on(visit.walk(&mut report));
    Ok(report.finish())
}

/// The certificate that the gateway is configured with; the public listener must show this one.
fn pinned(config: &Config) -> Result<CertificateDer<'static>, String> {
    let Some(files) = &config.sstp.certificate else {
        return Err("sstp.certificate is not set: the gateway makes one of its own, which nobody else knows".to_owned());
    };
    CertificateDer::from_pem_file(&files.chain)
        .map_err(|error| format!("{}: {error}", files.chain.display()))
}

impl Visit<'_> {
    async fn walk(&self, report: &mut Report<'_, '_>) {
        if self.connect(report).await && self.health(report).await {
            Box::pin(self.log_in(report)).await;
        }
    }

    async fn connect(&self, report: &mut Report<'_, '_>) -> bool {
        let begun = Instant::now();
        let connecting = tokio::net::TcpStream::connect(self.server);
        match tokio::time::timeout(SHORT, connecting).await {
            Ok(Ok(_)) => {
                report.ok(
                    "tcp",
                    format!("connected after {}", seconds(begun.elapsed())),
                );
                true
            }
            Ok(Err(error)) => {
                report.fail("tcp", error.to_string(), "is the gateway running? `systemctl status causeway`, `ss -ltn`; else name its address with --address");
                false
            }
            Err(_) => {
                report.fail(
                    "tcp",
                    format!("no answer within {}", seconds(SHORT)),
                    "a firewall or a network security group drops TCP to this port",
                );
                false
            }
        }
    }

    async fn health(&self, report: &mut Report<'_, '_>) -> bool {
        let probing = probe(self.server, &self.trust, HEALTH);
        match tokio::time::timeout(SHORT, probing).await {
            Ok(Ok(line)) => {
                report.ok(
                    "certificate",
                    "the listener shows the certificate of the configuration",
                );
                let healthy = self.config.sstp.health_status.to_string();
                if line.split(' ').nth(1) == Some(healthy.as_str()) {
                    report.ok("health", line);
                } else {
                    report.warn(
                        "health",
                        format!("{line}: Traffic Manager sends nobody here"),
                        "`causeway status` names the component",
                    );
                }
                true
            }
            Ok(Err(ClientError::Tls(error))) => {
                report.fail("certificate", error.to_string(), "another certificate than the configured one: `causeway reload`, or something terminates TLS in front of the gateway (crypto binding then fails)");
                false
            }
            Ok(Err(error)) => {
                report.fail("certificate", error.to_string(), "another certificate than the configured one, or no TLS on this port: `causeway reload`, or see what listens there");
                false
            }
            Err(_) => {
                report.fail(
                    "health",
                    format!("no answer within {}", seconds(SHORT)),
                    "the gateway is overloaded, or does not read: `causeway status`",
                );
                false
            }
        }
    }

    async fn log_in(&self, report: &mut Report<'_, '_>) {
        let begun = Instant::now();
        let options = self.options();
        let connecting = tokio::time::timeout(self.timeout, Tunnel::connect(&options));
        let mut connecting = std::pin::pin!(connecting);
        let outcome = loop {
            tokio::select! {
                outcome = &mut connecting => break outcome,
                () = tokio::time::sleep(SHORT) => report.progress(&format!(
                    "no decision yet after {} s; a phone may be ringing", begun.elapsed().as_secs())),
            }
        };
        let time = seconds(begun.elapsed());
        match outcome {
            Ok(Ok(tunnel)) => {
                let network = tunnel.network();
                let dns: Vec<_> = network.dns.iter().map(ToString::to_string).collect();
                report.ok("login", format!("up after {time}, {}, crypto binding agreed", tunnel.tls()));
                report.ok("address", format!("{}, MTU {}", network.address, network.mtu));
                if dns.is_empty() {
                    report.warn("dns", "no DNS server for the client", "set network.dns");
                } else {
                    report.ok("dns", dns.join(", "));
                }
                self.use_tunnel(tunnel, report).await;
            }
            Ok(Err(error)) => report.fail("login", format!("{error} after {time}"), "`causeway log` (or journalctl -u causeway) has the cause in one line; `causeway doctor radius` asks the servers themselves"),
            Err(_) => report.fail("login", format!("no decision within {time}"), "`causeway doctor radius --mfa` says whether the server answers, and how late"),
        }
    }

    async fn use_tunnel(&self, mut tunnel: Tunnel, report: &mut Report<'_, '_>) {
        if let Some(host) = self.ping {
            let pinging = tokio::time::timeout(SHORT, tunnel.ping(host, PAYLOAD));
            match pinging.await {
                Ok(Ok(time)) => report.ok("ping", format!("{host} answers after {:.2} ms", time.as_secs_f64() * 1e3)),
                Ok(Err(error)) => report.fail("ping", error.to_string(), "the session ended: see the log"),
                Err(_) => report.fail("ping", format!("{host} does not answer"), "is there a route back to the pool (Azure: a user-defined route to this machine, IP forwarding on its interface), and does a filter forbid it?"),
            }
        }
        match tokio::time::timeout(SHORT, tunnel.close()).await {
            Ok(Ok(())) => report.ok("logout", "the session was ended politely"),
            Ok(Err(error)) => report.warn(
                "logout",
                error.to_string(),
                "`causeway sessions` shows whether it is still there",
            ),
            Err(_) => report.warn(
                "logout",
                "no answer to the end of the call",
                "`causeway sessions` shows whether it is still there",
            ),
        }
    }

    fn options(&self) -> Options {
        let login = Login {
            user: self.user.clone(),
            password: self.password.clone(),
            method: self.method,
        };
        Options {
            host: self.config.gateway.hostname.clone(),
            ..Options::windows(self.server, self.trust.clone(), login)
        }
    }
}
