//! Scripted conversations and other tools of the tests.
//!
//! A test of a protocol is a conversation: both sides are XML as it goes over the wire. The notation
//! is described in [`parse`], the holes in [`template`], what counts as the same in [`compare`].
//! [`play::play`] performs a script at a [`place::Place`]: a server in memory, one that is started for
//! the purpose, or one that is running already.
//!
//! Nothing here is built on the crates of the server, but for [`memory`] and [`world`], which start some: reading
//! XML, SASL and TLS are other code than what is tested, so that a common mistake shows.

pub mod address;
pub mod client;
pub mod compare;
pub mod failure;
pub mod fortress;
pub mod listening;
pub mod memory;
pub mod node;
pub mod parse;
pub mod place;
pub mod play;
pub mod raw;
pub mod reader;
pub mod running;
pub mod sasl;
pub mod script;
mod setting;
pub mod template;
pub mod tls;
pub mod wire;
pub mod world;

#[cfg(test)]
mod fake;
