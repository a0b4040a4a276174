use super::*;

use std::sync::Arc;
use std::time::Duration;

use causeway_proto::aaa::{Identity, Limits, TunnelKind};
use causeway_proto::activity::Activity;
use causeway_proto::radius::authenticator::{
    EMPTY_MESSAGE_AUTHENTICATOR, response_authenticator, with_message_authenticator,
};
use causeway_proto::radius::{AttributeList, AttributeType, Packet};
use causeway_proto::wire::{Decode as _, Encode as _};

use crate::ids::SessionId;
use crate::session::{
    AddressPool, Admitted, Commands, PoolConfig, Session, SessionGuard, TableLimits, lifetime,
};

const SECRET: &[u8] = b"coa secret";
const WALL: u64 = 1_764_000_000;
const SERVER: &str = "10.0.0.20:40000";

struct Rig {
    desk: Desk,
    pool: Arc<AddressPool>,
    identifier: u8,
    // Held so that the table has somebody to tell.
    changes: Option<crate::session::Changes>,
}

struct Up {
    guard: SessionGuard,
    commands: Commands,
}

impl Rig {
    fn new() -> Self {
        let limits = TableLimits {
            sessions: 10,
            per_user: 5,
            pending: 10,
        };
        let (table, changes) = SessionTable::new(limits);
        let net = "10.99.0.0/24".parse().unwrap();
        let gateway = PoolConfig::first_usable(net);
        let pool = PoolConfig::new("users", &[net], &[], gateway, Duration::ZERO).unwrap();
        Self {
            desk: Desk {
                config: Config {
                    clients: vec!["10.0.0.20/32".parse().unwrap()],
                    secret: SECRET.into(),
                    nas: Nas {
                        identifier: "gw1".into(),
                        ipv4: Some([10, 0, 1, 4].into()),
                        ipv6: None,
                    },
                },
                table,
                filters: Filters::new(|name| {
                    (name == "staff").then(|| Arc::new(Filter::new(name, &[], &[])))
                }),
                answered: Answered::default(),
            },
            pool: Arc::new(AddressPool::new(pool)),
            identifier: 0,
            changes: Some(changes),
        }
    }

    fn log_in(&self, number: u32, user: &str) -> Up {
        let user = Identity::new(user.as_bytes()).unwrap();
        let (guard, commands) = self
            .desk
            .table
            .register(Session {
                id: SessionId::new(number),
                user,
                protocol: TunnelKind::Sstp,
                remote: format!("198.51.100.{number}:5000").parse().unwrap(),
                correlation: None,
                activity: Arc::new(Activity::default()),
            })
            .unwrap();
        let id = guard.id().accounting_id(1);
        guard.update(|facts| facts.accounting = Some(id));
        Up { guard, commands }
    }

    fn up(&self, number: u32, user: &str) -> Up {
        let mut up = self.log_in(number, user);
        let user = Identity::new(user.as_bytes()).unwrap();
        let lease = self.pool.lease(&user, None, None).unwrap();
        let limits = Limits::default();
        up.guard
            .admit(Admitted {
                user,
                lease,
                limits,
            })
            .unwrap();
        up.guard.set_up();
        up
    }

    /// Asks as a server does; returns the code and the Error-Cause of the answer.
    fn ask(&mut self, code: Code, add: &dyn Fn(&mut AttributeList)) -> Option<(Code, Option<u32>)> {
        self.identifier = self.identifier.wrapping_add(1);
        let bytes = request(code, self.identifier, add);
        self.hear(SERVER, &bytes).map(|answer| read(&answer))
    }

    fn hear(&mut self, from: &str, bytes: &[u8]) -> Option<Vec<u8>> {
        let from = from.parse().unwrap();
        self.desk.handle(Instant::now(), WALL, from, bytes)
    }
}

