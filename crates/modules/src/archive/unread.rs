//! How far an account has read its conversations (XEP-0430 §4): a place in the log for each peer. What
//! was received behind it, and behind the account's own last words, is unread.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use hashbrown::HashMap;
use verona_core::account::Account;
use verona_core::account::keep::settled;
use verona_core::account::log::{LOG, RECEIVED};
use verona_core::account::state::{Part, State};
use verona_core::server::Server;
use verona_core::store::batch::Batch;
use verona_core::store::error::StoreError;
use verona_core::store::shape::{Entry, Record, Seq, Slice, Table};
use verona_xmpp::stanza::Stanza;

/// By bare JID the place of the last message that was read, as decimal text; only where a marker
/// told.
pub const READ: Table = Table::map("unread.cursors");

/// Conversations of which the last message is remembered by its id: markers are mostly about it.
const LASTS_MAX: usize = 8;

/// Conversations whose cursor was moved lately.
const MOVED_MAX: usize = 256;

/// Markers of one account that are looked up at a time; what comes beyond does not count.
const SEARCHES_MAX: usize = 4;

/// Messages of a conversation that are searched for the one that a marker means, from the youngest.
const SEARCHED_MAX: usize = 2_000;

/// Messages read at a time.
const PAGE: usize = 50;

/// What is known of an account's unread messages, in memory.
#[derive(Debug, Default)]
pub struct Unread {
    /// By bare JID, where there are any; None until somebody asks.
    counts: Option<HashMap<Arc<str>, u64>>,
    /// Counts the changes, so that who has counted knows whether that still holds.
    changes: u64,
    lasts: VecDeque<Last>,
    moved: HashMap<u64, Seq>,
    searches: usize,
}

/// The last message that was received in a conversation; names as hashes, to be small.
#[derive(Debug)]
struct Last {
    peer: u64,
    id: u64,
    seq: Seq,
}

impl Part for Unread {
    fn load(_: &[Entry]) -> Self {
        Self::default()
    }
}

impl Unread {
    /// The counts, if they are known, and after how many changes.
    pub fn counted(&self) -> (Option<HashMap<Arc<str>, u64>>, u64) {
        (self.counts.clone(), self.changes)
    }

    /// Takes over what was counted, if nothing has changed since.
    pub fn learn(&mut self, counts: &HashMap<Arc<str>, u64>, changes: u64) {
        if self.changes == changes {
            self.counts = Some(counts.clone());
        }
    }

    /// Words came.
    pub fn received(&mut self, peer: &str, message: &Stanza, seq: Seq) {
        self.changes = self.changes.wrapping_add(1);
        if let Some(counts) = &mut self.counts {
            let count = counts.entry(peer.into()).or_default();
            *count = count.saturating_add(1);
        }
        let peer = hash(peer);
        self.lasts.retain(|last| last.peer != peer);
        // As it is written; one that is written otherwise than it is meant is looked up.
        let id = message.id_raw().filter(|id| !id.contains('&'));
        if let Some(id) = id {
            if self.lasts.len() >= LASTS_MAX {
                self.lasts.pop_front();
            }
            self.lasts.push_back(Last { peer, id: hash(id), seq });
        }
    }

    /// The account has written: what was said before is read.
    pub fn sent(&mut self, peer: &str) {
        self.changes = self.changes.wrapping_add(1);
        if let Some(counts) = &mut self.counts {
            counts.remove(peer);
        }
    }

    /// A marker moves the cursor to the last message of a conversation: to which place. None: it is
    /// about another message, or about none.
    pub fn read_to_the_end(&mut self, peer: &str, id: &str) -> Option<Seq> {
        let (of, id) = (hash(peer), hash(id));
        let last = self.lasts.iter().find(|last| last.peer == of && last.id == id)?.seq;
        self.sent(peer);
        if self.moved.len() >= MOVED_MAX {
            self.moved.clear();
        }
        self.moved.insert(of, last);
        Some(last)
    }

    /// Whether one more marker may be looked up.
    pub fn begin_search(&mut self) -> bool {
        let free = self.searches < SEARCHES_MAX;
        self.searches = self.searches.saturating_add(usize::from(free));
        free
    }

    /// Whether markers are being looked up.
    pub fn is_searching(&self) -> bool {
        self.searches > 0
    }

