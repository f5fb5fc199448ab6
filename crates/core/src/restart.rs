//! Sessions live through a restart (XEP-0198 §5): at the end those that may be resumed are written
//! down, at the start they sleep again, and contacts see no flicker.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use verona_xmpp::error::{StreamCondition, StreamError};
use verona_xmpp::jid::Jid;
use verona_xmpp::stanza::Stanza;

use crate::account::keep;
use crate::account::shared::{is_number, is_place};
use crate::account::state::Resource;
use crate::link::Link;
use crate::mailbox::{Order, StanzaEnd};
use crate::server::{Seat, Server, Sleeper};
use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::shape::{Entry, Owner, Seq, Table};
use crate::stream::management::Managed;
use crate::stream::user_agent::UserAgent;

/// Sleeping sessions, by account and id; there only while the server does not run.
const SESSIONS: Table = Table::map("sessions");

/// Accounts read at a time.
const PAGE: usize = 1_000;

/// How often it is looked whether all streams have ended, before those that have not are told again.
const LOOKS_PER_ORDER: u32 = 20;

/// Sessions written at a time.
const BATCH: usize = 500;

/// A sleeping session as it is written down.
#[derive(Deserialize, Serialize)]
struct Written {
    jid: String,
    resume_secs: u32,
    received: u32,
    acked: u32,
    unacked: Vec<String>,
    /// Where each of them lies in the log; 0 for those that do not.
    #[serde(default)]
    places: Vec<Seq>,
    presence: Option<String>,
    priority: i8,
    interested: bool,
    directed: Vec<String>,
    marks: Vec<String>,
    #[serde(default)]
    agent: Option<UserAgent>,
}

