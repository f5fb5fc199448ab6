//! Tells why a conversation failed, with both sides and what went before.

use std::fmt;

/// How much of the conversation before the failure is shown.
const SO_FAR_MAX: usize = 8;

/// A conversation that did not go as the script says.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The line of the script; 0 before its first statement.
    pub line: usize,
    /// What went wrong.
    pub what: String,
    /// What was said before, oldest first.
    pub so_far: Vec<String>,
    /// What the server logged.
    pub log: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => writeln!(f, "before the first statement: {}", self.what)?,
            line => writeln!(f, "line {line}: {}", self.what)?,
        }
        let skipped = self.so_far.len().saturating_sub(SO_FAR_MAX);
        if !self.so_far.is_empty() {
            writeln!(f, "\nso far:")?;
        }
        for said in self.so_far.iter().skip(skipped) {
            writeln!(f, "  {}", said.replace('\n', "\n  "))?;
        }
        if !self.log.is_empty() {
            writeln!(f, "\nlog of the server:\n{}", self.log.trim_end())?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
