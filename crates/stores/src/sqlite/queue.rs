//! What waits for the writer: batches in the order of submission, bounded in bytes.

use std::collections::VecDeque;

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
        state.batches.push_back((Waiting { writes, stub }, bytes));
        self.filled.notify_one();
        ticket
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

    /// Takes all that waits, within the bounds of a group; may wait for something to come. For the
    /// writer alone.
    pub fn take(&self, may_wait: bool) -> Taken {
        let mut state = self.state.lock();
        while state.batches.is_empty() {
            if state.closed {
                return Taken::Closed;
            }
            if !may_wait {
                return Taken::Nothing;
            }
            self.filled.wait(&mut state);
        }
        let mut group = Group { batches: Vec::new(), bytes: 0 };
        let mut writes = 0_usize;
        while let Some((waiting, bytes)) = state.batches.pop_front() {
            writes = writes.saturating_add(waiting.count());
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
        for (at, waiting) in group.batches.into_iter().enumerate() {
            waiting.stub.settle(outcome(at));
        }
        let mut state = self.state.lock();
        state.bytes = state.bytes.saturating_sub(group.bytes);
        if state.bytes < WRITER_QUEUE_BYTES_MAX {
            self.drained.notify_waiters();
        }
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
        let left = std::mem::take(&mut self.state.lock().batches);
        // Dropping a stub fails its ticket.
        drop(left);
    }
}
