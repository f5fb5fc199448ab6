//! The messages of one stream that are on their way to the disk, in the order in which they came:
//! what XEP-0198 lets be acknowledged is the longest prefix that has arrived there.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::stanza::Stanza;

use crate::limits::{UNCOMMITTED_CROWDED_MAX, UNCOMMITTED_PER_SESSION_MAX};
use crate::server::Server;
use crate::store::error::{Fault, StoreError};
use crate::trail::{Kept, Step, Trail};

/// Messages of one stream on their way to the disk.
#[derive(Debug, Default)]
pub struct Commits {
    uncommitted: VecDeque<Uncommitted>,
    /// The message that was settled last has been sent back.
    has_bounced: bool,
    /// The first stanza that could not be kept and whose error is not written yet: `h` stays before
    /// it, so that nobody takes for kept what was lost.
    bounced: Option<u32>,
}

/// A message on its way to a log.
#[derive(Debug)]
struct Uncommitted {
    /// Its number among the stanzas of a managed stream.
    number: u32,
    /// It is not another log of the message before.
    is_first: bool,
    kept: Kept,
}

impl Commits {
    /// How many are on their way.
    pub fn len(&self) -> usize {
        self.uncommitted.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.uncommitted.is_empty()
    }

    /// Whether so much is on its way that nothing more is taken from the stream.
    pub fn is_full(&self, server: &Server) -> bool {
        let count = self.len();
        count > UNCOMMITTED_PER_SESSION_MAX
            || (count > UNCOMMITTED_CROWDED_MAX && server.store.is_crowded())
    }

    /// Adds what handling a stanza has put on its way; `number` is its count on a managed stream,
    /// else 0.
    pub fn add(&mut self, number: u32, kept: Vec<Kept>) {
        let logs = kept.into_iter().enumerate();
        self.uncommitted.extend(logs.map(|(n, kept)| Uncommitted {
            number,
            is_first: n == 0,
            kept,
        }));
    }

    /// The longest prefix of `received` stanzas that are durable or need no keeping.
    pub fn durable(&self, received: u32) -> u32 {
        match self.bounced.or(self.uncommitted.front().map(|first| first.number)) {
            // What came before the stream was managed has no number.
            Some(0) => 0,
            Some(first) => first.wrapping_sub(1),
            None => received,
        }
    }

    /// Says that the errors for what could not be kept are on their way; true when there were any.
    pub fn errors_are_written(&mut self) -> bool {
        self.bounced.take().is_some()
    }

    /// Takes out what has been settled, and tells senders of what could not be kept; true when
    /// something was. `stream` is its id, for the log.
    pub fn poll(
        &mut self,
        server: &Arc<Server>,
        stream: impl Fn() -> Box<str>,
        context: &mut Context<'_>,
    ) -> bool {
        let mut any = false;
        while let Some(first) = self.uncommitted.front_mut() {
            let ticket = Pin::new(&mut first.kept.ticket);
            let Poll::Ready(outcome) = ticket.poll(context) else { break };
            let Some(settled) = self.uncommitted.pop_front() else { break };
            any = true;
            if let Some(later) = self.settle((server, &stream), &settled, outcome) {
                tokio::spawn(later);
            }
        }
        any
    }

    /// Waits for all that is on its way.
    pub async fn settle_all(&mut self, server: &Arc<Server>, stream: impl Fn() -> Box<str>) {
        while let Some(mut left) = self.uncommitted.pop_front() {
            let outcome = (&mut left.kept.ticket).await;
            if let Some(later) = self.settle((server, &stream), &left, outcome) {
                later.await;
            }
        }
    }

    /// Sends a message back that a log has lost: once, however many logs it was for.
    fn settle(
        &mut self,
        (server, stream): (&Arc<Server>, &impl Fn() -> Box<str>),
        settled: &Uncommitted,
        outcome: Result<(), StoreError>,
    ) -> Option<BoxFuture<'static, Vec<Kept>>> {
        self.has_bounced &= !settled.is_first;
        let error = outcome.err().filter(|_| !self.has_bounced)?;
        self.has_bounced = true;
        self.bounced.get_or_insert(settled.number);
        tracing::error!(
            stream = %stream(), from = settled.kept.stanza.from().map(Jid::as_str), %error,
            "a message could not be kept"
        );
        not_kept(server, &settled.kept.stanza, &error)
    }
}

/// Sends a message that could not be kept back to who sent it. What that waits for is returned.
fn not_kept(
    server: &Arc<Server>,
    stanza: &Stanza,
    error: &StoreError,
) -> Option<BoxFuture<'static, Vec<Kept>>> {
    let condition = match error.fault {
        Fault::Full | Fault::Io => Condition::ResourceConstraint,
        _ => Condition::InternalServerError,
    };
    let mut trail = Trail::default();
    trail.bounce(stanza, &StanzaError::new(condition));
    match server.carry_out(trail) {
        Step::Done(_) => None,
        Step::Later(later) => Some(later),
    }
}
