//! The steps of a handshake, the same for both ends.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{error, fmt};

use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use zeroize::Zeroizing;

use crate::tls::binding;
use crate::tls::side::Side;
use crate::tls::stream::{INCOMING_BYTES_MAX, encode, take_alerts};

/// Bytes that are read from the socket at once; in scratch memory of the stack, so that a silent
/// connection holds none.
const READ_BYTES: usize = 4096;

/// Why a handshake failed; for the log, the peer gets an alert.
#[derive(Debug)]
pub enum HandshakeError {
    /// The socket failed or came to its end.
    Io(io::Error),
    /// The peer broke the rules of TLS, or nothing is spoken by both sides.
    Tls(rustls::Error),
    /// The peer asked for a name that is not ours.
    UnknownName(String),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the connection ended: {error}"),
            Self::Tls(error) => write!(f, "TLS failed: {error}"),
            Self::UnknownName(name) => write!(f, "the name {name:?} is not served here"),
        }
    }
}

impl error::Error for HandshakeError {}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<rustls::Error> for HandshakeError {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

/// What the handshake yields.
#[derive(Default)]
pub(crate) struct Finished {
    /// The secret of the exporter; none with TLS 1.2.
    pub(crate) secret: Option<Zeroizing<Vec<u8>>>,
    /// What the peer sent in one go with the end of its handshake.
    pub(crate) plain: Vec<u8>,
}

/// Runs the handshake to its end; part of a record that was read behind it stays in `incoming`.
pub(crate) async fn finish<IO, S>(
    io: &mut IO,
    tls: &mut S,
    incoming: &mut Vec<u8>,
) -> Result<Finished, HandshakeError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Side,
{
    let mut outgoing = Vec::new();
    let mut finished = Finished::default();
    loop {
        let stepped = step(tls, incoming, &mut outgoing, &mut finished.plain);
        finished.secret = finished.secret.or_else(binding::caught);
        if !outgoing.is_empty() {
            let written = io.write_all(&outgoing).await;
            io.flush().await?;
            // After a failed step the alert was a courtesy.
            if stepped.is_ok() {
                written?;
            }
            outgoing.clear();
        }
        match stepped? {
            Step::Done => return Ok(finished),
            Step::Blocked => fill(io, incoming).await?,
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// The peer has to say more.
    Blocked,
    /// Both sides may send.
    Done,
}

/// Takes the handshake as far as the bytes reach.
fn step<S: Side>(
    tls: &mut S,
    incoming: &mut Vec<u8>,
    outgoing: &mut Vec<u8>,
    plain: &mut Vec<u8>,
) -> Result<Step, HandshakeError> {
    loop {
        let UnbufferedStatus { mut discard, state } = tls.process(incoming);
        let outcome = match state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(&mut data, outgoing)?;
                None
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                None
            }
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard = discard.saturating_add(record.discard);
                    plain.extend_from_slice(record.payload);
                }
                None
            }
            Ok(ConnectionState::BlockedHandshake) => Some(Ok(Step::Blocked)),
            Ok(ConnectionState::WriteTraffic(_)) => Some(Ok(Step::Done)),
            Ok(_) => Some(Err(io::Error::from(ErrorKind::UnexpectedEof).into())),
            Err(error) => Some(Err(HandshakeError::Tls(error))),
        };
        incoming.drain(..discard.min(incoming.len()));
        match outcome {
            None => {}
            Some(Err(error)) => {
                take_alerts(tls, incoming, outgoing);
                return Err(error);
            }
            Some(Ok(step)) => return Ok(step),
        }
    }
}

/// Reads once and appends; the end of the socket is an error here.
pub(crate) async fn fill<IO: AsyncRead + Unpin>(
    io: &mut IO,
    incoming: &mut Vec<u8>,
) -> io::Result<()> {
    poll_fn(|context| poll_fill(io, incoming, context)).await
}

fn poll_fill<IO: AsyncRead + Unpin>(
    io: &mut IO,
    incoming: &mut Vec<u8>,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let mut scratch = [0; READ_BYTES];
    let mut room = ReadBuf::new(&mut scratch);
    ready!(Pin::new(io).poll_read(context, &mut room))?;
    let read = room.filled();
    Poll::Ready(if read.is_empty() {
        Err(ErrorKind::UnexpectedEof.into())
    } else if incoming.len().saturating_add(read.len()) > INCOMING_BYTES_MAX {
        Err(ErrorKind::InvalidData.into())
    } else {
        incoming.extend_from_slice(read);
        Ok(())
    })
}
