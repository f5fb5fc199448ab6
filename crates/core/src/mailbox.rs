//! What waits to be written to one session: bytes under a bound, and a bell for its task.
//!
//! Everybody who has something for a session appends it here; the session's task takes all that
//! waits and writes it in one go. An idle mailbox owns no buffer.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use verona_xmpp::error::StreamError;

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
    order: Option<Box<Order>>,
    state: State,
    /// The task that owns the session.
    owner: Option<Waker>,
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
    /// Find out whether the peer is still there (RFC 6120 §4.6.4).
    Probe,
    /// Leave the stream and keep the session for who resumes it (XEP-0198 §5): with `conflict` when
    /// that is another stream, in silence when the server goes away.
    Yield(Option<StreamError>),
}

/// Where a stanza ends, and its place in the account's log; 0 when it is in none.
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

impl Mailbox {
    /// Appends what `write` writes, and rings the bell.
    pub fn put(&self, write: impl FnOnce(&mut Vec<u8>)) -> Put {
        self.put_kept(0, write)
    }

    /// The same with a message that has a place in the account's log.
    pub fn put_kept(&self, seq: Seq, write: impl FnOnce(&mut Vec<u8>)) -> Put {
        let mut inner = self.inner.lock();
        if inner.state == State::Closed || inner.waiting.len() > MAILBOX_BYTES_HARD {
            return Put::Refused;
        }
        if inner.state == State::Asleep && inner.is_full_asleep() {
            return Put::Overslept;
        }
        if inner.waiting.capacity() == 0 {
            inner.waiting = spare::take();
        }
        write(&mut inner.waiting);
        let end = u32::try_from(inner.waiting.len()).unwrap_or(u32::MAX);
        if let Some(ends) = &mut inner.ends {
            ends.push(StanzaEnd { at: end, seq });
        }
        let put = if inner.waiting.len() > MAILBOX_BYTES_MAX { Put::Crowded } else { Put::Taken };
        let owner = inner.owner.take();
        drop(inner);
        if let Some(owner) = owner {
            owner.wake();
        }
        put
    }

    /// Gives the owner an order; one to leave is not replaced by a later one.
    pub fn order(&self, order: Order) {
        let mut inner = self.inner.lock();
        if !matches!(inner.order.as_deref(), Some(Order::End(_) | Order::Yield(_))) {
            inner.order = Some(Box::new(order));
        }
        let owner = inner.owner.take();
        drop(inner);
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    /// For the owner: takes all that waits, or arranges to be woken.
    pub fn poll_take(&self, context: &mut Context<'_>) -> Poll<Taken> {
        let mut inner = self.inner.lock();
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

    /// For the owner: notes from now on where each stanza ends.
    pub fn count_stanzas(&self) {
        self.inner.lock().ends = Some(Vec::new());
    }

    /// Whether the owner is told which stanzas the peer has got (XEP-0198 §4).
    pub fn counts_stanzas(&self) -> bool {
        self.inner.lock().ends.is_some()
    }

    /// Whether a put would be refused because the session sleeps and holds all that it may.
    pub fn has_overslept(&self) -> bool {
        let inner = self.inner.lock();
        inner.state == State::Asleep && inner.is_full_asleep()
    }

    /// For the owner: keeps what arrives until somebody takes over, up to a bound.
    pub fn fall_asleep(&self) {
        let mut inner = self.inner.lock();
        inner.state = State::Asleep;
        inner.owner = None;
        inner.order = None;
    }

    /// For who puts a sleeping session away: takes what waits.
    pub fn take_asleep(&self) -> Taken {
        let mut inner = self.inner.lock();
        let bytes = std::mem::take(&mut inner.waiting);
        let ends = inner.ends.as_mut().map(std::mem::take).unwrap_or_default();
        Taken { bytes, ends, order: None }
    }

    /// For the new owner of a session that slept.
    pub fn wake_up(&self) {
        self.inner.lock().state = State::Open;
    }

    /// For the owner: refuses from now on, and takes what was left unwritten.
    pub fn close(&self) -> Vec<u8> {
        let mut inner = self.inner.lock();
        inner.state = State::Closed;
        inner.owner = None;
        let taken = std::mem::take(&mut inner.waiting);
        let paused = std::mem::take(&mut inner.paused);
        drop(inner);
        paused.into_iter().for_each(Waker::wake);
        taken
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
            inner.paused.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Waits until the mailbox is below its bound or closed.
    pub async fn room(&self) {
        poll_fn(|context| {
            let mut inner = self.inner.lock();
            if inner.state == State::Closed || inner.waiting.len() <= MAILBOX_BYTES_MAX {
                return Poll::Ready(());
            }
            inner.paused.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Inner {
    fn is_full_asleep(&self) -> bool {
        self.waiting.len() > ASLEEP_BYTES_MAX
            || self.ends.as_ref().is_some_and(|ends| ends.len() >= ASLEEP_STANZAS_MAX)
    }
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
