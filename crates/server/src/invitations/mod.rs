//! What an operator can do with invitations, in the running server or on its store.

pub mod book;
pub mod request;