    fn end_search(&mut self) {
        self.searches = self.searches.saturating_sub(1);
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Writes a cursor, within the account's turn. Nobody is told, so nobody waits for it.
pub fn write(server: &Server, account: &Account, peer: &str, seq: Seq) {
    let mut batch = Batch::new();
    batch.put(READ, &account.owner, peer, seq.to_string());
    drop(server.store.submit(batch));
}

/// A cursor as it lies in the store.
pub fn decode(value: &[u8]) -> Seq {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A marker whose message has to be looked up.
pub struct Search {
    /// The server.
    pub server: Arc<Server>,
    /// Whose marker it is.
    pub account: Arc<Account>,
    /// Whose message it is about.
    pub peer: Arc<str>,
    /// The id of the message.
    pub id: String,
}

impl Search {
    /// Moves the cursor when the message is found. It only moves forward (XEP-0333 §5).
    pub async fn run(self) {
        if let Err(error) = self.search().await {
            tracing::error!(account = %self.account.jid, %error, "cannot look for a message");
        }
        self.account.turn().part_mut::<Unread>().end_search();
    }

    async fn search(&self) -> Result<(), StoreError> {
        let _one = self.account.edit(&self.server).await;
        settled(&self.server, &self.account).await?;
        let store = &self.server.store;
        let known = store.entry(READ, &self.account.owner, &self.peer).await?;
        let mut slice = Slice {
            after: known.map(|value| decode(&value)),
            peer: Some(self.peer.clone()),
            flags_any: RECEIVED,
            from_end: true,
            count_max: PAGE,
            ..Slice::default()
        };
        for _ in 0..SEARCHED_MAX / PAGE {
            let page = store.page(LOG, &self.account.owner, &slice).await?;
            if let Some(record) = page.records.iter().rev().find(|record| self.is_meant(record)) {
                self.move_to(&mut self.account.turn(), record.seq);
                break;
            }
            let Some(first) = page.records.first().filter(|_| !page.complete) else { break };
            slice.before = Some(first.seq);
        }
        Ok(())
    }

    fn is_meant(&self, record: &Record) -> bool {
        let Ok(text) = std::str::from_utf8(&record.stanza) else { return false };
        let tree = Stanza::parse(text).ok().and_then(|stanza| stanza.tree());
        tree.is_some_and(|tree| tree.root().attr("id") == Some(&self.id))
    }

    /// Unless a marker that came later has moved it further. How many are left is counted when
    /// somebody asks.
    fn move_to(&self, state: &mut State, seq: Seq) {
        let gone = state.gone;
        let unread = state.part_mut::<Unread>();
        let further = unread.moved.get(&hash(&self.peer)).is_some_and(|moved| *moved >= seq);
        if !further && !gone {
            unread.changes = unread.changes.wrapping_add(1);
            unread.counts = None;
            write(&self.server, &self.account, &self.peer, seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str) -> Stanza {
        Stanza::parse(&format!("<message id='{id}'><body>O</body></message>")).unwrap()
    }

    #[test]
    fn only_the_last_message_of_a_conversation_is_known_by_its_id() {
        let mut unread = Unread::default();
        unread.received("romeo@montague.lit", &message("1"), 10);
        unread.received("nurse@capulet.lit", &message("1"), 20);
        unread.received("romeo@montague.lit", &message("2"), 30);
        assert_eq!(unread.read_to_the_end("romeo@montague.lit", "1"), None);
        assert_eq!(unread.read_to_the_end("nurse@capulet.lit", "1"), Some(20));
        assert_eq!(unread.read_to_the_end("romeo@montague.lit", "2"), Some(30));
        for n in 0..LASTS_MAX {
            unread.received(&format!("{n}@capulet.lit"), &message("1"), 40);
        }
        assert_eq!(unread.read_to_the_end("romeo@montague.lit", "2"), None);
        assert_eq!(unread.lasts.len(), LASTS_MAX);
    }

    #[test]
    fn what_was_counted_is_followed_and_not_taken_over_late() {
        let mut unread = Unread::default();
        let (counts, changes) = unread.counted();
        assert!(counts.is_none());
        unread.received("romeo@montague.lit", &message("1"), 10);
        unread.learn(&HashMap::default(), changes);
        assert!(unread.counted().0.is_none(), "something came in between");
        let (_, changes) = unread.counted();
        unread.learn(&HashMap::from_iter([("romeo@montague.lit".into(), 1)]), changes);
        unread.received("romeo@montague.lit", &message("2"), 20);
        unread.received("nurse@capulet.lit", &message("3"), 30);
        let counts = unread.counted().0.unwrap();
        assert_eq!((counts["romeo@montague.lit"], counts["nurse@capulet.lit"]), (2, 1));
        unread.sent("romeo@montague.lit");
        assert_eq!(unread.counted().0.unwrap().len(), 1);
    }
}
