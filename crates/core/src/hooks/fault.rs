//! What is wrong with a module's settings.

/// A fault in a module's section of the config.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    /// The key within the module's section, if one is to blame.
    pub key: Option<String>,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl ConfigError {
    /// A fault of one key.
    pub fn of(key: &str, message: impl Into<String>) -> Self {
        Self { key: Some(key.to_owned()), message: message.into() }
    }
}
