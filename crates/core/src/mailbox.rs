//! What waits to be written to one session: bytes under a bound, and a bell for its task.
//!
//! Everybody who has something for a session appends it here; the session's task takes all that
//! waits and writes it in one go. An idle mailbox owns no buffer.
//!
//! A module may have a session held back: what may wait is then kept aside until something comes
//! that may not, and leaves before that, in the order in which it came.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use parking_lot::{Mutex, MutexGuard};
use verona_xmpp::error::StreamError;
use verona_xmpp::stanza::Stanza;

use crate::held::{Held, Judge, Patience};
use crate::limits::{ASLEEP_BYTES_MAX, ASLEEP_STANZAS_MAX, MAILBOX_BYTES_HARD, MAILBOX_BYTES_MAX};
use crate::store::shape::Seq;

/// The queue in front of one session.
#[derive(Debug, Default)]
pub struct Mailbox {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: Vec<u8>,
    /// Where each stanza in `waiting` ends, when they are counted (XEP-0198).
    ends: Option<Vec<StanzaEnd>>,
    /// While the session is held back: what was kept aside.
    held: Option<Box<Held>>,
    order: Option<Box<Order>>,
    state: State,
    /// The task that owns the session.
    owner: Option<Waker>,
    /// The same task, while its peer takes nothing: only an order to leave wakes it.
    stuck: Option<Waker>,
    /// Sources that were paused because the mailbox is over its bound.
    paused: Vec<Waker>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Open,
    /// Nobody writes to the peer now, but it may come back (XEP-0198 §5).
    Asleep,
    /// The session ends: what arrives now is refused, so that the sender's turn sees the resource
    /// as gone.
    Closed,
}

/// What the owner of a session is told to do, beside writing.
#[derive(Clone, Debug)]
pub enum Order {
    /// End the stream with this error (RFC 6120 §4.9.3).
    End(StreamError),
    /// Take the peer for gone: its connection is as good as lost.
    Lost,
    /// Find out whether the peer is still there (RFC 6120 §4.6.4).
    Probe,
    /// Leave the stream and keep the session for who resumes it (XEP-0198 §5): with `conflict` when
    /// that is another stream, in silence when the server goes away.
    Yield(Option<StreamError>),
}

/// In the place of a place in the log: the stanza is in none, and another resource was given it too,
/// so that nobody misses it when this one does not take it.
pub const SHARED: Seq = Seq::MAX;

/// Whether it is a place in the log.
pub fn is_place(seq: Seq) -> bool {
    seq != 0 && seq != SHARED
}

/// Where a stanza ends, and its place in the account's log; 0 when it is in none, or [`SHARED`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StanzaEnd {
    /// Bytes up to its end.
    pub at: u32,
    /// Its place in the log.
    pub seq: Seq,
}

/// What the owner takes at once.
#[derive(Debug)]
pub struct Taken {
    /// What is to be written.
    pub bytes: Vec<u8>,
    /// Where each stanza ends in it, when they are counted.
    pub ends: Vec<StanzaEnd>,
    /// What to do when it is written.
    pub order: Option<Order>,
}

/// How a delivery went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Put {
    /// Taken.
    Taken,
    /// Taken, and the mailbox is over its bound: the source pauses before its next stanza.
    Crowded,
    /// Refused: the session has ended, or the mailbox is over twice its bound.
    Refused,
    /// Refused: the session is asleep and holds all that it may. It has to end first.
    Overslept,
}

impl Order {
    fn is_to_leave(&self) -> bool {
        !matches!(self, Self::Probe)
    }
}

impl Mailbox {
    /// Appends what `write` writes, and rings the bell.
    pub fn put(&self, write: impl FnOnce(&mut Vec<u8>)) -> Put {
        let mut inner = self.inner.lock();
        if let Some(refused) = inner.refuses() {
            return refused;
        }
        inner.let_out();
        inner.append(0, write);
        ring(inner)
    }

    /// Like [`Mailbox::put`]; but while the session is held back, what `write` writes is kept aside
    /// when `stanza` may wait.
    pub fn put_stanza(&self, stanza: &Stanza, write: impl FnOnce(&mut Vec<u8>)) -> Put {
        self.put_kept(stanza, 0, write)
    }

