//! The gateway's end of the control socket.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{debug, info};

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
    path: PathBuf,
    uid: u32,
    gid: u32,
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
                if std::os::unix::net::UnixStream::connect(path).is_ok() {
                    return Err(io::Error::from(io::ErrorKind::AddrInUse));
                }
                fs::remove_file(path)?;
            }
            Ok(_) => return Err(io::Error::from(io::ErrorKind::AlreadyExists)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = StdListener::bind(path)?;
        listener.set_nonblocking(true)?;
        let server = Self {
            listener,
            path: path.to_owned(),
            uid: peer::own_uid(),
            gid: group.map_or_else(|| fs::metadata(path).map(|metadata| metadata.gid()), Ok)?,
        };
        if let Some(group) = group {
            std::os::unix::fs::chown(path, None, Some(group))?;
        }
        fs::set_permissions(path, Permissions::from_mode(0o660))?;
        Ok(server)
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
                continue;
            };
            let requests = requests.clone();
            let (uid, gid) = (self.uid, self.gid);
            connections.spawn(async move {
                if admits(&stream, uid, gid).await
                    && let Err(error) = exchange(stream, requests).await
                {
                    debug!(%error, "a control connection broke");
                }
                drop(permit);
            });
        }
        // Answers that are on their way (to the request that stops us, above all) still go out.
        if tokio::time::timeout(Duration::from_secs(1), async {
            while connections.join_next().await.is_some() {}
        })
        .await
        .is_err()
        {}
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Without it the next start finds a socket without a listener and replaces it.
        if fs::remove_file(&self.path).is_err() {}
    }
}

/// Lets in root, our own user, and members of the socket's group.
async fn admits(stream: &UnixStream, own: u32, group: u32) -> bool {
    let Ok(peer) = stream.peer_cred() else {
        return false;
    };
    let (uid, gid) = (peer.uid(), peer.gid());
    if uid == 0 || uid == own || gid == group {
        return true;
    }
    let member = tokio::task::spawn_blocking(move || peer::is_member(uid, gid, group)).await;
    if matches!(member, Ok(true)) {
        return true;
    }
    info!(
        event = "control_refused",
        uid, "a user who is not in the socket's group asked"
    );
    false
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
            0o660
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
