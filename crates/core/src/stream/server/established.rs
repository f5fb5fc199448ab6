//! A stream between two servers on which stanzas may flow: what negotiation hands to the session.

use verona_xml::{Scanner, Tree};

use crate::federation::reach::Target;
use crate::stream::management::Managed;
use crate::stream::server::dialback::Dialbacks;
use crate::stream::server::side::{Role, Takes};
use crate::stream::wire::Wire;

/// A stream on which at least one pair of domains is verified. Who may send what on it, and until
/// when, is in `dialbacks.pairs`.
pub struct Established {
    /// The connection.
    pub wire: Box<dyn Wire>,
    /// What reads it; its limits are those of stanzas already.
    pub scanner: Scanner,
    /// Received behind the negotiation, and not looked at.
    pub unread: Vec<u8>,
    /// The stream id that the receiving entity gave (RFC 6120 §4.7.3).
    pub id: Box<str>,
    /// Which side of it this server is.
    pub role: Role,
    /// The pairs of the stream, and dialback for more of them. It stays for as long as the stream:
    /// elements of its namespace go to [`Dialbacks::hear`].
    pub dialbacks: Dialbacks,
    /// Whether stanzas flow both ways (XEP-0288); otherwise only the initiating server sends them.
    pub bidi: bool,
    /// The counters, when the stream is managed (XEP-0198). On a stream that this server opened it
    /// counts from now on, while the answer to `<enable/>` is still on its way, and is the one of
    /// the stream before when that was resumed: then what is unacknowledged in it goes out first.
    pub managed: Option<Box<Managed>>,
    /// Whether `managed` comes from a stream before this.
    pub resumed: bool,
    /// The counters of the stream that could not be resumed as was wished: what is unacknowledged in
    /// them, the peer has not handled as far as is known.
    pub former: Option<Box<Managed>>,
    /// Stanzas that came while the peer was asked for the resumption, before all that is unread. They
    /// are not counted.
    pub early: Vec<Tree>,
    /// What the peer says it takes.
    pub takes: Takes,
    /// Where the peer was found, on streams that this server opened.
    pub target: Option<Target>,
    /// Each step with its outcome, on streams that this server opened.
    pub steps: Vec<String>,
}

impl std::fmt::Debug for Established {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Established")
            .field("id", &self.id)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}
