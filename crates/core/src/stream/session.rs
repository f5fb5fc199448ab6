//! A bound session: the one task that reads its stream, hands stanzas on, and writes its mailbox.
//!
//! It owns no buffer while nothing is in flight: bytes are read onto the stack of a poll, and what
//! waits to be written comes from the mailbox.

use std::mem::MaybeUninit;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use verona_xml::{Event, Frame, Scanner};
use verona_xmpp::error::{Condition, StanzaError, StreamCondition, StreamError};
use verona_xmpp::ns;
use verona_xmpp::stanza::{NotAStanza, Stanza};

use crate::account::keep;
use crate::limits::{ANSWERS_BYTES_MAX, CLOSE_SECS};
use crate::link::Link;
use crate::mailbox::Order;
use crate::server::{Seat, Server};
use crate::stream::bind::Entered;
use crate::stream::commits::Commits;
use crate::stream::management::Managed;
use crate::stream::open::stream_error;
use crate::stream::output::Output;
use crate::stream::pace::Pace;
use crate::stream::recipients::{self, Recipients};
use crate::stream::resume::{Wish, failed};
use crate::stream::wire::Wire;
use crate::trail::{Kept, Step, Trail};

/// Bytes read at a time.
const READ: usize = 16 * 1024;

/// A session with its stream.
pub struct Session {
    server: Arc<Server>,
    seat: Seat,
    wire: Box<dyn Wire>,
    scanner: Scanner,
    /// Received, and not looked at because a stanza before it is still in hand.
    rest: Vec<u8>,
    output: Output,
    /// How much of that answers commands of stream management, which come past the mailbox.
    answers_bytes: usize,
    /// What the stanza in hand waits for.
    later: Option<BoxFuture<'static, Vec<Kept>>>,
    commits: Commits,
    /// The counters of a managed stream (XEP-0198).
    managed: Option<Box<Managed>>,
    /// A commit has moved `h`: the client is told.
    should_tell: bool,
    pace: Pace,
    recipients: Option<Box<Recipients>>,
}

/// Why a session's stream ended.
#[derive(Debug)]
pub enum End {
    /// The connection is gone.
    Gone,
    /// The peer closed the stream.
    Closed,
    /// The stream ends with an error.
    Error(StreamError),
    /// Another stream goes on with the session, or the server goes away.
    Yielded(Option<StreamError>),
}

impl Session {
    /// A session on its stream; `unread` is what the peer sent behind its request.
    pub fn new(
        server: Arc<Server>,
        entered: Entered,
        wire: Box<dyn Wire>,
        mut scanner: Scanner,
        unread: Vec<u8>,
    ) -> Self {
        scanner.set_limits(server.policy().limits.after_login());
        Self {
            server,
            seat: entered.seat,
            wire,
            scanner,
            rest: unread,
            output: Output::new(entered.first),
            answers_bytes: 0,
            later: None,
            commits: Commits::default(),
            managed: entered.managed,
            should_tell: false,
            pace: Pace::default(),
            recipients: None,
        }
    }

