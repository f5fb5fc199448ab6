//! What was sent to a peer that does not acknowledge (XEP-0198): kept until it is proven that the peer
//! has read it, since a connection that breaks before may have lost it.
//!
//! A peer handles a stream in order, so its answer to a ping (XEP-0199) proves all that was sent
//! before the ping. With a peer that answers no pings, what was sent a while ago counts as taken; that
//! is a guess, and the best there is.

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::limits::{PING_PAUSE_MILLIS, STREAM_WINDOW_BYTES, STREAM_WINDOW_STANZAS, UNPROVEN_SECS};
use crate::mailbox::StanzaEnd;
use crate::questions::Question;
use crate::store::shape::Seq;
use crate::stream::management::{Managed, Unacked};

/// Messages that were sent and are not proven.
#[derive(Debug, Default)]
pub struct Unproven {
    sent: VecDeque<(Instant, Unacked)>,
    bytes: usize,
    ping: Option<Ping>,
    /// When the last ping was sent.
    pinged: Option<Instant>,
    habit: Habit,
}

/// A ping that waits for its answer.
#[derive(Debug)]
struct Ping {
    question: Question,
    /// How many of the messages were sent before it.
    covers: usize,
}

/// What the peer does with pings.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Habit {
    #[default]
    Unknown,
    Answers,
    Ignores,
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
        // Who answers gets no more than there is room for.
        while !self.is_certain()
            && (self.sent.len() > STREAM_WINDOW_STANZAS || self.bytes > STREAM_WINDOW_BYTES)
        {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, one)) = self.sent.pop_front() {
            self.bytes = self.bytes.saturating_sub(one.text.len());
        }
        if let Some(ping) = &mut self.ping {
            ping.covers = ping.covers.saturating_sub(1);
        }
        if self.sent.is_empty() {
            self.sent = VecDeque::new();
        }
    }

    /// How long the next ping is to wait; None: there is nothing to prove, or no way to. One is on its
    /// way at a time, and a steady flow pays for few of them.
    pub fn ping_wait(&self, now: Instant) -> Option<Duration> {
        if self.ping.is_some() || self.sent.is_empty() || self.habit == Habit::Ignores {
            return None;
        }
        let much =
            self.sent.len() >= STREAM_WINDOW_STANZAS / 4 || self.bytes >= STREAM_WINDOW_BYTES / 4;
        let pause = Duration::from_millis(PING_PAUSE_MILLIS);
        let left = |at| pause.saturating_sub(now.saturating_duration_since(at));
        Some(self.pinged.filter(|_| !much).map(left).unwrap_or_default())
    }

    /// Notes a ping behind all that was sent so far.
    pub fn pinged(&mut self, question: Question) {
        self.ping = Some(Ping { question, covers: self.sent.len() });
        self.pinged = Some(Instant::now());
    }

    /// Waits for the answer to the ping: then what was sent before it is proven, and forgotten.
    pub fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(ping) = &mut self.ping else { return Poll::Pending };
        let Poll::Ready(_) = ping.question.poll_answer(context) else { return Poll::Pending };
        let covers = ping.covers;
        (self.ping, self.habit) = (None, Habit::Answers);
        (0..covers).for_each(|_| self.pop());
        Poll::Ready(())
    }

    /// Whether the peer has answered a ping, so that what is not proven was not read.
    pub fn is_certain(&self) -> bool {
        self.habit == Habit::Answers
    }

    /// Forgets all: the peer has read it.
    pub fn prove(&mut self) {
        self.take();
    }

    /// Forgets what was sent long enough ago, if the peer is not known to answer.
    pub fn trust_in_time(&mut self, now: Instant) {
        if self.is_certain() {
            return;
        }
        let limit = Duration::from_secs(UNPROVEN_SECS);
        let is_old = |at: Instant| now.saturating_duration_since(at) > limit;
        if self.ping.is_some() && self.pinged.is_some_and(is_old) {
            self.habit = Habit::Ignores;
            self.ping = None;
        }
        while self.sent.front().is_some_and(|(at, _)| is_old(*at)) {
            self.pop();
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

    /// How much of what a stream may have on its way they take: stanzas and bytes.
    pub fn weight(&self) -> (usize, usize) {
        if self.is_certain() { (self.sent.len(), self.bytes) } else { (0, 0) }
    }

    /// The place of the first.
    pub fn first(&self) -> Option<Seq> {
        self.sent.front().map(|(_, one)| one.seq)
    }

    /// Takes all, in order.
    pub fn take(&mut self) -> Vec<Unacked> {
        (self.bytes, self.ping) = (0, None);
        std::mem::take(&mut self.sent).into_iter().map(|(_, one)| one).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use verona_xmpp::jid::Jid;
    use verona_xmpp::stanza::Stanza;

    use super::*;
    use crate::questions::Questions;

    fn send(unproven: &mut Unproven, seqs: std::ops::Range<Seq>) {
        seqs.for_each(|seq| unproven.sent(b"message", &[StanzaEnd { at: 7, seq }]));
    }

    /// Sends a ping; gives what answers it.
    fn ping(unproven: &mut Unproven, questions: &Arc<Questions>) -> Stanza {
        let jid = |text| Jid::parse(text).unwrap();
        let question = questions.open(&jid("montague.lit"), &jid("capulet.lit")).unwrap();
        let id = &question.id;
        let text = format!("<iq type='error' from='capulet.lit' to='montague.lit' id='{id}'/>");
        unproven.pinged(question);
        Stanza::parse(&text).unwrap()
    }

    fn poll(unproven: &mut Unproven) -> Poll<()> {
        unproven.poll_answer(&mut Context::from_waker(std::task::Waker::noop()))
    }

    #[test]
    fn what_is_in_a_log_is_kept_within_bounds_and_in_order() {
        let mut unproven = Unproven::default();
        for seq in 0..STREAM_WINDOW_STANZAS as Seq + 3 {
            let at = |at, seq| StanzaEnd { at, seq };
            unproven.sent(b"presencemessage", &[at(8, 0), at(15, seq)]);
        }
        unproven.trust_in_time(Instant::now());
        assert_eq!((unproven.len(), unproven.first()), (STREAM_WINDOW_STANZAS, Some(3)));
        assert_eq!(unproven.weight(), (0, 0), "nobody knows how much of it was read");
        let all = unproven.take();
        assert_eq!(&*all[0].text, b"message");
        assert!(all.is_sorted_by_key(|one| one.seq));
        assert_eq!(unproven.len(), 0);
    }

    #[test]
    fn an_answer_proves_what_was_sent_before_the_ping() {
        let (questions, mut unproven) = (Arc::default(), Unproven::default());
        send(&mut unproven, 1..3);
        let answer = ping(&mut unproven, &questions);
        send(&mut unproven, 3..5);
        assert_eq!(poll(&mut unproven), Poll::Pending);
        assert!(questions.answer(&answer));
        assert_eq!(poll(&mut unproven), Poll::Ready(()));
        assert_eq!((unproven.first(), unproven.weight().0), (Some(3), 2));
        // Who answers is not believed to have read what it has not answered for, however old.
        unproven.trust_in_time(Instant::now() + Duration::from_secs(3_600));
        assert_eq!(unproven.len(), 2);
    }

    #[test]
    fn who_ignores_a_ping_is_asked_no_more_and_trusted_in_time() {
        let (questions, mut unproven) = (Arc::default(), Unproven::default());
        send(&mut unproven, 1..3);
        ping(&mut unproven, &questions);
        let later = Instant::now() + Duration::from_secs(UNPROVEN_SECS + 1);
        unproven.trust_in_time(later);
        assert!(unproven.is_empty());
        send(&mut unproven, 3..4);
        assert_eq!(unproven.ping_wait(later), None);
        assert_eq!(unproven.first(), Some(3));
    }

    #[test]
    fn a_steady_flow_pays_for_few_pings() {
        let (questions, mut unproven) = (Arc::default(), Unproven::default());
        let now = Instant::now();
        assert_eq!(unproven.ping_wait(now), None, "nothing was sent");
        send(&mut unproven, 1..2);
        assert_eq!(unproven.ping_wait(now), Some(Duration::ZERO));
        let answer = ping(&mut unproven, &questions);
        send(&mut unproven, 2..3);
        assert_eq!(unproven.ping_wait(now), None, "one is on its way");
        questions.answer(&answer);
        assert_eq!(poll(&mut unproven), Poll::Ready(()));
        assert!(unproven.ping_wait(now).is_some_and(|wait| !wait.is_zero()));
        let later = Instant::now() + Duration::from_millis(PING_PAUSE_MILLIS);
        assert_eq!(unproven.ping_wait(later), Some(Duration::ZERO));
        send(&mut unproven, 3..STREAM_WINDOW_STANZAS as Seq);
        assert_eq!(unproven.ping_wait(now), Some(Duration::ZERO), "much is not proven");
    }
}
