//! XEP-0313 §3.2: what is older, or more, than the operator wants kept goes, the oldest first.

use std::sync::Arc;

use verona_core::account::log::{ARCHIVE, LOG, OUTBOUND, RECEIVED, SENT};
use verona_core::server::{Host, Server};
use verona_core::store::batch::{Batch, Write};
use verona_core::store::error::StoreError;
use verona_core::store::shape::{Owner, Seq, Slice};

use crate::archive::size::{SIZES, Sizes};

/// Accounts looked up at a time.
const ACCOUNTS: usize = 500;

/// Messages removed at a time, so that the store's writer has time for others.
const STEP: usize = 250;

const DAY_MICROS: u64 = 24 * 60 * 60 * 1_000_000;

/// What an archive may hold; 0 is no bound.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Retention {
    /// Days for which a message is kept.
    pub days: u32,
    /// Messages that one account may have.
    pub messages_max: u64,
    /// Bytes that the messages of one account may have.
    pub bytes_max: u64,
}

impl Retention {
    /// Whether there is anything to do at all.
    pub fn is_bounded(self) -> bool {
        self.days > 0 || self.messages_max > 0 || self.bytes_max > 0
    }

    /// Goes through the archives of a host.
    pub async fn enforce(self, server: &Server, host: &Host) -> Result<(), StoreError> {
        let mut after: Option<Arc<str>> = None;
        loop {
            let owners = server.store.owners(LOG, after.as_deref(), ACCOUNTS).await?;
            let Some(last) = owners.last().cloned() else { return Ok(()) };
            for owner in owners {
                let domain = owner.split_once('@').map_or(&*owner, |(_, domain)| domain);
                if domain == host.jid.as_str() {
                    self.by_age(server, &owner).await?;
                    self.by_number(server, &owner).await?;
                    self.by_size(server, &owner).await?;
                }
            }
            after = Some(last);
        }
    }

    async fn by_age(self, server: &Server, owner: &Owner) -> Result<(), StoreError> {
        if self.days == 0 {
            return Ok(());
        }
        let age = u64::from(self.days).saturating_mul(DAY_MICROS);
        let too_old = Slice {
            before: Some(server.clock.now_micros().saturating_sub(age)),
            flags_any: ARCHIVE,
            from_end: true,
            count_max: 1,
            ..Slice::default()
        };
        let page = server.store.page(LOG, owner, &too_old).await?;
        match page.records.last() {
            Some(record) => forget(server, owner, record.seq, Batch::new()).await,
            None => Ok(()),
        }
    }

