//! XEP-0199: XMPP Ping. The server answers for itself and for its accounts.

use std::sync::Arc;

use verona_core::hooks::{
    ConfigError, Hooks, HostSettings, IqResult, Manifest, Module, Reply, Request, Spec, Target,
};

const NS: &str = "urn:xmpp:ping";

/// The module.
pub struct Ping;

impl Module for Ping {
    const MANIFEST: Manifest = Manifest {
        name: "ping",
        specs: &[Spec("XEP-0199", "2.0.1")],
        features: &[NS],
        ..Manifest::EMPTY
    };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.iq_get(Target::Host, NS, "ping", Self::pong);
        on.iq_get(Target::Own, NS, "ping", Self::pong);
    }
}

impl Ping {
    /// XEP-0199 §4.2: "pong" is an empty result.
    async fn pong(self: Arc<Self>, _: Request) -> IqResult {
        Ok(Reply::empty())
    }
}
