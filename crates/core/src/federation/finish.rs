//! The end of a stream between two servers: what it had in hand goes on by the rules.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::stanza::{IqType, Kind, PresenceType, Stanza};

use crate::federation::queue::Entry;
use crate::federation::reach::Pair;
use crate::federation::route::Route;
use crate::federation::session::{End, Session};
use crate::federation::standing::Lost;
use crate::limits::{CLOSE_SECS, OURS_RESUMES_SECS, THEIRS_RESUMES_SECS};
use crate::server::Server;
use crate::store::shape::Seq;
use crate::stream::management::{Managed, Unacked};
use crate::stream::server::side::Role;

impl Session {
    /// The stream has ended.
    pub(super) async fn finish(mut self: Box<Self>, end: End) {
        let why = match &end {
            End::Gone => "connection lost".to_owned(),
            End::Closed => "closed".to_owned(),
            End::Refused(error) => format!("the peer ended it: {error}"),
            End::Error(error) => error.to_string(),
            End::Yielded => "goes on over another connection".to_owned(),
        };
        let peer = self.place.peer.clone();
        let first = self.dialbacks.pairs.iter().next().map(|known| known.pair.clone());
        let pair = first.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::info!(stream = %peer.id, pair, role = ?peer.role, why, "server stream ended");
        // All that the peer sent is handled before it can hear, or be asked, how much that was.
        if let Some(later) = self.later.take() {
            let kept = later.await;
            self.handled(kept);
        }
        self.commits.settle_all(&self.server, || self.place.peer.id.clone()).await;
        if !self.is_closed() {
            self.tell(true);
        }
        let routes = self.routes.clone();
        match (&end, first) {
            (End::Gone | End::Yielded, Some(pair)) => self.sleep(pair),
            _ => self.give_back(&end),
        }
        for route in &routes {
            route.detach();
        }
        if matches!(end, End::Gone) {
            self.wonder();
        }
        for route in routes.iter().filter(|route| route.begin()) {
            self.server.look_after(route.clone());
        }
        self.hang_up(end).await;
    }

    /// The peer has left without a word: if somebody here sees somebody there, it matters whether it
    /// comes back.
    fn wonder(&self) {
        let federation = &self.server.federation;
        for known in self.dialbacks.pairs.iter() {
            let (local, remote) = (&known.pair.local, &known.pair.remote);
            if federation.seen.sees(remote.domain())
                && let Some(route) = federation.route(local, remote)
            {
                route.want();
                if route.begin() {
                    self.server.look_after(route);
                }
            }
        }
    }

    /// The connection is gone: what may be resumed is kept for that (XEP-0198 §5).
    fn sleep(&mut self, pair: Pair) {
        // One that the peer has not granted yet is no different from none, but for what it counts.
        let Some(managed) = self.managed.take_if(|managed| managed.resume_secs > 0) else {
            return self.give_back(&End::Gone);
        };
        let secs = |most: u64| Duration::from_secs(u64::from(managed.resume_secs).min(most));
        match self.place.peer.role {
            Role::Initiating => {
                let Some(route) = self.routes.first() else {
                    return self.server.give_back_managed(*managed);
                };
                // A peer that may send on this stream may have something for us in it.
                if !managed.unacked.is_empty() || self.place.peer.bidi {
                    let queue_secs = self.server.federation.terms().queue_secs;
                    let until = Instant::now() + secs(OURS_RESUMES_SECS.min(queue_secs));
                    route.park(Lost::Ours(managed, until));
                }
            }
            Role::Receiving => {
                let waits = !managed.unacked.is_empty();
                let (id, until) = (managed.id.clone(), Instant::now() + secs(THEIRS_RESUMES_SECS));
                let server = self.server.clone();
                let expired = Box::new(move |managed: Managed| server.give_back_managed(managed));
                self.server.streams.resumable.fall_asleep(&pair, *managed, expired);
                for route in self.routes.iter().filter(|_| waits) {
                    route.park(Lost::Theirs(id.clone(), until));
                }
            }
        }
    }

    /// What the peer has not got waits for the next stream.
    fn give_back(&mut self, end: &End) {
        let refused = matches!(end, End::Refused(_));
        if let Some(managed) = self.managed.take() {
            if let Some(pair) = self.dialbacks.pairs.iter().next().map(|known| &known.pair)
                && self.place.peer.role == Role::Receiving
            {
                self.server.streams.resumable.end(pair, &managed);
            }
            let mut unacked: Vec<Unacked> = managed.unacked.into();
            // A peer that ends one stream after the other over the same stanza would never get another.
            if refused && !unacked.is_empty() && self.strike() {
                self.server.return_unacked(unacked.drain(..1), Condition::UndefinedCondition);
            }
            self.server.give_back_unacked(unacked);
        }
        // The answer to a ping may have come along with the end.
        let _ = self.unproven.poll_answer(&mut Context::from_waker(Waker::noop()));
        let (certain, unproven) = (self.unproven.is_certain(), self.unproven.take());
        // Who closes a stream in order has read it, as far as one can tell without its answers.
        if certain || !matches!(end, End::Closed) {
            self.server.give_back_unacked(unproven);
        }
        self.settle_all();
    }

