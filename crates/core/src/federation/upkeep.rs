//! A server stream looks after itself: orders to leave, silence, and the end in order.

use std::future::Future;
use std::task::Context;
use std::time::{Duration, Instant};

use verona_xmpp::error::{StreamCondition, StreamError};

use crate::federation::session::{End, Session};
use crate::federation::streams::Leave;
use crate::limits::STREAM_CLOSE_SECS;
use crate::stream::server::side::Role;

impl Session {
    pub(super) fn poll_leave(&mut self, context: &Context<'_>) -> Option<End> {
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
    pub(super) fn leave(&mut self) {
        self.is_leaving = true;
        let soon = tokio::time::Instant::now() + Duration::from_secs(STREAM_CLOSE_SECS);
        self.tick.as_mut().reset(soon);
    }

    /// RFC 6120 §4.4: our end of the stream. The peer's is waited for, with what it acknowledges.
    pub(super) fn close(&mut self) {
        self.tell(true);
        self.output.say(b"</stream:stream>");
        self.times.closing = Some(Instant::now());
    }

    /// The peer's end of the stream. One that answers ours comes from who has read all before that.
    pub(super) fn closed(&mut self) -> End {
        if self.is_closed() {
            self.unproven.prove();
        }
        End::Closed
    }

    /// Whether our end of the stream was sent.
    pub(super) fn is_closed(&self) -> bool {
        self.times.closing.is_some()
    }

    /// From time to time: is the peer there, is the stream of use, may it go on?
    pub(super) fn poll_tick(&mut self, context: &mut Context<'_>) -> Option<End> {
        while self.tick.as_mut().poll(context).is_ready() {
            if self.is_leaving {
                return Some(End::Closed);
            }
            if self.times.hold.is_some() && self.resuming.is_none() {
                self.reclaim();
            }
            let secs = self.server.policy().limits.server_tick_secs();
            self.tick.as_mut().reset(tokio::time::Instant::now() + Duration::from_secs(secs));
            if let Some(end) = self.look_after() {
                return Some(end);
            }
        }
        None
    }

    pub(super) fn look_after(&mut self) -> Option<End> {
        let policy = self.server.policy();
        let probe = Duration::from_secs(policy.limits.idle_probe_secs.into());
        let patience = Duration::from_secs(policy.limits.server_answer_secs());
        drop(policy);
        // RFC 6120 §13.7.2.3.
        let until = self.dialbacks.pairs.until();
        if until.is_some_and(|until| until <= std::time::SystemTime::now()) {
            let error = StreamError::new(StreamCondition::Reset);
            return Some(End::Error(error.text("a certificate has expired")));
        }
        if self.times.asked.is_some_and(|asked| asked.elapsed() > patience) {
            tracing::info!(stream = %self.place.peer.id, "the peer does not answer");
            self.is_unanswered = true;
            return Some(End::Gone);
        }
        let before = self.unproven.len();
        self.unproven.trust_in_time(Instant::now());
        if self.unproven.len() < before {
            self.settle();
        }
        if self.managed.is_none() {
            self.ping();
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
    pub(super) fn may_close(&self) -> bool {
        let idle = Duration::from_secs(self.server.federation.terms().idle_secs);
        self.managed.as_ref().is_none_or(|managed| managed.unacked.is_empty())
            && (self.place.peer.role == Role::Initiating
                || self.times.used.elapsed() > idle.saturating_mul(2))
    }

    pub(super) fn probe(&mut self) {
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
}
