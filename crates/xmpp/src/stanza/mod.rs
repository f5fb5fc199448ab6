//! A stanza: the bytes as they go over the wire, and a small index to find things in them.
//!
//! Routing reads the head and looks at first-level children by name; the payload leaves as it came
//! (RFC 6120 §8.4). The text is kept in one shape, so that changing an address is a splice:
//! `<kind to='..' from='..' rest>children</kind>`, self-contained but for the content namespace,
//! which is whatever stream it is written to.

mod assemble;
mod change;
mod kind;
mod text;

pub use kind::{IqType, Kind, MessageType, NotAStanza, PresenceType};
pub use text::{Child, Stanza};
