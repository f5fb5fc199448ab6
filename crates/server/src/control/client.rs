//! The operator's end of the control socket.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::control::protocol::{ANSWER_BYTES_MAX, Answer, Request};

/// How long an answer is waited for: a reload reads files, a stop waits for sessions to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug)]
pub enum ControlError {
    /// No server runs on this data.
    NotRunning(PathBuf),
    /// A server runs, but as another user.
    Forbidden(PathBuf),
    /// The server has answered that it will not.
    Refused(String),
    /// The connection failed.
    Io(io::Error),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning(path) => write!(
                f,
                "no server is running with this config (nobody answers {}); \
                 is --config the one it was started with?",
                path.display()
            ),
            Self::Forbidden(path) => write!(
                f,
                "{} belongs to another user; run this command as the user of the server",
                path.display()
            ),
            Self::Refused(message) => f.write_str(message),
            Self::Io(error) => write!(f, "the server does not answer: {error}"),
        }
    }
}

impl std::error::Error for ControlError {}

impl From<io::Error> for ControlError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A connection to a running server.
#[derive(Debug)]
pub struct ControlClient {
    stream: BufReader<UnixStream>,
}

impl ControlClient {
    /// Connects to the server that runs on a data directory.
    pub fn connect(path: &Path) -> Result<Self, ControlError> {
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                ControlError::NotRunning(path.to_owned())
            }
            ErrorKind::PermissionDenied => ControlError::Forbidden(path.to_owned()),
            _ => ControlError::Io(error),
        })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Asks and waits for the answer; a refusal is an error.
    pub fn ask(&mut self, request: &Request) -> Result<Answer, ControlError> {
        let mut text = Zeroizing::new(serde_json::to_vec(request).map_err(io::Error::from)?);
        text.push(b'\n');
        self.stream.get_mut().write_all(&text)?;
        let mut line = Vec::new();
        let most = u64::try_from(ANSWER_BYTES_MAX).unwrap_or(u64::MAX);
        (&mut self.stream).take(most).read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
        }
        match serde_json::from_slice(&line).map_err(io::Error::from)? {
            Answer::Refused { message } => Err(ControlError::Refused(message)),
            answer => Ok(answer),
        }
    }

    /// Waits until the server closes the connection, which it does by ending.
    pub fn wait_for_end(mut self) -> Result<(), ControlError> {
        let mut rest = [0; 64];
        while self.stream.read(&mut rest)? > 0 {}
        Ok(())
    }
}
