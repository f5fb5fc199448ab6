//! A bound session: the one task that reads its stream, hands stanzas on, and writes its mailbox.
//!
//! It owns no buffer while nothing is in flight: bytes are read onto the stack of a poll, and what
//! waits to be written comes from the mailbox.

use std::collections::VecDeque;
use std::future::Future;
use std::mem::MaybeUninit;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};
use verona_xml::{Event, Frame, Scanner};
use verona_xmpp::error::{Condition, StanzaError, StreamCondition, StreamError};
use verona_xmpp::ns;
use verona_xmpp::stanza::{NotAStanza, Stanza};

use crate::limits::{CLOSE_SECS, UNCOMMITTED_PER_SESSION_MAX};
use crate::mailbox::{Order, spare};
use crate::server::{Seat, Server};
use crate::store::error::Fault;
use crate::stream::open::stream_error;
use crate::stream::wire::Wire;
use crate::trail::{Kept, Step, Trail};

/// Bytes read at a time.
const READ: usize = 16 * 1024;

/// A burst of stanzas may be what is granted in so many seconds.
const STANZA_BURST_SECS: u64 = 10;

/// A session with its stream.
pub struct Session {
    server: Arc<Server>,
    seat: Seat,
    wire: Box<dyn Wire>,
    scanner: Scanner,
    /// Received, and not looked at because a stanza before it is still in hand.
    rest: Vec<u8>,
    writing: Vec<u8>,
    written: usize,
    /// What the stanza in hand waits for.
    later: Option<BoxFuture<'static, Vec<Kept>>>,
    /// Messages on their way to the disk, in the order in which they came.
    uncommitted: VecDeque<Kept>,
    pace: Pace,
}

/// Why a session ended.
#[derive(Debug)]
pub enum End {
    /// The connection is gone.
    Gone,
    /// The peer closed the stream.
    Closed,
    /// The stream ends with an error.
    Error(StreamError),
}

impl Session {
    /// A session on its stream; `unread` is what the peer sent behind its bind request.
    pub fn new(
        server: Arc<Server>,
        seat: Seat,
        wire: Box<dyn Wire>,
        mut scanner: Scanner,
        unread: Vec<u8>,
    ) -> Self {
        scanner.set_limits(server.policy().limits.after_login());
        Self {
            server,
            seat,
            wire,
            scanner,
            rest: unread,
            writing: Vec::new(),
            written: 0,
            later: None,
            uncommitted: VecDeque::new(),
            pace: Pace::default(),
        }
    }

    /// Runs the session to its end.
    pub async fn run(mut self) {
        let end = std::future::poll_fn(|context| self.poll(context)).await;
        Box::pin(self.finish(end)).await;
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        loop {
            self.poll_commits(context);
            self.poll_later(context);
            match self.poll_write(context) {
                Ok(None) => {}
                Ok(Some(end)) => return Poll::Ready(end),
                Err(_) => return Poll::Ready(End::Gone),
            }
            if self.later.is_some() || self.uncommitted.len() > UNCOMMITTED_PER_SESSION_MAX {
                return Poll::Pending;
            }
            if !self.rest.is_empty() {
                let rest = std::mem::take(&mut self.rest);
                if let Some(end) = self.take_in(&rest, context) {
                    return Poll::Ready(end);
                }
                continue;
            }
            ready!(self.pace.poll(context));
            if let Some(end) = ready!(self.poll_read(context)) {
                return Poll::Ready(end);
            }
        }
    }

