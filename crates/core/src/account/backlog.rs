//! XEP-0160 §3: the messages that waited are given to the first resource that takes messages,
//! before any new one, and leave the backlog when they have been written.

use std::sync::Arc;

use verona_xmpp::stanza::Stanza;

use crate::account::Account;
use crate::account::keep;
use crate::account::log::{self, ARCHIVE, LOG, OFFLINE};
use crate::account::presence;
use crate::account::state::State;
use crate::mailbox::Put;
use crate::server::{Host, Seat, Server};
use crate::store::batch::Batch;
use crate::store::shape::{Record, Seq, Slice};
use crate::trail::{Kept, Step, Trail};

/// Reads without result after which what was counted is taken for lost to a failing disk.
const EMPTY_READS_MAX: u32 = 3;

/// Messages read at a time.
const PAGE: usize = 250;

/// Marks a resource that reads the archive to learn what came while it was away.
pub const READS_ARCHIVE: &str = "reads-archive";

/// Whether a presence makes the resource one that takes what waits.
pub fn comes_first(state: &State, seat: &Seat, stanza: &Stanza) -> bool {
    let takes = presence::priority(stanza) >= 0;
    let took = state
        .resource_of(&seat.link)
        .is_some_and(|resource| resource.is_available() && resource.priority >= 0);
    takes && !took && state.log.offline_count > 0 && !state.log.flushing
}

/// Delivers what waits, then makes the resource available in the turn in which nothing more does.
pub async fn deliver(
    server: Arc<Server>,
    seat: Seat,
    stanza: Stanza,
    mut trail: Trail,
) -> Vec<Kept> {
    let available = |state: &mut State| {
        server.becomes_available(&seat, state, &stanza, &mut trail);
    };
    let given = give(&server, &seat, Given::to(&seat), available).await;
    let kept = match server.carry_out(trail) {
        Step::Done(kept) => kept,
        Step::Later(later) => later.await,
    };
    settle(&server, &seat, given).await;
    kept
}

/// Gives what waits to a resource that is there already, because another has lost it.
pub async fn give_on(server: &Arc<Server>, account: &Arc<Account>, host: &Arc<Host>) {
    let link = {
        let mut state = account.turn();
        let takes = state.available().filter(|(_, resource)| resource.priority >= 0);
        let first = takes.max_by_key(|(_, resource)| resource.priority);
        let link = first.map(|(_, resource)| resource.link.clone());
        if state.log.offline_count == 0 || state.log.flushing {
            return;
        }
        let Some(link) = link else { return };
        state.log.flushing = true;
        link
    };
    let seat = Seat { link, account: account.clone(), host: host.clone() };
    // It may have read the archive before the other lost anything.
    let given = Given { reads_archive: false, ..Given::to(&seat) };
    let given = give(server, &seat, given, |_| {}).await;
    settle(server, &seat, given).await;
}

/// Puts all that waits into the mailbox; `last` belongs to the turn in which nothing more waits.
async fn give(
    server: &Arc<Server>,
    seat: &Seat,
    mut given: Given,
    last: impl FnOnce(&mut State),
) -> Given {
    let mut empty_reads = 0_u32;
    loop {
        // What was counted may still be on its way to the disk.
        let _ = server.store.submit(Batch::new()).await;
        let read = read_on(server, seat, &mut given).await;
        let mut state = seat.account.turn();
        empty_reads = if read { 0 } else { empty_reads.saturating_add(1) };
        let more = given.count < state.log.offline_count && empty_reads < EMPTY_READS_MAX;
        if more && !given.refused {
            continue;
        }
        last(&mut state);
        state.log.waits_no_more(given.count, given.bytes);
        return given;
    }
}

/// On a managed stream the client tells what it has got; on another it is what was written.
async fn settle(server: &Arc<Server>, seat: &Seat, given: Given) {
    let drained = !given.unmanaged.is_empty() && seat.link.mailbox.drained().await;
    let mut state = seat.account.turn();
    for seq in given.unmanaged {
        if drained {
            state.log.taken(seq);
        } else {
            state.log.lost(seq);
        }
    }
    state.log.flushing = false;
    keep::tell(server, &seat.account, &mut state);
}

/// What has been put into the mailbox so far.
#[derive(Default)]
struct Given {
    /// XEP-0313 §6.1.1: what the resource finds in the archive is not given to it twice.
    reads_archive: bool,
    managed: bool,
    last: Seq,
    count: u64,
    bytes: u64,
    /// What a session got that does not acknowledge.
    unmanaged: Vec<Seq>,
    /// The session is gone, or holds no more.
    refused: bool,
}

impl Given {
    fn to(seat: &Seat) -> Self {
        let state = seat.account.turn();
        let resource = state.resource_of(&seat.link);
        Self {
            reads_archive: resource.is_some_and(|resource| resource.marked(READS_ARCHIVE)),
            managed: seat.link.mailbox.counts_stanzas(),
            ..Self::default()
        }
    }

    /// Gives one message, within the account's turn.
    fn give(&mut self, seat: &Seat, state: &mut State, record: &Record) {
        self.last = record.seq;
        if state.log.is_handed_out(record.seq) {
            return;
        }
        let size = record.stanza.len();
        let in_archive = self.reads_archive && record.flags & ARCHIVE != 0;
        let stanza = log::delayed(&seat.account.jid, record).filter(|_| !in_archive);
        let holders = u32::from(stanza.is_some());
        if let Some(stanza) = stanza {
            let text = stanza.text().as_bytes();
            let mailbox = &seat.link.mailbox;
            let put = mailbox.put_kept(&stanza, record.seq, |out| out.extend_from_slice(text));
            if !matches!(put, Put::Taken | Put::Crowded) {
                self.refused = true;
                return;
            }
            if !self.managed {
                self.unmanaged.push(record.seq);
            }
        }
        state.log.hand_out(record.seq, size, holders);
        self.count = self.count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
    }
}

/// Puts the next page into the mailbox; false when there is none, or it cannot be read.
async fn read_on(server: &Arc<Server>, seat: &Seat, given: &mut Given) -> bool {
    let slice =
        Slice { after: Some(given.last), flags_any: OFFLINE, count_max: PAGE, ..Slice::default() };
    let page = match server.store.page(LOG, &seat.account.owner, &slice).await {
        Ok(page) => page,
        Err(error) => {
            tracing::error!(
                stream = %seat.link.stream(), account = %seat.link.account(), %error,
                "cannot read what waits"
            );
            return false;
        }
    };
    {
        let mut state = seat.account.turn();
        for record in &page.records {
            if !given.refused {
                given.give(seat, &mut state, record);
            }
        }
    }
    seat.link.mailbox.room().await;
    !page.records.is_empty()
}
