//! A stream between two servers: the one task that reads what the peer sends, hands it on in order,
//! and writes what waits for the peer's domains. It lives as long as the stream, in both roles.
//!
//! Like a client's session it owns no buffer while nothing is in flight.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use smallvec::SmallVec;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;
use verona_xml::{Event, Scanner};
use verona_xmpp::error::{StreamCondition, StreamError};

use crate::federation::route::Route;
use crate::federation::streams::{Leave, Peer, Place};
use crate::federation::unproven::Unproven;
use crate::limits::{ANSWERS_BYTES_MAX, STREAM_HOLD_SECS};
use crate::server::Server;
use crate::stream::commits::Commits;
use crate::stream::management::Managed;
use crate::stream::open::stream_error;
use crate::stream::output::Output;
use crate::stream::pace::Pace;
use crate::stream::server::dialback::Dialbacks;
use crate::stream::server::established::Established;
use crate::stream::server::side::{Role, Takes};
use crate::stream::wire::Wire;
use crate::trail::{Kept, Step};

/// Bytes read at a time.
const READ: usize = 16 * 1024;

/// The counters of a stream that is resumed; else how much of it was handled, if that is known.
pub(super) type Resumed = Result<Managed, Option<u32>>;

/// A stream between two servers with its task.
pub struct Session {
    pub(super) server: Arc<Server>,
    pub(super) place: Place,
    pub(super) wire: Box<dyn Wire>,
    /// Taken out while an element lies in it.
    pub(super) scanner: Option<Box<Scanner>>,
    pub(super) dialbacks: Dialbacks,
    pub(super) takes: Takes,
    /// The routes that this stream serves.
    pub(super) routes: SmallVec<[Arc<Route>; 1]>,
    /// Received, and not looked at because a stanza before it is still in hand.
    pub(super) rest: Vec<u8>,
    pub(super) output: Output,
    /// How much of that answers the peer's commands.
    pub(super) answers_bytes: usize,
    /// What the stanza in hand waits for.
    pub(super) later: Option<BoxFuture<'static, Vec<Kept>>>,
    pub(super) commits: Commits,
    /// The counters of a managed stream (XEP-0198).
    pub(super) managed: Option<Box<Managed>>,
    /// What was sent on a stream that is not managed, and may not have been read.
    pub(super) unproven: Unproven,
    /// The stream that is being resumed on this one.
    pub(super) resuming: Option<BoxFuture<'static, Result<Resumed, StreamError>>>,
    /// A commit has moved `h`: the peer is told.
    pub(super) should_tell: bool,
    pub(super) pace: Pace,
    pub(super) tick: Pin<Box<Sleep>>,
    pub(super) times: Times,
    /// The stream is to be closed when what was read of it is handled.
    pub(super) is_leaving: bool,
    /// Whether the peer has acknowledged anything.
    pub(super) has_taken: bool,
    /// Whether it ended because the peer did not answer.
    pub(super) is_unanswered: bool,
}

/// When what happened last.
pub(super) struct Times {
    /// A stanza, either way.
    pub(super) used: Instant,
    /// Anything from the peer.
    pub(super) heard: Instant,
    /// The question whether the peer is there, if it is not answered.
    pub(super) asked: Option<Instant>,
    /// Our end of the stream was sent.
    pub(super) closing: Option<Instant>,
    /// Since then it is waited for what the peer says of counting, and nothing is sent: it may go on
    /// with another stream (XEP-0198 §5).
    pub(super) hold: Option<Instant>,
}

/// Why a stream ended.
#[derive(Debug)]
pub enum End {
    /// The connection is gone.
    Gone,
    /// Both sides have closed it, or the peer has.
    Closed,
    /// The peer ended it with an error.
    Refused(String),
    /// It ends with an error.
    Error(StreamError),
    /// The peer resumes it on another connection.
    Yielded,
}

/// What a stream was worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Worth {
    /// The peer has taken something, or the stream was closed in order.
    Use,
    /// It broke before it was of any use.
    None,
    /// The same, and the peer never answered.
    Unanswered,
}

/// Carries a stream to its end, and tells what it was worth.
pub async fn run(server: Arc<Server>, established: Established) -> Worth {
    let mut session = Box::new(Session::new(server, established));
    let end = match session.begin() {
        true => std::future::poll_fn(|context| session.poll(context)).await,
        // Another stream serves the pair by now.
        false => End::Closed,
    };
    let worth = match session.has_taken || matches!(end, End::Closed) {
        true => Worth::Use,
        false if session.is_unanswered => Worth::Unanswered,
        false => Worth::None,
    };
    Box::pin(session.finish(end)).await;
    worth
}

impl Session {
    pub(super) fn new(server: Arc<Server>, established: Established) -> Self {
        let Established { wire, scanner, unread, id, role, dialbacks, bidi, .. } = established;
        // What came before the stream stood in full comes first, by the way of all others.
        let early = established.early.iter().map(|tree| tree.root().to_text(scanner.default_ns()));
        let mut rest = early.collect::<String>().into_bytes();
        rest.extend_from_slice(&unread);
        let peer = Peer::new(id, role, wire.peer(), bidi);
        let now = Instant::now();
        // A domain that opens more streams may not send more.
        let first = dialbacks.pairs.iter().next();
        let spent = first.map(|known| server.federation.spent(known.pair.remote.domain()));
        // Sent before the peer has said under what it may be resumed, a stanza would come twice or not
        // at all when the connection breaks: nobody could tell whether it has arrived.
        let unnamed = established.managed.as_ref().is_some_and(|managed| managed.id.is_empty());
        let hold = (unnamed || (bidi && role == Role::Receiving)).then_some(now);
        let tick_secs = server.policy().limits.server_tick_secs();
        let secs = if hold.is_some() { STREAM_HOLD_SECS } else { tick_secs };
        let mut session = Self {
            place: server.federation.streams.enter(peer),
            server,
            wire,
            scanner: Some(Box::new(scanner)),
            dialbacks,
            takes: established.takes,
            routes: SmallVec::new(),
            rest,
            output: Output::default(),
            answers_bytes: 0,
            later: None,
            commits: Commits::default(),
            managed: None,
            unproven: Unproven::default(),
            resuming: None,
            should_tell: false,
            pace: Pace::between_servers(spent),
            tick: Box::pin(tokio::time::sleep(Duration::from_secs(secs))),
            is_leaving: false,
            times: Times { used: now, heard: now, asked: None, closing: None, hold },
            has_taken: false,
            is_unanswered: false,
        };
        if let Some(former) = established.former {
            // In front of what waits, before this stream takes from there.
            session.server.give_back_managed(*former);
        }
        session.managed = established.managed;
        if established.resumed {
            session.resend();
        }
        session
    }

