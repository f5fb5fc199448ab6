//! XEP-0160 §3: the messages that waited are given to the first resource that takes messages,
//! before any new one, and leave the backlog when they have been written.

use std::sync::Arc;

use verona_xmpp::stanza::Stanza;

use crate::account::keep;
use crate::account::log::{self, ARCHIVE, LOG, OFFLINE};
use crate::account::presence;
use crate::account::state::State;
use crate::server::{Seat, Server};
use crate::store::batch::Batch;
use crate::store::shape::{Seq, Slice};
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
    let reads_archive = {
        let state = seat.account.turn();
        state.resource_of(&seat.link).is_some_and(|resource| resource.marked(READS_ARCHIVE))
    };
    let mut given = Given { reads_archive, ..Given::default() };
    let mut empty_reads = 0;
    loop {
        // What was counted may still be on its way to the disk.
        let _ = server.store.submit(Batch::new()).await;
        let read = read_on(&server, &seat, &mut given).await;
        let mut state = seat.account.turn();
        empty_reads = if read { 0 } else { empty_reads + 1 };
        if given.count < state.log.offline_count && empty_reads < EMPTY_READS_MAX {
            continue;
        }
        server.becomes_available(&seat, &mut state, &stanza, &mut trail);
        break;
    }
    let kept = match server.carry_out(trail) {
        Step::Done(kept) => kept,
        Step::Later(later) => later.await,
    };
    let drained = seat.link.mailbox.drained().await;
    let mut state = seat.account.turn();
    state.log.flushing = false;
    if drained && given.last > 0 {
        state.log.offline_count = state.log.offline_count.saturating_sub(given.count);
        state.log.offline_bytes = state.log.offline_bytes.saturating_sub(given.bytes);
        drop(keep::delivered(&server, &seat.account, given.last));
    }
    kept
}

/// What has been put into the mailbox so far.
#[derive(Default)]
struct Given {
    /// XEP-0313 §6.1.1: what the resource finds in the archive is not given to it twice.
    reads_archive: bool,
    last: Seq,
    count: u64,
    bytes: u64,
}

/// Puts the next page into the mailbox; false when there is none, or it cannot be read.
async fn read_on(server: &Arc<Server>, seat: &Seat, given: &mut Given) -> bool {
    let slice =
        Slice { after: Some(given.last), flags_any: OFFLINE, count_max: PAGE, ..Slice::default() };
    let page = match server.store.page(LOG, &seat.account.owner, &slice).await {
        Ok(page) => page,
        Err(error) => {
            tracing::error!(account = %seat.account.jid, %error, "cannot read what waits");
            return false;
        }
    };
    let found = !page.records.is_empty();
    for record in page.records {
        given.last = record.seq;
        given.count = given.count.saturating_add(1);
        let bytes = u64::try_from(record.stanza.len()).unwrap_or(u64::MAX);
        given.bytes = given.bytes.saturating_add(bytes);
        if given.reads_archive && record.flags & ARCHIVE != 0 {
            continue;
        }
        if let Some(stanza) = log::delayed(&seat.account.jid, &record) {
            seat.link.mailbox.put(|out| out.extend_from_slice(stanza.text().as_bytes()));
        }
    }
    seat.link.mailbox.room().await;
    found
}
