//! Backends that keep the shapes of the core: in memory for tests, SQLite in the one binary. What
//! they promise is `verona_core::store::Store`; what proves it is [`conformance`].

pub mod conformance;
pub mod dice;
pub mod faulty;
pub mod memory;
mod rules;
pub mod scratch;
pub mod sqlite;