fn request(code: Code, identifier: u8, add: &dyn Fn(&mut AttributeList)) -> Vec<u8> {
    let mut list = AttributeList::new();
    list.push(
        AttributeType::MESSAGE_AUTHENTICATOR,
        &EMPTY_MESSAGE_AUTHENTICATOR,
    )
    .push_u32(AttributeType::EVENT_TIMESTAMP, u32::try_from(WALL).unwrap());
    add(&mut list);
    let unsigned = Packet::new(code, identifier, [0; 16], list.finish().unwrap()).unwrap();
    let octets = with_message_authenticator(&unsigned, &[0; 16], SECRET);
    let mut packet = Packet::new(code, identifier, [0; 16], &octets).unwrap();
    packet.authenticator = response_authenticator(&packet, &[0; 16], SECRET);
    let mut out = Vec::new();
    packet.append_to(&mut out, MAX_LEN).unwrap();
    out
}

fn read(answer: &[u8]) -> (Code, Option<u32>) {
    let packet = Packet::decode_exact(answer).unwrap();
    let cause = packet
        .attributes()
        .map(Result::unwrap)
        .find(|attribute| attribute.kind == AttributeType::ERROR_CAUSE)
        .map(|attribute| attribute.u32("Error-Cause").unwrap());
    (packet.code, cause)
}

const END: SessionCommand = SessionCommand::Terminate(TerminateCause::DynamicAuthorization);
const ACK: Option<(Code, Option<u32>)> = Some((Code::DISCONNECT_ACK, None));

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is compared with what was answered"
)]
const fn nak(cause: u32) -> Option<(Code, Option<u32>)> {
    Some((Code::DISCONNECT_NAK, Some(cause)))
}

#[test]
fn a_session_ends_by_any_of_its_names_and_no_other_does() {
    type Name<'a> = &'a dyn Fn(&mut AttributeList, &SessionView);
    let names: &[Name<'_>] = &[
        &|list, view| {
            let id = view.facts.accounting.clone().unwrap();
            list.push(AttributeType::ACCT_SESSION_ID, id.as_bytes());
        },
        &|list, _| {
            list.push(AttributeType::USER_NAME, b"corp\\ALICE");
        },
        &|list, view| {
            list.push(
                AttributeType::FRAMED_IP_ADDRESS,
                &view.address.unwrap().octets(),
            );
        },
        &|list, _| {
            list.push(AttributeType::CALLING_STATION_ID, b"198.51.100.1");
        },
        &|list, _| {
            list.push_u32(AttributeType::NAS_PORT, 1);
        },
    ];
    for (row, name) in names.iter().enumerate() {
        let mut rig = Rig::new();
        let (mut alice, mut bob) = (rig.up(1, "CORP\\alice"), rig.up(2, "CORP\\bob"));
        let view = alice.guard.view().unwrap();
        let answer = rig.ask(Code::DISCONNECT_REQUEST, &|list| name(list, &view));
        assert_eq!(answer, ACK, "row {row}");
        assert_eq!(alice.commands.try_next(), Some(END), "row {row}");
        assert_eq!(bob.commands.try_next(), None, "row {row}");
    }
}

#[test]
fn everything_that_is_said_must_fit() {
    let mut rig = Rig::new();
    let mut alice = rig.up(1, "alice");
    let address = alice.guard.address().unwrap().octets();
    let answer = rig.ask(Code::DISCONNECT_REQUEST, &|list| {
        list.push(AttributeType::USER_NAME, b"bob")
            .push(AttributeType::FRAMED_IP_ADDRESS, &address);
    });
    assert_eq!(answer, nak(503));
    let other = rig.ask(Code::DISCONNECT_REQUEST, &|list| {
        list.push(AttributeType::USER_NAME, b"alice")
            .push(AttributeType::NAS_IDENTIFIER, b"gw2");
    });
    assert_eq!(other, nak(403));
    let other = rig.ask(Code::DISCONNECT_REQUEST, &|list| {
        list.push(AttributeType::USER_NAME, b"alice")
            .push(AttributeType::NAS_IP_ADDRESS, &[10, 0, 1, 5]);
    });
    assert_eq!(other, nak(403));
    assert_eq!(alice.commands.try_next(), None);
    let ours = rig.ask(Code::DISCONNECT_REQUEST, &|list| {
        list.push(AttributeType::USER_NAME, b"alice")
            .push(AttributeType::NAS_IDENTIFIER, b"gw1")
            .push(AttributeType::NAS_IP_ADDRESS, &[10, 0, 1, 4]);
    });
    assert_eq!(ours, ACK);
}

