//! A server stream writes: what waits for the peer's domains, and how much was handled.

use std::task::{Context, Poll};
use std::time::Instant;

use verona_xmpp::error::{Condition, StanzaError};

use crate::federation::queue::{Entry, Room};
use crate::federation::session::Session;
use crate::limits::{STREAM_BATCH_BYTES, STREAM_WINDOW_BYTES, STREAM_WINDOW_STANZAS};
use crate::mailbox::StanzaEnd;
use crate::store::shape::Seq;

impl Session {
    /// Writes what waits.
    pub(super) fn poll_write(&mut self, context: &mut Context<'_>) -> std::io::Result<()> {
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
    pub(super) fn take(&mut self, context: &mut Context<'_>) -> bool {
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

    /// XEP-0478 §4: what is larger than the peer takes goes back to who sent it.
    pub(super) fn refuse_larger(&self, larger: Vec<Entry>, bytes_max: usize) {
        let text = format!("the other server takes no more than {bytes_max} bytes");
        let error = StanzaError::new(Condition::PolicyViolation).text(text);
        self.server.return_entries(larger, &error);
    }

    pub(super) fn room(&self) -> Room {
        let stanza_bytes = self.takes.bytes_max.unwrap_or(usize::MAX);
        let (stanzas, bytes) = match &self.managed {
            Some(managed) => (managed.unacked.len(), managed.unacked_bytes()),
            None => self.unproven.weight(),
        };
        let left = STREAM_WINDOW_BYTES.saturating_sub(bytes);
        Room {
            stanzas: STREAM_WINDOW_STANZAS.saturating_sub(stanzas),
            bytes: left.min(STREAM_BATCH_BYTES),
            stanza_bytes,
        }
    }

    /// What a resumed stream had sent and the peer did not get goes out first (XEP-0198 §5).
    pub(super) fn resend(&mut self) {
        let Some(managed) = &mut self.managed else { return };
        managed.asked = false;
        let text = managed.unacked_text();
        self.output.say(&text);
        self.ask();
    }

    /// XEP-0198 §4: asks for an acknowledgement, or for what is as good as one.
    pub(super) fn ask(&mut self) {
        let Some(managed) = &mut self.managed else { return self.ping() };
        if managed.should_ask() {
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
