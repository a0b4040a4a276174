//! What the driver does with the machine's events: counters, log lines, and whoever waits.

use std::time::Instant;

use causeway_proto::radius::{
    Code, Completion, Event, Health, Login, RadiusResult, RequestId, ServerId,
};

use super::{Asker, Driver};

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
                    ..
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
            if let Err(Ok(completion)) = asker.reply.send(Ok(completion)) {
                self.late.undelivered(&asker.login, &completion);
            }
        }
    }

    fn late(&self, server: ServerId, code: Code, login: &Login) {
        if let Some(meters) = self.meters.get(server.0) {
            meters.late(code);
        }
        // Another server may have been asked since, and its answer is still to come.
        let waits = |asker: &Asker| {
            asker.login.session == login.session && asker.login.asked == login.asked
        };
        if !self.waiting.values().any(waits) {
            self.late.call(login, Some(code));
        }
        let server = self.name(server);
        let Login {
            user,
            session,
            correlation,
            ..
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use causeway_proto::aaa::{Applicant, Credentials, Identity, Rejection, TunnelKind, Verdict};
    use causeway_proto::radius::Refused;
    use causeway_proto::radius::access::Answer;
    use tokio::sync::oneshot;

    use super::super::{Ask, Transport, Waiting};
    use super::*;
    use crate::radius::{Config, Server, StatusServer};

    type Answered = oneshot::Receiver<Result<Completion, Refused>>;

    fn login() -> Login {
        Login {
            user: Identity::new(b"alice").unwrap(),
            session: "0a2b3c4d".into(),
            correlation: None,
            source: Ipv4Addr::LOCALHOST.into(),
            asked: Instant::now(),
        }
    }

    fn completion(result: RadiusResult, answer: Option<Answer>) -> Completion {
        Completion {
            result,
            answer,
            error: None,
            server: None,
            elapsed: Duration::from_secs(30),
        }
    }

    fn reject() -> Completion {
        let answer = Answer::Verdict(Verdict::Reject(Rejection::default()));
        completion(RadiusResult::RejectAfterMfaWait, Some(answer))
    }

    /// The two, and what the hook has heard.
    #[expect(
        clippy::type_complexity,
        reason = "a name for it would hide what it is"
    )]
    fn pair() -> (Transport, Driver, Arc<Mutex<Vec<(String, Option<Code>)>>>) {
        let server = Server {
            name: "nps".into(),
            address: Ipv4Addr::LOCALHOST.into(),
            auth_port: 1812,
            secret: b"a shared secret".as_slice().into(),
            source: None,
            status: StatusServer::Off,
            tls: None,
        };
        let config = Config {
            servers: vec![server],
            ..Config::default()
        };
        let (transport, driver) = Transport::new(config).unwrap();
        let heard: Arc<Mutex<Vec<_>>> = Arc::default();
        let ear = heard.clone();
        transport.on_late(move |login, code| {
            ear.lock().unwrap().push((login.session.clone(), code));
        });
        (transport, driver, heard)
    }

    /// Has a log-in wait for its answer.
    fn ask(driver: &mut Driver) -> (RequestId, Answered) {
        let (reply, answered) = oneshot::channel();
        driver.ask(Ask {
            ticket: 1,
            applicant: Applicant {
                nas_port: 7,
                mtu: 4091,
                ..Applicant::new(
                    TunnelKind::Sstp,
                    (Ipv4Addr::LOCALHOST, 50_123).into(),
                    (Ipv4Addr::LOCALHOST, 443).into(),
                    "0a2b3c4d".into(),
                )
            },
            credentials: Credentials::Pap {
                user: login().user,
                password: b"wonderland".as_slice().into(),
            },
            challenge: None,
            deadline: Instant::now() + Duration::from_secs(58),
            reply,
        });
        (driver.by_ticket[&1], answered)
    }

    fn finish(driver: &mut Driver, completion: Completion, is_there: bool) {
        let (request, answered) = ask(driver);
        let mut answered = is_there.then_some(answered);
        driver.act(Event::Finished {
            request,
            completion,
        });
        if let Some(answered) = &mut answered {
            assert!(answered.try_recv().is_ok());
        }
    }

    #[tokio::test]
    async fn an_answer_that_cannot_be_delivered_is_late() {
        let (_transport, mut driver, heard) = pair();
        finish(&mut driver, reject(), true);
        finish(
            &mut driver,
            completion(RadiusResult::AbandonedByClient, None),
            false,
        );
        assert_eq!(*heard.lock().unwrap(), []);
        finish(&mut driver, reject(), false);
        let late = ("0a2b3c4d".to_owned(), Some(Code::ACCESS_REJECT));
        assert_eq!(*heard.lock().unwrap(), [late]);
    }

    #[tokio::test]
    async fn an_answer_that_was_delivered_but_not_read_is_late() {
        let (transport, mut driver, heard) = pair();
        for sent in [true, false] {
            let (reply, answer) = oneshot::channel();
            if sent {
                reply.send(Ok(reject())).unwrap();
            }
            drop(Waiting {
                transport: &transport,
                ticket: Some(1),
                login: login(),
                answer,
            });
        }
        let late = ("0a2b3c4d".to_owned(), Some(Code::ACCESS_REJECT));
        assert_eq!(*heard.lock().unwrap(), [late]);
        // Only the one without an answer is still to be abandoned.
        assert!(driver.questions.try_recv().is_ok());
        assert!(driver.questions.try_recv().is_err());
    }

    #[tokio::test]
    async fn an_answer_is_not_late_while_another_server_is_asked() {
        let (_transport, mut driver, heard) = pair();
        let (request, _answered) = ask(&mut driver);
        let late = |login: &Login| Event::Late {
            server: ServerId(0),
            code: Code::ACCESS_REJECT,
            login: Box::new(login.clone()),
        };
        let first = driver.waiting[&request].login.clone();
        driver.act(late(&first));
        assert_eq!(*heard.lock().unwrap(), []);
        driver.waiting.clear();
        driver.act(late(&first));
        assert_eq!(heard.lock().unwrap().len(), 1);
    }
}
