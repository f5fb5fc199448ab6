//! The one thread that writes: takes all that waits, commits it together, tells the outcome.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use rusqlite::Connection;
use verona_core::store::error::{Fault, StoreError};

use crate::sqlite::apply::Apply;
use crate::sqlite::checkpoint::{self, Copier};
use crate::sqlite::commit::{Outcomes, Work, commit};
use crate::sqlite::connection;
use crate::sqlite::names::Known;
use crate::sqlite::queue::{Group, Queue, Taken};
use crate::sqlite::recover;
use crate::sqlite::trouble::Trouble;
use crate::sqlite::tuning::Tuning;
use crate::sqlite::young::{Step, Young};

/// Groups that are committed without moving anything after there was no space for it.
const GROUPS_WITHOUT_STEP: u32 = 64;

/// The writer, moved into its thread.
#[derive(Debug)]
pub struct Writer {
    /// The database file.
    pub path: PathBuf,
    /// What is known of names, shared with the readers.
    pub known: Arc<Known>,
    /// What is young, shared with the readers.
    pub young: Arc<RwLock<Young>>,
    /// Where batches come from.
    pub queue: Arc<Queue>,
    /// How much is gathered before it is moved on.
    pub tuning: Tuning,
}

/// The write-ahead log is begun anew, though commits wait for it, when it is so many times as long as
/// what is copied at a time; and nothing is committed when it is twice as long as that.
const LONG_LOG: i32 = 4;

enum End {
    Closed,
    /// Nothing is assumed of the connection.
    Fault(Fault),
}

impl Writer {
    /// Serves the queue until it is closed, with a connection that is open already.
    pub fn run(self, mut connection: Connection) {
        // However the thread ends, nobody waits for it in vain.
        let _abandon = Abandon(self.queue.clone());
        let copier = match Copier::start(self.path.clone()) {
            Ok(copier) => copier,
            Err(error) => {
                tracing::error!(%error, "no thread for the store");
                return;
            }
        };
        let mut end = self.serve(&mut connection, &copier);
        while let End::Fault(fault) = end {
            // A try for each group, when there is one: so the first behind the cure is served, and
            // a disk that stays broken costs nothing while nobody writes.
            if !self.queue.wait() {
                return;
            }
            // The old connection stays until the new one is there: were there none for a moment,
            // SQLite would read the write-ahead log anew and might find what has failed.
            end = match self.reopen(fault) {
                Ok(fresh) => {
                    connection = fresh;
                    self.serve(&mut connection, &copier)
                }
                Err(trouble) => {
                    let error = StoreError::from(trouble);
                    tracing::error!(%error, "the store cannot be opened again for writing");
                    if let Taken::Group(group) = self.queue.take(false, None) {
                        self.queue.settle(group, |_| Err(error.clone()));
                    }
                    End::Fault(fault)
                }
            };
        }
        drop(copier);
        if let Err(trouble) = checkpoint::empty(&connection) {
            fault("the write-ahead log stays behind, the next start reads it", trouble);
        }
    }

    /// Opens the file again after a fault, and takes what is young from there.
    fn reopen(&self, fault: Fault) -> Result<Connection, Trouble> {
        let connection = connection::writing(&self.path, &self.tuning)?;
        // Frames of the group that failed may lie behind the end of the write-ahead log, unsynced.
        // It is left behind before anything new is written. Not so when the disk is full: copying
        // may need the space that is missing, and the next group may be what frees it.
        if fault != Fault::Full {
            checkpoint::empty(&connection)?;
        }
        let young = recover::young(&connection)?;
        *self.young.write() = young;
        tracing::warn!("the store is open again for writing");
        Ok(connection)
    }

    fn serve(&self, connection: &mut Connection, copier: &Copier) -> End {
        if let Err(trouble) = copier.watch(connection) {
            return fault("the write-ahead log cannot be watched", trouble);
        }
        let young_bytes_max = self.tuning.generation_bytes.saturating_mul(4);
        let mut apply = Apply::new(connection, &self.known, &self.young, young_bytes_max);
        let mut without_step = 0_u32;
        let copy_at = self.tuning.checkpoint_pages;
        let mut log = Log { copier, copy_at, empty_at: 0, is_copied: false };
        let mut pace = Pace::new(self.tuning.gather);
        let mut frozen_at = Instant::now();
        loop {
            let has_step = without_step == 0 && self.has_step(&mut frozen_at);
            let group = match self.queue.take(!has_step, pace.not_before()) {
                Taken::Group(group) => Some(group),
                Taken::Nothing => None,
                Taken::Closed => break,
            };
            pace.begin(group.as_ref());
            without_step = without_step.saturating_sub(1);
            let step = if has_step { self.step(group.as_ref()) } else { None };
            let batches = group.as_ref().map_or(&[][..], |group| &group.batches[..]);
            let mut outcome = commit(connection, &mut apply, Work { step: step.as_ref(), batches });
            if step.is_some() && outcome.as_ref().is_err_and(Trouble::is_full) {
                tracing::error!("no space to move young records to blocks, trying later");
                without_step = GROUPS_WITHOUT_STEP;
                outcome = commit(connection, &mut apply, Work { step: None, batches });
            }
            if let Err(error) = self.settle(group, outcome) {
                return End::Fault(error.fault);
            }
            if let Err(end) = self.copy_log(connection, &mut log) {
                return end;
            }
        }
        End::Closed
    }

