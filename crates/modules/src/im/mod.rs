//! Instant messaging: the roster and what concerns messages.

pub mod hints;
pub mod message_ids;
pub mod offline;
pub mod private;
pub mod roster;
pub mod session;
pub mod vcard;