    /// The same with a message that has a place in the account's log; 0 for none.
    pub fn put_kept(&self, stanza: &Stanza, seq: Seq, write: impl FnOnce(&mut Vec<u8>)) -> Put {
        let mut inner = self.inner.lock();
        if let Some(refused) = inner.refuses() {
            return refused;
        }
        if let Some(held) = &mut inner.held {
            let key = match held.judge(stanza) {
                Patience::Lapses if !is_place(seq) => return Put::Taken,
                Patience::Now => None,
                Patience::Waits | Patience::Lapses => Some(None),
                // What is kept is not left out, and not replaced either.
                Patience::Replaces(key) => Some(Some(key).filter(|_| !is_place(seq))),
            };
            if let Some(key) = key {
                held.add(key, seq, write);
                if !held.is_full() {
                    return Put::Taken;
                }
                inner.let_out();
                return ring(inner);
            }
            inner.let_out();
        }
        inner.append(seq, write);
        ring(inner)
    }

    /// Holds the session back from now on, as `judge` says.
    pub fn hold(&self, judge: Judge) {
        let mut inner = self.inner.lock();
        if inner.held.is_none() {
            inner.held = Some(Box::new(Held::new(judge)));
        }
    }

    /// Holds the session back no longer; what was kept aside leaves now.
    pub fn release(&self) {
        let mut inner = self.inner.lock();
        inner.let_out();
        inner.held = None;
        ring(inner);
    }

    /// Lets out what was kept aside so far.
    pub fn let_out(&self) {
        let mut inner = self.inner.lock();
        if inner.let_out() {
            ring(inner);
        }
    }

