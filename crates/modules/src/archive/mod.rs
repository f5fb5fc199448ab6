//! The message archive (XEP-0313) on the account's log, with its preferences (XEP-0441), tombstones
//! (XEP-0424) and what is unread in it (XEP-0430).

mod answer;
mod content;
mod conversations;
mod find;
pub mod inbox;
pub mod mam;
mod prefs;
mod query;
mod retention;
mod retraction;
mod size;
mod unread;
