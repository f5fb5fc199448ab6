//! What negotiation hands to the long-lived part of a server stream: an established stream, and what
//! each side may do on it.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use verona_xml::Scanner;

use crate::federation::reach::{Pair, ProvenBy};
use crate::server::Server;
use crate::stream::wire::Wire;

/// Opens a stream for a pair: dials, negotiates, proves who is there (RFC 6120 §5, §6, XEP-0220),
/// and begins or resumes stream management where the peer knows it. It ends in bounded time.
pub type Establish = dyn Fn(Arc<Server>, Pair, Wish) -> BoxFuture<'static, Result<Established, Failure>>
    + Send
    + Sync;

/// What is wanted of a new stream beside that it stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wish {
    /// The managed stream that it shall go on with (XEP-0198 §5).
    pub resume: Option<Resumption>,
}

/// A managed stream that was lost.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resumption {
    /// Its id, for `previd`.
    pub id: Box<str>,
    /// Stanzas of the peer that were handled, for `h`.
    pub h: u32,
}

/// Which side opened the stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// This server did (RFC 6120 §4.1, initiating entity).
    Initiating,
    /// The peer did (receiving entity).
    Receiving,
}

/// How it was proven that a peer speaks for a domain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum By {
    /// By its certificate.
    Certificate(ProvenBy),
    /// By dialback alone (XEP-0220); status and log mark such peers.
    Dialback,
}

/// How far a peer is trusted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trust {
    /// How it was proven.
    pub by: By,
    /// When that ends, if it does: a certificate expires (RFC 6120 §13.7.2.3).
    pub until: Option<SystemTime>,
}

/// Two domains between which a stream carries stanzas, and why the peer is believed to be the remote
/// one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proven {
    /// The domains.
    pub pair: Pair,
    /// Why.
    pub trust: Trust,
}

/// How stream management begins on a stream that this server opened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Managing {
    /// The lost stream goes on (XEP-0198 §5); the peer has handled so many of our stanzas.
    Resumed {
        /// The peer's count.
        h: u32,
    },
    /// A new count begins with the first stanza on this stream.
    Begun {
        /// Under what it may be resumed, if it may.
        id: Option<Box<str>>,
        /// For how long the peer keeps it, if it said so.
        secs: Option<u32>,
        /// How many stanzas of the lost stream the peer has handled, when it told that with its
        /// refusal to resume (§5).
        lost_h: Option<u32>,
    },
}

/// What the peer takes (XEP-0478 §3.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PeerLimits {
    /// Bytes of one stanza.
    pub stanza_bytes_max: Option<u32>,
    /// Seconds of silence after which it may close the stream.
    pub idle_secs: Option<u32>,
}

/// A stream on which stanzas may go.
pub struct Established {
    /// The connection.
    pub wire: Box<dyn Wire>,
    /// What reads it, between two elements.
    pub scanner: Scanner,
    /// Received, and not looked at.
    pub unread: Vec<u8>,
    /// The id of the stream (RFC 6120 §4.7.3).
    pub id: Box<str>,
    /// Who opened it.
    pub role: Role,
    /// The pairs that are proven: the one it was opened for when initiating; those from which stanzas
    /// are taken when receiving.
    pub proven: Vec<Proven>,
    /// Whether stanzas go both ways (XEP-0288).
    pub bidi: bool,
    /// Stream management, when initiating; a receiving stream begins without and hears the peer's
    /// commands when it runs.
    pub managing: Option<Managing>,
    /// What the peer takes.
    pub peer_limits: PeerLimits,
}

/// Why a stream could not be established.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// Whether there is no such server: `remote-server-not-found`. Otherwise it is
    /// `remote-server-timeout` (RFC 6120 §8.3.3.16, 17).
    pub unknown: bool,
    /// The cause in one line, for the operator.
    pub cause: String,
    /// Each step with its outcome, for check and status.
    pub steps: Vec<String>,
}
