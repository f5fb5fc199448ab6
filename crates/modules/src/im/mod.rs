//! Instant messaging: the roster and what concerns messages.

pub mod roster;
