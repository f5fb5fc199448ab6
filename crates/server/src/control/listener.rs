//! The control socket of a running server: open to its own user alone, bounded in size and time.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::control::protocol::{Answer, REQUEST_BYTES_MAX, Request};

/// Requests that are worked on at once: the operator is one person with some scripts.
const CONNECTIONS_MAX: usize = 16;

/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// How long an answer may take to leave.
const WRITING: Duration = Duration::from_secs(10);

/// Who answers the operator.
pub trait Control: Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, request: Request) -> BoxFuture<'_, Answer>;
}

/// The socket in the file system; removed when dropped.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    listener: UnixListener,
}

impl ControlSocket {
    /// Makes the socket. One that nobody answers any more is replaced; one that somebody answers
    /// means that another server runs on the same data. Must be called within the runtime.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if StdStream::connect(path).is_ok() {
            let message = format!("another server runs here and answers {}", path.display());
            return Err(io::Error::new(ErrorKind::AddrInUse, message));
        }
        // Made under another name, so that it is never there with the wrong permissions.
        let new = path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&new).map_err(|error| match error.kind() {
            ErrorKind::InvalidInput => io::Error::new(
                ErrorKind::InvalidInput,
                format!("the path {} is too long for a socket; shorten data_dir", path.display()),
            ),
            _ => error,
        })?;
        fs::set_permissions(&new, Permissions::from_mode(0o600))?;
        fs::rename(&new, path)?;
        Ok(Self { path: path.to_owned(), listener })
    }

    /// Answers whoever connects, for ever.
    pub async fn serve(self: Arc<Self>, control: Arc<dyn Control>) {
        let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(seat) = seats.clone().acquire_owned().await else { return };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the control socket cannot accept");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            let control = control.clone();
            tokio::spawn(async move {
                let _seat = seat;
                if let Err(error) = converse(stream, &*control).await {
                    tracing::debug!(%error, "a control connection ended");
                }
            });
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

async fn converse(stream: UnixStream, control: &dyn Control) -> io::Result<()> {
    // The mode of the file keeps others out already; a second lock, should somebody loosen it.
    let peer = stream.peer_cred()?.uid();
    if peer != 0 && peer != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(ErrorKind::PermissionDenied, format!("user {peer}")));
    }
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let most = u64::try_from(REQUEST_BYTES_MAX).unwrap_or(u64::MAX);
        let mut limited = (&mut stream).take(most);
        timeout(SILENCE, limited.read_until(b'\n', &mut line)).await??;
        if line.is_empty() {
            return Ok(());
        }
        let request = match line.ends_with(b"\n") {
            true => serde_json::from_slice(&line).map_err(|error| error.to_string()),
            false => Err("the request is too long or was cut".to_owned()),
        };
        zeroize::Zeroize::zeroize(&mut line);
        let (answer, last) = match request {
            Ok(request) => (control.answer(request).await, false),
            Err(message) => {
                let message = format!("this is no request: {message}");
                (Answer::Refused { message }, true)
            }
        };
        let mut text = serde_json::to_vec(&answer)?;
        text.push(b'\n');
        timeout(WRITING, stream.write_all(&text)).await??;
        if last {
            return Ok(());
        }
    }
}
