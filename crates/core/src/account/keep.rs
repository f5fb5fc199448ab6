//! Keeping messages: an append to the account's log within its turn, durable a little later.

use bytes::Bytes;
use verona_xmpp::stanza::Stanza;

use crate::account::Account;
use crate::account::log::{ARCHIVE, LOG, OFFLINE, OUTBOUND, RECEIVED, SENT};
use crate::account::shared::is_place;
use crate::account::state::State;
use crate::hooks::decision::{Direction, Keep};
use crate::link::Link;
use crate::server::Server;
use crate::store::batch::{Batch, Write};
use crate::store::error::StoreError;
use crate::store::shape::{Record, Seq};
use crate::store::ticket::Ticket;

/// The next place in the account's log: the time, made unique.
pub fn next_seq(server: &Server, state: &mut State) -> Seq {
    let seq = server.clock.now_micros().max(state.log.last_seq.saturating_add(1));
    state.log.last_seq = seq;
    seq
}

/// Appends a message to the account's log, within its turn. The ticket tells when it is durable.
pub fn append(
    server: &Server,
    account: &Account,
    state: &mut State,
    seq: Seq,
    kept: (&Stanza, Direction, Keep),
) -> Ticket {
    let (stanza, direction, keep) = kept;
    let other = match direction {
        Direction::Inbound => stanza.from(),
        Direction::Outbound => stanza.to(),
    };
    let mut flags = 0;
    if keep.offline {
        flags |= OFFLINE;
    }
    if keep.archive {
        flags |= ARCHIVE;
    }
    if direction == Direction::Outbound {
        flags |= OUTBOUND;
    }
    if keep.archive && keep.instant {
        let own = stanza.from().is_none_or(|from| from.same_bare(&account.jid));
        flags |= if own { SENT } else { RECEIVED };
    }
    let record = Record {
        seq,
        epoch: server.epoch,
        peer: other.map_or_else(|| account.owner.clone(), |jid| jid.bare_str().into()),
        flags,
        stanza: Bytes::copy_from_slice(stanza.text().as_bytes()),
    };
    let mut batch = Batch::new();
    if let Some(through) = state.log.tell() {
        batch.writes.push(unflag(account, through));
    }
    batch.append(LOG, &account.owner, record);
    let ticket = server.store.submit(batch);
    state.log.last_append = Some(ticket.clone());
    ticket
}

/// Waits until all that was appended to the account's log before can be read from it.
pub async fn settled(server: &Server, account: &Account) -> Result<(), StoreError> {
    let on_its_way = {
        let mut state = account.turn();
        let last = &mut state.log.last_append;
        *last = last.take().filter(|ticket| ticket.outcome().is_none());
        last.is_some()
    };
    if on_its_way {
        // Batches settle in their order; the ticket itself is awaited by the sender's session.
        server.store.submit(Batch::new()).await?;
    }
    Ok(())
}

/// Notes that a resource has taken messages. The log hears of it with the next append, or when it
/// is worth a write of its own: after a crash a few are given once more, under the same id.
pub fn taken(server: &Server, account: &Account, seqs: &[Seq]) {
    if seqs.is_empty() {
        return;
    }
    let mut state = account.turn();
    for seq in seqs {
        if is_place(*seq) {
            state.log.taken(*seq);
        } else {
            state.shared.taken(*seq);
        }
    }
    let through = state.log.tell_if_due();
    submit(server, account, through);
}

/// Messages that a session did not get before it ended wait, if nobody else has them.
pub async fn lost(
    server: &Server,
    account: &Account,
    seqs: &[Seq],
    link: &Link,
) -> Result<(), StoreError> {
    let unknown: Vec<Seq> = {
        let mut state = account.turn();
        let (known, unknown): (Vec<Seq>, Vec<Seq>) =
            seqs.iter().partition(|seq| state.log.is_handed_out(**seq));
        for seq in known {
            state.log.lost(seq);
        }
        unknown
    };
    // On a managed stream, what is not known any more was taken by another resource.
    if unknown.is_empty() || link.mailbox.counts_stanzas() {
        return Ok(());
    }
    server.store.submit(Batch::new()).await?;
    for seq in unknown {
        let record = server.store.record(LOG, &account.owner, seq).await?;
        let Some(record) = record.filter(|record| record.flags & (OFFLINE | OUTBOUND) == 0) else {
            continue;
        };
        let size = record.stanza.len();
        let mut batch = Batch::new();
        batch.writes.push(Write::Amend {
            log: LOG,
            owner: account.owner.clone(),
            seq,
            flags: record.flags | OFFLINE,
            stanza: record.stanza,
        });
        server.store.submit(batch).await?;
        account.turn().log.wait(seq, size);
    }
    Ok(())
}

/// Whether nobody has taken a message, as far as the log knows.
pub async fn waits(server: &Server, account: &Account, seq: Seq) -> Result<bool, StoreError> {
    let record = server.store.record(LOG, &account.owner, seq).await?;
    Ok(record.is_some_and(|record| record.flags & OFFLINE != 0))
}

/// Tells the log what is known of it and was not told yet, within the account's turn.
pub fn tell(server: &Server, account: &Account, state: &mut State) {
    let through = state.log.tell();
    submit(server, account, through);
}

/// Nobody waits for it.
fn submit(server: &Server, account: &Account, through: Option<Seq>) {
    if let Some(through) = through {
        let mut batch = Batch::new();
        batch.writes.push(unflag(account, through));
        drop(server.store.submit(batch));
    }
}

fn unflag(account: &Account, through: Seq) -> Write {
    Write::Unflag { log: LOG, owner: account.owner.clone(), through, bits: OFFLINE }
}
