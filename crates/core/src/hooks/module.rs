//! The interface that every extension implements.

use std::sync::Arc;

use crate::hooks::fault::ConfigError;
use crate::hooks::manifest::Manifest;
use crate::hooks::registry::Hooks;
use crate::hooks::settings::{Sections, Settings};
use crate::host::HostSettings;
use crate::server::Registry;

/// One extension: what it offers, its settings, and where it acts. There is one instance per host.
pub trait Module: Send + Sync + Sized + 'static {
    /// What it offers.
    const MANIFEST: Manifest;

    /// Its section of the config; `()` for none.
    type Config: Settings;

    /// Makes the instance for a host.
    fn new(config: Self::Config, host: &HostSettings) -> Result<Self, ConfigError>;

    /// Says where it acts.
    fn hooks(on: &mut Hooks<'_, Self>);
}

/// Makes a module, as its section of the config wants it, and registers its hooks.
pub fn install<M: Module, S: Sections>(
    sections: &S,
    host: &HostSettings,
    registry: &mut Registry,
) -> Result<(), S::Error> {
    let name = M::MANIFEST.name;
    let config = sections.read(name)?;
    let module = M::new(config, host).map_err(|error| sections.fault(name, error))?;
    registry.manifests.push(M::MANIFEST);
    M::hooks(&mut Hooks::new(registry, Arc::new(module), M::MANIFEST.loaded));
    Ok(())
}
