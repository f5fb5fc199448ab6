//! What is decided about a stanza on its way through an account's turn.

use smallvec::SmallVec;
use verona_xmpp::error::{Condition, StanzaError};

/// Which way a stanza goes, seen from the account whose turn it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// The account sent it.
    Outbound,
    /// It is for the account.
    Inbound,
}

/// When a watcher acts. Within a phase the order is that of the module list and must not matter.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// May stop the stanza.
    Guard,
    /// May change the stanza: one form for archive, delivery and copies.
    Stamp,
    /// Says whether it is to be kept.
    Keep,
    /// Sends copies of what was delivered.
    Copy,
}

/// What a watcher in the guard phase decides.
#[derive(Debug)]
pub enum Verdict {
    /// The stanza goes on.
    Pass,
    /// The stanza ends here, in silence.
    Drop,
    /// The stanza ends here with this error to its sender; in silence where an error is not due.
    Refuse(StanzaError),
    /// The stanza is answered as if there were no such account.
    Absent,
}

/// Why a message is kept in the account's log; none of them: it is not kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Keep {
    /// No resource took it and the rules say to keep it for the next that comes (RFC 6121 §8.5.2.2).
    pub offline: bool,
    /// It belongs into the archive.
    pub archive: bool,
    /// In the archive it counts as words, not as something beside them (XEP-0430 §4).
    pub instant: bool,
}

/// Where an inbound stanza goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Delivery {
    /// To these resources, by their place in the account's list; to none when empty.
    To(SmallVec<[usize; 4]>),
    /// Nowhere, and the sender hears why.
    Bounce(Condition),
    /// Nowhere, in silence.
    #[default]
    Ignore,
}

/// In whose place somebody asks an account for something.
#[derive(Debug)]
pub enum Standing {
    /// As anybody else.
    Own,
    /// As the account itself.
    Account,
    /// As the account itself, and it may not.
    Refused(StanzaError),
}
