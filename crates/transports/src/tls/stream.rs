//! A byte stream over TLS that owns no buffer while nothing is in flight.
//!
//! rustls with buffers of its own keeps 4 KiB for reading in each connection, for as long as it lives.
//! Here records are read, decrypted and encrypted in scratch memory of the thread; a connection
//! owns only what is unfinished when a call ends: part of a record, plaintext that nobody has
//! fetched, bytes that the socket has not taken. Measured: 3.7 KB a connection instead of 7.7.

use std::cell::Cell;
use std::fmt;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::CommonState;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tls::side::Side;

/// Ciphertext that is read at once, at most: two records of the largest size.
const SCRATCH_BYTES: usize = 34 * 1024;

/// Ciphertext of unfinished records and handshake messages that one connection may hold: rustls
/// takes handshake messages of at most 64 KiB, and one record may be on its way.
pub(crate) const INCOMING_BYTES_MAX: usize = 84 * 1024;

/// Plaintext that one write takes: more waits until the socket has taken this.
const WRITE_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static READING: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static WRITING: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// One end of a TLS connection, after its handshake.
pub struct TlsStream<IO, S> {
    io: IO,
    tls: Box<S>,
    /// Ciphertext of a record that is not whole yet.
    incoming: Vec<u8>,
    /// Plaintext that was not fetched yet.
    plain: Rest,
    /// Ciphertext that the socket did not take yet.
    outgoing: Rest,
    ending: Ending,
}

/// How far the end of the stream has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Ending {
    /// The peer has said that it sends no more.
    peer_closed: bool,
    /// We have said that we send no more.
    closed: bool,
    /// The connection is broken: nothing more is read or written.
    failed: bool,
}

/// What is left of a buffer; it owns no memory when nothing is left.
#[derive(Default)]
struct Rest {
    bytes: Vec<u8>,
    start: usize,
}

impl Rest {
    fn left(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.left().is_empty()
    }

    fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count);
        if self.is_empty() {
            *self = Self::default();
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

impl<IO, S: Side> TlsStream<IO, S> {
    /// Goes on after the handshake, with what was read behind it: part of a record, and plaintext.
    pub(crate) fn new(io: IO, tls: S, incoming: Vec<u8>, plain: Vec<u8>) -> Self {
        Self {
            io,
            tls: Box::new(tls),
            // Gives back what the handshake took beyond it.
            incoming: Vec::from(incoming.into_boxed_slice()),
            plain: Rest { bytes: plain, start: 0 },
            outgoing: Rest::default(),
            ending: Ending::default(),
        }
    }

    /// The socket below.
    pub fn get_ref(&self) -> &IO {
        &self.io
    }

    /// What TLS knows of the connection and of the peer.
    pub fn common(&self) -> &CommonState {
        self.tls.common()
    }

    /// Bytes of heap that the stream holds beside the state of TLS; 0 while nothing is in flight.
    pub fn buffered_bytes(&self) -> usize {
        let sizes = [&self.incoming, &self.plain.bytes, &self.outgoing.bytes].map(Vec::capacity);
        sizes.into_iter().fold(0, usize::saturating_add)
    }

    /// Processes the whole records in `bytes`: plaintext goes to `buffer` and, when that is full,
    /// aside. Returns how many bytes are done with.
    fn process(&mut self, bytes: &mut [u8], buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
        let mut start = 0_usize;
        loop {
            let rest = bytes.get_mut(start..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = self.tls.process(rest);
            let mut more = true;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(broken)?;
                        discard = discard.saturating_add(record.discard);
                        let fits = record.payload.len().min(buffer.remaining());
                        let (now, later) = record.payload.split_at(fits);
                        buffer.put_slice(now);
                        self.plain.push(later);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut data, &mut self.outgoing.bytes)?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.ending.peer_closed = true;
                    more = false;
                }
                // No early data is ever accepted; all others wait for more bytes.
                Ok(_) => more = false,
                Err(error) => {
                    self.ending.failed = true;
                    start = start.saturating_add(discard);
                    let rest = bytes.get_mut(start..).unwrap_or_default();
                    take_alerts(&mut *self.tls, rest, &mut self.outgoing.bytes);
                    return Err(broken(error));
                }
            }
            start = start.saturating_add(discard);
            if !more {
                return Ok(start);
            }
        }
    }
}

