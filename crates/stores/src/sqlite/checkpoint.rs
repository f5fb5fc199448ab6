//! Copying the write-ahead log into the database file, beside the writer: most of it while commits go
//! on, so that only the last few pages are left for the moment in which nothing is written.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;
use verona_core::store::error::{Fault, StoreError};

use crate::sqlite::connection;
use crate::sqlite::trouble::Trouble;

/// Pages that the writer copies itself without anybody noticing.
const SHORT_PAGES: i32 = 192;

/// How often what came meanwhile is copied before it is left to the writer.
const PASSES_MAX: u32 = 4;

/// The thread that copies, and what it is asked.
#[derive(Debug)]
pub struct Copier {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// Pages in the write-ahead log; the writer counts them.
    pages: AtomicI32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Idle,
    Asked,
    /// So many pages are copied, and little is left.
    Done(i32),
    Failed(Fault),
    Closed,
}

impl Copier {
    /// Starts the thread.
    pub fn start(path: PathBuf) -> std::io::Result<Self> {
        let (pages, state) = (AtomicI32::new(0), Mutex::new(State::Idle));
        let shared = Arc::new(Shared { path, pages, state, changed: Condvar::new() });
        let copying = shared.clone();
        let thread = std::thread::Builder::new().name("store-copy".into());
        let thread = Some(thread.spawn(move || copying.serve())?);
        Ok(Self { shared, thread })
    }

    /// Makes a connection tell after each commit how many pages are in the log.
    pub fn watch(&self, connection: &mut Connection) -> Result<(), Trouble> {
        let shared = self.shared.clone();
        shared.pages.store(0, Ordering::Relaxed);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, now| {
            shared.pages.store(now, Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(())
    }

    /// Pages in the log.
    pub fn pages(&self) -> i32 {
        self.shared.pages.load(Ordering::Relaxed)
    }

    /// Asks for the log to be copied, if that is not under way.
    pub fn ask(&self) {
        let mut state = self.shared.state.lock();
        if *state == State::Idle {
            *state = State::Asked;
            self.shared.changed.notify_all();
        }
    }

    /// How many pages are copied, when what was asked is done but for little; with `waits` it is when
    /// this returns. Told once.
    pub fn done(&self, waits: bool) -> Result<Option<i32>, Fault> {
        let mut state = self.shared.state.lock();
        while waits && *state == State::Asked {
            self.shared.changed.wait(&mut state);
        }
        match *state {
            State::Done(copied) => {
                *state = State::Idle;
                Ok(Some(copied))
            }
            State::Failed(fault) => {
                *state = State::Idle;
                Err(fault)
            }
            State::Idle | State::Asked | State::Closed => Ok(None),
        }
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        *self.shared.state.lock() = State::Closed;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn serve(&self) {
        let mut open = None;
        while self.is_asked() {
            let outcome = self.copy(&mut open);
            if outcome.is_err() {
                // After a failure of the disk nothing that the connection holds is trusted.
                open = None;
            }
            let mut state = self.state.lock();
            if *state == State::Closed {
                return;
            }
            *state = match outcome {
                Ok(copied) => State::Done(copied),
                Err(trouble) => {
                    let error = StoreError::from(trouble);
                    tracing::error!(%error, "the write-ahead log cannot be copied");
                    State::Failed(error.fault)
                }
            };
            self.changed.notify_all();
        }
    }

    fn is_asked(&self) -> bool {
        let mut state = self.state.lock();
        while !matches!(*state, State::Asked | State::Closed) {
            self.changed.wait(&mut state);
        }
        *state == State::Asked
    }

    fn copy(&self, open: &mut Option<Connection>) -> Result<i32, Trouble> {
        let connection = match open {
            Some(connection) => connection,
            none => none.insert(connection::reading(&self.path)?),
        };
        let mut copied = 0;
        for _ in 0..PASSES_MAX {
            copied = passive(connection)?.1;
            if self.pages.load(Ordering::Relaxed).saturating_sub(copied) <= SHORT_PAGES {
                break;
            }
        }
        Ok(copied)
    }
}

/// Copies what can be copied without anybody waiting: how many pages are in the log, and how many
/// of them are copied.
pub fn passive(connection: &Connection) -> Result<(i32, i32), Trouble> {
    // A question opens the file, which has to be known before its log.
    connection.prepare_cached("SELECT version FROM state")?.query_row([], |_| Ok(()))?;
    let mut checkpoint = connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?;
    Ok(checkpoint.query_row([], |row| Ok((row.get(1)?, row.get(2)?)))?)
}

/// Copies all of the log and begins it anew.
pub fn empty(connection: &Connection) -> Result<(), Trouble> {
    let busy: i64 =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy != 0 {
        return Err(Trouble::Store(StoreError::new(Fault::Io, "the write-ahead log is in use")));
    }
    Ok(())
}
