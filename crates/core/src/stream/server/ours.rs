//! Which domains are served here.

use verona_xmpp::jid::Jid;

use crate::server::Server;

/// Whether a domain is one of this server's hosts, services or components.
pub fn is_ours(server: &Server, domain: &Jid) -> bool {
    server.host(domain.domain()).is_some()
        || server.components.find(domain.domain()).is_some()
        || server.hosts().iter().any(|host| {
            host.services().iter().any(|service| service.jid.domain() == domain.domain())
        })
}
