//! What the driver does with the machine's events: counters, log lines, and whoever waits.

use std::time::Instant;

use causeway_proto::radius::{
    Code, Completion, Event, Health, Login, RadiusResult, RequestId, ServerId,
};

use super::Driver;

impl Driver {
    pub(super) fn act(&mut self, event: Event) {
        match event {
            Event::Started { server } => {
                if let Some(meters) = self.meters.get(server.0) {
                    meters.requests.increment(1);
                }
            }
            Event::Retransmitted { server } => {
                if let Some(meters) = self.meters.get(server.0) {
                    meters.retransmissions.increment(1);
                }
            }
            Event::Unsigned { server } => {
                if let Some(meters) = self.meters.get(server.0) {
                    meters.unsigned.increment(1);
                }
            }
            Event::Settled { port, identifier } => self.sockets.settle(port, identifier),
            Event::Late {
                server,
                code,
                login,
            } => self.late(server, code, &login),
            Event::Health { server, health } => self.health(server, health),
            Event::Unexpected { server, code } => self.unexpected(server, code),
            Event::Finished {
                request,
                completion,
            } => self.finished(request, completion),
        }
    }

    fn finished(&mut self, request: RequestId, completion: Completion) {
        if let Some(meters) = completion
            .server
            .and_then(|server| self.meters.get(server.0))
        {
            let answered = completion.answer.is_some() || completion.error.is_some();
            meters.result(completion.result, answered.then_some(completion.elapsed));
        }
        if let Some(asker) = self.waiting.remove(&request) {
            self.by_ticket.remove(&asker.ticket);
            if completion.result == RadiusResult::AbandonedByClient {
                let server = completion.server.map_or("?", |server| self.name(server));
                let Login {
                    user,
                    session,
                    correlation,
                } = &asker.login;
                tracing::info!(
                    event = "auth_result",
                    session,
                    correlation,
                    user.name = %user.display(),
                    radius.server = server,
                    radius.result = completion.result.as_str(),
                    radius.duration_ms = millis(completion.elapsed),
                    "the client left before the answer came; an answer that still comes opens nothing"
                );
            }
            // Whoever asked may have left at this very moment; then nothing has been opened either.
            drop(asker.reply.send(Ok(completion)));
        }
    }

    fn late(&self, server: ServerId, code: Code, login: &Login) {
        if let Some(meters) = self.meters.get(server.0) {
            meters.late(code);
        }
        if let Some(hook) = self.late.0.get() {
            hook(login);
        }
        let server = self.name(server);
        let Login {
            user,
            session,
            correlation,
        } = login;
        if code == Code::ACCESS_ACCEPT {
            tracing::info!(
                event = "late_reply",
                session,
                correlation,
                user.name = %user.display(),
                radius.server = server,
                "a log-in was approved after its client had gone; nothing was opened: when it happens often, raise the timeouts (sstp.auth_timeout, radius.timeout)"
            );
        } else {
            tracing::debug!(
                event = "late_reply",
                session,
                correlation,
                user.name = %user.display(),
                radius.server = server,
                ?code,
                "late RADIUS reply"
            );
        }
    }

    fn health(&self, server: ServerId, health: Health) {
        let name = self.name(server);
        let state = health.as_str();
        match health {
            Health::Alive => tracing::info!(
                event = "probe_state",
                radius.server = name,
                state,
                "RADIUS server answers"
            ),
            Health::Suspect | Health::Recovering => tracing::debug!(
                event = "probe_state",
                radius.server = name,
                state,
                "RADIUS server is asked whether it lives"
            ),
            Health::Dead => tracing::warn!(
                event = "probe_state",
                radius.server = name,
                state,
                "RADIUS server does not answer"
            ),
        }
        let alive = health.is_alive();
        if let Some(meters) = self.meters.get(server.0) {
            meters.up.set(if alive { 1.0 } else { 0.0 });
        }
        let known = self.health.borrow().get(server.0).map(|known| known.alive);
        if known == Some(alive) {
            return;
        }
        self.health.send_modify(|all| {
            if let Some(health) = all.get_mut(server.0) {
                health.alive = alive;
                health.since = Instant::now();
            }
        });
    }

    /// The probe user is to be a stranger to the server.
    fn unexpected(&mut self, server: ServerId, code: Code) {
        let first = self.remarked.insert(server);
        if first {
            tracing::warn!(
                radius.server = self.name(server),
                ?code,
                "the RADIUS server said something else about the probe user than radius.probe.expect: choose a user that does not exist"
            );
        }
    }
}

fn millis(elapsed: std::time::Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
