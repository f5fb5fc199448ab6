//! Stanzas for components: on their way to a connection, or into the queue and out of it again.

use std::sync::Arc;
use std::time::Duration;

use verona_xml::Writer;
use verona_xmpp::error::{Condition, StanzaError, StreamCondition, StreamError};
use verona_xmpp::ns;
use verona_xmpp::stanza::Stanza;

use crate::component::connected::{Component, Given, Handed, Left};
use crate::component::queue::{
    Desk, Fate, QUEUE, Queue, TRANSIENT, TRANSIENT_SECS, away, fate, owner, page, unpack,
};
use crate::component::settings::ComponentSettings;
use crate::server::Server;
use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::shape::{Record, Seq};
use crate::trail::{Kept, Need, Trail};

/// How often it is looked for messages that have waited too long.
const EXPIRY: Duration = Duration::from_secs(10);

/// How long the queue rests when the store cannot be read.
const REST: Duration = Duration::from_secs(1);

/// Components whose queues are looked for at a time, at the start.
const OWNERS_PAGE: usize = 1_000;

impl Server {
    fn desk(&self) -> Desk<'_> {
        let now_micros = self.clock.now_micros();
        Desk { store: &*self.store, epoch: self.epoch, now_micros }
    }

    /// Whether a domain is served here: by a host, or by a component.
    pub fn serves(&self, domain: &str) -> bool {
        self.host(domain).is_some() || self.components.find(domain).is_some()
    }

    /// Routes a stanza to a component (RFC 6120 §10.4).
    pub(crate) fn to_component(
        self: &Arc<Self>,
        component: &Arc<Component>,
        stanza: Stanza,
        trail: &mut Trail,
    ) -> Need {
        let (given, must_tend) = component.give(&self.desk(), &stanza);
        if must_tend {
            tokio::spawn(self.clone().tend_queue(component.clone()));
        }
        let ticket = match given {
            Given::Taken(ticket) => ticket,
            Given::Crowded(ticket, link) => {
                trail.crowded = Some(link);
                ticket
            }
            Given::Refused(error) => {
                if let Some(answer) = refusal(&stanza, &error) {
                    trail.answer(answer);
                }
                None
            }
            Given::Dropped => None,
        };
        trail.kept.extend(ticket.map(|ticket| Kept { ticket, stanza }));
        Need::Nothing
    }

    /// Sets which components there are, at the start and when the config has changed. Returns the
    /// domains of those that are gone.
    pub async fn set_components(
        self: &Arc<Self>,
        settings: Vec<ComponentSettings>,
    ) -> Result<Vec<String>, StoreError> {
        let mut components = Vec::new();
        for settings in settings {
            let known = self.components.named(&settings.domain);
            components.push(match known {
                Some(component) => {
                    component.adopt(settings);
                    component
                }
                None => {
                    let queue = Queue::load(&*self.store, &owner(&settings.domain)).await?;
                    Arc::new(Component::new(settings, queue))
                }
            });
        }
        let gone = self.components.set(components);
        let error = StreamError::new(StreamCondition::HostGone);
        gone.iter().for_each(|component| component.end(&error, true));
        self.clone().empty_forgotten_queues().await?;
        Ok(gone.iter().map(|component| component.jid.to_string()).collect())
    }

    /// Messages for components that are no more go back to their senders.
    async fn empty_forgotten_queues(self: Arc<Self>) -> Result<(), StoreError> {
        for owner in self.store.owners(QUEUE, None, OWNERS_PAGE).await? {
            if self.components.all().iter().any(|component| component.owner == owner) {
                continue;
            }
            loop {
                let records = page(&*self.store, &owner, None).await?;
                if records.is_empty() {
                    break;
                }
                let error = StanzaError::new(Condition::RemoteServerNotFound);
                self.send_back(&records, &error).await;
                let mut queue = Queue::default();
                let done: Vec<(Seq, usize)> = records.iter().map(|known| (known.seq, 0)).collect();
                queue.remove(&*self.store, &owner, &done);
                self.store.submit(Batch::new()).await?;
            }
        }
        Ok(())
    }

    async fn send_back(self: &Arc<Self>, records: &[Record], error: &StanzaError) {
        let stanzas = records.iter().filter_map(|record| {
            Stanza::parse(std::str::from_utf8(&record.stanza).ok()?).ok()?.error_answer(error)
        });
        self.send(stanzas.collect()).await;
    }

    /// Hands what waits to the connections, until nothing does or none is there.
    pub(crate) async fn tend_queue(self: Arc<Self>, component: Arc<Component>) {
        let mut after = None;
        loop {
            component.begin_reading();
            // What was submitted before can be read, or is gone, from here on.
            let _ = self.store.submit(Batch::new()).await;
            let records = match page(&*self.store, &component.owner, after).await {
                Ok(records) => records,
                Err(error) => {
                    tracing::error!(component = %component.jid, %error, "the queue cannot be read");
                    tokio::time::sleep(REST).await;
                    Vec::new()
                }
            };
            if records.is_empty() {
                let (done, rewound) = component.end_tending();
                if done {
                    return;
                }
                if rewound {
                    after = None;
                }
            }
            for record in records {
                after = Some(record.seq);
                self.hand(&component, &record).await;
            }
        }
    }

    async fn hand(self: &Arc<Self>, component: &Arc<Component>, record: &Record) {
        let done = [(record.seq, record.stanza.len())];
        let Some(stanza) = unpack(record, &component.jid) else {
            tracing::error!(component = %component.jid, seq = record.seq, "unreadable, left out");
            return component.remove(&self.desk(), &done);
        };
        let age = self.clock.now_micros().saturating_sub(record.seq) / 1_000_000;
        if record.flags & TRANSIENT != 0 && age > TRANSIENT_SECS {
            component.remove(&self.desk(), &done);
            if fate(&stanza) == Fate::Refused {
                self.send(refusal(&stanza, &away()).into_iter().collect()).await;
            }
            return;
        }
        loop {
            match component.hand(record, stanza.clone()) {
                Handed::Taken | Handed::Away => return,
                Handed::Full(number) => component.room(number).await,
            }
        }
    }

    /// Settles what a connection has left behind.
    pub(crate) async fn settle_left(self: &Arc<Self>, component: &Arc<Component>, left: Left) {
        if left.must_tend {
            tokio::spawn(self.clone().tend_queue(component.clone()));
        }
        if !left.kept.is_empty() {
            tokio::spawn(async move {
                for (stub, ticket) in left.kept {
                    stub.settle(ticket.await);
                }
            });
        }
        let refused = left.refused.iter();
        self.send(refused.filter_map(|(stanza, error)| refusal(stanza, error)).collect()).await;
    }

    pub(crate) fn component_left(&self, component: &Component, number: u64) -> Left {
        component.leave(&self.desk(), number)
    }

    pub(crate) fn component_wrote(&self, component: &Component, number: u64, count: usize) {
        component.written(&self.desk(), number, count);
    }

    /// Sends messages back that have waited too long for a component that is away.
    pub async fn expire_component_queues(self: &Arc<Self>) {
        for component in self.components.all() {
            if !component.begin_tending() {
                continue;
            }
            if let Err(error) = self.expire(&component).await {
                tracing::error!(component = %component.jid, %error, "the queue cannot be read");
            }
            // Whoever has come meanwhile waits for what is left.
            if !component.end_tending().0 {
                self.clone().tend_queue(component).await;
            }
        }
    }

    async fn expire(self: &Arc<Self>, component: &Arc<Component>) -> Result<(), StoreError> {
        let wait = component.settings().wait_secs.saturating_mul(1_000_000);
        let until = self.clock.now_micros().saturating_sub(wait);
        while component.is_away() {
            let mut records = page(&*self.store, &component.owner, None).await?;
            records.retain(|record| record.seq < until);
            if records.is_empty() {
                return Ok(());
            }
            let error = StanzaError::new(Condition::RemoteServerTimeout);
            self.send_back(&records, &error).await;
            let done: Vec<_> =
                records.iter().map(|known| (known.seq, known.stanza.len())).collect();
            component.remove(&self.desk(), &done);
            self.store.submit(Batch::new()).await?;
        }
        Ok(())
    }

    /// Ends the streams of all components; what they have not got waits.
    pub async fn suspend_components(&self, patience: Duration) {
        let error = StreamError::new(StreamCondition::SystemShutdown);
        let components = self.components.all();
        components.iter().for_each(|component| component.end(&error, false));
        let ended = async {
            while components.iter().any(|component| !component.is_away()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(patience, ended).await;
    }
}

/// The error for a stanza that is refused. Who wants to join a room is told which request failed: some
/// clients look only at presence that speaks of rooms (XEP-0045 §7.2).
fn refusal(stanza: &Stanza, error: &StanzaError) -> Option<Stanza> {
    let answer = stanza.error_answer(error)?;
    match stanza.child("x", ns::MUC) {
        Some(_) => {
            let mut writer = Writer::new(ns::CLIENT);
            writer.empty("x", ns::MUC);
            Some(answer.with_child(&writer.finish()))
        }
        None => Some(answer),
    }
}

/// Looks for messages that have waited too long, for as long as the server runs.
pub async fn tend(server: Arc<Server>) {
    loop {
        tokio::time::sleep(EXPIRY).await;
        server.expire_component_queues().await;
    }
}