    /// Takes the routes over; false when there is nothing to do for this stream.
    pub(super) fn begin(&mut self) -> bool {
        if self.server.federation.is_stopping() {
            self.place.peer.order(Leave::Close);
        }
        self.note_pairs();
        !self.routes.is_empty() || self.place.peer.role == Role::Receiving
    }

    /// The pairs of the stream have changed.
    pub(super) fn note_pairs(&mut self) {
        let pairs: Vec<_> = self.dialbacks.pairs.iter().cloned().collect();
        let (federation, now) = (&self.server.federation, self.server.clock.now_micros());
        let own = self.place.peer.role == Role::Initiating;
        for known in &pairs {
            let Some(route) = federation.route(&known.pair.local, &known.pair.remote) else {
                continue;
            };
            if !own {
                // Who calls us can be reached, too.
                route.encourage();
            }
            let ours = self.routes.iter().any(|other| Arc::ptr_eq(other, &route));
            if route.is_back() {
                self.server.ask_anew(&known.pair);
            }
            if known.sends && !ours && route.attach(known.trust, own, now) {
                self.routes.push(route);
            }
        }
        self.place.peer.note(pairs);
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        if let Some(end) = self.poll_tick(context).or_else(|| self.poll_leave(context)) {
            return Poll::Ready(end);
        }
        loop {
            self.should_tell |=
                self.commits.poll(&self.server, || self.place.peer.id.clone(), context);
            // The errors are in the queue of the route by now, which is not this stream.
            self.commits.errors_are_written();
            self.poll_later(context);
            if let Some(end) = self.poll_dialback(context).or_else(|| self.poll_resuming(context)) {
                return Poll::Ready(end);
            }
            if self.poll_write(context).is_err() {
                return Poll::Ready(End::Gone);
            }
            // Behind the writing, which may have sent the ping.
            if self.poll_proof(context) {
                continue;
            }
            if self.later.is_some()
                || self.resuming.is_some()
                || self.commits.is_full(&self.server)
                || self.answers_bytes > ANSWERS_BYTES_MAX
            {
                return Poll::Pending;
            }
            if self.is_leaving && self.times.closing.is_none() {
                if !self.commits.is_empty() {
                    return Poll::Pending;
                }
                self.close();
                continue;
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

    pub(super) fn poll_later(&mut self, context: &mut Context<'_>) {
        if let Some(later) = &mut self.later
            && let Poll::Ready(kept) = later.as_mut().poll(context)
        {
            self.later = None;
            self.handled(kept);
        }
    }

    /// Counts a stanza that was handled but for its commits.
    pub(super) fn handled(&mut self, kept: Vec<Kept>) {
        let number = match &mut self.managed {
            Some(managed) => {
                managed.received = managed.received.wrapping_add(1);
                managed.received
            }
            None => 0,
        };
        self.commits.add(number, kept);
    }

    pub(super) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Option<End>> {
        let mut stack = [const { MaybeUninit::<u8>::uninit() }; READ];
        let mut buffer = ReadBuf::uninit(&mut stack);
        match ready!(Pin::new(&mut self.wire).poll_read(context, &mut buffer)) {
            Ok(()) if !buffer.filled().is_empty() => {
                self.times.heard = Instant::now();
                self.pace.spend(buffer.filled().len(), &self.server);
                Poll::Ready(self.take_in(buffer.filled(), context))
            }
            _ => Poll::Ready(Some(End::Gone)),
        }
    }

    /// Handles the elements in some bytes, up to the first that has to wait.
    pub(super) fn take_in(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Option<End> {
        let mut input = bytes;
        loop {
            let mut scanner = self.scanner.take()?;
            let outcome = match scanner.next(&mut input) {
                Ok(None) => Ok(None),
                Ok(Some(Event::Element(frame))) => self.element(&frame).map(Some),
                Ok(Some(Event::Close)) => Err(self.closed()),
                // RFC 6120 §4.3.3: no restart any more.
                Ok(Some(Event::Open(_))) => Err(End::Error(StreamCondition::NotWellFormed.into())),
                Err(error) => Err(End::Error(stream_error(&error))),
            };
            self.scanner = Some(scanner);
            match outcome {
                Ok(None) => return None,
                Ok(Some(None)) => {}
                Ok(Some(Some(Step::Done(kept)))) => self.handled(kept),
                Ok(Some(Some(Step::Later(later)))) => {
                    self.later = Some(later);
                    self.poll_later(context);
                }
                Err(end) => return Some(end),
            }
            if self.later.is_some()
                || self.resuming.is_some()
                || self.answers_bytes > ANSWERS_BYTES_MAX
            {
                self.rest = input.to_vec();
                return None;
            }
        }
    }
}
