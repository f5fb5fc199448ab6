//! Which messages in an account's log no resource has taken yet, as a machine without I/O.
//!
//! A message waits (nobody has it), is handed out (resources have it and may still lose it), or is
//! taken. All that are not taken carry a bit in the log; after a crash all that carry it wait. The
//! bit is taken away from the front of the log, so what was taken behind one that was not is
//! remembered until then.

use std::collections::VecDeque;

use crate::limits::HANDED_OUT_MAX;
use crate::store::shape::Seq;
use crate::store::ticket::Ticket;

/// Taken messages after which the log is told, when no append tells it before.
const TELL_AFTER: u32 = 16;

/// Where an account's message log stands.
#[derive(Clone, Debug, Default)]
pub struct LogState {
    /// The highest sequence number given out.
    pub last_seq: Seq,
    /// How many messages wait for a resource.
    pub offline_count: u64,
    /// About how many bytes they have.
    pub offline_bytes: u64,
    /// A resource is being given what waits; nobody else gets it meanwhile.
    pub flushing: bool,
    /// The last append, as long as it may still be on its way to the disk.
    pub last_append: Option<Ticket>,
    /// At or before the first that waits; meaningless when none does.
    first_waiting: Seq,
    /// In ascending order.
    handed_out: VecDeque<HandedOut>,
    /// All up to here were taken, and the log does not know.
    taken_through: Seq,
    untold: u32,
}

/// A message that resources have.
#[derive(Clone, Copy, Debug)]
struct HandedOut {
    seq: Seq,
    bytes: u32,
    /// Resources that may still take it; none: it was taken.
    holders: u32,
}

impl LogState {
    /// A log as it was found: what waits, about how many bytes that is, and where it begins.
    pub fn found(last_seq: Seq, offline_count: u64, offline_bytes: u64, first: Seq) -> Self {
        Self { last_seq, offline_count, offline_bytes, first_waiting: first, ..Self::default() }
    }

    /// A message waits from now on.
    pub fn wait(&mut self, seq: Seq, bytes: usize) {
        self.first_waiting =
            if self.offline_count == 0 { seq } else { self.first_waiting.min(seq) };
        self.offline_count = self.offline_count.saturating_add(1);
        self.offline_bytes = self.offline_bytes.saturating_add(wide(bytes));
    }

    /// Some of what waited waits no more.
    pub fn waits_no_more(&mut self, count: u64, bytes: u64) {
        self.offline_count = self.offline_count.saturating_sub(count);
        self.offline_bytes = self.offline_bytes.saturating_sub(bytes);
        self.settle();
    }

