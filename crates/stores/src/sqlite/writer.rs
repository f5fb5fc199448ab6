//! The one thread that writes: takes all that waits, commits it together, tells the outcome.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::Connection;
use verona_core::store::error::{Fault, StoreError};

use crate::sqlite::apply::{Apply, Known};
use crate::sqlite::connection;
use crate::sqlite::queue::{Group, Queue};
use crate::sqlite::trouble::Trouble;

/// Pages in the write-ahead log from which it is copied into the database file.
const CHECKPOINT_PAGES: i32 = 4000;

/// The writer, moved into its thread.
#[derive(Debug)]
pub struct Writer {
    /// The database file.
    pub path: PathBuf,
    /// What is known of names, shared with the readers.
    pub known: Arc<Known>,
    /// Where batches come from.
    pub queue: Arc<Queue>,
}

enum End {
    Closed,
    /// Nothing is assumed of the connection; whether its log must be left behind first.
    Fault(Fault),
}

impl Writer {
    /// Serves the queue until it is closed, with a connection that is open already.
    pub fn run(self, connection: Connection) {
        // However the thread ends, nobody waits for it in vain.
        let _end = Abandon(self.queue.clone());
        let mut open = Some(connection);
        let mut abandon_log = false;
        loop {
            let opened = open.take().map_or_else(|| connection::writing(&self.path), Ok);
            let ready = opened.and_then(|connection| {
                if abandon_log {
                    empty_log(&connection)?;
                }
                Ok(connection)
            });
            match ready {
                Ok(connection) => match self.serve(connection) {
                    End::Closed => return,
                    End::Fault(fault) => abandon_log = fault != Fault::Full,
                },
                Err(trouble) => {
                    let error = StoreError::from(trouble);
                    tracing::error!(%error, "the store cannot be opened again for writing");
                    let Some(group) = self.queue.take() else { return };
                    self.queue.settle(group, |_| Err(error.clone()));
                }
            }
        }
    }

    fn serve(&self, mut connection: Connection) -> End {
        connection.set_prepared_statement_cache_capacity(64);
        let pages = Arc::new(AtomicI32::new(0));
        let seen = pages.clone();
        let hooked = connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, now| {
            seen.store(now, Ordering::Relaxed);
            Ok(())
        }));
        if let Err(error) = hooked {
            return self.fault("cannot watch the write-ahead log", error.into());
        }
        let mut apply = Apply::new(&connection, &self.known);
        while let Some(group) = self.queue.take() {
            match commit(&connection, &mut apply, &group) {
                Ok(refused) => {
                    self.queue.settle(group, |at| refused.get(at).cloned().unwrap_or(Ok(())))
                }
                Err(trouble) => {
                    let error = StoreError::from(trouble);
                    let batches = group.batches.len();
                    tracing::error!(%error, batches, "a group of writes failed, none of it is kept");
                    let fault = error.fault;
                    self.queue.settle(group, |_| Err(error.clone()));
                    return End::Fault(fault);
                }
            }
            if pages.load(Ordering::Relaxed) >= CHECKPOINT_PAGES {
                if let Err(error) = checkpoint(&connection, "PASSIVE") {
                    return self.fault("the write-ahead log cannot be copied", error);
                }
                pages.store(0, Ordering::Relaxed);
            }
        }
        drop(apply);
        if let Err(trouble) = empty_log(&connection) {
            let error = StoreError::from(trouble);
            tracing::error!(%error, "the write-ahead log stays behind; the next start reads it");
        }
        End::Closed
    }

    fn fault(&self, what: &str, trouble: Trouble) -> End {
        let error = StoreError::from(trouble);
        tracing::error!(%error, "{what}");
        End::Fault(error.fault)
    }
}

/// Commits a group; the answer says, if any batch was refused, the outcome of each.
fn commit(
    connection: &Connection,
    apply: &mut Apply<'_>,
    group: &Group,
) -> Result<Vec<Result<(), StoreError>>, Trouble> {
    let outcome = attempt(connection, apply, group, false).or_else(|trouble| {
        if !trouble.is_of_the_batch() {
            return Err(trouble);
        }
        undo(connection, apply)?;
        attempt(connection, apply, group, true)
    });
    if outcome.is_err() && !connection.is_autocommit() {
        let _ = undo(connection, apply);
    }
    outcome
}

fn attempt(
    connection: &Connection,
    apply: &mut Apply<'_>,
    group: &Group,
    apart: bool,
) -> Result<Vec<Result<(), StoreError>>, Trouble> {
    let mut outcomes = Vec::new();
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    for waiting in &group.batches {
        let mut one = || -> Result<(), Trouble> {
            let writes = waiting.writes.as_ref().map_err(|error| Trouble::Store(error.clone()))?;
            writes.iter().try_for_each(|write| apply.write(write))
        };
        if !apart {
            one()?;
            continue;
        }
        connection.prepare_cached("SAVEPOINT batch")?.execute([])?;
        let outcome = one();
        if let Err(trouble) = outcome {
            if !trouble.is_of_the_batch() {
                return Err(trouble);
            }
            connection.prepare_cached("ROLLBACK TO batch")?.execute([])?;
            apply.undone();
            outcomes.push(Err(trouble.into()));
        } else {
            outcomes.push(Ok(()));
        }
        connection.prepare_cached("RELEASE batch")?.execute([])?;
    }
    connection.prepare_cached("COMMIT")?.execute([])?;
    apply.committed();
    Ok(outcomes)
}

fn undo(connection: &Connection, apply: &mut Apply<'_>) -> Result<(), Trouble> {
    apply.undone();
    if !connection.is_autocommit() {
        connection.prepare_cached("ROLLBACK")?.execute([])?;
    }
    Ok(())
}

/// Copies the write-ahead log into the database file and begins it anew.
fn empty_log(connection: &Connection) -> Result<(), Trouble> {
    checkpoint(connection, "TRUNCATE")
}

fn checkpoint(connection: &Connection, how: &str) -> Result<(), Trouble> {
    let busy: i64 =
        connection.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |row| row.get(0))?;
    if busy != 0 && how != "PASSIVE" {
        return Err(Trouble::Store(StoreError::new(Fault::Io, "the write-ahead log is in use")));
    }
    Ok(())
}

struct Abandon(Arc<Queue>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
