//! How a command ends when it fails, and how it writes when it does not.

use std::fmt;
use std::io::{self, Write};

use crate::control::client::ControlError;

/// Why a command failed, for whoever typed it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The exit code; what they mean stands in `verona --help`.
    pub code: u8,
    message: String,
}

impl Failure {
    /// It failed.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { code: 1, message: message.to_string() }
    }

    /// The command line was wrong.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { code: 2, message: message.to_string() }
    }

    /// It failed, and has told why already.
    pub fn told() -> Self {
        Self { code: 1, message: String::new() }
    }

    /// The failure with one more line.
    pub fn with(self, line: impl fmt::Display) -> Self {
        Self { code: self.code, message: format!("{}\n{line}", self.message) }
    }

    /// Whether the reason has been told already.
    pub fn is_told(&self) -> bool {
        self.message.is_empty()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let code = if matches!(error, ControlError::NotRunning(_)) { 3 } else { 1 };
        Self { code, message: error.to_string() }
    }
}

/// Writes to the standard output. Somebody who stops reading, as `head` does, is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(error)),
        _ => Ok(()),
    }
}
