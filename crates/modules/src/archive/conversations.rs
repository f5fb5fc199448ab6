//! The conversations of an account, derived from its log: for each peer the last words, and how many
//! are unread.
//!
//! What it costs: a step of the index for each peer, to find its last words; and when nobody has
//! asked since the account was loaded, one more and a count along the index of what is unread.
//! From then on what comes and goes is counted as it does.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use verona_core::account::Account;
use verona_core::account::keep::settled;
use verona_core::account::log::{LOG, RECEIVED, SENT};
use verona_core::server::Server;
use verona_core::store::error::StoreError;
use verona_core::store::shape::{Seq, Slice};

use crate::archive::unread::{READ, Unread, decode};

/// How long who asks waits for markers that are being looked up, and how often it looks.
const SEARCH_ROUND: Duration = Duration::from_millis(2);
const SEARCH_ROUNDS: u32 = 1_000;

/// A conversation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Conversation {
    /// With whom: a bare JID.
    pub peer: Arc<str>,
    /// The place of the last words.
    pub last: Seq,
    /// How many words are unread.
    pub unread: u64,
}

/// All conversations of an account, the latest first.
pub async fn all(server: &Server, account: &Account) -> Result<Vec<Conversation>, StoreError> {
    searched(account).await;
    settled(server, account).await?;
    let (known, changes) = account.turn().part_mut::<Unread>().counted();
    let store = &server.store;
    let (lasts, counts) = match known {
        Some(counts) => (store.peers(LOG, &account.owner, RECEIVED | SENT).await?, counts),
        None => {
            let (lasts, counts) = count(server, account).await?;
            account.turn().part_mut::<Unread>().learn(&counts, changes);
            (lasts, counts)
        }
    };
    let of = |(peer, last): (Arc<str>, Seq)| {
        let unread = counts.get(&peer).copied().unwrap_or(0);
        Conversation { peer, last, unread }
    };
    let mut conversations: Vec<Conversation> = lasts.into_iter().map(of).collect();
    conversations.sort_unstable_by_key(|conversation| std::cmp::Reverse(conversation.last));
    Ok(conversations)
}

/// Waits until the markers that the account has sent are looked up, within reason.
async fn searched(account: &Account) {
    for _ in 0..SEARCH_ROUNDS {
        if !account.turn().part::<Unread>().is_some_and(Unread::is_searching) {
            return;
        }
        tokio::time::sleep(SEARCH_ROUND).await;
    }
}

type Counted = (Vec<(Arc<str>, Seq)>, HashMap<Arc<str>, u64>);

/// Counts along the log.
async fn count(server: &Server, account: &Account) -> Result<Counted, StoreError> {
    let store = &server.store;
    let mut lasts: HashMap<Arc<str>, Seq> =
        store.peers(LOG, &account.owner, SENT).await?.into_iter().collect();
    let received = store.peers(LOG, &account.owner, RECEIVED).await?;
    let cursors: HashMap<Box<str>, Seq> = {
        let entries = store.entries(&account.owner, &[READ]).await?;
        entries.into_iter().map(|entry| (entry.key, decode(&entry.value))).collect()
    };
    let mut counts = HashMap::new();
    for (peer, seq) in received {
        let sent = lasts.get(&peer).copied().unwrap_or(0);
        let read = cursors.get(&*peer).copied().unwrap_or(0).max(sent);
        if seq > read {
            let unread = Slice {
                after: Some(read),
                peer: Some(peer.clone()),
                flags_any: RECEIVED,
                ..Slice::default()
            };
            counts.insert(peer.clone(), store.count(LOG, &account.owner, &unread).await?);
        }
        lasts.insert(peer, seq.max(sent));
    }
    Ok((lasts.into_iter().collect(), counts))
}
