//! The life of federation with that of the server: what waits is loaded at the start, streams are
//! closed at the end, and what nobody uses is forgotten in between.

use std::sync::Arc;
use std::time::Duration;

use verona_xmpp::error::StreamCondition;
use verona_xmpp::jid::Jid;

use crate::federation::queue::Entry;
use crate::federation::route::{QUEUE, Route};
use crate::federation::streams::Leave;
use crate::server::Server;
use crate::store::error::StoreError;
use crate::store::shape::{Owner, Slice};
use crate::stream::server::ours::is_ours;
use crate::stream::server::pairs::Grounds;

/// Owners and records that are read at a time.
const PAGE: usize = 1_000;

impl Server {
    /// Loads the messages that wait for domains elsewhere since before the start, and sends them.
    /// Returns how many there are.
    pub async fn restore_federation(self: &Arc<Self>) -> Result<usize, StoreError> {
        let (mut count, mut after) = (0_usize, None::<Arc<str>>);
        loop {
            let owners = self.store.owners(QUEUE, after.as_deref(), PAGE).await?;
            let Some(last) = owners.last() else { return Ok(count) };
            after = Some(last.clone());
            for owner in owners {
                let Some(route) = self.route_of_owner(&owner) else {
                    tracing::warn!(route = %owner, "messages wait for a way that is not there");
                    continue;
                };
                count = count.saturating_add(self.restore_route(&owner, &route).await?);
                if route.begin() {
                    self.look_after(route);
                }
            }
        }
    }

    async fn restore_route(&self, owner: &Owner, route: &Route) -> Result<usize, StoreError> {
        let (mut count, mut after) = (0_usize, None);
        loop {
            let slice = Slice { after, count_max: PAGE, ..Slice::default() };
            let page = self.store.page(QUEUE, owner, &slice).await?;
            for record in page.records {
                after = Some(record.seq);
                count = count.saturating_add(1);
                match std::str::from_utf8(&record.stanza) {
                    Ok(text) => {
                        let entry = Entry { text: text.into(), seq: record.seq };
                        route.restore(entry, &self.federation.gauge);
                    }
                    Err(_) => tracing::error!(route = %owner, "a message cannot be read"),
                }
            }
            if page.complete {
                return Ok(count);
            }
        }
    }

    fn route_of_owner(&self, owner: &str) -> Option<Arc<Route>> {
        let (local, remote) = owner.split_once(' ')?;
        let (local, remote) = (Jid::parse(local).ok()?, Jid::parse(remote).ok()?);
        self.federation.route(&local, &remote)
    }

    /// Closes all streams to other servers and opens none from now on; what waits is on disk. Returns
    /// how many did not end in time.
    pub async fn leave_federation(&self, patience: Duration) -> usize {
        self.federation.stop();
        let streams = &self.federation.streams;
        streams.all().iter().for_each(|peer| peer.order(Leave::Close));
        let _ = tokio::time::timeout(patience, streams.ended()).await;
        streams.all().len()
    }

    /// Ends streams whose domains may not speak with each other any more, or not without a certificate,
    /// after a change of settings.
    pub fn review_federation(&self) {
        let (terms, rules) = (self.federation.terms(), self.streams.rules());
        for peer in self.federation.streams.all() {
            let ended = peer.pairs().into_iter().find_map(|known| {
                if !is_ours(self, &known.pair.local) {
                    return Some(StreamCondition::HostGone);
                }
                let lacks = rules.require_certificate && known.trust.by == Grounds::Dialback;
                (lacks || !terms.admit(&known.pair)).then_some(StreamCondition::PolicyViolation)
            });
            if let Some(condition) = ended {
                peer.order(Leave::End(condition.into()));
            }
        }
    }

    /// Forgets routes that nobody uses.
    pub fn sweep_federation(&self) {
        self.federation.sweep(self.clock.uptime_secs());
    }
}
