//! RFC 3921 §3: the session that clients had to ask for before RFC 6121 made it part of binding.
//! compat(RFC 3921 clients): asking for one does nothing and succeeds.

use std::sync::Arc;

use verona_core::hooks::{
    ConfigError, Hooks, HostSettings, IqResult, Manifest, Module, Reply, Request, Spec, Target,
};
use verona_xmpp::ns::SESSION as NS;

/// The module.
pub struct Session;

impl Module for Session {
    const MANIFEST: Manifest =
        Manifest { name: "session", specs: &[Spec("RFC 3921", "2004")], ..Manifest::EMPTY };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.iq_set(Target::Host, NS, "session", Self::begin);
        on.iq_set(Target::Own, NS, "session", Self::begin);
    }
}

impl Session {
    /// RFC 3921 §3: the session exists, since a resource is bound.
    async fn begin(self: Arc<Self>, _: Request) -> IqResult {
        Ok(Reply::empty())
    }
}