impl Server {
    /// Ends all streams of clients within `patience`: sessions that may be resumed sleep, the others
    /// hear `system-shutdown`, and their contacts, also at other servers, that they are gone (RFC 6121
    /// §4.5.2).
    pub async fn end_streams(self: &Arc<Self>, patience: Duration) {
        let error = StreamError::new(StreamCondition::SystemShutdown);
        let ended = async {
            loop {
                // Again, since who was logging in or resuming has a session only now. What is
                // managed leaves in silence, and sleeps.
                self.directory.each(|account| {
                    for resource in &account.turn().resources {
                        resource.link.mailbox.order(Order::End(error.clone()));
                    }
                });
                for _ in 0..LOOKS_PER_ORDER {
                    if self.streams() == 0 {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        };
        let _ = tokio::time::timeout(patience, ended).await;
    }

    /// The same for the last time: what sleeps is written down. Returns how many streams did not end in
    /// time.
    pub async fn suspend(self: &Arc<Self>, patience: Duration) -> Result<usize, StoreError> {
        self.end_streams(patience).await;
        self.directory.each(|account| keep::tell(self, account, &mut account.turn()));

        // Counted before the sleepers are taken away, who would count as awake.
        let left = self.streams();
        let mut sleepers = self.sleepers.put_away();
        for sleepers in sleepers.chunks_mut(BATCH) {
            let mut batch = Batch::new();
            for sleeper in sleepers {
                let id = sleeper.managed.id.clone();
                if let Some(written) = write_down(sleeper) {
                    batch.put(SESSIONS, &sleeper.seat.account.owner, &id, written);
                }
            }
            self.store.submit(batch).await?;
        }
        Ok(left)
    }

    /// How many sessions have a stream.
    pub fn streams(&self) -> usize {
        let mut count = 0_usize;
        self.directory.each(|account| {
            count = count.saturating_add(account.turn().resources.len());
        });
        count.saturating_sub(self.sleepers.asleep_count())
    }

    /// Puts the sessions to sleep that the server before wrote down, before any door opens. What is
    /// written down is taken away first, so that it is never used twice.
    pub async fn restore(self: &Arc<Self>) -> Result<usize, StoreError> {
        let mut count = 0_usize;
        loop {
            let owners = self.store.owners(SESSIONS, None, PAGE).await?;
            if owners.is_empty() {
                return Ok(count);
            }
            let mut found = Vec::new();
            let mut batch = Batch::new();
            for owner in owners {
                for entry in self.store.entries(&owner, &[SESSIONS]).await? {
                    found.push((owner.clone(), entry));
                }
                batch.clear(SESSIONS, &owner);
            }
            self.store.submit(batch).await?;
            for (owner, entry) in found {
                if self.put_back(&owner, &entry).await?.is_some() {
                    count = count.saturating_add(1);
                }
            }
        }
    }

    async fn put_back(
        self: &Arc<Self>,
        owner: &Owner,
        entry: &Entry,
    ) -> Result<Option<()>, StoreError> {
        let Ok(written) = serde_json::from_slice::<Written>(&entry.value) else {
            tracing::error!(account = %owner, "a session that was written down cannot be read");
            return Ok(None);
        };
        let Ok(jid) = Jid::parse(&written.jid) else { return Ok(None) };
        let Some(host) = self.host(jid.domain()) else { return Ok(None) };
        let Some(account) = self.account(&jid.bare()).await? else { return Ok(None) };
        let link = Arc::new(Link::new(jid, self.clock.uptime_secs()));
        link.mailbox.count_stanzas();
        let mut managed = Managed::new(entry.key.clone(), written.resume_secs);
        managed.received = written.received;
        managed.acked = written.acked;
        let places = written.places.iter().copied().chain(std::iter::repeat(0));
        for (stanza, seq) in written.unacked.iter().zip(places) {
            let at = u32::try_from(stanza.len()).unwrap_or(u32::MAX);
            managed.sent(stanza.as_bytes(), &[StanzaEnd { at, seq }]);
            // Found in the log it counts as waiting, but the session has it still.
            if is_place(seq) && keep::waits(self, &account, seq).await? {
                account.turn().log.hand_out_again(seq, stanza.len());
            } else if is_number(seq) {
                account.turn().shared.hand_out_again(seq);
            }
        }
        let mut resource = Resource::new(link.clone());
        resource.presence =
            written.presence.and_then(|text| Stanza::parse(&text).ok()).map(Box::new);
        resource.priority = written.priority;
        resource.interested = written.interested;
        resource.directed = written.directed.iter().filter_map(|d| Jid::parse(d).ok()).collect();
        resource.agent = written.agent.map(Box::new);
        for mark in written.marks {
            resource.mark(mark, true);
        }
        account.turn().resources.push(resource);
        self.put_to_sleep(Seat { link, account, host }, managed);
        Ok(Some(()))
    }
}

fn write_down(sleeper: &mut Sleeper) -> Option<Vec<u8>> {
    let Sleeper { seat, managed, .. } = sleeper;
    let waiting = seat.link.mailbox.take_asleep();
    managed.sent(&waiting.bytes, &waiting.ends);
    let state = seat.account.turn();
    let resource = state.resource_of(&seat.link)?;
    let of_next = |seq| if is_number(seq) { state.shared.written(seq) } else { seq };
    let places = managed.unacked.iter().map(|stanza| of_next(stanza.seq)).collect();
    let written = Written {
        jid: seat.link.jid.to_string(),
        resume_secs: managed.resume_secs,
        received: managed.received,
        acked: managed.acked,
        unacked: managed
            .unacked
            .iter()
            .map(|stanza| String::from_utf8_lossy(&stanza.text).into_owned())
            .collect(),
        places,
        presence: resource.presence.as_ref().map(|presence| presence.text().to_owned()),
        priority: resource.priority,
        interested: resource.interested,
        directed: resource.directed.iter().map(Jid::to_string).collect(),
        marks: resource.marks().map(str::to_owned).collect(),
        agent: resource.agent.as_deref().cloned(),
    };
    serde_json::to_vec(&written).ok()
}
