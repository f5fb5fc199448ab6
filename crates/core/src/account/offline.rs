//! The account's message log, and its tail that waits for the next resource (XEP-0160).

use bytes::Bytes;
use verona_xml::Writer;
use verona_xmpp::date;
use verona_xmpp::ns;
use verona_xmpp::stanza::Stanza;

use crate::account::Account;
use crate::account::state::State;
use crate::hooks::passage::{Direction, Keep};
use crate::limits::{OFFLINE_BYTES_MAX, OFFLINE_MESSAGES_MAX};
use crate::server::Server;
use crate::store::Store;
use crate::store::batch::{Batch, Write};
use crate::store::error::StoreError;
use crate::store::shape::{Owner, Record, Seq, Slice, Table};
use crate::store::ticket::Ticket;

/// The log of the messages an account sent and received, as far as they are kept.
pub const LOG: Table = Table::log("messages");

/// The record waits for the account's next login.
pub const OFFLINE: u32 = 1;
/// The record belongs to the archive.
pub const ARCHIVE: u32 = 2;
/// The account sent it; else it received it.
pub const OUTBOUND: u32 = 4;

/// How many messages wait for an account, and about how many bytes they have.
pub async fn waiting(owner: &Owner, store: &dyn Store) -> Result<(u64, u64), StoreError> {
    let slice = Slice { flags_any: OFFLINE, ..Slice::default() };
    let tally = store.tally(LOG, owner, &slice).await?;
    Ok((tally.records, tally.bytes))
}

/// Whether the account's quota has room for one more message.
pub fn has_room(state: &State, bytes: usize) -> bool {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    state.log.offline_count < OFFLINE_MESSAGES_MAX
        && state.log.offline_bytes.saturating_add(bytes) <= OFFLINE_BYTES_MAX
}

/// The next place in the account's log: the time, made unique.
pub fn next_seq(server: &Server, state: &mut State) -> Seq {
    let seq = server.clock.now_micros().max(state.log.last_seq.saturating_add(1));
    state.log.last_seq = seq;
    seq
}

/// Appends a message to the account's log, within its turn. The ticket tells when it is durable.
pub fn keep(
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
    server.store.submit(batch)
}

/// A message from the log as it is delivered later: with the time of its arrival and whose word
/// that is (XEP-0203 §2, XEP-0160 §3).
pub fn delayed(account: &Account, record: &Record) -> Option<Stanza> {
    let stanza = Stanza::parse(std::str::from_utf8(&record.stanza).ok()?).ok()?;
    let mut writer = Writer::new(ns::CLIENT);
    writer.start("delay", ns::DELAY);
    writer.attr("from", account.jid.domain());
    writer.attr("stamp", &date::write(micros(record.seq))).end();
    Some(stanza.with_child(&writer.finish()))
}

/// The time that a place in the log stands for, as dates are written.
fn micros(seq: Seq) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
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
