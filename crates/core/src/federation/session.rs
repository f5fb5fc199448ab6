//! A stream between two servers: the one task that reads what the peer sends, hands it on in order,
//! and writes what waits for the peer's domains. It lives as long as the stream, in both roles.
//!
//! Like a client's session it owns no buffer while nothing is in flight.

use std::future::Future;
use std::mem::MaybeUninit;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use smallvec::SmallVec;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;
use verona_xml::{Element, Event, Frame, Scanner};
use verona_xmpp::error::{Condition, StanzaError, StreamCondition, StreamError};
use verona_xmpp::ns;
use verona_xmpp::stanza::{IqType, Kind, NotAStanza, Stanza};

use crate::federation::queue::{Entry, Room};
use crate::federation::route::Route;
use crate::federation::streams::{Leave, Peer, Place};
use crate::federation::unproven::Unproven;
use crate::limits::{
    ANSWERS_BYTES_MAX, STREAM_ANSWER_SECS, STREAM_BATCH_BYTES, STREAM_CLOSE_SECS, STREAM_HOLD_SECS,
    STREAM_TICK_SECS, STREAM_WINDOW_BYTES, STREAM_WINDOW_STANZAS, UNCOMMITTED_PER_SESSION_MAX,
};
use crate::mailbox::StanzaEnd;
use crate::server::Server;
use crate::store::shape::Seq;
use crate::stream::commits::Commits;
use crate::stream::management::Managed;
use crate::stream::open::stream_error;
use crate::stream::output::Output;
use crate::stream::pace::Pace;
use crate::stream::resume::failed;
use crate::stream::server::dialback::{Change, Dialbacks, Heard};
use crate::stream::server::established::{Established, Role, Takes};
use crate::stream::server::managing::Command;
use crate::stream::server::resumable;
use crate::stream::wire::Wire;
use crate::trail::{Kept, Step, Trail};

/// Bytes read at a time.
const READ: usize = 16 * 1024;

/// The counters of a stream that is resumed; else how much of it was handled, if that is known.
type Resumed = Result<Managed, Option<u32>>;

/// A stream between two servers with its task.
pub struct Session {
    pub(super) server: Arc<Server>,
    pub(super) place: Place,
    pub(super) wire: Box<dyn Wire>,
    /// Taken out while an element lies in it.
    scanner: Option<Box<Scanner>>,
    pub(super) dialbacks: Dialbacks,
    takes: Takes,
    /// The routes that this stream serves.
    pub(super) routes: SmallVec<[Arc<Route>; 1]>,
    /// Received, and not looked at because a stanza before it is still in hand.
    rest: Vec<u8>,
    pub(super) output: Output,
    /// How much of that answers the peer's commands.
    answers_bytes: usize,
    /// What the stanza in hand waits for.
    pub(super) later: Option<BoxFuture<'static, Vec<Kept>>>,
    pub(super) commits: Commits,
    /// The counters of a managed stream (XEP-0198).
    pub(super) managed: Option<Box<Managed>>,
    /// What was sent lately on a stream that is not managed.
    pub(super) unproven: Unproven,
    /// The stream that is being resumed on this one.
    resuming: Option<BoxFuture<'static, Result<Resumed, StreamError>>>,
    /// A commit has moved `h`: the peer is told.
    should_tell: bool,
    pace: Pace,
    tick: Pin<Box<Sleep>>,
    times: Times,
    /// The stream is to be closed when what was read of it is handled.
    is_leaving: bool,
    /// Whether the peer has acknowledged anything.
    pub(super) has_taken: bool,
}

