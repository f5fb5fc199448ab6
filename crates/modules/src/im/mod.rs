//! Instant messaging: the roster and what concerns messages.

pub mod private;
pub mod registration;
pub mod roster;
pub mod session;
pub mod vcard;
