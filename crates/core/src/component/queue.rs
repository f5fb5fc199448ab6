//! What waits for a component, as a log on disk: its shape, its bounds, and what is of interest of it
//! in memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use verona_xml::Writer;
use verona_xmpp::date;
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::ns;
use verona_xmpp::stanza::{IqType, Kind, MessageType, PresenceType, Stanza};

use crate::limits::{COMPONENT_QUEUE_BYTES_MAX, COMPONENT_QUEUE_STANZAS_MAX};
use crate::store::Store;
use crate::store::batch::{Batch, Write};
use crate::store::error::StoreError;
use crate::store::shape::{Owner, Record, Seq, Slice, Table};
use crate::store::ticket::Ticket;

/// What waits for a component, by its domain.
pub const QUEUE: Table = Table::log("components.queue");

/// It keeps its place behind what waits, and is not worth keeping for longer than that.
pub const TRANSIENT: u32 = 1;
/// Nobody was there when it came, so it tells since when it waits (XEP-0203).
pub const WAITED: u32 = 2;

/// Seconds for which what is transient may keep its place.
pub const TRANSIENT_SECS: u64 = 60;

/// Records read at a time.
const PAGE: usize = 128;

/// What becomes of a stanza when no connection can take it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It waits.
    Waits,
    /// Its sender is told.
    Refused,
    /// Nobody misses it.
    Dropped,
}

/// By the rules of [`crate::component`].
pub fn fate(stanza: &Stanza) -> Fate {
    match stanza.kind() {
        Kind::Message(MessageType::Error) => Fate::Dropped,
        Kind::Message(_) => Fate::Waits,
        Kind::Iq(IqType::Get | IqType::Set) => Fate::Refused,
        Kind::Iq(_) => Fate::Dropped,
        Kind::Presence(
            PresenceType::Subscribe
            | PresenceType::Subscribed
            | PresenceType::Unsubscribe
            | PresenceType::Unsubscribed,
        ) => Fate::Waits,
        Kind::Presence(PresenceType::Available) => Fate::Refused,
        Kind::Presence(_) => Fate::Dropped,
    }
}

/// What the sender of a stanza hears that was refused because nobody is there.
pub fn away() -> StanzaError {
    StanzaError::new(Condition::ServiceUnavailable).text("the component is not connected")
}

/// Where the log stands.
#[derive(Debug, Default)]
pub struct Queue {
    /// Records in it, those on their way to a connection included.
    pub count: usize,
    /// About how many bytes they have.
    pub bytes: usize,
    /// The last place that was given out.
    last_seq: Seq,
    /// Records that are on their way to a connection.
    pub under_way: BTreeSet<Seq>,
    /// Records that were removed since the log was last read.
    pub removed: BTreeSet<Seq>,
}

/// Where records go, and with what.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    /// The store.
    pub store: &'a dyn Store,
    /// The start of the server.
    pub epoch: u32,
    /// The time.
    pub now_micros: u64,
}

impl Queue {
    /// The queue as the store has it.
    pub async fn load(store: &dyn Store, owner: &Owner) -> Result<Self, StoreError> {
        let mut queue = Self { last_seq: store.last_seq(QUEUE, owner).await?, ..Self::default() };
        let mut after = None;
        loop {
            let page = page(store, owner, after).await?;
            queue.count = queue.count.saturating_add(page.len());
            for record in &page {
                queue.bytes = queue.bytes.saturating_add(record.stanza.len());
            }
            match page.last() {
                Some(last) => after = Some(last.seq),
                None => return Ok(queue),
            }
        }
    }

    /// Appends a stanza; None when there is no room. Must be called in the order in which they are
    /// to leave.
    pub fn append(
        &mut self,
        desk: &Desk<'_>,
        owner: &Owner,
        (stanza, flags): (&Stanza, u32),
    ) -> Option<Ticket> {
        let bytes = self.bytes.saturating_add(stanza.text().len());
        if self.count >= COMPONENT_QUEUE_STANZAS_MAX || bytes > COMPONENT_QUEUE_BYTES_MAX {
            return None;
        }
        let seq = desk.now_micros.max(self.last_seq.saturating_add(1));
        self.last_seq = seq;
        self.count = self.count.saturating_add(1);
        self.bytes = bytes;
        let mut batch = Batch::new();
        let record = Record {
            seq,
            epoch: desk.epoch,
            peer: stanza.from().map_or_else(|| owner.clone(), |from| from.bare_str().into()),
            flags,
            stanza: Bytes::copy_from_slice(stanza.text().as_bytes()),
        };
        batch.append(QUEUE, owner, record);
        Some(desk.store.submit(batch))
    }

    /// Takes records out that are done with. Nobody waits for it: after a crash they come once more.
    pub fn remove(&mut self, store: &dyn Store, owner: &Owner, done: &[(Seq, usize)]) {
        if done.is_empty() {
            return;
        }
        let mut batch = Batch::new();
        for (seq, bytes) in done {
            self.under_way.remove(seq);
            self.removed.insert(*seq);
            self.count = self.count.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(*bytes);
            batch.writes.push(Write::Remove { log: QUEUE, owner: owner.clone(), seq: *seq });
        }
        drop(store.submit(batch));
    }

    /// Whether a record that was just read is on its way already, or has arrived.
    pub fn has_left(&self, seq: Seq) -> bool {
        self.under_way.contains(&seq) || self.removed.contains(&seq)
    }
}

/// The records behind a place, some at a time.
pub async fn page(
    store: &dyn Store,
    owner: &Owner,
    after: Option<Seq>,
) -> Result<Vec<Record>, StoreError> {
    let slice = Slice { after, count_max: PAGE, ..Slice::default() };
    Ok(store.page(QUEUE, owner, &slice).await?.records)
}

/// The stanza of a record as it leaves: with the time of its arrival and whose word that is, if it
/// came while nobody was there (XEP-0203 §2).
pub fn unpack(record: &Record, component: &Jid) -> Option<Stanza> {
    let stanza = Stanza::parse(std::str::from_utf8(&record.stanza).ok()?).ok()?;
    let says = stanza.child("delay", ns::DELAY).is_some();
    if record.flags & WAITED == 0 || says || !matches!(stanza.kind(), Kind::Message(_)) {
        return Some(stanza);
    }
    let mut writer = Writer::new(ns::CLIENT);
    writer.start("delay", ns::DELAY).attr("from", component.as_str());
    writer.attr("stamp", &date::write(i64::try_from(record.seq).unwrap_or(i64::MAX))).end();
    Some(stanza.with_child(&writer.finish()))
}

/// The key under which a component's queue lies.
pub fn owner(component: &Jid) -> Owner {
    Arc::from(component.domain())
}
