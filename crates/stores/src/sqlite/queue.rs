//! What waits for the writer: batches in the order of submission, bounded in bytes.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;
use verona_core::limits::WRITER_QUEUE_BYTES_MAX;
use verona_core::store::batch::{Batch, Write};
use verona_core::store::error::{Fault, StoreError};
use verona_core::store::ticket::{CommitNo, Stub, Ticket, issue};

/// Where a batch is refused instead of queued: whoever submits so much did not ask for room.
const REFUSED_BYTES: usize = 4 * WRITER_QUEUE_BYTES_MAX;

/// Writes that one group takes at most, so that the first in it do not wait for too many.
const GROUP_WRITES_MAX: usize = 2048;

/// Writes with which a group is large enough not to wait for more.
const GATHERED_WRITES: usize = 512;

/// Bytes that one group takes at most.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A batch with the writer's half of its ticket.
#[derive(Debug)]
pub struct Waiting {
    /// What is to be written, or why it is not.
    pub writes: Result<Vec<Write>, StoreError>,
    stub: Stub,
}

/// Batches that are committed together.
#[derive(Debug)]
pub struct Group {
    /// The batches, in their order.
    pub batches: Vec<Waiting>,
    bytes: usize,
}

impl Group {
    /// How many writes there are in all batches.
    pub fn writes(&self) -> usize {
        self.batches.iter().map(Waiting::count).sum()
    }
}

impl Waiting {
    /// Somebody waits also for a batch without writes.
    fn weight(&self) -> usize {
        self.count().max(1)
    }

    fn count(&self) -> usize {
        self.writes.as_ref().map_or(0, Vec::len)
    }
}

/// What the queue has for the writer.
#[derive(Debug)]
pub enum Taken {
    /// Work.
    Group(Group),
    /// Nothing now.
    Nothing,
    /// Nothing any more.
    Closed,
}

/// The queue between those who submit and the writer.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    drained: Notify,
}

#[derive(Debug, Default)]
struct State {
    number: CommitNo,
    batches: VecDeque<(Waiting, usize)>,
    /// Of those that wait and of the group that is being written.
    bytes: usize,
    /// Writes in those that wait; at least one for each.
    writes: usize,
    /// With how many writes the writer is to be woken; 0 while it is at work.
    wanted: usize,
    closed: bool,
}

impl Queue {
    /// Puts a batch at the end.
    pub fn submit(&self, batch: Batch) -> Ticket {
        let mut bytes = batch.bytes();
        let mut writes = Ok(batch.writes);
        let mut state = self.state.lock();
        state.number = state.number.saturating_add(1);
        let (ticket, stub) = issue(state.number);
        if state.closed {
            stub.settle(Err(StoreError::closed()));
            return ticket;
        }
        if state.bytes > 0 && state.bytes.saturating_add(bytes) > REFUSED_BYTES {
            // It keeps its place all the same: tickets settle in order.
            writes = Err(StoreError::new(Fault::Full, "too much waits for the writer"));
            bytes = size_of::<Waiting>();
        }
        state.bytes = state.bytes.saturating_add(bytes);
        let waiting = Waiting { writes, stub };
        state.writes = state.writes.saturating_add(waiting.weight());
        state.batches.push_back((waiting, bytes));
        let is_wanted = state.wanted > 0 && state.writes >= state.wanted;
        if is_wanted {
            state.wanted = 0;
        }
        drop(state);
        if is_wanted {
            self.filled.notify_one();
        }
        ticket
    }

    /// Whether as much waits as the bound, or more.
    pub fn is_crowded(&self) -> bool {
        self.state.lock().bytes >= WRITER_QUEUE_BYTES_MAX
    }

    /// Waits until less waits than the bound.
    pub async fn room(&self) {
        loop {
            let mut drained = std::pin::pin!(self.drained.notified());
            drained.as_mut().enable();
            {
                let state = self.state.lock();
                if state.bytes < WRITER_QUEUE_BYTES_MAX || state.closed {
                    return;
                }
            }
            drained.await;
        }
    }

    /// Waits until there is something to take; not when there never will be. For the writer alone.
    pub fn wait(&self) -> bool {
        let mut state = self.state.lock();
        while state.batches.is_empty() && !state.closed {
            state.wanted = 1;
            self.filled.wait(&mut state);
        }
        state.wanted = 0;
        !state.batches.is_empty()
    }

