//! The threads that read: few, each with its own connection, so that a cold disk never stops the
//! runtime that serves the streams.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex, RwLock};
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};
use verona_core::store::error::{Fault, StoreError};

use crate::sqlite::connection;
use crate::sqlite::names::Known;
use crate::sqlite::trouble::Trouble;
use crate::sqlite::view::View;
use crate::sqlite::young::Young;

/// Threads that read at the same time.
const THREADS: usize = 3;

/// Questions that wait at most; who asks one more waits for a place.
const WAITING_MAX: usize = 1024;

type Question = Box<dyn FnOnce(&View<'_>) -> Option<Fault> + Send>;

/// The pool of readers.
#[derive(Debug)]
pub struct Readers {
    shared: Arc<Shared>,
    places: Semaphore,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    path: PathBuf,
    known: Arc<Known>,
    young: Arc<RwLock<Young>>,
    waiting: Mutex<(VecDeque<Question>, bool)>,
    filled: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Readers {
    /// Starts the threads.
    pub fn start(
        path: PathBuf,
        known: Arc<Known>,
        young: Arc<RwLock<Young>>,
    ) -> std::io::Result<Self> {
        let waiting = Mutex::default();
        let shared = Arc::new(Shared { path, known, young, waiting, filled: Condvar::new() });
        let start = |n| {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name(format!("store-read-{n}"))
                .spawn(move || shared.serve())
        };
        let threads = (0..THREADS).map(start).collect::<Result<_, _>>()?;
        Ok(Self { shared, places: Semaphore::new(WAITING_MAX), threads: Mutex::new(threads) })
    }

    /// Asks a question on one of the threads.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&View<'_>) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Ok(_place) = self.places.acquire().await else { return Err(StoreError::closed()) };
        let (sender, receiver) = oneshot::channel();
        let question = move |read: &View<'_>| {
            let answer = question(read).map_err(StoreError::from);
            let fault = answer.as_ref().err().map(|error| error.fault);
            if let Err(error) = &answer {
                tracing::error!(%error, "reading from the store failed");
            }
            let _ = sender.send(answer);
            fault
        };
        {
            let mut waiting = self.shared.waiting.lock();
            if waiting.1 {
                return Err(StoreError::closed());
            }
            waiting.0.push_back(Box::new(question));
        }
        self.shared.filled.notify_one();
        // A thread that ends without answering has dropped the sender.
        receiver.await.unwrap_or_else(|_| Err(StoreError::closed()))
    }

    /// Answers no more, and waits until the connections are closed.
    pub fn close(&self) {
        {
            let mut waiting = self.shared.waiting.lock();
            waiting.1 = true;
            waiting.0.clear();
        }
        self.shared.filled.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn serve(&self) {
        let mut open: Option<Connection> = None;
        while let Some(question) = self.next() {
            let connection = match open.take().map_or_else(|| connection::reading(&self.path), Ok) {
                Ok(connection) => connection,
                Err(trouble) => {
                    let error = StoreError::from(trouble);
                    tracing::error!(%error, "a reader cannot open the store");
                    continue;
                }
            };
            let fault =
                question(&View { connection: &connection, known: &self.known, young: &self.young });
            // After a failure of the disk nothing that the connection holds is trusted.
            if fault.is_none() {
                open = Some(connection);
            }
        }
    }

    fn next(&self) -> Option<Question> {
        let mut waiting = self.waiting.lock();
        loop {
            if let Some(question) = waiting.0.pop_front() {
                return Some(question);
            }
            if waiting.1 {
                return None;
            }
            self.filled.wait(&mut waiting);
        }
    }
}
