//! What is kept aside for a session that is held back, under a bound.

use verona_xmpp::stanza::Stanza;

use crate::limits::{HELD_BYTES_MAX, HELD_STANZAS_MAX};
use crate::store::shape::Seq;

/// What becomes of a stanza for a session that is held back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Patience {
    /// It leaves now, behind all that was kept aside.
    Now,
    /// It may wait.
    Waits,
    /// It is worth nothing later, and is left out.
    Lapses,
    /// It may wait, and what waits under the same key need not be said any more.
    Replaces(Box<str>),
}

/// Tells of each stanza for a session that is held back whether it may wait.
pub type Judge = fn(&Stanza) -> Patience;

/// Stanzas that were kept aside, in the order in which they are to leave.
#[derive(Debug)]
pub struct Held {
    judge: Judge,
    stanzas: Vec<Waiting>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    key: Option<Box<str>>,
    seq: Seq,
    bytes: Box<[u8]>,
}

impl Held {
    /// Nothing yet.
    pub fn new(judge: Judge) -> Self {
        Self { judge, stanzas: Vec::new(), bytes: 0 }
    }

    /// What becomes of a stanza.
    pub fn judge(&self, stanza: &Stanza) -> Patience {
        (self.judge)(stanza)
    }

    /// Keeps aside what `write` writes, in place of what waits under the same key: as the last, since
    /// what came between the two may have to do with it.
    pub fn add(&mut self, key: Option<Box<str>>, seq: Seq, write: impl FnOnce(&mut Vec<u8>)) {
        let same = |waiting: &Waiting| key.is_some() && waiting.key == key;
        if let Some(place) = self.stanzas.iter().position(same) {
            let stale = self.stanzas.remove(place);
            self.bytes = self.bytes.saturating_sub(stale.bytes.len());
        }
        let mut bytes = Vec::new();
        write(&mut bytes);
        self.bytes = self.bytes.saturating_add(bytes.len());
        self.stanzas.push(Waiting { key, seq, bytes: bytes.into() });
    }

    /// Whether no more is to be kept aside.
    pub fn is_full(&self) -> bool {
        self.stanzas.len() >= HELD_STANZAS_MAX || self.bytes >= HELD_BYTES_MAX
    }

    /// How many stanzas there are, and how many bytes.
    pub fn size(&self) -> (usize, usize) {
        (self.stanzas.len(), self.bytes)
    }

    /// Takes all, in order, each with its place in the account's log.
    pub fn take(&mut self) -> impl ExactSizeIterator<Item = (Seq, Box<[u8]>)> + use<> {
        self.bytes = 0;
        std::mem::take(&mut self.stanzas).into_iter().map(|waiting| (waiting.seq, waiting.bytes))
    }
}
