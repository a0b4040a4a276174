//! RADIUS over TLS (RFC 6614) against a server with rustls.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use causeway::radius::{
    Config, Exam, ExamError, RadiusResult, Reply, Server, StatusServer, Tls, Transport,
};
use causeway_proto::aaa::{Applicant, Credentials, Identity, TunnelKind};
use causeway_proto::radius::authenticator::{
    EMPTY_MESSAGE_AUTHENTICATOR, MessageAuthenticator, sign_reply, verify_message_authenticator,
};
use causeway_proto::radius::{AttributeList, AttributeType, Code, Packet};
use causeway_proto::wire::Decode;
use harness::authority::Authority;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const SECRET: &[u8] = b"radsec";

/// What the server saw and does.
#[derive(Default)]
struct Book {
    connections: usize,
    /// Every request with the connection that it came over.
    requests: Vec<(usize, Vec<u8>)>,
    /// The user at whose request the connection breaks, once.
    breaks_at: Option<Vec<u8>>,
    /// How long a request waits until the connection breaks instead of an answer, each time.
    hangs_up: Option<Duration>,
    /// Answers in pieces of this size.
    piece: usize,
}

struct TestServer {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
}

impl TestServer {
    async fn start(authority: &Authority) -> Self {
        let config = authority.server("radius.example.com");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let book = Arc::new(Mutex::new(Book {
            piece: usize::MAX,
            ..Book::default()
        }));
        tokio::spawn({
            let book = book.clone();
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (acceptor, book) = (acceptor.clone(), book.clone());
                    tokio::spawn(async move {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            // The client may break it off.
                            let _ = serve(stream, &book).await;
                        }
                    });
                }
            }
        });
        Self { address, book }
    }

    fn config(&self, authority: &Authority, identity: Option<&Authority>) -> Config {
        let identity = identity.map(|issuer| issuer.issue("gateway.example.com"));
        let tls = Tls::from_pem(
            authority.pem().as_bytes(),
            identity.as_ref().map(|(c, k)| (c.as_bytes(), k.as_bytes())),
            "radius.example.com",
        );
        Config {
            servers: vec![Server {
                name: "cloud".into(),
                address: self.address.ip(),
                auth_port: self.address.port(),
                secret: SECRET.into(),
                source: None,
                status: StatusServer::Off,
                tls: Some(tls.unwrap()),
            }],
            // Copies would go out all the time, if TLS needed any.
            retransmit: (1..40).map(|n| Duration::from_millis(50 * n)).collect(),
            ..Config::default()
        }
    }

    fn client(&self, authority: &Authority, identity: Option<&Authority>) -> Transport {
        let config = self.config(authority, identity);
        let (transport, driver) = Transport::new(config).unwrap();
        tokio::spawn(driver.run());
        transport
    }
}

async fn serve(
    mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    book: &Mutex<Book>,
) -> std::io::Result<()> {
    let connection = {
        let mut book = book.lock().unwrap();
        book.connections += 1;
        book.connections
    };
    // The answer that comes only with the next one.
    let mut held = Vec::new();
    loop {
        let mut request = vec![0; 4];
        stream.read_exact(&mut request).await?;
        let len = u16::from_be_bytes([request[2], request[3]]).into();
        request.resize(len, 0);
        stream.read_exact(&mut request[4..]).await?;
        let packet = Packet::decode_exact(&request).unwrap();
        let authentic = verify_message_authenticator(&packet, &packet.authenticator, SECRET);
        assert_eq!(authentic, Ok(MessageAuthenticator::Verified));
        let user = packet
            .attributes()
            .map(Result::unwrap)
            .find(|a| a.kind == AttributeType::USER_NAME);
        let user = user.unwrap().value.to_vec();
        let (piece, hangs_up) = {
            let mut book = book.lock().unwrap();
            book.requests.push((connection, request.clone()));
            if book.breaks_at.as_ref() == Some(&user) {
                book.breaks_at = None;
                return Ok(());
            }
            (book.piece, book.hangs_up)
        };
        if let Some(after) = hangs_up {
            tokio::time::sleep(after).await;
            return Ok(());
        }
        let code = if user.starts_with(b"user") {
            Code::ACCESS_ACCEPT
        } else {
            Code::ACCESS_REJECT
        };
        let mut list = AttributeList::new();
        list.push(
            AttributeType::MESSAGE_AUTHENTICATOR,
            &EMPTY_MESSAGE_AUTHENTICATOR,
        );
        let attributes = list.finish().unwrap();
        let (identifier, authenticator) = (packet.identifier, &packet.authenticator);
        let reply = sign_reply(code, identifier, attributes, authenticator, SECRET).unwrap();
        if user == b"user-slow" {
            held.extend(reply);
            continue;
        }
        let reply = [std::mem::take(&mut held), reply].concat();
        for part in reply.chunks(piece.min(reply.len())) {
            stream.write_all(part).await?;
            stream.flush().await?;
        }
    }
}

