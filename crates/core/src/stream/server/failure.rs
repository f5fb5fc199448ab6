//! Why a stream to another server could not be established.

use std::fmt;

use verona_xmpp::error::Condition;

use crate::federation::reach::Unreachable;

/// Characters of a peer's text that are repeated in a log.
const CHARS_MAX: usize = 200;

/// Why there is no stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// What the senders of waiting stanzas are told when nothing better comes in time.
    pub condition: Condition,
    /// Whether another attempt after a while may do better. Otherwise something has to change first
    /// at one of the two servers.
    pub retry: bool,
    /// Each step with its outcome, the one that failed last: for log, status and check.
    pub steps: Vec<String>,
    /// Where else the server is, as it says itself, having proven who it is (RFC 6120 §4.9.3.19).
    pub elsewhere: Option<Box<str>>,
}

impl Failure {
    /// A failure that leads nowhere else.
    pub fn new(condition: Condition, retry: bool, steps: Vec<String>) -> Self {
        Self { condition, retry, steps, elsewhere: None }
    }

    /// The step that failed, in plain words.
    pub fn cause(&self) -> &str {
        self.steps.last().map_or("unknown", String::as_str)
    }
}

/// Text of a peer as it may stand in a log: one line, and not long.
pub fn plain(text: &str) -> String {
    let letter = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().take(CHARS_MAX).map(letter).collect()
}

impl From<Unreachable> for Failure {
    fn from(unreachable: Unreachable) -> Self {
        // RFC 6120 §8.3.3.16, §8.3.3.17.
        let condition = match unreachable.unknown {
            true => Condition::RemoteServerNotFound,
            false => Condition::RemoteServerTimeout,
        };
        Self::new(condition, !unreachable.unknown, unreachable.steps)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cause())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_peer_stays_in_its_line() {
        assert_eq!(plain("so\nlong\u{1b}[31m"), "so long [31m");
        assert_eq!(plain(&"ä".repeat(1_000)), "ä".repeat(CHARS_MAX));
    }
}
