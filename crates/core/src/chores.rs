//! What modules do from time to time, without anybody asking.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::limits::CHORES_SECS;
use crate::server::Server;

impl Server {
    /// Does the chores of all hosts once, one after the other: nobody waits for them.
    pub async fn do_chores(self: &Arc<Self>) {
        for host in self.hosts() {
            let chores: Vec<BoxFuture<'static, ()>> = host
                .registry()
                .chores
                .iter()
                .map(|chore| chore(self.clone(), host.clone()))
                .collect();
            for chore in chores {
                chore.await;
            }
        }
    }
}

/// Does the chores for as long as the server runs. The first time soon, since a server that is
/// restarted often must not put them off for ever.
pub async fn tend(server: Arc<Server>) {
    loop {
        tokio::time::sleep(Duration::from_secs(CHORES_SECS)).await;
        server.do_chores().await;
    }
}
