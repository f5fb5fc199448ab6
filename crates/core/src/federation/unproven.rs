//! What was sent to a peer that does not acknowledge (XEP-0198): kept for a while, since a connection
//! that breaks now may have lost it. When that while is over, or the peer closes the stream in order,
//! it counts as taken; that is a guess, and the best there is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits::{STREAM_WINDOW_BYTES, STREAM_WINDOW_STANZAS, UNPROVEN_SECS};
use crate::mailbox::StanzaEnd;
use crate::store::shape::Seq;
use crate::stream::management::{Managed, Unacked};

/// Messages that were sent lately.
#[derive(Debug, Default)]
pub struct Unproven {
    sent: VecDeque<(Instant, Unacked)>,
    bytes: usize,
}

impl Unproven {
    /// Notes what is being written; `ends` tells where each stanza ends. Only what is in a log counts.
    pub fn sent(&mut self, bytes: &[u8], ends: &[StanzaEnd]) {
        let (mut start, now) = (0, Instant::now());
        for end in ends {
            let at = end.at as usize;
            if end.seq > 0 {
                let text: Box<[u8]> = bytes.get(start..at).unwrap_or_default().into();
                self.push(now, Unacked { text, seq: end.seq });
            }
            start = at;
        }
    }

    /// Takes over what was counted by a peer that counts no longer.
    pub fn adopt(&mut self, managed: Managed) {
        let now = Instant::now();
        managed.unacked.into_iter().filter(|one| one.seq > 0).for_each(|one| self.push(now, one));
    }

    fn push(&mut self, now: Instant, one: Unacked) {
        self.bytes = self.bytes.saturating_add(one.text.len());
        self.sent.push_back((now, one));
        while self.sent.len() > STREAM_WINDOW_STANZAS || self.bytes > STREAM_WINDOW_BYTES {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, one)) = self.sent.pop_front() {
            self.bytes = self.bytes.saturating_sub(one.text.len());
        }
    }

    /// Forgets what was sent long enough ago.
    pub fn trust_in_time(&mut self) {
        let limit = Duration::from_secs(UNPROVEN_SECS);
        while self.sent.front().is_some_and(|(at, _)| at.elapsed() > limit) {
            self.pop();
        }
        if self.sent.is_empty() {
            self.sent = VecDeque::new();
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sent.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// The place of the first.
    pub fn first(&self) -> Option<Seq> {
        self.sent.front().map(|(_, one)| one.seq)
    }

    /// Takes all, in order.
    pub fn take(&mut self) -> Vec<Unacked> {
        self.bytes = 0;
        std::mem::take(&mut self.sent).into_iter().map(|(_, one)| one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_log_is_kept_within_bounds_and_in_order() {
        let mut unproven = Unproven::default();
        for seq in 0..STREAM_WINDOW_STANZAS as Seq + 3 {
            let at = |at, seq| StanzaEnd { at, seq };
            unproven.sent(b"presencemessage", &[at(8, 0), at(15, seq)]);
        }
        unproven.trust_in_time();
        assert_eq!((unproven.len(), unproven.first()), (STREAM_WINDOW_STANZAS, Some(3)));
        let all = unproven.take();
        assert_eq!(&*all[0].text, b"message");
        assert!(all.is_sorted_by_key(|one| one.seq));
        assert_eq!(unproven.len(), 0);
    }
}
