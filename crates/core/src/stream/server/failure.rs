//! Why a stream to another server could not be established.

use std::fmt;

use verona_xmpp::error::Condition;

use crate::federation::reach::Unreachable;

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
}

impl Failure {
    /// The step that failed, in plain words.
    pub fn cause(&self) -> &str {
        self.steps.last().map_or("unknown", String::as_str)
    }
}

impl From<Unreachable> for Failure {
    fn from(unreachable: Unreachable) -> Self {
        // RFC 6120 §8.3.3.16, §8.3.3.17.
        let condition = match unreachable.unknown {
            true => Condition::RemoteServerNotFound,
            false => Condition::RemoteServerTimeout,
        };
        Self { condition, retry: !unreachable.unknown, steps: unreachable.steps }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cause())
    }
}

impl std::error::Error for Failure {}