    /// Runs the session to the end of its stream. Boxed, since a task has room for each place that a
    /// value passes through.
    pub async fn run(mut self: Box<Self>) {
        let stream = std::future::poll_fn(|context| self.poll(context));
        let end = AssertUnwindSafe(stream).catch_unwind().await.unwrap_or_else(|_| {
            // Not at its stanza, so that nothing is known of what it has left half done.
            tell_panic(&self.seat.link);
            self.later = None;
            End::Error(StreamCondition::InternalServerError.into())
        });
        Box::pin(self.finish(end)).await;
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        loop {
            self.should_tell |=
                self.commits.poll(&self.server, || self.seat.link.stream(), context);
            self.poll_later(context);
            match self.poll_write(context) {
                Ok(None) => {}
                Ok(Some(end)) => return Poll::Ready(end),
                Err(_) => return Poll::Ready(End::Gone),
            }
            if self.later.is_some()
                || self.commits.is_full(&self.server)
                || self.answers_bytes > ANSWERS_BYTES_MAX
            {
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

    fn poll_later(&mut self, context: &mut Context<'_>) {
        if let Some(later) = &mut self.later
            && let Poll::Ready(kept) = later.as_mut().poll(context)
        {
            self.later = None;
            self.handled(kept);
        }
    }

    /// Counts a stanza that was handled but for its commits.
    fn handled(&mut self, kept: Vec<Kept>) {
        let number = match &mut self.managed {
            Some(managed) => {
                managed.received = managed.received.wrapping_add(1);
                managed.received
            }
            None => 0,
        };
        self.commits.add(number, kept);
    }

    /// Writes what waits; an order to end comes behind what was put in before it.
    fn poll_write(&mut self, context: &mut Context<'_>) -> std::io::Result<Option<End>> {
        loop {
            if self.should_tell {
                self.should_tell = false;
                self.tell(false);
            }
            match self.output.poll_write(&mut self.wire, context) {
                Poll::Ready(Ok(true)) => self.answers_bytes = 0,
                Poll::Ready(Ok(false)) => {}
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(self.poll_leave(context)),
            }
            let taken = self.seat.link.mailbox.poll_take(context);
            // It comes behind the error now, if there was one.
            self.should_tell |= self.commits.errors_are_written();
            let Poll::Ready(taken) = taken else {
                if self.should_tell {
                    continue;
                }
                return Ok(None);
            };
            if let Some(managed) = &mut self.managed {
                managed.sent(&taken.bytes, &taken.ends);
                if managed.is_over() {
                    return Ok(Some(End::Gone));
                }
            }
            self.output.replace(taken.bytes);
            match taken.order {
                Some(Order::End(error)) => return Ok(Some(self.end(error))),
                Some(Order::Yield(error)) => return Ok(Some(End::Yielded(error))),
                Some(Order::Lost) => return Ok(Some(End::Gone)),
                Some(Order::Probe) => self.probe(),
                None => {}
            }
            self.ask(false);
        }
    }

    /// Writes something that is no stanza, past the mailbox.
    fn say(&mut self, text: &[u8]) {
        self.output.say(text);
    }

    /// A peer that takes nothing must not keep the session from ending.
    fn poll_leave(&mut self, context: &mut Context<'_>) -> Option<End> {
        match self.seat.link.mailbox.poll_leave(context)? {
            Order::End(error) => Some(self.end(error)),
            Order::Yield(error) => Some(End::Yielded(error)),
            Order::Lost => Some(End::Gone),
            Order::Probe => None,
        }
    }

    /// A session that may be resumed does not end with the server: it leaves its stream in silence,
    /// since a client that hears of an end has none to resume (XEP-0198 §5).
    fn end(&self, error: StreamError) -> End {
        let resumable = self.managed.as_ref().is_some_and(|managed| managed.resume_secs > 0);
        match error.condition {
            StreamCondition::SystemShutdown if resumable => End::Yielded(None),
            _ => End::Error(error),
        }
    }

    /// RFC 6120 §4.6.1: a space shows whether the connection still carries bytes; on a managed
    /// stream a request does, which the client has to answer.
    fn probe(&mut self) {
        if self.managed.is_some() {
            self.ask(true);
        } else {
            self.say(b" ");
        }
    }

    /// XEP-0198 §4: asks for an acknowledgement.
    fn ask(&mut self, always: bool) {
        if let Some(managed) = &mut self.managed
            && (always || managed.should_ask())
        {
            managed.asked = true;
            self.seat.link.asked(self.server.clock.uptime_secs());
            self.say(b"<r xmlns='urn:xmpp:sm:3'/>");
        }
    }

    /// XEP-0198 §4: tells how much was handled; unless `always`, only when that is more than before.
    fn tell(&mut self, always: bool) {
        let Some(managed) = &self.managed else { return };
        let h = self.commits.durable(managed.received);
        if !always && h == managed.told {
            return;
        }
        self.say(b"<a xmlns='urn:xmpp:sm:3' h='");
        self.say(h.to_string().as_bytes());
        self.say(b"'/>");
        if let Some(managed) = &mut self.managed {
            managed.told = h;
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Option<End>> {
        let mut stack = [const { MaybeUninit::<u8>::uninit() }; READ];
        let mut buffer = ReadBuf::uninit(&mut stack);
        match ready!(Pin::new(&mut self.wire).poll_read(context, &mut buffer)) {
            Ok(()) if !buffer.filled().is_empty() => {
                self.seat.link.heard(self.server.clock.uptime_secs());
                // XEP-0286 §4.2: the peer's radio is on, so what was held back costs little now.
                self.seat.link.mailbox.let_out();
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
                Ok(Some(Event::Element(frame))) if frame.ns() == ns::SM => {
                    let command = Command::read(&frame);
                    let before = self.output.len();
                    if let Err(error) = self.manage(command) {
                        return Some(End::Error(error));
                    }
                    let answer = self.output.len().saturating_sub(before);
                    self.answers_bytes = self.answers_bytes.saturating_add(answer);
                    if self.answers_bytes > ANSWERS_BYTES_MAX {
                        self.rest = input.to_vec();
                        return None;
                    }
                    continue;
                }
                Ok(Some(Event::Element(frame))) => {
                    match handle((&self.server, &self.seat), &mut self.recipients, &frame) {
                        Ok(Some(step)) => step,
                        Ok(None) => {
                            self.pace.count(&self.server);
                            continue;
                        }
                        Err(end) => return Some(end),
                    }
                }
                Ok(Some(Event::Close)) => return Some(End::Closed),
                // RFC 6120 §7.1: no restart after binding.
                Ok(Some(Event::Open(_))) => {
                    return Some(End::Error(StreamCondition::NotWellFormed.into()));
                }
                Err(error) => return Some(End::Error(stream_error(&error))),
            };
            self.pace.count(&self.server);
            match step {
                Step::Done(kept) => self.handled(kept),
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

    /// XEP-0198 §3 to §6: a command of stream management on a bound stream.
    fn manage(&mut self, command: Command) -> Result<(), StreamError> {
        match (command, &mut self.managed) {
            (Command::Enable(wish), None) => self.enable(wish),
            (Command::Request, Some(_)) => self.tell(true),
            (Command::Answer(Some(h)), Some(managed)) => {
                let taken = managed.acknowledged(h)?;
                self.seat.link.owes_nothing();
                keep::taken(&self.server, &self.seat.account, &taken);
                self.ask(false);
            }
            (Command::Answer(None), Some(_)) => {
                return Err(StreamError::new(StreamCondition::UndefinedCondition)
                    .text("an acknowledgement needs a count"));
            }
            (Command::Unknown, _) => {
                return Err(StreamCondition::UnsupportedStanzaType.into());
            }
            // §3, §5: enabling comes once, resuming comes before binding, acknowledging after both.
            (_, _) => self.say(failed(Condition::UnexpectedRequest, None).as_bytes()),
        }
        Ok(())
    }

    fn enable(&mut self, wish: Wish) {
        let (managed, answer) = self.server.begin_managing(&self.seat, wish);
        // §4: the count begins with this answer, so what waits is written before it.
        let waiting = self.seat.link.mailbox.count_stanzas();
        self.say(&waiting);
        self.say(answer.as_bytes());
        self.managed = Some(Box::new(managed));
    }

    /// The stream has ended: the session sleeps or ends.
    async fn finish(mut self: Box<Self>, end: End) {
        let why = match &end {
            End::Gone => "connection lost".to_owned(),
            End::Closed => "closed by the client".to_owned(),
            End::Error(error) | End::Yielded(Some(error)) => error.to_string(),
            End::Yielded(None) => "the session goes on without it".to_owned(),
        };
        let link = &self.seat.link;
        tracing::info!(
            stream = %link.stream(), account = %link.account(), resource = link.resource(), why,
            "stream ended"
        );
        if let Some(later) = self.later.take() {
            let kept = later.await;
            self.handled(kept);
        }
        self.commits.settle_all(&self.server, || self.seat.link.stream()).await;
        let (server, seat) = (self.server.clone(), self.seat.clone());
        let managed = self.managed.take();
        match (end, managed) {
            (End::Gone, Some(managed)) if managed.resume_secs > 0 => {
                server.put_to_sleep(seat, *managed);
            }
            (End::Yielded(error), Some(managed)) => {
                // First, since a stream that takes nothing takes its time to close.
                server.put_to_sleep(seat, *managed);
                if let Some(error) = error {
                    self.close(&[], Some(error)).await;
                }
            }
            (End::Gone | End::Yielded(_), managed) => {
                server
                    .lay_to_rest(&seat, managed.map(|managed| *managed).unwrap_or_default())
                    .await;
            }
            (End::Closed, None) => {
                server.unbind(&seat).await;
                let left = seat.link.mailbox.close().bytes;
                self.close(&left, None).await;
            }
            (End::Closed, Some(managed)) => {
                server.lay_to_rest(&seat, *managed).await;
                self.close(&[], None).await;
            }
            (End::Error(error), managed) => {
                server
                    .lay_to_rest(&seat, managed.map(|managed| *managed).unwrap_or_default())
                    .await;
                self.close(&[], Some(error)).await;
            }
        }
    }

    /// RFC 6120 §4.4: writes what is left, an error if there is one, and the end of the stream.
    async fn close(&mut self, left: &[u8], error: Option<StreamError>) {
        let mut last = self.output.take_left();
        last.extend_from_slice(left);
        if let Some(error) = error {
            last.extend_from_slice(error.to_xml().as_bytes());
        }
        last.extend_from_slice(b"</stream:stream>");
        let closing = async {
            self.wire.write_all(&last).await?;
            self.wire.shutdown().await
        };
        let _ = tokio::time::timeout(Duration::from_secs(CLOSE_SECS), closing).await;
    }
}

/// A command of stream management.
enum Command {
    Enable(Wish),
    Request,
    /// None: without a count that can be read.
    Answer(Option<u32>),
    Resume,
    Unknown,
}

impl Command {
    fn read(frame: &Frame<'_>) -> Self {
        let number = |name| frame.attr(name).and_then(|value| value.parse().ok());
        match frame.name() {
            "enable" => Self::Enable(Wish::read(|name| frame.attr(name))),
            "r" => Self::Request,
            "a" => Self::Answer(number("h")),
            "resume" => Self::Resume,
            _ => Self::Unknown,
        }
    }
}

/// Hands one element on. None when it was no stanza and a module has heard it;
/// `unsupported-stanza-type` when none knows it (RFC 6120 §4.9.3.24), and `policy-violation` when its
/// namespaces, spelled out, make it too large.
fn handle(
    (server, seat): (&Arc<Server>, &Seat),
    recipients: &mut Option<Box<Recipients>>,
    frame: &Frame<'_>,
) -> Result<Option<Step>, End> {
    let stanza = match Stanza::adopt(frame, ns::CLIENT, Some(&seat.link.jid)) {
        Ok(stanza) => stanza,
        Err(NotAStanza::TooLarge) => {
            return Err(End::Error(StreamCondition::PolicyViolation.into()));
        }
        Err(_) => return hear(seat, frame).map(|()| None),
    };
    if let Some(error) = recipients::refuse(recipients, (server, seat), &stanza) {
        let mut trail = Trail { origin: Some(seat.link.clone()), ..Trail::default() };
        trail.bounce(&stanza, &error);
        return Ok(Some(server.carry_out(trail)));
    }
    let back = stanza.clone();
    // A panic in a module ends its stanza, not the session.
    let handled = std::panic::catch_unwind(AssertUnwindSafe(|| server.handle(seat, stanza)));
    Ok(Some(handled.unwrap_or_else(|_| {
        tell_panic(&seat.link);
        let mut trail = Trail::default();
        trail.bounce(&back, &StanzaError::new(Condition::InternalServerError));
        server.carry_out(trail)
    })))
}

/// Hands an element that is no stanza to the module that knows it.
fn hear(seat: &Seat, frame: &Frame<'_>) -> Result<(), End> {
    let registry = seat.host.registry();
    let hear = || registry.nonza(frame.ns(), frame.name(), seat);
    match std::panic::catch_unwind(AssertUnwindSafe(hear)) {
        Ok(true) => Ok(()),
        Ok(false) => Err(End::Error(StreamCondition::UnsupportedStanzaType.into())),
        Err(_) => {
            tell_panic(&seat.link);
            Ok(())
        }
    }
}

fn tell_panic(link: &Link) {
    tracing::error!(
        stream = %link.stream(), account = %link.account(), resource = link.resource(),
        "a module panicked"
    );
}
