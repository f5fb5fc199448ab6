//! A stanza on its way through one account's turn, as the watchers see it.

use std::sync::Arc;

use smallvec::SmallVec;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::stanza::Stanza;

use crate::account::Account;
use crate::account::state::State;
use crate::host::Host;
use crate::link::Link;

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
}

/// Why a message is kept in the account's log; none of them: it is not kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Keep {
    /// No resource took it and the rules say to keep it for the next that comes (RFC 6121 §8.5.2.2).
    pub offline: bool,
    /// It belongs into the archive.
    pub archive: bool,
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

/// A stanza within the turn of one account.
pub struct Passage<'a> {
    /// The account's host.
    pub host: &'a Host,
    /// The account whose turn it is.
    pub account: &'a Account,
    /// Its state, loaded and locked.
    pub state: &'a mut State,
    /// Which way the stanza goes.
    pub direction: Direction,
    /// The stanza; watchers in the stamp phase may replace it.
    pub stanza: &'a mut Stanza,
    /// The session that sent it, when outbound.
    pub link: Option<&'a Arc<Link>>,
    /// Why it is kept; set before the keep phase by the rules of RFC 6121 §8.5.
    pub keep: Keep,
    /// Where it goes, when inbound; decided before the keep phase.
    pub delivery: Delivery,
    /// Stanzas to be routed when the turn is over, by the router alone.
    pub sends: &'a mut Vec<Stanza>,
    /// Copies to resources of this account, written when the turn's own delivery is done.
    pub copies: SmallVec<[(usize, Stanza); 2]>,
}
