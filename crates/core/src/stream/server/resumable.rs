//! XEP-0198 §5 as the receiving entity between servers: streams that the server which opened them
//! may resume.

use std::sync::Arc;
use std::time::Duration;

use verona_xml::Writer;
use verona_xmpp::error::StreamError;
use verona_xmpp::ns;

use crate::federation::reach::Pair;
use crate::limits::{SLEEPING_STREAMS_MAX, YIELD_SECS};
use crate::sleepers::{Alarm, Known, Sleepers};
use crate::stream::management::Managed;
use crate::token;

/// Tells the session of a stream to end, because the peer resumes it on another.
pub type Yield = Arc<dyn Fn() + Send + Sync>;

/// What is done with the counters of a stream that nobody resumed in time.
pub type Expired = Box<dyn FnOnce(Managed) + Send>;

/// The streams that may be resumed.
#[derive(Default)]
pub struct Resumable {
    streams: Sleepers<Sleeper, Yield>,
}

/// A stream whose connection is gone.
struct Sleeper {
    managed: Managed,
    expired: Expired,
    alarm: Alarm,
}

impl Resumable {
    /// Begins to manage a stream that a pair was verified for (§3), and gives the answer. The peer
    /// may resume it for so many seconds; 0: not at all.
    pub fn enable(&self, pair: &Pair, secs: u32, yields: Yield) -> (Managed, String) {
        let room = self.streams.asleep_count() < SLEEPING_STREAMS_MAX;
        let secs = if room { secs } else { 0 };
        let managed = Managed::new(token::random().into(), secs);
        let mut writer = Writer::new(ns::SERVER);
        writer.start("enabled", ns::SM);
        if secs > 0 {
            writer.attr("id", &managed.id).attr("resume", "true").attr("max", &secs.to_string());
            self.streams.awake(&managed.id, &owner(pair), yields);
        }
        writer.end();
        (managed, writer.finish())
    }

    /// Keeps the counters of a stream whose connection is gone, for as long as it may be resumed.
    pub fn fall_asleep(self: &Arc<Self>, pair: &Pair, managed: Managed, expired: Expired) {
        if managed.resume_secs == 0 {
            return expired(managed);
        }
        let (id, owner) = (managed.id.clone(), owner(pair));
        let limit = Duration::from_secs(managed.resume_secs.into());
        let (this, of, which) = (self.clone(), owner.clone(), id.clone());
        let task = tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            if let Known::Asleep(sleeper) = this.streams.take(&which, &of) {
                sleeper.alarm.ring();
                this.streams.ended(&which, &of, sleeper.managed.received);
                (sleeper.expired)(sleeper.managed);
            }
        });
        let alarm = Alarm::of(&task);
        self.streams.asleep(&id, &owner, Box::new(Sleeper { managed, expired, alarm }));
    }

    /// Takes the counters of a stream whose connection is gone, so that it cannot be resumed any more.
    pub fn reclaim(&self, pair: &Pair, id: &str) -> Option<Managed> {
        let owner = owner(pair);
        let Known::Asleep(sleeper) = self.streams.take(id, &owner) else { return None };
        self.streams.ended(id, &owner, sleeper.managed.received);
        Some(sleeper.managed)
    }

    /// Forgets a stream that was closed; only the count of what was handled is remembered.
    pub fn end(&self, pair: &Pair, managed: &Managed) {
        if managed.resume_secs > 0 {
            self.streams.ended(&managed.id, &owner(pair), managed.received);
        }
    }

    /// Takes the counters of the stream that a peer resumes: `previd` and `h` of its request. What
    /// is not acknowledged in them goes out again behind the answer, [`resumed`]. The session of a
    /// stream that still has its connection is told to yield, and waited for. Without such a stream
    /// the answer is `item-not-found`, with the count of what was handled where that is known.
    pub async fn resume(
        &self,
        pair: &Pair,
        previd: &str,
        h: u32,
        yields: Yield,
    ) -> Result<Result<Managed, Option<u32>>, StreamError> {
        let owner = owner(pair);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(YIELD_SECS);
        let sleeper = loop {
            let asleep = self.streams.fell_asleep.notified();
            match self.streams.take(previd, &owner) {
                Known::Asleep(sleeper) => break sleeper,
                Known::Awake(yields) => yields(),
                Known::Ended(handled) => return Ok(Err(Some(handled))),
                Known::Unknown | Known::PutAway => return Ok(Err(None)),
            }
            if tokio::time::timeout_at(deadline, asleep).await.is_err() {
                return Ok(Err(None));
            }
        };
        let mut managed = sleeper.managed;
        // §6: more than was sent cannot have been handled.
        if let Err(error) = managed.acknowledged(h) {
            self.streams.ended(previd, &owner, managed.received);
            (sleeper.expired)(managed);
            return Err(error);
        }
        managed.asked = false;
        managed.told = managed.received;
        self.streams.awake(previd, &owner, yields);
        Ok(Ok(managed))
    }
}

/// The answer to a request to resume that was granted (§5).
pub fn resumed(managed: &Managed) -> String {
    let mut writer = Writer::new(ns::SERVER);
    writer.start("resumed", ns::SM).attr("previd", &managed.id);
    writer.attr("h", &managed.received.to_string()).end();
    writer.finish()
}

/// Who may resume a stream: the peer of the same pair.
fn owner(pair: &Pair) -> Arc<str> {
    [pair.local.as_str(), " ", pair.remote.as_str()].concat().into()
}
