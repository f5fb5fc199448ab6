//! XEP-0424 §4: a message that was retracted leaves a tombstone in the archive.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use verona_core::account::Account;
use verona_core::account::log::{ARCHIVE, LOG, OUTBOUND};
use verona_core::hooks::{Direction, Passage};
use verona_core::server::Server;
use verona_core::store::batch::{Batch, Write};
use verona_core::store::error::StoreError;
use verona_core::store::shape::{Owner, Record, Slice};
use verona_xml::Writer;
use verona_xmpp::date;
use verona_xmpp::ns;
use verona_xmpp::stanza::Stanza;

use crate::archive::content::RETRACT as NS;

/// Messages of the conversation that are searched, from the youngest: what is retracted was mostly
/// just said.
const SEARCHED_MAX: usize = 2_000;

/// Messages read at a time.
const PAGE: usize = 100;

/// Retractions of one account that are carried out at a time; what comes beyond is archived, and
/// that is all that XEP-0424 §4 asks for.
const AT_ONCE_MAX: usize = 16;

/// How long a reader of the archive waits for them.
const PATIENCE: Duration = Duration::from_secs(2);

/// The retractions that are being carried out, so that who reads the archive behind one sees what it
/// has done.
#[derive(Debug, Default)]
pub struct Underway {
    counts: Mutex<HashMap<Owner, usize>>,
    done: Notify,
}

impl Underway {
    /// Carries out a retraction. Nobody waits for it: the retraction itself is in the archive
    /// whether or not this succeeds (§5).
    pub fn begin(self: &Arc<Self>, server: &Arc<Server>, retraction: Retraction) {
        let owner = retraction.account.owner.clone();
        {
            let mut counts = self.counts.lock();
            let count = counts.entry(owner.clone()).or_default();
            if *count >= AT_ONCE_MAX {
                return;
            }
            *count = count.saturating_add(1);
        }
        let (underway, server) = (self.clone(), server.clone());
        tokio::spawn(async move {
            if let Err(error) = retraction.bury(&server).await {
                tracing::error!(account = %owner, %error, "cannot bury a message");
            }
            underway.end(&owner);
        });
    }

    fn end(&self, owner: &Owner) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(owner) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(owner);
            }
        }
        drop(counts);
        self.done.notify_waiters();
    }

    /// Waits until those of an account are carried out, within reason.
    pub async fn settled(&self, owner: &Owner) {
        let none_left = async {
            loop {
                let done = self.done.notified();
                if !self.counts.lock().contains_key(owner) {
                    return;
                }
                done.await;
            }
        };
        // A reader that was kept waiting sees the archive as it is.
        let _ = tokio::time::timeout(PATIENCE, none_left).await;
    }
}

/// A retraction that was accepted: in whose conversation, and which message.
#[derive(Debug)]
pub struct Retraction {
    account: Arc<Account>,
    /// §5: only the sender of a message may retract it: who it is with, and which way it went.
    peer: Arc<str>,
    direction: Direction,
    /// The `id` of the retracted message.
    id: String,
    /// The `id` of the retraction itself.
    by: String,
    micros: u64,
}

impl Retraction {
    /// The retraction in a message, if it is one that can be carried out.
    pub fn of(passage: &Passage<'_>) -> Option<Self> {
        let stanza = &*passage.stanza;
        let element = stanza.child("retract", NS)?;
        let id = element.tree()?.root().attr("id")?.to_owned();
        let peer = match passage.direction {
            Direction::Inbound => stanza.from()?,
            Direction::Outbound => stanza.to()?,
        };
        Some(Self {
            account: passage.account.clone(),
            peer: peer.bare_str().into(),
            direction: passage.direction,
            id,
            by: id_of(stanza)?,
            micros: passage.server.clock.now_micros(),
        })
    }

    /// Looks for the message, and puts a tombstone in its place.
    async fn bury(&self, server: &Server) -> Result<(), StoreError> {
        // The message may still be on its way to the disk.
        server.store.submit(Batch::new()).await?;
        let mut slice = Slice {
            peer: Some(self.peer.clone()),
            before: Some(self.micros),
            flags_any: ARCHIVE,
            from_end: true,
            count_max: PAGE,
            ..Slice::default()
        };
        for _ in 0..SEARCHED_MAX / PAGE {
            let page = server.store.page(LOG, &self.account.owner, &slice).await?;
            let found = page.records.iter().rev().find_map(|record| self.tombstone(record));
            if let Some((record, stanza)) = found {
                let mut batch = Batch::new();
                batch.writes.push(Write::Amend {
                    log: LOG,
                    owner: self.account.owner.clone(),
                    seq: record.seq,
                    flags: record.flags,
                    stanza: Bytes::copy_from_slice(stanza.text().as_bytes()),
                });
                return server.store.submit(batch).await;
            }
            let Some(first) = page.records.first().filter(|_| !page.complete) else { break };
            slice.before = Some(first.seq);
        }
        Ok(())
    }

    /// What stands in the place of the retracted message, if this is it.
    fn tombstone<'r>(&self, record: &'r Record) -> Option<(&'r Record, Stanza)> {
        let sent = record.flags & OUTBOUND != 0;
        if sent != (self.direction == Direction::Outbound) {
            return None;
        }
        let text = std::str::from_utf8(&record.stanza).ok()?;
        // Most others are passed over without reading them through.
        if !self.id.contains(['&', '<', '>', '\'', '"']) && !text.contains(&self.id) {
            return None;
        }
        let stanza = Stanza::parse(text).ok()?;
        if id_of(&stanza)? != self.id || stanza.child("retracted", NS).is_some() {
            return None;
        }
        let mut writer = Writer::new(ns::CLIENT);
        writer.start("retracted", NS).attr("id", &self.by);
        writer.attr("stamp", &date::write(i64::try_from(self.micros).unwrap_or(i64::MAX))).end();
        Some((record, stanza.without(|child| child.ns != ns::SID).with_child(&writer.finish())))
    }
}

/// The `id` of a stanza as it is meant, not as it is written.
fn id_of(stanza: &Stanza) -> Option<String> {
    Some(stanza.tree()?.root().attr("id")?.to_owned())
}
