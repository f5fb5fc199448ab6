//! Conversations in memory, for the unit tests of the modules.

use verona_core::hooks::HostSettings;
use verona_testkit::memory::Memory;
use verona_testkit::play::blocking;
use verona_testkit::script::Script;

use crate::install;

/// Plays a conversation with all modules, and panics with the reason when it fails.
pub fn play(script: &str) {
    blocking(script, &memory(script));
}

/// A server with all modules, as a conversation wants it.
pub fn memory(script: &str) -> Memory {
    let setup = Script::parse(script).unwrap_or_else(|error| panic!("{error}")).setup;
    Memory::configured(setup, install::configured).unwrap_or_else(|error| panic!("{error}"))
}

/// A host as the operator might have set it.
pub fn settings(domain: &str) -> HostSettings {
    verona_testkit::memory::settings(domain)
}