    fn strike(&self) -> bool {
        let took = self.has_taken;
        self.routes.first().is_some_and(|route| route.strike(took))
    }

    fn settle_all(&self) {
        for route in &self.routes {
            route.settle(None, &*self.server.store);
        }
    }

    /// RFC 6120 §4.4: writes what is left, an error if there is one, and the end of the stream.
    async fn hang_up(&mut self, end: End) {
        let mut last = self.output.take_left();
        match end {
            End::Gone | End::Yielded => return,
            End::Error(error) => last.extend_from_slice(error.to_xml().as_bytes()),
            End::Closed | End::Refused(_) => {}
        }
        if !self.is_closed() {
            last.extend_from_slice(b"</stream:stream>");
        }
        let closing = async {
            self.wire.write_all(&last).await?;
            self.wire.shutdown().await
        };
        let _ = tokio::time::timeout(Duration::from_secs(CLOSE_SECS), closing).await;
    }
}

impl Server {
    /// Puts what a managed stream had sent, and the peer did not acknowledge, back into the queues.
    pub(crate) fn give_back_managed(self: &Arc<Self>, managed: Managed) {
        self.give_back_unacked(managed.unacked.into());
    }

    /// The same for a list, in order. Questions go back to who asked: they may have been answered.
    fn give_back_unacked(self: &Arc<Self>, unacked: Vec<Unacked>) {
        let mut asked = Vec::new();
        let mut waiting: Vec<(Arc<Route>, Vec<Entry>)> = Vec::new();
        for one in unacked {
            let Some((stanza, route)) = self.route_of(&one) else { continue };
            if matches!(stanza.kind(), Kind::Iq(IqType::Get | IqType::Set)) {
                asked.push(one);
                continue;
            }
            let entry = Entry { text: stanza.shared_text(), seq: one.seq };
            match waiting.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &route)) {
                Some((_, entries)) => entries.push(entry),
                None => waiting.push((route, vec![entry])),
            }
        }
        for (route, entries) in waiting {
            route.give_back(entries, &self.federation.gauge);
            if route.begin() {
                self.look_after(route);
            }
        }
        self.return_unacked(asked.into_iter(), Condition::RemoteServerTimeout);
    }

    fn route_of(&self, one: &Unacked) -> Option<(Stanza, Arc<Route>)> {
        let stanza = Stanza::parse(std::str::from_utf8(&one.text).ok()?).ok()?;
        let route = self.federation.route(stanza.from()?, stanza.to()?)?;
        Some((stanza, route))
    }

    /// Sends stanzas that were taken out of a queue back to who sent them, where that is due.
    pub(crate) fn return_unacked(
        self: &Arc<Self>,
        unacked: impl Iterator<Item = Unacked>,
        condition: Condition,
    ) {
        let entries: Vec<Entry> = unacked
            .filter_map(|one| {
                let text = std::str::from_utf8(&one.text).ok()?.into();
                Some(Entry { text, seq: one.seq })
            })
            .collect();
        self.return_entries(entries, &StanzaError::new(condition));
    }

    /// The same for entries of a queue. What is an answer itself ends in silence.
    pub(crate) fn return_entries(self: &Arc<Self>, entries: Vec<Entry>, error: &StanzaError) {
        let mut errors = Vec::new();
        for entry in entries {
            let Ok(stanza) = Stanza::parse(&entry.text) else { continue };
            if let (Some(from), Some(to)) = (stanza.from(), stanza.to())
                && let Some(route) = self.federation.find(from.domain(), to.domain())
            {
                forget(&route, entry.seq, self);
            }
            if hears_of_failure(&stanza) {
                errors.extend(stanza.error_answer(error));
            }
        }
        if !errors.is_empty() {
            let server = self.clone();
            tokio::spawn(async move { server.send(errors).await });
        }
    }
}

fn forget(route: &Route, seq: Seq, server: &Server) {
    if seq > 0 {
        route.forget(&[seq], &*server.store);
    }
}

/// Whether a sender is told that a stanza did not arrive. Who leaves, and an account on whose behalf the
/// server asks, would not know what to do with it.
fn hears_of_failure(stanza: &Stanza) -> bool {
    !matches!(stanza.kind(), Kind::Presence(PresenceType::Unavailable | PresenceType::Probe))
}
