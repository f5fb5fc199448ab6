//! XEP-0198 §5: sessions whose stream is gone and whose client may come back, and the last count of
//! those that waited in vain.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};

use crate::limits::ENDED_SESSIONS_MAX;

/// Sessions that may be resumed, by id: `Sleeper` without a stream, `Seat` with one.
#[derive(Debug)]
pub struct Sleepers<Sleeper, Seat> {
    inner: Mutex<Inner<Sleeper, Seat>>,
    /// Rung when a session falls asleep.
    pub fell_asleep: Notify,
}

/// What is known of an id.
#[derive(Debug)]
pub enum Known<Sleeper, Seat> {
    /// The session sleeps, and has been taken out.
    Asleep(Box<Sleeper>),
    /// The session has a stream still.
    Awake(Seat),
    /// The session has ended, with this count of handled stanzas.
    Ended(u32),
    /// The server ends, and all that slept have been put away.
    PutAway,
    /// Nothing.
    Unknown,
}

/// The task that ends a session which sleeps for too long; it stops when this is dropped, so that
/// who wakes and sleeps again and again leaves none behind, and is not woken by an old one.
#[derive(Debug)]
pub struct Alarm(Option<AbortHandle>);

impl Alarm {
    /// Watches over a task.
    pub fn of(task: &JoinHandle<()>) -> Self {
        Self(Some(task.abort_handle()))
    }

    /// Lets the task run: it rings.
    pub fn ring(mut self) {
        self.0 = None;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

#[derive(Debug)]
struct Inner<Sleeper, Seat> {
    /// With each, the bare JID of its account: nobody else may resume it.
    awake: HashMap<Box<str>, (Arc<str>, Seat), ahash::RandomState>,
    asleep: HashMap<Box<str>, (Arc<str>, Box<Sleeper>), ahash::RandomState>,
    ended: HashMap<Box<str>, (Arc<str>, u32), ahash::RandomState>,
    ended_order: VecDeque<Box<str>>,
    /// All that slept have been put away, since the server ends.
    closed: bool,
}

impl<Sleeper, Seat> Default for Sleepers<Sleeper, Seat> {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                awake: HashMap::default(),
                asleep: HashMap::default(),
                ended: HashMap::default(),
                ended_order: VecDeque::new(),
                closed: false,
            }),
            fell_asleep: Notify::new(),
        }
    }
}

impl<Sleeper, Seat: Clone> Sleepers<Sleeper, Seat> {
    /// A session may be resumed from now on.
    pub fn awake(&self, id: &str, account: &Arc<str>, seat: Seat) {
        self.inner.lock().awake.insert(id.into(), (account.clone(), seat));
    }

    /// A session has lost its stream.
    pub fn asleep(&self, id: &str, account: &Arc<str>, sleeper: Box<Sleeper>) {
        let mut inner = self.inner.lock();
        inner.awake.remove(id);
        inner.asleep.insert(id.into(), (account.clone(), sleeper));
        drop(inner);
        self.fell_asleep.notify_waiters();
    }

    /// A session has ended for good.
    pub fn ended(&self, id: &str, account: &Arc<str>, handled: u32) {
        let mut inner = self.inner.lock();
        inner.awake.remove(id);
        inner.asleep.remove(id);
        inner.ended.insert(id.into(), (account.clone(), handled));
        inner.ended_order.push_back(id.into());
        if inner.ended_order.len() > ENDED_SESSIONS_MAX
            && let Some(oldest) = inner.ended_order.pop_front()
        {
            inner.ended.remove(&oldest);
        }
    }

    /// Looks for a session of an account, and takes it when it sleeps. Those of other accounts are
    /// unknown.
    pub fn take(&self, id: &str, account: &str) -> Known<Sleeper, Seat> {
        let mut inner = self.inner.lock();
        if inner.asleep.get(id).is_some_and(|(of, _)| **of == *account)
            && let Some((_, sleeper)) = inner.asleep.remove(id)
        {
            return Known::Asleep(sleeper);
        }
        if inner.closed {
            return Known::PutAway;
        }
        match (inner.awake.get(id), inner.ended.get(id)) {
            (Some((of, seat)), _) if **of == *account => Known::Awake(seat.clone()),
            (_, Some((of, handled))) if **of == *account => Known::Ended(*handled),
            _ => Known::Unknown,
        }
    }

    /// Takes the sleeping session with this id, if it is the one meant.
    pub fn take_if(&self, id: &str, meant: impl Fn(&Sleeper) -> bool) -> Option<Box<Sleeper>> {
        let mut inner = self.inner.lock();
        inner.asleep.get(id).filter(|(_, sleeper)| meant(sleeper))?;
        inner.asleep.remove(id).map(|(_, sleeper)| sleeper)
    }

    /// Takes a sleeping session of an account that is the one meant.
    pub fn take_where(
        &self,
        account: &str,
        meant: impl Fn(&Sleeper) -> bool,
    ) -> Option<Box<Sleeper>> {
        let mut inner = self.inner.lock();
        let found = inner
            .asleep
            .iter()
            .find(|(_, (of, sleeper))| **of == *account && meant(sleeper))
            .map(|(id, _)| id.clone())?;
        inner.asleep.remove(&found).map(|(_, sleeper)| sleeper)
    }

    /// Takes all that sleep, for good: whoever asks from now on hears that the server goes away.
    pub fn put_away(&self) -> Vec<Box<Sleeper>> {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.asleep.drain().map(|(_, (_, sleeper))| sleeper).collect()
    }

    /// How many sleep.
    pub fn asleep_count(&self) -> usize {
        self.inner.lock().asleep.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_by_its_account_alone() {
        let sleepers: Sleepers<u8, u8> = Sleepers::default();
        let juliet: Arc<str> = "juliet@capulet.lit".into();
        sleepers.awake("1", &juliet, 7);
        assert!(matches!(sleepers.take("1", "tybalt@capulet.lit"), Known::Unknown));
        assert!(matches!(sleepers.take("1", &juliet), Known::Awake(7)));
        sleepers.asleep("1", &juliet, Box::new(9));
        assert!(matches!(sleepers.take("1", "tybalt@capulet.lit"), Known::Unknown));
        assert!(matches!(sleepers.take("1", &juliet), Known::Asleep(_)));
        assert!(matches!(sleepers.take("1", &juliet), Known::Unknown));
        sleepers.ended("1", &juliet, 5);
        assert!(matches!(sleepers.take("1", &juliet), Known::Ended(5)));
        assert!(matches!(sleepers.take("1", "tybalt@capulet.lit"), Known::Unknown));
        sleepers.asleep("2", &juliet, Box::new(3));
        assert_eq!(sleepers.take_if("2", |sleeper| *sleeper == 4), None);
        assert_eq!(sleepers.take_if("2", |sleeper| *sleeper == 3), Some(Box::new(3)));
        assert_eq!(sleepers.take_if("2", |_| true), None);
        sleepers.asleep("2", &juliet, Box::new(3));
        assert_eq!(sleepers.put_away(), [Box::new(3)]);
        assert!(matches!(sleepers.take("2", &juliet), Known::PutAway));
    }
}
