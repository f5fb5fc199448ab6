//! Streams between servers (RFC 6120 §10.4): [`outgoing`] negotiates as the initiating entity,
//! [`incoming`] as the receiving one, and both end in an [`established`] stream, which the session
//! of federation carries on. [`dialback`] speaks XEP-0220 before and after that.

pub mod calling;
pub mod dialback;
pub mod established;
pub mod failure;
pub mod features;
pub mod incoming;
pub mod managing;
pub mod ours;
pub mod outgoing;
pub mod pairs;
pub mod resumable;
pub mod side;
pub mod state;
pub mod verify;
