//! Publishing a notification: one at a time for each service, again when there is news meanwhile, and
//! once more after a while when it failed for now (§7.1).

use std::sync::Arc;
use std::time::Duration;

use verona_core::account::Account;
use verona_core::account::presence::waiting_requests;
use verona_core::account::state::{Resource, State};
use verona_core::asking::Told;
use verona_core::limits::{PUSH_FAILURES_MAX, PUSH_RETRY_SECS, PUSH_RETRY_SECS_MAX};
use verona_core::link::Link;
use verona_core::server::Server;
use verona_core::store::batch::Batch;
use verona_core::store::error::StoreError;
use verona_xmpp::error::{Condition, ErrorType, StanzaError};
use verona_xmpp::jid::Jid;

use crate::devices::push::notification::{Summary, publish};
use crate::devices::push::service::{FAILURES, SERVICES, Service, Services, write_failures};

const MICROS: u64 = 1_000_000;

/// What it takes to publish to one service of an account.
#[derive(Clone)]
pub struct Attempt {
    /// The server.
    pub server: Arc<Server>,
    /// In whose name is published: §7 has it be the server's.
    pub host: Jid,
    /// Whose messages they are.
    pub account: Arc<Account>,
    /// Which service.
    pub key: String,
    /// What it is told.
    pub summary: Summary,
}

impl Attempt {
    /// Publishes that there is news, within the account's turn.
    pub fn begin(self, service: &mut Service) {
        if service.underway {
            service.again = true;
        } else {
            service.underway = true;
            tokio::spawn(self.run());
        }
    }

    /// Publishes later what its client does not answer for, within the account's turn.
    pub fn watch(self, patience: Duration) {
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(patience).await;
                if self.turn(|service, seen| self.look(service, seen)) != Some(true) {
                    return;
                }
            }
        });
    }

    /// A client that was sent messages and has not been heard since is as good as away. True: some
    /// came too late to be judged now.
    fn look(&self, service: &mut Service, seen: &Seen) -> bool {
        let Some(mut watched) = service.watched.take() else { return false };
        let heard = watched.link.heard_times();
        let (first, last) = watched.heard;
        if heard != last {
            // It has answered, or at least said something, behind the last of them.
            return false;
        }
        if first != last {
            watched.heard = (last, last);
            service.watched = Some(watched);
            return true;
        }
        // Who does not manage its stream need not answer while it has it.
        if (watched.link.mailbox.counts_stanzas() || seen.is_gone) && !seen.is_elsewhere {
            service.missed = service.missed.saturating_add(watched.count);
            self.clone().begin(service);
        }
        false
    }

    async fn run(self) {
        while let Some((to, payload)) = self.turn(|service, seen| self.compose(service, seen)) {
            let goes_on = match self.server.demand(&self.host, &to, &payload).await {
                Told::Result(_) => self.succeeded().await,
                Told::Refused(error) if !is_temporary(&error) => {
                    let condition = error.condition.name();
                    tracing::info!(account = %self.account.jid, service = %to, condition, "push refused");
                    self.give_up().await;
                    false
                }
                Told::Refused(_) | Told::Nothing => self.failed(&to).await,
            };
            if !goes_on {
                return;
            }
        }
    }

    fn compose(&self, service: &mut Service, seen: &Seen) -> (Jid, String) {
        service.again = false;
        (service.jid.clone(), publish(service, self.summary, seen.requests))
    }

    /// True when there was news meanwhile.
    async fn succeeded(&self) -> bool {
        let had_failed = self.turn(|service, _| {
            service.retry_secs = 0;
            std::mem::take(&mut service.failures) > 0
        });
        if had_failed == Some(true) {
            self.commit(|batch| batch.delete(FAILURES, &self.account.owner, &self.key)).await;
        }
        self.turn(|service, _| service.rest_unless(service.again)).unwrap_or(false)
    }

    /// §7.1: true when it is time for the next attempt; false when there were too many, or when the
    /// client has come back meanwhile.
    async fn failed(&self, service: &Jid) -> bool {
        let now_secs = self.server.clock.now_micros() / MICROS;
        let next = self.turn(|service, _| {
            service.failures = service.failures.saturating_add(1);
            let pause = pause_secs(service.failures);
            service.retry_secs = now_secs.saturating_add(pause);
            (service.failures, pause, service.retry_secs)
        });
        let Some((failures, pause, retry_secs)) = next else { return false };
        if failures >= PUSH_FAILURES_MAX {
            tracing::info!(account = %self.account.jid, %service, failures, "push given up");
            self.give_up().await;
            return false;
        }
        let stored = write_failures(failures, retry_secs);
        self.commit(|batch| batch.put(FAILURES, &self.account.owner, &self.key, stored)).await;
        tokio::time::sleep(Duration::from_secs(pause)).await;
        self.turn(|service, seen| service.rest_unless(!seen.is_awake)).unwrap_or(false)
    }

    /// §7.1, §8: the service is not enabled any more.
    pub async fn give_up(&self) {
        let edit = self.account.edit(&self.server).await;
        let mut batch = Batch::new();
        batch.delete(SERVICES, &self.account.owner, &self.key);
        batch.delete(FAILURES, &self.account.owner, &self.key);
        match edit.commit(batch).await {
            Ok(()) => self.account.turn().part_mut::<Services>().remove(&self.key),
            Err(error) => {
                self.tell(&error);
                self.turn(|service, _| service.rest_unless(false));
            }
        }
    }

    /// Stores how the service fares, while it is there.
    async fn commit(&self, write: impl FnOnce(&mut Batch)) {
        let edit = self.account.edit(&self.server).await;
        if self.turn(|_, _| ()).is_none() {
            return;
        }
        let mut batch = Batch::new();
        write(&mut batch);
        if let Err(error) = edit.commit(batch).await {
            self.tell(&error);
        }
    }

    fn tell(&self, error: &StoreError) {
        tracing::error!(account = %self.account.jid, %error, "cannot keep the state of a push service");
    }

    /// A turn of the account with the service, if both are there still.
    fn turn<T>(&self, act: impl FnOnce(&mut Service, &Seen) -> T) -> Option<T> {
        let mut state = self.account.turn();
        if state.gone {
            return None;
        }
        let services = state.part::<Services>()?;
        let service = services.list.iter().find(|service| service.enabled.key() == self.key)?;
        let seen = Seen::of(service, &state);
        state.part_mut::<Services>().get_mut(&self.key).map(|service| act(service, &seen))
    }
}

