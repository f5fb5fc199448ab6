//! The page of an account's archive that a query selects.

use verona_core::account::Account;
use verona_core::account::log::{ARCHIVE, LOG};
use verona_core::server::Server;
use verona_core::store::shape::{Record, Seq, Slice};
use verona_xmpp::error::{Condition, StanzaError};
use verona_xmpp::jid::Jid;
use verona_xmpp::rsm::Page;
use verona_xmpp::stanza::Stanza;

use crate::archive::query::Query;

/// Messages in a page when the client does not say how many.
const PAGE: usize = 50;

/// Messages in a page at most (XEP-0313 §4.3.1).
const PAGE_MAX: usize = 250;

/// Bytes of messages after which a page ends before its time: it is held in memory while a slow
/// client reads it.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Records read at a time.
const CHUNK: usize = 50;

/// Reads for one page: with a full JID or with words many records may be passed over.
const LOOKS_MAX: u32 = 20_000;

/// A page of an archive.
#[derive(Debug, Default)]
pub struct Found {
    /// The messages, in the order in which they came.
    pub records: Vec<Record>,
    /// Whether there is nothing further in the direction of reading (§4.3.2).
    pub complete: bool,
    /// How many messages the query selects in all, where that was asked for or costs nothing.
    pub count: Option<u64>,
    /// How many of them lie before the page, where that is known.
    pub index: Option<u64>,
}

/// An archive that is being searched.
pub struct Archive<'a> {
    /// The server.
    pub server: &'a Server,
    /// Whose archive it is.
    pub account: &'a Account,
}

