//! FreeRADIUS over TLS (RFC 6614): log-ins and records on one port, by certificates on both sides.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use causeway::radius::{self, RadiusResult, StatusServer, Tls, Transport};
use causeway_proto::aaa::Credentials;
use harness::authority::Authority;
use tokio::time::sleep;

use super::oracle::detail;
use super::*;

struct FreeRadius {
    child: Option<Child>,
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Drop for FreeRadius {
    fn drop(&mut self) {
        self.stop();
    }
}

impl FreeRadius {
    /// Writes its files and starts it; `None` when there is none here.
    fn start(authority: &Authority) -> Option<Self> {
        ["/usr/sbin/freeradius", "/usr/sbin/radiusd"]
            .into_iter()
            .find(|path| Path::new(path).exists())?;
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = port.local_addr().unwrap();
        drop(port);
        let (certificate, key) = authority.issue("radius.example.com");
        let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        file("ca.pem", &authority.pem());
        file("server.pem", &certificate);
        file("server.key", &key);
        file("users", "alice Cleartext-Password := \"wonderland\"\n");
        let at = folder.path().display();
        file(
            "radiusd.conf",
            &format!(
                "prefix = /usr\nlogdir = {at}\nraddbdir = {at}\nlibdir = /usr/lib/freeradius\nrun_dir = {at}\n\
                 max_requests = 16384\n\
                 security {{\n allow_vulnerable_openssl = yes\n status_server = yes\n}}\n\
                 thread pool {{\n start_servers = 2\n max_servers = 4\n}}\n\
                 clients radsec {{\n client here {{\n  ipaddr = 127.0.0.1\n  proto = tls\n  secret = radsec\n }}\n}}\n\
                 modules {{\n pap {{\n }}\n files {{\n  usersfile = {at}/users\n }}\n detail {{\n  filename = {at}/detail\n  header = \"%t\"\n }}\n}}\n\
                 server default {{\n listen {{\n  type = auth+acct\n  ipaddr = 127.0.0.1\n  port = {}\n  proto = tcp\n  clients = radsec\n  \
                 tls {{\n   private_key_file = {at}/server.key\n   certificate_file = {at}/server.pem\n   ca_file = {at}/ca.pem\n   \
                 require_client_cert = yes\n   tls_min_version = \"1.2\"\n   tls_max_version = \"1.2\"\n  }}\n }}\n \
                 authorize {{\n  files\n  pap\n }}\n authenticate {{\n  pap\n }}\n preacct {{\n }}\n accounting {{\n  detail\n }}\n}}\n",
                address.port()
            ),
        );
        let mut server = Self {
            child: None,
            folder,
            address,
        };
        server.launch();
        Some(server)
    }

    fn launch(&mut self) {
        let program = if Path::new("/usr/sbin/freeradius").exists() {
            "/usr/sbin/freeradius"
        } else {
            "/usr/sbin/radiusd"
        };
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let child = Command::new(program)
            .args(["-fxx", "-l", "stdout", "-d"])
            .arg(self.folder.path())
            .args(["-n", "radiusd"])
            .stdout(Stdio::from(log))
            .spawn()
            .unwrap();
        self.child = Some(child);
        let begun = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap_or_default();
            child.wait().ok();
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Settings of a client that expects this name.
    fn tls(authority: &Authority, name: &str) -> Tls {
        let (certificate, key) = authority.issue("gateway.example.com");
        let identity = (certificate.as_bytes(), key.as_bytes());
        Tls::from_pem(authority.pem().as_bytes(), Some(identity), name).unwrap()
    }

    fn client(&self, tls: Tls) -> Transport {
        let config = radius::Config {
            servers: vec![radius::Server {
                name: "cloud".into(),
                address: self.address.ip(),
                auth_port: self.address.port(),
                secret: b"radsec".as_slice().into(),
                source: None,
                status: StatusServer::Auto,
                tls: Some(tls),
            }],
            ..radius::Config::default()
        };
        let (transport, driver) = Transport::new(config).unwrap();
        tokio::spawn(driver.run());
        transport
    }
}

async fn log_in(client: &Transport, password: &str, seconds: u64) -> RadiusResult {
    let credentials = Credentials::Pap {
        user: Identity::new(b"alice").unwrap(),
        password: password.as_bytes().into(),
    };
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let reply = client
        .request(&applicant("0a2b3c4d".into()), credentials, deadline)
        .await;
    reply.unwrap().completion.result
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs FreeRADIUS"]
async fn free_radius_takes_log_ins_and_records_over_tls_and_may_restart() {
    let authority = Authority::new();
    let Some(mut server) = FreeRadius::start(&authority) else {
        println!("skipped: no FreeRADIUS");
        return;
    };
    let tls = FreeRadius::tls(&authority, "radius.example.com");
    let client = server.client(tls.clone());
    let accepted = log_in(&client, "wonderland", 20).await;
    assert_eq!(accepted, RadiusResult::Accept, "{}", server.log());
    let refused = log_in(&client, "nope", 20).await;
    assert_eq!(refused, RadiusResult::RejectFast, "{}", server.log());

    let mut config = config(&[server.address], &server.folder.path().join("acct.queue"));
    config.servers[0].secret = b"radsec".as_slice().into();
    config.servers[0].tls = Some(tls);
    let gateway = Gateway::start(config);
    let (first, _, _) = gateway.up(1, 1_700_000_000);
    let (second, activity, _) = gateway.up(2, 1_700_000_000);
    activity.add_up(2, 5 << 32 | 7, 1);
    let written = async |count: usize| {
        for _ in 0..200 {
            if detail(server.folder.path()).len() >= count {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    written(3).await;
    drop(first);
    written(4).await;
    assert_eq!(detail(server.folder.path()).len(), 4, "{}", server.log());

    server.stop();
    drop(second);
    sleep(Duration::from_millis(300)).await;
    server.launch();
    let again = log_in(&client, "wonderland", 30).await;
    assert_eq!(again, RadiusResult::Accept, "{}", server.log());
    for _ in 0..200 {
        if detail(server.folder.path()).len() >= 5 {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    gateway.accounting.finish().await;
    let records = detail(server.folder.path());
    let kinds: Vec<_> = records
        .iter()
        .map(|r| r["Acct-Status-Type"].as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "Accounting-On",
            "Start",
            "Start",
            "Stop",
            "Stop",
            "Accounting-Off"
        ],
        "{}",
        server.log()
    );
    assert_eq!(records[4]["Acct-Input-Gigawords"], "5");

    // A server that is not whom it should be is asked nothing.
    let stranger = server.client(FreeRadius::tls(&authority, "other.example.com"));
    let result = log_in(&stranger, "wonderland", 3).await;
    assert_eq!(result, RadiusResult::Unreachable);
    let unknown = Authority::new();
    let stranger = server.client(FreeRadius::tls(&unknown, "radius.example.com"));
    let result = log_in(&stranger, "wonderland", 3).await;
    assert_eq!(result, RadiusResult::Unreachable);
}
