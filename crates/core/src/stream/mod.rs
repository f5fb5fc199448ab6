//! RFC 6120 §4 to §7: streams. Each state of a client's stream is a type of its own, so that what a
//! state does not allow cannot be called in it: [`client`] negotiates, [`session`] carries stanzas.

pub mod bind;
pub mod bind2;
pub mod client;
pub mod commits;
pub mod fast;
pub mod features;
mod keys;
pub mod legacy;
pub mod login;
pub mod management;
pub mod open;
pub mod output;
pub mod pace;
mod recipients;
pub mod resume;
pub mod sasl2;
pub mod server;
pub mod session;
pub mod spent;
pub mod token_store;
pub mod tokens;
mod upgrade;
pub mod user_agent;
pub mod wire;
