//! The list of all modules, in the order in which they act within a phase.

use verona_core::hooks::module::install;
use verona_core::hooks::{ConfigError, HostSettings, Registry};
use verona_core::server::Host;

use crate::access::blocking::Blocking;
use crate::archive::mam::{Config as MamConfig, Mam};
use crate::archive::stanza_id::StanzaId;
use crate::entity::ping::Ping;
use crate::im::roster::Roster;

/// Makes a host with all modules.
pub fn host(settings: HostSettings) -> Result<Host, ConfigError> {
    let mut registry = Registry::default();
    install::<Ping>((), &settings, &mut registry)?;
    install::<Roster>((), &settings, &mut registry)?;
    install::<Blocking>((), &settings, &mut registry)?;
    install::<StanzaId>((), &settings, &mut registry)?;
    install::<Mam>(MamConfig::default(), &settings, &mut registry)?;
    Ok(Host::new(settings, registry))
}
