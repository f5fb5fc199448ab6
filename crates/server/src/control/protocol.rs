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
    /// Other figures, by name.
    pub figures: BTreeMap<String, u64>,
}