/// When what happened last.
struct Times {
    /// A stanza, either way.
    used: Instant,
    /// Anything from the peer.
    heard: Instant,
    /// The question whether the peer is there, if it is not answered.
    asked: Option<Instant>,
    /// Our end of the stream was sent.
    closing: Option<Instant>,
    /// Until then a peer that opened the stream may say that it goes on with another, and nothing is
    /// sent (XEP-0198 §5).
    hold: Option<Instant>,
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

/// Carries a stream to its end; false when it broke before it was of any use.
pub async fn run(server: Arc<Server>, established: Established) -> bool {
    let mut session = Box::new(Session::new(server, established));
    let end = match session.begin() {
        true => std::future::poll_fn(|context| session.poll(context)).await,
        // Another stream serves the pair by now.
        false => End::Closed,
    };
    let useful = session.has_taken || matches!(end, End::Closed);
    Box::pin(session.finish(end)).await;
    useful
}

impl Session {
    fn new(server: Arc<Server>, established: Established) -> Self {
        let Established { wire, scanner, unread, id, role, dialbacks, bidi, .. } = established;
        let peer = Peer::new(id, role, wire.peer(), bidi);
        let now = Instant::now();
        let hold = (bidi && role == Role::Receiving).then_some(now);
        let secs = if hold.is_some() { STREAM_HOLD_SECS } else { STREAM_TICK_SECS };
        let mut session = Self {
            place: server.federation.streams.enter(peer),
            server,
            wire,
            scanner: Some(Box::new(scanner)),
            dialbacks,
            takes: established.takes,
            routes: SmallVec::new(),
            rest: unread,
            output: Output::default(),
            answers_bytes: 0,
            later: None,
            commits: Commits::default(),
            managed: None,
            unproven: Unproven::default(),
            resuming: None,
            should_tell: false,
            pace: Pace::between_servers(),
            tick: Box::pin(tokio::time::sleep(Duration::from_secs(secs))),
            is_leaving: false,
            times: Times { used: now, heard: now, asked: None, closing: None, hold },
            has_taken: false,
        };
        if let Some(former) = established.former {
            // In front of what waits, before this stream takes from there.
            session.server.give_back_managed(*former);
        }
        session.managed = established.managed;
        if established.resumed {
            session.resend();
        }
        for tree in &established.early {
            session.early(tree.root());
        }
        session
    }

    /// Takes the routes over; false when there is nothing to do for this stream.
    fn begin(&mut self) -> bool {
        if self.server.federation.is_stopping() {
            self.place.peer.order(Leave::Close);
        }
        self.note_pairs();
        !self.routes.is_empty() || self.place.peer.role == Role::Receiving
    }

