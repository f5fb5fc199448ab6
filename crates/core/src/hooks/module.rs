//! The interface that every extension implements.

use std::sync::Arc;

use crate::hooks::manifest::Manifest;
use crate::hooks::registry::Hooks;
use crate::host::HostSettings;
use crate::server::Registry;

/// A fault in a module's section of the config.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    /// The key within the module's section, if one is to blame.
    pub key: Option<String>,
    /// What is wrong and how to mend it.
    pub message: String,
}

/// One extension: what it offers, its settings, and where it acts. There is one instance per host.
pub trait Module: Send + Sync + Sized + 'static {
    /// What it offers.
    const MANIFEST: Manifest;

    /// Its section of the config; `()` for none.
    type Config: Default;

    /// Makes the instance for a host.
    fn new(config: Self::Config, host: &HostSettings) -> Result<Self, ConfigError>;

    /// Says where it acts.
    fn hooks(on: &mut Hooks<'_, Self>);
}

/// Makes a module and registers its hooks.
pub fn install<M: Module>(
    config: M::Config,
    host: &HostSettings,
    registry: &mut Registry,
) -> Result<(), ConfigError> {
    let module = Arc::new(M::new(config, host)?);
    registry.manifests.push(M::MANIFEST);
    M::hooks(&mut Hooks::new(registry, module, M::MANIFEST.loaded));
    Ok(())
}
