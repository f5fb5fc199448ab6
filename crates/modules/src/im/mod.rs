//! Instant messaging: the roster and what concerns messages.

pub mod registration;
pub mod roster;
