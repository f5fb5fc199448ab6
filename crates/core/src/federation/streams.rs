//! The streams to other servers that stand, and what each of them can be told.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use verona_xmpp::error::StreamError;

use crate::stream::server::pairs::Verified;
use crate::stream::server::side::Role;

/// The streams that stand.
#[derive(Debug, Default)]
pub struct Streams {
    all: Mutex<HashMap<u64, Arc<Peer>, ahash::RandomState>>,
    next: AtomicU64,
    gone: Notify,
}

/// A stream as everybody else sees it. The other half belongs to its task.
#[derive(Debug)]
pub struct Peer {
    /// The id of the stream (RFC 6120 §4.7.3).
    pub id: Box<str>,
    /// Who opened it.
    pub role: Role,
    /// Where the peer is.
    pub address: IpAddr,
    /// Whether stanzas go both ways (XEP-0288).
    pub bidi: bool,
    orders: Mutex<Orders>,
    pairs: Mutex<Vec<Verified>>,
}

#[derive(Debug, Default)]
struct Orders {
    leave: Option<Leave>,
    task: Option<Waker>,
}

/// What the task of a stream is told to do.
#[derive(Clone, Debug)]
pub enum Leave {
    /// Close the stream (RFC 6120 §4.4).
    Close,
    /// End it with this error (RFC 6120 §4.9.3).
    End(StreamError),
    /// Let go of the connection: the peer resumes the stream on another (XEP-0198 §5).
    Yield,
}

/// A place among the streams that stand.
#[derive(Debug)]
pub struct Place {
    streams: Arc<Streams>,
    number: u64,
    /// The shared half.
    pub peer: Arc<Peer>,
}

impl Peer {
    /// The shared half of a stream.
    pub fn new(id: Box<str>, role: Role, address: IpAddr, bidi: bool) -> Self {
        let (orders, pairs) = (Mutex::default(), Mutex::default());
        Self { id, role, address, bidi, orders, pairs }
    }

    /// Tells the task to leave; the first order counts.
    pub fn order(&self, leave: Leave) {
        let mut orders = self.orders.lock();
        orders.leave.get_or_insert(leave);
        let task = orders.task.take();
        drop(orders);
        if let Some(task) = task {
            task.wake();
        }
    }

    /// For the task: takes an order, or arranges to be woken by one.
    pub fn poll_leave(&self, context: &Context<'_>) -> Option<Leave> {
        let mut orders = self.orders.lock();
        if orders.leave.is_some() {
            return orders.leave.take();
        }
        match &mut orders.task {
            Some(task) => task.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        None
    }

    /// Notes which pairs the stream is verified for.
    pub fn note(&self, pairs: Vec<Verified>) {
        *self.pairs.lock() = pairs;
    }

    /// Which pairs the stream is verified for.
    pub fn pairs(&self) -> Vec<Verified> {
        self.pairs.lock().clone()
    }
}

impl Streams {
    /// Takes a stream in.
    pub fn enter(self: &Arc<Self>, peer: Peer) -> Place {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let peer = Arc::new(peer);
        self.all.lock().insert(number, peer.clone());
        Place { streams: self.clone(), number, peer }
    }

    /// All that stand.
    pub fn all(&self) -> Vec<Arc<Peer>> {
        self.all.lock().values().cloned().collect()
    }

    /// Waits until none stands.
    pub async fn ended(&self) {
        loop {
            let gone = self.gone.notified();
            if self.all.lock().is_empty() {
                return;
            }
            gone.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.streams.all.lock();
        all.remove(&self.number);
        drop(all);
        self.streams.gone.notify_waiters();
    }
}
