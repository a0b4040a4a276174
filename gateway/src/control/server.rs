//! The gateway's end of the control socket.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::control::protocol::{Request, Response};
use crate::control::{MAX_REQUEST, MAX_RESPONSE};
use crate::os::peer;
use crate::task::Stop;

/// Administrators that are served at once.
const MAX_CONNECTIONS: usize = 32;
/// For a request to come in and for an answer to go out.
const PATIENCE: Duration = Duration::from_secs(10);

/// A question and where its answer goes.
pub type Asked = (Request, oneshot::Sender<Response>);

/// The control socket; its file disappears with it.
#[derive(Debug)]
pub struct Server {
    listener: StdListener,
    file: Mine,
    door: Door,
}

/// Who may ask: root, the gateway's own user, and the members of a group.
#[derive(Clone, Copy, Debug)]
struct Door {
    uid: u32,
    group: Option<u32>,
}

/// The socket's file, recognised by device and inode: what stands in its place later belongs to somebody else.
#[derive(Debug)]
struct Mine {
    path: PathBuf,
    identity: (u64, u64),
}

impl Mine {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        // Left behind, the next start finds a socket without a listener and replaces it.
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && fs::remove_file(&self.path).is_err()
        {
            debug!("the file of the control socket stays behind");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Server {
    /// Listens on `path`, for root, this user and `group`; a socket that nobody listens on any more is replaced.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made, or another gateway listens on it.
    pub fn bind(path: &Path, group: Option<u32>) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.file_type().is_socket() => {
                if is_alive(path)? {
                    return Err(io::Error::from(io::ErrorKind::AddrInUse));
                }
                fs::remove_file(path)?;
            }
            Ok(_) => return Err(io::Error::from(io::ErrorKind::AlreadyExists)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = StdListener::bind(path)?;
        let file = Mine::of(path)?;
        listener.set_nonblocking(true)?;
        let group = group.filter(|group| give(path, *group));
        let mode = if group.is_some() { 0o660 } else { 0o600 };
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        Ok(Self {
            listener,
            file,
            door: Door {
                uid: peer::own_uid(),
                group,
            },
        })
    }

    /// Passes requests on until the stop.
    pub async fn serve(self, requests: mpsc::Sender<Asked>, mut stop: Stop) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        let listener = self.listener.try_clone().and_then(UnixListener::from_std);
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the control socket cannot be served");
                return stop.stopped().await;
            }
        };
        loop {
            let accepted = tokio::select! {
                () = stop.stopped() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    debug!(%error, "the control socket could not accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                say_at_once(&stream, &Response::Busy);
                continue;
            };
            let requests = requests.clone();
            let door = self.door;
            connections.spawn(async move {
                match door.admits(&stream).await {
                    Ok(()) => {
                        if let Err(error) = exchange(stream, requests).await {
                            debug!(%error, "a control connection broke");
                        }
                    }
                    Err(message) => say_at_once(&stream, &Response::Forbidden { message }),
                }
                drop(permit);
            });
        }
        // Answers that are on their way (to the request that stops us, above all) still go out.
        let answered = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(Duration::from_secs(1), answered)
            .await
            .is_err()
        {
            debug!("an answer did not go out in time");
        }
        drop(self.file);
    }
}

/// Returns whether somebody listens on a socket: only a refusal, or a file that has gone, says that nobody does.
fn is_alive(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
            ) =>
        {
            Ok(false)
        }
        // Its listener is there, and has no room for one more.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

/// Gives the socket to a group; says when that is not allowed.
fn give(path: &Path, group: u32) -> bool {
    match std::os::unix::fs::chown(path, None, Some(group)) {
        Ok(()) => true,
        Err(error) => {
            warn!(
                %error, group,
                "the control socket cannot be given to its group, so only root and the gateway's own user may ask; \
                 make the gateway's user a member of it (SupplementaryGroups= in the unit)"
            );
            false
        }
    }
}

impl Door {
    /// Lets in root, our own user, and members of the socket's group; tells others what to do.
    async fn admits(self, stream: &UnixStream) -> Result<(), String> {
        let peer = stream
            .peer_cred()
            .map_err(|error| format!("the kernel does not say who asks: {error}"))?;
        let (uid, gid) = (peer.uid(), peer.gid());
        if uid == 0 || uid == self.uid || Some(gid) == self.group {
            return Ok(());
        }
        let group = self.group;
        let looked_up = tokio::task::spawn_blocking(move || {
            let is_member = group.is_some_and(|group| peer::is_member(uid, gid, group));
            (!is_member).then(|| peer::user_name(uid))
        });
        let name = match looked_up.await {
            Ok(None) => return Ok(()),
            Ok(Some(name)) => name,
            // Not to know is not to be allowed.
            Err(_) => uid.to_string(),
        };
        info!(
            event = "control_refused",
            uid, "a user who is not in the socket's group asked"
        );
        Err(format!(
            "user {name} may not ask this gateway: ask as root (sudo), or join the socket's group and log in anew (sudo \
             usermod -aG causeway-admin NAME)"
        ))
    }
}