    /// So many resources are given a message; with none it counts as taken.
    pub fn hand_out(&mut self, seq: Seq, bytes: usize, holders: u32) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let entry = HandedOut { seq, bytes, holders };
        match self.place(seq) {
            Ok(place) => {
                if let Some(known) = self.handed_out.get_mut(place) {
                    *known = entry;
                }
            }
            Err(place) => self.handed_out.insert(place, entry),
        }
        while self.handed_out.len() > HANDED_OUT_MAX {
            // A session that holds so much is about to be ended; it has the message still.
            if let Some(oldest) = self.handed_out.front_mut() {
                oldest.holders = 0;
            }
            if self.pop_taken() == 0 {
                break;
            }
        }
        self.settle();
    }

    /// A message that was found waiting is in the hands of one more resource after all.
    pub fn hand_out_again(&mut self, seq: Seq, bytes: usize) {
        let known = self.place(seq).ok().and_then(|place| self.handed_out.get_mut(place));
        match known {
            Some(entry) => entry.holders = entry.holders.saturating_add(1),
            None => {
                self.hand_out(seq, bytes, 1);
                self.waits_no_more(1, wide(bytes));
            }
        }
    }

    /// Whether a message has been handed out, or was taken behind one that was not.
    pub fn is_handed_out(&self, seq: Seq) -> bool {
        self.place(seq).is_ok()
    }

    /// A resource has taken a message: nobody else needs to.
    pub fn taken(&mut self, seq: Seq) {
        if let Some(entry) = self.place(seq).ok().and_then(|at| self.handed_out.get_mut(at)) {
            entry.holders = 0;
            self.settle();
        }
    }

    /// A resource has lost a message. True: nobody else has it, and it waits again.
    pub fn lost(&mut self, seq: Seq) -> bool {
        let Ok(place) = self.place(seq) else { return false };
        let Some(entry) = self.handed_out.get_mut(place) else { return false };
        match entry.holders {
            0 => false,
            1 => {
                let bytes = usize::try_from(entry.bytes).unwrap_or(usize::MAX);
                self.handed_out.remove(place);
                self.wait(seq, bytes);
                true
            }
            _ => {
                entry.holders = entry.holders.saturating_sub(1);
                false
            }
        }
    }

    /// What the log is to be told on occasion of an append: all up to here were taken.
    pub fn tell(&mut self) -> Option<Seq> {
        if self.untold == 0 {
            return None;
        }
        self.untold = 0;
        Some(self.taken_through)
    }

    /// The same without an occasion: only when it is worth a write of its own.
    pub fn tell_if_due(&mut self) -> Option<Seq> {
        if self.untold < TELL_AFTER { None } else { self.tell() }
    }

    /// Moves on over what was taken, as far as nothing before it waits.
    fn settle(&mut self) {
        while self.pop_taken() > 0 {}
        if self.handed_out.is_empty() && self.handed_out.capacity() > 64 {
            self.handed_out = VecDeque::new();
        }
    }

    fn pop_taken(&mut self) -> u32 {
        let Some(front) = self.handed_out.front() else { return 0 };
        let behind_waiting = self.offline_count > 0 && front.seq >= self.first_waiting;
        if front.holders > 0 || behind_waiting {
            return 0;
        }
        self.taken_through = front.seq;
        self.untold = self.untold.saturating_add(1);
        self.handed_out.pop_front();
        1
    }

    fn place(&self, seq: Seq) -> Result<usize, usize> {
        // Mostly the last, or the first.
        match self.handed_out.back() {
            Some(last) if last.seq < seq => Err(self.handed_out.len()),
            _ => self.handed_out.binary_search_by_key(&seq, |entry| entry.seq),
        }
    }
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_is_told_up_to_the_first_that_was_not_taken() {
        let mut log = LogState::default();
        for seq in 1..=4 {
            log.hand_out(seq, 10, 1);
        }
        log.taken(2);
        assert_eq!(log.tell(), None);
        log.taken(1);
        assert_eq!(log.tell(), Some(2));
        assert_eq!(log.tell(), None);
        log.taken(4);
        assert!(log.is_handed_out(4), "remembered until what is before it was taken");
        log.taken(3);
        assert_eq!(log.tell(), Some(4));
    }

    #[test]
    fn lost_message_waits_when_nobody_else_has_it() {
        let mut log = LogState::default();
        log.hand_out(1, 10, 2);
        log.hand_out(2, 10, 1);
        assert!(!log.lost(1));
        assert!(log.lost(1));
        assert_eq!((log.offline_count, log.offline_bytes), (1, 10));
        log.taken(2);
        assert_eq!(log.tell(), None, "the first still waits");
        log.hand_out(1, 10, 1);
        log.waits_no_more(1, 10);
        log.taken(1);
        assert_eq!(log.tell(), Some(2));
        assert!(!log.lost(2), "what was taken cannot be lost");
    }

    #[test]
    fn second_resource_takes_nothing_from_the_first() {
        let mut log = LogState::default();
        log.hand_out(1, 10, 2);
        log.taken(1);
        assert!(!log.lost(1));
        assert_eq!(log.offline_count, 0);
    }

    #[test]
    fn what_is_handed_out_is_bounded() {
        let mut log = LogState::default();
        for seq in 1..=20_000 {
            log.hand_out(seq, 10, 1);
        }
        assert!(log.handed_out.len() <= HANDED_OUT_MAX);
        assert_eq!(log.tell(), Some(20_000 - HANDED_OUT_MAX as u64));
    }
}
