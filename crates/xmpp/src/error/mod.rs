//! Errors that the other side may see: of a stanza (RFC 6120 §8.3) and of a stream (RFC 6120
//! §4.9).

mod application;
mod condition;
mod stanza;
mod stream;

pub use application::Application;
pub use condition::{Condition, ErrorType, StreamCondition};
pub use stanza::{Detail, StanzaError};
pub use stream::{StreamDetail, StreamError};
