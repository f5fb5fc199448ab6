//! The server without its extensions: streams, sessions, accounts, the router, hooks and the
//! shapes of what is stored. Nothing here knows the name of a module, a transport or a database.

pub mod limits;
pub mod store;
