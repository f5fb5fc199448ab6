//! The list of all modules, in the order in which they act within a phase.

use verona_core::hooks::module::install;
use verona_core::hooks::{ConfigError, HostSettings, Registry};
use verona_core::server::Host;

use crate::access::blocking::Blocking;
use crate::devices::carbons::Carbons;
use crate::devices::client_state::ClientState;
use crate::entity::ping::Ping;
use crate::im::registration::Registration;
use crate::im::roster::Roster;

/// Makes a host with all modules.
pub fn host(settings: HostSettings) -> Result<Host, ConfigError> {
    let mut registry = Registry::default();
    install::<Ping>((), &settings, &mut registry)?;
    install::<Registration>((), &settings, &mut registry)?;
    install::<Roster>((), &settings, &mut registry)?;
    install::<Blocking>((), &settings, &mut registry)?;
    install::<Carbons>((), &settings, &mut registry)?;
    install::<ClientState>((), &settings, &mut registry)?;
    Ok(Host::new(settings, registry))
}