impl<IO: AsyncWrite + Unpin, S: Side> TlsStream<IO, S> {
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(context, self.outgoing.left()))?;
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.outgoing.consume(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Encrypts with `step` into scratch memory and offers the result to the socket; what it does not
    /// take stays in `outgoing`.
    fn send(
        &mut self,
        context: &mut Context<'_>,
        size: usize,
        step: impl FnMut(&mut S, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> io::Result<()> {
        let mut scratch = WRITING.take();
        let sent = encrypt(&mut *self.tls, &mut scratch, size, step).and_then(|length| {
            let sealed = scratch.get(..length).unwrap_or_default();
            // Whatever came before was drained by the caller.
            let written = match Pin::new(&mut self.io).poll_write(context, sealed) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            };
            self.outgoing.push(sealed.get(written..).unwrap_or_default());
            Ok(())
        });
        WRITING.set(scratch);
        sent
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// After an error: takes the alerts that tell the peer what went wrong.
pub(crate) fn take_alerts<S: Side>(tls: &mut S, incoming: &mut [u8], to: &mut Vec<u8>) {
    // Only while something waits to be sent: otherwise rustls would go on reading a stream that is
    // broken, and it is not made for that.
    while tls.common().wants_write() {
        match tls.process(incoming).state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                if encode(&mut data, to).is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Appends an encoded message to a buffer.
pub(crate) fn encode<T>(
    data: &mut rustls::unbuffered::EncodeTlsData<'_, T>,
    to: &mut Vec<u8>,
) -> io::Result<()> {
    let start = to.len();
    loop {
        match data.encode(to.get_mut(start..).unwrap_or_default()) {
            Ok(length) => {
                to.truncate(start.saturating_add(length));
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(error)) => {
                to.resize(start.saturating_add(error.required_size), 0);
            }
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

fn encrypt<S: Side>(
    tls: &mut S,
    scratch: &mut Vec<u8>,
    size: usize,
    mut step: impl FnMut(&mut S, &mut [u8]) -> Result<usize, EncryptError>,
) -> io::Result<usize> {
    if scratch.len() < size {
        scratch.resize(size, 0);
    }
    loop {
        match step(tls, scratch) {
            Ok(length) => return Ok(length),
            Err(EncryptError::InsufficientSize(error)) if scratch.len() < error.required_size => {
                scratch.resize(error.required_size, 0);
            }
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin, S: Side> AsyncRead for TlsStream<IO, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if !this.plain.is_empty() {
            let left = this.plain.left();
            let count = left.len().min(buffer.remaining());
            buffer.put_slice(left.get(..count).unwrap_or_default());
            this.plain.consume(count);
            return Poll::Ready(Ok(()));
        }
        loop {
            if this.ending.failed {
                return Poll::Ready(Err(ErrorKind::ConnectionAborted.into()));
            }
            if this.ending.peer_closed {
                return Poll::Ready(Ok(()));
            }
            let mut scratch = READING.take();
            let step = this.poll_step(context, &mut scratch, buffer);
            READING.set(scratch);
            let open = match step {
                Poll::Ready(open) => open,
                Poll::Pending => return Poll::Pending,
            };
            // An answer of TLS itself (an alert, say) leaves when the socket takes it.
            if !this.outgoing.is_empty() {
                let _ = this.poll_drain(context)?;
            }
            if !open? {
                // RFC 8446 §6.1: without a close_notify the end may have been forged.
                return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
            }
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin, S: Side> TlsStream<IO, S> {
    /// Reads once from the socket and processes what is there. False: the socket has come to its end.
    fn poll_step(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut Vec<u8>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let held = self.incoming.len();
        // Room for what the caller takes and the frames around it, so that little is put aside.
        let wanted = buffer.remaining().saturating_add(1024).min(SCRATCH_BYTES);
        let size = held.saturating_add(wanted);
        // What is held is less than a record, except for handshake messages in many pieces.
        if size > INCOMING_BYTES_MAX {
            self.ending.failed = true;
            return Poll::Ready(Err(ErrorKind::InvalidData.into()));
        }
        if scratch.len() < size {
            scratch.resize(size, 0);
        }
        let mut room = ReadBuf::new(scratch.get_mut(held..size).unwrap_or_default());
        ready!(Pin::new(&mut self.io).poll_read(context, &mut room))?;
        if room.filled().is_empty() {
            return Poll::Ready(Ok(false));
        }
        let filled = held.saturating_add(room.filled().len());
        if let Some(front) = scratch.get_mut(..held) {
            front.copy_from_slice(&self.incoming);
        }
        let bytes = scratch.get_mut(..filled).unwrap_or_default();
        let done = self.process(bytes, buffer)?;
        self.incoming = scratch.get(done..filled).unwrap_or_default().to_vec();
        Poll::Ready(Ok(true))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin, S: Side> AsyncWrite for TlsStream<IO, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_drain(context))?;
        if this.ending.closed || this.ending.failed {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let data = data.get(..WRITE_BYTES_MAX).unwrap_or(data);
        let mut incoming = std::mem::take(&mut this.incoming);
        // Room for the data and for the frame of each record.
        let size = data.len().saturating_add(1024);
        let sent = this.send(context, size, |tls, room| match tls.process(&mut incoming).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => traffic.encrypt(data, room),
            _ => Err(EncryptError::EncryptExhausted),
        });
        this.incoming = incoming;
        Poll::Ready(sent.map(|()| data.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_drain(context))?;
        if !this.ending.closed && !this.ending.failed {
            this.ending.closed = true;
            let mut incoming = std::mem::take(&mut this.incoming);
            let sent =
                this.send(context, 128, |tls, room| match tls.process(&mut incoming).state {
                    Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                        traffic.queue_close_notify(room)
                    }
                    _ => Ok(0),
                });
            this.incoming = incoming;
            sent?;
            ready!(this.poll_drain(context))?;
        }
        Pin::new(&mut this.io).poll_shutdown(context)
    }
}

impl<IO, S> fmt::Debug for TlsStream<IO, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("ending", &self.ending).finish_non_exhaustive()
    }
}
