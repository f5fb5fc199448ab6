//! How a route stands, and what becomes of a stanza that comes to it.

use std::time::SystemTime;

use tokio::time::Instant;
use verona_xmpp::error::Condition;

use crate::federation::gauge::Gauge;
use crate::federation::terms::Terms;
use crate::store::Store;
use crate::store::ticket::Ticket;
use crate::stream::management::Managed;
use crate::stream::server::pairs::Trust;

/// Where a route stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Phase {
    /// There is nothing to send.
    #[default]
    Idle,
    /// A stream is being opened.
    Connecting,
    /// A stream takes what comes.
    Connected,
    /// The last try failed, and the next one is a while away.
    Waiting,
}

/// How the last try failed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// What senders are told.
    pub condition: Condition,
    /// Whether waiting may help.
    pub retry: bool,
    /// The cause, for the operator.
    pub cause: String,
    /// When it was.
    pub at: SystemTime,
    /// When the next try is due.
    pub until: Instant,
}

/// A managed stream whose connection is gone and that may be resumed (XEP-0198 §5).
#[derive(Debug)]
pub enum Lost {
    /// This server opened it: its counters, with what the peer has not acknowledged, and until when
    /// resuming is tried.
    Ours(Box<Managed>, Instant),
    /// The peer did, and it is the peer who resumes: its id, and until when that is waited for.
    Theirs(Box<str>, Instant),
}

/// What became of a stanza for a domain elsewhere.
#[derive(Debug)]
pub enum Pushed {
    /// It is in the queue.
    Taken {
        /// When it is durable, if it is to be.
        ticket: Option<Ticket>,
        /// Whether somebody has to look after the connection now.
        start: bool,
    },
    /// The queue is full.
    Full,
    /// There is no way now, and it does not wait.
    Refused(Condition),
}

/// What a route needs to take a stanza.
pub struct Means<'a> {
    /// Where it becomes durable.
    pub store: &'a dyn Store,
    /// The bounds.
    pub terms: &'a Terms,
    /// What all routes share.
    pub gauge: &'a Gauge,
    /// Counts the starts of the server.
    pub epoch: u32,
    /// Microseconds since the epoch of Unix.
    pub now_micros: u64,
    /// Seconds of uptime.
    pub uptime_secs: u32,
}

/// How a route stands, for status.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Where it stands.
    pub phase: Phase,
    /// Stanzas that wait.
    pub stanzas: usize,
    /// Their bytes.
    pub bytes: usize,
    /// How the peer was proven, while there is a stream.
    pub trust: Option<Trust>,
    /// How the last try failed, if it did.
    pub failed: Option<Failed>,
}
