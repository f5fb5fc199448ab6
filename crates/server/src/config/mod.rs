//! The config: strict TOML, one table of all keys, and plain data for the rest of the server.

pub mod load;
pub mod names;
pub mod problem;
mod reader;
pub mod sections;
pub mod show;
pub mod value;
