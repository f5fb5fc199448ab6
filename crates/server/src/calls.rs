//! Components that the server connects to (XEP-0114 §3): each is called again when it is gone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use verona_transports::tcp::{self, Shared};
use verona_xmpp::jid::Jid;

use crate::config::load::Config;

/// The first pause before a component is called again; it doubles with each failure.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The tasks that call, each with whom it calls.
#[derive(Debug, Default)]
pub struct Calls {
    tasks: Mutex<BTreeMap<(Jid, SocketAddr), AbortHandle>>,
}

impl Calls {
    /// Calls those that the config names, and no others. A stream that is up is not ended by this.
    pub fn set(&self, config: &Config, shared: &Shared) {
        let wanted: Vec<(Jid, SocketAddr)> = config
            .components
            .iter()
            .flat_map(|component| {
                let domain = &component.domain.domain.0;
                component.connect.iter().map(|address| (domain.clone(), *address))
            })
            .collect();
        let mut tasks = self.known();
        tasks.retain(|key, task| {
            let stays = wanted.contains(key);
            if !stays {
                task.abort();
            }
            stays
        });
        for key in wanted {
            tasks
                .entry(key.clone())
                .or_insert_with(|| tokio::spawn(call(key.0, key.1, shared.clone())).abort_handle());
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<(Jid, SocketAddr), AbortHandle>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls nobody any more.
    pub fn end(&self) {
        self.known().values().for_each(AbortHandle::abort);
    }
}

async fn call(component: Jid, address: SocketAddr, shared: Shared) {
    let mut pause = PAUSE_MIN;
    loop {
        // A task of its own: what ends the calls must not cut off the stream.
        let (whom, doors) = (component.clone(), shared.clone());
        let stream = tokio::spawn(async move { tcp::call_component(address, whom, &doors).await });
        if stream.await.unwrap_or(false) {
            pause = PAUSE_MIN;
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
}
