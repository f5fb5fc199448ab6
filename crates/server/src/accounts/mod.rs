//! What an operator can do with accounts, in the running server or on its store.

pub mod request;
pub mod stored;
