//! A domain that this server serves.

use std::sync::Arc;

use arc_swap::ArcSwap;
use verona_xmpp::jid::Jid;

use crate::hooks::registry::Registry;

/// Who may make an account in-band (XEP-0077).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Registration {
    /// Only the operator.
    #[default]
    Closed,
    /// Who has an invitation.
    Invite,
    /// Anybody.
    Open,
}

/// What the operator has set for a host.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// The domain, as a JID.
    pub domain: Jid,
    /// Bare JIDs of those who administer it.
    pub admins: Vec<Jid>,
    /// Who may make an account.
    pub registration: Registration,
    /// Iterations of the salted hash for new passwords.
    pub password_iterations: u32,
}

/// A host with its modules. A reload replaces settings and modules; sessions keep the host.
pub struct Host {
    /// The domain, as a JID.
    pub jid: Jid,
    settings: ArcSwap<HostSettings>,
    registry: ArcSwap<Registry>,
}

impl Host {
    /// A host with its installed modules.
    pub fn new(settings: HostSettings, registry: Registry) -> Self {
        Self {
            jid: settings.domain.clone(),
            settings: ArcSwap::from_pointee(settings),
            registry: ArcSwap::from_pointee(registry),
        }
    }

    /// What the operator has set.
    pub fn settings(&self) -> Arc<HostSettings> {
        self.settings.load_full()
    }

    /// Where the modules act.
    pub fn registry(&self) -> arc_swap::Guard<Arc<Registry>> {
        self.registry.load()
    }

    /// Takes over the settings and modules of a freshly made host (reload).
    pub fn adopt(&self, fresh: &Self) {
        self.settings.store(fresh.settings.load_full());
        self.registry.store(fresh.registry.load_full());
    }

    /// Whether a JID belongs to an administrator of the host.
    pub fn is_admin(&self, jid: &Jid) -> bool {
        self.settings.load().admins.iter().any(|admin| admin.same_bare(jid))
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("jid", &self.jid).finish_non_exhaustive()
    }
}