    /// Tells senders of messages that could not be kept (SECURITY: nothing is lost in silence).
    fn poll_commits(&mut self, context: &mut Context<'_>) {
        while let Some(first) = self.uncommitted.front_mut() {
            let Poll::Ready(outcome) = Pin::new(&mut first.ticket).poll(context) else { return };
            let Some(kept) = self.uncommitted.pop_front() else { return };
            let Err(error) = outcome else { continue };
            tracing::error!(jid = %self.seat.link.jid, %error, "a message could not be kept");
            let condition = match error.fault {
                Fault::Full | Fault::Io => Condition::ResourceConstraint,
                _ => Condition::InternalServerError,
            };
            let mut trail = Trail::default();
            trail.bounce(&kept.stanza, &StanzaError::new(condition));
            if let Step::Later(later) = self.server.carry_out(trail) {
                tokio::spawn(later);
            }
        }
    }

    fn poll_later(&mut self, context: &mut Context<'_>) {
        if let Some(later) = &mut self.later
            && let Poll::Ready(kept) = later.as_mut().poll(context)
        {
            self.later = None;
            self.uncommitted.extend(kept);
        }
    }

    /// Writes what waits; an order to end comes behind what was put in before it.
    fn poll_write(&mut self, context: &mut Context<'_>) -> std::io::Result<Option<End>> {
        loop {
            while let Some(left) = self.writing.get(self.written..).filter(|left| !left.is_empty())
            {
                match Pin::new(&mut self.wire).poll_write(context, left) {
                    Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(count)) => self.written = self.written.saturating_add(count),
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => return Ok(None),
                }
            }
            if self.written > 0 {
                match Pin::new(&mut self.wire).poll_flush(context) {
                    Poll::Ready(result) => result?,
                    Poll::Pending => return Ok(None),
                }
                spare::give(std::mem::take(&mut self.writing));
                self.written = 0;
            }
            let Poll::Ready((waiting, order)) = self.seat.link.mailbox.poll_take(context) else {
                return Ok(None);
            };
            self.writing = waiting;
            match order {
                Some(Order::End(error)) => return Ok(Some(End::Error(error))),
                // RFC 6120 §4.6.1: a space shows whether the connection still carries bytes.
                Some(Order::Probe) => self.writing.push(b' '),
                None => {}
            }
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Option<End>> {
        let mut stack = [const { MaybeUninit::<u8>::uninit() }; READ];
        let mut buffer = ReadBuf::uninit(&mut stack);
        match ready!(Pin::new(&mut self.wire).poll_read(context, &mut buffer)) {
            Ok(()) if !buffer.filled().is_empty() => {
                self.seat.link.heard(self.server.clock.uptime_secs());
                self.pace.spend(buffer.filled().len(), &self.server);
                Poll::Ready(self.take_in(buffer.filled(), context))
            }
            _ => Poll::Ready(Some(End::Gone)),
        }
    }

    /// Handles the stanzas in some bytes, up to the first that has to wait.
    fn take_in(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Option<End> {
        let mut input = bytes;
        loop {
            let step = match self.scanner.next(&mut input) {
                Ok(None) => return None,
                Ok(Some(Event::Element(frame))) => match handle(&self.server, &self.seat, &frame) {
                    Ok(step) => step,
                    Err(end) => return Some(end),
                },
                Ok(Some(Event::Close)) => return Some(End::Closed),
                // RFC 6120 §7.1: no restart after binding.
                Ok(Some(Event::Open(_))) => {
                    return Some(End::Error(StreamCondition::NotWellFormed.into()));
                }
                Err(error) => return Some(End::Error(stream_error(&error))),
            };
            self.pace.count(&self.server);
            match step {
                Step::Done(kept) => self.uncommitted.extend(kept),
                Step::Later(later) => {
                    self.later = Some(later);
                    self.poll_later(context);
                    if self.later.is_some() {
                        self.rest = input.to_vec();
                        return None;
                    }
                }
            }
        }
    }

    /// Takes the session out of its account, tells whom it concerns, and closes the stream.
    async fn finish(mut self, end: End) {
        if let Some(later) = self.later.take() {
            later.await;
        }
        let left = self.seat.link.mailbox.close();
        self.server.unbind(&self.seat).await;
        let mut last = self.writing.split_off(self.written.min(self.writing.len()));
        match end {
            End::Gone => {
                tracing::info!(jid = %self.seat.link.jid, "connection lost");
                self.server.redeliver(&self.seat, &left).await;
                return;
            }
            End::Closed => last.extend_from_slice(&left),
            End::Error(error) => {
                tracing::info!(jid = %self.seat.link.jid, %error, "session ends");
                last.extend_from_slice(&left);
                last.extend_from_slice(error.to_xml().as_bytes());
            }
        }
        last.extend_from_slice(b"</stream:stream>");
        let limit = Duration::from_secs(CLOSE_SECS);
        let closing = async {
            self.wire.write_all(&last).await?;
            self.wire.shutdown().await
        };
        let _ = tokio::time::timeout(limit, closing).await;
        tracing::info!(jid = %self.seat.link.jid, "session ended");
    }
}

/// Hands one element on; `unsupported-stanza-type` when it is no stanza (RFC 6120 §4.9.3.24), and
/// `policy-violation` when its namespaces, spelled out, make it too large.
fn handle(server: &Arc<Server>, seat: &Seat, frame: &Frame<'_>) -> Result<Step, End> {
    let stanza = Stanza::adopt(frame, ns::CLIENT, Some(&seat.link.jid)).map_err(|error| {
        End::Error(match error {
            NotAStanza::TooLarge => StreamCondition::PolicyViolation.into(),
            _ => StreamCondition::UnsupportedStanzaType.into(),
        })
    })?;
    let back = stanza.clone();
    // A panic in a module ends its stanza, not the session.
    let handled = std::panic::catch_unwind(AssertUnwindSafe(|| server.handle(seat, stanza)));
    Ok(handled.unwrap_or_else(|_| {
        tracing::error!(jid = %seat.link.jid, "a module panicked");
        let mut trail = Trail::default();
        trail.bounce(&back, &StanzaError::new(Condition::InternalServerError));
        server.carry_out(trail)
    }))
}

/// How fast a session may send: two buckets that fill with time. It is paused, nothing is dropped.
#[derive(Default)]
struct Pace {
    /// Bytes over what has been granted, when positive.
    bytes: u64,
    stanzas: u64,
    last: Option<Instant>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// Notes bytes that were read.
    fn spend(&mut self, bytes: usize, server: &Server) {
        let policy = server.policy();
        let limits = &policy.limits;
        if limits.unlimited {
            return;
        }
        let now = Instant::now();
        let millis = self.last.map_or(0, |last| now.duration_since(last).as_millis());
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        // Less than a millisecond grants nothing and is counted the next time.
        if self.last.is_none() || millis > 0 {
            self.last = Some(now);
        }
        let granted = |rate: u64| rate.saturating_mul(millis) / 1_000;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_sub(granted(limits.rate_bytes_per_sec));
        self.bytes = self.bytes.saturating_add(bytes);
        self.stanzas = self.stanzas.saturating_sub(granted(limits.rate_stanzas_per_sec));
        let over = self.bytes.saturating_sub(limits.rate_burst_bytes);
        let byte_millis = over.saturating_mul(1_000) / limits.rate_bytes_per_sec.max(1);
        let burst = limits.rate_stanzas_per_sec.saturating_mul(STANZA_BURST_SECS);
        let over = self.stanzas.saturating_sub(burst);
        let stanza_millis = over.saturating_mul(1_000) / limits.rate_stanzas_per_sec.max(1);
        let wait = byte_millis.max(stanza_millis);
        if wait > 0 {
            let pause = tokio::time::sleep(Duration::from_millis(wait));
            self.pause = Some(Box::pin(pause));
        }
    }

    /// Notes a stanza that was handled.
    fn count(&mut self, server: &Server) {
        if !server.policy().limits.unlimited {
            self.stanzas = self.stanzas.saturating_add(1);
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        Poll::Ready(())
    }
}
