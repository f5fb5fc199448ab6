//! XEP-0313 §3.2: what is older, or more, than the operator wants kept goes, the oldest first.

use std::sync::Arc;

use verona_core::account::log::{ARCHIVE, LOG, OUTBOUND, RECEIVED, SENT};
use verona_core::server::{Host, Server};
use verona_core::store::batch::{Batch, Write};
use verona_core::store::error::StoreError;
use verona_core::store::shape::{Owner, Seq, Slice};

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
}

impl Retention {
    /// Whether there is anything to do at all.
    pub fn is_bounded(self) -> bool {
        self.days > 0 || self.messages_max > 0
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
            Some(record) => forget(server, owner, record.seq).await,
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
            forget(server, owner, last.seq).await?;
            excess = excess.saturating_sub(u64::try_from(step).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}

/// Takes all up to a place out of the archive; what waits for the next login still waits.
async fn forget(server: &Server, owner: &Owner, through: Seq) -> Result<(), StoreError> {
    let mut batch = Batch::new();
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

    /// What is left of an archive with a message a day for ten days, of which the second waits.
    async fn left(retention: Retention) -> Vec<(u64, u32)> {
        let host = Host::new(settings("capulet.lit"), verona_core::hooks::Registry::default());
        let memory = Memory::new(vec![host]).unwrap();
        let server = memory.server;
        let owner: Owner = "juliet@capulet.lit".into();
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
        let kept = left(Retention { days: 3, messages_max: 0 }).await;
        let young = [(2, ARCHIVE), (1, ARCHIVE | OUTBOUND), (0, ARCHIVE)];
        assert_eq!(kept[0], (8, OFFLINE));
        assert_eq!(kept[kept.len() - 3..], young);
        assert!(kept.len() <= 5, "{kept:?}");
        let kept = left(Retention { days: 0, messages_max: 2 }).await;
        assert_eq!(kept, [(8, OFFLINE), (1, ARCHIVE | OUTBOUND), (0, ARCHIVE)]);
    }
}
