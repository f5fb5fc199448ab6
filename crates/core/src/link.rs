//! A session as everybody else sees it: who it is, and its mailbox.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use verona_xmpp::jid::Jid;

use crate::mailbox::Mailbox;

/// Stands for the stream of a session that has slept since before a restart.
const NO_STREAM: &str = "none";

/// The shared half of a bound session. The other half, the stream, belongs to the session's task.
#[derive(Debug)]
pub struct Link {
    /// The full JID.
    pub jid: Jid,
    /// What waits to be written.
    pub mailbox: Mailbox,
    /// When the session began, or was found after a restart.
    since: Instant,
    /// Server uptime in seconds when the peer was last heard.
    heard_secs: AtomicU32,
    /// The id of its stream, or of the last one that it had.
    stream: Mutex<Box<str>>,
    /// How often it was heard, modulo 2^32.
    heard_times: AtomicU32,
}

impl Link {
    /// The shared half of a new session.
    pub fn new(jid: Jid, now_secs: u32) -> Self {
        Self {
            jid,
            mailbox: Mailbox::default(),
            since: Instant::now(),
            heard_secs: now_secs.into(),
            stream: Mutex::new(NO_STREAM.into()),
            heard_times: 0.into(),
        }
    }

    /// Says which stream the session has from now on.
    pub fn on_stream(&self, id: &str) {
        *self.stream.lock() = id.into();
    }

    /// The id of the session's stream, or of the last one that it had: by it the lines of the log
    /// that belong together are found.
    pub fn stream(&self) -> Box<str> {
        self.stream.lock().clone()
    }

    /// The bare JID of the account, for the log.
    pub fn account(&self) -> &str {
        self.jid.bare_str()
    }

    /// The resourcepart, for the log: clients choose it, so it is written with its quotes.
    pub fn resource(&self) -> &str {
        self.jid.resource().unwrap_or_default()
    }

    /// Notes that the peer was heard now, in seconds of server uptime.
    pub fn heard(&self, now_secs: u32) {
        self.heard_secs.store(now_secs, Ordering::Relaxed);
        self.heard_times.fetch_add(1, Ordering::Relaxed);
    }

    /// How often the peer was heard so far, modulo 2^32: who compares it with what it was learns
    /// whether the peer was heard since.
    pub fn heard_times(&self) -> u32 {
        self.heard_times.load(Ordering::Relaxed)
    }

    /// How long ago the session began, or was found after a restart, in microseconds.
    pub fn age_micros(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// When the peer was last heard, in seconds of server uptime.
    pub fn last_heard_secs(&self) -> u32 {
        self.heard_secs.load(Ordering::Relaxed)
    }
}
