//! The list of all modules, in the order in which they act within a phase.

use verona_core::hooks::module::{Module, install};
use verona_core::hooks::{
    ConfigError, HostSettings, Key, NoSections, Registry, Sections, Settings,
};
use verona_core::server::Host;

use crate::access::blocking::Blocking;
use crate::entity::last_activity::LastActivity;
use crate::entity::ping::Ping;
use crate::im::hints::Hints;
use crate::im::message_ids::MessageIds;
use crate::im::offline::Offline;
use crate::im::private::Private;
use crate::im::registration::Registration;
use crate::im::roster::Roster;
use crate::im::session::Session;
use crate::im::vcard::VCard;

/// What an operator may set of a module.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// The name of the module, as in `[modules.NAME]`.
    pub name: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// Makes what concerns all modules from the one list.
macro_rules! modules {
    ($($module:ty,)+) => {
        /// The names that `[modules.NAME]` may have.
        pub const NAMES: &[&str] = &[$(<$module as Module>::MANIFEST.name),+];

        /// The sections that the config can have, for its reference.
        pub const SECTIONS: &[Section] = &[$(Section {
            name: <$module as Module>::MANIFEST.name,
            keys: <<$module as Module>::Config as Settings>::KEYS,
        }),+];

        /// Makes a host with all modules, as their sections of the config want them.
        pub fn configured<S: Sections>(
            settings: HostSettings,
            sections: &S,
        ) -> Result<Host, S::Error> {
            let mut registry = Registry::default();
            $(install::<$module, S>(sections, &settings, &mut registry)?;)+
            Ok(Host::new(settings, registry))
        }
    };
}

modules! {
    Ping,
    LastActivity,
    Session,
    Registration,
    Roster,
    VCard,
    Private,
    Blocking,
    MessageIds,
    Offline,
    Hints,
}

/// Makes a host with all modules as they are by default.
pub fn host(settings: HostSettings) -> Result<Host, ConfigError> {
    configured(settings, &NoSections)
}
