//! What waits to be sent to one domain, in order: a machine without I/O.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::mailbox::StanzaEnd;
use crate::store::shape::Seq;

/// Places that an empty queue keeps.
const KEPT_CAPACITY: usize = 32;

/// A stanza that waits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its text.
    pub text: Arc<str>,
    /// Its place in the log of the route; 0 when it is in none.
    pub seq: Seq,
}

/// Stanzas that wait.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<Entry>,
    bytes: usize,
}

/// How much may be taken at once.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Stanzas.
    pub stanzas: usize,
    /// Bytes; the last stanza may go beyond.
    pub bytes: usize,
    /// Bytes of one stanza: a larger one is not taken and stops what is behind it.
    pub stanza_bytes: usize,
}

impl Queue {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes of those that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts a stanza behind the others.
    pub fn push(&mut self, entry: Entry) {
        self.bytes = self.bytes.saturating_add(entry.text.len());
        self.waiting.push_back(entry);
    }

    /// Puts stanzas that were taken before the others, in their order.
    pub fn give_back(&mut self, entries: Vec<Entry>) {
        for entry in entries.into_iter().rev() {
            self.bytes = self.bytes.saturating_add(entry.text.len());
            self.waiting.push_front(entry);
        }
    }

    /// Takes what there is room for: its text behind `out`, and where each stanza ends.
    pub fn take(&mut self, room: Room, out: &mut Vec<u8>, ends: &mut Vec<StanzaEnd>) {
        let before = out.len();
        let mut count = 0_usize;
        while count < room.stanzas && out.len().saturating_sub(before) < room.bytes {
            let first = self.waiting.front().map(|entry| entry.text.len());
            if first.is_none_or(|length| length > room.stanza_bytes) {
                break;
            }
            let Some(entry) = self.waiting.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(entry.text.len());
            out.extend_from_slice(entry.text.as_bytes());
            let at = u32::try_from(out.len()).unwrap_or(u32::MAX);
            ends.push(StanzaEnd { at, seq: entry.seq });
            count = count.saturating_add(1);
        }
        self.shrink();
    }

    /// Takes those out for which `gone` says so.
    pub fn take_where(&mut self, gone: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        if !self.waiting.iter().any(&gone) {
            return Vec::new();
        }
        let all = std::mem::take(&mut self.waiting);
        let (taken, left): (Vec<Entry>, Vec<Entry>) = all.into_iter().partition(gone);
        self.waiting = left.into();
        self.bytes = self.waiting.iter().map(|entry| entry.text.len()).sum();
        taken
    }

    /// The place of the oldest stanza that is in the log.
    pub fn oldest(&self) -> Option<Seq> {
        self.waiting.iter().map(|entry| entry.seq).find(|seq| *seq > 0)
    }

    /// Takes the first stanza when it is larger than the peer takes.
    pub fn pop_larger(&mut self, stanza_bytes: usize) -> Option<Entry> {
        self.waiting.front().filter(|entry| entry.text.len() > stanza_bytes)?;
        let entry = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(entry.text.len());
        Some(entry)
    }

    /// An idle queue owns next to nothing.
    fn shrink(&mut self) {
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT_CAPACITY {
            self.waiting = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str, seq: Seq) -> Entry {
        Entry { text: text.into(), seq }
    }

    fn queue(texts: &[&str]) -> Queue {
        let mut queue = Queue::default();
        for (seq, text) in texts.iter().enumerate() {
            queue.push(entry(text, seq as Seq));
        }
        queue
    }

    fn taken(queue: &mut Queue, room: Room) -> (String, Vec<u32>) {
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        queue.take(room, &mut out, &mut ends);
        (String::from_utf8(out).unwrap(), ends.iter().map(|end| end.at).collect())
    }

    #[test]
    fn stanzas_leave_in_order_and_as_there_is_room() {
        let mut queue = queue(&["aa", "b", "cc", "d"]);
        assert_eq!(queue.bytes(), 6);
        let room = Room { stanzas: 2, bytes: 100, stanza_bytes: 9 };
        assert_eq!(taken(&mut queue, room), ("aab".into(), vec![2, 3]));
        let room = Room { stanzas: 9, bytes: 1, stanza_bytes: 9 };
        assert_eq!(taken(&mut queue, room), ("cc".into(), vec![2]));
        let none = Room { stanzas: 9, bytes: 0, stanza_bytes: 9 };
        assert_eq!(taken(&mut queue, none), (String::new(), vec![]));
        assert_eq!((queue.len(), queue.bytes()), (1, 1));
    }

    #[test]
    fn what_is_given_back_leaves_first() {
        let mut queue = queue(&["c"]);
        queue.give_back(vec![entry("a", 0), entry("b", 0)]);
        let all = Room { stanzas: 9, bytes: 9, stanza_bytes: 9 };
        assert_eq!(taken(&mut queue, all), ("abc".into(), vec![1, 2, 3]));
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn a_stanza_that_is_too_large_stops_the_others() {
        let mut queue = queue(&["a", "bbb", "c"]);
        let room = Room { stanzas: 9, bytes: 99, stanza_bytes: 2 };
        assert_eq!(taken(&mut queue, room).0, "a");
        assert_eq!(taken(&mut queue, room).0, "");
        assert_eq!(queue.pop_larger(2), Some(entry("bbb", 1)));
        assert_eq!(queue.pop_larger(2), None);
        assert_eq!((taken(&mut queue, room).0.as_str(), queue.bytes()), ("c", 0));
    }

    #[test]
    fn some_are_taken_out_of_the_middle() {
        let mut queue = queue(&["a", "bb", "c"]);
        assert_eq!(queue.oldest(), Some(1), "the first is in no log");
        assert_eq!(queue.take_where(|entry| entry.seq == 1), [entry("bb", 1)]);
        assert_eq!((queue.len(), queue.bytes(), queue.oldest()), (2, 2, Some(2)));
        assert!(queue.take_where(|entry| entry.seq == 1).is_empty());
    }
}