    /// Takes all that waits, within the bounds of a group; may wait for something to come. Before a
    /// moment it waits for a group that is worth it. For the writer alone.
    pub fn take(&self, may_wait: bool, not_before: Option<Instant>) -> Taken {
        if may_wait {
            self.wait();
        }
        let mut state = self.state.lock();
        if let Some(moment) = not_before {
            while state.writes < GATHERED_WRITES && !state.closed {
                state.wanted = GATHERED_WRITES;
                if self.filled.wait_until(&mut state, moment).timed_out() {
                    break;
                }
            }
            state.wanted = 0;
        }
        if state.batches.is_empty() {
            return if state.closed { Taken::Closed } else { Taken::Nothing };
        }
        let mut group = Group { batches: Vec::new(), bytes: 0 };
        let mut writes = 0_usize;
        while let Some((waiting, bytes)) = state.batches.pop_front() {
            writes = writes.saturating_add(waiting.count());
            state.writes = state.writes.saturating_sub(waiting.weight());
            group.bytes = group.bytes.saturating_add(bytes);
            group.batches.push(waiting);
            if writes >= GROUP_WRITES_MAX || group.bytes >= GROUP_BYTES_MAX {
                break;
            }
        }
        Taken::Group(group)
    }

    /// Tells the outcome of each batch of a group, in order, and makes room.
    pub fn settle(&self, group: Group, mut outcome: impl FnMut(usize) -> Result<(), StoreError>) {
        let batches = group.batches.into_iter().enumerate();
        // A session waits for the first of its batches, and finds all of them settled.
        let wakers: Vec<Waker> =
            batches.filter_map(|(at, waiting)| waiting.stub.decide(outcome(at))).collect();
        wakers.into_iter().for_each(Waker::wake);
        let mut state = self.state.lock();
        state.bytes = state.bytes.saturating_sub(group.bytes);
        if state.bytes < WRITER_QUEUE_BYTES_MAX {
            self.drained.notify_waiters();
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.state.lock().batches.is_empty()
    }

    /// Whether the queue takes no more.
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Takes no more; what waits is still written.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
        self.drained.notify_waiters();
    }

    /// Takes no more and fails what waits: the writer is gone.
    pub fn abandon(&self) {
        self.close();
        let left = {
            let mut state = self.state.lock();
            state.writes = 0;
            std::mem::take(&mut state.batches)
        };
        // Dropping a stub fails its ticket.
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use verona_core::store::shape::Table;

    use super::*;

    fn of_bytes(bytes: usize) -> Batch {
        let mut batch = Batch::new();
        batch.put(Table::value("test.value"), &"romeo@montague.lit".into(), "", vec![0; bytes]);
        batch
    }

    fn take(queue: &Queue) -> Group {
        let Taken::Group(group) = queue.take(false, None) else { panic!("there is a group") };
        group
    }

    #[test]
    fn who_asks_for_room_waits_until_enough_is_settled() {
        let queue = Queue::default();
        let ticket = queue.submit(of_bytes(WRITER_QUEUE_BYTES_MAX));
        assert!(queue.room().now_or_never().is_none());
        let group = take(&queue);
        assert!(queue.room().now_or_never().is_none(), "what is being written counts");
        assert!(queue.is_crowded());
        let mut room = Box::pin(queue.room());
        assert!((&mut room).now_or_never().is_none());
        queue.settle(group, |_| Ok(()));
        assert!(room.now_or_never().is_some());
        assert!(!queue.is_crowded());
        assert!(ticket.outcome().is_some_and(|outcome| outcome.is_ok()));
    }

    #[test]
    fn who_never_asks_for_room_is_refused_in_order() {
        let queue = Queue::default();
        let first = queue.submit(of_bytes(REFUSED_BYTES + 1));
        let second = queue.submit(of_bytes(10));
        assert!(second.outcome().is_none(), "the first is not settled yet");
        let group = take(&queue);
        assert_eq!(group.batches.len(), 1, "a batch larger than a group is a group");
        queue.settle(group, |_| Ok(()));
        assert!(first.outcome().is_some_and(|outcome| outcome.is_ok()));
        let group = take(&queue);
        let refused = group.batches[0].writes.as_ref().expect_err("it was refused");
        assert_eq!(refused.fault, Fault::Full);
    }

    #[test]
    fn a_group_has_bounds() {
        let queue = Queue::default();
        let tickets: Vec<_> = (0..6).map(|_| queue.submit(of_bytes(GROUP_BYTES_MAX / 3))).collect();
        assert_eq!(take(&queue).batches.len(), 3);
        assert_eq!(take(&queue).batches.len(), 3);
        assert!(matches!(queue.take(false, None), Taken::Nothing));
        drop(tickets);
    }

    #[test]
    fn when_the_writer_is_gone_nobody_waits_for_it() {
        let queue = Queue::default();
        let waiting = queue.submit(of_bytes(WRITER_QUEUE_BYTES_MAX));
        queue.abandon();
        let later = queue.submit(of_bytes(1));
        for ticket in [waiting, later] {
            let outcome = ticket.outcome().expect("it is settled");
            assert!(outcome.is_err_and(|error| error.fault == Fault::Closed));
        }
        assert!(queue.room().now_or_never().is_some());
        assert!(matches!(queue.take(true, None), Taken::Closed));
    }
}