    /// Gives the owner an order; one to leave is not replaced by a later one.
    pub fn order(&self, order: Order) {
        let mut inner = self.inner.lock();
        if !inner.order.as_deref().is_some_and(Order::is_to_leave) {
            inner.order = Some(Box::new(order));
        }
        let wakers = [inner.owner.take(), inner.stuck.take()];
        drop(inner);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// For the owner, while its peer takes nothing: takes an order to leave, or arranges to be woken
    /// by one.
    pub fn poll_leave(&self, context: &mut Context<'_>) -> Option<Order> {
        let mut inner = self.inner.lock();
        if inner.order.as_deref().is_some_and(Order::is_to_leave) {
            return inner.order.take().map(|order| *order);
        }
        inner.stuck = Some(context.waker().clone());
        None
    }

    /// For the owner: takes all that waits, or arranges to be woken.
    pub fn poll_take(&self, context: &mut Context<'_>) -> Poll<Taken> {
        let mut inner = self.inner.lock();
        if inner.order.is_some() {
            inner.let_out();
        }
        if inner.waiting.is_empty() && inner.order.is_none() {
            match &mut inner.owner {
                Some(owner) => owner.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            let paused = std::mem::take(&mut inner.paused);
            drop(inner);
            paused.into_iter().for_each(Waker::wake);
            return Poll::Pending;
        }
        let taken = std::mem::take(&mut inner.waiting);
        let ends = inner.ends.as_mut().map(std::mem::take).unwrap_or_default();
        let order = inner.order.take().map(|order| *order);
        let paused = std::mem::take(&mut inner.paused);
        drop(inner);
        paused.into_iter().for_each(Waker::wake);
        Poll::Ready(Taken { bytes: taken, ends, order })
    }

    /// For the owner: notes from now on where each stanza ends. What waits already is given back, to
    /// be written before.
    pub fn count_stanzas(&self) -> Vec<u8> {
        let mut inner = self.inner.lock();
        inner.ends = Some(Vec::new());
        std::mem::take(&mut inner.waiting)
    }

    /// Whether the owner is told which stanzas the peer has got (XEP-0198 §4).
    pub fn counts_stanzas(&self) -> bool {
        self.inner.lock().ends.is_some()
    }

    /// Whether nobody writes to the peer now, though it may come back (XEP-0198 §5).
    pub fn is_asleep(&self) -> bool {
        self.inner.lock().state == State::Asleep
    }

    /// Whether a put would be refused because the session sleeps and holds all that it may.
    pub fn has_overslept(&self) -> bool {
        let inner = self.inner.lock();
        inner.state == State::Asleep && inner.is_full_asleep()
    }

    /// Bytes that wait.
    pub fn waiting_bytes(&self) -> usize {
        let inner = self.inner.lock();
        let held = inner.held.as_ref().map_or(0, |held| held.size().1);
        inner.waiting.len().saturating_add(held)
    }

    /// For the owner: keeps what arrives until somebody takes over, up to a bound.
    pub fn fall_asleep(&self) {
        let mut inner = self.inner.lock();
        inner.state = State::Asleep;
        inner.owner = None;
        inner.order = None;
        let paused = std::mem::take(&mut inner.paused);
        drop(inner);
        paused.into_iter().for_each(Waker::wake);
    }

    /// For who puts a sleeping session away: takes what waits.
    pub fn take_asleep(&self) -> Taken {
        let mut inner = self.inner.lock();
        inner.let_out();
        let bytes = std::mem::take(&mut inner.waiting);
        let ends = inner.ends.as_mut().map(std::mem::take).unwrap_or_default();
        Taken { bytes, ends, order: None }
    }

    /// For the new owner of a session that slept: it is not held back any more.
    pub fn wake_up(&self) {
        let mut inner = self.inner.lock();
        inner.state = State::Open;
        // They were about the connection before.
        if matches!(inner.order.as_deref(), Some(Order::Lost | Order::Probe)) {
            inner.order = None;
        }
        inner.let_out();
        inner.held = None;
    }

    /// For the owner: refuses from now on, and takes what was left unwritten.
    pub fn close(&self) -> Taken {
        let mut inner = self.inner.lock();
        inner.let_out();
        inner.state = State::Closed;
        inner.owner = None;
        let bytes = std::mem::take(&mut inner.waiting);
        let ends = inner.ends.as_mut().map(std::mem::take).unwrap_or_default();
        let paused = std::mem::take(&mut inner.paused);
        drop(inner);
        paused.into_iter().for_each(Waker::wake);
        Taken { bytes, ends, order: None }
    }

    /// Waits until all that was put in has been written to the socket; false when the session
    /// ended before.
    pub async fn drained(&self) -> bool {
        poll_fn(|context| {
            let mut inner = self.inner.lock();
            if inner.state == State::Closed {
                return Poll::Ready(false);
            }
            // The owner asks for more, and so is registered, only when it has written the last.
            if inner.waiting.is_empty() && inner.owner.is_some() {
                return Poll::Ready(true);
            }
            inner.pause(context.waker());
            Poll::Pending
        })
        .await
    }

    /// Waits until the mailbox is below its bound or closed. Nobody waits for one that sleeps: it is
    /// not read, and refuses soon.
    pub async fn room(&self) {
        poll_fn(|context| {
            let mut inner = self.inner.lock();
            if inner.state != State::Open || inner.waiting.len() <= MAILBOX_BYTES_MAX {
                return Poll::Ready(());
            }
            inner.pause(context.waker());
            Poll::Pending
        })
        .await;
    }
}

impl Inner {
    /// Remembers who waits: once, however often it looks.
    fn pause(&mut self, waker: &Waker) {
        if !self.paused.iter().any(|paused| paused.will_wake(waker)) {
            self.paused.push(waker.clone());
        }
    }

    fn refuses(&self) -> Option<Put> {
        match self.state {
            State::Closed => Some(Put::Refused),
            _ if self.waiting.len() > MAILBOX_BYTES_HARD => Some(Put::Refused),
            State::Asleep if self.is_full_asleep() => Some(Put::Overslept),
            State::Asleep | State::Open => None,
        }
    }

    fn append(&mut self, seq: Seq, write: impl FnOnce(&mut Vec<u8>)) {
        if self.waiting.capacity() == 0 {
            self.waiting = spare::take();
        }
        write(&mut self.waiting);
        let at = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        if let Some(ends) = &mut self.ends {
            ends.push(StanzaEnd { at, seq });
        }
    }

    /// Appends what was kept aside; false when that is nothing.
    fn let_out(&mut self) -> bool {
        let Some(held) = &mut self.held else { return false };
        let stanzas = held.take();
        let any = stanzas.len() > 0;
        for (seq, stanza) in stanzas {
            self.append(seq, |out| out.extend_from_slice(&stanza));
        }
        any
    }

    fn is_full_asleep(&self) -> bool {
        let (count, bytes) = self.held.as_ref().map_or((0, 0), |held| held.size());
        let counted = self.ends.as_ref().map_or(0, Vec::len);
        self.waiting.len().saturating_add(bytes) > ASLEEP_BYTES_MAX
            || (self.ends.is_some() && counted.saturating_add(count) >= ASLEEP_STANZAS_MAX)
    }
}

/// Wakes the owner.
fn ring(mut inner: MutexGuard<'_, Inner>) -> Put {
    let is_crowded = inner.state == State::Open && inner.waiting.len() > MAILBOX_BYTES_MAX;
    let put = if is_crowded { Put::Crowded } else { Put::Taken };
    let owner = inner.owner.take();
    drop(inner);
    if let Some(owner) = owner {
        owner.wake();
    }
    put
}

/// Write buffers that are not in use, per thread, so that a busy session allocates nothing and an
/// idle one owns nothing.
pub mod spare {
    use std::cell::RefCell;

    use crate::limits::{SPARE_BUFFER_BYTES_MAX, SPARE_BUFFERS_MAX};

    thread_local! {
        static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    }

    /// An empty buffer, with capacity when one is at hand.
    pub fn take() -> Vec<u8> {
        BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// Gives a buffer back for the next who needs one.
    pub fn give(mut buffer: Vec<u8>) {
        if buffer.capacity() == 0 || buffer.capacity() > SPARE_BUFFER_BYTES_MAX {
            return;
        }
        buffer.clear();
        BUFFERS.with_borrow_mut(|buffers| {
            if buffers.len() < SPARE_BUFFERS_MAX {
                buffers.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Presence may wait and outdates that of the same entity, chat messages may not wait.
    fn judge(stanza: &Stanza) -> Patience {
        match (stanza.id_raw(), stanza.from()) {
            (Some("now"), _) => Patience::Now,
            (_, Some(from)) => Patience::Replaces(from.as_str().into()),
            _ => Patience::Waits,
        }
    }

    fn put(mailbox: &Mailbox, text: &str) -> Put {
        let stanza = Stanza::parse(text).unwrap();
        mailbox.put_stanza(&stanza, |out| out.extend_from_slice(text.as_bytes()))
    }

    fn taken(mailbox: &Mailbox) -> Option<Taken> {
        match mailbox.poll_take(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => Some(taken),
            Poll::Pending => None,
        }
    }

    fn ends(taken: &Taken) -> Vec<u32> {
        taken.ends.iter().map(|end| end.at).collect()
    }

    fn text(mailbox: &Mailbox) -> String {
        taken(mailbox).map(|taken| String::from_utf8(taken.bytes).unwrap()).unwrap_or_default()
    }

    const ROMEO: &str = "<presence from='romeo@montague.lit/orchard' id='r1'/>";
    const ROMEO_LATER: &str = "<presence from='romeo@montague.lit/orchard' id='r2'/>";
    const NURSE: &str = "<presence from='nurse@capulet.lit/hall' id='n1'/>";
    const NAMELESS: &str = "<message id='a'/>";
    const NOW: &str = "<message from='romeo@montague.lit/orchard' id='now'/>";

    #[test]
    fn what_is_held_leaves_in_order_before_what_may_not_wait() {
        let mailbox = Mailbox::default();
        mailbox.hold(judge);
        for text in [ROMEO, NURSE, NAMELESS, NAMELESS, ROMEO_LATER] {
            assert_eq!(put(&mailbox, text), Put::Taken);
        }
        assert!(taken(&mailbox).is_none());
        put(&mailbox, NOW);
        let expected = [NURSE, NAMELESS, NAMELESS, ROMEO_LATER, NOW].concat();
        assert_eq!(text(&mailbox), expected);
        put(&mailbox, ROMEO);
        mailbox.put(|out| out.extend_from_slice(b"<iq/>"));
        assert_eq!(text(&mailbox), [ROMEO, "<iq/>"].concat());
    }

    #[test]
    fn a_session_that_is_released_holds_nothing_and_keeps_nothing_aside() {
        let mailbox = Mailbox::default();
        mailbox.hold(judge);
        put(&mailbox, ROMEO);
        mailbox.release();
        assert_eq!(text(&mailbox), ROMEO);
        put(&mailbox, NURSE);
        assert_eq!(text(&mailbox), NURSE);
    }

    #[test]
    fn what_is_let_out_is_gone_and_what_follows_is_held() {
        let mailbox = Mailbox::default();
        mailbox.hold(judge);
        put(&mailbox, ROMEO);
        mailbox.let_out();
        assert_eq!(text(&mailbox), ROMEO);
        put(&mailbox, ROMEO_LATER);
        mailbox.hold(judge);
        assert!(taken(&mailbox).is_none());
        mailbox.order(Order::Probe);
        assert_eq!(text(&mailbox), ROMEO_LATER);
    }

    #[test]
    fn held_stanzas_are_counted_when_they_leave() {
        let mailbox = Mailbox::default();
        mailbox.count_stanzas();
        mailbox.hold(judge);
        put(&mailbox, ROMEO);
        put(&mailbox, ROMEO_LATER);
        put(&mailbox, NURSE);
        put(&mailbox, NOW);
        let taken = taken(&mailbox).unwrap();
        let first = ROMEO_LATER.len() as u32;
        let second = first + NURSE.len() as u32;
        assert_eq!(ends(&taken), [first, second, second + NOW.len() as u32]);
    }

    #[test]
    fn what_waits_when_counting_begins_is_not_counted() {
        let mailbox = Mailbox::default();
        put(&mailbox, ROMEO);
        assert_eq!(mailbox.count_stanzas(), ROMEO.as_bytes());
        put(&mailbox, NURSE);
        let taken = taken(&mailbox).unwrap();
        assert_eq!(ends(&taken), [NURSE.len() as u32]);
        assert_eq!(taken.bytes, NURSE.as_bytes());
    }

    #[test]
    fn a_sleeping_session_keeps_what_is_held_and_wakes_up_active() {
        let mailbox = Mailbox::default();
        mailbox.count_stanzas();
        mailbox.hold(judge);
        put(&mailbox, ROMEO);
        mailbox.fall_asleep();
        put(&mailbox, ROMEO_LATER);
        mailbox.wake_up();
        assert_eq!(text(&mailbox), ROMEO_LATER);
        put(&mailbox, NURSE);
        assert_eq!(text(&mailbox), NURSE);
    }

    #[test]
    fn a_sleeping_session_pauses_nobody() {
        use futures_util::FutureExt;
        let mailbox = Mailbox::default();
        let long = format!("<message><body>{}</body></message>", "a".repeat(MAILBOX_BYTES_MAX));
        assert_eq!(put(&mailbox, &long), Put::Crowded);
        let mut room = Box::pin(mailbox.room());
        assert!((&mut room).now_or_never().is_none(), "its reader may go on");
        mailbox.fall_asleep();
        assert!(room.now_or_never().is_some());
        let asleep = Mailbox::default();
        asleep.fall_asleep();
        assert_eq!(put(&asleep, &long), Put::Taken);
        assert!(asleep.room().now_or_never().is_some());
        assert_eq!(put(&asleep, &long), Put::Overslept);
    }

    #[test]
    fn nothing_held_is_lost_when_a_session_is_put_away_or_ends() {
        let mailbox = Mailbox::default();
        mailbox.count_stanzas();
        mailbox.hold(judge);
        put(&mailbox, ROMEO);
        mailbox.fall_asleep();
        let taken = mailbox.take_asleep();
        assert_eq!(taken.bytes, ROMEO.as_bytes());
        assert_eq!(ends(&taken), [ROMEO.len() as u32]);
        put(&mailbox, NURSE);
        assert_eq!(mailbox.close().bytes, NURSE.as_bytes());
        assert_eq!(put(&mailbox, NURSE), Put::Refused);
        assert!(mailbox.close().bytes.is_empty());
    }

    #[test]
    fn a_sleeping_session_counts_what_is_held_against_its_bound() {
        let mailbox = Mailbox::default();
        mailbox.count_stanzas();
        mailbox.hold(judge);
        mailbox.fall_asleep();
        let overslept = (0..=ASLEEP_STANZAS_MAX).find(|_| put(&mailbox, NAMELESS) != Put::Taken);
        assert_eq!(overslept, Some(ASLEEP_STANZAS_MAX));
        assert_eq!(mailbox.take_asleep().ends.len(), ASLEEP_STANZAS_MAX);
    }

    #[test]
    fn at_the_bound_all_that_is_held_leaves() {
        use crate::limits::{HELD_BYTES_MAX, HELD_STANZAS_MAX};
        let mailbox = Mailbox::default();
        mailbox.hold(judge);
        for _ in 1..HELD_STANZAS_MAX {
            put(&mailbox, NAMELESS);
        }
        assert!(taken(&mailbox).is_none());
        put(&mailbox, NAMELESS);
        assert_eq!(text(&mailbox), NAMELESS.repeat(HELD_STANZAS_MAX));
        let long = format!("<message><body>{}</body></message>", "a".repeat(HELD_BYTES_MAX));
        put(&mailbox, &long);
        assert_eq!(text(&mailbox), long);
        assert!(taken(&mailbox).is_none());
    }
}
