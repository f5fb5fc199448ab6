//! Accounts: each has one owner in memory, which takes one stanza at a time.

pub mod admin;
pub mod backlog;
pub mod credentials;
pub mod directory;
pub mod edit;
pub mod keep;
pub mod log;
mod owner;
pub mod presence;
pub mod roster;
pub mod shared;
pub mod state;
pub mod subscription;
pub mod transition;
pub mod waiting;

pub use owner::Account;