/// Answers somebody who is turned away, without waiting for his question: the answer fits into the socket's buffer.
fn say_at_once(stream: &UnixStream, response: &Response) {
    let Ok(bytes) = serde_json::to_vec(response) else {
        return;
    };
    let Ok(length) = u32::try_from(bytes.len()) else {
        return;
    };
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(bytes);
    if let Err(error) = stream.try_write(&frame) {
        debug!(%error, "somebody who was turned away did not hear it");
    }
}

async fn exchange(mut stream: UnixStream, requests: mpsc::Sender<Asked>) -> io::Result<()> {
    let read = async {
        let length = stream.read_u32().await?;
        if length > MAX_REQUEST {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let mut request = Vec::new();
        (&mut stream)
            .take(u64::from(length))
            .read_to_end(&mut request)
            .await?;
        Ok(request)
    };
    let request = tokio::time::timeout(PATIENCE, read).await??;
    let response = match serde_json::from_slice(&request) {
        Ok(request) => pass_on(request, &requests).await,
        Err(error) => failed(format!("the request is not understood: {error}")),
    };
    let mut bytes = serde_json::to_vec(&response)?;
    if u32::try_from(bytes.len()).is_ok_and(|length| length > MAX_RESPONSE) {
        bytes = serde_json::to_vec(&failed("the answer is too long".to_owned()))?;
    }
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let write = async {
        stream.write_u32(length).await?;
        stream.write_all(&bytes).await?;
        stream.shutdown().await
    };
    tokio::time::timeout(PATIENCE, write).await?
}

async fn pass_on(request: Request, requests: &mpsc::Sender<Asked>) -> Response {
    let (sender, answer) = oneshot::channel();
    if requests.send((request, sender)).await.is_err() {
        return failed("the gateway is stopping".to_owned());
    }
    answer
        .await
        .unwrap_or_else(|_| failed("the gateway is stopping".to_owned()))
}

fn failed(message: String) -> Response {
    Response::Failed {
        code: None,
        message,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use crate::control::client::{self, ClientError};
    use crate::os::testing::as_nobody;
    use crate::task;

    use super::*;

    fn serve(
        path: &Path,
    ) -> (
        mpsc::Receiver<Asked>,
        task::StopHandle,
        tokio::task::JoinHandle<()>,
    ) {
        let (requests, received) = mpsc::channel(4);
        let (handle, stop) = task::stop();
        let server = Server::bind(path, None).unwrap();
        (received, handle, tokio::spawn(server.serve(requests, stop)))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_question_gets_its_answer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let (mut received, handle, task) = serve(&path);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let asker = std::thread::spawn({
            let path = path.clone();
            move || client::ask(&path, &Request::Reload)
        });
        let (request, answer) = received.recv().await.unwrap();
        assert_eq!(request, Request::Reload);
        let response = Response::NotFound {
            what: "x".repeat(200_000),
        };
        answer.send(response.clone()).unwrap();
        assert_eq!(asker.join().unwrap().unwrap(), response);
        handle.stop();
        task.await.unwrap();
        assert!(!path.exists());
        assert!(matches!(
            client::ask(&path, &Request::Status),
            Err(ClientError::Unreachable { .. })
        ));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nonsense_is_answered_and_giants_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let (_received, _handle, _task) = serve(&path);
        let say = move |bytes: Vec<u8>| {
            let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
            stream.write_all(&bytes).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            String::from_utf8(answer.get(4..).unwrap_or_default().to_vec()).unwrap()
        };
        let (nonsense, giant) = tokio::task::spawn_blocking(move || {
            (
                say(b"\0\0\0\x02{}".to_vec()),
                say(b"\xff\xff\xff\xff".to_vec()),
            )
        })
        .await
        .unwrap();
        assert!(nonsense.contains("not understood"), "{nonsense}");
        assert_eq!(giant, "");
    }

    #[test]
    fn a_group_may_open_the_socket_when_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let own = fs::metadata(folder.path()).unwrap().gid();
        let server = Server::bind(&path, Some(own)).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
        assert_eq!((metadata.gid(), server.door.group), (own, Some(own)));
    }

    #[test]
    fn the_file_of_somebody_else_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let first = Server::bind(&path, None).unwrap();
        fs::remove_file(&path).unwrap();
        let second = Server::bind(&path, None).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_more_than_can_be_served_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let (_received, _handle, _task) = serve(&path);
        let answer = tokio::task::spawn_blocking(move || {
            let _idle: Vec<_> = (0..MAX_CONNECTIONS)
                .map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap())
                .collect();
            client::ask(&path, &Request::Status)
        });
        assert_eq!(answer.await.unwrap().unwrap(), Response::Busy);
    }

    #[tokio::test]
    #[ignore = "needs root: a child asks as another user"]
    async fn who_may_not_ask_is_told_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().join("admin.sock");
        let (_received, _handle, _task) = serve(&path);
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        let ask = move || {
            as_nobody(|| match client::ask(&path, &Request::Status) {
                Ok(Response::Forbidden { message }) => message.contains("causeway-admin"),
                _ => false,
            })
        };
        assert!(tokio::task::spawn_blocking(ask).await.unwrap());
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let first = Server::bind(&path, None).unwrap();
        assert_eq!(
            Server::bind(&path, None).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        drop(first);
        fs::write(&path, "a file of somebody").unwrap();
        assert_eq!(
            Server::bind(&path, None).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
    }
}
