//! SASL (RFC 4422) as XMPP uses it: state machines for both sides, without I/O and without waiting.
//!
//! A server calls [`server::start`] with what the client sent and carries out the [`server::Step`]
//! that comes back: send a challenge, look an account up, check a password on a pool of its own,
//! or end. The XML around it (RFC 6120 §6, XEP-0388) belongs to the caller; [`encoding`] reads and
//! writes the base64 within. No type that holds a secret prints it, and each wipes it when dropped.

mod anonymous;
pub mod binding;
pub mod client;
pub mod context;
pub mod credentials;
pub mod decoy;
pub mod encoding;
pub mod error;
mod external;
pub mod hash;
pub mod mechanism;
mod plain;
pub mod prep;
pub mod record;
mod scram;
pub mod server;
pub mod token;
