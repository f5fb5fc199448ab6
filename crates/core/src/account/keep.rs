//! Keeping messages: an append to the account's log within its turn, durable a little later.

use bytes::Bytes;
use verona_xmpp::stanza::Stanza;

use crate::account::Account;
use crate::account::log::{ARCHIVE, LOG, OFFLINE, OUTBOUND};
use crate::account::state::State;
use crate::hooks::decision::{Direction, Keep};
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
        let bytes = u64::try_from(stanza.text().len()).unwrap_or(u64::MAX);
        state.log.offline_count = state.log.offline_count.saturating_add(1);
        state.log.offline_bytes = state.log.offline_bytes.saturating_add(bytes);
    }
    if keep.archive {
        flags |= ARCHIVE;
    }
    if direction == Direction::Outbound {
        flags |= OUTBOUND;
    }
    let record = Record {
        seq,
        epoch: server.epoch,
        peer: other.map_or_else(|| account.owner.clone(), |jid| jid.bare_str().into()),
        flags,
        stanza: Bytes::copy_from_slice(stanza.text().as_bytes()),
    };
    let mut batch = Batch::new();
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

/// Marks all messages up to a place as delivered.
pub fn delivered(server: &Server, account: &Account, through: Seq) -> Ticket {
    let mut batch = Batch::new();
    batch.writes.push(Write::Unflag {
        log: LOG,
        owner: account.owner.clone(),
        through,
        bits: OFFLINE,
    });
    server.store.submit(batch)
}
