//! The message archive (XEP-0313) on the account's log, with its preferences (XEP-0441), tombstones
//! (XEP-0424), and the ids under which messages are known (XEP-0359).

mod answer;
mod content;
mod find;
pub mod mam;
mod prefs;
mod query;
pub mod stanza_id;
