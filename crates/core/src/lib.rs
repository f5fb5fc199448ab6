//! The server without its extensions: streams, sessions, accounts, the router, hooks and the
//! shapes of what is stored. Nothing here knows the name of a module, a transport or a database.

pub mod account;
pub mod asking;
pub mod chores;
pub mod clock;
pub mod component;
pub mod delivery;
pub mod federation;
pub mod held;
pub mod hooks;
pub mod host;
pub mod identity;
mod inbound;
pub mod known_features;
pub mod limits;
pub mod link;
pub mod login;
pub mod mailbox;
mod outbound;
pub mod pressure;
mod relief;
pub mod restart;

pub mod own;
pub mod questions;
pub mod router;
pub mod server;
mod silence;
pub mod sleepers;
pub mod stanza_id;
pub mod store;
pub mod stream;
pub mod token;
pub mod trail;
