//! XEP-0202: Entity Time. The host tells the time in UTC; its zone is nobody's business.

use std::sync::Arc;

use verona_core::hooks::{
    ConfigError, Hooks, HostSettings, IqResult, Manifest, Module, Reply, Request, Spec, Target,
};
use verona_xmpp::date;

const NS: &str = "urn:xmpp:time";

const MICROS: u64 = 1_000_000;

/// The module.
pub struct Time;

impl Module for Time {
    const MANIFEST: Manifest = Manifest {
        name: "time",
        specs: &[Spec("XEP-0202", "2.0")],
        features: &[NS],
        ..Manifest::EMPTY
    };

    type Config = ();

    fn new(_: (), _: &HostSettings) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn hooks(on: &mut Hooks<'_, Self>) {
        on.iq_get(Target::Host, NS, "time", Self::tell);
    }
}

impl Time {
    /// XEP-0202 §2. The zone is always UTC, which tells nobody where the server stands (§6), and is
    /// written with digits, since not every client reads a `Z`.
    async fn tell(self: Arc<Self>, request: Request) -> IqResult {
        let seconds = request.server.clock.now_micros() / MICROS;
        let micros = i64::try_from(seconds.saturating_mul(MICROS)).unwrap_or(i64::MAX);
        Ok(Reply::with(|writer| {
            writer.start("time", NS);
            writer.start("tzo", NS).text("+00:00").end();
            writer.start("utc", NS).text(&date::write(micros)).end();
            writer.end();
        }))
    }
}
