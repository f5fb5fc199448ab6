//! The interface between the core and its extensions: a module says what it offers and where it
//! acts, and meets stanzas, requests and changes there.

pub mod iq;
pub mod manifest;
pub mod module;
pub mod passage;
pub mod registry;
pub mod session;
