//! The list of all modules, in the order in which they act within a phase.

use serde_json::Value;
use verona_core::hooks::module::{Module, install};
use verona_core::hooks::{
    ConfigError, HostSettings, Key, NoSections, Registry, Sections, Settings,
};
use verona_core::server::Host;

use crate::access::blocking::Blocking;
use crate::archive::inbox::Inbox;
use crate::archive::mam::Mam;
use crate::components::delegation::Delegation;
use crate::components::privilege::Privilege;
use crate::devices::carbons::Carbons;
use crate::devices::client_state::ClientState;
use crate::devices::clients::Clients;
use crate::devices::push::Push;
use crate::entity::caps::Caps;
use crate::entity::commands::Commands;
use crate::entity::contact::Contact;
use crate::entity::disco::Disco;
use crate::entity::last_activity::LastActivity;
use crate::entity::ping::Ping;
use crate::entity::stream_limits::StreamLimits;
use crate::entity::time::Time;
use crate::entity::version::Version;
use crate::im::hints::Hints;
use crate::im::message_ids::MessageIds;
use crate::im::offline::Offline;
use crate::im::private::Private;
use crate::im::roster::Roster;
use crate::im::session::Session;
use crate::im::vcard::VCard;
use crate::registration::in_band::Registration;
use crate::registration::invitations::Inviting;
use crate::registration::preauth::Preauth;

/// What an operator may set of a module.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// The name of the module, as in `[modules.NAME]`.
    pub name: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
    /// What they are when the file does not say, as an object.
    pub defaults: fn() -> Value,
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
            // Plain data can always be written.
            defaults: || {
                serde_json::to_value(<$module as Module>::Config::default()).unwrap_or_default()
            },
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
    Disco,
    Caps,
    Contact,
    Ping,
    LastActivity,
    Session,
    Registration,
    Preauth,
    Inviting,
    Commands,
    StreamLimits,
    Time,
    Version,
    Roster,
    VCard,
    Private,
    Blocking,
    MessageIds,
    Offline,
    Hints,
    Mam,
    Inbox,
    Carbons,
    ClientState,
    Privilege,
    Delegation,
    Push,
    Clients,
}

/// Makes a host with all modules as they are by default.
pub fn host(settings: HostSettings) -> Result<Host, ConfigError> {
    configured(settings, &NoSections)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use verona_testkit::memory::Tables;

    use super::*;
    use crate::testing::settings;

    #[test]
    fn every_module_has_a_name_of_its_own() {
        let host = host(settings("capulet.lit")).unwrap();
        let names: BTreeSet<&str> = NAMES.iter().copied().collect();
        assert_eq!(names.len(), NAMES.len());
        assert!(!names.contains(""));
        assert_eq!(host.registry().manifests.len(), NAMES.len());
    }

    #[test]
    fn every_key_is_understood_and_none_beside_them() {
        for section in SECTIONS {
            for key in section.keys {
                let set = format!("[modules.{}]\n{} = {{}}", section.name, key.name);
                let tables = Tables::read(&set).unwrap();
                // An inline table fits no key: the module has looked at it.
                let refused = configured(settings("capulet.lit"), &tables).err().unwrap();
                assert!(!refused.contains("unknown"), "{refused}");
                assert!(!key.doc.is_empty());
                assert!((section.defaults)().get(key.name).is_some(), "{}", key.name);
            }
            let other = format!("[modules.{}]\nno_such_key = 1", section.name);
            let tables = Tables::read(&other).unwrap();
            let refused = configured(settings("capulet.lit"), &tables).err().unwrap();
            assert!(refused.contains("unknown key `no_such_key`"), "{refused}");
        }
    }

    #[test]
    fn fault_that_a_module_finds_is_told_with_its_key() {
        let tables = Tables::read("[modules.contact]\nabuse = ['nobody']").unwrap();
        let refused = configured(settings("capulet.lit"), &tables).err().unwrap();
        assert!(
            refused.starts_with("[modules.contact] `abuse`: \"nobody\" is no URI"),
            "{refused}"
        );
    }
}