/// What the account's state says of a service.
struct Seen {
    /// Its client has a stream and is available.
    is_awake: bool,
    /// The session that is watched has ended.
    is_gone: bool,
    /// Its client has another session by now, with a stream.
    is_elsewhere: bool,
    /// Requests for a subscription that wait.
    requests: usize,
}

impl Seen {
    fn of(service: &Service, state: &State) -> Self {
        let is_awake = service.is_awake(state);
        let link = service.watched.as_ref().map(|watched| &watched.link);
        let is_watched = |link: &Arc<Link>, other: &Resource| Arc::ptr_eq(link, &other.link);
        let session = service.session(state).map(|(_, session)| session);
        Self {
            is_awake,
            is_gone: link.is_some_and(|link| state.resource_of(link).is_none()),
            is_elsewhere: is_awake
                && link.zip(session).is_some_and(|(link, session)| !is_watched(link, session)),
            requests: waiting_requests(state).count(),
        }
    }
}

/// What a service may recover from, or may not have been told at all.
fn is_temporary(error: &StanzaError) -> bool {
    error.kind == ErrorType::Wait
        || matches!(
            error.condition,
            Condition::RemoteServerNotFound
                | Condition::RemoteServerTimeout
                | Condition::InternalServerError
                | Condition::ResourceConstraint
        )
}

/// How long to wait after so many failures in a row.
fn pause_secs(failures: u32) -> u64 {
    let factor = 4_u64.saturating_pow(failures.saturating_sub(1));
    PUSH_RETRY_SECS.saturating_mul(factor).min(PUSH_RETRY_SECS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let pauses: Vec<u64> = (1..=7).map(pause_secs).collect();
        assert_eq!(pauses, [30, 120, 480, 1_920, 7_680, 14_400, 14_400]);
        assert_eq!(pause_secs(u32::MAX), PUSH_RETRY_SECS_MAX);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (condition, expected) in [
            (Condition::ItemNotFound, false),
            (Condition::Forbidden, false),
            (Condition::ServiceUnavailable, false),
            (Condition::ResourceConstraint, true),
            (Condition::RemoteServerTimeout, true),
            (Condition::RemoteServerNotFound, true),
        ] {
            assert_eq!(is_temporary(&StanzaError::new(condition)), expected, "{condition:?}");
        }
        let wait = StanzaError::new(Condition::UnexpectedRequest).with_type(ErrorType::Wait);
        assert!(is_temporary(&wait));
    }
}