    /// The pairs of the stream have changed.
    fn note_pairs(&mut self) {
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
            if known.sends && !ours && route.attach(known.trust, own, now) {
                self.routes.push(route);
            }
        }
        self.place.peer.note(pairs);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        if let Some(end) = self.poll_tick(context).or_else(|| self.poll_leave(context)) {
            return Poll::Ready(end);
        }
        loop {
            self.should_tell |=
                self.commits.poll(&self.server, || self.place.peer.id.clone(), context);
            self.poll_later(context);
            if let Some(end) = self.poll_dialback(context).or_else(|| self.poll_resuming(context)) {
                return Poll::Ready(end);
            }
            if self.poll_write(context).is_err() {
                return Poll::Ready(End::Gone);
            }
            if self.later.is_some()
                || self.resuming.is_some()
                || self.commits.len() > UNCOMMITTED_PER_SESSION_MAX
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

    fn poll_later(&mut self, context: &mut Context<'_>) {
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

    /// Writes what waits.
    fn poll_write(&mut self, context: &mut Context<'_>) -> std::io::Result<()> {
        loop {
            if self.should_tell {
                self.should_tell = false;
                self.tell(false);
            }
            match self.output.poll_write(&mut self.wire, context) {
                Poll::Ready(Ok(true)) => self.answers_bytes = 0,
                Poll::Ready(Ok(false)) => {}
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(()),
            }
            let holds = self.times.closing.is_some() || self.times.hold.is_some();
            if holds || !self.take(context) {
                return Ok(());
            }
        }
    }

    /// Takes what waits for the peer and what it can be trusted with; false when that is nothing.
    fn take(&mut self, context: &mut Context<'_>) -> bool {
        let room = self.room();
        if room.stanzas == 0 || room.bytes == 0 {
            return false;
        }
        let mut ends: Vec<StanzaEnd> = Vec::new();
        let mut larger = Vec::new();
        for route in &self.routes {
            let gauge = &self.server.federation.gauge;
            route.poll_take(context, room, (&mut self.output, &mut ends), gauge);
            while let Some(entry) = route.pop_larger(room.stanza_bytes, gauge) {
                larger.push(entry);
                route.poll_take(context, room, (&mut self.output, &mut ends), gauge);
            }
        }
        if !larger.is_empty() {
            self.refuse_larger(larger, room.stanza_bytes);
        }
        if ends.is_empty() {
            return false;
        }
        self.times.used = Instant::now();
        match &mut self.managed {
            Some(managed) => managed.sent(self.output.bytes(), &ends),
            None => self.unproven.sent(self.output.bytes(), &ends),
        }
        self.ask();
        true
    }

    fn room(&self) -> Room {
        let stanza_bytes = self.takes.bytes_max.unwrap_or(usize::MAX);
        let Some(managed) = &self.managed else {
            return Room { stanzas: usize::MAX, bytes: STREAM_BATCH_BYTES, stanza_bytes };
        };
        let left = STREAM_WINDOW_BYTES.saturating_sub(managed.unacked_bytes());
        Room {
            stanzas: STREAM_WINDOW_STANZAS.saturating_sub(managed.unacked.len()),
            bytes: left.min(STREAM_BATCH_BYTES),
            stanza_bytes,
        }
    }

    /// XEP-0478 §4: what is larger than the peer takes goes back to who sent it.
    fn refuse_larger(&self, larger: Vec<Entry>, bytes_max: usize) {
        let text = format!("the other server takes no more than {bytes_max} bytes");
        let error = StanzaError::new(Condition::PolicyViolation).text(text);
        self.server.return_entries(larger, &error);
    }

    /// What a resumed stream had sent and the peer did not get goes out first (XEP-0198 §5).
    fn resend(&mut self) {
        let Some(managed) = &mut self.managed else { return };
        managed.asked = false;
        let text = managed.unacked_text();
        self.output.say(&text);
        self.ask();
    }

    /// XEP-0198 §4: asks for an acknowledgement.
    fn ask(&mut self) {
        if let Some(managed) = &mut self.managed
            && managed.should_ask()
        {
            managed.asked = true;
            self.times.asked.get_or_insert_with(Instant::now);
            self.output.say(b"<r xmlns='urn:xmpp:sm:3'/>");
        }
    }

    /// XEP-0198 §4: tells how much was handled; unless `always`, only when that is more than before.
    pub(super) fn tell(&mut self, always: bool) {
        let Some(managed) = &mut self.managed else { return };
        let h = self.commits.durable(managed.received);
        if !always && h == managed.told {
            return;
        }
        managed.told = h;
        self.output.say(b"<a xmlns='urn:xmpp:sm:3' h='");
        self.output.say(h.to_string().as_bytes());
        self.output.say(b"'/>");
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Option<End>> {
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
    fn take_in(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Option<End> {
        let mut input = bytes;
        loop {
            let mut scanner = self.scanner.take()?;
            let outcome = match scanner.next(&mut input) {
                Ok(None) => Ok(None),
                Ok(Some(Event::Element(frame))) => self.element(&frame).map(Some),
                Ok(Some(Event::Close)) => Err(End::Closed),
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

    /// What comes of one element; a step when it was a stanza.
    fn element(&mut self, frame: &Frame<'_>) -> Result<Option<Step>, End> {
        match frame.ns() {
            ns::SERVER => self.stanza(frame),
            ns::SM => self.answered(|session| session.manage(Command::read(frame))),
            ns::DIALBACK => {
                let tree = frame.tree().map_err(|error| End::Error(stream_error(&error)))?;
                self.answered(|session| session.dialback(tree.root()))
            }
            ns::STREAMS if frame.name() == "error" => {
                let tree = frame.tree().map_err(|error| End::Error(stream_error(&error)))?;
                Err(End::Refused(StreamError::read(tree.root()).to_string()))
            }
            // RFC 6120 §4.3.2: what else is offered concerns what has been negotiated.
            ns::STREAMS if frame.name() == "features" => Ok(None),
            _ => Err(End::Error(StreamCondition::UnsupportedStanzaType.into())),
        }
    }

    /// Does what may be answered past the queue, and counts those bytes.
    fn answered(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<(), End>,
    ) -> Result<Option<Step>, End> {
        let before = self.output.len();
        act(self)?;
        let answer = self.output.len().saturating_sub(before);
        self.answers_bytes = self.answers_bytes.saturating_add(answer);
        Ok(None)
    }

    /// Hands a stanza in, if the peer may send it (RFC 6120 §8.1.1.2, §8.1.2.2).
    fn stanza(&mut self, frame: &Frame<'_>) -> Result<Option<Step>, End> {
        if self.times.closing.is_some() && self.managed.is_some() {
            // Not counted, so the peer sends it again.
            return Ok(None);
        }
        let stanza = match Stanza::adopt(frame, ns::SERVER, None) {
            Ok(stanza) => stanza,
            Err(NotAStanza::TooLarge) => {
                return Err(End::Error(StreamCondition::PolicyViolation.into()));
            }
            Err(_) => return Err(End::Error(StreamCondition::UnsupportedStanzaType.into())),
        };
        self.pace.count(&self.server);
        self.times.used = self.times.heard;
        self.hand_in(stanza).map(Some)
    }

    fn hand_in(&mut self, stanza: Stanza) -> Result<Step, End> {
        let checked = self.dialbacks.pairs.check(stanza.from(), stanza.to());
        checked.map_err(|condition| End::Error(condition.into()))?;
        self.server.federation.seen.note(&stanza);
        let server = &self.server;
        let back = stanza.clone();
        // A panic in a module ends its stanza, not the stream.
        let handled = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let mut trail = Trail::default();
            trail.is_hurried = true;
            match is_proper(&stanza) {
                true => trail.sends.push_back(stanza),
                false => trail.bounce(&stanza, &StanzaError::new(Condition::BadRequest)),
            }
            server.carry_out(trail)
        }));
        Ok(handled.unwrap_or_else(|_| {
            tracing::error!(stream = %self.place.peer.id, "a module panicked");
            let mut trail = Trail::default();
            trail.bounce(&back, &StanzaError::new(Condition::InternalServerError));
            server.carry_out(trail)
        }))
    }

    /// A stanza that came before the stream stood in full.
    fn early(&mut self, element: Element<'_>) {
        let Ok(stanza) = Stanza::parse(&element.to_text(ns::SERVER)) else { return };
        match self.hand_in(stanza) {
            Ok(Step::Done(kept)) => self.handled(kept),
            Ok(Step::Later(later)) => {
                // They are few and come before all others.
                let before = self.later.take();
                self.later = Some(Box::pin(async move {
                    if let Some(before) = before {
                        before.await;
                    }
                    later.await
                }));
            }
            Err(_) => {}
        }
    }

    /// XEP-0198 §3 to §6 between servers.
    fn manage(&mut self, command: Command) -> Result<(), End> {
        let receiving = self.place.peer.role == Role::Receiving;
        match (command, &mut self.managed) {
            (Command::Request, Some(_)) => self.tell(true),
            (Command::Answer(Some(h)), Some(managed)) => {
                managed.acknowledged(h).map_err(End::Error)?;
                self.times.asked = None;
                self.has_taken = true;
                self.settle();
                self.ask();
            }
            (Command::Enable(secs), None) if receiving => self.enable(secs),
            (Command::Resume(Some((id, h))), None) if receiving => self.resume(id, h),
            (Command::Enabled { id, secs }, Some(managed)) if !receiving => {
                if let Some(id) = id {
                    managed.id = id;
                    managed.resume_secs = secs;
                }
            }
            (Command::Failed(_), Some(_)) if !receiving => {
                if let Some(managed) = self.managed.take() {
                    self.unproven.adopt(*managed);
                }
            }
            (Command::Enable(_) | Command::Resume(_), _) => {
                self.output.say(failed(Condition::UnexpectedRequest, None).as_bytes());
            }
            (Command::Answer(None), Some(_)) => {
                let error = StreamError::new(StreamCondition::UndefinedCondition);
                return Err(End::Error(error.text("an acknowledgement needs a count")));
            }
            // What crossed with the end of the counting.
            (Command::Request | Command::Answer(_) | Command::Failed(_), _) => {}
            _ => return Err(End::Error(StreamCondition::UnsupportedStanzaType.into())),
        }
        Ok(())
    }

    fn enable(&mut self, secs: u32) {
        let Some(first) = self.dialbacks.pairs.iter().next() else { return };
        let yields = self.yields();
        let (managed, answer) = self.server.streams.resumable.enable(&first.pair, secs, yields);
        self.output.say(answer.as_bytes());
        self.managed = Some(Box::new(managed));
        self.reclaim();
    }

    /// The peer begins anew: what an older stream of it had sent waits for this one.
    fn reclaim(&mut self) {
        self.times.hold = None;
        for route in &self.routes {
            self.server.reclaim(route);
        }
    }

    fn resume(&mut self, id: Box<str>, h: u32) {
        let Some(first) = self.dialbacks.pairs.iter().next() else { return };
        let (pair, yields) = (first.pair.clone(), self.yields());
        let resumable = self.server.streams.resumable.clone();
        self.resuming =
            Some(Box::pin(async move { resumable.resume(&pair, &id, h, yields).await }));
    }

    fn yields(&self) -> resumable::Yield {
        let peer = self.place.peer.clone();
        Arc::new(move || peer.order(Leave::Yield))
    }

    fn poll_resuming(&mut self, context: &mut Context<'_>) -> Option<End> {
        let Poll::Ready(outcome) = self.resuming.as_mut()?.as_mut().poll(context) else {
            return None;
        };
        self.resuming = None;
        match outcome {
            Ok(Ok(managed)) => {
                self.output.say(resumable::resumed(&managed).as_bytes());
                self.managed = Some(Box::new(managed));
                self.has_taken = true;
                self.times.hold = None;
                self.routes.iter().for_each(|route| drop(route.take_lost()));
                self.settle();
                self.resend();
                None
            }
            Ok(Err(handled)) => {
                self.output.say(failed(Condition::ItemNotFound, handled).as_bytes());
                None
            }
            Err(error) => Some(End::Error(error)),
        }
    }

    fn dialback(&mut self, element: Element<'_>) -> Result<(), End> {
        let heard = self.dialbacks.hear(element).map_err(End::Error)?;
        self.heard(heard).map_or(Ok(()), Err)
    }

    fn poll_dialback(&mut self, context: &mut Context<'_>) -> Option<End> {
        while self.dialbacks.is_checking() {
            let Poll::Ready(heard) = self.dialbacks.poll(context) else { return None };
            if let Some(end) = self.heard(heard) {
                return Some(end);
            }
        }
        None
    }

    fn heard(&mut self, heard: Heard) -> Option<End> {
        self.output.say(heard.say.as_bytes());
        if let Some(Change::MayReceive(_) | Change::MaySend(_)) = heard.change {
            self.note_pairs();
        }
        heard.ends.then_some(End::Closed)
    }

    fn poll_leave(&mut self, context: &Context<'_>) -> Option<End> {
        match self.place.peer.poll_leave(context)? {
            Leave::Close => {
                self.leave();
                None
            }
            Leave::End(error) => Some(End::Error(error)),
            Leave::Yield => Some(End::Yielded),
        }
    }

    /// Closes the stream as soon as the last count that the peer hears is the true one.
    fn leave(&mut self) {
        self.is_leaving = true;
        let soon = tokio::time::Instant::now() + Duration::from_secs(STREAM_CLOSE_SECS);
        self.tick.as_mut().reset(soon);
    }

    /// RFC 6120 §4.4: our end of the stream. The peer's is waited for, with what it acknowledges.
    fn close(&mut self) {
        self.tell(true);
        self.output.say(b"</stream:stream>");
        self.times.closing = Some(Instant::now());
    }

    /// Whether our end of the stream was sent.
    pub(super) fn is_closed(&self) -> bool {
        self.times.closing.is_some()
    }

    /// From time to time: is the peer there, is the stream of use, may it go on?
    fn poll_tick(&mut self, context: &mut Context<'_>) -> Option<End> {
        while self.tick.as_mut().poll(context).is_ready() {
            if self.is_leaving {
                return Some(End::Closed);
            }
            self.times.hold = None;
            let next = tokio::time::Instant::now() + Duration::from_secs(STREAM_TICK_SECS);
            self.tick.as_mut().reset(next);
            if let Some(end) = self.look_after() {
                return Some(end);
            }
        }
        None
    }

    fn look_after(&mut self) -> Option<End> {
        let policy = self.server.policy();
        let probe = Duration::from_secs(policy.limits.idle_probe_secs.into());
        drop(policy);
        // RFC 6120 §13.7.2.3.
        let until = self.dialbacks.pairs.until();
        if until.is_some_and(|until| until <= std::time::SystemTime::now()) {
            let error = StreamError::new(StreamCondition::Reset);
            return Some(End::Error(error.text("a certificate has expired")));
        }
        let patience = Duration::from_secs(STREAM_ANSWER_SECS);
        if self.times.asked.is_some_and(|asked| asked.elapsed() > patience) {
            tracing::info!(stream = %self.place.peer.id, "the peer does not answer");
            return Some(End::Gone);
        }
        let before = self.unproven.len();
        self.unproven.trust_in_time();
        if self.unproven.len() < before {
            self.settle();
        }
        let unused = self.times.used.elapsed();
        let idle = Duration::from_secs(self.server.federation.terms().idle_secs);
        if unused > idle && self.may_close() {
            self.leave();
            return None;
        }
        // RFC 6120 §4.6.1, §4.6.4, and XEP-0478 §3.1: in time for the peer, too.
        let theirs = self.takes.idle_secs.map(|secs| Duration::from_secs(u64::from(secs) / 2));
        if self.times.heard.elapsed().min(unused) > theirs.unwrap_or(probe).min(probe) {
            self.probe();
        }
        None
    }

    /// A stream is closed by who opened it, and by the other side only when that seems to have
    /// forgotten it.
    fn may_close(&self) -> bool {
        let idle = Duration::from_secs(self.server.federation.terms().idle_secs);
        self.managed.as_ref().is_none_or(|managed| managed.unacked.is_empty())
            && (self.place.peer.role == Role::Initiating
                || self.times.used.elapsed() > idle.saturating_mul(2))
    }

    fn probe(&mut self) {
        match &mut self.managed {
            Some(managed) if !managed.asked => {
                managed.asked = true;
                self.times.asked = Some(Instant::now());
                self.output.say(b"<r xmlns='urn:xmpp:sm:3'/>");
            }
            Some(_) => {}
            None => self.output.say(b" "),
        }
    }

    /// The peer has got something: what is left of it in the logs goes.
    pub(super) fn settle(&self) {
        let first: Option<Seq> = match &self.managed {
            Some(managed) => managed.unacked.iter().map(|one| one.seq).find(|seq| *seq > 0),
            None => self.unproven.first(),
        };
        for route in &self.routes {
            route.settle(first, &*self.server.store);
        }
    }
}

/// RFC 6120 §8.2.3: whether an IQ has what it needs.
fn is_proper(stanza: &Stanza) -> bool {
    match stanza.kind() {
        Kind::Iq(kind) => {
            kind != IqType::Unknown && stanza.id_raw().is_some() && stanza.has_due_children()
        }
        _ => true,
    }
}
