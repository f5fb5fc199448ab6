//! The list of all modules, in the order in which they act within a phase.

use verona_core::hooks::module::install;
use verona_core::hooks::{ConfigError, HostSettings, Registry};
use verona_core::server::Host;

use crate::access::blocking::Blocking;
use crate::entity::last_activity::LastActivity;
use crate::entity::ping::Ping;
use crate::im::private::Private;
use crate::im::registration::Registration;
use crate::im::roster::Roster;
use crate::im::session::Session;
use crate::im::vcard::VCard;

/// Makes a host with all modules.
pub fn host(settings: HostSettings) -> Result<Host, ConfigError> {
    let mut registry = Registry::default();
    install::<Ping>((), &settings, &mut registry)?;
    install::<LastActivity>((), &settings, &mut registry)?;
    install::<Session>((), &settings, &mut registry)?;
    install::<Registration>((), &settings, &mut registry)?;
    install::<Roster>((), &settings, &mut registry)?;
    install::<VCard>((), &settings, &mut registry)?;
    install::<Private>((), &settings, &mut registry)?;
    install::<Blocking>((), &settings, &mut registry)?;
    Ok(Host::new(settings, registry))
}
