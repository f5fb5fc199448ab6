//! Which messages in no log several managed sessions have and none has acknowledged, as a machine
//! without I/O: when the last of these sessions ends, nobody has got the message, and it goes on by the
//! rules (XEP-0198 §4).
//!
//! In the place of a place in the log such a message has a number, behind all places. One that is not
//! known here was taken by somebody.

use std::collections::BTreeMap;

use crate::limits::HANDED_OUT_MAX;
use crate::store::shape::Seq;

/// The numbers are behind this one; places in a log are no higher than what a database's signed integer
/// holds.
const BEFORE: Seq = 1 << 63;

/// The number that no message has.
pub const TAKEN: Seq = BEFORE;

/// The messages, by number.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    given: u64,
    /// How many sessions may still take each.
    holders: BTreeMap<Seq, u32>,
}

/// Whether it is a place in the log, and neither 0 nor the number of a shared message.
pub fn is_place(seq: Seq) -> bool {
    seq != 0 && seq < BEFORE
}

/// Whether it is the number of a shared message.
pub fn is_number(seq: Seq) -> bool {
    seq >= BEFORE
}

impl Shared {
    /// The number of the next message.
    pub fn next_number(&mut self) -> Seq {
        self.given = self.given.saturating_add(1);
        BEFORE.saturating_add(self.given)
    }

    /// So many sessions have a message, and may all lose it. Beyond a bound the oldest counts as taken.
    pub fn hand_out(&mut self, number: Seq, holders: u32) {
        if holders > 0 {
            self.holders.insert(number, holders);
        }
        if self.holders.len() > HANDED_OUT_MAX {
            self.holders.pop_first();
        }
    }

    /// A session that the server before wrote down has a message that nobody had taken.
    pub fn hand_out_again(&mut self, number: Seq) {
        if number == TAKEN {
            return;
        }
        self.given = self.given.max(number.saturating_sub(BEFORE));
        let holders = self.holders.get(&number).copied().unwrap_or(0);
        self.hand_out(number, holders.saturating_add(1));
    }

    /// What the next server needs to know of a message: its number, if nobody has taken it.
    pub fn written(&self, number: Seq) -> Seq {
        if self.holders.contains_key(&number) { number } else { TAKEN }
    }

    /// A session has acknowledged a message.
    pub fn taken(&mut self, number: Seq) {
        self.holders.remove(&number);
    }

    /// A session has ended without a message; whether it was the last that could have taken it.
    pub fn lost(&mut self, number: Seq) -> bool {
        match self.holders.get_mut(&number) {
            Some(holders) if *holders > 1 => {
                *holders = holders.saturating_sub(1);
                false
            }
            Some(_) => self.holders.remove(&number).is_some(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_session_that_loses_a_message_has_lost_it() {
        let mut shared = Shared::default();
        let (first, second) = (shared.next_number(), shared.next_number());
        assert!(is_number(first) && !is_place(first) && first != second);
        shared.hand_out(first, 2);
        shared.hand_out(second, 2);
        assert!(!shared.lost(first));
        assert!(shared.lost(first));
        assert!(!shared.lost(first), "once");
        shared.taken(second);
        assert!(!shared.lost(second), "somebody has got it");
        assert_eq!(shared.written(second), TAKEN);
    }

    #[test]
    fn what_was_written_down_is_counted_again_and_numbers_go_on_behind_it() {
        let mut shared = Shared::default();
        let number = BEFORE + 7;
        shared.hand_out_again(TAKEN);
        assert!(!shared.lost(TAKEN));
        shared.hand_out_again(number);
        shared.hand_out_again(number);
        assert_eq!(shared.written(number), number);
        assert!(shared.next_number() > number);
        assert!(!shared.lost(number));
        assert!(shared.lost(number));
    }

    #[test]
    fn beyond_the_bound_the_oldest_counts_as_taken() {
        let mut shared = Shared::default();
        let numbers: Vec<Seq> = (0..=HANDED_OUT_MAX).map(|_| shared.next_number()).collect();
        numbers.iter().for_each(|number| shared.hand_out(*number, 1));
        assert!(!shared.lost(numbers[0]));
        assert!(shared.lost(numbers[1]));
    }
}
