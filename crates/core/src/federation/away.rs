//! When another server goes away, who is there is seen as unavailable here; when it comes back, it is
//! asked anew.

use std::sync::Arc;

use crate::account::presence;
use crate::federation::reach::Pair;
use crate::server::Server;

impl Server {
    /// Tells users here that nobody of a domain is available any more: its own server would, and is
    /// gone (RFC 6121 §4.5.2).
    pub(crate) fn tell_gone(self: &Arc<Self>, pair: &Pair) {
        let told = self.federation.seen.gone(pair.local.domain(), pair.remote.domain());
        if told.is_empty() {
            return;
        }
        tracing::info!(%pair, count = told.len(), "the other server is gone, and all who are there");
        let server = self.clone();
        tokio::spawn(async move { server.send(told).await });
    }

    /// RFC 6121 §4.3.1: asks for the presence of contacts of a domain that is back, as at a login.
    pub(crate) fn ask_anew(self: &Arc<Self>, pair: &Pair) {
        let mut probes = Vec::new();
        self.directory.each(|account| {
            if account.jid.domain() != pair.local.domain() {
                return;
            }
            let state = account.turn();
            if state.available().next().is_none() {
                return;
            }
            let there = state.roster.contacts().filter(|(contact, item)| {
                contact.domain() == pair.remote.domain() && item.subscription.has_to()
            });
            probes.extend(there.map(|(contact, _)| presence::probe(&account.jid, contact)));
        });
        if !probes.is_empty() {
            let server = self.clone();
            tokio::spawn(async move { server.send(probes).await });
        }
    }
}
