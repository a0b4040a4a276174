//! FreeRADIUS as the other side: its server reads our accounting, its client ends and changes our sessions.

use super::*;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use causeway::dynauth;
use causeway::session::{Commands, SessionCommand, lifetime};
use causeway::task;
use causeway_proto::crypto::Rng;
use causeway_proto::ip::filter::Filter;
use causeway_proto::terminate::TerminateCause;

/// The server, which ends with the test.
struct FreeRadius(Child);

impl Drop for FreeRadius {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().ok();
    }
}

/// Starts FreeRADIUS with nothing but accounting to a `detail` file.
fn free_radius(folder: &Path) -> Option<(FreeRadius, SocketAddr)> {
    let program = ["/usr/sbin/freeradius", "/usr/sbin/radiusd"]
        .into_iter()
        .find(|path| Path::new(path).exists())?;
    let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let secret = std::str::from_utf8(SECRET).unwrap();
    let at = folder.display();
    let text = format!(
        "prefix = /usr\nlogdir = {at}\nraddbdir = {at}\nlibdir = /usr/lib/freeradius\n\
         max_requests = 16384\n\
         security {{\n allow_vulnerable_openssl = yes\n}}\n\
         client here {{\n ipaddr = 127.0.0.1\n secret = \"{secret}\"\n}}\n\
         modules {{\n detail {{\n  filename = {at}/detail\n  header = \"%t\"\n }}\n}}\n\
         server default {{\n listen {{\n  type = acct\n  ipaddr = 127.0.0.1\n  port = {}\n }}\n \
         preacct {{\n }}\n accounting {{\n  detail\n }}\n}}\n",
        address.port()
    );
    fs::write(folder.join("radiusd.conf"), text).unwrap();
    let child = Command::new(program)
        .args(["-f", "-l", "stdout", "-d"])
        .arg(folder)
        .args(["-n", "radiusd"])
        .stdout(Stdio::from(fs::File::create(folder.join("log")).unwrap()))
        .spawn()
        .unwrap();
    Some((FreeRadius(child), address))
}

/// The requests in the file: name to value, the names being FreeRADIUS's own.
pub(crate) fn detail(folder: &Path) -> Vec<HashMap<String, String>> {
    let text = fs::read_to_string(folder.join("detail")).unwrap_or_default();
    text.split("\n\n")
        .map(|block| {
            block
                .lines()
                .filter_map(|line| line.strip_prefix('\t')?.split_once(" = "))
                .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
                .collect::<HashMap<_, _>>()
        })
        .filter(|request| request.contains_key("Acct-Session-Id"))
        .collect()
}

#[tokio::test]
#[ignore = "needs FreeRADIUS"]
async fn free_radius_reads_what_we_report() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_server, address)) = free_radius(folder.path()) else {
        println!("skipped: no FreeRADIUS");
        return;
    };
    let gateway = Gateway::start(config(&[address], &folder.path().join("acct.queue")));
    let mut expected = HashMap::new();
    for number in 0..500u32 {
        let (mut guard, activity, session) = gateway.up(number, 1);
        let octets = u64::from(number) << 28 | 5;
        activity.add_up(1, octets, 1);
        guard.set_cause(TerminateCause::UserRequest);
        drop((guard, activity));
        expected.insert(session, octets);
    }
    // It may take a moment until the server listens.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        if detail(folder.path()).len() > 1_000 {
            break;
        }
    }
    gateway.accounting.finish().await;
    let requests = detail(folder.path());
    let named = |status: &str| -> HashSet<&String> {
        requests
            .iter()
            .filter(|request| request["Acct-Status-Type"] == status)
            .map(|request| &request["Acct-Session-Id"])
            .collect()
    };
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert_eq!(named("Start"), expected.keys().collect(), "{log}");
    assert_eq!(named("Stop"), expected.keys().collect());
    assert_eq!(named("Accounting-On").len(), 1);
    assert_eq!(named("Accounting-Off").len(), 1);
    for request in requests
        .iter()
        .filter(|request| request["Acct-Status-Type"] == "Stop")
    {
        let number = |name: &str| request[name].parse::<u64>().unwrap();
        let octets = number("Acct-Input-Gigawords") << 32 | number("Acct-Input-Octets");
        assert_eq!(octets, expected[&request["Acct-Session-Id"]]);
        assert_eq!(request["Acct-Terminate-Cause"], "User-Request");
        assert_eq!(request["Acct-Authentic"], "RADIUS");
        assert_eq!(request["NAS-Port-Type"], "Virtual");
        assert_eq!(request["NAS-Identifier"], "gw-test");
        assert_eq!(request["Service-Type"], "Framed-User");
        assert_eq!(request["Calling-Station-Id"], "198.51.100.7");
        assert_eq!(request["MS-Acct-Auth-Type"], "MS-CHAP-2");
        assert!(request["Framed-IP-Address"].starts_with("10.0."));
        assert!(request.contains_key("Event-Timestamp"));
    }
}