#[test]
fn several_sessions_are_none_and_a_strangers_log_in_is_no_session() {
    let mut rig = Rig::new();
    let mut first = rig.up(1, "alice");
    let mut stranger = rig.log_in(2, "alice");
    let by_user: &dyn Fn(&mut AttributeList) = &|list| {
        list.push(AttributeType::USER_NAME, b"alice");
    };
    let mut second = rig.up(3, "alice");
    assert_eq!(rig.ask(Code::DISCONNECT_REQUEST, by_user), nak(508));
    assert_eq!(second.commands.try_next(), None);
    drop(second);
    assert_eq!(rig.ask(Code::DISCONNECT_REQUEST, by_user), ACK);
    assert_eq!(first.commands.try_next(), Some(END));
    assert_eq!(stranger.commands.try_next(), None);
    drop(first);
    assert_eq!(rig.ask(Code::DISCONNECT_REQUEST, by_user), nak(503));
}

#[test]
fn the_same_request_again_gets_the_same_answer_and_does_nothing() {
    let mut rig = Rig::new();
    let bytes = request(Code::DISCONNECT_REQUEST, 7, &|list| {
        list.push(AttributeType::USER_NAME, b"alice");
    });
    let refused = rig.hear(SERVER, &bytes).unwrap();
    let mut alice = rig.up(1, "alice");
    assert_eq!(rig.hear("10.0.0.20:50000", &bytes), Some(refused));
    assert_eq!(alice.commands.try_next(), None);
}

#[test]
fn who_may_not_ask_hears_nothing() {
    let mut rig = Rig::new();
    let mut alice = rig.up(1, "alice");
    let bytes = request(Code::DISCONNECT_REQUEST, 7, &|list| {
        list.push(AttributeType::USER_NAME, b"alice");
    });
    assert_eq!(rig.hear("10.0.0.21:40000", &bytes), None);
    let mut bent = bytes.clone();
    bent[30] ^= 1;
    assert_eq!(rig.hear(SERVER, &bent), None);
    assert_eq!(rig.hear(SERVER, b""), None);
    let from = SERVER.parse().unwrap();
    let late = rig.desk.handle(Instant::now(), WALL + 301, from, &bytes);
    assert_eq!(late, None);
    assert_eq!(alice.commands.try_next(), None);
    // A dual-stack socket shows the server like this.
    assert!(rig.hear("[::ffff:10.0.0.20]:40000", &bytes).is_some());
    assert_eq!(alice.commands.try_next(), Some(END));
}

#[tokio::test]
async fn a_change_of_session_timeout_ends_the_session_in_time() {
    let mut rig = Rig::new();
    let table = Arc::clone(&rig.desk.table);
    let changes = rig.changes.take().unwrap();
    tokio::spawn(lifetime::run(table, changes, || 0));
    let mut alice = rig.up(1, "alice");
    let answer = rig.ask(Code::COA_REQUEST, &|list| {
        list.push(AttributeType::USER_NAME, b"alice")
            .push_u32(AttributeType::SESSION_TIMEOUT, 1);
    });
    assert_eq!(answer, Some((Code::COA_ACK, None)));
    assert_eq!(
        alice.commands.next().await,
        Some(SessionCommand::Terminate(TerminateCause::SessionTimeout))
    );
}

#[tokio::test]
async fn a_filter_is_changed_by_its_name_and_an_unknown_name_changes_nothing() {
    let mut rig = Rig::new();
    let mut alice = rig.up(1, "alice");
    let mut ask = |name: &'static [u8]| {
        rig.ask(Code::COA_REQUEST, &|list| {
            list.push(AttributeType::USER_NAME, b"alice")
                .push_u32(AttributeType::IDLE_TIMEOUT, 600)
                .push(AttributeType::FILTER_ID, name);
        })
    };
    assert_eq!(ask(b"nobody"), Some((Code::COA_NAK, Some(407))));
    assert_eq!(alice.commands.try_next(), None);
    assert_eq!(ask(b"staff"), Some((Code::COA_ACK, None)));
    let Some(SessionCommand::SetFilter(Some(filter))) = alice.commands.try_next() else {
        panic!("no filter")
    };
    assert_eq!(filter.name(), "staff");
}
