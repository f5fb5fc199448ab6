//! Peers that were silent for long: are they still there?

use crate::mailbox::Order;
use crate::server::Server;

impl Server {
    /// Looks after all peers: those that owe an acknowledgement and have been silent for
    /// `unanswered_secs` are gone, whatever TCP believes of a machine that sleeps. `now` is in seconds
    /// of uptime.
    pub fn look_after_silent(&self, now: u32) {
        let limit = self.policy().limits.unanswered_secs;
        self.directory.each(|account| {
            for resource in &account.turn().resources {
                let since = resource.link.silent_since();
                if since.is_some_and(|since| now.saturating_sub(since) >= limit) {
                    let link = &resource.link;
                    tracing::info!(
                        stream = %link.stream(), account = link.account(),
                        resource = link.resource(), "peer does not answer"
                    );
                    link.mailbox.order(Order::Lost);
                }
            }
        });
        self.probe_silent(now);
    }

    /// RFC 6120 §4.6.4: asks the peers that were silent for `idle_probe_secs`; a connection that does
    /// not take the question is found dead by TCP. `now` is in seconds of uptime.
    pub fn probe_silent(&self, now: u32) {
        let limit = self.policy().limits.idle_probe_secs;
        self.directory.each(|account| {
            for resource in &account.turn().resources {
                let silent = now.saturating_sub(resource.link.last_heard_secs());
                if silent >= limit {
                    resource.link.heard(now);
                    resource.link.mailbox.order(Order::Probe);
                }
            }
        });
    }
}
