//! The message archive (XEP-0313) on the account's log, with its preferences (XEP-0441) and tombstones
//! (XEP-0424).

mod answer;
mod content;
mod find;
pub mod mam;
mod prefs;
mod query;
mod retention;
mod retraction;