/// Stands between gateways and the server, and loses so many of 256 answers.
fn lossy(server: SocketAddr, share: u8) -> SocketAddr {
    let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = front.local_addr().unwrap();
    front.set_nonblocking(true).unwrap();
    let mut dice = Rng::from_seed(&[9; 32]);
    // It ends with the process.
    std::thread::spawn(move || {
        let mut behind: HashMap<SocketAddr, UdpSocket> = HashMap::new();
        let mut buffer = [0; 4096];
        loop {
            let mut idle = true;
            while let Ok((len, from)) = front.recv_from(&mut buffer) {
                idle = false;
                let socket = behind.entry(from).or_insert_with(|| {
                    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                    socket.connect(server).unwrap();
                    socket.set_nonblocking(true).unwrap();
                    socket
                });
                socket.send(&buffer[..len]).unwrap_or_default();
            }
            for (client, socket) in &behind {
                while let Ok(len) = socket.recv(&mut buffer) {
                    idle = false;
                    if dice.u8() >= share {
                        front.send_to(&buffer[..len], client).unwrap_or_default();
                    }
                }
            }
            if idle {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    address
}

/// Gateways that are killed, answers that get lost, and what FreeRADIUS wrote down: ten thousand sessions, or fifty
/// thousand with `CAUSEWAY_INTEROP_LONG=1`.
#[test]
#[ignore = "needs FreeRADIUS; ten thousand sessions"]
fn free_radius_has_a_start_and_a_stop_of_each_of_ten_thousand_sessions() {
    let each = if is_long() { 20_000 } else { 4_000 };
    let folder = tempfile::tempdir().unwrap();
    let Some((_server, address)) = free_radius(folder.path()) else {
        println!("skipped: no FreeRADIUS");
        return;
    };
    let server = lossy(address, 51);
    let queue = folder.path().join("acct.queue");
    let mut counted = kills::run(server, &queue, 1, (each, each / 4 * 3));
    counted.extend(kills::run(server, &queue, 2, (each, each / 8 * 7)));
    counted.extend(kills::run(server, &queue, 3, (each, each + 1)));
    // What was left goes with others that have nothing of their own.
    for _ in 0..3 {
        kills::send_the_rest(address, &queue);
    }
    let requests = detail(folder.path());
    let of = |status: &'static str| {
        requests
            .iter()
            .filter(move |request| request["Acct-Status-Type"] == status)
    };
    let started: HashSet<&String> = of("Start").map(|r| &r["Acct-Session-Id"]).collect();
    let stopped: HashSet<&String> = of("Stop").map(|r| &r["Acct-Session-Id"]).collect();
    assert_eq!(started, stopped);
    let all = usize::try_from(each).unwrap() / 2 * 5;
    assert!(started.len() > all, "{}", started.len());
    let mut cut_off = 0;
    let mut seen = HashSet::new();
    for stop in of("Stop").filter(|stop| seen.insert(&stop["Acct-Session-Id"])) {
        let number = |name: &str| stop[name].parse::<u64>().unwrap();
        let octets = number("Acct-Input-Gigawords") << 32 | number("Acct-Input-Octets");
        let truth = counted[&stop["Acct-Session-Id"]];
        if stop["Acct-Terminate-Cause"] == "NAS-Error" {
            cut_off += 1;
            assert!(octets <= truth);
        } else {
            assert_eq!(octets, truth);
        }
    }
    println!(
        "{} sessions, {} requests, {cut_off} cut off by two kills",
        started.len(),
        requests.len()
    );
    assert!(cut_off < 500, "{cut_off}");
}

const COA_SECRET: &str = "a coa secret";

/// A gateway with a listener, and a session whose orders can be seen.
struct Dynamic {
    gateway: Gateway,
    address: SocketAddr,
    _stop: task::StopHandle,
}

impl Dynamic {
    fn start(clients: &str) -> Self {
        let limits = TableLimits {
            sessions: 100,
            per_user: 100,
            pending: 100,
        };
        let (table, changes) = SessionTable::new(limits);
        let net = "10.0.0.0/16".parse().unwrap();
        let gateway = PoolConfig::first_usable(net);
        let pool = PoolConfig::new("users", &[net], &[], gateway, Duration::ZERO).unwrap();
        tokio::spawn(lifetime::run(Arc::clone(&table), changes, || 0));
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let config = dynauth::Config {
            clients: vec![clients.parse().unwrap()],
            secret: COA_SECRET.as_bytes().into(),
            nas: Nas {
                identifier: "gw-test".into(),
                ..Nas::default()
            },
        };
        let (handle, stop) = task::stop();
        let listener = {
            let filters = dynauth::Filters::new(|name| {
                (name == "staff").then(|| Arc::new(Filter::new(name, &[], &[])))
            });
            dynauth::Listener::new(socket, config, Arc::clone(&table), filters).unwrap()
        };
        tokio::spawn(listener.run(stop));
        Self {
            gateway: Gateway {
                accounting: Accounting::off(),
                table,
                pool: Arc::new(AddressPool::new(pool)),
            },
            address,
            _stop: handle,
        }
    }

    fn up(&self, number: u32, user: &str) -> (SessionGuard, Commands) {
        let user = Identity::new(user.as_bytes()).unwrap();
        let (mut guard, commands) = self
            .gateway
            .table
            .register(Session {
                id: SessionId::new(number),
                user: user.clone(),
                protocol: TunnelKind::Sstp,
                remote: "198.51.100.7:50123".parse().unwrap(),
                correlation: None,
                activity: Arc::default(),
            })
            .unwrap();
        let id = guard.id().accounting_id(1);
        guard.update(|facts| facts.accounting = Some(id));
        let lease = self.gateway.pool.lease(&user, None, None).unwrap();
        let limits = Limits::default();
        guard
            .admit(Admitted {
                user,
                lease,
                limits,
            })
            .unwrap();
        guard.set_up();
        (guard, commands)
    }

    /// Asks with `radclient`; returns what it says.
    async fn radclient(&self, command: &str, secret: &str, attributes: &str) -> String {
        let (address, command, secret) = (
            self.address.to_string(),
            command.to_owned(),
            secret.to_owned(),
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), attributes).unwrap();
        tokio::task::spawn_blocking(move || {
            let output = Command::new("radclient")
                .args(["-x", "-r", "1", "-t", "1", "-f"])
                .arg(file.path())
                .args([&address, &command, &secret])
                .output()
                .unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr)
        })
        .await
        .unwrap()
    }
}

/// Returns whether FreeRADIUS's client is not here, and says so.
fn no_radclient() -> bool {
    let missing = Command::new("radclient").arg("-v").output().is_err();
    if missing {
        println!("skipped: no radclient");
    }
    missing
}

fn signed(attributes: &str, age: u64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    format!(
        "{attributes}\nEvent-Timestamp = {}\nMessage-Authenticator = 0x00\n",
        now - age
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs radclient"]
async fn radclient_ends_a_session_by_id_user_and_address() {
    if no_radclient() {
        return;
    }
    let gateway = Dynamic::start("127.0.0.1/32");
    let (bob, mut to_bob) = gateway.up(2, "bob");
    for row in 0..3 {
        let (alice, mut to_alice) = gateway.up(1, "alice");
        let view = alice.view().unwrap();
        let name = match row {
            0 => format!("Acct-Session-Id = \"{}\"", view.facts.accounting.unwrap()),
            1 => "User-Name = \"alice\"".to_owned(),
            _ => format!("Framed-IP-Address = {}", view.address.unwrap()),
        };
        let said = gateway
            .radclient("disconnect", COA_SECRET, &signed(&name, 0))
            .await;
        assert!(said.contains("Received Disconnect-ACK"), "{said}");
        let end = SessionCommand::Terminate(TerminateCause::DynamicAuthorization);
        assert_eq!(to_alice.try_next(), Some(end), "{name}");
    }
    let said = gateway
        .radclient("disconnect", COA_SECRET, &signed("User-Name = carol", 0))
        .await;
    assert!(said.contains("Received Disconnect-NAK"), "{said}");
    assert!(
        said.contains("Error-Cause = Session-Context-Not-Found"),
        "{said}"
    );
    assert_eq!(to_bob.try_next(), None);
    drop(bob);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs radclient"]
async fn radclient_is_not_heard_with_a_wrong_secret_an_old_clock_or_from_elsewhere() {
    if no_radclient() {
        return;
    }
    let gateway = Dynamic::start("127.0.0.1/32");
    let (_alice, mut to_alice) = gateway.up(1, "alice");
    let name = "User-Name = \"alice\"";
    let fresh = signed(name, 0);
    for (secret, attributes) in [
        ("another secret", fresh.clone()),
        (COA_SECRET, signed(name, 400)),
    ] {
        let said = gateway.radclient("disconnect", secret, &attributes).await;
        assert!(said.contains("No reply"), "{said}");
    }
    let elsewhere = Dynamic::start("127.0.0.2/32");
    let (_other, mut to_other) = elsewhere.up(1, "alice");
    let said = elsewhere.radclient("disconnect", COA_SECRET, &fresh).await;
    assert!(said.contains("No reply"), "{said}");
    assert_eq!(to_other.try_next(), None);
    assert_eq!(to_alice.try_next(), None);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs radclient"]
async fn radclient_shortens_a_session() {
    if no_radclient() {
        return;
    }
    let gateway = Dynamic::start("127.0.0.1/32");
    let (_alice, mut to_alice) = gateway.up(1, "alice");
    let change = signed("User-Name = \"alice\"\nSession-Timeout = 1", 0);
    let said = gateway.radclient("coa", COA_SECRET, &change).await;
    assert!(said.contains("Received CoA-ACK"), "{said}");
    let begun = Instant::now();
    let order = to_alice.next().await;
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(
        order,
        Some(SessionCommand::Terminate(TerminateCause::SessionTimeout))
    );
    let filter = |name: &str| signed(&format!("User-Name = \"bob\"\nFilter-Id = \"{name}\""), 0);
    let (_bob, mut to_bob) = gateway.up(2, "bob");
    let said = gateway.radclient("coa", COA_SECRET, &filter("staff")).await;
    assert!(said.contains("Received CoA-ACK"), "{said}");
    let Some(SessionCommand::SetFilter(Some(set))) = to_bob.next().await else {
        panic!("no filter")
    };
    assert_eq!(set.name(), "staff");
    let said = gateway
        .radclient("coa", COA_SECRET, &filter("nobody"))
        .await;
    assert!(
        said.contains("Error-Cause = Invalid-Attribute-Value"),
        "{said}"
    );
}