fn applicant() -> Applicant {
    Applicant {
        nas_port: 7,
        ..Applicant::new(
            TunnelKind::Sstp,
            "198.51.100.7:50123".parse().unwrap(),
            "203.0.113.4:443".parse().unwrap(),
            "0a2b3c4d".into(),
        )
    }
}

fn credentials(user: &str) -> Credentials {
    Credentials::Pap {
        user: Identity::new(user.as_bytes()).unwrap(),
        password: b"wonderland".as_slice().into(),
    }
}

async fn ask(transport: &Transport, user: &str) -> Reply {
    let deadline = Instant::now() + Duration::from_secs(58);
    transport
        .request(&applicant(), credentials(user), deadline)
        .await
        .unwrap()
}

async fn result(transport: &Transport, user: &str) -> RadiusResult {
    ask(transport, user).await.completion.result
}

#[tokio::test]
async fn logins_go_over_one_connection() {
    let authority = Authority::new();
    let server = TestServer::start(&authority).await;
    let client = server.client(&authority, Some(&authority));
    assert_eq!(result(&client, "user1").await, RadiusResult::Accept);
    assert_eq!(result(&client, "mallory").await, RadiusResult::RejectFast);
    server.book.lock().unwrap().piece = 3;
    assert_eq!(result(&client, "user2").await, RadiusResult::Accept);
    let book = server.book.lock().unwrap();
    assert_eq!((book.connections, book.requests.len()), (1, 3));
}

#[tokio::test]
async fn each_connection_has_its_own_identifiers() {
    let authority = Authority::new();
    let server = TestServer::start(&authority).await;
    let client = server.client(&authority, Some(&authority));
    let mut all = tokio::task::JoinSet::new();
    for n in 0..300 {
        let client = client.clone();
        all.spawn(async move { result(&client, &format!("user{n}")).await });
    }
    while let Some(result) = all.join_next().await {
        assert_eq!(result.unwrap(), RadiusResult::Accept);
    }
    let book = server.book.lock().unwrap();
    assert_eq!(book.requests.len(), 300, "nothing is sent twice");
    assert!((1..=2).contains(&book.connections));
}

#[tokio::test]
async fn what_was_in_flight_goes_out_again_on_a_new_connection() {
    let authority = Authority::new();
    let server = TestServer::start(&authority).await;
    let client = server.client(&authority, Some(&authority));
    assert_eq!(result(&client, "user1").await, RadiusResult::Accept);
    server.book.lock().unwrap().breaks_at = Some(b"user2".to_vec());
    assert_eq!(result(&client, "user2").await, RadiusResult::Accept);
    let book = server.book.lock().unwrap();
    let mut copies: HashMap<&Vec<u8>, Vec<usize>> = HashMap::new();
    for (connection, request) in &book.requests {
        copies.entry(request).or_default().push(*connection);
    }
    let mut seen: Vec<_> = copies.into_values().collect();
    seen.sort();
    assert_eq!(seen, [vec![1], vec![1, 2]], "the same octets on both");
}

/// Asks about a log-in whose answer is held back, and leaves when the server has the request.
async fn ask_and_leave(client: &Transport, server: &TestServer) {
    let before = server.book.lock().unwrap().requests.len();
    tokio::select! {
        _ = ask(client, "user-slow") => unreachable!("it is not answered"),
        () = async {
            while server.book.lock().unwrap().requests.len() == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        } => {}
    }
}

#[tokio::test]
async fn what_nobody_waits_for_does_not_go_out_again() {
    let authority = Authority::new();
    let server = TestServer::start(&authority).await;
    let client = server.client(&authority, Some(&authority));
    assert_eq!(result(&client, "user1").await, RadiusResult::Accept);
    ask_and_leave(&client, &server).await;
    server.book.lock().unwrap().breaks_at = Some(b"user2".to_vec());
    assert_eq!(result(&client, "user2").await, RadiusResult::Accept);
    let connections: Vec<_> = {
        let book = server.book.lock().unwrap();
        book.requests.iter().map(|(number, _)| *number).collect()
    };
    assert_eq!(
        connections,
        [1, 1, 1, 2],
        "only the last log-in is on both connections"
    );
}

