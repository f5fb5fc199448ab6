//! XEP-0198 §5: a session falls asleep when its stream is lost, and goes on when its client resumes
//! it or, when nobody comes, ends by the rules.

use std::sync::Arc;
use std::time::Duration;

use verona_xml::Element;
use verona_xmpp::error::{Condition, StreamCondition, StreamError};
use verona_xmpp::ns;

use crate::account::keep;
use crate::limits::YIELD_SECS;
use crate::link::Link;
use crate::mailbox::Order;
use crate::server::{Seat, Server, Sleeper};
use crate::sleepers::{Alarm, Known};
use crate::stream::management::Managed;
use crate::token;

/// What a client wants of a managed stream (§3).
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Whether the session may be resumed.
    pub resume: bool,
    /// For how many seconds at most.
    pub max_secs: Option<u32>,
}

impl Wish {
    /// Reads the attributes of `enable`; `resume` is an XML Schema boolean.
    pub fn read<V: AsRef<str>>(attr: impl Fn(&str) -> Option<V>) -> Self {
        let resume = attr("resume").is_some_and(|value| matches!(value.as_ref(), "true" | "1"));
        Self { resume, max_secs: attr("max").and_then(|value| value.as_ref().parse().ok()) }
    }
}

/// Why a session cannot be resumed (§5, §6).
pub enum NotResumed {
    /// It is not there, or the request is wrong.
    Refused {
        /// What the client is told.
        condition: Condition,
        /// How much of its stanzas was handled, when that is known.
        handled: Option<u32>,
    },
    /// The server is ending, and has put it away for the next one.
    PutAway,
}

impl Server {
    /// Begins to manage a session's stream (§3), and gives the answer. The client's wish for the
    /// time in seconds is met up to a bound.
    pub(crate) fn begin_managing(&self, seat: &Seat, wish: Wish) -> (Managed, String) {
        let secs = wish.max_secs.unwrap_or(u32::MAX).min(self.policy().limits.resume_secs_max);
        let secs = if wish.resume { secs } else { 0 };
        let managed = Managed::new(token::random().into(), secs);
        let mut writer = verona_xml::Writer::new(ns::CLIENT);
        writer.start("enabled", ns::SM);
        if secs > 0 {
            writer.attr("id", &managed.id).attr("resume", "true").attr("max", &secs.to_string());
            if let Some(location) = &seat.host.settings().resume_at {
                writer.attr("location", location);
            }
            self.sleepers.awake(&managed.id, &seat.account.owner, seat.clone());
        }
        writer.end();
        (managed, writer.finish())
    }

    /// Puts a session to sleep for as long as it may be resumed.
    pub(crate) fn put_to_sleep(self: &Arc<Self>, seat: Seat, managed: Managed) {
        // Never at once: the session has to be among the sleepers when the alarm rings.
        let limit = Duration::from_secs(managed.resume_secs.max(1).into());
        let (id, account) = (managed.id.clone(), seat.account.owner.clone());
        seat.link.owes_nothing();
        seat.link.mailbox.fall_asleep();
        keep::tell(self, &seat.account, &mut seat.account.turn());
        tracing::info!(
            stream = %seat.link.stream(), account = %seat.link.account(),
            resource = seat.link.resource(), secs = managed.resume_secs, "session sleeps"
        );
        let (link, owner) = (seat.link.clone(), seat.account.clone());
        let (server, of, asleep) = (self.clone(), id.clone(), link.clone());
        let task = tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            let meant = |sleeper: &Sleeper| Arc::ptr_eq(&sleeper.seat.link, &asleep);
            if let Some(sleeper) = server.sleepers.take_if(&of, meant) {
                let Sleeper { seat, managed, alarm } = *sleeper;
                alarm.ring();
                server.lay_to_rest(&seat, managed).await;
            }
        });
        let alarm = Alarm::of(&task);
        self.sleepers.asleep(&id, &account, Box::new(Sleeper { seat, managed, alarm }));
        // Looked at when it is among the sleepers: who removes or disables the account looks there
        // when it has marked the account.
        let ends = {
            let state = owner.turn();
            state.gone || state.disabled
        };
        if ends {
            let server = self.clone();
            tokio::spawn(async move { server.end_sleeper(&account, &link).await });
        }
    }

    /// Ends a sleeping session: contacts see it leave, and what it did not get goes on by the rules,
    /// once (§4). Nothing happens when it has been resumed.
    pub(crate) async fn end_sleeper(self: &Arc<Self>, account: &str, link: &Arc<Link>) {
        let meant = |sleeper: &Sleeper| Arc::ptr_eq(&sleeper.seat.link, link);
        if let Some(sleeper) = self.sleepers.take_where(account, meant) {
            let Sleeper { seat, managed, .. } = *sleeper;
            self.lay_to_rest(&seat, managed).await;
        }
    }

    /// Ends a managed session for good.
    pub(crate) async fn lay_to_rest(self: &Arc<Self>, seat: &Seat, mut managed: Managed) {
        self.unbind(seat).await;
        let unwritten = seat.link.mailbox.close();
        let left = match seat.link.mailbox.counts_stanzas() {
            true => {
                managed.sent(&unwritten.bytes, &unwritten.ends);
                managed.missed_text()
            }
            false => unwritten.bytes,
        };
        if managed.resume_secs > 0 {
            self.sleepers.ended(&managed.id, &seat.account.owner, managed.received);
        }
        self.redeliver(seat, &left).await;
        let link = &seat.link;
        tracing::info!(
            stream = %link.stream(), account = %link.account(), resource = link.resource(),
            "session ended"
        );
    }

    /// Finds the session that a client resumes, and takes it over.
    pub(crate) async fn resume(
        self: &Arc<Self>,
        account: &str,
        request: Element<'_>,
    ) -> Result<Box<Sleeper>, NotResumed> {
        let refused = |condition, handled| Err(NotResumed::Refused { condition, handled });
        let (Some(id), Some(h)) = (request.attr("previd"), request.attr("h")) else {
            return refused(Condition::BadRequest, None);
        };
        if h.parse::<u32>().is_err() {
            return refused(Condition::BadRequest, None);
        }
        let deadline = tokio::time::Instant::now() + Duration::from_secs(YIELD_SECS);
        loop {
            let asleep = self.sleepers.fell_asleep.notified();
            match self.sleepers.take(id, account) {
                Known::Asleep(sleeper) => return Ok(sleeper),
                Known::Awake(seat) => {
                    // §5: the stream before is closed with `conflict`.
                    let conflict = StreamError::new(StreamCondition::Conflict);
                    seat.link.mailbox.order(Order::Yield(Some(conflict)));
                }
                Known::PutAway => return Err(NotResumed::PutAway),
                Known::Ended(handled) => return refused(Condition::ItemNotFound, Some(handled)),
                Known::Unknown => return refused(Condition::ItemNotFound, None),
            }
            if tokio::time::timeout_at(deadline, asleep).await.is_err() {
                return refused(Condition::ItemNotFound, None);
            }
        }
    }
}

/// The answer to a request that failed (§6).
pub fn failed(condition: Condition, handled: Option<u32>) -> String {
    let mut writer = verona_xml::Writer::new(ns::CLIENT);
    writer.start("failed", ns::SM);
    if let Some(handled) = handled {
        writer.attr("h", &handled.to_string());
    }
    writer.empty(condition.name(), ns::STANZA_ERRORS).end();
    writer.finish()
}