    async fn by_number(self, server: &Server, owner: &Owner) -> Result<(), StoreError> {
        if self.messages_max == 0 {
            return Ok(());
        }
        let archived = Slice { flags_any: ARCHIVE, ..Slice::default() };
        let count = server.store.count(LOG, owner, &archived).await?;
        let mut excess = count.saturating_sub(self.messages_max);
        while excess > 0 {
            let step = usize::try_from(excess).unwrap_or(STEP).min(STEP);
            let oldest = Slice { count_max: step, ..archived.clone() };
            let page = server.store.page(LOG, owner, &oldest).await?;
            let Some(last) = page.records.last() else { return Ok(()) };
            forget(server, owner, last.seq, Batch::new()).await?;
            excess = excess.saturating_sub(u64::try_from(step).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    async fn by_size(self, server: &Server, owner: &Owner) -> Result<(), StoreError> {
        if self.bytes_max == 0 {
            return Ok(());
        }
        let store = &*server.store;
        let known = Sizes::read(store, owner).await?;
        let mut sizes = known.clone();
        sizes.count_on(store, owner, self.bytes_max).await?;
        let mut batch = Batch::new();
        if sizes != known {
            batch.put(SIZES, owner, "", sizes.encode());
        }
        while sizes.total() > self.bytes_max {
            let oldest = Slice { flags_any: ARCHIVE, count_max: STEP, ..Slice::default() };
            let page = store.page(LOG, owner, &oldest).await?;
            let Some(through) = sizes.take(&page.records, self.bytes_max) else { break };
            batch.put(SIZES, owner, "", sizes.encode());
            forget(server, owner, through, std::mem::take(&mut batch)).await?;
        }
        match batch.is_empty() {
            true => Ok(()),
            false => store.submit(batch).await,
        }
    }
}

/// Takes all up to a place out of the archive, along with what else is to be written; what waits for the
/// next login still waits.
async fn forget(
    server: &Server,
    owner: &Owner,
    through: Seq,
    mut batch: Batch,
) -> Result<(), StoreError> {
    let bits = ARCHIVE | OUTBOUND | RECEIVED | SENT;
    let (log, owner) = (LOG, owner.clone());
    batch.writes.push(Write::Unflag { log, owner, through, bits });
    server.store.room().await;
    server.store.submit(batch).await
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use verona_core::account::log::OFFLINE;
    use verona_core::store::shape::Record;
    use verona_testkit::memory::Memory;

    use super::*;
    use crate::testing::settings;

    const DAY: u64 = DAY_MICROS;

    const OWNER: &str = "juliet@capulet.lit";

    /// A message of so many bytes.
    fn message(bytes: usize) -> Bytes {
        format!("<message>{}</message>", "O".repeat(bytes - 19)).into()
    }

    async fn append(server: &Server, seqs: impl Iterator<Item = u64>) {
        let mut batch = Batch::new();
        for seq in seqs {
            let (epoch, peer, stanza) = (1, "romeo@montague.lit".into(), message(100));
            let record = Record { seq, epoch, peer, flags: ARCHIVE, stanza };
            batch.append(LOG, &OWNER.into(), record);
        }
        server.store.submit(batch).await.unwrap();
    }

    /// The places of what is left when no more than so many bytes may be, and how many bytes were counted.
    async fn kept(server: &Server, bytes_max: u64) -> (Vec<u64>, u64) {
        let retention = Retention { bytes_max, ..Retention::default() };
        retention.enforce(server, &server.host("capulet.lit").unwrap()).await.unwrap();
        let (owner, store) = (OWNER.into(), &*server.store);
        let all = Slice { count_max: 10_000, ..Slice::default() };
        let page = store.page(LOG, &owner, &all).await.unwrap();
        let total = Sizes::read(store, &owner).await.unwrap().total();
        (page.records.iter().map(|record| record.seq).collect(), total)
    }

    fn server() -> Arc<Server> {
        let host = Host::new(settings("capulet.lit"), verona_core::hooks::Registry::default());
        Memory::new(vec![host]).unwrap().server
    }

    #[tokio::test]
    async fn oldest_messages_go_when_there_are_too_many_bytes() {
        let server = server();
        append(&server, 1..=1_000).await;
        assert_eq!(kept(&server, 100_000).await, ((1..=1_000).collect(), 100_000));
        assert_eq!(kept(&server, 99_999).await, ((2..=1_000).collect(), 99_900));
        // Many at a time, in several steps, and again without counting anew.
        append(&server, 1_001..=1_300).await;
        assert_eq!(kept(&server, 50_000).await, ((801..=1_300).collect(), 50_000));
        append(&server, 1_301..=1_301).await;
        assert_eq!(kept(&server, 50_000).await, ((802..=1_301).collect(), 50_000));
        // One that is larger than all may be leaves nothing.
        assert_eq!(kept(&server, 99).await, (vec![], 0));
        append(&server, 1_400..=1_402).await;
        assert_eq!(kept(&server, 200).await, (vec![1_401, 1_402], 200));
    }

    #[tokio::test]
    async fn what_went_in_other_ways_is_not_counted_for_ever() {
        let server = server();
        append(&server, 1..=10).await;
        assert_eq!(kept(&server, 1_000).await.1, 1_000);
        // Half are retracted, which leaves little of them, and half of what is left go by their number.
        let mut batch = Batch::new();
        for seq in 1..=5 {
            let (log, owner, stanza) = (LOG, OWNER.into(), message(20));
            batch.writes.push(Write::Amend { log, owner, seq, flags: ARCHIVE, stanza });
        }
        server.store.submit(batch).await.unwrap();
        append(&server, 11..=15).await;
        assert_eq!(kept(&server, 1_000).await, ((6..=15).collect(), 1_000));
        let by_number = Retention { messages_max: 5, ..Retention::default() };
        by_number.enforce(&server, &server.host("capulet.lit").unwrap()).await.unwrap();
        append(&server, 16..=20).await;
        assert_eq!(kept(&server, 1_000).await, ((11..=20).collect(), 1_000));
    }

    #[tokio::test]
    async fn what_waits_for_the_next_login_waits_though_there_are_too_many_bytes() {
        let kept = left(Retention { bytes_max: 20, ..Retention::default() }).await;
        assert_eq!(kept, [(8, OFFLINE), (1, ARCHIVE | OUTBOUND), (0, ARCHIVE)]);
    }

    /// What is left of an archive with a message a day for ten days, of which the second waits.
    async fn left(retention: Retention) -> Vec<(u64, u32)> {
        let server = server();
        let owner: Owner = OWNER.into();
        let now = server.clock.now_micros();
        let mut batch = Batch::new();
        for age in (0..10).rev() {
            let flags = match age {
                8 => ARCHIVE | OFFLINE,
                odd if odd % 2 == 1 => ARCHIVE | OUTBOUND,
                _ => ARCHIVE,
            };
            let seq = now - age * DAY;
            let (epoch, peer, stanza) = (1, "romeo@montague.lit".into(), Bytes::from("<message/>"));
            batch.append(LOG, &owner, Record { seq, epoch, peer, flags, stanza });
        }
        server.store.submit(batch).await.unwrap();
        let host = server.host("capulet.lit").unwrap();
        retention.enforce(&server, &host).await.unwrap();
        let all = Slice { count_max: 100, ..Slice::default() };
        let page = server.store.page(LOG, &owner, &all).await.unwrap();
        page.records.iter().map(|record| ((now - record.seq) / DAY, record.flags)).collect()
    }

    #[tokio::test]
    async fn oldest_messages_go_and_what_waits_still_waits() {
        let kept = left(Retention { days: 3, ..Retention::default() }).await;
        let young = [(2, ARCHIVE), (1, ARCHIVE | OUTBOUND), (0, ARCHIVE)];
        assert_eq!(kept[0], (8, OFFLINE));
        assert_eq!(kept[kept.len() - 3..], young);
        assert!(kept.len() <= 5, "{kept:?}");
        let kept = left(Retention { messages_max: 2, ..Retention::default() }).await;
        assert_eq!(kept, [(8, OFFLINE), (1, ARCHIVE | OUTBOUND), (0, ARCHIVE)]);
    }
}