#[tokio::test]
async fn a_late_answer_is_known_though_its_request_is_forgotten() {
    let authority = Authority::new();
    let server = TestServer::start(&authority).await;
    let client = server.client(&authority, Some(&authority));
    let late = Arc::new(Mutex::new(Vec::new()));
    client.on_late({
        let late = late.clone();
        move |login, _| late.lock().unwrap().push(login.user.as_bytes().to_vec())
    });
    ask_and_leave(&client, &server).await;
    // The held answer comes before this one.
    assert_eq!(result(&client, "user2").await, RadiusResult::Accept);
    assert_eq!(*late.lock().unwrap(), [b"user-slow".to_vec()]);
}

#[tokio::test]
async fn a_server_that_always_hangs_up_sees_few_copies() {
    let authority = Authority::new();
    // At once, and after so long that the connection seemed to be one.
    let run = async |hangs_up| {
        let server = TestServer::start(&authority).await;
        server.book.lock().unwrap().hangs_up = Some(Duration::from_millis(hangs_up));
        let client = server.client(&authority, Some(&authority));
        let deadline = Instant::now() + Duration::from_millis(7_500);
        let reply = client
            .request(&applicant(), credentials("user1"), deadline)
            .await
            .unwrap();
        assert_ne!(reply.completion.result, RadiusResult::Accept);
        let book = server.book.lock().unwrap();
        let (_, first) = book.requests.first().unwrap();
        assert!(book.requests.iter().all(|(_, request)| request == first));
        assert!((2..=3).contains(&book.requests.len()), "{hangs_up} ms");
    };
    tokio::join!(run(10), run(1_100));
}

#[tokio::test]
async fn strangers_are_not_asked_and_not_answered() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = TestServer::start(&authority).await;
    // The server is not whom we trust; we are not whom it trusts; we show nothing.
    let clients = [
        server.client(&other, Some(&authority)),
        server.client(&authority, Some(&other)),
        server.client(&authority, None),
    ];
    let mut all = tokio::task::JoinSet::new();
    for client in clients {
        all.spawn(async move {
            let result = result(&client, "user1").await;
            (result, client.health().iter().any(|server| server.alive))
        });
    }
    while let Some(one) = all.join_next().await {
        assert_eq!(one.unwrap(), (RadiusResult::Unreachable, false));
    }
    assert!(server.book.lock().unwrap().requests.is_empty());
}

/// Questions the server as `doctor radius` does; it blocks.
async fn examine(config: Config, users: &'static [&str]) -> Result<Vec<RadiusResult>, ExamError> {
    tokio::task::spawn_blocking(move || {
        let mut exam = Exam::new(&config)?;
        assert!(
            exam.protection()
                .is_some_and(|what| what.starts_with("TLS"))
        );
        let mut results = Vec::new();
        for user in users {
            let limit = Duration::from_secs(10);
            let seen = exam.ask(&applicant(), &credentials(user), limit, &mut |_| {})?;
            assert!(seen.reply.is_some() || seen.refused);
            results.push(seen.completion.unwrap().result);
        }
        Ok(results)
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn the_doctor_questions_over_tls_and_is_as_strict() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = TestServer::start(&authority).await;
    let config = server.config(&authority, Some(&authority));
    server.book.lock().unwrap().piece = 3;
    let results = examine(config, &["user1", "mallory"]).await.unwrap();
    assert_eq!(results, [RadiusResult::Accept, RadiusResult::RejectFast]);
    let config = server.config(&other, Some(&authority));
    let error = examine(config, &["user1"]).await.unwrap_err();
    assert!(matches!(error, ExamError::Socket { .. }), "{error}");
    // With TLS 1.3 it is the first answer that shows that the server does not believe us.
    let config = server.config(&authority, None);
    let results = examine(config, &["user1"]).await.unwrap();
    assert_eq!(results, [RadiusResult::Unreachable]);
    assert_eq!(server.book.lock().unwrap().requests.len(), 2);
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let authority = Authority::new();
    let server = TestServer {
        address: {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        },
        book: Arc::default(),
    };
    let client = server.client(&authority, Some(&authority));
    assert_eq!(result(&client, "user1").await, RadiusResult::Unreachable);
}
