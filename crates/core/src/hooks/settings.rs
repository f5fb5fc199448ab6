//! What an operator may set of a module: its section of the config, `[modules.NAME]`.
//!
//! A module says which keys there are and what they do; who has the file reads it, and tells of
//! what is wrong with its line.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::hooks::fault::ConfigError;

/// What is known of one key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Key {
    /// Its name within the section.
    pub name: &'static str,
    /// What it does, for the reference.
    pub doc: &'static str,
}

/// The section of one module, as the module reads it. Every key may be left out.
pub trait Settings: Default + DeserializeOwned + Serialize {
    /// Its keys, in the order of the reference.
    const KEYS: &'static [Key];
}

/// Nothing can be set.
impl Settings for () {
    const KEYS: &'static [Key] = &[];
}

/// Where the sections of the modules come from.
pub trait Sections {
    /// What is told of a section that is wrong.
    type Error;

    /// Reads the section of a module; the default where there is none. A key that is not among
    /// [`Settings::KEYS`] is an error; where there are no keys, nothing else is looked at.
    fn read<S: Settings>(&self, module: &str) -> Result<S, Self::Error>;

    /// Says where a section is wrong, when the module itself has found what.
    fn fault(&self, module: &str, error: ConfigError) -> Self::Error;
}

/// No sections: everything is as it is by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSections;

impl Sections for NoSections {
    type Error = ConfigError;

    fn read<S: Settings>(&self, _: &str) -> Result<S, ConfigError> {
        Ok(S::default())
    }

    fn fault(&self, _: &str, error: ConfigError) -> ConfigError {
        error
    }
}
