//! What is done when memory is short (SECURITY §4): who is not logged in yet stays out in time, and the
//! sessions for which most waits end before the process does.

use std::sync::Arc;

use verona_xmpp::error::{StreamCondition, StreamError};

use crate::limits::{RELIEF_BYTES_MIN, RELIEF_SESSIONS_MAX};
use crate::link::Link;
use crate::mailbox::Order;
use crate::server::Server;
use crate::store::shape::Owner;

const MIB: u64 = 1024 * 1024;

impl Server {
    /// Takes note of the bytes in use and of those that may be used. From 80 % on nobody new is let
    /// in; from 90 % on the sessions end for which most waits. Returns how many ended.
    pub fn note_memory(self: &Arc<Self>, used: u64, budget: u64) -> usize {
        let percent = used.saturating_mul(100) / budget.max(1);
        let high = percent >= 80;
        if self.pressure.set_high(high) != high {
            let (used_mib, budget_mib) = (used / MIB, budget / MIB);
            match high {
                true => {
                    tracing::error!(used_mib, budget_mib, "short of memory: nobody new comes in")
                }
                false => tracing::info!(used_mib, budget_mib, "there is memory again"),
            }
        }
        if percent < 90 { 0 } else { self.relieve() }
    }

    /// Ends some of the sessions with the longest queues; what waits in them goes on by the rules.
    fn relieve(self: &Arc<Self>) -> usize {
        let mut queues: Vec<(usize, Owner, Arc<Link>)> = Vec::new();
        self.directory.each(|account| {
            for resource in &account.turn().resources {
                let bytes = resource.link.mailbox.waiting_bytes();
                if bytes >= RELIEF_BYTES_MIN {
                    queues.push((bytes, account.owner.clone(), resource.link.clone()));
                }
            }
        });
        queues.sort_by_key(|(bytes, ..)| std::cmp::Reverse(*bytes));
        queues.truncate(RELIEF_SESSIONS_MAX);
        for (bytes, owner, link) in &queues {
            tracing::warn!(
                stream = %link.stream(), account = link.account(), resource = link.resource(), bytes,
                "session is ended to free memory"
            );
            let error = StreamError::new(StreamCondition::ResourceConstraint);
            link.mailbox.order(Order::End(error.text("the server is short of memory")));
            if link.mailbox.is_asleep() {
                let (server, owner, link) = (self.clone(), owner.clone(), link.clone());
                tokio::spawn(async move { server.end_sleeper(&owner, &link).await });
            }
        }
        queues.len()
    }
}