    /// Has what is new in the write-ahead log copied, and the log begun anew when that disturbs
    /// nobody, or when it must be.
    fn copy_log(&self, connection: &Connection, log: &mut Log<'_>) -> Result<(), End> {
        let (copier, step) = (log.copier, self.tuning.checkpoint_pages);
        let pages = copier.pages();
        if pages >= log.copy_at {
            copier.ask();
        }
        let long = step.saturating_mul(LONG_LOG);
        if let Some(copied) = copier.done(pages >= long.saturating_mul(2)).map_err(End::Fault)? {
            log.copy_at = copied.saturating_add(step);
            log.is_copied = true;
        }
        if !log.is_copied || (pages < log.empty_at.max(long) && !self.queue.is_empty()) {
            return Ok(());
        }
        log.is_copied = false;
        // What came since is little. When all is copied, the next commit begins the log anew.
        let copied = checkpoint::passive(connection);
        let (pages, copied) =
            copied.map_err(|trouble| fault("the write-ahead log cannot be copied", trouble))?;
        // Where a reader still needs what is in the log, it is done soon.
        let is_all = copied >= pages;
        log.copy_at = if is_all { step } else { copied.saturating_add(step) };
        log.empty_at = if is_all { 0 } else { pages.saturating_add(step) };
        Ok(())
    }

    /// Whether young records are to be moved; begins a new generation when it is time.
    fn has_step(&self, frozen_at: &mut Instant) -> bool {
        let young = self.young.read();
        if young.has_frozen() {
            return true;
        }
        let is_overdue = || young.holds_deleted() && frozen_at.elapsed() >= self.tuning.deleted_for;
        if young.bytes() < self.tuning.generation_bytes && !is_overdue() {
            return young.litter().is_some();
        }
        drop(young);
        *frozen_at = Instant::now();
        self.young.write().freeze();
        true
    }

    fn step(&self, group: Option<&Group>) -> Option<Step> {
        let writes = group.map_or(0, Group::writes);
        let young = self.young.read();
        if young.bytes() >= self.tuning.generation_bytes {
            // The next generation is full already: an import, or steps that failed for a while.
            return young.step(usize::MAX);
        }
        young.step(self.tuning.step_records.max(writes.saturating_mul(2)))
    }

    fn settle(
        &self,
        group: Option<Group>,
        outcome: Result<Outcomes, Trouble>,
    ) -> Result<(), StoreError> {
        let outcome = outcome.map_err(|trouble| {
            let error = StoreError::from(trouble);
            tracing::error!(%error, "a commit failed, nothing of it is kept");
            error
        });
        if let Some(group) = group {
            self.queue.settle(group, |at| match &outcome {
                Ok(outcomes) => outcomes.get(at).cloned().unwrap_or(Ok(())),
                Err(error) => Err(error.clone()),
            });
        }
        outcome.map(drop)
    }
}

fn fault(what: &str, trouble: Trouble) -> End {
    let error = StoreError::from(trouble);
    tracing::error!(%error, "{what}");
    End::Fault(error.fault)
}

/// What the writer knows of the write-ahead log.
struct Log<'w> {
    copier: &'w Copier,
    /// With how many pages it is copied next.
    copy_at: i32,
    /// With how many pages it is begun anew whoever waits.
    empty_at: i32,
    /// Little is left to copy.
    is_copied: bool,
}

/// When the next commit may begin.
struct Pace {
    gather: Duration,
    next: Option<Instant>,
}

impl Pace {
    fn new(gather: Duration) -> Self {
        Self { gather, next: None }
    }

    fn not_before(&self) -> Option<Instant> {
        self.next
    }

    /// A commit begins. Who writes alone, one after the other, does not wait for company.
    fn begin(&mut self, group: Option<&Group>) {
        let is_alone = group.is_some_and(|group| group.batches.len() == 1);
        self.next = if is_alone { None } else { Instant::now().checked_add(self.gather) };
    }
}

struct Abandon(Arc<Queue>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
