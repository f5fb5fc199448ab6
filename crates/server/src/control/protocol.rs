//! What is said over the control socket: one JSON object a line, an answer for each request.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::accounts::request::{AccountReply, AccountRequest};
use crate::invitations::request::{InviteReply, InviteRequest};

/// Bytes of a request, at most: a password, a JID and their names.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// Bytes of an answer, at most: a page of accounts with the longest names there are.
pub const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What the operator asks of the running server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// How it is.
    Status,
    /// To read config and certificates anew.
    Reload,
    /// To end.
    Stop,
    /// To try a federation.
    Federate {
        /// The domain of another server.
        domain: String,
        /// The domain of this server that tries it; none: the first.
        host: Option<String>,
    },
    /// Something with accounts.
    Account {
        /// What.
        request: AccountRequest,
    },
    /// Something with invitations.
    Invite {
        /// What.
        request: InviteRequest,
    },
}

/// What it answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// How it is.
    Status {
        /// The figures.
        status: Status,
    },
    /// What the reload led to.
    Reloaded {
        /// What the operator should know, such as what waits for a restart.
        notes: Vec<String>,
    },
    /// It ends now; the connection is closed when it has ended.
    Stopping,
    /// How the federation went.
    Federated {
        /// The outcome.
        trial: Trial,
    },
    /// What was asked of an account was done.
    Account {
        /// The outcome.
        reply: AccountReply,
    },
    /// What was asked of an invitation was done.
    Invite {
        /// The outcome.
        reply: InviteReply,
    },
    /// It was not done.
    Refused {
        /// Why, one sentence a line.
        message: String,
    },
}

/// How a try to federate with another domain went.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Trial {
    /// The domain of this server.
    pub host: String,
    /// Each step with its outcome.
    pub steps: Vec<String>,
    /// Why there is no stream; none when there is one.
    pub failure: Option<TrialFailure>,
}

/// Why a federation did not come to be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TrialFailure {
    /// The last step, in plain words.
    pub cause: String,
    /// What senders are told: the name of a stanza error (RFC 6120 §8.3.3).
    pub condition: String,
}

/// How a running server is.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Status {
    /// The version of the running binary.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it was ready.
    pub uptime_secs: u64,
    /// The domains it serves.
    pub hosts: Vec<String>,
    /// The addresses it listens on, by the name of the listener in the config.
    pub listening: BTreeMap<String, Vec<SocketAddr>>,
    /// Bound resources.
    pub sessions: u64,
    /// Those of them that wait for their clients to come back (XEP-0198 §5).
    #[serde(default)]
    pub asleep: u64,
    /// Memory in use, in bytes.
    #[serde(default)]
    pub memory_bytes: u64,
    /// Memory that may be used.
    #[serde(default)]
    pub memory_bytes_max: u64,
    /// Errors of the program that were caught since it was started.
    #[serde(default)]
    pub panics: u64,
    /// How it stands with components.
    #[serde(default)]
    pub components: Vec<ComponentState>,
    /// How it stands with other servers.
    #[serde(default)]
    pub servers: Vec<OtherServer>,
}

/// How it stands with an external component.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ComponentState {
    /// Its domain.
    pub domain: String,
    /// Connections that it has.
    pub connections: u64,
    /// Stanzas that wait for it.
    pub stanzas: u64,
}

/// How it stands between a host and a domain elsewhere.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct OtherServer {
    /// The host.
    pub host: String,
    /// The domain.
    pub domain: String,
    /// Where the way to it stands.
    pub state: String,
    /// Streams that the other server has opened.
    pub inbound: u64,
    /// How it was proven to be that domain's.
    pub proven: Option<String>,
    /// Stanzas that wait for it.
    pub stanzas: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Why it could not be reached the last time.
    pub failure: Option<String>,
    /// How long ago that was.
    pub failed_secs_ago: Option<u64>,
}