impl Archive<'_> {
    /// Finds the page that a query selects.
    pub async fn find(&self, query: &Query) -> Result<Found, StanzaError> {
        let mut slice = self.slice(query).await?;
        let max = query.page.max.map_or(PAGE, |max| usize::try_from(max).unwrap_or(PAGE_MAX));
        let max = max.min(PAGE_MAX);
        let whose = self.whose(query);
        if let Some(ids) = &query.ids {
            return self.named(ids, query, (&slice, whose)).await;
        }
        match &query.page.page {
            Page::First => {}
            Page::After(id) => later(&mut slice, self.place(id).await?),
            Page::Before(id) => {
                earlier(&mut slice, self.place(id).await?);
                slice.from_end = true;
            }
            Page::Last => slice.from_end = true,
            Page::Index(index) => slice.skip = u64::from(*index),
        }
        if max == 0 {
            let count = self.count(slice, whose).await?;
            return Ok(Found { complete: count == 0, count: Some(count), ..Found::default() });
        }
        // XEP-0059 §2.6: with an index goes how many there are in all.
        let counted = match &query.page.page {
            Page::Index(_) => Some(self.count(slice.clone(), whose).await?),
            _ => None,
        };
        let mut found = self.gather(slice, max, whose).await?;
        found.count = counted;
        if found.complete && matches!(query.page.page, Page::First | Page::Last) {
            found.count = u64::try_from(found.records.len()).ok();
        }
        if let Page::Index(index) = &query.page.page {
            found.index = Some(u64::from(*index));
        }
        Ok(found)
    }

    /// The first or the last message (§5).
    pub async fn end(&self, last: bool) -> Result<Option<Record>, StanzaError> {
        let slice = Slice { flags_any: ARCHIVE, from_end: last, count_max: 1, ..Slice::default() };
        let page = self.server.store.page(LOG, &self.account.owner, &slice).await?;
        Ok(page.records.into_iter().next())
    }

    /// The part of the log that the filters of a query leave (§4.1).
    async fn slice(&self, query: &Query) -> Result<Slice, StanzaError> {
        let mut slice = Slice {
            after: query.after,
            before: query.before,
            peer: query.with.as_ref().map(|with| with.bare_str().into()),
            flags_any: ARCHIVE,
            words: query.words.clone(),
            ..Slice::default()
        };
        if let Some(id) = &query.after_id {
            later(&mut slice, self.place(id).await?);
        }
        if let Some(id) = &query.before_id {
            earlier(&mut slice, self.place(id).await?);
        }
        Ok(slice)
    }

    /// §4.1.1: a full JID selects messages to or from itself. The account's own selects what it sent
    /// to itself, whatever the resource.
    fn whose<'q>(&self, query: &'q Query) -> Option<&'q Jid> {
        query.with.as_ref().filter(|with| !with.is_bare() && !with.same_bare(&self.account.jid))
    }

    /// The place of an id; `item-not-found` when no message in the archive has it (§4.1.3, §4.3.2).
    async fn place(&self, id: &str) -> Result<Seq, StanzaError> {
        Ok(self.record(id).await?.seq)
    }

    async fn record(&self, id: &str) -> Result<Record, StanzaError> {
        let unknown = || StanzaError::new(Condition::ItemNotFound);
        let (epoch, seq) = self.server.ids.place(id).ok_or_else(unknown)?;
        let record = self.server.store.record(LOG, &self.account.owner, seq).await?;
        record
            .filter(|record| record.epoch == epoch && record.flags & ARCHIVE != 0)
            .ok_or_else(unknown)
    }

    /// Reads on from one end until the page is full.
    async fn gather(
        &self,
        mut slice: Slice,
        max: usize,
        whose: Option<&Jid>,
    ) -> Result<Found, StanzaError> {
        let (mut found, mut bytes) = (Found::default(), 0_usize);
        let own_filter = whose.is_some() || slice.words.is_some();
        // With a filter of our own, what lies before the page is counted here.
        let mut skip = if own_filter { std::mem::take(&mut slice.skip) } else { 0 };
        let mut looks = 0_u32;
        'full: loop {
            let room = max.saturating_sub(found.records.len());
            slice.count_max = if own_filter { CHUNK } else { room.min(CHUNK) };
            let mut page = self.server.store.page(LOG, &self.account.owner, &slice).await?;
            slice.skip = 0;
            if slice.from_end {
                page.records.reverse();
            }
            let last = page.looked.or_else(|| page.records.last().map(|record| record.seq));
            looks = looks.saturating_add(1);
            if looks > LOOKS_MAX {
                return Err(too_much());
            }
            for record in page.records {
                if whose.is_some_and(|jid| !concerns(&record, jid)) {
                    continue;
                }
                if skip > 0 {
                    skip = skip.saturating_sub(1);
                    continue;
                }
                if found.records.len() >= max || bytes > PAGE_BYTES_MAX {
                    break 'full;
                }
                bytes = bytes.saturating_add(record.stanza.len());
                found.records.push(record);
            }
            found.complete = page.complete;
            // With a filter of our own only a further match tells that there is more.
            let full = found.records.len() >= max && !own_filter;
            let Some(last) = last.filter(|_| !full && !page.complete) else { break };
            if slice.from_end {
                slice.before = Some(last);
            } else {
                slice.after = Some(last);
            }
        }
        if slice.from_end {
            found.records.reverse();
        }
        Ok(found)
    }

    /// How many messages a slice holds.
    async fn count(&self, mut slice: Slice, whose: Option<&Jid>) -> Result<u64, StanzaError> {
        let store = &self.server.store;
        if whose.is_none() && slice.words.is_none() {
            return Ok(store.count(LOG, &self.account.owner, &slice).await?);
        }
        slice.skip = 0;
        slice.from_end = false;
        slice.count_max = CHUNK;
        let (mut count, mut looks) = (0_u64, 0_u32);
        loop {
            let page = store.page(LOG, &self.account.owner, &slice).await?;
            let is_meant = |record: &&Record| whose.is_none_or(|jid| concerns(record, jid));
            let matching = page.records.iter().filter(is_meant).count();
            count = count.saturating_add(u64::try_from(matching).unwrap_or(u64::MAX));
            let last = page.looked.or_else(|| page.records.last().map(|record| record.seq));
            let Some(last) = last.filter(|_| !page.complete) else { return Ok(count) };
            looks = looks.saturating_add(1);
            if looks > LOOKS_MAX {
                return Err(too_much());
            }
            slice.after = Some(last);
        }
    }

    /// §4.1.3: single messages. All must be there, and what they hold is read for the page alone.
    async fn named(
        &self,
        ids: &[Box<str>],
        query: &Query,
        (slice, whose): (&Slice, Option<&Jid>),
    ) -> Result<Found, StanzaError> {
        let mut places = Vec::with_capacity(ids.len());
        for id in ids {
            let record = self.record(id).await?;
            let within = slice.after.is_none_or(|after| record.seq > after)
                && slice.before.is_none_or(|before| record.seq < before)
                && slice.peer.as_ref().is_none_or(|peer| record.peer == *peer)
                && slice.words.as_ref().is_none_or(|words| words.are_in(&record.stanza))
                && whose.is_none_or(|jid| concerns(&record, jid));
            if within {
                places.push(record.seq);
            }
        }
        places.sort_unstable();
        places.dedup();
        let position = |id: &str| {
            let (_, seq) = self.server.ids.place(id)?;
            places.binary_search(&seq).ok()
        };
        let range = query.page.range(places.len(), PAGE_MAX, position)?;
        let backwards = matches!(query.page.page, Page::Before(_) | Page::Last);
        let mut found = Found {
            complete: if backwards { range.start == 0 } else { range.end >= places.len() },
            count: u64::try_from(places.len()).ok(),
            ..Found::default()
        };
        let mut bytes = 0_usize;
        for seq in places.get(range).unwrap_or_default() {
            let Some(record) = self.server.store.record(LOG, &self.account.owner, *seq).await?
            else {
                continue;
            };
            if bytes > PAGE_BYTES_MAX {
                found.complete = false;
                break;
            }
            bytes = bytes.saturating_add(record.stanza.len());
            found.records.push(record);
        }
        Ok(found)
    }
}

/// What is looked for lies too far away.
fn too_much() -> StanzaError {
    StanzaError::new(Condition::ResourceConstraint).text("narrow the search, by time or contact")
}

/// Whether a message is to or from a full JID.
fn concerns(record: &Record, jid: &Jid) -> bool {
    let Ok(text) = std::str::from_utf8(&record.stanza) else { return false };
    let Ok(stanza) = Stanza::parse(text) else { return false };
    stanza.from() == Some(jid) || stanza.to() == Some(jid)
}

fn later(slice: &mut Slice, than: Seq) {
    slice.after = Some(slice.after.map_or(than, |after| after.max(than)));
}

fn earlier(slice: &mut Slice, than: Seq) {
    slice.before = Some(slice.before.map_or(than, |before| before.min(than)));
}
