//! The receipt for a batch: says when it is durable, or that it never will be.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};

use futures_util::task::AtomicWaker;

use crate::store::error::StoreError;

/// A commit number: batches are applied in its order, and when one is settled so are all before.
pub type CommitNo = u64;

/// The submitter's half: a future of the outcome, which may also be looked at without waiting.
#[derive(Clone, Debug)]
pub struct Ticket {
    slot: Arc<Slot>,
}

/// The writer's half: settles the ticket, as failed when it is dropped unsettled.
#[derive(Debug)]
pub struct Stub {
    slot: Arc<Slot>,
}

#[derive(Debug)]
struct Slot {
    number: CommitNo,
    outcome: OnceLock<Result<(), StoreError>>,
    waker: AtomicWaker,
}

/// Makes the two halves for a batch. Only one task at a time may await the ticket.
pub fn issue(number: CommitNo) -> (Ticket, Stub) {
    let slot = Arc::new(Slot { number, outcome: OnceLock::new(), waker: AtomicWaker::new() });
    (Ticket { slot: slot.clone() }, Stub { slot })
}

impl Ticket {
    /// A ticket for what needs no writing.
    pub fn settled(number: CommitNo) -> Self {
        let (ticket, stub) = issue(number);
        stub.settle(Ok(()));
        ticket
    }

    /// The commit number of the batch.
    pub fn number(&self) -> CommitNo {
        self.slot.number
    }

    /// The outcome, if it is known already.
    pub fn outcome(&self) -> Option<Result<(), StoreError>> {
        self.slot.outcome.get().cloned()
    }
}

impl Future for Ticket {
    type Output = Result<(), StoreError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.outcome() {
            return Poll::Ready(outcome);
        }
        self.slot.waker.register(context.waker());
        // The writer may have settled between the look and the registration.
        self.outcome().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Stub {
    /// The commit number of the batch.
    pub fn number(&self) -> CommitNo {
        self.slot.number
    }

    /// Tells the outcome to the submitter.
    pub fn settle(self, outcome: Result<(), StoreError>) {
        if let Some(waker) = self.decide(outcome) {
            waker.wake();
        }
    }

    /// Sets the outcome and leaves it to the caller to wake who waits for it: whoever settles many
    /// does so first, so that one who waits for several is woken once.
    #[must_use]
    pub fn decide(self, outcome: Result<(), StoreError>) -> Option<Waker> {
        let _ = self.slot.outcome.set(outcome);
        self.slot.waker.take()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        if self.slot.outcome.set(Err(StoreError::closed())).is_ok() {
            self.slot.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_may_be_woken_when_more_is_settled() {
        let ((mut first, one), (second, other)) = (issue(1), issue(2));
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut first).poll(&mut context).is_pending());
        assert!(one.decide(Ok(())).is_some(), "somebody waits");
        assert!(other.decide(Ok(())).is_none(), "nobody does");
        assert!(first.outcome().is_some() && second.outcome().is_some());
    }

    #[test]
    fn a_dropped_stub_fails_its_ticket() {
        let (ticket, stub) = issue(1);
        assert!(ticket.outcome().is_none());
        drop(stub);
        assert!(ticket.outcome().is_some_and(|outcome| outcome.is_err()));
    }
}
